//! What is no longer needed goes, a bounded slice a turn: journal entries that friend rows and checkpoint
//! hold, and what is older than the configuration keeps.

use crate::domain::id::{AccountId, Seq};
use crate::domain::policy::Cutoffs;
use crate::domain::time::{Instant, Span, Tz};
use crate::store::{ANSWERS_KEPT, Priority, Prune, Store, StoreError, Write};

use super::{Engine, Mode};

/// How often it is looked whether something has become too old.
const LOOK_AGAIN: Span = Span::from_hours(1);
/// How often the whole journal is looked through for events that have.
const SWEEP_AGAIN: Span = Span::from_hours(24);
/// Whoever received a campaign is added to all who ever did once a day, for all sends of a day that is over: a drip of
/// many small ones would otherwise rewrite the one large set again and again.
const MERGE_DAILY: Span = Span::from_hours(24);
/// Journal entries looked at in one turn: as many are removed in one transaction.
const A_STRETCH: u32 = 4_000;

/// What is known of an account when something is to be pruned.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Friend rows hold everything up to this entry…
    pub folded: Seq,
    /// …and the last complete checkpoint everything up to this one.
    pub checkpoint: Seq,
    /// From when on things are kept.
    pub cutoffs: Cutoffs,
    /// Whose days drips are added up by.
    pub zone: Tz,
    /// The wall clock.
    pub now: Instant,
    /// The clock that goes on by itself.
    pub since_boot: Span,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This slice is to be committed; then there may be more.
    Prune(Prune),
    /// Nothing here, but there is more to look at.
    GoOn,
    /// Every event before the instant is gone from the journal. There may be more to do.
    Swept(Instant),
    /// Nothing for now.
    Rest,
}

/// Finds what to prune. It remembers only how far it has looked; a new one looks from the beginning.
#[derive(Debug, Default)]
pub struct Pruner {
    /// The journal is pruned up to this entry.
    swept: Seq,
    /// Since boot, when the sweep under way began.
    began: Option<Span>,
    /// The sweep has told of its end.
    told: bool,
    /// Since boot, when nothing was found last.
    rested: Option<Span>,
}

impl Pruner {
    /// The journal is looked through from the beginning.
    pub fn sweep_anew(&mut self) {
        (self.swept, self.told) = (Seq(0), false);
    }

    /// The journal is pruned up to this entry.
    pub fn swept(&self) -> Seq {
        self.swept
    }

    /// The next step. A slice that is not committed is found again.
    pub async fn next(
        &mut self,
        store: &dyn Store,
        account: AccountId,
        facts: &Facts,
    ) -> Result<Step, StoreError> {
        match self.sweep(store, account, facts).await? {
            Step::Rest => self.look(store, account, facts).await,
            step => Ok(step),
        }
    }

    /// State entries go as soon as rows and checkpoint both hold them: a start needs them no more, whether it finds the
    /// checkpoint whole or torn. Events stay until they are too old.
    async fn sweep(
        &mut self,
        store: &dyn Store,
        account: AccountId,
        facts: &Facts,
    ) -> Result<Step, StoreError> {
        let events_before = facts.cutoffs.events;
        let old = self.began.is_none_or(|began| passed(began, SWEEP_AGAIN, facts.since_boot));
        if old && (events_before.is_some() || self.began.is_none()) {
            *self = Self { began: Some(facts.since_boot), rested: self.rested, ..Self::default() };
        }
        let upto = facts.folded.min(facts.checkpoint);
        if self.swept >= upto {
            let first = !std::mem::replace(&mut self.told, true);
            return Ok(events_before.filter(|_| first).map_or(Step::Rest, Step::Swept));
        }
        let range = (self.swept, upto);
        let stretch = store.journal_stretch(account, range, events_before, A_STRETCH).await?;
        let last = stretch.map_or(upto, |stretch| stretch.last);
        if stretch.is_some_and(|stretch| stretch.prunable > 0) {
            return Ok(Step::Prune(Prune::Journal { after: self.swept, upto: last, events_before }));
        }
        self.swept = last;
        Ok(Step::GoOn)
    }

    /// Everything but the journal: the first kind that finds something.
    async fn look(
        &mut self,
        store: &dyn Store,
        account: AccountId,
        facts: &Facts,
    ) -> Result<Step, StoreError> {
        if self.rested.is_some_and(|rested| !passed(rested, LOOK_AGAIN, facts.since_boot)) {
            return Ok(Step::Rest);
        }
        let Cutoffs { webhook_ids, batches, sets, .. } = facts.cutoffs;
        // Batches before sets, sets before the whole: an occurrence loses them in this order. Requests that were given up are asked for as batches are.
        let into_day = facts.now.as_millis().rem_euclid(MERGE_DAILY.as_millis());
        let kinds = [
            Some(Prune::Chunks),
            Some(Prune::ApiAnswers(facts.now - ANSWERS_KEPT)),
            Some(Prune::Merge(facts.now - Span::from_millis(into_day))),
        ];
        let kinds = kinds.into_iter().chain([
            webhook_ids.map(Prune::WebhookIds),
            batches.map(Prune::Outbox),
            batches.map(Prune::Batches),
            sets.map(Prune::Sets),
            sets.map(|before| Prune::Steps(before, facts.zone)),
        ]);
        let kinds: Vec<Prune> = kinds.flatten().collect();
        let found = store.prunable(account, &kinds).await?;
        if found.is_none() {
            self.rested = Some(facts.since_boot);
        }
        Ok(found.map_or(Step::Rest, Step::Prune))
    }
}

fn passed(since: Span, span: Span, now: Span) -> bool {
    now.as_millis().saturating_sub(since.as_millis()) >= span.as_millis()
}

impl Engine {
    /// One slice of what can go.
    pub(super) async fn prune(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let settings = self.config().map(|config| (config.retention, config.policy.zone));
        let Some((retention, zone)) = settings else { return Ok(()) };
        if self.deps.mode != Mode::Daemon || self.draining || self.clock_behind(clock.now) {
            return Ok(());
        }
        self.note_leap().await?;
        let seen = clock.now - self.lookback.sends;
        if seen - self.state.sends.since() >= LOOK_AGAIN {
            self.state.sends_mut().forget_before(seen);
        }
        let facts = Facts {
            folded: self.state.row.folded_seq,
            checkpoint: self.checkpointing.complete(),
            cutoffs: retention.cutoffs(&self.lookback, self.state.row.grace_from, clock.now),
            zone,
            now: clock.now,
            since_boot: clock.boot.since_boot,
        };
        match self.pruner.next(self.deps.store.as_ref(), self.account, &facts).await? {
            Step::Rest => return Ok(()),
            Step::GoOn => {}
            Step::Prune(prune) => {
                let turnstile = self.deps.turnstile.clone();
                let _slice = turnstile.slice().await;
                self.commit(Priority::Fold, vec![Write::Prune(prune)]).await?;
            }
            Step::Swept(events_before) => self.state.index_mut().drop_old_events(events_before),
        }
        // There may be more: come back at once, after whoever else waits.
        let _ = self.events.try_send(super::Event::Nudge);
        Ok(())
    }
}
