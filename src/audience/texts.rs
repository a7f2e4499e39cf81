//! Tests of values compiled against a dictionary: texts are tested once each, or only those met.

use std::collections::BTreeMap;

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::dictionary::Dictionary;
use super::sparse::Sparse;
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

/// Writes keys of a type, those of texts with the texts themselves: codes mean nothing outside their dictionary.
pub(super) fn encode(keys: &Sparse, of: AttributeType, texts: &Dictionary, row: &mut Writer) {
    row.byte(TYPES.iter().position(|other| *other == of).map_or(u8::MAX, |at| at as u8));
    if of != AttributeType::Text {
        return keys.encode(row);
    }
    let mut local = BTreeMap::new();
    let local_keys: Sparse = keys
        .iter()
        .map(|(slot, code)| {
            let next = local.len() as i64;
            (slot, *local.entry(code).or_insert(next))
        })
        .collect();
    let mut codes: Vec<(i64, i64)> = local.into_iter().map(|(code, local)| (local, code)).collect();
    codes.sort_unstable();
    local_keys.encode(row);
    row.number(codes.len());
    for (_, code) in codes {
        row.bytes(u32::try_from(code).ok().and_then(|code| texts.text(code)).unwrap_or_default().as_bytes());
    }
}

/// Reads what [`encode`] wrote, giving texts the codes of this dictionary.
pub(super) fn decode(row: &mut Reader<'_>, texts: &mut Dictionary) -> Result<(AttributeType, Sparse), Torn> {
    let of = TYPES.get(usize::from(row.byte()?)).copied().ok_or(Torn)?;
    let keys = Sparse::decode(row)?;
    if of != AttributeType::Text {
        return Ok((of, keys));
    }
    let codes: Vec<i64> = (0..row.number()?)
        .map(|_| row.text().map(|text| texts.intern(text).into()))
        .collect::<Result<_, _>>()?;
    let code = |key: i64| usize::try_from(key).ok().and_then(|local| codes.get(local)).copied().ok_or(Torn);
    let keys = keys.iter().map(|(slot, key)| Ok((slot, code(key)?))).collect::<Result<Sparse, Torn>>()?;
    Ok((of, keys))
}

/// Every type; a type's place here is its number in checkpoints.
pub(super) const TYPES: [AttributeType; 6] = [
    AttributeType::Text,
    AttributeType::Integer,
    AttributeType::Number,
    AttributeType::Boolean,
    AttributeType::Date,
    AttributeType::Instant,
];

/// The key of a value in a column with this dictionary; `None` for a double that is not finite.
pub(super) fn intern(value: &Value, texts: &mut Dictionary) -> Option<(AttributeType, i64)> {
    let key = match value {
        Value::Text(text) => Some(texts.intern(text).into()),
        other => key_of(other),
    };
    key.map(|key| (value.type_of(), key))
}
