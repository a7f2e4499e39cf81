//! What is due, and from when on.

use haishin::clock::Clock;
use haishin::domain::schedule::Planned;
use haishin::domain::time::{Instant, Span};
use haishin::engine::LEASE;
use haishin::protocol::Command;
use haishin::sandbox::{Endpoint, Fault, FaultKind};
use haishin::store::{Claim, Priority, Write};
use serde_json::Value;

use crate::support::faulty::Mishap;
use crate::support::world::{CHANNEL, World, slug};

const SETTINGS: &str = "rate = 20\nsame_content = \"off\"\n";

/// Every day at ten.
fn daily(more: &str) -> String {
    format!(
        "title = \"daily\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\ncategory = \"service\"\n\
         schedule = {{ every = \"day\", at = \"10:00\" }}\nmessage = [{{ type = \"text\", text = \"a\" }}]\n{more}"
    )
}

async fn occurrences(world: &World) -> Vec<(String, String)> {
    let list = world.done(Command::OccurrenceList { campaign: None, limit: 100 }).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list["occurrences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["due_at"]), text(&one["state"])))
        .collect()
}

/// Lets time pass to an instant, quickly.
async fn pass_to(world: &mut World, to: &str) {
    let to = Instant::try_from(to.to_owned()).unwrap();
    world.step = Span::from_mins(10);
    world.pass(to - world.clock.now()).await;
    world.step = Span::from_millis(200);
}

/// Lets time pass until so many occurrences are recorded, and the newest has ended.
async fn until_ended(world: &World, count: usize) -> Vec<(String, String)> {
    world
        .until("the occurrence", async || {
            let all = occurrences(world).await;
            (all.len() >= count && all[0].1 == "finished").then_some(all)
        })
        .await
}

fn finished(at: &str) -> (String, String) {
    (at.to_owned(), "finished".to_owned())
}

#[tokio::test]
async fn a_draft_is_due_from_the_instant_it_goes_live() {
    let draft = daily("draft = true\n");
    let mut world = World::new("2026-12-02T09:00:00+09:00", SETTINGS, &[("daily", &draft)], 3).await;
    pass_to(&mut world, "2026-12-03T10:30:00+09:00").await;
    world.apply(&[("daily", &daily(""))]).await;
    pass_to(&mut world, "2026-12-04T09:59:00+09:00").await;
    assert_eq!(until_ended(&world, 1).await, [finished("2026-12-04T01:00:00.000Z")]);
}

#[tokio::test]
async fn a_campaign_taken_up_again_is_due_from_then_on() {
    let mut world = World::new("2026-12-02T09:59:00+09:00", SETTINGS, &[("daily", &daily(""))], 3).await;
    until_ended(&world, 1).await;
    world.apply(&[]).await;
    pass_to(&mut world, "2026-12-04T10:30:00+09:00").await;
    world.apply(&[("daily", &daily(""))]).await;
    pass_to(&mut world, "2026-12-05T09:59:00+09:00").await;
    let sent = [finished("2026-12-05T01:00:00.000Z"), finished("2026-12-02T01:00:00.000Z")];
    assert_eq!(until_ended(&world, 2).await, sent);
}

/// Its file was away for a day. Whoever paused it has not let it go on.
#[tokio::test]
async fn a_campaign_taken_up_again_is_paused_as_it_was() {
    let mut world = World::new("2026-12-02T09:59:59+09:00", SETTINGS, &[("daily", &daily(""))], 3).await;
    until_ended(&world, 1).await;
    world.done(Command::CampaignPause { campaign: slug("daily") }).await;
    world.apply(&[]).await;
    pass_to(&mut world, "2026-12-03T09:00:00+09:00").await;
    world.apply(&[("daily", &daily(""))]).await;
    pass_to(&mut world, "2026-12-03T10:30:00+09:00").await;
    assert_eq!(occurrences(&world).await, [finished("2026-12-02T01:00:00.000Z")]);
    world.done(Command::CampaignResume { campaign: slug("daily") }).await;
    let sent = [finished("2026-12-03T01:00:00.000Z"), finished("2026-12-02T01:00:00.000Z")];
    assert_eq!(until_ended(&world, 2).await, sent);
}

#[tokio::test]
async fn what_is_recorded_late_takes_no_number_twice() {
    let evening = daily("").replace("10:00", "18:00");
    let campaigns = [("daily", &*daily("")), ("evening", &*evening)];
    let mut world = World::new("2026-12-02T09:00:00+09:00", SETTINGS, &campaigns, 3).await;
    world.done(Command::CampaignPause { campaign: slug("daily") }).await;
    pass_to(&mut world, "2026-12-02T17:59:00+09:00").await;
    until_ended(&world, 1).await;
    world.done(Command::CampaignResume { campaign: slug("daily") }).await;
    world.until_state(2, "missed").await;
    world.restart().await;
    pass_to(&mut world, "2026-12-03T09:59:00+09:00").await;
    let missed = ("2026-12-02T01:00:00.000Z".to_owned(), "missed".to_owned());
    let known = [finished("2026-12-03T01:00:00.000Z"), finished("2026-12-02T09:00:00.000Z"), missed];
    assert_eq!(until_ended(&world, 3).await, known);
}

#[tokio::test]
async fn what_was_planned_is_known_after_a_start() {
    let mut world = World::new("2026-12-02T09:59:00+09:00", SETTINGS, &[("daily", &daily(""))], 3).await;
    until_ended(&world, 1).await;
    world.restart().await;
    let list = world.done(Command::CampaignList).await;
    assert_eq!(list["campaigns"][0]["last_planned_at"], "2026-12-02T01:00:00.000Z");
}

#[tokio::test]
async fn of_what_fell_due_while_the_machine_slept_the_latest_is_sent() {
    let hourly = daily("repeat_after = \"30min\"\n");
    let hourly = hourly.replace("every = \"day\", at = \"10:00\"", "cron = \"0 * * * *\"");
    let settings = "rate = 20\nquiet_hours = \"off\"\n";
    let mut world = World::new("2026-12-02T09:30:00+09:00", settings, &[("hourly", &hourly)], 3).await;
    world.clock.advance(Span::from_millis(Span::from_hours(5).as_millis() - Span::from_mins(20).as_millis()));
    world.step = Span::from_millis(200);
    let all = until_ended(&world, 5).await;
    let states: Vec<&str> = all.iter().map(|(_, state)| state.as_str()).collect();
    // 13:00 is not two hours late either, but 14:00 is the latest.
    assert_eq!(
        (all[0].0.as_str(), states),
        ("2026-12-02T05:00:00.000Z", vec!["finished", "missed", "missed", "missed", "missed"])
    );
}

#[tokio::test]
async fn a_quota_that_nobody_can_read_is_waited_for_within_the_grace() {
    let evening = daily("").replace("at = \"10:00\"", "at = \"18:00\", grace = \"10min\"");
    for (read_again, state) in
        [("2026-12-02T18:09:00+09:00", "finished"), ("2026-12-02T18:11:00+09:00", "missed")]
    {
        let mut world = World::new("2026-12-02T17:59:59+09:00", SETTINGS, &[("evening", &evening)], 3).await;
        let until = Some(Instant::try_from(read_again.to_owned()).unwrap());
        world.sandbox.set_faults(vec![Fault {
            endpoint: Endpoint::Quota,
            until,
            ..Fault::always(FaultKind::ServerErrorBefore)
        }]);
        world.step = Span::from_secs(1);
        world.until_state(1, state).await;
        assert_eq!(world.multicasts().is_empty(), state == "missed");
        let asked = world.sandbox.requests(0, usize::MAX);
        let asked = asked.iter().filter(|request| request.endpoint == Some(Endpoint::Quota)).count();
        assert!((2..=30).contains(&asked), "asked {asked} times in ten minutes");
    }
}

/// Three of five messages went out in November: of December's there are five.
#[tokio::test]
async fn a_month_that_begins_has_all_its_messages() {
    let mut world = World::new("2026-11-30T09:59:59+09:00", SETTINGS, &[("daily", &daily(""))], 3).await;
    world.sandbox.set_quota(CHANNEL, Some(5), Some(0), world.clock.now()).unwrap();
    until_ended(&world, 1).await;
    pass_to(&mut world, "2026-12-01T09:59:00+09:00").await;
    world.step = Span::from_secs(1);
    world.pass(Span::from_mins(2)).await;
    let sent = [finished("2026-12-01T01:00:00.000Z"), finished("2026-11-30T01:00:00.000Z")];
    assert_eq!(occurrences(&world).await, sent);
    assert_eq!(world.received(), [(2, 3)].into());
}

/// Resumed by a clock that went back: what it missed is not called so by that clock.
#[tokio::test]
async fn nothing_is_planned_by_a_clock_that_is_behind() {
    let mut world = World::new("2026-12-02T09:59:00+09:00", SETTINGS, &[("daily", &daily(""))], 3).await;
    world.done(Command::CampaignPause { campaign: slug("daily") }).await;
    pass_to(&mut world, "2026-12-02T15:00:00+09:00").await;
    world.clock.jump(Instant::try_from("2026-12-02T13:00:00+09:00".to_owned()).unwrap());
    world.done(Command::CampaignResume { campaign: slug("daily") }).await;
    pass_to(&mut world, "2026-12-02T13:30:00+09:00").await;
    assert_eq!(occurrences(&world).await, []);
    pass_to(&mut world, "2026-12-02T15:10:00+09:00").await;
    world.until_state(1, "missed").await;
}

/// Between the record of what was missed and the freeze of the latest somebody sets the clock back.
#[tokio::test]
async fn nothing_is_frozen_by_a_clock_that_is_behind() {
    const RENEWAL_QUOTA: u64 = 2;
    let hourly = daily("repeat_after = \"30min\"\n");
    let hourly = hourly.replace("every = \"day\", at = \"10:00\"", "cron = \"0 * * * *\"");
    let settings = "rate = 20\nquiet_hours = \"off\"\n";
    let mut world = World::new("2026-12-02T09:30:00+09:00", settings, &[("hourly", &hourly)], 3).await;
    let store = world.account(0).account.store.clone();
    store.strike(RENEWAL_QUOTA + 1, Mishap::StuckBefore);
    world.clock.advance(Span::from_mins(3 * 60));
    world.until("what was missed is to be written", async || store.holds().then_some(())).await;
    assert_eq!(store.struck()[0].1[0], "occurrence", "{:?}", store.struck());
    world.clock.jump(world.clock.now() - Span::from_mins(2));
    store.release();
    world.step = Span::from_secs(1);
    world.pass(Span::from_secs(30)).await;
    let states = async || occurrences(&world).await.into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    assert_eq!(states().await, ["missed", "missed"]);
    until_ended(&world, 3).await;
    assert_eq!(states().await, ["finished", "missed", "missed"]);
}

#[tokio::test]
async fn a_preview_of_a_later_instant_decides_each_campaign_once() {
    let hourly = daily("repeat_after = \"30min\"\n");
    let hourly = hourly.replace("every = \"day\", at = \"10:00\"", "cron = \"0 * * * *\"");
    let world = World::new("2026-12-02T09:30:00+09:00", SETTINGS, &[("hourly", &hourly)], 3).await;
    let now = Some(Instant::try_from("2026-12-02T12:00:00+09:00".to_owned()).unwrap());
    let preview = Command::CampaignPreview { campaigns: vec![], now, friends: false };
    let decided = world.done(preview).await;
    let due: Vec<&str> =
        decided["decisions"].as_array().unwrap().iter().map(|one| one["due_at"].as_str().unwrap()).collect();
    assert_eq!(due, ["2026-12-02T03:00:00.000Z"]);
    assert_eq!(decided["decisions"][0]["recipients"], 3);
}

/// Minute by minute up to the year 9999 there are four thousand million due instants.
#[tokio::test]
async fn a_preview_of_a_far_instant_is_answered() {
    let often = daily("repeat_after = \"1s\"\n");
    let often = often.replace("every = \"day\", at = \"10:00\"", "cron = \"* * * * *\", if_missed = \"all\"");
    let world = World::new("2026-12-02T22:30:00+09:00", SETTINGS, &[("often", &often)], 3).await;
    let now = Some(Instant::try_from("9998-12-31T12:00:00+09:00".to_owned()).unwrap());
    let preview = Command::CampaignPreview { campaigns: vec![], now, friends: false };
    let decided = world.done(preview).await;
    assert_eq!(
        decided["decisions"].as_array().unwrap().len(),
        121,
        "those less than the grace of two hours old"
    );
}

/// A country gave up its summer time and haishin was upgraded between ten o'clock by the old data and ten o'clock by
/// the new ones. What the older haishin left is written as it would have been.
#[tokio::test]
async fn ten_oclock_is_due_once_on_the_day_the_data_about_its_zone_change() {
    let campaigns = [("daily", &*daily(""))];
    let mut world = World::new("2026-12-02T09:30:00+09:00", SETTINGS, &campaigns, 3).await;
    world.kill(0).await;
    let (store, account, now) = (&world.test.store, world.row(0).await, world.clock.now());
    let Claim::Granted { mut fence, .. } = store.claim(account, "world", now, LEASE).await.unwrap() else {
        panic!("nobody else holds it");
    };
    let mut row = store.campaigns(account).await.unwrap().remove(0);
    let local = Some("2026-12-02T10:00:00[Asia/Tokyo]".parse().unwrap());
    row.last_planned = Some(Planned { at: now - Span::from_mins(30), local });
    store.commit(&mut fence, now, Priority::Freeze, vec![Write::Campaign(row)]).await.unwrap();
    world.clock.advance(LEASE);
    world.start(0).await.unwrap();
    pass_to(&mut world, "2026-12-02T12:00:00+09:00").await;
    assert_eq!(occurrences(&world).await, []);
    pass_to(&mut world, "2026-12-03T09:59:00+09:00").await;
    assert_eq!(until_ended(&world, 1).await, [finished("2026-12-03T01:00:00.000Z")]);
}

/// An hour that is over for today is due tomorrow.
#[tokio::test]
async fn a_schedule_moved_to_an_hour_that_is_over_begins_tomorrow() {
    let evening = daily("").replace("10:00", "18:00");
    let mut world = World::new("2026-12-02T09:00:00+09:00", SETTINGS, &[("daily", &evening)], 3).await;
    pass_to(&mut world, "2026-12-02T11:00:00+09:00").await;
    world.apply(&[("daily", &daily(""))]).await;
    pass_to(&mut world, "2026-12-03T09:30:00+09:00").await;
    assert_eq!(occurrences(&world).await, []);
    world.step = Span::from_secs(5);
    assert_eq!(until_ended(&world, 1).await, [finished("2026-12-03T01:00:00.000Z")]);
}
