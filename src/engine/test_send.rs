//! A test send: a campaign's messages to named friends at once. Quiet hours and caps do not bind it; the brake, quota
//! and rate do; it appears in no report and reserves nothing (protocol §5).

use roaring::RoaringBitmap;
use serde_json::json;

use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::key::Run as RunKind;
use crate::domain::plan;
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::sender::run::Run;
use crate::store::{ActRow, NewOccurrence, Part, Priority, VariantRow, Write};

use super::Engine;
use super::acts::{Answered, conflict, not_found};

/// Friends of one test send.
const MOST: usize = 20;

impl Engine {
    pub(super) async fn test_send(
        &mut self,
        by: &str,
        slug: &CampaignSlug,
        to: &[String],
        variant: Option<&str>,
        lang: Lang,
    ) -> Answered {
        let campaign = match self.own_campaign(slug, lang).and_then(|own| self.may_test(lang).map(|()| own)) {
            Ok(campaign) => campaign.clone(),
            Err(failure) => return Ok(Err(failure)),
        };
        let named = match variant {
            None => campaign.dispatch.variants.first(),
            Some(name) => campaign.dispatch.variants.iter().find(|arm| arm.name.as_str() == name),
        };
        let Some(arm) = named else {
            let names: Vec<_> = campaign.dispatch.variants.iter().map(|arm| arm.name.to_string()).collect();
            let message = format!(
                "{}: {}",
                lang.pick("その案はありません。あるのは", "there is no such arm; there are"),
                names.join(", ")
            );
            return Ok(Err(not_found(message)));
        };
        let recipients = match self.named_friends(to, lang) {
            Ok(recipients) => recipients,
            Err(failure) => return Ok(Err(failure)),
        };
        let clock = self.deps.clock.read();
        let quota = self.stored_quota(clock.now).await?;
        if let plan::Quota::Known { limit, used } = quota
            && limit.saturating_sub(used) < recipients.len()
        {
            return Ok(Err(conflict(
                lang.pick("今月の残り通数が足りません。", "the month's messages are used up.").into(),
            )));
        }
        let mut row =
            self.blank_row(&campaign.dispatch, clock.now, OccurrenceState::Sending, RunKind::Test(clock.now));
        row.capped = false;
        row.deadline_at = None;
        row.pace = None;
        row.matched = recipients.len();
        row.recipients = recipients.len();
        row.parts = vec![Part { from_batch: 0, effective_at: clock.now }];
        row.detail = json!({ "test": true, "variant": arm.name });
        let arms = vec![VariantRow {
            position: 0,
            name: arm.name.clone(),
            messages: arm.messages.json.to_string(),
            content: arm.messages.content,
            unit: None,
            recipients,
        }];
        let new = NewOccurrence { row: row.clone(), variants: arms.clone(), sets: Vec::new() };
        let act = ActRow {
            at: clock.now,
            by: by.into(),
            act: "test-send".into(),
            subject: slug.to_string(),
            detail: to.join(" "),
        };
        self.commit(Priority::Freeze, vec![Write::Occurrence(Box::new(new)), Write::Act(act)]).await?;
        self.state.next_occurrence += 1;
        let id: OccurrenceId = row.id;
        let friends = row.recipients;
        self.state.runs.insert(id, Run::new(row, self.state.row.channel_id.clone(), arms));
        let text = match lang {
            Lang::Ja => {
                format!("テスト送信 #{id} を {friends} 人へ送ります。結果: haishin occurrence show {id}")
            }
            Lang::En => {
                format!("test send #{id} goes to {friends} friends. Result: haishin occurrence show {id}")
            }
        };
        Ok(Ok(Answer { text, json: json!({ "occurrence": id, "friends": friends }), exit: 0 }))
    }

    fn may_test(&self, lang: Lang) -> Result<(), Failure> {
        if self.state.row.stopped.is_some() || self.state.row.paused.is_some() {
            return Err(conflict(
                lang.pick("アカウントは停止中です。haishin start", "the account is stopped: haishin start")
                    .into(),
            ));
        }
        if self.deps.mode == super::Mode::Command {
            let message = lang.pick(
                "テスト送信にはデーモンが必要です: haishin run",
                "a test send needs the daemon: haishin run",
            );
            return Err(conflict(message.into()));
        }
        Ok(())
    }

    fn named_friends(&self, to: &[String], lang: Lang) -> Result<RoaringBitmap, Failure> {
        if to.is_empty() || to.len() > MOST {
            return Err(Failure { code: "invalid".into(), message: format!("1–{MOST}") });
        }
        let mut friends = RoaringBitmap::new();
        for name in to {
            let Some(friend) = self.state.find_friend(name) else {
                return Err(not_found(match lang {
                    Lang::Ja => format!("友だち「{name}」は見つかりません。"),
                    Lang::En => format!("there is no friend `{name}`"),
                }));
            };
            friends.insert(friend.0);
        }
        Ok(friends)
    }
}
