//! The one protocol of all commands: JSON lines over the Unix socket in the state directory.
//!
//! A client writes one [`Request`] line, then (imports only, once they have read their terms) [`Upload`] lines, and
//! reads [`Reply`] lines until `done` or `error`. A line is at most 16 MiB. Without a daemon the same [`Request`] is answered in the client's
//! own process by the same code, so answers are the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::access::{Scopes, TokenId};
use crate::domain::attribute::AttributeType;
use crate::domain::delivery::Outcome;
use crate::domain::effect::Intake;
use crate::domain::friend::Miss;
use crate::domain::id::{AccountSlug, AttributeName, CampaignSlug, OccurrenceId, SegmentSlug, VersionId};
use crate::domain::time::{Instant, Tz};
use crate::lang::Lang;
use crate::text::{Told, causes};

/// The longest line either side reads.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// The most intakes one upload line may hold.
pub const MAX_UPLOAD: usize = 5_000;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The language of texts.
    pub lang: Lang,
    /// Who asks, for the record of acts.
    pub by: String,
    /// The account, where more than one could be meant.
    pub account: Option<AccountSlug>,
    /// What to do.
    pub command: Command,
}

/// Every command that reads or changes the state of an account or of the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Command {
    /// What runs, what is open, what needs a person.
    Status,
    /// How these files differ from what runs.
    Plan {
        /// Relative path to text.
        files: BTreeMap<String, String>,
    },
    /// Copy the embedded database while it is in use; answered by `progress` now and then, then by `done`.
    Backup {
        /// A file that is not there yet, or a folder, by its absolute path; in the state directory if absent.
        to: Option<String>,
    },
    /// Make these files the running version.
    Apply {
        /// Relative path to text.
        files: BTreeMap<String, String>,
        /// The version the person was shown as running; another one running now is an error.
        expected: Option<VersionId>,
    },
    /// How many friends a segment has at an instant; all segments if none is named.
    SegmentCount {
        /// Which; all if empty.
        segments: Vec<SegmentSlug>,
        /// Another instant than now.
        now: Option<Instant>,
    },
    /// The friends of a segment, as rows of user id and external id.
    SegmentExport {
        /// Which.
        segment: SegmentSlug,
        /// Another instant than now.
        now: Option<Instant>,
    },
    /// One friend's record.
    FriendShow {
        /// User id or external id.
        friend: String,
    },
    /// What was acknowledged and named no friend, the newest first.
    FriendStrays {
        /// At most so many.
        limit: u32,
        /// Forget all of them instead.
        forget: bool,
    },
    /// A new token for the API; told this once.
    TokenCreate {
        /// What it may do.
        scopes: Scopes,
        /// What people call it.
        title: String,
        /// For every account there is and will be.
        all_accounts: bool,
    },
    /// Every token of the API.
    TokenList,
    /// A token works no more.
    TokenRevoke {
        /// Which.
        token: TokenId,
    },
    /// Take intakes in: answered by `terms`, then [`Upload`] lines follow.
    Import,
    /// All campaigns, with their next due instant.
    CampaignList,
    /// Due instants of a campaign, past ones too.
    CampaignNext {
        /// Which.
        campaign: CampaignSlug,
        /// From here, inclusive; now if absent.
        from: Option<Instant>,
        /// To here, exclusive; 100 instants if absent.
        until: Option<Instant>,
    },
    /// Decide as if everything due at an instant froze then, without acting.
    CampaignPreview {
        /// Which; all that are due if empty.
        campaigns: Vec<CampaignSlug>,
        /// Another instant than now.
        now: Option<Instant>,
        /// With the friends of each set.
        friends: bool,
    },
    /// Stop a campaign until it is resumed.
    CampaignPause {
        /// Which.
        campaign: CampaignSlug,
    },
    /// Let a paused campaign go on.
    CampaignResume {
        /// Which.
        campaign: CampaignSlug,
    },
    /// End what is open of a campaign.
    CampaignCancel {
        /// Which.
        campaign: CampaignSlug,
    },
    /// Send a campaign's messages to named friends at once.
    CampaignTestSend {
        /// Which.
        campaign: CampaignSlug,
        /// User ids or external ids, 1 to 20.
        to: Vec<String>,
        /// Which arm; the first if absent.
        variant: Option<String>,
    },
    /// All drips, with how many friends are on their way.
    DripList,
    /// One drip, step by step.
    DripShow {
        /// Which.
        drip: CampaignSlug,
    },
    /// Stop a drip's steps until it is resumed; friends go on starting and ending.
    DripPause {
        /// Which.
        drip: CampaignSlug,
    },
    /// Let a paused drip go on.
    DripResume {
        /// Which.
        drip: CampaignSlug,
    },
    /// The newest occurrences.
    OccurrenceList {
        /// Of one campaign only.
        campaign: Option<CampaignSlug>,
        /// At most so many.
        limit: u32,
    },
    /// One occurrence: its books, batches and reasons.
    OccurrenceShow {
        /// Which.
        occurrence: OccurrenceId,
    },
    /// A person decides what waits for one: unknown batches, or a held occurrence.
    OccurrenceResolve {
        /// Which.
        occurrence: OccurrenceId,
        /// What the person knows.
        resolution: Resolution,
    },
    /// The emergency brake of an account.
    Stop {
        /// For the record.
        reason: String,
    },
    /// Release the brake.
    Start {
        /// What to do with what fell due meanwhile; absent = list it and change nothing.
        due: Option<DueChoice>,
    },
    /// The same, on a clock that is behind what was already seen: it is taken as right.
    AcceptClock {
        /// What to do with what fell due meanwhile; absent = list it and change nothing.
        due: Option<DueChoice>,
    },
}

/// What a person decides of an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Deliveries without certainty are taken as accepted or as rejected.
    Unknown(Outcome),
    /// A held occurrence goes on.
    Send,
    /// A held occurrence ends.
    Cancel,
}

/// What happens with occurrences that fell due while an account was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueChoice {
    /// By each campaign's `if_missed` and `grace`.
    Judge,
    /// Record them all as missed.
    Skip,
}

/// A line of an import.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// Take these in; answered by `taken` once durable.
    Intakes(Vec<Intake>),
    /// That was all; answered by `done` once applied.
    End,
    /// A line that is none of these, and why; no client can say so.
    #[serde(skip)]
    Unreadable(String),
}

/// What an import goes by: the running configuration's word, not that of files on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Terms {
    /// The account's zone.
    pub zone: Tz,
    /// The declared attributes.
    pub attributes: BTreeMap<AttributeName, AttributeType>,
    /// Whether everything the account sends stays on this machine.
    pub rehearsal: bool,
    /// The account's time.
    pub now: Instant,
}

/// An intake that was left out because it names no one friend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Which of those that came together, from 0.
    pub intake: usize,
    /// Why.
    pub miss: Miss,
}

/// A line of the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Rows of a long listing, as CSV lines and as JSON values.
    Rows(Vec<Row>),
    /// What an import goes by.
    Terms(Terms),
    /// The intakes of a line are durable, but for those that name no one friend.
    Taken(Vec<Missed>),
    /// Long work goes on.
    Progress(Progress),
    /// The answer.
    Done(Answer),
    /// Why not, and what to do next.
    Error(Failure),
}

/// How far long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes written so far.
    pub bytes: u64,
    /// How many there will be, about.
    pub of: u64,
}

/// One row of a long listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// For people and spreadsheets.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
}

/// The answer to a command.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// For people, in the language asked for.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
    /// The exit code of the command: 0, or 3 when something needs a person.
    pub exit: u8,
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word for programs: `not_found`, `ambiguous_account`, `invalid`, `conflict`, `unavailable`.
    pub code: String,
    /// For people: what is wrong and what to do next.
    pub message: String,
}

impl Failure {
    /// Something outside failed: the message and its causes.
    pub fn unavailable<E: Told>(error: &E, lang: Lang) -> Self {
        let said = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<E>().map_or_else(|| cause.to_string(), |own| own.told(lang))
        };
        Self { code: "unavailable".into(), message: causes(error, &said) }
    }
}
