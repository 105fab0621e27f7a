//! A child in new namespaces that shares nothing with its parent: what the benchmark's floor is made of. The engine itself
//! leaves this to the spawner, which is small.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Forks into new namespaces (`flags`: `CLONE_NEW…`). The child runs `work` and ends with what it returns. Gives the child's
/// pid and a pidfd.
///
/// # Errors
/// `Unsupported` when this process has more than one thread: the child would have only one of them, and the locks of all. Else
/// what clone3(2) says.
pub fn into_namespaces(flags: i32, work: impl FnOnce() -> i32) -> io::Result<(i32, OwnedFd)> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "only a process of one thread may fork"));
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: a plain structure of numbers, for which zero means nothing asked.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(flags.cast_unsigned()) | libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has a copy of all memory; there is no other thread (seen above) whose locks or state
    // it could miss; both structures live on.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match pid {
        0 => {
            let code = work();
            // SAFETY: ends the child without the parent's clean-up.
            unsafe { libc::_exit(code) }
        }
        1.. => {
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            // SAFETY: the kernel has just made it for us.
            Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
        _ => Err(io::Error::last_os_error()),
    }
}
