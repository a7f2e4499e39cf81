//! A day in the life of a shop with many friends: thousands of them start drips, minute by minute, and each step is
//! carried out in the minute in which it is due.

mod plain;

use std::collections::{BTreeMap, BTreeSet};

use haishin::clock::Clock as _;
use haishin::domain::attribute::Value;
use haishin::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use haishin::domain::drip::{Ending, Standing};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::FriendId;
use haishin::domain::time::{Instant, Span};
use haishin::store::NewInbox;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rstest::rstest;

use super::at;
use crate::support::ledger::Ledger;
use crate::support::store::Database;
use crate::support::world::{CHANNEL, Setup, World, user};
use plain::{Deed, Said, Way, live};

const FRIENDS: u32 = 100_000;
/// Who comes new that day.
const NEW: u32 = 800;
/// What is told in the day, beside those who come.
const TOLD: u32 = 7_000;
const NOW: &str = "2026-12-04T00:00:00+09:00";
/// Something is told every so many minutes.
const TELLS_EVERY: i64 = 5;
/// The last steps are due so long after midnight.
const LIFE: Span = Span::from_hours(31);

const SETTINGS: &str = r#"
same_content = "off"
quiet_hours = "off"
api_base = "http://127.0.0.1:1"
rate = "off"
[caps.daily]
max = "off"
[caps.weekly]
max = "off"
[caps.advertising_weekly]
max = "off"
[caps.advertising_monthly]
max = "off"
[caps.often]
title = "one in two hours"
max = 1
per = "2h"
"#;

const DRIPS: [(&str, &str); 6] = [
    (
        "cart",
        r#"
category = "service"
start = { event = "cart", where = { amount = { gte = 3000 } } }
again = "4h"
goal = { event = "purchase" }
[[step]]
name = "remind"
after = "90min"
[[step.branch]]
name = "vip"
audience = { tag = "vip" }
message = [{ type = "text", text = "cart-vip" }]
[[step.branch]]
name = "others"
message = [{ type = "text", text = "cart" }]
[[step]]
name = "last"
after = "3h"
audience = { not = { tag = "trial" } }
message = [{ type = "text", text = "last" }]
"#,
    ),
    (
        "club",
        r#"
category = "service"
start = { tag_added = "used" }
[[step]]
name = "in"
after = "5min"
message = [{ type = "text", text = "club" }]
"#,
    ),
    (
        "hello",
        r#"
category = "service"
start = { followed = true }
stop_on = { unfollowed = true }
[[step]]
name = "hi"
message = [{ type = "text", text = "hi" }]
[[step]]
name = "tip"
after = "2h"
message = [{ type = "text", text = "tip" }]
[[step]]
name = "mark"
after = "2h"
action = { tag = "welcomed" }
"#,
    ),
    (
        "news",
        r#"
category = "news"
start = { event = "ask" }
again = "30min"
[[step]]
name = "news"
after = "10min"
when_capped = { defer = "3h" }
message = [{ type = "text", text = "news" }]
"#,
    ),
    (
        "over",
        r#"
category = "service"
start = { tag_removed = "used" }
[[step]]
name = "bye"
message = [{ type = "text", text = "bye" }]
[[step]]
name = "later"
after = "45min"
message = [{ type = "text", text = "later" }]
"#,
    ),
    (
        "trial",
        r#"
category = "promotion"
start = { tag_added = "trial" }
[[step]]
name = "offer"
after = "1h"
when_capped = { defer = "3h" }
message = [{ type = "text", text = "offer" }]
[[step]]
name = "mark"
action = { tag = "used", for = "2h" }
"#,
    ),
];

/// What is told that day, in its order: by the minute in which it happens.
type Told = BTreeMap<Instant, (u32, Said)>;

/// Some friends come by again and again, so that one thing meets another.
fn draw(rng: &mut StdRng) -> Told {
    let minutes = 24 * 60 / TELLS_EVERY;
    let mut told = Told::new();
    let mut tell = |rng: &mut StdRng, when: std::ops::Range<i64>, friend: u32, said: Said| {
        loop {
            let minute = rng.random_range(when.clone()) * TELLS_EVERY;
            let at = at(NOW) + Span::from_mins(minute) + Span::from_millis(rng.random_range(1_000..50_000));
            if let std::collections::btree_map::Entry::Vacant(free) = told.entry(at) {
                free.insert((friend, said));
                return minute / TELLS_EVERY;
            }
        }
    };
    for _ in 0..TOLD {
        let often = rng.random_range(0..1_000);
        let any = if rng.random_bool(0.5) { often } else { rng.random_range(0..FRIENDS) };
        match rng.random_range(0..20) {
            0..8 => _ = tell(rng, 0..minutes, any, Said::Cart(amount(any))),
            8..11 => _ = tell(rng, 0..minutes, often, Said::Purchase),
            11..14 => _ = tell(rng, 0..minutes, any, Said::Tag("trial")),
            14..19 => _ = tell(rng, 0..minutes, often, Said::Ask),
            _ => _ = tell(rng, 0..minutes, often, Said::Tag("vip")),
        }
    }
    for n in FRIENDS..FRIENDS + NEW {
        let minute = tell(rng, 0..minutes - 1, n, Said::Follows);
        if rng.random_bool(0.2) {
            tell(rng, minute + 1..minutes.min(minute + 36), n, Said::Blocks);
        }
    }
    told
}

/// What is in a cart: too little in every fifth.
const fn amount(friend: u32) -> i64 {
    if friend.is_multiple_of(5) { 2_999 } else { 3_000 }
}

fn effect(at: Instant, said: Said) -> Effect {
    match said {
        Said::Tag(tag) => super::tag_added(tag),
        Said::Cart(amount) => Effect::Event {
            name: "cart".parse().unwrap(),
            event_id: None,
            properties: [("amount".parse().unwrap(), Value::Integer(amount))].into(),
        },
        Said::Purchase => super::event("purchase"),
        Said::Ask => super::event("ask"),
        Said::Follows => Effect::Status { status: Status::Following, followed_at: Some(at) },
        Said::Blocks => Effect::Status { status: Status::Blocked, followed_at: None },
    }
}

async fn world(database: Database) -> World {
    let drips = DRIPS.map(|(slug, text)| {
        (format!("drips/{slug}.toml"), format!("title = \"{slug}\"\nreach = \"everyone\"\n{text}"))
    });
    World::of(Setup {
        now: NOW,
        settings: SETTINGS,
        campaigns: drips.into(),
        accounts: vec![("shop", FRIENDS)],
        database,
        seed: 0,
    })
    .await
}

impl World {
    /// The day, minute by minute, and what follows of it. What happens in a minute is told before it is over.
    async fn live_the_day(&self, told: &Told) {
        for minute in 0..LIFE.as_millis() / 60_000 {
            let begins = at(NOW) + Span::from_mins(minute);
            if minute > 0 {
                self.go_to(begins).await;
            }
            let now = begins + Span::from_secs(50);
            let said: Vec<Intake> = told
                .range(begins..now)
                .map(|(at, (friend, said))| Intake {
                    friend: user(*friend).into(),
                    at: *at,
                    effect: effect(*at, *said),
                    dedupe: None,
                })
                .collect();
            if said.is_empty() {
                continue;
            }
            self.clock.advance(now - self.clock.now());
            let (account, source) = (self.row(0).await, NewInbox::WEBHOOK.into());
            let row = NewInbox { account, received_at: now, source, intakes: said };
            self.test.store.append_inbox(vec![row]).await.unwrap();
            self.settle().await;
        }
    }
}

/// What a plain calculation makes of what was told.
fn calculate(told: &Told) -> plain::Outcome {
    let mut by_friend: BTreeMap<u32, Vec<(Instant, Said)>> = BTreeMap::new();
    told.iter().for_each(|(at, (friend, said))| by_friend.entry(*friend).or_default().push((*at, *said)));
    let mut outcome = plain::Outcome::default();
    by_friend.iter().for_each(|(friend, told)| live(*friend, told, &mut outcome));
    outcome
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn in_a_day_of_many_friends_each_step_is_carried_out_once_in_its_minute(#[case] database: Database) {
    let told = draw(&mut StdRng::seed_from_u64(5));
    let expected = calculate(&told);
    let world = world(database).await;
    world.live_the_day(&told).await;
    let ledger = Ledger::read(world.test.store.as_ref(), world.row(0).await).await;
    compare_sends(&ledger, &expected);
    let numbers = compare_ways(&world, &expected).await;
    compare_received(&world, &expected, &numbers);
    let ways = |how| expected.ways.iter().filter(|(.., ended)| *ended == how).count();
    println!(
        "{} told, {} ways ({} reached their goal, {} stopped), {} sends in {} occurrences, {} deferred",
        told.len(),
        expected.ways.len(),
        ways(Ending::Reached),
        ways(Ending::Stopped),
        expected.sent.len(),
        ledger.occurrences.len(),
        expected.deferred.len()
    );
    assert!(expected.ways.len() > 5_000 && expected.deferred.len() > 100, "too little happened");
    assert!(ways(Ending::Reached) > 50 && ways(Ending::Stopped) > 50, "too few ways ended early");
}

/// Each step that sends, by its occurrences: who, what, and in which minute it was frozen and taken by LINE.
fn compare_sends(ledger: &Ledger, expected: &plain::Outcome) {
    let (mut sent, mut deferred) = (BTreeMap::new(), BTreeSet::new());
    for one in &ledger.occurrences {
        assert_eq!(one.row.state, OccurrenceState::Finished);
        assert_eq!(one.ended.get(&Outcome::Accepted).cloned().unwrap_or_default(), one.recipients());
        let at = one.row.frozen_at;
        assert!(one.row.child > 0 || at == one.row.due_at, "late: {:?}", one.row);
        let (drip, step) = (one.row.campaign.to_string(), one.row.step.as_ref().unwrap().to_string());
        let deed = |friend| (drip.clone(), step.clone(), friend, at);
        for arm in &one.arms {
            let messages: serde_json::Value = serde_json::from_str(&arm.messages).unwrap();
            let text = messages[0]["text"].as_str().unwrap();
            for friend in &arm.recipients {
                assert_eq!(sent.insert(deed(friend), text.to_owned()), None, "twice");
            }
        }
        for (why, friends) in &one.exclusions {
            assert!(matches!(why, Exclusion::Deferred { .. }), "{why:?} in {:?}", one.row);
            deferred.extend(friends.iter().map(deed));
        }
    }
    let owned = |(drip, step, n, at): &Deed| ((*drip).to_owned(), (*step).to_owned(), *n, *at);
    // New friends get their numbers in the order in which they came, which is not that of their ids.
    let known = |deed: &(String, String, u32, Instant)| deed.2 < FRIENDS;
    let theirs: BTreeMap<_, _> =
        expected.sent.iter().map(|(deed, text)| (owned(deed), (*text).to_owned())).collect();
    let (ours, plain): (BTreeSet<_>, BTreeSet<_>) = (
        sent.iter().filter(|(deed, _)| known(deed)).collect(),
        theirs.iter().filter(|(deed, _)| known(deed)).collect(),
    );
    let differ = |one: &BTreeSet<_>, other: &BTreeSet<_>| -> Vec<String> {
        one.difference(other).take(10).map(|deed| format!("{deed:?}")).collect()
    };
    assert_eq!((differ(&ours, &plain), differ(&plain, &ours)), (vec![], vec![]), "engine, calculation");
    assert_eq!(sent.len(), theirs.len(), "sends to those who came that day");
    assert_eq!(deferred, expected.deferred.iter().map(owned).collect::<BTreeSet<_>>(), "deferred");
}

/// Each friend's ways and tags; nobody is still on one, and nothing waits. Gives everybody's dense id.
async fn compare_ways(world: &World, expected: &plain::Outcome) -> BTreeMap<u32, u32> {
    let (store, account) = (world.test.store.clone(), world.row(0).await);
    assert_eq!(store.inbox_len(account).await.unwrap(), 0);
    assert_eq!(store.open_enrollments(account, None, 10).await.unwrap(), []);
    assert_eq!(store.deferrals(account).await.unwrap(), []);
    assert_eq!(store.first_tag_expiry(account).await.unwrap(), None);
    let row = store.account(account).await.unwrap().unwrap();
    assert_eq!(row.folded_seq, row.journal_seq);
    let mut numbers = BTreeMap::new();
    for row in store.friends(account, None, 1_000_000).await.unwrap() {
        let id = row.user.unwrap().0;
        let n = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
        let tags: BTreeSet<&str> = row.tags.keys().map(|tag| tag.as_str()).collect();
        assert_eq!(tags, expected.tags.get(&n).cloned().unwrap_or_default(), "friend {n}");
        numbers.insert(n, row.friend.0);
    }
    assert_eq!(numbers.len() as u32, FRIENDS + NEW);
    let mut ways: BTreeSet<(String, u32, Instant, Ending)> = BTreeSet::new();
    for n in expected.tags.keys() {
        for way in store.enrollments_of(account, FriendId(numbers[n])).await.unwrap() {
            let Standing::Ended { how, .. } = way.standing else { panic!("{way:?} is not over") };
            assert!(ways.insert((way.drip.to_string(), *n, way.started_at, how)));
        }
    }
    let theirs = expected.ways.iter().map(|(drip, n, at, how): &Way| ((*drip).to_owned(), *n, *at, *how));
    let theirs: BTreeSet<_> = theirs.collect();
    let differ = |one: &BTreeSet<_>, other: &BTreeSet<_>| -> Vec<String> {
        one.difference(other).take(10).map(|way| format!("{way:?}")).collect()
    };
    assert_eq!((differ(&ways, &theirs), differ(&theirs, &ways)), (vec![], vec![]), "engine, calculation");
    let all: u64 = store.enrollment_endings(account).await.unwrap().iter().map(|(.., ways)| ways).sum();
    assert_eq!(all, theirs.len() as u64, "nobody else was on a way");
    numbers
}

/// What LINE has: to whom, what, in which minute.
fn compare_received(world: &World, expected: &plain::Outcome, numbers: &BTreeMap<u32, u32>) {
    let audit = world.sandbox.audit();
    assert_eq!((audit.keys_with_two_bodies, audit.keys_taken_twice, audit.without_key), (vec![], vec![], 0));
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    expected.sent.keys().for_each(|(_, _, n, _)| *counts.entry(*n).or_default() += 1);
    let mut received = world.sandbox.received_counts(CHANNEL).unwrap();
    for n in numbers.keys() {
        let got = received.remove(&user(*n));
        assert_eq!(got.unwrap_or(0), counts.get(n).copied().unwrap_or(0), "friend {n}");
    }
    assert_eq!(received.len(), 0, "somebody else got something");
    let mut texts: BTreeMap<u32, BTreeSet<(Instant, String)>> = BTreeMap::new();
    for ((_, _, n, at), text) in &expected.sent {
        texts.entry(*n).or_default().insert((*at, (*text).to_owned()));
    }
    for (n, texts) in texts.iter().step_by(7) {
        let got: BTreeSet<_> = world.texts(*n).into_iter().collect();
        assert_eq!(got, *texts, "friend {n}");
    }
}
