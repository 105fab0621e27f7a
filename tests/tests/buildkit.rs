//! BuildKit's door with its real clients: buildx and Compose. Which versions is the machine's matter (`WHARF_E2E_PLUGINS`
//! names a folder with others); without them these tests say so.

use e2e::cli::plugin;
use e2e::{Docker, Output, Server, skip, until};
use std::path::{Path, PathBuf};

const ANN: u32 = 5;
const BEN: u32 = 6;

/// A server, and root's docker with buildx.
fn buildx() -> Option<(Server, Docker, PathBuf)> {
    let Some(plugin) = plugin("docker-buildx") else {
        skip("docker-buildx is not installed: BuildKit's door was not tested with it");
        return None;
    };
    let server = Server::start();
    let docker = server.docker().plugins(std::slice::from_ref(&plugin));
    server.load_busybox_for(&docker);
    Some((server, docker, plugin))
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    // Other accounts are to read it too.
    std::os::unix::fs::chown(folder.path(), Some(ANN), Some(ANN)).expect("giving a folder away");
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, content).expect("a file");
    }
    folder
}

fn build(docker: &Docker, context: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["build", "--progress=plain"];
    all.extend(arguments);
    let context = context.to_string_lossy().into_owned();
    all.push(&context);
    docker.run(&all)
}

const PROJECT: &[(&str, &str)] = &[
    (
        "Dockerfile",
        "# syntax=docker/dockerfile:1\nARG BASE=busybox\nFROM $BASE AS build\nWORKDIR /work\nCOPY src/ ./src/\nRUN cat src/a > out && echo said\nFROM busybox AS unused\nRUN false\nFROM $BASE\nENV X=1\nLABEL a=b\nCOPY --from=build --chown=5:5 /work/out /out\nCOPY . /all\nCMD [\"cat\", \"/out\"]\n",
    ),
    (".dockerignore", "*.md\n!keep.md\n"),
    ("src/a", "content\n"),
    ("note.md", "ignored\n"),
    ("keep.md", "kept\n"),
];

#[test]
fn both_doors_make_the_same_image() {
    let Some((server, docker, _)) = buildx() else { return };
    let context = folder(PROJECT);
    let first = build(&docker, context.path(), &["-t", "door:1", "--label", "l=v"]).succeeded();
    for part in
        ["[build 4/4] RUN cat src/a > out && echo said", "said", "[stage-2 2/3] COPY --from=build", "naming to docker.io/library/door:1"]
    {
        assert!(first.stderr.contains(part), "{part:?} is not shown:\n{}", first.stderr);
    }
    assert!(!first.stderr.contains("RUN false"), "a stage that nothing needs was built");
    assert_eq!(docker.text(&["run", "--rm", "door:1"]), "content");
    assert_eq!(docker.text(&["run", "--rm", "door:1", "ls", "/all"]), "Dockerfile\nkeep.md\nsrc");
    let id = docker.inspect("door:1", "{{.Id}}");
    let again = build(&docker, context.path(), &["-t", "door:2", "--label", "l=v"]).succeeded();
    assert_eq!(again.stderr.matches("CACHED").count(), 7, "{}", again.stderr);
    assert_eq!(docker.inspect("door:2", "{{.Id}}"), id);
    // The classic door: the same builder, so the same files and the same configuration. It is as old as its last declaration
    // there, as with dockerd's classic builder, so its id is another one.
    server.docker().run(&["build", "-t", "door:3", "--label", "l=v", &context.path().to_string_lossy()]).succeeded();
    let says = |name: &str| docker.inspect(name, "{{json .Config}} {{json .RootFS}}");
    assert_eq!(says("door:3"), says("door:1"));
}

#[test]
fn failures_show_their_place_and_leave_nothing() {
    let Some((_server, docker, _)) = buildx() else { return };
    let before = docker.text(&["images", "-aq"]);
    for (file, parts) in [
        (
            "FROM busybox\nRUN echo one; exit 7\n",
            &["process \"/bin/sh -c echo one; exit 7\" did not complete successfully: exit code: 7", ">>> RUN echo one", "one"][..],
        ),
        ("FROM busybox\nCOPY nothing /x\n", &["nothing", ">>> COPY nothing /x"]),
        ("FROM busybox\nRUNN x\n", &["did you mean RUN?", ">>> RUNN x"]),
        ("FROM busybox\nRUN --mount=type=secret,id=gone,required true\n", &["secret gone: not found"]),
    ] {
        let context = folder(&[("Dockerfile", file)]);
        let failed = build(&docker, context.path(), &[]).exited(1);
        for part in parts {
            assert!(failed.stderr.contains(part), "{part:?} is not in:\n{}", failed.stderr);
        }
    }
    assert_eq!(docker.text(&["images", "-aq"]), before, "a failed build left an image");
    assert_eq!(docker.text(&["ps", "-aq"]), "");
}

#[test]
fn a_client_that_goes_ends_its_build() {
    let Some((server, docker, _)) = buildx() else { return };
    let context = folder(&[("Dockerfile", "FROM busybox\nRUN sleep 1000\n")]);
    let path = context.path().to_string_lossy().into_owned();
    let mut client = docker.start(&["build", &path]);
    let running = || docker.text(&["ps", "-q"]);
    until("the step runs", || (!running().is_empty()).then_some(()));
    client.kill().expect("ending the client");
    client.wait().expect("the client's end");
    until("the step is gone", || docker.text(&["ps", "-aq"]).is_empty().then_some(()));
    let builds = server.folder().join("data/builds");
    until("the build's folder is gone", || std::fs::read_dir(&builds).is_ok_and(|mut list| list.next().is_none()).then_some(()));
}

#[test]
fn secrets_contexts_and_outputs() {
    let Some((_server, docker, _)) = buildx() else { return };
    let context = folder(&[
        (
            "Dockerfile",
            "FROM base\nRUN --mount=type=secret,id=tok cat /run/secrets/tok > /file\nRUN --mount=type=secret,id=tok,env=TOK echo \"$TOK\" > /env\nCOPY --from=docs doc /doc\nRUN --mount=from=docs,target=/m cp /m/doc /mounted\n",
        ),
        ("tok", "s3cret\n"),
        ("docs/doc", "docs\n"),
    ]);
    let at = |path: &str| context.path().join(path).to_string_lossy().into_owned();
    let (secret, docs, out) = (format!("id=tok,src={}", at("tok")), format!("docs={}", at("docs")), at("out"));
    let output = format!("type=local,dest={out}");
    let images = docker.text(&["images", "-aq"]);
    let common = ["--secret", &secret, "--build-context", &docs, "--build-context", "base=docker-image://busybox"];
    build(&docker, context.path(), &[&common[..], &["-o", &output]].concat()).succeeded();
    for (file, content) in [("file", "s3cret\n"), ("env", "s3cret\n\n"), ("doc", "docs\n"), ("mounted", "docs\n")] {
        assert_eq!(std::fs::read_to_string(Path::new(&out).join(file)).expect(file), content, "{file}");
    }
    assert_eq!(docker.text(&["images", "-aq"]), images, "files for the client left an image");
    let (iid, metadata) = (at("iid"), at("metadata"));
    build(&docker, context.path(), &[&common[..], &["-t", "a:1", "-t", "b:2", "--iidfile", &iid, "--metadata-file", &metadata]].concat())
        .succeeded();
    let id = std::fs::read_to_string(&iid).expect("the image's id");
    assert_eq!((docker.inspect("a:1", "{{.Id}}"), docker.inspect("b:2", "{{.Id}}")), (id.clone(), id.clone()));
    let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(&metadata).expect("metadata")).expect("JSON");
    assert_eq!(metadata["containerimage.config.digest"], id);
    assert_eq!(metadata["image.name"], "docker.io/library/a:1,docker.io/library/b:2");
    // The secret is in no configuration and no history.
    let history = docker.text(&["history", "--no-trunc", "a:1"]);
    assert!(!history.contains("s3cret"), "{history}");
}

#[test]
fn dockerfiles_are_checked() {
    let Some((_server, docker, _)) = buildx() else { return };
    let context = folder(&[("Dockerfile", "FROM busybox AS one\nMAINTAINER x\nFROM one as two\nARG V=1\nLABEL a=$NO\n")]);
    let built = build(&docker, context.path(), &[]).succeeded();
    for said in [
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
        "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 3)",
        "UndefinedVar: Usage of undefined variable '$NO' (line 5)",
    ] {
        assert!(built.stderr.contains(said), "{said:?} is not shown:\n{}", built.stderr);
    }
    let strict = folder(&[("Dockerfile", "# check=error=true\nFROM busybox\nMAINTAINER x\n")]);
    let failed = build(&docker, strict.path(), &[]).exited(1);
    assert!(failed.stderr.contains("lint violation found for rules: MaintainerDeprecated"), "{}", failed.stderr);
    // The word for it is --call from buildx 0.15 on.
    for (question, parts) in [("targets", &["one", "two"][..]), ("outline", &["two", "V"])] {
        let path = context.path().to_string_lossy().into_owned();
        let asked = |flag: &str| {
            let mut command = docker.command(&["buildx", "build", &format!("--{flag}={question}"), &path]);
            Output::of(command.env("BUILDX_EXPERIMENTAL", "1").stdin(std::process::Stdio::null()))
        };
        let answer = Some(asked("call")).filter(|o| o.code == 0).unwrap_or_else(|| asked("print")).succeeded();
        for part in parts {
            assert!(answer.stdout.contains(part), "{part:?} is not in the {question}:\n{}\n{}", answer.stdout, answer.stderr);
        }
    }
}

#[test]
fn contexts_by_standard_input() {
    let Some((_server, docker, _)) = buildx() else { return };
    docker.with_input(&["build", "-t", "alone", "-"], b"FROM busybox\nRUN echo alone > /x\n").succeeded();
    assert_eq!(docker.text(&["run", "--rm", "alone", "cat", "/x"]), "alone");
    let context = folder(&[("Dockerfile", "FROM busybox\nCOPY f /f\n"), ("f", "from a tar\n")]);
    let tar = std::process::Command::new("tar").args(["-C", &context.path().to_string_lossy(), "-c", "."]).output().expect("tar");
    docker.with_input(&["build", "-t", "tarred", "-"], &tar.stdout).succeeded();
    assert_eq!(docker.text(&["run", "--rm", "tarred", "cat", "/f"]), "from a tar");
}

#[test]
fn bake_and_a_remote_builder() {
    let Some((server, docker, _)) = buildx() else { return };
    let context = folder(&[(
        "docker-bake.json",
        r#"{"group":{"default":{"targets":["app","tool"]}},"target":{
            "base":{"dockerfile-inline":"FROM busybox\nRUN echo base > /base"},
            "app":{"contexts":{"base":"target:base"},"dockerfile-inline":"FROM base\nRUN cat /base && echo app > /app","tags":["app:1"]},
            "tool":{"inherits":["app"],"tags":["tool:1"],"labels":{"x":"y"}}}}"#,
    )]);
    let file = context.path().join("docker-bake.json").to_string_lossy().into_owned();
    docker.run(&["buildx", "bake", "--progress=plain", "-f", &file]).succeeded();
    assert_eq!(docker.text(&["run", "--rm", "tool:1", "cat", "/base", "/app"]), "base\napp");
    assert_eq!(docker.inspect("tool:1", "{{.Config.Labels.x}}"), "y");
    // HTTP/2 from the first byte, the session inside of it, and the image back through `docker load`.
    let socket = format!("unix://{}", server.socket().display());
    docker.run(&["buildx", "create", "--name", "r", "--driver", "remote", &socket]).succeeded();
    let project = folder(PROJECT);
    let path = project.path().to_string_lossy().into_owned();
    docker.run(&["buildx", "build", "--builder", "r", "-t", "remote:1", "--load", &path]).succeeded();
    assert_eq!(docker.text(&["run", "--rm", "remote:1"]), "content");
    let used = docker.run(&["buildx", "du"]).succeeded();
    assert!(used.stdout.contains("Reclaimable:"), "{}", used.stdout);
    docker.run(&["buildx", "prune", "-af"]).succeeded();
    assert!(!docker.run(&["buildx", "du"]).succeeded().stdout.contains("true"), "prune left something");
}

#[test]
fn people_build_for_themselves() {
    let Some((server, _, plugin)) = buildx() else { return };
    if !server.is_wharf() {
        return;
    }
    let context = folder(&[("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c echo ann >> /c/f; wc -l < /c/f > /n\n")]);
    let mut said = Vec::new();
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
        let docker = server.docker_as(uid).plugins(std::slice::from_ref(&plugin));
        server.load_busybox_for(&docker);
        std::os::unix::fs::chown(context.path(), Some(uid), Some(uid)).expect("giving the context away");
        build(&docker, context.path(), &["-t", "own"]).succeeded();
        said.push(docker.text(&["run", "--rm", "own", "cat", "/n"]));
        assert!(docker.text(&["images", "-q", "own"]).lines().count() == 1);
    }
    assert_eq!(said, ["1", "1"], "a cache is one tenant's");
}

#[test]
fn compose_builds() {
    let Some(compose) = plugin("docker-compose") else { return skip("docker-compose is not installed: builds of Compose were not tested") };
    let server = Server::start();
    // With buildx where it is there: Compose 5 builds by it.
    let plugins: Vec<PathBuf> = [Some(compose), plugin("docker-buildx")].into_iter().flatten().collect();
    let docker = server.docker().plugins(&plugins);
    server.load_busybox_for(&docker);
    let project = folder(&[
        (
            "compose.yaml",
            "name: doortest\nservices:\n  web:\n    build: {context: app, args: {V: \"7\"}, secrets: [tok]}\n    image: composed:1\n    network_mode: none\n    command: [\"cat\", \"/v\"]\nsecrets:\n  tok: {file: ./tok}\n",
        ),
        (
            "app/Dockerfile",
            "FROM busybox\nARG V\nRUN --mount=type=secret,id=tok grep -q s3cret /run/secrets/tok && echo v=$V > /v\nCMD [\"cat\", \"/v\"]\n",
        ),
        ("tok", "s3cret\n"),
    ]);
    let file = project.path().join("compose.yaml").to_string_lossy().into_owned();
    docker.run(&["compose", "-f", &file, "build"]).succeeded();
    assert_eq!(docker.text(&["run", "--rm", "composed:1"]), "v=7");
    let up = docker.run(&["compose", "-f", &file, "up", "--build"]);
    docker.run(&["compose", "-f", &file, "down", "-t", "1"]);
    assert!(up.succeeded().stdout.contains("v=7"));
}
