//! The handle: everything anybody can ask of this host, with who asks as the first argument.
//!
//! Each function is the same short story: resolve names to the subject's own objects, judge, write the audit row, do it,
//! record the outcome. Names, full ids and unique id prefixes are accepted wherever Docker accepts them; somebody else's
//! object is an absent one.

use crate::container::request::*;
use crate::container::{Container, ContainerSpec};
use crate::event::Event;
use crate::image::{Image, ImageFilter, PullRequest, RegistryAuth, Removal};
use crate::network::{Network, NetworkSpec};
use crate::progress::ProgressStream;
use crate::volume::{Volume, VolumeSpec};
use crate::{ContainerId, ExecId, NetworkId, Result, Subject};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Docker's filters: key → values.
pub type Filters = BTreeMap<String, Vec<String>>;

/// The engine of one data root. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<()>);

/// What prune removed.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Names or ids.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub reclaimed: u64,
}

/// Numbers for `info`, the subject's own objects only.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Counts {
    pub containers: usize,
    pub running: usize,
    pub paused: usize,
    pub stopped: usize,
    pub images: usize,
}

#[allow(unused_variables, clippy::todo)]
impl Engine {
    // Containers.

    /// Makes a container. `name` empty: a random one.
    pub async fn create_container(&self, who: &Subject, name: &str, spec: ContainerSpec) -> Result<Created> {
        todo!()
    }
    /// The subject's containers, newest first.
    pub async fn containers(&self, who: &Subject, filter: &ContainerFilter) -> Result<Vec<Container>> {
        todo!()
    }
    /// One container.
    pub async fn container(&self, who: &Subject, name: &str) -> Result<Container> {
        todo!()
    }
    /// Bytes of a container's writable layer, and of that plus its image.
    pub async fn container_size(&self, who: &Subject, name: &str) -> Result<(u64, u64)> {
        todo!()
    }
    /// Starts it.
    pub async fn start(&self, who: &Subject, name: &str) -> Result<Changed> {
        todo!()
    }
    /// Stops it: its stop signal, then SIGKILL.
    pub async fn stop(&self, who: &Subject, name: &str, options: &StopOptions) -> Result<Changed> {
        todo!()
    }
    /// Stops and starts it.
    pub async fn restart(&self, who: &Subject, name: &str, options: &StopOptions) -> Result<()> {
        todo!()
    }
    /// Sends a signal, by name or number; empty: SIGKILL.
    pub async fn kill(&self, who: &Subject, name: &str, signal: &str) -> Result<()> {
        todo!()
    }
    /// Freezes it.
    pub async fn pause(&self, who: &Subject, name: &str) -> Result<()> {
        todo!()
    }
    /// Thaws it.
    pub async fn unpause(&self, who: &Subject, name: &str) -> Result<()> {
        todo!()
    }
    /// Removes it.
    pub async fn remove_container(&self, who: &Subject, name: &str, options: RemoveOptions) -> Result<()> {
        todo!()
    }
    /// Gives it another name.
    pub async fn rename(&self, who: &Subject, name: &str, new: &str) -> Result<()> {
        todo!()
    }
    /// Changes limits and restart policy of a container, running or not. `None` fields stay. Returns warnings.
    pub async fn update(
        &self,
        who: &Subject,
        name: &str,
        resources: crate::container::Resources,
        restart: Option<crate::container::RestartPolicy>,
    ) -> Result<Vec<String>> {
        todo!()
    }
    /// Resizes its terminal.
    pub async fn resize(&self, who: &Subject, name: &str, rows: u16, columns: u16) -> Result<()> {
        todo!()
    }
    /// Subscribes to its end before returning; the inner future gives the outcome.
    pub async fn wait(
        &self,
        who: &Subject,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Result<WaitOutcome>> + Send + use<>> {
        todo!();
        #[allow(unreachable_code)]
        Ok(std::future::pending())
    }
    /// Attaches to its process; before its start this sees the first byte.
    pub async fn attach(&self, who: &Subject, name: &str, options: &AttachOptions) -> Result<Attached> {
        todo!()
    }
    /// Its log.
    pub async fn logs(&self, who: &Subject, name: &str, options: &LogOptions) -> Result<Logs> {
        todo!()
    }
    /// Its processes, as `ps` with these arguments would show them (empty: `-ef`).
    pub async fn top(&self, who: &Subject, name: &str, ps_args: &str) -> Result<ProcessTable> {
        todo!()
    }
    /// What it uses now; `None` while it is down.
    pub async fn stats(&self, who: &Subject, name: &str) -> Result<Option<Stats>> {
        todo!()
    }
    /// What it changed in its image's files: (path, 0 modified | 1 added | 2 deleted).
    pub async fn changes(&self, who: &Subject, name: &str) -> Result<Vec<(String, u8)>> {
        todo!()
    }
    /// Its whole file tree as a tar.
    pub async fn export(&self, who: &Subject, name: &str) -> Result<ArchiveStream> {
        todo!()
    }
    /// A file or folder of it as a tar.
    pub async fn archive(&self, who: &Subject, name: &str, path: &str) -> Result<(PathStat, ArchiveStream)> {
        todo!()
    }
    /// What lies at a path in it.
    pub async fn stat_path(&self, who: &Subject, name: &str, path: &str) -> Result<PathStat> {
        todo!()
    }
    /// Unpacks a tar (plain or compressed) into a folder of it.
    pub async fn unarchive(
        &self,
        who: &Subject,
        name: &str,
        path: &str,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
        body: ArchiveStream,
    ) -> Result<()> {
        todo!()
    }
    /// Removes what is not running.
    pub async fn prune_containers(&self, who: &Subject, filters: &Filters) -> Result<Pruned> {
        todo!()
    }

    // Execs.

    /// Prepares an exec in a running container.
    pub async fn exec_create(&self, who: &Subject, container: &str, spec: ExecSpec) -> Result<ExecId> {
        todo!()
    }
    /// Starts it attached. The stream ends after its process ended, and its exit code is known by then.
    pub async fn exec_start(&self, who: &Subject, exec: &str, tty: bool, console_size: Option<(u16, u16)>) -> Result<Attached> {
        todo!()
    }
    /// Starts it detached.
    pub async fn exec_start_detached(&self, who: &Subject, exec: &str) -> Result<()> {
        todo!()
    }
    /// Resizes its terminal.
    pub async fn exec_resize(&self, who: &Subject, exec: &str, rows: u16, columns: u16) -> Result<()> {
        todo!()
    }
    /// What it is.
    pub async fn exec(&self, who: &Subject, exec: &str) -> Result<ExecView> {
        todo!()
    }

    // Images.

    /// Pulls from a registry. Errors before the first byte are returned, later ones are in the stream.
    pub async fn pull(&self, who: &Subject, request: PullRequest) -> Result<ProgressStream> {
        todo!()
    }
    /// Pushes to a registry. `tag` empty: all tags.
    pub async fn push(&self, who: &Subject, name: &str, tag: &str, auth: Option<RegistryAuth>) -> Result<ProgressStream> {
        todo!()
    }
    /// Loads a `docker save` or OCI-layout archive, plain or compressed.
    pub async fn load(&self, who: &Subject, body: ArchiveStream, quiet: bool) -> Result<ProgressStream> {
        todo!()
    }
    /// Images as one archive that is both docker-archive and OCI layout.
    pub async fn save(&self, who: &Subject, names: &[String]) -> Result<ArchiveStream> {
        todo!()
    }
    /// Makes an image of one layer from a tar.
    pub async fn import(
        &self,
        who: &Subject,
        body: ArchiveStream,
        name: &str,
        tag: &str,
        message: &str,
        changes: &[String],
        platform: Option<String>,
    ) -> Result<ProgressStream> {
        todo!()
    }
    /// Makes an image of a container's changes.
    pub async fn commit(&self, who: &Subject, container: &str, request: crate::container::CommitRequest) -> Result<crate::Digest> {
        todo!()
    }
    /// The subject's images, newest first.
    pub async fn images(&self, who: &Subject, filter: &ImageFilter) -> Result<Vec<Image>> {
        todo!()
    }
    /// One image, by name, digest, id or unique id prefix.
    pub async fn image(&self, who: &Subject, name: &str) -> Result<Image> {
        todo!()
    }
    /// Gives an image another name.
    pub async fn tag(&self, who: &Subject, image: &str, repository: &str, tag: &str) -> Result<()> {
        todo!()
    }
    /// Removes a name, and the image with its last one.
    pub async fn remove_image(&self, who: &Subject, name: &str, force: bool, no_prune: bool) -> Result<Vec<Removal>> {
        todo!()
    }
    /// Removes images that no container uses and, unless the filter `dangling=false` is given, that have no name.
    pub async fn prune_images(&self, who: &Subject, filters: &Filters) -> Result<(Vec<Removal>, u64)> {
        todo!()
    }
    /// Checks credentials with a registry; the text is shown to the person.
    pub async fn registry_login(&self, who: &Subject, auth: &RegistryAuth) -> Result<String> {
        todo!()
    }

    // Volumes.

    /// Makes a volume, or returns the one of that name.
    pub async fn create_volume(&self, who: &Subject, spec: VolumeSpec) -> Result<Volume> {
        todo!()
    }
    /// The subject's volumes.
    pub async fn volumes(&self, who: &Subject, filters: &Filters) -> Result<Vec<Volume>> {
        todo!()
    }
    /// One volume.
    pub async fn volume(&self, who: &Subject, name: &str) -> Result<Volume> {
        todo!()
    }
    /// Removes it. `force`: an absent one is no error.
    pub async fn remove_volume(&self, who: &Subject, name: &str, force: bool) -> Result<()> {
        todo!()
    }
    /// Removes unused volumes.
    pub async fn prune_volumes(&self, who: &Subject, filters: &Filters) -> Result<Pruned> {
        todo!()
    }

    // Networks.

    /// Makes a network; the text is a warning, usually empty.
    pub async fn create_network(&self, who: &Subject, spec: NetworkSpec) -> Result<(NetworkId, String)> {
        todo!()
    }
    /// The subject's networks.
    pub async fn networks(&self, who: &Subject, filters: &Filters) -> Result<Vec<Network>> {
        todo!()
    }
    /// One network.
    pub async fn network(&self, who: &Subject, name: &str) -> Result<Network> {
        todo!()
    }
    /// Removes it.
    pub async fn remove_network(&self, who: &Subject, name: &str) -> Result<()> {
        todo!()
    }
    /// Joins a container to it, now if it runs.
    pub async fn connect(&self, who: &Subject, network: &str, container: &str, endpoint: crate::container::EndpointSpec) -> Result<()> {
        todo!()
    }
    /// Takes a container out of it.
    pub async fn disconnect(&self, who: &Subject, network: &str, container: &str, force: bool) -> Result<()> {
        todo!()
    }
    /// Removes networks that no container is in.
    pub async fn prune_networks(&self, who: &Subject, filters: &Filters) -> Result<Pruned> {
        todo!()
    }

    // The host.

    /// Numbers for `info`.
    pub async fn counts(&self, who: &Subject) -> Result<Counts> {
        todo!()
    }
    /// The subject's events: those kept since the start, then those to come.
    pub fn events(&self, who: &Subject) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        todo!()
    }
    /// Whether there is such a container of anybody: for the engine's own tests.
    #[doc(hidden)]
    pub fn knows(&self, id: &ContainerId) -> bool {
        todo!()
    }
}
