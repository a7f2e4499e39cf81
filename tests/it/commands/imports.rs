//! `haishin import` as a shop's developer meets it: friends named either way, every kind of wrong file, and a running
//! configuration that is not the one on disk.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::FriendRef;
use haishin::domain::id::{EventName, TagName};
use haishin::domain::time::Instant;
use haishin::store::{self, NewInbox};
use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::Value;

use super::{NOW, stocked, without_now};
use crate::support::shop::{Shop, user};

/// Without how long it took.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words = [" rows in ", "行 "].into_iter().find(|words| {
            line.split_once(words).is_some_and(|(_, rest)| rest.contains(" s (") || rest.contains("秒(毎秒"))
        });
        match words.and_then(|words| line.split_once(words)) {
            Some((rows, _)) => writeln!(out, "{rows} …").unwrap(),
            None => writeln!(out, "{line}").unwrap(),
        }
    }
    out
}

/// Imports a file of this name and content, and shows everything that was said and rejected.
fn shown(shop: &Shop, kind: &str, name: &str, content: impl AsRef<[u8]>, options: &[&str]) -> String {
    let path = shop.file(name, "");
    fs::write(&path, content).unwrap();
    let said = shop.run(&[&["import", kind, path.to_str().unwrap()], options].concat());
    let mut text = format!(
        "$ import {kind} {name} {}\n{}{}[{}]\n",
        options.join(" "),
        timeless(&said.out),
        said.err,
        said.code
    );
    let rejects = path.with_extension("rejects.csv");
    if let Ok(rejected) = fs::read_to_string(&rejects) {
        text += &rejected;
        fs::remove_file(rejects).unwrap();
    }
    // A snapshot with a NUL would be no text.
    text.replace('\0', "␀") + "\n"
}

fn friend(shop: &Shop, named: &str) -> Value {
    shop.json(&["friend", "show", named])
}

fn count(shop: &Shop, rule: &str) -> Value {
    shop.write("segments/asked.toml", &format!("title = \"asked\"\n{rule}\n"));
    shop.ok(&["apply", "--yes"]);
    shop.json(&["segment", "count", "asked", "--now", NOW])["segments"][0]["friends"].clone()
}

/// Tags, events and attributes for customers whom the shop knows by its own number; those nobody is, and those two
/// friends are, are told row by row.
fn by_external_id(shop: &Shop) -> String {
    let mut text = String::new();
    // Friend 8 gets the id of friend 7: a customer with two LINE accounts.
    text += &shown(shop, "friends", "shared.csv", format!("user,external_id\n{},K-007\n", user(8)), &[]);
    let tags =
        "会員番号,at\nK-001,2090-12-01\nK-404,2090-12-01\n\"K,002\",2090-12-02 10:00\nK-007,2090-12-01\n";
    text +=
        &shown(shop, "tags", "tags.csv", tags, &["--column", "external_id=会員番号", "--value", "tag=招待"]);
    let events = "external_id,name,at,amount\nK-001,review,2090-11-01,5\nK-001,review,2090-11-01,5\nK-999,review,2090-11-01,1\n";
    text += &shown(shop, "events", "reviews.csv", events, &["--column", "property.amount:integer=amount"]);
    let friends = "external_id,points,prefecture\nK-003,99,福岡県\nK-008,1,福岡県\n,1,福岡県\n";
    text += &shown(shop, "friends", "points.csv", friends, &[]);
    for named in ["K-001", "K,002", "K-003", "K-007", "K-008"] {
        let said = shop.run(&["friend", "show", named]);
        writeln!(text, "$ friend show {named}\n{}{}[{}]\n", said.out, said.err, said.code).unwrap();
    }
    text
}

#[test]
fn friends_are_named_by_user_or_by_external_id_with_and_without_a_daemon() {
    let (shop, served) = (stocked(), stocked());
    let daemon = served.daemon(&[]);
    let text = by_external_id(&shop);
    assert_eq!(by_external_id(&served), text);
    assert_snapshot!("by_external_id", without_now(&text));
    for shop in [&shop, &served] {
        assert_eq!(count(shop, "event = \"review\"\nsum = { of = \"amount\", eq = 10 }"), 1);
    }
    assert_eq!(daemon.terminate().0, 0);
    // No shop's mistake got into the other's, or became a friend.
    assert_eq!(shop.json(&["status"])["accounts"][0]["friends"], 8);
    assert_eq!(shop.json(&["status"])["accounts"][0]["strays"], 0);
}

/// What was acknowledged for somebody who is no friend when it is applied: never dropped, never guessed.
#[test]
fn what_named_nobody_when_it_was_applied_is_kept_and_told() {
    let shop = stocked();
    let tag = |id: &str, tag: &str| Intake {
        friend: FriendRef::External(id.into()),
        at: Instant::try_from("2090-12-01T00:00:00Z".to_owned()).unwrap(),
        effect: Effect::TagAdded { tag: TagName::parse(tag).unwrap() },
        dedupe: None,
    };
    let mut event = tag("K-404", "x");
    event.effect = Effect::Event {
        name: EventName::parse("purchase").unwrap(),
        event_id: Some("A-1".into()),
        properties: [].into(),
    };
    // As another node would have taken it in, which cannot ask who is meant.
    let database = shop.state().join("haishin.sqlite3");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = store::open(&format!("sqlite://{}", database.display())).await.unwrap();
        let account = store.accounts().await.unwrap()[0].id;
        let intakes = vec![tag("K-001", "known"), tag("K-404", "迷子"), event];
        let row = NewInbox { account, received_at: tag("", "x").at, source: "api".into(), intakes };
        store.append_inbox(vec![row]).await.unwrap();
        store.close().await;
    });
    let mut text = String::new();
    for (lang, words) in [
        ("ja", &["status"][..]),
        ("en", &["status"]),
        ("ja", &["friend", "strays"]),
        ("en", &["friend", "strays", "--limit", "1"]),
        ("en", &["--json", "friend", "strays"]),
        ("en", &["friend", "strays", "--forget"]),
        ("ja", &["friend", "strays", "--forget"]),
        ("en", &["friend", "strays"]),
        ("en", &["status"]),
    ] {
        let said = shop.run(&[&["--lang", lang], words].concat());
        let out = narrow(&without_now(&said.out));
        writeln!(text, "$ haishin {}\n{out}{}[{}]\n", words.join(" "), said.err, said.code).unwrap();
    }
    assert_snapshot!("strays", text);
    assert!(friend(&shop, "K-001")["tags"].to_string().contains("known"));
}

/// Columns two spaces apart: their width follows an instant's, which is shorter at a whole second.
fn narrow(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("   ") {
        text = text.replace("   ", "  ");
    }
    text
}

/// Types and zone are those of the version that runs: what is on disk was not applied.
#[test]
fn an_import_follows_what_runs() {
    let mut texts = Vec::new();
    for with_daemon in [false, true] {
        let shop = stocked();
        let daemon = with_daemon.then(|| shop.daemon(&[]));
        let mut text = String::new();
        shop.edit("attributes.toml", "points = \"integer\"", "points = \"text\"\nmemo = \"text\"");
        shop.edit("haishin.toml", "Asia/Tokyo", "Europe/Berlin");
        let file = format!("user,points,memo,followed_at\n{},007,x,2090-01-01 12:00\n", user(1));
        let import = |shop: &Shop, options: &[&str]| shown(shop, "friends", "friends.csv", &file, options);
        text += &import(&shop, &[]);
        text += &import(&shop, &["--column", "attribute.memo=memo"]);
        let one = friend(&shop, &user(1));
        writeln!(text, "{} {}", one["attributes"]["points"], one["followed_at"]).unwrap();
        // Not even a file that is wrong matters before somebody applies it.
        let applied = shop.read("attributes.toml");
        shop.write("attributes.toml", "points = ");
        text += &import(&shop, &[]);
        shop.write("attributes.toml", &applied);
        shop.ok(&["apply", "--yes"]);
        text += &import(&shop, &["--column", "attribute.memo=memo"]);
        let one = friend(&shop, &user(1));
        writeln!(
            text,
            "{} {} {}",
            one["attributes"]["points"], one["attributes"]["memo"], one["followed_at"]
        )
        .unwrap();
        texts.push(text);
        drop(daemon);
    }
    assert_eq!(texts[0], texts[1]);
    assert_snapshot!("what_runs", texts[0]);
}

/// Every kind of wrong file: what is wrong, where, and what to do; nothing else is stopped by it.
#[test]
fn every_kind_of_wrong_file_is_told_what_to_do() {
    let shop = stocked();
    let (one, two) = (user(1), user(2));
    let sjis = |text: &str| encoding_rs::SHIFT_JIS.encode(text).0.into_owned();
    let mut broken = sjis(&format!("user,prefecture\n{one},東京都\n{two},大阪府\n{one},北海道\n"));
    let at = broken.windows(2).position(|two| two == sjis("阪")).unwrap();
    // The second byte of a character was replaced.
    broken[at + 1] = b' ';
    let cell = "あ".repeat(700_000);
    let files: [(&str, &str, Vec<u8>); 20] = [
        ("friends", "empty.csv", vec![]),
        ("friends", "only-a-mark.csv", b"\xef\xbb\xbf".to_vec()),
        ("friends", "header-alone.csv", b"user,points\n".to_vec()),
        ("friends", "marked.csv", format!("\u{feff}user,points\n{one},1\n").into_bytes()),
        ("friends", "utf-16.csv", b"\xff\xfeu\0s\0e\0r\0".to_vec()),
        ("friends", "broken-sjis.csv", broken),
        ("friends", "crlf.csv", format!("user,points\r\n{one},1\r\n{two},x\r\n").into_bytes()),
        ("friends", "quotes.csv", format!("user,prefecture\n{one},\"東京都\n\"\"23区\"\"\"\n{two},\"大\"阪\n{one},\"開\n").into_bytes()),
        ("friends", "nul.csv", format!("user,prefecture\n{one},a\0b\n{two},大阪府\n").into_bytes()),
        ("friends", "cells.csv", format!("user,points\n{one},1,234\n{two}\n{two},1\n").into_bytes()),
        ("friends", "long.csv", format!("user,prefecture\n{one},\"{cell}\"\n{one},{cell}\n{two},大阪府\n").into_bytes()),
        ("friends", "semicolons.csv", format!("user;points\n{one};1\n").into_bytes()),
        ("friends", "zeros.csv", format!("user,prefecture,points\n{one},007,007\n").into_bytes()),
        ("friends", "wide.csv", format!("user,points\n{one},１２\n").into_bytes()),
        ("tags", "tags.csv", format!("user,tag,at\n{one},,2090-01-01\n{one},体験,2090-02-30\n{one},体験,2090-01-01\n").into_bytes()),
        ("tags", "no-name.csv", "usr,tag\nx,体験\n".into()),
        ("events", "no-instant.csv", format!("user,name\n{one},visit\n").into_bytes()),
        ("events", "equal.csv", format!("user,name,at\n{one},ride,2090-01-01\n{one},ride,2090-01-01\n").into_bytes()),
        ("events", "repeated.csv", format!("user,name,at,event_id\n{one},ride,2090-01-02,r1\n{two},ride,2090-01-03,r1\n{one},ride,2090-01-02,r1\n").into_bytes()),
        ("friends", "undeclared.csv", format!("user,pionts\n{one},1\n").into_bytes()),
    ];
    for lang in ["ja", "en"] {
        let mut text = String::new();
        for (kind, name, content) in &files {
            text += &shown(&shop, kind, name, content, &["--lang", lang]);
        }
        let folder = shop.state().to_str().unwrap().to_owned();
        let said = shop.run(&["--lang", lang, "import", "friends", &folder]);
        writeln!(text, "$ import friends FOLDER\n{}{}[{}]\n", said.out, said.err, said.code).unwrap();
        let file = shop.file("own.csv", "user,points\nx,1\n").to_str().unwrap().to_owned();
        for rejects in [file.as_str(), "/proc/rejects.csv"] {
            let said = shop.run(&["--lang", lang, "import", "friends", &file, "--rejects", rejects]);
            writeln!(text, "$ import friends own.csv --rejects\n{}{}[{}]\n", said.out, said.err, said.code)
                .unwrap();
        }
        let short: Vec<String> = text.lines().map(|line| line.chars().take(300).collect()).collect();
        assert_snapshot!(format!("wrong_files_{lang}"), short.join("\n"));
    }
    let one = friend(&shop, &one);
    assert_eq!((&one["attributes"]["prefecture"], &one["attributes"]["points"]), (&"007".into(), &7.into()));
}

/// Local times of a zone whose clocks change, dates alone, offsets, and another zone by name.
#[test]
fn instants_without_offset_are_the_accounts_local_time() {
    let shop = stocked();
    shop.edit("haishin.toml", "Asia/Tokyo", "Europe/Berlin");
    shop.ok(&["apply", "--yes"]);
    let tags = [
        // Skipped: the first instant after the gap. Twice: the first of the two.
        ("gap", "2090-03-26 02:30", "2090-03-26T01:00:00.000Z"),
        ("twice", "2090-10-29 02:30", "2090-10-29T00:30:00.000Z"),
        ("winter", "2090/1/2 10:00", "2090-01-02T09:00:00.000Z"),
        ("summer", "2090-07-01T10:00:00", "2090-07-01T08:00:00.000Z"),
        ("offset", "2090-07-01T10:00:00+09:00", "2090-07-01T01:00:00.000Z"),
        ("day", "2090-07-01", "2090-06-30T22:00:00.000Z"),
        ("fine", "2090-07-01T10:00:00.123456789Z", "2090-07-01T10:00:00.123Z"),
    ];
    let rows: String = tags.iter().map(|(tag, at, _)| format!("{},{tag},{at}\n", user(4))).collect();
    let text = shown(&shop, "tags", "tags.csv", format!("user,tag,at\n{rows}"), &[]);
    assert!(text.contains("accepted 7"), "{text}");
    let elsewhere = format!("user,tag,at\n{},tokyo,2090-07-01 10:00\n", user(4));
    shown(&shop, "tags", "tags.csv", elsewhere, &["--zone", "Asia/Tokyo"]);
    let held = friend(&shop, &user(4))["tags"].clone();
    for (tag, _, at) in tags {
        assert_eq!(held[tag], at, "{tag}");
    }
    assert_eq!(held["tokyo"], "2090-07-01T01:00:00.000Z");
}

/// The file grows while it is read: whatever was read went in, and the person is told.
#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let shop = stocked();
    let daemon = shop.daemon(&[]);
    let path = shop.file("growing.csv", &format!("user,points\n{},1\n", user(1)));
    daemon.signal(Signal::STOP);
    let import = shop.command(&["--json", "import", "friends", path.to_str().unwrap()]);
    let child = { import }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has opened the file and waits for the daemon.
    let descriptors = format!("/proc/{}/fd", child.id());
    let opened = || {
        let links = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        links.filter_map(|link| fs::read_link(link.path()).ok()).any(|target| target == path)
    };
    while !opened() {
        std::thread::yield_now();
    }
    fs::write(&path, format!("user,points\n{},1\n{},2\n", user(1), user(2))).unwrap();
    daemon.signal(Signal::CONT);
    let said = shop.said(child.wait_with_output().unwrap());
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &report["file_changed"]), (3, &true.into()), "{said:?}");
    assert_eq!(report["accepted"], 2);
    let again = shop.run(&["--json", "import", "friends", path.to_str().unwrap()]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert_eq!(daemon.terminate().0, 0);
}
