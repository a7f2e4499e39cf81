//! What is acknowledged is applied once: again, out of order, at once, in any company.

use haishin::clock::Clock as _;
use haishin::domain::friend::Status;
use haishin::domain::time::Span;
use haishin::store::Prune;
use rstest::rstest;
use serde_json::{Value, json};

use super::{NOW, Shop, body, event};
use crate::support::daemon::at;
use crate::support::store::Database;
use crate::support::world::user;

fn text() -> Value {
    json!({ "message": { "id": "1", "type": "text", "text": "こんにちは" } })
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_again_is_applied_once(#[case] database: Database) {
    let shop = Shop::new(database).await;
    let follow = event("follow", "01A", 1, 60, json!({ "follow": { "isUnblocked": false } }));
    let message = event("message", "01B", 1, 50, text());
    let postback = event("postback", "01C", 2, 40, json!({ "postback": { "data": "action=book" } }));
    let all = [follow, message, postback];
    assert_eq!(shop.post(&body(&all)).await, 200);
    let friends = shop.friends().await;
    assert_eq!(friends.iter().map(|friend| friend.user).collect::<Vec<_>>(), [Some(user(1)), Some(user(2))]);
    assert_eq!(friends[0].followed_at, Some(at(NOW) - Span::from_secs(60)));
    let events = [(0, "line.follow"), (0, "line.message"), (1, "line.postback")];
    let events = events.map(|(friend, name)| (friend, name.to_owned()));
    assert_eq!(shop.events().await, events);

    // As a whole, redelivered, in other company, twice in one body.
    let redelivered = all.clone().map(|mut event| {
        event["deliveryContext"]["isRedelivery"] = true.into();
        event
    });
    for again in [all.to_vec(), redelivered.to_vec(), vec![all[1].clone(), all[1].clone(), all[0].clone()]] {
        assert_eq!(shop.post(&body(&again)).await, 200);
    }
    assert_eq!(shop.friends().await, friends);
    assert_eq!(shop.events().await, events);
}

/// LINE sends in any order and again. Whatever the order, the latest by LINE's own clock counts; what happened is told
/// of each.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_follow_or_block_counts_in_whatever_order_they_come(#[case] database: Database) {
    let shop = Shop::new(database).await;
    // Each friend's follow, block and follow, seconds ago.
    let told = |friend: u32| {
        [("follow", 90), ("unfollow", 60), ("follow", 30)].map(|(kind, ago)| {
            event(
                kind,
                &format!("{friend}-{ago}"),
                friend,
                ago,
                json!({ "follow": { "isUnblocked": ago == 30 } }),
            )
        })
    };
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (friend, order) in (0..).zip(orders) {
        for n in order {
            // Some in a body of their own, some together; some before others are applied, some after.
            assert_eq!(shop.post(&body(&[told(friend)[n].clone()])).await, 200);
            if friend % 2 == 0 {
                shop.settled().await;
            }
        }
        let together: Vec<Value> = order.iter().map(|n| told(100 + friend)[*n].clone()).collect();
        assert_eq!(shop.post(&body(&together)).await, 200);
    }
    // And those whose last word is a block.
    for (friend, order) in (200..).zip([[0, 1], [1, 0]]) {
        for n in order {
            assert_eq!(shop.post(&body(&[told(friend)[n].clone()])).await, 200);
        }
    }
    let seconds_ago = |seconds| at(NOW) - Span::from_secs(seconds);
    for friend in shop.friends().await {
        let last = if [200, 201].map(user).contains(&friend.user.unwrap()) {
            (Status::Blocked, seconds_ago(60))
        } else {
            (Status::Following, seconds_ago(30))
        };
        assert_eq!((friend.status, friend.status_at), last, "{:?}", friend.user);
    }
    assert_eq!(shop.events().await.len(), 12 * 3 + 2 * 2, "each of them happened");
}

/// What somebody caught and plays again when its identity may be forgotten is acknowledged, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_its_identity_is_remembered_is_not_applied() {
    const WEEK: i64 = 7 * 24 * 3_600;
    let shop = Shop::new(Database::Sqlite).await;
    let old = event("message", "01A", 1, WEEK, text());
    let older = event("message", "01B", 2, WEEK + 1, text());
    assert_eq!(shop.post(&body(&[old.clone(), older])).await, 200);
    assert_eq!(shop.events().await, [(0, "line.message".to_owned())]);
    // A second later it is too old itself; its identity is still there, and would be for a day.
    shop.clock.advance(Span::from_secs(1));
    assert_eq!(shop.post(&body(&[old])).await, 200);
    assert_eq!(shop.events().await.len(), 1);
    let cutoffs = Prune::WebhookIds(shop.clock.now() - Span::from_days(7));
    assert_eq!(shop.test.store.prunable(shop.account, &[cutoffs]).await.unwrap(), None);
}

/// Many callers at once, each body sent by two of them.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_at_once_is_all_applied_once(#[case] database: Database) {
    const BODIES: u32 = 60;
    let shop = std::sync::Arc::new(Shop::new(database).await);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..32_u32 {
        let shop = shop.clone();
        callers.spawn(async move {
            for n in (0..BODIES).filter(|n| n % 16 == caller % 16) {
                let events: Vec<Value> = (0..10)
                    .map(|k| event("message", &format!("{n}-{k}"), n % 7, i64::from(k), text()))
                    .collect();
                assert_eq!(shop.post(&body(&events)).await, 200);
            }
        });
    }
    callers.join_all().await;
    assert_eq!(shop.events().await.len(), 10 * BODIES as usize);
    assert_eq!(shop.friends().await.len(), 7);
}

/// While another module holds the chat nothing is sent for what happens in it: it does not happen here. Who follows is so
/// all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_standby_only_who_follows_is_applied() {
    let shop = Shop::new(Database::Sqlite).await;
    let standby = |mut event: Value| {
        event["mode"] = "standby".into();
        event.as_object_mut().unwrap().remove("replyToken");
        event
    };
    let events = [
        standby(event("unfollow", "01A", 1, 3, json!({}))),
        standby(event("message", "01B", 2, 2, text())),
        event("message", "01C", 3, 1, text()),
    ];
    assert_eq!(shop.post(&body(&events)).await, 200);
    let friends = shop.friends().await;
    let of = |n| friends.iter().find(|friend| friend.user == Some(user(n)));
    assert_eq!(of(1).unwrap().status, Status::Blocked);
    assert!(of(2).is_none(), "nothing was said of who is");
    assert_eq!(shop.events().await.len(), 1);
    assert_eq!(of(3).unwrap().status, Status::Following);
}

/// What LINE's console sends to try a webhook is answered, and nobody becomes a friend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trying_the_webhook_from_the_console_makes_no_friend() {
    let shop = Shop::new(Database::Sqlite).await;
    assert_eq!(shop.post(&body(&[])).await, 200);
    let mut dummy = event("follow", "01A", 1, 0, json!({ "replyToken": "00000000000000000000000000000000" }));
    dummy["source"]["userId"] = "Udeadbeefdeadbeefdeadbeefdeadbeef".into();
    assert_eq!(shop.post(&body(&[dummy])).await, 200);
    assert_eq!(shop.friends().await, []);
}

/// A webhook is appended and acknowledged while its owner is away, and applied when there is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_needs_no_owner() {
    let shop = Shop::new(Database::Sqlite).await;
    shop.kill_engine().await;
    assert_eq!(shop.post(&body(&[event("message", "01A", 1, 0, text())])).await, 200);
    assert_eq!(shop.test.store.inbox_len(shop.account).await.unwrap(), 1);
}
