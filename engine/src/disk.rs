//! What a tenant takes on disk, and its disk quota: images, volumes, writable layers, logs, build cache.
//!
//! The file systems we stand on mostly have no quotas that could be set for a folder, so this one is soft: it is measured by
//! walking the tenant's folders, and whoever is at the limit may read, run and remove, but neither fetch, build, load, make
//! nor upload anything more. What a running container writes is noticed within [`STALE`] and not stopped.

use crate::engine::Engine;
use crate::policy::Action;
use crate::volume::folder_size;
use crate::{Error, Kind, Result, Subject, TenantId};
use std::collections::HashMap;
use std::sync::Mutex;
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
        let Self { layers, blobs, volumes, containers, logs, build_cache } = *self;
        [layers, blobs, volumes, containers, logs, build_cache].iter().fold(0, |sum: u64, n| sum.saturating_add(*n))
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
                    "disk quota reached: the tenant has {} of at most {} (images {}, volumes {}, containers {}, logs {}, build cache {}); \
                     remove some or ask an administrator for more",
                    bytes(self.total()),
                    bytes(limit),
                    bytes(self.layers + self.blobs),
                    bytes(self.volumes),
                    bytes(self.containers),
                    bytes(self.logs),
                    bytes(self.build_cache),
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[allow(clippy::cast_precision_loss)] // three digits are shown
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// The last measurement of each tenant that was measured.
#[derive(Default)]
pub(crate) struct Measured(Mutex<HashMap<TenantId, (Instant, DiskUse)>>);

impl Measured {
    fn recent(&self, tenant: TenantId) -> Option<DiskUse> {
        let all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        all.get(&tenant).filter(|(at, _)| at.elapsed() < STALE).map(|(_, used)| *used)
    }

    fn keep(&self, tenant: TenantId, used: DiskUse) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).insert(tenant, (Instant::now(), used));
    }

    /// Something big was added or removed.
    pub fn forget(&self, tenant: TenantId) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).remove(&tenant);
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

    /// The same as it was measured a while ago, where it was: for pages.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn disk_use_lately(&self, who: &Subject) -> Result<DiskUse> {
        match self.measured().recent(who.tenant) {
            Some(used) => Ok(used),
            None => self.disk_use(who).await,
        }
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
        used.room(Some(limit))
    }

    /// How many bytes the tenant may still add; without a quota, any number.
    ///
    /// # Errors
    /// `Exhausted` when there is none left.
    pub(crate) async fn room_left(&self, tenant: TenantId) -> Result<u64> {
        let Some(limit) = self.tenants().get(tenant).and_then(|t| t.quota.disk) else { return Ok(u64::MAX) };
        // Measured anew: what is let in now may fill it to the last byte.
        let used = self.measure(tenant).await?;
        used.room(Some(limit))?;
        Ok(limit.saturating_sub(used.total()))
    }

    async fn measure(&self, tenant: TenantId) -> Result<DiskUse> {
        let images = self.images_handle().usage(tenant).await?;
        let mut used = DiskUse { layers: images.layers, blobs: images.blobs, ..DiskUse::default() };
        for row in self.volumes_handle().of(tenant) {
            used.volumes += folder_size(&self.volumes_handle().data_folder(&row)).await;
        }
        for entry in self.registry().of(tenant) {
            used.containers += folder_size(&self.container_folder(&entry.id).join("upper")).await;
            used.logs += folder_size(&self.log_folder(&entry.id)).await;
        }
        used.logs += crate::inventory::logs::bytes(self.inventory(), tenant).await?;
        used.build_cache = self.build_folders_size(tenant).await?;
        self.measured().keep(tenant, used);
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
            "disk quota reached: the tenant has 2.5 GB of at most 2.0 GB (images 1.0 GB, volumes 1.5 GB, containers 0 B, logs 999 B, \
             build cache 0 B); remove some or ask an administrator for more"
        );
        assert_eq!(bytes(999_999), "1.0 MB");
    }

    #[test]
    fn a_measurement_ends_when_something_changed() {
        let measured = Measured::default();
        assert_eq!(measured.recent(TenantId(1)), None);
        measured.keep(TenantId(1), DiskUse::default());
        assert_eq!(measured.recent(TenantId(1)), Some(DiskUse::default()));
        assert_eq!(measured.recent(TenantId(2)), None);
        measured.forget(TenantId(1));
        assert_eq!(measured.recent(TenantId(1)), None);
    }
}
