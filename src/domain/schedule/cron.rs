//! Five-field cron, exactly Vixie's: parsing, and which days and minutes it names.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use chrono::{Datelike, NaiveDate};

use super::TimeOfDay;

/// A parsed five-field expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Field,
    hours: Field,
    month_days: Field,
    months: Field,
    weekdays: Field,
}

/// The values a field names, one bit each, and whether its text begins with `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    star: bool,
}

impl Field {
    fn contains(self, value: u32) -> bool {
        self.bits >> value & 1 != 0
    }

    fn first_from(self, value: u32) -> Option<u32> {
        let rest = self.bits.checked_shr(value)?;
        (rest != 0).then(|| value + rest.trailing_zeros())
    }
}

impl Cron {
    /// Parses five fields: minute, hour, day of month, month, weekday.
    ///
    /// Each is `*`, a number, a range `a-b`, either of `*` and a range with a step `/n`, or a list of these; months
    /// and weekdays also by English name. Everything else is an error that names the field.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.trim_start().starts_with('@') {
            return Err(CronError::Nickname(text.trim().to_owned()));
        }
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, month_day, month, weekday] = parts.as_slice() else {
            return Err(CronError::Fields { found: parts.len() });
        };
        let mut weekdays = CronField::Weekday.parse(weekday)?;
        // 0 and 7 are both Sunday.
        weekdays.bits = (weekdays.bits | weekdays.bits >> 7) & 0x7f;
        Ok(Self {
            text: parts.join(" "),
            minutes: CronField::Minute.parse(minute)?,
            hours: CronField::Hour.parse(hour)?,
            month_days: CronField::MonthDay.parse(month_day)?,
            months: CronField::Month.parse(month)?,
            weekdays,
        })
    }

    /// The expression, its fields one space apart.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is an interval: its minute or hour field begins with `*`, so it fires at every real minute whose
    /// local clock matches. Every other expression names fixed local times.
    pub fn is_interval(&self) -> bool {
        self.minutes.star || self.hours.star
    }

    pub(super) fn matches_month(&self, month: u32) -> bool {
        self.months.contains(month)
    }

    pub(super) fn matches_day(&self, day: NaiveDate) -> bool {
        let by_month_day = self.month_days.contains(day.day());
        let by_weekday = self.weekdays.contains(day.weekday().num_days_from_sunday());
        self.matches_month(day.month())
            && if self.month_days.star || self.weekdays.star {
                by_month_day && by_weekday
            } else {
                by_month_day || by_weekday
            }
    }

    pub(super) fn first_from(&self, time: TimeOfDay) -> Option<TimeOfDay> {
        let hour = self.hours.first_from(time.hour())?;
        if hour == time.hour()
            && let Some(minute) = self.minutes.first_from(time.minute())
        {
            return TimeOfDay::new(hour, minute);
        }
        let hour = if hour > time.hour() { hour } else { self.hours.first_from(hour + 1)? };
        TimeOfDay::new(hour, self.minutes.first_from(0)?)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cron {
    type Err = CronError;
    fn from_str(text: &str) -> Result<Self, CronError> {
        Self::parse(text)
    }
}

/// A field of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CronField {
    /// 0–59.
    Minute,
    /// 0–23.
    Hour,
    /// 1–31.
    MonthDay,
    /// 1–12 or jan–dec.
    Month,
    /// 0–7 or sun–sat; 0 and 7 are Sunday.
    Weekday,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl CronField {
    /// What numbers it takes.
    pub fn range(self) -> RangeInclusive<u32> {
        match self {
            Self::Minute => 0..=59,
            Self::Hour => 0..=23,
            Self::MonthDay => 1..=31,
            Self::Month => 1..=12,
            Self::Weekday => 0..=7,
        }
    }

    fn parse(self, text: &str) -> Result<Field, CronError> {
        let mut bits = 0;
        for part in text.split(',') {
            bits |= self.parse_part(part).map_err(|problem| CronError::Field {
                field: self,
                part: part.to_owned(),
                problem,
            })?;
        }
        Ok(Field { bits, star: text.starts_with('*') })
    }

    fn parse_part(self, part: &str) -> Result<u64, CronProblem> {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => (range, Some(self.parse_step(step)?)),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => self.range().into_inner(),
            Some((first, last)) => (self.parse_value(first)?, self.parse_value(last)?),
            None => {
                let value = self.parse_value(range)?;
                if step.is_some() {
                    return Err(CronProblem::StepWithoutRange);
                }
                (value, value)
            }
        };
        if first > last {
            return Err(CronProblem::Reversed);
        }
        Ok((first..=last).step_by(step.unwrap_or(1)).fold(0, |bits, value| bits | 1 << value))
    }

    fn parse_step(self, text: &str) -> Result<usize, CronProblem> {
        let (_, last) = self.range().into_inner();
        let step = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        step.filter(|step| (1..=last as usize).contains(step)).ok_or(CronProblem::Step { max: last })
    }

    fn parse_value(self, text: &str) -> Result<u32, CronProblem> {
        if text.is_empty() {
            return Err(CronProblem::Empty);
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            let value = text.parse().ok().filter(|value| self.range().contains(value));
            return value.ok_or(CronProblem::OutOfRange);
        }
        let position =
            |names: &[&str]| names.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|i| i as u32);
        match (self, position(&MONTHS), position(&WEEKDAYS)) {
            (Self::Month, Some(month), _) => Ok(month + 1),
            (Self::Weekday, _, Some(weekday)) => Ok(weekday),
            (_, Some(_), _) => Err(CronProblem::NameOf(Self::Month)),
            (_, _, Some(_)) => Err(CronProblem::NameOf(Self::Weekday)),
            (_, None, None) => match text.chars().find(|c| "LlWw#?".contains(*c)) {
                Some(sign) => Err(CronProblem::Extension(sign)),
                None => Err(CronProblem::NotAValue),
            },
        }
    }

    /// What the field takes, as a person would write it.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Minute => "0-59",
            Self::Hour => "0-23",
            Self::MonthDay => "1-31",
            Self::Month => "1-12 or jan-dec",
            Self::Weekday => "0-7 (0 and 7 are Sunday) or sun-sat",
        }
    }
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::MonthDay => "day of month",
            Self::Month => "month",
            Self::Weekday => "weekday",
        })
    }
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("expected five fields (minute hour day-of-month month weekday), found {found}")]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// `@daily` and its like.
    #[error("`{0}` is a nickname; write its five fields, e.g. `0 10 * * *` for every day at 10:00")]
    Nickname(String),
    /// One field is wrong.
    #[error("{field} `{part}`: {}", problem.text(*field))]
    Field {
        /// Which one.
        field: CronField,
        /// The entry of its list that is wrong; empty when an entry is missing.
        part: String,
        /// What is wrong with it.
        problem: CronProblem,
    },
}

/// What is wrong with one entry of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CronProblem {
    /// Nothing stands where a value should (`1,,2`, `5-`).
    Empty,
    /// One of `L`, `W`, `#`, `?`, which other programs know.
    Extension(char),
    /// Neither a number nor a name.
    NotAValue,
    /// A name that belongs into another field.
    NameOf(CronField),
    /// A number the field does not take.
    OutOfRange,
    /// A range that ends before it begins.
    Reversed,
    /// A step that is no number from 1 to the field's largest.
    Step {
        /// The largest step.
        max: u32,
    },
    /// A step after a single value.
    StepWithoutRange,
}

impl CronProblem {
    fn text(self, field: CronField) -> String {
        let expected = field.expected();
        match self {
            Self::Empty => format!("a value is missing; expected {expected}"),
            Self::Extension(sign) => format!("`{sign}` is not supported; expected {expected}"),
            Self::NotAValue => format!("not a value; expected {expected}"),
            Self::NameOf(other) => format!("this names a {other}; expected {expected}"),
            Self::OutOfRange => format!("out of range; expected {expected}"),
            Self::Reversed if field == CronField::Weekday => {
                "the range ends before it begins; Sunday as an end is 7, as in `5-7`".to_owned()
            }
            Self::Reversed => "the range ends before it begins; write two ranges with a comma".to_owned(),
            Self::Step { max } => format!("expected a step from 1 to {max} after `/`"),
            Self::StepWithoutRange => "a step needs a range or `*` before it, as in `0-59/5`".to_owned(),
        }
    }
}
