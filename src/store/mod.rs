//! The store: one interface of business steps, one adapter for each database and one in memory for simulations, one
//! conformance suite for all.
//!
//! Truth lives here. An owner changes it through [`Store::commit`] alone: one fenced transaction of [`Write`]s, all
//! or nothing, so "decide, persist, then act" is the only way to write. Everything else reads, appends to the
//! inbox, or activates a configuration.
//!
//! A commit whose answer was lost is [`StoreError::Lost`]: the owner never guesses, it claims its lease again and
//! reloads from the truth.

#[macro_use]
mod statements;
mod append;
mod codec;
pub mod inspect;
pub mod memory;
mod migrate;
mod open;
pub mod postgres;
pub mod prune;
pub mod rows;
pub mod sqlite;
mod told;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use crate::domain::access::TokenId;
use crate::domain::drip::{Ending, Enrollment};
use crate::domain::effect::DedupeId;
use crate::domain::friend::Friend;
use crate::domain::id::{AccountId, AccountSlug, CampaignSlug, FriendId, OccurrenceId, Seq, VersionId};
use crate::domain::outbox::Lane;
use crate::domain::sends::Sent;
use crate::domain::time::{Instant, Span};
pub use open::open;
pub use prune::{JournalStretch, Prune};
pub use rows::*;

/// Why a step of the store failed. The message names the operation; the cause stays a source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another owner holds the account, or this one's view is old: stop and reload.
    #[error(
        "the lease of account {account} has moved on: another owner took over, or an earlier commit did land"
    )]
    Fenced {
        /// The account's row id.
        account: i64,
    },
    /// The commit was sent and its answer lost: it may or may not have landed.
    #[error("the answer to a commit was lost ({operation}); the state must be reloaded")]
    Lost {
        /// What was being committed.
        operation: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
    /// The database refused or cannot be reached; nothing was written.
    #[error("the database failed to {operation}")]
    Failed {
        /// What was being done.
        operation: &'static str,
        /// The database's error.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value cannot be read back: written by a newer haishin, or by hand.
    #[error("{what} in the database cannot be read: {why}")]
    Corrupt {
        /// Table, key and column.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The slug was another channel's before: retry keys, caps and `received` of one must never meet the other's.
    #[error(
        "account `{slug}` was channel {before} before and is {now} now: set channel_id back, or give the new channel a slug of its own"
    )]
    ChannelChanged {
        /// The account.
        slug: String,
        /// Its channel.
        before: String,
        /// The channel it is said to be now.
        now: String,
    },
    /// The channel had another slug before.
    #[error(
        "channel {channel} is that of account `{known}`, whose history it carries: call the account `{known}` again, not `{slug}`"
    )]
    SlugChanged {
        /// The new slug.
        slug: String,
        /// The one it is known by.
        known: String,
        /// LINE's channel.
        channel: String,
    },
    /// The schema is newer than this binary.
    #[error(
        "the database is a newer haishin's (schema {found}; this one knows {known}): start the newer haishin again, or restore a backup made before the upgrade"
    )]
    TooNew {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration known here.
        known: i64,
    },
}

/// Who waits for whom where there is one writer (SQLite): lower comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Acknowledgements: somebody outside waits.
    Acknowledge,
    /// Outcomes and strides: the sender waits.
    Outcome,
    /// Freezes, a person's acts.
    Freeze,
    /// Folds, imports, checkpoints: nobody waits. At most 50 ms each.
    Fold,
}

/// The owner's right to write: every transaction checks and advances it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The account owned.
    pub account: AccountId,
    /// This ownership's random token.
    pub token: i64,
    /// The number of the last transaction committed under it.
    pub seq: i64,
}

/// What a claim found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The lease is ours.
    Granted {
        /// The right to write.
        fence: Fence,
        /// The latest instant any transaction of the account has seen.
        seen_at: Option<Instant>,
    },
    /// Somebody else holds it.
    Held {
        /// Who.
        holder: String,
        /// Until when, unless renewed.
        expires_at: Instant,
    },
}

/// The business steps. All instants are parameters; the database's own clock is never read.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- configuration -------------------------------------------------------------------------------------
    /// The active configuration version, or none in an empty database.
    async fn active_version(&self) -> Result<Option<ConfigVersion>, StoreError>;
    /// One version by number.
    async fn version(&self, id: VersionId) -> Result<Option<ConfigVersion>, StoreError>;
    /// Stores the files as the next version and makes it the active one, in one transaction, provided the active
    /// version still is `expected` (what the person was shown); otherwise `None` and nothing changes. Activating
    /// the files of the version that is active gives that version back.
    async fn activate(
        &self,
        expected: Option<VersionId>,
        new: &NewVersion,
    ) -> Result<Option<VersionId>, StoreError>;

    // ---- accounts and leases -------------------------------------------------------------------------------
    /// Makes sure the account has its row. A slug keeps its row and channel for ever: a different channel id under
    /// a known slug is [`StoreError::ChannelChanged`], another slug for a known channel [`StoreError::SlugChanged`].
    async fn ensure_account(
        &self,
        slug: &AccountSlug,
        channel_id: &str,
        now: Instant,
    ) -> Result<AccountId, StoreError>;
    /// Every account that has a row.
    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError>;
    /// One account's row.
    async fn account(&self, account: AccountId) -> Result<Option<AccountRow>, StoreError>;
    /// Claims the lease when it is free, expired at `now`, or held by the same `holder` (whose file lock the caller
    /// has). The claim is a transaction of its own, with a new token and seq + 1; state is read only after it.
    async fn claim(
        &self,
        account: AccountId,
        holder: &str,
        now: Instant,
        lasts: Span,
    ) -> Result<Claim, StoreError>;
    /// Extends the lease. A transaction of the owner like any other: checks and advances the fence.
    async fn renew(&self, fence: &mut Fence, now: Instant, lasts: Span) -> Result<(), StoreError>;
    /// Gives the lease up at once.
    async fn release(&self, fence: &mut Fence, now: Instant) -> Result<(), StoreError>;
    /// The lease as stored, for doctors and checks.
    async fn lease(&self, account: AccountId) -> Result<Option<LeaseRow>, StoreError>;

    // ---- inbox ---------------------------------------------------------------------------------------------
    /// Appends rows; durable when it returns. Concurrent calls are committed in groups.
    async fn append_inbox(&self, rows: Vec<NewInbox>) -> Result<(), StoreError> {
        self.append_webhooks(rows, Vec::new()).await
    }
    /// As [`Store::append_inbox`], with webhooks to be handed on: all of it becomes durable, or nothing.
    async fn append_webhooks(&self, rows: Vec<NewInbox>, relays: Vec<NewRelay>) -> Result<(), StoreError>;
    /// Appends rows and remembers what their request is answered, both or neither, unless its key was used before and
    /// is remembered still: then nothing is appended, and what was answered then is given back. Of calls with one key
    /// at once, one appends.
    async fn append_once(
        &self,
        rows: Vec<NewInbox>,
        answer: &ApiAnswer,
    ) -> Result<Option<ApiAnswer>, StoreError>;
    /// What a request with this key was answered, as long as it is remembered.
    async fn answered(
        &self,
        account: AccountId,
        key: &str,
        now: Instant,
    ) -> Result<Option<ApiAnswer>, StoreError>;
    /// The account's rows, oldest receipt first: at least one if there is one, then up to `limit` as long as they
    /// stay within a slice's bytes. They stay until a commit consumes them by id.
    async fn inbox(&self, account: AccountId, limit: u32) -> Result<Vec<InboxRow>, StoreError>;
    /// How many rows wait.
    async fn inbox_len(&self, account: AccountId) -> Result<u64, StoreError>;
    /// The newest strays, at most `limit`.
    async fn strays(&self, account: AccountId, limit: u32) -> Result<Vec<StrayRow>, StoreError>;
    /// How many strays there are.
    async fn stray_count(&self, account: AccountId) -> Result<u64, StoreError>;
    /// Webhooks to be handed on, oldest first, at most `limit`. They stay until a commit lets them go by id.
    async fn relays(&self, account: AccountId, limit: u32) -> Result<Vec<RelayRow>, StoreError>;
    /// How many webhooks wait to be handed on.
    async fn relay_waiting(&self, account: AccountId) -> Result<Waiting, StoreError>;
    /// Which of these have been applied before.
    async fn known(&self, account: AccountId, ids: &[DedupeId]) -> Result<HashSet<DedupeId>, StoreError>;

    // ---- tokens of the API ---------------------------------------------------------------------------------
    /// Stores a new token and gives its number.
    async fn create_token(&self, new: &NewToken) -> Result<TokenId, StoreError>;
    /// One token, revoked or not.
    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError>;
    /// Every token there ever was, in the order of their numbers.
    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError>;
    /// Revokes a token for good; `false` when there is none of this number, or it was revoked before.
    async fn revoke_token(&self, id: TokenId, now: Instant, by: &str) -> Result<bool, StoreError>;

    // ---- the owner's transaction ---------------------------------------------------------------------------
    /// One fenced transaction: advances the fence, stores `now` as the latest instant seen, applies every write in
    /// order, or nothing of it. On success `fence.seq` is the new one. On [`StoreError::Fenced`] and
    /// [`StoreError::Lost`] the owner must reload.
    async fn commit(
        &self,
        fence: &mut Fence,
        now: Instant,
        priority: Priority,
        writes: Vec<Write>,
    ) -> Result<(), StoreError>;

    // ---- friends and journal -------------------------------------------------------------------------------
    /// Friend rows with dense ids after `after`, in order, at most `limit`.
    async fn friends(
        &self,
        account: AccountId,
        after: Option<FriendId>,
        limit: u32,
    ) -> Result<Vec<Friend>, StoreError>;
    /// The rows of these friends that exist.
    async fn friends_by_id(&self, account: AccountId, ids: &[FriendId]) -> Result<Vec<Friend>, StoreError>;
    /// Everybody who is erased and not forgotten yet, by friend.
    async fn erasures(&self, account: AccountId) -> Result<Vec<Erasure>, StoreError>;
    /// Rows in which friends may be named, with numbers after `after`, in order, at most `limit`: number and JSON.
    async fn naming(
        &self,
        account: AccountId,
        place: Naming,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>, StoreError>;
    /// Journal entries after `after`, in order, at most `limit`.
    async fn entries(
        &self,
        account: AccountId,
        after: Seq,
        limit: u32,
    ) -> Result<Vec<crate::domain::effect::Entry>, StoreError>;
    /// The events among the journal entries of `(after, upto]`, in order, at most `limit`: what friend rows do not
    /// hold.
    async fn events(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<crate::domain::effect::Entry>, StoreError>;
    /// The other entries of `(after, upto]`, in order, at most `limit`: what friend rows hold.
    async fn changes(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        limit: u32,
    ) -> Result<Vec<crate::domain::effect::Entry>, StoreError>;
    /// Looks over at most `limit` journal entries of `(after, upto]` before they are pruned: `None` when there are
    /// none.
    async fn journal_stretch(
        &self,
        account: AccountId,
        range: (Seq, Seq),
        events_before: Option<Instant>,
        limit: u32,
    ) -> Result<Option<JournalStretch>, StoreError>;
    /// The complete checkpoint last written, or none: a manifest, and where its chunks are.
    async fn checkpoint(&self, account: AccountId) -> Result<Option<Checkpoint>, StoreError>;
    /// Chunks of a checkpoint, in the order of `keys`; one that is gone is left out.
    async fn checkpoint_chunks(
        &self,
        account: AccountId,
        keys: &[ChunkKey],
    ) -> Result<Vec<CheckpointChunk>, StoreError>;

    // ---- campaigns and occurrences -------------------------------------------------------------------------
    /// What is stored of every campaign of the account.
    async fn campaigns(&self, account: AccountId) -> Result<Vec<CampaignRow>, StoreError>;
    /// Occurrences without their sets, newest due first.
    async fn occurrences(
        &self,
        account: AccountId,
        filter: OccurrenceFilter,
    ) -> Result<Vec<OccurrenceRow>, StoreError>;
    /// The number of the last occurrence; 0 before the first.
    async fn last_occurrence(&self, account: AccountId) -> Result<OccurrenceId, StoreError>;
    /// The newest scheduled occurrence of a campaign with this run number or a later one.
    async fn last_run(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
        run: u32,
    ) -> Result<Option<OccurrenceRow>, StoreError>;
    /// One occurrence's frozen variants, with their sets: empty ones once retention has taken them.
    async fn variants(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<VariantRow>, StoreError>;
    /// One occurrence's exclusions.
    async fn exclusions(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<ExcludedSet>, StoreError>;
    /// One ended occurrence's deliveries, by arm, instant and outcome.
    async fn deliveries(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<DeliverySet>, StoreError>;
    /// One occurrence's counts.
    async fn tally(&self, account: AccountId, occurrence: OccurrenceId) -> Result<Tally, StoreError>;
    /// Past sends of ended occurrences that count in caps, by effective instant, page by page into `pages` while they
    /// are read: there may be more of them than one wants to hold twice. Nobody listening any more ends it.
    async fn sent(
        &self,
        account: AccountId,
        filter: SentFilter,
        pages: mpsc::Sender<Vec<Sent>>,
    ) -> Result<(), StoreError>;
    /// Everybody who ever received a campaign, as far as it was merged.
    async fn received(
        &self,
        account: AccountId,
        campaign: &CampaignSlug,
    ) -> Result<RoaringBitmap, StoreError>;
    /// The first of these kinds of pruning that would find something.
    async fn prunable(&self, account: AccountId, kinds: &[Prune]) -> Result<Option<Prune>, StoreError>;
    /// One occurrence's strides, by first batch.
    async fn strides(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<StrideRow>, StoreError>;
    /// One occurrence's batch rows: settled ones, children, new generations; by (n, generation).
    async fn batches(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Vec<BatchRow>, StoreError>;
    /// How many friends were accepted in batches settled after `since`: our own count since LINE's last reading.
    async fn accepted_since(&self, account: AccountId, since: Instant) -> Result<u64, StoreError>;
    /// The last quota readings, newest first, at most one a month.
    async fn quota(&self, account: AccountId) -> Result<Vec<QuotaReading>, StoreError>;
    /// What people did, newest first.
    async fn acts(&self, account: AccountId, limit: u32) -> Result<Vec<ActRow>, StoreError>;

    // ---- drips, deferrals, timed tags, the outbox ----------------------------------------------------------
    /// Friends on their way, those whose start has not been looked at included: by drip (code point), friend and
    /// start, those after `after`, at most `limit`.
    async fn open_enrollments(
        &self,
        account: AccountId,
        after: Option<(CampaignSlug, FriendId, Instant)>,
        limit: u32,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// Every way of one friend, through any drip, the oldest start first.
    async fn enrollments_of(
        &self,
        account: AccountId,
        friend: FriendId,
    ) -> Result<Vec<Enrollment>, StoreError>;
    /// When each of these friends last started in the drip; a start that has not been looked at is none yet.
    async fn last_starts(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
        friends: &[FriendId],
    ) -> Result<HashMap<FriendId, Instant>, StoreError>;
    /// How many ways through each drip ended in which way: pairs that occur, by drip.
    async fn enrollment_endings(
        &self,
        account: AccountId,
    ) -> Result<Vec<(CampaignSlug, Ending, u64)>, StoreError>;
    /// What each step of a drip came to so far, in scheduled occurrences; the one entry of a campaign has no step.
    async fn step_totals(
        &self,
        account: AccountId,
        drip: &CampaignSlug,
    ) -> Result<Vec<StepTotals>, StoreError>;
    /// Deferrals in which somebody waits, by occurrence.
    async fn deferrals(&self, account: AccountId) -> Result<Vec<DeferralRow>, StoreError>;
    /// Whom a cap deferred at one occurrence, whether or not anybody still waits.
    async fn deferral(
        &self,
        account: AccountId,
        occurrence: OccurrenceId,
    ) -> Result<Option<DeferralRow>, StoreError>;
    /// Tags that fall off at or before `until`, the earliest first, at most `limit`.
    async fn tag_expiries(
        &self,
        account: AccountId,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<TagExpiry>, StoreError>;
    /// When the next tag falls off.
    async fn first_tag_expiry(&self, account: AccountId) -> Result<Option<Instant>, StoreError>;
    /// Requests of a lane that are due, in the order in which they are made, at most `limit`.
    async fn outbox(
        &self,
        account: AccountId,
        lane: &Lane,
        now: Instant,
        limit: u32,
    ) -> Result<Vec<OutboxRow>, StoreError>;
    /// The lanes in which requests are still to be made.
    async fn outbox_lanes(&self, account: AccountId) -> Result<Vec<OutboxLane>, StoreError>;
    /// The highest number in the outbox; 0 where it is empty.
    async fn last_outbox(&self, account: AccountId) -> Result<i64, StoreError>;

    /// What went wrong lately: deliveries unknown since the first instant, the rest since the second.
    async fn troubles(&self, account: AccountId, since: (Instant, Instant)) -> Result<Troubles, StoreError>;

    /// Finishes what was begun and closes; every call after it fails. Not needed for durability: a store that is
    /// just dropped, or killed, loses nothing it has answered for.
    async fn close(&self);
}

/// A new ownership's token: unlike any before it, also after the database went back in time.
fn token() -> Result<i64, StoreError> {
    use rand::TryRngCore;
    let random = rand::rngs::OsRng.try_next_u64();
    // Positive, so that a person can type it.
    random.map(|bits| i64::from_be_bytes(bits.to_be_bytes()) & i64::MAX).map_err(|error| StoreError::Failed {
        operation: "draw a lease's token",
        source: sqlx::Error::Io(std::io::Error::other(error)),
    })
}
