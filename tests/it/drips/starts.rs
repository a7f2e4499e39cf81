//! Who starts, beside what the random histories draw: birthdays, bookings as instants, things told together, follows,
//! those who were there before, and more friends than one slice takes.

use chrono::NaiveDate;
use haishin::clock::Clock as _;
use haishin::domain::attribute::Value;
use haishin::domain::drip::Ending;
use haishin::domain::effect::Effect;
use haishin::domain::friend::Status;
use haishin::domain::time::Span;
use haishin::store::NewInbox;
use rstest::rstest;

use super::{AT_ONCE, at, event, says, tag_added, tag_removed};
use crate::support::world::World;

const ATTRIBUTES: &str = "birthday = \"date\"\nbooking_at = \"instant\"\n";

/// A drip of one step that is due at once.
fn at_once(head: &str) -> String {
    format!("title = \"t\"\ncategory = \"service\"\n{head}\n[[step]]\nname = \"hello\"\n{}\n", says("hello"))
}

async fn world(now: &str, drip: &str, friends: u32) -> World {
    let files = [("attributes.toml", ATTRIBUTES), ("drips/d.toml", drip)];
    let world = World::with_files(now, AT_ONCE, &files, friends).await;
    world.clock.advance(Span::from_millis(1));
    world
}

fn set(name: &str, value: Value) -> Effect {
    Effect::Attribute { name: name.parse().unwrap(), value: Some(value) }
}

fn greeted(world: &World, n: u32) -> Vec<String> {
    let zone = haishin::domain::time::Tz::Asia__Tokyo;
    world.texts(n).into_iter().map(|(at, _)| at.rfc3339(zone)).collect()
}

#[tokio::test]
async fn birthdays_come_every_year_and_a_29_february_is_1_march_in_common_years() {
    let drip = at_once("start = { date = \"birthday\", every = \"year\", at = \"10:00\" }\nagain = \"300d\"");
    let world = world("2027-02-20T12:00:00+09:00", &drip, 3).await;
    let days = [(1992, 2, 29), (1990, 3, 1), (2000, 2, 28)];
    for (n, (year, month, day)) in (0..).zip(days) {
        let day = NaiveDate::from_ymd_opt(year, month, day).unwrap();
        world.hear(n, set("birthday", Value::Date(day))).await;
    }
    // The days around the end of February in a common and in a leap year; between them the machine sleeps for months.
    for (year, last) in [(2027, 28), (2028, 29)] {
        for day in 26..=last {
            world.go_to(at(&format!("{year}-02-{day}T10:00:00+09:00"))).await;
        }
        for day in 1..=3 {
            world.go_to(at(&format!("{year}-03-0{day}T10:00:00+09:00"))).await;
        }
    }
    let of = |n| greeted(&world, n).iter().map(|at| at[..10].to_owned()).collect::<Vec<_>>();
    assert_eq!(of(0), ["2027-03-01", "2028-02-29"]);
    assert_eq!(of(1), ["2027-03-01", "2028-03-01"]);
    assert_eq!(of(2), ["2027-02-28", "2028-02-28"]);
}

#[tokio::test]
async fn a_booking_reminds_a_week_before_at_its_time_as_it_stands_then() {
    let drip = at_once("start = { date = \"booking_at\", before = \"7d\", at = \"18:00\" }\nagain = \"1d\"");
    let world = world("2026-12-01T12:00:00+09:00", &drip, 3).await;
    let booked = |when: &str| set("booking_at", Value::Instant(at(when)));
    // Half past midnight is of that local day; one is moved; one comes too late.
    world.hear(0, booked("2026-12-15T00:30:00+09:00")).await;
    world.hear(1, booked("2026-12-12T23:30:00+09:00")).await;
    world.hear(2, booked("2026-12-05T10:00:00+09:00")).await;
    world.go_to(at("2026-12-04T12:00:00+09:00")).await;
    world.hear(1, booked("2026-12-14T09:00:00+09:00")).await;
    for day in 4..=12 {
        world.live_to(at(&format!("2026-12-{day:02}T18:00:00+09:00"))).await;
    }
    assert_eq!(greeted(&world, 0), ["2026-12-08T18:00:00+09:00"]);
    assert_eq!(greeted(&world, 1), ["2026-12-07T18:00:00+09:00"]);
    assert_eq!(greeted(&world, 2), [""; 0]);
}

/// What is told together is heard in its order: a start and what ends it in one body of a webhook, three visits at once.
#[rstest]
#[case::ended_by_the_next("start = { event = \"cart\" }\ngoal = { event = \"buy\" }", &["cart", "buy"], &[Ending::Reached])]
#[case::ended_and_begun_anew("start = { event = \"cart\" }\nstop_on = { event = \"buy\" }\nagain = \"1min\"", &["cart", "buy", "cart"], &[Ending::Stopped])]
#[case::what_ends_before_it_starts_ends_nothing("start = { event = \"cart\" }\ngoal = { event = \"buy\" }", &["buy", "cart"], &[Ending::Finished])]
#[case::the_third_of_three("start = { event = \"cart\", count = 3 }", &["cart", "cart", "cart"], &[Ending::Finished])]
#[case::two_are_no_three("start = { event = \"cart\", count = 3 }", &["cart", "cart"], &[])]
#[case::four_are_once_three("start = { event = \"cart\", count = 3 }", &["cart", "cart", "cart", "cart"], &[Ending::Finished])]
#[case::who_may_not_start_did_not_reach("start = { event = \"cart\" }\naudience = { tag = \"vip\" }\ngoal = { event = \"buy\" }", &["cart", "buy"], &[])]
#[case::one_thing_ends_a_way_first("start = { event = \"cart\" }\nstop_on = { event = \"cart\" }\nagain = \"1min\"", &["cart"], &[Ending::Finished])]
#[tokio::test]
async fn what_is_told_together_is_heard_in_its_order(
    #[case] drip: &str,
    #[case] events: &[&str],
    #[case] expected: &[Ending],
) {
    let mut world = world("2026-12-04T12:00:00+09:00", &at_once(drip), 1).await;
    world.clock.advance(Span::from_secs(events.len() as i64));
    let now = world.clock.now();
    let intakes = events.iter().zip(1..).map(|(name, n)| haishin::domain::effect::Intake {
        friend: crate::support::world::user(0).into(),
        at: now - Span::from_secs(events.len() as i64 - n),
        effect: event(name),
        dedupe: None,
    });
    let row = NewInbox {
        account: world.row(0).await,
        received_at: now,
        source: NewInbox::WEBHOOK.into(),
        intakes: intakes.collect(),
    };
    world.test.store.append_inbox(vec![row]).await.unwrap();
    world.settle().await;
    world.go_to(at("2026-12-04T12:02:00+09:00")).await;
    let endings =
        |endings: Vec<(String, Ending)>| endings.into_iter().map(|(_, how)| how).collect::<Vec<_>>();
    assert_eq!(endings(world.endings(0).await), expected);
    // A restart knows no other truth.
    world.restart().await;
    world.settle().await;
    assert_eq!(endings(world.endings(0).await), expected);
}

/// One thing ends the way a friend is on, and begins the next.
#[tokio::test]
async fn what_ends_a_way_may_begin_the_next() {
    let drip = at_once("start = { event = \"cart\" }\nstop_on = { event = \"cart\" }\nagain = \"1min\"")
        .replace("name = \"hello\"", "name = \"hello\"\nafter = \"3h\"");
    let world = world("2026-12-04T12:00:00+09:00", &drip, 1).await;
    world.hear(0, event("cart")).await;
    world.go_to(at("2026-12-04T13:00:30+09:00")).await;
    world.hear(0, event("cart")).await;
    world.go_to(at("2026-12-04T15:30:00+09:00")).await;
    assert_eq!(greeted(&world, 0), [""; 0], "the first way was stopped");
    world.go_to(at("2026-12-04T16:01:00+09:00")).await;
    assert_eq!(greeted(&world, 0), ["2026-12-04T16:01:00+09:00"]);
    let endings: Vec<Ending> = world.endings(0).await.into_iter().map(|(_, how)| how).collect();
    assert_eq!(endings, [Ending::Stopped, Ending::Finished]);
}

/// An import of friends is nobody's follow; LINE's word of one somebody spoke of before is.
#[tokio::test]
async fn a_follow_is_what_line_tells() {
    let world =
        world("2026-12-04T12:00:00+09:00", &at_once("start = { followed = true }\nagain = \"1h\""), 1).await;
    let follows = |at| Effect::Status { status: Status::Following, followed_at: Some(at) };
    let blocks = Effect::Status { status: Status::Blocked, followed_at: None };
    let now = world.clock.now();
    world.tell("api", now, &[(7, tag_added("spoken of"))]).await;
    world.tell(NewInbox::IMPORT, now, &[(8, follows(now))]).await;
    world.settle().await;
    assert_eq!((world.ways(1).await.len(), world.ways(2).await.len()), (0, 0));
    world.clock.advance(Span::from_mins(1));
    let now = world.clock.now();
    world.tell(NewInbox::WEBHOOK, now, &[(7, follows(now)), (9, follows(now))]).await;
    // The same once more, and one that has long been overtaken.
    world.tell(NewInbox::WEBHOOK, now, &[(7, follows(now))]).await;
    world.tell(NewInbox::WEBHOOK, now - Span::from_days(1), &[(8, follows(now - Span::from_days(1)))]).await;
    world.settle().await;
    assert_eq!((world.ways(1).await.len(), world.ways(2).await.len(), world.ways(3).await.len()), (1, 0, 1));
    world.go_to(at("2026-12-05T12:00:00+09:00")).await;
    world.hear(7, blocks).await;
    world.clock.advance(Span::from_secs(1));
    let now = world.clock.now();
    world.hear(7, follows(now)).await;
    assert_eq!(world.ways(1).await.len(), 2);
}

/// A drip that goes live starts those who qualify, once; what was told late of the time before starts nobody twice.
#[tokio::test]
async fn those_who_qualify_start_when_a_drip_goes_live_and_never_again() {
    let drip = |existing: &str| {
        at_once(&format!("start = {{ tag_added = \"member\", existing = \"{existing}\" }}\nagain = \"1min\""))
    };
    let mut world = World::with_files("2026-12-04T12:00:00+09:00", AT_ONCE, &[], 3).await;
    let before = world.clock.now() + Span::from_millis(1);
    world.clock.advance(Span::from_mins(1));
    world.tell("api", before, &[(0, tag_added("member"))]).await;
    world.settle().await;
    let (ignore, enroll) = (drip("ignore"), drip("enroll"));
    world.apply(&[("drips/a.toml", &ignore), ("drips/b.toml", &enroll)]).await;
    world.go_to(world.clock.now() + Span::from_mins(2)).await;
    let started = async |world: &World, n| {
        world.ways(n).await.into_iter().map(|way| way.drip.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(started(&world, 0).await, ["b"]);
    assert_eq!(world.texts(0).len(), 1);
    // Told only now, of the time before.
    world
        .tell(
            "api",
            before,
            &[(1, tag_added("member")), (0, tag_removed("member")), (0, tag_added("member"))],
        )
        .await;
    world.settle().await;
    world.go_to(world.clock.now() + Span::from_mins(2)).await;
    assert_eq!(
        (started(&world, 0).await, started(&world, 1).await),
        (vec!["b".to_owned()], vec!["b".to_owned()])
    );
    // A change of a running drip enrolls nobody; taken out and put back, it goes live again.
    let changed = enroll.replace("text = \"hello\"", "text = \"good day\"");
    world.apply(&[("drips/b.toml", &changed)]).await;
    world.settle().await;
    assert_eq!(started(&world, 0).await, ["b"]);
    world.apply(&[]).await;
    world.clock.advance(Span::from_mins(1));
    world.apply(&[("drips/b.toml", &enroll)]).await;
    world.settle().await;
    assert_eq!(started(&world, 0).await, ["b", "b"]);
    assert_eq!(started(&world, 2).await, [""; 0]);
}

/// Actions are done for two thousand friends in one transaction, for the others in the next.
#[tokio::test]
async fn actions_for_more_friends_than_one_slice_are_each_done_once() {
    const FRIENDS: u32 = 4_500;
    let drip = "title = \"t\"\nstart = { tag_added = \"in\" }\n[[step]]\nname = \"mark\"\nafter = \"1h\"\n\
                action = [{ tag = \"marked\", for = \"1h\" }, { untag = \"in\" }]\n";
    let out = "title = \"t\"\nstart = { tag_removed = \"marked\" }\n[[step]]\nname = \"out\"\naction = { tag = \"out\" }\n";
    let files = [("drips/d.toml", drip), ("drips/out.toml", out)];
    let world = World::with_files("2026-12-04T12:00:00+09:00", AT_ONCE, &files, FRIENDS).await;
    world.clock.advance(Span::from_millis(1));
    let everybody: Vec<_> = (0..FRIENDS).map(|n| (n, tag_added("in"))).collect();
    world.tell("api", world.clock.now(), &everybody).await;
    world.settle().await;
    let (store, account) = (world.test.store.clone(), world.row(0).await);
    let journal = async || store.account(account).await.unwrap().unwrap().journal_seq.0;
    let before = journal().await;
    world.go_to(at("2026-12-04T13:01:00+09:00")).await;
    assert_eq!(journal().await - before, 2 * i64::from(FRIENDS), "two effects each");
    // The tags fall off, a thousand at a time, and start everybody in the other drip.
    for minutes in 0..4 {
        world.go_to(at("2026-12-04T14:01:00+09:00") + Span::from_mins(minutes)).await;
        world.go_to(at("2026-12-04T14:01:30+09:00") + Span::from_mins(minutes)).await;
    }
    assert_eq!(journal().await - before, 4 * i64::from(FRIENDS), "removed and tagged");
    let endings = store.enrollment_endings(account).await.unwrap();
    let endings: Vec<_> =
        endings.into_iter().map(|(drip, how, ways)| (drip.to_string(), how, ways)).collect();
    let finished = |drip: &str| (drip.to_owned(), Ending::Finished, u64::from(FRIENDS));
    assert_eq!(endings, [finished("d"), finished("out")]);
}

/// Given anew while its time runs, a tag stays.
#[tokio::test]
async fn a_timed_tag_that_is_given_anew_stays() {
    let drip = "title = \"t\"\nstart = { event = \"cart\" }\n[[step]]\nname = \"mark\"\naction = { tag = \"hot\", for = \"2h\" }\n";
    let world = world("2026-12-04T12:00:00+09:00", drip, 3).await;
    for n in 0..3 {
        world.hear(n, event("cart")).await;
    }
    world.go_to(at("2026-12-04T12:01:00+09:00")).await;
    world.go_to(at("2026-12-04T13:00:00+09:00")).await;
    world.hear(1, tag_added("hot")).await;
    world.hear(2, tag_removed("hot")).await;
    world.clock.advance(Span::from_secs(1));
    world.hear(2, tag_added("hot")).await;
    world.go_to(at("2026-12-04T14:00:59+09:00")).await;
    let holders = async || {
        let rows = world.test.store.friends(world.row(0).await, None, 10).await.unwrap();
        rows.iter().filter(|row| !row.tags.is_empty()).map(|row| row.friend.0).collect::<Vec<_>>()
    };
    assert_eq!(holders().await, [0, 1, 2]);
    world.go_to(at("2026-12-04T14:01:00+09:00")).await;
    assert_eq!(holders().await, [1, 2]);
    world.go_to(at("2026-12-05T14:01:00+09:00")).await;
    assert_eq!(holders().await, [1, 2]);
    assert_eq!(world.test.store.first_tag_expiry(world.row(0).await).await.unwrap(), None);
}

/// Days on which a step is not due are left out.
#[rstest]
#[case::a_holiday("except = \"jp-holidays\"", "2026-12-31T12:00:00+09:00", "2027-01-02T10:00:00+09:00")]
#[case::a_range(
    "except = [\"2027-01-01..2027-01-03\", \"mon\"]",
    "2026-12-31T12:00:00+09:00",
    "2027-01-05T10:00:00+09:00"
)]
#[tokio::test]
async fn days_that_are_left_out_move_a_step(#[case] except: &str, #[case] now: &str, #[case] due: &str) {
    let step = format!("name = \"hello\"\nday = 1\nat = \"10:00\"\n{except}");
    let drip = at_once("start = { event = \"cart\" }").replace("name = \"hello\"", &step);
    let world = world(now, &drip, 1).await;
    world.hear(0, event("cart")).await;
    for days in 1..8 {
        world.go_to(at("2026-12-31T10:00:00+09:00") + Span::from_days(days)).await;
    }
    assert_eq!(greeted(&world, 0), [due]);
}
