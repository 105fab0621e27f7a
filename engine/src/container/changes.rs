//! `diff`: what a container's writable layer changes in the layers below (overlayfs.rst: whiteouts are character devices 0:0).

use crate::{Doing, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// More changes than this are not listed: the answer is one JSON document.
const MOST: usize = 200_000;

/// (path, 0 modified | 1 added | 2 deleted), sorted.
pub(super) fn of(upper: &Path, layers: &[PathBuf]) -> Result<Vec<(String, u8)>> {
    let doing = || format!("reading the writable layer {}", upper.display());
    let lowers: Vec<OwnedFd> = layers
        .iter()
        .rev()
        .map(|layer| {
            rustix::fs::open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(std::io::Error::from)
        })
        .collect::<Result<_, _>>()
        .doing(doing)?;
    let mut changes = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(upper.join(&folder)).doing(doing)? {
            // What vanishes while we look did not change for long.
            let Ok(entry) = entry else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            let path = folder.join(entry.file_name());
            let kind = match meta.file_type() {
                t if t.is_char_device() && meta.rdev() == 0 => 2,
                _ if is_below(&lowers, &path) => 0,
                _ => 1,
            };
            if meta.is_dir() {
                pending.push(path.clone());
            }
            changes.push((format!("/{}", path.to_string_lossy()), kind));
            if changes.len() == MOST {
                return Err(crate::Error::new(crate::Kind::Exhausted, format!("more than {MOST} files changed")));
            }
        }
    }
    changes.sort();
    Ok(without_places(changes))
}

/// Places that every start makes for its own mounts where the image has none: nobody changed anything there. dockerd has
/// them in a layer of their own between image and container.
const PLACES: [&str; 10] =
    ["/.dockerenv", "/dev", "/dev/console", "/dev/pts", "/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys"];

fn without_places(mut changes: Vec<(String, u8)>) -> Vec<(String, u8)> {
    let before = changes.len();
    // Deepest first, so that a folder is seen when it is empty.
    for i in (0..changes.len()).rev() {
        let (path, kind) = &changes[i];
        let is_place = *kind == 1 && PLACES.contains(&path.as_str());
        // The folder of the three files is touched by making them.
        let is_folder = path == "/etc" && changes.len() < before;
        let used = changes.get(i + 1).is_some_and(|(next, _)| next.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/')));
        if (is_place || is_folder) && !used {
            changes.remove(i);
        }
    }
    changes
}

/// Whether the layers, uppermost first, show something at `path`.
fn is_below(lowers: &[OwnedFd], path: &Path) -> bool {
    for lower in lowers {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open =
            |path: &Path| rustix::fs::openat2(lower, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve);
        match open(path).and_then(|fd| rustix::fs::fstat(&fd)) {
            Ok(stat) => return !is_whiteout(&stat),
            // A link as the last component is found by its folder, since NO_SYMLINKS refuses it.
            Err(rustix::io::Errno::LOOP) => return true,
            Err(_) => {}
        }
        // Something above it in this layer may hide what lower layers have there.
        let hidden = path.ancestors().skip(1).filter(|a| !a.as_os_str().is_empty()).any(|above| {
            open(above).is_ok_and(|fd| {
                let whiteout = rustix::fs::fstat(&fd).is_ok_and(|s| is_whiteout(&s));
                whiteout || is_opaque(&fd)
            })
        });
        if hidden {
            return false;
        }
    }
    false
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(fd: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    let mut value = [0u8; 1];
    // An O_PATH descriptor has no fgetxattr; its /proc link does.
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value).is_ok_and(|n| n == 1) && value[0] == b'y'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_makes_for_its_mounts_is_no_change() {
        let list = |all: &[(&str, u8)]| all.iter().map(|(p, k)| ((*p).to_owned(), *k)).collect::<Vec<_>>();
        let made = [("/dev", 1), ("/dev/pts", 1), ("/etc", 0), ("/etc/hostname", 1), ("/etc/hosts", 1), ("/proc", 1), ("/test", 1)];
        assert_eq!(without_places(list(&made)), list(&[("/test", 1)]));
        let own = [("/dev", 1), ("/dev/mine", 1), ("/etc", 0), ("/etc/hosts", 1), ("/etc/mine", 1)];
        assert_eq!(without_places(list(&own)), list(&[("/dev", 1), ("/dev/mine", 1), ("/etc", 0), ("/etc/mine", 1)]));
        let changed = [("/etc", 0), ("/etc/hosts", 0)];
        assert_eq!(without_places(list(&changed)), list(&changed));
    }

    #[test]
    fn added_modified_deleted_and_opaque_are_told_apart() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: needs root to make whiteouts");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (upper, low, mid) = (dir.path().join("u"), dir.path().join("l"), dir.path().join("m"));
        for folder in ["u/etc", "u/new", "l/etc", "l/gone", "l/hid", "m/hid", "u/hid"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(low.join("etc/a"), "").unwrap();
        std::fs::write(low.join("hid/x"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", low.join("link")).unwrap();
        rustix::fs::setxattr(mid.join("hid"), "trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        for file in ["etc/a", "etc/b", "hid/x", "link"] {
            std::fs::write(upper.join(file), "").unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, upper.join("gone"), rustix::fs::FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        let all = of(&upper, &[low, mid]).unwrap();
        let expected = [("/etc", 0), ("/etc/a", 0), ("/etc/b", 1), ("/gone", 2), ("/hid", 0), ("/hid/x", 1), ("/link", 0), ("/new", 1)];
        assert_eq!(all.iter().map(|(p, k)| (p.as_str(), *k)).collect::<Vec<_>>(), expected);
    }
}
