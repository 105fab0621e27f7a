//! Real containers in real namespaces, looked at from outside. Need root; skipped loudly where the kernel lacks something.

use super::plan::{CapSets, CgroupFds, CgroupView, IdMap, LogDriver, LogPlan, V1Hierarchy};
use super::*;
use crate::ContainerId;
use crate::container::request::{Attached, StreamKind};
use futures_util::StreamExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const BASE: u32 = 1_879_048_192 + 65_536 * 4000;
/// Docker's fourteen.
const CAPS: u64 = 0xa804_25fb;

/// A data root with a busybox image, and the runtime on it.
struct Host {
    folder: tempfile::TempDir,
    runtime: Runtime,
    layers: rootfs::Layers,
}

/// What came out of a container.
#[derive(Debug, Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim_end()
    }
}

fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

impl Host {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        let Some(busybox) = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()) else {
            skip("needs busybox-static");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("wharf-rt").tempdir().unwrap();
        let layer = folder.path().join("layer");
        for name in ["bin", "etc", "tmp", "root", "lib"] {
            std::fs::create_dir_all(layer.join(name)).unwrap();
        }
        std::fs::copy(busybox, layer.join("bin/busybox")).unwrap();
        for name in [
            "sh", "true", "false", "cat", "id", "ls", "echo", "sleep", "hostname", "stty", "tty", "head", "wc", "touch", "mount", "kill",
            "seq", "readlink", "dd", "test", "stat", "nc", "yes", "mkdir", "env", "pwd", "ps", "mknod", "grep",
        ] {
            symlink("busybox", layer.join("bin").join(name)).unwrap();
        }
        std::fs::set_permissions(layer.join("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        std::fs::write(layer.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n").unwrap();
        std::fs::write(layer.join("bin/notexec"), "x").unwrap();
        std::fs::write(layer.join("bin/badformat"), "\u{1}\u{2}not a program").unwrap();
        std::fs::set_permissions(layer.join("bin/badformat"), PermissionsExt::from_mode(0o755)).unwrap();
        let spawner = Spawner::start().unwrap();
        let runtime = Runtime::at(spawner, &folder.path().join("run")).unwrap();
        Some(Self { folder, runtime, layers: rootfs::Layers::new() })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn prepare(&self) -> Prepare {
        let map = vec![IdMap { inside: 0, outside: BASE, size: 65536 }];
        Prepare {
            user: UserNamespace::Own { uids: map.clone(), gids: map },
            pid: Namespace::Own,
            net: Namespace::Own,
            ipc: Namespace::Own,
            uts: Namespace::Own,
            cgroup_ns: Namespace::Own,
            cgroup: CgroupFds { v2: None, v1_tasks: Vec::new() },
            cgroup_view: CgroupView::Nothing,
            shm_size: 64 << 20,
            masked: default_masked_paths(),
            read_only: default_read_only_paths(),
            sys_writable: false,
        }
    }

    fn process(args: &[&str]) -> Process {
        Process {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            env: vec!["PATH=/bin".into(), "HOME=/root".into()],
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            caps: CapSets { bounding: CAPS, permitted: CAPS, effective: CAPS, ambient: 0 },
            no_new_privs: false,
            seccomp: vec![],
            rlimits: vec![],
            oom_score_adj: 0,
            apparmor: String::new(),
            tty: false,
            console_size: (0, 0),
            stdin: false,
            stdin_once: false,
        }
    }

    /// A plan for a new container: root overlay, run and log folders.
    async fn plan(&self, id: &ContainerId, args: &[&str]) -> (Plan, Fds) {
        let mut fds = Fds::new();
        let user_ns = self.runtime.user_namespace_of_block(BASE, 65536).await.unwrap();
        let folder = self.path().join(id.short());
        for name in ["upper", "work", "log"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            if name != "log" {
                chown(folder.join(name), Some(BASE), Some(BASE)).unwrap();
            }
        }
        let layer = self.path().join("layer");
        let root =
            self.layers.overlay(&[layer], &folder.join("upper"), &folder.join("work"), Some(std::os::fd::AsFd::as_fd(&user_ns))).unwrap();
        let log = std::fs::File::open(folder.join("log")).unwrap();
        let plan = Plan {
            process: Self::process(args),
            root: fds.add(root),
            root_read_only: false,
            mounts: vec![],
            hostname: id.short().to_owned(),
            domainname: String::new(),
            sysctls: vec![],
            init: false,
            log: LogPlan {
                driver: LogDriver::Local,
                dir: Some(fds.add(log)),
                file: logfile::FILE.into(),
                max_size: logfile::MAX_SIZE,
                max_files: logfile::MAX_FILES,
            },
            run_dir: fds.add(self.runtime.make_folder(id).unwrap()),
        };
        (plan, fds)
    }

    fn log_file(&self, id: &ContainerId) -> PathBuf {
        self.path().join(id.short()).join("log").join(logfile::FILE)
    }

    async fn start(&self, args: &[&str], change: impl FnOnce(&mut Plan)) -> Result<(ContainerId, Shim, Attached), StartError> {
        let id = ContainerId::random();
        let (mut plan, fds) = self.plan(&id, args).await;
        change(&mut plan);
        let mut prepared = self.runtime.prepare(&self.prepare(), &Fds::new()).await?;
        let streams = Streams { stdin: plan.process.stdin, stdout: true, stderr: true };
        let attached = prepared.attach(streams, plan.process.tty).unwrap();
        let shim = self.runtime.start(&id, prepared, &plan, fds).await?;
        Ok((id, shim, attached))
    }

    async fn run(&self, args: &[&str], change: impl FnOnce(&mut Plan)) -> Result<(ExitRecord, Output), StartError> {
        let (_, shim, attached) = self.start(args, change).await?;
        let output = collect(attached).await;
        Ok((shim.exited().await, output))
    }

    async fn sh(&self, script: &str) -> Output {
        let (exit, output) = self.run(&["sh", "-c", script], |_| {}).await.unwrap();
        assert_eq!(exit.code, 0, "{script}: {output:?}");
        output
    }
}

async fn collect(mut attached: Attached) -> Output {
    drop(attached.input.take());
    let mut all = Output::default();
    while let Some(chunk) = attached.output.next().await {
        let chunk = chunk.unwrap();
        match chunk.stream {
            StreamKind::Stdout => all.stdout.extend_from_slice(&chunk.bytes),
            StreamKind::Stderr => all.stderr.extend_from_slice(&chunk.bytes),
        }
    }
    all
}

/// Waits for a condition, at most ten seconds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

fn status(pid: i32, key: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with(&format!("{key}:"))).unwrap();
    line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_program_runs_and_its_exit_code_comes_back() {
    let Some(host) = Host::new() else { return };
    let (exit, output) = host.run(&["true"], |_| {}).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.lost), (0, 0, false));
    assert_eq!(output.stdout, b"");
    for (script, code, signal) in [("exit 1", 1, 0), ("exit 42", 42, 0), ("kill -9 $$", 0, 0)] {
        let (exit, _) = host.run(&["sh", "-c", script], |_| {}).await.unwrap();
        // Process 1 of a namespace cannot kill itself: the third ends normally.
        assert_eq!((exit.code, exit.signal), (code, signal), "{script}");
    }
    let (_, output) = host.run(&["sh", "-c", "echo out; echo err >&2"], |_| {}).await.unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
}

#[tokio::test]
async fn programs_that_cannot_run_say_what_docker_says() {
    let Some(host) = Host::new() else { return };
    for (program, message, code) in [
        ("nosuch", r#"exec: "nosuch": executable file not found in $PATH"#, 127),
        ("/nosuch", r#"exec: "/nosuch": stat /nosuch: no such file or directory"#, 127),
        ("/bin/notexec", r#"exec: "/bin/notexec": permission denied"#, 126),
        ("/etc", r#"exec: "/etc": is a directory"#, 126),
        ("/bin/badformat", "exec /bin/badformat: exec format error", 126),
    ] {
        let error = host.run(&[program], |_| {}).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.exit_code()), (message, code));
    }
}
