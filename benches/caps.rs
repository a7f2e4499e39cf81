//! The cap check and the decision of a big campaign, against per-friend counting in the same run.
//!
//! `cargo bench --bench caps`. A million friends of one or of ten million are checked against 60 sends, each to a
//! tenth of the account at random, which is the worst case for bitmaps.

use haishin::domain::id::{CampaignSlug, CategoryName, OccurrenceId};
use haishin::domain::message::ContentDigest;
use haishin::domain::policy::{Cap, CapWindow};
use haishin::domain::sends::{Reservation, Sends};
use haishin::domain::time::{Instant, Span, Tz};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

const SENDS: i64 = 60;
const MILLION: u32 = 1_000_000;
const NOW: Instant = Instant::from_millis(1_796_374_800_000);

fn main() {
    divan::main();
}

/// Everybody's histories twice: as sends and friend by friend, and whom to check.
struct World {
    sends: Sends,
    histories: Vec<Vec<Instant>>,
    candidates: RoaringBitmap,
}

fn world(friends: u32) -> World {
    let mut rng = StdRng::seed_from_u64(1);
    let mut world = World {
        sends: Sends::default(),
        histories: vec![Vec::new(); friends as usize],
        candidates: draw(&mut rng, friends, f64::from(MILLION) / f64::from(friends)),
    };
    for number in 0..SENDS {
        let recipients = draw(&mut rng, friends, 0.1);
        let effective = NOW - Span::from_hours(number * 2);
        recipients.iter().for_each(|friend| world.histories[friend as usize].push(effective));
        let occurrence = OccurrenceId(number);
        world.sends.reserve(Reservation {
            occurrence,
            campaign: CampaignSlug::parse("past").unwrap(),
            category: CategoryName::parse("promotion").unwrap(),
            capped: true,
            contents: vec![(ContentDigest([0; 32]), recipients.clone())],
        });
        world.sends.settle(occurrence, &recipients, effective);
    }
    world
}

fn draw(rng: &mut StdRng, friends: u32, share: f64) -> RoaringBitmap {
    (0..friends).filter(|_| rng.random_bool(share)).collect()
}

/// Holds all 60 sends in its window and excludes a good part of the friends.
fn cap() -> Cap {
    let per = CapWindow::Rolling(Span::from_days(7));
    Cap { name: "6 in 7d".into(), categories: None, max: 6, per, zone: Tz::Asia__Tokyo }
}

#[divan::bench(args = [MILLION, 10 * MILLION], sample_count = 20)]
fn planes(bencher: divan::Bencher, friends: u32) {
    let world = world(friends);
    bencher.bench_local(|| world.sends.over_cap(&cap(), NOW, NOW, &world.candidates));
}

#[divan::bench(args = [MILLION, 10 * MILLION], sample_count = 20)]
fn per_friend(bencher: divan::Bencher, friends: u32) {
    let world = world(friends);
    let (cap, (first, last)) = (cap(), cap().window_of(NOW));
    let full = |friend: &u32| {
        let history = &world.histories[*friend as usize];
        history.iter().filter(|at| (first..=last).contains(*at)).count() >= cap.max as usize
    };
    let expected = world.sends.over_cap(&cap, NOW, NOW, &world.candidates);
    assert_eq!(world.candidates.iter().filter(full).collect::<RoaringBitmap>(), expected);
    bencher.bench_local(|| world.candidates.iter().filter(full).collect::<RoaringBitmap>());
}

/// Many small sends, as drips make them, in the time-ordered column.
#[divan::bench(sample_count = 20)]
fn small_sends(bencher: divan::Bencher) {
    let mut rng = StdRng::seed_from_u64(2);
    let mut sends = Sends::default();
    for number in 0..1_000 {
        let recipients: RoaringBitmap = (0..1_000).map(|_| rng.random_range(0..MILLION)).collect();
        let occurrence = OccurrenceId(number);
        sends.reserve(Reservation {
            occurrence,
            campaign: CampaignSlug::parse("drip").unwrap(),
            category: CategoryName::parse("followup").unwrap(),
            capped: true,
            contents: vec![(ContentDigest([0; 32]), recipients.clone())],
        });
        sends.settle(occurrence, &recipients, NOW - Span::from_mins(1_000 - number));
    }
    let candidates: RoaringBitmap = (0..MILLION).collect();
    bencher.bench_local(|| sends.over_cap(&cap(), NOW, NOW, &candidates));
}
