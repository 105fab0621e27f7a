//! The second of two threads: hashes the tar and writes its entries into the tree.
//!
//! Two ways: a *layer* goes into an empty folder and its whiteouts become overlayfs' own marks; an *archive* (`docker cp`)
//! goes into a tree in use and is taken literally.

use super::UnpackOptions;
use super::inflate::Inflated;
use super::job::{Failure, LayerReport, Limits};
use super::tree::{Tree, clean, is_folder, is_whiteout, split};
use crate::Digest;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::Digest as _;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::rc::Rc;
use tar::EntryType;

/// Hashes and counts what is read through it.
struct Hashed {
    inner: Inflated,
    hash: sha2::Sha256,
    size: u64,
    /// `size`, for whoever cannot look in here while the archive is being read.
    seen: Rc<Cell<u64>>,
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        self.size += n as u64;
        self.seen.set(self.size);
        Ok(n)
    }
}

/// Where and how entries go.
struct Unpacking<'a> {
    tree: Tree,
    /// Clean path of the folder all entries are under.
    base: Vec<u8>,
    layer: bool,
    options: &'a UnpackOptions,
    limits: Limits,
    size: u64,
    entries: u64,
    devices: u64,
    opaque: BTreeSet<Vec<u8>>,
    /// Modification times of folders, given last: filling a folder changes it.
    folder_times: Vec<(Vec<u8>, Timespec)>,
    buffer: Vec<u8>,
}

/// Unpacks a layer into the empty `root`.
pub fn layer(root: OwnedFd, input: Inflated, limits: Limits) -> Result<LayerReport, Failure> {
    let options = UnpackOptions::default();
    let mut unpacking = Unpacking::new(root, Vec::new(), true, &options, limits);
    let (hash, tar_size) = unpacking.run(input)?;
    Ok(LayerReport {
        diff_id: hash,
        tar_size,
        size: unpacking.size,
        entries: unpacking.entries,
        opaque: unpacking.opaque.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect(),
        devices: unpacking.devices,
    })
}

/// Unpacks an archive into the folder `base` (a clean path) of a tree in use.
pub fn archive(root: OwnedFd, base: Vec<u8>, input: Inflated, options: &UnpackOptions, limits: Limits) -> Result<(), Failure> {
    Unpacking::new(root, base, false, options, limits).run(input).map(drop)
}

/// What an entry's header says, ids and times checked.
struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Timespec,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<'a> Unpacking<'a> {
    fn new(root: OwnedFd, base: Vec<u8>, layer: bool, options: &'a UnpackOptions, limits: Limits) -> Self {
        Self {
            tree: Tree::new(root),
            base,
            layer,
            options,
            limits,
            size: 0,
            entries: 0,
            devices: 0,
            opaque: BTreeSet::new(),
            folder_times: Vec::new(),
            buffer: vec![0; 128 * 1024],
        }
    }

    fn run(&mut self, input: Inflated) -> Result<(Digest, u64), Failure> {
        let seen = Rc::new(Cell::new(0));
        let mut archive = tar::Archive::new(Hashed { inner: input, hash: sha2::Sha256::new(), size: 0, seen: seen.clone() });
        let mut data_end = None;
        for entry in archive.entries()? {
            let mut entry = match entry {
                Ok(entry) => entry,
                // `docker build -f -` sends an archive that ends with the last file's bytes: no padding, no end mark.
                Err(_) if !self.layer && data_end.is_some_and(|end| (end..end + 512).contains(&seen.get())) => break,
                Err(error) => return Err(error.into()),
            };
            data_end = Some(entry.raw_file_position() + entry.size());
            self.entry(&mut entry)?;
        }
        let mut input = archive.into_inner();
        // What follows the end mark belongs to the digest.
        while input.read(&mut self.buffer)? > 0 {}
        for (path, mtime) in std::mem::take(&mut self.folder_times).into_iter().rev() {
            // A folder may have been replaced by a later entry.
            if let Ok(fd) = self.tree.folder(&path) {
                let times = Timestamps { last_access: mtime, last_modification: mtime };
                rustix::fs::futimens(&fd, &times).map_err(|e| Failure::errno("setting the time of", &path, e))?;
            }
        }
        if self.layer && self.entries == 0 && !input.size.is_multiple_of(512) {
            return Err(Failure::invalid("this is not a tar archive"));
        }
        Ok((Digest::from_bytes(input.hash.finalize().into()), input.size))
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, Hashed>) -> Result<(), Failure> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Failure::exhausted(format!("the archive has more than {} entries", self.limits.entries)));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = clean(&entry.path_bytes())?;
        let attributes = attributes(entry, self.options)?;
        if path.is_empty() {
            // The root itself.
            if kind.is_dir() && self.layer {
                let folder = self.tree.folder(b"")?;
                self.folder_attributes(folder.as_fd(), Vec::new(), &attributes)?;
            }
            return Ok(());
        }
        let full = if self.base.is_empty() { path.clone() } else { [&self.base, b"/".as_slice(), &path].concat() };
        let (parent_path, name) = split(&full);
        let name = name.to_vec();
        if self.layer && name.starts_with(b".wh.") {
            return self.whiteout(parent_path, &name[4..]);
        }
        let parent = self.tree.folder(parent_path)?;
        let there = self.tree.kind(parent.as_fd(), &name)?;
        if let Some(stat) = &there {
            let folder_there = is_folder(stat);
            if self.options.no_overwrite_dir_non_dir && folder_there != kind.is_dir() && !self.layer {
                let (what, by) = if folder_there { ("directory", "non-directory") } else { ("non-directory", "directory") };
                let shown = String::from_utf8_lossy(&path).into_owned();
                return Err(Failure::invalid(format!("cannot overwrite {what} {shown:?} with {by} {shown:?}")));
            }
            if !(folder_there && kind.is_dir()) {
                if self.layer && is_whiteout(stat) && kind.is_dir() {
                    // Removed below and made again here: nothing of the old folder may show through.
                    self.opaque.insert(full.clone());
                }
                self.tree.remove(parent.as_fd(), &name)?;
            }
        }
        match kind {
            EntryType::Directory => {
                match rustix::fs::mkdirat(&parent, &*name, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(Failure::errno("making folder", &full, e)),
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder =
                    rustix::fs::openat(&parent, &*name, flags, Mode::empty()).map_err(|e| Failure::errno("opening folder", &full, e))?;
                self.folder_attributes(folder.as_fd(), full, &attributes)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, parent.as_fd(), &name, &full, &attributes)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| Failure::invalid("a symlink without a target"))?;
                rustix::fs::symlinkat(&*target, &parent, &*name).map_err(|e| Failure::errno("making symlink", &full, e))?;
                // A name that was absent may now lead somewhere: cached folders stay right, for none went through it.
                self.owned(parent.as_fd(), &name, &full, &attributes)
            }
            EntryType::Link => {
                let target = clean(&entry.link_name_bytes().ok_or_else(|| Failure::invalid("a hard link without a target"))?)?;
                let target = if self.base.is_empty() { target } else { [&self.base, b"/".as_slice(), &target].concat() };
                let (folder, target_name) = split(&target);
                let folder = self.tree.folder(folder)?;
                rustix::fs::linkat(&folder, target_name, &parent, &*name, AtFlags::empty()).map_err(|e| match e {
                    Errno::NOENT => Failure::invalid(format!(
                        "hard link {:?} to {:?}, which the archive does not have",
                        String::from_utf8_lossy(&full),
                        String::from_utf8_lossy(&target)
                    )),
                    e => Failure::errno("making hard link", &full, e),
                })
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(&parent, &*name, FileType::Fifo, Mode::from_raw_mode(attributes.mode), 0)
                    .map_err(|e| Failure::errno("making fifo", &full, e))?;
                self.owned(parent.as_fd(), &name, &full, &attributes)
            }
            EntryType::Char | EntryType::Block => {
                self.devices += 1;
                Ok(())
            }
            other => Err(Failure::invalid(format!(
                "the archive has {:?} of type {:?}, which is not supported",
                String::from_utf8_lossy(&path),
                other.as_byte() as char
            ))),
        }
    }

    /// `.wh.NAME` hides NAME of the layers below; `.wh..wh..opq` hides all below its folder.
    fn whiteout(&mut self, parent_path: &[u8], name: &[u8]) -> Result<(), Failure> {
        let parent = self.tree.folder(parent_path)?;
        if name == b".wh..opq" {
            self.opaque.insert(parent_path.to_vec());
            return Ok(());
        }
        if name.starts_with(b".wh.") {
            // aufs' own books (.wh..wh.plnk, .wh..wh.aufs): nothing to do for us.
            return Ok(());
        }
        if matches!(name, b"" | b"." | b"..") {
            return Err(Failure::invalid("the archive has a whiteout without a name"));
        }
        match self.tree.kind(parent.as_fd(), name)? {
            // Whiteouts speak of the layers below, wherever they stand in the tar (image-spec, layer.md).
            Some(stat) if is_folder(&stat) => {
                self.opaque.insert(if parent_path.is_empty() { name.to_vec() } else { [parent_path, b"/", name].concat() });
                Ok(())
            }
            Some(_) => Ok(()),
            None => rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|e| Failure::errno("making whiteout", name, e)),
        }
    }

    fn file(
        &mut self,
        entry: &mut tar::Entry<'_, Hashed>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        full: &[u8],
        attributes: &Attributes,
    ) -> Result<(), Failure> {
        let sparse = entry.header().entry_type() == EntryType::GNUSparse;
        let size = entry.size();
        self.size = self.size.saturating_add(size);
        if self.size > self.limits.bytes {
            return Err(Failure::exhausted(format!("the archive unpacks to more than {} bytes", self.limits.bytes)));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)).map_err(|e| Failure::errno("making file", full, e))?;
        let mut file = std::fs::File::from(fd);
        let mut written = 0u64;
        loop {
            let n = entry.read(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            let data = &self.buffer[..n];
            if sparse && data.iter().all(|b| *b == 0) {
                file.seek(SeekFrom::Current(n as i64)).map_err(Failure::from)?;
            } else {
                file.write_all(data).map_err(Failure::from)?;
            }
            written += n as u64;
        }
        if written != size {
            return Err(Failure::invalid(format!("the archive ends within {:?}", String::from_utf8_lossy(full))));
        }
        if sparse {
            file.set_len(size).map_err(Failure::from)?;
        }
        set(file.as_fd(), full, attributes)?;
        let times = Timestamps { last_access: attributes.mtime, last_modification: attributes.mtime };
        rustix::fs::futimens(&file, &times).map_err(|e| Failure::errno("setting the time of", full, e))
    }

    fn folder_attributes(&mut self, folder: BorrowedFd<'_>, full: Vec<u8>, attributes: &Attributes) -> Result<(), Failure> {
        set(folder, &full, attributes)?;
        self.folder_times.push((full, attributes.mtime));
        Ok(())
    }

    /// Owner and time of what has no descriptor: symlinks and fifos.
    fn owned(&mut self, parent: BorrowedFd<'_>, name: &[u8], full: &[u8], attributes: &Attributes) -> Result<(), Failure> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| chown_failed(full, attributes, e))?;
        let times = Timestamps { last_access: attributes.mtime, last_modification: attributes.mtime };
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Failure::errno("setting the time of", full, e))
    }
}

fn chown_failed(full: &[u8], attributes: &Attributes, e: Errno) -> Failure {
    if e == Errno::INVAL {
        // The kernel's word for an id that the user namespace does not map.
        return Failure::invalid(format!(
            "{:?} belongs to {}:{}, but containers have the ids 0 to 65535 only",
            String::from_utf8_lossy(full),
            attributes.uid,
            attributes.gid
        ));
    }
    Failure::errno("setting the owner of", full, e)
}

/// Owner, then mode (chown clears setuid), then extended attributes (chown clears file capabilities).
fn set(fd: BorrowedFd<'_>, full: &[u8], attributes: &Attributes) -> Result<(), Failure> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
        .map_err(|e| chown_failed(full, attributes, e))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(attributes.mode)).map_err(|e| Failure::errno("setting the mode of", full, e))?;
    for (name, value) in &attributes.xattrs {
        match rustix::fs::fsetxattr(fd, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) => {}
            // Labels of security modules, and filesystems without attributes. Capabilities must not get lost silently.
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) if name != "security.capability" => {}
            Err(e) => return Err(Failure::errno(&format!("setting {name} of"), full, e)),
        }
    }
    Ok(())
}

/// Attributes that would speak to overlayfs rather than to the image's programs, or that need the host's root.
fn is_foreign_xattr(name: &str) -> bool {
    name.starts_with("trusted.") || name.starts_with("user.overlay.")
}

fn attributes(entry: &mut tar::Entry<'_, Hashed>, options: &UnpackOptions) -> Result<Attributes, Failure> {
    let header = entry.header();
    let id = |what: &str, id: std::io::Result<u64>| -> Result<u32, Failure> {
        let id = id.map_err(|e| Failure::invalid(format!("the archive has a bad {what}: {e}")))?;
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| Failure::invalid(format!("the archive has the {what} {id}")))
    };
    // Some writers leave numeric fields blank; other readers take that for zero.
    let old = header.as_old();
    let blank = |field: &[u8]| field.iter().all(|b| matches!(b, 0 | b' '));
    let number = |field: &[u8], value: std::io::Result<u64>| if blank(field) { Ok(0) } else { value };
    let mut uid = id("uid", number(&old.uid, header.uid()))?;
    let mut gid = id("gid", number(&old.gid, header.gid()))?;
    let mode = number(&old.mode, header.mode().map(u64::from)).map_err(|e| Failure::invalid(format!("the archive has a bad mode: {e}")))?;
    let mode = u32::try_from(mode & 0o7777).unwrap_or(0);
    // Times before 1970 and after 2^63 are nonsense that the kernel would clamp anyhow.
    let mut mtime = Timespec { tv_sec: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), tv_nsec: 0 };
    let mut xattrs = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            let number = || extension.value().ok().and_then(|v| v.parse::<u64>().ok());
            match key {
                "uid" => uid = id("uid", number().ok_or_else(|| std::io::Error::other("not a number")))?,
                "gid" => gid = id("gid", number().ok_or_else(|| std::io::Error::other("not a number")))?,
                "mtime" => {
                    if let Some(time) = extension.value().ok().and_then(parse_time) {
                        mtime = time;
                    }
                }
                _ if key.starts_with("GNU.sparse.") => {
                    return Err(Failure::invalid(
                        "the archive has a sparse file in the PAX format, which is not supported: write it with --format=gnu",
                    ));
                }
                _ => {
                    if let Some(name) = key.strip_prefix("SCHILY.xattr.")
                        && !is_foreign_xattr(name)
                    {
                        xattrs.push((name.to_owned(), extension.value_bytes().to_vec()));
                    }
                }
            }
        }
    }
    if let Some((u, g)) = options.owner {
        (uid, gid) = (u, g);
    }
    Ok(Attributes { uid, gid, mode, mtime, xattrs })
}

/// `seconds[.fraction]` of PAX.
fn parse_time(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let tv_sec = seconds.parse().ok()?;
    let digits: String = fraction.bytes().take(9).map(char::from).chain(std::iter::repeat('0')).take(9).collect();
    let tv_nsec = digits.parse::<u32>().ok()?;
    Some(Timespec { tv_sec, tv_nsec: tv_nsec.into() })
}
