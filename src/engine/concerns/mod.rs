//! What an operator has to act on in this account, or should know of: looked at every few seconds while it runs, and by
//! whoever asks.

mod facts;

use std::collections::BTreeMap;

use crate::concern::{Code, Concern};
use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::drip::DueStep;
use crate::domain::id::CampaignSlug;
use crate::domain::schedule::{Delay, Verdict};
use crate::domain::time::{Instant, Span};
use crate::sender::run::Run;
use crate::store::{OutboxLane, StoreError, Troubles, Waiting};

use super::Engine;
pub use facts::{Facts, HeldOne, PausedOne, account_facts};

/// It is looked this often what is so.
const LOOK: Span = Span::from_secs(5);
/// What only the database knows is asked this often.
const ASK: Span = Span::from_mins(1);
/// What fell due is no news after this: nobody was at work over a weekend.
pub const RECENT: Span = Span::from_days(3);
/// Of what is unknown for longer LINE's statistics tell nothing any more.
pub const UNKNOWN_FOR: Span = Span::from_days(32);
/// A leap is told for as long as nothing is too old to be kept by it.
const LEAP_TOLD: Span = Span::from_days(1);
/// Nothing is late before the planner has this long been due to look.
const PLANNER: Span = Span::from_mins(1);

/// What this process knows of them beside its state.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Since boot, when it was last looked what is so.
    looked_at: Option<Span>,
    /// Since boot, when the database was last asked.
    asked_at: Option<Span>,
    strays: u64,
    relay: Waiting,
    troubles: Troubles,
    /// When the oldest row of the inbox came, as last read.
    pub(super) inbox_oldest: Option<Instant>,
    /// When the clock leapt, and by how much.
    leapt: Option<(Instant, Span)>,
}

impl Desk {
    /// Something changed: it is looked again at once.
    pub(super) fn look_anew(&mut self) {
        (self.looked_at, self.asked_at) = (None, None);
    }

    /// The clock went so far ahead; none once a person has said that it is right.
    pub(super) fn leapt(&mut self, leap: Option<(Instant, Span)>) {
        self.leapt = leap;
        self.looked_at = None;
    }
}

impl Engine {
    /// Looks now and then, and tells log and metrics.
    pub(super) async fn watch_concerns(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let since_boot = clock.boot.since_boot;
        let old = |at: Option<Span>, age: Span| {
            at.is_none_or(|at| since_boot.as_millis() - at.as_millis() >= age.as_millis())
        };
        if !old(self.concerns.looked_at, LOOK) {
            return Ok(());
        }
        if old(self.concerns.asked_at, ASK) {
            self.ask_for_concerns(clock.now).await?;
            let quota = self.stored_quota(clock.now).await?;
            self.gauge_quota(quota);
        }
        self.tell_concerns(clock.now);
        Ok(())
    }

    /// What is so now, by the database as well.
    pub(super) async fn concerns_now(&mut self, now: Instant) -> Result<Vec<Concern>, StoreError> {
        self.ask_for_concerns(now).await?;
        Ok(self.tell_concerns(now))
    }

    async fn ask_for_concerns(&mut self, now: Instant) -> Result<(), StoreError> {
        let (store, account) = (self.deps.store.clone(), self.account);
        self.concerns.strays = store.stray_count(account).await?;
        self.concerns.relay = match self.config().and_then(|config| config.relay.as_ref()) {
            Some(_) => store.relay_waiting(account).await?,
            None => Waiting::default(),
        };
        self.concerns.troubles = store.troubles(account, (now - UNKNOWN_FOR, now - RECENT)).await?;
        self.concerns.asked_at = Some(self.deps.clock.read().boot.since_boot);
        Ok(())
    }

    fn tell_concerns(&mut self, now: Instant) -> Vec<Concern> {
        self.concerns.leapt = self.concerns.leapt.filter(|(at, _)| now - *at < LEAP_TOLD);
        let facts = self.facts(now);
        self.gauge_facts(&facts);
        let concerns = facts.concerns(self.words(crate::lang::Lang::En).zone);
        if let Some(board) = &self.board {
            board.set(concerns.clone());
        }
        self.concerns.looked_at = Some(self.deps.clock.read().boot.since_boot);
        concerns
    }

    fn facts(&self, now: Instant) -> Facts {
        let state = &self.state;
        let lane = |(lane, backlog): (&crate::domain::outbox::Lane, &super::outbox::Backlog)| {
            let oldest = backlog.oldest.filter(|_| backlog.open > 0)?;
            let last = self.last_failure(lane).cloned();
            Some((OutboxLane { lane: lane.clone(), open: backlog.open, oldest }, last))
        };
        let held = state.runs.values().filter(|run| run.row.state == OccurrenceState::Held);
        let halted = self.may_not_plan(&self.deps.clock.read());
        Facts {
            now,
            stopped: state.row.stopped.clone(),
            paused: state.row.paused.clone(),
            seen_at: state.seen_at,
            held: held.map(|run| HeldOne::of(&run.row)).collect(),
            paused_campaigns: self.paused_campaigns(),
            inbox_oldest: self.concerns.inbox_oldest,
            strays: self.concerns.strays,
            lanes: state.outbox.iter().filter_map(lane).collect(),
            relay: self.concerns.relay,
            troubles: self.concerns.troubles,
            unknown_open: state.runs.values().map(|run| run.ended(Outcome::Unknown)).sum(),
            late: if halted { None } else { self.late_campaign(now) },
            steps_late: if halted { None } else { self.late_step(now) },
            leapt: self.concerns.leapt,
        }
    }

    /// Campaigns and drips that are paused, and still there or being sent.
    fn paused_campaigns(&self) -> Vec<PausedOne> {
        let configuration = &self.active.configuration;
        let open = |slug: &CampaignSlug| self.state.runs.values().any(|run: &Run| run.row.campaign == *slug);
        let paused = self.state.campaigns.values().filter_map(|row| Some((row, row.paused.clone()?)));
        let kept = paused.filter_map(|(row, halt)| {
            let drip = configuration.drips.contains_key(&row.campaign)
                || self.state.ways.of(&row.campaign).next().is_some();
            let there = drip || configuration.campaigns.contains_key(&row.campaign) || open(&row.campaign);
            there.then(|| PausedOne { slug: row.campaign.clone(), drip, halt })
        });
        kept.collect()
    }

    /// The campaign that should have gone out the longest ago, and for how long. Quiet hours and pauses make none late.
    fn late_campaign(&self, now: Instant) -> Option<(CampaignSlug, Span)> {
        if self.next_due.is_some_and(|due| due - now > PLANNER) {
            return None;
        }
        let late = self.dues(now).into_iter().filter_map(|due| {
            let delay = Delay { quiet_hours: self.quiet_hours(&due.campaign), up_since: due.up_since };
            let runs = due.instants.iter().filter(|(_, verdict)| *verdict == Verdict::Run);
            let first = runs.map(|(at, _)| delay.effective(*at)).min()?;
            Some((due.campaign.dispatch.slug.clone(), now - first))
        });
        late.max_by_key(|(_, late)| *late)
    }

    /// For how long the step that should have gone out the longest ago has been late.
    fn late_step(&self, now: Instant) -> Option<Span> {
        if self.state.ways.first_due().is_none_or(|due| due > now) {
            return None;
        }
        let mut waits: BTreeMap<&DueStep, bool> = BTreeMap::new();
        let mut latest: Option<Span> = None;
        for (at, step) in self.state.ways.due_until(now) {
            let held = *waits
                .entry(step)
                .or_insert_with(|| self.is_paused(&step.drip) || self.step_waits(step, now).is_some());
            if !held {
                let ready = self.step_ready(step, at);
                latest = latest.max(Some(now - ready));
            }
        }
        latest
    }

    /// From when on a step that is due could go out.
    fn step_ready(&self, due: &DueStep, at: Instant) -> Instant {
        let at = at.max(self.up_since(&due.drip));
        let configuration = self.configuration_of(due.version);
        let quiet = configuration.drips.get(&due.drip).and_then(|drip| {
            let dispatch = drip.step(&due.step)?.dispatch()?;
            let policy = &configuration.accounts.get(&self.slug)?.policy;
            policy.quiet_hours_for(&dispatch.category, dispatch.immediate)
        });
        quiet.map_or(at, |quiet| quiet.end_after(at))
    }

    /// The database does not answer, or another process owns the account.
    pub(super) fn tell_away(&self, error: &StoreError) {
        let Some(board) = &self.board else { return };
        let (code, ja, en) = match error {
            StoreError::Fenced { .. } => (
                Code::NotRunning,
                "別の haishin がこのアカウントを担当しています",
                "another haishin owns the account",
            ),
            _ => (
                Code::DatabaseAway,
                "データベースを読み書きできません。何も送信していません",
                "the database cannot be read or written; nothing is sent",
            ),
        };
        if !board.has(&[code]) {
            board.put(code, Some(Concern::new(code, |lang| lang.pick(ja, en).to_owned())));
        }
    }
}
