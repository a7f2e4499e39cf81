//! An accept loop with bounds: `axum::serve` waits for headers forever and has no cap on connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::places::{Heard, Place, Places};
use crate::lifecycle::Shutdown;
use crate::telemetry::metric;

/// What one server takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For the header of a request, from the connection's beginning or the answer before it.
    pub header: Duration,
    /// Bytes of a header; then 431.
    pub header_bytes: usize,
    /// For a request once its header is read, its body included; then 408.
    pub request: Duration,
    /// Connections at once; a further one takes the place of the client who has kept us waiting longest, or waits in the
    /// kernel's queue while every request is being answered.
    pub connections: usize,
    /// Bytes of a body; then 413.
    pub body_bytes: usize,
}

impl Default for Limits {
    /// For ops' few connections and small requests.
    fn default() -> Self {
        Self {
            header: Duration::from_secs(10),
            header_bytes: 32_768,
            request: Duration::from_secs(30),
            connections: 1_024,
            body_bytes: 1_048_576,
        }
    }
}

/// How long to wait when no connection can be accepted, for want of file descriptors as a rule.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serves until the soft token, then finishes the requests in hand; the hard token drops them.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let router = router
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn(move |request, next| within(limits.request, request, next)));
    let places = Places::new(limits.connections);
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            // Nobody is sent away for one who has not come.
            let stream = accept(&listener).await;
            let (place, sent_away) = places.take().await;
            if sent_away {
                metrics::counter!(metric::HTTP_SENT_AWAY).increment(1);
            }
            let connection = connection(stream, place.clone(), router.clone(), limits, shutdown.clone());
            connections.spawn(async move {
                metrics::gauge!(metric::HTTP_CONNECTIONS).increment(1.0);
                tokio::select! {
                    () = connection => {}
                    () = place.taken_away() => {}
                }
                metrics::gauge!(metric::HTTP_CONNECTIONS).decrement(1.0);
            });
        }
    };
    shutdown.soft().run_until_cancelled(accepting).await;
    connections.close();
    connections.wait().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client went away before it was served.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    place: Arc<Place>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, place) = (router.clone(), place.clone());
        async move {
            let answer = router.call(request.map(|body| Heard::new(body, place.clone()))).await;
            place.answered();
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_header_size(limits.header_bytes)
        // What is read ahead of a body as well: many slow clients must not fill the memory.
        .max_buf_size(2 * limits.header_bytes.max(8_192))
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.soft().cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served => ended,
                () = shutdown.hard().cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away and send rubbish: nothing of ours is wrong.
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn within(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}
