//! What a doctor found, for people and programs.

use serde_json::{Value, json};

use crate::concern::{Code, Concern, Severity};
use crate::lang::Lang;
use crate::protocol::Answer;
use crate::text::Table;

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// As it has to be.
    Good,
    /// To be known; nothing is to be done.
    Note,
    /// It works, and somebody should do something.
    Warn,
    /// It does not work.
    Fail,
}

impl Mark {
    fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Note => "·",
            Self::Warn => "!",
            Self::Fail => "✗",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which: a stable word.
    pub name: String,
    /// How it is.
    pub mark: Mark,
    /// What was found.
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
    /// The section of the runbook, of a concern.
    pub runbook: Option<String>,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Report {
    daemon: bool,
    lang: Lang,
    checks: Vec<Check>,
    concerns: Vec<Value>,
    told: Vec<Check>,
}

impl Report {
    /// Nothing was looked at yet.
    pub fn new(daemon: bool, lang: Lang) -> Self {
        Self { daemon, lang, checks: Vec::new(), concerns: Vec::new(), told: Vec::new() }
    }

    /// One thing was looked at.
    pub fn add(&mut self, name: &str, mark: Mark, what: String, next: Option<&str>) {
        let next = next.map(str::to_owned);
        self.checks.push(Check { name: name.to_owned(), mark, what, next, runbook: None });
    }

    /// The concerns of an account, or of the machine.
    pub fn tell(&mut self, account: &str, concerns: &[Concern]) {
        let json: Vec<Value> = concerns.iter().map(|one| one.json(self.lang)).collect();
        self.tell_json(account, Some(&json));
    }

    /// The same as a daemon told them.
    pub fn tell_json(&mut self, account: &str, concerns: Option<&Vec<Value>>) {
        for concern in concerns.into_iter().flatten() {
            let text = |key: &str| concern.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let act = text("severity") == Severity::Act.as_str();
            let name = format!("{account} {}", text("code")).trim().to_owned();
            let (mark, what, next) =
                (if act { Mark::Warn } else { Mark::Note }, text("what"), Some(text("next")));
            self.told.push(Check { name, mark, what, next, runbook: Some(text("runbook")) });
            let mut concern = concern.clone();
            if let Some(object) = concern.as_object_mut() {
                let whose = if account.is_empty() { Value::Null } else { account.into() };
                object.insert("account".into(), whose);
            }
            self.concerns.push(concern);
        }
    }

    /// Whether some account has this concern.
    pub fn concerns_of(&self, code: Code) -> bool {
        self.concerns.iter().any(|one| one.get("code").and_then(Value::as_str) == Some(code.as_str()))
    }

    fn all(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().chain(&self.told)
    }

    /// As a command answers: 1 where something does not work, 3 where somebody should do something.
    pub fn answer(&self) -> Answer {
        let worst = self.all().map(|check| check.mark).max().unwrap_or(Mark::Good);
        let exit = match worst {
            Mark::Good | Mark::Note => 0,
            Mark::Warn => 3,
            Mark::Fail => 1,
        };
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|one| json!({ "check": one.name, "mark": one.mark.as_str(), "what": one.what, "next": one.next }))
            .collect();
        let json = json!({ "daemon": self.daemon, "checks": checks, "concerns": self.concerns });
        Answer { text: self.text(worst), json, exit }
    }

    fn text(&self, worst: Mark) -> String {
        let lang = self.lang;
        let mut table = Table::new(&["", ""]);
        for check in self.all() {
            let first = check.what.lines().next().unwrap_or_default().to_owned();
            table.row(vec![format!("{} {}", check.mark.sign(), label(&check.name, lang)), first]);
        }
        let mut lines = Vec::new();
        for (line, check) in table.render().lines().skip(1).zip(self.all()) {
            lines.push(line.to_owned());
            lines.extend(check.what.lines().skip(1).map(|more| format!("  {more}").trim_end().to_owned()));
            if let Some(next) = &check.next {
                lines.push(format!("    → {next}"));
            }
            if let Some(runbook) = &check.runbook {
                lines.push(format!("      {runbook}"));
            }
        }
        lines.push(match worst {
            Mark::Good | Mark::Note => lang.pick("問題はありません。", "nothing is wrong.").to_owned(),
            Mark::Warn => lang.pick("! には対応が必要です。", "what is marked ! wants a person.").to_owned(),
            Mark::Fail => lang.pick("✗ は動きません。", "what is marked ✗ does not work.").to_owned(),
        });
        lines.join("\n")
    }
}

/// What a check is called; concerns keep their codes, which the runbook and the metrics know.
fn label(name: &str, lang: Lang) -> String {
    let known = [
        ("daemon", "デーモン", "daemon"),
        ("configuration", "設定ファイル", "configuration"),
        ("running", "有効な設定", "what runs"),
        ("secrets", "秘密の値", "secrets"),
        ("state_directory", "状態ディレクトリ", "state directory"),
        ("disk", "ディスク", "disk"),
        ("database", "データベース", "database"),
        ("durability", "耐障害性", "durability"),
        ("schema", "スキーマ", "schema"),
        ("integrity", "整合性", "integrity"),
        ("accounts", "アカウント", "accounts"),
        ("clock", "時計", "clock"),
        ("limits", "上限", "limits"),
        ("backup", "バックアップ", "backup"),
    ];
    if let Some(account) = name.strip_prefix("line ") {
        return format!("LINE {account}");
    }
    let found = known.into_iter().find(|(known, ..)| *known == name);
    found.map_or_else(|| name.to_owned(), |(_, ja, en)| lang.pick(ja, en).to_owned())
}
