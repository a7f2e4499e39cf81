//! One attribute of all friends: a column per type of value that occurs, which is one unless a declaration changed.

use roaring::RoaringBitmap;

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::column::{Column, place};
use super::dictionary::Dictionary;
use super::dirty::Dirty;
use super::texts::{self, KeyTest, intern};
use crate::domain::attribute::{AttributeType, Value};
use crate::domain::segment::rule::AttributeTest;
use crate::domain::segment::value_test::ValueTest;
use crate::domain::time::Instant;

/// A friend has a key in at most one of the columns.
#[derive(Debug, Clone, Default)]
pub(super) struct Attribute {
    columns: Vec<(AttributeType, Column)>,
    texts: Dictionary,
    pub(super) dirty: Dirty,
}

/// So many texts nobody has any more are always tolerated.
const IDLE_TEXTS: usize = 1024;

impl Attribute {
    pub(super) fn set(&mut self, friend: u32, value: &Value) {
        let Some((of, key)) = intern(value, &mut self.texts) else { return self.remove(friend) };
        for (other, column) in &mut self.columns {
            if *other != of {
                column.remove(friend);
            }
        }
        self.column(of).set(friend, key);
        self.dirty.mark(place(friend).0);
        self.drop_idle_texts();
    }

    pub(super) fn remove(&mut self, friend: u32) {
        for (_, column) in &mut self.columns {
            if column.remove(friend) {
                self.dirty.mark(place(friend).0);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.iter().all(|(_, column)| column.count() == 0)
    }

    fn column(&mut self, of: AttributeType) -> &mut Column {
        let at = self.columns.iter().position(|(other, _)| *other == of).unwrap_or_else(|| {
            self.columns.push((of, Column::default()));
            self.columns.len() - 1
        });
        &mut self.columns[at].1
    }

    /// An attribute that changes for years must not keep every text it ever had.
    fn drop_idle_texts(&mut self) {
        let used = self.column_of(AttributeType::Text).map_or(0, Column::count);
        if self.texts.len() <= 2 * used + IDLE_TEXTS {
            return;
        }
        let old = std::mem::take(&mut self.texts);
        let mut codes = vec![None; old.len()];
        let mut texts = Dictionary::default();
        for chunk in self.column_of(AttributeType::Text).map_or(&[][..], Column::chunks) {
            for (_, key) in chunk.iter() {
                let code = u32::try_from(key).unwrap_or(u32::MAX);
                if let (Some(place), Some(text)) = (codes.get_mut(code as usize), old.text(code)) {
                    *place = Some(texts.intern(text));
                }
            }
        }
        self.texts = texts;
        let new_code = |key: i64| {
            let code = usize::try_from(key).ok().and_then(|code| codes.get(code).copied().flatten());
            code.map_or(key, i64::from)
        };
        self.column(AttributeType::Text).map(new_code);
    }

    fn column_of(&self, of: AttributeType) -> Option<&Column> {
        self.columns.iter().find(|(other, _)| *other == of).map(|(_, column)| column)
    }

    /// Those of `among` that pass.
    pub(super) fn select(&self, test: &AttributeTest, now: Instant, among: RoaringBitmap) -> RoaringBitmap {
        if let AttributeTest::IsSet(set) = test {
            let present = self.present();
            return if *set { among & present } else { among - present };
        }
        let mut selected = RoaringBitmap::new();
        for (of, column) in &self.columns {
            let test = ValueTest::of_attribute_test(test, *of, now);
            let test = KeyTest::new(test, *of, &self.texts, among.len());
            if !test.is_never() {
                selected |= column.select(&among, test.range(), |key| test.passes(key));
            }
        }
        selected
    }

    /// Whether one friend passes.
    pub(super) fn passes(&self, test: &AttributeTest, now: Instant, friend: u32) -> bool {
        let mut keys = self.columns.iter().filter_map(|(of, column)| Some((*of, column.get(friend)?)));
        match (keys.next(), test) {
            (key, AttributeTest::IsSet(set)) => key.is_some() == *set,
            (None, _) => false,
            (Some((of, key)), _) => {
                let test = ValueTest::of_attribute_test(test, of, now);
                KeyTest::new(test, of, &self.texts, 1).passes(key)
            }
        }
    }

    pub(super) fn encode_chunk(&self, chunk: usize, row: &mut Writer) {
        row.number(self.columns.len());
        let none = Default::default();
        for (of, column) in &self.columns {
            texts::encode(column.chunk(chunk).unwrap_or(&none), *of, &self.texts, row);
        }
    }

    pub(super) fn decode_chunk(&mut self, chunk: usize, row: &mut Reader<'_>) -> Result<(), Torn> {
        for _ in 0..row.number()? {
            let (of, keys) = texts::decode(row, &mut self.texts)?;
            self.column(of).replace_chunk(chunk, keys);
        }
        Ok(())
    }

    fn present(&self) -> RoaringBitmap {
        self.columns.iter().fold(RoaringBitmap::new(), |all, (_, column)| all | column.present())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::segment::rule::Comparison;

    /// A text that changes for years leaves a bounded number of old ones behind, and the right new one.
    #[test]
    fn old_texts_are_dropped() {
        let mut attribute = Attribute::default();
        let text = |n: u32| Value::Text(format!("page {n}").into());
        for round in 0..50 {
            for friend in 0..300 {
                attribute.set(friend, &text(round * 1000 + friend));
            }
        }
        assert!(attribute.texts.len() <= 2 * 300 + IDLE_TEXTS, "{}", attribute.texts.len());
        let now = Instant::from_millis(0);
        for friend in 0..300 {
            let test = AttributeTest::Compare(vec![Comparison::Eq(text(49_000 + friend))]);
            let mut all = RoaringBitmap::new();
            all.insert_range(0..300);
            assert_eq!(attribute.select(&test, now, all), RoaringBitmap::from([friend]));
        }
    }
}
