//! Keys of up to 65,536 slots, some of which have none.

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::packed::Packed;

/// A slot within a chunk: the low half of a friend's dense id, or an event's place in its block.
pub(super) type Slot = u16;

/// Which slots have a key, and the keys in slot order. Finding one takes a constant number of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    /// One bit per slot; ends after the last word with a bit.
    present: Vec<u64>,
    /// How many slots before each word have a key.
    before: Vec<u16>,
    keys: Packed,
}

fn split(slot: Slot) -> (usize, u64) {
    (usize::from(slot / 64), 1 << (slot % 64))
}

impl Sparse {
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// One bit per slot, up to the last word with a bit.
    pub(super) fn present(&self) -> &[u64] {
        &self.present
    }

    /// The position of the slot's key, and whether it has one.
    fn position(&self, slot: Slot) -> (usize, bool) {
        let (word, bit) = split(slot);
        match (self.present.get(word), self.before.get(word)) {
            (Some(bits), Some(before)) => {
                let position = usize::from(*before) + (bits & (bit - 1)).count_ones() as usize;
                (position, bits & bit != 0)
            }
            _ => (self.keys.len(), false),
        }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<i64> {
        let (position, found) = self.position(slot);
        if found { self.keys.get(position) } else { None }
    }

    /// Gives the slot a key; true if it had none.
    pub(super) fn set(&mut self, slot: Slot, key: i64) -> bool {
        let (word, bit) = split(slot);
        while self.present.len() <= word {
            self.present.push(0);
            // At most 65,472 slots stand before the last word.
            self.before.push(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
        }
        let (position, found) = self.position(slot);
        if found {
            self.keys.set(position, key);
            return false;
        }
        self.keys.insert(position, key);
        if let Some(bits) = self.present.get_mut(word) {
            *bits |= bit;
        }
        self.before.iter_mut().skip(word + 1).for_each(|before| *before += 1);
        true
    }

    /// Takes the slot's key away; true if it had one.
    pub(super) fn remove(&mut self, slot: Slot) -> bool {
        let (position, found) = self.position(slot);
        if !found {
            return false;
        }
        let (word, bit) = split(slot);
        self.keys.remove(position);
        if let Some(bits) = self.present.get_mut(word) {
            *bits &= !bit;
        }
        self.before.iter_mut().skip(word + 1).for_each(|before| *before -= 1);
        while self.present.last() == Some(&0) {
            self.present.pop();
            self.before.pop();
        }
        true
    }

    /// Slots and keys in slot order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, i64)> + '_ {
        self.present
            .iter()
            .enumerate()
            .flat_map(|(word, bits)| ones(*bits).map(move |bit| slot(word, bit)))
            .zip(self.keys.iter())
    }

    pub(super) fn encode(&self, row: &mut Writer) {
        row.words(&self.present);
        self.keys.encode(row);
    }

    pub(super) fn decode(row: &mut Reader<'_>) -> Result<Self, Torn> {
        let (present, keys) = (row.words()?, Packed::decode(row)?);
        let mut count = 0;
        let mut before = Vec::with_capacity(present.len());
        for bits in &present {
            before.push(u16::try_from(count).map_err(|_| Torn)?);
            count += bits.count_ones() as usize;
        }
        let fits = present.len() <= 1024 && count == keys.len() && present.last() != Some(&0);
        if fits { Ok(Self { present, before, keys }) } else { Err(Torn) }
    }

    /// One bit for each slot whose key passes, as many words as `present`. `range` is what passes, where that is
    /// one range.
    pub(super) fn passing(&self, range: Option<(i64, i64)>, passes: impl Fn(i64) -> bool) -> Vec<u64> {
        let keys = self.keys.passing(range, passes);
        let word = |(present, before): (&u64, &u16)| spread(bits_from(&keys, (*before).into()), *present);
        self.present.iter().zip(&self.before).map(word).collect()
    }
}

/// 64 bits from a position on.
fn bits_from(words: &[u64], position: usize) -> u64 {
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    let (at, shift) = (position / 64, position % 64);
    let high = if shift == 0 { 0 } else { word(at + 1) << (64 - shift) };
    word(at) >> shift | high
}

/// Puts the lowest bits where `mask` has its bits.
fn spread(mut bits: u64, mask: u64) -> u64 {
    if mask == u64::MAX || bits == 0 {
        return bits;
    }
    let mut all = 0;
    for place in ones(mask) {
        all |= (bits & 1) << place;
        bits >>= 1;
    }
    all
}

impl FromIterator<(Slot, i64)> for Sparse {
    /// From ascending slots, in the least space.
    fn from_iter<I: IntoIterator<Item = (Slot, i64)>>(pairs: I) -> Self {
        let mut sparse = Self::default();
        let mut keys = Vec::new();
        for (slot, key) in pairs {
            let (word, bit) = split(slot);
            while sparse.present.len() <= word {
                sparse.present.push(0);
                sparse.before.push(u16::try_from(keys.len()).unwrap_or(u16::MAX));
            }
            if let Some(bits) = sparse.present.get_mut(word) {
                *bits |= bit;
            }
            keys.push(key);
        }
        Self { keys: keys.into_iter().collect(), ..sparse }
    }
}

/// The positions of the set bits, ascending.
pub(super) fn ones(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(lowest)
    })
}

fn slot(word: usize, bit: u32) -> Slot {
    // A chunk has 1,024 words, so this never cuts anything off.
    (word as u32 * 64 + bit) as Slot
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), prop_oneof![0u16..200, any::<u16>()], -9i64..9), 0..60)) {
            let (mut sparse, mut plain) = (Sparse::default(), BTreeMap::new());
            for (give, slot, key) in steps {
                if give {
                    prop_assert_eq!(sparse.set(slot, key), plain.insert(slot, key).is_none());
                } else {
                    prop_assert_eq!(sparse.remove(slot), plain.remove(&slot).is_some());
                }
                prop_assert_eq!(sparse.get(slot), plain.get(&slot).copied());
            }
            prop_assert_eq!(sparse.iter().collect::<Vec<_>>(), plain.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(sparse.count(), plain.len());
            let again: Sparse = plain.clone().into_iter().collect();
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), sparse.iter().collect::<Vec<_>>());
            let positive = sparse.passing(None, |key| key > 0);
            prop_assert_eq!(&positive, &sparse.passing(Some((1, i64::MAX)), |key| key > 0));
            for (slot, key) in plain {
                prop_assert_eq!(again.get(slot), Some(key));
                prop_assert_eq!(positive[usize::from(slot / 64)] >> (slot % 64) & 1 == 1, key > 0);
            }
        }
    }
}
