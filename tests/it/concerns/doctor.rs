//! `haishin doctor`, with a daemon and without, in both languages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::postgres;
use crate::support::shop::{KOHARU, SECRET, Shop};

/// What changes from machine to machine.
fn masked(shop: &Shop, text: &str) -> String {
    let text = shop.masked(text);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        if let Some(at) = line.find("SQLite 3.") {
            line.truncate(at);
            line += "SQLite 3";
        }
        if line.starts_with("✓ disk")
            || line.starts_with("✓ ディスク")
            || line.starts_with("✓ limits")
            || line.starts_with("✓ 上限")
        {
            line = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ") + " …";
        }
        lines.push(line);
    }
    lines.join("\n")
}

fn bound(shop: &Shop) {
    let secret = shop.config().join("secrets/koharu-channel-secret");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
    shop.edit("haishin.toml", "warn_below = \"1GB\"", "warn_below = \"1MB\"");
}

#[test]
fn a_doctor_without_a_daemon_changes_nothing() {
    let shop = Shop::new();
    bound(&shop);
    let before = shop.run(&["doctor"]);
    assert_eq!(before.code, 0, "{before:?}");
    assert!(!shop.state().exists(), "it makes nothing");
    shop.ok(&["status"]);
    shop.ok(&["campaign", "pause", "winter-coupon"]);
    let database = shop.state().join("haishin.sqlite3");
    // A command that ends in a hurry leaves a log, which whoever opens the database next takes in: not this doctor.
    let log = shop.state().join("haishin.sqlite3-wal");
    while log.exists() {
        shop.ok(&["status"]);
    }
    let bytes = fs::read(&database).unwrap();
    let mut text = String::new();
    for lang in ["en", "ja"] {
        let said = shop.run(&["doctor", "--deep", "--lang", lang]);
        assert_eq!(said.code, 0, "{said:?}");
        text += &format!("{}\n\n", masked(&shop, &said.out));
    }
    assert_snapshot!("alone", timeless(&text));
    assert_eq!(fs::read(&database).unwrap(), bytes, "not a byte is written");
}

/// Without the machine's own instants.
fn timeless(text: &str) -> String {
    crate::commands::without_now(text)
}

#[test]
fn a_doctor_asks_the_daemon_and_says_what_is_wrong() {
    let shop = Shop::new();
    let daemon = shop.daemon(&[]);
    // Anybody may read the secret, the files are not what runs, and a person has stopped the account.
    let secret = shop.config().join("secrets/koharu-channel-secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    shop.edit("haishin.toml", "warn_below = \"1GB\"", "warn_below = \"1MB\"");
    shop.ok(&["stop", "--reason", "wrong coupon"]);
    let mut text = String::new();
    for lang in ["en", "ja"] {
        let said = shop.run(&["doctor", "--lang", lang]);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(!said.out.contains(SECRET));
        text += &format!("{}\n\n", masked(&shop, &said.out));
    }
    assert_snapshot!("with_a_daemon", timeless(&text));
    let json: Value = serde_json::from_str(&shop.run(&["doctor", "--json"]).out).unwrap();
    assert_eq!(json["concerns"][0]["code"], "stopped");
    assert_eq!(json["concerns"][0]["account"], "koharu");
    let online = shop.run(&["doctor", "--online", "--json"]);
    let json: Value = serde_json::from_str(&online.out).unwrap();
    let checks = json["checks"].as_array().unwrap();
    let line = checks.iter().find(|one| one["check"] == "line koharu").unwrap();
    assert_eq!(line["mark"], "good", "{line} of channel {KOHARU}");
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn a_doctor_says_what_does_not_work() {
    let shop = Shop::new();
    bound(&shop);
    shop.remove("secrets/koharu-channel-secret");
    let said = shop.run(&["doctor"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("✗ secrets"), "{said:?}");
    fs::create_dir(shop.state()).unwrap();
    fs::write(shop.state().join("haishin.sqlite3"), "a shopping list\n".repeat(100)).unwrap();
    let said = shop.run(&["doctor"]);
    assert!(said.code == 1 && said.out.contains("✗ database"), "{said:?}");
    shop.edit("haishin.toml", "\n[database]\n", "\n[databse]\n");
    let said = shop.run(&["doctor"]);
    assert!(said.code == 1 && said.out.contains("haishin check"), "{said:?}");
}

/// Nothing is wrong with a server alone, but whoever fails over to another one is to know.
#[test]
fn a_doctor_says_that_a_server_has_no_replica() {
    let (shop, runtime) = (Shop::new(), tokio::runtime::Runtime::new().unwrap());
    bound(&shop);
    let url = runtime.block_on(postgres::database());
    shop.edit("haishin.toml", "url = \"sqlite:haishin.sqlite3\"", &format!("url = \"{url}\""));
    for (lang, told) in [("en", "a failover may lose commits"), ("ja", "同期レプリカはありません")]
    {
        let said = shop.run(&["doctor", "--lang", lang]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.out.contains(told), "{said:?}");
    }
}
