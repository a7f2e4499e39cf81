//! `attributes.toml`: each attribute's name and type. Nothing is inferred, so "007" stays a text.

use std::collections::BTreeMap;

use super::diagnostic::Sink;
use super::problem::Problem;
use super::syntax::Parsed;
use crate::domain::attribute::AttributeType;
use crate::domain::id::AttributeName;

const TYPES: [(&str, AttributeType); 6] = [
    ("text", AttributeType::Text),
    ("integer", AttributeType::Integer),
    ("number", AttributeType::Number),
    ("boolean", AttributeType::Boolean),
    ("date", AttributeType::Date),
    ("instant", AttributeType::Instant),
];

/// All declarations that can be read; a shop without the file has none.
pub(super) fn attributes(
    file: Option<&Parsed<'_>>,
    sink: &Sink,
) -> Option<BTreeMap<AttributeName, AttributeType>> {
    let table = super::top(file?, "attributes", sink);
    let mut found = BTreeMap::new();
    for (name, at, item) in table.entries() {
        let Ok(name) = AttributeName::parse(name) else {
            item.file.report(at, Problem::BadSlug { slug: name.to_owned() });
            continue;
        };
        if let Some(of) = item.word(&TYPES) {
            found.insert(name, of);
        }
    }
    Some(found)
}
