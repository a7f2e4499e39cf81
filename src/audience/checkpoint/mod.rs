//! Checkpoints: the index as rows (kind, key, chunk, seq, checksum, data), and back.
//!
//! Each row stands for itself: it carries the journal number it is as of, and a checksum over all it says. A run
//! writes the rows that changed, then a directory of all columns and how many chunks each has. State rows of one run
//! may be of different numbers, since entries are absolute and are replayed from the run's number on; all rows of one
//! event name are of the same, since an event must be counted once. A row that is missing or torn is an error, and
//! the index is then built anew: never trusted in part.

pub(super) mod codec;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use roaring::RoaringBitmap;

use super::Index;
use super::column::chunk_range;
use super::dirty::Dirty;
use super::sparse::Sparse;
use crate::domain::id::{AttributeName, EventName, Seq, TagName};
use codec::{Reader, Torn, Writer, checksum};
pub use restore::{CheckpointColumn, CheckpointDirectory};

/// The first byte of each row; a row of another version is not read.
const VERSION: u8 = 2;

/// One row of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Which family of columns: `users`, `friends`, `followed`, `blocked`, `external`, `tag`, `attribute`, `event`, or the
    /// `directory`.
    pub kind: String,
    /// Which column of it: a tag, an attribute, an event; else empty.
    pub key: String,
    /// Dense id / 65,536; for events the number of their block.
    pub chunk: u32,
    /// Every entry of the journal up to here is in it.
    pub seq: Seq,
    /// Over all the other fields.
    pub checksum: i64,
    /// The encoded columns.
    pub data: Vec<u8>,
}

/// Why rows are no checkpoint; in each case the index is built from friend rows and the journal instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// There is no directory: the run that wrote these rows did not end.
    #[error("the checkpoint has no directory")]
    NoDirectory,
    /// The directory names a row there is none of.
    #[error("the checkpoint lacks chunk {chunk} of {kind} `{key}`")]
    Missing {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
        /// Its chunk.
        chunk: u32,
    },
    /// A row is not what was written.
    #[error("chunk {chunk} of {kind} `{key}` in the checkpoint is torn, or of another version")]
    Torn {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
        /// Its chunk.
        chunk: u32,
    },
}

/// A column of the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Users,
    Friends,
    Followed,
    Blocked,
    External,
    Tag(TagName),
    Attribute(AttributeName),
    Event(EventName),
    Directory,
}

impl Place {
    fn kind(&self) -> &'static str {
        match self {
            Place::Users => "users",
            Place::Friends => "friends",
            Place::Followed => "followed",
            Place::Blocked => "blocked",
            Place::External => "external",
            Place::Tag(_) => "tag",
            Place::Attribute(_) => "attribute",
            Place::Event(_) => "event",
            Place::Directory => "directory",
        }
    }

    fn key(&self) -> &str {
        match self {
            Place::Tag(name) => name.as_str(),
            Place::Attribute(name) => name.as_str(),
            Place::Event(name) => name.as_str(),
            _ => "",
        }
    }

    fn parse(kind: &str, key: &str) -> Result<Self, Torn> {
        let torn = |_| Torn;
        Ok(match kind {
            "users" => Place::Users,
            "friends" => Place::Friends,
            "followed" => Place::Followed,
            "blocked" => Place::Blocked,
            "external" => Place::External,
            "tag" => Place::Tag(TagName::parse(key).map_err(torn)?),
            "attribute" => Place::Attribute(AttributeName::parse(key).map_err(torn)?),
            "event" => Place::Event(EventName::parse(key).map_err(torn)?),
            _ => return Err(Torn),
        })
    }
}

/// A checkpoint in the making. Between its rows the index may be read and changed.
#[derive(Debug)]
pub struct CheckpointRun {
    seq: Seq,
    todo: VecDeque<(Place, VecDeque<usize>)>,
    directory: BTreeMap<Place, usize>,
    ended: bool,
}

impl CheckpointRun {
    /// Replay starts after this entry.
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

impl CheckpointRow {
    fn new(place: &Place, chunk: usize, seq: Seq, write: impl FnOnce(&mut Writer)) -> Self {
        let mut row = Writer::default();
        row.byte(VERSION);
        write(&mut row);
        let chunk = u32::try_from(chunk).unwrap_or(u32::MAX);
        let (kind, key, data) = (place.kind().to_owned(), place.key().to_owned(), row.finish());
        let mut row = Self { kind, key, chunk, seq, checksum: 0, data };
        row.checksum = row.digest();
        row
    }

    fn digest(&self) -> i64 {
        let (chunk, seq) = (self.chunk.to_le_bytes(), self.seq.0.to_le_bytes());
        checksum(&[self.kind.as_bytes(), self.key.as_bytes(), &chunk, &seq, &self.data])
    }

    fn read<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> Result<T, Torn>) -> Result<T, RestoreError> {
        let all = || {
            if self.digest() != self.checksum {
                return Err(Torn);
            }
            let mut row = Reader::new(&self.data);
            if row.byte()? != VERSION {
                return Err(Torn);
            }
            let found = read(&mut row)?;
            row.end()?;
            Ok(found)
        };
        let (kind, key, chunk) = (self.kind.clone(), self.key.clone(), self.chunk);
        all().map_err(|Torn| RestoreError::Torn { kind, key, chunk })
    }
}

impl Index {
    /// Begins a checkpoint of what changed since the last one. Rows come from [`Index::checkpoint_rows`]; should they
    /// not all become durable, [`Index::forget_checkpoint`] must be told.
    pub fn begin_checkpoint(&mut self) -> CheckpointRun {
        let mut run = CheckpointRun {
            seq: self.applied,
            todo: VecDeque::new(),
            directory: BTreeMap::new(),
            ended: false,
        };
        self.each_column(|place, dirty| {
            run.directory.insert(place.clone(), dirty.len());
            // Blocks of events are chosen when they are written, all of a name at once.
            let chunks = if matches!(place, Place::Event(_)) { Vec::new() } else { dirty.take() };
            let chunks = VecDeque::from(chunks);
            if !chunks.is_empty() || dirty.is_dirty() {
                run.todo.push_back((place, chunks));
            }
        });
        run
    }

    /// The next rows of a run: a chunk, or all blocks of a name's events, which must be of one number; `None` when it
    /// has written all, the directory last.
    pub fn checkpoint_rows(&mut self, run: &mut CheckpointRun) -> Option<Vec<CheckpointRow>> {
        let Some((place, mut chunks)) = run.todo.pop_front() else {
            return (!std::mem::replace(&mut run.ended, true)).then(|| vec![directory_row(run)]);
        };
        if let Place::Event(name) = &place {
            let events = self.events.get_mut(name)?;
            events.settle();
            run.directory.insert(place.clone(), events.dirty.len());
            let blocks = events.dirty.take();
            return Some(blocks.into_iter().map(|block| self.row(&place, block)).collect());
        }
        let row = chunks.pop_front().map(|chunk| self.row(&place, chunk));
        if !chunks.is_empty() {
            run.todo.push_front((place, chunks));
        }
        Some(row.into_iter().collect())
    }

    fn row(&self, place: &Place, chunk: usize) -> CheckpointRow {
        CheckpointRow::new(place, chunk, self.applied, |row| self.encode(place, chunk, row))
    }

    /// A run failed: what it was to write is written by the next one, with everything else.
    pub fn forget_checkpoint(&mut self) {
        self.each_column(|_, dirty| dirty.mark_all());
    }

    /// The index these rows hold, as of [`Index::applied`]: entries after that are to be applied.
    pub fn restore(rows: &[CheckpointRow]) -> Result<Self, RestoreError> {
        let find: BTreeMap<(&str, &str, u32), &CheckpointRow> =
            rows.iter().map(|row| ((row.kind.as_str(), row.key.as_str(), row.chunk), row)).collect();
        let (kind, key) = CheckpointDirectory::PLACE;
        let directory = CheckpointDirectory::read(find.get(&(kind, key, 0)).copied())?;
        let read = |mut column: CheckpointColumn| {
            while let Some(row) = column.next().and_then(|next| find.get(&next)) {
                column.take_in(row)?;
            }
            Ok(column)
        };
        let columns = directory.columns().into_iter().map(read).collect::<Result<_, _>>()?;
        directory.assemble(columns)
    }

    fn each_column(&mut self, mut visit: impl FnMut(Place, &mut Dirty)) {
        visit(Place::Users, &mut self.users.dirty);
        visit(Place::Friends, &mut self.sets_dirty);
        visit(Place::Followed, &mut self.followed_dirty);
        visit(Place::Blocked, &mut self.blocked_dirty);
        visit(Place::External, &mut self.external_ids.dirty);
        for (name, tag) in &mut self.tags {
            visit(Place::Tag(name.clone()), &mut tag.dirty);
        }
        for (name, attribute) in &mut self.attributes {
            visit(Place::Attribute(name.clone()), &mut attribute.dirty);
        }
        for (name, events) in &mut self.events {
            visit(Place::Event(name.clone()), &mut events.dirty);
        }
    }

    fn encode(&self, place: &Place, chunk: usize, row: &mut Writer) {
        match place {
            Place::Users => self.users.encode_chunk(chunk, row),
            Place::Friends => {
                for set in [&self.everybody, &self.following, &self.erased, &self.quarantined] {
                    row.set(&set.range(chunk_range(chunk)).collect());
                }
            }
            Place::Followed => self.followed_at.chunk(chunk).unwrap_or(&Sparse::default()).encode(row),
            Place::Blocked => self.blocked_at.chunk(chunk).unwrap_or(&Sparse::default()).encode(row),
            Place::External => self.external_ids.encode_chunk(chunk, row),
            Place::Tag(name) => {
                if let Some(tag) = self.tags.get(name) {
                    tag.encode_chunk(chunk, row);
                }
            }
            Place::Attribute(name) => {
                if let Some(attribute) = self.attributes.get(name) {
                    attribute.encode_chunk(chunk, row);
                }
            }
            Place::Event(name) => {
                if let Some(events) = self.events.get(name) {
                    events.encode_block(chunk, row);
                }
            }
            Place::Directory => {}
        }
    }

    fn decode(&mut self, place: &Place, chunk: usize, seq: Seq, row: &mut Reader<'_>) -> Result<(), Torn> {
        match place {
            Place::Users => self.users.decode_chunk(chunk, row)?,
            Place::Friends => {
                for set in [&mut self.everybody, &mut self.following, &mut self.erased, &mut self.quarantined]
                {
                    *set |= inside(row.set()?, chunk)?;
                }
            }
            Place::Followed => self.followed_at.replace_chunk(chunk, Sparse::decode(row)?),
            Place::Blocked => self.blocked_at.replace_chunk(chunk, Sparse::decode(row)?),
            Place::External => self.external_ids.decode_chunk(chunk, row)?,
            Place::Tag(name) => self.tags.entry(name.clone()).or_default().decode_chunk(chunk, row)?,
            Place::Attribute(name) => {
                self.attributes.entry(name.clone()).or_default().decode_chunk(chunk, row)?;
            }
            Place::Event(name) => self.events.entry(name.clone()).or_default().decode_block(seq, row)?,
            Place::Directory => return Err(Torn),
        }
        Ok(())
    }
}

/// The set, if it is one of the chunk's ids.
pub(super) fn inside(set: RoaringBitmap, chunk: usize) -> Result<RoaringBitmap, Torn> {
    let range = chunk_range(chunk);
    let fits = set.min().is_none_or(|first| range.contains(&first))
        && set.max().is_none_or(|last| range.contains(&last));
    if fits { Ok(set) } else { Err(Torn) }
}

fn directory_row(run: &CheckpointRun) -> CheckpointRow {
    CheckpointRow::new(&Place::Directory, 0, run.seq, |row| {
        row.number(run.directory.len());
        for (place, chunks) in &run.directory {
            row.bytes(place.kind().as_bytes());
            row.bytes(place.key().as_bytes());
            row.number(*chunks);
        }
    })
}
