//! Bytes of checkpoint rows: little-endian numbers, length-prefixed parts, and a checksum over all of a row.

use roaring::RoaringBitmap;

/// A row that does not hold what it should: cut short, altered, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::audience) struct Torn;

/// Appends to a row.
#[derive(Debug, Default)]
pub(in crate::audience) struct Writer(Vec<u8>);

impl Writer {
    pub(in crate::audience) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(in crate::audience) fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u64).to_le_bytes());
    }

    pub(in crate::audience) fn signed(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(in crate::audience) fn words(&mut self, words: &[u64]) {
        self.number(words.len());
        words.iter().for_each(|word| self.0.extend_from_slice(&word.to_le_bytes()));
    }

    pub(in crate::audience) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(in crate::audience) fn set(&mut self, set: &RoaringBitmap) {
        let mut bytes = Vec::with_capacity(set.serialized_size());
        // Writing to memory does not fail; were it to, the row could not be read, and the index would be rebuilt.
        let _ = set.serialize_into(&mut bytes);
        self.bytes(&bytes);
    }

    pub(in crate::audience) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what a [`Writer`] wrote; every step checks that there is as much.
#[derive(Debug)]
pub(in crate::audience) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::audience) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Torn> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Torn)?;
        self.0 = rest;
        Ok(taken)
    }

    fn eight(&mut self) -> Result<[u8; 8], Torn> {
        self.take(8)?.try_into().map_err(|_| Torn)
    }

    pub(in crate::audience) fn byte(&mut self) -> Result<u8, Torn> {
        self.take(1)?.first().copied().ok_or(Torn)
    }

    pub(in crate::audience) fn number(&mut self) -> Result<usize, Torn> {
        usize::try_from(u64::from_le_bytes(self.eight()?)).map_err(|_| Torn)
    }

    pub(in crate::audience) fn signed(&mut self) -> Result<i64, Torn> {
        self.eight().map(i64::from_le_bytes)
    }

    pub(in crate::audience) fn words(&mut self) -> Result<Vec<u64>, Torn> {
        let len = self.number()?;
        let bytes = self.take(len.checked_mul(8).ok_or(Torn)?)?;
        Ok(bytes
            .chunks_exact(8)
            .map(|eight| u64::from_le_bytes(eight.try_into().unwrap_or_default()))
            .collect())
    }

    pub(in crate::audience) fn bytes(&mut self) -> Result<&'a [u8], Torn> {
        let len = self.number()?;
        self.take(len)
    }

    pub(in crate::audience) fn text(&mut self) -> Result<&'a str, Torn> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Torn)
    }

    pub(in crate::audience) fn set(&mut self) -> Result<RoaringBitmap, Torn> {
        RoaringBitmap::deserialize_from(self.bytes()?).map_err(|_| Torn)
    }

    /// That everything has been read.
    pub(in crate::audience) fn end(self) -> Result<(), Torn> {
        if self.0.is_empty() { Ok(()) } else { Err(Torn) }
    }
}

/// 64 bits over parts and their lengths. Guards against torn and mixed-up rows, not against an adversary, and must
/// read gigabytes at the speed of memory when a big account starts.
pub(super) fn checksum(parts: &[&[u8]]) -> i64 {
    const ODD: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ ODD[0]).wrapping_mul(u128::from(word ^ ODD[1]));
        product as u64 ^ (product >> 64) as u64 ^ state.rotate_left(23)
    };
    let mut state = parts.len() as u64;
    for part in parts {
        state = fold(state, part.len() as u64);
        let words = part.chunks_exact(8);
        let mut last = [0; 8];
        last.iter_mut().zip(words.remainder()).for_each(|(to, from)| *to = *from);
        for word in words {
            state = fold(state, u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        state = fold(state, u64::from_le_bytes(last));
    }
    state.cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_changed_bit_changes_the_checksum(bytes in prop::collection::vec(any::<u8>(), 1..60), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut other = bytes.clone();
            other[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_ne!(checksum(&[b"tag", &bytes]), checksum(&[b"tag", &other]));
            prop_assert_ne!(checksum(&[b"tag", &bytes]), checksum(&[&bytes, b"tag"]));
            prop_assert_ne!(checksum(&[&bytes]), checksum(&[&bytes[1..]]));
        }

        #[test]
        fn what_is_cut_short_is_torn(words in prop::collection::vec(any::<u64>(), 0..9), text in ".{0,9}") {
            let mut writer = Writer::default();
            writer.byte(7);
            writer.words(&words);
            writer.bytes(text.as_bytes());
            let row = writer.finish();
            let read = |bytes: &[u8]| -> Result<(u8, Vec<u64>, String), Torn> {
                let mut reader = Reader::new(bytes);
                let found = (reader.byte()?, reader.words()?, reader.text()?.to_owned());
                reader.end()?;
                Ok(found)
            };
            prop_assert_eq!(read(&row), Ok((7, words, text)));
            for len in 0..row.len() {
                prop_assert_eq!(read(&row[..len]), Err(Torn));
            }
        }
    }
}
