//! What the local times of a drip's steps mean, with two dated examples each: a wait and then a time of day is said in
//! a line and misread as easily.

use chrono::{Datelike, Days as DayCount, NaiveDate, TimeDelta, Weekday};
use serde_json::{Value, json};

use super::judge::is_restricted;
use super::starts::edges;
use crate::config::Configuration;
use crate::domain::drip::{Drip, Start, Step, Timing, Wait};
use crate::domain::schedule::{Days, Every, Except, Pattern, Recurrence};
use crate::domain::time::{Instant, Span, Tz};
use crate::lang::Lang;

/// A step with a local time, and what becomes of two starts.
pub(in crate::config) struct Meaning<'c> {
    drip: &'c Drip,
    step: &'c Step,
    times: &'c Recurrence,
    /// Each a start and when the step is due for it, in the order of time.
    examples: Vec<(Instant, Instant)>,
}

/// So far ahead an example is looked for that a left-out day moves.
const LOOK_AHEAD_DAYS: usize = 366;

/// What every step with a local time means; examples begin the day after `now`.
pub(in crate::config) fn meanings(configuration: &Configuration, now: Instant) -> Vec<Meaning<'_>> {
    let steps = configuration.drips.values().flat_map(|drip| drip.steps.iter().map(move |step| (drip, step)));
    steps
        .filter_map(|(drip, step)| {
            let times = step.timing.at.as_ref()?;
            let first = now.day_in(drip.zone).succ_opt()?;
            let examples = examples(drip, &step.timing, times, first);
            Some(Meaning { drip, step, times, examples })
        })
        .collect()
}

/// Where all days are alike, a start an hour before the due instant jumps and one an hour behind; else one that no
/// left-out day moves and one that is moved.
fn examples(drip: &Drip, timing: &Timing, times: &Recurrence, first: NaiveDate) -> Vec<(Instant, Instant)> {
    let Some(edge) = edges(&drip.start, &[timing]).first().copied() else { return Vec::new() };
    let hour = if matches!(drip.start, Start::Date(_)) { TimeDelta::zero() } else { TimeDelta::hours(1) };
    let start = |day: NaiveDate, shift: TimeDelta| Instant::from_local(day.and_time(edge) + shift, drip.zone);
    let due = |start: Instant| Some((start, timing.due(start)?));
    if !is_restricted(timing) {
        let second = if hour.is_zero() { first.checked_add_days(DayCount::new(1)) } else { Some(first) };
        let starts = [Some(start(first, -hour)), second.map(|day| start(day, hour))];
        return starts.into_iter().flatten().filter_map(due).collect();
    }
    let unrestricted = on_every_day(timing, times);
    let mut plain = None;
    let mut moved = None;
    for day in first.iter_days().take(LOOK_AHEAD_DAYS) {
        let Some(example) = due(start(day, -hour)) else { continue };
        let as_usual = unrestricted.as_ref().and_then(|timing| timing.due(example.0)) == Some(example.1);
        let found = if as_usual { &mut plain } else { &mut moved };
        found.get_or_insert(example);
        if plain.is_some() && moved.is_some() {
            break;
        }
    }
    let moved = moved.or_else(|| due(start(first, hour)));
    let mut examples: Vec<_> = [plain, moved].into_iter().flatten().collect();
    examples.sort_unstable();
    examples
}

/// The same timing without days left out.
fn on_every_day(timing: &Timing, times: &Recurrence) -> Option<Timing> {
    let Pattern::Every(every) = &times.pattern else { return None };
    let pattern = Pattern::Every(Every::new(Days::Day, every.at().iter().copied()).ok()?);
    let at = Some(Recurrence { pattern, except: Vec::new(), ..times.clone() });
    Some(Timing { at, ..timing.clone() })
}

/// All meanings, drip by drip; empty without any.
pub(in crate::config) fn render(meanings: &[Meaning<'_>], lang: Lang) -> String {
    let mut out = String::new();
    let mut last = None;
    for meaning in meanings {
        let drip = meaning.drip;
        if last.is_none() {
            out += lang.pick("シナリオの時刻の意味\n", "what the times of drips mean\n");
        }
        if last.replace(&drip.slug) != Some(&drip.slug) {
            out += &format!("\n{}  {}\n", drip.slug, drip.title);
        }
        out += &format!("  {}: {}\n", meaning.step.name, meaning.sentence(lang));
        for (start, due) in &meaning.examples {
            let (start, due) = (dated(*start, drip.zone, lang), dated(*due, drip.zone, lang));
            out += &lang
                .pick(format!("    {start} に開始 → {due}\n"), format!("    started {start} → due {due}\n"));
        }
    }
    out
}

impl Meaning<'_> {
    /// One step for machines.
    pub fn as_json(&self, lang: Lang) -> Value {
        let zone = self.drip.zone;
        let example = |(start, due): &(Instant, Instant)| json!({ "start": start.rfc3339(zone), "due": due.rfc3339(zone) });
        json!({
            "drip": self.drip.slug,
            "step": self.step.name,
            "means": self.sentence(lang),
            "examples": self.examples.iter().map(example).collect::<Vec<_>>(),
        })
    }

    /// The timing as a sentence.
    fn sentence(&self, lang: Lang) -> String {
        let Pattern::Every(every) = &self.times.pattern else { return String::new() };
        let times: Vec<String> = every.at().iter().map(ToString::to_string).collect();
        let times = times.join(lang.pick("・", " or "));
        let on = match every.days() {
            Days::Week(days) => {
                let named = WEEKDAYS.iter().filter(|(day, ..)| days.contains(*day));
                let named: Vec<&str> = named.map(|(_, ja, en)| lang.pick(*ja, *en)).collect();
                lang.pick(format!("{}曜の", named.join("・")), format!(" on {}", named.join(", ")))
            }
            _ => String::new(),
        };
        let except: Vec<String> = self.times.except.iter().map(|except| left_out(except, lang)).collect();
        let except = match except.as_slice() {
            [] => String::new(),
            all => lang.pick(format!("({}を除く)", all.join("・")), format!(" (except {})", all.join(", "))),
        };
        let wait = waited(self.step.timing.wait, lang);
        lang.pick(
            format!("{wait}から最初の{on} {times}{except}"),
            format!("the first {times}{on}{except} from {wait} on"),
        )
    }
}

/// From when on the local time is looked for.
fn waited(wait: Wait, lang: Lang) -> String {
    match wait {
        Wait::Elapsed(Span::ZERO) => lang.pick("開始", "the start").into(),
        Wait::Elapsed(span) => {
            let span = length(span, lang);
            lang.pick(format!("開始の{span}後"), format!("{span} after the start"))
        }
        Wait::Days(1) => lang.pick("開始の翌日", "the next calendar day").into(),
        Wait::Days(days) => {
            lang.pick(format!("開始の日の{days}日後"), format!("{days} calendar days after the start"))
        }
    }
}

/// A length as a person says it; days with their hours, for a day of the calendar is something else.
fn length(span: Span, lang: Lang) -> String {
    const MINUTE: i64 = 60_000;
    let minutes = span.as_millis() / MINUTE;
    if span.as_millis() % MINUTE != 0 {
        return span.to_string();
    }
    let hours = minutes / 60;
    match (minutes % 60, hours % 24) {
        (0, 0) => {
            let days = hours / 24;
            lang.pick(format!("{hours}時間({days}日)"), format!("{hours} hours ({days} d)"))
        }
        (0, _) => lang.pick(format!("{hours}時間"), format!("{hours} hours")),
        _ => lang.pick(format!("{minutes}分"), format!("{minutes} minutes")),
    }
}

fn left_out(except: &Except, lang: Lang) -> String {
    match except {
        Except::JpHolidays => lang.pick("日本の祝日", "holidays in Japan").into(),
        Except::Weekdays(days) => {
            let named = WEEKDAYS.iter().filter(|(day, ..)| days.contains(*day));
            let named = named.map(|(_, ja, en)| lang.pick(format!("{ja}曜"), (*en).to_owned()));
            named.collect::<Vec<_>>().join(", ")
        }
        Except::Days { first, last } if first == last => first.to_string(),
        Except::Days { first, last } => format!("{first}..{last}"),
    }
}

const WEEKDAYS: [(Weekday, &str, &str); 7] = [
    (Weekday::Mon, "月", "Mon"),
    (Weekday::Tue, "火", "Tue"),
    (Weekday::Wed, "水", "Wed"),
    (Weekday::Thu, "木", "Thu"),
    (Weekday::Fri, "金", "Fri"),
    (Weekday::Sat, "土", "Sat"),
    (Weekday::Sun, "日", "Sun"),
];

/// `2026-12-04(金) 10:00`, `Fri 2026-12-04 10:00`.
fn dated(at: Instant, zone: Tz, lang: Lang) -> String {
    let local = at.in_zone(zone);
    let day = WEEKDAYS.iter().find(|(day, ..)| *day == local.weekday());
    let (ja, en) = day.map_or(("", ""), |(_, ja, en)| (*ja, *en));
    let (date, time) = (local.format("%Y-%m-%d"), local.format("%H:%M"));
    lang.pick(format!("{date}({ja}) {time}"), format!("{en} {date} {time}"))
}
