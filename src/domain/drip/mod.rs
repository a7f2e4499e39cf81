//! A drip as validated: what starts it, what ends it, and its steps. `docs/drips.md` states what each form means.
//!
//! An [`Enrollment`] is one friend's way through a drip, a pure state machine: the owner persists what it decides in
//! the transaction that also holds the cause (journal entries, a step's freeze), so every step happens once.

mod enrollment;
mod happening;
mod listen;
mod timing;
mod ways;

pub use enrollment::{Ending, Enrollment, Standing};
pub use happening::{Count, Happening};
pub use listen::{Before, Heard, Listeners, Role};
pub use timing::{Timing, Wait};
pub use ways::{DueStep, Ways};

use std::sync::Arc;

use super::attribute::Value;
use super::campaign::Dispatch;
use super::friend::Status;
use super::id::{AccountSlug, AttributeName, CampaignSlug, StepName, TagName, WebhookName};
use super::schedule::{IfMissed, TimeOfDay};
use super::segment::rule::{Age, AttributeTest, Bound, Comparison, Condition, EventCondition, Measure, Rule};
use super::time::{Span, Tz};

/// A drip: friends start one by one and go through its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Drip {
    /// Its file's slug: its identity for ever. Drips and campaigns share one space of slugs.
    pub slug: CampaignSlug,
    /// What the marketer calls it.
    pub title: String,
    /// Whose friends.
    pub account: AccountSlug,
    /// What starts a friend.
    pub start: Start,
    /// Who may start; everybody when absent. Looked at once, right after the start.
    pub entry: Option<Arc<Rule>>,
    /// Whether those start for whom the start lies at or before the drip's activation.
    pub existing: Existing,
    /// Whether a friend may start once more.
    pub again: Again,
    /// A state, looked at before each step: a friend it holds for goes no further.
    pub stop: Option<Arc<Rule>>,
    /// What ends a friend's way when it happens after the start.
    pub stop_on: Option<Happening>,
    /// What the drip is for: ends a friend's way as reached when it happens after the start.
    pub goal: Option<Happening>,
    /// Whose clock the steps' local times are of.
    pub zone: Tz,
    /// What becomes of steps that fell due while nothing could run, friend by friend.
    pub if_missed: IfMissed,
    /// How late a step may freeze at the most.
    pub grace: Span,
    /// Friends on their way in an earlier version go on in this one.
    pub migrate: bool,
    /// Checked, planned, test-sent; starts nobody.
    pub draft: bool,
    /// At least one, in file order.
    pub steps: Vec<Step>,
}

/// What starts a friend in a drip.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// A tag is given to a friend who did not hold it.
    TagAdded(TagName),
    /// A tag is taken from a friend who held it.
    TagRemoved(TagName),
    /// An event happens.
    Event(Happening),
    /// The friend follows the account, or follows it again.
    Followed,
    /// An attribute gets another value than it had, one that passes all comparisons.
    Attribute {
        /// Which.
        name: AttributeName,
        /// What the new value must pass; any other value when empty.
        to: Vec<Comparison>,
    },
    /// A local day at a distance from a date or instant among the friend's attributes.
    Date(DateStart),
}

impl Start {
    /// Whom [`Existing::Enroll`] starts, asked at the activation. `None` where that cannot be told any more: nobody
    /// keeps who once held a tag, and a day that has passed is over.
    pub fn existing(&self) -> Option<Rule> {
        let condition = match self {
            Start::TagAdded(tag) => Condition::Tag { tag: tag.clone(), held: Age::Any },
            Start::Event(Happening::Event { event, properties, count }) => {
                let (within, mut bounds) =
                    count.as_ref().map_or((None, Vec::new()), |count| (count.within, count.bounds.clone()));
                // Bounds that no event at all satisfies start nobody to whom none happened.
                bounds.push(Bound::Gte(1));
                let (event, properties) = (event.clone(), properties.clone());
                Condition::Event(EventCondition {
                    event,
                    within,
                    properties,
                    measure: Measure::Count(bounds),
                })
            }
            Start::Followed => Condition::Status(Status::Following),
            Start::Attribute { name, to } => {
                let test = if to.is_empty() {
                    AttributeTest::IsSet(true)
                } else {
                    AttributeTest::Compare(to.clone())
                };
                Condition::Attribute { name: name.clone(), test }
            }
            Start::TagRemoved(_) | Start::Event(_) | Start::Date(_) => return None,
        };
        Some(Rule::Is(condition))
    }
}

/// "7 days before `booking_at` at 18:00", "on the birthday at 10:00".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateStart {
    /// A date or an instant, of which the local day counts.
    pub attribute: AttributeName,
    /// Days from that day: negative before it.
    pub days: i64,
    /// Each year, as a birthday; a 29 February is 1 March in common years.
    pub yearly: bool,
    /// The local time of the start.
    pub at: TimeOfDay,
}

/// Whether those start for whom the start lies at or before the drip's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They do not.
    Ignore,
    /// They start at the activation.
    Enroll,
}

/// Whether a friend who started before may start once more. While one way is not over no other begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Once for ever.
    Never,
    /// When so long has passed since the last start.
    After(Span),
}

impl Again {
    /// Whether a start at `at` is allowed after one at `last`.
    pub fn allows(self, last: super::time::Instant, at: super::time::Instant) -> bool {
        match self {
            Again::Never => false,
            Again::After(span) => at - last >= span,
        }
    }
}

/// One step. Its name is its identity: reordering a file never repeats one.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// When it is due.
    pub timing: Timing,
    /// Who takes part in it, looked at when it is due; a friend outside passes it by. Everybody when absent.
    pub segment: Option<Arc<Rule>>,
    /// What happens.
    pub content: Content,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Sends messages: an occurrence like any other.
    Send(Box<Dispatch>),
    /// Does these, in order, in one transaction.
    Act(Vec<Action>),
}

/// What a step does without sending.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Gives a tag, for a while or for good.
    Tag {
        /// Which.
        tag: TagName,
        /// Falls off by itself after so long, unless it was given anew meanwhile.
        lasts: Option<Span>,
    },
    /// Takes a tag away.
    Untag(TagName),
    /// Sets an attribute, or takes its value away.
    Attribute {
        /// Which.
        name: AttributeName,
        /// The value; `None` removes it.
        value: Option<Value>,
    },
    /// Links a rich menu, or unlinks the one there is.
    RichMenu(Option<RichMenuId>),
    /// Tells a system of the shop's.
    Webhook(WebhookName),
}

/// LINE's id of a rich menu (`richmenu-…`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RichMenuId(String);

impl RichMenuId {
    /// Takes what LINE gives: 1 to 100 letters, digits and `-`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=100).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RichMenuId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not an id of a rich menu"))
    }
}

impl From<RichMenuId> for String {
    fn from(id: RichMenuId) -> String {
        id.0
    }
}

impl Drip {
    /// A step by name.
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == *name)
    }
}

impl Step {
    /// What it sends, if it sends.
    pub fn dispatch(&self) -> Option<&Dispatch> {
        match &self.content {
            Content::Send(dispatch) => Some(dispatch),
            Content::Act(_) => None,
        }
    }
}
