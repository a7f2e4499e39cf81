//! The outbox.

use sqlx::postgres::PgConnection;

use super::column;
use crate::domain::id::AccountId;
use crate::store::codec::OutboxCells;

statements! {
    SET_OUTBOX = "INSERT INTO outbox (account, id, lane, payload, created_at, not_before, attempts, given_up_at, why) \
                  SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], \
                  $7::bigint[], $8::bigint[], $9::text[]) ON CONFLICT (account, id) DO UPDATE SET \
                  lane = excluded.lane, payload = excluded.payload, created_at = excluded.created_at, \
                  not_before = excluded.not_before, attempts = excluded.attempts, \
                  given_up_at = excluded.given_up_at, why = excluded.why";
    DROP_OUTBOX = "DELETE FROM outbox WHERE account = $1 AND id = ANY($2::bigint[])";
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
        .bind(column(&rows, |row| row.6))
        .bind(column(&rows, |row| row.7.clone()));
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn drop_outbox(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query(DROP_OUTBOX).bind(account.0).bind(ids).execute(conn).await.map(drop)
}
