//! Limits that the kernel holds, where the data root's file system has project quotas (ext4 or XFS mounted with `prjquota`):
//! whoever writes past them gets EDQUOT at once. A tenant is a project, and so is each volume with a size of its own. Elsewhere
//! there is nothing here but the answer that there is nothing, and `watch` holds the quota.
//!
//! Not everything of a tenant is in its project (layers that others share, volumes with their own, what was there before), so the
//! project's limit is what the quota leaves beside that, set anew at each look.

use crate::sys::project;
use crate::{Doing, Instance, Result, TenantId};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// The data root's project quotas. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hard {
    root: Option<Arc<OwnedFd>>,
    /// The same number for the same data root, another for another: several may share a file system.
    instance: u32,
}

impl Hard {
    /// Looks whether there are any.
    pub fn open(instance: &Instance) -> Result<Self> {
        let path = instance.data_root();
        let root = OwnedFd::from(File::open(path).doing(|| format!("opening {}", path.display()))?);
        let digest = crate::Digest::of(path.as_os_str().as_encoded_bytes()).hex();
        let instance = u32::from_str_radix(&digest[..4], 16).unwrap_or(0) & 0x3fff;
        // The root's own project always has a record where quotas are on.
        let there = project::used(root.as_fd(), 0).is_ok();
        Ok(Self { root: there.then(|| Arc::new(root)), instance })
    }

    /// Whether the kernel holds limits here.
    pub fn holds(&self) -> bool {
        self.root.is_some()
    }

    /// A tenant's project.
    fn tenant(&self, tenant: TenantId) -> u32 {
        0x4000_0000 | self.instance << 16 | (u32::try_from(tenant.0).unwrap_or(0) & 0xffff)
    }

    /// Puts a new, empty folder into its tenant's project.
    pub fn join(&self, folder: &Path, tenant: TenantId) -> Result<()> {
        if !self.holds() {
            return Ok(());
        }
        let doing = || format!("putting {} under its tenant's disk quota", folder.display());
        project::join(File::open(folder).doing(doing)?.as_fd(), self.tenant(tenant)).doing(doing)
    }

    /// Gives a new, empty folder a size of its own. `name`: random, the project's number is made of it.
    pub fn size(&self, folder: &Path, name: &str, bytes: u64) -> Result<()> {
        let Some(root) = &self.root else { return Err(no_support()) };
        let doing = || format!("giving {} its size", folder.display());
        let number = name.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or(0) | 0x8000_0000;
        // 2^32 - 1 is nobody's.
        let number = number.min(u32::MAX - 1);
        project::limit(root.as_fd(), number, Some(bytes)).doing(doing)?;
        project::join(File::open(folder).doing(doing)?.as_fd(), number).doing(doing)
    }

    /// Forgets the size of a folder that goes.
    pub fn unsize(&self, folder: &Path) {
        let Some(root) = &self.root else { return };
        let number = File::open(folder).and_then(|folder| project::project_of(folder.as_fd()));
        if let Ok(number @ 0x8000_0000..) = number
            && let Err(error) = project::limit(root.as_fd(), number, None)
        {
            tracing::warn!(folder = %folder.display(), %error, "the limit of a removed volume remains");
        }
    }

    /// Holds a tenant that takes `used` bytes in all to its quota.
    pub fn hold(&self, tenant: TenantId, used: u64, quota: Option<u64>) -> Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let number = self.tenant(tenant);
        let doing = || "holding a tenant to its disk quota".to_owned();
        let inside = project::used(root.as_fd(), number).or_else(none_yet).doing(doing)?;
        let limit = quota.map(|quota| quota.saturating_sub(used.saturating_sub(inside)));
        project::limit(root.as_fd(), number, limit).doing(doing)
    }
}

/// A project that nobody joined has no record.
fn none_yet(error: std::io::Error) -> std::io::Result<u64> {
    if error.raw_os_error() == Some(libc::ESRCH) || error.raw_os_error() == Some(libc::ENOENT) { Ok(0) } else { Err(error) }
}

/// Docker's text for a size that nothing would hold.
pub(crate) fn no_support() -> crate::Error {
    crate::Error::invalid("quota size requested but no quota support")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Writes as somebody without CAP_SYS_RESOURCE in the first user namespace, whom ext4 holds to limits; how far it came.
    fn written(file: &Path, bytes: usize) -> (u64, Option<i32>) {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let file = file.to_owned();
        std::thread::spawn(move || {
            // Capabilities are a thread's.
            let mut now = capabilities(None).unwrap();
            now.effective.remove(CapabilitySet::SYS_RESOURCE);
            set_capabilities(None, now).unwrap();
            let mut out = File::create(&file).unwrap();
            let outcome = out.write_all(&vec![7; bytes]).and_then(|()| out.sync_all());
            (std::fs::metadata(&file).unwrap().len(), outcome.err().and_then(|e| e.raw_os_error()))
        })
        .join()
        .unwrap()
    }

    #[test]
    fn the_kernel_stops_who_writes_past_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(&dir.path().join("data"), &dir.path().join("run")).unwrap();
        let hard = Hard::open(&instance).unwrap();
        if !hard.holds() {
            println!("SKIPPED: {} has no project quotas (mount ext4 or xfs with prjquota)", dir.path().display());
            return;
        }
        let folder = |name: &str| {
            let folder = dir.path().join("data").join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        // A size of its own.
        let sized = folder("sized");
        hard.size(&sized, "0123abcd", 1 << 20).unwrap();
        std::fs::create_dir(sized.join("_data")).unwrap();
        let (size, error) = written(&sized.join("_data/x"), 3 << 20);
        assert!(size <= 1 << 20 && error == Some(libc::EDQUOT), "{size} bytes, {error:?}");
        hard.unsize(&sized);
        assert_eq!(written(&sized.join("_data/x"), 3 << 20), (3 << 20, None));
        // A tenant's folders together; what lies outside of its project takes from its quota.
        let tenant = TenantId(7);
        let folders = [folder("one"), folder("two")];
        for folder in &folders {
            hard.join(folder, tenant).unwrap();
        }
        hard.hold(tenant, 5 << 20, Some(9 << 20)).unwrap();
        assert_eq!(written(&folders[0].join("x"), 3 << 20), (3 << 20, None));
        let (size, error) = written(&folders[1].join("x"), 3 << 20);
        assert!(size <= 1 << 20 && error == Some(libc::EDQUOT), "{size} bytes, {error:?}");
        hard.hold(tenant, 0, None).unwrap();
        assert_eq!(written(&folders[1].join("x"), 3 << 20), (3 << 20, None));
    }
}
