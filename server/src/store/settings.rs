//! The table `settings`.

use engine::inventory::{Inventory, Tx};
use engine::{Doing, Result};

/// The value of a key.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(inventory: &Inventory, key: &str) -> Result<Option<String>> {
    sqlx::query_scalar("select value from settings where key = ?1")
        .bind(key)
        .fetch_optional(inventory.reader())
        .await
        .doing(|| format!("reading the setting {key}"))
}

/// Sets a key.
///
/// # Errors
/// When the database cannot be written.
pub async fn set(tx: &mut Tx, key: &str, value: &str) -> Result<()> {
    sqlx::query("insert into settings (key, value) values (?1, ?2) on conflict (key) do update set value = excluded.value")
        .bind(key)
        .bind(value)
        .execute(&mut **tx)
        .await
        .doing(|| format!("storing the setting {key}"))?;
    Ok(())
}
