//! The generated shop: some three thousand friends of a coffee roaster, the same ones every time.

use std::collections::BTreeMap;

use chrono::{Datelike as _, NaiveDate};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

use super::script::STAGE;
use crate::domain::attribute::Value;
use crate::domain::effect::{DedupeId, Effect, Intake};
use crate::domain::friend::Status;
use crate::domain::id::{AttributeName, EventName, IdError, PropertyName, TagName, UserId};
use crate::domain::time::{Instant, Span};
use crate::sandbox::SandboxFriend;

/// How many friends the shop has, those who block it included.
const FRIENDS: u32 = 3_020;
const SEED: u64 = 20_261_204;

const FAMILY: [&str; 24] = [
    "佐藤",
    "鈴木",
    "高橋",
    "田中",
    "伊藤",
    "渡辺",
    "山本",
    "中村",
    "小林",
    "加藤",
    "吉田",
    "山田",
    "佐々木",
    "山口",
    "松本",
    "井上",
    "木村",
    "林",
    "斎藤",
    "清水",
    "山崎",
    "森",
    "池田",
    "橋本",
];
const GIVEN: [&str; 24] = [
    "陽葵",
    "蓮",
    "凛",
    "湊",
    "結菜",
    "大翔",
    "美咲",
    "翔太",
    "さくら",
    "健",
    "葵",
    "拓海",
    "彩",
    "直樹",
    "優子",
    "誠",
    "真由美",
    "浩",
    "由美",
    "亮",
    "恵",
    "隆",
    "千夏",
    "修",
];
/// A roaster in Tokyo: where its friends live, by weight.
const PREFECTURES: [(&str, u32); 10] = [
    ("東京都", 42),
    ("神奈川県", 14),
    ("埼玉県", 11),
    ("千葉県", 9),
    ("大阪府", 7),
    ("愛知県", 4),
    ("京都府", 4),
    ("北海道", 4),
    ("福岡県", 3),
    ("沖縄県", 2),
];

/// One friend as the shop knows them.
#[derive(Debug)]
pub(super) struct Friend {
    /// Who, as LINE's phone shows them.
    pub(super) phone: SandboxFriend,
    /// What the shop's systems would send.
    pub(super) intakes: Vec<Intake>,
}

/// The whole shop.
///
/// # Errors
/// A name in here is no name: a slip in this file, which its test finds.
pub(super) fn friends() -> Result<Vec<Friend>, IdError> {
    let mut rng = StdRng::seed_from_u64(SEED);
    (1..=FRIENDS).map(|n| Draft::new(n, &mut rng).drawn()).collect()
}

/// A friend in the making.
struct Draft<'r> {
    n: u32,
    user: UserId,
    rng: &'r mut StdRng,
    intakes: Vec<Intake>,
    orders: u32,
}

impl<'r> Draft<'r> {
    fn new(n: u32, rng: &'r mut StdRng) -> Self {
        let digest = Sha256::digest(format!("koharu friend {n}"));
        let mut user = [0; 16];
        user.copy_from_slice(digest.get(..16).unwrap_or(&[0; 16]));
        Self { n, user: UserId(user), rng, intakes: Vec::new(), orders: 0 }
    }

    fn drawn(mut self) -> Result<Friend, IdError> {
        let pick = |rng: &mut StdRng, names: &[&'static str]| names.choose(rng).copied().unwrap_or_default();
        let name = format!("{} {}", pick(self.rng, &FAMILY), pick(self.rng, &GIVEN));
        let status = if self.rng.random_bool(0.2) { Status::Blocked } else { Status::Following };
        let followed_at = self.days_ago(30.0, 1_100.0);
        self.push(followed_at, Effect::Status { status, followed_at: Some(followed_at) });
        self.push(followed_at, Effect::ExternalId { external_id: Some(format!("h{:04}", self.n)) });
        self.attributes(followed_at)?;
        self.tags()?;
        self.purchases()?;
        self.of_today()?;
        let phone = SandboxFriend { user: self.user, name: Some(name), status };
        Ok(Friend { phone, intakes: self.intakes })
    }

    fn attributes(&mut self, at: Instant) -> Result<(), IdError> {
        let prefecture = PREFECTURES
            .choose_weighted(self.rng, |(_, weight)| *weight)
            .map_or("東京都", |(name, _)| *name);
        let gender = if self.rng.random_bool(0.62) { "female" } else { "male" };
        let birthday = self.birthday();
        let points = self.rng.random_range(0..3_000);
        let newsletter = self.rng.random_bool(0.3);
        for (name, value) in [
            ("prefecture", Value::Text(prefecture.into())),
            ("gender", Value::Text(gender.into())),
            ("birthday", Value::Date(birthday)),
            ("points", Value::Integer(points)),
            ("newsletter", Value::Boolean(newsletter)),
        ] {
            let name = AttributeName::parse(name)?;
            self.push(at, Effect::Attribute { name, value: Some(value) });
        }
        Ok(())
    }

    fn birthday(&mut self) -> NaiveDate {
        let young = self.rng.random_bool(0.62);
        let age = if young { self.rng.random_range(20..40) } else { self.rng.random_range(40..75) };
        let (month, day) = (self.rng.random_range(1..=12), self.rng.random_range(1..=28));
        let year = STAGE.day_in(chrono_tz::Asia::Tokyo).year() - age;
        NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default()
    }

    fn tags(&mut self) -> Result<(), IdError> {
        // Some got their card today: `for_at_least = "1d"` leaves them out.
        let shares = [
            ("member", 0.80, (0.6, 900.0)),
            ("staff", 0.004, (200.0, 900.0)),
            ("support-chat", 0.015, (0.5, 20.0)),
            ("販促停止", 0.016, (5.0, 300.0)),
        ];
        for (tag, share, (newest, oldest)) in shares {
            if self.rng.random_bool(share) {
                let at = self.days_ago(newest, oldest);
                let tag = TagName::parse(tag)?;
                self.push(at, Effect::TagAdded { tag });
            }
        }
        Ok(())
    }

    /// Regulars come about every third week, others now and then.
    fn purchases(&mut self) -> Result<(), IdError> {
        let every = if self.rng.random_bool(0.55) { 26.0 } else { 150.0 };
        let mut ago = self.rng.random_range(0.1..2.0 * every);
        while ago < 365.0 {
            let at = STAGE - Span::from_secs((ago * 86_400.0) as i64);
            let amount = self.rng.random_range(6..48) * 100;
            self.orders += 1;
            let event_id = format!("order-{:04}-{:02}", self.n, self.orders);
            let dedupe = Some(DedupeId::of("event", event_id.as_bytes()));
            let effect = Effect::Event {
                name: EventName::parse("purchase")?,
                event_id: Some(event_id),
                properties: BTreeMap::from([(PropertyName::parse("amount")?, Value::Integer(amount))]),
            };
            self.intakes.push(Intake { friend: self.user.into(), at, effect, dedupe });
            ago += self.rng.random_range(0.3..1.7) * every;
        }
        Ok(())
    }

    /// What starts drips: trial lessons this morning, carts left this afternoon, lessons booked for next week. A few
    /// friends each, drawn by their number.
    fn of_today(&mut self) -> Result<(), IdError> {
        let minutes = i64::from(self.n % 50);
        let morning = STAGE - Span::from_mins(9 * 60) + Span::from_mins(minutes);
        match self.n % 211 {
            7 => self.push(morning, Effect::TagAdded { tag: TagName::parse("体験")? }),
            19 => {
                let at = STAGE - Span::from_mins(60) + Span::from_mins(minutes / 10);
                let (name, properties) = (EventName::parse("cart")?, BTreeMap::new());
                self.push(at, Effect::Event { name, event_id: Some(format!("cart-{}", self.n)), properties });
            }
            31 => {
                let at = STAGE + Span::from_days(9);
                let name = AttributeName::parse("booking_at")?;
                self.push(morning, Effect::Attribute { name, value: Some(Value::Instant(at)) });
            }
            _ => {}
        }
        Ok(())
    }

    /// Drawn evenly over the logarithm: more of it lately, as in a shop that grows.
    fn days_ago(&mut self, newest: f64, oldest: f64) -> Instant {
        let days = newest * (oldest / newest).powf(self.rng.random::<f64>());
        STAGE - Span::from_secs((days * 86_400.0) as i64)
    }

    fn push(&mut self, at: Instant, effect: Effect) {
        self.intakes.push(Intake { friend: self.user.into(), at, effect, dedupe: None });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_shop_is_the_same_every_time_and_nobody_is_in_it_twice() {
        let (once, again) = (friends().unwrap(), friends().unwrap());
        assert_eq!(once.len(), FRIENDS as usize);
        assert!(once.iter().zip(&again).all(|(a, b)| a.phone == b.phone && a.intakes == b.intakes));
        let users: HashSet<_> = once.iter().map(|friend| friend.phone.user).collect();
        assert_eq!(users.len(), once.len());
        let events: Vec<_> =
            once.iter().flat_map(|friend| &friend.intakes).filter_map(|intake| intake.dedupe).collect();
        assert_eq!(events.iter().collect::<HashSet<_>>().len(), events.len());
        let blocked = once.iter().filter(|friend| friend.phone.status == Status::Blocked).count();
        assert!((500..700).contains(&blocked), "{blocked}");
    }
}
