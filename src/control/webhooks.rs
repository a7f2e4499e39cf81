//! LINE's webhooks as a node takes them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::node::Node;
use super::take_in::{Arrival, TakeInError, rows};
use crate::config::{ExposeSecret as _, SecretString};
use crate::domain::id::{AccountId, AccountSlug};
use crate::domain::time::Span;
use crate::line::webhook::{self, Events, Unreadable};
use crate::store::{NewInbox, NewRelay};

/// What an account's webhooks are checked with, and what is done with them.
pub(super) struct Door {
    account: AccountId,
    /// The channel's secrets, the newest first.
    secrets: Vec<SecretString>,
    /// How long the identities of events are remembered; for ever if absent.
    remembered: Option<Span>,
    /// Whether they are handed on, too.
    relayed: bool,
}

/// The doors of all accounts; none before they are opened.
pub(super) type Doors = Option<BTreeMap<AccountSlug, Arc<Door>>>;

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No account that runs here has this name.
    #[error("a webhook came for an account that is not here")]
    Stranger,
    /// The signature is missing or wrong.
    #[error("the signature of a webhook does not fit: is channel_secret the one of LINE's console?")]
    Forged,
    /// It is signed, and yet not to be read.
    #[error("a signed webhook cannot be read")]
    Unreadable(#[from] Unreadable),
    /// It could not be made durable in time.
    #[error("a webhook was not acknowledged, so that LINE may send it again")]
    TakeIn(#[from] TakeInError),
}

impl Node {
    /// Opens the doors of all configured accounts, their secrets read anew. One whose secret cannot be read keeps the
    /// secrets that were read before.
    pub async fn open_doors(&self) {
        let active = self.active();
        let accounts = match self.store.accounts().await {
            Ok(accounts) => accounts,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "webhooks go on as before");
                return;
            }
        };
        let mut doors = self.doors().take().unwrap_or_default();
        doors.retain(|slug, _| active.configuration.accounts.contains_key(slug));
        for (slug, config) in &active.configuration.accounts {
            // It has a row from its first start on, and is looked at again then.
            let Some(row) = accounts.iter().find(|row| row.slug == *slug) else { continue };
            match self.starter.webhook_secrets(slug, &active) {
                Ok(secrets) => {
                    let door = Door {
                        account: row.id,
                        secrets,
                        remembered: config.retention.webhook_ids,
                        relayed: config.relay.is_some(),
                    };
                    doors.insert(slug.clone(), Arc::new(door));
                }
                Err(error) => {
                    tracing::error!(account = %slug, error = format!("{error:#}"), "webhooks of this account cannot be checked by what is configured now");
                }
            }
        }
        *self.doors() = Some(doors);
    }

    /// Opens the doors again if an account has none.
    pub async fn open_missing_doors(&self) {
        let all = {
            let active = self.active();
            let doors = self.doors();
            active
                .configuration
                .accounts
                .keys()
                .all(|slug| doors.as_ref().is_some_and(|doors| doors.contains_key(slug)))
        };
        if !all {
            self.open_doors().await;
        }
    }

    /// Opens them again after another configuration went live, if there are any.
    pub(super) async fn change_doors(&self) {
        let open = self.doors().is_some();
        if open {
            self.open_doors().await;
        }
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self, slug: &AccountSlug) -> Option<Arc<Door>> {
        self.doors().as_ref()?.get(slug).cloned()
    }

    /// Takes a webhook in. It is durable when this returns; what became of its events is counted.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub async fn take_webhook(
        &self,
        account: &str,
        signature: &[u8],
        body: &[u8],
    ) -> Result<Events, WebhookError> {
        let known = AccountSlug::parse(account).ok().and_then(|slug| Some((self.door(&slug)?, slug)));
        let Some((door, slug)) = known else {
            // As much work as for an account that is here, so that the time it takes tells nothing.
            let _ = webhook::is_signed(body, signature, [&b"nobody's"[..]]);
            return Err(WebhookError::Stranger);
        };
        let secrets = door.secrets.iter().map(|secret| secret.expose_secret().as_bytes());
        if !webhook::is_signed(body, signature, secrets) {
            return Err(WebhookError::Forged);
        }
        let now = self.clock.now();
        let callback = webhook::read(body, door.remembered.map(|remembered| now - remembered))?;
        let mut arrival = Arrival { bytes: body.len(), ..Arrival::default() };
        for (source, intakes) in
            [(NewInbox::WEBHOOK, &callback.active), (NewInbox::STANDBY, &callback.standby)]
        {
            arrival.rows.extend(rows(door.account, now, source, intakes));
        }
        // A body of which everything is too old was caught and is played again.
        let events = callback.events;
        let played_again = events.too_old > 0 && events.taken + events.ignored == 0;
        if door.relayed && !played_again {
            arrival.relays.push(NewRelay {
                account: door.account,
                received_at: now,
                // Both are what they claim to be by now: Base64, and JSON.
                signature: String::from_utf8_lossy(signature).into_owned(),
                body: String::from_utf8_lossy(body).into_owned(),
            });
        }
        self.take_in(&slug, arrival).await?;
        Ok(events)
    }
}
