//! Nothing of one account is reached from another.

use haishin::domain::effect::DedupeId;
use haishin::domain::id::{FriendId, OccurrenceId, Seq};
use haishin::store::{NewInbox, Priority, StoreError, Write};
use rstest::rstest;

use super::commit::one_of_each;
use super::{T0, dump, granted, new_account, tagged};
use crate::support::store::{Database, TestStore};

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn two_accounts_with_the_same_numbers_never_meet(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let (a, b) = (new_account(store, "a").await, new_account(store, "b").await);
    let inbox = |account| NewInbox { account, received_at: T0, source: "import".into(), intakes: vec![] };
    store.append_inbox(vec![inbox(a), inbox(b)]).await.unwrap();
    let mut fence = granted(store, a, "n", T0).await;
    let empty = dump(store, b).await;

    let row_of_b = store.inbox(b, 1).await.unwrap()[0].id;
    let foreign =
        store.commit(&mut fence, T0, Priority::Fold, vec![Write::ConsumeInbox(vec![row_of_b])]).await;
    assert!(matches!(foreign, Err(StoreError::Corrupt { .. })), "{foreign:?}");

    let row_of_a = store.inbox(a, 1).await.unwrap()[0].id;
    store.commit(&mut fence, T0, Priority::Fold, one_of_each(row_of_a)).await.unwrap();
    assert_eq!(dump(store, b).await, empty);
    assert_eq!(store.friends_by_id(b, &[FriendId(1)]).await.unwrap(), []);
    assert!(store.known(b, &[DedupeId::webhook("9")]).await.unwrap().is_empty());
    assert_eq!(store.accepted_since(b, T0 - super::TEN).await.unwrap(), 0);
    assert_eq!(store.accepted_since(a, T0 - super::TEN).await.unwrap(), 347);
    assert_eq!(store.variants(b, OccurrenceId(1)).await.unwrap(), []);

    // The same numbers, once more: each account has its own.
    let full = dump(store, a).await;
    let mut fence = granted(store, b, "n", T0).await;
    store.commit(&mut fence, T0, Priority::Fold, one_of_each(row_of_b)).await.unwrap();
    assert_eq!(dump(store, a).await, full);
    assert_eq!(store.entries(b, Seq(1), 10).await.unwrap(), [tagged(2)]);
}
