//! How to reach an engine, and what may be said to it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{Active, LookUp, outbox};
use crate::concern::Board;
use crate::domain::id::{AccountSlug, OccurrenceId};
use crate::domain::time::Span;
use crate::lang::Lang;
use crate::line::relay::Passed;
use crate::line::{Api, Attempt, CallError, Quota};
use crate::protocol::{Answer, Command, Failure, Reply};
use crate::sender::run::BatchKey;

/// What reaches an engine.
pub enum Event {
    /// Look whether something is due or arrived.
    Nudge,
    /// An attempt ended.
    Attempt {
        /// Whose.
        occurrence: OccurrenceId,
        /// Which batch.
        batch: BatchKey,
        /// What it told.
        attempt: Attempt,
        /// How long it took.
        took: Span,
    },
    /// A webhook was handed on, or not.
    Relayed {
        /// Which row.
        row: i64,
        /// What became of it.
        passed: Passed,
    },
    /// A request of the outbox came back.
    Made(outbox::Made),
    /// LINE's numbers, asked for by this engine.
    Quota(Result<(Quota, u64), CallError>),
    /// Another configuration went live.
    Activated {
        /// It.
        active: Active,
        /// The way to LINE under it; the one there was where absent.
        line: Option<Arc<dyn Api>>,
    },
    /// Somebody asks.
    Ask(Ask),
    /// Somebody asks who is meant.
    LookUp(LookUp),
}

/// A question to an engine.
pub struct Ask {
    /// What.
    pub command: Command,
    /// In which language.
    pub lang: Lang,
    /// Who asks.
    pub by: String,
    /// Long listings go here, bounded.
    pub rows: mpsc::Sender<Reply>,
    /// The answer goes here.
    pub answer: oneshot::Sender<Result<Answer, Failure>>,
}

/// How to reach an engine.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Which account.
    pub account: AccountSlug,
    /// What is so of it, known while it cannot answer, too; none of a command's engine.
    pub board: Option<Arc<Board>>,
    pub(super) events: mpsc::Sender<Event>,
}

impl Handle {
    /// Delivers an event; `false` when the engine has ended.
    pub async fn send(&self, event: Event) -> bool {
        self.events.send(event).await.is_ok()
    }

    /// Nudges without waiting: a full queue is awake anyway.
    pub fn nudge(&self) {
        let _ = self.events.try_send(Event::Nudge);
    }
}
