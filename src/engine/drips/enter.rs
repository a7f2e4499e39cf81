//! Whether those who started may: looked at in bulk, right after the entries that started them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::config::Configuration;
use crate::domain::drip::{Drip, Enrollment, Happening, Start};
use crate::domain::id::{CampaignSlug, FriendId, VersionId};
use crate::domain::segment::rule::{Condition, EventCondition, Measure, Rule};
use crate::domain::time::Instant;
use crate::store::{Priority, StoreError, Write};

use super::Engine;

impl Engine {
    /// Looks at every start: who may not is forgotten, for whoever may the first step comes next.
    pub(in crate::engine) async fn enter_drips(&mut self) -> Result<(), StoreError> {
        if !self.state.ways.is_starting() {
            return Ok(());
        }
        let mut by_drip: BTreeMap<(CampaignSlug, VersionId), Vec<Enrollment>> = BTreeMap::new();
        for way in self.state.ways.take_starting() {
            by_drip.entry((way.drip.clone(), way.version)).or_default().push(way);
        }
        let (mut entered, mut refused) = (Vec::new(), Vec::new());
        for ((slug, version), ways) in by_drip {
            let configuration = self.configuration_of(version);
            let (yes, no) = match configuration.drips.get(&slug) {
                Some(drip) => self.admit(&configuration, drip, ways).await?,
                None => (Vec::new(), ways),
            };
            entered.extend(yes);
            refused.extend(no.into_iter().map(|way| (way.drip, way.friend, way.started_at)));
        }
        self.count_starts(entered.len(), refused.len());
        let mut writes = Vec::new();
        if !entered.is_empty() {
            writes.push(Write::Enrollments(entered.clone()));
        }
        if !refused.is_empty() {
            writes.push(Write::DropEnrollments(refused));
        }
        self.commit(Priority::Freeze, writes).await?;
        entered.into_iter().for_each(|way| self.state.ways.put(way));
        self.next_due = None;
        Ok(())
    }

    /// Parts the starts of one drip into those that may and those that may not.
    async fn admit(
        &self,
        configuration: &Arc<Configuration>,
        drip: &Drip,
        mut ways: Vec<Enrollment>,
    ) -> Result<(Vec<Enrollment>, Vec<Enrollment>), StoreError> {
        ways.sort_by_key(|way| (way.started_at, way.friend));
        let now = self.deps.clock.now();
        let friends: Vec<FriendId> = ways.iter().map(|way| way.friend).collect();
        let mut last: HashMap<FriendId, Instant> =
            self.deps.store.last_starts(self.account, &drip.slug, &friends).await?;
        let eligible = self.eligible(configuration, drip, &friends, now).await;
        // Whoever begins here is on their way until then.
        let mut busy: HashMap<FriendId, Instant> = HashMap::new();
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        for mut way in ways {
            let friend = way.friend;
            let again = last.get(&friend).is_none_or(|last| drip.again.allows(*last, way.started_at));
            let free = self.state.ways.get(&drip.slug, friend).is_none()
                && busy.get(&friend).is_none_or(|until| *until <= way.started_at);
            if free && again && eligible.contains(friend.0) && self.is_counted(configuration, drip, &way) {
                last.insert(friend, way.started_at);
                way.enter(drip);
                busy.insert(friend, way.lasts_until());
                yes.push(way);
            } else {
                no.push(way);
            }
        }
        Ok((yes, no))
    }

    /// Those of the friends whom the entry rule holds for; nobody where it cannot be evaluated.
    async fn eligible(
        &self,
        configuration: &Arc<Configuration>,
        drip: &Drip,
        friends: &[FriendId],
        now: Instant,
    ) -> RoaringBitmap {
        let mut among: RoaringBitmap = friends.iter().map(|friend| friend.0).collect();
        among &= self.state.index.everybody();
        let rules = drip.entry.iter().cloned().collect();
        match self.ask_rules(configuration, rules, now).await {
            Ok(found) => found.into_iter().fold(among, |among, found| among & found),
            Err(failure) => {
                tracing::error!(account = %self.slug, drip = %drip.slug, error = failure.message, "the entry rule cannot be evaluated");
                RoaringBitmap::new()
            }
        }
    }

    /// Whether there are as many events as the start asks for, counted up to the one that started it.
    fn is_counted(&self, configuration: &Configuration, drip: &Drip, way: &Enrollment) -> bool {
        let Start::Event(Happening::Event { event, properties, count: Some(count) }) = &drip.start else {
            return true;
        };
        let rule = Rule::Is(Condition::Event(EventCondition {
            event: event.clone(),
            within: count.within,
            properties: properties.clone(),
            measure: Measure::Count(count.bounds.clone()),
        }));
        let (segments, sends) = (&configuration.segments, &self.state.sends);
        let index = &self.state.index;
        index.evaluate_one(&rule, segments, sends, way.started_at, way.friend).unwrap_or(false)
    }
}
