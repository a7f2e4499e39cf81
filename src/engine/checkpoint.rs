//! Checkpoints of the index: written a few megabytes between turns, read at a start. A torn or missing one is rebuilt
//! from friend rows and journal, never trusted.

use std::collections::VecDeque;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::audience::{
    CheckpointColumn, CheckpointDirectory, CheckpointRow, CheckpointRun, Index, RestoreError,
};
use crate::domain::id::{AccountId, Seq};
use crate::store::{Checkpoint, CheckpointChunk, ChunkKey, Priority, Store, StoreError, Write};

use super::Engine;
use super::beside::beside;

/// A checkpoint is due when so many entries came since the last one…
const DUE_AFTER: i64 = 200_000;
/// …or one for so many friends, where that is more: writing it must not cost more than replaying what came.
const DUE_AFTER_FRIENDS: i64 = 10;
/// Bytes of rows in one transaction.
const A_COMMIT_BYTES: usize = 4 << 20;
/// Columns read at once.
const AT_ONCE: usize = 4;
/// Chunks of a column read at once: some megabytes.
const A_READ: usize = 16;

/// Where the checkpoint stands.
#[derive(Debug, Default)]
pub(super) struct Checkpointing {
    /// The entry the last complete one is as of.
    complete: Seq,
    /// One in the making.
    run: Option<Making>,
    /// One is to be begun, however little came.
    asked: bool,
}

#[derive(Debug)]
struct Making {
    run: CheckpointRun,
    /// Made and not yet written: a name's events are made all at once.
    pending: VecDeque<CheckpointChunk>,
    /// There are no more to be made.
    ended: bool,
}

impl Checkpointing {
    /// After a load that began from a checkpoint as of `complete`.
    pub(super) fn since(complete: Seq) -> Self {
        Self { complete, run: None, asked: false }
    }

    /// The next one begins now.
    pub(super) fn ask(&mut self) {
        self.asked = true;
    }

    /// None is in the making, and none asked for.
    pub(super) fn is_idle(&self) -> bool {
        self.run.is_none() && !self.asked
    }

    /// The entry the last complete one is as of.
    pub(super) fn complete(&self) -> Seq {
        self.complete
    }
}

impl Engine {
    /// Goes on with a checkpoint, or begins one when it is due: one commit a turn.
    pub(super) async fn checkpoint(&mut self) -> Result<(), StoreError> {
        let grown = self.state.row.journal_seq.0 - self.checkpointing.complete.0;
        let friends = i64::from(self.state.index.next_friend().0);
        if self.checkpointing.is_idle() && grown < DUE_AFTER.max(friends / DUE_AFTER_FRIENDS) {
            return Ok(());
        }
        self.checkpoint_slice().await?;
        if self.checkpointing.run.is_some() {
            let _ = self.events.try_send(super::Event::Nudge);
        }
        Ok(())
    }

    /// Writes a whole checkpoint: at a clean stop, so that the next start is quick.
    pub(super) async fn checkpoint_now(&mut self) -> Result<(), StoreError> {
        if self.state.row.journal_seq == self.checkpointing.complete && self.checkpointing.run.is_none() {
            return Ok(());
        }
        self.checkpoint_slice().await?;
        while self.checkpointing.run.is_some() {
            self.checkpoint_slice().await?;
        }
        Ok(())
    }

    /// One commit of rows; the manifest after the last.
    async fn checkpoint_slice(&mut self) -> Result<(), StoreError> {
        let index = self.state.index_mut();
        let mut making = match self.checkpointing.run.take() {
            Some(making) => making,
            None => {
                self.checkpointing.asked = false;
                Making { run: index.begin_checkpoint(), pending: VecDeque::new(), ended: false }
            }
        };
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while bytes < A_COMMIT_BYTES {
            if let Some(chunk) = making.pending.pop_front() {
                bytes += chunk.data.len();
                chunks.push(chunk);
                continue;
            }
            match index.checkpoint_rows(&mut making.run) {
                Some(rows) => making.pending.extend(rows.into_iter().map(chunk)),
                None => {
                    making.ended = true;
                    break;
                }
            }
        }
        let mut writes = Vec::new();
        if !chunks.is_empty() {
            writes.push(Write::CheckpointChunks(chunks));
        }
        if making.ended {
            writes.push(Write::CheckpointManifest(Some(making.run.seq())));
        }
        // Should the commit fail, the engine reloads, and the index with it: nothing is half remembered.
        self.commit(Priority::Fold, writes).await?;
        if making.ended {
            self.checkpointing.complete = making.run.seq();
        } else {
            self.checkpointing.run = Some(making);
        }
        Ok(())
    }
}

/// The index of the last complete checkpoint, or none worth trusting.
pub(super) async fn restore(store: &dyn Store, account: AccountId) -> Result<Option<Index>, StoreError> {
    let Some(checkpoint) = store.checkpoint(account).await? else { return Ok(None) };
    match read(store, account, &checkpoint).await? {
        Ok(index) => Ok(Some(index)),
        Err(error) => {
            tracing::warn!(%error, "the index checkpoint is torn: the index is rebuilt from the friends and the journal");
            Ok(None)
        }
    }
}

/// Reads columns beside each other: the database looks for one while another is taken in.
async fn read(
    store: &dyn Store,
    account: AccountId,
    checkpoint: &Checkpoint,
) -> Result<Result<Index, RestoreError>, StoreError> {
    let directory = keys_of(checkpoint, CheckpointDirectory::PLACE);
    let directory = store.checkpoint_chunks(account, directory).await?.into_iter().next().map(row);
    let directory = match CheckpointDirectory::read(directory.as_ref()) {
        Ok(directory) => directory,
        Err(error) => return Ok(Err(error)),
    };
    let columns = stream::iter(directory.columns()).map(|column| async {
        let keys = keys_of(checkpoint, column.place());
        let keys = keys.get(..column.chunks()).unwrap_or(keys);
        let mut taken = Ok(column);
        for keys in keys.chunks(A_READ) {
            let Ok(column) = taken else { break };
            let chunks = store.checkpoint_chunks(account, keys).await?;
            taken = take_in(column, chunks).await;
        }
        Ok::<_, StoreError>(taken)
    });
    let columns: Vec<_> = columns.buffer_unordered(AT_ONCE).try_collect().await?;
    let columns: Result<Vec<CheckpointColumn>, RestoreError> = columns.into_iter().collect();
    Ok(columns.and_then(|columns| directory.assemble(columns)))
}

/// Where the chunks of one column are, in order.
fn keys_of<'c>(checkpoint: &'c Checkpoint, (kind, key): (&str, &str)) -> &'c [ChunkKey] {
    let place = |chunk: &ChunkKey| (chunk.kind.as_str(), chunk.key.as_str()).cmp(&(kind, key));
    let from = checkpoint.chunks.partition_point(|chunk| place(chunk).is_lt());
    let to = checkpoint.chunks.partition_point(|chunk| place(chunk).is_le());
    checkpoint.chunks.get(from..to).unwrap_or_default()
}

/// Decodes on a thread of its own: megabytes, while other accounts go on.
async fn take_in(
    mut column: CheckpointColumn,
    chunks: Vec<CheckpointChunk>,
) -> Result<CheckpointColumn, RestoreError> {
    beside(move || {
        chunks.into_iter().try_for_each(|chunk| column.take_in(&row(chunk)))?;
        Ok(column)
    })
    .await
}

fn chunk(row: CheckpointRow) -> CheckpointChunk {
    let CheckpointRow { kind, key, chunk, seq, checksum, data } = row;
    CheckpointChunk { kind, key, chunk, seq, checksum, data }
}

fn row(chunk: CheckpointChunk) -> CheckpointRow {
    let CheckpointChunk { kind, key, chunk, seq, checksum, data } = chunk;
    CheckpointRow { kind, key, chunk, seq, checksum, data }
}
