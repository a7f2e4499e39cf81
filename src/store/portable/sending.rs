//! Strides, batches, LINE's numbers, people's acts.

use super::{Connection, failed};
use crate::domain::id::{AccountId, OccurrenceId};
use crate::domain::time::Instant;
use crate::store::codec::{BatchCells, StrideCells, corrupt, count, count_in, instant, text};
use crate::store::{ActRow, BatchRow, QuotaReading, StoreError, StrideRow};

statements! {
    OPEN_STRIDE = "INSERT INTO stride (account, occurrence, first, upto, opened_at, boot_id, since_boot, digests) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    STRIDES = "SELECT occurrence, first, upto, opened_at, boot_id, since_boot, digests FROM stride \
               WHERE account = $1 AND occurrence = $2 ORDER BY first";
    BATCHES = "SELECT occurrence, n, generation, parent, friends, friend_count, opened_at, boot_id, since_boot, \
               body_sha256, ending, ended_at, attempts, request_id, accepted_request_id, detail FROM batch \
               WHERE account = $1 AND occurrence = $2 ORDER BY n, generation";
    ACCEPTED_SINCE = "SELECT CAST(COALESCE(SUM(friend_count), 0) AS BIGINT) FROM batch \
                      WHERE account = $1 AND ending = 'accepted' AND ended_at > $2";
    QUOTA = "SELECT month, read_at, quota, used FROM quota_reading WHERE account = $1 ORDER BY month DESC";
    SET_QUOTA = "INSERT INTO quota_reading (account, month, read_at, quota, used) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (account, month) DO UPDATE SET read_at = excluded.read_at, \
                 quota = excluded.quota, used = excluded.used";
    ACTS = "SELECT at, by, act, subject, detail FROM act WHERE account = $1 \
            ORDER BY at DESC, id DESC LIMIT CAST($2 AS BIGINT)";
    ADD_ACT = "INSERT INTO act (account, at, by, act, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)";
}

pub(super) async fn open_stride(
    conn: &mut Connection,
    account: AccountId,
    row: &StrideRow,
) -> Result<(), StoreError> {
    if row.upto.checked_sub(row.first).map(|batches| batches as usize) != Some(row.digests.len()) {
        return Err(corrupt("a stride", "there is not one digest for each of its batches"));
    }
    let query = sqlx::query(OPEN_STRIDE)
        .bind(account.0)
        .bind(row.occurrence.0)
        .bind(i64::from(row.first))
        .bind(i64::from(row.upto))
        .bind(row.opened_at.as_millis())
        .bind(text(&row.boot_id).into_owned())
        .bind(row.since_boot.as_millis())
        .bind(row.digests.concat());
    query.execute(conn).await.map(drop).map_err(failed("open a stride"))
}

pub(super) async fn strides(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Vec<StrideRow>, StoreError> {
    let query = sqlx::query_as(STRIDES).bind(account.0).bind(occurrence.0);
    let rows: Vec<StrideCells> = query.fetch_all(conn).await.map_err(failed("read strides"))?;
    rows.into_iter().map(StrideCells::read).collect()
}

pub(super) async fn batches(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Vec<BatchRow>, StoreError> {
    let query = sqlx::query_as(BATCHES).bind(account.0).bind(occurrence.0);
    let rows: Vec<BatchCells> = query.fetch_all(conn).await.map_err(failed("read batches"))?;
    rows.into_iter().map(BatchCells::read).collect()
}

pub(super) async fn accepted_since(
    conn: &mut Connection,
    account: AccountId,
    since: Instant,
) -> Result<u64, StoreError> {
    let query = sqlx::query_as(ACCEPTED_SINCE).bind(account.0).bind(since.as_millis());
    let (friends,): (i64,) = query.fetch_one(conn).await.map_err(failed("count accepted deliveries"))?;
    count_in("batch.friend_count", friends)
}

pub(super) async fn quota(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Vec<QuotaReading>, StoreError> {
    let query = sqlx::query_as(QUOTA).bind(account.0);
    let rows: Vec<(String, i64, Option<i64>, i64)> =
        query.fetch_all(conn).await.map_err(failed("read the quota readings"))?;
    rows.into_iter()
        .map(|(month, read_at, quota, used)| {
            let what = format!("quota_reading of {month}");
            let limit = quota.map(|quota| count_in(&what, quota)).transpose()?;
            Ok(QuotaReading { read_at: instant(read_at), limit, used: count_in(&what, used)?, month })
        })
        .collect()
}

pub(super) async fn set_quota(
    conn: &mut Connection,
    account: AccountId,
    reading: &QuotaReading,
) -> Result<(), StoreError> {
    let query = sqlx::query(SET_QUOTA)
        .bind(account.0)
        .bind(text(&reading.month).into_owned())
        .bind(reading.read_at.as_millis())
        .bind(reading.limit.map(count))
        .bind(count(reading.used));
    query.execute(conn).await.map(drop).map_err(failed("write a quota reading"))
}

pub(super) async fn acts(
    conn: &mut Connection,
    account: AccountId,
    limit: u32,
) -> Result<Vec<ActRow>, StoreError> {
    let query = sqlx::query_as(ACTS).bind(account.0).bind(i64::from(limit));
    let rows: Vec<(i64, String, String, String, String)> =
        query.fetch_all(conn).await.map_err(failed("read what people did"))?;
    let act = |(at, by, act, subject, detail)| ActRow { at: instant(at), by, act, subject, detail };
    Ok(rows.into_iter().map(act).collect())
}

pub(super) async fn add_act(
    conn: &mut Connection,
    account: AccountId,
    act: &ActRow,
) -> Result<(), StoreError> {
    let query = sqlx::query(ADD_ACT)
        .bind(account.0)
        .bind(act.at.as_millis())
        .bind(text(&act.by).into_owned())
        .bind(text(&act.act).into_owned())
        .bind(text(&act.subject).into_owned())
        .bind(text(&act.detail).into_owned());
    query.execute(conn).await.map(drop).map_err(failed("write what a person did"))
}
