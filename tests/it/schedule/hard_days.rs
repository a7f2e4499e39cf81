//! The table of hard zones and days, written by hand from the zones' rules.

use chrono::NaiveDate;
use haishin::domain::schedule::{
    Days, Every, Except, MonthDays, Pattern, Recurrence, TimeOfDay, Weekdays, When,
};
use haishin::domain::time::{Instant, Span};
use rstest::rstest;

use super::{at, cron};

/// What falls due on two local days, as `DAY TIME OFFSET`.
fn due(recurrence: &Recurrence, first: &str, days: i64) -> String {
    let first: NaiveDate = first.parse().unwrap();
    let last = first + chrono::TimeDelta::days(days);
    let (from, until) =
        (Instant::start_of_day(first, recurrence.zone), Instant::start_of_day(last, recurrence.zone));
    let when = When::Recurring(recurrence.clone());
    let shown = |due: Instant| due.in_zone(recurrence.zone).format("%d %H:%M%:z").to_string();
    when.between(from, until).map(shown).collect::<Vec<_>>().join(", ")
}

#[rstest]
// An hour is skipped at 02:00: a fixed time waits for the end of the gap, two that meet there are one.
#[case("Europe/Berlin", "30 2 * * *", "2026-03-29", "29 03:00+02:00")]
#[case("Europe/Berlin", "0,30 2 * * *", "2026-03-29", "29 03:00+02:00")]
#[case("Europe/Berlin", "30 2,3 * * *", "2026-03-29", "29 03:00+02:00, 29 03:30+02:00")]
#[case("Europe/Berlin", "0 2,3 * * *", "2026-03-29", "29 03:00+02:00")]
#[case(
    "Europe/Berlin",
    "30 1-4 * * *",
    "2026-03-29",
    "29 01:30+01:00, 29 03:00+02:00, 29 03:30+02:00, 29 04:30+02:00"
)]
#[case("America/New_York", "15 2 8 3 *", "2026-03-08", "08 03:00-04:00")]
// An interval fires when the clock shows a time, so never in a gap.
#[case(
    "Europe/Berlin",
    "*/30 1-3 * * *",
    "2026-03-29",
    "29 01:00+01:00, 29 01:30+01:00, 29 03:00+02:00, 29 03:30+02:00"
)]
#[case("Europe/Berlin", "*/30 2 * * *", "2026-03-29", "")]
#[case(
    "Europe/Berlin",
    "0 */2 29 3 *",
    "2026-03-29",
    "29 00:00+01:00, 29 04:00+02:00, 29 06:00+02:00, 29 08:00+02:00, 29 10:00+02:00, 29 12:00+02:00, 29 14:00+02:00, 29 16:00+02:00, 29 18:00+02:00, 29 20:00+02:00, 29 22:00+02:00"
)]
// An hour is repeated at 03:00: a fixed time takes the first, an interval both.
#[case("Europe/Berlin", "30 2 * * *", "2026-10-25", "25 02:30+02:00")]
#[case("Europe/Berlin", "0,30 2 * * *", "2026-10-25", "25 02:00+02:00, 25 02:30+02:00")]
#[case("Europe/Berlin", "30 1-3 * * *", "2026-10-25", "25 01:30+02:00, 25 02:30+02:00, 25 03:30+01:00")]
#[case(
    "Europe/Berlin",
    "*/30 2 * * *",
    "2026-10-25",
    "25 02:00+02:00, 25 02:30+02:00, 25 02:00+01:00, 25 02:30+01:00"
)]
#[case("America/New_York", "30 1 * * *", "2026-11-01", "01 01:30-04:00")]
// Half an hour of daylight saving.
#[case("Australia/Lord_Howe", "15 2 * * *", "2026-10-04", "04 02:30+11:00")]
#[case("Australia/Lord_Howe", "45 1 * * *", "2026-04-05", "05 01:45+11:00")]
#[case(
    "Australia/Lord_Howe",
    "*/15 1 * * *",
    "2026-04-05",
    "05 01:00+11:00, 05 01:15+11:00, 05 01:30+11:00, 05 01:45+11:00, 05 01:30+10:30, 05 01:45+10:30"
)]
// Two hours of it.
#[case("Antarctica/Troll", "30 1,2 * * *", "2026-03-29", "29 03:00+02:00")]
// The gap is at midnight.
#[case("Africa/Cairo", "0 0 * * *", "2026-04-24", "24 01:00+03:00")]
#[case("America/Havana", "30 0 * * *", "2026-03-08", "08 01:00-04:00")]
#[case("America/Santiago", "0 0 * * *", "2026-09-06", "06 01:00-03:00")]
#[case("Asia/Beirut", "0,15 0 29 3 *", "2026-03-29", "29 01:00+03:00")]
// Midnight is repeated, or the hour before it.
#[case("America/Havana", "30 0 * * *", "2026-11-01", "01 00:30-04:00")]
#[case("America/Santiago", "30 23 * * *", "2026-04-04", "04 23:30-03:00")]
#[case(
    "America/Santiago",
    "*/30 23 * * *",
    "2026-04-04",
    "04 23:00-03:00, 04 23:30-03:00, 04 23:00-04:00, 04 23:30-04:00"
)]
#[case("America/St_Johns", "0 0 * * *", "2006-10-29", "29 00:00-02:30")]
// Daylight saving the other way round, for Ramadan.
#[case("Africa/Casablanca", "30 2 * * *", "2025-02-23", "23 02:30+01:00")]
#[case("Africa/Casablanca", "30 2 * * *", "2025-04-06", "06 03:00+01:00")]
// Odd offsets without any change.
#[case("Asia/Kathmandu", "0 10 * * *", "2026-06-01", "01 10:00+05:45")]
#[case("Asia/Tokyo", "0 0 * * *", "2026-06-01", "01 00:00+09:00")]
fn a_local_day(#[case] zone: &str, #[case] text: &str, #[case] day: &str, #[case] expected: &str) {
    assert_eq!(due(&cron(text, zone), day, 1), expected);
}

#[rstest]
// Apia had no 30 December 2011, Kwajalein no 21 August 1993: its times stand for the end of the gap.
#[case("Pacific/Apia", "0 10 * * *", "2011-12-29", 3, "29 10:00-10:00, 31 00:00+14:00, 31 10:00+14:00")]
#[case("Pacific/Apia", "0 10,11 30 12 *", "2011-12-29", 3, "31 00:00+14:00")]
#[case(
    "Pacific/Apia",
    "0 */12 * * *",
    "2011-12-29",
    3,
    "29 00:00-10:00, 29 12:00-10:00, 31 00:00+14:00, 31 12:00+14:00"
)]
#[case("Pacific/Kwajalein", "0 10 * * *", "1993-08-20", 3, "20 10:00-12:00, 22 00:00+12:00, 22 10:00+12:00")]
// St John's went back over midnight: a minute of the 29th, then the end of the 28th again.
#[case(
    "America/St_Johns",
    "*/59 0,23 28 10 *",
    "2006-10-28",
    2,
    "28 00:00-02:30, 28 00:59-02:30, 28 23:00-02:30, 28 23:59-02:30, 28 23:59-03:30"
)]
// A day of the month or a weekday, unless one of them begins with a star.
#[case(
    "Asia/Tokyo",
    "0 9 13 * fri",
    "2026-11-01",
    30,
    "06 09:00+09:00, 13 09:00+09:00, 20 09:00+09:00, 27 09:00+09:00"
)]
#[case("Asia/Tokyo", "0 9 12 * fri", "2026-11-01", 15, "06 09:00+09:00, 12 09:00+09:00, 13 09:00+09:00")]
#[case("Asia/Tokyo", "0 9 */13 * fri", "2026-11-01", 30, "27 09:00+09:00")]
#[case(
    "Asia/Tokyo",
    "0 9 1-14 * */5",
    "2026-11-01",
    30,
    "01 09:00+09:00, 06 09:00+09:00, 08 09:00+09:00, 13 09:00+09:00"
)]
fn local_days(
    #[case] zone: &str,
    #[case] text: &str,
    #[case] first: &str,
    #[case] days: i64,
    #[case] expected: &str,
) {
    assert_eq!(due(&cron(text, zone), first, days), expected);
}

fn every(days: Days, times: &[&str]) -> Recurrence {
    let every = Every::new(days, times.iter().map(|time| TimeOfDay::parse(time).unwrap())).unwrap();
    Recurrence { pattern: Pattern::Every(every), ..cron("0 0 * * *", "Asia/Tokyo") }
}

fn days_of(recurrence: &Recurrence, from: &str, count: usize) -> Vec<String> {
    let when = When::Recurring(recurrence.clone());
    when.after(at(from)).take(count).map(|due| due.day_in(recurrence.zone).to_string()).collect()
}

#[test]
fn a_day_beyond_the_end_of_a_month_is_its_last_with_every_and_skipped_with_cron() {
    let last = every(Days::Month(MonthDays::new([31]).unwrap()), &["10:00"]);
    assert_eq!(
        days_of(&last, "2027-12-31T12:00:00Z", 5),
        ["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30", "2028-05-31"]
    );
    let both = every(Days::Month(MonthDays::new([29, 30]).unwrap()), &["10:00"]);
    assert_eq!(days_of(&both, "2027-01-31T12:00:00Z", 3), ["2027-02-28", "2027-03-29", "2027-03-30"]);
    let skipped = cron("0 10 31 * *", "Asia/Tokyo");
    assert_eq!(
        days_of(&skipped, "2027-12-31T12:00:00Z", 4),
        ["2028-01-31", "2028-03-31", "2028-05-31", "2028-07-31"]
    );
}

#[test]
fn rare_days_are_found_and_impossible_ones_end_the_search() {
    assert_eq!(
        days_of(&cron("0 0 29 2 *", "Asia/Tokyo"), "2096-01-01T00:00:00Z", 2),
        ["2096-02-29", "2104-02-29"]
    );
    // A Sunday 29 February comes every 28 years, and 40 years apart across 2100.
    assert_eq!(
        days_of(&cron("0 0 29 2 */7", "Asia/Tokyo"), "2060-01-01T00:00:00Z", 3),
        ["2060-02-29", "2088-02-29", "2128-02-29"]
    );
    let never = ["0 0 31 2 *", "* * 30 2 *", "0 0 31 4,6,9,11 *"];
    for text in never {
        assert_eq!(cron(text, "Europe/Berlin").next_after(at("2026-01-01T00:00:00Z")), None, "{text}");
    }
    let all_week: Weekdays = (0..7).map(|day| chrono::Weekday::try_from(day).unwrap()).collect();
    for text in ["* * * * *", "0-59 0-23 * * *", "0 10 * * *"] {
        let never = Recurrence { except: vec![Except::Weekdays(all_week)], ..cron(text, "Pacific/Apia") };
        assert_eq!(never.next_after(at("2011-01-01T00:00:00Z")), None, "{text}");
    }
}

#[test]
fn a_week_has_its_days_and_times() {
    let days = ["mon", "Friday"].map(|day| Weekdays::parse_day(day).unwrap()).into_iter().collect();
    let week = every(Days::Week(days), &["18:30", "9:00", "18:30"]);
    let when = When::Recurring(week);
    let due: Vec<_> = when.between(at("2026-11-02T00:00:00Z"), at("2026-11-09T00:00:00Z")).collect();
    // The first Monday's 09:00 is 00:00Z: from is inclusive, until exclusive.
    assert_eq!(
        due,
        ["2026-11-02T00:00:00Z", "2026-11-02T09:30:00Z", "2026-11-06T00:00:00Z", "2026-11-06T09:30:00Z"]
            .map(at)
    );
}

#[test]
fn bounds_and_exceptions_cut_days_out() {
    let date = |text: &str| text.parse::<NaiveDate>().unwrap();
    let daily = Recurrence {
        from: Some(at("2026-12-29T10:00:00+09:00")),
        until: Some(at("2027-01-08T10:00:00+09:00")),
        except: vec![
            Except::Days { first: date("2026-12-31"), last: date("2027-01-03") },
            Except::Weekdays([chrono::Weekday::Tue].into_iter().collect()),
        ],
        ..every(Days::Day, &["10:00"])
    };
    // 29 December and 5 January are Tuesdays; 8 January 10:00 is the exclusive end.
    assert_eq!(
        days_of(&daily, "2026-01-01T00:00:00Z", 10),
        ["2026-12-30", "2027-01-04", "2027-01-06", "2027-01-07"]
    );
    // What the missing 30th moves to the 31st is sent on the 31st.
    let moved = |day| Recurrence {
        except: vec![Except::Days { first: date(day), last: date(day) }],
        ..cron("0 10 30 12 *", "Pacific/Apia")
    };
    assert_eq!(days_of(&moved("2011-12-31"), "2011-12-01T00:00:00Z", 1), ["2012-12-30"]);
    assert_eq!(days_of(&moved("2011-12-30"), "2011-12-01T00:00:00Z", 1), ["2011-12-31"]);
}

#[test]
fn the_shortest_gap_is_seen_through_a_change_of_the_clock() {
    const YEAR: Span = Span::from_days(366);
    let hours = |text: &str, from: &str| cron(text, "Europe/Berlin").shortest_gap(at(from), YEAR, 400);
    assert_eq!(hours("0 10 * * *", "2026-01-01T00:00:00Z"), Some(Span::from_hours(23)));
    assert_eq!(hours("0 10,20 * * *", "2026-01-01T00:00:00Z"), Some(Span::from_hours(10)));
    assert_eq!(hours("0 0 31 2 *", "2026-01-01T00:00:00Z"), None);
    assert_eq!(hours("0 0 29 2 *", "2026-01-01T00:00:00Z"), None, "once in the year looked at, or never");
    let once = Recurrence { until: Some(at("2026-01-02T00:00:00Z")), ..cron("0 10 * * *", "Europe/Berlin") };
    assert_eq!(once.shortest_gap(at("2026-01-01T00:00:00Z"), YEAR, 400), None);
}

#[test]
fn a_day_that_comes_back_after_midnight_is_not_lost() {
    // St John's showed a minute of the 29th, then the last hour of the 28th once more.
    let late = cron("*/59 23 28 10 *", "America/St_Johns");
    assert_eq!(late.next_after(at("2006-10-29T00:00:30-02:30")), Some(at("2006-10-28T23:59:00-03:30")));
}

#[test]
fn the_ends_of_time_are_no_trap() {
    for (text, left) in [("* * * * *", 3), ("0 10 * * *", 0)] {
        let cron = cron(text, "Asia/Tokyo");
        assert!(cron.next_after(Instant::MIN).is_some());
        assert_eq!(cron.next_after(Instant::MAX), None);
        assert_eq!(When::Recurring(cron).after(Instant::MAX - Span::from_mins(3)).count(), left);
    }
    let once = When::Once(at("2026-12-04T18:00:30+09:00"));
    assert_eq!(once.between(at("2026-12-04T09:00:30Z"), at("2027-01-01T00:00:00Z")).count(), 1);
    assert_eq!(once.between(at("2026-01-01T00:00:00Z"), at("2026-12-04T09:00:30Z")).count(), 0);
}
