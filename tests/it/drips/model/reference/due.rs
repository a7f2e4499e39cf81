//! What is due, and in which order.

use std::collections::BTreeSet;

use haishin::domain::time::Instant;

use super::super::spec::{Content, Start, days_from};
use super::{Candidate, Model, Said, Standing, Way, local, minutes};

enum Job {
    Look(usize),
    Step(String, usize, String),
}

impl Model {
    /// The clock shows an instant, and what runs looks.
    pub fn visit(&mut self, now: Instant, is_up: bool) {
        self.now = now;
        if !is_up {
            return;
        }
        if now - self.looked_at > minutes(1) {
            self.up_since = now;
        }
        self.looked_at = now;
    }

    /// Does everything there is to do.
    pub fn work(&mut self) {
        if self.stopped {
            return;
        }
        loop {
            self.start_by_date();
            self.drop_tags();
            let Some(job) = self.first_job() else { return };
            match job {
                Job::Look(n) => self.look(n),
                Job::Step(drip, version, step) => self.step(&drip, version, &step),
            }
        }
    }

    fn start_by_date(&mut self) {
        let mut candidates = Vec::new();
        let mut done = Vec::new();
        for (slug, drip) in self.active() {
            let (Start::Date(before, at), Some(activated)) = (&drip.start, self.activated.get(slug)) else {
                continue;
            };
            let after = self.days_done.get(slug).map_or(*activated, |done| *activated.max(done));
            let zone = self.settings.zone;
            let mut day = days_from(after.day_in(zone), -1);
            while day <= self.now.day_in(zone) {
                let when = local(zone, day, *at);
                if when > after && when <= self.now {
                    done.push((slug.clone(), when));
                    let booked = days_from(day, *before as i64);
                    let theirs = (0..self.friends.len()).filter(|n| self.friends[*n].booking == Some(booked));
                    candidates
                        .extend(theirs.map(|n| Candidate { way: self.new_way(slug, n, when), ends: None }));
                }
                day = days_from(day, 1);
            }
        }
        self.days_done.extend(done);
        self.enter(candidates);
    }

    fn drop_tags(&mut self) {
        let now = self.now;
        let mut over: Vec<_> =
            self.timed.iter().filter(|(_, (_, at))| *at <= now).map(|(key, when)| (*when, *key)).collect();
        over.sort_by_key(|((_, at), (friend, tag))| (*at, *friend, *tag));
        let mut candidates = Vec::new();
        for ((given, _), (friend, tag)) in over {
            self.timed.remove(&(friend, tag));
            if self.friends[friend].tags.get(tag) == Some(&given) {
                self.hear_one(friend, now, &Said::TagRemoved(tag), false, &mut candidates);
            }
        }
        self.enter(candidates);
    }

    fn priority(&self, drip: &str, version: usize) -> u8 {
        let drip = &self.versions[version][drip];
        let sends = drip.steps.iter().any(|step| matches!(step.content, Content::Send { .. }));
        if sends { drip.priority } else { 50 }
    }

    fn first_job(&self) -> Option<Job> {
        let mut jobs = Vec::new();
        for (n, waiting) in self.waitings.iter().enumerate().filter(|(_, waiting)| waiting.open) {
            if self.look_at(waiting).is_some_and(|at| at <= self.now) {
                let priority = self.priority(&waiting.drip, waiting.version);
                jobs.push(((u8::MAX - priority, waiting.drip.clone(), 0, n), Job::Look(n)));
            }
        }
        for (drip, version, step) in self.due_steps() {
            if self.held_until(&drip, version, &step).is_none() {
                let steps = &self.versions[version][&drip].steps;
                let place = steps.iter().position(|one| one.name == step).unwrap();
                let priority = u8::MAX - self.priority(&drip, version);
                jobs.push(((priority, drip.clone(), 1, place), Job::Step(drip, version, step)));
            }
        }
        jobs.into_iter().min_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, job)| job)
    }

    /// Steps somebody is due at and that are not paused.
    fn due_steps(&self) -> BTreeSet<(String, usize, String)> {
        let due = self.ways.iter().filter_map(|way| match &way.standing {
            Standing::Due(step, at) if *at <= self.now => Some((way.drip.clone(), way.version, step.clone())),
            _ => None,
        });
        due.filter(|(drip, ..)| !self.paused.contains(drip)).collect()
    }

    pub(super) fn due_at(&self, drip: &str, version: usize, step: &str) -> Vec<usize> {
        let is_due = |way: &Way| {
            way.drip == drip
                && way.version == version
                && matches!(&way.standing, Standing::Due(one, at) if one == step && *at <= self.now)
        };
        (0..self.ways.len()).filter(|n| is_due(&self.ways[*n])).collect()
    }

    /// The minute an occurrence of these ways goes by: none has the minute of an earlier one.
    pub(super) fn minute(&self, drip: &str, step: &str, ways: &[usize]) -> Instant {
        let due = |n: &usize| match &self.ways[*n].standing {
            Standing::Due(_, at) => *at,
            other => panic!("{other:?}"),
        };
        let latest = ways.iter().map(due).max().unwrap();
        let planned = self.planned.get(&(drip.to_owned(), step.to_owned()));
        planned.map_or(latest, |planned| latest.max(*planned + minutes(1)))
    }

    fn held_until(&self, drip: &str, version: usize, step: &str) -> Option<Instant> {
        let one = self.versions[version][drip].steps.iter().find(|one| one.name == step).unwrap();
        if matches!(one.content, Content::Act(_)) {
            return None;
        }
        let quiet = self.ready(self.now);
        let minute = self.minute(drip, step, &self.due_at(drip, version, step));
        Some(quiet.max(minute)).filter(|until| *until > self.now)
    }

    /// When the next thing happens by itself.
    pub fn next_instant(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let mut all: Vec<Instant> = self.timed.values().map(|(_, at)| *at).collect();
        all.extend(self.waitings.iter().filter(|one| one.open).filter_map(|one| self.look_at(one)));
        all.extend(
            self.due_steps().iter().filter_map(|(drip, version, step)| self.held_until(drip, *version, step)),
        );
        all.extend(self.ways.iter().filter_map(|way| match &way.standing {
            Standing::Due(_, at) if !self.paused.contains(&way.drip) => Some(*at),
            _ => None,
        }));
        for drip in self.active().values() {
            if let Start::Date(_, at) = &drip.start {
                let today = self.now.day_in(self.settings.zone);
                all.extend((0..2).map(|days| local(self.settings.zone, days_from(today, days), *at)));
            }
        }
        all.into_iter().filter(|at| *at > self.now).min()
    }
}
