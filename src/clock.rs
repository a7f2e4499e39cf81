//! The clock as a parameter: the system's, a set one that runs at its own speed, and a manual one for tests.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::time::{Instant, Span};

/// A wall clock behind what was already seen by more than this is not believed.
pub const CLOCK_BEHIND: Span = Span::from_mins(1);

/// Time since boot, suspend included, counted only under the same boot id (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootTime {
    /// Names one boot of one machine.
    pub boot_id: String,
    /// Milliseconds since that boot.
    pub since_boot: Span,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub now: Instant,
    /// The clock a wall-clock jump cannot move.
    pub boot: BootTime,
}

impl Reading {
    /// How long ago `at` was, at the least one may assume: the larger of both clocks' differences, the boot clock
    /// counted only under the same boot id.
    pub fn age(&self, at: Instant, boot_id: &str, since_boot: Span) -> Span {
        let wall = self.now - at;
        if boot_id != self.boot.boot_id {
            return wall;
        }
        let boot = self.boot.since_boot.as_millis().saturating_sub(since_boot.as_millis());
        wall.max(Span::from_millis(boot))
    }
}

/// Where the time comes from.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Instant;
    /// The clock a wall-clock jump cannot move.
    fn boot(&self) -> BootTime;
    /// Returns when `span` of this clock's time has passed.
    async fn sleep(&self, span: Span);
    /// Both clocks now.
    fn read(&self) -> Reading {
        Reading { now: self.now(), boot: self.boot() }
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: String,
}

impl SystemClock {
    /// Reads the boot id once; a machine without one gets its own per process, which only shortens trust.
    pub fn new() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_else(|_| format!("process-{}", std::process::id()));
        Self { boot_id }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Instant {
        Instant::from(chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()))
    }

    fn boot(&self) -> BootTime {
        BootTime { boot_id: self.boot_id.clone(), since_boot: since_boot() }
    }

    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }
}

fn since_boot() -> Span {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Span::from_millis(at.tv_sec.saturating_mul(1_000).saturating_add(at.tv_nsec / 1_000_000))
}

/// A clock set to an instant that goes on from there at its own speed: `run --clock T --speed n`, the demo.
#[derive(Debug)]
pub struct SetClock {
    boot_id: String,
    start: Instant,
    started: Span,
    speed: u32,
    /// Milliseconds passed over.
    skipped: AtomicI64,
}

impl SetClock {
    /// A clock that shows `start` now and runs `speed` times as fast as the machine's.
    pub fn new(start: Instant, speed: u32) -> Self {
        let boot_id = format!("set-{start}");
        Self { boot_id, start, started: since_boot(), speed: speed.max(1), skipped: AtomicI64::new(0) }
    }

    /// Goes on from `at`, as a machine that slept until then; an instant that has passed changes nothing.
    pub fn skip_to(&self, at: Instant) {
        let ahead = at - self.now();
        if ahead > Span::ZERO {
            self.skipped.fetch_add(ahead.as_millis(), Ordering::SeqCst);
        }
    }

    fn elapsed(&self) -> Span {
        let real = (since_boot().as_millis()).saturating_sub(self.started.as_millis());
        let run = real.saturating_mul(i64::from(self.speed));
        Span::from_millis(run.saturating_add(self.skipped.load(Ordering::SeqCst)))
    }
}

#[async_trait]
impl Clock for SetClock {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn boot(&self) -> BootTime {
        BootTime { boot_id: self.boot_id.clone(), since_boot: self.elapsed() }
    }

    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.to_std() / self.speed).await;
    }
}

/// A clock that moves only when told to: for tests.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    since_boot: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now` until told otherwise.
    pub fn new(now: Instant) -> Self {
        Self { now: AtomicI64::new(now.as_millis()), since_boot: AtomicI64::new(0) }
    }
    /// Lets time pass, on both clocks.
    pub fn advance(&self, span: Span) {
        self.now.fetch_add(span.as_millis(), Ordering::SeqCst);
        self.since_boot.fetch_add(span.as_millis(), Ordering::SeqCst);
    }
    /// Moves the wall clock alone, as an administrator or NTP does.
    pub fn jump(&self, to: Instant) {
        self.now.store(to.as_millis(), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant::from_millis(self.now.load(Ordering::SeqCst))
    }
    fn boot(&self) -> BootTime {
        let since_boot = Span::from_millis(self.since_boot.load(Ordering::SeqCst));
        BootTime { boot_id: "manual".to_owned(), since_boot }
    }
    /// Waits until somebody advances the clock far enough; polls on tokio's (possibly paused) time.
    async fn sleep(&self, span: Span) {
        let until = self.since_boot.load(Ordering::SeqCst).saturating_add(span.as_millis());
        while self.since_boot.load(Ordering::SeqCst) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: Instant = Instant::from_millis(1_796_374_800_000);

    /// An hour after boot, `passed` after [`OPENED`] by the wall clock.
    fn reading(passed: i64) -> Reading {
        let boot = BootTime { boot_id: "one".into(), since_boot: Span::from_hours(1) };
        Reading { now: Instant::from_millis(OPENED.as_millis() + passed), boot }
    }

    #[test]
    fn an_age_is_the_larger_of_what_both_clocks_say() {
        let minutes = Span::from_mins(40);
        // Set back, as it went, set forward.
        for (passed, age) in [(-60_000, 1_200_000), (1_200_000, 1_200_000), (7_200_000, 7_200_000)] {
            assert_eq!(reading(passed).age(OPENED, "one", minutes), Span::from_millis(age), "{passed} ms");
        }
    }

    #[test]
    fn of_another_boot_the_wall_clock_alone_says_something() {
        for since_boot in [Span::ZERO, Span::from_mins(40), Span::from_hours(9)] {
            assert_eq!(reading(-60_000).age(OPENED, "two", since_boot), Span::from_millis(-60_000));
            assert_eq!(reading(5).age(OPENED, "two", since_boot), Span::from_millis(5));
        }
    }
}
