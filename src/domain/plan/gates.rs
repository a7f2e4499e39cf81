//! The gates between a rule's matches and the recipients: each friend is excluded by the first that applies.

use roaring::RoaringBitmap;

use super::{Draws, Input};
use crate::domain::campaign::WhenCapped;
use crate::domain::delivery::Exclusion;
use crate::domain::id::{FriendId, VariantName};
use crate::domain::sends::Sends;
use crate::domain::time::Span;

pub(super) struct Passed {
    pub exclusions: Vec<(Exclusion, RoaringBitmap)>,
    pub variants: Vec<(VariantName, RoaringBitmap)>,
}

/// The friends still in, and those left behind so far.
struct Gates {
    left: RoaringBitmap,
    exclusions: Vec<(Exclusion, RoaringBitmap)>,
}

impl Gates {
    fn exclude(&mut self, reason: Exclusion, friends: RoaringBitmap) {
        let friends = friends & &self.left;
        if !friends.is_empty() {
            self.left -= &friends;
            self.exclusions.push((reason, friends));
        }
    }
}

/// Sends everybody who matched through the gates, in the order of protocol and documentation.
pub(super) fn pass(input: &Input<'_>, sends: &Sends) -> Passed {
    let mut gates = Gates { left: input.matched.clone(), exclusions: Vec::new() };
    let mut arms = Arms::draw(input);
    gates.exclude(Exclusion::NotFollowing, input.matched - input.friends.following);
    gates.exclude(Exclusion::Erased, input.friends.erased | &arms.without_user);
    gates.exclude(Exclusion::Quarantined, input.friends.quarantined.clone());
    gates.exclude(Exclusion::OptedOut, input.friends.opted_out.clone());
    gates.exclude(Exclusion::Missed, input.missed.clone());
    gates.exclude(Exclusion::SameContent, same_content(input, sends, &arms));
    gates.exclude(Exclusion::Once, received_once(input, sends));
    exclude_capped(input, sends, &mut gates);
    gates.exclude(Exclusion::NotSampled, not_sampled(input, &gates.left));
    gates.exclude(Exclusion::Holdout, std::mem::take(&mut arms.held_out));

    let Gates { left, exclusions } = gates;
    let variants = input.dispatch.variants.iter().zip(arms.variants);
    Passed {
        exclusions,
        variants: variants.map(|(arm, friends)| (arm.name.clone(), friends & &left)).collect(),
    }
}

/// What everybody who may be reached drew.
struct Arms {
    variants: Vec<RoaringBitmap>,
    held_out: RoaringBitmap,
    /// Without a user id nothing can be drawn or sent.
    without_user: RoaringBitmap,
}

impl Arms {
    fn draw(input: &Input<'_>) -> Self {
        let draws = Draws::of(input.dispatch);
        let mut variants = vec![Vec::new(); input.dispatch.variants.len()];
        let (mut held_out, mut without_user) = (Vec::new(), Vec::new());
        let reachable = (input.matched & input.friends.following) - input.friends.opted_out;
        for friend in reachable {
            let Some(user) = (input.user_of)(FriendId(friend)) else {
                without_user.push(friend);
                continue;
            };
            let draw = draws.draw(&user);
            if draw.held_out {
                held_out.push(friend);
            }
            if input.branches.is_none()
                && let Some(variant) = variants.get_mut(draw.variant)
            {
                variant.push(friend);
            }
        }
        let drawn = || variants.into_iter().map(RoaringBitmap::from_iter).collect();
        Arms {
            variants: input.branches.map_or_else(drawn, <[RoaringBitmap]>::to_vec),
            held_out: held_out.into_iter().collect(),
            without_user: without_user.into_iter().collect(),
        }
    }
}

/// The window behind the decision that holds what took effect less than `span` before the effective instant.
fn back(input: &Input<'_>, span: Span) -> Span {
    input.now - (input.effective - span)
}

/// Whoever got the content of their own variant within the window; those held out are measured by the same gate.
fn same_content(input: &Input<'_>, sends: &Sends, arms: &Arms) -> RoaringBitmap {
    let Some(window) = input.policy.same_content else { return RoaringBitmap::new() };
    let window = input.dispatch.repeat_after.map_or(window, |narrower| narrower.min(window));
    let mut friends = RoaringBitmap::new();
    for (arm, drawn) in input.dispatch.variants.iter().zip(&arms.variants) {
        friends |= sends.got_content(&arm.messages.content, back(input, window), input.now) & drawn;
    }
    friends
}

fn received_once(input: &Input<'_>, sends: &Sends) -> RoaringBitmap {
    let within = input.dispatch.once.map(|once| back(input, once));
    within.map_or_else(RoaringBitmap::new, |within| {
        sends.received(&input.dispatch.slug, Some(within), input.now)
    })
}

/// Every cap must have room; a friend without is excluded under the first that has none, in the policy's order.
fn exclude_capped(input: &Input<'_>, sends: &Sends, gates: &mut Gates) {
    let category = &input.dispatch.category;
    if !input.policy.is_capped(category) {
        return;
    }
    for cap in input.policy.caps.iter().filter(|cap| cap.holds(category)) {
        let over = sends.over_cap(cap, input.effective, input.now, &gates.left);
        let cap = cap.name.clone();
        let reason = match input.dispatch.when_capped {
            WhenCapped::Skip => Exclusion::Capped { cap },
            WhenCapped::Defer(_) => Exclusion::Deferred { cap },
        };
        gates.exclude(reason, over);
    }
}

/// Whoever of those left is not among the first `sample` in the drawn order.
fn not_sampled(input: &Input<'_>, left: &RoaringBitmap) -> RoaringBitmap {
    let Some(sample) = input.dispatch.sample.filter(|sample| *sample < left.len()) else {
        return RoaringBitmap::new();
    };
    let draws = Draws::of(input.dispatch);
    let place = |friend| (input.user_of)(FriendId(friend)).map(|user| draws.place_in_sample(&user));
    let mut order: Vec<_> = left.iter().map(|friend| (place(friend), friend)).collect();
    order.sort_unstable();
    let sample = usize::try_from(sample).unwrap_or(usize::MAX);
    order.into_iter().skip(sample).map(|(_, friend)| friend).collect()
}
