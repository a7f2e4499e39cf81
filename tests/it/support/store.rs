//! A new, empty store on each database.

use std::sync::Arc;

use haishin::store::{self, Store};

/// Which database a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
}

/// An empty database.
pub struct TestStore {
    pub store: Arc<dyn Store>,
    _directory: Option<tempfile::TempDir>,
}

impl TestStore {
    pub async fn new(database: Database) -> Self {
        match database {
            Database::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", directory.path().join("haishin.db").display());
                Self { store: store::open(&url).await.unwrap(), _directory: Some(directory) }
            }
        }
    }
}
