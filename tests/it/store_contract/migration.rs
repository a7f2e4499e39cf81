//! From the schema before outcomes were told apart by arm to the one after: what was known stays known.

use std::path::Path;

use haishin::domain::delivery::{Exclusion, Outcome};
use haishin::domain::id::OccurrenceId;
use haishin::store::{self, DeliverySet, OccurrenceFilter, SentFilter};
use roaring::RoaringBitmap;
use rstest::rstest;
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::{T0, sent};
use crate::support::store::{Database, TestStore};

fn set(friends: impl IntoIterator<Item = u32>) -> RoaringBitmap {
    friends.into_iter().collect()
}

fn bytes(friends: impl IntoIterator<Item = u32>) -> String {
    let mut bytes = Vec::new();
    set(friends).serialize_into(&mut bytes).unwrap();
    hex::encode(bytes)
}

/// Three ended occurrences and an open one, as the third schema kept them: one arm with mixed outcomes; two arms, all
/// accepted; two arms with mixed outcomes.
fn rows(blob: impl Fn(&str) -> String, yes: &str) -> Vec<String> {
    let t0 = T0.as_millis();
    let mut all = vec![format!(
        "INSERT INTO account (slug, channel_id, created_at, folded_seq, journal_seq) VALUES ('a', '1', {t0}, 0, 0)"
    )];
    for (id, recipients, state, finished) in [
        (1, 4, "finished", Some(t0 + 9)),
        (2, 3, "finished", Some(t0 + 9)),
        (3, 3, "cancelled", Some(t0 + 9)),
        (4, 2, "sending", None),
    ] {
        let finished = finished.map_or("NULL".into(), |at| at.to_string());
        let due = t0 + id;
        all.push(format!(
            "INSERT INTO occurrence (account, id, campaign, step, due_at, run_kind, run_number, child, version, state, \
             detail, category, capped, immediate, frozen_at, notify, matched, recipients, finished_at) \
             VALUES (1, {id}, 'letter', '', {due}, 'scheduled', 0, 0, 1, '{state}', '{{}}', 'promotion', {yes}, {yes}, \
             {due}, {yes}, 9, {recipients}, {finished})"
        ));
        for part in 0..2 {
            all.push(format!(
                "INSERT INTO occurrence_part (account, occurrence, from_batch, effective_at) \
                 VALUES (1, {id}, {part}, {})",
                due + part * 1_000
            ));
        }
    }
    let content = blob(&"05".repeat(32));
    for (id, position, friends) in [
        (1, 0, vec![1, 2, 3, 4]),
        (2, 0, vec![1, 2]),
        (2, 1, vec![3]),
        (3, 0, vec![1]),
        (3, 1, vec![2, 3]),
        (4, 0, vec![1, 2]),
    ] {
        all.push(format!(
            "INSERT INTO occurrence_variant (account, occurrence, position, name, messages, content, friend_count, \
             recipients) VALUES (1, {id}, {position}, 'arm{position}', '[]', {content}, {}, {})",
            friends.len(),
            blob(&bytes(friends))
        ));
    }
    for (id, kind, name, friends) in [
        (1, "excluded", "holdout", vec![8, 9]),
        (1, "outcome", "accepted", vec![1, 2]),
        (1, "outcome", "unknown", vec![3]),
        (1, "outcome", "rejected", vec![4]),
        (2, "outcome", "accepted", vec![1, 2, 3]),
        (3, "outcome", "accepted", vec![1, 2]),
        (3, "outcome", "cancelled", vec![3]),
    ] {
        all.push(format!(
            "INSERT INTO occurrence_set (account, occurrence, kind, name, friend_count, friends) \
             VALUES (1, {id}, '{kind}', '{name}', {}, {})",
            friends.len(),
            blob(&bytes(friends))
        ));
    }
    all
}

/// The migrations up to the third.
async fn third(database: &str) -> Migrator {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name.to_str().unwrap() < "0004" {
            std::fs::copy(&path, to.path().join(name)).unwrap();
        }
    }
    let mut migrator = Migrator::new(to.path().to_owned()).await.unwrap();
    assert_eq!(migrator.iter().count(), 3);
    migrator.set_locking(false);
    migrator
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn what_was_sent_before_is_still_known(#[case] database: Database) {
    let (url, _directory) = TestStore::empty(database).await;
    match database {
        Database::Sqlite => {
            let options =
                url.strip_prefix("sqlite://").unwrap().parse::<sqlx::sqlite::SqliteConnectOptions>();
            let options = options.unwrap().create_if_missing(true);
            let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
            third("sqlite").await.run_direct(None, &mut conn, false).await.unwrap();
            for sql in rows(|hex| format!("x'{hex}'"), "1") {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
            }
        }
        Database::Memory => unreachable!("a store in memory takes no SQL"),
        Database::Postgres => {
            let mut conn = PgConnection::connect(&url).await.unwrap();
            third("postgres").await.run_direct(None, &mut conn, false).await.unwrap();
            for sql in rows(|hex| format!("'\\x{hex}'"), "TRUE") {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
            }
        }
    }
    let store = store::open(&url).await.unwrap();
    let account = store.accounts().await.unwrap()[0].id;
    let deliveries = async |id| {
        let sets = store.deliveries(account, OccurrenceId(id)).await.unwrap();
        let set = |set: DeliverySet| (set.position, set.outcome, set.friends);
        sets.into_iter().map(set).collect::<Vec<_>>()
    };
    use Outcome::{Accepted, Rejected, Unknown};
    assert_eq!(
        deliveries(1).await,
        [(0, Accepted, set([1, 2])), (0, Rejected, set([4])), (0, Unknown, set([3]))]
    );
    assert_eq!(deliveries(2).await, [(0, Accepted, set([1, 2])), (1, Accepted, set([3]))]);
    assert_eq!(
        deliveries(3).await,
        [(0, Unknown, set([1])), (1, Unknown, set([2, 3]))],
        "counts in every cap"
    );
    assert_eq!(deliveries(4).await, []);
    let excluded = store.exclusions(account, OccurrenceId(1)).await.unwrap();
    assert_eq!((&excluded[0].exclusion, excluded[0].friends.len()), (&Exclusion::Holdout, 2));

    let all = sent(&*store, account, SentFilter::Since(T0)).await;
    let effective: Vec<_> = all.iter().map(|sent| (sent.occurrence.0, sent.effective - T0)).collect();
    assert_eq!(effective.len(), 6, "{effective:?}");
    assert!(effective.iter().all(|(id, at)| at.as_millis() == id + 1_000), "the last part's: {effective:?}");
    let open = store.occurrences(account, OccurrenceFilter::Open).await.unwrap();
    assert_eq!(open.iter().map(|row| row.id.0).collect::<Vec<_>>(), [4]);
}
