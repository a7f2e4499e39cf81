//! What is so of the machine, as the node asks for it: the composition root knows the disk and the backups.

use serde_json::{Map, Value};

use super::node::Node;
use crate::concern::{Board, Code, Concern, exit, in_order};
use crate::domain::id::AccountSlug;
use crate::engine::Handle;
use crate::lang::Lang;
use crate::protocol::{Answer, Command, Failure, Reply};

use super::backups::Standing;
use super::node::ask_engine;

/// Looks at the machine.
pub trait Machine: Send + Sync {
    /// What is so of its disk.
    fn concerns(&self) -> Vec<Concern>;
    /// How it stands with the disk, for programs.
    fn json(&self) -> Value;
}

impl Node {
    /// What is so of the machine: disk and backups.
    pub fn machine_concerns(&self) -> Vec<Concern> {
        let disk = self.machine.as_ref().map(|machine| machine.concerns()).unwrap_or_default();
        let backup = self.backups.as_ref().and_then(|all| all.standing().concern);
        in_order(disk.into_iter().chain(backup).collect())
    }

    /// Looks at the machine, and whether every account has its engine: tells log and metrics.
    pub fn watch(&self) {
        if let Some(board) = &self.board {
            board.set(self.machine_concerns());
        }
    }

    /// Accounts of the running configuration that nobody here runs.
    fn missing(&self) -> Vec<AccountSlug> {
        let engines = self.engines();
        let active = self.active();
        active.configuration.accounts.keys().filter(|slug| !engines.contains_key(*slug)).cloned().collect()
    }

    /// Tells of accounts that do not run; of one that runs its own engine tells.
    pub(super) fn watch_missing(&self, failed: &[(AccountSlug, anyhow::Error)]) {
        if self.board.is_none() {
            return;
        }
        let mut boards = self.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        boards.retain(|slug, board| {
            let still = failed.iter().any(|(missing, _)| missing == slug);
            if !still {
                board.set(Vec::new());
            }
            still
        });
        for (slug, _) in failed {
            let board = boards.entry(slug.clone()).or_insert_with(|| Board::new(Some(slug.clone())));
            board.set(vec![not_running(slug)]);
        }
    }

    /// The status of one account, or of all of them and the machine.
    pub(super) async fn status(
        &self,
        account: Option<AccountSlug>,
        lang: Lang,
        by: String,
        rows: tokio::sync::mpsc::Sender<Reply>,
    ) -> Result<Answer, Failure> {
        let daemon = self.board.is_some();
        let head = if daemon {
            lang.pick("デーモンの返事です。", "a daemon runs here and answers.")
        } else {
            lang.pick(
                "デーモンは動いていません。このコマンド自身が答えています。今は何も送信されません。",
                "no daemon runs here: this command answers by itself, and nothing is sent.",
            )
        };
        if account.is_some() {
            let mut answer = status_of(&self.account(account, lang)?, lang, &by, &rows).await?;
            answer.text = format!("{head}\n{}", answer.text);
            answer.json["daemon"] = daemon.into();
            return Ok(answer);
        }
        let machine = self.machine_concerns();
        let mut code = exit(&machine);
        let mut texts = vec![head.to_owned()];
        texts.extend(machine.iter().map(|concern| concern.marked(lang)));
        let mut accounts = Vec::new();
        for handle in self.engines().values() {
            let answer = status_of(handle, lang, &by, &rows).await?;
            texts.push(answer.text);
            accounts.push(answer.json);
            code = code.max(answer.exit);
        }
        for slug in self.missing() {
            code = 3;
            let concerns = [not_running(&slug)];
            texts.push(bare(&slug, &concerns, lang));
            accounts.push(bare_json(&slug, &concerns, lang));
        }
        let Standing { json: backup, .. } =
            self.backups.as_ref().map_or_else(Standing::default, |all| all.standing());
        let json = serde_json::json!({
            "config_version": self.active().version, "accounts": accounts, "backup": backup, "daemon": daemon,
            "disk": self.machine.as_ref().map(|machine| machine.json()),
            "concerns": machine.iter().map(|concern| concern.json(lang)).collect::<Vec<_>>(),
        });
        Ok(Answer { text: texts.join("\n"), json, exit: code })
    }
}

/// The engine's answer; what is known beside it where the engine waits for its database and cannot answer.
async fn status_of(
    handle: &Handle,
    lang: Lang,
    by: &str,
    rows: &tokio::sync::mpsc::Sender<Reply>,
) -> Result<Answer, Failure> {
    match &handle.board {
        Some(board) if board.has(&[Code::DatabaseAway, Code::NotRunning]) => {
            let concerns = board.now();
            let (text, json) =
                (bare(&handle.account, &concerns, lang), bare_json(&handle.account, &concerns, lang));
            Ok(Answer { text, json, exit: exit(&concerns) })
        }
        _ => ask_engine(handle, Command::Status, lang, by.to_owned(), rows.clone()).await,
    }
}

fn bare(account: &AccountSlug, concerns: &[Concern], lang: Lang) -> String {
    let lines = concerns.iter().map(|concern| format!("\n  {}", concern.marked(lang)));
    format!("{account}{}", lines.collect::<String>())
}

fn bare_json(account: &AccountSlug, concerns: &[Concern], lang: Lang) -> Value {
    let concerns: Vec<Value> = concerns.iter().map(|concern| concern.json(lang)).collect();
    Map::from_iter([
        ("account".to_owned(), account.to_string().into()),
        ("concerns".to_owned(), concerns.into()),
    ])
    .into()
}

fn not_running(account: &AccountSlug) -> Concern {
    Concern::new(Code::NotRunning, |lang| {
        lang.pick(
            format!("アカウント「{account}」が動いていません"),
            format!("account `{account}` does not run"),
        )
    })
}
