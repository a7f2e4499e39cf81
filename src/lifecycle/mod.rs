//! How the daemon starts, reloads, drains and ends: signals, two tokens, systemd, the watchdog.
//!
//! Everything the daemon runs takes [`Shutdown`]. Its soft token means: take on nothing new, finish what you
//! hold; its hard token: return now. The soft one is a child of the hard one, so nobody can miss a hard stop by
//! watching the soft token alone.

mod service;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use service::{Notifier, Reload};
pub use watchdog::{Progress, Pulse, watch, watchdog_interval};

/// What a person or the service manager asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop.
    Terminate,
    /// SIGINT: stop; Ctrl-C on a terminal.
    Interrupt,
    /// SIGHUP: read the configuration again.
    Hangup,
}

impl Signal {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// Two tokens and whether something failed.
#[derive(Debug, Clone)]
pub struct Shutdown {
    hard: CancellationToken,
    soft: CancellationToken,
    failed: Arc<AtomicBool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        let hard = CancellationToken::new();
        Self { soft: hard.child_token(), hard, failed: Arc::default() }
    }
}

impl Shutdown {
    /// Nothing is asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled: take on nothing new, finish what is in hand.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled: return now.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Asks everybody to finish.
    pub fn drain(&self) {
        self.soft.cancel();
    }

    /// Asks everybody to return now.
    pub fn stop(&self) {
        self.hard.cancel();
    }

    /// A part of the daemon ended that should not have: the rest drains, and the process ends with an error.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::SeqCst);
        self.drain();
    }

    /// Whether a part failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }
}

/// The process's signals, in their order.
///
/// # Errors
/// The handlers cannot be set.
pub fn signals() -> std::io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(8);
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::hangup(), Signal::Hangup),
    ] {
        let mut signals = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if sender.send(meaning).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Turns signals into tokens and reloads until the hard stop: the first SIGTERM or SIGINT drains; the second, or
/// `drain_at_most` after the drain began (whatever began it), stops. Each SIGHUP becomes a [`Reload`]; while the
/// receiver has one to do, further ones say nothing new and are dropped.
pub async fn supervise(
    mut signals: mpsc::Receiver<Signal>,
    shutdown: Shutdown,
    reloads: mpsc::Sender<Reload>,
    notifier: Notifier,
    drain_at_most: Duration,
) {
    loop {
        let signal = tokio::select! {
            signal = signals.recv() => signal,
            () = shutdown.soft().cancelled() => break,
        };
        match signal {
            Some(Signal::Hangup) => {
                tracing::info!(signal = Signal::Hangup.as_str(), "reloading");
                if let Ok(place) = reloads.try_reserve() {
                    place.send(Reload::begin(&notifier));
                }
            }
            Some(signal) => {
                tracing::info!(signal = signal.as_str(), "finishing what is in flight");
                shutdown.drain();
            }
            // Nobody can send signals any more; the tokens still work.
            None => shutdown.soft().cancelled().await,
        }
    }
    // Whoever takes reloads up ends with the drain, not with this task.
    drop(reloads);
    notifier.stopping();
    let again = async {
        loop {
            match signals.recv().await {
                Some(Signal::Hangup) => {}
                Some(_) => return,
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        () = shutdown.hard().cancelled() => {}
        () = again => tracing::warn!("a second signal: stopping now"),
        () = tokio::time::sleep(drain_at_most) => {
            tracing::warn!(duration_ms = drain_at_most.as_millis(), "not finished in time: stopping now");
        }
    }
    shutdown.stop();
}
