//! Checkpoints: complete or not at all.

use haishin::domain::id::{AccountId, Seq};
use haishin::store::{Checkpoint, CheckpointChunk, Fence, Priority, Store, Write};
use rstest::rstest;
use sqlx::Connection;

use super::{T0, granted, new_account};
use crate::support::store::{Database, TestStore};

fn chunk(key: &str, chunk: u32, seq: i64) -> CheckpointChunk {
    let checksum = seq.wrapping_mul(i64::MAX - 7) ^ i64::from(chunk);
    let data = format!("{key}{seq}").into_bytes();
    CheckpointChunk { kind: "tag".into(), key: key.into(), chunk, seq: Seq(seq), checksum, data }
}

async fn write(store: &dyn Store, fence: &mut Fence, writes: Vec<Write>) {
    store.commit(fence, T0, Priority::Fold, writes).await.unwrap();
}

async fn first(store: &dyn Store, account: AccountId) -> (Fence, Checkpoint) {
    let mut fence = granted(store, account, "n", T0).await;
    let chunks = vec![chunk("会員", 1, 5), chunk("a", 0, 5), chunk("会員", 0, 5)];
    write(store, &mut fence, vec![Write::CheckpointChunks(chunks.clone())]).await;
    assert_eq!(store.checkpoint(account).await.unwrap(), None, "not before its manifest");
    write(store, &mut fence, vec![Write::CheckpointManifest(Some(Seq(5)))]).await;
    let [c, a, b] = <[_; 3]>::try_from(chunks).unwrap();
    let complete = Checkpoint { seq: Seq(5), chunks: vec![a, b, c] };
    assert_eq!(store.checkpoint(account).await.unwrap(), Some(complete.clone()));
    (fence, complete)
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn only_dirty_chunks_are_rewritten_and_count_with_the_manifest(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let (mut fence, before) = first(store, account).await;
    write(store, &mut fence, vec![Write::CheckpointChunks(vec![chunk("会員", 0, 8)])]).await;
    write(store, &mut fence, vec![Write::CheckpointChunks(vec![chunk("会員", 0, 9), chunk("b", 3, 9)])])
        .await;
    assert_eq!(store.checkpoint(account).await.unwrap(), Some(before.clone()), "the last complete one");
    write(store, &mut fence, vec![Write::CheckpointManifest(Some(Seq(9)))]).await;
    let [a, _, member_1] = <[_; 3]>::try_from(before.chunks).unwrap();
    let chunks = vec![a, chunk("b", 3, 9), chunk("会員", 0, 9), member_1];
    assert_eq!(store.checkpoint(account).await.unwrap(), Some(Checkpoint { seq: Seq(9), chunks }));
    write(store, &mut fence, vec![Write::CheckpointManifest(None)]).await;
    assert_eq!(store.checkpoint(account).await.unwrap(), None);
}

/// What an owner that died had begun never becomes part of the next one's checkpoint.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn an_abandoned_checkpoint_is_forgotten(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let (mut fence, before) = first(store, account).await;
    write(store, &mut fence, vec![Write::CheckpointChunks(vec![chunk("gone", 0, 8), chunk("a", 0, 8)])])
        .await;
    let mut next = granted(store, account, "n", T0).await;
    assert_eq!(store.checkpoint(account).await.unwrap(), Some(before.clone()));
    write(store, &mut next, vec![Write::CheckpointManifest(Some(Seq(6)))]).await;
    let same = Checkpoint { seq: Seq(6), chunks: before.chunks };
    assert_eq!(store.checkpoint(account).await.unwrap(), Some(same));
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
            Database::Postgres => {
                let mut conn = sqlx::PgConnection::connect(&test.url).await.unwrap();
                sqlx::query(damage).execute(&mut conn).await.unwrap();
            }
        }
        assert_eq!(test.store.checkpoint(account).await.unwrap(), None, "{damage}");
    }
}
