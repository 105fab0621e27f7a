//! A log's rotated set: `<base>` is being written, `<base>.1`, `<base>.2`, … are older. Files are told apart by inode,
//! since their names move under a reader.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open file of the set.
#[derive(Debug)]
pub(super) struct Open {
    pub file: File,
    pub inode: u64,
}

impl Open {
    fn at(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some(Self { file, inode }))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Up to `want` bytes from `offset` on; fewer at the end of the file.
    pub fn read_at(&self, offset: u64, want: usize) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; want];
        let mut have = 0;
        while have < want {
            match self.file.read_at(&mut bytes[have..], offset + have as u64) {
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

fn numbered(base: &Path, n: u32) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// The names of the set that are there, newest first.
pub(super) fn names(base: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(stem)) = (base.parent(), base.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", stem.to_string_lossy());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut numbers = Vec::new();
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if name == stem {
            names.push(base.to_owned());
        } else if let Some(n) = name.to_string_lossy().strip_prefix(&prefix).and_then(|n| n.parse::<u32>().ok()) {
            numbers.push(n);
        }
    }
    numbers.sort_unstable();
    names.extend(numbers.into_iter().map(|n| numbered(base, n)));
    Ok(names)
}

/// Opens the set, oldest first, down to but without the file with the inode `before` (all, if it is not found).
///
/// Opened from the newest on: a rotation meanwhile then shows a file twice (which its inode tells), never not at all.
pub(super) fn open(base: &Path, before: Option<u64>) -> io::Result<Vec<Open>> {
    // One beyond the highest there was: a rotation meanwhile makes one more name.
    let highest = names(base)?.len() as u32 + 1;
    let mut set: Vec<Open> = Vec::new();
    for n in 0..=highest {
        let path = if n == 0 { base.to_owned() } else { numbered(base, n) };
        let Some(open) = Open::at(&path)? else { continue };
        if Some(open.inode) == before {
            break;
        }
        if set.iter().all(|o| o.inode != open.inode) {
            set.push(open);
        }
    }
    set.reverse();
    Ok(set)
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
