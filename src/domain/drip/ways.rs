//! All ways of an account that are not over, in memory: by drip and friend, and in the order in which they are due.

use std::collections::{BTreeMap, BTreeSet};

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
    due: BTreeSet<(Instant, CampaignSlug, u32)>,
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
        if let Standing::Due { at, .. } = way.standing {
            self.due.insert((at, way.drip.clone(), way.friend.0));
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
        if let Standing::Due { at, .. } = way.standing {
            self.due.remove(&(at, way.drip.clone(), friend.0));
        }
        self.uncount(way.version);
        Some(way)
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
        (self.due.len(), open.saturating_sub(self.due.len()))
    }

    /// When the first step is due.
    pub fn first_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// When the first step is due that is not yet at `now`.
    pub fn next_due_after(&self, now: Instant) -> Option<Instant> {
        self.due.iter().map(|(at, _, _)| *at).find(|at| *at > now)
    }

    /// Who is due at which step by `now`, unless their drip is held up.
    pub fn due_by(
        &self,
        now: Instant,
        held: impl Fn(&CampaignSlug) -> bool,
    ) -> BTreeMap<DueStep, RoaringBitmap> {
        let mut steps: BTreeMap<DueStep, RoaringBitmap> = BTreeMap::new();
        let due = self.due.iter().take_while(|(at, _, _)| *at <= now);
        for (_, drip, friend) in due.filter(|(_, drip, _)| !held(drip)) {
            let Some(way) = self.get(drip, FriendId(*friend)) else { continue };
            let Standing::Due { step, .. } = &way.standing else { continue };
            let step = DueStep { drip: drip.clone(), version: way.version, step: step.clone() };
            steps.entry(step).or_default().insert(*friend);
        }
        steps
    }

    /// The friends who wait for room under a cap since this occurrence.
    pub fn waiting_for<'a>(
        &'a self,
        drip: &CampaignSlug,
        occurrence: OccurrenceId,
    ) -> impl Iterator<Item = &'a Enrollment> {
        self.of(drip).filter(move |way| {
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
