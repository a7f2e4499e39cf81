//! Reading the inbox. Appending and consuming move rows in bulk.

use super::{Connection, failed};
use crate::domain::id::AccountId;
use crate::store::codec::{count_in, instant, json_in};
use crate::store::{InboxRow, StoreError};

statements! {
    OLDEST = "SELECT id, received_at, source, intakes FROM inbox WHERE account = $1 \
              ORDER BY received_at, id LIMIT $2";
    LEN = "SELECT COUNT(*) FROM inbox WHERE account = $1";
}

pub(super) async fn inbox(
    conn: &mut Connection,
    account: AccountId,
    limit: u32,
) -> Result<Vec<InboxRow>, StoreError> {
    let query = sqlx::query_as(OLDEST).bind(account.0).bind(i64::from(limit));
    let rows: Vec<(i64, i64, String, String)> =
        query.fetch_all(conn).await.map_err(failed("read the inbox"))?;
    rows.into_iter()
        .map(|(id, received_at, source, intakes)| {
            let intakes = json_in(&format!("inbox {id}, column intakes"), &intakes)?;
            Ok(InboxRow { id, received_at: instant(received_at), source, intakes })
        })
        .collect()
}

pub(super) async fn inbox_len(conn: &mut Connection, account: AccountId) -> Result<u64, StoreError> {
    let query = sqlx::query_as(LEN).bind(account.0);
    let (len,): (i64,) = query.fetch_one(conn).await.map_err(failed("count the inbox"))?;
    count_in("inbox", len)
}
