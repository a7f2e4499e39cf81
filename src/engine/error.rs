//! Why an engine ends, in both languages.

use crate::domain::id::AccountSlug;
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::store::StoreError;
use crate::text::Told;

/// Why an engine ends.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The account is not in the running configuration.
    #[error("account `{0}` is not in the running configuration")]
    Unconfigured(AccountSlug),
    /// The store failed while the engine was starting.
    #[error("account `{account}` could not be claimed")]
    Claim {
        /// Which.
        account: AccountSlug,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Another process holds the account.
    #[error(
        "account `{account}` is held by {holder} until {expires_at}: ask that daemon, or wait until it has gone"
    )]
    Held {
        /// Which.
        account: AccountSlug,
        /// Who.
        holder: String,
        /// Until when.
        expires_at: Instant,
    },
}

impl Told for EngineError {
    fn told(&self, lang: Lang) -> String {
        match (self, lang) {
            (_, Lang::En) => self.to_string(),
            (Self::Unconfigured(account), Lang::Ja) => {
                format!("アカウント「{account}」は有効な設定にありません")
            }
            (Self::Claim { account, .. }, Lang::Ja) => format!("アカウント「{account}」を開始できません"),
            (Self::Held { account, holder, expires_at }, Lang::Ja) => format!(
                "アカウント「{account}」は {holder} が {expires_at} まで担当しています。そちらの haishin に尋ねるか、終わるのを待ってください"
            ),
        }
    }
}
