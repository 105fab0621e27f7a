//! The effective specification of a container: everything that will happen, with nothing left to look up by default.
//!
//! [`effective`] is a pure function of what was asked ([`ContainerSpec`]), what the image says and what this server
//! defaults to. It parses every string once and answers with Docker's texts where something is wrong. Between it and
//! `policy::authorize` the facade replaces the names of other containers by ids the subject owns
//! ([`EffectiveSpec::resolve_containers`], [`EffectiveSpec::merge_volumes_from`]); after `authorize` nothing changes any more, and the
//! audit row carries [`EffectiveSpec::hash`].
//!
//! The parts: `resolve` does the merging, the other files parse one noun each.

mod logging;
mod mount;
mod networking;
mod privilege;
mod process;
mod resolve;
pub mod signal;
pub(crate) mod sysctl;
pub(crate) mod text;
pub mod user;
pub mod volume;

pub use resolve::effective;
pub use text::parse_size;

use super::spec::{ContainerPort, EndpointSpec, Healthcheck, HostPort, Resources, RestartPolicy, Ulimit};
use crate::caps::CapSet;
use crate::cgroup::Support;
pub use crate::cgroup::{Access, DeviceRule};
use crate::{Digest, Error, Result};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// A container as it will be. The order of the fields is the order of their judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EffectiveSpec {
    /// The image reference as the client wrote it; the facade resolves it to one the tenant sees.
    pub image: String,
    /// `os/arch[/variant]`, when a platform was asked for.
    pub platform: Option<String>,
    /// What runs.
    pub process: Process,
    /// Its name in the network.
    pub host: HostName,
    /// Which namespaces are its own.
    pub namespaces: Namespaces,
    /// What it may do.
    pub privileges: Privileges,
    /// Root file system read-only.
    pub read_only_root: bool,
    /// What is mounted over the image, parents before children, each target once.
    pub mounts: Vec<Mount>,
    /// Containers whose mounts are still to be merged in; empty when judged.
    pub volumes_from: Vec<VolumesFrom>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Further device cgroup rules.
    pub device_rules: Vec<DeviceRule>,
    /// GPUs: requests by driver.
    pub gpus: Vec<super::spec::DeviceRequest>,
    /// Namespaced sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// Limits, in range.
    pub resources: Resources,
    /// What to do when it exits.
    pub restart: RestartPolicy,
    /// Remove it when it exits.
    pub auto_remove: bool,
    /// Where its output goes.
    pub log: Log,
    /// How it is stopped.
    pub stop: Stop,
    /// How its health is known; `None`: it has no check.
    pub health: Option<HealthProbe>,
    /// Which networks it is in.
    pub network: Network,
    /// Labels: the image's and the client's.
    pub labels: BTreeMap<String, String>,
    /// OCI annotations: data, never interpreted.
    pub annotations: BTreeMap<String, String>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Entry point and command; never empty.
    pub argv: Vec<String>,
    /// `NAME=value` in Docker's order: PATH, HOSTNAME and TERM first, then the client's, then the image's. A later value of a
    /// name took the earlier one's place. HOME is missing when nobody set it: it comes from passwd at start
    /// ([`user::Credentials::home`]). HOSTNAME is there only when a host name was asked for: else the facade puts
    /// `HOSTNAME=<short id>` after PATH ([`EffectiveSpec::name_host`]).
    pub env: Vec<String>,
    /// Absolute; made at start if it is missing.
    pub working_dir: String,
    /// `user[:group]` as text, resolved inside the root file system at start; empty: root.
    pub user: String,
    /// Extra groups as text.
    pub extra_groups: Vec<String>,
    /// A terminal.
    pub tty: bool,
    /// Whether stdin stays open.
    pub open_stdin: bool,
    /// Whether stdin closes when the first attached client goes.
    pub stdin_once: bool,
    /// Initial terminal size, rows and columns.
    pub console_size: Option<(u16, u16)>,
    /// Our reaping init as process 1.
    pub init: bool,
    /// Resource limits: the server's defaults with the client's in their place. −1: unlimited.
    pub rlimits: Vec<Ulimit>,
    /// −1000 to 1000.
    pub oom_score_adj: i32,
}

/// Names in the UTS namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName {
    /// Empty: the short id, or the host's in its UTS namespace, or the other container's in its network.
    pub hostname: String,
    /// May be empty.
    pub domainname: String,
}

/// Which namespaces are the container's own. Its mount namespace always is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// User ids.
    pub user: UserNamespace,
    /// Processes.
    pub pid: Shared,
    /// System V IPC and POSIX queues, and /dev/shm with them.
    pub ipc: Ipc,
    /// Host name.
    pub uts: OwnOrHost,
    /// The view of the cgroup tree.
    pub cgroup: OwnOrHost,
    // The network namespace follows from `Network::mode`.
}

/// A container's user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserNamespace {
    /// Of its own, on the tenant's block.
    Tenant,
    /// Of its own, on a block of its own.
    Isolated,
    /// The host's: root is root.
    Host,
}

/// Own, the host's, or another container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shared {
    /// Of its own.
    Private,
    /// The host's.
    Host,
    /// This container's: a name as asked, the full id once the facade resolved it.
    Container(String),
}

/// An IPC namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ipc {
    /// Of its own, not to be joined.
    Private,
    /// Of its own, other containers may join.
    Shareable,
    /// Of its own, without /dev/shm.
    None,
    /// The host's.
    Host,
    /// This container's, as in [`Shared::Container`].
    Container(String),
}

/// Own or the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnOrHost {
    /// Of its own.
    Private,
    /// The host's.
    Host,
}

/// What a container's processes may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Privileges {
    /// Docker's `--privileged`. The fields below say what it means; this one is for inspect and exec.
    pub privileged: bool,
    /// The most it can have; a non-root user's effective set is empty.
    pub capabilities: CapSet,
    /// System call filter.
    pub seccomp: Seccomp,
    /// System calls of the 32-bit architectures.
    pub syscalls_32bit: bool,
    /// AppArmor profile, where the host has AppArmor.
    pub apparmor: AppArmor,
    /// setuid programs gain nothing.
    pub no_new_privileges: bool,
    /// Paths hidden from it.
    pub masked_paths: Vec<String>,
    /// Paths it cannot write.
    pub readonly_paths: Vec<String>,
}

/// A system call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// Ours, which is Docker's and a little tighter.
    Default,
    /// None.
    Unconfined,
    /// This one, JSON in Docker's format.
    Profile(String),
}

/// An AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppArmor {
    /// Ours.
    Default,
    /// None.
    Unconfined,
    /// One the administrator loaded.
    Profile(String),
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute and clean path in the container; never `/`.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// The mode as it was written in `-v` (`ro,z`), for inspect.
    pub mode: String,
    /// From VOLUME or `-v /path`: nobody chose what lies there, so another container's mount at the target wins.
    pub implied: bool,
    /// What it is.
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MountSource {
    /// A host path.
    Bind {
        /// Absolute and clean; symlinks are not followed below what policy allows.
        path: PathBuf,
        /// Make it (a folder, owned by who asked) when it is missing.
        create: bool,
        /// With the mounts below it.
        recursive: bool,
        /// Whether read-only covers the mounts below it too.
        read_only_below: ReadOnlyBelow,
        /// Propagation of mounts.
        propagation: Propagation,
    },
    /// A volume of the tenant.
    Volume {
        /// Its name; `None`: one of its own, removed with it.
        name: Option<String>,
        /// `local`.
        driver: String,
        /// Driver options of a volume made for this mount.
        options: BTreeMap<String, String>,
        /// Labels of a volume made for this mount.
        labels: BTreeMap<String, String>,
        /// Fill an empty one with what the image has there.
        copy: bool,
        /// Only this folder of it; relative and clean, may be empty.
        subpath: String,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; `None`: half of the memory, as the kernel has it.
        size: Option<u64>,
        /// Mode bits.
        mode: u32,
        /// Owner inside the container.
        uid: u32,
        /// Group inside the container.
        gid: u32,
        /// Inodes; `None`: as the kernel has it.
        inodes: Option<u64>,
        /// Programs cannot be run from it.
        noexec: bool,
        /// setuid bits have no effect.
        nosuid: bool,
        /// Device files have no effect.
        nodev: bool,
    },
    /// Another image's file tree, read-only.
    Image {
        /// Its reference.
        reference: String,
        /// Only this folder of it.
        subpath: String,
    },
    /// The tenant's own API socket: what `-v /var/run/docker.sock:…` gives.
    TenantSocket,
}

/// Whether a read-only bind covers what is mounted below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadOnlyBelow {
    /// Where the kernel can (`mount_setattr` with AT_RECURSIVE).
    IfPossible,
    /// Not.
    No,
    /// Or it is an error.
    Required,
}

/// Propagation of a bind mount (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Propagation {
    Private,
    RPrivate,
    Slave,
    RSlave,
    Shared,
    RShared,
}

impl Propagation {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Private => "private",
            Propagation::RPrivate => "rprivate",
            Propagation::Slave => "slave",
            Propagation::RSlave => "rslave",
            Propagation::Shared => "shared",
            Propagation::RShared => "rshared",
        }
    }
}

/// A container whose mounts are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Its name or id.
    pub container: String,
    /// Take them all read-only.
    pub read_only: bool,
}

/// A device of the host in the container. A folder stands for all devices in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute and clean path on the host.
    pub host: PathBuf,
    /// Absolute path in the container.
    pub container: String,
    /// What it may do with it.
    pub access: Access,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// How it is kept.
    pub driver: LogDriver,
    /// The options as asked, for inspect.
    pub options: BTreeMap<String, String>,
}

/// A log driver with its options parsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "kebab-case")]
pub enum LogDriver {
    /// Nowhere.
    None,
    /// Our framed format.
    Local {
        /// Bytes of one file.
        max_size: u64,
        /// Files, with the current one.
        max_files: u32,
        /// Whether rotated files are compressed.
        compress: bool,
    },
    /// Docker's lines of JSON.
    JsonFile {
        /// Bytes of one file; `None`: without end, as was asked.
        max_size: Option<u64>,
        /// Files, with the current one.
        max_files: u32,
        /// Whether rotated files are compressed.
        compress: bool,
    },
    /// Our framed format, and sent on from there.
    Sent {
        /// Bytes of one file.
        max_size: u64,
        /// Files, with the current one.
        max_files: u32,
        /// Whether rotated files are compressed.
        compress: bool,
        /// Whether it can be read here as well (Docker's dual logging).
        readable: bool,
        /// Where to.
        shipping: crate::log::ship::Shipping,
    },
}

impl LogDriver {
    /// Docker's name.
    pub fn name(&self) -> &'static str {
        match self {
            LogDriver::None => "none",
            LogDriver::Local { .. } => "local",
            LogDriver::JsonFile { .. } => "json-file",
            LogDriver::Sent { shipping, .. } => shipping.name(),
        }
    }

    /// Whether files that were rotated out are compressed.
    pub fn compresses(&self) -> bool {
        match self {
            LogDriver::None => false,
            LogDriver::Local { compress, .. } | LogDriver::JsonFile { compress, .. } | LogDriver::Sent { compress, .. } => *compress,
        }
    }
}

/// How a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal.
    pub signal: signal::Signal,
    /// How long it has before SIGKILL, seconds; −1: for ever.
    pub timeout: i64,
}

/// How a container's health is known, every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HealthProbe {
    /// What runs in the container: 0 is healthy.
    pub argv: Vec<String>,
    /// Between probes.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Failures that do not count after the start.
    pub start_period: Duration,
    /// Between probes during the start period.
    pub start_interval: Duration,
    /// Failures in a row until unhealthy.
    pub retries: u32,
    /// The check as merged, before defaults: what inspect shows.
    pub shown: Healthcheck,
}

/// A container's place in networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Whose network namespace, and the first network.
    pub mode: NetworkMode,
    /// Its networks by name or id as asked, the first one among them; empty unless `mode` is a network.
    pub endpoints: BTreeMap<String, EndpointSpec>,
    /// What is published; one entry for each host address and port range.
    pub ports: Vec<PortRequest>,
    /// All ports it says it listens on.
    pub exposed: Vec<ContainerPort>,
    /// DNS servers; empty: the server's.
    pub dns: Vec<IpAddr>,
    /// resolv.conf options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Lines for /etc/hosts.
    pub extra_hosts: Vec<ExtraHost>,
}

/// Whose network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// Its own, with loopback only.
    None,
    /// The host's.
    Host,
    /// This container's, as in [`Shared::Container`].
    Container(String),
    /// Its own, in this network (`bridge`: the tenant's default one).
    Network(String),
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    /// In the container.
    pub container: ContainerPort,
    /// On the host.
    pub host: HostPort,
}

/// A line for /etc/hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// Its address; `None`: the host's, as the container reaches it (`host-gateway`).
    pub address: Option<IpAddr>,
}

/// What this server gives where nobody said anything.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// The log driver and its options.
    pub log: super::spec::LogSpec,
    /// Whether containers get our init as process 1.
    pub init: bool,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of /dev/shm.
    pub shm_size: u64,
    /// Seconds before SIGKILL.
    pub stop_timeout: i64,
    /// Where this instance's sockets lie: mounting one of them gives the tenant's own.
    pub run_dir: PathBuf,
    /// What the host's cgroups can limit.
    pub limits: Support,
}

impl Defaults {
    /// The built-in ones for an instance.
    pub fn new(run_dir: impl Into<PathBuf>, limits: Support) -> Self {
        // A default above what this process may give would keep every container from starting.
        let limit = |name: &str, resource, soft: i64, hard: i64| {
            let ours = match rustix::process::getrlimit(resource).maximum {
                Some(max) => i64::try_from(max).unwrap_or(i64::MAX),
                None => i64::MAX,
            };
            let least = |v: i64| {
                if v < 0 && ours == i64::MAX {
                    -1
                } else if v < 0 {
                    ours
                } else {
                    v.min(ours)
                }
            };
            Ulimit { name: name.into(), soft: least(soft), hard: least(hard) }
        };
        Self {
            // What clients expect where nothing was asked: docker-py's `run` gives back the output of no other driver, and log
            // shippers look for its file. Unlike dockerd's it does not fill the disk.
            log: super::spec::LogSpec {
                driver: "json-file".into(),
                options: [("max-size", "20m"), ("max-file", "5")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            },
            init: false,
            // SECURITY section 3: more than the kernel's 1024 by hand only (setrlimit), no core dumps unless asked for.
            ulimits: vec![
                limit("core", Resource::Core, 0, -1),
                limit("memlock", Resource::Memlock, 8 << 20, 8 << 20),
                limit("nofile", Resource::Nofile, 1024, 524_288),
            ],
            shm_size: 64 << 20,
            stop_timeout: 10,
            run_dir: run_dir.into(),
            limits,
        }
    }
}

/// Paths nobody may read: Docker's list with this host's CPUs, found once.
pub static MASKED_PATHS: LazyLock<Vec<String>> = LazyLock::new(crate::runtime::default_masked_paths);

/// Paths nobody may write: Docker's list.
pub static READONLY_PATHS: LazyLock<Vec<String>> = LazyLock::new(crate::runtime::default_read_only_paths);

/// A container whose namespaces another one asks to share, as the subject owns it.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// Its id.
    pub id: &'a crate::ContainerId,
    /// Which namespaces it has.
    pub namespaces: &'a Namespaces,
    /// Whose network it has.
    pub network: &'a NetworkMode,
}

impl EffectiveSpec {
    /// Replaces the names of containers whose namespaces are shared by their ids. Where such a container itself has the host's or a third one's
    /// namespace, that is what is shared, and judged: sharing is no way around a grant.
    ///
    /// # Errors
    /// What `lookup` says: an absent container and a foreign one are both `no_such("container", …)`. `Invalid` for an IPC namespace that is not
    /// shareable.
    pub fn resolve_containers<'a>(&mut self, lookup: impl Fn(&str) -> Result<Peer<'a>>) -> Result<()> {
        if let Shared::Container(name) = &self.namespaces.pid {
            let peer = lookup(name)?;
            self.namespaces.pid = match &peer.namespaces.pid {
                Shared::Private => Shared::Container(peer.id.to_string()),
                shared => shared.clone(),
            };
            if self.namespaces.pid == Shared::Host {
                self.namespaces.user = UserNamespace::Host;
            }
        }
        if let Ipc::Container(name) = &self.namespaces.ipc {
            let peer = lookup(name)?;
            self.namespaces.ipc = match &peer.namespaces.ipc {
                Ipc::Shareable => Ipc::Container(peer.id.to_string()),
                Ipc::Private | Ipc::None => {
                    return Err(Error::invalid(format!(
                        "container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                        peer.id
                    )));
                }
                shared => shared.clone(),
            };
        }
        if let NetworkMode::Container(name) = &self.network.mode {
            let peer = lookup(name)?;
            self.network.mode = match peer.network {
                NetworkMode::None | NetworkMode::Network(_) => NetworkMode::Container(peer.id.to_string()),
                shared => shared.clone(),
            };
        }
        Ok(())
    }

    /// Replaces `volumes_from` by the mounts `lookup` knows for each name; the container's own mounts win at a target, a later
    /// container's over an earlier one's. They are judged with the rest. A mount that `lookup` returns is the other container's effective one, with
    /// the name of its volume where that one was anonymous.
    ///
    /// # Errors
    /// What `lookup` says.
    pub fn merge_volumes_from(&mut self, mut lookup: impl FnMut(&str) -> Result<Vec<Mount>>) -> Result<()> {
        let own: Vec<String> = self.mounts.iter().filter(|m| !m.implied).map(|m| m.target.clone()).collect();
        for from in std::mem::take(&mut self.volumes_from) {
            for mut mount in lookup(&from.container)? {
                // As with Docker: a tmpfs is the other container's alone.
                if matches!(mount.source, MountSource::Tmpfs { .. }) || own.contains(&mount.target) {
                    continue;
                }
                self.mounts.retain(|m| m.target != mount.target);
                mount.read_only |= from.read_only;
                mount.implied = false;
                self.mounts.push(mount);
            }
        }
        self.order_mounts();
        Ok(())
    }

    /// Parents before children, so that a mount never hides an earlier one.
    fn order_mounts(&mut self) {
        self.mounts.sort_by(|a, b| {
            let depth = |m: &Mount| m.target.split('/').count();
            depth(a).cmp(&depth(b)).then_with(|| a.target.cmp(&b.target))
        });
    }

    /// Gives a container without a host name the one its namespace has: `name` is the short id, the host's name or the other container's.
    /// Also sets HOSTNAME where `in_env`, unless the image or the client did.
    pub fn name_host(&mut self, name: &str, in_env: bool) {
        if self.host.hostname.is_empty() {
            name.clone_into(&mut self.host.hostname);
            if in_env && !self.process.env.iter().any(|e| e.starts_with("HOSTNAME=")) {
                let after_path = usize::from(self.process.env.first().is_some_and(|e| e.starts_with("PATH=")));
                self.process.env.insert(after_path, format!("HOSTNAME={name}"));
            }
        }
    }

    /// SHA-256 of the canonical JSON of all of it: what the audit row says was agreed to. Field order is the declaration's, maps are
    /// sorted, so equal specifications have equal hashes.
    pub fn hash(&self) -> Digest {
        let json = serde_json::to_vec(self).unwrap_or_else(|e| unreachable!("maps with text keys and finite numbers only: {e}"));
        Digest::of(&json)
    }
}
