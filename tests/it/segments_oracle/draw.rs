//! Drawing friends, histories and rules, with the edges of windows on purpose.

use std::collections::BTreeMap;

use chrono::{Datelike, Days, NaiveDate};
use haishin::domain::attribute::Value;
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::Status;
use haishin::domain::id::*;
use haishin::domain::segment::evaluate::Segments;
use haishin::domain::segment::rule::*;
use haishin::domain::time::{Instant, Span, Tz};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const ATTRIBUTES: [&str; 7] = ["prefecture", "points", "score", "vip", "birthday", "visited", "mixed"];
const EVENTS: [&str; 2] = ["purchase", "visit"];
const PROPERTIES: [&str; 4] = ["amount", "number", "shop", "odd"];
const ZONES: [Tz; 4] =
    [chrono_tz::Asia::Tokyo, chrono_tz::UTC, chrono_tz::America::New_York, chrono_tz::Pacific::Apia];

fn pick<T: Clone>(rng: &mut StdRng, from: &[T]) -> T {
    from.choose(rng).unwrap().clone()
}

pub fn tags() -> Vec<TagName> {
    ["member", "staff", "体験"].iter().map(|name| TagName::parse(name).unwrap()).collect()
}

pub fn now(rng: &mut StdRng) -> Instant {
    let day = match rng.random_range(0..4) {
        0 => pick(
            rng,
            &[(2028, 2, 28), (2028, 2, 29), (2027, 2, 28), (2027, 3, 1), (2100, 3, 1), (2026, 12, 31)],
        ),
        _ => (rng.random_range(2020..2032), rng.random_range(1..=12), rng.random_range(1..=28)),
    };
    let midnight =
        Instant::start_of_day(NaiveDate::from_ymd_opt(day.0, day.1, day.2).unwrap(), pick(rng, &ZONES));
    let into = match rng.random_range(0..3) {
        0 => rng.random_range(-1..=1),
        _ => rng.random_range(0..86_400_000),
    };
    midnight + Span::from_millis(into)
}

/// Mostly nothing, else a millisecond to either side, else far away.
pub fn nudge(rng: &mut StdRng) -> Span {
    Span::from_millis(match rng.random_range(0..10) {
        0 => -1,
        1 => 1,
        2 => rng.random_range(-40..40) * 86_400_000,
        _ => 0,
    })
}

fn span(rng: &mut StdRng) -> Span {
    pick(
        rng,
        &[
            Span::ZERO,
            Span::from_secs(1),
            Span::from_hours(1),
            Span::from_hours(36),
            Span::from_days(1),
            Span::from_days(7),
            Span::from_days(30),
        ],
    )
}

/// At or beside an edge of a window, or anywhere near.
fn instant(rng: &mut StdRng, now: Instant) -> Instant {
    let beside = Span::from_millis(rng.random_range(-1..=1));
    match rng.random_range(0..8) {
        0 => now + beside,
        1 => now + span(rng) + beside,
        2..5 => now - span(rng) + beside,
        _ => now - Span::from_millis(rng.random_range(-2 * 86_400_000..45 * 86_400_000)),
    }
}

fn date(rng: &mut StdRng, now: Instant) -> NaiveDate {
    let today = now.day_in(pick(rng, &ZONES));
    let days = rng.random_range(0..2);
    match rng.random_range(0..6) {
        0 => NaiveDate::from_ymd_opt(pick(rng, &[1996, 2000, 2004, 2020, 2024]), 2, 29).unwrap(),
        1 => {
            let year = today.year() - pick(rng, &[0, 1, 18, 20, 40]);
            let same = NaiveDate::from_ymd_opt(year, today.month(), today.day().min(28)).unwrap();
            if rng.random() { same - Days::new(days) } else { same + Days::new(days) }
        }
        2 => today + Days::new(pick(rng, &[0, 1, 2, 7, 8, 30, 31])),
        3 => today - Days::new(pick(rng, &[0, 1, 2, 7, 8, 30, 31])),
        _ => NaiveDate::from_ymd_opt(
            rng.random_range(1940..2030),
            rng.random_range(1..=12),
            rng.random_range(1..=28),
        )
        .unwrap(),
    }
}

fn text(rng: &mut StdRng) -> String {
    // In UTF-16 𠮷 comes before U+FFFE's neighbours; by code point after them.
    pick(rng, &["", "a", "ab", "b", "東京都", "東京", "é", "e\u{301}", "𠮷", "\u{fffd}", "007", "7"])
        .to_owned()
}

fn integer(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..4) {
        0 => pick(rng, &[1 << 53, (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MAX - 1, i64::MIN]),
        _ => rng.random_range(-2..8),
    }
}

fn double(rng: &mut StdRng) -> f64 {
    match rng.random_range(0..4) {
        0 => pick(
            rng,
            &[
                9_007_199_254_740_992.0,
                9_007_199_254_740_994.0,
                9_223_372_036_854_775_808.0,
                -9_223_372_036_854_775_808.0,
            ],
        ),
        1 => pick(rng, &[0.1, 0.2, 0.30000000000000004, -0.1, 0.5, 1.5]),
        2 => pick(rng, &[-0.0, 0.0]),
        _ => rng.random_range(-2..8).into(),
    }
}

fn value(rng: &mut StdRng, of: usize, now: Instant) -> Value {
    match of {
        0 => Value::Text(text(rng).into()),
        1 => Value::Integer(integer(rng)),
        2 => Value::Number(double(rng)),
        3 => Value::Boolean(rng.random()),
        4 => Value::Date(date(rng, now)),
        5 => Value::Instant(instant(rng, now)),
        _ => {
            let of = rng.random_range(0..6);
            value(rng, of, now)
        }
    }
}

/// What happens to one friend, with state that is overwritten, taken away and given again. Numbers come later.
pub fn history(rng: &mut StdRng, friend: FriendId, now: Instant) -> Vec<Entry> {
    let mut user = [0; 16];
    user[12..].copy_from_slice(&friend.0.to_be_bytes());
    let mut effects = vec![Effect::Joined { user: UserId(user) }];
    for tag in tags() {
        for _ in 0..pick(rng, &[0, 1, 1, 1, 2]) {
            effects.push(Effect::TagAdded { tag: tag.clone() });
        }
        if rng.random_bool(0.1) {
            effects.push(Effect::TagRemoved { tag });
        }
    }
    for (of, name) in ATTRIBUTES.iter().enumerate() {
        for _ in 0..pick(rng, &[0, 1, 1, 1, 2]) {
            let of = if rng.random_bool(0.05) { rng.random_range(0..6) } else { of };
            let value = rng.random_bool(0.92).then(|| value(rng, of, now));
            effects.push(Effect::Attribute { name: AttributeName::parse(name).unwrap(), value });
        }
    }
    for _ in 0..pick(rng, &[0, 0, 1, 2, 3, 5, 20]) {
        effects.push(event(rng, now));
    }
    for _ in 0..rng.random_range(0..3) {
        let followed_at = rng.random_bool(0.8).then(|| instant(rng, now));
        let status = if rng.random_bool(0.3) { Status::Blocked } else { Status::Following };
        effects.push(Effect::Status { status, followed_at });
    }
    let external = pick(rng, &[None, Some("shared".to_owned()), Some(format!("c{}", friend.0))]);
    effects.push(Effect::ExternalId { external_id: external });
    if rng.random_bool(0.05) {
        effects.push(Effect::Quarantined);
    }
    if rng.random_bool(0.05) {
        effects.push(Effect::Erased);
    }
    effects.into_iter().map(|effect| Entry { seq: Seq(0), friend, at: instant(rng, now), effect }).collect()
}

fn event(rng: &mut StdRng, now: Instant) -> Effect {
    let mut properties = BTreeMap::new();
    for (name, of) in PROPERTIES.iter().zip([1, 2, 0, 6]) {
        if rng.random_bool(0.7) {
            properties.insert(PropertyName::parse(name).unwrap(), value(rng, of, now));
        }
    }
    Effect::Event {
        name: EventName::parse(EVENTS[usize::from(rng.random_bool(0.3))]).unwrap(),
        event_id: None,
        properties,
    }
}

pub fn segments(rng: &mut StdRng, now: Instant) -> Segments {
    let mut segments = Segments::new();
    for name in ["s0", "s1", "s2"] {
        let slug = SegmentSlug::parse(name).unwrap();
        let mut rule = rule(rng, now, 1);
        if let (Some(last), true) = (segments.keys().next_back(), rng.random()) {
            rule = Rule::Any(vec![rule, Rule::Not(Box::new(Rule::Segment(SegmentSlug::clone(last))))]);
        }
        segments.insert(slug.clone(), Segment { slug, title: name.into(), rule });
    }
    segments
}

pub fn rule(rng: &mut StdRng, now: Instant, depth: u32) -> Rule {
    let some = |rng: &mut StdRng| (0..rng.random_range(1..=3)).map(|_| rule(rng, now, depth - 1)).collect();
    match if depth == 0 { 9 } else { rng.random_range(0..10) } {
        0 => Rule::All(some(rng)),
        1 => Rule::Any(some(rng)),
        2 => Rule::Not(Box::new(rule(rng, now, depth - 1))),
        3 => {
            let mut of: Vec<Rule> = some(rng);
            if rng.random() {
                of.push(of[0].clone());
            }
            Rule::AtLeast { k: rng.random_range(0..=of.len() as u32), of }
        }
        // Those inside `segments` never name one themselves, so that there is no cycle by chance.
        4 if depth > 1 => Rule::Segment(SegmentSlug::parse(&format!("s{}", rng.random_range(0..3))).unwrap()),
        _ => Rule::Is(condition(rng, now)),
    }
}

fn age(rng: &mut StdRng) -> Age {
    match rng.random_range(0..3) {
        0 => Age::Any,
        1 => Age::ForAtLeast(span(rng)),
        _ => Age::Within(span(rng)),
    }
}

fn condition(rng: &mut StdRng, now: Instant) -> Condition {
    match rng.random_range(0..16) {
        0..3 => Condition::Tag { tag: pick(rng, &tags()), held: age(rng) },
        3 => Condition::Followed(age(rng)),
        4 => Condition::Status(pick(rng, &[Status::Following, Status::Blocked])),
        5 if rng.random_bool(0.2) => Condition::Received {
            campaign: CampaignSlug::parse("spring").unwrap(),
            within: rng.random_bool(0.5).then(|| span(rng)),
        },
        5..11 => attribute(rng, now),
        _ => Condition::Event(EventCondition {
            event: EventName::parse(pick(rng, &EVENTS)).unwrap(),
            within: rng.random_bool(0.6).then(|| span(rng)),
            properties: if rng.random_bool(0.4) { vec![property(rng, now)] } else { Vec::new() },
            measure: measure(rng),
        }),
    }
}

fn property(rng: &mut StdRng, now: Instant) -> (PropertyName, Vec<Comparison>) {
    let of = rng.random_range(0..PROPERTIES.len());
    let name = if rng.random_bool(0.03) { "absent" } else { PROPERTIES[of] };
    (PropertyName::parse(name).unwrap(), comparisons(rng, [1, 2, 0, 6][of], now))
}

fn measure(rng: &mut StdRng) -> Measure {
    match rng.random_range(0..3) {
        0 => Measure::Count(bounds(rng, |rng| match rng.random_range(0..8) {
            0 => pick(rng, &[-1, 5, 14, 15, 16, 17, i64::MAX, i64::MIN]),
            _ => rng.random_range(0..4),
        })),
        1 => Measure::Sum {
            of: PropertyName::parse(pick(rng, &PROPERTIES)).unwrap(),
            bounds: bounds(rng, |rng| {
                if rng.random() { Number::Integer(integer(rng)) } else { Number::Double(double(rng)) }
            }),
        },
        _ => Measure::Last(age(rng)),
    }
}

fn bounds<T>(rng: &mut StdRng, mut constant: impl FnMut(&mut StdRng) -> T) -> Vec<Bound<T>> {
    let kinds = [Bound::Eq, Bound::Ne, Bound::Gt, Bound::Gte, Bound::Lt, Bound::Lte];
    (0..pick(rng, &[1, 1, 2])).map(|_| pick(rng, &kinds)(constant(rng))).collect()
}

fn attribute(rng: &mut StdRng, now: Instant) -> Condition {
    let mut of = rng.random_range(0..ATTRIBUTES.len());
    let zone = pick(rng, &ZONES);
    let test = match rng.random_range(0..20) {
        0 => AttributeTest::IsSet(rng.random()),
        kind @ 1..10 => {
            // Tests of days and instants mostly stand where those are.
            if rng.random_bool(0.9) {
                of = if kind > 6 && rng.random() { 5 } else { 4 };
            }
            match kind {
                1 | 2 => {
                    AttributeTest::Age { bounds: bounds(rng, |rng| pick(rng, &[0, 1, 18, 20, 40, -1])), zone }
                }
                3 => AttributeTest::Month(calendar(rng, 12, zone)),
                4 => AttributeTest::Day(calendar(rng, 31, zone)),
                5 | 6 => AttributeTest::OnDay { offset: pick(rng, &[0, 1, 7, -1, -7]), zone },
                7 => AttributeTest::Past { within: span(rng), zone },
                8 => AttributeTest::Ahead { within: span(rng), zone },
                _ => AttributeTest::AgoAtLeast { span: span(rng), zone },
            }
        }
        _ => AttributeTest::Compare(comparisons(rng, of, now)),
    };
    let name = if rng.random_bool(0.03) { "nobody-has-it" } else { ATTRIBUTES[of] };
    Condition::Attribute { name: AttributeName::parse(name).unwrap(), test }
}

fn calendar(rng: &mut StdRng, highest: u32, zone: Tz) -> Calendar {
    if rng.random() { Calendar::This(zone) } else { Calendar::Number(rng.random_range(1..=highest)) }
}

/// Constants are mostly of the value's own kind, numbers often of the other.
fn comparisons(rng: &mut StdRng, of: usize, now: Instant) -> Vec<Comparison> {
    let constant = |rng: &mut StdRng| {
        let of = match of {
            1 | 2 => rng.random_range(1..=2),
            of => of,
        };
        let of = if rng.random_bool(0.05) { 6 } else { of };
        value(rng, of, now)
    };
    let some = |rng: &mut StdRng| (0..rng.random_range(1..4)).map(|_| constant(rng)).collect();
    let one = |rng: &mut StdRng| match rng.random_range(0..if of == 0 || of == 6 { 12 } else { 8 }) {
        0 => Comparison::Eq(constant(rng)),
        1 => Comparison::Ne(constant(rng)),
        2 => Comparison::In(some(rng)),
        3 => Comparison::NotIn(some(rng)),
        4 => Comparison::Gt(constant(rng)),
        5 => Comparison::Gte(constant(rng)),
        6 => Comparison::Lt(constant(rng)),
        7 => Comparison::Lte(constant(rng)),
        8 | 9 => Comparison::Contains(text(rng)),
        _ => Comparison::StartsWith(text(rng)),
    };
    (0..pick(rng, &[1, 1, 1, 2])).map(|_| one(rng)).collect()
}
