//! What is so of the machine, and of a daemon as a whole: real processes.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::daemon::{Line, Shop, at, until};
use crate::support::store::Database;

const NOON: &str = "2090-12-04T12:00:00+09:00";

fn metrics(shop: &Shop) -> String {
    let mut stream = TcpStream::connect(shop.http_address()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn has(concerns: &Value, code: &str) -> bool {
    concerns.as_array().unwrap().iter().any(|one| one["code"] == code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_a_backup_nobody_made_are_seen_everywhere() {
    let line = Line::bind().await;
    let settings = "[disk]\nwarn_below = \"9000TB\"\n[backup]\nwarn_after = \"26h\"";
    let shop = Shop::new(Database::Sqlite, line.address, settings).await;
    let daemon = shop.started(at(NOON)).await;
    let said = shop.run(&["status"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.starts_with("a daemon runs here and answers."), "{said:?}");
    assert!(said.out.contains("less than 9000.0 TB"), "{said:?}");
    let status: Value = serde_json::from_str(&shop.run(&["status", "--json"]).out).unwrap();
    assert_eq!(status["daemon"], true);
    assert!(status["disk"]["free_bytes"].as_u64().unwrap() > 0);
    for code in ["disk_low", "backup_stale"] {
        assert!(has(&status["concerns"], code), "{status}");
        let shown = format!("haishin_concern{{account=\"\",code=\"{code}\"}} 1");
        until(code, async || metrics(&shop).contains(&shown).then_some(())).await;
        assert!(shop.log().contains(&format!("concern=\"{code}\"")), "{}", shop.log());
    }
    assert!(metrics(&shop).contains("haishin_disk_free_bytes "));
    let doctor: Value = serde_json::from_str(&shop.run(&["doctor", "--json"]).out).unwrap();
    assert_eq!(doctor["daemon"], true);
    for code in ["disk_low", "backup_stale"] {
        assert!(has(&doctor["concerns"], code), "{doctor}");
    }
    // Once, not every minute.
    assert_eq!(shop.log().matches("concern=\"disk_low\"").count(), 1);
    daemon.terminate();
    // Without a daemon the command says that nothing is sent.
    let said = shop.run(&["status", "--lang", "ja"]);
    assert!(said.out.starts_with("デーモンは動いていません。"), "{said:?}");
}
