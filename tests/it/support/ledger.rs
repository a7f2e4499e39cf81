//! The books as they lie in a database, and what must hold of them at every instant.

use std::collections::BTreeMap;

use haishin::domain::delivery::{Exclusion, Outcome};
use haishin::domain::id::{AccountId, UserId};
use haishin::domain::plan::{BATCH_FRIENDS, BatchRange, batches, friends_of};
use haishin::store::{
    BatchEnding, BatchRow, DeliverySet, OccurrenceFilter, OccurrenceRow, Store, StrideRow, VariantRow,
};
use roaring::RoaringBitmap;

/// One account's books.
pub struct Ledger {
    /// By due instant, then number.
    pub occurrences: Vec<Entry>,
}

/// What is stored of one occurrence.
pub struct Entry {
    pub row: OccurrenceRow,
    pub arms: Vec<VariantRow>,
    pub exclusions: BTreeMap<Exclusion, RoaringBitmap>,
    /// As written when it ended.
    pub ended: BTreeMap<Outcome, RoaringBitmap>,
    /// The same by arm and instant.
    pub sets: Vec<DeliverySet>,
    pub strides: Vec<StrideRow>,
    pub batches: Vec<BatchRow>,
}

impl Ledger {
    /// Reads an account's books, and looks whether they can be true.
    pub async fn read(store: &dyn Store, account: AccountId) -> Self {
        let newest = OccurrenceFilter::Newest { campaign: None, limit: 10_000 };
        let mut rows = store.occurrences(account, newest).await.unwrap();
        rows.sort_by_key(|row| (row.due_at, row.id));
        let mut occurrences = Vec::new();
        for row in rows {
            occurrences.push(Entry::read(store, account, row).await);
        }
        let ledger = Self { occurrences };
        ledger.occurrences.iter().for_each(Entry::check);
        ledger
    }

    /// The occurrences of a campaign.
    pub fn of(&self, campaign: &str) -> impl Iterator<Item = &Entry> {
        self.occurrences.iter().filter(move |one| one.row.campaign.as_str() == campaign)
    }
}

/// Who the dense ids of an account are.
pub async fn users(store: &dyn Store, account: AccountId) -> BTreeMap<u32, UserId> {
    let friends = store.friends(account, None, 1_000_000).await.unwrap();
    friends.into_iter().filter_map(|friend| Some((friend.friend.0, friend.user?))).collect()
}

impl Entry {
    async fn read(store: &dyn Store, account: AccountId, row: OccurrenceRow) -> Self {
        let (mut exclusions, mut ended) = (BTreeMap::new(), BTreeMap::new());
        for set in store.exclusions(account, row.id).await.unwrap() {
            assert_eq!(exclusions.insert(set.exclusion, set.friends), None);
        }
        let sets = store.deliveries(account, row.id).await.unwrap();
        for set in &sets {
            let all: &mut RoaringBitmap = ended.entry(set.outcome).or_default();
            assert!(all.is_disjoint(&set.friends), "nobody ended twice");
            *all |= &set.friends;
        }
        Self {
            arms: store.variants(account, row.id).await.unwrap(),
            exclusions,
            ended,
            sets,
            strides: store.strides(account, row.id).await.unwrap(),
            batches: store.batches(account, row.id).await.unwrap(),
            row,
        }
    }

    /// Whom the freeze gave it to.
    pub fn recipients(&self) -> RoaringBitmap {
        self.arms.iter().fold(RoaringBitmap::new(), |all, arm| all | &arm.recipients)
    }

    /// Who was left out for this reason.
    pub fn excluded(&self, why: &Exclusion) -> RoaringBitmap {
        self.exclusions.get(why).cloned().unwrap_or_default()
    }

    /// The first batch that was surely never tried.
    pub fn mark(&self) -> u32 {
        self.strides.last().map_or(0, |stride| stride.upto)
    }

    /// Friends of batches that may have been tried.
    pub fn opened(&self) -> u64 {
        self.ranges().iter().take(self.mark() as usize).map(|range| u64::from(range.len)).sum()
    }

    /// How everybody ended so far, by the batch rows.
    pub fn outcomes(&self) -> BTreeMap<Outcome, RoaringBitmap> {
        let ranges = self.ranges();
        let mut outcomes = BTreeMap::<Outcome, RoaringBitmap>::new();
        for batch in &self.batches {
            let Some(BatchEnding::Outcome(outcome)) = batch.ended.as_ref().map(|end| end.how) else {
                continue;
            };
            let friends = self.friends(batch, &ranges);
            assert_eq!(u64::from(batch.friend_count), friends.len(), "{batch:?}");
            let so_far: RoaringBitmap = outcomes.values().fold(RoaringBitmap::new(), |all, set| all | set);
            assert!(so_far.is_disjoint(&friends), "somebody ended twice: {batch:?}");
            *outcomes.entry(outcome).or_default() |= friends;
        }
        outcomes
    }

    fn ranges(&self) -> Vec<BatchRange> {
        let sets: Vec<&RoaringBitmap> = self.arms.iter().map(|arm| &arm.recipients).collect();
        batches(&sets, self.row.pace.map_or(BATCH_FRIENDS, |pace| pace.friends))
    }

    fn friends(&self, batch: &BatchRow, ranges: &[BatchRange]) -> RoaringBitmap {
        batch.friends.clone().unwrap_or_else(|| {
            let range = ranges[batch.n as usize];
            let friends: RoaringBitmap = friends_of(&self.arms[range.variant].recipients, range).collect();
            friends - self.taken_out()
        })
    }

    /// Who was erased before their batch was tried has a row of their own.
    fn taken_out(&self) -> RoaringBitmap {
        let erased = |batch: &&BatchRow| {
            batch.ended.as_ref().is_some_and(|end| end.how == BatchEnding::Outcome(Outcome::Erased))
        };
        let own = self.batches.iter().filter(erased).filter_map(|batch| batch.friends.as_ref());
        own.fold(RoaringBitmap::new(), |all, one| all | one)
    }

    fn check(&self) {
        let recipients = self.recipients();
        let arms: u64 = self.arms.iter().map(|arm| arm.recipients.len()).sum();
        assert_eq!((arms, self.row.recipients), (recipients.len(), recipients.len()), "an arm each");
        let mut matched = if self.row.recipients > 0 { recipients.clone() } else { RoaringBitmap::new() };
        for (why, friends) in &self.exclusions {
            assert!(matched.is_disjoint(friends), "{why:?} of {} is counted twice", self.row.id);
            matched |= friends;
        }
        let refused = self.row.state == haishin::domain::delivery::OccurrenceState::Refused;
        assert!(refused || matched.len() == self.row.matched, "matched = exclusions + recipients");

        let mut mark = 0;
        for stride in &self.strides {
            assert_eq!(stride.first, mark, "strides follow each other");
            assert_eq!(stride.digests.len(), (stride.upto - stride.first) as usize);
            mark = stride.upto;
        }
        let frozen = self.ranges().len() as u32;
        for batch in self.batches.iter().filter(|batch| batch.n < frozen) {
            assert!(batch.n < mark, "a batch above the mark has a row: {batch:?}");
        }
        let outcomes = self.outcomes();
        let settled = outcomes.values().fold(RoaringBitmap::new(), |all, set| all | set);
        assert!(settled.is_subset(&recipients));
        if self.row.finished_at.is_none() {
            assert!(self.ended.is_empty(), "it has not ended");
            return;
        }
        let mut ended = RoaringBitmap::new();
        for (outcome, friends) in &self.ended {
            assert!(ended.is_disjoint(friends), "somebody ended in two ways");
            ended |= friends;
            let by_batch = outcomes.get(outcome).cloned().unwrap_or_default();
            match outcome {
                Outcome::Cancelled | Outcome::Expired => assert!(by_batch.is_subset(friends)),
                _ => assert_eq!(by_batch, *friends, "{outcome:?}"),
            }
        }
        assert_eq!(ended, recipients, "everybody has an outcome at the end");
    }
}
