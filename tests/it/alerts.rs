//! Alert rules, their scenarios, the dashboard and the runbook: of metrics that exist, in the program's own words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use haishin::telemetry::{FIELDS, METRICS, Metric, MetricKind};
use serde_json::Value;

use crate::docs::{anchor, anchors};
use crate::telemetry::sources;

const RULES: &str = "systemd/prometheus/alerts.yml";
const DASHBOARD: &str = "systemd/prometheus/dashboard.json";
const SCENARIOS: &str = "tests/prometheus/alerts.yml";
const RUNBOOK: &str = "docs/runbook.md";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A metric in an expression, with its matchers: label and value.
type Used = (String, Vec<(String, String)>);

/// The metrics of haishin that an expression, or a series, asks for.
fn used(expression: &str) -> Vec<Used> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("haishin_") {
        let rest = &expression[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let matchers =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(in_, _)| in_);
        let matchers = matchers.split("\",").filter(|matcher| !matcher.trim().is_empty()).map(|matcher| {
            let (label, value) = matcher.split_at(matcher.find(['=', '!']).expect(matcher));
            let value = value.trim_start_matches(['=', '!', '~']).trim_matches('"');
            (label.trim().to_owned(), value.to_owned())
        });
        found.push((name.to_owned(), matchers.collect()));
    }
    found
}

/// The labels that an expression groups or joins by.
fn grouped(expression: &str) -> Vec<String> {
    let mut labels = Vec::new();
    for opening in ["by (", "on (", "by(", "on(", "without (", "ignoring ("] {
        for part in expression.split(opening).skip(1) {
            let inside = part.split(')').next().unwrap_or_default();
            labels.extend(inside.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels.retain(|label| !label.is_empty());
    labels
}

/// The labels that a legend or an annotation names.
fn shown(template: &str) -> Vec<String> {
    let holes = template.split("{{").skip(1).filter_map(|part| part.split("}}").next());
    holes.map(|hole| hole.trim().trim_start_matches("$labels.").to_owned()).collect()
}

/// The metric of the vocabulary that a series belongs to; a histogram has several.
fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| match metric.kind {
        MetricKind::Seconds => {
            name.strip_prefix(metric.name).is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
        MetricKind::Counter | MetricKind::Gauge => metric.name == name,
    })
}

/// What is wrong with an expression and the labels shown of it: unknown metrics, labels they do not have, values the
/// program never sets.
fn strangers(expression: &str, labels: &[String], program: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    // Prometheus adds the first two to every series; `le` is a bucket's.
    let mut known: BTreeSet<&str> = BTreeSet::from(["job", "instance"]);
    for (name, matchers) in used(expression) {
        let Some(metric) = metric(&name) else {
            wrong.push(format!("no metric {name}"));
            continue;
        };
        known.extend(metric.labels);
        if metric.kind == MetricKind::Seconds {
            known.insert("le");
        }
        for (label, value) in
            matchers.iter().filter(|(label, _)| !["job", "instance"].contains(&label.as_str()))
        {
            if !metric.labels.contains(&label.as_str()) {
                wrong.push(format!("{name} has no label {label}"));
            }
            let free = ["account", "lane"].contains(&label.as_str());
            let values = value.split('|').filter(|_| !free);
            let unset = values.filter(|value| !program.contains(&format!("\"{value}\"")));
            wrong.extend(unset.map(|value| format!("{name}: {label} is never {value}")));
        }
    }
    for label in grouped(expression).iter().chain(labels) {
        if !known.contains(label.as_str()) {
            wrong.push(format!("no metric here has the label {label}: {expression}"));
        }
    }
    wrong
}

fn program() -> String {
    sources().into_iter().map(|(_, text)| text).collect()
}

/// An alert as its rule says it.
#[derive(Debug, Default)]
struct Alert {
    expression: String,
    summary: String,
    runbook: String,
}

/// The alerts of the rules. promtool reads the file as YAML; this reads as much as the tests here need.
fn alerts() -> BTreeMap<String, Alert> {
    let rules = text(RULES);
    let mut alerts = BTreeMap::new();
    for rule in rules.split("- alert: ").skip(1) {
        let mut alert = Alert::default();
        let (name, rule) = rule.split_once('\n').unwrap();
        let mut in_expression = false;
        for line in rule.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let value = |key: &str| line.trim_start().strip_prefix(key).map(str::trim);
            in_expression &= line.starts_with("          ");
            if in_expression {
                alert.expression += &format!("{line}\n");
            } else if let Some(expression) = value("expr:") {
                in_expression = expression == "|";
                alert.expression = expression.trim_start_matches('|').to_owned();
            } else if let Some(summary) = value("summary:") {
                alert.summary = summary.to_owned();
            } else if let Some(runbook) = value("runbook:") {
                alert.runbook = runbook.to_owned();
            }
        }
        alerts.insert(name.to_owned(), alert);
    }
    assert!(alerts.len() > 15, "only {} alerts were found", alerts.len());
    alerts
}

#[test]
fn alerts_ask_for_metrics_that_exist_with_their_labels() {
    let program = program();
    for (name, alert) in alerts() {
        let wrong = strangers(&alert.expression, &shown(&alert.summary), &program);
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        let asks = alert.expression.contains("haishin_") || alert.expression.contains(r#"job="haishin""#);
        assert!(asks, "{name} asks for nothing of haishin's: {}", alert.expression);
    }
    let series = text(SCENARIOS);
    let series = series.lines().filter(|line| line.trim_start().starts_with("- series:"));
    let wrong: Vec<String> = series.flat_map(|line| strangers(line, &[], &program)).collect();
    assert!(wrong.is_empty(), "{SCENARIOS}: {wrong:#?}");
}

#[test]
fn every_alert_names_a_section_of_the_runbook_which_names_the_alert() {
    let page = text(RUNBOOK);
    let anchors = anchors(&page);
    let sections: BTreeMap<String, &str> = page
        .split("\n## ")
        .skip(1)
        .map(|section| {
            let heading = section.lines().next().unwrap_or_default();
            (anchor(heading), section)
        })
        .collect();
    for (name, alert) in alerts() {
        let anchor = alert.runbook.strip_prefix("docs/runbook.md#").unwrap_or_default();
        assert!(anchors.contains(anchor), "{name}: {} is nowhere", alert.runbook);
        assert!(sections[anchor].contains(&format!("`{name}`")), "{anchor} does not name {name}");
    }
    for word in page.split('`').filter(|word| word.starts_with("Haishin")) {
        assert!(alerts().contains_key(word), "the runbook names {word}, which is no alert");
    }
    for (anchor, section) in sections {
        for part in ["**Seen.**", "**Means.**", "**Do.**", "**Not.**", "**Over**"] {
            assert!(section.contains(part), "{RUNBOOK}#{anchor} lacks {part}");
        }
    }
}

/// What is told of status and log is what the program says: log messages from their beginning, lines of `status` in
/// parts between `…`.
#[test]
fn the_runbook_quotes_the_programs_own_words() {
    let (program, page) = (program(), text(RUNBOOK));
    let mut seen = 0;
    let mut bullets: Vec<String> = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("  ") {
            Some(more) if !bullets.is_empty() => bullets.last_mut().unwrap().push_str(more),
            _ => bullets.extend(line.strip_prefix("- ").map(str::to_owned)),
        }
    }
    for bullet in &bullets {
        let in_log = bullet.starts_with("log: ");
        assert!(in_log || bullet.starts_with("status: "), "{bullet}");
        for quoted in bullet.split('`').skip(1).step_by(2) {
            seen += 1;
            let is_field = FIELDS.iter().any(|(field, _)| *field == quoted);
            let said = match in_log {
                true => is_field || program.contains(&format!("\"{quoted}")),
                false => quoted.split('…').all(|part| program.contains(part.trim())),
            };
            assert!(said, "the program never says `{quoted}`");
        }
    }
    assert!(seen > 40, "only {seen} quotations were found");
    for (name, _) in used(&page) {
        let exists = METRICS.iter().any(|metric| metric.name == name);
        assert!(exists, "the runbook names {name}, which is no metric");
    }
}

/// Every object in a JSON document.
fn objects<'v>(value: &'v Value, found: &mut Vec<&'v serde_json::Map<String, Value>>) {
    match value {
        Value::Object(object) => {
            found.push(object);
            object.values().for_each(|value| objects(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| objects(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist_with_their_labels() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let (program, mut all) = (program(), Vec::new());
    objects(&dashboard, &mut all);
    let mut seen = 0;
    for target in all.iter().filter(|object| object.contains_key("expr")) {
        let (expression, legend) =
            (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
        assert!(!used(expression).is_empty(), "{expression}");
        let wrong = strangers(expression, &shown(legend), &program);
        assert!(wrong.is_empty(), "{wrong:#?}");
        seen += 1;
    }
    assert!(seen > 25, "only {seen} expressions were found");
    let asked = dashboard["templating"]["list"][1]["definition"].as_str().unwrap();
    assert_eq!(strangers(asked, &["account".to_owned()], &program), Vec::<String>::new());
    let ids: Vec<&Value> = dashboard["panels"].as_array().unwrap().iter().map(|panel| &panel["id"]).collect();
    assert_eq!(ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), ids.len());
}

#[test]
fn the_scans_see_what_is_not_there() {
    let program = r#""accepted" "unknown""#;
    let wrong = |expression: &str, labels: &[&str]| {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        strangers(expression, &labels, program).len()
    };
    let good = r#"sum by (account, outcome) (rate(haishin_deliveries_total{job="x", outcome=~"accepted|unknown"}[5m]))"#;
    assert_eq!(wrong(good, &["outcome"]), 0);
    assert_eq!(wrong(good, &["answer"]), 1);
    assert_eq!(wrong("haishin_held > 0", &[]), 1);
    assert_eq!(wrong(r#"haishin_deliveries_total{answer="accepted"}"#, &[]), 1);
    assert_eq!(wrong(r#"haishin_deliveries_total{outcome!~"accepted|lost"}"#, &[]), 1);
    assert_eq!(wrong("haishin_freeze_duration_seconds > 1", &[]), 1);
    assert_eq!(wrong("sum by (account, le) (haishin_freeze_duration_seconds_bucket)", &[]), 0);
    assert_eq!(wrong("haishin_stopped unless on (lane) haishin_stopped", &[]), 1);
}

/// `tests/install-promtool` puts it there.
fn promtool(arguments: &[&str]) -> String {
    let promtool = project("target/promtool/promtool");
    assert!(promtool.exists(), "{} is missing; run tests/install-promtool first", promtool.display());
    let output = Command::new(promtool).args(arguments).current_dir(project("")).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {}:\n{said}", arguments.join(" "));
    said
}

#[test]
fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should_and_not_else() {
    let said = promtool(&["check", "rules", RULES]);
    assert!(said.contains(&format!("{} rules found", alerts().len())), "{said}");
    promtool(&["test", "rules", SCENARIOS]);
    // A scenario that says nothing of its alert would pass as well.
    let scenarios = text(SCENARIOS);
    let scenarios: Vec<&str> = scenarios.split("  - name: ").skip(1).collect();
    for name in alerts().keys() {
        for (does, expected) in [("fires", "exp_labels:"), ("does not fire", "exp_alerts: []")] {
            let mut those = scenarios.iter().filter(|one| one.starts_with(&format!("{name} {does}\n")));
            let scenario = those.next().unwrap_or_else(|| panic!("no scenario in which {name} {does}"));
            assert!(
                scenario.contains(&format!("alertname: {name}\n")) && scenario.contains(expected),
                "{scenario}"
            );
        }
    }
    assert_eq!(scenarios.len(), 2 * alerts().len());
}
