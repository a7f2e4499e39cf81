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

    /// A database as a dump in SQL has it, brought up to this version's schema.
    pub async fn loaded(database: Database, sql: &str) -> Self {
        let (url, directory) = Self::empty(database).await;
        let sql = AssertSqlSafe(sql.to_owned());
        match url.strip_prefix("sqlite://") {
            Some(path) => {
                let options =
                    sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
                let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            None => {
                let mut conn = PgConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
        }
        Self { store: store::open(&url).await.unwrap(), url, memory: None, _directory: directory }
    }

    /// The database as SQL, in lines that change only with what they say.
    pub async fn dump(&self) -> String {
        match self.url.strip_prefix("sqlite://") {
            Some(path) => dump_sqlite(path).await,
            None => postgres::dump(&self.url),
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

/// Tables, rows, then indexes, as `sqlite3 .dump` writes them.
async fn dump_sqlite(path: &str) -> String {
    let mut conn = SqliteConnection::connect(path).await.unwrap();
    let schema = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' \
                  ESCAPE '\\' ORDER BY rowid";
    let schema: Vec<(String, String, String)> = sqlx::query_as(schema).fetch_all(&mut conn).await.unwrap();
    let (mut tables, mut indexes) = (String::new(), String::new());
    for (kind, _, sql) in &schema {
        let text = if kind == "table" { &mut tables } else { &mut indexes };
        *text += &format!("{sql};\n");
    }
    let mut names: Vec<&str> =
        schema.iter().filter(|(kind, ..)| kind == "table").map(|(_, name, _)| &**name).collect();
    names.push("sqlite_sequence");
    for name in names {
        let columns: Vec<(String,)> = sqlx::query_as("SELECT name FROM pragma_table_info(?1) ORDER BY cid")
            .bind(name)
            .fetch_all(&mut conn)
            .await
            .unwrap();
        let quoted = columns.iter().map(|(column,)| format!("quote(\"{column}\")")).collect::<Vec<_>>();
        let rows = AssertSqlSafe(format!("SELECT {} FROM {name}", quoted.join(" || ',' || ")));
        let rows: Vec<(String,)> = sqlx::query_as(rows).fetch_all(&mut conn).await.unwrap();
        for (values,) in rows {
            tables += &format!("INSERT INTO {name} VALUES({values});\n");
        }
    }
    conn.close().await.unwrap();
    tables + &indexes
}
