//! An upgrade in the middle of a send: databases as released versions left them, killed at work, brought to their end by
//! this version. Each directory of `tests/fixtures/schema` is one released schema's.
//!
//! The next release adds one:
//! `cargo test --locked --test it -- --ignored upgrade::write_the_fixture_of_this_schema`

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use haishin::clock::Clock as _;
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::effect::{Effect, Entry, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{FriendId, Seq};
use haishin::domain::time::{Instant, Span};
use haishin::engine::LEASE;
use haishin::sandbox::{Fault, FaultKind, SandboxFriend};
use haishin::store::{Claim, NewInbox, OccurrenceFilter, Priority, Write};
use rstest::rstest;

use crate::support::ledger::Ledger;
use crate::support::store::{Database, TestStore};
use crate::support::world::{CHANNEL, Setup, World, user};

/// Friends when everything is frozen.
const FRIENDS: u32 = 60;
/// Friends on their way through the drip when it is killed…
const EARLY: std::ops::Range<u32> = 0..10;
/// …and those of whom the inbox says that they start.
const LATE: std::ops::Range<u32> = 20..25;
/// A friend of whom the inbox is the first to speak.
const NEW: u32 = FRIENDS;
/// Friends whose tag is in the journal and not in their rows.
const UNFOLDED: std::ops::Range<u32> = 30..33;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema")
}

fn name(database: Database) -> &'static str {
    match database {
        Database::Sqlite => "sqlite",
        Database::Postgres => "postgres",
        Database::Memory => panic!("nothing outlives a store in memory"),
    }
}

fn tag(name: &str) -> Effect {
    Effect::TagAdded { tag: name.parse().unwrap() }
}

/// A shop killed in the middle of a send of six batches: two are settled, LINE has the third and nobody heard.
async fn half_sent(database: Database, line: PathBuf) -> World {
    let gift = "title = \"gift\"\ncategory = \"service\"\naudience = { status = \"following\" }\n\
                reach = \"everyone\"\nholdout = \"10%\"\npace = \"10/2s\"\nschedule = { at = \"2026-12-04 18:01\" }\n\
                [[variant]]\nname = \"red\"\nmessage = [{ type = \"text\", text = \"red\" }]\n\
                [[variant]]\nname = \"blue\"\nmessage = [{ type = \"text\", text = \"blue\" }]\n";
    let drip = "title = \"trial\"\ncategory = \"service\"\nstart = { tag_added = \"trial\" }\n\
                [[step]]\nname = \"thanks\"\nmessage = [{ type = \"text\", text = \"thanks\" }]\n\
                [[step]]\nname = \"coupon\"\nafter = \"2min\"\nmessage = [{ type = \"text\", text = \"coupon\" }]\n";
    let files = [("gift".to_owned(), gift.to_owned()), ("drips/trial.toml".to_owned(), drip.to_owned())];
    let setup = Setup {
        now: "2026-12-04T17:59:50.020+09:00",
        settings: "quiet_hours = \"off\"\nrate = 20\n",
        campaigns: files.to_vec(),
        accounts: vec![("shop", FRIENDS)],
        database,
        seed: 7,
    };
    let mut world = World::remembered(setup, Some(line)).await;
    // What happens at the instant of the activation is before it.
    world.clock.advance(Span::from_millis(1));
    tell(&world, &EARLY.map(|n| (n, tag("trial"))).collect::<Vec<_>>()).await;
    // Steps are due at full minutes.
    world.until_state(1, "finished").await;
    world.sandbox.set_faults(vec![Fault::nth(FaultKind::Slow { ms: 9_000 }, [3])]);
    world.until_requests(1 + 3).await;
    world.kill(0).await;
    world
}

/// What the inbox holds from now on.
async fn tell(world: &World, said: &[(u32, Effect)]) {
    let at = world.clock.now();
    let intake = |(n, effect): &(u32, Effect)| Intake {
        friend: user(*n).into(),
        at,
        effect: effect.clone(),
        dedupe: None,
    };
    let intakes = said.iter().map(intake).collect();
    let row =
        NewInbox { account: world.row(0).await, received_at: at, source: NewInbox::API.into(), intakes };
    world.test.store.append_inbox(vec![row]).await.unwrap();
}

/// Entries that no row of a friend has yet.
async fn leave_unfolded(world: &World) {
    let (store, account, now) = (&world.test.store, world.row(0).await, world.clock.now());
    let Claim::Granted { mut fence, .. } = store.claim(account, "world", now, LEASE).await.unwrap() else {
        panic!("nobody else holds it");
    };
    let row = store.account(account).await.unwrap().unwrap();
    let entry =
        |(seq, friend)| Entry { seq: Seq(seq), friend: FriendId(friend), at: now, effect: tag("vip") };
    let entries = (row.journal_seq.0 + 1..).zip(UNFOLDED).map(entry).collect();
    store.commit(&mut fence, now, Priority::Fold, vec![Write::Entries(entries)]).await.unwrap();
}

/// A released schema's number, in the test that reads it the directory's name.
async fn schema(test: &TestStore) -> String {
    let newest = match test.url.starts_with("sqlite") {
        true => "SELECT CAST(MAX(version) AS TEXT) FROM _sqlx_migrations",
        false => "SELECT MAX(version)::text FROM _sqlx_migrations",
    };
    format!("{:0>4}", test.text(newest).await)
}

/// For a release: what it leaves behind, on both databases.
#[tokio::test]
#[ignore = "writes into tests/fixtures/schema, once a release"]
async fn write_the_fixture_of_this_schema() {
    for database in [Database::Sqlite, Database::Postgres] {
        let directory = tempfile::tempdir().unwrap();
        let line = directory.path().join("line.jsonl");
        let world = half_sent(database, line.clone()).await;
        let start = Effect::Status { status: Status::Following, followed_at: Some(world.clock.now()) };
        let late = LATE.map(|n| (n, tag("trial"))).chain([(NEW, start)]);
        tell(&world, &late.collect::<Vec<_>>()).await;
        leave_unfolded(&world).await;
        let into = fixtures().join(schema(&world.test).await);
        fs::create_dir_all(&into).unwrap();
        let write = |name: String, text: String| fs::write(into.join(name), text).unwrap();
        write(format!("{}.sql", name(database)), world.test.dump().await);
        write(format!("{}.line.jsonl", name(database)), fs::read_to_string(&line).unwrap());
        write(format!("{}.now", name(database)), format!("{}\n", world.clock.now()));
    }
}

/// What each friend got: text to how often.
fn received(world: &World) -> BTreeMap<u32, BTreeMap<String, usize>> {
    let texts = |n| {
        let mut texts = BTreeMap::new();
        for got in world.sandbox.received(CHANNEL, &user(n)).unwrap() {
            let messages: serde_json::Value = serde_json::from_str(&got.messages).unwrap();
            *texts.entry(messages[0]["text"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        texts
    };
    (0..=NEW).map(|n| (n, texts(n))).collect()
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn what_a_released_version_left_half_sent_this_one_ends(#[case] database: Database) {
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let released = entry.unwrap().path();
        seen += 1;
        finish(database, &released).await;
    }
    assert!(seen > 0, "there is a released schema");
}

async fn finish(database: Database, released: &Path) {
    let text = |ending: &str| {
        let path = released.join(format!("{}.{ending}", name(database)));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let sql = text("sql");
    assert!(sql.contains("INSERT INTO") && sql.contains("stride"), "{}", released.display());
    let directory = tempfile::tempdir().unwrap();
    let line = directory.path().join("line.jsonl");
    fs::write(&line, text("line.jsonl")).unwrap();
    let killed = Instant::try_from(text("now").trim().to_owned()).unwrap();

    let test = TestStore::loaded(database, &sql).await;
    assert!(schema(&test).await.as_str() >= released.file_name().unwrap().to_str().unwrap());
    let account = test.store.accounts().await.unwrap()[0].clone();
    assert!(account.folded_seq < account.journal_seq, "a journal that is not folded");
    assert_eq!(test.store.inbox_len(account.id).await.unwrap(), 1);
    let before = Ledger::read(test.store.as_ref(), account.id).await;
    let gift = before.of("gift").next().expect("it is frozen");
    let settled: u64 = gift.outcomes().values().map(roaring::RoaringBitmap::len).sum();
    assert!(gift.row.state == OccurrenceState::Sending && gift.opened() > settled, "a stride is open");

    let mut world = World::over(test, killed + Span::from_secs(20), line).await;
    // They follow still: LINE's file holds what it took, not who its friends are.
    let follows = |n| SandboxFriend { user: user(n), name: None, status: Status::Following };
    world.sandbox.put_friends(CHANNEL, (0..=NEW).map(follows).collect()).unwrap();
    let had: usize = received(&world).values().flat_map(BTreeMap::values).sum();
    assert_eq!(had as u64, settled + 10 + u64::from(EARLY.end), "LINE has a batch of which nobody heard");
    world.start(0).await.unwrap();
    world.step = Span::from_millis(250);
    let store = world.test.store.clone();
    world
        .until("everything has ended", async || {
            let newest = OccurrenceFilter::Newest { campaign: None, limit: 100 };
            let rows = store.occurrences(account.id, newest).await.unwrap();
            let ended = rows.iter().all(|row| row.finished_at.is_some());
            let on_their_way = store.open_enrollments(account.id, None, 1).await.unwrap();
            (ended && on_their_way.is_empty() && rows.len() >= 5).then_some(())
        })
        .await;

    // Nobody twice, by LINE's own books.
    let audit = world.sandbox.audit();
    assert_eq!((audit.duplicate_pairs, audit.keys_with_two_bodies), (0, vec![]), "{:?}", audit.duplicates);
    let ledger = Ledger::read(world.test.store.as_ref(), account.id).await;
    let gift = ledger.of("gift").next().unwrap();
    assert_eq!(gift.row.state, OccurrenceState::Finished);
    assert_eq!(gift.ended.keys().collect::<Vec<_>>(), [&Outcome::Accepted], "nobody is in doubt");
    let met = gift.batches.iter().filter_map(|batch| batch.ended.as_ref()?.accepted_request_id.as_ref());
    assert_eq!(met.count(), 1, "LINE answered 409 for the batch of which nobody had heard");
    assert_eq!(world.occurrence(gift.row.id.0).await.unwrap()["books"]["balanced"], true);
    // Nobody lost: whom the freeze gave it to, and everybody who started, before or in the inbox.
    let recipients = gift.recipients();
    for (n, texts) in received(&world) {
        let drip = EARLY.contains(&n) || LATE.contains(&n);
        let expected = [(n < FRIENDS && recipients.contains(n), "gift"), (drip, "thanks"), (drip, "coupon")];
        let expected = expected.iter().filter(|(got, _)| *got).map(|(_, text)| *text);
        let got: BTreeMap<&str, usize> = texts
            .iter()
            .map(|(text, times)| (if ["red", "blue"].contains(&&**text) { "gift" } else { text }, *times))
            .collect();
        assert_eq!(got, expected.map(|text| (text, 1)).collect(), "friend {n}");
    }
    // What the inbox and the journal said is so.
    world
        .at_once("the journal is folded", async || (world.status().await["unfolded"] == 0).then_some(()))
        .await;
    let friends = world.test.store.friends(account.id, None, 1_000).await.unwrap();
    assert_eq!(friends.len() as u32, FRIENDS + 1);
    let vip = |n: &u32| friends[*n as usize].tags.keys().any(|tag| tag.as_str() == "vip");
    assert_eq!((0..FRIENDS).filter(vip).collect::<Vec<_>>(), UNFOLDED.collect::<Vec<_>>());
}
