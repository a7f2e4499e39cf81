//! An occurrence's next state: what makes it durable, and memory with it, in one step.

use crate::domain::delivery::OccurrenceState;
use crate::domain::reason::Reason;
use crate::domain::time::Instant;
use crate::store::{Part, Write};

use super::Run;
use super::ended::Guards;

impl Run {
    /// Moves on. Memory changes at once: what is given must be committed, or the run be read anew.
    #[must_use = "a state that is not written is forgotten by the next start"]
    pub fn moves(&mut self, to: OccurrenceState, reason: Option<Reason>) -> Write {
        self.moved(to, reason, None)
    }

    /// Goes on after a stop, as a part whose deliveries count from `at`.
    #[must_use = "a state that is not written is forgotten by the next start"]
    pub fn goes_on(&mut self, at: Instant) -> Vec<Write> {
        let mut writes = Vec::new();
        if self.row.state != OccurrenceState::Sending {
            writes.push(self.moves(OccurrenceState::Sending, None));
        }
        let part = Part { from_batch: self.mark, effective_at: at };
        self.row.parts.retain(|other| other.effective_at < part.effective_at);
        self.row.parts.push(part);
        writes.push(Write::Part { occurrence: self.row.id, part });
        self.guards = Guards::default();
        writes
    }

    /// Ends, once every delivery has its outcome. Only a cancelled one still needs a reason.
    #[must_use = "a state that is not written is forgotten by the next start"]
    pub fn ends(&mut self, at: Instant) -> Vec<Write> {
        let (to, reason) = match self.row.state {
            OccurrenceState::Cancelled => (OccurrenceState::Cancelled, self.row.reason.clone()),
            _ => (OccurrenceState::Finished, None),
        };
        let sets = Write::Deliveries { occurrence: self.row.id, sets: self.deliveries() };
        vec![sets, self.moved(to, reason, Some(at))]
    }

    fn moved(&mut self, to: OccurrenceState, reason: Option<Reason>, finished_at: Option<Instant>) -> Write {
        let from = std::mem::replace(&mut self.row.state, to);
        self.row.reason.clone_from(&reason);
        self.row.finished_at = finished_at;
        Write::OccurrenceState { occurrence: self.row.id, from, to, reason, finished_at }
    }
}
