//! What is answered to whom, and that nothing is acknowledged before it is durable.

use haishin::control::{TakeInError, WebhookError};
use haishin::line::webhook::{self, EVENTS_MAX};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{SECRET, Shop, body, event};
use crate::support::daemon::until;
use crate::support::faulty::Mishap;
use crate::support::store::Database;

fn unfollow(id: &str) -> String {
    body(&[event("unfollow", id, 1, 0, json!({}))])
}

fn signature(body: &str, secret: &str) -> String {
    webhook::sign(body.as_bytes(), secret.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_has_its_answer() {
    let shop = Shop::new(Database::Sqlite).await;
    let good = unfollow("01A");
    assert_eq!(shop.client.get(&shop.url).send().await.unwrap().status(), 405);
    assert_eq!(shop.client.post(shop.url.replace("webhook", "hook")).send().await.unwrap().status(), 404);
    assert_eq!(shop.client.post(format!("{}/more", shop.url)).send().await.unwrap().status(), 404);
    assert_eq!(shop.post("[]").await, 400);
    assert_eq!(shop.post("").await, 400);
    let events = |count: usize| body(&vec![json!({}); count]);
    assert_eq!(shop.post(&events(EVENTS_MAX)).await, 200);
    assert_eq!(shop.post(&events(EVENTS_MAX + 1)).await, 413);
    let padded = |bytes: usize| format!("{good}{}", " ".repeat(bytes - good.len()));
    assert_eq!(shop.post(&padded(1 << 20)).await, 200);
    assert_eq!(shop.post(&padded((1 << 20) + 1)).await, 413);
    let header = shop.client.post(&shop.url).header("x-more", "x".repeat(40_000)).body(good.clone());
    assert_eq!(header.send().await.unwrap().status(), 431);

    // The header's name in any case; of two, the first is the one that counts.
    let own = signature(&good, SECRET);
    let request = || shop.client.post(&shop.url).body(good.clone());
    for name in ["x-line-signature", "X-Line-Signature", "X-LINE-SIGNATURE"] {
        assert_eq!(request().header(name, &own).send().await.unwrap().status(), 200);
    }
    let twice = request().header("x-line-signature", "AAAA").header("x-line-signature", &own);
    assert_eq!(twice.send().await.unwrap().status(), 401);
}

/// An account that is not here answers like one whose secret is not known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_sign_does_not_learn_which_accounts_there_are() {
    let shop = Shop::new(Database::Sqlite).await;
    let good = unfollow("01A");
    let mut seen = Vec::new();
    for url in [shop.url.clone(), shop.url.replace("shop", "shoq"), shop.url.replace("shop", "%00%2F..")] {
        for signature in
            [Some(signature(&good, "another")), Some("no Base64".into()), Some(String::new()), None]
        {
            let request = shop.client.post(&url).body(good.clone());
            let request = match signature {
                Some(signature) => request.header("x-line-signature", signature),
                None => request,
            };
            let answer = request.send().await.unwrap();
            let mut headers = answer.headers().clone();
            headers.remove("date");
            seen.push((answer.status().as_u16(), headers, answer.text().await.unwrap()));
        }
    }
    assert_eq!(seen[0].0, 401);
    assert!(seen.iter().all(|answer| *answer == seen[0]), "{seen:#?}");
    assert_eq!(shop.test.store.inbox_len(shop.account).await.unwrap(), 0);
    assert_eq!(shop.friends().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_secret_is_being_changed_both_fit() {
    let shop = Shop::new(Database::Sqlite).await;
    let tried = async |secret: &str| {
        let body = unfollow("01A");
        shop.send(&body, &signature(&body, secret)).await
    };
    assert_eq!([tried(SECRET).await, tried("new").await], [200, 401]);
    *shop.secrets.lock().unwrap() = vec!["new", SECRET];
    shop.node.open_doors().await;
    assert_eq!([tried(SECRET).await, tried("new").await], [200, 200]);
    *shop.secrets.lock().unwrap() = vec!["new"];
    shop.node.open_doors().await;
    assert_eq!([tried(SECRET).await, tried("new").await], [401, 200]);
    // One that cannot be read changes nothing.
    shop.secrets.lock().unwrap().clear();
    shop.node.open_doors().await;
    assert_eq!([tried(SECRET).await, tried("new").await], [401, 200]);
}

/// Whoever waits is not answered before the row is there for everybody, and comes again when it is not.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_that_is_not_durable(#[case] database: Database) {
    let shop = Shop::new(database).await;
    // Without an owner rows stay where they can be counted.
    shop.kill_engine().await;
    let rows = async || shop.test.reopen().await.inbox_len(shop.account).await.unwrap();
    for mishap in [Mishap::Refused, Mishap::LostBefore, Mishap::LostAfter] {
        let before = rows().await;
        shop.appends.strike(1, mishap);
        assert_eq!(shop.post(&unfollow("01A")).await, 503, "{mishap:?}");
        assert_eq!(rows().await - before, u64::from(mishap == Mishap::LostAfter), "{mishap:?}");
        assert_eq!(shop.post(&unfollow("01A")).await, 200);
    }
    let before = rows().await;
    shop.appends.strike(1, Mishap::StuckBefore);
    let body = unfollow("01B");
    let (answer, ()) = tokio::join!(shop.post(&body), async {
        shop.appends.stuck().await;
        assert_eq!(rows().await, before);
        shop.appends.release();
    });
    assert_eq!((answer, rows().await), (200, before + 1));
}

/// A caller that goes away takes nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_takes_nothing_back() {
    let shop = Shop::new(Database::Sqlite).await;
    shop.appends.strike(1, Mishap::StuckBefore);
    let body = unfollow("01A");
    tokio::select! {
        _ = shop.post(&body) => panic!("it is stuck"),
        () = shop.appends.stuck() => {}
    }
    shop.appends.release();
    until("it is applied", async || (!shop.friends().await.is_empty()).then_some(())).await;
}

/// A database that hangs is answered for before LINE gives up, and takes no more into memory than there is room for.
/// Time is virtual.
#[tokio::test(flavor = "current_thread")]
async fn while_the_database_hangs_whoever_waits_is_told_in_time() {
    let shop = Shop::new(Database::Sqlite).await;
    shop.kill_engine().await;
    tokio::time::pause();
    let body = format!("{}{}", unfollow("01A"), " ".repeat(1 << 20));
    let body = &body[..1 << 20];
    let signature = signature(body, SECRET);
    let (shop, signature) = (&shop, signature.as_bytes());
    let take = || async move { shop.node.take_webhook("shop", signature, body.as_bytes()).await };
    (1..=64).for_each(|nth| shop.appends.strike(nth, Mishap::StuckBefore));
    let began = Instant::now();
    let late = futures_util::future::join_all((0..64).map(|_| take())).await;
    let is_late = |one: &Result<_, WebhookError>| matches!(one, Err(WebhookError::TakeIn(TakeInError::Late)));
    assert!(late.iter().all(is_late), "{late:?}");
    // A timer fires within the millisecond after its instant.
    let told = began.elapsed();
    assert!((1_500..=1_501).contains(&told.as_millis()), "{told:?}");
    // None of them has let go of its room.
    let full = take().await;
    assert!(matches!(full, Err(WebhookError::TakeIn(TakeInError::Busy))), "{full:?}");
    assert_eq!(began.elapsed(), told, "at once");
    tokio::time::resume();
    shop.appends.release();
    until("there is room", async || take().await.ok()).await;
}

/// What anybody may send is counted without a series for each name.
#[test]
fn webhooks_are_counted_by_what_became_of_them() {
    let recorder = haishin::telemetry::recorder().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let shop = Shop::new(Database::Sqlite).await;
            let events =
                [event("unfollow", "01A", 1, 0, json!({})), json!({}), event("join", "01B", 1, 0, json!({}))];
            assert_eq!(shop.post(&body(&events)).await, 200);
            assert_eq!(shop.send(&body(&[]), "AAAA").await, 401);
            for name in ["a", "b"] {
                let url = shop.url.replace("shop", name);
                assert_eq!(shop.client.post(url).send().await.unwrap().status(), 401);
            }
            assert_eq!(shop.post("{").await, 400);
            assert_eq!(shop.post(&" ".repeat((1 << 20) + 1)).await, 413);
            shop.appends.strike(1, Mishap::Refused);
            assert_eq!(shop.post(&unfollow("01C")).await, 503);
            let _: Value = shop.settled().await;
        });
    });
    let text = recorder.handle().render();
    for line in [
        r#"haishin_webhooks_total{account="shop",result="accepted"} 1"#,
        r#"haishin_webhooks_total{account="shop",result="forged"} 1"#,
        r#"haishin_webhooks_total{account="",result="stranger"} 2"#,
        r#"haishin_webhooks_total{account="shop",result="malformed"} 1"#,
        r#"haishin_webhooks_total{account="",result="too_large"} 1"#,
        r#"haishin_webhooks_total{account="shop",result="unavailable"} 1"#,
        r#"haishin_webhook_events_total{account="shop",result="taken"} 1"#,
        r#"haishin_webhook_events_total{account="shop",result="ignored"} 2"#,
        r#"haishin_inbox_lag_seconds{account="shop"} 0"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}
