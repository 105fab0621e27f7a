//! The spawner: builds the small mount namespace that every container's own is copied from, then forks one child for
//! each connection it is handed. It parses nothing, so nothing a container says reaches it. Ends when the server does.

use crate::birth;
use crate::channel::Channel;
use crate::sys::{self, AT_FDCWD, ATTR_NOEXEC, ATTR_NOSUID, R};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Its socket to the server: SOCK_SEQPACKET, put there by the exec.
const SERVER: i32 = 0;

/// Runs until the server is gone. Returns the exit code.
pub fn run() -> i32 {
    if let Err(errno) = prepare() {
        return errno;
    }
    // SAFETY: fd 0 is the server's socket and nobody else's in this process.
    let mut server = Channel::new(unsafe { OwnedFd::from_raw_fd(SERVER) });
    if sys::write_all(SERVER, &[1]).is_err() {
        return 0;
    }
    loop {
        if server.receive().is_err() || server.ended {
            return 0;
        }
        server.forget_bytes();
        for connection in std::mem::take(&mut server.fds) {
            // SAFETY: one thread, so the child may do anything.
            if unsafe { libc::fork() } == 0 {
                birth::run(connection);
            }
            // If the fork failed the closing of the connection says so.
        }
    }
}

fn prepare() -> R<()> {
    sys::set_sid();
    // Whatever our starter ignored (nohup's SIGHUP), containers shall not.
    for signal in 1..=31 {
        sys::set_signal(signal, false);
    }
    sys::clear_signal_mask();
    sys::set_signal(libc::SIGPIPE, true);
    // Shims are our children while we live: the kernel reaps them, nobody asks how they ended.
    sys::set_signal(libc::SIGCHLD, true);
    // Nobody but root may look into us or our forks (/proc/<pid>/mem, fds).
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    sys::close_range(3, i32::MAX, false)?;

    sys::unshare(libc::CLONE_NEWNS)?;
    let here = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
    sys::set_mount_attributes(here.as_raw_fd(), 0, libc::MS_PRIVATE, true)?;
    let proc = sys::clone_mount(AT_FDCWD, c"/proc", false)?;
    let sysfs = sys::clone_mount(AT_FDCWD, c"/sys", false)?;
    // Not nodev: the nodes below are used from here by every container.
    let root = sys::new_mount(c"tmpfs", &[(c"mode", c"755"), (c"size", c"64k")], ATTR_NOSUID | ATTR_NOEXEC)?;
    // Any folder will do to attach it, for a moment.
    sys::move_mount(root.as_raw_fd(), c"", AT_FDCWD, c"/proc")?;
    let at = root.as_raw_fd();
    // SAFETY: sets a number of the process.
    unsafe { libc::umask(0) };
    for folder in [c"proc", c"sys", c"dev", c"stage", c"stage/proc", c"stage/sys", c"stage/dev", c"stage/root"] {
        sys::mkdir_at(at, folder, 0o755)?;
    }
    sys::mkdir_at(at, c"empty", 0o555)?;
    let nodes =
        [(c"dev/null", 1, 3), (c"dev/zero", 1, 5), (c"dev/full", 1, 7), (c"dev/random", 1, 8), (c"dev/urandom", 1, 9), (c"dev/tty", 5, 0)];
    for (name, major, minor) in nodes {
        sys::mknod_at(at, name, libc::S_IFCHR | 0o666, major, minor)?;
    }
    sys::move_mount(proc.as_raw_fd(), c"", at, c"proc")?;
    sys::move_mount(sysfs.as_raw_fd(), c"", at, c"sys")?;
    sys::fchdir(at)?;
    sys::pivot_here()?;
    // SAFETY: sets a number of the process.
    unsafe { libc::umask(0o022) };
    Ok(())
}
