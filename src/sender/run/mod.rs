//! One frozen occurrence on its way out: a pure state machine of its batches.
//!
//! It decides; its owner persists what it decided and only then acts. Three facts carry everything:
//! above the *mark* no batch was ever tried; below it a batch without outcome was possibly sent; and a batch that
//! this process opened itself knows whether each of its attempts surely failed.

mod answers;
mod ended;
mod erased;
mod open_batch;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::clock::Reading;
use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::id::{FriendId, UserId};
use crate::domain::key::{BatchIdentity, OccurrenceIdentity, RetryKey};
use crate::domain::plan::{BATCH_FRIENDS, BatchRange, batches, friends_of, set_of};
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span};
use crate::line::{History, body_digest, multicast_body};
use crate::store::{BatchEnding, BatchRow, DeliverySet, OccurrenceRow, Opened, StrideRow, VariantRow};
use ended::{Ended, Guards};
use open_batch::{OpenBatch, clock_opened, ended};

/// A key may be retried for 24 h at LINE; we stop an hour earlier.
pub const KEY_LIFE: Span = Span::from_hours(23);
/// A campaign pauses after so many rejected batches in a row…
const REJECTED_IN_A_ROW: u32 = 3;
/// …or so many quarantined ids, or refusals in a row of which LINE names nobody.
const QUARANTINED: u32 = 20;
/// So often a refusal may go unexplained, because LINE does not answer when asked, before it counts as one of the messages.
const UNTOLD: u32 = 5;

/// A batch's number and generation.
pub type BatchKey = (u32, u32);

/// Who a dense id is at LINE; ids never change under one.
pub type UserOf<'a> = &'a dyn Fn(FriendId) -> Option<UserId>;

/// What follows from an answer, beyond the batch's own outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// LINE named a bad id: leave the friend out from now on.
    Quarantine(FriendId),
    /// The campaign pauses, and says why.
    PauseCampaign(Reason),
    /// The account pauses, and says why.
    PauseAccount(Reason),
    /// Too many requests: ask quota and consumption once.
    AskQuota,
}

/// What one answer changes: rows to persist, and consequences.
#[derive(Debug, Default)]
pub struct Change {
    /// Rows to commit before anything else is sent.
    pub rows: Vec<BatchRow>,
    /// What else follows.
    pub consequences: Vec<Consequence>,
}

/// What comes next for a batch whose turn it is.
#[derive(Debug)]
pub enum Next {
    /// This request; the batch counts as in flight.
    Request {
        /// Which batch.
        batch: BatchKey,
        /// Under which key.
        key: RetryKey,
        /// Its bytes, those of the durable digest.
        body: Bytes,
        /// Whether LINE has said that it would take the messages.
        is_sound: bool,
    },
    /// It must not be sent: these rows are to be committed instead.
    Stopped(Change),
}

/// A stride to make durable, and the bodies its digests were taken of.
#[derive(Debug)]
pub struct Stride {
    /// What is written.
    pub row: StrideRow,
    bodies: Vec<Bytes>,
}

/// The dispatch of one occurrence.
#[derive(Debug)]
pub struct Run {
    /// The occurrence as stored.
    pub row: OccurrenceRow,
    identity: OccurrenceIdentity,
    variants: Vec<VariantRow>,
    ranges: Vec<BatchRange>,
    mark: u32,
    next_child: u32,
    /// Child to the batch it was cut from; a parent's number is always the smaller one.
    parents: BTreeMap<u32, u32>,
    open: BTreeMap<BatchKey, OpenBatch>,
    /// Friends who were erased before their frozen batch opened: it goes out without them.
    left_out: RoaringBitmap,
    /// With the instants they count at.
    outcomes: BTreeMap<(Outcome, Instant), RoaringBitmap>,
    in_flight: usize,
    guards: Guards,
    /// Arms whose messages LINE has said it would take, by position.
    sound: BTreeSet<u32>,
    /// What the pace looks at, oldest first.
    recent: Vec<Ended>,
}

impl Run {
    /// A run that has not begun: just frozen.
    pub fn new(row: OccurrenceRow, channel_id: String, variants: Vec<VariantRow>) -> Self {
        let size = row.pace.map_or(BATCH_FRIENDS, |pace| pace.friends);
        let sets: Vec<&RoaringBitmap> = variants.iter().map(|variant| &variant.recipients).collect();
        let ranges = batches(&sets, size);
        let identity = OccurrenceIdentity {
            channel_id,
            slug: row.campaign.clone(),
            step: row.step.clone(),
            due_at: row.due_at,
            run: row.run,
            child: row.child,
        };
        let next_child = u32::try_from(ranges.len()).unwrap_or(u32::MAX);
        Self {
            row,
            identity,
            variants,
            ranges,
            mark: 0,
            next_child,
            parents: BTreeMap::new(),
            open: BTreeMap::new(),
            left_out: RoaringBitmap::new(),
            outcomes: BTreeMap::new(),
            in_flight: 0,
            guards: Guards::default(),
            sound: BTreeSet::new(),
            recent: Vec::new(),
        }
    }

    /// A run as the ledger tells it: every open batch of an earlier process was possibly sent.
    pub fn restore(
        row: OccurrenceRow,
        channel_id: String,
        variants: Vec<VariantRow>,
        strides: &[StrideRow],
        batches: Vec<BatchRow>,
        clock: &Reading,
    ) -> Self {
        let mut run = Self::new(row, channel_id, variants);
        for stride in strides {
            run.open_stride(stride, Vec::new());
        }
        run.remember_ends(&batches, clock);
        let erased = batches.iter().filter(|batch| {
            batch.ended.as_ref().is_some_and(|end| end.how == BatchEnding::Outcome(Outcome::Erased))
        });
        run.left_out = erased
            .filter_map(|batch| batch.friends.as_ref())
            .fold(RoaringBitmap::new(), |all, one| all | one);
        for batch in batches {
            run.next_child = run.next_child.max(batch.n.saturating_add(1));
            if let Some(parent) = batch.parent.filter(|parent| *parent < batch.n) {
                run.parents.insert(batch.n, parent);
            }
            let key = (batch.n, batch.generation);
            let friends = batch.friends.clone().unwrap_or_else(|| run.friends_of(key));
            match (&batch.ended, &batch.opened) {
                (Some(end), _) => {
                    run.open.remove(&key);
                    if let BatchEnding::Outcome(outcome) = end.how {
                        let effective = run.effective_at(end.at);
                        *run.outcomes.entry((outcome, effective)).or_default() |= friends;
                    }
                }
                (None, Some(opened)) => {
                    let open = OpenBatch::new(batch.friends, batch.parent, opened.clone(), batch.body_sha256);
                    run.open.insert(key, open);
                }
                (None, None) => {}
            }
        }
        run.close_empty();
        for open in run.open.values_mut() {
            open.history = History::PossiblySent;
        }
        run
    }

    // ---- what the books say ------------------------------------------------------------------------------------

    /// Friends that ended this way so far.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.settled().filter(|(of, ..)| *of == outcome).map(|(.., friends)| friends.len()).sum()
    }

    /// The set of friends that ended this way so far.
    pub fn outcome_set(&self, outcome: Outcome) -> RoaringBitmap {
        let sets = self.settled().filter(|(of, ..)| *of == outcome);
        sets.fold(RoaringBitmap::new(), |all, (.., friends)| all | friends)
    }

    /// What has ended, how, and the instant it counts at.
    pub fn settled(&self) -> impl Iterator<Item = (Outcome, Instant, &RoaringBitmap)> {
        self.outcomes.iter().map(|((outcome, effective), friends)| (*outcome, *effective, friends))
    }

    /// Friends without an outcome.
    pub fn unsettled(&self) -> u64 {
        self.row.recipients.saturating_sub(Outcome::ALL.iter().map(|outcome| self.ended(*outcome)).sum())
    }

    /// Frozen batches.
    pub fn batch_count(&self) -> u32 {
        u32::try_from(self.ranges.len()).unwrap_or(u32::MAX)
    }

    /// The first batch that was surely never tried.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// Open batches without an outcome, and how many of them were tried or possibly tried.
    pub fn open_batches(&self) -> (usize, usize) {
        (self.open.len(), self.open.values().filter(|open| !open.is_untried()).count())
    }

    /// Friends in open batches that were tried or possibly tried: unknown if the occurrence ended now.
    pub fn possibly_sent(&self) -> u64 {
        let tried = self.open.iter().filter(|(_, open)| !open.is_untried());
        tried.map(|(key, _)| self.friends_of(*key).len()).sum()
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The frozen arms.
    pub fn variants(&self) -> &[VariantRow] {
        &self.variants
    }

    /// The instant at which deliveries count whose outcome came at `ended`. By the outcome, not by the
    /// batch: one that was open at a stop may have been delivered by the attempt after it.
    fn effective_at(&self, ended: Instant) -> Instant {
        let parts = &self.row.parts;
        let part = parts.iter().rev().find(|part| part.effective_at <= ended).or(parts.first());
        part.map_or(self.row.due_at, |part| part.effective_at)
    }

    // ---- strides -----------------------------------------------------------------------------------------------

    /// The next stride to open, when fewer than half a stride of untried batches is left; `length` batches is about
    /// a second of sending. A paced occurrence has one batch open at a time, from when the pace allows it.
    pub fn next_stride(&self, length: u32, clock: &Reading, user_of: UserOf<'_>) -> Option<Stride> {
        let count = self.batch_count();
        let untried = self.open.values().filter(|open| open.is_untried()).count();
        let enough = |batches: usize, limit: u32| batches > usize::try_from(limit).unwrap_or(usize::MAX);
        // While LINE is away, nobody gains by more batches in doubt: what is above the mark stays surely unsent.
        let failing = self.open.values().filter(|open| open.failures > 0).count();
        if self.mark >= count || enough(untried, length / 2) || enough(failing, length) {
            return None;
        }
        let length = match self.row.pace {
            Some(_) if !self.open.is_empty() => return None,
            Some(_) if self.paced_until().is_some_and(|at| at > clock.boot.since_boot) => return None,
            Some(_) => 1,
            None => length.max(1),
        };
        let upto = self.mark.saturating_add(length).min(count);
        let bodies: Vec<Bytes> = (self.mark..upto).map(|n| self.body((n, 0), user_of).into()).collect();
        let row = StrideRow {
            occurrence: self.row.id,
            first: self.mark,
            upto,
            opened_at: clock.now,
            boot_id: clock.boot.boot_id.clone(),
            since_boot: clock.boot.since_boot,
            digests: bodies.iter().map(|body| body_digest(body)).collect(),
        };
        Some(Stride { row, bodies })
    }

    /// The stride is durable: its batches may be tried.
    pub fn stride_opened(&mut self, stride: Stride) {
        self.open_stride(&stride.row, stride.bodies);
    }

    fn open_stride(&mut self, row: &StrideRow, bodies: Vec<Bytes>) {
        let opened = Opened { at: row.opened_at, boot_id: row.boot_id.clone(), since_boot: row.since_boot };
        let mut bodies = bodies.into_iter();
        for (n, digest) in (row.first..row.upto).zip(&row.digests) {
            let open = OpenBatch::new(None, None, opened.clone(), *digest);
            self.open.insert((n, 0), OpenBatch { body: bodies.next(), ..open });
        }
        self.mark = self.mark.max(row.upto);
        self.close_empty();
    }

    /// A frozen batch of which everybody was erased before it opened has nobody to go to.
    fn close_empty(&mut self) {
        if self.left_out.is_empty() {
            return;
        }
        let open: Vec<BatchKey> = self.open.keys().copied().collect();
        for key in open {
            if self.friends_of(key).is_empty() {
                self.open.remove(&key);
            }
        }
    }

    // ---- attempts ----------------------------------------------------------------------------------------------

    /// The next batch to attempt now, with its body and key; marks it as in flight. A body that differs from the
    /// durable digest is never sent: the batch ends as unknown (an upgrade in mid-send).
    pub fn next_attempt(&mut self, clock: &Reading, user_of: UserOf<'_>) -> Option<Next> {
        let (key, open) = self.open.iter_mut().find(|(_, open)| open.is_ready(clock))?;
        let (key, digest) = (*key, open.digest);
        let kept = open.body.take();
        let is_kept = kept.is_some();
        let body = kept.unwrap_or_else(|| self.body(key, user_of).into());
        if !is_kept && body_digest(&body) != digest {
            let rows = vec![self.end(key, Outcome::Unknown, clock, None, Some(Reason::BodyChanged))?];
            return Some(Next::Stopped(Change { rows, consequences: Vec::new() }));
        }
        let open = self.open.get_mut(&key)?;
        let batch = BatchIdentity { n: key.0, generation: key.1, parent: open.parent };
        let retry_key = RetryKey::derive(&self.identity, batch, &digest);
        open.in_flight = true;
        open.attempts = open.attempts.saturating_add(1);
        self.in_flight += 1;
        let is_sound = self.variant_of(key.0).is_some_and(|variant| self.sound.contains(&variant.position));
        Some(Next::Request { batch: key, key: retry_key, body, is_sound })
    }

    /// Whether some batch may be attempted now.
    pub fn has_ready(&self, clock: &Reading) -> bool {
        self.open.values().any(|open| open.is_ready(clock))
    }

    /// The earliest moment, since boot, at which some batch may be attempted again.
    pub fn next_wake(&self) -> Option<Span> {
        self.open.values().filter(|open| !open.in_flight).map(|open| open.not_before).min()
    }

    /// Ends what has outlived its key: possibly sent, and never to be tried again by itself.
    pub fn expire_keys(&mut self, clock: &Reading) -> Vec<BatchRow> {
        let old = |open: &OpenBatch| !open.in_flight && open.is_too_old(clock);
        let keys: Vec<BatchKey> =
            self.open.iter().filter(|(_, open)| old(open)).map(|(key, _)| *key).collect();
        let ended = |key| self.end(key, Outcome::Unknown, clock, None, Some(Reason::KeyExpired));
        keys.into_iter().filter_map(ended).collect()
    }

    /// Ends everything: what was surely never tried as `unsent`, the rest as unknown. Only when nothing is in flight; the
    /// caller has made sure that no attempt follows.
    pub fn wind_up(&mut self, unsent: Outcome, clock: &Reading, why: Option<&Reason>) -> Vec<BatchRow> {
        let keys: Vec<BatchKey> = self.open.keys().copied().collect();
        let mut rows = Vec::new();
        for key in keys {
            let never = self.open.get(&key).is_some_and(OpenBatch::is_untried);
            let outcome = if never { unsent } else { Outcome::Unknown };
            rows.extend(self.end(key, outcome, clock, None, why.cloned()));
        }
        let effective = self.effective_at(clock.now);
        for n in self.mark..self.batch_count() {
            let friends = self.friends_of((n, 0));
            *self.outcomes.entry((unsent, effective)).or_default() |= friends;
        }
        self.mark = self.batch_count();
        rows
    }

    /// Whether every delivery has its outcome.
    pub fn is_done(&self) -> bool {
        self.mark >= self.batch_count() && self.open.is_empty()
    }

    /// All deliveries by arm, instant and outcome, to be stored when the occurrence ends.
    pub fn deliveries(&self) -> Vec<DeliverySet> {
        let of = |variant: &VariantRow,
                  (outcome, effective_at, friends): (Outcome, Instant, &RoaringBitmap)| {
            DeliverySet {
                position: variant.position,
                effective_at,
                outcome,
                friends: friends & &variant.recipients,
            }
        };
        let all = self.variants.iter().flat_map(|variant| self.settled().map(move |set| of(variant, set)));
        all.filter(|set| !set.friends.is_empty()).collect()
    }

    /// The friends of a batch row, how they ended and the instant they count at, if it ended with an outcome.
    pub fn outcome_of(&self, batch: &BatchRow) -> Option<(Outcome, Instant, RoaringBitmap)> {
        let end = batch.ended.as_ref()?;
        let BatchEnding::Outcome(outcome) = end.how else { return None };
        let friends = batch.friends.clone().unwrap_or_else(|| self.friends_of((batch.n, batch.generation)));
        Some((outcome, self.effective_at(end.at), friends))
    }

    /// Whether requests of this occurrence may go out as far as its own state says.
    pub fn may_send(&self) -> bool {
        self.row.state == OccurrenceState::Sending
    }

    // ---- parts -------------------------------------------------------------------------------------------------

    fn range(&self, n: u32) -> Option<&BatchRange> {
        self.ranges.get(usize::try_from(n).ok()?)
    }

    /// The frozen batch that a batch was cut from, however often; itself if it was not.
    fn frozen_batch_of(&self, n: u32) -> u32 {
        let mut n = n;
        while let Some(parent) = self.parents.get(&n) {
            n = *parent;
        }
        n
    }

    /// The arm of a batch: that of the frozen batch it was cut from.
    fn variant_of(&self, n: u32) -> Option<&VariantRow> {
        self.variants.get(self.range(self.frozen_batch_of(n))?.variant)
    }

    fn friends_of(&self, key: BatchKey) -> RoaringBitmap {
        match self.own_friends(key) {
            Some(friends) => friends.clone(),
            None => {
                let frozen = self.frozen(key.0).map(|(friends, range)| set_of(friends, range));
                frozen.unwrap_or_default() - &self.left_out
            }
        }
    }

    /// The friends of an open batch that is not a frozen one.
    fn own_friends(&self, key: BatchKey) -> Option<&RoaringBitmap> {
        self.open.get(&key)?.friends.as_ref()
    }

    /// A frozen batch: its place in the friends of its arm.
    fn frozen(&self, n: u32) -> Option<(&RoaringBitmap, BatchRange)> {
        let range = *self.range(n)?;
        Some((&self.variants.get(range.variant)?.recipients, range))
    }

    fn body(&self, key: BatchKey, user_of: UserOf<'_>) -> Vec<u8> {
        let user = |friend| user_of(FriendId(friend));
        let to: Vec<UserId> = match self.own_friends(key) {
            Some(friends) => friends.iter().filter_map(user).collect(),
            None => {
                let frozen = self.frozen(key.0).into_iter();
                let friends = frozen.flat_map(|(friends, range)| friends_of(friends, range));
                friends.filter(|friend| !self.left_out.contains(*friend)).filter_map(user).collect()
            }
        };
        let variant = self.variant_of(key.0);
        let unit = variant.and_then(|variant| variant.unit.as_deref());
        multicast_body(&to, variant.map_or("[]", |variant| &variant.messages), self.row.notify, unit)
    }

    /// A batch of its own, durable before its first request.
    fn open_anew(
        &mut self,
        n: u32,
        generation: u32,
        friends: Option<RoaringBitmap>,
        parent: Option<u32>,
        clock: &Reading,
        user_of: UserOf<'_>,
    ) -> BatchRow {
        self.next_child = self.next_child.max(n.saturating_add(1));
        if let Some(parent) = parent {
            self.parents.insert(n, parent);
        }
        let key = (n, generation);
        self.open.insert(key, OpenBatch::new(friends, parent, clock_opened(clock), [0; 32]));
        let digest = body_digest(&self.body(key, user_of));
        let count = self.friends_of(key).len();
        match self.open.get_mut(&key) {
            Some(open) => {
                open.digest = digest;
                open.row(self.row.id, key, count)
            }
            None => OpenBatch::new(None, parent, clock_opened(clock), digest).row(self.row.id, key, count),
        }
    }

    fn end(
        &mut self,
        key: BatchKey,
        outcome: Outcome,
        clock: &Reading,
        request_id: Option<String>,
        detail: Option<Reason>,
    ) -> Option<BatchRow> {
        let friends = self.friends_of(key);
        let open = self.open.remove(&key)?;
        let mut row = open.row(self.row.id, key, friends.len());
        row.ended = Some(ended(BatchEnding::Outcome(outcome), clock, open.attempts, request_id, detail));
        *self.outcomes.entry((outcome, self.effective_at(clock.now))).or_default() |= friends;
        self.saw_end(&row, clock);
        Some(row)
    }
}
