//! Friends on their way through drips, whom caps deferred, tags that fall off.

use std::collections::{BTreeMap, HashMap};

use super::at_most;
use super::data::Account;
use crate::domain::drip::{Ending, Enrollment};
use crate::domain::id::{CampaignSlug, FriendId, TagName};
use crate::domain::time::Instant;
use crate::store::codec::{
    EnrollmentCells, EnrollmentKey, TagExpiryCells, corrupt, count_in, ending_in, enrollment_key, instant,
    step_in,
};
use crate::store::{DeferralRow, StepTotals, StoreError, TagExpiry};

const STARTING: &str = "starting";
const ENDED: &str = "ended";

fn is_starting(cells: &EnrollmentCells) -> bool {
    cells.7 == STARTING
}

/// Of rows with the same key the last counts; a start never takes the place of a way that has begun.
pub(super) fn set_enrollments(account: &mut Account, rows: &[Enrollment]) -> Result<(), StoreError> {
    let by_key: BTreeMap<_, _> =
        rows.iter().map(|row| ((&row.drip, row.friend, row.started_at), row)).collect();
    for row in by_key.into_values() {
        let cells = EnrollmentCells::of(row)?;
        let key: EnrollmentKey = (cells.0.clone(), cells.1, cells.2);
        if !is_starting(&cells) || account.enrollments.get(&key).is_none_or(is_starting) {
            account.enrollments.set(key, cells);
        }
    }
    Ok(())
}

pub(super) fn drop_enrollments(account: &mut Account, keys: &[(CampaignSlug, FriendId, Instant)]) {
    for key in keys.iter().map(enrollment_key) {
        if account.enrollments.get(&key).is_some_and(is_starting) {
            account.enrollments.remove(&key);
        }
    }
}

pub(super) fn open_enrollments(
    account: &Account,
    after: Option<(CampaignSlug, FriendId, Instant)>,
    limit: u32,
) -> Result<Vec<Enrollment>, StoreError> {
    // No slug is empty: this stands before every key.
    let after = after.as_ref().map_or_else(Default::default, enrollment_key);
    let open = account.enrollments.after(after).map(|(_, cells)| cells).filter(|cells| cells.7 != ENDED);
    open.take(at_most(limit)).map(|cells| cells.clone().read()).collect()
}

pub(super) fn enrollments_of(account: &Account, friend: FriendId) -> Result<Vec<Enrollment>, StoreError> {
    let theirs = account.enrollments.rows().map(|(_, cells)| cells);
    let mut theirs: Vec<_> = theirs.filter(|cells| cells.1 == i64::from(friend.0)).collect();
    theirs.sort_by_key(|cells| (cells.2, &cells.0));
    theirs.into_iter().map(|cells| cells.clone().read()).collect()
}

pub(super) fn last_starts(
    account: &Account,
    drip: &CampaignSlug,
    friends: &[FriendId],
) -> HashMap<FriendId, Instant> {
    let last = |friend: &FriendId| {
        let first = (drip.as_str().to_owned(), friend.0.into(), i64::MIN);
        let theirs = account.enrollments.from(first.clone());
        let theirs = theirs.take_while(|(key, _)| key.0 == first.0 && key.1 == first.1);
        let begun = theirs.filter(|(_, cells)| !is_starting(cells)).map(|(key, _)| key.2);
        Some((*friend, instant(begun.last()?)))
    };
    friends.iter().filter_map(last).collect()
}

pub(super) fn endings(account: &Account) -> Result<Vec<(CampaignSlug, Ending, u64)>, StoreError> {
    let mut ways: BTreeMap<(&String, &String), u64> = BTreeMap::new();
    for (_, cells) in account.enrollments.rows().filter(|(_, cells)| cells.7 == ENDED) {
        if let Some(ending) = &cells.11 {
            *ways.entry((&cells.0, ending)).or_default() += 1;
        }
    }
    for ((drip, ending), gone) in account.ways_gone.rows() {
        *ways.entry((drip, ending)).or_default() += gone;
    }
    ways.into_iter()
        .map(|((drip, ending), ways)| {
            let what = format!("enrollments in drip `{drip}`");
            let ending = ending_in(&what, ending)?;
            Ok((drip.clone().try_into().map_err(|error| corrupt(what, error))?, ending, ways))
        })
        .collect()
}

pub(super) fn step_totals(account: &Account, drip: &CampaignSlug) -> Result<Vec<StepTotals>, StoreError> {
    let mut steps: BTreeMap<&String, (i64, i64, i64)> = BTreeMap::new();
    let rows = account.occurrences.rows().map(|(_, row)| &row.cells);
    for cells in rows.filter(|cells| cells.campaign == drip.as_str() && cells.run_kind == "scheduled") {
        let totals = steps.entry(&cells.step).or_default();
        *totals = (totals.0 + 1, totals.1 + cells.matched, totals.2 + cells.recipients);
    }
    for ((_, step), gone) in account.steps_gone.rows().filter(|((of, _), _)| of == drip.as_str()) {
        let totals = steps.entry(step).or_default();
        *totals = (totals.0 + gone.0, totals.1 + gone.1, totals.2 + gone.2);
    }
    steps
        .into_iter()
        .map(|(step, (occurrences, matched, recipients))| {
            let what = format!("occurrences of `{drip}`");
            Ok(StepTotals {
                step: step_in(&what, step)?,
                occurrences: count_in(&what, occurrences)?,
                matched: count_in(&what, matched)?,
                recipients: count_in(&what, recipients)?,
            })
        })
        .collect()
}

/// Those in which somebody waits.
pub(super) fn deferrals(account: &Account) -> Vec<DeferralRow> {
    let rows = account.deferrals.rows().map(|(_, row)| row);
    rows.filter(|row| !row.waiting.is_empty()).cloned().collect()
}

pub(super) fn set_tag_expiries(account: &mut Account, rows: &[TagExpiry]) {
    for cells in rows.iter().map(TagExpiryCells::of) {
        account.expiries.set((cells.0, cells.1.clone()), cells);
    }
}

pub(super) fn drop_tag_expiries(account: &mut Account, keys: &[(FriendId, TagName)]) {
    account.expiries.remove_all(keys.iter().map(|(friend, tag)| (friend.0.into(), tag.as_str().to_owned())));
}

pub(super) fn tag_expiries(
    account: &Account,
    until: Instant,
    limit: u32,
) -> Result<Vec<TagExpiry>, StoreError> {
    let due = account.expiries.rows().map(|(_, cells)| cells);
    let mut due: Vec<_> = due.filter(|cells| cells.3 <= until.as_millis()).collect();
    due.sort_by_key(|cells| (cells.3, cells.0, &cells.1));
    due.into_iter().take(at_most(limit)).map(|cells| cells.clone().read()).collect()
}

pub(super) fn first_tag_expiry(account: &Account) -> Option<Instant> {
    account.expiries.rows().map(|(_, cells)| cells.3).min().map(instant)
}
