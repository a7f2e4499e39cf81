//! Appends to the inbox that wait to be committed together.

use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::StoreError;
use super::codec::{InboxCells, RelayCells};

/// What both adapters were doing when it failed.
pub(super) const APPEND: &str = "append to the inbox";

/// A group ends at so many bytes: the time a commit takes stays within what its first caller would wait anyway.
const GROUP_BYTES: usize = 4 << 20;

/// Rows that become durable together.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) inbox: Vec<InboxCells>,
    /// Webhooks to be handed on.
    pub(super) relays: Vec<RelayCells>,
}

impl Rows {
    fn bytes(&self) -> usize {
        let inbox = self.inbox.iter().map(|row| row.3.len());
        inbox.chain(self.relays.iter().map(|relay| relay.3.len())).sum()
    }
}

/// Rows and whoever waits for their durability.
pub(super) struct Append {
    pub(super) rows: Rows,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
    /// Since when they wait.
    pub(super) since: Instant,
}

impl Append {
    /// Rows that begin to wait now, and the way to learn what became of them.
    pub(super) fn new(rows: Rows) -> (Self, oneshot::Receiver<Result<(), StoreError>>) {
        let (done, answer) = oneshot::channel();
        (Self { rows, done, since: Instant::now() }, answer)
    }

    /// A caller that went away does not undo what is committed.
    pub(super) fn answer(self, result: Result<(), StoreError>) {
        let _ = self.done.send(result);
    }
}

/// The oldest appends, at least one if there is one, up to the bytes of a group.
pub(super) fn take_group(waiting: &mut VecDeque<Append>) -> Vec<Append> {
    let mut bytes = 0;
    let mut group = Vec::new();
    while bytes < GROUP_BYTES {
        let Some(append) = waiting.pop_front() else { break };
        bytes += append.rows.bytes();
        group.push(append);
    }
    group
}

/// All rows of a group.
pub(super) fn rows(group: &[Append]) -> Rows {
    Rows {
        inbox: group.iter().flat_map(|append| append.rows.inbox.iter().cloned()).collect(),
        relays: group.iter().flat_map(|append| append.rows.relays.iter().cloned()).collect(),
    }
}

/// The same bad news for each of the group.
pub(super) fn share(error: &StoreError, group: Vec<Append>) {
    for append in group {
        let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let source = sqlx::Error::Protocol(why);
        append.answer(Err(match error {
            StoreError::Lost { .. } => StoreError::Lost { operation: APPEND, source },
            _ => StoreError::Failed { operation: APPEND, source },
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_ends_at_its_bytes() {
        let big = || {
            let row = InboxCells(1, 0, "import".into(), "x".repeat(GROUP_BYTES / 2));
            Append::new(Rows { inbox: vec![row], ..Rows::default() }).0
        };
        let mut waiting = VecDeque::from([big(), big(), big()]);
        assert_eq!(take_group(&mut waiting).len(), 2);
        assert_eq!(take_group(&mut waiting).len(), 1);
        assert!(take_group(&mut waiting).is_empty());
    }
}
