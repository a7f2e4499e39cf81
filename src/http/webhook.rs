//! `POST /webhook/{account}`: LINE's webhooks, acknowledged once they are durable.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use crate::telemetry::metric;

/// LINE's webhooks are far smaller; a longer body is none of LINE's.
const BODY_MAX: usize = 1 << 20;

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is on the disk, or said nothing.
    Durable,
    /// There is no such account here.
    NoAccount,
    /// The signature is missing or wrong: nothing of the body was looked at.
    Forged,
    /// It is signed and yet no webhook.
    Malformed,
    /// It could not be made durable: LINE may send it again.
    Unavailable,
}

impl Taken {
    /// The word in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::NoAccount => "no_account",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::Unavailable => "unavailable",
        }
    }

    fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::Durable => (StatusCode::OK, "{}\n"),
            Self::NoAccount => (StatusCode::NOT_FOUND, "no such account\n"),
            Self::Forged => (StatusCode::UNAUTHORIZED, "the signature does not fit\n"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "not a webhook\n"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "not stored; send it again\n"),
        }
    }
}

/// Who takes webhooks.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Takes one in; the answer is given once it is durable.
    async fn take(&self, account: &str, signature: &str, body: Bytes) -> Taken;
}

/// The route.
pub fn webhooks(webhooks: Arc<dyn Webhooks>) -> Router {
    Router::new()
        .route("/webhook/{account}", post(take))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(webhooks)
}

async fn take(
    State(webhooks): State<Arc<dyn Webhooks>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signature = headers.get("x-line-signature").and_then(|value| value.to_str().ok());
    let signature = signature.unwrap_or_default().to_owned();
    // A client that hangs up must not take a write back that has begun.
    let taking = tokio::spawn(async move { webhooks.take(&account, &signature, body).await });
    let taken = taking.await.unwrap_or(Taken::Unavailable);
    metrics::counter!(metric::WEBHOOKS, "result" => taken.as_str()).increment(1);
    taken.status().into_response()
}
