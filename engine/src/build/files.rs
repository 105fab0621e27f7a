//! The files of an image as people get them without a container: a build's output to a folder or a tar, and single files of
//! what was built.

use super::builds::make_folder;
use super::work::Folder;
use crate::container::request::{ArchiveStream, PathStat};
use crate::engine::Engine;
use crate::policy::Action;
use crate::sys::inside;
use crate::worker::PackOptions;
use crate::{Error, Result, Subject};
use std::os::fd::{AsFd, OwnedFd};

/// An image's file tree, there until dropped.
pub struct ImageTree {
    root: OwnedFd,
    base: u32,
    folder: Folder,
}

impl Engine {
    /// The files of an image.
    ///
    /// # Errors
    /// `NotFound` for an absent image.
    pub async fn image_tree(&self, who: &Subject, image: &str) -> Result<ImageTree> {
        self.judge(who, Action::ImageRead).await?;
        let images = self.images_handle();
        let image = images.resolve(who.tenant, image).await?;
        let layers = images.layers_to_build_on(who.tenant, &image.id).await?.into_iter().map(|l| l.path).collect();
        let base = self.block(who.tenant)?.base;
        let folder = Folder::new(self)?;
        for part in ["upper", "work"] {
            make_folder(&folder.path.join(part), base, 0o755)?;
        }
        let namespace = self.block_namespace(who.tenant).await?;
        let root = self.overlay(layers, folder.path.clone(), Some(namespace))?;
        Ok(ImageTree { root, base, folder })
    }
}

impl ImageTree {
    /// What lies at a path (`/`: everything), as a tar, ids as the image has them, names in order.
    ///
    /// # Errors
    /// `NotFound` when nothing lies there.
    pub async fn tar(&self, path: &str) -> Result<(PathStat, ArchiveStream)> {
        let options =
            if path == "/" { PackOptions { name: Some(String::new()), ..PackOptions::default() } } else { PackOptions::default() };
        self.folder.engine.images_handle().workers().pack(self.base, self.root.as_fd(), path, options).await
    }

    /// What lies at a path.
    ///
    /// # Errors
    /// `NotFound` when nothing does.
    pub async fn stat(&self, path: &str) -> Result<PathStat> {
        self.folder.engine.images_handle().workers().stat(self.base, self.root.as_fd(), path).await
    }

    /// A file of it, for reading: a regular one, reached without links.
    ///
    /// # Errors
    /// `Invalid` when it is none.
    pub fn open(&self, path: &str) -> Result<std::fs::File> {
        let wrong = |e: std::io::Error| Error::invalid(format!("reading {path} of an image: {e}")).because(e);
        inside::open_file_beneath(self.root.as_fd(), path.trim_start_matches('/')).map_err(wrong)
    }
}
