//! Due instants of a recurrence: local calendar and local clock, walked through the zone's real time.

use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, TimeDelta};

use super::{Cron, Every, TimeOfDay, Weekdays, is_jp_holiday};
use crate::domain::time::{Instant, Span, Tz};

/// A pattern in a zone, bounded and with exceptions.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrence {
    /// Which local days and times.
    pub pattern: Pattern,
    /// Whose clock.
    pub zone: Tz,
    /// Nothing is due before it.
    pub from: Option<Instant>,
    /// Nothing is due at or after it.
    pub until: Option<Instant>,
    /// Local days on which nothing is due.
    pub except: Vec<Except>,
}

/// Local days and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `every / on / at`.
    Every(Every),
    /// Five-field cron.
    Cron(Cron),
}

/// Local days on which nothing is due, by the day on which it would be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Except {
    /// From the first day through the last.
    Days {
        /// First day without.
        first: NaiveDate,
        /// Last day without; the same for a single day.
        last: NaiveDate,
    },
    /// On these weekdays.
    Weekdays(Weekdays),
    /// On Japan's national holidays.
    JpHolidays,
}

impl Except {
    fn contains(&self, day: NaiveDate) -> bool {
        match self {
            Except::Days { first, last } => (*first..=*last).contains(&day),
            Except::Weekdays(weekdays) => weekdays.contains(day.weekday()),
            Except::JpHolidays => is_jp_holiday(day),
        }
    }
}

impl Pattern {
    fn is_interval(&self) -> bool {
        matches!(self, Pattern::Cron(cron) if cron.is_interval())
    }

    fn matches_month(&self, month: u32) -> bool {
        match self {
            Pattern::Every(_) => true,
            Pattern::Cron(cron) => cron.matches_month(month),
        }
    }

    fn matches_day(&self, day: NaiveDate) -> bool {
        match self {
            Pattern::Every(every) => every.matches_day(day),
            Pattern::Cron(cron) => cron.matches_day(day),
        }
    }

    /// The first time of a matching day that is not before `time`.
    fn first_from(&self, time: TimeOfDay) -> Option<TimeOfDay> {
        match self {
            Pattern::Every(every) => every.first_from(time),
            Pattern::Cron(cron) => cron.first_from(time),
        }
    }
}

/// The Gregorian calendar repeats itself after 400 years, weekdays included: what does not fire in them never does.
const CALENDAR_CYCLE: Months = Months::new(400 * 12);

/// No clock has ever been this far ahead of UTC, so no instant before a day's beginning in UTC less this shows it.
const FURTHEST_AHEAD: Span = Span::from_hours(16);

impl Recurrence {
    /// The first due instant strictly after `after`; `None` when the recurrence has ended or never fires.
    pub fn next_after(&self, after: Instant) -> Option<Instant> {
        let after = match self.from {
            Some(from) => after.max(from - Span::from_millis(1)),
            None => after,
        };
        if self.until.is_some_and(|until| until <= after) {
            return None;
        }
        let due = if self.pattern.is_interval() { self.next_real(after) } else { self.next_fixed(after) };
        // `MAX` is where times beyond the calendar are clamped to, and no due instant of its own.
        let until = self.until.unwrap_or(Instant::MAX);
        due.filter(|due| *due < until)
    }

    /// The zone whose clock's times it goes by, each once; none where it fires in real minutes.
    pub fn fixed_in(&self) -> Option<Tz> {
        (!self.pattern.is_interval()).then_some(self.zone)
    }

    /// The shortest time between two neighbours among the due instants in `(after, after + within)`, of which the
    /// first `count` are looked at; `None` when there are fewer than two.
    pub fn shortest_gap(&self, after: Instant, within: Span, count: usize) -> Option<Span> {
        let due = || {
            std::iter::successors(self.next_after(after), |at| self.next_after(*at))
                .take_while(|at| *at < after + within)
                .take(count)
        };
        due().zip(due().skip(1)).map(|(earlier, later)| later - earlier).min()
    }

    /// Fixed times: each local time stands for the first instant at which the clock has reached it. That is
    /// monotone in local time, so walking the calendar forward gives the instants in order.
    fn next_fixed(&self, after: Instant) -> Option<Instant> {
        let local = after.in_zone(self.zone).naive_local();
        let mut days = self.days(local.date());
        days.find_map(|day| {
            if self.excepts(day) && self.stays_on(day) {
                return None;
            }
            let first = if day == local.date() { TimeOfDay::of(local.time()) } else { TimeOfDay::MIDNIGHT };
            let times = std::iter::successors(self.pattern.first_from(first), |time| {
                self.pattern.first_from(time.next()?)
            });
            times
                .map(|time| Instant::from_local(time.on(day), self.zone))
                .find(|due| *due > after && !self.excepts(due.day_in(self.zone)))
        })
    }

    /// Intervals: real time is cut into stretches of one offset, in each of which local time runs straight.
    fn next_real(&self, after: Instant) -> Option<Instant> {
        let mut cursor = after + Span::from_millis(1);
        loop {
            let local = cursor.in_zone(self.zone).naive_local();
            // A repeated midnight shows the day before once more.
            let day = self.days(local.date().pred_opt()?).find(|day| !self.excepts(*day))?;
            let earliest = Instant::start_of_day(day, Tz::UTC) - FURTHEST_AHEAD;
            if cursor < earliest {
                cursor = earliest;
            }
            let local = cursor.in_zone(self.zone).naive_local();
            let end = cursor.end_of_offset(self.zone);
            let local_end = local + TimeDelta::milliseconds((end - cursor).as_millis());
            if let Some(found) = self.first_local(local, local_end) {
                return Some(cursor + Span::from_millis((found - local).num_milliseconds()));
            }
            if end <= cursor {
                return None; // The end of representable time.
            }
            cursor = end;
        }
    }

    /// The first matching local minute in `[from, until)`, as if local time ran straight.
    fn first_local(&self, from: NaiveDateTime, until: NaiveDateTime) -> Option<NaiveDateTime> {
        let mut days = from.date().iter_days().take_while(|day| *day <= until.date());
        days.find_map(|day| {
            if !self.pattern.matches_day(day) || self.excepts(day) {
                return None;
            }
            let first = if day == from.date() { TimeOfDay::of(from.time()) } else { TimeOfDay::MIDNIGHT };
            let mut found = self.pattern.first_from(first)?;
            if found.on(day) < from {
                found = self.pattern.first_from(found.next()?)?;
            }
            Some(found.on(day))
        })
        .filter(|found| *found < until)
    }

    /// The days of the pattern from `first` on, for a whole calendar cycle.
    fn days(&self, first: NaiveDate) -> impl Iterator<Item = NaiveDate> {
        let last = first.checked_add_months(CALENDAR_CYCLE).unwrap_or(NaiveDate::MAX);
        let mut day = Some(first);
        std::iter::from_fn(move || {
            while let Some(candidate) = day.filter(|day| *day <= last) {
                if !self.pattern.matches_month(candidate.month()) {
                    day = candidate.with_day(1).and_then(|first| first.checked_add_months(Months::new(1)));
                    continue;
                }
                day = candidate.succ_opt();
                if self.pattern.matches_day(candidate) {
                    return Some(candidate);
                }
            }
            None
        })
    }

    fn excepts(&self, day: NaiveDate) -> bool {
        self.except.iter().any(|except| except.contains(day))
    }

    /// Whether every local time of the day stands for an instant of that day: false for a day the zone skipped.
    fn stays_on(&self, day: NaiveDate) -> bool {
        Instant::from_local(TimeOfDay::LAST.on(day), self.zone).day_in(self.zone) == day
    }
}
