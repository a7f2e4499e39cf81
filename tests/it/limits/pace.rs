//! `pace`: in no window of its time more than its friends, whatever LINE answers and however often a process dies.

use std::collections::BTreeMap;

use haishin::clock::{BootTime, Reading};
use haishin::domain::campaign::Pace;
use haishin::domain::delivery::Outcome;
use haishin::domain::time::Span;
use haishin::line::{Answer, Attempt};
use haishin::sandbox::{Fault, FaultKind};
use haishin::sender::run::{BatchKey, Next, Run};
use haishin::store::{BatchRow, OccurrenceRow, StrideRow, VariantRow};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::{START, arm, books, frozen, gift, user_of};

/// The most friends delivered to in any window `[t, t + per)`.
fn fullest(deliveries: &[(i64, u64)], per: i64) -> u64 {
    let window = |from: i64| {
        let inside = deliveries.iter().filter(|(at, _)| (from..from + per).contains(at));
        inside.map(|(_, friends)| friends).sum()
    };
    // A fullest window begins with a delivery.
    deliveries.iter().map(|(at, _)| window(*at)).max().unwrap_or(0)
}

#[tokio::test]
async fn no_window_holds_more_than_the_pace_allows() {
    let arm = |name: &str| {
        format!("[[variant]]\nname = \"{name}\"\nmessage = [{{ type = \"text\", text = \"{name}\" }}]\n")
    };
    let arms = format!("pace = \"5/10s\"\n{}", ["a", "b", "c"].map(arm).concat());
    let text = "title = \"gift\"\naudience = { status = \"following\" }\nreach = \"everyone\"\n\
                schedule = { at = \"2026-12-04 18:00\" }\n";
    let text = format!("{text}{arms}");
    let campaigns = [("gift", &*text)];
    let world = super::World::new(super::BEFORE, super::PLAIN, &campaigns, 38).await;
    let struck = |kind, nth: &[u64]| Fault::nth(kind, nth.iter().copied());
    world.sandbox.set_faults(vec![
        struck(FaultKind::LostAfter, &[2]),
        struck(FaultKind::ServerErrorBefore, &[4, 5, 6]),
        struck(FaultKind::HangAfter, &[8]),
    ]);
    world.until_state(1, "finished").await;
    assert_eq!(books(&world, 1).await, json!({ "accepted": 38 }));
    let delivered = world.multicasts().into_iter().filter(|request| request.delivered > 0);
    let delivered: Vec<(i64, u64)> =
        delivered.map(|request| (request.at.as_millis(), request.delivered as u64)).collect();
    assert_eq!(delivered.iter().map(|(_, friends)| friends).sum::<u64>(), 38);
    let (_, before) = delivered.split_last().unwrap();
    assert!(before.iter().any(|(_, friends)| *friends < 5), "an arm ends before the other: {delivered:?}");
    assert_eq!(fullest(&delivered, 10_000), 5, "{delivered:?}");
}

#[tokio::test]
async fn a_pace_is_kept_up() {
    let world = gift("pace = \"5/10s\"", 25).await;
    world.until_state(1, "finished").await;
    let sent = world.multicasts();
    let took = sent.last().unwrap().at - sent[0].at;
    assert!((40_000..43_000).contains(&took.as_millis()), "{took}: four times ten seconds, and a little");
}

/// A sender, a LINE that takes its time, and what is durable.
struct Life {
    rng: StdRng,
    row: OccurrenceRow,
    variants: Vec<VariantRow>,
    run: Run,
    strides: Vec<StrideRow>,
    batches: BTreeMap<BatchKey, BatchRow>,
    now: i64,
    /// When somebody got it, by batch: LINE delivers a key once.
    deliveries: BTreeMap<BatchKey, (i64, u64)>,
    kills: u32,
}

impl Life {
    fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let friends =
            if rng.random_bool(0.3) { rng.random_range(400..2_500) } else { rng.random_range(1..60) };
        let pace = Pace { friends, per: Span::from_millis(rng.random_range(1_000..60_000)) };
        let (mut variants, mut next) = (Vec::new(), 0_u32);
        for position in 0..rng.random_range(1..=4) {
            let size = rng.random_range(0..=friends * 3);
            variants.push(arm(position, next..next + size));
            next += size;
        }
        let row = frozen(Some(pace), next.into());
        let run = Run::new(row.clone(), "1".into(), variants.clone());
        let (strides, batches, deliveries) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { rng, row, variants, run, strides, batches, now: 0, deliveries, kills: 0 }
    }

    fn clock(&self) -> Reading {
        let since_boot = Span::from_millis(self.now);
        Reading { now: START + since_boot, boot: BootTime { boot_id: "one".into(), since_boot } }
    }

    fn live(&mut self) {
        while !self.run.is_done() {
            let clock = self.clock();
            if let Some(stride) = self.run.next_stride(100, &clock, &user_of) {
                self.strides.push(stride.row.clone());
                self.run.stride_opened(stride);
            }
            match self.run.next_attempt(&clock, &user_of) {
                Some(Next::Request { batch, .. }) => self.request(batch),
                Some(Next::Stopped(_)) => panic!("a body changed"),
                None => self.now += self.rng.random_range(1..500),
            }
        }
    }

    /// A request takes a while; in the middle of it LINE delivers, or does not.
    fn request(&mut self, batch: BatchKey) {
        self.now += self.rng.random_range(0..800);
        let friends = self.friends(batch);
        let delivers = self.rng.random_bool(0.7);
        if delivers {
            let at = self.now;
            self.deliveries.entry(batch).or_insert((at, friends));
        }
        self.now += self.rng.random_range(0..800);
        if self.rng.random_bool(0.1) {
            return self.kill();
        }
        let told = self.rng.random_bool(0.7);
        let answer = match (told, delivers) {
            (true, true) => Answer::Accepted,
            (true, false) => Answer::NeverSent,
            (false, _) => Answer::Timeout,
        };
        let attempt = Attempt { answer, request_id: None, retry_after: None };
        let change = self.run.heard(batch, &attempt, &self.clock(), 0.5, &user_of);
        self.batches.extend(change.rows.into_iter().map(|row| ((row.n, row.generation), row)));
    }

    fn friends(&self, (n, _): BatchKey) -> u64 {
        let size = self.row.pace.map_or(500, |pace| pace.friends);
        let sets: Vec<_> = self.variants.iter().map(|variant| &variant.recipients).collect();
        haishin::domain::plan::batches(&sets, size)[n as usize].len.into()
    }

    fn kill(&mut self) {
        self.kills += 1;
        let batches = self.batches.values().cloned().collect();
        let (row, variants, clock) = (self.row.clone(), self.variants.clone(), self.clock());
        self.run = Run::restore(row, "1".into(), variants, &self.strides, batches, &clock);
    }
}

#[test]
fn no_window_is_overfull_through_losses_and_kills() {
    let (mut kills, mut full) = (0, 0);
    for seed in 0..400 {
        let mut life = Life::draw(seed);
        life.live();
        kills += life.kills;
        assert_eq!(life.run.ended(Outcome::Accepted), life.row.recipients);
        let pace = life.row.pace.unwrap();
        let deliveries: Vec<(i64, u64)> = life.deliveries.values().copied().collect();
        let most = fullest(&deliveries, pace.per.as_millis());
        assert!(most <= pace.friends.into(), "seed {seed}: {most} in a window of {pace:?}: {deliveries:?}");
        full += u32::from(most == u64::from(pace.friends));
    }
    assert!(kills > 200 && full > 100, "{kills} kills, {full} that use all they may");
}
