//! Strides and batches.

use super::{
    bitmap, bitmap_in, corrupt, digest, instant, reason_cell, reason_in, small, text, text_or_none, word,
};
use crate::domain::delivery::Outcome;
use crate::domain::id::OccurrenceId;
use crate::domain::time::{Instant, Span};
use crate::store::{BatchEnd, BatchEnding, BatchRow, Opened, StoreError, StrideRow};

/// The columns of `stride` that make one.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct StrideCells {
    pub occurrence: i64,
    pub first: i64,
    pub upto: i64,
    pub opened_at: i64,
    pub boot_id: String,
    pub since_boot: i64,
    pub digests: Vec<u8>,
}

impl StrideCells {
    pub(in crate::store) fn read(self) -> Result<StrideRow, StoreError> {
        let what = format!("stride {} of occurrence {}", self.first, self.occurrence);
        let (first, upto) = (small(&what, self.first)?, small(&what, self.upto)?);
        let (digests, rest) = self.digests.as_chunks::<32>();
        let batches = upto.checked_sub(first).map(|batches| batches as usize);
        if batches != Some(digests.len()) || !rest.is_empty() {
            return Err(corrupt(what, "there is not one digest for each of its batches"));
        }
        Ok(StrideRow {
            occurrence: OccurrenceId(self.occurrence),
            first,
            upto,
            opened_at: instant(self.opened_at),
            boot_id: self.boot_id,
            since_boot: Span::from_millis(self.since_boot),
            digests: digests.to_vec(),
        })
    }
}

/// The columns of `batch` after the account, in the order of the table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::store) struct BatchCells {
    pub occurrence: i64,
    pub n: i64,
    pub generation: i64,
    pub parent: Option<i64>,
    pub friends: Option<Vec<u8>>,
    pub friend_count: i64,
    pub opened_at: Option<i64>,
    pub boot_id: Option<String>,
    pub since_boot: Option<i64>,
    pub body_sha256: Vec<u8>,
    pub ending: Option<String>,
    pub ended_at: Option<i64>,
    pub attempts: Option<i64>,
    pub request_id: Option<String>,
    pub accepted_request_id: Option<String>,
    pub detail: Option<String>,
}

const SUPERSEDED: &str = "superseded";

fn ending_cell(how: BatchEnding) -> &'static str {
    match how {
        BatchEnding::Outcome(outcome) => outcome.as_str(),
        BatchEnding::Superseded => SUPERSEDED,
    }
}

impl BatchCells {
    pub(in crate::store) fn of(row: &BatchRow) -> Result<Self, StoreError> {
        let (opened, ended) = (row.opened.as_ref(), row.ended.as_ref());
        let owned = |value: Option<&String>| text_or_none(value).map(Into::into);
        let detail = ended.and_then(|end| end.detail.as_ref());
        Ok(Self {
            occurrence: row.occurrence.0,
            n: row.n.into(),
            generation: row.generation.into(),
            parent: row.parent.map(Into::into),
            friends: row.friends.as_ref().map(bitmap),
            friend_count: row.friend_count.into(),
            opened_at: opened.map(|opened| opened.at.as_millis()),
            boot_id: opened.map(|opened| text(&opened.boot_id).into_owned()),
            since_boot: opened.map(|opened| opened.since_boot.as_millis()),
            body_sha256: row.body_sha256.to_vec(),
            ending: ended.map(|end| ending_cell(end.how).to_owned()),
            ended_at: ended.map(|end| end.at.as_millis()),
            attempts: ended.map(|end| end.attempts.into()),
            request_id: ended.and_then(|end| owned(end.request_id.as_ref())),
            accepted_request_id: ended.and_then(|end| owned(end.accepted_request_id.as_ref())),
            detail: reason_cell(detail)?,
        })
    }

    pub(in crate::store) fn read(self) -> Result<BatchRow, StoreError> {
        let what = format!("batch {}.{} of occurrence {}", self.n, self.generation, self.occurrence);
        let opened = match (self.opened_at, self.boot_id, self.since_boot) {
            (Some(at), Some(boot_id), Some(since)) => {
                Some(Opened { at: instant(at), boot_id, since_boot: Span::from_millis(since) })
            }
            _ => None,
        };
        let ended = match self.ending {
            None => None,
            Some(ending) => Some(BatchEnd {
                how: if ending == SUPERSEDED {
                    BatchEnding::Superseded
                } else {
                    BatchEnding::Outcome(word(&what, &ending, Outcome::parse(&ending))?)
                },
                at: self.ended_at.map(instant).unwrap_or(Instant::MIN),
                attempts: small(&what, self.attempts.unwrap_or(0))?,
                request_id: self.request_id,
                accepted_request_id: self.accepted_request_id,
                detail: reason_in(self.detail),
            }),
        };
        Ok(BatchRow {
            occurrence: OccurrenceId(self.occurrence),
            n: small(&what, self.n)?,
            generation: small(&what, self.generation)?,
            parent: self.parent.map(|parent| small(&what, parent)).transpose()?,
            friends: self.friends.map(|friends| bitmap_in(&what, &friends)).transpose()?,
            friend_count: small(&what, self.friend_count)?,
            opened,
            body_sha256: digest(&what, &self.body_sha256)?,
            ended,
        })
    }
}
