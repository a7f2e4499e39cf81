//! The one place that puts what is stored as data into a reader's language: states, outcomes, exclusions, reasons.
//! Logs take the English.

mod outbox;

use crate::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::plan::{Reach, Refusal, Wait, Warning};
use crate::domain::reason::{Reason, Said};
use crate::domain::time::{Instant, Tz};
use crate::lang::Lang;
use crate::store::Halt;
pub use outbox::failure_words;

/// Who did what no person did, in records.
pub const GUARD: &str = "guard";

/// A reader: language and zone.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// The language.
    pub lang: Lang,
    /// Instants are shown in it.
    pub zone: Tz,
}

/// What a reason is told of: the commands that follow from it name it.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// An account.
    Account,
    /// A campaign.
    Campaign(&'a CampaignSlug),
    /// One occurrence of a campaign.
    Occurrence(&'a CampaignSlug, OccurrenceId),
}

impl Subject<'_> {
    fn campaign(self) -> String {
        match self {
            Self::Account => "CAMPAIGN".into(),
            Self::Campaign(slug) | Self::Occurrence(slug, _) => slug.to_string(),
        }
    }

    fn occurrence(self) -> String {
        match self {
            Self::Account | Self::Campaign(_) => "N".into(),
            Self::Occurrence(_, id) => id.to_string(),
        }
    }
}

impl Words {
    /// A reason, and what to do next.
    pub fn reason(self, reason: &Reason, of: Subject<'_>) -> String {
        joined(self.what(reason), self.next(reason, of))
    }

    /// What became of a batch and why, and what to do next: of what is unknown only a person can say more.
    pub fn batch(self, outcome: Outcome, reason: &Reason, of: Subject<'_>) -> String {
        let next = match outcome {
            Outcome::Unknown => Some(self.resolve(of)),
            _ => self.next(reason, of),
        };
        joined(self.what(reason), next)
    }

    fn what(self, reason: &Reason) -> String {
        let pick = |ja: &str, en: &str| self.lang.pick(ja, en).to_owned();
        let both = |ja: String, en: String| self.lang.pick(ja, en);
        match reason {
            Reason::Words { words } if words.is_empty() => {
                pick("理由の記入はありません", "no reason was given")
            }
            Reason::Words { words } => words.clone(),
            Reason::DatabaseWentBack => pick(
                "データベースが過去の状態に戻っています（古いバックアップ？）。それまでに時刻が来ていたものは人の判断を待ちます",
                "the database went back in time (an old backup?); everything due before now waits for a person",
            ),
            Reason::Restored { as_of } => {
                let as_of = as_of.map(|at| self.at(at));
                let as_of = as_of.map(|at| self.lang.pick(format!("（{at} 時点）"), format!(" as of {at}")));
                let as_of = as_of.unwrap_or_default();
                both(
                    format!(
                        "バックアップ{as_of}から復元したデータベースです。その後に送ったものを知りません。それまでに時刻が来ていたものは人の判断を待ちます"
                    ),
                    format!(
                        "the database was restored from a backup{as_of} and does not know what was sent since; everything due before now waits for a person"
                    ),
                )
            }
            Reason::TokenRefused => {
                pick("LINE がアクセストークンを拒否しました（401）", "LINE refused the access token (401)")
            }
            Reason::AccountForbidden => pick(
                "LINE がこのアカウントからの送信を許可していません（403）",
                "LINE does not let this account send (403)",
            ),
            Reason::PausedByPerson => pick("担当者が一時停止しました", "paused by a person"),
            Reason::BatchRefused(said) => both(
                format!("LINE が送信を拒否しました（{}）。その分は誰にも届いていません", said_words(said)),
                format!("LINE refused a batch ({}); nothing of it was sent", said_words(said)),
            ),
            Reason::RejectedInARow { batches, said } => both(
                format!("LINE が {batches}回続けて送信を拒否しました（{}）", said_words(said)),
                format!("LINE refused {batches} batches in a row ({})", said_words(said)),
            ),
            Reason::ManyQuarantined { friends } => both(
                format!(
                    "1回の配信で LINE が {friends}件のユーザーIDを拒否しました。別のチャネルの友だちではありませんか"
                ),
                format!(
                    "LINE refused {friends} user ids in one occurrence: are they another channel's friends?"
                ),
            ),
            Reason::MonthlyLimit { limit } => both(
                format!("今月の上限 {limit}通に達しました"),
                format!("this month's limit of {limit} messages is reached"),
            ),
            Reason::CancelledByPerson { by } => {
                both(format!("{by} が取り消しました"), format!("cancelled by {by}"))
            }
            Reason::SkippedByPerson { by } => both(
                format!("再開のときに {by} が「送らない」を選びました"),
                format!("skipped by {by} at the start after a stop"),
            ),
            Reason::NotCaughtUp => pick(
                "送信できない間に時刻が来て、if_missed と grace により送りませんでした",
                "it fell due while nothing could be sent; if_missed and grace do not catch it up",
            ),
            Reason::LineRefused(said) => both(
                format!("LINE が拒否しました（{}）。届いていません", said_words(said)),
                format!("LINE refused it ({}): surely not sent", said_words(said)),
            ),
            Reason::RecipientRefused(_) => {
                pick("LINE がこのユーザーIDを拒否しました", "LINE refused this user id")
            }
            Reason::RefusedAfterDoubt(said) => both(
                format!("届いたかもしれない送信のあとで LINE が拒否しました（{}）", said_words(said)),
                format!("LINE refused it ({}) after an attempt that may have been taken", said_words(said)),
            ),
            Reason::KeyExpired => pick(
                "最初の送信から23時間（または時計が戻されて経過が不明）、LINE の答えがありません。届いたかもしれないので再送しません",
                "no answer within 23 h of the first request (or of an unknown time, by a clock set back): possibly sent, not sent again",
            ),
            Reason::BodyChanged => pick(
                "送信内容が最初と一致しません（送信中の更新？）。届いたかもしれないので再送しません",
                "the body is not the one that was opened (an upgrade in mid-send?): possibly sent, not sent again",
            ),
            Reason::Expired { deadline } => both(
                format!("期限 {} を過ぎました", self.at(*deadline)),
                format!("the deadline {} passed", self.at(*deadline)),
            ),
            Reason::ResolvedByPerson { by } => {
                both(format!("{by} が結果を決めました"), format!("resolved by {by}"))
            }
            Reason::Refused(refusal) => self.refused(refusal),
        }
    }

    /// What to do next of a reason, where there is something to do.
    pub fn next(self, reason: &Reason, of: Subject<'_>) -> Option<String> {
        let (campaign, number) = (of.campaign(), of.occurrence());
        let both = |ja: String, en: String| Some(self.lang.pick(ja, en));
        match reason {
            Reason::Words { .. } => match of {
                Subject::Account => both("再開: haishin start".into(), "go on with: haishin start".into()),
                Subject::Campaign(_) | Subject::Occurrence(..) => None,
            },
            Reason::DatabaseWentBack | Reason::Restored { .. } => match of {
                Subject::Account | Subject::Campaign(_) => both(
                    "haishin occurrence list を LINE 側の記録と見比べてから haishin start".into(),
                    "compare `haishin occurrence list` with LINE's own records, then: haishin start".into(),
                ),
                Subject::Occurrence(..) => both(
                    format!("LINE 側の記録と見比べてから haishin occurrence resolve {number} --held send または --held cancel"),
                    format!("compare with LINE's own records, then: haishin occurrence resolve {number} --held send, or --held cancel"),
                ),
            },
            Reason::TokenRefused => both(
                "正しいトークンを置き、haishin apply で読み直してから haishin start".into(),
                "put a valid one in place, read it with `haishin apply`, then: haishin start".into(),
            ),
            Reason::AccountForbidden => both(
                "LINE Official Account Manager でプランとアカウントの状態を確かめ、解決したら haishin start".into(),
                "look at the plan and the account in LINE Official Account Manager; once settled: haishin start".into(),
            ),
            Reason::PausedByPerson => both(
                format!("再開: haishin campaign resume {campaign}"),
                format!("go on with: haishin campaign resume {campaign}"),
            ),
            Reason::BatchRefused(_) | Reason::RejectedInARow { .. } => both(
                format!("メッセージを直して haishin apply。送信中の分は元のままなので、取り消すなら haishin campaign cancel {campaign}、続けるなら haishin campaign resume {campaign}"),
                format!("mend the messages and `haishin apply`; what is open keeps the old ones: end it with haishin campaign cancel {campaign}, or go on with haishin campaign resume {campaign}"),
            ),
            Reason::ManyQuarantined { .. } => both(
                format!("取り込んだユーザーIDを確かめてから haishin campaign resume {campaign}（取り消すなら haishin campaign cancel {campaign}）"),
                format!("look at what was imported, then: haishin campaign resume {campaign}, or haishin campaign cancel {campaign}"),
            ),
            Reason::MonthlyLimit { .. } => both(
                format!("LINE Official Account Manager で上限を上げるか月が替わると自動で続きます。送らないなら haishin occurrence resolve {number} --held cancel"),
                format!("it goes on by itself when the limit is raised in LINE Official Account Manager or the month turns; to send none of it: haishin occurrence resolve {number} --held cancel"),
            ),
            Reason::CancelledByPerson { .. } => both(
                format!("今後の配信も止めるなら haishin campaign pause {campaign}"),
                format!("to keep later ones back too: haishin campaign pause {campaign}"),
            ),
            Reason::LineRefused(_) => both(
                format!("メッセージを直してください。{}", self.again()),
                format!("mend the messages; {}", self.again()),
            ),
            Reason::SkippedByPerson { .. } | Reason::NotCaughtUp | Reason::Expired { .. } => {
                Some(self.again().into())
            }
            Reason::RecipientRefused(_) => both(
                "今後の配信から除かれます。友だちのはずなら、正しいIDを取り込んでください".into(),
                "the friend is left out from now on; if it is a real one, import the right id".into(),
            ),
            Reason::RefusedAfterDoubt(_) | Reason::KeyExpired | Reason::BodyChanged => {
                Some(self.resolve(of))
            }
            Reason::ResolvedByPerson { .. } => None,
            Reason::Refused(refusal) => Some(match of {
                Subject::Occurrence(..) => format!(
                    "{}{}",
                    self.lang.pick(format!("{}。", self.remedy(refusal)), format!("{}; ", self.remedy(refusal))),
                    self.again()
                ),
                Subject::Account | Subject::Campaign(_) => self.remedy(refusal).into(),
            }),
        }
    }

    /// How to send what was not sent.
    fn again(self) -> &'static str {
        self.lang.pick(
            "送り直すには新しい時刻にして（1回きりなら rerun も1つ増やして）haishin apply",
            "to send it after all: a new time (for a one-shot also `rerun` raised by one), then haishin apply",
        )
    }

    fn resolve(self, of: Subject<'_>) -> String {
        let number = of.occurrence();
        self.lang.pick(
            format!("LINE の統計などで分かったら haishin occurrence resolve {number} --unknown accepted または --unknown rejected"),
            format!("once you know, from LINE's statistics or otherwise: haishin occurrence resolve {number} --unknown accepted, or --unknown rejected"),
        )
    }

    /// Why a whole occurrence is refused.
    fn refused(self, refusal: &Refusal) -> String {
        let both = |ja: String, en: String| self.lang.pick(ja, en);
        match refusal {
            Refusal::DeadlinePassed { deadline } => both(
                format!("期限 {} を過ぎたか、配信しない時間帯のうちに過ぎます", self.at(*deadline)),
                format!("the deadline {} has passed, or passes in quiet hours", self.at(*deadline)),
            ),
            Refusal::MaxRecipients { recipients, max } => both(
                format!(
                    "配信対象 {recipients}人が max_recipients = {max} を超えています。減らして送ることはしません"
                ),
                format!("{recipients} recipients are more than max_recipients = {max}; nothing is truncated"),
            ),
            Refusal::Blanket(reach) => self.reach(reach),
            Refusal::Quota(budget) => both(
                format!(
                    "配信対象 {}人が今月使える {}通を超えています（上限 {}通、うち予約・発送用に {}通）",
                    budget.recipients, budget.available, budget.limit, budget.kept
                ),
                format!(
                    "{} recipients are more than the {} messages left this month (limit {}, {} kept for service)",
                    budget.recipients, budget.available, budget.limit, budget.kept
                ),
            ),
            Refusal::QuotaUnreadable => both(
                "猶予のうちに LINE の残り通数を読み取れませんでした".into(),
                "LINE's quota could not be read within the grace".into(),
            ),
        }
    }

    fn remedy(self, refusal: &Refusal) -> &'static str {
        match refusal {
            Refusal::DeadlinePassed { .. } => {
                self.lang.pick("期限を後にしてください", "set a later deadline")
            }
            Refusal::MaxRecipients { .. } => self.lang.pick(
                "条件を絞るか max_recipients を上げてください",
                "narrow the rule, or raise max_recipients",
            ),
            Refusal::Blanket(_) => self.lang.pick(
                "条件を絞るか、全員に送るつもりなら reach = \"everyone\" と書いてください",
                "narrow the rule, or say reach = \"everyone\" if that is meant",
            ),
            Refusal::Quota(_) => self.lang.pick(
                "条件を絞るか、LINE Official Account Manager で上限を上げてください",
                "narrow the rule, or raise the limit in LINE Official Account Manager",
            ),
            Refusal::QuotaUnreadable => self.lang.pick(
                "LINE への接続とトークンを確かめてください",
                "look at the connection to LINE and at the token",
            ),
        }
    }

    fn reach(self, reach: &Reach) -> String {
        self.lang.pick(
            format!(
                "条件が、届く友だち {}人のうち {}人に一致しています（{} を超えます）",
                reach.reachable, reach.matched, reach.share
            ),
            format!(
                "the rule matches {} of {} reachable friends, more than {}",
                reach.matched, reach.reachable, reach.share
            ),
        )
    }

    /// What a person should hear although it goes out.
    pub fn warning(self, warning: &Warning) -> String {
        match warning {
            Warning::Blanket(reach) => self.reach(reach),
            Warning::Quota(budget) => self.lang.pick(
                format!(
                    "今月の残りは {}通（上限 {}通）で、この配信は {}通です",
                    budget.available, budget.limit, budget.recipients
                ),
                format!(
                    "{} messages are left of {} this month before this send of {}",
                    budget.available, budget.limit, budget.recipients
                ),
            ),
        }
    }

    /// What an occurrence waits for.
    pub fn wait(self, wait: Wait) -> String {
        match wait {
            Wait::QuietHours { until } => self.lang.pick(
                format!("配信しない時間帯です（{} まで）", self.at(until)),
                format!("quiet hours, until {}", self.at(until)),
            ),
            Wait::QuotaUnreadable => self
                .lang
                .pick("LINE の残り通数をまだ読み取れていません", "LINE's monthly quota has not been read yet")
                .into(),
        }
    }

    /// The clock shows less than what was already seen.
    pub fn clock_behind(self, now: Instant, seen: Instant) -> String {
        let next = self.lang.pick(
            "時計を直すか、今の時計が正しければ haishin start --accept-clock",
            "put the clock right, or, if it is right now: haishin start --accept-clock",
        );
        format!("{} → {next}", self.clock_is_behind(now, seen))
    }

    /// The same without what to do.
    pub fn clock_is_behind(self, now: Instant, seen: Instant) -> String {
        let (now, seen) = (self.at(now), self.at(seen));
        self.lang.pick(
            format!("時計が遅れています（今 {now}、これまでの最新 {seen}）。追いつくまで何も配信しません"),
            format!("clock behind: it shows {now}, and {seen} was seen before; nothing is planned or sent until it catches up"),
        )
    }

    /// Since when, by whom and why something stands still, and what to do next.
    pub fn halt(self, halt: &Halt, of: Subject<'_>) -> String {
        format!("{} ({}): {}", self.at(halt.at), self.by(&halt.by), self.reason(&halt.reason, of))
    }

    /// Since when, by whom and why, without what to do.
    pub fn halted(self, halt: &Halt) -> String {
        format!("{} ({}): {}", self.at(halt.at), self.by(&halt.by), self.what(&halt.reason))
    }

    /// The same for programs: `reason` is for people, `why` has the code and its parameters.
    pub fn halt_json(self, halt: &Halt, of: Subject<'_>) -> serde_json::Value {
        let reason = self.reason(&halt.reason, of);
        serde_json::json!({ "at": halt.at, "by": halt.by, "reason": reason, "why": halt.reason })
    }

    /// Who did something: a person's name, or the guard.
    pub fn by(self, by: &str) -> &str {
        if by == GUARD { self.lang.pick("自動", GUARD) } else { by }
    }

    /// An instant on the reader's clock.
    pub fn at(self, at: Instant) -> String {
        at.rfc3339(self.zone)
    }
}

fn joined(what: String, next: Option<String>) -> String {
    match next {
        Some(next) => format!("{what} → {next}"),
        None => what,
    }
}

/// LINE's words are its own, in whatever language.
fn said_words(said: &Said) -> String {
    match said.message.as_str() {
        "" => said.status.to_string(),
        message => format!("{}: {message}", said.status),
    }
}

/// A state in words.
pub fn state_words(state: OccurrenceState, lang: Lang) -> &'static str {
    match state {
        OccurrenceState::Refused => lang.pick("見送り", "refused"),
        OccurrenceState::Missed => lang.pick("時機を逃した", "missed"),
        OccurrenceState::Sending => lang.pick("送信中", "sending"),
        OccurrenceState::Paused => lang.pick("一時停止", "paused"),
        OccurrenceState::Held => lang.pick("保留", "held"),
        OccurrenceState::Finished => lang.pick("完了", "finished"),
        OccurrenceState::Cancelled => lang.pick("取消", "cancelled"),
    }
}

/// An outcome in words.
pub fn outcome_words(outcome: Outcome, lang: Lang) -> &'static str {
    match outcome {
        Outcome::Accepted => lang.pick("受付", "accepted"),
        Outcome::Rejected => lang.pick("拒否", "rejected"),
        Outcome::Unknown => lang.pick("不明", "unknown"),
        Outcome::Cancelled => lang.pick("取消", "cancelled"),
        Outcome::Expired => lang.pick("期限切れ", "expired"),
        Outcome::Erased => lang.pick("削除済み", "erased"),
    }
}

/// An exclusion in words.
pub fn exclusion_words(exclusion: &Exclusion, lang: Lang) -> String {
    match exclusion {
        Exclusion::NotFollowing => lang.pick("ブロック中", "not following").into(),
        Exclusion::Erased => lang.pick("削除済み", "erased").into(),
        Exclusion::Quarantined => lang.pick("LINEが拒否した宛先", "quarantined").into(),
        Exclusion::OptedOut => lang.pick("配信停止", "opted out").into(),
        Exclusion::Missed => lang.pick("時機を逃した", "missed").into(),
        Exclusion::SameContent => lang.pick("同じ内容を受信済み", "got the same content").into(),
        Exclusion::Once => lang.pick("このキャンペーンを受信済み", "got this campaign (once)").into(),
        Exclusion::Capped { cap } => format!("{} {cap}", lang.pick("上限", "cap")),
        Exclusion::Deferred { cap } => format!("{} {cap}", lang.pick("上限で延期", "deferred by cap")),
        Exclusion::ValueMissing => lang.pick("差し込む値がない", "value missing").into(),
        Exclusion::PoolEmpty => lang.pick("クーポン切れ", "coupon pool empty").into(),
        Exclusion::NotSampled => lang.pick("抽選外", "not sampled").into(),
        Exclusion::Holdout => lang.pick("比較用に保留", "holdout").into(),
    }
}
