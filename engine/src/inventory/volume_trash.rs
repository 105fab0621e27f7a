//! Rows of removed volumes that can still be restored.

use super::volumes::VolumeRow;
use super::{Inventory, Tx};
use crate::{Doing, Result, TenantId};

/// A removed volume.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrashRow {
    pub id: i64,
    /// As it was.
    pub volume: VolumeRow,
    /// Milliseconds since the epoch.
    pub removed: i64,
    pub removed_by: String,
    /// Bytes, once they were counted.
    pub size: Option<u64>,
}

#[derive(sqlx::FromRow)]
struct Columns {
    id: i64,
    tenant: i64,
    name: String,
    folder: String,
    created: i64,
    anonymous: bool,
    initialised: bool,
    options: String,
    labels: String,
    removed: i64,
    removed_by: String,
    size: Option<i64>,
}

/// All rows, the oldest removal first.
pub(crate) async fn load(inventory: &Inventory) -> Result<Vec<TrashRow>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "select id, tenant, name, folder, created, anonymous, initialised, options, labels, removed, removed_by, size from volume_trash \
         order by removed, id",
    )
    .fetch_all(inventory.reader())
    .await
    .doing(|| "reading the trash".to_owned())?;
    rows.into_iter()
        .map(|c| {
            let doing = || format!("decoding the removed volume {}", c.name);
            Ok(TrashRow {
                volume: VolumeRow {
                    tenant: TenantId(c.tenant),
                    options: serde_json::from_str(&c.options).doing(doing)?,
                    labels: serde_json::from_str(&c.labels).doing(doing)?,
                    name: c.name.clone(),
                    folder: c.folder.clone(),
                    created: c.created,
                    anonymous: c.anonymous,
                    initialised: c.initialised,
                },
                id: c.id,
                removed: c.removed,
                removed_by: c.removed_by.clone(),
                size: c.size.and_then(|n| u64::try_from(n).ok()),
            })
        })
        .collect()
}

/// Adds a row; gives its id.
pub(crate) async fn insert(tx: &mut Tx, volume: &VolumeRow, removed: i64, by: &str) -> Result<i64> {
    let doing = || format!("moving volume {} to the trash", volume.name);
    let (id,): (i64,) = sqlx::query_as(
        "insert into volume_trash (tenant, name, folder, created, anonymous, initialised, options, labels, removed, removed_by) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) returning id",
    )
    .bind(volume.tenant.0)
    .bind(&volume.name)
    .bind(&volume.folder)
    .bind(volume.created)
    .bind(volume.anonymous)
    .bind(volume.initialised)
    .bind(serde_json::to_string(&volume.options).doing(doing)?)
    .bind(serde_json::to_string(&volume.labels).doing(doing)?)
    .bind(removed)
    .bind(by)
    .fetch_one(&mut **tx)
    .await
    .doing(doing)?;
    Ok(id)
}

/// Notes how much there is.
pub(crate) async fn set_size(tx: &mut Tx, id: i64, size: u64) -> Result<()> {
    sqlx::query("update volume_trash set size = ? where id = ?")
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(id)
        .execute(&mut **tx)
        .await
        .doing(|| "recording a removed volume's size".to_owned())?;
    Ok(())
}

/// Removes a row.
///
/// # Errors
/// `NotFound` when somebody else did: what the row stood for is theirs then.
pub(crate) async fn delete(tx: &mut Tx, id: i64) -> Result<()> {
    let done = sqlx::query("delete from volume_trash where id = ?")
        .bind(id)
        .execute(&mut **tx)
        .await
        .doing(|| "removing a volume from the trash".to_owned())?;
    if done.rows_affected() == 0 {
        return Err(crate::Error::new(crate::Kind::NotFound, format!("get {id}: no such volume")));
    }
    Ok(())
}
