//! Named volumes: a tenant's folders that outlive containers. A volume's name never becomes a path; its folder has a
//! random one, belongs to the tenant's root, and lies under the closed data root.

mod facade;
mod files;
mod trash;

pub(crate) use facade::folder_size;
pub use files::{FileEntry, FileKind, Files};
pub use trash::Trashed;

use crate::container::effective::volume::{Backing, backing, size_option};
use crate::inventory::volume_trash::{self, TrashRow};
use crate::inventory::volumes::{self as rows, VolumeRow};
use crate::inventory::{Inventory, Tx};
use crate::{Doing, Error, Instance, Result, TenantId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What to make.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct VolumeSpec {
    /// Its name; empty: a random one (an anonymous volume).
    pub name: String,
    /// `local` or empty.
    pub driver: String,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A volume as its tenant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// The folder on the host (root only).
    pub mountpoint: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Driver options.
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether nobody named it.
    pub anonymous: bool,
    /// Containers that use it (running or not).
    pub users: usize,
}

type Shelf = BTreeMap<(TenantId, String), VolumeRow>;

/// All volumes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Volumes {
    root: PathBuf,
    trash: PathBuf,
    hard: crate::disk::hard::Hard,
    all: Arc<RwLock<Shelf>>,
    /// The oldest removal first.
    removed: Arc<RwLock<Vec<TrashRow>>>,
}

impl Volumes {
    /// Reads the volumes and sweeps folders that no row names: left by a crash between folder and row.
    pub async fn open(instance: &Instance, inventory: &Inventory, hard: crate::disk::hard::Hard) -> Result<Self> {
        let root = instance.data_root().join("volumes");
        let trash = instance.data_root().join("trash");
        for dir in [&root, &trash] {
            std::fs::create_dir_all(dir).doing(|| format!("making {}", dir.display()))?;
        }
        let all: Shelf = rows::load(inventory).await?.into_iter().map(|row| ((row.tenant, row.name.clone()), row)).collect();
        let removed = volume_trash::load(inventory).await?;
        let known = all.values().chain(removed.iter().map(|t| &t.volume));
        let known: std::collections::HashSet<_> = known.map(|row| row.folder.clone()).collect();
        for entry in std::fs::read_dir(&root).doing(|| format!("listing {}", root.display()))?.flatten() {
            let name = entry.file_name();
            if !known.contains(&*name.to_string_lossy()) {
                tracing::warn!(folder = %name.to_string_lossy(), "removing a volume's folder that a crash left half made");
                std::fs::rename(entry.path(), trash.join(&name)).doing(|| "moving a half-made volume away".to_owned())?;
            }
        }
        Ok(Self { root, trash, hard, all: Arc::new(RwLock::new(all)), removed: Arc::new(RwLock::new(removed)) })
    }

    /// The data folder of a volume.
    pub fn data_folder(&self, row: &VolumeRow) -> PathBuf {
        self.root.join(&row.folder).join("_data")
    }

    /// A tenant's volume.
    pub fn get(&self, tenant: TenantId, name: &str) -> Option<VolumeRow> {
        self.read().get(&(tenant, name.to_owned())).cloned()
    }

    /// A tenant's volumes by name.
    pub fn of(&self, tenant: TenantId) -> Vec<VolumeRow> {
        self.read().range((tenant, String::new())..).take_while(|((t, _), _)| *t == tenant).map(|(_, row)| row.clone()).collect()
    }

    /// Makes the folder and adds the row to a transaction; `keep` makes it visible once that committed.
    pub async fn make(&self, tx: &mut Tx, tenant: TenantId, uid_base: u32, spec: &VolumeSpec) -> Result<VolumeRow> {
        if !matches!(spec.driver.as_str(), "" | "local") {
            return Err(Error::new(
                crate::Kind::NotFound,
                format!("error looking up volume plugin {0}: plugin \"{0}\" not found", spec.driver),
            ));
        }
        match backing(&spec.options)? {
            Backing::Folder | Backing::Memory | Backing::Bind { .. } => {}
            Backing::FileSystem { kind, .. } => return Err(Error::unsupported(&format!("a volume of type {kind}"))),
        }
        let size = size_option(&spec.options)?;
        if size.is_some() && !self.hard.holds() {
            return Err(crate::disk::hard::no_support());
        }
        let folder = random_hex();
        let row = VolumeRow {
            tenant,
            name: if spec.name.is_empty() {
                random_hex()
            } else {
                check_name(&spec.name)?;
                spec.name.clone()
            },
            folder,
            created: Timestamp::now().as_millisecond(),
            anonymous: spec.name.is_empty(),
            initialised: false,
            options: spec.options.clone(),
            labels: spec.labels.clone(),
        };
        let data = self.data_folder(&row);
        let doing = || format!("making the folder of volume {}", row.name);
        let own = self.root.join(&row.folder);
        std::fs::create_dir_all(&own).doing(doing)?;
        // Before there is anything in it: what is made in it inherits.
        match size {
            Some(bytes) => self.hard.size(&own, &row.folder, bytes)?,
            None => self.hard.join(&own, tenant)?,
        }
        std::fs::create_dir(&data).doing(doing)?;
        // Not by mkdir's mode, which the server's umask narrows.
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755)).doing(doing)?;
        chown(&data, Some(uid_base), Some(uid_base)).doing(doing)?;
        if let Err(error) = rows::insert(tx, &row).await {
            self.discard(&row);
            return Err(error);
        }
        Ok(row)
    }

    /// Makes a volume visible whose row was committed.
    pub fn keep(&self, row: VolumeRow) {
        self.write().insert((row.tenant, row.name.clone()), row);
    }

    /// Undoes `make` when the transaction did not commit.
    pub fn discard(&self, row: &VolumeRow) {
        if let Err(error) = std::fs::remove_dir_all(self.root.join(&row.folder)) {
            tracing::warn!(volume.name = row.name, %error, "a volume's folder could not be removed; the next start sweeps it");
        }
    }

    /// Takes a volume out whose row's removal was committed, and its folder with it.
    pub fn take_out(&self, tenant: TenantId, name: &str) {
        let Some(row) = self.write().remove(&(tenant, name.to_owned())) else { return };
        self.move_away(&row);
    }

    fn move_away(&self, row: &VolumeRow) {
        let (from, to) = (self.root.join(&row.folder), self.trash.join(&row.folder));
        if row.options.contains_key("size") {
            self.hard.unsize(&from);
        }
        if let Err(error) = std::fs::rename(&from, &to) {
            tracing::warn!(volume.name = row.name, %error, "a removed volume's folder could not be moved away; the next start sweeps it");
        }
    }

    /// From the volumes to those that can be restored, once that was committed.
    pub fn keep_in_trash(&self, row: TrashRow) {
        // In both for a moment rather than in none: whoever counts must not miss it.
        let key = (row.volume.tenant, row.volume.name.clone());
        self.gone().push(row);
        self.write().remove(&key);
    }

    /// A tenant's removed volumes, the oldest removal first.
    pub fn trash_of(&self, tenant: TenantId) -> Vec<TrashRow> {
        self.gone().iter().filter(|row| row.volume.tenant == tenant).cloned().collect()
    }

    /// Everybody's removed volumes, the oldest removal first.
    pub fn all_trash(&self) -> Vec<TrashRow> {
        self.gone().clone()
    }

    /// One removed volume.
    pub fn trashed(&self, id: i64) -> Option<TrashRow> {
        self.gone().iter().find(|row| row.id == id).cloned()
    }

    /// Notes what one holds.
    pub fn set_trashed_size(&self, id: i64, size: u64) {
        if let Some(row) = self.gone().iter_mut().find(|row| row.id == id) {
            row.size = Some(size);
        }
    }

    /// One is restored.
    pub fn out_of_trash(&self, id: i64) {
        self.gone().retain(|row| row.id != id);
    }

    /// One is gone for good.
    pub fn bury(&self, row: &TrashRow) {
        self.out_of_trash(row.id);
        self.move_away(&row.volume);
    }

    fn gone(&self) -> RwLockWriteGuard<'_, Vec<TrashRow>> {
        self.removed.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that it has its first content.
    pub fn set_initialised(&self, tenant: TenantId, name: &str) {
        if let Some(row) = self.write().get_mut(&(tenant, name.to_owned())) {
            row.initialised = true;
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Shelf> {
        self.all.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shelf> {
        self.all.write().unwrap_or_else(|e| e.into_inner())
    }
}

fn random_hex() -> String {
    crate::ContainerId::random().into()
}

/// Whether a volume may have this name.
///
/// # Errors
/// Docker's text.
pub fn check_name(name: &str) -> Result<()> {
    let ok = name.len() >= 2
        && name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if ok {
        return Ok(());
    }
    if name.len() == 1 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::invalid("volume name is too short, names should be at least two alphanumeric characters"));
    }
    Err(Error::invalid(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you \
         intended to pass a host directory, use absolute path"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["db", "a.b-c_d", "0x"] {
            check_name(name).unwrap();
        }
        for name in ["", "a", "./x", "a/b", "-a", ".a", "a b", "é"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
