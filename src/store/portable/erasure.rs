//! Friends who are erased and not forgotten yet, and what still names them. They are few: row by row.

use super::{Connection, failed};
use crate::domain::id::{AccountId, FriendId};
use crate::domain::outbox::Request;
use crate::store::codec::{ErasureCells, json};
use crate::store::{Erasure, Naming, StoreError};

statements! {
    ERASURES = "SELECT friend, seq, at, user_id, external_id FROM erasure WHERE account = $1 ORDER BY friend";
    ADD = "INSERT INTO erasure (account, friend, seq, at, user_id, external_id) VALUES ($1, $2, $3, $4, $5, $6) \
           ON CONFLICT (account, friend) DO NOTHING";
    FORGOTTEN = "DELETE FROM erasure WHERE account = $1 AND friend = $2";
    STRAYS = "SELECT id, intake FROM stray WHERE account = $1 AND id > $2 \
              ORDER BY id LIMIT CAST($3 AS BIGINT)";
    OUTBOX = "SELECT id, payload FROM outbox WHERE account = $1 AND id > $2 \
              ORDER BY id LIMIT CAST($3 AS BIGINT)";
    DROP_STRAY = "DELETE FROM stray WHERE account = $1 AND id = $2";
    DROP_REQUEST = "DELETE FROM outbox WHERE account = $1 AND id = $2";
    REDACT_REQUEST = "UPDATE outbox SET payload = $3 WHERE account = $1 AND id = $2";
    EXPIRIES = "DELETE FROM tag_expiry WHERE account = $1 AND friend = $2";
    // No start is earlier; without it SQLite walks all ways of the account instead of the friend's.
    COUNT_WAYS = "INSERT INTO enrollment_gone (account, drip, ending, ways) \
                  SELECT account, drip, ending, COUNT(*) FROM enrollment WHERE account = $1 AND friend = $2 \
                  AND started_at >= -62135596800000 AND standing = 'ended' GROUP BY account, drip, ending ON CONFLICT (account, drip, ending) \
                  DO UPDATE SET ways = enrollment_gone.ways + excluded.ways";
    WAYS = "DELETE FROM enrollment WHERE account = $1 AND friend = $2 AND started_at >= -62135596800000 \
            AND standing = 'ended'";
}

const FORGETTING: &str = "forget friends";

pub(super) async fn erasures(conn: &mut Connection, account: AccountId) -> Result<Vec<Erasure>, StoreError> {
    let query = sqlx::query_as(ERASURES).bind(account.0);
    let rows: Vec<ErasureCells> = query.fetch_all(conn).await.map_err(failed("read who is erased"))?;
    rows.into_iter().map(ErasureCells::read).collect()
}

pub(super) async fn naming(
    conn: &mut Connection,
    account: AccountId,
    place: Naming,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, String)>, StoreError> {
    let sql = match place {
        Naming::Strays => STRAYS,
        Naming::Outbox => OUTBOX,
    };
    let query = sqlx::query_as(sql).bind(account.0).bind(after).bind(i64::from(limit));
    query.fetch_all(conn).await.map_err(failed("look for friends' names"))
}

pub(super) async fn add(
    conn: &mut Connection,
    account: AccountId,
    erasures: &[Erasure],
) -> Result<(), StoreError> {
    for erasure in erasures {
        let ErasureCells(friend, seq, at, user, external_id) = ErasureCells::of(erasure);
        let query = sqlx::query(ADD).bind(account.0).bind(friend).bind(seq).bind(at);
        let query = query.bind(user).bind(external_id);
        query.execute(&mut *conn).await.map_err(failed(FORGETTING))?;
    }
    Ok(())
}

pub(super) async fn redact(
    conn: &mut Connection,
    account: AccountId,
    strays: &[i64],
    outbox: &[(i64, Option<Request>)],
) -> Result<(), StoreError> {
    let gone = outbox.iter().filter(|(_, request)| request.is_none());
    let gone = gone.map(|(id, _)| (DROP_REQUEST, id)).chain(strays.iter().map(|id| (DROP_STRAY, id)));
    for (sql, id) in gone {
        let query = sqlx::query(sql).bind(account.0).bind(*id);
        query.execute(&mut *conn).await.map_err(failed(FORGETTING))?;
    }
    for (id, request) in outbox {
        let Some(request) = request else { continue };
        let query = sqlx::query(REDACT_REQUEST).bind(account.0).bind(*id);
        let query = query.bind(json("outbox.payload", request)?);
        query.execute(&mut *conn).await.map_err(failed(FORGETTING))?;
    }
    Ok(())
}

pub(super) async fn forget(
    conn: &mut Connection,
    account: AccountId,
    friends: &[FriendId],
) -> Result<(), StoreError> {
    for friend in friends {
        // The counts before what they count.
        for sql in [EXPIRIES, COUNT_WAYS, WAYS] {
            let query = sqlx::query(sql).bind(account.0).bind(i64::from(friend.0));
            query.execute(&mut *conn).await.map_err(failed(FORGETTING))?;
        }
    }
    Ok(())
}

pub(super) async fn forgotten(
    conn: &mut Connection,
    account: AccountId,
    friends: &[FriendId],
) -> Result<(), StoreError> {
    for friend in friends {
        let query = sqlx::query(FORGOTTEN).bind(account.0).bind(i64::from(friend.0));
        query.execute(&mut *conn).await.map_err(failed(FORGETTING))?;
    }
    Ok(())
}
