//! Many rows at once: each call is one statement, its columns one array each.

pub(in crate::store) mod drip;
pub(in crate::store) mod outbox;

use sqlx::postgres::PgConnection;

use crate::domain::effect::DedupeId;
use crate::domain::id::{AccountId, FriendId, Seq};
use crate::domain::time::Instant;
use crate::store::codec::{BatchCells, EntryCells, FriendCells, InboxCells, RelayCells, StrayCells};
use crate::store::{CheckpointChunk, Fence};

statements! {
    INSERT_INBOX = "INSERT INTO inbox (account, received_at, source, intakes) \
                    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])";
    DELETE_INBOX = "DELETE FROM inbox WHERE account = $1 AND id = ANY($2)";
    INSERT_RELAYS = "INSERT INTO relay (account, received_at, signature, body) \
                     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])";
    DELETE_RELAYS = "DELETE FROM relay WHERE account = $1 AND id = ANY($2)";
    INSERT_STRAYS = "INSERT INTO stray (account, at, received_at, source, friends, intake) \
                     SELECT $1, $2, * FROM unnest($3::bigint[], $4::text[], $5::bigint[], $6::text[])";
    INSERT_KNOWN = "INSERT INTO known (account, id, kind, at) SELECT $1, id, kind, $2 \
                    FROM unnest($3::bytea[], $4::text[]) AS u (id, kind)";
    KNOWN = "SELECT id FROM known WHERE account = $1 AND id = ANY($2)";
    INSERT_ENTRIES = "INSERT INTO journal (account, seq, friend, at, kind, name, value, event_id, properties) \
                      SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
                      $7::text[], $8::text[], $9::text[])";
    ENTRIES = "SELECT seq, friend, at, kind, name, value, event_id, properties FROM journal \
               WHERE account = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    EVENTS = "SELECT seq, friend, at, kind, name, value, event_id, properties FROM journal \
              WHERE account = $1 AND seq > $2 AND seq <= $3 AND kind = 'event' ORDER BY seq LIMIT $4";
    CHANGES = "SELECT seq, friend, at, kind, name, value, event_id, properties FROM journal \
               WHERE account = $1 AND seq > $2 AND seq <= $3 AND kind <> 'event' ORDER BY seq LIMIT $4";
    SET_FRIENDS = "INSERT INTO friend (account, friend, user_id, status, status_at, followed_at, external_id, \
                   tags, attributes, erased_at, quarantined_at) SELECT $1, * FROM unnest($2::bigint[], $3::text[], \
                   $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::bigint[], \
                   $11::bigint[]) ON CONFLICT (account, friend) DO UPDATE SET \
                   user_id = excluded.user_id, status = excluded.status, status_at = excluded.status_at, \
                   followed_at = excluded.followed_at, external_id = excluded.external_id, \
                   tags = excluded.tags, attributes = excluded.attributes, erased_at = excluded.erased_at, \
                   quarantined_at = excluded.quarantined_at";
    FRIENDS = "SELECT friend, user_id, status, status_at, followed_at, external_id, tags, attributes, erased_at, \
               quarantined_at FROM friend WHERE account = $1 AND friend > $2 ORDER BY friend LIMIT $3";
    FRIENDS_BY_ID = "SELECT friend, user_id, status, status_at, followed_at, external_id, tags, attributes, \
                     erased_at, quarantined_at FROM friend WHERE account = $1 AND friend = ANY($2) ORDER BY friend";
    SET_BATCHES = "INSERT INTO batch (account, occurrence, n, generation, parent, friends, friend_count, \
                   opened_at, boot_id, since_boot, body_sha256, ending, ended_at, attempts, request_id, \
                   accepted_request_id, detail) SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], \
                   $4::bigint[], $5::bigint[], $6::bytea[], $7::bigint[], $8::bigint[], $9::text[], \
                   $10::bigint[], $11::bytea[], $12::text[], $13::bigint[], $14::bigint[], $15::text[], \
                   $16::text[], $17::text[]) ON CONFLICT (account, occurrence, n, generation) DO UPDATE SET \
                   parent = excluded.parent, friends = excluded.friends, friend_count = excluded.friend_count, \
                   opened_at = excluded.opened_at, boot_id = excluded.boot_id, since_boot = excluded.since_boot, \
                   body_sha256 = excluded.body_sha256, ending = excluded.ending, ended_at = excluded.ended_at, \
                   attempts = excluded.attempts, request_id = excluded.request_id, \
                   accepted_request_id = excluded.accepted_request_id, detail = excluded.detail";
    SET_CHUNKS = "INSERT INTO checkpoint_chunk (account, number, kind, key, chunk, token, seq, checksum, data) \
                  SELECT $1, $2, u.kind, u.key, u.chunk, $3, u.seq, u.checksum, u.data FROM unnest($4::text[], \
                  $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bytea[]) \
                  AS u (kind, key, chunk, seq, checksum, data) \
                  ON CONFLICT (account, number, kind, key, chunk) DO UPDATE SET token = excluded.token, \
                  seq = excluded.seq, checksum = excluded.checksum, data = excluded.data";
}

/// One column of the rows.
fn column<R, T>(rows: &[R], cell: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(cell).collect()
}

pub(super) async fn insert_inbox(conn: &mut PgConnection, rows: &[InboxCells]) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_INBOX)
        .bind(column(rows, |row| row.0))
        .bind(column(rows, |row| row.1))
        .bind(column(rows, |row| row.2.clone()))
        .bind(column(rows, |row| row.3.clone()));
    query.execute(conn).await.map(drop)
}

pub(super) async fn delete_inbox(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(DELETE_INBOX).bind(account.0).bind(ids);
    Ok(query.execute(conn).await?.rows_affected())
}

pub(super) async fn insert_relays(conn: &mut PgConnection, relays: &[RelayCells]) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_RELAYS)
        .bind(column(relays, |row| row.0))
        .bind(column(relays, |row| row.1))
        .bind(column(relays, |row| row.2.clone()))
        .bind(column(relays, |row| row.3.clone()));
    query.execute(conn).await.map(drop)
}

pub(super) async fn delete_relays(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query(DELETE_RELAYS).bind(account.0).bind(ids).execute(conn).await.map(drop)
}

pub(super) async fn insert_strays(
    conn: &mut PgConnection,
    account: AccountId,
    now: Instant,
    rows: Vec<StrayCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_STRAYS)
        .bind(account.0)
        .bind(now.as_millis())
        .bind(column(&rows, |row| row.0))
        .bind(column(&rows, |row| row.1.clone()))
        .bind(column(&rows, |row| row.2))
        .bind(column(&rows, |row| row.3.clone()));
    query.execute(conn).await.map(drop)
}

pub(super) async fn insert_known(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[DedupeId],
    now: Instant,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_KNOWN)
        .bind(account.0)
        .bind(now.as_millis())
        .bind(column(ids, |id| id.digest.to_vec()))
        .bind(column(ids, |id| id.kind.as_str()));
    query.execute(conn).await.map(drop)
}

pub(super) async fn known(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[DedupeId],
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let digests = column(ids, |id| id.digest.to_vec());
    sqlx::query_scalar(KNOWN).bind(account.0).bind(digests).fetch_all(conn).await
}

pub(super) async fn insert_entries(
    conn: &mut PgConnection,
    account: AccountId,
    rows: Vec<EntryCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(INSERT_ENTRIES)
        .bind(account.0)
        .bind(column(&rows, |row| row.0))
        .bind(column(&rows, |row| row.1))
        .bind(column(&rows, |row| row.2))
        .bind(column(&rows, |row| row.3.clone()))
        .bind(column(&rows, |row| row.4.clone()))
        .bind(column(&rows, |row| row.5.clone()))
        .bind(column(&rows, |row| row.6.clone()))
        .bind(column(&rows, |row| row.7.clone()));
    query.execute(conn).await.map(drop)
}

pub(super) async fn entries(
    conn: &mut PgConnection,
    account: AccountId,
    after: Seq,
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    let query = sqlx::query_as(ENTRIES).bind(account.0).bind(after.0).bind(i64::from(limit));
    query.fetch_all(conn).await
}

pub(super) async fn events(
    conn: &mut PgConnection,
    account: AccountId,
    (after, upto): (Seq, Seq),
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    let query = sqlx::query_as(EVENTS).bind(account.0).bind(after.0).bind(upto.0).bind(i64::from(limit));
    query.fetch_all(conn).await
}

pub(super) async fn changes(
    conn: &mut PgConnection,
    account: AccountId,
    (after, upto): (Seq, Seq),
    limit: u32,
) -> Result<Vec<EntryCells>, sqlx::Error> {
    let query = sqlx::query_as(CHANGES).bind(account.0).bind(after.0).bind(upto.0).bind(i64::from(limit));
    query.fetch_all(conn).await
}

pub(super) async fn set_friends(
    conn: &mut PgConnection,
    account: AccountId,
    rows: Vec<FriendCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_FRIENDS)
        .bind(account.0)
        .bind(column(&rows, |row| row.0))
        .bind(column(&rows, |row| row.1.clone()))
        .bind(column(&rows, |row| row.2.clone()))
        .bind(column(&rows, |row| row.3))
        .bind(column(&rows, |row| row.4))
        .bind(column(&rows, |row| row.5.clone()))
        .bind(column(&rows, |row| row.6.clone()))
        .bind(column(&rows, |row| row.7.clone()))
        .bind(column(&rows, |row| row.8))
        .bind(column(&rows, |row| row.9));
    query.execute(conn).await.map(drop)
}

pub(super) async fn friends(
    conn: &mut PgConnection,
    account: AccountId,
    after: Option<FriendId>,
    limit: u32,
) -> Result<Vec<FriendCells>, sqlx::Error> {
    let after = after.map_or(-1, |friend| i64::from(friend.0));
    let query = sqlx::query_as(FRIENDS).bind(account.0).bind(after).bind(i64::from(limit));
    query.fetch_all(conn).await
}

pub(super) async fn friends_by_id(
    conn: &mut PgConnection,
    account: AccountId,
    ids: &[FriendId],
) -> Result<Vec<FriendCells>, sqlx::Error> {
    let query = sqlx::query_as(FRIENDS_BY_ID).bind(account.0).bind(column(ids, |id| i64::from(id.0)));
    query.fetch_all(conn).await
}

pub(super) async fn set_batches(
    conn: &mut PgConnection,
    account: AccountId,
    rows: Vec<BatchCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_BATCHES)
        .bind(account.0)
        .bind(column(&rows, |row| row.occurrence))
        .bind(column(&rows, |row| row.n))
        .bind(column(&rows, |row| row.generation))
        .bind(column(&rows, |row| row.parent))
        .bind(column(&rows, |row| row.friends.clone()))
        .bind(column(&rows, |row| row.friend_count))
        .bind(column(&rows, |row| row.opened_at))
        .bind(column(&rows, |row| row.boot_id.clone()))
        .bind(column(&rows, |row| row.since_boot))
        .bind(column(&rows, |row| row.body_sha256.clone()))
        .bind(column(&rows, |row| row.ending.clone()))
        .bind(column(&rows, |row| row.ended_at))
        .bind(column(&rows, |row| row.attempts))
        .bind(column(&rows, |row| row.request_id.clone()))
        .bind(column(&rows, |row| row.accepted_request_id.clone()))
        .bind(column(&rows, |row| row.detail.clone()));
    query.execute(conn).await.map(drop)
}

pub(super) async fn insert_chunks(
    conn: &mut PgConnection,
    fence: &Fence,
    number: i64,
    chunks: &[CheckpointChunk],
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_CHUNKS)
        .bind(fence.account.0)
        .bind(number)
        .bind(fence.token)
        .bind(column(chunks, |chunk| chunk.kind.clone()))
        .bind(column(chunks, |chunk| chunk.key.clone()))
        .bind(column(chunks, |chunk| i64::from(chunk.chunk)))
        .bind(column(chunks, |chunk| chunk.seq.0))
        .bind(column(chunks, |chunk| chunk.checksum))
        .bind(column(chunks, |chunk| chunk.data.clone()));
    query.execute(conn).await.map(drop)
}
