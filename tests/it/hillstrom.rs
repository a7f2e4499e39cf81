//! 64,000 real customers through the command line, and segments over them counted by a plain program over the file.
//! Left out, saying so, where the data is not there.

use std::fmt::Write as _;
use std::path::Path;

use chrono::{Datelike, Days, NaiveDate};
use serde_json::Value;

use crate::support::shop::Shop;

const NOW: &str = "2026-02-01T00:00:00+09:00";

/// A row of the file, as a plain program reads it, and what two more files say of the same customer by the shop's own
/// customer id.
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
    more: More,
}

/// Drawn from the row's number, as plain arithmetic can.
struct More {
    blocked: bool,
    birthday: Option<NaiveDate>,
    /// Days before the end of January; a negative one lies ahead.
    renewal_days_ago: i64,
    /// Noon so many days before.
    reviews_days_ago: Vec<i64>,
}

impl More {
    fn of(n: usize) -> Self {
        let n = n as i64;
        let first = NaiveDate::from_ymd_opt(1930, 1, 1).unwrap();
        Self {
            blocked: n % 11 == 0,
            birthday: (n % 7 != 0).then(|| first + Days::new((n * 7_919 % 32_000) as u64)),
            renewal_days_ago: n % 61 - 30,
            reviews_days_ago: (0..n % 4).map(|k| (n * 31 + k * 17) % 90 + 1).collect(),
        }
    }

    /// Full years on the day the tests ask about.
    fn age(&self) -> Option<i32> {
        let birthday = self.birthday?;
        let had_it = (birthday.month(), birthday.day()) <= (TODAY.1, TODAY.2);
        Some(TODAY.0 - birthday.year() - i32::from(!had_it))
    }
}

/// The local day of [`NOW`].
const TODAY: (i32, u32, u32) = (2026, 2, 1);

fn rows(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let header = "recency,history_segment,history,mens,womens,zip_code,newbie,channel,treatment,conversion,visit,spend";
    assert_eq!(lines.next(), Some(header));
    let row = |(n, line): (usize, &str)| {
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
            more: More::of(n),
        }
    };
    lines.enumerate().map(row).collect()
}

type Plain = fn(&Row) -> bool;

/// Rules as a marketer writes them, and the same as plain code.
#[expect(clippy::nonminimal_bool, reason = "the code has the form of its rule")]
const SEGMENTS: [(&str, Plain); 36] = [
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
    // Of the two further files.
    (r#"status = "blocked""#, |row| row.more.blocked),
    (r#"all = [{ status = "following" }, { attr = "birthday", is_set = true }]"#, |row| {
        !row.more.blocked && row.more.birthday.is_some()
    }),
    ("attr = \"birthday\"\nis_set = false", |row| row.more.birthday.is_none()),
    ("attr = \"birthday\"\nage = { gte = 20, lt = 40 }", |row| {
        row.more.age().is_some_and(|age| (20..40).contains(&age))
    }),
    ("attr = \"birthday\"\nmonth = \"this\"", |row| {
        row.more.birthday.is_some_and(|day| day.month() == TODAY.1)
    }),
    ("all = [{ attr = \"birthday\", month = 12 }, { attr = \"birthday\", day = \"this\" }]", |row| {
        row.more.birthday.is_some_and(|day| (day.month(), day.day()) == (12, TODAY.2))
    }),
    ("attr = \"birthday\"\nlt = \"1970-01-01\"", |row| {
        row.more.birthday.is_some_and(|day| day.year() < 1970)
    }),
    ("attr = \"renewal\"\non_day = \"today\"", |row| row.more.renewal_days_ago == -1),
    ("attr = \"renewal\"\non_day = 7", |row| row.more.renewal_days_ago == -8),
    ("attr = \"renewal\"\npast = \"7d\"", |row| (-1..6).contains(&row.more.renewal_days_ago)),
    ("attr = \"renewal\"\nahead = \"7d\"", |row| (-8..=-2).contains(&row.more.renewal_days_ago)),
    ("attr = \"renewal\"\nago_at_least = \"14d\"", |row| row.more.renewal_days_ago >= 13),
    (
        r#"event = "review"
        count = { gte = 2 }"#,
        |row| row.more.reviews_days_ago.len() >= 2,
    ),
    (
        r#"event = "review"
        within = "30d"
        count = { eq = 0 }"#,
        |row| row.more.reviews_days_ago.iter().all(|days| *days > 30),
    ),
    (
        r#"event = "review"
        within = "45d"
        count = { gte = 1, lt = 3 }"#,
        |row| (1..3).contains(&row.more.reviews_days_ago.iter().filter(|days| **days <= 45).count()),
    ),
    (
        r#"event = "review"
        last = { within = "10d" }"#,
        |row| row.more.reviews_days_ago.iter().any(|days| *days <= 10),
    ),
    (r#"all = [{ tag = "renewed", within = "5d" }, { followed = { within = "400d" } }]"#, |row| {
        // Given at midnight: five days ago to the hour is outside.
        (1..5).contains(&row.more.renewal_days_ago)
    }),
    // A segment by its name, and what was never sent.
    (
        r#"any = [{ segment = "h00" }, { all = [{ not = { segment = "h05" } }, { received = "never-sent" }] }]"#,
        |row| row.mens,
    ),
];

/// What the shop's other systems say of the same customers: one file gives each user the shop's own id, the others
/// name them by it.
fn by_customer_id(shop: &Shop, rows: &[Row]) {
    let end = NaiveDate::from_ymd_opt(2026, 1, 31).unwrap();
    let day =
        |ago: i64| if ago < 0 { end + Days::new(ago.unsigned_abs()) } else { end - Days::new(ago as u64) };
    let mut ids = "number\n".to_owned();
    let mut friends = "external_id,status,birthday,renewal\n".to_owned();
    let (mut tags, mut events) = ("会員番号,at\n".to_owned(), "external_id,at\n".to_owned());
    for (n, Row { more, .. }) in rows.iter().enumerate() {
        let status = if more.blocked { "blocked" } else { "following" };
        let birthday = more.birthday.map_or_else(String::new, |day| day.to_string());
        writeln!(ids, "{n:07}").unwrap();
        writeln!(friends, "{n:07},{status},{birthday},{}", day(more.renewal_days_ago)).unwrap();
        if more.renewal_days_ago > 0 {
            writeln!(tags, "{n:07},{}", day(more.renewal_days_ago - 1)).unwrap();
        }
        for ago in &more.reviews_days_ago {
            writeln!(events, "{n:07},{} 12:00", day(*ago - 1)).unwrap();
        }
    }
    let map = shop.file("ids.toml", "user = { md5 = \"hillstrom-{row}\" }\nexternal_id = \"number\"\n");
    let import = |kind: &str, name: &str, text: &str, options: &[&str]| {
        let path = shop.file(name, text);
        let report = shop.json(&[&["import", kind, path.to_str().unwrap()], options].concat());
        let rows = text.lines().count() - 1;
        assert_eq!((&report["accepted"], &report["rejected"]), (&rows.into(), &0.into()), "{report}");
        report
    };
    import("friends", "ids.csv", &ids, &["--map", map.to_str().unwrap()]);
    let by_id = |report: Value| assert_eq!(report["by_external_id"], true);
    by_id(import("friends", "more.csv", &friends, &[]));
    let columns = ["--column", "external_id=会員番号", "--value", "tag=renewed"];
    by_id(import("tags", "renewed.csv", &tags, &columns));
    by_id(import("events", "reviews.csv", &events, &["--value", "name=review"]));
}

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
         channel = \"text\"\ntreatment = \"text\"\nbirthday = \"date\"\nrenewal = \"date\"\n",
    );
    shop.write(
        "campaigns/never-sent.toml",
        "title = \"n\"\nsegment = \"h00\"\ndraft = true\n[schedule]\nat = \"2090-01-01 10:00\"\n\
         [[message]]\ntype = \"text\"\ntext = \"n\"\n",
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
    let mut rows = rows(&path);
    by_customer_id(&shop, &rows);
    let plainly = |rows: &[Row]| -> Vec<u64> {
        SEGMENTS.iter().map(|(_, plain)| rows.iter().filter(|row| plain(row)).count() as u64).collect()
    };
    let expected = plainly(&rows);
    assert!(expected.iter().all(|&count| count > 0 && count < 64_000), "{expected:?}");
    let counts = || {
        let answer = shop.json(&["segment", "count", "--now", NOW]);
        let segments = answer["segments"].as_array().unwrap().clone();
        segments.iter().map(|segment| segment["friends"].as_u64().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(counts(), expected);

    // The beginning of the file again: the rows that are in already change nothing, their events count once. That the
    // whole file has the same identities each time is shown where it is read, in import_csv.
    let beginning: Vec<&str> = text.lines().take(8_001).collect();
    std::fs::write(&copy, beginning.join("\n")).unwrap();
    assert_eq!(shop.json(&import)["rows"], 8_000);
    rows[..8_000].iter_mut().for_each(|row| row.more.blocked = false);
    assert_eq!(counts(), plainly(&rows));
    assert_eq!(shop.json(&["status"])["accounts"][0]["friends"], 64_000);
}
