//! Rows by key, with what undoes a step that fails.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A table. A copy of it is a pointer until one of the two is written to, and then pointers to rows.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: Arc<BTreeMap<K, Arc<V>>>,
    /// What stood at each place that was written to since the last step was kept, in order.
    before: Vec<(K, Option<Arc<V>>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: Arc::default(), before: Vec::new() }
    }
}

impl<K: Clone, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { rows: Arc::clone(&self.rows), before: self.before.clone() }
    }
}

/// Whatever a step was, it stands or it never was.
pub(super) trait Undo {
    /// What was written stands.
    fn keep(&mut self);
    /// What was written since the last [`Undo::keep`] never was.
    fn undo(&mut self);
}

impl<K: Ord + Clone, V> Undo for Table<K, V> {
    fn keep(&mut self) {
        self.before.clear();
    }

    fn undo(&mut self) {
        let before = std::mem::take(&mut self.before);
        if before.is_empty() {
            return;
        }
        let rows = Arc::make_mut(&mut self.rows);
        for (key, row) in before.into_iter().rev() {
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
    }
}

impl<K: Ord + Clone, V> Table<K, V> {
    /// The row in a place.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(AsRef::as_ref)
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Every row in the order of keys.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, row.as_ref()))
    }

    /// The rows at and after a place, in order.
    pub(super) fn from(&self, key: K) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(key..).map(|(key, row)| (key, row.as_ref()))
    }

    /// The rows after a place, in order.
    pub(super) fn after(&self, key: K) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let range = (Bound::Excluded(key), Bound::Unbounded);
        self.rows.range(range).map(|(key, row)| (key, row.as_ref()))
    }

    /// The last key in use.
    pub(super) fn last(&self) -> Option<&K> {
        self.rows.keys().next_back()
    }

    /// Puts a row into a place, whatever stood there.
    pub(super) fn set(&mut self, key: K, row: V) {
        let before = Arc::make_mut(&mut self.rows).insert(key.clone(), Arc::new(row));
        self.before.push((key, before));
    }

    /// Puts a row into a place that is free; `false` when it is not.
    #[must_use]
    pub(super) fn add(&mut self, key: K, row: V) -> bool {
        let free = !self.rows.contains_key(&key);
        if free {
            self.set(key, row);
        }
        free
    }

    /// Takes a row away; `false` when there is none.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        if !self.rows.contains_key(key) {
            return false;
        }
        let before = Arc::make_mut(&mut self.rows).remove(key);
        self.before.push((key.clone(), before));
        true
    }

    /// Takes away the rows of these keys.
    pub(super) fn remove_all(&mut self, keys: impl IntoIterator<Item = K>) {
        for key in keys {
            self.remove(&key);
        }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// Changes a row where it stands; `false` when there is none.
    pub(super) fn change(&mut self, key: &K, change: impl FnOnce(&mut V)) -> bool {
        let Some(mut row) = self.get(key).cloned() else { return false };
        change(&mut row);
        self.set(key.clone(), row);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_stands_or_never_was_and_a_copy_stays_as_it_is() {
        let rows = |table: &Table<i64, &'static str>| {
            table.rows().map(|(key, row)| (*key, *row)).collect::<Vec<_>>()
        };
        let mut table = Table::default();
        table.set(1, "a");
        assert!(table.add(2, "b") && !table.add(2, "c"));
        table.keep();
        let copy = table.clone();
        table.set(1, "x");
        table.set(1, "y");
        assert!(table.remove(&2) && !table.remove(&2) && table.add(2, "z") && table.add(3, "n"));
        assert!(table.change(&3, |row| *row = "m") && !table.change(&4, |_| ()));
        assert_eq!(rows(&table), [(1, "y"), (2, "z"), (3, "m")]);
        table.undo();
        assert_eq!(rows(&table), [(1, "a"), (2, "b")]);
        table.remove_all([1, 9]);
        table.keep();
        table.undo();
        assert_eq!((rows(&table), rows(&copy)), (vec![(2, "b")], vec![(1, "a"), (2, "b")]));
    }
}
