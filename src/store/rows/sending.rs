//! Occurrences: what a freeze fixes, what strides open and how batches end.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::domain::campaign::Pace;
use crate::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use crate::domain::id::{CampaignSlug, CategoryName, OccurrenceId, StepName, VariantName, VersionId};
use crate::domain::key::Run;
use crate::domain::message::ContentDigest;
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span};

/// An occurrence without its sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OccurrenceRow {
    /// Its number.
    pub id: OccurrenceId,
    /// Whose.
    pub campaign: CampaignSlug,
    /// The drip's step; none for a campaign.
    pub step: Option<StepName>,
    /// When it was due.
    pub due_at: Instant,
    /// Which run.
    pub run: Run,
    /// The occurrence whose deferred friends this is, with its child number; `(None, 0)` for most.
    pub parent: Option<OccurrenceId>,
    /// 0 unless a child.
    pub child: u32,
    /// The configuration it was frozen under.
    pub version: VersionId,
    /// Where it stands.
    pub state: OccurrenceState,
    /// Why it stands there: refused, missed, paused, held, cancelled.
    pub reason: Option<Reason>,
    /// Counts at the decision, LINE's month, warnings: JSON, so that "why" can always be told.
    pub detail: serde_json::Value,
    /// The category when sent.
    pub category: CategoryName,
    /// Whether caps count it.
    pub capped: bool,
    /// Quiet hours do not bind it.
    pub immediate: bool,
    /// When it was frozen, refused or found missed.
    pub frozen_at: Instant,
    /// After it nothing is sent.
    pub deadline_at: Option<Instant>,
    /// Spread over time.
    pub pace: Option<Pace>,
    /// `false`: silent.
    pub notify: bool,
    /// Friends the rule matched.
    pub matched: u64,
    /// Friends in the variants' sets.
    pub recipients: u64,
    /// The effective instants of its parts, by first batch; at least one once frozen.
    pub parts: Vec<Part>,
    /// When the last outcome came.
    pub finished_at: Option<Instant>,
}

/// What is sent between two resumptions: deliveries that get their outcome from its instant on count at that instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The first batch that had not been opened when it began.
    pub from_batch: u32,
    /// The instant its deliveries count at: the freeze's effective instant, then each resumption.
    pub effective_at: Instant,
}

/// A frozen arm.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantRow {
    /// Position in the file: batches are numbered by it.
    pub position: u32,
    /// Its name.
    pub name: VariantName,
    /// The bytes of `messages`, as they go out.
    pub messages: String,
    /// Digest of the content.
    pub content: ContentDigest,
    /// Statistics unit, none on test sends.
    pub unit: Option<String>,
    /// Who gets it, ascending dense id being the order.
    pub recipients: RoaringBitmap,
}

/// Friends that a freeze excluded for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct ExcludedSet {
    /// Why.
    pub exclusion: Exclusion,
    /// Who.
    pub friends: RoaringBitmap,
}

/// Deliveries of an ended occurrence that are alike: of one arm, effective at one instant, ended one way.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliverySet {
    /// The arm's position.
    pub position: u32,
    /// The instant they count at.
    pub effective_at: Instant,
    /// How they ended.
    pub outcome: Outcome,
    /// Who.
    pub friends: RoaringBitmap,
}

/// How many friends an occurrence left out and what became of the others: kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// By exclusion, in their order.
    pub excluded: Vec<(Exclusion, u64)>,
    /// By outcome, once it has ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// By arm, in the order of the file.
    pub arms: Vec<Arm>,
}

/// A frozen arm without its set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// Its name.
    pub name: VariantName,
    /// Statistics unit, none on test sends.
    pub unit: Option<String>,
    /// How many get it.
    pub friends: u64,
}

/// A new occurrence, with everything its freeze fixes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOccurrence {
    /// The row.
    pub row: OccurrenceRow,
    /// The arms; none for refused and missed ones.
    pub variants: Vec<VariantRow>,
    /// The exclusions.
    pub sets: Vec<ExcludedSet>,
}

/// Batches `first..upto` are open from `opened_at`: possibly tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrideRow {
    /// Whose.
    pub occurrence: OccurrenceId,
    /// First batch.
    pub first: u32,
    /// One past the last.
    pub upto: u32,
    /// Wall clock at the opening.
    pub opened_at: Instant,
    /// Names the boot the next field counts in.
    pub boot_id: String,
    /// Since that boot.
    pub since_boot: Span,
    /// SHA-256 of each batch's body, in order.
    pub digests: Vec<[u8; 32]>,
}

/// A batch with something to say of its own: an outcome, or an identity beyond the frozen numbering.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRow {
    /// Whose.
    pub occurrence: OccurrenceId,
    /// Its number; children are numbered after the frozen ones.
    pub n: u32,
    /// Which body under that number.
    pub generation: u32,
    /// The batch it was cut from.
    pub parent: Option<u32>,
    /// Its friends, where they are not the frozen range (children).
    pub friends: Option<RoaringBitmap>,
    /// How many friends.
    pub friend_count: u32,
    /// When it was opened, where no stride says so (children, new generations).
    pub opened: Option<Opened>,
    /// SHA-256 of its body.
    pub body_sha256: [u8; 32],
    /// How it ended; none while open.
    pub ended: Option<BatchEnd>,
}

/// When a batch was opened, by both clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Wall clock.
    pub at: Instant,
    /// Names the boot the next field counts in.
    pub boot_id: String,
    /// Since that boot.
    pub since_boot: Span,
}

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchEnd {
    /// What became of it: an outcome for its friends, or cut into children and new generations.
    pub how: BatchEnding,
    /// When.
    pub at: Instant,
    /// Attempts this process knows of.
    pub attempts: u32,
    /// `X-Line-Request-Id` of the answer that settled it.
    pub request_id: Option<String>,
    /// `X-Line-Accepted-Request-Id` of a 409.
    pub accepted_request_id: Option<String>,
    /// Why, where it was not simply accepted.
    pub detail: Option<Reason>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEnding {
    /// All its friends ended this way.
    Outcome(Outcome),
    /// Surely not sent under this key; its friends go on in children or a new generation.
    Superseded,
}
