//! Appends to the inbox, committed in groups: one statement at a time, with everything that came in meanwhile.

use std::collections::VecDeque;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::sync::mpsc;

use super::bulk;
use crate::store::StoreError;
use crate::store::append::{APPEND, Append, Rows, rows, share, take_group};

/// A handle on the appending task.
pub(super) struct Appender(mpsc::UnboundedSender<Append>);

impl Appender {
    pub(super) fn start(pool: PgPool) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(run(pool, waiting));
        Self(queue)
    }

    pub(super) async fn append(&self, rows: Rows) -> Result<(), StoreError> {
        let (append, answer) = Append::new(rows);
        if self.0.send(append).is_err() {
            return Err(StoreError::Failed { operation: APPEND, source: sqlx::Error::WorkerCrashed });
        }
        let lost = || StoreError::Lost { operation: APPEND, source: sqlx::Error::WorkerCrashed };
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

async fn run(pool: PgPool, mut queue: mpsc::UnboundedReceiver<Append>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(append) => waiting.push_back(append),
                None => return,
            }
        }
        while let Ok(append) = queue.try_recv() {
            waiting.push_back(append);
        }
        append_group(&pool, take_group(&mut waiting)).await;
    }
}

/// One transaction; where there is one statement it is its own.
async fn insert(pool: &PgPool, rows: &Rows) -> Result<(), StoreError> {
    let failed = |source| StoreError::Failed { operation: APPEND, source };
    let mut conn = pool.acquire().await.map_err(failed)?;
    let inserted = match rows.relays.as_slice() {
        [] => bulk::insert_inbox(&mut conn, &rows.inbox).await,
        _ => insert_both(&mut conn, rows).await,
    };
    match inserted {
        Ok(()) => Ok(()),
        // The server's own refusal says that nothing is committed.
        Err(source @ sqlx::Error::Database(_)) => Err(StoreError::Failed { operation: APPEND, source }),
        Err(source) => {
            conn.close_on_drop();
            Err(StoreError::Lost { operation: APPEND, source })
        }
    }
}

async fn insert_both(conn: &mut PgConnection, rows: &Rows) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    bulk::insert_inbox(&mut tx, &rows.inbox).await?;
    bulk::insert_relays(&mut tx, &rows.relays).await?;
    tx.commit().await
}

/// Where the group is refused, each goes alone, so that one caller's rows cannot refuse another's.
async fn append_group(pool: &PgPool, group: Vec<Append>) {
    match insert(pool, &rows(&group)).await {
        Ok(()) => group.into_iter().for_each(|append| append.answer(Ok(()))),
        Err(StoreError::Failed { source: sqlx::Error::Database(_), .. }) if group.len() > 1 => {
            for append in group {
                let result = insert(pool, &append.rows).await;
                append.answer(result);
            }
        }
        Err(error) => share(&error, group),
    }
}
