//! Conditions on declared attributes.

use toml::de::DeValue;

use super::Rules;
use super::bounds::whole_bounds;
use crate::config::problem::{Expected, Noun, Problem};
use crate::config::scalar::Moment;
use crate::config::tree::{Item, Table, shorten};
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::id::AttributeName;
use crate::domain::segment::rule::{AttributeTest, Calendar, Comparison, Condition};
use crate::domain::segment::value_test::ValueTest;
use crate::domain::time::Tz;

pub(super) const COMPARISONS: [&str; 10] =
    ["eq", "ne", "in", "not_in", "gt", "gte", "lt", "lte", "contains", "starts_with"];
const TESTS: [&str; 8] = ["is_set", "age", "month", "day", "past", "ahead", "ago_at_least", "on_day"];

/// Ages, in years, a person may ask for.
const AGE_MAX: i64 = 200;
/// Up to here every whole number is a double.
const WHOLE_DOUBLE_MAX: i64 = 1 << 53;
/// Days from today a rule may ask for.
const OFFSET_MAX: i64 = 36_500;

/// An attribute's name and declared type, for the sentence of a mismatch.
#[derive(Clone, Copy)]
struct Declared<'a> {
    name: &'a AttributeName,
    of: AttributeType,
}

impl Declared<'_> {
    fn mismatch(&self, found: &str) -> Problem {
        let attribute = self.name.to_string();
        Problem::TypeMismatch { attribute, declared: self.of, found: shorten(found) }
    }

    fn allows(&self, test: &str) -> bool {
        use AttributeType::{Boolean, Date, Instant, Text};
        match test {
            "is_set" | "eq" | "ne" => true,
            "in" | "not_in" | "gt" | "gte" | "lt" | "lte" => self.of != Boolean,
            "contains" | "starts_with" => self.of == Text,
            "age" | "month" | "day" | "on_day" => self.of == Date,
            _ => matches!(self.of, Date | Instant),
        }
    }
}

impl Rules<'_> {
    pub(super) fn attribute(&self, table: &Table<'_>, item: &Item<'_>) -> Option<Condition> {
        // Asked for first: an undeclared name must not make its tests unknown keys.
        let named = table.present(&TESTS);
        let compared = table.present(&COMPARISONS);
        for key in TESTS.into_iter().chain(COMPARISONS).chain(["zone"]) {
            table.get(key);
        }
        let declared = self.declared(item)?;
        let test = match (named.as_slice(), compared.as_slice()) {
            ([], []) => {
                let keys = COMPARISONS.into_iter().chain(TESTS).filter(|key| declared.allows(key));
                table.missing(&keys.collect::<Vec<_>>());
                None
            }
            ([], _) => self.compare(table, declared).map(AttributeTest::Compare),
            ([one], []) => self.test(table, one, declared),
            ([one, rest @ ..], others) => {
                for other in rest.iter().chain(others) {
                    let problem = Problem::Conflict { key: (*other).to_owned(), other: (*one).to_owned() };
                    table.file.report(table.key_at(other).unwrap_or(table.at), problem);
                }
                None
            }
        };
        Some(Condition::Attribute { name: declared.name.clone(), test: test? })
    }

    /// The declared attribute an item names.
    fn declared(&self, item: &Item<'_>) -> Option<Declared<'_>> {
        let name = item.text()?;
        let Some((name, of)) = self.names.attributes.get_key_value(name) else {
            if self.names.undecided.contains(name) {
                return None;
            }
            return item.unknown(
                Noun::Attribute,
                name,
                self.names.attributes.keys().map(AttributeName::as_str),
            );
        };
        Some(Declared { name, of: *of })
    }

    /// An attribute and the comparisons in a table that a new value of it must pass; none means any value.
    pub(in crate::config) fn new_value(
        &self,
        table: &Table<'_>,
        item: &Item<'_>,
    ) -> Option<(AttributeName, Vec<Comparison>)> {
        for key in COMPARISONS {
            table.get(key);
        }
        let declared = self.declared(item)?;
        let comparisons = self.compare(table, declared)?;
        if ValueTest::of_comparisons(&comparisons, declared.of).is_never() {
            table.report(Problem::NeverStarts);
            return None;
        }
        Some((declared.name.clone(), comparisons))
    }

    /// An attribute that holds dates or instants.
    pub(in crate::config) fn day_of(&self, item: &Item<'_>) -> Option<AttributeName> {
        let declared = self.declared(item)?;
        if !matches!(declared.of, AttributeType::Date | AttributeType::Instant) {
            return item.bad(Expected::DayAttribute, declared.name.as_str());
        }
        Some(declared.name.clone())
    }

    /// An attribute and the value it is given.
    pub(in crate::config) fn given_value(
        &self,
        table: &Table<'_>,
        item: &Item<'_>,
    ) -> Option<(AttributeName, Value)> {
        let given = table.need("value");
        let declared = self.declared(item)?;
        let given = given?;
        let value = match (declared.of, given.value) {
            (AttributeType::Instant, _) => Value::Instant(given.instant(self.zone(table)?)?),
            // A whole number in the file; what is stored is of the declared type.
            (AttributeType::Number, DeValue::Integer(_)) => {
                Value::Number(given.whole(-WHOLE_DOUBLE_MAX, WHOLE_DOUBLE_MAX)? as f64)
            }
            (of, _) => plain_value(&given, of)?,
        };
        Some((declared.name.clone(), value))
    }

    /// An attribute whose value is taken away.
    pub(in crate::config) fn attribute_name(&self, item: &Item<'_>) -> Option<AttributeName> {
        self.declared(item).map(|declared| declared.name.clone())
    }

    fn test(&self, table: &Table<'_>, key: &'static str, declared: Declared<'_>) -> Option<AttributeTest> {
        let item = table.get(key)?;
        if !declared.allows(key) {
            table.file.report(table.key_at(key)?, declared.mismatch(key));
            return None;
        }
        let test = match key {
            "is_set" => return Some(AttributeTest::IsSet(item.flag()?)),
            "age" => {
                let bounds = whole_bounds(&item, Expected::Bounds, AGE_MAX);
                AttributeTest::Age { zone: self.zone(table)?, bounds: bounds? }
            }
            "month" => AttributeTest::Month(self.calendar(table, &item, 12)?),
            "day" => AttributeTest::Day(self.calendar(table, &item, 31)?),
            "on_day" => {
                let offset = offset(&item);
                AttributeTest::OnDay { zone: self.zone(table)?, offset: offset? }
            }
            _ => {
                let span = item.span();
                let zone = self.zone(table)?;
                match key {
                    "past" => AttributeTest::Past { within: span?, zone },
                    "ahead" => AttributeTest::Ahead { within: span?, zone },
                    _ => AttributeTest::AgoAtLeast { span: span?, zone },
                }
            }
        };
        Some(test)
    }

    fn calendar(&self, table: &Table<'_>, item: &Item<'_>, max: u32) -> Option<Calendar> {
        match item.value {
            DeValue::String(word) if word == "this" => Some(Calendar::This(self.zone(table)?)),
            DeValue::Integer(_) => Some(Calendar::Number(item.whole_u32(1, max)?)),
            DeValue::String(other) => item.bad(Expected::Day { max }, other),
            _ => item.wrong_type(Expected::Day { max }),
        }
    }

    fn compare(&self, table: &Table<'_>, declared: Declared<'_>) -> Option<Vec<Comparison>> {
        for key in table.present(&COMPARISONS) {
            if !declared.allows(key) {
                table.file.report(table.key_at(key)?, declared.mismatch(key));
                return None;
            }
        }
        comparisons(table, |key, item| match (declared.of, key) {
            (AttributeType::Instant, _) => self.instant(table, key, item, declared),
            _ => Some(vec![value(item, declared)?]),
        })
    }

    /// An instant; a bare day means its edges: as an end it includes the whole local day.
    fn instant(
        &self,
        table: &Table<'_>,
        key: &str,
        item: &Item<'_>,
        declared: Declared<'_>,
    ) -> Option<Vec<Value>> {
        if !matches!(item.value, DeValue::String(_) | DeValue::Datetime(_)) {
            item.report(declared.mismatch(&written(item)));
            return None;
        }
        let moment = item.moment(Expected::Moment)?;
        if let Moment::Fixed(at) = moment {
            return Some(vec![Value::Instant(at)]);
        }
        let zone: Tz = self.zone(table)?;
        let (start, end) = (Value::Instant(moment.start(zone)), Value::Instant(moment.end(zone)));
        match (moment, key) {
            (Moment::Day(_), "ne" | "in" | "not_in") => item.bad(Expected::Instant, &written(item)),
            (Moment::Day(_), "gt" | "lte") => Some(vec![end]),
            (Moment::Day(_), "eq") => Some(vec![start, end]),
            _ => Some(vec![start]),
        }
    }
}

/// The comparisons in a table. `read` gives the value of one key: two for an equality that is a range, and for a
/// bare day its edge, which is exclusive at the end.
pub(super) fn comparisons(
    table: &Table<'_>,
    read: impl Fn(&str, &Item<'_>) -> Option<Vec<Value>>,
) -> Option<Vec<Comparison>> {
    let mut all = Some(Vec::new());
    for key in COMPARISONS {
        let Some(item) = table.get(key) else { continue };
        let found = one_comparison(key, &item, &read);
        match (found, &mut all) {
            (Some(found), Some(all)) => all.extend(found),
            _ => all = None,
        }
    }
    all
}

fn one_comparison(
    key: &str,
    item: &Item<'_>,
    read: &impl Fn(&str, &Item<'_>) -> Option<Vec<Value>>,
) -> Option<Vec<Comparison>> {
    if matches!(key, "in" | "not_in") {
        let items = item.list()?;
        if items.is_empty() {
            item.report(Problem::EmptyList { everybody: false });
        }
        let values: Vec<Option<Vec<Value>>> = items.iter().map(|item| read(key, item)).collect();
        let values: Option<Vec<Vec<Value>>> = values.into_iter().collect();
        let values = values?.into_iter().flatten().collect();
        return Some(vec![if key == "in" { Comparison::In(values) } else { Comparison::NotIn(values) }]);
    }
    if matches!(key, "contains" | "starts_with") {
        let text = item.text()?.to_owned();
        let test = if key == "contains" { Comparison::Contains } else { Comparison::StartsWith };
        return Some(vec![test(text)]);
    }
    let values = read(key, item)?;
    let bare_day = values.len() == 1 && is_bare_day(item);
    match (key, values.as_slice()) {
        ("eq", [start, end]) => Some(vec![Comparison::Gte(start.clone()), Comparison::Lt(end.clone())]),
        (_, [value]) => Some(vec![comparison(key, value.clone(), bare_day)]),
        _ => None,
    }
}

fn comparison(key: &str, value: Value, bare_day: bool) -> Comparison {
    let is_instant = matches!(value, Value::Instant(_));
    match key {
        "eq" => Comparison::Eq(value),
        "ne" => Comparison::Ne(value),
        // After a bare day: from the next one on. Until a bare day: before the next one.
        "gt" if bare_day && is_instant => Comparison::Gte(value),
        "lte" if bare_day && is_instant => Comparison::Lt(value),
        "gt" => Comparison::Gt(value),
        "gte" => Comparison::Gte(value),
        "lt" => Comparison::Lt(value),
        _ => Comparison::Lte(value),
    }
}

fn is_bare_day(item: &Item<'_>) -> bool {
    matches!(Moment::parse(&written(item)), Some(Moment::Day(_)))
}

fn value(item: &Item<'_>, declared: Declared<'_>) -> Option<Value> {
    let fits = matches!(
        (declared.of, item.value),
        (AttributeType::Text, DeValue::String(_))
            | (AttributeType::Integer, DeValue::Integer(_))
            | (AttributeType::Number, DeValue::Integer(_) | DeValue::Float(_))
            | (AttributeType::Boolean, DeValue::Boolean(_))
            | (AttributeType::Date, DeValue::String(_) | DeValue::Datetime(_))
    );
    if !fits {
        item.report(declared.mismatch(&written(item)));
        return None;
    }
    plain_value(item, declared.of)
}

/// The value of a type, where the TOML type fits it.
pub(super) fn plain_value(item: &Item<'_>, of: AttributeType) -> Option<Value> {
    match (of, item.value) {
        (AttributeType::Text, _) => Some(Value::Text(item.text()?.into())),
        (AttributeType::Boolean, _) => Some(Value::Boolean(item.flag()?)),
        (AttributeType::Date, _) => Some(Value::Date(item.date()?)),
        (AttributeType::Instant, _) => match item.moment(Expected::Moment)? {
            Moment::Fixed(at) => Some(Value::Instant(at)),
            _ => item.bad(Expected::Instant, &written(item)),
        },
        (AttributeType::Integer, _) | (_, DeValue::Integer(_)) => {
            Some(Value::Integer(item.whole(i64::MIN, i64::MAX)?))
        }
        (AttributeType::Number, DeValue::Float(digits)) => {
            let number = digits.as_str().parse::<f64>().ok().filter(|number| number.is_finite());
            number.map(Value::Number).or_else(|| item.bad(Expected::Number, digits.as_str()))
        }
        (AttributeType::Number, _) => item.wrong_type(Expected::Number),
    }
}

fn written(item: &Item<'_>) -> String {
    match item.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(native) => native.to_string(),
        DeValue::Array(_) => "[ ]".to_owned(),
        DeValue::Table(_) => "{ }".to_owned(),
    }
}

fn offset(item: &Item<'_>) -> Option<i64> {
    match item.value {
        DeValue::String(_) => item.word(&[("today", 0), ("tomorrow", 1), ("yesterday", -1)]),
        _ => item.whole(-OFFSET_MAX, OFFSET_MAX),
    }
}
