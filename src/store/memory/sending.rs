//! Strides, batches, LINE's numbers, people's acts.

use super::data::{Account, Numbers, next};
use super::{at_most, taken};
use crate::domain::id::OccurrenceId;
use crate::domain::time::Instant;
use crate::store::codec::{BatchCells, corrupt, count, count_in, text};
use crate::store::{ActRow, BatchRow, QuotaReading, StoreError, StrideRow};

pub(super) fn open_stride(account: &mut Account, row: &StrideRow) -> Result<(), StoreError> {
    if row.upto.checked_sub(row.first).map(|batches| batches as usize) != Some(row.digests.len()) {
        return Err(corrupt("a stride", "there is not one digest for each of its batches"));
    }
    let place = (row.occurrence.0, row.first);
    let row = StrideRow { boot_id: text(&row.boot_id).into_owned(), ..row.clone() };
    if account.strides.add(place, row) { Ok(()) } else { Err(taken("open a stride")) }
}

/// One occurrence's strides by first batch.
pub(super) fn strides(account: &Account, id: OccurrenceId) -> impl Iterator<Item = &StrideRow> {
    account.strides.from((id.0, 0)).take_while(move |((of, _), _)| *of == id.0).map(|(_, row)| row)
}

pub(super) fn set_batches(account: &mut Account, rows: &[BatchRow]) -> Result<(), StoreError> {
    for row in rows {
        let cells = BatchCells::of(row)?;
        account.batches.set((cells.occurrence, cells.n, cells.generation), cells);
    }
    Ok(())
}

pub(super) fn batches(account: &Account, id: OccurrenceId) -> Result<Vec<BatchRow>, StoreError> {
    let rows = account.batches.from((id.0, 0, 0)).take_while(|((of, ..), _)| *of == id.0);
    rows.map(|(_, cells)| cells.clone().read()).collect()
}

pub(super) fn accepted_since(account: &Account, since: Instant) -> Result<u64, StoreError> {
    let accepted = |cells: &&BatchCells| {
        cells.ending.as_deref() == Some("accepted")
            && cells.ended_at.is_some_and(|ended| ended > since.as_millis())
    };
    let rows = account.batches.rows().map(|(_, cells)| cells).filter(accepted);
    count_in("batch.friend_count", rows.map(|cells| cells.friend_count).sum())
}

/// The newest month first.
pub(super) fn quota(account: &Account) -> Vec<QuotaReading> {
    account.quota.rows().rev().map(|(_, row)| row.clone()).collect()
}

pub(super) fn set_quota(account: &mut Account, reading: &QuotaReading) -> Result<(), StoreError> {
    // As a column holds it.
    let stored = |value: u64| count_in("quota_reading", count(value));
    let month = text(&reading.month).into_owned();
    let row = QuotaReading {
        month: month.clone(),
        read_at: reading.read_at,
        limit: reading.limit.map(stored).transpose()?,
        used: stored(reading.used)?,
    };
    account.quota.set(month, row);
    Ok(())
}

/// The newest first.
pub(super) fn acts(account: &Account, limit: u32) -> Vec<ActRow> {
    account.acts.rows().rev().take(at_most(limit)).map(|(_, row)| row.clone()).collect()
}

pub(super) fn add_act((account, numbers): (&mut Account, &mut Numbers), act: &ActRow) {
    let row = ActRow {
        at: act.at,
        by: text(&act.by).into_owned(),
        act: text(&act.act).into_owned(),
        subject: text(&act.subject).into_owned(),
        detail: text(&act.detail).into_owned(),
    };
    account.acts.set((act.at.as_millis(), next(&mut numbers.act)), row);
}
