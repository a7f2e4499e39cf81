//! The channel's access token: a configured one, or stateless ones issued from channel id and secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::api::CallError;
use super::http::{Exchange, exchange};
use crate::clock::Clock;
use crate::domain::time::Span;

/// How a channel proves who it is. Never shown: `Debug` prints no secret.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// A long-lived or otherwise issued token.
    AccessToken(SecretString),
    /// Stateless tokens are issued from these; each lives 15 minutes.
    Channel {
        /// The channel id.
        id: String,
        /// The channel secret.
        secret: SecretString,
    },
}

/// A token in use.
#[derive(Debug)]
pub(super) struct Token {
    header: HeaderValue,
    /// Whether LINE has accepted it at least once: if it is refused later, it has expired.
    proven: AtomicBool,
}

impl Token {
    fn new(token: &str) -> Result<Self, CallError> {
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| CallError::Malformed("the access token has characters no header can hold".into()))?;
        header.set_sensitive(true);
        Ok(Self { header, proven: AtomicBool::new(false) })
    }
    /// The `Authorization` header; marked sensitive, so that nothing prints it.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
    /// LINE accepted it.
    pub(super) fn prove(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }
}

/// Hands out the token to use now. Issues one at a time: those who wait share its result, also a failure.
pub(super) struct Tokens {
    source: Source,
}

enum Source {
    Configured(Arc<Token>),
    Issued(Box<Issuer>),
}

struct Issuer {
    client: reqwest::Client,
    url: reqwest::Url,
    id: String,
    secret: SecretString,
    clock: Arc<dyn Clock>,
    /// How often an issue has ended: tells a waiter whether one ended while it waited.
    rounds: AtomicU64,
    state: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    current: Option<Current>,
    failure: Option<CallError>,
}

struct Current {
    token: Arc<Token>,
    /// On the clock a wall-clock jump cannot move.
    renew_at: Span,
}

impl Tokens {
    pub(super) fn new(
        credentials: Credentials,
        client: reqwest::Client,
        url: reqwest::Url,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CallError> {
        let source = match credentials {
            Credentials::AccessToken(token) => {
                Source::Configured(Arc::new(Token::new(token.expose_secret())?))
            }
            Credentials::Channel { id, secret } => Source::Issued(Box::new(Issuer {
                client,
                url,
                id,
                secret,
                clock,
                rounds: AtomicU64::new(0),
                state: Mutex::default(),
            })),
        };
        Ok(Self { source })
    }

    /// The token to use now.
    pub(super) async fn get(&self) -> Result<Arc<Token>, CallError> {
        match &self.source {
            Source::Configured(token) => Ok(Arc::clone(token)),
            Source::Issued(issuer) => issuer.get().await,
        }
    }

    /// LINE refused this token. True if it was an issued one that had worked: it is dropped, the next is new.
    pub(super) async fn refused(&self, token: &Arc<Token>) -> bool {
        let Source::Issued(issuer) = &self.source else { return false };
        let mut state = issuer.state.lock().await;
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.token, token)) {
            state.current = None;
        }
        token.proven.load(Ordering::Relaxed)
    }
}

impl Issuer {
    async fn get(&self) -> Result<Arc<Token>, CallError> {
        let round = self.rounds.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.boot().since_boot;
        if let Some(current) = state.current.as_ref().filter(|current| now < current.renew_at) {
            return Ok(Arc::clone(&current.token));
        }
        if let Some(failure) = &state.failure
            && self.rounds.load(Ordering::Acquire) != round
        {
            return Err(failure.clone());
        }
        let issued = self.issue().await;
        self.rounds.fetch_add(1, Ordering::Release);
        match issued {
            Ok((token, lives)) => {
                state.failure = None;
                state.current = Some(Current { token: Arc::clone(&token), renew_at: renew_at(now, lives) });
                Ok(token)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// One call of the token endpoint: the token and how long it lives.
    async fn issue(&self) -> Result<(Arc<Token>, Span), CallError> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.id),
            ("client_secret", self.secret.expose_secret()),
        ];
        let answer =
            exchange(self.client.post(self.url.clone()).form(&form)).await.map_err(CallError::from)?;
        let Exchange { status, body, .. } = answer;
        match status {
            200 => {
                let grant: Grant = serde_json::from_slice(&body)
                    .map_err(|_| CallError::Malformed("the token endpoint answered no token".into()))?;
                let token = Token::new(&grant.access_token)?;
                Ok((Arc::new(token), Span::from_secs(grant.expires_in.max(0))))
            }
            // The endpoint answers 400 to a wrong id or secret.
            400 | 401 => Err(CallError::Unauthorized),
            _ => Err(CallError::of_status(status, &body)),
        }
    }
}

#[derive(Deserialize)]
struct Grant {
    access_token: String,
    expires_in: i64,
}

/// A minute before the end, or a quarter of a short life: never so late that a request outlives its token.
fn renew_at(now: Span, lives: Span) -> Span {
    let margin = (lives.as_millis() / 4).min(60_000);
    Span::from_millis(now.as_millis().saturating_add(lives.as_millis() - margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        assert_eq!(renew_at(Span::from_secs(1), Span::from_secs(899)), Span::from_secs(840));
        assert_eq!(renew_at(Span::ZERO, Span::from_secs(40)), Span::from_secs(30));
        assert_eq!(renew_at(Span::from_secs(1), Span::ZERO), Span::from_secs(1));
    }

    #[test]
    fn nothing_prints_a_secret() {
        let credentials =
            Credentials::Channel { id: "1234567890".into(), secret: SecretString::from("s3cret") };
        let token = Token::new("t0ken").unwrap();
        for shown in [format!("{credentials:?}"), format!("{token:?}")] {
            assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
        }
    }
}
