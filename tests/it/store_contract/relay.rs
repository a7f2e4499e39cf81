//! Webhooks to be handed on: durable together with what they say, gone once they were.

use haishin::domain::id::AccountId;
use haishin::domain::time::Span;
use haishin::store::{NewInbox, NewRelay, Priority, Waiting, Write};
use rstest::rstest;

use super::{T0, granted, new_account};
use crate::support::store::{Database, TestStore};

fn relay(account: AccountId, seconds: i64, body: impl Into<String>) -> NewRelay {
    NewRelay {
        account,
        received_at: T0 + Span::from_secs(seconds),
        signature: format!("signature {seconds}"),
        body: body.into(),
    }
}

fn row(account: AccountId, source: &str) -> NewInbox {
    NewInbox { account, received_at: T0, source: source.into(), intakes: vec![] }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn webhooks_wait_byte_for_byte_until_they_are_let_go(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let (a, b) = (new_account(store, "a").await, new_account(store, "b").await);
    assert_eq!(store.relay_waiting(a).await.unwrap(), Waiting::default());
    // Long ones too, and what JSON escapes.
    let bodies = ["{}".to_owned(), " \t\"\\u0000\\ud83c\" 友\u{7f}\r\n".to_owned(), "長".repeat(100_000)];
    for (seconds, body) in (1..).zip(&bodies) {
        store.append_webhooks(vec![row(a, "webhook")], vec![relay(a, seconds, body)]).await.unwrap();
    }
    store.append_webhooks(vec![], vec![relay(b, 9, "of another")]).await.unwrap();
    let rows = test.reopen().await.relays(a, 10).await.unwrap();
    let read: Vec<_> =
        rows.iter().map(|row| (row.received_at, row.signature.as_str(), row.body.as_str())).collect();
    let signatures = ["signature 1", "signature 2", "signature 3"];
    let expected = (1..).zip(signatures).zip(&bodies);
    let expected: Vec<_> =
        expected.map(|((s, signature), body)| (T0 + Span::from_secs(s), signature, body.as_str())).collect();
    assert_eq!(read, expected);
    assert_eq!(store.relays(a, 2).await.unwrap(), rows[..2]);
    assert_eq!(store.inbox_len(a).await.unwrap(), 3);
    let oldest = Some(T0 + Span::from_secs(1));
    assert_eq!(store.relay_waiting(a).await.unwrap(), Waiting { rows: 3, oldest });

    let mut fence = granted(store, a, "n", T0).await;
    let others = store.relays(b, 1).await.unwrap()[0].id;
    let gone = vec![rows[0].id, rows[2].id, others];
    // Also a second time, and nothing of another account's.
    for _ in 0..2 {
        let writes = vec![Write::Relayed(gone.clone())];
        store.commit(&mut fence, T0, Priority::Fold, writes).await.unwrap();
    }
    assert_eq!(store.relays(a, 10).await.unwrap(), rows[1..2]);
    assert_eq!(store.relay_waiting(b).await.unwrap().rows, 1);
}

/// What a webhook says and the webhook itself are there both or not at all, and another's are not refused with it.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_durable_whole_or_not_at_all(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let account = new_account(&*test.store, "a").await;
    let mut appends = tokio::task::JoinSet::new();
    for n in 0..200 {
        let store = test.store.clone();
        // PostgreSQL holds no such text. The others hold any.
        let body = if n % 20 == 0 { "\0".to_owned() } else { n.to_string() };
        appends.spawn(async move {
            store.append_webhooks(vec![row(account, &body)], vec![relay(account, n, body)]).await.is_ok()
        });
    }
    let taken = appends.join_all().await.into_iter().filter(|taken| *taken).count();
    assert_eq!(taken, if database == Database::Postgres { 190 } else { 200 });
    let store = test.reopen().await;
    let mut relayed: Vec<String> = store
        .relays(account, 1_000)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.body.replace('\0', "␀"))
        .collect();
    let mut said: Vec<String> =
        store.inbox(account, 1_000).await.unwrap().into_iter().map(|row| row.source).collect();
    relayed.sort();
    said.sort();
    assert_eq!((relayed.len(), relayed), (taken, said));
}
