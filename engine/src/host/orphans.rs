//! What a crash may have left: cgroups, interfaces, mounts and run folders that carry this instance's name and that
//! nothing known owns.

use crate::cgroup::Cgroups;
use crate::{Doing, Instance, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is owned. Everything else of this instance is an orphan.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Groups in use (containers, workers, pooled zygotes), by [`crate::cgroup::Group::path`].
    pub groups: BTreeSet<PathBuf>,
    /// Interfaces in use: bridges and the host's ends of containers.
    pub links: BTreeSet<String>,
    /// Mount points in use below the data root or the run folder.
    pub mounts: BTreeSet<PathBuf>,
    /// Names of run folders (`<run>/c/<name>`) of containers that are up or have an exit to be collected.
    pub runs: BTreeSet<String>,
}

/// Something nobody owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "name")]
pub enum Orphan {
    /// A cgroup.
    Cgroup(PathBuf),
    /// A network interface.
    Link(String),
    /// A mount point.
    Mount(PathBuf),
    /// A run folder.
    Run(PathBuf),
}

/// Looks for orphans of this instance. Blocks.
///
/// # Errors
/// `Internal` when the kernel's lists cannot be read.
pub fn orphans(instance: &Instance, cgroups: &Cgroups, known: &Known) -> Result<Vec<Orphan>> {
    let mut found = Vec::new();
    for group in cgroups.groups()? {
        if !known.groups.contains(group.path()) {
            found.push(Orphan::Cgroup(group.path().to_owned()));
        }
    }
    let prefix = format!("w{}", instance.tag());
    for name in names(Path::new("/sys/class/net"))? {
        if name.starts_with(&prefix) && !known.links.contains(&name) {
            found.push(Orphan::Link(name));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "reading /proc/self/mountinfo".into())?;
    let points: BTreeSet<PathBuf> = below(&mounts, &[instance.data_root(), instance.run_dir()]);
    found.extend(points.difference(&known.mounts).cloned().map(Orphan::Mount));
    let runs = instance.run_dir().join("c");
    for name in names(&runs)? {
        if !known.runs.contains(&name) {
            found.push(Orphan::Run(runs.join(name)));
        }
    }
    found.sort();
    Ok(found)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e).doing(|| format!("listing {}", dir.display())),
    }
}

/// Mount points strictly below some folders. One *on* the folder is the administrator's (a disk for the data root), or
/// ours that closes it to suid programs.
fn below(mountinfo: &str, folders: &[&Path]) -> BTreeSet<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| folders.iter().any(|f| point.starts_with(f) && point != f))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TenantId;

    #[test]
    fn what_is_known_is_no_orphan_and_what_is_not_is() {
        let (data, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let instance = Instance::open(data.path(), run.path()).unwrap();
        let cgroups = Cgroups::open(&instance).unwrap();
        let (kept, left) = (cgroups.create(TenantId(1), "kept").unwrap(), cgroups.create(TenantId(1), "left").unwrap());
        std::fs::create_dir_all(run.path().join("c/kept")).unwrap();
        std::fs::create_dir_all(run.path().join("c/left")).unwrap();
        let known = Known { groups: [kept.path().to_owned()].into(), runs: ["kept".to_owned()].into(), ..Known::default() };
        let found = orphans(&instance, &cgroups, &known).unwrap();
        cgroups.remove_all().unwrap();
        assert_eq!(found, [Orphan::Cgroup(left.path().to_owned()), Orphan::Run(run.path().join("c/left"))]);
        assert_eq!(orphans(&instance, &cgroups, &known).unwrap().len(), 1, "the cgroups are gone");
    }

    #[test]
    fn mounts_below_but_not_on() {
        let info = "1 0 8:1 / /data rw - ext4 x rw\n2 1 8:1 / /data/a\\040b rw - ext4 x rw\n3 1 8:1 / /database rw - ext4 x rw\n";
        assert_eq!(below(info, &[Path::new("/data")]), [PathBuf::from("/data/a b")].into());
    }
}
