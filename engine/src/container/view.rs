//! What the engine tells of a container: a snapshot, in the engine's words.

use super::spec::{ContainerPort, ContainerSpec, Healthcheck};
use crate::id::{ContainerId, Digest, EndpointId, ExecId, NetworkId};
use crate::image::ImageConfig;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A container's life. Each state holds only what that state has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running(Running),
    /// Frozen.
    Paused(Running),
    /// Exited and about to be started again by its restart policy.
    Restarting(Finished),
    /// Its process ended.
    Exited(Finished),
    /// Being removed.
    Removing,
    /// Could not be removed or adopted; only `rm` helps.
    Dead(Finished),
}

/// What a running container has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Process 1 as the host sees it.
    pub pid: i32,
    /// When it started.
    pub started: Timestamp,
    /// When it ended the last time; `None`: this is its first run.
    #[serde(default)]
    pub ended_before: Option<Timestamp>,
}

/// What an exited container has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Exit code; 128 + signal when killed.
    pub code: i32,
    /// Whether the kernel killed it at its memory limit.
    pub oom_killed: bool,
    /// Why it could not be started, if so.
    pub error: String,
    /// When it had started; `None`: it never ran.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
}

impl State {
    /// Docker's word: created, running, paused, restarting, removing, exited, dead.
    pub fn word(&self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running(_) => "running",
            State::Paused(_) => "paused",
            State::Restarting(_) => "restarting",
            State::Exited(_) => "exited",
            State::Removing => "removing",
            State::Dead(_) => "dead",
        }
    }

    /// Whether a process is there (running or paused).
    pub fn is_up(&self) -> bool {
        matches!(self, State::Running(_) | State::Paused(_))
    }

    /// When its process ended the last time.
    pub fn ended(&self) -> Option<Timestamp> {
        match self {
            State::Running(run) | State::Paused(run) => run.ended_before,
            State::Restarting(end) | State::Exited(end) | State::Dead(end) => Some(end.finished),
            State::Created | State::Removing => None,
        }
    }
}

/// A container as its tenant sees it.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// Its names as a link: `web/db` where `web` calls it `db`. Lists have them, inspect does not.
    pub link_names: Vec<String>,
    /// What was asked, with the limits and the restart policy of now.
    pub spec: Arc<ContainerSpec>,
    /// The image it was made from.
    pub image_id: Digest,
    /// The platform of the image.
    pub platform: String,
    /// What the image's configuration gave.
    pub image_config: Arc<ImageConfig>,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Its life.
    pub state: State,
    /// Health, when it has a check.
    pub health: Option<Health>,
    /// Why the last start failed: the exit code shells use for it, and the text.
    pub failure: Option<(i32, String)>,
    /// How often the restart policy started it.
    pub restart_count: u32,
    /// Its networks, by name.
    pub networks: BTreeMap<String, EndpointView>,
    /// Its published ports, as they are.
    pub ports: Vec<PublishedPort>,
    /// Its mounts.
    pub mounts: Arc<Vec<MountView>>,
    /// The argv that runs: entry point and command merged.
    pub argv: Vec<String>,
    /// The environment that runs.
    pub env: Vec<String>,
    /// The working directory that is used.
    pub working_dir: String,
    /// The user that is used, as text.
    pub user: String,
    /// The health check that is used.
    pub healthcheck: Option<Healthcheck>,
    /// The stop signal that is used.
    pub stop_signal: String,
    /// The log driver that is used.
    pub log_driver: String,
    /// Where the log lies, where the driver has a file.
    pub log_path: Option<String>,
    /// Host paths of the generated /etc files.
    pub hosts_path: String,
    /// See `hosts_path`.
    pub hostname_path: String,
    /// See `hosts_path`.
    pub resolv_conf_path: String,
    /// Running execs.
    pub execs: Vec<ExecId>,
    /// First host uid of its user namespace; `None`: it shares the host's.
    pub uid_base: Option<u32>,
    /// The overlay's folders. Inspect has them, lists do not.
    pub overlay: Option<OverlayView>,
}

/// The folders of a container's overlay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayView {
    /// Layers, uppermost first.
    pub lower: Vec<String>,
    /// The writable layer.
    pub upper: String,
    /// Overlayfs' work folder.
    pub work: String,
    /// Where it is mounted (inside the container only).
    pub merged: String,
}

/// Health, as the last probes tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// starting, healthy, unhealthy.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five probes.
    pub log: Vec<Probe>,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Began.
    pub start: Timestamp,
    /// Ended.
    pub end: Timestamp,
    /// 0 healthy.
    pub exit_code: i32,
    /// At most 4 KiB.
    pub output: String,
}

/// A container's place in one network.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointView {
    /// The network.
    pub network: NetworkId,
    /// This attachment; `None` while the container is down.
    pub endpoint: Option<EndpointId>,
    /// What was asked.
    pub spec: super::spec::EndpointSpec,
    /// IPv4 address and prefix length.
    pub ipv4: Option<(std::net::Ipv4Addr, u8)>,
    /// IPv6 address and prefix length.
    pub ipv6: Option<(std::net::Ipv6Addr, u8)>,
    /// IPv4 gateway.
    pub gateway4: Option<std::net::Ipv4Addr>,
    /// IPv6 gateway.
    pub gateway6: Option<std::net::Ipv6Addr>,
    /// MAC address, `02:42:…`.
    pub mac_address: String,
    /// Names that resolve to it.
    pub dns_names: Vec<String>,
}

impl EndpointView {
    /// A place in a network that has no addresses.
    pub(crate) fn bare(network: NetworkId) -> Self {
        Self {
            network,
            endpoint: None,
            spec: super::spec::EndpointSpec::default(),
            ipv4: None,
            ipv6: None,
            gateway4: None,
            gateway6: None,
            mac_address: String::new(),
            dns_names: Vec::new(),
        }
    }
}

/// A port as it is published now.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// In the container.
    pub container: ContainerPort,
    /// Host address.
    pub ip: IpAddr,
    /// Host port.
    pub port: u16,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountView {
    /// bind, volume, tmpfs, image.
    pub kind: super::spec::MountKind,
    /// Volume name.
    pub name: String,
    /// Host path (a volume's data folder).
    pub source: String,
    /// In the container.
    pub destination: String,
    /// Volume driver.
    pub driver: String,
    /// Options as asked (`ro`, `z`).
    pub mode: String,
    /// Writable.
    pub rw: bool,
    /// Propagation of binds.
    pub propagation: String,
}
