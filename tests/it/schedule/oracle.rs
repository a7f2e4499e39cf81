//! Recurrences against an oracle that shares no code with them: it walks real time minute by minute, looks at the
//! local clock, and knows only the words of the rule.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use haishin::domain::schedule::{
    Cron, Days, Every, Except, MonthDays, Pattern, Recurrence, TimeOfDay, Weekdays, When,
};
use haishin::domain::time::{Instant, Span};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::zone;

const CASES_PER_WINDOW: usize = 25;
const RANDOM_WINDOWS: usize = 100;

/// Days around which the clock of a zone does something.
const HARD: [(&str, &str); 30] = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Australia/Sydney", "2027-10-03"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("America/Santiago", "2026-04-05"),
    ("America/Santiago", "2026-09-06"),
    ("Asia/Beirut", "2026-03-29"),
    ("America/St_Johns", "2006-04-02"),
    ("America/St_Johns", "2006-10-29"),
    ("Africa/Casablanca", "2025-02-23"),
    ("Africa/Casablanca", "2025-04-06"),
    ("Pacific/Apia", "2011-12-30"),
    ("Pacific/Kwajalein", "1993-08-21"),
    ("Asia/Gaza", "2023-04-29"),
    ("Asia/Pyongyang", "2015-08-15"),
    ("America/Caracas", "2016-05-01"),
    ("Pacific/Chatham", "2026-09-27"),
    ("Asia/Tehran", "2022-03-22"),
    ("America/Nuuk", "2024-03-31"),
    ("Asia/Tokyo", "2026-12-31"),
    ("Asia/Kolkata", "2028-02-29"),
];

const ZONES: [&str; 12] = [
    "Asia/Tokyo",
    "Europe/London",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Amman",
    "Europe/Lisbon",
    "Asia/Kathmandu",
    "Australia/Adelaide",
    "Pacific/Auckland",
    "America/Asuncion",
    "Africa/Windhoek",
    "Atlantic/Azores",
];

/// Real minutes with what the local clock shows; the first two days only warm the oracle up.
struct Window {
    recurrence_zone: haishin::domain::time::Tz,
    minutes: Vec<(Instant, NaiveDateTime)>,
    from: Instant,
    until: Instant,
}

impl Window {
    fn around(zone_name: &str, day: NaiveDate, days: i64) -> Self {
        let zone = zone(zone_name);
        let middle = Instant::from_millis(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis());
        let (from, until) = (middle - Span::from_days(1), middle + Span::from_days(days));
        let mut minutes = Vec::new();
        let mut at = from - Span::from_days(2);
        while at < until {
            minutes.push((at, at.in_zone(zone).naive_local()));
            at = at + Span::from_mins(1);
        }
        Self { recurrence_zone: zone, minutes, from, until }
    }
}

/// What the oracle knows of a recurrence: sets of numbers and the words of the rules.
struct Meaning {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    months: BTreeSet<u32>,
    month_days: BTreeSet<u32>,
    weekdays: BTreeSet<u32>,
    both_days: bool,
    clamps_month_days: bool,
    interval: bool,
}

impl Meaning {
    fn names(&self, local: NaiveDateTime) -> bool {
        self.minutes.contains(&local.minute())
            && self.hours.contains(&local.hour())
            && self.months.contains(&local.month())
            && self.names_day(local.date())
    }

    fn names_day(&self, day: NaiveDate) -> bool {
        let days_in_month = (28..=31).rev().find(|last| day.with_day(*last).is_some()).unwrap();
        let clamped = self.clamps_month_days
            && day.day() == days_in_month
            && self.month_days.iter().any(|day| *day > days_in_month);
        let in_month = clamped || self.month_days.contains(&day.day());
        let in_week = self.weekdays.contains(&day.weekday().num_days_from_sunday());
        if self.both_days { in_month && in_week } else { in_month || in_week }
    }

    /// An interval fires whenever the clock shows a named time. A fixed time fires when the clock first reaches
    /// or passes it.
    fn fires(&self, window: &Window) -> Vec<Instant> {
        let mut furthest = window.minutes[0].1;
        let mut fired = Vec::new();
        for &(at, local) in &window.minutes[1..] {
            let mut due = self.interval && self.names(local);
            while furthest < local {
                furthest += TimeDelta::minutes(1);
                due |= !self.interval && self.names(furthest);
            }
            if due && at >= window.from {
                fired.push(at);
            }
        }
        fired
    }
}

/// A field as text and as the set it names.
fn field(rng: &mut StdRng, (first, last): (u32, u32), star: f64) -> (String, BTreeSet<u32>) {
    if rng.random_bool(star) {
        let step = if rng.random_bool(0.5) { 1 } else { rng.random_range(2..=last.min(20)) };
        let set = (first..=last).filter(|value| (value - first) % step == 0).collect();
        return (if step == 1 { "*".to_owned() } else { format!("*/{step}") }, set);
    }
    let mut set = BTreeSet::new();
    let mut parts = Vec::new();
    for _ in 0..rng.random_range(1..=3) {
        let low = rng.random_range(first..=last);
        let high = rng.random_range(low..=last.min(low + 6));
        let step = rng.random_range(1..=3);
        match rng.random_range(0..3) {
            0 => {
                set.insert(low);
                parts.push(low.to_string());
            }
            1 => {
                set.extend(low..=high);
                parts.push(format!("{low}-{high}"));
            }
            _ => {
                set.extend((low..=high).filter(|value| (value - low) % step == 0));
                parts.push(format!("{low}-{high}/{step}"));
            }
        }
    }
    (parts.join(","), set)
}

fn random_cron(rng: &mut StdRng) -> (String, Pattern, Meaning) {
    let (minute, minutes) = field(rng, (0, 59), 0.3);
    // Changes of the clock happen at night, so most hours do too.
    let night = if rng.random_bool(0.7) { 4 } else { 23 };
    let (hour, hours) = field(rng, (0, night), if night == 23 { 0.5 } else { 0.0 });
    let (month_day, month_days) = field(rng, (1, 31), 0.8);
    let (month, months) = field(rng, (1, 12), 0.95);
    let (weekday, weekdays) = field(rng, (0, 7), 0.8);
    let text = format!("{minute} {hour} {month_day} {month} {weekday}");
    let meaning = Meaning {
        minutes,
        hours,
        months,
        month_days,
        weekdays: weekdays.into_iter().map(|day| day % 7).collect(),
        both_days: month_day.starts_with('*') || weekday.starts_with('*'),
        clamps_month_days: false,
        interval: minute.starts_with('*') || hour.starts_with('*'),
    };
    let pattern = Pattern::Cron(Cron::parse(&text).unwrap());
    (text, pattern, meaning)
}

fn random_every(rng: &mut StdRng) -> (String, Pattern, Meaning) {
    let time = (rng.random_range(0..24), rng.random_range(0..60));
    let (mut month_days, mut weekdays): (BTreeSet<u32>, BTreeSet<u32>) =
        ((1..=31).collect(), (0..7).collect());
    let days = match rng.random_range(0..3) {
        0 => Days::Day,
        1 => {
            weekdays = (0..7).filter(|_| rng.random_bool(0.4)).chain([3]).collect();
            let from_sunday = |day: &u32| chrono::Weekday::try_from(((day + 6) % 7) as u8).unwrap();
            Days::Week(weekdays.iter().map(from_sunday).collect::<Weekdays>())
        }
        _ => {
            month_days = (1..=31).filter(|_| rng.random_bool(0.2)).chain([31]).collect();
            Days::Month(MonthDays::new(month_days.iter().copied()).unwrap())
        }
    };
    let every = Every::new(days, [TimeOfDay::new(time.0, time.1).unwrap()]).unwrap();
    let meaning = Meaning {
        minutes: [time.1].into(),
        hours: [time.0].into(),
        months: (1..=12).collect(),
        month_days,
        weekdays,
        both_days: true,
        clamps_month_days: matches!(days, Days::Month(_)),
        interval: false,
    };
    (format!("{every:?}"), Pattern::Every(every), meaning)
}

/// Draws bounds and exceptions too; returns how many instants fell due.
fn compare(rng: &mut StdRng, window: &Window) -> usize {
    let (text, pattern, meaning) = if rng.random_bool(0.15) { random_every(rng) } else { random_cron(rng) };
    let length = (window.until - window.from).as_millis();
    let mut draw = |chance: f64| {
        rng.random_bool(chance).then(|| window.from + Span::from_millis(rng.random_range(0..length)))
    };
    let (from, until, excepted) = (draw(0.2), draw(0.2), draw(0.3));
    let excepted = excepted.map(|at| at.day_in(window.recurrence_zone));
    let except = excepted.map(|day| Except::Days { first: day, last: day }).into_iter().collect();
    let recurrence = Recurrence { pattern, zone: window.recurrence_zone, from, until, except };

    let expected: Vec<Instant> = meaning
        .fires(window)
        .into_iter()
        .filter(|at| from.is_none_or(|from| *at >= from) && until.is_none_or(|until| *at < until))
        .filter(|at| Some(at.day_in(window.recurrence_zone)) != excepted)
        .collect();
    let when = When::Recurring(recurrence.clone());
    let got: Vec<Instant> = when.between(window.from, window.until).collect();
    assert_eq!(got, expected, "{text} {recurrence:?}");
    expected.len()
}

#[test]
fn recurrences_equal_an_oracle_that_walks_the_clock() {
    let mut rng = StdRng::seed_from_u64(20_261_122);
    let hard = HARD.iter().map(|(zone, day)| Window::around(zone, day.parse().unwrap(), 3));
    let random: Vec<(&str, NaiveDate)> = (0..RANDOM_WINDOWS)
        .map(|_| {
            let day = NaiveDate::from_ymd_opt(1985, 1, 1).unwrap();
            (*ZONES.choose(&mut rng).unwrap(), day + TimeDelta::days(rng.random_range(0..36_500)))
        })
        .collect();
    let random = random.into_iter().map(|(zone, day)| Window::around(zone, day, 2));
    let (mut cases, mut busy, mut fired) = (0, 0, 0);
    for window in hard.chain(random) {
        for _ in 0..CASES_PER_WINDOW {
            let due = compare(&mut rng, &window);
            (cases, busy, fired) = (cases + 1, busy + usize::from(due > 0), fired + due);
        }
    }
    assert!(cases >= 3_000, "{cases}");
    assert!(
        busy * 3 > cases,
        "too many cases without any due instant: {busy} of {cases} are busy, {fired} fired"
    );
}

/// Zones that change their clocks at midnight, at night, by half an hour, by two hours, in Ramadan, on either half of
/// the earth, and some that do not.
const TWENTY: [&str; 20] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Jerusalem",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Auckland",
    "Pacific/Chatham",
];

/// The days of ten years on which a zone's clock is changed.
fn changes(zone_name: &str) -> Vec<NaiveDate> {
    use chrono::Offset as _;
    let zone = zone(zone_name);
    let offset = |at: Instant| at.in_zone(zone).offset().fix();
    let first = Instant::try_from("2026-01-01T00:00:00Z".to_owned()).unwrap();
    let hours = (0..10 * 365 * 24).map(|hour| first + Span::from_hours(hour));
    hours
        .filter(|at| offset(*at) != offset(*at + Span::from_hours(1)))
        .map(|at| at.utc().date_naive())
        .collect()
}

#[test]
fn ten_years_of_changed_clocks_in_twenty_zones_equal_the_oracle() {
    let mut rng = StdRng::seed_from_u64(20_261_130);
    let (mut days, mut fired) = (0, 0);
    for zone in TWENTY {
        for day in changes(zone) {
            let window = Window::around(zone, day, 2);
            days += 1;
            fired += (0..4).map(|_| compare(&mut rng, &window)).sum::<usize>();
        }
    }
    assert!(days > 300 && fired > days, "{days} changes, {fired} instants");
}
