//! What was asked of a container, in the engine's words: parsed once at the edge, kept as it was asked (inspect echoes
//! it, clients re-create from it), and never changed by what happens later.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A container as asked for: the process, its surroundings and its limits. Serialised into the inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image reference as the client wrote it (`alpine`, `host:5000/x@sha256:…`, an image id).
    pub image: String,
    /// `os/arch[/variant]`, when a platform was asked for.
    pub platform: Option<String>,
    /// The host name; empty: the short container id.
    pub hostname: String,
    /// The domain name.
    pub domainname: String,
    /// `user[:group]`, by name or number; empty: the image's.
    pub user: String,
    /// Streams the creator said it would attach (stdin, stdout, stderr). Only echoed.
    pub attach: [bool; 3],
    /// Whether a terminal is allocated.
    pub tty: bool,
    /// Whether stdin stays open.
    pub open_stdin: bool,
    /// Whether stdin closes when the first attached client goes.
    pub stdin_once: bool,
    /// `NAME=value`, or `NAME` to remove one of the image's.
    pub env: Vec<String>,
    /// The command; `None`: the image's.
    pub cmd: Option<Vec<String>>,
    /// The entry point; `None`: the image's; `Some([])`: none at all.
    pub entrypoint: Option<Vec<String>>,
    /// The working directory; empty: the image's.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    /// Ports the container listens on, for `-P` and inspect.
    pub exposed_ports: Vec<ContainerPort>,
    /// The signal `stop` sends; `None`: the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// How long `stop` waits before SIGKILL; `None`: 10 s. Seconds, −1 for ever.
    pub stop_timeout: Option<i64>,
    /// The health check; `None`: the image's.
    pub healthcheck: Option<Healthcheck>,
    /// The shell that shell-form commands would use (only echoed).
    pub shell: Option<Vec<String>>,
    /// No networking at all.
    pub network_disabled: bool,
    /// The MAC address of the first network (API < 1.44).
    pub mac_address: Option<String>,
    /// The host's side: limits, mounts, namespaces, privileges.
    pub host: HostSpec,
    /// Networks to join at creation, by name or id.
    pub networks: BTreeMap<String, EndpointSpec>,
}

/// The host's side of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSpec {
    /// `-v` strings: `source:target[:options]`.
    pub binds: Vec<String>,
    /// `--mount`s.
    pub mounts: Vec<MountSpec>,
    /// `--tmpfs`: target → options.
    pub tmpfs: BTreeMap<String, String>,
    /// Containers whose volumes are taken: `name[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// The driver of volumes made by `-v name:/x`.
    pub volume_driver: String,
    /// `default`, `bridge`, `host`, `none`, `container:X` or a network's name.
    pub network_mode: String,
    /// Published ports: container port → host addresses and ports.
    pub port_bindings: BTreeMap<ContainerPort, Vec<HostPort>>,
    /// Publish every exposed port on a random host port.
    pub publish_all: bool,
    /// What to do when it exits.
    pub restart: RestartPolicy,
    /// Remove it when it exits.
    pub auto_remove: bool,
    /// Log driver and options; empty driver: the server's default.
    pub log: LogSpec,
    /// Added capabilities, as given.
    pub cap_add: Vec<String>,
    /// Dropped capabilities, as given.
    pub cap_drop: Vec<String>,
    /// Everything (a grant).
    pub privileged: bool,
    /// `no-new-privileges`, `seccomp=…`, `apparmor=…`, `label=…`, `systempaths=…`, as given.
    pub security_opt: Vec<String>,
    /// Root file system read-only.
    pub read_only: bool,
    /// Run an init as process 1.
    pub init: Option<bool>,
    /// DNS servers.
    pub dns: Vec<String>,
    /// DNS options.
    pub dns_options: Vec<String>,
    /// DNS search domains.
    pub dns_search: Vec<String>,
    /// `host:ip` lines for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Extra groups, by name or number.
    pub group_add: Vec<String>,
    /// Legacy links: `container[:alias]`.
    pub links: Vec<String>,
    /// `private`, `host`, `container:X`, `shareable`, `none` or empty.
    pub ipc_mode: String,
    /// `host`, `container:X` or empty.
    pub pid_mode: String,
    /// `host` or empty.
    pub uts_mode: String,
    /// `host` or empty.
    pub userns_mode: String,
    /// `private`, `host` or empty.
    pub cgroupns_mode: String,
    /// Ignored by us except for being echoed: tenants have their own parent.
    pub cgroup_parent: String,
    /// Namespaced sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of /dev/shm; 0: 64 MiB.
    pub shm_size: i64,
    /// The score that the kernel's OOM killer adds.
    pub oom_score_adj: i64,
    /// Storage options (`size=…`).
    pub storage_opt: BTreeMap<String, String>,
    /// The OCI runtime; empty: ours.
    pub runtime: String,
    /// Windows' word, of which Linux has `default` only; echoed.
    pub isolation: String,
    /// OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// Initial terminal size, rows and columns.
    pub console_size: Option<(u16, u16)>,
    /// Paths to mask instead of the default ones.
    pub masked_paths: Option<Vec<String>>,
    /// Paths to make read-only instead of the default ones.
    pub readonly_paths: Option<Vec<String>>,
    /// Where the client keeps the container id (only echoed).
    pub container_id_file: String,
    /// Devices.
    pub devices: Vec<DeviceSpec>,
    /// Device cgroup rules, as given: `c 42:* rmw`.
    pub device_cgroup_rules: Vec<String>,
    /// GPU and CDI requests.
    pub device_requests: Vec<DeviceRequest>,
    /// CPU, memory, process and I/O limits.
    pub resources: Resources,
}

/// Limits, all kernel-enforced. Zero means "not asked", as on Docker's wire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative CPU weight (2–262144).
    pub cpu_shares: i64,
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// CFS period, microseconds.
    pub cpu_period: i64,
    /// CFS quota, microseconds.
    pub cpu_quota: i64,
    /// Real-time period, microseconds.
    pub cpu_rt_period: i64,
    /// Real-time runtime, microseconds.
    pub cpu_rt_runtime: i64,
    /// CPUs allowed: `0-2,4`.
    pub cpuset_cpus: String,
    /// Memory nodes allowed.
    pub cpuset_mems: String,
    /// Hard memory limit, bytes.
    pub memory: i64,
    /// Soft memory limit, bytes.
    pub memory_reservation: i64,
    /// Memory plus swap, bytes; −1: unlimited swap.
    pub memory_swap: i64,
    /// 0–100 (cgroup v1 only).
    pub memory_swappiness: Option<i64>,
    /// Do not kill at the memory limit (cgroup v1 only).
    pub oom_kill_disable: Option<bool>,
    /// Processes; 0 or −1: unlimited.
    pub pids_limit: Option<i64>,
    /// Relative I/O weight (10–1000).
    pub blkio_weight: u16,
    /// Per-device weight.
    pub blkio_weight_device: Vec<(String, u16)>,
    /// Per-device read limit, bytes per second.
    pub blkio_read_bps: Vec<(String, u64)>,
    /// Per-device write limit, bytes per second.
    pub blkio_write_bps: Vec<(String, u64)>,
    /// Per-device read limit, operations per second.
    pub blkio_read_iops: Vec<(String, u64)>,
    /// Per-device write limit, operations per second.
    pub blkio_write_iops: Vec<(String, u64)>,
    /// `name`, soft, hard (−1: unlimited).
    pub ulimits: Vec<Ulimit>,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case.
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A host device for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path on the host.
    pub host: String,
    /// Path in the container.
    pub container: String,
    /// `rwm` or fewer.
    pub permissions: String,
}

/// A request for devices by driver or CDI name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// Driver (`nvidia`, `cdi`).
    pub driver: String,
    /// How many; −1: all.
    pub count: i64,
    /// Which.
    pub device_ids: Vec<String>,
    /// Capability sets, any of which must match.
    pub capabilities: Vec<Vec<String>>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
}

/// One `--mount`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSpec {
    /// Its type.
    pub kind: MountKind,
    /// Host path or volume name; empty for tmpfs and anonymous volumes.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// macOS's hint (only echoed).
    pub consistency: String,
    /// Bind propagation (`rprivate`, `rslave`, …); empty: rprivate.
    pub propagation: String,
    /// Bind only the mount itself.
    pub non_recursive: bool,
    /// Make the host path when it is missing.
    pub create_mountpoint: bool,
    /// Read-only, submounts not.
    pub read_only_non_recursive: bool,
    /// Read-only with all submounts, or an error.
    pub read_only_force_recursive: bool,
    /// Volume: do not copy the image's content into it.
    pub no_copy: bool,
    /// Volume or image: only this folder of it.
    pub subpath: String,
    /// Labels of a volume made for this mount.
    pub volume_labels: BTreeMap<String, String>,
    /// Driver of a volume made for this mount.
    pub volume_driver: String,
    /// Its options.
    pub volume_options: BTreeMap<String, String>,
    /// tmpfs: bytes; 0: unlimited.
    pub tmpfs_size: i64,
    /// tmpfs: mode bits.
    pub tmpfs_mode: Option<u32>,
    /// tmpfs: further mount options.
    pub tmpfs_options: Vec<Vec<String>>,
}

/// A mount's type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A host path.
    Bind,
    /// A named or anonymous volume.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// Another image's file tree.
    Image,
}

/// A health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `[]` inherit, `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", "…"]`.
    pub test: Vec<String>,
    /// Between probes; zero: 30 s.
    pub interval: Duration,
    /// For one probe; zero: 30 s.
    pub timeout: Duration,
    /// Failures that do not count after the start.
    pub start_period: Duration,
    /// Between probes during the start period; zero: 5 s.
    pub start_interval: Duration,
    /// Failures in a row until unhealthy; 0: 3.
    pub retries: u32,
}

/// What to do when a container exits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// Start it again, also after the server's start.
    Always,
    /// Like always, unless somebody stopped it.
    UnlessStopped,
    /// Start it again when it failed, so many times (0: no limit).
    OnFailure(u32),
}

/// A log driver and its options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// `local`, `json-file`, `none`, …; empty: the default (`local`).
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// What was asked of a container's place in one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// Fixed IPv4 address.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// Fixed IPv6 address.
    pub ipv6: Option<std::net::Ipv6Addr>,
    /// Link-local addresses.
    pub link_local: Vec<std::net::IpAddr>,
    /// Names in this network.
    pub aliases: Vec<String>,
    /// Legacy links: `container[:alias]`.
    pub links: Vec<String>,
    /// Fixed MAC address.
    pub mac_address: Option<String>,
    /// Driver options.
    pub driver_opts: BTreeMap<String, String>,
    /// Which network gives the default route: the highest.
    pub gateway_priority: i64,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port in a container: `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerPort {
    /// 1–65535.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl std::fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl std::str::FromStr for ContainerPort {
    type Err = crate::Error;
    fn from_str(text: &str) -> Result<Self, crate::Error> {
        let invalid = |what: &str| crate::Error::invalid(format!("invalid port {text:?}: {what}"));
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port: u16 = port.parse().map_err(|_| invalid("expected a number from 1 to 65535"))?;
        if port == 0 {
            return Err(invalid("expected a number from 1 to 65535"));
        }
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(invalid("expected tcp, udp or sctp")),
        };
        Ok(Self { port, protocol })
    }
}

impl TryFrom<String> for ContainerPort {
    type Error = crate::Error;
    fn try_from(text: String) -> Result<Self, crate::Error> {
        text.parse()
    }
}

impl From<ContainerPort> for String {
    fn from(p: ContainerPort) -> String {
        p.to_string()
    }
}

/// Where a port is published on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// The address; `None`: all of the host's (v4 and v6).
    pub ip: Option<std::net::IpAddr>,
    /// First and last port to choose from; `(0, 0)`: a random free one.
    pub ports: (u16, u16),
}
