//! The last owner transaction as a file in the state directory: how a database that went back in time is found
//! out. Written after each freeze's commit; read when an account is claimed.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// One account's ticket.
#[derive(Debug)]
pub struct Ticket {
    path: PathBuf,
}

impl Ticket {
    /// The ticket of an account in a state directory.
    pub fn new(state_dir: &Path, account: &crate::domain::id::AccountSlug) -> Self {
        Self { path: state_dir.join(format!("{account}.seq")) }
    }

    /// The last number written, if one ever was. A torn or foreign file counts as none.
    pub fn read(&self) -> Option<i64> {
        std::fs::read_to_string(&self.path).ok()?.trim().parse().ok()
    }

    /// Writes the number durably: a new file, synced, renamed over the old one.
    pub fn write(&self, seq: i64) -> std::io::Result<()> {
        let new = self.path.with_extension("seq.new");
        let mut file = std::fs::File::create(&new)?;
        writeln!(file, "{seq}")?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(dir) => std::fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_the_last_number_written_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let ticket = Ticket::new(dir.path(), &crate::domain::id::AccountSlug::parse("koharu").unwrap());
        assert_eq!(ticket.read(), None);
        ticket.write(41).unwrap();
        ticket.write(42).unwrap();
        assert_eq!(ticket.read(), Some(42));
        std::fs::write(dir.path().join("koharu.seq"), "4x").unwrap();
        assert_eq!(ticket.read(), None);
    }
}
