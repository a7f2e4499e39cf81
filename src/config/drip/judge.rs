//! What can be said of a drip as a whole: ways that begin too soon, steps out of order, content sent twice.
//!
//! No error looks at the present: what was taken once must never become an error by itself.

use chrono::{NaiveDate, NaiveTime};

use super::starts::around;
use crate::config::problem::Problem;
use crate::config::scalar::local_text;
use crate::config::tree::{Item, Table};
use crate::domain::drip::{Again, Drip, Start, Step, Timing, Wait};
use crate::domain::message::ContentDigest;
use crate::domain::policy::QuietHours;
use crate::domain::schedule::{Days, Pattern};
use crate::domain::time::{Instant, Span};

/// A Monday of a month without a holiday in Japan, from which examples are counted.
const SOME_MONDAY: Option<NaiveDate> = NaiveDate::from_ymd_opt(2026, 6, 1);
/// Weekdays come round in so many days.
const WEEK: usize = 7;

/// Reports what is wrong with the drip in this file. `quiet` are the hours that bind it.
pub(super) fn judge(drip: &Drip, table: &Table<'_>, window: Span, quiet: Option<&QuietHours>, now: Instant) {
    let sends = drip.steps.iter().any(|step| step.dispatch().is_some());
    if let (Again::After(gap), Some(item)) = (drip.again, table.peek("again"))
        && sends
        && gap < window
    {
        item.report(Problem::RepeatsTooSoon { gap, window });
    }
    if let (Start::Date(date), Again::Never, Some(at)) = (&drip.start, drip.again, table.key_at("start"))
        && date.yearly
    {
        table.file.report(at, Problem::YearlyOnce);
    }
    let items = table.peek("step").and_then(|item| item.list()).unwrap_or_default();
    for (n, (step, item)) in drip.steps.iter().zip(&items).enumerate() {
        let (earlier, with_this) =
            (drip.steps.get(..n).unwrap_or_default(), drip.steps.get(..=n).unwrap_or_default());
        order(drip, earlier, step, item);
        same_content(drip, earlier, with_this, item, window);
        if let Some(quiet) = quiet {
            in_quiet_hours(step, item, quiet, now);
        }
    }
}

/// Starts that show how two steps stand to each other.
fn telling(drip: &Drip, timings: &[&Timing]) -> Vec<Instant> {
    let Some(first) = SOME_MONDAY else { return Vec::new() };
    let by_weekday = timings.iter().any(|timing| is_restricted(timing));
    around(&drip.start, timings, drip.zone, first, if by_weekday { WEEK } else { 1 })
}

/// Whether some days are left out.
pub(super) fn is_restricted(timing: &Timing) -> bool {
    timing.at.as_ref().is_some_and(|times| {
        let every_day = matches!(&times.pattern, Pattern::Every(every) if every.days() == Days::Day);
        !every_day || !times.except.is_empty()
    })
}

/// A step that is not due after the one before it: it comes right behind, which is not what it says. Steps without a
/// time of their own say nothing else.
fn order(drip: &Drip, earlier: &[Step], step: &Step, item: &Item<'_>) {
    let (Some(before), true) = (last_timed(earlier), has_time(step)) else { return };
    let starts = telling(drip, &[&before.timing, &step.timing]);
    let dues = starts.into_iter().filter_map(|at| Some((before.timing.due(at)?, step.timing.due(at)?)));
    let dues: Vec<(Instant, Instant)> = dues.collect();
    let sometimes_earlier = dues.iter().any(|(before, this)| this < before);
    let never_later = dues.iter().all(|(before, this)| this <= before);
    if (sometimes_earlier || never_later)
        && let Some(name) = item.part("name")
    {
        let (step, before) = (step.name.to_string(), before.name.to_string());
        name.report(Problem::OutOfOrder { step, before });
    }
}

fn has_time(step: &Step) -> bool {
    step.timing.at.is_some() || step.timing.wait != Wait::Elapsed(Span::ZERO)
}

fn last_timed(steps: &[Step]) -> Option<&Step> {
    steps.iter().rev().find(|step| has_time(step))
}

/// Content that an earlier step has sent so shortly before that nobody would get it again. Of several such steps the
/// last one is the nearest.
fn same_content(drip: &Drip, earlier: &[Step], with_this: &[Step], item: &Item<'_>, window: Span) {
    let Some(step) = with_this.last() else { return };
    let Some(n) = earlier.iter().rposition(|other| share_content(other, step)) else { return };
    let with_other = earlier.get(..=n).unwrap_or_default();
    let timings = [last_timed(with_other), last_timed(with_this)].map(|step| step.map(|step| &step.timing));
    let timings: Vec<&Timing> = timings.into_iter().flatten().collect();
    let gaps = telling(drip, &timings)
        .into_iter()
        .filter_map(|start| Some(turn(with_this, start)? - turn(with_other, start)?));
    let gap = gaps.min().filter(|gap| *gap < window);
    if let (Some(gap), Some(other), Some(name)) = (gap, with_other.last(), item.part("name")) {
        let (step, other) = (step.name.to_string(), other.name.to_string());
        name.report(Problem::SameContent { step, other, gap, window });
    }
}

/// When the last of these steps has its turn, none overtaking another.
fn turn(steps: &[Step], start: Instant) -> Option<Instant> {
    steps.iter().filter_map(|step| step.timing.due(start)).max()
}

fn share_content(one: &Step, other: &Step) -> bool {
    let contents = |step: &Step| -> Vec<ContentDigest> {
        let variants = step.dispatch().map(|dispatch| dispatch.variants.as_slice());
        variants.unwrap_or_default().iter().map(|arm| arm.messages.content).collect()
    };
    let other = contents(other);
    contents(one).iter().any(|content| other.contains(content))
}

/// A local time at which nothing is sent.
fn in_quiet_hours(step: &Step, item: &Item<'_>, quiet: &QuietHours, now: Instant) {
    let (Some(times), Some(_), Some(item)) = (&step.timing.at, step.dispatch(), item.part("at")) else {
        return;
    };
    let (Pattern::Every(every), Some(day)) = (&times.pattern, now.day_in(times.zone).succ_opt()) else {
        return;
    };
    let dues = every.at().iter().map(|time| {
        let time: NaiveTime = (*time).into();
        Instant::from_local(day.and_time(time), times.zone)
    });
    if let Some(due) = dues.into_iter().find(|due| quiet.is_quiet(*due)) {
        let ends = local_text(quiet.end_after(due), times.zone);
        item.report(Problem::DueInQuietHours { ends });
    }
}
