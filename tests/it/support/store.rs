//! A new, empty store on each database, or in memory.

use std::sync::Arc;

use haishin::store::memory::MemoryStore;
use haishin::store::{self, Store};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

use super::postgres;

/// Which database a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
    /// None: no file, no server, no SQL.
    Memory,
}

/// In the place of the URL of a store in memory, which nobody can open.
const MEMORY: &str = "memory:";

async fn open(url: &str, memory: Option<&MemoryStore>) -> Arc<dyn Store> {
    match memory {
        Some(memory) => Arc::new(memory.again()),
        None => store::open(url).await.unwrap(),
    }
}

/// An empty database and how to open it again.
pub struct TestStore {
    pub store: Arc<dyn Store>,
    /// `memory:` where there is none.
    pub url: String,
    memory: Option<MemoryStore>,
    _directory: Option<tempfile::TempDir>,
}

impl TestStore {
    pub async fn new(database: Database) -> Self {
        let (url, directory) = Self::empty(database).await;
        let memory = (database == Database::Memory).then(|| MemoryStore::new(1));
        Self { store: open(&url, memory.as_ref()).await, url, memory, _directory: directory }
    }

    /// The URL of a database that no store has opened yet, and the directory it lies in.
    pub async fn empty(database: Database) -> (String, Option<tempfile::TempDir>) {
        match database {
            Database::Sqlite => {
                let directory = tempfile::tempdir().unwrap();
                (format!("sqlite://{}", directory.path().join("haishin.db").display()), Some(directory))
            }
            Database::Postgres => (postgres::database().await, None),
            Database::Memory => (MEMORY.to_owned(), None),
        }
    }

    /// The same database through another store, as another process would see it.
    pub async fn reopen(&self) -> Arc<dyn Store> {
        open(&self.url, self.memory.as_ref()).await
    }

    /// A test that speaks SQL has no case in memory.
    fn only_sql(&self, sql: &str) {
        assert!(self.memory.is_none(), "a store in memory takes no SQL: {sql}");
    }

    /// Changes the database beside every store, as a person might.
    pub async fn by_hand(&self, sql: &str) {
        self.only_sql(sql);
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
        self.only_sql(sql);
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
