//! Friends who are erased while a message is on its way to them.

use haishin::domain::effect::{Effect, Intake};
use haishin::domain::time::Span;
use haishin::protocol::Command;
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::NewInbox;
use rstest::rstest;
use serde_json::json;

use super::stage::Stage;
use super::{SLOWLY, campaign};
use crate::support::store::Database;
use crate::support::world::user;

async fn erase(stage: &Stage, friends: impl IntoIterator<Item = u32>) {
    let at = haishin::clock::Clock::now(&*stage.clock);
    let gone = |n| Intake { friend: user(n).into(), at, effect: Effect::Erased, dedupe: None };
    let intakes = friends.into_iter().map(gone).collect();
    let row = NewInbox { account: stage.account, received_at: at, source: "api".into(), intakes };
    stage.store().append_inbox(vec![row]).await.unwrap();
    stage.pass(Span::from_secs(1)).await;
}

/// Five friends every ten seconds: whoever has not got it does not get it, alone in a batch or among others, and a process
/// that starts in between knows.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn who_is_erased_before_their_batch_is_told_apart(#[case] database: Database) {
    let mut stage = Stage::new(database, &campaign(SLOWLY), 20).await;
    stage.until_books(&json!({ "accepted": 5, "not_yet_sent": 15 })).await;
    // One who has it, one of the second batch, all of the third.
    erase(&stage, [0, 7]).await;
    erase(&stage, 10..15).await;
    assert_eq!(stage.books().await.unwrap(), json!({ "accepted": 5, "erased": 6, "not_yet_sent": 9 }));
    stage.kill().await;
    erase(&stage, [9]).await;
    stage.until_books(&json!({ "accepted": 13, "erased": 7 })).await;
    assert_eq!(stage.sandbox.totals().messages, 13);
    let shown = stage.occurrence().await.unwrap();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("finished"), &json!(null)), "{shown}");
}

/// LINE took the batch, and its answer was lost: the retry has the same bytes, so that LINE knows it again.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_batch_in_doubt_is_retried_as_it_was(#[case] database: Database) {
    let stage = Stage::new(database, &campaign(""), 20).await;
    stage.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    stage
        .until("doubt", async || {
            (stage.done(Command::Status).await["open"][0]["possibly_sent"] == 20).then_some(())
        })
        .await;
    erase(&stage, [3]).await;
    assert_eq!(stage.done(Command::Status).await["friends"], 19);
    stage.sandbox.set_faults(vec![]);
    stage.until_books(&json!({ "accepted": 20 })).await;
    assert_eq!(stage.sandbox.totals().messages, 20);
}
