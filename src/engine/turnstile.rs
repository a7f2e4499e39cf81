//! Fairness between accounts: heavy work is done in bounded slices, one at a time, first come first served.
//!
//! A slice is one campaign's plan and freeze, one slice of the inbox or one slice of the fold. With n accounts a due send
//! therefore waits behind at most n − 1 slices of others, however much each of them still has to do. Requests take no
//! turn here: an outage of LINE for one account holds nobody up.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// A fair lock around slices: tokio's mutex serves its waiters in order.
#[derive(Debug, Default)]
pub struct Turnstile {
    lock: Mutex<()>,
    served: AtomicU64,
}

impl Turnstile {
    /// Waits for one's turn; the slice lasts until the guard is dropped.
    pub async fn slice(&self) -> MutexGuard<'_, ()> {
        let guard = self.lock.lock().await;
        self.served.fetch_add(1, Ordering::Relaxed);
        guard
    }

    /// How many slices have begun.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}
