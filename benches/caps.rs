//! The cap check and the decision of a big campaign, against per-friend counting in the same run.
//!
//! `cargo bench --bench caps`. A million friends of one or of ten million are checked against 60 sends, each to a
//! tenth of the account at random, which is the worst case for bitmaps.

use haishin::domain::campaign::{Dispatch, Variant, VariantShare, WhenCapped};
use haishin::domain::id::{AccountSlug, CampaignSlug, CategoryName, OccurrenceId, UserId, VariantName};
use haishin::domain::message::{ContentDigest, MessageSet};
use haishin::domain::plan::Draws;
use haishin::domain::policy::{Cap, CapWindow, Share};
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
    let (cap, window) = (cap(), cap().first_of_window(NOW)..=NOW);
    let full = |friend: &u32| {
        let history = &world.histories[*friend as usize];
        history.iter().filter(|at| window.contains(*at)).count() >= cap.max as usize
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

/// Everything a start-up does with one past send to a million friends.
#[divan::bench(sample_count = 20)]
fn restore_a_large_send(bencher: divan::Bencher) {
    let recipients: RoaringBitmap = draw(&mut StdRng::seed_from_u64(3), 10 * MILLION, 0.1);
    bencher.bench_local(|| {
        let (mut sends, occurrence) = (Sends::default(), OccurrenceId(1));
        sends.reserve(Reservation {
            occurrence,
            campaign: CampaignSlug::parse("past").unwrap(),
            category: CategoryName::parse("promotion").unwrap(),
            capped: true,
            contents: vec![(ContentDigest([0; 32]), recipients.clone())],
        });
        sends.settle(occurrence, &recipients, NOW);
        sends
    });
}

/// One holdout and variant draw for each of a million friends.
#[divan::bench(sample_count = 5)]
fn draw_a_million(bencher: divan::Bencher) {
    let dispatch = dispatch();
    bencher.bench_local(|| {
        let draws = Draws::of(&dispatch);
        let user = |friend: u32| UserId(u128::from(friend).to_be_bytes());
        (0..MILLION).filter(|friend| draws.draw(&user(*friend)).held_out).count()
    });
}

fn dispatch() -> Dispatch {
    let messages = MessageSet { json: "[]".into(), content: ContentDigest([1; 32]) };
    let arm = |name: &str| Variant {
        name: VariantName::parse(name).unwrap(),
        share: VariantShare::Equal,
        messages: messages.clone(),
    };
    Dispatch {
        slug: CampaignSlug::parse("winter-coupon").unwrap(),
        title: String::new(),
        account: AccountSlug::parse("koharu").unwrap(),
        step: None,
        category: CategoryName::parse("promotion").unwrap(),
        priority: 50,
        deadline: None,
        max_recipients: None,
        holdout: Share::from_millionths(100_000).unwrap(),
        once: None,
        repeat_after: None,
        reach_everyone: true,
        immediate: false,
        variants: vec![arm("a"), arm("b")],
        pace: None,
        notify: true,
        sample: None,
        when_capped: WhenCapped::Skip,
        opt_out: None,
    }
}
