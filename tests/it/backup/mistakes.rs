//! What a person gets wrong about backups: what is wrong, what to do next, and that nothing was changed.

use std::path::Path;

use haishin::store::sqlite::copy;
use insta::assert_snapshot;
use sqlx::{Connection as _, SqliteConnection};

use crate::commands::{stocked, without_now};
use crate::support::shop::{Said, Shop};

async fn sql(path: &Path, text: &str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned())).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

fn block_on<T>(doing: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(doing)
}

const LATER: &str = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, \
                     execution_time) VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 0)";

/// Instants, sizes and numbers of transactions differ from run to run.
fn steady(text: &str) -> String {
    let mut parts = text.split("before-restore-");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += &format!("before-restore-AT{}", &part["20261204T090000Z".len()..]);
    }
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    for unit in [" kB", " transactions"] {
        let parts: Vec<&str> = out.split(unit).collect();
        let last = parts.len() - 1;
        let cut = |(n, part): (usize, &&str)| {
            if n < last { part.trim_end_matches(digits).to_owned() } else { (*part).to_owned() }
        };
        out = parts.iter().enumerate().map(cut).collect::<Vec<_>>().join(&format!("N{unit}"));
    }
    let mut lines = String::new();
    for line in without_now(&out).lines() {
        // A row of the table: account, friends, as of, transaction, open.
        let cells: Vec<&str> = line.split_whitespace().collect();
        lines += &match cells[..] {
            ["koharu", friends, as_of, _, open] => format!("  koharu {friends} {as_of} N {open}"),
            _ => line
                .split("トランザクション ")
                .map(|part| part.trim_start_matches(digits))
                .collect::<Vec<_>>()
                .join("トランザクション N"),
        };
        lines += "\n";
    }
    lines
}

fn shown(text: &mut String, shop: &Shop, words: &[&str], said: &Said) {
    let words = shop.masked(&words.join(" "));
    *text += &format!("$ haishin {words}\n{}{}[{}]\n\n", steady(&said.out), steady(&said.err), said.code);
}

#[test]
fn a_file_that_is_no_backup_changes_nothing() {
    let shop = stocked();
    let backup = shop.file("x", "").with_file_name("backup.sqlite3");
    shop.ok(&["backup", backup.to_str().unwrap()]);
    let database = shop.state().join("haishin.sqlite3");
    let look = || {
        block_on(async {
            copy::settle(&database).await.unwrap();
            copy::look(&database).await.unwrap()
        })
    };
    let before = look();
    let text_file = shop.file("list.txt", &"a shopping list\n".repeat(1_000));
    let other = backup.with_file_name("other.sqlite3");
    block_on(sql(&other, "CREATE TABLE friend (x); CREATE TABLE account (x)"));
    let cut = backup.with_file_name("cut.sqlite3");
    let bytes = std::fs::read(&backup).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let newer = backup.with_file_name("newer.sqlite3");
    std::fs::write(&newer, &bytes).unwrap();
    block_on(sql(&newer, LATER));
    let itself = shop.state().join("haishin.sqlite3");
    let nowhere = backup.with_file_name("nowhere.sqlite3");
    let mut text = String::new();
    for lang in ["ja", "en"] {
        for file in [&text_file, &other, &cut, &newer, &itself, &nowhere, &shop.state()] {
            let words = ["--lang", lang, "restore", "--yes", file.to_str().unwrap()];
            let said = shop.run(&words);
            assert_eq!((said.code, &*said.out), (1, ""), "{said:?}");
            if file == &cut {
                // SQLite's own words of what it found differ.
                assert!(
                    said.err.contains("it is damaged (") || said.err.contains("壊れています（"),
                    "{said:?}"
                );
                continue;
            }
            shown(&mut text, &shop, &words, &said);
        }
        // Nobody is there to be asked.
        let words = ["--lang", lang, "restore", backup.to_str().unwrap()];
        let said = shop.run(&words);
        assert_eq!(said.code, 1, "{said:?}");
        shown(&mut text, &shop, &words, &said);
    }
    assert_snapshot!("no_backups", text);
    assert_eq!(look(), before);
    let left = std::fs::read_dir(shop.state()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("haishin.sqlite3.")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn backups_and_restores_are_told_in_both_languages() {
    let mut text = String::new();
    for lang in ["ja", "en"] {
        let shop = stocked();
        let backup = shop.file("x", "").with_file_name("backup.sqlite3");
        let file = backup.to_str().unwrap();
        let missing = format!("{file}/none.sqlite3");
        let mut say = |words: &[&str]| {
            let words = [&["--lang", lang], words].concat();
            let said = shop.run(&words);
            shown(&mut text, &shop, &words, &said);
        };
        say(&["backup", file]);
        say(&["backup", file]);
        say(&["backup", &missing]);
        shop.ok(&["stop"]);
        say(&["restore", "--yes", file]);
        say(&["status"]);
    }
    assert_snapshot!("told", text);
}

/// After an upgrade that is to be undone: the newer haishin's database is left alone, and a backup of before it restored.
#[test]
fn the_way_back_from_an_upgrade_is_a_backup_of_before() {
    let shop = stocked();
    let backup = shop.file("x", "").with_file_name("before-upgrade.sqlite3");
    shop.ok(&["backup", backup.to_str().unwrap()]);
    block_on(sql(&shop.state().join("haishin.sqlite3"), LATER));
    let mut text = String::new();
    for lang in ["ja", "en"] {
        let all: [&[&str]; 6] = [
            &["status"],
            &["run"],
            &["segment", "list"],
            &["apply", "--yes"],
            &["backup"],
            &["restore", "--mark"],
        ];
        for words in all {
            let words = [&["--lang", lang], words].concat();
            let said = shop.run(&words);
            assert_eq!((said.code, &*said.out), (1, ""), "{said:?}");
            shown(&mut text, &shop, &words, &said);
        }
    }
    assert_snapshot!("newer", text);
    shop.ok(&["restore", "--yes", backup.to_str().unwrap()]);
    let status = shop.run(&["--json", "status"]);
    assert_eq!(status.code, 3, "{status:?}");
    assert!(status.out.contains("\"code\":\"restored\""), "{status:?}");
}
