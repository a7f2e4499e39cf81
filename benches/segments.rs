//! Segments over one million friends (`HAISHIN_BENCH_FRIENDS` for another number), beside a plain scan of rows in
//! the same run: read the ratio, absolute figures move between machines.
//!
//! (a) tag A and tag B and not tag C; (b) a prefecture, 20 to 39 years old, tag A; (c) at least two purchases in 30
//! days and not tag C. Ten of 200 skewed tags a friend, drawn at random (the worst case for compressed sets), five
//! attributes, two purchases.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::LazyLock;

use chrono::{Datelike, Days, NaiveDate};
use divan::Bencher;
use haishin::audience::{CheckpointRow, Index};
use haishin::domain::attribute::Value;
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::Friend;
use haishin::domain::id::*;
use haishin::domain::segment::evaluate::Segments;
use haishin::domain::segment::rule::*;
use haishin::domain::sends::Sends;
use haishin::domain::time::{Instant, Span, Tz};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TAGS: usize = 200;
const PREFECTURES: usize = 47;
const ZONE: Tz = chrono_tz::Asia::Tokyo;
const A: usize = 2;
const B: usize = 9;
const C: usize = 0;

static POPULATION: LazyLock<Population> = LazyLock::new(Population::draw);

fn main() {
    let population = &*POPULATION;
    for (name, rule) in [("a", rule_a()), ("b", rule_b()), ("c", rule_c())] {
        let scanned = match name {
            "a" => population.scan_a(),
            "b" => population.scan_b(),
            _ => population.scan_c(),
        };
        let set = population.evaluate(&rule);
        assert_eq!(set.iter().collect::<Vec<_>>(), scanned, "({name}) must give what the scan gives");
        eprintln!("({name}) selects {} friends", scanned.len());
    }
    divan::main();
}

/// A friend as a plain program would keep it.
struct Plain {
    tags: [u64; 4],
    prefecture: u8,
    birthday: NaiveDate,
}

struct Population {
    now: Instant,
    index: Index,
    plain: Vec<Plain>,
    purchases: Vec<(i64, u32)>,
}

fn tag(number: usize) -> TagName {
    TagName::parse(&format!("tag-{number}")).expect("a name")
}

fn attribute(name: &str) -> AttributeName {
    AttributeName::parse(name).expect("a name")
}

fn event() -> EventName {
    EventName::parse("purchase").expect("a name")
}

impl Population {
    fn draw() -> Self {
        let friends =
            std::env::var("HAISHIN_BENCH_FRIENDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
        let mut rng = StdRng::seed_from_u64(1);
        let now = Instant::from_millis(1_796_000_000_000);
        let before = resident_bytes();
        let mut index = Index::new();
        let mut plain = Vec::with_capacity(friends as usize);
        for friend in 0..friends {
            let row = row(&mut rng, friend, now);
            index.load_friend(&row);
            plain.push(plain_of(&row));
        }
        let rows = resident_bytes().saturating_sub((plain.len() * size_of::<Plain>()) as u64);
        let mut purchases: Vec<(i64, u32)> = (0..2 * u64::from(friends))
            .map(|_| (now.as_millis() - rng.random_range(0..730 * 86_400_000), rng.random_range(0..friends)))
            .collect();
        purchases.sort_unstable();
        let drawn = resident_bytes();
        for (seq, (at, friend)) in (1..).zip(&purchases) {
            index.apply(&purchase(&mut rng, seq, *friend, *at));
        }
        let events = resident_bytes();
        let each = |from: u64, to: u64, of: u64| to.saturating_sub(from) as f64 / of as f64;
        eprintln!(
            "{friends} friends: resident memory grew by {:.0} bytes a friend for rows, {:.1} an event",
            each(before, rows, friends.into()),
            each(drawn, events, 2 * u64::from(friends)),
        );
        Self { now, index, plain, purchases }
    }

    fn evaluate(&self, rule: &Rule) -> roaring::RoaringBitmap {
        self.index.evaluate(rule, &Segments::new(), &Sends::default(), self.now).expect("a plain rule")
    }

    fn holding(&self, number: usize) -> impl Fn(&Plain) -> bool {
        move |friend| friend.tags[number / 64] >> (number % 64) & 1 == 1
    }

    fn scan(&self, holds: impl Fn(usize, &Plain) -> bool) -> Vec<u32> {
        (0u32..)
            .zip(&self.plain)
            .filter(|(id, friend)| holds(*id as usize, friend))
            .map(|(id, _)| id)
            .collect()
    }

    fn scan_a(&self) -> Vec<u32> {
        let (a, b, c) = (self.holding(A), self.holding(B), self.holding(C));
        self.scan(|_, friend| a(friend) && b(friend) && !c(friend))
    }

    fn scan_b(&self) -> Vec<u32> {
        let (today, a) = (self.now.day_in(ZONE), self.holding(A));
        let age = |born: NaiveDate| {
            today.year() - born.year() - i32::from((born.month(), born.day()) > (today.month(), today.day()))
        };
        self.scan(|_, friend| {
            friend.prefecture == 12 && (20..40).contains(&age(friend.birthday)) && a(friend)
        })
    }

    fn scan_c(&self) -> Vec<u32> {
        let (after, c) = ((self.now - Span::from_days(30)).as_millis(), self.holding(C));
        let mut counts = vec![0u32; self.plain.len()];
        for (at, friend) in &self.purchases {
            if *at > after && *at <= self.now.as_millis() {
                counts[*friend as usize] += 1;
            }
        }
        self.scan(|id, friend| counts[id] >= 2 && !c(friend))
    }
}

/// Names are shared, as they are by what loads an account.
static TAG_NAMES: LazyLock<Vec<TagName>> = LazyLock::new(|| (0..TAGS).map(tag).collect());

fn row(rng: &mut StdRng, friend: u32, now: Instant) -> Friend {
    let mut row = Friend::new(FriendId(friend), UserId(rng.random()), now);
    while row.tags.len() < 10 {
        let skewed = rng.random::<f64>().powi(2) * TAGS as f64;
        let at = now - Span::from_millis(rng.random_range(0..730 * 86_400_000));
        row.tags.insert(TAG_NAMES[skewed as usize].clone(), at);
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

fn plain_of(row: &Friend) -> Plain {
    let mut tags = [0; 4];
    for tag in row.tags.keys() {
        let number: usize = tag.as_str().strip_prefix("tag-").and_then(|n| n.parse().ok()).expect("a number");
        tags[number / 64] |= 1 << (number % 64);
    }
    let (mut prefecture, mut birthday) = (0, NaiveDate::MIN);
    for value in row.attributes.values() {
        match value {
            Value::Date(day) => birthday = *day,
            Value::Text(text) => {
                if let Some(number) = text.strip_prefix('県') {
                    prefecture = number.parse().expect("a number");
                }
            }
            _ => {}
        }
    }
    Plain { tags, prefecture, birthday }
}

fn purchase(rng: &mut StdRng, seq: i64, friend: u32, at: i64) -> Entry {
    let amount =
        (PropertyName::parse("amount").expect("a name"), Value::Integer(rng.random_range(100..30_000)));
    let effect = Effect::Event { name: event(), event_id: None, properties: BTreeMap::from([amount]) };
    Entry { seq: Seq(seq), friend: FriendId(friend), at: Instant::from_millis(at), effect }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) * 1024
}

fn has(number: usize) -> Rule {
    Rule::Is(Condition::Tag { tag: tag(number), held: Age::Any })
}

fn not(rule: Rule) -> Rule {
    Rule::Not(Box::new(rule))
}

fn is(name: &str, test: AttributeTest) -> Rule {
    Rule::Is(Condition::Attribute { name: attribute(name), test })
}

fn rule_a() -> Rule {
    Rule::All(vec![has(A), has(B), not(has(C))])
}

fn rule_b() -> Rule {
    let prefecture = AttributeTest::Compare(vec![Comparison::Eq(Value::Text("県12".into()))]);
    let age = AttributeTest::Age { bounds: vec![Bound::Gte(20), Bound::Lt(40)], zone: ZONE };
    Rule::All(vec![is("prefecture", prefecture), is("birthday", age), has(A)])
}

fn bought(within: i64, measure: Measure) -> Rule {
    Rule::Is(Condition::Event(EventCondition {
        event: event(),
        within: Some(Span::from_days(within)),
        properties: Vec::new(),
        measure,
    }))
}

fn rule_c() -> Rule {
    Rule::All(vec![bought(30, Measure::Count(vec![Bound::Gte(2)])), not(has(C))])
}

fn run(bencher: Bencher, rule: Rule) {
    bencher.bench(|| POPULATION.evaluate(black_box(&rule)));
}

#[divan::bench]
fn a_tags(bencher: Bencher) {
    run(bencher, rule_a());
}

#[divan::bench]
fn a_tags_by_plain_scan(bencher: Bencher) {
    bencher.bench(|| POPULATION.scan_a());
}

#[divan::bench]
fn b_attributes(bencher: Bencher) {
    run(bencher, rule_b());
}

#[divan::bench]
fn b_attributes_by_plain_scan(bencher: Bencher) {
    bencher.bench(|| POPULATION.scan_b());
}

#[divan::bench]
fn c_events(bencher: Bencher) {
    run(bencher, rule_c());
}

#[divan::bench]
fn c_events_by_plain_scan(bencher: Bencher) {
    bencher.bench(|| POPULATION.scan_c());
}

/// A tag given within a window: the instants of its holders are read.
#[divan::bench]
fn tag_within(bencher: Bencher) {
    let tag = Condition::Tag { tag: tag(A), held: Age::Within(Span::from_days(30)) };
    run(bencher, Rule::Is(tag));
}

/// An age over everybody: a whole column is read.
#[divan::bench]
fn age_of_everybody(bencher: Bencher) {
    let age = AttributeTest::Age { bounds: vec![Bound::Gte(20), Bound::Lt(40)], zone: ZONE };
    run(bencher, is("birthday", age));
}

/// Exact sums of a year.
#[divan::bench]
fn sum_of_a_year(bencher: Bencher) {
    let amount = PropertyName::parse("amount").expect("a name");
    run(bencher, bought(365, Measure::Sum { of: amount, bounds: vec![Bound::Gte(Number::Integer(10_000))] }));
}

/// The whole index from the rows of a checkpoint.
#[divan::bench(sample_count = 5)]
fn restore(bencher: Bencher) {
    let mut index = POPULATION.index.clone();
    index.forget_checkpoint();
    let mut run = index.begin_checkpoint();
    let rows: Vec<CheckpointRow> = std::iter::from_fn(|| index.checkpoint_rows(&mut run)).flatten().collect();
    drop(index);
    bencher.bench(|| Index::restore(black_box(&rows)));
}
