//! What waits in the outbox, and why.

use super::{Words, said_words};
use crate::domain::outbox::{Failure, Lane};
use crate::lang::Lang;
use crate::store::OutboxLane;

impl Words {
    /// What waits in a lane, and what its last attempt came to.
    pub fn waits(self, waits: &OutboxLane, last: Option<&Failure>) -> String {
        let OutboxLane { lane, open, oldest } = waits;
        let since = self.at(*oldest);
        let what = match (self.lang, lane) {
            (Lang::Ja, Lane::RichMenus) => {
                format!("リッチメニューの切り替え {open}件が待っています（最も古いものは {since}）")
            }
            (Lang::Ja, Lane::System(system)) => {
                format!("「{system}」への通知 {open}件が待っています（最も古いものは {since}）")
            }
            (Lang::En, Lane::RichMenus) => {
                format!("changes of rich menus wait: {open}, the oldest since {since}")
            }
            (Lang::En, Lane::System(system)) => {
                format!("requests to `{system}` wait: {open}, the oldest since {since}")
            }
        };
        let last = last.map(|last| failure_words(last, self.lang));
        last.map_or(what.clone(), |last| format!("{what}{}{last}", self.lang.pick("：", ": ")))
    }
}

/// Why a request has not been taken, in words.
pub fn failure_words(failure: &Failure, lang: Lang) -> String {
    match failure {
        Failure::Answered(said) => {
            lang.pick(format!("応答 {}", said_words(said)), format!("the answer was {}", said_words(said)))
        }
        Failure::Unauthorized => lang
            .pick(
                "LINEがチャネルの認証情報を受け付けません（channel_id、channel_secret、access_token）",
                "LINE does not accept the channel's credentials; check channel_id, channel_secret and access_token",
            )
            .into(),
        Failure::Timeout => lang.pick("時間内に応答なし", "no answer in time").into(),
        Failure::ConnectionLost => {
            lang.pick("応答の前に接続が切れました", "the connection ended before an answer").into()
        }
        Failure::Unreachable => lang.pick("接続できません", "no connection could be made").into(),
        Failure::NotConfigured => lang
            .pick(
                "有効な設定に [webhooks] のこの名前がありません",
                "the running configuration has no such name under [webhooks]",
            )
            .into(),
        Failure::NoSecret => lang
            .pick(
                "署名用の secret を読めません（[webhooks]。直したら haishin apply）",
                "the secret requests are signed with cannot be read; put it right under [webhooks], then `haishin apply`",
            )
            .into(),
    }
}
