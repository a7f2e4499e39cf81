//! `haishin run`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::args::{Args, RunOptions};
use crate::app::{self, daemon};
use crate::clock::{Clock, SetClock, SystemClock};
use crate::config::node::LogFormat;
use crate::lang::Lang;
use crate::lifecycle::{self, Notifier, Shutdown};
use crate::telemetry;

/// How long a drain may take: a request's 10 s and a commit.
const DRAIN: Duration = Duration::from_secs(15);

/// Runs until a signal ends it.
pub(super) async fn run(args: &Args, options: &RunOptions, lang: Lang) -> anyhow::Result<u8> {
    let (paths, settings) = app::settings(&args.config, args.state.as_deref(), lang)?;
    let format = match settings.log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    // The scheduler only nudges; what it says of itself is nobody's business below a warning.
    let filter = format!("{},tokio_cron_scheduler=warn", settings.log.level.as_str());
    telemetry::install_logs(format, &filter)?;
    let metrics = telemetry::install_metrics()?;
    let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng())? else {
        bail!("another haishin runs on {}: stop it first", paths.state.display());
    };
    let clock: Arc<dyn Clock> = match options.clock {
        Some(at) => Arc::new(SetClock::new(at, options.speed)),
        None => Arc::new(SystemClock::new()),
    };
    let address = settings.http.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; change http.listen in haishin.toml"))?;
    let shutdown = Shutdown::new();
    let notifier = Notifier::from_env()?;
    let (reloads, reloading) = mpsc::channel(1);
    let signals = lifecycle::signals()?;
    tokio::spawn(lifecycle::supervise(signals, shutdown.clone(), reloads, notifier.clone(), DRAIN));
    let set_clock = options.clock;
    let daemon = daemon::Daemon { paths, settings, clock, set_clock, listener, lang, metrics };
    daemon.run(lock, shutdown.clone(), notifier, reloading, |_| ()).await?;
    Ok(u8::from(shutdown.failed()))
}
