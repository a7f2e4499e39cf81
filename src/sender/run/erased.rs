//! Friends who are erased while an occurrence is on its way.

use roaring::RoaringBitmap;

use crate::clock::Reading;
use crate::domain::delivery::Outcome;
use crate::domain::id::FriendId;
use crate::domain::plan::BatchRange;
use crate::store::{BatchEnding, BatchRow};

use super::open_batch::{OpenBatch, ended};
use super::{BatchKey, Run, UserOf};

impl Run {
    /// Takes an erased friend out of the batch that is to carry them, as long as it was surely never tried: one that is
    /// not open yet will go out without them, the others of an open one go on as its next generation. What was possibly
    /// sent keeps its bytes, and the friend their outcome.
    pub fn erase(&mut self, friend: FriendId, clock: &Reading, user_of: UserOf<'_>) -> Vec<BatchRow> {
        let untried = |open: &OpenBatch| !open.in_flight && open.is_untried();
        let key = self.batch_of(friend).filter(|key| self.open.get(key).is_none_or(untried));
        let Some((n, generation)) = key else { return Vec::new() };
        let key = (n, generation);
        let mut rows = Vec::new();
        let mut rest = self.friends_of(key);
        rest.remove(friend.0);
        if let Some(open) = self.open.remove(&key) {
            if rest.is_empty() {
                self.open.insert(key, open);
                return self.end(key, Outcome::Erased, clock, None, None).into_iter().collect();
            }
            let mut before = open.row(self.row.id, key, rest.len() + 1);
            before.ended = Some(ended(BatchEnding::Superseded, clock, 0, None, None));
            rows.push(before);
            let next = generation.saturating_add(1);
            rows.push(self.open_anew(n, next, Some(rest), open.parent, clock, user_of));
        }
        self.left_out.insert(friend.0);
        // The friend gets a row of their own, so that the books tell every outcome from a batch.
        let lone: RoaringBitmap = [friend.0].into_iter().collect();
        let lone = self.open_anew(self.next_child, 0, Some(lone), Some(n), clock, user_of);
        rows.extend(self.end((lone.n, 0), Outcome::Erased, clock, None, None));
        rows
    }

    /// Whether a batch that may still go out holds the friend.
    pub fn holds(&self, friend: FriendId) -> bool {
        self.batch_of(friend).is_some()
    }

    /// The batch without an end that the friend is in.
    fn batch_of(&self, friend: FriendId) -> Option<BatchKey> {
        let has = |set: &RoaringBitmap| set.contains(friend.0);
        let own = self.open.iter().find(|(_, open)| open.friends.as_ref().is_some_and(has));
        if let Some((key, _)) = own {
            return Some(*key);
        }
        let variant = self.variants.iter().position(|variant| has(&variant.recipients))?;
        let before = self.variants.get(variant)?.recipients.rank(friend.0).checked_sub(1)?;
        let holds = |range: &BatchRange| {
            let first = u64::from(range.first);
            range.variant == variant && (first..first + u64::from(range.len)).contains(&before)
        };
        let n = u32::try_from(self.ranges.iter().position(holds)?).ok()?;
        let waits = n >= self.mark || self.open.contains_key(&(n, 0));
        (waits && !has(&self.left_out)).then_some((n, 0))
    }
}
