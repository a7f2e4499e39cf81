//! Accounts and what is stored of their campaigns.

use super::data::{Account, Data};
use super::missing;
use crate::domain::id::{AccountId, AccountSlug, Seq};
use crate::store::codec::{corrupt, halt, halt_cells};
use crate::store::{AccountRow, CampaignRow, Halt, StoreError};

/// Finds or creates the row. A slug and a channel belong together for ever.
pub(super) fn ensure(data: &mut Data, slug: &AccountSlug, channel: &str) -> Result<AccountId, StoreError> {
    let find =
        |meets: &dyn Fn(&AccountRow) -> bool| data.rows.rows().map(|(_, row)| row).find(|row| meets(row));
    if let Some(row) = find(&|row| row.slug == *slug) {
        if row.channel_id == channel {
            return Ok(row.id);
        }
        return Err(StoreError::ChannelChanged {
            slug: slug.as_str().to_owned(),
            before: row.channel_id.clone(),
            now: channel.to_owned(),
        });
    }
    if let Some(row) = find(&|row| row.channel_id == channel) {
        return Err(StoreError::SlugChanged {
            slug: slug.as_str().to_owned(),
            known: row.slug.as_str().to_owned(),
            channel: channel.to_owned(),
        });
    }
    let id = AccountId(data.rows.last().copied().unwrap_or(0) + 1);
    let row = AccountRow {
        id,
        slug: slug.clone(),
        channel_id: channel.to_owned(),
        folded_seq: Seq(0),
        journal_seq: Seq(0),
        grace_from: None,
        stopped: None,
        paused: None,
    };
    data.rows.set(id.0, row);
    Ok(id)
}

pub(super) fn all(data: &Data) -> Vec<AccountRow> {
    data.rows.rows().map(|(_, row)| row.clone()).collect()
}

/// A halt as its columns keep it.
pub(super) fn stored(stands: Option<&Halt>) -> Result<Option<Halt>, StoreError> {
    let (at, by, reason) = halt_cells(stands)?;
    Ok(halt(at, by, reason))
}

/// Changes an account's row; without one nothing happens.
pub(super) fn change(data: &mut Data, account: AccountId, change: impl FnOnce(&mut AccountRow)) {
    data.rows.change(&account.0, change);
}

fn seqs(data: &Data, account: AccountId) -> Result<(Seq, Seq), StoreError> {
    let row = data.rows.get(&account.0).ok_or_else(|| missing("read an account's numbers"))?;
    Ok((row.folded_seq, row.journal_seq))
}

/// Moves the journal's end from just before `first` to `last`: what leaves no gap and no number twice.
pub(super) fn number_on(
    data: &mut Data,
    account: AccountId,
    first: Seq,
    last: Seq,
) -> Result<(), StoreError> {
    let (_, journal) = seqs(data, account)?;
    if journal.0 != first.0.saturating_sub(1) {
        let why = format!("entries from {} cannot follow entry {}", first.0, journal.0);
        return Err(corrupt("journal", why));
    }
    change(data, account, |row| row.journal_seq = last);
    Ok(())
}

/// Moves `folded_seq` forwards, never past the journal.
pub(super) fn fold_on(data: &mut Data, account: AccountId, upto: Seq) -> Result<(), StoreError> {
    let (folded, journal) = seqs(data, account)?;
    if folded > upto || journal < upto {
        let (folded, journal) = (folded.0, journal.0);
        let why =
            format!("a fold as of {} does not lie between {folded} (folded) and {journal} (journal)", upto.0);
        return Err(corrupt("account.folded_seq", why));
    }
    change(data, account, |row| row.folded_seq = upto);
    Ok(())
}

/// In the order of campaign and step.
pub(super) fn campaigns(account: &Account) -> Vec<CampaignRow> {
    account.campaigns.rows().map(|(_, row)| row.clone()).collect()
}

pub(super) fn set_campaign(account: &mut Account, row: &CampaignRow) -> Result<(), StoreError> {
    let row = CampaignRow { paused: stored(row.paused.as_ref())?, ..row.clone() };
    account.campaigns.set((row.campaign.clone(), row.step.clone()), row);
    Ok(())
}
