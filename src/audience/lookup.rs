//! From a key to a dense number in 4 bytes a slot: the keys themselves stand elsewhere, once.

/// An open hash table of numbers below 2^32 − 2. The caller compares and hashes the keys the numbers stand for.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookup {
    slots: Vec<u32>,
    used: usize,
    removed: usize,
}

const FREE: u32 = u32::MAX;
const REMOVED: u32 = u32::MAX - 1;

impl Lookup {
    /// The number whose key has this hash and `is` the one looked for.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.probe(hash).map(|(_, number)| number).find(|number| *number != REMOVED && is(*number))
    }

    /// Makes room for so many numbers in all.
    pub(super) fn reserve(&mut self, numbers: usize, hash_of: impl Fn(u32) -> u64) {
        if numbers * 4 > self.slots.len() * 3 {
            self.rebuild(numbers, hash_of);
        }
    }

    /// Adds a number whose key is not there yet.
    pub(super) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.used + self.removed + 1) * 4 > self.slots.len() * 3 {
            self.rebuild((self.used + 1) * 3 / 2, hash_of);
        }
        self.place(hash, number);
        self.used += 1;
    }

    /// Takes away a number by its key's hash.
    pub(super) fn remove(&mut self, hash: u64, number: u32) {
        let found = self.probe(hash).find(|(_, at)| *at == number).map(|(slot, _)| slot);
        if let Some(slot) = found.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = REMOVED;
            self.used -= 1;
            self.removed += 1;
        }
    }

    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, u32)> + '_ {
        // The length is a power of two or 0; a quarter of the slots is always free, so a search ends.
        let mask = self.slots.len().wrapping_sub(1);
        (0..self.slots.len()).map_while(move |step| {
            let slot = (hash as usize).wrapping_add(step) & mask;
            let number = *self.slots.get(slot)?;
            (number != FREE).then_some((slot, number))
        })
    }

    fn place(&mut self, hash: u64, number: u32) {
        let mask = self.slots.len().wrapping_sub(1);
        for step in 0..self.slots.len() {
            let slot = (hash as usize).wrapping_add(step) & mask;
            match self.slots.get_mut(slot) {
                Some(free) if *free == FREE => {
                    *free = number;
                    return;
                }
                _ => {}
            }
        }
    }

    /// Leaves a quarter of the slots free beyond so many numbers.
    fn rebuild(&mut self, numbers: usize, hash_of: impl Fn(u32) -> u64) {
        let size = (numbers * 4).div_ceil(3).next_power_of_two().max(8);
        let numbers = std::mem::replace(&mut self.slots, vec![FREE; size]);
        self.removed = 0;
        for number in numbers.into_iter().filter(|number| *number < REMOVED) {
            self.place(hash_of(number), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// With a bad hash on purpose.
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..60), 0..200)) {
            let hash = |number: u32| u64::from(number / 4);
            let (mut lookup, mut plain) = (Lookup::default(), BTreeSet::new());
            for (add, number) in steps {
                if add && plain.insert(number) {
                    lookup.insert(hash(number), number, hash);
                } else if !add && plain.remove(&number) {
                    lookup.remove(hash(number), number);
                }
                for n in 0..60 {
                    prop_assert_eq!(lookup.find(hash(n), |found| found == n).is_some(), plain.contains(&n));
                }
            }
        }
    }
}
