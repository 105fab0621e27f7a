//! Mounts as file descriptors: open_tree(2), mount_setattr(2), fsopen(2) and friends. Every mount made here is detached:
//! it shows nowhere until a container's process moves it into its own mount namespace.

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Attributes of a detached mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attributes<'a> {
    /// No writes.
    pub read_only: bool,
    /// No setuid programs and file capabilities.
    pub no_suid: bool,
    /// No device files.
    pub no_dev: bool,
    /// No programs.
    pub no_exec: bool,
    /// Ids on disk are seen through the map of this user namespace.
    pub idmap: Option<BorrowedFd<'a>>,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0: left as it is.
    pub propagation: u64,
    /// Applies to the mounts below as well.
    pub recursive: bool,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_ns: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// A detached clone of the mount at an open folder or file; `recursive`: with the mounts below it.
pub fn clone_mount(source: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(source, c"", flags)?)
}

/// The same for a path, whose last component may not be a symlink.
pub fn clone_mount_at(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// Sets attributes of a mount (mount_setattr(2)). An id map can be given once, while the mount is detached.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: &Attributes<'_>) -> io::Result<()> {
    let mut set = 0u64;
    for (wanted, flag) in [
        (attributes.read_only, libc::MOUNT_ATTR_RDONLY),
        (attributes.no_suid, libc::MOUNT_ATTR_NOSUID),
        (attributes.no_dev, libc::MOUNT_ATTR_NODEV),
        (attributes.no_exec, libc::MOUNT_ATTR_NOEXEC),
    ] {
        if wanted {
            set |= flag;
        }
    }
    let mut attr = MountAttr { set, clear: 0, propagation: attributes.propagation, user_ns: 0 };
    if let Some(user_ns) = attributes.idmap {
        attr.set |= MOUNT_ATTR_IDMAP;
        attr.user_ns = user_ns.as_raw_fd().unsigned_abs().into();
    }
    let flags = libc::AT_EMPTY_PATH | if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: both fds are open for the call, the path is a C string and `attr` a struct of the size given.
    let outcome =
        unsafe { libc::syscall(libc::SYS_mount_setattr, mount.as_raw_fd(), c"".as_ptr(), flags, &raw const attr, size_of::<MountAttr>()) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a file system is configured with.
#[derive(Debug)]
pub enum Setting<'a> {
    /// A flag.
    Flag(&'a str),
    /// A text.
    Text(&'a str, &'a str),
    /// An fd.
    Fd(&'a str, BorrowedFd<'a>),
}

/// A new file system, mounted detached.
pub fn new_mount(kind: &CStr, settings: &[Setting<'_>], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for setting in settings {
        match setting {
            Setting::Flag(key) => rustix::mount::fsconfig_set_flag(context.as_fd(), *key)?,
            Setting::Text(key, value) => rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?,
            Setting::Fd(key, fd) => rustix::mount::fsconfig_set_fd(context.as_fd(), *key, *fd)?,
        }
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Whether the file system (or this mount of it) refuses writes.
pub fn is_read_only(mount: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(rustix::fs::fstatvfs(mount)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// A detached clone of the mount at a path of another mount namespace: open_tree(2) clones only what lies in the caller's.
pub fn clone_from(namespace: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mount".into());
        let run = move || -> io::Result<OwnedFd> {
            // SAFETY: this thread alone gets its own root and working directory, which setns(2) to a mount namespace wants; it ends here.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS)? };
            rustix::thread::move_into_link_name_space(namespace, Some(rustix::thread::LinkNameSpaceType::Mount))?;
            clone_mount_at(path, false)
        };
        match thread.spawn_scoped(scope, run)?.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::other("the mounting thread panicked")),
        }
    })
}

/// Overlay by mount(2) with short relative names, for kernels whose overlayfs takes no fds. It needs attached lowers, so
/// it is done in a mount namespace of a thread of its own; what comes back is a detached clone.
///
/// `lowers` are detached mounts, highest first; they are used up. `upper` and `work` are absolute.
pub fn overlay_by_paths(lowers: &[BorrowedFd<'_>], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("overlay".into());
        let run = move || -> io::Result<OwnedFd> {
            use rustix::mount::{MountFlags, MountPropagationFlags};
            // SAFETY: this thread alone gets its own working directory and mount namespace; it ends here.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS | rustix::thread::UnshareFlags::NEWNS)? };
            rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            // Any folder will do that neither upper nor work lies in; nobody else sees this.
            rustix::mount::mount("tmpfs", "/sys", c"tmpfs", MountFlags::empty(), None)?;
            rustix::process::chdir("/sys")?;
            std::os::unix::fs::symlink(upper, "u")?;
            std::os::unix::fs::symlink(work, "w")?;
            let place = |mount: BorrowedFd<'_>, name: &str| -> io::Result<()> {
                std::fs::create_dir(name)?;
                Ok(rustix::mount::move_mount(mount, c"", CWD, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
            };
            let mut names = Vec::new();
            for (i, lower) in lowers.iter().enumerate() {
                let name = i.to_string();
                place(*lower, &name)?;
                names.push(name);
            }
            let options = format!("lowerdir={},upperdir=u,workdir=w", names.join(":"));
            std::fs::create_dir("m")?;
            let options = std::ffi::CString::new(options).map_err(|_| io::ErrorKind::InvalidInput)?;
            rustix::mount::mount("overlay", "m", c"overlay", MountFlags::empty(), Some(options.as_c_str()))?;
            let overlay = clone_mount_at(Path::new("m"), false)?;
            rustix::mount::unmount("m", UnmountFlags::DETACH)?;
            Ok(overlay)
        };
        match thread.spawn_scoped(scope, run)?.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::other("the mounting thread panicked")),
        }
    })
}
