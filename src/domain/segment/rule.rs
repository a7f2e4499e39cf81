//! A segment rule as data. `docs/segments.md` states what each form means, to the letter.

use chrono::NaiveDate;

use crate::domain::attribute::Value;
use crate::domain::friend::Status;
use crate::domain::id::{AttributeName, CampaignSlug, EventName, PropertyName, SegmentSlug, TagName};
use crate::domain::time::{Span, Tz};

/// A set of friends, described.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Friends in every one; everybody when empty.
    All(Vec<Rule>),
    /// Friends in at least one; nobody when empty.
    Any(Vec<Rule>),
    /// Every friend of the account not in it, blocked ones included.
    Not(Box<Rule>),
    /// Friends in at least `k` of the rules.
    AtLeast {
        /// How many rules must hold.
        k: u32,
        /// The rules, each counted once however often it stands here.
        of: Vec<Rule>,
    },
    /// A leaf.
    Is(Condition),
    /// Another segment by name.
    Segment(SegmentSlug),
}

/// A leaf of a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Holds a tag.
    Tag {
        /// Which.
        tag: TagName,
        /// Since when.
        held: Age,
    },
    /// An attribute passes a test; a missing value passes none but `is_set = false`.
    Attribute {
        /// Which.
        name: AttributeName,
        /// The test.
        test: AttributeTest,
    },
    /// Events of one name, counted or measured.
    Event(EventCondition),
    /// The last known follow.
    Followed(Age),
    /// Reachable or not, as stored.
    Status(Status),
    /// A delivery of this campaign: reserved, accepted or unknown.
    Received {
        /// Which campaign.
        campaign: CampaignSlug,
        /// `(now − within, now]`; ever when absent.
        within: Option<Span>,
    },
}

/// How long ago something with an instant must have happened; an instant after now has not happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Whenever, up to now.
    Any,
    /// At or before now − d.
    ForAtLeast(Span),
    /// Within (now − d, now].
    Within(Span),
}

/// A comparison. Numbers of both kinds compare exactly with each other; a text never equals a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Comparison {
    /// Equal.
    Eq(Value),
    /// Has a value, and not this one.
    Ne(Value),
    /// Equal to one of these.
    In(Vec<Value>),
    /// Has a value, and none of these.
    NotIn(Vec<Value>),
    /// Greater than.
    Gt(Value),
    /// At least.
    Gte(Value),
    /// Less than.
    Lt(Value),
    /// At most.
    Lte(Value),
    /// A text that contains this one.
    Contains(String),
    /// A text that starts with this one.
    StartsWith(String),
}

/// A test of one attribute. All comparisons of a list must hold (`{ gte = 20, lt = 40 }`).
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeTest {
    /// Comparisons with constants, all of which must hold.
    Compare(Vec<Comparison>),
    /// Whether there is a value at all.
    IsSet(bool),
    /// A date read as a birthday: full years completed on the local day of now. 29 February completes a year on
    /// 1 March of a common year. All bounds must hold.
    Age {
        /// Bounds on the age in whole years.
        bounds: Vec<Bound<i64>>,
        /// Whose local day is "today".
        zone: Tz,
    },
    /// A date whose month is this one (1–12) or the month of now in the zone.
    Month(Calendar),
    /// A date whose day of the month is this one (1–31) or the day of now in the zone.
    Day(Calendar),
    /// A date or instant at a distance before now: dates count local days, instants spans.
    /// `within = d`: in (now − d, now]; for a date, 0 ≤ days ago < d in days.
    Past {
        /// The window's length.
        within: Span,
        /// Whose local day is "today".
        zone: Tz,
    },
    /// A date or instant ahead of now: in (now, now + d]; for a date, 0 < days ahead ≤ d in days.
    Ahead {
        /// The window's length.
        within: Span,
        /// Whose local day is "today".
        zone: Tz,
    },
    /// A date or instant at least this long ago: at or before now − d; for a date, days ago ≥ d in days.
    AgoAtLeast {
        /// The distance.
        span: Span,
        /// Whose local day is "today".
        zone: Tz,
    },
    /// A date that is exactly this local day relative to today (`0` today, `7` in a week, `-1` yesterday).
    OnDay {
        /// Days from today.
        offset: i64,
        /// Whose local day is "today".
        zone: Tz,
    },
}

/// A number of a calendar field, or that of now in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// This number.
    Number(u32),
    /// The one now shows in the zone (`"this"`).
    This(Tz),
}

/// One bound of a measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound<T> {
    /// Equal.
    Eq(T),
    /// Not equal.
    Ne(T),
    /// Greater than.
    Gt(T),
    /// At least.
    Gte(T),
    /// Less than.
    Lt(T),
    /// At most.
    Lte(T),
}

/// Events of one name within a window that pass the property tests, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct EventCondition {
    /// What happened.
    pub event: EventName,
    /// `(now − within, now]`; everything up to now when absent.
    pub within: Option<Span>,
    /// All must hold on the event; a missing property fails its comparison.
    pub properties: Vec<(PropertyName, Vec<Comparison>)>,
    /// What is asked of the events that are left. `never` is `Count([Eq(0)])`.
    pub measure: Measure,
}

/// What is asked of a friend's matching events. All bounds of a list must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// How many; includes friends without events where 0 satisfies the bounds.
    Count(Vec<Bound<i64>>),
    /// The sum of a numeric property; an event without it adds 0, no events sum to 0.
    Sum {
        /// The property.
        of: PropertyName,
        /// Bounds on the sum, compared exactly.
        bounds: Vec<Bound<Number>>,
    },
    /// The latest matching event's age; a friend without one fails.
    Last(Age),
}

/// A constant for comparison with a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A 64-bit whole number.
    Integer(i64),
    /// A finite double.
    Double(f64),
}

/// A named rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Its file's slug.
    pub slug: SegmentSlug,
    /// What the marketer calls it.
    pub title: String,
    /// The rule.
    pub rule: Rule,
}

/// A day, for rules that name one.
pub type Day = NaiveDate;
