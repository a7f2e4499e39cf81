//! `haishin check`: what it prints and how it ends.

use std::path::Path;

use serde_json::{Value, json};

use super::diagnostic::Diagnostic;
use super::drip;
use super::problem::Severity;
use super::render::{Style, render};
use super::source::{Source, SourceError};
use crate::domain::time::Instant;
use crate::lang::Lang;

/// How the report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text(Style),
    /// One JSON object: `{"ok", "errors", "warnings", "hints", "diagnostics": [...], "steps": [...]}`.
    Json,
}

/// What `check` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What to print.
    pub output: String,
    /// 0: no error (there may be warnings), 1: errors.
    pub exit_code: u8,
}

/// Checks the files of a directory. Without errors it also says what the times of drips' steps mean. Paths in the report begin with the directory as given.
pub fn check_report(
    directory: &Path,
    now: Instant,
    lang: Lang,
    format: Format,
) -> Result<Report, SourceError> {
    let source = Source::read_dir(directory)?;
    Ok(report(&source, &prefix(directory), now, lang, format))
}

/// The same of files as texts; paths in the report begin with `prefix`.
pub fn report(source: &Source, prefix: &str, now: Instant, lang: Lang, format: Format) -> Report {
    let checked = super::parse(source, now);
    let found = checked.diagnostics;
    let meanings = checked.configuration.as_ref().map(|found| drip::meanings(found, now)).unwrap_or_default();
    let count = |severity| found.iter().filter(|one| one.severity() == severity).count();
    let [errors, warnings, hints] = [Severity::Error, Severity::Warning, Severity::Hint].map(count);
    let output = match format {
        Format::Text(style) => {
            let summary = summary(lang, source.files.len(), errors, warnings, hints);
            // Problems last: they stand nearest to where a person reads on.
            let parts = [drip::render(&meanings, lang), render(&found, source, prefix, lang, style)];
            let parts = parts.into_iter().filter(|part| !part.is_empty()).map(|part| part + "\n");
            format!("{}{summary}\n", parts.collect::<String>())
        }
        Format::Json => {
            let diagnostics: Vec<Value> =
                found.iter().map(|one| as_json(one, source, prefix, lang)).collect();
            let report = json!({
                "ok": errors == 0,
                "errors": errors,
                "warnings": warnings,
                "hints": hints,
                "diagnostics": diagnostics,
                "steps": meanings.iter().map(|one| one.as_json(lang)).collect::<Vec<_>>(),
            });
            format!("{report}\n")
        }
    };
    Report { output, exit_code: u8::from(errors > 0) }
}

fn prefix(directory: &Path) -> String {
    let shown = directory.display().to_string();
    let shown = shown.trim_end_matches('/');
    if shown.is_empty() || shown == "." { String::new() } else { format!("{shown}/") }
}

fn summary(lang: Lang, files: usize, errors: usize, warnings: usize, hints: usize) -> String {
    if errors + warnings + hints == 0 {
        return lang
            .pick(format!("{files}ファイルに問題はありません"), format!("{files} files, no problems"));
    }
    lang.pick(
        format!("{files}ファイル: エラー{errors}件、警告{warnings}件、確認{hints}件"),
        format!("{files} files; errors: {errors}, warnings: {warnings}, notes: {hints}"),
    )
}

/// One problem for machines: its kind and data beside the sentences of the chosen language.
fn as_json(one: &Diagnostic, source: &Source, prefix: &str, lang: Lang) -> Value {
    let (line, column) = one.position(source);
    let words = one.problem.words(lang);
    json!({
        "severity": one.severity(),
        "file": format!("{prefix}{}", one.file),
        "line": line,
        "column": column,
        "title": words.title,
        "label": words.label,
        "help": words.help,
        "problem": one.problem,
    })
}
