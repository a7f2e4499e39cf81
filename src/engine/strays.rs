//! What named no friend: told, listed until a person has dealt with it, applied to nobody.

use serde_json::json;

use crate::domain::effect::Effect;
use crate::domain::friend::{FriendRef, Miss};
use crate::domain::id::FriendId;
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::store::{ActRow, Priority, StrayRow, Write};
use crate::text::Table;

use super::Engine;
use super::acts::{Answered, conflict, not_found};

impl Engine {
    /// The friend a person names by user id or customer id, or what to write instead.
    pub(super) fn find_friend(&self, text: &str, lang: Lang) -> Result<FriendId, Failure> {
        self.state.find_friend(text).map_err(|miss| match miss {
            Miss::Unknown => not_found(lang.pick(
                format!(
                    "友だち「{text}」は見つかりません。LINEのユーザーID（U…）か顧客IDで指定してください。"
                ),
                format!("there is no friend `{text}`: name a LINE user id (U…) or an external id"),
            )),
            Miss::Shared { friends } => conflict(lang.pick(
                format!(
                    "顧客ID「{text}」の友だちが{friends}人います。LINEのユーザーID（U…）で指定してください。"
                ),
                format!("{friends} friends have the external id `{text}`: name one by LINE user id (U…)"),
            )),
        })
    }

    /// The newest strays; `forget` drops all there are.
    pub(super) async fn strays(&mut self, by: &str, limit: u32, forget: bool, lang: Lang) -> Answered {
        let total = self.deps.store.stray_count(self.account).await?;
        let strays = self.deps.store.strays(self.account, if forget { 1 } else { limit }).await?;
        if forget {
            return self.forget_strays(by, total, strays.first(), lang).await;
        }
        let mut table = Table::new(&[
            lang.pick("日時", "at"),
            lang.pick("顧客ID", "external id"),
            lang.pick("内容", "what"),
            lang.pick("経路", "source"),
            lang.pick("理由", "reason"),
        ]);
        for stray in &strays {
            table.row(vec![
                self.at(stray.at),
                name(&stray.intake.friend),
                what(&stray.intake.effect, lang),
                stray.source.clone(),
                reason(stray.reason, lang),
            ]);
        }
        let rows: Vec<_> = strays.iter().map(as_json).collect();
        let text = if strays.is_empty() {
            lang.pick("宛先不明の変更はありません。", "everything named a friend.").to_owned()
        } else {
            let listed = strays.len();
            let tail = lang.pick(
                format!("{total}件中{listed}件。友だちを登録してから送り直し、済んだら: haishin friend strays --forget"),
                format!("{listed} of {total}. Make the friends known, send it again, then: haishin friend strays --forget"),
            );
            format!("{}\n{tail}", table.render())
        };
        let json = json!({ "account": self.slug, "total": total, "strays": rows });
        Ok(Ok(Answer { text, json, exit: 0 }))
    }

    async fn forget_strays(
        &mut self,
        by: &str,
        total: u64,
        newest: Option<&StrayRow>,
        lang: Lang,
    ) -> Answered {
        if let Some(newest) = newest {
            let act = Write::Act(ActRow {
                at: self.deps.clock.now(),
                by: by.into(),
                act: "forget-strays".into(),
                subject: self.slug.to_string(),
                detail: total.to_string(),
            });
            self.commit(Priority::Freeze, vec![Write::ForgetStrays(newest.id), act]).await?;
        }
        let text = lang.pick(
            format!("宛先不明の変更{total}件を一覧から消しました。"),
            format!("{total} changes that named no friend are forgotten."),
        );
        Ok(Ok(Answer { text, json: json!({ "account": self.slug, "forgotten": total }), exit: 0 }))
    }
}

fn as_json(stray: &StrayRow) -> serde_json::Value {
    let (reason, friends) = match stray.reason {
        Miss::Unknown => ("unknown", 0),
        Miss::Shared { friends } => ("shared", friends),
    };
    json!({
        "stray": stray.id, "at": stray.at, "received_at": stray.received_at, "source": stray.source,
        "reason": reason, "friends": friends, "intake": stray.intake,
    })
}

fn name(friend: &FriendRef) -> String {
    match friend {
        FriendRef::User(user) => user.to_string(),
        FriendRef::External(id) => id.clone(),
    }
}

fn reason(miss: Miss, lang: Lang) -> String {
    match miss {
        Miss::Unknown => lang.pick("該当なし", "nobody has it").to_owned(),
        Miss::Shared { friends } => {
            lang.pick(format!("{friends}人が該当"), format!("{friends} friends have it"))
        }
    }
}

fn what(effect: &Effect, lang: Lang) -> String {
    match effect {
        Effect::Joined { .. } | Effect::Status { .. } => lang.pick("状態", "status").to_owned(),
        Effect::ExternalId { .. } => lang.pick("顧客ID", "external id").to_owned(),
        Effect::TagAdded { tag } => format!("{} {tag}", lang.pick("タグ追加", "tag added")),
        Effect::TagRemoved { tag } => format!("{} {tag}", lang.pick("タグ削除", "tag removed")),
        Effect::Attribute { name, .. } => format!("{} {name}", lang.pick("属性", "attribute")),
        Effect::Event { name, .. } => format!("{} {name}", lang.pick("イベント", "event")),
        Effect::Quarantined => lang.pick("隔離", "quarantine").to_owned(),
        Effect::Erased => lang.pick("削除", "erasure").to_owned(),
    }
}
