//! The node: accounts and their engines, the running configuration, and who answers which command.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::backups::Backups;
use super::machine::Machine;
use super::plan;
use super::take_in::{self, Room};
use super::webhooks::Doors;
use crate::clock::Clock;
use crate::concern::Board;
use crate::config::{Configuration, SecretString};
use crate::domain::access::Secret;
use crate::domain::effect::Intake;
use crate::domain::friend::FriendRef;
use crate::domain::id::{AccountSlug, VersionId};
use crate::domain::time::Span;
use crate::engine::{Active, Ask, Event, Handle, LookUp};
use crate::lang::Lang;
use crate::line::Api;
use crate::protocol::{Answer, Command, Failure, MAX_UPLOAD, Missed, Reply, Request, Terms, Upload};
use crate::store::{NewInbox, Store, StoreError};
use crate::text::{no_such, one_line};

/// Starts engines for accounts that a new configuration brings.
#[async_trait]
pub trait Starter: Send + Sync {
    /// Whether this process may run such a configuration at all.
    ///
    /// # Errors
    /// It may not; the text says why and what to do.
    fn admit(&self, configuration: &Configuration, lang: Lang) -> anyhow::Result<()>;
    /// Claims and starts one account.
    async fn start(&self, account: &AccountSlug, active: &Active) -> anyhow::Result<Handle>;
    /// LINE as an account reaches it under this configuration.
    ///
    /// # Errors
    /// A secret cannot be read, or the account is not configured.
    fn line(&self, account: &AccountSlug, active: &Active) -> anyhow::Result<Arc<dyn Api>>;
    /// The secrets an account's webhooks may be signed with, the newest first.
    ///
    /// # Errors
    /// A secret cannot be read, or the account is not configured.
    fn webhook_secrets(&self, account: &AccountSlug, active: &Active) -> anyhow::Result<Vec<SecretString>>;
    /// A secret from the machine's random source.
    ///
    /// # Errors
    /// It gives none.
    fn draw_secret(&self) -> anyhow::Result<Secret>;
    /// Takes the shop's systems over from this configuration. What could not be read is told; such a system keeps the
    /// secret it had.
    fn know_systems(&self, active: &Active) -> Vec<anyhow::Error>;
    /// A failure of these, with its causes, in the reader's language.
    fn told(&self, error: &anyhow::Error, lang: Lang) -> String;
}

/// One process's accounts and configuration.
pub struct Node {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) starter: Box<dyn Starter>,
    /// How webhooks come in.
    pub(super) doors: Mutex<Doors>,
    pub(super) room: Room,
    /// Who copies the database, where haishin does.
    pub(super) backups: Option<Arc<dyn Backups>>,
    /// Who looks at the disk.
    pub(super) machine: Option<Arc<dyn Machine>>,
    /// What is so of the machine, where this is a daemon's.
    pub(super) board: Option<Arc<Board>>,
    /// Accounts that do not run.
    pub(super) missing: Mutex<BTreeMap<AccountSlug, Board>>,
    engines: Mutex<BTreeMap<AccountSlug, Handle>>,
    active: Mutex<Active>,
    /// One activation at a time.
    activating: tokio::sync::Mutex<()>,
}

impl Node {
    /// A node whose accounts are started by [`Node::start_accounts`].
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        starter: Box<dyn Starter>,
        active: Active,
    ) -> Self {
        Self {
            store,
            clock,
            starter,
            doors: Mutex::default(),
            room: Room::default(),
            backups: None,
            machine: None,
            board: None,
            missing: Mutex::default(),
            engines: Mutex::new(BTreeMap::new()),
            active: Mutex::new(active),
            activating: tokio::sync::Mutex::new(()),
        }
    }

    /// The same, with somebody who copies its database.
    #[must_use]
    pub fn with_backups(mut self, backups: Arc<dyn Backups>) -> Self {
        self.backups = Some(backups);
        self
    }

    /// The same, with somebody who looks at its disk.
    #[must_use]
    pub fn with_machine(mut self, machine: Arc<dyn Machine>) -> Self {
        self.machine = Some(machine);
        self
    }

    /// The same as a daemon's, which tells log and metrics what is so.
    #[must_use]
    pub fn as_daemon(mut self) -> Self {
        self.board = Some(Arc::new(Board::new(None)));
        self
    }

    /// The running configuration.
    pub fn active(&self) -> Active {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The engines that run.
    pub fn engines(&self) -> BTreeMap<AccountSlug, Handle> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn reach_database(&self) -> Result<(), StoreError> {
        self.store.active_version().await.map(|_| ())
    }

    /// Wakes every engine: the scheduler's nudge.
    pub fn nudge(&self) {
        self.engines().values().for_each(Handle::nudge);
    }

    /// Wakes the engine of one account, if it runs here.
    pub(super) fn nudge_one(&self, account: &AccountSlug) {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.get(account).inspect(|handle| handle.nudge());
    }

    /// Starts every configured account that does not run yet. One that cannot be claimed is told and tried again by
    /// the next call; the others run.
    pub async fn start_accounts(&self) -> Vec<(AccountSlug, anyhow::Error)> {
        let active = self.active();
        let mut failures = Vec::new();
        for account in active.configuration.accounts.keys() {
            if self.engines().contains_key(account) {
                continue;
            }
            match self.starter.start(account, &active).await {
                Ok(handle) => {
                    self.engines
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(account.clone(), handle);
                }
                Err(error) => failures.push((account.clone(), error)),
            }
        }
        self.watch_missing(&failures);
        failures
    }

    /// Answers one request; the last reply is `done` or `error`.
    pub async fn answer(
        &self,
        request: Request,
        uploads: mpsc::Receiver<Upload>,
        replies: mpsc::Sender<Reply>,
    ) {
        let lang = request.lang;
        let by = one_line(&request.by, 64);
        let answered = match request.command {
            Command::Plan { files } => self.plan(files, lang).await,
            Command::Apply { files, expected } => self.apply(files, expected, &by, lang).await,
            Command::Import => self.import(request.account, lang, uploads, &replies).await,
            Command::TokenCreate { scopes, title, all_accounts } => {
                let account = match all_accounts {
                    true => Ok(None),
                    false => self.account(request.account, lang).map(|handle| Some(handle.account)),
                };
                match account {
                    Ok(account) => self.create_token(account, scopes, &title, &by, lang).await,
                    Err(failure) => Err(failure),
                }
            }
            Command::Backup { to } => self.backup(to, &by, lang, &replies).await,
            Command::TokenList => self.list_tokens(lang).await,
            Command::TokenRevoke { token } => self.revoke_token(token, &by, lang).await,
            Command::Stop { reason } => {
                let command = Command::Stop { reason: one_line(&reason, 500) };
                self.ask(request.account, command, lang, by, replies.clone()).await
            }
            command => self.ask(request.account, command, lang, by, replies.clone()).await,
        };
        let last = match answered {
            Ok(answer) => Reply::Done(answer),
            Err(failure) => Reply::Error(failure),
        };
        // A client that hung up needs no answer.
        let _ = replies.send(last).await;
    }

    pub(super) fn account(&self, account: Option<AccountSlug>, lang: Lang) -> Result<Handle, Failure> {
        let engines = self.engines();
        let names = || engines.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match account {
            Some(account) => engines.get(&account).cloned().ok_or_else(|| {
                let known = engines.keys().map(AccountSlug::as_str);
                let message = no_such(lang, "アカウント", "account", account.as_str(), known);
                let running = lang.pick("動いているもの", "running");
                Failure { code: "not_found".into(), message: format!("{message} ({running}: {})", names()) }
            }),
            None if engines.len() == 1 => engines.into_values().next().ok_or_else(|| none_runs(lang)),
            None if engines.is_empty() => Err(none_runs(lang)),
            None => Err(Failure {
                code: "ambiguous_account".into(),
                message: match lang {
                    Lang::Ja => format!("--account でアカウントを選んでください: {}", names()),
                    Lang::En => format!("choose an account with --account: {}", names()),
                },
            }),
        }
    }

    async fn ask(
        &self,
        account: Option<AccountSlug>,
        command: Command,
        lang: Lang,
        by: String,
        rows: mpsc::Sender<Reply>,
    ) -> Result<Answer, Failure> {
        if let Command::Status = &command {
            return self.status(account, lang, by, rows).await;
        }
        let handle = self.account(account, lang)?;
        ask_engine(&handle, command, lang, by, rows).await
    }

    async fn plan(&self, files: BTreeMap<String, String>, lang: Lang) -> Result<Answer, Failure> {
        let active = self.store.active_version().await.map_err(|error| Failure::unavailable(&error, lang))?;
        let checked = plan::check(files, self.clock.now());
        Ok(plan::describe(active.as_ref(), &checked, lang))
    }

    async fn apply(
        &self,
        files: BTreeMap<String, String>,
        expected: Option<VersionId>,
        by: &str,
        lang: Lang,
    ) -> Result<Answer, Failure> {
        let _one = self.activating.lock().await;
        let checked = plan::check(files, self.clock.now());
        if let Some(configuration) = &checked.checked.configuration {
            let refused =
                |error| Failure { code: "invalid".into(), message: self.starter.told(&error, lang) };
            self.starter.admit(configuration, lang).map_err(refused)?;
        }
        let active =
            plan::activate(self.store.as_ref(), checked, expected, by, self.clock.now(), lang).await?;
        let text = match lang {
            Lang::Ja => format!("版{} を有効にしました。", active.version),
            Lang::En => format!("version {} is active.", active.version),
        };
        let json = serde_json::json!({ "config_version": active.version });
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = active.clone();
        let mut lines = vec![text];
        for error in self.starter.know_systems(&active) {
            tracing::error!(error = format!("{error:#}"), "a system of the shop's keeps the secret it had");
            lines.push(self.starter.told(&error, lang));
        }
        for (account, handle) in self.engines() {
            // Its secrets may have changed as well; where one cannot be read, what was read before goes on.
            let line = match active.configuration.accounts.contains_key(&account) {
                true => self.starter.line(&account, &active).map(Some),
                false => Ok(None),
            };
            let line = line.unwrap_or_else(|error| {
                tracing::error!(%account, error = format!("{error:#}"), "the account keeps its connection to LINE");
                lines.push(self.starter.told(&error, lang));
                None
            });
            handle.send(Event::Activated { active: active.clone(), line }).await;
        }
        for (_, error) in self.start_accounts().await {
            lines.push(self.starter.told(&error, lang));
        }
        self.change_doors().await;
        tracing::info!(version = %active.version, by, "configuration activated");
        Ok(Answer { text: lines.join("\n"), json, exit: 0 })
    }

    async fn import(
        &self,
        account: Option<AccountSlug>,
        lang: Lang,
        mut uploads: mpsc::Receiver<Upload>,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<Answer, Failure> {
        let handle = self.account(account, lang)?;
        let rows = self.store.accounts().await.map_err(|error| Failure::unavailable(&error, lang))?;
        let Some(row) = rows.into_iter().find(|row| row.slug == handle.account) else {
            return Err(none_runs(lang));
        };
        let strays = || async {
            self.store.stray_count(row.id).await.map_err(|error| Failure::unavailable(&error, lang))
        };
        let strays_before = strays().await?;
        let _ = replies.send(Reply::Terms(self.terms(&handle.account, lang)?)).await;
        let mut taken: usize = 0;
        while let Some(upload) = uploads.recv().await {
            let intakes = match upload {
                Upload::Intakes(intakes) => intakes,
                Upload::End => {
                    self.applied(row.id, &handle, lang).await?;
                    let strays = strays().await?.saturating_sub(strays_before);
                    let json = serde_json::json!({ "taken": taken, "strays": strays });
                    return Ok(Answer { text: String::new(), json, exit: 0 });
                }
                Upload::Unreadable(message) => return Err(Failure { code: "invalid".into(), message }),
            };
            if intakes.len() > MAX_UPLOAD {
                return Err(Failure {
                    code: "invalid".into(),
                    message: format!("more than {MAX_UPLOAD} intakes in a line"),
                });
            }
            if intakes.iter().any(|intake| !intake.effect.may_be_imported()) {
                return Err(Failure {
                    code: "invalid".into(),
                    message: "an import says what friends are and did; joining, quarantine and erasure are the owner's"
                        .into(),
                });
            }
            let (intakes, missed) = look_up(&handle, intakes, lang).await?;
            taken += intakes.len();
            if !intakes.is_empty() {
                let rows = take_in::rows(row.id, self.clock.now(), NewInbox::IMPORT, &intakes);
                let appended = self.store.append_inbox(rows).await;
                appended.map_err(|error| Failure::unavailable(&error, lang))?;
                handle.nudge();
            }
            let _ = replies.send(Reply::Taken(missed)).await;
        }
        Err(Failure {
            code: "invalid".into(),
            message: lang
                .pick(
                    "取り込みが途中で終わりました。受け付けた行は保存済みです。同じ取り込みをもう一度実行してください（二重にはなりません）。",
                    "the import ended without its last line; what was taken is durable: run it again, nothing is added twice",
                )
                .into(),
        })
    }

    /// What is taken in for this account goes by.
    pub(super) fn terms(&self, account: &AccountSlug, lang: Lang) -> Result<Terms, Failure> {
        let active = self.active();
        let configured = active.configuration.accounts.get(account).ok_or_else(|| none_runs(lang))?;
        Ok(Terms {
            zone: configured.policy.zone,
            attributes: active.configuration.attributes.clone(),
            rehearsal: configured.is_loopback(),
            now: self.clock.now(),
        })
    }

    /// Returns when the account has applied everything that waits in its inbox.
    async fn applied(
        &self,
        account: crate::domain::id::AccountId,
        handle: &Handle,
        lang: Lang,
    ) -> Result<(), Failure> {
        while self.store.inbox_len(account).await.map_err(|error| Failure::unavailable(&error, lang))? > 0 {
            if !handle.send(Event::Nudge).await {
                return Err(Failure {
                    code: "unavailable".into(),
                    message: lang
                        .pick(
                            "終了中です。取り込んだ行は保存済みで、次に起動したときに反映されます。",
                            "haishin ends: the rows are durable and will be applied when it runs again",
                        )
                        .into(),
                });
            }
            self.clock.sleep(Span::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Leaves out the intakes that name no one friend, and says which they were. Asks nobody where all name users: those
/// the account has not met yet become its friends.
async fn look_up(
    handle: &Handle,
    intakes: Vec<Intake>,
    lang: Lang,
) -> Result<(Vec<Intake>, Vec<Missed>), Failure> {
    if !intakes.iter().any(|intake| matches!(intake.friend, FriendRef::External(_))) {
        return Ok((intakes, Vec::new()));
    }
    let (answer, answered) = oneshot::channel();
    if !handle.send(Event::LookUp(LookUp { intakes, answer })).await {
        return Err(gone(lang));
    }
    let (intakes, missed) = answered.await.map_err(|_| gone(lang))?;
    let mut misses = missed.iter().map(|missed| missed.intake).peekable();
    let found = intakes.into_iter().enumerate().filter(|(n, _)| misses.next_if_eq(n).is_none());
    Ok((found.map(|(_, intake)| intake).collect(), missed))
}

/// The engine did not answer.
fn gone(lang: Lang) -> Failure {
    Failure {
        code: "unavailable".into(),
        message: lang
            .pick(
                "データベースが応答しませんでした。少し待ってもう一度実行してください（haishin status で確認）。",
                "the database did not answer; nothing is known to have changed. Look with `haishin status`, then try again",
            )
            .into(),
    }
}

pub(super) async fn ask_engine(
    handle: &Handle,
    command: Command,
    lang: Lang,
    by: String,
    rows: mpsc::Sender<Reply>,
) -> Result<Answer, Failure> {
    let (answer, answered) = oneshot::channel();
    if !handle.send(Event::Ask(Ask { command, lang, by, rows, answer })).await {
        return Err(gone(lang));
    }
    answered.await.map_err(|_| gone(lang))?
}

pub(super) fn none_runs(lang: Lang) -> Failure {
    let message = lang.pick(
        "動いているアカウントがありません。haishin check とログを確かめてください。",
        "no account runs here; see `haishin check` and the log",
    );
    Failure { code: "not_found".into(), message: message.into() }
}
