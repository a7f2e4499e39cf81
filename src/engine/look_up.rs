//! Who is meant, asked before anything is acknowledged: whoever takes intakes in can tell its sender at once which of
//! them name no friend. The same code decides as when they are applied.

use tokio::sync::oneshot;

use crate::domain::effect::Intake;
use crate::protocol::Missed;
use crate::store::StoreError;

use super::Engine;
use super::numbering::missed;

/// Asks which of these intakes name no one friend, as of everything acknowledged before the question.
pub struct LookUp {
    /// What would be appended together, in this order.
    pub intakes: Vec<Intake>,
    /// Gives them back, with those that would find nobody.
    pub answer: oneshot::Sender<(Vec<Intake>, Vec<Missed>)>,
}

/// A look-up and how many rows were in the inbox before it.
pub(super) struct Waiting {
    look_up: LookUp,
    rows_ahead: u64,
}

impl Engine {
    /// Lets look-ups wait for the rows that were acknowledged before they came.
    pub(super) async fn hear_look_ups(&mut self, asked: Vec<LookUp>) -> Result<(), StoreError> {
        if asked.is_empty() {
            return Ok(());
        }
        let rows_ahead = self.deps.store.inbox_len(self.account).await?;
        self.look_ups.extend(asked.into_iter().map(|look_up| Waiting { look_up, rows_ahead }));
        Ok(())
    }

    /// Answers those whose turn has come, after so many rows were applied; 0 rows are an empty inbox.
    pub(super) fn answer_look_ups(&mut self, applied: u64) {
        for waiting in &mut self.look_ups {
            let rows_ahead = waiting.rows_ahead.saturating_sub(applied);
            waiting.rows_ahead = if applied == 0 { 0 } else { rows_ahead };
        }
        let index = &self.state.index;
        for Waiting { look_up, .. } in self.look_ups.extract_if(.., |waiting| waiting.rows_ahead == 0) {
            let LookUp { intakes, answer } = look_up;
            let missed = missed(&intakes, index);
            // Whoever went away needs no answer.
            let _ = answer.send((intakes, missed));
        }
    }
}
