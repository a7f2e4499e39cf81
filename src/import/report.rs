//! What an import did, for people and as JSON.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::encoding::Encoding;
use super::mapping::Kind;
use crate::domain::effect::{Effect, Intake};
use crate::lang::Lang;

/// How many intakes of each kind were handed to the inbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Intakes {
    /// Follows and blocks.
    pub statuses: u64,
    /// Customer ids, removals included.
    pub external_ids: u64,
    /// Attribute values, removals included.
    pub attributes: u64,
    /// Tags given.
    pub tags: u64,
    /// Events; those known already are told apart by the inbox, not here.
    pub events: u64,
}

impl Intakes {
    pub(super) fn of(intakes: &[Intake]) -> Self {
        let mut of = Self::default();
        for intake in intakes {
            match intake.effect {
                Effect::Status { .. } => of.statuses += 1,
                Effect::ExternalId { .. } => of.external_ids += 1,
                Effect::Attribute { .. } => of.attributes += 1,
                Effect::TagAdded { .. } => of.tags += 1,
                Effect::Event { .. } => of.events += 1,
                // No file says these.
                Effect::Joined { .. } | Effect::TagRemoved { .. } | Effect::Quarantined | Effect::Erased => {}
            }
        }
        of
    }

    /// All kinds together.
    pub(super) fn total(&self) -> usize {
        let Self { statuses, external_ids, attributes, tags, events } = self;
        usize::try_from(statuses + external_ids + attributes + tags + events).unwrap_or(usize::MAX)
    }

    /// Adds each kind of `other`, or takes it away.
    pub(super) fn change(&mut self, other: Self, by: fn(u64, u64) -> u64) {
        let Self { statuses, external_ids, attributes, tags, events } = other;
        self.statuses = by(self.statuses, statuses);
        self.external_ids = by(self.external_ids, external_ids);
        self.attributes = by(self.attributes, attributes);
        self.tags = by(self.tags, tags);
        self.events = by(self.events, events);
    }
}

/// Rows that gave an event the id of another event of the file. The first counts, the rest change nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// How many.
    pub rows: u64,
    /// The line of the first of them.
    pub first_line: Option<u64>,
}

/// A rejected row, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstReject {
    /// The line of the file, from 1.
    pub line: u64,
    /// Why, in the language of the import.
    pub reason: String,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the rows were.
    pub kind: &'static str,
    /// Whether they named friends by the shop's own customer id.
    pub by_external_id: bool,
    /// Rows read, bad ones included.
    pub rows: u64,
    /// Rows handed to the inbox.
    pub accepted: u64,
    /// Rows in the rejects file.
    pub rejected: u64,
    /// The rejects file, if a row was rejected.
    pub rejects_file: Option<PathBuf>,
    /// The first of them.
    pub first_reject: Option<FirstReject>,
    /// What the rows said.
    pub intakes: Intakes,
    /// What the file was read as; `None` when all of it was ASCII.
    pub encoding: Option<Encoding>,
    /// Columns that nothing read.
    pub ignored_columns: Vec<String>,
    /// Event ids that stood for two events.
    pub repeated_event_ids: Repeated,
    /// The file was another one at the end than at the beginning.
    pub file_changed: bool,
    /// Changes that named no friend any more when they were applied.
    pub strays: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Report {
    pub(super) fn new(kind: Kind, by_external_id: bool) -> Self {
        Self {
            kind: kind.as_str(),
            by_external_id,
            rows: 0,
            accepted: 0,
            rejected: 0,
            rejects_file: None,
            first_reject: None,
            intakes: Intakes::default(),
            encoding: None,
            ignored_columns: Vec::new(),
            repeated_event_ids: Repeated::default(),
            file_changed: false,
            strays: 0,
            duration_ms: 0,
        }
    }

    /// The report as a few lines.
    pub fn text(&self, file: &Path, lang: Lang) -> String {
        let rate = rate(self.rows, Duration::from_millis(self.duration_ms));
        let (rows, rate) = (grouped(self.rows), grouped(rate));
        let seconds = format!("{}.{}", self.duration_ms / 1_000, self.duration_ms % 1_000 / 100);
        let encoding = self.encoding.map_or("ascii", Encoding::as_str);
        let file = file.display();
        let mut lines = vec![lang.pick(
            format!("{file}: {rows}行 {seconds}秒(毎秒{rate}行、{encoding})"),
            format!("{file}: {rows} rows in {seconds} s ({rate} rows/s, {encoding})"),
        )];
        let accepted = grouped(self.accepted);
        lines.push(lang.pick(format!("  取り込み {accepted}行"), format!("  accepted {accepted}")));
        lines.extend(self.rejected_text(lang));
        lines.extend(self.intakes_text(lang));
        lines.extend(self.doubts_text(lang));
        if !self.ignored_columns.is_empty() {
            let columns = self.ignored_columns.join(", ");
            lines.push(
                lang.pick(format!("  使わなかった列: {columns}"), format!("  columns not used: {columns}")),
            );
        }
        lines.join("\n") + "\n"
    }

    fn rejected_text(&self, lang: Lang) -> Option<String> {
        let (path, first) = (self.rejects_file.as_ref()?.display(), self.first_reject.as_ref()?);
        let (rejected, line, reason) = (grouped(self.rejected), first.line, &first.reason);
        Some(lang.pick(
            format!("  取り込めない {rejected}行 → {path}(直して同じ指定で取り込めます)\n    最初: {line}行目 {reason}"),
            format!("  rejected {rejected} → {path} (correct it and import it with the same mapping)\n    first: line {line}: {reason}"),
        ))
    }

    /// What a person should look at, although every row went its way.
    fn doubts_text(&self, lang: Lang) -> Vec<String> {
        let mut lines = Vec::new();
        if let Repeated { rows, first_line: Some(line) } = self.repeated_event_ids {
            lines.push(lang.pick(
                format!("  先の行と同じ event_id で内容の違う行 {rows}行(最初: {line}行目)。先の行だけを数えます"),
                format!("  rows that give an earlier row's event_id to another event: {rows} (first: line {line}); the earlier one counts"),
            ));
        }
        if self.file_changed {
            lines.push(lang.pick(
                "  ⚠ 読み込み中にファイルが変わりました。書き込みが終わってから、もう一度取り込んでください".into(),
                "  ⚠ the file changed while it was read; import it again once it is complete".into(),
            ));
        }
        if self.strays > 0 {
            let strays = grouped(self.strays);
            lines.push(lang.pick(
                format!("  ⚠ 反映のときに宛先がなくなっていた変更 {strays}件 → haishin friend strays"),
                format!("  ⚠ changes that named no friend any more when they were applied: {strays} → haishin friend strays"),
            ));
        }
        lines
    }

    /// Whether a person has something to do.
    pub fn needs_a_person(&self) -> bool {
        self.rejected > 0 || self.file_changed || self.strays > 0
    }

    fn intakes_text(&self, lang: Lang) -> Option<String> {
        let Intakes { statuses, external_ids, attributes, tags, events } = self.intakes;
        let named = [
            (statuses, lang.pick("状態", "statuses")),
            (external_ids, lang.pick("顧客ID", "external ids")),
            (attributes, lang.pick("属性", "attributes")),
            (tags, lang.pick("タグ", "tags")),
            (events, lang.pick("イベント", "events")),
        ];
        let some: Vec<String> = named
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{name} {}", grouped(count)))
            .collect();
        (!some.is_empty()).then(|| format!("  {}", some.join(lang.pick("・", ", "))))
    }
}

/// Rows a second.
pub(super) fn rate(rows: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    rows.saturating_mul(1_000) / millis
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
