//! One friend's record and story: what happened to the friend, in order. What memory knows is gathered at once; the
//! ledger is read beside the account's work, which goes on meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::oneshot;

use crate::domain::attribute::Value;
use crate::domain::delivery::{Exclusion, Outcome};
use crate::domain::drip::{Ending, Enrollment, Standing};
use crate::domain::effect::Effect;
use crate::domain::friend::{Friend, Status};
use crate::domain::id::{AccountId, CampaignSlug, EventName, FriendId, OccurrenceId, Seq, VariantName};
use crate::domain::key::Run as RunKind;
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::protocol::{Answer, Failure};
use crate::store::{OccurrenceFilter, OccurrenceRow, Store, StoreError};

use super::Engine;
use super::acts::not_found;
use super::beside::beside;
use super::drips::ending_words;
use super::words::{Words, exclusion_words, outcome_words};

/// The occurrences looked through for the friend: the newest.
const OCCURRENCES: u32 = 100;
/// Journal entries read at a time.
const PAGE: u32 = 20_000;

/// Something that happened to the friend, or will.
#[derive(Debug, Clone, PartialEq)]
enum Moment {
    Followed,
    Blocked,
    Tag(String),
    Event(EventName),
    /// Started in a drip.
    Started(CampaignSlug),
    /// A step of a drip comes next.
    Next(CampaignSlug, String),
    /// A step of a drip waits for room under a cap.
    Waits(CampaignSlug, String),
    /// A way through a drip is over.
    Ended(CampaignSlug, Ending),
    /// A delivery; no outcome yet where absent.
    Delivery {
        row: Box<OccurrenceRow>,
        arm: VariantName,
        outcome: Option<Outcome>,
    },
    /// Left out of an occurrence.
    Excluded {
        row: Box<OccurrenceRow>,
        exclusion: Exclusion,
    },
    /// Got a message of an occurrence that was not looked through.
    Received(CampaignSlug),
}

/// What is gathered before the ledger is read.
struct Telling {
    store: Arc<dyn Store>,
    account: AccountId,
    friend: FriendId,
    folded: Seq,
    words: Words,
    /// Events of the friend, as far as they are kept.
    events: Vec<(EventName, Instant)>,
    /// What counts for caps, as far as any window looks back.
    received: Vec<(CampaignSlug, Instant)>,
    /// Where the friend stands in what is being sent.
    open: BTreeMap<OccurrenceId, (VariantName, Option<Outcome>)>,
}

impl Engine {
    /// Gathers what memory knows and lets the rest be read beside.
    pub(super) async fn tell_of_friend(
        &mut self,
        text: &str,
        lang: Lang,
        answer: oneshot::Sender<Result<Answer, Failure>>,
    ) {
        let friend = match self.find_friend(text, lang) {
            Ok(friend) => friend,
            // A client that hung up needs no answer.
            Err(failure) => return drop(answer.send(Err(failure))),
        };
        let index = self.state.index.clone();
        let telling = Telling {
            store: self.deps.store.clone(),
            account: self.account,
            friend,
            folded: self.state.row.folded_seq,
            words: self.words(lang),
            events: beside(move || index.events_of(friend)).await,
            received: self.state.sends.of_friend(friend),
            open: self.stands_in(friend),
        };
        let text = text.to_owned();
        tokio::spawn(async move {
            let told = telling.tell(&text).await;
            let told = told.unwrap_or_else(|error| Err(Failure::unavailable(&error, lang)));
            let _ = answer.send(told);
        });
    }

    fn stands_in(&self, friend: FriendId) -> BTreeMap<OccurrenceId, (VariantName, Option<Outcome>)> {
        let mut stands = BTreeMap::new();
        for run in self.state.runs.values() {
            let arm = run.variants().iter().find(|arm| arm.recipients.contains(friend.0));
            let Some(arm) = arm else { continue };
            let settled = run.settled().find(|(.., friends)| friends.contains(friend.0));
            stands.insert(run.row.id, (arm.name.clone(), settled.map(|(outcome, ..)| outcome)));
        }
        stands
    }
}

impl Telling {
    async fn tell(self, text: &str) -> Result<Result<Answer, Failure>, StoreError> {
        let Some(record) = self.record().await? else { return Ok(Err(not_found(text.to_owned()))) };
        let ways = self.store.enrollments_of(self.account, self.friend).await?;
        let mut moments = of_record(&record);
        moments.extend(self.events.iter().map(|(event, at)| (*at, Moment::Event(event.clone()))));
        moments.extend(ways.iter().flat_map(of_way));
        moments.extend(self.of_occurrences().await?);
        moments.sort_by_key(|(at, _)| *at);
        let mut json = serde_json::to_value(&record).unwrap_or_default();
        if let Some(object) = json.as_object_mut() {
            let story: Vec<_> = moments.iter().map(|(at, moment)| moment.json(*at)).collect();
            object.insert("story".into(), story.into());
        }
        let mut lines = self.record_lines(&record);
        lines.push(format!("  {}", self.words.lang.pick("できごと", "story")));
        let line = |(at, moment): &(Instant, Moment)| {
            format!("    {}  {}", self.words.at(*at), moment.text(self.words.lang))
        };
        lines.extend(moments.iter().map(line));
        Ok(Ok(Answer { text: lines.join("\n"), json, exit: 0 }))
    }

    /// The friend's row. It may lag behind the journal by what is not folded yet: the rest is applied here.
    async fn record(&self) -> Result<Option<Friend>, StoreError> {
        let rows = self.store.friends_by_id(self.account, &[self.friend]).await?;
        let (mut record, mut after) = (rows.into_iter().next(), self.folded);
        loop {
            let page = self.store.entries(self.account, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(record) };
            after = last.seq;
            for entry in page.iter().filter(|entry| entry.friend == self.friend) {
                if let (None, Effect::Joined { user }) = (&record, &entry.effect) {
                    record = Some(Friend::new(self.friend, *user, entry.at));
                }
                if let Some(record) = record.as_mut() {
                    record.apply(entry);
                }
            }
        }
    }

    /// What the newest occurrences were to the friend, and what was received before them.
    async fn of_occurrences(&self) -> Result<Vec<(Instant, Moment)>, StoreError> {
        let newest = OccurrenceFilter::Newest { campaign: None, limit: OCCURRENCES };
        let (mut moments, mut seen) = (Vec::new(), Vec::new());
        for row in self.store.occurrences(self.account, newest).await? {
            let scheduled = matches!(row.run, RunKind::Scheduled(_));
            seen.extend(
                row.parts.iter().filter(|_| scheduled).map(|part| (row.campaign.clone(), part.effective_at)),
            );
            moments.extend(self.of_occurrence(row).await?);
        }
        let before = self.received.iter().filter(|received| !seen.contains(received));
        moments.extend(before.map(|(campaign, at)| (*at, Moment::Received(campaign.clone()))));
        Ok(moments)
    }

    async fn of_occurrence(&self, row: OccurrenceRow) -> Result<Option<(Instant, Moment)>, StoreError> {
        let (id, at, friend) = (row.id, row.due_at, self.friend.0);
        if row.matched == 0 {
            return Ok(None);
        }
        let row = Box::new(row);
        if let Some((arm, outcome)) = self.open.get(&id).cloned() {
            return Ok(Some((at, Moment::Delivery { row, arm, outcome })));
        }
        for set in self.store.exclusions(self.account, id).await? {
            if set.friends.contains(friend) {
                return Ok(Some((at, Moment::Excluded { row, exclusion: set.exclusion })));
            }
        }
        let arms = self.store.variants(self.account, id).await?;
        let Some(arm) = arms.into_iter().find(|arm| arm.recipients.contains(friend)) else { return Ok(None) };
        let deliveries = self.store.deliveries(self.account, id).await?;
        let outcome = deliveries.into_iter().find(|set| set.friends.contains(friend)).map(|set| set.outcome);
        Ok(Some((at, Moment::Delivery { row, arm: arm.name, outcome })))
    }

    fn record_lines(&self, record: &Friend) -> Vec<String> {
        let lang = self.words.lang;
        let status = match record.status {
            Status::Following => lang.pick("友だち", "following"),
            Status::Blocked => lang.pick("ブロック中", "blocked"),
        };
        let user = record.user.map_or_else(String::new, |user| user.to_string());
        let mut lines = vec![format!("{user}  {status}")];
        if let Some(external) = &record.external_id {
            lines.push(format!("  {}  {external}", lang.pick("顧客ID", "external id")));
        }
        if let Some(at) = record.followed_at {
            lines.push(format!("  {}  {}", lang.pick("友だち追加", "followed"), self.words.at(at)));
        }
        for (tag, at) in &record.tags {
            lines.push(format!("  {}  {tag}  {}", lang.pick("タグ", "tag"), self.words.at(*at)));
        }
        for (name, value) in &record.attributes {
            let value = match value {
                Value::Text(text) => text.to_string(),
                Value::Integer(whole) => whole.to_string(),
                Value::Number(double) => double.to_string(),
                Value::Boolean(flag) => flag.to_string(),
                Value::Date(day) => day.to_string(),
                Value::Instant(at) => self.words.at(*at),
            };
            lines.push(format!("  {}  {name} = {value}", lang.pick("属性", "attribute")));
        }
        lines
    }
}

fn of_record(record: &Friend) -> Vec<(Instant, Moment)> {
    let mut moments: Vec<_> = record.followed_at.map(|at| (at, Moment::Followed)).into_iter().collect();
    if record.status == Status::Blocked {
        moments.push((record.status_at, Moment::Blocked));
    }
    moments.extend(record.tags.iter().map(|(tag, at)| (*at, Moment::Tag(tag.to_string()))));
    moments
}

fn of_way(way: &Enrollment) -> Vec<(Instant, Moment)> {
    let drip = || way.drip.clone();
    let started = (way.started_at, Moment::Started(drip()));
    let stands = match &way.standing {
        Standing::Starting { .. } => None,
        Standing::Due { step, at } => Some((*at, Moment::Next(drip(), step.to_string()))),
        Standing::Waiting { step, .. } => Some((way.not_before, Moment::Waits(drip(), step.to_string()))),
        Standing::Ended { how, at } => Some((*at, Moment::Ended(drip(), *how))),
    };
    [started].into_iter().chain(stands).collect()
}

impl Moment {
    fn json(&self, at: Instant) -> serde_json::Value {
        match self {
            Self::Followed => json!({ "at": at, "what": "followed" }),
            Self::Blocked => json!({ "at": at, "what": "blocked" }),
            Self::Tag(tag) => json!({ "at": at, "what": "tag", "tag": tag }),
            Self::Event(event) => json!({ "at": at, "what": "event", "event": event }),
            Self::Started(drip) => json!({ "at": at, "what": "drip_started", "drip": drip }),
            Self::Next(drip, step) => json!({ "at": at, "what": "step_next", "drip": drip, "step": step }),
            Self::Waits(drip, step) => json!({ "at": at, "what": "step_waits", "drip": drip, "step": step }),
            Self::Ended(drip, how) => json!({ "at": at, "what": "drip_ended", "drip": drip, "ending": how }),
            Self::Delivery { row, arm, outcome } => json!({
                "at": at, "what": "delivery", "campaign": row.campaign, "step": row.step, "occurrence": row.id,
                "test": matches!(row.run, RunKind::Test(_)), "variant": arm, "outcome": outcome,
            }),
            Self::Excluded { row, exclusion } => json!({
                "at": at, "what": "excluded", "campaign": row.campaign, "step": row.step, "occurrence": row.id,
                "exclusion": exclusion,
            }),
            Self::Received(campaign) => json!({ "at": at, "what": "received", "campaign": campaign }),
        }
    }

    fn text(&self, lang: Lang) -> String {
        match self {
            Self::Followed => lang.pick("友だち追加", "followed").into(),
            Self::Blocked => lang.pick("ブロック", "blocked").into(),
            Self::Tag(tag) => format!("{} {tag}", lang.pick("タグ", "tag")),
            Self::Event(event) => format!("{} {event}", lang.pick("イベント", "event")),
            Self::Started(drip) => format!("{drip}  {}", lang.pick("開始", "started")),
            Self::Next(drip, step) => format!("{drip} / {step}  {}", lang.pick("次の予定", "comes next")),
            Self::Waits(drip, step) => {
                format!("{drip} / {step}  {}", lang.pick("上限の空き待ち", "waits for room under a cap"))
            }
            Self::Ended(drip, how) => format!("{drip}  {}", ending_words(*how, lang)),
            Self::Delivery { row, arm, outcome } => {
                let test = match row.run {
                    RunKind::Test(_) => lang.pick("（テスト）", " (test)"),
                    RunKind::Scheduled(_) => "",
                };
                let outcome =
                    outcome.map_or(lang.pick("未送信", "not yet sent"), |one| outcome_words(one, lang));
                format!("{} #{} {arm}{test}  {outcome}", place(row), row.id)
            }
            Self::Excluded { row, exclusion } => {
                let left_out = lang.pick("除外", "left out");
                format!("{} #{}  {left_out}: {}", place(row), row.id, exclusion_words(exclusion, lang))
            }
            Self::Received(campaign) => format!("{campaign}  {}", lang.pick("受信", "received")),
        }
    }
}

/// Which campaign, or which step of which drip.
fn place(row: &OccurrenceRow) -> String {
    match &row.step {
        None => row.campaign.to_string(),
        Some(step) => format!("{} / {step}", row.campaign),
    }
}
