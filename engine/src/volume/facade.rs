//! What subjects ask of volumes.

use super::{Volume, VolumeSpec};
use crate::audit;
use crate::engine::{Engine, Pruned};
use crate::filter::{self, Filters};
use crate::inventory::volumes::VolumeRow;
use crate::policy::{self, Action, Counted};
use crate::{Error, Result, Subject};

impl Engine {
    /// Makes a volume, or returns the one of that name.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `NotFound` for an unknown driver, `Conflict` when the name has another driver's.
    pub async fn create_volume(&self, who: &Subject, spec: VolumeSpec) -> Result<Volume> {
        self.uncancelled(who, move |engine, who| async move {
            if let Some(row) = engine.volumes_handle().get(who.tenant, &spec.name) {
                return Ok(engine.volume_view(&row));
            }
            if !matches!(spec.driver.as_str(), "" | "local") {
                let text = format!("create {}: error looking up volume plugin {1}: plugin \"{1}\" not found", spec.name, spec.driver);
                return Err(crate::Error::new(crate::Kind::NotFound, text));
            }
            let standing = engine.tenants().standing(&who)?;
            let spec = match policy::authorize_volume(&who, &standing, spec.clone()) {
                Ok(spec) => spec,
                Err(denied) => return Err(engine.denied(&who, "volume.create", &spec.name, denied).await),
            };
            engine.judge(&who, Action::VolumeCreate).await?;
            let have = engine.volumes_handle().of(who.tenant).len() as u64;
            standing.quota.room(Counted::Volumes, have, 1)?;
            engine.room_on_disk(who.tenant).await?;
            let mut tx = engine.inventory().begin().await?;
            let entry = audit::Entry::of(&who, Action::VolumeCreate.as_str(), &spec.name).authorized(spec.hash(), spec.rule());
            let intent = engine.audit().intent(&mut tx, &entry).await?;
            let base = engine.block(who.tenant)?.base;
            let row = engine.volumes_handle().make(&mut tx, who.tenant, base, &spec).await?;
            if let Err(error) = crate::inventory::commit(tx).await {
                engine.volumes_handle().discard(&row);
                return Err(error);
            }
            engine.volumes_handle().keep(row.clone());
            engine.audit().outcome(intent, &Ok(())).await;
            engine.tell_volume(&row, "create", &[("driver", "local")]);
            Ok(engine.volume_view(&row))
        })
        .await
    }

    /// The subject's volumes.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn volumes(&self, who: &Subject, filters: &Filters) -> Result<Vec<Volume>> {
        filter::check_keys(filters, &["dangling", "driver", "label", "name"])?;
        let dangling = filter::flag(filters, "dangling")?;
        let all = self.volumes_handle().of(who.tenant).into_iter().map(|row| self.volume_view(&row));
        Ok(all
            .filter(|v| {
                dangling.is_none_or(|d| d == (v.users == 0))
                    && filter::is(filters, "driver", &v.driver)
                    && filter::labels(filters, "label", &v.labels)
                    && filter::matches(filters, "name", &v.name)
            })
            .collect())
    }

    /// One of the subject's volumes.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn volume(&self, who: &Subject, name: &str) -> Result<Volume> {
        let row = self.volumes_handle().get(who.tenant, name).ok_or_else(|| absent(name))?;
        Ok(self.volume_view(&row))
    }

    /// Removes it: to the trash, where it can be restored for a while. `force`: an absent one is no error.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` while containers use it.
    pub async fn remove_volume(&self, who: &Subject, name: &str, force: bool) -> Result<()> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move {
            match engine.drop_volume(&who, &name, false).await {
                Err(error) if force && error.is_not_found() => Ok(()),
                other => other,
            }
        })
        .await
    }

    /// Removes it for good.
    ///
    /// # Errors
    /// As `remove_volume`.
    pub async fn remove_volume_for_good(&self, who: &Subject, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.uncancelled(who, move |engine, who| async move { engine.drop_volume(&who, &name, true).await }).await
    }

    /// Removes unused anonymous volumes, and named ones too with the filter `all`.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub async fn prune_volumes(&self, who: &Subject, filters: &Filters) -> Result<Pruned> {
        filter::check_keys(filters, &["all", "label", "label!"])?;
        let named_too = filter::flag(filters, "all")?.unwrap_or(false);
        let filters = filters.clone();
        self.uncancelled(who, move |engine, who| async move {
            let mut pruned = Pruned::default();
            for row in engine.volumes_handle().of(who.tenant) {
                let chosen = (named_too || row.anonymous)
                    && filter::labels(&filters, "label", &row.labels)
                    && filter::lacks_labels(&filters, &row.labels);
                if !chosen || !engine.users_of_volume(&row).is_empty() {
                    continue;
                }
                let size = folder_size(&engine.volumes_handle().data_folder(&row)).await;
                engine.drop_volume(&who, &row.name, false).await?;
                pruned.removed.push(row.name);
                pruned.reclaimed += size;
            }
            engine.tell(who.tenant, "volume", "prune", "", [("reclaimed".to_owned(), pruned.reclaimed.to_string())].into());
            Ok(pruned)
        })
        .await
    }

    /// Bytes in a volume.
    ///
    /// # Errors
    /// `NotFound` when it is absent or somebody else's.
    pub async fn volume_size(&self, who: &Subject, name: &str) -> Result<u64> {
        let row = self.volumes_handle().get(who.tenant, name).ok_or_else(|| absent(name))?;
        Ok(folder_size(&self.volumes_handle().data_folder(&row)).await)
    }

    /// `purge`: not to the trash.
    pub(crate) async fn drop_volume(&self, who: &Subject, name: &str, purge: bool) -> Result<()> {
        let row = self.volumes_handle().get(who.tenant, name).ok_or_else(|| absent(name))?;
        self.judge(who, Action::VolumeRemove).await?;
        let users = self.users_of_volume(&row);
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        self.to_trash(who, &row, purge).await?;
        self.measured().forget(who.tenant);
        self.tell_volume(&row, "destroy", &[("driver", "local")]);
        Ok(())
    }

    /// Ids of the containers that use a volume.
    pub(crate) fn users_of_volume(&self, row: &VolumeRow) -> Vec<String> {
        let uses = |m: &crate::container::view::MountView| m.kind == crate::container::spec::MountKind::Volume && m.name == row.name;
        self.registry().of(row.tenant).iter().filter(|e| e.fixed.mounts.iter().any(uses)).map(|e| e.id.to_string()).collect()
    }

    fn volume_view(&self, row: &VolumeRow) -> Volume {
        Volume {
            name: row.name.clone(),
            driver: "local".to_owned(),
            mountpoint: self.volumes_handle().data_folder(row).to_string_lossy().into_owned(),
            labels: row.labels.clone(),
            options: row.options.clone(),
            created: jiff::Timestamp::from_millisecond(row.created).unwrap_or_default(),
            anonymous: row.anonymous,
            users: self.users_of_volume(row).len(),
        }
    }

    pub(crate) fn tell_volume(&self, row: &VolumeRow, action: &str, attributes: &[(&str, &str)]) {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.tell(row.tenant, "volume", action, &row.name, attributes);
    }
}

pub(super) fn absent(name: &str) -> Error {
    Error::new(crate::Kind::NotFound, format!("get {name}: no such volume"))
}

/// Bytes that a folder takes on disk, hard links once, other file systems not entered.
pub(crate) async fn folder_size(folder: &std::path::Path) -> u64 {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        use std::os::unix::fs::MetadataExt;
        let mut seen = std::collections::HashSet::new();
        let mut total = 0;
        let mut pending = vec![folder];
        while let Some(dir) = pending.pop() {
            // What vanishes while we count takes nothing.
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    pending.push(entry.path());
                }
                // As dockerd counts: files, not the folders they lie in.
                if meta.is_dir() {
                    continue;
                }
                if meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
                    total += meta.len();
                }
            }
        }
        total
    })
    .await
    .unwrap_or(0)
}
