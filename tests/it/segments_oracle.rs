//! The evaluator against a naive one that shares no code with it: drawn rules over drawn friends, each decided
//! friend by friend from plain rows, by plain loops.

pub mod coverage;
pub mod draw;
pub mod naive;

use std::collections::{BTreeMap, BTreeSet};

use haishin::audience::{CheckpointRow, Index, RestoreError};
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::id::{FriendId, Seq};
use haishin::domain::segment::evaluate::Segments;
use haishin::domain::segment::rule::Rule;
use haishin::domain::sends::Sends;
use haishin::domain::time::Instant;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use coverage::Coverage;
use naive::Person;

const SEED: u64 = 0x5e63_6d65_6e74_7321;
const POPULATIONS: usize = 300;
const RULES: usize = 40;

/// Rows of checkpoints as a store keeps them: the last one of each place.
type Rows = BTreeMap<(String, String, u32), CheckpointRow>;

/// One drawn account: what happened to whom, in order.
pub struct Account {
    pub now: Instant,
    pub entries: Vec<Entry>,
    people: Vec<Person>,
    pub segments: Segments,
}

impl Account {
    pub fn draw(rng: &mut StdRng) -> Self {
        let now = draw::now(rng);
        // Some accounts lie across the border of two chunks of dense ids.
        let first = if rng.random_bool(0.25) { 65_536 - rng.random_range(1..20) } else { 0 };
        let mut histories: Vec<Vec<Entry>> =
            (0..rng.random_range(12..60)).map(|i| draw::history(rng, FriendId(first + i), now)).collect();
        histories.iter_mut().for_each(|history| history.reverse());
        let mut entries = Vec::new();
        while !histories.is_empty() {
            let at = rng.random_range(0..histories.len());
            match histories[at].pop() {
                Some(entry) => entries.push(Entry { seq: Seq(entries.len() as i64 + 1), ..entry }),
                None => drop(histories.swap_remove(at)),
            }
        }
        Self { now, people: naive::people(&entries), entries, segments: draw::segments(rng, now) }
    }

    /// From entries alone.
    fn replayed(&self) -> Index {
        let mut index = Index::new();
        self.entries.iter().for_each(|entry| index.apply(entry));
        index
    }

    /// From rows in any order, then the events of the journal; sometimes all that is left of the journal again.
    fn loaded(&self, rng: &mut StdRng) -> Index {
        let mut index = Index::new();
        let mut rows: Vec<_> = self.people.iter().map(|person| &person.row).collect();
        rows.shuffle(rng);
        rows.into_iter().for_each(|row| index.load_friend(row));
        let states_too = rng.random_bool(0.5);
        for entry in self.entries.iter().filter(|entry| states_too || entry.effect.is_event()) {
            index.apply(entry);
        }
        // Entries already in change nothing.
        self.entries.iter().filter(|entry| entry.effect.is_event()).for_each(|entry| index.apply(entry));
        if rng.random_bool(0.5) {
            index.settle();
        }
        index
    }

    /// From a checkpoint made while entries went on arriving, itself on top of an earlier one, and the journal after
    /// it.
    fn restored(&self, rng: &mut StdRng) -> Index {
        let mut rows = Rows::new();
        let mut index = Index::new();
        let mut entries = self.entries.iter();
        let mut replay_after = Seq(0);
        for _ in 0..2 {
            let some = rng.random_range(0..=self.entries.len() / 2);
            entries.by_ref().take(some).for_each(|entry| index.apply(entry));
            let mut run = index.begin_checkpoint();
            replay_after = run.seq();
            while let Some(written) = index.checkpoint_rows(&mut run) {
                rows.extend(
                    written.into_iter().map(|row| ((row.kind.clone(), row.key.clone(), row.chunk), row)),
                );
                entries.by_ref().take(rng.random_range(0..3)).for_each(|entry| index.apply(entry));
            }
        }
        let rows: Vec<CheckpointRow> = rows.into_values().collect();
        let mut index = Index::restore(&rows).unwrap();
        assert_eq!(index.applied(), replay_after);
        self.entries.iter().filter(|entry| entry.seq > replay_after).for_each(|entry| index.apply(entry));
        index
    }

    pub fn expected(&self, rule: &Rule, now: Instant) -> BTreeSet<u32> {
        let holds = |person: &&Person| naive::holds(rule, person, &self.segments, now);
        self.people.iter().filter(|p| p.row.erased_at.is_none()).filter(holds).map(Person::id).collect()
    }
}

#[test]
fn the_evaluator_agrees_with_a_naive_one() {
    println!("seed {SEED:#x}");
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut coverage = Coverage::default();
    let (mut cases, mut telling) = (0, 0);
    let sends = Sends::default();
    for population in 0..POPULATIONS {
        let account = Account::draw(&mut rng);
        let indexes = [account.replayed(), account.loaded(&mut rng), account.restored(&mut rng)];
        for _ in 0..RULES {
            let rule = draw::rule(&mut rng, account.now, 3);
            let now = account.now + draw::nudge(&mut rng);
            coverage.look(&rule, &account.people, now);
            let expected = account.expected(&rule, now);
            for index in &indexes {
                let set = index.evaluate(&rule, &account.segments, &sends, now).unwrap();
                let found: BTreeSet<u32> = set.iter().collect();
                assert_eq!(found, expected, "population {population} at {now}: {rule:?}");
            }
            let [index, ..] = &indexes;
            for person in &account.people {
                let one =
                    index.evaluate_one(&rule, &account.segments, &sends, now, FriendId(person.id())).unwrap();
                assert_eq!(one, expected.contains(&person.id()), "{:?} at {now}: {rule:?}", person.row);
            }
            cases += 1;
            let all = indexes[0].len() as usize;
            telling += usize::from(!expected.is_empty() && expected.len() < all);
        }
    }
    println!("{cases} cases, {telling} of them select neither nobody nor everybody");
    assert!(cases >= 10_000);
    assert!(telling * 2 >= cases, "only {telling} of {cases} cases tell something");
    coverage.assert_complete();
}

/// Sets beside the evaluator's answer to the rows, too.
#[test]
fn the_index_holds_what_the_rows_hold() {
    let mut rng = StdRng::seed_from_u64(SEED + 1);
    for _ in 0..50 {
        let account = Account::draw(&mut rng);
        for index in [account.replayed(), account.loaded(&mut rng), account.restored(&mut rng)] {
            let next = account.people.iter().map(Person::id).max().map_or(0, |id| id + 1);
            assert_eq!(index.next_friend(), FriendId(next));
            assert_eq!(
                index.len(),
                account.people.iter().filter(|p| p.row.erased_at.is_none()).count() as u64
            );
            for Person { row, .. } in &account.people {
                let (id, erased) = (row.friend.0, row.erased_at.is_some());
                assert_eq!(index.user(row.friend), row.user);
                if let Some(user) = row.user {
                    assert_eq!(index.friend_of(user), Some(row.friend));
                }
                assert_eq!(index.external_id(row.friend), row.external_id.as_deref());
                if let Some(external) = &row.external_id {
                    assert!(index.with_external_id(external).contains(id));
                }
                assert_eq!(index.erased().contains(id), erased);
                assert_eq!(index.everybody().contains(id), !erased);
                assert_eq!(index.quarantined().contains(id), row.quarantined_at.is_some());
                let follows = row.status == haishin::domain::friend::Status::Following;
                assert_eq!(index.following().contains(id), follows);
                for tag in draw::tags() {
                    let held = row.tags.get(&tag).is_some_and(|at| *at <= account.now);
                    assert_eq!(index.tagged(&tag, account.now).contains(id), held);
                }
            }
        }
        let erased =
            account.entries.iter().find(|entry| entry.effect == Effect::Erased).map(|entry| entry.friend);
        if let Some(friend) = erased {
            assert_eq!(account.replayed().user(friend), None);
        }
    }
}

/// What is missing or altered is told, whatever it is, and nothing panics.
#[test]
fn a_torn_checkpoint_is_not_restored() {
    let mut rng = StdRng::seed_from_u64(SEED + 2);
    let account = Account::draw(&mut rng);
    let mut index = account.replayed();
    let mut run = index.begin_checkpoint();
    let mut rows = Vec::new();
    while let Some(written) = index.checkpoint_rows(&mut run) {
        rows.extend(written);
    }
    assert!(Index::restore(&rows).is_ok());
    // Nothing has changed since: the next run writes its directory only.
    let mut run = index.begin_checkpoint();
    let again: Vec<_> = std::iter::from_fn(|| index.checkpoint_rows(&mut run)).flatten().collect();
    assert_eq!(again.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["directory"]);

    for i in 0..rows.len() {
        let mut others = rows.clone();
        let gone = others.remove(i);
        let expected = match gone.kind.as_str() {
            "directory" => RestoreError::NoDirectory,
            _ => RestoreError::Missing { kind: gone.kind, key: gone.key, chunk: gone.chunk },
        };
        assert_eq!(Index::restore(&others).unwrap_err(), expected);

        let torn = |tear: &dyn Fn(&mut CheckpointRow)| {
            let mut rows = rows.clone();
            tear(&mut rows[i]);
            let CheckpointRow { kind, key, chunk, .. } = rows[i].clone();
            assert_eq!(Index::restore(&rows).unwrap_err(), RestoreError::Torn { kind, key, chunk });
        };
        let at = rng.random_range(0..rows[i].data.len());
        torn(&|row| row.data[at] ^= 1 << (at % 8));
        torn(&|row| row.data.truncate(at));
        torn(&|row| row.data.push(0));
        torn(&|row| row.seq = Seq(row.seq.0 + 1));
        torn(&|row| row.checksum ^= 1);
    }
}
