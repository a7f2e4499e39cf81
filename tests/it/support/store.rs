//! A new, empty store on each database.

use std::sync::Arc;

use haishin::store::{self, Store};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

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
        let (url, directory) = Self::empty(database).await;
        Self { store: store::open(&url).await.unwrap(), url, _directory: directory }
    }

    /// The URL of a database that no store has opened yet, and the directory it lies in.
    pub async fn empty(database: Database) -> (String, Option<tempfile::TempDir>) {
        match database {
            Database::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                (format!("sqlite://{}", directory.path().join("haishin.db").display()), Some(directory))
            }
            Database::Postgres => (postgres::database().await, None),
        }
    }

    /// The same database through another store, as another process would see it.
    pub async fn reopen(&self) -> Arc<dyn Store> {
        store::open(&self.url).await.unwrap()
    }

    /// Changes the database beside every store, as a person might.
    pub async fn by_hand(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.url.strip_prefix("sqlite://") {
            Some(path) => {
                let mut conn = SqliteConnection::connect(path).await.unwrap();
                conn.execute(sql).await.map(drop).unwrap();
            }
            None => {
                let mut conn = PgConnection::connect(&self.url).await.unwrap();
                conn.execute(sql).await.map(drop).unwrap();
            }
        }
    }

    /// The one text that a query finds beside every store.
    pub async fn text(&self, sql: &str) -> String {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.url.strip_prefix("sqlite://") {
            Some(path) => {
                let mut conn = SqliteConnection::connect(path).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
            }
            None => {
                let mut conn = PgConnection::connect(&self.url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
            }
        }
    }
}
