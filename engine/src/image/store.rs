//! The handle: what the facade asks of images, and what all of its parts share.

use super::config::ConfigFile;
use super::content::Content;
use super::transport::Transport;
use crate::container::request::ArchiveStream;
use crate::image::reference::{Reference, familiar};
use crate::image::{Image, ImageConfig, RegistryAuth};
use crate::inventory::Inventory;
use crate::inventory::images::{ImageRow, LayerRow};
use crate::progress::{Progress, ProgressSender, ProgressStream};
use crate::worker::Workers;
use crate::{ContainerId, Digest, Doing, Error, Instance, Kind, Result, TenantId};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

/// What an administrator sets for images.
#[derive(Debug, Clone, Default)]
pub struct ImagesConfig {
    /// `HOST[:PORT]` or CIDR of registries that may be asked over http or with an unverified certificate. Loopback always may.
    pub insecure_registries: Vec<String>,
    /// URLs asked before Docker Hub.
    pub mirrors: Vec<String>,
    /// Hosts that may hand out tokens for registries of another domain.
    pub token_hosts: Vec<String>,
    /// First host uid of the block whose namespace unpacks what everybody shares; `None`: the one after the tenants' pool.
    pub layers_base: Option<u32>,
}

/// The images of one data root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    pub(super) inner: Arc<Inner>,
}

/// What all parts share.
#[derive(Debug)]
pub(super) struct Inner {
    pub inventory: Inventory,
    pub workers: Workers,
    pub content: Content,
    pub transport: Transport,
    /// Unpacked layers.
    pub layers: PathBuf,
    /// Whose namespace unpacks public ones.
    pub layers_base: u32,
    /// Work that others wait for.
    pub locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Held for reading by what brings layers that no image names yet, for writing by the collector.
    pub busy: Arc<tokio::sync::RwLock<()>>,
    /// Each tenant's images, until something changes.
    cache: Mutex<HashMap<TenantId, Arc<Vec<Known>>>>,
}

/// An image as kept in memory.
#[derive(Debug)]
pub(super) struct Known {
    pub row: ImageRow,
    pub file: ConfigFile,
}

/// One unpacked layer on disk, ids as in the image (0 is the image's root): mount it idmapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPath {
    /// Digest of the layer's tar.
    pub diff_id: Digest,
    /// The folder with its files.
    pub path: PathBuf,
}

/// That a container uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The image.
    pub image: Digest,
    /// The container.
    pub container: ContainerId,
    /// Whether it runs (or is paused).
    pub running: bool,
}

/// What a commit, build or import makes an image of.
#[derive(Default)]
pub struct NewImage {
    /// The image below; its layers and history come first.
    pub base: Option<Digest>,
    /// The tar of a new layer (OCI whiteouts), plain or compressed; `None`: only the configuration changes.
    pub layer: Option<ArchiveStream>,
    /// What containers inherit.
    pub config: ImageConfig,
    /// Author.
    pub author: String,
    /// Comment, also of the history entry.
    pub comment: String,
    /// What made the step, for the history.
    pub created_by: String,
    /// `os/arch[/variant]`; `None`: the base's, or the host's.
    pub platform: Option<String>,
    /// When; `None`: now.
    pub created: Option<jiff::Timestamp>,
    /// Names it gets.
    pub names: Vec<String>,
}

/// What images take on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Unpacked layers, each counted once, bytes.
    pub layers: u64,
    /// Packed ones, bytes.
    pub blobs: u64,
}

impl Images {
    /// Opens the store under the instance's data root and sweeps what a crash left half made.
    ///
    /// # Errors
    /// When folders cannot be made or an option does not parse.
    pub async fn open(instance: &Instance, inventory: Inventory, config: ImagesConfig) -> Result<Self> {
        let layers = instance.data_root().join("layers");
        std::fs::create_dir_all(&layers).doing(|| format!("making {}", layers.display()))?;
        let inner = Inner {
            content: Content::open(instance.data_root())?,
            transport: Transport::new(&config)?,
            inventory,
            workers: Workers::new(),
            layers,
            layers_base: config.layers_base.unwrap_or(crate::worker::SHARED_BASE),
            locks: Mutex::default(),
            busy: Arc::default(),
            cache: Mutex::default(),
        };
        inner.sweep().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// One image, by name, digest, id or unique id prefix.
    ///
    /// # Errors
    /// `NotFound` with Docker's text: `No such image: x:latest`.
    pub async fn resolve(&self, tenant: TenantId, name: &str) -> Result<Image> {
        let images = self.inner.images(tenant).await?;
        Ok(image_view(find(&images, name)?.0))
    }

    /// Names and digests of an image in familiar form, and the image: what a lookup needs to know cheaply.
    pub async fn id_of(&self, tenant: TenantId, name: &str) -> Result<Digest> {
        let images = self.inner.images(tenant).await?;
        Ok(find(&images, name)?.0.row.id)
    }

    /// The unpacked layers of an image, lowest first. Also of one removed by force while a container uses it.
    pub async fn layers(&self, tenant: TenantId, image: &Digest) -> Result<Vec<LayerPath>> {
        let images = self.inner.images(tenant).await?;
        let known = images.iter().find(|i| i.row.id == *image).ok_or_else(|| Error::no_such("image", &image.to_string()))?;
        let path = |l: &LayerRow| LayerPath { diff_id: l.diff_id, path: self.inner.layers.join(&l.folder) };
        Ok(known.row.layers.iter().map(path).collect())
    }

    /// What the tenant's images take on disk.
    pub async fn usage(&self, tenant: TenantId) -> Result<Usage> {
        let images = self.inner.images(tenant).await?;
        let mut layers = HashMap::new();
        let mut blobs = HashMap::new();
        for l in images.iter().flat_map(|i| &i.row.layers) {
            layers.insert(l.layer, l.size);
            blobs.insert(l.blob, l.blob_size);
        }
        Ok(Usage { layers: layers.values().sum(), blobs: blobs.values().sum() })
    }

    /// Checks credentials with a registry; the text is shown to the person.
    ///
    /// # Errors
    /// `Forbidden` for wrong ones, `Unavailable` if it cannot be reached.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<String> {
        let address = auth.server_address.trim_start_matches("https://").trim_start_matches("http://");
        let host = address.split('/').next().unwrap_or("");
        let domain = if matches!(host, "" | "index.docker.io" | "registry-1.docker.io" | "docker.io") { "docker.io" } else { host };
        let reference: Reference = format!("{domain}/login/login").parse()?;
        let endpoint = self.inner.transport.endpoint(domain).await?;
        let registry = super::registry::Registry::new(self.inner.transport.clone(), endpoint, reference, Some(auth), "pull");
        registry.login().await?;
        Ok("Login Succeeded".to_owned())
    }

    /// What runs workers, for archives of containers and volumes.
    pub fn workers(&self) -> &Workers {
        &self.inner.workers
    }
}

impl Inner {
    /// A tenant's images, hidden ones too.
    pub async fn images(&self, tenant: TenantId) -> Result<Arc<Vec<Known>>> {
        let cached = self.cache.lock().unwrap_or_else(|e| e.into_inner()).get(&tenant).cloned();
        if let Some(images) = cached {
            return Ok(images);
        }
        let rows = self.inventory.images(tenant).await?;
        let mut images = Vec::with_capacity(rows.len());
        for row in rows {
            images.push(Known { file: ConfigFile::parse(row.config.as_bytes())?, row });
        }
        let images = Arc::new(images);
        self.cache.lock().unwrap_or_else(|e| e.into_inner()).insert(tenant, images.clone());
        Ok(images)
    }

    /// Something of this tenant's images has changed; the next look asks the database.
    pub fn changed(&self, tenant: TenantId) {
        self.cache.lock().unwrap_or_else(|e| e.into_inner()).remove(&tenant);
    }

    /// The image a reference's tag or digest points to now.
    pub async fn find_name(&self, tenant: TenantId, reference: &Reference) -> Result<Option<Digest>> {
        let images = self.images(tenant).await?;
        Ok(by_reference(&images, reference).map(|k| k.row.id))
    }
}

fn by_reference<'a>(images: &'a [Known], reference: &Reference) -> Option<&'a Known> {
    let repository = reference.repository();
    let visible = || images.iter().filter(|i| !i.row.hidden);
    match reference.digest() {
        Some(digest) => visible().find(|i| i.row.digests.iter().any(|(r, d)| *r == repository && *d == digest)),
        None => {
            let tag = reference.tag().unwrap_or("latest");
            visible().find(|i| i.row.names.iter().any(|(r, t)| *r == repository && t == tag))
        }
    }
}

/// How an image was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundBy {
    /// By this tag or digest.
    Reference(Reference),
    /// By its id or the beginning of it.
    Id,
}

/// Finds an image as Docker does: a name first, then an id, then the beginning of one.
pub(super) fn find<'a>(images: &'a [Known], name: &str) -> Result<(&'a Known, FoundBy)> {
    let visible = || images.iter().filter(|i| !i.row.hidden);
    let absent = |shown: &str| Error::no_such("image", shown);
    if let Ok(id) = name.parse::<Digest>() {
        return visible().find(|i| i.row.id == id).map(|i| (i, FoundBy::Id)).ok_or_else(|| absent(name));
    }
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let is_hex = !hex.is_empty() && hex.len() <= 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let reference = if is_hex && (hex.len() == 64 || hex.len() < name.len()) { None } else { Some(name.parse::<Reference>()?) };
    if let Some(reference) = &reference
        && let Some(found) = by_reference(images, reference)
    {
        return Ok((found, FoundBy::Reference(reference.clone().or_latest())));
    }
    if is_hex {
        let mut matching = visible().filter(|i| i.row.id.hex().starts_with(hex));
        match (matching.next(), matching.next()) {
            (Some(one), None) => return Ok((one, FoundBy::Id)),
            (Some(_), Some(_)) => return Err(Error::invalid(format!("ambiguous image id prefix: {hex}"))),
            _ => {}
        }
    }
    Err(absent(&reference.map_or_else(|| name.to_owned(), |r| r.or_latest().to_string())))
}

/// As the tenant sees it.
pub(super) fn image_view(known: &Known) -> Image {
    let Known { row, file } = known;
    let mut history = file.history.clone();
    let mut sizes = row.layers.iter().map(|l| l.size);
    for step in history.iter_mut().filter(|s| !s.empty_layer) {
        step.size = sizes.next().unwrap_or(0);
    }
    Image {
        id: row.id,
        tags: row.names.iter().map(|(r, t)| format!("{}:{t}", familiar(r))).collect(),
        digests: row.digests.iter().map(|(r, d)| format!("{}@{d}", familiar(r))).collect(),
        parent: row.parent,
        created: file.created,
        author: file.author.clone(),
        comment: file.comment.clone(),
        architecture: file.architecture.clone(),
        variant: file.variant.clone(),
        os: file.os.clone(),
        config: file.config.clone(),
        diff_ids: file.diff_ids.clone(),
        size: row.layers.iter().map(|l| l.size).sum(),
        last_tagged: row.last_tagged,
        history,
    }
}

/// Runs `work` in a task and gives what it tells as a stream. Dropping the stream drops the work; a panic in it ends only it.
pub(super) fn stream<F>(work: impl FnOnce(ProgressSender) -> F) -> ProgressStream
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    struct Abort(tokio::task::AbortHandle);
    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let task = tokio::spawn(work(sender));
    let abort = Abort(task.abort_handle());
    let told = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let end = futures_util::stream::once(async move {
        // Moved in, so that dropping the stream before its end drops it.
        let _abort = abort;
        match task.await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(Progress::Failed(e)),
            Err(e) => Some(Progress::Failed(Error::new(Kind::Internal, "the work ended unexpectedly").because(e))),
        }
    });
    Box::pin(told.chain(end.filter_map(std::future::ready)))
}
