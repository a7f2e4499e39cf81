//! The naive evaluator: one friend at a time, from its row and a list of its events.

use chrono::{DateTime, Datelike, NaiveDate};
use haishin::domain::attribute::Value;
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::{Friend, Status};
use haishin::domain::id::{EventName, PropertyName, UserId};
use haishin::domain::segment::evaluate::Segments;
use haishin::domain::segment::rule::*;
use haishin::domain::time::{Instant, Span, Tz};

pub struct Happened {
    pub name: EventName,
    pub at: i64,
    pub properties: Vec<(PropertyName, Value)>,
}

pub struct Person {
    pub row: Friend,
    pub events: Vec<Happened>,
}

impl Person {
    pub fn id(&self) -> u32 {
        self.row.friend.0
    }
}

pub fn people(entries: &[Entry]) -> Vec<Person> {
    let mut people: Vec<Person> = Vec::new();
    for entry in entries {
        let found = people.iter().position(|person| person.row.friend == entry.friend);
        let at = found.unwrap_or_else(|| {
            let row = Friend { user: None, ..Friend::new(entry.friend, UserId([0; 16]), entry.at) };
            people.push(Person { row, events: Vec::new() });
            people.len() - 1
        });
        people[at].row.apply(entry);
        if let Effect::Event { name, properties, .. } = &entry.effect {
            people[at].events.push(Happened {
                name: name.clone(),
                at: entry.at.as_millis(),
                properties: properties.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            });
        }
    }
    people
}

pub fn holds(rule: &Rule, person: &Person, segments: &Segments, now: Instant) -> bool {
    let holds = |rule: &Rule| holds(rule, person, segments, now);
    match rule {
        Rule::All(rules) => rules.iter().all(holds),
        Rule::Any(rules) => rules.iter().any(holds),
        Rule::Not(rule) => !holds(rule),
        Rule::AtLeast { k, of } => {
            let mut counted: Vec<&Rule> = Vec::new();
            for rule in of {
                if holds(rule) && !counted.contains(&rule) {
                    counted.push(rule);
                }
            }
            counted.len() >= *k as usize
        }
        Rule::Segment(slug) => holds(&segments[slug].rule),
        Rule::Is(condition) => condition_holds(condition, person, now),
    }
}

fn condition_holds(condition: &Condition, person: &Person, now: Instant) -> bool {
    let row = &person.row;
    match condition {
        Condition::Tag { tag, held } => {
            row.tags.get(tag).is_some_and(|at| has_age(at.as_millis(), *held, now))
        }
        Condition::Followed(age) => row.followed_at.is_some_and(|at| has_age(at.as_millis(), *age, now)),
        Condition::Status(Status::Following) => row.status == Status::Following,
        Condition::Status(Status::Blocked) => row.status == Status::Blocked,
        // Nothing was sent in these accounts.
        Condition::Received { .. } => false,
        Condition::Attribute { name, test } => attribute_holds(test, row.attributes.get(name), now),
        Condition::Event(condition) => event_holds(condition, person, now),
    }
}

/// An instant after now has not happened.
fn has_age(at: i64, age: Age, now: Instant) -> bool {
    let now = now.as_millis();
    at <= now
        && match age {
            Age::Any => true,
            Age::ForAtLeast(span) => now - at >= span.as_millis(),
            Age::Within(span) => now - at < span.as_millis(),
        }
}

fn event_holds(condition: &EventCondition, person: &Person, now: Instant) -> bool {
    let mut matching = Vec::new();
    for event in &person.events {
        let in_time = has_age(event.at, condition.within.map_or(Age::Any, Age::Within), now);
        let mut passes = event.name == condition.event && in_time;
        for (name, comparisons) in &condition.properties {
            let value = event.properties.iter().find(|(other, _)| other == name).map(|(_, value)| value);
            passes &= value.is_some_and(|value| comparisons.iter().all(|c| comparison_holds(c, value)));
        }
        if passes {
            matching.push(event);
        }
    }
    match &condition.measure {
        Measure::Count(bounds) => bounds.iter().all(|bound| within_bound(*bound, matching.len() as i64)),
        Measure::Last(age) => {
            matching.iter().map(|event| event.at).max().is_some_and(|at| has_age(at, *age, now))
        }
        Measure::Sum { of, bounds } => {
            let mut sum = 0;
            for event in matching {
                for (name, value) in &event.properties {
                    if let Some(number) = fixed(value).filter(|_| name == of) {
                        sum += number;
                    }
                }
            }
            bounds.iter().all(|bound| within_bound(bound_as_fixed(*bound), sum))
        }
    }
}

fn within_bound<T: PartialOrd>(bound: Bound<T>, n: T) -> bool {
    match bound {
        Bound::Eq(m) => n == m,
        Bound::Ne(m) => n != m,
        Bound::Gt(m) => n > m,
        Bound::Gte(m) => n >= m,
        Bound::Lt(m) => n < m,
        Bound::Lte(m) => n <= m,
    }
}

/// Numbers as multiples of 2^−57. Every drawn double is an even one. A constant that is no multiple of 2^−56 becomes the odd
/// number between, and one that is larger than all that is drawn stays so: in order with what is drawn, which is all that
/// it is ever compared with.
fn fixed(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(whole) => Some(i128::from(*whole) << 57),
        Value::Number(double) => {
            let scaled = (double * 2f64.powi(56)).clamp(-2f64.powi(124), 2f64.powi(124));
            let between = if scaled.fract() == 0.0 { 0 } else { scaled.signum() as i128 };
            Some(scaled.trunc() as i128 * 2 + between)
        }
        _ => None,
    }
}

fn bound_as_fixed(bound: Bound<Number>) -> Bound<i128> {
    let of = |number| match number {
        Number::Integer(whole) => fixed(&Value::Integer(whole)).unwrap(),
        Number::Double(double) => fixed(&Value::Number(double)).unwrap(),
    };
    match bound {
        Bound::Eq(n) => Bound::Eq(of(n)),
        Bound::Ne(n) => Bound::Ne(of(n)),
        Bound::Gt(n) => Bound::Gt(of(n)),
        Bound::Gte(n) => Bound::Gte(of(n)),
        Bound::Lt(n) => Bound::Lt(of(n)),
        Bound::Lte(n) => Bound::Lte(of(n)),
    }
}

fn compare(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            let (left, right): (Vec<u32>, Vec<u32>) =
                (left.chars().map(u32::from).collect(), right.chars().map(u32::from).collect());
            Some(left.cmp(&right))
        }
        (Value::Date(left), Value::Date(right)) => Some(left.cmp(right)),
        (Value::Instant(left), Value::Instant(right)) => Some(left.cmp(right)),
        (Value::Boolean(_), _) | (_, Value::Boolean(_)) => None,
        _ => Some(fixed(left)?.cmp(&fixed(right)?)),
    }
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Boolean(left), Value::Boolean(right)) => left == right,
        _ => compare(left, right).is_some_and(|order| order.is_eq()),
    }
}

fn comparison_holds(comparison: &Comparison, value: &Value) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    match comparison {
        Comparison::Eq(other) => same(value, other),
        Comparison::Ne(other) => !same(value, other),
        Comparison::In(others) => others.iter().any(|other| same(value, other)),
        Comparison::NotIn(others) => !others.iter().any(|other| same(value, other)),
        Comparison::Gt(other) => compare(value, other).is_some_and(|order| order.is_gt()),
        Comparison::Gte(other) => compare(value, other).is_some_and(|order| order.is_ge()),
        Comparison::Lt(other) => compare(value, other).is_some_and(|order| order.is_lt()),
        Comparison::Lte(other) => compare(value, other).is_some_and(|order| order.is_le()),
        Comparison::Contains(part) => match value {
            Value::Text(text) => {
                let (text, part) = (chars(text), chars(part));
                (0..=text.len()).any(|from| text[from..].starts_with(&part))
            }
            _ => false,
        },
        Comparison::StartsWith(start) => match value {
            Value::Text(text) => chars(text).starts_with(&chars(start)),
            _ => false,
        },
    }
}

fn local_day(at: Instant, zone: Tz) -> NaiveDate {
    DateTime::from_timestamp_millis(at.as_millis()).unwrap().with_timezone(&zone).date_naive()
}

fn attribute_holds(test: &AttributeTest, value: Option<&Value>, now: Instant) -> bool {
    let Some(value) = value else { return *test == AttributeTest::IsSet(false) };
    match (test, value) {
        (AttributeTest::IsSet(set), _) => *set,
        (AttributeTest::Compare(comparisons), _) => comparisons.iter().all(|c| comparison_holds(c, value)),
        (AttributeTest::Age { bounds, zone }, Value::Date(birthday)) => {
            let age = age(*birthday, local_day(now, *zone));
            age.is_some_and(|age| bounds.iter().all(|bound| within_bound(*bound, age)))
        }
        (AttributeTest::Month(Calendar::Number(number)), Value::Date(day)) => day.month() == *number,
        (AttributeTest::Month(Calendar::This(zone)), Value::Date(day)) => {
            day.month() == local_day(now, *zone).month()
        }
        (AttributeTest::Day(Calendar::Number(number)), Value::Date(day)) => day.day() == *number,
        (AttributeTest::Day(Calendar::This(zone)), Value::Date(day)) => {
            day.day() == local_day(now, *zone).day()
        }
        (AttributeTest::OnDay { offset, zone }, Value::Date(day)) => days_ahead(*day, now, *zone) == *offset,
        (AttributeTest::Past { within, zone }, Value::Date(day)) => {
            let ago = -days_ahead(*day, now, *zone);
            ago >= 0 && days(ago) < *within
        }
        (AttributeTest::Ahead { within, zone }, Value::Date(day)) => {
            let ahead = days_ahead(*day, now, *zone);
            ahead > 0 && days(ahead) <= *within
        }
        (AttributeTest::AgoAtLeast { span, zone }, Value::Date(day)) => {
            let ago = -days_ahead(*day, now, *zone);
            ago >= 0 && days(ago) >= *span
        }
        (AttributeTest::Past { within, .. }, Value::Instant(at)) => {
            has_age(at.as_millis(), Age::Within(*within), now)
        }
        (AttributeTest::AgoAtLeast { span, .. }, Value::Instant(at)) => {
            has_age(at.as_millis(), Age::ForAtLeast(*span), now)
        }
        (AttributeTest::Ahead { within, .. }, Value::Instant(at)) => {
            let ahead = at.as_millis() - now.as_millis();
            ahead > 0 && ahead <= within.as_millis()
        }
        _ => false,
    }
}

fn days(n: i64) -> Span {
    Span::from_millis(n * 86_400_000)
}

fn days_ahead(day: NaiveDate, now: Instant, zone: Tz) -> i64 {
    day.signed_duration_since(local_day(now, zone)).num_days()
}

/// Counts the anniversaries there have been, one by one.
fn age(birthday: NaiveDate, today: NaiveDate) -> Option<i64> {
    if birthday > today {
        return None;
    }
    let mut years = 0;
    loop {
        let year = birthday.year() + years as i32 + 1;
        let anniversary = match NaiveDate::from_ymd_opt(year, birthday.month(), birthday.day()) {
            Some(day) => day,
            None => NaiveDate::from_ymd_opt(year, 3, 1).unwrap(),
        };
        if anniversary > today {
            return Some(years);
        }
        years += 1;
    }
}
