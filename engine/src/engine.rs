//! The handle: everything anybody can ask of this host, with who asks as the first argument.
//!
//! Each function is the same short story: resolve names to the subject's own objects, judge, write the audit row, do it,
//! record the outcome. Names, full ids and unique id prefixes are accepted wherever Docker accepts them; somebody else's
//! object is an absent one. The functions themselves stand with their nouns (`container::start`, `volume::facade`, …); this
//! file holds what they share.

use crate::audit::{self, Audit};
use crate::cgroup::Cgroups;
use crate::container::State;
use crate::container::effective::Defaults;
use crate::container::exec::Execs;
use crate::container::life::LifeWriter;
use crate::container::record::Entry;
use crate::container::registry::Registry;
use crate::container::root::Roots;
use crate::container::zygote::Zygotes;
use crate::event::{Event, Events};
use crate::host::Host;
use crate::image::{ImageFilter, Images, ImagesConfig};
use crate::inventory::{self, Inventory, containers};
use crate::janitor::Janitor;
use crate::network::Networks;
use crate::policy::{self, Action, Denied};
use crate::runtime::{Runtime, Spawner};
use crate::tenant::{Block, Pool, Quota, Tenants};
use crate::volume::Volumes;
use crate::{ContainerId, Doing, Error, Instance, Kind, Result, Subject, TenantId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long an engine that is closed tries to write what is left.
const LAST_WRITES: std::time::Duration = std::time::Duration::from_secs(10);

/// The engine of one data root. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    instance: Instance,
    inventory: Inventory,
    audit: Audit,
    tenants: Tenants,
    images: Images,
    networks: Networks,
    volumes: Volumes,
    runtime: Runtime,
    cgroups: Cgroups,
    host: Host,
    events: Events,
    registry: Registry,
    execs: Execs,
    roots: Roots,
    measured: crate::disk::Measured,
    hard: crate::disk::hard::Hard,
    zygotes: Zygotes,
    retention: crate::log::Retention,
    builds: crate::build::Builds,
    life: LifeWriter,
    defaults: Defaults,
    janitor: Janitor,
    trash: std::time::Duration,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What an engine needs to know before it opens.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where everything lasting lies.
    pub data_root: PathBuf,
    /// Where sockets and shims' facts lie.
    pub run_dir: PathBuf,
    /// Registries that may be spoken to without TLS (`host[:port]` or CIDR), besides loopback.
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, tried in order.
    pub registry_mirrors: Vec<String>,
    /// Hosts that may hand out tokens for registries of another domain.
    pub token_hosts: Vec<String>,
    /// Where tenants' uid blocks come from.
    pub uid_pool: Pool,
    /// Zygotes that stand ready for each tenant in use.
    pub zygotes: usize,
    /// How long logs of removed containers are kept.
    pub kept_logs: crate::log::Retention,
    /// Where networks get their subnets when nobody names one; empty: from the usual private ranges.
    pub address_pools: Vec<crate::network::AddressPool>,
    /// How long removed volumes can be restored; zero: they are gone at once.
    pub trash: std::time::Duration,
}

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

impl Engine {
    /// Opens the engine of a data root: takes its lock, migrates its database, adopts its containers and starts those
    /// that their restart policy wants running.
    ///
    /// # Errors
    /// `Conflict` when another server has the data root; `Unavailable` when the host lacks what we cannot do without.
    pub async fn open(config: EngineConfig, spawner: Spawner) -> Result<Self> {
        let instance = Instance::open(&config.data_root, &config.run_dir)?;
        let host = Host::probe(&instance)?;
        if let Some(gap) = host.gaps.iter().find(|g| g.fatal) {
            return Err(Error::new(Kind::Unavailable, format!("{}: {}: {}", gap.what, gap.consequence, gap.remedy)));
        }
        let inventory = Inventory::open(&instance.data_root().join("wharf.db")).await?;
        let audit = Audit::open(inventory.clone());
        let tenants = Tenants::open(&instance, inventory.clone(), config.uid_pool).await?;
        let images = ImagesConfig {
            insecure_registries: config.insecure_registries,
            mirrors: config.registry_mirrors,
            token_hosts: config.token_hosts,
            layers_base: Some(tenants.layers_block().await?.base),
        };
        let images = Images::open(&instance, inventory.clone(), images).await?;
        let networks = Networks::open_with(&instance, inventory.clone(), config.address_pools).await?;
        let hard = crate::disk::hard::Hard::open(&instance)?;
        let volumes = Volumes::open(&instance, &inventory, hard.clone()).await?;
        let runtime = Runtime::new(spawner, &instance)?;
        let cgroups = Cgroups::open(&instance)?;
        let janitor = Janitor::start().doing(|| "starting the janitor".to_owned())?;
        let engine = Self(Arc::new(Inner {
            defaults: Defaults::new(instance.run_dir(), cgroups.support().clone()),
            registry: Registry::default(),
            execs: Execs::default(),
            events: Events::default(),
            life: LifeWriter::start(inventory.clone()),
            roots: Roots::default(),
            measured: crate::disk::Measured::default(),
            hard,
            zygotes: Zygotes::new(config.zygotes),
            retention: config.kept_logs,
            builds: crate::build::Builds::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            instance,
            inventory,
            audit,
            tenants,
            images,
            networks,
            volumes,
            runtime,
            cgroups,
            host,
            janitor,
            trash: config.trash,
        }));
        for tenant in engine.0.tenants.list() {
            if tenant.quota != Quota::default()
                && let Err(error) = engine.hold_to_quota(tenant.id)
            {
                // One tenant's quota must not keep all others' containers from running.
                tracing::error!(tenant.name = tenant.name, ?error, "a tenant's quota could not be put into force");
            }
        }
        engine.load_containers().await?;
        engine.adopt_all().await?;
        engine.sweep_builds().await?;
        engine.sweep_trash();
        let starting = engine.clone();
        engine.spawn(async move { starting.start_wanted().await });
        let packing = engine.clone();
        engine.spawn(async move { packing.pack_logs().await });
        let ending = engine.clone();
        engine.spawn(async move { ending.end_kept_logs().await });
        let sweeping = engine.clone();
        engine.spawn(async move { sweeping.sweep_zygotes().await });
        let holding = engine.clone();
        engine.spawn(async move { holding.watch_disk().await });
        let watching = engine.clone();
        engine.spawn(async move { watching.watch_trash().await });
        Ok(engine)
    }

    /// Ends what the engine does by itself and writes what is still to be written. Containers go on.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.drain_zygotes().await;
        // What stays behind is taken over, or removed, by the next start.
        if let Err(error) = self.0.networks.close().await {
            tracing::warn!(?error, "bridges of no containers remain until the next start of the server");
        }
        // What cannot be written (a full or read-only disk) must not keep a server from ending that was told to: the intents are in the
        // audit log, and the next start asks the shims how containers ended.
        let written = async {
            self.0.life.flush().await;
            self.0.audit.close().await;
            self.0.inventory.close().await;
        };
        if tokio::time::timeout(LAST_WRITES, written).await.is_err() {
            tracing::error!("what was still to be written could not be: outcomes of the last actions are missing in the audit log");
        }
    }

    /// What tenants were found to take on disk.
    pub(crate) fn measured(&self) -> &crate::disk::Measured {
        &self.0.measured
    }

    /// Limits that the kernel holds.
    pub(crate) fn hard(&self) -> &crate::disk::hard::Hard {
        &self.0.hard
    }

    /// This instance's folders and names.
    pub fn instance(&self) -> &Instance {
        &self.0.instance
    }

    /// The database, for the server's own tables.
    pub fn inventory(&self) -> &Inventory {
        &self.0.inventory
    }

    /// The audit log.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// Tenants, their blocks, grants and quotas.
    pub fn tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// What this host can do.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Holds a tenant's containers together to its quota of CPU, memory and processes: the kernel enforces the sum.
    ///
    /// # Errors
    /// `Conflict` when they use more memory than a new quota allows; `Internal` when the kernel refuses.
    pub fn hold_to_quota(&self, tenant: TenantId) -> Result<()> {
        let known = self.0.tenants.get(tenant).ok_or_else(|| Error::no_such("tenant", &tenant.to_string()))?;
        let limits = known.quota.limits(self.0.cgroups.support())?;
        self.0.cgroups.tenant(tenant, &limits).map(drop)
    }

    /// What carries this instance's name in the kernel and the run folder, and nothing known owns.
    ///
    /// # Errors
    /// `Internal` when the kernel's lists cannot be read.
    pub async fn orphans(&self) -> Result<Vec<crate::host::Orphan>> {
        // What is being torn down just now is no orphan: only what stays is.
        for _ in 0..10 {
            if self.unowned().await?.is_empty() {
                return Ok(Vec::new());
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        self.unowned().await
    }

    async fn unowned(&self) -> Result<Vec<crate::host::Orphan>> {
        let entries = self.0.registry.all();
        let group = |e: &Arc<Entry>| match (e.up(), &e.record().life.live) {
            (Some(up), _) => Some(up.group.path().to_owned()),
            (None, Some(live)) => Some(self.cgroup_path(e.tenant, &live.cgroup)),
            (None, None) => None,
        };
        let ready = self.0.zygotes.look(|with| with.group.path().to_owned());
        let known = crate::host::Known {
            groups: entries.iter().filter_map(group).chain(ready).collect(),
            links: self.0.networks.links(),
            mounts: std::collections::BTreeSet::new(),
            runs: entries.iter().map(|e| e.id.to_string()).collect(),
        };
        let engine = self.clone();
        crate::blocking(move || crate::host::orphans(&engine.0.instance, &engine.0.cgroups, &known)).await
    }

    /// The host's control groups.
    pub fn cgroups(&self) -> &Cgroups {
        &self.0.cgroups
    }

    pub(crate) fn images_handle(&self) -> &Images {
        &self.0.images
    }

    pub(crate) fn networks_handle(&self) -> &Networks {
        &self.0.networks
    }

    pub(crate) fn volumes_handle(&self) -> &Volumes {
        &self.0.volumes
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn execs(&self) -> &Execs {
        &self.0.execs
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.0.defaults
    }

    pub(crate) fn builds(&self) -> &crate::build::Builds {
        &self.0.builds
    }

    pub(crate) fn zygotes(&self) -> &Zygotes {
        &self.0.zygotes
    }

    /// How long logs of removed containers are kept.
    pub fn retention(&self) -> crate::log::Retention {
        self.0.retention
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.0.roots
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    /// The tenant's uid block.
    pub(crate) fn block(&self, tenant: TenantId) -> Result<Block> {
        self.0.tenants.block(tenant)
    }

    /// `data_root/containers/<id>`.
    pub(crate) fn container_folder(&self, id: &ContainerId) -> PathBuf {
        self.0.instance.data_root().join("containers").join(id.as_str())
    }

    /// `run_dir/c/<id>`.
    pub(crate) fn run_folder(&self, id: &ContainerId) -> PathBuf {
        self.0.runtime.folder(id)
    }

    /// The path below the mount points of a tenant's control group of this name.
    pub(crate) fn cgroup_path(&self, tenant: TenantId, name: &str) -> PathBuf {
        self.0.cgroups.root().join(tenant.to_string()).join(name)
    }

    /// Where a tenant's containers find its own API socket.
    pub(crate) fn tenant_socket(&self, tenant: TenantId) -> Result<PathBuf> {
        let tenant = self.0.tenants.get(tenant).ok_or_else(|| Error::no_such("tenant", &tenant.to_string()))?;
        Ok(self.0.instance.run_dir().join("t").join(format!("{}.sock", tenant.name)))
    }

    /// A task that the engine owns: awaited by nobody, ended with the engine.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.tasks.spawn(work)
    }

    /// Runs work that must not stop half way when whoever asked goes away.
    pub(crate) async fn uncancelled<T, F, W>(&self, who: &Subject, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Engine, Subject) -> W,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let task = self.0.tasks.spawn(work(self.clone(), who.clone()));
        task.await.doing(|| "doing what was asked".to_owned())?
    }

    /// Whether this credential may do such a thing at all; a refusal is audited.
    pub(crate) async fn judge(&self, who: &Subject, action: Action) -> Result<()> {
        match policy::authorize_action(who, action) {
            Ok(()) => Ok(()),
            Err(denied) => Err(self.denied(who, action.as_str(), "", denied).await),
        }
    }

    /// Records a refusal; returns it as the error to give.
    pub(crate) async fn denied(&self, who: &Subject, action: &str, object: &str, denied: Denied) -> Error {
        let rule = denied.rule();
        let error = Error::from(denied);
        self.0.audit.denied(audit::Entry::of(who, action, object).by(rule), &error).await;
        error
    }

    /// Does something whose intent is audited before and whose outcome after.
    pub(crate) async fn audited<T>(&self, who: &Subject, action: Action, object: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.judge(who, action).await?;
        let id = self.0.audit.intent_alone(&audit::Entry::of(who, action.as_str(), object)).await?;
        let outcome = work.await;
        self.0.audit.outcome(id, &outcome).await;
        outcome
    }

    /// Tells an event.
    pub(crate) fn tell(&self, tenant: TenantId, kind: &'static str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let time = Timestamp::now();
        self.0.events.send(Event { tenant, kind, action: action.to_owned(), id: id.to_owned(), attributes, time });
    }

    /// The subject's events: those kept since the start, then those to come (of everybody: the caller keeps the subject's).
    pub fn events(&self, who: &Subject) -> (Vec<Arc<Event>>, OwnEvents) {
        let (kept, live) = self.0.events.subscribe();
        let kept = kept.into_iter().filter(|e| e.tenant == who.tenant).collect();
        (kept, OwnEvents { tenant: who.tenant, live })
    }

    /// Numbers for `info`.
    pub async fn counts(&self, who: &Subject) -> Result<Counts> {
        let mut counts = Counts::default();
        for entry in self.0.registry.of(who.tenant) {
            counts.containers += 1;
            match entry.record().life.state {
                State::Running(_) => counts.running += 1,
                State::Paused(_) => counts.paused += 1,
                _ => counts.stopped += 1,
            }
        }
        counts.images = self.0.images.list(who.tenant, &ImageFilter::default()).await?.len();
        Ok(counts)
    }

    /// How long removed volumes can be restored.
    pub(crate) fn trash_time(&self) -> std::time::Duration {
        self.0.trash
    }

    /// Empties the trash in the background.
    pub(crate) fn sweep_trash(&self) {
        self.0.janitor.empty(self.0.instance.data_root().join("trash"));
    }

    /// Writes a container's life now.
    pub(crate) async fn save_life(&self, entry: &Entry) -> Result<()> {
        let mut tx = self.0.inventory.begin().await?;
        let life = entry.record().life.clone();
        containers::set_life(&mut tx, &entry.id, &life).await?;
        inventory::commit(tx).await
    }

    /// Writes a container's life soon, many in one transaction.
    pub(crate) fn save_life_later(&self, entry: &Arc<Entry>) {
        self.0.life.save(entry);
    }
}

/// A subject's events as they happen. One that falls behind by thousands misses the oldest.
pub struct OwnEvents {
    tenant: TenantId,
    live: broadcast::Receiver<Arc<Event>>,
}

impl OwnEvents {
    /// The next one; `None` when the engine is gone.
    pub async fn recv(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.live.recv().await {
                Ok(event) if event.tenant == self.tenant => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => tracing::warn!(missed, "an event listener is too slow"),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
