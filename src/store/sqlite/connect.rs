//! Opening the file: private, WAL, `synchronous = FULL`, one writer and a few readers.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

/// The WAL file shrinks back to this after a checkpoint has emptied it: so its length tells the writer how much has
/// come in since, and overwriting what is kept is quicker than growing the file.
const WAL_KEPT_BYTES: u64 = 4 << 20;

/// Another process may hold the file for a moment: a command that was the owner before us.
const BUSY: Duration = Duration::from_secs(5);
/// The same in SQL.
pub(super) const USUAL_BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        // The writer checkpoints between transactions, never in the middle of one.
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", WAL_KEPT_BYTES.to_string())
        // No key refers across tables in SQL: the owner alone writes them, in one transaction.
        .foreign_keys(false)
        .disable_statement_logging()
}

/// What a power loss must find on every connection, or durability is only believed in.
async fn assert_durable(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(&mut *conn).await?;
    let (journal,): (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(&mut *conn).await?;
    if synchronous == 2 && journal == "wal" {
        return Ok(());
    }
    let found =
        format!("the connection has synchronous = {synchronous} and journal_mode = {journal}, not 2 and wal");
    Err(sqlx::Error::Configuration(found.into()))
}

/// The writer's connection. Creates the file, readable by its owner alone, where there is none.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    create_private(path).map_err(sqlx::Error::Io)?;
    // Pages of a large transaction wait here for its commit, instead of going to the WAL again and again.
    let options = options(path).pragma("cache_size", "-16384").pragma("cache_spill", "off");
    // Whom the database forgets is not to be read in its free pages.
    let options = options.pragma("secure_delete", "on");
    let mut conn = options.connect().await?;
    assert_durable(&mut conn).await?;
    Ok(conn)
}

/// A reader's connection. It sees what is committed, and cannot write.
pub(super) async fn reader(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut conn = options(path).pragma("query_only", "on").connect().await?;
    assert_durable(&mut conn).await?;
    Ok(conn)
}

/// SQLite gives its WAL the rights of the database file, so those are set before SQLite first sees it.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // The name is to survive a power loss as surely as what is written under it.
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_connection_commits_to_disk_or_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haishin.db");
        let mut conn = writer(&path).await.unwrap();
        assert_durable(&mut reader(&path).await.unwrap()).await.unwrap();
        for setting in ["PRAGMA synchronous = NORMAL", "PRAGMA synchronous = OFF"] {
            sqlx::query(setting).execute(&mut conn).await.unwrap();
            assert!(assert_durable(&mut conn).await.is_err(), "{setting}");
        }
        let written = sqlx::query("CREATE TABLE t (x)").execute(&mut reader(&path).await.unwrap()).await;
        assert!(written.is_err(), "a reader cannot write");
    }
}
