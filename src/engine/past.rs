//! What was sent, however far back somebody asks.

use std::sync::Arc;

use crate::domain::sends::Sends;
use crate::domain::time::Instant;
use crate::store::StoreError;

use super::Engine;
use super::state::load_sends;

impl Engine {
    /// What was sent, as far as rules and caps can ask for it at `now`; read from the ledger where memory does not look
    /// back so far: at an instant long past.
    pub(super) async fn sends_at(&self, now: Instant) -> Result<Arc<Sends>, StoreError> {
        if self.state.sends.covers(&self.lookback, now) {
            return Ok(Arc::clone(&self.state.sends));
        }
        let (store, runs) = (self.deps.store.as_ref(), &self.state.runs);
        let how_far = (&self.lookback, now, self.state.seen_at);
        load_sends(store, self.account, how_far, runs).await.map(Arc::new)
    }

    /// Has in memory what decisions look back at: after another configuration went live, and after the clock was found to
    /// have been ahead.
    pub(super) async fn keep_sends(&mut self) -> Result<(), StoreError> {
        self.state.sends = self.sends_at(self.deps.clock.now()).await?;
        Ok(())
    }
}
