//! What all builds of an engine share: who runs, which cache folders are in use, and what is remembered of steps.

use crate::engine::Engine;
use crate::filter::{self, Filters};
use crate::image::build::BuiltLayer;
use crate::inventory::builds as rows;
use crate::policy::Action;
use crate::{Doing, Error, Pruned, Result, Subject, TenantId};
use sha2::Digest as _;
use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use tokio_util::sync::CancellationToken;

/// The builds of one engine.
#[derive(Default)]
pub(crate) struct Builds {
    running: Mutex<HashMap<(TenantId, String), CancellationToken>>,
    /// Cache folders in use; the lock is for those that share with nobody at a time.
    folders: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// The filters that prune knows.
pub const PRUNE_FILTERS: [&str; 12] =
    ["until", "unused-for", "id", "type", "description", "inuse", "shared", "private", "parent", "parents", "mutable", "immutable"];

/// What prune may take.
#[derive(Debug, Clone, Default)]
pub struct PruneBuilds {
    /// Keep so many bytes of what was used last.
    pub keep_bytes: u64,
    /// Docker's filters (`until`, `id`, `type`).
    pub filters: Filters,
}

/// One remembered thing, for `df`.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildCacheEntry {
    /// Its name.
    pub id: String,
    /// `regular`, or `exec.cachemount`.
    pub kind: &'static str,
    /// What it is of.
    pub description: String,
    /// Bytes.
    pub size: u64,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// When it was last used.
    pub last_used: jiff::Timestamp,
    /// How often.
    pub uses: u64,
    /// Whether a build uses it now.
    pub in_use: bool,
}

/// A key of parts: each with its length, so that no two lists of parts look alike.
pub(super) fn key(parts: &[&[u8]]) -> String {
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// A build that runs, findable by its id until dropped.
pub(super) struct Registered<'a> {
    builds: &'a Builds,
    key: (TenantId, String),
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.builds.running.lock().unwrap_or_else(|e| e.into_inner()).remove(&self.key);
    }
}

impl Builds {
    /// Makes a build findable.
    pub(super) fn register(&self, tenant: TenantId, id: &str, cancel: &CancellationToken) -> Option<Registered<'_>> {
        if id.is_empty() {
            return None;
        }
        let key = (tenant, id.to_owned());
        self.running.lock().unwrap_or_else(|e| e.into_inner()).insert(key.clone(), cancel.clone());
        Some(Registered { builds: self, key })
    }

    /// The lock of a cache folder; it counts as in use as long as somebody has it.
    pub(super) fn folder(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut folders = self.folders.lock().unwrap_or_else(|e| e.into_inner());
        folders.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = folders.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        folders.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }

    fn in_use(&self, name: &str) -> bool {
        self.folders.lock().unwrap_or_else(|e| e.into_inner()).get(name).is_some_and(|lock| lock.strong_count() > 0)
    }
}

/// Makes a folder of the tenant's block.
pub(super) fn make_folder(path: &Path, owner: u32, mode: u32) -> Result<()> {
    let doing = || format!("making {}", path.display());
    std::fs::DirBuilder::new().mode(mode).create(path).doing(doing)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).doing(doing)?;
    chown(path, Some(owner), Some(owner)).doing(doing)
}

impl Engine {
    /// Where builds at work have their folders.
    pub(super) fn builds_folder(&self) -> PathBuf {
        self.instance().data_root().join("builds")
    }

    /// Where cache folders lie.
    pub(super) fn build_caches(&self) -> PathBuf {
        self.instance().data_root().join("build-cache")
    }

    /// Where secrets of builds at work lie: in memory.
    pub(super) fn build_secrets(&self) -> PathBuf {
        self.instance().run_dir().join("b")
    }

    /// After a start: nothing of a build that a crash ended stays.
    pub(crate) async fn sweep_builds(&self) -> Result<()> {
        self.sweep_steps().await;
        let trash = self.instance().data_root().join("trash");
        let known = rows::mount_folders(self.inventory()).await?;
        for (folder, kept) in [(self.builds_folder(), &[][..]), (self.build_caches(), &known[..]), (self.build_secrets(), &[][..])] {
            std::fs::create_dir_all(&folder).doing(|| format!("making {}", folder.display()))?;
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).doing(|| format!("closing {}", folder.display()))?;
            for entry in std::fs::read_dir(&folder).doing(|| format!("listing {}", folder.display()))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if kept.contains(&name) {
                    continue;
                }
                if folder == self.build_secrets() {
                    std::fs::remove_dir_all(entry.path()).doing(|| "removing secrets that a crash left".to_owned())?;
                } else {
                    std::fs::rename(entry.path(), trash.join(format!("build-{name}"))).doing(|| "moving a build's rest away".to_owned())?;
                }
            }
        }
        Ok(())
    }

    /// A remembered step of the tenant, if all of it is here, and when it was made.
    pub(super) async fn remembered_step(&self, tenant: TenantId, key: &str) -> Result<Option<(Option<BuiltLayer>, jiff::Timestamp)>> {
        let Some(row) = rows::find(self.inventory(), tenant, key).await? else { return Ok(None) };
        let made = jiff::Timestamp::from_millisecond(row.created).doing(|| "reading the build cache".to_owned())?;
        Ok(match &row.layer {
            None => Some((None, made)),
            Some(layer) => self.images_handle().remembered(layer).map(|layer| (Some(layer), made)),
        })
    }

    /// Cancels a build by the id that its client gave it.
    ///
    /// # Errors
    /// `NotFound` without such a build of the subject's.
    pub async fn cancel_build(&self, who: &Subject, id: &str) -> Result<()> {
        self.judge(who, Action::ImageBuild).await?;
        let found = self.builds().running.lock().unwrap_or_else(|e| e.into_inner()).get(&(who.tenant, id.to_owned())).cloned();
        found.ok_or_else(|| Error::no_such("build", id))?.cancel();
        Ok(())
    }

    /// Bytes in the folders that builds of a tenant keep.
    pub(crate) async fn build_folders_size(&self, tenant: TenantId) -> Result<u64> {
        let mut total = 0;
        for row in rows::mounts(self.inventory(), tenant).await? {
            total += crate::volume::folder_size(&self.build_caches().join(&row.folder)).await;
        }
        Ok(total)
    }

    /// What builds remember, least recently used first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn build_cache(&self, who: &Subject) -> Result<Vec<BuildCacheEntry>> {
        self.judge(who, Action::ImageRead).await?;
        let time = |ms| jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
        let mut list: Vec<BuildCacheEntry> = rows::steps(self.inventory(), who.tenant)
            .await?
            .into_iter()
            .map(|row| BuildCacheEntry {
                id: row.key,
                kind: "regular",
                description: row.description,
                size: row.layer.map_or(0, |l| l.size),
                created: time(row.created),
                last_used: time(row.last_used),
                uses: u64::try_from(row.uses).unwrap_or(0),
                in_use: false,
            })
            .collect();
        for row in rows::mounts(self.inventory(), who.tenant).await? {
            list.push(BuildCacheEntry {
                kind: "exec.cachemount",
                description: row.description,
                size: crate::volume::folder_size(&self.build_caches().join(&row.folder)).await,
                created: time(row.created),
                last_used: time(row.last_used),
                uses: 0,
                in_use: self.builds().in_use(&row.folder),
                id: row.key,
            });
        }
        list.sort_by_key(|e| e.last_used);
        Ok(list)
    }

    /// Forgets what builds remember. What runs keeps what it uses.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_builds(&self, who: &Subject, request: &PruneBuilds) -> Result<Pruned> {
        filter::check_keys(&request.filters, &PRUNE_FILTERS)?;
        let until = filter::until(&request.filters)?;
        let request = request.clone();
        self.uncancelled(who, move |engine, who| async move {
            let work = async {
                let mut entries = engine.build_cache(&who).await?;
                let total: u64 = entries.iter().map(|e| e.size).sum();
                let wants =
                    |key: &str, value: &str| request.filters.get(key).is_none_or(|v| v.iter().any(|v| value.starts_with(v.as_str())));
                entries.retain(|e| {
                    !e.in_use
                        && until.is_none_or(|t| e.last_used < t)
                        && wants("id", &e.id)
                        && wants("type", e.kind)
                        && wants("description", &e.description)
                });
                let mut pruned = Pruned::default();
                let mut left = total;
                let folders: HashMap<String, String> =
                    rows::mounts(engine.inventory(), who.tenant).await?.into_iter().map(|m| (m.key, m.folder)).collect();
                for entry in entries {
                    if request.keep_bytes > 0 && left <= request.keep_bytes {
                        break;
                    }
                    let mut tx = engine.inventory().begin().await?;
                    if entry.kind == "regular" {
                        rows::forget(&mut tx, who.tenant, &entry.id).await?;
                    } else {
                        rows::forget_mount(&mut tx, who.tenant, &entry.id).await?;
                    }
                    crate::inventory::commit(tx).await?;
                    if let Some(folder) = folders.get(&entry.id).filter(|_| entry.kind != "regular") {
                        let grave = engine.instance().data_root().join("trash").join(format!("build-{folder}"));
                        std::fs::rename(engine.build_caches().join(folder), grave).doing(|| "moving a cache folder away".to_owned())?;
                        pruned.reclaimed += entry.size;
                    }
                    left = left.saturating_sub(entry.size);
                    pruned.removed.push(entry.id);
                }
                engine.sweep_trash();
                pruned.reclaimed += engine.images_handle().free_unused().await?;
                engine.roots().forget_removed();
                Ok(pruned)
            };
            let pruned = engine.audited(&who, Action::ImagePrune, "build cache", work).await?;
            engine.tell(who.tenant, "builder", "prune", "", [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into());
            Ok(pruned)
        })
        .await
    }
}
