//! Rows of containers. The engine keeps every row in memory; this is what it reads at start and writes as it goes.

use super::{Inventory, Tx};
use crate::{ContainerId, Doing, Result, TenantId};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A container's row; the three JSON columns are the caller's types.
#[derive(Debug)]
pub(crate) struct ContainerRow<F, M, L> {
    pub id: ContainerId,
    pub tenant: TenantId,
    pub name: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    pub created_by: String,
    pub fixed: F,
    pub mutable: M,
    pub life: L,
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).doing(|| "encoding a container's row".to_owned())
}

/// All rows. A row that cannot be read is logged and left alone: one damaged object must not stop the server.
pub(crate) async fn load<F, M, L>(inventory: &Inventory) -> Result<Vec<ContainerRow<F, M, L>>>
where
    F: DeserializeOwned,
    M: DeserializeOwned,
    L: DeserializeOwned,
{
    type Row = (String, i64, String, i64, String, String, String, String);
    let rows: Vec<Row> =
        sqlx::query_as("select id, tenant, name, created, created_by, fixed, mutable, life from containers order by created")
            .fetch_all(inventory.reader())
            .await
            .doing(|| "reading the containers".to_owned())?;
    let mut out = Vec::with_capacity(rows.len());
    for (id, tenant, name, created, created_by, fixed, mutable, life) in rows {
        let parsed = (|| {
            Ok::<_, crate::Error>(ContainerRow {
                id: id.parse()?,
                tenant: TenantId(tenant),
                name,
                created,
                created_by,
                fixed: serde_json::from_str(&fixed).doing(|| "decoding what does not change".to_owned())?,
                mutable: serde_json::from_str(&mutable).doing(|| "decoding what changes".to_owned())?,
                life: serde_json::from_str(&life).doing(|| "decoding its life".to_owned())?,
            })
        })();
        match parsed {
            Ok(row) => out.push(row),
            Err(error) => tracing::error!(container.id = id, error = ?error, "a container's row cannot be read; it is left alone"),
        }
    }
    Ok(out)
}

/// Adds a row.
pub(crate) async fn insert<F: Serialize, M: Serialize, L: Serialize>(tx: &mut Tx, row: &ContainerRow<F, M, L>) -> Result<()> {
    sqlx::query("insert into containers (id, tenant, name, created, created_by, fixed, mutable, life) values (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(row.id.as_str())
        .bind(row.tenant.0)
        .bind(&row.name)
        .bind(row.created)
        .bind(&row.created_by)
        .bind(json(&row.fixed)?)
        .bind(json(&row.mutable)?)
        .bind(json(&row.life)?)
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording container {}", row.name))?;
    Ok(())
}

/// Writes a container's life.
pub(crate) async fn set_life<L: Serialize>(tx: &mut Tx, id: &ContainerId, life: &L) -> Result<()> {
    sqlx::query("update containers set life = ? where id = ?")
        .bind(json(life)?)
        .bind(id.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| "recording a container's state".to_owned())?;
    Ok(())
}

/// Writes a container's name and what changes.
pub(crate) async fn set_mutable<M: Serialize>(tx: &mut Tx, id: &ContainerId, name: &str, mutable: &M) -> Result<()> {
    sqlx::query("update containers set name = ?, mutable = ? where id = ?")
        .bind(name)
        .bind(json(mutable)?)
        .bind(id.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording container {name}"))?;
    Ok(())
}

/// Removes a row.
pub(crate) async fn delete(tx: &mut Tx, id: &ContainerId) -> Result<()> {
    sqlx::query("delete from containers where id = ?")
        .bind(id.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| "removing a container's row".to_owned())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_row_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(&dir.path().join("wharf.db")).await.unwrap();
        let mut tx = inventory.begin().await.unwrap();
        sqlx::query("insert into tenants (id, name, kind, owner, created) values (7, 'bo', 'personal', 7, 0)")
            .execute(&mut *tx)
            .await
            .unwrap();
        let row = ContainerRow {
            id: ContainerId::random(),
            tenant: TenantId(7),
            name: "web".to_owned(),
            created: 5,
            created_by: "bo".to_owned(),
            fixed: "f".to_owned(),
            mutable: "m".to_owned(),
            life: "l".to_owned(),
        };
        insert(&mut tx, &row).await.unwrap();
        set_life(&mut tx, &row.id, &"later").await.unwrap();
        set_mutable(&mut tx, &row.id, "web2", &"m2").await.unwrap();
        tx.commit().await.unwrap();
        let rows = load::<String, String, String>(&inventory).await.unwrap();
        assert_eq!((rows[0].name.as_str(), rows[0].life.as_str(), rows[0].mutable.as_str()), ("web2", "later", "m2"));
        let mut tx = inventory.begin().await.unwrap();
        delete(&mut tx, &row.id).await.unwrap();
        tx.commit().await.unwrap();
        assert!(load::<String, String, String>(&inventory).await.unwrap().is_empty());
    }
}
