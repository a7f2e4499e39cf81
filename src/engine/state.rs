//! What the owner of an account holds in memory: all of it a function of the truth, so that reloading is always right.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::audience::Index;
use crate::clock::Reading;
use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::drip::Ways;
use crate::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, Seq, StepName};
use crate::domain::key::Run as RunKind;
use crate::domain::sends::{Reservation, Sends};
use crate::domain::time::Instant;
use crate::sender::run::Run;
use crate::store::{
    AccountRow, BatchRow, CampaignRow, DeferralRow, OccurrenceFilter, OccurrenceRow, OutboxRow, QuotaReading,
    SetKind, Store, StoreError, VariantRow,
};

/// Rows read at a time.
const PAGE: u32 = 20_000;

/// One account's state.
#[derive(Debug)]
pub struct State {
    /// The account's row.
    pub row: AccountRow,
    /// Friends as bitmaps and columns.
    pub index: Index,
    /// Past and reserved sends.
    pub sends: Sends,
    /// What is stored of each campaign.
    pub campaigns: BTreeMap<CampaignSlug, CampaignRow>,
    /// The last planned instant of each drip's step that ever was.
    pub steps: BTreeMap<(CampaignSlug, StepName), CampaignRow>,
    /// Friends on their way through drips.
    pub ways: Ways,
    /// Friends whom caps deferred and who still wait, by the occurrence that deferred them.
    pub deferrals: BTreeMap<OccurrenceId, DeferralRow>,
    /// When the first timed tag falls off.
    pub first_expiry: Option<Instant>,
    /// Requests beside sends that are still to be made.
    pub outbox: BTreeMap<i64, OutboxRow>,
    /// The number of the last one ever.
    pub last_outbox: i64,
    /// Occurrences that can still change.
    pub runs: BTreeMap<OccurrenceId, Run>,
    /// The number the next occurrence gets.
    pub next_occurrence: i64,
    /// LINE's numbers as last read.
    pub quota: Option<QuotaReading>,
    /// The entry the index's checkpoint is as of; 0 without one.
    pub checkpoint: Seq,
}

impl State {
    /// Reads everything. Call only after the claim has committed.
    pub async fn load(store: &dyn Store, account: AccountId, clock: &Reading) -> Result<Self, StoreError> {
        let row = store.account(account).await?.ok_or_else(|| StoreError::Corrupt {
            what: format!("account {}", account.0),
            why: "its row is gone while its lease exists; restore the database from a backup".into(),
        })?;
        let (index, checkpoint) = load_index(store, account, row.folded_seq).await?;
        let campaigns = store.campaigns(account).await?;
        let (mut of_campaigns, mut steps) = (BTreeMap::new(), BTreeMap::new());
        for row in campaigns {
            match row.step.clone() {
                None => drop(of_campaigns.insert(row.campaign.clone(), row)),
                Some(step) => drop(steps.insert((row.campaign.clone(), step), row)),
            }
        }
        let ways = load_ways(store, account).await?;
        let deferrals = store.deferrals(account).await?;
        let outbox = store.outbox(account, u32::MAX).await?;
        let quota = store.quota(account).await?.into_iter().next();
        let newest = OccurrenceFilter::Newest { campaign: None, limit: 1 };
        let highest = store.occurrences(account, newest).await?;
        let mut state = Self {
            row,
            index,
            sends: Sends::default(),
            campaigns: of_campaigns,
            steps,
            ways,
            deferrals: deferrals.into_iter().map(|row| (row.occurrence, row)).collect(),
            first_expiry: store.first_tag_expiry(account).await?,
            outbox: outbox.into_iter().map(|row| (row.id, row)).collect(),
            last_outbox: store.last_outbox(account).await?,
            runs: BTreeMap::new(),
            next_occurrence: highest.iter().map(|row| row.id.0).max().unwrap_or(0) + 1,
            quota,
            checkpoint,
        };
        for row in store.occurrences(account, OccurrenceFilter::EffectiveSince(Instant::MIN)).await? {
            state.next_occurrence = state.next_occurrence.max(row.id.0 + 1);
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
            self.sends.reserve(reservation(&row, &variants));
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
            self.settle(run.row.id, outcome, &rest, run.effective_at(u32::MAX));
        }
        Ok(())
    }

    /// Tells the sends what a batch row says: kept at its instant, or released.
    pub fn settle_batch(&mut self, run: &Run, batch: &BatchRow) {
        if let Some((outcome, friends)) = run.outcome_of(batch) {
            self.settle(run.row.id, outcome, &friends, run.effective_at(batch.n));
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
            self.sends.settle(occurrence, friends, at);
        } else {
            self.sends.release(occurrence, friends);
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
    pub fn find_friend(&self, text: &str) -> Option<FriendId> {
        let by_user = crate::domain::id::UserId::parse(text).ok().and_then(|user| self.index.friend_of(user));
        by_user.or_else(|| self.index.with_external_id(text).min().map(FriendId))
    }
}

/// The ways that are not over.
async fn load_ways(store: &dyn Store, account: AccountId) -> Result<Ways, StoreError> {
    let mut ways = Ways::default();
    let mut after = None;
    loop {
        let page = store.open_enrollments(account, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(ways) };
        after = Some((last.drip.clone(), last.friend, last.started_at));
        page.into_iter().for_each(|way| ways.put(way));
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
