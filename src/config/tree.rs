//! Reading TOML tables key by key, every problem reported where it stands.
//!
//! A reader asks for the keys it knows; whatever nobody asked for is an unknown key. So the list of keys cannot
//! drift from the code that reads them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{At, Sink};
use super::problem::{Expected, Found, Noun, Problem};
use super::suggest;

/// One file while it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    pub path: &'a str,
    pub text: &'a str,
    pub sink: &'a Sink,
    /// Where the keys of such a file live.
    pub homes: &'static [Home],
}

impl File<'_> {
    pub fn report(&self, at: At, problem: Problem) {
        self.sink.report(self.path, Some(at), problem);
    }
}

/// Keys that live under one header of a kind of file: lets a key below the wrong header be sent home.
#[derive(Debug)]
pub(super) struct Home {
    /// `[schedule]`, or empty for the top of the file.
    pub header: &'static str,
    pub keys: &'static [&'static str],
}

impl Home {
    /// The table below the header: `message` of `[[step.message]]`.
    fn table(&self) -> &'static str {
        let path = self.header.trim_matches(['[', ']']);
        path.rsplit('.').next().unwrap_or(path)
    }
}

/// A value under its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub file: File<'a>,
    pub value: &'a DeValue<'a>,
    pub at: At,
}

/// A table being read.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub file: File<'a>,
    pub at: At,
    /// What the table is called in the documentation: `schedule`, `accounts.*`; the top of a file has its kind.
    name: &'static str,
    entries: &'a DeTable<'a>,
    homes: &'static [Home],
    asked: RefCell<BTreeSet<&'static str>>,
    forgiven: Cell<bool>,
    /// What is missing: said at the end, and only where no slip of a key explains it.
    missing: RefCell<Vec<Vec<&'static str>>>,
}

impl<'a> Table<'a> {
    pub fn new(file: File<'a>, name: &'static str, table: &'a DeTable<'a>, at: At) -> Self {
        Table {
            file,
            at,
            name,
            entries: table,
            homes: &[],
            asked: RefCell::default(),
            forgiven: Cell::new(false),
            missing: RefCell::default(),
        }
    }

    /// Sends keys home that belong elsewhere in such a file: for the tables whose own keys the file's homes name.
    pub fn with_homes(mut self) -> Self {
        self.homes = self.file.homes;
        self
    }

    /// The value of a key, if it stands here.
    pub fn get(&self, key: &'static str) -> Option<Item<'a>> {
        self.asked.borrow_mut().insert(key);
        self.file.sink.ask(format!("{}.{key}", self.name));
        let (_, value) = self.entries.get_key_value(key)?;
        Some(Item { file: self.file, value: value.get_ref(), at: value.span().into() })
    }

    /// The value of a key, without claiming that the key belongs here.
    pub fn peek(&self, key: &str) -> Option<Item<'a>> {
        let value = self.entries.get(key)?;
        Some(Item { file: self.file, value: value.get_ref(), at: value.span().into() })
    }

    /// Takes every key as known: what is wrong with the table has been said.
    pub fn forgive(&self) {
        self.forgiven.set(true);
    }

    /// The value of a key that must stand here.
    pub fn need(&self, key: &'static str) -> Option<Item<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.missing(&[key]);
        }
        found
    }

    /// Where a key stands.
    pub fn key_at(&self, key: &str) -> Option<At> {
        self.entries.get_key_value(key).map(|(key, _)| key.span().into())
    }

    /// Which of these keys stand here, in file order.
    pub fn present(&self, keys: &[&'static str]) -> Vec<&'static str> {
        let mut here: Vec<_> = keys.iter().filter_map(|key| Some((self.key_at(key)?, *key))).collect();
        here.sort();
        here.into_iter().map(|(_, key)| key).collect()
    }

    /// Reports at the table's beginning.
    pub fn report(&self, problem: Problem) {
        self.file.report(self.head(), problem);
    }

    /// The table's first line: a whole table under the caret would hide the sentence.
    pub fn head(&self) -> At {
        self.at
    }

    /// At most one of the keys may stand here; which one does. `needed`: none is a problem too.
    pub fn one_of(&self, keys: &[&'static str], needed: bool) -> Option<&'static str> {
        for key in keys {
            self.asked.borrow_mut().insert(key);
        }
        let here = self.present(keys);
        if let [first, rest @ ..] = here.as_slice() {
            for key in rest {
                let problem = Problem::Conflict { key: (*key).to_owned(), other: (*first).to_owned() };
                self.file.report(self.key_at(key).unwrap_or(self.at), problem);
            }
            return Some(first);
        }
        if needed {
            self.missing(keys);
        }
        None
    }

    /// None of these keys stands here, and one is needed. Said at the end, and only where no slip of a key
    /// explains it.
    pub fn missing(&self, keys: &[&'static str]) {
        self.asked.borrow_mut().extend(keys);
        self.missing.borrow_mut().push(keys.to_vec());
    }

    /// All entries in file order: for tables whose keys are names.
    pub fn entries(&self) -> Vec<(&'a str, At, Item<'a>)> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let item = Item { file: self.file, value: value.get_ref(), at: value.span().into() };
                (key.get_ref().as_ref(), At::from(key.span()), item)
            })
            .collect();
        all.sort_by_key(|(_, at, _)| *at);
        all
    }

    /// Reports every key nobody asked for, and what is missing.
    pub fn finish(&self) {
        let mut unknown = self.unknown_keys();
        let missing = self.missing.take();
        if self.forgiven.get() {
            unknown.retain(|(_, problem)| missing.iter().any(|keys| explains(problem, keys)));
        }
        for keys in missing {
            match keys.as_slice() {
                keys if unknown.iter().any(|(_, problem)| explains(problem, keys)) => {}
                [key] => self.report(Problem::MissingKey { key: (*key).to_owned() }),
                keys => {
                    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
                    self.report(Problem::MissingOneOf { keys });
                }
            }
        }
        for (at, problem) in unknown {
            self.file.report(at, problem);
        }
    }

    fn unknown_keys(&self) -> Vec<(At, Problem)> {
        let entries = self.entries();
        let asked = self.asked.borrow();
        let unknown = entries.into_iter().filter(|(key, ..)| !asked.contains(key));
        unknown.map(|(key, at, _)| (at, self.unknown(key))).collect()
    }

    fn unknown(&self, key: &str) -> Problem {
        let elsewhere = |home: &&Home| home.table() != self.name;
        if let Some(home) = self.homes.iter().filter(elsewhere).find(|home| home.keys.contains(&key)) {
            return Problem::WrongPlace { key: key.to_owned(), home: home.header.to_owned() };
        }
        let known: Vec<String> = self.asked.borrow().iter().map(|key| (*key).to_owned()).collect();
        let suggestion = suggest::nearest(key, known.iter().map(String::as_str));
        if suggestion.is_none() && !key.is_ascii() {
            return Problem::ForeignKey { key: key.to_owned() };
        }
        Problem::UnknownKey { key: key.to_owned(), suggestion, known }
    }
}

/// Whether an unknown key is a slip of one of these.
fn explains(unknown: &Problem, keys: &[&str]) -> bool {
    match unknown {
        Problem::UnknownKey { suggestion: Some(meant), .. } => keys.contains(&meant.as_str()),
        _ => false,
    }
}

impl<'a> Item<'a> {
    pub fn report(&self, problem: Problem) {
        self.file.report(self.at, problem);
    }

    pub fn wrong_type<T>(&self, expected: Expected) -> Option<T> {
        self.report(Problem::WrongType { expected, found: self.found() });
        None
    }

    pub fn bad<T>(&self, expected: Expected, found: &str) -> Option<T> {
        self.bad_but(expected, found, None)
    }

    pub fn bad_but<T>(&self, expected: Expected, found: &str, suggestion: Option<String>) -> Option<T> {
        let found = shorten(found);
        self.report(Problem::BadValue { expected, found, suggestion });
        None
    }

    pub fn unknown<'n, T>(&self, noun: Noun, name: &str, known: impl Iterator<Item = &'n str>) -> Option<T> {
        let known: Vec<String> = known.map(str::to_owned).collect();
        let suggestion = suggest::nearest(name, known.iter().map(String::as_str));
        self.report(Problem::Unknown { noun, name: shorten(name), suggestion, known });
        None
    }

    pub fn found(&self) -> Found {
        match self.value {
            DeValue::String(_) => Found::String,
            DeValue::Integer(_) => Found::Integer,
            DeValue::Float(_) => Found::Float,
            DeValue::Boolean(_) => Found::Boolean,
            DeValue::Datetime(_) => Found::Datetime,
            DeValue::Array(_) => Found::Array,
            DeValue::Table(_) => Found::Table,
        }
    }

    /// The text, or a problem that says what was expected instead.
    pub fn text_as(&self, expected: Expected) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.wrong_type(expected),
        }
    }

    pub fn text(&self) -> Option<&'a str> {
        self.text_as(Expected::Text)
    }

    pub fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_type(Expected::Flag),
        }
    }

    pub fn whole(&self, min: i64, max: i64) -> Option<i64> {
        let expected = Expected::Whole { min, max };
        match self.value {
            DeValue::Integer(digits) => {
                let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok();
                let fits = number.filter(|number| (min..=max).contains(number));
                fits.or_else(|| self.bad(expected, &digits.to_string()))
            }
            _ => self.wrong_type(expected),
        }
    }

    /// A whole number of 32 bits within bounds.
    pub fn whole_u32(&self, min: u32, max: u32) -> Option<u32> {
        u32::try_from(self.whole(min.into(), max.into())?).ok()
    }

    pub fn table(&self, name: &'static str) -> Option<Table<'a>> {
        self.table_as(name, Expected::Table)
    }

    pub fn table_as(&self, name: &'static str, expected: Expected) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(table) => Some(Table::new(self.file, name, table, self.at)),
            _ => self.wrong_type(expected),
        }
    }

    pub fn list(&self) -> Option<Vec<Item<'a>>> {
        self.list_as(Expected::List)
    }

    pub fn list_as(&self, expected: Expected) -> Option<Vec<Item<'a>>> {
        match self.value {
            DeValue::Array(items) => Some(items.iter().map(|item| self.child(item)).collect()),
            _ => self.wrong_type(expected),
        }
    }

    /// The tables of a list, which have a header of their own in this kind of file: `[[message]]`, `[[step.message]]`.
    pub fn tables(&self, name: &str) -> Option<Vec<Item<'a>>> {
        let home = self.file.homes.iter().find(|home| home.table() == name);
        self.list_as(home.map_or(Expected::List, |home| Expected::Tables { header: home.header }))
    }

    /// The values of a list, or the one value that stands alone.
    pub fn one_or_list(&self) -> Vec<Item<'a>> {
        match self.value {
            DeValue::Array(items) => items.iter().map(|item| self.child(item)).collect(),
            _ => vec![*self],
        }
    }

    /// The value of a key, if this is a table with it.
    pub fn part(&self, key: &str) -> Option<Item<'a>> {
        self.value.as_table()?.get(key).map(|value| self.child(value))
    }

    fn child(&self, item: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        Item { file: self.file, value: item.get_ref(), at: item.span().into() }
    }
}

/// Long values would push the sentence off the screen; the source line stands below it anyway.
pub(super) fn shorten(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.to_owned();
    }
    text.chars().take(MAX).chain(['…']).collect()
}
