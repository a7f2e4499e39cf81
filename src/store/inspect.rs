//! A database looked at from beside its owner: what it is, how durable, which schema. Nothing is written, no schema is
//! brought up to date, no lease is taken.

use std::io::Read as _;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{StoreError, postgres, sqlite};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Which database, and its version.
    pub engine: String,
    /// The newest migration it has had; 0 where it never had one.
    pub schema: i64,
    /// The newest one known here.
    pub known: i64,
    /// The settings durability rests on: name, value, and whether it is as it has to be.
    pub settings: Vec<(&'static str, String, bool)>,
    /// PostgreSQL: whether commits wait for a second machine; none of SQLite.
    pub replicated: Option<bool>,
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Failed { operation, source }
}

/// Looks at `sqlite://PATH` or `postgres://…`; `None` where there is no file yet.
///
/// # Errors
/// It cannot be opened or read. No error carries the URL.
pub async fn inspect(url: &str) -> Result<Option<Inspection>, StoreError> {
    match url.strip_prefix("sqlite://") {
        Some(path) if !Path::new(path).exists() => Ok(None),
        Some(path) => inspect_sqlite(Path::new(path)).await.map(Some),
        None => inspect_postgres(url).await.map(Some),
    }
}

/// Beside an owner the file is shared; without a log beside it nobody has it open, and nothing is to appear there.
async fn beside(path: &Path) -> Result<SqliteConnection, StoreError> {
    let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().to_string_lossy()));
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(std::time::Duration::from_secs(5))
        .disable_statement_logging();
    let options = if log.exists() { options.read_only(true) } else { options.immutable(true) };
    options.connect().await.map_err(failed("open the database"))
}

async fn inspect_sqlite(path: &Path) -> Result<Inspection, StoreError> {
    let mut conn = beside(path).await?;
    let reading = "look at the database";
    let (version,): (String,) =
        sqlx::query_as("SELECT sqlite_version()").fetch_one(&mut conn).await.map_err(failed(reading))?;
    let tables = "SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'";
    let (migrated,): (i64,) = sqlx::query_as(tables).fetch_one(&mut conn).await.map_err(failed(reading))?;
    let schema = if migrated == 0 {
        0
    } else {
        let newest = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations";
        let (schema,): (i64,) = sqlx::query_as(newest).fetch_one(&mut conn).await.map_err(failed(reading))?;
        schema
    };
    let _ = conn.close().await;
    // Of the file; `synchronous` is each connection's own, and haishin refuses one that is not FULL.
    let journal = journal_mode(path).map_err(|error| failed(reading)(sqlx::Error::Io(error)))?;
    let settings = vec![("journal_mode", journal.to_owned(), journal == "wal")];
    let known = sqlite::MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    Ok(Inspection { engine: format!("SQLite {version}"), schema, known, settings, replicated: None })
}

/// As the file's header has it: a connection that must not make a log would not say.
fn journal_mode(path: &Path) -> std::io::Result<&'static str> {
    /// Where the header says which version may write: 2 with a log beside the file.
    const WRITE_VERSION: usize = 18;
    let mut header = [0; WRITE_VERSION + 1];
    std::fs::File::open(path)?.read_exact(&mut header)?;
    Ok(if header.last() == Some(&2) { "wal" } else { "delete" })
}

/// Every page of an SQLite database: what is wrong with it; `None` where nothing is, or the database is another.
///
/// # Errors
/// It cannot be read.
pub async fn damage(url: &str) -> Result<Option<String>, StoreError> {
    let Some(path) = url.strip_prefix("sqlite://") else { return Ok(None) };
    let mut conn = beside(Path::new(path)).await?;
    let (said,): (String,) = sqlx::query_as("PRAGMA integrity_check(1)")
        .fetch_one(&mut conn)
        .await
        .map_err(failed("check the database"))?;
    let _ = conn.close().await;
    Ok((said != "ok").then_some(said))
}

async fn inspect_postgres(url: &str) -> Result<Inspection, StoreError> {
    let opening = "open the database";
    let mut conn =
        postgres::options(url).map_err(failed(opening))?.connect().await.map_err(failed(opening))?;
    let reading = "look at the database";
    let server =
        "SELECT current_setting('server_version', true), current_setting('synchronous_standby_names', true)";
    let (version, standbys): (Option<String>, Option<String>) =
        sqlx::query_as(server).fetch_one(&mut conn).await.map_err(failed(reading))?;
    let tables = "SELECT COUNT(*) FROM information_schema.tables \
                  WHERE table_schema = current_schema() AND table_name = '_sqlx_migrations'";
    let (migrated,): (i64,) = sqlx::query_as(tables).fetch_one(&mut conn).await.map_err(failed(reading))?;
    let schema = if migrated == 0 {
        0
    } else {
        let newest = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations";
        let (schema,): (i64,) = sqlx::query_as(newest).fetch_one(&mut conn).await.map_err(failed(reading))?;
        schema
    };
    let durability = postgres::Durability::of(&mut conn).await.map_err(failed(reading))?;
    let _ = conn.close().await;
    let known = postgres::MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    let (waits, synced) = (durability.commits_wait(), durability.writes_are_synced());
    let settings =
        [("synchronous_commit", durability.synchronous_commit, waits), ("fsync", durability.fsync, synced)];
    Ok(Inspection {
        engine: format!("PostgreSQL {}", version.unwrap_or_default()).trim().to_owned(),
        schema,
        known,
        settings: settings.into_iter().filter_map(|(name, value, good)| Some((name, value?, good))).collect(),
        replicated: Some(standbys.is_some_and(|names| !names.trim().is_empty())),
    })
}
