//! Many rows at once: each call crosses to SQLite's thread once, with all rows in one JSON value. Its elements are read
//! as `jsonb_each` gives them, already parsed: by `json_each` each column would parse its row again.

pub(in crate::store) mod drip;
pub(in crate::store) mod outbox;

use sqlx::sqlite::SqliteConnection;

use crate::domain::effect::DedupeId;
use crate::domain::id::{AccountId, FriendId, Seq};
use crate::domain::time::Instant;
use crate::store::codec::{BatchCells, EntryCells, FriendCells, InboxCells, RelayCells, StrayCells};
use crate::store::{CheckpointChunk, Fence};

statements! {
    INSERT_INBOX = "INSERT INTO inbox (account, received_at, source, intakes) SELECT value ->> 0, value ->> 1, \
                    value ->> 2, value ->> 3 FROM jsonb_each($1)";
    INSERT_LONG = "INSERT INTO inbox (account, received_at, source, intakes) VALUES ($1, $2, $3, $4)";
    // The plus keeps the planner from walking all of the account's rows for the few ids.
    DELETE_INBOX = "DELETE FROM inbox WHERE +account = $1 AND id IN (SELECT value FROM json_each($2))";
    INSERT_RELAYS = "INSERT INTO relay (account, received_at, signature, body) SELECT value ->> 0, value ->> 1, \
                     value ->> 2, value ->> 3 FROM jsonb_each($1)";
    DELETE_RELAYS = "DELETE FROM relay WHERE +account = $1 AND id IN (SELECT value FROM json_each($2))";
    INSERT_STRAYS = "INSERT INTO stray (account, at, received_at, source, friends, intake) SELECT $1, $2, \
                     value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each($3)";
    INSERT_KNOWN = "INSERT INTO known (account, id, kind, at) SELECT $1, unhex(value ->> 0), value ->> 1, $2 \
                    FROM jsonb_each($3)";
    KNOWN = "SELECT id FROM known WHERE account = $1 AND id IN (SELECT unhex(value) FROM json_each($2))";
    INSERT_ENTRIES = "INSERT INTO journal (account, seq, friend, at, kind, name, value, event_id, properties) \
                      SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
                      value ->> 6, value ->> 7 FROM jsonb_each($2)";
    ENTRIES = "SELECT json_group_array(json_array(seq, friend, at, kind, name, value, event_id, properties) \
               ORDER BY seq) FROM (SELECT * FROM journal WHERE account = $1 AND seq > $2 \
               ORDER BY seq LIMIT CAST($3 AS BIGINT))";
    EVENTS = "SELECT json_group_array(json_array(seq, friend, at, kind, name, value, event_id, properties) \
              ORDER BY seq) FROM (SELECT * FROM journal WHERE account = $1 AND seq > $2 AND seq <= $3 \
              AND kind = 'event' ORDER BY seq LIMIT CAST($4 AS BIGINT))";
    CHANGES = "SELECT json_group_array(json_array(seq, friend, at, kind, name, value, event_id, properties) \
               ORDER BY seq) FROM (SELECT * FROM journal WHERE account = $1 AND seq > $2 AND seq <= $3 \
               AND kind <> 'event' ORDER BY seq LIMIT CAST($4 AS BIGINT))";
    SET_FRIENDS = "INSERT INTO friend (account, friend, user_id, status, status_at, followed_at, external_id, \
                   tags, attributes, erased_at, quarantined_at) SELECT $1, value ->> 0, value ->> 1, value ->> 2, \
                   value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9 \
                   FROM jsonb_each($2) WHERE true ON CONFLICT (account, friend) DO UPDATE SET \
                   user_id = excluded.user_id, status = excluded.status, status_at = excluded.status_at, \
                   followed_at = excluded.followed_at, external_id = excluded.external_id, \
                   tags = excluded.tags, attributes = excluded.attributes, erased_at = excluded.erased_at, \
                   quarantined_at = excluded.quarantined_at";
    FRIENDS = "SELECT json_group_array(json_array(friend, user_id, status, status_at, followed_at, external_id, \
               tags, attributes, erased_at, quarantined_at) ORDER BY friend) FROM (SELECT * FROM friend \
               WHERE account = $1 AND friend > $2 ORDER BY friend LIMIT CAST($3 AS BIGINT))";
    FRIENDS_BY_ID = "SELECT json_group_array(json_array(friend, user_id, status, status_at, followed_at, \
                     external_id, tags, attributes, erased_at, quarantined_at) ORDER BY friend) FROM friend \
                     WHERE account = $1 AND friend IN (SELECT value FROM json_each($2))";
    SET_BATCHES = "INSERT INTO batch (account, occurrence, n, generation, parent, friends, friend_count, \
                   opened_at, boot_id, since_boot, body_sha256, ending, ended_at, attempts, request_id, \
                   accepted_request_id, detail) SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, \
                   unhex(value ->> 4), value ->> 5, value ->> 6, value ->> 7, value ->> 8, unhex(value ->> 9), \
                   value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15 \
                   FROM jsonb_each($2) WHERE true ON CONFLICT (account, occurrence, n, generation) DO UPDATE SET \
                   parent = excluded.parent, friends = excluded.friends, friend_count = excluded.friend_count, \
                   opened_at = excluded.opened_at, boot_id = excluded.boot_id, since_boot = excluded.since_boot, \
                   body_sha256 = excluded.body_sha256, ending = excluded.ending, ended_at = excluded.ended_at, \
                   attempts = excluded.attempts, request_id = excluded.request_id, \
                   accepted_request_id = excluded.accepted_request_id, detail = excluded.detail";
    SET_CHUNK = "INSERT INTO checkpoint_chunk (account, number, kind, key, chunk, token, seq, checksum, data) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (account, number, kind, key, chunk) \
                 DO UPDATE SET token = excluded.token, seq = excluded.seq, checksum = excluded.checksum, \
                 data = excluded.data";
}

/// A row of the inbox beyond this goes alone.
const LONG_BYTES: usize = 32 << 10;

fn json<T: serde::Serialize>(value: &T) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub(super) async fn insert_inbox(
    conn: &mut SqliteConnection,
    rows: &[InboxCells],
) -> Result<(), sqlx::Error> {
    for run in rows.chunk_by(|one, next| !is_long(one) && !is_long(next)) {
        let query = match run {
            [row] if is_long(row) => {
                sqlx::query(INSERT_LONG).bind(row.0).bind(row.1).bind(row.2.clone()).bind(row.3.clone())
            }
            short => sqlx::query(INSERT_INBOX).bind(json(&short)?),
        };
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

/// Whether to wrap a row in JSON once more, and read it back, costs more than a hop of its own: an import's is as long
/// as thousands of webhooks.
fn is_long(row: &InboxCells) -> bool {
    row.3.len() > LONG_BYTES
}

pub(super) async fn delete_inbox(
    conn: &mut SqliteConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(DELETE_INBOX).bind(account.0).bind(json(&ids)?);
    Ok(query.execute(conn).await?.rows_affected())
}

pub(super) async fn insert_relays(
    conn: &mut SqliteConnection,
    relays: &[RelayCells],
) -> Result<(), sqlx::Error> {
    if relays.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_RELAYS).bind(json(&relays)?).execute(conn).await.map(drop)
}

pub(super) async fn delete_relays(
    conn: &mut SqliteConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query(DELETE_RELAYS).bind(account.0).bind(json(&ids)?).execute(conn).await.map(drop)
}

pub(super) async fn insert_strays(
    conn: &mut SqliteConnection,
    account: AccountId,
    now: Instant,
    cells: Vec<StrayCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_STRAYS).bind(account.0).bind(now.as_millis()).bind(json(&cells)?);
    query.execute(conn).await.map(drop)
}

/// In the order of the table: neighbours are found on one page.
fn in_order(ids: &[DedupeId]) -> Vec<DedupeId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable_by_key(|id| id.digest);
    ids
}

pub(super) async fn insert_known(
    conn: &mut SqliteConnection,
    account: AccountId,
    ids: &[DedupeId],
    now: Instant,
) -> Result<(), sqlx::Error> {
    let row = |id: DedupeId| (hex::encode(id.digest), id.kind.as_str());
    let rows: Vec<_> = in_order(ids).into_iter().map(row).collect();
    let query = sqlx::query(INSERT_KNOWN).bind(account.0).bind(now.as_millis()).bind(json(&rows)?);
    query.execute(conn).await.map(drop)
}

pub(super) async fn known(
    conn: &mut SqliteConnection,
    account: AccountId,
    ids: &[DedupeId],
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let digests: Vec<String> = in_order(ids).into_iter().map(|id| hex::encode(id.digest)).collect();
    sqlx::query_scalar(KNOWN).bind(account.0).bind(json(&digests)?).fetch_all(conn).await
}

pub(super) async fn insert_entries(
    conn: &mut SqliteConnection,
    account: AccountId,
    cells: Vec<EntryCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_ENTRIES).bind(account.0).bind(json(&cells)?);
    query.execute(conn).await.map(drop)
}

pub(super) async fn entries(
    conn: &mut SqliteConnection,
    account: AccountId,
    after: Seq,
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    let query = sqlx::query_as(ENTRIES).bind(account.0).bind(after.0).bind(i64::from(limit));
    let (rows,): (String,) = query.fetch_one(conn).await?;
    from_json(&rows)
}

pub(super) async fn events(
    conn: &mut SqliteConnection,
    account: AccountId,
    range: (Seq, Seq),
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    of_range(EVENTS, conn, account, range, limit).await
}

pub(super) async fn changes(
    conn: &mut SqliteConnection,
    account: AccountId,
    range: (Seq, Seq),
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    of_range(CHANGES, conn, account, range, limit).await
}

async fn of_range(
    statement: &'static str,
    conn: &mut SqliteConnection,
    account: AccountId,
    (after, upto): (Seq, Seq),
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    let query = sqlx::query_as(statement).bind(account.0).bind(after.0).bind(upto.0).bind(i64::from(limit));
    let (rows,): (String,) = query.fetch_one(conn).await?;
    from_json(&rows)
}

pub(super) async fn set_friends(
    conn: &mut SqliteConnection,
    account: AccountId,
    cells: Vec<FriendCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_FRIENDS).bind(account.0).bind(json(&cells)?);
    query.execute(conn).await.map(drop)
}

pub(super) async fn friends(
    conn: &mut SqliteConnection,
    account: AccountId,
    after: Option<FriendId>,
    limit: u32,
) -> Result<Vec<FriendCells>, sqlx::Error> {
    let after = after.map_or(-1, |friend| i64::from(friend.0));
    let query = sqlx::query_as(FRIENDS).bind(account.0).bind(after).bind(i64::from(limit));
    let (rows,): (String,) = query.fetch_one(conn).await?;
    from_json(&rows)
}

pub(super) async fn friends_by_id(
    conn: &mut SqliteConnection,
    account: AccountId,
    ids: &[FriendId],
) -> Result<Vec<FriendCells>, sqlx::Error> {
    let query = sqlx::query_as(FRIENDS_BY_ID).bind(account.0).bind(json(&ids)?);
    let (rows,): (String,) = query.fetch_one(conn).await?;
    from_json(&rows)
}

pub(super) async fn set_batches(
    conn: &mut SqliteConnection,
    account: AccountId,
    cells: Vec<BatchCells>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = cells
        .into_iter()
        .map(|b| {
            (
                b.occurrence,
                b.n,
                b.generation,
                b.parent,
                b.friends.map(hex::encode),
                b.friend_count,
                b.opened_at,
                b.boot_id,
                b.since_boot,
                hex::encode(b.body_sha256),
                b.ending,
                b.ended_at,
                b.attempts,
                b.request_id,
                b.accepted_request_id,
                b.detail,
            )
        })
        .collect();
    let query = sqlx::query(SET_BATCHES).bind(account.0).bind(json(&rows)?);
    query.execute(conn).await.map(drop)
}

pub(super) async fn insert_chunks(
    conn: &mut SqliteConnection,
    fence: &Fence,
    number: i64,
    chunks: &[CheckpointChunk],
) -> Result<(), sqlx::Error> {
    // A chunk is kilobytes: the hop to SQLite's thread is small beside it.
    for chunk in chunks {
        let query = sqlx::query(SET_CHUNK)
            .bind(fence.account.0)
            .bind(number)
            .bind(chunk.kind.clone())
            .bind(chunk.key.clone())
            .bind(i64::from(chunk.chunk))
            .bind(fence.token)
            .bind(chunk.seq.0)
            .bind(chunk.checksum)
            .bind(chunk.data.clone());
        query.execute(&mut *conn).await?;
    }
    Ok(())
}
