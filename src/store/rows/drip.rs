//! Whom a cap holds up, and what falls off by itself. An enrollment's row is the domain's own type.

use roaring::RoaringBitmap;

use crate::domain::id::{CampaignSlug, FriendId, OccurrenceId, StepName, TagName, VersionId};
use crate::domain::time::Instant;

/// What a step's occurrences came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTotals {
    /// Which; none for a campaign.
    pub step: Option<StepName>,
    /// How many there were.
    pub occurrences: u64,
    /// Friends they were for, exclusions included.
    pub matched: u64,
    /// Friends they were frozen for.
    pub recipients: u64,
}

/// Whom a cap deferred at one freeze, and how each wait ended that brought no send. A friend whom a child occurrence
/// takes up leaves `waiting` for that child's own books.
#[derive(Debug, Clone, PartialEq)]
pub struct DeferralRow {
    /// Where they were deferred.
    pub occurrence: OccurrenceId,
    /// Of which campaign or drip.
    pub campaign: CampaignSlug,
    /// The drip's step; none for a campaign.
    pub step: Option<StepName>,
    /// The configuration the occurrence was frozen under: its rules say who may be taken up.
    pub version: VersionId,
    /// They wait at most until then.
    pub until: Instant,
    /// When they were last looked at.
    pub looked_at: Instant,
    /// How many child occurrences took some of them up: the next one's number is one more.
    pub children: u32,
    /// Who still waits. The deferral is open while anybody does.
    pub waiting: RoaringBitmap,
    /// Who was no longer of those it is for: outside the segment, blocked, stopped, erased.
    pub left: RoaringBitmap,
    /// Whose time ran out.
    pub lapsed: RoaringBitmap,
    /// Whom a newer occurrence of the same campaign reached first.
    pub replaced: RoaringBitmap,
}

/// A tag that falls off by itself, unless it was given anew meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagExpiry {
    /// Whose.
    pub friend: FriendId,
    /// Which.
    pub tag: TagName,
    /// When the tag was given that this speaks of.
    pub given_at: Instant,
    /// When it falls off.
    pub at: Instant,
}
