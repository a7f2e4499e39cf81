//! Checkpoints: complete or not at all.

use haishin::domain::id::{AccountId, Seq};
use haishin::store::{CheckpointChunk, Fence, Priority, Prune, Store, Write};
use rstest::rstest;
use sqlx::Connection;

use super::{T0, chunks, granted, new_account};
use crate::support::store::{Database, TestStore};

fn chunk(key: &str, chunk: u32, seq: i64) -> CheckpointChunk {
    let checksum = seq.wrapping_mul(i64::MAX - 7) ^ i64::from(chunk);
    let data = format!("{key}{seq}").into_bytes();
    CheckpointChunk { kind: "tag".into(), key: key.into(), chunk, seq: Seq(seq), checksum, data }
}

async fn write(store: &dyn Store, fence: &mut Fence, writes: Vec<Write>) {
    store.commit(fence, T0, Priority::Fold, writes).await.unwrap();
}

async fn first(store: &dyn Store, account: AccountId) -> (Fence, Vec<CheckpointChunk>) {
    let mut fence = granted(store, account, "n", T0).await;
    let written = vec![chunk("会員", 1, 5), chunk("a", 0, 5), chunk("会員", 0, 5)];
    write(store, &mut fence, vec![Write::CheckpointChunks(written.clone())]).await;
    assert_eq!(chunks(store, account).await, None, "not before its manifest");
    write(store, &mut fence, vec![Write::CheckpointManifest(Some(Seq(5)))]).await;
    let [c, a, b] = <[_; 3]>::try_from(written).unwrap();
    let complete = vec![a, b, c];
    assert_eq!(chunks(store, account).await, Some((Seq(5), complete.clone())));
    (fence, complete)
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn only_dirty_chunks_are_rewritten_and_count_with_the_manifest(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let (mut fence, before) = first(store, account).await;
    write(store, &mut fence, vec![Write::CheckpointChunks(vec![chunk("会員", 0, 8)])]).await;
    write(store, &mut fence, vec![Write::CheckpointChunks(vec![chunk("会員", 0, 9), chunk("b", 3, 9)])])
        .await;
    assert_eq!(chunks(store, account).await, Some((Seq(5), before.clone())), "the last complete one");
    write(store, &mut fence, vec![Write::CheckpointManifest(Some(Seq(9)))]).await;
    let [a, _, member_1] = <[_; 3]>::try_from(before).unwrap();
    let complete = Some((Seq(9), vec![a, chunk("b", 3, 9), chunk("会員", 0, 9), member_1]));
    assert_eq!(chunks(store, account).await, complete);

    // What newer ones have displaced goes without a change to what is there.
    assert_eq!(store.prunable(account, &[Prune::Chunks]).await.unwrap(), Some(Prune::Chunks));
    write(store, &mut fence, vec![Write::Prune(Prune::Chunks)]).await;
    assert_eq!(store.prunable(account, &[Prune::Chunks]).await.unwrap(), None);
    assert_eq!(chunks(store, account).await, complete);
    write(store, &mut fence, vec![Write::CheckpointManifest(None)]).await;
    assert_eq!(chunks(store, account).await, None);
}

/// So does what another owner left unfinished; what this one is writing stays.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn an_unfinished_checkpoint_is_pruned_by_the_next_owner(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let (mut fence, before) = first(store, account).await;
    let many: Vec<_> = (0..40).map(|number| chunk("gone", number, 8)).collect();
    write(store, &mut fence, vec![Write::CheckpointChunks(many)]).await;
    assert_eq!(store.prunable(account, &[Prune::Chunks]).await.unwrap(), None, "it is being written");
    let mut next = granted(store, account, "n", T0).await;
    let mut slices = 0;
    while let Some(prune) = store.prunable(account, &[Prune::Chunks]).await.unwrap() {
        write(store, &mut next, vec![Write::Prune(prune)]).await;
        slices += 1;
    }
    assert_eq!(slices, 3, "40 chunks, 16 a slice");
    assert_eq!(chunks(store, account).await, Some((Seq(5), before)));
}

/// What an owner that died had begun never becomes part of the next one's checkpoint.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn an_abandoned_checkpoint_is_forgotten(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let (mut fence, before) = first(store, account).await;
    write(store, &mut fence, vec![Write::CheckpointChunks(vec![chunk("gone", 0, 8), chunk("a", 0, 8)])])
        .await;
    let mut next = granted(store, account, "n", T0).await;
    assert_eq!(chunks(store, account).await, Some((Seq(5), before.clone())));
    write(store, &mut next, vec![Write::CheckpointManifest(Some(Seq(6)))]).await;
    assert_eq!(chunks(store, account).await, Some((Seq(6), before)));
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_torn_checkpoint_is_none(#[case] database: Database) {
    for damage in [
        "DELETE FROM checkpoint_chunk WHERE key = 'a'",
        "UPDATE checkpoint_chunk SET checksum = checksum + 1 WHERE key = 'a'",
        "UPDATE checkpoint_manifest SET chunks = chunks + 1",
        "UPDATE checkpoint_manifest SET number = number - 1",
        "DELETE FROM checkpoint_manifest",
    ] {
        let test = TestStore::new(database).await;
        let account = new_account(&*test.store, "a").await;
        first(&*test.store, account).await;
        match database {
            Database::Sqlite => {
                let path = test.url.strip_prefix("sqlite://").unwrap();
                let mut conn = sqlx::SqliteConnection::connect(path).await.unwrap();
                sqlx::query(damage).execute(&mut conn).await.unwrap();
            }
            Database::Memory => unreachable!("a store in memory takes no SQL"),
            Database::Postgres => {
                let mut conn = sqlx::PgConnection::connect(&test.url).await.unwrap();
                sqlx::query(damage).execute(&mut conn).await.unwrap();
            }
        }
        assert_eq!(chunks(&*test.store, account).await, None, "{damage}");
    }
}
