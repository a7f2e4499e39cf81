//! 64,000 real customers, where the file is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use haishin::domain::attribute::{AttributeType, Value};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::{FriendRef, Status};
use haishin::domain::id::UserId;
use haishin::domain::time::Instant;
use haishin::import::Kind;

use super::{Inbox, TOKYO, attribute, declared, import, mapping};

fn hillstrom() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hillstrom.csv");
    if path.exists() {
        return Some(path);
    }
    println!("left out: {} is not there", path.display());
    None
}

/// A real file goes in as it is: 64,000 customers, counted by a plain loop over the same file.
#[tokio::test]
async fn hillstrom_goes_in_as_it_is() {
    let Some(path) = hillstrom() else { return };
    let types = declared(&[
        ("recency", AttributeType::Integer),
        ("history", AttributeType::Number),
        ("zip_code", AttributeType::Text),
        ("newbie", AttributeType::Boolean),
        ("channel", AttributeType::Text),
        ("treatment", AttributeType::Text),
    ]);
    let map = mapping(Kind::Friends, include_str!("../../fixtures/hillstrom.map.toml"));
    let folder = tempfile::tempdir().unwrap();
    let mut inbox = Inbox::default();
    let bytes = std::fs::read(&path).unwrap();
    let report = import(bytes.clone(), &map, &types, folder.path(), &mut inbox).await.unwrap();
    assert_eq!((report.rows, report.accepted, report.rejected), (64_000, 64_000, 0));
    assert_eq!(report.ignored_columns, ["history_segment"]);
    let intakes: Vec<Intake> = inbox.chunks.into_iter().flatten().collect();
    let user = |intake: &Intake| match intake.friend {
        FriendRef::User(user) => user,
        FriendRef::External(_) => panic!("{intake:?}"),
    };
    assert_eq!(user(&intakes[0]).to_string(), "U06c73bc46e2992b35102904eab5a6c7c");
    let users: BTreeSet<UserId> = intakes.iter().map(user).collect();
    assert_eq!(users.len(), 64_000);
    let ids: BTreeSet<_> = intakes.iter().filter_map(|intake| intake.dedupe).collect();

    let mut plain = csv::Reader::from_reader(bytes.as_slice());
    let headers = plain.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
    let [mens, womens, visit, conversion, spend, channel] =
        ["mens", "womens", "visit", "conversion", "spend", "channel"].map(column);
    let (mut tags, mut events, mut cents, mut web) = (0, 0, 0_i64, 0);
    for row in plain.records() {
        let row = row.unwrap();
        tags += u64::from(&row[mens] == "1") + u64::from(&row[womens] == "1");
        events += u64::from(&row[visit] == "1") + u64::from(&row[conversion] == "1");
        cents += (row[spend].parse::<f64>().unwrap() * 100.0).round() as i64;
        web += usize::from(&row[channel] == "Web");
    }
    assert_eq!((report.intakes.tags, report.intakes.events), (tags, events));
    assert_eq!((report.intakes.statuses, report.intakes.attributes), (64_000, 6 * 64_000));
    assert_eq!(ids.len() as u64, events);
    let imported: i64 = intakes.iter().filter_map(amount).map(|yen| (yen * 100.0).round() as i64).sum();
    assert_eq!(imported, cents);
    assert_eq!(intakes.iter().filter(|intake| intake.effect == attribute("channel", "Web")).count(), web);
    let following = Effect::Status {
        status: Status::Following,
        followed_at: Some(Instant::start_of_day(chrono::NaiveDate::from_ymd_opt(2025, 1, 1).unwrap(), TOKYO)),
    };
    assert_eq!(intakes[0].effect, following);

    // The whole file again says the same of the same people, each event by the same identity: nothing of it is new.
    let mut again = Inbox::default();
    import(bytes, &map, &types, folder.path(), &mut again).await.unwrap();
    assert!(again.chunks.into_iter().flatten().eq(intakes));
}

fn amount(intake: &Intake) -> Option<f64> {
    let Effect::Event { properties, .. } = &intake.effect else { return None };
    match properties.get("amount") {
        Some(Value::Number(amount)) => Some(*amount),
        _ => None,
    }
}
