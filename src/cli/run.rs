//! `haishin run`: the daemon.

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::mpsc;

use super::args::{Args, RunOptions};
use crate::app::{self, ClockKind, daemon};
use crate::clock::{Clock, SetClock, SystemClock};
use crate::config::node::LogFormat;
use crate::lang::Lang;
use crate::lifecycle::{self, Notifier, Shutdown};
use crate::telemetry;

/// Runs until a signal ends it.
pub(super) async fn run(args: &Args, options: &RunOptions, lang: Lang) -> anyhow::Result<u8> {
    let (paths, settings) = app::settings(&args.config, args.state.as_deref(), lang)?;
    let format = match settings.log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    // The scheduler's own coming and going is no news.
    let level = settings.log.level.as_str();
    telemetry::install_logs(format, &format!("{level},tokio_cron_scheduler=warn"))?;
    let metrics = telemetry::install_metrics()?;
    let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng())? else {
        let state = paths.state.display();
        bail!(lang.pick(
            format!("別の haishin が {state} を使っています。先に止めるか、別の --state を指定してください"),
            format!("another haishin uses {state}: stop it first, or name another --state"),
        ));
    };
    let (clock, kind): (Arc<dyn Clock>, _) = match options.clock {
        Some(at) => (Arc::new(SetClock::new(at, options.speed)), ClockKind::Set),
        None => (Arc::new(SystemClock::new()), ClockKind::Machine),
    };
    let shutdown = Shutdown::new();
    let notifier = Notifier::from_env()?;
    let (reloads, reloading) = mpsc::channel(1);
    let signals = lifecycle::signals()?;
    tokio::spawn(lifecycle::supervise(
        signals,
        shutdown.clone(),
        reloads,
        notifier.clone(),
        settings.drain.to_std(),
    ));
    let daemon = daemon::Daemon { paths, settings, clock, kind, lang, metrics };
    daemon.run(lock, shutdown.clone(), notifier, reloading, |_| ()).await?;
    Ok(u8::from(shutdown.failed()))
}
