//! One vocabulary: the program, its documentation and its tables say the same.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use haishin::telemetry::{FIELDS, LogFormat, METRICS, describe, metric, recorder, subscriber};
use insta::assert_snapshot;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Lines;
    fn make_writer(&'w self) -> Lines {
        self.clone()
    }
}

/// What two events become, without their instants.
fn logged(format: LogFormat, filter: &str) -> String {
    let lines = Lines::default();
    let subscriber = subscriber(format, filter, false, lines.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(account = "shop", batch = 3, friends = 500, "sent");
        tracing::debug!(account = "shop", "details");
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let without_instant = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(mut line) => {
            let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
            assert!(timestamp.as_str().unwrap().ends_with('Z'));
            line.to_string()
        }
        Err(_) => line.split_once('Z').unwrap().1.trim().to_owned(),
    };
    text.lines().map(without_instant).collect::<Vec<_>>().join("\n")
}

#[test]
fn log_lines_are_text_or_json() {
    assert_snapshot!(logged(LogFormat::Text, "info"), @r#"INFO it::telemetry: sent account="shop" batch=3 friends=500"#);
    assert_snapshot!(logged(LogFormat::Json, "info"), @r#"{"account":"shop","batch":3,"friends":500,"level":"INFO","message":"sent","target":"it::telemetry"}"#);
    assert_eq!(logged(LogFormat::Json, "debug").lines().count(), 2);
    assert_eq!(logged(LogFormat::Json, "it=off,debug"), "");
    assert!(subscriber(LogFormat::Text, "haishin=loud", false, std::io::sink).is_err());
}

#[test]
fn metrics_are_described_and_histograms_have_buckets() {
    let recorder = recorder().unwrap();
    metrics::with_local_recorder(&recorder, || {
        describe();
        metrics::counter!(metric::REQUESTS, "account" => "shop", "answer" => "ok").increment(2);
        metrics::histogram!(metric::REQUEST_SECONDS, "account" => "shop").record(0.03);
    });
    let text = recorder.handle().render();
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "# HELP haishin_requests_total Requests to LINE by their answer.".to_owned(),
        "# TYPE haishin_requests_total counter".to_owned(),
        "haishin_requests_total{account=\"shop\",answer=\"ok\"} 2".to_owned(),
        "haishin_request_duration_seconds_bucket{account=\"shop\",le=\"0.025\"} 0".to_owned(),
        "haishin_request_duration_seconds_bucket{account=\"shop\",le=\"0.05\"} 1".to_owned(),
        format!("haishin_build_info{{version=\"{version}\"}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The rows of the table below a heading of `docs/operations.md`.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(project("docs/operations.md")).unwrap();
    let section = text.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
}

#[test]
fn the_documentation_has_every_field_and_metric_and_no_other() {
    let fields = FIELDS.iter().map(|(name, meaning)| format!("| `{name}` | {meaning} |"));
    assert_eq!(documented("Logs"), fields.collect());
    let metrics = METRICS.iter().map(|metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", metric.name, metric.kind.as_str(), labels.join(", "), metric.help)
    });
    assert_eq!(documented("Metrics"), metrics.collect());
}

/// All of the program's source files.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let (mut sources, mut folders) = (Vec::new(), vec![project("src")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    sources
}

#[test]
fn every_log_field_of_the_program_is_in_the_vocabulary() {
    let known: BTreeSet<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let mut strangers = Vec::new();
    for (path, text) in sources() {
        let fields = log_fields(&text).into_iter().filter(|field| !known.contains(field.as_str()));
        strangers.extend(fields.map(|field| format!("{}: {field}", path.display())));
    }
    assert!(
        strangers.is_empty(),
        "add to telemetry::FIELDS and docs/operations.md, or use the known word:\n{strangers:#?}"
    );
}

#[test]
fn every_metric_of_the_program_is_in_the_table_with_its_labels() {
    let mut strangers = Vec::new();
    for (path, text) in sources() {
        for (name, labels) in recorded(&text) {
            let metric = METRICS.iter().find(|metric| metric.name == name);
            if metric.is_none_or(|metric| metric.labels != labels) {
                strangers.push(format!("{}: {name} {labels:?}", path.display()));
            }
        }
    }
    assert!(strangers.is_empty(), "add to telemetry::METRICS and docs/operations.md:\n{strangers:#?}");
}

/// Name and labels of each metric that a source text records by its name in quotes.
fn recorded(source: &str) -> Vec<(String, Vec<String>)> {
    let mut metrics = Vec::new();
    for kind in ["counter", "gauge", "histogram"] {
        for (at, opening) in source.match_indices(&format!("metrics::{kind}!(")) {
            let mut arguments = arguments(&source[at + opening.len()..]).into_iter();
            let name = arguments.next().unwrap_or_default();
            let Some(name) = name.trim().strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
                continue;
            };
            let labels = arguments.filter_map(|argument| {
                let (label, _) = argument.split_once("=>")?;
                Some(label.trim().trim_matches('"').to_owned())
            });
            metrics.push((name.to_owned(), labels.collect()));
        }
    }
    metrics
}

/// The names of the fields in all `tracing::level!(…)` of a source text.
fn log_fields(source: &str) -> Vec<String> {
    let mut fields = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for suffix in ["!(", "_span!("] {
            for (at, opening) in source.match_indices(&format!("tracing::{level}{suffix}")) {
                let arguments = arguments(&source[at + opening.len()..]);
                fields.extend(arguments.iter().filter_map(|argument| field_name(argument)));
            }
        }
    }
    fields
}

/// The arguments of a call, from behind its opening parenthesis.
fn arguments(source: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for character in source.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments
}

/// `account` of `account = %slug`, `error` of `%error`; none of a message.
fn field_name(argument: &str) -> Option<String> {
    let name = argument.trim().trim_start_matches(['%', '?']);
    let name = name.split('=').next()?.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    is_name.then(|| name.rsplit('.').next().unwrap_or(name).to_owned())
}

#[test]
fn the_scans_see_fields_and_metrics() {
    let source = r#"
        tracing::warn!(account = %self.slug, by, ?reason, %error, count = list.iter().map(|x| f(x, 1)).len(), "no, message = {}", x);
        tracing::info_span!("name", batch = 1);
    "#;
    assert_eq!(log_fields(source), ["account", "by", "reason", "error", "count", "x", "batch"]);
    let source = r#"metrics::counter!("haishin_x_total", "account" => self.slug.to_string(), "answer" => f(a, b)).increment(1)"#;
    let labels = vec!["account".to_owned(), "answer".to_owned()];
    assert_eq!(recorded(source), [("haishin_x_total".to_owned(), labels)]);
}
