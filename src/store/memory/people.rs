//! Friends and the journal.

use std::collections::BTreeSet;

use super::account::{fold_on, number_on};
use super::data::{Account, Data};
use super::erasure::is_erased;
use super::{at_most, len, taken};
use crate::domain::effect::Entry;
use crate::domain::friend::Friend;
use crate::domain::id::{AccountId, FriendId, Seq};
use crate::domain::time::Instant;
use crate::store::codec::{EntryCells, FriendCells, corrupt};
use crate::store::{JournalStretch, StoreError};

pub(super) fn append(data: &mut Data, id: AccountId, entries: &[Entry]) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
    if entries.iter().zip(first.seq.0..).any(|(entry, expected)| entry.seq.0 != expected) {
        return Err(corrupt("journal", format!("the entries from {} on leave a gap", first.seq.0)));
    }
    number_on(data, id, first.seq, last.seq)?;
    let (account, _) = data.of_mut(id);
    for entry in entries {
        if !account.journal.add(entry.seq.0, EntryCells::of(entry)?) {
            return Err(taken("append journal entries"));
        }
    }
    Ok(())
}

pub(super) fn fold(
    data: &mut Data,
    id: AccountId,
    friends: &[Friend],
    folded_seq: Seq,
) -> Result<(), StoreError> {
    fold_on(data, id, folded_seq)?;
    let mut friends: Vec<&Friend> = friends.iter().collect();
    // An erased friend lets go of its user id before the same user's new row takes it: ids only grow.
    friends.sort_by_key(|friend| friend.friend);
    let (account, _) = data.of_mut(id);
    friends.into_iter().try_for_each(|friend| set_friend(account, FriendCells::of(friend)?))
}

/// A user id belongs to one friend that is not erased.
fn set_friend(account: &mut Account, row: FriendCells) -> Result<(), StoreError> {
    let (friend, user) = (row.0, user_of(&row).cloned());
    let owner = user.as_ref().and_then(|user| account.users.get(user));
    if owner.is_some_and(|owner| *owner != friend) {
        return Err(taken("fold friends"));
    }
    if let Some(before) = account.friends.get(&friend).and_then(user_of).cloned() {
        account.users.remove(&before);
    }
    if let Some(user) = user {
        account.users.set(user, friend);
    }
    account.friends.set(friend, row);
    Ok(())
}

/// The user id that nobody else may have.
fn user_of(row: &FriendCells) -> Option<&String> {
    row.1.as_ref().filter(|_| row.8.is_none())
}

pub(super) fn friends(
    account: &Account,
    after: Option<FriendId>,
    limit: u32,
) -> Result<Vec<Friend>, StoreError> {
    let after = after.map_or(-1, |friend| i64::from(friend.0));
    account.friends.after(after).take(at_most(limit)).map(|(_, row)| row.clone().read()).collect()
}

/// In the order of their ids, each once.
pub(super) fn friends_by_id(account: &Account, ids: &[FriendId]) -> Result<Vec<Friend>, StoreError> {
    let ids: BTreeSet<i64> = ids.iter().map(|id| id.0.into()).collect();
    ids.iter().filter_map(|id| account.friends.get(id)).map(|row| row.clone().read()).collect()
}

/// Whether a row of the journal is an event.
pub(super) fn is_event(row: &EntryCells) -> bool {
    row.3 == "event"
}

/// The rows of `(after, upto]`.
pub(super) fn stretch(account: &Account, (after, upto): (Seq, Seq)) -> impl Iterator<Item = &EntryCells> {
    let rows = account.journal.after(after.0).take_while(move |(seq, _)| **seq <= upto.0);
    rows.map(|(_, row)| row)
}

/// The rows of a range of which `which` holds, at most `limit`.
pub(super) fn entries(
    account: &Account,
    range: (Seq, Seq),
    limit: u32,
    which: impl Fn(&EntryCells) -> bool,
) -> Result<Vec<Entry>, StoreError> {
    let rows = stretch(account, range).filter(|row| which(row));
    rows.take(at_most(limit)).map(|row| row.clone().read()).collect()
}

/// Whether a row goes when its stretch is pruned.
pub(super) fn is_prunable(account: &Account, row: &EntryCells, events_before: Option<Instant>) -> bool {
    let is_old = row.2 < events_before.unwrap_or(Instant::MIN).as_millis();
    !is_event(row) || is_old || is_erased(account, row.1)
}

pub(super) fn journal_stretch(
    account: &Account,
    range: (Seq, Seq),
    events_before: Option<Instant>,
    limit: u32,
) -> Option<JournalStretch> {
    let rows: Vec<&EntryCells> = stretch(account, range).take(at_most(limit)).collect();
    let prunable = rows.iter().filter(|row| is_prunable(account, row, events_before)).count();
    Some(JournalStretch { last: Seq(rows.last()?.0), prunable: len(prunable) })
}
