//! The outbox.

use sqlx::sqlite::SqliteConnection;

use super::json;
use crate::domain::id::AccountId;
use crate::store::codec::OutboxCells;

statements! {
    SET_OUTBOX = "INSERT INTO outbox (account, id, lane, payload, created_at, not_before, attempts, given_up_at, why) \
                  SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
                  value ->> 6, value ->> 7 FROM jsonb_each($2) WHERE true ON CONFLICT (account, id) DO UPDATE SET \
                  lane = excluded.lane, payload = excluded.payload, created_at = excluded.created_at, \
                  not_before = excluded.not_before, attempts = excluded.attempts, \
                  given_up_at = excluded.given_up_at, why = excluded.why";
    DROP_OUTBOX = "DELETE FROM outbox WHERE account = $1 AND id IN (SELECT value FROM json_each($2))";
}

pub(in crate::store) async fn set_outbox(
    conn: &mut SqliteConnection,
    account: AccountId,
    rows: Vec<OutboxCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_OUTBOX).bind(account.0).bind(json(&rows)?);
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn drop_outbox(
    conn: &mut SqliteConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query(DROP_OUTBOX).bind(account.0).bind(json(&ids)?).execute(conn).await.map(drop)
}
