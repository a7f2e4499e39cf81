//! Who may use the API, and what it answered.

use crate::domain::access::{Scopes, TokenDigest, TokenId};
use crate::domain::id::AccountId;
use crate::domain::time::{Instant, Span};

/// How long an answer is remembered.
pub const ANSWERS_KEPT: Span = Span::from_hours(24);

/// A token to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The account it is for; all accounts if none.
    pub account: Option<AccountId>,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// What is kept of its secret.
    pub digest: TokenDigest,
    /// Now.
    pub created_at: Instant,
    /// By whose act.
    pub created_by: String,
}

/// A token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number, which its text begins with.
    pub id: TokenId,
    /// What was stored.
    pub token: NewToken,
    /// When and by whom it was revoked.
    pub revoked: Option<(Instant, String)>,
}

/// What a request with an idempotency key is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAnswer {
    /// The account asked.
    pub account: AccountId,
    /// The request's key.
    pub key: String,
    /// SHA-256 over what was asked.
    pub request: [u8; 32],
    /// When.
    pub at: Instant,
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}
