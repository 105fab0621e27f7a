//! A volume's files for people and programs: list, download, upload, remove. A worker in the tenant's user namespace does the
//! walking, with the volume as its root: no link leads out, and what a stranger laid there is read with nobody's rights but the
//! tenant's.

use crate::container::effective::volume::{Backing, backing};
use crate::container::request::{ArchiveStream, PathStat};
use crate::engine::Engine;
use crate::inventory::volumes::VolumeRow;
use crate::policy::Action;
use crate::worker::{BrowseJob, Listing, PackOptions, UnpackOptions};
use crate::{Doing, Error, Result, Subject};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};

/// Entries of one folder that are told; a page with more is no page.
const SHOWN: usize = 5_000;

/// What something in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum FileKind {
    File,
    Folder,
    Link,
    /// A FIFO, socket or device.
    Other,
}

/// Something in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name; what is not UTF-8 in it is shown as U+FFFD. Empty: the volume itself.
    pub name: String,
    /// What it is; links are not followed.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// The owner, as containers see it.
    pub uid: u32,
    /// The group, as containers see it.
    pub gid: u32,
    /// When it was changed, in milliseconds since the epoch.
    pub modified: i64,
    /// Where a link points to.
    pub target: String,
}

/// What lies at a path of a volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Files {
    /// The path, clean, without a slash before or after; empty: the volume itself.
    pub path: String,
    /// What is there, links followed inside the volume.
    pub itself: FileEntry,
    /// What a folder has in it, folders first.
    pub entries: Vec<FileEntry>,
    /// How many more there are than are told.
    pub left_out: usize,
}

impl Engine {
    /// What lies at `path` of a volume, and in it.
    ///
    /// # Errors
    /// `NotFound` when the volume is absent or somebody else's, or nothing is there.
    pub async fn volume_files(&self, who: &Subject, name: &str, path: &str) -> Result<Files> {
        let (row, root) = self.volume_root(who, name)?;
        self.judge(who, Action::VolumeRead).await?;
        let path = clean(path)?;
        let base = self.block(row.tenant)?.base;
        let job = BrowseJob::List { path: path.clone(), most: SHOWN };
        let Listing { itself, entries, left_out } =
            self.images_handle().workers().browse(base, root.as_fd(), job).await.map_err(|e| nothing(e, name, &path))?;
        Ok(Files { path, itself, entries, left_out })
    }

    /// The content of a file.
    ///
    /// # Errors
    /// As `volume_files`; `Invalid` when it is no file.
    pub async fn volume_file(&self, who: &Subject, name: &str, path: &str) -> Result<(FileEntry, ArchiveStream)> {
        let (row, root) = self.volume_root(who, name)?;
        self.judge(who, Action::VolumeRead).await?;
        let path = clean(path)?;
        let base = self.block(row.tenant)?.base;
        self.images_handle().workers().read_file(base, root.as_fd(), &path).await.map_err(|e| nothing(e, name, &path))
    }

    /// A file or folder as a tar. Links in it stay links.
    ///
    /// # Errors
    /// As `volume_files`.
    pub async fn volume_archive(&self, who: &Subject, name: &str, path: &str) -> Result<(PathStat, ArchiveStream)> {
        let (row, root) = self.volume_root(who, name)?;
        self.judge(who, Action::VolumeRead).await?;
        let path = clean(path)?;
        let base = self.block(row.tenant)?.base;
        // The volume itself is called what it is called.
        let options = PackOptions { name: path.is_empty().then(|| row.name.clone()), ..PackOptions::default() };
        let asked = if path.is_empty() { "/" } else { &path };
        let (mut stat, tar) =
            self.images_handle().workers().pack(base, root.as_fd(), asked, options).await.map_err(|e| nothing(e, name, &path))?;
        if path.is_empty() {
            stat.name = row.name;
        }
        Ok((stat, tar))
    }

    /// Writes a file; returns its bytes. One that is there is replaced when the new one is whole, and keeps owner and mode; a
    /// new one belongs to whoever owns its folder.
    ///
    /// # Errors
    /// `NotFound` without volume or folder, `Exhausted` beyond the tenant's quota.
    pub async fn put_volume_file(&self, who: &Subject, name: &str, path: &str, body: ArchiveStream) -> Result<u64> {
        let (row, root) = self.volume_root(who, name)?;
        let path = clean(path)?;
        let (engine, base) = (self.clone(), self.block(row.tenant)?.base);
        self.audited(who, Action::VolumeFilePut, &object(&row, &path), async {
            let most = engine.room_left(row.tenant).await?;
            let written = engine.images_handle().workers().write_file(base, root.as_fd(), &path, most, body).await;
            engine.measured().forget(row.tenant);
            written.map_err(|e| nothing(e, name, &path))
        })
        .await
    }

    /// Unpacks a tar (plain or compressed) into a folder.
    ///
    /// # Errors
    /// `NotFound` without volume or folder, `Invalid` for a bad archive, `Exhausted` beyond the tenant's quota.
    pub async fn unpack_into_volume(&self, who: &Subject, name: &str, path: &str, body: ArchiveStream) -> Result<()> {
        let (row, root) = self.volume_root(who, name)?;
        let path = clean(path)?;
        let (engine, base) = (self.clone(), self.block(row.tenant)?.base);
        self.audited(who, Action::VolumeFilePut, &object(&row, &path), async {
            let options = UnpackOptions { most: Some(engine.room_left(row.tenant).await?), ..UnpackOptions::default() };
            let done = engine.images_handle().workers().unpack(base, root.as_fd(), &path, options, body).await;
            engine.measured().forget(row.tenant);
            done.map_err(|e| nothing(e, name, &path))
        })
        .await
    }

    /// Makes a folder in one that is there.
    ///
    /// # Errors
    /// `NotFound` without volume or folder, `Invalid` when something has that name.
    pub async fn make_volume_folder(&self, who: &Subject, name: &str, path: &str) -> Result<()> {
        let (row, root) = self.volume_root(who, name)?;
        let path = clean(path)?;
        let (engine, base) = (self.clone(), self.block(row.tenant)?.base);
        self.audited(who, Action::VolumeFilePut, &object(&row, &path), async {
            engine.room_on_disk(row.tenant).await?;
            let job = BrowseJob::Folder { path: path.clone() };
            engine.images_handle().workers().browse(base, root.as_fd(), job).await.map_err(|e| nothing(e, name, &path))
        })
        .await
    }

    /// Removes a file, a link, or a folder with all that is in it.
    ///
    /// # Errors
    /// `NotFound` when nothing is there, `Invalid` for the volume itself.
    pub async fn remove_volume_file(&self, who: &Subject, name: &str, path: &str) -> Result<()> {
        let (row, root) = self.volume_root(who, name)?;
        let path = clean(path)?;
        let (engine, base) = (self.clone(), self.block(row.tenant)?.base);
        self.audited(who, Action::VolumeFileRemove, &object(&row, &path), async {
            let job = BrowseJob::Remove { path: path.clone() };
            let done = engine.images_handle().workers().browse(base, root.as_fd(), job).await.map_err(|e| nothing(e, name, &path));
            engine.measured().forget(row.tenant);
            done
        })
        .await
    }

    /// One of the subject's volumes, and its folder.
    fn volume_root(&self, who: &Subject, name: &str) -> Result<(VolumeRow, OwnedFd)> {
        let row = self.volumes_handle().get(who.tenant, name).ok_or_else(|| super::facade::absent(name))?;
        match backing(&row.options)? {
            Backing::Folder => {}
            Backing::Memory => return Err(Error::unsupported("looking into a tmpfs volume, which is only there in a running container")),
            Backing::Bind { .. } => return Err(Error::unsupported("looking into a volume that is a folder of the host")),
            Backing::FileSystem { .. } => return Err(Error::unsupported("looking into a volume on another file system")),
        }
        let folder = self.volumes_handle().data_folder(&row);
        let root = std::fs::File::open(&folder).doing(|| format!("opening volume {name}"))?;
        Ok((row, root.into()))
    }
}

fn object(row: &VolumeRow, path: &str) -> String {
    format!("{}:/{path}", row.name)
}

/// A path without slashes at its ends, without `.` and empty parts. `..` is refused: addresses have it worked out by then.
fn clean(path: &str) -> Result<String> {
    if path.contains('\0') {
        return Err(Error::invalid("a path cannot have a NUL byte"));
    }
    let parts: Vec<&str> = path.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(Error::invalid(format!("the path {path:?} has `..` in it")));
    }
    Ok(parts.join("/"))
}

fn nothing(error: Error, name: &str, path: &str) -> Error {
    if error.is_not_found() { Error::new(crate::Kind::NotFound, format!("there is no {path:?} in volume {name}")) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_clean() {
        for (path, expected) in [("", ""), ("/", ""), ("/a//b/./c/", "a/b/c"), ("a b", "a b")] {
            assert_eq!(clean(path).unwrap(), expected, "{path}");
        }
        for path in ["..", "/../etc", "a/../b", "a/..", "a\0b"] {
            assert!(clean(path).is_err(), "{path:?}");
        }
    }
}
