//! Friends who are erased and not forgotten yet.

use crate::domain::id::{FriendId, Seq, UserId};
use crate::domain::time::Instant;

/// An erased friend of whom something may still be stored. The user id is needed as long as a batch in doubt holds
/// them; both ids, to find what names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Whom.
    pub friend: FriendId,
    /// The journal entry that erases them.
    pub seq: Seq,
    /// When it was applied.
    pub at: Instant,
    /// LINE's id, where it is known.
    pub user: Option<UserId>,
    /// The shop's own id, unless others have it, too.
    pub external_id: Option<String>,
}

/// Where friends are named in the midst of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// What named no one friend: an [`Intake`](crate::domain::effect::Intake) each.
    Strays,
    /// Requests beside sends, also those given up: a [`Request`](crate::domain::outbox::Request) each.
    Outbox,
}
