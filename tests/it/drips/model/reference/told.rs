//! What is told of friends, and what people do: who starts, whose way ends, who goes over to another version.

use std::collections::{BTreeMap, BTreeSet};

use haishin::domain::time::Instant;

use super::super::spec::{Drip, Happening, Start, Version};
use super::{Candidate, How, Model, Said, Standing, Way, live, minutes};

impl Model {
    /// Takes in what was told together, in that order.
    pub fn hear(&mut self, told: &[(usize, Instant, Said)]) {
        let mut candidates: Vec<Candidate> = Vec::new();
        for (friend, at, said) in told {
            self.hear_one(*friend, *at, said, true, &mut candidates);
        }
        self.enter(candidates);
    }

    /// What it ends comes before what it starts.
    pub(super) fn hear_one(
        &mut self,
        friend: usize,
        at: Instant,
        said: &Said,
        by_line: bool,
        candidates: &mut Vec<Candidate>,
    ) {
        let before = self.friends[friend].clone();
        let happens = |what: &Happening| match (what, said) {
            (Happening::Event(name, min), Said::Event(other, n)) => {
                name == other && min.is_none_or(|min| *n >= min)
            }
            (Happening::TagAdded(tag), Said::TagAdded(other)) => {
                tag == other && !before.tags.contains_key(tag)
            }
            (Happening::TagRemoved(tag), Said::TagRemoved(other)) => {
                tag == other && before.tags.contains_key(tag)
            }
            (Happening::Unfollowed, Said::Blocks) => !before.blocked,
            _ => false,
        };
        let starts = |start: &Start| match (start, said) {
            (Start::TagAdded(tag), _) => happens(&Happening::TagAdded(tag)),
            (Start::TagRemoved(tag), _) => happens(&Happening::TagRemoved(tag)),
            (Start::Event { name, min, .. }, _) => happens(&Happening::Event(name, *min)),
            (Start::Followed, Said::Follows) => by_line && before.followed_at.is_none_or(|last| last < at),
            (Start::Rank(least), Said::Rank(Some(rank))) => {
                before.rank != Some(*rank) && least.is_none_or(|least| *rank >= least)
            }
            _ => false,
        };
        let ends = |drip: &Drip| {
            let goal = drip.goal.as_ref().is_some_and(happens).then_some(How::Reached);
            goal.or(drip.stop_on.as_ref().is_some_and(happens).then_some(How::Stopped))
        };
        for n in 0..self.ways.len() {
            let way = &self.ways[n];
            if way.friend != friend || matches!(way.standing, Standing::Ended(_)) || way.started >= at {
                continue;
            }
            if let Some(how) = ends(self.drip(way)) {
                self.ways[n].standing = Standing::Ended(how);
            }
        }
        for one in candidates.iter_mut().filter(|one| one.way.friend == friend && one.way.started < at) {
            let how = ends(&self.versions[one.way.version][&one.way.drip]);
            one.ends = one.ends.or(how.map(|how| (how, at)));
        }
        for (slug, drip) in self.active() {
            let Some(activated) = self.activated.get(slug) else { continue };
            if drip.draft
                || !starts(&drip.start)
                || self.is_on_way(slug, friend)
                || (at <= *activated && !drip.enroll)
            {
                continue;
            }
            candidates.push(Candidate { way: self.new_way(slug, friend, at.max(*activated)), ends: None });
        }
        let one = &mut self.friends[friend];
        match said {
            Said::TagAdded(tag) => drop(one.tags.insert(tag, at)),
            Said::TagRemoved(tag) => drop(one.tags.remove(tag)),
            Said::Event(name, n) => one.events.push((name, at, *n)),
            Said::Rank(rank) => one.rank = *rank,
            Said::Booking(day) => one.booking = *day,
            Said::Follows => (one.blocked, one.followed_at) = (false, Some(at)),
            Said::Blocks => one.blocked = true,
        }
    }

    pub(super) fn is_on_way(&self, slug: &str, friend: usize) -> bool {
        let open = |way: &Way| !matches!(way.standing, Standing::Ended(_));
        self.ways.iter().any(|way| way.drip == slug && way.friend == friend && open(way))
    }

    pub(super) fn new_way(&self, slug: &str, friend: usize, started: Instant) -> Way {
        Way {
            drip: slug.to_owned(),
            friend,
            started,
            version: self.versions.len() - 1,
            base: started,
            floor: started,
            done: BTreeSet::new(),
            standing: Standing::Ended(How::Finished),
        }
    }

    /// Who may start does; looked at once, right after whatever started them.
    pub(super) fn enter(&mut self, mut candidates: Vec<Candidate>) {
        candidates.sort_by_key(|one| (one.way.started, one.way.friend));
        let mut until: BTreeMap<(String, usize), Instant> = BTreeMap::new();
        for Candidate { mut way, ends } in candidates {
            let drip = self.drip(&way).clone();
            let key = (way.drip.clone(), way.friend);
            let theirs =
                self.ways.iter().filter(|other| other.drip == way.drip && other.friend == way.friend);
            let again = theirs
                .map(|other| other.started)
                .max()
                .is_none_or(|last| drip.again.is_some_and(|again| way.started - last >= minutes(again)));
            let free = match until.get(&key) {
                Some(until) => *until <= way.started,
                None => !self.is_on_way(&way.drip, way.friend),
            };
            let may = drip.segment.as_ref().is_none_or(|rule| self.holds(rule, way.friend, self.now));
            if !(free && again && may && self.is_counted(&drip.start, way.friend, way.started)) {
                continue;
            }
            self.go_on(&mut way);
            if let Some((how, at)) = ends {
                way.standing = Standing::Ended(how);
                until.insert(key, at);
            }
            self.ways.push(way);
        }
    }

    /// Another version goes live.
    pub fn apply(&mut self, version: Version) {
        let now = self.now;
        let before = self.active().clone();
        self.versions.push(version);
        let mut candidates = Vec::new();
        let mut activated = BTreeMap::new();
        for slug in live(self.active()) {
            let drip = &self.active()[slug];
            let was = before.get(slug).filter(|drip| !drip.draft);
            if was.is_none() && drip.enroll {
                let qualifies =
                    |friend: &usize| self.qualifies(&drip.start, *friend) && !self.is_on_way(slug, *friend);
                let friends = (0..self.friends.len()).filter(qualifies);
                candidates.extend(friends.map(|n| Candidate { way: self.new_way(slug, n, now), ends: None }));
            }
            let same = was.is_some_and(|was| was.start == drip.start);
            let since = if same { self.activated[slug] } else { now };
            activated.insert(slug.clone(), since);
        }
        self.activated = activated;
        for n in 0..self.ways.len() {
            let mut way = self.ways[n].clone();
            let Some(drip) = self.active().get(&way.drip) else { continue };
            if self.drip(&way) == drip {
                way.version = self.versions.len() - 1;
            } else if drip.migrate {
                way.version = self.versions.len() - 1;
                if matches!(way.standing, Standing::Due(..)) {
                    self.go_on(&mut way);
                    while let Standing::Due(step, at) = way.standing.clone() {
                        if at > now {
                            break;
                        }
                        way.done.insert(step);
                        self.go_on(&mut way);
                    }
                }
            }
            self.ways[n] = way;
        }
        self.enter(candidates);
    }

    fn qualifies(&self, start: &Start, friend: usize) -> bool {
        let one = &self.friends[friend];
        match start {
            Start::TagAdded(tag) => one.tags.contains_key(tag),
            Start::Event { name, min, count: None } => {
                one.events.iter().any(|(other, _, n)| other == name && min.is_none_or(|min| *n >= min))
            }
            Start::Event { .. } => self.is_counted(start, friend, self.now),
            Start::Followed => !one.blocked,
            Start::Rank(least) => one.rank.is_some_and(|rank| least.is_none_or(|least| rank >= least)),
            Start::TagRemoved(_) | Start::Date(..) => false,
        }
    }

    pub fn resume(&mut self, drip: &str) {
        self.paused.remove(drip);
        self.resumed.insert(drip.to_owned(), self.now);
    }

    /// The brake is released.
    pub fn start(&mut self) {
        self.stopped = false;
        self.up_since = self.now;
    }

    /// The process begins anew, at the latest instant it was visited at.
    pub fn restart(&mut self) {
        self.up_since = self.now;
        self.looked_at = self.now;
        self.resumed.clear();
    }
}
