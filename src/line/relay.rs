//! Webhooks handed on to one further system, byte for byte as LINE sent them: it can check LINE's signature itself.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Url};

use super::http::{BuildError, client};

const SIGNATURE: HeaderName = HeaderName::from_static("x-line-signature");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// LINE itself waits 2 s for an answer; a relay may take its time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What became of one webhook handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// The other side has it.
    Taken,
    /// The other side does not want this body, however often it comes.
    Refused {
        /// Its status.
        status: u16,
    },
    /// It may have it or not: to be tried again.
    Failed {
        /// What happened, without the address, which may hold a secret.
        why: String,
    },
}

impl Passed {
    /// What an answer means. A system that is away, being changed or busy answers with any other status than these.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            400 | 410 | 413 | 415 | 422 => Self::Refused { status },
            _ => Self::Failed { why: format!("status {status}") },
        }
    }
}

/// The way to systems behind relays.
#[async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Hands one webhook on.
    async fn pass_on(&self, url: &str, signature: &str, body: String) -> Passed;
}

/// Over HTTP/1.1 with keep-alive, without following redirects.
pub struct HttpRelay {
    outside: Client,
    /// Without the environment's proxy.
    here: Client,
}

impl HttpRelay {
    /// A client for any address.
    ///
    /// # Errors
    /// The TLS or HTTP library refuses to start.
    pub fn new() -> Result<Self, BuildError> {
        Ok(Self { outside: client(false, TIMEOUT)?, here: client(true, TIMEOUT)? })
    }
}

#[async_trait]
impl Relay for HttpRelay {
    async fn pass_on(&self, url: &str, signature: &str, body: String) -> Passed {
        let Ok(url) = Url::parse(url) else { return Passed::Failed { why: "the URL cannot be read".into() } };
        let client = if super::http::host_is_loopback(&url) { &self.here } else { &self.outside };
        let request = client.post(url).header(CONTENT_TYPE, JSON).header(SIGNATURE, signature).body(body);
        match request.send().await {
            Ok(answer) => Passed::of_status(answer.status().as_u16()),
            Err(error) => Passed::Failed { why: error.without_url().to_string() },
        }
    }
}
