//! The proof: a daemon that is killed again and again in the middle of its requests, by a network that loses answers,
//! sends to everybody exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::{Clock, SetClock};
use haishin::domain::delivery::{Exclusion, OccurrenceState};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{AccountId, UserId};
use haishin::domain::time::{Instant, Span};
use haishin::sandbox::{
    ChannelSettings, Endpoint, Fault, FaultKind, RequestRecord, Sandbox, Settings, UnknownIds,
};
use haishin::store::{self, NewInbox, OccurrenceFilter, OccurrenceRow, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use rstest::rstest;

use crate::support::daemon::{CHANNEL, Line, SECRET, Shop};
use crate::support::store::Database;

const FRIENDS: u32 = 100_000;
/// Every so many friends one has blocked the account.
const BLOCKED_EVERY: u32 = 97;
/// Fewer kills than this while requests are under way prove too little.
const KILLS_IN_FLIGHT: u32 = 20;
/// After a restart sending goes on within this time (protocol §2).
const RESUMES_WITHIN: Span = Span::from_secs(5);
/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const SETTINGS: &str = r#"
quiet_hours = "off"
rate = 20

[caps.daily]
title = "one a day"
max = 1
per = "day"
"#;

const GIFT: &str = r#"
title = "gift"
audience = { status = "following" }
reach = "everyone"
holdout = "5%"

[schedule]
at = "2026-12-04 18:00:00"

[[variant]]
name = "red"
message = [{ type = "text", text = "a red gift" }]

[[variant]]
name = "blue"
message = [{ type = "text", text = "a blue gift" }]
"#;

/// Due while the first one is being sent: only whom the first one held out has room under the cap.
const LETTER: &str = r#"
title = "letter"
audience = { status = "following" }
reach = "everyone"

[schedule]
at = "2026-12-04 18:00:06"

[[message]]
type = "text"
text = "a letter"
"#;

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn at(text: &str) -> Instant {
    Instant::try_from(text.to_owned()).unwrap()
}

fn user(n: u32) -> UserId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    id[15] = 1;
    UserId(id)
}

fn is_blocked(n: u32) -> bool {
    n.is_multiple_of(BLOCKED_EVERY)
}

/// Lost before and after accepting, and slow, so that there always are requests under way to be killed.
fn faults() -> Vec<Fault> {
    let slow = [50, 100, 150, 200, 250, 300].map(|ms| Fault::with_probability(FaultKind::Slow { ms }, 0.25));
    let lost = [FaultKind::LostBefore, FaultKind::LostAfter].map(|kind| Fault::with_probability(kind, 0.1));
    lost.into_iter().chain(slow).collect()
}

struct Proof {
    shop: Shop,
    sandbox: Arc<Sandbox>,
    clock: Arc<SetClock>,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    kills: u32,
    in_flight: u32,
    longest_resumption: Span,
}

#[rstest]
#[case::sqlite(Database::Sqlite, 1)]
#[case::postgres(Database::Postgres, 2)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_everybody_gets_it_exactly_once(
    #[case] database: Database,
    #[case] seed: u64,
) {
    // One database after the other: each is to be killed among requests, not while it waits for a processor.
    let _alone = ALONE.lock().await;
    let mut proof = Proof::prepare(database, seed).await;
    proof.kill_and_kill_again(&mut StdRng::seed_from_u64(seed)).await;
    proof.check().await;
    let totals = proof.sandbox.totals();
    let Figures { kills, in_flight, longest_resumption } = proof.figures;
    println!(
        "{database:?}: {kills} kills, {in_flight} with requests under way; {} requests, {} lost or cut off, \
         {} answered 409; longest resumption {} ms",
        totals.multicasts,
        totals.unanswered,
        totals.answered.get(&409).copied().unwrap_or(0),
        longest_resumption.as_millis()
    );
    assert!(in_flight >= KILLS_IN_FLIGHT, "only {in_flight} kills fell while requests were under way");
}

impl Proof {
    /// A shop with all its friends applied, a minute before anything is due.
    async fn prepare(database: Database, seed: u64) -> Self {
        let line = Line::bind().await;
        let shop = Shop::new(database, line.address, SETTINGS).await;
        shop.write("campaigns/gift.toml", GIFT);
        shop.write("campaigns/letter.toml", LETTER);
        let before = at("2026-12-04T17:00:00+09:00");
        let daemon = shop.start(before);
        let store = until("the database is there", async || store::open(&shop.url).await.ok()).await;
        let account =
            until("the account is there", async || Some(store.accounts().await.ok()?.first()?.id)).await;
        store.append_inbox(friends(account, before)).await.unwrap();
        until("all friends are applied", async || {
            let status = shop.ask(&["status"])?;
            let account = &status["accounts"][0];
            (account["inbox"] == 0 && account["unfolded"] == 0 && account["friends"] == FRIENDS).then_some(())
        })
        .await;
        daemon.terminate();
        store.close().await;
        let channel = ChannelSettings {
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(CHANNEL, SECRET, "shop")
        };
        let settings = Settings { faults: faults(), seed, ..Settings::new(vec![channel]) };
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let clock = Arc::new(SetClock::new(at("2026-12-04T17:59:58+09:00"), 1));
        // Served to the end of the test's runtime.
        let _ = line.serve(sandbox.clone(), clock.clone()).disarm();
        Self { shop, sandbox, clock, figures: Figures::default() }
    }

    /// Kills the daemon after drawn numbers of requests, until enough kills fell among requests under way; then lets
    /// it finish.
    async fn kill_and_kill_again(&mut self, rng: &mut StdRng) {
        loop {
            let before = self.multicasts();
            let last = self.requests(0).last().map_or(0, |request| request.number);
            let started = self.clock.now().max(at("2026-12-04T18:00:00+09:00"));
            let mut daemon = self.shop.start(self.clock.now());
            let wanted = before + rng.random_range(1..=10);
            let enough = self.figures.in_flight >= KILLS_IN_FLIGHT + 4;
            until("the next request comes", async || {
                assert!(daemon.is_running(), "the daemon ended by itself");
                (self.multicasts() > before).then_some(())
            })
            .await;
            let first = self.requests(last).first().map_or(started, |request| request.at);
            self.figures.longest_resumption = self.figures.longest_resumption.max(first - started);
            assert!(
                first - started <= RESUMES_WITHIN,
                "kill {}: sending went on after {} ms only",
                self.figures.kills,
                (first - started).as_millis()
            );
            if enough {
                return self.finish().await;
            }
            until("the drawn request comes", async || (self.multicasts() >= wanted).then_some(())).await;
            let abandoned = self.sandbox.abandoned();
            daemon.kill();
            until("nothing is under way", async || (self.sandbox.under_way() == 0).then_some(())).await;
            self.figures.kills += 1;
            self.figures.in_flight += u32::from(self.sandbox.abandoned() > abandoned);
        }
    }

    async fn finish(&self) {
        until("everything has ended", async || {
            let list = self.shop.ask(&["occurrence", "list"])?;
            let states = list["occurrences"].as_array()?;
            (states.len() == 2 && states.iter().all(|one| one["state"] == "finished")).then_some(())
        })
        .await;
        for number in ["1", "2"] {
            let shown = self.shop.ask(&["occurrence", "show", number]).expect("the daemon answers");
            assert_eq!(shown["books"]["balanced"], true, "{shown}");
            let counts = &shown["books"]["counts"];
            for nobody in ["rejected", "unknown", "cancelled", "expired", "erased", "not_yet_sent"] {
                assert_eq!(counts[nobody], 0, "{nobody} of occurrence {number}: {counts}");
            }
            assert_eq!(counts["accepted"], shown["recipients"]);
        }
    }

    fn multicasts(&self) -> u64 {
        self.sandbox.totals().multicasts
    }

    fn requests(&self, after: u64) -> Vec<RequestRecord> {
        let mut requests = self.sandbox.requests(after, usize::MAX);
        requests.retain(|request| request.endpoint == Some(Endpoint::Multicast));
        requests
    }

    /// Who got what, by the sandbox's ledger, against who was to get it, by ours.
    async fn check(&self) {
        let audit = self.sandbox.audit();
        assert_eq!(audit.duplicate_pairs, 0, "somebody got the same twice: {:?}", audit.duplicates.first());
        assert_eq!(audit.keys_with_two_bodies, []);
        assert_eq!(audit.keys_taken_twice, []);
        assert_eq!(audit.without_key, 0);

        let ledger = Ledger::read(&self.shop.url).await;
        let [gift, letter] = &ledger.occurrences[..] else { panic!("two occurrences") };
        let following: RoaringBitmap = (0..FRIENDS).filter(|n| !is_blocked(*n)).collect();
        assert_eq!(&gift.recipients | &gift.held_out, following);
        assert!(gift.recipients.is_disjoint(&gift.held_out));
        assert_eq!(gift.arms.len(), 2);
        assert!(gift.arms.iter().all(|(_, arm)| arm.len() > u64::from(FRIENDS) * 4 / 10), "two arms alike");
        let share = gift.held_out.len() as f64 / following.len() as f64;
        assert!((0.045..0.055).contains(&share), "held out: {share}");
        assert_eq!(letter.recipients, gift.held_out, "the cap leaves room for these alone");

        // Everything fell on one local day, so the cap of one a day is a cap of one.
        let day = |request: &RequestRecord| request.at.day_in(chrono_tz::Asia::Tokyo);
        let days: BTreeMap<_, usize> = self.requests(0).iter().map(|request| (day(request), 1)).collect();
        assert_eq!(days.len(), 1);
        let mut received = self.sandbox.received_counts(CHANNEL).unwrap();
        for n in &(&gift.recipients | &letter.recipients) {
            assert_eq!(received.remove(&ledger.users[&n]), Some(1), "friend {n}");
        }
        assert_eq!(received.first_key_value(), None, "somebody got it who was not to");
        for occurrence in [gift, letter] {
            for (text, arm) in &occurrence.arms {
                for n in arm.iter().step_by(211) {
                    let got = self.sandbox.received(CHANNEL, &ledger.users[&n]).unwrap();
                    let messages: Vec<_> =
                        got.iter().map(|received| received.messages.contains(text)).collect();
                    assert_eq!(messages, [true], "friend {n} was to get `{text}`");
                }
            }
        }
    }
}

/// Our own books, as they lie in the database.
struct Ledger {
    users: BTreeMap<u32, UserId>,
    occurrences: Vec<Frozen>,
}

/// What a freeze fixed.
struct Frozen {
    recipients: RoaringBitmap,
    held_out: RoaringBitmap,
    arms: Vec<(String, RoaringBitmap)>,
}

impl Ledger {
    async fn read(url: &str) -> Self {
        let store = store::open(url).await.unwrap();
        let account = store.accounts().await.unwrap()[0].id;
        let mut rows =
            store.occurrences(account, OccurrenceFilter::Newest { campaign: None, limit: 9 }).await.unwrap();
        rows.sort_by_key(|row| row.due_at);
        let mut occurrences = Vec::new();
        for row in &rows {
            assert_eq!(row.state, OccurrenceState::Finished);
            occurrences.push(Frozen::read(store.as_ref(), account, row).await);
        }
        let friends = store.friends(account, None, FRIENDS + 1).await.unwrap();
        let users = friends.into_iter().map(|friend| (friend.friend.0, friend.user.unwrap())).collect();
        store.close().await;
        Self { users, occurrences }
    }
}

impl Frozen {
    async fn read(store: &dyn Store, account: AccountId, row: &OccurrenceRow) -> Self {
        let arms: Vec<_> = store.variants(account, row.id).await.unwrap();
        let sets = store.exclusions(account, row.id).await.unwrap();
        let text =
            |messages: &str| serde_json::from_str::<serde_json::Value>(messages).unwrap()[0]["text"].clone();
        Self {
            recipients: arms.iter().fold(RoaringBitmap::new(), |all, arm| all | &arm.recipients),
            held_out: sets
                .into_iter()
                .find(|set| set.exclusion == Exclusion::Holdout)
                .map(|set| set.friends)
                .unwrap_or_default(),
            arms: arms
                .into_iter()
                .map(|arm| (text(&arm.messages).as_str().unwrap().to_owned(), arm.recipients))
                .collect(),
        }
    }
}

/// Everybody, as an import would bring them. Dense ids follow the order of arrival.
fn friends(account: AccountId, at: Instant) -> Vec<NewInbox> {
    let intake = |n| {
        let status = if is_blocked(n) { Status::Blocked } else { Status::Following };
        Intake { user: user(n), at, effect: Effect::Status { status, followed_at: Some(at) }, dedupe: None }
    };
    let intakes: Vec<Intake> = (0..FRIENDS).map(intake).collect();
    let row = |chunk: &[Intake]| NewInbox {
        account,
        received_at: at,
        source: "import".into(),
        intakes: chunk.to_vec(),
    };
    intakes.chunks(5_000).map(row).collect()
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
