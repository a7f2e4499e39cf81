//! What `tests/fuzz` keeps of each target: inputs, and words worth inserting.

use std::path::{Path, PathBuf};

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(of)
}

/// The names of what a folder of `tests/fuzz` holds, without their extension, sorted.
pub fn names(of: &str, extension: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder(of)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(extension)?.to_owned())).collect();
    names.sort();
    names
}

/// What is kept of a target.
pub struct Corpus {
    /// Inputs by the names of their files.
    pub files: Vec<(String, Vec<u8>)>,
    /// The words of the fuzzer's dictionary.
    pub words: Vec<Vec<u8>>,
}

impl Corpus {
    pub fn of(name: &str) -> Self {
        let of = format!("corpus/{name}");
        let read = |file: String| {
            let bytes = std::fs::read(folder(&of).join(&file)).unwrap();
            (file, bytes)
        };
        let dictionary = std::fs::read_to_string(folder(&format!("dictionaries/{name}.dict"))).unwrap();
        Self {
            files: names(&of, "").into_iter().map(read).collect(),
            words: dictionary.lines().filter(|line| line.starts_with('"')).map(word).collect(),
        }
    }
}

/// A line of a dictionary: a quoted text in which `\"`, `\\` and `\xNN` stand for a byte.
fn word(line: &str) -> Vec<u8> {
    let quoted = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect(line);
    let (mut word, mut rest) = (Vec::new(), quoted.as_bytes());
    while let [byte, after @ ..] = rest {
        (rest, _) = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let hex = std::str::from_utf8(&digits).unwrap();
                (after, word.push(u8::from_str_radix(hex, 16).expect(line)))
            }
            (b'\\', [escaped, after @ ..]) => (after, word.push(*escaped)),
            _ => (after, word.push(*byte)),
        };
    }
    word
}
