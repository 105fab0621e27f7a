//! Images made here: commit, build step, import.

use super::config::{ConfigFile, Platform};
use super::content::Ingest;
use super::reference::Reference;
use super::store::{Images, Inner, NewImage, stream};
use crate::container::request::ArchiveStream;
use crate::image::{History, ImageConfig};
use crate::inventory::images as rows;
use crate::progress::{Progress, ProgressStream};
use crate::{Digest, Doing, Error, Result, TenantId};
use bytes::BytesMut;
use std::fs::File;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

impl Images {
    /// Makes an image (commit, build step). Returns its id.
    ///
    /// # Errors
    /// `NotFound` if the base is not the tenant's, `Invalid` for a bad tar or name.
    pub async fn create_from(&self, tenant: TenantId, new: NewImage) -> Result<Digest> {
        create(&self.inner, tenant, new).await
    }

    /// Makes an image of one layer from a tar, plain or compressed; the last status is its id.
    #[allow(clippy::too_many_arguments)]
    pub async fn import(
        &self,
        tenant: TenantId,
        body: ArchiveStream,
        name: &str,
        tag: &str,
        message: &str,
        config: ImageConfig,
        platform: Option<String>,
    ) -> Result<ProgressStream> {
        let mut names = Vec::new();
        if !name.is_empty() {
            let reference: Reference = name.parse()?;
            let reference = if tag.is_empty() { reference.or_latest() } else { reference.with_tag(tag)? };
            if reference.digest().is_some() {
                return Err(Error::invalid("cannot import digest reference"));
            }
            names.push(reference.to_string());
        }
        if let Some(platform) = &platform {
            platform.parse::<Platform>()?;
        }
        let new = NewImage {
            layer: Some(body),
            config,
            comment: if message.is_empty() { "Imported from -".to_owned() } else { message.to_owned() },
            platform: platform.filter(|p| !p.is_empty()),
            names,
            ..NewImage::default()
        };
        let inner = self.inner.clone();
        Ok(stream(move |progress| async move {
            let id = create(&inner, tenant, new).await?;
            super::pull::tell(&progress, Progress::status(id.to_string())).await;
            Ok(())
        }))
    }
}

async fn create(inner: &Arc<Inner>, tenant: TenantId, new: NewImage) -> Result<Digest> {
    let names: Vec<Reference> = new.names.iter().map(|n| Ok(n.parse::<Reference>()?.or_latest())).collect::<Result<_>>()?;
    let _busy = inner.busy.read().await;
    let images = inner.images(tenant).await?;
    let base = match &new.base {
        None => None,
        Some(id) => Some(images.iter().find(|i| i.row.id == *id).ok_or_else(|| Error::no_such("image", &id.to_string()))?),
    };
    let (mut file, mut layers) = match base {
        Some(base) => (base.file.clone(), base.row.layers.iter().map(|l| (l.layer, l.blob)).collect()),
        None => (ConfigFile::default(), Vec::new()),
    };
    let platform = match &new.platform {
        Some(platform) => Some(platform.parse::<Platform>()?),
        None if base.is_none() => Some(Platform::host()),
        None => None,
    };
    if let Some(Platform { os, architecture, variant }) = platform {
        (file.os, file.architecture, file.variant) = (os, architecture, variant);
    }
    let empty_layer = new.layer.is_none();
    if let Some(body) = new.layer {
        if layers.len() >= super::config::LAYERS_MAX {
            return Err(Error::invalid(format!("max depth exceeded: an image can have {} layers", super::config::LAYERS_MAX)));
        }
        let (row, blob, diff_id) = add_layer(inner, tenant, body).await?;
        layers.push((row, blob));
        file.diff_ids.push(diff_id);
    }
    let created = new.created.unwrap_or_else(jiff::Timestamp::now);
    file.created = Some(created);
    file.author.clone_from(&new.author);
    file.comment.clone_from(&new.comment);
    file.config = new.config;
    file.history.push(History {
        created: Some(created),
        created_by: new.created_by,
        author: new.author,
        comment: new.comment,
        empty_layer,
        size: 0,
    });
    let config = file.to_json();
    let id = Digest::of(config.as_bytes());
    let mut tx = inner.inventory.begin().await?;
    rows::put_image(&mut tx, tenant, &rows::NewImageRow { id, config: &config, manifest: None, parent: new.base, layers: &layers }).await?;
    for name in &names {
        rows::put_name(&mut tx, tenant, &name.repository(), name.tag().unwrap_or("latest"), &id).await?;
    }
    tx.commit().await.doing(|| "writing an image to the database".to_owned())?;
    inner.changed(tenant);
    Ok(id)
}

/// Stores a tar from a stream, unpacked and as it came: (row, blob, diff id).
pub(super) async fn add_layer(inner: &Arc<Inner>, tenant: TenantId, mut body: ArchiveStream) -> Result<(i64, Digest, Digest)> {
    let path = inner.content.unnamed();
    let outcome = async {
        let ingest = Ingest::open(&path, false, u64::MAX)?;
        let file = File::open(&path).doing(|| format!("opening {}", path.display()))?;
        let unpacking = inner.unpack(tenant.0, file, ingest.growth(), Arc::default());
        let storing = async {
            let mut ingest = ingest;
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(128 * 1024);
                let n =
                    body.read_buf(&mut buffer).await.map_err(|e| Error::invalid(format!("reading the archive failed: {e}")).because(e))?;
                if n == 0 {
                    break;
                }
                ingest.write(buffer.split().freeze()).await?;
            }
            ingest.finish(|_, _| Ok(())).await
        };
        let (unpacked, (blob, size)) = tokio::try_join!(unpacking, storing)?;
        let diff_id = unpacked.report.diff_id;
        let row = inner.commit_layer(tenant.0, unpacked, &path, &blob, size).await?;
        Ok((row, blob, diff_id))
    }
    .await;
    if outcome.is_err() {
        super::layer::discard(path);
    }
    outcome
}
