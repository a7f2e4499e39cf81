//! The program as a stranger uses it, from outside: every answer, every mistake, and what never happens.

mod answers;
mod clock;
mod imports;
mod mistakes;
mod service;
mod systems;
mod versions;

use crate::support::shop::{Shop, user};

/// When the tests ask: everything they fix lies in 2090, whatever today is.
pub const NOW: &str = "2090-12-04T18:00:00+09:00";

const FRIENDS: &str = "\
number,status,followed_at,external_id,prefecture,birthday,points
1,following,2089-04-01,K-001,東京都,2060-02-29,120
2,following,2089-04-02,\"K,002\",神奈川県,2055-12-04,0
3,following,2089-04-03,K-003,東京都,2049-12-04,7
4,following,2089-04-04,,大阪府,2060-01-01,
5,blocked,2089-04-05,K-005,東京都,2060-01-01,3
6,following,2090-12-01,K-006,東京都,2061-05-05,5000
7,following,2089-04-07,K-007,神奈川県,2062-07-07,9
8,following,2089-04-08,K-008,東京都,2063-08-08,1
";
const TAGS: &str = "\
number,tag,at
1,member,2090-01-01
2,member,2090-01-01
3,member,2090-01-01
5,member,2090-01-01
6,member,2090-12-04 17:00
7,member,2090-01-01
7,staff,2090-01-01
8,member,2090-01-01
8,support-chat,2090-12-01
";
const PURCHASES: &str = "\
number,at,amount
1,2090-11-01 12:00,6000
1,2090-11-20 12:00,4000
2,2090-10-01 12:00,9999
2,2090-11-02 12:00,1
3,2090-11-01 12:00,50000
3,2090-11-02 12:00,50000
5,2090-11-01 12:00,6000
5,2090-11-20 12:00,4000
7,2090-11-01 12:00,6000
7,2090-11-20 12:00,4000
8,2090-11-01 12:00,6000
8,2090-11-20 12:00,4000
";

/// A file for people, with user ids instead of numbers.
fn csv(text: &str) -> String {
    let mut out = String::new();
    for (line, row) in text.lines().enumerate() {
        let (number, rest) = row.split_once(',').unwrap();
        let name = if line == 0 { "user".to_owned() } else { user(number.parse().unwrap()) };
        out += &format!("{name},{rest}\n");
    }
    out
}

/// A shop whose eight friends were imported by the command line, without a daemon.
pub fn stocked() -> Shop {
    let shop = Shop::new();
    for (kind, text) in [("friends", FRIENDS), ("tags", TAGS)] {
        let file = shop.file(&format!("{kind}.csv"), &csv(text));
        shop.ok(&["import", kind, file.to_str().unwrap()]);
    }
    let file = shop.file("purchases.csv", &csv(PURCHASES));
    let columns = ["--value", "name=purchase", "--column", "property.amount:integer=amount"];
    shop.ok(&[&["import", "events", file.to_str().unwrap()], &columns[..]].concat());
    shop
}

/// Replaces the machine's own instants: everything the tests fix is in 2080 or later.
pub fn without_now(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("20").filter(|_| !rest.is_empty()) {
        let (before, found) = rest.split_at(at);
        out += before;
        let length =
            found.find(|c: char| !(c.is_ascii_digit() || "-:.TZ+".contains(c))).unwrap_or(found.len());
        let (word, after) = found.split_at(length.max(2));
        let recent = word.len() >= 20 && word.as_bytes()[10] == b'T' && &word[..4] < "2080";
        out += if recent { "NOW" } else { word };
        rest = after;
    }
    // LINE's quota is read for this month.
    let text = out + rest;
    let mut parts = text.split("\"month\":\"");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked += &format!("\"month\":\"MONTH{}", &part[part.find('"').unwrap_or(0)..]);
    }
    masked
}
