//! Webhooks on their way to one further system. They are appended in bulk with the inbox rows of the same webhook.

use super::{Connection, bulk, failed};
use crate::domain::id::AccountId;
use crate::store::codec::{count_in, instant};
use crate::store::{RelayRow, StoreError, Waiting};

statements! {
    RELAYS = "SELECT id, received_at, signature, body FROM relay WHERE account = $1 \
              ORDER BY id LIMIT CAST($2 AS BIGINT)";
    RELAY_WAITING = "SELECT COUNT(*), MIN(received_at) FROM relay WHERE account = $1";
}

pub(super) async fn relays(
    conn: &mut Connection,
    account: AccountId,
    limit: u32,
) -> Result<Vec<RelayRow>, StoreError> {
    let query = sqlx::query_as(RELAYS).bind(account.0).bind(i64::from(limit));
    let rows: Vec<(i64, i64, String, String)> =
        query.fetch_all(conn).await.map_err(failed("read the relay"))?;
    let row = |(id, received_at, signature, body)| RelayRow {
        id,
        received_at: instant(received_at),
        signature,
        body,
    };
    Ok(rows.into_iter().map(row).collect())
}

pub(super) async fn relay_waiting(conn: &mut Connection, account: AccountId) -> Result<Waiting, StoreError> {
    let query = sqlx::query_as(RELAY_WAITING).bind(account.0);
    let (rows, oldest): (i64, Option<i64>) =
        query.fetch_one(conn).await.map_err(failed("count the relay"))?;
    Ok(Waiting { rows: count_in("relay", rows)?, oldest: oldest.map(instant) })
}

/// One that is not there any more is no failure: it was relayed.
pub(super) async fn relayed(
    conn: &mut Connection,
    account: AccountId,
    rows: &[i64],
) -> Result<(), StoreError> {
    bulk::delete_relays(conn, account, rows).await.map_err(failed("let relayed webhooks go"))
}
