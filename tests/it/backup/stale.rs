//! Whether there is a backup that is young enough, where somebody wants to know.

use std::io::{Read, Write};
use std::net::TcpStream;

use haishin::domain::time::Span;
use serde_json::{Value, json};

use super::{NOON, world};
use crate::support::daemon::{Shop, at, until};
use crate::support::store::Database;

fn metric(shop: &Shop) -> Option<f64> {
    let mut stream = TcpStream::connect(shop.http_address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("haishin_last_backup_timestamp_seconds "))?;
    line.split(' ').nth(1).unwrap().parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_too_old_is_told_where_it_is_wanted() {
    let world = world(Database::Sqlite, "[backup]\nwarn_after = \"26h\"", |_| ()).await;
    let shop = &world.shop;
    let noon = at(NOON) + Span::from_mins(1);
    let daemon = shop.started(noon).await;
    let said = shop.run(&["status"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("no backup has been made yet"), "{said:?}");
    assert_eq!(metric(shop), None);
    let backup = shop.json(&["backup"]);
    let status = shop.json(&["status"]);
    assert_eq!(
        (&status["backup"]["overdue"], &status["backup"]["last"]["path"]),
        (&json!(false), &backup["path"])
    );
    let made = at(backup["at"].as_str().unwrap());
    assert_eq!(metric(shop), Some(made.as_millis() as f64 / 1_000.0));
    daemon.terminate();
    // Known to who comes after, and too old for that one.
    let daemon = shop.started(noon + Span::from_hours(27)).await;
    until("the metric is there", async || metric(shop)).await;
    let said = shop.run(&["status", "--lang", "ja"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("最後のバックアップが古くなっています"), "{said:?}");
    until("the log says so", async || shop.log().contains("the last backup is too old").then_some(())).await;
    daemon.terminate();
}

/// Many have the file copied all the time, and make none by haishin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_did_not_ask_is_warned() {
    let world = world(Database::Sqlite, "", |_| ()).await;
    let status = world.shop.json(&["status"]);
    assert_eq!(
        status["backup"],
        json!({ "last": Value::Null, "warn_after_ms": Value::Null, "overdue": false })
    );
}
