//! A database that was restored by other means is marked, whichever database it is.

use rstest::rstest;
use serde_json::json;

use super::{BEFORE_SIX, FRIENDS, LATER, world};
use crate::support::daemon::{at, until};
use crate::support::store::Database;

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marked_database_holds_everything_until_a_person_has_looked(#[case] database: Database) {
    let world = world(database, "", |_| ()).await;
    let shop = &world.shop;
    let daemon = shop.started(at(BEFORE_SIX)).await;
    until("some batches are out", async || (world.sandbox.totals().multicasts >= 2).then_some(())).await;
    let refused = shop.run(&["restore", "--mark"]);
    assert!(
        refused.code == 1 && refused.err.contains("a daemon runs on this state directory"),
        "{refused:?}"
    );
    if database == Database::Postgres {
        // Another machine's command does not mark what somebody owns.
        let other = shop.folder("other-state");
        let refused = shop.run(&["--state", other.to_str().unwrap(), "restore", "--mark"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains("account `shop` is held by"), "{refused:?}");
        assert!(refused.err.contains("stop that daemon first"), "{refused:?}");
    }
    daemon.kill();
    let sent = world.sandbox.totals().messages;
    assert!(sent < u64::from(FRIENDS));

    let marked = shop.json(&["restore", "--mark"]);
    assert_eq!(marked["held"][0]["occurrences"], json!([1]), "{marked}");
    let again = shop.json(&["restore", "--mark"]);
    assert_eq!(again["held"][0], marked["held"][0], "as of the same instant still");
    let daemon = shop.started(at(LATER)).await;
    let status = world.status().await;
    assert_eq!(status["stopped"]["why"]["code"], "restored", "{status}");
    assert_eq!(status["open"][0]["why"]["code"], "restored", "{status}");
    assert!(shop.log().contains("the database was restored from a backup as of"), "the log says so, too");
    world.nothing_leaves().await;
    assert_eq!(shop.json(&["start"])["started"], true);
    shop.json(&["occurrence", "resolve", "1", "--held", "send"]);
    world.until_sent().await;
    world.once_each("1").await;
    daemon.terminate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_backed_up_with_its_own_tools() {
    let world = world(Database::Postgres, "[backup]\nwarn_after = \"26h\"", |_| ()).await;
    let shop = &world.shop;
    let words: [&[&str]; 2] = [&["backup"], &["restore", "--yes", "yesterday.sqlite3"]];
    let daemon = shop.started(at(BEFORE_SIX)).await;
    let with = shop.run(words[0]);
    // It is haishin that has no backup here, not the shop.
    assert_eq!(shop.ask(&["status"]).unwrap()["backup"], serde_json::Value::Null);
    daemon.terminate();
    assert_eq!(shop.run(words[0]), with);
    let mut text = String::new();
    for lang in ["en", "ja"] {
        for words in words {
            let said = shop.run(&[&["--lang", lang], words].concat());
            assert_eq!((said.code, &*said.out), (1, ""), "{said:?}");
            text += &said.err;
        }
    }
    insta::assert_snapshot!("a_server", text);
}
