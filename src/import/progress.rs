//! How far an import is: a bar on a terminal, a line now and then elsewhere.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::report::{grouped, rate};
use crate::lang::Lang;

/// How far the import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Bytes of the file that the inbox holds.
    pub bytes: u64,
    /// The file's size; `None` for a pipe.
    pub total: Option<u64>,
    /// Rows read.
    pub rows: u64,
    /// Of them, rejected.
    pub rejected: u64,
    /// Since the import began.
    pub elapsed: Duration,
}

impl Position {
    /// Rows a second so far.
    pub fn rate(&self) -> u64 {
        rate(self.rows, self.elapsed)
    }

    /// The time left if it goes on like this; `None` where the size is not known or nothing is done yet.
    pub fn left(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.bytes);
        let millis = self.elapsed.as_millis().checked_mul(left.into())?.checked_div(self.bytes.into())?;
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    fn text(&self, lang: Lang) -> String {
        let (rows, rejected, rate) = (grouped(self.rows), grouped(self.rejected), grouped(self.rate()));
        let left = self.left().map(|left| left.as_secs());
        let left = left.map_or_else(String::new, |s| {
            let (minutes, seconds) = (s / 60, s % 60);
            lang.pick(format!("、残り {minutes}:{seconds:02}"), format!(", {minutes}:{seconds:02} left"))
        });
        lang.pick(
            format!("{rows}行(取り込めない {rejected})、毎秒{rate}行{left}"),
            format!("{rows} rows ({rejected} rejected), {rate} rows/s{left}"),
        )
    }
}

/// Who is told how far the import is, after each chunk.
pub trait Progress: Send {
    /// A chunk is durable.
    fn at(&mut self, position: &Position);
}

/// Tells nobody: `--json`.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn at(&mut self, _: &Position) {}
}

/// A bar on a terminal's stderr.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    lang: Lang,
}

impl Bar {
    /// A bar that is drawn at the first position.
    pub fn new(lang: Lang) -> Self {
        let bar = ProgressBar::no_length();
        // The template is fixed, so it always parses.
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
        Self { bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())), lang }
    }
}

impl Progress for Bar {
    fn at(&mut self, position: &Position) {
        self.bar.set_length(position.total.unwrap_or(position.bytes));
        self.bar.set_position(position.bytes);
        self.bar.set_message(position.text(self.lang));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line every so often: logs, pipes.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    lang: Lang,
    every: Duration,
    next: Duration,
}

impl<W: Write> Lines<W> {
    /// A line to `out` after each `every`.
    pub fn new(out: W, lang: Lang, every: Duration) -> Self {
        Self { out, lang, every, next: every }
    }
}

impl<W: Write + Send> Progress for Lines<W> {
    fn at(&mut self, position: &Position) {
        if position.elapsed < self.next {
            return;
        }
        self.next = position.elapsed + self.every;
        // Nobody to read progress is no reason to stop.
        let _ = writeln!(self.out, "{}", position.text(self.lang));
    }
}
