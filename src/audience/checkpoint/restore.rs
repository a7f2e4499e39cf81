//! From rows to an index: column by column, each by itself, so that they can be read and decoded beside each other.

use std::collections::BTreeMap;

use super::codec::{Reader, Torn};
use super::{CheckpointRow, Dirty, Index, Place, RestoreError};
use crate::domain::id::Seq;

/// What a checkpoint says there is: its columns, and how many chunks each has.
#[derive(Debug, Clone)]
pub struct CheckpointDirectory {
    seq: Seq,
    columns: BTreeMap<Place, usize>,
}

/// A column of a checkpoint on its way into an index.
#[derive(Debug)]
pub struct CheckpointColumn {
    place: Place,
    chunks: usize,
    taken: usize,
    /// Holds this column alone.
    index: Index,
}

impl CheckpointDirectory {
    /// Kind and key of its row; the chunk is 0.
    pub const PLACE: (&'static str, &'static str) = ("directory", "");

    /// Reads its row.
    pub fn read(row: Option<&CheckpointRow>) -> Result<Self, RestoreError> {
        let row = row.ok_or(RestoreError::NoDirectory)?;
        Ok(Self { seq: row.seq, columns: row.read(columns)? })
    }

    /// The columns to read, those first that take longest.
    pub fn columns(&self) -> Vec<CheckpointColumn> {
        let mut columns: Vec<CheckpointColumn> = self.columns.iter().map(CheckpointColumn::new).collect();
        columns.sort_by_key(|column| {
            (!matches!(column.place, Place::Users | Place::External), std::cmp::Reverse(column.chunks))
        });
        columns
    }

    /// The index of all its columns, each of which must be whole.
    pub fn assemble(&self, columns: Vec<CheckpointColumn>) -> Result<Index, RestoreError> {
        let mut missing = self.columns.clone();
        let mut index = Index { applied: self.seq, ..Index::default() };
        for column in columns {
            if let Some((kind, key, chunk)) = column.next() {
                return Err(RestoreError::Missing { kind: kind.into(), key: key.into(), chunk });
            }
            missing.remove(&column.place);
            index.join(column.index);
        }
        if let Some((place, _)) = missing.iter().find(|(_, chunks)| **chunks > 0) {
            let (kind, key) = (place.kind().into(), place.key().into());
            return Err(RestoreError::Missing { kind, key, chunk: 0 });
        }
        index.each_column(|place, dirty| {
            *dirty = Dirty::clean(self.columns.get(&place).copied().unwrap_or(0));
        });
        Ok(index)
    }
}

impl CheckpointColumn {
    fn new((place, chunks): (&Place, &usize)) -> Self {
        let mut index = Index::default();
        if *place == Place::Users {
            index.users.expect(chunks << 16);
        }
        Self { place: place.clone(), chunks: *chunks, taken: 0, index }
    }

    /// Its kind and key.
    pub fn place(&self) -> (&str, &str) {
        (self.place.kind(), self.place.key())
    }

    /// How many chunks it has. Others of its kind and key are left from when it had more.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Kind, key and chunk of the row it takes in next, if it is not whole.
    pub fn next(&self) -> Option<(&str, &str, u32)> {
        let chunk = u32::try_from(self.taken).unwrap_or(u32::MAX);
        (self.taken < self.chunks).then(|| (self.place.kind(), self.place.key(), chunk))
    }

    /// That what comes next cannot be read.
    fn torn(&self) -> RestoreError {
        let (kind, key) = self.place();
        let chunk = u32::try_from(self.taken).unwrap_or(u32::MAX);
        RestoreError::Torn { kind: kind.into(), key: key.into(), chunk }
    }

    /// Takes in its next row.
    pub fn take_in(&mut self, row: &CheckpointRow) -> Result<(), RestoreError> {
        let Some((kind, key, chunk)) = self.next() else { return Err(self.torn()) };
        if (row.kind.as_str(), row.key.as_str(), row.chunk) != (kind, key, chunk) {
            return Err(RestoreError::Missing { kind: kind.into(), key: key.into(), chunk });
        }
        let (place, index) = (&self.place, &mut self.index);
        row.read(|reader| index.decode(place, chunk as usize, row.seq, reader))?;
        self.taken += 1;
        Ok(())
    }
}

fn columns(row: &mut Reader<'_>) -> Result<BTreeMap<Place, usize>, Torn> {
    (0..row.number()?).map(|_| Ok((Place::parse(row.text()?, row.text()?)?, row.number()?))).collect()
}
