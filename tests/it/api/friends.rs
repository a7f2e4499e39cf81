//! What friends are, what happens to them, and how they are forgotten.

use axum::body::Body;
use haishin::domain::effect::Effect;
use haishin::domain::id::{FriendId, Seq};
use haishin::domain::time::{Instant, Span};
use haishin::protocol::Command;
use rstest::rstest;
use serde_json::{Value, json};

use super::{NOW, Stand, all_taken, user};
use crate::support::store::Database;

fn utc(text: &str) -> String {
    Instant::try_from(text.to_owned()).unwrap().to_string()
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_friend_is_what_was_said_of_it(#[case] database: Database) {
    let stand = Stand::new(database).await;
    let said = stand
        .friends(json!({
            "user": user(1), "external_id": "c/1 あ", "status": "blocked", "followed_at": "2026-01-02T03:04:05.678+09:00",
            "tags": { "add": ["member", { "tag": "trial", "at": "2026-02-03T00:00:00Z" }, { "tag": "now" }], "remove": ["guest"] },
            "attributes": {
                "prefecture": "東京都", "birthday": "1990-05-01", "points": 7.0, "weight": 7, "newsletter": true,
                "booking_at": "2026-12-05 10:00",
            },
        }))
        .await;
    assert_eq!((said.status, said.body), (202, all_taken(1)));
    // By either name, at once; an external id is percent-encoded.
    let expected = json!({
        "friend": 0, "user": user(1), "status": "blocked", "status_at": utc(NOW),
        "followed_at": "2026-01-01T18:04:05.678Z", "external_id": "c/1 あ",
        "tags": { "member": utc(NOW), "now": utc(NOW), "trial": "2026-02-03T00:00:00.000Z" },
        "attributes": {
            "prefecture": "東京都", "birthday": { "date": "1990-05-01" }, "points": 7, "weight": 7.0,
            "newsletter": true, "booking_at": { "instant": "2026-12-05T01:00:00.000Z" },
        },
        "erased_at": null, "quarantined_at": null,
    });
    for name in [user(1).as_str(), "c%2F1%20%E3%81%82"] {
        let shown = stand.get(name).await;
        assert_eq!((shown.status, shown.body), (200, expected.clone()));
    }
    // As the command tells it.
    let mut told = stand.command(Some("shop"), Command::FriendShow { friend: user(1) }).await.unwrap().json;
    assert!(told.as_object_mut().unwrap().remove("story").is_some());
    assert_eq!(told, expected);

    // By customer id; what is not mentioned stays; a tag in both lists is given anew.
    stand.clock.advance(Span::from_secs(1));
    let said = stand
        .friends(json!({
            "external_id": "c/1 あ", "status": "following", "tags": { "add": ["member"], "remove": ["member", "now"] },
            "attributes": { "prefecture": null, "points": -1 },
        }))
        .await;
    assert_eq!(said.status, 202, "{said:?}");
    let later = (Instant::try_from(NOW.to_owned()).unwrap() + Span::from_secs(1)).to_string();
    let mut changed = expected;
    changed["status"] = json!("following");
    changed["status_at"] = json!(later);
    changed["tags"] = json!({ "member": later, "trial": "2026-02-03T00:00:00.000Z" });
    changed["attributes"].as_object_mut().unwrap().remove("prefecture");
    changed["attributes"]["points"] = json!(-1);
    assert_eq!(stand.get(&user(1)).await.body, changed);

    let said = stand.friends(json!({ "user": user(1), "external_id": null })).await;
    assert_eq!(said.status, 202);
    assert_eq!(stand.get(&user(1)).await.body["external_id"], Value::Null);
    assert_eq!(stand.get("c%2F1%20%E3%81%82").await.problem(), (404, "not_found"));
}

/// Each item stands for itself: whole or not at all, and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_tells_of_each_item_and_half_applies_none() {
    let stand = Stand::new(Database::Sqlite).await;
    let said = stand
        .friends(json!([
            { "user": user(1), "external_id": "c-1" },
            // Known since the line before.
            { "external_id": "c-1", "tags": { "add": ["second"] } },
            { "external_id": "c-9", "tags": { "add": ["nobody"] } },
            // All but its last field is right.
            { "user": user(2), "tags": { "add": ["half"] }, "attributes": { "newsletter": true, "pointz": 1 } },
            { "user": user(1), "attributes": { "points": "7" } },
            { "user": user(3), "external_id": "c-1" },
            { "external_id": "c-1", "tags": { "add": ["of whom"] } },
            { "user": "U1", "tags": { "add": ["x"] } },
            { "user": user(1), "tags": { "add": ["last"] } },
            null,
        ]))
        .await;
    assert_eq!(said.status, 207);
    assert_eq!(
        said.codes(),
        [
            "",
            "",
            "not_found",
            "undeclared_attribute",
            "attribute_type",
            "",
            "conflict",
            "invalid",
            "",
            "invalid"
        ]
    );
    assert_eq!((&said.body["accepted"], &said.body["rejected"]), (&json!(4), &json!(6)));
    let problem = |n: usize| &said.body["results"][n]["problem"];
    let pointers: Vec<_> = (0..10).map(|n| problem(n)["pointer"].as_str().unwrap_or("-")).collect();
    assert_eq!(
        pointers,
        [
            "-",
            "-",
            "/2/external_id",
            "/3/attributes/pointz",
            "/4/attributes/points",
            "-",
            "/6/external_id",
            "/7/user",
            "-",
            "/9"
        ]
    );
    assert_eq!(problem(3)["detail"], "there is no attribute `pointz`: did you mean `points`?");
    assert_eq!(problem(6)["detail"], "2 friends have the external id `c-1`; name this one by user");

    let tags = |shown: &Value| shown["tags"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(tags(&stand.get(&user(1)).await.body), ["last", "second"]);
    assert_eq!(stand.get(&user(2)).await.status, 404, "nothing of its item is there, nor the friend");
    assert_eq!(stand.test.store.stray_count(stand.row("shop").await).await.unwrap(), 0);

    // Alone, an item that is not taken is the whole answer.
    let alone = stand.friends(json!({ "user": user(2), "attributes": { "pointz": 1 } })).await;
    assert_eq!(alone.problem(), (409, "undeclared_attribute"));
    assert_eq!(alone.body["pointer"], "/attributes/pointz");
    assert_eq!(stand.friends(json!([null])).await.status, 207, "a batch of one is a batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_happens_once_for_each_identity() {
    let stand = Stand::new(Database::Sqlite).await;
    stand.friends(json!({ "user": user(1), "external_id": "c-1" })).await;
    let properties = json!({
        "amount": 12800, "rate": 0.5, "shop": "渋谷", "gift": false, "on": { "date": "2026-01-02" },
        "at": { "instant": "2026-01-02T03:04:05+09:00" },
    });
    let full = json!({
        "external_id": "c-1", "name": "purchase", "at": "2026-12-01T10:00:00+09:00", "event_id": "order-1",
        "properties": properties,
    });
    for _ in 0..3 {
        assert_eq!(stand.events(full.clone()).await.status, 202);
    }
    // The first that came with an id counts, whoever it was about.
    let other = json!({ "user": user(1), "name": "refund", "event_id": "order-1" });
    assert_eq!(stand.events(other).await.status, 202);
    let happened = stand.happened().await;
    assert_eq!(happened.len(), 1);
    assert_eq!(happened[0].at.to_string(), "2026-12-01T01:00:00.000Z");
    let Effect::Event { name, event_id, properties: kept } = &happened[0].effect else { unreachable!() };
    assert_eq!((name.as_str(), event_id.as_deref()), ("purchase", Some("order-1")));
    let mut expected = properties;
    expected["at"] = json!({ "instant": "2026-01-01T18:04:05.000Z" });
    assert_eq!(serde_json::to_value(kept).unwrap(), expected);

    // Without an id its content says which it is: equal ones of one request are several, and all of them once.
    let visit = json!({ "user": user(1), "name": "visit", "at": "2026-12-02T10:00:00+09:00" });
    for _ in 0..2 {
        stand.events(json!([visit, visit, { "user": user(1), "name": "visit", "at": "2026-12-02T10:00:01+09:00" }])).await;
    }
    assert_eq!(stand.happened().await.len(), 1 + 3);
    // Without an instant either, nothing says that it is the same.
    for _ in 0..2 {
        stand.events(json!({ "user": user(1), "name": "visit" })).await;
    }
    let happened = stand.happened().await;
    assert_eq!(happened.len(), 1 + 3 + 2);
    assert_eq!(happened[5].at.to_string(), utc(NOW));

    let mistakes = stand
        .events(json!([
            { "user": user(1), "external_id": "c-1", "name": "both" },
            { "name": "neither" },
            { "user": user(1) },
            { "user": user(1), "name": "" },
            { "user": user(1), "name": "x", "properties": { "a": null } },
            { "user": user(1), "name": "x", "properties": { "a": { "date": "2026-1-2" } } },
            { "user": user(1), "name": "x", "properties": { "a": { "date": "2026-01-02", "instant": NOW } } },
            { "user": user(1), "name": "x", "properties": {} },
            { "user": user(1), "name": "x", "at": "2026-12-01" },
            { "user": user(1), "name": "x", "event_id": "" },
            { "external_id": "c-9", "name": "x" },
        ]))
        .await;
    let mut codes = vec!["invalid"; 10];
    codes.push("not_found");
    assert_eq!(mistakes.codes(), codes);
    assert_eq!(stand.happened().await.len(), 6);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_is_hidden_at_once_and_comes_back_as_another(#[case] database: Database) {
    let stand = Stand::new(database).await;
    for n in [1, 2] {
        let friend =
            json!({ "user": user(n), "external_id": format!("c-{n}"), "tags": { "add": ["member"] } });
        stand.friends(friend).await;
    }
    let followers = async || {
        let status = stand.command(Some("shop"), Command::Status).await.unwrap().json;
        (status["friends"].as_u64().unwrap(), status["following"].as_u64().unwrap())
    };
    assert_eq!(stand.get("c-1").await.status, 200);
    assert_eq!(followers().await, (2, 2));

    let gone = stand.delete("c-1").await;
    assert_eq!((gone.status, gone.body), (204, Value::Null));
    for name in ["c-1", user(1).as_str()] {
        assert_eq!(stand.get(name).await.problem(), (404, "not_found"));
        assert_eq!(stand.delete(name).await.problem(), (404, "not_found"));
    }
    assert_eq!(followers().await, (1, 1));
    assert_eq!(stand.get("c-2").await.status, 200);

    // The row keeps nothing of the friend but the dense id.
    let account = stand.row("shop").await;
    let row = loop {
        let row = stand.test.store.friends_by_id(account, &[FriendId(0)]).await.unwrap().remove(0);
        if row.erased_at.is_some() {
            break row;
        }
        stand.get("nobody").await;
    };
    assert_eq!((row.user, row.external_id, row.tags.len()), (None, None, 0));

    // As a new friend, who has never been given a tag.
    stand.friends(json!({ "user": user(1), "status": "following" })).await;
    let back = stand.get(&user(1)).await.body;
    assert_eq!((&back["friend"], &back["tags"]), (&json!(2), &json!({})));
    // Two who ask at once forget one friend, and nobody joins for it.
    let name = user(1);
    let (one, two) = tokio::join!(stand.delete(&name), stand.delete(&name));
    assert!(one.status == 204 || two.status == 204, "{one:?} {two:?}");
    stand.friends(json!({ "user": user(4), "status": "following" })).await;
    assert_eq!(stand.get(&user(4)).await.body["friend"], 3);
}

/// An account knows nothing of another's friends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_from_one_account_to_another() {
    let mut stand = Stand::new(Database::Sqlite).await;
    stand.friends(json!({ "user": user(1), "external_id": "c-1" })).await;
    stand.token = stand.make_token(None, &super::ALL).await;
    let there = stand.post("/v1/accounts/other/events", &json!({ "external_id": "c-1", "name": "x" })).await;
    assert_eq!(there.problem(), (404, "not_found"));
    let there =
        stand.post("/v1/accounts/other/friends", &json!({ "user": user(1), "tags": { "add": ["x"] } })).await;
    assert_eq!(there.status, 202);
    assert_eq!(stand.get("c-1").await.body["tags"], json!({}));
    let shown = format!("/v1/accounts/other/friends/{}", user(1));
    let shown = stand.call(stand.request("GET", &shown).body(Body::empty()).unwrap()).await.body;
    assert_eq!((&shown["friend"], &shown["external_id"]), (&json!(0), &Value::Null));
    let entries = stand.test.store.entries(stand.row("other").await, Seq(0), 100).await.unwrap();
    let [joined, tagged] = entries.as_slice() else { panic!("{entries:?}") };
    assert!(
        matches!(joined.effect, Effect::Joined { .. }) && matches!(tagged.effect, Effect::TagAdded { .. })
    );
}
