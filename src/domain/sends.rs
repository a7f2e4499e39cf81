//! Past and reserved sends of one account in memory: what caps, `received`, `once` and same-content read.

use roaring::RoaringBitmap;

use super::id::CampaignSlug;
use super::time::{Instant, Span};

/// All sends of one account that some window can still see.
#[derive(Debug, Default)]
pub struct Sends {}

impl Sends {
    /// Friends with a reserved, accepted or unknown delivery of the campaign whose effective instant lies in
    /// `(now − within, now]`; unsettled reservations count at every instant; ever when `within` is absent.
    pub fn received(&self, _campaign: &CampaignSlug, _within: Option<Span>, _now: Instant) -> RoaringBitmap {
        RoaringBitmap::new()
    }
}
