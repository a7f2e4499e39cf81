//! What went wrong lately and stays as it is until a person does something, or for ever.

use super::{Connection, failed};
use crate::domain::id::{AccountId, OccurrenceId};
use crate::domain::time::Instant;
use crate::store::codec::count_in;
use crate::store::{StoreError, Troubles};

statements! {
    TROUBLES = "SELECT \
        (SELECT CAST(COALESCE(SUM(friend_count), 0) AS BIGINT) FROM delivery WHERE account = $1 \
            AND counted <> 'no' AND outcome = 'unknown' AND effective_at >= $2), \
        (SELECT MAX(occurrence) FROM delivery WHERE account = $1 \
            AND counted <> 'no' AND outcome = 'unknown' AND effective_at >= $2), \
        (SELECT COUNT(*) FROM occurrence WHERE account = $1 AND due_at >= $3 AND state = 'refused'), \
        (SELECT COUNT(*) FROM occurrence WHERE account = $1 AND due_at >= $3 AND state = 'missed' \
            AND (reason IS NULL OR reason NOT LIKE '%skipped_by_person%')), \
        (SELECT COUNT(*) FROM outbox WHERE account = $1 AND given_up_at >= $3)";
}

pub(super) async fn troubles(
    conn: &mut Connection,
    account: AccountId,
    (unknown_since, since): (Instant, Instant),
) -> Result<Troubles, StoreError> {
    type Row = (i64, Option<i64>, i64, i64, i64);
    let query = sqlx::query_as(TROUBLES).bind(account.0);
    let query = query.bind(unknown_since.as_millis()).bind(since.as_millis());
    let (unknown, last_unknown, refused, missed, given_up): Row =
        query.fetch_one(conn).await.map_err(failed("count what went wrong"))?;
    Ok(Troubles {
        unknown: count_in("delivery.friend_count", unknown)?,
        last_unknown: last_unknown.map(OccurrenceId),
        refused: count_in("occurrence", refused)?,
        missed: count_in("occurrence", missed)?,
        given_up: count_in("outbox", given_up)?,
    })
}
