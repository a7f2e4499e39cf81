//! Friends who are erased while a message is on its way to them.

use haishin::clock::{BootTime, Reading};
use haishin::domain::campaign::Pace;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::id::FriendId;
use haishin::domain::time::Span;
use haishin::line::{Answer, Attempt};
use haishin::protocol::Command;
use haishin::sandbox::{Fault, FaultKind};
use haishin::sender::run::{Next, Run};
use haishin::store::NewInbox;
use rstest::rstest;
use serde_json::json;

use super::stage::Stage;
use super::{SLOWLY, START, arm, campaign, frozen, user_of};
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

/// A quarter of an hour lies between batches, however many are erased in it, also after a restart.
#[test]
fn who_is_erased_moves_no_pace() {
    let pace = Pace { friends: 2_000, per: Span::from_hours(1) };
    let (row, variants) = (frozen(Some(pace), 2_000), vec![arm(0, 0..2_000)]);
    let after = |since_boot: Span| Reading {
        now: START + since_boot,
        boot: BootTime { boot_id: "one".into(), since_boot },
    };
    let mut run = Run::new(row.clone(), "1".into(), variants.clone());
    let (began, later) = (after(Span::from_hours(1)), after(Span::from_mins(61)));
    let stride = run.next_stride(1, &began, &user_of).unwrap();
    let strides = [stride.row.clone()];
    run.stride_opened(stride);
    let Some(Next::Request { batch, .. }) = run.next_attempt(&began, &user_of) else {
        panic!("nothing to send")
    };
    let taken = Attempt { answer: Answer::Accepted, request_id: None, retry_after: None };
    let mut batches = run.heard(batch, &taken, &began, 0.5, &user_of).rows;
    let next = run.paced_until();
    assert_eq!(next, Some(Span::from_mins(75)));
    batches.extend(run.erase(FriendId(700), &later, &user_of));
    assert_eq!(run.paced_until(), next);
    let run = Run::restore(row, "1".into(), variants, &strides, batches, &later);
    assert_eq!(run.paced_until(), next);
}
