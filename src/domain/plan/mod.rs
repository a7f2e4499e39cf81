//! The planner: (campaign, instant, sets) to a decision, pure.
//!
//! Occurrences due together are decided one after the other in the order of [`precedence`], each after the
//! reservation of the one before, and each rule evaluated only then. A preview does the same with reservations it
//! takes back. `docs/decisions.md` states the gates, the guards and the draw.

mod batch;
mod draw;
mod gates;
mod guards;

pub use batch::{BATCH_FRIENDS, BatchRange, batches, friends_of, set_of};
pub use draw::{Draw, Draws};
pub use guards::Quota;

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::campaign::Dispatch;
use super::delivery::Exclusion;
use super::id::{CampaignSlug, FriendId, OccurrenceId, UserId, VariantName};
use super::policy::{Policy, Share};
use super::sends::{Reservation, Sends};
use super::time::{Instant, Span};

/// The account's friends, as the index knows them at the decision.
#[derive(Debug, Clone, Copy)]
pub struct Friends<'a> {
    /// Among the account's friends and not blocking it.
    pub following: &'a RoaringBitmap,
    /// Forgotten.
    pub erased: &'a RoaringBitmap,
    /// LINE refused the id before.
    pub quarantined: &'a RoaringBitmap,
    /// Holders of the opt-out tag of the campaign or its category.
    pub opted_out: &'a RoaringBitmap,
}

/// Everything a decision depends on, but for the sends.
pub struct Input<'a> {
    /// What is due.
    pub dispatch: &'a Dispatch,
    /// What applies to the account.
    pub policy: &'a Policy,
    /// When it fell due.
    pub due: Instant,
    /// From when its deliveries will count: `due`, or where the delay of the freeze ended.
    pub effective: Instant,
    /// The instant of the decision, at or after `effective`.
    pub now: Instant,
    /// How long it may wait for what cannot be known yet.
    pub grace: Span,
    /// Whom the campaign's rule gives at `now`, blocked friends included; of a drip's step, who is due at it.
    pub matched: &'a RoaringBitmap,
    /// Those of them whose time passed in downtime or quiet hours and is not caught up; drips only.
    pub missed: &'a RoaringBitmap,
    /// Whom each arm is for where the arms are branches: disjoint sets, in the order of the arms. Without it the draw
    /// decides.
    pub branches: Option<&'a [RoaringBitmap]>,
    /// Who may be reached at all.
    pub friends: Friends<'a>,
    /// What LINE's monthly limit leaves.
    pub quota: Quota,
    /// The user id of a dense id; none once erased.
    pub user_of: &'a dyn Fn(FriendId) -> Option<UserId>,
}

/// Who would get what, and whether it goes out. `matched` is always the exclusions and the variants together, and no
/// friend is in two of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whom the rule gave.
    pub matched: RoaringBitmap,
    /// Each excluded friend under the first reason that applies, in the order of [`Exclusion`]; none is empty.
    pub exclusions: Vec<(Exclusion, RoaringBitmap)>,
    /// Every variant in the campaign's order with its recipients, also where there are none.
    pub variants: Vec<(VariantName, RoaringBitmap)>,
    /// Whether it goes out.
    pub verdict: Verdict,
    /// What a person should hear although it goes out.
    pub warnings: Vec<Warning>,
}

/// Whether an occurrence goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Freeze it.
    Send,
    /// Record it as refused; nobody gets it.
    Refuse(Refusal),
    /// Decide again later; nothing is recorded.
    Wait(Wait),
}

/// Why the whole occurrence is refused. Never a part of it: nothing is truncated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Refusal {
    /// The deadline has passed, or passes in the quiet hours that hold it.
    DeadlinePassed {
        /// It.
        deadline: Instant,
    },
    /// More recipients than the campaign allows.
    MaxRecipients {
        /// After all exclusions.
        recipients: u64,
        /// `max_recipients`.
        max: u64,
    },
    /// The rule gives too large a share of the reachable friends, and the campaign does not say `reach`.
    Blanket(Reach),
    /// LINE's monthly messages do not last for all of it.
    Quota(Budget),
    /// LINE's quota could not be read this month, up to the end of the grace.
    QuotaUnreadable,
}

/// Why an occurrence is decided again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Wait {
    /// Until quiet hours end.
    QuietHours {
        /// When they do.
        until: Instant,
    },
    /// Until LINE's quota can be read, within the grace.
    QuotaUnreadable,
}

/// What does not keep an occurrence from going out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Warning {
    /// A blanket, but among fewer friends than the guard looks at.
    Blanket(Reach),
    /// The month's messages reach the warning share with it.
    Quota(Budget),
}

/// A rule's reach among the friends who can be reached, before caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Reachable friends the rule gives.
    pub matched: u64,
    /// Reachable friends.
    pub reachable: u64,
    /// The largest share allowed.
    pub share: Share,
}

/// The month's messages with an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// What the occurrence takes.
    pub recipients: u64,
    /// What it may take at the most.
    pub available: u64,
    /// The month's limit.
    pub limit: u64,
    /// What is kept of it for other categories.
    pub kept: u64,
}

/// Decides one occurrence.
pub fn decide(input: &Input<'_>, sends: &Sends) -> Decision {
    let gates::Passed { exclusions, variants } = gates::pass(input, sends);
    let recipients = variants.iter().map(|(_, friends)| friends.len()).sum();
    let (verdict, warnings) = guards::judge(input, recipients);
    Decision { matched: input.matched.clone(), exclusions, variants, verdict, warnings }
}

/// The order in which occurrences due together are decided: ascending by this. Higher priority first, then slug by
/// code point (which UTF-8 keeps).
pub fn precedence(dispatch: &Dispatch) -> (std::cmp::Reverse<u8>, &CampaignSlug) {
    (std::cmp::Reverse(dispatch.priority), &dispatch.slug)
}

impl Decision {
    /// How many friends would get it.
    pub fn recipients(&self) -> u64 {
        self.variants.iter().map(|(_, friends)| friends.len()).sum()
    }

    /// What the freeze reserves, so that decisions after this one count it.
    pub fn reservation(&self, input: &Input<'_>, occurrence: OccurrenceId) -> Reservation {
        let contents = input.dispatch.variants.iter().zip(&self.variants);
        Reservation {
            occurrence,
            campaign: input.dispatch.slug.clone(),
            category: input.dispatch.category.clone(),
            capped: input.policy.is_capped(&input.dispatch.category),
            contents: contents.map(|(arm, (_, friends))| (arm.messages.content, friends.clone())).collect(),
        }
    }
}
