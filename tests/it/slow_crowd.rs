//! Ten thousand clients that say what they want a byte at a time, or never: a real daemon answers everybody else meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use haishin::sandbox::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::daemon::{self, Line, Shop, at, until};
use crate::support::store::Database;

const CROWD: usize = 10_000;
/// Descriptors of this process beside those of the crowd.
const OTHERS: u64 = 1_000;
/// How often the others ask.
const TIMES: usize = 10;
/// To hang up on the crowd, place by place, a server takes 10 s for each 1,024 of them: who is answered in a third of that
/// did not wait for them.
const LIMIT: Duration = Duration::from_secs(33);
/// A slow client's pace.
const A_WHILE: Duration = Duration::from_secs(2);

/// The ways to be slow: of a header, of a body, of a second request.
const SLOW: [&str; 4] = [
    "",
    "GET /healthz HTTP/1.1\r\nHost: ops\r\nX-Slow: ",
    "POST /webhook/shop HTTP/1.1\r\nHost: ops\r\nContent-Length: 100000\r\n\r\n{",
    "GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_slow_connections_keep_nobody_else_out() {
    let _alone = daemon::alone().await;
    raise_limit_of_files();
    let line = Line::bind().await;
    let shop = Shop::new(Database::Sqlite, line.address, "").await;
    let _serving =
        line.serve(Line::sandbox(|_: &mut Settings| {}), Arc::new(haishin::clock::SystemClock::new()));
    let mut serving = shop.started(at("2026-12-04T12:00:00+09:00")).await;
    let address = shop.http_address();

    let mut crowd = JoinSet::new();
    for n in 0..CROWD {
        crowd.spawn(async move { dawdle(address, n).await });
    }
    let met =
        async || (metric(address, "haishin_http_connections_sent_away_total").await >= CROWD).then_some(());
    until("the server has met as many as there are, and more", met).await;
    for _ in 0..TIMES {
        assert!(serving.is_running(), "the daemon ended by itself");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert_eq!(
            post(address, "/webhook/shop", "{}").await.split(' ').nth(1),
            Some("401"),
            "it is not signed"
        );
        let status = shop.ask(&["status"]).expect("commands are answered");
        assert_eq!(status["accounts"][0]["account"], "shop", "{status}");
    }
    let connections = metric(address, "haishin_http_connections").await;
    assert!(connections <= 1_024, "{connections}");
    let sent_away = metric(address, "haishin_http_connections_sent_away_total").await;
    println!("{connections} connections at the end, {sent_away} sent away");
    serving.terminate();
}

/// Comes, says a beginning, goes on byte by byte, and comes again when it is sent away.
async fn dawdle(address: SocketAddr, n: usize) {
    let beginning = SLOW[n % SLOW.len()];
    // Not all of them at once.
    let later = A_WHILE + Duration::from_millis(n as u64 % 4_000);
    loop {
        let Ok(mut stream) = TcpStream::connect(address).await else {
            tokio::time::sleep(later).await;
            continue;
        };
        let _ = stream.write_all(beginning.as_bytes()).await;
        let mut answer = [0; 512];
        loop {
            let more = tokio::time::timeout(A_WHILE, stream.read(&mut answer)).await;
            match more {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) => drop(stream.write_all(b"a").await),
            }
        }
        tokio::time::sleep(later).await;
    }
}

/// What the server counts; nothing where it has not begun to.
async fn metric(address: SocketAddr, name: &str) -> usize {
    let metrics = get(address, "/metrics").await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse::<f64>().expect("a number") as usize)
}

async fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n")).await
}

async fn post(address: SocketAddr, path: &str, body: &str) -> String {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    ask(address, &(head + body)).await
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer));
    reading.await.expect("an answer in time").expect("an answer, and no cut connection");
    answer
}

/// Both ends of the crowd are processes of their own, each with a limit. Where this one may not have so many files, there
/// is nothing to prove.
fn raise_limit_of_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let (limit, wanted) = (getrlimit(Resource::Nofile), CROWD as u64 + OTHERS);
    assert!(
        limit.maximum.is_none_or(|most| most >= wanted),
        "this test needs {wanted} open files, and the hard limit is {:?}: raise it (ulimit -Hn, LimitNOFILE)",
        limit.maximum
    );
    if limit.current.is_some_and(|now| now < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).expect("the limit is raised");
    }
}
