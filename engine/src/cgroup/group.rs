//! One cgroup: made, limited, joined, frozen, killed, removed.
//!
//! On v1 it is one folder per tree with the same path in each; on v2 one folder. All calls are short file system calls
//! and block; the two that wait for the kernel (`freeze`, `remove`) are async or meant for a thread of their own.

use super::plan::{self, Controller, Write};
use super::{Cgroups, DeviceRule, Hierarchy, Version};
use crate::container::Resources;
use crate::runtime::plan::CgroupFds;
use crate::runtime::{FdRef, Fds};
use crate::{Doing, Error, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether a group's children may have limits of their own (v2: `cgroup.subtree_control`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandDown {
    Yes,
    No,
}

/// Makes the folders of a group in every tree; those that are there stay as they are.
pub(super) fn create(hierarchy: &Hierarchy, path: &Path, hand_down: HandDown) -> Result<()> {
    for tree in hierarchy.trees() {
        // v1 hands nothing down: where the parent is there already, as nearly always, it needs no looking at.
        let there = match path.parent() {
            Some(parent) if hierarchy.version == Version::V1 && tree.join(parent).is_dir() => parent,
            _ => Path::new(""),
        };
        let mut dir = tree.join(there);
        for part in path.strip_prefix(there).unwrap_or(path).components() {
            dir.push(part);
            match std::fs::create_dir(&dir) {
                Ok(()) => {
                    // Not by mkdir's mode, which the server's umask narrows: containers see their own groups.
                    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                    std::fs::set_permissions(&dir, open).doing(|| format!("opening cgroup {}", dir.display()))?;
                    prepare(hierarchy, &dir, &tree)?;
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).doing(|| format!("making cgroup {}", dir.display())),
            }
            let last = dir == tree.join(path);
            if hierarchy.version == Version::V2 && (!last || hand_down == HandDown::Yes) {
                enable(hierarchy, &dir)?;
            }
        }
    }
    Ok(())
}

/// What v1 wants of a new folder before a process may join.
fn prepare(hierarchy: &Hierarchy, dir: &Path, tree: &Path) -> Result<()> {
    if hierarchy.version != Version::V1 {
        return Ok(());
    }
    if hierarchy.mount(Controller::Cpuset) == Some(tree) {
        // A new cpuset is empty, and nothing can join an empty one (cpuset(7)); the parent's is the widest allowed.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let above = dir.parent().unwrap_or(tree).join(file);
            let value = std::fs::read_to_string(&above).doing(|| format!("reading {}", above.display()))?;
            write(&dir.join(file), value.trim())?;
        }
    }
    if hierarchy.mount(Controller::Memory) == Some(tree) {
        // Since 5.11 always on; before, a child's pages would not count against the tenant.
        let file = dir.join("memory.use_hierarchy");
        if std::fs::read_to_string(&file).is_ok_and(|v| v.trim() == "0") {
            write(&file, "1")?;
        }
    }
    Ok(())
}

/// Hands our controllers down to the children of a v2 group.
fn enable(hierarchy: &Hierarchy, dir: &Path) -> Result<()> {
    let file = dir.join("cgroup.subtree_control");
    let have = std::fs::read_to_string(&file).doing(|| format!("reading {}", file.display()))?;
    let wanted: Vec<String> = Controller::ALL
        .into_iter()
        .filter(|c| hierarchy.has(*c))
        .filter_map(Controller::v2_name)
        .filter(|name| !have.split_whitespace().any(|h| h == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if wanted.is_empty() { Ok(()) } else { write(&file, &wanted.join(" ")) }
}

/// Hands controllers down from the top of the v2 tree to `path`. Inside a cgroup namespace the top is not the kernel's
/// root and has processes in it (we run in a container ourselves): then they move into a group of their own first,
/// because a group with controllers handed down may have none (cgroups(7), "no internal processes").
pub(super) fn hand_down_from_top(top: &Path, path: &Path) -> Result<()> {
    let controllers = std::fs::read_to_string(top.join("cgroup.controllers")).doing(|| "reading cgroup.controllers".into())?;
    let mounts = Controller::ALL
        .into_iter()
        .filter(|c| c.v2_name().is_some_and(|n| controllers.split_whitespace().any(|h| h == n)))
        .map(|c| (c, top.to_owned()))
        .collect();
    let hierarchy = Hierarchy { version: Version::V2, mounts, unified: Some(top.to_owned()) };
    if enable(&hierarchy, top).is_err() && top.join("cgroup.type").exists() {
        let init = top.join("init");
        std::fs::create_dir_all(&init).doing(|| format!("making cgroup {}", init.display()))?;
        for pid in procs(top)? {
            // One that ended meanwhile needs no moving.
            let _ = std::fs::write(init.join("cgroup.procs"), pid.to_string());
        }
    }
    enable(&hierarchy, top)?;
    let mut dir = top.to_owned();
    for part in path.components() {
        dir.push(part);
        enable(&hierarchy, &dir)?;
    }
    Ok(())
}

fn write(file: &Path, value: &str) -> Result<()> {
    write_io(file, value).doing(|| format!("writing {value:?} to {}", file.display()))
}

/// One write(2), as cgroup files want it, without creating or truncating.
fn write_io(file: &Path, value: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// Pids in one folder's cgroup.procs; a folder that is gone has none.
fn procs(dir: &Path) -> Result<Vec<i32>> {
    match std::fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|l| l.parse().ok()).collect()),
        // ENODEV: removed between open and read.
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(Vec::new()),
        Err(e) => Err(e).doing(|| format!("reading processes of {}", dir.display())),
    }
}

/// Names of a folder's subfolders; none if it is gone.
pub(super) fn children(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).doing(|| format!("listing {}", dir.display())),
    };
    Ok(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.file_name()).collect())
}

/// A folder and those below it, deepest first.
fn deepest_first(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for child in children(dir)? {
        deepest_first(&dir.join(child), into)?;
    }
    into.push(dir.to_owned());
    Ok(())
}

/// One group. Holding it holds nothing: dropping it leaves the group as it is.
#[derive(Debug, Clone)]
pub struct Group {
    cgroups: Cgroups,
    path: PathBuf,
}

impl Group {
    pub(super) fn at(cgroups: Cgroups, path: PathBuf) -> Self {
        Self { cgroups, path }
    }

    /// Its path below the mount points, to find it again with [`Cgroups::find`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// v1 or v2.
    pub fn version(&self) -> Version {
        self.hierarchy().version
    }

    pub(super) fn hierarchy(&self) -> &Hierarchy {
        self.cgroups.hierarchy()
    }

    /// Its folder in a controller's tree; `None` when the host has no such controller.
    pub fn dir(&self, controller: Controller) -> Option<PathBuf> {
        self.hierarchy().mount(controller).map(|m| m.join(&self.path))
    }

    /// Its distinct folders: one on v2, one per tree on v1.
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.hierarchy().trees().into_iter().map(|t| t.join(&self.path)).collect()
    }

    /// The tree whose processes we list: all trees hold the same ones.
    fn home(&self) -> PathBuf {
        [Controller::Pids, Controller::Memory, Controller::Cpu]
            .into_iter()
            .find_map(|c| self.dir(c))
            .or_else(|| self.dirs().into_iter().next())
            .unwrap_or_default()
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.dirs().iter().any(|d| d.exists())
    }

    /// What a new process needs to be born in the group: on v2 its folder, for clone3's `CLONE_INTO_CGROUP`; on v1
    /// each tree's `tasks` file, to which a single-threaded process writes `0`. The fds are added to `fds`.
    ///
    /// # Errors
    /// `Internal` when it is gone.
    pub fn join(&self, fds: &mut Fds) -> Result<CgroupFds> {
        use rustix::fs::{Mode, OFlags, open};
        let mut add = |path: PathBuf, flags: OFlags| -> Result<FdRef> {
            let fd = open(&path, flags | OFlags::CLOEXEC, Mode::empty()).doing(|| format!("opening {}", path.display()))?;
            Ok(fds.add(fd))
        };
        Ok(match self.version() {
            Version::V2 => CgroupFds { v2: Some(add(self.home(), OFlags::PATH | OFlags::DIRECTORY)?), v1_tasks: Vec::new() },
            Version::V1 => {
                let tasks = self.dirs().into_iter().map(|d| add(d.join("tasks"), OFlags::WRONLY));
                CgroupFds { v2: None, v1_tasks: tasks.collect::<Result<_>>()? }
            }
        })
    }

    /// The name it has once [`Group::rename`] gave it to `name`: v2 knows no renaming.
    pub fn name_for<'a>(&'a self, name: &'a str) -> &'a str {
        match self.version() {
            Version::V1 => name,
            Version::V2 => self.path.file_name().and_then(|n| n.to_str()).unwrap_or(name),
        }
    }

    /// Gives a neutral group to somebody: on v1 it is renamed, with what is in it. On v2, where that cannot be done
    /// (cgroup1_rename has no counterpart), it keeps its name.
    ///
    /// # Errors
    /// `Internal` when the kernel refuses, for one when the name is taken; it has its old name then.
    pub fn rename(&self, name: &str) -> Result<Self> {
        let path = self.path.with_file_name(self.name_for(name));
        if path != self.path {
            let trees = self.hierarchy().trees();
            for (done, tree) in trees.iter().enumerate() {
                if let Err(error) = std::fs::rename(tree.join(&self.path), tree.join(&path)) {
                    for tree in &trees[..done] {
                        std::fs::rename(tree.join(&path), tree.join(&self.path))
                            .doing(|| format!("naming cgroup {}", self.path.display()))?;
                    }
                    return Err(error).doing(|| format!("naming cgroup {}", path.display()));
                }
            }
        }
        Ok(Self { cgroups: self.cgroups.clone(), path })
    }

    /// Puts a running process in.
    ///
    /// # Errors
    /// `Internal` when it is gone or the kernel refuses.
    pub fn add(&self, pid: i32) -> Result<()> {
        self.dirs().iter().try_for_each(|dir| write(&dir.join("cgroup.procs"), &pid.to_string()))
    }

    /// Puts limits into force, on a new group or a live one. Fields that ask nothing change nothing.
    ///
    /// # Errors
    /// `Invalid` for a device path that is no block device; `Conflict` when the group uses more than a new memory
    /// limit; `Internal` when the kernel refuses.
    pub fn set(&self, resources: &Resources) -> Result<()> {
        let mut writes = plan::plan(resources, self.version(), &block_device)?;
        if self.version() == Version::V1 {
            self.order_memory(&mut writes);
        }
        writes.iter().try_for_each(|w| self.apply(w))
    }

    /// v1 holds `limit <= memsw` at every moment: a limit above the memsw in force must come after its raise.
    fn order_memory(&self, writes: &mut [Write]) {
        let position = |file: &str| writes.iter().position(|w| w.file == file);
        let (Some(limit), Some(total)) = (position("memory.limit_in_bytes"), position("memory.memsw.limit_in_bytes")) else {
            return;
        };
        let in_force = self.read_number(Controller::Memory, "memory.memsw.limit_in_bytes").unwrap_or(u64::MAX);
        if writes[limit].value.parse::<u64>().map_or(true, |new| new > in_force) {
            writes.swap(limit, total);
        }
    }

    fn apply(&self, wanted: &Write) -> Result<()> {
        let Some(dir) = self.dir(wanted.controller) else {
            return Err(Error::unsupported(&format!("limiting {} on this host", wanted.controller.v1_name())));
        };
        let (name, value) = self.resolve(wanted, &dir);
        let file = dir.join(name);
        let outcome = write_io(&file, &value);
        let Err(error) = outcome else { return Ok(()) };
        match (wanted.file, error.raw_os_error()) {
            ("memory.limit_in_bytes" | "memory.memsw.limit_in_bytes", Some(libc::EBUSY)) => Err(Error::conflict(format!(
                "the memory limit {value} is below what is in use and cannot be freed: stop something in it first, or ask for more"
            ))),
            ("cpu.cfs_quota_us", Some(libc::EINVAL)) => self.fit_quota(&dir, &value, error),
            ("cpu.cfs_period_us", Some(libc::EINVAL)) => {
                // The old quota over the new period may exceed the parent's share: the quota that follows sets it right.
                write(&dir.join("cpu.cfs_quota_us"), "-1")?;
                write(&file, &value)
            }
            _ => Err(error).doing(|| format!("writing {value:?} to {}", file.display())),
        }
    }

    /// Fills in what a plan could not know: names that depend on the kernel, and values relative to those in force.
    fn resolve(&self, wanted: &Write, dir: &Path) -> (&'static str, String) {
        let value = wanted.value.clone();
        let there = |name: &str| dir.join(name).exists();
        match (wanted.file, value.split_once(' ')) {
            ("blkio.bfq.weight", _) if !there("blkio.bfq.weight") => ("blkio.weight", value),
            ("blkio.bfq.weight_device", _) if !there("blkio.bfq.weight_device") => ("blkio.weight_device", value),
            ("io.weight", _) if !there("io.weight") => {
                // bfq's own file takes 1–1000 where io.weight takes 1–10000.
                let scaled = value.rsplit_once(' ').and_then(|(who, w)| {
                    let weight: u64 = w.parse().ok()?;
                    Some(format!("{who} {}", (weight / 10).clamp(1, 1000)))
                });
                ("io.bfq.weight", scaled.unwrap_or(value))
            }
            ("cpu.max", Some(("keep", period))) => {
                let quota = std::fs::read_to_string(dir.join("cpu.max")).unwrap_or_default();
                let quota = quota.split_whitespace().next().unwrap_or("max").to_owned();
                ("cpu.max", format!("{quota} {period}"))
            }
            ("memory.swap.max", Some(("total", total))) => {
                let memory = self.read_number(Controller::Memory, "memory.max");
                let swap = match (total.parse::<u64>(), memory) {
                    (Ok(total), Some(memory)) => total.saturating_sub(memory).to_string(),
                    _ => "max".to_owned(),
                };
                ("memory.swap.max", swap)
            }
            (file, _) => (file, value),
        }
    }

    /// v1 refuses a child more CPU than its parent has, where v2 just lets the smaller one win. Do as v2: give what
    /// the parent has. And when it is a parent that shrinks below its children, lift it for them in turn.
    fn fit_quota(&self, dir: &Path, value: &str, error: std::io::Error) -> Result<()> {
        let failed = || format!("writing {value:?} to {}", dir.join("cpu.cfs_quota_us").display());
        let own: i64 = value.parse().unwrap_or(-1);
        let period: i64 = read_number(&dir.join("cpu.cfs_period_us")).unwrap_or(100_000);
        if let Some(above) = dir.parent()
            && let (Some(quota), Some(above_period)) =
                (read_number(&above.join("cpu.cfs_quota_us")), read_number(&above.join("cpu.cfs_period_us")))
            && quota > 0
        {
            let fitting = (i128::from(quota) * i128::from(period) / i128::from(above_period)).max(1000);
            if own < 0 || fitting < i128::from(own) {
                return write(&dir.join("cpu.cfs_quota_us"), &fitting.to_string());
            }
        }
        let mut shrunk = false;
        for child in children(dir)? {
            let child = dir.join(child);
            let (quota, child_period) = (
                read_number(&child.join("cpu.cfs_quota_us")).unwrap_or(-1),
                read_number(&child.join("cpu.cfs_period_us")).unwrap_or(100_000),
            );
            let fitting = (i128::from(own) * i128::from(child_period) / i128::from(period)).max(1000);
            if own > 0 && quota > 0 && i128::from(quota) > fitting {
                write(&child.join("cpu.cfs_quota_us"), &fitting.to_string())?;
                shrunk = true;
            }
        }
        if shrunk { write(&dir.join("cpu.cfs_quota_us"), value) } else { Err(error).doing(failed) }
    }

    /// Which devices its processes may use: exactly what `rules` allow, the later rule winning. Replaces what was set.
    ///
    /// # Errors
    /// `Internal` when the kernel refuses.
    pub fn set_devices(&self, rules: &[DeviceRule]) -> Result<()> {
        match self.version() {
            Version::V1 => {
                let Some(dir) = self.dir(Controller::Devices) else {
                    return Err(Error::unsupported("limiting device access on this host (no devices controller)"));
                };
                for (file, line) in super::device::v1_lines(rules) {
                    write(&dir.join(file), &line)?;
                }
                Ok(())
            }
            Version::V2 => super::device::attach(&self.home(), rules),
        }
    }

    /// Host pids of the processes in it, also in groups below it.
    ///
    /// # Errors
    /// `Internal` when the files cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut dirs = Vec::new();
        deepest_first(&self.home(), &mut dirs)?;
        let mut pids = Vec::new();
        for dir in dirs.iter().rev() {
            pids.extend(procs(dir)?);
        }
        Ok(pids)
    }

    /// Stops every process where it is; returns once all are stopped.
    ///
    /// # Errors
    /// `Unavailable` when some do not stop within 10 s (a process in uninterruptible sleep): it is thawed again.
    pub async fn freeze(&self) -> Result<()> {
        let (file, value) = self.freezer(true)?;
        for attempt in 0u32..2000 {
            // v1: a process forked meanwhile may leave it FREEZING until asked again (freezer-subsystem.rst).
            if attempt % 50 == 0 {
                write(&file, value)?;
            }
            if self.is_frozen()? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(if attempt < 20 { 1 } else { 5 })).await;
        }
        self.thaw()?;
        Err(Error::new(
            crate::Kind::Unavailable,
            "its processes did not freeze within 10 s: one of them waits for a device or a network file system",
        ))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// `Internal` when the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        let (file, value) = self.freezer(false)?;
        match write_io(&file, value) {
            // Gone meanwhile, with whatever was frozen in it.
            Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            written => written.doing(|| format!("writing {value:?} to {}", file.display())),
        }
    }

    /// Whether all of it is frozen.
    ///
    /// # Errors
    /// `Internal` when the files cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let (file, _) = self.freezer(true)?;
        Ok(match self.version() {
            Version::V1 => std::fs::read_to_string(&file).doing(|| format!("reading {}", file.display()))?.trim() == "FROZEN",
            Version::V2 => self.flat("cgroup.events").get("frozen") == Some(&1),
        })
    }

    fn freezer(&self, freeze: bool) -> Result<(PathBuf, &'static str)> {
        let dir = self.dir(Controller::Freezer).ok_or_else(|| Error::unsupported("pausing on a host without the freezer controller"))?;
        Ok(match (self.version(), freeze) {
            (Version::V1, true) => (dir.join("freezer.state"), "FROZEN"),
            (Version::V1, false) => (dir.join("freezer.state"), "THAWED"),
            (Version::V2, true) => (dir.join("cgroup.freeze"), "1"),
            (Version::V2, false) => (dir.join("cgroup.freeze"), "0"),
        })
    }

    /// SIGKILLs everything in it. Frozen processes die too (v1: they are thawed for it).
    ///
    /// # Errors
    /// `Internal` when the files cannot be read.
    pub fn kill_all(&self) -> Result<()> {
        let kill = self.home().join("cgroup.kill"); // v2 since 5.14: atomic, forks cannot outrun it
        if self.version() == Version::V2 && kill.exists() {
            return write(&kill, "1");
        }
        // A fork bomb could outrun signals one by one; the kernel's fork path cannot outrun a second and third look.
        for _ in 0..100 {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL); // gone already is fine
            }
            if self.is_frozen().unwrap_or(false) {
                self.thaw()?;
            }
        }
        Ok(())
    }

    /// Kills what is in it and removes it and all below it, off the async threads.
    ///
    /// # Errors
    /// `Internal` when the kernel keeps it busy for 10 s.
    pub async fn remove(self) -> Result<()> {
        tokio::task::spawn_blocking(move || self.remove_blocking()).await.doing(|| "removing a cgroup".into())?
    }

    /// As [`Group::remove`], on this thread.
    ///
    /// # Errors
    /// As [`Group::remove`].
    pub fn remove_blocking(&self) -> Result<()> {
        let mut pause = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            match self.try_remove() {
                Ok(()) => return Ok(()),
                Err(e) if waited > Duration::from_secs(10) => return Err(e),
                Err(_) => {
                    // Busy: a process is there or is a zombie still charged to it.
                    if !self.pids()?.is_empty() {
                        self.kill_all()?;
                    }
                    std::thread::sleep(pause);
                    waited += pause;
                    pause = (pause * 2).min(Duration::from_millis(200));
                }
            }
        }
    }

    fn try_remove(&self) -> Result<()> {
        let mut first = None;
        for top in self.dirs() {
            let mut dirs = Vec::new();
            deepest_first(&top, &mut dirs)?;
            for dir in dirs {
                match std::fs::remove_dir(&dir) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => first = first.or(Some((dir, e))),
                }
            }
        }
        match first {
            None => Ok(()),
            Some((dir, e)) => Err(e).doing(|| format!("removing cgroup {}", dir.display())),
        }
    }

    /// A `key value` file of the group's home tree, empty when it cannot be read.
    pub(super) fn flat(&self, name: &str) -> std::collections::BTreeMap<String, u64> {
        flat_file(&self.home().join(name))
    }

    pub(super) fn read(&self, controller: Controller, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir(controller)?.join(name)).ok()
    }

    pub(super) fn read_number(&self, controller: Controller, name: &str) -> Option<u64> {
        self.read(controller, name)?.trim().parse().ok()
    }
}

/// A file of `key value` lines.
pub(super) fn flat_file(file: &Path) -> std::collections::BTreeMap<String, u64> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        .collect()
}

fn read_number(file: &Path) -> Option<i64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A block device's numbers, from its path on the host.
fn block_device(path: &str) -> Result<(u32, u32)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(path).map_err(|e| Error::invalid(format!("{path}: {}", e.kind())).because(e))?;
    if !meta.file_type().is_block_device() {
        return Err(Error::invalid(format!("{path} is not a block device")));
    }
    Ok((rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())))
}
