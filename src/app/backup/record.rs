//! What is known of the last backup: a file in the state directory. Not in the database, which a backup puts back.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::time::Instant;

/// The file.
const NAME: &str = "last-backup.json";

/// The last backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When its copy was begun: what was committed before is in it.
    pub at: Instant,
    /// Who wanted it.
    pub by: String,
    /// Where it was put.
    pub path: String,
    /// How large it is.
    pub bytes: u64,
}

impl Last {
    /// The last one, if there ever was one. A torn or foreign file counts as none.
    pub fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(state.join(NAME)).ok()?).ok()
    }

    /// Writes it durably in the place of the one before.
    pub(super) fn write(&self, state: &Path) -> io::Result<()> {
        let new = state.join(format!("{NAME}.new"));
        let mut file = File::create(&new)?;
        serde_json::to_writer(&mut file, self)?;
        writeln!(file)?;
        file.sync_all()?;
        fs::rename(&new, state.join(NAME))?;
        File::open(state)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_is_known_or_none_is() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Last::read(state.path()), None);
        let last = |bytes| Last {
            at: Instant::from_millis(1_796_374_800_000),
            by: "hana".into(),
            path: "/backups/today.sqlite3".into(),
            bytes,
        };
        last(1).write(state.path()).unwrap();
        last(2).write(state.path()).unwrap();
        assert_eq!(Last::read(state.path()), Some(last(2)));
        fs::write(state.path().join(NAME), "{\"at\":").unwrap();
        assert_eq!(Last::read(state.path()), None);
    }
}
