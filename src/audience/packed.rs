//! A vector of 64-bit keys that spends only the bytes its range needs.

use super::checkpoint::codec::{Reader, Torn, Writer};

/// Keys as a common base and an offset of 0 to 8 bytes each. Instants of a month take 4 bytes, days 2, one value for
/// all takes none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packed {
    base: i64,
    width: u8,
    len: usize,
    /// `len · width` bytes of little-endian offsets, then padding so that 8 bytes can be read at each.
    bytes: Vec<u8>,
}

const PADDING: usize = 8;

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, at: usize) -> Option<i64> {
        (at < self.len).then(|| self.read(at))
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = i64> + '_ {
        (0..self.len).map(|at| self.read(at))
    }

    /// Keys from one position on, unchecked against `len` except by ending there.
    pub(super) fn iter_from(&self, from: usize) -> impl Iterator<Item = i64> + '_ {
        (from..self.len).map(|at| self.read(at))
    }

    /// The first position whose key fails `holds`, where all keys that hold stand first.
    pub(super) fn partition_point(&self, holds: impl Fn(i64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.read(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn push(&mut self, key: i64) {
        self.insert(self.len, key);
    }

    /// Puts a key before position `at`, or at the end when there is no such position.
    pub(super) fn insert(&mut self, at: usize, key: i64) {
        let at = at.min(self.len);
        self.make_room_for(key);
        let width = usize::from(self.width);
        if width > 0 {
            self.reserve(width);
            let offset = key.wrapping_sub(self.base).to_le_bytes();
            let begin = at * width;
            if at == self.len {
                self.bytes.truncate(begin);
                self.bytes.extend_from_slice(&offset[..width]);
                self.bytes.resize(begin + width + PADDING, 0);
            } else {
                self.bytes.splice(begin..begin, offset[..width].iter().copied());
            }
        }
        self.len += 1;
    }

    pub(super) fn set(&mut self, at: usize, key: i64) {
        if at >= self.len {
            return;
        }
        self.make_room_for(key);
        let width = usize::from(self.width);
        let offset = key.wrapping_sub(self.base).to_le_bytes();
        if let Some(place) = self.bytes.get_mut(at * width..(at + 1) * width) {
            place.copy_from_slice(&offset[..width]);
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        if at >= self.len {
            return;
        }
        let width = usize::from(self.width);
        if width > 0 {
            self.bytes.drain(at * width..(at + 1) * width);
        }
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
    }

    fn read(&self, at: usize) -> i64 {
        if self.width == 0 {
            return self.base;
        }
        let width = usize::from(self.width);
        let word = self.bytes.get(at * width..at * width + 8).and_then(|bytes| bytes.try_into().ok());
        let offset = u64::from_le_bytes(word.unwrap_or_default()) & (u64::MAX >> (64 - 8 * width));
        self.base.wrapping_add(offset.cast_signed())
    }

    /// One bit for each position whose key passes. A range is compared without decoding keys; of keys that take a
    /// byte, each of the 256 is tested once.
    pub(super) fn passing(&self, range: Option<(i64, i64)>, passes: impl Fn(i64) -> bool) -> Vec<u64> {
        let all = |flag: bool| vec![if flag { u64::MAX } else { 0 }; self.len.div_ceil(64)];
        if self.width == 0 {
            return all(passes(self.base));
        }
        let offsets = self.bytes.get(..self.len * usize::from(self.width)).unwrap_or_default();
        if let Some((low, high)) = range {
            // The range in offsets, cut to those there can be.
            let (low, high) =
                (i128::from(low) - i128::from(self.base), i128::from(high) - i128::from(self.base));
            let reach = i128::from(Self::reach(self.width));
            if high < 0 || low > reach {
                return all(false);
            }
            let (low, high) = (low.max(0) as u64, high.min(reach) as u64);
            // Numbers as narrow as the offsets: more of them fit a vector.
            let (least, span) = (low as u32, (high - low) as u32);
            return match self.width {
                1 => blocks::<1>(offsets, |[offset]| offset.wrapping_sub(least as u8) <= span as u8),
                2 => blocks(offsets, |two| u16::from_le_bytes(two).wrapping_sub(least as u16) <= span as u16),
                3 => in_range::<3>(offsets, low, high),
                4 => blocks(offsets, |four| u32::from_le_bytes(four).wrapping_sub(least) <= span),
                5 => in_range::<5>(offsets, low, high),
                6 => in_range::<6>(offsets, low, high),
                7 => in_range::<7>(offsets, low, high),
                _ => in_range::<8>(offsets, low, high),
            };
        }
        if self.width == 1 {
            let mut table = [false; 256];
            (0..).zip(&mut table).for_each(|(offset, flag)| *flag = passes(self.base.wrapping_add(offset)));
            return pack_all(offsets.iter().map(|offset| table[usize::from(*offset)]));
        }
        pack_all(self.iter().map(passes))
    }

    pub(super) fn encode(&self, row: &mut Writer) {
        row.signed(self.base);
        row.byte(self.width);
        row.number(self.len);
        row.bytes(self.bytes.get(..self.len * usize::from(self.width)).unwrap_or_default());
    }

    /// At most 65,536 keys.
    pub(super) fn decode(row: &mut Reader<'_>) -> Result<Self, Torn> {
        let (base, width, len, offsets) = (row.signed()?, row.byte()?, row.number()?, row.bytes()?);
        if width > 8 || len > 1 << 16 || offsets.len() != len * usize::from(width) {
            return Err(Torn);
        }
        let mut bytes = Vec::new();
        if width > 0 {
            bytes.reserve_exact(offsets.len() + PADDING);
            bytes.extend_from_slice(offsets);
            bytes.resize(offsets.len() + PADDING, 0);
        }
        Ok(Self { base, width, len, bytes })
    }

    fn reach(width: u8) -> u64 {
        u64::MAX.checked_shr(64 - 8 * u32::from(width)).unwrap_or(0)
    }

    /// Capacity grows by an eighth: doubling would waste a third of the index.
    fn reserve(&mut self, more: usize) {
        let needed = self.bytes.len() + more + PADDING;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(more + PADDING + self.bytes.len() / 8);
        }
    }

    /// Makes `key` representable. What a width can hold beyond the keys there are is kept half below, half above
    /// them, so that keys arriving in falling order do not cost a rewrite each.
    fn make_room_for(&mut self, key: i64) {
        if self.len == 0 {
            *self = Self { base: key, ..Self::default() };
            return;
        }
        let offset = i128::from(key) - i128::from(self.base);
        if (0..=i128::from(Self::reach(self.width))).contains(&offset) {
            return;
        }
        let (low, high) = self.iter().fold((key, key), |(low, high), k| (low.min(k), high.max(k)));
        let span = high.wrapping_sub(low).cast_unsigned();
        let width = (0..8).find(|width| span <= Self::reach(*width)).unwrap_or(8);
        let spare = (Self::reach(width) - span) / 2;
        let base = if width == 8 { low } else { low.saturating_sub_unsigned(spare) };
        let keys: Vec<i64> = self.iter().collect();
        *self = Self::filled(base, width, &keys);
    }

    fn filled(base: i64, width: u8, keys: &[i64]) -> Self {
        let each = usize::from(width);
        let mut bytes = Vec::with_capacity(keys.len() * each + PADDING);
        if width > 0 {
            for key in keys {
                bytes.extend_from_slice(&key.wrapping_sub(base).to_le_bytes()[..each]);
            }
            bytes.resize(bytes.len() + PADDING, 0);
        }
        Self { base, width, len: keys.len(), bytes }
    }
}

/// Flags as bits, 64 to a word.
fn pack_all(mut flags: impl ExactSizeIterator<Item = bool>) -> Vec<u64> {
    let mut words = Vec::with_capacity(flags.len().div_ceil(64));
    while flags.len() > 0 {
        words.push(
            flags.by_ref().take(64).zip(0..).fold(0, |word, (flag, bit)| word | u64::from(flag) << bit),
        );
    }
    words
}

/// Which offsets of `W` bytes are inside, 64 to a word. Blocks of a fixed size, compared into bytes before they become
/// bits, are what compilers turn into vector instructions.
fn blocks<const W: usize>(offsets: &[u8], inside: impl Fn([u8; W]) -> bool) -> Vec<u64> {
    let word = |offsets: &[[u8; W]; 64]| {
        let flags: [u8; 64] = std::array::from_fn(|i| u8::from(inside(offsets[i])));
        flags.as_chunks::<8>().0.iter().zip(0..).fold(0, |word, (eight, byte)| {
            // The product's highest byte gathers the lowest bit of each of the eight bytes.
            word | (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * byte)
        })
    };
    let (whole, rest) = offsets.as_chunks::<W>().0.as_chunks::<64>();
    let mut words: Vec<u64> = whole.iter().map(word).collect();
    if !rest.is_empty() {
        words.push(
            rest.iter().zip(0..).fold(0, |word, (offset, bit)| word | u64::from(inside(*offset)) << bit),
        );
    }
    words
}

/// Which offsets of `W` bytes lie in `low..=high`.
fn in_range<const W: usize>(offsets: &[u8], low: u64, high: u64) -> Vec<u64> {
    let span = high - low;
    blocks::<W>(offsets, |offset| {
        let mut eight = [0; 8];
        eight[..W].copy_from_slice(&offset);
        u64::from_le_bytes(eight).wrapping_sub(low) <= span
    })
}

impl FromIterator<i64> for Packed {
    /// In the least space these keys can take.
    fn from_iter<I: IntoIterator<Item = i64>>(keys: I) -> Self {
        let keys: Vec<i64> = keys.into_iter().collect();
        let Some(low) = keys.iter().copied().min() else { return Self::default() };
        let high = keys.iter().copied().max().unwrap_or(low);
        let span = high.wrapping_sub(low).cast_unsigned();
        let width = (0..8).find(|width| span <= Self::reach(*width)).unwrap_or(8);
        Self::filled(low, width, &keys)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -300i64..300, Just(i64::MIN), Just(i64::MAX), Just(0)]
    }

    proptest! {
        #[test]
        fn it_is_a_vector(steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>(), key()), 0..80)) {
            let (mut packed, mut plain) = (Packed::default(), Vec::new());
            for (step, at, key) in steps {
                match step {
                    0 => { packed.push(key); plain.push(key); }
                    1 => { let at = at.index(plain.len() + 1); packed.insert(at, key); plain.insert(at, key); }
                    2 if !plain.is_empty() => { let at = at.index(plain.len()); packed.set(at, key); plain[at] = key; }
                    3 if !plain.is_empty() => { let at = at.index(plain.len()); packed.remove(at); plain.remove(at); }
                    _ => {}
                }
                prop_assert_eq!(packed.iter().collect::<Vec<_>>(), plain.clone());
                prop_assert_eq!(packed.len(), plain.len());
            }
            prop_assert_eq!(plain.iter().copied().collect::<Packed>().iter().collect::<Vec<_>>(), plain);
        }
    }

    proptest! {
        #[test]
        fn a_range_passes_what_lies_in_it(keys in prop::collection::vec(key(), 0..200), wide in 0u32..64, a in key(), b in key()) {
            let keys: Vec<i64> = keys.into_iter().map(|key| key >> wide).collect();
            let (low, high) = (a.min(b) >> wide, a.max(b) >> wide);
            let packed: Packed = keys.iter().copied().collect();
            let passes = |key: i64| low <= key && key <= high;
            let bit = |words: &[u64], i: usize| words[i / 64] >> (i % 64) & 1 == 1;
            for words in [packed.passing(Some((low, high)), passes), packed.passing(None, passes)] {
                for (i, key) in keys.iter().enumerate() {
                    prop_assert_eq!(bit(&words, i), passes(*key));
                }
            }
        }
    }

    #[test]
    fn keys_take_the_bytes_their_range_needs() {
        let width = |keys: &[i64]| keys.iter().copied().collect::<Packed>().width;
        assert_eq!(width(&[7, 7, 7]), 0);
        assert_eq!(width(&[1_700_000_000_000, 1_700_000_000_255]), 1);
        assert_eq!(width(&[0, 30 * 86_400_000]), 4);
        assert_eq!(width(&[i64::MIN, i64::MAX]), 8);
    }
}
