//! Webhooks handed on: off the path of acknowledgement, at least once, oldest first, for a day at the longest.
//!
//! What waits is in the database; what is under way and how it goes is remembered here only. A start begins with the
//! oldest again, and may hand on once more what was answered just before.

use std::collections::BTreeSet;

use crate::domain::time::{Instant, Span};
use crate::line::relay::Passed;
use crate::sender::back_off::back_off;
use crate::store::{Priority, RelayRow, StoreError, Waiting, Write};

use super::{Engine, Event, Mode};

/// Requests at once.
const PARALLEL: usize = 16;
/// Rows looked at together: while some fail again and again, others go past them.
const WINDOW: u32 = 64;
/// Rows let go in one transaction.
const DROPPED_A_SLICE: u32 = 500;
/// How often what waits is counted.
const COUNT_AGAIN: Span = Span::from_secs(10);
/// Nobody can use an older one.
const OLDEST: Span = Span::from_hours(24);
/// More do not wait; the oldest give way.
pub const ROWS_MAX: u64 = 100_000;

/// What is known of an account's relay.
#[derive(Debug, Default)]
pub(super) struct Desk {
    under_way: BTreeSet<i64>,
    /// Done with, and still in the database.
    gone: BTreeSet<i64>,
    /// Attempts that failed since one last did not.
    failures: u32,
    /// Since boot, when the first of them did.
    failing_since: Option<Span>,
    /// Since boot, when it is tried again.
    not_before: Option<Span>,
    waiting: Waiting,
    /// Since boot, when they were counted.
    counted_at: Option<Span>,
}

impl Desk {
    /// Nothing is on its way whose answer could still be heard.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// What waits must be counted anew: another configuration may want it or not.
    pub(super) fn count_anew(&mut self) {
        self.counted_at = None;
    }

    fn hear(&mut self, row: i64, passed: &Passed, jitter: f64, now: Span) {
        self.under_way.remove(&row);
        let Passed::Failed { .. } = passed else {
            self.gone.insert(row);
            (self.failures, self.failing_since, self.not_before) = (0, None, None);
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(now);
        let failing_for = Span::from_millis(now.as_millis() - since.as_millis());
        let wait = back_off(self.failures, failing_for, jitter);
        self.not_before = Some(Span::from_millis(now.as_millis() + wait.as_millis()));
    }

    /// Which of the oldest rows leave now. After a failure one at a time, another each time: one that always fails holds
    /// up none.
    fn choose(&self, rows: Vec<RelayRow>, now: Span) -> Vec<RelayRow> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return Vec::new();
        }
        let here = |row: &RelayRow| self.under_way.contains(&row.id) || self.gone.contains(&row.id);
        let mut rows: Vec<RelayRow> = rows.into_iter().filter(|row| !here(row)).collect();
        if self.failures == 0 {
            rows.truncate(PARALLEL.saturating_sub(self.under_way.len()));
            return rows;
        }
        if rows.is_empty() || !self.under_way.is_empty() {
            return Vec::new();
        }
        let n = self.failures as usize % rows.len();
        vec![rows.swap_remove(n)]
    }
}

impl Engine {
    /// Hears what became of one.
    pub(super) fn hear_relayed(&mut self, row: i64, passed: &Passed) {
        use rand::Rng as _;
        let now = self.deps.clock.read().boot.since_boot;
        let failed_before = self.relay.failures > 0;
        let jitter = self.rng.random::<f64>();
        self.relay.hear(row, passed, jitter, now);
        let result = match passed {
            Passed::Taken => "done",
            Passed::Refused { status } => {
                tracing::warn!(account = %self.slug, status, "a webhook was refused by the relay and is not handed on again");
                "refused"
            }
            Passed::Failed { why } => {
                if !failed_before {
                    tracing::warn!(account = %self.slug, reason = %why, "webhooks cannot be handed on; they are tried again");
                }
                "failed"
            }
        };
        self.count_relayed(result, 1);
    }

    /// Hands on what waits, and lets go what need not wait any more.
    pub(super) async fn relay(&mut self) -> Result<(), StoreError> {
        if self.deps.mode != Mode::Daemon {
            return Ok(());
        }
        let clock = self.deps.clock.read();
        if !self.draining {
            let url = self.config().and_then(|config| config.relay.as_ref()).map(|relay| relay.url.clone());
            self.count_relay(url.is_some(), clock.boot.since_boot).await?;
            self.drop_relays(url.is_some(), clock.now).await?;
            if let Some(url) = url {
                self.pass_on(&url, clock.boot.since_boot).await?;
            }
        }
        if self.relay.gone.is_empty() {
            return Ok(());
        }
        let gone: Vec<i64> = self.relay.gone.iter().copied().collect();
        self.commit(Priority::Fold, vec![Write::Relayed(gone)]).await?;
        self.relay.gone.clear();
        Ok(())
    }

    async fn count_relay(&mut self, wanted: bool, since_boot: Span) -> Result<(), StoreError> {
        let again = self
            .relay
            .counted_at
            .is_some_and(|at| since_boot.as_millis() - at.as_millis() < COUNT_AGAIN.as_millis());
        // Where nothing is handed on, nothing comes.
        if again || (!wanted && self.relay.counted_at.is_some() && self.relay.waiting.rows == 0) {
            return Ok(());
        }
        self.relay.waiting = self.deps.store.relay_waiting(self.account).await?;
        self.relay.counted_at = Some(since_boot);
        if wanted {
            self.gauge_relay(self.relay.waiting);
        }
        Ok(())
    }

    /// One slice of what is too old, too much, or not wanted any more.
    async fn drop_relays(&mut self, wanted: bool, now: Instant) -> Result<(), StoreError> {
        let Waiting { rows, oldest } = self.relay.waiting;
        let most = if wanted { ROWS_MAX } else { 0 };
        let too_old = oldest.is_some_and(|oldest| now - oldest > OLDEST);
        if rows <= most && !too_old {
            return Ok(());
        }
        let read = self.deps.store.relays(self.account, DROPPED_A_SLICE).await?;
        let surplus = usize::try_from(rows.saturating_sub(most)).unwrap_or(usize::MAX);
        let goes = |(n, row): &(usize, RelayRow)| *n < surplus || now - row.received_at > OLDEST;
        let dropped: Vec<i64> = read
            .into_iter()
            .enumerate()
            .filter(goes)
            .map(|(_, row)| row.id)
            .filter(|id| !self.relay.gone.contains(id))
            .collect();
        if !dropped.is_empty() {
            let rows = dropped.len();
            tracing::warn!(account = %self.slug, rows, "webhooks were not handed on in time and are dropped");
            self.count_relayed("dropped", rows as u64);
        }
        self.relay.gone.extend(dropped);
        // There may be more of them.
        self.relay.count_anew();
        let _ = self.events.try_send(Event::Nudge);
        Ok(())
    }

    async fn pass_on(&mut self, url: &str, since_boot: Span) -> Result<(), StoreError> {
        if self.relay.under_way.len() >= PARALLEL || self.relay.not_before.is_some_and(|at| since_boot < at) {
            return Ok(());
        }
        let rows = self.deps.store.relays(self.account, WINDOW).await?;
        for row in self.relay.choose(rows, since_boot) {
            self.relay.under_way.insert(row.id);
            let (relay, events, url) = (self.deps.relay.clone(), self.events.clone(), url.to_owned());
            self.attempts.spawn(async move {
                let passed = relay.pass_on(&url, &row.signature, row.body).await;
                // An engine that has ended finds the row again.
                let _ = events.send(Event::Relayed { row: row.id, passed }).await;
            });
        }
        Ok(())
    }

    /// When a failed one is tried again.
    pub(super) fn next_relay(&self, since_boot: Span) -> Option<Span> {
        let at = self.relay.not_before?;
        (since_boot < at).then(|| Span::from_millis(at.as_millis() - since_boot.as_millis()))
    }
}
