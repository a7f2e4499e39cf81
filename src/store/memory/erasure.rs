//! Friends who are erased and not forgotten yet, and what still names them.

use super::at_most;
use super::data::Account;
use crate::domain::id::FriendId;
use crate::domain::outbox::Request;
use crate::store::codec::{EnrollmentKey, ErasureCells, json};
use crate::store::{Erasure, Naming, StoreError};

const ENDED: &str = "ended";

pub(super) fn all(account: &Account) -> Result<Vec<Erasure>, StoreError> {
    account.erasures.rows().map(|(_, cells)| cells.clone().read()).collect()
}

pub(super) fn naming(account: &Account, place: Naming, after: i64, limit: u32) -> Vec<(i64, String)> {
    let limit = at_most(limit);
    match place {
        Naming::Strays => {
            account.strays.after(after).take(limit).map(|(id, row)| (*id, row.cells.3.clone())).collect()
        }
        Naming::Outbox => {
            account.outbox.after(after).take(limit).map(|(id, row)| (*id, row.2.clone())).collect()
        }
    }
}

/// One that is there already stays as it is.
pub(super) fn add(account: &mut Account, erasures: &[Erasure]) {
    for cells in erasures.iter().map(ErasureCells::of) {
        let _ = account.erasures.add(cells.0, cells);
    }
}

pub(super) fn redact(
    account: &mut Account,
    strays: &[i64],
    outbox: &[(i64, Option<Request>)],
) -> Result<(), StoreError> {
    account.strays.remove_all(strays.iter().copied());
    for (id, request) in outbox {
        match request {
            None => drop(account.outbox.remove(id)),
            Some(request) => {
                let payload = json("outbox.payload", request)?;
                account.outbox.change(id, |row| row.2 = payload);
            }
        }
    }
    Ok(())
}

/// Of ways that are over the counts stay.
pub(super) fn forget(account: &mut Account, friends: &[FriendId]) {
    for friend in friends.iter().map(|friend| i64::from(friend.0)) {
        let tags = account.expiries.from((friend, String::new())).map(|(key, _)| key.clone());
        let tags: Vec<(i64, String)> = tags.take_while(|(of, _)| *of == friend).collect();
        account.expiries.remove_all(tags);
        let ways = account.enrollments.rows().filter(|(key, cells)| key.1 == friend && cells.7 == ENDED);
        let ways: Vec<(EnrollmentKey, Option<String>)> =
            ways.map(|(key, cells)| (key.clone(), cells.11.clone())).collect();
        for (key, ending) in ways {
            if let Some(ending) = ending {
                let place = (key.0.clone(), ending);
                let before = account.ways_gone.get(&place).copied().unwrap_or(0);
                account.ways_gone.set(place, before + 1);
            }
            account.enrollments.remove(&key);
        }
    }
}

pub(super) fn forgotten(account: &mut Account, friends: &[FriendId]) {
    account.erasures.remove_all(friends.iter().map(|friend| friend.0.into()));
}

/// Whether a row of the journal is of somebody who is to be forgotten.
pub(super) fn is_erased(account: &Account, friend: i64) -> bool {
    account.erasures.get(&friend).is_some()
}
