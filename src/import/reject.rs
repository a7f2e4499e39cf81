//! Why a row is not imported, in words a person can act on, and the file such rows go to.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::cell::ID_CHARS_MAX;
use super::encoding::Encoding;
use super::records::{Broken, COLUMNS_MAX, RECORD_BYTES_MAX};
use crate::domain::attribute::AttributeType;
use crate::domain::friend::Miss;
use crate::lang::Lang;

/// What is wrong with a row or with one of its cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A quote at the beginning of a field is never closed.
    QuoteOpen,
    /// Text follows a closing quote.
    AfterQuote,
    /// The row is longer than [`RECORD_BYTES_MAX`].
    TooLong,
    /// The row is longer than that, and a quote in it still open.
    QuotedTooLong,
    /// The row has more than [`COLUMNS_MAX`] fields.
    TooManyFields,
    /// The row has another number of fields than the header.
    Fields {
        /// How many the row has.
        found: usize,
        /// How many the header has.
        expected: usize,
    },
    /// The bytes are no text in the file's encoding.
    Encoding(Encoding),
    /// A NUL character, which no database keeps.
    Nul,
    /// Not a LINE user id.
    User(String),
    /// Not a status.
    Status(String),
    /// Not a name of a tag or an event.
    Name(String),
    /// Not a customer id or an event id.
    Id(String),
    /// Not of the declared type.
    Value {
        /// The cell.
        text: String,
        /// What it should be.
        declared: AttributeType,
    },
    /// An empty cell where a value is needed.
    Empty,
    /// The customer id is no one friend's.
    NoFriend {
        /// The id.
        id: String,
        /// Whether nobody has it or several.
        miss: Miss,
    },
}

impl From<Broken> for Reason {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::QuoteOpen => Self::QuoteOpen,
            Broken::AfterQuote => Self::AfterQuote,
            Broken::TooLong => Self::TooLong,
            Broken::QuotedTooLong => Self::QuotedTooLong,
            Broken::TooManyFields => Self::TooManyFields,
        }
    }
}

impl Reason {
    /// The reason and what to do about it.
    pub fn text(&self, lang: Lang) -> String {
        let (ja, en) = self.both();
        lang.pick(ja, en)
    }

    fn both(&self) -> (String, String) {
        match self {
            Self::QuoteOpen => (
                "引用符 \" が閉じていません。行末までに \" を補ってください".into(),
                "a quote \" is not closed; close it, or double it if it is part of the text".into(),
            ),
            Self::AfterQuote => (
                "閉じ引用符の後に文字があります。文字としての \" は \"\" と書いてください".into(),
                "text follows a closing quote; write a quote that is part of the text as \"\"".into(),
            ),
            Self::TooLong => (
                format!("行が長すぎます(上限 {RECORD_BYTES_MAX} バイト)"),
                format!("the row is longer than {RECORD_BYTES_MAX} bytes; shorten it"),
            ),
            Self::QuotedTooLong => (
                format!("行が長すぎるか(上限 {RECORD_BYTES_MAX} バイト)、引用符 \" が閉じていません"),
                format!("the row is longer than {RECORD_BYTES_MAX} bytes, or a quote \" is not closed"),
            ),
            Self::TooManyFields => (
                format!("列が多すぎます(上限 {COLUMNS_MAX} 列)"),
                format!("the row has more than {COLUMNS_MAX} columns; leave out what is not needed"),
            ),
            Self::Fields { found, expected } => (
                format!(
                    "列数が見出しと違います(見出し {expected} 列、この行 {found} 列)。カンマを含む値は \" で囲んでください"
                ),
                format!(
                    "the header has {expected} columns, this row {found}; quote values that contain a comma"
                ),
            ),
            Self::Encoding(encoding) => (
                format!(
                    "{} として読めない文字があります。ファイルを UTF-8 で保存し直すか --encoding を指定してください",
                    encoding.as_str()
                ),
                format!(
                    "not readable as {}; save the file as UTF-8 or name its encoding with --encoding",
                    encoding.as_str()
                ),
            ),
            Self::Nul => (
                "NUL 文字が含まれています。取り除いてください".into(),
                "the row contains a NUL character; remove it".into(),
            ),
            Self::User(text) => (
                format!("「{}」は LINE のユーザー ID ではありません(U と小文字の16進数32桁)", short(text)),
                format!("`{}` is not a LINE user id (U and 32 lower-case hexadecimal digits)", short(text)),
            ),
            Self::Status(text) => (
                format!(
                    "「{}」は状態ではありません。following(友だち)か blocked(ブロック中)と書いてください",
                    short(text)
                ),
                format!("`{}` is not a status; write following or blocked", short(text)),
            ),
            Self::Name(text) => (
                format!("「{}」は名前にできません(1〜200文字、制御文字なし)", short(text)),
                format!("`{}` is not a name (1 to 200 characters, no control characters)", short(text)),
            ),
            Self::Id(text) => (
                format!("「{}」は ID にできません({ID_CHARS_MAX}文字まで、制御文字なし)", short(text)),
                format!(
                    "`{}` is not an id (at most {ID_CHARS_MAX} characters, no control characters)",
                    short(text)
                ),
            ),
            Self::Value { text, declared } => {
                let (ja, en) = is_not(*declared);
                (format!("「{}」{ja}", short(text)), format!("`{}` {en}", short(text)))
            }
            Self::Empty => {
                ("空欄ですが、値が必要です".into(), "the cell is empty, but a value is needed".into())
            }
            Self::NoFriend { id, miss: Miss::Unknown } => (
                format!(
                    "顧客ID「{}」の友だちはいません。先に user と external_id のある friends を取り込んでください",
                    short(id)
                ),
                format!(
                    "no friend has the external id `{}`; first import friends with user and external_id",
                    short(id)
                ),
            ),
            Self::NoFriend { id, miss: Miss::Shared { friends } } => (
                format!(
                    "顧客ID「{}」の友だちが{friends}人います。user(LINE のユーザー ID)で指定してください",
                    short(id)
                ),
                format!("{friends} friends have the external id `{}`; name this one by user", short(id)),
            ),
        }
    }
}

/// The end of a sentence about a text that is not of the type.
fn is_not(declared: AttributeType) -> (&'static str, &'static str) {
    match declared {
        AttributeType::Text => ("は文字列ではありません", "is not a text"),
        AttributeType::Integer => (
            "は整数ではありません(例 1234。桁区切り・小数点・全角数字は使えません)",
            "is not a whole number (such as 1234, without separators)",
        ),
        AttributeType::Number => (
            "は数値ではありません(例 1234.5。桁区切り・全角数字は使えません)",
            "is not a number (such as 1234.5, without separators)",
        ),
        AttributeType::Boolean => {
            ("は真偽値ではありません(true, false, 1, 0 のいずれか)", "is not true, false, 1 or 0")
        }
        AttributeType::Date => ("は日付ではありません(例 2026-01-31)", "is not a date (such as 2026-01-31)"),
        AttributeType::Instant => (
            "は日時ではありません(例 2026-01-31 18:00、2026-01-31T18:00:00+09:00)",
            "is not an instant (such as 2026-01-31 18:00 or 2026-01-31T18:00:00+09:00)",
        ),
    }
}

/// The beginning of a text, for a sentence about it: one line, in which nothing speaks to a terminal.
pub(super) fn short(text: &str) -> String {
    let mut characters = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let beginning: String = characters.by_ref().take(60).collect();
    if characters.next().is_some() { format!("{beginning}…") } else { beginning }
}

/// A row that is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The line it begins at, from 1; the header counts.
    pub line: u64,
    /// The header of the column at fault, where it is one.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: Reason,
    /// The row's fields, or its beginning as one text where it could not be split or decoded.
    pub row: Vec<String>,
}

impl Reject {
    /// The reason with its column: what the rejects file and the report say.
    pub fn text(&self, lang: Lang) -> String {
        let reason = self.reason.text(lang);
        match &self.column {
            Some(column) => {
                let column = short(column);
                lang.pick(format!("列「{column}」: {reason}"), format!("column `{column}`: {reason}"))
            }
            None => reason,
        }
    }
}

const OWN_COLUMNS: [&str; 2] = ["line", "reason"];

/// The rejects file: the columns `line` and `reason`, then the original ones, so that a corrected copy can be
/// imported with the same mapping. In UTF-8 with a byte order mark, which spreadsheets need.
///
/// It is created at the first reject; a former one of the same name is replaced then.
#[derive(Debug)]
pub struct RejectsFile {
    path: PathBuf,
    lang: Lang,
    writer: Option<csv::Writer<BufWriter<File>>>,
}

impl RejectsFile {
    /// Nothing is created yet.
    pub fn new(path: PathBuf, lang: Lang) -> Self {
        Self { path, lang, writer: None }
    }

    /// Where rejects of `file` go: `friends.csv` → `friends.rejects.csv`, in the same folder.
    pub fn path_for(file: &Path) -> PathBuf {
        file.with_extension("rejects.csv")
    }

    /// The file, once there is one.
    pub fn path(&self) -> Option<&Path> {
        self.writer.is_some().then_some(self.path.as_path())
    }

    /// Where it is, or would be.
    pub(super) fn target(&self) -> &Path {
        &self.path
    }

    pub(super) fn lang(&self) -> Lang {
        self.lang
    }

    pub(super) fn write(&mut self, header: &[String], reject: &Reject) -> io::Result<()> {
        // A rejects file that is imported again has our two columns already.
        let own = if header.iter().take(2).eq(OWN_COLUMNS) { 2 } else { 0 };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(create(&self.path, header.iter().skip(own))?),
        };
        let own = if reject.row.len() == header.len() { own } else { 0 };
        writer.write_field(reject.line.to_string())?;
        writer.write_field(reject.text(self.lang))?;
        writer.write_record(reject.row.iter().skip(own))?;
        Ok(())
    }

    /// Writes out what is buffered.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), csv::Writer::flush)
    }
}

fn create<'a>(
    path: &Path,
    header: impl Iterator<Item = &'a String>,
) -> io::Result<csv::Writer<BufWriter<File>>> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all("\u{feff}".as_bytes())?;
    // Rows that could not be split have one field: their text.
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(file);
    for name in OWN_COLUMNS {
        writer.write_field(name)?;
    }
    writer.write_record(header)?;
    Ok(writer)
}
