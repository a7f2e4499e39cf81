//! The one writer: a task that owns the only writing connection, so that nobody ever meets "database is locked" and
//! no caller that goes away can leave a transaction half open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::oneshot;

use super::queue::{Health, Job, Queue, Step};
use super::{bulk, connect};
use crate::store::append::{APPEND, Append, Rows, rows, share};
use crate::store::{Priority, StoreError};

/// A WAL that has grown by so much is checkpointed between two transactions even when others wait. Well above what
/// the file keeps when it is emptied.
const WAL_LARGE_BYTES: u64 = 16 << 20;

/// After so long without work what the WAL holds goes into the database.
const IDLE: Duration = Duration::from_secs(1);

/// A handle on the writer.
pub(super) struct Writer {
    queue: Arc<Queue>,
    closed: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The writer's task ended without an answer: whether the commit landed is not known.
fn lost(operation: &'static str) -> StoreError {
    StoreError::Lost { operation, source: sqlx::Error::WorkerCrashed }
}

impl Writer {
    /// Starts the task on its connection.
    pub(super) fn start(path: &Path, conn: SqliteConnection) -> Self {
        let queue = Arc::<Queue>::default();
        let (end, closed) = oneshot::channel();
        let task = Task {
            path: path.to_owned(),
            queue: Arc::clone(&queue),
            conn: Some(conn),
            unsynced: true,
            checkpointed_bytes: 0,
            lingers: false,
        };
        tokio::spawn(async move {
            task.run().await;
            let _ = end.send(());
        });
        Self { queue, closed: tokio::sync::Mutex::new(Some(closed)) }
    }

    /// Appends rows, in one transaction with whoever else is appending.
    pub(super) async fn append(&self, rows: Rows) -> Result<(), StoreError> {
        let (append, answer) = Append::new(rows);
        self.queue.append(append);
        answer.await.unwrap_or_else(|_| Err(lost(APPEND)))
    }

    /// Runs `body` in a transaction of its own and commits if it succeeds.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        priority: Priority,
        operation: &'static str,
        body: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let (done, answer) = oneshot::channel();
        let step: Step = Box::new(move |conn| {
            Box::pin(async move {
                let (result, health) = transaction(conn, operation, body).await;
                // A caller that went away does not undo what is committed.
                let _ = done.send(result);
                health
            })
        });
        self.queue.step(priority, step);
        answer.await.unwrap_or_else(|_| Err(lost(operation)))
    }

    /// What the log holds by now goes from it, as soon as no reader needs it.
    pub(super) fn let_nothing_linger(&self) {
        self.queue.let_nothing_linger();
    }

    /// Does what waits, checkpoints and closes.
    pub(super) async fn close(&self) {
        self.queue.close();
        if let Some(closed) = self.closed.lock().await.take() {
            let _ = closed.await;
        }
    }
}

/// `BEGIN IMMEDIATE` takes the write lock at once: a deferred transaction that reads first cannot wait for it.
async fn transaction<T>(
    conn: &mut SqliteConnection,
    operation: &'static str,
    body: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>,
) -> (Result<T, StoreError>, Health) {
    let mut tx = match conn.begin_with("BEGIN IMMEDIATE").await {
        Ok(tx) => tx,
        Err(source) => return (Err(StoreError::Failed { operation, source }), Health::Doubtful),
    };
    match body(&mut tx).await {
        Ok(value) => match tx.commit().await {
            Ok(()) => (Ok(value), Health::Sound),
            Err(source) => (Err(StoreError::Lost { operation, source }), Health::Doubtful),
        },
        Err(error) => {
            let health = if tx.rollback().await.is_ok() { Health::Sound } else { Health::Doubtful };
            (Err(error), health)
        }
    }
}

struct Task {
    path: PathBuf,
    queue: Arc<Queue>,
    /// None after a doubtful end, until the next job opens it again.
    conn: Option<SqliteConnection>,
    /// Whether the WAL may hold what the database does not.
    unsynced: bool,
    /// The WAL's length at the last checkpoint that it has not shrunk since.
    checkpointed_bytes: u64,
    /// The WAL holds what is to be in no file any more.
    lingers: bool,
}

/// However the task ends, a defect included, nobody is left waiting for it.
impl Drop for Task {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            if self.queue.take_lingers() {
                self.lingers = true;
                self.checkpoint().await;
            }
            match self.queue.next() {
                Some(job) => {
                    self.work(job).await;
                    self.unsynced = true;
                    if self.lingers {
                        self.checkpoint().await;
                    } else {
                        self.checkpoint_if_large().await;
                    }
                }
                None if self.queue.is_closed() => break,
                None if self.unsynced => {
                    if tokio::time::timeout(IDLE, self.queue.changed()).await.is_err() {
                        self.checkpoint().await;
                    }
                }
                None => self.queue.changed().await,
            }
        }
        self.checkpoint().await;
        if let Some(conn) = self.conn.take() {
            // Everything acknowledged is durable already; the WAL is read again at the next start.
            let _ = conn.close().await;
        }
    }

    async fn work(&mut self, job: Job) {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => match connect::writer(&self.path).await {
                Ok(conn) => conn,
                Err(error) => {
                    tracing::error!(error = %error, "the database cannot be opened for writing");
                    return refuse(job);
                }
            },
        };
        let health = match job {
            Job::Step(step) => step(&mut conn).await,
            Job::Group(group) => append_group(&mut conn, group).await,
        };
        if health == Health::Sound {
            self.conn = Some(conn);
        }
    }

    fn wal_bytes(&self) -> u64 {
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        std::fs::metadata(wal).map_or(0, |file| file.len())
    }

    /// While a long read keeps the WAL from starting over, another checkpoint is due only after as much again.
    async fn checkpoint_if_large(&mut self) {
        let bytes = self.wal_bytes();
        if bytes < self.checkpointed_bytes {
            self.checkpointed_bytes = 0;
        }
        if bytes >= self.checkpointed_bytes + WAL_LARGE_BYTES {
            self.checkpoint().await;
            self.checkpointed_bytes = bytes;
        }
    }

    /// PASSIVE waits for no reader; whatever a reader still needs stays for the next time.
    async fn checkpoint(&mut self) {
        self.unsynced = false;
        let Some(conn) = &mut self.conn else { return };
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(conn).await {
            tracing::warn!(error = %error, "a checkpoint of the database's log failed; it grows until one succeeds");
        } else if self.lingers {
            self.lingers = !self.truncate().await;
            // Where a reader was in the way it is tried again after the next job, or at the next rest.
            self.unsynced = self.lingers;
        }
    }

    /// Empties the WAL, which a checkpoint alone leaves to be overwritten some day. Readers are not waited for.
    async fn truncate(&mut self) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        if sqlx::query("PRAGMA busy_timeout = 0").execute(&mut *conn).await.is_err() {
            return false;
        }
        let done: Result<(i64, i64, i64), sqlx::Error> =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *conn).await;
        if sqlx::query(connect::USUAL_BUSY_TIMEOUT).execute(conn).await.is_err() {
            // Opened anew by the next job, with what it is to have.
            self.conn = None;
        }
        matches!(done, Ok((0, ..)))
    }
}

/// Nothing was begun, so nothing was written.
fn refuse(job: Job) {
    if let Job::Group(group) = job {
        for append in group {
            let source = sqlx::Error::WorkerCrashed;
            append.answer(Err(StoreError::Failed { operation: APPEND, source }));
        }
    }
}

async fn insert(conn: &mut SqliteConnection, rows: Rows) -> (Result<(), StoreError>, Health) {
    transaction(conn, APPEND, move |conn| {
        Box::pin(async move {
            let failed = |source| StoreError::Failed { operation: APPEND, source };
            bulk::insert_inbox(conn, &rows.inbox).await.map_err(failed)?;
            bulk::insert_relays(conn, &rows.relays).await.map_err(failed)
        })
    })
    .await
}

/// One commit for all. Where the group fails before its commit, each goes alone, so that one caller's rows cannot
/// refuse another's.
async fn append_group(conn: &mut SqliteConnection, group: Vec<Append>) -> Health {
    let (result, mut health) = insert(conn, rows(&group)).await;
    match result {
        Ok(()) => group.into_iter().for_each(|append| append.answer(Ok(()))),
        Err(StoreError::Failed { .. }) if group.len() > 1 && health == Health::Sound => {
            for append in group {
                let (result, after) = insert(conn, append.rows.clone()).await;
                append.answer(result);
                health = if after == Health::Sound { health } else { after };
            }
        }
        Err(error) => share(&error, group),
    }
    health
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_defect_in_one_step_leaves_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("haishin.db");
        let writer = Writer::start(&path, connect::writer(&path).await.unwrap());
        let defect =
            writer.run::<()>(Priority::Fold, "test", |_| Box::pin(async { panic!("a defect") })).await;
        assert!(matches!(defect, Err(StoreError::Lost { .. })), "{defect:?}");
        let next = writer.run(Priority::Fold, "test", |_| Box::pin(async { Ok(()) })).await;
        assert!(matches!(next, Err(StoreError::Lost { .. })), "{next:?}");
        assert!(writer.append(Rows::default()).await.is_err());
        writer.close().await;
    }
}
