//! Months of sends against a list of single deliveries: freezes, lost answers, resumptions, cancellations, a person who
//! settles what is unknown; batches and sets that are pruned, owners that start anew. Whatever is forgotten, caps,
//! `received`, `once`, the same content and every balance are what the list says.

use std::collections::{BTreeMap, BTreeSet};

use haishin::clock::Reading;
use haishin::domain::campaign::Pace;
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::id::{
    AccountId, AccountSlug, CampaignSlug, CategoryName, FriendId, OccurrenceId, UserId, VersionId,
};
use haishin::domain::key::Run as RunKind;
use haishin::domain::lookback::Lookback;
use haishin::domain::message::ContentDigest;
use haishin::domain::plan::{batches, friends_of};
use haishin::domain::policy::{Cap, CapWindow, Retention};
use haishin::domain::sends::Sends;
use haishin::domain::time::{Instant, Span, Tz};
use haishin::engine::retention::Pruner;
use haishin::engine::state::{State, reservation};
use haishin::line::{Answer, Attempt, Blame};
use haishin::sender::run::{Next, Run};
use haishin::store::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use rstest::rstest;

use super::{prune, reading};
use crate::support::store::{Database, TestStore};

const START: Instant = Instant::from_millis(1_796_000_000_000);
const BATCH: u32 = 7;
/// Longer than any window asked about here.
const WINDOW: Span = Span::from_days(33);
const RETENTION: Retention = Retention {
    webhook_ids: None,
    batches: Some(Span::from_days(10)),
    events: None,
    sets: Some(Span::from_days(50)),
};

fn user_of(friend: FriendId) -> Option<UserId> {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&friend.0.to_be_bytes());
    Some(UserId(id))
}

fn slug(n: usize) -> CampaignSlug {
    CampaignSlug::parse(&format!("c{n}")).unwrap()
}

/// One friend of one occurrence.
#[derive(Debug, Clone)]
struct Delivery {
    campaign: CampaignSlug,
    category: CategoryName,
    /// Of a test send: never counted.
    test: bool,
    capped: bool,
    content: ContentDigest,
    friend: u32,
    /// Of the frozen numbering.
    batch: u32,
    ended: Option<(Outcome, Instant)>,
}

impl Delivery {
    /// Whether it counts in a window that holds the instants for which `holds` is true.
    fn counts(&self, holds: impl Fn(Instant) -> bool) -> bool {
        !self.test && self.ended.is_none_or(|(outcome, at)| outcome.counts() && holds(at))
    }
}

/// What the world did, so that a run that tells nothing is noticed.
#[derive(Debug, Default)]
struct Seen {
    starts: u32,
    slices: usize,
    resolved: u32,
    resumed: u32,
    children: u32,
    unknown: u32,
    emptied: u32,
    capped: u64,
    ever: u64,
}

struct World {
    test: TestStore,
    account: AccountId,
    fence: Fence,
    rng: StdRng,
    now: Instant,
    lookback: Lookback,
    state: State,
    list: BTreeMap<OccurrenceId, Vec<Delivery>>,
    /// The instants its parts count at, in order.
    parts: BTreeMap<OccurrenceId, Vec<Instant>>,
    finished: BTreeMap<OccurrenceId, Instant>,
    pruner: Pruner,
    seen: Seen,
}

impl World {
    async fn new(database: Database, seed: u64) -> Self {
        let test = TestStore::new(database).await;
        let store = &*test.store;
        let account = store.ensure_account(&AccountSlug::parse("a").unwrap(), "1", START).await.unwrap();
        let Claim::Granted { fence, .. } =
            store.claim(account, "n", START, Span::from_secs(10)).await.unwrap()
        else {
            panic!("held")
        };
        // Who ever received c2 is asked by nobody.
        let ever = BTreeSet::from([slug(0), slug(1)]);
        let lookback = Lookback { sends: WINDOW, events: Span::ZERO, ever };
        let state = State::load(store, account, &lookback, &reading(START), None).await.unwrap();
        Self {
            account,
            fence,
            rng: StdRng::seed_from_u64(seed),
            now: START,
            lookback,
            state,
            list: BTreeMap::new(),
            parts: BTreeMap::new(),
            finished: BTreeMap::new(),
            pruner: Pruner::default(),
            seen: Seen::default(),
            test,
        }
    }

    fn clock(&self) -> Reading {
        reading(self.now)
    }

    async fn commit(&mut self, writes: Vec<Write>) {
        self.test.store.commit(&mut self.fence, self.now, Priority::Freeze, writes).await.unwrap();
        self.state.seen_at = self.now;
    }

    async fn freeze(&mut self) {
        let id = OccurrenceId(self.state.next_occurrence);
        let campaign = slug(self.rng.random_range(0..3));
        let category = ["promotion", "news", "service"].choose(&mut self.rng).unwrap();
        let category = CategoryName::parse(category).unwrap();
        let large = self.rng.random_bool(0.02);
        let most = if large { 6_000 } else { 40 };
        let first = self.some_friends(most);
        let second = match self.rng.random_bool(0.4) {
            true => self.some_friends(most) - &first,
            false => RoaringBitmap::new(),
        };
        let run = match self.rng.random_bool(0.1) {
            true => RunKind::Test(self.now),
            false => RunKind::Scheduled(0),
        };
        let capped = category.as_str() != "service";
        let pace = (!large).then_some(Pace { friends: BATCH, per: Span::from_secs(1) });
        let size = if large { 500 } else { BATCH };
        let contents =
            [self.rng.random_range(0..3), self.rng.random_range(0..3)].map(|n| ContentDigest([n; 32]));
        for (n, range) in (0..).zip(batches(&[&first, &second], size)) {
            let arm = [&first, &second][range.variant];
            self.list.entry(id).or_default().extend(friends_of(arm, range).map(|friend| Delivery {
                campaign: campaign.clone(),
                category: category.clone(),
                test: matches!(run, RunKind::Test(_)),
                capped,
                content: contents[range.variant],
                friend,
                batch: n,
                ended: None,
            }));
        }
        let arms = (0..).zip(contents).zip([first, second]);
        let variants: Vec<VariantRow> = arms
            .map(|((position, content), recipients)| VariantRow {
                position,
                name: format!("arm{position}").try_into().unwrap(),
                messages: "[]".into(),
                content,
                unit: None,
                recipients,
            })
            .collect();
        let recipients = variants.iter().map(|arm| arm.recipients.len()).sum();
        let part =
            Part { from_batch: 0, effective_at: self.now - Span::from_mins(self.rng.random_range(0..60)) };
        let row = OccurrenceRow {
            id,
            campaign,
            step: None,
            due_at: self.now,
            run,
            parent: None,
            child: 0,
            version: VersionId(1),
            state: OccurrenceState::Sending,
            reason: None,
            detail: serde_json::json!({}),
            category,
            capped,
            immediate: false,
            frozen_at: self.now,
            deadline_at: None,
            pace,
            notify: true,
            matched: recipients,
            recipients,
            parts: vec![part],
            finished_at: None,
        };
        let new = NewOccurrence { row: row.clone(), variants: variants.clone(), sets: Vec::new() };
        self.commit(vec![Write::Occurrence(Box::new(new))]).await;
        if matches!(run, RunKind::Scheduled(_)) {
            self.state.sends_mut().reserve(reservation(&row, &variants));
        }
        self.state.next_occurrence += 1;
        self.parts.insert(id, vec![part.effective_at]);
        self.state.runs.insert(id, Run::new(row, "1".into(), variants));
        self.finish_done().await;
    }

    /// Many of a few friends, who meet caps, and a few of many, whom nothing else reaches.
    fn some_friends(&mut self, most: u32) -> RoaringBitmap {
        let few: RoaringBitmap = (0..most).filter(|_| self.rng.random_bool(0.6)).collect();
        few | (0..20).map(|_| self.rng.random_range(60_000..120_000)).collect::<RoaringBitmap>()
    }

    /// A stride of some open run, and what LINE makes of it.
    async fn send(&mut self) {
        let Some(id) = self.some_run() else { return };
        let clock = self.clock();
        let length = self.rng.random_range(1..4);
        let run = self.state.runs.get_mut(&id).unwrap();
        if run.row.state != OccurrenceState::Sending {
            return;
        }
        if let Some(stride) = run.next_stride(length, &clock, &user_of) {
            self.test
                .store
                .commit(&mut self.fence, self.now, Priority::Outcome, vec![Write::Stride(stride.row.clone())])
                .await
                .unwrap();
            run.stride_opened(stride);
        }
        while let Some(next) = self.state.runs.get_mut(&id).unwrap().next_attempt(&clock, &user_of) {
            let Next::Request { batch, .. } = next else { panic!("the bytes are the same") };
            let answer = match self.rng.random_range(0..20) {
                0..14 => Answer::Accepted,
                14..17 => Answer::Timeout,
                17 => Answer::BadRequest { message: "no".into(), blame: Blame::Messages },
                _ => Answer::BadRequest { message: "to[0]".into(), blame: Blame::Recipient(0) },
            };
            let attempt = Attempt { answer, request_id: None, retry_after: None };
            let run = self.state.runs.get_mut(&id).unwrap();
            let rows = run.heard(batch, &attempt, &clock, 0.5, &user_of).rows;
            self.take(id, rows).await;
        }
        self.finish_done().await;
    }

    fn some_run(&mut self) -> Option<OccurrenceId> {
        let ids: Vec<OccurrenceId> = self.state.runs.keys().copied().collect();
        ids.choose(&mut self.rng).copied()
    }

    /// Batch rows become durable, are told to the sends as an engine does, and noted in the list.
    async fn take(&mut self, id: OccurrenceId, rows: Vec<BatchRow>) {
        if rows.is_empty() {
            return;
        }
        self.commit(vec![Write::Batches(rows.clone())]).await;
        for row in &rows {
            let run = &self.state.runs[&id];
            let test = matches!(run.row.run, RunKind::Test(_));
            let Some((outcome, at, friends)) = run.outcome_of(row) else { continue };
            if !test {
                self.state.settle(id, outcome, &friends, at);
            }
            let BatchEnding::Outcome(outcome) = row.ended.as_ref().unwrap().how else { unreachable!() };
            self.seen.children += u32::from(row.friends.is_some());
            self.seen.unknown += u32::from(outcome == Outcome::Unknown);
            // It counts in the part in which its outcome came: the one that goes on now.
            let at = *self.parts[&id].last().unwrap();
            for delivery in self.list.entry(id).or_default() {
                let of = match &row.friends {
                    Some(friends) => friends.contains(delivery.friend),
                    None => delivery.batch == row.n,
                };
                if of {
                    assert_eq!(delivery.ended, None, "{delivery:?} ends twice");
                    delivery.ended = Some((outcome, at));
                }
            }
        }
    }

    async fn expire_keys(&mut self) {
        let clock = self.clock();
        for id in self.state.runs.keys().copied().collect::<Vec<_>>() {
            let rows = self.state.runs.get_mut(&id).unwrap().expire_keys(&clock);
            self.take(id, rows).await;
        }
        self.finish_done().await;
    }

    async fn resume(&mut self) {
        let Some(id) = self.some_run() else { return };
        let run = self.state.runs.get_mut(&id).unwrap();
        if run.row.state != OccurrenceState::Sending {
            return;
        }
        let writes = run.goes_on(self.now);
        self.commit(writes).await;
        self.parts.get_mut(&id).unwrap().push(self.now);
        self.seen.resumed += 1;
    }

    async fn cancel(&mut self) {
        let Some(id) = self.some_run() else { return };
        let clock = self.clock();
        let run = self.state.runs.get_mut(&id).unwrap();
        let from = run.row.state;
        run.row.state = OccurrenceState::Cancelled;
        let rows = run.wind_up(Outcome::Cancelled, &clock, None);
        let to = OccurrenceState::Cancelled;
        self.commit(vec![Write::OccurrenceState {
            occurrence: id,
            from,
            to,
            reason: None,
            finished_at: None,
        }])
        .await;
        // As an owner that dies between the two, sometimes.
        if self.rng.random_bool(0.3) {
            self.start().await;
            let run = self.state.runs.get_mut(&id).unwrap();
            let rows = run.wind_up(Outcome::Cancelled, &clock, None);
            self.take(id, rows).await;
        } else {
            self.take(id, rows).await;
        }
        for delivery in self.list.entry(id).or_default() {
            delivery.ended.get_or_insert((Outcome::Cancelled, self.now));
        }
        let cancelled = self.state.runs[&id].outcome_set(Outcome::Cancelled);
        self.state.settle(id, Outcome::Cancelled, &cancelled, self.now);
        self.finish_done().await;
    }

    async fn finish_done(&mut self) {
        let done: Vec<OccurrenceId> =
            self.state.runs.values().filter(|run| run.is_done()).map(|run| run.row.id).collect();
        for id in done {
            let run = self.state.runs.remove(&id).unwrap();
            let from = run.row.state;
            let to = match from {
                OccurrenceState::Cancelled => from,
                _ => OccurrenceState::Finished,
            };
            let finished_at = Some(self.now);
            self.commit(vec![
                Write::Deliveries { occurrence: id, sets: run.deliveries() },
                Write::OccurrenceState { occurrence: id, from, to, reason: None, finished_at },
            ])
            .await;
            self.finished.insert(id, self.now);
        }
    }

    /// A person says what became of what is unknown.
    async fn resolve(&mut self) {
        let cutoff = RETENTION.cutoffs(&self.lookback, None, self.now).sets.unwrap();
        let ids: Vec<OccurrenceId> =
            self.finished.iter().filter(|(_, at)| **at > cutoff).map(|(id, _)| *id).collect();
        let Some(id) = ids.choose(&mut self.rng).copied() else { return };
        let outcome = *[Outcome::Accepted, Outcome::Rejected].choose(&mut self.rng).unwrap();
        let mut sets: BTreeMap<(u32, Instant, Outcome), RoaringBitmap> = BTreeMap::new();
        for set in self.test.store.deliveries(self.account, id).await.unwrap() {
            let ended = if set.outcome == Outcome::Unknown { outcome } else { set.outcome };
            *sets.entry((set.position, set.effective_at, ended)).or_default() |= set.friends;
        }
        let set = |((position, effective_at, outcome), friends)| DeliverySet {
            position,
            effective_at,
            outcome,
            friends,
        };
        self.commit(vec![Write::Deliveries { occurrence: id, sets: sets.into_iter().map(set).collect() }])
            .await;
        for delivery in self.list.entry(id).or_default() {
            if let Some((ended @ Outcome::Unknown, _)) = &mut delivery.ended {
                *ended = outcome;
                self.seen.resolved += 1;
            }
        }
        self.start().await;
    }

    async fn prune(&mut self) {
        let cutoffs = RETENTION.cutoffs(&self.lookback, None, self.now);
        let facts = (haishin::domain::id::Seq(0), cutoffs, self.now);
        let store = &*self.test.store;
        self.seen.slices += prune(store, self.account, &mut self.fence, &mut self.pruner, facts).await;
        self.state.sends_mut().forget_before(self.now - self.lookback.sends);
        let before = cutoffs.sets.unwrap();
        self.seen.emptied = u32::try_from(self.finished.values().filter(|at| **at < before).count()).unwrap();
    }

    async fn start(&mut self) {
        let store = &*self.test.store;
        let claim = store.claim(self.account, "n", self.now, Span::from_secs(10)).await.unwrap();
        let Claim::Granted { fence, .. } = claim else { panic!("held") };
        self.fence = fence;
        let clock = self.clock();
        self.state = State::load(store, self.account, &self.lookback, &clock, None).await.unwrap();
        self.seen.starts += 1;
        let open: BTreeSet<OccurrenceId> = self.state.runs.keys().copied().collect();
        assert!(self.finished.keys().all(|id| !open.contains(id)));
        assert_eq!(open.len() + self.finished.len(), self.parts.len());
    }

    fn check(&mut self) {
        let (cap, effective) = (self.some_cap(), self.now - Span::from_mins(self.rng.random_range(0..120)));
        let candidates: RoaringBitmap = (0..6_000).filter(|_| self.rng.random_bool(0.5)).collect();
        let first = cap.first_of_window(effective);
        let mut counts = BTreeMap::<u32, u32>::new();
        for delivery in
            self.list.values().flatten().filter(|delivery| delivery.capped && cap.holds(&delivery.category))
        {
            if delivery.counts(|at| first <= at && at <= self.now) {
                *counts.entry(delivery.friend).or_default() += 1;
            }
        }
        let full = |friend: &u32| counts.get(friend).copied().unwrap_or(0) >= cap.max;
        let expected: RoaringBitmap = candidates.iter().filter(full).collect();
        let sends = &self.state.sends;
        assert_eq!(sends.over_cap(&cap, effective, self.now, &candidates), expected, "{cap:?} {effective}");
        self.seen.capped += expected.len();

        let within = Span::from_hours(self.rng.random_range(1..31 * 24));
        let window = |at: Instant| self.now - within < at && at <= self.now;
        for campaign in (0..3).map(slug) {
            let expected = self.friends(|delivery| delivery.campaign == campaign && delivery.counts(window));
            assert_eq!(sends.received(&campaign, Some(within), self.now), expected, "{campaign} {within}");
        }
        for content in (0..3).map(|n| ContentDigest([n; 32])) {
            let expected = self.friends(|delivery| delivery.content == content && delivery.counts(window));
            assert_eq!(sends.got_content(&content, within, self.now), expected);
        }
        for campaign in &self.lookback.ever {
            let expected =
                self.friends(|delivery| delivery.campaign == *campaign && delivery.counts(|_| true));
            self.seen.ever += expected.len();
            assert_eq!(self.ever(sends, campaign), expected, "{campaign}");
        }
    }

    fn ever(&self, sends: &Sends, campaign: &CampaignSlug) -> RoaringBitmap {
        assert!(sends.covers(&self.lookback, self.now));
        sends.received(campaign, None, self.now)
    }

    fn friends(&self, wanted: impl Fn(&Delivery) -> bool) -> RoaringBitmap {
        self.list
            .values()
            .flatten()
            .filter(|delivery| wanted(delivery))
            .map(|delivery| delivery.friend)
            .collect()
    }

    fn some_cap(&mut self) -> Cap {
        let per = match self.rng.random_range(0..5) {
            0 => CapWindow::Day,
            1 => CapWindow::Week,
            2 => CapWindow::Month,
            _ => CapWindow::Rolling(Span::from_hours(self.rng.random_range(1..30 * 24))),
        };
        let promotion = CategoryName::parse("promotion").unwrap();
        let categories = self.rng.random_bool(0.5).then(|| vec![promotion]);
        Cap { name: "drawn".into(), categories, max: self.rng.random_range(1..6), per, zone: Tz::Asia__Tokyo }
    }

    /// The counts of everything that ever ended, also of what has been emptied.
    async fn check_balances(&self) {
        for id in self.finished.keys() {
            let mut expected = BTreeMap::<Outcome, u64>::new();
            for delivery in self.list.get(id).into_iter().flatten() {
                *expected.entry(delivery.ended.unwrap().0).or_default() += 1;
            }
            assert_eq!(self.test.store.tally(self.account, *id).await.unwrap().outcomes, expected, "{id}");
        }
    }

    async fn step(&mut self) {
        self.now = self.now + Span::from_secs(self.rng.random_range(1..100));
        match self.rng.random_range(0..40) {
            0..6 => self.freeze().await,
            6..20 => self.send().await,
            20..22 => self.resume().await,
            22 => self.cancel().await,
            23..28 => {
                self.now = self.now + Span::from_hours(self.rng.random_range(1..60));
                self.expire_keys().await;
            }
            28 => self.resolve().await,
            29..34 => self.prune().await,
            34..36 => self.start().await,
            _ => self.check(),
        }
    }
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.starts += other.starts;
        self.slices += other.slices;
        self.resolved += other.resolved;
        self.resumed += other.resumed;
        self.children += other.children;
        self.unknown += other.unknown;
        self.emptied += other.emptied;
        self.capped += other.capped;
        self.ever += other.ever;
    }
}

#[rstest]
#[case::sqlite(Database::Sqlite, 0..2)]
#[case::postgres(Database::Postgres, 2..3)]
#[tokio::test]
async fn what_is_forgotten_is_missed_by_nobody(
    #[case] database: Database,
    #[case] seeds: std::ops::Range<u64>,
) {
    let (mut all, worlds) = (Seen::default(), u32::try_from(seeds.end - seeds.start).unwrap());
    for seed in seeds {
        let mut world = World::new(database, seed).await;
        while world.now < START + Span::from_days(100) {
            world.step().await;
        }
        world.prune().await;
        world.check();
        world.start().await;
        world.check();
        world.check_balances().await;
        all.add(&world.seen);
    }
    println!("{worlds} worlds: {all:?}");
    assert!(all.starts > 20 * worlds && all.slices > 20 && all.emptied > 5 * worlds, "{all:?}");
    assert!(all.resumed > 10 * worlds && all.children > 10 * worlds && all.unknown > 5 * worlds, "{all:?}");
    assert!(all.resolved > 10 && all.capped > 1_000 && all.ever > 1_000, "{all:?}");
}
