//! Docker's tmpcopyup: a tmpfs starts with what the image has at its place. Runs as the container's root, with fds.

use crate::sys::{self, R};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Copies what is below into the tmpfs, whose own owner and mode become those of the folder below unless asked for.
pub fn into(from: RawFd, to: RawFd, keep_mode: bool) -> R<()> {
    if !keep_mode {
        copy_attributes(&sys::stat(from)?, to)?;
    }
    tree(from, to)
}

/// Copies folders, files and symlinks with owner, mode and times; leaves out what a tmpfs for `/run` has no use for
/// (devices, sockets, pipes).
fn tree(from: RawFd, to: RawFd) -> R<()> {
    for name in names(from)? {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let entry = sys::open_at(from, &name, flags, 0)?;
        let stat = sys::stat(entry.as_raw_fd())?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                sys::mkdir_at(to, &name, 0o700)?;
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
                let below = sys::open_at(from, &name, flags, 0)?;
                let above = sys::open_at(to, &name, flags, 0)?;
                tree(below.as_raw_fd(), above.as_raw_fd())?;
                copy_attributes(&stat, above.as_raw_fd())?;
            }
            libc::S_IFREG => {
                let source = sys::open_at(from, &name, libc::O_RDONLY | libc::O_NOFOLLOW, 0)?;
                let copy = sys::open_at(to, &name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600)?;
                copy_bytes(&source, &copy)?;
                copy_attributes(&stat, copy.as_raw_fd())?;
            }
            libc::S_IFLNK => {
                let target = sys::readlink_at(from, &name)?;
                sys::with_path(&target, |target| sys::symlink_at(target, to, &name))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy_bytes(from: &OwnedFd, to: &OwnedFd) -> R<()> {
    let mut buffer = [0u8; 16 * 1024];
    loop {
        match sys::read(from.as_raw_fd(), &mut buffer)? {
            0 => return Ok(()),
            n => sys::write_all(to.as_raw_fd(), &buffer[..n])?,
        }
    }
}

fn copy_attributes(stat: &libc::stat, to: RawFd) -> R<()> {
    let times = [
        libc::timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec },
        libc::timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec },
    ];
    // SAFETY: an open fd, numbers, and a pair of timespecs that lives through the call. Owner before mode: chown clears
    // setuid bits.
    let outcome = unsafe {
        libc::fchown(to, stat.st_uid, stat.st_gid);
        libc::fchmod(to, stat.st_mode & 0o7777) | libc::futimens(to, times.as_ptr())
    };
    if outcome == 0 { Ok(()) } else { Err(sys::errno()) }
}

fn names(folder: RawFd) -> R<Vec<CString>> {
    let mut names = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        // SAFETY: the kernel fills at most the buffer's length.
        let length = unsafe { libc::syscall(libc::SYS_getdents64, folder, buffer.as_mut_ptr(), buffer.len()) };
        if length < 0 {
            return Err(sys::errno());
        }
        if length == 0 {
            return Ok(names);
        }
        let mut rest = &buffer[..length as usize];
        // struct linux_dirent64: u64 inode, i64 offset, u16 record length, u8 type, name.
        while rest.len() > 19 {
            let record = usize::from(u16::from_ne_bytes([rest[16], rest[17]]));
            let name = std::ffi::CStr::from_bytes_until_nul(&rest[19..record]).map_err(|_| libc::EIO)?;
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
            rest = &rest[record..];
        }
    }
}
