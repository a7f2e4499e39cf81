//! Friends whom a cap deferred: they wait, and a child occurrence takes them up when there is room.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::config::Configuration;
use crate::domain::campaign::{Dispatch, WhenCapped};
use crate::domain::delivery::OccurrenceState;
use crate::domain::drip::{Ending, Enrollment};
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::plan;
use crate::domain::segment::rule::Rule;
use crate::domain::time::{Instant, Span};
use crate::store::{DeferralRow, OccurrenceFilter, Priority, StoreError, Write};

use super::super::decide::{Audience, Candidate, Group};
use super::super::freeze::Frozen;
use super::super::{Engine, Failure};
use super::steps::{branch_rules, divide};

/// Waiting friends are looked at this often.
const LOOK: Span = Span::from_hours(1);

impl Engine {
    /// Whoever was deferred waits from now on; what an older occurrence of the same campaign left waiting is over.
    /// Memory changes here.
    pub(in crate::engine) fn wait_for_room(&mut self, frozen: &Frozen, dispatch: &Dispatch) -> Vec<Write> {
        let (row, waiting) = (&frozen.row, frozen.deferred());
        let mut writes = Vec::new();
        if row.step.is_none() && row.child == 0 && row.state == OccurrenceState::Sending {
            let older = self.state.deferrals.values_mut();
            for deferral in older.filter(|one| one.campaign == row.campaign && one.step.is_none()) {
                deferral.replaced |= std::mem::take(&mut deferral.waiting);
                writes.push(Write::Deferral(Box::new(deferral.clone())));
            }
            self.state.deferrals.retain(|_, deferral| !deferral.waiting.is_empty());
        }
        if let WhenCapped::Defer(limit) = dispatch.when_capped
            && !waiting.is_empty()
        {
            let until = row.due_at + limit;
            let deferral = DeferralRow {
                occurrence: row.id,
                campaign: row.campaign.clone(),
                step: row.step.clone(),
                version: row.version,
                until: row.deadline_at.map_or(until, |deadline| deadline.min(until)),
                looked_at: row.frozen_at,
                children: 0,
                waiting,
                left: RoaringBitmap::new(),
                lapsed: RoaringBitmap::new(),
                replaced: RoaringBitmap::new(),
            };
            writes.push(Write::Deferral(Box::new(deferral.clone())));
            self.state.deferrals.insert(row.id, deferral);
        }
        writes
    }

    /// The waiting sets to be looked at now.
    pub(in crate::engine) fn due_deferrals(&self, now: Instant) -> Vec<OccurrenceId> {
        let due = self.looks(now).filter(|(at, _)| *at <= now);
        due.map(|(_, occurrence)| occurrence).collect()
    }

    /// When the next waiting set is to be looked at.
    pub(in crate::engine) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.looks(now).map(|(at, _)| at).min()
    }

    /// When each waiting set is to be looked at: every hour, but not while its drip or campaign is paused, nor in quiet
    /// hours.
    fn looks(&self, now: Instant) -> impl Iterator<Item = (Instant, OccurrenceId)> {
        let open = self.state.deferrals.values().filter(|one| !self.is_paused(&one.campaign));
        open.map(move |one| {
            let at = (one.looked_at + LOOK).min(one.until);
            let end = if at <= now { self.quiet_end(one, now) } else { None };
            (end.unwrap_or(at), one.occurrence)
        })
    }

    fn quiet_end(&self, deferral: &DeferralRow, now: Instant) -> Option<Instant> {
        let configuration = self.configuration_of(deferral.version);
        let dispatch = Waited::of(&configuration, deferral)?.dispatch;
        let policy = &configuration.accounts.get(&self.slug)?.policy;
        let quiet = policy.quiet_hours_for(&dispatch.category, dispatch.immediate)?;
        quiet.is_quiet(now).then(|| quiet.end_after(now))
    }

    /// Takes up whoever has room now; `false` when it has to wait and is still due.
    pub(in crate::engine) async fn take_up(
        &mut self,
        parent: OccurrenceId,
        facts: plan::Quota,
    ) -> Result<bool, StoreError> {
        let Some(deferral) = self.state.deferrals.get(&parent).cloned() else { return Ok(true) };
        let now = self.deps.clock.now();
        let configuration = self.configuration_of(deferral.version);
        let policy = configuration.accounts.get(&self.slug).map(|account| account.policy.clone());
        let found = self.deps.store.occurrences(self.account, OccurrenceFilter::Id(parent)).await?;
        let (Some(waited), Some(policy), Some(row)) =
            (Waited::of(&configuration, &deferral), policy, found.into_iter().next())
        else {
            tracing::error!(account = %self.slug, campaign = %deferral.campaign, occurrence = %parent, "what the deferred friends wait for is in no version any more");
            return self.let_go(deferral, now).await;
        };
        let quiet = policy.quiet_hours_for(&waited.dispatch.category, waited.dispatch.immediate);
        let last_look = quiet.map_or(deferral.until, |quiet| quiet.end_after(deferral.until));
        if now - last_look > waited.grace {
            tracing::warn!(account = %self.slug, campaign = %deferral.campaign, occurrence = %parent, until = %deferral.until, "nobody could look in time: those who waited for room get nothing");
            return self.let_go(deferral, now).await;
        }
        let group = match self.still_waiting(&configuration, &waited, &deferral, now).await {
            Ok(group) => group,
            Err(failure) => {
                tracing::error!(account = %self.slug, campaign = %deferral.campaign, occurrence = %parent, error = failure.message, "a rule cannot be evaluated");
                return Ok(false);
            }
        };
        let still = group.friends.clone();
        let candidate = Candidate {
            dispatch: waited.dispatch.clone(),
            audience: Audience::Due(group),
            due: row.due_at,
            effective: now,
            grace: waited.grace,
            run: row.run,
            version: row.version,
            parent: Some((parent, deferral.children.saturating_add(1))),
        };
        let Some(mut frozen) = self.judge_candidate(&candidate, &policy, facts).await else {
            return Ok(false);
        };
        let waiting = frozen.capped();
        let (left, taken) = (&deferral.waiting - &still, &still - &waiting);
        let mut deferral = DeferralRow { looked_at: now, ..deferral };
        deferral.left |= &left;
        let mut over = left | &taken;
        if now >= deferral.until {
            deferral.lapsed |= &waiting;
            over |= &waiting;
            deferral.waiting.clear();
        } else {
            deferral.waiting = waiting;
        }
        deferral.children += u32::from(!taken.is_empty());
        let mut writes = vec![Write::Deferral(Box::new(deferral.clone()))];
        writes.extend(self.settle_ways(&deferral, &over, now));
        if deferral.waiting.is_empty() {
            self.state.deferrals.remove(&parent);
        } else {
            self.state.deferrals.insert(parent, deferral);
        }
        if taken.is_empty() {
            self.commit(Priority::Freeze, writes).await?;
            return Ok(true);
        }
        frozen.leave_out_capped();
        self.commit_frozen(frozen, &candidate.dispatch, writes).await.map(|()| true)
    }

    /// Who of those waiting still may, and which branch each is in now.
    async fn still_waiting(
        &self,
        configuration: &Arc<Configuration>,
        waited: &Waited<'_>,
        deferral: &DeferralRow,
        now: Instant,
    ) -> Result<Group, Failure> {
        let arms = branch_rules(Some(waited.dispatch));
        let rules = waited.stop.iter().chain(&waited.must).cloned().chain(arms.iter().flatten().cloned());
        let mut holds = self.ask_rules(configuration, rules.collect(), now).await?.into_iter();
        let mut friends = deferral.waiting.clone();
        if waited.stop.is_some() {
            friends -= holds.next().unwrap_or_default();
        }
        if waited.must.is_some() {
            friends &= holds.next().unwrap_or_default();
        }
        let branches = arms.map(|_| divide(&friends, holds));
        if let Some(branches) = &branches {
            friends = branches.iter().fold(RoaringBitmap::new(), |all, one| all | one);
        }
        Ok(Group { friends, missed: RoaringBitmap::new(), branches })
    }

    /// Whoever waits for room in this campaign or drip waits no longer: a person cancelled it. Says how many they are.
    /// Memory changes here.
    pub(in crate::engine) fn end_waits(
        &mut self,
        campaign: &CampaignSlug,
        now: Instant,
    ) -> (u64, Vec<Write>) {
        let ours = self.state.deferrals.values().filter(|deferral| deferral.campaign == *campaign);
        let (mut count, mut writes) = (0, Vec::new());
        for mut deferral in ours.cloned().collect::<Vec<_>>() {
            let over = std::mem::take(&mut deferral.waiting);
            count += over.len();
            deferral.left |= &over;
            self.state.deferrals.remove(&deferral.occurrence);
            writes.extend(self.settle_ways(&deferral, &over, now));
            writes.push(Write::Deferral(Box::new(deferral)));
        }
        (count, writes)
    }

    /// Whoever waits, waits in vain.
    async fn let_go(&mut self, mut deferral: DeferralRow, now: Instant) -> Result<bool, StoreError> {
        let over = std::mem::take(&mut deferral.waiting);
        deferral.lapsed |= &over;
        deferral.looked_at = now;
        self.state.deferrals.remove(&deferral.occurrence);
        let ways = self.settle_ways(&deferral, &over, now);
        let writes = [Write::Deferral(Box::new(deferral))].into_iter().chain(ways);
        self.commit(Priority::Freeze, writes.collect()).await?;
        Ok(true)
    }

    /// The ways of those whose wait in a drip is over go on.
    fn settle_ways(&mut self, deferral: &DeferralRow, over: &RoaringBitmap, now: Instant) -> Option<Write> {
        deferral.step.as_ref()?;
        let waiting = self.state.ways.waiting_for(&deferral.campaign, deferral.occurrence, over);
        let mut ways: Vec<Enrollment> = waiting.cloned().collect();
        for way in &mut ways {
            // A way may have gone over to another version while it waited.
            match self.configuration_of(way.version).drips.get(&way.drip) {
                Some(drip) => way.settle(drip, now),
                None => way.end(Ending::Cancelled, now),
            }
            self.state.ways.put(way.clone());
        }
        (!ways.is_empty()).then_some(Write::Enrollments(ways))
    }
}

/// What deferred friends wait for.
struct Waited<'a> {
    dispatch: &'a Dispatch,
    /// Who still may.
    must: Option<Arc<Rule>>,
    /// Who does not any more.
    stop: Option<Arc<Rule>>,
    grace: Span,
}

impl<'a> Waited<'a> {
    /// `None` where nothing in the version says so any more.
    fn of(configuration: &'a Configuration, deferral: &DeferralRow) -> Option<Self> {
        let Some(step) = &deferral.step else {
            let campaign = configuration.campaigns.get(&deferral.campaign)?;
            let must = Some(campaign.audience.clone());
            let grace = campaign.schedule.grace;
            return Some(Self { dispatch: &campaign.dispatch, must, stop: None, grace });
        };
        let drip = configuration.drips.get(&deferral.campaign)?;
        let step = drip.step(step)?;
        let (must, stop) = (step.segment.clone(), drip.stop.clone());
        Some(Self { dispatch: step.dispatch()?, must, stop, grace: drip.grace })
    }
}
