//! A build's RUN: a container like any other, judged, limited and connected as one, whose root is what the build has so
//! far, and into which the build mounts things of its own (caches, parts of the context or of stages, secrets).

use super::create::Origin;
use super::plan::OURS;
use super::record::Entry;
use super::request::{AttachOptions, RemoveOptions};
use super::spec::ContainerSpec;
use crate::build::BuildEvent;
use crate::engine::Engine;
use crate::runtime::Fds;
use crate::runtime::plan as wire;
use crate::runtime::rootfs::bind;
use crate::sys::inside;
use crate::sys::mount::Attributes;
use crate::{Digest, Doing, Error, Result, Subject};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What makes a container a build's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    pub mounts: Vec<StepMount>,
    /// Variables whose values are in files of the build's, in memory: secrets are in no specification and no database.
    #[serde(default)]
    pub secret_env: Vec<(String, PathBuf)>,
}

/// Something of the build's own in a RUN. The engine made the source for this tenant; nothing a person wrote is a path of
/// the host here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepMount {
    pub source: StepSource,
    /// What of it, `/`-separated, looked up inside it.
    pub subpath: String,
    /// Absolute, in the container.
    pub target: String,
    pub read_only: bool,
}

/// Where it comes from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum StepSource {
    /// A folder or file whose ids on disk are the tenant's block's.
    Path(PathBuf),
    /// Layers under a scratch folder (`upper`, `work`): what is written there is thrown away.
    Layers { layers: Vec<PathBuf>, scratch: PathBuf, idmapped: bool },
}

/// What a RUN runs on.
pub(crate) struct StepRun {
    pub spec: ContainerSpec,
    pub image: Digest,
    pub platform: String,
    pub layers: Vec<PathBuf>,
    pub step: Step,
}

/// Who a `user[:group]` is by the passwd and group files of a tree.
pub(crate) fn credentials(root: std::os::fd::BorrowedFd<'_>, user: &str) -> Result<super::effective::user::Credentials> {
    super::plan::resolve(root, user, &[], super::effective::user::Ids::Block)
}

impl Engine {
    /// The build's mounts of a container.
    pub(super) async fn step_mounts(&self, entry: &Entry, mounts: &mut Vec<wire::Mount>, fds: &mut Fds) -> Result<()> {
        let Some(step) = &entry.fixed.step else { return Ok(()) };
        for mount in &step.mounts {
            let doing = || format!("mounting {} for a build", mount.target);
            let whole = match &mount.source {
                StepSource::Path(path) => inside::open_path(path).doing(doing)?,
                StepSource::Layers { layers, scratch, idmapped } => {
                    let namespace = if *idmapped { Some(self.block_namespace(entry.tenant).await?) } else { None };
                    self.overlay(layers.clone(), scratch.clone(), namespace)?
                }
            };
            let wanted = mount.subpath.trim_matches('/');
            let source: OwnedFd = if wanted.is_empty() || wanted == "." {
                whole
            } else {
                inside::open_beneath(whole.as_fd(), wanted)
                    .map_err(|e| Error::invalid(format!("failed to mount {:?} at {}: {e}", mount.subpath, mount.target)).because(e))?
            };
            let file = !inside::is_directory(source.as_fd()).doing(doing)?;
            let fd = bind(source.as_fd(), &Attributes { read_only: mount.read_only, no_suid: true, ..OURS }).doing(doing)?;
            let target = mount.target.clone();
            mounts.push(wire::Mount { source: wire::MountSource::Detached { fd: fds.add(fd) }, target, file, copy_up: false });
        }
        Ok(())
    }

    /// The environment of a container, with what is secret in it.
    pub(super) fn with_secret_env(&self, entry: &Entry, env: &[String]) -> Result<Vec<String>> {
        let mut env = env.to_vec();
        for (name, file) in entry.fixed.step.iter().flat_map(|s| &s.secret_env) {
            let value = std::fs::read(file).doing(|| format!("reading the secret for {name}"))?;
            let value = String::from_utf8(value).map_err(|e| Error::invalid(format!("the secret for {name} is no text")).because(e))?;
            if value.contains('\0') {
                return Err(Error::invalid(format!("the secret for {name} has a NUL in it")));
            }
            env.push(format!("{name}={value}"));
        }
        Ok(env)
    }

    /// Runs it to its end. Returns its exit code and the container, which the caller removes with [`Engine::drop_step`] when
    /// it has taken what it wants from the writable layer. Cancelled: the container is gone when this returns.
    ///
    /// # Errors
    /// As create and start have them.
    pub(crate) async fn run_step(
        &self,
        who: &Subject,
        run: StepRun,
        cancel: &CancellationToken,
        events: &mpsc::Sender<BuildEvent>,
        vertex: u32,
    ) -> Result<(i32, Arc<Entry>)> {
        let origin = Origin {
            image: run.image,
            platform: run.platform,
            layers: run.layers,
            config: crate::image::ImageConfig::default(),
            step: Some(run.step),
        };
        let created = self.create_of(who, "", run.spec, origin).await?;
        let entry = self.registry().find(who.tenant, created.id.as_str())?;
        // Nobody listens any more: the step must not go on for nobody.
        let tell = |event: BuildEvent| async {
            if events.send(event).await.is_err() {
                cancel.cancel();
            }
        };
        let outcome = async {
            // Mount points that only this run needs, gone again afterwards.
            let made = self.missing_mount_points(&entry).await?;
            tell(BuildEvent::Running(entry.id.clone())).await;
            let options = AttachOptions { stream: true, stdout: true, stderr: true, ..AttachOptions::default() };
            let mut attached = self.attach(who, entry.id.as_str(), &options).await?;
            let mut turns = entry.turns.subscribe();
            self.start(who, entry.id.as_str()).await?;
            while let Some(chunk) = tokio::select! {
                chunk = attached.output.next() => chunk,
                () = cancel.cancelled() => return Err(Error::conflict("the build was cancelled")),
            } {
                let chunk = chunk.doing(|| "reading a step's output".to_owned())?;
                tell(BuildEvent::Output(vertex, chunk.stream, chunk.bytes)).await;
            }
            let code = tokio::select! {
                ended = turns.wait_for(|t| t.exits > 0 || t.removed) => ended.map(|t| if t.removed { 137 } else { t.code }).unwrap_or(137),
                () = cancel.cancelled() => return Err(Error::conflict("the build was cancelled")),
            };
            self.settled(&entry).await;
            self.clear_mount_points(&entry, made).await?;
            Ok(code)
        }
        .await;
        match outcome {
            Ok(code) => Ok((code, entry)),
            Err(error) => {
                self.drop_step(&entry).await;
                Err(error)
            }
        }
    }

    /// Removes a step's container.
    pub(crate) async fn drop_step(&self, entry: &Arc<Entry>) {
        if let Err(error) = self.forget(entry, RemoveOptions { force: true, volumes: true }, None).await {
            tracing::warn!(container.id = entry.id.short(), ?error, "a build step's container remains until the next start");
        }
    }

    /// The folder of what a step wrote.
    pub(crate) fn step_upper(&self, entry: &Entry) -> PathBuf {
        self.container_folder(&entry.id).join("upper")
    }

    /// Removes containers of builds that a crash ended.
    pub(crate) async fn sweep_steps(&self) {
        for entry in self.registry().all().into_iter().filter(|e| e.fixed.step.is_some()) {
            self.drop_step(&entry).await;
        }
    }

    /// What the runtime will have to make in the root file system to mount on, deepest parts first missing.
    async fn missing_mount_points(&self, entry: &Entry) -> Result<Vec<String>> {
        let mut targets: Vec<String> =
            ["/proc", "/sys", "/dev", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].map(str::to_owned).to_vec();
        targets.extend(entry.fixed.effective.mounts.iter().map(|m| m.target.clone()));
        targets.extend(entry.fixed.step.iter().flat_map(|s| &s.mounts).map(|m| m.target.clone()));
        targets.push(entry.fixed.effective.process.working_dir.clone());
        let base = self.block(entry.tenant)?.base;
        let root = self.container_root(entry).await?;
        let job = crate::worker::TreeJob::Missing(targets.clone());
        let missing: Vec<String> = self.images_handle().workers().tree(base, root.as_fd(), None, &job).await?;
        // Each target below a missing part, and every folder between.
        let mut made = BTreeSet::new();
        targets.pop();
        for target in targets {
            let clean = target.trim_matches('/');
            for part in &missing {
                let below = clean.strip_prefix(part.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                if below {
                    let ends = clean.match_indices('/').map(|(at, _)| at).chain([clean.len()]);
                    made.extend(ends.filter(|end| *end >= part.len()).map(|end| clean[..end].to_owned()));
                }
            }
        }
        let mut made: Vec<String> = made.into_iter().collect();
        made.sort_by_key(|path| std::cmp::Reverse(path.len()));
        Ok(made)
    }

    /// Takes empty mount points out of the writable layer again.
    async fn clear_mount_points(&self, entry: &Entry, made: Vec<String>) -> Result<()> {
        if made.is_empty() {
            return Ok(());
        }
        let upper = self.step_upper(entry);
        let upper = std::fs::File::open(&upper).doing(|| format!("opening {}", upper.display()))?;
        let base = self.block(entry.tenant)?.base;
        self.images_handle().workers().tree(base, upper.as_fd(), None, &crate::worker::TreeJob::Clear(made)).await
    }
}
