//! Histories of friends whose journal is pruned at any moment, whose checkpoints are whole or torn, whose owners die:
//! every start finds the index that the whole history gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use haishin::audience::Index;
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::{Friend, Status};
use haishin::domain::id::{AccountId, AccountSlug, FriendId, Seq};
use haishin::domain::lookback::Lookback;
use haishin::domain::policy::Cutoffs;
use haishin::domain::sends::Sends;
use haishin::domain::time::{Instant, Span};
use haishin::engine::retention::Pruner;
use haishin::engine::state::State;
use haishin::store::{CheckpointChunk, Claim, Fence, Priority, Write};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rstest::rstest;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::{prune, reading};
use crate::segments_oracle::{Account, draw};
use crate::support::store::{Database, TestStore};

/// Every way to lose a checkpoint.
const TEARS: [&str; 4] = [
    "UPDATE checkpoint_chunk SET data = $1 WHERE kind = 'friends'",
    "UPDATE checkpoint_chunk SET data = $1 WHERE kind = 'directory'",
    "DELETE FROM checkpoint_chunk WHERE kind = 'users' OR data = $1",
    "DELETE FROM checkpoint_manifest WHERE $1 IS NOT NULL",
];

struct History<'t> {
    test: &'t TestStore,
    database: Database,
    id: AccountId,
    fence: Fence,
    drawn: Account,
    /// Entries that are in the journal, or were.
    appended: usize,
    folded: Seq,
    checkpoint: Seq,
    index: Index,
    pruner: Pruner,
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    slices: usize,
    starts: usize,
    torn: usize,
    pruned_entries: usize,
}

impl<'t> History<'t> {
    async fn new(test: &'t TestStore, database: Database, number: u64, rng: &mut StdRng) -> Self {
        let slug = AccountSlug::parse(&format!("a{number}")).unwrap();
        let drawn = Account::draw(rng);
        let id = test.store.ensure_account(&slug, slug.as_str(), drawn.now).await.unwrap();
        let fence = claim(test, id, &drawn).await;
        Self {
            test,
            database,
            id,
            fence,
            drawn,
            appended: 0,
            folded: Seq(0),
            checkpoint: Seq(0),
            index: Index::new(),
            pruner: Pruner::default(),
            seen: Seen::default(),
        }
    }

    async fn commit(&mut self, writes: Vec<Write>) {
        let (store, now) = (&self.test.store, self.drawn.now);
        store.commit(&mut self.fence, now, Priority::Fold, writes).await.unwrap();
    }

    async fn append(&mut self, some: usize) {
        let upto = (self.appended + some).min(self.drawn.entries.len());
        let entries = self.drawn.entries[self.appended..upto].to_vec();
        if entries.is_empty() {
            return;
        }
        self.commit(vec![Write::Entries(entries.clone())]).await;
        entries.iter().for_each(|entry| self.index.apply(entry));
        self.appended = upto;
    }

    async fn fold(&mut self, some: u32) {
        let entries = self.test.store.entries(self.id, self.folded, some).await.unwrap();
        let Some(last) = entries.last().map(|entry| entry.seq) else { return };
        let ids: Vec<FriendId> = entries.iter().map(|entry| entry.friend).collect();
        let rows = self.test.store.friends_by_id(self.id, &ids).await.unwrap();
        let mut rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.friend, row)).collect();
        for entry in &entries {
            if let Effect::Joined { user } = entry.effect {
                rows.entry(entry.friend).or_insert_with(|| Friend::new(entry.friend, user, entry.at));
            }
            if let Some(row) = rows.get_mut(&entry.friend) {
                row.apply(entry);
            }
        }
        self.commit(vec![Write::Fold { friends: rows.into_values().collect(), folded_seq: last }]).await;
        self.folded = last;
    }

    /// A checkpoint while the journal goes on, and perhaps its owner dies before it is complete.
    async fn write_checkpoint(&mut self, rng: &mut StdRng) {
        let mut run = self.index.begin_checkpoint();
        let dies = rng.random_bool(0.2);
        while let Some(rows) = self.index.checkpoint_rows(&mut run) {
            let chunk = |row: haishin::audience::CheckpointRow| CheckpointChunk {
                kind: row.kind,
                key: row.key,
                chunk: row.chunk,
                seq: row.seq,
                checksum: row.checksum,
                data: row.data,
            };
            self.commit(vec![Write::CheckpointChunks(rows.into_iter().map(chunk).collect())]).await;
            if rng.random_bool(0.2) {
                self.append(rng.random_range(1..4)).await;
            }
            if dies && rng.random_bool(0.1) {
                return self.start(None, rng).await;
            }
        }
        self.commit(vec![Write::CheckpointManifest(Some(run.seq()))]).await;
        self.checkpoint = run.seq();
    }

    async fn prune(&mut self) {
        let facts = (self.checkpoint, Cutoffs::default(), self.drawn.now);
        let slices = prune(&*self.test.store, self.id, &mut self.fence, &mut self.pruner, facts).await;
        self.seen.slices += slices;
        // Rows and checkpoint both hold it: it must be gone.
        let upto = self.folded.min(self.checkpoint);
        let left = self.test.store.entries(self.id, Seq(0), u32::MAX).await.unwrap();
        assert!(left.iter().all(|entry| entry.effect.is_event() || entry.seq > upto), "up to {upto:?}");
        self.seen.pruned_entries = self.appended - left.len();
    }

    async fn tear(&self, how: &'static str) {
        let data: &[u8] = &[1];
        match self.database {
            Database::Sqlite => {
                let mut conn = SqliteConnection::connect(&self.test.url).await.unwrap();
                sqlx::query(how).bind(data).execute(&mut conn).await.unwrap();
            }
            Database::Memory => unreachable!("a store in memory takes no SQL"),
            Database::Postgres => {
                let mut conn = PgConnection::connect(&self.test.url).await.unwrap();
                sqlx::query(how).bind(data).execute(&mut conn).await.unwrap();
            }
        }
    }

    /// Another process takes over, perhaps with a torn checkpoint, and finds what the whole history gives.
    async fn start(&mut self, tear: Option<&'static str>, rng: &mut StdRng) {
        if let Some(how) = tear {
            self.tear(how).await;
        }
        self.fence = claim(self.test, self.id, &self.drawn).await;
        let (store, lookback, clock) = (&*self.test.store, Lookback::default(), reading(self.drawn.now));
        let state = State::load(store, self.id, &lookback, &clock, None).await.unwrap();
        let torn = tear.is_some() || self.checkpoint == Seq(0);
        assert_eq!(state.checkpoint, if torn { Seq(0) } else { self.checkpoint });
        assert_eq!(state.row.folded_seq, self.folded);
        let mut whole = Index::new();
        self.drawn.entries[..self.appended].iter().for_each(|entry| whole.apply(entry));
        self.compare(&state.index, &whole, rng);
        self.checkpoint = state.checkpoint;
        self.index = Arc::unwrap_or_clone(state.index);
        self.pruner = Pruner::default();
        self.seen.starts += 1;
        self.seen.torn += usize::from(tear.is_some());
    }

    fn compare(&self, found: &Index, whole: &Index, rng: &mut StdRng) {
        let now = self.drawn.now;
        let sets = |index: &Index| {
            let sets = [index.everybody(), index.following(), index.erased(), index.quarantined()];
            let tags = draw::tags().into_iter().map(|tag| index.tagged(&tag, now + Span::from_days(99)));
            sets.into_iter().cloned().chain(tags).collect::<Vec<_>>()
        };
        assert_eq!(sets(found), sets(whole));
        assert_eq!((found.next_friend(), found.len()), (whole.next_friend(), whole.len()));
        for friend in (0..whole.next_friend().0).map(FriendId).skip_while(|id| whole.user(*id).is_none()) {
            assert_eq!(found.user(friend), whole.user(friend));
            assert_eq!(found.external_id(friend), whole.external_id(friend));
            if let Some(user) = whole.user(friend) {
                assert_eq!(found.friend_of(user), Some(friend));
            }
        }
        let sends = Sends::default();
        for _ in 0..12 {
            let (rule, at) = (draw::rule(rng, now, 2), now + draw::nudge(rng));
            let of = |index: &Index| index.evaluate(&rule, &self.drawn.segments, &sends, at).unwrap();
            assert_eq!(of(found), of(whole), "{rule:?} at {at}");
            if self.appended == self.drawn.entries.len() {
                assert_eq!(
                    of(found).iter().collect::<std::collections::BTreeSet<_>>(),
                    self.drawn.expected(&rule, at)
                );
            }
        }
    }

    async fn live(&mut self, rng: &mut StdRng) {
        while self.appended < self.drawn.entries.len() {
            match rng.random_range(0..12) {
                0..5 => self.append(rng.random_range(1..60)).await,
                5..8 => self.fold(rng.random_range(1..80)).await,
                8 => self.write_checkpoint(rng).await,
                9 | 10 => self.prune().await,
                _ if rng.random_bool(0.3) => {
                    let how = TEARS[rng.random_range(0..TEARS.len())];
                    self.start(Some(how), rng).await;
                }
                _ => self.start(None, rng).await,
            }
        }
        self.fold(u32::MAX).await;
        self.write_checkpoint(rng).await;
        self.prune().await;
        self.start(None, rng).await;
        for how in TEARS {
            self.start(Some(how), rng).await;
            self.write_checkpoint(rng).await;
        }
    }
}

async fn claim(test: &TestStore, id: AccountId, drawn: &Account) -> Fence {
    match test.store.claim(id, "n", drawn.now, Span::from_secs(10)).await.unwrap() {
        Claim::Granted { fence, .. } => fence,
        Claim::Held { .. } => panic!("held"),
    }
}

/// States go as soon as they may; old events are looked for once a day, from the beginning.
#[tokio::test]
async fn old_events_are_swept_once_a_day() {
    let test = TestStore::new(Database::Sqlite).await;
    let start = Instant::from_millis(1_796_000_000_000);
    let id = test.store.ensure_account(&AccountSlug::parse("a").unwrap(), "1", start).await.unwrap();
    let Claim::Granted { mut fence, .. } =
        test.store.claim(id, "n", start, Span::from_secs(10)).await.unwrap()
    else {
        panic!("held")
    };
    let event = |seq: i64, hours: i64| {
        let effect =
            Effect::Event { name: "visit".parse().unwrap(), event_id: None, properties: BTreeMap::new() };
        Entry { seq: Seq(seq), friend: FriendId(0), at: start + Span::from_hours(hours), effect }
    };
    let state = |seq: i64| {
        let effect = Effect::Status { status: Status::Blocked, followed_at: None };
        Entry { seq: Seq(seq), friend: FriendId(0), at: start, effect }
    };
    let mut pruner = Pruner::default();
    // Kept for ten hours; rows and checkpoint hold everything.
    for (hours, entries, left) in [
        (12, vec![event(1, 0), state(2), event(3, 5)], vec![3]),
        (30, vec![event(4, 1), state(5), event(6, 29)], vec![3, 6]),
        (35, vec![event(7, 1)], vec![3, 6]),
        (37, vec![event(8, 36), state(9)], vec![6, 8]),
    ] {
        let (now, last) = (start + Span::from_hours(hours), entries.last().map(|entry| entry.seq).unwrap());
        let writes = vec![Write::Entries(entries), Write::Fold { friends: Vec::new(), folded_seq: last }];
        test.store.commit(&mut fence, now, Priority::Fold, writes).await.unwrap();
        let cutoffs = Cutoffs { events: Some(now - Span::from_hours(10)), ..Cutoffs::default() };
        prune(&*test.store, id, &mut fence, &mut pruner, (last, cutoffs, now)).await;
        let found = test.store.entries(id, Seq(0), 99).await.unwrap();
        assert_eq!(found.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), left, "at {hours} h");
    }
}

#[rstest]
#[case::sqlite(Database::Sqlite, 24)]
#[case::postgres(Database::Postgres, 6)]
#[tokio::test]
async fn every_start_finds_what_the_unpruned_history_gives(
    #[case] database: Database,
    #[case] histories: u64,
) {
    let test = TestStore::new(database).await;
    let mut all = Seen::default();
    for number in 0..histories {
        let mut rng = StdRng::seed_from_u64(0x9009_0000 + number);
        let mut history = History::new(&test, database, number, &mut rng).await;
        history.live(&mut rng).await;
        let Seen { slices, starts, torn, pruned_entries } = history.seen;
        all.slices += slices;
        all.starts += starts;
        all.torn += torn;
        all.pruned_entries += pruned_entries;
    }
    println!("{histories} histories: {all:?}");
    let histories = usize::try_from(histories).unwrap();
    assert!(all.starts > 5 * histories && all.torn > 4 * histories && all.slices > histories, "{all:?}");
    assert!(all.pruned_entries > 50 * histories, "{all:?}");
}
