//! Holdout and variants: stable, uniform, and nothing to do with each other.

use haishin::domain::campaign::VariantShare;
use haishin::domain::id::{AccountSlug, FriendId};
use haishin::domain::plan::{Draw, Draws};
use haishin::domain::policy::Share;

use super::{campaign, user_of, variant};

fn share(text: &str) -> VariantShare {
    VariantShare::Share(Share::parse(text).unwrap())
}

fn three_arms() -> haishin::domain::campaign::Dispatch {
    let mut campaign = campaign("winter-coupon");
    campaign.holdout = Share::parse("10%").unwrap();
    campaign.variants =
        vec![variant("a", share("20%"), 0), variant("b", share("30.5%"), 1), variant("c", share("49.5%"), 2)];
    campaign
}

fn draw_all(campaign: &haishin::domain::campaign::Dispatch, friends: u32) -> Vec<Draw> {
    let draws = Draws::of(campaign);
    (0..friends).map(|friend| draws.draw(&user_of(FriendId(friend)).unwrap())).collect()
}

/// Pinned: another draw would move friends to another arm in the middle of a test.
#[test]
fn the_draw_is_for_ever() {
    let shown: Vec<String> = draw_all(&three_arms(), 24)
        .iter()
        .map(|draw| {
            format!("{}{}", ["a", "b", "c"][draw.variant], if draw.held_out { " held out" } else { "" })
        })
        .collect();
    insta::assert_snapshot!(
        shown.join(", "),
        @"c, c held out, c, a, c, b, b, b, a, b, c, c, c, b, b, b, c, b, b, b, b, c, c, c"
    );
}

#[test]
fn shares_are_met_and_the_holdout_tells_nothing_of_the_variant() {
    let drawn = draw_all(&three_arms(), 60_000);
    let count = |wanted: &dyn Fn(&Draw) -> bool| drawn.iter().filter(|draw| wanted(draw)).count() as f64;
    let near = |count: f64, share: f64, of: f64| {
        // Five standard deviations of a fair draw.
        let (expected, deviation) = (of * share, (of * share * (1.0 - share)).sqrt());
        assert!((count - expected).abs() < 5.0 * deviation, "{count} of {of}, expected {expected}");
    };
    let all = drawn.len() as f64;
    near(count(&|draw| draw.held_out), 0.1, all);
    let held_out = count(&|draw| draw.held_out);
    for (variant, share) in [(0, 0.2), (1, 0.305), (2, 0.495)] {
        near(count(&|draw| draw.variant == variant), share, all);
        near(count(&|draw| draw.variant == variant && draw.held_out), share, held_out);
    }
}

#[test]
fn equal_arms_are_equal_and_campaigns_draw_on_their_own() {
    let mut equal = three_arms();
    equal.variants.iter_mut().for_each(|variant| variant.share = VariantShare::Equal);
    let drawn = draw_all(&equal, 30_000);
    for arm in 0..3 {
        let count = drawn.iter().filter(|draw| draw.variant == arm).count();
        assert!((9_500..10_500).contains(&count), "{count}");
    }
    let mut other_account = equal.clone();
    other_account.account = AccountSlug::parse("other").unwrap();
    let mut other_slug = equal.clone();
    other_slug.slug = campaign("summer-coupon").slug;
    for other in [other_account, other_slug] {
        let same =
            drawn.iter().zip(draw_all(&other, 30_000)).filter(|(one, other)| one.variant == other.variant);
        let same = same.count();
        assert!((9_500..10_500).contains(&same), "a third agrees by chance, not {same}");
    }
}

#[test]
fn the_ends_hold_everybody_out_or_nobody() {
    let mut everybody = three_arms();
    everybody.holdout = Share::ALL;
    assert!(draw_all(&everybody, 1_000).iter().all(|draw| draw.held_out));
    everybody.holdout = Share::NONE;
    assert!(draw_all(&everybody, 1_000).iter().all(|draw| !draw.held_out));
    // A campaign with one arm draws nothing.
    assert!(
        draw_all(&campaign("plain"), 100).iter().all(|draw| *draw == Draw { held_out: false, variant: 0 })
    );
}
