//! The outbox.

use sqlx::sqlite::SqliteConnection;

use super::json;
use crate::domain::id::AccountId;
use crate::store::codec::OutboxCells;

statements! {
    SET_OUTBOX = "INSERT INTO outbox (account, id, kind, payload, created_at, not_before, attempts, ending, ended_at, \
                  detail) SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
                  value ->> 6, value ->> 7, value ->> 8 FROM jsonb_each($2) WHERE true ON CONFLICT (account, id) \
                  DO UPDATE SET kind = excluded.kind, payload = excluded.payload, \
                  created_at = excluded.created_at, not_before = excluded.not_before, \
                  attempts = excluded.attempts, ending = excluded.ending, ended_at = excluded.ended_at, \
                  detail = excluded.detail";
}

pub(in crate::store) async fn set_outbox(
    conn: &mut SqliteConnection,
    account: AccountId,
    rows: Vec<OutboxCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_OUTBOX).bind(account.0).bind(json(&rows)?);
    query.execute(conn).await.map(drop)
}
