//! A campaign as validated: whom, what, when, under which policy.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{AccountSlug, CampaignSlug, CategoryName, SegmentSlug, StepName, TagName, VariantName};
use super::message::MessageSet;
use super::policy::Share;
use super::schedule::Schedule;
use super::segment::rule::Rule;
use super::time::{Instant, Span};

/// What goes out, and under which policy: of a campaign, or of one step of a drip. All that the planner asks of
/// either.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The campaign's or drip's file's slug: its identity for ever.
    pub slug: CampaignSlug,
    /// The drip's step; none for a campaign.
    pub step: Option<StepName>,
    /// What the marketer calls it.
    pub title: String,
    /// Whose friends.
    pub account: AccountSlug,
    /// Caps count by category.
    pub category: CategoryName,
    /// 0–100, default 50; higher freezes first, then slug by code point.
    pub priority: u8,
    /// After all exclusions; more = refuse.
    pub max_recipients: Option<u64>,
    /// The share of those who could receive that gets nothing.
    pub holdout: Share,
    /// Draw so many of those who could receive; the others are excluded as `not sampled`.
    pub sample: Option<u64>,
    /// At most once per friend in this time.
    pub once: Option<Span>,
    /// Narrows the same-content window.
    pub repeat_after: Option<Span>,
    /// `reach = "everyone"`: the blanket guard does not refuse.
    pub reach_everyone: bool,
    /// Quiet hours do not bind it (only a category that allows it).
    pub immediate: bool,
    /// What becomes of a friend without room under a cap.
    pub when_capped: WhenCapped,
    /// At least one arm, in file order.
    pub variants: Vec<Variant>,
    /// At most so many friends per span, spreading an occurrence.
    pub pace: Option<Pace>,
    /// `false`: delivered silently.
    pub notify: bool,
    /// A tag of its category whose holders are opted out.
    pub opt_out: Option<TagName>,
    /// After it, nothing of an occurrence is sent.
    pub deadline: Option<Deadline>,
}

/// A one-off or recurring campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// What it sends.
    pub dispatch: Dispatch,
    /// The segment named, or none for an inline `audience`.
    pub segment: Option<SegmentSlug>,
    /// The rule, with segments by name inside.
    pub audience: Arc<Rule>,
    /// When.
    pub schedule: Schedule,
    /// Raised by one to run a one-shot again; 0 at first.
    pub rerun: u32,
    /// Checked, planned, test-sent, never sent.
    pub draft: bool,
}

/// What becomes of a friend without room under a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenCapped {
    /// Excluded; gets nothing of this occurrence.
    Skip,
    /// Waits for room, so long from the due instant.
    Defer(Span),
}

/// When an occurrence's sending ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// A fixed instant (one-shots).
    At(Instant),
    /// So long after the due instant (recurrences).
    After(Span),
}

impl Deadline {
    /// The instant for an occurrence due at `due`.
    pub fn instant(self, due: Instant) -> Instant {
        match self {
            Deadline::At(at) => at,
            Deadline::After(span) => due + span,
        }
    }
}

/// An arm of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// `a`, `b`, … or the marketer's name; the only arm of a plain campaign is `main`.
    pub name: VariantName,
    /// Its share of those not held out; all arms sum to exactly 100 %, or all are equal.
    pub share: VariantShare,
    /// 1–5 message objects.
    pub messages: MessageSet,
}

/// How arms divide an audience. All arms of a dispatch are of one kind.
#[derive(Debug, Clone, PartialEq)]
pub enum VariantShare {
    /// The same for each arm: shares were omitted.
    Equal,
    /// This share.
    Share(Share),
    /// A branch of a step: whoever this rule holds for, and no earlier branch's.
    Branch(Arc<Rule>),
}

/// `pace = "2000/10min"`: at most `friends` in any `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// How many friends.
    pub friends: u32,
    /// In how long.
    pub per: Span,
}
