//! The window of a cap around an effective instant.

use chrono::{Datelike, Days, Months, NaiveDate};

use super::{Cap, CapWindow};
use crate::domain::id::CategoryName;
use crate::domain::time::{Instant, Span};

impl Cap {
    /// Whether deliveries of a capped category count in it and are blocked by it.
    pub fn holds(&self, category: &CategoryName) -> bool {
        self.categories.as_ref().is_none_or(|categories| categories.contains(category))
    }

    /// The first and last instant that share a window with `at`: less than the span away, or in the same local
    /// day, week from Monday, or month.
    pub fn window_of(&self, at: Instant) -> (Instant, Instant) {
        const MS: Span = Span::from_millis(1);
        let day = at.day_in(self.zone);
        let week = Days::new(u64::from(day.weekday().num_days_from_monday()));
        let (first, next) = match self.per {
            CapWindow::Rolling(span) => return (at - span + MS, at + span - MS),
            CapWindow::Day => (Some(day), day.succ_opt()),
            CapWindow::Week => {
                let monday = day.checked_sub_days(week);
                (monday, monday.and_then(|monday| monday.checked_add_days(Days::new(7))))
            }
            CapWindow::Month => {
                let first = day.with_day(1);
                (first, first.and_then(|first| first.checked_add_months(Months::new(1))))
            }
        };
        let start = |day: NaiveDate| Instant::start_of_day(day, self.zone);
        (first.map_or(Instant::MIN, start), next.map_or(Instant::MAX, |next| start(next) - MS))
    }
}
