//! A few read-only connections, opened when needed.
//!
//! Not sqlx's pool: its acquire timeout is a timer, and a reader waits for nobody but other readers.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Semaphore;

use super::connect;
use crate::store::StoreError;

/// Reads at once: they only serve start-up, the planner and people.
const READERS: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default(), permits: Semaphore::new(READERS) }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs one read. A caller that goes away in the middle, or an error, costs the connection and nothing else.
    pub(super) async fn read<T>(
        &self,
        body: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let closed = |_| failed(sqlx::Error::PoolClosed);
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let idle = self.idle().pop();
        let mut conn = match idle {
            Some(conn) => conn,
            None => connect::reader(&self.path).await.map_err(failed)?,
        };
        let value = body(&mut conn).await?;
        self.idle().push(conn);
        Ok(value)
    }

    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for conn in idle {
            // Nothing was being written here; a failure to close has nothing to tell.
            let _ = conn.close().await;
        }
    }
}

fn failed(source: sqlx::Error) -> StoreError {
    StoreError::Failed { operation: "open a connection for reading", source }
}
