//! What a value should have been, in both languages.

use serde::Serialize;

use crate::lang::Lang;

/// What a value should have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant's text below is its documentation")]
pub enum Expected {
    Text,
    Name,
    Slug,
    Whole { min: i64, max: i64 },
    Number,
    Flag,
    Yes,
    List,
    Tables { header: &'static str },
    Table,
    Span,
    Kept { least: String },
    Size,
    Share,
    Date,
    Day { max: u32 },
    Time,
    TimeRange,
    Instant,
    InstantOrSpan,
    Days,
    Again,
    Moment,
    Pace,
    Rate,
    MaxOrOff,
    CapWindow,
    CapCategories,
    WhenCapped,
    CountOrBounds,
    Bounds,
    Comparison,
    Scalar,
    OneOf { choices: Vec<String> },
    Secret,
    HttpsUrl,
    LinkUrl,
    ActionUri,
    BaseUrl,
    DatabaseUrl,
    Listen,
    Rule,
    Age,
    NumberWithin { min: i64, max: i64 },
    Exception,
    Cron,
    ChannelId,
    Colour,
    UnitName,
    Happening,
    DayAttribute,
    Action,
    RichMenu,
}

/// The kind of a TOML value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "TOML's own words")]
pub enum Found {
    String,
    Integer,
    Float,
    Boolean,
    Datetime,
    Array,
    Table,
}

/// What kind of thing a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the glossary")]
pub enum Noun {
    Segment,
    Attribute,
    Category,
    Account,
    Zone,
    Plan,
    Webhook,
}

impl Expected {
    /// Reads after "expected" / before 「を書きます」.
    pub fn text(&self, lang: Lang) -> String {
        let fixed = |ja: &str, en: &str| lang.pick(ja, en).to_owned();
        match self {
            Expected::Text => fixed("\"…\" で囲んだ文字列", "a text in \"…\""),
            Expected::Name => fixed("1〜200文字の名前", "a name of 1 to 200 characters"),
            Expected::Slug => fixed("1〜64文字の文字・数字・`-`・`_`", "1 to 64 letters, digits, `-` or `_`"),
            Expected::Whole { min: i64::MIN, .. } => fixed("整数", "a whole number"),
            Expected::Whole { min, max } if *max >= i64::from(u32::MAX) => {
                lang.pick(format!("{min} 以上の整数"), format!("a whole number from {min} up"))
            }
            Expected::Whole { min, max } => {
                lang.pick(format!("{min}〜{max} の整数"), format!("a whole number from {min} to {max}"))
            }
            Expected::Number => fixed("数", "a number"),
            Expected::Flag => fixed("true か false", "true or false"),
            Expected::Yes => "true".to_owned(),
            Expected::List => fixed("[ ] で囲んだ一覧", "a list in [ ]"),
            Expected::Tables { header } => lang.pick(
                format!("カッコを二重にした {header}、または [ ] で囲んだ一覧"),
                format!("{header} in double brackets, or a list in [ ]"),
            ),
            Expected::Table => fixed("{ } で囲んだ表、または [見出し]", "a table in { } or under a [header]"),
            Expected::Span => fixed(
                "\"30min\" \"2h\" \"7d\" のような長さ(単位は s min h d w)",
                "a length such as \"30min\", \"2h\" or \"7d\" (units s, min, h, d, w)",
            ),
            Expected::Kept { least } => lang.pick(
                format!("\"90d\" のような {least} 以上の長さ、または \"off\"(ずっと残す)"),
                format!("a length such as \"90d\", at least {least}, or \"off\" to keep it for ever"),
            ),
            Expected::Size => fixed(
                "\"500MB\" \"1GB\" \"2TB\" のような大きさ、または \"off\"",
                "a size such as \"500MB\", \"1GB\" or \"2TB\", or \"off\"",
            ),
            Expected::Share => fixed("\"5%\" のような割合(0%〜100%)", "a share such as \"5%\" (0% to 100%)"),
            Expected::Date => fixed("2026-12-04 のような日付", "a date such as 2026-12-04"),
            Expected::Day { max } => {
                lang.pick(format!("\"this\" か 1〜{max}"), format!("\"this\" or 1 to {max}"))
            }
            Expected::Time => fixed("\"18:00\" のような時刻", "a time such as \"18:00\""),
            Expected::TimeRange => {
                fixed("\"22:00-08:00\" のような時間帯か \"off\"", "hours such as \"22:00-08:00\", or \"off\"")
            }
            Expected::Instant => {
                fixed("\"2026-12-04 18:00\" のような日時", "a date and time such as \"2026-12-04 18:00\"")
            }
            Expected::InstantOrSpan => fixed(
                "\"2026-12-04 21:00\" のような日時か \"3h\" のような長さ",
                "a date and time such as \"2026-12-04 21:00\", or a length such as \"3h\"",
            ),
            Expected::Days => fixed("\"7d\" のような日数", "whole days such as \"7d\""),
            Expected::Again => {
                fixed("\"30d\" のような長さか \"never\"", "a length such as \"30d\", or \"never\"")
            }
            Expected::Moment => fixed(
                "日付 \"2026-12-04\" か日時 \"2026-12-04 18:00\"",
                "a date \"2026-12-04\" or a date and time \"2026-12-04 18:00\"",
            ),
            Expected::Pace => {
                fixed("\"2000/10min\" のような「人数/長さ」", "friends per length such as \"2000/10min\"")
            }
            Expected::Rate => {
                fixed("1秒あたりの回数 1〜2000、または \"off\"", "requests per second, 1 to 2000, or \"off\"")
            }
            Expected::MaxOrOff => fixed("0 以上の回数、または \"off\"", "a number from 0 up, or \"off\""),
            Expected::CapWindow => fixed(
                "\"day\" \"week\" \"month\" か \"7d\" のような長さ",
                "\"day\", \"week\", \"month\" or a length such as \"7d\"",
            ),
            Expected::CapCategories => fixed(
                "[\"promotion\", \"news\"] のような一覧か \"all\"",
                "a list such as [\"promotion\", \"news\"], or \"all\"",
            ),
            Expected::WhenCapped => fixed("\"skip\" か { defer = \"3d\" }", "\"skip\" or { defer = \"3d\" }"),
            Expected::CountOrBounds => {
                fixed("2 のような回数か { gte = 2 }", "a number such as 2, or { gte = 2 }")
            }
            Expected::Bounds => {
                fixed("{ gte = 20, lt = 40 } のような範囲", "bounds such as { gte = 20, lt = 40 }")
            }
            Expected::Comparison => {
                fixed("値か { gte = 1000 } のような比較", "a value, or a comparison such as { gte = 1000 }")
            }
            Expected::Scalar => {
                fixed("文字列・数・真偽・日付のどれか", "a text, a number, true/false or a date")
            }
            Expected::OneOf { choices } if choices.len() == 1 => format!("\"{}\"", choices.concat()),
            Expected::OneOf { choices } => {
                let list = choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>();
                lang.pick(format!("{} のどれか", list.join(" ")), format!("one of {}", list.join(", ")))
            }
            Expected::Secret => fixed(
                "{ file = \"…\" } { env = \"…\" } { credential = \"…\" } のどれか",
                "{ file = \"…\" }, { env = \"…\" } or { credential = \"…\" }",
            ),
            Expected::HttpsUrl => fixed(
                "https:// で始まるURL(2000文字まで。日本語などは %E5%86%AC の形で)",
                "an https:// URL of at most 2,000 characters (other than ASCII as in %E5%86%AC)",
            ),
            Expected::LinkUrl => fixed(
                "https:// か http:// で始まるURL(1000文字まで)",
                "an https:// or http:// URL of at most 1,000 characters",
            ),
            Expected::ActionUri => fixed(
                "http: https: line: tel: で始まるURI(1000文字まで。日本語などは %E5%86%AC の形で)",
                "a URI with http, https, line or tel, of at most 1,000 characters (other than ASCII as in %E5%86%AC)",
            ),
            Expected::BaseUrl => fixed(
                "\"https://api.line.me\" のようなURL(パスなし)",
                "a URL such as \"https://api.line.me\", without a path",
            ),
            Expected::DatabaseUrl => {
                fixed("\"sqlite:…\" か \"postgres://…\"", "\"sqlite:…\" or \"postgres://…\"")
            }
            Expected::Listen => fixed(
                "\"127.0.0.1:8470\" のようなアドレスとポート",
                "an address and port such as \"127.0.0.1:8470\"",
            ),
            Expected::Rule => {
                fixed("{ tag = \"会員\" } のような条件", "a condition such as { tag = \"member\" }")
            }
            Expected::Age => fixed(
                "{ within = \"7d\" } か { for_at_least = \"30d\" }",
                "{ within = \"7d\" } or { for_at_least = \"30d\" }",
            ),
            Expected::NumberWithin { min, max } => {
                lang.pick(format!("{min}〜{max} の数"), format!("a number from {min} to {max}"))
            }
            Expected::Exception => fixed(
                "\"2026-12-31\"、\"2026-12-29..2027-01-03\"、\"sun\"、\"jp-holidays\" のどれか",
                "\"2026-12-31\", \"2026-12-29..2027-01-03\", \"sun\" or \"jp-holidays\"",
            ),
            Expected::Cron => fixed(
                "\"0 18 * * 5\" のような5項目のcron(分 時 日 月 曜日)",
                "five cron fields such as \"0 18 * * 5\" (minute hour day month weekday)",
            ),
            Expected::ChannelId => fixed("数字だけのチャネルID", "a channel id, digits only"),
            Expected::Colour => fixed("\"#RRGGBB\" の色", "a colour \"#RRGGBB\""),
            Expected::UnitName => fixed("30文字までの英数字と `_`", "at most 30 letters a-z, digits or `_`"),
            Expected::Happening => fixed(
                "{ tag_added = \"体験\" } や { event = \"purchase\" } のような出来事",
                "something that happens, such as { tag_added = \"trial\" } or { event = \"purchase\" }",
            ),
            Expected::DayAttribute => {
                fixed("日付(date)か日時(instant)の属性", "an attribute that is a date or an instant")
            }
            Expected::Action => fixed(
                "{ tag = \"会員\" } のような動作、またはその一覧",
                "an action such as { tag = \"member\" }, or a list of them",
            ),
            Expected::RichMenu => fixed(
                "\"richmenu-…\" の形のID、または \"unlink\"",
                "an id such as \"richmenu-…\", or \"unlink\"",
            ),
        }
    }
}

impl Found {
    /// What stands there, for people.
    pub fn text(self, lang: Lang) -> &'static str {
        match self {
            Found::String => lang.pick("文字列", "a text"),
            Found::Integer => lang.pick("整数", "a whole number"),
            Found::Float => lang.pick("小数", "a decimal number"),
            Found::Boolean => lang.pick("真偽(true/false)", "true/false"),
            Found::Datetime => lang.pick("日付・時刻", "a date or time"),
            Found::Array => lang.pick("[ ] の一覧", "a list in [ ]"),
            Found::Table => lang.pick("{ } の表", "a table in { }"),
        }
    }
}

impl Noun {
    /// The word.
    pub fn text(self, lang: Lang) -> &'static str {
        match self {
            Noun::Segment => lang.pick("セグメント", "segment"),
            Noun::Attribute => lang.pick("属性", "attribute"),
            Noun::Category => lang.pick("カテゴリ", "category"),
            Noun::Account => lang.pick("アカウント", "account"),
            Noun::Zone => lang.pick("タイムゾーン", "time zone"),
            Noun::Plan => lang.pick("料金プラン", "plan"),
            Noun::Webhook => lang.pick("Webhook", "webhook"),
        }
    }

    /// What to do when there is none of that name.
    pub(super) fn remedy(self, lang: Lang) -> &'static str {
        match self {
            Noun::Segment => lang
                .pick("segments/ に名前.toml を置いてください", "a segment is a file NAME.toml in segments/"),
            Noun::Attribute => lang.pick(
                "attributes.toml に宣言してください(例: prefecture = \"text\")",
                "declare it in attributes.toml, such as prefecture = \"text\"",
            ),
            Noun::Category => lang.pick(
                "haishin.toml に [categories.名前] を書いてください",
                "a category is a table [categories.NAME] in haishin.toml",
            ),
            Noun::Account => lang.pick(
                "haishin.toml に [accounts.名前] を書いてください",
                "an account is a table [accounts.NAME] in haishin.toml",
            ),
            Noun::Zone => lang.pick("\"Asia/Tokyo\" のように書きます", "write it as in \"Asia/Tokyo\""),
            Noun::Plan => lang.pick(
                "haishin.toml に [plans.名前] を書いてください",
                "a plan is a table [plans.NAME] in haishin.toml",
            ),
            Noun::Webhook => lang.pick(
                "haishin.toml に [webhooks.名前] を書いてください",
                "a webhook is a table [webhooks.NAME] in haishin.toml",
            ),
        }
    }
}
