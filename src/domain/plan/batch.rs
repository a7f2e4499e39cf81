//! Batches: ranges of the variants' frozen sets. Their numbers are part of the retry keys, so the order is for ever.
//!
//! Within a variant friends go in ascending dense id, 500 a batch (fewer where a pace allows fewer at once). Batch k of a variant with b batches stands at
//! (2k + 1) / 2b of the occurrence, and all variants' batches are sorted by that, equal ones by the variants' order:
//! arms progress together, and a pause in the middle leaves each about as far as the others.

use roaring::RoaringBitmap;

/// LINE's limit on the recipients of one multicast.
pub const BATCH_FRIENDS: u32 = 500;

/// A batch's place in a variant's frozen set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRange {
    /// The index of the variant.
    pub variant: usize,
    /// How many of the variant's friends come before it.
    pub first: u32,
    /// How many friends it has: at least 1.
    pub len: u32,
}

/// All batches of an occurrence in the order of their numbers, from 0, of up to `size` friends (1 to
/// [`BATCH_FRIENDS`]).
pub fn batches(variants: &[&RoaringBitmap], size: u32) -> Vec<BatchRange> {
    let size = size.clamp(1, BATCH_FRIENDS);
    let mut placed = Vec::new();
    for (variant, friends) in variants.iter().enumerate() {
        // Dense ids are 32-bit and never all taken: the set of all of them is the only one longer than this.
        let total = u32::try_from(friends.len()).unwrap_or(u32::MAX);
        let count = u64::from(total.div_ceil(size));
        let firsts = (0..total).step_by(size as usize);
        placed.extend(firsts.zip(0u64..).map(|(first, k)| {
            let range = BatchRange { variant, first, len: size.min(total - first) };
            (2 * k + 1, count, range)
        }));
    }
    // Below 2³³ · 2³², so the cross products fit. The sort is stable: ties stay in the variants' order.
    placed.sort_by(|(odd, count, _), (other_odd, other_count, _)| {
        (odd * other_count).cmp(&(other_odd * count))
    });
    placed.into_iter().map(|(_, _, range)| range).collect()
}

/// The friends of a batch of the variant whose frozen set is `friends`, ascending.
pub fn friends_of(friends: &RoaringBitmap, batch: BatchRange) -> impl Iterator<Item = u32> {
    let mut rest = friends.iter();
    let len = match friends.select(batch.first) {
        Some(first) => {
            rest.advance_to(first);
            batch.len as usize
        }
        None => 0,
    };
    rest.take(len)
}

/// Those friends as a set.
pub fn set_of(friends: &RoaringBitmap, batch: BatchRange) -> RoaringBitmap {
    // They ascend, so they can be appended; inserting each costs several times as much.
    RoaringBitmap::from_sorted_iter(friends_of(friends, batch))
        .unwrap_or_else(|_| friends_of(friends, batch).collect())
}
