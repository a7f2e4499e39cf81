//! A cell's text to a value of the declared type. Nothing is inferred, trimmed or folded.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

use super::reject::Reason;
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::friend::Status;
use crate::domain::id::{AttributeName, EventName, PropertyName, TagName, UserId};
use crate::domain::time::{Instant, Span, Tz};

/// The longest customer id or event id, in characters: databases index them.
pub const ID_CHARS_MAX: usize = 200;

/// Parses a value of a declared type.
///
/// # Errors
/// The text is none of this type.
pub fn value(text: &str, declared: AttributeType, zone: Tz) -> Result<Value, Reason> {
    let parsed = match declared {
        AttributeType::Text => Some(Value::Text(Arc::from(text))),
        AttributeType::Integer => text.parse().ok().map(Value::Integer),
        AttributeType::Number => number(text).map(Value::Number),
        AttributeType::Boolean => boolean(text).map(Value::Boolean),
        AttributeType::Date => date(text).map(Value::Date),
        AttributeType::Instant => instant_of(text, zone).map(Value::Instant),
    };
    parsed.ok_or_else(|| Reason::Value { text: text.to_owned(), declared })
}

/// Parses an instant; without an offset it is local time of `zone`, a bare date the beginning of that day.
pub(super) fn instant(text: &str, zone: Tz) -> Result<Instant, Reason> {
    instant_of(text, zone)
        .ok_or_else(|| Reason::Value { text: text.to_owned(), declared: AttributeType::Instant })
}

pub(super) fn user(text: &str) -> Result<UserId, Reason> {
    UserId::parse(text).map_err(|_| Reason::User(text.to_owned()))
}

pub(super) fn status(text: &str) -> Result<Status, Reason> {
    match text {
        "following" | "友だち" => Ok(Status::Following),
        "blocked" | "ブロック中" => Ok(Status::Blocked),
        _ => Err(Reason::Status(text.to_owned())),
    }
}

pub(super) fn tag(text: &str) -> Result<TagName, Reason> {
    TagName::parse(text).map_err(|_| Reason::Name(text.to_owned()))
}

pub(super) fn event(text: &str) -> Result<EventName, Reason> {
    EventName::parse(text).map_err(|_| Reason::Name(text.to_owned()))
}

pub(super) fn attribute_name(text: &str) -> Option<AttributeName> {
    AttributeName::parse(text).ok()
}

pub(super) fn property_name(text: &str) -> Option<PropertyName> {
    PropertyName::parse(text).ok()
}

/// A customer id or event id: as it is, within what a database can index.
pub(super) fn id(text: &str) -> Result<String, Reason> {
    let fits = text.chars().count() <= ID_CHARS_MAX && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(Reason::Id(text.to_owned())) }
}

/// A finite double. Only digits, sign, point and exponent: Rust would read `inf` and `nan` too.
fn number(text: &str) -> Option<f64> {
    let written = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    let number: f64 = text.parse().ok().filter(|_| written)?;
    number.is_finite().then_some(number)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// `2026-01-02` or `2026/01/02`; spreadsheets leave out the zeros of month and day.
fn date(text: &str) -> Option<NaiveDate> {
    let separator = if text.contains('/') { '/' } else { '-' };
    let mut parts = text.split(separator);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    let year = i32::try_from(digits(year)?).ok().filter(|year| *year >= 1)?;
    NaiveDate::from_ymd_opt(year, digits(month)?, digits(day)?)
}

fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn instant_of(text: &str, zone: Tz) -> Option<Instant> {
    let Some(split) = text.find(['T', 't', ' ']) else {
        return date(text).map(|day| Instant::start_of_day(day, zone));
    };
    let (day, clock) = (date(text.get(..split)?)?, text.get(split + 1..)?);
    let (clock, offset) = split_offset(clock)?;
    let local = NaiveDateTime::new(day, time(clock)?);
    Some(match offset {
        None => Instant::from_local(local, zone),
        Some(offset) => Instant::from(local.and_utc()) - offset,
    })
}

/// `10:00+09:00` to `10:00` and nine hours; `Z` is no offset at all from UTC.
fn split_offset(clock: &str) -> Option<(&str, Option<Span>)> {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, Some(Span::ZERO)));
    }
    let Some(at) = clock.find(['+', '-']) else { return Some((clock, None)) };
    let (clock, offset) = (clock.get(..at)?, clock.get(at..)?);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    Some((clock, Some(Span::from_mins(sign * i64::from(hours * 60 + minutes)))))
}

/// `9:05`, `10:00`, `10:00:30`, `10:00:30.123`; finer fractions are cut to the millisecond.
fn time(clock: &str) -> Option<NaiveTime> {
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next());
    let fits = |part: &str, min: usize| (min..=2).contains(&part.len());
    if parts.next().is_some() || !fits(hour, 1) || !fits(minute, 2) || !second.is_none_or(|s| fits(s, 2)) {
        return None;
    }
    let millis = match fraction {
        None => 0,
        Some(fraction) if second.is_some() && !fraction.is_empty() && fraction.len() <= 9 => {
            digits(fraction)?;
            digits(format!("{fraction:0<3}").get(..3)?)?
        }
        Some(_) => return None,
    };
    NaiveTime::from_hms_milli_opt(digits(hour)?, digits(minute)?, digits(second.unwrap_or("0"))?, millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Tz;
    use rstest::rstest;

    const TOKYO: Tz = chrono_tz::Asia::Tokyo;
    const BERLIN: Tz = chrono_tz::Europe::Berlin;

    #[rstest]
    #[case("2026-01-02T03:04:05.678+09:00", TOKYO, "2026-01-01T18:04:05.678Z")]
    #[case("2026-01-02t03:04:05z", TOKYO, "2026-01-02T03:04:05.000Z")]
    #[case("2026-01-02 03:04:05.6789-03:30", TOKYO, "2026-01-02T06:34:05.678Z")]
    #[case("2026-01-02T03:04:05", TOKYO, "2026-01-01T18:04:05.000Z")]
    #[case("2026/1/2 9:05", TOKYO, "2026-01-02T00:05:00.000Z")]
    #[case("2026/01/02", TOKYO, "2026-01-01T15:00:00.000Z")]
    // In the gap of spring: the first instant after it. In the repeated hour of autumn: its first.
    #[case("2026-03-29 02:30", BERLIN, "2026-03-29T01:00:00.000Z")]
    #[case("2026-10-25 02:30", BERLIN, "2026-10-25T00:30:00.000Z")]
    #[case("2026-10-25 02:30+01:00", BERLIN, "2026-10-25T01:30:00.000Z")]
    fn instants(#[case] text: &str, #[case] zone: Tz, #[case] expected: &str) {
        assert_eq!(instant(text, zone).unwrap().to_string(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("2026-01-02T")]
    #[case("2026-01-02T24:00")]
    #[case("2026-01-02T10")]
    #[case("2026-01-02T10:0")]
    #[case("2026-01-02T10:00.5")]
    #[case("2026-01-02T10:00:00.")]
    #[case("2026-01-02T10:00+9")]
    #[case("2026-01-02T10:00+24:00")]
    #[case("2026-02-30")]
    #[case("0000-01-01")]
    #[case("26-01-02")]
    #[case("2026/01-02")]
    #[case("２０２６-01-02")]
    #[case(" 2026-01-02")]
    #[case("2026-+1-02")]
    fn no_instants(#[case] text: &str) {
        assert!(instant(text, TOKYO).is_err());
    }

    #[test]
    fn types_are_declared_and_never_inferred() {
        let read = |text, declared| value(text, declared, TOKYO).ok();
        assert_eq!(read("007", AttributeType::Text), Some(Value::Text("007".into())));
        assert_eq!(read(" a ", AttributeType::Text), Some(Value::Text(" a ".into())));
        assert_eq!(read("007", AttributeType::Integer), Some(Value::Integer(7)));
        assert_eq!(read("9223372036854775808", AttributeType::Integer), None);
        assert_eq!(read("1.0", AttributeType::Integer), None);
        assert_eq!(read("-1.5e3", AttributeType::Number), Some(Value::Number(-1500.0)));
        for bad in ["inf", "nan", "1e999", "1,234", "１", " 1", "0x10"] {
            assert_eq!(read(bad, AttributeType::Number), None, "{bad}");
        }
        assert_eq!(read("true", AttributeType::Boolean), Some(Value::Boolean(true)));
        assert_eq!(read("0", AttributeType::Boolean), Some(Value::Boolean(false)));
        assert_eq!(read("yes", AttributeType::Boolean), None);
        assert_eq!(read("1990/1/2", AttributeType::Date), read("1990-01-02", AttributeType::Date));
        assert_eq!(read("", AttributeType::Date), None);
    }
}
