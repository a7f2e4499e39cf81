//! A batch in doubt whose request would have other bytes today: another version of haishin writes messages differently, or
//! somebody changed them by hand.

use haishin::domain::id::OccurrenceId;
use haishin::protocol::Command;
use haishin::sandbox::{Fault, FaultKind};
use rstest::rstest;
use serde_json::json;

use super::{BEFORE, PLAIN, books, campaign};
use crate::support::store::Database;
use crate::support::world::{Setup, World};

/// Under the key that LINE knows only the bytes that LINE knows may go out, and under another key nobody may get it
/// perhaps a second time.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_batch_in_doubt_that_would_be_another_today_is_left_to_a_person(#[case] database: Database) {
    let mut world = World::of(Setup {
        now: BEFORE,
        settings: PLAIN,
        campaigns: vec![("gift".into(), campaign(""))],
        accounts: vec![("shop", 20)],
        database,
        seed: 0,
    })
    .await;
    world.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorBefore)]);
    world.until_requests(2).await;
    world.kill(0).await;
    world.sandbox.set_faults(vec![]);
    world
        .test
        .by_hand("UPDATE occurrence_variant SET messages = REPLACE(messages, 'a gift', 'A gift')")
        .await;
    let sent = world.multicasts().len();
    world.start(0).await.unwrap();
    world.until_state(1, "finished").await;
    assert_eq!(world.multicasts().len(), sent);
    assert_eq!(books(&world, 1).await, json!({ "unknown": 20 }));
    assert_eq!(world.received(), [].into());
    let shown = world.ask(Command::OccurrenceShow { occurrence: OccurrenceId(1) }).await.unwrap();
    assert_eq!(shown.json["batches"][0]["ended"]["detail"], json!({ "code": "body_changed" }));
    assert!(shown.text.contains("unknown 20: the body is not the one that was opened"), "{}", shown.text);
}
