//! Folders, files and processes by file descriptor.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Makes a folder (and its parents) that only we may enter; an existing one is closed to others.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)),
        Err(e) => Err(e),
    }
}

/// Opens a folder, not following a final symlink.
pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A path to `name` in an open folder that works for calls that only take paths.
pub fn path_in(folder: &impl AsFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd()))
}

/// Sends a signal to the process behind a pidfd (pidfd_send_signal(2)).
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: takes an fd that is open for the borrow's life, a number and a null siginfo; touches no memory of ours.
    let outcome = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number, std::ptr::null::<libc::siginfo_t>(), 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
