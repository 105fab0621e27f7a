//! Rows of what builds remember: steps and cache folders.

use super::{Inventory, Tx};
use crate::{Digest, Doing, Result, TenantId};
use jiff::Timestamp;
use std::collections::HashSet;

/// A remembered step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepRow {
    pub key: String,
    /// Row of `layers`, its digest, folder, bytes and blob; `None`: the step changed nothing on disk.
    pub layer: Option<StepLayer>,
    pub description: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    pub last_used: i64,
    pub uses: i64,
}

/// A step's layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepLayer {
    pub row: i64,
    pub diff_id: Digest,
    pub folder: String,
    pub size: u64,
    pub blob: Digest,
}

/// A cache folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MountRow {
    pub key: String,
    pub folder: String,
    pub description: String,
    pub created: i64,
    pub last_used: i64,
}

fn doing() -> String {
    "reading the build cache".to_owned()
}

fn writing() -> String {
    "writing the build cache".to_owned()
}

type Raw = (String, Option<i64>, Option<String>, Option<String>, Option<i64>, Option<String>, String, i64, i64, i64);

fn step(raw: Raw) -> Result<StepRow> {
    let (key, row, diff_id, folder, size, blob, description, created, last_used, uses) = raw;
    let layer = match (row, diff_id, folder, blob) {
        (Some(row), Some(diff_id), Some(folder), Some(blob)) => Some(StepLayer {
            row,
            diff_id: diff_id.parse()?,
            folder,
            size: u64::try_from(size.unwrap_or(0)).unwrap_or(0),
            blob: blob.parse()?,
        }),
        _ => None,
    };
    Ok(StepRow { key, layer, description, created, last_used, uses })
}

/// A tenant's step by its key.
pub(crate) async fn find(inventory: &Inventory, tenant: TenantId, key: &str) -> Result<Option<StepRow>> {
    let raw: Option<Raw> = sqlx::query_as(
        "select s.key, s.layer, l.diff_id, l.folder, l.size, s.blob, s.description, s.created, s.last_used, s.uses
         from build_steps s left join layers l on l.id = s.layer where s.tenant = ? and s.key = ?",
    )
    .bind(tenant.0)
    .bind(key)
    .fetch_optional(inventory.reader())
    .await
    .doing(doing)?;
    raw.map(step).transpose()
}

/// A tenant's steps.
pub(crate) async fn steps(inventory: &Inventory, tenant: TenantId) -> Result<Vec<StepRow>> {
    let raw: Vec<Raw> = sqlx::query_as(
        "select s.key, s.layer, l.diff_id, l.folder, l.size, s.blob, s.description, s.created, s.last_used, s.uses
         from build_steps s left join layers l on l.id = s.layer where s.tenant = ? order by s.last_used",
    )
    .bind(tenant.0)
    .fetch_all(inventory.reader())
    .await
    .doing(doing)?;
    raw.into_iter().map(step).collect()
}

/// Remembers a step, over an older one of the same key.
pub(crate) async fn put(
    tx: &mut Tx,
    tenant: TenantId,
    key: &str,
    layer: Option<(i64, &Digest)>,
    description: &str,
    made: Timestamp,
) -> Result<()> {
    let now = made.as_millisecond();
    sqlx::query(
        "insert into build_steps (tenant, key, layer, blob, description, created, last_used) values (?, ?, ?, ?, ?, ?, ?)
         on conflict do update set layer = excluded.layer, blob = excluded.blob, created = excluded.created, last_used = excluded.last_used",
    )
    .bind(tenant.0)
    .bind(key)
    .bind(layer.map(|(row, _)| row))
    .bind(layer.map(|(_, blob)| blob.to_string()))
    .bind(description)
    .bind(now)
    .bind(now)
    .execute(&mut **tx)
    .await
    .doing(writing)?;
    Ok(())
}

/// Notes that steps were used.
pub(crate) async fn used(tx: &mut Tx, tenant: TenantId, keys: &[String]) -> Result<()> {
    for key in keys {
        sqlx::query("update build_steps set last_used = ?, uses = uses + 1 where tenant = ? and key = ?")
            .bind(Timestamp::now().as_millisecond())
            .bind(tenant.0)
            .bind(key)
            .execute(&mut **tx)
            .await
            .doing(writing)?;
    }
    Ok(())
}

/// Forgets a step.
pub(crate) async fn forget(tx: &mut Tx, tenant: TenantId, key: &str) -> Result<()> {
    sqlx::query("delete from build_steps where tenant = ? and key = ?").bind(tenant.0).bind(key).execute(&mut **tx).await.doing(writing)?;
    Ok(())
}

/// Ties steps to the image that was made by them: with the last such image they are forgotten. `made`: the keys that this build
/// made itself; of the others, only those that are tied to an image already.
pub(crate) async fn tie(tx: &mut Tx, tenant: TenantId, image: &Digest, keys: &[String], made: &HashSet<String>) -> Result<()> {
    for key in keys {
        let statement = if made.contains(key) {
            "insert or ignore into image_steps (tenant, image, key)
             select tenant, ?2, key from build_steps where tenant = ?1 and key = ?3"
        } else {
            "insert or ignore into image_steps (tenant, image, key)
             select distinct tenant, ?2, key from image_steps where tenant = ?1 and key = ?3"
        };
        sqlx::query(statement).bind(tenant.0).bind(image.to_string()).bind(key).execute(&mut **tx).await.doing(writing)?;
    }
    Ok(())
}

/// Frees steps of all images: they are remembered until they are pruned.
pub(crate) async fn untie(tx: &mut Tx, tenant: TenantId, keys: &[String]) -> Result<()> {
    for key in keys {
        sqlx::query("delete from image_steps where tenant = ? and key = ?")
            .bind(tenant.0)
            .bind(key)
            .execute(&mut **tx)
            .await
            .doing(writing)?;
    }
    Ok(())
}

/// Forgets the steps that are tied to this image and to no other.
pub(crate) async fn forget_of_image(tx: &mut Tx, tenant: TenantId, image: &Digest) -> Result<()> {
    for statement in [
        "delete from build_steps where tenant = ?1 and key in (select key from image_steps where tenant = ?1 and image = ?2)
         and key not in (select key from image_steps where tenant = ?1 and image <> ?2)",
        "delete from image_steps where tenant = ?1 and image = ?2",
    ] {
        sqlx::query(statement).bind(tenant.0).bind(image.to_string()).execute(&mut **tx).await.doing(writing)?;
    }
    Ok(())
}

/// A tenant's cache folders.
pub(crate) async fn mounts(inventory: &Inventory, tenant: TenantId) -> Result<Vec<MountRow>> {
    let rows: Vec<(String, String, String, i64, i64)> =
        sqlx::query_as("select key, folder, description, created, last_used from build_mounts where tenant = ? order by last_used")
            .bind(tenant.0)
            .fetch_all(inventory.reader())
            .await
            .doing(doing)?;
    Ok(rows
        .into_iter()
        .map(|(key, folder, description, created, last_used)| MountRow { key, folder, description, created, last_used })
        .collect())
}

/// All cache folders of everybody: others on disk are rubbish.
pub(crate) async fn mount_folders(inventory: &Inventory) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = sqlx::query_as("select folder from build_mounts").fetch_all(inventory.reader()).await.doing(doing)?;
    Ok(rows.into_iter().map(|(folder,)| folder).collect())
}

/// Remembers a cache folder, or notes that it is used. The folder that counts comes back: somebody may have come first.
pub(crate) async fn put_mount(tx: &mut Tx, tenant: TenantId, key: &str, folder: &str, description: &str) -> Result<String> {
    let now = Timestamp::now().as_millisecond();
    let (folder,): (String,) = sqlx::query_as(
        "insert into build_mounts (tenant, key, folder, description, created, last_used) values (?, ?, ?, ?, ?, ?)
         on conflict do update set last_used = excluded.last_used returning folder",
    )
    .bind(tenant.0)
    .bind(key)
    .bind(folder)
    .bind(description)
    .bind(now)
    .bind(now)
    .fetch_one(&mut **tx)
    .await
    .doing(writing)?;
    Ok(folder)
}

/// Forgets a cache folder.
pub(crate) async fn forget_mount(tx: &mut Tx, tenant: TenantId, key: &str) -> Result<()> {
    sqlx::query("delete from build_mounts where tenant = ? and key = ?")
        .bind(tenant.0)
        .bind(key)
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(())
}
