//! What people do: nothing is sent that a person did not choose, and what is told is what the books say.

use haishin::clock::Clock;
use haishin::domain::id::OccurrenceId;
use haishin::domain::time::Span;
use haishin::protocol::{Command, DueChoice, Resolution};
use haishin::sandbox::{Fault, FaultKind};
use rstest::rstest;
use serde_json::{Value, json};

use super::stage::Stage;
use super::{BEFORE, PLAIN, SLOWLY, books, campaign, gift, paused_for};
use crate::support::store::Database;
use crate::support::world::{CHANNEL, World, slug, user};

fn pause() -> Command {
    Command::CampaignPause { campaign: slug("gift") }
}

fn resume() -> Command {
    Command::CampaignResume { campaign: slug("gift") }
}

fn start(due: Option<DueChoice>) -> Command {
    Command::Start { due }
}

fn resolve(resolution: Resolution) -> Command {
    Command::OccurrenceResolve { occurrence: OccurrenceId(1), resolution }
}

fn test_send(to: u32) -> Command {
    Command::CampaignTestSend { campaign: slug("gift"), to: vec![user(to).to_string()], variant: None }
}

async fn accepted(world: &World) -> Option<Value> {
    Some(world.occurrence(1).await?["books"]["counts"]["accepted"].clone())
}

async fn ended(world: &World) {
    let end = async || (world.occurrence(1).await?["finished_at"] != Value::Null).then_some(());
    world.until("its end", end).await;
}

/// One batch is out, the month is used up, the rest is held.
async fn held() -> World {
    let world = gift(SLOWLY, 20).await;
    world.until("the first is heard", async || (accepted(&world).await? == 5).then_some(())).await;
    world.sandbox.set_quota(CHANNEL, Some(100), Some(100), world.clock.now()).unwrap();
    world.until_state(1, "held").await;
    let why = world.occurrence(1).await.unwrap()["why"].clone();
    assert_eq!(why, json!({ "code": "monthly_limit", "limit": 100 }));
    world
}

#[tokio::test]
async fn a_held_occurrence_goes_on_when_a_person_says_so() {
    let world = held().await;
    world.sandbox.set_quota(CHANNEL, Some(200), Some(100), world.clock.now()).unwrap();
    let answer = world.ask(resolve(Resolution::Send)).await.unwrap();
    assert_eq!((answer.text.as_str(), &answer.json["state"]), ("occurrence 1 goes on.", &json!("sending")));
    world.until_state(1, "finished").await;
    assert_eq!(books(&world, 1).await, json!({ "accepted": 20 }));
    assert_eq!(world.received(), [(1, 20)].into());
    assert_eq!(world.ask(resolve(Resolution::Send)).await.unwrap_err().code, "not_found");
}

#[tokio::test]
async fn a_held_occurrence_ends_when_a_person_says_so_and_what_was_tried_is_unknown() {
    let world = held().await;
    let answer = world.ask(resolve(Resolution::Cancel)).await.unwrap();
    assert_eq!(answer.json["state"], "cancelled");
    ended(&world).await;
    // The second batch was only ever answered 429, which settles nothing.
    assert_eq!(books(&world, 1).await, json!({ "accepted": 5, "unknown": 5, "cancelled": 10 }));
    let why = world.occurrence(1).await.unwrap()["why"].clone();
    assert_eq!(why, json!({ "code": "cancelled_by_person", "by": "test" }));
    world.sandbox.set_quota(CHANNEL, Some(200), Some(100), world.clock.now()).unwrap();
    world.pass(Span::from_mins(6)).await;
    assert_eq!(world.received(), [(1, 5)].into());
}

/// Held at the monthly limit, or paused, for longer than LINE remembers a key: what may have been tried is unknown, what
/// was not tried waits on.
#[tokio::test]
async fn what_stands_still_for_a_day_is_unknown_where_it_may_have_been_tried() {
    let held = held().await;
    let paused = gift(SLOWLY, 20).await;
    paused.until("the first is heard", async || (accepted(&paused).await? == 5).then_some(())).await;
    paused.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    let doubt = async || (paused.status().await["open"][0]["possibly_sent"] == 5).then_some(());
    paused.until("the second is in doubt", doubt).await;
    paused.done(pause()).await;
    for (mut world, state) in [(held, "held"), (paused, "paused")] {
        world.step = Span::from_mins(10);
        world.pass(Span::from_hours(22)).await;
        assert_eq!(books(&world, 1).await, json!({ "accepted": 5, "not_yet_sent": 15 }));
        world.pass(Span::from_hours(2)).await;
        assert_eq!(books(&world, 1).await, json!({ "accepted": 5, "unknown": 5, "not_yet_sent": 10 }));
        assert_eq!(world.occurrence(1).await.unwrap()["state"], state);
    }
}

#[tokio::test]
async fn a_cancellation_tells_what_the_books_will_say() {
    let world = gift(SLOWLY, 20).await;
    world.until("two are heard", async || (accepted(&world).await? == 10).then_some(())).await;
    world.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    let doubt = async || (world.status().await["open"][0]["possibly_sent"] == 5).then_some(());
    world.until("the third is in doubt", doubt).await;
    let told = world.done(Command::CampaignCancel { campaign: slug("gift") }).await;
    assert_eq!(told, json!({ "campaign": "gift", "sent": 10, "possibly_sent": 5, "released": 5 }));
    ended(&world).await;
    assert_eq!(books(&world, 1).await, json!({ "accepted": 10, "unknown": 5, "cancelled": 5 }));
    let show = world.ask(Command::OccurrenceShow { occurrence: OccurrenceId(1) }).await.unwrap().text;
    assert!(show.contains("unknown 5: cancelled by test → once you know"), "{show}");
}

/// Stopped when it fell due, and started within the grace, or after it.
#[tokio::test]
async fn a_start_judges_what_fell_due_by_grace() {
    for (stopped, state) in [(Span::from_hours(1), "finished"), (Span::from_hours(3), "missed")] {
        let mut world = gift("", 20).await;
        world.done(Command::Stop { reason: "wrong coupon".into() }).await;
        world.step = Span::from_mins(1);
        world.pass(stopped).await;
        world.step = Span::from_millis(50);
        let listed = world.ask(start(None)).await.unwrap();
        assert_eq!((listed.exit, &listed.json["fell_due"][0]["campaign"]), (3, &json!("gift")));
        assert!(listed.text.contains("2026-12-04T18:00:00+09:00  gift"), "{}", listed.text);
        assert_eq!(world.done(start(Some(DueChoice::Judge))).await["started"], true);
        world.until_state(1, state).await;
        if state == "finished" {
            assert_eq!(books(&world, 1).await, json!({ "accepted": 20 }));
        } else {
            assert_eq!(world.occurrence(1).await.unwrap()["why"], json!({ "code": "not_caught_up" }));
            assert_eq!(world.received(), [].into());
        }
    }
}

#[tokio::test]
async fn a_start_that_skips_records_who_did() {
    let world = gift("", 20).await;
    world.done(Command::Stop { reason: String::new() }).await;
    world.pass(Span::from_secs(10)).await;
    world.done(start(Some(DueChoice::Skip))).await;
    world.until_state(1, "missed").await;
    let why = world.occurrence(1).await.unwrap()["why"].clone();
    assert_eq!(why, json!({ "code": "skipped_by_person", "by": "test" }));
    world.pass(Span::from_secs(10)).await;
    assert_eq!(world.received(), [].into());
}

#[tokio::test]
async fn a_test_send_is_bound_by_the_quota_and_the_brake() {
    let world = gift("draft = true", 20).await;
    world.sandbox.set_quota(CHANNEL, Some(10), Some(10), world.clock.now()).unwrap();
    let refused = world.until("the numbers", async || world.ask(test_send(1)).await.err()).await;
    assert_eq!(refused.code, "conflict");
    assert!(refused.message.contains("0 messages are left"), "{}", refused.message);
    world.sandbox.set_quota(CHANNEL, Some(11), Some(10), world.clock.now()).unwrap();
    world.pass(Span::from_mins(2)).await;
    world.done(Command::Stop { reason: "wrong coupon".into() }).await;
    let refused = world.ask(test_send(1)).await.unwrap_err();
    assert!(refused.code == "conflict" && refused.message.contains("haishin start"), "{refused:?}");
    assert_eq!(world.received(), [].into());
    world.done(start(None)).await;
    world.until("the test send", async || world.ask(test_send(1)).await.ok()).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 1)].into());
}

/// Whatever else is released, a paused campaign waits for its own resumption.
#[tokio::test]
async fn stop_and_start_let_nothing_of_a_paused_campaign_go() {
    let world = gift(SLOWLY, 20).await;
    world.until_requests(1).await;
    world.done(pause()).await;
    assert_eq!(paused_for(&world).await, json!({ "code": "paused_by_person" }));
    world.done(Command::Stop { reason: String::new() }).await;
    world.pass(Span::from_secs(20)).await;
    world.done(start(None)).await;
    world.pass(Span::from_secs(60)).await;
    assert_eq!(world.multicasts().len(), 1);
    world.done(resume()).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
}

#[tokio::test]
async fn a_campaign_resumed_under_the_brake_waits_for_the_start() {
    let world = gift(SLOWLY, 20).await;
    world.until_requests(1).await;
    world.done(Command::Stop { reason: String::new() }).await;
    world.done(pause()).await;
    world.done(resume()).await;
    world.pass(Span::from_secs(60)).await;
    assert_eq!(world.multicasts().len(), 1);
    world.done(start(None)).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
}

/// Paused while held at the monthly limit: neither the limit nor a word about the hold lets it go.
#[rstest]
#[case::the_limit_rises(None)]
#[case::a_person_says_so(Some(Resolution::Send))]
#[tokio::test]
async fn a_held_occurrence_of_a_paused_campaign_waits(#[case] resolution: Option<Resolution>) {
    let mut world = held().await;
    let sent = world.multicasts().len();
    world.done(pause()).await;
    world.sandbox.set_quota(CHANNEL, Some(200), Some(100), world.clock.now()).unwrap();
    if let Some(resolution) = resolution {
        let answer = world.ask(resolve(resolution)).await.unwrap();
        assert!(answer.text.contains("haishin campaign resume gift"), "{}", answer.text);
    }
    world.step = Span::from_millis(500);
    world.until_state(1, "paused").await;
    assert_eq!(world.occurrence(1).await.unwrap()["why"], json!({ "code": "paused_by_person" }));
    world.pass(Span::from_mins(2)).await;
    assert_eq!(world.multicasts().len(), sent);
    world.done(resume()).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
}

/// A database that is an old copy: what it holds open may have gone out since, so each waits for a person.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn what_an_old_database_holds_open_is_sent_only_by_a_person(#[case] database: Database) {
    let mut stage = Stage::new(database, &campaign(SLOWLY), 20).await;
    stage.until_books(&json!({ "accepted": 5, "not_yet_sent": 15 })).await;
    let ticket = stage.state.path().join("shop.seq");
    std::fs::write(&ticket, "1000000").unwrap();
    for _ in 0..2 {
        stage.kill().await;
        let status = stage.done(Command::Status).await;
        assert_eq!(status["stopped"]["why"]["code"], "database_went_back", "{status}");
        assert_eq!(status["open"][0]["why"]["code"], "database_went_back", "{status}");
    }
    stage.done(start(Some(DueChoice::Skip))).await;
    assert_ne!(std::fs::read_to_string(&ticket).unwrap(), "1000000", "a person has looked");
    stage.done(pause()).await;
    stage.done(resume()).await.as_object().unwrap();
    stage.pass(Span::from_mins(2)).await;
    assert_eq!(stage.books().await.unwrap(), json!({ "accepted": 5, "not_yet_sent": 15 }));
    stage.done(resolve(Resolution::Send)).await;
    stage.until_books(&json!({ "accepted": 20 })).await;
}

#[tokio::test]
async fn a_resumption_is_of_one_campaign() {
    let gift = campaign(SLOWLY);
    let other =
        campaign(SLOWLY).replace("a gift", "another").replace("title", "category = \"service\"\ntitle");
    let world = World::new(BEFORE, PLAIN, &[("gift", &gift), ("other", &other)], 20).await;
    world.until_requests(2).await;
    for campaign in ["gift", "other"] {
        world.done(Command::CampaignPause { campaign: slug(campaign) }).await;
    }
    world.done(resume()).await;
    world.until_state(1, "finished").await;
    world.pass(Span::from_mins(2)).await;
    let left = world.occurrence(2).await.unwrap();
    assert_eq!((&left["campaign"], &left["state"]), (&json!("other"), &json!("paused")), "{left}");
    assert_eq!(books(&world, 2).await, json!({ "accepted": 5, "not_yet_sent": 15 }));
}
