//! A drip's step for the friends due at it: stopped, passing by, sent to or acted on, in one transaction.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::config::Configuration;
use crate::domain::campaign::{Dispatch, VariantShare};
use crate::domain::delivery::{Exclusion, OccurrenceState};
use crate::domain::drip::{Content, Drip, DueStep, Ending, Enrollment, Standing, Step};
use crate::domain::id::FriendId;
use crate::domain::key::Run as RunKind;
use crate::domain::plan;
use crate::domain::schedule::{Delay, Schedule, Verdict, When, judge};
use crate::domain::time::{Instant, Span};
use crate::store::{CampaignRow, Priority, StoreError, Write};

use super::super::freeze::{Audience, Candidate, Judged};
use super::Engine;

const MINUTE: Span = Span::from_mins(1);

/// The ways of the friends due at a step.
struct Group {
    ways: BTreeMap<u32, Enrollment>,
    /// Who takes part in the step.
    part: RoaringBitmap,
}

impl Group {
    /// The ways in hand, changed or not.
    fn into_ways(self) -> Vec<Enrollment> {
        self.ways.into_values().collect()
    }

    fn pass_by(&mut self, friends: &RoaringBitmap, drip: &Drip) {
        for friend in friends {
            if let Some(way) = self.ways.get_mut(&friend) {
                way.pass(drip);
            }
        }
        self.part -= friends;
    }
}

impl Engine {
    /// Whether a step could be looked at now, or else from when on.
    pub(in crate::engine) fn step_waits(&self, due: &DueStep, now: Instant) -> Option<Instant> {
        let configuration = self.configuration_of(due.version);
        let dispatch = configuration.drips.get(&due.drip)?.step(&due.step)?.dispatch()?;
        let policy = &configuration.accounts.get(&self.slug)?.policy;
        let quiet = policy.quiet_hours_for(&dispatch.category, dispatch.immediate)?;
        quiet.is_quiet(now).then(|| quiet.end_after(now))
    }

    /// What comes first among due steps and campaigns: as campaigns, then the step's place in its file.
    pub(in crate::engine) fn step_precedence(&self, due: &DueStep) -> (std::cmp::Reverse<u8>, usize) {
        let configuration = self.configuration_of(due.version);
        let drip = configuration.drips.get(&due.drip);
        let place = drip.and_then(|drip| drip.steps.iter().position(|step| step.name == due.step));
        let first = drip.and_then(|drip| drip.steps.iter().find_map(Step::dispatch));
        (std::cmp::Reverse(first.map_or(50, |dispatch| dispatch.priority)), place.unwrap_or(usize::MAX))
    }

    /// Deals with a step for the friends due at it; `false` when it has to wait and is still due.
    pub(in crate::engine) async fn plan_step(
        &mut self,
        due: &DueStep,
        friends: &RoaringBitmap,
        facts: &mut plan::Quota,
    ) -> Result<bool, StoreError> {
        let now = self.deps.clock.now();
        if self.step_waits(due, now).is_some() {
            return Ok(false);
        }
        let configuration = self.configuration_of(due.version);
        let found = configuration.drips.get(&due.drip).and_then(|drip| Some((drip, drip.step(&due.step)?)));
        let Some((drip, step)) = found else {
            tracing::error!(account = %self.slug, drip = %due.drip, step = %due.step, "the step is in no version any more: its friends' ways end");
            let writes = self.end_ways(&due.drip, friends.iter().map(FriendId), Ending::Cancelled, now);
            self.commit(Priority::Freeze, writes).await?;
            return Ok(true);
        };
        let group = match self.gather(&configuration, drip, step, friends, now) {
            Ok(group) => group,
            Err(failure) => {
                tracing::error!(account = %self.slug, drip = %due.drip, step = %due.step, error = failure.message, "a rule cannot be evaluated");
                return Ok(false);
            }
        };
        match &step.content {
            Content::Act(actions) => {
                self.act_on(drip, step, actions, group.part.clone(), group.into_ways()).await
            }
            Content::Send(dispatch) => {
                self.send_step(&configuration, drip, due, dispatch, group, facts).await
            }
        }
    }

    /// The ways of those due: stopped ones over, those outside the step's segment past it.
    fn gather(
        &self,
        configuration: &Configuration,
        drip: &Drip,
        step: &Step,
        friends: &RoaringBitmap,
        now: Instant,
    ) -> Result<Group, super::Failure> {
        let ways = friends
            .iter()
            .filter_map(|friend| Some((friend, self.state.ways.get(&drip.slug, FriendId(friend))?.clone())));
        let mut group = Group { ways: ways.collect(), part: friends.clone() };
        if let Some(rule) = &drip.stop {
            let stopped = self.evaluate_in(configuration, rule, now)? & &group.part;
            for friend in &stopped {
                if let Some(way) = group.ways.get_mut(&friend) {
                    way.end(Ending::Stopped, now);
                }
            }
            group.part -= stopped;
        }
        if let Some(rule) = &step.segment {
            let outside = &group.part - self.evaluate_in(configuration, rule, now)?;
            group.pass_by(&outside, drip);
        }
        Ok(group)
    }

    async fn send_step(
        &mut self,
        configuration: &Configuration,
        drip: &Drip,
        due: &DueStep,
        dispatch: &Dispatch,
        mut group: Group,
        facts: &mut plan::Quota,
    ) -> Result<bool, StoreError> {
        let now = self.deps.clock.now();
        let branches = match self.branches(configuration, dispatch, &group.part, now) {
            Ok(branches) => branches,
            Err(failure) => {
                tracing::error!(account = %self.slug, drip = %drip.slug, step = %due.step, error = failure.message, "a branch cannot be evaluated");
                return Ok(false);
            }
        };
        if let Some(branches) = &branches {
            let inside = branches.iter().fold(RoaringBitmap::new(), |all, one| all | one);
            let outside = &group.part - inside;
            group.pass_by(&outside, drip);
        }
        if group.part.is_empty() {
            return self.put_ways(group.into_ways()).await.map(|()| true);
        }
        let policy = configuration.accounts.get(&self.slug).map(|account| account.policy.clone());
        let Some(policy) = policy.or_else(|| self.config().map(|config| config.policy.clone())) else {
            return Ok(false);
        };
        let quiet_hours = policy.quiet_hours_for(&dispatch.category, dispatch.immediate);
        let delay = Delay { quiet_hours, up_since: self.up_since(&drip.slug) };
        let Some(due_at) = self.occurrence_at(due, &group, now) else { return Ok(false) };
        let missed = missed(drip, &group, delay, now);
        let candidate = Candidate {
            dispatch,
            audience: Audience::Due { friends: &group.part, missed: &missed },
            branches: branches.as_deref(),
            due: due_at,
            effective: delay.effective(due_at),
            grace: drip.grace,
            run: RunKind::Scheduled(0),
            version: due.version,
            parent: None,
        };
        let Judged::Decided(frozen) = self.judge_candidate(&candidate, &policy, *facts)? else {
            return Ok(false);
        };
        let waits = frozen.row.state == OccurrenceState::Sending;
        let deferred = deferred(&frozen.decision).filter(|_| waits);
        for friend in &group.part.clone() {
            let Some(way) = group.ways.get_mut(&friend) else { continue };
            match &deferred {
                Some(deferred) if deferred.contains(friend) => way.defer(frozen.row.id),
                _ => way.pass(drip),
            }
        }
        let mut writes = vec![self.step_planned(due, due_at)];
        writes.extend(self.wait_for_room(&frozen.row, dispatch, deferred));
        let ways = group.into_ways();
        writes.push(Write::Enrollments(ways.clone()));
        ways.into_iter().for_each(|way| self.state.ways.put(way));
        self.commit_frozen(*frozen, dispatch, facts, writes).await.map(|()| true)
    }

    /// Commits ways that changed without anything being sent.
    pub(super) async fn put_ways(&mut self, ways: Vec<Enrollment>) -> Result<(), StoreError> {
        self.commit(Priority::Freeze, vec![Write::Enrollments(ways.clone())]).await?;
        ways.into_iter().for_each(|way| self.state.ways.put(way));
        Ok(())
    }

    /// Whom each branch is for; none where the step has no branches.
    pub(super) fn branches(
        &self,
        configuration: &Configuration,
        dispatch: &Dispatch,
        part: &RoaringBitmap,
        now: Instant,
    ) -> Result<Option<Vec<RoaringBitmap>>, super::Failure> {
        let mut left = part.clone();
        let mut branches = Vec::new();
        for arm in &dispatch.variants {
            let VariantShare::Branch(rule) = &arm.share else { return Ok(None) };
            let branch = self.evaluate_in(configuration, rule, now)? & &left;
            left -= &branch;
            branches.push(branch);
        }
        Ok(Some(branches))
    }

    /// The due instant the occurrence goes by: the latest minute at which one of them was due, but none that a
    /// frozen occurrence of the step has. `None` when the minute after that one has not come yet.
    fn occurrence_at(&self, due: &DueStep, group: &Group, now: Instant) -> Option<Instant> {
        let dues = group.part.iter().filter_map(|friend| match &group.ways.get(&friend)?.standing {
            Standing::Due { at, .. } => Some(*at),
            _ => None,
        });
        let latest = dues.max()?;
        let row = self.state.steps.get(&(due.drip.clone(), due.step.clone()));
        let planned = row.and_then(|row| row.last_planned_at);
        let at = match planned {
            Some(planned) if latest <= planned => planned + MINUTE,
            _ => latest,
        };
        (at <= now).then_some(at)
    }

    /// The step's row with `at` as its last planned instant.
    fn step_planned(&mut self, due: &DueStep, at: Instant) -> Write {
        let key = (due.drip.clone(), due.step.clone());
        let row = self.state.steps.entry(key).or_insert_with(|| CampaignRow {
            campaign: due.drip.clone(),
            step: Some(due.step.clone()),
            schedule_digest: [0; 32],
            activated_at: at,
            last_planned_at: None,
            paused: None,
        });
        row.last_planned_at = Some(at);
        Write::Campaign(row.clone())
    }
}

/// Whom a decision deferred, if anybody.
pub(in crate::engine) fn deferred(decision: &plan::Decision) -> Option<RoaringBitmap> {
    let sets = decision.exclusions.iter().filter(|(reason, _)| matches!(reason, Exclusion::Deferred { .. }));
    let all = sets.fold(RoaringBitmap::new(), |all, (_, friends)| all | friends);
    (!all.is_empty()).then_some(all)
}

/// Whose step passed in downtime, a pause or quiet hours and is not caught up: judged friend by friend, over all the
/// steps of theirs that have come.
fn missed(drip: &Drip, group: &Group, delay: Delay<'_>, now: Instant) -> RoaringBitmap {
    let schedule = Schedule { when: When::Once(now), if_missed: drip.if_missed, grace: drip.grace };
    let is_missed = |way: &Enrollment| {
        let dues = way.due_by(drip, now);
        judge(&schedule, &dues, delay, now).first().is_some_and(|(_, verdict)| *verdict == Verdict::Missed)
    };
    group.part.iter().filter(|friend| group.ways.get(friend).is_some_and(&is_missed)).collect()
}
