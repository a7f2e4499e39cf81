//! Diagnostics as a person reads them: place, line, caret, what to do.

use std::collections::BTreeMap;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::diagnostic::Diagnostic;
use super::problem::Severity;
use super::secret::mask;
use super::source::Source;
use crate::lang::Lang;
use crate::text::one_line;

/// Longer ones no system has.
const PATH_CHARS_MAX: usize = 4_096;

/// Whether colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Letters only: pipes, files, `NO_COLOR`.
    Plain,
    /// ANSI colours.
    Colour,
}

/// Renders all diagnostics, with a blank line between two. `prefix` (such as `config/`) goes before each path.
/// Values that may be secrets are masked in the lines that are shown.
pub fn render(diagnostics: &[Diagnostic], source: &Source, prefix: &str, lang: Lang, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let mut masked: BTreeMap<&str, String> = BTreeMap::new();
    let mut out = String::new();
    for diagnostic in diagnostics {
        let text = masked
            .entry(&diagnostic.file)
            .or_insert_with(|| mask(source.files.get(&*diagnostic.file).map_or("", String::as_str)));
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&render_one(&renderer, diagnostic, text, prefix, lang));
        out.push('\n');
    }
    out
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic, text: &str, prefix: &str, lang: Lang) -> String {
    let words = diagnostic.problem.words(lang);
    let level = match diagnostic.severity() {
        Severity::Error => Level::ERROR.with_name(lang.pick("エラー", "error")),
        Severity::Warning => Level::WARNING.with_name(lang.pick("警告", "warning")),
        Severity::Hint => Level::NOTE.with_name(lang.pick("確認", "note")),
    };
    // A file can be called anything; the renderer takes the name as it is.
    let path = one_line(&format!("{prefix}{}", diagnostic.file), PATH_CHARS_MAX);
    let title = level.primary_title(words.title.as_str());
    let mut group = match diagnostic.at {
        Some(at) => {
            // The caret's line alone: the renderer reads all it is given, for each problem again.
            let caret = caret(text, at.start, at.end);
            let start = text.get(..caret.start).and_then(|before| before.rfind('\n')).map_or(0, |n| n + 1);
            let end =
                text.get(caret.end..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| caret.end + n);
            let line = text.get(start..end).unwrap_or("");
            let number = text.get(..start).map_or(0, |before| before.matches('\n').count()) + 1;
            let annotation = AnnotationKind::Primary.span(caret.start - start..caret.end - start);
            let annotation =
                if words.label.is_empty() { annotation } else { annotation.label(words.label.as_str()) };
            title.element(Snippet::source(line).line_start(number).path(path.as_str()).annotation(annotation))
        }
        None => title.element(annotate_snippets::Origin::path(path.as_str())),
    };
    if !words.help.is_empty() {
        group = group.element(Level::HELP.with_name(lang.pick("対処", "help")).message(words.help.as_str()));
    }
    renderer.render(&[group])
}

/// The range to underline: on character boundaries, on one line, never empty unless the line is.
fn caret(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let start = floor(text, start.min(text.len()));
    let end = floor(text, end.clamp(start, text.len()));
    let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |n| start + n);
    let end = end.min(line_end);
    if end > start {
        return start..end;
    }
    let next = text.get(start..line_end).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    start..start + next
}

fn floor(text: &str, mut index: usize) -> usize {
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}
