//! What a new version of a drip means: who already qualifies, and who is on their way.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::config::Configuration;
use crate::domain::drip::{Drip, Enrollment, Existing, Happening, Start};
use crate::domain::id::{FriendId, VersionId};
use crate::domain::segment::rule::{Age, AttributeTest, Bound, Condition, EventCondition, Measure, Rule};
use crate::domain::time::Instant;
use crate::store::{Priority, StoreError, Write};

use super::Engine;

impl Engine {
    /// Those who qualify already when a drip goes live, where it says that they start.
    pub(in crate::engine) fn start_existing(&self, drip: &Drip, activated: Instant) -> Vec<Enrollment> {
        if drip.existing == Existing::Ignore || drip.draft {
            return Vec::new();
        }
        let friends = self.qualify(drip, activated);
        let start = |friend| {
            Enrollment::starting(drip.slug.clone(), FriendId(friend), activated, self.active.version)
        };
        friends.into_iter().map(start).collect()
    }

    fn qualify(&self, drip: &Drip, at: Instant) -> RoaringBitmap {
        let condition = match &drip.start {
            Start::TagAdded(tag) => Condition::Tag { tag: tag.clone(), held: Age::Any },
            Start::Event(Happening::Event { event, properties, count }) => Condition::Event(EventCondition {
                event: event.clone(),
                within: count.as_ref().and_then(|count| count.within),
                properties: properties.clone(),
                measure: Measure::Count(
                    count.as_ref().map_or_else(|| vec![Bound::Gte(1)], |count| count.bounds.clone()),
                ),
            }),
            Start::Followed => Condition::Status(crate::domain::friend::Status::Following),
            Start::Attribute { name, to } => {
                Condition::Attribute { name: name.clone(), test: AttributeTest::Compare(to.clone()) }
            }
            // Nobody qualifies by what is not there, nor by a day.
            Start::TagRemoved(_) | Start::Event(_) | Start::Date(_) => return RoaringBitmap::new(),
        };
        self.evaluate(&Rule::Is(condition), &self.state.sends, at).unwrap_or_default()
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
