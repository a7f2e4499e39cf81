//! Starts that show what a step's timing does. A step's due instant jumps to the next of its local times where the
//! wait is over just as that time comes, or as a day ends: at such an edge, right before it and right behind,
//! everything is seen that a timing can do.

use chrono::{NaiveDate, NaiveTime, TimeDelta};

use crate::domain::drip::{Start, Timing, Wait};
use crate::domain::schedule::Pattern;
use crate::domain::time::{Instant, Span, Tz};

/// The local times of a start at which a due instant jumps; the one local time there is for a drip that starts on
/// dates. At least one.
pub(super) fn edges(start: &Start, timings: &[&Timing]) -> Vec<NaiveTime> {
    if let Start::Date(date) = start {
        return vec![date.at.into()];
    }
    let mut edges: Vec<NaiveTime> = timings.iter().flat_map(|timing| edges_of(timing)).collect();
    if edges.is_empty() {
        edges.push(NaiveTime::MIN);
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn edges_of(timing: &Timing) -> Vec<NaiveTime> {
    match (&timing.at, timing.wait) {
        (None, _) => Vec::new(),
        (Some(_), Wait::Days(_)) => vec![NaiveTime::MIN],
        (Some(times), Wait::Elapsed(span)) => {
            let Pattern::Every(every) = &times.pattern else { return Vec::new() };
            let wait = TimeDelta::milliseconds(span.as_millis());
            every.at().iter().map(|at| NaiveTime::from(*at).overflowing_sub_signed(wait).0).collect()
        }
    }
}

/// At each edge, right before and right behind it, on so many days from the first one.
pub(super) fn around(
    start: &Start,
    timings: &[&Timing],
    zone: Tz,
    first: NaiveDate,
    days: usize,
) -> Vec<Instant> {
    const MOMENT: Span = Span::from_millis(1);
    let edges = edges(start, timings);
    let days = first.iter_days().take(days);
    let at =
        days.flat_map(|day| edges.iter().map(move |edge| Instant::from_local(day.and_time(*edge), zone)));
    match start {
        Start::Date(_) => at.collect(),
        _ => at.flat_map(|at| [at - MOMENT, at, at + MOMENT]).collect(),
    }
}
