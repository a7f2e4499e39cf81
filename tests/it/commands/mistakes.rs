//! Whatever a person or a machine gets wrong: what is wrong, and what to do next. No panic, no secret, nothing half done.

use std::os::unix::fs::DirBuilderExt;
use std::process::Stdio;

use insta::assert_snapshot;
use sqlx::Connection;

use super::{stocked, without_now};
use crate::support::shop::{Said, Shop, free_port};

fn shown(text: &mut String, words: &[&str], said: &Said) {
    *text += &format!("$ haishin {}\n{}{}[{}]\n\n", words.join(" "), said.out, said.err, said.code);
}

/// Names that are nearly right.
#[test]
fn a_slip_of_the_finger_is_told_what_was_probably_meant() {
    let shop = stocked();
    let slips: [&[&str]; 16] = [
        &["segment", "count", "tokyo-regular"],
        &["segment", "export", "member"],
        &["segment", "count", "x"],
        &["campaign", "next", "winter-copon"],
        &["campaign", "preview", "winter_coupon"],
        &["campaign", "pause", "birthdya"],
        &["campaign", "cancel", "giftfair"],
        &["campaign", "test-send", "winter", "--to", "K-001"],
        &["occurrence", "list", "winter-copon"],
        &["occurrence", "show", "12"],
        &["friend", "show", "K-999"],
        &["--account", "kohar", "segment", "list"],
        &["--account", "こはる", "status"],
        &["segmnet", "list"],
        &["campaign", "previw"],
        &["segment", "count", "--now", "2090-12-04"],
    ];
    for lang in ["ja", "en"] {
        let mut text = String::new();
        for words in slips {
            let said = shop.run(&[&["--lang", lang], words].concat());
            assert!(said.code == 1 || said.code == 2, "{words:?}: {said:?}");
            assert!(!said.err.is_empty() && said.out.is_empty(), "{words:?}: {said:?}");
            shown(&mut text, words, &said);
        }
        assert_snapshot!(format!("slips_{lang}"), text);
    }
}

/// A machine that is not as it should be.
#[test]
fn a_broken_installation_says_what_to_do() {
    let mut text = String::new();
    let mut case = |what: &str, words: &[&str], prepare: &dyn Fn(&Shop)| {
        let shop = Shop::new();
        prepare(&shop);
        for lang in ["ja", "en"] {
            let said = shop.run_bound(&[&["--lang", lang], words].concat());
            assert_eq!((said.code, said.out.as_str()), (1, ""), "{what}: {said:?}");
            text += &format!("# {what}\n");
            shown(&mut text, words, &said);
        }
    };
    let file = |shop: &Shop| drop(shop.file("state", "not a directory"));
    case("no configuration directory", &["status"], &|shop| {
        std::fs::remove_dir_all(shop.config()).unwrap();
    });
    case("no haishin.toml", &["status"], &|shop| shop.remove("haishin.toml"));
    case("a slip in haishin.toml", &["status"], &|shop| {
        shop.edit("haishin.toml", "\n[database]\n", "\n[databse]\n");
    });
    case("no secret", &["status"], &|shop| shop.remove("secrets/koharu-channel-secret"));
    case("no secret, the daemon", &["run"], &|shop| {
        shop.remove("secrets/koharu-channel-secret");
        shop.edit("haishin.toml", "level = \"info\"", "level = \"warn\"");
    });
    case("another database", &["status"], &|shop| {
        shop.edit("haishin.toml", "sqlite:haishin.sqlite3", "mysql://db.example/x");
    });
    case("a password in the file", &["status"], &|shop| {
        let url = "postgres://haishin:s3cr3t-of-the-channel-0123456789@db.example/x";
        shop.edit("haishin.toml", "sqlite:haishin.sqlite3", url);
    });
    case("a database that is not there", &["status"], &|shop| {
        shop.edit("haishin.toml", "\"sqlite:haishin.sqlite3\"", "{ file = \"secrets/url\" }");
        let url = "postgres://haishin:s3cr3t-of-the-channel-0123456789@127.0.0.1:1/haishin";
        shop.write("secrets/url", url);
    });
    case("a database where nothing can be written", &["status"], &|shop| {
        shop.edit("haishin.toml", "sqlite:haishin.sqlite3", "sqlite:/proc/haishin.sqlite3");
    });
    case("no database at all", &["status"], &|shop| {
        std::fs::create_dir(shop.state()).unwrap();
        std::fs::write(shop.state().join("haishin.sqlite3"), "a shopping list\n".repeat(100)).unwrap();
    });
    case("a state directory that is a file", &["status"], &file);
    case("a state directory that is read only", &["status"], &|shop| {
        std::fs::DirBuilder::new().mode(0o555).create(shop.state()).unwrap();
    });
    assert_snapshot!("broken_installations", without_now(&text));
}

#[test]
fn the_database_of_a_newer_haishin_is_left_alone() {
    let shop = stocked();
    let database = shop.state().join("haishin.sqlite3");
    let later = "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
                 VALUES (99990101000000, 'later', CURRENT_TIMESTAMP, 1, x'00', 0)";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}", database.display());
        let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(later).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    });
    let before = std::fs::read(&database).unwrap();
    let said = shop.run(&["status"]);
    assert_eq!(said.code, 1);
    assert_snapshot!(said.err, @"error: the database is a newer haishin's (schema 99990101000000; this one knows 13): start the newer haishin again, or restore a backup made before the upgrade");
    assert_eq!(std::fs::read(&database).unwrap(), before);
}

#[test]
fn a_port_in_use_is_told_before_anything_is_sent() {
    let shop = stocked();
    let port = free_port();
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    shop.edit("haishin.toml", "127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let said = shop.run(&["run", "--clock", "2090-12-04T18:00:00+09:00"]);
    assert_eq!(said.code, 1);
    let err = said.err.replace(&port.to_string(), "PORT");
    assert_snapshot!(err, @"error: cannot listen on 127.0.0.1:PORT; change http.listen in haishin.toml: Address already in use (os error 98)");
    assert_eq!(shop.sandbox.totals().requests, 0);
    drop(taken);
}

/// With a daemon, a command asks it or does nothing.
#[test]
fn a_command_never_writes_beside_a_daemon() {
    let shop = stocked();
    let daemon = shop.daemon(&[]);
    let socket = shop.state().join("haishin.sock");
    std::fs::rename(&socket, shop.state().join("elsewhere")).unwrap();
    let mut text = String::new();
    for words in [&["segment", "list"][..], &["apply", "--yes"], &["stop"], &["run"]] {
        for lang in ["ja", "en"] {
            let said = shop.run(&[&["--lang", lang], words].concat());
            assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
            shown(&mut text, words, &said);
        }
    }
    assert_snapshot!("beside_a_daemon", text);
    std::fs::rename(shop.state().join("elsewhere"), &socket).unwrap();
    assert_eq!(shop.run(&["segment", "list"]).code, 0);
    assert_eq!(daemon.terminate().0, 0);
}

/// A reader of a long listing that went away is no failure of ours.
#[test]
fn a_closed_pipe_ends_quietly() {
    let shop = stocked();
    let mut child = shop
        .command(&["segment", "export", "members"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = shop.said(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

/// A bad file of an import stops before the first row; a bad row stops nothing else.
#[test]
fn imports_say_what_is_wrong_and_go_on() {
    let shop = stocked();
    let good = crate::support::shop::user(1);
    let rows = shop.file("rows.csv", &format!("user,points\n{good},5\nbob,6\n{good},many\n"));
    let header = shop.file("header.csv", "user,pionts,user\nx,y,z\n");
    let mut text = String::new();
    for words in [
        &["import", "friends", rows.to_str().unwrap()][..],
        &["import", "friends", header.to_str().unwrap()],
        &["import", "friends", "/nowhere/friends.csv"],
        &["import", "tags", rows.to_str().unwrap()],
        &["import", "friends", rows.to_str().unwrap(), "--column", "attribute.pionts=points"],
        &["import", "friends", rows.to_str().unwrap(), "--encoding", "latin1"],
        &["import", "freinds", rows.to_str().unwrap()],
    ] {
        let said = shop.run(words);
        assert_ne!(said.code, 0, "{said:?}");
        let words: Vec<String> = words.iter().map(|word| shop.masked(word)).collect();
        let said = Said { out: timeless(&said.out), ..said };
        shown(&mut text, &words.iter().map(String::as_str).collect::<Vec<_>>(), &said);
    }
    assert_snapshot!("imports", text);
    let friend = shop.json(&["friend", "show", &good]);
    assert!(friend.to_string().contains("points"), "{friend}");
}

/// Without how long it took.
fn timeless(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Some(first) = lines.first_mut()
        && let Some((rows, _)) = first.split_once(" rows in ")
    {
        *first = format!("{rows} rows in …");
    }
    lines.join("\n") + if lines.is_empty() { "" } else { "\n" }
}
