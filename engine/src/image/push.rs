//! Pushing: packed layers the registry does not have (or can mount from another repository), configuration, manifest.

use super::manifest::Document;
use super::pull::{short, tell};
use super::reference::Reference;
use super::registry::Registry;
use super::save::compression;
use super::store::{Images, Inner, stream};
use crate::image::RegistryAuth;
use crate::inventory::images as rows;
use crate::inventory::images::LayerRow;
use crate::progress::{Progress, ProgressSender, ProgressStream};
use crate::{Digest, Doing, Error, Kind, Result, TenantId};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// Layers at once, as dockerd.
const PARALLEL: usize = 5;

impl Images {
    /// Pushes to a registry. `tag` empty: all tags.
    ///
    /// # Errors
    /// `NotFound` with Docker's text if the image has no such name.
    pub async fn push(&self, tenant: TenantId, name: &str, tag: &str, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        let reference: Reference = name.parse()?;
        if reference.digest().is_some() {
            return Err(Error::invalid("cannot push a digest reference"));
        }
        let wanted = if tag.is_empty() {
            reference.tag().map(str::to_owned)
        } else {
            Some(reference.with_tag(tag)?.tag().unwrap_or(tag).to_owned())
        };
        let repository = reference.repository();
        let images = self.inner.images(tenant).await?;
        let mut tags: Vec<(String, Digest)> = images
            .iter()
            .filter(|i| !i.row.hidden)
            .flat_map(|i| i.row.names.iter().filter(|(r, _)| *r == repository).map(|(_, t)| (t.clone(), i.row.id)))
            .collect();
        let shown = reference.familiar_name();
        if tags.is_empty() {
            return Err(Error::new(Kind::NotFound, format!("An image does not exist locally with the tag: {shown}")));
        }
        if let Some(wanted) = wanted {
            tags.retain(|(t, _)| *t == wanted);
            if tags.is_empty() {
                return Err(Error::new(Kind::NotFound, format!("tag does not exist: {shown}:{wanted}")));
            }
        }
        tags.sort();
        let endpoint = self.inner.transport.endpoint(reference.domain()).await?;
        let registry = Registry::new(self.inner.transport.clone(), endpoint, reference.clone(), auth.as_ref(), "pull,push");
        let inner = self.inner.clone();
        Ok(stream(move |progress| async move {
            let _busy = inner.busy.read().await;
            tell(&progress, Progress::status(format!("The push refers to repository [{}]", reference.repository()))).await;
            for (tag, image) in tags {
                push(&inner, tenant, &reference, &tag, &image, &registry, &progress).await?;
            }
            Ok(())
        }))
    }
}

async fn push(
    inner: &Arc<Inner>,
    tenant: TenantId,
    reference: &Reference,
    tag: &str,
    image: &Digest,
    registry: &Registry,
    progress: &ProgressSender,
) -> Result<()> {
    let absent = || Error::no_such("image", &format!("{}:{tag}", reference.familiar_name()));
    let images = inner.images(tenant).await?;
    let known = images.iter().find(|i| i.row.id == *image).ok_or_else(absent)?;
    for layer in &known.row.layers {
        tell(progress, Progress::part(short(&layer.diff_id), "Preparing")).await;
    }
    for layer in &known.row.layers {
        compress(inner, tenant, layer).await?;
    }
    let images = inner.images(tenant).await?;
    let known = images.iter().find(|i| i.row.id == *image).ok_or_else(absent)?;
    let repository = reference.repository();
    let domain = format!("{}/", reference.domain());
    // Another repository of this registry that has the layer, by what was pulled or pushed before.
    let source = |blob: &Digest| {
        images
            .iter()
            .filter(|i| i.row.layers.iter().any(|l| l.blob == *blob))
            .flat_map(|i| &i.row.digests)
            .filter(|(r, _)| *r != repository)
            .find_map(|(r, _)| r.strip_prefix(&domain).map(str::to_owned))
    };
    let work: Vec<_> = known.row.layers.iter().map(|l| push_layer(inner, registry, l, source(&l.blob), progress)).collect();
    futures_util::stream::iter(work).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    let (manifest, media_type) = inner.manifest_of(known)?;
    let size = known.row.config.len() as u64;
    if !registry.has_blob(image).await? {
        let config = Bytes::from(known.row.config.clone());
        registry.put_blob(image, size, None, || Ok(futures_util::stream::iter([Ok(config.clone())]))).await?;
    }
    if let Document::Manifest(m) = Document::parse(manifest.as_bytes(), None)?
        && m.config.digest != *image
    {
        return Err(Error::new(Kind::Internal, "the image's manifest is of another image"));
    }
    registry.put_manifest(tag, &media_type, Bytes::from(manifest.clone())).await?;
    let digest = Digest::of(manifest.as_bytes());
    let mut tx = inner.inventory.begin().await?;
    rows::put_manifest(&mut tx, tenant, image, &manifest).await?;
    rows::put_digest(&mut tx, tenant, &repository, &digest, image).await?;
    tx.commit().await.doing(|| "writing an image to the database".to_owned())?;
    inner.changed(tenant);
    tell(progress, Progress::status(format!("{tag}: digest: {digest} size: {}", manifest.len()))).await;
    tell(progress, Progress::Aux(serde_json::json!({"Tag": tag, "Digest": digest, "Size": manifest.len()}))).await;
    Ok(())
}

async fn push_layer(
    inner: &Arc<Inner>,
    registry: &Registry,
    layer: &LayerRow,
    source: Option<String>,
    progress: &ProgressSender,
) -> Result<()> {
    let id = short(&layer.diff_id);
    if registry.has_blob(&layer.blob).await? {
        tell(progress, Progress::part(id, "Layer already exists")).await;
        return Ok(());
    }
    let path = inner.content.blob(&layer.blob);
    let size = layer.blob_size;
    let open = || {
        let file = File::open(&path).doing(|| format!("opening {}", path.display()))?;
        let (progress, id) = (progress.clone(), id.clone());
        let mut done = 0u64;
        let stream = tokio_util::io::ReaderStream::with_capacity(tokio::fs::File::from_std(file), 256 * 1024);
        Ok(stream.inspect_ok(move |chunk| {
            done += chunk.len() as u64;
            // The upload does not wait for those who watch: a line may be left out.
            let _ =
                progress.try_send(Progress::Status { id: Some(id.clone()), status: "Pushing".to_owned(), bytes: Some((done, Some(size))) });
        }))
    };
    let mounted = registry.put_blob(&layer.blob, size, source.as_deref(), open).await?;
    let status = match source {
        Some(source) if mounted => format!("Mounted from {source}"),
        _ => "Pushed".to_owned(),
    };
    tell(progress, Progress::part(short(&layer.diff_id), status)).await;
    Ok(())
}

/// A layer that is here plain (loaded, committed) goes out compressed, and stays so.
async fn compress(inner: &Arc<Inner>, tenant: TenantId, layer: &LayerRow) -> Result<()> {
    let from = inner.content.blob(&layer.blob);
    if !compression(&from)?.is_empty() {
        return Ok(());
    }
    let (to, content) = (inner.content.unnamed(), inner.content.clone());
    let (digest, size) = crate::blocking(move || {
        let doing = || "compressing a layer".to_owned();
        let mut source = File::open(&from).doing(doing)?;
        let file = File::options().create_new(true).read(true).write(true).open(&to).doing(doing)?;
        let hashed = Hashed { file, hash: sha2::Digest::new(), size: 0 };
        let mut encoder =
            flate2::write::GzEncoder::new(std::io::BufWriter::with_capacity(128 * 1024, hashed), flate2::Compression::default());
        std::io::copy(&mut source, &mut encoder).doing(doing)?;
        let hashed = encoder.finish().doing(doing)?.into_inner().map_err(std::io::IntoInnerError::into_error).doing(doing)?;
        hashed.file.sync_data().doing(doing)?;
        let digest = Digest::from_bytes(sha2::Digest::finalize(hashed.hash).into());
        content.adopt(&to, &digest)?;
        Ok((digest, hashed.size))
    })
    .await?;
    let mut tx = inner.inventory.begin().await?;
    rows::put_blob(&mut tx, &digest, &layer.diff_id, size, tenant.0).await?;
    rows::replace_blob(&mut tx, tenant, &layer.blob, &digest).await?;
    tx.commit().await.doing(|| "writing a layer to the database".to_owned())?;
    inner.changed(tenant);
    Ok(())
}

struct Hashed {
    file: File,
    hash: sha2::Sha256,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(buf)?;
        sha2::Digest::update(&mut self.hash, &buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
