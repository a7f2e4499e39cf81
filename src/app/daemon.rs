//! The daemon: engines, socket, HTTP, wake-ups and watchdog, from start to drained end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backup::Backups;
use super::{ClockKind, Paths, Running, StateLock};
use crate::clock::Clock;
use crate::config::{Source, node::Node as NodeSettings};
use crate::control::node::Node;
use crate::control::{WebhookError, server};
use crate::domain::time::Span;
use crate::engine::Mode;
use crate::http;
use crate::lang::Lang;
use crate::lifecycle::{Notifier, Progress, Reload, Shutdown, watch, watchdog_interval};
use crate::line::webhook::{Events, Unreadable};
use crate::protocol::{Command, Reply, Request};
use crate::telemetry::{self, metric};

/// An account that could not be claimed is tried again this often.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How often it is looked at the disk, and whether there is a backup that is young enough.
const LOOK_AT_MACHINE: Span = Span::from_mins(1);

/// A daemon about to run.
pub struct Daemon {
    /// Where its files are.
    pub paths: Paths,
    /// What this machine's `haishin.toml` says of it.
    pub settings: NodeSettings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether that is the machine's time.
    pub kind: ClockKind,
    /// Where health and metrics are asked for.
    pub listener: TcpListener,
    /// The language of texts nobody asked for.
    pub lang: Lang,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
}

impl Daemon {
    /// Runs until `shutdown`; `ready` is told the node once everything answers.
    pub async fn run(
        self,
        lock: StateLock,
        shutdown: Shutdown,
        notifier: Notifier,
        reloads: mpsc::Receiver<Reload>,
        ready: impl FnOnce(Arc<Node>),
    ) -> anyhow::Result<()> {
        let progress = Progress::new();
        let mode = Mode::Daemon;
        let running = super::start(
            &self.paths,
            &self.settings,
            (self.clock.clone(), self.kind),
            mode,
            lock,
            progress.clone(),
            self.lang,
        )
        .await?;
        if let ClockKind::Set(began) = self.kind {
            let path = self.paths.set_clock();
            std::fs::write(&path, format!("{began}\n")).with_context(|| {
                self.lang.pick(
                    format!("{} に書き込めません", path.display()),
                    format!("cannot write {}", path.display()),
                )
            })?;
        }
        let tasks = TaskTracker::new();
        let soft = shutdown.soft().clone();
        let socket = server::bind(&self.paths.socket()).with_context(|| {
            let socket = self.paths.socket();
            self.lang.pick(
                format!("ソケット {} を開けません", socket.display()),
                format!("cannot listen on {}", socket.display()),
            )
        })?;
        tasks.spawn(server::serve(socket, running.node.clone(), soft.clone()));
        if let Ok(address) = self.listener.local_addr() {
            tracing::info!(%address, "listening");
        }
        running.node.open_doors().await;
        let router = http::router(Arc::new(NodeReady { node: running.node.clone() }), self.metrics.clone())
            .merge(webhooks(running.node.clone()))
            .merge(http::api::router(running.node.clone()));
        let connections = usize::try_from(self.settings.http.connections_max).unwrap_or(1);
        let limits = http::Limits { connections, ..http::Limits::default() };
        let address = self.listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        tasks.spawn(http::serve(self.listener, router, limits, shutdown.clone()));
        let mut scheduler = wake_ups(running.node.clone()).await;
        tasks.spawn(telemetry::upkeep(self.metrics.clone(), soft.clone()));
        let machine = (running.node.clone(), running.backups.clone());
        tasks.spawn(watch_machine(machine, self.clock.clone(), soft.clone()));
        tasks.spawn(keep_accounts(running.node.clone(), soft.clone()));
        tasks.spawn(reload(self.paths.clone(), running.node.clone(), self.lang, reloads, soft.clone()));
        if let Some(every) = watchdog_interval() {
            tokio::spawn(watch(progress, notifier.clone(), every, shutdown.hard().clone()));
        }
        tell_difference(&self.paths, &running).await;
        super::memory::give_back();
        notifier.ready();
        tracing::info!(version = %running.node.active().version, %address, "ready");
        ready(running.node.clone());
        soft.cancelled().await;
        if let Some(scheduler) = scheduler.as_mut() {
            let _ = scheduler.shutdown().await;
        }
        drain(running, tasks, &shutdown).await;
        Ok(())
    }
}

async fn drain(running: Running, tasks: TaskTracker, shutdown: &Shutdown) {
    tasks.close();
    let drained = async {
        running.shut_down().await;
        tasks.wait().await;
    };
    if shutdown.hard().run_until_cancelled(drained).await.is_none() {
        tracing::warn!("ended before everything in flight was answered: it is retried under its own keys");
    }
}

/// The version in the database runs, whatever the files say: where they differ, the log says so.
async fn tell_difference(paths: &Paths, running: &Running) {
    let version = running.node.active().version;
    let stored = running.store.version(version).await.ok().flatten();
    let files = Source::read_texts(&paths.config).ok();
    if let (Some(stored), Some(files)) = (stored, files)
        && stored.files != files
    {
        let path = paths.config.display();
        tracing::warn!(%version, %path, "the files differ from the version that runs: see `haishin plan`");
    }
}

/// tokio-cron-scheduler wakes the planner each second; what is due is in the database. A scheduler that cannot
/// start costs seconds only: engines look by themselves as well.
async fn wake_ups(node: Arc<Node>) -> Option<JobScheduler> {
    let started = async {
        let scheduler = JobScheduler::new().await?;
        scheduler.add(Job::new("* * * * * *", move |_, _| node.nudge())?).await?;
        scheduler.start().await?;
        Ok::<_, tokio_cron_scheduler::JobSchedulerError>(scheduler)
    };
    started
        .await
        .inspect_err(|error| tracing::warn!(%error, "no wake-ups; the engines' own interval goes on"))
        .ok()
}

/// Looks at the disk and at the age of the last backup: at once, and every minute.
async fn watch_machine(
    (node, backups): (Arc<Node>, Arc<Backups>),
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    backups.gauge();
    loop {
        node.watch();
        if stop.run_until_cancelled(clock.sleep(LOOK_AT_MACHINE)).await.is_none() {
            return;
        }
    }
}

/// Claims accounts that another node still held.
async fn keep_accounts(node: Arc<Node>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(TRY_AGAIN)).await.is_some() {
        for (account, error) in node.start_accounts().await {
            tracing::warn!(%account, error = format!("{error:#}"), "the account does not run yet");
        }
        node.open_missing_doors().await;
    }
}

/// SIGHUP: the files go live if they pass the check; a bad one changes nothing.
async fn reload(
    paths: Paths,
    node: Arc<Node>,
    lang: Lang,
    mut reloads: mpsc::Receiver<Reload>,
    stop: CancellationToken,
) {
    // The sender may live as long as the drain: waiting for its end would make every drain last its longest.
    while let Some(Some(reload)) = stop.run_until_cancelled(reloads.recv()).await {
        let applied = async {
            let files =
                Source::read_texts(&paths.config).map_err(|error| super::causes(&error.into(), lang))?;
            let command = Command::Apply { files, expected: Some(node.active().version) };
            let request = Request { lang, by: "SIGHUP".into(), account: None, command };
            let (replying, mut replies) = mpsc::channel(4);
            let (_uploads, incoming) = mpsc::channel(1);
            node.answer(request, incoming, replying).await;
            match replies.recv().await {
                Some(Reply::Error(failure)) => Err(failure.message),
                _ => Ok(()),
            }
        };
        if let Err(reason) = applied.await {
            tracing::error!(reason, "the files were not activated; the running version goes on");
        }
        drop(reload);
    }
}

/// Where a node takes webhooks.
pub fn webhooks(node: Arc<Node>) -> axum::Router {
    http::webhooks(Arc::new(NodeWebhooks { node }))
}

/// Webhooks as the node takes them.
struct NodeWebhooks {
    node: Arc<Node>,
}

#[async_trait]
impl http::Webhooks for NodeWebhooks {
    async fn take(&self, account: &str, signature: &[u8], body: Bytes) -> http::Taken {
        let error = match self.node.take_webhook(account, signature, &body).await {
            Ok(Events { taken, ignored, too_old }) => {
                for (result, events) in [("taken", taken), ("ignored", ignored), ("too_old", too_old)] {
                    metrics::counter!(metric::WEBHOOK_EVENTS, "account" => account.to_owned(), "result" => result)
                        .increment(events);
                }
                return http::Taken::Accepted;
            }
            Err(error) => error,
        };
        // Anybody can send these, as often as they like: the metrics count them.
        let told = !matches!(error, WebhookError::Stranger | WebhookError::Forged);
        if told {
            tracing::warn!(account, error = &error as &dyn std::error::Error, "a webhook was not taken");
        } else {
            tracing::debug!(account, error = &error as &dyn std::error::Error, "a webhook was not taken");
        }
        match error {
            WebhookError::Stranger => http::Taken::Stranger,
            WebhookError::Forged => http::Taken::Forged,
            WebhookError::Unreadable(Unreadable::NoCallback(_)) => http::Taken::Malformed,
            WebhookError::Unreadable(Unreadable::TooMany(_)) => http::Taken::TooLarge,
            WebhookError::TakeIn(_) => http::Taken::Unavailable,
        }
    }
}

/// Ready when the database answers and every configured account has its engine.
struct NodeReady {
    node: Arc<Node>,
}

#[async_trait]
impl http::Readiness for NodeReady {
    async fn checks(&self) -> Vec<http::Check> {
        let engines = self.node.engines();
        let accounts = self.node.active().configuration.accounts.keys().cloned().collect::<Vec<_>>();
        let check = |account: crate::domain::id::AccountSlug| http::Check {
            name: format!("account {account}"),
            ok: engines.contains_key(&account),
            detail: String::new(),
        };
        // The log has the causes; what anybody may ask for names no address.
        let reached = self.node.reach_database().await;
        let detail = if reached.is_ok() { "" } else { "it does not answer; see the log" };
        let database = http::Check { name: "database".into(), ok: reached.is_ok(), detail: detail.into() };
        std::iter::once(database).chain(accounts.into_iter().map(check)).collect()
    }
}
