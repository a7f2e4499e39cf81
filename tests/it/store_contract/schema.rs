//! The schema: the same on both databases, documented, understood by every statement, never a newer one's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use haishin::store::{self, StoreError};
use rstest::rstest;
use sqlx::{Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};

use super::{T0, new_account};
use crate::support::store::{Database, TestStore};

type Tables = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn sqlite(test: &TestStore) -> SqliteConnection {
    SqliteConnection::connect(test.url.strip_prefix("sqlite://").unwrap()).await.unwrap()
}

/// Tables and columns as the database has them.
async fn live(test: &TestStore, database: Database) -> Tables {
    let columns: Vec<(String, String)> = match database {
        Database::Sqlite => {
            let list = "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c \
                        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
            sqlx::query_as(list).fetch_all(&mut sqlite(test).await).await.unwrap()
        }
        Database::Memory => unreachable!("a store in memory takes no SQL"),
        Database::Postgres => {
            let list = "SELECT table_name::text, column_name::text FROM information_schema.columns \
                        WHERE table_schema = current_schema()";
            let mut conn = PgConnection::connect(&test.url).await.unwrap();
            sqlx::query_as(list).fetch_all(&mut conn).await.unwrap()
        }
    };
    let mut tables = Tables::new();
    for (table, column) in columns {
        tables.entry(table).or_default().insert(column);
    }
    tables
}

/// Tables and columns as `docs/schema.md` has them: a heading each, then a row each that begins with the name.
fn documented() -> Tables {
    let text = std::fs::read_to_string(root().join("docs/schema.md")).unwrap();
    let mut tables = Tables::new();
    let mut table = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = Some(tables.entry(heading.to_owned()).or_default());
        } else if let (Some(columns), Some(row)) = (&mut table, line.strip_prefix("| `")) {
            let (name, meaning) = row.split_once("` |").unwrap();
            assert!(!meaning.trim_matches([' ', '|']).is_empty(), "{name} has no meaning");
            columns.insert(name.to_owned());
        }
    }
    tables
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn the_page_names_every_table_and_column(#[case] database: Database) {
    let test = TestStore::new(database).await;
    assert_eq!(documented(), live(&test, database).await);
}

/// SQLite 3.40, which Debian 12 brings, calls a sound table damaged whose rows are stored in another order than the
/// columns are in: without a row id the key is stored first. Nobody who checks a file is to be frightened.
#[tokio::test]
async fn tables_without_a_row_id_have_their_key_first() {
    let test = TestStore::new(Database::Sqlite).await;
    let list = "SELECT t.name, c.name, c.pk FROM pragma_table_list t, pragma_table_info(t.name) c \
                WHERE t.schema = 'main' AND t.wr ORDER BY t.name, c.cid";
    let columns: Vec<(String, String, i64)> =
        sqlx::query_as(list).fetch_all(&mut sqlite(&test).await).await.unwrap();
    assert!(columns.iter().any(|(table, ..)| table == "occurrence_part"), "{columns:?}");
    for of_one in columns.chunk_by(|one, other| one.0 == other.0) {
        let keys: Vec<i64> = of_one.iter().map(|(.., key)| *key).filter(|key| *key > 0).collect();
        let first: Vec<i64> = of_one.iter().map(|(.., key)| *key).take(keys.len()).collect();
        assert_eq!(first, (1..).take(keys.len()).collect::<Vec<_>>(), "{of_one:?}");
    }
}

#[test]
fn migrations_agree_in_number_and_name() {
    let names = |database: &str| -> BTreeSet<String> {
        let files = std::fs::read_dir(root().join("migrations").join(database)).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    let sqlite = names("sqlite");
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite, names("postgres"));
    for (number, name) in (1..).zip(&sqlite) {
        assert!(name.starts_with(&format!("{number:04}_")) && name.ends_with(".sql"), "{name}");
    }
}

#[tokio::test]
async fn every_statement_is_understood_by_its_database() {
    let test = TestStore::new(Database::Sqlite).await;
    let mut conn = sqlite(&test).await;
    for (name, sql) in store::sqlite::statements() {
        let prepared = conn.prepare(SqlSafeStr::into_sql_str(sql)).await;
        assert!(prepared.is_ok(), "sqlite, {name}: {:?}", prepared.err());
        assert!(!sql.contains("LIMIT $"), "{name} would be prepared anew for each limit that is bound");
    }
    let test = TestStore::new(Database::Postgres).await;
    let mut conn = PgConnection::connect(&test.url).await.unwrap();
    for (name, sql) in store::postgres::statements() {
        let prepared = conn.prepare(SqlSafeStr::into_sql_str(sql)).await;
        assert!(prepared.is_ok(), "postgres, {name}: {:?}", prepared.err());
    }
}

/// Nothing reads a table that grows from end to end, and of an account's rows only what it asks for.
#[tokio::test]
async fn every_statement_finds_its_rows_by_a_key() {
    let test = TestStore::new(Database::Sqlite).await;
    let mut conn = sqlite(&test).await;
    // These have a row for each account, configuration or token.
    let small = ["account", "a", "v", "config_active", "api_token"];
    // These want all of an account's rows, or take the first few of their order.
    let whole = [
        "CAMPAIGNS",
        "QUOTA",
        "ACTS",
        "SIZES",
        "OLDEST",
        "LEN",
        "LAST",
        "NEWEST",
        "NEWEST_OF",
        "COUNT",
        "FORGET_CHUNKS",
        "OPEN",
        "ALL_KEYS",
        "FIRST_TAG_EXPIRY",
        "LAST_OUTBOX",
        "RELAYS",
        "RELAY_WAITING",
    ];
    // Of an account's rows only those that the index is for.
    let partial =
        ["occurrence_open", "delivery_unmerged", "enrollment_ended", "deferral_open", "outbox_open"];
    // These have a row for each way a drip can end, or for each friend who is erased and not forgotten yet.
    let few = ["enrollment_gone", "erasure", "SEARCH e "];
    let mut seen = BTreeSet::new();
    for (name, sql) in store::sqlite::statements() {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&mut conn).await.unwrap();
        for (.., step) in plan {
            seen.insert(step.clone());
            let scanned = step.strip_prefix("SCAN ").and_then(|step| step.split(' ').next());
            // A subquery, itself found by a key, rows that came as JSON, or no table at all.
            let given = step.contains("VIRTUAL TABLE")
                || step.ends_with("CONSTANT ROW")
                || scanned.is_some_and(|table| table.starts_with('('));
            let fine = scanned.is_none_or(|table| small.contains(&table) || table == "chosen") || given;
            assert!(fine, "{name}: {step}");
            let partial = partial.iter().chain(&few).any(|index| step.contains(index));
            let by_account =
                step.ends_with("(account=?)") && !step.contains("manifest") && !step.contains("lease");
            assert!(!by_account || partial || whole.contains(&name), "{name}: {step}");
        }
    }
    let used = |index: &str| seen.iter().any(|step| step.contains(index));
    for index in partial.iter().chain(&[
        "api_answer_by_time",
        "batch_accepted",
        "delivery_by_effect",
        "occurrence_kept",
        "occurrence_by_campaign",
        "known_webhook",
        "outbox_given_up",
        "enrollment_open",
        "enrollment_by_friend",
        "tag_expiry_by_time",
    ]) {
        assert!(used(index), "{index}: {seen:#?}");
    }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn the_schema_of_a_newer_haishin_is_left_alone(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', TRUE, '', 0)";
    match database {
        Database::Sqlite => sqlite(&test).await.execute(newer).await.map(drop).unwrap(),
        Database::Memory => unreachable!("a store in memory takes no SQL"),
        Database::Postgres => {
            let mut conn = PgConnection::connect(&test.url).await.unwrap();
            conn.execute(newer).await.map(drop).unwrap();
        }
    }
    let refused = store::open(&test.url).await.err();
    let Some(StoreError::TooNew { found: 9999, known }) = refused else { panic!("{refused:?}") };
    assert!(known < 9999);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_an_empty_database_from_several_processes_at_once_makes_one_schema(
    #[case] database: Database,
) {
    let (url, _directory) = TestStore::empty(database).await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        opening.spawn(async move { store::open(&url).await.map(drop) });
    }
    for opened in opening.join_all().await {
        opened.unwrap();
    }
}

/// The file holds customers' data.
#[tokio::test]
async fn the_file_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/haishin.db");
    let store = store::open(&format!("sqlite://{}", path.display())).await.unwrap();
    new_account(&*store, "a").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["haishin.db", "haishin.db-wal", "haishin.db-shm"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    store.close().await;
    assert!(!path.with_file_name("haishin.db-wal").exists(), "closed, everything is in the one file");
    assert!(store.accounts().await.is_err());
    assert!(store.ensure_account(&"b".parse().unwrap(), "b", T0).await.is_err());
}

/// The log of a busy database does not grow without end.
#[tokio::test]
async fn the_log_is_checkpointed_while_writing() {
    let test = TestStore::new(Database::Sqlite).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let megabyte = "x".repeat(1 << 20);
    let wal = format!("{}-wal", test.url.strip_prefix("sqlite://").unwrap());
    for _ in 0..80 {
        let row = store::NewInbox { account, received_at: T0, source: megabyte.clone(), intakes: vec![] };
        store.append_inbox(vec![row]).await.unwrap();
    }
    let bytes = std::fs::metadata(wal).unwrap().len();
    assert!(bytes < 32 << 20, "{bytes}");
}

#[tokio::test]
async fn an_error_never_shows_a_password() {
    for url in [
        "postgres://haishin:hunter2@127.0.0.1:1/haishin",
        "postgres://haishin:hunter2@127.0.0.1:99999/haishin",
        "postgres://haishin:hunter2@127.0.0.1:1/haishin?passwort=hunter2",
        "mysql://haishin:hunter2@127.0.0.1/haishin",
        "postgres:/haishin:hunter2@127.0.0.1/haishin",
    ] {
        let error = anyhow::Error::from(store::open(url).await.err().unwrap());
        let shown = format!("{error:#} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
