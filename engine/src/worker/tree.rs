//! The tree a worker writes to: folders found by path without ever leaving the root, kept open while in use.
//!
//! The worker's root directory is the tree already; `openat2` with RESOLVE_IN_ROOT and without magic links is the second
//! fence. Last components are never followed: each is made new by descriptor, so a link that lies there gets replaced.

use super::job::{Failure, PATH_MAX};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::rc::Rc;

/// Open folders; more than a layer's usual working set, far below the descriptor limit.
const CACHE: usize = 256;

/// How paths are looked up under a root.
pub const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A tree being written.
pub struct Tree {
    root: OwnedFd,
    cache: HashMap<Vec<u8>, Rc<OwnedFd>>,
}

/// Cleans an archive's path: no `.`, no leading `/`. `..` is refused, for honest archives have none (CVE-2014-9357).
pub fn clean(path: &[u8]) -> Result<Vec<u8>, Failure> {
    if path.len() > PATH_MAX {
        return Err(Failure::invalid(format!("the archive has a path of {} bytes, {PATH_MAX} is the limit", path.len())));
    }
    if path.contains(&0) {
        return Err(Failure::invalid("the archive has a path with a NUL byte"));
    }
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(Failure::invalid(format!(
                    "the archive has the path {:?}, which leads out of it",
                    String::from_utf8_lossy(path)
                )));
            }
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(out)
}

/// Folder and last component of a clean path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

impl Tree {
    /// The tree at `root`.
    pub fn new(root: OwnedFd) -> Self {
        Self { root, cache: HashMap::new() }
    }

    /// The folder at a clean path; those missing are made, 0755, the root's.
    pub fn folder(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Failure> {
        if let Some(fd) = self.cache.get(path) {
            return Ok(fd.clone());
        }
        let fd = match self.open(path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if !path.is_empty() => {
                let (parent, name) = split(path);
                let parent = self.folder(parent)?;
                match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => {}
                    // A dangling link: it is in the way as a file would be.
                    Err(Errno::EXIST) => {
                        self.remove(parent.as_fd(), name)?;
                        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                            .map_err(|e| Failure::errno("making folder", path, e))?;
                    }
                    Err(e) => return Err(Failure::errno("making folder", path, e)),
                }
                self.open(path).map_err(|e| Failure::errno("opening folder", path, e))?
            }
            Err(e) => return Err(Failure::errno("opening folder", path, e)),
        };
        if self.cache.len() >= CACHE {
            self.cache.clear();
        }
        let fd = Rc::new(fd);
        self.cache.insert(path.to_vec(), fd.clone());
        Ok(fd)
    }

    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b".".as_slice() } else { path };
        // Not O_PATH: fchmod, fsetxattr and futimens want a real descriptor.
        rustix::fs::openat2(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), RESOLVE)
    }

    /// What lies at `name` in `folder`, not followed.
    pub fn kind(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<rustix::fs::Stat>, Failure> {
        match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Failure::errno("looking at", name, e)),
        }
    }

    /// Removes whatever lies at `name` in `folder`.
    pub fn remove(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Failure> {
        // Cached folders may be what goes, or be reached through it.
        self.cache.clear();
        remove_all(folder, name, 0)
    }
}

/// Removes what lies at `name`, itself and not what it points to; a folder with all in it.
pub fn remove_all(folder: BorrowedFd<'_>, name: &[u8], depth: usize) -> Result<(), Failure> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(Failure::errno("removing", name, e)),
    }
    if depth > PATH_MAX / 2 {
        return Err(Failure::invalid("folders are nested too deeply"));
    }
    let inner = rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Failure::errno("opening", name, e))?;
    for child in names(inner.as_fd())? {
        remove_all(inner.as_fd(), &child, depth + 1)?;
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR).map_err(|e| Failure::errno("removing", name, e))
}

/// Names in a folder, sorted, so that archives do not depend on the filesystem's order.
pub fn names(folder: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Failure> {
    let failed = |e| Failure::errno("reading folder", b".", e);
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether `stat` is a folder.
pub fn is_folder(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether `stat` is overlayfs' mark for a removed name: a character device 0:0.
pub fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}
