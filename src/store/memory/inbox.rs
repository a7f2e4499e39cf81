//! What comes in: the inbox, webhooks to be handed on, strays, what was applied before.

use std::collections::HashSet;

use super::data::{Account, Data, Known, Numbers, Stray, next};
use super::{at_most, len, taken};
use crate::domain::effect::DedupeId;
use crate::domain::friend::Miss;
use crate::domain::id::AccountId;
use crate::domain::time::Instant;
use crate::store::codec::{InboxCells, RelayCells, StrayCells, corrupt, count_in, instant, json_in};
use crate::store::{InboxRow, NewStray, RelayRow, StoreError, StrayRow, Waiting};

/// Rows are read up to so many bytes of intakes, as from the databases. The first row is read whatever its size.
const SLICE_BYTES: usize = 1 << 20;

pub(super) fn append(data: &mut Data, rows: Vec<InboxCells>) {
    for row in rows {
        let (account, numbers) = data.of_mut(AccountId(row.0));
        let id = next(&mut numbers.inbox);
        account.receipts.set((row.1, id), ());
        account.inbox.set(id, row);
    }
}

pub(super) fn append_relays(data: &mut Data, relays: Vec<RelayCells>) {
    for relay in relays {
        let (account, numbers) = data.of_mut(AccountId(relay.0));
        account.relays.set(next(&mut numbers.relay), relay);
    }
}

pub(super) fn read(account: &Account, limit: u32) -> Result<Vec<InboxRow>, StoreError> {
    let mut bytes = 0;
    let fits = |row: &(i64, &InboxCells)| {
        let first = bytes == 0;
        bytes += row.1.3.len();
        first || bytes <= SLICE_BYTES
    };
    let oldest = account.receipts.rows().filter_map(|((_, id), ())| Some((*id, account.inbox.get(id)?)));
    let slice = oldest.take(at_most(limit)).take_while(fits);
    slice
        .map(|(id, InboxCells(_, received_at, source, intakes))| {
            let intakes = json_in(&format!("inbox {id}, column intakes"), intakes)?;
            Ok(InboxRow { id, received_at: instant(*received_at), source: source.clone(), intakes })
        })
        .collect()
}

/// A row that is not there any more was applied by somebody else: then nothing of this transaction may stand.
pub(super) fn consume(account: &mut Account, rows: &[i64]) -> Result<(), StoreError> {
    let mut ids = rows.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let mut consumed = 0;
    for id in &ids {
        let Some(received_at) = account.inbox.get(id).map(|row| row.1) else { continue };
        account.receipts.remove(&(received_at, *id));
        account.inbox.remove(id);
        consumed += 1;
    }
    if consumed == ids.len() {
        return Ok(());
    }
    Err(corrupt("inbox", format!("only {consumed} of {} rows to be consumed are there", ids.len())))
}

pub(super) fn relays(account: &Account, limit: u32) -> Vec<RelayRow> {
    let row = |(id, RelayCells(_, received_at, signature, body)): (&i64, &RelayCells)| RelayRow {
        id: *id,
        received_at: instant(*received_at),
        signature: signature.clone(),
        body: body.clone(),
    };
    account.relays.rows().take(at_most(limit)).map(row).collect()
}

pub(super) fn relay_waiting(account: &Account) -> Waiting {
    let oldest = account.relays.rows().map(|(_, relay)| relay.1).min();
    Waiting { rows: len(account.relays.len()), oldest: oldest.map(instant) }
}

pub(super) fn keep_strays(
    (account, numbers): (&mut Account, &mut Numbers),
    now: Instant,
    strays: &[NewStray],
) -> Result<(), StoreError> {
    for stray in strays {
        let cells = StrayCells::of(stray)?;
        account.strays.set(next(&mut numbers.stray), Stray { at: now.as_millis(), cells });
    }
    Ok(())
}

pub(super) fn strays(account: &Account, limit: u32) -> Result<Vec<StrayRow>, StoreError> {
    let newest = account.strays.rows().rev().take(at_most(limit));
    newest
        .map(|(id, Stray { at, cells: StrayCells(received_at, source, friends, intake) })| {
            let what = format!("stray {id}");
            let reason = match count_in(&what, *friends)? {
                0 => Miss::Unknown,
                friends => Miss::Shared { friends },
            };
            let (at, received_at) = (instant(*at), instant(*received_at));
            let intake = json_in(&what, intake)?;
            Ok(StrayRow { id: *id, at, received_at, source: source.clone(), reason, intake })
        })
        .collect()
}

pub(super) fn forget_strays(account: &mut Account, upto: i64) {
    let forgotten = account.strays.rows().map(|(id, _)| *id).take_while(|id| *id <= upto);
    let forgotten: Vec<i64> = forgotten.collect();
    account.strays.remove_all(forgotten);
}

/// An identity that is known already fails the transaction.
pub(super) fn remember(account: &mut Account, ids: &[DedupeId], now: Instant) -> Result<(), StoreError> {
    for id in ids {
        if !account.known.add(id.digest, Known { kind: id.kind, at: now.as_millis() }) {
            return Err(taken("remember what was applied"));
        }
    }
    Ok(())
}

pub(super) fn known(account: &Account, ids: &[DedupeId]) -> HashSet<DedupeId> {
    ids.iter().copied().filter(|id| account.known.get(&id.digest).is_some()).collect()
}
