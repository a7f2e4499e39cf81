//! Conditions on events.

use toml::de::DeValue;

use super::attribute::{COMPARISONS, comparisons};
use super::bounds::{bounds_in, number, whole_bounds};
use super::{Rules, needed_age};
use crate::config::problem::{Expected, Problem};
use crate::config::tree::{Item, Table};
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::id::{EventName, PropertyName};
use crate::domain::segment::rule::{Bound, Comparison, EventCondition, Measure};

/// What is asked of each property.
type Properties = Vec<(PropertyName, Vec<Comparison>)>;

impl Rules<'_> {
    pub(super) fn event(&self, table: &Table<'_>, item: &Item<'_>) -> Option<EventCondition> {
        let named = self.named_event(table, item);
        let within = table.get("within").map(|within| within.span());
        let measure = self.measure(table);
        let within = match within {
            Some(within) => Some(within?),
            None => None,
        };
        let (event, properties) = named?;
        Some(EventCondition { event, within, properties, measure: measure? })
    }

    /// An event's name and what `where` asks of its properties.
    pub(in crate::config) fn named_event(
        &self,
        table: &Table<'_>,
        item: &Item<'_>,
    ) -> Option<(EventName, Properties)> {
        let event = item.name(Expected::Name);
        let properties = match table.get("where") {
            Some(item) => self.properties(&item),
            None => Some(Vec::new()),
        };
        Some((event?, properties?))
    }

    fn measure(&self, table: &Table<'_>) -> Option<Measure> {
        let Some(which) = table.one_of(&["count", "sum", "last", "never"], false) else {
            return Some(Measure::Count(vec![Bound::Gte(1)]));
        };
        let item = table.get(which)?;
        match which {
            "count" => Some(Measure::Count(count_bounds(&item)?)),
            "sum" => {
                let table = item.table("sum")?;
                let of = table.need("of").and_then(|of| of.name(Expected::Name));
                let bounds = bounds_in(&table, number);
                table.finish();
                Some(Measure::Sum { of: of?, bounds: bounds? })
            }
            "last" => {
                let table = item.table_as("last", Expected::Age)?;
                let age = needed_age(&table);
                table.finish();
                Some(Measure::Last(age?))
            }
            _ => match item.flag()? {
                true => Some(Measure::Count(vec![Bound::Eq(0)])),
                false => Some(Measure::Count(vec![Bound::Gte(1)])),
            },
        }
    }

    /// `where = { shop = "渋谷", amount = { gte = 1000 } }`: a value alone means equal.
    fn properties(&self, item: &Item<'_>) -> Option<Properties> {
        let table = item.table("where")?;
        let mut all = Some(Vec::new());
        for (name, at, item) in table.entries() {
            let Ok(property) = PropertyName::parse(name) else {
                let problem =
                    Problem::BadValue { expected: Expected::Name, found: name.to_owned(), suggestion: None };
                item.file.report(at, problem);
                all = None;
                continue;
            };
            match (self.property(&item), &mut all) {
                (Some(comparisons), Some(all)) => all.push((property, comparisons)),
                _ => all = None,
            }
        }
        all
    }

    fn property(&self, item: &Item<'_>) -> Option<Vec<Comparison>> {
        if let DeValue::Table(_) = item.value {
            let table = item.table("comparison")?;
            let read = comparisons(&table, |_, item| property_value(item).map(|value| vec![value]));
            if table.present(&COMPARISONS).is_empty() {
                table.missing(&COMPARISONS);
            }
            table.finish();
            return read;
        }
        property_value(item).map(|value| vec![Comparison::Eq(value)])
    }
}

/// `count = 2`, `count = { gte = 2 }`.
pub(in crate::config) fn count_bounds(item: &Item<'_>) -> Option<Vec<Bound<i64>>> {
    whole_bounds(item, Expected::CountOrBounds, i64::MAX)
}

/// Properties are not declared: the value's own TOML type is meant.
fn property_value(item: &Item<'_>) -> Option<Value> {
    let declared = match item.value {
        DeValue::String(_) => AttributeType::Text,
        DeValue::Integer(_) => AttributeType::Integer,
        DeValue::Float(_) => AttributeType::Number,
        DeValue::Boolean(_) => AttributeType::Boolean,
        DeValue::Datetime(native) if native.time.is_none() => AttributeType::Date,
        DeValue::Datetime(native) if native.offset.is_some() => AttributeType::Instant,
        _ => return item.wrong_type(Expected::Comparison),
    };
    super::attribute::plain_value(item, declared)
}
