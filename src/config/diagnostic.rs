//! A problem at its place in a file.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::problem::{Problem, Severity};
use super::source::Source;

/// A range of bytes in a file's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// The first byte.
    pub start: usize,
    /// One behind the last.
    pub end: usize,
}

impl From<std::ops::Range<usize>> for At {
    fn from(range: std::ops::Range<usize>) -> Self {
        At { start: range.start, end: range.end }
    }
}

/// A problem at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// The file's path below the configuration directory.
    pub file: Arc<str>,
    /// Where in it; `None` speaks of the file as a whole.
    pub at: Option<At>,
    /// What.
    pub problem: Problem,
}

impl Diagnostic {
    /// How bad it is for `check`.
    pub fn severity(&self) -> Severity {
        self.problem.severity()
    }

    /// Line and column of the start, both from 1, columns in characters; of a whole file 1:1.
    pub fn position(&self, source: &Source) -> (usize, usize) {
        let text = source.files.get(&*self.file).map_or("", String::as_str);
        let start = self.at.map_or(0, |at| at.start);
        let before = text.get(..start).unwrap_or(text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        (line, column)
    }
}

/// A file and where in it.
type Place = (Arc<str>, Option<At>);

/// Collects what is found, so that one problem never hides another.
#[derive(Debug, Default)]
pub(super) struct Sink {
    found: RefCell<BTreeMap<Place, Vec<Problem>>>,
    /// Every key that was asked for, as `table.key`: what the shipped files and the documentation must explain.
    asked: RefCell<BTreeSet<String>>,
}

impl Sink {
    pub fn report(&self, file: &str, at: Option<At>, problem: Problem) {
        let mut all = self.found.borrow_mut();
        let here = all.entry((file.into(), at)).or_default();
        // Settings shared by several accounts are read once for each.
        if !here.contains(&problem) {
            here.push(problem);
        }
    }

    pub fn ask(&self, key: String) {
        self.asked.borrow_mut().insert(key);
    }

    #[cfg(test)]
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    /// Everything found, by file and place.
    pub fn into_sorted(self) -> Vec<Diagnostic> {
        let all = self.found.into_inner().into_iter();
        all.flat_map(|((file, at), problems)| {
            problems.into_iter().map(move |problem| Diagnostic { file: Arc::clone(&file), at, problem })
        })
        .collect()
    }
}
