//! The shop's own systems: told what a drip's step says, over HTTP, signed. Whether and when is the engine's matter.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::domain::id::WebhookName;
use crate::domain::outbox::Failure;
use crate::domain::reason::Said;
use crate::line::{BuildError, Lost, client, exchange, is_loopback};

/// `sha256=` and the HMAC of the body's bytes, in hexadecimal.
const SIGNATURE: HeaderName = HeaderName::from_static("x-haishin-signature");
/// The same each time a request is made; also the body's `id`.
const ID: HeaderName = HeaderName::from_static("x-haishin-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// After this a request has ended without an answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The way to them.
#[async_trait]
pub trait Systems: Send + Sync + 'static {
    /// Makes a request once. What a system answers with success is taken.
    async fn tell(&self, system: &WebhookName, id: &str, body: Bytes) -> Result<(), Failure>;
}

/// Where a system is.
#[derive(Debug, Clone)]
pub struct Address {
    /// https, or plain http on this machine.
    pub url: String,
    /// What requests are signed with; none where it cannot be read.
    pub secret: Option<SecretString>,
}

/// Over HTTP/1.1 with keep-alive. Redirects are not followed: what is signed for one address goes to no other.
pub struct HttpSystems {
    outside: Client,
    /// Without the environment's proxy.
    here: Client,
    known: RwLock<Arc<BTreeMap<WebhookName, Address>>>,
}

impl HttpSystems {
    /// No system is known yet. A request ends after `timeout`; [`TIMEOUT`] in life.
    ///
    /// # Errors
    /// The TLS or HTTP library refuses to start.
    pub fn new(timeout: Duration) -> Result<Self, BuildError> {
        Ok(Self { outside: client(false, timeout)?, here: client(true, timeout)?, known: RwLock::default() })
    }

    /// These are the systems from now on. One whose secret cannot be read keeps the one it had.
    pub fn know(&self, mut systems: BTreeMap<WebhookName, Address>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (name, address) in &mut systems {
            if address.secret.is_none() {
                address.secret = known.get(name).and_then(|before| before.secret.clone());
            }
        }
        *known = Arc::new(systems);
    }
}

#[async_trait]
impl Systems for HttpSystems {
    async fn tell(&self, system: &WebhookName, id: &str, body: Bytes) -> Result<(), Failure> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        let address = known.get(system).ok_or(Failure::NotConfigured)?;
        let secret = address.secret.as_ref().ok_or(Failure::NoSecret)?;
        let signature = signature(secret, &body).map_err(|_| Failure::NoSecret)?;
        let url = Url::parse(&address.url).map_err(|_| Failure::NotConfigured)?;
        let client = if is_loopback(&address.url) { &self.here } else { &self.outside };
        let request = client
            .post(url)
            .header(CONTENT_TYPE, JSON)
            .header(SIGNATURE, signature)
            .header(ID, id)
            .body(body);
        let answer = exchange(request).await.map_err(|lost| match lost {
            Lost::Timeout => Failure::Timeout,
            Lost::Connection => Failure::ConnectionLost,
            Lost::NeverSent => Failure::Unreachable,
        })?;
        match answer.status {
            200..=299 => Ok(()),
            // Its words may repeat what it was told of a friend: they are kept nowhere.
            status => Err(Failure::Answered(Said { status, message: String::new() })),
        }
    }
}

/// A key of any length will do.
fn signature(secret: &SecretString, body: &[u8]) -> Result<String, InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())?;
    mac.update(body);
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second test case of RFC 4231.
    #[test]
    fn a_signature_is_the_hmac_of_the_body() {
        let signed = signature(&SecretString::from("Jefe"), b"what do ya want for nothing?").unwrap();
        assert_eq!(signed, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
