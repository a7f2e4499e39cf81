//! HTTP around a sandbox: slow or huge requests are bounded, connections counted, faults carried out.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, Request as HttpRequest, Response, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control::Errand;
use super::core::{MULTICAST, Sandbox, Traffic};
use super::plan::{Act, Body, Plan, Request};
use super::webhooks::Signed;
use super::{control, phone};
use crate::clock::Clock;
use crate::line::relay::{HttpRelay, Passed, Relay as _};

/// LINE's limit of a request body.
const MAX_BODY: usize = 2 << 20;
/// More is read and thrown away up to here, so that the client hears the 413 instead of a reset.
const MAX_DRAINED: usize = 16 << 20;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 1_024;

/// Serves LINE's endpoints, `/sandbox/` and `/phone` until `shutdown`. Requests in flight are then cut off: to
/// their clients they are lost, as on a real network.
pub async fn serve(
    sandbox: Arc<Sandbox>,
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&connections).acquire_owned() => permit.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(Arc::clone(&sandbox), stream, Arc::clone(&clock));
                let shutdown = shutdown.clone();
                tasks.spawn(async move {
                    let _permit = permit;
                    shutdown.run_until_cancelled(connection).await;
                });
            }
            // Out of file descriptors, or a client that was gone already: no reason to stop serving the others.
            Err(error) => {
                tracing::warn!(%error, "the sandbox could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
    Ok(())
}

async fn connection(sandbox: Arc<Sandbox>, stream: TcpStream, clock: Arc<dyn Clock>) {
    // Only delays answers if it fails.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let (sandbox, clock) = (Arc::clone(&sandbox), Arc::clone(&clock));
        async move { respond(&sandbox, clock.as_ref(), request).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    // A client that hangs up, or a fault that closes the connection, is no error of ours.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed by a fault")]
struct Closed;

async fn respond(
    sandbox: &Sandbox,
    clock: &dyn Clock,
    request: HttpRequest<Incoming>,
) -> Result<Response<HttpBody>, Closed> {
    let (head, body) = request.into_parts();
    if !is_local(&head.headers) {
        return Ok(plain(StatusCode::FORBIDDEN, "the sandbox answers on a loopback address only"));
    }
    let Ok(body) = tokio::time::timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| Closed)? else {
        return Err(Closed);
    };
    let path = head.uri.path();
    if path == "/" || path == "/phone" || path.starts_with("/phone/") {
        return Ok(phone::respond(sandbox, &head, clock.now()));
    }
    if let Some(errand) = control::errand(sandbox, &head, body.as_deref(), clock.now()) {
        return Ok(match errand {
            Ok(Errand { url, webhook }) => control::errand_answer(send(&url, webhook).await),
            Err(answer) => answer,
        });
    }
    if path.starts_with("/sandbox/") {
        return Ok(control::respond(sandbox, &head, body.as_deref(), clock.now()));
    }
    let request = Request {
        method: head.method.as_str(),
        path,
        headers: &head.headers,
        body: body.as_deref().map_or(Body::TooLarge, Body::Whole),
    };
    let under_way = (path == MULTICAST).then(|| UnderWay::begin(&sandbox.traffic));
    let answer = carry_out(sandbox.handle(&request, clock.now())).await;
    if let Some(under_way) = under_way {
        under_way.answered();
    }
    answer
}

/// Sends a webhook as LINE would.
async fn send(url: &str, Signed { body, signature }: Signed) -> Passed {
    match HttpRelay::new() {
        Ok(relay) => relay.pass_on(url, &signature, body).await,
        Err(error) => Passed::Failed { why: error.to_string() },
    }
}

/// One multicast from its arrival to its answer. Dropped without one, its client has gone.
struct UnderWay<'a> {
    traffic: &'a Traffic,
    answered: bool,
}

impl<'a> UnderWay<'a> {
    fn begin(traffic: &'a Traffic) -> Self {
        traffic.under_way.fetch_add(1, Ordering::SeqCst);
        Self { traffic, answered: false }
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.traffic.abandoned.fetch_add(1, Ordering::SeqCst);
        }
        self.traffic.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn carry_out(plan: Plan) -> Result<Response<HttpBody>, Closed> {
    if plan.wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(plan.wait_ms)).await;
    }
    match plan.act {
        Act::Close => Err(Closed),
        Act::Hang => match std::future::pending::<Infallible>().await {},
        Act::Answer(reply) => {
            let headers = reply.headers();
            let mut response = Response::new(HttpBody::from(reply.body));
            *response.status_mut() =
                StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

/// The body; `None` inside if it is over the limit. The error: the client stopped in the middle.
async fn read(body: Incoming) -> Result<Option<Bytes>, axum::Error> {
    let mut stream = HttpBody::new(body).into_data_stream();
    let mut whole = Vec::new();
    let mut length = 0;
    while let Some(chunk) = stream.next().await.transpose()? {
        length += chunk.len();
        if length <= MAX_BODY {
            whole.extend_from_slice(&chunk);
        } else if length > MAX_DRAINED {
            break;
        }
    }
    Ok((length <= MAX_BODY).then(|| whole.into()))
}

/// A page of another site that had its name resolved to this machine is not let in.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get("host") else { return true };
    host.to_str().is_ok_and(|host| crate::line::is_loopback(&format!("http://{host}")))
}

/// An answer in plain text.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<HttpBody> {
    let mut response = Response::new(HttpBody::from(text));
    *response.status_mut() = status;
    response
}
