//! Windows of time: (after, until], never beyond now.

use super::ranges::Ranges;
use super::rule::Age;
use crate::domain::time::{Instant, Span};

/// Milliseconds in `(after, until]`. Bounds are not clamped to the calendar, so that a window reaching before its
/// first year still holds that year's first millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The last millisecond before the window.
    pub after: i64,
    /// The last millisecond of the window.
    pub until: i64,
}

impl Window {
    /// Everything up to now.
    pub fn ever(now: Instant) -> Self {
        Self { after: i64::MIN, until: now.as_millis() }
    }

    /// `(now − span, now]`, or everything up to now.
    pub fn within(span: Option<Span>, now: Instant) -> Self {
        let ever = Self::ever(now);
        span.map_or(ever, |span| Self { after: ever.until.saturating_sub(span.as_millis()), ..ever })
    }

    /// Whether the instant lies inside.
    pub fn contains(self, at: i64) -> bool {
        self.after < at && at <= self.until
    }

    /// What lies in both.
    pub fn meet(self, other: Self) -> Self {
        Self { after: self.after.max(other.after), until: self.until.min(other.until) }
    }

    /// Whether no instant lies inside.
    pub fn is_empty(self) -> bool {
        self.after >= self.until
    }

    /// The same as ranges of milliseconds.
    pub fn ranges(self) -> Ranges {
        Ranges::between(self.after.saturating_add(1), self.until)
    }
}

impl Age {
    /// The instants that have this age at `now`. `ForAtLeast(d)` and `Within(d)` part everything up to now in two.
    pub fn window(self, now: Instant) -> Window {
        match self {
            Age::Any => Window::ever(now),
            Age::Within(span) => Window::within(Some(span), now),
            Age::ForAtLeast(span) => {
                let until = now.as_millis().saturating_sub(span.as_millis());
                Window::ever(now).meet(Window { after: i64::MIN, until })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_at_its_start_and_closed_at_its_end() {
        let now = Instant::from_millis(10_000);
        let day = Span::from_millis(1_000);
        let holds = |age: Age, at: i64| age.window(now).contains(at);
        for (at, within, for_at_least) in
            [(8_999, false, true), (9_000, false, true), (9_001, true, false), (10_000, true, false)]
        {
            assert_eq!(holds(Age::Within(day), at), within, "{at}");
            assert_eq!(holds(Age::ForAtLeast(day), at), for_at_least, "{at}");
            assert!(holds(Age::Any, at), "{at}");
        }
        for age in [Age::Any, Age::Within(day), Age::ForAtLeast(day), Age::ForAtLeast(Span::ZERO)] {
            assert!(!holds(age, 10_001), "an instant after now has not happened");
        }
        assert!(Age::Within(Span::ZERO).window(now).is_empty());
        assert!(holds(Age::ForAtLeast(Span::ZERO), 10_000));
    }
}
