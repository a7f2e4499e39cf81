//! A saturating count for each friend of one block, as bit planes: plane p holds bit p of every friend's count.

use super::blocks::{Block, WORDS, Words};

/// Words worked on together, so that their planes stay in registers.
const LANES: usize = 8;

/// Which friends of a block were added at least `threshold` times.
pub(super) struct AtLeast {
    /// The count each friend begins with: so that the threshold overflows the planes.
    start: u32,
    planes: Vec<Words>,
    reached: Words,
}

impl AtLeast {
    /// Counts up to `threshold`, which is at least 1.
    pub(super) fn new(threshold: u32) -> Self {
        let planes = threshold.max(1).next_power_of_two().trailing_zeros();
        let start = (1u64 << planes) - u64::from(threshold.max(1));
        let mut count = Self {
            // Below the power of two that is at most twice the threshold.
            start: start as u32,
            planes: vec![[0; WORDS]; planes as usize],
            reached: [0; WORDS],
        };
        count.clear();
        count
    }

    /// Back to nobody added.
    pub(super) fn clear(&mut self) {
        for (plane, words) in self.planes.iter_mut().enumerate() {
            *words = [if self.start >> plane & 1 == 1 { u64::MAX } else { 0 }; WORDS];
        }
        self.reached = [0; WORDS];
    }

    /// Adds one to each friend of the set.
    pub(super) fn add(&mut self, friends: &Block) {
        match friends {
            Block::Sparse(low) => low.iter().for_each(|low| self.add_one(*low)),
            Block::Dense(words) => self.add_words(words),
        }
    }

    /// Adds one to one friend.
    pub(super) fn add_one(&mut self, low: u16) {
        let (word, mut carry) = (usize::from(low >> 6), 1u64 << (low & 63));
        for plane in &mut self.planes {
            let sum = plane[word] ^ carry;
            carry &= plane[word];
            plane[word] = sum;
        }
        self.reached[word] |= carry;
    }

    fn add_words(&mut self, friends: &Words) {
        for at in (0..WORDS).step_by(LANES) {
            let lanes = at..at + LANES;
            let mut carry = [0; LANES];
            carry.copy_from_slice(&friends[lanes.clone()]);
            for plane in &mut self.planes {
                for (word, carry) in plane[lanes.clone()].iter_mut().zip(&mut carry) {
                    let sum = *word ^ *carry;
                    *carry &= *word;
                    *word = sum;
                }
            }
            for (word, carry) in self.reached[lanes].iter_mut().zip(carry) {
                *word |= carry;
            }
        }
    }

    /// Who reached the threshold.
    pub(super) fn reached(&self) -> &Words {
        &self.reached
    }
}
