//! What became of deliveries: the books of ended occurrences, and what caps read of them.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::data::{Account, Counted, Delivery, DeliveryPlace, Excluded, Numbers, next};
use super::occurrence;
use crate::domain::delivery::Exclusion;
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::sends::Sent;
use crate::store::codec::{DeliveryCells, SentCells, bitmap, corrupt, exclusion_in};
use crate::store::{Arm, DeliverySet, ExcludedSet, SentFilter, StoreError, Tally};

/// A page of past sends ends at so many bytes of sets, or so many sends.
const PAGE_BYTES: usize = 4 << 20;
const PAGE: usize = 4_096;

/// One occurrence's deliveries.
pub(super) fn of(
    account: &Account,
    occurrence: OccurrenceId,
) -> impl Iterator<Item = (&DeliveryPlace, &Delivery)> {
    let rows = account.deliveries.from((occurrence.0, i64::MIN, i64::MIN, ""));
    rows.take_while(move |((of, ..), _)| *of == occurrence.0)
}

pub(super) fn set(
    (account, numbers): (&mut Account, &mut Numbers),
    id: OccurrenceId,
    sets: &[DeliverySet],
) -> Result<(), StoreError> {
    let before: Vec<DeliveryPlace> = of(account, id).map(|(place, _)| *place).collect();
    account.deliveries.remove_all(before);
    for set in sets {
        let place = (id.0, i64::from(set.position), set.effective_at.as_millis(), set.outcome.as_str());
        let Some(row) = delivery(account, id, set, next(&mut numbers.delivery)) else {
            let why = format!("it has no arm at position {}", set.position);
            return Err(corrupt(format!("occurrence {id}"), why));
        };
        if !account.deliveries.add(place, row) {
            return Err(super::taken("write what became of an occurrence's deliveries"));
        }
    }
    Ok(())
}

/// A row with what is the same for all of its occurrence or arm, if there are such.
fn delivery(account: &Account, id: OccurrenceId, set: &DeliverySet, number: i64) -> Option<Delivery> {
    let of = &account.occurrences.get(&id.0)?.cells;
    let arm = account.variants.get(&(id.0, set.position))?;
    let counts = of.run_kind == "scheduled" && set.outcome.counts();
    let sent = SentCells {
        occurrence: id.0,
        campaign: of.campaign.clone(),
        category: of.category.clone(),
        capped: of.capped,
        content: arm.row.content.0.to_vec(),
        effective_at: set.effective_at.as_millis(),
        friends: bitmap(&set.friends),
    };
    let counted = if counts { Counted::Yes } else { Counted::No };
    Some(Delivery { number, outcome: set.outcome, counted, count: set.friends.len(), sent })
}

pub(super) fn deliveries(account: &Account, id: OccurrenceId) -> Result<Vec<DeliverySet>, StoreError> {
    let row = |(place, row): (&DeliveryPlace, &Delivery)| {
        let (outcome, friends) = (place.3.to_owned(), row.sent.friends.clone());
        DeliveryCells { position: place.1, effective_at: place.2, outcome, friends }.read()
    };
    let sets: Result<Vec<_>, _> = of(account, id).map(row).collect();
    sets.map(|mut sets| {
        sets.sort_by_key(|set| (set.position, set.effective_at, set.outcome));
        sets
    })
}

/// One occurrence's exclusions by their names.
pub(super) fn excluded(account: &Account, id: OccurrenceId) -> impl Iterator<Item = (&String, &Excluded)> {
    let rows = account.exclusions.from((id.0, String::new()));
    rows.take_while(move |((of, _), _)| *of == id.0).map(|((_, name), row)| (name, row))
}

pub(super) fn exclusions(account: &Account, id: OccurrenceId) -> Result<Vec<ExcludedSet>, StoreError> {
    let read = |(name, row): (&String, &Excluded)| {
        Ok(ExcludedSet { exclusion: exclusion_in(name)?, friends: row.friends.clone() })
    };
    let sets: Result<Vec<_>, StoreError> = excluded(account, id).map(read).collect();
    sets.map(|mut sets| {
        sets.sort_by(|a, b| a.exclusion.cmp(&b.exclusion));
        sets
    })
}

pub(super) fn tally(account: &Account, id: OccurrenceId) -> Result<Tally, StoreError> {
    let read = |(name, row): (&String, &Excluded)| Ok((exclusion_in(name)?, row.count));
    let excluded: Result<Vec<(Exclusion, u64)>, StoreError> = excluded(account, id).map(read).collect();
    let mut excluded = excluded?;
    excluded.sort();
    let mut outcomes = BTreeMap::new();
    for (_, row) in of(account, id) {
        *outcomes.entry(row.outcome).or_default() += row.count;
    }
    let arms = occurrence::arms(account, id).map(|arm| Arm {
        name: arm.row.name.clone(),
        unit: arm.row.unit.clone(),
        friends: arm.count,
    });
    Ok(Tally { excluded, outcomes, arms: arms.collect() })
}

/// Past sends by effective instant, page by page.
pub(super) fn sent(account: &Account, filter: &SentFilter) -> Result<Vec<Vec<Sent>>, StoreError> {
    let rows = account.deliveries.rows().map(|(_, row)| row);
    let found: Vec<&SentCells> = match filter {
        SentFilter::Since(since) => {
            let counts =
                |row: &&Delivery| row.counted != Counted::No && row.sent.effective_at >= since.as_millis();
            let mut rows: Vec<&Delivery> = rows.filter(counts).collect();
            rows.sort_by_key(|row| (row.sent.effective_at, row.sent.occurrence, row.number));
            rows.iter().map(|row| &row.sent).collect()
        }
        SentFilter::Unmerged { campaign, before } => {
            let counts = |row: &&Delivery| {
                row.counted == Counted::Yes
                    && row.sent.campaign == campaign.as_str()
                    && row.sent.effective_at < before.as_millis()
            };
            let mut rows: Vec<&Delivery> = rows.filter(counts).collect();
            rows.sort_by_key(|row| (row.sent.effective_at, row.number));
            rows.iter().map(|row| &row.sent).collect()
        }
    };
    pages(found)
}

fn pages(found: Vec<&SentCells>) -> Result<Vec<Vec<Sent>>, StoreError> {
    let (mut pages, mut page, mut bytes) = (Vec::new(), Vec::new(), 0);
    for cells in found {
        bytes += cells.friends.len();
        page.push(cells.clone().read()?);
        if page.len() >= PAGE || bytes >= PAGE_BYTES {
            bytes = 0;
            pages.push(std::mem::take(&mut page));
        }
    }
    if !page.is_empty() {
        pages.push(page);
    }
    Ok(pages)
}

pub(super) fn received(account: &Account, campaign: &CampaignSlug) -> RoaringBitmap {
    account.received.get(&campaign.as_str().to_owned()).cloned().unwrap_or_default()
}

/// Adds friends to those who ever received a campaign.
pub(super) fn merge(account: &mut Account, campaign: String, friends: RoaringBitmap) {
    let before = account.received.get(&campaign).cloned().unwrap_or_default();
    account.received.set(campaign, before | friends);
}
