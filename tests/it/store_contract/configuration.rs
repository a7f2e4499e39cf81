//! Configuration versions and accounts' rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use haishin::domain::id::{AccountSlug, VersionId};
use haishin::store::NewVersion;
use rstest::rstest;

use super::T0;
use crate::support::store::{Database, TestStore};

fn files(n: u8) -> NewVersion {
    let files = BTreeMap::from([("segments/常連.toml".to_owned(), format!("title = \"{n}\""))]);
    NewVersion { digest: [n; 32], files, activated_at: T0, activated_by: "first start".into() }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_version_goes_live_only_over_the_one_the_person_saw(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    assert_eq!(store.active_version().await.unwrap(), None);
    assert_eq!(store.activate(Some(VersionId(1)), &files(1)).await.unwrap(), None);
    assert_eq!(store.activate(None, &files(1)).await.unwrap(), Some(VersionId(1)));
    assert_eq!(store.activate(None, &files(2)).await.unwrap(), None, "no longer empty");
    assert_eq!(store.activate(Some(VersionId(1)), &files(2)).await.unwrap(), Some(VersionId(2)));
    assert_eq!(store.activate(Some(VersionId(1)), &files(3)).await.unwrap(), None, "not what runs");
    assert_eq!(
        store.activate(Some(VersionId(2)), &files(2)).await.unwrap(),
        Some(VersionId(2)),
        "the same files"
    );
    assert_eq!(
        store.activate(Some(VersionId(2)), &files(1)).await.unwrap(),
        Some(VersionId(3)),
        "back again"
    );
    assert_eq!(store.active_version().await.unwrap().unwrap().id, VersionId(3));
    assert_eq!(store.version(VersionId(2)).await.unwrap().unwrap().files, files(2).files);
    assert_eq!(store.version(VersionId(9)).await.unwrap(), None);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_activations_at_once_one_wins(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let (mut expected, met) = (None, Arc::new(tokio::sync::Barrier::new(4)));
    for round in 0..10_u8 {
        let mut racers = tokio::task::JoinSet::new();
        for n in 0..4 {
            let (store, met) = (test.reopen().await, Arc::clone(&met));
            racers.spawn(async move {
                // Connected before anybody begins.
                assert_eq!(store.active_version().await.unwrap().map(|active| active.id), expected);
                met.wait().await;
                store.activate(expected, &files(1 + round * 4 + n)).await.unwrap()
            });
        }
        let won: Vec<VersionId> = racers.join_all().await.into_iter().flatten().collect();
        assert_eq!(won, [VersionId(i64::from(round) + 1)]);
        expected = Some(won[0]);
    }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slug_and_its_channel_stay_together(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let slug = |text| AccountSlug::parse(text).unwrap();
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = test.reopen().await;
        racers.spawn(async move { store.ensure_account(&slug("こはる"), "100", T0).await.unwrap() });
    }
    let ids = racers.join_all().await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let other = store.ensure_account(&slug("b"), "200", T0).await.unwrap();
    assert_ne!(other, ids[0]);
    assert_eq!(store.accounts().await.unwrap().len(), 2);
    for (text, channel, remedy) in
        [("こはる", "300", "set channel_id back"), ("c", "100", "call the account `こはる` again")]
    {
        let refused = store.ensure_account(&slug(text), channel, T0).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains(remedy), "{why}");
    }
    assert_eq!(store.accounts().await.unwrap().len(), 2);
}
