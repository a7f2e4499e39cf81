//! What a new version of a drip means: who already qualifies, and who is on their way.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::Configuration;
use crate::domain::drip::{Drip, Enrollment, Existing};
use crate::domain::id::{FriendId, VersionId};
use crate::store::{CampaignRow, Priority, StoreError, Write};

use super::super::due::UNSCHEDULED;
use super::Engine;

impl Engine {
    /// The rows of drips whose start is new, and whoever starts with that: in a drip that goes live, those who qualify
    /// already, where it says so.
    pub(in crate::engine) async fn activate_drips(
        &self,
    ) -> Result<(Vec<CampaignRow>, Vec<Enrollment>), StoreError> {
        let (mut rows, mut started) = (Vec::new(), Vec::new());
        for drip in self.drips() {
            let known = self.state.campaigns.get(&drip.slug);
            let digest = start_digest(drip);
            if known.is_some_and(|row| row.schedule_digest == digest) || (drip.draft && known.is_none()) {
                continue;
            }
            if known.is_none_or(|row| row.schedule_digest == UNSCHEDULED) {
                started.extend(self.start_existing(drip).await);
            }
            rows.push(CampaignRow {
                campaign: drip.slug.clone(),
                step: None,
                schedule_digest: digest,
                activated_at: self.active.activated_at,
                last_planned: known.and_then(|row| row.last_planned),
                paused: known.and_then(|row| row.paused.clone()),
            });
        }
        Ok((rows, started))
    }

    /// Those who qualify already when a drip goes live, where it says that they start.
    async fn start_existing(&self, drip: &Drip) -> Vec<Enrollment> {
        let rule = drip.start.existing().filter(|_| drip.existing == Existing::Enroll && !drip.draft);
        let rules: Vec<_> = rule.into_iter().map(Arc::new).collect();
        let activated = self.active.activated_at;
        match self.ask_rules(&self.active.configuration, rules, activated).await {
            Ok(found) => {
                let start = |friend| {
                    let (slug, version) = (drip.slug.clone(), self.active.version);
                    Enrollment::starting(slug, FriendId(friend), activated, version)
                };
                let open = |friend: &u32| self.state.ways.get(&drip.slug, FriendId(*friend)).is_none();
                found.into_iter().flatten().filter(open).map(start).collect()
            }
            Err(failure) => {
                tracing::error!(account = %self.slug, drip = %drip.slug, error = failure.message, "who qualifies already cannot be evaluated");
                Vec::new()
            }
        }
    }

    /// Moves friends on their way to the running version: of drips that say so, and of those that read there as they
    /// did.
    pub(in crate::engine) async fn migrate_drips(&mut self) -> Result<(), StoreError> {
        let version = self.active.version;
        let changed_at = self.active.activated_at;
        let drips: Vec<Drip> = self.drips().cloned().collect();
        let mut moved = Vec::new();
        for drip in &drips {
            let mut same: BTreeMap<VersionId, bool> = BTreeMap::new();
            for way in self.state.ways.of(&drip.slug).filter(|way| way.version != version) {
                let mut way = way.clone();
                if *same.entry(way.version).or_insert_with_key(|old| self.reads_the_same(drip, *old)) {
                    way.version = version;
                } else if drip.migrate {
                    way.migrate(drip, version, changed_at);
                } else {
                    continue;
                }
                moved.push(way);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        tracing::info!(account = %self.slug, friends = moved.len(), %version, "friends on their way go on in the new version");
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

/// What tells one start from another; a draft has none.
fn start_digest(drip: &Drip) -> [u8; 32] {
    if drip.draft {
        return UNSCHEDULED;
    }
    Sha256::digest(format!("{:?}", drip.start)).into()
}
