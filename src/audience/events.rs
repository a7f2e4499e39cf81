//! Events of one name as columns in the order of time, so that a window is a range of each.

use roaring::RoaringBitmap;

use crate::domain::attribute::AttributeType;
use crate::domain::id::{PropertyName, Seq};
use crate::domain::segment::rule::{Comparison, Number};
use crate::domain::segment::value_test::{ValueTest, number_of_key};
use crate::domain::segment::window::Window;

use super::checkpoint::codec::{Reader, Torn, Writer};
use super::dictionary::Dictionary;
use super::dirty::Dirty;
use super::packed::Packed;
use super::sparse::{Slot, Sparse};
use super::texts::{self, KeyTest, TYPES};

/// Events in a block: what one merge of late events rewrites at least, and what a slot can number.
const BLOCK: usize = 65_536;
/// Late events are merged when they are an eighth of all, but never for fewer than these.
const LATE: usize = 1024;
/// Old blocks are dropped when they are such a part of all.
const GOOD_PART: usize = 16;

/// All events of one name. Blocks are ordered by time, within and among each other; `late` holds what came after
/// something younger and is merged now and then.
#[derive(Debug, Clone, Default)]
pub(super) struct Events {
    /// Every event of this name numbered up to here is in.
    pub(super) seq: Seq,
    properties: Vec<Property>,
    blocks: Vec<Block>,
    late: Vec<Row>,
    count: usize,
    /// By block; late events are of the last one until they are merged.
    pub(super) dirty: Dirty,
}

#[derive(Debug, Clone)]
struct Property {
    name: PropertyName,
    texts: Dictionary,
}

/// One event outside the columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) at: i64,
    pub(super) friend: u32,
    pub(super) cells: Vec<Cell>,
}

/// A property's value: which property, of what type, by its key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub(super) property: usize,
    pub(super) of: AttributeType,
    pub(super) key: i64,
}

#[derive(Debug, Clone, Default)]
struct Block {
    at: Packed,
    friends: Packed,
    cells: Vec<Cells>,
}

/// The values of one type of one property, by slot of the block.
#[derive(Debug, Clone)]
struct Cells {
    property: usize,
    of: AttributeType,
    keys: Sparse,
}

/// An event of the columns or outside them.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) friend: u32,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Block(&'a Block, usize),
    Late(&'a Row),
}

impl Event<'_> {
    pub(super) fn at(&self) -> i64 {
        match self.place {
            Place::Block(block, i) => block.at.get(i).unwrap_or(i64::MIN),
            Place::Late(row) => row.at,
        }
    }

    /// The property's value, if it is a number.
    pub(super) fn number(&self, property: usize) -> Option<Number> {
        self.cell(property).and_then(|cell| number_of_key(cell.of, cell.key))
    }

    fn cell(&self, property: usize) -> Option<Cell> {
        match self.place {
            Place::Block(block, i) => {
                let cells = block.cells.iter().filter(|cells| cells.property == property);
                cells.filter_map(|cells| cells.get(i as Slot)).next()
            }
            Place::Late(row) => row.cells.iter().find(|cell| cell.property == property).copied(),
        }
    }

    fn each_cell(&self, mut visit: impl FnMut(Cell)) {
        match self.place {
            Place::Block(block, i) => {
                block.cells.iter().filter_map(|cells| cells.get(i as Slot)).for_each(visit);
            }
            Place::Late(row) => row.cells.iter().for_each(|cell| visit(*cell)),
        }
    }
}

impl Cells {
    fn get(&self, slot: Slot) -> Option<Cell> {
        Some(Cell { property: self.property, of: self.of, key: self.keys.get(slot)? })
    }
}

/// What all of an event's properties must pass; compiled for one column of events.
pub(super) struct PropertyTests<'a> {
    /// For each property asked about: its number, and a test per type.
    all: Vec<(usize, Vec<(AttributeType, KeyTest<'a>)>)>,
}

impl PropertyTests<'_> {
    fn pass(&self, event: &Event<'_>) -> bool {
        self.all.iter().all(|(property, tests)| {
            event
                .cell(*property)
                .is_some_and(|cell| tests.iter().any(|(of, test)| *of == cell.of && test.passes(cell.key)))
        })
    }
}

impl Events {
    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn property(&self, name: &PropertyName) -> Option<usize> {
        self.properties.iter().position(|property| property.name == *name)
    }

    /// The number of a property, a new one if need be, and its texts.
    pub(super) fn property_mut(&mut self, name: &PropertyName) -> (usize, &mut Dictionary) {
        let number = self.property(name).unwrap_or_else(|| {
            self.properties.push(Property { name: name.clone(), texts: Dictionary::default() });
            self.properties.len() - 1
        });
        (number, &mut self.properties[number].texts)
    }

    /// Compiles tests; `None` when one asks about a property no event has, so that no event can pass.
    pub(super) fn tests<'a>(
        &'a self,
        properties: &'a [(PropertyName, Vec<Comparison>)],
    ) -> Option<PropertyTests<'a>> {
        let one = |(name, comparisons): &'a (PropertyName, Vec<Comparison>)| {
            let number = self.property(name)?;
            let texts = &self.properties.get(number)?.texts;
            let test = |of| {
                (of, KeyTest::new(ValueTest::of_comparisons(comparisons, of), of, texts, self.count as u64))
            };
            Some((number, TYPES.into_iter().map(test).filter(|(_, test)| !test.is_never()).collect()))
        };
        Some(PropertyTests { all: properties.iter().map(one).collect::<Option<_>>()? })
    }

    /// Visits each event in the window that passes, in no particular order.
    pub(super) fn each(&self, window: Window, tests: &PropertyTests<'_>, mut visit: impl FnMut(Event<'_>)) {
        let first = self.blocks.partition_point(|block| block.last_at() <= window.after);
        for block in self.blocks.iter().skip(first) {
            let from = block.at.partition_point(|at| at <= window.after);
            let to = block.at.partition_point(|at| at <= window.until);
            if from >= to {
                break;
            }
            for (i, friend) in (from..to).zip(block.friends.iter_from(from)) {
                let event = Event { friend: friend as u32, place: Place::Block(block, i) };
                if tests.all.is_empty() || tests.pass(&event) {
                    visit(event);
                }
            }
        }
        for row in self.late.iter().filter(|row| window.contains(row.at)) {
            let event = Event { friend: row.friend, place: Place::Late(row) };
            if tests.pass(&event) {
                visit(event);
            }
        }
    }

    /// When this happened to a friend, the latest ones last.
    pub(super) fn instants_of(&self, friend: u32) -> Vec<i64> {
        let mut found = Vec::new();
        let tests = PropertyTests { all: Vec::new() };
        self.each(Window { after: i64::MIN, until: i64::MAX }, &tests, |event| {
            if event.friend == friend {
                found.push(event.at());
            }
        });
        found
    }

    pub(super) fn push(&mut self, row: Row) {
        self.count += 1;
        if self.blocks.last().is_some_and(|block| row.at < block.last_at()) {
            self.late.push(row);
            self.dirty.mark(self.blocks.len() - 1);
            if self.late.len() > LATE.max(self.count / 8) {
                self.settle();
            }
            return;
        }
        match self.blocks.last_mut() {
            Some(block) if block.at.len() < BLOCK => block.push(&row),
            _ => {
                let mut block = Block::default();
                block.push(&row);
                self.blocks.push(block);
            }
        }
        self.dirty.mark(self.blocks.len() - 1);
    }

    /// Merges late events into the blocks they belong to.
    pub(super) fn settle(&mut self) {
        let mut late = std::mem::take(&mut self.late);
        late.sort_by_key(|row| row.at);
        let Some(earliest) = late.first().map(|row| row.at) else { return };
        let first = self.blocks.partition_point(|block| block.last_at() <= earliest);
        let old = self.blocks.split_off(first);
        self.rebuild(&old, &late, |_| true);
        self.dirty.mark_from(first, self.blocks.len());
    }

    /// Forgets what `keep` does not hold: events of erased friends, events past their retention.
    pub(super) fn retain(&mut self, keep: impl Fn(u32, i64) -> bool) {
        self.settle();
        let old = std::mem::take(&mut self.blocks);
        self.count = 0;
        let keep = |event: &Event<'_>| keep(event.friend, event.at());
        self.rebuild(&old, &[], keep);
        self.count = self.blocks.iter().map(|block| block.at.len()).sum();
        self.dirty.mark_from(0, self.blocks.len());
    }

    /// Forgets the events of these friends. Only the blocks that hold one are written anew, and those behind one that is
    /// left with none.
    pub(super) fn forget(&mut self, friends: &RoaringBitmap) {
        let is_theirs = |friend: i64| u32::try_from(friend).is_ok_and(|friend| friends.contains(friend));
        if self.late.iter().any(|row| friends.contains(row.friend)) {
            self.settle();
        }
        let mut gone = 0;
        for (n, block) in (0..).zip(&mut self.blocks) {
            if !block.friends.iter().any(is_theirs) {
                continue;
            }
            let old = std::mem::take(block);
            let all = old.friends.iter().enumerate().filter(|(_, friend)| !is_theirs(*friend));
            let kept: Vec<Event<'_>> = all
                .map(|(i, friend)| Event { friend: friend as u32, place: Place::Block(&old, i) })
                .collect();
            gone += old.at.len() - kept.len();
            *block = Block::gather(&kept);
            self.dirty.mark(n);
        }
        self.count -= gone;
        if let Some(first) = self.blocks.iter().position(|block| block.at.len() == 0) {
            self.blocks.retain(|block| block.at.len() > 0);
            self.dirty.mark_from(first, self.blocks.len());
        }
    }

    /// Drops blocks that lie wholly before an instant, once they are a good part of all: those behind them move, and the
    /// next checkpoint writes each of them anew.
    pub(super) fn drop_old_blocks(&mut self, before: i64) {
        self.settle();
        let old = self.blocks.partition_point(|block| block.last_at() < before);
        if old == 0 || old < self.blocks.len() / GOOD_PART {
            return;
        }
        self.count -= self.blocks.drain(..old).map(|block| block.at.len()).sum::<usize>();
        self.dirty.mark_from(0, self.blocks.len());
    }

    /// Writes a block, which holds all events it ever will only if none is late.
    pub(super) fn encode_block(&self, block: usize, row: &mut Writer) {
        let none = Block::default();
        let block = self.blocks.get(block).unwrap_or(&none);
        block.at.encode(row);
        block.friends.encode(row);
        row.number(block.cells.len());
        for cells in &block.cells {
            if let Some(property) = self.properties.get(cells.property) {
                row.bytes(property.name.as_str().as_bytes());
                texts::encode(&cells.keys, cells.of, &property.texts, row);
            }
        }
    }

    /// Appends a block as of `seq`.
    pub(super) fn decode_block(&mut self, seq: Seq, row: &mut Reader<'_>) -> Result<(), Torn> {
        let (at, friends) = (Packed::decode(row)?, Packed::decode(row)?);
        if at.len() != friends.len() || !at.iter().is_sorted() {
            return Err(Torn);
        }
        let mut cells = Vec::new();
        for _ in 0..row.number()? {
            let name = PropertyName::parse(row.text()?).map_err(|_| Torn)?;
            let (property, texts) = self.property_mut(&name);
            let (of, keys) = texts::decode(row, texts)?;
            cells.push(Cells { property, of, keys });
        }
        self.seq = self.seq.max(seq);
        self.count += at.len();
        self.blocks.push(Block { at, friends, cells });
        Ok(())
    }

    /// Appends blocks made of old ones and of late rows, both in the order of time.
    fn rebuild<'a>(&mut self, old: &'a [Block], late: &'a [Row], keep: impl Fn(&Event<'_>) -> bool) {
        let mut rows =
            late.iter().map(|row| Event { friend: row.friend, place: Place::Late(row) }).peekable();
        let mut merged = Vec::with_capacity(BLOCK);
        let mut emit = |event: Event<'a>, blocks: &mut Vec<Block>| {
            if keep(&event) {
                merged.push(event);
            }
            if merged.len() == BLOCK {
                blocks.push(Block::gather(&merged));
                merged.clear();
            }
        };
        for block in old {
            for (i, (at, friend)) in block.at.iter().zip(block.friends.iter()).enumerate() {
                while let Some(row) = rows.next_if(|row| row.at() < at) {
                    emit(row, &mut self.blocks);
                }
                emit(Event { friend: friend as u32, place: Place::Block(block, i) }, &mut self.blocks);
            }
        }
        for row in rows {
            emit(row, &mut self.blocks);
        }
        if !merged.is_empty() {
            self.blocks.push(Block::gather(&merged));
        }
    }
}

impl Block {
    fn last_at(&self) -> i64 {
        self.at.len().checked_sub(1).and_then(|last| self.at.get(last)).unwrap_or(i64::MIN)
    }

    fn push(&mut self, row: &Row) {
        let slot = self.at.len() as Slot;
        self.at.push(row.at);
        self.friends.push(row.friend.into());
        for cell in &row.cells {
            let found = self.cells.iter().position(|c| c.property == cell.property && c.of == cell.of);
            let at = found.unwrap_or_else(|| {
                self.cells.push(Cells { property: cell.property, of: cell.of, keys: Sparse::default() });
                self.cells.len() - 1
            });
            self.cells[at].keys.set(slot, cell.key);
        }
    }

    /// A block of these events, which are at most 65,536 and in the order of time.
    fn gather(events: &[Event<'_>]) -> Self {
        let mut columns: Vec<(Cell, Vec<(Slot, i64)>)> = Vec::new();
        for (slot, event) in events.iter().enumerate() {
            event.each_cell(|cell| {
                let pair = (slot as Slot, cell.key);
                match columns
                    .iter_mut()
                    .find(|(first, _)| first.property == cell.property && first.of == cell.of)
                {
                    Some((_, keys)) => keys.push(pair),
                    None => columns.push((cell, vec![pair])),
                }
            });
        }
        let cells = columns.into_iter().map(|(Cell { property, of, .. }, keys)| {
            let keys = keys.into_iter().collect();
            Cells { property, of, keys }
        });
        Self {
            at: events.iter().map(Event::at).collect(),
            friends: events.iter().map(|event| event.friend.into()).collect(),
            cells: cells.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn rows(events: &Events, window: Window) -> Vec<(i64, u32, Option<i64>)> {
        let tests = events.tests(&[]).unwrap();
        let mut rows = Vec::new();
        events.each(window, &tests, |event| {
            rows.push((event.at(), event.friend, event.cell(0).map(|cell| cell.key)));
        });
        rows.sort_unstable();
        rows
    }

    /// More than two blocks, mostly in order, some events late by anything: nothing is lost, before merging or after.
    #[test]
    fn events_out_of_order_find_their_place() {
        let mut rng = StdRng::seed_from_u64(3);
        let (mut events, mut plain) = (Events::default(), Vec::new());
        let amount = PropertyName::parse("amount").unwrap();
        assert_eq!(events.property_mut(&amount).0, 0);
        for i in 0..150_000 {
            let at = if rng.random_bool(0.1) { rng.random_range(0..=i) } else { i };
            let key = rng.random_bool(0.5).then(|| rng.random_range(-9..9));
            let cells =
                key.map(|key| Cell { property: 0, of: AttributeType::Integer, key }).into_iter().collect();
            let friend = rng.random_range(0..1000);
            events.push(Row { at, friend, cells });
            plain.push((at, friend, key));
        }
        plain.sort_unstable();
        let within = |after: i64, until: i64| {
            plain.iter().copied().filter(|(at, ..)| *at > after && *at <= until).collect::<Vec<_>>()
        };
        for _ in 0..2 {
            for (after, until) in [(i64::MIN, i64::MAX), (70_000, 140_000), (149_998, 149_999), (5, 5)] {
                assert_eq!(rows(&events, Window { after, until }), within(after, until));
            }
            events.settle();
            assert!(events.late.is_empty() && events.blocks.len() > 2);
        }
        let mut without = events.clone();
        without.forget(&RoaringBitmap::from([7, 4_000_000_000]));
        let others: Vec<_> =
            within(i64::MIN, i64::MAX).into_iter().filter(|(_, friend, _)| *friend != 7).collect();
        assert_eq!(rows(&without, Window { after: i64::MIN, until: i64::MAX }), others);
        assert_eq!(without.count, others.len());
        events.retain(|friend, at| friend != 7 && at > 20_000);
        let kept: Vec<_> =
            within(20_000, i64::MAX).into_iter().filter(|(_, friend, _)| *friend != 7).collect();
        assert_eq!(rows(&events, Window { after: i64::MIN, until: i64::MAX }), kept);
        assert_eq!(events.count, kept.len());
    }

    /// Whole blocks alone, and not before they are a good part of all.
    #[test]
    fn old_events_go_by_blocks() {
        let block = BLOCK as i64;
        let blocks = |numbers: std::ops::Range<i64>| {
            numbers.map(move |n| {
                let at = n * block..(n + 1) * block;
                Block { friends: at.clone().map(|_| 1).collect(), at: at.collect(), cells: Vec::new() }
            })
        };
        let extend = |events: &mut Events, numbers| {
            events.blocks.extend(blocks(numbers));
            events.count = events.blocks.len() * BLOCK;
            events.dirty.mark(events.blocks.len() - 1);
        };
        let mut events = Events::default();
        extend(&mut events, 0..17);
        let left = |events: &Events| (events.len() as i64, events.blocks.len(), events.dirty.len());
        let all = (17 * block, 17, 17);
        events.drop_old_blocks(block - 1);
        assert_eq!(left(&events), all, "the last event of the first block is to stay");
        events.drop_old_blocks(block);
        assert_eq!(left(&events), (16 * block, 16, 16), "one of sixteen others");
        let mut few = events.clone();
        few.push(Row { at: 3, friend: 2, cells: Vec::new() });
        few.drop_old_blocks(17 * block + 5);
        assert_eq!(left(&few), (0, 0, 0), "late ones, too");
        extend(&mut events, 17..33);
        assert_eq!(left(&events).1, 32);
        events.dirty.take();
        events.drop_old_blocks(2 * block);
        assert_eq!(left(&events).1, 32, "one of 32 can wait");
        events.drop_old_blocks(3 * block);
        assert_eq!(left(&events), (30 * block, 30, 30));
        assert!(events.dirty.is_dirty(), "every block has moved");
        let window = Window { after: i64::MIN, until: 3 * block + 2 };
        assert_eq!(
            rows(&events, window).iter().map(|row| row.0).collect::<Vec<_>>(),
            [3 * block, 3 * block + 1, 3 * block + 2]
        );
    }
}
