//! Friends as the benches draw them: ten of 200 skewed tags each, at random over the ids (the worst case for
//! compressed sets), five attributes, purchases spread over two years. All of it from a seed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{Days, NaiveDate};
use haishin::domain::attribute::Value;
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::Friend;
use haishin::domain::id::{AttributeName, EventName, FriendId, PropertyName, Seq, TagName, UserId};
use haishin::domain::time::{Instant, Span};
use rand::Rng;
use rand::rngs::StdRng;

pub const TAGS: usize = 200;
pub const TAGS_EACH: usize = 10;
pub const PREFECTURES: usize = 47;
const TWO_YEARS: i64 = 730 * 86_400_000;

pub const NOW: Instant = Instant::from_millis(1_796_000_000_000);

/// Names are shared, as they are by what loads an account.
static TAG_NAMES: LazyLock<Vec<TagName>> = LazyLock::new(|| (0..TAGS).map(named_tag).collect());

fn named_tag(number: usize) -> TagName {
    TagName::parse(&format!("tag-{number}")).expect("a name")
}

pub fn tag(number: usize) -> TagName {
    TAG_NAMES[number].clone()
}

pub fn attribute(name: &str) -> AttributeName {
    AttributeName::parse(name).expect("a name")
}

pub fn purchase_event() -> EventName {
    EventName::parse("purchase").expect("a name")
}

pub fn amount() -> PropertyName {
    PropertyName::parse("amount").expect("a name")
}

/// An instant of the two years before `now`.
pub fn some_time(rng: &mut StdRng, now: Instant) -> Instant {
    now - Span::from_millis(rng.random_range(0..TWO_YEARS))
}

/// A friend's row with so many tags.
pub fn friend(rng: &mut StdRng, friend: u32, tags: usize, now: Instant) -> Friend {
    let mut row = Friend::new(FriendId(friend), UserId(rng.random()), now);
    while row.tags.len() < tags {
        let skewed = rng.random::<f64>().powi(2) * TAGS as f64;
        row.tags.insert(tag(skewed as usize), some_time(rng, now));
    }
    let born = NaiveDate::from_ymd_opt(1950, 1, 1).expect("a day") + Days::new(rng.random_range(0..60 * 365));
    row.attributes = BTreeMap::from([
        (attribute("prefecture"), Value::Text(format!("県{}", rng.random_range(0..PREFECTURES)).into())),
        (attribute("birthday"), Value::Date(born)),
        (attribute("points"), Value::Integer(rng.random_range(0..10_000))),
        (attribute("rank"), Value::Text(["gold", "silver", "bronze"][rng.random_range(0..3)].into())),
        (attribute("app"), Value::Boolean(rng.random())),
    ]);
    row
}

/// So many purchases of anybody in the order of time.
pub fn purchase_times(rng: &mut StdRng, friends: u32, count: u64, now: Instant) -> Vec<(i64, u32)> {
    let mut purchases: Vec<(i64, u32)> =
        (0..count).map(|_| (some_time(rng, now).as_millis(), rng.random_range(0..friends))).collect();
    purchases.sort_unstable();
    purchases
}

pub fn purchase(rng: &mut StdRng) -> Effect {
    let amount = Value::Integer(rng.random_range(100..30_000));
    Effect::Event {
        name: purchase_event(),
        event_id: None,
        properties: BTreeMap::from([(self::amount(), amount)]),
    }
}

pub fn purchase_entry(rng: &mut StdRng, seq: i64, friend: u32, at: i64) -> Entry {
    Entry { seq: Seq(seq), friend: FriendId(friend), at: Instant::from_millis(at), effect: purchase(rng) }
}
