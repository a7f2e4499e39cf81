//! What follows from batches that ended: the guards that pause a campaign, and the pace. Both are functions of batch
//! rows, so a restart forgets neither.

use crate::clock::Reading;
use crate::domain::delivery::Outcome;
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span};
use crate::store::{BatchEnd, BatchEnding, BatchRow};

use super::Run;
use super::open_batch::add;

/// Counted since the occurrence began or last went on: whoever lets it go on has looked.
#[derive(Debug, Default)]
pub(super) struct Guards {
    pub(super) rejected_in_a_row: u32,
    pub(super) quarantined: u32,
    /// Batches whose friends go on under other keys, without one that was accepted between.
    pub(super) refused_in_a_row: u32,
}

impl Guards {
    fn saw(&mut self, end: &BatchEnd) {
        match (end.how, &end.detail) {
            (BatchEnding::Outcome(Outcome::Accepted), _) => {
                (self.rejected_in_a_row, self.refused_in_a_row) = (0, 0);
            }
            (BatchEnding::Superseded, Some(Reason::LineRefused(_))) => {
                self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
            }
            (BatchEnding::Outcome(Outcome::Rejected), Some(Reason::RecipientRefused(_))) => {
                self.quarantined = self.quarantined.saturating_add(1);
            }
            (BatchEnding::Outcome(Outcome::Rejected), Some(Reason::LineRefused(_))) => {
                self.rejected_in_a_row = self.rejected_in_a_row.saturating_add(1);
            }
            _ => {}
        }
    }
}

/// A batch that ended within the pace's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// Since boot.
    at: Span,
    friends: u32,
}

impl Run {
    /// Takes a batch's end into account, as it comes.
    pub(super) fn saw_end(&mut self, row: &BatchRow, clock: &Reading) {
        let Some(end) = &row.ended else { return };
        self.guards.saw(end);
        if was_on_its_way(end) {
            self.paced(Ended { at: clock.boot.since_boot, friends: row.friend_count }, clock);
        }
    }

    /// Takes the ends of an earlier process into account.
    pub(super) fn remember_ends(&mut self, rows: &[BatchRow], clock: &Reading) {
        let begun = self.row.parts.iter().rev().find(|part| part.effective_at <= clock.now);
        let began = begun.map_or(Instant::MIN, |part| part.effective_at);
        let mut ends: Vec<(&BatchEnd, u32)> =
            rows.iter().filter_map(|row| Some((row.ended.as_ref()?, row.friend_count))).collect();
        ends.sort_by_key(|(end, _)| end.at);
        for (end, friends) in ends {
            if end.at >= began {
                self.guards.saw(end);
            }
            if !was_on_its_way(end) {
                continue;
            }
            // An end that lies ahead of the clock is one of just now.
            let age = (clock.now - end.at).max(Span::ZERO);
            let at = clock.boot.since_boot.as_millis().saturating_sub(age.as_millis());
            self.paced(Ended { at: Span::from_millis(at), friends }, clock);
        }
    }

    fn paced(&mut self, end: Ended, clock: &Reading) {
        let Some(pace) = self.row.pace else { return };
        let gone = clock.boot.since_boot.as_millis().saturating_sub(pace.per.as_millis());
        self.recent.retain(|other| other.at.as_millis() > gone);
        self.recent.push(end);
    }

    /// When the pace allows the next new batch, since boot; none while one is open.
    ///
    /// A batch may be delivered until it has ended, so the next one keeps its distance from ends: the last one's share
    /// of the time, so that the occurrence is spread evenly, and the whole time from all with whom it would be more
    /// than the pace's friends.
    pub fn paced_until(&self) -> Option<Span> {
        let (pace, last) = (self.row.pace?, self.recent.last()?);
        let next = self.range(self.mark).filter(|_| self.open.is_empty())?;
        let share = i64::from(last.friends).saturating_mul(pace.per.as_millis());
        let spread = add(last.at, Span::from_millis(share / i64::from(pace.friends.max(1))));
        let mut together = u64::from(next.len);
        let too_many = self.recent.iter().rev().find(|other| {
            together += u64::from(other.friends);
            together > u64::from(pace.friends)
        });
        Some(too_many.map_or(spread, |other| spread.max(add(other.at, pace.per))))
    }
}

/// Whether somebody may have got something: not where an erased friend was taken out of a batch that was never tried.
fn was_on_its_way(end: &BatchEnd) -> bool {
    match end.how {
        BatchEnding::Outcome(outcome) => outcome != Outcome::Erased,
        BatchEnding::Superseded => end.detail.is_some(),
    }
}
