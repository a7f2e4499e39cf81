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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Five accounts with a hundred slices of work each, one with a single slice: it waits behind one of each at most,
    /// however much they still have to do. Turns, not time: nothing here depends on how long a slice takes.
    #[tokio::test(start_paused = true)]
    async fn one_slice_waits_behind_at_most_one_of_each_other_account() {
        const OTHERS: u64 = 5;
        let turnstile = Arc::new(Turnstile::default());
        let mut busy = tokio::task::JoinSet::new();
        for _ in 0..OTHERS {
            let turnstile = turnstile.clone();
            busy.spawn(async move {
                for _ in 0..100 {
                    let _slice = turnstile.slice().await;
                    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
                }
            });
        }
        for _ in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(1_234)).await;
            let before = turnstile.served();
            let slice = turnstile.slice().await;
            let waited_behind = turnstile.served() - before - 1;
            drop(slice);
            assert!(waited_behind <= OTHERS, "behind {waited_behind} slices of {OTHERS} others");
        }
        busy.join_all().await;
        assert_eq!(turnstile.served(), OTHERS * 100 + 20);
    }
}
