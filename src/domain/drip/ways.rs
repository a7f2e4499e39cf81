//! All ways of an account that are not over, in memory: by drip and friend, and in the order in which they are due.

use std::collections::BTreeMap;
use std::ops::Bound;

use roaring::RoaringBitmap;

use super::{Enrollment, Standing};
use crate::domain::id::{CampaignSlug, FriendId, OccurrenceId, StepName, VersionId};
use crate::domain::time::Instant;

/// A step of a drip as of one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueStep {
    /// Which drip.
    pub drip: CampaignSlug,
    /// As of which version.
    pub version: VersionId,
    /// Which step.
    pub step: StepName,
}

/// The ways that are not over. Each friend has at most one in a drip, beside starts not looked at yet.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    by_drip: BTreeMap<CampaignSlug, BTreeMap<u32, Enrollment>>,
    /// Who is due when, by step. Dues are whole minutes: what a night holds up is some hundreds of sets, however many
    /// friends are in them, and is looked through each time something starts.
    due: BTreeMap<Instant, BTreeMap<DueStep, RoaringBitmap>>,
    /// How many that are.
    due_count: usize,
    starting: Vec<Enrollment>,
    versions: BTreeMap<VersionId, u64>,
}

impl Ways {
    /// Takes a way in, in place of the one there was. One that is over is taken out.
    pub fn put(&mut self, way: Enrollment) {
        if matches!(way.standing, Standing::Starting { .. }) {
            self.count(way.version, 1);
            self.starting.push(way);
            return;
        }
        self.forget_start(&way);
        self.take(&way.drip, way.friend);
        if !way.is_open() {
            return;
        }
        if let Some((at, step)) = due_step(&way) {
            self.due.entry(at).or_default().entry(step).or_default().insert(way.friend.0);
            self.due_count += 1;
        }
        self.count(way.version, 1);
        self.by_drip.entry(way.drip.clone()).or_default().insert(way.friend.0, way);
    }

    /// Takes the open way of a friend out.
    fn take(&mut self, drip: &CampaignSlug, friend: FriendId) -> Option<Enrollment> {
        let ways = self.by_drip.get_mut(drip)?;
        let way = ways.remove(&friend.0)?;
        if ways.is_empty() {
            self.by_drip.remove(drip);
        }
        if let Some((at, step)) = due_step(&way) {
            self.take_due(at, &step, friend);
        }
        self.uncount(way.version);
        Some(way)
    }

    fn take_due(&mut self, at: Instant, step: &DueStep, friend: FriendId) {
        let Some(steps) = self.due.get_mut(&at) else { return };
        let Some(friends) = steps.get_mut(step) else { return };
        self.due_count -= usize::from(friends.remove(friend.0));
        if friends.is_empty() {
            steps.remove(step);
        }
        if steps.is_empty() {
            self.due.remove(&at);
        }
    }

    /// A start that was looked at.
    pub fn forget_start(&mut self, way: &Enrollment) {
        let same = |one: &Enrollment| {
            one.drip == way.drip && one.friend == way.friend && one.started_at == way.started_at
        };
        if let Some(at) = self.starting.iter().position(same) {
            let started = self.starting.swap_remove(at);
            self.uncount(started.version);
        }
    }

    /// Starts that were not looked at yet, all of them at once: looking is cheap in bulk.
    pub fn take_starting(&mut self) -> Vec<Enrollment> {
        let starting = std::mem::take(&mut self.starting);
        for way in &starting {
            self.uncount(way.version);
        }
        starting
    }

    /// Whether some start was not looked at yet.
    pub fn is_starting(&self) -> bool {
        !self.starting.is_empty()
    }

    /// The open way of a friend in a drip.
    pub fn get(&self, drip: &CampaignSlug, friend: FriendId) -> Option<&Enrollment> {
        self.by_drip.get(drip)?.get(&friend.0)
    }

    /// The open ways of a drip.
    pub fn of(&self, drip: &CampaignSlug) -> impl Iterator<Item = &Enrollment> {
        self.by_drip.get(drip).into_iter().flat_map(BTreeMap::values)
    }

    /// All open ways of a friend.
    pub fn of_friend(&self, friend: FriendId) -> impl Iterator<Item = &Enrollment> {
        self.by_drip.values().filter_map(move |ways| ways.get(&friend.0))
    }

    /// The drips with open ways.
    pub fn drips(&self) -> impl Iterator<Item = &CampaignSlug> {
        self.by_drip.keys()
    }

    /// The versions that open ways follow.
    pub fn versions(&self) -> impl Iterator<Item = VersionId> {
        self.versions.keys().copied()
    }

    /// How many are due at some step, now or later, and how many wait for room under a cap.
    pub fn standings(&self) -> (usize, usize) {
        let open: usize = self.by_drip.values().map(BTreeMap::len).sum();
        (self.due_count, open.saturating_sub(self.due_count))
    }

    /// When the first step is due.
    pub fn first_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(at, _)| *at)
    }

    /// When the first step is due that is not yet at `now`.
    pub fn next_due_after(&self, now: Instant) -> Option<Instant> {
        self.due.range((Bound::Excluded(now), Bound::Unbounded)).next().map(|(at, _)| *at)
    }

    /// The latest instant up to `now` at which somebody is due at a step.
    pub fn last_due_by(&self, now: Instant, step: &DueStep) -> Option<Instant> {
        let mut due = self.due.range(..=now).rev();
        due.find(|(_, steps)| steps.contains_key(step)).map(|(at, _)| *at)
    }

    /// What is due by `now`, by instant.
    pub fn due_until(&self, now: Instant) -> impl Iterator<Item = (Instant, &DueStep)> {
        self.due.range(..=now).flat_map(|(at, steps)| steps.keys().map(|step| (*at, step)))
    }

    /// Who is due at which step by `now`, unless their drip is held up.
    pub fn due_by(
        &self,
        now: Instant,
        held: impl Fn(&CampaignSlug) -> bool,
    ) -> BTreeMap<DueStep, RoaringBitmap> {
        let mut due: BTreeMap<DueStep, RoaringBitmap> = BTreeMap::new();
        for (step, friends) in self.due.range(..=now).flat_map(|(_, steps)| steps) {
            if !held(&step.drip) {
                *due.entry(step.clone()).or_default() |= friends;
            }
        }
        due
    }

    /// Those of these friends who wait for room under a cap since this occurrence.
    pub fn waiting_for<'a>(
        &'a self,
        drip: &CampaignSlug,
        occurrence: OccurrenceId,
        friends: &'a RoaringBitmap,
    ) -> impl Iterator<Item = &'a Enrollment> {
        let ways = self.by_drip.get(drip);
        let ways = friends.iter().filter_map(move |friend| ways?.get(&friend));
        ways.filter(move |way| {
            matches!(way.standing, Standing::Waiting { occurrence: waits, .. } if waits == occurrence)
        })
    }

    fn count(&mut self, version: VersionId, by: u64) {
        *self.versions.entry(version).or_default() += by;
    }

    fn uncount(&mut self, version: VersionId) {
        if let Some(count) = self.versions.get_mut(&version) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.versions.remove(&version);
            }
        }
    }
}

/// At which step a way is due, and when.
fn due_step(way: &Enrollment) -> Option<(Instant, DueStep)> {
    let Standing::Due { step, at } = &way.standing else { return None };
    Some((*at, DueStep { drip: way.drip.clone(), version: way.version, step: step.clone() }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DRIPS: [&str; 2] = ["cart", "trial"];

    fn way(friend: u32, drip: usize, version: i64, step: u8, stands: u8, minute: i64) -> Enrollment {
        let slug = CampaignSlug::parse(DRIPS[drip]).unwrap();
        let (started, at) = (Instant::from_millis(0), Instant::from_millis(minute * 60_000));
        let mut way = Enrollment::starting(slug, FriendId(friend), started, VersionId(version));
        let step = StepName::parse(&format!("step{step}")).unwrap();
        way.standing = match stands {
            0 => Standing::Waiting { step, occurrence: OccurrenceId(minute) },
            1 => Standing::Ended { how: super::super::Ending::Finished, at },
            _ => Standing::Due { step, at },
        };
        way
    }

    proptest! {
        #[test]
        fn who_is_due_is_what_one_sees_looking_at_every_way(
            changes in prop::collection::vec((0..6u32, 0..2usize, 1..3i64, 0..2u8, 0..5u8, 0..5i64), 0..40),
            now in 0..5i64,
            held in 0..3usize,
        ) {
            let (mut ways, mut plain) = (Ways::default(), BTreeMap::new());
            for (friend, drip, version, step, stands, minute) in changes {
                let way = way(friend, drip, version, step, stands, minute);
                ways.put(way.clone());
                plain.insert((drip, friend), way);
            }
            plain.retain(|_, way| way.is_open());
            let now = Instant::from_millis(now * 60_000);
            let dues: Vec<(Instant, DueStep, u32)> = plain
                .values()
                .filter_map(|way| due_step(way).map(|(at, step)| (at, step, way.friend.0)))
                .collect();
            let is_held = |drip: &CampaignSlug| DRIPS.get(held).is_some_and(|held| drip.as_str() == *held);
            let (mut by, mut last) = (BTreeMap::<DueStep, RoaringBitmap>::new(), BTreeMap::new());
            for (at, step, friend) in dues.iter().filter(|(at, ..)| *at <= now) {
                if !is_held(&step.drip) {
                    by.entry(step.clone()).or_default().insert(*friend);
                }
                let latest = last.entry(step.clone()).or_insert(*at);
                *latest = (*latest).max(*at);
            }
            prop_assert_eq!(ways.due_by(now, is_held), by);
            for (step, at) in &last {
                prop_assert_eq!(ways.last_due_by(now, step), Some(*at));
            }
            prop_assert_eq!(ways.first_due(), dues.iter().map(|(at, ..)| *at).min());
            let next = dues.iter().map(|(at, ..)| *at).filter(|at| *at > now).min();
            prop_assert_eq!(ways.next_due_after(now), next);
            prop_assert_eq!(ways.standings(), (dues.len(), plain.len() - dues.len()));
            let friends = RoaringBitmap::from_iter([0, 2, 4]);
            for (drip, slug) in DRIPS.into_iter().enumerate() {
                let slug = CampaignSlug::parse(slug).unwrap();
                let found: Vec<_> = ways.waiting_for(&slug, OccurrenceId(2), &friends).cloned().collect();
                let waits = |way: &&Enrollment| {
                    matches!(way.standing, Standing::Waiting { occurrence: OccurrenceId(2), .. })
                };
                let theirs = plain.iter().filter(|((of, friend), _)| *of == drip && friend % 2 == 0);
                let theirs: Vec<_> = theirs.map(|(_, way)| way).filter(waits).cloned().collect();
                prop_assert_eq!(found, theirs);
            }
        }
    }
}
