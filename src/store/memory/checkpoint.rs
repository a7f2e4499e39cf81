//! Checkpoints of the index: written over several transactions, valid all at once.

use std::collections::BTreeMap;

use super::data::{Account, Chunk, ChunkPlace, Manifest};
use crate::domain::id::Seq;
use crate::store::{Checkpoint, CheckpointChunk, ChunkKey, Fence};

/// Chunks pruned at once.
const A_SLICE: usize = 16;

/// The number of the complete checkpoint.
fn number(account: &Account) -> i64 {
    account.manifest.get(&()).map_or(0, |manifest| manifest.number)
}

/// Whatever an owner before this one did not complete never becomes part of this one's checkpoint.
fn clear_abandoned(account: &mut Account, fence: &Fence) {
    let number = number(account);
    let abandoned = unfinished(account, number).filter(|(_, chunk)| chunk.token != fence.token);
    let abandoned: Vec<ChunkPlace> = abandoned.map(|(place, _)| place.clone()).collect();
    account.chunks.remove_all(abandoned);
}

fn unfinished(account: &Account, number: i64) -> impl Iterator<Item = (&ChunkPlace, &Chunk)> {
    account.chunks.from((number + 1, String::new(), String::new(), 0))
}

pub(super) fn write_chunks(account: &mut Account, fence: &Fence, chunks: &[CheckpointChunk]) {
    clear_abandoned(account, fence);
    let number = number(account) + 1;
    for chunk in chunks {
        let place = (number, chunk.kind.clone(), chunk.key.clone(), chunk.chunk);
        let (seq, checksum, data) = (chunk.seq.0, chunk.checksum, chunk.data.clone());
        account.chunks.set(place, Chunk { token: fence.token, seq, checksum, data });
    }
}

pub(super) fn complete(account: &mut Account, fence: &Fence, seq: Seq) {
    clear_abandoned(account, fence);
    let number = number(account) + 1;
    let Valid { keys, checksum } = valid(account, number);
    account.manifest.set((), Manifest { number, seq: seq.0, chunks: keys.len(), checksum });
}

pub(super) fn forget(account: &mut Account) {
    account.manifest.remove(&());
    let all: Vec<ChunkPlace> = account.chunks.rows().map(|(place, _)| place.clone()).collect();
    account.chunks.remove_all(all);
}

/// The newest chunk of each place, and the sum of their checksums, each modulo 2³².
struct Valid {
    keys: Vec<ChunkKey>,
    checksum: i64,
}

/// What makes the checkpoint of this number.
fn valid(account: &Account, upto: i64) -> Valid {
    let mut newest = BTreeMap::new();
    // By number first, so that the last one of a place is the newest.
    for ((number, kind, key, chunk), row) in account.chunks.rows() {
        if *number <= upto {
            newest.insert((kind, key, *chunk), (*number, row.checksum));
        }
    }
    let checksum = newest.values().map(|(_, checksum)| checksum % 4_294_967_296).sum();
    let key = |((kind, key, chunk), (number, _)): ((&String, &String, u32), (i64, i64))| ChunkKey {
        kind: kind.clone(),
        key: key.clone(),
        chunk,
        number,
    };
    Valid { keys: newest.into_iter().map(key).collect(), checksum }
}

/// The complete checkpoint; none when chunks are missing or are not those the manifest counted.
pub(super) fn read(account: &Account) -> Option<Checkpoint> {
    let manifest = account.manifest.get(&())?;
    let Valid { keys, checksum } = valid(account, manifest.number);
    let whole = keys.len() == manifest.chunks && checksum == manifest.checksum;
    whole.then_some(Checkpoint { seq: Seq(manifest.seq), chunks: keys })
}

pub(super) fn chunks(account: &Account, keys: &[ChunkKey]) -> Vec<CheckpointChunk> {
    let chunk = |ChunkKey { kind, key, chunk, number }: &ChunkKey| {
        let row = account.chunks.get(&(*number, kind.clone(), key.clone(), *chunk))?;
        Some(CheckpointChunk {
            kind: kind.clone(),
            key: key.clone(),
            chunk: *chunk,
            seq: Seq(row.seq),
            checksum: row.checksum,
            data: row.data.clone(),
        })
    };
    keys.iter().filter_map(chunk).collect()
}

/// Chunks that no start will read: newer ones took their place, or their owner, who is not the one of `token`, did not
/// complete them.
pub(super) fn stale(account: &Account, token: Option<i64>) -> Vec<ChunkPlace> {
    let number = number(account);
    let complete = account.chunks.rows().map(|(place, _)| place).filter(|place| place.0 <= number);
    let mut complete: Vec<&ChunkPlace> = complete.collect();
    // By place, then by number: all but the last of a place are displaced.
    complete.sort_by_key(|(number, kind, key, chunk)| (kind, key, *chunk, *number));
    let same = |a: &ChunkPlace, b: &ChunkPlace| (&a.1, &a.2, a.3) == (&b.1, &b.2, b.3);
    let displaced = complete.iter().zip(complete.iter().skip(1)).filter(|(a, b)| same(a, b));
    let displaced = displaced.map(|(a, _)| (*a).clone());
    let abandoned = unfinished(account, number).filter(|(_, chunk)| Some(chunk.token) != token);
    displaced.chain(abandoned.map(|(place, _)| place.clone())).collect()
}

pub(super) fn prune(account: &mut Account, token: Option<i64>) {
    let slice: Vec<ChunkPlace> = stale(account, token).into_iter().take(A_SLICE).collect();
    account.chunks.remove_all(slice);
}
