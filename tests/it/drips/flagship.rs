//! A tag is given, and the coupon comes at the first 10:00 from 24 hours later on, exactly once: killed at any write,
//! over changed clocks, clocks that jump, and files that are edited meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use haishin::clock::Clock as _;
use haishin::domain::delivery::Outcome;
use haishin::domain::drip::{Ending, Standing};
use haishin::domain::id::FriendId;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::{Command, DueChoice};
use rstest::rstest;

use super::{at, event, says, tag_added, tag_removed};
use crate::support::faulty::Mishap;
use crate::support::ledger::Ledger;
use crate::support::store::Database;
use crate::support::world::{Setup, World};

/// Worlds that live at the same time: most of what they do is waiting.
const WORLDS: usize = 4;
/// No world writes so often before everything has ended.
const MOST_WRITES: u64 = 200;
/// Most of them get the coupon; one buys before, one buys in another way, one has had a letter on that day.
const FRIENDS: u32 = 5;
const STOPPED: u32 = 2;
const REACHED: u32 = 3;
const CAPPED: u32 = 4;

const SETTINGS: &str = super::AT_ONCE;
const GIVEN: &str = "2026-12-04T09:30:00.020+09:00";

/// The coupon with a tag behind it that falls off, a drip that starts when it does, and a campaign that takes the room.
fn files() -> Vec<(String, String)> {
    let coupon = format!(
        "title = \"体験後クーポン\"\ncategory = \"followup\"\nstart = {{ tag_added = \"体験\" }}\nagain = \"30d\"\n\
         stop = {{ tag = \"購入済み\" }}\ngoal = {{ event = \"purchase\" }}\n\
         [[step]]\nname = \"coupon\"\nafter = \"24h\"\nat = \"10:00\"\nwhen_capped = {{ defer = \"3d\" }}\n{}\n\
         [[step]]\nname = \"mark\"\naction = {{ tag = \"coupon-sent\", for = \"24h\" }}\n",
        says("coupon")
    );
    let later = format!(
        "title = \"later\"\ncategory = \"service\"\nstart = {{ tag_removed = \"coupon-sent\" }}\n\
         [[step]]\nname = \"later\"\n{}\n",
        says("later")
    );
    let letter = format!(
        "title = \"letter\"\naudience = {{ tag = \"vip\" }}\nschedule = {{ at = \"2026-12-05 09:59:30\" }}\n{}\n",
        says("letter")
    );
    let named = [("drips/trial-coupon.toml", coupon), ("drips/later.toml", later), ("letter", letter)];
    named.map(|(name, text)| (name.to_owned(), text)).to_vec()
}

async fn world(database: Database) -> World {
    World::of(Setup {
        now: GIVEN,
        settings: SETTINGS,
        campaigns: files(),
        accounts: vec![("shop", FRIENDS)],
        database,
        seed: 7,
    })
    .await
}

/// What a world came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    /// By friend: what it got, in that order.
    texts: BTreeMap<u32, Vec<String>>,
    /// By friend: how its ways ended.
    endings: BTreeMap<u32, Vec<(String, Ending)>>,
    /// By friend: its tags.
    tags: BTreeMap<u32, BTreeSet<String>>,
    /// Of each occurrence: campaign and number among the children of one, and how many ended how.
    occurrences: BTreeSet<(String, u32, BTreeMap<Outcome, u64>)>,
}

/// What is to happen before time goes on: so many occurrences over, and so many ways.
struct Stage {
    from: &'static str,
    occurrences: usize,
    ended: usize,
}

const STAGES: [Stage; 6] = [
    Stage { from: "2026-12-05T09:59:29.900+09:00", occurrences: 1, ended: 1 },
    Stage { from: "2026-12-05T09:59:59.900+09:00", occurrences: 2, ended: 4 },
    // The cap has room again, and the tags fall off.
    Stage { from: "2026-12-06T10:00:20.000+09:00", occurrences: 3, ended: 4 },
    Stage { from: "2026-12-06T10:00:59.900+09:00", occurrences: 4, ended: 7 },
    Stage { from: "2026-12-07T10:01:20.000+09:00", occurrences: 4, ended: 7 },
    Stage { from: "2026-12-07T10:01:59.900+09:00", occurrences: 5, ended: 8 },
];

impl World {
    /// Whether so many occurrences and ways are over, and whatever was told has been heard.
    async fn is_at(&self, occurrences: usize, ended: usize) -> bool {
        let (store, account) = (&self.test.store, self.row(0).await);
        let newest = haishin::store::OccurrenceFilter::Newest { campaign: None, limit: 100 };
        let rows = store.occurrences(account, newest).await.unwrap();
        let over = rows.iter().filter(|row| row.finished_at.is_some()).count();
        let endings = store.enrollment_endings(account).await.unwrap();
        let ways: u64 = endings.iter().map(|(.., ways)| ways).sum();
        let untold = store.inbox_len(account).await.unwrap();
        let open = store.open_enrollments(account, None, 100).await.unwrap();
        let starting = open.iter().any(|way| matches!(way.standing, Standing::Starting { .. }));
        let row = store.account(account).await.unwrap().unwrap();
        let heard = untold == 0 && !starting && row.folded_seq == row.journal_seq;
        heard && (over, ways) == (occurrences, ended as u64)
    }

    /// Lets time pass until that holds; an engine that is stuck is killed there, and another one started.
    async fn get_to(&mut self, what: &str, occurrences: usize, ended: usize) {
        loop {
            let store = self.account(0).account.store.clone();
            let there = self.until(what, async || {
                if store.holds() {
                    return Some(false);
                }
                self.is_at(occurrences, ended).await.then_some(true)
            });
            if there.await {
                return;
            }
            self.restart().await;
        }
    }

    async fn live_from_the_tag_on(&mut self) -> End {
        // What happens at the activation itself is before it.
        self.clock.advance(Span::from_millis(1));
        let everybody: Vec<_> = (0..FRIENDS).map(|n| (n, tag_added("体験"))).collect();
        self.tell("api", self.clock.now(), &everybody).await;
        self.tell("api", self.clock.now(), &[(CAPPED, tag_added("vip")), (STOPPED, tag_added("購入済み"))])
            .await;
        self.get_to("everybody starts", 0, 0).await;
        self.clock.advance(Span::from_millis(1));
        self.tell("api", self.clock.now(), &[(REACHED, event("purchase"))]).await;
        self.get_to("one bought", 0, 1).await;
        self.clock.advance(Span::from_millis(1));
        // Given again within 30 days: nothing comes of it.
        let again = [(REACHED, tag_removed("体験")), (REACHED, tag_added("体験"))];
        self.tell("api", self.clock.now(), &again).await;
        self.get_to("it was given again", 0, 1).await;
        for (n, stage) in STAGES.iter().enumerate() {
            self.clock.advance(at(stage.from) - self.clock.now());
            self.get_to(&format!("stage {n}"), stage.occurrences, stage.ended).await;
        }
        self.clock.advance(at("2026-12-10T12:00:00+09:00") - self.clock.now());
        self.get_to("days later", 5, 8).await;
        self.what_came().await
    }

    async fn what_came(&self) -> End {
        let audit = self.sandbox.audit();
        assert_eq!((audit.duplicate_pairs, audit.without_key), (0, 0), "{:?}", audit.duplicates);
        assert_eq!((audit.keys_with_two_bodies, audit.keys_taken_twice), (vec![], vec![]));
        let account = self.row(0).await;
        assert_eq!(self.test.store.open_enrollments(account, None, 10).await.unwrap(), []);
        assert_eq!(self.test.store.deferrals(account).await.unwrap(), []);
        assert_eq!(self.test.store.first_tag_expiry(account).await.unwrap(), None);
        let ledger = Ledger::read(self.test.store.as_ref(), account).await;
        let (mut texts, mut endings, mut tags) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let ids: Vec<FriendId> = (0..FRIENDS).map(FriendId).collect();
        for row in self.test.store.friends_by_id(account, &ids).await.unwrap() {
            let n = row.friend.0;
            texts.insert(n, self.texts(n).into_iter().map(|(_, text)| text).collect());
            endings.insert(n, self.endings(n).await);
            tags.insert(n, row.tags.keys().map(ToString::to_string).collect());
        }
        let occurrence = |one: &crate::support::ledger::Entry| {
            let counts = one.ended.iter().map(|(outcome, friends)| (*outcome, friends.len()));
            (one.row.campaign.to_string(), one.row.child, counts.collect())
        };
        End { texts, endings, tags, occurrences: ledger.occurrences.iter().map(occurrence).collect() }
    }
}

async fn undisturbed(database: Database) -> End {
    let end = world(database).await.live_from_the_tag_on().await;
    let texts = |n| end.texts[&n].iter().map(String::as_str).collect::<Vec<_>>();
    let coupon = |how| ("trial-coupon".to_owned(), how);
    let later = || ("later".to_owned(), Ending::Finished);
    for n in 0..FRIENDS {
        let (got, ended) = match n {
            STOPPED => (vec![], vec![coupon(Ending::Stopped)]),
            REACHED => (vec![], vec![coupon(Ending::Reached)]),
            CAPPED => (vec!["letter", "coupon", "later"], vec![coupon(Ending::Finished), later()]),
            _ => (vec!["coupon", "later"], vec![coupon(Ending::Finished), later()]),
        };
        assert_eq!((texts(n), &end.endings[&n]), (got, &ended), "friend {n}: {end:?}");
        assert!(!end.tags[&n].contains("coupon-sent"), "{end:?}");
    }
    end
}

/// Everything an engine writes on that way.
const WRITES: [&str; 13] = [
    "entries",
    "consume inbox",
    "enrollments",
    "quota",
    "occurrence",
    "stride",
    "batches",
    "deliveries",
    "occurrence state",
    "deferral",
    "tag expiries",
    "drop tag expiries",
    "drop enrollments",
];

#[rstest]
#[case::sqlite(Database::Sqlite, &[Mishap::StuckBefore, Mishap::StuckAfter, Mishap::Refused, Mishap::LostBefore, Mishap::LostAfter])]
#[case::postgres(Database::Postgres, &[Mishap::StuckAfter, Mishap::LostAfter])]
#[tokio::test]
async fn whatever_happens_at_any_write_each_step_happens_once(
    #[case] database: Database,
    #[case] mishaps: &[Mishap],
) {
    let expected = undisturbed(database).await;
    let mut struck: BTreeSet<&'static str> = BTreeSet::new();
    for mishap in mishaps {
        let worlds = (1..MOST_WRITES).map(|nth| async move {
            let mut world = world(database).await;
            world.account(0).account.store.strike(nth, *mishap);
            let end = world.live_from_the_tag_on().await;
            (nth, end, world.account(0).account.store.struck())
        });
        let mut worlds = futures_util::stream::iter(worlds).buffered(WORLDS);
        // How often one writes depends a little on when it is looked at.
        let mut unstruck = 0;
        while unstruck < WORLDS {
            let (nth, end, struck_here) = worlds.next().await.expect("it ends before so many writes");
            println!("{mishap:?} of write {nth}: {struck_here:?}");
            assert_eq!(end, expected);
            unstruck = if struck_here.is_empty() { unstruck + 1 } else { 0 };
            struck.extend(struck_here.into_iter().flat_map(|(_, what)| what));
        }
    }
    for what in WRITES {
        assert!(struck.contains(what), "nothing ever happened to: {what}");
    }
}

// ---- changed clocks --------------------------------------------------------------------------------------------

/// A shop in Berlin with one friend and one drip, whose friend gets the tag; when the text came.
async fn comes_at(step: &str, given: &str) -> Vec<Instant> {
    let drip = format!(
        "title = \"t\"\ncategory = \"service\"\nstart = {{ tag_added = \"体験\" }}\n[[step]]\nname = \"coupon\"\n{step}\n{}\n",
        says("coupon")
    );
    let settings = format!("zone = \"Europe/Berlin\"\n{SETTINGS}");
    let world = World::with_files(given, &settings, &[("drips/trial.toml", &drip)], 1).await;
    world.clock.advance(Span::from_millis(1));
    world.hear(0, tag_added("体験")).await;
    // Every hour of three days, and a moment before each: nothing comes early, and nothing twice.
    for _ in 0..3 * 24 {
        let hour = Instant::from_millis((world.clock.now().as_millis() / 3_600_000 + 1) * 3_600_000);
        world.go_to(hour - Span::from_millis(1)).await;
        world.go_to(hour).await;
    }
    world.texts(0).into_iter().map(|(at, _)| at).collect()
}

#[rstest]
// Summer time begins on 2026-03-29 at 02:00: that night 24 hours later is 11:00.
#[case::the_eve_of_summer(
    "after = \"24h\"\nat = \"10:00\"",
    "2026-03-28T10:00:00+01:00",
    "2026-03-30T10:00:00+02:00"
)]
#[case::an_hour_before(
    "after = \"24h\"\nat = \"10:00\"",
    "2026-03-28T08:59:59+01:00",
    "2026-03-29T10:00:00+02:00"
)]
#[case::the_next_day("day = 1\nat = \"10:00\"", "2026-03-28T10:00:00+01:00", "2026-03-29T10:00:00+02:00")]
#[case::in_the_gap("at = \"02:00\"", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00")]
// Winter time begins on 2026-10-25 at 03:00, which is 02:00 again.
#[case::the_eve_of_winter(
    "after = \"24h\"\nat = \"10:00\"",
    "2026-10-24T10:30:00+02:00",
    "2026-10-25T10:00:00+01:00"
)]
#[case::twice_that_night("at = \"02:00\"", "2026-10-24T12:00:00+02:00", "2026-10-25T02:00:00+02:00")]
#[case::after_the_first_of_two("at = \"02:00\"", "2026-10-25T02:00:01+02:00", "2026-10-26T02:00:00+01:00")]
#[tokio::test]
async fn a_changed_clock_moves_the_coupon_as_it_is_written(
    #[case] step: &str,
    #[case] given: &str,
    #[case] due: &str,
) {
    assert_eq!(comes_at(step, given).await, [at(due)]);
}

// ---- clocks that jump ------------------------------------------------------------------------------------------

async fn waiting_for_the_coupon() -> World {
    let files = files();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let world = World::with_files(GIVEN, SETTINGS, &files, 2).await;
    world.clock.advance(Span::from_millis(1));
    world.hear(0, tag_added("体験")).await;
    world
}

fn coupons(world: &World) -> usize {
    world.texts(0).iter().filter(|(_, text)| text == "coupon").count()
}

#[tokio::test]
async fn a_clock_that_jumps_back_sends_no_second_coupon() {
    let world = waiting_for_the_coupon().await;
    let due = at("2026-12-05T10:00:00+09:00");
    world.live_to(due).await;
    assert_eq!(coupons(&world), 1);
    world.clock.jump(due - Span::from_hours(3));
    world.settle().await;
    assert_eq!(world.status().await["clock_behind"], true);
    // A person takes the clock as right; it comes to 10:00 a second time.
    let start = Command::AcceptClock { due: Some(DueChoice::Judge) };
    world.done(start).await;
    for minutes in [0, 1, 30, 600, 24 * 60] {
        world.live_to(due + Span::from_mins(minutes)).await;
        assert_eq!(coupons(&world), 1);
    }
    assert_eq!(world.endings(0).await[0], ("trial-coupon".to_owned(), Ending::Finished));
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_sends_the_coupon_within_its_grace_and_else_misses_it() {
    let due = at("2026-12-05T10:00:00+09:00");
    for (jump, expected) in [(Span::from_hours(2), 1), (Span::from_mins(121), 0)] {
        let world = waiting_for_the_coupon().await;
        world.live_to(due - Span::from_hours(1)).await;
        assert_eq!(coupons(&world), 0);
        world.clock.jump(due + jump);
        world.settle().await;
        assert_eq!(coupons(&world), expected, "{jump:?}");
        let ledger = Ledger::read(world.test.store.as_ref(), world.row(0).await).await;
        let [coupon] = &ledger.of("trial-coupon").collect::<Vec<_>>()[..] else { panic!("one occurrence") };
        let missed = coupon.excluded(&haishin::domain::delivery::Exclusion::Missed).len();
        assert_eq!((coupon.row.due_at, missed), (due, 1 - expected as u64));
        assert_eq!(world.endings(0).await, [("trial-coupon".to_owned(), Ending::Finished)]);
        // Right again, and past it once more.
        world.clock.jump(due - Span::from_mins(30));
        for minutes in [0, 30, 24 * 60] {
            world.live_to(due + Span::from_mins(minutes)).await;
        }
        assert_eq!(coupons(&world), expected, "{jump:?}");
    }
}

// ---- files that are edited -------------------------------------------------------------------------------------

/// The coupon as the file says it.
fn coupon(head: &str, name: &str, hour: &str, text: &str) -> String {
    format!(
        "title = \"t\"\ncategory = \"followup\"\nstart = {{ tag_added = \"体験\" }}\n{head}\n[[step]]\nname = \"{name}\"\n\
         after = \"24h\"\nat = \"{hour}\"\n{}\n",
        says(text)
    )
}

/// Who started before the change and who after it: when and what they get.
async fn edited(before: &str, after: Option<&str>, restarted: bool) -> [Vec<(Instant, String)>; 2] {
    let mut world = World::with_files(GIVEN, SETTINGS, &[("drips/trial.toml", before)], 2).await;
    world.clock.advance(Span::from_millis(1));
    world.hear(0, tag_added("体験")).await;
    world.go_to(at("2026-12-04T11:00:00+09:00")).await;
    let files: Vec<(&str, &str)> = after.iter().map(|text| ("drips/trial.toml", *text)).collect();
    world.apply(&files).await;
    world.clock.advance(Span::from_millis(1));
    world.hear(1, tag_added("体験")).await;
    if restarted {
        world.restart().await;
    }
    for hour in 9..80 {
        world.go_to(at("2026-12-05T00:00:00+09:00") + Span::from_hours(hour)).await;
    }
    [world.texts(0), world.texts(1)]
}

#[rstest]
#[case::in_one_life(false)]
#[case::restarted(true)]
#[tokio::test]
async fn a_friend_finishes_on_the_version_they_started_in(#[case] restarted: bool) {
    let got = |hour: &str, text: &str| vec![(at(&format!("2026-12-{hour}:00:00+09:00")), text.to_owned())];
    let old = coupon("", "coupon", "10:00", "old");
    // Whoever started after 10:00 of a day is due on the second after it.
    let [first, second] = edited(&old, Some(&coupon("", "coupon", "15:00", "new")), restarted).await;
    assert_eq!((first, second), (got("05T10", "old"), got("05T15", "new")));
    let [first, second] = edited(&old, None, restarted).await;
    assert_eq!((first, second), (got("05T10", "old"), vec![]));
    let draft = coupon("draft = true", "coupon", "10:00", "new");
    let [first, second] = edited(&old, Some(&draft), restarted).await;
    assert_eq!((first, second), (got("05T10", "old"), vec![]));
    let migrated = |hour, name| coupon("migrate = true", name, hour, "new");
    let [first, second] = edited(&old, Some(&migrated("15:00", "coupon")), restarted).await;
    assert_eq!((first, second), (got("05T15", "new"), got("05T15", "new")));
    let [first, second] = edited(&old, Some(&migrated("15:00", "other")), restarted).await;
    assert_eq!((first, second), (got("05T15", "new"), got("05T15", "new")));
    // What the new version would have had due before the change is passed by.
    let soon = migrated("15:00", "coupon").replace("\"24h\"", "\"1h\"").replace("15:00", "10:45");
    let [first, second] = edited(&old, Some(&soon), restarted).await;
    assert_eq!((first, second), (vec![], got("05T11", "new")), "this world wakes up on the hour");
}
