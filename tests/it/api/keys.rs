//! Idempotency keys: the same request is taken once, however often it comes, whatever happens in between.

use haishin::domain::time::Span;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Said, Stand, all_taken, user};
use crate::support::faulty::Mishap;
use crate::support::store::Database;

const EVENTS: &str = "/v1/accounts/shop/events";

/// Nothing but its key makes it the same.
fn visit(n: u32) -> Value {
    json!({ "user": user(n), "name": "visit" })
}

async fn keyed(stand: &Stand, key: &str, body: &Value) -> Said {
    stand.post_text(EVENTS, &[("idempotency-key", key)], body.to_string()).await
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_is_taken_once_for_a_day(#[case] database: Database) {
    let mut stand = Stand::new(database).await;
    let batch = json!([visit(1), { "name": "bad" }]);
    let first = keyed(&stand, "k-1", &batch).await;
    assert_eq!((first.status, first.codes()), (207, vec!["", "invalid"]));
    stand.clock.advance(Span::from_hours(23));
    let again = keyed(&stand, "k-1", &batch).await;
    assert_eq!((again.status, &again.body), (207, &first.body));
    assert_eq!(stand.happened().await.len(), 1);

    // Another body, another route, byte by byte.
    assert_eq!(keyed(&stand, "k-1", &json!([visit(1)])).await.problem(), (422, "key_reused"));
    let spaced = stand.post_text(EVENTS, &[("idempotency-key", "k-1")], format!("{batch} ")).await;
    assert_eq!(spaced.problem(), (422, "key_reused"));
    let friends = "/v1/accounts/shop/friends";
    let elsewhere = stand.post_text(friends, &[("idempotency-key", "k-1")], batch.to_string()).await;
    assert_eq!(elsewhere.problem(), (422, "key_reused"));
    // Another key, and the same key of another account, are others.
    assert_eq!(keyed(&stand, "K-1", &batch).await.status, 207);
    assert_eq!(stand.happened().await.len(), 2);
    stand.token = stand.make_token(Some("other"), &super::ALL).await;
    let path = "/v1/accounts/other/events";
    let other = stand.post_text(path, &[("idempotency-key", "k-1")], visit(9).to_string()).await;
    assert_eq!(other.status, 202);
    stand.token = stand.make_token(Some("shop"), &super::ALL).await;

    stand.clock.advance(Span::from_millis(3_600_001));
    assert_eq!(keyed(&stand, "k-1", &json!([visit(1)])).await.status, 202, "forgotten after a day");
    assert_eq!(stand.happened().await.len(), 3);
}

/// What was not taken is not remembered either: it may be right a moment later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_does_not_use_a_key_up() {
    let stand = Stand::new(Database::Sqlite).await;
    let event = json!({ "external_id": "c-1", "name": "visit" });
    assert_eq!(keyed(&stand, "k", &event).await.problem(), (404, "not_found"));
    stand.friends(json!({ "user": user(1), "external_id": "c-1" })).await;
    for _ in 0..2 {
        let taken = keyed(&stand, "k", &event).await;
        assert_eq!((taken.status, taken.body), (202, all_taken(1)));
    }
    assert_eq!(stand.happened().await.len(), 1);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_requests_at_once_are_one(#[case] database: Database) {
    let stand = Stand::new(database).await;
    for round in 0..5 {
        let (key, body) = (format!("k-{round}"), json!([visit(1), visit(2)]));
        let all = tokio::join!(
            keyed(&stand, &key, &body),
            keyed(&stand, &key, &body),
            keyed(&stand, &key, &body),
            keyed(&stand, &key, &body),
        );
        for said in [all.0, all.1, all.2, all.3] {
            assert_eq!((said.status, said.body), (202, all_taken(2)));
        }
        assert_eq!(stand.happened().await.len(), 2 * (round + 1));
    }
}

/// The commit lands and its answer is lost, or it never left: sent again, it has happened once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_answer_the_same_request_finds_what_became_of_it() {
    let stand = Stand::new(Database::Sqlite).await;
    for (n, mishap) in (1..).zip([Mishap::LostAfter, Mishap::LostBefore, Mishap::Refused]) {
        let (key, body) = (format!("k-{n}"), visit(n));
        stand.store.strike(1, mishap);
        let lost = keyed(&stand, &key, &body).await;
        assert_eq!(lost.problem(), (503, "unavailable"));
        assert_eq!(lost.header("retry-after"), "5");
        assert_eq!(keyed(&stand, &key, &body).await.status, 202, "{mishap:?}");
        assert_eq!(stand.happened().await.len(), n as usize, "{mishap:?}");
    }
}
