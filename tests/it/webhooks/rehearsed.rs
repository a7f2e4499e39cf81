//! Webhooks that the sandbox sends: a rehearsal without LINE, with a real daemon.

use std::sync::Arc;

use haishin::clock::SetClock;
use haishin::sandbox::Deed;
use serde_json::{Value, json};

use super::{NOW, SECRET, client};
use crate::support::daemon::{CHANNEL, Line, Shop, at, until};
use crate::support::store::Database;
use crate::support::world::user;

/// From the sandbox's control API through the daemon's door to the friend, and to what a marketer asks of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sandbox_sends_the_daemon_applies() {
    let (line, sandbox) = (Line::bind().await, Line::sandbox(|_| ()));
    let control = format!("http://{}/sandbox", line.address);
    let shop = Shop::new(Database::Sqlite, line.address, "").await;
    shop.write(
        "segments/booked.toml",
        "title = \"予約した\"\nall = [{ event = \"line.postback\", where = { data = \"action=book\" } }]\n",
    );
    let _serving = line.serve(sandbox.clone(), Arc::new(SetClock::new(at(NOW), 1)));
    let daemon = shop.started(at(NOW)).await;
    let door = format!("http://{}/webhook/shop", shop.http_address());
    let client = client();
    let tell = async |to: &str, events: Value| {
        let told = client
            .post(format!("{control}/channels/{CHANNEL}/webhook"))
            .json(&json!({ "to": to, "events": events }));
        let answer = told.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (ann, bob) = (user(1).to_string(), user(2).to_string());
    let events = json!([
        { "type": "follow", "user": ann },
        { "type": "postback", "user": ann, "at": at(NOW), "with": { "postback": { "data": "action=book" } } },
        { "type": "message", "user": bob },
        { "type": "unfollow", "user": bob },
    ]);
    assert_eq!(tell(&door, events.clone()).await, (200, "{}".into()));
    let status = async || {
        let status = shop.ask(&["status"])?["accounts"][0].clone();
        (status["friends"] == 2 && status["inbox"] == 0).then_some(status)
    };
    assert_eq!(until("both are friends", status).await["following"], 1);
    let booked = shop.ask(&["segment", "count", "booked"]).unwrap();
    assert_eq!(booked["segments"][0]["friends"], 1, "{booked}");
    // The sandbox's own friends follow as well.
    let report = sandbox.channels(at(NOW)).into_iter().next().unwrap();
    assert_eq!(report.friends, 2);

    // Wrong doors are told, and none on another machine is knocked at.
    let (status, told) = tell(&door.replace("shop", "other"), events.clone()).await;
    assert!(status == 502 && told.contains("401"), "{status} {told}");
    let (status, told) = tell("https://example.com/webhook/shop", events.clone()).await;
    assert!(status == 400 && told.contains("this machine"), "{status} {told}");
    assert_eq!(tell(&door, json!([{ "type": "follow" }])).await.0, 400);
    daemon.terminate();
}

#[test]
fn each_deed_is_an_event_of_its_own() {
    let sandbox = Line::sandbox(|_| ());
    let deeds = [Deed::new("follow", user(1)), Deed::new("message", user(1)), Deed::new("unfollow", user(1))];
    let webhook = |now| sandbox.webhook(CHANNEL, &deeds, now).unwrap();
    let (first, again) = (webhook(at(NOW)), webhook(at(NOW)));
    let secret = crate::support::daemon::SECRET;
    assert_eq!(first.signature, haishin::line::webhook::sign(first.body.as_bytes(), secret.as_bytes()));
    assert_ne!(SECRET, secret);
    let mut ids = std::collections::BTreeSet::new();
    for body in [first.body, again.body] {
        let body: Value = serde_json::from_str(&body).unwrap();
        for event in body["events"].as_array().unwrap() {
            let id = event["webhookEventId"].as_str().unwrap().to_owned();
            assert_eq!(id.len(), 26);
            assert!(ids.insert(id), "twice the same");
            let answerable = event["type"] != "unfollow";
            assert_eq!(event["replyToken"].as_str().map(str::len), answerable.then_some(32));
        }
    }
    assert!(sandbox.webhook("none", &deeds, at(NOW)).is_err());
}
