//! Takes a `docker save` or OCI-layout archive apart: each file's content goes into the root under a number, so that no
//! name of the archive ever names anything on disk, and its real digest is told.

use super::inflate::Inflated;
use super::job::{Failure, Limits, SplitFile};
use super::tree::{clean, split};
use crate::Digest;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use sha2::Digest as _;
use std::fs::File;
use std::io::{Read, Write};

/// Reads the archive to its end.
pub fn archive(root: &OwnedFd, input: Inflated, limits: Limits) -> Result<Vec<SplitFile>, Failure> {
    let mut archive = tar::Archive::new(input);
    let mut files = Vec::new();
    let mut total = 0u64;
    let mut buffer = vec![0; 128 * 1024];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let name = clean(&entry.path_bytes())?;
        let name = String::from_utf8(name).map_err(|_| Failure::invalid("the archive has a name that is not UTF-8"))?;
        if files.len() as u64 >= limits.entries {
            return Err(Failure::exhausted(format!("the archive has more than {} files", limits.entries)));
        }
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().ok_or_else(|| Failure::invalid("a link without a target"))?;
            let target = String::from_utf8(target.into_owned()).map_err(|_| Failure::invalid("a link that is not UTF-8"))?;
            let from = if kind.is_symlink() { String::from_utf8_lossy(split(name.as_bytes()).0).into_owned() } else { String::new() };
            let link = join(&from, &target)
                .ok_or_else(|| Failure::invalid(format!("{name:?} links to {target:?}, which is not in the archive")))?;
            files.push(SplitFile { name, link: Some(link), number: 0, digest: Digest::of(b""), size: 0 });
            continue;
        }
        if !kind.is_file() || name.is_empty() {
            continue;
        }
        total = total.saturating_add(entry.size());
        if total > limits.bytes {
            return Err(Failure::exhausted(format!("the archive holds more than {} bytes", limits.bytes)));
        }
        let number = files.len() as u64;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(root, number.to_string(), flags, Mode::from_raw_mode(0o600))
            .map_err(|e| Failure::errno("making file", name.as_bytes(), e))?;
        let mut file = File::from(fd);
        let mut hash = sha2::Sha256::new();
        let mut size = 0u64;
        loop {
            let n = entry.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            hash.update(&buffer[..n]);
            file.write_all(&buffer[..n])?;
            size += n as u64;
        }
        if size != entry.size() {
            return Err(Failure::invalid(format!("the archive ends within {name:?}")));
        }
        file.sync_data()?;
        files.push(SplitFile { name, link: None, number, digest: Digest::from_bytes(hash.finalize().into()), size });
    }
    if files.is_empty() {
        return Err(Failure::invalid("the archive holds no files"));
    }
    Ok(files)
}

/// `from/target` with `..` worked out; `None` if it leads out of the archive.
fn join(from: &str, target: &str) -> Option<String> {
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
