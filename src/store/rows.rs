//! What the store keeps, as plain data. `docs/schema.md` explains each table.

mod access;
mod drip;
mod erasure;
mod outbox;
mod sending;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::delivery::OccurrenceState;
use crate::domain::drip::Enrollment;
use crate::domain::effect::{DedupeId, Entry, Intake};
use crate::domain::friend::{Friend, Miss};
use crate::domain::id::{
    AccountId, AccountSlug, CampaignSlug, FriendId, OccurrenceId, Seq, StepName, TagName, VersionId,
};
use crate::domain::outbox::Request;
use crate::domain::reason::Reason;
use crate::domain::schedule::Planned;
use crate::domain::time::Instant;
pub use access::{ANSWERS_KEPT, ApiAnswer, NewToken, TokenRow};
pub use drip::{DeferralRow, StepTotals, TagExpiry};
pub use erasure::{Erasure, Naming};
pub use outbox::{GivenUp, OutboxLane, OutboxRow};
pub use sending::{
    Arm, BatchEnd, BatchEnding, BatchRow, DeliverySet, ExcludedSet, NewOccurrence, OccurrenceRow, Opened,
    Part, StrideRow, Tally, VariantRow,
};

use crate::store::Prune;

/// A configuration version: text and digest of all files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    /// Its number.
    pub id: VersionId,
    /// SHA-256 over all paths and texts.
    pub digest: [u8; 32],
    /// Relative path to text.
    pub files: BTreeMap<String, String>,
    /// When it was activated.
    pub activated_at: Instant,
    /// By whose act: a user name, `first start`, `SIGHUP`.
    pub activated_by: String,
}

/// A version to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// SHA-256 over all paths and texts.
    pub digest: [u8; 32],
    /// Relative path to text.
    pub files: BTreeMap<String, String>,
    /// Now.
    pub activated_at: Instant,
    /// By whose act.
    pub activated_by: String,
}

/// Why, since when and by whom something stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// Since when.
    pub at: Instant,
    /// A user's name, or the guard that did it.
    pub by: String,
    /// What happened.
    pub reason: Reason,
}

/// An account's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// Row id.
    pub id: AccountId,
    /// Name in the configuration.
    pub slug: AccountSlug,
    /// LINE's channel id.
    pub channel_id: String,
    /// Friend rows hold everything up to this entry.
    pub folded_seq: Seq,
    /// The last journal entry.
    pub journal_seq: Seq,
    /// For a day from here nothing is too old to be kept: an import was applied, or the clock leapt.
    pub grace_from: Option<Instant>,
    /// The emergency brake (`stop`).
    pub stopped: Option<Halt>,
    /// Paused by a guard: 401, 403, three rejected batches in a row.
    pub paused: Option<Halt>,
}

/// A lease as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The state directory that holds it.
    pub holder: String,
    /// Until when.
    pub expires_at: Instant,
    /// The number of the last owner transaction.
    pub seq: i64,
    /// The latest instant any of them saw.
    pub seen_at: Instant,
}

/// A row for the inbox: intakes of one request, webhook body or import chunk, applied together.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInbox {
    /// Whose.
    pub account: AccountId,
    /// When this node received it; order across nodes.
    pub received_at: Instant,
    /// One of the words below, or `command`.
    pub source: String,
    /// At most 5,000 a row.
    pub intakes: Vec<Intake>,
}

impl NewInbox {
    /// The source of rows that a person's file says.
    pub const IMPORT: &str = "import";
    /// The source of rows that the shop's own systems say.
    pub const API: &str = "api";
    /// The source of rows that LINE says.
    pub const WEBHOOK: &str = "webhook";
    /// The source of rows that LINE says while another module than the account's bot holds the friend's chat: nothing
    /// may be sent for what they say.
    pub const STANDBY: &str = "standby";
}

/// A webhook to be handed on, as it came: durable together with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelay {
    /// Whose.
    pub account: AccountId,
    /// When this node received it.
    pub received_at: Instant,
    /// LINE's signature of the body.
    pub signature: String,
    /// The body, byte for byte.
    pub body: String,
}

/// A webhook that waits to be handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRow {
    /// What a commit lets it go by; later ones have higher ones, mostly.
    pub id: i64,
    /// When it was received.
    pub received_at: Instant,
    /// LINE's signature of the body.
    pub signature: String,
    /// The body, byte for byte.
    pub body: String,
}

/// How much waits somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// How many rows.
    pub rows: u64,
    /// When the oldest was received.
    pub oldest: Option<Instant>,
}

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// What a commit consumes it by.
    pub id: i64,
    /// When it was received.
    pub received_at: Instant,
    /// Where it came from.
    pub source: String,
    /// What it says.
    pub intakes: Vec<Intake>,
}

/// What an inbox row said of no one friend: kept where a person finds it, applied to nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStray {
    /// When its row was received.
    pub received_at: Instant,
    /// Where its row came from.
    pub source: String,
    /// Why no one friend is meant.
    pub reason: Miss,
    /// What was said.
    pub intake: Intake,
}

/// A stray as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StrayRow {
    /// Its number; later ones have higher ones.
    pub id: i64,
    /// When its row was applied.
    pub at: Instant,
    /// When its row was received.
    pub received_at: Instant,
    /// Where its row came from.
    pub source: String,
    /// Why no one friend was meant then.
    pub reason: Miss,
    /// What was said.
    pub intake: Intake,
}

/// A checkpoint of the index: complete or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Replay starts after this entry.
    pub seq: Seq,
    /// Where its chunks are, by kind, key and chunk.
    pub chunks: Vec<ChunkKey>,
}

/// Where a chunk of a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkKey {
    /// Which column family.
    pub kind: String,
    /// Which column.
    pub key: String,
    /// Friend id / 65,536.
    pub chunk: u32,
    /// The checkpoint it was written for.
    pub number: i64,
}

/// One chunk of 65,536 friends of one column of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointChunk {
    /// Which column family: `tag`, `attribute`, …
    pub kind: String,
    /// Which column.
    pub key: String,
    /// Friend id / 65,536.
    pub chunk: u32,
    /// The journal number it is as of.
    pub seq: Seq,
    /// Over kind, key, chunk, seq and data.
    pub checksum: i64,
    /// The encoding of the index.
    pub data: Vec<u8>,
}

/// What is stored of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignRow {
    /// Which.
    pub campaign: CampaignSlug,
    /// The drip's step; none for a campaign.
    pub step: Option<StepName>,
    /// Digest of the schedule that `activated_at` speaks of.
    pub schedule_digest: [u8; 32],
    /// When this schedule went live: nothing at or before is due by it.
    pub activated_at: Instant,
    /// What was planned last: what is due next lies strictly after.
    pub last_planned: Option<Planned>,
    /// Paused by a person or a guard.
    pub paused: Option<Halt>,
}

/// LINE's monthly numbers as last read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaReading {
    /// `2026-12`, in UTC+9.
    pub month: String,
    /// The last instant that was over when they came; what is accepted after it counts on top.
    pub read_at: Instant,
    /// The month's limit; none is unlimited.
    pub limit: Option<u64>,
    /// LINE's own, approximate count.
    pub used: u64,
}

/// What a person did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActRow {
    /// When.
    pub at: Instant,
    /// Who.
    pub by: String,
    /// `stop`, `start`, `accept-clock`, `pause`, `resume`, `cancel`, `resolve`, `test-send`, `apply`.
    pub act: String,
    /// On what.
    pub subject: String,
    /// In which words.
    pub detail: String,
}

/// Which occurrences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OccurrenceFilter {
    /// Those whose last outcome has not come.
    Open,
    /// One.
    Id(OccurrenceId),
    /// Those due last of a campaign, or of all.
    Newest {
        /// Which campaign; all if none.
        campaign: Option<CampaignSlug>,
        /// At most so many.
        limit: u32,
    },
}

/// Which past sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentFilter {
    /// Those that took effect at or after the instant.
    Since(Instant),
    /// Those of a campaign that took effect before the instant and are not in what [`Store::received`] gives.
    ///
    /// [`Store::received`]: super::Store::received
    Unmerged {
        /// Which campaign.
        campaign: CampaignSlug,
        /// Before when.
        before: Instant,
    },
}

/// One step of an owner's transaction. They apply in order, together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Journal entries numbered on from `journal_seq`, without gaps.
    Entries(Vec<Entry>),
    /// What must not be applied again. An identity that is known already fails the transaction: the owner looks
    /// first.
    Known(Vec<DedupeId>),
    /// Inbox rows applied by this transaction; one that is not there any more fails it.
    ConsumeInbox(Vec<i64>),
    /// What inbox rows applied by this transaction said of no one friend.
    Strays(Vec<NewStray>),
    /// Strays up to this number were dealt with.
    ForgetStrays(i64),
    /// An import was applied, or the clock leapt: nothing is too old to be kept for a while.
    Grace,
    /// Friend rows with everything up to `folded_seq`; an older fold than the stored one is refused as corrupt.
    Fold {
        /// Whole rows, replacing those there.
        friends: Vec<Friend>,
        /// As of.
        folded_seq: Seq,
    },
    /// Checkpoint chunks, replacing those of the same (kind, key, chunk). Not valid before its manifest; until then
    /// the last complete checkpoint stays. A new claim forgets those of an unfinished one.
    CheckpointChunks(Vec<CheckpointChunk>),
    /// The checkpoint is complete as of this entry; `None` forgets the checkpoint and its chunks.
    CheckpointManifest(Option<Seq>),
    /// The emergency brake.
    Stopped(Option<Halt>),
    /// The account's pause.
    AccountPaused(Option<Halt>),
    /// A campaign's row, replacing the one there.
    Campaign(CampaignRow),
    /// An occurrence with everything its freeze fixes. A second one with the same identity fails the transaction.
    Occurrence(Box<NewOccurrence>),
    /// An occurrence moves on; nothing else of it changes.
    OccurrenceState {
        /// Which.
        occurrence: OccurrenceId,
        /// From where (another stored state fails the transaction).
        from: OccurrenceState,
        /// Where to.
        to: OccurrenceState,
        /// Why.
        reason: Option<Reason>,
        /// When its last outcome came, if this ends it.
        finished_at: Option<Instant>,
    },
    /// A new part begins (a resumption).
    Part {
        /// Which.
        occurrence: OccurrenceId,
        /// The part.
        part: Part,
    },
    /// Batches are open from now on. One digest for each; a second stride with the same first batch fails the
    /// transaction.
    Stride(StrideRow),
    /// Batch rows, replacing those of the same (n, generation).
    Batches(Vec<BatchRow>),
    /// All deliveries of an ended occurrence, in the place of those there.
    Deliveries {
        /// Whose.
        occurrence: OccurrenceId,
        /// All of them.
        sets: Vec<DeliverySet>,
    },
    /// These webhooks need not be handed on any more; one that is not there is no failure.
    Relayed(Vec<i64>),
    /// One slice of pruning.
    Prune(Prune),
    /// LINE's numbers.
    Quota(QuotaReading),
    /// What a person did.
    Act(ActRow),
    /// The instant of this transaction is the latest one seen, although later ones were: a person said so.
    ClockAccepted,
    /// Friends' ways through drips, replacing those of the same (drip, friend, start).
    Enrollments(Vec<Enrollment>),
    /// Starts that turned out to be none, by (drip, friend, start); one that is not there, or has begun, is left.
    DropEnrollments(Vec<(CampaignSlug, FriendId, Instant)>),
    /// Whom a cap deferred, replacing what is there of the same occurrence.
    Deferral(Box<DeferralRow>),
    /// When tags fall off, replacing those of the same (friend, tag).
    TagExpiries(Vec<TagExpiry>),
    /// Tags that fell off or stay; one that is not there is no failure.
    DropTagExpiries(Vec<(FriendId, TagName)>),
    /// Requests to be made, or given up, replacing those of the same number.
    Outbox(Vec<OutboxRow>),
    /// Requests that were taken, by number; one that is not there is no failure.
    DropOutbox(Vec<i64>),
    /// Friends whom the entries of this transaction erase; one that is there already stays as it is.
    Erasures(Vec<Erasure>),
    /// What names erased friends; what is not there is no failure.
    Redact {
        /// Strays that go.
        strays: Vec<i64>,
        /// Requests that go, or say this from now on and are otherwise as they were.
        outbox: Vec<(i64, Option<Request>)>,
    },
    /// What is stored of these friends under their numbers beside row, journal and sets: when tags fall off, and ways
    /// that are over, of which the counts stay.
    Forget(Vec<FriendId>),
    /// Nothing is left of these friends: their erasures are history.
    Forgotten(Vec<FriendId>),
}

/// What went wrong lately and stays as it is until a person does something, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Troubles {
    /// Friends of whom nobody can say whether LINE accepted their message, in occurrences that ended.
    pub unknown: u64,
    /// The newest occurrence with such friends.
    pub last_unknown: Option<OccurrenceId>,
    /// Occurrences that a guard refused.
    pub refused: u64,
    /// Occurrences that were missed, but for those that a person chose to skip.
    pub missed: u64,
    /// Requests beside sends that were given up.
    pub given_up: u64,
}
