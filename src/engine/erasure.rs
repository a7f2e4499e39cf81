//! Friends who are erased while occurrences are on their way.

use std::collections::BTreeMap;

use crate::domain::effect::{Effect, Entry};
use crate::domain::id::FriendId;
use crate::store::Erasure;

use super::Engine;
use super::dispatch::Heard;

impl Engine {
    /// Erased friends leave every batch that was surely never tried. Who they are at LINE stays known: a batch in doubt goes
    /// out again as it was, or not at all; and what names them is to be found. What is given back is to be committed
    /// with the entries, or everything reloaded.
    pub(super) fn cut_out(&mut self, entries: &[Entry]) -> (Heard, Vec<Erasure>) {
        let (clock, mut cut) = (self.deps.clock.read(), Heard::default());
        let erasures: Vec<Erasure> = self.erasures(entries);
        for erasure in &erasures {
            self.state.leaving.0.entry(erasure.friend).or_insert_with(|| erasure.clone());
        }
        let (index, leaving) = (&self.state.index, &self.state.leaving);
        let user_of = |friend| leaving.user(index, friend);
        for erasure in &erasures {
            for run in self.state.runs.values_mut() {
                cut.add(run.erase(erasure.friend, &clock, &user_of));
            }
        }
        (cut, erasures)
    }

    /// Whom the entries erase, with the ids they had right before.
    fn erasures(&self, entries: &[Entry]) -> Vec<Erasure> {
        let (index, now) = (&self.state.index, self.deps.clock.now());
        let (mut users, mut ids) = (BTreeMap::<FriendId, _>::new(), BTreeMap::<FriendId, _>::new());
        let mut erasures = Vec::new();
        for entry in entries {
            let friend = entry.friend;
            match &entry.effect {
                Effect::Joined { user } => drop(users.insert(friend, *user)),
                Effect::ExternalId { external_id } => drop(ids.insert(friend, external_id.clone())),
                Effect::Erased => {
                    let stored = || index.external_id(friend).map(str::to_owned);
                    let id = ids.get(&friend).cloned().unwrap_or_else(stored);
                    let is_theirs_alone = |id: &String| {
                        index.with_external_id(id).iter().all(|other| other == friend.0)
                            && !ids.iter().any(|(other, got)| *other != friend && got.as_ref() == Some(id))
                    };
                    erasures.push(Erasure {
                        friend,
                        seq: entry.seq,
                        at: now,
                        user: users.get(&friend).copied().or_else(|| index.user(friend)),
                        external_id: id.filter(is_theirs_alone),
                    });
                }
                _ => {}
            }
        }
        erasures
    }

    /// Whether a batch that may still go out holds the friend.
    pub(super) fn is_held(&self, friend: FriendId) -> bool {
        self.state.runs.values().any(|run| run.holds(friend))
    }
}
