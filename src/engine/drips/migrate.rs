//! What a new version of a drip means: who already qualifies, and who is on their way.

use std::collections::BTreeMap;

use crate::config::Configuration;
use crate::domain::drip::{Drip, Enrollment, Existing};
use crate::domain::id::{FriendId, VersionId};
use crate::domain::time::Instant;
use crate::store::{Priority, StoreError, Write};

use super::Engine;

impl Engine {
    /// Those who qualify already when a drip goes live, where it says that they start.
    pub(in crate::engine) fn start_existing(&self, drip: &Drip, activated: Instant) -> Vec<Enrollment> {
        if drip.existing == Existing::Ignore || drip.draft {
            return Vec::new();
        }
        let rule = drip.start.existing();
        let friends = rule.and_then(|rule| self.evaluate(&rule, &self.state.sends, activated).ok());
        let start = |friend| {
            Enrollment::starting(drip.slug.clone(), FriendId(friend), activated, self.active.version)
        };
        friends.into_iter().flatten().map(start).collect()
    }

    /// Moves friends on their way to the running version: of drips that say so, and of those that read there as they
    /// did.
    pub(in crate::engine) async fn migrate_drips(&mut self) -> Result<(), StoreError> {
        let version = self.active.version;
        let now = self.deps.clock.now();
        let drips: Vec<Drip> = self.drips().cloned().collect();
        let mut moved = Vec::new();
        for drip in &drips {
            let mut same: BTreeMap<VersionId, bool> = BTreeMap::new();
            for way in self.state.ways.of(&drip.slug).filter(|way| way.version != version) {
                let mut way = way.clone();
                if *same.entry(way.version).or_insert_with_key(|old| self.reads_the_same(drip, *old)) {
                    way.version = version;
                } else if drip.migrate {
                    way.migrate(drip, version, now);
                } else {
                    continue;
                }
                moved.push(way);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        tracing::info!(account = %self.slug, ways = moved.len(), %version, "friends on their way go on in the new version");
        self.commit(Priority::Freeze, vec![Write::Enrollments(moved.clone())]).await?;
        moved.into_iter().for_each(|way| self.state.ways.put(way));
        Ok(())
    }

    /// Whether a drip, and all it may refer to, reads in an older version as it does in the running one.
    fn reads_the_same(&self, drip: &Drip, version: VersionId) -> bool {
        let old = self.configuration_of(version);
        let policy = |configuration: &Configuration| {
            configuration.accounts.get(&self.slug).map(|account| account.policy.clone())
        };
        old.drips.get(&drip.slug) == Some(drip)
            && old.segments == self.active.configuration.segments
            && policy(&old) == policy(&self.active.configuration)
    }
}
