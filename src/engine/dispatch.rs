//! Requests: strides opened, attempts started, answers heard, occurrences ended.

use std::collections::BTreeMap;

use rand::Rng as _;
use roaring::RoaringBitmap;

use crate::clock::Reading;
use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::effect::{Effect, Entry};
use crate::domain::id::{CampaignSlug, FriendId, OccurrenceId, Seq};
use crate::domain::key::Run as RunKind;
use crate::domain::policy::QuietHours;
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::line::{Answer as LineAnswer, Api, Attempt, Blame, messages_of};
use crate::sender::run::{BatchKey, Change, Consequence, Next, Run};
use crate::store::{BatchRow, Halt, Priority, StoreError, Write};

use super::words::{GUARD, Subject};
use super::{Engine, Event};

/// Requests of one account under way at once: enough for LINE's 200/s at a third of a second each.
const MAX_IN_FLIGHT: usize = 64;
/// Requests started in one slice.
const A_SLICE: usize = 128;
/// Batches in a stride where no rate is set.
const UNLIMITED_STRIDE: u32 = 400;

/// A request's permission to leave, asked for once more when it does: between the decision and the network lie a
/// token that may have to be issued, and a process that may be stopped for a day.
pub(super) struct Leave {
    decided: Reading,
    deadline: Option<Instant>,
    quiet: Option<QuietHours>,
}

impl Leave {
    /// At any time, as long as it is soon.
    pub(super) const fn soon(decided: Reading) -> Self {
        Self { decided, deadline: None, quiet: None }
    }

    /// The lease, the key's age and the owner's own will were looked at when it was decided, with time to spare.
    pub(super) fn is_allowed(&self, clock: &Reading) -> bool {
        let Reading { now, boot } = &self.decided;
        clock.age(*now, &boot.boot_id, boot.since_boot) <= super::LEASE_MARGIN
            && self.deadline.is_none_or(|deadline| clock.now < deadline)
            && !self.quiet.as_ref().is_some_and(|quiet| quiet.is_quiet(clock.now))
    }
}

/// What one turn's answers come to, before it is committed.
#[derive(Default)]
pub(super) struct Heard {
    /// The last word on each batch: one statement may say it only once.
    rows: BTreeMap<(OccurrenceId, BatchKey), BatchRow>,
    writes: Vec<Write>,
    quarantined: Vec<FriendId>,
    pause_campaigns: Vec<(CampaignSlug, Reason)>,
    pause_account: Option<Reason>,
    ask_quota: bool,
}

impl Engine {
    /// Takes in what attempts told, ends what has ended, and commits it as one group.
    pub(super) async fn hear(
        &mut self,
        attempts: Vec<(OccurrenceId, BatchKey, Attempt)>,
    ) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let mut heard = Heard::default();
        for (occurrence, batch, attempt) in attempts {
            let jitter = self.rng.random::<f64>();
            self.lull.hear(&attempt, clock.boot.since_boot);
            let (index, leaving) = (&self.state.index, &self.state.leaving);
            let user_of = |friend| leaving.user(index, friend);
            let Some(run) = self.state.runs.get_mut(&occurrence) else { continue };
            tracing::debug!(
                account = %self.slug, campaign = %run.row.campaign, occurrence = %occurrence, batch = batch.0,
                answer = attempt.answer.as_str(), request_id = attempt.request_id.as_deref(), "answered"
            );
            let change = run.heard(batch, &attempt, &clock, jitter, &user_of);
            heard.take(run, change);
        }
        self.wind_up(&clock, &mut heard);
        self.finish(&clock, &mut heard);
        let opens = heard.rows.values().any(|row| row.opened.is_some() && row.ended.is_none());
        let mut writes = heard.writes();
        let entries = self.quarantine_entries(&heard.quarantined, clock.now);
        if !entries.is_empty() {
            writes.push(Write::Entries(entries.clone()));
        }
        for (campaign, reason) in &heard.pause_campaigns {
            writes.extend(self.pause_campaign_writes(campaign, GUARD, reason, clock.now));
        }
        if let Some(reason) = heard.pause_account.take().filter(|_| self.state.row.paused.is_none()) {
            let text = self.words(Lang::En).reason(&reason, Subject::Account);
            tracing::error!(account = %self.slug, reason = text, "the account pauses");
            let halt = Halt { at: clock.now, by: GUARD.into(), reason };
            writes.push(Write::AccountPaused(Some(halt.clone())));
            self.state.row.paused = Some(halt);
        }
        self.commit(Priority::Outcome, writes).await?;
        if opens {
            // As with a stride: a database that does not know of these batches would cut others, under other keys.
            self.write_ticket();
        }
        for entry in &entries {
            self.state.index_mut().apply(entry);
            self.state.row.journal_seq = entry.seq;
        }
        self.count(&heard);
        self.state.runs.retain(|_, run| run.row.finished_at.is_none());
        if heard.ask_quota {
            self.doubt_quota(&clock);
        }
        self.watch_quota(&clock);
        Ok(())
    }

    /// Tells the sends and the metrics what was settled, all of a turn's batches at once.
    pub(super) fn count(&mut self, heard: &Heard) {
        let mut settled: BTreeMap<(OccurrenceId, Outcome, Instant), RoaringBitmap> = BTreeMap::new();
        for row in heard.rows.values() {
            let Some(run) = self.state.runs.get(&row.occurrence) else { continue };
            let Some((outcome, at, friends)) = run.outcome_of(row) else { continue };
            *settled.entry((row.occurrence, outcome, at)).or_default() |= friends;
        }
        for ((occurrence, outcome, at), friends) in settled {
            self.count_deliveries(outcome, friends.len());
            let run = self.state.runs.get(&occurrence);
            if run.is_some_and(|run| matches!(run.row.run, RunKind::Scheduled(_))) {
                self.state.settle(occurrence, outcome, &friends, at);
            }
        }
        let ended = self.state.runs.values().filter(|run| run.row.finished_at.is_some());
        for (id, outcome, set) in ended.flat_map(unrowed).collect::<Vec<_>>() {
            self.state.settle(id, outcome, &set, Instant::MIN);
        }
    }

    fn quarantine_entries(&self, friends: &[FriendId], at: Instant) -> Vec<Entry> {
        let first = self.state.row.journal_seq.0;
        let numbered = friends.iter().zip(1..);
        numbered
            .map(|(friend, n)| Entry {
                seq: Seq(first + n),
                friend: *friend,
                at,
                effect: Effect::Quarantined,
            })
            .collect()
    }

    /// Deadlines and cancellations, once nothing of theirs is in flight; keys that have outlived LINE's memory.
    fn wind_up(&mut self, clock: &Reading, heard: &mut Heard) {
        let behind = self.clock_behind(clock.now);
        for run in self.state.runs.values_mut() {
            // A clock that is not believed says nothing of a key's age; nothing is sent by it either.
            let mut rows = if behind { Vec::new() } else { run.expire_keys(clock) };
            if run.in_flight() == 0 && run.row.state == OccurrenceState::Cancelled {
                let why = run.row.reason.clone();
                rows.extend(run.wind_up(Outcome::Cancelled, clock, why.as_ref()));
            } else if run.in_flight() == 0
                && let Some(deadline) = run.row.deadline_at.filter(|deadline| clock.now >= *deadline)
            {
                rows.extend(run.wind_up(Outcome::Expired, clock, Some(&Reason::Expired { deadline })));
            }
            heard.add(rows);
        }
    }

    /// Ends the occurrences whose every delivery has its outcome.
    fn finish(&mut self, clock: &Reading, heard: &mut Heard) {
        for run in self.state.runs.values_mut().filter(|run| run.is_done() && run.row.finished_at.is_none()) {
            heard.writes.extend(run.ends(clock.now));
            tracing::info!(
                account = %self.slug, campaign = %run.row.campaign, occurrence = %run.row.id,
                accepted = run.ended(Outcome::Accepted), unknown = run.ended(Outcome::Unknown),
                rejected = run.ended(Outcome::Rejected), "occurrence ended"
            );
        }
    }

    /// Whether a request of this run may leave now, as far as anybody but the rate says.
    fn gate(&self, run: &Run, clock: &Reading) -> bool {
        let row = &run.row;
        let quiet = || self.quiet_hours_binding(run).is_some_and(|quiet| quiet.is_quiet(clock.now));
        run.may_send()
            && !self.draining
            && self.state.row.stopped.is_none()
            && self.state.row.paused.is_none()
            && row.deadline_at.is_none_or(|deadline| clock.now < deadline)
            && !self.clock_behind(clock.now)
            && self.lease_is_safe(clock)
            && !quiet()
    }

    /// Writes strides ahead of the sending.
    pub(super) async fn open_strides(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let rate = self.rate().unwrap_or(UNLIMITED_STRIDE);
        let (index, leaving) = (&self.state.index, &self.state.leaving);
        let user_of = |friend| leaving.user(index, friend);
        let open: Vec<&Run> = self.state.runs.values().filter(|run| self.gate(run, &clock)).collect();
        // They share the rate, so each takes its part of a second of sending.
        let length = rate / u32::try_from(open.len()).unwrap_or(u32::MAX).max(1);
        let open = open.into_iter();
        let strides: Vec<_> =
            open.filter_map(|run| run.next_stride(length.max(1), &clock, &user_of)).collect();
        let rows = strides.iter().map(|stride| Write::Stride(stride.row.clone())).collect();
        self.commit(Priority::Outcome, rows).await?;
        if !strides.is_empty() {
            // Before the first request: a database without these strides would send them anew, perhaps after LINE has
            // forgotten their keys.
            self.write_ticket();
        }
        for stride in strides {
            if let Some(run) = self.state.runs.get_mut(&stride.row.occurrence) {
                run.stride_opened(stride);
            }
        }
        Ok(())
    }

    /// Starts requests: one batch of each run in turn, as the rate allows.
    pub(super) async fn dispatch(&mut self) -> Result<(), StoreError> {
        let mut changed = Heard::default();
        let mut started = 0;
        while started < A_SLICE {
            let clock = self.deps.clock.read();
            if self.in_flight() >= self.lull.allows(clock.boot.since_boot, MAX_IN_FLIGHT) {
                break;
            }
            let Some(id) = self.next_run(&clock) else { break };
            if !self.bucket.take(clock.boot.since_boot) {
                break;
            }
            started += 1;
            self.rotation = Some(id);
            let (index, leaving) = (&self.state.index, &self.state.leaving);
            let user_of = |friend| leaving.user(index, friend);
            let Some(run) = self.state.runs.get_mut(&id) else { break };
            match run.next_attempt(&clock, &user_of) {
                None => break,
                Some(Next::Stopped(change)) => changed.take(run, change),
                Some(Next::Request { batch, key, body, is_sound }) => {
                    let (line, events) = (self.line.clone(), self.events.clone());
                    let timer = self.deps.clock.clone();
                    let leave = self.leave(id, clock.clone());
                    self.attempts.spawn(async move {
                        let attempt = match line.prepare().await {
                            Ok(()) if leave.is_allowed(&timer.read()) => {
                                let attempt = line.multicast(key, body.clone()).await;
                                explained(attempt, line.as_ref(), &body, is_sound).await
                            }
                            Ok(()) => Attempt::unanswered(LineAnswer::NeverSent),
                            Err(answer) => Attempt::unanswered(answer),
                        };
                        let took = timer.boot().since_boot.as_millis() - clock.boot.since_boot.as_millis();
                        let took = Span::from_millis(took);
                        // The engine outlives its attempts, or the next owner retries under the same key.
                        let _ = events.send(Event::Attempt { occurrence: id, batch, attempt, took }).await;
                    });
                }
            }
        }
        if started == A_SLICE {
            let _ = self.events.try_send(Event::Nudge);
        }
        let writes = changed.writes();
        self.commit(Priority::Outcome, writes).await?;
        self.count(&changed);
        Ok(())
    }

    /// Requests under way.
    fn in_flight(&self) -> usize {
        self.state.runs.values().map(Run::in_flight).sum()
    }

    /// Until when a request decided at `decided` may leave.
    fn leave(&self, occurrence: OccurrenceId, decided: Reading) -> Leave {
        let run = self.state.runs.get(&occurrence);
        Leave {
            decided,
            deadline: run.and_then(|run| run.row.deadline_at),
            quiet: run.and_then(|run| self.quiet_hours_binding(run)).cloned(),
        }
    }

    /// The hours in which no request of this run may leave.
    fn quiet_hours_binding(&self, run: &Run) -> Option<&QuietHours> {
        let bound = !run.row.immediate && matches!(run.row.run, RunKind::Scheduled(_));
        self.quiet_hours_of(run).filter(|_| bound)
    }

    /// The next run in turn that has a batch ready.
    fn next_run(&self, clock: &Reading) -> Option<OccurrenceId> {
        let ready = |run: &&Run| self.gate(run, clock) && run.has_ready(clock);
        let after = self.rotation.unwrap_or(OccurrenceId(0));
        let behind = self.state.runs.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let all = behind.chain(self.state.runs.range(..=after));
        all.map(|(_, run)| run).find(ready).map(|run| run.row.id)
    }

    /// How long until a request could leave.
    pub(super) fn next_send(&mut self, clock: &Reading) -> Span {
        let mut wait = super::LONGEST_SLEEP;
        let mut ready = false;
        let may_leave = self.in_flight() < self.lull.allows(clock.boot.since_boot, MAX_IN_FLIGHT);
        let lull = self.lull.wait(clock.boot.since_boot);
        if lull > Span::ZERO {
            wait = wait.min(lull);
        }
        for run in self.state.runs.values().filter(|run| self.gate(run, clock)) {
            ready |= run.has_ready(clock) && may_leave;
            let moments = [run.next_wake(), run.paced_until()];
            for moment in moments.into_iter().flatten() {
                let until = Span::from_millis(moment.as_millis() - clock.boot.since_boot.as_millis());
                if until > Span::ZERO {
                    wait = wait.min(until);
                }
            }
            if let Some(deadline) = run.row.deadline_at {
                wait = wait.min(deadline - clock.now);
            }
        }
        if ready { wait.min(self.bucket.wait(clock.boot.since_boot)) } else { wait }
    }
}

/// What ended above the mark has no batch row: it is released here.
fn unrowed(run: &Run) -> Vec<(OccurrenceId, Outcome, RoaringBitmap)> {
    [Outcome::Cancelled, Outcome::Expired]
        .into_iter()
        .map(|outcome| (run.row.id, outcome, run.outcome_set(outcome)))
        .collect()
}

impl Heard {
    fn take(&mut self, run: &Run, change: Change) {
        self.add(change.rows);
        for consequence in change.consequences {
            match consequence {
                Consequence::Quarantine(friend) => self.quarantined.push(friend),
                Consequence::PauseCampaign(reason) => {
                    self.pause_campaigns.push((run.row.campaign.clone(), reason));
                }
                Consequence::PauseAccount(reason) => self.pause_account = Some(reason),
                Consequence::AskQuota => self.ask_quota = true,
            }
        }
    }

    pub(super) fn add(&mut self, rows: Vec<BatchRow>) {
        self.rows.extend(rows.into_iter().map(|row| ((row.occurrence, (row.n, row.generation)), row)));
    }

    /// What is to be committed: the batches of all answers at once, then what follows from them.
    pub(super) fn writes(&mut self) -> Vec<Write> {
        let rows: Vec<BatchRow> = self.rows.values().cloned().collect();
        let batches = (!rows.is_empty()).then_some(Write::Batches(rows));
        batches.into_iter().chain(std::mem::take(&mut self.writes)).collect()
    }
}

/// What is wrong with a request that LINE refused without saying so: it is asked whether it would take the messages,
/// unless it has said so before.
async fn explained(mut attempt: Attempt, line: &dyn Api, body: &[u8], is_sound: bool) -> Attempt {
    if let Some(blame) = attempt.untold() {
        *blame = match messages_of(body) {
            _ if is_sound => Blame::SomeRecipient,
            Some(messages) => line.blame(&messages).await,
            None => Blame::Messages,
        };
    }
    attempt
}
