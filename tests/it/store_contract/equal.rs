//! The store in memory is the store on SQLite: drawn histories are told to both, and after every step both tell the
//! same.

mod draw;
mod look;

use std::collections::HashSet;
use std::mem::Discriminant;
use std::sync::Arc;

use haishin::domain::id::AccountId;
use haishin::domain::time::{Instant, Span};
use haishin::store::{Claim, Fence, NewVersion, Priority, Store, StoreError, Write};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{T0, TEN};
use crate::support::store::{Database, TestStore};

const HISTORIES: u8 = 24;
const STEPS: usize = 60;
/// Kinds of writes there are.
const KINDS: usize = 34;
/// Accounts that are spoken of; not all of them ever have a row.
const ACCOUNTS: [AccountId; 3] = [AccountId(1), AccountId(2), AccountId(9)];

/// One database twice, through two handles on each, as two processes have them.
struct Pair {
    memory: [Arc<dyn Store>; 2],
    sqlite: [Arc<dyn Store>; 2],
    _tests: [TestStore; 2],
}

impl Pair {
    async fn new() -> Self {
        let tests = [TestStore::new(Database::Memory).await, TestStore::new(Database::Sqlite).await];
        let [memory, sqlite] = &tests;
        Self {
            memory: [Arc::clone(&memory.store), memory.reopen().await],
            sqlite: [Arc::clone(&sqlite.store), sqlite.reopen().await],
            _tests: tests,
        }
    }
}

/// What a call came to, as a caller may depend on it.
fn told<T>(result: Result<T, StoreError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// Makes a call on both, through one handle each; both come to the same.
macro_rules! both {
    ($history:expr, |$store:ident| $call:expr) => {{
        let handle = $history.draw(0_usize..2);
        let $store = &*$history.pair.memory[handle];
        let memory = crate::store_contract::equal::told($call.await);
        let $store = &*$history.pair.sqlite[handle];
        let sqlite = crate::store_contract::equal::told($call.await);
        assert_eq!(memory, sqlite, "{} says: {}", $history.place(), stringify!($call));
    }};
}
use both;

/// The right to write, as each of the two knows it.
#[derive(Debug, Clone)]
struct Fences {
    memory: Fence,
    sqlite: Fence,
}

struct History {
    pair: Pair,
    runner: TestRunner,
    seed: u8,
    step: usize,
    /// What the last step was.
    what: String,
    /// What the last commit wrote.
    writes: Vec<Write>,
    now: Instant,
    /// Every right that was ever granted, those that have ended included.
    fences: Vec<Fences>,
    committed: usize,
    refused: usize,
    /// The kinds of writes that stood.
    stood: HashSet<Discriminant<Write>>,
}

impl History {
    async fn new(seed: u8) -> Self {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        Self {
            pair: Pair::new().await,
            runner: TestRunner::new_with_rng(Config::default(), rng),
            seed,
            step: 0,
            what: String::new(),
            writes: Vec::new(),
            now: T0,
            fences: Vec::new(),
            committed: 0,
            refused: 0,
            stood: HashSet::new(),
        }
    }

    fn draw<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.draw(0..n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.draw(0..from.len())].clone()
    }

    fn place(&self) -> String {
        let Self { seed, step, what, .. } = self;
        let writes = if what.starts_with("commit") { format!(": {:?}", self.writes) } else { String::new() };
        format!("history {seed}, after step {step} ({what}{writes})")
    }

    /// Mostly forwards, sometimes a leap, sometimes back.
    fn tick(&mut self) {
        let by = match self.draw(0..20) {
            0 => Span::from_days(1),
            1 => Span::from_millis(-3_000),
            2..10 => Span::from_millis(1),
            _ => Span::from_secs(4),
        };
        self.now = self.now + by;
    }

    async fn step(&mut self) {
        self.tick();
        match self.draw(0..30) {
            0 => self.account().await,
            1..4 => self.claim().await,
            4 => self.renew().await,
            5 => self.release().await,
            6..9 => self.append().await,
            9 => self.append_once().await,
            10 => self.tokens().await,
            11 => self.activate().await,
            _ => self.commit().await,
        }
    }

    async fn account(&mut self) {
        self.what = "ensure an account".to_owned();
        let (slug, channel) = (self.pick(&["a", "b", "こはる"]), self.pick(&["100", "200", "300"]));
        let (slug, now) = (slug.parse().unwrap(), self.now);
        both!(self, |store| store.ensure_account(&slug, channel, now));
    }

    async fn claim(&mut self) {
        self.what = "claim".to_owned();
        let account = if self.one_in(3) { self.pick(&ACCOUNTS) } else { ACCOUNTS[0] };
        let (holder, now) = (self.pick(&["node-1", "node-1", "node-2", "nul \0 inside"]), self.now);
        let memory = self.pair.memory[0].claim(account, holder, now, TEN).await.unwrap();
        let sqlite = self.pair.sqlite[0].claim(account, holder, now, TEN).await.unwrap();
        match (memory, sqlite) {
            (Claim::Granted { fence: memory, seen_at }, Claim::Granted { fence: sqlite, seen_at: same }) => {
                assert_eq!((memory.seq, seen_at), (sqlite.seq, same), "{}", self.place());
                self.fences.push(Fences { memory, sqlite });
            }
            (memory, sqlite) => assert_eq!(memory, sqlite, "{}", self.place()),
        }
    }

    /// Mostly the newest right.
    fn right(&mut self) -> Option<usize> {
        let newest = self.fences.len().checked_sub(1)?;
        Some(if self.one_in(8) { self.draw(0..=newest) } else { newest })
    }

    /// Both come to the same, and so do the rights.
    fn settle(&mut self, right: usize, now: Fences, results: [Result<(), StoreError>; 2]) -> bool {
        let [memory, sqlite] = results.map(told);
        assert_eq!(memory, sqlite, "{}", self.place());
        assert_eq!(now.memory.seq, now.sqlite.seq, "{}", self.place());
        self.fences[right] = now;
        memory.is_ok()
    }

    async fn renew(&mut self) {
        self.what = "renew".to_owned();
        let Some(right) = self.right() else { return };
        let (mut fences, now) = (self.fences[right].clone(), self.now);
        let memory = self.pair.memory[0].renew(&mut fences.memory, now, TEN).await;
        let sqlite = self.pair.sqlite[0].renew(&mut fences.sqlite, now, TEN).await;
        self.settle(right, fences, [memory, sqlite]);
    }

    async fn release(&mut self) {
        self.what = "release".to_owned();
        let Some(right) = self.right() else { return };
        let (mut fences, now) = (self.fences[right].clone(), self.now);
        let memory = self.pair.memory[1].release(&mut fences.memory, now).await;
        let sqlite = self.pair.sqlite[1].release(&mut fences.sqlite, now).await;
        self.settle(right, fences, [memory, sqlite]);
    }

    async fn append(&mut self) {
        self.what = "append".to_owned();
        let (rows, relays) = (self.inbox_rows(), self.relays());
        both!(self, |store| store.append_webhooks(rows.clone(), relays.clone()));
    }

    async fn append_once(&mut self) {
        self.what = "append once".to_owned();
        let (rows, answer) = (self.inbox_rows(), self.answer());
        both!(self, |store| store.append_once(rows.clone(), &answer));
    }

    async fn tokens(&mut self) {
        self.what = "tokens of the API".to_owned();
        let (new, id) = (self.token(), haishin::domain::access::TokenId(self.draw(0_i64..4)));
        let now = self.now;
        if self.one_in(2) {
            both!(self, |store| store.create_token(&new));
        } else {
            both!(self, |store| store.revoke_token(id, now, "花\0子"));
        }
    }

    async fn activate(&mut self) {
        self.what = "activate".to_owned();
        let files = self.draw(super::samples::files());
        let digest = [self.draw(1_u8..3); 32];
        let new = NewVersion { digest, files, activated_at: self.now, activated_by: "first\0start".into() };
        let active = self.pair.memory[0].active_version().await.unwrap().map(|version| version.id);
        let expected = if self.one_in(3) { None } else { active };
        both!(self, |store| store.activate(expected, &new));
    }

    async fn commit(&mut self) {
        let Some(right) = self.right() else { return };
        let account = self.fences[right].memory.account;
        let writes = self.writes(account).await;
        self.what = format!("commit of {account:?}");
        self.writes.clone_from(&writes);
        let (mut fences, now, priority) = (self.fences[right].clone(), self.now, Priority::Outcome);
        let handle = self.draw(0_usize..2);
        let memory = &self.pair.memory[handle];
        let memory = memory.commit(&mut fences.memory, now, priority, writes.clone()).await;
        let sqlite = &self.pair.sqlite[handle];
        let sqlite = sqlite.commit(&mut fences.sqlite, now, priority, writes).await;
        if self.settle(right, fences, [memory, sqlite]) {
            self.committed += 1;
            self.stood.extend(self.writes.iter().map(std::mem::discriminant));
        } else {
            self.refused += 1;
        }
    }
}

#[tokio::test]
async fn a_history_told_to_both_is_told_the_same_by_both() {
    let (mut committed, mut refused, mut stood) = (0, 0, HashSet::new());
    for seed in 0..HISTORIES {
        let mut history = History::new(seed).await;
        history.account().await;
        history.claim().await;
        for step in 0..STEPS {
            history.step = step;
            history.step().await;
            let looks = history.draw(vec((0..ACCOUNTS.len(), 0..look::LOOKS), 4));
            for (account, which) in looks {
                history.look(ACCOUNTS[account], which).await;
            }
        }
        for account in ACCOUNTS {
            for which in 0..look::LOOKS {
                history.look(account, which).await;
            }
        }
        (committed, refused) = (committed + history.committed, refused + history.refused);
        stood.extend(history.stood);
    }
    // Both are worth a look: what stands and what never was.
    assert!(committed > 400 && refused > 100, "{committed} committed, {refused} refused");
    assert_eq!(stood.len(), KINDS, "of every kind of write one stood");
}
