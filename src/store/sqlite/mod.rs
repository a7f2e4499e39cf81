//! The store on SQLite: the embedded default.
//!
//! One task writes ([`writer`]), a few connections read. `synchronous = FULL` is asserted on each, so what is
//! acknowledged survives a power loss.

mod bulk;
mod connect;
pub mod copy;
mod queue;
mod readers;
mod writer;

// On purpose twice: the same statements against each database's own connection.
#[allow(clippy::duplicate_mod)]
#[path = "../portable/mod.rs"]
mod portable;

use std::path::Path;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection as Connection;

use self::readers::Readers;
use self::writer::Writer;
use SqliteStore as Backend;

use super::append::Rows;
use super::{Priority, StoreError, migrate};

/// The migrations of this database.
pub(in crate::store) static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// A store in one file.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
}

/// Every statement of this adapter, by name: a test prepares each.
pub fn statements() -> Vec<(&'static str, &'static str)> {
    [portable::all(), bulk::ALL.to_vec(), bulk::drip::ALL.to_vec(), bulk::outbox::ALL.to_vec()].concat()
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Failed { operation, source }
}

impl SqliteStore {
    /// Opens the file, creating it (readable by its owner alone) and its tables where there are none.
    ///
    /// # Errors
    /// [`StoreError::TooNew`] for the file of a newer haishin, [`StoreError::Failed`] when the file cannot be opened.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut conn = connect::writer(path).await.map_err(failed("open the database"))?;
        // Under the write lock: of two processes that start at once, the second finds it done.
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(migrate::failed)?;
        migrate::run(&mut *tx, &MIGRATOR).await?;
        tx.commit().await.map_err(migrate::failed)?;
        Ok(Self { writer: Writer::start(path, conn), readers: Readers::new(path) })
    }
    async fn read<T>(
        &self,
        body: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(body).await
    }

    async fn write<T: Send + 'static>(
        &self,
        priority: Priority,
        operation: &'static str,
        body: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(priority, operation, body).await
    }

    async fn append(&self, rows: Rows) -> Result<(), StoreError> {
        self.writer.append(rows).await
    }

    /// Something was deleted that is to be in no file any more.
    fn let_nothing_linger(&self) {
        self.writer.let_nothing_linger();
    }

    async fn end(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}
