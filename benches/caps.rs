//! The cap check and the draws of a big campaign, beside counting friend by friend and SQL in the same run.
//!
//! A million friends of one or of ten million (`HAISHIN_BENCH_FRIENDS`) are checked against 60 sends, each to a tenth of
//! the account at random, which is the worst case for bitmaps. `HAISHIN_BENCH_ROUNDS` (15).

mod support;

use std::hint::black_box;

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
use support::measure::{Rounds, ms, param, print, ratio, rounds};

const SENDS: i64 = 60;
const MILLION: u32 = 1_000_000;
const NOW: Instant = Instant::from_millis(1_796_374_800_000);

fn main() {
    let count = param("HAISHIN_BENCH_ROUNDS", 15) as usize;
    let mut rows = Vec::new();
    for friends in [MILLION, param("HAISHIN_BENCH_FRIENDS", 10_000_000) as u32] {
        let world = world(friends);
        let expected = world.counted_by_friend();
        assert_eq!(world.over_cap(), expected, "both must give the same friends");
        let [sets, plain] =
            rounds(count, [&mut || drop(world.over_cap()), &mut || drop(world.counted_by_friend())]);
        rows.push(vec![
            format!("{} of {friends}", world.candidates.len()),
            expected.len().to_string(),
            ms(sets.cpu()),
            ms(sets.fastest()),
            ms(plain.cpu()),
            format!("{:.0}", ratio(plain.cpu(), sets.cpu())),
        ]);
    }
    print(
        &format!(
            "Caps: candidates against {SENDS} sends, {count} rounds: CPU in ms, fastest round on the wall"
        ),
        &["candidates", "over the cap", "haishin", "fastest", "friend by friend", "/ haishin"],
        rows,
    );

    let (small, large) = (small_sends(), draw(&mut StdRng::seed_from_u64(3), 10 * MILLION, 0.1));
    let candidates: RoaringBitmap = (0..MILLION).collect();
    let dispatch = dispatch();
    let draws = Draws::of(&dispatch);
    let user = |friend: u32| UserId(u128::from(friend).to_be_bytes());
    let [small, restore, drawn] = rounds(
        count,
        [
            &mut || drop(small.over_cap(&cap(), NOW, NOW, &candidates)),
            &mut || settle(&mut Sends::default(), 1, ("past", "promotion"), &large, NOW),
            &mut || {
                black_box((0..MILLION).filter(|friend| draws.draw(&user(*friend)).held_out).count());
            },
        ],
    );
    let row = |name: &str, rounds: &Rounds| vec![name.to_owned(), ms(rounds.cpu()), ms(rounds.fastest())];
    print(
        "Other work: CPU in ms",
        &["", "haishin", "fastest on the wall"],
        vec![
            row("a million friends against 1,000 sends to 1,000 each", &small),
            row("a past send to a million, as a start reads it", &restore),
            row("holdout and variant of a million friends (SHA-256 each)", &drawn),
        ],
    );
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
        settle(&mut world.sends, number, ("past", "promotion"), &recipients, effective);
    }
    world
}

impl World {
    fn over_cap(&self) -> RoaringBitmap {
        self.sends.over_cap(&cap(), NOW, NOW, &self.candidates)
    }

    fn counted_by_friend(&self) -> RoaringBitmap {
        let (cap, window) = (cap(), cap().first_of_window(NOW)..=NOW);
        let full = |friend: &u32| {
            let history = &self.histories[*friend as usize];
            history.iter().filter(|at| window.contains(*at)).count() >= cap.max as usize
        };
        self.candidates.iter().filter(full).collect()
    }
}

/// One past send, from its freeze to its outcome.
fn settle(
    sends: &mut Sends,
    number: i64,
    (campaign, category): (&str, &str),
    recipients: &RoaringBitmap,
    effective: Instant,
) {
    let occurrence = OccurrenceId(number);
    sends.reserve(Reservation {
        occurrence,
        campaign: CampaignSlug::parse(campaign).expect("a slug"),
        category: CategoryName::parse(category).expect("a name"),
        capped: true,
        contents: vec![(ContentDigest([0; 32]), recipients.clone())],
    });
    sends.settle(occurrence, recipients, effective);
}

/// Many small sends, as drips make them, in the time-ordered column.
fn small_sends() -> Sends {
    let mut rng = StdRng::seed_from_u64(2);
    let mut sends = Sends::default();
    for number in 0..1_000 {
        let recipients = (0..1_000).map(|_| rng.random_range(0..MILLION)).collect();
        settle(&mut sends, number, ("drip", "followup"), &recipients, NOW - Span::from_mins(1_000 - number));
    }
    sends
}

fn draw(rng: &mut StdRng, friends: u32, share: f64) -> RoaringBitmap {
    (0..friends).filter(|_| rng.random_bool(share)).collect()
}

/// Holds all 60 sends in its window and excludes a good part of the friends.
fn cap() -> Cap {
    let per = CapWindow::Rolling(Span::from_days(7));
    Cap { name: "6 in 7d".into(), categories: None, max: 6, per, zone: Tz::Asia__Tokyo }
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
