//! One volume's files, one at a time, for people who look into it: list a folder, read a file, write one, make a folder, remove.
//!
//! The tree belongs to containers that may change it while we look, and that may have laid links: paths are looked up with the
//! volume as root, a file is looked at again through its own descriptor, and a new file gets its name only when it is whole.

use super::job::{Failure, FailureKind};
use super::tree::{RESOLVE, clean, is_folder, names, remove_all, split};
use crate::volume::{FileEntry, FileKind};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};

/// What is done to a volume's tree.
#[derive(Debug, Serialize, Deserialize)]
pub enum BrowseJob {
    /// What lies in a folder. Answer: a [`Listing`].
    List {
        /// Under the root.
        path: String,
        /// How many entries at most.
        most: usize,
    },
    /// The content of a file, to the descriptor that follows. Two answers: its entry, and that all was written.
    Read {
        /// Under the root; links are followed inside it.
        path: String,
    },
    /// A file from the descriptor that follows; replaces a file or link of that name. Answer: bytes.
    Write {
        /// Under the root.
        path: String,
        /// What it is called until it is whole.
        unnamed: String,
        /// How many bytes at most.
        most: u64,
    },
    /// A new folder in one that is there. Answer: nothing.
    Folder {
        /// Under the root.
        path: String,
    },
    /// Removes a file, a link, or a folder with all in it, but not the root. Answer: nothing.
    Remove {
        /// Under the root.
        path: String,
    },
}

/// A folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// The path itself, links followed.
    pub itself: FileEntry,
    /// What is in it, folders first, then by name; nothing for what is no folder.
    pub entries: Vec<FileEntry>,
    /// How many more there are than were told.
    pub left_out: usize,
}

/// The last component, for messages and file names.
fn last(path: &[u8]) -> String {
    String::from_utf8_lossy(split(path).1).into_owned()
}

fn open(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Failure> {
    let inside = if path.is_empty() { b".".as_slice() } else { path };
    // Without waiting: a FIFO would, for ever. openat2(2) wants none of that beside O_PATH.
    let more = if flags.contains(OFlags::PATH) { OFlags::CLOEXEC } else { OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY };
    let flags = flags | more;
    rustix::fs::openat2(root, inside, flags, Mode::empty(), RESOLVE).map_err(|e| Failure::errno("opening", path, e))
}

fn kind(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Folder,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    }
}

fn entry(name: String, stat: &Stat, target: Option<Vec<u8>>) -> FileEntry {
    FileEntry {
        name,
        kind: kind(stat),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        modified: stat.st_mtime.saturating_mul(1000).saturating_add(i64::try_from(stat.st_mtime_nsec / 1_000_000).unwrap_or(0)),
        target: target.map(|t| String::from_utf8_lossy(&t).into_owned()).unwrap_or_default(),
    }
}

/// What lies at `path`, and in it.
pub fn list(root: &OwnedFd, path: &str, most: usize) -> Result<Listing, Failure> {
    let path = clean(path.as_bytes())?;
    // O_PATH: a FIFO or a file that nobody may read can be looked at all the same.
    let there = open(root, &path, OFlags::PATH)?;
    let stat = rustix::fs::fstat(&there).map_err(|e| Failure::errno("looking at", &path, e))?;
    let mut listing = Listing { itself: entry(last(&path), &stat, None), entries: Vec::new(), left_out: 0 };
    if !is_folder(&stat) {
        return Ok(listing);
    }
    let folder = open(root, &path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    for name in names(folder.as_fd())? {
        if listing.entries.len() >= most {
            listing.left_out += 1;
            continue;
        }
        // Gone meanwhile, in a tree in use.
        let Ok(stat) = rustix::fs::statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let target = if link { rustix::fs::readlinkat(&folder, &*name, Vec::new()).ok().map(|t| t.into_bytes()) } else { None };
        listing.entries.push(entry(String::from_utf8_lossy(&name).into_owned(), &stat, target));
    }
    listing.entries.sort_by_key(|e| e.kind != FileKind::Folder);
    Ok(listing)
}

/// A file to read, and what it is.
pub fn file(root: &OwnedFd, path: &str) -> Result<(File, FileEntry), Failure> {
    let path = clean(path.as_bytes())?;
    let fd = open(root, &path, OFlags::RDONLY)?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| Failure::errno("looking at", &path, e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure::invalid(format!("{:?} is no file", String::from_utf8_lossy(&path))));
    }
    Ok((fd.into(), entry(last(&path), &stat, None)))
}

/// Copies what the file had when it was looked at: it was promised in a header, and one that grows meanwhile has no end.
pub fn read(file: File, promised: u64, mut out: File) -> Result<(), Failure> {
    let copied = std::io::copy(&mut file.take(promised), &mut out)?;
    // One that shrinks breaks off; whoever reads sees that bytes are missing.
    if copied < promised {
        return Err(Failure { kind: FailureKind::Internal, message: "the file became shorter while it was read".to_owned() });
    }
    Ok(())
}

/// Who owns what is new here, and with which mode: as the file that it replaces, else as its folder.
fn heir(folder: BorrowedFd<'_>, there: Option<&Stat>) -> Result<(u32, u32, u32), Failure> {
    if let Some(stat) = there
        && kind(stat) == FileKind::File
    {
        // Not the set-id bits: the content is another.
        return Ok((stat.st_uid, stat.st_gid, stat.st_mode & 0o777));
    }
    let stat = rustix::fs::fstat(folder).map_err(|e| Failure::errno("looking at", b".", e))?;
    Ok((stat.st_uid, stat.st_gid, 0o644))
}

fn give(fd: &OwnedFd, (uid, gid, mode): (u32, u32, u32), path: &[u8]) -> Result<(), Failure> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|e| Failure::errno("giving away", path, e))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).map_err(|e| Failure::errno("setting the mode of", path, e))
}

/// Folder and name of something that is to be made or removed: never the root.
fn place(root: &OwnedFd, path: &str) -> Result<(OwnedFd, Vec<u8>, Vec<u8>), Failure> {
    let path = clean(path.as_bytes())?;
    let (folder, name) = split(&path);
    if name.is_empty() {
        return Err(Failure::invalid("a path in the volume is needed: this one is the volume itself"));
    }
    let folder = open(root, folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let name = name.to_vec();
    Ok((folder, name, path))
}

fn there(folder: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<Stat>, Failure> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(Failure::errno("looking at", path, e)),
    }
}

/// A file of what `input` holds, named when it is whole.
pub fn write(root: &OwnedFd, path: &str, unnamed: &str, most: u64, input: File) -> Result<u64, Failure> {
    let (folder, name, path) = place(root, path)?;
    let before = there(&folder, &name, &path)?;
    if before.as_ref().is_some_and(is_folder) {
        return Err(Failure::invalid(format!("{:?} is a folder", String::from_utf8_lossy(&path))));
    }
    let owner = heir(folder.as_fd(), before.as_ref())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&folder, unnamed, flags, Mode::from_raw_mode(0o600)).map_err(|e| Failure::errno("making", &path, e))?;
    let done = fill(fd, owner, most, input, &path).and_then(|bytes| {
        rustix::fs::renameat(&folder, unnamed, &folder, &*name).map_err(|e| Failure::errno("naming", &path, e))?;
        Ok(bytes)
    });
    if done.is_err() {
        // The first failure is the one to tell.
        let _ = rustix::fs::unlinkat(&folder, unnamed, AtFlags::empty());
    }
    done
}

fn fill(fd: OwnedFd, owner: (u32, u32, u32), most: u64, mut input: File, path: &[u8]) -> Result<u64, Failure> {
    let mut out = File::from(fd);
    let mut buffer = vec![0u8; 128 * 1024];
    let mut bytes = 0u64;
    loop {
        let n = input.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        if bytes > most {
            return Err(Failure::exhausted(format!("the file is longer than the {most} bytes that are left for it")));
        }
        out.write_all(&buffer[..n])?;
    }
    let fd = OwnedFd::from(out);
    give(&fd, owner, path)?;
    rustix::fs::fsync(&fd).map_err(|e| Failure::errno("writing", path, e))?;
    Ok(bytes)
}

/// A new folder, of whoever owns the one it is in.
pub fn make_folder(root: &OwnedFd, path: &str) -> Result<(), Failure> {
    let (parent, name, path) = place(root, path)?;
    if there(&parent, &name, &path)?.is_some() {
        return Err(Failure::invalid(format!("{:?} is there already", String::from_utf8_lossy(&path))));
    }
    let (uid, gid, _) = heir(parent.as_fd(), None)?;
    rustix::fs::mkdirat(&parent, &*name, Mode::from_raw_mode(0o755)).map_err(|e| Failure::errno("making folder", &path, e))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(&parent, &*name, flags, Mode::empty()).map_err(|e| Failure::errno("opening folder", &path, e))?;
    give(&folder, (uid, gid, 0o755), &path)
}

/// Removes what lies there, itself and not what it points to.
pub fn remove(root: &OwnedFd, path: &str) -> Result<(), Failure> {
    let (folder, name, path) = place(root, path)?;
    if there(&folder, &name, &path)?.is_none() {
        return Err(Failure::errno("removing", &path, Errno::NOENT));
    }
    remove_all(folder.as_fd(), &name, 0)
}

#[cfg(test)]
mod tests {
    use super::super::{BrowseJob, FileEntry, Listing, Workers};
    use crate::Kind;
    use crate::container::request::ArchiveStream;
    use crate::volume::FileKind;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use tokio::io::AsyncReadExt;

    const BASE: u32 = 1_600_000_000;

    /// A volume of block BASE, as a stranger would lay it out; beside it a file that is the host's.
    fn volume() -> (tempfile::TempDir, std::fs::File) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(dir.path().join("secret"), "the host's").unwrap();
        let root = dir.path().join("v");
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        std::fs::write(root.join("sub/a"), "content").unwrap();
        for path in ["", "sub", "sub/deep", "sub/a"] {
            chown(root.join(path), Some(BASE), Some(BASE)).unwrap();
        }
        chown(root.join("sub"), Some(BASE + 5), Some(BASE + 6)).unwrap();
        for (name, target) in
            [("up", "../secret"), ("host", "/etc/passwd"), ("hostetc", "/etc"), ("in", "/sub/a"), ("procroot", "/proc/self/root")]
        {
            symlink(target, root.join(name)).unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        chown(root.join("fifo"), Some(BASE), Some(BASE)).unwrap();
        let fd = std::fs::File::open(&root).unwrap();
        (dir, fd)
    }

    async fn list(fd: &std::fs::File, path: &str) -> crate::Result<Listing> {
        Workers::new().browse(BASE, fd.as_fd(), BrowseJob::List { path: path.to_owned(), most: 100 }).await
    }

    async fn read(fd: &std::fs::File, path: &str) -> crate::Result<String> {
        let (_, mut stream): (FileEntry, ArchiveStream) = Workers::new().read_file(BASE, fd.as_fd(), path).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Ok(text)
    }

    async fn write(fd: &std::fs::File, path: &str, text: &'static str, most: u64) -> crate::Result<u64> {
        Workers::new().write_file(BASE, fd.as_fd(), path, most, Box::pin(text.as_bytes())).await
    }

    #[tokio::test]
    async fn a_folder_is_listed_and_a_file_read() {
        let (_dir, fd) = volume();
        let all = list(&fd, "").await.unwrap();
        let names: Vec<_> = all.entries.iter().map(|e| (e.name.as_str(), e.kind, e.target.as_str())).collect();
        assert_eq!(names[0], ("sub", FileKind::Folder, ""));
        assert!(names.contains(&("hostetc", FileKind::Link, "/etc")) && names.contains(&("fifo", FileKind::Other, "")), "{names:?}");
        assert_eq!((all.entries[0].uid, all.entries[0].gid), (5, 6));
        let most = Workers::new().browse::<Listing>(BASE, fd.as_fd(), BrowseJob::List { path: String::new(), most: 2 }).await.unwrap();
        assert_eq!((most.entries.len(), most.left_out), (2, 5));
        assert_eq!(read(&fd, "sub/a").await.unwrap(), "content");
        // Inside the volume a link is followed.
        assert_eq!(read(&fd, "in").await.unwrap(), "content");
        assert!(list(&fd, "none").await.unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn sec_c3_no_link_leads_out_of_a_volume() {
        let (dir, fd) = volume();
        for path in ["up", "host", "hostetc/passwd", "procroot/etc/passwd"] {
            let error = read(&fd, path).await.unwrap_err();
            assert!(error.is_not_found(), "{path}: {error}");
        }
        assert!(list(&fd, "hostetc").await.is_err());
        // What is written lands on the link itself, and what is removed is the link.
        write(&fd, "up", "mine", 100).await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("secret")).unwrap(), "the host's");
        assert_eq!(std::fs::read_to_string(dir.path().join("v/up")).unwrap(), "mine");
        assert!(write(&fd, "hostetc/wharf-was-here", "x", 100).await.is_err());
        Workers::new().browse::<()>(BASE, fd.as_fd(), BrowseJob::Remove { path: "host".into() }).await.unwrap();
        assert!(std::fs::exists("/etc/passwd").unwrap() && !dir.path().join("v/host").is_symlink());
        for path in ["", ".", "/"] {
            let error = Workers::new().browse::<()>(BASE, fd.as_fd(), BrowseJob::Remove { path: path.into() }).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{path:?}");
        }
        let error = read(&fd, "fifo").await.unwrap_err();
        assert_eq!(error.to_string(), "\"fifo\" is no file");
    }

    #[tokio::test]
    async fn what_is_written_is_whole_or_not_there() {
        let (dir, fd) = volume();
        assert_eq!(write(&fd, "sub/new", "hello", 5).await.unwrap(), 5);
        let made = std::fs::metadata(dir.path().join("v/sub/new")).unwrap();
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (BASE + 5, BASE + 6, 0o644));
        std::fs::set_permissions(dir.path().join("v/sub/a"), PermissionsExt::from_mode(0o4640)).unwrap();
        let error = write(&fd, "sub/a", "too long", 7).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted);
        assert_eq!(std::fs::read_to_string(dir.path().join("v/sub/a")).unwrap(), "content");
        assert_eq!(std::fs::read_dir(dir.path().join("v/sub")).unwrap().count(), 3, "something half written stayed");
        write(&fd, "sub/a", "other", 7).await.unwrap();
        let kept = std::fs::metadata(dir.path().join("v/sub/a")).unwrap();
        assert_eq!((kept.uid(), kept.mode() & 0o7777), (BASE, 0o640));
        assert_eq!(write(&fd, "sub", "x", 9).await.unwrap_err().kind(), Kind::Invalid);
        assert!(write(&fd, "none/x", "x", 9).await.unwrap_err().is_not_found());
        let folder = |path: &str| BrowseJob::Folder { path: path.to_owned() };
        Workers::new().browse::<()>(BASE, fd.as_fd(), folder("sub/more")).await.unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("v/sub/more")).unwrap().uid(), BASE + 5);
        assert_eq!(Workers::new().browse::<()>(BASE, fd.as_fd(), folder("sub/more")).await.unwrap_err().kind(), Kind::Invalid);
        Workers::new().browse::<()>(BASE, fd.as_fd(), BrowseJob::Remove { path: "sub".into() }).await.unwrap();
        assert!(!dir.path().join("v/sub").exists());
    }
}
