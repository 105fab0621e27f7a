//! The container's process 1 before it becomes the container's program. Phase one ([`stage`]) runs in a pool as well as
//! at a start; phase two ([`become_container`]) only for one container.
//!
//! It lives in the spawner's small mount namespace, copied: an empty tmpfs with /proc, /sys, /dev (a few nodes of ours),
//! /empty (an empty folder) and /stage (mount points). That the full /proc and /sys are still visible is what allows a
//! new user namespace to mount its own (mount_namespaces(7), "locked" mounts). Mounts go through fds throughout; paths of the image
//! are only ever resolved under the root fd.

use crate::channel::Channel;
use crate::message::{Reply, Request};
use crate::plan::{CgroupView, Failure, Mount, MountSource, Namespace, Plan, Prepare, Step, UserNamespace};
use crate::process::{self, Ready, at, at_index};
use crate::sys::{self, AT_FDCWD, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY, ATTR_STRICTATIME, R};
use crate::{copy_up, reaper};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// Files under /proc that may be mounted over (lxcfs): as runc's list.
const PROC_TARGETS: [&str; 9] = ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "version"];

/// File systems that had to be mounted in a namespace which is not ours to mount in.
#[derive(Default)]
pub struct Foreign {
    pub sys: Option<OwnedFd>,
    pub mqueue: Option<OwnedFd>,
}

/// What phase one leaves to phase two.
struct Staged {
    /// /proc without masks, from a mount of its own: for sysctls and our attributes, untouched by whatever the image has.
    proc: OwnedFd,
    dev: OwnedFd,
    null: OwnedFd,
    empty: OwnedFd,
}

/// Runs as the child of the clone. Never returns.
pub fn main(prepare: &Prepare, fds: &[OwnedFd], parent: OwnedFd, foreign: Foreign, late_user: bool) -> ! {
    let mut parent = Channel::new(parent);
    let staged = match stage(prepare, fds, &mut parent, foreign, late_user) {
        Ok((staged, devpts)) => {
            let ready = Reply::Prepared { shim: 0, pid: 0 };
            let (proc, null, empty) = (staged.proc.as_raw_fd(), staged.null.as_raw_fd(), staged.empty.as_raw_fd());
            // The shim takes the last for terminals and only holds the others.
            if parent.send(&ready, &[proc, null, empty, devpts.as_raw_fd()]).is_err() {
                sys::exit(1);
            }
            staged
        }
        Err(failure) => fail(&mut parent, failure),
    };
    let Ok(Some(Request::Start { plan, .. })) = parent.message() else { sys::exit(0) };
    let fds = std::mem::take(&mut parent.fds);
    let failure = become_container(prepare, &plan, &fds, &staged, &mut parent);
    fail(&mut parent, failure)
}

fn fail(parent: &mut Channel, failure: Failure) -> ! {
    // If the shim is gone there is nobody to tell.
    let _ = parent.send(&Reply::Failed { failure }, &[]);
    sys::exit(1)
}

fn stage(
    prepare: &Prepare,
    fds: &[OwnedFd],
    parent: &mut Channel,
    foreign: Foreign,
    late_user: bool,
) -> Result<(Staged, OwnedFd), Failure> {
    for tasks in &prepare.cgroup.v1_tasks {
        let fd = fds.get(tasks.index as usize).ok_or(Failure { step: Step::Cgroup, index: 0, errno: libc::EBADF })?;
        at(Step::Cgroup, sys::write_all(fd.as_raw_fd(), b"0"))?;
    }
    // Another container's pid namespace belongs to that container's user namespace: its /proc must be mounted before we
    // enter ours.
    let mut proc = None;
    if late_user {
        proc = Some(at(Step::Proc, new_proc())?);
        let mut flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
        for (namespace, flag) in [(prepare.net, libc::CLONE_NEWNET), (prepare.ipc, libc::CLONE_NEWIPC), (prepare.uts, libc::CLONE_NEWUTS)] {
            if namespace == Namespace::Own {
                flags |= flag;
            }
        }
        at(Step::Clone, sys::unshare(flags))?;
        at(Step::IdMaps, sys::write_all(parent.fd.as_raw_fd(), b"u"))?;
    }
    if matches!(prepare.user, UserNamespace::Own { .. }) {
        let mut mapped = [0];
        match at(Step::IdMaps, sys::read(parent.fd.as_raw_fd(), &mut mapped))? {
            1 => {}
            _ => sys::exit(0), // The shim ended.
        }
    }
    if prepare.user != UserNamespace::Host {
        at(Step::BecomeRoot, sys::set_groups(&[]))?;
        at(Step::BecomeRoot, sys::set_ids(0, 0))?;
        at(Step::BecomeRoot, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    }
    if prepare.cgroup_ns == Namespace::Own {
        // Only now: the cgroup namespace's root is the group the caller is in.
        at(Step::Cgroup, sys::unshare(libc::CLONE_NEWCGROUP))?;
    }
    if prepare.net == Namespace::Own {
        at(Step::Loopback, sys::loopback_up())?;
    }

    let proc = match proc {
        Some(proc) => proc,
        None => at(Step::Proc, new_proc())?,
    };
    at(Step::Proc, attach(&proc, c"/stage/proc"))?;
    // A mount of its own, attached nowhere, that the masks below do not cover.
    let bare_proc = at(Step::Proc, sys::clone_mount(AT_FDCWD, c"/stage/proc", false))?;

    let sys_flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
    let writable = prepare.sys_writable;
    let sys_attributes = if writable { sys_flags } else { sys_flags | ATTR_RDONLY };
    let sysfs = match foreign.sys {
        Some(fd) => fd,
        None => at(Step::Sys, sys::new_mount(c"sysfs", &[], sys_attributes))?,
    };
    if !writable {
        at(Step::Sys, sys::set_mount_attributes(sysfs.as_raw_fd(), ATTR_RDONLY, 0, false))?;
    }
    at(Step::Sys, attach(&sysfs, c"/stage/sys"))?;
    stage_cgroups(prepare, sys_attributes)?;

    let null = at(Step::Dev, sys::clone_mount(AT_FDCWD, c"/dev/null", false))?;
    let (dev, devpts) = stage_dev(prepare, foreign.mqueue)?;
    let empty = at(Step::Mask, sys::clone_mount(AT_FDCWD, c"/empty", false))?;
    at(Step::Mask, sys::set_mount_attributes(empty.as_raw_fd(), ATTR_RDONLY, 0, false))?;
    let staged = Staged { proc: bare_proc, dev, null, empty };

    for (i, path) in prepare.read_only.iter().enumerate() {
        if let Some(path) = staged_path(path) {
            at_index(Step::ReadOnly, i, make_read_only(AT_FDCWD, &path))?;
        }
    }
    for (i, path) in prepare.masked.iter().enumerate() {
        if let Some(path) = staged_path(path) {
            at_index(Step::Mask, i, mask(AT_FDCWD, &path, &staged))?;
        }
    }
    Ok((staged, devpts))
}

/// A path under /proc or /sys as long as these are staged.
fn staged_path(path: &str) -> Option<CString> {
    let staged = path.starts_with("/proc/") || path.starts_with("/sys/");
    staged.then(|| CString::new(format!("/stage{path}")).ok()).flatten()
}

fn new_proc() -> R<OwnedFd> {
    sys::new_mount(c"proc", &[], ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
}

fn attach(mount: &OwnedFd, path: &CStr) -> R<()> {
    sys::move_mount(mount.as_raw_fd(), c"", AT_FDCWD, path)
}

/// /dev: a tmpfs with the six harmless nodes bound in (mknod is not for user namespaces), pts, shm, mqueue and links.
fn stage_dev(prepare: &Prepare, mqueue: Option<OwnedFd>) -> Result<(OwnedFd, OwnedFd), Failure> {
    const NODES: [(&CStr, &CStr, u64); 6] = [
        (c"null", c"/dev/null", 3),
        (c"zero", c"/dev/zero", 5),
        (c"full", c"/dev/full", 7),
        (c"random", c"/dev/random", 8),
        (c"urandom", c"/dev/urandom", 9),
        (c"tty", c"/dev/tty", 0),
    ];
    const LINKS: [(&CStr, &CStr); 6] = [
        (c"/proc/self/fd", c"fd"),
        (c"/proc/self/fd/0", c"stdin"),
        (c"/proc/self/fd/1", c"stdout"),
        (c"/proc/self/fd/2", c"stderr"),
        (c"/proc/kcore", c"core"),
        (c"pts/ptmx", c"ptmx"),
    ];
    let run = || -> R<(OwnedFd, OwnedFd)> {
        let options = [(c"mode", c"755"), (c"size", c"65536k")];
        let dev = sys::new_mount(c"tmpfs", &options, ATTR_NOSUID | ATTR_STRICTATIME)?;
        attach(&dev, c"/stage/dev")?;
        let at = dev.as_raw_fd();
        for name in [c"pts", c"shm", c"mqueue"] {
            sys::mkdir_at(at, name, 0o755)?;
        }
        for (target, name) in LINKS {
            sys::symlink_at(target, at, name)?;
        }
        for (name, source, minor) in NODES {
            let node = sys::clone_mount(AT_FDCWD, source, false)?;
            let stat = sys::stat(node.as_raw_fd())?;
            let major = if minor == 0 { 5 } else { 1 };
            if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != libc::makedev(major, minor as u32) {
                return Err(libc::ENODEV);
            }
            let _ = sys::open_at(at, name, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o666)?;
            sys::move_mount(node.as_raw_fd(), c"", at, name)?;
        }
        let options = [(c"newinstance", c""), (c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", c"5")];
        // A map too small for group 5 still gets terminals, with group 0.
        let pts = sys::new_mount(c"devpts", &options, ATTR_NOSUID | ATTR_NOEXEC)
            .or_else(|_| sys::new_mount(c"devpts", &options[..3], ATTR_NOSUID | ATTR_NOEXEC))?;
        sys::move_mount(pts.as_raw_fd(), c"", at, c"pts")?;
        let flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC;
        let mut size = [0u8; 32];
        let text = number(prepare.shm_size, &mut size);
        // `--ipc none`: the folder alone.
        if prepare.shm_size != 0 {
            let shm = sys::new_mount(c"tmpfs", &[(c"source", c"shm"), (c"mode", c"1777"), (c"size", text)], flags)?;
            sys::move_mount(shm.as_raw_fd(), c"", at, c"shm")?;
        }
        let mqueue = match mqueue {
            Some(fd) => fd,
            None => sys::new_mount(c"mqueue", &[], flags)?,
        };
        sys::move_mount(mqueue.as_raw_fd(), c"", at, c"mqueue")?;
        Ok((dev, pts))
    };
    at(Step::Dev, run())
}

/// A number as a C string in `buffer`.
fn number(mut value: u64, buffer: &mut [u8; 32]) -> &CStr {
    let mut start = buffer.len() - 1;
    loop {
        start -= 1;
        buffer[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    CStr::from_bytes_until_nul(&buffer[start..]).unwrap_or(c"0")
}

fn stage_cgroups(prepare: &Prepare, attributes: u64) -> Result<(), Failure> {
    let run = || -> R<()> {
        match &prepare.cgroup_view {
            CgroupView::Nothing => {}
            CgroupView::V2 => {
                let cgroups = sys::new_mount(c"cgroup2", &[], attributes)?;
                attach(&cgroups, c"/stage/sys/fs/cgroup")?;
            }
            CgroupView::V1 { hierarchies } => {
                let folder = sys::new_mount(c"tmpfs", &[(c"mode", c"755")], ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)?;
                attach(&folder, c"/stage/sys/fs/cgroup")?;
                for hierarchy in hierarchies {
                    let name = CString::new(hierarchy.name.as_str()).map_err(|_| libc::EINVAL)?;
                    sys::mkdir_at(folder.as_raw_fd(), &name, 0o755)?;
                    let mount = v1_mount(&hierarchy.option, attributes)?;
                    sys::move_mount(mount.as_raw_fd(), c"", folder.as_raw_fd(), &name)?;
                }
                if attributes & ATTR_RDONLY != 0 {
                    sys::set_mount_attributes(folder.as_raw_fd(), ATTR_RDONLY, 0, false)?;
                }
            }
        }
        Ok(())
    };
    at(Step::CgroupView, run())
}

/// A v1 hierarchy by its option, `memory` or `cpu,cpuacct` or `name=systemd`.
fn v1_mount(option: &str, attributes: u64) -> R<OwnedFd> {
    let words: Result<Vec<(CString, CString)>, _> = option
        .split(',')
        .map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            Ok((CString::new(key)?, CString::new(value)?))
        })
        .collect::<Result<_, std::ffi::NulError>>();
    let words = words.map_err(|_| libc::EINVAL)?;
    let options: Vec<(&CStr, &CStr)> = words.iter().map(|(k, v)| (k.as_c_str(), v.as_c_str())).collect();
    sys::new_mount(c"cgroup", &options, attributes)
}

/// Binds a path onto itself, read-only. A path that is not there is passed over.
fn make_read_only(root: RawFd, path: &CStr) -> R<()> {
    let mount = match sys::clone_mount(root, path, true) {
        Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
        outcome => outcome?,
    };
    sys::set_mount_attributes(mount.as_raw_fd(), ATTR_RDONLY, 0, true)?;
    sys::move_mount(mount.as_raw_fd(), c"", root, path)
}

/// Hides a path behind an empty read-only folder or the null device, both of them fds of ours (CVE-2025-31133: never
/// the container's own /dev/null).
fn mask(root: RawFd, path: &CStr, staged: &Staged) -> R<()> {
    let target = match sys::open_at(root, path, libc::O_PATH, 0) {
        Err(libc::ENOENT | libc::ENOTDIR) => return Ok(()),
        outcome => outcome?,
    };
    let folder = sys::stat(target.as_raw_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let source = if folder { &staged.empty } else { &staged.null };
    match sys::clone_mount(source.as_raw_fd(), c"", false) {
        Ok(mount) => sys::attach_mount(mount.as_raw_fd(), target.as_raw_fd()),
        // Before Linux 6.15 only a mount attached in our own namespace can be cloned: the first mask is the mount itself, and
        // the others are cloned from it.
        Err(libc::EINVAL) => sys::attach_mount(source.as_raw_fd(), target.as_raw_fd()),
        Err(errno) => Err(errno),
    }
}

/// Phase two. Returns only with an error.
fn become_container(prepare: &Prepare, plan: &Plan, fds: &[OwnedFd], staged: &Staged, parent: &mut Channel) -> Failure {
    match run_container(prepare, plan, fds, staged, parent) {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

enum Never {}

fn run_container(prepare: &Prepare, plan: &Plan, fds: &[OwnedFd], staged: &Staged, parent: &mut Channel) -> Result<Never, Failure> {
    let fd = |index: u32| fds.get(index as usize).ok_or(Failure { step: Step::Plan, index, errno: libc::EBADF });
    let ready = Ready::new(&plan.process)?;
    let stdio_start = fds.len().checked_sub(3).ok_or(Failure { step: Step::Plan, index: 0, errno: libc::EBADF })?;
    let stdio = [fds[stdio_start].as_raw_fd(), fds[stdio_start + 1].as_raw_fd(), fds[stdio_start + 2].as_raw_fd()];

    // The root. Its fd stays good after it was attached: it is the same mount.
    let root = fd(plan.root.index)?;
    at(Step::Root, attach(root, c"/stage/root"))?;
    let root = root.as_raw_fd();
    for (name, from) in [(c"proc", c"/stage/proc"), (c"sys", c"/stage/sys"), (c"dev", c"/stage/dev")] {
        match sys::mkdir_at(root, name, 0o755) {
            Err(libc::EEXIST | libc::EROFS) => {}
            outcome => at(Step::Root, outcome)?,
        }
        // Not through a symlink of the image's (CVE-2019-16884, CVE-2026-41579): such an image does not start.
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let target = at(Step::Root, sys::open_in(root, name, flags, sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS))?;
        at(Step::Root, sys::move_mount(AT_FDCWD, from, target.as_raw_fd(), c""))?;
    }
    for (i, mount) in plan.mounts.iter().enumerate() {
        at_index(Step::Mount, i, do_mount(root, mount, fds))?;
    }
    if plan.process.tty {
        at(Step::Terminal, bind_console(staged, stdio[0]))?;
    }

    at(Step::Pivot, sys::fchdir(root))?;
    at(Step::Pivot, sys::pivot_here())?;
    let other = |path: &&String| staged_path(path).is_none();
    for (i, path) in prepare.read_only.iter().enumerate().filter(|(_, p)| other(p)) {
        at_index(Step::ReadOnly, i, sys::with_path(path, |p| make_read_only(AT_FDCWD, p)))?;
    }
    for (i, path) in prepare.masked.iter().enumerate().filter(|(_, p)| other(p)) {
        at_index(Step::Mask, i, sys::with_path(path, |p| mask(AT_FDCWD, p, staged)))?;
    }
    if !plan.hostname.is_empty() {
        at(Step::Hostname, sys::set_host_name(&plan.hostname))?;
    }
    if !plan.domainname.is_empty() {
        at(Step::Hostname, sys::set_domain_name(&plan.domainname))?;
    }
    for (i, (name, value)) in plan.sysctls.iter().enumerate() {
        at_index(Step::Sysctl, i, set_sysctl(staged, name, value))?;
    }
    let cwd = if plan.process.cwd.is_empty() { "/" } else { &plan.process.cwd };
    let cwd = at(Step::Cwd, make_folders(root, cwd, 0))?;
    if plan.root_read_only {
        at(Step::Root, sys::set_mount_attributes(root, ATTR_RDONLY, 0, false))?;
    }
    at(Step::Cwd, process::enter_folder(&cwd))?;

    process::reset_signals();
    at(Step::Stdio, process::set_stdio(stdio, plan.process.tty))?;
    ready.drop_privileges(Some(staged.proc.as_fd()))?;
    // When the shim is killed the container goes with it: nobody would reap it, keep its log or know its end. (A later
    // change of credentials clears this, exec of a setuid program for one; then the next server's adoption finds the
    // cgroup without a shim and kills it.)
    at(Step::Ids, sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0))?;
    if is_hung_up(parent) {
        sys::exit(137); // It was killed before the line above.
    }
    // Nothing of the host's goes along (CVE-2024-21626). The channel is among them: its closing says that exec worked.
    at(Step::Exec, sys::close_range(3, RawFd::MAX, true))?;
    ready.confine()?;
    if plan.init {
        return Err(reaper::run(&ready, parent.fd.as_raw_fd(), plan.process.tty));
    }
    Err(ready.exec())
}

fn is_hung_up(parent: &Channel) -> bool {
    let mut fds = [libc::pollfd { fd: parent.fd.as_raw_fd(), events: 0, revents: 0 }];
    matches!(sys::poll(&mut fds, 0), Ok(1))
}

fn do_mount(root: RawFd, mount: &Mount, fds: &[OwnedFd]) -> R<()> {
    let target = open_target(root, &mount.target, mount.file)?;
    let target = target.as_raw_fd();
    match &mount.source {
        MountSource::Detached { fd } | MountSource::Device { fd } => {
            let source = fds.get(fd.index as usize).ok_or(libc::EBADF)?;
            sys::attach_mount(source.as_raw_fd(), target)
        }
        MountSource::Tmpfs { options } => {
            let (options, attributes) = tmpfs_options(options)?;
            let options: Vec<(&CStr, &CStr)> = options.iter().map(|(k, v)| (k.as_c_str(), v.as_c_str())).collect();
            let tmpfs = sys::new_mount(c"tmpfs", &options, attributes & !ATTR_RDONLY)?;
            if mount.copy_up {
                let below = sys::open_at(target, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
                // The mount's own fd is a path only; and a mode that was asked for stays.
                let above = sys::open_at(tmpfs.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
                let keep_mode = options.iter().any(|(key, _)| *key == c"mode");
                copy_up::into(below.as_raw_fd(), above.as_raw_fd(), keep_mode)?;
            }
            if attributes & ATTR_RDONLY != 0 {
                sys::set_mount_attributes(tmpfs.as_raw_fd(), ATTR_RDONLY, 0, false)?;
            }
            sys::attach_mount(tmpfs.as_raw_fd(), target)
        }
    }
}

/// Where to mount: resolved inside the root, made when missing, and never inside /proc but for a few files.
fn open_target(root: RawFd, path: &str, file: bool) -> R<OwnedFd> {
    let in_root = |path: &CStr| sys::open_in(root, path, libc::O_PATH, sys::RESOLVE_IN_ROOT);
    let target = match sys::with_path(path, in_root) {
        Err(libc::ENOENT) if file => {
            let (folder, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
            let folder = make_folders(root, folder, 0)?;
            sys::with_path(name, |name| {
                let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW;
                sys::open_at(folder.as_raw_fd(), name, flags, 0o644).map(drop)
            })?;
            sys::with_path(path, in_root)?
        }
        Err(libc::ENOENT) => make_folders(root, path, 0)?,
        outcome => outcome?,
    };
    if sys::fs_magic(target.as_raw_fd())? == PROC_SUPER_MAGIC {
        let inside = path.trim_start_matches('/').strip_prefix("proc/").unwrap_or("");
        if !PROC_TARGETS.contains(&inside) {
            return Err(libc::EPERM);
        }
    }
    Ok(target)
}

/// Opens a folder under the root, making what is missing. A dangling symlink on the way gets its target made, inside the
/// root, as Docker does (`/var/run -> /run` in an image without /run).
fn make_folders(root: RawFd, path: &str, depth: u32) -> R<OwnedFd> {
    if depth > 40 {
        return Err(libc::ELOOP);
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let open = |path: &str| {
        let path = if path.is_empty() { "." } else { path };
        sys::with_path(path, |p| sys::open_in(root, p, flags, sys::RESOLVE_IN_ROOT))
    };
    match open(path) {
        Err(libc::ENOENT) => {}
        outcome => return outcome,
    }
    let mut done = String::new();
    let mut folder = open("")?;
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        let parent_path = done.clone();
        done.push('/');
        done.push_str(name);
        folder = match open(&done) {
            Err(libc::ENOENT) => match sys::with_path(name, |n| sys::mkdir_at(folder.as_raw_fd(), n, 0o755)) {
                Ok(()) => open(&done)?,
                Err(libc::EEXIST) => {
                    let link = sys::with_path(name, |n| sys::readlink_at(folder.as_raw_fd(), n))?;
                    let link = if link.starts_with('/') { link } else { format!("{parent_path}/{link}") };
                    make_folders(root, &link, depth + 1)?
                }
                Err(e) => return Err(e),
            },
            outcome => outcome?,
        };
    }
    Ok(folder)
}

/// Splits mount options into what the file system gets and what the mount gets.
fn tmpfs_options(options: &[String]) -> R<(Vec<(CString, CString)>, u64)> {
    let mut keys = Vec::new();
    let mut attributes = 0;
    for option in options.iter().flat_map(|o| o.split(',')).filter(|o| !o.is_empty()) {
        let (set, clear) = match option {
            "ro" => (ATTR_RDONLY, 0),
            "rw" => (0, ATTR_RDONLY),
            "nosuid" => (ATTR_NOSUID, 0),
            "suid" => (0, ATTR_NOSUID),
            "nodev" => (ATTR_NODEV, 0),
            "dev" => (0, ATTR_NODEV),
            "noexec" => (ATTR_NOEXEC, 0),
            "exec" => (0, ATTR_NOEXEC),
            "noatime" => (sys::ATTR_NOATIME, ATTR_STRICTATIME),
            "strictatime" => (ATTR_STRICTATIME, sys::ATTR_NOATIME),
            "nodiratime" => (sys::ATTR_NODIRATIME, 0),
            "diratime" => (0, sys::ATTR_NODIRATIME),
            "nosymfollow" => (sys::ATTR_NOSYMFOLLOW, 0),
            "relatime" | "atime" | "defaults" | "async" | "private" | "rprivate" => (0, 0),
            option => {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                let text = |s: &str| CString::new(s).map_err(|_| libc::EINVAL);
                keys.push((text(key)?, text(value)?));
                continue;
            }
        };
        attributes = (attributes & !clear) | set;
    }
    Ok((keys, attributes))
}

/// Puts the terminal at /dev/console, from the fd of the terminal itself (CVE-2025-52565).
fn bind_console(staged: &Staged, slave: RawFd) -> R<()> {
    let dev = staged.dev.as_raw_fd();
    let _ = sys::open_at(dev, c"console", libc::O_CREAT | libc::O_WRONLY | libc::O_NOFOLLOW, 0o600)?;
    let console = sys::clone_mount(slave, c"", false)?;
    sys::move_mount(console.as_raw_fd(), c"", dev, c"console")
}

/// Writes a sysctl through our own /proc, which nothing of the image can replace (CVE-2025-52881).
fn set_sysctl(staged: &Staged, name: &str, value: &str) -> R<()> {
    // `net.ipv4.conf.eth0/1.forwarding`: a slash in the dotted form is a dot in the name.
    let path = if name.contains('.') && !name.starts_with('/') {
        name.chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    } else {
        name.trim_start_matches('/').to_owned()
    };
    let file = sys::with_path(&format!("sys/{path}"), |p| {
        sys::open_in(staged.proc.as_raw_fd(), p, libc::O_WRONLY, sys::RESOLVE_BENEATH | sys::RESOLVE_NO_SYMLINKS)
    })?;
    if sys::fs_magic(file.as_raw_fd())? != PROC_SUPER_MAGIC {
        return Err(libc::EXDEV);
    }
    sys::write_all(file.as_raw_fd(), value.as_bytes())
}
