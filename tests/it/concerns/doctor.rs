//! `haishin doctor`, with a daemon and without, in both languages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _};

use crate::support::postgres;
use crate::support::shop::{KOHARU, SECRET, Shop};

/// What changes from machine to machine.
fn masked(shop: &Shop, text: &str) -> String {
    let text = shop.masked(text);
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        // Where the server's own source says so.
        if let Some(at) = line.rfind("does not exist at line ") {
            line.truncate(at + "does not exist".len());
        }
        for engine in ["SQLite 3", "PostgreSQL 1"] {
            if let Some(at) = line.find(engine) {
                line.truncate(at + engine.len() - 1);
                line += "…";
            }
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

/// A shop whose database is on a server: the URL of it.
fn on_a_server(shop: &Shop, runtime: &tokio::runtime::Runtime) -> String {
    bound(shop);
    let url = runtime.block_on(postgres::database());
    shop.edit("haishin.toml", "url = \"sqlite:haishin.sqlite3\"", &format!("url = \"{url}\""));
    url
}

fn told(sql: String, url: &str, runtime: &tokio::runtime::Runtime) {
    runtime.block_on(async {
        let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
        conn.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        conn.close().await.unwrap();
    });
}

/// Also: nothing is wrong with a server alone, but whoever fails over to another one is to know.
#[test]
fn a_doctor_looks_at_a_server_without_changing_anything() {
    let (shop, runtime) = (Shop::new(), tokio::runtime::Runtime::new().unwrap());
    let url = on_a_server(&shop, &runtime);
    // What the server does for others; haishin's own commits wait.
    let (_, name) = url.rsplit_once('/').unwrap();
    told(format!("ALTER DATABASE {name} SET synchronous_commit = off"), &url, &runtime);
    let mut text = masked(&shop, &shop.run(&["doctor"]).out) + "\n\n";
    assert!(!shop.state().exists() && !postgres::dump(&url).contains("CREATE TABLE"), "it makes nothing");
    shop.ok(&["campaign", "pause", "winter-coupon"]);
    let before = postgres::dump(&url);
    for lang in ["en", "ja"] {
        let said = shop.run(&["doctor", "--deep", "--lang", lang]);
        assert_eq!(said.code, 0, "{said:?}");
        text += &format!("{}\n\n", masked(&shop, &said.out));
    }
    assert_snapshot!("on_a_server", timeless(&text));
    assert_eq!(postgres::dump(&url), before, "not a row is written");
}

#[test]
fn a_doctor_says_what_does_not_work_on_a_server() {
    let (shop, runtime) = (Shop::new(), tokio::runtime::Runtime::new().unwrap());
    let url = on_a_server(&shop, &runtime);
    let (_, name) = url.rsplit_once('/').unwrap();
    shop.ok(&["status"]);
    // A newer haishin was here.
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (99990101000000, 'newer', TRUE, decode('00', 'hex'), 0)";
    told(newer.to_owned(), &url, &runtime);
    let mut text = String::new();
    let mut failed = |what: &str| {
        for lang in ["en", "ja"] {
            let said = shop.run(&["doctor", "--lang", lang]);
            assert_eq!(said.code, 1, "{said:?}");
            assert!(!said.out.contains("geheim") && !said.err.contains("geheim"), "{said:?}");
            let said = masked(&shop, &said.out).replace(&format!("\"{name}-"), "\"DATABASE-");
            let from = said.find('✗').unwrap();
            let (wrong, _) = said[from..].rsplit_once('\n').unwrap();
            text += &format!("{what}\n{wrong}\n\n");
        }
    };
    failed("a newer schema");
    shop.edit("haishin.toml", &url, &format!("{url}-that-is-not-there"));
    failed("no such database");
    shop.edit("haishin.toml", &format!("{url}-that-is-not-there"), &format!("{url}?passwort=geheim"));
    failed("an unknown parameter");
    shop.edit("haishin.toml", &format!("{url}?passwort=geheim"), "postgres://haishin@127.0.0.1:1/haishin");
    failed("nobody listens");
    shop.edit("haishin.toml", "haishin@127.0.0.1:1", "haishin:geheim@127.0.0.1:1");
    failed("a password in a file that others read");
    assert_snapshot!("what_does_not_work_on_a_server", text);
}
