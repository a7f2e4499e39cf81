//! The outbox.

use sqlx::postgres::PgConnection;

use super::column;
use crate::domain::id::AccountId;
use crate::store::codec::OutboxCells;

statements! {
    SET_OUTBOX = "INSERT INTO outbox (account, id, kind, payload, created_at, not_before, attempts, ending, ended_at, \
                  detail) SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], \
                  $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::text[]) ON CONFLICT (account, id) \
                  DO UPDATE SET kind = excluded.kind, payload = excluded.payload, \
                  created_at = excluded.created_at, not_before = excluded.not_before, \
                  attempts = excluded.attempts, ending = excluded.ending, ended_at = excluded.ended_at, \
                  detail = excluded.detail";
}

pub(in crate::store) async fn set_outbox(
    conn: &mut PgConnection,
    account: AccountId,
    rows: Vec<OutboxCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_OUTBOX)
        .bind(account.0)
        .bind(column(&rows, |row| row.0))
        .bind(column(&rows, |row| row.1.clone()))
        .bind(column(&rows, |row| row.2.clone()))
        .bind(column(&rows, |row| row.3))
        .bind(column(&rows, |row| row.4))
        .bind(column(&rows, |row| row.5))
        .bind(column(&rows, |row| row.6.clone()))
        .bind(column(&rows, |row| row.7))
        .bind(column(&rows, |row| row.8.clone()));
    query.execute(conn).await.map(drop)
}
