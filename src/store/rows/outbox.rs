//! What is to be told to others besides messages.

use crate::domain::time::Instant;

/// A request to be made, written in the transaction that decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Its number in the account, given by the owner.
    pub id: i64,
    /// To whom it goes.
    pub kind: OutboxKind,
    /// What the request is made of.
    pub payload: serde_json::Value,
    /// When it was decided.
    pub created_at: Instant,
    /// It is not tried before.
    pub not_before: Instant,
    /// How often it was tried.
    pub attempts: u32,
    /// How it ended; none while it is to be tried.
    pub ended: Option<OutboxEnd>,
}

/// To whom a row of the outbox goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboxKind {
    /// LINE: a rich menu is linked to friends or unlinked.
    RichMenu,
    /// The shop's system.
    Webhook,
}

impl OutboxKind {
    const ALL: [OutboxKind; 2] = [Self::RichMenu, Self::Webhook];

    /// The word in SQL, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RichMenu => "rich_menu",
            Self::Webhook => "webhook",
        }
    }

    /// The kind a word of the database names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// How a row of the outbox ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEnd {
    /// When.
    pub at: Instant,
    /// How.
    pub how: OutboxEnding,
    /// The other side's words, or ours.
    pub detail: Option<String>,
}

/// What became of a row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutboxEnding {
    /// The other side took it.
    Done,
    /// It refused for good, or for too long.
    GaveUp,
}

impl OutboxEnding {
    /// The word in SQL, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::GaveUp => "gave_up",
        }
    }
}
