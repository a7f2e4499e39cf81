//! What is due: computed from the last planned instant, judged, and handed to the freeze one by one.

use sha2::{Digest, Sha256};

use crate::clock::Reading;
use crate::domain::campaign::Campaign;
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::CampaignSlug;
use crate::domain::key::Run as RunKind;
use crate::domain::plan;
use crate::domain::policy::QuietHours;
use crate::domain::reason::Reason;
use crate::domain::schedule::{Delay, Planned, Verdict, When, judge};
use crate::domain::time::{Instant, Span};
use crate::store::{CampaignRow, NewOccurrence, Priority, StoreError, Write};

use super::jobs::Job;
use super::quota::{ASK_AGAIN, Numbers};
use super::{Active, Engine};

/// The most due instants of one campaign judged at once; older ones are told in a log line and passed over.
const MOST_MISSED: usize = 1_000;
/// The planner looks every second. After a gap of more than this it was not there: schedules count in minutes.
const BREAK: Span = Span::from_mins(1);
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

impl Engine {
    /// Plans one thing of what is due, the first in the order of precedence: the next turn plans the next, after
    /// it has renewed the lease, heard what came in, and sent on.
    pub(super) async fn plan(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        self.notice_break(clock.now);
        if self.next_due.is_some_and(|due| due > clock.now) {
            return Ok(());
        }
        if self.may_not_plan(&clock) {
            self.next_due = Some(clock.now + LOOK_AGAIN);
            return Ok(());
        }
        self.start_by_date(clock.now).await?;
        self.expire_tags(clock.now).await?;
        let Some((slug, job)) = self.first_job(clock.now) else {
            if !std::mem::take(&mut self.waiting).is_empty() {
                // What waits for LINE's numbers is looked at again when they may have come.
                self.next_due = Some(self.first_due_ahead(clock.now).min(clock.now + ASK_AGAIN));
                return Ok(());
            }
            self.next_due = Some(self.first_due_after(clock.now));
            return Ok(());
        };
        let facts = match self.quota_numbers(&clock).await? {
            Numbers::Known(facts) => facts,
            Numbers::Asked if self.sends(&job) => {
                self.next_due = Some(clock.now + LOOK_AGAIN);
                return Ok(());
            }
            Numbers::Asked => plan::Quota::Unreadable,
        };
        let done = match job {
            Job::Campaign(due) => self.plan_one(*due, facts).await?,
            Job::Step(due, friends) => self.plan_step(&due, &friends, facts).await?,
            Job::TakeUp(parent) => self.take_up(parent, facts).await?,
        };
        if !done {
            // It must not keep those behind it waiting as well: it has its turn again when all have been looked at.
            self.waiting.insert(slug);
        }
        self.next_due = Some(clock.now);
        Ok(())
    }

    /// A machine that slept, or a clock that jumped ahead: what fell due meanwhile is judged as after any downtime.
    fn notice_break(&mut self, now: Instant) {
        if now - self.looked_at > BREAK {
            let duration_ms = (now - self.looked_at).as_millis();
            tracing::warn!(account = %self.slug, %now, duration_ms, "nothing could be planned for a while");
            self.up_since = now;
            self.next_due = None;
        }
        self.looked_at = now;
    }

    pub(super) fn may_not_plan(&self, clock: &Reading) -> bool {
        self.clock_behind(clock.now) || self.state.row.stopped.is_some() || self.state.row.paused.is_some()
    }

    /// Records what a campaign missed and freezes the first instant after that; `false` when that has to wait.
    async fn plan_one(&mut self, due: Due, facts: plan::Quota) -> Result<bool, StoreError> {
        let Due { campaign, instants, up_since } = due;
        let missed = instants.iter().take_while(|(_, verdict)| *verdict == Verdict::Missed);
        let missed: Vec<Instant> = missed.map(|(at, _)| *at).collect();
        let run = instants.get(missed.len()).copied();
        self.record_missed(&campaign, missed).await?;
        let Some((at, _)) = run else { return Ok(true) };
        let delay = Delay { quiet_hours: self.quiet_hours(&campaign), up_since };
        let effective = delay.effective(at);
        self.freeze(&campaign, at, effective, facts).await
    }

    async fn record_missed(&mut self, campaign: &Campaign, missed: Vec<Instant>) -> Result<(), StoreError> {
        let Some(last) = missed.last().copied() else { return Ok(()) };
        let turnstile = self.deps.turnstile.clone();
        let _slice = turnstile.slice().await;
        let mut writes = Vec::new();
        for at in &missed {
            let mut row = self.blank_row(
                &campaign.dispatch,
                *at,
                OccurrenceState::Missed,
                RunKind::Scheduled(campaign.rerun),
            );
            row.reason = Some(Reason::NotCaughtUp);
            tracing::warn!(account = %self.slug, campaign = %campaign.dispatch.slug, due_at = %at, "missed");
            writes.push(Write::Occurrence(Box::new(NewOccurrence {
                row,
                variants: Vec::new(),
                sets: Vec::new(),
            })));
        }
        writes.extend(self.planned(campaign, last));
        self.commit(Priority::Freeze, writes).await?;
        self.count_missed(missed.len() as u64);
        self.concerns.look_anew();
        Ok(())
    }

    /// The campaign's row with `at` as its last planned instant.
    pub(super) fn planned(&mut self, campaign: &Campaign, at: Instant) -> Option<Write> {
        let row = self.state.campaigns.get_mut(&campaign.dispatch.slug)?;
        row.last_planned = Some(Planned::by(&campaign.schedule.when, at, row.last_planned));
        Some(Write::Campaign(row.clone()))
    }

    /// Gives each campaign whose schedule is new its row: nothing at or before the activation is due by it. A campaign
    /// that is a draft, or gone, has no schedule: when it has one again, that one is new. Once for each version.
    pub(super) async fn activate_schedules(&mut self) -> Result<(), StoreError> {
        if self.scheduled == Some(self.active.version) {
            return Ok(());
        }
        let mut changed = Vec::new();
        for campaign in campaigns_of(&self.active, &self.slug) {
            let known = self.state.campaigns.get(&campaign.dispatch.slug);
            let digest = schedule_digest(campaign);
            if known.is_some_and(|row| row.schedule_digest == digest) || (campaign.draft && known.is_none()) {
                continue;
            }
            let mut row = self.fresh_row(campaign);
            row.last_planned = known.and_then(|row| row.last_planned);
            row.paused = known.and_then(|row| row.paused.clone());
            changed.push(row);
        }
        for row in self.state.campaigns.values().filter(|row| row.schedule_digest != UNSCHEDULED) {
            let campaign = self.active.configuration.campaigns.get(&row.campaign);
            let drip = self.active.configuration.drips.get(&row.campaign);
            if campaign.is_none_or(|campaign| campaign.dispatch.account != self.slug)
                && drip.is_none_or(|drip| drip.account != self.slug)
            {
                changed.push(CampaignRow { schedule_digest: UNSCHEDULED, ..row.clone() });
            }
        }
        let (rows, started) = self.activate_drips().await?;
        changed.extend(rows);
        let mut writes: Vec<Write> = changed.iter().cloned().map(Write::Campaign).collect();
        if !started.is_empty() {
            writes.push(Write::Enrollments(started.clone()));
        }
        self.commit(Priority::Freeze, writes).await?;
        started.into_iter().for_each(|way| self.state.ways.put(way));
        self.state.campaigns.extend(changed.into_iter().map(|row| (row.campaign.clone(), row)));
        self.scheduled = Some(self.active.version);
        self.migrate_drips().await
    }

    fn fresh_row(&self, campaign: &Campaign) -> CampaignRow {
        CampaignRow {
            campaign: campaign.dispatch.slug.clone(),
            step: None,
            schedule_digest: schedule_digest(campaign),
            activated_at: self.active.activated_at,
            last_planned: None,
            paused: None,
        }
    }

    pub(super) fn ensure_campaign_row(&mut self, slug: &CampaignSlug) -> Option<Write> {
        if self.state.campaigns.contains_key(slug) {
            return None;
        }
        let row = self.fresh_row(self.active.configuration.campaigns.get(slug)?);
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

    /// Due instants of a campaign after the last planned one, up to `now`: the last [`MOST_MISSED`] of them, looked for
    /// backwards, so that a far `now` costs no more than a near one.
    fn instants(&self, campaign: &Campaign, now: Instant) -> Vec<Instant> {
        let after = self.due_after(campaign);
        let mut back = Span::from_days(1);
        loop {
            let from = after.max(now - back);
            let due = campaign.schedule.when.after(from).take_while(|at| *at <= now);
            let mut instants: Vec<Instant> = due.collect();
            if instants.len() > MOST_MISSED {
                instants.drain(..instants.len() - MOST_MISSED);
                let due_at = instants.first().copied().unwrap_or(now);
                tracing::warn!(account = %self.slug, campaign = %campaign.dispatch.slug, %due_at, "too many missed instants to record each: those before this one are passed over");
                return instants;
            }
            if from == after {
                return instants;
            }
            back = Span::from_millis(back.as_millis().saturating_mul(2));
        }
    }

    /// Nothing at or before this instant is due: the later of last planned and activation.
    fn due_after(&self, campaign: &Campaign) -> Instant {
        let row = self.state.campaigns.get(&campaign.dispatch.slug);
        let planned = row.and_then(|row| row.last_planned);
        let planned = planned.map_or(Instant::MIN, |planned| campaign.schedule.when.planned_until(&planned));
        let activated = row.map_or(self.active.activated_at, |row| row.activated_at);
        planned.max(activated)
    }

    /// Whether a one-shot already had this run.
    pub(super) async fn has_run(&self, campaign: &Campaign) -> Result<bool, StoreError> {
        let When::Once(_) = campaign.schedule.when else { return Ok(false) };
        let last = self.deps.store.last_run(self.account, &campaign.dispatch.slug, campaign.rerun).await?;
        Ok(last.is_some())
    }

    fn first_due_after(&self, now: Instant) -> Instant {
        let mut first = now + Span::from_days(1);
        let others = [self.next_date(), self.next_look(now), self.state.first_expiry, self.next_step(now)];
        for at in others.into_iter().flatten() {
            // Due already, yet not dealt with: something that cannot be foretold holds it.
            first = first.min(if at > now { at } else { now + LOOK_AGAIN });
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

    /// The first due instant after `now`, or a day later.
    fn first_due_ahead(&self, now: Instant) -> Instant {
        let campaigns = campaigns_of(&self.active, &self.slug).filter(|campaign| !campaign.draft);
        let first = campaigns.filter_map(|campaign| campaign.schedule.when.next_after(now));
        let others = [self.next_date(), self.next_look(now), self.state.first_expiry];
        let others = others.into_iter().flatten().chain(self.state.ways.next_due_after(now));
        first.chain(others).filter(|at| *at > now).min().unwrap_or(now + Span::from_days(1))
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
    pub(super) fn skip_due(&mut self, due: &[(CampaignSlug, Instant)], by: &str) -> Vec<Write> {
        let mut writes = Vec::new();
        for (slug, at) in due {
            let Some(campaign) = self.active.configuration.campaigns.get(slug).cloned() else { continue };
            writes.extend(self.ensure_campaign_row(slug));
            let mut row = self.blank_row(
                &campaign.dispatch,
                *at,
                OccurrenceState::Missed,
                RunKind::Scheduled(campaign.rerun),
            );
            row.reason = Some(Reason::SkippedByPerson { by: by.into() });
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

/// The digest of no schedule at all.
pub(super) const UNSCHEDULED: [u8; 32] = [0; 32];

/// What tells one schedule from another; a draft has none.
fn schedule_digest(campaign: &Campaign) -> [u8; 32] {
    if campaign.draft {
        return UNSCHEDULED;
    }
    Sha256::digest(format!("{:?} {}", campaign.schedule, campaign.rerun)).into()
}
