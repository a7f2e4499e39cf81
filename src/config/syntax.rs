//! Broken TOML: what a marketer's keyboard does to it is named, the rest is left to the parser's own words.

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostic::{At, Sink};
use super::problem::Problem;
use super::suggest::half_width_char;

/// A file's tables as far as they could be read, and the lines that could not.
pub(super) struct Parsed<'a> {
    pub path: &'a str,
    pub table: Spanned<DeTable<'a>>,
    /// Byte ranges of lines with broken syntax; what else is found there is an echo.
    pub broken: Vec<At>,
}

/// Parses a file; syntax problems go to the sink, and what is readable around them is still checked.
pub(super) fn parse<'a>(path: &'a str, text: &'a str, sink: &Sink) -> Parsed<'a> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut broken: Vec<At> = Vec::new();
    if errors.is_empty() {
        return Parsed { path, table, broken };
    }
    for (at, problem) in slips(text) {
        sink.report(path, Some(at), problem);
        broken.push(line_of(text, at));
    }
    for error in errors {
        let at: At = error.span().map_or(At { start: text.len(), end: text.len() }, At::from);
        let line = line_of(text, at);
        // One cause per line: the first.
        if broken.iter().any(|seen| seen.start <= line.end && line.start <= seen.end) {
            continue;
        }
        broken.push(line);
        let here = text.get(at.start..at.end).unwrap_or("").trim();
        let foreign = !here.is_ascii() && error.message().starts_with("invalid unquoted key");
        let problem = if foreign {
            Problem::ForeignKey { key: here.to_owned() }
        } else {
            Problem::Syntax { detail: error.message().replace('\n', " ") }
        };
        sink.report(path, Some(at), problem);
    }
    Parsed { path, table, broken }
}

fn line_of(text: &str, at: At) -> At {
    let start = text.get(..at.start).and_then(|before| before.rfind('\n')).map_or(0, |n| n + 1);
    let end = text.get(at.start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| at.start + n);
    At { start, end: end.max(at.end) }
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
