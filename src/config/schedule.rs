//! `[schedule]`: when a campaign is due. `docs/schedules.md` says what each form means.

use chrono::NaiveDate;
use toml::de::DeValue;

use super::problem::{Expected, Problem};
use super::scalar::{Moment, local_text};
use super::terms::Defaults;
use super::tree::{Item, Table};
use crate::domain::campaign::Deadline;
use crate::domain::policy::{Policy, QuietHours};
use crate::domain::schedule::{
    Cron, Days, Every, Except, IfMissed, MonthDays, Pattern, Recurrence, Schedule, TimeOfDay, Weekdays, When,
};
use crate::domain::time::{Instant, Span, Tz};

/// A `[schedule]` as read.
pub(super) struct Read {
    pub schedule: Schedule,
    pub deadline: Option<Deadline>,
    pub rerun: u32,
}

/// What a schedule is read with.
pub(super) struct Surroundings<'c> {
    pub policy: &'c Policy,
    pub defaults: Defaults,
    pub now: Instant,
    /// The campaign may send in quiet hours.
    pub immediate: bool,
    /// The distance at which the same content may be due again.
    pub window: Span,
}

const WEEKDAYS: [(&str, chrono::Weekday); 7] = [
    ("mon", chrono::Weekday::Mon),
    ("tue", chrono::Weekday::Tue),
    ("wed", chrono::Weekday::Wed),
    ("thu", chrono::Weekday::Thu),
    ("fri", chrono::Weekday::Fri),
    ("sat", chrono::Weekday::Sat),
    ("sun", chrono::Weekday::Sun),
];

/// What is looked at for the shortest distance between two due instants: a pattern of times, weekdays and days of
/// the month comes round within two months, and both changes of the clock lie within a year.
const LOOK_AHEAD: Span = Span::from_days(366);
/// Three times a day for a year: what comes oftener shows its shortest distance on any day.
const LOOK_AHEAD_MAX: usize = 1_200;
/// Due instants looked at for one in the quiet hours: more than a day's.
const QUIET_LOOKED_AT: usize = 50;

pub(super) fn schedule(item: &Item<'_>, around: &Surroundings<'_>) -> Option<Read> {
    let table = item.table("schedule")?.with_homes();
    let zone = match table.get("zone") {
        Some(item) => item.zone(),
        None => Some(around.policy.zone),
    };
    let if_missed = table.get("if_missed").map_or(Some(around.defaults.if_missed), |item| if_missed(&item));
    let grace = table.get("grace").map_or(Some(around.defaults.grace), |item| item.span());
    let kind = table.one_of(&["every", "cron"], false);
    let when = match kind {
        None => once(&table, zone),
        Some(kind) => recurring(&table, kind, zone, around),
    };
    let rerun = match kind {
        None => table.get("rerun").map_or(Some(0), |item| item.whole_u32(0, u32::MAX)),
        Some(_) => Some(0),
    };
    let deadline = deadline(&table, when.as_ref(), zone, around);
    table.finish();
    let schedule = Schedule { when: when?, if_missed: if_missed?, grace: grace? };
    Some(Read { schedule, deadline: deadline?, rerun: rerun? })
}

pub(super) fn if_missed(item: &Item<'_>) -> Option<IfMissed> {
    item.word(&[("latest", IfMissed::Latest), ("all", IfMissed::All), ("none", IfMissed::None)])
}

fn once(table: &Table<'_>, zone: Option<Tz>) -> Option<When> {
    // Without `at` it could be any of the three.
    let Some(item) = table.get("at") else {
        table.missing(&["at", "every", "cron"]);
        return None;
    };
    Some(When::Once(item.instant(zone?)?))
}

fn recurring(table: &Table<'_>, kind: &str, zone: Option<Tz>, around: &Surroundings<'_>) -> Option<When> {
    let pattern = match kind {
        "every" => every(table).map(Pattern::Every),
        _ => cron(table).map(Pattern::Cron),
    };
    let from = bound(table, "from", zone, Moment::start);
    let until = bound(table, "until", zone, Moment::end);
    let except = match table.get("except") {
        Some(item) => except(&item),
        None => Some(Vec::new()),
    };
    let (from, until) = (from?, until?);
    if let (Some(start), Some(end)) = (from, until)
        && end <= start
    {
        let at = table.peek("until")?.at;
        table.file.report(at, Problem::EndBeforeStart { start: "from".to_owned() });
        return None;
    }
    let recurrence = Recurrence { pattern: pattern?, zone: zone?, from, until, except: except? };
    let when = When::Recurring(recurrence);
    judge(table, kind, &when, around);
    Some(when)
}

/// Reports a recurrence that never fires, is over, or comes round within the same-content window.
fn judge(table: &Table<'_>, kind: &str, when: &When, around: &Surroundings<'_>) {
    let When::Recurring(recurrence) = when else { return };
    let at = table.key_at(kind).unwrap_or(table.at);
    if recurrence.next_after(Instant::from_millis(0)).is_none() {
        table.file.report(at, Problem::NeverFires);
        return;
    }
    if recurrence.next_after(around.now).is_none()
        && let Some(until) = recurrence.until
    {
        let at = table.peek("until").map_or(at, |item| item.at);
        let local = local_text(until - Span::from_millis(1), recurrence.zone);
        table.file.report(at, Problem::AlreadyPast { at: until, local });
    }
    let gap = recurrence.shortest_gap(reference(when), LOOK_AHEAD, LOOK_AHEAD_MAX);
    if let Some(gap) = gap.filter(|gap| *gap < around.window) {
        table.file.report(at, Problem::RepeatsTooSoon { gap, window: around.window });
    }
}

fn cron(table: &Table<'_>) -> Option<Cron> {
    let item = table.get("cron")?;
    let text = item.text_as(Expected::Cron)?;
    match Cron::parse(text) {
        Ok(cron) => Some(cron),
        Err(error) => {
            item.report(Problem::BadCron { error });
            None
        }
    }
}

fn every(table: &Table<'_>) -> Option<Every> {
    let item = table.get("every")?;
    let words = [("day", "day"), ("week", "week"), ("month", "month")];
    let every = item.word(&words);
    let days = every.and_then(|every| match every {
        "day" => Some(Days::Day),
        "week" => table.need("on").and_then(|item| weekdays(&item)).map(Days::Week),
        _ => table.need("on").and_then(|item| month_days(&item)).map(Days::Month),
    });
    if every.is_none() {
        table.get("on");
    }
    let at = table.need("at").and_then(|item| times(&item));
    Every::new(days?, at?).ok()
}

/// One value or a list of them.
fn several<'a>(item: &Item<'a>) -> Option<Vec<Item<'a>>> {
    let items = item.one_or_list();
    if items.is_empty() {
        item.report(Problem::NeverFires);
        return None;
    }
    Some(items)
}

/// `"10:00"` or a list of such times.
pub(super) fn times(item: &Item<'_>) -> Option<Vec<TimeOfDay>> {
    let times: Vec<Option<TimeOfDay>> = several(item)?.iter().map(time_of_day).collect();
    times.into_iter().collect()
}

pub(super) fn time_of_day(item: &Item<'_>) -> Option<TimeOfDay> {
    if let DeValue::Datetime(native) = item.value
        && let (None, Some(time)) = (native.date, native.time)
        && time.second.unwrap_or(0) == 0
    {
        return TimeOfDay::new(time.hour.into(), time.minute.into());
    }
    // Nothing is due at a second of a minute, so `18:00:00` is all that seconds can say.
    let read = |text: &str| {
        TimeOfDay::parse(text.strip_suffix(":00").filter(|rest| rest.contains(':')).unwrap_or(text))
    };
    item.parse(Expected::Time, |text| read(text).ok())
}

/// `"mon"` or a list of such days.
pub(super) fn weekdays(item: &Item<'_>) -> Option<Weekdays> {
    let days: Vec<Option<chrono::Weekday>> = several(item)?.iter().map(weekday).collect();
    days.into_iter().collect()
}

fn weekday(item: &Item<'_>) -> Option<chrono::Weekday> {
    if let DeValue::String(text) = item.value
        && let Ok(day) = Weekdays::parse_day(text)
    {
        return Some(day);
    }
    // 月曜日 and 月 are what a marketer may try.
    if let DeValue::String(text) = item.value
        && let Some(n) =
            text.chars().next().and_then(|first| "月火水木金土日".chars().position(|c| c == first))
        && let Some((word, _)) = WEEKDAYS.get(n)
    {
        let choices = WEEKDAYS.iter().map(|(word, _)| (*word).to_owned()).collect();
        return item.bad_but(Expected::OneOf { choices }, text, Some((*word).to_owned()));
    }
    item.word(&WEEKDAYS)
}

fn month_days(item: &Item<'_>) -> Option<MonthDays> {
    let days: Vec<Option<u32>> = several(item)?.iter().map(month_day).collect();
    MonthDays::new(days.into_iter().collect::<Option<Vec<u32>>>()?).ok()
}

fn month_day(item: &Item<'_>) -> Option<u32> {
    match item.value {
        DeValue::String(_) => item.word(&[("last", MonthDays::LAST)]),
        _ => item.whole_u32(1, 31),
    }
}

fn bound(
    table: &Table<'_>,
    key: &'static str,
    zone: Option<Tz>,
    edge: fn(Moment, Tz) -> Instant,
) -> Option<Option<Instant>> {
    match table.get(key) {
        Some(item) => Some(Some(edge(item.moment(Expected::Moment)?, zone?))),
        None => Some(None),
    }
}

/// Days on which nothing is due: dates, ranges, weekdays, holidays; one or a list.
pub(super) fn except(item: &Item<'_>) -> Option<Vec<Except>> {
    let read: Vec<Option<Except>> = item.one_or_list().iter().map(exception).collect();
    read.into_iter().collect()
}

fn exception(item: &Item<'_>) -> Option<Except> {
    if let DeValue::Datetime(_) = item.value {
        let day = item.date()?;
        return Some(Except::Days { first: day, last: day });
    }
    let read = |text: &str| {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let day = |text: &str| match Moment::parse(text) {
            Some(Moment::Day(day)) => Some(day),
            _ => None,
        };
        Some((day(first)?, day(last)?))
    };
    let text = item.text_as(Expected::Exception)?;
    if text == "jp-holidays" {
        return Some(Except::JpHolidays);
    }
    if let Ok(day) = Weekdays::parse_day(text) {
        return Some(Except::Weekdays([day].into_iter().collect()));
    }
    let words = WEEKDAYS.iter().map(|(word, _)| *word).chain(["jp-holidays"]);
    let Some((first, last)): Option<(NaiveDate, NaiveDate)> = read(text) else {
        let meant = super::scalar::twin(text, read).or_else(|| super::suggest::nearest(text, words));
        return item.bad_but(Expected::Exception, text, meant);
    };
    if last < first {
        item.report(Problem::EndBeforeStart { start: first.to_string() });
        return None;
    }
    Some(Except::Days { first, last })
}

/// After what nothing of an occurrence is sent; and what can be said of a one-shot's time.
fn deadline(
    table: &Table<'_>,
    when: Option<&When>,
    zone: Option<Tz>,
    around: &Surroundings<'_>,
) -> Option<Option<Deadline>> {
    let recurring = matches!(when, Some(When::Recurring(_)));
    let expected = if recurring { Expected::Span } else { Expected::InstantOrSpan };
    let item = table.get("deadline");
    let span = item.as_ref().is_some_and(|item| recurring || is_span(item));
    let deadline = match &item {
        None => None,
        Some(item) if span => Some(Deadline::After(item.span_as(expected)?)),
        Some(item) => Some(Deadline::At(item.moment(Expected::InstantOrSpan)?.end(zone?))),
    };
    if let (Some(When::Once(at)), Some(item), Some(deadline)) = (when, &item, deadline)
        && deadline.instant(*at) <= *at
    {
        item.report(Problem::EndBeforeStart { start: "at".to_owned() });
        return None;
    }
    judge_times(table, when?, zone?, deadline.zip(item), around);
    Some(deadline)
}

/// Reports a one-shot of the past, and the first due instant that lies in the quiet hours.
fn judge_times(
    table: &Table<'_>,
    when: &When,
    zone: Tz,
    deadline: Option<(Deadline, Item<'_>)>,
    around: &Surroundings<'_>,
) {
    let Some(place) = table.key_at("cron").or_else(|| table.peek("at").map(|item| item.at)) else { return };
    if let When::Once(at) = when
        && *at <= around.now
    {
        table.file.report(place, Problem::AlreadyPast { at: *at, local: local_text(*at, zone) });
    }
    let Some(quiet) = around.policy.quiet_hours.filter(|_| !around.immediate) else { return };
    let due = |after: Instant| -> Vec<Instant> {
        match when {
            When::Once(at) => vec![*at],
            When::Recurring(_) => when.after(after).take(QUIET_LOOKED_AT).collect(),
        }
    };
    let sendable = |(at, end): &(Instant, Instant)| {
        deadline.as_ref().is_none_or(|(deadline, _)| deadline.instant(*at) > *end)
    };
    let quiet = |due: &[Instant]| -> Vec<(Instant, Instant)> {
        due.iter().filter_map(|at| Some((*at, quiet_until(quiet, *at)?))).collect()
    };
    let (always, coming) = (due(reference(when)), quiet(&due(around.now)));
    let always_quiet = quiet(&always);
    // Nights left out by a deadline are meant, unless nothing else is left.
    let nothing_left =
        !always.is_empty() && always_quiet.len() == always.len() && !always_quiet.iter().any(sendable);
    match (&deadline, coming.first().or(always_quiet.first())) {
        (Some((_, item)), Some((_, end))) if nothing_left => {
            item.report(Problem::DeadlineInQuietHours { ends: local_text(*end, zone) });
        }
        _ => {
            if let Some((_, end)) = coming.iter().find(|one| sendable(one)) {
                table.file.report(place, Problem::DueInQuietHours { ends: local_text(*end, zone) });
            }
        }
    }
}

/// From when on a recurrence is judged. Not from now: what was taken once must never become an error by itself, or
/// a daemon could not read its own version after a restart.
fn reference(when: &When) -> Instant {
    const SOME_DAY: Instant = Instant::from_millis(1_767_225_600_000); // 2026-01-01
    let from = match when {
        When::Once(_) => None,
        When::Recurring(recurrence) => recurrence.from,
    };
    from.map_or(SOME_DAY, |from| from - Span::from_millis(1))
}

/// When the quiet hours end that `at` lies in.
fn quiet_until(quiet: QuietHours, at: Instant) -> Option<Instant> {
    let local = at.in_zone(quiet.zone).naive_local();
    let (day, time) = (local.date(), local.time());
    let overnight = quiet.start > quiet.end;
    let inside = match overnight {
        true => time >= quiet.start || time < quiet.end,
        false => time >= quiet.start && time < quiet.end,
    };
    let last = if overnight && time >= quiet.start { day.succ_opt()? } else { day };
    inside.then(|| Instant::from_local(last.and_time(quiet.end), quiet.zone))
}

fn is_span(item: &Item<'_>) -> bool {
    matches!(item.value, DeValue::String(text) if Moment::parse(text).is_none() && text.len() < 12)
}
