//! What the owner of an account holds in memory: all of it a function of the truth, so that reloading is always right.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::audience::Index;
use crate::clock::Reading;
use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::friend::Miss;
use crate::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, Seq, UserId};
use crate::domain::key::Run as RunKind;
use crate::domain::sends::{Reservation, Sends};
use crate::domain::time::Instant;
use crate::sender::run::Run;
use crate::store::{
    AccountRow, BatchRow, CampaignRow, OccurrenceFilter, OccurrenceRow, QuotaReading, SetKind, Store,
    StoreError, VariantRow,
};

/// Rows read at a time.
const PAGE: u32 = 20_000;

/// One account's state.
#[derive(Debug)]
pub struct State {
    /// The account's row.
    pub row: AccountRow,
    /// Friends as bitmaps and columns.
    pub index: Arc<Index>,
    /// Past and reserved sends.
    pub sends: Arc<Sends>,
    /// What is stored of each campaign.
    pub campaigns: BTreeMap<CampaignSlug, CampaignRow>,
    /// Occurrences that can still change.
    pub runs: BTreeMap<OccurrenceId, Run>,
    /// The number the next occurrence gets.
    pub next_occurrence: i64,
    /// LINE's numbers as last read.
    pub quota: Option<QuotaReading>,
    /// The latest instant any transaction of the account has seen. What is settled counts at it at the latest: after a
    /// clock was set back and accepted, what was sent by the old one has happened all the same.
    pub seen_at: Instant,
    /// The entry the index's checkpoint is as of; 0 without one.
    pub checkpoint: Seq,
}

impl State {
    /// Reads everything. Call only after the claim has committed.
    pub async fn load(
        store: &dyn Store,
        account: AccountId,
        clock: &Reading,
        seen_at: Option<Instant>,
    ) -> Result<Self, StoreError> {
        let row = store.account(account).await?.ok_or_else(|| StoreError::Corrupt {
            what: format!("account {}", account.0),
            why: "its row is gone while its lease exists; restore the database from a backup".into(),
        })?;
        let (index, checkpoint) = load_index(store, account, row.folded_seq).await?;
        let campaigns = store.campaigns(account).await?;
        let campaigns = campaigns.into_iter().map(|row| (row.campaign.clone(), row)).collect();
        let quota = store.quota(account).await?.into_iter().next();
        let last = store.occurrences(account, OccurrenceFilter::Last).await?;
        let mut state = Self {
            row,
            index: Arc::new(index),
            sends: Arc::default(),
            campaigns,
            runs: BTreeMap::new(),
            next_occurrence: last.first().map_or(0, |row| row.id.0) + 1,
            quota,
            seen_at: seen_at.map_or(clock.now, |seen| seen.max(clock.now)),
            checkpoint,
        };
        for row in store.occurrences(account, OccurrenceFilter::EffectiveSince(Instant::MIN)).await? {
            state.load_occurrence(store, account, row, clock).await?;
        }
        Ok(state)
    }

    async fn load_occurrence(
        &mut self,
        store: &dyn Store,
        account: AccountId,
        row: OccurrenceRow,
        clock: &Reading,
    ) -> Result<(), StoreError> {
        let variants = store.variants(account, row.id).await?;
        let scheduled = matches!(row.run, RunKind::Scheduled(_));
        if scheduled {
            self.sends_mut().reserve(reservation(&row, &variants));
        }
        let id = row.id;
        let open = row.finished_at.is_none();
        let strides = store.strides(account, id).await?;
        let batches = store.batches(account, id).await?;
        let run = Run::restore(row, self.row.channel_id.clone(), variants, &strides, batches.clone(), clock);
        if scheduled {
            for batch in &batches {
                self.settle_batch(&run, batch);
            }
            if !open {
                self.settle_rest(store, account, &run).await?;
            }
        }
        if open {
            self.runs.insert(id, run);
        }
        Ok(())
    }

    /// The index, to change it. Nobody else reads it by then: a decision under way would make this a copy.
    pub fn index_mut(&mut self) -> &mut Index {
        Arc::make_mut(&mut self.index)
    }

    /// The sends, to change them.
    pub fn sends_mut(&mut self) -> &mut Sends {
        Arc::make_mut(&mut self.sends)
    }

    /// A finished occurrence's sets say what no batch row does: what was cancelled or expired above the mark, and
    /// everything once its batch rows are pruned.
    async fn settle_rest(
        &mut self,
        store: &dyn Store,
        account: AccountId,
        run: &Run,
    ) -> Result<(), StoreError> {
        for set in store.sets(account, run.row.id).await? {
            let SetKind::Outcome(outcome) = set.kind else { continue };
            let rest = set.friends - run.outcome_set(outcome);
            self.settle(run.row.id, outcome, &rest, run.effective_at(Instant::MAX));
        }
        Ok(())
    }

    /// Tells the sends what a batch row says: kept at its instant, or released.
    pub fn settle_batch(&mut self, run: &Run, batch: &BatchRow) {
        if let (Some((outcome, friends)), Some(end)) = (run.outcome_of(batch), &batch.ended) {
            self.settle(run.row.id, outcome, &friends, run.effective_at(end.at));
        }
    }

    /// Keeps or releases a set of deliveries.
    pub fn settle(
        &mut self,
        occurrence: OccurrenceId,
        outcome: Outcome,
        friends: &RoaringBitmap,
        at: Instant,
    ) {
        if outcome.counts() {
            let at = at.min(self.seen_at);
            self.sends_mut().settle(occurrence, friends, at);
        } else {
            self.sends_mut().release(occurrence, friends);
        }
    }

    /// Deliveries that are reserved and may still be accepted.
    pub fn unsettled(&self) -> u64 {
        self.runs.values().map(Run::unsettled).sum()
    }

    /// Runs that are sending, or would be if nothing stood in the way.
    pub fn sending(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(|run| run.row.state == OccurrenceState::Sending)
    }

    /// A friend by user id or external id.
    ///
    /// # Errors
    /// It is nobody's, or several friends have that external id.
    pub fn find_friend(&self, text: &str) -> Result<FriendId, Miss> {
        match UserId::parse(text).ok().and_then(|user| self.index.friend_of(user)) {
            Some(friend) => Ok(friend),
            None => Miss::unless_one(self.index.with_external_id(text).iter().map(FriendId)),
        }
    }
}

/// What a frozen occurrence reserves.
pub fn reservation(row: &OccurrenceRow, variants: &[VariantRow]) -> Reservation {
    Reservation {
        occurrence: row.id,
        campaign: row.campaign.clone(),
        category: row.category.clone(),
        capped: row.capped,
        contents: variants.iter().map(|variant| (variant.content, variant.recipients.clone())).collect(),
    }
}

/// The index from its checkpoint and the journal after it, or from friend rows and the whole journal.
async fn load_index(store: &dyn Store, account: AccountId, folded: Seq) -> Result<(Index, Seq), StoreError> {
    if let Some(mut index) = super::checkpoint::restore(store, account).await? {
        let checkpoint = index.applied();
        replay(store, account, &mut index, checkpoint, checkpoint).await?;
        return Ok((index, checkpoint));
    }
    let mut index = Index::new();
    let mut after = None;
    loop {
        let page = store.friends(account, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.friend);
        for friend in &page {
            index.load_friend(friend);
        }
    }
    replay(store, account, &mut index, Seq(0), folded).await?;
    Ok((index, Seq(0)))
}

/// Applies the events after `after` and everything after `folded`: what lies between is in the index as state.
async fn replay(
    store: &dyn Store,
    account: AccountId,
    index: &mut Index,
    after: Seq,
    folded: Seq,
) -> Result<(), StoreError> {
    let mut after = after;
    loop {
        let page = store.events(account, (after, folded), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        page.iter().for_each(|event| index.apply(event));
    }
    let mut after = folded;
    loop {
        let page = store.entries(account, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        page.iter().for_each(|entry| index.apply(entry));
    }
    index.settle();
    Ok(())
}
