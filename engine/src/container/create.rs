//! `create`: from what was asked to a container that needs only a start. Everything that can fail on bad input fails before
//! anything is made; what is made is either all there or swept at the next start.

use super::effective::{self, EffectiveSpec, MountSource, NetworkMode, Shared};
use super::record::{Creator, Entry, Fixed, Joined, Life, Mutable, Record};
use super::request::Created;
use super::spec::{ContainerSpec, EndpointSpec, MountKind};
use super::view::{MountView, State};
use crate::audit;
use crate::engine::Engine;
use crate::image::Platform;
use crate::inventory::containers::{self as rows, ContainerRow};
use crate::inventory::volumes::VolumeRow;
use crate::policy::{self, Action, Authorized, Counted};
use crate::volume::VolumeSpec;
use crate::{ContainerId, Doing, Error, Result, Subject, TenantId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::PathBuf;
use std::sync::Arc;

impl Engine {
    /// Makes a container. `name` empty: a random one.
    ///
    /// # Errors
    /// `NotFound` for an absent image (the client then pulls it), network or container; `Invalid` for what Docker refuses,
    /// with its texts; `Conflict` for a taken name; `Forbidden` for what needs a grant, naming it.
    pub async fn create_container(&self, who: &Subject, name: &str, spec: ContainerSpec) -> Result<Created> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move { engine.create(&who, &name, spec).await }).await
    }

    async fn create(&self, who: &Subject, name: &str, spec: ContainerSpec) -> Result<Created> {
        if !name.is_empty() {
            super::name::checked(name)?;
        }
        let image = self.images_handle().resolve(who.tenant, &spec.image).await?;
        if let Some(wanted) = &spec.platform {
            let wanted: Platform = wanted.parse()?;
            let actual = Platform { os: image.os.clone(), architecture: image.architecture.clone(), variant: image.variant.clone() };
            if !actual.suits(&wanted) {
                // The client pulls it then.
                let text = format!(
                    "image with reference {} was found but its platform ({actual}) does not match the specified platform ({wanted})",
                    spec.image
                );
                return Err(Error::new(crate::Kind::NotFound, text));
            }
        }
        let layers = self.images_handle().layers(who.tenant, &image.id).await?.into_iter().map(|l| l.path).collect();
        let origin = Origin { image: image.id, platform: image.os, layers, config: image.config, step: None };
        self.create_of(who, name, spec, origin).await
    }

    /// Makes a container of layers: an image's, or those a build has so far.
    pub(super) async fn create_of(&self, who: &Subject, name: &str, spec: ContainerSpec, origin: Origin) -> Result<Created> {
        let (mut effective, mut warnings) = effective::effective(&spec, &origin.config, self.defaults())?;
        let id = ContainerId::random();
        self.resolve_containers(who.tenant, &mut effective)?;
        self.bind_links(who.tenant, &mut effective)?;
        let host_name = self.host_name(who.tenant, &effective, &id)?;
        // `-e HOSTNAME` without a value takes the variable away.
        effective.name_host(&host_name, !spec.env.iter().any(|e| e == "HOSTNAME"));
        let networks = self.resolve_networks(who.tenant, &effective).await?;
        warnings.extend(crate::cgroup::validate(&mut effective.resources, self.cgroups().support(), crate::cgroup::Occasion::Create)?);
        let effective = self.judge_container(who, Action::ContainerCreate, effective).await?;
        self.bind_sources(&effective).await?;
        let images = self.mounted_images(who.tenant, &effective).await?;
        let quota = self.tenants().standing(who)?.quota;
        quota.room(Counted::Containers, self.registry().of(who.tenant).len() as u64, 1)?;
        self.room_on_disk(who.tenant).await?;
        let reserved = self.reserve_name(who.tenant, name, &id)?;
        let name = reserved.name().to_owned();

        let folder = self.make_folder(&id, who.tenant, &effective)?;
        let mut tx = self.inventory().begin().await?;
        let row = audit::Entry::of(who, Action::ContainerCreate.as_str(), &name).authorized(effective.hash(), effective.rule());
        let intent = self.audit().intent(&mut tx, &row).await?;
        let (mounts, volumes) = self.decide_mounts(&mut tx, who.tenant, &effective).await?;
        let created = Timestamp::now();
        let fixed = Fixed {
            image: origin.image,
            platform: origin.platform,
            layers: origin.layers,
            image_config: Arc::new(origin.config),
            step: origin.step,
            images,
            mounts: Arc::new(mounts),
            creator: Creator::of(who),
            binds: effective.binds().clone(),
            effective: (*effective).clone(),
            spec: Arc::new(spec),
        };
        let mutable = Mutable { resources: effective.resources.clone(), restart: effective.restart.clone(), networks };
        let life = Life::created(&effective);
        let row = ContainerRow {
            id: id.clone(),
            tenant: who.tenant,
            name: name.clone(),
            created: created.as_millisecond(),
            created_by: who.name.clone(),
            fixed,
            mutable,
            life,
        };
        rows::insert(&mut tx, &row).await?;
        fail::fail_point!("create-before-commit");
        if let Err(error) = crate::inventory::commit(tx).await {
            volumes.iter().for_each(|v| self.volumes_handle().discard(v));
            return Err(error);
        }
        fail::fail_point!("create-after-commit");
        folder.keep();
        for volume in volumes {
            self.volumes_handle().keep(volume.clone());
            self.tell_volume(&volume, "create", &[("driver", "local")]);
        }
        let record = Record { name, mutable: row.mutable, life: row.life, execs: Vec::new() };
        let entry = Entry::new(id.clone(), who.tenant, created, row.created_by, row.fixed, record);
        self.registry().insert(entry.clone());
        reserved.keep();
        let filled = self.copy_up(&entry).await;
        self.audit().outcome(intent, &filled).await;
        if let Err(error) = filled {
            // The image's content did not reach its volumes: such a container must not be there.
            self.forget(&entry, super::request::RemoveOptions { force: true, volumes: true }, None).await?;
            return Err(error);
        }
        self.tell_container(&entry, "create", &[]);
        self.warm_zygotes(&entry);
        Ok(Created { id, warnings })
    }

    /// Whether the subject may have this container; a refusal is audited.
    pub(super) async fn judge_container(
        &self,
        who: &Subject,
        action: Action,
        effective: EffectiveSpec,
    ) -> Result<Authorized<EffectiveSpec>> {
        self.judge(who, action).await?;
        let standing = self.tenants().standing(who)?;
        let image = effective.image.clone();
        match policy::authorize(who, &standing, effective) {
            Ok(judged) => Ok(judged),
            Err(denied) => Err(self.denied(who, action.as_str(), &image, denied).await),
        }
    }

    /// Replaces the names of other containers by full ids of the tenant's own, and merges `--volumes-from`.
    fn resolve_containers(&self, tenant: TenantId, effective: &mut EffectiveSpec) -> Result<()> {
        let mut peers: BTreeMap<String, Arc<Entry>> = BTreeMap::new();
        for name in needs(effective).into_iter().map(str::to_owned).collect::<Vec<_>>() {
            let peer = self.named(tenant, &name)?;
            peers.insert(name, peer);
        }
        effective.resolve_containers(|name| {
            let peer = peers.get(name).ok_or_else(|| Error::no_such("container", name))?;
            let spec = &peer.fixed.effective;
            Ok(effective::Peer { id: &peer.id, namespaces: &spec.namespaces, network: &spec.network.mode })
        })?;
        effective.merge_volumes_from(|name| {
            let entry = self.named(tenant, name)?;
            // An anonymous volume of the other container has a name by now.
            let mut mounts = entry.fixed.effective.mounts.clone();
            for mount in &mut mounts {
                if let MountSource::Volume { name, .. } = &mut mount.source {
                    *name = entry.fixed.mounts.iter().find(|m| m.destination == mount.target).map(|m| m.name.clone());
                }
            }
            Ok(mounts)
        })
    }

    /// Another container that a new one names. An absent one is no 404: clients take that for an absent image and pull it.
    fn named(&self, tenant: TenantId, name: &str) -> Result<Arc<Entry>> {
        let absent = |e: Error| if e.is_not_found() { Error::invalid(e.to_string()) } else { e };
        self.registry().find(tenant, name).map_err(absent)
    }

    /// The host name of a container that asks for none: its own, or that of whoever it shares a network or UTS namespace with.
    fn host_name(&self, tenant: TenantId, effective: &EffectiveSpec, id: &ContainerId) -> Result<String> {
        Ok(match &effective.network.mode {
            NetworkMode::Container(other) => self.registry().find(tenant, other)?.fixed.effective.host.hostname.clone(),
            NetworkMode::Host => crate::host::name(),
            _ if effective.namespaces.uts == effective::OwnOrHost::Host => crate::host::name(),
            _ => id.short().to_owned(),
        })
    }

    /// Replaces the names in links of the default network by ids, so that they go on when the other container is renamed.
    ///
    /// # Errors
    /// `Invalid` with Docker's text for a container that is not there or has the host's network.
    fn bind_links(&self, tenant: TenantId, effective: &mut EffectiveSpec) -> Result<()> {
        if !matches!(&effective.network.mode, NetworkMode::Network(name) if name == "bridge" || name == "default") {
            return Ok(());
        }
        let Some(endpoint) = effective.network.endpoints.get_mut("bridge") else { return Ok(()) };
        for link in &mut endpoint.links {
            let (name, alias) = link.split_once(':').unwrap_or((link, link.strip_prefix('/').unwrap_or(link)));
            let other = self
                .registry()
                .find(tenant, name)
                .map_err(|e| if e.is_not_found() { Error::invalid(format!("could not get container for {name}: {e}")) } else { e })?;
            if other.fixed.effective.network.mode == NetworkMode::Host {
                return Err(Error::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
                ));
            }
            *link = format!("{}:{alias}", other.id);
        }
        Ok(())
    }

    /// The networks a container will be in, by their names.
    async fn resolve_networks(&self, tenant: TenantId, effective: &EffectiveSpec) -> Result<BTreeMap<String, Joined>> {
        let mut joined = BTreeMap::new();
        let NetworkMode::Network(first) = &effective.network.mode else { return Ok(joined) };
        let mut wanted: BTreeMap<&str, &EndpointSpec> = effective.network.endpoints.iter().map(|(n, e)| (n.as_str(), e)).collect();
        let nothing = EndpointSpec::default();
        wanted.entry(first).or_insert(&nothing);
        for (name, spec) in wanted {
            let network = match name {
                "bridge" | "default" => self.networks_handle().default_network(tenant).await?,
                // Not a 404: clients take that for an absent image and pull it.
                other => self.networks_handle().get(tenant, other).await.map_err(|e| match e.is_not_found() {
                    true => Error::invalid(e.to_string()),
                    false => e,
                })?,
            };
            joined.insert(network.spec.name, Joined { network: network.id, spec: spec.clone() });
        }
        Ok(joined)
    }

    /// That the host paths of `--mount` are there, which are not made where they are missing.
    async fn bind_sources(&self, judged: &Authorized<EffectiveSpec>) -> Result<()> {
        for mount in &judged.mounts {
            if let MountSource::Bind { path, create: false, .. } = &mount.source {
                super::bind::is_there(path, judged.binds().get(&mount.target)).await?;
            }
        }
        Ok(())
    }

    fn reserve_name(&self, tenant: TenantId, name: &str, id: &ContainerId) -> Result<super::registry::Reserved<'_>> {
        if !name.is_empty() {
            return self.registry().reserve(tenant, super::name::checked(name)?, id);
        }
        let mut attempt = 0;
        loop {
            match self.registry().reserve(tenant, &super::name::random(attempt), id) {
                Err(error) if attempt == 16 => return Err(error),
                Err(_) => attempt += 1,
                Ok(reserved) => return Ok(reserved),
            }
        }
    }

    /// The container's folder: the overlay's writable layer, owned by the tenant's root, and its log.
    fn make_folder(&self, id: &ContainerId, tenant: TenantId, effective: &EffectiveSpec) -> Result<Folder> {
        let path = self.container_folder(id);
        let folder = Folder { path: Some(path.clone()) };
        let doing = || format!("making the folder of container {}", id.short());
        std::fs::DirBuilder::new().mode(0o700).create(&path).doing(doing)?;
        self.hard().join(&path, tenant)?;
        let owner = match effective.namespaces.user {
            effective::UserNamespace::Host => 0,
            effective::UserNamespace::Tenant => self.block(tenant)?.base,
            effective::UserNamespace::Isolated => return Err(Error::unsupported("--isolated")),
        };
        for (name, mode) in [("upper", 0o755), ("work", 0o755), ("log", 0o700)] {
            let dir = path.join(name);
            std::fs::create_dir(&dir).doing(doing)?;
            // Not by mkdir's mode, which the server's umask narrows: the upper folder is the container's `/`.
            std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(mode)).doing(doing)?;
            if name != "log" {
                chown(&dir, Some(owner), Some(owner)).doing(doing)?;
            }
        }
        Ok(folder)
    }

    /// Gives every mount its source: makes the volumes that are missing, in the caller's transaction.
    async fn decide_mounts(
        &self,
        tx: &mut crate::inventory::Tx,
        tenant: TenantId,
        effective: &EffectiveSpec,
    ) -> Result<(Vec<MountView>, Vec<VolumeRow>)> {
        let mut views = Vec::new();
        let mut made: Vec<VolumeRow> = Vec::new();
        let outcome = async {
            for mount in &effective.mounts {
                let mut view = MountView {
                    kind: MountKind::Bind,
                    name: String::new(),
                    source: String::new(),
                    destination: mount.target.clone(),
                    driver: String::new(),
                    mode: mount.mode.clone(),
                    rw: !mount.read_only,
                    propagation: String::new(),
                };
                match &mount.source {
                    MountSource::Bind { path, propagation, .. } => {
                        view.source = path.to_string_lossy().into_owned();
                        view.propagation = propagation.as_str().to_owned();
                    }
                    MountSource::Volume { name, driver, options, labels, .. } => {
                        let wanted = name.clone().unwrap_or_default();
                        let known = match made.iter().find(|v| v.name == wanted && !wanted.is_empty()) {
                            Some(row) => Some(row.clone()),
                            None => self.volumes_handle().get(tenant, &wanted),
                        };
                        let row = match known {
                            Some(row) => row,
                            None => {
                                let spec =
                                    VolumeSpec { name: wanted, driver: driver.clone(), options: options.clone(), labels: labels.clone() };
                                let base = self.block(tenant)?.base;
                                let row = self.volumes_handle().make(tx, tenant, base, &spec).await?;
                                made.push(row.clone());
                                row
                            }
                        };
                        view.kind = MountKind::Volume;
                        view.source = self.volumes_handle().data_folder(&row).to_string_lossy().into_owned();
                        view.name = row.name;
                        view.driver = "local".to_owned();
                    }
                    MountSource::Tmpfs { .. } => view.kind = MountKind::Tmpfs,
                    MountSource::Image { reference, .. } => {
                        view.kind = MountKind::Image;
                        view.source = reference.clone();
                        view.rw = false;
                    }
                    MountSource::TenantSocket => view.source = "/var/run/docker.sock".to_owned(),
                }
                views.push(view);
            }
            Ok(())
        }
        .await;
        match outcome {
            Ok(()) => Ok((views, made)),
            Err(error) => {
                made.iter().for_each(|v| self.volumes_handle().discard(v));
                Err(error)
            }
        }
    }

    /// Fills empty volumes with what the image has at their mount points, owners and modes included.
    async fn copy_up(&self, entry: &Entry) -> Result<()> {
        let mut tree: Option<std::os::fd::OwnedFd> = None;
        for mount in &entry.fixed.effective.mounts {
            let MountSource::Volume { copy, subpath, .. } = &mount.source else { continue };
            let Some(view) = entry.fixed.mounts.iter().find(|m| m.destination == mount.target) else { continue };
            let Some(row) = self.volumes_handle().get(entry.tenant, &view.name) else { continue };
            // A volume that lies elsewhere (memory, a host path) is not filled.
            if row.options.keys().any(|key| key != "size") {
                continue;
            }
            let data = self.volumes_handle().data_folder(&row);
            let empty = std::fs::read_dir(&data).doing(|| format!("looking into volume {}", row.name))?.next().is_none();
            if *copy && empty && subpath.is_empty() {
                let root = match &tree {
                    Some(fd) => fd,
                    None => tree.insert(self.container_root(entry).await?),
                };
                self.copy_tree(entry.tenant, root, &mount.target, &data).await?;
            }
            if row.initialised {
                continue;
            }
            let mut tx = self.inventory().begin().await?;
            crate::inventory::volumes::set_initialised(&mut tx, entry.tenant, &row.name).await?;
            crate::inventory::commit(tx).await?;
            self.volumes_handle().set_initialised(entry.tenant, &row.name);
        }
        Ok(())
    }

    /// Copies a folder of an image, if it is there and a folder, into a volume's folder.
    async fn copy_tree(&self, tenant: TenantId, root: &std::os::fd::OwnedFd, path: &str, data: &std::path::Path) -> Result<()> {
        use std::os::fd::AsFd;
        let base = self.block(tenant)?.base;
        let workers = self.images_handle().workers();
        match workers.stat(base, root.as_fd(), path).await {
            Ok(stat) if stat.mode & 0o170_000 == 0o040_000 => {}
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        let options = crate::worker::PackOptions { name: Some(String::new()), ..Default::default() };
        let (_, tar) = workers.pack(base, root.as_fd(), path, options).await?;
        let into = std::fs::File::open(data).doing(|| format!("opening {}", data.display()))?;
        workers.unpack(base, into.as_fd(), "/", crate::worker::UnpackOptions::default(), tar).await?;
        // The folder itself, which an archive of its content does not change. Its ids are the block's already.
        let doing = || format!("giving {} the owner of the image's folder", data.display());
        let folder = crate::sys::inside::open_beneath(root.as_fd(), path.trim_start_matches('/')).doing(doing)?;
        let stat = rustix::fs::fstat(&folder).map_err(std::io::Error::from).doing(doing)?;
        chown(data, Some(stat.st_uid), Some(stat.st_gid)).doing(doing)?;
        std::fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(stat.st_mode & 0o7777)).doing(doing)
    }
}

/// What a container is made of.
pub(super) struct Origin {
    pub image: crate::Digest,
    pub platform: String,
    /// Lowest first.
    pub layers: Vec<PathBuf>,
    pub config: crate::image::ImageConfig,
    pub step: Option<super::step::Step>,
}

/// A folder that goes away again unless it is kept.
struct Folder {
    path: Option<PathBuf>,
}

impl Folder {
    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(%error, "a half-made container's folder could not be removed; the next start sweeps it");
        }
    }
}

impl Life {
    /// The life of a new container.
    pub(crate) fn created(effective: &EffectiveSpec) -> Self {
        let health = effective.health.as_ref().map(|_| super::view::Health { status: "starting".to_owned(), ..Default::default() });
        Self { state: State::Created, failure: None, restarts: 0, stopped_by_hand: false, health, live: None }
    }
}

/// Ids of other containers that this one needs running: whose namespaces it joins.
pub(crate) fn needs(effective: &EffectiveSpec) -> Vec<&str> {
    let mut ids = Vec::new();
    if let Shared::Container(id) = &effective.namespaces.pid {
        ids.push(id.as_str());
    }
    if let effective::Ipc::Container(id) = &effective.namespaces.ipc {
        ids.push(id.as_str());
    }
    if let NetworkMode::Container(id) = &effective.network.mode {
        ids.push(id.as_str());
    }
    ids
}

impl Engine {
    /// Tells an event of a container: its labels, image and name are attributes of each.
    pub(crate) fn tell_container(&self, entry: &Entry, action: &str, attributes: &[(&str, &str)]) {
        let mut all = entry.fixed.effective.labels.clone();
        all.insert("image".to_owned(), entry.fixed.spec.image.clone());
        all.insert("name".to_owned(), entry.name());
        all.extend(attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self.tell(entry.tenant, "container", action, entry.id.as_str(), all);
    }
}
