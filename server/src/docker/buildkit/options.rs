//! What `dockerfile.v0` is asked for (`FrontendOpt`), as the engine's request. Every option is taken or refused by name; what
//! only describes a build to people (`vcs:`, `cmdline`) changes nothing here and is taken as that.

use engine::build::{BuildRequest, ContextFrom, NamedContext};
use engine::container::spec::Ulimit;
use engine::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// A build as a client asked for it.
pub struct Asked {
    /// For the engine.
    pub request: BuildRequest,
    /// `requestid`: questions about the Dockerfile instead of a build; empty: a build.
    pub question: String,
    /// Contexts that are results of the same client's other builds: name, and the name of the input.
    pub inputs: BTreeMap<String, String>,
}

/// Reads the options.
///
/// # Errors
/// Naming the option that is not understood or cannot be done.
pub fn read(options: &HashMap<String, String>) -> Result<Asked> {
    let mut request =
        BuildRequest { context: ContextFrom::Folder("context".to_owned()), definition: "dockerfile".to_owned(), ..BuildRequest::default() };
    let mut asked_question = String::new();
    let mut inputs = BTreeMap::new();
    let (mut context, mut dockerfile_key, mut context_key) = (None, None, None);
    // Sorted, so that of two mistakes always the same one is told.
    let sorted: BTreeMap<&String, &String> = options.iter().collect();
    for (key, value) in sorted {
        let value = value.as_str();
        match key.as_str() {
            "filename" => value.clone_into(&mut request.dockerfile),
            "target" => value.clone_into(&mut request.target),
            "platform" => {
                if value.contains(',') {
                    return Err(Error::unsupported(&format!("a build for several platforms at once ({value})")));
                }
                value.clone_into(&mut request.platform);
            }
            "multi-platform" => refuse_unless_false(key, value)?,
            "no-cache" if value.is_empty() => request.no_cache = true,
            "no-cache" => request.no_cache_stages = words(value),
            "image-resolve-mode" => match value {
                "" | "default" | "local" => {}
                "pull" => request.pull = true,
                other => return Err(Error::invalid(format!("invalid image-resolve-mode: {other:?}"))),
            },
            "add-hosts" => request.extra_hosts = hosts(value)?,
            "shm-size" => request.shm_size = value.parse().map_err(|_| Error::invalid(format!("failed to parse shm size: {value:?}")))?,
            "ulimit" => request.resources.ulimits = ulimits(value)?,
            "force-network-mode" => match value {
                "" | "default" | "sandbox" => {}
                mode @ ("host" | "none") => mode.clone_into(&mut request.network),
                other => return Err(Error::invalid(format!("invalid network mode {other:?}"))),
            },
            // A container's group lies under its tenant's, whatever a client would like.
            "cgroup-parent" if value.is_empty() => {}
            "cgroup-parent" => return Err(Error::unsupported("a cgroup parent of one's own for builds")),
            "hostname" if value.is_empty() => {}
            "hostname" => request.hostname = value.to_owned(),
            "context" => context = Some(value),
            "contextkey" => context_key = Some(value),
            "dockerfilekey" => dockerfile_key = Some(value),
            "contextsubdir" if value.is_empty() => {}
            "contextsubdir" => return Err(Error::unsupported("a subfolder of a context")),
            "requestid" => value.clone_into(&mut asked_question),
            "source" | "gateway-source" | "build-arg:BUILDKIT_SYNTAX" => frontend_image(value)?,
            "cache-from" | "cache-imports" => request.cache_from.extend(cache_from(key, value)?),
            "frontend.caps" => capabilities(value)?,
            // `inline-only`: only where the exporter puts it beside the image, and none of ours does.
            "attest:provenance" if value.contains("inline-only=true") || value.contains("disabled=true") || value == "false" => {}
            // What a person is told of the build, not the build.
            "cmdline" | "product" | "sharedkeyhint" | "frontend" => {}
            key if key.starts_with("vcs:") || key.starts_with("input-metadata:") || key.starts_with("local-sessionid:") => {}
            key if key.starts_with("attest:") => {
                return Err(Error::unsupported(&format!("attestations ({key})")));
            }
            "build-arg:BUILDKIT_INLINE_CACHE" => request.inline_cache = value.parse().unwrap_or(value == "1"),
            "build-arg:BUILDKIT_MULTI_PLATFORM" => refuse_unless_false(key, value)?,
            key => {
                if let Some(name) = key.strip_prefix("build-arg:") {
                    request.args.insert(name.to_owned(), Some(value.to_owned()));
                } else if let Some(name) = key.strip_prefix("label:") {
                    request.labels.insert(name.to_owned(), value.to_owned());
                } else if let Some(name) = key.strip_prefix("context:") {
                    match value.strip_prefix("input:") {
                        Some(input) => drop(inputs.insert(name.to_owned(), input.to_owned())),
                        None => drop(request.contexts.insert(name.to_owned(), named(name, value)?)),
                    }
                } else {
                    return Err(Error::unsupported(&format!("the build option {key}={value}")));
                }
            }
        }
    }
    if let Some(name) = context_key {
        request.context = ContextFrom::Folder(name.to_owned());
    }
    if let Some(url) = context {
        match url.strip_prefix("http://buildkit-session/") {
            Some(id) => {
                request.context = ContextFrom::Upload(id.to_owned());
                // The Dockerfile is in the archive, unless the client says that it is not.
                request.definition.clear();
            }
            // A repository or an archive on the web, which the engine fetches; the Dockerfile is in it, unless the client has one.
            None => {
                url.clone_into(&mut request.remote);
                request.context = ContextFrom::Request;
                request.definition.clear();
            }
        }
    }
    if let Some(name) = dockerfile_key {
        name.clone_into(&mut request.definition);
    }
    Ok(Asked { request, question: asked_question, inputs })
}

fn words(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

fn refuse_unless_false(key: &str, value: &str) -> Result<()> {
    match value {
        "" | "0" | "f" | "false" => Ok(()),
        _ => Err(Error::unsupported(&format!("an image index of one platform ({key}={value})"))),
    }
}

/// `name=address,…` as `name:address`.
fn hosts(value: &str) -> Result<Vec<String>> {
    words(value)
        .iter()
        .map(|one| match one.split_once('=') {
            Some((name, address)) => Ok(format!("{name}:{}", address.trim_matches(['[', ']']))),
            None => Err(Error::invalid(format!("invalid add-hosts: {one:?}: expected name=address"))),
        })
        .collect()
}

/// `nofile=1024:2048,…`
fn ulimits(value: &str) -> Result<Vec<Ulimit>> {
    words(value)
        .iter()
        .map(|one| {
            let bad = || Error::invalid(format!("invalid ulimit {one:?}: expected name=soft:hard"));
            let (name, values) = one.split_once('=').ok_or_else(bad)?;
            let (soft, hard) = values.split_once(':').unwrap_or((values, values));
            Ok(Ulimit { name: name.to_owned(), soft: soft.parse().map_err(|_| bad())?, hard: hard.parse().map_err(|_| bad())? })
        })
        .collect()
}

/// `# syntax=`, or the same by argument: Docker's own frontends are the one that is built in.
fn frontend_image(value: &str) -> Result<()> {
    let name = value.split('@').next().unwrap_or_default();
    let name = name.trim_start_matches("docker.io/");
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    match name {
        "" | "docker/dockerfile" | "docker/dockerfile-upstream" => Ok(()),
        _ => Err(Error::unsupported(&format!("the Dockerfile frontend {value}"))),
    }
}

/// `--cache-from`s that name an image.
fn cache_from(key: &str, value: &str) -> Result<Vec<String>> {
    if key == "cache-from" {
        return Ok(words(value));
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        #[serde(default)]
        r#type: String,
        #[serde(default)]
        attrs: HashMap<String, String>,
    }
    let entries: Vec<Entry> = serde_json::from_str(value).map_err(|e| Error::invalid(format!("invalid cache-imports: {e}")))?;
    entries.into_iter().map(|entry| imported(&entry.r#type, &entry.attrs)).collect()
}

/// What `--cache-from type=…` names.
///
/// # Errors
/// `Unsupported` for what is no registry's.
pub fn imported(kind: &str, attributes: &HashMap<String, String>) -> Result<String> {
    match (kind, attributes.get("ref")) {
        ("registry" | "inline", Some(reference)) => Ok(reference.clone()),
        (kind, _) => Err(Error::unsupported(&format!("importing a build cache of type {kind}"))),
    }
}

/// `frontend.caps`: what the client needs of the frontend, `+forward`: or of one it leads to.
fn capabilities(value: &str) -> Result<()> {
    for capability in words(value) {
        let name = capability.trim_end_matches("+forward");
        if !matches!(name, "moby.buildkit.frontend.inputs" | "moby.buildkit.frontend.subrequests" | "moby.buildkit.frontend.contexts") {
            return Err(Error::unsupported(&format!("the frontend capability {name}")));
        }
    }
    Ok(())
}

/// What a named context leads to.
fn named(name: &str, value: &str) -> Result<NamedContext> {
    // `docker-image:` with and without slashes are both in use.
    if let Some(image) = value.strip_prefix("docker-image:") {
        return Ok(NamedContext::Image(image.trim_start_matches("//").to_owned()));
    }
    match value.strip_prefix("local:") {
        Some(folder) => Ok(NamedContext::Folder(folder.to_owned())),
        None if ["http://", "https://", "git://", "git@", "ssh://", "github.com/"].iter().any(|p| value.starts_with(p)) => {
            Ok(NamedContext::Remote(value.to_owned()))
        }
        None => Err(Error::unsupported(&format!("the build context {name}={value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Kind;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked> {
        read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn options_are_taken() {
        let asked = asked(&[
            ("filename", "Dockerfile.dev"),
            ("target", "t"),
            ("build-arg:A", "1"),
            ("label:l", "v"),
            ("no-cache", ""),
            ("image-resolve-mode", "local"),
            ("add-hosts", "a=1.2.3.4,b=[::1]"),
            ("shm-size", "1048576"),
            ("ulimit", "nofile=1:2"),
            ("force-network-mode", "none"),
            ("context:base", "docker-image://alpine:3"),
            ("context:docs", "local:docs"),
            ("context:other", "input:other"),
            ("frontend.caps", "moby.buildkit.frontend.contexts+forward"),
            ("vcs:source", "git@example.org:a/b"),
            ("attest:provenance", "mode=min,inline-only=true"),
        ])
        .unwrap();
        let r = asked.request;
        assert_eq!((r.dockerfile.as_str(), r.target.as_str(), r.network.as_str(), r.shm_size), ("Dockerfile.dev", "t", "none", 1_048_576));
        assert!(r.no_cache && !r.pull && r.labels["l"] == "v" && r.args["A"].as_deref() == Some("1"));
        assert_eq!((r.extra_hosts, r.resources.ulimits[0].hard), (vec!["a:1.2.3.4".to_owned(), "b:::1".to_owned()], 2));
        assert_eq!(r.contexts["base"], NamedContext::Image("alpine:3".into()));
        assert_eq!(r.contexts["docs"], NamedContext::Folder("docs".into()));
        assert_eq!(asked.inputs["other"], "other");
        assert_eq!((r.context, r.definition.as_str()), (ContextFrom::Folder("context".into()), "dockerfile"));
    }

    #[test]
    fn contexts_from_standard_input() {
        let r = asked(&[("context", "http://buildkit-session/abc")]).unwrap().request;
        assert_eq!((r.context, r.definition.as_str()), (ContextFrom::Upload("abc".into()), ""));
        let r = asked(&[("context", "http://buildkit-session/abc"), ("dockerfilekey", "dockerfile")]).unwrap().request;
        assert_eq!(r.definition, "dockerfile");
    }

    #[test]
    fn contexts_from_the_web() {
        let r =
            asked(&[("context", "https://example.org/x.git#v1:sub"), ("context:docs", "https://example.org/d.tar.gz")]).unwrap().request;
        assert_eq!((r.context, r.definition.as_str(), r.remote.as_str()), (ContextFrom::Request, "", "https://example.org/x.git#v1:sub"));
        assert_eq!(r.contexts["docs"], NamedContext::Remote("https://example.org/d.tar.gz".into()));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (key, value, kind) in [
            ("platform", "linux/amd64,linux/arm64", Kind::Unsupported),
            ("attest:sbom", "", Kind::Unsupported),
            ("no-such-option", "1", Kind::Unsupported),
            ("build-arg:BUILDKIT_SYNTAX", "example.org/frontend", Kind::Unsupported),
            ("context:x", "oci-layout://x", Kind::Unsupported),
            ("ulimit", "nofile", Kind::Invalid),
            ("add-hosts", "a", Kind::Invalid),
            ("frontend.caps", "moby.buildkit.frontend.magic", Kind::Unsupported),
            ("cache-imports", "[{\"Type\":\"s3\",\"Attrs\":{}}]", Kind::Unsupported),
        ] {
            assert_eq!(asked(&[(key, value)]).err().map(|e| e.kind()), Some(kind), "{key}");
        }
        assert!(asked(&[("build-arg:BUILDKIT_SYNTAX", "docker/dockerfile:1.7")]).is_ok());
    }
}
