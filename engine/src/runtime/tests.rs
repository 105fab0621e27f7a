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
                attrs: String::new(),
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
        ("/etc", r#"exec: "/etc": is a directory: permission denied"#, 126),
        ("/bin/badformat", "exec /bin/badformat: exec format error", 126),
    ] {
        let error = host.run(&[program], |_| {}).await.unwrap_err();
        assert_eq!((error.message.as_str(), error.exit_code()), (message, code));
    }
}

#[tokio::test]
async fn the_host_sees_the_tenants_ids_and_dockers_confinement() {
    let Some(host) = Host::new() else { return };
    // A filter that allows everything shows in the status all the same.
    let allow = plan::Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
    let (_, shim, attached) = host
        .start(&["sleep", "1000"], |p| {
            p.process.seccomp = vec![allow];
            p.process.groups = vec![7, 8];
        })
        .await
        .unwrap();
    let pid = shim.pid();
    until("exec", || status(pid, "Name") == "sleep").await;
    let base = BASE.to_string();
    assert_eq!(status(pid, "Uid"), [base.as_str(); 4].join(" "));
    assert_eq!(status(pid, "Gid"), [base.as_str(); 4].join(" "));
    assert_eq!(status(pid, "Groups"), format!("{} {}", BASE + 7, BASE + 8));
    let caps = format!("{CAPS:016x}");
    for (set, value) in
        [("CapInh", "0000000000000000"), ("CapPrm", &caps), ("CapEff", &caps), ("CapBnd", &caps), ("CapAmb", "0000000000000000")]
    {
        assert_eq!(status(pid, set), value, "{set}");
    }
    assert_eq!(status(pid, "Seccomp"), "2");
    assert_eq!(status(pid, "NoNewPrivs"), "0");
    assert_eq!(status(pid, "NSpid").split(' ').next_back(), Some("1"));
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", &base, "65536"]);
    for ns in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{ns}")).unwrap();
        assert_ne!(link("self"), link(&pid.to_string()), "{ns}");
    }
    shim.signal(libc::SIGKILL).unwrap();
    let exit = shim.exited().await;
    assert_eq!((exit.code, exit.signal), (137, 9));
    drop(attached);
}

#[tokio::test]
async fn no_new_privs_and_an_unprivileged_user_hold() {
    let Some(host) = Host::new() else { return };
    let (_, output) = host
        .run(&["cat", "/proc/self/status"], |p| {
            p.process.uid = 1000;
            p.process.gid = 1000;
            p.process.no_new_privs = true;
            p.process.seccomp = vec![plan::Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 }];
        })
        .await
        .unwrap();
    let has = |line: &str| assert!(output.text().contains(line), "{line} in {}", output.text());
    has("NoNewPrivs:\t1");
    has("Seccomp:\t2");
    has("Uid:\t1000\t1000\t1000\t1000");
    has("CapEff:\t0000000000000000");
    has("CapInh:\t0000000000000000");
    has("Groups:\t \n");
}

/// CVE-2024-21626 and its kin: the host's fds stay with the host.
#[tokio::test]
async fn sec_d2_no_fd_of_the_host_leaks() {
    let Some(host) = Host::new() else { return };
    let output = host.sh("ls /proc/self/fd").await;
    // The fourth is ls's own, on the folder it lists.
    assert_eq!(output.text(), "0\n1\n2\n3");
    let (_, shim, _attached) = host.start(&["sleep", "1000"], |_| {}).await.unwrap();
    let fds = std::fs::read_dir(format!("/proc/{}/fd", shim.pid())).unwrap().count();
    assert_eq!(fds, 3);
    let exec = ExecPlan { process: Host::process(&["sleep", "1000"]) };
    let (session, _) = shim.exec(&crate::ExecId::random(), &exec, None).await.unwrap();
    assert_eq!(std::fs::read_dir(format!("/proc/{}/fd", session.pid)).unwrap().count(), 3);
    // A working directory that is an fd of ours (C9).
    for fd in 3..20 {
        let cwd = format!("/proc/self/fd/{fd}");
        let refused = host.run(&["pwd"], |p| p.process.cwd = cwd.clone()).await;
        assert!(refused.is_err(), "{cwd}: {refused:?}");
        let mut exec = ExecPlan { process: Host::process(&["pwd"]) };
        exec.process.cwd = cwd.clone();
        assert!(shim.exec(&crate::ExecId::random(), &exec, None).await.is_err(), "{cwd}");
    }
    shim.signal(libc::SIGKILL).unwrap();
    shim.exited().await;
}

/// CVE-2019-5736: the program under the container cannot be reached and cannot be changed.
#[tokio::test]
async fn sec_d1_the_shim_program_cannot_be_overwritten() {
    let Some(host) = Host::new() else { return };
    let script = host.path().join("layer/bin/evil");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    // It runs our own program, which is nothing without a server: it ends with its usage code.
    let (exit, _) = host.run(&["/bin/evil"], |_| {}).await.unwrap();
    assert_eq!(exit.code, 64);
    // From a running one: process 1 of `--init` is ours, and its exe can be neither opened nor written.
    let (exit, output) = host
        .run(
            &["sh", "-c", "(echo x >> /proc/1/exe) 2>/dev/null && echo written; cat /proc/1/exe >/dev/null 2>&1 && echo read; true"],
            |p| p.init = true,
        )
        .await
        .unwrap();
    assert_eq!((exit.code, output.text()), (0, ""));
    // And even the host's root cannot write to what every shim runs.
    let (_, shim, _attached) = host.start(&["sleep", "1000"], |p| p.init = true).await.unwrap();
    let exe = format!("/proc/{}/exe", shim.pid());
    assert!(std::fs::read_link(&exe).unwrap().to_str().unwrap().contains("memfd:wharf-shim"));
    let before = std::fs::read(&exe).unwrap();
    assert!(std::fs::File::options().write(true).open(&exe).and_then(|mut f| std::io::Write::write_all(&mut f, b"x")).is_err());
    assert_eq!(std::fs::read(&exe).unwrap(), before);
    shim.signal(libc::SIGKILL).unwrap();
}

/// CVE-2016-9962: nothing in the container can trace an exec before it dropped its privileges.
#[tokio::test]
async fn sec_d3_the_init_and_execs_cannot_be_traced_from_inside() {
    let Some(host) = Host::new() else { return };
    // Looks at every process it can see, as the container's root with CAP_SYS_PTRACE, for a memory that is not busybox's.
    let script = "while :; do for p in /proc/[0-9]*; do e=$(readlink $p/exe 2>/dev/null); case \"$e\" in ''|/bin/busybox) ;; *) echo \"$e\"; \
                  (cat $p/mem | head -c1) 2>/dev/null;; esac; done; done";
    let all = CAPS | 1 << 19; // SYS_PTRACE
    let caps = CapSets { bounding: all, permitted: all, effective: all, ambient: 0 };
    let (_, shim, attached) = host.start(&["sh", "-c", script], |p| p.process.caps = caps).await.unwrap();
    for _ in 0..100 {
        let exec = ExecPlan { process: Host::process(&["true"]) };
        let (session, _) = shim.exec(&crate::ExecId::random(), &exec, None).await.unwrap();
        assert_eq!(session.exited().await.code, 0);
    }
    shim.signal(libc::SIGKILL).unwrap();
    let output = collect(attached).await;
    assert_eq!(output.text(), "", "the exe link of a process of ours was readable");
}

/// F4, F3: what Docker hides is hidden, what it protects is protected, and /sys is read-only.
#[tokio::test]
async fn sec_f4_masked_and_read_only_paths() {
    let Some(host) = Host::new() else { return };
    let (_, shim, _attached) = host.start(&["sleep", "1000"], |_| {}).await.unwrap();
    let root = PathBuf::from(format!("/proc/{}/root", shim.pid()));
    for path in default_masked_paths() {
        let inside = root.join(&path[1..]);
        if let Ok(metadata) = std::fs::metadata(&inside) {
            if metadata.is_dir() {
                assert_eq!(std::fs::read_dir(&inside).unwrap().count(), 0, "{path}");
            } else {
                assert_eq!(std::fs::read(&inside).unwrap(), b"", "{path}");
            }
        }
    }
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", shim.pid())).unwrap();
    for path in default_read_only_paths().iter().map(String::as_str).chain(["/sys"]) {
        let line = mounts.lines().find(|l| l.split(' ').nth(4) == Some(path));
        assert!(line.is_none_or(|l| l.split(' ').nth(5).unwrap().starts_with("ro")), "{path}: {line:?}");
        assert!(line.is_some() || !Path::new(path).exists(), "{path} is not mounted");
    }
    // Nothing of the host's tree is left behind the pivot.
    assert!(!mounts.contains("/stage"), "{mounts}");
    shim.signal(libc::SIGKILL).unwrap();
    let output = host
        .sh("echo 1 > /proc/sys/kernel/hostname 2>/dev/null; echo 1 > /proc/sysrq-trigger 2>/dev/null; mount -t tmpfs x /tmp 2>/dev/null && echo mounted; \
             mknod /tmp/x c 1 3 2>/dev/null && echo node; cat /dev/kmsg 2>/dev/null; ls /dev")
        .await;
    assert_eq!(output.text(), "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero");
}

/// C2, C6, C7: an image whose /proc or /dev is a symlink does not start, and nothing appears where it points.
#[tokio::test]
async fn sec_c7_symlinked_mount_points_are_refused() {
    let Some(host) = Host::new() else { return };
    let victim = host.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    for name in ["proc", "sys", "dev"] {
        let link = host.path().join("layer").join(name);
        symlink(&victim, &link).unwrap();
        let error = host.run(&["true"], |_| {}).await.unwrap_err();
        assert_eq!(error.failure.unwrap().step, Step::Root, "{name}: {error}");
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
}

#[tokio::test]
async fn ten_megabytes_through_cat_arrive_unchanged() {
    let Some(host) = Host::new() else { return };
    let (_, shim, mut attached) = host
        .start(&["cat"], |p| {
            p.process.stdin = true;
            p.process.stdin_once = true;
        })
        .await
        .unwrap();
    let data: Vec<u8> = (0..10_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut input = attached.input.take().unwrap();
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        input.write_all(&sent).await.unwrap();
        input.shutdown().await.unwrap();
        input
    });
    let mut received = Vec::new();
    while let Some(chunk) = attached.output.next().await {
        received.extend_from_slice(&chunk.unwrap().bytes);
    }
    writer.await.unwrap();
    assert!(received == data, "{} bytes came back", received.len());
    assert_eq!(shim.exited().await.code, 0);
}

/// A client attached before the start that reads nothing stops the container, and loses nothing when it goes on.
#[tokio::test]
async fn a_slow_client_slows_the_container_and_loses_nothing() {
    let Some(host) = Host::new() else { return };
    let (id, shim, attached) = host.start(&["seq", "1000000"], |_| {}).await.unwrap();
    let log = host.log_file(&id);
    let size = || std::fs::metadata(&log).unwrap().len();
    until("the queue is full", || size() > 256 * 1024).await;
    let mut last = 0;
    until("the container waits", || std::mem::replace(&mut last, size()) == size()).await;
    assert!(size() < 4 << 20);
    let output = collect(attached).await;
    let expected: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    assert!(output.stdout == expected.as_bytes(), "{} bytes", output.stdout.len());
    assert_eq!(shim.exited().await.code, 0);
}

#[tokio::test]
async fn a_terminal_behaves_like_one() {
    let Some(host) = Host::new() else { return };
    let (_, shim, mut attached) = host
        .start(&["sh"], |p| {
            p.process.tty = true;
            p.process.stdin = true;
            p.process.console_size = (24, 80);
        })
        .await
        .unwrap();
    let mut input = attached.input.take().unwrap();
    let mut seen = String::new();
    async fn read_until(attached: &mut Attached, seen: &mut String, what: &str) {
        while !seen.contains(what) {
            let chunk = attached.output.next().await.unwrap_or_else(|| panic!("{what} in {seen:?}")).unwrap();
            seen.push_str(&String::from_utf8_lossy(&chunk.bytes));
        }
    }
    input.write_all(b"tty; stty size; ls -l /dev/console | head -c1; echo =\n").await.unwrap();
    input.flush().await.unwrap();
    read_until(&mut attached, &mut seen, "c=").await;
    assert!(seen.contains("/dev/pts/0\r\n24 80\r\n"), "{seen:?}");
    shim.resize(50, 132).await.unwrap();
    input.write_all(b"stty size; trap 'echo int''errupted' INT; echo tra''pped\n").await.unwrap();
    input.flush().await.unwrap();
    read_until(&mut attached, &mut seen, "trapped").await;
    assert!(seen.contains("50 132\r\n"), "{seen:?}");
    // Ctrl-C reaches the shell only through a controlling terminal.
    input.write_all(b"\x03").await.unwrap();
    input.flush().await.unwrap();
    read_until(&mut attached, &mut seen, "interrupted").await;
    input.write_all(b"exit 7\n").await.unwrap();
    input.flush().await.unwrap();
    assert_eq!(shim.exited().await.code, 7);
}

#[tokio::test]
async fn an_exec_joins_everything_and_tells_its_end() {
    let Some(host) = Host::new() else { return };
    let (_, shim, _attached) = host.start(&["sleep", "1000"], |_| {}).await.unwrap();
    let all = Streams { stdin: false, stdout: true, stderr: true };
    let run = async |args: &[&str], change: fn(&mut Process)| {
        let mut exec = ExecPlan { process: Host::process(args) };
        change(&mut exec.process);
        let (session, attached) = shim.exec(&crate::ExecId::random(), &exec, Some(all)).await?;
        let output = collect(attached.unwrap()).await;
        Ok::<_, StartError>((session.exited().await, output))
    };
    for ns in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let (_, output) = run(&["readlink", &format!("/proc/self/ns/{ns}")], |_| {}).await.unwrap();
        let init = std::fs::read_link(format!("/proc/{}/ns/{ns}", shim.pid())).unwrap();
        assert_eq!(output.text(), init.to_str().unwrap());
    }
    let (exit, output) = run(&["sh", "-c", "id; pwd; echo $X; exit 3"], |p| {
        p.uid = 1000;
        p.gid = 1000;
        p.groups = vec![10];
        p.cwd = "/tmp".into();
        p.env.push("X=y".into());
    })
    .await
    .unwrap();
    assert_eq!((exit.code, output.text()), (3, "uid=1000(user) gid=1000 groups=10\n/tmp\ny"));
    let (_, output) = run(&["grep", "Cap", "/proc/self/status"], |_| {}).await.unwrap();
    assert!(output.text().contains("CapInh:\t0000000000000000") && output.text().contains(&format!("CapEff:\t{CAPS:016x}")));
    let error = run(&["nosuch"], |_| {}).await.unwrap_err();
    assert_eq!(error.exit_code(), 127);
    let error = run(&["pwd"], |p| p.cwd = "/nosuch".into()).await.unwrap_err();
    assert_eq!(error.message, r#"chdir to cwd ("/nosuch") set in config.json failed: no such file or directory"#);
    let (exit, output) = run(&["sh", "-c", "tty; stty size"], |p| {
        p.tty = true;
        p.console_size = (10, 20);
    })
    .await
    .unwrap();
    assert_eq!((exit.code, output.text()), (0, "/dev/pts/0\r\n10 20"));
    shim.signal(libc::SIGKILL).unwrap();
    shim.exited().await;
    assert!(run(&["true"], |_| {}).await.is_err());
}

/// The server and the spawner go; the container, its log and its exit code stay, and a new server finds them.
#[tokio::test]
async fn a_container_outlives_its_server() {
    let Some(host) = Host::new() else { return };
    let (id, shim, attached) =
        host.start(&["sh", "-c", "while ! test -e /tmp/go; do sleep 0.02; echo tick; done; echo last; exit 5"], |_| {}).await.unwrap();
    let pid = shim.pid();
    drop((attached, shim));
    let Host { folder, runtime, layers } = host;
    drop(runtime); // The spawner's socket closes with it, and the spawner ends.
    let runtime = Runtime::at(Spawner::start().unwrap(), &folder.path().join("run")).unwrap();
    let host = Host { folder, runtime, layers };
    assert_eq!(host.runtime.folders().unwrap(), std::slice::from_ref(&id));
    let Adopted::Running(shim) = host.runtime.adopt(&id).await.unwrap() else { panic!("not running") };
    assert_eq!(shim.pid(), pid);
    let attached = shim.attach(Streams { stdin: false, stdout: true, stderr: true }).await.unwrap();
    let exec = ExecPlan { process: Host::process(&["touch", "/tmp/go"]) };
    shim.exec(&crate::ExecId::random(), &exec, None).await.unwrap();
    assert!(collect(attached).await.text().ends_with("last"));
    assert_eq!(shim.exited().await.code, 5);
    let log = std::fs::read(host.log_file(&id)).unwrap();
    assert!(log.windows(5).any(|w| w == b"last\n"));
    until("the shim is gone", || std::os::unix::net::UnixStream::connect(host.runtime.folder(&id).join("shim.sock")).is_err()).await;
    let Adopted::Exited(exit) = host.runtime.adopt(&id).await.unwrap() else { panic!("not exited") };
    assert_eq!(exit.code, 5);
    host.runtime.remove_folder(&id).unwrap();
    assert!(matches!(host.runtime.adopt(&id).await.unwrap(), Adopted::Gone));
}

#[tokio::test]
async fn a_killed_shim_takes_its_container_along() {
    let Some(host) = Host::new() else { return };
    let id = ContainerId::random();
    let (plan, fds) = host.plan(&id, &["sleep", "1000"]).await;
    let prepared = host.runtime.prepare(&host.prepare(), &Fds::new()).await.unwrap();
    let shim_pid = prepared.shim_pid;
    let shim = host.runtime.start(&id, prepared, &plan, fds).await.unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(shim_pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    let exit = shim.exited().await;
    assert_eq!((exit.code, exit.lost), (137, true));
    until("the container is gone", || !Path::new(&format!("/proc/{}", shim.pid())).exists()).await;
    assert!(matches!(host.runtime.adopt(&id).await.unwrap(), Adopted::Gone));
}

#[tokio::test]
async fn a_prepared_container_that_is_dropped_leaves_nothing() {
    let Some(host) = Host::new() else { return };
    let prepared = host.runtime.prepare(&host.prepare(), &Fds::new()).await.unwrap();
    let (pid, shim) = (prepared.pid, prepared.shim_pid);
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(prepared);
    until("both are gone", || !Path::new(&format!("/proc/{pid}")).exists() && !Path::new(&format!("/proc/{shim}")).exists()).await;
}

#[tokio::test]
async fn init_reaps_forwards_signals_and_ends_like_its_child() {
    let Some(host) = Host::new() else { return };
    let (exit, _) = host.run(&["sh", "-c", "exit 9"], |p| p.init = true).await.unwrap();
    assert_eq!(exit.code, 9);
    let error = host.run(&["nosuch"], |p| p.init = true).await.unwrap_err();
    assert_eq!(error.exit_code(), 127);
    let script = "trap 'echo got; exit 4' TERM; echo up; while :; do sleep 0.02; done";
    let (_, shim, mut attached) = host.start(&["sh", "-c", script], |p| p.init = true).await.unwrap();
    assert_eq!(attached.output.next().await.unwrap().unwrap().bytes, "up\n");
    shim.signal(libc::SIGTERM).unwrap();
    assert_eq!(collect(attached).await.text(), "got");
    assert_eq!(shim.exited().await.code, 4);
}

#[tokio::test]
async fn the_log_is_complete_and_rotates() {
    let Some(host) = Host::new() else { return };
    let (id, shim, attached) = host.start(&["seq", "200000"], |p| p.log.max_size = 200_000).await.unwrap();
    drop(attached);
    assert_eq!(shim.exited().await.code, 0);
    let folder = host.log_file(&id).parent().unwrap().to_owned();
    let mut text = Vec::new();
    for name in (1..5).rev().map(|n| format!("{}.{n}", logfile::FILE)).chain([logfile::FILE.to_owned()]) {
        let Ok(file) = std::fs::read(folder.join(&name)) else { continue };
        assert!(file.len() <= 200_000);
        let mut rest = &file[..];
        while !rest.is_empty() {
            let header = logfile::Header::decode(rest.first_chunk().unwrap()).unwrap();
            assert_eq!(header.stream, logfile::STDOUT);
            text.extend_from_slice(&rest[logfile::HEADER..logfile::HEADER + header.length as usize]);
            rest = &rest[header.chunk_len()..];
        }
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 5);
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("199999\n200000\n"));
    // What is kept is one piece: no number is missing between the first and the last.
    let numbers: Vec<u32> = text.lines().skip(1).map(|l| l.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1));
}

/// The shim rotates and the server compresses, both at once: what is kept is one piece.
#[tokio::test]
async fn rotating_and_compressing_do_not_disturb_each_other() {
    let Some(host) = Host::new() else { return };
    let (id, shim, attached) = host
        .start(&["seq", "300000"], |p| {
            p.log.max_size = 20_000;
            p.log.max_files = 40;
        })
        .await
        .unwrap();
    drop(attached);
    let source = crate::log::Source::Local(host.log_file(&id).parent().unwrap().to_owned());
    let mut packed = 0;
    loop {
        let ended = tokio::time::timeout(std::time::Duration::from_millis(1), shim.exited()).await.is_ok();
        packed += crate::log::pack(&source).unwrap();
        if ended {
            break;
        }
    }
    assert!(packed > 0);
    let options = crate::container::request::LogOptions { stdout: true, stderr: true, ..Default::default() };
    let (_keep, up) = tokio::sync::watch::channel(false);
    let mut lines = crate::log::read(source, options, false, up).unwrap().lines;
    let mut text = String::new();
    while let Some(batch) = lines.next().await {
        batch.unwrap().iter().for_each(|l| text.push_str(std::str::from_utf8(&l.bytes).unwrap()));
    }
    assert!(text.ends_with("299999\n300000\n"));
    let numbers: Vec<u32> = text.lines().skip(1).map(|l| l.parse().unwrap()).collect();
    assert!(numbers.len() > 50_000 && numbers.windows(2).all(|w| w[1] == w[0] + 1));
}

#[tokio::test]
async fn json_file_is_dockers() {
    let Some(host) = Host::new() else { return };
    let long = "x".repeat(17_000);
    let script = format!("printf 'a\"<\\t\\n'; printf '\\377\\n'; echo e >&2; sleep 0.05; echo {long}; printf end");
    let (id, shim, attached) = host
        .start(&["sh", "-c", &script], |p| {
            p.log.driver = LogDriver::JsonFile;
            p.log.file = "x-json.log".into();
            p.log.attrs = r#"{"a":"b"}"#.into();
        })
        .await
        .unwrap();
    drop(attached);
    shim.exited().await;
    let text = std::fs::read_to_string(host.log_file(&id).with_file_name("x-json.log")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let of = |stream: &str| -> Vec<String> {
        lines.iter().filter(|l| l["stream"] == stream).map(|l| l["log"].as_str().unwrap().to_owned()).collect()
    };
    let piece = "x".repeat(logfile::JSON_LINE_MAX);
    let rest = format!("{}\n", "x".repeat(17_000 - logfile::JSON_LINE_MAX));
    assert_eq!(of("stdout"), ["a\"<\t\n", "\u{fffd}\n", &piece, &rest, "end"]);
    assert_eq!(of("stderr"), ["e\n"]);
    assert!(text.starts_with(r#"{"log":"a\"\u003c\t\n","stream":"stdout","attrs":{"a":"b"},"time":"20"#), "{text}");
    assert!(lines[0]["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[tokio::test]
async fn mounts_land_inside_the_root() {
    let Some(host) = Host::new() else { return };
    let shared = host.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("file"), "hello").unwrap();
    // `/run -> /host-run` dangles: its target is made, inside the root.
    symlink("/host-run", host.path().join("layer/run")).unwrap();
    let id = ContainerId::random();
    let (mut plan, mut fds) = host
        .plan(
            &id,
            &["sh", "-c", "cat /data/file /etc/one /run/x/file; touch /data/no; touch /t/yes; stat -c '%a %u' /t; ls /t; readlink /run"],
        )
        .await;
    let open = |path: &Path| std::fs::File::open(path).unwrap();
    let read_only = crate::sys::mount::Attributes { read_only: true, ..Default::default() };
    let mut bind = |path: &Path, target: &str, file: bool, attributes| Mount {
        source: MountSource::Detached { fd: fds.add(rootfs::bind(open(path).as_fd(), attributes).unwrap()) },
        target: target.into(),
        file,
        copy_up: false,
    };
    std::fs::create_dir_all(host.path().join("layer/t/sub")).unwrap();
    std::fs::write(host.path().join("layer/t/kept"), "").unwrap();
    plan.mounts = vec![
        bind(&shared, "/data", false, &read_only),
        bind(&shared.join("file"), "/etc/one", true, &read_only),
        bind(&shared, "/run/x", false, &read_only),
        Mount {
            source: MountSource::Tmpfs { options: vec!["size=1m".into(), "mode=700".into(), "noexec".into()] },
            target: "/t".into(),
            file: false,
            copy_up: true,
        },
    ];
    plan.hostname = "ship".into();
    plan.domainname = "sea".into();
    plan.sysctls = vec![("net.ipv4.ip_unprivileged_port_start".into(), "0".into())];
    let mut prepared = host.runtime.prepare(&host.prepare(), &Fds::new()).await.unwrap();
    let attached = prepared.attach(Streams { stdin: false, stdout: true, stderr: true }, false).unwrap();
    host.runtime.start(&id, prepared, &plan, fds).await.unwrap();
    let output = collect(attached).await;
    assert!(output.text().starts_with("hellohellohello"), "{output:?}");
    assert!(output.text().ends_with("kept\nsub\nyes\n/host-run"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/data/no: Read-only file system"), "{output:?}");
    assert!(!Path::new("/host-run").exists());
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 1);
    // Over /proc nothing may be mounted (CVE-2019-16884).
    for target in ["/proc", "/proc/self/attr", "/proc/sys/kernel"] {
        let id = ContainerId::random();
        let (mut plan, _) = host.plan(&id, &["true"]).await;
        plan.mounts = vec![Mount { source: MountSource::Tmpfs { options: vec![] }, target: target.into(), file: false, copy_up: false }];
        let (source, fds) = host.plan(&id, &["true"]).await;
        plan.run_dir = source.run_dir;
        let prepared = host.runtime.prepare(&host.prepare(), &Fds::new()).await.unwrap();
        let error = host.runtime.start(&id, prepared, &plan, fds).await.unwrap_err();
        assert_eq!(error.failure.map(|f| f.step), Some(Step::Mount), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_read_only_root_is_read_only_and_files_belong_to_the_tenant() {
    let Some(host) = Host::new() else { return };
    let (exit, _) = host.run(&["touch", "/x"], |p| p.root_read_only = true).await.unwrap();
    assert_eq!(exit.code, 1);
    let (id, shim, attached) = host.start(&["touch", "/tmp/mine", "/bin/new"], |_| {}).await.unwrap();
    drop(attached);
    assert_eq!(shim.exited().await.code, 0);
    let upper = host.path().join(id.short()).join("upper");
    for name in ["tmp/mine", "bin/new"] {
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(upper.join(name)).unwrap()), BASE);
    }
    assert!(!host.path().join("layer/tmp/mine").exists());
}

#[tokio::test]
async fn limits_and_score_are_set() {
    let Some(host) = Host::new() else { return };
    let (_, shim, _attached) = host
        .start(&["sleep", "1000"], |p| {
            p.process.rlimits = vec![plan::Rlimit { resource: 7, soft: 1024, hard: 2048 }, plan::Rlimit { resource: 4, soft: 0, hard: 0 }];
            p.process.oom_score_adj = 500;
        })
        .await
        .unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", shim.pid())).unwrap();
    let line = |name: &str| {
        limits.lines().find(|l| l.starts_with(name)).unwrap().split_whitespace().rev().take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("Max open files")[1..], ["2048", "1024"]);
    assert_eq!(line("Max core file size")[1..], ["0", "0"]);
    let score = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().to_owned();
    assert_eq!(score(shim.pid()), "500");
    // An exec's are its own, and its hard limit may be above process 1's.
    let mut exec = ExecPlan { process: Host::process(&["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"]) };
    exec.process.rlimits = vec![plan::Rlimit { resource: 7, soft: 3000, hard: 4096 }];
    exec.process.oom_score_adj = 7;
    let all = Streams { stdin: false, stdout: true, stderr: true };
    let (_, attached) = shim.exec(&crate::ExecId::random(), &exec, Some(all)).await.unwrap();
    assert_eq!(collect(attached.unwrap()).await.text(), "3000\n4096\n7");
    shim.signal(libc::SIGKILL).unwrap();
}

#[tokio::test]
async fn namespaces_of_another_container_are_joined() {
    let Some(host) = Host::new() else { return };
    let (_, first, _attached) = host.start(&["sleep", "1000"], |_| {}).await.unwrap();
    let ns = |name: &str| std::fs::File::open(format!("/proc/{}/ns/{name}", first.pid())).unwrap();
    let mut ns_fds = Fds::new();
    let mut prepare = host.prepare();
    prepare.pid = Namespace::Join { fd: ns_fds.add(ns("pid")) };
    prepare.net = Namespace::Join { fd: ns_fds.add(ns("net")) };
    prepare.ipc = Namespace::Join { fd: ns_fds.add(ns("ipc")) };
    let id = ContainerId::random();
    let (plan, fds) =
        host.plan(&id, &["sh", "-c", "ps; for n in net ipc pid; do readlink /proc/self/ns/$n; done; ls /sys/class/net"]).await;
    let mut prepared = host.runtime.prepare(&prepare, &ns_fds).await.unwrap();
    let attached = prepared.attach(Streams { stdin: false, stdout: true, stderr: true }, false).unwrap();
    let shim = host.runtime.start(&id, prepared, &plan, fds).await.unwrap();
    let output = collect(attached).await;
    assert_eq!(shim.exited().await.code, 0, "{output:?}");
    assert!(output.text().contains("sleep 1000"), "{output:?}");
    for name in ["net", "ipc", "pid"] {
        let link = std::fs::read_link(format!("/proc/{}/ns/{name}", first.pid())).unwrap();
        assert!(output.text().contains(link.to_str().unwrap()), "{name}: {output:?}");
    }
    assert!(output.text().ends_with("\nlo"), "the host's interfaces: {output:?}");
    first.signal(libc::SIGKILL).unwrap();
}

#[tokio::test]
async fn v1_cgroups_are_joined_and_seen() {
    let Some(host) = Host::new() else { return };
    let Some(group) = v1_group(&host) else { return skip("needs the v1 pids controller") };
    let mut group_fds = Fds::new();
    let tasks = std::fs::File::options().write(true).open(group.join("tasks")).unwrap();
    let mut prepare = host.prepare();
    prepare.cgroup.v1_tasks = vec![group_fds.add(tasks)];
    prepare.cgroup_view = CgroupView::V1 { hierarchies: vec![V1Hierarchy { name: "pids".into(), option: "pids".into() }] };
    let id = ContainerId::random();
    let (plan, fds) = host
        .plan(
            &id,
            &["sh", "-c", "cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/pids.max; echo x > /sys/fs/cgroup/pids/pids.max; sleep 1000"],
        )
        .await;
    std::fs::write(group.join("pids.max"), "77").unwrap();
    let mut prepared = host.runtime.prepare(&prepare, &group_fds).await.unwrap();
    let mut attached = prepared.attach(Streams { stdin: false, stdout: true, stderr: true }, false).unwrap();
    let shim = host.runtime.start(&id, prepared, &plan, fds).await.unwrap();
    let mut seen = String::new();
    while !seen.contains("Read-only") {
        seen.push_str(&String::from_utf8_lossy(&attached.output.next().await.unwrap().unwrap().bytes));
    }
    assert!(seen.contains(":pids:/\n") && seen.contains("\n77\n"), "{seen}");
    let exec = ExecPlan { process: Host::process(&["sleep", "1000"]) };
    let (session, _) = shim.exec(&crate::ExecId::random(), &exec, None).await.unwrap();
    let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
    for pid in [shim.pid(), session.pid] {
        assert!(members.lines().any(|l| l == pid.to_string()), "{pid} in {members:?}");
    }
    shim.signal(libc::SIGKILL).unwrap();
    shim.exited().await;
    until("the group is empty", || std::fs::remove_dir(&group).is_ok()).await;
}

fn v1_group(host: &Host) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup/pids");
    let group = root.join(host.path().file_name().unwrap());
    (root.join("cgroup.procs").exists() && std::fs::create_dir(&group).is_ok()).then_some(group)
}

#[tokio::test]
async fn loopback_ports_are_carried_and_fds_kept_without_the_server() {
    let Some(host) = Host::new() else { return };
    // The container is this process here: what matters is that the shim listens and carries.
    let target = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let published = listener.local_addr().unwrap();
    let (id, shim, _attached) = host.start(&["sleep", "1000"], |_| {}).await.unwrap();
    let served = LoopbackListener { listener: listener.into(), udp: false, target: target.local_addr().unwrap() };
    shim.serve_loopback(vec![served]).await.unwrap();
    let mut kept = Fds::new();
    kept.add(std::fs::File::open("/etc/hostname").unwrap());
    shim.hold("dns", &kept).await.unwrap();
    drop(shim);
    let Adopted::Running(shim) = host.runtime.adopt(&id).await.unwrap() else { panic!() };
    assert_eq!(shim.take("dns").await.unwrap().len(), 1);
    assert_eq!(shim.take("other").await.unwrap().len(), 0);
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i >> 7) as u8).collect();
    let sent = data.clone();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = target.accept().unwrap();
        let mut copy = stream.try_clone().unwrap();
        std::io::copy(&mut stream, &mut copy).unwrap();
        copy.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let received = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(published).unwrap();
        let mut write = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            write.write_all(&sent).unwrap();
            write.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        writer.join().unwrap();
        received
    })
    .await
    .unwrap();
    echo.join().unwrap();
    assert!(received == data, "{} bytes", received.len());
    shim.signal(libc::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_shim_is_small() {
    let Some(host) = Host::new() else { return };
    let id = ContainerId::random();
    let (plan, fds) = host.plan(&id, &["sleep", "1000"]).await;
    let prepared = host.runtime.prepare(&host.prepare(), &Fds::new()).await.unwrap();
    let shim_pid = prepared.shim_pid;
    let shim = host.runtime.start(&id, prepared, &plan, fds).await.unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{shim_pid}/smaps_rollup")).unwrap();
    let pss = rollup.lines().find(|l| l.starts_with("Pss:")).unwrap();
    eprintln!("{pss}");
    let kib: u32 = pss.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib <= 300, "{rollup}");
    shim.signal(libc::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_pool_hands_out_ready_ones_refills_and_skips_the_dead() {
    let Some(host) = Host::new() else { return };
    let pool: Pool<u32> = Pool::new(2);
    let made = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (runtime, prepare) = (host.runtime.clone(), host.prepare());
    let count = made.clone();
    let make = move || {
        let (runtime, prepare, count) = (runtime.clone(), prepare.clone(), count.clone());
        async move {
            let prepared = runtime.prepare(&prepare, &Fds::new()).await.map_err(StartError::into_error)?;
            Ok((prepared, count.fetch_add(1, std::sync::atomic::Ordering::SeqCst)))
        }
    };
    let wait_full = async || {
        for _ in 0..2000 {
            if pool.ready("t") == 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the pool was never full");
    };
    let mut dead = Vec::new();
    assert!(pool.take("t", make.clone(), &mut dead).is_none(), "the first start is a cold one");
    wait_full().await;
    let (second, number) = pool.take("t", make.clone(), &mut dead).unwrap();
    assert_eq!((number, dead.len()), (0, 0));
    wait_full().await;
    // It serves as any other.
    let id = ContainerId::random();
    let (plan, fds) = host.plan(&id, &["sh", "-c", "exit 6"]).await;
    let shim = host.runtime.start(&id, second, &plan, fds).await.unwrap();
    assert_eq!(shim.exited().await.code, 6);
    // One that was killed while it waited is not handed out.
    let waiting = pool.take("t", make.clone(), &mut dead).unwrap();
    wait_full().await;
    drop(waiting);
    let killed = made.load(std::sync::atomic::Ordering::SeqCst) - 2;
    pool.kill_next("t");
    let (alive, number) = pool.take("t", make.clone(), &mut dead).unwrap();
    assert_eq!((number, dead.as_slice()), (killed + 1, [killed].as_slice()));
    drop(alive);
    wait_full().await;
    assert_eq!(pool.look(|number| *number).len(), 2);
    let gone = pool.forget(|kind| kind == "t");
    assert_eq!((gone.len(), pool.ready("t")), (2, 0));
    pool.warm("t", make.clone());
    wait_full().await;
    assert_eq!(pool.close().await.len(), 2);
    assert!(pool.take("t", make, &mut dead).is_none(), "a closed pool makes no more");
}
