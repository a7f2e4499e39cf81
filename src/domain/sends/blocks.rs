//! Sets of friends cut into blocks of 65,536 dense ids, whose words can be counted without unpacking.
//!
//! Roaring bitmaps hide their containers, and whole-bitmap operations cost ten times the fold over words.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

/// 64-bit words of one block.
pub(super) const WORDS: usize = 1_024;

/// One bit for each friend of a block.
pub(super) type Words = [u64; WORDS];

/// Up to this many friends a list is smaller than the 8 KB of a block's words.
const SPARSE_MAX: usize = 4_096;

/// Friends of one block by the low 16 bits of their ids.
#[derive(Debug, Clone)]
pub(super) enum Block {
    /// Ascending, without repeats.
    Sparse(Vec<u16>),
    /// A bit each.
    Dense(Box<Words>),
}

impl Block {
    fn from_sorted(low: Vec<u16>) -> Self {
        if low.len() <= SPARSE_MAX {
            return Self::Sparse(low);
        }
        let mut words = Box::new([0; WORDS]);
        set(&mut words, &low);
        Self::Dense(words)
    }

    fn from_words(words: Box<Words>) -> Option<Self> {
        let len = words.iter().map(|word| word.count_ones() as usize).sum::<usize>();
        match len {
            0 => None,
            1..=SPARSE_MAX => Some(Self::Sparse(bits(&words).collect())),
            _ => Some(Self::Dense(words)),
        }
    }

    fn words(&self) -> Box<Words> {
        match self {
            Self::Sparse(low) => {
                let mut words = Box::new([0; WORDS]);
                set(&mut words, low);
                words
            }
            Self::Dense(words) => words.clone(),
        }
    }
}

fn set(words: &mut Words, low: &[u16]) {
    for low in low {
        words[usize::from(low >> 6)] |= 1 << (low & 63);
    }
}

fn bits(words: &Words) -> impl Iterator<Item = u16> {
    words.iter().zip(0u16..).flat_map(|(word, index)| {
        let ones = std::iter::successors((*word != 0).then_some(*word), |rest| {
            let rest = rest & (rest - 1);
            (rest != 0).then_some(rest)
        });
        ones.map(move |rest| index << 6 | rest.trailing_zeros() as u16)
    })
}

/// The set of the friends of one block.
pub(super) fn to_bitmap(block: u16, words: &Words) -> RoaringBitmap {
    let mut bytes = [0; WORDS * 8];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    RoaringBitmap::from_lsb0_bytes(u32::from(block) << 16, &bytes)
}

/// The blocks that hold a friend of the set, ascending.
pub(super) fn blocks_of(friends: &RoaringBitmap) -> impl Iterator<Item = u16> {
    let mut rest = friends.iter();
    std::iter::from_fn(move || {
        let block = (rest.next()? >> 16) as u16;
        rest.advance_to((u32::from(block) << 16) | 0xffff);
        // What is left of this block is at most its very last friend.
        if rest.clone().next().is_some_and(|friend| (friend >> 16) as u16 == block) {
            rest.next();
        }
        Some(block)
    })
}

/// A set of friends.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks(BTreeMap<u16, Block>);

impl Blocks {
    pub(super) fn get(&self, block: u16) -> Option<&Block> {
        self.0.get(&block)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the friend is in.
    pub(super) fn contains(&self, friend: u32) -> bool {
        let low = friend as u16;
        self.0.get(&((friend >> 16) as u16)).is_some_and(|block| match block {
            Block::Sparse(all) => all.contains(&low),
            Block::Dense(words) => {
                words.get(usize::from(low >> 6)).is_some_and(|word| word >> (low & 63) & 1 == 1)
            }
        })
    }

    /// Removes the friends that are also in `other`, and returns them.
    pub(super) fn take(&mut self, other: &Blocks) -> Blocks {
        let mut taken = BTreeMap::new();
        for (block, theirs) in &other.0 {
            let Some(ours) = self.0.remove(block) else { continue };
            let (mut left, mut common) = (ours.words(), theirs.words());
            for (left, common) in left.iter_mut().zip(common.iter_mut()) {
                *common &= *left;
                *left ^= *common;
            }
            self.0.extend(Block::from_words(left).map(|left| (*block, left)));
            taken.extend(Block::from_words(common).map(|common| (*block, common)));
        }
        Blocks(taken)
    }

    /// Adds the friends of `other`.
    pub(super) fn add(&mut self, other: Blocks) {
        for (block, theirs) in other.0 {
            let Some(ours) = self.0.remove(&block) else {
                self.0.insert(block, theirs);
                continue;
            };
            let mut words = ours.words();
            match theirs {
                Block::Sparse(low) => set(&mut words, &low),
                Block::Dense(theirs) => {
                    words.iter_mut().zip(theirs.iter()).for_each(|(word, more)| *word |= more)
                }
            }
            self.0.extend(Block::from_words(words).map(|words| (block, words)));
        }
    }

    /// The friends, ascending.
    pub(super) fn friends(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(block, friends)| {
            let low: Box<dyn Iterator<Item = u16>> = match friends {
                Block::Sparse(low) => Box::new(low.iter().copied()),
                Block::Dense(words) => Box::new(bits(words)),
            };
            let high = u32::from(*block) << 16;
            low.map(move |low| high | u32::from(low))
        })
    }

    pub(super) fn union_into(&self, friends: &mut RoaringBitmap) {
        for (block, own) in &self.0 {
            match own {
                Block::Sparse(low) => {
                    friends.extend(low.iter().map(|low| u32::from(*block) << 16 | u32::from(*low)));
                }
                Block::Dense(words) => *friends |= to_bitmap(*block, words),
            }
        }
    }
}

impl From<&RoaringBitmap> for Blocks {
    fn from(friends: &RoaringBitmap) -> Self {
        let mut blocks = BTreeMap::new();
        let (mut current, mut low) = (0, Vec::new());
        let (mut rest, mut some) = (friends.iter(), [0; 1_024]);
        loop {
            let some = rest.next_many(&mut some);
            if some.is_empty() {
                break;
            }
            for friend in some {
                let block = (*friend >> 16) as u16;
                if block != current && !low.is_empty() {
                    blocks.insert(current, Block::from_sorted(std::mem::take(&mut low)));
                }
                current = block;
                low.push(*friend as u16);
            }
        }
        if !low.is_empty() {
            blocks.insert(current, Block::from_sorted(low));
        }
        Self(blocks)
    }
}
