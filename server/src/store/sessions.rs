//! The table `sessions`.

use super::time;
use engine::inventory::{Inventory, Tx};
use engine::{Digest, Doing, Error, Result, UserId};
use jiff::Timestamp;
use sqlx::Row;

/// A browser that signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Row; what people name when they revoke it.
    pub id: i64,
    /// SHA-256 of the cookie's value.
    pub hash: Digest,
    /// Whose.
    pub user: UserId,
    /// Signed in.
    pub created: Timestamp,
    /// Last request, to the minute.
    pub seen: Timestamp,
    /// From where.
    pub address: String,
    /// The browser's own name for itself.
    pub agent: String,
}

pub(super) fn digest(bytes: Vec<u8>) -> Result<Digest> {
    let bytes: [u8; 32] =
        bytes.try_into().map_err(|_| Error::new(engine::Kind::Internal, "a hash in the database is not 32 bytes long"))?;
    Ok(Digest::from_bytes(bytes))
}

/// All sessions.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(inventory: &Inventory) -> Result<Vec<Session>> {
    let doing = || "reading the sessions".to_owned();
    let rows = sqlx::query("select id, hash, user, created, seen, address, agent from sessions")
        .fetch_all(inventory.reader())
        .await
        .doing(doing)?;
    rows.iter()
        .map(|row| {
            Ok(Session {
                id: row.try_get("id").doing(doing)?,
                hash: digest(row.try_get("hash").doing(doing)?)?,
                user: UserId(row.try_get("user").doing(doing)?),
                created: time(row.try_get("created").doing(doing)?)?,
                seen: time(row.try_get("seen").doing(doing)?)?,
                address: row.try_get("address").doing(doing)?,
                agent: row.try_get("agent").doing(doing)?,
            })
        })
        .collect()
}

/// Adds a session; its `id` is given by the database.
///
/// # Errors
/// When the database cannot be written.
pub async fn insert(tx: &mut Tx, session: &Session) -> Result<i64> {
    let doing = || "storing a session".to_owned();
    let sql = "insert into sessions (hash, user, created, seen, address, agent) values (?1, ?2, ?3, ?4, ?5, ?6)";
    let done = sqlx::query(sql)
        .bind(session.hash.as_bytes().as_slice())
        .bind(session.user.0)
        .bind(session.created.as_millisecond())
        .bind(session.seen.as_millisecond())
        .bind(&session.address)
        .bind(&session.agent)
        .execute(&mut **tx)
        .await
        .doing(doing)?;
    Ok(done.last_insert_rowid())
}

/// Notes the last request.
///
/// # Errors
/// When the database cannot be written.
pub async fn touch(tx: &mut Tx, id: i64, seen: Timestamp) -> Result<()> {
    sqlx::query("update sessions set seen = ?1 where id = ?2")
        .bind(seen.as_millisecond())
        .bind(id)
        .execute(&mut **tx)
        .await
        .doing(|| "noting a session's last use".to_owned())?;
    Ok(())
}

/// Ends a session.
///
/// # Errors
/// When the database cannot be written.
pub async fn delete(tx: &mut Tx, id: i64) -> Result<()> {
    sqlx::query("delete from sessions where id = ?1").bind(id).execute(&mut **tx).await.doing(|| "ending a session".to_owned())?;
    Ok(())
}

/// Ends all sessions of a user.
///
/// # Errors
/// When the database cannot be written.
pub async fn delete_of(tx: &mut Tx, user: UserId) -> Result<()> {
    sqlx::query("delete from sessions where user = ?1")
        .bind(user.0)
        .execute(&mut **tx)
        .await
        .doing(|| "ending a user's sessions".to_owned())?;
    Ok(())
}
