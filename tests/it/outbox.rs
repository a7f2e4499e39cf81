//! What leaves beside sends: rich menus at LINE, the shop's systems told. At least once, in order, never lost, and given up
//! in the end.

use haishin::clock::Clock as _;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::id::UserId;
use haishin::domain::time::Span;
use haishin::protocol::Command;
use haishin::sandbox::{Endpoint, Fault, FaultKind};
use haishin::store::NewInbox;
use rstest::rstest;
use serde_json::json;

use crate::support::faulty::Mishap;
use crate::support::store::Database;
use crate::support::systems::{Heard, Mood};
use crate::support::world::{CHANNEL, Setup, World, user};

const NOON: &str = "2026-12-04T12:00:00+09:00";
const SYSTEMS: &str = "[webhooks.crm]\nurl = \"http://127.0.0.1:1/\"\nsecret = { env = \"UNUSED\" }\n\
                       [webhooks.stock]\nurl = \"http://127.0.0.1:1/\"\nsecret = { env = \"UNUSED\" }\n";
const MENU: &str = "richmenu-0123456789abcdef0123456789abcdef";

/// A drip in which whoever gets the tag of its name comes by one step after the other, a minute apart.
fn drip(tag: &str, actions: &[&str]) -> String {
    let mut text = format!(
        "title = \"{tag}\"\ncategory = \"followup\"\nstart = {{ tag_added = \"{tag}\" }}\nagain = \"1min\"\n"
    );
    for (n, action) in actions.iter().enumerate() {
        text += &format!("[[step]]\nname = \"step-{n}\"\nafter = \"{}min\"\naction = {action}\n", n + 1);
    }
    text
}

const TELL: &str = r#"{ webhook = "crm" }"#;

async fn world_on(database: Database, drips: &[(&str, &[&str])], friends: u32) -> World {
    let files = drips.iter().map(|(tag, actions)| (format!("drips/{tag}"), drip(tag, actions)));
    World::of(Setup {
        now: NOON,
        settings: SYSTEMS,
        campaigns: files.collect(),
        accounts: vec![("shop", friends)],
        database,
        seed: 0,
    })
    .await
}

async fn world(drips: &[(&str, &[&str])], friends: u32) -> World {
    let mut world = world_on(Database::Sqlite, drips, friends).await;
    world.step = Span::from_millis(250);
    world
}

/// Gives friends a tag.
async fn tag(world: &World, tag: &str, friends: impl IntoIterator<Item = u32>) {
    // What lies at a drip's activation itself starts nobody.
    world.clock.advance(Span::from_secs(1));
    let now = world.clock.now();
    let intake = |n| {
        let effect = Effect::TagAdded { tag: tag.parse().unwrap() };
        Intake { friend: user(n).into(), at: now, effect, dedupe: None }
    };
    let intakes = friends.into_iter().map(intake).collect();
    let row = NewInbox { account: world.row(0).await, received_at: now, source: "import".into(), intakes };
    world.test.store.append_inbox(vec![row]).await.unwrap();
    world.account(0).nudge();
}

/// Rows of the table by whether they are given up.
async fn rows(world: &World, given_up: bool) -> String {
    let which = if given_up { "IS NOT NULL" } else { "IS NULL" };
    world.test.text(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM outbox WHERE given_up_at {which}")).await
}

/// Lets time pass until the shop's systems have been told so much and nothing more waits.
async fn until_told(world: &World, count: usize) -> Vec<Heard> {
    world
        .until("the systems are told", async || {
            let told = world.systems.heard().len() >= count && rows(world, false).await == "0";
            told.then(|| world.systems.heard())
        })
        .await
}

fn step_of(heard: &Heard) -> (String, String) {
    let text = |key: &str| heard.body[key].as_str().unwrap().to_owned();
    (text("user"), text("step"))
}

// ---- what is promised when all goes well -----------------------------------------------------------------------

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_step_tells_a_system_once_and_in_order(#[case] database: Database) {
    let mut world = world_on(database, &[("trial", &[TELL, TELL])], 3).await;
    world.step = Span::from_millis(250);
    tag(&world, "trial", 0..3).await;
    let heard = until_told(&world, 6).await;
    assert_eq!(heard.len(), 6);
    for (n, one) in heard.iter().enumerate() {
        assert_eq!(one.system, "crm");
        assert_eq!(one.id, one.body["id"], "the header says what the body says");
        let (who, step) = (user(n as u32 % 3).to_string(), format!("step-{}", n / 3));
        assert_eq!(step_of(one), (who, step), "friends of one step in their order, then the next step");
    }
    let mut ids: Vec<&str> = heard.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each has an id of its own");
    let first = &heard[0].body;
    let minute = first["at"].as_str().unwrap();
    assert_eq!(
        *first,
        json!({
            "type": "drip_step", "id": heard[0].id, "account": "shop", "drip": "trial", "step": "step-0",
            "user": user(0), "external_id": null, "at": minute,
        })
    );
    assert_eq!(rows(&world, true).await, "0");
    assert_eq!(world.status().await["outbox"], json!([]));
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn rich_menus_are_linked_and_unlinked_by_five_hundred(#[case] database: Database) {
    let link = format!("{{ rich_menu = \"{MENU}\" }}");
    let mut world =
        world_on(database, &[("trial", &[&link]), ("leave", &["{ rich_menu = \"unlink\" }"])], 1_001).await;
    world.step = Span::from_millis(250);
    tag(&world, "trial", 0..1_001).await;
    let menus = || world.sandbox.rich_menus(CHANNEL).unwrap();
    world.until("all have the menu", async || (menus().len() == 1_001).then_some(())).await;
    assert!(menus().values().all(|menu| menu == MENU));
    tag(&world, "leave", 0..1_000).await;
    world.until("all but one have none", async || (menus().len() == 1).then_some(())).await;
    assert_eq!(menus().into_keys().collect::<Vec<UserId>>(), [user(1_000)]);
    let requests = world.sandbox.requests(0, usize::MAX);
    let of = |endpoint| {
        let of = requests.iter().filter(move |request| request.endpoint == Some(endpoint));
        of.map(|request| (request.recipients, request.status)).collect::<Vec<_>>()
    };
    assert_eq!(of(Endpoint::LinkRichMenu), [(500, Some(202)), (500, Some(202)), (1, Some(202))]);
    assert_eq!(of(Endpoint::UnlinkRichMenu), [(500, Some(202)), (500, Some(202))]);
    world.until("nothing waits", async || (rows(&world, false).await == "0").then_some(())).await;
}

// ---- what goes wrong -------------------------------------------------------------------------------------------

/// Whatever goes wrong and is over after a while, everybody has the menu in the end, and nobody is left out.
#[rstest]
#[case(FaultKind::LostBefore)]
#[case(FaultKind::LostAfter)]
#[case(FaultKind::HangBefore)]
#[case(FaultKind::HangAfter)]
#[case(FaultKind::ServerErrorBefore)]
#[case(FaultKind::ServerErrorAfter)]
#[case(FaultKind::RateLimited)]
#[case(FaultKind::Unauthorized)]
#[tokio::test]
async fn a_rich_menu_is_linked_in_the_end(#[case] kind: FaultKind) {
    let link = format!("{{ rich_menu = \"{MENU}\" }}");
    let world = world(&[("trial", &[&link])], 3).await;
    let fault = Fault { endpoint: Endpoint::LinkRichMenu, times: Some(5), ..Fault::always(kind) };
    world.sandbox.set_faults(vec![fault]);
    tag(&world, "trial", 0..3).await;
    world
        .until("it is linked and told so", async || {
            let linked = world.sandbox.rich_menus(CHANNEL).unwrap().len() == 3;
            (linked && rows(&world, false).await == "0").then_some(())
        })
        .await;
    let requests = world.sandbox.requests(0, usize::MAX);
    let links = requests.iter().filter(|request| request.endpoint == Some(Endpoint::LinkRichMenu));
    assert_eq!(links.count(), 6);
    assert_eq!(rows(&world, true).await, "0");
}

/// The menu linked last is the one a friend has, however often the one before it fails.
#[tokio::test]
async fn a_menu_linked_later_never_gives_way_to_an_earlier_one() {
    let later = "richmenu-fedcba9876543210fedcba9876543210";
    let (first, second) = (format!("{{ rich_menu = \"{MENU}\" }}"), format!("{{ rich_menu = \"{later}\" }}"));
    let mut world = world(&[("trial", &[&first, &second])], 2).await;
    let down = Fault { endpoint: Endpoint::LinkRichMenu, ..Fault::always(FaultKind::ServerErrorAfter) };
    world.sandbox.set_faults(vec![down]);
    tag(&world, "trial", 0..2).await;
    world.until("both wait", async || (rows(&world, false).await == "2").then_some(())).await;
    // Also through a kill: what is retried first is what was decided first.
    world.restart().await;
    world.pass(Span::from_secs(30)).await;
    world.sandbox.set_faults(Vec::new());
    world.until("nothing waits", async || (rows(&world, false).await == "0").then_some(())).await;
    let menus = world.sandbox.rich_menus(CHANNEL).unwrap();
    assert!(menus.len() == 2 && menus.values().all(|menu| menu == later), "{menus:?}");
}

/// One that a system cannot take holds nobody else up; it comes again under the same id.
#[tokio::test]
async fn a_failed_request_steps_aside_and_comes_again() {
    let world = world(&[("trial", &[TELL])], 4).await;
    let mut bad = 0;
    world.systems.answer(move |heard| {
        let poisoned = heard.body["user"] == json!(user(1)) && bad < 4;
        bad += i32::from(poisoned);
        match (poisoned, bad) {
            (false, _) => Mood::Take,
            (true, 1) => Mood::Answer(500),
            (true, 2) => Mood::Hang,
            (true, 3) => Mood::LoseAnswer,
            (true, _) => Mood::Answer(302),
        }
    });
    tag(&world, "trial", 0..4).await;
    let heard = until_told(&world, 8).await;
    let who: Vec<String> = heard.iter().map(|one| step_of(one).0).collect();
    let expected = [0, 1, 2, 3, 1, 1, 1, 1].map(|n| user(n).to_string());
    assert_eq!(who, expected);
    let (first, again): (Vec<&Heard>, Vec<&Heard>) =
        heard.iter().filter(|one| one.body["user"] == json!(user(1))).partition(|one| one.at == heard[1].at);
    assert_eq!(first.len(), 1);
    assert!(again.iter().all(|one| one.id == first[0].id && one.body == first[0].body), "{heard:#?}");
}

/// A system that is away is asked now and then, by one request at a time, and holds up neither LINE nor the others.
#[tokio::test]
async fn a_system_that_is_away_holds_up_no_other() {
    let link = format!("{{ rich_menu = \"{MENU}\" }}");
    let both = format!(r#"[{{ webhook = "crm" }}, {{ webhook = "stock" }}, {link}]"#);
    let world = world(&[("trial", &[&both])], 40).await;
    world.systems.answer(|heard| if heard.system == "crm" { Mood::Hang } else { Mood::Take });
    tag(&world, "trial", 0..40).await;
    world
        .until("all but one are told", async || {
            let stock = world.systems.heard().iter().filter(|one| one.system == "stock").count();
            let linked = world.sandbox.rich_menus(CHANNEL).unwrap().len();
            (stock == 40 && linked == 40 && rows(&world, false).await == "40").then_some(())
        })
        .await;
    world.pass(Span::from_mins(6)).await;
    let asked: Vec<Heard> = world.systems.heard().into_iter().filter(|one| one.system == "crm").collect();
    assert!(asked.windows(2).all(|pair| pair[1].at - pair[0].at >= Span::from_secs(10)), "one at a time");
    let status = world.ask(Command::Status).await.unwrap();
    assert_eq!(status.exit, 3);
    let late = &status.json["outbox"][0];
    assert_eq!(
        (&late["lane"], &late["open"], &late["why"]["code"]),
        (&json!("webhook/crm"), &json!(40), &json!("timeout"))
    );
    assert!(status.text.contains("requests to `crm` wait: 40, the oldest since"), "{}", status.text);
    world.systems.answer(|_| Mood::Take);
    until_told(&world, 80).await;
    assert_eq!(world.status().await["outbox"], json!([]));
}

/// An answer that will never change ends it.
#[tokio::test]
async fn what_is_refused_for_good_is_given_up_at_once() {
    let mut world = world(&[("trial", &[TELL, TELL, r#"{ webhook = "stock" }"#])], 1).await;
    world.systems.answer(|heard| match heard.body["step"].as_str() {
        Some("step-0") => Mood::Answer(422),
        _ => Mood::Take,
    });
    tag(&world, "trial", [0]).await;
    until_told(&world, 3).await;
    let why = world.test.text("SELECT why || ' ' || CAST(attempts AS TEXT) FROM outbox").await;
    assert_eq!(why, r#"{"code":"answered","status":422,"message":""} 1"#);

    let fault = Fault { endpoint: Endpoint::LinkRichMenu, ..Fault::always(FaultKind::BadRequest) };
    world.sandbox.set_faults(vec![fault]);
    let link = drip("again", &[&format!("{{ rich_menu = \"{MENU}\" }}")]);
    world.apply(&[("drips/again", &link)]).await;
    tag(&world, "again", [0]).await;
    world.until("it is given up", async || (rows(&world, true).await == "2").then_some(())).await;
    let why = world.test.text("SELECT why FROM outbox WHERE lane = 'rich_menu'").await;
    assert_eq!(why, r#"{"code":"answered","status":400,"message":"Failed to send messages"}"#);
}

/// After a day of failing nobody waits any longer, for what was tried or for what stood behind it; the next day's
/// requests are tried anew.
#[tokio::test]
async fn after_a_day_of_failing_it_is_given_up() {
    let mut world = world(&[("trial", &[TELL])], 101).await;
    world.systems.answer(|_| Mood::Answer(503));
    tag(&world, "trial", 0..100).await;
    world.until("all wait", async || (rows(&world, false).await == "100").then_some(())).await;
    world.step = Span::from_mins(1);
    world.pass(Span::from_mins(23 * 60 + 50)).await;
    assert_eq!((rows(&world, false).await, rows(&world, true).await), ("100".into(), "0".into()));
    tag(&world, "trial", [100]).await;
    world
        .until("those of yesterday are over", async || (rows(&world, true).await == "100").then_some(()))
        .await;
    assert_eq!(rows(&world, false).await, "1", "not the one of today");
    let why = world.test.text("SELECT DISTINCT why FROM outbox WHERE why IS NOT NULL").await;
    assert_eq!(why, r#"{"code":"answered","status":503,"message":""}"#);
    world.systems.answer(|_| Mood::Take);
    let before = world.systems.heard().len();
    until_told(&world, before + 1).await;
}

/// A machine that was off for days gives nothing up because a request fails once.
#[tokio::test]
async fn what_waited_for_days_is_tried_in_earnest() {
    let mut world = world(&[("trial", &[TELL])], 2).await;
    world.systems.answer(|_| Mood::Answer(503));
    tag(&world, "trial", 0..2).await;
    world.until("both wait", async || (world.systems.heard().len() >= 2).then_some(())).await;
    world.kill(0).await;
    world.clock.advance(Span::from_hours(72));
    let mut left = 5;
    world.systems.answer(move |_| {
        left -= 1;
        if left >= 0 { Mood::Answer(503) } else { Mood::Take }
    });
    world.start(0).await.unwrap();
    until_told(&world, 4).await;
    assert_eq!(rows(&world, true).await, "0");
}

// ---- the brake, kills, lost commits ----------------------------------------------------------------------------

/// Whatever holds sends holds these, too: they have effects on others.
#[tokio::test]
async fn the_brake_holds_requests_and_lets_them_go() {
    let link = format!("{{ rich_menu = \"{MENU}\" }}");
    let world = world(&[("trial", &[&format!("[{TELL}, {link}]")])], 3).await;
    world.systems.answer(|_| Mood::Answer(503));
    let down = Fault { endpoint: Endpoint::LinkRichMenu, ..Fault::always(FaultKind::ServerErrorBefore) };
    world.sandbox.set_faults(vec![down]);
    tag(&world, "trial", 0..3).await;
    world.until("all wait", async || (rows(&world, false).await == "4").then_some(())).await;
    world.done(Command::Stop { reason: "wait".into() }).await;
    world.systems.answer(|_| Mood::Take);
    world.sandbox.set_faults(Vec::new());
    // What was under way when the brake was put on comes back.
    world.pass(Span::from_secs(15)).await;
    let before = (world.systems.heard().len(), world.sandbox.requests(0, usize::MAX).len());
    world.pass(Span::from_mins(10)).await;
    assert_eq!((world.systems.heard().len(), world.sandbox.requests(0, usize::MAX).len()), before);
    let due = world.ask(Command::Start { due: None }).await;
    assert!(due.is_ok(), "{due:?}");
    world.until("nothing waits", async || (rows(&world, false).await == "0").then_some(())).await;
    assert_eq!(world.sandbox.rich_menus(CHANNEL).unwrap().len(), 3);
}

/// A clock that is behind what was seen is not believed, by requests as by sends.
#[tokio::test]
async fn a_clock_that_is_behind_holds_requests() {
    let link = format!("{{ rich_menu = \"{MENU}\" }}");
    let world = world(&[("trial", &[&link])], 1).await;
    let down = Fault { endpoint: Endpoint::LinkRichMenu, ..Fault::always(FaultKind::ServerErrorBefore) };
    world.sandbox.set_faults(vec![down]);
    let made = || world.sandbox.requests(0, usize::MAX).len();
    tag(&world, "trial", [0]).await;
    world.until("it fails", async || (made() > 0).then_some(())).await;
    world.clock.jump(world.clock.now() - Span::from_mins(10));
    world.pass(Span::from_secs(15)).await;
    let before = made();
    world.pass(Span::from_mins(5)).await;
    assert_eq!(made(), before);
    world.sandbox.set_faults(Vec::new());
    world.until("the clock has caught up", async || (made() > before).then_some(())).await;
}

/// Killed at any write of a request's life, or deaf to what became of it: each request is made at least once, and what is
/// made again has the id it had.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn killed_anywhere_nothing_is_lost(#[case] database: Database) {
    let mut struck = Vec::new();
    for mishap in [Mishap::StuckBefore, Mishap::StuckAfter, Mishap::LostAfter] {
        for write in 2..=6 {
            let mut world = world_on(database, &[("trial", &[TELL])], 2).await;
            let mut first = true;
            world.systems.answer(move |_| match std::mem::take(&mut first) {
                true => Mood::Answer(500),
                false => Mood::Take,
            });
            tag(&world, "trial", 0..2).await;
            // The step is due in the minute after next.
            world.step = Span::from_secs(1);
            world.pass(Span::from_secs(118)).await;
            assert!(world.systems.heard().is_empty());
            world.step = Span::from_millis(250);
            let store = world.account(0).account.store.clone();
            store.strike(write, mishap);
            if mishap != Mishap::LostAfter {
                world.until("a write is stuck", async || store.holds().then_some(())).await;
                world.kill(0).await;
                store.release();
                world.start(0).await.unwrap();
            }
            let heard = until_told(&world, 3).await;
            struck.extend(store.struck());
            let mut ids: Vec<(String, &str)> =
                heard.iter().map(|one| (step_of(one).0, one.id.as_str())).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 2, "{mishap:?} at {write}: {heard:#?}");
            assert!(heard.len() <= 4, "{mishap:?} at {write}: {heard:#?}");
        }
    }
    let of = |what: &str| struck.iter().any(|(_, writes)| writes.contains(&what));
    assert!(of("enrollments") && of("drop outbox"), "{struck:?}");
    let failed = |(_, writes): &(Mishap, Vec<&str>)| *writes == ["outbox"];
    assert!(struck.iter().any(failed), "{struck:?}");
}

/// A request under way when the engine reads everything anew is made again, and never beside the first.
#[tokio::test]
async fn a_reload_makes_a_request_again_once_it_is_back() {
    let world = world(&[("trial", &[TELL])], 1).await;
    let mut first = true;
    world.systems.answer(move |_| if std::mem::take(&mut first) { Mood::Hang } else { Mood::Take });
    tag(&world, "trial", [0]).await;
    world.until("it is under way", async || (!world.systems.heard().is_empty()).then_some(())).await;
    let store = world.account(0).account.store.clone();
    store.strike(1, Mishap::LostBefore);
    let heard = until_told(&world, 2).await;
    assert_eq!(heard.len(), 2);
    assert!(heard[1].at - heard[0].at >= Span::from_secs(10), "{heard:#?}");
    assert_eq!(store.struck().len(), 1);
}
