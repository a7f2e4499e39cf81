//! `haishin doctor`: everything an installation rests on, looked at once. It changes nothing, takes no account over, and
//! works with a daemon and without.

mod database;
mod line;
mod local;
mod report;

use std::sync::Arc;

use serde_json::Value;

use super::{ClockKind, Paths, database_url};
use crate::clock::{Clock, SetClock, SystemClock};
use crate::concern::Concern;
use crate::config::node::Node as NodeSettings;
use crate::config::{self, Configuration, ExposeSecret as _, Source};
use crate::control::plan;
use crate::domain::time::Tz;
use crate::engine::concerns::account_facts;
use crate::lang::Lang;
use crate::store::{self, ConfigVersion, Store, StoreError};
pub use report::{Check, Mark, Report};

/// What a daemon told of itself, where one runs.
#[derive(Debug, Clone, Default)]
pub struct Daemon {
    /// Its process, where the system says.
    pub process: Option<i32>,
    /// `status --json`.
    pub status: Value,
    /// `plan --json` of the files as they are.
    pub plan: Value,
}

/// What is to be looked at beyond the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Every page of the database.
    pub deep: bool,
    /// LINE itself.
    pub online: bool,
}

/// An installation to look at.
pub struct Doctor<'a> {
    /// Where its files are.
    pub paths: &'a Paths,
    /// What `haishin.toml` says of this machine.
    pub settings: &'a NodeSettings,
    /// The daemon, where one runs.
    pub daemon: Option<Daemon>,
    /// What else is wanted.
    pub asked: Asked,
    /// The reader's language.
    pub lang: Lang,
    /// Told what takes a while.
    pub busy: &'a (dyn Fn(&str) + Sync),
}

impl Doctor<'_> {
    /// Looks at everything. What cannot be looked at is told as well.
    pub async fn look(&self) -> Report {
        let lang = self.lang;
        let mut report = Report::new(self.daemon.is_some(), lang);
        self.who_answers(&mut report);
        let configuration = self.configuration(&mut report);
        self.secrets(configuration.as_ref(), &mut report);
        self.state_directory(&mut report);
        self.disk(&mut report);
        let url = match database_url(self.settings, self.paths, lang) {
            Ok(url) => url,
            Err(error) => {
                report.add(
                    "database",
                    Mark::Fail,
                    super::causes(&error, lang),
                    Some(lang.pick(
                        "haishin.toml の [database] を直してください",
                        "put [database] in haishin.toml right",
                    )),
                );
                return report;
            }
        };
        let usable = self.database(url.expose_secret(), &mut report).await;
        match &self.daemon {
            Some(daemon) => self.ask_daemon(daemon, &mut report),
            None if usable => {
                let told = self.read_rows(url.expose_secret(), configuration.as_ref(), &mut report).await;
                if let Err(error) = told {
                    let failure = crate::protocol::Failure::unavailable(&error, lang);
                    report.add("accounts", Mark::Fail, failure.message, None);
                }
            }
            None => {}
        }
        self.limits(&mut report);
        self.backup(super::Database::of(&url), &mut report);
        if self.asked.online {
            self.line(configuration.as_ref(), &mut report).await;
        }
        report
    }

    fn who_answers(&self, report: &mut Report) {
        let (state, lang) = (self.paths.state.display(), self.lang);
        let what = match &self.daemon {
            Some(_) => lang.pick(
                format!("{state} でデーモンが動いています"),
                format!("one runs on {state} and answers"),
            ),
            None => lang.pick(
                format!("{state} では動いていません。ファイルとデータベースを読むだけで、何も変えません"),
                format!("none runs on {state}: files and database are only read, nothing is changed"),
            ),
        };
        report.add("daemon", if self.daemon.is_some() { Mark::Good } else { Mark::Note }, what, None);
    }

    /// Whether the files parse; what runs is compared where it is known.
    fn configuration(&self, report: &mut Report) -> Option<Configuration> {
        let lang = self.lang;
        let source = match Source::read_dir(&self.paths.config) {
            Ok(source) => source,
            Err(error) => {
                report.add("configuration", Mark::Fail, super::causes(&error.into(), lang), None);
                return None;
            }
        };
        let checked = config::parse(&source, SystemClock::new().now());
        let errors = checked
            .diagnostics
            .iter()
            .filter(|one| one.severity() == config::problem::Severity::Error)
            .count();
        if checked.configuration.is_none() {
            let what = lang.pick(format!("誤りが {errors}件あります"), format!("{errors} errors"));
            report.add("configuration", Mark::Fail, what, Some("haishin check"));
        } else {
            let (accounts, campaigns, drips) = checked
                .configuration
                .as_ref()
                .map_or((0, 0, 0), |all| (all.accounts.len(), all.campaigns.len(), all.drips.len()));
            let what = lang.pick(
                format!("アカウント {accounts}、キャンペーン {campaigns}、シナリオ {drips}"),
                format!("accounts {accounts}, campaigns {campaigns}, drips {drips}"),
            );
            report.add("configuration", Mark::Good, what, None);
        }
        if let Some(daemon) = &self.daemon {
            let changes = daemon.plan.get("changes").and_then(Value::as_array).map_or(0, Vec::len);
            self.compared(daemon.plan.get("running_version").and_then(Value::as_i64), changes, report);
        }
        checked.configuration
    }

    /// Whether the files are what runs.
    fn compared(&self, version: Option<i64>, changes: usize, report: &mut Report) {
        let lang = self.lang;
        let Some(version) = version else { return };
        if changes == 0 {
            let what = lang
                .pick(format!("ファイルと同じ版{version}"), format!("version {version}, as the files say"));
            report.add("running", Mark::Good, what, None);
            return;
        }
        let what = lang.pick(
            format!("版{version} はファイルと違います（{changes}件）"),
            format!("version {version} differs from the files ({changes})"),
        );
        report.add(
            "running",
            Mark::Warn,
            what,
            Some(
                lang.pick(
                    "haishin plan で見て haishin apply",
                    "look with `haishin plan`, then: haishin apply",
                ),
            ),
        );
    }

    /// What the daemon says of its accounts.
    fn ask_daemon(&self, daemon: &Daemon, report: &mut Report) {
        let machine = daemon.status.get("concerns").and_then(Value::as_array);
        report.tell_json("", machine);
        for account in daemon.status.get("accounts").and_then(Value::as_array).into_iter().flatten() {
            let slug = account.get("account").and_then(Value::as_str).unwrap_or_default();
            report.tell_json(slug, account.get("concerns").and_then(Value::as_array));
        }
        let behind = report.concerns_of(crate::concern::Code::ClockBehind);
        self.clock(!behind, report);
    }

    fn clock(&self, good: bool, report: &mut Report) {
        let lang = self.lang;
        if good {
            let what =
                lang.pick("これまでに見た時刻より遅れていません", "not behind what the database has seen");
            report.add("clock", Mark::Good, what.to_owned(), None);
        } else {
            let what = lang.pick("これまでに見た時刻より遅れています", "behind what the database has seen");
            report.add(
                "clock",
                Mark::Warn,
                what.to_owned(),
                Some(lang.pick("timedatectl で確かめてください", "look with `timedatectl`")),
            );
        }
    }

    /// What the rows say where no daemon runs: no lease is taken.
    async fn read_rows(
        &self,
        url: &str,
        configuration: Option<&Configuration>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let store = store::open(url).await?;
        let read = self.read_store(store.as_ref(), configuration, report).await;
        store.close().await;
        read
    }

    async fn read_store(
        &self,
        store: &dyn Store,
        configuration: Option<&Configuration>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let active = store.active_version().await?;
        if let Some(active) = &active {
            let changes = self.changes(active);
            self.compared(Some(active.id.0), changes, report);
        }
        let clock = self.clock_of(store).await?;
        let mut behind = false;
        for row in store.accounts().await? {
            let slug = row.slug.clone();
            let zone =
                configuration.and_then(|all| all.accounts.get(&slug)).map_or(Tz::UTC, |one| one.policy.zone);
            let facts = account_facts(store, row, configuration, clock.now()).await?;
            let concerns: Vec<Concern> = facts.concerns(zone);
            behind |= concerns.iter().any(|one| one.code == crate::concern::Code::ClockBehind);
            report.tell(slug.as_str(), &concerns);
        }
        self.clock(!behind, report);
        Ok(())
    }

    /// How many files differ from a version.
    fn changes(&self, active: &ConfigVersion) -> usize {
        let Ok(files) = Source::read_texts(&self.paths.config) else { return 0 };
        let planned = plan::check(files, active.activated_at);
        let described = plan::describe(Some(active), &planned, self.lang);
        described.json.get("changes").and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The machine's clock; on the state of a rehearsal the latest instant stored there.
    async fn clock_of(&self, store: &dyn Store) -> Result<Arc<dyn Clock>, StoreError> {
        let Some(began) = self.paths.began() else { return Ok(Arc::new(SystemClock::new())) };
        let clock = SetClock::new(began, 1);
        for account in store.accounts().await? {
            if let Some(lease) = store.lease(account.id).await? {
                clock.skip_to(lease.seen_at);
            }
        }
        Ok(Arc::new(clock))
    }

    /// Whether everything is said to a rehearsal's LINE.
    fn kind(&self) -> ClockKind {
        self.paths.began().map_or(ClockKind::Machine, ClockKind::Set)
    }
}
