//! Rows of logs that outlive their containers.

use super::{Inventory, Tx};
use crate::{ContainerId, Doing, Result, TenantId};

/// A kept log's row. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogRow {
    pub container: ContainerId,
    pub tenant: TenantId,
    pub name: String,
    pub generation: i64,
    pub image: String,
    /// `local` or `json-file`.
    pub format: String,
    pub tty: bool,
    pub began: i64,
    pub ended: i64,
    pub removed: i64,
    pub bytes: i64,
}

type Columns = (String, i64, String, i64, String, String, bool, i64, i64, i64, i64);

impl LogRow {
    fn of(columns: Columns) -> Result<Self> {
        let (container, tenant, name, generation, image, format, tty, began, ended, removed, bytes) = columns;
        let (container, tenant) = (container.parse()?, TenantId(tenant));
        Ok(Self { container, tenant, name, generation, image, format, tty, began, ended, removed, bytes })
    }
}

/// Everybody's, each tenant's newest first.
pub(crate) async fn all(inventory: &Inventory) -> Result<Vec<LogRow>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "select container, tenant, name, generation, image, format, tty, began, ended, removed, bytes from kept_logs \
         order by tenant, removed desc, container",
    )
    .fetch_all(inventory.reader())
    .await
    .doing(|| "reading the kept logs".to_owned())?;
    rows.into_iter().map(LogRow::of).collect()
}

/// A tenant's, newest first.
pub(crate) async fn of(inventory: &Inventory, tenant: TenantId) -> Result<Vec<LogRow>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "select container, tenant, name, generation, image, format, tty, began, ended, removed, bytes from kept_logs \
         where tenant = ? order by removed desc, container",
    )
    .bind(tenant.0)
    .fetch_all(inventory.reader())
    .await
    .doing(|| "reading the kept logs".to_owned())?;
    rows.into_iter().map(LogRow::of).collect()
}

/// The newest kept generation of a name; 0: none.
pub(crate) async fn newest_generation(inventory: &Inventory, tenant: TenantId, name: &str) -> Result<i64> {
    sqlx::query_scalar("select coalesce(max(generation), 0) from kept_logs where tenant = ? and name = ?")
        .bind(tenant.0)
        .bind(name)
        .fetch_one(inventory.reader())
        .await
        .doing(|| format!("reading the kept logs of {name}"))
}

/// Bytes of a tenant's kept logs.
pub(crate) async fn bytes(inventory: &Inventory, tenant: TenantId) -> Result<u64> {
    let sum: i64 = sqlx::query_scalar("select coalesce(sum(bytes), 0) from kept_logs where tenant = ?")
        .bind(tenant.0)
        .fetch_one(inventory.reader())
        .await
        .doing(|| "adding up the kept logs".to_owned())?;
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// Adds a row; its generation is the next one of its name.
pub(crate) async fn insert(tx: &mut Tx, row: &LogRow) -> Result<()> {
    sqlx::query(
        "insert into kept_logs (container, tenant, name, generation, image, format, tty, began, ended, removed, bytes) \
         values (?1, ?2, ?3, (select coalesce(max(generation), 0) + 1 from kept_logs where tenant = ?2 and name = ?3), \
         ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(row.container.as_str())
    .bind(row.tenant.0)
    .bind(&row.name)
    .bind(&row.image)
    .bind(&row.format)
    .bind(row.tty)
    .bind(row.began)
    .bind(row.ended)
    .bind(row.removed)
    .bind(row.bytes)
    .execute(&mut **tx)
    .await
    .doing(|| format!("recording the log of {}", row.name))?;
    Ok(())
}

/// Removes a row; whether it was there.
pub(crate) async fn delete(tx: &mut Tx, container: &ContainerId) -> Result<bool> {
    let done = sqlx::query("delete from kept_logs where container = ?")
        .bind(container.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| "removing a log's row".to_owned())?;
    Ok(done.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn generations_count_up_and_rows_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(&dir.path().join("wharf.db")).await.unwrap();
        let mut tx = inventory.begin().await.unwrap();
        sqlx::query("insert into tenants (id, name, kind, owner, created) values (7, 'bo', 'personal', 7, 0), (8, 'al', 'personal', 8, 0)")
            .execute(&mut *tx)
            .await
            .unwrap();
        let row = |tenant, name: &str, removed| LogRow {
            container: ContainerId::random(),
            tenant: TenantId(tenant),
            name: name.to_owned(),
            generation: 0,
            image: "busybox".to_owned(),
            format: "local".to_owned(),
            tty: false,
            began: 1,
            ended: 2,
            removed,
            bytes: 100,
        };
        let (first, second) = (row(7, "web", 10), row(7, "web", 20));
        for row in [&first, &second, &row(7, "db", 5), &row(8, "web", 30)] {
            insert(&mut tx, row).await.unwrap();
        }
        tx.commit().await.unwrap();
        let own = of(&inventory, TenantId(7)).await.unwrap();
        let told: Vec<_> = own.iter().map(|r| (r.name.as_str(), r.generation)).collect();
        assert_eq!(told, [("web", 2), ("web", 1), ("db", 1)]);
        assert_eq!(own[1], LogRow { generation: 1, ..first });
        assert_eq!(newest_generation(&inventory, TenantId(8), "web").await.unwrap(), 1);
        assert_eq!((bytes(&inventory, TenantId(7)).await.unwrap(), bytes(&inventory, TenantId(9)).await.unwrap()), (300, 0));
        assert_eq!(all(&inventory).await.unwrap().len(), 4);
        let mut tx = inventory.begin().await.unwrap();
        assert!(delete(&mut tx, &second.container).await.unwrap());
        assert!(!delete(&mut tx, &second.container).await.unwrap());
        tx.commit().await.unwrap();
        assert_eq!(newest_generation(&inventory, TenantId(7), "web").await.unwrap(), 1);
    }
}
