//! Instants and spans in whole milliseconds; local time is a view of an instant in a zone.

use std::fmt;
use std::ops::{Add, Sub};

use chrono::{DateTime, NaiveDate, Offset, SecondsFormat, TimeZone, Utc};
pub use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// A point in time: whole milliseconds since 1970-01-01T00:00:00Z. Arithmetic saturates.
///
/// Serialised as RFC 3339 in UTC, which a person can read; databases store the integer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instant(i64);

impl Instant {
    /// The largest instant a calendar can show (year 9999).
    pub const MAX: Instant = Instant(253_402_300_799_999);
    /// The smallest instant a calendar can show (year 1).
    pub const MIN: Instant = Instant(-62_135_596_800_000);

    /// From milliseconds since the epoch, clamped to the years 1 to 9999.
    pub const fn from_millis(ms: i64) -> Self {
        if ms > Self::MAX.0 {
            Self::MAX
        } else if ms < Self::MIN.0 {
            Self::MIN
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The calendar view in a zone.
    pub fn in_zone(self, zone: Tz) -> DateTime<Tz> {
        self.utc().with_timezone(&zone)
    }

    /// The calendar view in UTC.
    pub fn utc(self) -> DateTime<Utc> {
        // Clamped at construction, so chrono can always show it.
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// The local day in a zone.
    pub fn day_in(self, zone: Tz) -> NaiveDate {
        self.in_zone(zone).date_naive()
    }

    /// RFC 3339 with the zone's offset at this instant: for people.
    pub fn rfc3339(self, zone: Tz) -> String {
        self.in_zone(zone).to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    /// The first instant at which the local clock of `zone` shows `local` or, where a gap skips it, the first
    /// instant after the gap. A repeated time gives its first instant.
    pub fn from_local(local: chrono::NaiveDateTime, zone: Tz) -> Self {
        match zone.from_local_datetime(&local) {
            chrono::LocalResult::Single(at) | chrono::LocalResult::Ambiguous(at, _) => at.into(),
            chrono::LocalResult::None => first_after_gap(local, zone),
        }
    }

    /// The first later instant at which the zone's clock no longer runs straight on from here, or a day later if
    /// that comes first.
    pub fn end_of_offset(self, zone: Tz) -> Self {
        let offset = |at: i64| Self::from_millis(at).in_zone(zone).offset().fix();
        let end = self + Span::from_days(1);
        let (mut same, mut other) = (self.0, end.0);
        if offset(other) == offset(same) {
            return end;
        }
        while other - same > 1 {
            let middle = same + (other - same) / 2;
            if offset(middle) == offset(self.0) {
                same = middle;
            } else {
                other = middle;
            }
        }
        Self(other)
    }

    /// The first instant of a local day (a day that begins in a gap begins after it).
    pub fn start_of_day(day: NaiveDate, zone: Tz) -> Self {
        Self::from_local(day.and_hms_opt(0, 0, 0).unwrap_or_default(), zone)
    }
}

/// Gaps are at most a day long (Apia skipped 2011-12-30), so the end lies within 48 h of searching back from
/// beyond it: bisect on whether the local clock has passed `local`.
fn first_after_gap(local: chrono::NaiveDateTime, zone: Tz) -> Instant {
    const TWO_DAYS: i64 = 2 * 86_400_000;
    let around = local.and_utc().timestamp_millis();
    let (mut before, mut after) = (around - TWO_DAYS, around + TWO_DAYS);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if Instant::from_millis(middle).in_zone(zone).naive_local() < local {
            before = middle;
        } else {
            after = middle;
        }
    }
    Instant::from_millis(after)
}

impl From<DateTime<Tz>> for Instant {
    fn from(at: DateTime<Tz>) -> Self {
        Self::from_millis(at.timestamp_millis())
    }
}

impl From<DateTime<Utc>> for Instant {
    fn from(at: DateTime<Utc>) -> Self {
        Self::from_millis(at.timestamp_millis())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Instant {
    type Error = chrono::ParseError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self::from_millis(DateTime::parse_from_rfc3339(&text)?.timestamp_millis()))
    }
}

impl From<Instant> for String {
    fn from(at: Instant) -> String {
        at.to_string()
    }
}

impl Add<Span> for Instant {
    type Output = Instant;
    fn add(self, span: Span) -> Instant {
        Instant::from_millis(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Instant {
    type Output = Instant;
    fn sub(self, span: Span) -> Instant {
        Instant::from_millis(self.0.saturating_sub(span.0))
    }
}

impl Sub<Instant> for Instant {
    type Output = Span;
    fn sub(self, earlier: Instant) -> Span {
        Span(self.0 - earlier.0)
    }
}

/// An elapsed time in whole milliseconds; may be negative as a difference. `1d` is 24 h, whatever the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// From milliseconds.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }
    /// From seconds.
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1_000))
    }
    /// From minutes.
    pub const fn from_mins(min: i64) -> Self {
        Self::from_secs(min.saturating_mul(60))
    }
    /// From hours.
    pub const fn from_hours(h: i64) -> Self {
        Self::from_mins(h.saturating_mul(60))
    }
    /// From days of 24 h.
    pub const fn from_days(d: i64) -> Self {
        Self::from_hours(d.saturating_mul(24))
    }
    /// Whole milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }
    /// As a std duration; a negative span is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }

    /// Parses `90s`, `30min`, `2h`, `7d`, `4w`: a whole number and a unit, nothing between.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SpanError::NoNumber(text.to_owned()));
        }
        let number: i64 = number.parse().map_err(|_| SpanError::TooLong(text.to_owned()))?;
        let unit = match unit {
            "s" => 1_000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "m" => return Err(SpanError::AmbiguousMinute(text.to_owned())),
            _ => return Err(SpanError::Unit(text.to_owned())),
        };
        let ms = number.checked_mul(unit).filter(|ms| *ms <= Self::LONGEST.0);
        ms.map(Self).ok_or_else(|| SpanError::TooLong(text.to_owned()))
    }

    /// The longest span a person may write: 100 years of 365 days.
    pub const LONGEST: Span = Span(100 * 365 * 86_400_000);
}

impl fmt::Display for Span {
    /// The largest unit that divides it, as a person would write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, ms) in
            [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)]
        {
            // A week is written as 7d: windows are read in days.
            if unit != "w" && self.0 % ms == 0 && self.0 != 0 {
                return write!(f, "{}{unit}", self.0 / ms);
            }
        }
        if self.0 == 0 { f.write_str("0s") } else { write!(f, "{}ms", self.0) }
    }
}

/// Why a text is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// There is no number in front.
    #[error("`{0}` has no whole number in front of its unit")]
    NoNumber(String),
    /// The unit is none of ours.
    #[error("`{0}` has none of the units s, min, h, d, w")]
    Unit(String),
    /// `m` could be a minute or a month.
    #[error("`{0}`: `m` could be minutes or months; write `min` for minutes or `d` for days")]
    AmbiguousMinute(String),
    /// Over 100 years.
    #[error("`{0}` is longer than 100 years")]
    TooLong(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_clear_units_only() {
        assert_eq!(Span::parse("90d").unwrap(), Span::from_days(90));
        assert_eq!(Span::parse("30min").unwrap(), Span::from_mins(30));
        assert_eq!(Span::parse("1w").unwrap().to_string(), "7d");
        assert!(matches!(Span::parse("5m"), Err(SpanError::AmbiguousMinute(_))));
        for bad in ["", "d", "5", "5 d", "-5d", "５d", "99999999999999999999d", "40000d"] {
            assert!(Span::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_local_time_in_a_gap_is_the_first_instant_after_it() {
        let at = |y, m, d, h, min| NaiveDate::from_ymd_opt(y, m, d).unwrap().and_hms_opt(h, min, 0).unwrap();
        let berlin: Tz = "Europe/Berlin".parse().unwrap();
        assert_eq!(
            Instant::from_local(at(2026, 3, 29, 2, 30), berlin).to_string(),
            "2026-03-29T01:00:00.000Z"
        );
        assert_eq!(
            Instant::from_local(at(2026, 10, 25, 2, 30), berlin).to_string(),
            "2026-10-25T00:30:00.000Z"
        );
        let apia: Tz = "Pacific/Apia".parse().unwrap();
        assert_eq!(
            Instant::from_local(at(2011, 12, 30, 10, 0), apia).to_string(),
            "2011-12-30T10:00:00.000Z"
        );
    }
}
