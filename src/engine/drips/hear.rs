//! What a slice of journal entries means for drips, decided before the slice is committed and committed with it.

use std::collections::{BTreeMap, HashMap};

use crate::audience::Index;
use crate::domain::attribute::Value;
use crate::domain::drip::{Before, Ending, Enrollment, Existing, Heard, Role};
use crate::domain::effect::{Effect, Entry};
use crate::domain::friend::Status;
use crate::domain::id::{AttributeName, FriendId, TagName};
use crate::domain::time::Instant;
use crate::store::Write;

use super::Engine;

/// What held right before each entry: the index, and what the slice has changed so far.
struct SoFar<'a> {
    index: &'a Index,
    tags: HashMap<(FriendId, TagName), bool>,
    values: HashMap<(FriendId, AttributeName), Option<Value>>,
    status: HashMap<FriendId, (Status, Option<Instant>)>,
}

impl Before for SoFar<'_> {
    fn holds(&self, friend: FriendId, tag: &TagName) -> bool {
        let changed = self.tags.get(&(friend, tag.clone())).copied();
        changed.unwrap_or_else(|| self.index.tag_given(friend, tag).is_some())
    }

    fn has(&self, friend: FriendId, attribute: &AttributeName, value: Option<&Value>) -> bool {
        match self.values.get(&(friend, attribute.clone())) {
            Some(changed) => changed.as_ref() == value,
            None => self.index.has_value(friend, attribute, value),
        }
    }

    fn status(&self, friend: FriendId) -> Option<Status> {
        self.status.get(&friend).map(|(status, _)| *status).or_else(|| self.index.status(friend))
    }

    fn followed_at(&self, friend: FriendId) -> Option<Instant> {
        let said = self.status.get(&friend).and_then(|(_, followed_at)| *followed_at);
        said.or_else(|| self.index.followed_at(friend))
    }
}

impl SoFar<'_> {
    fn note(&mut self, entry: &Entry) {
        let friend = entry.friend;
        match &entry.effect {
            Effect::TagAdded { tag } => drop(self.tags.insert((friend, tag.clone()), true)),
            Effect::TagRemoved { tag } => drop(self.tags.insert((friend, tag.clone()), false)),
            Effect::Attribute { name, value } => {
                drop(self.values.insert((friend, name.clone()), value.clone()));
            }
            Effect::Status { status, followed_at } => {
                let followed_at = followed_at.or_else(|| self.followed_at(friend));
                let _ = self.status.insert(friend, (*status, followed_at));
            }
            _ => {}
        }
    }
}

impl Engine {
    /// What entries mean for drips; `told` says of an entry that LINE told it. Memory changes here, so what is given
    /// back must be committed with the entries, or everything reloaded.
    pub(in crate::engine) fn hear_drips(
        &mut self,
        entries: &[Entry],
        told: impl Fn(&Entry) -> bool,
    ) -> Vec<Write> {
        let listeners = self.listeners();
        let mut before = SoFar {
            index: &self.state.index,
            tags: HashMap::new(),
            values: HashMap::new(),
            status: HashMap::new(),
        };
        let mut heard = Vec::new();
        for entry in entries.iter().filter(|entry| listeners.concerns(&entry.effect)) {
            let meant = listeners.hear(entry, &before, told(entry));
            heard.extend(meant.into_iter().map(|one| (entry, one)));
            before.note(entry);
        }
        let (mut started, mut writes) = (BTreeMap::<_, Vec<Enrollment>>::new(), Vec::new());
        for (entry, one) in heard {
            let ways = started.entry((one.drip.clone(), entry.friend)).or_default();
            match one.role {
                Role::Start => {
                    // While one way is not over no other begins. Which of those in this slice begin is looked at next.
                    if self.state.ways.get(&one.drip, entry.friend).is_none() {
                        ways.extend(self.start(entry, &one));
                    }
                }
                Role::End(how) => {
                    writes.extend(self.end_if_open(entry, &one, how));
                    let before = ways.iter_mut().filter(|way| way.started_at < entry.at);
                    before.filter(|way| way.version == one.version).for_each(|way| way.end(how, entry.at));
                }
            }
        }
        let mut started: Vec<Enrollment> = started.into_values().flatten().collect();
        for entry in entries.iter().filter(|entry| entry.effect == Effect::Erased) {
            let drips: Vec<_> = self.state.ways.of_friend(entry.friend).map(|way| way.drip.clone()).collect();
            for drip in drips {
                writes.extend(self.end_ways(&drip, [entry.friend], Ending::Erased, entry.at));
            }
            started.retain(|way| way.friend != entry.friend);
        }
        started.iter().for_each(|way| self.state.ways.put(way.clone()));
        if !started.is_empty() {
            writes.push(Write::Enrollments(started));
        }
        writes
    }

    /// A start, unless it lies at or before the activation of its drip.
    fn start(&self, entry: &Entry, heard: &Heard) -> Option<Enrollment> {
        let drip = self.active.configuration.drips.get(&heard.drip)?;
        let activated = self.state.campaigns.get(&heard.drip).map(|row| row.activated_at)?;
        let existing = entry.at <= activated;
        if existing && drip.existing == Existing::Ignore {
            return None;
        }
        let at = entry.at.max(activated);
        Some(Enrollment::starting(heard.drip.clone(), entry.friend, at, heard.version))
    }

    fn end_if_open(&mut self, entry: &Entry, heard: &Heard, how: Ending) -> Vec<Write> {
        let way = self.state.ways.get(&heard.drip, entry.friend);
        if way.is_none_or(|way| way.version != heard.version || way.started_at >= entry.at) {
            return Vec::new();
        }
        self.end_ways(&heard.drip, [entry.friend], how, entry.at)
    }
}
