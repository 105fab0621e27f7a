//! Unpacked layers: one folder each, made by a worker beside the others and moved among them when it is whole and right.

use super::content::{Growth, feed, sync_folder};
use super::store::Inner;
use crate::inventory::images as rows;
use crate::worker::{LayerReport, Limits};
use crate::{Digest, Doing, Error, Result, TenantId};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Who may see a layer or blob: 0 everybody, else a tenant.
pub const PUBLIC: i64 = 0;

/// A folder that disappears unless it is kept.
#[derive(Debug)]
pub struct Staging {
    path: Option<PathBuf>,
}

impl Staging {
    /// A new empty folder in `parent`, searchable as an image's root is.
    pub fn new(parent: &Path) -> Result<Self> {
        let path = parent.join(format!("new-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&path).doing(|| format!("making {}", path.display()))?;
        let staging = Self { path: Some(path) };
        std::fs::set_permissions(staging.path(), std::fs::Permissions::from_mode(0o755)).doing(|| "opening a staging folder".to_owned())?;
        Ok(staging)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("/nonexistent"))
    }

    /// Moves it to where it stays.
    pub fn keep(mut self, to: &Path) -> Result<()> {
        if let Some(path) = self.path.take() {
            std::fs::rename(&path, to).doing(|| format!("moving {} to {}", path.display(), to.display()))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            discard(path);
        }
    }
}

/// Removes a folder or file on a thread of its own: nobody waits for it, and a start sweeps what a crash leaves.
pub fn discard(path: PathBuf) {
    std::thread::spawn(move || {
        let outcome = match std::fs::symlink_metadata(&path) {
            Ok(m) if m.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(e) => Err(e),
        };
        match outcome {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), error = %e, "rubbish stays on disk")
            }
            _ => {}
        }
    });
}

/// What a worker made of a packed layer.
pub struct Unpacked {
    /// The tree.
    pub staging: Staging,
    /// What it is.
    pub report: LayerReport,
}

impl Inner {
    /// Unpacks `file` as it grows. `sent`: how far the worker is.
    pub async fn unpack(&self, scope: i64, file: File, growth: Arc<Growth>, sent: Arc<AtomicU64>) -> Result<Unpacked> {
        let base = match scope {
            PUBLIC => self.layers_base,
            tenant => self.inventory.uid_base(TenantId(tenant)).await?,
        };
        let staging = Staging::new(&self.layers)?;
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
        // Fewer wake-ups; smaller pipes work too.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, 1 << 20);
        let feeder = tokio::task::spawn_blocking(move || feed(&file, &growth, write, &sent));
        let report = self.workers.layer(base, staging.path(), read, Limits::default()).await;
        match report {
            Ok(report) => {
                feeder.await.doing(|| "waiting for a feeder".to_owned())?.doing(|| "feeding a worker".to_owned())?;
                Ok(Unpacked { staging, report })
            }
            Err(e) => Err(e),
        }
    }

    /// Makes an unpacked, verified layer and its packed form lasting and visible. Returns the layer's row.
    pub async fn commit_layer(&self, scope: i64, unpacked: Unpacked, packed: &Path, blob: &Digest, blob_size: u64) -> Result<i64> {
        let Unpacked { staging, report } = unpacked;
        let folder = uuid::Uuid::new_v4().simple().to_string();
        let final_path = self.layers.join(&folder);
        let (content, layers, packed, blob) = (self.content.clone(), self.layers.clone(), packed.to_owned(), *blob);
        let moved = final_path.clone();
        crate::blocking(move || {
            // One syncfs for the thousands of files of a layer, instead of a sync for each.
            let root = File::open(staging.path()).doing(|| "opening a layer".to_owned())?;
            rustix::fs::syncfs(&root).doing(|| "syncing a layer".to_owned())?;
            staging.keep(&moved)?;
            sync_folder(&layers)?;
            if packed != content.blob(&blob) {
                content.adopt(&packed, &blob)?;
            }
            Ok(())
        })
        .await?;
        let mut tx = self.inventory.begin().await?;
        rows::put_blob(&mut tx, &blob, &report.diff_id, blob_size, scope).await?;
        let (row, ours) = rows::put_layer(&mut tx, &report.diff_id, scope, &folder, report.size).await?;
        tx.commit().await.doing(|| "writing a layer to the database".to_owned())?;
        if !ours {
            discard(final_path);
        }
        Ok(row)
    }

    /// One at a time for each key: whoever comes second waits, and finds the work done.
    pub async fn exclusive(&self, key: String) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(|e| e.into_inner());
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(&key).and_then(std::sync::Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::new(tokio::sync::Mutex::new(()));
                    locks.insert(key, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }

    /// Removes what lies in the folders but not in the books: left by a crash, or by an older start.
    pub async fn sweep(&self) -> Result<()> {
        /// A broken download may be taken up again for a day.
        const RESUMABLE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
        let (folders, blobs) = self.inventory.stored_content().await?;
        let folders: std::collections::HashSet<_> = folders.into_iter().collect();
        let blobs: std::collections::HashSet<_> = blobs.iter().map(Digest::hex).collect();
        let (layers, content) = (self.layers.clone(), self.content.clone());
        crate::blocking(move || {
            let entries = |dir: &Path| -> Result<Vec<(PathBuf, String)>> {
                let doing = || format!("reading {}", dir.display());
                let list = std::fs::read_dir(dir).doing(doing)?.collect::<std::io::Result<Vec<_>>>().doing(doing)?;
                Ok(list.into_iter().map(|e| (e.path(), e.file_name().to_string_lossy().into_owned())).collect())
            };
            for (path, name) in entries(&layers)? {
                if !folders.contains(&name) {
                    discard(path);
                }
            }
            for (path, name) in entries(&content.blobs())? {
                if !blobs.contains(&name) {
                    discard(path);
                }
            }
            for (path, name) in entries(&content.ingest())? {
                let age = std::fs::metadata(&path).and_then(|m| m.modified()).ok().and_then(|m| m.elapsed().ok());
                if name.starts_with("new-") || age.is_none_or(|a| a > RESUMABLE) {
                    discard(path);
                }
            }
            Ok(())
        })
        .await
    }

    /// What is wrong with a layer whose contents are not what the configuration promised.
    pub fn check_diff_id(found: &Digest, expected: &Digest) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::invalid(format!("layer verification failed: the configuration promises {expected}, the layer holds {found}")))
    }
}
