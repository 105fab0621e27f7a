//! Removed volumes stay restorable for a while: within the tenant's disk quota, unseen by Docker's clients, their names free
//! at once. A removal moves a row and nothing else, so a crash leaves the volume on one side or the other. The oldest go first
//! when their time is over, when the tenant needs the room, and when the disk itself gets full.

use super::facade::{absent, folder_size};
use super::{Volume, check_name};
use crate::engine::Engine;
use crate::inventory::volume_trash::{self as rows, TrashRow};
use crate::inventory::volumes;
use crate::policy::{Action, Counted};
use crate::{Error, Result, Subject, TenantId, audit};
use jiff::Timestamp;
use std::time::Duration;

/// How often is looked what is over.
const SWEEP: Duration = Duration::from_secs(60);
/// Of the disk, in parts of a hundred, that stay free before the trash is taken for it.
const FREE_PERCENT: u64 = 5;

/// A removed volume as its tenant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trashed {
    /// What it is called in the trash.
    pub id: i64,
    /// Its name; another volume may have it by now.
    pub name: String,
    /// When it was removed.
    pub removed: Timestamp,
    /// When it will be gone.
    pub until: Timestamp,
    /// Who removed it.
    pub removed_by: String,
    /// Bytes, once they were counted.
    pub size: Option<u64>,
    /// Whether nobody had named it.
    pub anonymous: bool,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Engine {
    /// The subject's removed volumes, the latest removal first.
    ///
    /// # Errors
    /// When the credential may not look.
    pub async fn trash(&self, who: &Subject) -> Result<Vec<Trashed>> {
        self.judge(who, Action::VolumeRead).await?;
        let mut all: Vec<_> = self.volumes_handle().trash_of(who.tenant).into_iter().map(|row| self.trashed(row)).collect();
        all.reverse();
        Ok(all)
    }

    fn trashed(&self, row: TrashRow) -> Trashed {
        let removed = Timestamp::from_millisecond(row.removed).unwrap_or_default();
        let keep = jiff::SignedDuration::try_from(self.trash_time()).unwrap_or(jiff::SignedDuration::MAX);
        Trashed {
            id: row.id,
            removed,
            until: removed.checked_add(keep).unwrap_or(Timestamp::MAX),
            removed_by: row.removed_by,
            size: row.size,
            anonymous: row.volume.anonymous,
            labels: row.volume.labels,
            name: row.volume.name,
        }
    }

    /// Moves a volume's row to the trash, or, where there is none, lets it go for good. The caller has judged and asked who uses it.
    pub(super) async fn to_trash(&self, who: &Subject, row: &volumes::VolumeRow, purge: bool) -> Result<()> {
        let keep = !purge && !self.trash_time().is_zero();
        let action = if keep { Action::VolumeRemove } else { Action::VolumePurge };
        let mut tx = self.inventory().begin().await?;
        let intent = self.audit().intent(&mut tx, &audit::Entry::of(who, action.as_str(), &row.name)).await?;
        volumes::delete(&mut tx, who.tenant, &row.name).await?;
        let removed = Timestamp::now().as_millisecond();
        let id = if keep { Some(rows::insert(&mut tx, row, removed, &who.name).await?) } else { None };
        fail::fail_point!("volume-remove-before-commit");
        crate::inventory::commit(tx).await?;
        fail::fail_point!("volume-remove-after-commit");
        match id {
            Some(id) => {
                let trashed = TrashRow { id, volume: row.clone(), removed, removed_by: who.name.clone(), size: None };
                self.volumes_handle().keep_in_trash(trashed);
                let engine = self.clone();
                self.spawn(async move { engine.count_trashed(id).await });
            }
            None => {
                self.volumes_handle().take_out(who.tenant, &row.name);
                self.sweep_trash();
            }
        }
        self.audit().outcome(intent, &Ok(())).await;
        Ok(())
    }

    /// Counts what a removed volume holds, off the path of who removed it.
    async fn count_trashed(&self, id: i64) {
        let Some(row) = self.volumes_handle().trashed(id) else { return };
        let size = folder_size(&self.volumes_handle().data_folder(&row.volume)).await;
        let written = async {
            let mut tx = self.inventory().begin().await?;
            rows::set_size(&mut tx, id, size).await?;
            crate::inventory::commit(tx).await
        };
        match written.await {
            Ok(()) => self.volumes_handle().set_trashed_size(id, size),
            Err(error) => tracing::warn!(?error, "a removed volume's size could not be recorded"),
        }
    }

    /// Restores a removed volume, under its old name or another.
    ///
    /// # Errors
    /// `NotFound` when there is none of this number among the subject's; `Conflict` when the name is taken; `Exhausted` at the
    /// quota of volumes.
    pub async fn restore_volume(&self, who: &Subject, id: i64, name: Option<&str>) -> Result<Volume> {
        let name = name.filter(|n| !n.is_empty()).map(str::to_owned);
        self.uncancelled(who, move |engine, who| async move {
            let trashed = engine.trashed_of(&who, id)?;
            let mut row = trashed.volume;
            if let Some(name) = name {
                check_name(&name)?;
                row.name = name;
            }
            engine.judge(&who, Action::VolumeRestore).await?;
            if engine.volumes_handle().get(who.tenant, &row.name).is_some() {
                let text = format!("a volume named {} is there already: restore this one under another name", row.name);
                return Err(Error::conflict(text));
            }
            // Its options are judged as if it were made now: grants may have ended since.
            let standing = engine.tenants().standing(&who)?;
            let spec = super::VolumeSpec {
                name: row.name.clone(),
                driver: String::new(),
                options: row.options.clone(),
                labels: row.labels.clone(),
            };
            if let Err(denied) = crate::policy::authorize_volume(&who, &standing, spec) {
                return Err(engine.denied(&who, Action::VolumeRestore.as_str(), &row.name, denied).await);
            }
            standing.quota.room(Counted::Volumes, engine.volumes_handle().of(who.tenant).len() as u64, 1)?;
            let mut tx = engine.inventory().begin().await?;
            let entry = audit::Entry::of(&who, Action::VolumeRestore.as_str(), &row.name);
            let intent = engine.audit().intent(&mut tx, &entry).await?;
            rows::delete(&mut tx, id).await?;
            volumes::insert(&mut tx, &row).await?;
            crate::inventory::commit(tx).await?;
            fail::fail_point!("volume-restore-after-commit");
            engine.volumes_handle().out_of_trash(id);
            engine.volumes_handle().keep(row.clone());
            engine.audit().outcome(intent, &Ok(())).await;
            engine.tell_volume(&row, "create", &[("driver", "local")]);
            engine.volume(&who, &row.name).await
        })
        .await
    }

    /// Lets a removed volume go for good.
    ///
    /// # Errors
    /// `NotFound` when there is none of this number among the subject's.
    pub async fn purge_volume(&self, who: &Subject, id: i64) -> Result<()> {
        self.uncancelled(who, move |engine, who| async move {
            let row = engine.trashed_of(&who, id)?;
            engine.audited(&who, Action::VolumePurge, &row.volume.name, engine.let_go(&row)).await
        })
        .await
    }

    /// Lets all of the subject's removed volumes go; how many bytes that were counted.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn empty_trash(&self, who: &Subject) -> Result<u64> {
        self.uncancelled(who, move |engine, who| async move {
            let mut freed = 0;
            for row in engine.volumes_handle().trash_of(who.tenant) {
                engine.audited(&who, Action::VolumePurge, &row.volume.name, engine.let_go(&row)).await?;
                freed += row.size.unwrap_or(0);
            }
            Ok(freed)
        })
        .await
    }

    fn trashed_of(&self, who: &Subject, id: i64) -> Result<TrashRow> {
        let row = self.volumes_handle().trashed(id).filter(|row| row.volume.tenant == who.tenant);
        row.ok_or_else(|| absent(&id.to_string()))
    }

    async fn let_go(&self, row: &TrashRow) -> Result<()> {
        let mut tx = self.inventory().begin().await?;
        rows::delete(&mut tx, row.id).await?;
        crate::inventory::commit(tx).await?;
        fail::fail_point!("volume-purge-after-commit");
        self.volumes_handle().bury(row);
        self.measured().forget(row.volume.tenant);
        self.sweep_trash();
        Ok(())
    }

    /// Lets the tenant's oldest removed volumes go until `bytes` more fit; whether any went.
    pub(crate) async fn squeeze_trash(&self, tenant: TenantId, bytes: u64) -> bool {
        let mut freed = 0u64;
        let mut any = false;
        for row in self.volumes_handle().trash_of(tenant) {
            if freed >= bytes {
                break;
            }
            let size = match row.size {
                Some(size) => size,
                None => folder_size(&self.volumes_handle().data_folder(&row.volume)).await,
            };
            match self.let_go(&row).await {
                Ok(()) => {
                    tracing::info!(volume.name = row.volume.name, size, "a removed volume went to make room for its tenant");
                    (freed, any) = (freed.saturating_add(size), true);
                }
                Err(error) => tracing::warn!(volume.name = row.volume.name, ?error, "a removed volume could not be let go"),
            }
        }
        any
    }

    /// Lets go what is over, and what is in the way of a disk that gets full, until the engine ends.
    pub(crate) async fn watch_trash(&self) {
        loop {
            self.end_trash(Timestamp::now()).await;
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = self.closing().cancelled() => return,
            }
        }
    }

    async fn end_trash(&self, now: Timestamp) {
        let keep = i64::try_from(self.trash_time().as_millis()).unwrap_or(i64::MAX);
        for row in self.volumes_handle().all_trash() {
            let over = row.removed.saturating_add(keep) <= now.as_millisecond();
            if !over && !self.disk_is_full() {
                // Sorted by age: the others are younger, and the disk has room.
                return;
            }
            if let Err(error) = self.let_go(&row).await {
                tracing::warn!(volume.name = row.volume.name, ?error, "a removed volume could not be let go");
                return;
            }
            tracing::info!(volume.name = row.volume.name, over, "a removed volume is gone for good");
        }
    }

    fn disk_is_full(&self) -> bool {
        rustix::fs::statvfs(self.instance().data_root())
            .is_ok_and(|s| s.f_bavail.saturating_mul(100) < s.f_blocks.saturating_mul(FREE_PERCENT))
    }
}
