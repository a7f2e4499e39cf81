//! The lease and its fence.

use super::data::{Data, Lease};
use crate::domain::id::AccountId;
use crate::domain::time::{Instant, Span};
use crate::store::codec::{instant, text};
use crate::store::{Claim, Fence, LeaseRow, StoreError};

pub(super) fn claim(
    data: &mut Data,
    account: AccountId,
    asker: &str,
    token: i64,
    now: Instant,
    lasts: Span,
) -> Claim {
    let asker = text(asker);
    let (seq, seen_at) = match data.leases.get(&account.0) {
        None => (0, None),
        Some(held) => {
            let expires_at = instant(held.expires_at);
            if held.token.is_some() && expires_at > now && held.holder != asker {
                return Claim::Held { holder: held.holder.clone(), expires_at };
            }
            (held.seq, held.seen_at)
        }
    };
    let lease = Lease {
        token: Some(token),
        seq: seq + 1,
        holder: asker.into_owned(),
        expires_at: (now + lasts).as_millis(),
        seen_at: Some(latest(seen_at, now)),
    };
    data.leases.set(account.0, lease);
    Claim::Granted { fence: Fence { account, token, seq: seq + 1 }, seen_at: seen_at.map(instant) }
}

/// The latest instant seen never goes back.
fn latest(seen_at: Option<i64>, now: Instant) -> i64 {
    seen_at.map_or(now.as_millis(), |seen| seen.max(now.as_millis()))
}

/// The first step of every owner's transaction: whoever finds nothing to advance is no owner any more.
pub(super) fn advance(data: &mut Data, fence: &Fence, now: Instant) -> Result<(), StoreError> {
    let ours = |lease: &Lease| lease.token == Some(fence.token) && lease.seq == fence.seq;
    if !data.leases.get(&fence.account.0).is_some_and(ours) {
        return Err(StoreError::Fenced { account: fence.account.0 });
    }
    change(data, fence.account, |lease| {
        lease.seq += 1;
        lease.seen_at = Some(latest(lease.seen_at, now));
    });
    Ok(())
}

fn change(data: &mut Data, account: AccountId, change: impl FnOnce(&mut Lease)) {
    data.leases.change(&account.0, change);
}

pub(super) fn renew(data: &mut Data, fence: &Fence, now: Instant, lasts: Span) -> Result<(), StoreError> {
    advance(data, fence, now)?;
    change(data, fence.account, |lease| lease.expires_at = (now + lasts).as_millis());
    Ok(())
}

pub(super) fn accept_clock(data: &mut Data, account: AccountId, now: Instant) {
    change(data, account, |lease| lease.seen_at = Some(now.as_millis()));
}

pub(super) fn release(data: &mut Data, fence: &Fence, now: Instant) -> Result<(), StoreError> {
    advance(data, fence, now)?;
    change(data, fence.account, |lease| {
        lease.token = None;
        lease.expires_at = now.as_millis();
    });
    Ok(())
}

pub(super) fn read(data: &Data, account: AccountId) -> Option<LeaseRow> {
    let lease = data.leases.get(&account.0)?;
    Some(LeaseRow {
        holder: lease.holder.clone(),
        expires_at: instant(lease.expires_at),
        seq: lease.seq,
        seen_at: instant(lease.seen_at?),
    })
}
