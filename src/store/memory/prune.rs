//! Pruning, in the same slices as the databases'.

use roaring::RoaringBitmap;

use super::data::{Account, Counted, Data, Delivery, DeliveryPlace, Kept, Occurrence};
use super::{checkpoint, delivery, occurrence, people};
use crate::domain::delivery::Outcome;
use crate::domain::effect::DedupeKind;
use crate::domain::id::{AccountId, OccurrenceId};
use crate::domain::time::Instant;
use crate::store::codec::{bitmap, bitmap_in, count_in};
use crate::store::{Fence, Prune, StoreError};

/// Rows of a table in its order in one slice.
const ROWS: usize = 4_000;
/// Ids in one slice.
const IDS: usize = 1_000;
/// Occurrences in one slice.
const OCCURRENCES: usize = 200;
/// Occurrences of drips in one slice.
const STEPS: usize = 50;
/// Friends in the sets of one slice.
const FRIENDS: u64 = 2_000_000;

/// The first kind that would find something.
pub(super) fn prunable(data: &Data, id: AccountId, kinds: &[Prune]) -> Option<Prune> {
    kinds.iter().find(|kind| finds(data, id, kind)).cloned()
}

fn finds(data: &Data, id: AccountId, kind: &Prune) -> bool {
    let account = data.of(id);
    match kind {
        Prune::Chunks => !checkpoint::stale(account, holding(data, id)).is_empty(),
        Prune::Journal { after, upto, events_before } => {
            let mut rows = people::stretch(account, (*after, *upto));
            rows.any(|row| people::is_prunable(account, row, *events_before))
        }
        Prune::Merge(before) => unmerged(account, *before).is_some(),
        Prune::ApiAnswers(before) => account.answers.rows().any(|(_, answer)| answer.at < *before),
        Prune::WebhookIds(before) => webhook_ids(account, *before).next().is_some(),
        Prune::Outbox(before) => given_up(account, *before).next().is_some(),
        Prune::Batches(before) => !ended(account, Kept::All, *before).is_empty(),
        Prune::Sets(before) => !ended(account, Kept::WithoutBatches, *before).is_empty(),
        Prune::Steps(before, _) => !steps(account, *before).is_empty(),
    }
}

/// The token under which the account is owned now.
fn holding(data: &Data, id: AccountId) -> Option<i64> {
    data.leases.get(&id.0).and_then(|lease| lease.token)
}

pub(super) fn prune(data: &mut Data, fence: &Fence, kind: &Prune) -> Result<(), StoreError> {
    let token = holding(data, fence.account);
    let (account, _) = data.of_mut(fence.account);
    match kind {
        Prune::Chunks => checkpoint::prune(account, token),
        Prune::Journal { after, upto, events_before } => {
            let rows = people::stretch(account, (*after, *upto));
            let rows = rows.filter(|row| people::is_prunable(account, row, *events_before)).map(|row| row.0);
            let rows: Vec<i64> = rows.collect();
            account.journal.remove_all(rows);
        }
        Prune::Merge(before) => return merge(account, *before),
        Prune::ApiAnswers(before) => {
            let old = account.answers.rows().filter(|(_, answer)| answer.at < *before);
            let old = first(old.map(|(key, answer)| (answer.at, key.clone())));
            account.answers.remove_all(old);
        }
        Prune::WebhookIds(before) => {
            let old = first(webhook_ids(account, *before));
            account.known.remove_all(old);
        }
        Prune::Outbox(before) => {
            let old = first(given_up(account, *before));
            account.outbox.remove_all(old);
        }
        Prune::Batches(before) => batches(account, *before),
        Prune::Sets(before) => return sets(account, *before),
        Prune::Steps(before, _) => add_up(account, *before),
    }
    Ok(())
}

/// The keys of a slice, by instant.
fn first<T: Ord, K: Ord>(found: impl Iterator<Item = (T, K)>) -> Vec<K> {
    let mut found: Vec<(T, K)> = found.collect();
    found.sort();
    found.into_iter().take(IDS).map(|(_, key)| key).collect()
}

fn webhook_ids(account: &Account, before: Instant) -> impl Iterator<Item = (i64, [u8; 16])> {
    let before = before.as_millis();
    let old = account.known.rows().filter(|(_, known)| known.kind == DedupeKind::Webhook);
    old.map(|(id, known)| (known.at, *id)).filter(move |(at, _)| *at < before)
}

fn given_up(account: &Account, before: Instant) -> impl Iterator<Item = (i64, i64)> {
    let before = before.as_millis();
    let ended = account.outbox.rows().filter_map(|(id, cells)| Some((cells.6?, *id)));
    ended.filter(move |(at, _)| *at < before)
}

/// Occurrences that ended, the earliest first.
fn ended(account: &Account, kept: Kept, before: Instant) -> Vec<(OccurrenceId, &Occurrence)> {
    let of = account.occurrences.rows().filter(|(_, row)| row.kept == kept);
    let ended = of.filter_map(|(id, row)| Some((row.cells.finished_at?, *id, row)));
    let mut ended: Vec<_> = ended.filter(|(at, ..)| *at < before.as_millis()).collect();
    ended.sort_by_key(|(at, id, _)| (*at, *id));
    ended.into_iter().map(|(_, id, row)| (OccurrenceId(id), row)).collect()
}

/// Occurrences of drips of which only counts are left; not the newest, so that its number is not given again, nor one
/// in which somebody waits.
fn steps(account: &Account, before: Instant) -> Vec<(OccurrenceId, &Occurrence)> {
    let newest = account.occurrences.last().copied();
    let waits = |id: i64| account.deferrals.get(&id).is_some_and(|row| !row.waiting.is_empty());
    let found = ended(account, Kept::Counts, before).into_iter().filter(|(id, row)| {
        let cells = &row.cells;
        !cells.step.is_empty() && cells.run_kind == "scheduled" && newest != Some(id.0) && !waits(id.0)
    });
    found.take(STEPS).collect()
}

/// Keeps of them what each step came to. Nobody asks here for its days.
fn add_up(account: &mut Account, before: Instant) {
    let found: Vec<_> = steps(account, before).into_iter().map(|(id, row)| (id, row.cells.clone())).collect();
    for (id, cells) in found {
        let (place, once) = ((cells.campaign.clone(), cells.step.clone()), occurrence::once(&cells));
        let gone = account.steps_gone.get(&place).copied().unwrap_or_default();
        let sums = (gone.0 + 1, gone.1 + cells.matched, gone.2 + cells.recipients);
        account.steps_gone.set(place, sums);
        let deliveries: Vec<DeliveryPlace> = delivery::of(account, id).map(|(place, _)| *place).collect();
        account.deliveries.remove_all(deliveries);
        let excluded = delivery::excluded(account, id).map(|(name, _)| (id.0, name.clone()));
        let excluded: Vec<_> = excluded.collect();
        account.exclusions.remove_all(excluded);
        let arms = account.variants.from((id.0, 0)).map(|(place, _)| *place);
        let arms: Vec<_> = arms.take_while(|(of, _)| *of == id.0).collect();
        account.variants.remove_all(arms);
        let parts = account.parts.from((id.0, i64::MIN)).map(|(place, _)| *place);
        let parts: Vec<_> = parts.take_while(|(of, _)| *of == id.0).collect();
        account.parts.remove_all(parts);
        account.deferrals.remove(&id.0);
        account.once.remove(&once);
        account.occurrences.remove(&id.0);
    }
}

fn batches(account: &mut Account, before: Instant) {
    let found = ended(account, Kept::All, before).into_iter().take(OCCURRENCES);
    let ids: Vec<OccurrenceId> = found.map(|(id, _)| id).collect();
    let mut left = ROWS;
    for id in ids {
        let gone = batches_of(account, id, left);
        left = left.saturating_sub(gone.len());
        account.batches.remove_all(gone);
        if left == 0 {
            // There may be more of this one.
            return;
        }
        let strides = account.strides.from((id.0, 0)).map(|(place, _)| *place);
        let strides: Vec<_> = strides.take_while(|(of, _)| *of == id.0).collect();
        account.strides.remove_all(strides);
        account.occurrences.change(&id.0, |row| row.kept = Kept::WithoutBatches);
    }
}

/// The first batches of an occurrence, with every generation of the last one's number.
fn batches_of(account: &Account, id: OccurrenceId, left: usize) -> Vec<(i64, i64, i64)> {
    let all =
        || account.batches.from((id.0, 0, 0)).map(|(place, _)| *place).take_while(|place| place.0 == id.0);
    let Some((_, last, _)) = all().take(left).last() else { return Vec::new() };
    all().take_while(|(_, n, _)| *n <= last).collect()
}

/// Accepted deliveries that are not in `received`.
fn accepted(account: &Account, before: Instant) -> impl Iterator<Item = (&DeliveryPlace, &Delivery)> {
    let before = before.as_millis();
    account.deliveries.rows().filter(move |(place, row)| {
        row.counted == Counted::Yes && row.outcome == Outcome::Accepted && place.2 < before
    })
}

/// The first campaign, by code point, with something to merge.
fn unmerged(account: &Account, before: Instant) -> Option<String> {
    accepted(account, before).map(|(_, row)| &row.sent.campaign).min().cloned()
}

/// Unknown deliveries are not merged while a person may still say that they were rejected.
fn merge(account: &mut Account, before: Instant) -> Result<(), StoreError> {
    let Some(campaign) = unmerged(account, before) else { return Ok(()) };
    let found = accepted(account, before).filter(|(_, row)| row.sent.campaign == campaign);
    let mut found: Vec<DeliveryPlace> = found.map(|(place, _)| *place).collect();
    found.sort_by_key(|(occurrence, position, effective_at, _)| (*effective_at, *occurrence, *position));
    let (mut friends, mut weight) = (RoaringBitmap::new(), 0);
    for place in found.into_iter().take(OCCURRENCES) {
        if weight >= FRIENDS {
            break;
        }
        let Some(row) = account.deliveries.get(&place) else { continue };
        weight += row.count;
        friends |= bitmap_in(&format!("delivery of occurrence {}", place.0), &row.sent.friends)?;
        account.deliveries.change(&place, |row| row.counted = Counted::Merged);
    }
    delivery::merge(account, campaign, friends);
    Ok(())
}

/// Occurrences of one campaign.
fn sets(account: &mut Account, before: Instant) -> Result<(), StoreError> {
    let found = ended(account, Kept::WithoutBatches, before);
    let Some(campaign) = found.first().map(|(_, row)| row.cells.campaign.clone()) else { return Ok(()) };
    let of = found.into_iter().take(OCCURRENCES).filter(|(_, row)| row.cells.campaign == campaign);
    let of: Vec<_> =
        of.map(|(id, row)| (id, row.cells.matched.saturating_add(row.cells.recipients))).collect();
    let (mut friends, mut weight) = (RoaringBitmap::new(), 0);
    for (id, size) in of {
        if weight >= FRIENDS {
            break;
        }
        weight += count_in(&format!("occurrence {}", id.0), size)?;
        friends |= empty(account, id)?;
        account.occurrences.change(&id.0, |row| row.kept = Kept::Counts);
    }
    if !friends.is_empty() {
        delivery::merge(account, campaign, friends);
    }
    Ok(())
}

/// Empties an occurrence's sets; says whom `received` does not hold yet. The counts stay.
fn empty(account: &mut Account, id: OccurrenceId) -> Result<RoaringBitmap, StoreError> {
    let mut friends = RoaringBitmap::new();
    let places: Vec<DeliveryPlace> = delivery::of(account, id).map(|(place, _)| *place).collect();
    for place in places {
        if let Some(row) = account.deliveries.get(&place).filter(|row| row.counted == Counted::Yes) {
            friends |= bitmap_in(&format!("delivery of occurrence {id}"), &row.sent.friends)?;
        }
        account.deliveries.change(&place, |row| {
            row.counted = Counted::No;
            row.sent.friends = bitmap(&RoaringBitmap::new());
        });
    }
    let names: Vec<String> = delivery::excluded(account, id).map(|(name, _)| name.clone()).collect();
    for name in names {
        account.exclusions.change(&(id.0, name), |row| row.friends.clear());
    }
    let arms = account.variants.from((id.0, 0)).map(|(place, _)| *place);
    let arms: Vec<_> = arms.take_while(|(of, _)| *of == id.0).collect();
    for place in arms {
        account.variants.change(&place, |arm| arm.row.recipients.clear());
    }
    Ok(friends)
}
