//! Drips: who starts, whose way ends, whose step is due, who waits for room under a cap.
//!
//! A way changes only in the transaction that also holds the cause: journal entries for a start or an ending, the
//! freeze for a step, its own effects for an action. So each happens once, wherever the process is killed.

mod act;
mod dates;
mod defer;
mod enter;
mod hear;
mod migrate;
mod seen;
mod skip;
mod steps;

use std::sync::Arc;

pub(super) use seen::ending_words;
pub(super) use skip::{DoubtfulWait, FallenStep};

use super::Engine;
use crate::config::Configuration;
use crate::domain::drip::{Drip, Ending, Enrollment, Listeners, Standing};
use crate::domain::id::{CampaignSlug, FriendId, VersionId};
use crate::domain::time::Instant;
use crate::store::Write;

impl Engine {
    /// The configuration of a version that something open follows; one this haishin cannot read any more is stood
    /// in for by the running one.
    pub(super) fn configuration_of(&self, version: VersionId) -> Arc<Configuration> {
        if version == self.active.version {
            return self.active.configuration.clone();
        }
        self.versions.get(&version).unwrap_or(&self.active.configuration).clone()
    }

    /// The drips of this account in the running configuration.
    pub(super) fn drips(&self) -> impl Iterator<Item = &Drip> {
        self.active.configuration.drips.values().filter(|drip| drip.account == self.slug)
    }

    /// Who listens to what: rebuilt when the configuration changes or another version comes into use.
    pub(super) fn listeners(&self) -> Listeners {
        let mut listeners = Listeners::default();
        for drip in self.drips() {
            listeners.add_start(drip, self.active.version);
            listeners.add_ends(drip, self.active.version);
        }
        for version in self.state.ways.versions().filter(|version| *version != self.active.version) {
            let configuration = self.configuration_of(version);
            for drip in configuration.drips.values().filter(|drip| drip.account == self.slug) {
                listeners.add_ends(drip, version);
            }
        }
        listeners
    }

    /// Whether a drip stands still: paused by a person or a guard.
    pub(super) fn is_paused(&self, drip: &CampaignSlug) -> bool {
        self.state.campaigns.get(drip).is_some_and(|row| row.paused.is_some())
    }

    /// Since when a drip or campaign runs without a break.
    pub(super) fn up_since(&self, slug: &CampaignSlug) -> Instant {
        self.up_since.max(self.resumed.get(slug).copied().unwrap_or(Instant::MIN))
    }

    /// Ends the open ways of friends, and takes them out of the waiting sets they are in: what is to be committed.
    pub(super) fn end_ways(
        &mut self,
        drip: &CampaignSlug,
        friends: impl IntoIterator<Item = FriendId>,
        how: Ending,
        at: Instant,
    ) -> Vec<Write> {
        let mut ended: Vec<Enrollment> = Vec::new();
        let mut writes = Vec::new();
        for friend in friends {
            let Some(mut way) = self.state.ways.get(drip, friend).cloned() else { continue };
            if let Standing::Waiting { occurrence, .. } = way.standing
                && let Some(deferral) = self.state.deferrals.get_mut(&occurrence)
                && deferral.waiting.remove(friend.0)
            {
                deferral.left.insert(friend.0);
                writes.push(Write::Deferral(Box::new(deferral.clone())));
            }
            way.end(how, at);
            ended.push(way);
        }
        self.state.deferrals.retain(|_, deferral| !deferral.waiting.is_empty());
        ended.iter().for_each(|way| self.state.ways.put(way.clone()));
        if !ended.is_empty() {
            writes.push(Write::Enrollments(ended));
        }
        writes
    }
}
