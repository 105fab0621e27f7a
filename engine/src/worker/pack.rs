//! A tree as a tar: `docker cp`, export, the layer of a commit.
//!
//! Nothing in the tree is trusted to stay what it was: each file is opened without following links and without waiting
//! (a FIFO would hang), looked at again through its descriptor, and cut or padded to the size its header promised.

use super::PackOptions;
use super::job::{Failure, Stat};
use super::tree::{RESOLVE, clean, is_folder, is_whiteout, names};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// A path as a client wrote it, found under the root: what it is, and where.
pub struct Found {
    parent: OwnedFd,
    name: Vec<u8>,
    stat: rustix::fs::Stat,
    /// The last component as written: `.` for `dir/.`, `/` for the root.
    shown: String,
}

/// Finds `path` under `root`. Folders on the way are followed inside the root, the last component only with `/` or `/.` after it.
pub fn find(root: &OwnedFd, path: &str) -> Result<Found, Failure> {
    let follow = path.ends_with('/') || path.ends_with("/.") || path == ".";
    // `..` is a path's, not an archive's: openat2 keeps it inside the root.
    let trimmed = path.trim_end_matches("/.").trim_matches('/');
    let open = |p: &str, flags: OFlags| {
        let p = if p.is_empty() { "." } else { p };
        rustix::fs::openat2(root, p, flags | OFlags::CLOEXEC, Mode::empty(), RESOLVE)
            .map_err(|e| Failure::errno("opening", p.as_bytes(), e))
    };
    let shown = match trimmed {
        // The root asked for as `/` keeps its slash in the archive's names, as dockerd's: the CLI renames by it.
        "" if !path.is_empty() && path.bytes().all(|b| b == b'/') => "/",
        _ if path.ends_with("/.") => ".",
        trimmed => trimmed.rsplit('/').next().unwrap_or(""),
    };
    if trimmed.is_empty() || trimmed == "." || trimmed == ".." || trimmed.ends_with("/..") || follow {
        let folder = open(trimmed, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let stat = rustix::fs::fstat(&folder).map_err(|e| Failure::errno("looking at", path.as_bytes(), e))?;
        return Ok(Found { parent: folder, name: Vec::new(), stat, shown: shown.to_owned() });
    }
    let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    let parent = open(parent, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let stat =
        rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Failure::errno("looking at", path.as_bytes(), e))?;
    Ok(Found { parent, name: name.as_bytes().to_vec(), stat, shown: shown.to_owned() })
}

impl Found {
    /// What a client gets told.
    pub fn stat(&self) -> Result<Stat, Failure> {
        let link_target = if FileType::from_raw_mode(self.stat.st_mode) == FileType::Symlink {
            String::from_utf8_lossy(&link(self.parent.as_fd(), &self.name)?).into_owned()
        } else {
            String::new()
        };
        Ok(Stat {
            name: if self.shown.is_empty() { "/".to_owned() } else { self.shown.clone() },
            size: self.stat.st_size,
            mode: self.stat.st_mode,
            mtime_s: self.stat.st_mtime,
            mtime_ns: i32::try_from(self.stat.st_mtime_nsec).unwrap_or(0),
            link_target,
        })
    }
}

fn link(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Failure> {
    rustix::fs::readlinkat(folder, name, Vec::new()).map(|t| t.into_bytes()).map_err(|e| Failure::errno("reading link", name, e))
}

/// The tar being written.
struct Packing<W: Write> {
    tar: Builder<W>,
    /// First names of files with several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// `Some`: a layer, with these opaque folders.
    opaque: Option<HashSet<Vec<u8>>>,
    /// `Some`: of what lies on other mounts than this one, only the places.
    mount: Option<u64>,
}

/// Which mount something is on.
fn mount_of(folder: BorrowedFd<'_>, name: &[u8]) -> Option<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(folder, name, flags, rustix::fs::StatxFlags::MNT_ID).ok().map(|s| s.stx_mnt_id)
}

/// Writes what was found, and all below it, to `out`.
pub fn pack(found: &Found, options: &PackOptions, opaque: Option<Vec<String>>, out: File) -> Result<(), Failure> {
    let name = options.name.as_deref().unwrap_or(&found.shown);
    let name = match name {
        "." => b".".to_vec(),
        "/" => b"/".to_vec(),
        name => clean(name.as_bytes())?,
    };
    let mut packing = Packing {
        tar: Builder::new(BufWriter::with_capacity(128 * 1024, out)),
        linked: HashMap::new(),
        opaque: opaque.map(|o| o.into_iter().map(String::into_bytes).collect()),
        mount: options.one_mount.then(|| mount_of(found.parent.as_fd(), b"")).flatten(),
    };
    packing.tar.sparse(false);
    if found.name.is_empty() {
        packing.folder(found.parent.as_fd(), &found.stat, &name, 0)?;
    } else {
        packing.one(found.parent.as_fd(), &found.name, &found.stat, &name, 0)?;
    }
    packing.tar.into_inner()?.flush()?;
    Ok(())
}

impl<W: Write> Packing<W> {
    fn folder(&mut self, folder: BorrowedFd<'_>, stat: &rustix::fs::Stat, shown: &[u8], depth: usize) -> Result<(), Failure> {
        // Far more than a path of 4096 bytes can name; keeps the stack and the open descriptors bounded.
        if depth > 900 {
            return Err(Failure::invalid("folders are nested too deeply"));
        }
        // `.` as the root of an archive of names relative to it, except in a layer, whose root is the image's.
        let entry_name = match shown {
            b"" => b"./".to_vec(),
            b"/" => b"/".to_vec(),
            shown => [shown, b"/"].concat(),
        };
        if !(shown.is_empty() && self.opaque.is_some()) {
            self.xattrs(folder)?;
            let mut header = header(stat, EntryType::Directory, 0);
            self.append(&mut header, &entry_name, &mut std::io::empty())?;
        }
        if self.opaque.as_ref().is_some_and(|o| o.contains(shown)) {
            let name = if shown.is_empty() { b".wh..wh..opq".to_vec() } else { [shown, b"/.wh..wh..opq"].concat() };
            self.whiteout(&name, stat)?;
        }
        for name in names(folder)? {
            // Gone meanwhile, in a tree in use.
            let Ok(stat) = rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let child = match shown {
                b"" => name.clone(),
                b"/" => [shown, &*name].concat(),
                shown => [shown, b"/", &*name].concat(),
            };
            match self.mount {
                Some(mount) if mount_of(folder, &name).is_some_and(|other| other != mount) => self.place(&stat, &child)?,
                _ => self.one(folder, &name, &stat, &child, depth + 1)?,
            }
        }
        Ok(())
    }

    /// Something to mount on: the folder or file alone.
    fn place(&mut self, stat: &rustix::fs::Stat, shown: &[u8]) -> Result<(), Failure> {
        match is_folder(stat) {
            true => self.append(&mut header(stat, EntryType::Directory, 0), &[shown, b"/"].concat(), &mut std::io::empty()),
            false => self.append(&mut header(stat, EntryType::Regular, 0), shown, &mut std::io::empty()),
        }
    }

    fn one(&mut self, folder: BorrowedFd<'_>, name: &[u8], stat: &rustix::fs::Stat, shown: &[u8], depth: usize) -> Result<(), Failure> {
        if is_folder(stat) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(inner) = rustix::fs::openat(folder, name, flags, Mode::empty()) else { return Ok(()) };
            let stat = rustix::fs::fstat(&inner).map_err(|e| Failure::errno("looking at", shown, e))?;
            return self.folder(inner.as_fd(), &stat, shown, depth);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.opaque.is_some() && is_whiteout(stat) {
            let at = shown.len() - name.len();
            return self.whiteout(&[&shown[..at], b".wh.", name].concat(), stat);
        }
        if kind == FileType::Socket {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                let mut header = header(stat, EntryType::Link, 0);
                return self.append_link(&mut header, shown, &first);
            }
            self.linked.insert((stat.st_dev, stat.st_ino), shown.to_vec());
        }
        match kind {
            FileType::RegularFile => self.file(folder, name, shown),
            FileType::Symlink => {
                let Ok(target) = link(folder, name) else { return Ok(()) };
                let mut header = header(stat, EntryType::Symlink, 0);
                self.append_link(&mut header, shown, &target)
            }
            FileType::Fifo => {
                let mut header = header(stat, EntryType::Fifo, 0);
                self.append(&mut header, shown, &mut std::io::empty())
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let entry_type = if kind == FileType::CharacterDevice { EntryType::Char } else { EntryType::Block };
                let mut header = header(stat, entry_type, 0);
                header.set_device_major(rustix::fs::major(stat.st_rdev))?;
                header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
                self.append(&mut header, shown, &mut std::io::empty())
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, folder: BorrowedFd<'_>, name: &[u8], shown: &[u8]) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Ok(()),
            Err(e) => return Err(Failure::errno("opening", shown, e)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| Failure::errno("looking at", shown, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        self.xattrs(fd.as_fd())?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut header = header(&stat, EntryType::Regular, size);
        let mut data = File::from(fd).take(size).chain(std::io::repeat(0)).take(size);
        self.append(&mut header, shown, &mut data)
    }

    fn whiteout(&mut self, name: &[u8], stat: &rustix::fs::Stat) -> Result<(), Failure> {
        let mut header = header(stat, EntryType::Regular, 0);
        header.set_mode(0o600);
        self.append(&mut header, name, &mut std::io::empty())
    }

    /// Puts extended attributes into the extended header that goes before the entry.
    fn xattrs(&mut self, fd: BorrowedFd<'_>) -> Result<(), Failure> {
        let mut list = vec![0u8; 64 * 1024];
        let n = match rustix::fs::flistxattr(fd, &mut list) {
            Ok(n) => n,
            // A filesystem without attributes, or one that hides them.
            Err(_) => return Ok(()),
        };
        let mut pairs = Vec::new();
        for name in list[..n].split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            let kept = name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."));
            if !kept {
                continue;
            }
            let mut value = vec![0u8; 64 * 1024];
            if let Ok(n) = rustix::fs::fgetxattr(fd, name, &mut value) {
                value.truncate(n);
                pairs.push((format!("SCHILY.xattr.{name}"), value));
            }
        }
        if !pairs.is_empty() {
            self.tar.append_pax_extensions(pairs.iter().map(|(k, v)| (k.as_str(), v.as_slice())))?;
        }
        Ok(())
    }

    fn append(&mut self, header: &mut Header, name: &[u8], data: &mut dyn Read) -> Result<(), Failure> {
        if name.starts_with(b"/") || name.starts_with(b"./") {
            self.literal(header, name)?;
            return Ok(self.tar.append(header, data)?);
        }
        Ok(self.tar.append_data(header, Path::new(OsStr::from_bytes(name)), data)?)
    }

    fn append_link(&mut self, header: &mut Header, name: &[u8], target: &[u8]) -> Result<(), Failure> {
        if name.starts_with(b"/") || name.starts_with(b"./") {
            let short = &mut header.as_gnu_mut().ok_or_else(|| Failure::invalid("not a GNU header"))?.linkname;
            short.fill(0);
            let most = short.len().min(target.len());
            short[..most].copy_from_slice(&target[..most]);
            if target.len() > short.len() {
                self.long(EntryType::GNULongLink, target)?;
            }
            self.literal(header, name)?;
            return Ok(self.tar.append(header, std::io::empty())?);
        }
        Ok(self.tar.append_link(header, Path::new(OsStr::from_bytes(name)), Path::new(OsStr::from_bytes(target)))?)
    }
}

impl<W: Write> Packing<W> {
    /// Puts a name into a header as it is, where the tar crate refuses a leading `/` and drops a leading `./`, by which the
    /// docker CLI renames; a long one goes into an entry before it.
    fn literal(&mut self, header: &mut Header, name: &[u8]) -> Result<(), Failure> {
        let short = &mut header.as_gnu_mut().ok_or_else(|| Failure::invalid("not a GNU header"))?.name;
        short.fill(0);
        let most = short.len().min(name.len());
        short[..most].copy_from_slice(&name[..most]);
        if name.len() > short.len() {
            self.long(EntryType::GNULongName, name)?;
        }
        header.set_cksum();
        Ok(())
    }

    /// GNU tar's entry that holds the name or link target of the next one.
    fn long(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Failure> {
        let mut header = Header::new_gnu();
        header.set_path("././@LongLink")?;
        header.set_entry_type(kind);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        Ok(self.tar.append(&header, text.chain(&b"\0"[..]))?)
    }
}

fn header(stat: &rustix::fs::Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}
