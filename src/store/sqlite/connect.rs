//! Opening the file: private, WAL, `synchronous = FULL`, one writer and a few readers.

use std::path::Path;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

/// The WAL file shrinks back to this after a checkpoint has emptied it: so its length tells the writer how much has
/// come in since, and overwriting what is kept is quicker than growing the file.
const WAL_KEPT_BYTES: u64 = 4 << 20;

/// So often a file that somebody else holds while it is opened is tried: about five seconds.
const TRIES: u32 = 250;
/// SQLite waits so long in each try, where it waits at all, and so long is between them.
const TRY: Duration = Duration::from_millis(10);
/// Another process may hold the file for a moment: a command that was the owner before us.
pub(super) const USUAL_BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(TRY)
        // The writer checkpoints between transactions, never in the middle of one.
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", WAL_KEPT_BYTES.to_string())
        // No key refers across tables in SQL: the owner alone writes them, in one transaction.
        .foreign_keys(false)
        .disable_statement_logging()
}

/// Opens the file. Giving a new file its log takes the whole file, and SQLite does not wait for that: of two that hold it
/// together neither would ever get it. So whoever is sent away has let go of it, and comes again.
async fn connect(options: SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut tries = 1;
    let mut conn = loop {
        match options.connect().await {
            Err(error) if is_busy(&error) && tries < TRIES => tokio::time::sleep(TRY).await,
            connected => break connected?,
        }
        tries += 1;
    };
    sqlx::query(USUAL_BUSY_TIMEOUT).execute(&mut conn).await?;
    assert_durable(&mut conn).await?;
    Ok(conn)
}

fn is_busy(error: &sqlx::Error) -> bool {
    /// SQLite's own number; an extended code carries it in its lowest byte.
    const BUSY: i32 = 5;
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
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
    connect(options.pragma("secure_delete", "on")).await
}

/// A reader's connection. It sees what is committed, and cannot write.
pub(super) async fn reader(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    connect(options(path).pragma("query_only", "on")).await
}

/// SQLite gives its WAL the rights of the database file, so those are set before SQLite first sees it. A file that is
/// there is not touched: closing it would release every lock that this process has on it (POSIX), and a program that
/// then closes it last, as it thinks, takes its log away from under us.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        created => drop(created?),
    }
    // The name is to survive a power loss as surely as what is written under it.
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this process has locked of a file, as the kernel says.
    fn locks(path: &Path) -> usize {
        use std::os::unix::fs::MetadataExt;
        let file = format!(":{} ", std::fs::metadata(path).unwrap().ino());
        let ours = format!(" {} ", std::process::id());
        let told = std::fs::read_to_string("/proc/locks").unwrap();
        told.lines().filter(|line| line.contains(&file) && line.contains(&ours)).count()
    }

    /// The last to close a database takes its log away: while it is in use here it must be seen to be.
    #[tokio::test]
    async fn a_writer_that_is_opened_anew_leaves_the_locks_of_the_others_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haishin.db");
        let mut first = writer(&path).await.unwrap();
        sqlx::query("CREATE TABLE t (x)").execute(&mut first).await.unwrap();
        let mut reading = reader(&path).await.unwrap();
        let held = locks(&path);
        assert_ne!(held, 0);
        drop(first);
        let mut second = writer(&path).await.unwrap();
        assert_eq!(locks(&path), held);
        for conn in [&mut reading, &mut second] {
            sqlx::query("SELECT x FROM t").execute(conn).await.unwrap();
        }
    }

    async fn asked(conn: &mut SqliteConnection, pragma: &'static str) -> i64 {
        let (said,): (i64,) = sqlx::query_as(pragma).fetch_one(conn).await.unwrap();
        said
    }

    /// No commit is held up by a checkpoint, and no page that was let go keeps what was on it.
    #[tokio::test]
    async fn nobody_checkpoints_in_passing_and_what_is_deleted_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haishin.db");
        let (mut writing, mut reading) = (writer(&path).await.unwrap(), reader(&path).await.unwrap());
        assert_eq!(asked(&mut writing, "PRAGMA wal_autocheckpoint").await, 0);
        assert_eq!(asked(&mut reading, "PRAGMA wal_autocheckpoint").await, 0);
        assert_eq!(asked(&mut writing, "PRAGMA secure_delete").await, 1);
    }

    /// A file that cannot have a log stands for a file system that cannot.
    #[tokio::test]
    async fn a_connection_that_could_lose_a_commit_is_not_given_out() {
        let refused = reader(Path::new(":memory:")).await.expect_err("what is in memory alone has no log");
        assert!(refused.to_string().contains("journal_mode = memory"), "{refused}");
    }

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
