//! A test send: a campaign's messages to named friends at once. Quiet hours and caps do not bind it; the brake, quota
//! and rate do; it appears in no report and reserves nothing.

use roaring::RoaringBitmap;
use serde_json::json;

use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::key::Run as RunKind;
use crate::domain::plan;
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::sender::run::Run;
use crate::store::{ActRow, NewOccurrence, OccurrenceFilter, Part, Priority, StoreError, VariantRow, Write};

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
        let at = self.free_test_instant(slug, clock.now).await?;
        let quota = self.stored_quota(clock.now).await?;
        if let plan::Quota::Known { limit, used } = quota
            && limit.saturating_sub(used) < recipients.len()
        {
            let (left, wanted) = (limit.saturating_sub(used), recipients.len());
            return Ok(Err(conflict(match lang {
                Lang::Ja => format!(
                    "今月の残りは {left}通で、{wanted}人に送れません（上限 {limit}通）。LINE Official Account Manager で上限を上げるか、月が替わるのを待ってください。"
                ),
                Lang::En => format!(
                    "{left} messages are left of {limit} this month, too few for {wanted}: raise the limit in LINE Official Account Manager, or wait for the month to turn"
                ),
            })));
        }
        let mut row =
            self.blank_row(&campaign.dispatch, clock.now, OccurrenceState::Sending, RunKind::Test(at));
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
            detail: row.recipients.to_string(),
        };
        self.commit(Priority::Freeze, vec![Write::Occurrence(Box::new(new)), Write::Act(act)]).await?;
        self.write_ticket();
        self.state.next_occurrence += 1;
        let id: OccurrenceId = row.id;
        let friends = row.recipients;
        self.state.runs.insert(id, Run::new(row, self.state.row.channel_id.clone(), arms));
        let text = match lang {
            Lang::Ja => {
                format!("テスト送信 #{id} を {friends} 人へ送ります。結果: haishin occurrence show {id}")
            }
            Lang::En => {
                format!(
                    "test send #{id} goes out, recipients: {friends}. Result: haishin occurrence show {id}"
                )
            }
        };
        Ok(Ok(Answer { text, json: json!({ "occurrence": id, "friends": friends }), exit: 0 }))
    }

    /// The instant a test send is named by: its own, also where another one of the campaign has this very millisecond.
    async fn free_test_instant(&self, slug: &CampaignSlug, now: Instant) -> Result<Instant, StoreError> {
        let newest = OccurrenceFilter::Newest { campaign: Some(slug.clone()), limit: 1_000 };
        let rows = self.deps.store.occurrences(self.account, newest).await?;
        let mut at = now;
        while rows.iter().any(|row| row.run == RunKind::Test(at)) {
            at = at + Span::from_millis(1);
        }
        Ok(at)
    }

    fn may_test(&self, lang: Lang) -> Result<(), Failure> {
        if self.state.row.stopped.is_some() || self.state.row.paused.is_some() {
            let message = lang.pick(
                "アカウントは停止中です。再開してから送ってください: haishin start",
                "the account is stopped; let it go on first: haishin start",
            );
            return Err(conflict(message.into()));
        }
        let now = self.deps.clock.now();
        if self.clock_behind(now) {
            return Err(conflict(self.words(lang).clock_behind(now, self.state.seen_at)));
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
            let message = lang.pick(
                format!("テスト送信の宛先は 1～{MOST}人です。"),
                format!("a test send goes to 1 to {MOST} friends"),
            );
            return Err(Failure { code: "invalid".into(), message });
        }
        let mut friends = RoaringBitmap::new();
        for name in to {
            friends.insert(self.find_friend(name, lang)?.0);
        }
        Ok(friends)
    }
}
