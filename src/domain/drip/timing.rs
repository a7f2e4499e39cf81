//! When a step is due.

use chrono::Days;

use crate::domain::schedule::Recurrence;
use crate::domain::time::{Instant, Span, Tz};

/// When a step is due, counted from the start of the friend's way.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// How long to wait.
    pub wait: Wait,
    /// Then the first of these local times; at once when absent.
    pub at: Option<Recurrence>,
    /// Whose local days [`Wait::Days`] counts.
    pub zone: Tz,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// So much time.
    Elapsed(Span),
    /// Until the beginning of the local day so many days after that of the start.
    Days(u32),
}

const MINUTE: i64 = 60_000;

impl Timing {
    /// The due instant for a way that counts from `from`: never before the wait is over, and a whole minute, so that
    /// all friends due in one minute are one occurrence. `None` where the local times have come to an end.
    pub fn due(&self, from: Instant) -> Option<Instant> {
        let over = match self.wait {
            Wait::Elapsed(span) => from + span,
            Wait::Days(days) => {
                let day = from.day_in(self.zone).checked_add_days(Days::new(days.into()))?;
                Instant::start_of_day(day, self.zone)
            }
        };
        match &self.at {
            Some(times) => times.next_after(over - Span::from_millis(1)),
            None => Some(whole_minute(over)),
        }
    }
}

/// The first whole minute at or after an instant. Zones differ from UTC by whole minutes wherever LINE is used, so
/// this is a local one too.
pub(super) fn whole_minute(at: Instant) -> Instant {
    let over = at.as_millis().rem_euclid(MINUTE);
    if over == 0 { at } else { Instant::from_millis(at.as_millis().saturating_add(MINUTE - over)) }
}
