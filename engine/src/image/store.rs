//! The handle: what the facade asks of images.

use crate::container::request::ArchiveStream;
use crate::image::{Image, ImageConfig, ImageFilter, PullRequest, RegistryAuth, Removal};
use crate::inventory::Inventory;
use crate::progress::ProgressStream;
use crate::worker::Workers;
use crate::{ContainerId, Digest, Error, Instance, Result, TenantId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What an administrator sets for images.
#[derive(Debug, Clone, Default)]
pub struct ImagesConfig {
    /// `HOST[:PORT]` or CIDR of registries that may be asked over http or with an unverified certificate. Loopback always may.
    pub insecure_registries: Vec<String>,
    /// URLs asked before Docker Hub.
    pub mirrors: Vec<String>,
    /// Hosts that may hand out tokens for registries of another domain.
    pub token_hosts: Vec<String>,
}

/// The images of one data root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub inventory: Inventory,
    pub workers: Workers,
    pub config: ImagesConfig,
    pub data_root: PathBuf,
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
    /// The tar of a new layer (OCI whiteouts), plain; `None`: only the configuration changes.
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
    /// Compressed blobs, bytes.
    pub blobs: u64,
}

#[allow(unused_variables)]
impl Images {
    /// Opens the store under the instance's data root and sweeps what a crash left half made.
    ///
    /// # Errors
    /// When folders cannot be made or an option does not parse.
    pub async fn open(instance: &Instance, inventory: Inventory, config: ImagesConfig) -> Result<Self> {
        let workers = Workers::new();
        Ok(Self { inner: Arc::new(Inner { inventory, workers, config, data_root: instance.data_root().to_owned() }) })
    }

    /// Pulls from a registry. What fails before the first byte is returned, later failures are in the stream.
    pub async fn pull(&self, tenant: TenantId, request: PullRequest) -> Result<ProgressStream> {
        Err(Error::unsupported("pull"))
    }

    /// Pushes to a registry. `tag` empty: all tags.
    pub async fn push(&self, tenant: TenantId, name: &str, tag: &str, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        Err(Error::unsupported("push"))
    }

    /// Loads a docker-archive or OCI layout, plain or compressed.
    pub async fn load(&self, tenant: TenantId, body: ArchiveStream, quiet: bool) -> Result<ProgressStream> {
        Err(Error::unsupported("load"))
    }

    /// Images as one archive that is both docker-archive and OCI layout.
    pub async fn save(&self, tenant: TenantId, names: &[String]) -> Result<ArchiveStream> {
        Err(Error::unsupported("save"))
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
        Err(Error::unsupported("import"))
    }

    /// Makes an image (commit, build step). Returns its id.
    pub async fn create_from(&self, tenant: TenantId, new: NewImage) -> Result<Digest> {
        Err(Error::unsupported("commit"))
    }

    /// The tenant's images, newest first. Unknown filters are refused.
    pub async fn list(&self, tenant: TenantId, filter: &ImageFilter) -> Result<Vec<Image>> {
        Err(Error::unsupported("listing images"))
    }

    /// One image, by name, digest, id or unique id prefix.
    ///
    /// # Errors
    /// `NotFound` with Docker's text: `No such image: x:latest`.
    pub async fn resolve(&self, tenant: TenantId, name: &str) -> Result<Image> {
        Err(Error::unsupported("looking up images"))
    }

    /// The unpacked layers of an image, lowest first.
    pub async fn layers(&self, tenant: TenantId, image: &Digest) -> Result<Vec<LayerPath>> {
        Err(Error::unsupported("layers"))
    }

    /// Gives an image another name.
    pub async fn tag(&self, tenant: TenantId, image: &str, repository: &str, tag: &str) -> Result<()> {
        Err(Error::unsupported("tag"))
    }

    /// Removes a name, and the image with its last one. `uses`: the tenant's containers.
    pub async fn remove(&self, tenant: TenantId, name: &str, force: bool, no_prune: bool, uses: &[ImageUse]) -> Result<Vec<Removal>> {
        Err(Error::unsupported("removing images"))
    }

    /// Removes images that no container uses and, unless `dangling=false` is given, that have no name.
    pub async fn prune(&self, tenant: TenantId, filters: &BTreeMap<String, Vec<String>>, in_use: &[Digest]) -> Result<(Vec<Removal>, u64)> {
        Err(Error::unsupported("pruning images"))
    }

    /// What the tenant's images take on disk.
    pub async fn usage(&self, tenant: TenantId) -> Result<Usage> {
        Err(Error::unsupported("image usage"))
    }

    /// Removes from disk what no image of any tenant needs. `in_use`: images of all tenants' containers, which stay even
    /// if their image was removed by force.
    pub async fn collect(&self, in_use: &[(TenantId, Digest)]) -> Result<u64> {
        Err(Error::unsupported("collecting layers"))
    }

    /// Checks credentials with a registry; the text is shown to the person.
    pub async fn login(&self, auth: &RegistryAuth) -> Result<String> {
        Err(Error::unsupported("login"))
    }

    /// What runs workers, for archives of containers and volumes.
    pub fn workers(&self) -> &Workers {
        &self.inner.workers
    }
}
