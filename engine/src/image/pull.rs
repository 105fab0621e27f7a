//! Pulling: manifest, configuration, then layers three at a time, each unpacked by a worker while it is still coming in.

use super::config::{ConfigFile, Platform};
use super::content::{Growth, Ingest};
use super::layer::{PUBLIC, Unpacked};
use super::manifest::{Descriptor, Document, Manifest, choose};
use super::reference::Reference;
use super::registry::{RawManifest, Registry};
use super::store::{Images, Inner};
use crate::image::PullRequest;
use crate::inventory::images as rows;
use crate::progress::{Progress, ProgressSender, ProgressStream};
use crate::{Digest, Doing, Error, Kind, Result, TenantId};
use futures_util::{StreamExt, TryStreamExt};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Layers at once, as dockerd.
const PARALLEL: usize = 3;
/// Between two progress lines of one layer.
const TELL: Duration = Duration::from_millis(100);
/// An index in an index in an index is nobody's honest image.
const INDEX_DEPTH: usize = 2;

/// What a tag or digest stands for, ready to fetch.
struct Resolved {
    /// What the reference itself points to: the index where there is one.
    digest: Digest,
    raw: RawManifest,
    manifest: Manifest,
    /// Whoever may see what comes of it.
    scope: i64,
    registry: Registry,
}

impl Images {
    /// Pulls from a registry. What fails before the first byte is returned, later failures are in the stream.
    pub async fn pull(&self, tenant: TenantId, request: PullRequest) -> Result<ProgressStream> {
        let mut reference: Reference = request.image.parse()?;
        if !request.tag.is_empty() {
            reference = match request.tag.parse::<Digest>() {
                Ok(digest) => reference.with_digest(digest),
                Err(_) if request.tag.contains(':') => return Err(Error::invalid("invalid reference format")),
                Err(_) => reference.with_tag(&request.tag)?,
            };
        }
        let platform = match request.platform.as_deref() {
            None | Some("") => Platform::host(),
            Some(text) => text.parse()?,
        };
        let inner = self.inner.clone();
        let all = reference.tag().is_none() && reference.digest().is_none();
        let first = if all { None } else { Some(resolve(&inner, tenant, &reference, &request, &platform).await?) };
        let tags = if all { all_tags(&inner, &reference, &request).await? } else { Vec::new() };
        Ok(super::store::stream(move |progress| async move {
            // Nothing is collected while layers are here that no image names yet.
            let _busy = inner.busy.read().await;
            match first {
                Some(resolved) => fetch(&inner, tenant, &reference, resolved, &progress).await,
                None => {
                    for tag in tags {
                        let reference = reference.with_tag(&tag)?;
                        let resolved = resolve(&inner, tenant, &reference, &request, &platform).await?;
                        fetch(&inner, tenant, &reference, resolved, &progress).await?;
                    }
                    Ok(())
                }
            }
        }))
    }
}

/// What a registry says of a name, without pulling it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Of the manifest or index.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// For what it is there.
    pub platforms: Vec<Platform>,
}

impl Images {
    /// Asks the registry what a name stands for (`docker manifest inspect`, digests of a compose file).
    pub async fn distribution(&self, name: &str, auth: Option<&crate::image::RegistryAuth>) -> Result<Distribution> {
        let reference = name.parse::<Reference>()?.or_latest();
        let wanted = reference.digest().map_or_else(|| reference.tag().unwrap_or("latest").to_owned(), |d| d.to_string());
        let mut failure = Error::new(Kind::Unavailable, "no registry to ask");
        for endpoint in self.inner.transport.endpoints(reference.domain()).await? {
            let registry = Registry::new(self.inner.transport.clone(), endpoint, reference.clone(), auth, "pull");
            let raw = match registry.manifest(&wanted).await {
                Ok(raw) => raw,
                Err(e) => {
                    failure = e;
                    continue;
                }
            };
            let (media_type, platforms) = match Document::parse(&raw.bytes, raw.content_type.as_deref())? {
                Document::Index(entries) => {
                    let platform = |p: &super::manifest::DescriptorPlatform| Platform {
                        os: p.os.clone(),
                        architecture: p.architecture.clone(),
                        variant: p.variant.clone(),
                    };
                    let kind = raw.content_type.unwrap_or_else(|| super::manifest::OCI_INDEX.to_owned());
                    (kind, entries.iter().filter_map(|e| e.platform.as_ref().map(platform)).collect())
                }
                Document::Manifest(manifest) => {
                    let config = ConfigFile::parse(&registry.small_blob(&manifest.config.digest, manifest.config.size).await?)?;
                    let platform = Platform { os: config.os, architecture: config.architecture, variant: config.variant };
                    (manifest.media_type, vec![platform])
                }
            };
            return Ok(Distribution { media_type, digest: raw.digest, size: raw.bytes.len() as u64, platforms });
        }
        Err(failure)
    }
}

async fn all_tags(inner: &Arc<Inner>, reference: &Reference, request: &PullRequest) -> Result<Vec<String>> {
    let mut failure = None;
    for endpoint in inner.transport.endpoints(reference.domain()).await? {
        let registry = Registry::new(inner.transport.clone(), endpoint, reference.clone(), request.auth.as_ref(), "pull");
        match registry.tags().await {
            Ok(tags) => return Ok(tags),
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(Kind::Unavailable, "no registry to ask")))
}

/// Finds the manifest: at the mirrors first, at the registry last, whose word counts if all fail.
async fn resolve(
    inner: &Arc<Inner>,
    tenant: TenantId,
    reference: &Reference,
    request: &PullRequest,
    platform: &Platform,
) -> Result<Resolved> {
    let mut failure = None;
    for endpoint in inner.transport.endpoints(reference.domain()).await? {
        let registry = Registry::new(inner.transport.clone(), endpoint, reference.clone(), request.auth.as_ref(), "pull");
        match resolve_at(registry, tenant, reference, platform).await {
            Ok(resolved) => return Ok(resolved),
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(Kind::Unavailable, "no registry to ask")))
}

async fn resolve_at(registry: Registry, tenant: TenantId, reference: &Reference, platform: &Platform) -> Result<Resolved> {
    let wanted = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => "latest".to_owned(),
    };
    let mut raw = registry.manifest(&wanted).await?;
    let digest = raw.digest;
    for _depth in 0..=INDEX_DEPTH {
        match Document::parse(&raw.bytes, raw.content_type.as_deref())? {
            Document::Manifest(manifest) => {
                let scope = if registry.is_anonymous() { PUBLIC } else { tenant.0 };
                return Ok(Resolved { digest, raw, manifest, scope, registry });
            }
            Document::Index(entries) => {
                let entry = choose(&entries, platform).map_err(|e| {
                    Error::new(e.kind(), format!("no matching manifest for {platform} in the manifest list entries of {reference}"))
                        .because(e)
                })?;
                raw = registry.manifest(&entry.digest.to_string()).await?;
            }
        }
    }
    Err(Error::invalid("invalid manifest: indexes within indexes"))
}

async fn fetch(inner: &Arc<Inner>, tenant: TenantId, reference: &Reference, resolved: Resolved, progress: &ProgressSender) -> Result<()> {
    let Resolved { digest, raw, manifest, scope, registry } = resolved;
    let tag = reference.tag().filter(|_| reference.digest().is_none());
    tell(
        progress,
        Progress::part(tag.map_or_else(|| digest.to_string(), str::to_owned), format!("Pulling from {}", shown_path(reference))),
    )
    .await;
    let before = inner.find_name(tenant, reference).await?;
    // The id is the digest of the configuration, so an image that is here whole needs nothing more.
    let known = inner.images(tenant).await?.iter().any(|i| i.row.id == manifest.config.digest && !i.row.hidden);
    if !known {
        let bytes = registry.small_blob(&manifest.config.digest, manifest.config.size).await?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|e| Error::invalid("invalid image configuration: not UTF-8").because(e))?;
        let config = ConfigFile::parse(text.as_bytes())?;
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(Error::invalid(format!(
                "invalid image: {} layers in the manifest, {} in the configuration",
                manifest.layers.len(),
                config.diff_ids.len()
            )));
        }
        for layer in &manifest.layers {
            tell(progress, Progress::part(short(&layer.digest), "Pulling fs layer")).await;
        }
        let work: Vec<_> = manifest
            .layers
            .iter()
            .zip(&config.diff_ids)
            .map(|(layer, diff_id)| fetch_layer(inner, tenant, scope, &registry, layer, diff_id, progress))
            .collect();
        let rows: Vec<i64> = futures_util::stream::iter(work).buffered(PARALLEL).try_collect().await?;
        let layers: Vec<(i64, Digest)> = rows.into_iter().zip(manifest.layers.iter().map(|l| l.digest)).collect();
        let raw = std::str::from_utf8(&raw.bytes).map_err(|e| Error::invalid("invalid manifest: not UTF-8").because(e))?;
        let image = rows::NewImageRow { id: manifest.config.digest, config: &text, manifest: Some(raw), parent: None, layers: &layers };
        let mut tx = inner.inventory.begin().await?;
        rows::put_image(&mut tx, tenant, &image).await?;
        name(&mut tx, tenant, reference, &digest, &manifest.config.digest).await?;
        tx.commit().await.doing(|| "writing an image to the database".to_owned())?;
    } else {
        let mut tx = inner.inventory.begin().await?;
        name(&mut tx, tenant, reference, &digest, &manifest.config.digest).await?;
        tx.commit().await.doing(|| "writing an image to the database".to_owned())?;
        for layer in &manifest.layers {
            tell(progress, Progress::part(short(&layer.digest), "Already exists")).await;
        }
    }
    inner.changed(tenant);
    tell(progress, Progress::status(format!("Digest: {digest}"))).await;
    let news = if before == Some(manifest.config.digest) { "Image is up to date" } else { "Downloaded newer image" };
    tell(progress, Progress::status(format!("Status: {news} for {}", shown(reference)))).await;
    Ok(())
}

async fn name(tx: &mut crate::inventory::Tx, tenant: TenantId, reference: &Reference, digest: &Digest, image: &Digest) -> Result<()> {
    rows::put_digest(tx, tenant, &reference.repository(), digest, image).await?;
    // A digest in the reference pins the image; the tag beside it is not moved (as dockerd).
    if reference.digest().is_none() {
        rows::put_name(tx, tenant, &reference.repository(), reference.tag().unwrap_or("latest"), image).await?;
    }
    Ok(())
}

/// Makes one layer present and returns its row.
async fn fetch_layer(
    inner: &Arc<Inner>,
    tenant: TenantId,
    scope: i64,
    registry: &Registry,
    layer: &Descriptor,
    diff_id: &Digest,
    progress: &ProgressSender,
) -> Result<i64> {
    let id = short(&layer.digest);
    tell(progress, Progress::part(&id, "Waiting")).await;
    let _alone = inner.exclusive(format!("{scope}/{}", layer.digest)).await;
    let blob = inner.inventory.visible_blob(tenant, &layer.digest).await?;
    if let Some((found, _)) = &blob {
        Inner::check_diff_id(found, diff_id)?;
        if let Some((row, _)) = inner.inventory.visible_layer(tenant, diff_id).await? {
            tell(progress, Progress::part(&id, "Already exists")).await;
            return Ok(row);
        }
    }
    let sent = Arc::new(AtomicU64::new(0));
    let whole = inner.content.blob(&layer.digest);
    let (unpacked, packed) = if let Some((_, size)) = blob {
        let file = File::open(&whole).doing(|| format!("opening {}", whole.display()))?;
        (inner.unpack(scope, file, Growth::whole(size), sent).await?, whole)
    } else {
        let partial = inner.content.partial(scope, &layer.digest);
        let mut outcome = Err(Error::new(Kind::Internal, "no attempt"));
        for resume in [true, false, false] {
            let resumed = resume && partial.exists();
            outcome = download(inner, scope, registry, layer, &partial, resume, sent.clone(), progress).await;
            match &outcome {
                // What an earlier attempt left may be what is wrong; start over once.
                Err(e) if matches!(e.kind(), Kind::Invalid | Kind::Conflict) => {
                    std::fs::remove_file(&partial).or_else(not_there).doing(|| format!("removing {}", partial.display()))?;
                    if resumed || e.kind() == Kind::Conflict {
                        continue;
                    }
                    break;
                }
                _ => break,
            }
        }
        (outcome?, partial)
    };
    if let Err(e) = Inner::check_diff_id(&unpacked.report.diff_id, diff_id) {
        if packed != inner.content.blob(&layer.digest) {
            std::fs::remove_file(&packed).or_else(not_there).doing(|| format!("removing {}", packed.display()))?;
        }
        return Err(e);
    }
    let row = inner.commit_layer(scope, unpacked, &packed, &layer.digest, layer.size).await?;
    tell(progress, Progress::part(&id, "Pull complete")).await;
    Ok(row)
}

fn not_there(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

/// Downloads and unpacks at once; the layer counts only if both are right.
#[allow(clippy::too_many_arguments)]
async fn download(
    inner: &Arc<Inner>,
    scope: i64,
    registry: &Registry,
    layer: &Descriptor,
    partial: &std::path::Path,
    resume: bool,
    sent: Arc<AtomicU64>,
    progress: &ProgressSender,
) -> Result<Unpacked> {
    let id = short(&layer.digest);
    let ingest = Ingest::open(partial, resume, layer.size)?;
    let file = File::open(partial).doing(|| format!("opening {}", partial.display()))?;
    let unpacking = inner.unpack(scope, file, ingest.growth(), sent.clone());
    let downloading = async {
        let mut ingest = ingest;
        let mut stream = std::pin::pin!(registry.blob_stream(&layer.digest, ingest.taken, layer.size));
        let mut told: Option<Instant> = None;
        while let Some(chunk) = stream.next().await {
            let Some(chunk) = chunk? else {
                // It knows no ranges: from the start, which the worker behind us cannot follow.
                return Err(Error::conflict(format!("the registry cannot continue blob {}", layer.digest)));
            };
            ingest.write(chunk).await?;
            if told.is_none_or(|t| t.elapsed() >= TELL) {
                told = Some(Instant::now());
                tell_bytes(progress, &id, "Downloading", ingest.taken, layer.size).await;
            }
        }
        tell(progress, Progress::part(&id, "Verifying Checksum")).await;
        ingest
            .finish(|digest, size| {
                if *digest == layer.digest && size == layer.size {
                    return Ok(());
                }
                Err(Error::invalid(format!("blob {} failed verification: {size} bytes of {digest} came", layer.digest)))
            })
            .await?;
        tell(progress, Progress::part(&id, "Download complete")).await;
        Ok(())
    };
    let (mut unpacking, mut downloading) = (std::pin::pin!(unpacking), std::pin::pin!(downloading));
    let early = tokio::select! {
        unpacked = &mut unpacking => Some(unpacked),
        downloaded = &mut downloading => {
            // On failure the worker dies with its future.
            downloaded?;
            None
        }
    };
    match early {
        // A worker that fails before the digest is known: the digest's failure says more, if there is one.
        Some(unpacked) => {
            downloading.await?;
            unpacked
        }
        None => loop {
            tokio::select! {
                unpacked = &mut unpacking => break unpacked,
                () = tokio::time::sleep(TELL) => tell_bytes(progress, &id, "Extracting", sent.load(Ordering::Relaxed), layer.size).await,
            }
        },
    }
}

async fn tell_bytes(progress: &ProgressSender, id: &str, status: &str, done: u64, total: u64) {
    tell(progress, Progress::Status { id: Some(id.to_owned()), status: status.to_owned(), bytes: Some((done, Some(total))) }).await;
}

/// Tells those who wait; if they have gone, the work is about to be dropped.
pub async fn tell(progress: &ProgressSender, what: Progress) {
    let _ = progress.send(what).await;
}

/// A layer's name in progress lines.
pub fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

/// `library/alpine`, or `host/path` elsewhere.
fn shown_path(reference: &Reference) -> String {
    reference.path().to_owned()
}

fn shown(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.familiar_name()),
        None => format!("{}:{}", reference.familiar_name(), reference.tag().unwrap_or("latest")),
    }
}
