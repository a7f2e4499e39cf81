//! The interface, method by method, over what each adapter provides: a way to read, a way to write in one
//! transaction, a way to append.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use super::{Backend, bulk, failed};
use crate::domain::access::TokenId;
use crate::domain::drip::{Ending, Enrollment};
use crate::domain::effect::{DedupeId, Entry};
use crate::domain::friend::Friend;
use crate::domain::id::{AccountId, AccountSlug, CampaignSlug, FriendId, OccurrenceId, Seq, VersionId};
use crate::domain::outbox::Lane;
use crate::domain::sends::Sent;
use crate::domain::time::{Instant, Span};
use crate::store::append::Rows;
use crate::store::codec::{
    EnrollmentCells, EntryCells, FriendCells, InboxCells, RelayCells, enrollment_key, instant, small,
};
use crate::store::*;

#[async_trait]
impl Store for Backend {
    async fn active_version(&self) -> Result<Option<ConfigVersion>, StoreError> {
        read!(self, |conn| super::active_version(conn).await)
    }

    async fn version(&self, id: VersionId) -> Result<Option<ConfigVersion>, StoreError> {
        read!(self, |conn| super::version(conn, id).await)
    }

    async fn activate(
        &self,
        expected: Option<VersionId>,
        new: &NewVersion,
    ) -> Result<Option<VersionId>, StoreError> {
        let new = new.clone();
        write!(self, Priority::Freeze, "activate a configuration", |conn| {
            super::activate(conn, expected, &new).await
        })
    }

    async fn ensure_account(
        &self,
        slug: &AccountSlug,
        channel_id: &str,
        now: Instant,
    ) -> Result<AccountId, StoreError> {
        let (slug, channel_id) = (slug.clone(), channel_id.to_owned());
        write!(self, Priority::Freeze, "create an account's row", |conn| {
            super::ensure_account(conn, &slug, &channel_id, now).await
        })
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        read!(self, |conn| super::accounts(conn).await)
    }

    async fn account(&self, account: AccountId) -> Result<Option<AccountRow>, StoreError> {
        read!(self, |conn| super::account(conn, account).await)
    }

    async fn claim(
        &self,
        account: AccountId,
        holder: &str,
        now: Instant,
        lasts: Span,
    ) -> Result<Claim, StoreError> {
        let (holder, token) = (holder.to_owned(), token()?);
        write!(self, Priority::Outcome, "claim the lease", |conn| {
            super::claim(conn, account, &holder, token, now, lasts).await
        })
    }

    async fn renew(&self, fence: &mut Fence, now: Instant, lasts: Span) -> Result<(), StoreError> {
        let held = fence.clone();
        write!(self, Priority::Outcome, "renew the lease", |conn| {
            super::renew(conn, &held, now, lasts).await
        })?;
        fence.seq += 1;
        Ok(())
    }

    async fn release(&self, fence: &mut Fence, now: Instant) -> Result<(), StoreError> {
        let held = fence.clone();
        write!(self, Priority::Outcome, "release the lease", |conn| {
            super::release(conn, &held, now).await
        })?;
        fence.seq += 1;
        Ok(())
    }

    async fn lease(&self, account: AccountId) -> Result<Option<LeaseRow>, StoreError> {
        read!(self, |conn| super::lease(conn, account).await)
    }

    async fn append_webhooks(&self, rows: Vec<NewInbox>, relays: Vec<NewRelay>) -> Result<(), StoreError> {
        let rows: Result<Vec<_>, _> = rows.iter().map(InboxCells::of).collect();
        let relays = relays.into_iter().map(RelayCells::of).collect();
        self.append(Rows { inbox: rows?, relays }).await
    }

    async fn append_once(
        &self,
        rows: Vec<NewInbox>,
        answer: &ApiAnswer,
    ) -> Result<Option<ApiAnswer>, StoreError> {
        let rows: Result<Vec<_>, _> = rows.iter().map(InboxCells::of).collect();
        let (rows, answer) = (rows?, answer.clone());
        write!(self, Priority::Acknowledge, "append to the inbox", |conn| {
            super::append_once(conn, &rows, &answer).await
        })
    }

    async fn answered(
        &self,
        account: AccountId,
        key: &str,
        now: Instant,
    ) -> Result<Option<ApiAnswer>, StoreError> {
        let key = key.to_owned();
        read!(self, |conn| super::answered(conn, account, &key, now).await)
    }

    async fn create_token(&self, new: &NewToken) -> Result<TokenId, StoreError> {
        let new = new.clone();
        write!(self, Priority::Freeze, "create a token", |conn| super::create_token(conn, &new).await)
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        read!(self, |conn| super::token_by_id(conn, id).await)
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        read!(self, |conn| super::tokens(conn).await)
    }

    async fn revoke_token(&self, id: TokenId, now: Instant, by: &str) -> Result<bool, StoreError> {
        let by = by.to_owned();
        write!(self, Priority::Freeze, "revoke a token", |conn| {
            super::revoke_token(conn, id, now, &by).await
        })
    }

    async fn inbox(&self, account: AccountId, limit: u32) -> Result<Vec<InboxRow>, StoreError> {
        read!(self, |conn| super::inbox(conn, account, limit).await)
    }

    async fn inbox_len(&self, account: AccountId) -> Result<u64, StoreError> {
        read!(self, |conn| super::inbox_len(conn, account).await)
    }

    async fn strays(&self, account: AccountId, limit: u32) -> Result<Vec<StrayRow>, StoreError> {
        read!(self, |conn| super::strays(conn, account, limit).await)
    }

    async fn stray_count(&self, account: AccountId) -> Result<u64, StoreError> {
        read!(self, |conn| super::stray_count(conn, account).await)
    }

    async fn relays(&self, account: AccountId, limit: u32) -> Result<Vec<RelayRow>, StoreError> {
        read!(self, |conn| super::relays(conn, account, limit).await)
    }

    async fn relay_waiting(&self, account: AccountId) -> Result<Waiting, StoreError> {
        read!(self, |conn| super::relay_waiting(conn, account).await)
    }

    async fn known(&self, account: AccountId, ids: &[DedupeId]) -> Result<HashSet<DedupeId>, StoreError> {
        let ids = ids.to_vec();
        // Where the applying transaction is about to insert, so that SQLite's one writer reads these pages once.
        write!(self, Priority::Fold, "look up what was applied", |conn| {
            let known = bulk::known(conn, account, &ids).await.map_err(failed("look up what was applied"))?;
            let known: HashSet<Vec<u8>> = known.into_iter().collect();
            Ok(ids.into_iter().filter(|id| known.contains(id.digest.as_slice())).collect())
        })
    }

    async fn commit(
        &self,
        fence: &mut Fence,
        now: Instant,
        priority: Priority,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        let held = fence.clone();
        let lingers = writes.iter().any(|write| matches!(write, Write::Forgotten(_)));
        write!(self, priority, "commit the owner's transaction", |conn| {
            super::advance(conn, &held, now).await?;
            for write in &writes {
                super::apply(conn, &held, now, write).await?;
            }
            Ok(())
        })?;
        fence.seq += 1;
        if lingers {
            self.let_nothing_linger();
        }
        Ok(())
    }

    async fn friends(
        &self,
        account: AccountId,
        after: Option<FriendId>,
        limit: u32,
    ) -> Result<Vec<Friend>, StoreError> {
        let rows = read!(self, |conn| {
            bulk::friends(conn, account, after, limit).await.map_err(failed("read friends"))
        })?;
        rows.into_iter().map(FriendCells::read).collect()
    }

    async fn friends_by_id(&self, account: AccountId, ids: &[FriendId]) -> Result<Vec<Friend>, StoreError> {
        let ids = ids.to_vec();
        let rows = read!(self, |conn| {
            bulk::friends_by_id(conn, account, &ids).await.map_err(failed("read friends"))
        })?;
        rows.into_iter().map(FriendCells::read).collect()
    }

    async fn erasures(&self, account: AccountId) -> Result<Vec<Erasure>, StoreError> {
        read!(self, |conn| super::erasures(conn, account).await)
    }

    async fn naming(
        &self,
        account: AccountId,
        place: Naming,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>, StoreError> {
        read!(self, |conn| super::naming(conn, account, place, after, limit).await)
    }

    async fn entries(&self, account: AccountId, after: Seq, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let rows = read!(self, |conn| {
            bulk::entries(conn, account, after, limit).await.map_err(failed("read the journal"))
        })?;
        rows.into_iter().map(EntryCells::read).collect()
    }

    async fn events(
        &self,
        account: AccountId,
        (after, upto): (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows = read!(self, |conn| {
            bulk::events(conn, account, (after, upto), limit).await.map_err(failed("read the journal"))
        })?;
        rows.into_iter().map(EntryCells::read).collect()
    }

    async fn changes(
        &self,
        account: AccountId,
        (after, upto): (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        let rows = read!(self, |conn| {
            bulk::changes(conn, account, (after, upto), limit).await.map_err(failed("read the journal"))
        })?;
        rows.into_iter().map(EntryCells::read).collect()
    }

    async fn journal_stretch(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        events_before: Option<Instant>,
        limit: u32,
    ) -> Result<Option<JournalStretch>, StoreError> {
        read!(self, |conn| super::journal_stretch(conn, account, range, events_before, limit).await)
    }

    async fn checkpoint(&self, account: AccountId) -> Result<Option<Checkpoint>, StoreError> {
        read!(self, |conn| super::checkpoint(conn, account).await)
    }

    async fn checkpoint_chunks(
        &self,
        account: AccountId,
        keys: &[ChunkKey],
    ) -> Result<Vec<CheckpointChunk>, StoreError> {
        let keys = keys.to_vec();
        read!(self, |conn| super::checkpoint_chunks(conn, account, &keys).await)
    }

    async fn campaigns(&self, account: AccountId) -> Result<Vec<CampaignRow>, StoreError> {
        read!(self, |conn| super::campaigns(conn, account).await)
    }

    async fn occurrences(
        &self,
        account: AccountId,
        filter: OccurrenceFilter,
    ) -> Result<Vec<OccurrenceRow>, StoreError> {
        read!(self, |conn| super::occurrences(conn, account, &filter).await)
    }

    async fn last_occurrence(&self, account: AccountId) -> Result<OccurrenceId, StoreError> {
        read!(self, |conn| super::last_occurrence(conn, account).await)
    }

    async fn last_run(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
        run: u32,
    ) -> Result<Option<OccurrenceRow>, StoreError> {
        let campaign = campaign.clone();
        read!(self, |conn| super::last_run(conn, account, &campaign, run).await)
    }

    async fn variants(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<VariantRow>, StoreError> {
        read!(self, |conn| super::variants(conn, account, occurrence).await)
    }

    async fn exclusions(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<ExcludedSet>, StoreError> {
        read!(self, |conn| super::exclusions(conn, account, occurrence).await)
    }

    async fn deliveries(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<DeliverySet>, StoreError> {
        read!(self, |conn| super::deliveries(conn, account, occurrence).await)
    }

    async fn tally(&self, account: AccountId, occurrence: OccurrenceId) -> Result<Tally, StoreError> {
        read!(self, |conn| super::tally(conn, account, occurrence).await)
    }

    async fn sent(
        &self,
        account: AccountId,
        filter: SentFilter,
        pages: mpsc::Sender<Vec<Sent>>,
    ) -> Result<(), StoreError> {
        read!(self, |conn| super::sent(conn, account, &filter, &pages).await)
    }

    async fn received(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
    ) -> Result<RoaringBitmap, StoreError> {
        let campaign = campaign.clone();
        read!(self, |conn| super::received(conn, account, &campaign).await)
    }

    async fn prunable(&self, account: AccountId, kinds: &[Prune]) -> Result<Option<Prune>, StoreError> {
        let kinds = kinds.to_vec();
        read!(self, |conn| super::prunable(conn, account, &kinds).await)
    }

    async fn strides(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<StrideRow>, StoreError> {
        read!(self, |conn| super::strides(conn, account, occurrence).await)
    }

    async fn batches(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<BatchRow>, StoreError> {
        read!(self, |conn| super::batches(conn, account, occurrence).await)
    }

    async fn accepted_since(&self, account: AccountId, since: Instant) -> Result<u64, StoreError> {
        read!(self, |conn| super::accepted_since(conn, account, since).await)
    }

    async fn quota(&self, account: AccountId) -> Result<Vec<QuotaReading>, StoreError> {
        read!(self, |conn| super::quota(conn, account).await)
    }

    async fn acts(&self, account: AccountId, limit: u32) -> Result<Vec<ActRow>, StoreError> {
        read!(self, |conn| super::acts(conn, account, limit).await)
    }

    async fn open_enrollments(
        &self,
        account: AccountId,
        after: Option<(CampaignSlug, FriendId, Instant)>,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError> {
        // No slug is empty: this stands before every key.
        let after = after.as_ref().map_or_else(Default::default, enrollment_key);
        let rows = read!(self, |conn| {
            let rows = bulk::drip::open_enrollments(conn, account, after, limit).await;
            rows.map_err(failed("read the open enrollments"))
        })?;
        rows.into_iter().map(EnrollmentCells::read).collect()
    }

    async fn enrollments_of(
        &self,
        account: AccountId,
        friend: FriendId,
    ) -> Result<Vec<Enrollment>, StoreError> {
        read!(self, |conn| super::enrollments_of(conn, account, friend).await)
    }

    async fn last_starts(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
        friends: &[FriendId],
    ) -> Result<HashMap<FriendId, Instant>, StoreError> {
        let (drip, friends) = (drip.clone(), friends.to_vec());
        let starts = read!(self, |conn| {
            let starts = bulk::drip::last_starts(conn, account, &drip, &friends).await;
            starts.map_err(failed("read when friends last started"))
        })?;
        let start = |(friend, at)| Ok((FriendId(small("enrollment.friend", friend)?), instant(at)));
        starts.into_iter().map(start).collect()
    }

    async fn enrollment_endings(
        &self,
        account: AccountId,
    ) -> Result<Vec<(CampaignSlug, Ending, u64)>, StoreError> {
        read!(self, |conn| super::enrollment_endings(conn, account).await)
    }

    async fn step_totals(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
    ) -> Result<Vec<StepTotals>, StoreError> {
        let drip = drip.clone();
        read!(self, |conn| super::step_totals(conn, account, &drip).await)
    }

    async fn deferrals(&self, account: AccountId) -> Result<Vec<DeferralRow>, StoreError> {
        read!(self, |conn| super::deferrals(conn, account).await)
    }

    async fn deferral(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Option<DeferralRow>, StoreError> {
        read!(self, |conn| super::deferral(conn, account, occurrence).await)
    }

    async fn tag_expiries(
        &self,
        account: AccountId,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<TagExpiry>, StoreError> {
        read!(self, |conn| super::tag_expiries(conn, account, until, limit).await)
    }

    async fn first_tag_expiry(&self, account: AccountId) -> Result<Option<Instant>, StoreError> {
        read!(self, |conn| super::first_tag_expiry(conn, account).await)
    }

    async fn outbox(
        &self,
        account: AccountId,
        lane: &Lane,
        now: Instant,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let lane = lane.clone();
        read!(self, |conn| super::outbox(conn, account, &lane, now, limit).await)
    }

    async fn outbox_lanes(&self, account: AccountId) -> Result<Vec<OutboxLane>, StoreError> {
        read!(self, |conn| super::outbox_lanes(conn, account).await)
    }

    async fn last_outbox(&self, account: AccountId) -> Result<i64, StoreError> {
        read!(self, |conn| super::last_outbox(conn, account).await)
    }

    async fn troubles(&self, account: AccountId, since: (Instant, Instant)) -> Result<Troubles, StoreError> {
        read!(self, |conn| super::troubles(conn, account, since).await)
    }

    async fn close(&self) {
        self.end().await;
    }
}
