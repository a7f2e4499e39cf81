//! The outbox.

use std::collections::BTreeMap;

use super::at_most;
use super::data::Account;
use crate::domain::outbox::Lane;
use crate::domain::time::Instant;
use crate::store::codec::{OpenOutbox, OutboxCells, instant, word};
use crate::store::{OutboxLane, OutboxRow, StoreError};

pub(super) fn set(account: &mut Account, rows: &[OutboxRow]) -> Result<(), StoreError> {
    for row in rows {
        account.outbox.set(row.id, OutboxCells::of(row)?);
    }
    Ok(())
}

/// Requests that are still to be made.
fn open(account: &Account) -> impl Iterator<Item = &OutboxCells> {
    account.outbox.rows().map(|(_, cells)| cells).filter(|cells| cells.6.is_none())
}

pub(super) fn due(
    account: &Account,
    lane: &Lane,
    now: Instant,
    limit: u32,
) -> Result<Vec<OutboxRow>, StoreError> {
    let (lane, now, far) = (lane.to_string(), now.as_millis(), (now + OutboxRow::FARTHEST).as_millis());
    let is_due = |cells: &&OutboxCells| cells.1 == lane && (cells.4 <= now || cells.4 > far);
    let mut due: Vec<&OutboxCells> = open(account).filter(is_due).collect();
    due.sort_by_key(|cells| (cells.4, cells.0));
    due.into_iter()
        .take(at_most(limit))
        .map(|cells| {
            OpenOutbox {
                id: cells.0,
                payload: cells.2.clone(),
                created_at: cells.3,
                not_before: cells.4,
                attempts: cells.5,
            }
            .read()
        })
        .collect()
}

pub(super) fn lanes(account: &Account) -> Result<Vec<OutboxLane>, StoreError> {
    let mut lanes: BTreeMap<&String, (u64, i64)> = BTreeMap::new();
    for cells in open(account) {
        let (open, oldest) = lanes.entry(&cells.1).or_insert((0, cells.3));
        (*open, *oldest) = (*open + 1, cells.3.min(*oldest));
    }
    let lanes = lanes.into_iter().map(|(lane, (open, oldest))| {
        let lane = word("outbox.lane", lane, Lane::parse(lane))?;
        Ok(OutboxLane { lane, open, oldest: instant(oldest) })
    });
    let mut lanes = lanes.collect::<Result<Vec<_>, StoreError>>()?;
    lanes.sort_by(|one, other| one.lane.cmp(&other.lane));
    Ok(lanes)
}
