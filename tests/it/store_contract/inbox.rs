//! The inbox: durable when it answers, committed in groups, consumed only by the commit that applies it.

use haishin::domain::effect::{DedupeId, Effect, Intake};
use haishin::domain::id::{AccountId, EventName, UserId};
use haishin::domain::time::Span;
use haishin::store::{NewInbox, Priority, Store, StoreError, Write};
use rstest::rstest;
use sqlx::Connection;

use super::{T0, granted, new_account, tagged};
use crate::support::store::{Database, TestStore};

fn row(account: AccountId, seconds: i64, source: impl Into<String>) -> NewInbox {
    NewInbox { account, received_at: T0 + Span::from_secs(seconds), source: source.into(), intakes: vec![] }
}

async fn sources(store: &dyn Store, account: AccountId) -> Vec<String> {
    store.inbox(account, 10_000).await.unwrap().into_iter().map(|row| row.source).collect()
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_at_once_all_arrive_once(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let account = new_account(&*test.store, "a").await;
    let mut appends = tokio::task::JoinSet::new();
    for n in 0..500 {
        let store = std::sync::Arc::clone(&test.store);
        appends.spawn(async move {
            store.append_inbox(vec![row(account, n, format!("{n}a")), row(account, n, format!("{n}b"))]).await
        });
    }
    for result in appends.join_all().await {
        result.unwrap();
    }
    // Answered means durable: another process sees them.
    let seen = sources(&*test.reopen().await, account).await;
    let expected: Vec<String> = (0..500).flat_map(|n| [format!("{n}a"), format!("{n}b")]).collect();
    assert_eq!(seen, expected, "in the order of receipt");
    assert_eq!(test.store.inbox_len(account).await.unwrap(), 1000);
    assert_eq!(test.store.inbox(account, 3).await.unwrap().len(), 3);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_row_is_consumed_once_and_only_with_what_it_says(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    store.append_inbox(vec![row(account, 2, "late"), row(account, 1, "early")]).await.unwrap();
    let read = store.inbox(account, 10).await.unwrap();
    assert_eq!(sources(store, account).await, ["early", "late"]);
    let apply = |seq, id| vec![Write::Entries(vec![tagged(seq)]), Write::ConsumeInbox(vec![id, id])];
    store.commit(&mut fence, T0, Priority::Fold, apply(1, read[0].id)).await.unwrap();
    assert_eq!(sources(store, account).await, ["late"]);
    let again = store.commit(&mut fence, T0, Priority::Fold, apply(2, read[0].id)).await;
    assert!(matches!(again, Err(StoreError::Corrupt { .. })), "{again:?}");
    assert_eq!(store.account(account).await.unwrap().unwrap().journal_seq.0, 1, "not applied twice");
    assert_eq!(sources(store, account).await, ["late"]);
}

/// A slice is bounded by its bytes as well, so that applying it does not hold up those who write meanwhile; nothing
/// waits behind a row that is larger than that.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_slice_ends_by_its_bytes(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let name = EventName::parse("友").unwrap();
    let kilobytes = |n: usize| {
        let effect = Effect::Event {
            name: name.clone(),
            event_id: Some("友".repeat(n * 1_000 / 3)),
            properties: [].into(),
        };
        vec![Intake { friend: UserId([7; 16]).into(), at: T0, effect, dedupe: None }]
    };
    for (n, size) in [1, 500, 400, 400, 2_000, 1, 1].into_iter().enumerate() {
        let row = NewInbox { intakes: kilobytes(size), ..row(account, n as i64, n.to_string()) };
        store.append_inbox(vec![row]).await.unwrap();
    }
    let mut slices = Vec::new();
    while store.inbox_len(account).await.unwrap() > 0 {
        let rows = store.inbox(account, 100).await.unwrap();
        slices.push(rows.iter().map(|row| row.source.clone()).collect::<String>());
        let consumed = Write::ConsumeInbox(rows.iter().map(|row| row.id).collect());
        store.commit(&mut fence, T0, Priority::Fold, vec![consumed]).await.unwrap();
    }
    assert_eq!(slices, ["012", "3", "4", "56"]);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn what_is_known_cannot_become_known_again(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let known = |ids: &[DedupeId]| vec![Write::Known(ids.to_vec())];
    let (a, b) = (DedupeId::of("event", b"a"), DedupeId::of("event", b"b"));
    store.commit(&mut fence, T0, Priority::Fold, known(&[a])).await.unwrap();
    let again = store.commit(&mut fence, T0, Priority::Fold, known(&[b, a])).await;
    assert!(matches!(again, Err(StoreError::Failed { .. })), "{again:?}");
    assert_eq!(store.known(account, &[a, b]).await.unwrap(), [a].into());

    // One of another kind is another one.
    let webhook = DedupeId::webhook("a");
    store.commit(&mut fence, T0, Priority::Fold, known(&[webhook, b])).await.unwrap();
    assert_eq!(store.known(account, &[a, b, webhook]).await.unwrap(), [a, b, webhook].into());
}

/// On PostgreSQL a row with a lower id may commit after one with a higher id was read and consumed.
#[tokio::test]
async fn a_row_that_commits_late_is_still_found() {
    let test = TestStore::new(Database::Postgres).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let mut slow = sqlx::PgConnection::connect(&test.url).await.unwrap();
    let mut open = slow.begin().await.unwrap();
    let insert =
        "INSERT INTO inbox (account, received_at, source, intakes) VALUES ($1, 0, 'slow', '[]') RETURNING id";
    let (slow_id,): (i64,) = sqlx::query_as(insert).bind(account.0).fetch_one(&mut *open).await.unwrap();

    store.append_inbox(vec![row(account, 0, "quick")]).await.unwrap();
    let read = store.inbox(account, 10).await.unwrap();
    assert!(read.len() == 1 && read[0].id > slow_id, "{read:?}");
    store.commit(&mut fence, T0, Priority::Fold, vec![Write::ConsumeInbox(vec![read[0].id])]).await.unwrap();
    open.commit().await.unwrap();
    assert_eq!(sources(store, account).await, ["slow"]);
}

/// A caller that goes away breaks nothing: its rows arrive whole or not at all, and the next call works.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_caller_that_goes_away_breaks_nothing(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    for polls in 0..40 {
        let mut dropped = fence.clone();
        let writes = vec![Write::Entries((1..=50).map(tagged).collect())];
        {
            let mut commit = std::pin::pin!(store.commit(&mut dropped, T0, Priority::Outcome, writes));
            for _ in 0..polls {
                if futures_util::poll!(&mut commit).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        fence = granted(store, account, "n", T0).await;
        let journal = store.account(account).await.unwrap().unwrap().journal_seq.0;
        assert!([0, 50].contains(&journal), "{journal}");
        store.append_inbox(vec![row(account, 0, "next")]).await.unwrap();
    }
    assert_eq!(store.inbox_len(account).await.unwrap(), 40);
    store.commit(&mut fence, T0, Priority::Outcome, vec![]).await.unwrap();
}
