//! A new, empty store on each database.

use std::sync::Arc;

use haishin::store::{self, Store};

use super::postgres;

/// Which database a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// An empty database and how to open it again.
pub struct TestStore {
    pub store: Arc<dyn Store>,
    pub url: String,
    _directory: Option<tempfile::TempDir>,
}

impl TestStore {
    pub async fn new(database: Database) -> Self {
        let (url, directory) = match database {
            Database::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                (format!("sqlite://{}", directory.path().join("haishin.db").display()), Some(directory))
            }
            Database::Postgres => (postgres::database().await, None),
        };
        Self { store: store::open(&url).await.unwrap(), url, _directory: directory }
    }

    /// The same database through another store, as another process would see it.
    pub async fn reopen(&self) -> Arc<dyn Store> {
        store::open(&self.url).await.unwrap()
    }
}
