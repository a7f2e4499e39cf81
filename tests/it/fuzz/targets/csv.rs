//! Import of CSV: a mapping and a file to intakes, or to rejects.

use std::io::Read;

use haishin::domain::effect::Intake;
use haishin::import::{COLUMNS_MAX, Kind, Mapping, OpenError, Reader, RowError, texts};
use haishin::lang::Lang;

/// The line between a mapping and the file it is for; without it the file is read by its header alone.
const FILE: &[u8] = b"\n%%%\n";

/// A file that comes in pieces.
struct Pieces<'b>(&'b [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(into.len()).min(self.0.len());
        let (now, later) = self.0.split_at(length);
        into[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

pub fn run(bytes: &[u8]) -> bool {
    let at = bytes.windows(FILE.len()).position(|window| window == FILE);
    let (mapping, file) = match at {
        Some(at) => (Some(&bytes[..at + 1]), &bytes[at + FILE.len()..]),
        None => (None, bytes),
    };
    let mut good = false;
    for kind in [Kind::Friends, Kind::Tags, Kind::Events] {
        let mapping = match mapping {
            None => Mapping::new(kind),
            Some(toml) => match Mapping::from_toml(&String::from_utf8_lossy(toml), kind) {
                Ok(mapping) => mapping,
                Err(problems) => {
                    assert_told(|lang| texts(&problems, lang));
                    continue;
                }
            },
        };
        let whole = read(file, file.len(), &mapping);
        assert_eq!(read(Pieces(file, 3), file.len(), &mapping), whole, "in pieces");
        good |= whole.is_ok_and(|rows| rows.iter().any(Result::is_ok));
    }
    good
}

/// What is wrong with a file as a whole.
fn assert_told(text: impl Fn(Lang) -> String) {
    for text in super::LANGS.map(text) {
        assert!(!text.is_empty());
        super::assert_printable(&text);
    }
}

/// All that is told of a row: what it says, or why it says nothing.
type Row = Result<Vec<Intake>, String>;

fn read(input: impl Read, length: usize, mapping: &Mapping) -> Result<Vec<Row>, String> {
    let opened = Reader::open(input, mapping, &super::attributes(), chrono_tz::Asia::Tokyo, super::NOW);
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(OpenError::Io(error)) => panic!("{error}"),
        Err(error) => {
            assert_told(|lang| error.text(lang));
            return Err(error.text(Lang::En));
        }
    };
    let columns = reader.header().len();
    assert!(columns <= COLUMNS_MAX && reader.ignored().len() <= columns);
    let (mut rows, mut line) = (Vec::new(), 0);
    for row in reader.by_ref() {
        rows.push(match row {
            Ok(intakes) => {
                assert!(intakes.len() <= columns.max(1), "{intakes:?}");
                super::assert_same_json(&intakes);
                Ok(intakes)
            }
            Err(RowError::Io(error)) => panic!("{error}"),
            Err(RowError::Reject(reject)) => {
                // Rejects tell a person where to look, in the order of the file.
                assert!(reject.line > line && reject.line <= 1 + length as u64, "line {}", reject.line);
                line = reject.line;
                super::LANGS.iter().for_each(|lang| super::assert_readable(&reject.text(*lang)));
                // A byte becomes at the most one character of three.
                assert!(reject.row.iter().map(String::len).sum::<usize>() <= 3 * length);
                Err(format!("{reject:?}"))
            }
        });
    }
    // Each row is accounted for, and so is each byte.
    assert_eq!(rows.len() as u64, reader.rows());
    assert_eq!(reader.bytes(), length as u64);
    assert!(rows.len() <= length && reader.repeated().rows <= reader.rows());
    assert!(reader.next().is_none());
    Ok(rows)
}
