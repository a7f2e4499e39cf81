//! Everything `check` can say about a file. `words` holds each text in both languages side by side.

mod expected;
mod message;
mod words;

pub use expected::{Expected, Found, Noun};
pub use message::MessageRule;
pub use words::Words;

use serde::Serialize;

use crate::domain::attribute::AttributeType;
use crate::domain::schedule::CronError;
use crate::domain::time::{Instant, Span};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is not taken.
    Error,
    /// It is taken, and probably not what was meant.
    Warning,
    /// Worth a look.
    Hint,
}

/// One thing that is wrong. In JSON its variant is the `kind`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Problem {
    /// The file's bytes are no UTF-8.
    NotUtf8 {
        /// The first byte that is none.
        offset: usize,
    },
    /// `haishin.toml` is not there.
    NoMainFile,
    /// TOML itself is broken; `detail` is the parser's own description.
    Syntax {
        /// In the parser's words.
        detail: String,
    },
    /// A full-width character stands where TOML wants its half-width twin.
    FullWidth {
        /// What stands there.
        found: String,
        /// What to type.
        instead: String,
    },
    /// A key with letters beyond ASCII needs quotes, and is none of ours anyway.
    ForeignKey {
        /// As written.
        key: String,
    },
    /// A `.toml` file where none is looked for.
    StrayFile {
        /// The folder meant, where one is near.
        suggestion: Option<String>,
    },
    /// The name of a file or table is no slug.
    BadSlug {
        /// As written.
        slug: String,
    },
    /// Two files share a slug that should be one's own.
    DuplicateSlug {
        /// The slug.
        slug: String,
        /// The other file.
        other: String,
    },
    /// A key nobody reads.
    UnknownKey {
        /// As written.
        key: String,
        /// The nearest key that is read here.
        suggestion: Option<String>,
        /// All keys that are read here.
        known: Vec<String>,
    },
    /// A key that belongs elsewhere in the file.
    WrongPlace {
        /// The key.
        key: String,
        /// `[schedule]`, or empty for the top of the file.
        home: String,
    },
    /// A key of files of another folder.
    OtherFolder {
        /// The key.
        key: String,
        /// The folder.
        folder: String,
    },
    /// A key that only another of a drip's happenings takes.
    OnlyIn {
        /// The key.
        key: String,
        /// What takes it: `start` or `stop_on`.
        of: String,
    },
    /// A key is missing.
    MissingKey {
        /// The key.
        key: String,
    },
    /// One of several keys must stand here.
    MissingOneOf {
        /// The keys.
        keys: Vec<String>,
    },
    /// A value of another TOML type.
    WrongType {
        /// What is expected.
        expected: Expected,
        /// What stands there.
        found: Found,
    },
    /// A value of the right type that cannot be read.
    BadValue {
        /// What is expected.
        expected: Expected,
        /// What stands there.
        found: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A cron expression that is none.
    BadCron {
        /// What is wrong with it.
        #[serde(serialize_with = "as_text")]
        error: CronError,
    },
    /// A segment must name a zone, since the accounts that share it have several.
    ZoneNeeded,
    /// `5m` could be minutes or months.
    AmbiguousMinute {
        /// The number in front of the `m`.
        number: String,
    },
    /// A name that nothing has.
    Unknown {
        /// Of what kind.
        noun: Noun,
        /// The name.
        name: String,
        /// The nearest name there is.
        suggestion: Option<String>,
        /// All names, where they are few.
        known: Vec<String>,
    },
    /// Two keys that exclude each other.
    Conflict {
        /// The one that is pointed at.
        key: String,
        /// The other.
        other: String,
    },
    /// Something that a later version will do.
    Later {
        /// As written.
        feature: String,
    },
    /// Nothing in a list; says whom that selects.
    EmptyList {
        /// `true`: everybody, `false`: nobody.
        everybody: bool,
    },
    /// A number of conditions that can never hold.
    AtLeastTooMany {
        /// How many must hold.
        k: u32,
        /// How many there are.
        of: u32,
    },
    /// A test that the attribute's type does not allow.
    TypeMismatch {
        /// The attribute.
        attribute: String,
        /// Its declared type.
        declared: AttributeType,
        /// What stands there: a test's key or a kind of value.
        found: String,
    },
    /// A segment that contains itself.
    Cycle {
        /// From the segment back to itself.
        path: Vec<String>,
    },
    /// Rules within rules beyond what is evaluated.
    TooDeep {
        /// How many levels there may be, segments by name counted in.
        max: usize,
    },
    /// A tag that differs a little from one used elsewhere.
    NearTag {
        /// This one.
        tag: String,
        /// The other.
        other: String,
    },
    /// A campaign named in `received` that no file describes; it may have been sent long ago.
    UnknownCampaign {
        /// The slug.
        slug: String,
        /// The nearest one.
        suggestion: Option<String>,
    },
    /// Two things of one name in one file.
    TwoOfOneName {
        /// The name.
        name: String,
    },
    /// Shares of the arms do not add up.
    SharesSum {
        /// What they add up to.
        sum: String,
    },
    /// Some arms have a share and some have none.
    SharesPartly,
    /// A campaign must say which account it belongs to.
    AccountNeeded {
        /// All accounts.
        known: Vec<String>,
    },
    /// `haishin.toml` has no account.
    NoAccount,
    /// Two accounts have one channel id.
    TwoAccountsOneChannel {
        /// The other account.
        other: String,
    },
    /// A secret stands in the file itself.
    LiteralSecret {
        /// The key.
        key: String,
    },
    /// Plain http beyond this machine.
    PlainHttp,
    /// `rate = "off"` beyond this machine.
    RateOff,
    /// A category that does not allow `immediate`.
    NotImmediate {
        /// The category.
        category: String,
    },
    /// All due instants lie in the past. A warning for `check`; `apply` refuses what has not run yet.
    AlreadyPast {
        /// The last due instant.
        at: Instant,
        /// As the account's clock shows it.
        local: String,
    },
    /// An end that is not after its start.
    EndBeforeStart {
        /// The key of the start.
        start: String,
    },
    /// No due instant, ever.
    NeverFires,
    /// Due again before the same content may reach a friend again.
    RepeatsTooSoon {
        /// The smallest distance between two due instants.
        gap: Span,
        /// The window.
        window: Span,
    },
    /// Nothing that could happen starts a drip.
    NeverStarts,
    /// `existing = "enroll"` with a start that does not tell whom.
    CannotEnroll,
    /// Every year, but each friend starts once for ever.
    YearlyOnce,
    /// A branch for everybody else before others.
    RestNotLast,
    /// No day on which a drip's step may be due.
    StepNeverDue,
    /// A step that is not due after the one before it.
    OutOfOrder {
        /// The step.
        step: String,
        /// The one before it in the file.
        before: String,
    },
    /// A step that has the content of an earlier one, within the window.
    SameContent {
        /// The step.
        step: String,
        /// The earlier one.
        other: String,
        /// The smallest distance between the two.
        gap: Span,
        /// The window.
        window: Span,
    },
    /// An offset in `at` is taken rather than the zone.
    OffsetWins {
        /// The instant in the zone.
        local: String,
        /// The zone.
        zone: String,
    },
    /// The local clock never shows this time.
    SkippedTime {
        /// What is taken.
        taken: String,
    },
    /// The local clock shows this time twice.
    RepeatedTime {
        /// What is taken.
        taken: String,
    },
    /// Due within the quiet hours.
    DueInQuietHours {
        /// When the first friend gets it.
        ends: String,
    },
    /// The deadline passes before the quiet hours end.
    DeadlineInQuietHours {
        /// When they end.
        ends: String,
    },
    /// A `{{ … }}` that is none of ours.
    BadTemplate {
        /// What stands inside.
        expression: String,
    },
    /// A text that is longer than LINE takes.
    TooLong {
        /// The limit.
        max: usize,
        /// The length.
        is: usize,
        /// In what it is counted.
        unit: LengthUnit,
    },
    /// A list with more or fewer entries than LINE takes.
    WrongCount {
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
        /// How many there are.
        is: usize,
    },
    /// `contents_json` is no JSON.
    BadJson {
        /// Line within the text, from 1.
        line: usize,
        /// Column within the line, from 1.
        column: usize,
        /// In the parser's words.
        detail: String,
    },
    /// Another rule of LINE's about messages.
    Message {
        /// Which.
        rule: MessageRule,
    },
}

/// In what LINE counts a text's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LengthUnit {
    /// UTF-16 code units: most emoji are two.
    Utf16,
    /// What a reader sees as one character.
    Graphemes,
    /// Bytes of JSON.
    Bytes,
}

fn as_text<S: serde::Serializer>(error: &CronError, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(error)
}

impl Problem {
    /// How bad it is for `check`.
    pub fn severity(&self) -> Severity {
        match self {
            Problem::StrayFile { .. }
            | Problem::EmptyList { .. }
            | Problem::UnknownCampaign { suggestion: Some(_), .. }
            | Problem::AlreadyPast { .. }
            | Problem::SkippedTime { .. }
            | Problem::RepeatedTime { .. }
            | Problem::YearlyOnce
            | Problem::OutOfOrder { .. }
            | Problem::DueInQuietHours { .. } => Severity::Warning,
            Problem::Message { rule } if rule.is_warning() => Severity::Warning,
            Problem::NearTag { .. } | Problem::OffsetWins { .. } | Problem::UnknownCampaign { .. } => {
                Severity::Hint
            }
            _ => Severity::Error,
        }
    }

    /// Whether it says that something is absent: in a file with broken syntax that may be no more than an echo.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            Problem::MissingKey { .. }
                | Problem::MissingOneOf { .. }
                | Problem::EmptyList { .. }
                | Problem::WrongCount { .. }
                | Problem::SharesPartly
                | Problem::SharesSum { .. }
                | Problem::AccountNeeded { .. }
                | Problem::NoAccount
                | Problem::NeverFires
        )
    }
}
