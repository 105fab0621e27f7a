//! The table `users`.

use super::time;
use engine::inventory::{Inventory, Tx};
use engine::{Doing, Error, Result, UnixAccount, UserId};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Row.
    pub id: UserId,
    /// Unique on this host.
    pub name: String,
    /// Administers the host.
    pub admin: bool,
    /// The account of the host's root.
    pub builtin: bool,
    /// The PHC string; `None`: no sign-in by password.
    pub password: Option<PasswordHash>,
    /// Which Unix account the socket takes for this user.
    pub unix: Option<UnixAccount>,
    /// May not sign in in any way.
    pub disabled: bool,
    /// Since when.
    pub created: Timestamp,
}

/// A PHC string whose `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A user to be.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Checked by `auth::accounts`.
    pub name: String,
    /// Administers the host.
    pub admin: bool,
    /// PHC string.
    pub password: Option<PasswordHash>,
    /// Unix account.
    pub unix: Option<UnixAccount>,
}

fn read(row: &SqliteRow) -> Result<User> {
    let field = || "reading a user".to_owned();
    let uid: Option<i64> = row.try_get("unix_uid").doing(field)?;
    let gid: Option<i64> = row.try_get("unix_gid").doing(field)?;
    let id = |n: i64| u32::try_from(n).doing(field);
    Ok(User {
        id: UserId(row.try_get("id").doing(field)?),
        name: row.try_get("name").doing(field)?,
        admin: row.try_get("admin").doing(field)?,
        builtin: row.try_get("builtin").doing(field)?,
        password: row.try_get::<Option<String>, _>("password").doing(field)?.map(PasswordHash),
        unix: match (uid, gid) {
            (Some(uid), Some(gid)) => Some(UnixAccount { uid: id(uid)?, gid: id(gid)? }),
            _ => None,
        },
        disabled: row.try_get("disabled").doing(field)?,
        created: time(row.try_get("created").doing(field)?)?,
    })
}

/// Everybody, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn all(inventory: &Inventory) -> Result<Vec<User>> {
    let sql = "select id, name, admin, builtin, password, unix_uid, unix_gid, disabled, created from users order by name";
    let rows = sqlx::query(sql).fetch_all(inventory.reader()).await.doing(|| "reading the users".to_owned())?;
    rows.iter().map(read).collect()
}

/// Adds a user. With `first_admin`, only if there is no administrator yet besides the host's root: one statement, so that
/// of many who try at once exactly one succeeds. `None`: there is one already.
///
/// # Errors
/// `Conflict` when the name or the Unix account is taken.
pub async fn insert(tx: &mut Tx, user: &NewUser, first_admin: bool, now: Timestamp) -> Result<Option<User>> {
    let sql = "insert into users (name, admin, password, unix_uid, unix_gid, created) \
               select ?1, ?2, ?3, ?4, ?5, ?6 \
               where ?7 = 0 or not exists (select 1 from users where admin = 1 and builtin = 0) \
               returning id, name, admin, builtin, password, unix_uid, unix_gid, disabled, created";
    let row = sqlx::query(sql)
        .bind(&user.name)
        .bind(user.admin)
        .bind(user.password.as_ref().map(|p| p.0.as_str()))
        .bind(user.unix.map(|u| u.uid))
        .bind(user.unix.map(|u| u.gid))
        .bind(now.as_millisecond())
        .bind(first_admin)
        .fetch_optional(&mut **tx)
        .await;
    match row {
        Ok(row) => row.as_ref().map(read).transpose(),
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Err(if e.message().contains("unix_uid") {
            Error::conflict("that Unix account already belongs to another user")
        } else {
            Error::conflict(format!("there is already a user named {}", user.name))
        }),
        Err(e) => Err(e).doing(|| format!("adding the user {}", user.name)),
    }
}

/// Gives another password, or none.
///
/// # Errors
/// When the database cannot be written.
pub async fn set_password(tx: &mut Tx, id: UserId, hash: Option<&PasswordHash>) -> Result<()> {
    sqlx::query("update users set password = ?1 where id = ?2")
        .bind(hash.map(|h| h.0.as_str()))
        .bind(id.0)
        .execute(&mut **tx)
        .await
        .doing(|| "storing a password".to_owned())?;
    Ok(())
}

/// Shuts a user out, or lets them in again.
///
/// # Errors
/// When the database cannot be written.
pub async fn set_disabled(tx: &mut Tx, id: UserId, disabled: bool) -> Result<()> {
    sqlx::query("update users set disabled = ?1 where id = ?2")
        .bind(disabled)
        .bind(id.0)
        .execute(&mut **tx)
        .await
        .doing(|| "changing a user".to_owned())?;
    Ok(())
}

/// Removes a user with all tokens, certificates and sessions.
///
/// # Errors
/// When the database cannot be written.
pub async fn delete(tx: &mut Tx, id: UserId) -> Result<()> {
    sqlx::query("delete from users where id = ?1").bind(id.0).execute(&mut **tx).await.doing(|| "removing a user".to_owned())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, admin: bool, uid: Option<u32>) -> NewUser {
        let unix = uid.map(|uid| UnixAccount { uid, gid: uid });
        NewUser { name: name.into(), admin, password: Some(PasswordHash("x".into())), unix }
    }

    #[tokio::test]
    async fn users_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(&dir.path().join("db")).await.unwrap();
        let now = Timestamp::now();
        let mut tx = inventory.begin().await.unwrap();
        let ada = insert(&mut tx, &new("ada", false, Some(4_000_000_000)), false, now).await.unwrap().unwrap();
        assert_eq!(ada.unix.unwrap().uid, 4_000_000_000, "uids above 2^31 survive");
        let twice = insert(&mut tx, &new("ada", false, None), false, now).await.unwrap_err();
        assert_eq!(twice.to_string(), "there is already a user named ada");
        let uid = insert(&mut tx, &new("bob", false, Some(4_000_000_000)), false, now).await.unwrap_err();
        assert_eq!(uid.to_string(), "that Unix account already belongs to another user");
        set_password(&mut tx, ada.id, None).await.unwrap();
        set_disabled(&mut tx, ada.id, true).await.unwrap();
        tx.commit().await.unwrap();
        let [ada_now, root]: [User; 2] = all(&inventory).await.unwrap().try_into().unwrap();
        assert_eq!((ada_now.password, ada_now.disabled), (None, true));
        assert_eq!((root.id, root.name.as_str(), root.admin, root.builtin), (UserId::ROOT, "root", true, true));
        let mut tx = inventory.begin().await.unwrap();
        delete(&mut tx, ada.id).await.unwrap();
        let eve = insert(&mut tx, &new("eve", false, None), false, now).await.unwrap().unwrap();
        assert_ne!(eve.id, ada.id, "ids are not used twice");
    }

    #[tokio::test]
    async fn the_first_administrator_is_the_only_first() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(&dir.path().join("db")).await.unwrap();
        let mut tx = inventory.begin().await.unwrap();
        assert!(insert(&mut tx, &new("a", true, None), true, Timestamp::now()).await.unwrap().is_some());
        assert!(insert(&mut tx, &new("b", true, None), true, Timestamp::now()).await.unwrap().is_none());
    }
}
