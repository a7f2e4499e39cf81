//! Schedules: due instants computed from the last planned one, through every daylight-saving change.
//! `docs/schedules.md` says what a marketer may write and what becomes of it in each hard case.

mod cron;
mod every;
mod holiday;
mod missed;
mod planned;
mod recurrence;

pub use cron::{Cron, CronError, CronField, CronProblem};
pub use every::{Days, Every, EveryError, MonthDays, TimeOfDay, Weekdays};
pub use holiday::is_jp_holiday;
pub use missed::{Delay, Verdict, judge};
pub use planned::{LocalTime, LocalTimeError, Planned};
pub use recurrence::{Except, Pattern, Recurrence};

use super::time::{Instant, Span};

/// When a campaign is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Once, or by a recurrence.
    pub when: When,
    /// What happens with instants that passed while nothing could run.
    pub if_missed: IfMissed,
    /// How late an occurrence may freeze at the most.
    pub grace: Span,
}

/// Once or again and again.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// One instant.
    Once(Instant),
    /// Every instant of a recurrence.
    Recurring(Recurrence),
}

impl When {
    /// The first due instant strictly after `after`; `None` when there is none.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        match self {
            When::Once(at) => (*at > after).then_some(*at),
            When::Recurring(recurrence) => recurrence.next_after(after),
        }
    }

    /// Nothing at or before it is due after what was `planned`.
    pub fn planned_until(&self, planned: &Planned) -> Instant {
        match self {
            When::Once(_) => planned.at,
            When::Recurring(recurrence) => planned.until(recurrence),
        }
    }

    /// All due instants strictly after `after`, in order.
    pub fn after(&self, after: Instant) -> impl Iterator<Item = Instant> {
        std::iter::successors(self.next_after(after), |at| self.next_after(*at))
    }

    /// All due instants from `from` (inclusive) until `until` (exclusive), in order, past ones too.
    pub fn between(&self, from: Instant, until: Instant) -> impl Iterator<Item = Instant> {
        self.after(from - Span::from_millis(1)).take_while(move |at| *at < until)
    }
}

/// Which of the missed instants are caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IfMissed {
    /// The latest only; the others are recorded as missed.
    Latest,
    /// Each.
    All,
    /// None: each is recorded as missed.
    None,
}
