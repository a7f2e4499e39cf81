//! The proof: a daemon that is killed again and again in the middle of its requests, by a network that loses answers,
//! sends to everybody exactly once, keeps every cap, and has books that add up whenever one looks.
//!
//! `HAISHIN_FRIENDS` and `HAISHIN_KILLS` make a soak of it: see the guarantees for the command and what it said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use haishin::clock::{Clock, SetClock};
use haishin::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{OccurrenceId, TagName, UserId};
use haishin::domain::time::{Instant, Span};
use haishin::protocol::Command;
use haishin::sandbox::{Endpoint, RequestRecord, Sandbox, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use rstest::rstest;
use serde_json::Value;

use crate::support::count;
use crate::support::daemon::{self, CHANNEL, Daemon, Line, Shop, at, until};
use crate::support::ledger::Entry;
use crate::support::store::Database;

/// How many friends the shop has.
static FRIENDS: LazyLock<u32> = LazyLock::new(|| count("HAISHIN_FRIENDS").unwrap_or(100_000));
/// Fewer kills than this while requests are under way prove too little.
static KILLS_IN_FLIGHT: LazyLock<u32> = LazyLock::new(|| count("HAISHIN_KILLS").unwrap_or(20));
/// Batches of all campaigns for each friend, about: each friend gets 1.3 messages.
const BATCHES_PER_FRIEND: f64 = 1.3 / 500.0;
/// After a restart sending goes on within this time, unless the machine is too busy to start anything: a process that
/// waited for its own lease to run out would never manage.
const RESUMES_WITHIN: Span = Span::from_secs(5);

/// One message of the capped categories a day, whichever of them.
const SETTINGS: &str = r#"
quiet_hours = "off"
rate = 20

[caps.daily]
title = "one a day"
max = 1
per = "day"
"#;

/// Four campaigns whose audiences overlap, due while the ones before are being sent: `letter` finds room only with whom
/// `gift` left out, `note` only with whom both held out. `receipt` is of no capped category, and meets nobody.
const CAMPAIGNS: [(&str, &str); 4] = [
    (
        "gift",
        r#"
audience = { tag = "member" }
holdout = "5%"
schedule = { at = "2026-12-04 18:00:00" }
[[variant]]
name = "red"
message = [{ type = "text", text = "a red gift" }]
[[variant]]
name = "blue"
message = [{ type = "text", text = "a blue gift" }]
"#,
    ),
    (
        "letter",
        r#"
audience = { status = "following" }
holdout = "10%"
schedule = { at = "2026-12-04 18:00:03" }
message = [{ type = "text", text = "a letter" }]
"#,
    ),
    (
        "note",
        r#"
audience = { any = [{ tag = "fan" }, { tag = "member" }] }
category = "news"
schedule = { at = "2026-12-04 18:00:06" }
message = [{ type = "text", text = "a note" }]
"#,
    ),
    (
        "receipt",
        r#"
audience = { tag = "fan" }
category = "service"
schedule = { at = "2026-12-04 18:00:09" }
message = [{ type = "text", text = "a receipt" }]
"#,
    ),
];

fn user(n: u32) -> UserId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    id[15] = 1;
    UserId(id)
}

/// Everybody for whom this holds, by dense id, which follows the order of arrival.
fn those(holds: fn(u32) -> bool) -> RoaringBitmap {
    (0..*FRIENDS).filter(|n| holds(*n)).collect()
}

const fn is_blocked(n: u32) -> bool {
    n.is_multiple_of(97)
}

const fn is_member(n: u32) -> bool {
    n % 10 < 7
}

const fn is_fan(n: u32) -> bool {
    n.is_multiple_of(3)
}

struct Proof {
    shop: Shop,
    sandbox: Arc<Sandbox>,
    clock: Arc<SetClock>,
    figures: Figures,
    /// What was frozen when it was first seen so, and how many were accepted at the last look.
    frozen: BTreeMap<OccurrenceId, (Vec<RoaringBitmap>, u64)>,
}

#[derive(Debug, Default)]
struct Figures {
    kills: u32,
    in_flight: u32,
    /// Kills between the first due instant and the last freeze.
    before_the_last_freeze: u32,
    /// From each start to its first request.
    resumptions: Vec<Span>,
}

#[rstest]
#[case::sqlite(Database::Sqlite, 1, false)]
#[case::power_loss(Database::Sqlite, 3, true)]
#[case::postgres(Database::Postgres, 2, false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_everybody_gets_it_exactly_once(
    #[case] database: Database,
    #[case] seed: u64,
    #[case] loses_power: bool,
) {
    let _alone = daemon::alone().await;
    let mut proof = Proof::prepare(database, seed).await;
    if loses_power {
        proof.shop.on_power();
    }
    proof.kill_and_kill_again(&mut StdRng::seed_from_u64(seed)).await;
    proof.check().await;
    let totals = proof.sandbox.totals();
    let Figures { kills, in_flight, before_the_last_freeze, mut resumptions } = proof.figures;
    resumptions.sort_unstable();
    let (median, longest) = (resumptions[resumptions.len() / 2], resumptions[resumptions.len() - 1]);
    println!(
        "{database:?}: {kills} kills, {in_flight} with requests under way, {before_the_last_freeze} before the last \
         freeze; {} requests, {} lost or cut off, {} answered 409; resumed after {} ms in the median, {} ms at the \
         longest",
        totals.multicasts,
        totals.unanswered,
        totals.answered.get(&409).copied().unwrap_or(0),
        median.as_millis(),
        longest.as_millis()
    );
    assert!(median <= RESUMES_WITHIN, "half of the starts did not go on sending within {RESUMES_WITHIN}");
    // However busy the machine is: no start found its own lease taken and tried again.
    assert!(!proof.shop.log().contains("the account does not run"), "a start waited for a lease");
    assert!(in_flight >= *KILLS_IN_FLIGHT, "only {in_flight} kills fell while requests were under way");
    assert!(before_the_last_freeze > 0, "every kill fell after the last freeze");
    assert!(totals.answered.get(&409).is_some_and(|count| *count > 0), "no retry met LINE's memory");
}

impl Proof {
    /// A shop with all its friends applied, before anything is due.
    async fn prepare(database: Database, seed: u64) -> Self {
        let line = Line::bind().await;
        let shop = Shop::new(database, line.address, SETTINGS).await;
        for (slug, text) in CAMPAIGNS {
            let head = format!("title = \"{slug}\"\nreach = \"everyone\"\n");
            shop.write(&format!("campaigns/{slug}.toml"), &(head + text));
        }
        let before = at("2026-12-04T17:00:00+09:00");
        shop.stock(before, &friends(before)).await;
        let sandbox = Line::sandbox(|settings: &mut Settings| {
            settings.faults = Line::rough();
            settings.seed = seed;
        });
        let clock = Arc::new(SetClock::new(at("2026-12-04T17:59:58+09:00"), 1));
        // Served to the end of the test's runtime.
        let _ = line.serve(sandbox.clone(), clock.clone()).disarm();
        Self { shop, sandbox, clock, figures: Figures::default(), frozen: BTreeMap::new() }
    }

    /// Kills the daemon after drawn numbers of requests, until enough kills fell among requests under way; then lets
    /// it finish.
    async fn kill_and_kill_again(&mut self, rng: &mut StdRng) {
        let kills = *KILLS_IN_FLIGHT + 4;
        // So that there are requests left for the last kill.
        let apart =
            (f64::from(*FRIENDS) * BATCHES_PER_FRIEND / f64::from(kills) * 1.5).clamp(1.0, 8.0) as u64;
        while self.figures.in_flight < kills {
            let (mut daemon, before) = self.start().await;
            let wanted = before + rng.random_range(1..=apart);
            if self.figures.kills.is_multiple_of(50) {
                println!("{} kills, {} with requests under way", self.figures.kills, self.figures.in_flight);
            }
            until("the drawn request comes", async || {
                assert!(daemon.is_running(), "the daemon ended by itself");
                (self.multicasts() >= wanted).then_some(())
            })
            .await;
            let abandoned = self.sandbox.abandoned();
            daemon.kill();
            until("nothing is under way", async || (self.sandbox.under_way() == 0).then_some(())).await;
            self.figures.kills += 1;
            self.figures.in_flight += u32::from(self.sandbox.abandoned() > abandoned);
            self.look_at_the_books().await;
        }
        let (_daemon, _) = self.start().await;
        self.finish().await;
    }

    /// Starts the daemon and returns with its first request, which comes soon enough; also, how many there were before.
    async fn start(&mut self) -> (Daemon, u64) {
        let before = self.multicasts();
        let last = self.requests(0).last().map_or(0, |request| request.number);
        let started = self.clock.now().max(at("2026-12-04T18:00:00+09:00"));
        let mut daemon = self.shop.start(self.clock.now());
        until("the next request comes", async || {
            assert!(daemon.is_running(), "the daemon ended by itself");
            (self.multicasts() > before).then_some(())
        })
        .await;
        let first = self.requests(last).first().map_or(started, |request| request.at);
        self.figures.resumptions.push(first - started);
        self.balance_at_the_start().await;
        (daemon, before)
    }

    /// What the daemon itself says of every occurrence right after its start: it adds up, and nothing that was accepted
    /// before the kill is forgotten.
    async fn balance_at_the_start(&mut self) {
        for one in self.ask_all().await {
            assert_eq!(one["books"]["balanced"], true, "{one}");
            let counts = &one["books"]["counts"];
            for nobody in ["rejected", "unknown", "cancelled", "expired", "erased"] {
                assert_eq!(counts[nobody], 0, "{nobody}: {one}");
            }
            let id = OccurrenceId(one["occurrence"].as_i64().unwrap());
            let known = self.frozen.get(&id).map_or(0, |(_, accepted)| *accepted);
            assert!(counts["accepted"].as_u64().unwrap() >= known, "{known} were accepted: {one}");
        }
    }

    async fn ask_all(&self) -> Vec<Value> {
        let list = Command::OccurrenceList { campaign: None, limit: 10 };
        let list = until("the list", async || self.shop.converse(list.clone()).await).await;
        let mut all = Vec::new();
        for one in list["occurrences"].as_array().unwrap() {
            let occurrence = OccurrenceId(one["occurrence"].as_i64().unwrap());
            let show = Command::OccurrenceShow { occurrence };
            all.push(until("an occurrence", async || self.shop.converse(show.clone()).await).await);
        }
        all
    }

    /// The books while nobody runs: they add up, what was frozen stays as it was, and LINE was asked for nobody who was
    /// not in an open batch.
    async fn look_at_the_books(&mut self) {
        let ledger = self.shop.ledger().await;
        let (mut accepted, mut opened) = (0, 0);
        for one in &ledger.occurrences {
            let now = one.outcomes().get(&Outcome::Accepted).map_or(0, RoaringBitmap::len);
            let sets = one.arms.iter().map(|arm| arm.recipients.clone());
            let sets: Vec<_> = sets.chain(one.exclusions.values().cloned()).collect();
            let (frozen, before) = self.frozen.entry(one.row.id).or_insert((sets.clone(), 0));
            assert_eq!(*frozen, sets, "what was frozen never changes");
            assert!(now >= *before, "accepted stays accepted");
            *before = now;
            accepted += now;
            opened += one.opened();
        }
        let delivered = self.sandbox.totals().messages;
        assert!(accepted <= delivered && delivered <= opened, "{accepted} ≤ {delivered} ≤ {opened}");
        self.figures.before_the_last_freeze += u32::from(ledger.occurrences.len() < CAMPAIGNS.len());
    }

    /// Lets it send to the end, for as long as it gets on.
    async fn finish(&self) {
        let list = Command::OccurrenceList { campaign: None, limit: 10 };
        let mut taken = 0;
        let mut is_over = false;
        while !is_over {
            is_over = until("more is accepted, or everything has ended", async || {
                let list = self.shop.converse(list.clone()).await?;
                let states = list["occurrences"].as_array()?;
                let over =
                    states.len() == CAMPAIGNS.len() && states.iter().all(|one| one["state"] == "finished");
                let more = self.sandbox.totals().accepted > taken;
                (over || more).then_some(over)
            })
            .await;
            taken = self.sandbox.totals().accepted;
        }
        for one in self.ask_all().await {
            assert_eq!(one["books"]["balanced"], true, "{one}");
            assert_eq!(one["books"]["counts"]["accepted"], one["recipients"], "{one}");
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

        let (ledger, users) = (self.shop.ledger().await, self.shop.users().await);
        assert!(ledger.occurrences.iter().all(|one| one.row.state == OccurrenceState::Finished));
        let one = |slug: &str| -> &Entry {
            let mut found = ledger.of(slug);
            let first = found.next().expect("it was frozen");
            assert!(found.next().is_none(), "{slug} fired twice");
            first
        };
        let (gift, letter, note, receipt) = (one("gift"), one("letter"), one("note"), one("receipt"));
        check_the_audiences(gift, letter, note, receipt);

        // Everything fell on one local day, so the cap of one a day is a cap of one.
        let days: BTreeSet<_> =
            self.requests(0).iter().map(|request| request.at.day_in(chrono_tz::Asia::Tokyo)).collect();
        assert_eq!(days.len(), 1);
        let capped = gift.recipients() | letter.recipients() | note.recipients();
        let mut received = self.sandbox.received_counts(CHANNEL).unwrap();
        for n in &(&capped | receipt.recipients()) {
            let expected = u32::from(capped.contains(n)) + u32::from(receipt.recipients().contains(n));
            assert_eq!(received.remove(&users[&n]), Some(expected), "friend {n}");
        }
        assert_eq!(received.first_key_value(), None, "somebody got it who was not to");
        for one in &ledger.occurrences {
            for arm in &one.arms {
                let messages: Value = serde_json::from_str(&arm.messages).unwrap();
                let text = messages[0]["text"].as_str().unwrap();
                for n in arm.recipients.iter().step_by(211) {
                    let got = self.sandbox.received(CHANNEL, &users[&n]).unwrap();
                    let times = got.iter().filter(|got| got.messages.contains(text)).count();
                    assert_eq!(times, 1, "friend {n} was to get `{text}`");
                }
            }
        }
    }
}

/// Who was to get what, by sets that haishin had no part in; and that the cap left somebody out each time.
fn check_the_audiences(gift: &Entry, letter: &Entry, note: &Entry, receipt: &Entry) {
    let following = those(|n| !is_blocked(n));
    let members = those(|n| !is_blocked(n) && is_member(n));
    let fans = those(|n| !is_blocked(n) && is_fan(n));
    let capped = Exclusion::Capped { cap: "one a day".into() };
    let share = |part: &RoaringBitmap, whole: &RoaringBitmap| part.len() as f64 / whole.len() as f64;

    let held_out = gift.excluded(&Exclusion::Holdout);
    assert_eq!(gift.recipients() | &held_out, members);
    assert!(gift.arms.len() == 2, "two arms");
    assert!(
        gift.arms.iter().all(|arm| arm.recipients.len() > u64::from(*FRIENDS) * 3 / 10),
        "two arms alike"
    );
    assert!((0.045..0.055).contains(&share(&held_out, &members)));

    assert_eq!(letter.excluded(&capped), gift.recipients());
    let left = &following - gift.recipients();
    let held_out = letter.excluded(&Exclusion::Holdout);
    assert_eq!(letter.recipients() | &held_out, left);
    assert!((0.09..0.11).contains(&share(&held_out, &left)));

    let either = &members | &fans;
    assert_eq!(note.excluded(&capped), &either & (gift.recipients() | letter.recipients()));
    assert_eq!(note.recipients(), &either & &held_out);
    assert!(!note.recipients().is_empty());

    assert_eq!(receipt.recipients(), fans);
    let got_before = gift.recipients() | letter.recipients();
    assert!(share(&(receipt.recipients() & got_before), &fans) > 0.9, "no cap counts a receipt");
}

/// Everybody, as an import would bring them.
fn friends(at: Instant) -> Vec<Intake> {
    let intake = |n, effect| Intake { friend: user(n).into(), at, effect, dedupe: None };
    let mut intakes = Vec::new();
    for n in 0..*FRIENDS {
        let status = if is_blocked(n) { Status::Blocked } else { Status::Following };
        intakes.push(intake(n, Effect::Status { status, followed_at: Some(at) }));
        for (tag, holds) in [("member", is_member(n)), ("fan", is_fan(n))] {
            if holds {
                intakes.push(intake(n, Effect::TagAdded { tag: TagName::parse(tag).unwrap() }));
            }
        }
    }
    intakes
}
