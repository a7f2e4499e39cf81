//! The HTTP server for ops: what it says, and what it does not let clients do. Time is virtual.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::{get, post};
use haishin::http::{Check, Limits, Readiness, router, serve};
use haishin::lifecycle::Shutdown;
use haishin::telemetry::{metric, recorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;

struct Database {
    up: AtomicBool,
    hangs: AtomicBool,
}

#[async_trait]
impl Readiness for Database {
    async fn checks(&self) -> Vec<Check> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let up = self.up.load(Ordering::SeqCst);
        let check = |name: &str, ok, detail: &str| Check { name: name.into(), ok, detail: detail.into() };
        vec![check("clock", true, ""), check("database", up, if up { "" } else { "connection refused" })]
    }
}

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let serving = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The whole answer to a request that ends the connection.
    async fn get(&self, path: &str) -> String {
        read(self.open(&closing(path)).await).await
    }
}

fn closing(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n")
}

async fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test(start_paused = true)]
async fn health_readiness_and_metrics() {
    let database = Arc::new(Database { up: AtomicBool::new(true), hangs: AtomicBool::new(false) });
    let recorder = recorder().unwrap();
    metrics::with_local_recorder(&recorder, || {
        metrics::gauge!(metric::STOPPED, "account" => "shop").set(1.0)
    });
    let server = Server::start(router(database.clone(), recorder.handle()), Limits::default()).await;

    assert_eq!(status(&server.get("/healthz").await), "200");
    let ready = server.get("/readyz").await;
    assert_eq!(status(&ready), "200");
    assert_eq!(
        body(&ready),
        r#"{"ready":true,"checks":[{"name":"clock","ok":true,"detail":""},{"name":"database","ok":true,"detail":""}]}"#
    );
    database.up.store(false, Ordering::SeqCst);
    let ready = server.get("/readyz").await;
    assert_eq!(status(&ready), "503");
    assert!(body(&ready).starts_with(r#"{"ready":false,"#), "{ready}");
    assert!(
        body(&ready).contains(r#"{"name":"database","ok":false,"detail":"connection refused"}"#),
        "{ready}"
    );
    assert_eq!(status(&server.get("/healthz").await), "200", "alive, though not ready");

    database.hangs.store(true, Ordering::SeqCst);
    let asked = Instant::now();
    let ready = server.get("/readyz").await;
    assert_eq!((status(&ready), asked.elapsed().as_secs()), ("503", 5));
    assert!(body(&ready).contains("no answer within 5 s"), "{ready}");

    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(body(&metrics).contains("haishin_stopped{account=\"shop\"} 1"), "{metrics}");
    assert_eq!(status(&server.get("/nothing").await), "404");
}

fn pending() -> Router {
    Router::new()
        .route("/pending", get(std::future::pending::<()>))
        .route("/ok", get(|| async { "ok" }))
        .route("/body", post(|body: String| async move { body.len().to_string() }))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_send_its_header_is_hung_up_on() {
    let server = Server::start(pending(), Limits::default()).await;
    for beginning in ["", "GET /ok HTTP/1.1\r\nHost: ops\r\n"] {
        let opened = Instant::now();
        let stream = server.open(beginning).await;
        read(stream).await;
        assert_eq!(opened.elapsed().as_secs(), Limits::default().header.as_secs(), "{beginning:?}");
    }
    // Also between two requests of one connection.
    let opened = Instant::now();
    let answer = read(server.open("GET /ok HTTP/1.1\r\nHost: ops\r\n\r\n").await).await;
    assert_eq!((status(&answer), opened.elapsed().as_secs()), ("200", 10));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_told_so() {
    let server = Server::start(pending(), Limits::default()).await;
    let opened = Instant::now();
    let answer = server.get("/pending").await;
    assert_eq!((status(&answer), opened.elapsed().as_secs()), ("408", 30));
    // A body that never comes is such a request.
    let stream = server.open("POST /body HTTP/1.1\r\nHost: ops\r\nContent-Length: 5\r\n\r\nab").await;
    assert_eq!(status(&read(stream).await), "408");
}

#[tokio::test(start_paused = true)]
async fn bodies_are_bounded() {
    let server = Server::start(pending(), Limits { body_bytes: 100, ..Limits::default() }).await;
    let answer = |length: usize| {
        let body = "x".repeat(length);
        let request = format!(
            "POST /body HTTP/1.1\r\nHost: ops\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let server = &server;
        async move { read(server.open(&request).await).await }
    };
    assert_eq!(status(&answer(100).await), "200");
    assert_eq!(status(&answer(101).await), "413");
}

/// With all places taken, a third connection gets the place of whoever has kept the server waiting longest: of a header,
/// of a body, or between two requests. Nobody is sent away whose request is being answered.
#[tokio::test(start_paused = true)]
async fn when_all_places_are_taken_the_slowest_client_gives_way() {
    let server = Server::start(pending(), Limits { connections: 2, ..Limits::default() }).await;
    let idle = server.open("").await;
    let half = "POST /body HTTP/1.1\r\nHost: ops\r\nContent-Length: 5\r\n\r\nab";
    let slow = server.open(half).await;
    let opened = Instant::now();
    assert_eq!(status(&server.get("/ok").await), "200");
    assert_eq!(read(idle).await, "", "the first that came");
    // The one before has gone by itself.
    let _idle = server.open("").await;
    assert_eq!(status(&server.get("/ok").await), "200");
    assert_eq!(read(slow).await, "", "a body that does not come is no better than a header");
    assert_eq!(opened.elapsed().as_secs(), 0, "nobody waited for a limit");
}

#[tokio::test(start_paused = true)]
async fn while_every_request_is_being_answered_a_newcomer_waits() {
    let server = Server::start(pending(), Limits { connections: 2, ..Limits::default() }).await;
    let answering = [server.open(&closing("/pending")).await, server.open(&closing("/pending")).await];
    let opened = Instant::now();
    let answer = server.get("/ok").await;
    assert_eq!((status(&answer), opened.elapsed().as_secs()), ("200", 30));
    for stream in answering {
        assert_eq!(status(&read(stream).await), "408");
    }
}

/// A client that has had an answer is waited for again, from then on.
#[tokio::test(start_paused = true)]
async fn who_asks_again_and_again_keeps_its_place_longer_than_who_does_not() {
    let server = Server::start(pending(), Limits { connections: 2, ..Limits::default() }).await;
    let mut busy = server.open("").await;
    let idle = server.open("").await;
    let opened = Instant::now();
    let mut answer = [0; 1_024];
    busy.write_all(b"GET /ok HTTP/1.1\r\nHost: ops\r\n\r\n").await.unwrap();
    let length = busy.read(&mut answer).await.unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&answer[..length])), "200");
    assert_eq!(status(&server.get("/ok").await), "200");
    assert_eq!(read(idle).await, "");
    busy.write_all(closing("/ok").as_bytes()).await.unwrap();
    assert_eq!((status(&read(busy).await), opened.elapsed().as_secs()), ("200", 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_requests_in_hand_and_takes_no_more() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (entered, release) = (entered.clone(), release.clone());
        move || async move {
            entered.notify_one();
            release.notified().await;
            "finished"
        }
    };
    let server = Server::start(Router::new().route("/slow", get(handler)), Limits::default()).await;
    let slow = server.open("GET /slow HTTP/1.1\r\nHost: ops\r\n\r\n").await;
    entered.notified().await;
    server.shutdown.drain();
    tokio::task::yield_now().await;
    release.notify_one();
    let answer = read(slow).await;
    assert_eq!((status(&answer), body(&answer)), ("200", "finished"));
    server.serving.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_waits_for_nobody() {
    let entered = Arc::new(Notify::new());
    let handler = {
        let entered = entered.clone();
        move || async move {
            entered.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let server = Server::start(Router::new().route("/slow", get(handler)), Limits::default()).await;
    let slow = server.open(&closing("/slow")).await;
    entered.notified().await;
    let asked = Instant::now();
    server.shutdown.stop();
    server.serving.await.unwrap();
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(read(slow).await, "");
}
