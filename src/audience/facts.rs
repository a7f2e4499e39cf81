//! How the index answers the leaves of a rule: for all friends at once, and for one.

use roaring::RoaringBitmap;

use super::{Index, measure};
use crate::domain::friend::Status;
use crate::domain::id::TagName;
use crate::domain::segment::evaluate::Facts;
use crate::domain::segment::rule::Condition;
use crate::domain::segment::window::Window;
use crate::domain::sends::Sends;
use crate::domain::time::Instant;

/// All friends of the account.
pub(super) struct All<'a> {
    pub(super) index: &'a Index,
    pub(super) sends: &'a Sends,
}

/// One of them.
pub(super) struct One<'a> {
    pub(super) index: &'a Index,
    pub(super) sends: &'a Sends,
    pub(super) friend: u32,
}

impl Index {
    /// Holders of a tag given within the window, of all friends or of some.
    pub(super) fn tag_holders(
        &self,
        tag: &TagName,
        window: Window,
        among: Option<RoaringBitmap>,
    ) -> RoaringBitmap {
        let Some(tag) = self.tags.get(tag) else { return RoaringBitmap::new() };
        let mut holders = match among {
            Some(among) => among & tag.holders(),
            None => tag.holders().clone(),
        };
        if !holders.is_empty() {
            tag.keep_given(&mut holders, window);
        }
        holders
    }
}

impl Facts for All<'_> {
    type Set = RoaringBitmap;

    fn everybody(&self) -> RoaringBitmap {
        self.index.everybody.clone()
    }

    fn condition(&self, condition: &Condition, now: Instant, among: RoaringBitmap) -> RoaringBitmap {
        let index = self.index;
        match condition {
            Condition::Tag { tag, held } => {
                // A tag's holders are friends: among everybody, there is nothing to intersect.
                let among = (among.len() < index.everybody.len()).then_some(among);
                index.tag_holders(tag, held.window(now), among)
            }
            Condition::Attribute { name, test } => match index.attributes.get(name) {
                Some(attribute) => attribute.select(test, now, among),
                None if test.holds_without_value() => among,
                None => RoaringBitmap::new(),
            },
            Condition::Event(condition) => match index.events.get(&condition.event) {
                Some(events) => measure::select(events, condition, now, index.users.next(), among),
                None if measure::holds_without_events(condition) => among,
                None => RoaringBitmap::new(),
            },
            Condition::Followed(age) => {
                let window = age.window(now);
                index.followed_at.select(&among, window.ranges().single(), |at| window.contains(at))
            }
            Condition::Status(Status::Following) => among & &index.following,
            Condition::Status(Status::Blocked) => among - &index.following,
            Condition::Received { campaign, within } => among & self.sends.received(campaign, *within, now),
        }
    }

    fn except(&self, condition: &Condition, now: Instant, among: RoaringBitmap) -> RoaringBitmap {
        if let Condition::Tag { tag, held } = condition
            && let Some(tag) = self.index.tags.get(tag)
            && tag.all_given(held.window(now))
        {
            return among - tag.holders();
        }
        let holds = self.condition(condition, now, among.clone());
        among - holds
    }
}

impl Facts for One<'_> {
    type Set = bool;

    fn everybody(&self) -> bool {
        self.index.everybody.contains(self.friend)
    }

    fn condition(&self, condition: &Condition, now: Instant, among: bool) -> bool {
        let (index, friend) = (self.index, self.friend);
        among
            && match condition {
                Condition::Tag { tag, held } => index
                    .tags
                    .get(tag)
                    .and_then(|tag| tag.given(friend))
                    .is_some_and(|at| held.window(now).contains(at)),
                Condition::Attribute { name, test } => match index.attributes.get(name) {
                    Some(attribute) => attribute.passes(test, now, friend),
                    None => test.holds_without_value(),
                },
                Condition::Event(condition) => match index.events.get(&condition.event) {
                    Some(events) => measure::holds(events, condition, now, friend),
                    None => measure::holds_without_events(condition),
                },
                Condition::Followed(age) => {
                    index.followed_at.get(friend).is_some_and(|at| age.window(now).contains(at))
                }
                Condition::Status(status) => {
                    index.following.contains(friend) == (*status == Status::Following)
                }
                Condition::Received { campaign, within } => {
                    self.sends.received(campaign, *within, now).contains(friend)
                }
            }
    }
}
