//! UTF-8 or Shift_JIS: which one a file is in, and the text of a record.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::records::Record;

/// The encodings shops' files come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Shift_JIS as Windows writes it (code page 932).
    #[serde(rename = "shift_jis")]
    ShiftJis,
}

impl Encoding {
    /// Parses `utf-8` or `shift_jis`, the words of the command line and the mapping.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "utf-8" => Some(Self::Utf8),
            "shift_jis" => Some(Self::ShiftJis),
            _ => None,
        }
    }

    /// The word people and files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::ShiftJis => "shift_jis",
        }
    }

    /// Text for a report: what is no text in this encoding is replaced.
    pub(super) fn decode_lossily(self, bytes: &[u8]) -> String {
        let encoding = match self {
            Self::Utf8 => encoding_rs::UTF_8,
            Self::ShiftJis => encoding_rs::SHIFT_JIS,
        };
        encoding.decode_without_bom_handling(bytes).0.into_owned()
    }

    fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::ShiftJis => {
                encoding_rs::SHIFT_JIS.decode_without_bom_handling_and_without_replacement(bytes)
            }
        }
    }
}

/// UTF-8 unless more of what is beyond ASCII is malformed than well-formed.
///
/// Shift_JIS text is nearly all malformed as UTF-8, so one damaged byte in a UTF-8 file does not turn the whole
/// file into the plausible rubbish that Shift_JIS would read from it.
pub(super) fn guess(bytes: &[u8]) -> Encoding {
    let (mut good, mut bad) = (0_usize, 0_usize);
    let mut rest = bytes;
    loop {
        let (valid, malformed) = match std::str::from_utf8(rest) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = rest.get(..error.valid_up_to()).unwrap_or_default();
                let text = std::str::from_utf8(valid).unwrap_or_default();
                // Without a length the bytes only end in mid-character.
                (text, error.error_len().map(|length| error.valid_up_to() + length))
            }
        };
        good += valid.chars().filter(|c| !c.is_ascii()).count();
        let Some(next) = malformed else { break };
        bad += 1;
        rest = rest.get(next..).unwrap_or_default();
    }
    if bad > good { Encoding::ShiftJis } else { Encoding::Utf8 }
}

/// A record's fields as text. Reused from row to row.
#[derive(Debug, Default)]
pub(super) struct Row {
    text: String,
    ends: Vec<usize>,
}

impl Row {
    /// Decodes a record; `false` when a field is not text in this encoding.
    pub fn decode(&mut self, record: &Record, encoding: Encoding) -> bool {
        self.text.clear();
        self.ends.clear();
        for field in record.fields() {
            let Some(text) = encoding.decode(field) else { return false };
            self.text.push_str(&text);
            self.ends.push(self.text.len());
        }
        true
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a column; empty beyond the last.
    pub fn get(&self, column: usize) -> &str {
        let start = column.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = self.ends.get(column).copied().unwrap_or(start);
        self.text.get(start..end).unwrap_or_default()
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|column| self.get(column))
    }

    pub fn has_nul(&self) -> bool {
        self.text.contains('\0')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_byte_does_not_make_a_utf8_file_shift_jis() {
        let mut damaged = "東京都,神奈川県,".repeat(100).into_bytes();
        damaged[0] = 0xff;
        assert_eq!(guess(&damaged), Encoding::Utf8);
        let (sjis, _, _) = encoding_rs::SHIFT_JIS.encode("東京都,ﾃｽﾄ,神奈川県");
        assert_eq!(guess(&sjis), Encoding::ShiftJis);
        // Cut in the middle of a character.
        assert_eq!(guess(&"友".as_bytes()[..2]), Encoding::Utf8);
    }
}
