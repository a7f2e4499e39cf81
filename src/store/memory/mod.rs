//! The store in memory, for simulations: the same business steps with the same results as on a database, and nothing
//! that is not a function of the calls and the seed.
//!
//! No task, no thread, no clock, no hash order. Every call is done at its first poll, but for [`Store::sent`] when
//! nobody takes its pages. What is stored goes through the same codec as the columns of the databases, so a value that
//! could not be read back there cannot be read back here. Nothing of it outlives the process.

mod access;
mod account;
mod apply;
mod checkpoint;
mod config;
mod data;
mod delivery;
mod drip;
mod erasure;
mod inbox;
mod lease;
mod occurrence;
mod outbox;
mod people;
mod prune;
mod sending;
mod store;
mod table;
mod trouble;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use self::data::{Account, Data};
use self::table::Undo as _;
use super::StoreError;
use crate::domain::id::AccountId;

#[cfg(doc)]
use super::Store;

/// A handle on a database in memory, as one process holds it.
pub struct MemoryStore {
    data: Arc<Mutex<Data>>,
    tokens: Arc<Tokens>,
    closed: AtomicBool,
}

/// Where leases' tokens come from: one row of numbers for a database and all copies of it.
struct Tokens {
    seed: u64,
    drawn: AtomicU64,
}

impl Tokens {
    /// The next token: positive, and unlike any before it, also after the data went back in time.
    fn draw(&self) -> i64 {
        loop {
            let number = self.drawn.fetch_add(1, Ordering::Relaxed);
            let bits = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(number.to_be_bytes());
            let token = bits.finalize().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            let token = i64::from_be_bytes(token.to_be_bytes()) & i64::MAX;
            if token != 0 {
                return token;
            }
        }
    }
}

impl MemoryStore {
    /// An empty database. The seed decides the tokens of its leases, and nothing else.
    pub fn new(seed: u64) -> Self {
        Self::on(Arc::default(), Arc::new(Tokens { seed, drawn: AtomicU64::new(0) }))
    }

    fn on(data: Arc<Mutex<Data>>, tokens: Arc<Tokens>) -> Self {
        Self { data, tokens, closed: AtomicBool::new(false) }
    }

    /// Another handle on the same data, as another process opens it; open even if this one is closed.
    pub fn again(&self) -> Self {
        Self::on(Arc::clone(&self.data), Arc::clone(&self.tokens))
    }

    /// A copy of all data as of now, which goes its own way from here: a backup. Tokens that either of the two draws
    /// from now on differ.
    pub fn snapshot(&self) -> Self {
        let data = self.data().clone();
        Self::on(Arc::new(Mutex::new(data)), Arc::clone(&self.tokens))
    }

    /// All data become those of a copy, for every handle; the copy stays as it is.
    pub fn restore(&self, from: &Self) {
        let data = from.data().clone();
        *self.data() = data;
    }

    /// A step either leaves the data whole or is undone, so they are sound whoever held them before.
    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, operation: &'static str) -> Result<MutexGuard<'_, Data>, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Failed { operation, source: sqlx::Error::PoolClosed });
        }
        Ok(self.data())
    }

    fn read<T>(&self, body: impl FnOnce(&Data) -> Result<T, StoreError>) -> Result<T, StoreError> {
        body(&*self.open("read")?)
    }

    /// A read of one account's rows.
    fn read_of<T>(
        &self,
        account: AccountId,
        body: impl FnOnce(&Account) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.read(|data| body(data.of(account)))
    }

    /// One transaction: what `body` changed stands if it succeeds, and else never was.
    fn write<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&mut Data) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut data = self.open(operation)?;
        // What a step left behind that never came to its end.
        data.undo();
        let result = body(&mut data);
        match result {
            Ok(_) => data.keep(),
            Err(_) => data.undo(),
        }
        result
    }

    fn end(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// A row with this key is there already, as a database says it.
fn taken(operation: &'static str) -> StoreError {
    StoreError::Failed { operation, source: sqlx::Error::Protocol("a row with this key is there".into()) }
}

/// A row that must be there is not.
fn missing(operation: &'static str) -> StoreError {
    StoreError::Failed { operation, source: sqlx::Error::RowNotFound }
}

/// As many as a caller asked for.
fn at_most(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// A length as the counts of the interface are.
fn len(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_positive_drawn_from_the_seed_and_never_drawn_twice() {
        let draw = |store: &MemoryStore| store.tokens.draw();
        let (one, same, other) = (MemoryStore::new(1), MemoryStore::new(1), MemoryStore::new(2));
        let first: Vec<i64> = (0..50).map(|_| draw(&one)).collect();
        assert_eq!(first, (0..50).map(|_| draw(&same)).collect::<Vec<_>>());
        let copy = one.snapshot();
        let mut all = first;
        all.extend((0..50).flat_map(|_| [draw(&one), draw(&copy), draw(&one.again()), draw(&other)]));
        let distinct: std::collections::BTreeSet<i64> = all.iter().copied().collect();
        assert!(distinct.len() == all.len() && all.iter().all(|token| *token > 0), "{all:?}");
    }
}
