//! What a start finds: a checkpoint, a torn one, or a database that went back in time.

use std::sync::Arc;

use haishin::clock::SetClock;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{OccurrenceId, Seq, TagName, UserId};
use haishin::domain::time::{Instant, Span};
use haishin::store;
use rstest::rstest;
use serde_json::Value;
use sqlx::Connection as _;

use crate::support::daemon::{Line, Shop, at, until};
use crate::support::store::Database;

const FRIENDS: u16 = 500;

/// Friends of whom every third holds a tag, with an event each.
fn friends(now: Instant) -> Vec<Intake> {
    let intakes = (0..FRIENDS).flat_map(|n| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let intake =
            |effect| Intake { friend: UserId(id).into(), at: now - Span::from_days(2), effect, dedupe: None };
        let follow = Effect::Status { status: Status::Following, followed_at: None };
        let tag = Effect::TagAdded { tag: TagName::parse("member").unwrap() };
        let name = "purchase".parse().unwrap();
        let event = Effect::Event { name, event_id: None, properties: [].into() };
        let mut all = vec![intake(follow), intake(event)];
        all.extend((n % 3 == 0).then(|| intake(tag)));
        all
    });
    intakes.collect()
}

/// A shop with its friends applied, as of `now`, after a clean stop.
async fn stocked(database: Database, line: &Line, now: Instant) -> Shop {
    let shop = Shop::new(database, line.address, "quiet_hours = \"off\"").await;
    shop.write("segments/members.toml", "title = \"members\"\ntag = \"member\"");
    shop.write(
        "segments/buyers.toml",
        "title = \"buyers\"\nall = [{ event = \"purchase\", within = \"90d\" }, { not = { tag = \"member\" } }]",
    );
    shop.write("segments/z-got.toml", "title = \"got it\"\nreceived = \"letter\"");
    shop.write("segments/z-lately.toml", "title = \"got it\"\nreceived = \"letter\"\nwithin = \"30d\"");
    shop.write(
        "campaigns/letter.toml",
        "title = \"letter\"\nsegment = \"members\"\nreach = \"everyone\"\n[schedule]\nat = \"2026-12-04 18:00\"\n\
         [[message]]\ntype = \"text\"\ntext = \"hello\"",
    );
    shop.stock(now, &friends(now)).await;
    shop
}

async fn counts(shop: &Shop, now: Instant) -> Value {
    let daemon = shop.started(now).await;
    let answer = until("segments are counted", async || shop.ask(&["segment", "count"])).await;
    daemon.kill();
    answer["segments"].clone()
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_used_and_a_torn_one_is_rebuilt(#[case] database: Database) {
    let line = Line::bind().await;
    let now = at("2026-12-04T12:00:00+09:00");
    let shop = stocked(database, &line, now).await;
    let store = store::open(&shop.url).await.unwrap();
    let account = store.accounts().await.unwrap()[0].id;
    let checkpoint = store.checkpoint(account).await.unwrap().expect("a clean stop writes one");
    assert_eq!(checkpoint.seq, store.account(account).await.unwrap().unwrap().journal_seq);
    store.close().await;

    let whole = counts(&shop, now + Span::from_mins(1)).await;
    assert_eq!(whole[1]["friends"], 167, "{whole}");
    assert_eq!(whole[0]["friends"], 333, "{whole}");
    tear(&shop.url).await;
    assert_eq!(counts(&shop, now + Span::from_mins(2)).await, whole);
    assert!(shop.log().contains("the index checkpoint is torn"), "{}", shop.log());
}

/// Everything that can go has gone; what is asked is answered as before, by a start from a whole checkpoint and by one
/// from a torn one.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_later_the_answers_are_the_same(#[case] database: Database) {
    let line = Line::bind().await;
    let noon = at("2026-12-04T12:00:00+09:00");
    let shop = stocked(database, &line, noon).await;
    let sandbox = Line::sandbox(|_| ());
    let six = at("2026-12-04T17:59:58+09:00");
    let _serving = line.serve(sandbox.clone(), Arc::new(SetClock::new(six, 1)));
    let store = store::open(&shop.url).await.unwrap();
    let account = store.accounts().await.unwrap()[0].id;
    let letter = OccurrenceId(1);
    let show = async || shop.ask(&["occurrence", "show", "1"]);
    let segments = async || shop.ask(&["segment", "count"]).map(|counted| counted["segments"].clone());

    let daemon = shop.started(six).await;
    let books = until("the letter is sent", async || {
        let letter = show().await?;
        (letter["state"] == "finished").then(|| letter["books"].clone())
    })
    .await;
    assert_eq!((&books["balanced"], &books["counts"]["accepted"]), (&Value::Bool(true), &167.into()));
    let counted = until("segments are counted", segments).await;
    let friends =
        |counted: &Value| (0..4).map(|n| counted[n]["friends"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(friends(&counted), [333, 167, 167, 167]);
    until("rows and checkpoint hold all states, so the journal holds events alone", async || {
        let left = store.entries(account, Seq(0), u32::MAX).await.unwrap();
        let states = left.iter().filter(|entry| !entry.effect.is_event()).count();
        (states == 0).then(|| assert_eq!(left.len(), usize::from(FRIENDS)))
    })
    .await;
    assert_ne!(store.batches(account, letter).await.unwrap(), [], "for three months");
    daemon.terminate();

    // Nobody was here for so long, or the clock leapt: who can say? For a day nothing is forgotten.
    let leaps = async |days| {
        let daemon = shop.started(six + Span::from_days(days)).await;
        until("the leap is noted", async || {
            let row = store.account(account).await.unwrap().unwrap();
            row.grace_from.filter(|from| *from >= six + Span::from_days(days)).map(drop)
        })
        .await;
        daemon.terminate();
    };
    let later = |days| six + Span::from_days(days) + Span::from_mins(1);
    leaps(100).await;
    assert_ne!(store.batches(account, letter).await.unwrap(), [], "they are too old, by this clock");
    for (days, torn, expected) in [(101, false, [0, 167, 167, 0]), (102, true, [0, 167, 167, 0])] {
        if torn {
            tear(&shop.url).await;
        }
        let daemon = shop.started(later(days)).await;
        until("batches are gone", async || {
            store.batches(account, letter).await.unwrap().is_empty().then_some(())
        })
        .await;
        let counted = until("segments are counted", segments).await;
        assert_eq!(friends(&counted), expected, "after {days} days");
        assert_eq!(until("the letter is shown", show).await["books"], books);
        // Memory does not look back so far any more: the ledger is asked.
        let then = (six + Span::from_days(1)).to_string();
        let past =
            until("the past is counted", async || shop.ask(&["segment", "count", "--now", &then])).await;
        assert_eq!(friends(&past["segments"]), [333, 167, 167, 167]);
        if torn {
            // A configuration that looks back further finds what it looks for.
            shop.write(
                "segments/z-lately.toml",
                "title = \"got it\"\nreceived = \"letter\"\nwithin = \"103d\"",
            );
            until("it is applied", async || shop.ask(&["apply", "--yes"])).await;
            let counted = until("segments are counted", segments).await;
            assert_eq!(friends(&counted), [0, 167, 167, 167]);
            // Leaves a whole one behind.
            daemon.terminate();
        } else {
            daemon.kill();
        }
    }
    leaps(800).await;
    let daemon = shop.started(later(801)).await;
    until("sets are empty", async || {
        let sets = store.deliveries(account, letter).await.unwrap();
        sets.iter().all(|set| set.friends.is_empty()).then_some(())
    })
    .await;
    let shown = until("the letter is shown", show).await;
    assert_eq!((&shown["books"], &shown["variants"][0]["recipients"]), (&books, &167.into()));
    until("events of two years ago are gone", async || {
        store.entries(account, Seq(0), u32::MAX).await.unwrap().is_empty().then_some(())
    })
    .await;
    daemon.kill();
    let daemon = shop.started(later(802)).await;
    let counted = until("segments are counted", segments).await;
    assert_eq!(friends(&counted), [0, 167, 167, 0]);
    daemon.terminate();
    store.close().await;
    assert_eq!(sandbox.totals().messages, 167, "and nobody got it again");
}

/// Changes one byte of one column behind haishin's back, in the middle of the row.
async fn tear(url: &str) {
    if url.starts_with("sqlite") {
        let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
        let torn = "UPDATE checkpoint_chunk SET data = CAST(substr(data, 1, 9) || x'ff' || substr(data, 11) AS BLOB) WHERE kind = 'tag'";
        assert_eq!(sqlx::query(torn).execute(&mut connection).await.unwrap().rows_affected(), 1);
    } else {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        let torn = "UPDATE checkpoint_chunk SET data = set_byte(data, 9, 255 - get_byte(data, 9)) WHERE kind = 'tag'";
        assert_eq!(sqlx::query(torn).execute(&mut connection).await.unwrap().rows_affected(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_in_time_does_not_send() {
    let line = Line::bind().await;
    let shop = stocked(Database::Sqlite, &line, at("2026-12-04T12:00:00+09:00")).await;
    let sandbox = Line::sandbox(|_| ());
    let clock = Arc::new(SetClock::new(at("2026-12-04T17:59:58+09:00"), 1));
    let _serving = line.serve(sandbox.clone(), clock);
    let backup = shop.database_bytes();

    let daemon = shop.started(at("2026-12-04T17:59:58+09:00")).await;
    until("the letter is sent", async || {
        let list = shop.ask(&["occurrence", "list"])?;
        (list["occurrences"][0]["state"] == "finished").then_some(())
    })
    .await;
    daemon.terminate();
    let sent = sandbox.totals().messages;
    assert_eq!(sent, 167);

    shop.restore(&backup);
    let daemon = shop.started(at("2026-12-04T18:05:00+09:00")).await;
    let status = until("the daemon answers", async || shop.ask(&["status"])).await;
    let stopped = status["accounts"][0]["stopped"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(stopped.contains("went back in time"), "{status}");
    let listed = shop.ask(&["start"]).expect("start answers");
    assert_eq!(listed["started"], false);
    assert_eq!(listed["fell_due"][0]["campaign"], "letter");
    // A person who has looked, and chooses not to send: nothing was sent again, and a restart is not held again.
    assert_eq!(shop.ask(&["start", "--due", "skip"]).expect("start answers")["started"], true);
    daemon.terminate();
    let daemon = shop.started(at("2026-12-04T18:06:00+09:00")).await;
    let status = until("the daemon answers", async || shop.ask(&["status"])).await;
    assert_eq!(status["accounts"][0]["stopped"], Value::Null, "{status}");
    daemon.terminate();
    assert_eq!(sandbox.totals().messages, sent);
}
