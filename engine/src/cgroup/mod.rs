//! Cgroups: where limits live. The tree is `<root>/wharf[-tag]/<tenant>/<container>`, so the kernel itself holds a
//! tenant's containers, together, to the tenant's quota.
//!
//! [`Hierarchy`] knows what this host mounts (one unified tree, or v1's tree per controller; a hybrid host is v1 to
//! us, since its controllers are). [`Cgroups`] is this instance's part of it, [`Group`] one group: limits, processes,
//! freezing, killing, counters, removal. [`plan`] turns limits into file contents without touching anything,
//! [`device`] does the same for device access. Nothing here knows containers, users or policy.

pub mod device;
mod group;
mod oom;
pub mod plan;
mod usage;

pub use device::{Access, DeviceKind, DeviceRule};
pub use group::Group;
pub use oom::OomWatch;
pub use plan::{Controller, Occasion, Support, validate};

use crate::container::Resources;
use crate::runtime::plan::{CgroupView, V1Hierarchy};
use crate::{Doing, Error, Instance, Kind, Result, TenantId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Which interface the controllers are under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Version {
    /// A tree per controller.
    V1,
    /// One tree.
    V2,
}

/// What this host mounts.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    version: Version,
    /// Where each controller's tree is mounted. On v2 they are all the same folder.
    mounts: BTreeMap<Controller, PathBuf>,
    /// The v2 tree: everything on v2, without controllers on a hybrid host.
    unified: Option<PathBuf>,
}

impl Hierarchy {
    /// Reads /proc/self/mountinfo.
    ///
    /// # Errors
    /// `Unavailable` when no cgroup file system is mounted.
    pub fn detect() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "reading /proc/self/mountinfo".into())?;
        let mut found = Self::parse(&text)
            .ok_or_else(|| Error::new(Kind::Unavailable, "no cgroup file system is mounted: mount cgroup2 at /sys/fs/cgroup"))?;
        if let (Version::V2, Some(root)) = (found.version, found.unified.clone()) {
            let have = std::fs::read_to_string(root.join("cgroup.controllers")).doing(|| "reading cgroup.controllers".into())?;
            found.mounts = Controller::ALL
                .into_iter()
                .filter(|c| c.v2_name().is_none_or(|name| have.split_whitespace().any(|h| h == name)))
                .map(|c| (c, root.clone()))
                .collect();
        }
        Ok(found)
    }

    /// Mount points from mountinfo (proc_pid_mountinfo(5)): `… root mountpoint options … - type source superoptions`.
    fn parse(mountinfo: &str) -> Option<Self> {
        let mut mounts = BTreeMap::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mountpoint) = left.split(' ').nth(4).map(unescape) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => {
                    unified.get_or_insert(mountpoint);
                }
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or("");
                    for controller in Controller::ALL {
                        if options.split(',').any(|o| o == controller.v1_name()) {
                            mounts.entry(controller).or_insert_with(|| mountpoint.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        let version = match (mounts.is_empty(), &unified) {
            (false, _) => Version::V1,
            (true, Some(_)) => Version::V2,
            (true, None) => return None,
        };
        Some(Self { version, mounts, unified })
    }

    /// v1 or v2.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a controller is there.
    pub fn has(&self, controller: Controller) -> bool {
        self.mounts.contains_key(&controller)
    }

    /// Where a controller's tree is mounted.
    pub fn mount(&self, controller: Controller) -> Option<&Path> {
        self.mounts.get(&controller).map(PathBuf::as_path)
    }

    /// The v2 tree, also of a hybrid host.
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// v1: each tree's folder name under /sys/fs/cgroup, and the mount option that names it.
    pub fn v1_trees(&self) -> Vec<(String, String)> {
        let trees = self.trees().into_iter();
        trees
            .filter_map(|tree| {
                let name = tree.file_name()?.to_string_lossy().into_owned();
                let controllers: Vec<_> = self.mounts.iter().filter(|(_, m)| **m == tree).map(|(c, _)| c.v1_name()).collect();
                Some((name, controllers.join(",")))
            })
            .collect()
    }

    /// The distinct trees (v1 may mount `cpu,cpuacct` as one).
    fn trees(&self) -> Vec<PathBuf> {
        let mut trees: Vec<PathBuf> = Vec::new();
        for mount in self.mounts.values() {
            if !trees.contains(mount) {
                trees.push(mount.clone());
            }
        }
        trees
    }

    /// What can be limited here, seen from our own root group.
    pub(crate) fn support(&self, root: &Path) -> Support {
        let file = |c: Controller, name: &str| self.mount(c).map(|m| m.join(root).join(name));
        let has = |c: Controller, name: &str| file(c, name).is_some_and(|f| f.exists());
        let text =
            |name: &str| file(Controller::Cpuset, name).and_then(|f| std::fs::read_to_string(f).ok()).unwrap_or_default().trim().to_owned();
        let v1 = self.version == Version::V1;
        let cpuset = if v1 { has(Controller::Cpuset, "cpuset.cpus") } else { has(Controller::Cpuset, "cpuset.cpus.effective") };
        let suffix = if v1 { "effective_" } else { "" };
        let (cpus, mems) = if v1 {
            (text(&format!("cpuset.{suffix}cpus")), text(&format!("cpuset.{suffix}mems")))
        } else {
            (text("cpuset.cpus.effective"), text("cpuset.mems.effective"))
        };
        let online = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        let all = if online > 1 { format!("0-{}", online - 1) } else { "0".to_owned() };
        Support {
            version: self.version,
            memory: has(Controller::Memory, if v1 { "memory.limit_in_bytes" } else { "memory.max" }),
            swap: has(Controller::Memory, if v1 { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" }),
            cpu: has(Controller::Cpu, if v1 { "cpu.cfs_quota_us" } else { "cpu.max" }),
            cpu_rt: v1 && has(Controller::Cpu, "cpu.rt_runtime_us"),
            cpuset,
            pids: has(Controller::Pids, "pids.max"),
            io: has(Controller::Io, if v1 { "blkio.throttle.read_bps_device" } else { "io.max" }),
            io_weight: if v1 {
                has(Controller::Io, "blkio.weight") || has(Controller::Io, "blkio.bfq.weight")
            } else {
                has(Controller::Io, "io.weight") || has(Controller::Io, "io.bfq.weight")
            },
            swappiness: v1 && has(Controller::Memory, "memory.swappiness"),
            oom_disable: v1 && has(Controller::Memory, "memory.oom_control"),
            cpus: parse_count(&cpus).unwrap_or(online),
            cpuset_cpus: if cpus.is_empty() { all } else { cpus },
            cpuset_mems: if mems.is_empty() { "0".to_owned() } else { mems },
        }
    }
}

fn parse_count(list: &str) -> Option<u32> {
    plan::parse_list(list).and_then(|s| u32::try_from(s.len()).ok())
}

/// mountinfo writes space, tab, newline and backslash as octal.
fn unescape(field: &str) -> PathBuf {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\").into()
}

/// This instance's part of the host's cgroups. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cgroups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hierarchy: Hierarchy,
    /// Below each tree's mount point, without a leading slash.
    root: PathBuf,
    support: Support,
    janitor: SyncSender<Group>,
}

impl Cgroups {
    /// Makes the instance's root group, with controllers handed down on v2.
    ///
    /// On v2 under systemd the root is placed inside our service's delegated subtree where the unit gives us a
    /// subgroup of it (`DelegateSubgroup=`, systemd 254); else at the top, as dockerd's cgroupfs driver does. A
    /// service that is itself the delegated group cannot be used: once controllers are handed down in it, systemd
    /// could not put a restarted server back while containers run (EBUSY, the "no internal processes" rule).
    ///
    /// # Errors
    /// `Unavailable` without cgroups; `Internal` when the root cannot be made.
    pub fn open(instance: &Instance) -> Result<Self> {
        Self::open_at(Hierarchy::detect()?, &instance.name())
    }

    /// As [`Cgroups::open`], with the root's name given.
    ///
    /// # Errors
    /// As [`Cgroups::open`].
    pub fn open_at(hierarchy: Hierarchy, name: &str) -> Result<Self> {
        let mut root = PathBuf::new();
        if hierarchy.version == Version::V2
            && let Some(unified) = &hierarchy.unified
        {
            root = delegated(unified).unwrap_or_default();
            group::hand_down_from_top(unified, &root)?;
        }
        root.push(name);
        group::create(&hierarchy, &root, group::HandDown::Yes)?;
        let support = hierarchy.support(&root);
        // A full queue means 4096 removals behind: then the next `doctor --orphans` finds them.
        let (janitor, queue) = sync_channel::<Group>(4096);
        std::thread::Builder::new()
            .name("cgroup-janitor".into())
            .spawn(move || {
                for group in queue {
                    if let Err(error) = group.remove_blocking() {
                        tracing::warn!(cgroup = %group.path().display(), %error, "a cgroup could not be removed");
                    }
                }
            })
            .doing(|| "starting the cgroup janitor".into())?;
        Ok(Self(Arc::new(Inner { hierarchy, root, support, janitor })))
    }

    /// What this host mounts.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.0.hierarchy
    }

    /// What this host can limit.
    pub fn support(&self) -> &Support {
        &self.0.support
    }

    /// What a container sees of it at /sys/fs/cgroup, from its own group down.
    pub fn view(&self) -> CgroupView {
        if self.0.hierarchy.version == Version::V2 {
            return CgroupView::V2;
        }
        let mut hierarchies: Vec<V1Hierarchy> = Vec::new();
        for tree in self.0.hierarchy.trees() {
            let controllers: Vec<_> = self.0.hierarchy.mounts.iter().filter(|(_, m)| **m == tree).map(|(c, _)| c.v1_name()).collect();
            let name = controllers.join(",");
            hierarchies.push(V1Hierarchy { option: name.clone(), name });
        }
        CgroupView::V1 { hierarchies }
    }

    /// The root's path below the mount points.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The tenant's group, made if need be and held to `quota` (zero fields: unlimited so far).
    ///
    /// # Errors
    /// `Internal` when the kernel refuses.
    pub fn tenant(&self, tenant: TenantId, quota: &Resources) -> Result<Group> {
        let path = self.0.root.join(tenant.to_string());
        group::create(&self.0.hierarchy, &path, group::HandDown::Yes)?;
        let group = Group::at(self.clone(), path);
        group.set(quota)?;
        Ok(group)
    }

    /// A new group in the tenant's, for a container, a worker or (under a neutral name) a pooled zygote that will get
    /// its limits at start. The name is one path component; a container uses its id.
    ///
    /// # Errors
    /// `Conflict` when it exists with processes in it; `Internal` when the kernel refuses.
    pub fn create(&self, tenant: TenantId, name: &str) -> Result<Group> {
        self.create_under(&self.0.root.join(tenant.to_string()), name)
    }

    /// As [`Cgroups::create`], under another parent (`--cgroup-parent`, a grant): a path below the mount points.
    ///
    /// # Errors
    /// `Invalid` for a parent with `..`; else as [`Cgroups::create`].
    pub fn create_under(&self, parent: &Path, name: &str) -> Result<Group> {
        let parent = parent.strip_prefix("/").unwrap_or(parent);
        if name.is_empty()
            || name.contains('/')
            || name == ".."
            || parent.components().any(|c| !matches!(c, std::path::Component::Normal(_)))
        {
            return Err(Error::invalid(format!("invalid cgroup-parent {:?}", parent.display().to_string())));
        }
        group::create(&self.0.hierarchy, parent, group::HandDown::Yes)?;
        let path = parent.join(name);
        group::create(&self.0.hierarchy, &path, group::HandDown::No)?;
        let group = Group::at(self.clone(), path);
        if group.pids()?.is_empty() {
            Ok(group)
        } else {
            Err(Error::conflict(format!("cgroup {} has processes already", group.path().display())))
        }
    }

    /// A name that no group of the tenant's has: `name` itself, or `name.1`, … while groups of that name wait for the
    /// janitor, who would kill what is born in them.
    pub fn free_name(&self, tenant: TenantId, name: &str) -> String {
        let parent = self.0.root.join(tenant.to_string());
        let taken = |name: &str| Group::at(self.clone(), parent.join(name)).exists();
        if !taken(name) {
            return name.to_owned();
        }
        (1u32..).map(|n| format!("{name}.{n}")).find(|name| !taken(name)).unwrap_or_else(|| name.to_owned())
    }

    /// A group that is there, by its [`Group::path`]: for adoption. `None` when it is not there.
    pub fn find(&self, path: &Path) -> Option<Group> {
        let group = Group::at(self.clone(), path.to_owned());
        group.exists().then_some(group)
    }

    /// Every group two levels below the root: those of containers, workers and zygotes.
    ///
    /// # Errors
    /// `Internal` when the tree cannot be read.
    pub fn groups(&self) -> Result<Vec<Group>> {
        let mut paths = std::collections::BTreeSet::new();
        for tree in self.0.hierarchy.trees() {
            for tenant in group::children(&tree.join(&self.0.root))? {
                for child in group::children(&tree.join(&self.0.root).join(&tenant))? {
                    paths.insert(self.0.root.join(&tenant).join(child));
                }
            }
        }
        Ok(paths.into_iter().map(|p| Group::at(self.clone(), p)).collect())
    }

    /// Removes a group in the background: kills what is left in it, retries while the kernel says busy. Costs the
    /// caller nothing.
    pub fn dispose(&self, group: Group) {
        if let Err(e) = self.0.janitor.try_send(group) {
            tracing::warn!(error = %e, "the cgroup janitor is behind; a group stays until the next reconciliation");
        }
    }

    /// Removes the instance's whole tree, if no process is in it: for tests and for uninstalling.
    ///
    /// # Errors
    /// `Internal` when a group is busy.
    pub fn remove_all(&self) -> Result<()> {
        Group::at(self.clone(), self.0.root.clone()).remove_blocking()
    }
}

/// The delegated group above our own, when our own is a subgroup of a delegated one. systemd marks those with an
/// extended attribute.
fn delegated(unified: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|l| l.strip_prefix("0::/"))?;
    let parent = Path::new(own).parent()?.to_owned();
    let mut byte = [0u8; 1];
    let marked = ["trusted.delegate", "user.delegate"]
        .iter()
        .any(|name| rustix::fs::getxattr(unified.join(&parent), *name, &mut byte).is_ok_and(|n| n == 1) && byte == *b"1");
    (marked && !parent.as_os_str().is_empty()).then_some(parent)
}

#[cfg(test)]
mod kernel_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_is_v1() {
        let h = Hierarchy::parse(
            "25 1 0:22 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             26 1 0:23 / /sys/fs/cgroup/mem\\040ory rw shared:1 - cgroup cgroup rw,memory\n\
             27 1 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             28 1 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        )
        .unwrap();
        assert_eq!(h.version(), Version::V1);
        assert_eq!(h.mount(Controller::Memory), Some(Path::new("/sys/fs/cgroup/mem ory")));
        assert_eq!(h.mount(Controller::Cpu), h.mount(Controller::CpuAccounting));
        assert_eq!(h.trees().len(), 2);
        assert_eq!(h.unified(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert!(!h.has(Controller::Pids));
    }

    #[test]
    fn one_tree_is_v2_and_none_is_nothing() {
        let h = Hierarchy::parse("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n").unwrap();
        assert_eq!(h.version(), Version::V2);
        assert!(Hierarchy::parse("30 23 0:26 / /proc rw - proc proc rw\n").is_none());
    }
}
