//! One JSON object under examination: reads properties, notes problems with their path, and in the end refuses
//! what nobody asked for.

use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation;

use crate::sandbox::plan::Problem;

/// How LINE counts a text's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// UTF-16 code units: nearly everywhere.
    Utf16,
    /// Grapheme clusters: labels, template texts and titles, what a tap writes.
    Graphemes,
}

impl Count {
    fn of(self, text: &str) -> usize {
        match self {
            Self::Utf16 => text.encode_utf16().count(),
            Self::Graphemes => text.graphemes(true).count(),
        }
    }
}

/// An object, its path, and where problems go.
pub(super) struct Node<'v, 'p> {
    object: &'v Map<String, Value>,
    path: String,
    asked: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'v, 'p> Node<'v, 'p> {
    /// The object at this path; noted and `None` if it is none.
    pub(super) fn open(value: &'v Value, path: String, problems: &'p mut Vec<Problem>) -> Option<Self> {
        match value.as_object() {
            Some(object) => Some(Self { object, path, asked: Vec::new(), problems }),
            None => {
                problems.push(Problem { property: path, message: "Must be an object".into() });
                None
            }
        }
    }

    /// Notes a problem with the object itself.
    pub(super) fn problem(&mut self, message: &str) {
        self.problems.push(Problem { property: self.path.clone(), message: message.into() });
    }

    /// Notes a problem with one of its properties.
    pub(super) fn problem_at(&mut self, name: &str, message: &str) {
        self.problems.push(Problem { property: format!("{}.{name}", self.path), message: message.into() });
    }

    /// Whether the property is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The property unread, for rules of its own.
    pub(super) fn value(&mut self, name: &'static str) -> Option<&'v Value> {
        self.asked.push(name);
        self.object.get(name)
    }

    fn required(&mut self, name: &'static str) -> Option<&'v Value> {
        let value = self.value(name);
        if value.is_none() {
            self.problem_at(name, "May not be empty");
        }
        value
    }

    /// A text that must be there.
    pub(super) fn text(
        &mut self,
        name: &'static str,
        min: usize,
        max: usize,
        count: Count,
    ) -> Option<&'v str> {
        let value = self.required(name)?;
        self.check_text(name, value, min, max, count)
    }

    /// A text that may be there.
    pub(super) fn optional_text(
        &mut self,
        name: &'static str,
        min: usize,
        max: usize,
        count: Count,
    ) -> Option<&'v str> {
        let value = self.value(name)?;
        self.check_text(name, value, min, max, count)
    }

    fn check_text(
        &mut self,
        name: &str,
        value: &'v Value,
        min: usize,
        max: usize,
        count: Count,
    ) -> Option<&'v str> {
        let Some(text) = value.as_str() else {
            self.problem_at(name, "Must be a string");
            return None;
        };
        if text.is_empty() && min > 0 {
            self.problem_at(name, "May not be empty");
        } else if !(min..=max).contains(&count.of(text)) {
            self.problem_at(name, &format!("Length must be between {min} and {max}"));
        }
        Some(text)
    }

    /// A text out of a list.
    pub(super) fn one_of(&mut self, name: &'static str, allowed: &[&'static str]) -> Option<&'static str> {
        let value = self.required(name)?;
        let found = allowed.iter().find(|word| value.as_str() == Some(**word)).copied();
        if found.is_none() {
            let list = allowed.join(", ");
            self.problem_at(name, &format!("Must be one of the following values: [{list}]"));
        }
        found
    }

    /// An `https` URL of at most 2,000 characters.
    pub(super) fn https(&mut self, name: &'static str) {
        let Some(url) = self.text(name, 1, 2_000, Count::Utf16) else { return };
        let plain = url.is_ascii() && !url.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control());
        let has_host =
            url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        // An empty one was already told of.
        let fits = url.is_empty() || (plain && has_host);
        if !fits {
            self.problem_at(name, "Must be a valid HTTPS URL");
        }
    }

    /// A whole number that must be there.
    pub(super) fn integer(&mut self, name: &'static str, min: i64, max: i64) {
        let Some(value) = self.required(name) else { return };
        if !value.as_i64().is_some_and(|n| (min..=max).contains(&n)) {
            self.problem_at(name, &format!("Must be an integer between {min} and {max}"));
        }
    }

    /// A number that must be there.
    pub(super) fn number(&mut self, name: &'static str, min: f64, max: f64) {
        let Some(value) = self.required(name) else { return };
        if !value.as_f64().is_some_and(|n| (min..=max).contains(&n)) {
            self.problem_at(name, &format!("Must be a number between {min} and {max}"));
        }
    }

    /// An object that must be there.
    pub(super) fn object(&mut self, name: &'static str) -> Option<Node<'v, '_>> {
        let value = self.required(name)?;
        Node::open(value, format!("{}.{name}", self.path), self.problems)
    }

    /// An object that may be there.
    pub(super) fn optional_object(&mut self, name: &'static str) -> Option<Node<'v, '_>> {
        let value = self.value(name)?;
        Node::open(value, format!("{}.{name}", self.path), self.problems)
    }

    /// An array of objects that must be there; how many it has.
    pub(super) fn array(
        &mut self,
        name: &'static str,
        min: usize,
        max: usize,
        each: impl FnMut(Node<'v, '_>),
    ) -> usize {
        let Some(value) = self.required(name) else { return 0 };
        self.check_array(name, value, min, max, each)
    }

    /// An array of objects that may be there.
    pub(super) fn optional_array(
        &mut self,
        name: &'static str,
        min: usize,
        max: usize,
        each: impl FnMut(Node<'v, '_>),
    ) {
        if let Some(value) = self.value(name) {
            self.check_array(name, value, min, max, each);
        }
    }

    fn check_array(
        &mut self,
        name: &str,
        value: &'v Value,
        min: usize,
        max: usize,
        mut each: impl FnMut(Node<'v, '_>),
    ) -> usize {
        let Some(list) = value.as_array() else {
            self.problem_at(name, "Must be an array");
            return 0;
        };
        if !(min..=max).contains(&list.len()) {
            self.problem_at(name, &format!("Size must be between {min} and {max}"));
        }
        for (n, value) in list.iter().enumerate() {
            if let Some(node) = Node::open(value, format!("{}.{name}[{n}]", self.path), self.problems) {
                each(node);
            }
        }
        list.len()
    }

    /// Every property as an object under its own key, at most `max`.
    pub(super) fn entries(&mut self, max: usize, mut each: impl FnMut(&str, Node<'v, '_>)) {
        if self.object.len() > max {
            self.problem(&format!("Size must be between 0 and {max}"));
        }
        for (key, value) in self.object {
            if let Some(node) = Node::open(value, format!("{}.{key}", self.path), self.problems) {
                each(key, node);
            }
        }
    }

    /// Notes every property nobody asked for.
    pub(super) fn close(mut self) {
        let object = self.object;
        for name in object.keys().filter(|name| !self.asked.contains(&name.as_str())).collect::<Vec<_>>() {
            self.problem_at(name, "Unknown property");
        }
    }
}
