//! `attributes.toml`: each attribute's name and type. Nothing is inferred, so "007" stays a text.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::Sink;
use super::problem::{Expected, Problem};
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

/// What is declared.
#[derive(Default)]
pub(super) struct Attributes {
    pub declared: BTreeMap<AttributeName, AttributeType>,
    /// Those whose type cannot be read.
    pub undecided: BTreeSet<AttributeName>,
}

/// All declarations; a shop without the file has none.
pub(super) fn attributes(file: Option<&Parsed<'_>>, sink: &Sink) -> Attributes {
    let mut found = Attributes::default();
    let Some(file) = file else { return found };
    for (name, at, item) in super::top(file, "attributes", &[], sink).entries() {
        let Ok(attribute) = AttributeName::parse(name) else {
            let found = name.to_owned();
            item.file.report(at, Problem::BadValue { expected: Expected::Name, found, suggestion: None });
            continue;
        };
        match item.word(&TYPES) {
            Some(of) => {
                found.declared.insert(attribute, of);
            }
            None => {
                found.undecided.insert(attribute);
            }
        }
    }
    found
}
