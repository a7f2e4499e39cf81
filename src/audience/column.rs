//! Keys of friends, in chunks of 65,536 dense ids.

use roaring::RoaringBitmap;

use super::sparse::{Slot, Sparse};

/// Which chunk a friend is in, and where in it.
pub(super) fn place(friend: u32) -> (usize, Slot) {
    ((friend >> 16) as usize, friend as Slot)
}

/// The dense ids of a chunk.
pub(super) fn chunk_range(chunk: usize) -> std::ops::RangeInclusive<u32> {
    // Chunks are numbered by the high half of a 32-bit id.
    let first = (chunk as u32) << 16;
    first..=first | 0xffff
}

/// Looking up one friend costs what scanning so many does.
const FEW: u64 = 16;

/// At most one key per friend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Column {
    chunks: Vec<Sparse>,
    count: usize,
}

impl Column {
    /// How many friends have a key.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn chunks(&self) -> &[Sparse] {
        &self.chunks
    }

    pub(super) fn get(&self, friend: u32) -> Option<i64> {
        let (chunk, slot) = place(friend);
        self.chunks.get(chunk)?.get(slot)
    }

    /// Gives the friend a key; true if there was none.
    pub(super) fn set(&mut self, friend: u32, key: i64) -> bool {
        let (chunk, slot) = place(friend);
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, Sparse::default);
        }
        let new = self.chunks.get_mut(chunk).is_some_and(|keys| keys.set(slot, key));
        self.count += usize::from(new);
        new
    }

    /// Takes the friend's key away; true if there was one.
    pub(super) fn remove(&mut self, friend: u32) -> bool {
        let (chunk, slot) = place(friend);
        let gone = self.chunks.get_mut(chunk).is_some_and(|keys| keys.remove(slot));
        self.count -= usize::from(gone);
        gone
    }

    /// Replaces every key by another.
    pub(super) fn map(&mut self, new_key: impl Fn(i64) -> i64) {
        for chunk in &mut self.chunks {
            *chunk = chunk.iter().map(|(slot, key)| (slot, new_key(key))).collect();
        }
    }

    pub(super) fn chunk(&self, chunk: usize) -> Option<&Sparse> {
        self.chunks.get(chunk)
    }

    pub(super) fn replace_chunk(&mut self, chunk: usize, keys: Sparse) {
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, Sparse::default);
        }
        if let Some(place) = self.chunks.get_mut(chunk) {
            self.count = self.count - place.count() + keys.count();
            *place = keys;
        }
    }

    /// Friends with a key.
    pub(super) fn present(&self) -> RoaringBitmap {
        self.dense(|chunk| chunk.present().to_vec())
    }

    /// Those of `among` whose key passes. Only their keys are read where they are few. `range` is what passes,
    /// where that is one range.
    pub(super) fn select(
        &self,
        among: &RoaringBitmap,
        range: Option<(i64, i64)>,
        passes: impl Fn(i64) -> bool,
    ) -> RoaringBitmap {
        let mut selected = RoaringBitmap::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            let ids = chunk_range(number);
            let candidates = among.range_cardinality(ids.clone());
            if candidates == 0 || chunk.count() == 0 {
                continue;
            }
            if candidates.saturating_mul(FEW) < chunk.count() as u64 {
                let few = among.range(ids).filter(|friend| chunk.get(*friend as Slot).is_some_and(&passes));
                selected.extend(few);
            } else {
                selected |= bitmap_of_words(*ids.start(), &chunk.passing(range, &passes));
            }
        }
        selected &= among;
        selected
    }

    fn dense(&self, words: impl Fn(&Sparse) -> Vec<u64>) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        for (number, chunk) in self.chunks.iter().enumerate() {
            all |= bitmap_of_words(*chunk_range(number).start(), &words(chunk));
        }
        all
    }
}

/// The set with one bit per id from `first` on, which is a multiple of 65,536.
pub(super) fn bitmap_of_words(first: u32, words: &[u64]) -> RoaringBitmap {
    let mut bytes = Vec::with_capacity(words.len() * 8);
    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    RoaringBitmap::from_lsb0_bytes(first, &bytes)
}
