//! Decisions against a plain reference that reads every friend's history, several campaigns at once included.

use std::collections::BTreeMap;

use chrono::Datelike;
use haishin::domain::campaign::{Dispatch, VariantShare, WhenCapped};
use haishin::domain::delivery::Exclusion;
use haishin::domain::id::{CampaignSlug, CategoryName, FriendId, OccurrenceId, UserId};
use haishin::domain::message::ContentDigest;
use haishin::domain::plan::{Friends, Input, Quota, Verdict, decide, precedence};
use haishin::domain::policy::{Cap, CapWindow, Policy, Share};
use haishin::domain::sends::{Reservation, Sends};
use haishin::domain::time::{Instant, Span, Tz};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};

use super::{NOW, campaign, category, policy, variant};

const WORLDS: u64 = 2_500;

/// What one friend got, or will get if no instant is known yet.
#[derive(Debug, Clone)]
struct Got {
    campaign: CampaignSlug,
    category: CategoryName,
    capped: bool,
    content: ContentDigest,
    effective: Option<Instant>,
}

/// A friend as the reference knows them.
#[derive(Debug, Default)]
struct Person {
    following: bool,
    erased: bool,
    quarantined: bool,
    opted_out: bool,
    missed: bool,
    history: Vec<Got>,
}

struct World {
    rng: StdRng,
    people: BTreeMap<u32, Person>,
    sends: Sends,
    policy: Policy,
    campaigns: Vec<Dispatch>,
    effective: Instant,
    now: Instant,
}

fn user_of(friend: u32) -> UserId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&friend.to_be_bytes());
    UserId(id)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let edges = [0, 1, 63, 64, 65_535, 65_536, 200_000];
        let ids = edges.into_iter().chain((0..8).map(|_| rng.random_range(0..100))).collect::<Vec<u32>>();
        let mut likely = |chance| rng.random_bool(chance);
        let people = ids
            .into_iter()
            .map(|friend| {
                let [following, erased, quarantined, opted_out, missed] =
                    [0.85, 0.06, 0.06, 0.08, 0.04].map(&mut likely);
                (friend, Person { following, erased, quarantined, opted_out, missed, history: Vec::new() })
            })
            .collect();
        let effective = NOW + Span::from_millis(rng.random_range(0..3) * 12 * 3_600_000);
        let now = effective + Span::from_millis(*[0, 0, 1, 250, 7_200_000].choose(&mut rng).unwrap());
        let mut world = Self {
            rng,
            people,
            sends: Sends::default(),
            policy: policy(),
            campaigns: Vec::new(),
            effective,
            now,
        };
        world.draw_policy();
        world.draw_campaigns();
        (0..world.rng.random_range(0..12)).for_each(|occurrence| world.draw_past_send(occurrence));
        world
    }

    fn draw_policy(&mut self) {
        let rng = &mut self.rng;
        for number in 0..rng.random_range(0..4) {
            let per = match rng.random_range(0..5) {
                0 => CapWindow::Day,
                1 => CapWindow::Week,
                2 => CapWindow::Month,
                _ => CapWindow::Rolling(Span::from_hours(*[1, 12, 24, 168].choose(rng).unwrap())),
            };
            let categories = rng.random_bool(0.5).then(|| {
                ["promotion", "news", "service"].choose_multiple(rng, 2).map(|c| category(c)).collect()
            });
            let max = *[0, 1, 1, 2, 2, 3, 3, 4].choose(rng).unwrap();
            let zone = *[Tz::Asia__Tokyo, Tz::Europe__Berlin].choose(rng).unwrap();
            self.policy.caps.push(Cap { name: format!("cap {number}"), categories, max, per, zone });
        }
        self.policy.same_content = rng.random_bool(0.7).then(|| Span::from_hours(12));
    }

    fn draw_campaigns(&mut self) {
        let rng = &mut self.rng;
        for number in 0..rng.random_range(1..=4) {
            let mut campaign = campaign(&format!("c{number}"));
            campaign.category = category(["promotion", "promotion", "news", "service"].choose(rng).unwrap());
            campaign.priority = *[50, 50, 80].choose(rng).unwrap();
            campaign.once = rng.random_bool(0.3).then(|| Span::from_hours(rng.random_range(1..100)));
            campaign.repeat_after = rng.random_bool(0.3).then(|| Span::from_hours(rng.random_range(1..20)));
            campaign.holdout = Share::parse(["0%", "0%", "20%", "70%"].choose(rng).unwrap()).unwrap();
            campaign.sample = rng.random_bool(0.2).then(|| rng.random_range(1..10));
            campaign.when_capped = match rng.random_bool(0.3) {
                true => WhenCapped::Defer(Span::from_days(3)),
                false => WhenCapped::Skip,
            };
            let share = |text: &str| VariantShare::Share(Share::parse(text).unwrap());
            let shares = match rng.random_range(0..3) {
                0 => vec![VariantShare::Equal],
                1 => vec![VariantShare::Equal; 3],
                _ => vec![share("30%"), share("69.5%"), share("0.5%")],
            };
            campaign.variants = shares
                .into_iter()
                .enumerate()
                .map(|(arm, share)| variant(&format!("v{arm}"), share, rng.random_range(0..4)))
                .collect();
            self.campaigns.push(campaign);
        }
        self.campaigns.shuffle(rng);
    }

    /// A send of the past, of which some deliveries are without an outcome and some were released.
    fn draw_past_send(&mut self, number: i64) {
        let occurrence = OccurrenceId(number);
        let rng = &mut self.rng;
        let of_now = self.campaigns.choose(rng).unwrap().slug.clone();
        let campaign = if rng.random_bool(0.4) { of_now } else { campaign("past").slug };
        let category = category(["promotion", "news", "service"].choose(rng).unwrap());
        let capped = category.as_str() != "service";
        let content = ContentDigest([rng.random_range(0..4); 32]);
        let ago = match rng.random_range(0..4) {
            // Exactly a window's length before, and a millisecond to both sides.
            0 => *[1, 12, 24, 168].choose(rng).unwrap() * 3_600_000 + rng.random_range(-1..=1),
            1 => rng.random_range(-7_200_000..3_600_000),
            _ => rng.random_range(0..200) * 3_600_000,
        };
        let effective = self.effective - Span::from_millis(ago);
        let (mut all, mut settled, mut released) = <(RoaringBitmap, RoaringBitmap, RoaringBitmap)>::default();
        for (friend, person) in &mut self.people {
            if rng.random_bool(0.5) {
                continue;
            }
            all.insert(*friend);
            let instant = match rng.random_range(0..10) {
                0 => {
                    released.insert(*friend);
                    continue;
                }
                1 => None,
                _ => {
                    settled.insert(*friend);
                    Some(effective)
                }
            };
            let (campaign, category) = (campaign.clone(), category.clone());
            person.history.push(Got { campaign, category, capped, content, effective: instant });
        }
        let contents = vec![(content, all)];
        self.sends.reserve(Reservation { occurrence, campaign, category, capped, contents });
        self.sends.settle(occurrence, &settled, effective);
        self.sends.release(occurrence, &released);
    }

    /// Now and then the arms are branches, which part everybody.
    fn draw_branches(&mut self, arms: usize) -> Option<Vec<RoaringBitmap>> {
        if self.rng.random_bool(0.7) {
            return None;
        }
        let mut branches = vec![RoaringBitmap::new(); arms];
        for friend in self.people.keys() {
            branches[self.rng.random_range(0..arms)].insert(*friend);
        }
        Some(branches)
    }

    fn set(&self, wanted: impl Fn(&Person) -> bool) -> RoaringBitmap {
        self.people.iter().filter(|(_, person)| wanted(person)).map(|(friend, _)| *friend).collect()
    }
}

/// A friend's 24 drawn bytes, written down once more from their documentation.
fn number(campaign: &Dispatch, friend: u32, from: usize) -> u64 {
    let mut text = Vec::new();
    for part in ["haishin draw 1", campaign.account.as_str(), campaign.slug.as_str()] {
        text.extend((part.len() as u32).to_be_bytes());
        text.extend(part.as_bytes());
    }
    let digest = Sha256::digest([Sha256::digest(text).as_slice(), &user_of(friend).0].concat());
    u64::from_be_bytes(digest[from..from + 8].try_into().unwrap())
}

/// Whether a friend is held out, and the arm drawn.
fn drawn(campaign: &Dispatch, friend: u32) -> (bool, usize) {
    let number = |from| number(campaign, friend, from);
    let millionth = |number: u64| (u128::from(number) * 1_000_000) >> 64;
    let held_out = millionth(number(0)) < u128::from(campaign.holdout.millionths());
    let mut end = 0u128;
    for (index, arm) in campaign.variants.iter().enumerate() {
        match &arm.share {
            VariantShare::Equal => {
                return (
                    held_out,
                    ((u128::from(number(8)) * campaign.variants.len() as u128) >> 64) as usize,
                );
            }
            VariantShare::Branch(_) => unreachable!("branches are given as sets"),
            VariantShare::Share(share) => end += u128::from(share.millionths()),
        }
        if millionth(number(8)) < end {
            return (held_out, index);
        }
    }
    unreachable!("shares sum to the whole");
}

/// What becomes of one friend before anybody is sampled or held out: an exclusion, or not.
fn fate(world: &World, campaign: &Dispatch, friend: u32, arm: usize) -> Result<(), Exclusion> {
    let person = &world.people[&friend];
    let content = campaign.variants[arm].messages.content;
    let capped = world.policy.categories[&campaign.category].capped;
    let since = |got: &Got, span: Span| match got.effective {
        None => true,
        Some(at) => at > world.effective - span && at <= world.now,
    };
    let same_content = world.policy.same_content.map(|window| match campaign.repeat_after {
        Some(narrower) if narrower < window => narrower,
        _ => window,
    });
    if !person.following {
        return Err(Exclusion::NotFollowing);
    }
    if person.erased {
        return Err(Exclusion::Erased);
    }
    if person.quarantined {
        return Err(Exclusion::Quarantined);
    }
    if person.opted_out {
        return Err(Exclusion::OptedOut);
    }
    if person.missed {
        return Err(Exclusion::Missed);
    }
    let got_content = |window| person.history.iter().any(|got| got.content == content && since(got, window));
    if same_content.is_some_and(got_content) {
        return Err(Exclusion::SameContent);
    }
    let got_campaign =
        |once| person.history.iter().any(|got| got.campaign == campaign.slug && since(got, once));
    if campaign.once.is_some_and(got_campaign) {
        return Err(Exclusion::Once);
    }
    for cap in world.policy.caps.iter().filter(|_| capped) {
        let holds =
            |category: &CategoryName| cap.categories.as_ref().is_none_or(|named| named.contains(category));
        let counted = person.history.iter().filter(|got| {
            got.capped
                && holds(&got.category)
                && got.effective.is_none_or(|at| at <= world.now && in_window(cap, at, world.effective))
        });
        if holds(&campaign.category) && counted.count() >= cap.max as usize {
            let cap = cap.name.clone();
            return Err(match campaign.when_capped {
                WhenCapped::Skip => Exclusion::Capped { cap },
                WhenCapped::Defer(_) => Exclusion::Deferred { cap },
            });
        }
    }
    Ok(())
}

/// Each friend's arm, or why they get nothing.
fn fates(
    world: &World,
    campaign: &Dispatch,
    matched: &RoaringBitmap,
    branches: Option<&[RoaringBitmap]>,
) -> BTreeMap<u32, Result<usize, Exclusion>> {
    let arm = |friend| match branches {
        Some(branches) => branches.iter().position(|branch| branch.contains(friend)).unwrap(),
        None => drawn(campaign, friend).1,
    };
    let mut fates: BTreeMap<_, _> = matched
        .iter()
        .map(|friend| (friend, fate(world, campaign, friend, arm(friend)).map(|()| arm(friend))))
        .collect();
    let mut left: Vec<u32> =
        fates.iter().filter(|(_, fate)| fate.is_ok()).map(|(friend, _)| *friend).collect();
    left.sort_by_key(|friend| (number(campaign, *friend, 16), *friend));
    let sample = campaign.sample.map_or(usize::MAX, |sample| sample as usize);
    for (place, friend) in left.into_iter().enumerate() {
        if place >= sample {
            fates.insert(friend, Err(Exclusion::NotSampled));
        } else if drawn(campaign, friend).0 {
            fates.insert(friend, Err(Exclusion::Holdout));
        }
    }
    fates
}

fn in_window(cap: &Cap, at: Instant, effective: Instant) -> bool {
    let (day, other) = (at.day_in(cap.zone), effective.day_in(cap.zone));
    match cap.per {
        CapWindow::Rolling(span) => effective - at < span,
        CapWindow::Day => day >= other,
        CapWindow::Week => day.iso_week() >= other.iso_week(),
        CapWindow::Month => (day.year(), day.month()) >= (other.year(), other.month()),
    }
}

/// Decides one campaign both ways, compares, and adds what was reserved to both histories.
fn compare(world: &mut World, campaign: &Dispatch, number: i64, seen: &mut BTreeMap<String, u64>) {
    let matched: RoaringBitmap =
        world.people.keys().copied().filter(|_| world.rng.random_bool(0.85)).collect();
    let (following, erased) = (world.set(|p| p.following), world.set(|p| p.erased));
    let missed = world.set(|p| p.missed);
    let branches = world.draw_branches(campaign.variants.len());
    let (quarantined, opted_out) = (world.set(|p| p.quarantined), world.set(|p| p.opted_out));
    let friends =
        Friends { following: &following, erased: &erased, quarantined: &quarantined, opted_out: &opted_out };
    let input = Input {
        dispatch: campaign,
        grace: Span::from_hours(2),
        missed: &missed,
        branches: branches.as_deref(),
        policy: &world.policy,
        due: NOW,
        effective: world.effective,
        now: world.now,
        matched: &matched,
        friends,
        quota: Quota::Unlimited,
        user_of: &|friend: FriendId| Some(user_of(friend.0)),
    };
    let decision = decide(&input, &world.sends);

    let mut exclusions: BTreeMap<Exclusion, RoaringBitmap> = BTreeMap::new();
    let mut variants = vec![RoaringBitmap::new(); campaign.variants.len()];
    for (friend, fate) in fates(world, campaign, &matched, branches.as_deref()) {
        match fate {
            Ok(arm) => variants[arm].insert(friend),
            Err(reason) => exclusions.entry(reason).or_default().insert(friend),
        };
    }
    assert_eq!(decision.matched, matched);
    // The derived order of exclusions is the documented one; caps follow each other in the policy's order.
    assert_eq!(decision.exclusions, exclusions.clone().into_iter().collect::<Vec<_>>(), "{campaign:#?}");
    let got: Vec<RoaringBitmap> = decision.variants.iter().map(|(_, friends)| friends.clone()).collect();
    assert_eq!(got, variants, "{campaign:#?}");
    let booked: u64 = decision.exclusions.iter().map(|(_, friends)| friends.len()).sum();
    assert_eq!(matched.len(), booked + decision.recipients(), "the books balance");
    assert_eq!(decision.verdict, Verdict::Send);
    for reason in exclusions.keys() {
        *seen.entry(reason.key().split(':').next().unwrap().to_owned()).or_default() += 1;
    }
    *seen.entry("sent".to_owned()).or_default() += u64::from(decision.recipients() > 0);

    let reservation = decision.reservation(&input, OccurrenceId(1_000 + number));
    for (content, friends) in &reservation.contents {
        for friend in friends {
            let (campaign, category) = (reservation.campaign.clone(), reservation.category.clone());
            let capped = reservation.capped;
            let got = Got { campaign, category, capped, content: *content, effective: None };
            world.people.get_mut(&friend).unwrap().history.push(got);
        }
    }
    world.sends.reserve(reservation);
}

#[test]
fn decisions_equal_a_reference_that_reads_histories() {
    let mut seen = BTreeMap::new();
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        let mut due = world.campaigns.clone();
        due.sort_by(|one, other| precedence(one).cmp(&precedence(other)));
        for (campaign, number) in due.iter().zip(0..) {
            compare(&mut world, campaign, number, &mut seen);
        }
    }
    let wanted = [
        "not_following",
        "erased",
        "quarantined",
        "opted_out",
        "same_content",
        "once",
        "missed",
        "capped",
        "deferred",
        "not_sampled",
        "holdout",
        "sent",
    ];
    for reason in wanted {
        assert!(seen.get(reason).is_some_and(|worlds| *worlds > 200), "{reason} is too rare: {seen:?}");
    }
}
