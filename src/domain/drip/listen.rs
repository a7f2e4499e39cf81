//! What a journal entry means for drips: who starts, whose way ends. A pure reading of the entry and of what held
//! right before it.

use std::collections::HashMap;

use super::{Drip, Ending, Happening, Start};
use crate::domain::attribute::Value;
use crate::domain::effect::{Effect, Entry};
use crate::domain::friend::Status;
use crate::domain::id::{AttributeName, CampaignSlug, EventName, FriendId, TagName, VersionId};
use crate::domain::segment::value_test::passes;
use crate::domain::time::Instant;

/// What held of a friend right before an entry.
pub trait Before {
    /// Whether the friend held the tag.
    fn holds(&self, friend: FriendId, tag: &TagName) -> bool;
    /// Whether the attribute had this value, or none.
    fn has(&self, friend: FriendId, attribute: &AttributeName, value: Option<&Value>) -> bool;
    /// The friend's status; none for somebody just met.
    fn status(&self, friend: FriendId) -> Option<Status>;
    /// Since when the friend follows, or followed last, where anybody said it.
    fn followed_at(&self, friend: FriendId) -> Option<Instant>;
}

/// What an entry means for one drip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Which drip.
    pub drip: CampaignSlug,
    /// As of which version.
    pub version: VersionId,
    /// What follows.
    pub role: Role,
}

/// What a happening does in a drip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It starts a friend.
    Start,
    /// It ends a friend's way.
    End(Ending),
}

/// What one drip of one version listens to.
#[derive(Debug, Clone)]
struct Listener {
    drip: CampaignSlug,
    version: VersionId,
    role: Role,
    to: To,
}

#[derive(Debug, Clone)]
enum To {
    Happening(Happening),
    Followed,
    Attribute(Start),
}

/// Who listens to what, by what entries name: entries nobody waits for cost one look-up.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    tags: HashMap<TagName, Vec<Listener>>,
    events: HashMap<EventName, Vec<Listener>>,
    attributes: HashMap<AttributeName, Vec<Listener>>,
    status: Vec<Listener>,
}

impl Listeners {
    /// Adds a drip that friends may start in.
    pub fn add_start(&mut self, drip: &Drip, version: VersionId) {
        if drip.draft {
            return;
        }
        let to = match &drip.start {
            Start::TagAdded(tag) => To::Happening(Happening::TagAdded(tag.clone())),
            Start::TagRemoved(tag) => To::Happening(Happening::TagRemoved(tag.clone())),
            Start::Event(happening) => To::Happening(happening.clone()),
            Start::Followed => To::Followed,
            Start::Attribute { .. } => To::Attribute(drip.start.clone()),
            Start::Date(_) => return,
        };
        self.add(Listener { drip: drip.slug.clone(), version, role: Role::Start, to });
    }

    /// Adds a drip that friends are on their way through.
    pub fn add_ends(&mut self, drip: &Drip, version: VersionId) {
        let ends = [(&drip.goal, Ending::Reached), (&drip.stop_on, Ending::Stopped)];
        for (happening, ending) in ends {
            if let Some(happening) = happening {
                let to = To::Happening(happening.clone());
                self.add(Listener { drip: drip.slug.clone(), version, role: Role::End(ending), to });
            }
        }
    }

    fn add(&mut self, listener: Listener) {
        let list = match &listener.to {
            To::Happening(Happening::TagAdded(tag) | Happening::TagRemoved(tag)) => {
                self.tags.entry(tag.clone()).or_default()
            }
            To::Happening(Happening::Event { event, .. }) => self.events.entry(event.clone()).or_default(),
            To::Attribute(Start::Attribute { name, .. }) => self.attributes.entry(name.clone()).or_default(),
            To::Happening(Happening::Unfollowed) | To::Followed | To::Attribute(_) => &mut self.status,
        };
        list.push(listener);
    }

    /// Whether anybody listens to such an effect at all.
    pub fn concerns(&self, effect: &Effect) -> bool {
        match effect {
            Effect::TagAdded { tag } | Effect::TagRemoved { tag } => self.tags.contains_key(tag),
            Effect::Event { name, .. } => self.events.contains_key(name),
            Effect::Attribute { name, .. } => self.attributes.contains_key(name),
            Effect::Status { .. } => !self.status.is_empty(),
            _ => false,
        }
    }

    /// What an entry means; what it ends comes before what it starts. `told` says that LINE told it: only then does a
    /// status start a drip, for an import of friends is nobody's follow.
    pub fn hear(&self, entry: &Entry, before: &impl Before, told: bool) -> Vec<Heard> {
        let mut heard = self.listen(entry, before, told);
        heard.sort_by_key(|one| one.role == Role::Start);
        heard
    }

    fn listen(&self, entry: &Entry, before: &impl Before, told: bool) -> Vec<Heard> {
        let friend = entry.friend;
        let of = |list: &[Listener], holds: &dyn Fn(&To) -> bool| {
            list.iter().filter(|listener| holds(&listener.to)).map(Listener::heard).collect()
        };
        match &entry.effect {
            Effect::TagAdded { tag } => self.tags.get(tag).map_or_else(Vec::new, |list| {
                let new = !before.holds(friend, tag);
                of(list, &|to| new && matches!(to, To::Happening(Happening::TagAdded(_))))
            }),
            Effect::TagRemoved { tag } => self.tags.get(tag).map_or_else(Vec::new, |list| {
                let held = before.holds(friend, tag);
                of(list, &|to| held && matches!(to, To::Happening(Happening::TagRemoved(_))))
            }),
            Effect::Event { name, properties, .. } => self.events.get(name).map_or_else(Vec::new, |list| {
                of(list, &|to| matches!(to, To::Happening(happening) if happening.is_event(name, properties)))
            }),
            Effect::Attribute { name, value } => self.attributes.get(name).map_or_else(Vec::new, |list| {
                let changed = !before.has(friend, name, value.as_ref());
                of(list, &|to| changed && becomes(to, value.as_ref()))
            }),
            Effect::Status { status, .. } => {
                let follows = told && *status == Status::Following;
                // A friend somebody spoke of is taken as following; LINE's word of it is the follow all the same.
                let follows = follows && before.followed_at(friend).is_none_or(|last| last < entry.at);
                let blocks = *status == Status::Blocked && before.status(friend) != Some(*status);
                of(&self.status, &|to| match to {
                    To::Followed => follows,
                    _ => blocks,
                })
            }
            _ => Vec::new(),
        }
    }
}

fn becomes(to: &To, value: Option<&Value>) -> bool {
    let To::Attribute(Start::Attribute { to, .. }) = to else { return false };
    match value {
        Some(value) => passes(value, to),
        None => false,
    }
}

impl Listener {
    fn heard(&self) -> Heard {
        Heard { drip: self.drip.clone(), version: self.version, role: self.role }
    }
}
