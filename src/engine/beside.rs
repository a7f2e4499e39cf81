//! Work beside the runtime: what goes through all friends of an account would hold up whoever else the runtime's threads
//! serve, however many of them there are.

/// Computes on a thread of its own. A panic in there goes on here.
pub(super) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // It was never begun, because the runtime ends; so does whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
