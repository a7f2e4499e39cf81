//! The channel's access token: a configured one, or stateless ones issued from channel id and secret.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

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
        Ok(Self { header: header(token)?, proven: AtomicBool::new(false) })
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

fn header(token: &str) -> Result<HeaderValue, CallError> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| CallError::Malformed("the access token has characters no header can hold".into()))?;
    header.set_sensitive(true);
    Ok(header)
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
    /// Held while one is issued.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<Issued>,
}

#[derive(Default)]
struct Issued {
    current: Option<Current>,
    /// How many issues have ended: tells those who waited whether one did meanwhile.
    rounds: u64,
    /// How the last one failed, if it did.
    failure: Option<CallError>,
}

/// Instants on the clock a wall-clock jump cannot move.
#[derive(Clone)]
struct Current {
    token: Arc<Token>,
    renew_at: Span,
    ends: Span,
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
                turn: tokio::sync::Mutex::default(),
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
    pub(super) fn refused(&self, token: &Arc<Token>) -> bool {
        let Source::Issued(issuer) = &self.source else { return false };
        issuer.lock().current.take_if(|current| Arc::ptr_eq(&current.token, token));
        token.proven.load(Ordering::Relaxed)
    }
}

impl Issuer {
    fn lock(&self) -> MutexGuard<'_, Issued> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that need not be renewed yet or, failing that, one that still holds.
    fn current(&self) -> (Option<Current>, bool, u64) {
        let now = self.clock.boot().since_boot;
        let state = self.lock();
        let current = state.current.clone().filter(|current| now < current.ends);
        let fresh = current.as_ref().is_some_and(|current| now < current.renew_at);
        (current, fresh, state.rounds)
    }

    async fn get(&self) -> Result<Arc<Token>, CallError> {
        let (current, fresh, seen) = self.current();
        let _turn = match (current, fresh) {
            (Some(current), true) => return Ok(current.token),
            // One renews in good time; nobody else waits for it, nor fails with it.
            (Some(current), false) => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(current.token),
            },
            (None, _) => self.turn.lock().await,
        };
        let (current, fresh, rounds) = self.current();
        if let Some(current) = current.clone().filter(|_| fresh) {
            return Ok(current.token);
        }
        if let Some(failure) = self.lock().failure.clone().filter(|_| rounds != seen) {
            return Err(failure);
        }
        // Its life is counted from before LINE began it, so that ours never ends later.
        let now = self.clock.boot().since_boot;
        let issued = self.issue().await;
        let mut state = self.lock();
        state.rounds += 1;
        state.failure = issued.as_ref().err().cloned();
        match (issued, current) {
            (Ok((token, lives)), _) => {
                let (renew_at, ends) = life(now, lives);
                state.current = Some(Current { token: Arc::clone(&token), renew_at, ends });
                Ok(token)
            }
            (Err(_), Some(old)) => {
                // Not at every request of that last minute.
                let renew_at = Span::from_millis(now.as_millis() + 5_000);
                state.current = Some(Current { renew_at, ..old.clone() });
                Ok(old.token)
            }
            (Err(failure), None) => Err(failure),
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
        let Grant { header, lives } = Grant::read(status, &body)?;
        Ok((Arc::new(Token { header, proven: AtomicBool::new(false) }), lives))
    }
}

/// What the token endpoint gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The `Authorization` header; marked sensitive, so that nothing prints it.
    pub header: HeaderValue,
    /// How long it lives.
    pub lives: Span,
}

impl Grant {
    /// What the answer of the token endpoint means.
    ///
    /// # Errors
    /// LINE refused, failed or gave no token.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, CallError> {
        #[derive(Deserialize)]
        struct Answered {
            access_token: String,
            expires_in: i64,
        }
        match status {
            200 => {
                let granted: Answered = serde_json::from_slice(body)
                    .map_err(|_| CallError::Malformed("the token endpoint answered no token".into()))?;
                let header = header(&granted.access_token)?;
                Ok(Self { header, lives: Span::from_secs(granted.expires_in.max(0)) })
            }
            // The endpoint answers 400 to a wrong id or secret.
            400 | 401 => Err(CallError::Unauthorized),
            _ => Err(CallError::of_status(status, body)),
        }
    }
}

/// When a token issued now is to be renewed, and when it ends: renewed a minute before its end, or a quarter of a
/// short life, so that no request outlives its token.
fn life(now: Span, lives: Span) -> (Span, Span) {
    let margin = (lives.as_millis() / 4).min(60_000);
    let after = |ms: i64| Span::from_millis(now.as_millis().saturating_add(ms));
    (after(lives.as_millis() - margin), after(lives.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let s = Span::from_secs;
        assert_eq!(life(s(1), s(899)), (s(840), s(900)));
        assert_eq!(life(s(0), s(40)), (s(30), s(40)));
        assert_eq!(life(s(1), s(0)), (s(1), s(1)));
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
