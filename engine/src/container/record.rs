//! A container as the engine keeps it: what never changes, what people change, and its life. The three travel apart, for
//! most writes touch only the last.

use super::effective::EffectiveSpec;
use super::spec::{ContainerSpec, EndpointSpec, Resources, RestartPolicy};
use super::view::{Health, MountView, State};
use crate::id::{ContainerId, Digest, ExecId, NetworkId, TenantId};
use crate::image::ImageConfig;
use crate::policy::BindAccess;
use crate::{Error, Result, Role, Scope, Subject, UnixAccount, UserId, Via};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// What never changes after create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fixed {
    /// What was asked. Shared with every view of the container, as the image's configuration and the mounts are.
    pub spec: Arc<ContainerSpec>,
    /// What that means, as it was judged.
    pub effective: EffectiveSpec,
    /// The image it was made from, and its platform.
    pub image: Digest,
    pub platform: String,
    /// Its layers' folders, lowest first: the store keeps them while the container is there.
    pub layers: Vec<PathBuf>,
    /// What the image's configuration gave at that time: the image may be gone by the next start.
    pub image_config: Arc<ImageConfig>,
    /// Mounts with their volume names and sources decided.
    pub mounts: Arc<Vec<MountView>>,
    /// How each bind's source is opened, by its target.
    pub binds: BTreeMap<String, BindAccess>,
    /// Who made it: its starts are judged by what that person may.
    pub creator: Creator,
    /// The images that are mounted in it, by target.
    #[serde(default)]
    pub images: BTreeMap<String, super::image_mount::MountedImage>,
    /// What a build mounts into it; `None`: it is no build's.
    #[serde(default)]
    pub step: Option<super::step::Step>,
}

impl Fixed {
    /// The images whose layers it needs: the one it was made from, and those that are mounted in it.
    pub fn images_used(&self) -> impl Iterator<Item = Digest> + '_ {
        std::iter::once(self.image).chain(self.images.values().map(|mounted| mounted.image))
    }
}

/// Who made a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Creator {
    pub user: Option<i64>,
    pub name: String,
    pub admin: bool,
    pub unix: Option<(u32, u32)>,
}

impl Creator {
    pub fn of(who: &Subject) -> Self {
        Self { user: who.user.map(|u| u.0), name: who.name.clone(), admin: who.role == Role::Admin, unix: who.unix.map(|u| (u.uid, u.gid)) }
    }

    /// The creator as a subject, acting by the engine.
    pub fn subject(&self, tenant: TenantId, tenant_name: String) -> Subject {
        Subject {
            user: self.user.map(UserId),
            name: self.name.clone(),
            tenant,
            tenant_name,
            role: if self.admin { Role::Admin } else { Role::User },
            unix: self.unix.map(|(uid, gid)| UnixAccount { uid, gid }),
            via: Via::Engine,
            scope: Scope::Write,
            ip: None,
        }
    }
}

/// What update, rename, connect and disconnect change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mutable {
    pub resources: Resources,
    pub restart: RestartPolicy,
    /// Its networks by name.
    pub networks: BTreeMap<String, Joined>,
}

/// A network that a container belongs to, running or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub network: NetworkId,
    pub spec: EndpointSpec,
}

/// A container's life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Life {
    pub state: State,
    /// Why the last start failed, with the exit code that shells use for it.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// How often the restart policy started it.
    #[serde(default)]
    pub restarts: u32,
    /// Whether somebody stopped it: `unless-stopped` then leaves it alone.
    #[serde(default)]
    pub stopped_by_hand: bool,
    #[serde(default)]
    pub health: Option<Health>,
    /// The facts of the running process; they outlive the server.
    #[serde(default)]
    pub live: Option<Live>,
}

/// Why a start failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub code: i32,
    pub error: String,
}

/// What a running container holds in the kernel beyond its places in networks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Live {
    /// Whether it is frozen because its tenant's disk quota is used up.
    #[serde(default)]
    pub held: bool,
    /// Its control group's name under the tenant's.
    pub cgroup: String,
}

/// What changes in a container, under one short lock.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub name: String,
    pub mutable: Mutable,
    pub life: Life,
    pub execs: Vec<ExecId>,
}

impl Record {
    /// The links of the default network: the other's id, and what it is called here.
    pub fn legacy_links(&self) -> impl Iterator<Item = (&str, &str)> {
        let links = self.mutable.networks.get("bridge").map(|joined| joined.spec.links.as_slice()).unwrap_or_default();
        links.iter().filter_map(|link| link.split_once(':'))
    }
}

/// How a life's turning points are told to those who wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// How many times its process ended.
    pub exits: u64,
    /// Exit code of the last time.
    pub code: i32,
    pub removed: bool,
}

/// One container.
pub(crate) struct Entry {
    pub id: ContainerId,
    pub tenant: TenantId,
    pub created: Timestamp,
    pub created_by: String,
    pub fixed: Arc<Fixed>,
    record: Mutex<Record>,
    /// Held by whoever starts, stops, restarts, removes or updates it: one at a time.
    pub lifecycle: tokio::sync::Mutex<()>,
    pub turns: watch::Sender<Turns>,
    /// Whether a process may still write to the log.
    pub writing: watch::Sender<bool>,
    /// The process and its overlay while it is up.
    pub up: Mutex<Option<Arc<super::start::Up>>>,
    /// The teardown of the last process, while it goes on.
    pub teardown: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Held by the task that sends its log on.
    pub shipping: Arc<tokio::sync::Mutex<()>>,
    /// Attachments that wait for the start.
    pub waiting: Mutex<Vec<super::attach::Waiting>>,
}

impl Entry {
    pub fn new(id: ContainerId, tenant: TenantId, created: Timestamp, created_by: String, fixed: Fixed, record: Record) -> Arc<Self> {
        Arc::new(Self {
            id,
            tenant,
            created,
            created_by,
            fixed: Arc::new(fixed),
            record: Mutex::new(record),
            lifecycle: tokio::sync::Mutex::new(()),
            turns: watch::channel(Turns::default()).0,
            writing: watch::channel(false).0,
            up: Mutex::new(None),
            teardown: Mutex::default(),
            shipping: Arc::default(),
            waiting: Mutex::default(),
        })
    }

    /// The changing part, for a few lines.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        // A panic while it was held left it whole: each writer sets single fields.
        self.record.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for the turn of whoever asks to change its life; `asked`: the name it was found by.
    ///
    /// # Errors
    /// `NotFound` when it was removed while this waited: as if it had come a moment later.
    pub async fn turn(&self, asked: &str) -> Result<tokio::sync::MutexGuard<'_, ()>> {
        let turn = self.lifecycle.lock().await;
        if self.turns.borrow().removed { Err(Error::no_such("container", asked)) } else { Ok(turn) }
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.record().name.clone()
    }

    /// The process, if it is up.
    pub fn up(&self) -> Option<Arc<super::start::Up>> {
        self.up.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}
