//! 64,000 real customers through the command line, and segments over them counted by a plain program over the file.
//! Left out, saying so, where the data is not there.

use std::path::Path;

use crate::support::shop::Shop;

const NOW: &str = "2026-02-01T00:00:00+09:00";

/// A row of the file, as a plain program reads it.
struct Row {
    recency: i64,
    history: f64,
    mens: bool,
    womens: bool,
    zip_code: String,
    newbie: bool,
    channel: String,
    treatment: String,
    conversion: bool,
    visit: bool,
    spend: f64,
}

fn rows(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let header = "recency,history_segment,history,mens,womens,zip_code,newbie,channel,treatment,conversion,visit,spend";
    assert_eq!(lines.next(), Some(header));
    let row = |line: &str| {
        // The segment of the history, `2) $100 - $200` or `7) $1,000 +`, may stand in quotes.
        let line = line.replace("\"7) $1,000 +\"", "7").replace("7) $1,000 +", "7");
        let line = line.replace("\"6) $750 - $1,000\"", "6").replace("6) $750 - $1,000", "6");
        let cells: Vec<&str> = line.split(',').collect();
        let [
            recency,
            _,
            history,
            mens,
            womens,
            zip_code,
            newbie,
            channel,
            treatment,
            conversion,
            visit,
            spend,
        ] = cells[..]
        else {
            panic!("{line}");
        };
        Row {
            recency: recency.parse().unwrap(),
            history: history.parse().unwrap(),
            mens: mens == "1",
            womens: womens == "1",
            zip_code: zip_code.to_owned(),
            newbie: newbie == "1",
            channel: channel.to_owned(),
            treatment: treatment.to_owned(),
            conversion: conversion == "1",
            visit: visit == "1",
            spend: spend.parse().unwrap(),
        }
    };
    lines.map(row).collect()
}

type Plain = fn(&Row) -> bool;

/// Rules as a marketer writes them, and the same as plain code.
#[expect(clippy::nonminimal_bool, reason = "the code has the form of its rule")]
const SEGMENTS: [(&str, Plain); 18] = [
    (r#"tag = "mens""#, |row| row.mens),
    (r#"all = [{ tag = "mens" }, { tag = "womens" }]"#, |row| row.mens && row.womens),
    (r#"not = { any = [{ tag = "mens" }, { attr = "newbie", eq = true }] }"#, |row| {
        !(row.mens || row.newbie)
    }),
    ("attr = \"recency\"\nlt = 6", |row| row.recency < 6),
    ("attr = \"history\"\ngte = 100.5\nlt = 300", |row| row.history >= 100.5 && row.history < 300.0),
    ("attr = \"history\"\neq = 142.44", |row| row.history == 142.44),
    (r#"all = [{ attr = "zip_code", in = ["Rural", "Urban"] }, { attr = "newbie", eq = true }]"#, |row| {
        ["Rural", "Urban"].contains(&row.zip_code.as_str()) && row.newbie
    }),
    ("attr = \"channel\"\nne = \"Web\"", |row| row.channel != "Web"),
    ("attr = \"treatment\"\ncontains = \"Womens\"", |row| row.treatment.contains("Womens")),
    (
        r#"not = { all = [{ attr = "treatment", starts_with = "Mens" }, { not = { tag = "womens" } }] }"#,
        |row| !(row.treatment.starts_with("Mens") && !row.womens),
    ),
    (r#"all = [{ event = "visit" }, { event = "purchase", never = true }]"#, |row| {
        row.visit && !row.conversion
    }),
    (
        r#"event = "purchase"
           sum = { of = "amount", gte = 100 }"#,
        |row| row.conversion && row.spend >= 100.0,
    ),
    (
        r#"event = "purchase"
           sum = { of = "amount", lt = 30 }"#,
        |row| !row.conversion || row.spend < 30.0,
    ),
    (
        r#"at_least = 2
           of = [
             { tag = "mens" },
             { attr = "newbie", eq = true },
             { event = "visit" },
             { attr = "channel", eq = "Multichannel" },
             { attr = "recency", lte = 3 },
           ]"#,
        |row| {
            let held = [row.mens, row.newbie, row.visit, row.channel == "Multichannel", row.recency <= 3];
            held.into_iter().filter(|&held| held).count() >= 2
        },
    ),
    (
        r#"event = "purchase"
           within = "30d"
           where = { amount = { gt = 29.99 } }"#,
        |row| row.conversion && row.spend > 29.99,
    ),
    // The visit was 21 days and 12 hours before.
    (r#"all = [{ tag = "mens", for_at_least = "200d" }, { event = "visit", within = "22d" }]"#, |row| {
        row.mens && row.visit
    }),
    (
        r#"any = [{ event = "visit", within = "21d" }, { event = "purchase", last = { for_at_least = "20d" } }]"#,
        |row| row.conversion,
    ),
    (
        r#"all = [
             { followed = { for_at_least = "365d" } },
             { any = [
               { all = [{ tag = "womens" }, { not = { tag = "mens" } }, { attr = "history", gt = 500 }] },
               { at_least = 2, of = [{ event = "visit" }, { event = "purchase" }, { attr = "recency", eq = 1 }] },
             ] },
             { not = { attr = "zip_code", not_in = ["Rural", "Surburban"] } },
           ]"#,
        |row| {
            let dear = row.womens && !row.mens && row.history > 500.0;
            let active =
                [row.visit, row.conversion, row.recency == 1].into_iter().filter(|&held| held).count() >= 2;
            (dear || active) && ["Rural", "Surburban"].contains(&row.zip_code.as_str())
        },
    ),
];

#[test]
fn segments_over_64_000_real_customers_count_what_a_plain_program_counts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hillstrom.csv");
    if !path.exists() {
        println!("left out: {} is not there", path.display());
        return;
    }
    let shop = Shop::new();
    shop.remove_examples();
    shop.write(
        "attributes.toml",
        "recency = \"integer\"\nhistory = \"number\"\nzip_code = \"text\"\nnewbie = \"boolean\"\n\
         channel = \"text\"\ntreatment = \"text\"\n",
    );
    for (n, (rule, _)) in SEGMENTS.iter().enumerate() {
        shop.write(&format!("segments/h{n:02}.toml"), &format!("title = \"{n}\"\n{rule}\n"));
    }
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hillstrom.map.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let copy = shop.file("hillstrom.csv", &text);
    let import = ["import", "friends", copy.to_str().unwrap(), "--map", map.to_str().unwrap()];

    let report = shop.json(&import);
    assert_eq!((&report["rows"], &report["rejected"]), (&64_000.into(), &0.into()));
    println!("imported 64,000 rows in {} ms", report["duration_ms"]);
    let rows = rows(&path);
    let expected: Vec<u64> =
        SEGMENTS.iter().map(|(_, plain)| rows.iter().filter(|row| plain(row)).count() as u64).collect();
    assert!(expected.iter().all(|&count| count > 0 && count < 64_000), "{expected:?}");
    let counts = || {
        let answer = shop.json(&["segment", "count", "--now", NOW]);
        let segments = answer["segments"].as_array().unwrap().clone();
        segments.iter().map(|segment| segment["friends"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(counts(), expected);

    // The beginning of the file again: the rows that are in already change nothing, their events count once.
    let beginning: Vec<&str> = text.lines().take(8_001).collect();
    std::fs::write(&copy, beginning.join("\n")).unwrap();
    assert_eq!(shop.json(&import)["rows"], 8_000);
    assert_eq!(counts(), expected);
    assert_eq!(shop.json(&["status"])["accounts"][0]["friends"], 64_000);
}
