//! Copies of the file: made while it is in use, looked at as files nobody else has open, settled before they are moved.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::MIGRATOR;
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::store::StoreError;
use crate::text::Told;

// SQLite's own numbers of what went wrong with a file.
const INTERRUPTED: i32 = 9;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOT_A_DATABASE: i32 = 26;

/// So many of SQLite's steps are done before it asks whether to go on: some milliseconds.
const STEPS: i32 = 50_000;

/// The tables that every database of haishin's has had from the first version on.
const TABLES: [&str; 5] = ["_sqlx_migrations", "account", "account_lease", "config_version", "friend"];

/// Why a file cannot be copied, or is no copy to go by.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// SQLite does not know it.
    #[error("it is no SQLite database; name a file that `haishin backup` made")]
    NotADatabase,
    /// Another program's.
    #[error("it is a database, but none of haishin's; name a file that `haishin backup` made")]
    NotHaishin,
    /// Pages are missing or do not fit together.
    #[error("it is damaged ({0}); take another backup")]
    Damaged(String),
    /// Somebody has it open.
    #[error("another program has it open")]
    InUse,
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// Whoever wanted it wants it no more.
    #[error("it was interrupted")]
    Interrupted,
    /// The schema is newer, or the database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Told for CopyError {
    fn told(&self, lang: Lang) -> String {
        match (self, lang) {
            (Self::Store(error), _) => error.told(lang),
            (_, Lang::En) => self.to_string(),
            (Self::NotADatabase, Lang::Ja) => {
                "SQLite のデータベースではありません。haishin backup が作ったファイルを指定してください"
                    .into()
            }
            (Self::NotHaishin, Lang::Ja) => {
                "haishin のデータベースではありません。haishin backup が作ったファイルを指定してください"
                    .into()
            }
            (Self::Damaged(why), Lang::Ja) => {
                format!("壊れています（{why}）。別のバックアップを使ってください")
            }
            (Self::InUse, Lang::Ja) => "別のプログラムが開いています".into(),
            (Self::Full, Lang::Ja) => "ディスクがいっぱいです".into(),
            (Self::Interrupted, Lang::Ja) => "中断されました".into(),
        }
    }
}

/// What stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The newest migration it has had.
    pub schema: i64,
    /// Its accounts, in the order in which they came.
    pub accounts: Vec<AccountLook>,
}

impl Look {
    /// All friends of all accounts.
    pub fn friends(&self) -> u64 {
        self.accounts.iter().map(|account| account.friends).sum()
    }
}

/// What stands in a file of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountLook {
    /// Which.
    pub slug: String,
    /// Friends, blocked ones included.
    pub friends: u64,
    /// Occurrences whose last outcome has not come.
    pub open: u64,
    /// The number of the last occurrence; 0 before the first.
    pub occurrences: i64,
    /// The number of the last owner transaction.
    pub transaction: i64,
    /// The latest instant seen; none where nobody ever owned the account.
    pub seen_at: Option<Instant>,
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> CopyError {
    move |source| {
        let said = source.as_database_error();
        let code = said.and_then(|error| error.code()?.parse::<i32>().ok());
        // An extended code carries the plain one in its lowest byte.
        match code.map(|code| code & 0xff) {
            Some(NOT_A_DATABASE) => CopyError::NotADatabase,
            Some(CORRUPT) => {
                CopyError::Damaged(said.map_or_else(String::new, |error| error.message().to_owned()))
            }
            Some(FULL) => CopyError::Full,
            Some(INTERRUPTED) => CopyError::Interrupted,
            _ => StoreError::Failed { operation, source }.into(),
        }
    }
}

/// A connection that only reads, and belongs to none of the store's: whatever it does holds nobody up.
async fn beside(path: &Path) -> Result<SqliteConnection, CopyError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(std::time::Duration::from_secs(5))
        .disable_statement_logging();
    options.connect().await.map_err(failed("open the database beside its owner"))
}

/// A file that nobody writes to, as it stands: nothing appears beside it.
async fn still(path: &Path) -> Result<SqliteConnection, CopyError> {
    let options = SqliteConnectOptions::new().filename(path).immutable(true).disable_statement_logging();
    options.connect().await.map_err(failed("open a copy"))
}

/// About how large a copy would be: free pages are left out.
///
/// # Errors
/// The file cannot be read.
pub async fn copied_bytes(path: &Path) -> Result<u64, CopyError> {
    let mut conn = beside(path).await?;
    let sizes = "SELECT (p.page_count - f.freelist_count) * s.page_size \
                 FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s";
    let (bytes,): (i64,) =
        sqlx::query_as(sizes).fetch_one(&mut conn).await.map_err(failed("measure the database"))?;
    let _ = conn.close().await;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Copies what is committed at one instant into a file that is there and empty, beside whoever writes. Ends early once
/// `go_on` says no. The copy is in the kernel's hands, not yet on the disk.
///
/// # Errors
/// [`CopyError::Full`], [`CopyError::Interrupted`], or the database failed. What was written is nothing to go by then.
pub async fn copy(path: &Path, into: &str, go_on: Arc<AtomicBool>) -> Result<(), CopyError> {
    let mut conn = beside(path).await?;
    let doing = "copy the database";
    let mut handle = conn.lock_handle().await.map_err(failed(doing))?;
    handle.set_progress_handler(STEPS, move || go_on.load(Ordering::Relaxed));
    drop(handle);
    // One statement, one read transaction: a snapshot. The writer goes on; its log grows until this ends.
    let copied = sqlx::query("VACUUM INTO ?1").bind(into.to_owned()).execute(&mut conn).await;
    let copied = copied.map(drop).map_err(failed(doing));
    let _ = conn.close().await;
    copied
}

/// Brings what a log beside the file holds into the file, which nobody else has open, so that the one file is all of it.
///
/// # Errors
/// It is no database, or is damaged.
pub async fn settle(path: &Path) -> Result<(), CopyError> {
    let doing = "settle the database's log";
    let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
    let mut conn = options.connect().await.map_err(failed(doing))?;
    let (busy, ..): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(&mut conn)
        .await
        .map_err(failed(doing))?;
    conn.close().await.map_err(failed(doing))?;
    if busy == 0 {
        return Ok(());
    }
    Err(CopyError::InUse)
}

/// Checks every page of a file that nobody writes to, and says what stands in it.
///
/// # Errors
/// It is no database, none of haishin's, damaged, or of a newer haishin ([`StoreError::TooNew`]).
pub async fn look(path: &Path) -> Result<Look, CopyError> {
    let mut conn = still(path).await?;
    let looked = look_with(&mut conn).await;
    let _ = conn.close().await;
    looked
}

async fn look_with(conn: &mut SqliteConnection) -> Result<Look, CopyError> {
    let found: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check(1)")
        .fetch_all(&mut *conn)
        .await
        .map_err(failed("check the database"))?;
    match found.into_iter().next() {
        Some((said,)) if said == "ok" => {}
        said => return Err(CopyError::Damaged(said.map_or_else(String::new, |(said,)| said))),
    }
    let reading = "look at the database";
    let tables: Vec<(String,)> = sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(&mut *conn)
        .await
        .map_err(failed(reading))?;
    if !TABLES.iter().all(|table| tables.iter().any(|(name,)| name == table)) {
        return Err(CopyError::NotHaishin);
    }
    let (schema,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed(reading))?;
    let known = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    if schema > known {
        return Err(StoreError::TooNew { found: schema, known }.into());
    }
    // What every schema has had since the first one.
    let accounts = "SELECT a.slug, (SELECT COUNT(*) FROM friend f WHERE f.account = a.id), \
                    (SELECT COUNT(*) FROM occurrence o WHERE o.account = a.id AND o.finished_at IS NULL), \
                    (SELECT COALESCE(MAX(o.id), 0) FROM occurrence o WHERE o.account = a.id), \
                    COALESCE(l.seq, 0), l.seen_at \
                    FROM account a LEFT JOIN account_lease l ON l.account = a.id ORDER BY a.id";
    type Row = (String, i64, i64, i64, i64, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(accounts).fetch_all(conn).await.map_err(failed(reading))?;
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let account = |(slug, friends, open, occurrences, transaction, seen_at): Row| AccountLook {
        slug,
        friends: count(friends),
        open: count(open),
        occurrences,
        transaction,
        seen_at: seen_at.map(Instant::from_millis),
    };
    Ok(Look { schema, accounts: rows.into_iter().map(account).collect() })
}
