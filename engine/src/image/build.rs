//! What a build needs of the store: layers one by one, and an image of them at the end.

use super::config::{CachedStep, ConfigFile, Platform};
use super::reference::Reference;
use super::store::Images;
use crate::container::request::ArchiveStream;
use crate::image::{History, ImageConfig};
use crate::inventory::builds::StepLayer;
use crate::inventory::images as rows;
use crate::{Digest, Doing, Error, Result, TenantId};
use std::path::PathBuf;

/// A layer as a build has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BuiltLayer {
    pub row: i64,
    pub blob: Digest,
    pub diff_id: Digest,
    pub size: u64,
    /// Its folder, ids as in the image.
    pub path: PathBuf,
}

/// An image to be made of layers that are here.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub layers: Vec<BuiltLayer>,
    pub config: ImageConfig,
    pub history: Vec<History>,
    pub author: String,
    pub platform: Platform,
    pub created: jiff::Timestamp,
    pub names: Vec<Reference>,
    /// What it carries for later builds.
    pub build_cache: Vec<CachedStep>,
}

impl Images {
    /// As long as the guard lives nothing is collected: a build's layers have no image yet.
    pub(crate) async fn hold(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        self.inner.busy.clone().read_owned().await
    }

    /// An image's layers, lowest first.
    pub(crate) async fn layers_to_build_on(&self, tenant: TenantId, image: &Digest) -> Result<Vec<BuiltLayer>> {
        let images = self.inner.images(tenant).await?;
        let known = images.iter().find(|i| i.row.id == *image).ok_or_else(|| Error::no_such("image", &image.to_string()))?;
        let layer = |l: &rows::LayerRow| BuiltLayer {
            row: l.layer,
            blob: l.blob,
            diff_id: l.diff_id,
            size: l.size,
            path: self.inner.layers.join(&l.folder),
        };
        Ok(known.row.layers.iter().map(layer).collect())
    }

    /// What an image carries for later builds: keys, with the layer if there is one and when it was made.
    pub(crate) async fn build_cache_of(
        &self,
        tenant: TenantId,
        image: &Digest,
    ) -> Result<Vec<(Vec<String>, Option<BuiltLayer>, jiff::Timestamp)>> {
        let layers = self.layers_to_build_on(tenant, image).await?;
        let images = self.inner.images(tenant).await?;
        let steps = images.iter().find(|i| i.row.id == *image).map(|i| i.file.build_cache.clone()).unwrap_or_default();
        let found = |step: CachedStep| {
            let layer = match step.layer {
                None => None,
                Some(diff_id) => Some(layers.iter().find(|l| l.diff_id == diff_id)?.clone()),
            };
            Some((step.keys, layer, jiff::Timestamp::from_millisecond(step.made).ok()?))
        };
        Ok(steps.into_iter().filter_map(found).collect())
    }

    /// Stores a layer from its tar. The caller [`Images::hold`]s.
    pub(crate) async fn add_built_layer(&self, tenant: TenantId, body: ArchiveStream) -> Result<BuiltLayer> {
        let (row, blob, diff_id) = super::create::add_layer(&self.inner, tenant, body).await?;
        let (folder, size) = self.inner.inventory.layer_folder(row).await?;
        Ok(BuiltLayer { row, blob, diff_id, size, path: self.inner.layers.join(folder) })
    }

    /// A remembered layer, if its files are here.
    pub(crate) fn remembered(&self, layer: &StepLayer) -> Option<BuiltLayer> {
        let path = self.inner.layers.join(&layer.folder);
        path.is_dir().then_some(BuiltLayer { row: layer.row, blob: layer.blob, diff_id: layer.diff_id, size: layer.size, path })
    }

    /// Makes an image and gives it its names. Returns whether it was not there before, too.
    ///
    /// # Errors
    /// `Invalid` for more layers than an image may have.
    pub(crate) async fn assemble(&self, tenant: TenantId, new: Assembly) -> Result<(Digest, bool)> {
        if new.layers.len() > super::config::LAYERS_MAX {
            return Err(Error::invalid(format!("max depth exceeded: an image can have {} layers", super::config::LAYERS_MAX)));
        }
        let file = ConfigFile {
            created: Some(new.created),
            author: new.author,
            architecture: new.platform.architecture,
            variant: new.platform.variant,
            os: new.platform.os,
            config: new.config,
            diff_ids: new.layers.iter().map(|l| l.diff_id).collect(),
            history: new.history,
            build_cache: new.build_cache,
            ..ConfigFile::default()
        };
        let config = file.to_json();
        let id = Digest::of(config.as_bytes());
        let layers: Vec<_> = new.layers.iter().map(|l| (l.row, l.blob)).collect();
        let fresh = !self.inner.images(tenant).await?.iter().any(|i| i.row.id == id);
        let mut tx = self.inner.inventory.begin().await?;
        // No parent: an image is not held back from removal by what was built on it.
        rows::put_image(&mut tx, tenant, &rows::NewImageRow { id, config: &config, manifest: None, parent: None, layers: &layers }).await?;
        for name in &new.names {
            rows::put_name(&mut tx, tenant, &name.repository(), name.tag().unwrap_or("latest"), &id).await?;
        }
        tx.commit().await.doing(|| "writing an image to the database".to_owned())?;
        self.inner.changed(tenant);
        Ok((id, fresh))
    }

    /// Frees what nothing names any more; the bytes.
    pub(crate) async fn free_unused(&self) -> Result<u64> {
        self.inner.free().await
    }
}
