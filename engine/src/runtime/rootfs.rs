//! A container's root file system and its binds, as detached mounts: an overlay of the image's layers, seen through the
//! tenant's id map, under a writable folder that belongs to the tenant's block. Nothing is mounted in our own namespace.

use crate::sys::mount::{self, Attributes, Setting};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether this kernel's overlayfs takes layers by fd (Linux 6.13); found out by trying.
static BY_FD: AtomicBool = AtomicBool::new(true);

/// Idmapped layers that are open already, by layer folder and user namespace (its inode). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Layers(Arc<Mutex<OpenLayers>>);

type OpenLayers = HashMap<(PathBuf, u64), Arc<OwnedFd>>;

/// The most layers kept open.
const LAYERS_MAX: usize = 4096;

impl Layers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A read-only mount of a layer through the map of `user_ns` (`None`: the host's user namespace).
    fn mount(&self, layer: &Path, user_ns: Option<BorrowedFd<'_>>) -> io::Result<Arc<OwnedFd>> {
        let namespace = match user_ns {
            Some(fd) => rustix::fs::fstat(fd)?.st_ino,
            None => 0,
        };
        let key = (layer.to_owned(), namespace);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = open.get(&key) {
            return Ok(Arc::clone(fd));
        }
        let fd = Arc::new(idmapped(layer, user_ns)?);
        if open.len() >= LAYERS_MAX {
            open.clear();
        }
        open.insert(key, Arc::clone(&fd));
        Ok(fd)
    }

    /// Closes what is held of layers that `keep` says no to.
    pub fn retain(&self, keep: impl Fn(&Path) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(path, _), _| keep(path));
    }

    /// Mounts an overlay. `lowers`: layer folders, lowest first (at least one); `upper` and `work`: folders on one file
    /// system that belong to the tenant's block. Only the lowers are idmapped: an idmapped upper would be silently
    /// read-only, or leave host-owned setuid files (SECURITY 6).
    ///
    /// # Errors
    /// What the kernel says; `ReadOnlyFilesystem` when it mounted, but read-only.
    pub fn overlay(&self, lowers: &[PathBuf], upper: &Path, work: &Path, user_ns: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
        if lowers.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an image without layers has no root file system"));
        }
        let overlay = if BY_FD.load(Ordering::Relaxed) {
            let mounts: Vec<_> = lowers.iter().map(|layer| self.mount(layer, user_ns)).collect::<io::Result<_>>()?;
            match overlay_by_fds(&mounts, upper, work) {
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => None,
                outcome => Some(outcome?),
            }
        } else {
            None
        };
        let overlay = match overlay {
            Some(overlay) => overlay,
            None => {
                // Mounts that get attached cannot come from the cache.
                let mounts: Vec<_> = lowers.iter().rev().map(|layer| idmapped(layer, user_ns)).collect::<io::Result<_>>()?;
                let lowers: Vec<_> = mounts.iter().map(AsFd::as_fd).collect();
                let overlay = mount::overlay_by_paths(&lowers, upper, work)?;
                BY_FD.store(false, Ordering::Relaxed);
                overlay
            }
        };
        if mount::is_read_only(overlay.as_fd())? {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(overlay)
    }
}

fn idmapped(layer: &Path, user_ns: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let fd = mount::clone_mount_at(layer, false)?;
    mount::set_attributes(fd.as_fd(), &Attributes { read_only: true, idmap: user_ns, ..Default::default() })?;
    Ok(fd)
}

fn overlay_by_fds(lowers: &[Arc<OwnedFd>], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
    };
    let (upper, work) = (open(upper)?, open(work)?);
    // The first one given is the highest.
    let mut settings = vec![Setting::Text("source", "overlay")];
    settings.extend(lowers.iter().rev().map(|fd| Setting::Fd("lowerdir+", fd.as_fd())));
    settings.push(Setting::Fd("upperdir", upper.as_fd()));
    settings.push(Setting::Fd("workdir", work.as_fd()));
    mount::new_mount(c"overlay", &settings, MountAttrFlags::empty())
}

/// A bind of what an fd refers to (a folder or a file), detached, with attributes. The fd was opened by whoever decided
/// that it may be bound; no path is walked here.
pub fn bind(source: BorrowedFd<'_>, attributes: &Attributes<'_>) -> io::Result<OwnedFd> {
    let fd = mount::clone_mount(source, attributes.recursive)?;
    mount::set_attributes(fd.as_fd(), attributes)?;
    Ok(fd)
}
