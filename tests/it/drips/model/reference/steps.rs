//! A step for the friends due at it, and for those who waited for room.

use haishin::domain::time::Instant;
use sha2::{Digest as _, Sha256};

use super::super::spec::{Action, Content, IfMissed, Rule, Step};
use super::{Deed, How, Model, Said, Standing, Waiting, Way, Why, local, minutes};

impl Model {
    pub(super) fn step(&mut self, drip: &str, version: usize, step: &str) {
        let spec = self.versions[version][drip].clone();
        let one = spec.steps.iter().find(|one| one.name == step).unwrap().clone();
        let mut part: Vec<(usize, usize)> = Vec::new();
        for n in self.due_at(drip, version, step) {
            let mut way = self.ways[n].clone();
            if spec.stop.as_ref().is_some_and(|rule| self.holds(rule, way.friend, self.now)) {
                way.standing = Standing::Ended(How::Stopped);
            } else {
                match self.arm(&one, way.friend) {
                    Some(arm) => part.push((n, arm)),
                    None => self.pass(&mut way),
                }
            }
            self.ways[n] = way;
        }
        match &one.content {
            Content::Act(actions) => self.act(actions, &part.iter().map(|(n, _)| *n).collect::<Vec<_>>()),
            Content::Send { .. } if part.is_empty() => {}
            Content::Send { arms, defer } => self.send(drip, version, &one, arms, *defer, &part),
        }
    }

    /// Which arm of a step a friend is in, if any.
    fn arm(&self, step: &Step, friend: usize) -> Option<usize> {
        let holds = |rule: &Option<Rule>| rule.as_ref().is_none_or(|rule| self.holds(rule, friend, self.now));
        if !holds(&step.segment) {
            return None;
        }
        match &step.content {
            Content::Act(_) => Some(0),
            Content::Send { arms, .. } => arms.iter().position(|(rule, _)| holds(rule)),
        }
    }

    fn act(&mut self, actions: &[Action], ways: &[usize]) {
        let now = self.now;
        for n in ways {
            let mut way = self.ways[*n].clone();
            self.pass(&mut way);
            self.ways[*n] = way;
        }
        let mut friends: Vec<usize> = ways.iter().map(|n| self.ways[*n].friend).collect();
        friends.sort_unstable();
        let mut candidates = Vec::new();
        for action in actions {
            for friend in friends.iter().copied() {
                let said = match action {
                    Action::Tag(tag, lasts) => {
                        if let Some(lasts) = lasts {
                            self.timed.insert((friend, tag), (now, now + minutes(*lasts)));
                        }
                        Said::TagAdded(tag)
                    }
                    Action::Untag(tag) => Said::TagRemoved(tag),
                    Action::Rank(rank) => Said::Rank(*rank),
                };
                self.hear_one(friend, now, &said, false, &mut candidates);
            }
        }
        self.enter(candidates);
    }

    fn send(
        &mut self,
        drip: &str,
        version: usize,
        step: &Step,
        arms: &[(Option<Rule>, String)],
        defer: Option<i64>,
        part: &[(usize, usize)],
    ) {
        let due = self.minute(drip, &step.name, &part.iter().map(|(n, _)| *n).collect::<Vec<_>>());
        self.planned.insert((drip.to_owned(), step.name.clone()), due);
        let effective = self.ready(due.max(self.up_since(drip))).min(self.now);
        let (category, holdout) =
            (self.versions[version][drip].category, self.versions[version][drip].holdout);
        let mut deferred = false;
        for (n, arm) in part {
            let mut way = self.ways[*n].clone();
            let deed: Deed = (drip.to_owned(), step.name.clone(), due, 0, way.friend);
            let why = if self.friends[way.friend].blocked {
                Some(Why::Blocked)
            } else if self.is_missed(&way) {
                Some(Why::Missed)
            } else if self.is_capped(way.friend, category, effective) {
                Some(if defer.is_some() { Why::Deferred } else { Why::Capped })
            } else {
                self.is_held_out(drip, way.friend, holdout).then_some(Why::Holdout)
            };
            match why {
                Some(why) => drop(self.excluded.insert(deed, why)),
                None => {
                    self.caught_up += usize::from(effective > due);
                    self.got.push((way.friend, category, effective));
                    assert_eq!(self.sent.insert(deed, arms[*arm].1.clone()), None, "twice");
                }
            }
            if why == Some(Why::Deferred) {
                if let Standing::Due(_, at) = way.standing {
                    way.floor = way.floor.max(at);
                }
                way.standing = Standing::Waiting(self.waitings.len());
                deferred = true;
            } else {
                self.pass(&mut way);
            }
            self.ways[*n] = way;
        }
        if let (true, Some(defer)) = (deferred, defer) {
            self.waitings.push(Waiting {
                drip: drip.to_owned(),
                step: step.name.clone(),
                version,
                due,
                until: due + minutes(defer),
                looked_at: self.now,
                children: 0,
                open: true,
            });
        }
    }

    /// Of the sends a friend missed the latest goes out, or all, or none; and none too late.
    fn is_missed(&self, way: &Way) -> bool {
        let drip = self.drip(way);
        let Standing::Due(_, due) = way.standing else { panic!("{way:?}") };
        let mut last = due;
        let mut ahead = way.clone();
        while let Standing::Due(step, at) = ahead.standing.clone() {
            if at > self.now {
                break;
            }
            let one = drip.steps.iter().find(|one| one.name == step).unwrap();
            if matches!(one.content, Content::Send { .. }) {
                last = at;
            }
            self.pass(&mut ahead);
        }
        if self.now - self.ready(due) > minutes(drip.grace) {
            return true;
        }
        let held = due < self.up_since(&way.drip) || self.is_quiet(due);
        held && match drip.if_missed {
            IfMissed::Latest => due != last,
            IfMissed::All => false,
            IfMissed::None => true,
        }
    }

    fn is_capped(&self, friend: usize, category: &str, effective: Instant) -> bool {
        if category == "service" {
            return false;
        }
        let since = |from: Instant, inclusive: bool| {
            let counts = |(who, category, at): &&(usize, &str, Instant)| {
                *who == friend && *category != "service" && (*at > from || (inclusive && *at == from))
            };
            self.got.iter().filter(counts).count()
        };
        let zone = self.settings.zone;
        let today = local(zone, effective.day_in(zone), (0, 0));
        self.settings.daily.is_some_and(|max| since(today, true) >= max)
            || self.settings.rolling.is_some_and(|(max, span)| since(effective - minutes(span), false) >= max)
    }

    /// As `docs/decisions.md` draws it.
    fn is_held_out(&self, drip: &str, friend: usize, hundredths: u64) -> bool {
        let mut seed = Sha256::new();
        for part in ["haishin draw 1", "shop", drip] {
            seed.update((part.len() as u32).to_be_bytes());
            seed.update(part);
        }
        let digest = Sha256::new().chain_update(seed.finalize()).chain_update(self.users[friend]).finalize();
        let drawn = u64::from_be_bytes(digest[..8].try_into().unwrap());
        ((u128::from(drawn) * 1_000_000) >> 64) < u128::from(hundredths * 10_000)
    }

    /// When those who wait are looked at next: hourly, not while their drip is paused, nor in quiet hours.
    pub(super) fn look_at(&self, waiting: &Waiting) -> Option<Instant> {
        if self.paused.contains(&waiting.drip) {
            return None;
        }
        let at = (waiting.looked_at + minutes(60)).min(waiting.until);
        Some(if at <= self.now { at.max(self.ready(self.now)) } else { at })
    }

    pub(super) fn look(&mut self, n: usize) {
        let waiting = self.waitings[n].clone();
        let spec = self.versions[waiting.version][&waiting.drip].clone();
        let step = spec.steps.iter().find(|one| one.name == waiting.step).unwrap();
        let Content::Send { arms, .. } = &step.content else { panic!("{step:?}") };
        let theirs = (0..self.ways.len()).filter(|way| self.ways[*way].standing == Standing::Waiting(n));
        let ways: Vec<usize> = theirs.collect();
        let is_over = self.now - self.ready(waiting.until) > minutes(spec.grace);
        let (mut taken, mut open) = (false, false);
        for way in ways {
            let friend = self.ways[way].friend;
            let stops = spec.stop.as_ref().is_some_and(|rule| self.holds(rule, friend, self.now));
            let arm = if stops || is_over { None } else { self.arm(step, friend) };
            if let Some(arm) = arm {
                let deed =
                    (waiting.drip.clone(), waiting.step.clone(), waiting.due, waiting.children + 1, friend);
                let why = if self.friends[friend].blocked {
                    Some(Why::Blocked)
                } else if self.is_capped(friend, spec.category, self.now) {
                    Some(Why::Deferred)
                } else {
                    self.is_held_out(&waiting.drip, friend, spec.holdout).then_some(Why::Holdout)
                };
                match why {
                    Some(Why::Deferred) if self.now < waiting.until => {
                        open = true;
                        continue;
                    }
                    Some(Why::Deferred) => {}
                    Some(why) => {
                        taken = true;
                        self.excluded.insert(deed, why);
                    }
                    None => {
                        taken = true;
                        self.got.push((friend, spec.category, self.now));
                        self.sent.insert(deed, arms[arm].1.clone());
                    }
                }
            }
            self.settle(way, &waiting.step);
        }
        let waiting = &mut self.waitings[n];
        (waiting.looked_at, waiting.open) = (self.now, open);
        waiting.children += u32::from(taken);
    }

    /// The wait is over: a later step that fell due meanwhile counts from here.
    fn settle(&mut self, n: usize, step: &str) {
        let mut way = self.ways[n].clone();
        way.done.insert(step.to_owned());
        if self.next(&way).is_some_and(|(_, due)| due < self.now) {
            way.base = self.now;
        }
        way.floor = way.floor.max(self.now);
        self.go_on(&mut way);
        self.ways[n] = way;
    }
}
