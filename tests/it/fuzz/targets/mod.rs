//! What is fuzzed: each target takes any bytes and panics where a promise is broken. The tests feed it the kept corpus and
//! seeded mutations of it; `tests/fuzz`, which includes this very file, lets the fuzzer look for more.

mod api;
mod config;
mod csv;
mod line_answer;
mod protocol;
mod rule;
mod webhook;

use haishin::domain::attribute::AttributeType;
use haishin::domain::id::AttributeName;
use haishin::domain::time::Instant;
use haishin::import::AttributeTypes;
use haishin::lang::Lang;

/// One target.
pub struct Target {
    /// Its name, and that of its folder of `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Takes any bytes and tells whether anything of them was good; panics where a promise is broken.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "api", run: api::run },
    Target { name: "config", run: config::run },
    Target { name: "csv", run: csv::run },
    Target { name: "line_answer", run: line_answer::run },
    Target { name: "protocol", run: protocol::run },
    Target { name: "rule", run: rule::run },
    Target { name: "webhook", run: webhook::run },
];

/// Runs one target by its name.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target `{name}`")).run)(bytes)
}

/// What people read is made in both.
const LANGS: [Lang; 2] = [Lang::Ja, Lang::En];

/// 2026-12-03, the day before the demo's campaigns.
const NOW: Instant = Instant::from_millis(1_796_256_000_000);

/// An attribute of each type.
fn attributes() -> AttributeTypes {
    let types = [
        ("prefecture", AttributeType::Text),
        ("points", AttributeType::Integer),
        ("score", AttributeType::Number),
        ("vip", AttributeType::Boolean),
        ("birthday", AttributeType::Date),
        ("visited", AttributeType::Instant),
    ];
    types.map(|(name, kind)| (AttributeName::parse(name).unwrap(), kind)).into()
}

/// Files of a small shop that has all that rules, campaigns and drips may name.
const SHOP: [(&str, &str); 4] = [
    (
        "haishin.toml",
        "[accounts.koharu]\nchannel_id = \"2000000001\"\nchannel_secret = { env = \"KOHARU_SECRET\" }\n\
         [webhooks.shop]\nurl = \"https://shop.example/hooks\"\nsecret = { env = \"SHOP_SECRET\" }\n",
    ),
    (
        "attributes.toml",
        "prefecture = \"text\"\npoints = \"integer\"\nscore = \"number\"\nvip = \"boolean\"\n\
         birthday = \"date\"\nvisited = \"instant\"\n",
    ),
    ("segments/members.toml", "title = \"会員\"\ntag = \"member\"\n"),
    (
        "campaigns/spring.toml",
        "title = \"春\"\nsegment = \"members\"\nschedule = { at = \"2026-12-04 18:00\" }\n\
         message = [{ type = \"text\", text = \"こんにちは\" }]\n",
    ),
];

/// Text as the programs' errors show it: one line, and no more of it than a person reads.
#[track_caller]
fn assert_readable(text: &str) {
    assert!(!text.is_empty() && text.chars().count() <= 1_000, "{} characters", text.chars().count());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// Text for a terminal: nothing in it can move the cursor or change colours.
#[track_caller]
fn assert_printable(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

/// What reads back as it was written, also a second time.
#[track_caller]
fn assert_same_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) {
    let written = serde_json::to_string(value).unwrap();
    let again: T = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(serde_json::to_string(&again).unwrap(), written);
}
