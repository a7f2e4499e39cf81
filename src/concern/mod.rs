//! What an operator has to act on, or should know of: one list for `status`, `doctor`, the log, the metrics, the alerts
//! and `docs/runbook.md`, so that all of them call the same thing by the same name.

mod board;
mod code;

use serde_json::{Value, json};

pub use board::Board;
pub use code::{Code, Scope, Severity, Watched};

use crate::lang::Lang;

/// A text in both languages: who reads it is not known when it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    ja: String,
    en: String,
}

impl Said {
    /// Says it in each language.
    pub fn by(say: impl Fn(Lang) -> String) -> Self {
        Self { ja: say(Lang::Ja), en: say(Lang::En) }
    }

    /// In one of them.
    pub fn told(&self, lang: Lang) -> &str {
        lang.pick(&self.ja, &self.en)
    }
}

/// One thing that is so, now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// Which of the list.
    pub code: Code,
    /// What is so.
    pub what: Said,
    /// What to do next.
    pub next: Said,
}

impl Concern {
    /// What is so; what to do is the list's own word.
    pub fn new(code: Code, what: impl Fn(Lang) -> String) -> Self {
        Self { code, what: Said::by(what), next: Said::by(|lang| code.next(lang).to_owned()) }
    }

    /// The same with a next step that names what it is about.
    #[must_use]
    pub fn then(mut self, next: impl Fn(Lang) -> String) -> Self {
        self.next = Said::by(next);
        self
    }

    /// What is so and what to do, on one line.
    pub fn line(&self, lang: Lang) -> String {
        format!("{} → {}", self.what.told(lang), self.next.told(lang))
    }

    /// The same with its mark: ⚠ waits for a person, · is to be known.
    pub fn marked(&self, lang: Lang) -> String {
        format!("{} {}", self.code.severity().mark(), self.line(lang))
    }

    /// For programs.
    pub fn json(&self, lang: Lang) -> Value {
        json!({
            "code": self.code.as_str(), "severity": self.code.severity().as_str(), "what": self.what.told(lang),
            "next": self.next.told(lang), "runbook": format!("docs/runbook.md#{}", self.code.runbook()),
        })
    }
}

/// What waits for a person first, each kind in the order of the list.
pub fn in_order(mut concerns: Vec<Concern>) -> Vec<Concern> {
    concerns.sort_by_key(|concern| (concern.code.severity(), concern.code));
    concerns
}

/// The exit code of a command that shows them: 3 where one of them waits for a person.
pub fn exit(concerns: &[Concern]) -> u8 {
    if concerns.iter().any(|concern| concern.code.severity() == Severity::Act) { 3 } else { 0 }
}
