//! Broken TOML: what a marketer's keyboard does to it is named, the rest is left to the parser's own words.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::{At, Sink};
use super::problem::Problem;
use super::suggest::half_width_char;

/// A file's text with its broken lines blanked out, byte for byte, so that every other place still holds.
pub(super) struct Cleaned<'a> {
    pub path: &'a str,
    pub text: Cow<'a, str>,
    /// The lines that were blanked out; what is found missing may stand there.
    pub broken: Vec<At>,
}

/// A file's tables as far as they could be read.
pub(super) struct Parsed<'a> {
    pub path: &'a str,
    pub text: &'a str,
    pub table: Spanned<DeTable<'a>>,
    pub broken: &'a [At],
}

/// So many broken lines are looked for, one after the other.
const ROUNDS_MAX: usize = 50;

/// Reports syntax problems and takes their lines out. The parser recovers from some errors and loses the rest of
/// the file at others; without the broken lines it reads all that is readable.
pub(super) fn clean<'a>(path: &'a str, text: &'a str, sink: &Sink) -> Cleaned<'a> {
    let mut cleaned = Cleaned { path, text: text.into(), broken: Vec::new() };
    if DeTable::parse(text).is_ok() {
        return cleaned;
    }
    for (at, problem) in slips(text) {
        sink.report(path, Some(at), problem);
        cleaned.blank(at);
    }
    for _ in 0..ROUNDS_MAX {
        let (_, errors) = DeTable::parse_recoverable(&cleaned.text);
        let blanked = cleaned.broken.len();
        for error in errors {
            let at: At = error.span().map_or(At { start: text.len(), end: text.len() }, At::from);
            if cleaned.blank(at) {
                sink.report(path, Some(at), problem(text, at, error.message()));
            }
        }
        if cleaned.broken.len() == blanked {
            break;
        }
    }
    cleaned
}

/// Reads a cleaned file.
pub(super) fn parse<'a>(cleaned: &'a Cleaned<'_>) -> Parsed<'a> {
    let (table, _) = DeTable::parse_recoverable(&cleaned.text);
    Parsed { path: cleaned.path, text: &cleaned.text, table, broken: &cleaned.broken }
}

fn problem(text: &str, at: At, message: &str) -> Problem {
    let here = text.get(at.start..at.end).unwrap_or("").trim();
    if !here.is_ascii() && message.starts_with("invalid unquoted key") {
        return Problem::ForeignKey { key: here.to_owned() };
    }
    if here.is_empty() && message.starts_with("string values must be quoted") {
        return Problem::Syntax { detail: "missing value".to_owned() };
    }
    Problem::Syntax { detail: message.replace('\n', " ") }
}

impl Cleaned<'_> {
    /// Blanks out the line at a place, and with a broken header the table below it; `false` if that was done
    /// already or the line is empty.
    fn blank(&mut self, at: At) -> bool {
        let mut line = line_of(&self.text, at);
        let written = self.text.get(line.start..line.end).unwrap_or("");
        if written.trim().is_empty() {
            return false;
        }
        if written.trim_start().starts_with(['[', '［']) {
            let below = self.text.get(line.end..).unwrap_or("");
            line.end += below.find("\n[").unwrap_or(below.len());
        }
        let blank: String = self
            .text
            .get(line.start..line.end)
            .unwrap_or("")
            .bytes()
            .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
            .collect();
        self.text.to_mut().replace_range(line.start..line.end, &blank);
        self.broken.push(line);
        true
    }
}

fn line_of(text: &str, at: At) -> At {
    let start = text.get(..at.start).and_then(|before| before.rfind('\n')).map_or(0, |n| n + 1);
    let end = text.get(at.start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| at.start + n);
    At { start, end }
}

/// Full-width characters outside strings and comments, runs of them together; and a string that was opened with a
/// half-width quote and closed with a full-width one.
fn slips(text: &str) -> Vec<(At, Problem)> {
    let mut found = Vec::new();
    let mut rest = Cursor { text, at: 0 };
    while let Some(c) = rest.peek() {
        match c {
            '#' => rest.skip_while(|c| c != '\n'),
            '"' | '\'' => string(&mut rest, c, &mut found),
            _ if half_width_char(c).is_some() => found.push(slip(&mut rest)),
            _ => rest.next(),
        }
    }
    found
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn next(&mut self) {
        self.at += self.peek().map_or(0, char::len_utf8);
    }
    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&keep) {
            self.next();
        }
    }
}

fn is_quote(c: char) -> bool {
    matches!(half_width_char(c), Some('"' | '\''))
}

fn string(rest: &mut Cursor<'_>, quote: char, found: &mut Vec<(At, Problem)>) {
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    if rest.rest().starts_with(&triple) {
        rest.at += 3;
        let length = rest.rest().find(&triple).map_or(rest.rest().len(), |n| n + 3);
        rest.at += length;
        return;
    }
    rest.next();
    let mut wide_quote = None;
    while let Some(c) = rest.peek() {
        match c {
            '\n' => {
                // Never closed: a full-width quote was meant to.
                found.extend(wide_quote);
                return;
            }
            '\\' if quote == '"' => rest.next(),
            _ if is_quote(c) => {
                let at = At { start: rest.at, end: rest.at + c.len_utf8() };
                wide_quote = Some((at, full_width(c.to_string(), quote.to_string())));
            }
            _ => {}
        }
        rest.next();
        if c == quote {
            return;
        }
    }
    found.extend(wide_quote);
}

fn slip(rest: &mut Cursor<'_>) -> (At, Problem) {
    let start = rest.at;
    let opening = rest.peek().unwrap_or_default();
    if is_quote(opening) {
        // The whole quoted text is one slip; its letters are no syntax.
        rest.next();
        rest.skip_while(|c| c != '\n' && !is_quote(c) && c != '"');
        let closing = rest.peek().filter(|c| *c != '\n');
        let at = At { start, end: start + opening.len_utf8() };
        rest.next();
        let found: String = [Some(opening), closing].into_iter().flatten().collect();
        return (at, full_width(found, "\"…\"".to_owned()));
    }
    rest.skip_while(|c| half_width_char(c).is_some() && !is_quote(c));
    let found = rest.text.get(start..rest.at).unwrap_or("").to_owned();
    let instead = found.chars().filter_map(half_width_char).collect();
    (At { start, end: rest.at }, full_width(found, instead))
}

fn full_width(found: String, instead: String) -> Problem {
    Problem::FullWidth { found, instead }
}
