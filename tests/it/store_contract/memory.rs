//! What only the store in memory promises.

use futures_util::FutureExt as _;
use haishin::domain::id::{AccountId, Seq};
use haishin::store::memory::MemoryStore;
use haishin::store::{Claim, NewInbox, Priority, SentFilter, Store, StoreError, Write};
use tokio::sync::mpsc;

use super::commit::one_of_each;
use super::{T0, TEN, dump, granted, new_account, tagged};

fn inbox(account: AccountId) -> Vec<NewInbox> {
    vec![NewInbox { account, received_at: T0, source: "import".into(), intakes: vec![] }]
}

/// No runtime: who polls once has the answer.
#[test]
fn every_call_is_done_at_its_first_poll() {
    let store = MemoryStore::new(7);
    let account = new_account(&store, "a").now_or_never().unwrap();
    store.append_inbox(inbox(account)).now_or_never().unwrap().unwrap();
    let mut fence = granted(&store, account, "n", T0).now_or_never().unwrap();
    let write = one_of_each(store.inbox(account, 1).now_or_never().unwrap().unwrap()[0].id);
    store.commit(&mut fence, T0, Priority::Fold, write).now_or_never().unwrap().unwrap();
    assert!(dump(&store, account).now_or_never().unwrap().contains("winter-coupon"));
    let (pages, _taken) = mpsc::channel(1);
    store.sent(account, SentFilter::Since(T0), pages).now_or_never().unwrap().unwrap();
}

/// The same calls on the same seed are the same history, tokens included.
#[tokio::test]
async fn a_seed_decides_everything() {
    let tell = async |seed| {
        let store = MemoryStore::new(seed);
        let account = new_account(&store, "a").await;
        store.append_inbox(inbox(account)).await.unwrap();
        let mut fence = granted(&store, account, "n", T0).await;
        let write = one_of_each(store.inbox(account, 1).await.unwrap()[0].id);
        store.commit(&mut fence, T0, Priority::Fold, write).await.unwrap();
        (fence, dump(&store, account).await)
    };
    let (one, same, other) = (tell(1).await, tell(1).await, tell(2).await);
    assert_eq!(one, same);
    assert_ne!(one.0.token, other.0.token);
    assert_eq!(one.1, other.1, "the tokens and nothing else");
}

/// A backup is restored under running processes: what they believed is over, and no token comes back.
#[tokio::test]
async fn a_backup_stays_as_it_is_and_comes_back_for_every_handle() {
    let store = MemoryStore::new(7);
    let other = store.again();
    let account = new_account(&store, "a").await;
    let mut fence = granted(&store, account, "n", T0).await;
    let write = |seq| vec![Write::Entries(vec![tagged(seq)])];
    store.commit(&mut fence, T0, Priority::Fold, write(1)).await.unwrap();
    let (backup, before) = (store.snapshot(), dump(&store, account).await);
    let mut old = fence.clone();
    store.commit(&mut fence, T0, Priority::Fold, write(2)).await.unwrap();
    let after = dump(&store, account).await;
    assert_eq!(dump(&backup, account).await, before);

    // The copy goes its own way, and its tokens are its own.
    let mut copied = granted(&backup, account, "n", T0).await;
    let mut next = granted(&other, account, "n", T0).await;
    assert_ne!(copied.token, next.token);
    backup.commit(&mut copied, T0, Priority::Fold, write(2)).await.unwrap();
    let backup_after = dump(&backup, account).await;

    let second = other.snapshot();
    store.restore(&backup);
    assert_eq!(dump(&other, account).await, backup_after, "every handle sees it");
    for lost in [&mut old, &mut fence, &mut next] {
        let refused = other.commit(lost, T0, Priority::Fold, write(3)).await;
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    }
    store.commit(&mut copied, T0, Priority::Fold, write(3)).await.unwrap();
    assert_eq!(dump(&backup, account).await, backup_after, "the copy stays as it is");
    assert_eq!(store.entries(account, Seq(0), 9).await.unwrap().len(), 3);
    store.restore(&second);
    assert!(
        dump(&store, account).await != after && dump(&store, account).await == dump(&second, account).await
    );
}

#[tokio::test]
async fn a_closed_handle_is_over_and_the_data_are_not() {
    let store = MemoryStore::new(7);
    let (other, account) = (store.again(), new_account(&store, "a").await);
    store.close().await;
    assert!(matches!(store.accounts().await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.append_inbox(inbox(account)).await, Err(StoreError::Failed { .. })));
    assert!(matches!(store.claim(account, "n", T0, TEN).await, Err(StoreError::Failed { .. })));
    assert!(matches!(other.claim(account, "n", T0, TEN).await, Ok(Claim::Granted { .. })));
    assert_eq!(store.again().accounts().await.unwrap().len(), 1);
}
