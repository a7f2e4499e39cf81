//! Mutations of kept inputs, each a function of its seed.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::corpus::Corpus;

/// What breaks readers of any format: signs, numbers at their edges, broken and rare text.
const TOKENS: [&[u8]; 28] = [
    b"\"",
    b"'",
    b"\"\"\"",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b":",
    b",",
    b"\n",
    b"\r\n",
    b"\0",
    b"\\u",
    b"\\ud800",
    b"-1",
    b"0",
    b"1e308",
    b"-9223372036854775808",
    b"99999999999999999999",
    b"2026-02-30",
    b"true",
    b"null",
    b"\xff\xfe",
    b"\xe5\x8f",
    "＝「　５".as_bytes(),
    "e\u{301}👨\u{200d}👩\u{200d}👧".as_bytes(),
    "\u{202e}\u{feff}".as_bytes(),
];

/// One input of the corpus with some mutations.
pub fn mutated(rng: &mut StdRng, corpus: &Corpus) -> Vec<u8> {
    let kept =
        |rng: &mut StdRng| corpus.files.choose(rng).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
    let mut bytes = kept(rng);
    for _ in 0..rng.random_range(1..4) {
        let (from, to) = chunk(rng, bytes.len());
        match rng.random_range(0..8) {
            0 => bytes.truncate(from),
            1 => drop(bytes.drain(from..to)),
            2 => {
                let copy = bytes[from..to].to_vec();
                insert(&mut bytes, rng, &copy);
            }
            3 => {
                let other = kept(rng);
                let (from, to) = chunk(rng, other.len());
                insert(&mut bytes, rng, &other[from..to]);
            }
            // The beginning of one and the end of another.
            4 => {
                let other = kept(rng);
                bytes.truncate(from);
                bytes.extend(&other[rng.random_range(0..=other.len())..]);
            }
            5 if !bytes.is_empty() => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            6 => {
                let token = TOKENS.choose(rng).copied().unwrap_or_default();
                insert(&mut bytes, rng, token);
            }
            _ => {
                let word = corpus.words.choose(rng).cloned().unwrap_or_default();
                insert(&mut bytes, rng, &word);
            }
        }
    }
    bytes
}

/// Two places near each other.
fn chunk(rng: &mut StdRng, length: usize) -> (usize, usize) {
    let from = rng.random_range(0..=length);
    (from, rng.random_range(from..=length.min(from + 40)))
}

fn insert(into: &mut Vec<u8>, rng: &mut StdRng, bytes: &[u8]) {
    let at = rng.random_range(0..=into.len());
    into.splice(at..at, bytes.iter().copied());
}
