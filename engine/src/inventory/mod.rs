//! The one database: SQLite in WAL mode, forward-only migrations, engine tables. No other engine module has SQL.
//!
//! One connection writes, a few read. Writes begin immediate: a deferred transaction that upgrades would fail with
//! SQLITE_BUSY whatever the timeout. An action and its audit row share a transaction.

pub(crate) mod audit;
pub(crate) mod builds;
pub(crate) mod containers;
pub(crate) mod grants;
pub mod images;
pub mod networks;
pub(crate) mod tenants;
pub(crate) mod volumes;

use crate::{Doing, Result};
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
            .connect_with(options.clone())
            .await
            .doing(doing)?;
        sqlx::migrate!("../migrations").run(&writer).await.doing(|| format!("migrating the database {}", path.display()))?;
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

    /// For reading.
    pub fn reader(&self) -> &SqlitePool {
        &self.reader
    }
}

/// Commits: from here on it is acknowledged.
///
/// # Errors
/// When the disk is full or fails; nothing of the transaction is there then.
pub(crate) async fn commit(tx: Tx) -> Result<()> {
    tx.commit().await.doing(|| "writing to the database".to_owned())
}
