//! What one attempt at a send came to, and what that proves.

use reqwest::header::HeaderMap;

use crate::domain::time::Span;

/// Longest error text kept from an answer, in characters: enough for every text LINE is known to use.
const MAX_MESSAGE: usize = 500;
/// Longest request id kept: LINE's are UUIDs.
const MAX_REQUEST_ID: usize = 128;
/// Longest wait an answer may ask for; a longer one is taken as this.
const MAX_RETRY_AFTER_SECS: i64 = 3_600;

/// One request and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What LINE said, or how it failed to say anything.
    pub answer: Answer,
    /// `x-line-request-id` of this very request, where an answer came.
    pub request_id: Option<String>,
    /// `retry-after` in seconds, should LINE ever send it; at most an hour.
    pub retry_after: Option<Span>,
}

/// What LINE said to one multicast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx: LINE took the request.
    Accepted,
    /// 409 with `x-line-accepted-request-id`: an earlier request under this key was taken.
    AlreadyAccepted {
        /// The request id of the one that was taken.
        accepted_request_id: String,
    },
    /// 409 without that header: about this batch it says nothing.
    RetryKeyConflictWithoutId,
    /// 400: nobody got anything from this request.
    BadRequest {
        /// LINE's text, cut to 500 characters, without control characters; may be empty.
        message: String,
        /// What is wrong with it.
        blame: Blame,
    },
    /// 401: the token is not valid.
    Unauthorized,
    /// 401 for an issued token that had worked before: it has expired, and the next attempt issues another.
    StaleToken,
    /// 403: the account or its plan may not.
    Forbidden,
    /// 429: a rate, or the monthly limit. Only quota and consumption tell which.
    TooManyRequests {
        /// What the text suggests.
        hint: LimitHint,
    },
    /// 413: the body is over LINE's 2 MB.
    PayloadTooLarge,
    /// Any other 4xx of LINE's: refused.
    OtherRefusal(u16),
    /// 5xx: LINE may or may not have taken it.
    ServerError(u16),
    /// A status LINE does not use (1xx, 3xx, 408, 425, above 599): some machine between answered.
    Unexpected(u16),
    /// No answer in time.
    Timeout,
    /// The connection ended after something may have been written, before an answer.
    ConnectionLost,
    /// No connection was made, or no token to be had: surely nothing left this machine.
    NeverSent,
}

/// What of a request that LINE answered with 400 is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The recipient at this index of `to`, which LINE's text names.
    Recipient(usize),
    /// A recipient, but LINE does not say which: it would take the messages.
    SomeRecipient,
    /// The messages.
    Messages,
    /// LINE does not say, and was not asked, or did not answer.
    Untold,
}

/// What the text of a 429 suggests. The texts are no contract: ask quota and consumption before believing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitHint {
    /// It speaks of the rate.
    Rate,
    /// It speaks of the month.
    Monthly,
    /// It speaks of neither.
    Unclear,
}

/// What all attempts before this one prove about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Each was definitely refused or never left this machine (or there was none).
    SurelyNotSent,
    /// At least one may have been taken: a timeout, a 5xx, a lost connection, a crash with the stride open.
    PossiblySent,
}

/// What an attempt means for its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// LINE has it.
    Accepted,
    /// LINE refused it, and no earlier attempt can have delivered it.
    Rejected,
    /// LINE refused this attempt, but an earlier one may have delivered: never resend, never re-batch.
    Unknown,
    /// Nothing is settled: the batch stays open under its own key.
    Open,
}

impl Answer {
    /// What this answer settles, given what came before it under the same key.
    pub fn settles(&self, history: History) -> Settlement {
        match self {
            Self::Accepted | Self::AlreadyAccepted { .. } => Settlement::Accepted,
            Self::BadRequest { .. } | Self::Forbidden | Self::PayloadTooLarge | Self::OtherRefusal(_) => {
                match history {
                    History::SurelyNotSent => Settlement::Rejected,
                    History::PossiblySent => Settlement::Unknown,
                }
            }
            Self::RetryKeyConflictWithoutId
            | Self::Unauthorized
            | Self::StaleToken
            | Self::TooManyRequests { .. }
            | Self::ServerError(_)
            | Self::Unexpected(_)
            | Self::Timeout
            | Self::ConnectionLost
            | Self::NeverSent => Settlement::Open,
        }
    }

    /// Whether LINE may have delivered because of this attempt although it did not say so.
    pub fn may_have_been_taken(&self) -> bool {
        matches!(
            self,
            Self::RetryKeyConflictWithoutId
                | Self::ServerError(_)
                | Self::Unexpected(_)
                | Self::Timeout
                | Self::ConnectionLost
        )
    }

    /// Every word of [`Answer::as_str`].
    pub const WORDS: &[&'static str] = &[
        "accepted",
        "already_accepted",
        "conflict_without_id",
        "bad_request",
        "unauthorized",
        "stale_token",
        "forbidden",
        "too_many_requests",
        "payload_too_large",
        "other_refusal",
        "server_error",
        "unexpected_status",
        "timeout",
        "connection_lost",
        "never_sent",
    ];

    /// The word in logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AlreadyAccepted { .. } => "already_accepted",
            Self::RetryKeyConflictWithoutId => "conflict_without_id",
            Self::BadRequest { .. } => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::StaleToken => "stale_token",
            Self::Forbidden => "forbidden",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::PayloadTooLarge => "payload_too_large",
            Self::OtherRefusal(_) => "other_refusal",
            Self::ServerError(_) => "server_error",
            Self::Unexpected(_) => "unexpected_status",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::NeverSent => "never_sent",
        }
    }
}

impl History {
    /// What is known after one more attempt.
    pub fn after(self, answer: &Answer) -> Self {
        if answer.may_have_been_taken() { Self::PossiblySent } else { self }
    }
}

impl Attempt {
    /// An attempt that brought no answer.
    pub fn unanswered(answer: Answer) -> Self {
        Self { answer, request_id: None, retry_after: None }
    }

    /// Reads an answer to a multicast. The status decides; the body only adds words, so a malformed or cut one
    /// changes nothing but them.
    pub fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        Self {
            answer: classify(status, headers, body),
            request_id: id_header(headers, "x-line-request-id"),
            retry_after: retry_after(headers),
        }
    }

    /// Where LINE refused the request and said nothing of what is wrong with it.
    pub fn untold(&mut self) -> Option<&mut Blame> {
        match &mut self.answer {
            Answer::BadRequest { blame, .. } if *blame == Blame::Untold => Some(blame),
            _ => None,
        }
    }

    /// The request id to keep with an accepted batch: that of the request LINE took.
    pub fn accepted_request_id(&self) -> Option<&str> {
        match &self.answer {
            Answer::Accepted => self.request_id.as_deref(),
            Answer::AlreadyAccepted { accepted_request_id } => Some(accepted_request_id),
            _ => None,
        }
    }
}

fn classify(status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    match status {
        200..=299 => Answer::Accepted,
        400 => {
            let error = ErrorText::read(body);
            let blame = error.invalid_recipient().map_or(Blame::Untold, Blame::Recipient);
            Answer::BadRequest { blame, message: error.message }
        }
        401 => Answer::Unauthorized,
        403 => Answer::Forbidden,
        409 => match id_header(headers, "x-line-accepted-request-id") {
            Some(accepted_request_id) => Answer::AlreadyAccepted { accepted_request_id },
            None => Answer::RetryKeyConflictWithoutId,
        },
        413 => Answer::PayloadTooLarge,
        429 => Answer::TooManyRequests { hint: limit_hint(&ErrorText::read(body).message) },
        // A gateway's way of saying that it gave up waiting, or would rather not yet: not LINE's refusal.
        408 | 425 => Answer::Unexpected(status),
        402..=499 => Answer::OtherRefusal(status),
        500..=599 => Answer::ServerError(status),
        _ => Answer::Unexpected(status),
    }
}

/// The readable part of an error body.
#[derive(Debug, Default)]
pub(super) struct ErrorText {
    /// `message`, cleaned and cut.
    pub(super) message: String,
    /// `details[]` as (property, message), cleaned and cut.
    pub(super) details: Vec<(String, String)>,
}

impl ErrorText {
    /// Takes what it finds; what is missing, of another type or no JSON at all is empty.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else { return Self::default() };
        let text = |value: Option<&serde_json::Value>| {
            clean(value.and_then(serde_json::Value::as_str).unwrap_or_default())
        };
        let details = json.get("details").and_then(serde_json::Value::as_array);
        let details = details.map_or(&[][..], Vec::as_slice).iter().take(20);
        Self {
            // The token endpoint says `error_description` instead.
            message: text(json.get("message").or_else(|| json.get("error_description"))),
            details: details.map(|d| (text(d.get("property")), text(d.get("message")))).collect(),
        }
    }

    fn invalid_recipient(&self) -> Option<usize> {
        invalid_recipient(&self.message)
            .or_else(|| self.details.iter().find_map(|(property, _)| invalid_recipient(property)))
    }
}

/// One line of at most [`MAX_MESSAGE`] characters: it ends up in logs and on terminals.
pub(super) fn clean(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The `N` of the first `to[N]` that is a property of the request itself, not the end of another word or path.
fn invalid_recipient(text: &str) -> Option<usize> {
    text.match_indices("to[").find_map(|(at, found)| {
        let (before, after) = (text.get(..at)?, text.get(at + found.len()..)?);
        if before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ']')) {
            return None;
        }
        let (digits, _) = after.split_once(']')?;
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|n| all_digits && *n < super::MAX_RECIPIENTS)
    })
}

fn limit_hint(message: &str) -> LimitHint {
    let message = message.to_ascii_lowercase();
    if message.contains("monthly") {
        LimitHint::Monthly
    } else if message.contains("rate limit") {
        LimitHint::Rate
    } else {
        LimitHint::Unclear
    }
}

/// A header that holds an id: short and printable, or it is as good as missing.
fn id_header(headers: &HeaderMap, name: &str) -> Option<String> {
    let id = headers.get(name)?.to_str().ok()?.trim();
    let fits = !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

fn retry_after(headers: &HeaderMap) -> Option<Span> {
    let seconds: u32 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Some(Span::from_secs(i64::from(seconds).min(MAX_RETRY_AFTER_SECS)))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
