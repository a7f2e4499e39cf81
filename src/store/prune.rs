//! What can be pruned. `portable/prune` does it.

use crate::domain::id::Seq;
use crate::domain::time::{Instant, Tz};

/// A kind of pruning with its bound. Applied, each removes one bounded slice of what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prune {
    /// Chunks of checkpoints that newer ones have taken the place of, or that an owner before this one did not complete.
    Chunks,
    /// Journal entries in `(after, upto]`: those of state, events that happened before the instant, and all of friends who
    /// are erased and not forgotten yet.
    Journal {
        /// After this entry…
        after: Seq,
        /// …up to this one.
        upto: Seq,
        /// Events stay if absent.
        events_before: Option<Instant>,
    },
    /// Accepted deliveries effective before the instant go into the one set of all who ever received their campaign;
    /// where they are they stay, too.
    Merge(Instant),
    /// What the API answered before.
    ApiAnswers(Instant),
    /// Dedupe ids of webhooks that were applied before.
    WebhookIds(Instant),
    /// Batches and strides of occurrences that ended before.
    Batches(Instant),
    /// Requests that were given up before.
    Outbox(Instant),
    /// The sets of occurrences that ended before; who received the campaign is merged first, counts stay.
    Sets(Instant),
    /// Occurrences of drips that ended before and of which only counts are left are added up by step and day of this zone.
    Steps(Instant, Tz),
}

/// What a stretch of the journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalStretch {
    /// Its last entry.
    pub last: Seq,
    /// How many of its entries a [`Prune::Journal`] over it removes.
    pub prunable: u64,
}
