//! The contract itself: whatever is decided, in whatever order outcomes arrive, no window of a cap ever holds more
//! than its maximum. Nothing here knows how a decision counts.

use chrono::Datelike;
use haishin::domain::id::{CategoryName, FriendId, OccurrenceId};
use haishin::domain::plan::{Friends, Input, Quota, decide};
use haishin::domain::policy::{Cap, CapWindow};
use haishin::domain::sends::Sends;
use haishin::domain::time::{Instant, Span, Tz};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

use super::{NOW, campaign, category, policy, user_of};

const WORLDS: u64 = 300;
const FRIENDS: u32 = 6;

/// An occurrence with the recipients whose outcome is still open.
struct Flying {
    occurrence: OccurrenceId,
    category: CategoryName,
    effective: Instant,
    open: RoaringBitmap,
}

/// A delivery that counts, once all is over.
struct Delivered {
    friend: u32,
    category: CategoryName,
    effective: Instant,
}

fn some_caps(rng: &mut StdRng) -> Vec<Cap> {
    let one = |rng: &mut StdRng| {
        let hours = rng.random_range(1..72);
        let per =
            *[CapWindow::Rolling(Span::from_hours(hours)), CapWindow::Day, CapWindow::Week, CapWindow::Month]
                .choose(rng)
                .unwrap();
        let categories = rng.random_bool(0.3).then(|| vec![category("promotion")]);
        Cap { name: "drawn".into(), categories, max: rng.random_range(1..5), per, zone: Tz::Asia__Tokyo }
    };
    (0..rng.random_range(1..3)).map(|_| one(rng)).collect()
}

/// Decides a campaign a little after its effective instant, as a slow planner does.
fn freeze(rng: &mut StdRng, number: i64, now: Instant, caps: &[Cap], sends: &mut Sends) -> Flying {
    let mut policy = policy();
    policy.caps = caps.to_vec();
    let mut campaign = campaign(&format!("c{number}"));
    campaign.category = category(["promotion", "news"].choose(rng).unwrap());
    let (all, none) = ((0..FRIENDS).collect(), RoaringBitmap::new());
    let effective = now - Span::from_mins(*[0, 0, 1, 90].choose(rng).unwrap());
    let input = Input {
        dispatch: &campaign,
        grace: Span::from_hours(2),
        missed: &RoaringBitmap::new(),
        branches: None,
        policy: &policy,
        due: effective,
        effective,
        now,
        matched: &all,
        friends: Friends { following: &all, erased: &none, quarantined: &none, opted_out: &none },
        quota: Quota::Unlimited,
        user_of: &|friend: FriendId| user_of(friend),
    };
    let decision = decide(&input, sends);
    let occurrence = OccurrenceId(number);
    sends.reserve(decision.reservation(&input, occurrence));
    let open = decision.variants.iter().flat_map(|(_, friends)| friends).collect();
    Flying { occurrence, category: campaign.category.clone(), effective, open }
}

/// Some of the open deliveries end: most count, at the effective instant or, resumed after a pause, now.
fn settle(
    rng: &mut StdRng,
    share: f64,
    now: Instant,
    flying: &mut Flying,
    sends: &mut Sends,
) -> Vec<Delivered> {
    let ended: RoaringBitmap = flying.open.iter().filter(|_| rng.random_bool(share)).collect();
    flying.open -= &ended;
    if rng.random_bool(0.1) {
        sends.release(flying.occurrence, &ended);
        return Vec::new();
    }
    let effective = if rng.random_bool(0.8) { flying.effective } else { now };
    sends.settle(flying.occurrence, &ended, effective);
    let delivered = |friend| Delivered { friend, category: flying.category.clone(), effective };
    ended.iter().map(delivered).collect()
}

/// The most deliveries of one friend that any window of the cap holds.
fn fullest(cap: &Cap, delivered: &[Delivered]) -> usize {
    let named = |one: &&Delivered| cap.categories.as_ref().is_none_or(|named| named.contains(&one.category));
    let day = |at: Instant| at.day_in(cap.zone);
    let in_window_ending = |end: Instant, at: Instant| match cap.per {
        CapWindow::Rolling(span) => end - span < at && at <= end,
        CapWindow::Day => day(at) == day(end),
        CapWindow::Week => day(at).iso_week() == day(end).iso_week(),
        CapWindow::Month => day(at).with_day(1) == day(end).with_day(1),
    };
    let windows = delivered.iter().filter(named).map(|end| {
        let own = delivered.iter().filter(named).filter(|one| one.friend == end.friend);
        own.filter(|one| in_window_ending(end.effective, one.effective)).count()
    });
    windows.max().unwrap_or(0)
}

#[test]
fn no_window_ever_holds_more_than_its_cap() {
    let mut reached = 0;
    for seed in 0..WORLDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let (caps, mut sends) = (some_caps(&mut rng), Sends::default());
        let (mut now, mut flying, mut delivered) = (NOW, Vec::new(), Vec::new());
        for number in 0..30 {
            now = now + Span::from_mins(*[0, 1, 30, 600, 1_440].choose(&mut rng).unwrap());
            flying.push(freeze(&mut rng, number, now, &caps, &mut sends));
            for one in &mut flying {
                let share = *[0.0, 0.3, 1.0].choose(&mut rng).unwrap();
                delivered.extend(settle(&mut rng, share, now, one, &mut sends));
            }
        }
        for one in &mut flying {
            delivered.extend(settle(&mut rng, 1.0, now, one, &mut sends));
            assert!(one.open.is_empty() && sends.unsettled(one.occurrence).is_empty());
        }
        for cap in &caps {
            let fullest = fullest(cap, &delivered);
            assert!(fullest <= cap.max as usize, "seed {seed}: {fullest} in {cap:?}");
            reached += u64::from(fullest == cap.max as usize);
        }
    }
    assert!(reached > WORLDS / 2, "a cap that is never reached proves nothing: {reached}");
}
