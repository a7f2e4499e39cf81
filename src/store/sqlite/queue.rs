//! What waits for the one writer, by priority.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::store::Priority;
use crate::store::append::{Append, take_group};
use crate::telemetry::metric;

/// Whether the connection can be trusted after a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Sound,
    /// A commit or a rollback failed: what the connection holds open is not known.
    Doubtful,
}

/// A business step: runs its own transaction and tells its caller.
pub(super) type Step = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Health> + Send>;

/// What the writer does next.
pub(super) enum Job {
    /// One transaction for all of them.
    Group(Vec<Append>),
    Step(Step),
}

/// How often a class may be passed over while it waits: priority must not become starvation, or a stream of
/// acknowledgements would hold back every outcome.
const PATIENCE: [u32; 4] = [u32::MAX, 4, 8, 16];

#[derive(Default)]
struct Waiting {
    appends: VecDeque<Append>,
    /// With the instant each began to wait.
    steps: [VecDeque<(Instant, Step)>; 4],
    passed: [u32; 4],
    closed: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
    /// What the log holds is to go from it.
    lingers: AtomicBool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues; a closed queue drops it, which tells the caller.
    pub(super) fn append(&self, append: Append) {
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.appends.push_back(append);
        }
        drop(waiting);
        self.ready.notify_one();
    }

    pub(super) fn step(&self, priority: Priority, step: Step) {
        let mut waiting = self.waiting();
        if !waiting.closed {
            waiting.steps[class(priority)].push_back((Instant::now(), step));
        }
        drop(waiting);
        self.ready.notify_one();
    }

    /// What the log holds by now is to go from it.
    pub(super) fn let_nothing_linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
        self.ready.notify_one();
    }

    /// Whether that was asked for since the last look.
    pub(super) fn take_lingers(&self) -> bool {
        self.lingers.swap(false, Ordering::Relaxed)
    }

    /// Takes no more; what waits is still done.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.ready.notify_one();
    }

    /// Closes and drops what waits: nobody is left to do it, and whoever waits is told.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting();
        *waiting = Waiting { closed: true, ..Waiting::default() };
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting().closed
    }

    /// Resolves when something may have been queued since the last look.
    pub(super) async fn changed(&self) {
        self.ready.notified().await;
    }

    /// The most urgent job, or one of a class whose patience has run out.
    pub(super) fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        let waits =
            |w: &Waiting, class: usize| !w.steps[class].is_empty() || (class == 0 && !w.appends.is_empty());
        let starving =
            (0..4).find(|&class| waits(&waiting, class) && waiting.passed[class] >= PATIENCE[class]);
        let chosen = starving.or_else(|| (0..4).find(|&class| waits(&waiting, class)))?;
        for class in chosen + 1..4 {
            waiting.passed[class] = if waits(&waiting, class) { waiting.passed[class] + 1 } else { 0 };
        }
        waiting.passed[chosen] = 0;
        match waiting.steps[chosen].pop_front() {
            Some((since, step)) => {
                waited(chosen, since);
                Some(Job::Step(step))
            }
            None => {
                let group = take_group(&mut waiting.appends);
                group.iter().for_each(|append| waited(chosen, append.since));
                Some(Job::Group(group))
            }
        }
    }
}

/// The classes as metrics name them.
const NAMES: [&str; 4] = ["acknowledge", "outcome", "freeze", "fold"];

fn waited(class: usize, since: Instant) {
    metrics::histogram!(metric::WRITE_WAIT_SECONDS, "priority" => NAMES[class])
        .record(since.elapsed().as_secs_f64());
}

fn class(priority: Priority) -> usize {
    match priority {
        Priority::Acknowledge => 0,
        Priority::Outcome => 1,
        Priority::Freeze => 2,
        Priority::Fold => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::append::Rows;
    use crate::store::codec::InboxCells;

    fn step() -> Step {
        Box::new(|_| Box::pin(async { Health::Sound }))
    }

    fn append() -> Append {
        let row = InboxCells(1, 0, "import".into(), "[]".into());
        Append::new(Rows { inbox: vec![row], ..Rows::default() }).0
    }

    #[test]
    fn acknowledgements_go_first_and_together_but_starve_nobody() {
        let queue = Queue::default();
        queue.step(Priority::Fold, step());
        queue.step(Priority::Outcome, step());
        queue.append(append());
        queue.append(append());
        assert!(matches!(queue.next(), Some(Job::Group(group)) if group.len() == 2));
        let mut turns = 0;
        loop {
            queue.append(append());
            match queue.next() {
                Some(Job::Group(_)) => turns += 1,
                Some(Job::Step(_)) => break,
                None => unreachable!("an append waits"),
            }
        }
        assert_eq!(turns, 3, "the outcome waited for four groups in all");
        assert_eq!(queue.waiting().steps[1].len(), 0);
        assert_eq!(queue.waiting().steps[3].len(), 1);
    }

    /// However much of every class keeps coming: whoever comes to wait in a class where nobody waits goes before long.
    /// Counted in jobs, each of which is bounded.
    #[test]
    fn nobody_waits_behind_more_than_a_few_jobs() {
        const CLASSES: [(Priority, usize); 3] =
            [(Priority::Outcome, 7), (Priority::Freeze, 11), (Priority::Fold, 19)];
        for (newcomer, most) in CLASSES {
            let mut longest = 0;
            for head_start in 0..60 {
                let queue = Queue::default();
                let others = CLASSES.into_iter().filter(|(priority, _)| *priority != newcomer);
                let refill = || {
                    queue.append(append());
                    others.clone().for_each(|(priority, _)| queue.step(priority, step()));
                };
                for _ in 0..head_start {
                    refill();
                    assert!(queue.next().is_some());
                }
                queue.step(newcomer, step());
                let mut waited = 0;
                while !queue.waiting().steps[class(newcomer)].is_empty() {
                    refill();
                    assert!(queue.next().is_some());
                    waited += 1;
                }
                longest = longest.max(waited);
            }
            assert!((2..=most).contains(&longest), "{newcomer:?}: {longest} jobs, itself included");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_tells_how_long_by_priority() {
        let recorder = crate::telemetry::recorder().unwrap();
        let queue = Queue::default();
        queue.step(Priority::Outcome, step());
        tokio::time::advance(std::time::Duration::from_millis(40)).await;
        queue.append(append());
        queue.append(append());
        tokio::time::advance(std::time::Duration::from_millis(8)).await;
        metrics::with_local_recorder(&recorder, || while queue.next().is_some() {});
        let text = recorder.handle().render();
        for line in [
            r#"haishin_write_wait_seconds_bucket{priority="outcome",le="0.025"} 0"#,
            r#"haishin_write_wait_seconds_bucket{priority="outcome",le="0.05"} 1"#,
            r#"haishin_write_wait_seconds_bucket{priority="acknowledge",le="0.005"} 0"#,
            r#"haishin_write_wait_seconds_bucket{priority="acknowledge",le="0.01"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }
}
