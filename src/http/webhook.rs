//! `POST /webhook/{account}`: LINE's webhooks, acknowledged once they are durable.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::telemetry::metric;

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is on the disk, or says nothing.
    Accepted,
    /// There is no such account here.
    Stranger,
    /// The signature is missing or wrong: nothing of the body was looked at.
    Forged,
    /// It is signed and yet no webhook.
    Malformed,
    /// The body is longer than any of LINE's, or holds more events.
    TooLarge,
    /// It could not be made durable in time: LINE may send it again.
    Unavailable,
}

impl Taken {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Stranger => "stranger",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
        }
    }

    /// Who cannot sign does not learn which accounts there are.
    fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::Accepted => (StatusCode::OK, "ok\n"),
            Self::Stranger | Self::Forged => (StatusCode::UNAUTHORIZED, "the signature does not fit\n"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "not a webhook\n"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too large\n"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "not stored; send it again\n"),
        }
    }
}

/// Who takes webhooks.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Takes one in; the answer is given once it is durable.
    async fn take(&self, account: &str, signature: &[u8], body: Bytes) -> Taken;
}

/// The route.
pub fn webhooks(webhooks: Arc<dyn Webhooks>) -> Router {
    Router::new().route("/webhook/{account}", post(take)).with_state(webhooks)
}

async fn take(
    State(webhooks): State<Arc<dyn Webhooks>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let signature = headers.get("x-line-signature").map_or(&b""[..], |value| value.as_bytes());
    let (known, taken) = match body {
        Ok(body) => {
            let taken = webhooks.take(&account, signature, body).await;
            (taken != Taken::Stranger, taken)
        }
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => (false, Taken::TooLarge),
        Err(_) => (false, Taken::Malformed),
    };
    // Anybody can make names up; they make no time series.
    let account = if known { account } else { String::new() };
    metrics::counter!(metric::WEBHOOKS, "account" => account, "result" => taken.as_str()).increment(1);
    taken.status().into_response()
}
