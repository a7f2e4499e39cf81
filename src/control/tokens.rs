//! Tokens of the API: created, listed, revoked.

use serde_json::json;

use super::node::Node;
use crate::domain::access::{Scopes, Token, TokenId};
use crate::domain::id::{AccountId, AccountSlug};
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::store::{AccountRow, NewToken, TokenRow};
use crate::text::{Table, one_line};

impl Node {
    /// Creates a token for one account, or for all, and tells it this once.
    pub(super) async fn create_token(
        &self,
        account: Option<AccountSlug>,
        scopes: Scopes,
        name: &str,
        by: &str,
        lang: Lang,
    ) -> Result<Answer, Failure> {
        if scopes.is_empty() {
            let message = lang.pick("--scope を1つ以上指定してください", "name at least one --scope");
            return Err(Failure { code: "invalid".into(), message: message.into() });
        }
        let secret = self.starter.draw_secret().map_err(|error| Failure {
            code: "unavailable".into(),
            message: self.starter.told(&error, lang),
        })?;
        let row = match &account {
            None => None,
            Some(slug) => Some(self.account_row(slug, lang).await?),
        };
        let new = NewToken {
            account: row.map(|row| row.id),
            name: one_line(name, 100),
            scopes: scopes.clone(),
            digest: secret.digest(),
            created_at: self.clock.now(),
            created_by: by.to_owned(),
        };
        let id = self.store.create_token(&new).await.map_err(|error| Failure::unavailable(&error, lang))?;
        tracing::info!(token = %id, by, "a token was created");
        let text = Token { id, secret }.text();
        let json = json!({ "id": id, "token": text, "account": account, "scopes": scopes, "name": new.name });
        let note = lang.pick(
            "このトークンは二度と表示されません。安全な場所に保存してください。",
            "this token is never shown again: keep it in a safe place.",
        );
        Ok(Answer { text: format!("{text}\n{note}"), json, exit: 0 })
    }

    /// Every token, without its secret.
    pub(super) async fn list_tokens(&self, lang: Lang) -> Result<Answer, Failure> {
        let unavailable = |error| Failure::unavailable(&error, lang);
        let accounts = self.store.accounts().await.map_err(unavailable)?;
        let tokens = self.store.tokens().await.map_err(unavailable)?;
        let mut table = Table::new(&[
            lang.pick("番号", "token"),
            lang.pick("アカウント", "account"),
            lang.pick("権限", "scopes"),
            lang.pick("名前", "name"),
            lang.pick("作成", "created"),
            lang.pick("失効", "revoked"),
        ]);
        let mut rows = Vec::new();
        for TokenRow { id, token, revoked } in tokens {
            let account = token.account.and_then(|id| slug_of(&accounts, id));
            let shown = account.map_or(lang.pick("すべて", "all").to_owned(), ToString::to_string);
            let when = |at, by: &str| format!("{at} {by}");
            table.row(vec![
                id.to_string(),
                shown,
                token.scopes.to_string(),
                token.name.clone(),
                when(token.created_at, &token.created_by),
                revoked.as_ref().map_or_else(String::new, |(at, by)| when(*at, by)),
            ]);
            let (revoked_at, revoked_by) = revoked.unzip();
            rows.push(json!({
                "id": id, "account": account, "scopes": token.scopes, "name": token.name,
                "created_at": token.created_at, "created_by": token.created_by,
                "revoked_at": revoked_at, "revoked_by": revoked_by,
            }));
        }
        let text = match rows.is_empty() {
            true => lang
                .pick(
                    "トークンはありません（haishin token create）。",
                    "there are no tokens; see haishin token create.",
                )
                .to_owned(),
            false => table.render(),
        };
        Ok(Answer { text, json: json!({ "tokens": rows }), exit: 0 })
    }

    /// Revokes a token: the next request with it is refused, on every node.
    pub(super) async fn revoke_token(&self, id: TokenId, by: &str, lang: Lang) -> Result<Answer, Failure> {
        let revoked = self.store.revoke_token(id, self.clock.now(), by).await;
        if !revoked.map_err(|error| Failure::unavailable(&error, lang))? {
            let message = lang.pick(
                format!("有効なトークン {id} はありません（haishin token list）"),
                format!("there is no token {id} that works; see haishin token list"),
            );
            return Err(Failure { code: "not_found".into(), message });
        }
        tracing::info!(token = %id, by, "a token was revoked");
        let text = lang.pick(format!("トークン {id} を無効にしました。"), format!("token {id} is revoked."));
        Ok(Answer { text, json: json!({ "revoked": id }), exit: 0 })
    }

    async fn account_row(&self, slug: &AccountSlug, lang: Lang) -> Result<AccountRow, Failure> {
        let rows = self.store.accounts().await.map_err(|error| Failure::unavailable(&error, lang))?;
        let found = rows.into_iter().find(|row| row.slug == *slug);
        found.ok_or_else(|| super::node::none_runs(lang))
    }
}

fn slug_of(accounts: &[AccountRow], id: AccountId) -> Option<&AccountSlug> {
    accounts.iter().find(|row| row.id == id).map(|row| &row.slug)
}
