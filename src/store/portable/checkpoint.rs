//! Checkpoints of the index: written over several transactions, valid all at once.
//!
//! Chunks of the checkpoint in the making carry the number after the manifest's, and the token of the owner that
//! writes them; the manifest's number makes them valid, and from then on they stand for the older ones of the same
//! places, which are pruned later. A crash in between leaves the last complete checkpoint untouched.

use std::collections::BTreeMap;

use super::{Connection, bulk, failed};
use crate::domain::id::AccountId;
use crate::domain::id::Seq;
use crate::store::codec::small;
use crate::store::{Checkpoint, CheckpointChunk, ChunkKey, Fence, StoreError};

statements! {
    NUMBER = "SELECT number FROM checkpoint_manifest WHERE account = $1";
    ABANDONED = "DELETE FROM checkpoint_chunk WHERE account = $1 AND number > $2 AND token <> $3";
    KEYS = "SELECT kind, key, chunk, number, checksum FROM checkpoint_chunk WHERE account = $1 AND number <= $2";
    COMPLETE = "INSERT INTO checkpoint_manifest (account, number, seq, chunks, checksum) \
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET number = excluded.number, \
                seq = excluded.seq, chunks = excluded.chunks, checksum = excluded.checksum";
    FORGET_MANIFEST = "DELETE FROM checkpoint_manifest WHERE account = $1";
    FORGET_CHUNKS = "DELETE FROM checkpoint_chunk WHERE account = $1";
    MANIFEST = "SELECT number, seq, chunks, checksum FROM checkpoint_manifest WHERE account = $1";
    CHUNKS = "SELECT kind, key, chunk, seq, checksum, data FROM checkpoint_chunk WHERE account = $1 \
              AND number = $2 AND kind = $3 AND key = $4 AND chunk >= $5 AND chunk <= $6 ORDER BY chunk";
    ALL_KEYS = "SELECT kind, key, chunk, number FROM checkpoint_chunk WHERE account = $1";
    UNFINISHED = "SELECT c.kind, c.key, c.chunk, c.number FROM checkpoint_chunk c \
                  JOIN account_lease l ON l.account = c.account \
                  WHERE c.account = $1 AND c.number > $2 AND (l.token IS NULL OR c.token <> l.token)";
    DELETE = "DELETE FROM checkpoint_chunk WHERE account = $1 AND number = $2 AND kind = $3 AND key = $4 \
              AND chunk = $5";
}

/// Chunks pruned at once: about as many megabytes.
const A_SLICE: usize = 16;

async fn number(conn: &mut Connection, account: AccountId) -> Result<i64, StoreError> {
    let query = sqlx::query_as(NUMBER).bind(account.0);
    let row: Option<(i64,)> = query.fetch_optional(conn).await.map_err(failed("read a checkpoint"))?;
    Ok(row.map_or(0, |(number,)| number))
}

/// Whatever an owner before this one did not complete never becomes part of this one's checkpoint.
async fn clear_abandoned(conn: &mut Connection, fence: &Fence, number: i64) -> Result<(), StoreError> {
    let abandoned = sqlx::query(ABANDONED).bind(fence.account.0).bind(number).bind(fence.token);
    abandoned.execute(conn).await.map(drop).map_err(failed("clear an abandoned checkpoint"))
}

pub(super) async fn write_chunks(
    conn: &mut Connection,
    fence: &Fence,
    chunks: &[CheckpointChunk],
) -> Result<(), StoreError> {
    let number = number(conn, fence.account).await?;
    clear_abandoned(conn, fence, number).await?;
    bulk::insert_chunks(conn, fence, number + 1, chunks).await.map_err(failed("write checkpoint chunks"))
}

pub(super) async fn complete(conn: &mut Connection, fence: &Fence, seq: Seq) -> Result<(), StoreError> {
    let number = number(conn, fence.account).await?;
    clear_abandoned(conn, fence, number).await?;
    let valid = valid(conn, fence.account, number + 1).await?;
    let manifest = sqlx::query(COMPLETE)
        .bind(fence.account.0)
        .bind(number + 1)
        .bind(seq.0)
        .bind(i64::try_from(valid.keys.len()).unwrap_or(i64::MAX))
        .bind(valid.checksum);
    manifest.execute(conn).await.map(drop).map_err(failed("complete a checkpoint"))
}

pub(super) async fn forget(conn: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    for sql in [FORGET_MANIFEST, FORGET_CHUNKS] {
        let query = sqlx::query(sql).bind(account.0);
        query.execute(&mut *conn).await.map_err(failed("forget a checkpoint"))?;
    }
    Ok(())
}

/// The newest chunk of each place, and the sum of their checksums, each modulo 2³².
struct Valid {
    keys: Vec<ChunkKey>,
    checksum: i64,
}

/// What makes the checkpoint of this number.
async fn valid(conn: &mut Connection, account: AccountId, number: i64) -> Result<Valid, StoreError> {
    let query = sqlx::query_as(KEYS).bind(account.0).bind(number);
    let rows: Vec<(String, String, i64, i64, i64)> =
        query.fetch_all(conn).await.map_err(failed("read a checkpoint"))?;
    let mut newest = BTreeMap::new();
    for (kind, key, chunk, number, checksum) in rows {
        let place = (kind, key, small("checkpoint_chunk.chunk", chunk)?);
        let entry = newest.entry(place).or_insert((number, checksum));
        *entry = (*entry).max((number, checksum));
    }
    let checksum = newest.values().map(|(_, checksum)| checksum % 4_294_967_296).sum();
    let key = |((kind, key, chunk), (number, _))| ChunkKey { kind, key, chunk, number };
    Ok(Valid { keys: newest.into_iter().map(key).collect(), checksum })
}

/// The complete checkpoint; none when chunks are missing or are not those the manifest counted.
pub(super) async fn checkpoint(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Option<Checkpoint>, StoreError> {
    let query = sqlx::query_as(MANIFEST).bind(account.0);
    let manifest: Option<(i64, i64, i64, i64)> =
        query.fetch_optional(&mut *conn).await.map_err(failed("read a checkpoint"))?;
    let Some((number, seq, chunks, checksum)) = manifest else { return Ok(None) };
    let valid = valid(conn, account, number).await?;
    let whole = i64::try_from(valid.keys.len()) == Ok(chunks) && valid.checksum == checksum;
    Ok(whole.then_some(Checkpoint { seq: Seq(seq), chunks: valid.keys }))
}

/// Chunks side by side are one query each, in the order they lie in.
pub(super) async fn checkpoint_chunks(
    conn: &mut Connection,
    account: AccountId,
    keys: &[ChunkKey],
) -> Result<Vec<CheckpointChunk>, StoreError> {
    let together = |a: &ChunkKey, b: &ChunkKey| {
        (a.number, &a.kind, &a.key, a.chunk.checked_add(1)) == (b.number, &b.kind, &b.key, Some(b.chunk))
    };
    let mut found = Vec::with_capacity(keys.len());
    for run in keys.chunk_by(together) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let query = sqlx::query_as(CHUNKS)
            .bind(account.0)
            .bind(first.number)
            .bind(first.kind.clone())
            .bind(first.key.clone())
            .bind(i64::from(first.chunk))
            .bind(i64::from(last.chunk));
        let rows: Vec<(String, String, i64, i64, i64, Vec<u8>)> =
            query.fetch_all(&mut *conn).await.map_err(failed("read checkpoint chunks"))?;
        for (kind, key, chunk, seq, checksum, data) in rows {
            let chunk = small("checkpoint_chunk.chunk", chunk)?;
            found.push(CheckpointChunk { kind, key, chunk, seq: Seq(seq), checksum, data });
        }
    }
    Ok(found)
}

/// Chunks that no start will read: newer ones took their place, or their owner did not complete them.
pub(super) async fn stale(conn: &mut Connection, account: AccountId) -> Result<Vec<ChunkKey>, StoreError> {
    const LOOKING: &str = "look for stale checkpoint chunks";
    let number = number(conn, account).await?;
    let query = sqlx::query_as(ALL_KEYS).bind(account.0);
    let all: Vec<(String, String, i64, i64)> = query.fetch_all(&mut *conn).await.map_err(failed(LOOKING))?;
    let query = sqlx::query_as(UNFINISHED).bind(account.0).bind(number);
    let unfinished: Vec<(String, String, i64, i64)> =
        query.fetch_all(&mut *conn).await.map_err(failed(LOOKING))?;
    let key = |(kind, key, chunk, number)| {
        Ok(ChunkKey { kind, key, chunk: small("checkpoint_chunk.chunk", chunk)?, number })
    };
    let mut complete: Vec<ChunkKey> = all.into_iter().map(key).collect::<Result<_, StoreError>>()?;
    complete.retain(|key| key.number <= number);
    // By place, then by number: all but the last of a place are displaced.
    complete.sort();
    let same = |a: &ChunkKey, b: &ChunkKey| (&a.kind, &a.key, a.chunk) == (&b.kind, &b.key, b.chunk);
    let displaced = complete.windows(2).filter(|pair| matches!(pair, [a, b] if same(a, b)));
    let mut stale: Vec<ChunkKey> = displaced.filter_map(|pair| pair.first().cloned()).collect();
    for row in unfinished {
        stale.push(key(row)?);
    }
    Ok(stale)
}

pub(super) async fn prune(conn: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    for key in stale(conn, account).await?.into_iter().take(A_SLICE) {
        let query = sqlx::query(DELETE)
            .bind(account.0)
            .bind(key.number)
            .bind(key.kind)
            .bind(key.key)
            .bind(i64::from(key.chunk));
        query.execute(&mut *conn).await.map_err(failed("prune checkpoint chunks"))?;
    }
    Ok(())
}
