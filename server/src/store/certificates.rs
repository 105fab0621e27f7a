//! The table `certificates`: client certificates our CA signed. Absent here means revoked.

use super::sessions::digest;
use super::{scope, scope_word, time};
use engine::inventory::{Inventory, Tx};
use engine::{Digest, Doing, Result, Scope, TenantId, UserId};
use jiff::Timestamp;
use sqlx::Row;

/// A client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Row; what people name when they revoke it.
    pub id: i64,
    /// SHA-256 of its DER.
    pub fingerprint: Digest,
    /// Whose.
    pub user: UserId,
    /// The tenant it speaks for.
    pub tenant: TenantId,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// Made.
    pub created: Timestamp,
    /// Ends.
    pub expires: Timestamp,
    /// Last use, to the minute.
    pub used: Option<Timestamp>,
}

/// All certificates.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(inventory: &Inventory) -> Result<Vec<Certificate>> {
    let doing = || "reading the certificates".to_owned();
    let rows = sqlx::query("select id, fingerprint, user, tenant, name, scope, created, expires, used from certificates order by id")
        .fetch_all(inventory.reader())
        .await
        .doing(doing)?;
    rows.iter()
        .map(|row| {
            Ok(Certificate {
                id: row.try_get("id").doing(doing)?,
                fingerprint: digest(row.try_get("fingerprint").doing(doing)?)?,
                user: UserId(row.try_get("user").doing(doing)?),
                tenant: TenantId(row.try_get("tenant").doing(doing)?),
                name: row.try_get("name").doing(doing)?,
                scope: scope(row.try_get::<&str, _>("scope").doing(doing)?)?,
                created: time(row.try_get("created").doing(doing)?)?,
                expires: time(row.try_get("expires").doing(doing)?)?,
                used: row.try_get::<Option<i64>, _>("used").doing(doing)?.map(time).transpose()?,
            })
        })
        .collect()
}

/// Adds a certificate; its `id` is given by the database.
///
/// # Errors
/// When the database cannot be written.
pub async fn insert(tx: &mut Tx, certificate: &Certificate) -> Result<i64> {
    let sql = "insert into certificates (fingerprint, user, tenant, name, scope, created, expires) \
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let done = sqlx::query(sql)
        .bind(certificate.fingerprint.as_bytes().as_slice())
        .bind(certificate.user.0)
        .bind(certificate.tenant.0)
        .bind(&certificate.name)
        .bind(scope_word(certificate.scope))
        .bind(certificate.created.as_millisecond())
        .bind(certificate.expires.as_millisecond())
        .execute(&mut **tx)
        .await
        .doing(|| "storing a certificate".to_owned())?;
    Ok(done.last_insert_rowid())
}

/// Notes the last use.
///
/// # Errors
/// When the database cannot be written.
pub async fn touch(tx: &mut Tx, id: i64, used: Timestamp) -> Result<()> {
    sqlx::query("update certificates set used = ?1 where id = ?2")
        .bind(used.as_millisecond())
        .bind(id)
        .execute(&mut **tx)
        .await
        .doing(|| "noting a certificate's last use".to_owned())?;
    Ok(())
}

/// Removes a certificate: from now on it proves nothing.
///
/// # Errors
/// When the database cannot be written.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<()> {
    sqlx::query("delete from certificates where id = ?1")
        .bind(id)
        .execute(&mut **tx)
        .await
        .doing(|| "revoking a certificate".to_owned())?;
    Ok(())
}
