//! Zones whose data change between two runs: a country gives up its summer time, haishin is upgraded, and what was planned
//! by the old data is behind it. Two zones of one offset each stand for the data before and after.

use std::collections::BTreeMap;

use chrono::{NaiveDate, NaiveDateTime};
use haishin::domain::schedule::{LocalTime, Planned, Recurrence, When};
use haishin::domain::time::{Instant, Span, Tz};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{at, cron};

const DAYS: i64 = 6;

/// A planner that wakes up now and then, and another with newer data after it.
struct Planners {
    schedule: String,
    before: Tz,
    after: Tz,
    changed: Instant,
    wakes: Vec<Instant>,
}

impl Planners {
    fn drawn(random: &mut StdRng, times: usize) -> Self {
        // POSIX turns the sign round: this one is nine hours ahead.
        let mut offset = || format!("Etc/GMT{:+}", -9 + random.random_range(-2..=2)).parse().unwrap();
        let (before, after) = (offset(), offset());
        let mut minutes: Vec<String> = (0..times).map(|_| random.random_range(0..60).to_string()).collect();
        minutes.sort();
        let schedule = format!("{} {} * * *", minutes.join(","), random.random_range(6..18));
        let start = at("2026-12-01T00:00:00Z");
        let minute = |random: &mut StdRng| Span::from_mins(random.random_range(0..DAYS * 24 * 60));
        let every = *[1, 7, 60, 240].choose(random).unwrap();
        let wakes = (0..DAYS * 24 * 60 / every).map(|n| start + Span::from_mins(n * every)).collect();
        Self { schedule, before, after, changed: start + minute(random), wakes }
    }

    fn recurrence(&self, zone: Tz) -> Recurrence {
        cron(&self.schedule, zone.name())
    }

    /// How often each local time was planned, and what was planned last with the old data.
    fn live(&self) -> (BTreeMap<NaiveDateTime, u32>, Option<Instant>) {
        let (mut planned, mut last_before): (Option<Planned>, _) = (None, None);
        let mut seen = BTreeMap::new();
        for now in &self.wakes {
            let zone = if *now < self.changed { self.before } else { self.after };
            // What was stored is read with the new data.
            if let Some(local) = planned.as_mut().and_then(|planned| planned.local.as_mut()) {
                *local = LocalTime { zone, ..*local };
            }
            let when = When::Recurring(self.recurrence(zone));
            let from = planned.map_or(self.wakes[0], |planned| when.planned_until(&planned));
            for due in when.after(from).take_while(|due| due <= now) {
                *seen.entry(due.in_zone(zone).naive_local()).or_default() += 1;
                planned = Some(Planned::by(&when, due, planned));
            }
            if zone == self.before && *now < self.changed {
                last_before = planned.map(|planned| planned.at);
            }
        }
        (seen, last_before)
    }

    /// The local times of the days in the middle.
    fn local_times(&self) -> Vec<NaiveDateTime> {
        let days = self.recurrence(Tz::UTC);
        let (from, until) = (at("2026-12-02T00:00:00Z"), at("2026-12-05T00:00:00Z"));
        When::Recurring(days).between(from, until).map(|at| at.utc().naive_utc()).collect()
    }
}

#[test]
fn a_local_time_a_day_is_planned_once_whatever_becomes_of_the_zone() {
    let mut random = StdRng::seed_from_u64(33);
    let mut again = 0;
    for case in 0..2_000 {
        let planners = Planners::drawn(&mut random, 1);
        let (seen, last_before) = planners.live();
        for local in planners.local_times() {
            let count = seen.get(&local).copied().unwrap_or(0);
            assert_eq!(
                count, 1,
                "case {case}: {} at {local}, changed {}",
                planners.schedule, planners.changed
            );
            // The clock shows it once more after it was planned.
            let once_more = Instant::from_local(local, planners.after);
            again += usize::from(
                last_before == Some(Instant::from_local(local, planners.before))
                    && once_more >= planners.changed,
            );
        }
    }
    assert!(again > 10, "only {again} local times came twice");
}

/// Where the clock goes forward over a time while another one has been planned, it is as in any gap that haishin slept
/// through: nothing is planned before what was planned.
#[test]
fn many_local_times_a_day_are_planned_at_most_once() {
    let mut random = StdRng::seed_from_u64(34);
    let (mut whole, mut over) = (0, 0);
    for case in 0..2_000 {
        let planners = Planners::drawn(&mut random, 4);
        let (seen, last_before) = planners.live();
        for local in planners.local_times() {
            match seen.get(&local).copied().unwrap_or(0) {
                1 => whole += 1,
                0 => {
                    let thought = Instant::from_local(local, planners.after);
                    assert!(last_before.is_some_and(|last| thought <= last), "case {case}: {local} is lost");
                    over += 1;
                }
                count => panic!("case {case}: {local} was planned {count} times"),
            }
        }
    }
    assert!(whole > 10_000 && over < 200, "{whole}, {over}");
}

/// With the same data the local time says nothing new.
#[test]
fn what_was_planned_is_the_instant_itself_while_the_data_stay() {
    let day = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
    let from = Instant::start_of_day(day, Tz::UTC);
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana"]
    {
        for schedule in ["30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "*/20 1-3 * * *"] {
            let when = When::Recurring(cron(schedule, zone));
            for due in when.between(from, from + Span::from_days(366)) {
                let planned = Planned::by(&when, due, None);
                assert_eq!(when.planned_until(&planned), due, "{schedule} in {zone}");
                assert_eq!(planned.local.is_some(), !schedule.starts_with('*'));
            }
        }
    }
}

#[test]
fn a_local_time_reads_back_as_it_is_shown() {
    let text = "2026-12-04T10:00:00[America/Argentina/ComodRivadavia]";
    assert_eq!(text.parse::<LocalTime>().unwrap().to_string(), text);
    for wrong in ["", "2026-12-04T10:00:00", "2026-12-04T10:00:00[Nowhere]", "10:00[UTC]", "[]"] {
        let error = wrong.parse::<LocalTime>().unwrap_err().to_string();
        assert!(error.contains(wrong) && error.contains("such as"), "{error}");
    }
}
