//! What a freeze decides by and leaves behind, as an engine does it: who comes first, who is left out, what counts from
//! when on, what statistics are called.

use std::collections::BTreeSet;

use haishin::clock::Clock as _;
use haishin::domain::delivery::Exclusion;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::time::{Instant, Span};
use haishin::protocol::Command;
use haishin::sandbox::{Endpoint, Fault, FaultKind, Received};
use haishin::store::NewInbox;
use serde_json::{Value, json};

use crate::support::ledger::Ledger;
use crate::support::world::{CHANNEL, World, slug, user};

const PLAIN: &str = "quiet_hours = \"off\"\nrate = 20\n";
const ANY_CONTENT: &str = "quiet_hours = \"off\"\nrate = 20\nsame_content = \"off\"\n";
const BEFORE: &str = "2026-12-04T17:59:59+09:00";
const SIX: &str = "{ at = \"2026-12-04 18:00\" }";

/// Says its text to everybody.
fn says(text: &str, schedule: &str, more: &str) -> String {
    format!(
        "{more}\ntitle = \"{text}\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\nschedule = {schedule}\n\
         message = [{{ type = \"text\", text = \"{text}\" }}]\n"
    )
}

async fn world(now: &str, settings: &str, campaigns: &[(&str, String)], friends: u8) -> World {
    let campaigns: Vec<(&str, &str)> = campaigns.iter().map(|(slug, text)| (*slug, text.as_str())).collect();
    World::new(now, settings, &campaigns, friends).await
}

async fn tag(world: &World, n: u32, tag: &str) {
    let (account, at) = (world.row(0).await, world.clock.now());
    let effect = Effect::TagAdded { tag: tag.parse().unwrap() };
    let intakes = vec![Intake { friend: user(n).into(), at, effect, dedupe: None }];
    let row = NewInbox { account, received_at: at, source: NewInbox::API.into(), intakes };
    world.test.store.append_inbox(vec![row]).await.unwrap();
    // Applied by the first of these, folded by the second at the latest.
    world.status().await;
    world.status().await;
}

async fn ledger(world: &World) -> Ledger {
    Ledger::read(world.test.store.as_ref(), world.row(0).await).await
}

fn got(world: &World, n: u32) -> Vec<Received> {
    world.sandbox.received(CHANNEL, &user(n)).unwrap()
}

/// What a friend got, in order.
fn texts(world: &World, n: u32) -> Vec<String> {
    let text = |one: &Received| {
        let messages: Value = serde_json::from_str(&one.messages).unwrap();
        messages[0]["text"].as_str().unwrap().to_owned()
    };
    got(world, n).iter().map(text).collect()
}

async fn count(world: &World, occurrence: i64, what: &str) -> Value {
    world.counts(occurrence).await[what].clone()
}

#[tokio::test]
async fn of_what_is_due_together_the_higher_priority_takes_the_caps() {
    let campaigns = [("abc", says("low", SIX, "priority = 10")), ("xyz", says("high", SIX, "priority = 90"))];
    let world = world(BEFORE, PLAIN, &campaigns, 5).await;
    world.until_state(1, "finished").await;
    world.until_state(2, "finished").await;
    assert_eq!(texts(&world, 3), ["high"]);
    assert_eq!(world.received(), [(1, 5)].into());
    let first = world.occurrence(1).await.unwrap();
    assert_eq!((&first["campaign"], &first["matched"]), (&json!("xyz"), &json!(5)));
}

#[tokio::test]
async fn whoever_holds_the_opt_out_tag_of_a_category_is_left_out_of_it() {
    let settings = format!(
        "{PLAIN}[categories.news]\nopt_out = \"no-news\"\n[categories.promotion]\nopt_out = \"no-ads\"\n"
    );
    let campaigns =
        [("ads", says("ads", SIX, "")), ("news", says("news", SIX, "category = \"news\"\npriority = 90"))];
    let world = world(BEFORE, &settings, &campaigns, 3).await;
    tag(&world, 0, "no-ads").await;
    tag(&world, 1, "no-news").await;
    world.until_state(1, "finished").await;
    world.until_state(2, "finished").await;
    let seen: Vec<Vec<String>> = (0..3).map(|n| texts(&world, n)).collect();
    assert_eq!(seen, [vec!["news"], vec!["ads"], vec!["news"]]);
    let books = ledger(&world).await;
    let out = |campaign: &str| {
        let one = books.of(campaign).next().unwrap();
        one.exclusions.get(&Exclusion::OptedOut).map(|set| set.iter().collect::<Vec<u32>>())
    };
    assert_eq!((out("ads"), out("news")), (Some(vec![0]), Some(vec![1])));
}

#[tokio::test]
async fn what_a_guard_refuses_is_in_the_books_and_reaches_nobody() {
    let settings = format!("{PLAIN}[blanket_guard]\nshare = \"50%\"\nwarn_below = 1\n");
    let blanket = says("all", SIX, "").replace("reach = \"everyone\"\n", "");
    let world = world(BEFORE, &settings, &[("blanket", blanket)], 5).await;
    world.until_state(1, "refused").await;
    world.pass(Span::from_mins(1)).await;
    assert!(world.multicasts().is_empty());
    let told = world.occurrence(1).await.unwrap();
    assert_eq!((&told["recipients"], &told["matched"]), (&json!(0), &json!(5)));
    assert_eq!(world.occurrence(2).await, None);
}

/// Its delay ended at half past eleven: a day from then on is what a cap of a day means.
#[tokio::test]
async fn what_was_frozen_late_counts_from_the_end_of_the_delay() {
    let settings = format!(
        "{ANY_CONTENT}[caps.daily]\nmax = \"off\"\n[caps.own]\ntitle = \"own\"\nmax = 1\nper = \"24h\"\n"
    );
    let campaigns = [("daily", says("hello", "{ every = \"day\", at = \"10:00\" }", ""))];
    let mut world = world("2026-12-04T09:30:00+09:00", &settings, &campaigns, 4).await;
    world.kill(0).await;
    world.clock.advance(Span::from_hours(2));
    let up = world.clock.now();
    world.start(0).await.unwrap();
    world.until_state(1, "finished").await;
    let books = ledger(&world).await;
    let part = books.occurrences[0].row.parts[0].effective_at;
    assert!(part >= up && part <= world.clock.now(), "{part}");
    world.step = Span::from_mins(10);
    world.until_state(2, "finished").await;
    assert_eq!(count(&world, 2, "accepted").await, 0, "its ten o'clock is within a day of half past eleven");
    world.until_state(3, "finished").await;
    assert_eq!(count(&world, 3, "accepted").await, 4);
}

/// Beside the caps, and after a start.
#[tokio::test]
async fn the_same_content_is_held_back_after_a_start_too() {
    let later = "{ at = \"2026-12-04 19:00\" }";
    let service = "category = \"service\"";
    let campaigns = [
        ("first", says("hello", SIX, service)),
        ("other", says("bye", later, service)),
        ("second", says("hello", later, service)),
    ];
    let mut world = world(BEFORE, PLAIN, &campaigns, 3).await;
    world.until_state(1, "finished").await;
    world.restart().await;
    world.step = Span::from_secs(30);
    world.until_state(2, "finished").await;
    world.until_state(3, "finished").await;
    assert_eq!(texts(&world, 0), ["hello", "bye"]);
    let books = ledger(&world).await;
    let held = books.of("second").next().unwrap().exclusions.values().map(|set| set.len()).sum::<u64>();
    assert_eq!(held, 3);
}

/// Twenty friends, five every ten seconds, cancelled after the first: the other fifteen have room for the next campaign.
#[tokio::test]
async fn whom_a_cancellation_spares_has_room_at_once() {
    let slowly = says("first", SIX, "pace = \"5/10s\"");
    let next = says("second", "{ at = \"2026-12-04 18:01\" }", "");
    let world = world(BEFORE, PLAIN, &[("first", slowly), ("second", next)], 20).await;
    let five = async || (world.occurrence(1).await?["books"]["counts"]["accepted"] == 5).then_some(());
    world.until("the first five", five).await;
    world.done(Command::CampaignCancel { campaign: slug("first") }).await;
    world.until_state(2, "finished").await;
    assert_eq!(count(&world, 1, "cancelled").await, 15);
    assert_eq!(count(&world, 2, "accepted").await, 15);
    assert_eq!(world.received(), [(1, 20)].into());
}

/// The same for what a deadline spares, and after a start.
#[tokio::test]
async fn whom_a_deadline_spares_has_room_at_once() {
    let six = "{ at = \"2026-12-04 18:00\", deadline = \"8s\" }";
    let slowly = says("first", six, "pace = \"5/10s\"");
    let next = says("second", "{ at = \"2026-12-04 18:01\" }", "");
    let mut world = world(BEFORE, PLAIN, &[("first", slowly), ("second", next)], 20).await;
    let ended = async || (world.occurrence(1).await?["finished_at"] != Value::Null).then_some(());
    world.until("its end", ended).await;
    world.restart().await;
    world.until_state(2, "finished").await;
    assert_eq!(count(&world, 1, "expired").await, 15);
    assert_eq!(count(&world, 2, "accepted").await, 15);
    assert_eq!(world.received(), [(1, 20)].into());
}

/// LINE says how much of a month is used with delay, and nothing of what is still on its way.
#[tokio::test]
async fn what_is_on_its_way_and_what_line_has_not_counted_yet_are_used_up() {
    let settings = format!("{ANY_CONTENT}[caps.daily]\nmax = \"off\"\n[quota]\nkeep = \"0%\"\n");
    let at = |time: &str| format!("{{ at = \"2026-12-04 {time}\" }}");
    let campaigns = [
        ("a", says("a", SIX, "pace = \"5/10s\"")),
        ("b", says("b", &at("18:00:05"), "")),
        ("c", says("c", &at("18:00:45"), "")),
        ("d", says("d", &at("18:05"), "")),
        ("e", says("e", &at("18:10"), "")),
    ];
    let mut world = world(BEFORE, &settings, &campaigns, 20).await;
    world.step = Span::from_secs(1);
    let set = |limit, used| {
        world.sandbox.set_quota(CHANNEL, Some(limit), Some(used), world.clock.now()).unwrap();
    };
    set(39, 0);
    // While twenty are on their way; when all are accepted, by the reading before; when LINE's count lags behind.
    for (number, total) in [(2, "b"), (3, "c"), (4, "d")] {
        world.until_state(number, "refused").await;
        set(39, 0);
        assert_eq!(world.occurrence(number).await.unwrap()["campaign"], total);
    }
    assert_eq!(count(&world, 1, "accepted").await, 20);
    set(40, 0);
    world.until_state(5, "finished").await;
    assert_eq!(world.received(), [(2, 20)].into());
}

/// LINE's numbers and the answer to a batch come in the same instant, the numbers first, and LINE has not counted it yet.
#[tokio::test]
async fn what_is_accepted_as_the_numbers_come_is_used_up() {
    let settings = format!("{ANY_CONTENT}[caps.daily]\nmax = \"off\"\n[quota]\nkeep = \"0%\"\n");
    let campaigns = [("a", says("a", SIX, "")), ("b", says("b", "{ at = \"2026-12-04 18:05\" }", ""))];
    let mut world = world(BEFORE, &settings, &campaigns, 20).await;
    let uncounted = || world.sandbox.set_quota(CHANNEL, Some(39), Some(0), world.clock.now()).unwrap();
    uncounted();
    world.sandbox.set_faults(vec![Fault::always(FaultKind::Slow { ms: 2_000 })]);
    world.until_requests(1).await;
    uncounted();
    // The numbers of the freeze are old, and are asked for again.
    world.clock.advance(Span::from_mins(1));
    world.done(Command::CampaignPreview { campaigns: vec![slug("b")], now: None, friends: false }).await;
    world.at_once("LINE's yes", async || (count(&world, 1, "accepted").await == 20).then_some(())).await;
    uncounted();
    world.step = Span::from_secs(1);
    world.until_state(2, "refused").await;
}

/// A month is LINE's, and what was read in the one before says nothing about this one.
#[tokio::test]
async fn a_new_month_is_planned_with_its_own_numbers() {
    let at = |time: &str| format!("{{ at = \"{time}\" }}");
    let campaigns = [
        ("last", says("last", &at("2026-11-30 23:50"), "")),
        ("next", says("next", &at("2026-12-01 00:01"), "")),
    ];
    let mut world = world("2026-11-30T23:49:00+09:00", ANY_CONTENT, &campaigns, 5).await;
    world.step = Span::from_secs(5);
    world.sandbox.set_quota(CHANNEL, Some(3), Some(3), world.clock.now()).unwrap();
    world.until_state(1, "refused").await;
    world.sandbox.set_quota(CHANNEL, Some(100), Some(0), world.clock.now()).unwrap();
    let until = Instant::try_from("2026-12-01T00:20:00+09:00".to_owned()).unwrap();
    let away = Fault::always(FaultKind::ServerErrorBefore);
    world.sandbox.set_faults(vec![Fault { endpoint: Endpoint::Quota, until: Some(until), ..away }]);
    world.until_state(2, "finished").await;
    assert_eq!(world.received(), [(1, 5)].into());
    assert!(world.clock.now() > until, "it waits for this month's numbers");
}

/// What somebody's messages were counted under, in order.
fn units(world: &World, n: u32) -> Vec<String> {
    got(world, n).into_iter().map(|one| one.unit.expect("it is counted").to_string()).collect()
}

#[tokio::test]
async fn statistics_have_a_unit_for_each_arm_and_day() {
    let arms = "title = \"t\"\naudience = { status = \"following\" }\nreach = \"everyone\"\n\
                schedule = { every = \"day\", at = \"10:00\" }\n\
                [[variant]]\nname = \"red\"\nmessage = [{ type = \"text\", text = \"red\" }]\n\
                [[variant]]\nname = \"blue\"\nmessage = [{ type = \"text\", text = \"blue\" }]\n";
    let name = "a-campaign-whose-name-is-longer-than-thirty-characters";
    let mut world = world("2026-12-04T09:59:59+09:00", ANY_CONTENT, &[(name, arms.to_owned())], 20).await;
    world.until_state(1, "finished").await;
    world.step = Span::from_mins(10);
    world.until_state(2, "finished").await;
    let mut days = [BTreeSet::new(), BTreeSet::new()];
    for n in 0..20 {
        let (arm, units) = (texts(&world, n)[0].clone(), units(&world, n));
        assert_eq!(units.len(), 2);
        for (day, unit) in days.iter_mut().zip(units) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(unit.len() <= 30 && unit.chars().all(plain), "{unit}");
            day.insert((arm.clone(), unit));
        }
    }
    let of =
        |day: &BTreeSet<(String, String)>| day.iter().map(|(_, unit)| unit.clone()).collect::<BTreeSet<_>>();
    // Each arm has one, each day its own.
    assert_eq!((days[0].len(), days[1].len()), (2, 2));
    assert_eq!(of(&days[0]).union(&of(&days[1])).count(), 4);
}

/// So that a month's units stay few: LINE counts a thousand.
#[tokio::test]
async fn statistics_have_a_unit_for_each_step_and_month() {
    let drip = "title = \"t\"\ncategory = \"service\"\nstart = { tag_added = \"trial\" }\n\
                [[step]]\nname = \"one\"\nmessage = [{ type = \"text\", text = \"one\" }]\n\
                [[step]]\nname = \"two\"\nafter = \"1h\"\nmessage = [{ type = \"text\", text = \"two\" }]\n";
    let drip = ("drips/trial.toml", drip.to_owned());
    let mut world = world("2026-12-04T10:00:00+09:00", ANY_CONTENT, &[drip], 2).await;
    world.step = Span::from_mins(10);
    // What happened before it went live starts nobody.
    world.clock.advance(Span::from_millis(1));
    for (n, finished) in [(0, 2), (1, 4)] {
        tag(&world, n, "trial").await;
        world.until_state(finished, "finished").await;
        world.pass(Span::from_hours(20)).await;
    }
    let (early, late) = (units(&world, 0), units(&world, 1));
    assert_eq!(early, late, "of one month");
    assert_ne!(early[0], early[1]);
}

#[tokio::test]
async fn a_test_send_is_in_no_statistics() {
    let world = world(BEFORE, PLAIN, &[("draft", says("hello", SIX, "draft = true"))], 3).await;
    let to = vec![user(1).to_string()];
    world.done(Command::CampaignTestSend { campaign: slug("draft"), to, variant: None }).await;
    world.until_state(1, "finished").await;
    let units: Vec<Option<String>> =
        got(&world, 1).into_iter().map(|one| one.unit.map(|unit| unit.to_string())).collect();
    assert_eq!(units, [None]);
}

/// A start reads from what was sent what counts in caps: a receipt does not, an offer does.
#[tokio::test]
async fn after_a_start_the_same_counts_in_caps_as_before() {
    let at = |minute: u32| format!("{{ at = \"2026-12-04 18:0{minute}\" }}");
    let campaigns = [
        ("receipt", says("receipt", &at(0), "category = \"service\"")),
        ("offer", says("offer", &at(1), "")),
        ("second", says("second offer", &at(2), "")),
    ];
    let mut world = world(BEFORE, PLAIN, &campaigns, 3).await;
    for sent in 1..=3 {
        world.until_state(sent, "finished").await;
        world.restart().await;
    }
    for n in 0..3 {
        assert_eq!(texts(&world, n), ["receipt", "offer"], "one a day, and receipts beside");
    }
}
