//! Checkpoints of the index: written a column at a time between turns, read at a start. A torn or missing one is
//! rebuilt from friend rows and journal, never trusted (protocol §1).

use crate::audience::{CheckpointRow, CheckpointRun, Index};
use crate::domain::id::{AccountId, Seq};
use crate::store::{CheckpointChunk, Priority, Store, StoreError, Write};

use super::Engine;
use super::beside::beside;

/// A checkpoint is due when so many entries came since the last one: a second or so of replay.
const DUE_AFTER: i64 = 200_000;
/// Bytes of rows in one transaction.
const A_COMMIT_BYTES: usize = 4 << 20;

/// Where the checkpoint stands.
#[derive(Debug, Default)]
pub(super) struct Checkpointing {
    /// The entry the last complete one is as of.
    complete: Seq,
    /// One in the making.
    run: Option<CheckpointRun>,
}

impl Checkpointing {
    /// After a load that began from a checkpoint as of `complete`.
    pub(super) fn since(complete: Seq) -> Self {
        Self { complete, run: None }
    }
}

impl Engine {
    /// Goes on with a checkpoint, or begins one when it is due: one commit a turn.
    pub(super) async fn checkpoint(&mut self) -> Result<(), StoreError> {
        let grown = self.state.row.journal_seq.0 - self.checkpointing.complete.0;
        if self.checkpointing.run.is_none() && grown < DUE_AFTER {
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
        let mut run = self.checkpointing.run.take().unwrap_or_else(|| index.begin_checkpoint());
        let (mut chunks, mut bytes, mut ended) = (Vec::new(), 0, false);
        while bytes < A_COMMIT_BYTES {
            let Some(rows) = index.checkpoint_rows(&mut run) else {
                ended = true;
                break;
            };
            bytes += rows.iter().map(|row| row.data.len()).sum::<usize>();
            chunks.extend(rows.into_iter().map(chunk));
        }
        let mut writes = Vec::new();
        if !chunks.is_empty() {
            writes.push(Write::CheckpointChunks(chunks));
        }
        if ended {
            writes.push(Write::CheckpointManifest(Some(run.seq())));
        }
        // Should the commit fail, the engine reloads, and the index with it: nothing is half remembered.
        self.commit(Priority::Fold, writes).await?;
        if ended {
            self.checkpointing.complete = run.seq();
        } else {
            self.checkpointing.run = Some(run);
        }
        Ok(())
    }
}

/// The index of the last complete checkpoint, or none worth trusting.
pub(super) async fn restore(store: &dyn Store, account: AccountId) -> Result<Option<Index>, StoreError> {
    let Some(checkpoint) = store.checkpoint(account).await? else { return Ok(None) };
    let rows: Vec<CheckpointRow> = checkpoint.chunks.into_iter().map(row).collect();
    match beside(move || Index::restore(&rows)).await {
        Ok(index) => Ok(Some(index)),
        Err(error) => {
            tracing::warn!(%error, "the index checkpoint is torn: the index is rebuilt from the friends and the journal");
            Ok(None)
        }
    }
}

fn chunk(row: CheckpointRow) -> CheckpointChunk {
    let CheckpointRow { kind, key, chunk, seq, checksum, data } = row;
    CheckpointChunk { kind, key, chunk, seq, checksum, data }
}

fn row(chunk: CheckpointChunk) -> CheckpointRow {
    let CheckpointChunk { kind, key, chunk, seq, checksum, data } = chunk;
    CheckpointRow { kind, key, chunk, seq, checksum, data }
}
