//! Grants: permissions beyond the default, given to a tenant by an administrator, with an expiry.
//!
//! Written as `KIND[=VALUE]`; printing and parsing are inverse, and the printed form is what the database and denials show.

use crate::caps::Cap;
use crate::container::Protocol;
use crate::{Error, GrantId, Result, TenantId};
use jiff::Timestamp;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// A grant a tenant has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Who has it.
    pub tenant: TenantId,
    /// What it allows.
    pub kind: GrantKind,
    /// Until when; `None`: until it is taken back.
    pub expires: Option<Timestamp>,
    /// When it was given.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
}

impl Grant {
    /// Whether it counts at this moment.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|t| now < t)
    }
}

/// What a grant allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GrantKind {
    /// Binding this host path and what lies below it.
    Bind {
        /// Absolute and clean.
        path: PathBuf,
        /// Only read-only.
        read_only: bool,
    },
    /// This device, or all below this folder of /dev.
    Device(PathBuf),
    /// Device cgroup rules.
    DeviceRules,
    /// All GPUs, by any driver.
    Gpu,
    /// Adding this capability.
    Capability(Cap),
    /// Publishing on host ports below 1024, or on any others that the policy keeps back.
    Ports {
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// `None`: all protocols.
        protocol: Option<Protocol>,
    },
    /// The host's network namespace.
    NetworkHost,
    /// A network on an interface of the host (macvlan, ipvlan).
    NetworkParent(String),
    /// The host's processes.
    PidHost,
    /// The host's IPC.
    IpcHost,
    /// The host's host name.
    UtsHost,
    /// The host's user ids: root is root.
    UsernsHost,
    /// The host's cgroup tree, to look at.
    CgroupnsHost,
    /// Everything a container can do to the host.
    Privileged,
    /// 32-bit system calls, which the filter otherwise refuses.
    Syscalls32Bit,
    /// A seccomp profile of one's own, or none.
    Seccomp,
    /// Another AppArmor profile, or none.
    AppArmor,
    /// No masked or read-only paths.
    SystemPaths,
    /// Lowering the OOM killer's score below 0.
    OomScoreAdj,
    /// Mount propagation from the container to the host.
    SharedMounts,
    /// Volumes that mount a file system of this type (`nfs`, `cifs`, …).
    VolumeType(String),
    /// Sending logs to this destination, which is the host's or a socket on it.
    LogTo(crate::log::ship::Address),
}

const SYNTAX: &str = "expected bind=PATH[:ro], device=PATH, device-rules, gpu, cap=NAME, ports=FIRST[-LAST][/tcp|udp|sctp], network-host, network-parent=INTERFACE, \
    pid-host, ipc-host, uts-host, userns-host, cgroupns-host, privileged, syscalls-32bit, security-opt=seccomp|apparmor|systempaths, \
    oom-score-adj, shared-mounts, volume-type=TYPE or log-to=ADDRESS";

impl fmt::Display for GrantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GrantKind::Bind { path, read_only } => write!(f, "bind={}{}", path.display(), if *read_only { ":ro" } else { "" }),
            GrantKind::Device(path) => write!(f, "device={}", path.display()),
            GrantKind::DeviceRules => f.write_str("device-rules"),
            GrantKind::Gpu => f.write_str("gpu"),
            GrantKind::Capability(cap) => write!(f, "cap={}", cap.name().trim_start_matches("CAP_")),
            GrantKind::Ports { first, last, protocol } => {
                write!(f, "ports={first}")?;
                if first != last {
                    write!(f, "-{last}")?;
                }
                protocol.map_or(Ok(()), |p| write!(f, "/{p}"))
            }
            GrantKind::NetworkHost => f.write_str("network-host"),
            GrantKind::NetworkParent(name) => write!(f, "network-parent={name}"),
            GrantKind::PidHost => f.write_str("pid-host"),
            GrantKind::IpcHost => f.write_str("ipc-host"),
            GrantKind::UtsHost => f.write_str("uts-host"),
            GrantKind::UsernsHost => f.write_str("userns-host"),
            GrantKind::CgroupnsHost => f.write_str("cgroupns-host"),
            GrantKind::Privileged => f.write_str("privileged"),
            GrantKind::Syscalls32Bit => f.write_str("syscalls-32bit"),
            GrantKind::Seccomp => f.write_str("security-opt=seccomp"),
            GrantKind::AppArmor => f.write_str("security-opt=apparmor"),
            GrantKind::SystemPaths => f.write_str("security-opt=systempaths"),
            GrantKind::OomScoreAdj => f.write_str("oom-score-adj"),
            GrantKind::SharedMounts => f.write_str("shared-mounts"),
            GrantKind::VolumeType(name) => write!(f, "volume-type={name}"),
            GrantKind::LogTo(address) => write!(f, "log-to={address}"),
        }
    }
}

impl FromStr for GrantKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("invalid grant {text:?}: {why}"));
        let (kind, value) = match text.split_once('=') {
            Some((kind, value)) => (kind, Some(value)),
            None => (text, None),
        };
        let plain = |grant: GrantKind| match value {
            None => Ok(grant),
            Some(_) => Err(invalid("it takes no value")),
        };
        let wanted = || value.filter(|v| !v.is_empty()).ok_or_else(|| invalid("it needs a value"));
        let word = |v: &str| {
            let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if v.chars().all(ok) { Ok(v.to_owned()) } else { Err(invalid("the value is not a name")) }
        };
        match kind {
            "bind" => {
                let value = wanted()?;
                let (path, read_only) = match value.strip_suffix(":ro") {
                    Some(path) => (path, true),
                    None => (value.strip_suffix(":rw").unwrap_or(value), false),
                };
                let path = clean_path(path).ok_or_else(|| invalid("the path must be absolute, without `.` and `..`, and have no colon"))?;
                Ok(Self::Bind { path, read_only })
            }
            "device" => {
                let path = clean_path(wanted()?).filter(|p| p.starts_with("/dev") && p != Path::new("/dev"));
                Ok(Self::Device(path.ok_or_else(|| invalid("the path must lie below /dev, without `.` and `..`"))?))
            }
            "device-rules" => plain(Self::DeviceRules),
            "gpu" => plain(Self::Gpu),
            "cap" => Cap::named(wanted()?).map(Self::Capability).map_err(|e| invalid(&e.to_string())),
            "ports" => {
                let value = wanted()?;
                let (range, protocol) = match value.split_once('/') {
                    Some((range, "tcp")) => (range, Some(Protocol::Tcp)),
                    Some((range, "udp")) => (range, Some(Protocol::Udp)),
                    Some((range, "sctp")) => (range, Some(Protocol::Sctp)),
                    Some(_) => return Err(invalid("the protocol is tcp, udp or sctp")),
                    None => (value, None),
                };
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let port = |t: &str| t.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(|| invalid("ports are numbers from 1 to 65535"));
                let (first, last) = (port(first)?, port(last)?);
                if first > last {
                    return Err(invalid("the first port is above the last"));
                }
                Ok(Self::Ports { first, last, protocol })
            }
            "network-host" => plain(Self::NetworkHost),
            "network-parent" => Ok(Self::NetworkParent(word(wanted()?)?)),
            "pid-host" => plain(Self::PidHost),
            "ipc-host" => plain(Self::IpcHost),
            "uts-host" => plain(Self::UtsHost),
            "userns-host" => plain(Self::UsernsHost),
            "cgroupns-host" => plain(Self::CgroupnsHost),
            "privileged" => plain(Self::Privileged),
            "syscalls-32bit" => plain(Self::Syscalls32Bit),
            "security-opt" => match wanted()?.split('=').next() {
                Some("seccomp") => Ok(Self::Seccomp),
                Some("apparmor") => Ok(Self::AppArmor),
                Some("systempaths") => Ok(Self::SystemPaths),
                _ => Err(invalid("the option is seccomp, apparmor or systempaths")),
            },
            "oom-score-adj" => plain(Self::OomScoreAdj),
            "shared-mounts" => plain(Self::SharedMounts),
            "volume-type" => Ok(Self::VolumeType(word(wanted()?)?)),
            "log-to" => crate::log::ship::destination(wanted()?).map(Self::LogTo).map_err(|e| invalid(&e.to_string())),
            _ => Err(invalid(SYNTAX)),
        }
    }
}

/// An absolute path of normal parts only, with no control characters and no colon (which separates options).
fn clean_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let clean = path.is_absolute()
        && !text.chars().any(|c| c.is_control() || c == ':')
        && !text.split('/').any(|part| part == "." || part == "..")
        && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    // Components drop doubled and trailing slashes.
    clean.then(|| path.components().collect())
}

/// What a tenant may do beyond the default, in force when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// Everything: the administrator in the own tenant.
    All,
    /// These.
    Only(Vec<Grant>),
}

/// What a grant covers of the host paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Covered {
    /// The administrator's word covers all.
    All,
    /// This path and what lies below.
    Below(PathBuf),
}

impl Grants {
    /// None at all.
    pub fn none() -> Self {
        Self::Only(Vec::new())
    }

    /// Whether exactly this one is there.
    pub fn has(&self, kind: &GrantKind) -> bool {
        match self {
            Grants::All => true,
            Grants::Only(list) => list.iter().any(|g| g.kind == *kind),
        }
    }

    /// The deepest grant that covers binding this clean path this way.
    pub fn bind(&self, path: &Path, read_only: bool) -> Option<Covered> {
        let Grants::Only(list) = self else { return Some(Covered::All) };
        let roots = list.iter().filter_map(|g| match &g.kind {
            GrantKind::Bind { path: root, read_only: only } if path.starts_with(root) && (read_only || !only) => Some(root),
            _ => None,
        });
        roots.max_by_key(|root| root.components().count()).map(|root| Covered::Below(root.clone()))
    }

    /// Whether this device is covered.
    pub fn device(&self, path: &Path) -> bool {
        match self {
            Grants::All => true,
            Grants::Only(list) => list.iter().any(|g| matches!(&g.kind, GrantKind::Device(root) if path.starts_with(root))),
        }
    }

    /// Whether every port of the range is covered, by one grant or several.
    pub fn ports(&self, first: u16, last: u16, protocol: Protocol) -> bool {
        let Grants::Only(list) = self else { return true };
        (first..=last).all(|port| {
            list.iter().any(|g| {
                matches!(g.kind, GrantKind::Ports { first, last, protocol: p }
                    if (first..=last).contains(&port) && p.is_none_or(|p| p == protocol))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Grants {
        Grants::Only(
            texts
                .iter()
                .map(|t| Grant {
                    id: GrantId(1),
                    tenant: TenantId(1),
                    kind: t.parse().unwrap(),
                    expires: None,
                    created: Timestamp::UNIX_EPOCH,
                    created_by: "root".into(),
                })
                .collect(),
        )
    }

    #[test]
    fn printing_and_parsing_are_inverse() {
        for text in [
            "bind=/srv/data",
            "bind=/srv/data:ro",
            "bind=/",
            "device=/dev/fuse",
            "device-rules",
            "gpu",
            "cap=NET_ADMIN",
            "ports=80",
            "ports=80-90",
            "ports=53/udp",
            "network-host",
            "network-parent=eth0.5",
            "pid-host",
            "ipc-host",
            "uts-host",
            "userns-host",
            "cgroupns-host",
            "privileged",
            "syscalls-32bit",
            "security-opt=seccomp",
            "security-opt=apparmor",
            "security-opt=systempaths",
            "oom-score-adj",
            "shared-mounts",
            "volume-type=nfs",
        ] {
            assert_eq!(text.parse::<GrantKind>().unwrap().to_string(), text);
        }
        for (text, canonical) in [
            ("cap=cap_net_admin", "cap=NET_ADMIN"),
            ("security-opt=seccomp=unconfined", "security-opt=seccomp"),
            ("bind=/a//b/", "bind=/a/b"),
        ] {
            assert_eq!(text.parse::<GrantKind>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for text in [
            "",
            "bind",
            "bind=",
            "bind=rel",
            "bind=/a/../b",
            "bind=/a/./b",
            "bind=/a:b",
            "device=/etc/x",
            "device=/dev",
            "cap=NOPE",
            "cap=ALL",
            "ports=0",
            "ports=90-80",
            "ports=1/x",
            "gpu=1",
            "privileged=no",
            "root",
            "network-parent=a/b",
            "security-opt=label",
        ] {
            assert!(text.parse::<GrantKind>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bind_grant_covers_its_path_and_below_and_nothing_beside() {
        let g = grants(&["bind=/srv/data:ro", "bind=/srv/data/rw"]);
        assert_eq!(g.bind(Path::new("/srv/data/x"), true), Some(Covered::Below("/srv/data".into())));
        assert_eq!(g.bind(Path::new("/srv/data/x"), false), None);
        assert_eq!(g.bind(Path::new("/srv/data/rw/x"), false), Some(Covered::Below("/srv/data/rw".into())));
        assert_eq!(g.bind(Path::new("/srv/database"), true), None);
        assert_eq!(g.bind(Path::new("/srv"), true), None);
    }

    #[test]
    fn sec_a3_every_port_of_a_range_must_be_covered() {
        let g = grants(&["ports=80-81", "ports=83", "ports=53/udp"]);
        assert!(g.ports(80, 81, Protocol::Tcp));
        for (first, last) in [(79, 81), (80, 83), (83, 84)] {
            assert!(!g.ports(first, last, Protocol::Tcp), "{first}-{last}");
        }
        assert!(g.ports(53, 53, Protocol::Udp) && !g.ports(53, 53, Protocol::Tcp));
    }

    #[test]
    fn an_expired_grant_does_not_count() {
        let t = |s| Timestamp::from_second(s).unwrap();
        let mut grant = match grants(&["gpu"]) {
            Grants::Only(mut list) => list.remove(0),
            Grants::All => unreachable!(),
        };
        grant.expires = Some(t(100));
        assert!(grant.is_in_force(t(99)) && !grant.is_in_force(t(100)));
    }
}
