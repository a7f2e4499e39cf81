//! Past and reserved sends against a list of single deliveries that is read friend by friend.

use std::collections::BTreeSet;

use chrono::Datelike;
use haishin::domain::id::{CampaignSlug, CategoryName, OccurrenceId};
use haishin::domain::message::ContentDigest;
use haishin::domain::policy::{Cap, CapWindow};
use haishin::domain::sends::{Reservation, Sends};
use haishin::domain::time::{Instant, Span, Tz};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

const WORLDS: u64 = 320;
const HOUR: i64 = 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Open,
    Settled(Instant),
    Released,
    Forgotten,
}

/// One friend of one occurrence.
#[derive(Debug, Clone)]
struct Delivery {
    occurrence: OccurrenceId,
    campaign: CampaignSlug,
    category: CategoryName,
    capped: bool,
    content: ContentDigest,
    friend: u32,
    state: State,
}

impl Delivery {
    /// Whether it counts in a window that holds the instants for which `holds` is true.
    fn counts(&self, holds: impl Fn(Instant) -> bool) -> bool {
        match self.state {
            State::Open => true,
            State::Settled(at) => holds(at),
            State::Released | State::Forgotten => false,
        }
    }
}

struct World {
    rng: StdRng,
    sends: Sends,
    list: Vec<Delivery>,
    friends: Vec<u32>,
    start: Instant,
    large: bool,
}

fn slug(n: usize) -> CampaignSlug {
    CampaignSlug::parse(&format!("c{n}")).unwrap()
}

fn category(n: usize) -> CategoryName {
    CategoryName::parse(["promotion", "news", "service"][n % 3]).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // Friends on both sides of the edges of blocks and words.
        let edges = [0u32, 1, 63, 64, 65_535, 65_536, 65_537, 131_071, 131_072, u32::MAX - 1, u32::MAX];
        let mut friends: Vec<u32> =
            edges.iter().copied().filter(|_| rng.random_bool(0.7)).chain([5]).collect();
        let large = seed.is_multiple_of(16);
        if large {
            // Enough of one block for words instead of a list, too few of its neighbour.
            friends.extend(65_000..75_000);
            friends.sort_unstable();
        }
        let start = Instant::from_millis(1_796_000_000_000 + rng.random_range(0..400) * 24 * HOUR);
        Self { rng, sends: Sends::default(), list: Vec::new(), friends, start, large }
    }

    fn some_friends(&mut self, share: f64) -> RoaringBitmap {
        self.friends.iter().copied().filter(|_| self.rng.random_bool(share)).collect()
    }

    /// Whole hours, so that windows of whole hours often end exactly on a delivery.
    fn some_instant(&mut self) -> Instant {
        self.start + Span::from_millis(self.rng.random_range(0..240) * HOUR + self.rng.random_range(-1..=1))
    }

    fn some_occurrence(&mut self) -> OccurrenceId {
        OccurrenceId(self.rng.random_range(0..12))
    }

    fn reserve(&mut self) {
        let occurrence = self.some_occurrence();
        if self.list.iter().any(|delivery| delivery.occurrence == occurrence) {
            return;
        }
        let (campaign, category) = (slug(self.rng.random_range(0..3)), category(self.rng.random_range(0..3)));
        let capped = category.as_str() != "service" && self.rng.random_bool(0.9);
        let first = self.some_friends(0.6);
        let second = self.some_friends(0.3) - &first;
        let contents: Vec<_> = [first, second]
            .into_iter()
            .map(|friends| (ContentDigest([self.rng.random_range(0..3); 32]), friends))
            .collect();
        for (content, friends) in &contents {
            self.list.extend(friends.iter().map(|friend| Delivery {
                occurrence,
                campaign: campaign.clone(),
                category: category.clone(),
                capped,
                content: *content,
                friend,
                state: State::Open,
            }));
        }
        self.sends.reserve(Reservation { occurrence, campaign, category, capped, contents });
    }

    fn turn(&mut self, occurrence: OccurrenceId, friends: &RoaringBitmap, state: State) {
        for delivery in &mut self.list {
            if delivery.occurrence == occurrence
                && delivery.state == State::Open
                && friends.contains(delivery.friend)
            {
                delivery.state = state;
            }
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..8 => self.reserve(),
            8..16 => {
                let (occurrence, effective) = (self.some_occurrence(), self.some_instant());
                let share = *[0.3, 1.0].choose(&mut self.rng).unwrap();
                let counted = self.some_friends(share);
                self.sends.settle(occurrence, &counted, effective);
                self.turn(occurrence, &counted, State::Settled(effective));
            }
            16..19 => {
                let (occurrence, friends) = (self.some_occurrence(), self.some_friends(0.3));
                self.sends.release(occurrence, &friends);
                self.turn(occurrence, &friends, State::Released);
            }
            _ => {
                let before = self.start + Span::from_millis(self.rng.random_range(0..60) * HOUR);
                self.sends.forget_before(before);
                for delivery in &mut self.list {
                    if matches!(delivery.state, State::Settled(at) if at < before) {
                        delivery.state = State::Forgotten;
                    }
                }
            }
        }
    }

    fn some_cap(&mut self) -> Cap {
        let per = match self.rng.random_range(0..5) {
            0 => CapWindow::Day,
            1 => CapWindow::Week,
            2 => CapWindow::Month,
            _ => CapWindow::Rolling(Span::from_hours(self.rng.random_range(1..200))),
        };
        let categories =
            self.rng.random_bool(0.5).then(|| vec![category(self.rng.random_range(0..3)), category(0)]);
        let zone = *[Tz::Asia__Tokyo, Tz::America__New_York].choose(&mut self.rng).unwrap();
        Cap { name: "drawn".into(), categories, max: self.rng.random_range(0..6), per, zone }
    }

    fn check_cap(&mut self) -> u64 {
        let (cap, effective) = (self.some_cap(), self.some_instant());
        let now = effective + Span::from_millis(self.rng.random_range(0..3) * 12 * HOUR);
        let candidates = self.some_friends(0.8);
        let in_window = |at: Instant| {
            let (day, other) = (at.day_in(cap.zone), effective.day_in(cap.zone));
            at <= now
                && match cap.per {
                    CapWindow::Rolling(span) => effective - at < span,
                    CapWindow::Day => day >= other,
                    CapWindow::Week => day.iso_week() >= other.iso_week(),
                    CapWindow::Month => (day.year(), day.month()) >= (other.year(), other.month()),
                }
        };
        let mut counts = std::collections::HashMap::<u32, u32>::new();
        for delivery in &self.list {
            let named = cap.categories.as_ref().is_none_or(|named| named.contains(&delivery.category));
            if delivery.capped && named && delivery.counts(in_window) {
                *counts.entry(delivery.friend).or_default() += 1;
            }
        }
        let full = |friend: &u32| counts.get(friend).copied().unwrap_or(0) >= cap.max;
        let expected: RoaringBitmap = candidates.iter().filter(full).collect();
        assert_eq!(
            self.sends.over_cap(&cap, effective, now, &candidates),
            expected,
            "{cap:?} {effective} {now}"
        );
        expected.len()
    }

    fn check_received(&mut self) -> u64 {
        let (campaign, content) =
            (slug(self.rng.random_range(0..3)), ContentDigest([self.rng.random_range(0..3); 32]));
        let (now, span) = (self.some_instant(), Span::from_hours(self.rng.random_range(1..200)));
        let window = |at: Instant| now - span < at && at <= now;
        let friends_of = |wanted: &dyn Fn(&Delivery) -> bool| -> RoaringBitmap {
            self.list.iter().filter(|delivery| wanted(delivery)).map(|delivery| delivery.friend).collect()
        };
        let within = friends_of(&|delivery| delivery.campaign == campaign && delivery.counts(window));
        assert_eq!(self.sends.received(&campaign, Some(span), now), within);
        let ever = friends_of(&|delivery| delivery.campaign == campaign && delivery.state != State::Released);
        assert_eq!(self.sends.received(&campaign, None, now), ever);
        let same = friends_of(&|delivery| delivery.content == content && delivery.counts(window));
        assert_eq!(self.sends.got_content(&content, span, now), same);
        within.len() + same.len()
    }

    fn check_open(&self) {
        let occurrences: BTreeSet<OccurrenceId> =
            self.list.iter().map(|delivery| delivery.occurrence).collect();
        for occurrence in occurrences {
            let open = self.list.iter().filter(|d| d.occurrence == occurrence && d.state == State::Open);
            let open: RoaringBitmap = open.map(|delivery| delivery.friend).collect();
            assert_eq!(self.sends.unsettled(occurrence), open);
        }
    }
}

#[test]
fn sends_equal_a_list_of_single_deliveries() {
    let (mut capped, mut received, mut large) = (0, 0, 0);
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        for _ in 0..if world.large { 10 } else { 40 } {
            world.step();
            capped += u64::from(world.check_cap() > 0);
            received += u64::from(world.check_received() > 0);
        }
        world.check_open();
        large += u64::from(world.large);
    }
    assert!(capped > 3_000 && received > 3_000 && large >= 20, "{capped} {received} {large}");
}

#[test]
fn what_a_store_remembers_is_received_ever_but_in_no_window() {
    let mut sends = Sends::default();
    let friends = RoaringBitmap::from_iter([1, 2, 70_000]);
    sends.remember(&slug(0), &friends);
    let now = Instant::from_millis(0);
    assert_eq!(sends.received(&slug(0), None, now), friends);
    assert!(sends.received(&slug(0), Some(Span::LONGEST), now).is_empty());
    assert!(sends.received(&slug(1), None, now).is_empty());
}
