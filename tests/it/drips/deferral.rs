//! Campaigns and steps that a cap keeps waiting: whom a child occurrence takes up, whom a newer occurrence, whose time
//! runs out. Each occurrence's books say it.

use haishin::clock::Clock as _;
use haishin::domain::delivery::Exclusion;
use haishin::domain::id::OccurrenceId;
use haishin::domain::reason::Reason;
use haishin::domain::time::Span;
use haishin::engine::LEASE;
use haishin::protocol::{Command, DueChoice};
use haishin::store::{Claim, DeferralRow, Halt, Priority, Write};

use super::{at, says, tag_added, tag_removed};
use crate::support::ledger::{Entry, Ledger};
use crate::support::world::{World, slug};

/// A cap of one a day, and nothing else.
fn settings() -> String {
    let off = ["weekly", "advertising_weekly", "advertising_monthly"]
        .map(|cap| format!("[caps.{cap}]\nmax = \"off\"\n"));
    format!("{}{}", super::AT_ONCE, off.concat())
}

/// A campaign to holders of a tag.
fn campaign(tag: &str, schedule: &str, rest: &str) -> String {
    let text = says(tag);
    format!(
        "title = \"t\"\naudience = {{ tag = \"{tag}\" }}\nreach = \"everyone\"\nschedule = {schedule}\n{rest}\n{text}\n"
    )
}

async fn ledger(world: &World) -> Ledger {
    Ledger::read(world.test.store.as_ref(), world.row(0).await).await
}

async fn deferral(world: &World, one: &Entry) -> DeferralRow {
    world
        .test
        .store
        .deferral(world.row(0).await, one.row.id)
        .await
        .unwrap()
        .expect("somebody was deferred there")
}

/// Who of an occurrence was deferred, by whatever cap.
fn deferred(one: &Entry) -> Vec<u32> {
    let deferred = one.exclusions.iter().filter(|(why, _)| matches!(why, Exclusion::Deferred { .. }));
    deferred.flat_map(|(_, friends)| friends.iter().collect::<Vec<_>>()).collect()
}

fn all(set: &roaring::RoaringBitmap) -> Vec<u32> {
    set.iter().collect()
}

/// Friends 0 and 1 have had the news at nine; 1, 2 and 3 are to get the offer at ten.
async fn world(offer: &str) -> World {
    let news = campaign("news", "{ at = \"2026-12-04 09:00\" }", "priority = 60");
    let files = [("news", news.as_str()), ("offer", offer)];
    let world = World::with_files("2026-12-04T08:30:00+09:00", &settings(), &files, 5).await;
    world.clock.advance(Span::from_millis(1));
    let now = world.clock.now();
    let news = [0, 1].map(|n| (n, tag_added("news")));
    let offer = [1, 2, 3].map(|n| (n, tag_added("offer")));
    world.tell("api", now, &[news.to_vec(), offer.to_vec()].concat()).await;
    world.settle().await;
    world.go_to(at("2026-12-04T09:00:00+09:00")).await;
    world.go_to(at("2026-12-04T10:00:00+09:00")).await;
    world
}

fn times(world: &World, n: u32, text: &str) -> Vec<String> {
    let got = world.texts(n).into_iter().filter(|(_, got)| got == text);
    got.map(|(at, _)| at.rfc3339(haishin::domain::time::Tz::Asia__Tokyo)).collect()
}

#[tokio::test]
async fn a_campaign_takes_up_those_it_deferred_when_there_is_room() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"2d\" }");
    let world = world(&offer).await;
    // The day ends at midnight; looked at every hour.
    for hour in 11..=26 {
        world.live_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    assert_eq!(times(&world, 2, "offer"), ["2026-12-04T10:00:00+09:00"]);
    assert_eq!(times(&world, 1, "offer"), ["2026-12-05T00:00:00+09:00"]);
    let ledger = ledger(&world).await;
    let [parent, child] = &ledger.of("offer").collect::<Vec<_>>()[..] else { panic!("one and its child") };
    assert_eq!((parent.row.parent, parent.row.child, parent.row.matched), (None, 0, 3));
    assert_eq!((deferred(parent), all(&parent.recipients())), (vec![1], vec![2, 3]));
    let of = (child.row.parent, child.row.child, child.row.due_at);
    assert_eq!(of, (Some(parent.row.id), 1, parent.row.due_at));
    assert_eq!((child.row.matched, all(&child.recipients())), (1, vec![1]), "books of its own");
    assert_eq!(child.row.detail["matched"], 1, "{}", child.row.detail);
    assert_eq!(child.row.detail["exclusions"], serde_json::json!([]));
    let row = deferral(&world, parent).await;
    assert_eq!(
        (row.children, row.waiting.len() + row.left.len() + row.lapsed.len() + row.replaced.len()),
        (1, 0)
    );
    let counts = world.counts(parent.row.id.0).await;
    assert_eq!(counts["accepted"], 2, "{counts}");
    world.counts(child.row.id.0).await;
}

#[tokio::test]
async fn who_left_while_waiting_is_not_taken_up() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"2d\" }");
    let world = world(&offer).await;
    world.clock.advance(Span::from_millis(1));
    world.hear(1, tag_removed("offer")).await;
    for hour in 11..=26 {
        world.go_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    assert_eq!(times(&world, 1, "offer"), [""; 0]);
    let ledger = ledger(&world).await;
    let [parent] = &ledger.of("offer").collect::<Vec<_>>()[..] else { panic!("no child") };
    let row = deferral(&world, parent).await;
    assert_eq!((all(&row.left), all(&row.waiting)), (vec![1], vec![]));
}

#[tokio::test]
async fn at_its_limit_a_wait_is_over() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"210min\" }");
    let world = world(&offer).await;
    for minutes in [60, 120, 180] {
        world.live_to(at("2026-12-04T10:00:00+09:00") + Span::from_mins(minutes)).await;
        let ledger = ledger(&world).await;
        let row = deferral(&world, ledger.of("offer").next().unwrap()).await;
        assert_eq!((all(&row.waiting), row.looked_at), (vec![1], world.clock.now()));
        world.live_to(world.clock.now() + Span::from_mins(25)).await;
        let again = deferral(&world, ledger.of("offer").next().unwrap()).await;
        assert_eq!(again.looked_at, row.looked_at, "once an hour");
    }
    world.live_to(at("2026-12-04T13:30:00+09:00")).await;
    let ledger = ledger(&world).await;
    let [parent] = &ledger.of("offer").collect::<Vec<_>>()[..] else { panic!("no child") };
    let row = deferral(&world, parent).await;
    assert_eq!((all(&row.lapsed), all(&row.waiting), row.children), (vec![1], vec![], 0));
    world.go_to(at("2026-12-06T12:00:00+09:00")).await;
    assert_eq!(times(&world, 1, "offer"), [""; 0]);
}

/// Nobody gets after its deadline what they wait for.
#[tokio::test]
async fn a_wait_ends_with_the_deadline_if_that_is_before_its_limit() {
    let schedule = "{ at = \"2026-12-04 10:00\", deadline = \"2026-12-04 12:30\" }";
    let offer = campaign("offer", schedule, "when_capped = { defer = \"2d\" }");
    let world = world(&offer).await;
    let parent = ledger(&world).await;
    let parent = parent.of("offer").next().unwrap();
    assert_eq!(deferral(&world, parent).await.until, at("2026-12-04T12:30:00+09:00"));
    world.live_to(at("2026-12-04T12:30:00+09:00")).await;
    let row = deferral(&world, parent).await;
    assert_eq!((all(&row.lapsed), all(&row.waiting), row.children), (vec![1], vec![], 0));
    world.live_to(at("2026-12-05T00:00:00+09:00")).await;
    assert_eq!(times(&world, 1, "offer"), [""; 0]);
}

/// Two wait, and in the same moment there is room for one of them only: a more important campaign takes the other's.
#[tokio::test]
async fn the_books_of_a_child_are_of_those_it_takes_up() {
    let news = campaign("news", "{ at = \"2026-12-04 09:00\" }", "priority = 60");
    let early = campaign("early", "{ at = \"2026-12-05 00:00\" }", "priority = 60");
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"3d\" }");
    let files = [("news", news.as_str()), ("early", early.as_str()), ("offer", offer.as_str())];
    let world = World::with_files("2026-12-04T08:30:00+09:00", &settings(), &files, 5).await;
    world.clock.advance(Span::from_millis(1));
    let tags = [(0, "news"), (1, "news"), (1, "early"), (0, "offer"), (1, "offer"), (2, "offer")];
    world.tell("api", world.clock.now(), &tags.map(|(n, tag)| (n, tag_added(tag)))).await;
    world.settle().await;
    for hour in 9..=48 {
        world.live_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    assert_eq!(times(&world, 0, "offer"), ["2026-12-05T00:00:00+09:00"]);
    assert_eq!(times(&world, 1, "offer"), ["2026-12-06T00:00:00+09:00"]);
    let ledger = ledger(&world).await;
    let [parent, first, second] = &ledger.of("offer").collect::<Vec<_>>()[..] else { panic!("two children") };
    assert_eq!(deferred(parent), vec![0, 1]);
    for (child, friend) in [(first, 0), (second, 1)] {
        assert_eq!((child.row.matched, all(&child.recipients()), deferred(child)), (1, vec![friend], vec![]));
        assert_eq!(child.row.detail["exclusions"], serde_json::json!([]));
    }
}

/// Paused until long after the limit: nothing of it is sent without a word.
#[tokio::test]
async fn a_last_look_that_comes_too_late_only_lets_go() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"1d\" }");
    for (late, expected) in [(Span::from_hours(2), 1), (Span::from_mins(121), 0)] {
        let world = world(&offer).await;
        world.done(Command::CampaignPause { campaign: slug("offer") }).await;
        world.go_to(at("2026-12-05T10:00:00+09:00") + late).await;
        world.done(Command::CampaignResume { campaign: slug("offer") }).await;
        world.settle().await;
        assert_eq!(times(&world, 1, "offer").len(), expected, "{late:?}");
        let ledger = ledger(&world).await;
        let row = deferral(&world, ledger.of("offer").next().unwrap()).await;
        assert_eq!((row.lapsed.len() as usize, row.waiting.len()), (1 - expected, 0));
    }
}

#[tokio::test]
async fn a_newer_occurrence_replaces_those_who_wait() {
    let schedule = "{ every = \"day\", at = [\"10:00\", \"10:30\"] }";
    let offer = campaign("offer", schedule, "when_capped = { defer = \"3d\" }");
    let world = world(&offer).await;
    world.go_to(at("2026-12-04T10:30:00+09:00")).await;
    let ledger = ledger(&world).await;
    let [first, second] = &ledger.of("offer").collect::<Vec<_>>()[..] else { panic!("two") };
    assert_eq!((deferred(first), deferred(second)), (vec![1], vec![1, 2, 3]));
    let (first, second) = (deferral(&world, first).await, deferral(&world, second).await);
    assert_eq!((all(&first.replaced), all(&first.waiting)), (vec![1], vec![]));
    assert_eq!((all(&second.replaced), all(&second.waiting)), (vec![], vec![1, 2, 3]));
}

#[tokio::test]
async fn cancelling_a_campaign_ends_waiting() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"2d\" }");
    let mut world = world(&offer).await;
    let answer = world.done(Command::CampaignCancel { campaign: slug("offer") }).await;
    assert_eq!(answer["released"], 1, "{answer}");
    world.restart().await;
    for hour in 11..=26 {
        world.go_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    assert_eq!(times(&world, 1, "offer"), [""; 0]);
    let id = ledger(&world).await.of("offer").next().unwrap().row.id;
    let row = world.test.store.deferral(world.row(0).await, id).await.unwrap().unwrap();
    assert_eq!((all(&row.left), all(&row.waiting)), (vec![1], vec![]));
}

/// A way that waited goes on, in the version it has gone over to meanwhile, and what fell due counts from there.
#[tokio::test]
async fn a_way_goes_on_behind_its_wait_in_its_own_version() {
    let drip = |wait: &str, text: &str| {
        format!(
            "title = \"t\"\ncategory = \"followup\"\nstart = {{ tag_added = \"offer\" }}\nmigrate = true\n\
             [[step]]\nname = \"first\"\nafter = \"30min\"\n{}\n[[step]]\nname = \"second\"\nafter = \"{wait}\"\n{}\n",
            says("first"),
            says(text)
        )
    };
    let news = campaign("news", "{ at = \"2026-12-04 09:00\" }", "priority = 60");
    let (old, new) = (drip("10h", "old"), drip("26h", "new"));
    let files = [("news", news.as_str()), ("drips/d.toml", old.as_str())];
    let mut world = World::with_files("2026-12-04T08:30:00+09:00", &settings(), &files, 2).await;
    world.clock.advance(Span::from_millis(1));
    world.hear(0, tag_added("news")).await;
    world.go_to(at("2026-12-04T09:00:00+09:00")).await;
    world.hear(0, tag_added("offer")).await;
    world.go_to(at("2026-12-04T09:30:00+09:00")).await;
    world.go_to(at("2026-12-04T10:00:00+09:00")).await;
    let files = [("news", news.as_str()), ("drips/d.toml", new.as_str())];
    world.apply(&files).await;
    for hour in 11..=72 {
        world.go_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    // The first when the day is over, the second 26 hours after the start, and not 10.
    assert_eq!(times(&world, 0, "first"), ["2026-12-05T00:00:00+09:00"]);
    assert_eq!(times(&world, 0, "old"), [""; 0]);
    // Another day's room: the first took that of the day on which it is due.
    assert_eq!(times(&world, 0, "new"), ["2026-12-06T00:00:00+09:00"]);
}

#[tokio::test]
async fn a_sample_is_drawn_of_those_who_could_receive() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "sample = 1");
    let world = world(&offer).await;
    let shown = world.occurrence(2).await.unwrap();
    let id = OccurrenceId(shown["occurrence"].as_i64().unwrap());
    let ledger = ledger(&world).await;
    let [one] = &ledger.of("offer").collect::<Vec<_>>()[..] else { panic!("one") };
    assert_eq!((one.row.id, one.row.matched, one.recipients().len()), (id, 3, 1));
    let capped: u64 = one
        .exclusions
        .iter()
        .filter(|(why, _)| matches!(why, Exclusion::Capped { .. }))
        .map(|(_, set)| set.len())
        .sum();
    assert_eq!((capped, one.excluded(&Exclusion::NotSampled).len()), (1, 1));
}

/// The account stands still because its database is older than what it did.
async fn goes_back(world: &mut World) {
    world.kill(0).await;
    let (store, account, now) = (world.test.store.clone(), world.row(0).await, world.clock.now());
    let Claim::Granted { mut fence, .. } = store.claim(account, "world", now, LEASE).await.unwrap() else {
        panic!("nobody else holds it");
    };
    let halt = Halt { at: now, by: "guard".into(), reason: Reason::DatabaseWentBack };
    store.commit(&mut fence, now, Priority::Freeze, vec![Write::Stopped(Some(halt))]).await.unwrap();
    world.clock.advance(LEASE);
    world.start(0).await.unwrap();
}

/// They may have had it after the instant to which the database went back.
#[tokio::test]
async fn whoever_waits_in_a_database_that_went_back_is_told_and_can_be_left_out() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"2d\" }");
    let mut world = world(&offer).await;
    goes_back(&mut world).await;
    let listed = world.ask(Command::Start { due: None }).await.unwrap();
    assert_eq!(listed.exit, 3);
    assert_eq!(
        listed.json["fell_due"],
        serde_json::json!([{ "campaign": "offer", "waiting_until": "2026-12-06T01:00:00.000Z", "friends": 1 }])
    );
    assert_eq!(
        listed.text.lines().nth(1).unwrap(),
        "  until 2026-12-06T10:00:00+09:00  offer  wait for room under a cap, and may have had it already: 1"
    );
    world.done(Command::Start { due: Some(DueChoice::Skip) }).await;
    for hour in 11..=26 {
        world.live_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    assert_eq!(times(&world, 1, "offer"), [] as [&str; 0]);
    let books = ledger(&world).await;
    let row = deferral(&world, books.of("offer").next().unwrap()).await;
    assert_eq!((all(&row.waiting), all(&row.left)), (vec![], vec![1]));
}

/// By a person who knows that it did not go out they wait on; and an account that was only stopped asks about nobody.
#[tokio::test]
async fn whoever_waits_waits_on_unless_a_person_leaves_them_out() {
    for went_back in [true, false] {
        let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"2d\" }");
        let mut world = world(&offer).await;
        if went_back {
            goes_back(&mut world).await;
            world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
        } else {
            world.done(Command::Stop { reason: "a doubt".into() }).await;
            let started = world.done(Command::Start { due: None }).await;
            assert_eq!(started, serde_json::json!({ "fell_due": [], "started": true }));
        }
        for hour in 11..=26 {
            world.live_to(at("2026-12-04T00:00:00+09:00") + Span::from_hours(hour)).await;
        }
        assert_eq!(times(&world, 1, "offer"), ["2026-12-05T00:00:00+09:00"], "{went_back}");
    }
}

/// What fell due, and what of it went out, cannot be told by a clock that is not believed.
#[tokio::test]
async fn a_database_that_went_back_is_not_started_by_a_clock_that_is_behind() {
    let offer = campaign("offer", "{ at = \"2026-12-04 10:00\" }", "when_capped = { defer = \"2d\" }");
    let mut world = world(&offer).await;
    goes_back(&mut world).await;
    let right = world.clock.now();
    world.clock.jump(right - Span::from_hours(6));
    for due in [None, Some(DueChoice::Skip), Some(DueChoice::Judge)] {
        let refused = world.ask(Command::Start { due }).await.unwrap_err();
        assert!(refused.code == "conflict" && refused.message.contains("put the clock right"), "{refused:?}");
        assert_ne!(world.status().await["stopped"], serde_json::Value::Null);
    }
    world.clock.jump(right);
    world.done(Command::Start { due: Some(DueChoice::Skip) }).await;
}
