//! The right to be an account's only writer: committing under it, keeping it, claiming it again, giving it up.

use tokio_util::sync::CancellationToken;

use crate::clock::Reading;
use crate::domain::time::Span;
use crate::sender::bucket::Bucket;
use crate::store::{Claim, Priority, StoreError, Write};

use super::state::State;
use super::{Engine, Event, LEASE, LEASE_MARGIN, Mode, RECLAIM, RENEW, went_back};

impl Engine {
    pub(super) async fn commit(&mut self, priority: Priority, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let now = self.deps.clock.now();
        self.deps.store.commit(&mut self.fence, now, priority, writes).await?;
        self.committed = Some(self.fence.seq);
        self.state.seen_at = self.state.seen_at.max(now);
        Ok(())
    }

    /// Claims again and reads everything anew: after any failed commit, a lost lease, a database that was away.
    pub(super) async fn reload(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let store = self.deps.store.as_ref();
        went_back::look(store, self.account, &self.ticket, self.committed).await?;
        let claim = store.claim(self.account, &self.deps.holder, clock.now, LEASE).await?;
        let Claim::Granted { fence, seen_at } = claim else {
            return Err(StoreError::Fenced { account: self.account.0 });
        };
        self.fence = fence;
        self.state =
            State::load(self.deps.store.as_ref(), self.account, &self.lookback, &clock, seen_at).await?;
        self.forgetting = super::forgetting::Forgetting::default();
        self.checkpointing = super::checkpoint::Checkpointing::since(self.state.checkpoint);
        self.bucket = Bucket::new(self.rate(), clock.boot.since_boot);
        // A commit that failed is no downtime: what falls due in that moment is not missed.
        if self.lease_age(&clock).as_millis() >= LEASE.as_millis() {
            self.up_since = clock.now;
        }
        self.looked_at = clock.now;
        self.leased = clock;
        self.next_due = None;
        self.scheduled = None;
        self.inbox.clear();
        self.outbox.forget();
        self.concerns.look_anew();
        // An answer about the quota may have been lost with the turn, and with it what waited for it.
        self.quota = super::quota::Desk::default();
        self.deferred.clear();
        let _ = self.events.try_send(Event::Nudge);
        self.check_history().await
    }

    pub(super) fn lease_age(&self, clock: &Reading) -> Span {
        clock.age(self.leased.now, &self.leased.boot.boot_id, self.leased.boot.since_boot)
    }

    /// Whether the lease surely still holds for a request about to leave.
    pub(super) fn lease_is_safe(&self, clock: &Reading) -> bool {
        self.lease_age(clock).as_millis() < LEASE.as_millis() - LEASE_MARGIN.as_millis()
    }

    pub(super) async fn renew_if_due(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let age = self.lease_age(&clock);
        if age < RENEW && age >= Span::ZERO {
            return Ok(());
        }
        self.deps.store.renew(&mut self.fence, clock.now, LEASE).await?;
        self.committed = Some(self.fence.seq);
        self.state.seen_at = self.state.seen_at.max(clock.now);
        self.leased = clock;
        Ok(())
    }

    /// After a failure: wait, claim again, reload; for as long as it takes.
    pub(super) async fn recover(&mut self, error: StoreError, stop: &CancellationToken) {
        tracing::error!(account = %self.slug, error = &error as &dyn std::error::Error, "the account reloads from the database");
        while let Err(error) = self.reload().await {
            if stop.is_cancelled() {
                return;
            }
            self.tell_away(&error);
            tracing::warn!(account = %self.slug, error = &error as &dyn std::error::Error, "claiming again in a second");
            self.deps.clock.sleep(RECLAIM).await;
        }
    }

    pub(super) async fn hand_over(&mut self) {
        if self.deps.mode == Mode::Daemon
            && let Err(error) = self.checkpoint_now().await
        {
            tracing::warn!(account = %self.slug, error = &error as &dyn std::error::Error, "no checkpoint was written: the next start is slower");
            return;
        }
        if let Err(error) = self.deps.store.release(&mut self.fence, self.deps.clock.now()).await {
            tracing::warn!(account = %self.slug, error = &error as &dyn std::error::Error, "the lease was not given up and will expire");
        }
    }
}
