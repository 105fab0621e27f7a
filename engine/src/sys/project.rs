//! Project quotas of ext4 and XFS: a folder joins a project, which everything made in it inherits; the project has a limit that
//! the kernel holds. FS_IOC_FSSETXATTR (ioctl_xfs_fsgetxattr(2)), quotactl_fd (quotactl(2), Linux 5.14).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

const GET: libc::c_ulong = 0x801c_581f; // _IOR('X', 31, struct fsxattr)
const SET: libc::c_ulong = 0x401c_5820; // _IOW('X', 32, struct fsxattr)
const INHERIT: u32 = 0x200; // FS_XFLAG_PROJINHERIT
const PROJECTS: libc::c_int = 2; // PRJQUOTA
/// Limits are told in blocks of this size, whatever the file system's are.
const BLOCK: u64 = 1024;

fn attributes(folder: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the descriptor is open for the call, and the struct is the one this request fills.
    let done = unsafe { libc::ioctl(folder.as_raw_fd(), GET, &raw mut attributes) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

/// The project that a folder is in; 0: none.
///
/// # Errors
/// Where the file system has no such attributes.
pub fn project_of(folder: BorrowedFd<'_>) -> io::Result<u32> {
    attributes(folder).map(|a| a.project)
}

/// Puts an empty folder, and what will be made in it, into a project.
///
/// # Errors
/// Where the file system has no projects.
pub fn join(folder: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = attributes(folder)?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    // SAFETY: the descriptor is open for the call, and the struct is the one this request reads.
    let done = unsafe { libc::ioctl(folder.as_raw_fd(), SET, &raw const attributes) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn quota(on: BorrowedFd<'_>, command: libc::c_int, project: u32, block: &mut libc::dqblk) -> io::Result<()> {
    let command = libc::QCMD(command, PROJECTS);
    // SAFETY: the descriptor is open for the call; `block` is the struct that both commands take, alive for the call.
    let done = unsafe { libc::syscall(libc::SYS_quotactl_fd, on.as_raw_fd(), command, project, &raw mut *block) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn empty() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// Bytes that a project takes on the file system of `on`.
///
/// # Errors
/// Where project quotas are off.
pub fn used(on: BorrowedFd<'_>, project: u32) -> io::Result<u64> {
    let mut block = empty();
    quota(on, libc::Q_GETQUOTA, project, &mut block)?;
    Ok(block.dqb_curspace)
}

/// How many bytes a project may take; `None`: any number.
///
/// # Errors
/// Where project quotas are off.
pub fn limit(on: BorrowedFd<'_>, project: u32, bytes: Option<u64>) -> io::Result<()> {
    let mut block = empty();
    // Nought is no limit to the kernel: what may hold nothing may hold one block.
    block.dqb_bhardlimit = bytes.map_or(0, |b| (b / BLOCK).max(1));
    block.dqb_valid = libc::QIF_BLIMITS;
    quota(on, libc::Q_SETQUOTA, project, &mut block)
}
