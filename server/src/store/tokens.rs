//! The table `tokens`.

use super::sessions::digest;
use super::{scope, scope_word, time};
use engine::inventory::{Inventory, Tx};
use engine::{Digest, Doing, Result, Scope, TenantId, UserId};
use jiff::Timestamp;
use sqlx::Row;

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Row; what people name when they revoke it.
    pub id: i64,
    /// SHA-256 of the token.
    pub hash: Digest,
    /// Whose.
    pub user: UserId,
    /// The only tenant it speaks for; `None`: chosen per request.
    pub tenant: Option<TenantId>,
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

/// All tokens.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(inventory: &Inventory) -> Result<Vec<Token>> {
    let doing = || "reading the tokens".to_owned();
    let rows = sqlx::query("select id, hash, user, tenant, name, scope, created, expires, used from tokens order by id")
        .fetch_all(inventory.reader())
        .await
        .doing(doing)?;
    rows.iter()
        .map(|row| {
            Ok(Token {
                id: row.try_get("id").doing(doing)?,
                hash: digest(row.try_get("hash").doing(doing)?)?,
                user: UserId(row.try_get("user").doing(doing)?),
                tenant: row.try_get::<Option<i64>, _>("tenant").doing(doing)?.map(TenantId),
                name: row.try_get("name").doing(doing)?,
                scope: scope(row.try_get::<&str, _>("scope").doing(doing)?)?,
                created: time(row.try_get("created").doing(doing)?)?,
                expires: time(row.try_get("expires").doing(doing)?)?,
                used: row.try_get::<Option<i64>, _>("used").doing(doing)?.map(time).transpose()?,
            })
        })
        .collect()
}

/// Adds a token; its `id` is given by the database.
///
/// # Errors
/// When the database cannot be written.
pub async fn insert(tx: &mut Tx, token: &Token) -> Result<i64> {
    let sql = "insert into tokens (hash, user, tenant, name, scope, created, expires) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let done = sqlx::query(sql)
        .bind(token.hash.as_bytes().as_slice())
        .bind(token.user.0)
        .bind(token.tenant.map(|t| t.0))
        .bind(&token.name)
        .bind(scope_word(token.scope))
        .bind(token.created.as_millisecond())
        .bind(token.expires.as_millisecond())
        .execute(&mut **tx)
        .await
        .doing(|| "storing a token".to_owned())?;
    Ok(done.last_insert_rowid())
}

/// Notes the last use.
///
/// # Errors
/// When the database cannot be written.
pub async fn touch(tx: &mut Tx, id: i64, used: Timestamp) -> Result<()> {
    sqlx::query("update tokens set used = ?1 where id = ?2")
        .bind(used.as_millisecond())
        .bind(id)
        .execute(&mut **tx)
        .await
        .doing(|| "noting a token's last use".to_owned())?;
    Ok(())
}

/// Removes a token.
///
/// # Errors
/// When the database cannot be written.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<()> {
    sqlx::query("delete from tokens where id = ?1").bind(id).execute(&mut **tx).await.doing(|| "revoking a token".to_owned())?;
    Ok(())
}
