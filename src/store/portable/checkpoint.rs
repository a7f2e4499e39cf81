//! Checkpoints of the index: written over several transactions, valid all at once.
//!
//! Chunks of the checkpoint in the making carry the number after the manifest's, and the token of the owner that
//! writes them; the manifest's number makes them valid and only then do they displace the older ones. A crash in
//! between leaves the last complete checkpoint untouched.

use super::{Connection, bulk, failed};
use crate::domain::id::AccountId;
use crate::domain::id::Seq;
use crate::store::codec::small;
use crate::store::{Checkpoint, CheckpointChunk, Fence, StoreError};

statements! {
    NUMBER = "SELECT number FROM checkpoint_manifest WHERE account = $1";
    ABANDONED = "DELETE FROM checkpoint_chunk WHERE account = $1 AND number > $2 AND token <> $3";
    DISPLACED = "DELETE FROM checkpoint_chunk WHERE account = $1 AND number <= $2 AND EXISTS \
                 (SELECT 1 FROM checkpoint_chunk n WHERE n.account = $1 AND n.number = $2 + 1 \
                  AND n.kind = checkpoint_chunk.kind AND n.key = checkpoint_chunk.key \
                  AND n.chunk = checkpoint_chunk.chunk)";
    COUNT = "SELECT COUNT(*), CAST(COALESCE(SUM(checksum % 4294967296), 0) AS BIGINT) \
             FROM checkpoint_chunk WHERE account = $1";
    COMPLETE = "INSERT INTO checkpoint_manifest (account, number, seq, chunks, checksum) \
                VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account) DO UPDATE SET number = excluded.number, \
                seq = excluded.seq, chunks = excluded.chunks, checksum = excluded.checksum";
    FORGET_MANIFEST = "DELETE FROM checkpoint_manifest WHERE account = $1";
    FORGET_CHUNKS = "DELETE FROM checkpoint_chunk WHERE account = $1";
    READ = "SELECT m.seq AS manifest_seq, m.chunks, m.checksum AS total, c.kind, c.key, c.chunk, c.seq, \
            c.checksum, c.data FROM checkpoint_manifest m LEFT JOIN checkpoint_chunk c \
            ON c.account = m.account AND c.number <= m.number WHERE m.account = $1";
}

async fn number(conn: &mut Connection, account: AccountId) -> Result<i64, StoreError> {
    let query = sqlx::query_as(NUMBER).bind(account.0);
    let row: Option<(i64,)> = query.fetch_optional(conn).await.map_err(failed("read a checkpoint"))?;
    Ok(row.map_or(0, |(number,)| number))
}

pub(super) async fn write_chunks(
    conn: &mut Connection,
    fence: &Fence,
    chunks: &[CheckpointChunk],
) -> Result<(), StoreError> {
    let number = number(conn, fence.account).await?;
    let abandoned = sqlx::query(ABANDONED).bind(fence.account.0).bind(number).bind(fence.token);
    abandoned.execute(&mut *conn).await.map_err(failed("clear an abandoned checkpoint"))?;
    bulk::insert_chunks(conn, fence, number + 1, chunks).await.map_err(failed("write checkpoint chunks"))
}

pub(super) async fn complete(conn: &mut Connection, fence: &Fence, seq: Seq) -> Result<(), StoreError> {
    const COMPLETING: &str = "complete a checkpoint";
    let account = fence.account.0;
    let number = number(conn, fence.account).await?;
    let abandoned = sqlx::query(ABANDONED).bind(account).bind(number).bind(fence.token);
    abandoned.execute(&mut *conn).await.map_err(failed(COMPLETING))?;
    let displaced = sqlx::query(DISPLACED).bind(account).bind(number);
    displaced.execute(&mut *conn).await.map_err(failed(COMPLETING))?;
    let (chunks, checksum): (i64, i64) =
        sqlx::query_as(COUNT).bind(account).fetch_one(&mut *conn).await.map_err(failed(COMPLETING))?;
    let manifest =
        sqlx::query(COMPLETE).bind(account).bind(number + 1).bind(seq.0).bind(chunks).bind(checksum);
    manifest.execute(conn).await.map(drop).map_err(failed(COMPLETING))
}

pub(super) async fn forget(conn: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    for sql in [FORGET_MANIFEST, FORGET_CHUNKS] {
        let query = sqlx::query(sql).bind(account.0);
        query.execute(&mut *conn).await.map_err(failed("forget a checkpoint"))?;
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    manifest_seq: i64,
    chunks: i64,
    total: i64,
    kind: Option<String>,
    key: Option<String>,
    chunk: Option<i64>,
    seq: Option<i64>,
    checksum: Option<i64>,
    data: Option<Vec<u8>>,
}

impl Row {
    fn read(self) -> Result<Option<CheckpointChunk>, StoreError> {
        let (Some(kind), Some(key), Some(chunk), Some(seq), Some(checksum), Some(data)) =
            (self.kind, self.key, self.chunk, self.seq, self.checksum, self.data)
        else {
            return Ok(None);
        };
        let chunk = small("checkpoint_chunk.chunk", chunk)?;
        Ok(Some(CheckpointChunk { kind, key, chunk, seq: Seq(seq), checksum, data }))
    }
}

/// The complete checkpoint; none when chunks are missing or are not those the manifest counted.
pub(super) async fn checkpoint(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Option<Checkpoint>, StoreError> {
    let query = sqlx::query_as(READ).bind(account.0);
    let rows: Vec<Row> = query.fetch_all(conn).await.map_err(failed("read a checkpoint"))?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (seq, counted, total) = (Seq(first.manifest_seq), first.chunks, first.total);
    let chunks: Result<Vec<_>, _> = rows.into_iter().filter_map(|row| row.read().transpose()).collect();
    let mut chunks = chunks?;
    let found: i64 = chunks.iter().map(|chunk| chunk.checksum % 4_294_967_296).sum();
    if i64::try_from(chunks.len()) != Ok(counted) || found != total {
        return Ok(None);
    }
    chunks.sort_by(|a, b| (&a.kind, &a.key, a.chunk).cmp(&(&b.kind, &b.key, b.chunk)));
    Ok(Some(Checkpoint { seq, chunks }))
}
