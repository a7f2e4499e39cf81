//! From the inbox to the journal, and from the journal to friend rows: in bounded slices.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::effect::{DedupeId, Effect, Entry, Intake};
use crate::domain::friend::Friend;
use crate::domain::id::{FriendId, Seq, UserId};
use crate::domain::time::Instant;
use crate::store::{InboxRow, Priority, StoreError, Write};

use super::Engine;

/// Inbox rows taken in one transaction.
const ROWS_A_SLICE: u32 = 16;
/// So many entries since the inbox was last empty are an import, whose events are put in their places at its end.
const BULK: usize = 1_000;
/// Changes of friends folded into their rows in one transaction.
const FOLD_A_SLICE: u32 = 1_000;

impl Engine {
    /// Applies one slice of the inbox: entries, dedupe ids and the deletion of the rows in one transaction.
    pub(super) async fn apply_inbox(&mut self) -> Result<bool, StoreError> {
        let rows = self.deps.store.inbox(self.account, ROWS_A_SLICE).await?;
        if rows.is_empty() {
            self.gauge_inbox(0);
            if std::mem::take(&mut self.applied_at_a_stretch) >= BULK {
                self.state.index.settle();
            }
            return Ok(false);
        }
        let turnstile = self.deps.turnstile.clone();
        let _slice = turnstile.slice().await;
        let ids: Vec<DedupeId> = rows.iter().flat_map(|row| &row.intakes).filter_map(|i| i.dedupe).collect();
        let known =
            if ids.is_empty() { HashSet::new() } else { self.deps.store.known(self.account, &ids).await? };
        let (entries, fresh) = self.number(&rows, known);
        let mut writes = Vec::new();
        let last = entries.last().map(|entry| entry.seq);
        if !entries.is_empty() {
            writes.push(Write::Entries(entries.clone()));
        }
        if !fresh.is_empty() {
            writes.push(Write::Known { kind: "event".into(), ids: fresh });
        }
        writes.push(Write::ConsumeInbox(rows.iter().map(|row| row.id).collect()));
        self.commit(Priority::Fold, writes).await?;
        self.count_applied(rows.len());
        self.gauge_inbox(self.deps.store.inbox_len(self.account).await?);
        for entry in &entries {
            self.state.index.apply(entry);
        }
        self.applied_at_a_stretch += entries.len();
        if let Some(last) = last {
            self.state.row.journal_seq = last;
        }
        // There may be more: come back at once, after whoever else waits.
        let _ = self.events.try_send(super::Event::Nudge);
        Ok(true)
    }

    /// Numbers the intakes that are new, giving dense ids to users met for the first time.
    fn number(&self, rows: &[InboxRow], mut known: HashSet<DedupeId>) -> (Vec<Entry>, Vec<DedupeId>) {
        let mut numbering = Numbering {
            seq: self.state.row.journal_seq,
            next_friend: self.state.index.next_friend(),
            joined: HashMap::new(),
            entries: Vec::new(),
        };
        let mut fresh = Vec::new();
        for intake in rows.iter().flat_map(|row| &row.intakes) {
            if let Some(id) = intake.dedupe {
                if !known.insert(id) {
                    continue;
                }
                fresh.push(id);
            }
            let friend = match self.state.index.friend_of(intake.user) {
                Some(friend) => friend,
                None => numbering.friend(intake),
            };
            numbering.push(friend, intake.at, intake.effect.clone());
        }
        (numbering.entries, fresh)
    }

    /// Folds one slice of the journal into friend rows.
    pub(super) async fn fold(&mut self) -> Result<(), StoreError> {
        if self.state.row.folded_seq >= self.state.row.journal_seq {
            return Ok(());
        }
        let turnstile = self.deps.turnstile.clone();
        let _slice = turnstile.slice().await;
        let (folded, journal) = (self.state.row.folded_seq, self.state.row.journal_seq);
        let changes = self.deps.store.changes(self.account, (folded, journal), FOLD_A_SLICE).await?;
        let ids: Vec<FriendId> = {
            let mut ids: Vec<FriendId> = changes.iter().map(|entry| entry.friend).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let rows = self.deps.store.friends_by_id(self.account, &ids).await?;
        let mut rows: BTreeMap<FriendId, Friend> = rows.into_iter().map(|row| (row.friend, row)).collect();
        changes.iter().for_each(|entry| fold_one(&mut rows, entry));
        // A slice that is not full has seen every entry.
        let full = changes.last().filter(|_| changes.len() >= FOLD_A_SLICE as usize);
        let last = full.map_or(journal, |entry| entry.seq);
        let write = Write::Fold { friends: rows.into_values().collect(), folded_seq: last };
        self.commit(Priority::Fold, vec![write]).await?;
        self.state.row.folded_seq = last;
        if last < journal {
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

struct Numbering {
    seq: Seq,
    next_friend: FriendId,
    joined: HashMap<UserId, FriendId>,
    entries: Vec<Entry>,
}

impl Numbering {
    fn friend(&mut self, intake: &Intake) -> FriendId {
        if let Some(friend) = self.joined.get(&intake.user) {
            return *friend;
        }
        let friend = self.next_friend;
        self.next_friend = FriendId(friend.0.saturating_add(1));
        self.joined.insert(intake.user, friend);
        self.push(friend, intake.at, Effect::Joined { user: intake.user });
        friend
    }

    fn push(&mut self, friend: FriendId, at: Instant, effect: Effect) {
        self.seq = Seq(self.seq.0.saturating_add(1));
        self.entries.push(Entry { seq: self.seq, friend, at, effect });
    }
}
