//! The audience index: everything rules ask about the friends of **one** account, in memory, by dense id.
//!
//! It is a pure function of friend rows (or a checkpoint) and the journal entries after them. Nothing of another
//! account can be in it: an index is made for one, is only told entries of one, and no method takes an account. What
//! is kept: sets as bitmaps, instants in whole milliseconds and values as columns packed to the bytes they need,
//! events as columns in the order of time.

mod attributes;
mod checkpoint;
mod column;
mod dictionary;
mod dirty;
mod events;
mod external;
mod facts;
mod lookup;
mod measure;
mod packed;
mod sparse;
mod tags;
mod texts;
mod users;

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::domain::attribute::Value;
use crate::domain::effect::{Effect, Entry};
use crate::domain::friend::{Friend, Status};
use crate::domain::id::{AttributeName, EventName, FriendId, PropertyName, Seq, TagName, UserId};
use crate::domain::segment::evaluate::{EvaluateError, Segments, evaluate};
use crate::domain::segment::rule::{Age, AttributeTest, Comparison, Rule};
use crate::domain::sends::Sends;
use crate::domain::time::Instant;

pub use checkpoint::{CheckpointColumn, CheckpointDirectory, CheckpointRow, CheckpointRun, RestoreError};

use attributes::Attribute;
use column::{Column, place};
use dirty::Dirty;
use events::{Cell, Events, Row};
use external::ExternalIds;
use tags::Tag;
use texts::intern;
use users::Users;

/// The friends of one account. Erased friends are in no set but [`Index::erased`]: a rule never sees them.
#[derive(Debug, Clone, Default)]
pub struct Index {
    users: Users,
    everybody: RoaringBitmap,
    following: RoaringBitmap,
    erased: RoaringBitmap,
    quarantined: RoaringBitmap,
    followed_at: Column,
    /// When those who do not follow blocked the account.
    blocked_at: Column,
    /// Of the four sets.
    sets_dirty: Dirty,
    followed_dirty: Dirty,
    blocked_dirty: Dirty,
    external_ids: ExternalIds,
    tags: BTreeMap<TagName, Tag>,
    attributes: BTreeMap<AttributeName, Attribute>,
    events: BTreeMap<EventName, Events>,
    applied: Seq,
}

impl Index {
    /// An index of no friends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over a friend's row, replacing what was known but the events, which rows do not hold.
    pub fn load_friend(&mut self, row: &Friend) {
        let friend = row.friend.0;
        if self.everybody.contains(friend) {
            self.clear(friend);
        }
        self.meet(friend);
        if row.erased_at.is_some() {
            return self.erase(friend);
        }
        if let Some(user) = row.user {
            self.users.name(friend, user);
        }
        self.set_status(friend, row.status, row.followed_at, row.status_at);
        self.external_ids.set(friend, row.external_id.as_deref());
        for (tag, at) in &row.tags {
            self.tag(tag).give(friend, at.as_millis());
        }
        for (name, value) in &row.attributes {
            self.attribute(name).set(friend, value);
        }
        if row.quarantined_at.is_some() {
            self.quarantined.insert(friend);
            self.sets_dirty.mark(place(friend).0);
        }
    }

    /// Applies one journal entry. State is absolute and may be replayed in order from any earlier entry on; an
    /// event is taken in once, by its number. What an erased friend's older entries say is ignored.
    pub fn apply(&mut self, entry: &Entry) {
        self.applied = self.applied.max(entry.seq);
        let friend = entry.friend.0;
        // A checkpoint may hold the erasure beside columns from before it, so erasing twice is not nothing.
        if self.erased.contains(friend) && entry.effect != Effect::Erased {
            return;
        }
        self.meet(friend);
        match &entry.effect {
            Effect::Joined { user } => self.users.name(friend, *user),
            Effect::Status { status, followed_at } => {
                self.set_status(friend, *status, *followed_at, entry.at);
            }
            Effect::ExternalId { external_id } => self.external_ids.set(friend, external_id.as_deref()),
            Effect::TagAdded { tag } => self.tag(tag).give(friend, entry.at.as_millis()),
            Effect::TagRemoved { tag } => {
                if let Some(held) = self.tags.get_mut(tag) {
                    held.take(friend);
                }
            }
            Effect::Attribute { name, value: Some(value) } => self.attribute(name).set(friend, value),
            Effect::Attribute { name, value: None } => {
                if let Some(attribute) = self.attributes.get_mut(name) {
                    attribute.remove(friend);
                }
            }
            Effect::Event { name, properties, .. } => self.add_event(entry, name, properties),
            Effect::Quarantined => {
                self.quarantined.insert(friend);
                self.sets_dirty.mark(place(friend).0);
            }
            Effect::Erased => self.erase(friend),
        }
    }

    /// Merges late events into their columns. Evaluation is right without it and quicker after it: worth a call
    /// after each bulk of entries.
    pub fn settle(&mut self) {
        self.events.values_mut().for_each(Events::settle);
    }

    /// Drops the events of erased friends and those at or before `keep_after`. Rewrites the columns: a task for
    /// the hours of retention.
    pub fn drop_events(&mut self, keep_after: Instant) {
        let erased = &self.erased;
        for events in self.events.values_mut() {
            events.retain(|friend, at| at > keep_after.as_millis() && !erased.contains(friend));
        }
        self.events.retain(|_, events| events.len() > 0);
    }

    /// Forgets the events of these friends, who are erased: the rest of what was known of them is gone already.
    pub fn forget_events(&mut self, friends: &RoaringBitmap) {
        self.events.values_mut().for_each(|events| events.forget(friends));
    }

    /// Makes room where it costs little: whole blocks of events before the instant, once they are a good part of their
    /// name's. What goes is gone from the journal, too; what stays does no harm.
    pub fn drop_old_events(&mut self, before: Instant) {
        self.events.values_mut().for_each(|events| events.drop_old_blocks(before.as_millis()));
    }

    /// The largest number of an entry applied.
    pub fn applied(&self) -> Seq {
        self.applied
    }

    /// LINE's id of a friend; none once erased.
    pub fn user(&self, friend: FriendId) -> Option<UserId> {
        self.users.user(friend.0)
    }

    /// The friend LINE knows by this id.
    pub fn friend_of(&self, user: UserId) -> Option<FriendId> {
        self.users.friend(user).map(FriendId)
    }

    /// When the friend followed last, where one is known.
    pub fn followed_at(&self, friend: FriendId) -> Option<Instant> {
        self.followed_at.get(friend.0).map(Instant::from_millis)
    }

    /// When a friend who does not follow blocked the account.
    pub fn blocked_at(&self, friend: FriendId) -> Option<Instant> {
        self.blocked_at.get(friend.0).map(Instant::from_millis)
    }

    /// The shop's own id of a friend.
    pub fn external_id(&self, friend: FriendId) -> Option<&str> {
        self.external_ids.of(friend.0)
    }

    /// The friends the shop knows by this id, mostly one.
    pub fn with_external_id(&self, id: &str) -> RoaringBitmap {
        self.external_ids.friends(id)
    }

    /// How many friends there are, blocked ones included, erased ones not.
    pub fn len(&self) -> u64 {
        self.everybody.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.everybody.is_empty()
    }

    /// The dense id the next new friend gets: one more than the largest ever given.
    pub fn next_friend(&self) -> FriendId {
        FriendId(self.users.next())
    }

    /// Every friend, blocked ones included, erased ones not.
    pub fn everybody(&self) -> &RoaringBitmap {
        &self.everybody
    }

    /// Friends a message can reach, as stored.
    pub fn following(&self) -> &RoaringBitmap {
        &self.following
    }

    /// Dense ids of erased friends.
    pub fn erased(&self) -> &RoaringBitmap {
        &self.erased
    }

    /// Friends whose user id LINE refused.
    pub fn quarantined(&self) -> &RoaringBitmap {
        &self.quarantined
    }

    /// Friends who hold a tag given at or before `now`.
    pub fn tagged(&self, tag: &TagName, now: Instant) -> RoaringBitmap {
        self.tag_holders(tag, Age::Any.window(now), None)
    }

    /// When a friend was given a tag they hold.
    pub fn tag_given(&self, friend: FriendId, tag: &TagName) -> Option<Instant> {
        self.tags.get(tag)?.given(friend.0).map(Instant::from_millis)
    }

    /// Whether a friend's attribute has this value, or none.
    pub fn has_value(&self, friend: FriendId, attribute: &AttributeName, value: Option<&Value>) -> bool {
        let test = match value {
            Some(value) => AttributeTest::Compare(vec![Comparison::Eq(value.clone())]),
            None => AttributeTest::IsSet(false),
        };
        match self.attributes.get(attribute) {
            Some(attribute) => attribute.passes(&test, Instant::MAX, friend.0),
            None => value.is_none(),
        }
    }

    /// Whether a friend follows; none for somebody who is not known.
    pub fn status(&self, friend: FriendId) -> Option<Status> {
        let follows = self.following.contains(friend.0);
        let status = if follows { Status::Following } else { Status::Blocked };
        self.everybody.contains(friend.0).then_some(status)
    }

    /// A friend's events, as far as they are kept, by name and in the order of time. Looks through all events of the
    /// account.
    pub fn events_of(&self, friend: FriendId) -> Vec<(EventName, Instant)> {
        let mut found = Vec::new();
        for (name, events) in &self.events {
            let of_friend = events.instants_of(friend.0).into_iter();
            found.extend(of_friend.map(|at| (name.clone(), Instant::from_millis(at))));
        }
        found.sort_by_key(|(_, at)| *at);
        found
    }

    /// The tags somebody holds, with how many holders each, whenever given.
    pub fn tags(&self) -> impl Iterator<Item = (&TagName, u64)> {
        self.tags.iter().filter(|(_, tag)| !tag.is_empty()).map(|(name, tag)| (name, tag.holders().len()))
    }

    /// The attributes somebody has a value of.
    pub fn attributes(&self) -> impl Iterator<Item = &AttributeName> {
        self.attributes.iter().filter(|(_, attribute)| !attribute.is_empty()).map(|(name, _)| name)
    }

    /// The names of events that happened to somebody.
    pub fn event_names(&self) -> impl Iterator<Item = &EventName> {
        self.events.keys()
    }

    /// The friends for whom the rule holds at `now`.
    pub fn evaluate(
        &self,
        rule: &Rule,
        segments: &Segments,
        sends: &Sends,
        now: Instant,
    ) -> Result<RoaringBitmap, EvaluateError> {
        evaluate(rule, segments, now, &facts::All { index: self, sends })
    }

    /// Whether the rule holds at `now` for one friend: the same evaluator over one truth value.
    pub fn evaluate_one(
        &self,
        rule: &Rule,
        segments: &Segments,
        sends: &Sends,
        now: Instant,
        friend: FriendId,
    ) -> Result<bool, EvaluateError> {
        evaluate(rule, segments, now, &facts::One { index: self, sends, friend: friend.0 })
    }

    /// A friend first heard of follows: LINE tells of users who do.
    fn meet(&mut self, friend: u32) {
        if self.everybody.insert(friend) {
            self.users.reserve(friend);
            self.following.insert(friend);
            self.sets_dirty.mark(place(friend).0);
        }
    }

    fn erase(&mut self, friend: u32) {
        self.clear(friend);
        self.everybody.remove(friend);
        self.erased.insert(friend);
    }

    fn set_status(&mut self, friend: u32, status: Status, followed_at: Option<Instant>, at: Instant) {
        match status {
            Status::Following => {
                self.following.insert(friend);
                self.unblock(friend);
            }
            Status::Blocked => {
                self.following.remove(friend);
                self.blocked_at.set(friend, at.as_millis());
                self.blocked_dirty.mark(place(friend).0);
            }
        }
        self.sets_dirty.mark(place(friend).0);
        if let Some(at) = followed_at {
            self.followed_at.set(friend, at.as_millis());
            self.followed_dirty.mark(place(friend).0);
        }
    }

    fn unblock(&mut self, friend: u32) {
        if self.blocked_at.remove(friend) {
            self.blocked_dirty.mark(place(friend).0);
        }
    }

    /// Forgets the friend's state, but not that there is such a friend, nor its events.
    fn clear(&mut self, friend: u32) {
        self.users.forget(friend);
        self.following.remove(friend);
        self.quarantined.remove(friend);
        self.sets_dirty.mark(place(friend).0);
        if self.followed_at.remove(friend) {
            self.followed_dirty.mark(place(friend).0);
        }
        self.unblock(friend);
        self.external_ids.set(friend, None);
        self.tags.values_mut().for_each(|tag| tag.take(friend));
        self.attributes.values_mut().for_each(|attribute| attribute.remove(friend));
    }

    fn add_event(&mut self, entry: &Entry, name: &EventName, properties: &BTreeMap<PropertyName, Value>) {
        let events = self.events.entry(name.clone()).or_default();
        if entry.seq <= events.seq {
            return;
        }
        events.seq = entry.seq;
        let cell = |(name, value): (&PropertyName, &Value)| {
            let (property, texts) = events.property_mut(name);
            intern(value, texts).map(|(of, key)| Cell { property, of, key })
        };
        let cells = properties.iter().filter_map(cell).collect();
        events.push(Row { at: entry.at.as_millis(), friend: entry.friend.0, cells });
    }

    /// Takes over the columns of another index that has others.
    fn join(&mut self, other: Index) {
        let Index { users, everybody, following, erased, quarantined, external_ids, .. } = other;
        if users.next() > 0 {
            self.users = users;
        }
        self.everybody |= everybody;
        self.following |= following;
        self.erased |= erased;
        self.quarantined |= quarantined;
        for (mine, theirs) in
            [(&mut self.followed_at, other.followed_at), (&mut self.blocked_at, other.blocked_at)]
        {
            if theirs.count() > 0 {
                *mine = theirs;
            }
        }
        if !external_ids.is_empty() {
            self.external_ids = external_ids;
        }
        self.tags.extend(other.tags);
        self.attributes.extend(other.attributes);
        self.events.extend(other.events);
    }

    fn tag(&mut self, name: &TagName) -> &mut Tag {
        self.tags.entry(name.clone()).or_default()
    }

    fn attribute(&mut self, name: &AttributeName) -> &mut Attribute {
        self.attributes.entry(name.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::segment::rule::Condition;

    fn user(n: u8) -> UserId {
        UserId([n; 16])
    }

    fn entry(seq: i64, friend: u32, effect: Effect) -> Entry {
        Entry { seq: Seq(seq), friend: FriendId(friend), at: Instant::from_millis(seq), effect }
    }

    #[test]
    fn an_erased_friend_is_gone_and_its_number_is_not_given_again() {
        let vip = TagName::parse("vip").unwrap();
        let mut index = Index::new();
        let tagged = |seq, friend| entry(seq, friend, Effect::TagAdded { tag: vip.clone() });
        index.apply(&entry(1, 0, Effect::Joined { user: user(1) }));
        index.apply(&tagged(2, 0));
        index.apply(&entry(3, 0, Effect::Erased));
        // What is still in the journal of an erased friend says nothing any more.
        index.apply(&tagged(2, 0));
        index.apply(&entry(1, 0, Effect::Joined { user: user(1) }));
        let now = Instant::from_millis(10);
        assert!(index.is_empty() && index.following().is_empty() && index.tagged(&vip, now).is_empty());
        assert_eq!((index.user(FriendId(0)), index.friend_of(user(1))), (None, None));
        assert_eq!(index.next_friend(), FriendId(1));
        assert_eq!(index.erased().iter().collect::<Vec<_>>(), [0]);

        index.apply(&entry(4, 1, Effect::Joined { user: user(1) }));
        assert_eq!(index.friend_of(user(1)), Some(FriendId(1)));
        let (segments, sends) = (Segments::new(), Sends::default());
        let nobody = Rule::Any(vec![]);
        let everybody = Rule::Not(Box::new(nobody));
        assert_eq!(index.evaluate(&everybody, &segments, &sends, now).unwrap(), RoaringBitmap::from([1]));
        assert!(!index.evaluate_one(&everybody, &segments, &sends, now, FriendId(0)).unwrap());
    }

    #[test]
    fn a_tag_given_after_now_is_not_held() {
        let vip = TagName::parse("vip").unwrap();
        let mut index = Index::new();
        for (seq, friend) in [(5, 0), (6, 1), (7, 2)] {
            index.apply(&entry(seq, friend, Effect::TagAdded { tag: vip.clone() }));
        }
        let now = Instant::from_millis(6);
        assert_eq!(index.tagged(&vip, now), RoaringBitmap::from([0, 1]));
        let rule = Rule::Is(Condition::Tag { tag: vip, held: Age::Any });
        let found = index.evaluate(&rule, &Segments::new(), &Sends::default(), now);
        assert_eq!(found.unwrap(), RoaringBitmap::from([0, 1]));
    }

    #[test]
    fn events_to_forget_are_forgotten() {
        let mut index = Index::new();
        let visit = EventName::parse("visit").unwrap();
        for (seq, friend) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
            let effect = Effect::Event { name: visit.clone(), event_id: None, properties: BTreeMap::new() };
            index.apply(&entry(seq, friend, effect));
        }
        index.apply(&entry(5, 1, Effect::Erased));
        index.drop_events(Instant::from_millis(1));
        assert_eq!(index.events.get(&visit).map(Events::len), Some(1));
        index.drop_events(Instant::from_millis(3));
        assert_eq!(index.event_names().count(), 0);
    }
}
