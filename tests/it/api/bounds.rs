//! Every bound, reached once and passed once; and what happens when the database or the owner is away.

use axum::body::{Body, Bytes};
use futures_util::stream;
use haishin::control::api::{
    ATTRIBUTES_MAX, INBOX_ROWS_MAX, INTAKES_MAX, ITEMS_MAX, KEY_MAX, PROPERTIES_MAX, TAGS_MAX,
};
use haishin::http::api::{BODY_MAX, REQUESTS_MAX};
use haishin::store::NewInbox;
use serde_json::{Map, Value, json};
use tower::Service as _;

use super::{Stand, all_taken, user};
use crate::support::store::Database;

const FRIENDS: &str = "/v1/accounts/shop/friends";

fn tags(count: usize) -> Value {
    json!({ "add": (0..count).map(|n| n.to_string()).collect::<Vec<_>>() })
}

fn named(count: usize) -> Map<String, Value> {
    (0..count).map(|n| (format!("a{n}"), json!(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_may_say_is_bounded() {
    let stand = Stand::new(Database::Sqlite).await;
    let item = |n| json!({ "user": user(n), "status": "following" });
    let items = |count: usize| (0..u32::try_from(count).unwrap()).map(item).collect::<Vec<_>>();
    let full = stand.friends(json!(items(ITEMS_MAX))).await;
    assert_eq!((full.status, full.body), (202, all_taken(ITEMS_MAX)));
    for wrong in [json!(items(ITEMS_MAX + 1)), json!([])] {
        assert_eq!(stand.friends(wrong).await.problem(), (422, "invalid"));
    }

    let many = INTAKES_MAX / TAGS_MAX;
    let tagged = |count: u32| (0..count).map(|n| json!({ "user": user(n), "tags": tags(TAGS_MAX) }));
    let mut all: Vec<Value> = tagged(u32::try_from(many).unwrap()).collect();
    assert_eq!(stand.friends(json!(all)).await.status, 202);
    all.push(item(1));
    assert_eq!(stand.friends(json!(all)).await.problem(), (413, "too_large"));

    for (count, status) in [(TAGS_MAX, 202), (TAGS_MAX + 1, 422), (0, 422)] {
        assert_eq!(stand.friends(json!({ "user": user(1), "tags": tags(count) })).await.status, status);
        let removed = json!({ "user": user(1), "tags": { "remove": tags(count)["add"] } });
        assert_eq!(stand.friends(removed).await.status, status);
    }
    // None of them is declared, which is looked at once there are not too many.
    for (count, status) in [(ATTRIBUTES_MAX, 409), (ATTRIBUTES_MAX + 1, 422), (0, 422)] {
        let said = stand.friends(json!({ "user": user(1), "attributes": named(count) })).await;
        assert_eq!(said.status, status);
    }
    for (count, status) in [(PROPERTIES_MAX, 202), (PROPERTIES_MAX + 1, 422), (0, 422)] {
        let said = stand.events(json!({ "user": user(1), "name": "x", "properties": named(count) })).await;
        assert_eq!(said.status, status);
    }
    for (length, status) in [(200, 202), (201, 422), (0, 422)] {
        let id = "客".repeat(length);
        let said = stand.friends(json!({ "user": user(1), "external_id": id })).await;
        assert_eq!(said.status, status);
        let said = stand.events(json!({ "user": user(1), "name": id })).await;
        assert_eq!(said.status, status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_itself_is_bounded() {
    let stand = Stand::new(Database::Sqlite).await;
    let padded = |bytes: usize| {
        let item = json!({ "user": user(1), "status": "following" }).to_string();
        format!("{item}{}", " ".repeat(bytes - item.len()))
    };
    assert_eq!(stand.post_text(FRIENDS, &[], padded(BODY_MAX)).await.status, 202);
    let long = stand.post_text(FRIENDS, &[], padded(BODY_MAX + 1)).await;
    assert_eq!(long.problem(), (413, "too_large"));

    // However deep, it is told and not met with a full stack.
    let deep = |depth: usize| format!("{{\"user\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    for depth in [10, 100_000] {
        assert_eq!(stand.post_text(FRIENDS, &[], deep(depth)).await.problem().0, 422);
    }
    for broken in ["", "{", "[{]", "nul", "{} {}", "[1,]", "{\"user\":\"\u{0}\"}", "\u{feff}{}"] {
        assert_eq!(
            stand.post_text(FRIENDS, &[], broken.to_owned()).await.problem(),
            (400, "malformed"),
            "{broken}"
        );
    }
    let latin = stand.post_text(FRIENDS, &[], Body::from(&b"{\"user\":\"\xe9\"}"[..])).await;
    assert_eq!(latin.problem(), (400, "malformed"));
    let cut = stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]);
    assert_eq!(stand.post_text(FRIENDS, &[], Body::from_stream(cut)).await.problem(), (400, "malformed"));

    let plain =
        stand.request("POST", FRIENDS).header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(stand.call(plain).await.problem(), (415, "unsupported_media_type"));

    let item = json!({ "user": user(1), "status": "following" }).to_string();
    let key = async |length| {
        let key = "k".repeat(length);
        stand.post_text(FRIENDS, &[("idempotency-key", key.as_str())], item.clone()).await
    };
    assert_eq!(key(KEY_MAX).await.status, 202);
    assert_eq!(key(KEY_MAX + 1).await.problem(), (400, "malformed"));
}

/// As many bodies that do not come as there are places: the next request is told to come again, and is served once one
/// of them has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_hand_are_bounded() {
    let stand = Stand::new(Database::Sqlite).await;
    let mut slow = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let (read, reading) = tokio::sync::oneshot::channel();
        let mut read = Some(read);
        let body = Body::from_stream(stream::poll_fn(move |_| {
            if let Some(read) = read.take() {
                let _ = read.send(());
            }
            std::task::Poll::<Option<Result<Bytes, std::io::Error>>>::Pending
        }));
        let request =
            stand.request("POST", FRIENDS).header("content-type", "application/json").body(body).unwrap();
        slow.push(tokio::spawn(stand.router.clone().call(request)));
        // Its body is asked for, so it has its place.
        reading.await.unwrap();
    }
    let refused = stand.get("nobody").await;
    assert_eq!(refused.problem(), (503, "busy"));
    assert_eq!(refused.header("retry-after"), "1");
    let gone = slow.pop().unwrap();
    gone.abort();
    assert!(gone.await.is_err());
    assert_eq!(stand.get("nobody").await.problem(), (404, "not_found"));
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Nobody applies anything: the inbox fills up to its bound, and no further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_is_far_behind_takes_no_more() {
    let stand = Stand::idle(Database::Sqlite).await;
    let account = stand.row("shop").await;
    let now = haishin::clock::Clock::now(stand.clock.as_ref());
    let row = || NewInbox { account, received_at: now, source: "api".into(), intakes: vec![] };
    let rows = usize::try_from(INBOX_ROWS_MAX).unwrap() - 1;
    stand.test.store.append_inbox(std::iter::repeat_with(row).take(rows).collect()).await.unwrap();
    // Any node may take in, also one that does not own the account; it cannot ask whose a customer id is.
    let item = json!({ "external_id": "c-1", "status": "following" });
    assert_eq!(stand.friends(item.clone()).await.status, 202);
    let full = stand.friends(item).await;
    assert_eq!(full.problem(), (503, "busy"));
    assert_eq!(full.header("retry-after"), "1");
    assert_eq!(stand.test.store.inbox_len(account).await.unwrap(), INBOX_ROWS_MAX);
    // Whom it does not own it cannot show either.
    assert_eq!(stand.get("c-1").await.problem(), (503, "unavailable"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_it_is_told_to_come_again() {
    let stand = Stand::new(Database::Sqlite).await;
    stand.test.store.close().await;
    for said in [stand.friends(json!([])).await, stand.get("c-1").await, stand.delete("c-1").await] {
        assert_eq!(said.problem(), (503, "unavailable"));
        assert_eq!(said.header("retry-after"), "5");
    }
}
