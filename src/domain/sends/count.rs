//! A saturating count for each friend of one block, as bit planes: plane p holds bit p of every friend's count.

use super::blocks::{Block, WORDS, Words};

/// Words counted together and sets read together: the counts then stay in registers, and no more sets are read at
/// once than a core fetches ahead.
const LANES: usize = 4;
const STREAMS: usize = 16;

/// Thresholds above 2⁵ count in all the planes a `u32` can need: they are rare, and each number of planes is a loop
/// of its own.
const FEW_PLANES: u32 = 5;
const ALL_PLANES: u32 = u32::BITS;

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
        let threshold = threshold.max(1);
        let needed = threshold.checked_next_power_of_two().map_or(ALL_PLANES, u32::trailing_zeros);
        let planes = if needed <= FEW_PLANES { needed } else { ALL_PLANES };
        let start = (1u64 << planes) - u64::from(threshold);
        let mut count = Self {
            // At most 2³² − 1, since the threshold is at least 1.
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

    /// Adds one to each friend of each set.
    pub(super) fn add(&mut self, sets: &[&Block]) {
        let mut dense: Vec<&Words> = Vec::with_capacity(sets.len());
        for set in sets {
            match set {
                Block::Sparse(low) => low.iter().for_each(|low| self.add_one(*low)),
                Block::Dense(words) => dense.push(words),
            }
        }
        for sets in dense.chunks(STREAMS) {
            // The number of planes is a constant to the loops, or the counts would live in memory.
            match self.planes.len() {
                0 => self.add_words::<0>(sets),
                1 => self.add_words::<1>(sets),
                2 => self.add_words::<2>(sets),
                3 => self.add_words::<3>(sets),
                4 => self.add_words::<4>(sets),
                5 => self.add_words::<5>(sets),
                _ => self.add_words::<{ ALL_PLANES as usize }>(sets),
            }
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

    /// Adds sets to all `PLANES` planes, the counts of a few words at a time.
    fn add_words<const PLANES: usize>(&mut self, sets: &[&Words]) {
        for at in (0..WORDS).step_by(LANES) {
            let lanes = at..at + LANES;
            let mut counts = [[0; LANES]; PLANES];
            for (count, plane) in counts.iter_mut().zip(&self.planes) {
                count.copy_from_slice(&plane[lanes.clone()]);
            }
            let mut reached = [0; LANES];
            for set in sets {
                let mut carry = [0; LANES];
                carry.copy_from_slice(&set[lanes.clone()]);
                for count in &mut counts {
                    for (word, carry) in count.iter_mut().zip(&mut carry) {
                        (*word, *carry) = (*word ^ *carry, *word & *carry);
                    }
                }
                for (reached, carry) in reached.iter_mut().zip(carry) {
                    *reached |= carry;
                }
            }
            for (count, plane) in counts.iter().zip(&mut self.planes) {
                plane[lanes.clone()].copy_from_slice(count);
            }
            for (word, reached) in self.reached[lanes].iter_mut().zip(reached) {
                *word |= reached;
            }
        }
    }

    /// Who reached the threshold.
    pub(super) fn reached(&self) -> &Words {
        &self.reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn every_threshold_is_reached_exactly() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut sets = Vec::new();
        let mut counts = vec![0u32; WORDS * 64];
        for number in 0..70 {
            let mut words = Box::new([0; WORDS]);
            words.iter_mut().for_each(|word| *word = rng.random::<u64>() | rng.random::<u64>());
            let low: Vec<u16> =
                (0..=u16::MAX).filter(|low| words[usize::from(low >> 6)] >> (low & 63) & 1 == 1).collect();
            low.iter().for_each(|low| counts[usize::from(*low)] += 1);
            sets.push(if number % 7 == 0 { Block::Sparse(low) } else { Block::Dense(words) });
        }
        let refs: Vec<&Block> = sets.iter().collect();
        for threshold in [1, 2, 3, 4, 5, 8, 9, 16, 31, 32, 33, 50, 64, 65, u32::MAX] {
            let mut count = AtLeast::new(threshold);
            count.add(&[&Block::Sparse(vec![3])]);
            count.clear();
            count.add(&refs);
            for (low, expected) in counts.iter().enumerate() {
                let reached = count.reached()[low / 64] >> (low % 64) & 1 == 1;
                assert_eq!(reached, *expected >= threshold, "{expected} of {threshold}");
            }
        }
    }
}
