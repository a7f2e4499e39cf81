//! The sandbox's control API, and what its server bounds.

use haishin::domain::id::UserId;
use haishin::line::{Answer, Api};
use haishin::sandbox::{Fault, FaultKind};
use rstest::rstest;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::line_http::{Served, a_body, key_of};

const PATIENT: Duration = Duration::from_secs(60);
const USER: &str = "U07070707070707070707070707070707";

struct Control(reqwest::Client, String);

impl Control {
    fn of(served: &Served) -> Self {
        // The client needs a TLS library even for plain http.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(reqwest::Client::builder().no_proxy().build().unwrap(), served.base.clone())
    }
    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.0.get(format!("{}/sandbox/{path}", self.1)).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
    async fn put(&self, path: &str, media_type: &str, body: &str) -> (u16, Value) {
        let request = self.0.put(format!("{}/sandbox/{path}", self.1));
        let answer = request.header("content-type", media_type).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
    async fn set(&self, path: &str, value: Value) {
        assert_eq!(self.put(path, "application/json", &value.to_string()).await, (200, json!({})));
    }
}

#[tokio::test]
async fn it_is_told_what_is_to_happen_and_tells_what_did() {
    let served = Served::start(|_| {}).await;
    let (control, api) = (Control::of(&served), served.client(PATIENT));
    let channel = "channels/1234567890";
    control.set(&format!("{channel}/quota"), json!({"limit": 100, "used": 50})).await;
    let blocked = json!([{"user": UserId([8; 16]), "name": "佐藤", "status": "blocked"}]);
    control.set(&format!("{channel}/friends"), blocked).await;
    control.set("faults", json!([{"kind": "lost_after", "nth": [1]}])).await;

    let key = key_of(&a_body());
    assert_eq!(api.multicast(key, a_body()).await.answer, Answer::ConnectionLost);
    assert!(matches!(api.multicast(key, a_body()).await.answer, Answer::AlreadyAccepted { .. }));

    let (_, state) = control.get("state").await;
    let totals = json!({"requests": 3, "multicasts": 2, "accepted": 1, "answered": {"409": 1},
        "unanswered": 1, "without_key": 0, "messages": 1, "skipped": 0});
    assert_eq!(state["totals"], totals);
    let channels = json!([{"id": "1234567890", "name": "こはる珈琲", "friends": 2, "quota": 100,
        "used": 51, "coupons": []}]);
    assert_eq!(state["channels"], channels);
    let faults = json!([{"fault": {"kind": "lost_after", "endpoint": "multicast", "nth": [1]}, "struck": 1}]);
    assert_eq!(state["faults"], faults);

    let (_, audit) = control.get("audit").await;
    assert_eq!(
        audit,
        json!({"keys": 1, "keys_with_two_bodies": [], "keys_taken_twice": [], "duplicates": [],
        "duplicate_pairs": 0, "without_key": 0})
    );
    let (_, report) = control.get(&format!("keys/{key}")).await;
    assert_eq!((&report["attempts"], &report["accepted"]), (&json!(2), &json!(1)));
    assert_eq!(control.get(&format!("{channel}/deliveries")).await.1, json!({ USER: 1 }));
    let (_, received) = control.get(&format!("{channel}/users/{USER}/deliveries")).await;
    assert_eq!(received[0]["unit"], "winter_coupon");
    let (_, requests) = control.get("requests?after=1&limit=1").await;
    assert_eq!(requests.as_array().unwrap().len(), 1);
    assert_eq!(requests[0]["fault"], "lost_after");
    assert_eq!(requests[0]["status"], Value::Null);

    control.set(&format!("{channel}/refused-users"), json!({"with_index": [USER]})).await;
    control.set("faults", json!([])).await;
    let (_, messages) = control.get("state").await;
    assert_eq!(messages["faults"], json!([]));
}

#[rstest]
#[case("channels/9/quota", "application/json", "{}", 404, "no channel `9`")]
#[case("faults", "application/json", "[{\"kind\":\"lost\"}]", 400, "unknown variant `lost`")]
#[case("faults", "application/json", "[", 400, "EOF")]
#[case("faults", "text/plain", "[]", 415, "content-type: application/json")]
#[case("channels/1234567890/quota", "application/json", "{\"limt\":1}", 400, "unknown field `limt`")]
#[case(
    "channels/1234567890/friends",
    "application/json",
    "[{\"user\":\"x\",\"status\":\"blocked\"}]",
    400,
    "not a LINE user id"
)]
#[case("nothing", "application/json", "{}", 404, "GET /sandbox/state")]
#[tokio::test]
async fn a_mistake_is_told(
    #[case] path: &str,
    #[case] media_type: &str,
    #[case] body: &str,
    #[case] status: u16,
    #[case] says: &str,
) {
    let served = Served::start(|_| {}).await;
    let (answered, error) = Control::of(&served).put(path, media_type, body).await;
    assert_eq!(answered, status);
    assert!(error["message"].as_str().unwrap().contains(says), "{error}");
}

/// The server holds at most 1,024 connections; more clients than that gave up, and it still serves.
#[tokio::test]
async fn a_hanging_request_ends_with_its_client() {
    let served = Served::start(|settings| settings.faults = vec![Fault::always(FaultKind::HangBefore)]).await;
    let address = served.base.trim_start_matches("http://").to_owned();
    for n in 1..=1_100 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = "POST /v2/bot/message/multicast HTTP/1.1\r\nHost: localhost\r\n\
                       Authorization: Bearer long-lived\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        while served.sandbox.totals().unanswered < n {
            tokio::task::yield_now().await;
        }
    }
    served.sandbox.set_faults(Vec::new());
    assert_eq!(served.client(PATIENT).multicast(key_of(&a_body()), a_body()).await.answer, Answer::Accepted);
}
