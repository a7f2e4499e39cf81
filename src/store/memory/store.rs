//! The interface, method by method. Nobody waits, so nobody waits by priority.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use super::apply::apply;
use super::{
    MemoryStore, access, account, checkpoint, config, delivery, drip, erasure, inbox, lease, len, occurrence,
    outbox, people, prune, sending, trouble,
};
use crate::domain::access::TokenId;
use crate::domain::drip::{Ending, Enrollment};
use crate::domain::effect::{DedupeId, Entry};
use crate::domain::friend::Friend;
use crate::domain::id::{AccountId, AccountSlug, CampaignSlug, FriendId, OccurrenceId, Seq, VersionId};
use crate::domain::outbox::Lane;
use crate::domain::sends::Sent;
use crate::domain::time::{Instant, Span};
use crate::store::append::APPEND;
use crate::store::codec::{InboxCells, RelayCells};
use crate::store::*;

#[async_trait]
impl Store for MemoryStore {
    async fn active_version(&self) -> Result<Option<ConfigVersion>, StoreError> {
        self.read(|data| Ok(config::active(data)))
    }

    async fn version(&self, id: VersionId) -> Result<Option<ConfigVersion>, StoreError> {
        self.read(|data| Ok(config::version(data, id)))
    }

    async fn activate(
        &self,
        expected: Option<VersionId>,
        new: &NewVersion,
    ) -> Result<Option<VersionId>, StoreError> {
        self.write("activate a configuration", |data| Ok(config::activate(data, expected, new)))
    }

    async fn ensure_account(
        &self,
        slug: &AccountSlug,
        channel_id: &str,
        _: Instant,
    ) -> Result<AccountId, StoreError> {
        self.write("create an account's row", |data| account::ensure(data, slug, channel_id))
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        self.read(|data| Ok(account::all(data)))
    }

    async fn account(&self, account: AccountId) -> Result<Option<AccountRow>, StoreError> {
        self.read(|data| Ok(data.rows.get(&account.0).cloned()))
    }

    async fn claim(
        &self,
        account: AccountId,
        holder: &str,
        now: Instant,
        lasts: Span,
    ) -> Result<Claim, StoreError> {
        let token = self.tokens.draw();
        self.write("claim the lease", |data| Ok(lease::claim(data, account, holder, token, now, lasts)))
    }

    async fn renew(&self, fence: &mut Fence, now: Instant, lasts: Span) -> Result<(), StoreError> {
        self.write("renew the lease", |data| lease::renew(data, fence, now, lasts))?;
        fence.seq += 1;
        Ok(())
    }

    async fn release(&self, fence: &mut Fence, now: Instant) -> Result<(), StoreError> {
        self.write("release the lease", |data| lease::release(data, fence, now))?;
        fence.seq += 1;
        Ok(())
    }

    async fn lease(&self, account: AccountId) -> Result<Option<LeaseRow>, StoreError> {
        self.read(|data| Ok(lease::read(data, account)))
    }

    async fn append_webhooks(&self, rows: Vec<NewInbox>, relays: Vec<NewRelay>) -> Result<(), StoreError> {
        let rows: Result<Vec<_>, _> = rows.iter().map(InboxCells::of).collect();
        let rows = rows?;
        self.write(APPEND, |data| {
            inbox::append(data, rows);
            inbox::append_relays(data, relays.into_iter().map(RelayCells::of).collect());
            Ok(())
        })
    }

    async fn append_once(
        &self,
        rows: Vec<NewInbox>,
        answer: &ApiAnswer,
    ) -> Result<Option<ApiAnswer>, StoreError> {
        let rows: Result<Vec<_>, _> = rows.iter().map(InboxCells::of).collect();
        let rows = rows?;
        self.write(APPEND, |data| access::append_once(data, rows, answer))
    }

    async fn answered(
        &self,
        account: AccountId,
        key: &str,
        now: Instant,
    ) -> Result<Option<ApiAnswer>, StoreError> {
        self.read_of(account, |rows| Ok(access::answered(rows, key, now)))
    }

    async fn create_token(&self, new: &NewToken) -> Result<TokenId, StoreError> {
        self.write("create a token", |data| Ok(access::create_token(data, new)))
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.read(|data| Ok(data.tokens.get(&id.0).cloned()))
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.read(|data| Ok(access::tokens(data)))
    }

    async fn revoke_token(&self, id: TokenId, now: Instant, by: &str) -> Result<bool, StoreError> {
        self.write("revoke a token", |data| Ok(access::revoke_token(data, id, now, by)))
    }

    async fn inbox(&self, account: AccountId, limit: u32) -> Result<Vec<InboxRow>, StoreError> {
        self.read_of(account, |rows| inbox::read(rows, limit))
    }

    async fn inbox_len(&self, account: AccountId) -> Result<u64, StoreError> {
        self.read_of(account, |rows| Ok(len(rows.inbox.len())))
    }

    async fn strays(&self, account: AccountId, limit: u32) -> Result<Vec<StrayRow>, StoreError> {
        self.read_of(account, |rows| inbox::strays(rows, limit))
    }

    async fn stray_count(&self, account: AccountId) -> Result<u64, StoreError> {
        self.read_of(account, |rows| Ok(len(rows.strays.len())))
    }

    async fn relays(&self, account: AccountId, limit: u32) -> Result<Vec<RelayRow>, StoreError> {
        self.read_of(account, |rows| Ok(inbox::relays(rows, limit)))
    }

    async fn relay_waiting(&self, account: AccountId) -> Result<Waiting, StoreError> {
        self.read_of(account, |rows| Ok(inbox::relay_waiting(rows)))
    }

    async fn known(&self, account: AccountId, ids: &[DedupeId]) -> Result<HashSet<DedupeId>, StoreError> {
        self.read_of(account, |rows| Ok(inbox::known(rows, ids)))
    }

    async fn commit(
        &self,
        fence: &mut Fence,
        now: Instant,
        _: Priority,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        self.write("commit the owner's transaction", |data| {
            lease::advance(data, fence, now)?;
            writes.iter().try_for_each(|write| apply(data, fence, now, write))
        })?;
        fence.seq += 1;
        Ok(())
    }

    async fn friends(
        &self,
        account: AccountId,
        after: Option<FriendId>,
        limit: u32,
    ) -> Result<Vec<Friend>, StoreError> {
        self.read_of(account, |rows| people::friends(rows, after, limit))
    }

    async fn friends_by_id(&self, account: AccountId, ids: &[FriendId]) -> Result<Vec<Friend>, StoreError> {
        self.read_of(account, |rows| people::friends_by_id(rows, ids))
    }

    async fn erasures(&self, account: AccountId) -> Result<Vec<Erasure>, StoreError> {
        self.read_of(account, erasure::all)
    }

    async fn naming(
        &self,
        account: AccountId,
        place: Naming,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        self.read_of(account, |rows| Ok(erasure::naming(rows, place, after, limit)))
    }

    async fn entries(&self, account: AccountId, after: Seq, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.read_of(account, |rows| people::entries(rows, (after, Seq(i64::MAX)), limit, |_| true))
    }

    async fn events(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read_of(account, |rows| people::entries(rows, range, limit, people::is_event))
    }

    async fn changes(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.read_of(account, |rows| people::entries(rows, range, limit, |row| !people::is_event(row)))
    }

    async fn journal_stretch(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        events_before: Option<Instant>,
        limit: u32,
    ) -> Result<Option<JournalStretch>, StoreError> {
        self.read_of(account, |rows| Ok(people::journal_stretch(rows, range, events_before, limit)))
    }

    async fn checkpoint(&self, account: AccountId) -> Result<Option<Checkpoint>, StoreError> {
        self.read_of(account, |rows| Ok(checkpoint::read(rows)))
    }

    async fn checkpoint_chunks(
        &self,
        account: AccountId,
        keys: &[ChunkKey],
    ) -> Result<Vec<CheckpointChunk>, StoreError> {
        self.read_of(account, |rows| Ok(checkpoint::chunks(rows, keys)))
    }

    async fn campaigns(&self, account: AccountId) -> Result<Vec<CampaignRow>, StoreError> {
        self.read_of(account, |rows| Ok(account::campaigns(rows)))
    }

    async fn occurrences(
        &self,
        account: AccountId,
        filter: OccurrenceFilter,
    ) -> Result<Vec<OccurrenceRow>, StoreError> {
        self.read_of(account, |rows| occurrence::occurrences(rows, &filter))
    }

    async fn last_occurrence(&self, account: AccountId) -> Result<OccurrenceId, StoreError> {
        self.read_of(account, |rows| Ok(occurrence::last(rows)))
    }

    async fn last_run(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
        run: u32,
    ) -> Result<Option<OccurrenceRow>, StoreError> {
        self.read_of(account, |rows| occurrence::last_run(rows, campaign, run))
    }

    async fn variants(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<VariantRow>, StoreError> {
        self.read_of(account, |rows| Ok(occurrence::variants(rows, occurrence)))
    }

    async fn exclusions(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<ExcludedSet>, StoreError> {
        self.read_of(account, |rows| delivery::exclusions(rows, occurrence))
    }

    async fn deliveries(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<DeliverySet>, StoreError> {
        self.read_of(account, |rows| delivery::deliveries(rows, occurrence))
    }

    async fn tally(&self, account: AccountId, occurrence: OccurrenceId) -> Result<Tally, StoreError> {
        self.read_of(account, |rows| delivery::tally(rows, occurrence))
    }

    async fn sent(
        &self,
        account: AccountId,
        filter: SentFilter,
        pages: mpsc::Sender<Vec<Sent>>,
    ) -> Result<(), StoreError> {
        for page in self.read_of(account, |rows| delivery::sent(rows, &filter))? {
            if pages.send(page).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn received(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
    ) -> Result<RoaringBitmap, StoreError> {
        self.read_of(account, |rows| Ok(delivery::received(rows, campaign)))
    }

    async fn prunable(&self, account: AccountId, kinds: &[Prune]) -> Result<Option<Prune>, StoreError> {
        self.read(|data| Ok(prune::prunable(data, account, kinds)))
    }

    async fn strides(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<StrideRow>, StoreError> {
        self.read_of(account, |rows| Ok(sending::strides(rows, occurrence).cloned().collect()))
    }

    async fn batches(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<BatchRow>, StoreError> {
        self.read_of(account, |rows| sending::batches(rows, occurrence))
    }

    async fn accepted_since(&self, account: AccountId, since: Instant) -> Result<u64, StoreError> {
        self.read_of(account, |rows| sending::accepted_since(rows, since))
    }

    async fn quota(&self, account: AccountId) -> Result<Vec<QuotaReading>, StoreError> {
        self.read_of(account, |rows| Ok(sending::quota(rows)))
    }

    async fn acts(&self, account: AccountId, limit: u32) -> Result<Vec<ActRow>, StoreError> {
        self.read_of(account, |rows| Ok(sending::acts(rows, limit)))
    }

    async fn open_enrollments(
        &self,
        account: AccountId,
        after: Option<(CampaignSlug, FriendId, Instant)>,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError> {
        self.read_of(account, |rows| drip::open_enrollments(rows, after, limit))
    }

    async fn enrollments_of(
        &self,
        account: AccountId,
        friend: FriendId,
    ) -> Result<Vec<Enrollment>, StoreError> {
        self.read_of(account, |rows| drip::enrollments_of(rows, friend))
    }

    async fn last_starts(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
        friends: &[FriendId],
    ) -> Result<HashMap<FriendId, Instant>, StoreError> {
        self.read_of(account, |rows| Ok(drip::last_starts(rows, drip, friends)))
    }

    async fn enrollment_endings(
        &self,
        account: AccountId,
    ) -> Result<Vec<(CampaignSlug, Ending, u64)>, StoreError> {
        self.read_of(account, drip::endings)
    }

    async fn step_totals(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
    ) -> Result<Vec<StepTotals>, StoreError> {
        self.read_of(account, |rows| drip::step_totals(rows, drip))
    }

    async fn deferrals(&self, account: AccountId) -> Result<Vec<DeferralRow>, StoreError> {
        self.read_of(account, |rows| Ok(drip::deferrals(rows)))
    }

    async fn deferral(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Option<DeferralRow>, StoreError> {
        self.read_of(account, |rows| Ok(rows.deferrals.get(&occurrence.0).cloned()))
    }

    async fn tag_expiries(
        &self,
        account: AccountId,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<TagExpiry>, StoreError> {
        self.read_of(account, |rows| drip::tag_expiries(rows, until, limit))
    }

    async fn first_tag_expiry(&self, account: AccountId) -> Result<Option<Instant>, StoreError> {
        self.read_of(account, |rows| Ok(drip::first_tag_expiry(rows)))
    }

    async fn outbox(
        &self,
        account: AccountId,
        lane: &Lane,
        now: Instant,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.read_of(account, |rows| outbox::due(rows, lane, now, limit))
    }

    async fn outbox_lanes(&self, account: AccountId) -> Result<Vec<OutboxLane>, StoreError> {
        self.read_of(account, outbox::lanes)
    }

    async fn last_outbox(&self, account: AccountId) -> Result<i64, StoreError> {
        self.read_of(account, |rows| Ok(rows.outbox.last().copied().unwrap_or(0)))
    }

    async fn troubles(&self, account: AccountId, since: (Instant, Instant)) -> Result<Troubles, StoreError> {
        self.read_of(account, |rows| Ok(trouble::troubles(rows, since)))
    }

    async fn close(&self) {
        self.end();
    }
}
