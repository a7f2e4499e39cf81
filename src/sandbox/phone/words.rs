//! The page's words, in Japanese and English.

use chrono::{DateTime, Datelike};
use chrono_tz::Tz;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lang {
    Ja,
    En,
}

impl Lang {
    /// `?lang=` if it names one, else the first of Accept-Language that is one, else Japanese.
    pub(super) fn choose(asked: Option<&str>, accepted: Option<&str>) -> Self {
        let named = |tag: &str| match tag.trim().get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("ja") => Some(Self::Ja),
            Some("en") => Some(Self::En),
            _ => None,
        };
        asked
            .and_then(named)
            .or_else(|| accepted.and_then(|list| list.split(',').find_map(named)))
            .unwrap_or(Self::Ja)
    }

    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Ja => "ja",
            Self::En => "en",
        }
    }

    const fn pick(self, ja: &'static str, en: &'static str) -> &'static str {
        match self {
            Self::Ja => ja,
            Self::En => en,
        }
    }

    pub(super) const fn other(self) -> (Self, &'static str) {
        match self {
            Self::Ja => (Self::En, "English"),
            Self::En => (Self::Ja, "日本語"),
        }
    }

    pub(super) const fn phones(self) -> &'static str {
        self.pick("友だちのスマホ", "Friends' phones")
    }
    pub(super) const fn back(self) -> &'static str {
        self.pick("友だち一覧", "All friends")
    }
    pub(super) const fn search(self) -> &'static str {
        self.pick("名前またはユーザーID", "Name or user id")
    }
    pub(super) const fn find(self) -> &'static str {
        self.pick("さがす", "Find")
    }
    pub(super) const fn blocked(self) -> &'static str {
        self.pick("ブロック中", "blocked")
    }
    pub(super) const fn nothing_yet(self) -> &'static str {
        self.pick("まだメッセージは届いていません", "No message has arrived yet")
    }
    pub(super) const fn nobody(self) -> &'static str {
        self.pick("該当する友だちはいません", "No friend matches")
    }
    pub(super) const fn missing(self) -> &'static str {
        self.pick("この友だちはいません", "There is no such friend")
    }
    pub(super) const fn sandbox(self) -> &'static str {
        self.pick(
            "これはサンドボックスです。実際のLINEには何も送られません。",
            "This is the sandbox: nothing is sent to the real LINE.",
        )
    }
    pub(super) const fn menu(self) -> &'static str {
        self.pick("リッチメニュー", "Rich menu")
    }
    pub(super) const fn silent(self) -> &'static str {
        self.pick("通知なし", "silent")
    }
    pub(super) const fn coupon(self) -> &'static str {
        self.pick("クーポン", "Coupon")
    }
    pub(super) const fn coupon_button(self) -> &'static str {
        self.pick("クーポンを見る", "View coupon")
    }
    pub(super) const fn until(self) -> &'static str {
        self.pick("有効期限", "Valid until")
    }

    /// `407人` or `407 friends`, and how many of them are shown.
    pub(super) fn count(self, shown: usize, all: usize) -> String {
        match (self, shown == all) {
            (Self::Ja, true) => format!("{all}人"),
            (Self::Ja, false) => format!("{all}人のうち{shown}人"),
            (Self::En, true) => format!("{all} friends"),
            (Self::En, false) => format!("{shown} of {all} friends"),
        }
    }

    /// `3件` or `3 messages`.
    pub(super) fn messages(self, n: u32) -> String {
        match (self, n) {
            (Self::Ja, n) => format!("{n}件"),
            (Self::En, 1) => "1 message".into(),
            (Self::En, n) => format!("{n} messages"),
        }
    }

    /// A day, as it stands between the messages of two days.
    pub(super) fn day(self, at: DateTime<Tz>) -> String {
        match self {
            Self::Ja => {
                let weekday = ["月", "火", "水", "木", "金", "土", "日"];
                let weekday =
                    weekday.get(at.weekday().num_days_from_monday() as usize).copied().unwrap_or_default();
                format!("{}月{}日({weekday})", at.month(), at.day())
            }
            Self::En => at.format("%a, %b %-d").to_string(),
        }
    }

    /// What a message of a type not drawn here is called.
    pub(super) fn kind(self, kind: &str) -> String {
        let word = match kind {
            "sticker" => self.pick("スタンプ", "Sticker"),
            "video" => self.pick("動画", "Video"),
            "audio" => self.pick("ボイスメッセージ", "Audio"),
            "location" => self.pick("位置情報", "Location"),
            "imagemap" => self.pick("リッチメッセージ", "Imagemap"),
            "template" => self.pick("カードタイプメッセージ", "Template message"),
            "flex" => "Flex Message",
            other => return other.to_owned(),
        };
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_speaks_the_reader_s_language() {
        assert_eq!(Lang::choose(None, None), Lang::Ja);
        assert_eq!(Lang::choose(None, Some("de-DE, en;q=0.5, ja;q=0.1")), Lang::En);
        assert_eq!(Lang::choose(None, Some("fr")), Lang::Ja);
        assert_eq!(Lang::choose(Some("en"), Some("ja")), Lang::En);
        assert_eq!(Lang::choose(Some("日"), Some("en-US")), Lang::En);
    }
}
