//! The writes of an owner's transaction, in order.

use super::data::Data;
use super::occurrence::Move;
use super::{
    account, checkpoint, delivery, drip, erasure, inbox, lease, occurrence, outbox, people, prune, sending,
};
use crate::domain::time::Instant;
use crate::store::{Fence, StoreError, Write};

/// One write.
pub(super) fn apply(data: &mut Data, fence: &Fence, now: Instant, write: &Write) -> Result<(), StoreError> {
    let id = fence.account;
    match write {
        Write::Entries(entries) => people::append(data, id, entries)?,
        Write::Fold { friends, folded_seq } => people::fold(data, id, friends, *folded_seq)?,
        Write::Grace => account::change(data, id, |row| row.grace_from = Some(now)),
        Write::Stopped(halt) => {
            let halt = account::stored(halt.as_ref())?;
            account::change(data, id, |row| row.stopped = halt);
        }
        Write::AccountPaused(halt) => {
            let halt = account::stored(halt.as_ref())?;
            account::change(data, id, |row| row.paused = halt);
        }
        Write::ClockAccepted => lease::accept_clock(data, id, now),
        Write::Prune(kind) => prune::prune(data, fence, kind)?,
        Write::Strays(strays) => inbox::keep_strays(data.of_mut(id), now, strays)?,
        Write::Deliveries { occurrence, sets } => delivery::set(data.of_mut(id), *occurrence, sets)?,
        Write::Act(act) => sending::add_act(data.of_mut(id), act),
        _ => apply_own(data, fence, now, write)?,
    }
    Ok(())
}

/// The writes that touch nothing but rows of the account.
fn apply_own(data: &mut Data, fence: &Fence, now: Instant, write: &Write) -> Result<(), StoreError> {
    let (own, _) = data.of_mut(fence.account);
    match write {
        Write::Known(ids) => inbox::remember(own, ids, now)?,
        Write::ConsumeInbox(rows) => inbox::consume(own, rows)?,
        Write::ForgetStrays(upto) => inbox::forget_strays(own, *upto),
        Write::Relayed(rows) => own.relays.remove_all(rows.iter().copied()),
        Write::CheckpointChunks(chunks) => checkpoint::write_chunks(own, fence, chunks),
        Write::CheckpointManifest(Some(seq)) => checkpoint::complete(own, fence, *seq),
        Write::CheckpointManifest(None) => checkpoint::forget(own),
        Write::Campaign(row) => account::set_campaign(own, row)?,
        Write::Occurrence(new) => occurrence::insert(own, new)?,
        Write::OccurrenceState { occurrence, from, to, reason, finished_at } => {
            let (occurrence, from, to) = (*occurrence, *from, *to);
            let step = Move { occurrence, from, to, reason: reason.as_ref(), finished_at: *finished_at };
            occurrence::move_on(own, step)?;
        }
        Write::Part { occurrence, part } => occurrence::set_part(own, *occurrence, *part),
        Write::Stride(row) => sending::open_stride(own, row)?,
        Write::Batches(rows) => sending::set_batches(own, rows)?,
        Write::Quota(reading) => sending::set_quota(own, reading)?,
        Write::Enrollments(rows) => drip::set_enrollments(own, rows)?,
        Write::DropEnrollments(keys) => drip::drop_enrollments(own, keys),
        Write::Deferral(row) => own.deferrals.set(row.occurrence.0, (**row).clone()),
        Write::TagExpiries(rows) => drip::set_tag_expiries(own, rows),
        Write::DropTagExpiries(keys) => drip::drop_tag_expiries(own, keys),
        Write::Outbox(rows) => outbox::set(own, rows)?,
        Write::DropOutbox(ids) => own.outbox.remove_all(ids.iter().copied()),
        Write::Erasures(erasures) => erasure::add(own, erasures),
        Write::Redact { strays, outbox } => erasure::redact(own, strays, outbox)?,
        Write::Forget(friends) => erasure::forget(own, friends),
        Write::Forgotten(friends) => erasure::forgotten(own, friends),
        // Those of `apply`.
        Write::Entries(_)
        | Write::Fold { .. }
        | Write::Grace
        | Write::Stopped(_)
        | Write::AccountPaused(_)
        | Write::ClockAccepted
        | Write::Prune(_)
        | Write::Strays(_)
        | Write::Deliveries { .. }
        | Write::Act(_) => {}
    }
    Ok(())
}
