//! Every write of an engine as the place where it dies, where its database fails, or where an answer is lost: one
//! world for each write and each mishap, all of which end like the world where nothing happened.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::time::Span;
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::OccurrenceFilter;

use crate::support::faulty::Mishap;
use crate::support::ledger::Ledger;
use crate::support::store::Database;
use crate::support::world::{CHANNEL, Setup, World, user};

const FRIENDS: u32 = 40;
/// Worlds that live at the same time: most of what they do is waiting.
const AT_ONCE: usize = 4;
/// No world writes so often before everything has ended.
const MOST_WRITES: u64 = 200;

const SETTINGS: &str = "quiet_hours = \"off\"\nrate = 20\n";
const AT_SIX: &str = "schedule = { at = \"2026-12-04 18:00\" }";

/// Campaigns of a capped category that want the same friends on the same day, one of them paced, and one of no capped
/// category; all of them are sent whatever happens, unless the process itself dies when they fall due.
fn campaigns(if_missed: &str) -> Vec<(String, String)> {
    let everyone = "audience = { status = \"following\" }\nreach = \"everyone\"";
    let text = |text: &str| format!("message = [{{ type = \"text\", text = \"{text}\" }}]");
    let gift = format!(
        "{AT_SIX}\nholdout = \"20%\"\n[[variant]]\nname = \"red\"\n{}\n[[variant]]\nname = \"blue\"\n{}",
        text("red"),
        text("blue")
    );
    let letter = format!("{AT_SIX}\npace = \"3/5s\"\n{}", text("letter"));
    let receipt = format!(
        "schedule = {{ at = \"2026-12-04 18:00:02\", if_missed = \"{if_missed}\" }}\ncategory = \"service\"\n\
         pace = \"15/1s\"\n{}",
        text("receipt")
    );
    let campaign =
        |(slug, rest): (&str, String)| (slug.to_owned(), format!("title = \"{slug}\"\n{everyone}\n{rest}\n"));
    [("gift", gift), ("letter", letter), ("receipt", receipt)].map(campaign).to_vec()
}

async fn world(database: Database, if_missed: &str) -> World {
    let world = World::of(Setup {
        // Nothing happens at the very millisecond at which it falls due.
        now: "2026-12-04T17:59:59.020+09:00",
        settings: SETTINGS,
        campaigns: campaigns(if_missed),
        accounts: vec![("shop", FRIENDS)],
        database,
        seed: 7,
    })
    .await;
    world.sandbox.set_faults(vec![
        Fault::nth(FaultKind::LostAfter, [1]),
        Fault::nth(FaultKind::ServerErrorBefore, [3]),
        Fault::nth(FaultKind::RateLimited, [5]),
    ]);
    world
}

/// What a world came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    /// By campaign, due instant and state: how many ended how.
    occurrences: Vec<(String, OccurrenceState, BTreeMap<Outcome, u64>)>,
    /// By friend: the texts it got, in the order of the alphabet.
    received: BTreeMap<u32, Vec<String>>,
}

impl World {
    /// Lives to the end of everything; an engine that is stuck is killed there, and another one started.
    async fn live(&mut self) -> End {
        self.pass(Span::from_secs(1)).await;
        loop {
            let store = self.account(0).account.store.clone();
            let account = self.row(0).await;
            let truth = self.test.store.clone();
            let ended = self
                .until("everything has ended", async || {
                    if store.holds() {
                        return Some(false);
                    }
                    let newest = OccurrenceFilter::Newest { campaign: None, limit: 10 };
                    let rows = truth.occurrences(account, newest).await.unwrap();
                    (rows.len() == 3 && rows.iter().all(|row| row.finished_at.is_some())).then_some(true)
                })
                .await;
            if ended {
                return self.end().await;
            }
            self.kill(0).await;
            self.start(0).await.unwrap();
        }
    }

    async fn end(&self) -> End {
        let audit = self.sandbox.audit();
        assert_eq!((audit.duplicate_pairs, audit.without_key), (0, 0), "{:?}", audit.duplicates);
        assert_eq!((audit.keys_with_two_bodies, audit.keys_taken_twice), (vec![], vec![]));
        let ledger = Ledger::read(self.test.store.as_ref(), self.row(0).await).await;
        let texts = |n| {
            let got = self.sandbox.received(CHANNEL, &user(n)).unwrap();
            let texts = got.iter().map(|got| {
                let messages: serde_json::Value = serde_json::from_str(&got.messages).unwrap();
                messages[0]["text"].as_str().unwrap().to_owned()
            });
            texts.collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>()
        };
        let received: BTreeMap<u32, Vec<String>> = (0..FRIENDS).map(|n| (n, texts(n))).collect();
        for (n, texts) in &received {
            let capped = texts.iter().filter(|text| *text != "receipt").count();
            assert!(capped <= 1, "friend {n} got {texts:?} on one day");
        }
        let sum = |one: &crate::support::ledger::Entry| {
            let counts = one.ended.iter().map(|(outcome, friends)| (*outcome, friends.len()));
            (one.row.campaign.to_string(), one.row.state, counts.collect())
        };
        End { occurrences: ledger.occurrences.iter().map(sum).collect(), received }
    }
}

/// What each mishap struck, over all worlds.
type Struck = BTreeMap<Mishap, BTreeSet<&'static str>>;

/// Lives a world for every write there is, each going wrong once; `same` looks at the end of each.
async fn at_every_write(
    database: Database,
    mishaps: &[Mishap],
    if_missed: &str,
    same: impl Fn(&End),
) -> Struck {
    let mut struck = Struck::new();
    for mishap in mishaps {
        let worlds = (1..MOST_WRITES).map(|nth| async move {
            let mut world = world(database, if_missed).await;
            world.account(0).account.store.strike(nth, *mishap);
            let end = world.live().await;
            (nth, end, world.account(0).account.store.struck())
        });
        let mut worlds = futures_util::stream::iter(worlds).buffered(AT_ONCE);
        loop {
            let (nth, end, struck_here) = worlds.next().await.expect("it ends before so many writes");
            println!("{mishap:?} of write {nth}: {struck_here:?}");
            same(&end);
            let Some((_, what)) = struck_here.into_iter().next() else { break };
            struck.entry(*mishap).or_default().extend(what);
        }
    }
    struck
}

/// Everything an engine writes while it sends.
const WRITES: [&str; 7] = ["quota", "occurrence", "stride", "batches", "sets", "occurrence state", "renew"];

fn all_were_struck(struck: &Struck, mishaps: &[Mishap]) {
    for mishap in mishaps {
        for what in WRITES {
            assert!(struck.get(mishap).is_some_and(|all| all.contains(what)), "no {what} met {mishap:?}");
        }
    }
}

async fn undisturbed(database: Database) -> End {
    let end = world(database, "latest").await.live().await;
    let finished = |one: &(String, OccurrenceState, BTreeMap<Outcome, u64>)| {
        one.1 == OccurrenceState::Finished && one.2.keys().all(|outcome| *outcome == Outcome::Accepted)
    };
    assert!(end.occurrences.iter().all(finished), "{end:?}");
    assert!(end.received.values().all(|texts| texts.len() == 2), "{end:?}");
    end
}

#[tokio::test]
async fn killed_at_any_write_it_ends_as_if_nothing_had_happened() {
    const MISHAPS: [Mishap; 2] = [Mishap::StuckBefore, Mishap::StuckAfter];
    let expected = undisturbed(Database::Sqlite).await;
    let struck = at_every_write(Database::Sqlite, &MISHAPS, "latest", |end| assert_eq!(*end, expected)).await;
    all_were_struck(&struck, &MISHAPS);
}

/// A failing commit is no downtime either: not even a campaign that is not to be caught up is missed.
#[tokio::test]
async fn whatever_commit_fails_it_ends_as_if_nothing_had_happened() {
    const MISHAPS: [Mishap; 3] = [Mishap::Refused, Mishap::LostBefore, Mishap::LostAfter];
    let expected = undisturbed(Database::Sqlite).await;
    let struck = at_every_write(Database::Sqlite, &MISHAPS, "none", |end| assert_eq!(*end, expected)).await;
    all_were_struck(&struck, &MISHAPS);
}

/// An owner that was suspended with a commit on its way, and comes back when another one has long taken over.
#[tokio::test]
async fn an_owner_that_wakes_up_after_a_take_over_sends_nothing() {
    for (nth, mishap) in (1..=12).flat_map(|nth| [(nth, Mishap::StuckBefore), (nth, Mishap::StuckAfter)]) {
        let mut world = world(Database::Sqlite, "latest").await;
        let first = world.account(0).account.store.clone();
        first.strike(nth, mishap);
        world.until("it is suspended", async || first.holds().then_some(())).await;
        let sleeping = world.succeed(0, "another");
        assert!(world.start(0).await.is_err(), "the lease is held");
        world.clock.advance(Span::from_secs(11));
        world.start(0).await.unwrap();
        world.until_requests(2).await;
        first.release();
        let end = world.live().await;
        assert!(sleeping.is_running(), "it waits for its turn");
        for (_, state, outcomes) in &end.occurrences {
            assert_eq!(
                (*state, outcomes.keys().collect::<Vec<_>>()),
                (OccurrenceState::Finished, vec![&Outcome::Accepted])
            );
        }
        assert!(end.received.values().all(|texts| texts.len() == 2), "{end:?}");
    }
}
