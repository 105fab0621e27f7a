//! Compressing what was rotated out (`compress=true`). The shim only renames: it has no time for more. So the server comes
//! by now and then, packs each older file beside itself, and swaps the two names while it holds the folder's lock, which a
//! rotation takes as well (and goes on without, if it cannot have it: the file then grows until the next write).

use super::Source;
use super::files::{numbered, numbers, packed_name};
use crate::{Doing, Result};
use flate2::{Compression, GzBuilder};
use std::fs::{File, FileTimes};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Compresses the older files of a log. Returns how many it did. Blocking.
///
/// # Errors
/// `Internal` when a file cannot be read or written; what was written stays readable in any case.
pub(crate) fn pack(source: &Source) -> Result<usize> {
    let base = source.base();
    let listed = || format!("listing the files of {}", base.display());
    let mut done = 0;
    for n in numbers(&base).doing(listed)?.into_iter().filter(|n| *n > 0) {
        done += usize::from(pack_one(&base, n).doing(|| format!("compressing {}", numbered(&base, n).display()))?);
    }
    Ok(done)
}

fn pack_one(base: &Path, n: u32) -> std::io::Result<bool> {
    let mut plain = match File::open(numbered(base, n)) {
        Ok(file) => file,
        // Compressed already, or moved up meanwhile: the next time finds it.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let meta = plain.metadata()?;
    let Some(folder) = base.parent() else { return Ok(false) };
    let draft = folder.join("packing");
    let file = File::options().write(true).create(true).truncate(true).open(&draft)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    // A reader that follows knows the file by its inode and must find it again.
    let mut gz = GzBuilder::new().filename(meta.ino().to_string()).write(file, Compression::fast());
    std::io::copy(&mut plain, &mut gz)?;
    let file = gz.finish()?;
    // Readers skip files that end before `since`.
    file.set_times(FileTimes::new().set_modified(meta.modified()?))?;
    file.sync_data()?;
    let lock = File::open(folder)?;
    lock.lock()?;
    // Its number may be another one by now; it may be gone, too.
    for n in numbers(base)? {
        match std::fs::metadata(numbered(base, n)) {
            Ok(found) if n > 0 && found.ino() == meta.ino() && found.dev() == meta.dev() => {
                std::fs::rename(&draft, packed_name(base, n))?;
                std::fs::remove_file(numbered(base, n))?;
                return Ok(true);
            }
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    std::fs::remove_file(&draft)?;
    Ok(false)
}
