//! From a URL to a store.

use std::path::Path;
use std::sync::Arc;

use super::postgres::PgStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};

/// Opens `sqlite://PATH` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full`, bringing the schema
/// up to date.
///
/// # Errors
/// [`StoreError::TooNew`] for the schema of a newer haishin; [`StoreError::Failed`] for a URL of another kind or a
/// database that cannot be reached. No error carries the URL: it may hold a password.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        return Ok(Arc::new(SqliteStore::open(Path::new(path)).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Arc::new(PgStore::open(url).await?));
    }
    let source =
        sqlx::Error::Configuration("the database's URL must begin with sqlite:// or postgres://".into());
    Err(StoreError::Failed { operation: "open the database", source })
}
