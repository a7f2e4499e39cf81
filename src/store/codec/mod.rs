//! Rows as the databases hold them and back: one place for all adapters.
//!
//! Instants are integer milliseconds, sets the portable roaring format, everything with inner structure JSON text.
//! U+0000 in a plain text becomes `␀`: PostgreSQL cannot hold it, and no identity depends on it (JSON columns keep
//! it, escaped).

mod drip;
mod erasure;
mod friend;
mod journal;
mod occurrence;
mod outbox;
mod sending;

use std::borrow::Cow;

use roaring::RoaringBitmap;

use super::{Halt, NewInbox, NewRelay, NewStray, StoreError};
use crate::domain::friend::Miss;
use crate::domain::id::StepName;
use crate::domain::reason::Reason;
use crate::domain::time::Instant;

pub(super) use drip::{
    DeferralCells, EnrollmentCells, EnrollmentKey, TagExpiryCells, ending_in, enrollment_key,
};
pub(super) use erasure::ErasureCells;
pub(super) use friend::FriendCells;
pub(super) use journal::EntryCells;
pub(super) use occurrence::{
    DeliveryCells, OccurrenceCells, PartedOccurrence, SentCells, VariantCells, exclusion_in, gather,
    outcome_in,
};
pub(super) use outbox::{OpenOutbox, OutboxCells};
pub(super) use sending::{BatchCells, StrideCells};

/// The columns of `inbox` after its id, in the order of the table: account, received_at, source, intakes. As JSON an
/// array.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct InboxCells(pub i64, pub i64, pub String, pub String);

impl InboxCells {
    pub(super) fn of(row: &NewInbox) -> Result<Self, StoreError> {
        let intakes = json("inbox.intakes", &row.intakes)?;
        Ok(Self(row.account.0, row.received_at.as_millis(), text(&row.source).into_owned(), intakes))
    }
}

/// The columns of `relay` after its id, in the order of the table: account, received_at, signature, body. As JSON an
/// array.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct RelayCells(pub i64, pub i64, pub String, pub String);

impl RelayCells {
    pub(super) fn of(relay: NewRelay) -> Self {
        Self(relay.account.0, relay.received_at.as_millis(), relay.signature, relay.body)
    }
}

/// The columns of `stray` after the instant: received_at, source, friends, intake. As JSON an array.
#[derive(Debug, serde::Serialize)]
pub(super) struct StrayCells(pub i64, pub String, pub i64, pub String);

impl StrayCells {
    pub(super) fn of(stray: &NewStray) -> Result<Self, StoreError> {
        let friends = match stray.reason {
            Miss::Unknown => 0,
            Miss::Shared { friends } => count(friends),
        };
        let intake = json("stray.intake", &stray.intake)?;
        Ok(Self(stray.received_at.as_millis(), text(&stray.source).into_owned(), friends, intake))
    }
}

/// Why a stored value cannot be read.
pub(super) fn corrupt(what: impl Into<String>, why: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: what.into(), why: why.to_string() }
}

/// A plain text as both databases can hold it.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "␀")) } else { Cow::Borrowed(text) }
}

/// As [`text`], where there may be none.
pub(super) fn text_or_none(value: Option<&String>) -> Option<Cow<'_, str>> {
    value.map(|value| text(value))
}

/// A step as a column holds it: empty for a campaign.
pub(super) fn step(step: Option<&StepName>) -> &str {
    step.map_or("", StepName::as_str)
}

/// A column as the step it is.
pub(super) fn step_in(what: &str, text: &str) -> Result<Option<StepName>, StoreError> {
    if text.is_empty() {
        return Ok(None);
    }
    StepName::parse(text).map(Some).map_err(|error| corrupt(what, error))
}

/// A count as a column holds it.
pub(super) fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A column as the count it must be.
pub(super) fn count_in(what: &str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| corrupt(what, format!("{value} is negative")))
}

/// A column as the 32-bit number it must be.
pub(super) fn small(what: &str, value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| corrupt(what, format!("{value} is not between 0 and 4294967295")))
}

/// A SHA-256 column.
pub(super) fn digest(what: &str, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| corrupt(what, format!("{} bytes instead of 32", bytes.len())))
}

/// An instant column.
pub(super) fn instant(ms: i64) -> Instant {
    Instant::from_millis(ms)
}

/// A set in the portable roaring format.
pub(super) fn bitmap(set: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(set.serialized_size());
    // Writing to a Vec cannot fail; an empty result would be refused when read back.
    if set.serialize_into(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

/// A set read back.
pub(super) fn bitmap_in(what: &str, bytes: &[u8]) -> Result<RoaringBitmap, StoreError> {
    RoaringBitmap::deserialize_from(bytes).map_err(|error| corrupt(what, error))
}

/// A value with inner structure.
pub(super) fn json<T: serde::Serialize + ?Sized>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

/// A value with inner structure read back.
pub(super) fn json_in<'a, T: serde::Deserialize<'a>>(what: &str, text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(what, error))
}

/// A word of a fixed vocabulary read back.
pub(super) fn word<T>(what: &str, word: &str, parsed: Option<T>) -> Result<T, StoreError> {
    parsed.ok_or_else(|| corrupt(what, format!("`{word}` is not a word this version knows")))
}

/// The three columns of a halt.
pub(super) fn halt(at: Option<i64>, by: Option<String>, reason: Option<String>) -> Option<Halt> {
    let reason = reason.unwrap_or_default();
    at.map(|at| Halt { at: instant(at), by: by.unwrap_or_default(), reason: Reason::read(&reason) })
}

/// The three columns of a halt.
type HaltCells = (Option<i64>, Option<String>, Option<String>);

/// A halt as its three columns.
pub(super) fn halt_cells(halt: Option<&Halt>) -> Result<HaltCells, StoreError> {
    let Some(halt) = halt else { return Ok((None, None, None)) };
    let reason = reason_cell(Some(&halt.reason))?;
    Ok((Some(halt.at.as_millis()), Some(text(&halt.by).into_owned()), reason))
}

/// A reason, if there is one.
pub(super) fn reason_cell(reason: Option<&Reason>) -> Result<Option<String>, StoreError> {
    reason.map(|reason| json("a reason", reason)).transpose()
}

/// A reason read back, if there is one.
pub(super) fn reason_in(cell: Option<String>) -> Option<Reason> {
    cell.map(|text| Reason::read(&text))
}
