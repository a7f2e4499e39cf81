//! Time in a simulation: the runtime's own, which moves only while everybody waits, as each machine's clocks show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use haishin::clock::{BootTime, Clock};
use haishin::domain::time::{Instant, Span};

/// One machine's clocks.
pub struct Machine {
    boot_id: String,
    beginning: Instant,
    since: tokio::time::Instant,
    /// By how much its wall clock is ahead.
    ahead: AtomicI64,
}

impl Machine {
    /// A machine that boots now, at what is truly `beginning`.
    pub fn new(name: &str, beginning: Instant) -> Arc<Self> {
        let (boot_id, since) = (format!("boot of {name}"), tokio::time::Instant::now());
        Arc::new(Self { boot_id, beginning, since, ahead: AtomicI64::new(0) })
    }

    fn elapsed(&self) -> Span {
        Span::from_millis(i64::try_from(self.since.elapsed().as_millis()).unwrap())
    }

    /// The time whatever its wall clock shows.
    pub fn true_now(&self) -> Instant {
        self.beginning + self.elapsed()
    }

    /// Moves its wall clock alone.
    pub fn jump(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets its wall clock right.
    pub fn set_right(&self) {
        self.ahead.store(0, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for Machine {
    fn now(&self) -> Instant {
        self.true_now() + Span::from_millis(self.ahead.load(Ordering::SeqCst))
    }

    fn boot(&self) -> BootTime {
        BootTime { boot_id: self.boot_id.clone(), since_boot: self.elapsed() }
    }

    async fn sleep(&self, span: Span) {
        tokio::time::sleep(span.to_std()).await;
    }
}
