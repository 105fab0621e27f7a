//! A log's rotated set: `<base>` is being written, `<base>.1`, `<base>.2`, … are older, and each of these may be
//! compressed (`<base>.2.gz`, by `pack`). Files are told apart by inode, since their names move under a reader.

use super::Source;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An open file of the set.
#[derive(Debug)]
pub(super) struct Open {
    pub file: File,
    /// The inode it was written as. A compressed file keeps that of its original, which may have another owner by now.
    pub inode: u64,
    /// Of the last writing, in nanoseconds; a compressed file has its original's.
    written_ns: i128,
    /// The folder, for unpacking; `None`: it is as it was written.
    packed: Option<PathBuf>,
    plain: OnceLock<File>,
}

impl Open {
    /// Opens what has this number in the set.
    fn at(base: &Path, n: u32) -> io::Result<Option<Self>> {
        let path = if n == 0 { base.to_owned() } else { numbered(base, n) };
        // Compressed under the same number meanwhile: the other spelling is there before this one goes.
        for (path, packed) in [(path, false), (packed_name(base, n), true)] {
            match File::open(&path) {
                Ok(file) => return Self::of(file, packed.then(|| base.parent().unwrap_or(Path::new("/")).to_owned())).map(Some),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    fn of(file: File, packed: Option<PathBuf>) -> io::Result<Self> {
        let meta = file.metadata()?;
        let written_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let inode = if packed.is_some() { origin(&file)? } else { meta.ino() };
        Ok(Self { file, inode, written_ns, packed, plain: OnceLock::new() })
    }

    /// Whether two are the same file, or the one is the other compressed.
    fn is(&self, other: &Self) -> bool {
        // A number that the file system gave again belongs to a file that was written at another time.
        self.inode == other.inode && (self.packed.is_none() && other.packed.is_none() || self.written_ns == other.written_ns)
    }

    /// The file as it was written: a compressed one is unpacked once, into a file without a name.
    fn content(&self) -> io::Result<&File> {
        let Some(folder) = &self.packed else { return Ok(&self.file) };
        if let Some(plain) = self.plain.get() {
            return Ok(plain);
        }
        use rustix::fs::{Mode, OFlags};
        let fd = rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        let mut plain = File::from(fd);
        io::copy(&mut GzDecoder::new(At { file: &self.file, offset: 0 }), &mut plain)?;
        Ok(self.plain.get_or_init(|| plain))
    }

    /// The bytes it begins with, without unpacking the rest.
    pub fn head(&self, want: usize) -> io::Result<Vec<u8>> {
        if self.packed.is_none() || self.plain.get().is_some() {
            return self.read_at(0, want);
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(GzDecoder::new(At { file: &self.file, offset: 0 }), want as u64), &mut bytes)?;
        Ok(bytes)
    }

    /// When it was last written to.
    pub fn written(&self) -> Option<Timestamp> {
        Timestamp::from_nanosecond(self.written_ns).ok()
    }

    pub fn len(&self) -> io::Result<u64> {
        Ok(self.content()?.metadata()?.len())
    }

    /// Up to `want` bytes from `offset` on; fewer at the end of the file.
    pub fn read_at(&self, offset: u64, want: usize) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let file = self.content()?;
        let mut bytes = vec![0; want];
        let mut have = 0;
        while have < want {
            match file.read_at(&mut bytes[have..], offset + have as u64) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(have);
        Ok(bytes)
    }
}

/// A file read from a place of our own, so that nobody else's is moved.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl io::Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// Which inode a compressed file was before: its header's file name says so.
fn origin(file: &File) -> io::Result<u64> {
    let decoder = GzDecoder::new(At { file, offset: 0 });
    let name = decoder.header().and_then(|h| h.filename()).unwrap_or_default();
    // One that is not ours (somebody ran gzip) is its own.
    match std::str::from_utf8(name).ok().and_then(|n| n.parse().ok()) {
        Some(inode) => Ok(inode),
        None => Ok(file.metadata()?.ino()),
    }
}

/// The name of an older file.
pub(super) fn numbered(base: &Path, n: u32) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The name of an older file that is compressed.
pub(super) fn packed_name(base: &Path, n: u32) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(format!(".{n}.gz"));
    name.into()
}

/// The numbers of the set that are there, ascending; 0 is the file being written.
pub(super) fn numbers(base: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = listed(base)?.into_iter().map(|(n, _)| n).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The names of the set that are there, newest first.
pub(super) fn names(base: &Path) -> io::Result<Vec<PathBuf>> {
    let mut listed = listed(base)?;
    listed.sort();
    Ok(listed.into_iter().map(|(_, path)| path).collect())
}

fn listed(base: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let (Some(dir), Some(stem)) = (base.parent(), base.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", stem.to_string_lossy());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut listed = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if name == stem {
            listed.push((0, base.to_owned()));
        } else if let Some(n) = name.to_string_lossy().strip_prefix(&prefix) {
            let (n, packed) = n.strip_suffix(".gz").map_or((n, false), |n| (n, true));
            if let Ok(n) = n.parse() {
                listed.push((n, if packed { packed_name(base, n) } else { numbered(base, n) }));
            }
        }
    }
    Ok(listed)
}

/// Opens the set, oldest first, down to but without the file with the inode `before` (all, if it is not found).
///
/// Opened from the newest on: a rotation meanwhile then shows a file twice (which its inode tells), never not at all.
pub(super) fn open(base: &Path, before: Option<u64>) -> io::Result<Vec<Open>> {
    // One beyond the highest there was: a rotation meanwhile makes one more name.
    let highest = numbers(base)?.last().map_or(0, |n| n + 1);
    let mut set: Vec<Open> = Vec::new();
    for n in 0..=highest {
        let Some(open) = Open::at(base, n)? else { continue };
        if Some(open.inode) == before {
            break;
        }
        if set.iter().all(|o| !o.is(&open)) {
            set.push(open);
        }
    }
    set.reverse();
    Ok(set)
}

/// What a log has on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Time of its first line.
    pub from: Timestamp,
    /// When it was last written to.
    pub to: Timestamp,
    /// Of all its files, as they lie there.
    pub bytes: u64,
}

/// From when to when a log goes, without reading it; `None`: nothing was ever written.
pub(crate) fn span(source: &Source) -> io::Result<Option<Span>> {
    let base = source.base();
    let (mut bytes, mut to, mut oldest) = (0, None, None);
    for path in names(&base)? {
        let meta = match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > 0 => meta,
            // Rotated away meanwhile, or just begun.
            Ok(_) => continue,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        bytes += meta.len();
        to = to.or(Timestamp::try_from(meta.modified()?).ok());
        oldest = Some(path);
    }
    let (Some(oldest), Some(to)) = (oldest, to) else { return Ok(None) };
    // One that cannot be read says nothing of its beginning.
    let from = first_time(source, &oldest).unwrap_or(None).unwrap_or(to);
    Ok(Some(Span { from: from.min(to), to, bytes }))
}

/// The time of a file's first record.
fn first_time(source: &Source, path: &Path) -> io::Result<Option<Timestamp>> {
    use std::io::Read;
    // Longer than any record of `json-file`, whose lines are parts of at most 16 KiB, each byte escaped at worst.
    const ENOUGH: u64 = 256 * 1024;
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    match path.extension().is_some_and(|e| e == "gz") {
        true => GzDecoder::new(file).take(ENOUGH).read_to_end(&mut bytes)?,
        false => file.take(ENOUGH).read_to_end(&mut bytes)?,
    };
    Ok(match source {
        Source::Local(_) => super::local::first_time(&bytes),
        Source::JsonFile(_) => super::json::first_time(&bytes),
    })
}

/// Whether the file being written is another one than that with this inode.
pub(super) fn rotated(base: &Path, inode: u64) -> io::Result<bool> {
    match std::fs::metadata(base) {
        Ok(meta) => Ok(meta.ino() != inode),
        // Between the rename and the new file: wait for it.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
