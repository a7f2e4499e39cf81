//! The lease and its fence.

use super::{Connection, failed};
use crate::domain::id::AccountId;
use crate::domain::time::{Instant, Span};
use crate::store::codec::{instant, text};
use crate::store::{Claim, Fence, LeaseRow, StoreError};

statements! {
    MEET = "INSERT INTO account_lease (account, token, seq, holder, expires_at, seen_at) \
            VALUES ($1, NULL, 0, '', 0, NULL) ON CONFLICT (account) DO NOTHING";
    // Changes nothing but takes the row: two claims at once go one after the other, on any database.
    LOCK = "UPDATE account_lease SET seq = seq WHERE account = $1";
    READ = "SELECT token, seq, holder, expires_at, seen_at FROM account_lease WHERE account = $1";
    GRANT = "UPDATE account_lease SET token = $2, seq = seq + 1, holder = $3, expires_at = $4, \
             seen_at = CASE WHEN seen_at > $5 THEN seen_at ELSE $5 END WHERE account = $1 RETURNING seq";
    ADVANCE = "UPDATE account_lease SET seq = seq + 1, \
               seen_at = CASE WHEN seen_at > $4 THEN seen_at ELSE $4 END \
               WHERE account = $1 AND token = $2 AND seq = $3";
    EXTEND = "UPDATE account_lease SET expires_at = $2 WHERE account = $1";
    ACCEPT = "UPDATE account_lease SET seen_at = $2 WHERE account = $1";
    FREE = "UPDATE account_lease SET token = NULL, expires_at = $2 WHERE account = $1";
}

type Lease = (Option<i64>, i64, String, i64, Option<i64>);

async fn read(conn: &mut Connection, account: AccountId) -> Result<Option<Lease>, sqlx::Error> {
    sqlx::query_as(READ).bind(account.0).fetch_optional(conn).await
}

pub(super) async fn claim(
    conn: &mut Connection,
    account: AccountId,
    asker: &str,
    token: i64,
    now: Instant,
    lasts: Span,
) -> Result<Claim, StoreError> {
    const CLAIM: &str = "claim the lease";
    let asker = text(asker);
    sqlx::query(MEET).bind(account.0).execute(&mut *conn).await.map_err(failed(CLAIM))?;
    sqlx::query(LOCK).bind(account.0).execute(&mut *conn).await.map_err(failed(CLAIM))?;
    let Some((held, _, holder, expires_at, seen_at)) = read(conn, account).await.map_err(failed(CLAIM))?
    else {
        return Err(StoreError::Failed { operation: CLAIM, source: sqlx::Error::RowNotFound });
    };
    if held.is_some() && instant(expires_at) > now && holder != asker {
        return Ok(Claim::Held { holder, expires_at: instant(expires_at) });
    }
    let (seq,): (i64,) = sqlx::query_as(GRANT)
        .bind(account.0)
        .bind(token)
        .bind(&*asker)
        .bind((now + lasts).as_millis())
        .bind(now.as_millis())
        .fetch_one(conn)
        .await
        .map_err(failed(CLAIM))?;
    Ok(Claim::Granted { fence: Fence { account, token, seq }, seen_at: seen_at.map(instant) })
}

/// The first statement of every owner's transaction: whoever finds no row to advance is no owner any more.
pub(super) async fn advance(conn: &mut Connection, fence: &Fence, now: Instant) -> Result<(), StoreError> {
    let advanced = sqlx::query(ADVANCE)
        .bind(fence.account.0)
        .bind(fence.token)
        .bind(fence.seq)
        .bind(now.as_millis())
        .execute(conn)
        .await
        .map_err(failed("advance the fence"))?;
    if advanced.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Fenced { account: fence.account.0 }) }
}

pub(super) async fn renew(
    conn: &mut Connection,
    fence: &Fence,
    now: Instant,
    lasts: Span,
) -> Result<(), StoreError> {
    advance(conn, fence, now).await?;
    let until = (now + lasts).as_millis();
    let extend = sqlx::query(EXTEND).bind(fence.account.0).bind(until);
    extend.execute(conn).await.map(drop).map_err(failed("renew the lease"))
}

/// Follows [`advance`] in the same transaction, which has kept the latest instant.
pub(super) async fn accept_clock(
    conn: &mut Connection,
    account: AccountId,
    now: Instant,
) -> Result<(), StoreError> {
    let accept = sqlx::query(ACCEPT).bind(account.0).bind(now.as_millis());
    accept.execute(conn).await.map(drop).map_err(failed("accept the clock"))
}

pub(super) async fn release(conn: &mut Connection, fence: &Fence, now: Instant) -> Result<(), StoreError> {
    advance(conn, fence, now).await?;
    let free = sqlx::query(FREE).bind(fence.account.0).bind(now.as_millis());
    free.execute(conn).await.map(drop).map_err(failed("release the lease"))
}

pub(super) async fn lease(conn: &mut Connection, account: AccountId) -> Result<Option<LeaseRow>, StoreError> {
    let row = read(conn, account).await.map_err(failed("read the lease"))?;
    Ok(row.and_then(|(_, seq, holder, expires_at, seen_at)| {
        // Without an instant seen nobody has ever been granted it.
        let seen_at = instant(seen_at?);
        Some(LeaseRow { holder, expires_at: instant(expires_at), seq, seen_at })
    }))
}
