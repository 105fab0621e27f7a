//! What a tenant takes on disk, and its disk quota: images, volumes, writable layers, logs, build cache.
//!
//! It is measured by walking the tenant's folders. Whoever is at the limit may read, run and remove, but neither fetch, build, load,
//! make nor upload anything more; what comes in stops at what is left. What running containers write is
//! `watch`'s, or the kernel's where it can (`hard`).

pub(crate) mod hard;
mod watch;

use crate::engine::Engine;
use crate::policy::Action;
use crate::size::decimal as bytes;
use crate::volume::folder_size;
use crate::{Error, Kind, Result, Subject, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How old a measurement may be that something is refused or let by.
const STALE: Duration = Duration::from_secs(30);

/// Bytes on disk. A layer that several images share counts once; one that other tenants have as well counts for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DiskUse {
    /// Unpacked layers of images.
    pub layers: u64,
    /// The same as they were fetched, compressed.
    pub blobs: u64,
    /// Volumes.
    pub volumes: u64,
    /// Removed volumes that can still be restored.
    pub trash: u64,
    /// What containers wrote into their root file systems.
    pub containers: u64,
    /// Logs, those included that outlive their containers.
    pub logs: u64,
    /// Folders that builds keep (`RUN --mount=type=cache`). Their layers are images' layers.
    pub build_cache: u64,
}

impl DiskUse {
    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { layers, blobs, volumes, trash, containers, logs, build_cache } = *self;
        [layers, blobs, volumes, trash, containers, logs, build_cache].iter().fold(0, |sum: u64, n| sum.saturating_add(*n))
    }

    /// Whether a tenant may add to it.
    ///
    /// # Errors
    /// `Exhausted`, with what takes the room.
    pub(crate) fn room(&self, limit: Option<u64>) -> Result<()> {
        match limit {
            Some(limit) if self.total() >= limit => Err(Error::new(
                Kind::Exhausted,
                format!(
                    "disk quota reached: the tenant has {} of at most {} (images {}, volumes {}, trash {}, containers {}, logs {}, build cache {}); \
                     remove some or ask an administrator for more",
                    bytes(self.total()),
                    bytes(limit),
                    bytes(self.layers + self.blobs),
                    bytes(self.volumes),
                    bytes(self.trash),
                    bytes(self.containers),
                    bytes(self.logs),
                    bytes(self.build_cache),
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// What was found at one look.
struct Look {
    /// When; `None`: something big was added or removed since.
    at: Option<Instant>,
    took: Duration,
    used: DiskUse,
    /// By container id and volume, for whoever asks what grows.
    places: Arc<HashMap<String, u64>>,
}

/// What a volume is called among the places.
fn volume_place(name: &str) -> String {
    format!("volume {name}")
}

/// The last look at each tenant that was looked at.
#[derive(Default)]
pub(crate) struct Measured(Mutex<HashMap<TenantId, Look>>);

impl Measured {
    fn recent(&self, tenant: TenantId) -> Option<DiskUse> {
        self.all().get(&tenant).filter(|look| look.at.is_some_and(|at| at.elapsed() < STALE)).map(|look| look.used)
    }

    /// However old, and whether it is time for a new look: at most a twentieth of the time is spent looking.
    fn lately(&self, tenant: TenantId) -> Option<(DiskUse, bool)> {
        self.all().get(&tenant).map(|look| (look.used, look.at.is_none_or(|at| at.elapsed() > STALE.max(look.took * 20))))
    }

    fn places(&self, tenant: TenantId) -> Option<Arc<HashMap<String, u64>>> {
        self.all().get(&tenant).map(|look| look.places.clone())
    }

    fn keep(&self, tenant: TenantId, took: Duration, used: DiskUse, places: HashMap<String, u64>) {
        self.all().insert(tenant, Look { at: Some(Instant::now()), took, used, places: Arc::new(places) });
    }

    /// Something big was added or removed.
    pub fn forget(&self, tenant: TenantId) {
        if let Some(look) = self.all().get_mut(&tenant) {
            look.at = None;
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<TenantId, Look>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Engine {
    /// What the subject's tenant takes on disk, measured now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn disk_use(&self, who: &Subject) -> Result<DiskUse> {
        self.judge(who, Action::ContainerRead).await?;
        self.measure(who.tenant).await
    }

    /// The same as it was found lately, for pages: they wait for a look only where there never was one. When it is time for
    /// another, that one is for the next page.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn disk_use_lately(&self, who: &Subject) -> Result<DiskUse> {
        let Some((used, old)) = self.measured().lately(who.tenant) else { return self.disk_use(who).await };
        if old {
            let (engine, tenant) = (self.clone(), who.tenant);
            self.spawn(async move {
                if let Err(error) = engine.measure(tenant).await {
                    tracing::warn!(?error, "what a tenant takes on disk could not be measured");
                }
            });
        }
        Ok(used)
    }

    /// Whether the tenant may add something. Costs nothing without a quota.
    ///
    /// # Errors
    /// `Exhausted` at the limit.
    pub(crate) async fn room_on_disk(&self, tenant: TenantId) -> Result<()> {
        let Some(limit) = self.tenants().get(tenant).and_then(|t| t.quota.disk) else { return Ok(()) };
        let used = match self.measured().recent(tenant) {
            // Near the limit an old number may refuse what was made room for.
            Some(used) if used.total() < limit => used,
            _ => self.measure(tenant).await?,
        };
        match used.room(Some(limit)) {
            Err(_) if used.trash > 0 => {
                // A byte less than the limit is room.
                self.squeeze_trash(tenant, (used.total() - limit).saturating_add(1)).await;
                self.measure(tenant).await?.room(Some(limit))
            }
            other => other,
        }
    }

    /// How many bytes the tenant may still add; without a quota, any number.
    ///
    /// # Errors
    /// `Exhausted` when there is none left.
    pub(crate) async fn room_left(&self, tenant: TenantId) -> Result<u64> {
        let Some(limit) = self.tenants().get(tenant).and_then(|t| t.quota.disk) else { return Ok(u64::MAX) };
        // Measured anew: what is let in now may fill it to the last byte.
        let used = self.measure(tenant).await?;
        // What is in the trash goes when it is in the way, and is counted as room until then.
        let mut kept = used;
        kept.trash = 0;
        kept.room(Some(limit))?;
        Ok(limit.saturating_sub(kept.total()))
    }

    async fn measure(&self, tenant: TenantId) -> Result<DiskUse> {
        let begin = Instant::now();
        let mut places = HashMap::new();
        let images = self.images_handle().usage(tenant).await?;
        let mut used = DiskUse { layers: images.layers, blobs: images.blobs, ..DiskUse::default() };
        for row in self.volumes_handle().of(tenant) {
            let size = folder_size(&self.volumes_handle().data_folder(&row)).await;
            used.volumes += size;
            places.insert(volume_place(&row.name), size);
        }
        for row in self.volumes_handle().trash_of(tenant) {
            used.trash += match row.size {
                Some(size) => size,
                None => folder_size(&self.volumes_handle().data_folder(&row.volume)).await,
            };
        }
        for entry in self.registry().of(tenant) {
            let own = folder_size(&self.container_folder(&entry.id).join("upper")).await;
            let logs = folder_size(&self.log_folder(&entry.id)).await;
            used.containers += own;
            used.logs += logs;
            places.insert(entry.id.to_string(), own + logs);
        }
        used.logs += crate::inventory::logs::bytes(self.inventory(), tenant).await?;
        used.build_cache = self.build_folders_size(tenant).await?;
        let quota = self.tenants().get(tenant).and_then(|t| t.quota.disk);
        self.hard().hold(tenant, used.total(), quota)?;
        self.measured().keep(tenant, begin.elapsed(), used, places);
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_refuses_and_says_what_takes_the_room() {
        let used = DiskUse { layers: 700_000_000, blobs: 300_000_000, volumes: 1_500_000_000, logs: 999, ..DiskUse::default() };
        assert_eq!(used.total(), 2_500_000_999);
        used.room(None).unwrap();
        used.room(Some(2_500_001_000)).unwrap();
        let error = used.room(Some(2_000_000_000)).unwrap_err();
        assert_eq!(error.kind(), Kind::Exhausted);
        assert_eq!(
            error.to_string(),
            "disk quota reached: the tenant has 2.5 GB of at most 2 GB (images 1 GB, volumes 1.5 GB, trash 0 B, containers 0 B, logs 999 B, \
             build cache 0 B); remove some or ask an administrator for more"
        );
    }

    #[test]
    fn a_measurement_ends_when_something_changed() {
        let measured = Measured::default();
        assert_eq!(measured.recent(TenantId(1)), None);
        measured.keep(TenantId(1), Duration::ZERO, DiskUse::default(), HashMap::new());
        assert_eq!(measured.recent(TenantId(1)), Some(DiskUse::default()));
        assert_eq!(measured.recent(TenantId(2)), None);
        assert_eq!(measured.lately(TenantId(1)), Some((DiskUse::default(), false)));
        measured.forget(TenantId(1));
        assert_eq!(measured.recent(TenantId(1)), None);
        assert_eq!(measured.lately(TenantId(1)), Some((DiskUse::default(), true)));
    }
}
