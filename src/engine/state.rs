//! What the owner of an account holds in memory: all of it a function of the truth, so that reloading is always right.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use super::outbox::Backlog;
use crate::audience::Index;
use crate::clock::Reading;
use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::drip::Ways;
use crate::domain::effect::Entry;
use crate::domain::friend::Miss;
use crate::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, Seq, StepName, UserId};
use crate::domain::key::Run as RunKind;
use crate::domain::lookback::Lookback;
use crate::domain::outbox::Lane;
use crate::domain::sends::{Reservation, Sends, Sent};
use crate::domain::time::Instant;
use crate::sender::run::Run;
use crate::store::{
    AccountRow, BatchRow, CampaignRow, DeferralRow, Erasure, OccurrenceFilter, OccurrenceRow, QuotaReading,
    SentFilter, Store, StoreError, VariantRow,
};

/// Rows read at a time.
const PAGE: u32 = 20_000;
/// Pages that are read ahead of whoever takes them in.
const AHEAD: usize = 2;

/// Friends who are erased and of whom something may still be stored.
#[derive(Debug, Default)]
pub struct Leaving(pub BTreeMap<FriendId, Erasure>);

impl Leaving {
    /// Who a friend is at LINE, erased or not.
    pub fn user(&self, index: &Index, friend: FriendId) -> Option<UserId> {
        index.user(friend).or_else(|| self.0.get(&friend)?.user)
    }
}

/// One account's state.
#[derive(Debug)]
pub struct State {
    /// The account's row.
    pub row: AccountRow,
    /// Friends as bitmaps and columns.
    pub index: Arc<Index>,
    /// Past and reserved sends, as far as windows look back.
    pub sends: Arc<Sends>,
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
    /// Requests still to be made beside sends, by to whom they go.
    pub outbox: BTreeMap<Lane, Backlog>,
    /// The number of the last of them.
    pub last_outbox: i64,
    /// Occurrences that can still change.
    pub runs: BTreeMap<OccurrenceId, Run>,
    /// Erased friends who are not forgotten yet.
    pub leaving: Leaving,
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
        lookback: &Lookback,
        clock: &Reading,
        seen_at: Option<Instant>,
    ) -> Result<Self, StoreError> {
        let seen_at = seen_at.map_or(clock.now, |seen| seen.max(clock.now));
        let row = store.account(account).await?.ok_or_else(|| StoreError::Corrupt {
            what: format!("account {}", account.0),
            why: "its row is gone while its lease exists; restore the database from a backup".into(),
        })?;
        let others = async {
            let runs = open_runs(store, account, &row.channel_id, clock).await?;
            let sends = load_sends(store, account, (lookback, clock.now, seen_at), &runs).await?;
            Ok((runs, sends))
        };
        let ((index, checkpoint), (runs, sends)) =
            tokio::try_join!(load_index(store, account, row.folded_seq), others)?;
        let (mut campaigns, mut steps) = (BTreeMap::new(), BTreeMap::new());
        for row in store.campaigns(account).await? {
            match row.step.clone() {
                None => drop(campaigns.insert(row.campaign.clone(), row)),
                Some(step) => drop(steps.insert((row.campaign.clone(), step), row)),
            }
        }
        let deferrals = store.deferrals(account).await?;
        let lanes = store.outbox_lanes(account).await?;
        let erasures = store.erasures(account).await?;
        Ok(Self {
            row,
            index: Arc::new(index),
            sends: Arc::new(sends),
            campaigns,
            steps,
            ways: load_ways(store, account).await?,
            deferrals: deferrals.into_iter().map(|row| (row.occurrence, row)).collect(),
            first_expiry: store.first_tag_expiry(account).await?,
            outbox: lanes.into_iter().map(Backlog::of).collect(),
            last_outbox: store.last_outbox(account).await?,
            runs,
            leaving: Leaving(erasures.into_iter().map(|erasure| (erasure.friend, erasure)).collect()),
            next_occurrence: store.last_occurrence(account).await?.0.saturating_add(1),
            quota: store.quota(account).await?.into_iter().next(),
            seen_at,
            checkpoint,
        })
    }

    /// The index, to change it. Nobody else reads it by then: a decision under way would make this a copy.
    pub fn index_mut(&mut self) -> &mut Index {
        Arc::make_mut(&mut self.index)
    }

    /// The sends, to change them.
    pub fn sends_mut(&mut self) -> &mut Sends {
        Arc::make_mut(&mut self.sends)
    }

    /// Keeps or releases a set of deliveries.
    pub fn settle(
        &mut self,
        occurrence: OccurrenceId,
        outcome: Outcome,
        friends: &RoaringBitmap,
        at: Instant,
    ) {
        let at = at.min(self.seen_at);
        settle(self.sends_mut(), occurrence, outcome, friends, at);
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

fn settle(sends: &mut Sends, id: OccurrenceId, outcome: Outcome, friends: &RoaringBitmap, at: Instant) {
    if outcome.counts() {
        sends.settle(id, friends, at);
    } else {
        sends.release(id, friends);
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

/// The few occurrences whose last outcome has not come, each from its own rows.
async fn open_runs(
    store: &dyn Store,
    account: AccountId,
    channel_id: &str,
    clock: &Reading,
) -> Result<BTreeMap<OccurrenceId, Run>, StoreError> {
    let mut runs = BTreeMap::new();
    for row in store.occurrences(account, OccurrenceFilter::Open).await? {
        let id = row.id;
        let variants = store.variants(account, id).await?;
        let strides = store.strides(account, id).await?;
        let batches: Vec<BatchRow> = store.batches(account, id).await?;
        runs.insert(id, Run::restore(row, channel_id.to_owned(), variants, &strides, batches, clock));
    }
    Ok(runs)
}

/// Past sends as far as they are looked back at from `now` on, whoever ever received what is asked for ever, and what
/// open runs have reserved and settled; nothing later than `seen_at`.
pub async fn load_sends(
    store: &dyn Store,
    account: AccountId,
    (lookback, now, seen_at): (&Lookback, Instant, Instant),
    runs: &BTreeMap<OccurrenceId, Run>,
) -> Result<Sends, StoreError> {
    let mut sends = Sends::looking_back(lookback, now);
    let since = sends.since();
    take_in(store, account, SentFilter::Since(since), seen_at, &mut sends).await?;
    for campaign in &lookback.ever {
        sends.remember(campaign, &store.received(account, campaign).await?);
        let before = SentFilter::Unmerged { campaign: campaign.clone(), before: since };
        take_in(store, account, before, seen_at, &mut sends).await?;
    }
    for run in runs.values().filter(|run| matches!(run.row.run, RunKind::Scheduled(_))) {
        sends.reserve(reservation(&run.row, run.variants()));
        for (outcome, effective, friends) in run.settled() {
            settle(&mut sends, run.row.id, outcome, friends, effective.min(seen_at));
        }
    }
    Ok(sends)
}

async fn take_in(
    store: &dyn Store,
    account: AccountId,
    filter: SentFilter,
    seen_at: Instant,
    sends: &mut Sends,
) -> Result<(), StoreError> {
    let (pages, mut incoming) = mpsc::channel::<Vec<Sent>>(AHEAD);
    let taking = async {
        while let Some(page) = incoming.recv().await {
            page.into_iter()
                .map(|sent| Sent { effective: sent.effective.min(seen_at), ..sent })
                .for_each(|sent| sends.add(sent));
        }
        Ok(())
    };
    tokio::try_join!(store.sent(account, filter, pages), taking).map(drop)
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
    // The database reads on while a page is taken in.
    let (pages, mut incoming) = mpsc::channel::<Vec<Entry>>(AHEAD);
    let reading = async move {
        let mut after = after;
        loop {
            let page = store.events(account, (after, folded), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            let _ = pages.send(page).await;
        }
        let mut after = folded;
        loop {
            let page = store.entries(account, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            let _ = pages.send(page).await;
        }
        Ok(())
    };
    let taking = async {
        while let Some(page) = incoming.recv().await {
            page.iter().for_each(|entry| index.apply(entry));
        }
        Ok(())
    };
    tokio::try_join!(reading, taking)?;
    index.settle();
    Ok(())
}
