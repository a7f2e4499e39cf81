//! A backup's file from its first byte to its name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags};

use super::BackupError;

/// Says of an error what was being done with which file.
pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}

/// A file that is not a backup yet: removed when dropped, by whatever way.
pub(super) struct Partial {
    path: PathBuf,
    name: String,
}

impl Partial {
    /// An empty file of its owner's alone beside the target. What a killed process of this state directory left there is
    /// removed: its name is the same, and nobody else uses it.
    pub(super) fn create(target: &Path, holder: &str) -> Result<Self, BackupError> {
        let folder = folder_of(target);
        let path = folder.join(format!(".haishin-backup-{holder}.partial"));
        let Some(name) = path.to_str().map(str::to_owned) else {
            return Err(BackupError::NotUnicode(path));
        };
        let partial = Self { path, name };
        partial.remove();
        let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.path);
        new.map_err(failed(target))?;
        Ok(partial)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// On the disk, and then by its name; never in the place of another file. How large it is.
    pub(super) async fn settle(&self, target: &Path) -> Result<u64, BackupError> {
        let (from, to) = (self.path.clone(), target.to_owned());
        let settled = tokio::task::spawn_blocking(move || {
            let file = File::open(&from)?;
            file.sync_all()?;
            rename_new(&from, &to)?;
            File::open(folder_of(&to))?.sync_all()?;
            Ok::<_, io::Error>(file.metadata()?.len())
        });
        match settled.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists(target.to_owned()))
            }
            Ok(Err(error)) => Err(failed(target)(error)),
            Err(_) => Err(BackupError::Interrupted),
        }
    }

    /// With what SQLite may have put beside it.
    fn remove(&self) {
        for beside in ["", "-journal"] {
            // It is not there, most of the time.
            let _ = fs::remove_file(format!("{}{beside}", self.name));
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Gives a file a name that nothing has yet.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not know this: a second name fails where there is one, too.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// The folder a file is in.
pub(in crate::app) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The state directory's own folder for backups, as private as the database.
pub(super) fn make_folder(folder: &Path, state: &Path) -> Result<(), BackupError> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            give_to_owner_of(state, folder);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(folder)(error)),
    }
}

/// What root makes in a service's state directory is the service's. Where that is not allowed, it is the owner's already.
pub fn give_to_owner_of(folder: &Path, path: &Path) {
    if let Ok(owner) = fs::metadata(folder) {
        let _ = std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()));
    }
}

/// What may still be written where a file is to be.
///
/// # Errors
/// The file system does not say.
pub fn free_bytes(target: &Path) -> Result<u64, BackupError> {
    let folder = folder_of(target);
    let said = rustix::fs::statvfs(folder).map_err(|error| failed(folder)(error.into()))?;
    Ok(said.f_bavail.saturating_mul(said.f_frsize))
}

/// Whether so much has room, before the first byte is written.
///
/// # Errors
/// [`BackupError::NoRoom`] with both figures.
pub fn check_room(target: &Path, needed: u64, free: u64) -> Result<(), BackupError> {
    if needed <= free {
        return Ok(());
    }
    Err(BackupError::NoRoom { path: folder_of(target).to_owned(), needed, free })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_refused_with_both_figures() {
        let target = Path::new("/backups/today.sqlite3");
        assert!(check_room(target, 5_000, 5_000).is_ok());
        let refused = check_room(target, 5_001, 5_000).err();
        let Some(BackupError::NoRoom { path, needed: 5_001, free: 5_000 }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(path, Path::new("/backups"));
        assert!(free_bytes(Path::new("/proc/none")).is_ok_and(|free| free == 0));
        assert!(matches!(free_bytes(Path::new("/nowhere/none")), Err(BackupError::File { .. })));
    }

    #[tokio::test]
    async fn a_backup_gets_its_name_at_last_and_never_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("today.sqlite3");
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        // Killed in the middle: what it left is no obstacle, and gone.
        let killed = Partial::create(&target, "node").unwrap();
        fs::write(killed.path(), "half").unwrap();
        fs::write(format!("{}-journal", killed.name()), "half").unwrap();
        std::mem::forget(killed);
        let partial = Partial::create(&target, "node").unwrap();
        assert_eq!((partial.bytes(), names()), (0, vec![".haishin-backup-node.partial".to_owned()]));
        fs::write(partial.path(), "whole").unwrap();
        assert_eq!(partial.settle(&target).await.unwrap(), 5);
        drop(partial);
        assert_eq!(names(), ["today.sqlite3"]);

        let second = Partial::create(&target, "node").unwrap();
        fs::write(second.path(), "other").unwrap();
        assert!(matches!(second.settle(&target).await, Err(BackupError::Exists(_))));
        drop(second);
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), names().len()), ("whole", 1));
    }
}
