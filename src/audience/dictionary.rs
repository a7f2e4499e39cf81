//! Distinct texts, numbered in the order they came.

use std::hash::{DefaultHasher, Hasher};

use super::lookup::Lookup;

/// Texts by code and codes by text, each text stored once.
#[derive(Debug, Clone, Default)]
pub(super) struct Dictionary {
    text: String,
    /// Where each text ends in `text`.
    ends: Vec<usize>,
    codes: Lookup,
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

impl Dictionary {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn text(&self, code: u32) -> Option<&str> {
        text_of(&self.text, &self.ends, code)
    }

    pub(super) fn code(&self, text: &str) -> Option<u32> {
        self.codes.find(hash(text), |code| self.text(code) == Some(text))
    }

    /// The text's code, a new one if need be.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        if let Some(code) = self.code(text) {
            return code;
        }
        // Fewer than 2^32 friends and events hold a text each, so codes suffice.
        let code = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.text.push_str(text);
        self.ends.push(self.text.len());
        let (all, ends) = (&self.text, &self.ends);
        self.codes.insert(hash(text), code, |code| text_of(all, ends, code).map_or(0, hash));
        code
    }
}

fn text_of<'a>(text: &'a str, ends: &[usize], code: u32) -> Option<&'a str> {
    let code = usize::try_from(code).ok()?;
    let begin = match code.checked_sub(1) {
        Some(previous) => *ends.get(previous)?,
        None => 0,
    };
    text.get(begin..*ends.get(code)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_code() {
        let mut dictionary = Dictionary::default();
        let texts = ["東京都", "", "a", "ab", "b", "東京"];
        for (code, text) in (0..).zip(texts) {
            assert_eq!(dictionary.intern(text), code);
        }
        for (code, text) in (0..).zip(texts) {
            assert_eq!(dictionary.intern(text), code);
            assert_eq!(dictionary.text(code), Some(text));
            assert_eq!(dictionary.code(text), Some(code));
        }
        assert_eq!(dictionary.code("京"), None);
        assert_eq!(dictionary.text(6), None);
    }
}
