//! Friends whom a cap deferred: they wait, and a child occurrence takes them up when there is room (protocol §6).

use roaring::RoaringBitmap;

use crate::domain::campaign::{Dispatch, WhenCapped};
use crate::domain::delivery::Exclusion;
use crate::domain::drip::Enrollment;
use crate::domain::id::OccurrenceId;
use crate::domain::plan;
use crate::domain::segment::rule::Rule;
use crate::domain::time::{Instant, Span};
use crate::store::{DeferralRow, OccurrenceFilter, OccurrenceRow, Priority, StoreError, Write};

use super::super::freeze::{Audience, Candidate, Judged};
use super::Engine;
use super::steps::deferred;

/// Waiting friends are looked at this often.
const LOOK: Span = Span::from_hours(1);

impl Engine {
    /// Whoever was deferred waits from now on; what an older occurrence of the same campaign left waiting is over.
    /// Memory changes here.
    pub(in crate::engine) fn wait_for_room(
        &mut self,
        row: &OccurrenceRow,
        dispatch: &Dispatch,
        deferred: Option<RoaringBitmap>,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        if row.step.is_none() && row.child == 0 {
            let older = self.state.deferrals.values_mut();
            for deferral in older.filter(|one| one.campaign == row.campaign && one.step.is_none()) {
                deferral.replaced |= std::mem::take(&mut deferral.waiting);
                writes.push(Write::Deferral(Box::new(deferral.clone())));
            }
            self.state.deferrals.retain(|_, deferral| !deferral.waiting.is_empty());
        }
        if let (WhenCapped::Defer(limit), Some(waiting)) = (dispatch.when_capped, deferred) {
            let until =
                row.due_at.max(row.parts.first().map_or(row.due_at, |part| part.effective_at)) + limit;
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
        let due = self
            .state
            .deferrals
            .values()
            .filter(|one| looks_at(one) <= now && !self.is_paused(&one.campaign));
        due.map(|one| one.occurrence).collect()
    }

    /// When the next waiting set is to be looked at.
    pub(in crate::engine) fn next_look(&self) -> Option<Instant> {
        self.state.deferrals.values().filter(|one| !self.is_paused(&one.campaign)).map(looks_at).min()
    }

    /// Takes up whoever has room now; `false` when it has to wait and is still due.
    pub(in crate::engine) async fn take_up(
        &mut self,
        parent: OccurrenceId,
        facts: &mut plan::Quota,
    ) -> Result<bool, StoreError> {
        let Some(deferral) = self.state.deferrals.get(&parent).cloned() else { return Ok(true) };
        let found = self.deps.store.occurrences(self.account, OccurrenceFilter::Id(parent)).await?;
        let Some(row) = found.into_iter().next() else { return Ok(true) };
        let now = self.deps.clock.now();
        let configuration = self.configuration_of(row.version);
        let Some((dispatch, rule, grace)) = what(&configuration, &row) else {
            return self.let_go(deferral, now).await;
        };
        let policy = configuration.accounts.get(&self.slug).map(|account| account.policy.clone());
        let Some(policy) = policy else { return self.let_go(deferral, now).await };
        let quiet = policy.quiet_hours_for(&dispatch.category, dispatch.immediate);
        if now < deferral.until && quiet.is_some_and(|quiet| quiet.is_quiet(now)) {
            return Ok(false);
        }
        let still = match &rule {
            Some(rule) => self.evaluate_in(&configuration, rule, now).unwrap_or_default() & &deferral.waiting,
            None => deferral.waiting.clone(),
        };
        let none = RoaringBitmap::new();
        let branches = self.branches(&configuration, &dispatch, &still, now).unwrap_or_default();
        let candidate = Candidate {
            dispatch: &dispatch,
            audience: Audience::Due { friends: &still, missed: &none },
            branches: branches.as_deref(),
            due: row.due_at,
            effective: now,
            grace,
            run: row.run,
            version: row.version,
            parent: Some((parent, deferral.children.saturating_add(1))),
        };
        let Judged::Decided(mut frozen) = self.judge_candidate(&candidate, &policy, *facts)? else {
            return Ok(false);
        };
        let waiting = deferred(&frozen.decision).unwrap_or_default();
        let left = &deferral.waiting - &still;
        let taken = &still - &waiting;
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
        let writes = |engine: &mut Self, deferral: DeferralRow| {
            let mut writes = vec![Write::Deferral(Box::new(deferral.clone()))];
            writes.extend(engine.settle_ways(&row, &over, now));
            engine.state.deferrals.insert(parent, deferral);
            engine.state.deferrals.retain(|_, one| !one.waiting.is_empty());
            writes
        };
        if taken.is_empty() {
            let writes = writes(self, deferral);
            self.commit(Priority::Freeze, writes).await?;
            return Ok(true);
        }
        deferral.children = deferral.children.saturating_add(1);
        frozen.leave_out(|reason| matches!(reason, Exclusion::Deferred { .. }));
        let writes = writes(self, deferral);
        self.commit_frozen(*frozen, &dispatch, facts, writes).await.map(|()| true)
    }

    /// Nothing says any more what they wait for.
    async fn let_go(&mut self, mut deferral: DeferralRow, now: Instant) -> Result<bool, StoreError> {
        tracing::error!(account = %self.slug, campaign = %deferral.campaign, occurrence = %deferral.occurrence, "what the deferred friends wait for is in no version any more");
        deferral.left |= std::mem::take(&mut deferral.waiting);
        deferral.looked_at = now;
        self.state.deferrals.remove(&deferral.occurrence);
        self.commit(Priority::Freeze, vec![Write::Deferral(Box::new(deferral))]).await?;
        Ok(true)
    }

    /// The ways of those whose wait in a drip is over go on.
    fn settle_ways(&mut self, row: &OccurrenceRow, over: &RoaringBitmap, now: Instant) -> Option<Write> {
        row.step.as_ref()?;
        let configuration = self.configuration_of(row.version);
        let drip = configuration.drips.get(&row.campaign)?;
        let waiting = self.state.ways.waiting_for(&row.campaign, row.id);
        let mut ways: Vec<Enrollment> = waiting.filter(|way| over.contains(way.friend.0)).cloned().collect();
        for way in &mut ways {
            way.settle(drip, now);
            self.state.ways.put(way.clone());
        }
        (!ways.is_empty()).then_some(Write::Enrollments(ways))
    }
}

fn looks_at(deferral: &DeferralRow) -> Instant {
    (deferral.looked_at + LOOK).min(deferral.until)
}

/// What a deferred occurrence sends, to whom it still may, and its grace.
fn what(
    configuration: &crate::config::Configuration,
    row: &OccurrenceRow,
) -> Option<(Dispatch, Option<Rule>, Span)> {
    match &row.step {
        None => {
            let campaign = configuration.campaigns.get(&row.campaign)?;
            Some((
                campaign.dispatch.clone(),
                Some(campaign.audience.as_ref().clone()),
                campaign.schedule.grace,
            ))
        }
        Some(step) => {
            let drip = configuration.drips.get(&row.campaign)?;
            let step = drip.step(step)?;
            let not_stopped = drip.stop.as_ref().map(|rule| Rule::Not(Box::new(rule.as_ref().clone())));
            let rules: Vec<Rule> = not_stopped
                .into_iter()
                .chain(step.segment.as_ref().map(|rule| rule.as_ref().clone()))
                .collect();
            let rule = (!rules.is_empty()).then_some(Rule::All(rules));
            Some((step.dispatch()?.clone(), rule, drip.grace))
        }
    }
}
