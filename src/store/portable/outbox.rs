//! The outbox. Rows are written and dropped in bulk.

use super::{Connection, bulk, failed, last_of_each};
use crate::domain::id::AccountId;
use crate::domain::outbox::Lane;
use crate::domain::time::Instant;
use crate::store::codec::{OpenOutbox, OutboxCells, count_in, instant, word};
use crate::store::{OutboxLane, OutboxRow, StoreError};

statements! {
    OUTBOX = "SELECT id, payload, created_at, not_before, attempts FROM outbox WHERE account = $1 AND lane = $2 \
              AND given_up_at IS NULL AND (not_before <= $3 OR not_before > $4) \
              ORDER BY not_before, id LIMIT CAST($5 AS BIGINT)";
    OUTBOX_LANES = "SELECT lane, COUNT(*), MIN(created_at) FROM outbox \
                    WHERE account = $1 AND given_up_at IS NULL GROUP BY lane";
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

pub(super) async fn drop_outbox(
    conn: &mut Connection,
    account: AccountId,
    ids: &[i64],
) -> Result<(), StoreError> {
    bulk::outbox::drop_outbox(conn, account, ids).await.map_err(failed("drop what left the outbox"))
}

pub(super) async fn outbox(
    conn: &mut Connection,
    account: AccountId,
    lane: &Lane,
    now: Instant,
    limit: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    let query = sqlx::query_as(OUTBOX)
        .bind(account.0)
        .bind(lane.to_string())
        .bind(now.as_millis())
        .bind((now + OutboxRow::FARTHEST).as_millis())
        .bind(i64::from(limit));
    let rows: Vec<OpenOutbox> = query.fetch_all(conn).await.map_err(failed("read the outbox"))?;
    rows.into_iter().map(OpenOutbox::read).collect()
}

pub(super) async fn outbox_lanes(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Vec<OutboxLane>, StoreError> {
    let query = sqlx::query_as(OUTBOX_LANES).bind(account.0);
    let rows: Vec<(String, i64, i64)> = query.fetch_all(conn).await.map_err(failed("count the outbox"))?;
    let mut lanes = rows
        .into_iter()
        .map(|(lane, open, oldest)| {
            Ok(OutboxLane {
                lane: word("outbox.lane", &lane, Lane::parse(&lane))?,
                open: count_in("outbox", open)?,
                oldest: instant(oldest),
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    // Databases sort texts in their own ways.
    lanes.sort_by(|one, other| one.lane.cmp(&other.lane));
    Ok(lanes)
}

pub(super) async fn last_outbox(conn: &mut Connection, account: AccountId) -> Result<i64, StoreError> {
    let query = sqlx::query_as(LAST_OUTBOX).bind(account.0);
    let last: Option<(i64,)> =
        query.fetch_optional(conn).await.map_err(failed("read the outbox's last number"))?;
    Ok(last.map_or(0, |(id,)| id))
}
