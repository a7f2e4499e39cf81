//! What is due: computed from the last planned instant, judged, and handed to the freeze one by one.

use std::cmp::Reverse;

use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};

use crate::clock::Reading;
use crate::domain::campaign::Campaign;
use crate::domain::delivery::OccurrenceState;
use crate::domain::drip::{Drip, DueStep, Step};
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::key::Run as RunKind;
use crate::domain::plan;
use crate::domain::policy::QuietHours;
use crate::domain::schedule::{Delay, Verdict, When, judge};
use crate::domain::time::{Instant, Span};
use crate::store::{CampaignRow, NewOccurrence, OccurrenceFilter, Priority, StoreError, Write};

use super::quota::Numbers;
use super::{Active, Engine};

/// The most due instants of one campaign judged at once; older ones are told in a log line and passed over.
const MOST_MISSED: usize = 1_000;
/// While nothing may be planned, look again this much later.
const LOOK_AGAIN: Span = Span::from_secs(1);

/// One campaign's due instants and what becomes of them.
#[derive(Debug, Clone)]
pub(super) struct Due {
    /// Which campaign.
    pub(super) campaign: Campaign,
    /// What becomes of each instant.
    pub(super) instants: Vec<(Instant, Verdict)>,
    /// From due instant to effective instant.
    pub(super) up_since: Instant,
}

/// One thing to plan.
enum Job {
    /// A campaign's due instants.
    Campaign(Box<Due>),
    /// A drip's step, for the friends due at it.
    Step(DueStep, RoaringBitmap),
    /// The friends a cap deferred in this occurrence.
    TakeUp(OccurrenceId),
}

impl Job {
    /// Whether it may send, so that LINE's numbers are needed.
    fn sends(&self) -> bool {
        match self {
            Job::Campaign(due) => due.instants.iter().any(|(_, verdict)| *verdict == Verdict::Run),
            Job::Step(..) | Job::TakeUp(_) => true,
        }
    }
}

impl Engine {
    /// Plans everything due now, in order, one slice each.
    pub(super) async fn plan(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        if self.next_due.is_some_and(|due| due > clock.now) {
            return Ok(());
        }
        if self.may_not_plan(&clock) {
            self.next_due = Some(clock.now + LOOK_AGAIN);
            return Ok(());
        }
        self.activate_schedules().await?;
        self.start_by_date(clock.now).await?;
        self.enter_drips().await?;
        self.expire_tags(clock.now).await?;
        let jobs = self.jobs(clock.now);
        if jobs.is_empty() {
            self.next_due = Some(self.first_due_after(clock.now));
            return Ok(());
        }
        let sends = jobs.iter().any(Job::sends);
        let facts = match self.quota_numbers(&clock).await? {
            Numbers::Known(facts) => facts,
            Numbers::Asked if sends => {
                self.next_due = Some(clock.now + LOOK_AGAIN);
                return Ok(());
            }
            Numbers::Asked => plan::Quota::Unreadable,
        };
        let mut facts = facts;
        for job in jobs {
            let turnstile = self.deps.turnstile.clone();
            let _slice = turnstile.slice().await;
            match job {
                Job::Campaign(due) => self.plan_one(*due, &mut facts).await?,
                Job::Step(due, friends) => drop(self.plan_step(&due, &friends, &mut facts).await?),
                Job::TakeUp(parent) => drop(self.take_up(parent, &mut facts).await?),
            }
        }
        // What waits for its numbers, or fell due meanwhile, is looked at in the next turn.
        self.next_due = Some(clock.now + LOOK_AGAIN);
        Ok(())
    }

    fn may_not_plan(&self, clock: &Reading) -> bool {
        if self.clock_behind(clock.now) {
            tracing::error!(
                account = %self.slug, now = %clock.now, seen = %self.seen_at,
                "the clock is behind what was already seen: nothing is planned or sent until it catches up"
            );
            return true;
        }
        self.state.row.stopped.is_some() || self.state.row.paused.is_some()
    }

    /// What is to be done now, in the order of precedence: higher priority first, then the slug by code point; of a
    /// drip the earlier step first, and whoever was deferred before whoever is due only now.
    fn jobs(&self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        for due in self.dues(now) {
            let dispatch = &due.campaign.dispatch;
            let key = (Reverse(dispatch.priority), dispatch.slug.clone(), 1, 0);
            jobs.push((key, Job::Campaign(Box::new(due))));
        }
        for parent in self.due_deferrals(now) {
            let Some(deferral) = self.state.deferrals.get(&parent) else { continue };
            let key = (Reverse(self.priority_of(&deferral.campaign)), deferral.campaign.clone(), 0, 0);
            jobs.push((key, Job::TakeUp(parent)));
        }
        for (due, friends) in self.state.ways.due_by(now, |drip| self.is_paused(drip)) {
            if self.step_waits(&due, now).is_none() {
                let (priority, place) = self.step_precedence(&due);
                jobs.push(((priority, due.drip.clone(), 1, place), Job::Step(due, friends)));
            }
        }
        jobs.sort_by(|(one, _), (other, _)| one.cmp(other));
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// The priority of a campaign or drip in the running configuration.
    fn priority_of(&self, slug: &CampaignSlug) -> u8 {
        let configuration = &self.active.configuration;
        let campaign = configuration.campaigns.get(slug).map(|campaign| &campaign.dispatch);
        let step = || configuration.drips.get(slug)?.steps.iter().find_map(Step::dispatch);
        campaign.or_else(step).map_or(50, |dispatch| dispatch.priority)
    }

    async fn plan_one(&mut self, due: Due, facts: &mut plan::Quota) -> Result<(), StoreError> {
        let mut missed = Vec::new();
        for (at, verdict) in due.instants {
            match verdict {
                Verdict::Missed => missed.push(at),
                Verdict::Run => {
                    self.record_missed(&due.campaign, std::mem::take(&mut missed)).await?;
                    let delay =
                        Delay { quiet_hours: self.quiet_hours(&due.campaign), up_since: due.up_since };
                    if !self.freeze(&due.campaign, at, delay.effective(at), facts).await? {
                        return Ok(());
                    }
                }
            }
        }
        self.record_missed(&due.campaign, missed).await
    }

    async fn record_missed(&mut self, campaign: &Campaign, missed: Vec<Instant>) -> Result<(), StoreError> {
        let Some(last) = missed.last().copied() else { return Ok(()) };
        let mut writes = Vec::new();
        for at in &missed {
            let row = self.blank_row(
                &campaign.dispatch,
                *at,
                OccurrenceState::Missed,
                RunKind::Scheduled(campaign.rerun),
            );
            tracing::warn!(account = %self.slug, campaign = %campaign.dispatch.slug, due_at = %at, "missed");
            writes.push(Write::Occurrence(Box::new(NewOccurrence {
                row,
                variants: Vec::new(),
                sets: Vec::new(),
            })));
        }
        writes.extend(self.planned(campaign, last));
        self.commit(Priority::Freeze, writes).await
    }

    /// The campaign's row with `at` as its last planned instant.
    pub(super) fn planned(&mut self, campaign: &Campaign, at: Instant) -> Option<Write> {
        let row = self.state.campaigns.get_mut(&campaign.dispatch.slug)?;
        row.last_planned_at = Some(row.last_planned_at.map_or(at, |last| last.max(at)));
        Some(Write::Campaign(row.clone()))
    }

    /// Gives each campaign whose schedule is new its row: nothing at or before the activation is due by it.
    async fn activate_schedules(&mut self) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        let mut started = Vec::new();
        let drips: Vec<Drip> = self.drips().cloned().collect();
        for drip in &drips {
            let digest: [u8; 32] = Sha256::digest(format!("{:?}", drip.start)).into();
            let known = self.state.campaigns.get(&drip.slug);
            if known.is_some_and(|row| row.schedule_digest == digest) {
                continue;
            }
            let activated_at = self.active.activated_at;
            if known.is_none() {
                started.extend(self.start_existing(drip, activated_at));
            }
            let row = CampaignRow {
                campaign: drip.slug.clone(),
                step: None,
                schedule_digest: digest,
                activated_at,
                last_planned_at: known.and_then(|row| row.last_planned_at),
                paused: known.and_then(|row| row.paused.clone()),
            };
            writes.push(Write::Campaign(row.clone()));
            self.state.campaigns.insert(drip.slug.clone(), row);
        }
        if !started.is_empty() {
            writes.push(Write::Enrollments(started.clone()));
        }
        started.into_iter().for_each(|way| self.state.ways.put(way));
        for campaign in campaigns_of(&self.active, &self.slug) {
            let digest = schedule_digest(campaign);
            let known = self.state.campaigns.get(&campaign.dispatch.slug);
            if known.is_some_and(|row| row.schedule_digest == digest) {
                continue;
            }
            let row = CampaignRow {
                campaign: campaign.dispatch.slug.clone(),
                step: None,
                schedule_digest: digest,
                activated_at: self.active.activated_at,
                last_planned_at: known.and_then(|row| row.last_planned_at),
                paused: known.and_then(|row| row.paused.clone()),
            };
            writes.push(Write::Campaign(row.clone()));
            self.state.campaigns.insert(campaign.dispatch.slug.clone(), row);
        }
        self.commit(Priority::Freeze, writes).await?;
        self.migrate_drips().await
    }

    pub(super) fn ensure_campaign_row(&mut self, slug: &CampaignSlug) -> Option<Write> {
        if self.state.campaigns.contains_key(slug) {
            return None;
        }
        let campaign = self.active.configuration.campaigns.get(slug)?;
        let row = CampaignRow {
            campaign: slug.clone(),
            step: None,
            schedule_digest: schedule_digest(campaign),
            activated_at: self.active.activated_at,
            last_planned_at: None,
            paused: None,
        };
        self.state.campaigns.insert(slug.clone(), row.clone());
        Some(Write::Campaign(row))
    }

    /// What is due at `now` and not planned yet, judged.
    pub(super) fn dues(&self, now: Instant) -> Vec<Due> {
        let open = |campaign: &&Campaign| {
            !campaign.draft
                && self.state.campaigns.get(&campaign.dispatch.slug).is_none_or(|row| row.paused.is_none())
        };
        let mut dues = Vec::new();
        for campaign in campaigns_of(&self.active, &self.slug).filter(open) {
            let instants = self.instants(campaign, now);
            if instants.is_empty() {
                continue;
            }
            let resumed = self.resumed.get(&campaign.dispatch.slug).copied().unwrap_or(Instant::MIN);
            let up_since = self.up_since.max(resumed);
            let delay = Delay { quiet_hours: self.quiet_hours(campaign), up_since };
            let judged = judge(&campaign.schedule, &instants, delay, now);
            if !judged.is_empty() {
                dues.push(Due { campaign: campaign.clone(), instants: judged, up_since });
            }
        }
        dues
    }

    /// Due instants of a campaign after the last planned one, up to `now`.
    fn instants(&self, campaign: &Campaign, now: Instant) -> Vec<Instant> {
        let after = self.due_after(campaign);
        let mut instants: Vec<Instant> =
            campaign.schedule.when.after(after).take_while(|at| *at <= now).collect();
        if instants.len() > MOST_MISSED {
            let passed = instants.len() - MOST_MISSED;
            tracing::warn!(account = %self.slug, campaign = %campaign.dispatch.slug, passed, "too many missed instants to record each");
            instants.drain(..passed);
        }
        instants
    }

    /// Nothing at or before this instant is due: the later of last planned and activation.
    fn due_after(&self, campaign: &Campaign) -> Instant {
        let row = self.state.campaigns.get(&campaign.dispatch.slug);
        let planned = row.and_then(|row| row.last_planned_at).unwrap_or(Instant::MIN);
        let activated = row.map_or(self.active.activated_at, |row| row.activated_at);
        planned.max(activated)
    }

    /// Whether a one-shot already had this run.
    pub(super) async fn has_run(&self, campaign: &Campaign) -> Result<bool, StoreError> {
        let When::Once(_) = campaign.schedule.when else { return Ok(false) };
        let filter =
            OccurrenceFilter::Newest { campaign: Some(campaign.dispatch.slug.clone()), limit: 1_000 };
        let occurrences = self.deps.store.occurrences(self.account, filter).await?;
        Ok(occurrences.iter().any(|row| matches!(row.run, RunKind::Scheduled(run) if run >= campaign.rerun)))
    }

    fn first_due_after(&self, now: Instant) -> Instant {
        let mut first = now + Span::from_days(1);
        let others = [self.next_date(), self.next_look(), self.state.first_expiry, self.next_step(now)];
        for at in others.into_iter().flatten() {
            first = first.min(at.max(now + LOOK_AGAIN));
        }
        for campaign in campaigns_of(&self.active, &self.slug).filter(|campaign| !campaign.draft) {
            let next = campaign.schedule.when.next_after(self.due_after(campaign));
            let Some(next) = next else { continue };
            // Due already, yet not judged: quiet hours or a pause hold it.
            let at = match self.quiet_hours(campaign) {
                _ if next > now => next,
                Some(quiet) if quiet.is_quiet(now) => quiet.end_after(now),
                _ => now + LOOK_AGAIN,
            };
            first = first.min(at);
        }
        first
    }

    /// When a step is due that nothing holds up. Due ones are held up by quiet hours, or else would have been dealt
    /// with.
    fn next_step(&self, now: Instant) -> Option<Instant> {
        let first = self.state.ways.first_due()?;
        if first > now {
            return Some(first);
        }
        let due = self.state.ways.due_by(now, |drip| self.is_paused(drip));
        let held = due.keys().filter_map(|due| self.step_waits(due, now)).min();
        // What comes next lies behind those that are held up.
        Some(held.unwrap_or(Instant::MAX).min(self.state.ways.next_due_after(now).unwrap_or(Instant::MAX)))
    }

    /// What fell due up to `now` and was not planned, whatever stands in the way.
    pub(super) fn fallen_due(&self, now: Instant) -> Vec<(CampaignSlug, Instant)> {
        let campaigns = campaigns_of(&self.active, &self.slug).filter(|campaign| !campaign.draft);
        campaigns
            .flat_map(|campaign| {
                self.instants(campaign, now).into_iter().map(|at| (campaign.dispatch.slug.clone(), at))
            })
            .collect()
    }

    /// Records what fell due as missed, by a person's choice.
    pub(super) fn skip_due(&mut self, due: &[(CampaignSlug, Instant)], _now: Instant) -> Vec<Write> {
        let mut writes = Vec::new();
        for (slug, at) in due {
            let Some(campaign) = self.active.configuration.campaigns.get(slug).cloned() else { continue };
            writes.extend(self.ensure_campaign_row(slug));
            let row = self.blank_row(
                &campaign.dispatch,
                *at,
                OccurrenceState::Missed,
                RunKind::Scheduled(campaign.rerun),
            );
            writes.push(Write::Occurrence(Box::new(NewOccurrence {
                row,
                variants: Vec::new(),
                sets: Vec::new(),
            })));
            writes.extend(self.planned(&campaign, *at));
        }
        writes
    }

    /// The hours without sends that bind a campaign.
    pub(super) fn quiet_hours(&self, campaign: &Campaign) -> Option<&QuietHours> {
        self.config()?.policy.quiet_hours_for(&campaign.dispatch.category, campaign.dispatch.immediate)
    }
}

/// The campaigns of one account.
pub(super) fn campaigns_of<'a>(
    active: &'a Active,
    account: &'a crate::domain::id::AccountSlug,
) -> impl Iterator<Item = &'a Campaign> {
    active.configuration.campaigns.values().filter(move |campaign| campaign.dispatch.account == *account)
}

/// What tells one schedule from another.
fn schedule_digest(campaign: &Campaign) -> [u8; 32] {
    Sha256::digest(format!("{:?} {}", campaign.schedule, campaign.rerun)).into()
}
