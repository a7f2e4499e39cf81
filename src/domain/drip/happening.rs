//! Something that can happen to a friend, as a drip waits for it.

use std::collections::BTreeMap;

use crate::domain::attribute::Value;
use crate::domain::id::{EventName, PropertyName, TagName};
use crate::domain::segment::rule::{Bound, Comparison};
use crate::domain::segment::value_test::passes;
use crate::domain::time::Span;

/// An event with conditions, or a change of a tag.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// An event of this name.
    Event {
        /// Which.
        event: EventName,
        /// All must hold on the event; a missing property fails its comparison.
        properties: Vec<(PropertyName, Vec<Comparison>)>,
        /// How many such events there must be with this one, counted up to its instant; any number when absent, as
        /// always where a way ends.
        count: Option<Count>,
    },
    /// A tag is given to a friend who did not hold it.
    TagAdded(TagName),
    /// A tag is taken from a friend who held it.
    TagRemoved(TagName),
    /// The friend blocks the account.
    Unfollowed,
}

/// A number of events.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// In this time before the event, itself included; ever when absent.
    pub within: Option<Span>,
    /// All must hold.
    pub bounds: Vec<Bound<i64>>,
}

impl Happening {
    /// Whether an event's name and properties are those waited for. Its number is not looked at here.
    pub fn is_event(&self, name: &EventName, properties: &BTreeMap<PropertyName, Value>) -> bool {
        match self {
            Happening::Event { event, properties: tests, .. } => {
                event == name
                    && tests.iter().all(|(property, comparisons)| {
                        properties.get(property).is_some_and(|value| passes(value, comparisons))
                    })
            }
            _ => false,
        }
    }
}
