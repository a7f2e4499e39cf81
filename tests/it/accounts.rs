//! Many accounts in one daemon: none waits long for another's work, and none touches another's, though their friends
//! are the same people.

use std::collections::{BTreeMap, BTreeSet};

use haishin::clock::Clock as _;
use haishin::domain::delivery::Outcome;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::time::{Instant, Span};
use haishin::protocol::{Answer, Command, DueChoice, Failure};
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::{BatchEnding, NewInbox};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::ledger::{Entry, Ledger};
use crate::support::store::Database;
use crate::support::world::{Setup, View, World, slug, user};

fn campaign(account: &str, name: &str, at: &str, rest: &str) -> (String, String) {
    let text = format!(
        "title = \"{name}\"\naccount = \"{account}\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\n\
         schedule = {{ at = \"2026-12-04 {at}\" }}\n{rest}"
    );
    (format!("{name}-{account}"), text)
}

fn message(text: &str) -> String {
    format!("message = [{{ type = \"text\", text = \"{text}\" }}]\n")
}

/// Two arms and a holdout, so that a freeze has everybody to draw for.
fn arms(text: &str) -> String {
    let arm = |name: &str| format!("[[variant]]\nname = \"{name}\"\n{}", message(&format!("{text} {name}")));
    format!("holdout = \"20%\"\n{}{}", arm("red"), arm("blue"))
}

// ---- nobody waits long -----------------------------------------------------------------------------------------

const BEFORE: &str = "2026-12-04T17:59:59+09:00";
const NO_CAPS: &str = "quiet_hours = \"off\"\n[caps.daily]\nmax = \"off\"\n[caps.weekly]\nmax = \"off\"\n\
                       [caps.advertising_weekly]\nmax = \"off\"\n[caps.advertising_monthly]\nmax = \"off\"\n";
/// Campaigns of the account `a`, all due at once.
const MANY: usize = 12;
/// The other accounts, and the friends of each.
const SMALL: [&str; 3] = ["b", "c", "d"];
const FEW: u32 = 10;

/// Whether each small account has sent this many messages to each of its friends.
fn small_ones_sent(world: &World, messages: u32) -> bool {
    world.accounts().skip(1).all(|account| account.received() == [(messages, FEW as usize)].into())
}

/// Everybody has something due at the same instant, one account a dozen of huge sends. The clock stands still, so nothing
/// may take any time, and the test stands at the turnstile until all others wait behind it. Then every small account
/// sends after at most one slice of each other one. Again a second later, while the huge account is still at work.
#[rstest]
#[case::sqlite(Database::Sqlite, 200_000)]
#[case::postgres(Database::Postgres, 60_000)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_huge_freeze_a_due_send_waits_for_one_slice_of_each_other_account(
    #[case] database: Database,
    #[case] huge: u32,
) {
    let mass = |n: usize| campaign("a", &format!("mass{n:02}"), "18:00", &arms(&n.to_string()));
    let mut campaigns: Vec<_> = (0..MANY).map(mass).collect();
    for account in SMALL {
        campaigns.push(campaign(account, "letter", "18:00:00", &message("a letter")));
        campaigns.push(campaign(account, "note", "18:00:01", &message("a note")));
    }
    let mut accounts = vec![("a", huge)];
    accounts.extend(SMALL.map(|account| (account, FEW)));
    let world =
        World::of(Setup { now: BEFORE, settings: NO_CAPS, campaigns, accounts, database, seed: 0 }).await;

    let everybody = SMALL.len() as u64 + 1;
    for messages in [1, 2] {
        let held = world.turnstile.slice().await;
        world.clock.advance(Span::from_secs(1));
        let in_line = async || (world.turnstile.waiting() == everybody).then_some(());
        world.at_once("all stand in line", in_line).await;
        let (ended, at_a) = (world.turnstile.ended(), frozen_in_store(&world).await);
        drop(held);
        world.at_once("the small ones sent", async || small_ones_sent(&world, messages).then_some(())).await;
        let (slices, huge) = (world.turnstile.ended() - ended, frozen_in_store(&world).await - at_a);
        println!(
            "{database:?}: sent after {slices} slices, {huge} of them huge freezes; {at_a} were done before"
        );
        assert!(at_a + huge < MANY, "the huge account was busy all the while");
    }
    // Of the others and of the test each one slice: the one behind nobody else's second.
    let waited = world.turnstile.most_waited();
    assert!(
        (2..=everybody).contains(&waited),
        "somebody waited behind {waited} slices of {everybody} others"
    );
}

/// Without asking its engine, which is busy.
async fn frozen_in_store(world: &World) -> usize {
    let newest = haishin::store::OccurrenceFilter::Newest { campaign: None, limit: 100 };
    world.test.store.occurrences(world.row(0).await, newest).await.unwrap().len()
}

/// LINE is away for one account, in every way it can be, in the middle of a send of many batches. At each instant when
/// another account's send is due the clock stands still: it goes out without any time passing, so it waits for no
/// answer, no time-out and no back-off of the other. Nor is more and more put in doubt the longer it lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_an_outage_of_line_a_due_send_does_not_wait() {
    use FaultKind::{
        HangAfter, HangBefore, LostAfter, LostBefore, RateLimited, ServerErrorAfter, ServerErrorBefore,
    };
    const RATE: u32 = 5;
    let outages =
        [HangBefore, HangAfter, ServerErrorBefore, ServerErrorAfter, LostBefore, LostAfter, RateLimited];
    let settings = format!("rate = {RATE}\n{NO_CAPS}");
    let letter = |(n, _): (u32, _)| {
        campaign("b", &format!("letter{n}"), &format!("18:0{n}"), &message(&format!("letter {n}")))
    };
    let mut campaigns: Vec<_> = (1..).zip(outages).map(letter).collect();
    campaigns.push(campaign("a", "mass", "18:00", &message("to all")));
    let accounts = vec![("a", 45_000), ("b", FEW)];
    let database = Database::Sqlite;
    let mut world =
        World::of(Setup { now: BEFORE, settings: &settings, campaigns, accounts, database, seed: 0 }).await;
    world.step = Span::from_millis(200);
    let channel = Some(world.account(0).account.channel.clone());
    let six = clock("18:00:00");
    for (n, kind) in (1..).zip(outages) {
        world.sandbox.set_faults(vec![Fault { channel: channel.clone(), ..Fault::always(kind) }]);
        let (before, due) = (world.account(0).multicasts().len(), six + Span::from_mins(n));
        let nearly = due - Span::from_millis(200);
        world.until("the outage lasts", async || (world.clock.now() >= nearly).then_some(())).await;
        let requests = world.account(0).multicasts().len() - before;
        assert!(requests > 10, "only {requests} requests met {kind:?}");

        let (slices, letters) = (world.turnstile.ended(), u32::try_from(n).unwrap());
        assert!(letters == 1 || small_ones_sent(&world, letters - 1));
        world.clock.advance(due - world.clock.now());
        world.at_once("the other one sent", async || small_ones_sent(&world, letters).then_some(())).await;
        assert_eq!(world.turnstile.ended() - slices, 1, "its own freeze, during {kind:?}");
    }
    // Longer than the time after which each batch is tried once a minute only.
    world.sandbox.set_faults(vec![Fault { channel, ..Fault::always(ServerErrorBefore) }]);
    world.step = Span::from_secs(1);
    world.pass(Span::from_mins(15)).await;
    let ledger = Ledger::read(world.test.store.as_ref(), world.row(0).await).await;
    let mark = ledger.occurrences[0].mark();
    // As many as may be under way without an answer, and a few strides.
    assert!(
        (RATE..=64 + 3 * RATE).contains(&mark),
        "{mark} of 90 batches were opened in an outage of minutes"
    );
    world.sandbox.set_faults(vec![]);
    world.step = Span::from_millis(200);
    let some = async || (world.account(0).counts(1).await["accepted"].as_u64()? >= 40_000).then_some(());
    world.until("LINE is back", some).await;
    assert_eq!(world.sandbox.audit().duplicate_pairs, 0);
}

/// What comes in, and what it changes of the friends' rows, holds the writer for a moment at a time, however much it is;
/// what one request brought is not divided.
#[tokio::test]
async fn what_comes_in_is_taken_in_slices_and_so_is_what_it_changes() {
    const A_SLICE: u64 = 2_000;
    let settings = NO_CAPS;
    let (accounts, database) = (vec![("a", FEW)], Database::Sqlite);
    let world =
        World::of(Setup { now: BEFORE, settings, campaigns: vec![], accounts, database, seed: 0 }).await;
    let tag = |n: u64| {
        let tag = "regular".parse().unwrap();
        let effect = if (n / u64::from(FEW)).is_multiple_of(2) {
            Effect::TagAdded { tag }
        } else {
            Effect::TagRemoved { tag }
        };
        let friend = user(u32::try_from(n % u64::from(FEW)).unwrap()).into();
        Intake { friend, at: world.clock.now(), effect, dedupe: None }
    };
    let account = world.row(0).await;
    let row = |intakes| NewInbox { account, received_at: world.clock.now(), source: "api".into(), intakes };
    let all: Vec<Intake> = (0..3 * A_SLICE).map(tag).collect();
    let thousands = all.chunks(1_000).map(|some| row(some.to_vec())).collect();
    for (rows, slices) in [(vec![row(all.clone())], 1), (thousands, 3)] {
        let ended = world.turnstile.ended();
        world.test.store.append_inbox(rows).await.unwrap();
        let all_done = async || {
            let status = world.status().await;
            (status["inbox"] == 0 && status["unfolded"] == 0).then_some(())
        };
        world.at_once("all is applied and folded", all_done).await;
        assert_eq!(world.turnstile.ended() - ended, slices + 3, "the inbox's, and three of the rows'");
    }
}

/// How many batches at most and at least were written down and not tried yet, as long as there were others to be written
/// down: of so many campaigns of 20 batches each, due at once.
async fn written_ahead(campaigns: u32, rate: u32) -> (u32, u32) {
    let settings = format!("rate = {rate}\n{NO_CAPS}");
    let mass = |n| campaign("a", &format!("mass{n}"), "18:00", &message(&format!("the {n}th")));
    let (accounts, database) = (vec![("a", 10_000)], Database::Sqlite);
    let files = (0..campaigns).map(mass).collect();
    let setup = Setup { now: BEFORE, settings: &settings, campaigns: files, accounts, database, seed: 0 };
    let world = World::of(setup).await;
    let opened = async || {
        let ledger = Ledger::read(world.test.store.as_ref(), world.row(0).await).await;
        ledger.occurrences.iter().map(Entry::mark).sum::<u32>()
    };
    world.clock.advance(clock("18:00:00") - world.clock.now());
    let all = async || (frozen_in_store(&world).await == campaigns as usize).then_some(());
    world.at_once("all are frozen", all).await;
    world.at_once("all have begun", async || (opened().await >= campaigns).then_some(())).await;
    let (mut most, mut least) = (0, u32::MAX);
    // Some seconds of sending.
    for _ in 0..1_000 {
        let opened = opened().await;
        let untried = opened - u32::try_from(world.account(0).multicasts().len()).unwrap();
        most = most.max(untried);
        if opened == 20 * campaigns {
            return (most, least);
        }
        least = least.min(untried);
        world.pass(world.step).await;
    }
    panic!("not all batches were written down")
}

/// Campaigns that share the rate write down their part of a second of sending ahead, not a second each: what is written
/// down and not sent is in doubt after a power loss.
#[tokio::test]
async fn campaigns_that_share_the_rate_share_the_second_that_is_written_ahead() {
    let (most, _) = written_ahead(4, 20).await;
    // The first one is frozen alone and takes a whole second, the next one half of it, and so on.
    let at_most: u32 = (1..=4).map(|campaigns| 20 / campaigns).sum();
    assert!(most <= at_most, "{most} batches were written down ahead, at 20 a second");
}

/// While one stride is sent the next one is written, so that sending does not stand still for it.
#[tokio::test]
async fn the_next_stride_is_written_while_there_is_something_to_send() {
    let (most, least) = written_ahead(1, 4).await;
    assert!(2 <= least && most <= 6, "{least} to {most} batches, at 4 a second");
}

// ---- nobody touches another's ----------------------------------------------------------------------------------

/// Quiet hours of three minutes, so that a day's work passes in ten.
const SETTINGS: &str = "quiet_hours = \"18:03-18:06\"\nrate = 20\n";
const PEOPLE: u32 = 20;

/// The same campaigns for each account: capped ones that compete, paced ones, one that runs into the quiet hours.
fn shapes(account: &str) -> Vec<(String, String)> {
    let service =
        |text: &str, pace: &str| format!("category = \"service\"\npace = \"{pace}\"\n{}", message(text));
    vec![
        campaign(account, "first", "18:00", &format!("priority = 60\npace = \"5/10s\"\n{}", arms("first"))),
        campaign(account, "second", "18:00:05", &message("second")),
        campaign(account, "receipt", "18:00:30", &service("receipt", "10/5s")),
        campaign(account, "evening", "18:02:30", &service("evening", "5/20s")),
        campaign(account, "morning", "18:07", &service("morning", "10/5s")),
    ]
}

/// When somebody does something to an account.
enum When {
    /// At this time of the day.
    At(&'static str),
    /// Once so many of an occurrence have got it.
    Accepted(&'static str, u64),
}

/// What somebody does to an account.
enum Deed {
    Ask(Command),
    /// LINE's monthly limit, and what of it is used; nothing more where absent.
    Quota(u64, Option<u64>),
}

/// One account is paused, resumed, tested, stopped and started.
fn life_of_a() -> Vec<(When, Deed)> {
    let to = vec![user(1).to_string(), user(2).to_string()];
    let test = Command::CampaignTestSend { campaign: slug("second-a"), to, variant: None };
    vec![
        (When::Accepted("first-a", 5), Deed::Ask(Command::CampaignPause { campaign: slug("first-a") })),
        (When::At("18:00:40"), Deed::Ask(Command::CampaignResume { campaign: slug("first-a") })),
        (When::At("18:01:30"), Deed::Ask(test)),
        (When::At("18:01:50"), Deed::Ask(Command::Stop { reason: "a doubt".into() })),
        (When::At("18:02:40"), Deed::Ask(Command::Start { due: Some(DueChoice::Judge) })),
    ]
}

/// The other's send is cancelled, it meets the month's limit, and its token is refused.
fn life_of_b() -> Vec<(When, Deed)> {
    vec![
        (When::Accepted("first-b", 5), Deed::Ask(Command::CampaignCancel { campaign: slug("first-b") })),
        (When::Accepted("evening-b", 5), Deed::Quota(100, Some(100))),
        (When::At("18:05:30"), Deed::Quota(1_000, None)),
        (When::At("18:07:30"), Deed::Ask(Command::Start { due: Some(DueChoice::Judge) })),
    ]
}

/// Lives both lives, or one, to the end; what is to be done is done without time passing.
async fn live(database: Database, seed: u64, accounts: &[&'static str]) -> BTreeMap<String, Value> {
    let mut world = World::of(Setup {
        now: BEFORE,
        settings: SETTINGS,
        campaigns: accounts.iter().flat_map(|account| shapes(account)).collect(),
        accounts: accounts.iter().map(|account| (*account, PEOPLE)).collect(),
        database,
        seed,
    })
    .await;
    world.step = Span::from_millis(500);
    trouble(&world);
    let mut lives: Vec<_> = accounts
        .iter()
        .map(|account| if *account == "a" { life_of_a() } else { life_of_b() }.into_iter().peekable())
        .collect();
    let end = clock("18:10:00");
    world
        .until("the day is over", async || {
            for (account, life) in world.accounts().zip(&mut lives) {
                while let Some((when, _)) = life.peek() {
                    if !is_time(account, when).await {
                        break;
                    }
                    do_it(account, life.next().expect("it was there").1).await;
                }
            }
            (world.clock.now() >= end).then_some(())
        })
        .await;
    assert!(lives.iter_mut().all(|life| life.peek().is_none()), "everything was done");
    let mut books = BTreeMap::new();
    for (n, account) in accounts.iter().enumerate() {
        books.insert((*account).to_owned(), everything(&world, n).await);
    }
    books
}

fn clock(text: &str) -> Instant {
    Instant::try_from(format!("2026-12-04T{text}+09:00")).unwrap()
}

/// The same for everybody: answers that get lost. And for each account its own.
fn trouble(world: &World) {
    use FaultKind::{LostAfter, LostBefore, ServerErrorAfter, ServerErrorBefore, Unauthorized};
    let mut faults = Vec::new();
    for account in world.accounts() {
        let (channel, is_b) = (account.account.channel.clone(), account.account.slug.as_str() == "b");
        world.sandbox.refuse_users(&channel, &[user(if is_b { 7 } else { 3 })], &[]).unwrap();
        if is_b {
            let refused = Fault { channel: Some(channel), times: Some(1), ..Fault::always(Unauthorized) };
            faults.push(Fault { from: Some(clock("18:06:59")), ..refused });
        }
    }
    let lost = [LostAfter, LostBefore, ServerErrorAfter, ServerErrorBefore];
    faults.extend(lost.map(|kind| Fault::with_probability(kind, 0.08)));
    world.sandbox.set_faults(faults);
}

async fn is_time(account: View<'_>, when: &When) -> bool {
    match when {
        When::At(text) => account.world.clock.now() >= clock(text),
        When::Accepted(campaign, friends) => {
            let list = Command::OccurrenceList { campaign: Some(slug(campaign)), limit: 1 };
            let Ok(Answer { json, .. }) = account.ask(list).await else { return false };
            let Some(number) = json["occurrences"][0]["occurrence"].as_i64() else { return false };
            account.counts(number).await["accepted"].as_u64() >= Some(*friends)
        }
    }
}

async fn do_it(account: View<'_>, deed: Deed) {
    match deed {
        Deed::Ask(command) => {
            let done: Result<Answer, Failure> = account.ask(command.clone()).await;
            assert!(done.is_ok(), "{command:?}: {done:?}");
        }
        Deed::Quota(limit, used) => {
            let (channel, now) = (&account.account.channel, account.world.clock.now());
            account.world.sandbox.set_quota(channel, Some(limit), used, now).unwrap();
        }
    }
}

/// Everything there is of an account, in its own books and in LINE's, but for instants and how often was tried.
async fn everything(world: &World, n: usize) -> Value {
    let (store, id, view) = (world.test.store.as_ref(), world.row(n).await, world.account(n));
    let ledger = Ledger::read(store, id).await;
    let row = store.account(id).await.unwrap().unwrap();
    let friends = store.friends(id, None, 1_000).await.unwrap();
    let campaigns = store.campaigns(id).await.unwrap();
    let acts = store.acts(id, 1_000).await.unwrap();
    let channel = &view.account.channel;
    let mut received = BTreeMap::new();
    for person in 0..PEOPLE {
        let got = world.sandbox.received(channel, &user(person)).unwrap();
        let mut got: Vec<_> = got.iter().map(|got| json!([got.messages, got.silent, got.unit])).collect();
        got.sort_by_key(Value::to_string);
        received.insert(person, got);
    }
    let keys: BTreeSet<_> =
        view.multicasts().into_iter().map(|request| (request.key, request.body)).collect();
    let quota = store.quota(id).await.unwrap();
    json!({
        "occurrences": ledger.occurrences.iter().map(occurrence).collect::<Vec<_>>(),
        "friends": friends.iter().map(|friend| json!([
            friend.friend, friend.user, friend.status, friend.quarantined_at.is_some()
        ])).collect::<Vec<_>>(),
        "campaigns": campaigns.iter().map(|row| {
            json!([row.campaign, row.last_planned.map(|planned| planned.at), row.paused.as_ref().map(|halt| (&halt.by, &halt.reason))])
        }).collect::<Vec<_>>(),
        "stopped": row.stopped.map(|halt| halt.reason),
        "paused": row.paused.map(|halt| halt.reason),
        "acts": acts.iter().map(|act| json!([act.by, act.act, act.detail])).collect::<Vec<_>>(),
        "quota": quota.iter().map(|reading| json!([reading.month, reading.limit])).collect::<Vec<_>>(),
        "received": received,
        "keys": keys,
    })
}

fn occurrence(one: &Entry) -> Value {
    let row = &one.row;
    let set = |friends: &roaring::RoaringBitmap| friends.iter().collect::<Vec<_>>();
    let arms: Vec<_> =
        one.arms.iter().map(|arm| json!([arm.name, arm.messages, set(&arm.recipients)])).collect();
    let excluded: Vec<_> = one.exclusions.iter().map(|(why, friends)| json!([why, set(friends)])).collect();
    let ended: Vec<_> = one.ended.iter().map(|(outcome, friends)| json!([outcome, set(friends)])).collect();
    let batches = one.batches.iter().map(|batch| {
        let how = batch.ended.as_ref().map(|end| match end.how {
            BatchEnding::Outcome(outcome) => json!([outcome, end.detail]),
            BatchEnding::Superseded => json!(["superseded", end.detail]),
        });
        json!([
            batch.n,
            batch.generation,
            batch.parent,
            batch.friend_count,
            hex::encode(batch.body_sha256),
            how
        ])
    });
    let parts: Vec<_> = row.parts.iter().map(|part| part.from_batch).collect();
    let test = matches!(row.run, haishin::domain::key::Run::Test(_));
    json!({
        "campaign": row.campaign, "due_at": (!test).then_some(row.due_at), "state": row.state,
        "reason": row.reason, "matched": row.matched, "recipients": row.recipients, "parts": parts,
        "arms": arms, "excluded": excluded, "ended": ended, "batches": batches.collect::<Vec<_>>(),
    })
}

/// Whatever becomes of one account (paused, cancelled, stopped, out of messages, refused), the other's books and what
/// its friends got are exactly what they would have been alone.
#[rstest]
#[case::sqlite(Database::Sqlite, &[1, 2])]
#[case::postgres(Database::Postgres, &[3])]
#[tokio::test]
async fn two_accounts_with_the_same_friends_live_as_each_would_alone(
    #[case] database: Database,
    #[case] seeds: &[u64],
) {
    let mut seen = BTreeSet::new();
    for seed in seeds.iter().copied() {
        let together = live(database, seed, &["a", "b"]).await;
        for account in ["a", "b"] {
            let alone = live(database, seed, &[account]).await.remove(account).unwrap();
            same(account, &together[account], &alone);
            let occurrences = alone["occurrences"].as_array().unwrap();
            for one in occurrences {
                seen.insert(one["state"].as_str().unwrap().to_owned());
                seen.extend(
                    one["ended"].as_array().unwrap().iter().map(|one| one[0].as_str().unwrap().to_owned()),
                );
                seen.extend(
                    one["excluded"].as_array().unwrap().iter().map(|one| one[0]["reason"].to_string()),
                );
                seen.extend((one["parts"].as_array().unwrap().len() > 1).then(|| "parts".to_owned()));
                seen.extend(one["due_at"].is_null().then(|| "test".to_owned()));
            }
        }
        // Other campaigns' friends, keys and outcomes: two different lives.
        assert_ne!(together["a"]["received"], together["b"]["received"]);
    }
    for outcome in [Outcome::Accepted, Outcome::Rejected, Outcome::Cancelled] {
        assert!(seen.contains(outcome.as_str()), "{seen:?}");
    }
    for what in ["finished", "cancelled", "\"holdout\"", "\"capped\"", "\"quarantined\"", "parts", "test"] {
        assert!(seen.contains(what), "{what} in {seen:?}");
    }
}

/// Equal, or the first thing that is not.
fn same(account: &str, together: &Value, alone: &Value) {
    for (key, value) in alone.as_object().unwrap() {
        if key == "occurrences" {
            for (one, other) in together[key].as_array().unwrap().iter().zip(value.as_array().unwrap()) {
                for (field, value) in other.as_object().unwrap() {
                    assert_eq!(&one[field], value, "{field} of an occurrence of {account}");
                }
            }
        }
        assert_eq!(&together[key], value, "{key} of {account}");
    }
}
