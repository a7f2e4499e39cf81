//! The writes of an owner's transaction, in order.

use super::occurrence::Move;
use super::{
    Connection, account, bulk, checkpoint, delivery, drip, erasure, failed, forget_strays, lease, occurrence,
    outbox, prune, relayed, sending,
};
use crate::domain::effect::Entry;
use crate::domain::friend::Friend;
use crate::domain::id::{AccountId, Seq};
use crate::domain::time::Instant;
use crate::store::codec::{BatchCells, EntryCells, FriendCells, StrayCells, corrupt};
use crate::store::{Fence, StoreError, Write};

pub(super) async fn apply(
    conn: &mut Connection,
    fence: &Fence,
    now: Instant,
    write: &Write,
) -> Result<(), StoreError> {
    let id = fence.account;
    match write {
        Write::Entries(entries) => append(conn, id, entries).await,
        Write::Known(ids) => {
            bulk::insert_known(conn, id, ids, now).await.map_err(failed("remember what was applied"))
        }
        Write::ConsumeInbox(rows) => consume(conn, id, rows).await,
        Write::Strays(strays) => {
            let cells: Result<Vec<_>, _> = strays.iter().map(StrayCells::of).collect();
            bulk::insert_strays(conn, id, now, cells?).await.map_err(failed("keep what named no friend"))
        }
        Write::ForgetStrays(upto) => forget_strays(conn, id, *upto).await,
        Write::Grace => account::grace(conn, id, now).await,
        Write::Fold { friends, folded_seq } => fold(conn, id, friends, *folded_seq).await,
        Write::CheckpointChunks(chunks) => checkpoint::write_chunks(conn, fence, chunks).await,
        Write::CheckpointManifest(Some(seq)) => checkpoint::complete(conn, fence, *seq).await,
        Write::CheckpointManifest(None) => checkpoint::forget(conn, id).await,
        Write::Stopped(halt) => account::stop(conn, id, halt.as_ref()).await,
        Write::AccountPaused(halt) => account::pause(conn, id, halt.as_ref()).await,
        Write::Campaign(row) => account::set_campaign(conn, id, row).await,
        Write::Occurrence(new) => occurrence::insert(conn, id, new).await,
        Write::OccurrenceState { occurrence, from, to, reason, finished_at } => {
            let step = Move {
                occurrence: *occurrence,
                from: *from,
                to: *to,
                reason: reason.as_ref(),
                finished_at: *finished_at,
            };
            occurrence::move_on(conn, id, step).await
        }
        Write::Part { occurrence, part } => occurrence::set_part(conn, id, *occurrence, *part).await,
        Write::Stride(row) => sending::open_stride(conn, id, row).await,
        Write::Batches(rows) => {
            let cells: Result<Vec<_>, _> = rows.iter().map(BatchCells::of).collect();
            bulk::set_batches(conn, id, cells?).await.map_err(failed("write batches"))
        }
        Write::Deliveries { occurrence, sets } => delivery::set_deliveries(conn, id, *occurrence, sets).await,
        Write::Relayed(rows) => relayed(conn, id, rows).await,
        Write::Prune(kind) => prune::prune(conn, fence, kind).await,
        Write::Quota(reading) => sending::set_quota(conn, id, reading).await,
        Write::Act(act) => sending::add_act(conn, id, act).await,
        Write::ClockAccepted => lease::accept_clock(conn, id, now).await,
        Write::Enrollments(rows) => drip::set_enrollments(conn, id, rows).await,
        Write::DropEnrollments(keys) => drip::drop_enrollments(conn, id, keys).await,
        Write::Deferral(row) => drip::set_deferral(conn, id, row).await,
        Write::TagExpiries(rows) => drip::set_tag_expiries(conn, id, rows).await,
        Write::DropTagExpiries(keys) => drip::drop_tag_expiries(conn, id, keys).await,
        Write::Outbox(rows) => outbox::set_outbox(conn, id, rows).await,
        Write::DropOutbox(ids) => outbox::drop_outbox(conn, id, ids).await,
        Write::Erasures(erasures) => erasure::add(conn, id, erasures).await,
        Write::Redact { strays, outbox } => erasure::redact(conn, id, strays, outbox).await,
        Write::Forget(friends) => erasure::forget(conn, id, friends).await,
        Write::Forgotten(friends) => erasure::forgotten(conn, id, friends).await,
    }
}

async fn append(conn: &mut Connection, id: AccountId, entries: &[Entry]) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
    if entries.iter().zip(first.seq.0..).any(|(entry, expected)| entry.seq.0 != expected) {
        return Err(corrupt("journal", format!("the entries from {} on leave a gap", first.seq.0)));
    }
    account::number_on(conn, id, first.seq, last.seq).await?;
    let cells: Result<Vec<_>, _> = entries.iter().map(EntryCells::of).collect();
    bulk::insert_entries(conn, id, cells?).await.map_err(failed("append journal entries"))
}

/// A row that is not there any more was applied by somebody else: then nothing of this transaction may stand.
async fn consume(conn: &mut Connection, id: AccountId, rows: &[i64]) -> Result<(), StoreError> {
    let mut ids = rows.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let consumed = bulk::delete_inbox(conn, id, &ids).await.map_err(failed("consume inbox rows"))?;
    if usize::try_from(consumed) == Ok(ids.len()) {
        return Ok(());
    }
    Err(corrupt("inbox", format!("only {consumed} of {} rows to be consumed are there", ids.len())))
}

async fn fold(
    conn: &mut Connection,
    id: AccountId,
    friends: &[Friend],
    folded_seq: Seq,
) -> Result<(), StoreError> {
    account::fold_on(conn, id, folded_seq).await?;
    let mut friends: Vec<&Friend> = friends.iter().collect();
    // An erased friend lets go of its user id before the same user's new row takes it: ids only grow.
    friends.sort_by_key(|friend| friend.friend);
    let cells: Result<Vec<_>, _> = friends.into_iter().map(FriendCells::of).collect();
    bulk::set_friends(conn, id, cells?).await.map_err(failed("fold friends"))
}
