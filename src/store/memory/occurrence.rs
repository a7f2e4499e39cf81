//! Occurrences with everything their freeze fixes.

use std::cmp::Reverse;

use super::data::{Account, Excluded, Kept, Occurrence, Once, Variant};
use super::{at_most, taken};
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{CampaignSlug, OccurrenceId};
use crate::domain::reason::Reason;
use crate::domain::time::Instant;
use crate::store::codec::{
    OccurrenceCells, PartedOccurrence, corrupt, gather, reason_cell, text, text_or_none,
};
use crate::store::{
    ExcludedSet, NewOccurrence, OccurrenceFilter, OccurrenceRow, Part, StoreError, VariantRow,
};

const FREEZING: &str = "write an occurrence";

/// What may be there once.
pub(super) fn once(cells: &OccurrenceCells) -> Once {
    let (campaign, step, kind) = (&cells.campaign, &cells.step, &cells.run_kind);
    (campaign.clone(), step.clone(), cells.due_at, kind.clone(), cells.run_number, cells.child)
}

pub(super) fn insert(account: &mut Account, new: &NewOccurrence) -> Result<(), StoreError> {
    let cells = OccurrenceCells::of(&new.row)?;
    let (id, once) = (cells.id, once(&cells));
    let row = Occurrence { cells, kept: Kept::All };
    if !account.occurrences.add(id, row) || !account.once.add(once, ()) {
        return Err(taken(FREEZING));
    }
    for part in &new.row.parts {
        set_part(account, new.row.id, *part);
    }
    for variant in &new.variants {
        insert_variant(account, id, variant)?;
    }
    new.sets.iter().try_for_each(|set| exclude(account, id, set))
}

fn insert_variant(account: &mut Account, occurrence: i64, variant: &VariantRow) -> Result<(), StoreError> {
    let unit = text_or_none(variant.unit.as_ref()).map(Into::into);
    let row = Variant { count: variant.recipients.len(), row: VariantRow { unit, ..variant.clone() } };
    if account.variants.add((occurrence, variant.position), row) { Ok(()) } else { Err(taken(FREEZING)) }
}

fn exclude(account: &mut Account, occurrence: i64, set: &ExcludedSet) -> Result<(), StoreError> {
    let name = text(&set.exclusion.key()).into_owned();
    let row = Excluded { count: set.friends.len(), friends: set.friends.clone() };
    if account.exclusions.add((occurrence, name), row) {
        return Ok(());
    }
    Err(taken("write an occurrence's exclusions"))
}

pub(super) fn set_part(account: &mut Account, occurrence: OccurrenceId, part: Part) {
    account.parts.set((occurrence.0, part.effective_at.as_millis()), part.from_batch);
}

/// An occurrence's next state, if it stands where the owner believes.
pub(super) struct Move<'a> {
    pub(super) occurrence: OccurrenceId,
    pub(super) from: OccurrenceState,
    pub(super) to: OccurrenceState,
    pub(super) reason: Option<&'a Reason>,
    pub(super) finished_at: Option<Instant>,
}

pub(super) fn move_on(account: &mut Account, step: Move<'_>) -> Result<(), StoreError> {
    let reason = reason_cell(step.reason)?;
    let state = account.occurrences.get(&step.occurrence.0).map(|row| row.cells.state.as_str());
    if state != Some(step.from.as_str()) {
        let stands = state.map_or_else(|| "does not exist".to_owned(), |state| format!("is `{state}`"));
        let why = format!("it {stands}, not `{}`", step.from.as_str());
        return Err(corrupt(format!("occurrence {}", step.occurrence), why));
    }
    account.occurrences.change(&step.occurrence.0, |row| {
        row.cells.state = step.to.as_str().to_owned();
        row.cells.reason = reason;
        row.cells.finished_at = step.finished_at.map(Instant::as_millis).or(row.cells.finished_at);
    });
    Ok(())
}

/// Those of which `which` holds, newest due first, without their parts.
fn newest(account: &Account, which: impl Fn(&OccurrenceCells) -> bool) -> Vec<&OccurrenceCells> {
    let rows = account.occurrences.rows().map(|(_, row)| &row.cells).filter(|cells| which(cells));
    let mut rows: Vec<&OccurrenceCells> = rows.collect();
    rows.sort_by_key(|cells| Reverse((cells.due_at, cells.id)));
    rows
}

/// Occurrences with their parts by effective instant.
fn with_parts(account: &Account, rows: &[&OccurrenceCells]) -> Result<Vec<OccurrenceRow>, StoreError> {
    let mut parted = Vec::new();
    for cells in rows {
        let parts = account.parts.from((cells.id, i64::MIN)).take_while(|((of, _), _)| *of == cells.id);
        let before = parted.len();
        for ((_, effective_at), from_batch) in parts {
            parted.push(PartedOccurrence {
                occurrence: (*cells).clone(),
                from_batch: Some((*from_batch).into()),
                effective_at: Some(*effective_at),
            });
        }
        if parted.len() == before {
            let occurrence = (*cells).clone();
            parted.push(PartedOccurrence { occurrence, from_batch: None, effective_at: None });
        }
    }
    gather(parted)
}

pub(super) fn occurrences(
    account: &Account,
    filter: &OccurrenceFilter,
) -> Result<Vec<OccurrenceRow>, StoreError> {
    let rows = match filter {
        OccurrenceFilter::Open => newest(account, |cells| cells.finished_at.is_none()),
        OccurrenceFilter::Id(id) => {
            account.occurrences.get(&id.0).map(|row| &row.cells).into_iter().collect()
        }
        OccurrenceFilter::Newest { campaign, limit } => {
            let of = |cells: &OccurrenceCells| {
                campaign.as_ref().is_none_or(|campaign| campaign.as_str() == cells.campaign)
            };
            let mut rows = newest(account, of);
            rows.truncate(at_most(*limit));
            rows
        }
    };
    with_parts(account, &rows)
}

pub(super) fn last(account: &Account) -> OccurrenceId {
    OccurrenceId(account.occurrences.last().copied().unwrap_or(0))
}

pub(super) fn last_run(
    account: &Account,
    campaign: &CampaignSlug,
    run: u32,
) -> Result<Option<OccurrenceRow>, StoreError> {
    let mut rows = newest(account, |cells| {
        cells.campaign == campaign.as_str()
            && cells.run_kind == "scheduled"
            && cells.run_number >= i64::from(run)
    });
    rows.truncate(1);
    Ok(with_parts(account, &rows)?.into_iter().next())
}

/// An occurrence's arms, in the order of the file.
pub(super) fn arms(account: &Account, occurrence: OccurrenceId) -> impl Iterator<Item = &Variant> {
    let rows = account.variants.from((occurrence.0, 0));
    rows.take_while(move |((of, _), _)| *of == occurrence.0).map(|(_, row)| row)
}

pub(super) fn variants(account: &Account, occurrence: OccurrenceId) -> Vec<VariantRow> {
    arms(account, occurrence).map(|arm| arm.row.clone()).collect()
}
