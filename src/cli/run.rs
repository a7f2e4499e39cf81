//! `haishin run`: the daemon.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
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
    // The scheduler only nudges; what it says of itself is nobody's business below a warning.
    let filter = format!("{},tokio_cron_scheduler=warn", settings.log.level.as_str());
    telemetry::install_logs(format, &filter)?;
    let metrics = telemetry::install_metrics()?;
    raise_limit_of_files();
    let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng(), lang)? else {
        let state = paths.state.display();
        bail!(lang.pick(
            format!("別の haishin が {state} を使っています。先に止めるか、別の --state を指定してください"),
            format!("another haishin uses {state}: stop it first, or name another --state"),
        ));
    };
    let (clock, kind): (Arc<dyn Clock>, _) = match options.clock {
        Some(at) => (Arc::new(SetClock::new(at, options.speed)), ClockKind::Set(at)),
        None => (Arc::new(SystemClock::new()), ClockKind::Machine),
    };
    let address = settings.http.listen;
    let listener = TcpListener::bind(address).await.with_context(|| {
        lang.pick(
            format!("{address} で待ち受けできません。haishin.toml の http.listen を変えてください"),
            format!("cannot listen on {address}; change http.listen in haishin.toml"),
        )
    })?;
    let shutdown = Shutdown::new();
    let notifier = Notifier::from_env()?;
    let (reloads, reloading) = mpsc::channel(1);
    let signals = lifecycle::signals()?;
    let drain = settings.drain.to_std();
    tokio::spawn(lifecycle::supervise(signals, shutdown.clone(), reloads, notifier.clone(), drain));
    let daemon = daemon::Daemon { paths, settings, clock, kind, listener, lang, metrics };
    daemon.run(lock, shutdown.clone(), notifier, reloading, |_| ()).await?;
    Ok(u8::from(shutdown.failed()))
}

/// As many open files as the machine lets this process have: a shell's limit of 1,024 is below the HTTP server's connections.
fn raise_limit_of_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, most) {
        // `doctor` says what is too few.
        tracing::debug!(%error, "the limit of open files stays");
    }
}
