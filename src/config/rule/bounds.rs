//! `{ gte = 20, lt = 40 }`: bounds on a measure.

use toml::de::DeValue;

use crate::config::problem::Expected;
use crate::config::tree::{Item, Table};
use crate::domain::segment::rule::{Bound, Number};

const BOUNDS: [&str; 6] = ["eq", "ne", "gt", "gte", "lt", "lte"];

/// All bounds in a table, at least one.
pub(super) fn bounds_in<T>(
    table: &Table<'_>,
    read: impl Fn(&Item<'_>) -> Option<T>,
) -> Option<Vec<Bound<T>>> {
    let mut bounds = Vec::new();
    let mut all_read = true;
    for key in BOUNDS {
        let Some(item) = table.get(key) else { continue };
        match read(&item) {
            Some(value) => bounds.push(bound(key, value)),
            None => all_read = false,
        }
    }
    if bounds.is_empty() && all_read {
        table.missing(&BOUNDS);
        return None;
    }
    all_read.then_some(bounds)
}

fn bound<T>(key: &str, value: T) -> Bound<T> {
    match key {
        "eq" => Bound::Eq(value),
        "ne" => Bound::Ne(value),
        "gt" => Bound::Gt(value),
        "gte" => Bound::Gte(value),
        "lt" => Bound::Lt(value),
        _ => Bound::Lte(value),
    }
}

/// A whole number meaning "exactly", or bounds in `{ }`.
pub(super) fn whole_bounds(item: &Item<'_>, expected: Expected, max: i64) -> Option<Vec<Bound<i64>>> {
    if let DeValue::Integer(_) = item.value {
        return Some(vec![Bound::Eq(item.whole(0, max)?)]);
    }
    let table = item.table_as("bounds", expected)?;
    let bounds = bounds_in(&table, |item| item.whole(0, max));
    table.finish();
    bounds
}

/// A number to compare a sum with.
pub(super) fn number(item: &Item<'_>) -> Option<Number> {
    match item.value {
        DeValue::Integer(_) => Some(Number::Integer(item.whole(i64::MIN, i64::MAX)?)),
        DeValue::Float(digits) => {
            let number = digits.as_str().parse::<f64>().ok().filter(|number| number.is_finite());
            number.map(Number::Double).or_else(|| item.bad(Expected::Number, digits.as_str()))
        }
        _ => item.wrong_type(Expected::Number),
    }
}
