//! The proof of "events in, drips out": while LINE and the shop tell what friends do, and drips go out over a network
//! that loses answers, the daemon is killed again and again. What was acknowledged has happened once, and each step
//! that was due was carried out once.

mod driver;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use haishin::clock::{Clock as _, SetClock};
use haishin::domain::attribute::Value;
use haishin::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use haishin::domain::drip::{Ending, Enrollment, Standing};
use haishin::domain::effect::Effect;
use haishin::domain::friend::{Friend, Status};
use haishin::domain::id::{EventName, PropertyName, Seq};
use haishin::domain::time::Span;
use haishin::protocol::Command;
use haishin::sandbox::{Sandbox, Settings};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use roaring::RoaringBitmap;
use rstest::rstest;
use serde_json::Value as Json;

use crate::support::daemon::{self, CHANNEL, Line, Shop, at, until};
use crate::support::ledger::Ledger;
use crate::support::store::Database;
use crate::support::world::user;
use driver::{Driver, Told, blocks};

const KILLS: u32 = 18;
/// Fewer kills than this while requests are under way prove too little.
const KILLS_IN_TRAFFIC: u32 = 12;
/// The same of requests to LINE.
const KILLS_IN_SENDS: u32 = 4;
/// A minute, in which steps fall due, is four seconds.
const SPEED: u32 = 15;
const NOW: &str = "2026-12-04T12:00:00+09:00";

const SETTINGS: &str = "quiet_hours = \"off\"\nsame_content = \"off\"\n";

/// What a friend gets once in its life, whatever is said of it; `customer` is caused by `order`. Whoever comes again is
/// seen again.
const DRIPS: [(&str, &str); 5] = [
    (
        "member",
        r#"
start = { tag_added = "member" }
if_missed = "all"
[[step]]
name = "hail"
message = [{ type = "text", text = "member" }]
[[step]]
name = "mark"
action = { tag = "hailed" }
[[step]]
name = "ask"
after = "2min"
message = [{ type = "text", text = "member asked" }]
"#,
    ),
    (
        "order",
        r#"
start = { event = "order" }
[[step]]
name = "mark"
action = { tag = "customer" }
[[step]]
name = "thank"
after = "1min"
message = [{ type = "text", text = "order" }]
"#,
    ),
    (
        "customer",
        r#"
start = { tag_added = "customer" }
[[step]]
name = "greet"
message = [{ type = "text", text = "customer" }]
"#,
    ),
    (
        "hello",
        r#"
start = { followed = true }
stop_on = { unfollowed = true }
[[step]]
name = "greet"
after = "1min"
message = [{ type = "text", text = "hello" }]
"#,
    ),
    (
        "seen",
        r#"
start = { event = "visit" }
again = "2min"
[[step]]
name = "greet"
message = [{ type = "text", text = "seen" }]
"#,
    ),
];

/// By slug: a rule, and whether it holds for a friend of whom so much was told.
type Segment = (&'static str, &'static str, fn(&Told) -> bool);
const SEGMENTS: [Segment; 5] = [
    ("members", "all = [{ tag = \"member\" }]", |told| told.tags.contains("member")),
    ("hailed", "all = [{ tag = \"hailed\" }]", |told| told.ever.contains("member")),
    ("customers", "all = [{ tag = \"customer\" }]", |told| told.count("order") > 0),
    ("regulars", "all = [{ event = \"visit\", count = { gte = 3 } }]", |told| told.count("visit") >= 3),
    ("rich", "all = [{ attr = \"points\", gte = 500 }]", |told| told.points >= Some(500)),
];

struct Proof {
    shop: Shop,
    sandbox: Arc<Sandbox>,
    clock: Arc<SetClock>,
    driver: Driver,
    kills: u32,
    in_traffic: u32,
    in_sends: u32,
}

#[rstest]
#[case::sqlite(Database::Sqlite, 1, false)]
#[case::power_loss(Database::Sqlite, 3, true)]
#[case::postgres(Database::Postgres, 2, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_happens_once_and_so_does_each_step(
    #[case] database: Database,
    #[case] seed: u64,
    #[case] loses_power: bool,
) {
    let _alone = daemon::alone().await;
    println!("{database:?}, seed {seed}, the disk loses its power: {loses_power}");
    let mut proof = Proof::prepare(database, seed, loses_power).await;
    proof.kill_and_kill_again(&mut StdRng::seed_from_u64(seed)).await;
    let told = proof.finish().await;
    proof.tell_figures(&told);
    proof.check(&told).await;
    assert!(proof.in_traffic >= KILLS_IN_TRAFFIC, "only {} kills cut requests off", proof.in_traffic);
    assert!(proof.in_sends >= KILLS_IN_SENDS, "only {} kills cut sends off", proof.in_sends);
}

fn read(figure: &AtomicU64) -> u64 {
    figure.load(Ordering::SeqCst)
}

impl Proof {
    async fn prepare(database: Database, seed: u64, loses_power: bool) -> Self {
        let line = Line::bind().await;
        let mut shop = Shop::new(database, line.address, SETTINGS).await;
        shop.speed = SPEED;
        if loses_power {
            shop.on_power();
        }
        shop.write("attributes.toml", "points = \"integer\"\n");
        for (slug, text) in DRIPS {
            let head = format!("title = \"{slug}\"\ncategory = \"service\"\nreach = \"everyone\"");
            shop.write(&format!("drips/{slug}.toml"), &(head + text));
        }
        for (slug, rule, _) in SEGMENTS {
            shop.write(&format!("segments/{slug}.toml"), &format!("title = \"{slug}\"\n{rule}\n"));
        }
        let daemon = shop.started(at(NOW)).await;
        let scopes = ["--scope", "friends:write", "--scope", "events:write"];
        let words: Vec<&str> = ["token", "create", "--name", "shop"].into_iter().chain(scopes).collect();
        let token = shop.ask(&words).unwrap()["token"].as_str().unwrap().to_owned();
        daemon.terminate();
        let sandbox = Line::sandbox(|settings: &mut Settings| {
            settings.faults = Line::rough();
            settings.seed = seed;
        });
        // By then the first daemon's clock has not been.
        let clock = Arc::new(SetClock::new(at(NOW) + Span::from_hours(1), SPEED));
        // Served to the end of the test's runtime.
        let _ = line.serve(sandbox.clone(), clock.clone()).disarm();
        let driver = Driver::new(token, clock.clone(), seed);
        Self { shop, sandbox, clock, driver, kills: 0, in_traffic: 0, in_sends: 0 }
    }

    /// Kills the daemon after drawn numbers of acknowledged requests and of requests to LINE, by turns.
    async fn kill_and_kill_again(&mut self, rng: &mut StdRng) {
        while self.kills < KILLS {
            let mut daemon = self.shop.started(self.clock.now()).await;
            self.driver.knock_at(Some(self.shop.http_address()));
            let counts = || (read(&self.driver.figures().acknowledged), self.sandbox.totals().multicasts);
            let (acknowledged, sends) = counts();
            let wanted = match self.kills.is_multiple_of(2) {
                true => (acknowledged + rng.random_range(1..=200), u64::MAX),
                false => (u64::MAX, sends + rng.random_range(1..=4)),
            };
            until("the drawn request comes", async || {
                assert!(daemon.is_running(), "the daemon ended by itself");
                assert_eq!(read(&self.driver.figures().refused), 0, "a request was refused");
                let now = counts();
                (now.0 >= wanted.0 || now.1 >= wanted.1).then_some(())
            })
            .await;
            let (cut_off, abandoned) = (read(&self.driver.figures().cut_off), self.sandbox.abandoned());
            self.driver.knock_at(None);
            daemon.kill();
            until("nothing is under way", async || {
                let under_way = read(&self.driver.figures().under_way) + self.sandbox.under_way();
                (under_way == 0).then_some(())
            })
            .await;
            self.kills += 1;
            self.in_traffic += u32::from(read(&self.driver.figures().cut_off) > cut_off);
            self.in_sends += u32::from(self.sandbox.abandoned() > abandoned);
            // Reading the books looks whether they can be true.
            self.shop.ledger().await;
        }
    }

    /// Lets a daemon live until everything is said and done.
    async fn finish(&mut self) -> BTreeMap<u32, Told> {
        let daemon = self.shop.started(self.clock.now()).await;
        self.driver.knock_at(Some(self.shop.http_address()));
        let told = self.driver.finish().await;
        until("everything is over", async || {
            let status = self.shop.converse(Command::Status).await?;
            let account = &status["accounts"][0];
            let drips = self.shop.converse(Command::DripList).await?;
            let over = drips["drips"].as_array()?.iter().all(|drip| drip["on_their_way"] == 0);
            let is_empty = |name: &str| account[name].as_array().is_some_and(Vec::is_empty);
            (account["inbox"] == 0 && account["unfolded"] == 0 && over && is_empty("open")).then_some(())
        })
        .await;
        self.ask_the_daemon(&told).await;
        daemon.terminate();
        told
    }

    /// What the daemon itself says, of segments and of some friends.
    async fn ask_the_daemon(&self, told: &BTreeMap<u32, Told>) {
        // Its clock is a little behind that of those who spoke.
        let now = Some(self.clock.now() + Span::from_hours(1));
        for (slug, _, holds) in SEGMENTS {
            let command = Command::SegmentCount { segments: vec![slug.parse().unwrap()], now };
            let count = until("a count", async || self.shop.converse(command.clone()).await).await;
            let expected = told.values().filter(|told| holds(told)).count();
            assert_eq!(count["segments"][0]["friends"], expected, "{slug}");
        }
        for (n, told) in told.iter().step_by(told.len() / 20) {
            let command = Command::FriendShow { friend: user(*n).to_string() };
            let shown = until("a friend", async || self.shop.converse(command.clone()).await).await;
            let tags: BTreeSet<&str> =
                shown["tags"].as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(tags, tags_of(told), "friend {n}");
            let story = shown["story"].as_array().unwrap();
            let events = story.iter().filter(|moment| moment["what"] == "event").count();
            assert_eq!(events, told.events.values().sum::<u32>() as usize, "friend {n}: {shown}");
        }
    }

    fn tell_figures(&self, told: &BTreeMap<u32, Told>) {
        let (figures, totals) = (self.driver.figures(), self.sandbox.totals());
        let events: u32 = told.values().flat_map(|told| told.events.values()).sum();
        println!(
            "{} kills, {} cut requests off, {} sends; {figures:?}; {} friends, {events} events; {} multicasts, {} \
             messages, {} unanswered, {} answered 409",
            self.kills,
            self.in_traffic,
            self.in_sends,
            told.len(),
            totals.multicasts,
            totals.messages,
            totals.unanswered,
            totals.answered.get(&409).copied().unwrap_or(0),
        );
    }

    async fn check(&self, told: &BTreeMap<u32, Told>) {
        let audit = self.sandbox.audit();
        assert_eq!(
            (audit.keys_with_two_bodies, audit.keys_taken_twice, audit.without_key),
            (vec![], vec![], 0)
        );
        let friends = self.check_friends(told).await;
        self.check_events(told, &friends).await;
        self.check_drips(told, &friends).await;
    }

    /// Each friend is what was said of it. Gives dense ids.
    async fn check_friends(&self, told: &BTreeMap<u32, Told>) -> BTreeMap<u32, u32> {
        let (store, account) = self.shop.store().await;
        assert_eq!(
            (store.inbox_len(account).await.unwrap(), store.stray_count(account).await.unwrap()),
            (0, 0)
        );
        let rows = store.friends(account, None, 1_000_000).await.unwrap();
        store.close().await;
        let mut rows: BTreeMap<_, Friend> =
            rows.into_iter().filter_map(|row| Some((row.user?, row))).collect();
        let mut friends = BTreeMap::new();
        for (n, told) in told {
            let row = rows.remove(&user(*n)).unwrap_or_else(|| panic!("friend {n} is missing"));
            let tags: BTreeSet<&str> = row.tags.keys().map(|tag| tag.as_str()).collect();
            assert_eq!(tags, tags_of(told), "friend {n}");
            let points = row.attributes.values().next().cloned();
            assert_eq!(points, told.points.map(Value::Integer), "friend {n}");
            assert_eq!(row.external_id, told.customer_id, "friend {n}");
            let follows = row.status == Status::Following;
            assert_eq!(follows, told.follows.unwrap_or(true), "friend {n}: {row:?}");
            friends.insert(row.friend.0, *n);
        }
        assert_eq!(rows.first_key_value(), None, "somebody is a friend of whom nothing was said");
        friends
    }

    /// Every event is there that was acknowledged, as often as it was told, and no other.
    async fn check_events(&self, told: &BTreeMap<u32, Told>, friends: &BTreeMap<u32, u32>) {
        let (store, account) = self.shop.store().await;
        let mut happened: BTreeMap<u32, BTreeMap<(String, String), u32>> = BTreeMap::new();
        let mut after = Seq(0);
        loop {
            let page = store.events(account, (after, Seq(i64::MAX)), 10_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = last.seq;
            for entry in page {
                let Effect::Event { name, properties, .. } = entry.effect else { panic!("no event") };
                let events = happened.entry(friends[&entry.friend.0]).or_default();
                *events.entry((name.to_string(), mark(&name, &properties))).or_default() += 1;
            }
        }
        store.close().await;
        for (n, told) in told {
            assert_eq!(happened.remove(n).unwrap_or_default(), told.events, "friend {n}");
        }
    }

    /// Who started each drip, what they got, and what the books say of it are the same.
    async fn check_drips(&self, told: &BTreeMap<u32, Told>, friends: &BTreeMap<u32, u32>) {
        let ledger = self.shop.ledger().await;
        let sent = books(&ledger, friends);
        let (store, account) = self.shop.store().await;
        for (dense, n) in friends {
            let ways = store.enrollments_of(account, haishin::domain::id::FriendId(*dense)).await.unwrap();
            let got = self.sandbox.received(CHANNEL, &user(*n)).unwrap();
            let mut texts: BTreeMap<String, u32> = BTreeMap::new();
            for got in got {
                let messages: Json = serde_json::from_str(&got.messages).unwrap();
                *texts.entry(messages[0]["text"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            assert_eq!(texts, sent.get(n).cloned().unwrap_or_default(), "friend {n} got what the books say");
            check_ways(*n, &told[n], &ways, &texts);
        }
        store.close().await;
    }
}

/// What tells an event from others of its name.
fn mark(name: &EventName, properties: &BTreeMap<PropertyName, Value>) -> String {
    let key = match name.as_str() {
        "line.message" => "type",
        "line.postback" => "data",
        _ => "mark",
    };
    let found = properties.iter().find(|(name, _)| name.as_str() == key);
    found.map_or_else(String::new, |(_, value)| match value {
        Value::Text(text) => text.to_string(),
        other => panic!("{other:?}"),
    })
}

/// The tags a friend holds in the end: those it was given, and those its drips gave it.
fn tags_of(told: &Told) -> BTreeSet<&'static str> {
    let mut tags = told.tags.clone();
    tags.extend(told.ever.contains("member").then_some("hailed"));
    tags.extend((told.count("order") > 0).then_some("customer"));
    tags
}

/// What everybody was sent, by the books: each occurrence is over, and everybody in it got it or had blocked the account.
fn books(ledger: &Ledger, friends: &BTreeMap<u32, u32>) -> BTreeMap<u32, BTreeMap<String, u32>> {
    let mut sent: BTreeMap<u32, BTreeMap<String, u32>> = BTreeMap::new();
    for one in &ledger.occurrences {
        assert_eq!(one.row.state, OccurrenceState::Finished);
        assert!(one.exclusions.keys().all(|why| *why == Exclusion::NotFollowing), "{:?}", one.exclusions);
        let left_out = one.excluded(&Exclusion::NotFollowing);
        assert!(left_out.iter().all(|dense| blocks(friends[&dense])), "somebody follows");
        assert_eq!(one.ended.get(&Outcome::Accepted).cloned().unwrap_or_default(), one.recipients());
        for arm in &one.arms {
            let messages: Json = serde_json::from_str(&arm.messages).unwrap();
            let text = messages[0]["text"].as_str().unwrap();
            let dense: &RoaringBitmap = &arm.recipients;
            for n in dense.iter().map(|dense| friends[&dense]) {
                *sent.entry(n).or_default().entry(text.to_owned()).or_default() += 1;
            }
        }
    }
    sent
}

/// A friend started what it had reason to, came to the end of it, and got each message of it once.
fn check_ways(n: u32, told: &Told, ways: &[Enrollment], texts: &BTreeMap<String, u32>) {
    let mut ended: BTreeMap<&str, Vec<Ending>> = BTreeMap::new();
    for way in ways {
        let Standing::Ended { how, .. } = way.standing else { panic!("friend {n} is on its way: {way:?}") };
        ended.entry(way.drip.as_str()).or_default().push(how);
    }
    let of = |drip: &str| ended.get(drip).cloned().unwrap_or_default();
    let got = |text: &str| texts.get(text).copied().unwrap_or_default();
    let reasons = [
        ("member", told.ever.contains("member"), &["member", "member asked"][..]),
        ("order", told.count("order") > 0, &["order"]),
        ("customer", told.count("order") > 0, &["customer"]),
        ("hello", told.count("line.follow") > 0, &["hello"]),
    ];
    for (drip, starts, all) in reasons {
        let how = of(drip);
        assert_eq!(how.len(), usize::from(starts), "friend {n}, {drip}: {told:?}");
        for text in all {
            let at_least = u32::from(starts && !blocks(n));
            let at_most = u32::from(how.contains(&Ending::Finished));
            assert!((at_least..=at_most).contains(&got(text)), "friend {n} got `{text}` {} times", got(text));
        }
    }
    let seen = of("seen");
    assert_eq!(seen.is_empty(), told.count("visit") == 0, "friend {n}");
    assert!(seen.len() <= told.count("visit") as usize && seen.iter().all(|how| *how == Ending::Finished));
    let seen = seen.len() as u32;
    assert!(got("seen") == seen || blocks(n) && got("seen") < seen, "friend {n}: {seen} ways, {texts:?}");
}
