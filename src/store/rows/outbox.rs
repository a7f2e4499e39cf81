//! What leaves beside sends.

use crate::domain::outbox::{Failure, Lane, Request};
use crate::domain::time::{Instant, Span};

/// A request to be made, written in the transaction that decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Its number in the account, given by the owner.
    pub id: i64,
    /// What.
    pub request: Request,
    /// When it was decided.
    pub created_at: Instant,
    /// It is not tried before; those of a lane are made in the order of this, then of their numbers.
    pub not_before: Instant,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// Set when it is given up. A request that was taken has no row any more.
    pub given_up: Option<GivenUp>,
}

impl OutboxRow {
    /// No back-off reaches so far. A row that is not to be tried before an instant further ahead has it from a clock that
    /// was wrong, and is due.
    pub const FARTHEST: Span = Span::from_hours(1);
}

/// The end of a request that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// When.
    pub at: Instant,
    /// What its last attempt came to.
    pub why: Failure,
}

/// What one lane holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxLane {
    /// Which.
    pub lane: Lane,
    /// Requests still to be made.
    pub open: u64,
    /// When the oldest of them was decided.
    pub oldest: Instant,
}
