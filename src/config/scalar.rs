//! Values a person writes as text: lengths, shares, times, dates, zones, paces.

use std::num::IntErrorKind;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use toml::de::DeValue;

use super::problem::{Expected, Noun, Problem};
use super::suggest::half_width;
use super::tree::Item;
use crate::domain::campaign::Pace;
use crate::domain::policy::Share;
use crate::domain::time::{Instant, Span, SpanError, Tz};

/// A date, a local time or a fixed instant, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Day(NaiveDate),
    Local(NaiveDateTime),
    Fixed(Instant),
}

impl Moment {
    /// `2026-12-04`, `2026-12-04 18:00[:05]`, `2026-12-04T18:00:00+09:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // RFC 3339 wants a `T` and seconds; people leave both out.
        let full = text.replacen(' ', "T", 1).replace('Z', "+00:00");
        for format in ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z"] {
            if let Ok(fixed) = DateTime::parse_from_str(&full, format) {
                return Some(Moment::Fixed(Instant::from_millis(fixed.timestamp_millis())));
            }
        }
        let local = text.replacen('T', " ", 1);
        for format in ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f"] {
            if let Ok(local) = NaiveDateTime::parse_from_str(&local, format) {
                return in_calendar(local.date()).then_some(Moment::Local(local));
            }
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        // chrono takes one digit for a month; so does a slip such as 2026-1-23 for 2026-12-3.
        (in_calendar(day) && text.len() == 10).then_some(Moment::Day(day))
    }

    /// The instant meant by a start: a day begins at its first moment.
    pub fn start(self, zone: Tz) -> Instant {
        match self {
            Moment::Day(day) => Instant::start_of_day(day, zone),
            Moment::Local(local) => Instant::from_local(local, zone),
            Moment::Fixed(at) => at,
        }
    }

    /// The first instant no longer meant by an end: a bare day includes all of it.
    pub fn end(self, zone: Tz) -> Instant {
        match self {
            Moment::Day(day) => Instant::start_of_day(day.succ_opt().unwrap_or(day), zone),
            other => other.start(zone),
        }
    }
}

fn in_calendar(day: NaiveDate) -> bool {
    use chrono::Datelike;
    (1..=9998).contains(&day.year())
}

/// `18:00` or `18:00:30`.
pub(super) fn parse_time(text: &str) -> Option<NaiveTime> {
    // chrono reads a leap second; a shop has none.
    let fits = text.len() == 5 || text.len() == 8;
    let time = ["%H:%M", "%H:%M:%S"].iter().find_map(|format| NaiveTime::parse_from_str(text, format).ok());
    time.filter(|_| fits && !text.ends_with(":60"))
}

/// What was probably meant where the half-width twin of a text can be read, or one with `-` for the `/` of a date.
pub(super) fn twin<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<String> {
    let folded = half_width(text).trim().to_owned();
    let dashed = folded.replace('/', "-");
    [folded, dashed].into_iter().find(|twin| twin != text && read(twin).is_some())
}

impl<'a> Item<'a> {
    /// A text that `read` understands, with a full-width twin offered where that would do.
    pub fn parse<T>(&self, expected: Expected, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text_as(expected.clone())?;
        match read(text) {
            Some(value) => Some(value),
            None => self.bad_but(expected, text, twin(text, &read)),
        }
    }

    /// A length of time of at least a second.
    pub fn span(&self) -> Option<Span> {
        self.span_as(Expected::Span)
    }

    pub fn span_as(&self, expected: Expected) -> Option<Span> {
        let text = self.text_as(expected.clone())?;
        match Span::parse(text) {
            Ok(span) if span > Span::ZERO => Some(span),
            Err(SpanError::AmbiguousMinute(_)) => {
                self.report(Problem::AmbiguousMinute { number: text.trim_end_matches('m').to_owned() });
                None
            }
            _ => self.bad_but(expected, text, span_meant(text)),
        }
    }

    /// A length of time, or `"off"`.
    pub fn span_or_off(&self) -> Option<Option<Span>> {
        if self.is_off() { Some(None) } else { self.span().map(Some) }
    }

    /// Whether the value is the word `"off"`.
    pub fn is_off(&self) -> bool {
        matches!(self.value, DeValue::String(text) if text == "off")
    }

    pub fn share(&self) -> Option<Share> {
        let text = match self.value {
            DeValue::Integer(digits) => {
                let meant = Some(format!("\"{digits}%\""));
                return self.bad_but(Expected::Share, &digits.to_string(), meant);
            }
            _ => self.text_as(Expected::Share)?,
        };
        Share::parse(text).or_else(|| {
            let meant = twin(text, Share::parse).or_else(|| twin(&format!("{text}%"), Share::parse));
            let spaced = text.replace(' ', "");
            let meant = meant.or_else(|| Share::parse(&spaced).map(|_| spaced));
            self.bad_but(Expected::Share, text, meant)
        })
    }

    pub fn date(&self) -> Option<NaiveDate> {
        let read = |text: &str| match Moment::parse(text) {
            Some(Moment::Day(day)) => Some(day),
            _ => None,
        };
        match self.value {
            DeValue::Datetime(native) => {
                let text = native.to_string();
                read(&text).or_else(|| self.bad(Expected::Date, &text))
            }
            _ => self.parse(Expected::Date, read),
        }
    }

    /// A date, a date with a time, or an instant with its offset; quoted or native.
    pub fn moment(&self, expected: Expected) -> Option<Moment> {
        match self.value {
            DeValue::Datetime(native) => {
                let text = native.to_string();
                Moment::parse(&text).or_else(|| self.bad(expected, &text))
            }
            _ => self.parse(expected, Moment::parse),
        }
    }

    /// The instant a moment means in a zone, saying so where an offset, a gap or a repeated hour decides.
    pub fn instant(&self, zone: Tz) -> Option<Instant> {
        let moment = self.moment(Expected::Instant)?;
        let at = moment.start(zone);
        match moment {
            Moment::Day(_) => return self.bad(Expected::Instant, &self.as_written()),
            Moment::Fixed(_) => {
                self.report(Problem::OffsetWins { local: local_text(at, zone), zone: zone.to_string() });
            }
            Moment::Local(local) => match zone.from_local_datetime(&local) {
                chrono::LocalResult::None => self.report(Problem::SkippedTime { taken: at.rfc3339(zone) }),
                chrono::LocalResult::Ambiguous(..) => {
                    self.report(Problem::RepeatedTime { taken: at.rfc3339(zone) });
                }
                chrono::LocalResult::Single(_) => {}
            },
        }
        Some(at)
    }

    fn as_written(&self) -> String {
        match self.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(native) => native.to_string(),
            _ => String::new(),
        }
    }

    pub fn zone(&self) -> Option<Tz> {
        let name = self.text()?;
        match name.parse::<Tz>() {
            Ok(zone) => Some(zone),
            Err(_) => {
                let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
                self.unknown(Noun::Zone, name, known)
            }
        }
    }

    /// `2000/10min`.
    pub fn pace(&self) -> Option<Pace> {
        let text = self.text_as(Expected::Pace)?;
        let read = |text: &str| {
            let (friends, per) = text.split_once('/')?;
            let friends = friends.trim().parse().ok().filter(|friends| *friends > 0)?;
            let per = Span::parse(per.trim()).ok().filter(|per| *per > Span::ZERO)?;
            Some(Pace { friends, per })
        };
        if let Some((_, per)) = text.split_once('/')
            && let Err(SpanError::AmbiguousMinute(_)) = Span::parse(per.trim())
        {
            let number = per.trim().trim_end_matches('m').to_owned();
            self.report(Problem::AmbiguousMinute { number });
            return None;
        }
        // `10000/h` reads well; it means one hour.
        let meant = twin(text, read).or_else(|| {
            let (friends, unit) = text.split_once('/')?;
            let full = format!("{friends}/1{unit}");
            read(&full).map(|_| full)
        });
        read(text).or_else(|| self.bad_but(Expected::Pace, text, meant))
    }

    /// One of some words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let choices = words.iter().map(|(word, _)| (*word).to_owned()).collect();
        let expected = Expected::OneOf { choices };
        let text = self.text_as(expected.clone())?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.or_else(|| {
            let suggestion = super::suggest::nearest(text, words.iter().map(|(word, _)| *word));
            self.bad_but(expected, text, suggestion)
        })
    }

    /// A name or slug of the domain.
    pub fn name<T: std::str::FromStr>(&self, expected: Expected) -> Option<T> {
        let text = self.text_as(expected.clone())?;
        text.parse().ok().or_else(|| self.bad(expected, text))
    }
}

/// What a person shows of an instant: the local clock without an offset.
pub(super) fn local_text(at: Instant, zone: Tz) -> String {
    at.in_zone(zone).format("%Y-%m-%d %H:%M").to_string()
}

/// `30 minutes`, `2時間`, `７ｄ`: what was probably meant.
fn span_meant(text: &str) -> Option<String> {
    let text = half_width(text).replace(' ', "").to_lowercase();
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let unit = match text.strip_prefix(digits.as_str())? {
        "s" | "sec" | "secs" | "second" | "seconds" | "秒" => "s",
        "min" | "mins" | "minute" | "minutes" | "分" | "分間" => "min",
        "h" | "hr" | "hour" | "hours" | "時間" => "h",
        "d" | "day" | "days" | "日" | "日間" => "d",
        "w" | "week" | "weeks" | "週" | "週間" => "w",
        // The calendar's months and years are no lengths; their usual number of days is.
        "month" | "months" | "か月" | "ヶ月" | "カ月" | "ヵ月" => return days(&digits, 30),
        "y" | "year" | "years" | "年" | "年間" => return days(&digits, 365),
        _ => return None,
    };
    let meant = format!("{digits}{unit}");
    Span::parse(&meant).ok().filter(|span| *span > Span::ZERO).map(|_| meant)
}

fn days(digits: &str, each: u64) -> Option<String> {
    match digits.parse::<u64>() {
        Ok(number) => Some(format!("{}d", number.checked_mul(each)?)).filter(|_| number > 0),
        Err(error) if *error.kind() == IntErrorKind::Empty => None,
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_quoted_with_and_without_seconds_and_offset() {
        let day = NaiveDate::from_ymd_opt(2026, 12, 4).unwrap();
        let six = day.and_hms_opt(18, 0, 0).unwrap();
        let fixed = Instant::from_millis(six.and_utc().timestamp_millis()) - Span::from_hours(9);
        assert_eq!(Moment::parse("2026-12-04"), Some(Moment::Day(day)));
        for text in ["2026-12-04 18:00", "2026-12-04T18:00", "2026-12-04 18:00:00", "2026-12-04T18:00:00"] {
            assert_eq!(Moment::parse(text), Some(Moment::Local(six)), "{text}");
        }
        for text in [
            "2026-12-04 18:00+09:00",
            "2026-12-04T18:00:00+09:00",
            "2026-12-04T09:00:00Z",
            "2026-12-04 09:00Z",
        ] {
            assert_eq!(Moment::parse(text), Some(Moment::Fixed(fixed)), "{text}");
        }
        for text in ["", "12/4", "2026-13-01", "2026-12-04 24:00", "2026-1-23", "2026-12-04 18", "9999-12-31"]
        {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_bare_date_as_an_end_includes_the_day() {
        let zone: Tz = "Asia/Tokyo".parse().unwrap();
        let moment = Moment::parse("2026-12-04").unwrap();
        assert_eq!(moment.end(zone) - moment.start(zone), Span::from_days(1));
    }

    #[test]
    fn lengths_in_words_are_understood_well_enough_to_suggest() {
        assert_eq!(span_meant("30 minutes").as_deref(), Some("30min"));
        assert_eq!(span_meant("２時間").as_deref(), Some("2h"));
        assert_eq!(span_meant("3か月").as_deref(), Some("90d"));
        assert_eq!(span_meant("soon"), None);
    }
}
