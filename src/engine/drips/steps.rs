//! A drip's step for the friends due at it: stopped, passing by, sent to or acted on, in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::config::Configuration;
use crate::domain::campaign::{Dispatch, VariantShare};
use crate::domain::drip::{Content, Drip, DueStep, Ending, Enrollment, Standing, Step};
use crate::domain::id::FriendId;
use crate::domain::key::Run as RunKind;
use crate::domain::plan;
use crate::domain::schedule::{Delay, Planned, Schedule, Verdict, When, judge};
use crate::domain::segment::rule::Rule;
use crate::domain::time::{Instant, Span};
use crate::store::{CampaignRow, Priority, StoreError, Write};

use super::super::decide::{Audience, Candidate, Group};
use super::super::{Engine, Failure};

const MINUTE: Span = Span::from_mins(1);

/// Actions are done for so many friends in one transaction; the others are still due, and have their turn next.
const ACTED_A_SLICE: usize = 2_000;

/// The friends due at a step, each with the way they are on.
struct Party {
    ways: BTreeMap<u32, Enrollment>,
    /// Who takes part in the step.
    part: RoaringBitmap,
    /// Whom each arm is for, where the arms are branches.
    branches: Option<Vec<RoaringBitmap>>,
}

impl Party {
    /// The ways in hand, changed or not.
    fn into_ways(self) -> Vec<Enrollment> {
        self.ways.into_values().collect()
    }

    /// The latest minute at which one of those who take part was due.
    fn latest_due(&self) -> Option<Instant> {
        let ways = self.part.iter().filter_map(|friend| self.ways.get(&friend));
        let dues = ways.filter_map(|way| match &way.standing {
            Standing::Due { at, .. } => Some(*at),
            _ => None,
        });
        dues.max()
    }

    fn pass_by(&mut self, friends: &RoaringBitmap, drip: &Drip) {
        for friend in friends {
            if let Some(way) = self.ways.get_mut(&friend) {
                way.pass(drip);
            }
        }
        self.part -= friends;
    }

    fn stop(&mut self, friends: &RoaringBitmap, now: Instant) {
        for friend in friends {
            if let Some(way) = self.ways.get_mut(&friend) {
                way.end(Ending::Stopped, now);
            }
        }
        self.part -= friends;
    }
}

impl Engine {
    /// Until when a step that is due cannot be looked at: quiet hours bind it, or the minute its occurrence would go
    /// by is still to come. `None` when it can be now.
    pub(in crate::engine) fn step_waits(&self, due: &DueStep, now: Instant) -> Option<Instant> {
        let configuration = self.configuration_of(due.version);
        let dispatch = configuration.drips.get(&due.drip)?.step(&due.step)?.dispatch()?;
        let policy = &configuration.accounts.get(&self.slug)?.policy;
        let quiet = policy.quiet_hours_for(&dispatch.category, dispatch.immediate);
        let quiet = quiet.filter(|quiet| quiet.is_quiet(now)).map(|quiet| quiet.end_after(now));
        let latest = self.state.ways.last_due_by(now, due);
        let minute = latest.map(|latest| self.occurrence_at(due, latest)).filter(|minute| *minute > now);
        quiet.max(minute)
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
        facts: plan::Quota,
    ) -> Result<bool, StoreError> {
        let now = self.deps.clock.now();
        let configuration = self.configuration_of(due.version);
        let found = configuration.drips.get(&due.drip).and_then(|drip| Some((drip, drip.step(&due.step)?)));
        let Some((drip, step)) = found else {
            tracing::error!(account = %self.slug, drip = %due.drip, step = %due.step, "the step is in no version any more: its friends' ways end");
            let writes = self.end_ways(&due.drip, friends.iter().map(FriendId), Ending::Cancelled, now);
            self.commit(Priority::Freeze, writes).await?;
            return Ok(true);
        };
        let slice = match step.content {
            Content::Act(_) => friends.iter().take(ACTED_A_SLICE).collect(),
            Content::Send(_) => friends.clone(),
        };
        let party = match self.gather(&configuration, drip, step, slice, now).await {
            Ok(party) => party,
            Err(failure) => {
                tracing::error!(account = %self.slug, drip = %due.drip, step = %due.step, error = failure.message, "a rule cannot be evaluated");
                return Ok(false);
            }
        };
        match &step.content {
            Content::Act(actions) => {
                self.act_on(drip, step, actions, party.part.clone(), party.into_ways()).await
            }
            Content::Send(dispatch) => {
                self.send_step(&configuration, drip, due, dispatch, party, facts).await
            }
        }
    }

    /// The ways of those due: stopped ones over, those outside the step's segment or all of its branches past it.
    async fn gather(
        &self,
        configuration: &Arc<Configuration>,
        drip: &Drip,
        step: &Step,
        friends: RoaringBitmap,
        now: Instant,
    ) -> Result<Party, Failure> {
        let ways = friends
            .iter()
            .filter_map(|friend| Some((friend, self.state.ways.get(&drip.slug, FriendId(friend))?.clone())));
        let mut party = Party { ways: ways.collect(), part: friends, branches: None };
        let arms = branch_rules(step.dispatch());
        let rules = drip.stop.iter().chain(&step.segment).cloned().chain(arms.iter().flatten().cloned());
        let mut holds = self.ask_rules(configuration, rules.collect(), now).await?.into_iter();
        if drip.stop.is_some() {
            let stopped = holds.next().unwrap_or_default() & &party.part;
            party.stop(&stopped, now);
        }
        if step.segment.is_some() {
            let outside = &party.part - holds.next().unwrap_or_default();
            party.pass_by(&outside, drip);
        }
        if arms.is_some() {
            let branches = divide(&party.part, holds);
            let inside = branches.iter().fold(RoaringBitmap::new(), |all, one| all | one);
            let outside = &party.part - inside;
            party.pass_by(&outside, drip);
            party.branches = Some(branches);
        }
        Ok(party)
    }

    async fn send_step(
        &mut self,
        configuration: &Configuration,
        drip: &Drip,
        due: &DueStep,
        dispatch: &Dispatch,
        mut party: Party,
        facts: plan::Quota,
    ) -> Result<bool, StoreError> {
        let now = self.deps.clock.now();
        if party.part.is_empty() {
            return self.put_ways(party.into_ways()).await.map(|()| true);
        }
        let policy = configuration.accounts.get(&self.slug).map(|account| account.policy.clone());
        let Some(policy) = policy.or_else(|| self.config().map(|config| config.policy.clone())) else {
            return Ok(false);
        };
        let quiet_hours = policy.quiet_hours_for(&dispatch.category, dispatch.immediate);
        let delay = Delay { quiet_hours, up_since: self.up_since(&drip.slug) };
        let Some(latest) = party.latest_due() else { return Ok(false) };
        let due_at = self.occurrence_at(due, latest);
        let group = Group {
            friends: party.part.clone(),
            missed: missed(drip, &party, delay, now),
            branches: party.branches.take(),
        };
        let candidate = Candidate {
            dispatch: dispatch.clone(),
            audience: Audience::Due(group),
            due: due_at,
            effective: delay.effective(due_at),
            grace: drip.grace,
            run: RunKind::Scheduled(0),
            version: due.version,
            parent: None,
        };
        let Some(frozen) = self.judge_candidate(&candidate, &policy, facts).await else { return Ok(false) };
        let deferred = frozen.deferred();
        for friend in &party.part.clone() {
            let Some(way) = party.ways.get_mut(&friend) else { continue };
            if deferred.contains(friend) {
                way.defer(frozen.row.id);
            } else {
                way.pass(drip);
            }
        }
        let mut writes = vec![self.step_planned(due, due_at)];
        writes.extend(self.wait_for_room(&frozen, dispatch));
        let ways = party.into_ways();
        writes.push(Write::Enrollments(ways.clone()));
        ways.into_iter().for_each(|way| self.state.ways.put(way));
        self.commit_frozen(frozen, dispatch, writes).await.map(|()| true)
    }

    /// Commits ways that changed without anything being sent.
    pub(super) async fn put_ways(&mut self, ways: Vec<Enrollment>) -> Result<(), StoreError> {
        self.commit(Priority::Freeze, vec![Write::Enrollments(ways.clone())]).await?;
        ways.into_iter().for_each(|way| self.state.ways.put(way));
        Ok(())
    }

    /// The due instant an occurrence goes by: the latest minute at which one of its friends was due, or the one after
    /// the step's last occurrence.
    fn occurrence_at(&self, due: &DueStep, latest: Instant) -> Instant {
        let row = self.state.steps.get(&(due.drip.clone(), due.step.clone()));
        let planned = row.and_then(|row| row.last_planned);
        planned.map_or(latest, |planned| latest.max(planned.at + MINUTE))
    }

    /// The step's row with `at` as its last planned instant.
    fn step_planned(&mut self, due: &DueStep, at: Instant) -> Write {
        let key = (due.drip.clone(), due.step.clone());
        let row = self.state.steps.entry(key).or_insert_with(|| CampaignRow {
            campaign: due.drip.clone(),
            step: Some(due.step.clone()),
            schedule_digest: [0; 32],
            activated_at: at,
            last_planned: None,
            paused: None,
        });
        row.last_planned = Some(Planned { at, local: None });
        Write::Campaign(row.clone())
    }
}

/// The rules of the branches of what is sent, where its arms are branches.
pub(super) fn branch_rules(dispatch: Option<&Dispatch>) -> Option<Vec<Arc<Rule>>> {
    let arms = dispatch?.variants.iter().map(|arm| match &arm.share {
        VariantShare::Branch(rule) => Some(rule.clone()),
        VariantShare::Equal | VariantShare::Share(_) => None,
    });
    arms.collect()
}

/// Friends by the first branch whose rule holds for them.
pub(super) fn divide(part: &RoaringBitmap, holds: impl Iterator<Item = RoaringBitmap>) -> Vec<RoaringBitmap> {
    let mut left = part.clone();
    let first = holds.map(|holds| {
        let branch = holds & &left;
        left -= &branch;
        branch
    });
    first.collect()
}

/// Whose step passed in downtime, a pause or quiet hours and is not caught up: judged friend by friend, over all the
/// steps of theirs that have come.
fn missed(drip: &Drip, party: &Party, delay: Delay<'_>, now: Instant) -> RoaringBitmap {
    let schedule = Schedule { when: When::Once(now), if_missed: drip.if_missed, grace: drip.grace };
    let is_missed = |way: &Enrollment| {
        let dues = way.due_by(drip, now);
        judge(&schedule, &dues, delay, now).first().is_some_and(|(_, verdict)| *verdict == Verdict::Missed)
    };
    party.part.iter().filter(|friend| party.ways.get(friend).is_some_and(&is_missed)).collect()
}
