//! The watchdog: systemd is told "alive" only while each of the daemon's loops goes round.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::service::Notifier;

/// The loops that must go round.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    loops: Arc<Mutex<Loops>>,
}

#[derive(Debug, Default)]
struct Loops {
    next: u64,
    running: BTreeMap<u64, Loop>,
}

#[derive(Debug)]
struct Loop {
    name: String,
    bound: Duration,
    beats: Arc<AtomicU64>,
    seen: u64,
    /// When `seen` was first seen.
    since: Instant,
}

impl Progress {
    /// No loops yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A loop that beats at least every `bound`, idle or busy. It is watched until the pulse is dropped, unless
    /// that happens in a panic: then it counts as stalled.
    pub fn register(&self, name: impl Into<String>, bound: Duration) -> Pulse {
        let beats = Arc::<AtomicU64>::default();
        let mut loops = self.lock();
        let id = loops.next;
        loops.next += 1;
        let watched = Loop { name: name.into(), bound, beats: beats.clone(), seen: 0, since: Instant::now() };
        loops.running.insert(id, watched);
        Pulse { id, beats, progress: self.clone() }
    }

    /// Names of the loops that have not beaten within their bound.
    pub fn stalled(&self) -> Vec<String> {
        let now = Instant::now();
        let mut stalled = Vec::new();
        for watched in self.lock().running.values_mut() {
            let beats = watched.beats.load(Ordering::Relaxed);
            if beats != watched.seen {
                (watched.seen, watched.since) = (beats, now);
            } else if now.duration_since(watched.since) > watched.bound {
                stalled.push(watched.name.clone());
            }
        }
        stalled
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Loops> {
        // A panic elsewhere leaves the list whole: nothing is done to it in steps.
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a loop.
#[derive(Debug)]
pub struct Pulse {
    id: u64,
    beats: Arc<AtomicU64>,
    progress: Progress,
}

impl Pulse {
    /// The loop has gone round once more.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.progress.lock().running.remove(&self.id);
        }
    }
}

/// How often systemd wants to hear: half of `WatchdogSec=`; `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Tells the service manager every `every` ([`watchdog_interval`]) that the daemon is alive, unless a loop is
/// stalled.
pub async fn watch(progress: Progress, notifier: Notifier, every: Duration, stop: CancellationToken) {
    loop {
        let stalled = progress.stalled();
        if stalled.is_empty() {
            notifier.alive();
        }
        for name in stalled {
            tracing::error!(
                task = name,
                "a loop does not go round; the watchdog is not told that all is well"
            );
        }
        if stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none() {
            return;
        }
    }
}
