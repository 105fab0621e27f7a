//! Git repositories as contexts and as sources of ADD. The host's own git fetches them, in a container like those of RUN: the
//! tenant's ids, limits, filter and network, so it reaches what a RUN reaches and no more, and sees of the host its programs
//! and certificates only, read-only. No hook runs, no transport but http and git's own is allowed, nobody is asked for
//! passwords: what a hostile repository could do (CVE-2024-32002, CVE-2017-1000117) it does to itself.

use super::builds::{key, make_folder};
use super::client::BuildClient;
use super::request::BuildRequest;
use super::tell::Teller;
use crate::container::ContainerSpec;
use crate::container::step::{Step, StepMount, StepRun, StepSource};
use crate::engine::Engine;
use crate::image::Platform;
use crate::sys::inside;
use crate::{Digest, Doing, Error, Result, Subject};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of the host git needs: programs, libraries, certificates.
const HOST: [&str; 6] = ["/usr", "/bin", "/lib", "/lib64", "/etc/ssl", "/etc/pki"];

/// Fetches `$URL` at `$REF` into `/git/tree`; the commit is in `/git/commit`, what git said in `/git/said`. A server that gives
/// no shallow histories is asked for whole ones, one that gives no commits by their names for all branches.
const SCRIPT: &str = r#"set -e
exec >/git/said 2>&1
cd /git/tree
git init -q .
git remote add origin "$URL"
git fetch -q --depth 1 --no-tags origin -- "$REF" || git fetch -q --no-tags origin -- "$REF" || { [ ${#REF} -ge 40 ] && git fetch -q --tags origin '+refs/heads/*:refs/remotes/origin/*'; } || exit 1
case "$REF" in
  HEAD) git checkout -q --detach FETCH_HEAD;;
  *) if [ ${#REF} -ge 40 ]; then git checkout -q --detach "$REF"; else git checkout -q --detach FETCH_HEAD; fi;;
esac
[ ! -f .gitmodules ] || git submodule -q update --init --recursive --depth 1
git rev-parse HEAD >/git/commit
[ -n "$KEEP" ] || find . -name .git -prune -exec rm -rf {} +
"#;

/// A repository as a Dockerfile or a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    /// Without what follows it.
    pub url: String,
    /// Branch, tag or commit; `HEAD`: what its server has checked out.
    pub reference: String,
    /// What of it; empty: all.
    pub subdir: String,
    /// The beginning of the commit that it must be.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep: bool,
}

/// Whether a word names a git repository and no file.
pub(super) fn is_git(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let path = lower.split(['?', '#']).next().unwrap_or_default();
    let web = lower.starts_with("http://") || lower.starts_with("https://");
    ["git://", "git@", "ssh://", "github.com/"].iter().any(|prefix| lower.starts_with(prefix)) || (web && path.ends_with(".git"))
}

impl Repository {
    /// Reads `URL[?ref=…&subdir=…][#ref[:subdir]]`.
    ///
    /// # Errors
    /// `Unsupported` for git over SSH, `Invalid` for what is no such thing.
    pub fn read(text: &str) -> Result<Self> {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let lower = url.to_ascii_lowercase();
        if lower.starts_with("ssh://") || lower.starts_with("git@") {
            return Err(Error::unsupported(&format!("git over SSH ({url}): use its https address")));
        }
        let url = if lower.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
        let mut found = Self { url, reference: reference.to_owned(), subdir: subdir.to_owned(), checksum: None, keep: false };
        for (name, value) in query.split('&').filter(|q| !q.is_empty()).map(|q| q.split_once('=').unwrap_or((q, ""))) {
            match name {
                "ref" | "branch" | "tag" | "commit" => value.clone_into(&mut found.reference),
                "subdir" => value.clone_into(&mut found.subdir),
                "checksum" => found.checksum = Some(value.to_owned()),
                "keep-git-dir" => found.keep = matches!(value, "" | "1" | "true"),
                other => return Err(Error::invalid(format!("unexpected query {other:?} in git URL {text}"))),
            }
        }
        if found.reference.is_empty() {
            "HEAD".clone_into(&mut found.reference);
        }
        // git refuses most of it (git-check-ref-format(1)); an option is none of its names.
        let odd = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
        if found.reference.starts_with('-') || found.reference.contains(odd) || found.url.contains(char::is_control) {
            return Err(Error::invalid(format!("invalid git reference {:?} in {text}", found.reference)));
        }
        Ok(found)
    }

    /// What of the tree is meant, as a source of a copy.
    pub fn source(&self) -> String {
        if self.subdir.trim_matches('/').is_empty() { ".".to_owned() } else { self.subdir.clone() }
    }

    fn host(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default())
    }
}

/// What was fetched.
pub(super) struct Checkout {
    /// The folder with its files.
    pub tree: PathBuf,
    /// The commit.
    pub commit: String,
}

/// The git of this host.
pub(crate) fn program() -> Option<PathBuf> {
    ["/usr/bin/git", "/usr/local/bin/git", "/bin/git"].map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// A token of the client's for this host, as the header that git sends with it. BuildKit's clients have it as a secret.
async fn token(client: Option<&Arc<dyn BuildClient>>, host: &str) -> Result<Option<String>> {
    use base64::Engine as _;
    let Some(client) = client else { return Ok(None) };
    for (name, is_header) in [("GIT_AUTH_HEADER", true), ("GIT_AUTH_TOKEN", false)] {
        for id in [format!("{name}.{host}"), name.to_owned()] {
            let Some(secret) = client.secret(&id).await? else { continue };
            let text = String::from_utf8_lossy(&secret).trim().to_owned();
            let basic = || base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{text}"));
            return Ok(Some(if is_header { format!("Authorization: {text}") } else { format!("Authorization: basic {}", basic()) }));
        }
    }
    Ok(None)
}

impl Engine {
    /// Fetches a repository into a new folder of the tenant's. `secrets`: a folder in memory for what must not lie on the disk.
    ///
    /// # Errors
    /// `Unavailable` without a git on this host; `Invalid` with git's own words when it cannot be had.
    #[allow(clippy::too_many_arguments)] // Who, what, where to, how: none of them goes with another.
    pub(super) async fn checkout(
        &self,
        who: &Subject,
        from: &Repository,
        folder: &Path,
        secrets: &Path,
        request: &BuildRequest,
        tell: &Teller,
        vertex: u32,
    ) -> Result<Checkout> {
        if program().is_none() {
            let text = format!("{} cannot be fetched: git is not installed on this host (package `git`)", from.url);
            return Err(Error::new(crate::Kind::Unavailable, text));
        }
        let base = self.block(who.tenant)?.base;
        make_folder(folder, base, 0o755)?;
        make_folder(&folder.join("tree"), base, 0o755)?;
        let set = |name: &str, value: &str| format!("{name}={value}");
        let mut env = vec![
            set("PATH", "/usr/local/bin:/usr/bin:/bin"),
            set("HOME", "/"),
            set("URL", &from.url),
            set("REF", &from.reference),
            set("KEEP", if from.keep { "1" } else { "" }),
            set("GIT_CONFIG_NOSYSTEM", "1"),
            set("GIT_CONFIG_GLOBAL", "/dev/null"),
            set("GIT_TERMINAL_PROMPT", "0"),
            set("GIT_ALLOW_PROTOCOL", "http:https:git"),
            set("GIT_CONFIG_KEY_0", "core.hooksPath"),
            set("GIT_CONFIG_VALUE_0", "/dev/null"),
            set("GIT_CONFIG_KEY_1", "advice.detachedHead"),
            set("GIT_CONFIG_VALUE_1", "false"),
            set("GIT_CONFIG_KEY_2", "init.defaultBranch"),
            set("GIT_CONFIG_VALUE_2", "main"),
        ];
        let mut secret_env = Vec::new();
        let mut settings = 3;
        if let Some(header) = token(request.client.as_ref(), from.host()).await? {
            let doing = || "giving git its token".to_owned();
            if !secrets.exists() {
                std::fs::create_dir(secrets).doing(doing)?;
            }
            let file = secrets.join(uuid::Uuid::new_v4().simple().to_string());
            std::fs::write(&file, header).doing(doing)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400)).doing(doing)?;
            // For this host alone: a redirect or a submodule elsewhere does not get it.
            let scheme = from.url.split_once("://").map_or("https", |(scheme, _)| scheme);
            env.push(set("GIT_CONFIG_KEY_3", &format!("http.{scheme}://{}/.extraHeader", from.host())));
            secret_env.push(("GIT_CONFIG_VALUE_3".to_owned(), file));
            settings = 4;
        }
        env.push(set("GIT_CONFIG_COUNT", &settings.to_string()));
        let mut mounts: Vec<StepMount> = HOST
            .iter()
            .filter_map(|path| Some((std::fs::canonicalize(path).ok()?, *path)))
            .map(|(real, path)| StepMount {
                source: StepSource::Path(real),
                subpath: String::new(),
                target: path.to_owned(),
                read_only: true,
            })
            .collect();
        mounts.push(StepMount {
            source: StepSource::Path(folder.to_owned()),
            subpath: String::new(),
            target: "/git".to_owned(),
            read_only: false,
        });
        let mut spec = ContainerSpec {
            image: "git".to_owned(),
            env,
            cmd: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), SCRIPT.to_owned()]),
            entrypoint: Some(Vec::new()),
            working_dir: "/".to_owned(),
            ..ContainerSpec::default()
        };
        // A build whose RUNs have no network has its sources all the same.
        spec.host.network_mode = if request.network == "none" { String::new() } else { request.network.clone() };
        spec.host.extra_hosts = request.extra_hosts.clone();
        spec.host.resources = request.resources.clone();
        spec.host.log.driver = "none".to_owned();
        let run =
            StepRun { spec, image: Digest::of(b""), platform: Platform::host().os, layers: Vec::new(), step: Step { mounts, secret_env } };
        let (code, entry) = self.run_step(who, run, &tell.cancel, &tell.events, vertex).await?;
        self.drop_step(&entry).await;
        let result = std::fs::File::open(folder).doing(|| format!("opening {}", folder.display()))?;
        let read = |name: &str| inside::read_in_root(result.as_fd(), name, 64 * 1024).unwrap_or_default();
        let commit = String::from_utf8_lossy(&read("commit")).trim().to_owned();
        if code != 0 || commit.len() < 40 {
            let said = String::from_utf8_lossy(&read("said")).trim().to_owned();
            let last = said.lines().rev().find(|l| l.starts_with("fatal:")).or(said.lines().last()).unwrap_or("git said nothing");
            return Err(Error::invalid(format!("failed to fetch remote {}#{}: {last}", from.url, from.reference)));
        }
        if let Some(wanted) = &from.checksum
            && (wanted.len() < 7 || !commit.starts_with(&wanted.to_ascii_lowercase()))
        {
            return Err(Error::invalid(format!("expected checksum to match {wanted}, got {commit}")));
        }
        Ok(Checkout { tree: folder.join("tree"), commit })
    }
}

impl Checkout {
    /// What stands for its files in keys: the commit names them all.
    pub fn digest(&self, from: &Repository) -> String {
        key(&[b"git", self.commit.as_bytes(), from.subdir.as_bytes(), &[u8::from(from.keep)]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_read() {
        let read = |text: &str| Repository::read(text).map(|r| (r.url, r.reference, r.subdir));
        let is = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(read("https://h/r.git").unwrap(), is("https://h/r.git", "HEAD", ""));
        assert_eq!(read("https://h/r.git#v1:docs/a").unwrap(), is("https://h/r.git", "v1", "docs/a"));
        assert_eq!(read("git://h/r#:sub").unwrap(), is("git://h/r", "HEAD", "sub"));
        assert_eq!(read("github.com/a/b").unwrap(), is("https://github.com/a/b", "HEAD", ""));
        assert_eq!(read("https://h/r.git?branch=dev&subdir=x").unwrap(), is("https://h/r.git", "dev", "x"));
        let whole = Repository::read("https://h/r.git?tag=v1&checksum=abcdef0&keep-git-dir=true").unwrap();
        assert_eq!((whole.checksum.as_deref(), whole.keep), (Some("abcdef0"), true));
        for bad in ["https://h/r.git#--upload-pack=x", "https://h/r.git#a b", "https://h/r.git?what=1", "git@h:a/b.git", "ssh://h/a.git"] {
            assert!(Repository::read(bad).is_err(), "{bad}");
        }
        for (text, git) in [
            ("https://h/r.git", true),
            ("https://h/r.git#main", true),
            ("https://h/r.tar.gz", false),
            ("git@h:x", true),
            ("github.com/a/b", true),
            ("./github.com", false),
        ] {
            assert_eq!(is_git(text), git, "{text}");
        }
    }
}
