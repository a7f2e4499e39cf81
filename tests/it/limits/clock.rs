//! A wall clock that was set back: nothing is planned or sent until it catches up, or a person takes it as right.

use haishin::clock::{BootTime, Clock, Reading};
use haishin::domain::delivery::Outcome;
use haishin::domain::id::OccurrenceId;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::{Command, DueChoice};
use haishin::sandbox::{Fault, FaultKind};
use haishin::sender::run::Run;
use rstest::rstest;
use serde_json::{Value, json};

use super::stage::Stage;
use super::{SLOWLY, arm, campaign, frozen, user_of};
use crate::support::store::Database;
use crate::support::world::{slug, user};

fn at(text: &str) -> Instant {
    Instant::try_from(text.to_owned()).unwrap()
}

fn accept(due: Option<DueChoice>) -> Command {
    Command::AcceptClock { due }
}

fn test_send() -> Command {
    Command::CampaignTestSend { campaign: slug("gift"), to: vec![user(1).to_string()], variant: None }
}

/// What people did, newest first: the act and who did it.
async fn acts(stage: &Stage) -> Vec<(String, String)> {
    let acts = stage.store().acts(stage.account, 10).await.unwrap();
    acts.into_iter().map(|act| (act.act, act.by)).collect()
}

/// The latest instant seen, as stored.
async fn seen(stage: &Stage) -> Instant {
    stage.store().lease(stage.account).await.unwrap().unwrap().seen_at
}

/// In the middle of a paced send the clock, three hours ahead all the time, is put right.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn nothing_is_sent_by_a_clock_that_is_behind_until_a_person_accepts_it(#[case] database: Database) {
    let mut stage = Stage::new(database, &campaign(SLOWLY), 20).await;
    stage.until_books(&json!({ "accepted": 5, "not_yet_sent": 15 })).await;
    stage.clock.jump(at("2026-12-04T15:00:00+09:00"));
    let before = seen(&stage).await;
    for _ in 0..2 {
        stage.pass(Span::from_secs(60)).await;
        let status = stage.ask(Command::Status).await.unwrap();
        assert_eq!((status.exit, &status.json["clock_behind"]), (3, &json!(true)), "{}", status.text);
        assert!(status.text.contains("haishin start --accept-clock"), "{}", status.text);
        assert_eq!(stage.books().await.unwrap(), json!({ "accepted": 5, "not_yet_sent": 15 }));
        // Neither a start nor a test send leads around it, and a new process sees the same.
        for command in [Command::Start { due: None }, test_send()] {
            let refused = stage.ask(command).await.unwrap_err();
            assert_eq!(refused.code, "conflict");
            assert!(refused.message.contains("clock behind"), "{}", refused.message);
        }
        stage.kill().await;
    }
    assert_eq!(seen(&stage).await, before);

    assert_eq!(stage.done(accept(None)).await["started"], true);
    assert_eq!(acts(&stage).await, [("accept-clock".into(), "hana".into()), ("start".into(), "hana".into())]);
    assert!(seen(&stage).await < at("2026-12-04T15:10:00+09:00"));
    stage.kill().await;
    stage.until_books(&json!({ "accepted": 20 })).await;
    assert!(stage.sandbox.audit().duplicate_pairs == 0);
    let refused = stage.ask(accept(None)).await.unwrap_err();
    assert_eq!(
        (refused.code.as_str(), refused.message.as_str()),
        ("conflict", "the account is not stopped.")
    );
    // What the wrong time has sent is neither due again at six, nor out of the caps: one message a day.
    stage.clock.jump(at("2026-12-04T17:59:00+09:00"));
    stage.pass(Span::from_secs(90)).await;
    let list = stage.done(Command::OccurrenceList { campaign: None, limit: 10 }).await;
    assert_eq!(list["occurrences"].as_array().unwrap().len(), 1, "{list}");
}

/// A day ahead, and back: the message of "tomorrow" was sent a moment ago.
#[tokio::test]
async fn what_a_wrong_clock_sent_counts_in_caps() {
    let stage = Stage::new(Database::Sqlite, &campaign(""), 20).await;
    stage.until_books(&json!({ "accepted": 20 })).await;
    stage.clock.jump(at("2026-12-03T12:00:00+09:00"));
    let preview = |now| Command::CampaignPreview { campaigns: vec![slug("gift")], now, friends: false };
    stage.done(accept(Some(DueChoice::Skip))).await;
    for now in [None, Some(at("2026-12-03T20:00:00+09:00"))] {
        let decided = stage.done(preview(now)).await;
        assert_eq!(decided["decisions"][0]["recipients"], 0, "{decided}");
    }
}

/// Everything is three years old for an hour. Nothing is forgotten, so that caps hold again by the right clock; what is
/// still old a day later goes.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_clock_that_leaps_ahead_makes_nobody_forget(#[case] database: Database) {
    let mut stage = Stage::new(database, &campaign(""), 20).await;
    stage.until_books(&json!({ "accepted": 20 })).await;
    let right = stage.clock.now();
    // Some turns before, some after.
    let goes_by = async |stage: &Stage, span| {
        stage.pass(Span::from_secs(1)).await;
        stage.clock.advance(span);
        stage.pass(Span::from_secs(1)).await;
    };
    let sets = async |stage: &Stage| {
        let sets = stage.store().deliveries(stage.account, OccurrenceId(1)).await.unwrap();
        sets.iter().map(|set| set.friends.len()).sum::<u64>()
    };
    stage.clock.jump(right + Span::from_days(3 * 365));
    goes_by(&stage, Span::from_hours(1)).await;
    stage.kill().await;
    goes_by(&stage, Span::from_hours(1)).await;
    assert_eq!(sets(&stage).await, 20);
    stage.clock.jump(right + Span::from_hours(2));
    stage.done(accept(Some(DueChoice::Skip))).await;
    let preview = Command::CampaignPreview { campaigns: vec![slug("gift")], now: None, friends: false };
    let decided = stage.done(preview).await;
    assert_eq!(decided["decisions"][0]["recipients"], 0, "{decided}");
    // The years are real this time.
    stage.clock.jump(right + Span::from_days(3 * 365));
    goes_by(&stage, Span::from_hours(1)).await;
    assert_eq!(sets(&stage).await, 20);
    stage.clock.advance(Span::from_hours(25));
    stage.until("what is old goes", async || (sets(&stage).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_clock_that_catches_up_goes_on_by_itself() {
    let stage = Stage::new(Database::Sqlite, &campaign(SLOWLY), 20).await;
    stage.until_books(&json!({ "accepted": 5, "not_yet_sent": 15 })).await;
    let seen = stage.clock.now();
    // Within the minute it is believed as it is.
    stage.clock.jump(seen - Span::from_secs(59));
    assert_eq!(stage.done(Command::Status).await["clock_behind"], false);
    stage.clock.jump(seen - Span::from_secs(100));
    stage.pass(Span::from_secs(30)).await;
    assert_eq!(stage.done(Command::Status).await["clock_behind"], true);
    assert_eq!(stage.books().await.unwrap(), json!({ "accepted": 5, "not_yet_sent": 15 }));
    stage.until_books(&json!({ "accepted": 20 })).await;
    assert!(stage.clock.now() > seen - Span::from_mins(1));
    assert_eq!(acts(&stage).await, []);
}

/// While stopped: the brake comes off, the clock's word remains, and the answer says so.
#[tokio::test]
async fn a_start_without_the_clock_says_what_is_still_in_the_way() {
    let stage = Stage::new(Database::Sqlite, &campaign(SLOWLY), 20).await;
    stage.until_books(&json!({ "accepted": 5, "not_yet_sent": 15 })).await;
    stage.done(Command::Stop { reason: "clock?".into() }).await;
    stage.clock.jump(at("2026-12-04T15:00:00+09:00"));
    let answer = stage.ask(Command::Start { due: None }).await.unwrap();
    assert_eq!(answer.exit, 3);
    assert!(answer.text.starts_with("started.\n⚠ clock behind"), "{}", answer.text);
    stage.pass(Span::from_secs(60)).await;
    assert_eq!(stage.books().await.unwrap(), json!({ "accepted": 5, "not_yet_sent": 15 }));
    stage.done(accept(None)).await;
    stage.until_books(&json!({ "accepted": 20 })).await;
}

/// Under the same boot a key's age is known, whatever the wall clock does.
#[tokio::test]
async fn an_open_batch_keeps_its_age_by_the_boot_clock() {
    let stage = Stage::new(Database::Sqlite, &campaign(""), 20).await;
    stage.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    stage
        .until("doubt", async || {
            (stage.done(Command::Status).await["open"][0]["possibly_sent"] == 20).then_some(())
        })
        .await;
    stage.clock.jump(at("2026-12-01T12:00:00+09:00"));
    stage.done(accept(Some(DueChoice::Skip))).await;
    stage.sandbox.set_faults(vec![]);
    stage.until_books(&json!({ "accepted": 20 })).await;
    let shown = stage.occurrence().await.unwrap();
    assert_ne!(shown["batches"][0]["ended"]["accepted_request_id"], Value::Null, "LINE remembered the key");
}

/// After a reboot nobody can tell the age of a key that was opened ahead of the clock: it is never used again.
#[test]
fn a_key_of_unknown_age_is_not_used_again() {
    let opened = at("2026-12-04T18:00:00+09:00");
    let reading = |boot: &str, now| Reading {
        now,
        boot: BootTime { boot_id: boot.into(), since_boot: Span::from_secs(100) },
    };
    let variants = vec![arm(0, 0..1_000)];
    let mut run = Run::new(frozen(None, 1_000), "1".into(), variants.clone());
    let stride = run.next_stride(10, &reading("one", opened), &user_of).unwrap();
    let durable = stride.row.clone();
    run.stride_opened(stride);
    for (boot, back, expired) in [
        ("one", Span::from_days(3), 0),
        ("two", Span::from_secs(60), 0),
        ("two", Span::from_millis(60_001), 1_000),
        ("two", Span::from_days(3), 1_000),
    ] {
        let clock = reading(boot, opened - back);
        let row = run.row.clone();
        let mut restored =
            Run::restore(row, "1".into(), variants.clone(), std::slice::from_ref(&durable), vec![], &clock);
        restored.expire_keys(&clock);
        assert_eq!(restored.ended(Outcome::Unknown), expired, "{boot}, {back} back");
        assert_eq!(restored.has_ready(&clock), expired == 0);
    }
}
