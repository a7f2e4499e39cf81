//! How long what is past is kept, and from which instants on it is not.

use crate::domain::lookback::Lookback;
use crate::domain::time::{Instant, Span};

/// For so long nothing is too old to be kept: whoever imports old history is to have time to look at it, and whoever has
/// a clock that leapt, to put it right.
const GRACE: Span = Span::from_hours(24);

/// Ids of webhooks outlive the events that are still taken for them by so much: LINE's clock may be ahead, and an event
/// may wait in the inbox.
const SURE: Span = Span::from_hours(24);

/// How long things are kept; `None` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Which webhook events were applied. Events older than this are not taken any more.
    pub webhook_ids: Option<Span>,
    /// Batches, strides and request ids, since their occurrence ended; at the longest as long as its sets.
    pub batches: Option<Span>,
    /// Events, since they happened.
    pub events: Option<Span>,
    /// The sets of an occurrence, since it ended. Their sizes are kept for ever.
    pub sets: Option<Span>,
}

/// What is older than these instants is not kept; `None` keeps all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cutoffs {
    /// Dedupe ids of webhooks applied before.
    pub webhook_ids: Option<Instant>,
    /// Batches of occurrences that ended before.
    pub batches: Option<Instant>,
    /// Events that happened before.
    pub events: Option<Instant>,
    /// Sets of occurrences that ended before.
    pub sets: Option<Instant>,
}

impl Retention {
    /// What is too old at `now`. Nothing that a window of the configuration still looks at ever is; and nothing is in
    /// the first day from `grace_from` on: an import, or a leap of the clock.
    pub fn cutoffs(&self, lookback: &Lookback, grace_from: Option<Instant>, now: Instant) -> Cutoffs {
        if grace_from.is_some_and(|at| now - at < GRACE) {
            return Cutoffs::default();
        }
        let before = |kept: Option<Span>, least: Span| kept.map(|kept| now - kept.max(least));
        let sets = before(self.sets, lookback.sends);
        Cutoffs {
            webhook_ids: before(self.webhook_ids, Span::ZERO).map(|cutoff| cutoff - SURE),
            batches: before(self.batches, Span::ZERO).max(sets),
            events: before(self.events, lookback.events),
            sets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_796_374_800_000);

    fn days(days: i64) -> Span {
        Span::from_days(days)
    }

    fn retention() -> Retention {
        Retention {
            webhook_ids: Some(days(7)),
            batches: Some(days(90)),
            events: Some(days(760)),
            sets: Some(days(760)),
        }
    }

    #[test]
    fn what_a_window_looks_at_is_kept_whatever_the_retention() {
        let lookback = Lookback { sends: days(1_000), events: days(800), ..Lookback::default() };
        let cutoffs = retention().cutoffs(&lookback, None, NOW);
        assert_eq!(cutoffs.sets, Some(NOW - days(1_000)));
        assert_eq!(cutoffs.events, Some(NOW - days(800)));
        assert_eq!(cutoffs.batches, Some(NOW - days(90)));
        let short = retention().cutoffs(&Lookback::default(), None, NOW);
        assert_eq!((short.sets, short.webhook_ids), (Some(NOW - days(760)), Some(NOW - days(8))));
    }

    #[test]
    fn batches_go_with_their_sets_at_the_latest() {
        let lookback = Lookback::default();
        let forever = Retention { batches: None, ..retention() };
        assert_eq!(forever.cutoffs(&lookback, None, NOW).batches, Some(NOW - days(760)));
        let all = Retention { batches: None, sets: None, ..retention() };
        assert_eq!(all.cutoffs(&lookback, None, NOW).batches, None);
    }

    #[test]
    fn nothing_is_too_old_for_a_day_after_an_import_or_a_leap() {
        let cutoffs = |hours: i64| {
            let imported = Some(NOW - Span::from_hours(hours));
            retention().cutoffs(&Lookback::default(), imported, NOW)
        };
        assert_eq!(cutoffs(23), Cutoffs::default());
        assert_ne!(cutoffs(24), Cutoffs::default());
    }
}
