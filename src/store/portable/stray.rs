//! What named no one friend. The owner writes strays in bulk, in the transaction that consumes their inbox rows.

use super::{Connection, failed};
use crate::domain::friend::Miss;
use crate::domain::id::AccountId;
use crate::store::codec::{count_in, instant, json_in};
use crate::store::{StoreError, StrayRow};

statements! {
    NEWEST = "SELECT id, at, received_at, source, friends, intake FROM stray WHERE account = $1 \
              ORDER BY id DESC LIMIT CAST($2 AS BIGINT)";
    COUNT = "SELECT COUNT(*) FROM stray WHERE account = $1";
    FORGET = "DELETE FROM stray WHERE account = $1 AND id <= $2";
}

pub(super) async fn strays(
    conn: &mut Connection,
    account: AccountId,
    limit: u32,
) -> Result<Vec<StrayRow>, StoreError> {
    let query = sqlx::query_as(NEWEST).bind(account.0).bind(i64::from(limit));
    let rows: Vec<(i64, i64, i64, String, i64, String)> =
        query.fetch_all(conn).await.map_err(failed("read what named no friend"))?;
    rows.into_iter()
        .map(|(id, at, received_at, source, friends, intake)| {
            let what = format!("stray {id}");
            let reason = match count_in(&what, friends)? {
                0 => Miss::Unknown,
                friends => Miss::Shared { friends },
            };
            let intake = json_in(&what, &intake)?;
            Ok(StrayRow { id, at: instant(at), received_at: instant(received_at), source, reason, intake })
        })
        .collect()
}

pub(super) async fn stray_count(conn: &mut Connection, account: AccountId) -> Result<u64, StoreError> {
    let query = sqlx::query_as(COUNT).bind(account.0);
    let (count,): (i64,) = query.fetch_one(conn).await.map_err(failed("count what named no friend"))?;
    count_in("stray", count)
}

pub(super) async fn forget_strays(
    conn: &mut Connection,
    account: AccountId,
    upto: i64,
) -> Result<(), StoreError> {
    let query = sqlx::query(FORGET).bind(account.0).bind(upto);
    query.execute(conn).await.map(drop).map_err(failed("forget what named no friend"))
}
