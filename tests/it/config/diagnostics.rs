//! What `check` prints, whole, in both languages.

use std::collections::BTreeSet;

use haishin::config::{Severity, Source, parse};
use haishin::domain::time::Span;
use haishin::lang::Lang;

use super::drip_fixtures as drips;
use super::fixtures as files;
use super::{campaign, check, now, rendered, shop};

fn both(source: &Source) -> String {
    let (ja, en) = (rendered(source, Lang::Ja), rendered(source, Lang::En));
    format!("{ja}\n{}\n\n{en}", "=".repeat(100))
}

/// Each topic with its files.
fn topics() -> Vec<(&'static str, Source)> {
    vec![
        ("full_width", files::full_width()),
        ("syntax", files::syntax()),
        ("files", files::files()),
        ("no_main_file", Source::from_iter([("segments/members.toml", super::MEMBERS)])),
        ("keys", files::keys()),
        ("values", files::values()),
        ("names", files::names()),
        ("rules", files::rules()),
        ("depth", files::depth()),
        ("once", files::once()),
        ("recurring", files::recurring()),
        ("arms", files::arms()),
        ("accounts", files::accounts()),
        (
            "no_account",
            shop(&[("haishin.toml", "[http]\nlisten = \"8470\"\n"), ("campaigns/a.toml", &campaign(""))]),
        ),
        ("several_accounts", files::several_accounts()),
        ("rate", shop(&[("haishin.toml", &format!("{}rate = \"off\"\n", super::MAIN))])),
        ("retention", files::retention()),
        ("webhooks", files::webhooks()),
        ("relays", files::relays()),
        ("later", files::later()),
        ("messages", files::messages()),
        ("message_rules", files::message_rules()),
        ("flex", files::flex()),
        ("drip_keys", drips::keys()),
        ("drip_starts", drips::starts()),
        ("drip_endings", drips::endings()),
        ("drip_steps", drips::steps()),
        ("drip_contents", drips::contents()),
        ("drip_whole", drips::whole()),
    ]
}

#[test]
fn every_topic_reads_well_in_both_languages() {
    for (topic, source) in topics() {
        insta::assert_snapshot!(format!("config_{topic}"), both(&source));
    }
}

/// The variants of an enum, in serde's snake_case, from its source: so that a new problem cannot go unseen.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let body = source.split(&format!("pub enum {name} {{")).nth(1).unwrap().split("\n}").next().unwrap();
    let idents = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        let ident: String = line.chars().take_while(char::is_ascii_alphanumeric).collect();
        line.starts_with(|c: char| c.is_ascii_uppercase()).then_some(ident)
    });
    idents.map(|ident| snake(&ident)).collect()
}

fn snake(ident: &str) -> String {
    let mut out = String::new();
    for c in ident.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[test]
fn every_problem_stands_in_a_snapshot() {
    let (mut kinds, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for (_, source) in topics() {
        for found in check(&source).diagnostics {
            let problem = serde_json::to_value(&found.problem).unwrap();
            kinds.insert(problem["kind"].as_str().unwrap().to_owned());
            rules.extend(problem["rule"]["rule"].as_str().map(str::to_owned));
        }
    }
    assert_eq!(kinds, variants(include_str!("../../../src/config/problem/mod.rs"), "Problem"));
    assert_eq!(rules, variants(include_str!("../../../src/config/problem/message.rs"), "MessageRule"));
}

/// A version that was taken must be read at every later start: time alone makes no error.
#[test]
fn no_error_depends_on_the_day() {
    let errors = |source: &Source, days: i64| {
        let found = parse(source, now() + Span::from_days(days)).diagnostics.into_iter();
        let errors = found.filter(|one| one.severity() == Severity::Error);
        errors.map(|one| (one.file, one.at, std::mem::discriminant(&one.problem))).collect::<Vec<_>>()
    };
    for (topic, source) in topics() {
        let today = errors(&source, 0);
        for days in [-3_650, 115, 150, 330, 3_650] {
            assert_eq!(errors(&source, days), today, "{topic} after {days} days");
        }
    }
}
