//! Lease, fence and take-over.

use std::sync::Arc;

use haishin::domain::id::Seq;
use haishin::domain::time::Span;
use haishin::store::{Claim, Fence, Priority, StoreError, Write};
use rstest::rstest;

use super::{T0, TEN, granted, new_account, tagged};
use crate::support::store::{Database, TestStore};

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_lease_is_held_until_it_expires_and_the_old_fence_ends(#[case] database: Database) {
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
    assert_eq!(fence.seq, 2, "a refused commit leaves the fence as it was");
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn renewing_extends_and_releasing_frees_at_once(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "node-1", T0).await;
    let later = T0 + Span::from_secs(8);
    store.renew(&mut fence, later, TEN).await.unwrap();
    let lease = store.lease(account).await.unwrap().unwrap();
    assert_eq!((lease.expires_at, lease.seq, lease.seen_at), (later + TEN, 2, later));
    assert!(matches!(store.claim(account, "node-2", T0 + TEN, TEN).await.unwrap(), Claim::Held { .. }));

    store.release(&mut fence, later).await.unwrap();
    let mut taken = granted(store, account, "node-2", later).await;
    assert_eq!(taken.seq, 4, "numbers go on across owners");
    for refused in [
        store.renew(&mut fence, later, TEN).await,
        store.release(&mut fence, later).await,
        store.commit(&mut fence, later, Priority::Outcome, vec![]).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    }
    store.commit(&mut taken, later, Priority::Outcome, vec![]).await.unwrap();
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_restart_takes_over_its_own_lease_at_once(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let account = new_account(&*test.store, "a").await;
    let mut before = granted(&*test.store, account, "state-1", T0).await;
    let restarted = test.reopen().await;
    let after = granted(&*restarted, account, "state-1", T0 + Span::from_secs(1)).await;
    assert_ne!(before.token, after.token);
    let refused = test.store.commit(&mut before, T0, Priority::Outcome, vec![]).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_stale_number_or_a_foreign_token_writes_nothing(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let fence = granted(store, account, "n", T0).await;
    for (token, seq) in
        [(fence.token, fence.seq - 1), (fence.token, fence.seq + 1), (fence.token ^ 1, fence.seq)]
    {
        let mut stale = Fence { token, seq, ..fence.clone() };
        let refused =
            store.commit(&mut stale, T0, Priority::Fold, vec![Write::Entries(vec![tagged(1)])]).await;
        assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    }
    assert_eq!(store.entries(account, Seq(0), 10).await.unwrap(), []);
}

/// Several ask for a free lease in the same moment, each by a connection of its own: one has it, the others hear who.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_claim_in_the_same_moment_one_is_granted_it(#[case] database: Database) {
    const ASKERS: usize = 4;
    let test = TestStore::new(database).await;
    let account = new_account(&*test.store, "a").await;
    let met = Arc::new(tokio::sync::Barrier::new(ASKERS));
    let mut askers = tokio::task::JoinSet::new();
    for n in 0..ASKERS {
        let (store, met) = (test.reopen().await, Arc::clone(&met));
        askers.spawn(async move {
            let mut answers = Vec::new();
            for round in 0..50 {
                let now = T0 + Span::from_secs(20 * round);
                met.wait().await;
                answers.push(store.claim(account, &format!("node-{n}"), now, TEN).await.unwrap());
            }
            answers
        });
    }
    let answers = askers.join_all().await;
    for round in 0..50 {
        let granted = answers.iter().filter(|all| matches!(all[round], Claim::Granted { .. })).count();
        assert_eq!(granted, 1, "in round {round}");
    }
}

/// The latest instant seen never goes back, whatever a clock says.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn the_latest_instant_seen_never_goes_back(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let yesterday = T0 - Span::from_days(1);
    store.commit(&mut fence, yesterday, Priority::Fold, vec![]).await.unwrap();
    assert_eq!(store.lease(account).await.unwrap().unwrap().seen_at, T0);
    let again = store.claim(account, "n", yesterday, TEN).await.unwrap();
    assert!(matches!(again, Claim::Granted { seen_at: Some(T0), .. }), "{again:?}");
    assert_eq!(store.lease(account).await.unwrap().unwrap().seen_at, T0);
}

/// Two owners take the account from each other in mid-flight: every commit that was answered for stands, none
/// overwrites another, and the journal has no gap.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_with_interleaved_commits_never_mix(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let account = new_account(&*test.store, "a").await;
    // Claims come one at a time, each after the lease before has run out; commits then meet.
    let clock = Arc::new(tokio::sync::Mutex::new(0));
    let met = Arc::new(tokio::sync::Barrier::new(2));
    let mut owners = tokio::task::JoinSet::new();
    for name in ["node-1", "node-2"] {
        let (store, clock, met) = (test.reopen().await, Arc::clone(&clock), Arc::clone(&met));
        owners.spawn(async move {
            let (mut committed, mut fenced) = (0, 0);
            for _ in 0..12 {
                let mut round = clock.lock().await;
                *round += 1;
                let now = T0 + Span::from_secs(20 * *round);
                let claim = store.claim(account, name, now, TEN).await.unwrap();
                let Claim::Granted { mut fence, .. } = claim else { panic!("{claim:?}") };
                drop(round);
                met.wait().await;
                let mut next = store.account(account).await.unwrap().unwrap().journal_seq.0 + 1;
                for _ in 0..5 {
                    let write = Write::Entries(vec![tagged(next)]);
                    match store.commit(&mut fence, now, Priority::Outcome, vec![write]).await {
                        Ok(()) => (committed, next) = (committed + 1, next + 1),
                        Err(StoreError::Fenced { .. }) => {
                            fenced += 1;
                            break;
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
            (committed, fenced)
        });
    }
    let ended = owners.join_all().await;
    let committed: i64 = ended.iter().map(|(committed, _)| committed).sum();
    let fenced: i64 = ended.iter().map(|(_, fenced)| fenced).sum();
    assert!(fenced > 0, "the owners never met: {ended:?}");
    let entries = test.store.entries(account, Seq(0), 1000).await.unwrap();
    assert_eq!(entries, (1..=committed).map(tagged).collect::<Vec<_>>());
}

/// The latest instant seen goes back by a person's act alone, and only the owner may write it.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_clock_set_back_is_accepted_by_an_act_of_the_owner(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let other = new_account(store, "b").await;
    let (later, earlier) = (T0 + Span::from_days(3), T0 + Span::from_days(1));
    granted(store, other, "n", later).await;
    let mut fence = granted(store, account, "n", later).await;
    let mut late = fence.clone();
    store.commit(&mut fence, earlier, Priority::Freeze, vec![]).await.unwrap();
    let seen = async |account| store.lease(account).await.unwrap().unwrap().seen_at;
    assert_eq!(seen(account).await, later);
    let accept = || vec![Write::ClockAccepted];
    let refused = store.commit(&mut late, earlier, Priority::Freeze, accept()).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(seen(account).await, later);
    store.commit(&mut fence, earlier, Priority::Freeze, accept()).await.unwrap();
    assert_eq!((seen(account).await, seen(other).await), (earlier, later));
    // From there on it only grows again.
    store.commit(&mut fence, T0, Priority::Freeze, vec![]).await.unwrap();
    assert_eq!(seen(account).await, earlier);
    let reopened = test.reopen().await;
    let claim = reopened.claim(account, "n", T0, TEN).await.unwrap();
    assert!(matches!(claim, Claim::Granted { seen_at: Some(at), .. } if at == earlier), "{claim:?}");
}
