//! A store whose writes go wrong on demand: refused, lost on the way there or back, or stuck for as long as the test
//! likes, as when the process is killed or suspended right there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use haishin::domain::access::TokenId;
use haishin::domain::drip::{Ending, Enrollment};
use haishin::domain::effect::{DedupeId, Entry};
use haishin::domain::friend::Friend;
use haishin::domain::id::{AccountId, AccountSlug, CampaignSlug, FriendId, OccurrenceId, Seq, VersionId};
use haishin::domain::outbox::Lane;
use haishin::domain::sends::Sent;
use haishin::domain::time::{Instant, Span};
use haishin::store::*;
use roaring::RoaringBitmap;
use tokio::sync::{mpsc, watch};

/// How a write goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// The database refuses; nothing is written.
    Refused,
    /// The connection ends before anything is written.
    LostBefore,
    /// It is written, and nobody hears of it.
    LostAfter,
    /// It does not come back until released, and nothing is written before.
    StuckBefore,
    /// It is written, and does not come back until released.
    StuckAfter,
}

/// Passes everything on, but for the writes it was told about.
pub struct Faulty {
    inner: Arc<dyn Store>,
    script: Mutex<Script>,
    /// How long a write is on its way, there and back.
    delays: Option<Mutex<Box<dyn FnMut() -> Duration + Send>>>,
    /// What becomes of a transaction's writes.
    tampering: Option<Mutex<Tampering>>,
    forgets_sent: bool,
    stuck: watch::Sender<usize>,
    released: watch::Sender<bool>,
}

type Tampering = Box<dyn FnMut(Vec<Write>) -> Vec<Write> + Send>;

#[derive(Default)]
struct Script {
    /// Writes so far.
    writes: u64,
    mishaps: BTreeMap<u64, Mishap>,
    /// What the writes that went wrong were.
    struck: Vec<(Mishap, Vec<&'static str>)>,
}

impl Faulty {
    pub fn over(inner: Arc<dyn Store>) -> Self {
        let (stuck, released) = (watch::Sender::new(0), watch::Sender::new(false));
        let (delays, tampering, forgets_sent) = (None, None, false);
        Self { inner, script: Mutex::default(), delays, tampering, forgets_sent, stuck, released }
    }

    /// Each write takes so long on its way there, and back.
    pub fn slow(mut self, delays: impl FnMut() -> Duration + Send + 'static) -> Self {
        self.delays = Some(Mutex::new(Box::new(delays)));
        self
    }

    /// A store with a bug: in what it makes of writes, or in that it forgets past sends.
    pub fn broken(
        mut self,
        writes: Option<impl FnMut(Vec<Write>) -> Vec<Write> + Send + 'static>,
        forgets_sent: bool,
    ) -> Self {
        self.tampering = writes.map(|writes| Mutex::new(Box::new(writes) as Tampering));
        self.forgets_sent = forgets_sent;
        self
    }

    /// No further write goes wrong, and none that went wrong still hangs.
    pub fn calm(&self) {
        self.script.lock().unwrap().mishaps.clear();
        self.release();
    }

    async fn on_its_way(&self) {
        let Some(delays) = &self.delays else { return };
        let delay = (delays.lock().unwrap())();
        tokio::time::sleep(delay).await;
    }

    /// The `nth` write from now on, counted from 1, goes wrong.
    pub fn strike(&self, nth: u64, mishap: Mishap) {
        let mut script = self.script.lock().unwrap();
        let at = script.writes + nth;
        script.mishaps.insert(at, mishap);
        self.released.send_replace(false);
    }

    /// How often was written so far.
    pub fn writes(&self) -> u64 {
        self.script.lock().unwrap().writes
    }

    /// What went wrong so far, and what it was that went wrong.
    pub fn struck(&self) -> Vec<(Mishap, Vec<&'static str>)> {
        self.script.lock().unwrap().struck.clone()
    }

    /// Whether anything has gone wrong so far.
    pub fn has_failed(&self) -> bool {
        !self.script.lock().unwrap().struck.is_empty()
    }

    /// Whether a write is stuck.
    pub fn holds(&self) -> bool {
        *self.stuck.borrow() > 0
    }

    /// Returns when a write is stuck.
    pub async fn stuck(&self) {
        // The sender lives as long as this store.
        let _ = self.stuck.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Lets stuck writes go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    async fn write<T>(
        &self,
        what: Vec<&'static str>,
        act: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        const OPERATION: &str = "write, which this test does not want";
        let source = || sqlx::Error::PoolTimedOut;
        self.on_its_way().await;
        match self.next(what) {
            None => {
                let written = act.await;
                self.on_its_way().await;
                written
            }
            Some(Mishap::Refused) => Err(StoreError::Failed { operation: OPERATION, source: source() }),
            Some(Mishap::LostBefore) => Err(StoreError::Lost { operation: OPERATION, source: source() }),
            Some(Mishap::LostAfter) => {
                act.await?;
                Err(StoreError::Lost { operation: OPERATION, source: source() })
            }
            Some(Mishap::StuckBefore) => {
                self.wait().await;
                act.await
            }
            Some(Mishap::StuckAfter) => {
                let written = act.await;
                self.wait().await;
                written
            }
        }
    }

    fn next(&self, what: Vec<&'static str>) -> Option<Mishap> {
        let mut script = self.script.lock().unwrap();
        script.writes += 1;
        let at = script.writes;
        let mishap = script.mishaps.remove(&at)?;
        script.struck.push((mishap, what));
        Some(mishap)
    }

    async fn wait(&self) {
        let _stuck = Stuck::new(&self.stuck);
        let mut released = self.released.subscribe();
        // The sender lives as long as this store.
        let _ = released.wait_for(|released| *released).await;
    }
}

/// Counts as stuck until dropped, as the write's future is when its engine is killed.
struct Stuck<'a>(&'a watch::Sender<usize>);

impl<'a> Stuck<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

fn name(write: &Write) -> &'static str {
    match write {
        Write::Entries(_) => "entries",
        Write::Known(_) => "known",
        Write::ConsumeInbox(_) => "consume inbox",
        Write::Fold { .. } => "fold",
        Write::CheckpointChunks(_) => "checkpoint chunks",
        Write::CheckpointManifest(_) => "checkpoint manifest",
        Write::Stopped(_) => "stopped",
        Write::AccountPaused(_) => "account paused",
        Write::Campaign(_) => "campaign",
        Write::Occurrence(_) => "occurrence",
        Write::OccurrenceState { .. } => "occurrence state",
        Write::Part { .. } => "part",
        Write::Stride(_) => "stride",
        Write::Batches(_) => "batches",
        Write::Deliveries { .. } => "deliveries",
        Write::Grace => "grace",
        Write::Relayed(_) => "relayed",
        Write::Prune(_) => "prune",
        Write::Quota(_) => "quota",
        Write::Act(_) => "act",
        Write::Strays(_) => "strays",
        Write::ForgetStrays(_) => "forget strays",
        Write::ClockAccepted => "clock accepted",
        Write::Enrollments(_) => "enrollments",
        Write::DropEnrollments(_) => "drop enrollments",
        Write::Deferral(_) => "deferral",
        Write::TagExpiries(_) => "tag expiries",
        Write::DropTagExpiries(_) => "drop tag expiries",
        Write::Outbox(_) => "outbox",
        Write::DropOutbox(_) => "drop outbox",
        Write::Erasures(_) => "erasures",
        Write::Redact { .. } => "redact",
        Write::Forget(_) => "forget",
        Write::Forgotten(_) => "forgotten",
    }
}

#[async_trait]
impl Store for Faulty {
    async fn active_version(&self) -> Result<Option<ConfigVersion>, StoreError> {
        self.inner.active_version().await
    }
    async fn version(&self, id: VersionId) -> Result<Option<ConfigVersion>, StoreError> {
        self.inner.version(id).await
    }
    async fn activate(
        &self,
        expected: Option<VersionId>,
        new: &NewVersion,
    ) -> Result<Option<VersionId>, StoreError> {
        self.inner.activate(expected, new).await
    }
    async fn ensure_account(
        &self,
        slug: &AccountSlug,
        channel_id: &str,
        now: Instant,
    ) -> Result<AccountId, StoreError> {
        self.inner.ensure_account(slug, channel_id, now).await
    }
    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        self.inner.accounts().await
    }
    async fn account(&self, account: AccountId) -> Result<Option<AccountRow>, StoreError> {
        self.inner.account(account).await
    }
    async fn claim(
        &self,
        account: AccountId,
        holder: &str,
        now: Instant,
        lasts: Span,
    ) -> Result<Claim, StoreError> {
        self.write(vec!["claim"], self.inner.claim(account, holder, now, lasts)).await
    }
    async fn renew(&self, fence: &mut Fence, now: Instant, lasts: Span) -> Result<(), StoreError> {
        let mut copy = fence.clone();
        self.write(vec!["renew"], self.inner.renew(&mut copy, now, lasts)).await?;
        *fence = copy;
        Ok(())
    }
    async fn release(&self, fence: &mut Fence, now: Instant) -> Result<(), StoreError> {
        self.inner.release(fence, now).await
    }
    async fn lease(&self, account: AccountId) -> Result<Option<LeaseRow>, StoreError> {
        self.inner.lease(account).await
    }
    async fn append_webhooks(&self, rows: Vec<NewInbox>, relays: Vec<NewRelay>) -> Result<(), StoreError> {
        self.write(vec!["append"], self.inner.append_webhooks(rows, relays)).await
    }
    async fn append_once(
        &self,
        rows: Vec<NewInbox>,
        answer: &ApiAnswer,
    ) -> Result<Option<ApiAnswer>, StoreError> {
        self.write(vec!["append"], self.inner.append_once(rows, answer)).await
    }
    async fn answered(
        &self,
        account: AccountId,
        key: &str,
        now: Instant,
    ) -> Result<Option<ApiAnswer>, StoreError> {
        self.inner.answered(account, key, now).await
    }
    async fn create_token(&self, new: &NewToken) -> Result<TokenId, StoreError> {
        self.inner.create_token(new).await
    }
    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.inner.token(id).await
    }
    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.inner.tokens().await
    }
    async fn revoke_token(&self, id: TokenId, now: Instant, by: &str) -> Result<bool, StoreError> {
        self.inner.revoke_token(id, now, by).await
    }
    async fn inbox(&self, account: AccountId, limit: u32) -> Result<Vec<InboxRow>, StoreError> {
        self.inner.inbox(account, limit).await
    }
    async fn inbox_len(&self, account: AccountId) -> Result<u64, StoreError> {
        self.inner.inbox_len(account).await
    }
    async fn relays(&self, account: AccountId, limit: u32) -> Result<Vec<RelayRow>, StoreError> {
        self.inner.relays(account, limit).await
    }
    async fn relay_waiting(&self, account: AccountId) -> Result<Waiting, StoreError> {
        self.inner.relay_waiting(account).await
    }
    async fn known(&self, account: AccountId, ids: &[DedupeId]) -> Result<HashSet<DedupeId>, StoreError> {
        self.inner.known(account, ids).await
    }
    async fn commit(
        &self,
        fence: &mut Fence,
        now: Instant,
        priority: Priority,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        let (what, mut copy) = (writes.iter().map(name).collect(), fence.clone());
        let writes = match &self.tampering {
            Some(tampering) => (tampering.lock().unwrap())(writes),
            None => writes,
        };
        self.write(what, self.inner.commit(&mut copy, now, priority, writes)).await?;
        *fence = copy;
        Ok(())
    }
    async fn friends(
        &self,
        account: AccountId,
        after: Option<FriendId>,
        limit: u32,
    ) -> Result<Vec<Friend>, StoreError> {
        self.inner.friends(account, after, limit).await
    }
    async fn friends_by_id(&self, account: AccountId, ids: &[FriendId]) -> Result<Vec<Friend>, StoreError> {
        self.inner.friends_by_id(account, ids).await
    }
    async fn erasures(&self, account: AccountId) -> Result<Vec<Erasure>, StoreError> {
        self.inner.erasures(account).await
    }
    async fn naming(
        &self,
        account: AccountId,
        place: Naming,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        self.inner.naming(account, place, after, limit).await
    }
    async fn entries(&self, account: AccountId, after: Seq, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.inner.entries(account, after, limit).await
    }
    async fn events(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.events(account, range, limit).await
    }
    async fn changes(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.inner.changes(account, range, limit).await
    }
    async fn strays(&self, account: AccountId, limit: u32) -> Result<Vec<StrayRow>, StoreError> {
        self.inner.strays(account, limit).await
    }
    async fn troubles(&self, account: AccountId, since: (Instant, Instant)) -> Result<Troubles, StoreError> {
        self.inner.troubles(account, since).await
    }

    async fn stray_count(&self, account: AccountId) -> Result<u64, StoreError> {
        self.inner.stray_count(account).await
    }
    async fn checkpoint(&self, account: AccountId) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.checkpoint(account).await
    }
    async fn campaigns(&self, account: AccountId) -> Result<Vec<CampaignRow>, StoreError> {
        self.inner.campaigns(account).await
    }
    async fn occurrences(
        &self,
        account: AccountId,
        filter: OccurrenceFilter,
    ) -> Result<Vec<OccurrenceRow>, StoreError> {
        self.inner.occurrences(account, filter).await
    }
    async fn variants(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<VariantRow>, StoreError> {
        self.inner.variants(account, occurrence).await
    }
    async fn last_occurrence(&self, account: AccountId) -> Result<OccurrenceId, StoreError> {
        self.inner.last_occurrence(account).await
    }
    async fn last_run(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
        run: u32,
    ) -> Result<Option<OccurrenceRow>, StoreError> {
        self.inner.last_run(account, campaign, run).await
    }
    async fn exclusions(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<ExcludedSet>, StoreError> {
        self.inner.exclusions(account, occurrence).await
    }
    async fn deliveries(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<DeliverySet>, StoreError> {
        self.inner.deliveries(account, occurrence).await
    }
    async fn tally(&self, account: AccountId, occurrence: OccurrenceId) -> Result<Tally, StoreError> {
        self.inner.tally(account, occurrence).await
    }
    async fn sent(
        &self,
        account: AccountId,
        filter: SentFilter,
        pages: mpsc::Sender<Vec<Sent>>,
    ) -> Result<(), StoreError> {
        if self.forgets_sent {
            return Ok(());
        }
        self.inner.sent(account, filter, pages).await
    }
    async fn received(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
    ) -> Result<RoaringBitmap, StoreError> {
        self.inner.received(account, campaign).await
    }
    async fn prunable(&self, account: AccountId, kinds: &[Prune]) -> Result<Option<Prune>, StoreError> {
        self.inner.prunable(account, kinds).await
    }
    async fn journal_stretch(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        events_before: Option<Instant>,
        limit: u32,
    ) -> Result<Option<JournalStretch>, StoreError> {
        self.inner.journal_stretch(account, range, events_before, limit).await
    }
    async fn checkpoint_chunks(
        &self,
        account: AccountId,
        keys: &[ChunkKey],
    ) -> Result<Vec<CheckpointChunk>, StoreError> {
        self.inner.checkpoint_chunks(account, keys).await
    }
    async fn strides(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<StrideRow>, StoreError> {
        self.inner.strides(account, occurrence).await
    }
    async fn batches(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<BatchRow>, StoreError> {
        self.inner.batches(account, occurrence).await
    }
    async fn accepted_since(&self, account: AccountId, since: Instant) -> Result<u64, StoreError> {
        self.inner.accepted_since(account, since).await
    }
    async fn quota(&self, account: AccountId) -> Result<Vec<QuotaReading>, StoreError> {
        self.inner.quota(account).await
    }
    async fn acts(&self, account: AccountId, limit: u32) -> Result<Vec<ActRow>, StoreError> {
        self.inner.acts(account, limit).await
    }
    async fn open_enrollments(
        &self,
        account: AccountId,
        after: Option<(CampaignSlug, FriendId, Instant)>,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError> {
        self.inner.open_enrollments(account, after, limit).await
    }
    async fn enrollments_of(
        &self,
        account: AccountId,
        friend: FriendId,
    ) -> Result<Vec<Enrollment>, StoreError> {
        self.inner.enrollments_of(account, friend).await
    }
    async fn last_starts(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
        friends: &[FriendId],
    ) -> Result<HashMap<FriendId, Instant>, StoreError> {
        self.inner.last_starts(account, drip, friends).await
    }
    async fn enrollment_endings(
        &self,
        account: AccountId,
    ) -> Result<Vec<(CampaignSlug, Ending, u64)>, StoreError> {
        self.inner.enrollment_endings(account).await
    }
    async fn step_totals(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
    ) -> Result<Vec<StepTotals>, StoreError> {
        self.inner.step_totals(account, drip).await
    }
    async fn deferrals(&self, account: AccountId) -> Result<Vec<DeferralRow>, StoreError> {
        self.inner.deferrals(account).await
    }
    async fn deferral(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Option<DeferralRow>, StoreError> {
        self.inner.deferral(account, occurrence).await
    }
    async fn tag_expiries(
        &self,
        account: AccountId,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<TagExpiry>, StoreError> {
        self.inner.tag_expiries(account, until, limit).await
    }
    async fn first_tag_expiry(&self, account: AccountId) -> Result<Option<Instant>, StoreError> {
        self.inner.first_tag_expiry(account).await
    }
    async fn outbox(
        &self,
        account: AccountId,
        lane: &Lane,
        now: Instant,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.inner.outbox(account, lane, now, limit).await
    }
    async fn outbox_lanes(&self, account: AccountId) -> Result<Vec<OutboxLane>, StoreError> {
        self.inner.outbox_lanes(account).await
    }
    async fn last_outbox(&self, account: AccountId) -> Result<i64, StoreError> {
        self.inner.last_outbox(account).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}
