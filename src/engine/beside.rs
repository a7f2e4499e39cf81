//! Work beside the runtime: what goes through all friends of an account would hold up whoever else the runtime's threads
//! serve, however many of them there are.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Computes on a thread of its own; a panic in there goes on here. On a runtime of one thread, which is a test's or a
/// simulation's, it computes right here: nothing may depend on how fast another thread is.
pub(super) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // It was never begun, because the runtime ends; so does whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
