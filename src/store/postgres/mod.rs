//! The store on PostgreSQL, and what is PostgreSQL on the wire: the engine for several nodes.
//!
//! READ COMMITTED is enough. Every owner's transaction begins by advancing its account's row of `account_lease`: a
//! second one waits there for the first, then compares token and seq with what that one committed and finds itself
//! fenced off. Everything else it writes belongs to the same account, so nobody else writes it. Claims and
//! activations take their row by an update before they read it, for the same reason.
//!
//! Every call runs in a task of its own: a caller that goes away in the middle leaves no connection half way through
//! a transaction.

mod appender;
mod bulk;
mod connect;

// On purpose twice: the same statements against each database's own connection.
#[allow(clippy::duplicate_mod)]
#[path = "../portable/mod.rs"]
mod portable;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection as Connection, PgPool};

use self::appender::Appender;
pub(super) use self::connect::{Durability, options};
use super::append::Rows;
use super::{Priority, StoreError};
use PgStore as Backend;

/// The migrations of this database. No advisory lock: see [`connect`].
pub(in crate::store) static MIGRATOR: sqlx::migrate::Migrator =
    sqlx::migrate::Migrator { locking: false, ..sqlx::migrate!("migrations/postgres") };

/// A store in a PostgreSQL database.
pub struct PgStore {
    pool: PgPool,
    appender: Appender,
}

/// Every statement of this adapter, by name: a test prepares each.
pub fn statements() -> Vec<(&'static str, &'static str)> {
    [portable::all(), bulk::ALL.to_vec(), bulk::drip::ALL.to_vec(), bulk::outbox::ALL.to_vec()].concat()
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Failed { operation, source }
}

impl PgStore {
    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::TooNew`] for the schema of a newer haishin, [`StoreError::Failed`] when the server cannot be
    /// reached or does not keep what it commits.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let pool = connect::pool(url).await?;
        Ok(Self { appender: Appender::start(pool.clone()), pool })
    }

    async fn read<T: Send + 'static>(
        &self,
        body: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        const READING: &str = "read";
        let pool = self.pool.clone();
        let task = tokio::spawn(async move {
            let mut conn = pool.acquire().await.map_err(failed(READING))?;
            body(&mut conn).await
        });
        let crashed = |_| StoreError::Failed { operation: READING, source: sqlx::Error::WorkerCrashed };
        task.await.map_err(crashed)?
    }

    /// There is no one writer to queue for, so nobody waits by priority.
    async fn write<T: Send + 'static>(
        &self,
        _: Priority,
        operation: &'static str,
        body: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let pool = self.pool.clone();
        let task = tokio::spawn(async move { transaction(&pool, operation, body).await });
        // Whether the task had sent its commit is not known.
        task.await.map_err(|_| StoreError::Lost { operation, source: sqlx::Error::WorkerCrashed })?
    }

    async fn append(&self, rows: Rows) -> Result<(), StoreError> {
        self.appender.append(rows).await
    }

    /// Something was deleted that is to be in no file any more: vacuuming is the database's own work.
    #[allow(clippy::unused_self)]
    fn let_nothing_linger(&self) {}

    async fn end(&self) {
        self.pool.close().await;
    }
}

async fn transaction<T>(
    pool: &PgPool,
    operation: &'static str,
    body: impl for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut conn = pool.acquire().await.map_err(failed(operation))?;
    // Named, because a server's or a role's default may be another.
    let begin = conn.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await;
    let mut tx = begin.map_err(failed(operation))?;
    match body(&mut tx).await {
        Ok(value) => match tx.commit().await {
            Ok(()) => Ok(value),
            Err(source) => {
                conn.close_on_drop();
                Err(StoreError::Lost { operation, source })
            }
        },
        Err(error) => {
            if tx.rollback().await.is_err() {
                conn.close_on_drop();
            }
            Err(error)
        }
    }
}
