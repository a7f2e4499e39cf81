//! Every answer of LINE and every act of a person, to its outcome in the books.

use std::collections::BTreeSet;

use haishin::clock::Clock;
use haishin::domain::delivery::Outcome;
use haishin::domain::id::{OccurrenceId, SegmentSlug};
use haishin::domain::time::Span;
use haishin::protocol::{Command, DueChoice, Reply, Resolution};
use haishin::sandbox::{Endpoint, Fault, FaultKind};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::faulty::Mishap;
use crate::support::store::Database;
use crate::support::world::{CHANNEL, Setup, World, slug, user};

const BEFORE: &str = "2026-12-04T17:59:59+09:00";
const PLAIN: &str = "quiet_hours = \"off\"\nrate = 20\n";
const GIFT: &str = "title = \"gift\"\naudience = { status = \"following\" }\nreach = \"everyone\"\n\
    schedule = { at = \"2026-12-04 18:00\" }\nmessage = [{ type = \"text\", text = \"a gift\" }]\n";
const FRIENDS: u8 = 20;

async fn gift(faults: Vec<Fault>) -> World {
    gift_with("", faults).await
}

async fn gift_with(more: &str, faults: Vec<Fault>) -> World {
    let campaign = format!("{more}\n{GIFT}");
    let world = World::new(BEFORE, PLAIN, &[("gift", &campaign)], FRIENDS).await;
    world.sandbox.set_faults(faults);
    world
}

/// Five friends every ten seconds.
const SLOWLY: &str = "pace = \"5/10s\"";

fn keys(world: &World) -> Vec<String> {
    world.multicasts().into_iter().filter_map(|request| request.key).collect()
}

fn only(counts: &Value, expected: &[(&str, u64)]) {
    for outcome in ["accepted", "rejected", "unknown", "cancelled", "expired", "not_yet_sent"] {
        let wanted = expected.iter().find(|(name, _)| *name == outcome).map_or(0, |(_, count)| *count);
        assert_eq!(counts[outcome], wanted, "{outcome}: {counts}");
    }
}

#[tokio::test]
async fn an_id_that_line_names_is_quarantined_and_the_rest_goes_out() {
    let world = gift(vec![]).await;
    world.sandbox.refuse_users(CHANNEL, &[user(3), user(11)], &[]).unwrap();
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 18), ("rejected", 2)]);
    assert_eq!(world.received(), [(1, 18)].into());
    let keys = keys(&world);
    assert_eq!(keys.len(), 3, "the batch, the rest of it, the rest of that");
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

/// One bad id among five hundred, wherever it is: 18 requests beside the first, and one question.
#[tokio::test]
async fn an_id_that_line_does_not_name_is_found_by_halving() {
    const A_BATCH: u32 = 500;
    for bad in [0, 1, 249, 250, 333, 499] {
        let world = World::of(Setup {
            now: BEFORE,
            settings: PLAIN,
            campaigns: vec![("gift".into(), GIFT.into())],
            accounts: vec![("shop", A_BATCH)],
            database: Database::Memory,
            seed: 0,
        })
        .await;
        world.sandbox.refuse_users(CHANNEL, &[], &[user(bad)]).unwrap();
        world.until_state(1, "finished").await;
        only(&world.counts(1).await, &[("accepted", u64::from(A_BATCH) - 1), ("rejected", 1)]);
        assert_eq!(world.received(), [(1, A_BATCH as usize - 1)].into());
        let keys = keys(&world);
        assert!(keys.len() <= 1 + 18, "{bad}: {} requests", keys.len());
        assert_eq!(
            keys.iter().collect::<BTreeSet<_>>().len(),
            keys.len(),
            "a refused key is never used again"
        );
        assert_eq!(questions(&world), 1, "it would take the messages: that is known from then on");
        let list = world.done(Command::CampaignList).await;
        assert_eq!(list["campaigns"][0]["state"], "active", "{list}");
        let friends = world.done(Command::Status).await["friends"].clone();
        assert_eq!(friends, A_BATCH, "it is left out, not lost");
    }
}

/// A copy of the database from before they were cut would cut others, so that it is found out like one without a stride.
#[tokio::test]
async fn halves_are_noted_beside_the_database_before_they_leave() {
    const QUOTA_FREEZE_STRIDE: u64 = 3;
    let world = gift(vec![Fault::nth(FaultKind::BadRequest, [1])]).await;
    let store = world.account(0).account.store.clone();
    store.strike(QUOTA_FREEZE_STRIDE + 1, Mishap::StuckBefore);
    world.until("the halves are to be written", async || store.holds().then_some(())).await;
    assert!(store.struck().iter().any(|(_, what)| what.contains(&"batches")), "{:?}", store.struck());
    let before = world.ticket(0);
    store.release();
    world.until_requests(2).await;
    assert!(world.ticket(0) > before);
}

/// The process dies before the halves have an outcome: the next one knows them, and tries each under its own key.
#[tokio::test]
async fn halves_outlive_the_process_that_cut_them() {
    let refused = Fault::nth(FaultKind::BadRequest, [1]);
    let mut world = gift(vec![refused, Fault::always(FaultKind::LostBefore)]).await;
    world.until_requests(3).await;
    world.kill(0).await;
    let before: BTreeSet<String> = keys(&world).into_iter().collect();
    world.sandbox.set_faults(vec![]);
    world.start(0).await.unwrap();
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 20)]);
    assert_eq!(world.received(), [(1, 20)].into());
    assert_eq!(keys(&world).into_iter().collect::<BTreeSet<_>>(), before, "no key but the three");
}

fn questions(world: &World) -> usize {
    let requests = world.sandbox.requests(0, usize::MAX);
    requests.iter().filter(|request| request.endpoint == Some(Endpoint::ValidateMulticast)).count()
}

#[tokio::test]
async fn refused_messages_reject_the_batch_and_pause_the_campaign() {
    let refused = Fault { endpoint: Endpoint::ValidateMulticast, ..Fault::always(FaultKind::BadRequest) };
    let world = gift(vec![Fault::nth(FaultKind::BadRequest, [1]), refused]).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("rejected", 20)]);
    let list = world.done(Command::CampaignList).await;
    assert_eq!(list["campaigns"][0]["state"], "paused");
    assert_eq!(world.received(), [].into());
}

/// Nobody says what is wrong: it is asked again under another key, and in the end that is no better than a refusal.
#[tokio::test]
async fn a_refusal_that_stays_unexplained_is_one_of_the_messages_in_the_end() {
    let silent =
        Fault { endpoint: Endpoint::ValidateMulticast, ..Fault::always(FaultKind::ServerErrorBefore) };
    for (times, outcome) in [(3, "accepted"), (100, "rejected")] {
        let world = gift(vec![Fault::nth(FaultKind::BadRequest, 1..=times), silent.clone()]).await;
        world.until_state(1, "finished").await;
        only(&world.counts(1).await, &[(outcome, 20)]);
        let keys = keys(&world);
        assert_eq!(
            keys.iter().collect::<BTreeSet<_>>().len(),
            keys.len(),
            "a refused key is never used again"
        );
        assert!(keys.len() <= 6, "{}", keys.len());
    }
}

/// Where every request is refused it is hardly the friends' fault: twenty of them are enough.
#[tokio::test]
async fn what_is_refused_whoever_it_is_for_pauses_the_campaign() {
    let world = gift_with(SLOWLY, vec![Fault::always(FaultKind::BadRequest)]).await;
    let paused =
        async || (world.done(Command::CampaignList).await["campaigns"][0]["state"] == "paused").then_some(());
    world.until("the pause", paused).await;
    // Each of the twenty, and what was halved on the way to them.
    assert!(keys(&world).len() < 40, "{}", keys(&world).len());
    assert_eq!(world.received(), [].into());
}

#[tokio::test]
async fn a_refused_token_pauses_the_account_and_the_same_key_goes_on() {
    let world = gift(vec![Fault::nth(FaultKind::Unauthorized, [1])]).await;
    world.until("the pause", async || (world.status().await["paused"] != Value::Null).then_some(())).await;
    world.pass(Span::from_secs(30)).await;
    assert_eq!(keys(&world).len(), 1, "nothing leaves while it is paused");
    world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 20)]);
    let keys = keys(&world);
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
}

#[tokio::test]
async fn a_forbidden_account_pauses_and_goes_on_under_a_new_key() {
    let world = gift(vec![Fault::nth(FaultKind::Forbidden, [1])]).await;
    world.until("the pause", async || (world.status().await["paused"] != Value::Null).then_some(())).await;
    world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 20)]);
    let keys = keys(&world);
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1], "a refused key is never used again");
}

/// The batch is unknown, and what LINE said of the account is no less true.
#[tokio::test]
async fn a_forbidden_account_pauses_also_where_the_batch_was_in_doubt() {
    let world =
        gift(vec![Fault::nth(FaultKind::LostBefore, [1]), Fault::nth(FaultKind::Forbidden, [2])]).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("unknown", 20)]);
    let paused = world.status().await["paused"]["why"].clone();
    assert_eq!(paused, json!({ "code": "account_forbidden" }));
}

/// What LINE's support asks for.
#[tokio::test]
async fn an_outcome_is_kept_with_the_id_of_its_request() {
    let world = gift(vec![]).await;
    world.until_state(1, "finished").await;
    let ended = world.occurrence(1).await.unwrap()["batches"][0]["ended"].clone();
    let id = ended["request_id"].as_str().unwrap_or_default();
    assert_eq!(id.len(), 36, "{ended}");
}

#[tokio::test]
async fn what_settles_nothing_is_retried_under_its_own_key() {
    use FaultKind::{
        ConflictWithoutId, HangAfter, LostAfter, LostBefore, MonthlyLimit, RateLimited, ServerErrorAfter,
        ServerErrorBefore,
    };
    for kind in [
        ConflictWithoutId,
        HangAfter,
        LostAfter,
        LostBefore,
        MonthlyLimit,
        RateLimited,
        ServerErrorAfter,
        ServerErrorBefore,
    ] {
        let world = gift(vec![Fault::nth(kind, [1, 2])]).await;
        world.until_state(1, "finished").await;
        only(&world.counts(1).await, &[("accepted", 20)]);
        assert_eq!(world.received(), [(1, 20)].into(), "{kind:?}");
        let mut keys = keys(&world);
        assert_eq!(keys.len(), 3, "{kind:?}");
        keys.dedup();
        assert_eq!(keys.len(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_refusal_after_doubt_is_unknown_keeps_its_caps_and_waits_for_a_person() {
    let world =
        gift(vec![Fault::nth(FaultKind::LostBefore, [1]), Fault::nth(FaultKind::BadRequest, [2])]).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("unknown", 20)]);
    assert_eq!(keys(&world).len(), 2, "never resent");
    let preview = Command::CampaignPreview { campaigns: vec![slug("gift")], now: None, friends: false };
    assert_eq!(world.done(preview.clone()).await["decisions"][0]["recipients"], 0);
    let resolution = Resolution::Unknown(Outcome::Rejected);
    world.done(Command::OccurrenceResolve { occurrence: OccurrenceId(1), resolution }).await;
    only(&world.counts(1).await, &[("rejected", 20)]);
    assert_eq!(world.done(preview).await["decisions"][0]["recipients"], 20, "their places are free");
}

#[tokio::test]
async fn at_the_monthly_limit_it_is_held_until_the_limit_rises() {
    let mut world = gift_with(SLOWLY, vec![]).await;
    world.until_requests(1).await;
    world.sandbox.set_quota(CHANNEL, Some(100), Some(100), world.clock.now()).unwrap();
    world.until_state(1, "held").await;
    world.sandbox.set_quota(CHANNEL, Some(200), Some(100), world.clock.now()).unwrap();
    world.step = Span::from_millis(200);
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 20)]);
    assert_eq!(world.received(), [(1, 20)].into());
}

/// 20 messages more make 80 % of 100.
#[tokio::test]
async fn a_month_that_runs_out_is_told_with_the_send_that_shows_it() {
    let world = World::new(BEFORE, PLAIN, &[("gift", GIFT)], FRIENDS).await;
    world.sandbox.set_quota(CHANNEL, Some(100), Some(60), world.clock.now()).unwrap();
    world.until_state(1, "finished").await;
    let shown = world.ask(Command::OccurrenceShow { occurrence: OccurrenceId(1) }).await.unwrap();
    assert!(
        shown.text.contains("⚠ 35 messages are left of 100 this month before this send of 20"),
        "{}",
        shown.text
    );
}

#[tokio::test]
async fn a_pause_stops_every_request_and_a_resumption_is_a_part_of_its_own() {
    let world = gift_with(SLOWLY, vec![]).await;
    world.until_requests(1).await;
    world.done(Command::CampaignPause { campaign: slug("gift") }).await;
    world.pass(Span::from_secs(60)).await;
    assert_eq!(world.multicasts().len(), 1);
    only(&world.counts(1).await, &[("accepted", 5), ("not_yet_sent", 15)]);
    world.done(Command::CampaignResume { campaign: slug("gift") }).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 20)]);
    let parts = world.occurrence(1).await.unwrap()["parts"].clone();
    assert_eq!(parts.as_array().unwrap().len(), 2, "{parts}");
    assert_eq!(parts[1]["from_batch"], 1);
}

/// A batch that was open at the stop is delivered after it, and fills the day on which it is.
#[tokio::test]
async fn what_was_open_at_a_pause_counts_from_the_resumption() {
    let other = GIFT.replace("2026-12-04 18:00", "2026-12-05 18:00").replace("a gift", "another");
    let campaigns = [("gift", GIFT), ("other", &*other)];
    let mut world = World::new(BEFORE, PLAIN, &campaigns, FRIENDS).await;
    world.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorBefore)]);
    world.until_requests(2).await;
    world.done(Command::CampaignPause { campaign: slug("gift") }).await;
    world.step = Span::from_mins(10);
    world.pass(Span::from_hours(16)).await;
    world.step = Span::from_millis(50);
    world.sandbox.set_faults(vec![]);
    world.done(Command::CampaignResume { campaign: slug("gift") }).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
    // One a day: the day is the 5th, in the memory of now and in that of a new process.
    let preview = Command::CampaignPreview { campaigns: vec![slug("other")], now: None, friends: false };
    for _ in 0..2 {
        let decided = world.done(preview.clone()).await;
        assert_eq!(decided["decisions"][0]["exclusions"][0]["friends"], 20, "{decided}");
        world.restart().await;
    }
}

#[tokio::test]
async fn a_cancellation_tells_how_many_cannot_be_recalled() {
    let world = gift_with(SLOWLY, vec![]).await;
    world.until_requests(1).await;
    world.until("the first is heard", async || (world.counts(1).await["accepted"] == 5).then_some(())).await;
    let told = world.done(Command::CampaignCancel { campaign: slug("gift") }).await;
    assert_eq!(told, json!({ "campaign": "gift", "sent": 5, "possibly_sent": 0, "released": 15 }));
    world
        .until("its end", async || (world.occurrence(1).await?["finished_at"] != Value::Null).then_some(()))
        .await;
    only(&world.counts(1).await, &[("accepted", 5), ("cancelled", 15)]);
    world.pass(Span::from_secs(60)).await;
    assert_eq!(world.received(), [(1, 5)].into());
}

#[tokio::test]
async fn the_deadline_expires_what_was_not_tried_and_leaves_the_rest_unknown() {
    let lost = vec![Fault { nth: vec![], ..Fault::always(FaultKind::ServerErrorBefore) }];
    let deadline =
        format!("{SLOWLY}\n{}", GIFT.replace("18:00\" }", "18:00\", deadline = \"2026-12-04 18:00:15\" }"));
    let world = World::new(BEFORE, PLAIN, &[("gift", &deadline)], FRIENDS).await;
    world.until_requests(1).await;
    world.sandbox.set_faults(lost);
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("accepted", 5), ("unknown", 5), ("expired", 10)]);
}

#[tokio::test]
async fn after_23_hours_an_outcome_still_unknown_is_left_to_a_person() {
    let world = gift(vec![Fault::always(FaultKind::ServerErrorBefore)]).await;
    world.until_requests(3).await;
    world.clock.advance(Span::from_millis(Span::from_hours(23).as_millis() - 60_000));
    world.until_requests(4).await;
    world.until_state(1, "finished").await;
    only(&world.counts(1).await, &[("unknown", 20)]);
    world.sandbox.set_faults(vec![]);
    let requests = world.multicasts().len();
    world.pass(Span::from_secs(120)).await;
    assert_eq!(world.multicasts().len(), requests, "never resent by itself");
}

/// LINE is away for a little less than a key is used, and for a little more.
#[tokio::test]
async fn line_away_for_a_day_costs_nobody_a_message_or_leaves_them_to_a_person() {
    let minute = Span::from_mins(1).as_millis();
    for (away, outcome) in [(-minute, "accepted"), (minute, "unknown")] {
        let world = gift(vec![Fault::always(FaultKind::LostBefore)]).await;
        world.until_requests(1).await;
        world.clock.advance(Span::from_millis(Span::from_hours(23).as_millis() + away));
        world.sandbox.set_faults(vec![]);
        world.until_state(1, "finished").await;
        only(&world.counts(1).await, &[(outcome, 20)]);
        let reached = usize::from(outcome == "accepted") * 20;
        world.pass(Span::from_secs(120)).await;
        assert_eq!(world.received().get(&1).copied().unwrap_or(0), reached, "{outcome}");
        let keys: std::collections::BTreeSet<String> = keys(&world).into_iter().collect();
        assert_eq!(keys.len(), 1, "one key, whatever happens");
    }
}

#[tokio::test]
async fn quiet_hours_stop_a_run_and_it_goes_on_when_they_end() {
    let evening = format!("pace = \"5/10min\"\n{}", GIFT.replace("18:00", "21:45"));
    let settings = "rate = 20\n";
    let mut world = World::new("2026-12-04T21:44:59+09:00", settings, &[("gift", &evening)], FRIENDS).await;
    world.until_requests(1).await;
    world.step = Span::from_secs(1);
    world.until_requests(2).await;
    world.step = Span::from_secs(20);
    world.until_state(1, "finished").await;
    let hours: Vec<_> = world
        .multicasts()
        .iter()
        .map(|request| request.at.in_zone(chrono_tz::Asia::Tokyo).format("%d %H").to_string())
        .collect();
    assert_eq!(hours, ["04 21", "04 21", "05 08", "05 08"]);
    assert_eq!(world.received(), [(1, 20)].into());
}

/// Whoever lists a segment into a pager and goes to lunch stops nobody's messages.
#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_up() {
    let world = gift(vec![]).await;
    let (rows, mut listing) = mpsc::channel(1);
    rows.try_send(Reply::Taken(Vec::new())).unwrap();
    let export = Command::SegmentExport { segment: SegmentSlug::parse("everybody").unwrap(), now: None };
    let mut answered = world.account(0).begin(export, rows).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
    let mut told = 0;
    let answer = world.until("the listing is told", async || {
        while let Ok(reply) = listing.try_recv() {
            told += if let Reply::Rows(page) = reply { page.len() } else { 0 };
        }
        answered.try_recv().ok()
    });
    assert_eq!((answer.await.unwrap().json["friends"].clone(), told), (json!(20), 20));
}

/// What is open of an account that left the configuration finishes, and no faster than before.
#[tokio::test]
async fn an_account_that_is_gone_keeps_its_rate() {
    let slugs: Vec<String> = (0..20).map(|n| format!("gift-{n}")).collect();
    let service = GIFT.replace("message =", "category = \"service\"\nmessage =");
    let texts: Vec<String> = (0..20).map(|n| service.replace("a gift", &format!("gift {n}"))).collect();
    let campaigns: Vec<(&str, &str)> =
        slugs.iter().zip(&texts).map(|(slug, text)| (slug.as_str(), text.as_str())).collect();
    let mut world = World::new(BEFORE, "quiet_hours = \"off\"\nrate = 2\n", &campaigns, FRIENDS).await;
    world.until("all are frozen", async || world.occurrence(20).await.map(drop)).await;
    world.leave().await;
    let left = world.clock.now();
    world.until_requests(20).await;
    let after = world.multicasts().into_iter().filter(|request| request.at >= left).count() as i64;
    let took = (world.clock.now() - left).as_millis();
    assert!(after >= 10 && took >= (after - 2) * 500, "{after} requests in {took} ms");
}

#[tokio::test]
async fn silent_delivery_is_said_in_the_body() {
    let world = gift_with("notify = false", vec![]).await;
    world.until_state(1, "finished").await;
    assert!(world.sandbox.received(CHANNEL, &user(0)).unwrap().iter().all(|received| received.silent));
    assert_eq!(world.received(), [(1, 20)].into());
}

#[tokio::test]
async fn the_brake_stops_everything_and_its_release_asks_about_what_fell_due() {
    let world = gift(vec![]).await;
    world.done(Command::Stop { reason: "wrong coupon".into() }).await;
    world.pass(Span::from_secs(10)).await;
    assert_eq!(world.multicasts().len(), 0);
    let listed = world.ask(Command::Start { due: None }).await.unwrap();
    assert_eq!((listed.exit, &listed.json["fell_due"][0]["campaign"]), (3, &json!("gift")));
    assert_ne!(world.status().await["stopped"], Value::Null, "a list starts nothing");
    world.done(Command::Start { due: Some(DueChoice::Skip) }).await;
    world.until_state(1, "missed").await;
    world.pass(Span::from_secs(10)).await;
    assert_eq!(world.multicasts().len(), 0);
}

#[tokio::test]
async fn a_test_send_goes_to_whom_it_names_and_counts_in_no_cap() {
    let world = gift(vec![]).await;
    let to = vec![user(1).to_string()];
    let told = world.done(Command::CampaignTestSend { campaign: slug("gift"), to, variant: None }).await;
    assert_eq!(told, json!({ "occurrence": 1, "friends": 1 }));
    let list = Command::OccurrenceList { campaign: None, limit: 5 };
    assert!(
        world.ask(list).await.unwrap().text.contains("gift (test send)"),
        "no report takes it for a send"
    );
    world.until_state(2, "finished").await;
    only(&world.counts(2).await, &[("accepted", 20)]);
    assert_eq!(world.received(), [(1, 19), (2, 1)].into());
}
