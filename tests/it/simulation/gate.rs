//! A process that can be stopped at any point at which it waits, as by SIGSTOP or with its whole machine, and go on later;
//! or be dead.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Stopped,
    Dead,
}

/// What a process and all its tasks pass through. Who waits goes on in the order in which they came, so that a seed is one
/// history; tokio's own `watch` wakes its waiters in an order that it draws.
pub struct Gate(Mutex<(State, Vec<Waker>)>);

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((State::Runs, Vec::new()))))
    }

    /// Nothing of it goes on until it is opened.
    pub fn close(&self) {
        let mut gate = self.0.lock().unwrap();
        if gate.0 == State::Runs {
            gate.0 = State::Stopped;
        }
    }

    pub fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        if gate.0 == State::Stopped {
            gate.0 = State::Runs;
            gate.1.drain(..).for_each(Waker::wake);
        }
    }

    /// Nothing of it ever goes on.
    pub fn die(&self) {
        self.0.lock().unwrap().0 = State::Dead;
    }

    pub fn is_open(&self) -> bool {
        self.0.lock().unwrap().0 == State::Runs
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut gate = self.0.lock().unwrap();
        if gate.0 == State::Runs {
            return Poll::Ready(());
        }
        if gate.1.iter().all(|waker| !waker.will_wake(context.waker())) {
            gate.1.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Returns while it runs; never once it is dead.
    pub async fn pass(&self) {
        poll_fn(|context| self.poll(context)).await;
    }
}

/// A future that goes on only while the gate is open, wherever it waits.
pub fn gated<F: Future + Send + 'static>(
    gate: Arc<Gate>,
    inner: F,
) -> impl Future<Output = F::Output> + Send {
    let mut inner = Box::pin(inner);
    poll_fn(move |context| match gate.poll(context) {
        Poll::Ready(()) => inner.as_mut().poll(context),
        Poll::Pending => Poll::Pending,
    })
}
