//! Webhooks as a node takes them: any node may, for the owner applies them from the inbox.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use crate::config::{ExposeSecret as _, SecretString};
use crate::domain::id::{AccountId, AccountSlug};
use crate::line::webhook;
use crate::store::NewInbox;

use super::node::Node;

/// What an account's webhooks are checked with and filed under.
#[derive(Clone)]
pub(super) struct Door {
    account: AccountId,
    /// The channel's secrets, the newest first.
    secrets: Vec<SecretString>,
}

/// Why a webhook was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such account, or it does not run here.
    #[error("there is no account `{0}` here")]
    NoAccount(String),
    /// The signature is missing or wrong.
    #[error(
        "the signature of a webhook for account `{0}` does not fit: is the channel secret the right one?"
    )]
    Forged(AccountSlug),
    /// It is signed, and yet no webhook.
    #[error("a signed webhook for account `{account}` cannot be read")]
    Malformed {
        /// Whose.
        account: AccountSlug,
        /// Why.
        #[source]
        source: webhook::NoCallback,
    },
    /// It could not be made durable.
    #[error("a webhook for account `{account}` could not be stored; LINE may send it again")]
    Store {
        /// Whose.
        account: AccountSlug,
        /// Why.
        #[source]
        source: crate::store::StoreError,
    },
}

/// The doors of all accounts.
pub(super) type Doors = BTreeMap<AccountSlug, Door>;

impl Node {
    /// Reads the secrets of every configured account anew. One that cannot be read keeps what was read before.
    pub(super) async fn open_doors(&self) {
        let active = self.active();
        let Ok(rows) = self.store.accounts().await else { return };
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        doors.retain(|slug, _| active.configuration.accounts.contains_key(slug));
        for slug in active.configuration.accounts.keys() {
            let Some(row) = rows.iter().find(|row| row.slug == *slug) else { continue };
            match self.starter.secrets(slug, &active) {
                Ok(secrets) => drop(doors.insert(slug.clone(), Door { account: row.id, secrets })),
                Err(error) => {
                    tracing::error!(account = %slug, error = format!("{error:#}"), "no webhook of this account can be checked");
                }
            }
        }
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    /// Takes a webhook in. It is durable when this returns.
    ///
    /// # Errors
    /// See [`WebhookError`].
    pub async fn take_webhook(
        &self,
        account: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<(), WebhookError> {
        let nobody = || WebhookError::NoAccount(account.chars().take(64).collect());
        let slug = AccountSlug::parse(account).map_err(|_| nobody())?;
        let door = self.doors.lock().unwrap_or_else(PoisonError::into_inner).get(&slug).cloned();
        let door = door.ok_or_else(nobody)?;
        let secrets: Vec<&[u8]> =
            door.secrets.iter().map(|secret| secret.expose_secret().as_bytes()).collect();
        if !webhook::is_signed(body, signature, &secrets) {
            return Err(WebhookError::Forged(slug));
        }
        let now = self.clock.now();
        let callback = webhook::read(body, now)
            .map_err(|source| WebhookError::Malformed { account: slug.clone(), source })?;
        if callback.too_old > 0 {
            tracing::warn!(account = %slug, events = callback.too_old, "webhook events older than 7 days are not applied");
        }
        let row = |source: &str, intakes: Vec<_>| {
            (!intakes.is_empty()).then(|| NewInbox {
                account: door.account,
                received_at: now,
                source: source.to_owned(),
                intakes,
            })
        };
        let rows: Vec<NewInbox> = [row("webhook", callback.active), row("standby", callback.standby)]
            .into_iter()
            .flatten()
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let appended = self.store.append_inbox(rows).await;
        appended.map_err(|source| WebhookError::Store { account: slug.clone(), source })?;
        if let Some(handle) = self.engines().get(&slug) {
            handle.nudge();
        }
        Ok(())
    }
}
