//! From the inbox to the journal, and from the journal to friend rows: in bounded slices.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::audience::Index;
use crate::domain::effect::{DedupeId, Effect, Entry};
use crate::domain::friend::Friend;
use crate::domain::id::{FriendId, Seq};
use crate::store::{InboxRow, NewInbox, Priority, StoreError, Write};

use super::Engine;
use super::beside::beside;
use super::numbering::{Numbered, number};

/// Inbox rows read at a time, where they are small: webhooks, API calls. Imports end a reading by their bytes.
const ROWS_READ: u32 = 512;
/// A slice ends at so many intakes, so that its transaction holds nobody up; one row's are never divided.
const INTAKES_A_SLICE: usize = 2_000;
/// So many entries since the inbox was last empty are an import, whose events are put in their places at its end.
const BULK: usize = 1_000;
/// Changes folded into friend rows in one transaction, each perhaps of another friend.
const FOLD_A_SLICE: u32 = 2_000;
/// Journal entries looked through for them: events change no row.
const FOLD_SPAN: i64 = 20_000;

impl Engine {
    /// Applies one slice of the inbox: entries, identities, strays and the deletion of the rows in one transaction.
    /// Gives the number of rows, 0 once nothing waits.
    pub(super) async fn apply_inbox(&mut self) -> Result<u64, StoreError> {
        let rows = self.inbox_slice().await?;
        self.concerns.inbox_oldest = rows.first().map(|row| row.received_at);
        self.gauge_inbox_lag(self.concerns.inbox_oldest);
        if rows.is_empty() {
            self.gauge_inbox(0);
            if std::mem::take(&mut self.applied_at_a_stretch) >= BULK {
                self.change_index(Index::settle).await;
            }
            return Ok(0);
        }
        let turnstile = self.deps.turnstile.clone();
        let _slice = turnstile.slice().await;
        let ids: Vec<DedupeId> = rows.iter().flat_map(|row| &row.intakes).filter_map(|i| i.dedupe).collect();
        let known =
            if ids.is_empty() { HashSet::new() } else { self.deps.store.known(self.account, &ids).await? };
        let consumed: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let applied = consumed.len() as u64;
        let imported = rows.iter().any(|row| row.source == NewInbox::IMPORT).then(|| self.deps.clock.now());
        let numbered = number(rows, known, &self.state.index, self.state.row.journal_seq);
        let Numbered { entries, fresh, strays, told } = numbered;
        let last = entries.last().map(|entry| entry.seq);
        let astray = strays.len() as u64;
        let mut writes = vec![Write::ConsumeInbox(consumed)];
        if !entries.is_empty() {
            writes.push(Write::Entries(entries.clone()));
            writes.extend(self.hear_drips(&entries, |entry| told.contains(&entry.seq)));
        }
        if !fresh.is_empty() {
            writes.push(Write::Known(fresh));
        }
        if !strays.is_empty() {
            writes.push(Write::Strays(strays));
        }
        writes.extend(imported.map(|_| Write::Grace));
        let (mut cut, erasures) = self.cut_out(&entries);
        writes.extend(cut.writes());
        if !erasures.is_empty() {
            writes.push(Write::Erasures(erasures));
        }
        self.commit(Priority::Fold, writes).await?;
        self.count(&cut);
        self.state.row.grace_from = imported.or(self.state.row.grace_from);
        self.count_applied(applied);
        self.count_strays(astray);
        self.gauge_inbox(self.deps.store.inbox_len(self.account).await?);
        self.applied_at_a_stretch += entries.len();
        self.change_index(move |index| entries.iter().for_each(|entry| index.apply(entry))).await;
        if let Some(last) = last {
            self.state.row.journal_seq = last;
        }
        // There may be more: come back at once, after whoever else waits.
        let _ = self.events.try_send(super::Event::Nudge);
        Ok(applied)
    }

    /// The oldest rows, as many as one slice may hold. What was read beyond it waits for the next: nobody else
    /// consumes the account's rows.
    async fn inbox_slice(&mut self) -> Result<Vec<InboxRow>, StoreError> {
        if self.inbox.is_empty() {
            self.inbox = self.deps.store.inbox(self.account, ROWS_READ).await?.into();
        }
        let (mut rows, mut intakes) = (Vec::new(), 0);
        while let Some(row) = self.inbox.front() {
            intakes += row.intakes.len();
            if intakes > INTAKES_A_SLICE && !rows.is_empty() {
                break;
            }
            rows.extend(self.inbox.pop_front());
        }
        Ok(rows)
    }

    /// Changes the index beside the runtime: among the entries may be the one that has a column merged.
    pub(super) async fn change_index(&mut self, change: impl FnOnce(&mut Index) + Send + 'static) {
        let mut index = std::mem::take(&mut self.state.index);
        self.state.index = beside(move || {
            change(Arc::make_mut(&mut index));
            index
        })
        .await;
    }

    /// Folds one slice of the journal into friend rows.
    pub(super) async fn fold(&mut self) -> Result<(), StoreError> {
        if self.state.row.folded_seq >= self.state.row.journal_seq {
            return Ok(());
        }
        let turnstile = self.deps.turnstile.clone();
        let _slice = turnstile.slice().await;
        let folded = self.state.row.folded_seq;
        let upto = self.state.row.journal_seq.min(Seq(folded.0.saturating_add(FOLD_SPAN)));
        let changes = self.deps.store.changes(self.account, (folded, upto), FOLD_A_SLICE).await?;
        // As many as asked for: there may be more of them in the span.
        let last = match changes.last() {
            Some(last) if changes.len() == FOLD_A_SLICE as usize => last.seq,
            _ => upto,
        };
        let mut ids: Vec<FriendId> = changes.iter().map(|entry| entry.friend).collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = match ids.as_slice() {
            [] => Vec::new(),
            ids => self.deps.store.friends_by_id(self.account, ids).await?,
        };
        let mut rows: BTreeMap<FriendId, Friend> = rows.into_iter().map(|row| (row.friend, row)).collect();
        for entry in &changes {
            fold_one(&mut rows, entry);
        }
        let write = Write::Fold { friends: rows.into_values().collect(), folded_seq: last };
        self.commit(Priority::Fold, vec![write]).await?;
        self.state.row.folded_seq = last;
        if last < self.state.row.journal_seq {
            let _ = self.events.try_send(super::Event::Nudge);
        }
        Ok(())
    }
}

fn fold_one(rows: &mut BTreeMap<FriendId, Friend>, entry: &Entry) {
    if let Effect::Joined { user } = entry.effect {
        rows.entry(entry.friend).or_insert_with(|| Friend::new(entry.friend, user, entry.at));
    }
    if let Some(row) = rows.get_mut(&entry.friend) {
        row.apply(entry);
    }
}
