//! Quiet hours on the real line: whether an instant is quiet, and when the quiet ends.

use chrono::TimeDelta;

use super::QuietHours;
use crate::domain::time::{Instant, Span};

impl QuietHours {
    /// Whether the local clock shows a quiet time. Hours that end as they start hold nothing.
    pub fn is_quiet(&self, at: Instant) -> bool {
        let time = at.in_zone(self.zone).time();
        if self.start <= self.end {
            (self.start..self.end).contains(&time)
        } else {
            time >= self.start || time < self.end
        }
    }

    /// The first instant at or after `at` that is not quiet.
    pub fn end_after(&self, at: Instant) -> Instant {
        let mut at = at;
        while at < Instant::MAX && self.is_quiet(at) {
            let mut left = self.end - at.in_zone(self.zone).time();
            if left < TimeDelta::zero() {
                left += TimeDelta::days(1);
            }
            // A clock that is changed before the end moves it, or opens or closes the hours itself.
            at = (at + Span::from_millis(left.num_milliseconds())).min(at.end_of_offset(self.zone));
        }
        at
    }
}
