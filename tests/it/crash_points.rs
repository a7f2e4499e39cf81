//! Every write of an engine as the place where it dies, where its database fails, or where an answer is lost: one
//! world for each write and each mishap, all of which end like the world where nothing happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use haishin::clock::{Clock as _, ManualClock};
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::time::Span;
use haishin::protocol::{Command, DueChoice};
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::OccurrenceFilter;
use rstest::rstest;
use sqlx::Connection as _;

use crate::support::faulty::Mishap;
use crate::support::ledger::{Entry, Ledger};
use crate::support::patience;
use crate::support::store::Database;
use crate::support::world::{CHANNEL, Setup, World, slug, user};

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
    /// Lives to the end of everything; an engine that is stuck is killed there, and another one started. Meanwhile people
    /// act: each act is done so long after the beginning, and again if nobody answers.
    async fn live(&mut self, acts: &[(Span, Command)]) -> End {
        let (began, account, truth) = (self.clock.now(), self.row(0).await, self.test.store.clone());
        let store = self.account(0).account.store.clone();
        let mut done = 0;
        loop {
            let ended = self
                .until("everything has ended", async || {
                    while let Some((_, act)) =
                        acts.get(done).filter(|(after, _)| self.clock.now() - began >= *after)
                    {
                        let view = self.account(0);
                        tokio::select! {
                            answer = view.ask_once(act.clone()) => drop(answer?),
                            () = store.stuck() => return Some(false),
                        }
                        done += 1;
                    }
                    if store.holds() {
                        return Some(false);
                    }
                    let newest = OccurrenceFilter::Newest { campaign: None, limit: 10 };
                    let rows = truth.occurrences(account, newest).await.unwrap();
                    let over = rows.len() == 3 && rows.iter().all(|row| row.finished_at.is_some());
                    (over && done == acts.len()).then_some(true)
                })
                .await;
            if ended {
                return self.end().await;
            }
            self.kill(0).await;
            self.start(0).await.unwrap();
        }
    }

    /// What the books call accepted was delivered, and what they say was never sent was not.
    fn as_line_has_it(one: &Entry, received: &BTreeMap<u32, Vec<String>>) {
        for arm in &one.arms {
            let messages: serde_json::Value = serde_json::from_str(&arm.messages).unwrap();
            let text = messages[0]["text"].as_str().unwrap();
            for n in &arm.recipients {
                let got = received[&n].iter().any(|other| other == text);
                let how = one.ended.iter().find(|(_, friends)| friends.contains(n)).map(|(how, _)| *how);
                match how {
                    Some(Outcome::Accepted) => assert!(got, "friend {n} did not get {text}"),
                    Some(Outcome::Unknown) => {}
                    how => assert!(!got, "friend {n} got {text}, which the books call {how:?}"),
                }
            }
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
        for one in &ledger.occurrences {
            Self::as_line_has_it(one, &received);
        }
        for (n, texts) in &received {
            let capped = texts.iter().filter(|text| *text != "receipt").count();
            assert!(capped <= 1, "friend {n} got {texts:?} on one day");
        }
        let sum = |one: &Entry| {
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
    (database, mishaps): (Database, &[Mishap]),
    if_missed: &str,
    acts: &[(Span, Command)],
    same: impl Fn(&End),
) -> Struck {
    let mut struck = Struck::new();
    for mishap in mishaps {
        let worlds = (1..MOST_WRITES).map(|nth| async move {
            let mut world = world(database, if_missed).await;
            world.account(0).account.store.strike(nth, *mishap);
            let end = world.live(acts).await;
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
const WRITES: [&str; 7] =
    ["quota", "occurrence", "stride", "batches", "deliveries", "occurrence state", "renew"];

fn all_were_struck(struck: &Struck, mishaps: &[Mishap], writes: &[&str]) {
    for mishap in mishaps {
        for what in writes {
            assert!(struck.get(mishap).is_some_and(|all| all.contains(what)), "no {what} met {mishap:?}");
        }
    }
}

async fn undisturbed(database: Database) -> End {
    let end = world(database, "latest").await.live(&[]).await;
    let finished = |one: &(String, OccurrenceState, BTreeMap<Outcome, u64>)| {
        one.1 == OccurrenceState::Finished && one.2.keys().all(|outcome| *outcome == Outcome::Accepted)
    };
    assert!(end.occurrences.iter().all(finished), "{end:?}");
    assert!(end.received.values().all(|texts| texts.len() == 2), "{end:?}");
    end
}

#[rstest]
#[case::sqlite(Database::Sqlite, &[Mishap::StuckBefore, Mishap::StuckAfter])]
#[case::postgres(Database::Postgres, &[Mishap::StuckAfter])]
#[tokio::test]
async fn killed_at_any_write_it_ends_as_if_nothing_had_happened(
    #[case] database: Database,
    #[case] mishaps: &[Mishap],
) {
    let expected = undisturbed(database).await;
    let same = |end: &End| assert_eq!(*end, expected);
    let struck = at_every_write((database, mishaps), "latest", &[], same).await;
    all_were_struck(&struck, mishaps, &WRITES);
}

/// A failing commit is no downtime either: not even a campaign that is not to be caught up is missed.
#[rstest]
#[case::sqlite(Database::Sqlite, &[Mishap::Refused, Mishap::LostBefore, Mishap::LostAfter])]
#[case::postgres(Database::Postgres, &[Mishap::LostAfter])]
#[tokio::test]
async fn whatever_commit_fails_it_ends_as_if_nothing_had_happened(
    #[case] database: Database,
    #[case] mishaps: &[Mishap],
) {
    let expected = undisturbed(database).await;
    let same = |end: &End| assert_eq!(*end, expected);
    let struck = at_every_write((database, mishaps), "none", &[], same).await;
    all_were_struck(&struck, mishaps, &WRITES);
}

/// The same while people pause, resume, stop, start and cancel: what they did is done, the books are true, and LINE has
/// what they say it has.
#[tokio::test]
async fn whatever_goes_wrong_among_peoples_acts_the_books_are_true() {
    const MISHAPS: [Mishap; 2] = [Mishap::StuckBefore, Mishap::LostAfter];
    let letter = || slug("letter");
    let acts = [
        (1, Command::CampaignPause { campaign: letter() }),
        (2, Command::CampaignResume { campaign: letter() }),
        (3, Command::CampaignPause { campaign: letter() }),
        (4, Command::CampaignResume { campaign: letter() }),
        (5, Command::Stop { reason: "a doubt".into() }),
        (6, Command::Start { due: Some(DueChoice::Judge) }),
        (8, Command::CampaignCancel { campaign: letter() }),
    ];
    let acts = acts.map(|(seconds, act)| (Span::from_secs(seconds), act));
    let ended = |end: &End| {
        let [(_, gift, _), (_, letter, outcomes), (_, receipt, _)] = &end.occurrences[..] else {
            panic!("{end:?}")
        };
        let expected = (OccurrenceState::Finished, OccurrenceState::Cancelled, OccurrenceState::Finished);
        assert_eq!((*gift, *letter, *receipt), expected, "{end:?}");
        assert!(
            outcomes.contains_key(&Outcome::Accepted) && outcomes.contains_key(&Outcome::Cancelled),
            "{end:?}"
        );
    };
    let struck = at_every_write((Database::Sqlite, &MISHAPS), "latest", &acts, ended).await;
    all_were_struck(&struck, &MISHAPS, &["act", "campaign", "occurrence state", "stopped"]);
    // Whether a batch waits unsent when somebody pauses hangs on how fast the answers come.
    assert!(struck.values().any(|all| all.contains("part")), "{struck:?}");
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
        let end = world.live(&[]).await;
        assert!(sleeping.is_running(), "it waits for its turn");
        as_if_nothing_had_happened(&end);
    }
}

/// Keeps a table of PostgreSQL from being written, so that whoever writes it waits in the middle of a transaction.
struct Dam(sqlx::PgConnection);

impl Dam {
    async fn before(world: &World, table: &str) -> Self {
        let mut conn = sqlx::PgConnection::connect(&world.test.url).await.unwrap();
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut conn).await.unwrap();
        Self(conn)
    }

    /// Lets time pass until so many wait: for the table, or for whoever waits for the table.
    async fn until_waiting(&mut self, count: i64, clock: &ManualClock, step: Span) {
        // Within a transaction the server shows whoever was connected when it was asked first, unless it is told not to.
        const ANEW: &str = "SELECT pg_stat_clear_snapshot()";
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let looking = async {
            loop {
                sqlx::query(ANEW).execute(&mut self.0).await.unwrap();
                if sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut self.0).await.unwrap() >= count {
                    return;
                }
                clock.advance(step);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(patience(), looking).await.unwrap_or_else(|_| panic!("never {count} waited"));
    }

    async fn breaks(mut self) {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.0).await.unwrap();
        self.0.close().await.unwrap();
    }
}

fn as_if_nothing_had_happened(end: &End) {
    for (_, state, outcomes) in &end.occurrences {
        assert_eq!(
            (*state, outcomes.keys().collect::<Vec<_>>()),
            (OccurrenceState::Finished, vec![&Outcome::Accepted])
        );
    }
    assert!(end.received.values().all(|texts| texts.len() == 2), "{end:?}");
}

/// On PostgreSQL the first owner is in the middle of a transaction when its lease is over and another one claims: that
/// one waits for it, and sees what it wrote.
#[rstest]
#[case("occurrence")]
#[case("stride")]
#[case("batch")]
#[case("delivery")]
#[tokio::test]
async fn a_claim_that_meets_a_commit_sees_all_of_it(#[case] table: &str) {
    let mut world = world(Database::Postgres, "latest").await;
    let clock = world.clock.clone();
    let mut dam = Dam::before(&world, table).await;
    dam.until_waiting(1, &clock, Span::from_millis(50)).await;
    let _first = world.succeed(0, "another");
    clock.advance(Span::from_secs(11));
    let sent = world.multicasts().len();
    let meeting = async {
        dam.until_waiting(2, &clock, Span::ZERO).await;
        dam.breaks().await;
    };
    let (claimed, ()) = tokio::join!(world.start(0), meeting);
    claimed.expect("the lease was over");
    let ledger = Ledger::read(world.test.store.as_ref(), world.row(0).await).await;
    as_if_nothing_had_happened(&world.live(&[]).await);
    // What that transaction settled is not asked for again.
    let settled =
        ledger.occurrences.iter().flat_map(|one| &one.batches).filter(|batch| batch.ended.is_some());
    let settled: BTreeSet<String> = settled.map(|batch| hex::encode(batch.body_sha256)).collect();
    assert!(table != "batch" || !settled.is_empty());
    for request in &world.multicasts()[sent..] {
        assert!(!settled.contains(request.body.as_ref().unwrap()), "{request:?}");
    }
}

/// The other way round: the one who has taken over is in the middle of a transaction when the first owner's commit, which
/// was long on its way, comes at last. It waits, and is fenced off.
#[rstest]
#[case("stride")]
#[case("batch")]
#[case("delivery")]
#[tokio::test]
async fn a_late_commit_that_meets_its_successors_is_fenced_off(#[case] table: &str) {
    for nth in 2..=5 {
        let mut world = world(Database::Postgres, "latest").await;
        let (clock, late) = (world.clock.clone(), world.account(0).account.store.clone());
        late.strike(nth, Mishap::StuckBefore);
        world.until("it is suspended", async || late.holds().then_some(())).await;
        let _first = world.succeed(0, "another");
        clock.advance(Span::from_secs(11));
        // Before the successor can be through.
        let mut dam = Dam::before(&world, table).await;
        world.start(0).await.unwrap();
        dam.until_waiting(1, &clock, Span::from_millis(50)).await;
        late.release();
        dam.until_waiting(2, &clock, Span::ZERO).await;
        dam.breaks().await;
        as_if_nothing_had_happened(&world.live(&[]).await);
    }
}
