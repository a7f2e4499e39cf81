//! What goes wrong at the root, in the reader's language.

use std::error::Error;

use super::backup::BackupError;
use super::restore::RestoreError;
use crate::config::{SecretError, SourceError};
use crate::domain::id::{AccountSlug, WebhookName};
use crate::engine::EngineError;
use crate::engine::restored::HoldError;
use crate::lang::Lang;
use crate::line::BuildError;
use crate::store::StoreError;
use crate::store::sqlite::copy::CopyError;
use crate::text::{self, Told};

/// Why an account has no way to LINE.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is not in the configuration.
    #[error("account `{0}` is not configured")]
    Unconfigured(AccountSlug),
    /// A secret of it cannot be read.
    #[error("account `{account}`")]
    Secret {
        /// Whose.
        account: AccountSlug,
        /// Why.
        #[source]
        source: SecretError,
    },
}

/// The secret that requests to a system of the shop's are signed with cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("webhook `{system}`")]
pub struct SystemError {
    /// Which system.
    pub system: WebhookName,
    /// Why.
    #[source]
    pub source: SecretError,
}

impl Told for AccountError {
    fn told(&self, lang: Lang) -> String {
        match (self, lang) {
            (_, Lang::En) => self.to_string(),
            (Self::Unconfigured(account), Lang::Ja) => format!("アカウント「{account}」は設定にありません"),
            (Self::Secret { account, .. }, Lang::Ja) => format!("アカウント「{account}」"),
        }
    }
}

impl Told for SystemError {
    fn told(&self, lang: Lang) -> String {
        lang.pick(format!("[webhooks.{}]", self.system), self.to_string())
    }
}

/// A failure with its causes, each in the reader's language where it has one.
pub fn causes(error: &anyhow::Error, lang: Lang) -> String {
    text::causes(error.as_ref(), &|cause| one(cause, lang))
}

fn one(cause: &(dyn Error + 'static), lang: Lang) -> String {
    let told = told_by::<StoreError>(cause)
        .or_else(|| told_by::<EngineError>(cause))
        .or_else(|| told_by::<AccountError>(cause))
        .or_else(|| told_by::<SystemError>(cause))
        .or_else(|| told_by::<SecretError>(cause))
        .or_else(|| told_by::<SourceError>(cause))
        .or_else(|| told_by::<BuildError>(cause))
        .or_else(|| told_by::<BackupError>(cause))
        .or_else(|| told_by::<RestoreError>(cause))
        .or_else(|| told_by::<CopyError>(cause))
        .or_else(|| told_by::<HoldError>(cause));
    told.map_or_else(|| cause.to_string(), |told| told.told(lang))
}

fn told_by<'e, E: Told>(cause: &'e (dyn Error + 'static)) -> Option<&'e dyn Told> {
    cause.downcast_ref::<E>().map(|error| error as &dyn Told)
}
