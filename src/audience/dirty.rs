//! Which chunks of a column changed since they were last written to a checkpoint.

/// One flag a chunk. A chunk that came into being is dirty, so every chunk has been written at least once.
#[derive(Debug, Clone, Default)]
pub(super) struct Dirty(Vec<bool>);

impl Dirty {
    /// How many chunks there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn mark(&mut self, chunk: usize) {
        if self.0.len() <= chunk {
            self.0.resize(chunk + 1, true);
        }
        if let Some(flag) = self.0.get_mut(chunk) {
            *flag = true;
        }
    }

    /// Marks these chunks and all after them, of which there are now none beyond `len`.
    pub(super) fn mark_from(&mut self, first: usize, len: usize) {
        self.0.truncate(first);
        self.0.resize(len, true);
    }

    pub(super) fn mark_all(&mut self) {
        self.0.fill(true);
    }

    /// There are so many chunks, all of them as the checkpoint has them.
    pub(super) fn clean(len: usize) -> Self {
        Self(vec![false; len])
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.0.contains(&true)
    }

    /// The dirty chunks, which are clean from now on.
    pub(super) fn take(&mut self) -> Vec<usize> {
        let dirty = (0..).zip(&self.0).filter(|(_, flag)| **flag).map(|(chunk, _)| chunk).collect();
        self.0.fill(false);
        dirty
    }
}
