//! Which chunks of a column changed since they were last written to a checkpoint.

/// One flag a chunk. A chunk that came into being is dirty, so every chunk has been written at least once. Those that are
/// no more are written once again, empty: what a checkpoint holds in their places is to be displaced like everything else.
#[derive(Debug, Clone, Default)]
pub(super) struct Dirty {
    flags: Vec<bool>,
    /// One past the last place that may have to be written empty; no more than there are chunks if none has to.
    blank: usize,
}

impl Dirty {
    /// How many chunks there are.
    pub(super) fn len(&self) -> usize {
        self.flags.len()
    }

    pub(super) fn mark(&mut self, chunk: usize) {
        if self.flags.len() <= chunk {
            self.flags.resize(chunk + 1, true);
        }
        if let Some(flag) = self.flags.get_mut(chunk) {
            *flag = true;
        }
    }

    /// Marks these chunks and all after them, of which there are now none beyond `len`.
    pub(super) fn mark_from(&mut self, first: usize, len: usize) {
        self.blank = self.blank.max(self.flags.len());
        self.flags.truncate(first);
        self.flags.resize(len, true);
    }

    pub(super) fn mark_all(&mut self) {
        self.flags.fill(true);
    }

    /// There are so many chunks, all of them as the checkpoint has them.
    pub(super) fn clean(len: usize) -> Self {
        Self { flags: vec![false; len], blank: 0 }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.blank > self.flags.len() || self.flags.contains(&true)
    }

    /// The dirty chunks and the places to be emptied, which are clean from now on.
    pub(super) fn take(&mut self) -> Vec<usize> {
        let dirty = (0..).zip(&self.flags).filter(|(_, flag)| **flag).map(|(chunk, _)| chunk);
        let dirty = dirty.chain(self.flags.len()..self.blank).collect();
        self.flags.fill(false);
        self.blank = 0;
        dirty
    }
}
