//! Git repositories as contexts and sources of ADD, by the host's git in a container of the tenant's: from a git server on
//! loopback, which an administrator's build on the host's network reaches and a tenant's does not.

use e2e::cli::plugin;
use e2e::{Output, Server, skip, until};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const ANN: u32 = 5;

/// `git daemon` on a port of its own; it ends with this value.
struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always"]);
    command.args(arguments).current_dir(folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    Output::of(&mut command).succeeded()
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
}

impl Daemon {
    fn start() -> Option<Self> {
        e2e::program("git")?;
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let at = folder.path().display().to_string();
        let mut command = Command::new("git");
        command.args(["daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", &format!("--port={port}")]);
        command.args([&format!("--base-path={at}"), &at]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().ok()?;
        let address = format!("127.0.0.1:{port}");
        until("the git server listens", || TcpStream::connect(&address).ok());
        Some(Self { child, folder, address })
    }

    /// A repository with a tag, a branch and a hook; its folder.
    fn repository(&self, name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        git(&folder, &["init", "-q"]);
        write(&folder, files);
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-qm", "one"]);
        folder
    }

    fn url(&self, rest: &str) -> String {
        format!("git://{}/{rest}", self.address)
    }
}

#[test]
fn repositories_are_contexts_and_sources() {
    let Some(daemon) = Daemon::start() else { return skip("git is not installed: git contexts were not built") };
    let server = Server::start();
    let classic = server.load_busybox();
    let folder = daemon.repository(
        "app.git",
        &[
            ("Dockerfile", "FROM busybox\nCOPY . /all\nCMD [\"cat\", \"/all/which\"]\n"),
            ("which", "first\n"),
            ("sub/Dockerfile", "FROM busybox\nCOPY . /all\nCMD [\"cat\", \"/all/which\"]\n"),
            ("sub/which", "sub\n"),
            (".dockerignore", "drop\n"),
            ("drop", "ignored\n"),
        ],
    );
    git(&folder, &["tag", "v1"]);
    let first = git(&folder, &["rev-parse", "HEAD"]).text().to_owned();
    write(&folder, &[("which", "second\n")]);
    git(&folder, &["commit", "-qam", "two"]);
    let ran = |docker: &e2e::Docker, reference: &str| {
        docker.run(&["build", "--network=host", "-t", "app", &daemon.url(reference)]).succeeded();
        docker.text(&["run", "--rm", "app"])
    };
    match plugin("docker-buildx") {
        None => skip("docker-buildx is not installed: git contexts were not built with it"),
        Some(buildx) => {
            let modern = server.docker().plugins(&[buildx]);
            assert_eq!(ran(&modern, "app.git"), "second");
            assert_eq!(ran(&modern, "app.git#v1"), "first");
            assert_eq!(ran(&modern, &format!("app.git#{first}")), "first");
            assert_eq!(ran(&modern, "app.git#main:sub"), "sub");
            assert_eq!(modern.text(&["run", "--rm", "app", "ls", "-A", "/all"]), "Dockerfile\nwhich");
            ran(&modern, "app.git");
            assert_eq!(modern.text(&["run", "--rm", "app", "ls", "-A", "/all"]), ".dockerignore\nDockerfile\nsub\nwhich");
            let absent = modern.run(&["build", "--network=host", &daemon.url("app.git#nothing")]);
            assert!(absent.code != 0 && absent.stderr.contains("couldn't find remote ref nothing"), "{}", absent.stderr);
            let named = modern.with_input(
                &["build", "--network=host", "-t", "named", "--build-context", &format!("src={}", daemon.url("app.git#v1:sub")), "-"],
                b"FROM busybox\nCOPY --from=src which /which\n",
            );
            named.succeeded();
            assert_eq!(modern.text(&["run", "--rm", "named", "cat", "/which"]), "sub");
        }
    }
    // The API's `remote`, which the classic CLI never sends: it clones by itself.
    let path = format!("/build?t=remote&networkmode=host&remote={}", daemon.url("app.git%23v1"));
    let built = server.request("POST", &path, None);
    assert!(built.status == 200 && built.text().contains("Successfully built"), "{}", built.text());
    assert_eq!(classic.text(&["run", "--rm", "remote"]), "first");
    // ADD
    let add =
        |line: &str| classic.with_input(&["build", "--network=host", "-t", "added", "-"], format!("FROM busybox\n{line}\n").as_bytes());
    add(&format!("ADD --chown=5:6 {} /src", daemon.url("app.git#v1"))).succeeded();
    assert_eq!(classic.text(&["run", "--rm", "added", "stat", "-c", "%u:%g", "/src/which"]), "5:6");
    assert_eq!(classic.text(&["run", "--rm", "added", "ls", "-A", "/src"]), ".dockerignore\nDockerfile\ndrop\nsub\nwhich");
    let again = add(&format!("ADD --chown=5:6 {} /src", daemon.url("app.git#v1"))).succeeded();
    assert!(again.stdout.contains("Using cache"), "the same commit was copied again:\n{}", again.stdout);
    add(&format!("ADD --keep-git-dir=true --checksum={first} {} /src/", daemon.url("app.git#v1"))).succeeded();
    assert_eq!(classic.text(&["run", "--rm", "added", "cat", "/src/.git/HEAD"]), first);
    let wrong = add(&format!("ADD --checksum=0123456789 {} /src/", daemon.url("app.git#v1")));
    assert!(wrong.code != 0 && wrong.stderr.contains("expected checksum to match 0123456789"), "{}", wrong.stderr);
}

/// CVE-2024-32002, CVE-2017-1000117, CVE-2022-39253: submodules whose address is a command or a path of the host, and hooks.
#[test]
fn sec_h7_hostile_repositories_and_the_hosts_loopback() {
    let Some(daemon) = Daemon::start() else { return skip("git is not installed: hostile repositories were not built") };
    let server = Server::start();
    let docker = server.load_busybox();
    for (name, address) in [("ext.git", "ext::sh -c touch% /git/tree/owned"), ("file.git", "file:///etc"), ("path.git", "/usr/share/doc")] {
        let folder = daemon.repository(name, &[("Dockerfile", "FROM busybox\n")]);
        let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = {address}\n");
        write(&folder, &[(".gitmodules", &modules)]);
        let commit = git(&folder, &["rev-parse", "HEAD"]).text().to_owned();
        git(&folder, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},x")]);
        git(&folder, &["add", ".gitmodules"]);
        git(&folder, &["commit", "-qm", "a submodule"]);
        let built = docker.with_input(&["build", "--network=host", "-"], format!("FROM busybox\nADD {} /x\n", daemon.url(name)).as_bytes());
        assert!(built.code != 0 && built.stderr.contains("failed to fetch remote"), "{name}: {}\n{}", built.stdout, built.stderr);
    }
    // A tenant's git has the tenant's network: what listens on the host alone is not there.
    if server.is_wharf() {
        daemon.repository("plain.git", &[("Dockerfile", "FROM busybox\n")]);
        server.add_user("ann", ANN);
        let ann = server.docker_as(ANN);
        server.load_busybox_for(&ann);
        let line = format!("FROM busybox\nADD {} /x\n", daemon.url("plain.git"));
        let built = ann.with_input(&["build", "-"], line.as_bytes());
        assert!(built.code != 0 && built.stderr.contains("failed to fetch remote"), "{}\n{}", built.stdout, built.stderr);
        let host = ann.with_input(&["build", "--network=host", "-"], line.as_bytes());
        assert!(host.code != 0 && !host.stderr.contains("failed to fetch remote"), "the host's network needs a grant: {}", host.stderr);
    }
    assert_eq!(docker.text(&["ps", "-aq"]), "", "a container that fetched stays");
}
