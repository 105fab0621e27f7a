//! The floor: the bare system calls that make a container, without any engine, measured beside the engines with the load that
//! they saw. What is in it: a control group with four controllers, namespaces (user, pid, mount, net, uts, ipc, cgroup) and
//! id maps, a veth on a bridge with its address and route, an overlay by the new mount API, /proc, /sys and /dev, pivot_root,
//! identity, exec, exit. Neither seccomp nor capabilities nor masks are, nor anything that is written down.
//!
//! It runs in a small process of its own ([`Floor`]; this very program, started again), for a fork costs what its parent is big,
//! and network interfaces are made in that process's own network namespace.

use engine::network::link;
use engine::sys::mount::{Setting, new_mount};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use std::ffi::CStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What makes the program the floor's process.
pub const ARGUMENT: &str = "--floor";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// With a veth on a bridge.
    pub network: bool,
    /// Namespaces, group, veth, /proc, /sys and /dev stand ready before the clock starts.
    pub pooled: bool,
    /// Until the end was reaped; else until the program runs.
    pub to_the_end: bool,
}

/// The process that measures it.
pub struct Floor {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    /// Starts it; `folder`: where it may put layers.
    pub fn start(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program's path"))
            .arg(ARGUMENT)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the floor's process");
        let ask = process.stdin.take().expect("its stdin");
        let answers = BufReader::new(process.stdout.take().expect("its stdout"));
        Self { process, ask, answers }
    }

    /// Measures once.
    pub fn time(&mut self, kind: Kind) -> Duration {
        let flag = |on: bool| if on { '1' } else { '0' };
        writeln!(self.ask, "{}{}{}", flag(kind.network), flag(kind.pooled), flag(kind.to_the_end)).expect("asking the floor's process");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the floor's answer");
        Duration::from_nanos(line.trim().parse().expect("the floor's process ended; its message is above"))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A program started and reaped, without any namespace: what an exec cannot be faster than.
pub fn spawn() -> Duration {
    let begin = Instant::now();
    let status = Command::new("/bin/busybox").arg("true").stdin(Stdio::null()).status();
    let took = begin.elapsed();
    match status {
        Ok(_) => took,
        Err(e) => panic!("starting busybox: {e}"),
    }
}

/// The floor's process: answers until nobody asks any more.
pub fn serve(folder: &Path) {
    let (mut routes, bridge) = bridge();
    let place = Place::new(folder, bridge);
    let mut line = String::new();
    let mut stdin = std::io::stdin().lock();
    for number in 0u64.. {
        line.clear();
        if stdin.read_line(&mut line).is_ok_and(|n| n < 4) {
            break;
        }
        let flags: Vec<bool> = line.trim().chars().map(|c| c == '1').collect();
        let kind = Kind { network: flags[0], pooled: flags[1], to_the_end: flags[2] };
        let took = place.run(kind, number, &mut routes);
        println!("{}", took.as_nanos());
    }
    place.remove();
}

/// Where ids of the container begin on the host: nobody's.
const BASE: u32 = 2_000_000_000;
const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);

/// What is there before any container.
struct Place {
    folder: PathBuf,
    groups: Vec<PathBuf>,
    bridge: u32,
}

/// A bridge, in a network namespace of our own.
fn bridge() -> (link::Routes, u32) {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces of our own (as root)");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
    let mut routes = link::Routes::open().expect("a netlink socket");
    routes.send([link::new_bridge("floor", [2, 0, 0, 0, 0, 1], None), link::up("floor")]).expect("a bridge");
    let index = routes.link("floor").expect("the bridge").expect("the bridge").index;
    routes.send([link::address(index, IpAddr::V4(BRIDGE), 24)]).expect("the bridge's address");
    (routes, index)
}

impl Place {
    fn new(folder: &Path, bridge: u32) -> Self {
        let folder = folder.join("floor");
        for name in ["lower/bin", "lower/proc", "lower/sys", "lower/dev", "root"] {
            std::fs::create_dir_all(folder.join(name)).expect("the floor's folders");
        }
        std::fs::copy("/bin/busybox", folder.join("lower/bin/true")).expect("busybox");
        let groups = ["memory", "cpu", "pids", "devices"].map(|name| PathBuf::from("/sys/fs/cgroup").join(name));
        let groups: Vec<_> = if groups[0].is_dir() { groups.into() } else { vec!["/sys/fs/cgroup".into()] };
        let groups: Vec<_> = groups.into_iter().map(|tree| tree.join(format!("wharf-floor-{}", std::process::id()))).collect();
        for group in &groups {
            std::fs::create_dir_all(group).expect("a control group");
        }
        Self { folder, groups, bridge }
    }

    fn remove(&self) {
        for group in &self.groups {
            std::fs::remove_dir(group).ok();
        }
        std::fs::remove_dir_all(&self.folder).ok();
    }

    /// One container, from nothing (or from what a pool has) to its program's beginning or end.
    fn run(&self, kind: Kind, number: u64, routes: &mut link::Routes) -> Duration {
        // What belongs to a container's making, not to its start.
        let own = self.folder.join(number.to_string());
        for name in ["upper", "work"] {
            std::fs::create_dir_all(own.join(name)).expect("a writable layer");
        }
        let mut begin = Instant::now();
        let groups: Vec<PathBuf> = self.groups.iter().map(|group| group.join(number.to_string())).collect();
        for group in &groups {
            std::fs::create_dir(group).expect("a control group");
        }
        let v1 = groups.len() > 1;
        let tasks: Vec<_> = groups.iter().map(|g| open_to_write(&g.join(if v1 { "tasks" } else { "cgroup.procs" }))).collect();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
        let (mut started, starts) = std::io::pipe().expect("a pipe");
        let mut flags = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
        flags |= libc::CLONE_NEWNET;
        let root = self.folder.join("root");
        let (pid, pidfd) = engine::sys::fork::into_namespaces(flags, || match container(theirs.as_fd(), &root, &tasks, kind.network) {
            Ok(never) => match never {},
            Err(error) => {
                eprintln!("the floor's container: {error}");
                1
            }
        })
        .expect("a child in new namespaces");
        drop((theirs, starts));
        let say = |byte: u8, fd: Option<BorrowedFd<'_>>| send(&ours, byte, fd);
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{pid}/{file}"), format!("0 {BASE} 65536\n")).expect("an id map");
        }
        say(b'm', None);
        if kind.network {
            let netns = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("its network namespace");
            let name = format!("floor{number}");
            let peer = link::Peer { name: "eth0", mac: [2, 0, 0, 0, 0, 2], netns: netns.as_fd() };
            routes.send([link::new_veth(&name, self.bridge, None, &peer), link::up(&name)]).expect("a veth");
            say(b'n', None);
        }
        // It answers when phase one is done.
        let mut ready = [0];
        (&ours).read_exact(&mut ready).expect("the container's answer");
        if kind.pooled {
            begin = Instant::now();
        }
        let overlay = self.overlay(&own).expect("an overlay");
        say(b'r', Some(overlay.as_fd()));
        // It closes at exec.
        started.read_to_end(&mut Vec::new()).expect("waiting for exec");
        let running = begin.elapsed();
        let end = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED);
        let ended = begin.elapsed();
        let code = end.expect("its end").and_then(|status| status.exit_status());
        assert_eq!(code, Some(0), "the floor's container failed");
        drop(overlay);
        for group in &groups {
            // Busy for a moment, while the zombie's charge goes.
            while std::fs::remove_dir(group).is_err() {
                std::thread::yield_now();
            }
        }
        std::fs::remove_dir_all(&own).ok();
        if kind.to_the_end { ended } else { running }
    }

    fn overlay(&self, own: &Path) -> std::io::Result<OwnedFd> {
        let text = |path: PathBuf| std::ffi::CString::new(path.into_os_string().into_encoded_bytes()).map_err(std::io::Error::other);
        let (lower, upper, work) = (text(self.folder.join("lower"))?, text(own.join("upper"))?, text(own.join("work"))?);
        let settings = [
            Setting::Text("lowerdir", lower.to_str().map_err(std::io::Error::other)?),
            Setting::Text("upperdir", upper.to_str().map_err(std::io::Error::other)?),
            Setting::Text("workdir", work.to_str().map_err(std::io::Error::other)?),
        ];
        new_mount(c"overlay", &settings, MountAttrFlags::empty())
    }
}

enum Never {}

/// The child's part.
fn container(parent: BorrowedFd<'_>, root: &Path, tasks: &[std::fs::File], network: bool) -> std::io::Result<Never> {
    for mut file in tasks {
        file.write_all(b"0")?;
    }
    expect(parent, b'm')?;
    nix::unistd::setresgid(0.into(), 0.into(), 0.into())?;
    nix::unistd::setresuid(0.into(), 0.into(), 0.into())?;
    unshare(CloneFlags::CLONE_NEWCGROUP)?;
    if network {
        expect(parent, b'n')?;
        let mut routes = link::Routes::open()?;
        let index = routes.link("eth0")?.ok_or(std::io::ErrorKind::NotFound)?.index;
        let gateway = link::add_default_route(index, IpAddr::V4(BRIDGE));
        routes.send([link::up("lo"), link::up("eth0"), link::address(index, IpAddr::V4(ADDRESS), 24), gateway])?;
    }
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = |kind: &CStr, settings: &[Setting<'_>], attributes| new_mount(kind, settings, attributes);
    let proc = mount(c"proc", &[], quiet)?;
    let sys = mount(c"sysfs", &[], quiet | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    let dev = mount(c"tmpfs", &[Setting::Text("mode", "755")], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    let pts =
        mount(c"devpts", &[Setting::Flag("newinstance"), Setting::Text("ptmxmode", "0666")], quiet & !MountAttrFlags::MOUNT_ATTR_NODEV)?;
    let shm = mount(c"tmpfs", &[Setting::Text("mode", "1777")], quiet)?;
    let mqueue = mount(c"mqueue", &[], quiet)?;
    let nodes = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| {
        let node = engine::sys::mount::clone_mount_at(&Path::new("/dev").join(name), false)?;
        rustix::fs::mknodat(&dev, name, rustix::fs::FileType::RegularFile, 0o666.into(), 0)?;
        Ok::<_, std::io::Error>((name, node))
    });
    rustix::io::write(parent, b"p")?;

    let overlay = expect(parent, b'r')?.ok_or(std::io::ErrorKind::InvalidData)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let attach = |fd: &OwnedFd, at: BorrowedFd<'_>, name: &str| move_mount(fd, c"", at, name, empty);
    attach(&overlay, rustix::fs::CWD, root.to_str().ok_or(std::io::ErrorKind::InvalidData)?)?;
    for (fd, name) in [(&proc, "proc"), (&sys, "sys"), (&dev, "dev")] {
        attach(fd, overlay.as_fd(), name)?;
    }
    for (fd, name) in [(&pts, "pts"), (&shm, "shm"), (&mqueue, "mqueue")] {
        rustix::fs::mkdirat(&dev, name, 0o755.into())?;
        attach(fd, dev.as_fd(), name)?;
    }
    for node in nodes {
        let (name, node) = node?;
        attach(&node, dev.as_fd(), name)?;
    }
    rustix::process::fchdir(&overlay)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::system::sethostname(b"floor")?;
    nix::unistd::setgroups(&[0.into()])?;
    Err(nix::unistd::execv(c"/bin/true", &[c"true"]).map_or_else(Into::into, |never| match never {}))
}

fn open_to_write(path: &Path) -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open(path).unwrap_or_else(|e| panic!("opening {}: {e}", path.display()))
}

fn send(to: &std::os::unix::net::UnixStream, byte: u8, fd: Option<BorrowedFd<'_>>) {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)), "room for one descriptor");
    }
    sendmsg(to, &[std::io::IoSlice::new(&[byte])], &mut ancillary, SendFlags::empty()).expect("speaking to the container");
}

fn expect(from: BorrowedFd<'_>, byte: u8) -> std::io::Result<Option<OwnedFd>> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut got = [0];
    recvmsg(from, &mut [std::io::IoSliceMut::new(&mut got)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if got == [byte] { Ok(fd) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}
