//! SQL for grants.

use super::{Inventory, Tx};
use crate::{Doing, GrantId, Result, TenantId};

/// A row of `grants`.
pub(crate) struct GrantRow {
    pub id: GrantId,
    pub tenant: TenantId,
    pub grant: String,
    pub expires: Option<i64>,
    pub created: i64,
    pub created_by: String,
}

impl Inventory {
    pub(crate) async fn grants(&self) -> Result<Vec<GrantRow>> {
        let rows: Vec<(i64, i64, String, Option<i64>, i64, String)> =
            sqlx::query_as(r#"select id, tenant, "grant", expires, created, created_by from grants order by id"#)
                .fetch_all(self.reader())
                .await
                .doing(|| "reading grants".into())?;
        Ok(rows
            .into_iter()
            .map(|(id, tenant, grant, expires, created, created_by)| GrantRow {
                id: GrantId(id),
                tenant: TenantId(tenant),
                grant,
                expires,
                created,
                created_by,
            })
            .collect())
    }
}

/// A second grant of the same kind and value takes the place of the first.
pub(crate) async fn insert_grant(
    tx: &mut Tx,
    tenant: TenantId,
    grant: &str,
    expires: Option<i64>,
    created: i64,
    by: &str,
) -> Result<GrantId> {
    let doing = || format!("recording grant {grant} of tenant {tenant}");
    sqlx::query(r#"delete from grants where tenant = ?1 and "grant" = ?2"#)
        .bind(tenant.0)
        .bind(grant)
        .execute(&mut **tx)
        .await
        .doing(doing)?;
    let done = sqlx::query(r#"insert into grants (tenant, "grant", expires, created, created_by) values (?, ?, ?, ?, ?)"#)
        .bind(tenant.0)
        .bind(grant)
        .bind(expires)
        .bind(created)
        .bind(by)
        .execute(&mut **tx)
        .await
        .doing(doing)?;
    Ok(GrantId(done.last_insert_rowid()))
}

pub(crate) async fn delete_grant(tx: &mut Tx, id: GrantId) -> Result<()> {
    sqlx::query("delete from grants where id = ?").bind(id.0).execute(&mut **tx).await.doing(|| format!("removing grant {id}"))?;
    Ok(())
}
