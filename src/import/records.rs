//! Bytes to records: a CSV splitter whose memory is bounded and which finds its way back after a broken row.
//!
//! The `csv` crate reads an unclosed quote to the end of the file and joins text to a closing quote. Here both
//! are errors of one line, and reading goes on at the next one. Bytes are split before they are decoded, which
//! is safe in Shift_JIS too: none of `"`, `,`, CR and LF can be the second byte of a character.

use std::io::{self, Read};

/// The longest record, in bytes as they stand in the file, without its line end.
pub const RECORD_BYTES_MAX: usize = 1_048_576;

/// The most columns a file may have.
pub const COLUMNS_MAX: usize = 2_000;

/// How much of a broken line is kept for the rejects file, in bytes.
const BROKEN_BYTES_KEPT: usize = 4_096;

/// Room for several of the longest records, so that the tail is moved to the front rarely.
const BUFFER_BYTES: usize = 4 * RECORD_BYTES_MAX;

/// Why a line is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The quote at the beginning of a field is not closed before the file ends.
    QuoteOpen,
    /// Something other than a comma or the end of the line follows a closing quote.
    AfterQuote,
    /// More than `RECORD_BYTES_MAX` bytes.
    TooLong,
    /// More than that, within a quote: a long cell, or a quote that is not closed.
    QuotedTooLong,
    /// More than `COLUMNS_MAX` fields.
    TooManyFields,
}

/// One record: the line it begins at and its fields, unquoted but not decoded. Reused from row to row.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// From 1, of the file.
    pub line: u64,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Record {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }

    pub fn is_ascii(&self) -> bool {
        self.bytes.is_ascii()
    }
}

/// What came next.
pub(super) enum Next {
    Record,
    /// The line, why it is none, and its beginning.
    Broken(u64, Broken, Vec<u8>),
    End,
}

/// A cursor over a file's records.
pub(super) struct Records<R> {
    input: R,
    buffer: Vec<u8>,
    /// The next byte to look at; what is before it is consumed.
    at: usize,
    ended: bool,
    line: u64,
    consumed: u64,
    /// Where the last record began, for a look at what follows it.
    last: usize,
}

impl<R: Read> Records<R> {
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), at: 0, ended: false, line: 1, consumed: 0, last: 0 }
    }

    /// Bytes of the input that are dealt with.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// From the beginning of the last record on, as much as is buffered: at least the longest record's length,
    /// unless the file ends before.
    pub fn ahead(&self) -> &[u8] {
        self.buffer.get(self.last..).unwrap_or_default()
    }

    /// The last record as it stands in the file, or its beginning.
    pub fn last_bytes(&self) -> &[u8] {
        let bytes = self.buffer.get(self.last..self.at).unwrap_or_default();
        let end = bytes.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
        bytes.get(..end.min(BROKEN_BYTES_KEPT)).unwrap_or_default()
    }

    /// Drops `prefix` if the unread input begins with it.
    pub fn skip_prefix(&mut self, prefix: &[u8]) -> io::Result<bool> {
        self.fill()?;
        let found = self.rest().starts_with(prefix);
        if found {
            self.consume(prefix.len());
        }
        Ok(found)
    }

    /// Reads the next record into `record`; empty lines are none.
    pub fn next(&mut self, record: &mut Record) -> io::Result<Next> {
        self.skip_empty_lines()?;
        record.clear();
        record.line = self.line;
        if self.rest().is_empty() {
            return Ok(Next::End);
        }
        self.last = self.at;
        match split(self.rest(), record) {
            Ok(bytes) => {
                self.consume(bytes);
                Ok(Next::Record)
            }
            Err(broken) => {
                let line = self.line;
                let beginning = self.skip_line()?;
                Ok(Next::Broken(line, broken, beginning))
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Steps over `bytes`, counting lines: LF, CR LF and CR end one.
    fn consume(&mut self, bytes: usize) {
        let passed = self.rest().get(..bytes).unwrap_or_default();
        let mut lines = 0;
        let mut rest = passed;
        while let Some(end) = rest.iter().position(|b| matches!(b, b'\r' | b'\n')) {
            // The LF of a CR LF is counted alone, with what follows.
            let cr_lf = rest.get(end) == Some(&b'\r')
                && self.buffer.get(self.at + passed.len() - rest.len() + end + 1) == Some(&b'\n');
            lines += u64::from(!cr_lf);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        self.line += lines;
        self.at += bytes;
        self.consumed += bytes as u64;
    }

    fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            self.fill()?;
            match self.rest().first() {
                Some(b'\r' | b'\n') => self.consume(1),
                _ => return Ok(()),
            }
        }
    }

    /// Skips to the end of the physical line and returns its beginning.
    fn skip_line(&mut self) -> io::Result<Vec<u8>> {
        let mut kept = Vec::new();
        loop {
            let rest = self.rest();
            let end = rest.iter().position(|b| matches!(b, b'\r' | b'\n'));
            let length = end.unwrap_or(rest.len());
            let room = BROKEN_BYTES_KEPT.saturating_sub(kept.len());
            kept.extend(rest.iter().take(length.min(room)));
            self.consume(length);
            if end.is_some() || (self.ended && self.rest().is_empty()) {
                return Ok(kept);
            }
            self.fill()?;
        }
    }

    /// Makes sure that the longest record and its line end are buffered, or the end of the input is.
    fn fill(&mut self) -> io::Result<()> {
        if self.ended || self.rest().len() > RECORD_BYTES_MAX + 1 {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let room = (BUFFER_BYTES - self.buffer.len()) as u64;
        let read = self.input.by_ref().take(room).read_to_end(&mut self.buffer)?;
        self.ended = (read as u64) < room;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote inside a quoted field: its end, or half of a doubled one.
    Quote,
}

/// Splits one record off the front of `input`, which holds the longest record or all there is.
/// Returns the bytes it takes, its line end included.
fn split(input: &[u8], record: &mut Record) -> Result<usize, Broken> {
    let mut state = State::FieldStart;
    for (i, &byte) in input.iter().enumerate() {
        let ends = matches!(byte, b'\r' | b'\n') && !matches!(state, State::Quoted);
        if ends {
            return end_field(record).map(|()| i + 1);
        }
        if i >= RECORD_BYTES_MAX {
            return Err(if matches!(state, State::Quoted) { Broken::QuotedTooLong } else { Broken::TooLong });
        }
        state = match (state, byte) {
            (State::FieldStart | State::Plain | State::Quote, b',') => {
                end_field(record)?;
                State::FieldStart
            }
            (State::FieldStart, b'"') => State::Quoted,
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => {
                record.bytes.push(byte);
                State::Quoted
            }
            (State::Quote, _) => return Err(Broken::AfterQuote),
            (State::FieldStart | State::Plain, _) => {
                record.bytes.push(byte);
                State::Plain
            }
        };
    }
    if matches!(state, State::Quoted) {
        return Err(Broken::QuoteOpen);
    }
    end_field(record).map(|()| input.len())
}

fn end_field(record: &mut Record) -> Result<(), Broken> {
    if record.ends.len() == COLUMNS_MAX {
        return Err(Broken::TooManyFields);
    }
    record.ends.push(record.bytes.len());
    Ok(())
}
