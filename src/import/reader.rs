//! A CSV file as a stream of intakes.

use std::io::{self, Read};

use super::encoding::{Encoding, Row, guess};
use super::mapping::Mapping;
use super::plan::{AttributeTypes, Plan};
use super::problem::{Problem, texts};
use super::records::{Next, Record, Records};
use super::reject::{Reason, Reject};
use super::report::{Intakes, Repeated};
use crate::domain::effect::Intake;
use crate::domain::friend::{FriendRef, Miss};
use crate::domain::identity::Identities;
use crate::domain::time::{Instant, Tz};
use crate::lang::Lang;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// How Excel's own files begin, newer ones and older ones.
const SPREADSHEET_MARKS: [&[u8]; 2] = [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"];

/// Why an import does not begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The mapping, the header or the file as a whole: everything that is wrong with them.
    #[error("cannot import this file:\n{}", texts(.0, Lang::En))]
    Problems(Vec<Problem>),
    /// The file cannot be read.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
}

impl OpenError {
    /// What is wrong and what to do, a line each.
    pub fn text(&self, lang: Lang) -> String {
        match self {
            Self::Problems(problems) => texts(problems, lang),
            Self::Io(error) => {
                lang.pick(format!("ファイルを読めません: {error}"), format!("cannot read the file: {error}"))
            }
        }
    }
}

/// Why a row gives no intakes.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The row is bad; the next one may be good.
    #[error("line {}: {}", .0.line, .0.text(Lang::En))]
    Reject(Reject),
    /// The file cannot be read on; nothing follows.
    #[error("cannot read the file")]
    Io(#[from] io::Error),
}

/// A row that may turn out to name no friend: what is needed to reject it then.
pub(super) struct Named {
    line: u64,
    column: Option<String>,
    row: Vec<String>,
    id: String,
    /// What it says.
    pub says: Intakes,
}

impl Named {
    pub fn rejected(self, miss: Miss) -> Reject {
        let Self { line, column, row, id, .. } = self;
        Reject { line, column, reason: Reason::NoFriend { id, miss }, row }
    }
}

/// Reads rows one by one; memory does not grow with the file, but for 20 bytes an event.
pub struct Reader<R> {
    records: Records<R>,
    record: Record,
    row: Row,
    encoding: Option<Encoding>,
    header: Vec<String>,
    plan: Plan,
    identities: Identities,
    rows: u64,
    repeated: Repeated,
    failed: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the header and ties the mapping to it. Instants without offset are local time of the mapping's
    /// zone, else of `zone`; what has no instant of its own has `now`.
    ///
    /// # Errors
    /// Everything that is wrong with mapping and header; nothing has been imported then.
    pub fn open(
        input: R,
        mapping: &Mapping,
        declared: &AttributeTypes,
        zone: Tz,
        now: Instant,
    ) -> Result<Self, OpenError> {
        let mut records = Records::new(input);
        let others = UTF16_MARKS.map(|mark| (mark, Problem::Utf16));
        let others = others.into_iter().chain(SPREADSHEET_MARKS.map(|mark| (mark, Problem::Spreadsheet)));
        for (mark, other) in others {
            if records.skip_prefix(mark)? {
                return Err(problem(other));
            }
        }
        let marked = records.skip_prefix(UTF8_MARK)?;
        let mut encoding = mapping.encoding.or(marked.then_some(Encoding::Utf8));
        let (mut record, mut row) = (Record::default(), Row::default());
        match records.next(&mut record)? {
            Next::Record => {}
            Next::Broken(_, broken, _) => return Err(problem(Problem::Header(broken.into()))),
            Next::End => return Err(problem(Problem::EmptyFile)),
        }
        decode(&records, &record, &mut row, &mut encoding)
            .map_err(|reason| problem(Problem::Header(reason)))?;
        let header: Vec<String> = row.texts().map(str::to_owned).collect();
        let duplicates = duplicates(&header);
        if !duplicates.is_empty() {
            return Err(OpenError::Problems(duplicates));
        }
        let plan = Plan::bind(mapping, &header, declared, zone, now);
        let plan = plan.map_err(|problems| match separator(&header) {
            Some(separator) => problem(Problem::Separator(separator)),
            None => OpenError::Problems(problems),
        })?;
        Ok(Self {
            records,
            record,
            row,
            encoding,
            header,
            plan,
            identities: Identities::default(),
            rows: 0,
            repeated: Repeated::default(),
            failed: false,
        })
    }

    /// The names of the columns.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Columns that nothing reads.
    pub fn ignored(&self) -> &[String] {
        &self.plan.ignored
    }

    /// Bytes of the file that are dealt with.
    pub fn bytes(&self) -> u64 {
        self.records.consumed()
    }

    /// Rows so far, bad ones included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What the file is read as; `None` while all of it was ASCII.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// Rows that gave an event the id of another one of this file.
    pub fn repeated(&self) -> Repeated {
        self.repeated
    }

    /// Whether rows name friends by the shop's own customer id.
    pub fn by_external_id(&self) -> bool {
        self.plan.external_column().is_some()
    }

    /// The row just read, where it names its friend by customer id and says something.
    pub(super) fn named(&self, intakes: &[Intake]) -> Option<Named> {
        let column = self.plan.external_column()?;
        let FriendRef::External(id) = &intakes.first()?.friend else { return None };
        Some(Named {
            line: self.record.line,
            column: column.and_then(|column| self.header.get(column)).cloned(),
            row: self.row.texts().map(str::to_owned).collect(),
            id: id.clone(),
            says: Intakes::of(intakes),
        })
    }

    fn intakes(&mut self, number: u64) -> Result<Vec<Intake>, (Option<usize>, Reason)> {
        decode(&self.records, &self.record, &mut self.row, &mut self.encoding)
            .map_err(|reason| (None, reason))?;
        if self.row.len() != self.header.len() {
            return Err((None, Reason::Fields { found: self.row.len(), expected: self.header.len() }));
        }
        let before = self.identities.repeated;
        let intakes = self.plan.intakes(&self.row, number, &mut self.identities)?;
        if self.identities.repeated > before {
            self.repeated.rows += 1;
            self.repeated.first_line.get_or_insert(self.record.line);
        }
        Ok(intakes)
    }

    fn reject(&self, (column, reason): (Option<usize>, Reason)) -> Reject {
        let row = match reason {
            Reason::Encoding(encoding) => vec![encoding.decode_lossily(self.records.last_bytes())],
            _ => self.row.texts().map(str::to_owned).collect(),
        };
        let column = column.and_then(|column| self.header.get(column)).cloned();
        Reject { line: self.record.line, column, reason, row }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Vec<Intake>, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = match self.records.next(&mut self.record) {
            Ok(next) => next,
            Err(error) => {
                self.failed = true;
                return Some(Err(error.into()));
            }
        };
        let number = self.rows;
        match next {
            Next::End => None,
            Next::Broken(line, broken, beginning) => {
                self.rows += 1;
                let row = vec![self.encoding.unwrap_or(Encoding::Utf8).decode_lossily(&beginning)];
                Some(Err(RowError::Reject(Reject { line, column: None, reason: broken.into(), row })))
            }
            Next::Record => {
                self.rows += 1;
                Some(self.intakes(number).map_err(|fault| RowError::Reject(self.reject(fault))))
            }
        }
    }
}

/// What separates the columns of a header that has no comma.
fn separator(header: &[String]) -> Option<char> {
    let [only] = header else { return None };
    [';', '\t'].into_iter().find(|separator| only.contains(*separator))
}

fn problem(problem: Problem) -> OpenError {
    OpenError::Problems(vec![problem])
}

/// Decodes a record; the first one beyond ASCII decides the file's encoding, by what follows it too.
fn decode<R: Read>(
    records: &Records<R>,
    record: &Record,
    row: &mut Row,
    encoding: &mut Option<Encoding>,
) -> Result<(), Reason> {
    if encoding.is_none() && !record.is_ascii() {
        *encoding = Some(guess(records.ahead()));
    }
    let encoding = encoding.unwrap_or(Encoding::Utf8);
    if !row.decode(record, encoding) {
        return Err(Reason::Encoding(encoding));
    }
    if row.has_nul() { Err(Reason::Nul) } else { Ok(()) }
}

/// Columns of one name could only be told apart by their place. Nameless ones cannot be mapped at all.
fn duplicates(header: &[String]) -> Vec<Problem> {
    let mut first = std::collections::HashMap::new();
    let mut problems = Vec::new();
    for (index, name) in header.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if let Some(earlier) = first.insert(name, index) {
            problems
                .push(Problem::DuplicateColumn { column: name.clone(), numbers: (earlier + 1, index + 1) });
        }
    }
    problems
}
