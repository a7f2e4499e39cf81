//! Schedules: due instants computed from the last planned one, through every daylight-saving change.

use super::time::{Instant, Span};

/// When a campaign is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Once, or by a recurrence.
    pub when: When,
    /// What happens with instants that passed while nothing could run.
    pub if_missed: IfMissed,
    /// How late an occurrence may freeze at the most.
    pub grace: Span,
}

/// Once or again and again.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// One instant.
    Once(Instant),
}

/// Which of the missed instants are caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IfMissed {
    /// The latest only; the others are recorded as missed.
    Latest,
    /// Each.
    All,
    /// None: each is recorded as missed.
    None,
}
