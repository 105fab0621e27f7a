//! Looking into a container from outside: its root and namespaces by its first process, and files in a tree that somebody
//! else wrote, by openat2(2) so that no link leads out.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A namespace of a process: `net`, `pid`, `ipc`, `user`, `mnt`, `uts`, `cgroup` (namespaces(7)).
///
/// # Errors
/// When the process is gone.
pub fn namespace_of(pid: i32, kind: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(format!("/proc/{pid}/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The root folder of a process, with everything mounted in it (proc_pid_root(5)).
///
/// # Errors
/// When the process is gone.
pub fn root_of(pid: i32) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(format!("/proc/{pid}/root"), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A path of the host as an O_PATH descriptor; links are followed.
///
/// # Errors
/// As open(2).
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A path of the host as an O_PATH descriptor; a link anywhere in it is ELOOP.
///
/// # Errors
/// As openat2(2).
pub fn open_path_without_links(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)?)
}

/// A relative path below a folder as an O_PATH descriptor; links stay below.
///
/// # Errors
/// As openat2(2).
pub fn open_beneath(folder: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
}

/// A regular file below a folder, for reading; no link is followed and nothing is waited for.
///
/// # Errors
/// As openat2(2); `InvalidInput` when it is no regular file.
pub fn open_file_beneath(folder: BorrowedFd<'_>, path: &str) -> io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let fd = rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve)?;
    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(std::fs::File::from(fd))
}

/// Whether a descriptor is a folder's.
///
/// # Errors
/// As fstat(2).
pub fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    Ok(rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == rustix::fs::FileType::Directory)
}

/// A regular file in a tree, at most `most` bytes of it; empty when it is absent or no regular file.
///
/// # Errors
/// `FileTooLarge` beyond `most`; otherwise as read(2).
pub fn read_in_root(root: BorrowedFd<'_>, path: &str, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let fd = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&fd)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Ok(Vec::new());
    }
    // A little more than it says, so that its end is seen without another round.
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(64 * 1024) + 32);
    std::fs::File::from(fd).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}
