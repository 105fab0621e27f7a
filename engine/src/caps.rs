//! Capabilities: their names and numbers, Docker's default set, and what `--cap-add`/`--cap-drop` make of it.
//!
//! Pure: a [`CapSet`] goes into the plan of a start, where the container's init applies it (capabilities(7)).
//! Whether somebody *may* add one is the policy's question, not asked here.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names by bit, from the kernel's `include/uapi/linux/capability.h`.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One capability.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cap(u8);

impl Cap {
    /// `CAP_SYS_ADMIN`.
    pub const SYS_ADMIN: Self = Self(21);
    /// `CAP_NET_ADMIN`.
    pub const NET_ADMIN: Self = Self(12);
    /// `CAP_NET_BIND_SERVICE`.
    pub const NET_BIND_SERVICE: Self = Self(10);
    /// `CAP_SYS_RESOURCE`.
    pub const SYS_RESOURCE: Self = Self(24);

    /// `CAP_SYS_NICE`.
    pub const SYS_NICE: Self = Self(23);

    /// The number the kernel gives it.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its name with `CAP_`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }

    /// The capability with this name, in any case, with or without `CAP_`.
    ///
    /// # Errors
    /// `Invalid` with Docker's text `unknown capability: "CAP_X"`.
    pub fn named(name: &str) -> Result<Self> {
        let full = full_name(name);
        let number = NAMES.iter().position(|n| *n == full);
        number.and_then(|n| u8::try_from(n).ok()).map(Self).ok_or_else(|| Error::invalid(format!("unknown capability: {full:?}")))
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn full_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

/// A set of capabilities, as the kernel's bit mask.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapSet(pub u64);

impl CapSet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// Every one this list knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// Docker's fourteen: CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW
    /// SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP.
    pub const DOCKER: Self =
        Self(1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 13 | 1 << 18 | 1 << 27 | 1 << 29 | 1 << 31);

    /// Whether it is in.
    pub fn contains(self, cap: Cap) -> bool {
        self.0 & (1 << cap.0) != 0
    }

    /// The set with it.
    #[must_use]
    pub fn with(self, cap: Cap) -> Self {
        Self(self.0 | 1 << cap.0)
    }

    /// The set without it.
    #[must_use]
    pub fn without(self, cap: Cap) -> Self {
        Self(self.0 & !(1 << cap.0))
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this and not in the other.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the kernel's order.
    pub fn iter(self) -> impl Iterator<Item = Cap> {
        (0u8..).take(NAMES.len()).map(Cap).filter(move |c| self.contains(*c))
    }

    /// Names in the kernel's order.
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Cap::name).collect()
    }

    /// What this process could still give away: its bounding set (`CapBnd` in /proc/self/status), without numbers
    /// this list does not know.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn bounding() -> std::io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        status
            .lines()
            .find_map(|l| l.strip_prefix("CapBnd:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .map(|bits| Self(bits & Self::ALL.0))
            .ok_or_else(|| std::io::Error::other("no CapBnd line in /proc/self/status"))
    }
}

impl FromIterator<Cap> for CapSet {
    fn from_iter<I: IntoIterator<Item = Cap>>(caps: I) -> Self {
        caps.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A `--cap-add` or `--cap-drop` list, parsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    all: bool,
    named: CapSet,
}

fn parse(field: &str, names: &[String]) -> Result<Change> {
    let mut change = Change::default();
    for name in names {
        if name.eq_ignore_ascii_case("all") {
            change.all = true;
        } else {
            let cap = Cap::named(name).map_err(|e| Error::invalid(format!("invalid {field}: {e}")))?;
            change.named = change.named.with(cap);
        }
    }
    Ok(change)
}

/// What a container gets: `basics` (usually [`CapSet::DOCKER`]) changed by `add` and `drop`, with Docker's rules:
/// adding ALL gives all but the dropped; dropping ALL gives just the added; otherwise an added one stays even if it is
/// dropped as well.
///
/// # Errors
/// `Invalid`, `invalid CapAdd: unknown capability: "CAP_X"` (or `CapDrop`).
pub fn tweak(basics: CapSet, add: &[String], drop: &[String], privileged: bool) -> Result<CapSet> {
    let add = parse("CapAdd", add)?;
    let drop = parse("CapDrop", drop)?;
    Ok(if privileged {
        CapSet::ALL
    } else if add.all {
        CapSet::ALL.difference(drop.named)
    } else if drop.all {
        add.named
    } else {
        CapSet(basics.difference(drop.named).0 | add.named.0)
    })
}

/// What `add` asks beyond `basics`: the policy wants a grant for each. ALL asks for everything.
///
/// # Errors
/// As [`tweak`].
pub fn beyond(basics: CapSet, add: &[String]) -> Result<CapSet> {
    let add = parse("CapAdd", add)?;
    Ok(if add.all { CapSet::ALL } else { add.named }.difference(basics))
}

/// The sets of a process with `caps` at most: root has them all, another user has none until a set-user-ID or capable
/// file gives some within the bounding set. `host_bounding` is given only where the process stays in the host's user
/// namespace, whose bounding set we cannot exceed; in its own namespace a new one starts full.
///
/// The inheritable set is always empty (the plan has none): a non-empty one lets a file with inheritable capabilities
/// give them back (CVE-2022-24769).
pub fn sets(caps: CapSet, root: bool, host_bounding: Option<CapSet>) -> crate::runtime::plan::CapSets {
    let bounding = host_bounding.map_or(caps, |host| caps.intersection(host)).0;
    let held = if root { bounding } else { 0 };
    crate::runtime::plan::CapSets { bounding, permitted: held, effective: held, ambient: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn dockers_default_is_a80425fb() {
        assert_eq!(CapSet::DOCKER.0, 0xa804_25fb);
        assert_eq!(CapSet::DOCKER.names().len(), 14);
        assert_eq!(CapSet::ALL.0, 0x1ff_ffff_ffff);
    }

    #[test]
    fn numbers_are_the_kernels() {
        for (name, number) in [("CAP_SYS_ADMIN", 21), ("CAP_SYS_RESOURCE", 24), ("CAP_MKNOD", 27), ("CAP_CHECKPOINT_RESTORE", 40)] {
            assert_eq!(Cap::named(name).unwrap().number(), number);
        }
        assert_eq!(Cap::SYS_ADMIN.name(), "CAP_SYS_ADMIN");
        assert_eq!(Cap::NET_ADMIN.name(), "CAP_NET_ADMIN");
        assert_eq!(Cap::NET_BIND_SERVICE.name(), "CAP_NET_BIND_SERVICE");
        assert_eq!(Cap::SYS_RESOURCE.name(), "CAP_SYS_RESOURCE");
    }

    #[test]
    fn add_and_drop_as_docker() {
        let t = |add: &[&str], drop: &[&str]| tweak(CapSet::DOCKER, &list(add), &list(drop), false).unwrap();
        let net_admin = Cap::named("net_admin").unwrap();
        let chown = Cap::named("CAP_CHOWN").unwrap();
        assert_eq!(t(&[], &[]), CapSet::DOCKER);
        assert_eq!(t(&["Cap_Net_Admin"], &[]), CapSet::DOCKER.with(net_admin));
        assert_eq!(t(&[], &["chown"]), CapSet::DOCKER.without(chown));
        assert_eq!(t(&[], &["all"]), CapSet::EMPTY);
        assert_eq!(t(&["NET_ADMIN"], &["ALL"]), CapSet::EMPTY.with(net_admin));
        assert_eq!(t(&["ALL"], &["chown"]), CapSet::ALL.without(chown));
        assert_eq!(t(&["ALL"], &["ALL"]), CapSet::ALL);
        assert_eq!(t(&["chown"], &["chown"]), CapSet::DOCKER, "an added one stays");
        assert_eq!(tweak(CapSet::DOCKER, &[], &list(&["ALL"]), true).unwrap(), CapSet::ALL);
    }

    #[test]
    fn unknown_names_get_dockers_text() {
        let e = tweak(CapSet::DOCKER, &list(&["x"]), &[], false).unwrap_err();
        assert_eq!(e.to_string(), r#"invalid CapAdd: unknown capability: "CAP_X""#);
        let e = tweak(CapSet::DOCKER, &[], &list(&["CAP_nope"]), false).unwrap_err();
        assert_eq!(e.to_string(), r#"invalid CapDrop: unknown capability: "CAP_NOPE""#);
        assert_eq!(e.kind(), crate::Kind::Invalid);
    }

    #[test]
    fn beyond_is_what_needs_a_grant() {
        assert!(beyond(CapSet::DOCKER, &list(&["chown", "kill"])).unwrap().is_empty());
        assert_eq!(beyond(CapSet::DOCKER, &list(&["chown", "sys_admin"])).unwrap().names(), ["CAP_SYS_ADMIN"]);
        assert_eq!(beyond(CapSet::DOCKER, &list(&["all"])).unwrap(), CapSet::ALL.difference(CapSet::DOCKER));
    }

    #[test]
    fn sec_e5_a_non_root_user_holds_none() {
        let user = sets(CapSet::ALL, false, None);
        assert_eq!((user.permitted, user.effective, user.ambient), (0, 0, 0));
        assert_eq!(user.bounding, CapSet::ALL.0);
        assert_eq!(sets(CapSet::DOCKER, true, None).effective, CapSet::DOCKER.0);
    }

    #[test]
    fn only_the_hosts_own_namespace_is_clamped() {
        let host = CapSet::ALL.without(Cap::SYS_RESOURCE);
        assert_eq!(sets(CapSet::ALL, true, Some(host)).effective, host.0);
        assert_eq!(sets(CapSet::ALL, true, None).effective, CapSet::ALL.0);
    }

    #[test]
    fn the_bounding_set_is_read() {
        assert!(CapSet::bounding().unwrap().contains(Cap::SYS_ADMIN), "tests run as root");
    }
}
