//! What is wrong before the first row: with the mapping, the header or the file as a whole.

use super::mapping::Kind;
use super::reject::{Reason, short};
use crate::lang::Lang;

/// Something that keeps an import from beginning. Nothing has been imported then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The mapping is no TOML, or has an unknown key: the parser's own words, with line and column.
    Toml(String),
    /// `--column` or `--value` without `=`.
    Assignment(String),
    /// A key that a file of this kind does not have.
    Field {
        /// What was written.
        key: String,
        /// What the file is.
        kind: Kind,
        /// A key that looks like it.
        similar: Option<&'static str>,
    },
    /// A property without a type, or with an unknown one.
    PropertyType(String),
    /// Not a name.
    Name(String),
    /// The mapping is for another kind of file.
    Kind {
        /// The mapping's.
        own: Kind,
        /// The command's.
        asked: Kind,
    },
    /// No such zone.
    Zone(String),
    /// Not exactly one of `column`, `value` and `md5`.
    OneSource(String),
    /// `md5` anywhere but in `user`.
    Md5Place(String),
    /// The mapping names a column that the file does not have.
    Column {
        /// The key of the mapping.
        key: String,
        /// The header it names.
        column: String,
        /// A header that looks like it.
        similar: Option<String>,
    },
    /// A field that is needed has neither a column of its name nor a mapping.
    Needed {
        /// The field.
        key: &'static str,
        /// The file's columns.
        columns: Vec<String>,
    },
    /// Neither a user id nor a customer id says who is meant.
    NoName {
        /// The file's columns.
        columns: Vec<String>,
    },
    /// Both do, in a file where one is enough.
    TwoNames(Kind),
    /// The header is one column, and another sign than a comma stands in it.
    Separator(char),
    /// The attribute is not declared.
    Attribute {
        /// The name.
        name: String,
        /// A declared one that looks like it.
        similar: Option<String>,
    },
    /// A constant that no row could be imported with.
    Constant {
        /// The key of the mapping.
        key: String,
        /// What is wrong with it.
        reason: Reason,
    },
    /// An MD5 template that is the same for each row, or has an open brace.
    Template(String),
    /// Made-up user ids for an account whose messages leave this machine.
    DerivedUsers,
    /// The rows say who, but nothing else.
    NothingMapped {
        /// The other columns.
        ignored: Vec<String>,
    },
    /// Two columns of one name.
    DuplicateColumn {
        /// The header.
        column: String,
        /// Their numbers, from 1.
        numbers: (usize, usize),
    },
    /// The first line cannot be read.
    Header(Reason),
    /// The file is in UTF-16.
    Utf16,
    /// The file is Excel's own.
    Spreadsheet,
    /// There is no line at all.
    EmptyFile,
}

impl Problem {
    pub(super) fn field(key: &str, kind: Kind) -> Self {
        let known = kind.fields().iter().map(|field| field.as_str());
        let tables: &[&str] = match kind {
            Kind::Friends => &["attributes", "to_tag", "to_event"],
            Kind::Tags => &[],
            Kind::Events => &["properties"],
        };
        let similar = most_similar(key, known.chain(tables.iter().copied()));
        Self::Field { key: key.to_owned(), kind, similar }
    }

    /// What is wrong and what to do.
    pub fn text(&self, lang: Lang) -> String {
        let (ja, en) = self.both();
        lang.pick(ja, en)
    }

    fn both(&self) -> (String, String) {
        match self {
            Self::Toml(message) => {
                // It shows the line that is wrong, as it stands there.
                let message: String =
                    message.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
                (format!("対応表を読めません:\n{message}"), format!("cannot read the mapping:\n{message}"))
            }
            Self::Assignment(text) => (
                format!("「{text}」に = がありません。項目=列名 の形で書いてください(例 user=user_id)"),
                format!("`{text}` has no `=`; write FIELD=HEADER, such as user=user_id"),
            ),
            Self::Field { key, kind, similar } => field_words(key, *kind, *similar),
            Self::PropertyType(key) => (
                format!("「{key}」に型がありません。property.名前:型 と書いてください(型: text, integer, number, boolean, date, instant)"),
                format!("`{key}` has no type; write property.NAME:TYPE with one of text, integer, number, boolean, date, instant"),
            ),
            Self::Name(name) => with_reason("--column", "--column", &Reason::Name(name.clone())),
            Self::Constant { key, reason } => with_reason(key, key, reason),
            Self::Header(reason) => with_reason("1行目(列名)", "line 1 (the header)", reason),
            Self::Kind { own, asked } => (
                format!("この対応表は {} 用です。import {} を使うか、{} 用の対応表を指定してください", own.as_str(), own.as_str(), asked.as_str()),
                format!("this mapping is for {}; run `import {}`, or give a mapping for {}", own.as_str(), own.as_str(), asked.as_str()),
            ),
            Self::Zone(zone) => (
                format!("タイムゾーン「{}」はありません(例 Asia/Tokyo)", short(zone)),
                format!("there is no time zone `{}`; write one such as Asia/Tokyo", short(zone)),
            ),
            Self::OneSource(place) => (
                format!("{place}: column, value, md5 のうち1つだけを書いてください"),
                format!("{place}: write exactly one of column, value and md5"),
            ),
            Self::Md5Place(place) => (
                format!("{place}: md5 は user にだけ使えます"),
                format!("{place}: md5 is for `user` only"),
            ),
            Self::Column { key, column, similar } => {
                let (ja, en) = did_you_mean(similar.as_deref());
                (
                    format!("{key}: 列「{}」がありません{ja}", short(column)),
                    format!("{key}: the file has no column `{}`{en}", short(column)),
                )
            }
            Self::Needed { key, columns } => {
                let columns = listed(columns);
                (
                    format!("{key} の列がわかりません。--column {key}=列名 で指定してください(列: {columns})"),
                    format!("no column for {key}; name it with --column {key}=HEADER (the columns are: {columns})"),
                )
            }
            Self::NoName { columns } => {
                let columns = listed(columns);
                (
                    format!("友だちを示す列がわかりません。--column user=列名 か --column external_id=列名 で指定してください(列: {columns})"),
                    format!("no column says which friend is meant; name it with --column user=HEADER or --column external_id=HEADER (the columns are: {columns})"),
                )
            }
            Self::TwoNames(kind) => (
                format!("{} では user と external_id のどちらか1つだけを指定してください", kind.as_str()),
                format!("{} name friends by user or by external_id; map one of them", kind.as_str()),
            ),
            Self::Separator(separator) => {
                let (ja, en) = match separator {
                    '\t' => ("タブ", "tabs"),
                    _ => ("セミコロン", "semicolons"),
                };
                (
                    format!("列が{ja}で区切られています。カンマ区切りの CSV で保存し直してください"),
                    format!("the columns are separated by {en}; save the file as CSV with commas"),
                )
            }
            Self::Attribute { name, similar } => {
                let (ja, en) = did_you_mean(similar.as_deref());
                let also = if similar.is_some() { " Else" } else { ";" };
                (
                    format!("属性「{}」は動いている設定で宣言されていません{ja}。新しい属性は config/attributes.toml に書き、haishin apply で有効にしてください", short(name)),
                    format!("the attribute `{}` is not declared in the running configuration{en}{also} declare it in config/attributes.toml and run `haishin apply`", short(name)),
                )
            }
            Self::DuplicateColumn { column, numbers: (first, second) } => (
                format!("列「{}」が2つあります({first}列目と{second}列目)。片方の名前を変えてください", short(column)),
                format!("two columns are called `{}` (columns {first} and {second}); rename one of them", short(column)),
            ),
            Self::Template(template) => (
                format!("md5「{}」: {{row}} か {{列名}} を入れてください", short(template)),
                format!("md5 `{}`: put {{row}} or {{header}} into it, with both braces", short(template)),
            ),
            Self::DerivedUsers => (
                "md5 で作ったユーザー ID は、api_base がこのマシン(ループバック)を指すリハーサル用アカウントでだけ使えます".into(),
                "user ids made up with md5 are for rehearsal accounts only, whose api_base is on loopback".into(),
            ),
            Self::NothingMapped { ignored } => {
                let ignored = listed(ignored);
                (
                    format!("友だちを示す列のほかに取り込む列がありません。--column で status, followed_at, 属性などに対応させてください(ほかの列: {ignored})"),
                    format!("nothing but the friend's column is read; name what status, followed_at or an attribute is in with --column (the other columns are: {ignored})"),
                )
            }
            Self::Utf16 => (
                "ファイルが UTF-16 です。「CSV UTF-8」で保存し直してください".into(),
                "the file is in UTF-16; save it as \"CSV UTF-8\"".into(),
            ),
            Self::Spreadsheet => (
                "これは CSV ではなく Excel のファイルです。「CSV UTF-8」で保存し直してください".into(),
                "this is a spreadsheet, not a CSV file; save it as \"CSV UTF-8\"".into(),
            ),
            Self::EmptyFile => (
                "ファイルが空です。1行目に列名が必要です".into(),
                "the file is empty; its first line must name the columns".into(),
            ),
        }
    }
}

/// Names of columns, in a row.
fn listed(columns: &[String]) -> String {
    columns.iter().map(|column| short(column)).collect::<Vec<_>>().join(", ")
}

fn with_reason(ja: &str, en: &str, reason: &Reason) -> (String, String) {
    let (ja, en) = (short(ja), short(en));
    (format!("{ja}: {}", reason.text(Lang::Ja)), format!("{en}: {}", reason.text(Lang::En)))
}

fn field_words(key: &str, kind: Kind, similar: Option<&'static str>) -> (String, String) {
    let mut known: Vec<&str> = kind.fields().iter().map(|field| field.as_str()).collect();
    match kind {
        Kind::Friends => known.extend(["attribute.NAME"]),
        Kind::Tags => {}
        Kind::Events => known.extend(["property.NAME:TYPE"]),
    }
    let (known, kind) = (known.join(", "), kind.as_str());
    let (ja, en) = did_you_mean(similar);
    let key = short(key);
    (
        format!("「{key}」は {kind} の項目ではありません{ja}(項目: {known})"),
        format!("`{key}` is no field of {kind}{en} (the fields are: {known})"),
    )
}

fn did_you_mean(similar: Option<&str>) -> (String, String) {
    similar.map_or_else(Default::default, |similar| {
        let similar = short(similar);
        (format!("(もしかして「{similar}」)"), format!("; did you mean `{similar}`?"))
    })
}

/// The candidate that is most like `text`, if one is at all.
pub(super) fn most_similar<T: AsRef<str>>(text: &str, candidates: impl Iterator<Item = T>) -> Option<T> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(text, candidate.as_ref()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// All problems as one text, a line each.
pub fn texts(problems: &[Problem], lang: Lang) -> String {
    problems.iter().map(|problem| problem.text(lang)).collect::<Vec<_>>().join("\n")
}
