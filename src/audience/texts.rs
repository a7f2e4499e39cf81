//! Tests of values compiled against a dictionary: texts are tested once each, or only those met.

use super::dictionary::Dictionary;
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::segment::ranges::Ranges;
use crate::domain::segment::rule::Comparison;
use crate::domain::segment::value_test::{ValueTest, key_of};

/// A test of the keys of a column, where the key of a text is its code.
#[derive(Debug, Clone)]
pub(super) struct KeyTest<'a> {
    test: ValueTest<'a>,
    /// Where the texts of codes stand, if the test reads them.
    texts: Option<&'a Dictionary>,
}

impl<'a> KeyTest<'a> {
    /// `rows` is how many keys will be tested: with fewer than there are texts, only theirs are read.
    pub(super) fn new(test: ValueTest<'a>, of: AttributeType, texts: &'a Dictionary, rows: u64) -> Self {
        if of != AttributeType::Text {
            return Self { test, texts: None };
        }
        let passing = |codes: &mut dyn Iterator<Item = u32>| {
            let passes = |code: &u32| texts.text(*code).is_some_and(|text| test.passes_text(text));
            Ranges::points(codes.filter(passes).map(i64::from))
        };
        let codes = match named_texts(&test) {
            Some(named) => passing(&mut named.into_iter().filter_map(|text| texts.code(text))),
            None if texts.len() as u64 <= rows => passing(&mut (0..).take(texts.len())),
            None => return Self { test, texts: Some(texts) },
        };
        Self { test: ValueTest::Keys(codes), texts: None }
    }

    pub(super) fn is_never(&self) -> bool {
        self.test.is_never()
    }

    /// What passes, where that is one range of keys.
    pub(super) fn range(&self) -> Option<(i64, i64)> {
        match (&self.test, self.texts) {
            (ValueTest::Keys(ranges), None) => ranges.single(),
            _ => None,
        }
    }

    pub(super) fn passes(&self, key: i64) -> bool {
        match self.texts {
            None => self.test.passes_key(key),
            Some(texts) => u32::try_from(key)
                .ok()
                .and_then(|code| texts.text(code))
                .is_some_and(|text| self.test.passes_text(text)),
        }
    }
}

/// The only texts that can pass, where a comparison names them.
fn named_texts<'a>(test: &ValueTest<'a>) -> Option<Vec<&'a str>> {
    let ValueTest::Text(comparisons) = test else { return None };
    let text = |value: &'a Value| match value {
        Value::Text(text) => Some(text.as_ref()),
        _ => None,
    };
    comparisons.iter().find_map(|comparison| match comparison {
        Comparison::Eq(value) => Some(text(value).into_iter().collect()),
        Comparison::In(values) => Some(values.iter().filter_map(text).collect()),
        _ => None,
    })
}

/// The key of a value in a column with this dictionary; `None` for a double that is not finite.
pub(super) fn intern(value: &Value, texts: &mut Dictionary) -> Option<(AttributeType, i64)> {
    let key = match value {
        Value::Text(text) => Some(texts.intern(text).into()),
        other => key_of(other),
    };
    key.map(|key| (value.type_of(), key))
}
