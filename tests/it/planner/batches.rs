//! Batches: the order of their numbers is pinned, and every friend is in one.

use haishin::domain::plan::{BATCH_FRIENDS, batches, friends_of};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

/// Pinned: another order would give open batches other numbers, and so other keys, after an upgrade.
#[test]
fn the_order_and_the_numbers_are_for_ever() {
    let variants = [
        RoaringBitmap::from_iter(0..1_800),
        RoaringBitmap::from_iter((10_000..13_300).step_by(3)),
        RoaringBitmap::new(),
        RoaringBitmap::from_iter([7_000_000, 7_000_001]),
    ];
    let refs: Vec<&RoaringBitmap> = variants.iter().collect();
    let shown: Vec<String> = batches(&refs)
        .into_iter()
        .enumerate()
        .map(|(n, batch)| {
            let friends: Vec<u32> = friends_of(&variants[batch.variant], batch).collect();
            let (first, last) = (friends.first().unwrap(), friends.last().unwrap());
            format!("{n}: variant {} friends {first}..={last} ({})", batch.variant, friends.len())
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    0: variant 0 friends 0..=499 (500)
    1: variant 1 friends 10000..=11497 (500)
    2: variant 0 friends 500..=999 (500)
    3: variant 1 friends 11500..=12997 (500)
    4: variant 3 friends 7000000..=7000001 (2)
    5: variant 0 friends 1000..=1499 (500)
    6: variant 1 friends 13000..=13297 (100)
    7: variant 0 friends 1500..=1799 (300)
    ");
}

#[test]
fn every_friend_is_in_one_batch_and_arms_progress_together() {
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..60 {
        let variants: Vec<RoaringBitmap> = (0..rng.random_range(1..4))
            .map(|_| {
                let step = rng.random_range(1..90);
                let start = rng.random_range(0..200_000);
                let len = [0, 1, 499, 500, 501, rng.random_range(0..8_000)][rng.random_range(0..6)];
                RoaringBitmap::from_iter((start..).step_by(step).take(len))
            })
            .collect();
        let refs: Vec<&RoaringBitmap> = variants.iter().collect();
        let list = batches(&refs);
        let mut seen = vec![Vec::new(); variants.len()];
        let totals: Vec<f64> =
            refs.iter().map(|friends| friends.len().div_ceil(u64::from(BATCH_FRIENDS)) as f64).collect();
        let mut done = vec![0.0; variants.len()];
        for batch in list {
            assert!((1..=BATCH_FRIENDS).contains(&batch.len));
            let friends: Vec<u32> = friends_of(refs[batch.variant], batch).collect();
            assert_eq!(friends.len(), batch.len as usize);
            seen[batch.variant].extend(friends);
            done[batch.variant] += 1.0;
            for (one, other) in (0..totals.len()).flat_map(|one| (0..one).map(move |other| (one, other))) {
                if totals[one] > 0.0 && totals[other] > 0.0 {
                    let apart: f64 = done[one] / totals[one] - done[other] / totals[other];
                    assert!(apart.abs() <= 0.5 / totals[one] + 0.5 / totals[other] + 1e-9, "{apart}");
                }
            }
        }
        for (variant, seen) in variants.iter().zip(seen) {
            assert_eq!(seen, variant.iter().collect::<Vec<_>>(), "ascending, all, once");
        }
    }
    assert!(batches(&[]).is_empty());
    let beyond = haishin::domain::plan::BatchRange { variant: 0, first: 9, len: 5 };
    assert_eq!(friends_of(&RoaringBitmap::from_iter([1, 2]), beyond).count(), 0);
}

#[test]
fn a_million_friends_cut_into_two_thousand_batches() {
    let everybody = RoaringBitmap::from_sorted_iter(0..1_000_000).unwrap();
    let list = batches(&[&everybody]);
    assert_eq!(list.len(), 2_000);
    assert_eq!(
        friends_of(&everybody, list[1_999]).collect::<Vec<_>>(),
        (999_500..1_000_000).collect::<Vec<_>>()
    );
}
