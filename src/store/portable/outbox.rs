//! The outbox. Rows are written in bulk.

use super::{Connection, bulk, failed, last_of_each};
use crate::domain::id::AccountId;
use crate::store::codec::{OpenOutbox, OutboxCells};
use crate::store::{OutboxRow, StoreError};

statements! {
    OUTBOX = "SELECT id, kind, payload, created_at, not_before, attempts FROM outbox \
              WHERE account = $1 AND ending IS NULL ORDER BY not_before, id LIMIT $2";
    LAST_OUTBOX = "SELECT id FROM outbox WHERE account = $1 ORDER BY id DESC LIMIT 1";
}

pub(super) async fn set_outbox(
    conn: &mut Connection,
    account: AccountId,
    rows: &[OutboxRow],
) -> Result<(), StoreError> {
    let cells: Result<Vec<_>, _> =
        last_of_each(rows, |row| row.id).into_iter().map(OutboxCells::of).collect();
    bulk::outbox::set_outbox(conn, account, cells?).await.map_err(failed("write the outbox"))
}

pub(super) async fn outbox(
    conn: &mut Connection,
    account: AccountId,
    limit: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    let query = sqlx::query_as(OUTBOX).bind(account.0).bind(i64::from(limit));
    let rows: Vec<OpenOutbox> = query.fetch_all(conn).await.map_err(failed("read the outbox"))?;
    rows.into_iter().map(OpenOutbox::read).collect()
}

pub(super) async fn last_outbox(conn: &mut Connection, account: AccountId) -> Result<i64, StoreError> {
    let query = sqlx::query_as(LAST_OUTBOX).bind(account.0);
    let last: Option<(i64,)> =
        query.fetch_optional(conn).await.map_err(failed("read the outbox's last number"))?;
    Ok(last.map_or(0, |(id,)| id))
}
