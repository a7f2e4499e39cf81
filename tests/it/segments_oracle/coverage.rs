//! What was drawn: every form of a rule, and every edge of a window a millisecond to either side.

use std::collections::BTreeMap;

use haishin::domain::attribute::Value;
use haishin::domain::segment::rule::*;
use haishin::domain::time::Instant;

use super::naive::Person;

/// How often each form and each edge was met.
#[derive(Default)]
pub struct Coverage(BTreeMap<String, usize>);

const COMPARISONS: [&str; 10] =
    ["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "contains", "starts_with"];
const BOUNDS: [&str; 6] = ["eq", "ne", "gt", "gte", "lt", "lte"];
const FORMS: [&str; 27] = [
    "all",
    "any",
    "not",
    "at_least",
    "segment",
    "following",
    "blocked",
    "received",
    "received within",
    "is_set true",
    "is_set false",
    "month number",
    "month this",
    "day number",
    "day this",
    "on_day",
    "past date",
    "past instant",
    "ahead date",
    "ahead instant",
    "ago_at_least date",
    "ago_at_least instant",
    "where",
    "event within",
    "tag",
    "followed",
    "last",
];
const WINDOWS: [&str; 8] = [
    "tag within",
    "tag for_at_least",
    "followed within",
    "followed for_at_least",
    "last within",
    "last for_at_least",
    "event within",
    "past instant",
];

impl Coverage {
    fn met(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// Walks a case's rule, and the population for what lies on its edges.
    pub fn look(&mut self, rule: &Rule, people: &[Person], now: Instant) {
        match rule {
            Rule::All(rules) | Rule::Any(rules) | Rule::AtLeast { of: rules, .. } => {
                self.met(match rule {
                    Rule::All(_) => "all",
                    Rule::Any(_) => "any",
                    _ => "at_least",
                });
                rules.iter().for_each(|rule| self.look(rule, people, now));
            }
            Rule::Not(rule) => {
                self.met("not");
                self.look(rule, people, now);
            }
            Rule::Segment(_) => self.met("segment"),
            Rule::Is(condition) => self.condition(condition, people, now),
        }
    }

    fn condition(&mut self, condition: &Condition, people: &[Person], now: Instant) {
        match condition {
            Condition::Tag { tag, held } => {
                let given = people.iter().filter_map(|p| p.row.tags.get(tag)).map(|at| at.as_millis());
                self.age("tag", *held, given.collect(), now);
            }
            Condition::Followed(age) => {
                let followed = people.iter().filter_map(|p| p.row.followed_at).map(Instant::as_millis);
                self.age("followed", *age, followed.collect(), now);
            }
            Condition::Status(status) => self.met(format!("{status:?}").to_lowercase()),
            Condition::Received { within, .. } => {
                self.met(if within.is_some() { "received within" } else { "received" });
            }
            Condition::Event(condition) => self.event(condition, people, now),
            Condition::Attribute { name, test } => {
                let values = people.iter().filter_map(|p| p.row.attributes.get(name)).collect();
                self.attribute(test, values, now);
            }
        }
    }

    fn age(&mut self, what: &str, age: Age, instants: Vec<i64>, now: Instant) {
        self.met(what);
        self.edges(&format!("{what} now"), now.as_millis(), &instants);
        let (word, span) = match age {
            Age::Any => return,
            Age::ForAtLeast(span) => ("for_at_least", span),
            Age::Within(span) => ("within", span),
        };
        self.edges(&format!("{what} {word}"), (now - span).as_millis(), &instants);
    }

    fn edges(&mut self, what: &str, edge: i64, instants: &[i64]) {
        for at in instants.iter().filter(|at| (*at - edge).abs() <= 1) {
            self.met(format!("{what} {:+}", at - edge));
        }
    }

    fn event(&mut self, condition: &EventCondition, people: &[Person], now: Instant) {
        let events = people.iter().flat_map(|p| &p.events).filter(|e| e.name == condition.event);
        let instants: Vec<i64> = events.map(|event| event.at).collect();
        self.edges("event now", now.as_millis(), &instants);
        if let Some(span) = condition.within {
            self.met("event within");
            self.edges("event within", (now - span).as_millis(), &instants);
        }
        for (_, comparisons) in &condition.properties {
            self.met("where");
            comparisons.iter().for_each(|c| self.met(format!("property {}", comparison(c))));
        }
        match &condition.measure {
            Measure::Count(bounds) => bounds.iter().for_each(|b| self.met(format!("count {}", bound(b)))),
            Measure::Sum { bounds, .. } => bounds.iter().for_each(|b| self.met(format!("sum {}", bound(b)))),
            Measure::Last(age) => self.age("last", *age, instants, now),
        }
    }

    fn attribute(&mut self, test: &AttributeTest, values: Vec<&Value>, now: Instant) {
        match test {
            AttributeTest::Compare(comparisons) => {
                comparisons.iter().for_each(|c| self.met(format!("attribute {}", comparison(c))));
            }
            AttributeTest::IsSet(set) => self.met(format!("is_set {set}")),
            AttributeTest::Age { bounds, .. } => {
                bounds.iter().for_each(|b| self.met(format!("age {}", bound(b))))
            }
            AttributeTest::Month(calendar) => self.met(format!("month {}", calendar_word(*calendar))),
            AttributeTest::Day(calendar) => self.met(format!("day {}", calendar_word(*calendar))),
            AttributeTest::OnDay { .. } => self.met("on_day"),
            AttributeTest::Past { within, .. } => self.distance("past", &values, now - *within),
            AttributeTest::Ahead { within, .. } => self.distance("ahead", &values, now + *within),
            AttributeTest::AgoAtLeast { span, .. } => self.distance("ago_at_least", &values, now - *span),
        }
        if let AttributeTest::Ahead { .. } | AttributeTest::Past { .. } = test {
            self.distance("distance now", &values, now);
        }
    }

    fn distance(&mut self, what: &str, values: &[&Value], edge: Instant) {
        for value in values {
            match value {
                Value::Date(_) => self.met(format!("{what} date")),
                Value::Instant(at) => {
                    self.met(format!("{what} instant"));
                    self.edges(&format!("{what} instant"), edge.as_millis(), &[at.as_millis()]);
                }
                _ => {}
            }
        }
    }

    /// Fails naming the forms of a rule that were never met.
    pub fn assert_every_form(&self) {
        self.assert_met(&Self::forms());
    }

    fn forms() -> Vec<String> {
        let mut wanted: Vec<String> = FORMS.iter().map(|form| (*form).to_owned()).collect();
        for operator in COMPARISONS {
            wanted.extend(["attribute", "property"].map(|of| format!("{of} {operator}")));
        }
        for operator in BOUNDS {
            wanted.extend(["age", "count", "sum"].map(|of| format!("{of} {operator}")));
        }
        wanted
    }

    /// Fails naming what was never drawn.
    pub fn assert_complete(&self) {
        let mut wanted = Self::forms();
        let now = ["tag now", "followed now", "event now", "last now", "distance now instant"];
        for window in WINDOWS.iter().chain(&["ahead instant", "ago_at_least instant"]).chain(&now) {
            wanted.extend(["-1", "+0", "+1"].map(|beside| format!("{window} {beside}")));
        }
        self.assert_met(&wanted);
    }

    fn assert_met(&self, wanted: &[String]) {
        let missing: Vec<&String> = wanted.iter().filter(|what| !self.0.contains_key(*what)).collect();
        assert!(missing.is_empty(), "never drawn: {missing:?}; drawn: {:?}", self.0);
    }
}

fn comparison(comparison: &Comparison) -> &'static str {
    match comparison {
        Comparison::Eq(_) => "eq",
        Comparison::Ne(_) => "ne",
        Comparison::In(_) => "in",
        Comparison::NotIn(_) => "not_in",
        Comparison::Gt(_) => "gt",
        Comparison::Gte(_) => "gte",
        Comparison::Lt(_) => "lt",
        Comparison::Lte(_) => "lte",
        Comparison::Contains(_) => "contains",
        Comparison::StartsWith(_) => "starts_with",
    }
}

fn bound<T>(bound: &Bound<T>) -> &'static str {
    match bound {
        Bound::Eq(_) => "eq",
        Bound::Ne(_) => "ne",
        Bound::Gt(_) => "gt",
        Bound::Gte(_) => "gte",
        Bound::Lt(_) => "lt",
        Bound::Lte(_) => "lte",
    }
}

fn calendar_word(calendar: Calendar) -> &'static str {
    match calendar {
        Calendar::Number(_) => "number",
        Calendar::This(_) => "this",
    }
}
