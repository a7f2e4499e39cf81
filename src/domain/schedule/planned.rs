//! What was planned last, so that nothing is planned twice: neither an instant nor, when the data about a zone's clock
//! change between two runs, a local time.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDateTime;

use super::{Recurrence, When};
use crate::domain::time::{Instant, Tz};

/// The last instant planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Which: what is due next lies strictly after.
    pub at: Instant,
    /// What a clock showed at it, where the schedule is by fixed local times.
    pub local: Option<LocalTime>,
}

/// What the clock of a zone showed, by the data about the zone as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// The clock.
    pub clock: NaiveDateTime,
    /// Whose.
    pub zone: Tz,
}

impl Planned {
    /// `at`, planned by a schedule, unless something later was planned already.
    pub fn by(when: &When, at: Instant, before: Option<Planned>) -> Self {
        let zone = match when {
            When::Recurring(recurrence) => recurrence.fixed_in(),
            When::Once(_) => None,
        };
        Self::later(at, zone, before)
    }

    /// The same for fixed local times in a zone; none where they are no such times.
    pub fn later(at: Instant, zone: Option<Tz>, before: Option<Planned>) -> Self {
        let local = zone.map(|zone| LocalTime { clock: at.in_zone(zone).naive_local(), zone });
        before.filter(|before| before.at >= at).unwrap_or(Planned { at, local })
    }

    /// Nothing at or before it is due by `recurrence` any more. With the data of then it is the instant itself. Where a
    /// zone gave up its summer time since, the clock shows the planned time once more: that one is over, too.
    pub fn until(&self, recurrence: &Recurrence) -> Instant {
        let local = self.local.filter(|local| recurrence.fixed_in() == Some(local.zone));
        local.map_or(self.at, |local| self.at.max(Instant::from_local(local.clock, local.zone)))
    }
}

impl fmt::Display for LocalTime {
    /// `2026-12-04T10:00:00[Asia/Tokyo]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.clock.format("%Y-%m-%dT%H:%M:%S%.f"), self.zone)
    }
}

/// Text that is no local time with its zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no local time with its zone, such as 2026-12-04T10:00:00[Asia/Tokyo]")]
pub struct LocalTimeError(String);

impl FromStr for LocalTime {
    type Err = LocalTimeError;
    fn from_str(text: &str) -> Result<Self, LocalTimeError> {
        let read = || {
            let (clock, zone) = text.strip_suffix(']')?.split_once('[')?;
            Some(Self { clock: clock.parse().ok()?, zone: zone.parse().ok()? })
        };
        read().ok_or_else(|| LocalTimeError(text.to_owned()))
    }
}
