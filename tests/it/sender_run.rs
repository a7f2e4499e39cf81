//! The sender's state machine against a LINE with a memory of keys, over drawn histories: answers lost, refused, late,
//! and processes that die at any moment and know afterwards only what was durable.

use std::collections::{BTreeMap, HashMap};

use haishin::clock::{BootTime, Reading};
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::id::{
    CampaignSlug, CategoryName, FriendId, OccurrenceId, UserId, VariantName, VersionId,
};
use haishin::domain::key::{RetryKey, Run as RunKind};
use haishin::domain::message::ContentDigest;
use haishin::domain::reason::Reason;
use haishin::domain::time::{Instant, Span};
use haishin::line::{Answer, Attempt, Blame, LimitHint};
use haishin::sender::run::{BatchKey, Change, Consequence, Next, Run};
use haishin::store::{BatchRow, OccurrenceRow, Part, StrideRow, VariantRow};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

const HISTORIES: u64 = 3_000;
const START: Instant = Instant::from_millis(1_796_000_000_000);
const CHANNEL: &str = "2000000001";

fn user_of(friend: FriendId) -> Option<UserId> {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&friend.0.to_be_bytes());
    Some(UserId(id))
}

/// LINE, as far as a sender can tell: keys with the body they came with, and who got it.
#[derive(Default)]
struct Line {
    bodies: HashMap<RetryKey, Vec<u8>>,
    taken: HashMap<RetryKey, u32>,
    received: BTreeMap<u32, u32>,
    /// Whether a taken key is a 409 before the body is looked at.
    looks_up_first: bool,
    /// Whether it names whom it refuses.
    names: bool,
    /// Ids it refuses by name.
    refused: RoaringBitmap,
}

/// What LINE does with a request, and what of it comes back.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    LostBefore(Loss),
    LostAfter(Loss),
    Refused(Refusal),
    Open(Hold),
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    Timeout,
    Connection,
    ServerError,
}

#[derive(Debug, Clone, Copy)]
enum Refusal {
    Messages,
    Untold,
    Forbidden,
    TooLarge,
    Other,
}

#[derive(Debug, Clone, Copy)]
enum Hold {
    TooMany,
    Unauthorized,
    ConflictWithoutId,
    NeverSent,
}

impl Line {
    fn request(&mut self, key: RetryKey, body: &[u8], fate: Fate) -> Attempt {
        let to = recipients(body);
        if !matches!(fate, Fate::Open(Hold::NeverSent)) {
            let first = self.bodies.entry(key).or_insert_with(|| body.to_vec());
            assert_eq!(first, body, "two bodies under one key");
        }
        let answer = match fate {
            Fate::LostBefore(loss) => loss.answer(),
            Fate::LostAfter(loss) => {
                self.take(key, &to);
                loss.answer()
            }
            Fate::Answered => self.take(key, &to),
            Fate::Open(hold) => hold.answer(),
            Fate::Refused(refusal) => match self.taken.get(&key) {
                Some(by) if self.looks_up_first => already(*by),
                _ => refusal.answer(),
            },
        };
        let request_id = (!matches!(answer, Answer::Timeout | Answer::ConnectionLost | Answer::NeverSent))
            .then(|| "request".to_owned());
        Attempt { answer, request_id, retry_after: None }
    }

    fn take(&mut self, key: RetryKey, to: &[u32]) -> Answer {
        if let (Some(by), true) = (self.taken.get(&key), self.looks_up_first) {
            return already(*by);
        }
        if let Some(at) = to.iter().position(|friend| self.refused.contains(*friend)) {
            let message = format!("The property, to[{at}], in the request body is invalid");
            let blame = if self.names { Blame::Recipient(at) } else { Blame::SomeRecipient };
            return Answer::BadRequest { message, blame };
        }
        if let Some(by) = self.taken.get(&key) {
            return already(*by);
        }
        self.taken.insert(key, u32::try_from(self.taken.len()).unwrap());
        for friend in to {
            *self.received.entry(*friend).or_default() += 1;
        }
        Answer::Accepted
    }
}

fn already(by: u32) -> Answer {
    Answer::AlreadyAccepted { accepted_request_id: by.to_string() }
}

fn recipients(body: &[u8]) -> Vec<u32> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let to = body["to"].as_array().unwrap().iter().map(|id| UserId::parse(id.as_str().unwrap()).unwrap());
    to.map(|user| u32::from_be_bytes(user.0[..4].try_into().unwrap())).collect()
}

impl Loss {
    fn answer(self) -> Answer {
        match self {
            Self::Timeout => Answer::Timeout,
            Self::Connection => Answer::ConnectionLost,
            Self::ServerError => Answer::ServerError(503),
        }
    }
}

impl Refusal {
    fn answer(self) -> Answer {
        match self {
            Self::Messages => bad(Blame::Messages),
            Self::Untold => bad(Blame::Untold),
            Self::Forbidden => Answer::Forbidden,
            Self::TooLarge => Answer::PayloadTooLarge,
            Self::Other => Answer::OtherRefusal(415),
        }
    }
}

fn bad(blame: Blame) -> Answer {
    Answer::BadRequest { message: "Failed to send messages".into(), blame }
}

impl Hold {
    fn answer(self) -> Answer {
        match self {
            Self::TooMany => Answer::TooManyRequests { hint: LimitHint::Rate },
            Self::Unauthorized => Answer::Unauthorized,
            Self::ConflictWithoutId => Answer::RetryKeyConflictWithoutId,
            Self::NeverSent => Answer::NeverSent,
        }
    }
}

/// What is durable, as a store would give it back.
struct Ledger {
    row: OccurrenceRow,
    variants: Vec<VariantRow>,
    strides: Vec<StrideRow>,
    batches: BTreeMap<BatchKey, BatchRow>,
}

/// A request that has left and has no answer yet.
struct Flight {
    batch: BatchKey,
    key: RetryKey,
    body: Vec<u8>,
}

/// How often the things a history is about came about, over all of them.
#[derive(Debug, Default)]
struct Seen {
    crashes: u64,
    with_flights: u64,
    quarantined: u64,
    generations: u64,
    outcomes: BTreeMap<Outcome, u64>,
    resumed: u64,
}

struct World {
    rng: StdRng,
    line: Line,
    ledger: Ledger,
    run: Run,
    flights: Vec<Flight>,
    /// Friends of requests that may have been taken although nobody said so.
    doubted: RoaringBitmap,
    everybody: RoaringBitmap,
    now: Span,
    halted: bool,
}

#[test]
fn whatever_happens_nobody_gets_it_twice_and_the_books_add_up() {
    let mut seen = Seen::default();
    for seed in 0..HISTORIES {
        let history = std::panic::AssertUnwindSafe(|| World::draw(seed).live(&mut seen));
        assert!(std::panic::catch_unwind(history).is_ok(), "that was history {seed}");
    }
    println!("{seen:?}");
    assert!(seen.crashes > HISTORIES / 2 && seen.with_flights > HISTORIES / 10, "{seen:?}");
    assert!(seen.quarantined > 100 && seen.generations > 100 && seen.resumed > 30, "{seen:?}");
    for outcome in Outcome::ALL {
        assert!(seen.outcomes.get(&outcome).is_some_and(|count| *count > 100), "{outcome:?}: {seen:?}");
    }
}

impl World {
    fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut variants, mut next) = (Vec::new(), 0_u32);
        for position in 0..rng.random_range(1..=6) {
            // A full batch and more now and then.
            let size =
                if rng.random_bool(0.01) { rng.random_range(499..=1_001) } else { rng.random_range(0..=5) };
            variants.push(variant(position, (next..next + size).collect()));
            next += size;
        }
        let everybody: RoaringBitmap = (0..next).collect();
        let refused = everybody.iter().filter(|_| rng.random_bool(0.05)).collect();
        let ledger = Ledger {
            row: occurrence(everybody.len()),
            variants,
            strides: Vec::new(),
            batches: BTreeMap::new(),
        };
        let run = Run::new(ledger.row.clone(), CHANNEL.into(), ledger.variants.clone());
        let (looks_up_first, names) = (rng.random_bool(0.5), rng.random_bool(0.5));
        let line = Line { looks_up_first, names, refused, ..Line::default() };
        let doubted = RoaringBitmap::new();
        Self {
            rng,
            line,
            ledger,
            run,
            flights: Vec::new(),
            doubted,
            everybody,
            now: Span::ZERO,
            halted: false,
        }
    }

    fn clock(&self) -> Reading {
        let boot = BootTime { boot_id: "one".into(), since_boot: self.now };
        Reading { now: START + self.now, boot }
    }

    fn live(&mut self, seen: &mut Seen) {
        for _ in 0..self.rng.random_range(1..60) {
            self.step(seen);
            self.check();
        }
        self.end();
        self.check();
        assert_eq!(self.run.unsettled(), 0, "everybody has an outcome at the end");
        for outcome in Outcome::ALL {
            *seen.outcomes.entry(outcome).or_default() += self.run.ended(outcome);
        }
        for friend in &self.run.outcome_set(Outcome::Accepted) {
            assert_eq!(self.line.received.get(&friend), Some(&1), "accepted, yet not delivered: {friend}");
        }
    }

    fn step(&mut self, seen: &mut Seen) {
        if self.rng.random_bool(0.05) {
            return self.erase();
        }
        match self.rng.random_range(0..100) {
            0..25 => self.open_stride(),
            25..50 => self.send(),
            50..80 if !self.flights.is_empty() => {
                let flight = self.rng.random_range(0..self.flights.len());
                let fate = self.fate();
                self.answer(flight, fate, seen);
            }
            80..86 => {
                let span = Span::from_millis(self.rng.random_range(0..20_000));
                self.pass(span);
            }
            86..90 => self.crash(seen),
            90..99 => self.resume(seen),
            99 if self.rng.random_bool(0.3) => {
                // An account that stood still for most of a day.
                let span = Span::from_hours(self.rng.random_range(1..24));
                self.pass(span);
                let rows = self.run.expire_keys(&self.clock());
                self.persist(rows);
            }
            _ => {}
        }
    }

    /// Somebody is erased: not sent to any more where that was never tried, and as sure of their outcome where it was.
    fn erase(&mut self) {
        let Some(friend) = self.everybody.select(self.rng.random_range(0..8)).map(FriendId) else { return };
        let before = self.run.outcome_set(Outcome::Erased).contains(friend.0);
        let rows = self.run.erase(friend, &self.clock(), &user_of);
        let gone = self.run.outcome_set(Outcome::Erased).contains(friend.0);
        assert_eq!(rows.is_empty(), gone == before, "{rows:?}");
        assert!(!gone || !self.run.holds(friend));
        self.persist(rows);
        if self.rng.random_bool(0.2) {
            self.restore();
        }
    }

    fn pass(&mut self, span: Span) {
        self.now = Span::from_millis(self.now.as_millis() + span.as_millis());
    }

    fn may_send(&self) -> bool {
        self.run.may_send() && !self.halted
    }

    fn open_stride(&mut self) {
        if !self.may_send() {
            return;
        }
        let (clock, length) = (self.clock(), self.rng.random_range(1..=3));
        let Some(stride) = self.run.next_stride(length, &clock, &user_of) else { return };
        self.ledger.strides.push(stride.row.clone());
        // A process may die between the commit and the first request.
        if self.rng.random_bool(0.05) {
            return self.restore();
        }
        self.run.stride_opened(stride);
    }

    fn send(&mut self) {
        if !self.may_send() {
            return;
        }
        match self.run.next_attempt(&self.clock(), &user_of) {
            None => {}
            Some(Next::Stopped(_)) => panic!("a body changed"),
            Some(Next::Request { batch, key, body, .. }) => {
                for friend in recipients(&body) {
                    let ended =
                        Outcome::ALL.into_iter().find(|one| self.run.outcome_set(*one).contains(friend));
                    assert_eq!(ended, None, "friend {friend} is sent to after the end");
                }
                self.flights.push(Flight { batch, key, body: body.to_vec() });
            }
        }
    }

    fn fate(&mut self) -> Fate {
        let loss = [Loss::Timeout, Loss::Connection, Loss::ServerError][self.rng.random_range(0..3)];
        match self.rng.random_range(0..100) {
            0..45 => Fate::Answered,
            45..60 => Fate::LostBefore(loss),
            60..75 => Fate::LostAfter(loss),
            75..78 => Fate::Refused(Refusal::Messages),
            78..80 => Fate::Refused(Refusal::Untold),
            80..84 => Fate::Refused(Refusal::Forbidden),
            84 => Fate::Refused(Refusal::TooLarge),
            85 => Fate::Refused(Refusal::Other),
            86..90 => Fate::Open(Hold::TooMany),
            90..93 => Fate::Open(Hold::Unauthorized),
            93..97 => Fate::Open(Hold::ConflictWithoutId),
            _ => Fate::Open(Hold::NeverSent),
        }
    }

    fn answer(&mut self, flight: usize, fate: Fate, seen: &mut Seen) {
        let Flight { batch, key, body } = self.flights.swap_remove(flight);
        let attempt = self.line.request(key, &body, fate);
        if attempt.answer.may_have_been_taken() {
            self.doubted.extend(recipients(&body));
        }
        let jitter = self.rng.random::<f64>();
        let Change { rows, consequences } = self.run.heard(batch, &attempt, &self.clock(), jitter, &user_of);
        seen.generations += rows.iter().filter(|row| row.generation > 0).count() as u64;
        // What was heard may be lost with the process before it is durable.
        if self.rng.random_bool(0.05) {
            self.doubted.extend(recipients(&body));
            return self.crash(seen);
        }
        self.persist(rows);
        for consequence in consequences {
            match consequence {
                Consequence::Quarantine(friend) => {
                    assert!(self.line.refused.contains(friend.0), "{friend:?} was not to blame");
                    seen.quarantined += 1;
                }
                Consequence::PauseCampaign(reason) => self.pause(reason),
                Consequence::PauseAccount(_) => self.halted = true,
                Consequence::AskQuota => {}
            }
        }
    }

    fn pause(&mut self, reason: Reason) {
        let _ = self.run.moves(OccurrenceState::Paused, Some(reason));
        self.ledger.row = self.run.row.clone();
    }

    fn resume(&mut self, seen: &mut Seen) {
        self.halted = false;
        if self.run.row.state == OccurrenceState::Paused {
            assert_eq!(self.run.goes_on(self.clock().now).len(), 2, "a state and a part");
            self.ledger.row = self.run.row.clone();
            seen.resumed += 1;
        }
    }

    fn persist(&mut self, rows: Vec<BatchRow>) {
        for row in rows {
            self.ledger.batches.insert((row.n, row.generation), row);
        }
    }

    /// The process dies: requests under way meet their fate at LINE, and nobody hears of it.
    fn crash(&mut self, seen: &mut Seen) {
        seen.crashes += 1;
        seen.with_flights += u64::from(!self.flights.is_empty());
        for Flight { key, body, .. } in std::mem::take(&mut self.flights) {
            self.doubted.extend(recipients(&body));
            let fate = self.fate();
            self.line.request(key, &body, fate);
        }
        self.restore();
    }

    fn restore(&mut self) {
        for Flight { key, body, .. } in std::mem::take(&mut self.flights) {
            self.doubted.extend(recipients(&body));
            self.line.request(key, &body, Fate::Answered);
        }
        let Ledger { row, variants, strides, batches } = &self.ledger;
        let batches = batches.values().cloned().collect();
        let clock = self.clock();
        self.run = Run::restore(row.clone(), CHANNEL.into(), variants.clone(), strides, batches, &clock);
    }

    /// Ends the occurrence as one can end: sent to the last, cancelled, or past its deadline.
    fn end(&mut self) {
        while !self.flights.is_empty() {
            self.answer(0, Fate::Answered, &mut Seen::default());
        }
        let untried = match self.rng.random_range(0..4) {
            0 => Outcome::Cancelled,
            1 => Outcome::Expired,
            _ => return self.send_all(),
        };
        let (possibly, unsettled) = (self.run.possibly_sent(), self.run.unsettled());
        let (unknown, released) = (self.run.ended(Outcome::Unknown), self.run.ended(untried));
        let rows = self.run.wind_up(untried, &self.clock(), None);
        self.persist(rows);
        assert!(self.run.is_done());
        // What a cancellation tells beforehand is what it comes to.
        assert_eq!(self.run.ended(Outcome::Unknown) - unknown, possibly);
        assert_eq!(self.run.ended(untried) - released, unsettled - possibly);
    }

    fn send_all(&mut self) {
        for _ in 0..2_000 {
            if self.run.is_done() {
                return;
            }
            self.resume(&mut Seen::default());
            self.open_stride();
            self.send();
            while !self.flights.is_empty() {
                self.answer(0, Fate::Answered, &mut Seen::default());
            }
            self.pass(Span::from_secs(61));
            let rows = self.run.expire_keys(&self.clock());
            self.persist(rows);
        }
        panic!("it never ends: {:?}", self.run);
    }

    /// What must hold after each step.
    fn check(&self) {
        let mut ended = RoaringBitmap::new();
        for outcome in Outcome::ALL {
            let set = self.run.outcome_set(outcome);
            assert_eq!(set.len(), self.run.ended(outcome));
            assert!(ended.is_disjoint(&set), "somebody ended in two ways");
            ended |= set;
        }
        assert!(ended.is_subset(&self.everybody));
        assert_eq!(ended.len() + self.run.unsettled(), self.everybody.len(), "the books add up");
        if let Some((friend, times)) = self.line.received.iter().find(|(_, times)| **times > 1) {
            panic!("friend {friend} got it {times} times");
        }
        let rejected = self.run.outcome_set(Outcome::Rejected);
        assert!(rejected.is_disjoint(&self.doubted), "a refusal after doubt is no rejection");
        for surely_not in [Outcome::Rejected, Outcome::Cancelled, Outcome::Expired, Outcome::Erased] {
            for friend in &self.run.outcome_set(surely_not) {
                assert_eq!(self.line.received.get(&friend), None, "{surely_not:?}, yet delivered: {friend}");
            }
        }
    }
}

fn variant(position: u32, recipients: RoaringBitmap) -> VariantRow {
    VariantRow {
        position,
        name: VariantName::parse(&format!("v{position}")).unwrap(),
        messages: format!("[{{\"type\":\"text\",\"text\":\"{position}\"}}]"),
        content: ContentDigest([u8::try_from(position).unwrap(); 32]),
        unit: Some(format!("unit_{position}")),
        recipients,
    }
}

fn occurrence(recipients: u64) -> OccurrenceRow {
    OccurrenceRow {
        id: OccurrenceId(1),
        campaign: CampaignSlug::parse("gift").unwrap(),
        step: None,
        due_at: START,
        run: RunKind::Scheduled(0),
        parent: None,
        child: 0,
        version: VersionId(1),
        state: OccurrenceState::Sending,
        reason: None,
        detail: serde_json::Value::Null,
        category: CategoryName::parse("promotion").unwrap(),
        capped: true,
        immediate: false,
        frozen_at: START,
        deadline_at: None,
        pace: None,
        notify: true,
        matched: recipients,
        recipients,
        parts: vec![Part { from_batch: 0, effective_at: START }],
        finished_at: None,
    }
}
