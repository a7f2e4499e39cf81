//! Who holds a tag, and since when.

use roaring::RoaringBitmap;

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::checkpoint::inside;
use super::column::{bitmap_of_words, chunk_range, place};
use super::dirty::Dirty;
use super::packed::Packed;
use crate::domain::segment::window::Window;

/// The holders of one tag as a set; the instants in the order of the holders, chunk by chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Tag {
    holders: RoaringBitmap,
    given: Vec<Given>,
    pub(super) dirty: Dirty,
}

/// The instants of a chunk, and bounds on them: a window around both needs no look at each.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    at: Packed,
    earliest: i64,
    latest: i64,
}

impl Default for Given {
    fn default() -> Self {
        Self { at: Packed::default(), earliest: i64::MAX, latest: i64::MIN }
    }
}

impl Given {
    fn stretch(&mut self, at: i64) {
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
    }
}

impl From<Packed> for Given {
    fn from(at: Packed) -> Self {
        let none = (i64::MAX, i64::MIN);
        let (earliest, latest) = at.iter().fold(none, |(low, high), at| (low.min(at), high.max(at)));
        Self { at, earliest, latest }
    }
}

impl Tag {
    /// Every holder, whenever it was given.
    pub(super) fn holders(&self) -> &RoaringBitmap {
        &self.holders
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Holders before this friend in its chunk.
    fn position(&self, friend: u32) -> usize {
        let (chunk, _) = place(friend);
        self.holders.range_cardinality(*chunk_range(chunk).start()..friend) as usize
    }

    fn chunk(&mut self, friend: u32) -> &mut Given {
        let (chunk, _) = place(friend);
        self.dirty.mark(chunk);
        if self.given.len() <= chunk {
            self.given.resize_with(chunk + 1, Given::default);
        }
        &mut self.given[chunk]
    }

    pub(super) fn give(&mut self, friend: u32, at: i64) {
        // Friends mostly come in the order of their ids, where the position need not be searched.
        if self.holders.try_push(friend).is_ok() {
            let given = self.chunk(friend);
            given.at.push(at);
            return given.stretch(at);
        }
        let (position, new) = (self.position(friend), self.holders.insert(friend));
        let given = self.chunk(friend);
        if new {
            given.at.insert(position, at)
        } else {
            given.at.set(position, at)
        }
        given.stretch(at);
    }

    pub(super) fn take(&mut self, friend: u32) {
        if self.holders.contains(friend) {
            let position = self.position(friend);
            self.holders.remove(friend);
            self.chunk(friend).at.remove(position);
        }
    }

    /// When the friend was given the tag it holds.
    pub(super) fn given(&self, friend: u32) -> Option<i64> {
        let (chunk, _) = place(friend);
        if !self.holders.contains(friend) {
            return None;
        }
        self.given.get(chunk)?.at.get(self.position(friend))
    }

    /// Whether the bounds alone say that every holder was given the tag within the window.
    pub(super) fn all_given(&self, window: Window) -> bool {
        let inside = |given: &Given| window.contains(given.earliest) && window.contains(given.latest);
        self.given.iter().all(|given| given.at.len() == 0 || inside(given))
    }

    /// Takes out of `some` of the holders those who were given the tag outside the window.
    pub(super) fn keep_given(&self, some: &mut RoaringBitmap, window: Window) {
        let mut outside = RoaringBitmap::new();
        for (number, given) in self.given.iter().enumerate() {
            if given.at.len() == 0 || (window.contains(given.earliest) && window.contains(given.latest)) {
                continue;
            }
            let mut words = [0; 1024];
            for (friend, at) in self.holders.range(chunk_range(number)).zip(given.at.iter()) {
                let (_, slot) = place(friend);
                words[usize::from(slot / 64)] |= u64::from(!window.contains(at)) << (slot % 64);
            }
            outside |= bitmap_of_words(*chunk_range(number).start(), &words);
        }
        *some -= &outside;
    }

    pub(super) fn encode_chunk(&self, chunk: usize, row: &mut Writer) {
        row.set(&self.holders.range(chunk_range(chunk)).collect());
        self.given.get(chunk).map_or(&Packed::default(), |given| &given.at).encode(row);
    }

    pub(super) fn decode_chunk(&mut self, chunk: usize, row: &mut Reader<'_>) -> Result<(), Torn> {
        let (holders, at) = (row.set()?, Packed::decode(row)?);
        if holders.len() != at.len() as u64 {
            return Err(Torn);
        }
        self.holders |= inside(holders, chunk)?;
        if self.given.len() <= chunk {
            self.given.resize_with(chunk + 1, Given::default);
        }
        self.given[chunk] = at.into();
        Ok(())
    }
}
