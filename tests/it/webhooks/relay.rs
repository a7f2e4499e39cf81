//! Webhooks handed on: byte for byte, at least once, off the path of acknowledgement, bounded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use haishin::domain::time::Span;
use haishin::engine::relay::ROWS_MAX;
use haishin::line::webhook;
use haishin::store::NewRelay;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SECRET, Shop, body, event};
use crate::support::daemon::until;
use crate::support::store::Database;

/// The system behind a relay.
#[derive(Clone, Default)]
struct Behind {
    got: Arc<Mutex<Vec<(String, String)>>>,
    /// What is answered from now on to a body that contains the text; else 200.
    answers: Arc<Mutex<BTreeMap<&'static str, u16>>>,
    /// Nothing is answered before.
    hold: Arc<Mutex<Option<Arc<Notify>>>>,
}

impl Behind {
    async fn serve(&self) -> (SocketAddr, DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/line/webhook", post(take)).with_state(self.clone());
        let stop = CancellationToken::new();
        let serving = axum_serve(listener, router);
        tokio::spawn({
            let stop = stop.clone();
            async move { stop.run_until_cancelled(serving).await }
        });
        (address, stop.drop_guard())
    }

    fn answer(&self, containing: &'static str, status: u16) {
        self.answers.lock().unwrap().insert(containing, status);
    }

    fn got(&self) -> Vec<(String, String)> {
        self.got.lock().unwrap().clone()
    }

    async fn until_got(&self, shop: &Shop, count: usize) -> Vec<(String, String)> {
        let got = async || {
            // Back-off is the clock's.
            shop.clock.advance(Span::from_millis(200));
            let got = self.got();
            (got.len() >= count).then_some(got)
        };
        until("they are handed on", got).await
    }
}

async fn axum_serve(listener: TcpListener, router: Router) {
    haishin::http::serve(
        listener,
        router,
        haishin::http::Limits::default(),
        haishin::lifecycle::Shutdown::new(),
    )
    .await;
}

async fn take(State(behind): State<Behind>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let hold = behind.hold.lock().unwrap().clone();
    if let Some(hold) = hold {
        hold.notified().await;
    }
    let body = String::from_utf8(body.to_vec()).unwrap();
    let answers = behind.answers.lock().unwrap();
    let answer = answers.iter().find(|(text, _)| body.contains(**text)).map_or(200, |(_, status)| *status);
    drop(answers);
    if answer == 200 {
        let signature = headers["x-line-signature"].to_str().unwrap().to_owned();
        assert_eq!(headers["content-type"], "application/json; charset=utf-8");
        behind.got.lock().unwrap().push((body, signature));
    }
    StatusCode::from_u16(answer).unwrap()
}

/// A shop whose webhooks are handed on.
async fn shop(database: Database) -> (Shop, Behind, DropGuard) {
    let behind = Behind::default();
    let (address, serving) = behind.serve().await;
    let relay =
        format!("[accounts.shop.relay]\nurl = \"http://{address}/line/webhook\"\nreplies = \"relay\"");
    (Shop::with(database, &relay).await, behind, serving)
}

fn message(id: &str) -> String {
    body(&[event("message", id, 1, 0, json!({ "message": { "type": "text", "text": "友" } }))])
}

async fn emptied(shop: &Shop) {
    until("nothing waits", async || {
        shop.clock.advance(Span::from_millis(200));
        let waiting = shop.test.store.relay_waiting(shop.account).await.unwrap();
        (waiting.rows == 0).then_some(())
    })
    .await;
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_webhook_is_handed_on_as_it_came(#[case] database: Database) {
    let (shop, behind, _serving) = shop(database).await;
    // Whatever is in it, as LINE wrote it; also what says nothing here.
    let odd = format!("  {} \n", message("01A").replace("\"events\"", "\"new\":{},\"events\""));
    let bodies = [odd, body(&[]), body(&[json!({ "type": "unsend" })]), message("01B")];
    for body in &bodies {
        assert_eq!(shop.post(body).await, 200);
    }
    let got = behind.until_got(&shop, bodies.len()).await;
    emptied(&shop).await;
    let expected = bodies.map(|body| (body.clone(), webhook::sign(body.as_bytes(), SECRET.as_bytes())));
    let sorted = |mut all: Vec<_>| {
        all.sort();
        all
    };
    assert_eq!(sorted(got), sorted(expected.to_vec()));
    assert_eq!(shop.events().await.len(), 2, "and applied");
    // Neither what is forged nor what was caught and is played again.
    assert_eq!(shop.send(&message("01C"), "AAAA").await, 401);
    let caught = body(&[event("message", "01D", 1, 8 * 24 * 3_600, json!({}))]);
    assert_eq!(shop.post(&caught).await, 200);
    assert_eq!(shop.test.store.relay_waiting(shop.account).await.unwrap().rows, 0);
}

/// While the other side is away nothing is lost, and acknowledgement waits for nothing; a start goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_handed_on_waits() {
    let (shop, behind, _serving) = shop(Database::Sqlite).await;
    behind.answer("events", 503);
    for n in 0..30 {
        assert_eq!(shop.post(&message(&format!("01A{n}"))).await, 200);
    }
    let status = shop.settled().await;
    assert_eq!((&status["relay"]["waiting"], &status["relay"]["replies"]), (&json!(30), &json!("relay")));
    behind.answers.lock().unwrap().clear();
    assert_eq!(behind.until_got(&shop, 30).await.len(), 30);
    emptied(&shop).await;

    // The other side hangs.
    let hold = Arc::new(Notify::new());
    *behind.hold.lock().unwrap() = Some(hold.clone());
    for n in 0..30 {
        assert_eq!(shop.post(&message(&format!("01B{n}"))).await, 200);
    }
    assert_eq!(shop.events().await.len(), 60);
    assert_eq!(behind.got().len(), 30);
    *behind.hold.lock().unwrap() = None;
    hold.notify_waiters();
    let ids = |got: Vec<(String, String)>| {
        let id = |(body, _): (String, String)| {
            let body: Value = serde_json::from_str(&body).unwrap();
            body["events"][0]["webhookEventId"].as_str().unwrap().to_owned()
        };
        got.into_iter().map(id).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(ids(behind.until_got(&shop, 60).await).len(), 60);
}

/// What is durable is handed on by whoever owns the account next, as it would be after a kill.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_none(#[case] database: Database) {
    let (shop, behind, _serving) = shop(database).await;
    behind.answer("events", 503);
    for n in 0..20 {
        assert_eq!(shop.post(&message(&n.to_string())).await, 200);
    }
    shop.kill_engine().await;
    assert_eq!(shop.post(&message("20")).await, 200);
    behind.answers.lock().unwrap().clear();
    assert_eq!(behind.got().len(), 0);
    shop.start_engine().await;
    assert!(behind.until_got(&shop, 21).await.len() >= 21);
    emptied(&shop).await;
    assert_eq!(shop.events().await.len(), 21);
}

/// A body that the other side does not want, and one that always fails there, hold up no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_not_taken_holds_up_no_other() {
    let (shop, behind, _serving) = shop(Database::Sqlite).await;
    behind.answer("unwanted", 400);
    behind.answer("broken", 500);
    for n in 0..40 {
        let id = if n % 10 == 0 { format!("broken{n}") } else { n.to_string() };
        assert_eq!(shop.post(&message(&id)).await, 200);
        assert_eq!(shop.post(&message(&format!("unwanted{n}"))).await, 200);
    }
    behind.until_got(&shop, 36).await;
    let left = async || {
        shop.clock.advance(Span::from_millis(200));
        let rows = shop.test.store.relays(shop.account, 1_000).await.unwrap();
        (rows.len() == 4).then_some(rows)
    };
    let left = until("the unwanted are gone", left).await;
    assert!(left.iter().all(|row| row.body.contains("broken")));
    // After a day nobody can use them any more.
    shop.clock.advance(Span::from_millis(24 * 3_600_000 + 1));
    emptied(&shop).await;
    assert_eq!(behind.got().len(), 36);
}

/// However long the other side is away, no more waits than a bound; the newest stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_bounded() {
    const MORE: u64 = 1_200;
    let (shop, behind, _serving) = shop(Database::Sqlite).await;
    behind.answer("", 503);
    let relay = |n| NewRelay {
        account: shop.account,
        received_at: haishin::clock::Clock::now(shop.clock.as_ref()),
        signature: "s".into(),
        body: format!("{n}"),
    };
    let relays = (0..ROWS_MAX + MORE).map(relay).collect();
    shop.test.store.append_webhooks(vec![], relays).await.unwrap();
    let bounded = async || {
        shop.clock.advance(Span::from_secs(1));
        let waiting = shop.test.store.relay_waiting(shop.account).await.unwrap();
        (waiting.rows <= ROWS_MAX).then_some(waiting.rows)
    };
    assert_eq!(until("no more wait", bounded).await, ROWS_MAX);
    assert_eq!(shop.test.store.relays(shop.account, 1).await.unwrap()[0].body, MORE.to_string());
}
