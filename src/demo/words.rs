//! What the narrator says, in both languages. Every number comes in as an argument.

use chrono::Datelike as _;
use unicode_width::UnicodeWidthStr as _;

use super::ask::{Open, Shown};
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::OccurrenceId;
use crate::domain::time::{Instant, Tz};
use crate::engine::words::{exclusion_words, state_words};
use crate::lang::Lang;

/// The narrator's language and the shop's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) lang: Lang,
    pub(super) zone: Tz,
}

/// How an occurrence's requests went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sending {
    /// Attempts beyond the first of their batch, in this process.
    pub(super) again: u64,
    /// Of those and of what an earlier process left: answered 409, already accepted.
    pub(super) conflicts: u64,
    /// Batches an earlier process left without an answer, with how many of them LINE had not had: answered 200.
    pub(super) left: Option<(u64, u64)>,
    /// Friends who got one content twice, as the sandbox counts them.
    pub(super) twice: u64,
}

/// Where things are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) phone: &'a str,
    pub(super) config: &'a str,
    pub(super) dir: &'a str,
    pub(super) pid: u32,
}

impl Words {
    fn pick<'a>(self, ja: &'a str, en: &'a str) -> &'a str {
        self.lang.pick(ja, en)
    }

    /// Hours and minutes, or with seconds.
    fn time(self, at: Instant, seconds: bool) -> String {
        at.in_zone(self.zone).format(if seconds { "%H:%M:%S" } else { "%H:%M" }).to_string()
    }

    /// Month, day, weekday.
    fn day(self, at: Instant) -> String {
        let day = at.day_in(self.zone);
        let n = day.weekday().num_days_from_monday() as usize;
        match self.lang {
            Lang::Ja => {
                let weekday = ["月", "火", "水", "木", "金", "土", "日"].get(n).copied().unwrap_or_default();
                format!("{}({weekday})", day.format("%m/%d"))
            }
            Lang::En => day.format("%a %-d %b").to_string(),
        }
    }

    /// While the shop is being set up.
    pub(super) fn preparing(self) -> &'static str {
        self.lang.pick("友だちを取り込んでいます…", "taking the friends in …")
    }

    /// While the days before are being run.
    pub(super) fn before(self, at: Instant) -> String {
        format!(
            "{} {}",
            self.pick("これまでの配信を動かしています…", "running the days before …"),
            self.day(at)
        )
    }

    /// The shop, and where to look.
    pub(super) fn opening(
        self,
        shop: &str,
        friends: u64,
        following: u64,
        now: Instant,
        at: Place<'_>,
    ) -> String {
        let [all, reach, blocked] = [friends, following, friends.saturating_sub(following)].map(grouped);
        let (day, time) = (self.day(now), self.time(now, false));
        let Place { phone, config, .. } = at;
        match self.lang {
            Lang::Ja => format!(
                "デモ店舗「{shop}」 友だち{all}人(届く{reach} / ブロック{blocked})  外部には一切送りません\n\
                 スマホ画面 {phone}   設定 {config}   時計 {day} {time}"
            ),
            Lang::En => format!(
                "Demo shop “{shop}”  {all} friends ({reach} reachable / {blocked} blocked)  nothing leaves this machine\n\
                 phone {phone}   configuration {config}   clock {day} {time}"
            ),
        }
    }

    /// One line for what ran before the narrator began.
    pub(super) fn earlier(self, title: &str, shown: &Shown) -> String {
        let (day, time) = (self.day(shown.due_at), self.time(shown.due_at, false));
        let accepted = grouped(shown.books().accepted);
        match (shown.state, self.lang) {
            (OccurrenceState::Finished, Lang::Ja) => {
                format!("  {day} {time} {title}  {accepted}人に配信済み")
            }
            (OccurrenceState::Finished, Lang::En) => format!("  {day} {time} {title}  sent to {accepted}"),
            (state, lang) => {
                format!("  {day} {time} {title}  {}", state_words(state, lang))
            }
        }
    }

    /// Before the clock skips to what drips send on the days after.
    pub(super) fn later(self, next: Instant) -> String {
        let (day, time) = (self.day(next), self.time(next, false));
        match self.lang {
            Lang::Ja => format!("… 時計を {day} {time} まで進めます"),
            Lang::En => format!("… the clock skips to {day} {time}"),
        }
    }

    /// The heading over those lines.
    pub(super) fn earlier_heading(self) -> &'static str {
        self.lang.pick("これまで", "Earlier")
    }

    /// What was open when an earlier process ended.
    pub(super) fn left_open(self, title: &str, now: Instant, open: &Open, batches: usize) -> String {
        let time = self.time(now, true);
        let [accepted, all] = [open.accepted, open.recipients].map(grouped);
        let untried = grouped(open.not_yet_sent.saturating_sub(open.possibly_sent));
        let doubtful = grouped(open.possibly_sent);
        match self.lang {
            Lang::Ja => format!(
                "{time} 前回は「{title}」の途中で終わりました\n  LINEが受け付けた {accepted}/{all}人   返事を聞けなかった {batches}バッチ({doubtful}人) → 同じキーで問い直します   まだ送っていない {untried}人"
            ),
            Lang::En => format!(
                "{time} Last time ended in the middle of {title}\n  accepted by LINE {accepted}/{all}   {} without an answer ({doubtful} friends) → asked again under the same key   not yet sent {untried}",
                plural(batches as u64, "batch", "batches")
            ),
        }
    }

    /// What a freeze decided, as a table.
    pub(super) fn frozen(
        self,
        title: &str,
        segment: Option<&str>,
        shown: &Shown,
        price: Option<u64>,
    ) -> String {
        let time = self.time(shown.due_at, false);
        let mut text = match (segment, self.lang) {
            (Some(segment), Lang::Ja) => format!("{time} {title} → 「{segment}」"),
            (Some(segment), Lang::En) => format!("{time} {title} → “{segment}”"),
            (None, _) => format!("{time} {title}"),
        };
        let mut rows = vec![(format!("  {}", self.pick("条件に一致", "matched")), shown.books().matched)];
        for (exclusion, friends) in shown.exclusions() {
            rows.push((format!("   − {}", exclusion_words(exclusion, self.lang)), *friends));
        }
        rows.push((format!("  {}", self.pick("配信する", "recipients")), shown.recipients));
        let label = rows.iter().map(|(label, _)| label.width()).max().unwrap_or(0);
        let number = rows.iter().map(|(_, count)| grouped(*count).len()).max().unwrap_or(0);
        let unit = self.pick("人", "");
        for (name, count) in &rows {
            let pad = " ".repeat(label - name.width());
            text += &format!("\n{name}{pad}  {:>number$}{unit}", grouped(*count));
        }
        text += &self.costs(shown, price);
        if let Some(reason) = &shown.reason {
            text += &format!("\n  {}: {reason}", state_words(shown.state, self.lang));
        }
        text
    }

    fn costs(self, shown: &Shown, price: Option<u64>) -> String {
        let Some(quota) = shown.detail.quota else { return String::new() };
        let before = quota.limit.saturating_sub(quota.used);
        let after = before.saturating_sub(shown.recipients);
        let mut text =
            format!("   {} {} → {}", self.pick("残り通数", "messages left"), grouped(before), grouped(after));
        if let Some(yen) = price {
            text += &match self.lang {
                Lang::Ja => format!("   追加料金 {}円", grouped(yen)),
                Lang::En => format!("   further cost ¥{}", grouped(yen)),
            };
        }
        text
    }

    /// How far the sending is.
    pub(super) fn progress(self, now: Instant, open: &Open) -> String {
        let mut text = format!(
            "  {}  {} {}/{}",
            self.time(now, true),
            self.pick("送信", "sent"),
            grouped(open.accepted),
            grouped(open.recipients)
        );
        if open.in_flight > 0 {
            text += &format!("  {}{}", self.pick("応答待ち ", "waiting for answers: "), open.in_flight);
        }
        text
    }

    /// The clock, while nothing is being sent.
    pub(super) fn waiting(self, now: Instant, next: Option<Instant>) -> String {
        let time = self.time(now, true);
        match (next, self.lang) {
            (Some(next), Lang::Ja) => {
                format!("  {time}  次の配信 {} {}", self.day(next), self.time(next, false))
            }
            (Some(next), Lang::En) => format!("  {time}  next {} {}", self.day(next), self.time(next, false)),
            (None, Lang::Ja) => format!("  {time}  これからの配信はありません"),
            (None, Lang::En) => format!("  {time}  nothing more is due"),
        }
    }

    /// Why answers take so long.
    pub(super) fn slow(self, seconds: u64) -> String {
        match self.lang {
            Lang::Ja => {
                format!("  (わざと: LINE役の応答に{seconds}秒かかります。途中で kill -9 してみてください)")
            }
            Lang::En => {
                format!(
                    "  (on purpose: the LINE double takes {seconds} s for an answer. Try kill -9 in the middle)"
                )
            }
        }
    }

    /// How the sending ended, and the books.
    pub(super) fn ended(self, shown: &Shown, sending: Sending) -> String {
        let books = shown.books();
        let sent = self.pick("送信", "sent");
        let [accepted, all] = [books.accepted, shown.recipients].map(grouped);
        let mut parts = self.retries(sending);
        parts.push(match (sending.twice, self.lang) {
            (0, Lang::Ja) => "重複なし".into(),
            (0, Lang::En) => "nobody twice".into(),
            (twice, Lang::Ja) => format!("重複 {}人", grouped(twice)),
            (twice, Lang::En) => format!("{} got it twice", grouped(twice)),
        });
        format!("  {sent} {accepted}/{all}  {}\n  {}", parts.join(" → "), books.line(self.lang))
    }

    fn retries(self, sending: Sending) -> Vec<String> {
        let Sending { again, conflicts, left, .. } = sending;
        let mut parts = Vec::new();
        let (batches, fresh) = left.unwrap_or_default();
        if batches > 0 {
            parts.push(match self.lang {
                Lang::Ja => format!("返事を聞けなかった{batches}バッチ"),
                Lang::En => format!("{} without an answer", plural(batches, "batch", "batches")),
            });
        }
        if again > 0 {
            parts.push(match self.lang {
                Lang::Ja => format!("応答なし{again}回"),
                Lang::En => format!("no answer {}", plural(again, "time", "times")),
            });
        }
        if batches + again > 0 {
            parts.push(self.pick("同じキーで再送", "retried under the same key").into());
            let mut answers = vec![match self.lang {
                Lang::Ja => format!("LINEの答え 409(受付済み){conflicts}回"),
                Lang::En => {
                    format!("LINE answered 409 (already accepted) {}", plural(conflicts, "time", "times"))
                }
            }];
            if batches > 0 {
                answers.push(match self.lang {
                    Lang::Ja => format!("200(はじめて){fresh}回"),
                    Lang::En => format!("200 (first time) {}", plural(fresh, "time", "times")),
                });
            }
            parts.push(answers.join(self.pick("・", ", ")));
        }
        parts
    }

    /// What to do next; the process can be killed only while it lives on.
    pub(super) fn hints(self, occurrence: OccurrenceId, at: Place<'_>, lives_on: bool) -> String {
        let Place { config, dir, pid, .. } = at;
        let demo =
            if dir == "demo" { "haishin demo".to_owned() } else { format!("haishin demo --dir {dir}") };
        let mut rows = vec![
            (
                format!("haishin occurrence show {occurrence} --config {config}"),
                self.pick("この配信の内訳", "the books of this send"),
            ),
            (
                format!("haishin plan --config {config}"),
                self.pick(
                    "設定を書き換えてから: 何が変わるか",
                    "after a change to the configuration: what would change",
                ),
            ),
        ];
        if lives_on {
            let killed = self.pick(
                "途中で落としても、失わず、二度送らない",
                "killed in the middle: nobody lost, nobody twice",
            );
            rows.push((format!("kill -9 {pid}; {demo}"), killed));
        }
        let width = rows.iter().map(|(command, _)| command.width()).max().unwrap_or(0);
        let mut text = self.pick("次に", "Next").to_owned();
        for (command, meaning) in rows {
            text += &format!("\n  {command}{}   {meaning}", " ".repeat(width - command.width()));
        }
        text
    }

    /// After the last campaign.
    pub(super) fn told(self, next: Option<Instant>) -> String {
        let next = next.map(|next| format!("{} {}", self.day(next), self.time(next, false)));
        match (next, self.lang) {
            (Some(next), Lang::Ja) => {
                format!("デモの話はここまでです。次の配信は {next}。Ctrl-C で終了、--fresh で最初から")
            }
            (Some(next), Lang::En) => {
                format!(
                    "That is all of the demo's story. Next send: {next}. Ctrl-C ends it, --fresh begins anew"
                )
            }
            (None, Lang::Ja) => "デモの話はここまでです。Ctrl-C で終了、--fresh で最初から".into(),
            (None, Lang::En) => "That is all of the demo's story. Ctrl-C ends it, --fresh begins anew".into(),
        }
    }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(lang: Lang) -> Words {
        Words { lang, zone: chrono_tz::Asia::Tokyo }
    }

    fn at(text: &str) -> Instant {
        Instant::try_from(text.to_owned()).unwrap()
    }

    const PLACE: Place<'_> =
        Place { phone: "http://127.0.0.1:8471/phone", config: "demo/config", dir: "demo", pid: 4242 };

    fn shown() -> Shown {
        serde_json::from_value(json!({
            "occurrence": 4, "campaign": "winter-coupon", "due_at": "2026-12-04T18:00:00+09:00",
            "frozen_at": "2026-12-04T18:00:00.150+09:00", "finished_at": null, "state": "finished", "reason": null,
            "recipients": 347, "detail": { "quota": { "limit": 5000, "used": 347 } },
            "books": { "balanced": true, "counts": {
                "matched": 1408, "excluded": [
                    [{ "reason": "not_following" }, 1000], [{ "reason": "opted_out" }, 6],
                    [{ "reason": "capped", "cap": "販促 週2通" }, 37], [{ "reason": "holdout" }, 18]],
                "accepted": 347, "rejected": 0, "unknown": 0, "cancelled": 0, "expired": 0, "erased": 0,
                "not_yet_sent": 0 } },
            "batches": [], "open": null,
        }))
        .unwrap()
    }

    fn open() -> Open {
        serde_json::from_value(json!({
            "occurrence": 5, "accepted": 800, "recipients": 1913, "not_yet_sent": 1113, "possibly_sent": 200,
            "mark": 5, "in_flight": 1,
        }))
        .unwrap()
    }

    /// Everything the narrator says, in the order of a story.
    fn story(lang: Lang) -> String {
        let words = words(lang);
        let (title, now) = ("冬の10%OFFクーポン", at("2026-12-04T18:01:23+09:00"));
        let (shown, open) = (shown(), open());
        let lost = Sending { again: 1, conflicts: 1, ..Sending::default() };
        let killed = Sending { conflicts: 1, left: Some((2, 1)), twice: 3, ..Sending::default() };
        [
            words.opening("こはる珈琲", 3_020, 2_412, at("2026-12-04T17:59:40+09:00"), PLACE),
            words.earlier_heading().to_owned(),
            words.earlier("12月の豆のお知らせ", &shown),
            words.waiting(now, Some(at("2026-12-05T12:00:00+09:00"))),
            words.frozen(title, Some("都内の常連"), &shown, Some(0)),
            words.slow(4),
            words.progress(now, &open),
            words.ended(&shown, Sending::default()),
            words.ended(&shown, lost),
            words.hints(shown.occurrence, PLACE, true),
            words.left_open(title, now, &open, 1),
            words.ended(&shown, killed),
            words.told(Some(at("2027-01-01T11:00:00+09:00"))),
        ]
        .join("\n")
    }

    #[test]
    fn the_story_in_japanese() {
        insta::assert_snapshot!(story(Lang::Ja));
    }

    #[test]
    fn the_story_in_english() {
        insta::assert_snapshot!(story(Lang::En));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
