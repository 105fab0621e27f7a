//! What a worker needs to give up everything: descriptors, system calls; and the idmapped mount it works on.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result >= 0 { Ok(result) } else { Err(io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(io::Errno::IO)) }
}

/// A detached mount of the folder `dir`, its ids mapped through `user_namespace`: id 0 on disk is that namespace's root.
/// nosuid, nodev, noexec. mount_setattr(2): the mount must be detached, its filesystem mounted in the first namespace.
pub fn idmapped(dir: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const AT_EMPTY_PATH_AND_CLONE: u32 = libc::AT_EMPTY_PATH as u32 | 1 /* OPEN_TREE_CLONE */ | libc::O_CLOEXEC as u32;
    let empty = c"";
    // SAFETY: the path is a NUL-terminated constant and the flags are open_tree's; the kernel keeps no pointer.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), empty.as_ptr(), AT_EMPTY_PATH_AND_CLONE) })?;
    // SAFETY: open_tree returned a descriptor that nobody else owns.
    let mount = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let attr = MountAttr {
        attr_set: libc::MOUNT_ATTR_IDMAP | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_raw_fd() as u64,
    };
    // SAFETY: `attr` outlives the call and its size is passed along.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(mount)
}

/// Closes every descriptor from `first` up. For a single-threaded process that owns none of them any more.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: called first thing in a worker's main, before any descriptor above the standard ones is owned by anybody.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// A new user namespace for this process alone.
pub fn unshare_user() -> io::Result<()> {
    // SAFETY: CLONE_NEWUSER shares no memory or descriptors differently; the process is single-threaded.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()).map(drop)
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

/// From now on only `calls` are answered, in this thread and those it starts; others get EPERM. Needs no_new_privs.
pub fn allow_only(calls: &[libc::c_long]) -> io::Result<()> {
    const RET_KILL_PROCESS: u32 = 0x8000_0000;
    const RET_ALLOW: u32 = 0x7fff_0000;
    const RET_EPERM: u32 = 0x0005_0000 | libc::EPERM as u32;
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // seccomp_data: nr at 0, arch at 4.
    let mut program = vec![op(LOAD, 0, 0, 4), op(EQUAL, 1, 0, AUDIT_ARCH), op(RETURN, 0, 0, RET_KILL_PROCESS), op(LOAD, 0, 0, 0)];
    for call in calls {
        program.push(op(EQUAL, 0, 1, *call as u32));
        program.push(op(RETURN, 0, 0, RET_ALLOW));
    }
    program.push(op(RETURN, 0, 0, RET_EPERM));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` and the program it points to live until the call returns; the kernel copies them.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter, 0, 0) }.into()).map(drop)
}
