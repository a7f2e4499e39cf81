//! From what is known of an account to what is said of it. The daemon knows it from memory, a doctor without a daemon
//! from the rows.

use crate::clock::CLOCK_BEHIND;
use crate::concern::{Code, Concern, in_order};
use crate::config::Configuration;
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::outbox::Failure;
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span, Tz};
use crate::engine::outbox::LATE as LATE_REQUEST;
use crate::engine::words::{GUARD, Subject, Words};
use crate::lang::Lang;
use crate::store::{
    AccountRow, Halt, OccurrenceFilter, OccurrenceRow, OutboxLane, Store, StoreError, Troubles, Waiting,
};

use super::{RECENT, UNKNOWN_FOR};

/// What is due for longer and could go out is late.
const LATE: Span = Span::from_mins(15);
/// What came in is applied within seconds.
const INBOX_LAG: Span = Span::from_mins(1);
/// What is named of a longer list.
const NAMED: usize = 3;

/// An occurrence that is held.
#[derive(Debug, Clone)]
pub struct HeldOne {
    id: OccurrenceId,
    campaign: CampaignSlug,
    reason: Option<Reason>,
}

impl HeldOne {
    /// From its row.
    pub fn of(row: &OccurrenceRow) -> Self {
        Self { id: row.id, campaign: row.campaign.clone(), reason: row.reason.clone() }
    }
}

/// A campaign or drip that is paused.
#[derive(Debug, Clone)]
pub struct PausedOne {
    /// Which.
    pub slug: CampaignSlug,
    /// Whether it is a drip.
    pub drip: bool,
    /// Since when, by whom, why.
    pub halt: Halt,
}

/// What is known of one account.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "named as in the state they are taken from")]
pub struct Facts {
    pub now: Instant,
    pub stopped: Option<Halt>,
    pub paused: Option<Halt>,
    pub seen_at: Instant,
    pub held: Vec<HeldOne>,
    pub paused_campaigns: Vec<PausedOne>,
    pub inbox_oldest: Option<Instant>,
    pub strays: u64,
    pub lanes: Vec<(OutboxLane, Option<Failure>)>,
    pub relay: Waiting,
    pub troubles: Troubles,
    pub unknown_open: u64,
    pub late: Option<(CampaignSlug, Span)>,
    pub steps_late: Option<Span>,
    pub leapt: Option<(Instant, Span)>,
}

/// What the rows alone tell of an account that nobody runs: nothing is late while nothing is to go out.
///
/// # Errors
/// The database fails.
pub async fn account_facts(
    store: &dyn Store,
    row: AccountRow,
    configuration: Option<&Configuration>,
    now: Instant,
) -> Result<Facts, StoreError> {
    let account = row.id;
    let open = store.occurrences(account, OccurrenceFilter::Open).await?;
    let held = open.iter().filter(|one| one.state == OccurrenceState::Held).map(HeldOne::of).collect();
    let is_drip = |slug: &CampaignSlug| configuration.is_some_and(|running| running.drips.contains_key(slug));
    let campaigns = store.campaigns(account).await?.into_iter().filter(|row| row.step.is_none());
    let paused = campaigns.filter_map(|row| {
        Some(PausedOne { drip: is_drip(&row.campaign), halt: row.paused?, slug: row.campaign })
    });
    let lanes = store.outbox_lanes(account).await?;
    Ok(Facts {
        now,
        stopped: row.stopped,
        paused: row.paused,
        seen_at: store.lease(account).await?.map_or(now, |lease| lease.seen_at),
        held,
        paused_campaigns: paused.collect(),
        inbox_oldest: None,
        strays: store.stray_count(account).await?,
        lanes: lanes.into_iter().map(|lane| (lane, None)).collect(),
        relay: store.relay_waiting(account).await?,
        troubles: store.troubles(account, (now - UNKNOWN_FOR, now - RECENT)).await?,
        unknown_open: 0,
        late: None,
        steps_late: None,
        leapt: None,
    })
}

impl Facts {
    /// What is to be said of them; instants are shown in this zone.
    pub fn concerns(&self, zone: Tz) -> Vec<Concern> {
        let words = move |lang| Words { lang, zone };
        let mut concerns: Vec<Concern> = Vec::new();
        concerns.extend(self.halts(words));
        concerns.extend(self.clocks(words));
        concerns.extend(self.holds(words));
        concerns.extend(self.pauses(words));
        concerns.extend(self.delays(words));
        concerns.extend(self.past());
        in_order(concerns)
    }

    /// The brake, and what LINE refused.
    fn halts(&self, words: impl Fn(Lang) -> Words + Copy) -> Vec<Concern> {
        let one = |halt: &Halt, code: Code, ja: &'static str, en: &'static str| {
            let said = |lang: Lang| format!("{} {}", lang.pick(ja, en), words(lang).halted(halt));
            let next = |lang: Lang| words(lang).next(&halt.reason, Subject::Account);
            let next = move |lang: Lang| next(lang).unwrap_or_else(|| code.next(lang).to_owned());
            Concern::new(code, said).then(next)
        };
        let stopped = self.stopped.as_ref().map(|halt| {
            let code = match halt.reason {
                Reason::DatabaseWentBack => Code::WentBack,
                Reason::Restored { .. } => Code::Restored,
                _ => Code::Stopped,
            };
            one(halt, code, "停止中", "stopped")
        });
        let paused = self.paused.as_ref().map(|halt| {
            let code = match halt.reason {
                Reason::AccountForbidden => Code::AccountForbidden,
                _ => Code::TokenRefused,
            };
            one(halt, code, "一時停止中", "paused")
        });
        stopped.into_iter().chain(paused).collect()
    }

    fn clocks(&self, words: impl Fn(Lang) -> Words + Copy) -> Vec<Concern> {
        let (now, seen) = (self.now, self.seen_at);
        let behind = (seen - now > CLOCK_BEHIND)
            .then(|| Concern::new(Code::ClockBehind, |lang| words(lang).clock_is_behind(now, seen)));
        let leapt = self.leapt.map(|(at, ahead)| {
            let said = |lang: Lang| {
                let (words, days) = (words(lang), ahead.as_millis() / 86_400_000);
                let (at, from) = (words.at(at), words.at(at - ahead));
                lang.pick(
                    format!("時計が約 {days}日 進みました（{from} から {at} へ）。1日の間は古いものを消しません"),
                    format!("the clock leapt ahead by about {days} days, from {from} to {at}; for a day nothing is too old to be kept"),
                )
            };
            Concern::new(Code::ClockLeapt, said)
        });
        behind.into_iter().chain(leapt).collect()
    }

    fn holds(&self, words: impl Fn(Lang) -> Words + Copy) -> Vec<Concern> {
        let at_limit = |one: &&HeldOne| matches!(one.reason, Some(Reason::MonthlyLimit { .. }));
        let (limited, held): (Vec<&HeldOne>, Vec<&HeldOne>) = self.held.iter().partition(at_limit);
        let one = |code: Code, those: &[&HeldOne], ja: &'static str, en: &'static str| {
            let first = *those.first()?;
            let list = named(those.iter().map(|one| format!("#{} {}", one.id, one.campaign)));
            let of = Subject::Occurrence(&first.campaign, first.id);
            let next = |lang: Lang| first.reason.as_ref().and_then(|reason| words(lang).next(reason, of));
            let next = move |lang: Lang| next(lang).unwrap_or_else(|| code.next(lang).to_owned());
            Some(Concern::new(code, |lang| format!("{}{list}", lang.pick(ja, en))).then(next))
        };
        let limited = one(
            Code::MonthUsedUp,
            &limited,
            "今月の上限に達して保留中: ",
            "held since LINE's monthly limit is reached: ",
        );
        let held = one(Code::Held, &held, "人の判断を待って保留中: ", "held for a person's decision: ");
        held.into_iter().chain(limited).collect()
    }

    fn pauses(&self, words: impl Fn(Lang) -> Words + Copy) -> Vec<Concern> {
        let kinds = [
            (
                false,
                true,
                Code::CampaignPausedByGuard,
                "自動で一時停止したキャンペーン: ",
                "campaigns that a guard paused: ",
            ),
            (
                true,
                true,
                Code::DripPausedByGuard,
                "自動で一時停止したシナリオ: ",
                "drips that a guard paused: ",
            ),
            (
                false,
                false,
                Code::CampaignPaused,
                "一時停止中のキャンペーン: ",
                "campaigns that a person paused: ",
            ),
            (true, false, Code::DripPaused, "一時停止中のシナリオ: ", "drips that a person paused: "),
        ];
        let one = |(drip, guard, code, ja, en): (bool, bool, Code, &'static str, &'static str)| {
            let those = self.paused_campaigns.iter();
            let those: Vec<&PausedOne> =
                those.filter(|one| one.drip == drip && (one.halt.by == GUARD) == guard).collect();
            let first = those.first()?;
            let list = named(those.iter().map(|one| one.slug.to_string()));
            let said = |lang: Lang| {
                let since = words(lang).halted(&first.halt);
                format!("{}{list}{}{since}", lang.pick(ja, en), lang.pick("　", "; "))
            };
            let (kind, slug) = (if drip { "drip" } else { "campaign" }, &first.slug);
            let resume = |lang: Lang| {
                let resume = format!("haishin {kind} resume {slug}");
                lang.pick(format!("再開: {resume}"), format!("go on with: {resume}"))
            };
            let next = |lang: Lang| match &first.halt.reason {
                Reason::PausedByPerson => resume(lang),
                reason => {
                    words(lang).next(reason, Subject::Campaign(&first.slug)).unwrap_or_else(|| resume(lang))
                }
            };
            Some(Concern::new(code, said).then(next))
        };
        kinds.into_iter().filter_map(one).collect()
    }

    /// What should have happened by now.
    fn delays(&self, words: impl Fn(Lang) -> Words + Copy) -> Vec<Concern> {
        let now = self.now;
        let minutes = |span: Span| span.as_millis() / 60_000;
        let mut concerns = Vec::new();
        if let Some((slug, late)) = self.late.as_ref().filter(|(_, late)| *late >= LATE) {
            let late = minutes(*late);
            concerns.push(Concern::new(Code::Late, |lang| {
                lang.pick(
                    format!("{slug} が {late}分遅れています"),
                    format!("{slug} is due and does not go out: {late} minutes late"),
                )
            }));
        }
        if let Some(late) = self.steps_late.filter(|late| *late >= LATE) {
            let late = minutes(late);
            concerns.push(Concern::new(Code::StepsLate, |lang| {
                lang.pick(
                    format!("シナリオのステップが {late}分遅れています"),
                    format!("steps of drips are due and do not go out: {late} minutes late"),
                )
            }));
        }
        if let Some(oldest) = self.inbox_oldest.filter(|oldest| now - *oldest > INBOX_LAG) {
            concerns.push(Concern::new(Code::InboxLag, |lang| {
                let oldest = words(lang).at(oldest);
                lang.pick(
                    format!("受け取った変更の反映が遅れています（最も古いもの {oldest}）"),
                    format!("what came in waits to be applied, the oldest since {oldest}"),
                )
            }));
        }
        let late = |(lane, _): &&(OutboxLane, Option<Failure>)| now - lane.oldest >= LATE_REQUEST;
        let halted = self.stopped.is_some() || self.paused.is_some() || self.seen_at - now > CLOCK_BEHIND;
        let lanes: Vec<_> = self.lanes.iter().filter(late).filter(|_| !halted).collect();
        if !lanes.is_empty() {
            let said = |lang: Lang| {
                let line =
                    |(lane, last): &&(OutboxLane, Option<Failure>)| words(lang).waits(lane, last.as_ref());
                lanes.iter().map(line).collect::<Vec<_>>().join(lang.pick("。", "; "))
            };
            concerns.push(Concern::new(Code::OutboxLate, said));
        }
        if let Some(oldest) = self.relay.oldest.filter(|oldest| now - *oldest >= LATE_REQUEST) {
            let rows = self.relay.rows;
            concerns.push(Concern::new(Code::RelayLate, |lang| {
                let oldest = words(lang).at(oldest);
                lang.pick(
                    format!("Webhook {rows}件が転送を待っています（最も古いもの {oldest}）"),
                    format!("webhooks wait to be handed on: {rows}, the oldest since {oldest}"),
                )
            }));
        }
        concerns
    }

    /// What happened and stays so.
    fn past(&self) -> Vec<Concern> {
        let Troubles { unknown, last_unknown, refused, missed, given_up } = self.troubles;
        let mut concerns = Vec::new();
        let mut count = |code: Code, count: u64, ja: &'static str, en: &'static str| {
            if count > 0 {
                concerns.push(Concern::new(code, |lang| lang.pick(ja, en).replace("{}", &count.to_string())));
            }
        };
        count(Code::Strays, self.strays, "宛先不明の変更 {}件", "changes that named no friend: {}");
        count(
            Code::Refused,
            refused,
            "この3日間に見送られた配信 {}回",
            "occurrences refused in the last 3 days: {}",
        );
        count(
            Code::Missed,
            missed,
            "この3日間に時機を逃した配信 {}回",
            "occurrences missed in the last 3 days: {}",
        );
        count(
            Code::OutboxGivenUp,
            given_up,
            "この3日間にあきらめた通知・リッチメニュー {}件",
            "requests beside sends given up in the last 3 days: {}",
        );
        let friends = unknown + self.unknown_open;
        if friends > 0 {
            let said = move |lang: Lang| {
                lang.pick(
                    format!("届いたか分からない友だち {friends}人"),
                    format!("friends of whom nobody can say whether LINE took their message: {friends}"),
                )
            };
            let number = last_unknown.map_or("N".to_owned(), |id| id.to_string());
            let next = move |lang: Lang| {
                lang.pick(
                    format!("LINE の統計などで分かったら haishin occurrence resolve {number} --unknown accepted または --unknown rejected"),
                    format!("once you know, from LINE's statistics or otherwise: haishin occurrence resolve {number} --unknown accepted, or --unknown rejected"),
                )
            };
            concerns.push(Concern::new(Code::Unknown, said).then(next));
        }
        concerns
    }
}

/// The first few of a list, and how many more there are.
fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let list = all.take(NAMED).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list} +{more}") } else { list }
}
