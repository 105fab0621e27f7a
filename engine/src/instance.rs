//! One Wharf on this host: its folders, and the names that keep it apart from other instances and from dockerd.

use crate::{Digest, Doing, Error, Result};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The data root that needs no tag in names.
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/wharf";

/// Folders and names of one instance. Holding it holds the lock on the data root.
#[derive(Debug)]
pub struct Instance {
    data_root: PathBuf,
    run_dir: PathBuf,
    tag: String,
    _lock: File,
}

impl Instance {
    /// Makes the folders (0700) and takes the lock.
    ///
    /// # Errors
    /// `Conflict` when another server has this data root; `Internal` when a folder cannot be made.
    pub fn open(data_root: &Path, run_dir: &Path) -> Result<Self> {
        for dir in [data_root, run_dir] {
            std::fs::create_dir_all(dir).doing(|| format!("making {}", dir.display()))?;
        }
        std::fs::set_permissions(data_root, Permissions::from_mode(0o700))
            .doing(|| format!("closing {} to others", data_root.display()))?;
        let data_root = data_root.canonicalize().doing(|| format!("resolving {}", data_root.display()))?;
        let lock_path = data_root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .doing(|| format!("opening {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::conflict(format!(
                    "another wharf serves {}: stop it, or give this one its own --data-root",
                    data_root.display()
                )));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(e).doing(|| format!("locking {}", lock_path.display())),
        }
        let tag = Digest::of(data_root.as_os_str().as_encoded_bytes()).hex()[..5].to_owned();
        Ok(Self { data_root, run_dir: run_dir.to_owned(), tag, _lock: lock })
    }

    /// Where everything lasting lies.
    pub fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// Where sockets and shims' facts lie: gone at reboot.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Five hex characters that tell this instance's interfaces and subnets from others'.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// `wharf` for the default data root, `wharf-<tag>` for others: cgroup root, nft table.
    pub fn name(&self) -> String {
        if self.data_root == Path::new(DEFAULT_DATA_ROOT) { "wharf".to_owned() } else { format!("wharf-{}", self.tag) }
    }
}
