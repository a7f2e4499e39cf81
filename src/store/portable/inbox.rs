//! Reading the inbox. Appending and consuming move rows in bulk.

use super::{Connection, failed};
use crate::domain::id::AccountId;
use crate::store::codec::{count, count_in, instant, json_in};
use crate::store::{InboxRow, StoreError};

/// Rows are read up to so many bytes of intakes, some thousands of them, so that applying a slice holds SQLite's one
/// writer for its 50 ms at most. The first row is read whatever its size.
const SLICE_BYTES: i64 = 1 << 20;

statements! {
    SIZES = "SELECT CAST(octet_length(intakes) AS BIGINT) FROM inbox WHERE account = $1 \
             ORDER BY received_at, id LIMIT CAST($2 AS BIGINT)";
    OLDEST = "SELECT id, received_at, source, intakes FROM inbox WHERE account = $1 \
              ORDER BY received_at, id LIMIT CAST($2 AS BIGINT)";
    LEN = "SELECT COUNT(*) FROM inbox WHERE account = $1";
}

pub(super) async fn inbox(
    conn: &mut Connection,
    account: AccountId,
    limit: u32,
) -> Result<Vec<InboxRow>, StoreError> {
    let query = sqlx::query_as(SIZES).bind(account.0).bind(i64::from(limit));
    let sizes: Vec<(i64,)> = query.fetch_all(&mut *conn).await.map_err(failed("measure the inbox"))?;
    let mut bytes = 0;
    let fits = |(size,): &&(i64,)| {
        let first = bytes == 0;
        bytes += size;
        first || bytes <= SLICE_BYTES
    };
    let rows = count(sizes.iter().take_while(fits).count() as u64);
    let query = sqlx::query_as(OLDEST).bind(account.0).bind(rows);
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
