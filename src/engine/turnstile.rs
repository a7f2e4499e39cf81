//! Fairness between accounts: what is written in bulk is written in bounded slices, one at a time, first come first served.
//!
//! A slice is the commit of one freeze, one slice of the inbox or one slice of the fold. With n accounts a due send
//! therefore waits behind at most n − 1 slices of others, however much each of them still has to do. What a freeze
//! computes is no part of it (it is done beside the runtime), nor are requests: an outage of LINE for one account
//! holds nobody up.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// A fair lock around slices: tokio's mutex serves its waiters in order.
#[derive(Debug, Default)]
pub struct Turnstile {
    lock: Mutex<()>,
    waiting: AtomicU64,
    ended: AtomicU64,
    most_waited: AtomicU64,
}

/// A slice that lasts until this is dropped.
#[derive(Debug)]
pub struct Slice<'a> {
    ended: &'a AtomicU64,
    _lock: MutexGuard<'a, ()>,
}

impl Drop for Slice<'_> {
    fn drop(&mut self) {
        // Before the lock is free: whoever gets it next has waited for this one.
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Stands in line until dropped.
struct InLine<'a>(&'a AtomicU64);

impl<'a> InLine<'a> {
    fn at(waiting: &'a AtomicU64) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Turnstile {
    /// Waits for one's turn.
    pub async fn slice(&self) -> Slice<'_> {
        let (in_line, before) = (InLine::at(&self.waiting), self.ended());
        let lock = self.lock.lock().await;
        drop(in_line);
        self.most_waited.fetch_max(self.ended() - before, Ordering::SeqCst);
        Slice { ended: &self.ended, _lock: lock }
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How many slices have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Behind how many slices anybody has waited at the most.
    pub fn most_waited(&self) -> u64 {
        self.most_waited.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Five accounts with a hundred slices of work each, one with a single slice now and then: nobody waits behind more
    /// than one of each other. Turns, not time: nothing here depends on how long a slice takes.
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
            let before = turnstile.ended();
            let slice = turnstile.slice().await;
            let waited_behind = turnstile.ended() - before;
            drop(slice);
            assert!(
                (1..=OTHERS).contains(&waited_behind),
                "behind {waited_behind} slices of {OTHERS} others"
            );
        }
        assert_eq!(turnstile.waiting(), OTHERS, "nobody has noticed yet that the turnstile is free");
        busy.join_all().await;
        assert_eq!((turnstile.ended(), turnstile.most_waited()), (OTHERS * 100 + 20, OTHERS));
    }

    /// Whoever goes away while in line is in nobody's way.
    #[tokio::test]
    async fn one_that_gave_up_is_passed_over() {
        let turnstile = Turnstile::default();
        let slice = turnstile.slice().await;
        let gone = tokio::time::timeout(std::time::Duration::ZERO, turnstile.slice()).await;
        assert!(gone.is_err());
        assert_eq!(turnstile.waiting(), 0);
        drop(slice);
        drop(turnstile.slice().await);
        assert_eq!((turnstile.ended(), turnstile.most_waited()), (2, 0));
    }
}
