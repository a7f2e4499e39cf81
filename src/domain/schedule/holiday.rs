//! Japan's national holidays, by the rules of the law as it stands since 2022. No table runs out; what a later law
//! changes, such as a single year's exception, has to be written here.

use chrono::{Datelike, NaiveDate, Weekday};

/// Whether a day is a national holiday of Japan, substitute holidays included.
pub fn is_jp_holiday(day: NaiveDate) -> bool {
    is_named(day) || is_substitute(day) || is_between(day)
}

/// A day the law names.
fn is_named(day: NaiveDate) -> bool {
    let nth_monday = |n: u32| day.weekday() == Weekday::Mon && (n * 7 - 6..=n * 7).contains(&day.day());
    match (day.month(), day.day()) {
        (1, 1) | (2, 11 | 23) | (4, 29) | (5, 3..=5) | (8, 11) | (11, 3 | 23) => true,
        (1 | 10, _) => nth_monday(2),
        (7, _) => nth_monday(3),
        (3, date) => date == equinox(day.year(), 20.8431, 21.8510),
        (9, date) => nth_monday(3) || date == equinox(day.year(), 23.2488, 24.2488),
        _ => false,
    }
}

/// The usual formula for the day of the equinox in Japan, good from 1980 to 2150. The government announces each
/// in the February before; it has agreed with the formula so far.
fn equinox(year: i32, until_2099: f64, after: f64) -> u32 {
    let base = if year <= 2099 { until_2099 } else { after };
    let years = f64::from(year - 1980);
    let day = (base + 0.242194 * years).floor() - (years / 4.0).floor();
    if (1.0..=31.0).contains(&day) { day as u32 } else { 0 }
}

/// A holiday on a Sunday moves to the next day that is none itself.
fn is_substitute(day: NaiveDate) -> bool {
    if is_named(day) {
        return false;
    }
    let mut before = day.pred_opt();
    while let Some(named) = before.filter(|before| is_named(*before)) {
        if named.weekday() == Weekday::Sun {
            return true;
        }
        before = named.pred_opt();
    }
    false
}

/// A day between two holidays is one.
fn is_between(day: NaiveDate) -> bool {
    let named = |day: Option<NaiveDate>| day.is_some_and(is_named);
    day.weekday() != Weekday::Sun && named(day.pred_opt()) && named(day.succ_opt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As published by the Cabinet Office.
    #[test]
    fn published_years_agree() {
        let published = [
            (
                2024,
                "0101 0108 0211 0212 0223 0320 0429 0503 0504 0505 0506 0715 0811 0812 0916 0922 0923 1014 1103 1104 1123",
            ),
            (
                2025,
                "0101 0113 0211 0223 0224 0320 0429 0503 0504 0505 0506 0721 0811 0915 0923 1013 1103 1123 1124",
            ),
            (
                2026,
                "0101 0112 0211 0223 0320 0429 0503 0504 0505 0506 0720 0811 0921 0922 0923 1012 1103 1123",
            ),
            (2027, "0101 0111 0211 0223 0321 0322 0429 0503 0504 0505 0719 0811 0920 0923 1011 1103 1123"),
        ];
        for (year, days) in published {
            let first = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
            let found: Vec<String> = first
                .iter_days()
                .take_while(|day| day.year() == year)
                .filter(|day| is_jp_holiday(*day))
                .map(|day| day.format("%m%d").to_string())
                .collect();
            assert_eq!(found.join(" "), days, "{year}");
        }
    }
}
