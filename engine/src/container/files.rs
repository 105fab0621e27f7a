//! A container's files from outside: `cp`, `export`, `diff`, `commit`. A worker in the tenant's user namespace does the walking,
//! with the container's root as its own, so no link leads out and no byte is read with the host's rights.

use super::effective::{MountSource, Propagation};
use super::record::Entry;
use super::request::{ArchiveStream, PathStat};
use super::view::State;
use crate::engine::Engine;
use crate::policy::Action;
use crate::worker::{PackOptions, TreeJob, UnpackOptions};
use crate::{Digest, Doing, Error, Result, Subject};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// How to make an image of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Repository; empty: no name.
    pub repository: String,
    /// Tag; empty: latest.
    pub tag: String,
    /// Comment.
    pub comment: String,
    /// Author.
    pub author: String,
    /// Freeze it meanwhile.
    pub pause: bool,
    /// Dockerfile lines.
    pub changes: Vec<String>,
    /// Configuration instead of the container's.
    pub config: Option<super::spec::ContainerSpec>,
}

impl Engine {
    /// Bytes of a container's writable layer, and of that plus its image.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn container_size(&self, who: &Subject, name: &str) -> Result<(u64, u64)> {
        let entry = self.registry().find(who.tenant, name)?;
        let own = crate::volume::folder_size(&self.container_folder(&entry.id).join("upper")).await;
        let image = self.images_handle().resolve(entry.tenant, &entry.fixed.image.to_string()).await.map_or(0, |i| i.size);
        Ok((own, own + image))
    }

    /// Its whole file tree as a tar.
    ///
    /// # Errors
    /// `NotFound`, or what the worker met.
    pub async fn export(&self, who: &Subject, name: &str) -> Result<ArchiveStream> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        // Volumes are not part of it: the root alone, without what is mounted over it.
        let kept = entry.up().and_then(|up| up.root.lock().unwrap_or_else(|e| e.into_inner()).as_ref().map(OwnedFd::try_clone));
        let root = match (kept, entry.up()) {
            (Some(root), _) => root.doing(|| "keeping the container's root".to_owned())?,
            (None, Some(up)) => crate::sys::inside::root_of(up.shim.pid()).doing(|| "opening the container's root".to_owned())?,
            (None, None) => self.container_root(&entry).await?,
        };
        let base = self.block(entry.tenant)?.base;
        let options = PackOptions { name: Some(String::new()), one_mount: true };
        let (_, tar) = self.images_handle().workers().pack(base, root.as_fd(), "/", options).await?;
        self.tell_container(&entry, "export", &[]);
        Ok(tar)
    }

    /// A file or folder of it as a tar.
    ///
    /// # Errors
    /// `NotFound` with Docker's text when nothing is there.
    pub async fn archive(&self, who: &Subject, name: &str, path: &str) -> Result<(PathStat, ArchiveStream)> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        let asked = path.to_owned();
        let (root, path) = self.tree_for(&entry, path).await?;
        let base = self.block(entry.tenant)?.base;
        // The root of a volume is called what it is called in the container.
        let name = (path == "/").then(|| mount_name(&asked)).flatten();
        let options = PackOptions { name: name.clone(), ..PackOptions::default() };
        let (mut stat, tar) =
            self.images_handle().workers().pack(base, root.as_fd(), &path, options).await.map_err(|e| no_file(e, &entry, &asked))?;
        if let Some(name) = name {
            stat.name = name;
        }
        self.tell_container(&entry, "archive-path", &[]);
        Ok((stat, tar))
    }

    /// What lies at a path in it.
    ///
    /// # Errors
    /// As `archive`.
    pub async fn stat_path(&self, who: &Subject, name: &str, path: &str) -> Result<PathStat> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        let asked = path.to_owned();
        let (root, path) = self.tree_for(&entry, path).await?;
        let base = self.block(entry.tenant)?.base;
        let name = (path == "/").then(|| mount_name(&asked)).flatten();
        let mut stat = self.images_handle().workers().stat(base, root.as_fd(), &path).await.map_err(|e| no_file(e, &entry, &asked))?;
        if let Some(name) = name {
            stat.name = name;
        }
        Ok(stat)
    }

    /// Unpacks a tar (plain or compressed) into a folder of it.
    ///
    /// # Errors
    /// `NotFound` when the folder is absent, `Forbidden` when its root is read-only, `Invalid` for a bad archive.
    pub async fn unarchive(
        &self,
        who: &Subject,
        name: &str,
        path: &str,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
        body: ArchiveStream,
    ) -> Result<()> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerArchivePut).await?;
        let (root, inside) = self.tree_for(&entry, path).await?;
        let covered = entry.fixed.mounts.iter().filter(|m| below(path, &m.destination)).max_by_key(|m| m.destination.len());
        let read_only = covered.map_or(entry.fixed.effective.read_only_root, |m| !m.rw);
        if read_only {
            return Err(Error::forbidden(if covered.is_some() {
                "mounted volume is marked read-only"
            } else {
                "container rootfs is marked read-only"
            }));
        }
        // As with dockerd: only a container with a user of its own gives what is copied in to that user.
        let own_user = !entry.fixed.effective.process.user.is_empty();
        let owner = if copy_uid_gid && own_user { Some(self.owner_of(&entry, &root)?) } else { None };
        let base = self.block(entry.tenant)?.base;
        let audit =
            self.audit().intent_alone(&crate::audit::Entry::of(who, "container.copy", format!("{}:{path}", entry.record().name))).await?;
        let done = async {
            let options = UnpackOptions { no_overwrite_dir_non_dir, owner, most: Some(self.room_left(entry.tenant).await?) };
            let workers = self.images_handle().workers();
            workers.unpack(base, root.as_fd(), &inside, options, body).await.map_err(|e| no_file(e, &entry, path))
        }
        .await;
        self.measured().forget(entry.tenant);
        self.audit().outcome(audit, &done).await;
        done?;
        self.tell_container(&entry, "extract-to-dir", &[]);
        Ok(())
    }

    /// What it changed in its image's files: (path, 0 modified | 1 added | 2 deleted).
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn changes(&self, who: &Subject, name: &str) -> Result<Vec<(String, u8)>> {
        let entry = self.registry().find(who.tenant, name)?;
        self.judge(who, Action::ContainerRead).await?;
        let upper = self.container_folder(&entry.id).join("upper");
        let layers = entry.fixed.layers.clone();
        tokio::task::spawn_blocking(move || super::changes::of(&upper, &layers)).await.doing(|| "comparing files".to_owned())?
    }

    /// Makes an image of a container's changes.
    ///
    /// # Errors
    /// `Invalid` for a bad name or change.
    pub async fn commit(&self, who: &Subject, container: &str, request: CommitRequest) -> Result<Digest> {
        let container = container.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            let entry = engine.registry().find(who.tenant, &container)?;
            engine.judge(&who, Action::ContainerCommit).await?;
            engine.room_for_image(&who).await?;
            let audit = engine.audit().intent_alone(&crate::audit::Entry::of(&who, "container.commit", &request.repository)).await?;
            let frozen = match entry.up() {
                Some(up) if request.pause => match freeze(&up.group).await {
                    Ok(frozen) => frozen.then_some(up),
                    // Nothing is left that could change its files.
                    Err(_) if up.shim.has_ended() => None,
                    Err(error) => return Err(error),
                },
                _ => None,
            };
            let comment = request.comment.clone();
            let name = crate::image::named(&request.repository, &request.tag);
            let done = engine.commit_now(&entry, request).await;
            if let Some(up) = frozen
                && let Err(error) = up.group.thaw()
                && !up.shim.has_ended()
            {
                return Err(error);
            }
            engine.audit().outcome(audit, &done).await;
            let id = done?;
            let attributes = [("comment", comment.as_str()), ("imageID", &id.to_string()), ("imageRef", &name)];
            engine.tell_container(&entry, "commit", &attributes);
            Ok(id)
        })
        .await
    }

    async fn commit_now(&self, entry: &Arc<Entry>, request: CommitRequest) -> Result<Digest> {
        let mut config = super::commit::config(entry, request.config.as_ref());
        super::commit::apply_changes(&mut config, &request.changes)?;
        let upper = self.container_folder(&entry.id).join("upper");
        let upper = std::fs::File::open(&upper).doing(|| format!("opening {}", upper.display()))?;
        let base = self.block(entry.tenant)?.base;
        let layer = self.images_handle().workers().pack_layer(base, upper.as_fd()).await?;
        let name = match (request.repository.as_str(), request.tag.as_str()) {
            ("", _) => None,
            (repository, "") => Some(repository.to_owned()),
            (repository, tag) => Some(format!("{repository}:{tag}")),
        };
        let new = crate::image::NewImage {
            base: Some(entry.fixed.image),
            layer: Some(layer),
            config,
            author: request.author,
            comment: request.comment,
            created_by: entry.fixed.effective.process.argv.join(" "),
            platform: None,
            created: None,
            names: name.into_iter().collect(),
        };
        self.images_handle().create_from(entry.tenant, new).await
    }

    /// The tree that a path of the container lies in, as it is mounted inside, and the path in that tree.
    async fn tree_for(&self, entry: &Arc<Entry>, path: &str) -> Result<(OwnedFd, String)> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if path.contains('\0') {
            return Err(Error::invalid("a path cannot have a NUL byte"));
        }
        if let Some(up) = entry.up() {
            // As it is mounted: volumes and binds show through.
            let root = crate::sys::inside::root_of(up.shim.pid()).doing(|| "opening the container's root".to_owned())?;
            return Ok((root, path));
        }
        let covered = entry
            .fixed
            .effective
            .mounts
            .iter()
            .zip(entry.fixed.mounts.iter())
            .filter(|(m, _)| below(&path, &m.target))
            .max_by_key(|(m, _)| m.target.len());
        match covered {
            Some((mount, view)) => {
                let rest = format!("/{}", path[mount.target.len()..].trim_start_matches('/'));
                match &mount.source {
                    MountSource::Volume { .. } => {
                        let row =
                            self.volumes_handle().get(entry.tenant, &view.name).ok_or_else(|| Error::no_such("volume", &view.name))?;
                        let data = self.volumes_handle().data_folder(&row);
                        let fd = std::fs::File::open(&data).doing(|| format!("opening volume {}", row.name))?;
                        Ok((fd.into(), rest))
                    }
                    MountSource::Bind { path: source, recursive, read_only_below, .. } => {
                        // As at a start: grants may have ended since the container was made.
                        let creator = self.engine_subject(entry)?;
                        self.judge_container(&creator, Action::ContainerStart, entry.fixed.effective.clone()).await?;
                        let root = self.container_root(entry).await?;
                        let process = &entry.fixed.effective.process;
                        let who = super::plan::resolve(root.as_fd(), &process.user, &process.extra_groups, self.ids_of(entry))?;
                        let bind = super::bind::Bind {
                            target: &mount.target,
                            path: source,
                            create: false,
                            recursive: *recursive,
                            read_only: mount.read_only,
                            read_only_below: *read_only_below,
                            propagation: Propagation::RPrivate,
                        };
                        match self.bind_mount(entry, &bind, &who).await? {
                            (folder, false) => Ok((folder, rest)),
                            (_, true) => Err(Error::unsupported("copying to or from a bound file of a container that is not running")),
                        }
                    }
                    // Empty until the container runs.
                    _ => Ok((self.container_root(entry).await?, path)),
                }
            }
            None => Ok((self.root_to_copy(entry).await?, path)),
        }
    }

    /// The root of a container that is not running. Clients make a container with a working directory, put files there, and start
    /// it: dockerd makes the directory with the container, we when somebody looks.
    async fn root_to_copy(&self, entry: &Entry) -> Result<OwnedFd> {
        let root = self.container_root(entry).await?;
        let folder = entry.fixed.effective.process.working_dir.clone();
        let covered = entry.fixed.mounts.iter().any(|m| below(&folder, &m.destination));
        if matches!(entry.record().life.state, State::Created) && !matches!(folder.as_str(), "" | "/") && !covered {
            let base = self.block(entry.tenant)?.base;
            let job = TreeJob::Folder { path: folder, owner: (0, 0) };
            self.images_handle().workers().tree::<()>(base, root.as_fd(), None, &job).await?;
        }
        Ok(root)
    }

    /// The container's user, to own what is copied in with `-a`.
    fn owner_of(&self, entry: &Entry, root: &OwnedFd) -> Result<(u32, u32)> {
        let process = &entry.fixed.effective.process;
        let who = super::plan::resolve(root.as_fd(), &process.user, &process.extra_groups, self.ids_of(entry))?;
        Ok((who.uid, who.gid))
    }
}

/// The last component of a path that leads to a mount's root; `None` for the container's own root.
fn mount_name(path: &str) -> Option<String> {
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    (!last.is_empty()).then(|| last.to_owned())
}

fn below(path: &str, folder: &str) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn no_file(error: Error, entry: &Entry, path: &str) -> Error {
    if error.is_not_found() {
        return Error::new(crate::Kind::NotFound, format!("Could not find the file {path} in container {}", entry.id));
    }
    error
}

/// Freezes it unless it is frozen; whether it did.
async fn freeze(group: &crate::cgroup::Group) -> Result<bool> {
    if group.is_frozen()? {
        return Ok(false);
    }
    group.freeze().await?;
    Ok(true)
}
