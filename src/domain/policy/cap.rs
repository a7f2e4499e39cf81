//! The window of a cap that ends at an effective instant.

use chrono::{Datelike, Days};

use super::{Cap, CapWindow};
use crate::domain::id::CategoryName;
use crate::domain::time::{Instant, Span};

impl Cap {
    /// Whether deliveries of a capped category count in it and are blocked by it.
    pub fn holds(&self, category: &CategoryName) -> bool {
        self.categories.as_ref().is_none_or(|categories| categories.contains(category))
    }

    /// The first instant of the window that ends at `at`: the millisecond after `at` less the span, or the beginning
    /// of the local day, week from Monday, or month.
    pub fn first_of_window(&self, at: Instant) -> Instant {
        let day = at.day_in(self.zone);
        let first = match self.per {
            CapWindow::Rolling(span) => return at - span + Span::from_millis(1),
            CapWindow::Day => Some(day),
            CapWindow::Week => {
                day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday())))
            }
            CapWindow::Month => day.with_day(1),
        };
        first.map_or(Instant::MIN, |first| Instant::start_of_day(first, self.zone))
    }
}
