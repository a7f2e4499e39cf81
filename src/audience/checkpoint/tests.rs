//! Cases of runs that drawn histories do not reach; `tests/it/segments_oracle.rs` holds the drawn ones.

use std::collections::BTreeMap;

use super::*;
use crate::domain::effect::{Effect, Entry};
use crate::domain::friend::{Friend, Status};
use crate::domain::id::{FriendId, UserId};
use crate::domain::segment::evaluate::Segments;
use crate::domain::segment::rule::{Age, Bound, Condition, EventCondition, Measure, Rule};
use crate::domain::sends::Sends;
use crate::domain::time::{Instant, Span};

type Rows = BTreeMap<(String, String, u32), CheckpointRow>;

/// Keeps the rows of a run, telling `between` after each step.
fn run(index: &mut Index, rows: &mut Rows, mut between: impl FnMut(&mut Index)) -> Seq {
    let mut run = index.begin_checkpoint();
    between(index);
    while let Some(written) = index.checkpoint_rows(&mut run) {
        rows.extend(written.into_iter().map(|row| ((row.kind.clone(), row.key.clone(), row.chunk), row)));
    }
    run.seq()
}

fn restore(rows: &Rows) -> Index {
    Index::restore(&rows.values().cloned().collect::<Vec<_>>()).unwrap()
}

fn entry(seq: i64, friend: u32, at: i64, effect: Effect) -> Entry {
    Entry { seq: Seq(seq), friend: FriendId(friend), at: Instant::from_millis(at), effect }
}

/// The erasure is in the rows of the sets, the tag's row is from before, and the entry is replayed over both.
#[test]
fn an_erasure_during_a_run_reaches_columns_the_run_does_not_write() {
    let (mut index, mut rows) = (Index::new(), Rows::new());
    let vip = TagName::parse("vip").unwrap();
    index.apply(&entry(1, 0, 1, Effect::Joined { user: UserId([1; 16]) }));
    index.apply(&entry(2, 0, 2, Effect::TagAdded { tag: vip.clone() }));
    run(&mut index, &mut rows, |_| {});
    index.apply(&entry(3, 1, 3, Effect::Joined { user: UserId([2; 16]) }));
    let erased = entry(4, 0, 4, Effect::Erased);
    let replay_after = run(&mut index, &mut rows, |index| index.apply(&erased));
    assert_eq!(replay_after, Seq(3));
    let mut restored = restore(&rows);
    restored.apply(&erased);
    let now = Instant::from_millis(9);
    assert!(restored.tagged(&vip, now).is_empty());
    let rule = Rule::Is(Condition::Tag { tag: vip, held: Age::Any });
    assert!(restored.evaluate(&rule, &Segments::new(), &Sends::default(), now).unwrap().is_empty());
}

/// What LINE tells late is held against these instants, so a start must find them, from a checkpoint as from rows.
#[test]
fn the_instants_of_a_status_are_found_again() {
    let status = |status, followed_at| Effect::Status { status, followed_at };
    let told = [
        entry(1, 0, 1, Effect::Joined { user: UserId([1; 16]) }),
        entry(2, 1, 1, Effect::Joined { user: UserId([2; 16]) }),
        entry(3, 0, 5, status(Status::Following, Some(Instant::from_millis(5)))),
        entry(4, 1, 6, status(Status::Following, Some(Instant::from_millis(6)))),
        entry(5, 0, 7, status(Status::Blocked, None)),
        entry(6, 1, 8, status(Status::Blocked, None)),
        entry(7, 1, 9, status(Status::Following, Some(Instant::from_millis(9)))),
    ];
    let (mut index, mut rows, mut by_row) = (Index::new(), Rows::new(), Index::new());
    let mut friends =
        [1, 2].map(|n: u8| Friend::new(FriendId(u32::from(n) - 1), UserId([n; 16]), told[0].at));
    for entry in &told {
        index.apply(entry);
        friends[entry.friend.0 as usize].apply(entry);
    }
    run(&mut index, &mut rows, |_| {});
    friends.iter().for_each(|friend| by_row.load_friend(friend));
    for index in [index, restore(&rows), by_row] {
        let found = [0, 1].map(|n| (index.followed_at(FriendId(n)), index.blocked_at(FriendId(n))));
        let millis = Instant::from_millis;
        assert_eq!(found, [(Some(millis(5)), Some(millis(7))), (Some(millis(9)), None)]);
    }
}

/// A late event is merged into an old block, and every block after it moves.
#[test]
fn blocks_that_moved_are_written_again() {
    let (mut index, mut rows) = (Index::new(), Rows::new());
    let visit = EventName::parse("visit").unwrap();
    let happened = |seq: i64, at: i64| {
        let effect = Effect::Event { name: visit.clone(), event_id: None, properties: BTreeMap::new() };
        entry(seq, (seq % 100) as u32, at, effect)
    };
    let count = 70_000;
    (1..=count).for_each(|seq| index.apply(&happened(seq, seq)));
    run(&mut index, &mut rows, |_| {});
    index.apply(&happened(count + 1, 5));
    run(&mut index, &mut rows, |_| {});
    let restored = restore(&rows);
    let rule = Rule::Is(Condition::Event(EventCondition {
        event: visit,
        within: Some(Span::from_millis(10)),
        properties: Vec::new(),
        measure: Measure::Count(vec![Bound::Gte(2)]),
    }));
    for index in [&index, &restored] {
        let early = index.evaluate(&rule, &Segments::new(), &Sends::default(), Instant::from_millis(5));
        // The late one is the second event of friend 1.
        assert_eq!(early.unwrap().iter().collect::<Vec<_>>(), [1]);
    }
    let events = |index: &Index| index.events.values().map(|events| events.len()).sum::<usize>();
    assert_eq!((events(&index), events(&restored)), (70_001, 70_001));
}

/// A run that did not become durable is made up for.
#[test]
fn a_forgotten_run_is_written_again_in_full() {
    let (mut index, mut rows) = (Index::new(), Rows::new());
    index.apply(&entry(1, 0, 1, Effect::Joined { user: UserId([1; 16]) }));
    index.apply(&entry(2, 70_000, 1, Effect::Joined { user: UserId([2; 16]) }));
    run(&mut index, &mut Rows::new(), |_| {});
    index.forget_checkpoint();
    run(&mut index, &mut rows, |_| {});
    let restored = restore(&rows);
    assert_eq!(restored.friend_of(UserId([2; 16])), Some(FriendId(70_000)));
    assert_eq!((restored.len(), restored.next_friend()), (2, FriendId(70_001)));
}

/// A checkpoint after old events went holds those that stayed, in the places of all.
#[test]
fn what_was_dropped_is_not_restored() {
    let (mut index, mut rows) = (Index::new(), Rows::new());
    let visit = EventName::parse("visit").unwrap();
    let effect = |_| Effect::Event { name: visit.clone(), event_id: None, properties: BTreeMap::new() };
    (1..=70_000).for_each(|seq| index.apply(&entry(seq, 0, seq, effect(seq))));
    run(&mut index, &mut rows, |_| {});
    index.drop_old_events(Instant::from_millis(66_000));
    run(&mut index, &mut rows, |_| {});
    let restored = restore(&rows);
    let events = |index: &Index| index.events.values().map(|events| events.len()).sum::<usize>();
    assert_eq!((events(&index), events(&restored)), (70_000 - 65_536, 70_000 - 65_536));
    index.drop_old_events(Instant::from_millis(99_000));
    run(&mut index, &mut rows, |_| {});
    let mut restored = restore(&rows);
    assert_eq!((events(&index), events(&restored)), (0, 0));
    restored.apply(&entry(70_001, 0, 70_001, effect(0)));
    assert_eq!(events(&restored), 1);
}

/// Chunks may come from anywhere, but each column's in order, and all of them.
#[test]
fn columns_are_taken_in_one_by_one() {
    let (mut index, mut rows) = (Index::new(), Rows::new());
    for (seq, friend) in (1..).zip([0, 70_000, 140_000]) {
        index.apply(&entry(
            seq,
            friend,
            1,
            Effect::Joined { user: UserId([u8::try_from(seq).unwrap(); 16]) },
        ));
    }
    run(&mut index, &mut rows, |_| {});
    let row = |kind: &str, chunk| &rows[&(kind.to_owned(), String::new(), chunk)];
    let directory = CheckpointDirectory::read(Some(row("directory", 0))).unwrap();
    let take = |chunks: &[u32]| {
        let mut columns = directory.columns();
        for column in &mut columns {
            let kind = column.place().0.to_owned();
            for chunk in
                chunks.iter().filter(|chunk| rows.contains_key(&(kind.clone(), String::new(), **chunk)))
            {
                column.take_in(row(&kind, *chunk))?;
            }
        }
        columns.reverse();
        directory.assemble(columns)
    };
    assert_eq!(take(&[0, 1, 2]).unwrap().next_friend(), FriendId(140_001));
    let missing = |chunk| RestoreError::Missing { kind: "users".into(), key: String::new(), chunk };
    assert_eq!(take(&[0, 2]).unwrap_err(), missing(1));
    assert!(matches!(take(&[0, 1]).unwrap_err(), RestoreError::Missing { chunk: 2, .. }));
    let mut fewer = directory.columns();
    fewer.retain(|column| column.place().0 != "users");
    assert!(matches!(directory.assemble(fewer), Err(RestoreError::Missing { .. })));
    assert_eq!(CheckpointDirectory::read(None).unwrap_err(), RestoreError::NoDirectory);
}

/// What a checkpoint holds of somebody's events is written over, also where nothing takes its place.
#[test]
fn events_that_are_forgotten_leave_no_row_as_it_was() {
    let (mut index, mut rows) = (Index::new(), Rows::new());
    for (seq, friend) in [(1, 0), (3, 1)] {
        index.apply(&entry(seq, friend, 1, Effect::Joined { user: UserId([friend as u8; 16]) }));
    }
    let visit = |seq, friend, name: &str| {
        let name = EventName::parse(name).unwrap();
        entry(seq, friend, seq, Effect::Event { name, event_id: None, properties: BTreeMap::new() })
    };
    for event in [visit(4, 0, "visit"), visit(5, 1, "visit"), visit(6, 0, "purchase")] {
        index.apply(&event);
    }
    run(&mut index, &mut rows, |_| {});
    let before = rows.clone();
    index.forget_events(&RoaringBitmap::from([0]));
    run(&mut index, &mut rows, |_| {});
    for (place, row) in before.iter().filter(|((kind, ..), _)| kind == "event") {
        assert_ne!(rows[place].data, row.data, "{place:?}");
    }
    for index in [index, restore(&rows)] {
        assert!(index.events_of(FriendId(0)).is_empty());
        assert_eq!(index.events_of(FriendId(1)).len(), 1);
    }
    run(&mut restore(&rows), &mut rows, |_| {});
}
