//! Rows of volumes.

use super::{Inventory, Tx};
use crate::{Doing, Result, TenantId};
use std::collections::BTreeMap;

/// A volume's row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VolumeRow {
    pub tenant: TenantId,
    pub name: String,
    pub folder: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    pub anonymous: bool,
    pub initialised: bool,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// All rows.
pub(crate) async fn load(inventory: &Inventory) -> Result<Vec<VolumeRow>> {
    type Row = (i64, String, String, i64, bool, bool, String, String);
    let rows: Vec<Row> = sqlx::query_as("select tenant, name, folder, created, anonymous, initialised, options, labels from volumes")
        .fetch_all(inventory.reader())
        .await
        .doing(|| "reading the volumes".to_owned())?;
    rows.into_iter()
        .map(|(tenant, name, folder, created, anonymous, initialised, options, labels)| {
            Ok(VolumeRow {
                tenant: TenantId(tenant),
                options: serde_json::from_str(&options).doing(|| format!("decoding volume {name}"))?,
                labels: serde_json::from_str(&labels).doing(|| format!("decoding volume {name}"))?,
                name,
                folder,
                created,
                anonymous,
                initialised,
            })
        })
        .collect()
}

/// Adds a row.
pub(crate) async fn insert(tx: &mut Tx, row: &VolumeRow) -> Result<()> {
    let encode = |map: &BTreeMap<String, String>| serde_json::to_string(map).doing(|| format!("encoding volume {}", row.name));
    sqlx::query(
        "insert into volumes (tenant, name, folder, created, anonymous, initialised, options, labels) values (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(row.tenant.0)
    .bind(&row.name)
    .bind(&row.folder)
    .bind(row.created)
    .bind(row.anonymous)
    .bind(row.initialised)
    .bind(encode(&row.options)?)
    .bind(encode(&row.labels)?)
    .execute(&mut **tx)
    .await
    .doing(|| format!("recording volume {}", row.name))?;
    Ok(())
}

/// Notes that a volume has its first content.
pub(crate) async fn set_initialised(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<()> {
    sqlx::query("update volumes set initialised = 1 where tenant = ? and name = ?")
        .bind(tenant.0)
        .bind(name)
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording volume {name}"))?;
    Ok(())
}

/// Removes a row.
pub(crate) async fn delete(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<()> {
    sqlx::query("delete from volumes where tenant = ? and name = ?")
        .bind(tenant.0)
        .bind(name)
        .execute(&mut **tx)
        .await
        .doing(|| format!("removing volume {name}'s row"))?;
    Ok(())
}
