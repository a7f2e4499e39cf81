//! `every / on / at`: days of the calendar and local times of day.

use std::fmt;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Weekday};

/// Local times on each day, each named weekday, or each named day of the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Every {
    /// Which days.
    days: Days,
    /// Sorted, without repeats, at least one.
    at: Vec<TimeOfDay>,
}

/// Which days an [`Every`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// `every = "day"`.
    Day,
    /// `every = "week"`, `on = "mon"` or a list.
    Week(Weekdays),
    /// `every = "month"`, `on = 1`, `"last"` or a list.
    Month(MonthDays),
}

impl Every {
    /// These times on these days; times in any order, repeats count once.
    pub fn new(days: Days, at: impl IntoIterator<Item = TimeOfDay>) -> Result<Self, EveryError> {
        let mut at: Vec<TimeOfDay> = at.into_iter().collect();
        at.sort_unstable();
        at.dedup();
        let no_day = match days {
            Days::Day => false,
            Days::Week(weekdays) => weekdays.is_empty(),
            Days::Month(days) => days.is_empty(),
        };
        match (no_day, at.is_empty()) {
            (true, _) => Err(EveryError::NoDay),
            (_, true) => Err(EveryError::NoTime),
            (false, false) => Ok(Self { days, at }),
        }
    }

    /// Which days.
    pub fn days(&self) -> Days {
        self.days
    }

    /// At which local times: sorted, without repeats.
    pub fn at(&self) -> &[TimeOfDay] {
        &self.at
    }

    pub(super) fn matches_day(&self, day: NaiveDate) -> bool {
        match self.days {
            Days::Day => true,
            Days::Week(weekdays) => weekdays.contains(day.weekday()),
            Days::Month(days) => days.contains(day),
        }
    }

    pub(super) fn first_from(&self, time: TimeOfDay) -> Option<TimeOfDay> {
        self.at.get(self.at.partition_point(|at| *at < time)).copied()
    }
}

/// A local time of day in whole minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// 00:00.
    pub const MIDNIGHT: TimeOfDay = TimeOfDay(0);
    /// 23:59.
    pub const LAST: TimeOfDay = TimeOfDay(24 * 60 - 1);

    /// From hour (0–23) and minute (0–59).
    pub fn new(hour: u32, minute: u32) -> Option<Self> {
        (hour < 24 && minute < 60).then(|| Self((hour * 60 + minute) as u16))
    }

    /// Parses `10:00` or `9:05`.
    pub fn parse(text: &str) -> Result<Self, EveryError> {
        let err = || EveryError::Time(text.to_owned());
        let (hour, minute) = text.split_once(':').ok_or_else(err)?;
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !matches!(hour.len(), 1..=2) || minute.len() != 2 || !digits(hour) || !digits(minute) {
            return Err(err());
        }
        let (hour, minute) = (hour.parse().map_err(|_| err())?, minute.parse().map_err(|_| err())?);
        Self::new(hour, minute).ok_or_else(err)
    }

    /// The minute this time lies in.
    pub(super) fn of(time: NaiveTime) -> Self {
        Self((time.hour() * 60 + time.minute()) as u16)
    }

    pub(super) fn next(self) -> Option<Self> {
        (self < Self::LAST).then_some(Self(self.0 + 1))
    }

    pub(super) fn on(self, day: NaiveDate) -> NaiveDateTime {
        NaiveDateTime::new(day, self.into())
    }

    /// 0–23.
    pub fn hour(self) -> u32 {
        u32::from(self.0 / 60)
    }

    /// 0–59.
    pub fn minute(self) -> u32 {
        u32::from(self.0 % 60)
    }
}

impl From<TimeOfDay> for NaiveTime {
    fn from(time: TimeOfDay) -> NaiveTime {
        NaiveTime::from_hms_opt(time.hour(), time.minute(), 0).unwrap_or_default()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour(), self.minute())
    }
}

/// A set of weekdays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Parses one weekday: `mon` or `monday`, in any case.
    pub fn parse_day(text: &str) -> Result<Weekday, EveryError> {
        text.is_ascii()
            .then(|| text.parse().ok())
            .flatten()
            .ok_or_else(|| EveryError::Weekday(text.to_owned()))
    }

    /// Whether the day is one of them.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.num_days_from_monday()) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Weekday> for Weekdays {
    fn from_iter<I: IntoIterator<Item = Weekday>>(days: I) -> Self {
        Self(days.into_iter().fold(0, |bits, day| bits | (1 << day.num_days_from_monday())))
    }
}

/// A set of days of the month. A day beyond the end of a month means that month's last day, so `31` and `"last"`
/// are one and no month is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MonthDays(u32);

impl MonthDays {
    /// What `"last"` means.
    pub const LAST: u32 = 31;

    /// From day numbers 1–31.
    pub fn new(days: impl IntoIterator<Item = u32>) -> Result<Self, EveryError> {
        days.into_iter().try_fold(Self(0), |set, day| match day {
            1..=31 => Ok(Self(set.0 | 1 << day)),
            _ => Err(EveryError::MonthDay(i64::from(day))),
        })
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn contains(self, day: NaiveDate) -> bool {
        let is_last = day.succ_opt().is_none_or(|next| next.month() != day.month());
        let from_here = self.0 >> day.day();
        if is_last { from_here != 0 } else { from_here & 1 != 0 }
    }
}

/// Why `every / on / at` means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EveryError {
    /// No day is named.
    #[error("no day is named; expected a weekday or a day of the month in `on`")]
    NoDay,
    /// No time is named.
    #[error("no time is named; expected one or several times such as \"10:00\" in `at`")]
    NoTime,
    /// Not a time of day.
    #[error("`{0}` is not a time of day; expected \"HH:MM\" from 00:00 to 23:59")]
    Time(String),
    /// Not a weekday.
    #[error("`{0}` is not a weekday; expected mon, tue, wed, thu, fri, sat or sun")]
    Weekday(String),
    /// Not a day of a month.
    #[error("`{0}` is not a day of a month; expected 1 to 31 or \"last\"")]
    MonthDay(i64),
}
