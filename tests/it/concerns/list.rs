//! The list holds together: words, runbook, alerts, documentation.

use std::collections::BTreeSet;
use std::path::Path;

use haishin::concern::{Code, Concern, Watched};
use haishin::lang::Lang;

use crate::docs::anchor;

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn section(page: &str, wanted: &str) -> Option<String> {
    let sections = page.split("\n## ").skip(1);
    let mut found = sections.filter(|one| anchor(one.lines().next().unwrap_or_default()) == wanted);
    found.next().map(str::to_owned)
}

#[test]
fn every_concern_has_a_word_a_page_and_an_alert_or_a_reason_for_none() {
    let (runbook, alerts, cli) =
        (text("docs/runbook.md"), text("systemd/prometheus/alerts.yml"), text("docs/cli.md"));
    let mut words = BTreeSet::new();
    for code in Code::ALL {
        let word = code.as_str();
        assert!(words.insert(word), "{word} is there twice");
        let section = section(&runbook, code.runbook());
        let section =
            section.unwrap_or_else(|| panic!("{word}: docs/runbook.md#{} is nowhere", code.runbook()));
        assert!(
            section.contains(&format!("`{word}`")),
            "docs/runbook.md#{} does not name {word}",
            code.runbook()
        );
        match code.watched() {
            Watched::By(alert) => {
                let rule = alerts.split("- alert: ").find(|rule| rule.starts_with(&format!("{alert}\n")));
                let rule = rule.unwrap_or_else(|| panic!("{word}: there is no alert {alert}"));
                let asks = rule.contains(word) || rule.contains("haishin_stopped");
                assert!(asks, "{alert} does not ask for {word}");
                assert!(
                    section.contains(&format!("`{alert}`")) || rule.contains("haishin_stopped"),
                    "{word}"
                );
            }
            Watched::Not(reason) => assert!(reason.split(' ').count() > 3, "{word}: {reason}"),
        }
        let row = format!("| `{word}` | {} |", code.severity().as_str());
        assert!(cli.contains(&row), "docs/cli.md lacks {row}");
    }
    assert_eq!(words.len(), Code::ALL.len());
}

/// What is told names a next step in both languages; commands are the same in both.
#[test]
fn every_concern_says_what_to_do_in_both_languages() {
    for code in Code::ALL {
        let (ja, en) = (code.next(Lang::Ja), code.next(Lang::En));
        assert!(!ja.is_empty() && !en.is_empty(), "{}", code.as_str());
        let names = ["start", "apply", "occurrence", "campaign", "drip", "friend", "backup"];
        let commands = |text: &str| names.map(|name| text.matches(&format!("haishin {name}")).count());
        assert_eq!(commands(ja), commands(en), "{ja}\n{en}");
        assert!(ja == en || !ja.is_ascii(), "{ja}");
        let concern = Concern::new(code, |lang| lang.pick("何か", "something").to_owned());
        assert_eq!(concern.line(Lang::En), format!("something → {en}"));
        assert_eq!(concern.json(Lang::Ja)["what"], "何か");
    }
}
