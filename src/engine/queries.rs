//! What people and programs ask of an account. Reads come from memory where it is complete, else from the ledger.

use serde_json::json;

use crate::concern;
use crate::domain::campaign::Campaign;
use crate::domain::delivery::Outcome;
use crate::domain::id::{CampaignSlug, SegmentSlug};
use crate::domain::segment::rule::Rule;
use crate::domain::sends::Sends;
use crate::domain::time::{Instant, Tz};
use crate::lang::Lang;
use crate::protocol::{Answer, Command, Failure};
use crate::store::{Halt, StoreError};
use crate::text::{Table, no_such};

use super::acts::{Answered, not_found};
use super::due::campaigns_of;
use super::words::{Subject, Words, state_words};
use super::{Ask, Engine};

/// Due instants listed when no end is named.
const NEXT: usize = 10;
/// The most due instants one answer lists.
const MOST_INSTANTS: usize = 100_000;

impl Engine {
    /// Answers a question. A failing store fails the turn; the asker is told to try again.
    pub(super) async fn answer(&mut self, ask: Ask) -> Result<(), StoreError> {
        let Ask { command, lang, by, rows, answer } = ask;
        if let Command::SegmentExport { segment, now } = command {
            self.begin_export(segment, now, lang, (rows, answer));
            return Ok(());
        }
        if let Command::FriendShow { friend } = &command {
            self.tell_of_friend(friend, lang, answer).await;
            return Ok(());
        }
        let answered = self.decide_answer(command, lang, &by).await?;
        // A client that hung up needs no answer.
        let _ = answer.send(answered);
        Ok(())
    }

    async fn decide_answer(&mut self, command: Command, lang: Lang, by: &str) -> Answered {
        match command {
            Command::Status => self.status(lang).await,
            Command::SegmentCount { segments, now } => {
                let now = now.unwrap_or_else(|| self.deps.clock.now());
                let sends = self.sends_at(now).await?;
                Ok(self.segment_count(&segments, &sends, now, lang))
            }
            Command::FriendStrays { limit, forget } => self.strays(by, limit, forget, lang).await,
            Command::CampaignList => Ok(Ok(self.campaign_list(lang))),
            Command::CampaignNext { campaign, from, until } => {
                Ok(self.campaign_next(&campaign, from, until, lang))
            }
            Command::CampaignPreview { campaigns, now, friends } => {
                self.preview(&campaigns, now, friends, lang).await
            }
            Command::CampaignPause { campaign } => self.pause(by, &campaign, lang).await,
            Command::CampaignResume { campaign } => self.resume(by, &campaign, lang).await,
            Command::CampaignCancel { campaign } => self.cancel(by, &campaign, lang).await,
            Command::CampaignTestSend { campaign, to, variant } => {
                self.test_send(by, &campaign, &to, variant.as_deref(), lang).await
            }
            Command::DripList => self.drip_list(lang).await,
            Command::DripShow { drip } => self.drip_show(&drip, lang).await,
            Command::DripPause { drip } => match self.known_drip(&drip, lang) {
                Ok(()) => self.pause(by, &drip, lang).await,
                Err(failure) => Ok(Err(failure)),
            },
            Command::DripResume { drip } => match self.known_drip(&drip, lang) {
                Ok(()) => self.resume(by, &drip, lang).await,
                Err(failure) => Ok(Err(failure)),
            },
            Command::OccurrenceList { campaign, limit } => self.occurrence_list(campaign, limit, lang).await,
            Command::OccurrenceShow { occurrence } => self.occurrence_show(occurrence, lang).await,
            Command::OccurrenceResolve { occurrence, resolution } => {
                self.resolve(by, occurrence, resolution, lang).await
            }
            Command::Stop { reason } => self.stop_account(by, reason, lang).await,
            Command::Start { due } => self.start_account(by, due, false, lang).await,
            Command::AcceptClock { due } => self.start_account(by, due, true, lang).await,
            Command::Plan { .. }
            | Command::Backup { .. }
            | Command::Apply { .. }
            | Command::Import
            | Command::TokenCreate { .. }
            | Command::TokenList
            | Command::TokenRevoke { .. }
            | Command::SegmentExport { .. }
            | Command::FriendShow { .. } => Ok(Err(Failure {
                code: "invalid".into(),
                message: "this command belongs to the node, not to one account".into(),
            })),
        }
    }

    /// A reader of this account's things.
    pub(super) fn words(&self, lang: Lang) -> Words {
        Words { lang, zone: self.config().map_or(Tz::UTC, |config| config.policy.zone) }
    }

    pub(super) fn at(&self, instant: Instant) -> String {
        self.words(Lang::En).at(instant)
    }

    /// A campaign of this account in the running configuration.
    pub(super) fn own_campaign(&self, campaign: &CampaignSlug, lang: Lang) -> Result<&Campaign, Failure> {
        campaigns_of(&self.active, &self.slug).find(|known| known.dispatch.slug == *campaign).ok_or_else(
            || {
                let known = campaigns_of(&self.active, &self.slug).map(|known| known.dispatch.slug.as_str());
                not_found(no_such(lang, "キャンペーン", "campaign", campaign.as_str(), known))
            },
        )
    }

    /// A campaign of this account, or one that it once had.
    pub(super) fn known_campaign(&self, campaign: &CampaignSlug, lang: Lang) -> Result<(), Failure> {
        if self.state.campaigns.contains_key(campaign) {
            return Ok(());
        }
        self.own_campaign(campaign, lang).map(|_| ())
    }

    async fn status(&mut self, lang: Lang) -> Answered {
        let concerns = self.concerns_now(self.deps.clock.now()).await?;
        let state = &self.state;
        let inbox = self.deps.store.inbox_len(self.account).await?;
        let strays = self.deps.store.stray_count(self.account).await?;
        let lanes = self.deps.store.outbox_lanes(self.account).await?;
        let now = self.deps.clock.now();
        let words = self.words(lang);
        let halt = |halt: Option<&Halt>| halt.map(|halt| words.halt_json(halt, Subject::Account));
        let open: Vec<_> = state.runs.values().map(|run| self.run_json(run, lang)).collect();
        let mut json = json!({
            "account": self.slug, "now": now, "friends": state.index.len(), "following": state.index.following().len(),
            "stopped": halt(state.row.stopped.as_ref()), "paused": halt(state.row.paused.as_ref()),
            "clock_behind": self.clock_behind(now), "inbox": inbox, "strays": strays,
            "unfolded": state.row.journal_seq.0 - state.row.folded_seq.0, "open": open,
            "config_version": self.active.version, "quota": state.quota, "up_since": self.up_since,
            "seen_at": state.seen_at, "outbox": self.outbox_json(&lanes, lang),
            "concerns": concerns.iter().map(|concern| concern.json(lang)).collect::<Vec<_>>(),
        });
        let relay = match self.config().and_then(|config| config.relay.as_ref()) {
            Some(relay) => Some((relay.replies, self.deps.store.relay_waiting(self.account).await?)),
            None => None,
        };
        if let Some((replies, waiting)) = relay {
            json["relay"] =
                json!({ "replies": replies.as_str(), "waiting": waiting.rows, "oldest": waiting.oldest });
        }
        let mut lines = vec![match lang {
            Lang::Ja => format!(
                "{}  {}  友だち {}人（届く {}）  設定 版{}",
                self.slug,
                self.at(now),
                state.index.len(),
                state.index.following().len(),
                self.active.version
            ),
            Lang::En => format!(
                "{}  {}  {} friends ({} reachable)  configuration {}",
                self.slug,
                self.at(now),
                state.index.len(),
                state.index.following().len(),
                self.active.version
            ),
        }];
        lines.extend(concerns.iter().map(|concern| format!("  {}", concern.marked(lang))));
        if let Some((_, waiting)) = relay.filter(|(_, waiting)| waiting.rows > 0) {
            let oldest = waiting.oldest.map_or_else(String::new, |oldest| self.at(oldest));
            lines.push(lang.pick(
                format!("  転送待ちのWebhook {}件（最も古いもの {oldest}）", waiting.rows),
                format!("  webhooks to be handed on: {} (the oldest of {oldest})", waiting.rows),
            ));
        }
        for run in state.runs.values() {
            let row = &run.row;
            lines.push(format!(
                "  {} #{} {}  {} {}/{}",
                row.campaign,
                row.id,
                state_words(row.state, lang),
                lang.pick("送信", "sent"),
                run.ended(Outcome::Accepted),
                row.recipients
            ));
            lines.extend(self.occurrence_reason(row, lang).map(|reason| format!("    {reason}")));
        }
        Ok(Ok(Answer { text: lines.join("\n"), json, exit: concern::exit(&concerns) }))
    }

    pub(super) fn run_json(&self, run: &crate::sender::run::Run, lang: Lang) -> serde_json::Value {
        let (open, possibly) = run.open_batches();
        json!({
            "occurrence": run.row.id, "campaign": run.row.campaign, "state": run.row.state, "due_at": run.row.due_at,
            "recipients": run.row.recipients, "accepted": run.ended(Outcome::Accepted),
            "unknown": run.ended(Outcome::Unknown), "rejected": run.ended(Outcome::Rejected),
            "not_yet_sent": run.unsettled(), "batches": run.batch_count(), "mark": run.mark(),
            "open_batches": open, "possibly_sent_batches": possibly, "possibly_sent": run.possibly_sent(),
            "in_flight": run.in_flight(),
            "reason": self.occurrence_reason(&run.row, lang), "why": run.row.reason,
        })
    }

    pub(super) fn segment_rule(&self, slug: &SegmentSlug, lang: Lang) -> Result<&Rule, Failure> {
        let segments = &self.active.configuration.segments;
        segments.get(slug).map(|segment| &segment.rule).ok_or_else(|| {
            let known = segments.keys().map(SegmentSlug::as_str);
            not_found(no_such(lang, "セグメント", "segment", slug.as_str(), known))
        })
    }

    fn segment_count(
        &self,
        wanted: &[SegmentSlug],
        sends: &Sends,
        now: Instant,
        lang: Lang,
    ) -> Result<Answer, Failure> {
        let all: Vec<SegmentSlug> = match wanted {
            [] => self.active.configuration.segments.keys().cloned().collect(),
            some => some.to_vec(),
        };
        let mut table = Table::new(&[
            lang.pick("セグメント", "segment"),
            lang.pick("友だち", "friends"),
            lang.pick("届く", "reachable"),
            lang.pick("名前", "title"),
        ]);
        let mut rows = Vec::new();
        for slug in &all {
            let set = self.evaluate(self.segment_rule(slug, lang)?, sends, now)?;
            let reachable = (&set & self.state.index.following()).len();
            let title = self.active.configuration.segments.get(slug).map_or("", |segment| &segment.title);
            table.row(vec![slug.to_string(), set.len().to_string(), reachable.to_string(), title.to_owned()]);
            rows.push(
                json!({ "segment": slug, "title": title, "friends": set.len(), "reachable": reachable }),
            );
        }
        Ok(Answer {
            text: table.render(),
            json: json!({ "account": self.slug, "now": now, "segments": rows }),
            exit: 0,
        })
    }

    fn campaign_list(&self, lang: Lang) -> Answer {
        let now = self.deps.clock.now();
        let mut table = Table::new(&[
            lang.pick("キャンペーン", "campaign"),
            lang.pick("状態", "state"),
            lang.pick("次回", "next"),
            lang.pick("区分", "category"),
            lang.pick("名前", "title"),
        ]);
        let words = self.words(lang);
        let (mut rows, mut halts) = (Vec::new(), Vec::new());
        for campaign in campaigns_of(&self.active, &self.slug) {
            let row = self.state.campaigns.get(&campaign.dispatch.slug);
            let paused = row.and_then(|row| row.paused.as_ref());
            let (state, shown) = match paused {
                _ if campaign.draft => ("draft", lang.pick("下書き", "draft")),
                Some(_) => ("paused", lang.pick("一時停止", "paused")),
                None => ("active", lang.pick("有効", "active")),
            };
            let of = Subject::Campaign(&campaign.dispatch.slug);
            halts.extend(
                paused.map(|halt| format!("\n⚠ {} {}", campaign.dispatch.slug, words.halt(halt, of))),
            );
            let next = campaign.schedule.when.next_after(now);
            table.row(vec![
                campaign.dispatch.slug.to_string(),
                shown.to_owned(),
                next.map_or("–".to_owned(), |at| self.at(at)),
                campaign.dispatch.category.to_string(),
                campaign.dispatch.title.clone(),
            ]);
            rows.push(json!({
                "campaign": campaign.dispatch.slug, "title": campaign.dispatch.title, "state": state, "next_due_at": next,
                "last_planned_at": row.and_then(|row| row.last_planned).map(|planned| planned.at), "paused": paused.map(|halt| words.halt_json(halt, of)), "category": campaign.dispatch.category,
                "priority": campaign.dispatch.priority,
            }));
        }
        let text = table.render() + &halts.concat();
        Answer { text, json: json!({ "account": self.slug, "campaigns": rows }), exit: 0 }
    }

    fn campaign_next(
        &self,
        slug: &CampaignSlug,
        from: Option<Instant>,
        until: Option<Instant>,
        lang: Lang,
    ) -> Result<Answer, Failure> {
        let campaign = self.own_campaign(slug, lang)?;
        let from = from.unwrap_or_else(|| self.deps.clock.now());
        let most = if until.is_some() { MOST_INSTANTS } else { NEXT };
        let due: Vec<Instant> =
            campaign.schedule.when.between(from, until.unwrap_or(Instant::MAX)).take(most + 1).collect();
        let cut = due.len() > most;
        let due = &due[..due.len().min(most)];
        let mut lines: Vec<String> = due.iter().map(|at| self.at(*at)).collect();
        if cut && until.is_some() {
            lines.push(
                lang.pick("…（続きは --from を進めてください）", "… (there are more: move --from)").into(),
            );
        }
        let json = json!({ "campaign": slug, "from": from, "until": until, "due_at": due, "more": cut });
        Ok(Answer { text: lines.join("\n"), json, exit: 0 })
    }
}
