//! The configuration: TOML files to what runs, or to what a person is told.

use haishin::config::{Checked, Configuration, Format, Severity, Source, Style, node, parse, render, report};
use haishin::domain::time::{Instant, Span};
use haishin::lang::Lang;

use super::NOW;

/// How the input names the file that what follows is the text of; what stands before is `haishin.toml`.
const FILE: &str = "#: ";

/// The shop's files, and what the input has besides or instead of them.
fn source(bytes: &[u8]) -> Source {
    let mut source: Source = super::SHOP.into_iter().collect();
    let (mut path, mut text) = ("haishin.toml".to_owned(), Vec::new());
    let mut place = |path: &str, text: &[u8]| match std::str::from_utf8(text) {
        Ok(text) => {
            source.not_utf8.remove(path);
            source.files.insert(path.to_owned(), text.to_owned());
        }
        Err(error) => {
            source.files.remove(path);
            source.not_utf8.insert(path.to_owned(), error.valid_up_to());
        }
    };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(FILE.as_bytes()) {
            Some(named) => {
                if !text.is_empty() {
                    place(&path, &text);
                }
                path = String::from_utf8_lossy(named).trim().to_owned();
                text.clear();
            }
            None => text.extend_from_slice(line),
        }
    }
    if !text.is_empty() {
        place(&path, &text);
    }
    source
}

pub fn run(bytes: &[u8]) -> bool {
    let source = source(bytes);
    let checked = parse(&source, NOW);
    let errors = |checked: &Checked| {
        checked
            .diagnostics
            .iter()
            .filter(|one| one.severity() == Severity::Error)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(checked.configuration.is_none(), !errors(&checked).is_empty(), "{:?}", checked.diagnostics);
    assert_places(&checked, &source);
    assert_shown(&checked, &source);

    // A version that was taken stays readable, and says the same.
    let later = parse(&source, NOW + Span::from_days(40_000));
    assert_eq!(later.configuration, checked.configuration);
    assert_eq!(errors(&later), errors(&checked));

    // What the process itself goes by is part of the same files.
    let (node, problems) = node::read(&source);
    let is_broken = problems.iter().any(|one| one.severity() == Severity::Error);
    assert!(node.is_some() || is_broken, "{problems:?}");
    if let Some(configuration) = &checked.configuration {
        assert_usable(configuration);
    }
    checked.configuration.is_some()
}

/// Each problem stands within the text of its file, between characters, and there are not more of them than bytes.
fn assert_places(checked: &Checked, source: &Source) {
    let bytes: usize = source.files.values().map(String::len).sum();
    assert!(checked.diagnostics.len() <= 100 + 4 * bytes, "{} problems", checked.diagnostics.len());
    for one in &checked.diagnostics {
        if let (Some(at), Some(text)) = (one.at, source.files.get(&*one.file)) {
            assert!(at.start <= at.end && text.get(at.start..at.end).is_some(), "{one:?}");
        }
        let (line, column) = one.position(source);
        assert!(line > 0 && column > 0);
    }
}

/// What is found is told, in every form.
fn assert_shown(checked: &Checked, source: &Source) {
    for lang in super::LANGS {
        let shown = render(&checked.diagnostics, source, "", lang, Style::Plain);
        assert_eq!(shown.is_empty(), checked.diagnostics.is_empty());
        super::assert_printable(&shown);
    }
    let text = report(source, "config/", NOW, Lang::Ja, Format::Text(Style::Plain));
    super::assert_printable(&text.output);
    let json = report(source, "config/", NOW, Lang::En, Format::Json);
    let told: serde_json::Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(told["diagnostics"].as_array().map(Vec::len), Some(checked.diagnostics.len()));
    for code in [text.exit_code, json.exit_code] {
        assert_eq!(code, u8::from(checked.configuration.is_none()));
    }
}

/// A configuration without errors can be run: the planner's questions have answers.
fn assert_usable(configuration: &Configuration) {
    for account in configuration.accounts.values() {
        configuration.lookback(account);
    }
    for campaign in configuration.campaigns.values() {
        let due: Vec<Instant> = campaign.schedule.when.after(NOW).take(3).collect();
        assert!(due.iter().all(|at| *at > NOW) && due.is_sorted_by(|a, b| a < b), "{due:?}");
        assert!(!campaign.dispatch.variants.is_empty());
        for variant in &campaign.dispatch.variants {
            let messages: Vec<serde_json::Value> = serde_json::from_str(&variant.messages.json).unwrap();
            assert!((1..=5).contains(&messages.len()), "{}", variant.messages.json);
        }
    }
}
