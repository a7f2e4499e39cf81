//! What becomes of an occurrence and of each batch. `docs/delivery-guarantees.md` draws the state machine.

use serde::{Deserialize, Serialize};

/// The life of an occurrence. Only `Sending`, `Paused` and `Held` can still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceState {
    /// Due, and not frozen because a guard refused the whole of it.
    Refused,
    /// Due while nothing could run, and not caught up.
    Missed,
    /// Frozen; batches go out.
    Sending,
    /// A person, or a guard on a person's behalf, stopped it; may be resumed.
    Paused,
    /// Held for a person: the database went back in time, or LINE's monthly limit is reached.
    Held,
    /// Every delivery has its outcome.
    Finished,
    /// A person ended it; what was not yet tried was released.
    Cancelled,
}

impl OccurrenceState {
    /// Whether batches may still be without an outcome.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Sending | Self::Paused | Self::Held)
    }
    /// The word in SQL, logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Missed => "missed",
            Self::Sending => "sending",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
    /// The state a word of the database names.
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Refused,
            Self::Missed,
            Self::Sending,
            Self::Paused,
            Self::Held,
            Self::Finished,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == word)
    }
}

/// How a batch, and each delivery in it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// LINE said 200, or 409 with the id it had accepted.
    Accepted,
    /// LINE refused, and every earlier attempt was definitely refused or never left this machine.
    Rejected,
    /// Possibly sent; never resent by itself. Counts as sent.
    Unknown,
    /// A person cancelled before any attempt that LINE may have taken.
    Cancelled,
    /// The deadline passed before any attempt that LINE may have taken.
    Expired,
    /// Erased after the freeze, before any attempt.
    Erased,
}

impl Outcome {
    /// All of them, in the order books are printed.
    pub const ALL: [Outcome; 6] =
        [Self::Accepted, Self::Rejected, Self::Unknown, Self::Cancelled, Self::Expired, Self::Erased];

    /// The word in SQL, logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Erased => "erased",
        }
    }
    /// The outcome a word of the database names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
    /// Whether the delivery keeps its place in the caps.
    pub fn counts(self) -> bool {
        matches!(self, Self::Accepted | Self::Unknown)
    }
}

/// Why a friend of the audience is not among the recipients: the first that applies, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Exclusion {
    /// Blocked, or never followed.
    NotFollowing,
    /// Forgotten.
    Erased,
    /// LINE refused the id before.
    Quarantined,
    /// Holds the opt-out tag of the category.
    OptedOut,
    /// A drip step that fell due in downtime and is not caught up.
    Missed,
    /// Got the same content within its window.
    SameContent,
    /// Got this campaign within its `once`.
    Once,
    /// No room under this cap.
    Capped {
        /// The cap's name.
        cap: String,
    },
    /// No room under this cap; waits for it (`when_capped = { defer = … }`).
    Deferred {
        /// The cap's name.
        cap: String,
    },
    /// A template names a value the friend lacks.
    ValueMissing,
    /// No coupon code left.
    PoolEmpty,
    /// Not drawn by `sample`.
    NotSampled,
    /// Drawn into the holdout: passed the same gates as those sent to.
    Holdout,
}

impl Exclusion {
    /// The word in SQL, logs, metrics and JSON; a cap is `capped:NAME` or `deferred:NAME`.
    pub fn key(&self) -> String {
        match self {
            Self::NotFollowing => "not_following".into(),
            Self::Erased => "erased".into(),
            Self::Quarantined => "quarantined".into(),
            Self::OptedOut => "opted_out".into(),
            Self::Missed => "missed".into(),
            Self::SameContent => "same_content".into(),
            Self::Once => "once".into(),
            Self::Capped { cap } => format!("capped:{cap}"),
            Self::Deferred { cap } => format!("deferred:{cap}"),
            Self::ValueMissing => "value_missing".into(),
            Self::PoolEmpty => "pool_empty".into(),
            Self::NotSampled => "not_sampled".into(),
            Self::Holdout => "holdout".into(),
        }
    }
    /// The exclusion a word of the database names.
    pub fn parse(word: &str) -> Option<Self> {
        if let Some(cap) = word.strip_prefix("capped:") {
            return Some(Self::Capped { cap: cap.to_owned() });
        }
        if let Some(cap) = word.strip_prefix("deferred:") {
            return Some(Self::Deferred { cap: cap.to_owned() });
        }
        [
            Self::NotFollowing,
            Self::Erased,
            Self::Quarantined,
            Self::OptedOut,
            Self::Missed,
            Self::SameContent,
            Self::Once,
            Self::ValueMissing,
            Self::PoolEmpty,
            Self::NotSampled,
            Self::Holdout,
        ]
        .into_iter()
        .find(|exclusion| exclusion.key() == word)
    }
}
