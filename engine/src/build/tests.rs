//! Whole builds in real namespaces, from a busybox image made on the spot. Need root; skipped loudly otherwise.

use super::*;
use crate::container::request::ArchiveStream;
use crate::image::NewImage;
use crate::runtime::Spawner;
use crate::tenant::Pool;
use crate::{Digest, Engine, EngineConfig, Error, Kind, Role, Scope, Subject, UserId, Via};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

struct Bench {
    engine: Engine,
    who: Subject,
    dir: tempfile::TempDir,
}

/// A file of a context: path, mode, content. A path that ends with `/` is a folder; `link -> target` a link.
type Files<'a> = &'a [(&'a str, &'a str)];

fn tar(files: Files<'_>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(1_000_000_000);
        header.set_uid(1234);
        header.set_gid(1234);
        if let Some((path, target)) = path.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target).unwrap();
            continue;
        }
        let folder = path.ends_with('/');
        header.set_entry_type(if folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
        header.set_mode(if folder || content.starts_with("#!") { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn stream(bytes: Vec<u8>) -> ArchiveStream {
    Box::pin(std::io::Cursor::new(bytes))
}

fn busybox() -> Option<Vec<u8>> {
    let path = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists())?;
    let program = std::fs::read(path).ok()?;
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    for dir in ["bin/", "etc/", "tmp/", "root/"] {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if dir == "tmp/" { 0o1777 } else { 0o755 });
        header.set_size(0);
        tar.append_data(&mut header, dir, std::io::empty()).ok()?;
    }
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    tar.append_data(&mut header, "bin/busybox", program.as_slice()).ok()?;
    let passwd = "root:x:0:0::/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n";
    header.set_mode(0o644);
    header.set_size(passwd.len() as u64);
    tar.append_data(&mut header, "etc/passwd", passwd.as_bytes()).ok()?;
    header.set_size(15);
    tar.append_data(&mut header, "etc/group", "web:x:2000:\n\n\n\n".as_bytes()).ok()?;
    for name in [
        "sh", "cat", "echo", "true", "test", "ls", "id", "mkdir", "touch", "rm", "ln", "sleep", "env", "pwd", "wc", "stat", "seq", "chmod",
        "mv", "rmdir", "hostname",
    ] {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").ok()?;
    }
    tar.into_inner().ok()
}

/// What came of a build.
struct Outcome {
    image: Result<Digest, Error>,
    /// Steps, `CACHED`, output and warnings.
    log: String,
}

impl Outcome {
    fn image(&self) -> Digest {
        *self.image.as_ref().unwrap_or_else(|e| panic!("{e}\n{}", self.log))
    }

    fn cached(&self) -> usize {
        self.log.matches("CACHED").count()
    }

    fn error(&self) -> String {
        self.image.as_ref().expect_err(&self.log).to_string()
    }
}

impl Bench {
    async fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        let dir = tempfile::Builder::new().prefix("wharf-build").tempdir().unwrap();
        let config = EngineConfig {
            data_root: dir.path().join("data"),
            run_dir: dir.path().join("run"),
            insecure_registries: Vec::new(),
            registry_mirrors: Vec::new(),
            token_hosts: Vec::new(),
            trash: std::time::Duration::ZERO,
            uid_pool: Pool::default(),
            zygotes: 0,
            kept_logs: crate::log::Retention::default(),
            address_pools: Vec::new(),
        };
        let engine = match Engine::open(config, Spawner::start().unwrap()).await {
            Ok(engine) => engine,
            Err(error) if matches!(error.kind(), Kind::Unsupported | Kind::Unavailable) => {
                eprintln!("SKIPPED: {error}");
                return None;
            }
            Err(error) => panic!("{error:?}"),
        };
        let tx = engine.inventory().begin().await.unwrap();
        let tenant = engine.tenants().create_team(tx, "team", UserId(1)).await.unwrap();
        let who = Subject {
            user: Some(UserId(1)),
            name: "u".into(),
            tenant: tenant.id,
            tenant_name: "team".into(),
            role: Role::User,
            unix: None,
            via: Via::Token,
            ip: None,
            scope: Scope::Write,
        };
        let Some(layer) = busybox() else {
            eprintln!("SKIPPED: needs busybox-static");
            return None;
        };
        let new = NewImage { layer: Some(stream(layer)), names: vec!["bb".into()], ..NewImage::default() };
        engine.images_handle().create_from(tenant.id, new).await.unwrap();
        Some(Self { engine, who, dir })
    }

    async fn build(&self, dockerfile: &str, files: Files<'_>) -> Outcome {
        self.build_with(dockerfile, files, BuildRequest::default()).await
    }

    /// Networks are another's business: RUNs have none unless a test says otherwise.
    async fn build_with(&self, dockerfile: &str, files: Files<'_>, mut request: BuildRequest) -> Outcome {
        let mut all = vec![("Dockerfile", dockerfile)];
        all.extend_from_slice(files);
        if request.network.is_empty() {
            request.network = "none".into();
        }
        let mut log = String::new();
        let mut events = match self.engine.build(&self.who, request, Some(stream(tar(&all)))).await {
            Ok(events) => events,
            Err(error) => return Outcome { image: Err(error), log },
        };
        while let Some(event) = events.next().await {
            match event {
                BuildEvent::Step { text, .. } => log.push_str(&format!("STEP {text}\n")),
                BuildEvent::Cached => log.push_str("CACHED\n"),
                BuildEvent::Output(_, _, bytes) => log.push_str(&String::from_utf8_lossy(&bytes)),
                BuildEvent::Warning(text) => log.push_str(&text),
                BuildEvent::Built(id, ..) => return Outcome { image: Ok(id), log },
                BuildEvent::Failed(error) => return Outcome { image: Err(error), log },
                _ => {}
            }
        }
        panic!("the stream ended without an end\n{log}");
    }

    /// Where a path of an image lies on disk: the uppermost layer that has it.
    async fn path(&self, image: Digest, path: &str) -> Option<PathBuf> {
        let layers = self.engine.images_handle().layers(self.who.tenant, &image).await.unwrap();
        layers.iter().rev().map(|l| l.path.join(path)).find(|p| p.symlink_metadata().is_ok())
    }

    async fn text(&self, image: Digest, path: &str) -> String {
        let found = self.path(image, path).await.unwrap_or_else(|| panic!("{path} is not in the image"));
        std::fs::read_to_string(found).unwrap()
    }

    async fn stat(&self, image: Digest, path: &str) -> (u32, u32, u32) {
        let found = self.path(image, path).await.unwrap_or_else(|| panic!("{path} is not in the image"));
        let m = found.symlink_metadata().unwrap();
        (m.uid(), m.gid(), m.mode() & 0o7777)
    }

    /// What builds have left on disk.
    /// What builds left behind: the folder of one goes when its task ends, a moment after its last word was heard.
    fn leftovers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..200 {
            names.clear();
            for folder in [self.dir.path().join("data/builds"), self.dir.path().join("run/b")] {
                names.extend(std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()));
            }
            if names.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_as_docker_does() {
    let Some(bench) = Bench::new().await else { return };
    let files: Files<'_> = &[
        ("package.json", "{}"),
        ("src/", ""),
        ("src/a.js", "a"),
        ("src/sub/", ""),
        ("src/sub/b.js", "b"),
        ("run.sh", "#!/bin/sh\n"),
        ("link -> package.json", ""),
        ("secret.txt", "s"),
        ("keep.txt", "k"),
        (".dockerignore", "*.txt\n!keep.txt\n"),
    ];
    let out = bench
        .build(
            "FROM bb
ENV D=/opt
WORKDIR /app
COPY package.json ./
COPY src/ lib
COPY src/a.js run.sh bin/
COPY *.json $D/
COPY --chown=node:web --chmod=750 run.sh /own/run.sh
COPY --chown=55 src /five
COPY link /followed
COPY --parents src/sub/*.js /parents/
COPY --exclude=sub src /without
COPY <<here.txt <<'raw' /docs/
value $D
here.txt
raw $D
raw
COPY . /all
CMD [\"npm\", \"start\"]
",
            files,
        )
        .await;
    let image = out.image();
    for (path, content) in [
        ("app/package.json", "{}"),
        ("app/lib/a.js", "a"),
        ("app/lib/sub/b.js", "b"),
        ("app/bin/a.js", "a"),
        ("opt/package.json", "{}"),
        ("followed", "{}"),
        ("parents/src/sub/b.js", "b"),
        ("without/a.js", "a"),
        ("docs/here.txt", "value /opt\n"),
        ("docs/raw", "raw $D\n"),
        ("all/keep.txt", "k"),
    ] {
        assert_eq!(bench.text(image, path).await, content, "{path}");
    }
    // The context's files are root's, whoever sent them.
    assert_eq!(bench.stat(image, "app/package.json").await, (0, 0, 0o644));
    assert_eq!(bench.stat(image, "app/bin/run.sh").await, (0, 0, 0o755));
    assert_eq!(bench.stat(image, "own/run.sh").await, (1000, 2000, 0o750));
    assert_eq!(bench.stat(image, "five/a.js").await, (55, 55, 0o644));
    assert_eq!(bench.stat(image, "all/link").await.2, 0o777);
    for absent in ["without/sub", "all/secret.txt", "own/package.json"] {
        assert!(bench.path(image, absent).await.is_none(), "{absent}");
    }
    let view = bench.engine.image(&bench.who, &image.to_string()).await.unwrap();
    assert_eq!(
        (view.config.working_dir.as_str(), view.config.cmd.as_deref()),
        ("/app", Some(["npm".to_owned(), "start".into()].as_slice()))
    );
    assert_eq!(view.history.iter().filter(|h| !h.empty_layer).count(), view.diff_ids.len());
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_cannot_be_done_say_why() {
    let Some(bench) = Bench::new().await else { return };
    let files: Files<'_> =
        &[("a", "1"), ("b", "2"), ("dir/", ""), ("dir/x", "x"), ("evil -> /etc/passwd", ""), ("up -> ../../../../etc", "")];
    for (line, part) in [
        ("COPY nope /x", "file not found in build context"),
        ("COPY n*pe /x", "no source files were specified"),
        ("COPY ../a /x", "forbidden path outside the build context"),
        ("COPY a b /x", "must be a directory and end with a /"),
        ("COPY dir /etc/passwd", "cannot copy to non-directory"),
        ("COPY a /etc/passwd/x", "a file is in the way"),
        ("COPY --chmod=999 a /x", "invalid chmod"),
        ("COPY --chown=nobody-here a /x", "nobody-here"),
        ("COPY --from=nothing/like:this a /x", ""),
        // Links of a context lead nowhere but in it.
        ("COPY evil /x", "file not found in build context"),
        ("COPY up/passwd /x", "file not found in build context"),
        ("ADD http://169.254.169.254/meta /x", "not an address of the public internet"),
    ] {
        let out = bench.build(&format!("FROM bb\n{line}"), files).await;
        let error = out.error();
        assert!(error.contains(part), "{line}: {error}");
    }
    assert!(bench.engine.images(&bench.who, &Default::default()).await.unwrap().len() == 1, "nothing half made is listed");
    assert!(bench.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_done_again() {
    let Some(bench) = Bench::new().await else { return };
    let text = "FROM bb AS deps\nWORKDIR /app\nCOPY package.json .\nRUN cat package.json > built\nFROM deps\nARG V=1\nCOPY . .\nRUN echo $V > v\nLABEL v=$V";
    let files = |package: &'static str, source: &'static str| [("package.json", package), ("src.js", source)];
    let first = bench.build(text, &files("1", "1")).await;
    assert_eq!((first.cached(), bench.text(first.image(), "app/built").await.as_str()), (0, "1"));
    let again = bench.build(text, &files("1", "1")).await;
    assert_eq!(again.cached(), 7, "{}", again.log);
    // And it is the same image, not another of the same contents.
    assert_eq!(again.image(), first.image());
    let source = bench.build(text, &files("1", "2")).await;
    assert_eq!(source.cached(), 4, "{}", source.log);
    assert_eq!(bench.text(source.image(), "app/src.js").await, "2");
    let package = bench.build(text, &files("2", "2")).await;
    assert_eq!((package.cached(), bench.text(package.image(), "app/built").await.as_str()), (1, "2"));
    // An ARG is part of the RUNs after it, and of nothing before.
    let args = BTreeMap::from([("V".to_owned(), Some("9".to_owned()))]);
    let arg = bench.build_with(text, &files("1", "1"), BuildRequest { args, ..Default::default() }).await;
    assert_eq!((arg.cached(), bench.text(arg.image(), "app/v").await.as_str()), (4, "9\n"));
    // Another Dockerfile is another file of the context, until it is left out of it.
    let label = bench.build(&format!("# x\n{text}\nLABEL more=1"), &files("1", "1")).await;
    assert_eq!(label.cached(), 4);
    let fresh = bench.build_with(text, &files("1", "1"), BuildRequest { no_cache: true, ..Default::default() }).await;
    assert_eq!(fresh.cached(), 0);
    let cache = bench.engine.build_cache(&bench.who).await.unwrap();
    assert!(cache.iter().any(|e| e.description.contains("cat package.json")));
    let pruned = bench.engine.prune_builds(&bench.who, &PruneBuilds::default()).await.unwrap();
    assert_eq!(pruned.removed.len(), cache.len());
    assert_eq!(bench.build(text, &files("1", "1")).await.cached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_alone_are_the_same_image_each_time() {
    let Some(bench) = Bench::new().await else { return };
    let file = "FROM scratch\nENV A=1\nCMD [\"/x\"]\n";
    let first = bench.build(file, &[]).await.image();
    assert_eq!(bench.build(file, &[]).await.image(), first);
    assert_ne!(bench.build("FROM scratch\nENV A=2\nCMD [\"/x\"]\n", &[]).await.image(), first);
    let anew = BuildRequest { no_cache: true, ..BuildRequest::default() };
    assert_ne!(bench.build_with(file, &[], anew).await.image(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_have_environment_user_folder_and_output() {
    let Some(bench) = Bench::new().await else { return };
    let args = BTreeMap::from([("A".to_owned(), Some("given".to_owned())), ("HTTP_PROXY".to_owned(), Some("p".to_owned()))]);
    let out = bench
        .build_with(
            "FROM bb
ARG A
ENV E=env
WORKDIR /w
USER node
RUN echo $A $E $HTTP_PROXY $(pwd) $(id -u):$(id -g)
RUN [\"/bin/sh\", \"-c\", \"echo exec form; echo to-stderr >&2\"]
SHELL [\"/bin/sh\", \"-ec\"]
RUN <<EOF
echo here
echo document
EOF
RUN cat <<X <<Y
one
X
two
Y
USER root
RUN <<EOF
#!/bin/cat
script itself
EOF
RUN echo x > /etc/own; rm /etc/group; mkdir /d; ln -s /d /e
",
            &[],
            BuildRequest { args, ..Default::default() },
        )
        .await;
    let image = out.image();
    for line in ["given env p /w 1000:1001", "exec form", "to-stderr", "here\ndocument", "script itself"] {
        assert!(out.log.contains(line), "{line}\n{}", out.log);
    }
    assert_eq!(bench.text(image, "etc/own").await, "x\n");
    let view = bench.engine.image(&bench.who, &image.to_string()).await.unwrap();
    assert!(view.history.iter().any(|h| h.created_by.starts_with("|1 A=given /bin/sh -c echo")), "{:?}", view.history);
    assert!(view.history.iter().all(|h| !h.created_by.contains("HTTP_PROXY=")));
    // What the engine mounts for a run is not in the image.
    for absent in ["etc/hosts", "etc/resolv.conf", "proc", "dev", "sys"] {
        assert!(bench.path(image, absent).await.is_none(), "{absent}");
    }
    // No container stays.
    assert!(bench.engine.registry().of(bench.who.tenant).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_run_ends_the_build_with_its_code() {
    use std::error::Error as _;
    let Some(bench) = Bench::new().await else { return };
    let out = bench.build("FROM bb\nRUN echo before; exit 7\nRUN echo never", &[]).await;
    assert_eq!(out.error(), "The command '/bin/sh -c echo before; exit 7' returned a non-zero code: 7");
    let error = out.image.as_ref().unwrap_err();
    assert_eq!(
        error.source().and_then(|s| s.downcast_ref::<StepFailed>()),
        Some(&StepFailed { code: 7, command: "/bin/sh -c echo before; exit 7".into() })
    );
    assert!(out.log.contains("before") && !out.log.contains("STEP RUN echo never"));
    // What failed is not remembered.
    assert_eq!(bench.build("FROM bb\nRUN echo before; exit 7", &[]).await.cached(), 0);
    assert!(bench.engine.registry().of(bench.who.tenant).is_empty() && bench.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_mounts_and_secrets() {
    let Some(bench) = Bench::new().await else { return };
    let secrets = BTreeMap::from([("npmrc".to_owned(), b"token".to_vec())]);
    let request = || BuildRequest { secrets: secrets.clone(), ..Default::default() };
    let text = "FROM bb AS build
WORKDIR /out
RUN --mount=type=cache,target=/cache --mount=type=bind,target=/ctx --mount=type=secret,id=npmrc --mount=type=tmpfs,target=/scratch \\
  cat /ctx/a > a && cat /run/secrets/npmrc | wc -c > size && echo N >> /cache/n && wc -l < /cache/n > runs && touch /scratch/x && test -z \"$(touch /ctx/y 2>/dev/null && echo written)\"
FROM bb AS never
RUN exit 1
FROM scratch
COPY --from=build /out/ /
COPY --from=bb --chown=7:8 /etc/passwd /p
";
    let out = bench.build_with(text, &[("a", "A")], request()).await;
    let image = out.image();
    assert_eq!(bench.text(image, "a").await, "A");
    assert_eq!(bench.text(image, "size").await, "5\n");
    assert_eq!(bench.stat(image, "p").await, (7, 8, 0o644));
    assert!(!out.log.contains("never"), "{}", out.log);
    let layers = bench.engine.images_handle().layers(bench.who.tenant, &image).await.unwrap();
    assert_eq!(layers.len(), 2);
    // The cache folder is there the next time.
    let again = bench.build_with(&text.replace("echo N", "echo 2"), &[("a", "A")], request()).await;
    assert_eq!(bench.text(again.image(), "runs").await, "2\n");
    // Mount points that only the run needed are gone, and what was in a secret is nowhere.
    let build = bench.build_with(text, &[("a", "A")], BuildRequest { target: "build".into(), ..request() }).await;
    for absent in ["cache", "ctx", "scratch", "run"] {
        assert!(bench.path(build.image(), absent).await.is_none(), "{absent}");
    }
    let required = "FROM bb\nRUN --mount=type=secret,id=gone,required=true true";
    assert!(bench.build(required, &[]).await.error().contains("secret gone: not found"));
    assert!(bench.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_archives_and_targets() {
    let Some(bench) = Bench::new().await else { return };
    let request = BuildRequest { tags: vec!["base".into()], ..Default::default() };
    bench.build_with("FROM bb\nONBUILD COPY a /from-trigger\nONBUILD ENV T=1", &[], request).await.image();
    let inner = String::from_utf8(tar(&[("x/", ""), ("x/y", "unpacked")])).unwrap();
    let out = bench.build("FROM base\nADD in.tar /t/\nADD a /plain\nCOPY in.tar /copied.tar", &[("a", "A"), ("in.tar", &inner)]).await;
    let image = out.image();
    assert_eq!(bench.text(image, "from-trigger").await, "A");
    assert_eq!(bench.text(image, "t/x/y").await, "unpacked");
    assert_eq!(bench.text(image, "plain").await, "A");
    assert!(bench.path(image, "copied.tar").await.is_some() && bench.path(image, "t/in.tar").await.is_none());
    let view = bench.engine.image(&bench.who, &image.to_string()).await.unwrap();
    assert!(view.config.env.contains(&"T=1".to_owned()) && view.config.on_build.is_empty());
    let labels = BTreeMap::from([("l".to_owned(), "v".to_owned())]);
    let request = BuildRequest { target: "one".into(), labels, tags: vec!["t:1".into(), "t:2".into()], ..Default::default() };
    let out = bench.build_with("FROM bb AS one\nLABEL a=b\nFROM one AS two\nRUN exit 1", &[], request).await;
    let view = bench.engine.image(&bench.who, "t:2").await.unwrap();
    assert_eq!((view.id, view.config.labels["l"].as_str(), view.tags.len()), (out.image(), "v", 2));
    for (text, part) in [
        ("FROM bb\nRUNN x", "did you mean RUN?"),
        ("FROM bb\nENV a=${b:?must be given}", "must be given"),
        ("ARG X\nFROM $X", "base name is empty"),
    ] {
        let error = bench.build(text, &[]).await.error();
        assert!(error.contains(part), "{error}");
    }
}

/// CVE-2024-23652: a run that replaces its mount point by a link to elsewhere must not make the clean-up touch what the
/// link leads to.
#[tokio::test(flavor = "multi_thread")]
async fn sec_c11_a_mount_point_replaced_by_a_link_is_left_alone() {
    let Some(bench) = Bench::new().await else { return };
    let victim = bench.dir.path().join("victim");
    std::fs::create_dir_all(victim.join("empty")).unwrap();
    std::fs::write(victim.join("file"), "").unwrap();
    let path = victim.display();
    // The parent of the mount point is what can be swapped while the mount is there.
    let text = format!(
        "FROM bb\nRUN --mount=type=tmpfs,target=/a/empty --mount=type=cache,target=/a/file mv /a /b && ln -s {path} /a && ls -l / && test -L /a"
    );
    let out = bench.build(&text, &[]).await;
    assert!(victim.join("empty").is_dir() && victim.join("file").is_file(), "{}", out.log);
    // And ids of caches are no paths.
    let out = bench.build("FROM bb\nRUN --mount=type=cache,id=../../../../victim,target=/c touch /c/in", &[]).await;
    out.image();
    assert!(!victim.join("in").exists());
}

/// CVE-2024-23653: no build gets more than its subject may have, however it asks.
#[tokio::test(flavor = "multi_thread")]
async fn sec_h6_builds_get_no_privileges_without_a_grant() {
    let Some(bench) = Bench::new().await else { return };
    for line in ["RUN --security=insecure true", "RUN --network=host true"] {
        let out = bench.build(&format!("FROM bb\n{line}"), &[]).await;
        assert_eq!(out.image.as_ref().unwrap_err().kind(), Kind::Forbidden, "{line}: {}", out.error());
    }
    let request = BuildRequest { security_opt: vec!["seccomp=unconfined".into()], ..Default::default() };
    assert_eq!(bench.build_with("FROM bb\nRUN true", &[], request).await.image.unwrap_err().kind(), Kind::Forbidden);
}

/// CVE-2024-11218: a bind mount's source stays in what it is of.
#[tokio::test(flavor = "multi_thread")]
async fn sec_c10_sources_of_mounts_stay_inside() {
    let Some(bench) = Bench::new().await else { return };
    let files: Files<'_> = &[("out -> /", ""), ("up -> ../../../..", ""), ("f", "in the context")];
    for source in ["out", "up", "out/etc", "up/etc/passwd"] {
        let text = format!("FROM bb\nRUN --mount=type=bind,source={source},target=/m ls /m/ && cat /m/f");
        let out = bench.build(&text, files).await;
        match out.image {
            // The link leads to the context's own root.
            Ok(_) => assert!(out.log.contains("in the context"), "{}", out.log),
            Err(_) => assert!(!out.log.contains("root:"), "{}", out.log),
        }
    }
}

/// CVE-2024-24557: what one tenant built is never another's cache, and a base image that only says it is another is not it.
#[tokio::test(flavor = "multi_thread")]
async fn sec_h5_nobody_elses_steps_are_remembered() {
    let Some(mut bench) = Bench::new().await else { return };
    let text = "FROM bb\nRUN echo built > /x";
    bench.build(text, &[]).await.image();
    let tx = bench.engine.inventory().begin().await.unwrap();
    let other = bench.engine.tenants().create_team(tx, "other", UserId(2)).await.unwrap();
    bench.who.tenant = other.id;
    bench.who.tenant_name = "other".into();
    let Some(layer) = busybox() else { return };
    let new = NewImage { layer: Some(stream(layer)), names: vec!["bb".into()], ..NewImage::default() };
    bench.engine.images_handle().create_from(other.id, new).await.unwrap();
    assert_eq!(bench.build(text, &[]).await.cached(), 0);
    assert!(bench.engine.build_cache(&bench.who).await.unwrap().len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_goes_away_cancels_the_build() {
    let Some(bench) = Bench::new().await else { return };
    let request = BuildRequest { network: "none".into(), ..Default::default() };
    let context = stream(tar(&[("Dockerfile", "FROM bb\nRUN echo up; sleep 1000")]));
    let mut events = bench.engine.build(&bench.who, request, Some(context)).await.unwrap();
    while let Some(event) = events.next().await {
        if matches!(event, BuildEvent::Output(..)) {
            break;
        }
    }
    assert_eq!(bench.engine.registry().of(bench.who.tenant).len(), 1);
    drop(events);
    while !(bench.engine.registry().of(bench.who.tenant).is_empty() && bench.leftovers().is_empty()) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// dockerd forgets the steps of an image with the image: a RUN runs again after `docker rmi`.
#[tokio::test(flavor = "multi_thread")]
async fn steps_go_with_the_last_image_that_was_built_of_them() {
    let Some(bench) = Bench::new().await else { return };
    let text =
        |label: &str| format!("FROM bb AS other\nRUN echo other > /o\nFROM bb\nCOPY --from=other /o /o\nRUN echo said\nLABEL l={label}\n");
    let tagged = |name: &str| BuildRequest { tags: vec![name.into()], ..BuildRequest::default() };
    let first = bench.build_with(&text("1"), &[], tagged("first")).await;
    assert!(first.log.contains("said\n"), "{}", first.log);
    let second = bench.build_with(&text("2"), &[], tagged("second")).await;
    assert_eq!(second.cached(), 3, "{}", second.log);
    // The other image still stands for them.
    bench.engine.remove_image(&bench.who, "first", false, false).await.unwrap();
    assert_eq!(bench.build_with(&text("2"), &[], tagged("second")).await.cached(), 4);
    bench.engine.remove_image(&bench.who, "second", false, false).await.unwrap();
    let again = bench.build_with(&text("2"), &[], tagged("second")).await;
    assert!(again.log.contains("said\n"), "{}", again.log);
    // What a stage did that is in no image stays, as dockerd keeps its nameless image.
    assert_eq!(again.cached(), 1, "{}", again.log);
}

/// A server of one file; says how old it is.
async fn web(content: &'static [u8], modified: &'static str) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{modified}\r\n", content.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(content).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn files_from_the_web() {
    let Some(mut bench) = Bench::new().await else { return };
    let modified = "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n";
    let at = web(b"from the web", modified).await;
    let text = format!("FROM scratch\nADD http://{at}/a.txt http://{at}/c /in/\nADD --chmod=644 http://{at}/a.txt /b\n");
    // A tenant gets nothing that only this host can reach.
    let refused = bench.build(&text, &[]).await.error();
    assert!(refused.contains("127.0.0.1 is not an address of the public internet"), "{refused}");
    let tx = bench.engine.inventory().begin().await.unwrap();
    let own = bench.engine.tenants().personal(tx, UserId(2), "admin").await.unwrap();
    bench.who = Subject { user: Some(UserId(2)), tenant: own.id, tenant_name: own.name.clone(), role: Role::Admin, ..bench.who.clone() };
    let built = bench.build(&text, &[]).await;
    assert_eq!(bench.text(built.image(), "in/a.txt").await, "from the web");
    assert_eq!((bench.stat(built.image(), "in/c").await, bench.stat(built.image(), "b").await), ((0, 0, 0o600), (0, 0, 0o644)));
    let file = bench.path(built.image(), "b").await.unwrap();
    assert_eq!(file.metadata().unwrap().mtime(), 1_000_000_000);
    assert_eq!(bench.build(&text, &[]).await.cached(), 2);
    let right = Digest::of(b"from the web");
    assert!(bench.build(&format!("FROM scratch\nADD --checksum={right} http://{at}/x /\n"), &[]).await.image.is_ok());
    let wrong = bench.build(&format!("FROM scratch\nADD --checksum={} http://{at}/x /\n", Digest::of(b"other")), &[]).await.error();
    assert!(wrong.contains("digest mismatch"), "{wrong}");
    let mixed = bench.build(&format!("FROM scratch\nADD local http://{at}/x /both/\n"), &[("local", "l")]).await;
    assert_eq!(
        (bench.text(mixed.image(), "both/local").await, bench.text(mixed.image(), "both/x").await),
        ("l".into(), "from the web".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_from_the_web() {
    let Some(mut bench) = Bench::new().await else { return };
    let tx = bench.engine.inventory().begin().await.unwrap();
    let own = bench.engine.tenants().personal(tx, UserId(2), "admin").await.unwrap();
    bench.who = Subject { user: Some(UserId(2)), tenant: own.id, tenant_name: own.name.clone(), role: Role::Admin, ..bench.who.clone() };
    let archive: &'static [u8] = Box::leak(tar(&[("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "1")]).into_boxed_slice());
    let request = |at: std::net::SocketAddr, path: &str| BuildRequest { remote: format!("http://{at}/{path}"), ..BuildRequest::default() };
    let built = bench.build_with("", &[], request(web(archive, "").await, "context.tar")).await;
    assert_eq!(bench.text(built.image(), "f").await, "1");
    let at = web(b"FROM scratch\nLABEL a=b\n", "").await;
    bench.build_with("", &[], request(at, "Anything")).await.image();
}
