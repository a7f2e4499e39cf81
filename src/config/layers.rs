//! Settings looked up in several places: the account's own table, then `haishin.toml` for all accounts, then the
//! shipped `haishin.toml`, which is where the defaults stand. The first place that has a key decides.

use std::rc::Rc;
use std::sync::LazyLock;

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::{At, Sink};
use super::tree::{File, Item, Table};

/// The shipped main file: the source of every default.
pub const SHIPPED: &str = include_str!("../../config/haishin.toml");

static SHIPPED_TABLE: LazyLock<Spanned<DeTable<'static>>> =
    LazyLock::new(|| DeTable::parse_recoverable(SHIPPED).0);

/// The shipped file as a table. What it says of accounts is an example, not a default.
pub(super) fn shipped(sink: &Sink) -> Rc<Table<'_>> {
    let file = File { path: "haishin.toml", text: SHIPPED, sink, homes: &[] };
    Rc::new(Table::new(file, "haishin", SHIPPED_TABLE.get_ref(), SHIPPED_TABLE.span().into()))
}

/// One setting table, seen through all places.
#[derive(Debug, Clone)]
pub(super) struct Layers<'a>(Vec<Rc<Table<'a>>>);

impl<'a> Layers<'a> {
    pub fn new(tables: impl IntoIterator<Item = Rc<Table<'a>>>) -> Self {
        Layers(tables.into_iter().collect())
    }

    /// The same with one more place in front of the others.
    pub fn under(&self, first: Rc<Table<'a>>) -> Self {
        Layers([first].into_iter().chain(self.0.iter().cloned()).collect())
    }

    /// The same with one more place behind the others.
    pub fn over(mut self, last: &Layers<'a>) -> Self {
        self.0.extend(last.0.iter().cloned());
        self
    }

    /// The value of a key in the first place that has it.
    pub fn get(&self, key: &'static str) -> Option<Item<'a>> {
        // Every place is asked, so that the key is known in each.
        let found: Vec<Option<Item<'a>>> = self.0.iter().map(|table| table.get(key)).collect();
        found.into_iter().flatten().next()
    }

    /// The value of a key that must stand in one of the places.
    pub fn need(&self, key: &'static str) -> Option<Item<'a>> {
        match self.get(key) {
            Some(item) => Some(item),
            None => self.0.first().and_then(|table| table.need(key)),
        }
    }

    /// The tables under a key, wherever it stands.
    pub fn table(&self, key: &'static str, name: &'static str) -> Layers<'a> {
        let tables = self.0.iter().filter_map(|table| table.get(key)?.table(name));
        Layers(tables.map(Rc::new).collect())
    }

    /// The tables of one name within a table whose keys are names.
    pub fn named(&self, key: &str, name: &'static str) -> Layers<'a> {
        let tables = self.0.iter().filter_map(|table| table.peek(key)?.table(name));
        Layers(tables.map(Rc::new).collect())
    }

    /// All names in a table whose keys are names, each with the first place it stands at.
    pub fn names(&self) -> Vec<(&'a str, At, File<'a>)> {
        let mut all: Vec<(&'a str, At, File<'a>)> = Vec::new();
        for table in &self.0 {
            for (name, at, item) in table.entries() {
                if !all.iter().any(|(seen, ..)| *seen == name) {
                    all.push((name, at, item.file));
                }
            }
        }
        all
    }

    /// Reports every key nobody asked for.
    pub fn finish(&self) {
        for table in &self.0 {
            table.finish();
        }
    }
}
