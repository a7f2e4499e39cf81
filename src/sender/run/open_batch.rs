//! A batch between its opening and its end.

use bytes::Bytes;
use roaring::RoaringBitmap;

use crate::clock::{CLOCK_BEHIND, Reading};
use crate::domain::id::OccurrenceId;
use crate::domain::reason::Reason;
use crate::domain::time::Span;
use crate::line::History;
use crate::sender::back_off::back_off;
use crate::store::{BatchEnd, BatchEnding, BatchRow, Opened};

use super::{BatchKey, KEY_LIFE};

/// A batch that is open: its first request may have happened.
#[derive(Debug, Clone)]
pub(super) struct OpenBatch {
    /// Its friends where they are not the frozen range.
    pub(super) friends: Option<RoaringBitmap>,
    pub(super) parent: Option<u32>,
    pub(super) opened: Opened,
    pub(super) digest: [u8; 32],
    /// The bytes the digest was taken of, for the first attempt; later ones write them anew and compare.
    pub(super) body: Option<Bytes>,
    pub(super) attempts: u32,
    /// What the attempts so far prove.
    pub(super) history: History,
    pub(super) in_flight: bool,
    /// Since boot, the earliest next attempt.
    pub(super) not_before: Span,
    pub(super) failures: u32,
    pub(super) failing_since: Option<Span>,
}

impl OpenBatch {
    pub(super) fn new(
        friends: Option<RoaringBitmap>,
        parent: Option<u32>,
        opened: Opened,
        digest: [u8; 32],
    ) -> Self {
        Self {
            friends,
            parent,
            opened,
            digest,
            body: None,
            attempts: 0,
            history: History::SurelyNotSent,
            in_flight: false,
            not_before: Span::ZERO,
            failures: 0,
            failing_since: None,
        }
    }

    /// Whether no request of it was ever made: neither by this process nor, possibly, by one before.
    pub(super) fn is_untried(&self) -> bool {
        self.attempts == 0 && self.history == History::SurelyNotSent
    }

    /// Whether its key has outlived its time. One of another boot that was opened ahead of a clock that is believed
    /// (somebody set it back) may be of any age.
    pub(super) fn is_too_old(&self, clock: &Reading) -> bool {
        let Opened { at, boot_id, since_boot } = &self.opened;
        let ageless = *boot_id != clock.boot.boot_id && *at - clock.now > CLOCK_BEHIND;
        ageless || clock.age(*at, boot_id, *since_boot) >= KEY_LIFE
    }

    /// Also of a clock that a person has only just accepted.
    pub(super) fn is_ready(&self, clock: &Reading) -> bool {
        !self.in_flight && self.not_before <= clock.boot.since_boot && !self.is_too_old(clock)
    }

    pub(super) fn retry_later(&mut self, clock: &Reading, jitter: f64, asked: Option<Span>) {
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(clock.boot.since_boot);
        let failing_for =
            Span::from_millis(clock.boot.since_boot.as_millis().saturating_sub(since.as_millis()));
        self.not_before = add(
            clock.boot.since_boot,
            back_off(self.failures, failing_for, jitter).max(asked.unwrap_or_default()),
        );
    }

    pub(super) fn row(&self, occurrence: OccurrenceId, (n, generation): BatchKey, friends: u64) -> BatchRow {
        let own = generation > 0 || self.parent.is_some();
        BatchRow {
            occurrence,
            n,
            generation,
            parent: self.parent,
            friends: self.friends.clone(),
            friend_count: u32::try_from(friends).unwrap_or(u32::MAX),
            opened: own.then(|| self.opened.clone()),
            body_sha256: self.digest,
            ended: None,
        }
    }
}

pub(super) fn ended(
    how: BatchEnding,
    clock: &Reading,
    attempts: u32,
    request_id: Option<String>,
    detail: Option<Reason>,
) -> BatchEnd {
    BatchEnd { how, at: clock.now, attempts, request_id, accepted_request_id: None, detail }
}

pub(super) fn clock_opened(clock: &Reading) -> Opened {
    Opened { at: clock.now, boot_id: clock.boot.boot_id.clone(), since_boot: clock.boot.since_boot }
}

pub(super) fn add(a: Span, b: Span) -> Span {
    Span::from_millis(a.as_millis().saturating_add(b.as_millis()))
}
