//! A database or a clock that went back in time: the account stands still until a person has looked, or time has
//! caught up.

use crate::clock::{CLOCK_BEHIND, Reading};
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::AccountId;
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::store::{Halt, Priority, Store, StoreError, Write};

use super::ticket::Ticket;
use super::words::{GUARD, Subject};
use super::{Engine, quota};

/// While the clock is behind, it is said again this often.
const TELL_AGAIN: Span = Span::from_mins(1);

/// A wall clock that ran ahead by more than this has leapt, or nobody was here for so long.
const LEAP: Span = Span::from_days(2);

/// Watches for a wall clock that leaps ahead: right or wrong, what seems old by it may be young.
#[derive(Debug)]
pub(super) struct Leaps {
    last: Reading,
    /// By how much it leapt, until somebody has dealt with it.
    pub(super) leapt: Option<Span>,
}

impl Leaps {
    /// Begins at a claim, with the latest instant the database had seen before it.
    pub(super) fn since(seen_at: Option<Instant>, clock: &Reading) -> Self {
        let ahead = seen_at.map(|seen| clock.now - seen);
        Self { last: clock.clone(), leapt: ahead.filter(|ahead| *ahead > LEAP) }
    }

    /// Within one process, so within one boot.
    fn watch(&mut self, clock: &Reading) {
        let last = std::mem::replace(&mut self.last, clock.clone());
        let passed = clock.boot.since_boot.as_millis().saturating_sub(last.boot.since_boot.as_millis());
        let ahead = Span::from_millis((clock.now - last.now).as_millis().saturating_sub(passed));
        if ahead > LEAP {
            self.leapt = Some(ahead);
        }
    }
}

/// Before a claim: a database whose number is below one that this machine knows to have landed went back in time, and
/// the ticket says so from now on. Claims advance the number, and some of them may fail or be killed before anything is
/// held, until it stood above what is known.
pub(super) async fn look(
    store: &dyn Store,
    account: AccountId,
    ticket: &Ticket,
    committed: Option<i64>,
) -> Result<(), StoreError> {
    let found = store.lease(account).await?.map_or(0, |lease| lease.seq);
    if ticket.read().max(committed).is_some_and(|known| found < known)
        && let Err(error) = ticket.write(i64::MAX)
    {
        tracing::error!(%error, "the state directory cannot be written");
    }
    Ok(())
}

impl Engine {
    /// A database behind the ticket, or behind what this process saw committed, went back in time: the account stands
    /// still until a person has looked, and what was open then is held. It may have gone out since, so that no start
    /// lets it go together with the rest. Only right after a claim, before which somebody has had a [`look`].
    pub(super) async fn check_history(&mut self) -> Result<(), StoreError> {
        let behind = self.ticket.read().max(self.committed).is_some_and(|seq| self.fence.seq <= seq);
        // What it forgets was told to a person already, by this process or by whoever restored it: told again.
        let known =
            self.state.row.stopped.as_ref().map(|halt| &halt.reason).filter(|reason| reason.forgets());
        let reason = known.cloned().unwrap_or(Reason::DatabaseWentBack);
        if behind || known.is_some() {
            let text = self.words(Lang::En).reason(&reason, Subject::Account);
            tracing::error!(account = %self.slug, reason = text, "held");
        }
        if !behind || known.is_some() {
            self.committed = Some(self.fence.seq);
            // What is open goes on without another commit, and whoever committed it may have died before the ticket.
            self.write_ticket();
            return Ok(());
        }
        let at = self.deps.clock.now();
        let open = self.state.runs.values_mut().filter(|run| run.row.state.is_open());
        let mut writes: Vec<Write> =
            open.map(|run| run.moves(OccurrenceState::Held, Some(reason.clone()))).collect();
        let halt = Halt { at, by: GUARD.into(), reason };
        writes.push(Write::Stopped(Some(halt.clone())));
        self.commit(Priority::Freeze, writes).await?;
        self.state.row.stopped = Some(halt);
        // Only now: until all of it is held, every claim finds the database behind.
        self.write_ticket();
        Ok(())
    }

    /// The number of the last transaction, durable beside the database.
    pub(super) fn write_ticket(&self) {
        if let Err(error) = self.ticket.write(self.fence.seq) {
            tracing::error!(
                account = %self.slug, %error,
                "the state directory cannot be written: a database that goes back in time would not be noticed"
            );
        }
    }

    /// Whether the wall clock is behind what this account has already seen.
    pub(super) fn clock_behind(&self, now: Instant) -> bool {
        self.state.seen_at - now > CLOCK_BEHIND
    }

    /// Says loudly that the clock is behind: at once, and every minute for as long as it is.
    pub(super) fn watch_clock(&mut self) {
        let clock = self.deps.clock.read();
        self.leaps.watch(&clock);
        let since = clock.boot.since_boot;
        if !self.clock_behind(clock.now) {
            if self.told_behind.take().is_some() {
                tracing::warn!(account = %self.slug, now = %clock.now, "the clock is not behind any more");
            }
            return;
        }
        let told =
            self.told_behind.is_some_and(|at| since.as_millis() - at.as_millis() < TELL_AGAIN.as_millis());
        if !told {
            self.told_behind = Some(since);
            let reason = self.words(Lang::En).clock_behind(clock.now, self.state.seen_at);
            tracing::error!(account = %self.slug, now = %clock.now, seen = %self.state.seen_at, reason, "clock behind");
        }
    }

    /// A leap is noted before anything that is old by it can go: at a start before the first turn, since the claim has
    /// already moved what was seen last.
    pub(super) async fn note_leap(&mut self) -> Result<(), StoreError> {
        let Some(ahead) = self.leaps.leapt else { return Ok(()) };
        let now = self.deps.clock.now();
        self.commit(Priority::Fold, vec![Write::Grace]).await?;
        self.state.row.grace_from = Some(now);
        self.leaps.leapt = None;
        self.concerns.leapt(Some((now, ahead)));
        tracing::warn!(account = %self.slug, %now, seen = %(now - ahead), "the clock is far ahead of what was seen last: for a day nothing is too old to be kept");
        Ok(())
    }

    /// What memory holds by the clock that was, the truth tells by the one that is.
    pub(super) async fn read_anew_on_this_clock(&mut self) -> Result<(), StoreError> {
        self.resumed.clear();
        self.quota = quota::Desk::default();
        self.reload().await
    }
}
