//! The kernel's calls, each as a small function. Errors are plain errno numbers: they must be told from the far side of a
//! clone, where nothing may be formatted.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// An errno or a value.
pub type R<T> = Result<T, i32>;

pub const AT_FDCWD: RawFd = libc::AT_FDCWD;
pub const ATTR_RDONLY: u64 = 0x1;
pub const ATTR_NOSUID: u64 = 0x2;
pub const ATTR_NODEV: u64 = 0x4;
pub const ATTR_NOEXEC: u64 = 0x8;
pub const ATTR_NOATIME: u64 = 0x10;
pub const ATTR_STRICTATIME: u64 = 0x20;
pub const ATTR_NODIRATIME: u64 = 0x80;
pub const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;
const OPEN_TREE_CLONE: u32 = 1;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = 0x1000;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
pub const RESOLVE_BENEATH: u64 = 0x08;
pub const RESOLVE_IN_ROOT: u64 = 0x10;
const EMPTY: &CStr = c"";

/// The last error.
pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn check(outcome: libc::c_long) -> R<libc::c_long> {
    if outcome < 0 { Err(errno()) } else { Ok(outcome) }
}

fn owned(outcome: libc::c_long) -> R<OwnedFd> {
    let fd = check(outcome)? as RawFd;
    // SAFETY: the kernel has just made this fd for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

macro_rules! call {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: every pointer argument points to memory that lives until the call returns, of the size the call expects.
        unsafe { libc::syscall(libc::$number $(, $argument)*) }
    };
}

/// A path as a C string on the stack, cut at the first NUL (none has one: the engine checked).
pub fn with_path<T>(path: &str, run: impl FnOnce(&CStr) -> R<T>) -> R<T> {
    let mut buffer = [0u8; 4096];
    let bytes = path.as_bytes();
    if bytes.len() >= buffer.len() {
        return Err(libc::ENAMETOOLONG);
    }
    buffer[..bytes.len()].copy_from_slice(bytes);
    run(CStr::from_bytes_until_nul(&buffer).map_err(|_| libc::EINVAL)?)
}

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a clone we are on.
pub enum Side {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// clone3(2) like fork: memory is copied. `cgroup`: a v2 group to be born in.
///
/// The program has one thread and no locks, so the child may do anything afterwards, allocation included.
pub fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> R<Side> {
    clone_as(flags, libc::SIGCHLD, cgroup)
}

/// [`clone`], but the new process is a child of our parent's, who is told of its end as of ours (clone(2), CLONE_PARENT).
pub fn clone_sibling(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> R<Side> {
    clone_as(flags | libc::CLONE_PARENT as u64, 0, cgroup)
}

fn clone_as(flags: u64, exit_signal: i32, cgroup: Option<BorrowedFd<'_>>) -> R<Side> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: exit_signal as u64,
        ..Default::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    match check(call!(SYS_clone3, &raw const arguments, size_of::<CloneArgs>()))? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: pid as i32,
            // SAFETY: the kernel stored a new fd there for us.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

pub fn exit(code: i32) -> ! {
    // SAFETY: ends the process; no memory is involved.
    unsafe { libc::_exit(code) }
}

pub fn setns(fd: RawFd, kind: i32) -> R<()> {
    check(call!(SYS_setns, fd, kind)).map(drop)
}

pub fn unshare(flags: i32) -> R<()> {
    check(call!(SYS_unshare, flags)).map(drop)
}

pub fn open(path: &CStr, flags: i32) -> R<OwnedFd> {
    open_at(AT_FDCWD, path, flags, 0)
}

pub fn open_at(folder: RawFd, path: &CStr, flags: i32, mode: u32) -> R<OwnedFd> {
    owned(call!(SYS_openat, folder, path.as_ptr(), flags | libc::O_CLOEXEC, mode))
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// openat2(2).
pub fn open_in(folder: RawFd, path: &CStr, flags: i32, resolve: u64) -> R<OwnedFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: 0, resolve };
    loop {
        match owned(call!(SYS_openat2, folder, path.as_ptr(), &raw const how, size_of::<OpenHow>())) {
            Err(libc::EAGAIN) => {} // A rename went by while `..` was resolved; the kernel asks to try again.
            outcome => return outcome,
        }
    }
}

pub fn mkdir_at(folder: RawFd, path: &CStr, mode: u32) -> R<()> {
    check(call!(SYS_mkdirat, folder, path.as_ptr(), mode)).map(drop)
}

pub fn mknod_at(folder: RawFd, path: &CStr, mode: u32, major: u32, minor: u32) -> R<()> {
    check(call!(SYS_mknodat, folder, path.as_ptr(), mode, libc::makedev(major, minor))).map(drop)
}

pub fn symlink_at(target: &CStr, folder: RawFd, path: &CStr) -> R<()> {
    check(call!(SYS_symlinkat, target.as_ptr(), folder, path.as_ptr())).map(drop)
}

pub fn unlink_at(folder: RawFd, path: &CStr) -> R<()> {
    check(call!(SYS_unlinkat, folder, path.as_ptr(), 0)).map(drop)
}

pub fn rename_at(folder: RawFd, from: &CStr, to: &CStr) -> R<()> {
    check(call!(SYS_renameat2, folder, from.as_ptr(), folder, to.as_ptr(), 0)).map(drop)
}

/// The target of a symlink.
pub fn readlink_at(folder: RawFd, path: &CStr) -> R<String> {
    let mut buffer = [0u8; 4096];
    let length = check(call!(SYS_readlinkat, folder, path.as_ptr(), buffer.as_mut_ptr(), buffer.len()))?;
    String::from_utf8(buffer[..length as usize].to_vec()).map_err(|_| libc::EILSEQ)
}

/// A lock on a file or folder (flock(2)), held until it is dropped.
pub struct Lock(RawFd);

/// Takes it, if nobody else has it.
pub fn lock(fd: RawFd) -> R<Lock> {
    // SAFETY: an fd and a number.
    if unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) } == 0 { Ok(Lock(fd)) } else { Err(errno()) }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: an fd and a number.
        unsafe { libc::flock(self.0, libc::LOCK_UN) };
    }
}

pub fn stat(fd: RawFd) -> R<libc::stat> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `stat` has room for what fstat fills, and is read only when it was filled.
    match unsafe { libc::fstat(fd, stat.as_mut_ptr()) } {
        // SAFETY: filled.
        0 => Ok(unsafe { stat.assume_init() }),
        _ => Err(errno()),
    }
}

/// The file system's magic number.
pub fn fs_magic(fd: RawFd) -> R<i64> {
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: as in `stat`.
    match unsafe { libc::fstatfs(fd, stat.as_mut_ptr()) } {
        // SAFETY: filled.
        0 => Ok(unsafe { stat.assume_init() }.f_type as i64),
        _ => Err(errno()),
    }
}

pub fn read(fd: RawFd, buffer: &mut [u8]) -> R<usize> {
    loop {
        match check(call!(SYS_read, fd, buffer.as_mut_ptr(), buffer.len())) {
            Err(libc::EINTR) => {}
            outcome => return outcome.map(|n| n as usize),
        }
    }
}

pub fn write(fd: RawFd, bytes: &[u8]) -> R<usize> {
    loop {
        match check(call!(SYS_write, fd, bytes.as_ptr(), bytes.len())) {
            Err(libc::EINTR) => {}
            outcome => return outcome.map(|n| n as usize),
        }
    }
}

pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> R<()> {
    while !bytes.is_empty() {
        let written = write(fd, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// writev(2) of a chunk's three parts.
pub fn write_parts(fd: RawFd, parts: [&[u8]; 3]) -> R<usize> {
    let vectors = parts.map(|p| libc::iovec { iov_base: p.as_ptr() as *mut _, iov_len: p.len() });
    check(call!(SYS_writev, fd, vectors.as_ptr(), vectors.len())).map(|n| n as usize)
}

/// Writes a whole small file such as those under /proc, opened and written in one go.
pub fn write_file(folder: RawFd, path: &CStr, bytes: &[u8]) -> R<()> {
    let fd = open_at(folder, path, libc::O_WRONLY, 0)?;
    match write(fd.as_raw_fd(), bytes)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(libc::EIO),
    }
}

/// A new, detached mount. Options with an empty value are flags. Its source, which programs read in mountinfo, is its
/// kind unless an option `source` says otherwise.
pub fn new_mount(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> R<OwnedFd> {
    let context = owned(call!(SYS_fsopen, kind.as_ptr(), 1 /* FSOPEN_CLOEXEC */))?;
    let source = [(c"source", kind)];
    let named = options.iter().any(|(key, _)| *key == c"source");
    for (key, value) in source.iter().filter(|_| !named).chain(options) {
        let command = if value.is_empty() { 0 } else { 1 }; // FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING
        let value = if value.is_empty() { std::ptr::null() } else { value.as_ptr() };
        check(call!(SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value, 0))?;
    }
    let create = 6; // FSCONFIG_CMD_CREATE
    check(call!(SYS_fsconfig, context.as_raw_fd(), create, std::ptr::null::<u8>(), std::ptr::null::<u8>(), 0))?;
    owned(call!(SYS_fsmount, context.as_raw_fd(), 1 /* FSMOUNT_CLOEXEC */, attributes as u32))
}

/// A detached clone of the mount (tree) at a path.
pub fn clone_mount(folder: RawFd, path: &CStr, recursive: bool) -> R<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    owned(call!(SYS_open_tree, folder, path.as_ptr(), flags))
}

/// Attaches a detached mount at an open target.
pub fn attach_mount(mount: RawFd, target: RawFd) -> R<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    check(call!(SYS_move_mount, mount, EMPTY.as_ptr(), target, EMPTY.as_ptr(), flags)).map(drop)
}

/// Attaches a detached mount (or moves an attached one) to a path.
pub fn move_mount(from: RawFd, from_path: &CStr, to: RawFd, to_path: &CStr) -> R<()> {
    let mut flags = 0;
    if from_path.is_empty() {
        flags |= MOVE_MOUNT_F_EMPTY_PATH;
    }
    if to_path.is_empty() {
        flags |= MOVE_MOUNT_T_EMPTY_PATH;
    }
    check(call!(SYS_move_mount, from, from_path.as_ptr(), to, to_path.as_ptr(), flags)).map(drop)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_ns: u64,
}

/// mount_setattr(2): sets attributes and, when not 0, the propagation.
pub fn set_mount_attributes(mount: RawFd, set: u64, propagation: u64, recursive: bool) -> R<()> {
    let attributes = MountAttr { set, clear: 0, propagation, user_ns: 0 };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let size = size_of::<MountAttr>();
    check(call!(SYS_mount_setattr, mount, EMPTY.as_ptr(), flags, &raw const attributes, size)).map(drop)
}

/// `pivot_root(".", ".")` and away with the old root (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_here() -> R<()> {
    let here = c".";
    check(call!(SYS_pivot_root, here.as_ptr(), here.as_ptr()))?;
    check(call!(SYS_umount2, here.as_ptr(), libc::MNT_DETACH))?;
    chdir(c"/")
}

pub fn chdir(path: &CStr) -> R<()> {
    check(call!(SYS_chdir, path.as_ptr())).map(drop)
}

pub fn fchdir(fd: RawFd) -> R<()> {
    check(call!(SYS_fchdir, fd)).map(drop)
}

/// Whether the working directory is under the root (CVE-2024-21626: the kernel says "(unreachable)" when not).
pub fn cwd_is_reachable() -> bool {
    let mut buffer = [0u8; 4096];
    let outcome = call!(SYS_getcwd, buffer.as_mut_ptr(), buffer.len());
    // ERANGE: deeper than 4096 bytes, and so not "(unreachable)", which would come back.
    outcome < 0 || buffer[0] == b'/'
}

pub fn prctl(option: i32, a: u64, b: u64) -> R<i32> {
    check(call!(SYS_prctl, option, a, b, 0, 0)).map(|n| n as i32)
}

pub fn set_ids(uid: u32, gid: u32) -> R<()> {
    check(call!(SYS_setresgid, gid, gid, gid))?;
    check(call!(SYS_setresuid, uid, uid, uid)).map(drop)
}

pub fn set_groups(groups: &[u32]) -> R<()> {
    check(call!(SYS_setgroups, groups.len(), groups.as_ptr())).map(drop)
}

/// setfsuid(2): what new files (and terminals) belong to. Never fails visibly.
pub fn set_fs_uid(uid: u32) {
    call!(SYS_setfsuid, uid);
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The permitted set.
pub fn permitted_caps() -> R<u64> {
    let header = CapHeader { version: 0x2008_0522, pid: 0 };
    let mut data = [CapData::default(); 2];
    check(call!(SYS_capget, &raw const header, data.as_mut_ptr()))?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

pub fn set_caps(effective: u64, permitted: u64, inheritable: u64) -> R<()> {
    let header = CapHeader { version: 0x2008_0522, pid: 0 };
    let half = |shift: u32| CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    check(call!(SYS_capset, &raw const header, data.as_ptr())).map(drop)
}

#[repr(C)]
pub struct Program {
    pub length: u16,
    pub instructions: *const libc::sock_filter,
}

pub fn load_seccomp(filter: &[libc::sock_filter]) -> R<()> {
    let program = Program { length: filter.len() as u16, instructions: filter.as_ptr() };
    check(call!(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, &raw const program)).map(drop)
}

/// Marks every fd from `first` on close-on-exec, or closes it.
pub fn close_range(first: RawFd, last: RawFd, on_exec: bool) -> R<()> {
    check(call!(SYS_close_range, first, last, if on_exec { 4 } else { 0 })).map(drop)
}

pub fn dup_to(from: RawFd, to: RawFd) -> R<()> {
    if from == to {
        // dup3 refuses equal numbers, and the flag must go all the same.
        return check(call!(SYS_fcntl, from, libc::F_SETFD, 0)).map(drop);
    }
    check(call!(SYS_dup3, from, to, 0)).map(drop)
}

pub fn duplicate(fd: RawFd) -> R<OwnedFd> {
    owned(call!(SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, 3))
}

pub fn set_nonblocking(fd: RawFd, on: bool) -> R<()> {
    let flags = check(call!(SYS_fcntl, fd, libc::F_GETFL))? as i32;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    check(call!(SYS_fcntl, fd, libc::F_SETFL, flags)).map(drop)
}

/// Read end, write end; close-on-exec.
pub fn pipe() -> R<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    check(call!(SYS_pipe2, fds.as_mut_ptr(), libc::O_CLOEXEC))?;
    // SAFETY: the kernel has just made both for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub fn socket_pair() -> R<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    check(call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()))?;
    // SAFETY: the kernel has just made both for us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Brings the loopback interface of the caller's network namespace up, as Docker does also without any other network
/// (netdevice(7)).
pub fn loopback_up() -> R<()> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: i16,
        rest: [u8; 22],
    }
    let socket = check(call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
    // SAFETY: the kernel has just made it for us.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as RawFd) };
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: (libc::IFF_UP | libc::IFF_RUNNING) as i16, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    check(call!(SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS as u64, &raw const request)).map(drop)
}

pub fn chown(fd: RawFd, uid: u32) -> R<()> {
    check(call!(SYS_fchown, fd, uid, u32::MAX)).map(drop)
}

pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> R<()> {
    let limit = [soft, hard];
    check(call!(SYS_prlimit64, pid, resource, limit.as_ptr(), std::ptr::null::<u64>())).map(drop)
}

pub fn hard_rlimit(resource: u32) -> R<u64> {
    let mut limit = [0u64; 2];
    check(call!(SYS_prlimit64, 0, resource, std::ptr::null::<u64>(), limit.as_mut_ptr()))?;
    Ok(limit[1])
}

pub fn set_host_name(name: &str) -> R<()> {
    check(call!(SYS_sethostname, name.as_ptr(), name.len())).map(drop)
}

pub fn set_domain_name(name: &str) -> R<()> {
    check(call!(SYS_setdomainname, name.as_ptr(), name.len())).map(drop)
}

pub fn set_sid() {
    // Fails only for a process-group leader, which already is what we want or cannot be changed.
    call!(SYS_setsid);
}

pub fn ioctl_int(fd: RawFd, request: u64, value: u64) -> R<i32> {
    check(call!(SYS_ioctl, fd, request, value)).map(|n| n as i32)
}

pub fn set_window(fd: RawFd, rows: u16, columns: u16) -> R<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    check(call!(SYS_ioctl, fd, libc::TIOCSWINSZ, &raw const size)).map(drop)
}

/// A terminal of the devpts instance mounted at `devpts`: master, slave.
pub fn open_terminal(devpts: RawFd) -> R<(OwnedFd, OwnedFd)> {
    let master = open_at(devpts, c"ptmx", libc::O_RDWR | libc::O_NOCTTY, 0)?;
    let unlock: libc::c_int = 0;
    check(call!(SYS_ioctl, master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock))?;
    let flags = (libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) as u64;
    let slave = owned(libc::c_long::from(ioctl_int(master.as_raw_fd(), 0x5441 /* TIOCGPTPEER */, flags)?))?;
    Ok((master, slave))
}

pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> R<usize> {
    let timeout = i64::from(timeout_ms.max(0));
    let time = libc::timespec { tv_sec: timeout / 1000, tv_nsec: timeout % 1000 * 1_000_000 };
    let time = if timeout_ms < 0 { std::ptr::null() } else { &raw const time };
    match check(call!(SYS_ppoll, fds.as_mut_ptr(), fds.len(), time, std::ptr::null::<u8>(), 8)) {
        Err(libc::EINTR) => Ok(0),
        outcome => outcome.map(|n| n as usize),
    }
}

/// The end of a child, if it ended: (code, signal).
pub fn wait(pidfd: RawFd) -> R<Option<(i32, i32)>> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is a whole siginfo_t, zeroed, which is a valid value of it; waitid fills it.
    let (outcome, info) = unsafe {
        let outcome = libc::waitid(libc::P_PIDFD, pidfd as u32, info.as_mut_ptr(), libc::WEXITED | libc::WNOHANG);
        (outcome, info.assume_init())
    };
    if outcome != 0 {
        return Err(errno());
    }
    // SAFETY: after waitid these fields are set, or zero when nothing ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some((status, 0)),
        _ => Some((128 + status, status)),
    })
}

/// The same, waiting for it.
pub fn wait_blocking(pidfd: RawFd) -> (i32, i32) {
    let mut fds = [libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 }];
    loop {
        match wait(pidfd) {
            Ok(Some(exit)) => return exit,
            Ok(None) => drop(poll(&mut fds, -1)),
            Err(_) => return (255, 0),
        }
    }
}

pub fn pidfd_kill(pidfd: RawFd) {
    // It may have ended already: that is as good.
    call!(SYS_pidfd_send_signal, pidfd, libc::SIGKILL, std::ptr::null::<u8>(), 0);
}

/// Puts a signal's handling back to the default, or to being ignored.
pub fn set_signal(number: i32, ignore: bool) {
    // SAFETY: SIG_IGN and SIG_DFL run no code of ours.
    unsafe { libc::signal(number, if ignore { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

/// Empties the signal mask.
pub fn clear_signal_mask() {
    let set: u64 = 0;
    call!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const set, std::ptr::null::<u64>(), 8);
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// Milliseconds of the monotonic clock.
pub fn ticks_ms() -> u64 {
    clock(libc::CLOCK_MONOTONIC) / 1_000_000
}

fn clock(which: i32) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the timespec it is given. (Not a raw system call: this one goes through the vDSO.)
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
