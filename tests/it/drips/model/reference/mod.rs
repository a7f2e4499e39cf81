//! Drips as `docs/drips.md` tells them, one friend after the other, in plain code: no sets, no index, no slices, nothing of
//! what haishin computes with.

mod due;
mod steps;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, LocalResult, NaiveDate, TimeZone as _};
use haishin::domain::time::{Instant, Span, Tz};

use super::spec::{Count, Drip, Rule, Start, Step, Version, days_from};

/// What a shop sets for all its drips.
#[derive(Debug, Clone)]
pub struct Settings {
    pub zone: Tz,
    /// Local hours, the second exclusive.
    pub quiet: Option<(u32, u32)>,
    /// At most so many a local day.
    pub daily: Option<usize>,
    /// At most so many in so many minutes.
    pub rolling: Option<(usize, i64)>,
}

/// Something told of a friend.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    TagAdded(&'static str),
    TagRemoved(&'static str),
    Event(&'static str, i64),
    Rank(Option<i64>),
    Booking(Option<NaiveDate>),
    Follows,
    Blocks,
}

#[derive(Debug, Clone, Default)]
struct Friend {
    blocked: bool,
    followed_at: Option<Instant>,
    tags: BTreeMap<&'static str, Instant>,
    rank: Option<i64>,
    booking: Option<NaiveDate>,
    events: Vec<(&'static str, Instant, i64)>,
}

/// How a way ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Finished,
    Stopped,
    Reached,
}

#[derive(Debug, Clone, PartialEq)]
enum Standing {
    Due(String, Instant),
    /// For room under a cap, with whoever else an occurrence deferred.
    Waiting(usize),
    Ended(How),
}

#[derive(Debug, Clone)]
struct Way {
    drip: String,
    friend: usize,
    started: Instant,
    version: usize,
    base: Instant,
    floor: Instant,
    done: BTreeSet<String>,
    standing: Standing,
}

/// Friends one occurrence deferred.
#[derive(Debug, Clone)]
struct Waiting {
    drip: String,
    step: String,
    version: usize,
    due: Instant,
    until: Instant,
    looked_at: Instant,
    children: u32,
    open: bool,
}

/// What an occurrence did with a friend: drip, step, due instant, number among the children of one, friend.
pub type Deed = (String, String, Instant, u32, usize);

/// Why a friend got nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    Blocked,
    Missed,
    Capped,
    Deferred,
    Holdout,
}

/// A whole shop.
pub struct Model {
    settings: Settings,
    versions: Vec<Version>,
    /// When each drip went live, or got another start.
    activated: BTreeMap<String, Instant>,
    friends: Vec<Friend>,
    /// The bytes of their user ids.
    users: Vec<[u8; 16]>,
    ways: Vec<Way>,
    waitings: Vec<Waiting>,
    planned: BTreeMap<(String, String), Instant>,
    days_done: BTreeMap<String, Instant>,
    /// Tags that fall off: when given, and when they do.
    timed: BTreeMap<(usize, &'static str), (Instant, Instant)>,
    /// Who got what of which category, and when it counts.
    got: Vec<(usize, &'static str, Instant)>,
    pub paused: BTreeSet<String>,
    resumed: BTreeMap<String, Instant>,
    pub stopped: bool,
    up_since: Instant,
    looked_at: Instant,
    now: Instant,
    /// Each with the text.
    pub sent: BTreeMap<Deed, String>,
    pub excluded: BTreeMap<Deed, Why>,
    /// Sends that went out although something had held them up.
    pub caught_up: usize,
}

/// What happens to a way in one slice of things told.
struct Candidate {
    way: Way,
    ends: Option<(How, Instant)>,
}

fn minutes(minutes: i64) -> Span {
    Span::from_mins(minutes)
}

fn whole(at: Instant) -> Instant {
    Instant::from_millis((at.as_millis() + 59_999).div_euclid(60_000) * 60_000)
}

/// The first instant at which a clock of the zone shows this, or after the gap that skips it.
fn local(zone: Tz, day: NaiveDate, (hour, minute): (u32, u32)) -> Instant {
    let mut local = day.and_hms_opt(hour, minute, 0).unwrap();
    loop {
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return at.into(),
            LocalResult::None => local += chrono::TimeDelta::minutes(1),
        }
    }
}

impl Model {
    pub fn new(settings: Settings, version: Version, users: Vec<[u8; 16]>, now: Instant) -> Self {
        let friends = vec![Friend { followed_at: Some(now), ..Friend::default() }; users.len()];
        let activated = live(&version).map(|slug| (slug.clone(), now)).collect();
        Self {
            settings,
            versions: vec![version],
            activated,
            friends,
            users,
            ways: Vec::new(),
            waitings: Vec::new(),
            planned: BTreeMap::new(),
            days_done: BTreeMap::new(),
            timed: BTreeMap::new(),
            got: Vec::new(),
            paused: BTreeSet::new(),
            resumed: BTreeMap::new(),
            stopped: false,
            up_since: now,
            looked_at: now,
            now,
            sent: BTreeMap::new(),
            excluded: BTreeMap::new(),
            caught_up: 0,
        }
    }

    pub fn zone(&self) -> Tz {
        self.settings.zone
    }

    fn active(&self) -> &Version {
        self.versions.last().unwrap()
    }

    fn drip(&self, way: &Way) -> &Drip {
        &self.versions[way.version][&way.drip]
    }

    fn holds(&self, rule: &Rule, friend: usize, now: Instant) -> bool {
        let one = &self.friends[friend];
        match rule {
            Rule::Has(tag) => one.tags.contains_key(tag),
            Rule::Lacks(tag) => !one.tags.contains_key(tag),
            Rule::Lately(name, back) => one
                .events
                .iter()
                .any(|(other, at, _)| other == name && *at > now - minutes(*back) && *at <= now),
            Rule::RankAtLeast(least) => one.rank.is_some_and(|rank| rank >= *least),
            Rule::Both(one, other) => self.holds(one, friend, now) && self.holds(other, friend, now),
        }
    }

    fn is_counted(&self, start: &Start, friend: usize, until: Instant) -> bool {
        let Start::Event { name, min, count: Some(Count { number, exactly, within }) } = start else {
            return true;
        };
        let counts = |(other, at, n): &&(&str, Instant, i64)| {
            other == name
                && min.is_none_or(|min| *n >= min)
                && *at <= until
                && within.is_none_or(|within| *at > until - minutes(within))
        };
        let found = self.friends[friend].events.iter().filter(counts).count();
        if *exactly { found == *number } else { found >= *number }
    }

    fn is_quiet(&self, at: Instant) -> bool {
        let Some((from, to)) = self.settings.quiet else { return false };
        let hour = chrono::Timelike::hour(&at.in_zone(self.settings.zone));
        if from <= to { hour >= from && hour < to } else { hour >= from || hour < to }
    }

    /// When a send that is due at an instant may leave.
    fn ready(&self, at: Instant) -> Instant {
        let mut at = at;
        while self.is_quiet(at) {
            at = Instant::from_millis((at.as_millis().div_euclid(60_000) + 1) * 60_000);
        }
        at
    }

    fn up_since(&self, drip: &str) -> Instant {
        self.resumed.get(drip).copied().unwrap_or(Instant::MIN).max(self.up_since)
    }

    fn due(&self, step: &Step, base: Instant) -> Instant {
        let zone = self.settings.zone;
        let over = match step.day {
            Some(days) => local(zone, days_from(base.day_in(zone), days as i64), (0, 0)),
            None => base + minutes(step.after),
        };
        if step.at.is_empty() {
            return whole(over);
        }
        let first = over.day_in(zone);
        let days = (-1..15).map(|days| days_from(first, days));
        let fits = |day: &NaiveDate| {
            step.on.is_empty() || step.on.contains(&(day.weekday().num_days_from_monday() as u8))
        };
        let times = days.filter(fits).flat_map(|day| step.at.iter().map(move |at| local(zone, day, *at)));
        times.filter(|at| *at >= over).min().expect("every weekday comes within two weeks")
    }

    fn next(&self, way: &Way) -> Option<(String, Instant)> {
        let step = self.drip(way).steps.iter().find(|step| !way.done.contains(&step.name))?;
        Some((step.name.clone(), whole(self.due(step, way.base).max(way.floor))))
    }

    fn go_on(&self, way: &mut Way) {
        way.standing = match self.next(way) {
            Some((step, at)) => Standing::Due(step, at),
            None => Standing::Ended(How::Finished),
        };
    }

    fn pass(&self, way: &mut Way) {
        if let Standing::Due(step, at) = way.standing.clone() {
            way.floor = way.floor.max(at);
            way.done.insert(step);
            self.go_on(way);
        }
    }

    /// Each way: its drip, friend and start, and how it ended or the step it stands at.
    pub fn ways(&self) -> BTreeSet<(String, usize, Instant, Result<How, String>)> {
        let stands = |way: &Way| match &way.standing {
            Standing::Due(step, at) => Err(format!("{step} {at}")),
            Standing::Waiting(n) => Err(format!("{} waits", self.waitings[*n].step)),
            Standing::Ended(how) => Ok(*how),
        };
        self.ways.iter().map(|way| (way.drip.clone(), way.friend, way.started, stands(way))).collect()
    }

    pub fn tags(&self, friend: usize) -> BTreeSet<String> {
        self.friends[friend].tags.keys().map(ToString::to_string).collect()
    }
}

fn live(version: &Version) -> impl Iterator<Item = &String> {
    version.iter().filter(|(_, drip)| !drip.draft).map(|(slug, _)| slug)
}
