//! Lease, fence and take-over.

use haishin::domain::id::{AccountId, AccountSlug};
use haishin::domain::time::{Instant, Span};
use haishin::store::{Claim, Priority, Store, StoreError};
use rstest::rstest;

use crate::support::store::{Database, TestStore};

pub const T0: Instant = Instant::from_millis(1_796_374_800_000);
pub const TEN: Span = Span::from_secs(10);

pub async fn new_account(store: &dyn Store, slug: &str) -> AccountId {
    let channel = format!("channel-{slug}");
    store.ensure_account(&AccountSlug::parse(slug).unwrap(), &channel, T0).await.unwrap()
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_claim_is_held_until_it_expires_and_the_old_fence_ends(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    assert_eq!(store.lease(account).await.unwrap(), None);

    let first = store.claim(account, "node-1", T0, TEN).await.unwrap();
    let Claim::Granted { mut fence, seen_at: None } = first else { panic!("{first:?}") };
    assert_eq!(fence.seq, 1);
    let held = Claim::Held { holder: "node-1".into(), expires_at: T0 + TEN };
    assert_eq!(store.claim(account, "node-2", T0 + TEN - Span::from_millis(1), TEN).await.unwrap(), held);

    store.commit(&mut fence, T0 + Span::from_secs(1), Priority::Freeze, vec![]).await.unwrap();
    assert_eq!(fence.seq, 2);
    let second = store.claim(account, "node-2", T0 + TEN, TEN).await.unwrap();
    let Claim::Granted { fence: taken, seen_at } = second else { panic!("{second:?}") };
    assert_eq!((taken.seq, seen_at), (3, Some(T0 + Span::from_secs(1))));
    let refused = store.commit(&mut fence, T0 + TEN, Priority::Freeze, vec![]).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(fence.seq, 2);
}
