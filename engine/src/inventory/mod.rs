//! The one database: SQLite in WAL mode, forward-only migrations, engine tables. No other engine module has SQL.
//!
//! One connection writes, a few read. Writes begin immediate: a deferred transaction that upgrades would fail with
//! SQLITE_BUSY whatever the timeout. An action and its audit row share a transaction.

pub(crate) mod audit;
pub(crate) mod builds;
pub(crate) mod containers;
pub(crate) mod grants;
pub mod images;
pub(crate) mod logs;
pub mod networks;
pub(crate) mod tenants;
pub(crate) mod volume_trash;
pub(crate) mod volumes;

use crate::{Doing, Result};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

/// How long what already happened may wait for others to share its transaction.
pub(crate) const SOON: Duration = Duration::from_millis(10);

/// A write transaction.
pub type Tx = sqlx::Transaction<'static, sqlx::Sqlite>;

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inventory {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Inventory {
    /// Opens (or makes) the database and migrates it.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or was written by a newer version.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: what we acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let doing = || format!("opening the database {}", path.display());
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            // A connection to a file needs no asking whether it is still there: that is a trip to another thread.
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_out_of_transactions(connection)))
            .connect_with(options.clone())
            .await
            .doing(doing)?;
        sqlx::migrate!("../migrations").run(&writer).await.doing(|| format!("migrating the database {}", path.display()))?;
        if let Err(error) = reserve(&writer).await {
            tracing::warn!(%error, "no room could be kept in the database for a full disk");
        }
        let reader = SqlitePoolOptions::new()
            .max_connections(4)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await
            .doing(doing)?;
        Ok(Self { writer, reader })
    }

    /// Begins a write transaction; others wait until it ends.
    ///
    /// # Errors
    /// When the database is locked from outside for ten seconds, or the disk is full.
    pub async fn begin(&self) -> Result<Tx> {
        self.writer.begin_with("begin immediate").await.doing(|| "beginning a transaction".to_owned())
    }

    /// Closes all connections once nobody uses them: the last one takes the write-ahead log into the database's own file, which then
    /// is all there is to copy.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// For reading.
    pub fn reader(&self) -> &SqlitePool {
        &self.reader
    }
}

/// Keeps room for when the disk is full: then things must still be removable, and that takes an audit row. Pages that were written
/// once and freed stay in the file, and the write-ahead log keeps its size, so what follows writes over blocks that are there. It
/// takes two transactions: a page that is freed in the one that made it is never written. The log's room is gone with each end of
/// the server, hence at every start; 4 MiB are some thousand actions.
async fn reserve(writer: &SqlitePool) -> sqlx::Result<()> {
    sqlx::query("drop table if exists room").execute(writer).await?;
    sqlx::query("create table room as select zeroblob(4194304) as bytes").execute(writer).await?;
    sqlx::query("drop table room").execute(writer).await?;
    sqlx::query("pragma wal_checkpoint(passive)").execute(writer).await?;
    Ok(())
}

/// Whether a connection can be used again. After some errors (a full disk, SQLITE_IOERR) SQLite ends a transaction by itself; the
/// rollback that sqlx then sends fails, and sqlx believes for ever to be in that transaction: nothing could be written until the
/// next start. Such a connection is closed, and another one opened in its place.
async fn is_out_of_transactions(connection: &mut sqlx::SqliteConnection) -> sqlx::Result<bool> {
    if connection.is_in_transaction() {
        // A rollback may only be on its way to the connection's thread: an answer from there comes after it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Commits: from here on it is acknowledged.
///
/// # Errors
/// When the disk is full or fails; nothing of the transaction is there then.
pub(crate) async fn commit(tx: Tx) -> Result<()> {
    tx.commit().await.doing(|| "writing to the database".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R12: after a full disk had ended a transaction, every later one failed until the server was started again.
    #[tokio::test]
    async fn sec_r12_writing_goes_on_after_a_full_disk() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(&folder.path().join("wharf.db")).await.unwrap();
        let mut tx = inventory.begin().await.unwrap();
        // What SQLite does by itself when a write of its log fails.
        sqlx::query("rollback").execute(&mut *tx).await.unwrap();
        drop(tx);
        let mut tx = inventory.begin().await.unwrap();
        sqlx::query("create table after_it (n integer)").execute(&mut *tx).await.unwrap();
        commit(tx).await.unwrap();
        // An ordinary rollback keeps the connection.
        drop(inventory.begin().await.unwrap());
        commit(inventory.begin().await.unwrap()).await.unwrap();
    }
}
