//! A backup in the place of the database: whole, held, and only then live. Killed anywhere, either the old database or
//! the new one is there, whole.
//!
//! The steps are apart, so that a test can stop after each: take, mark, keep, go live.

mod told;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::backup::{free_bytes, give_to_owner_of};
use super::{Database, Paths, StateLock, database_url, open_store};
use crate::clock::{Clock as _, SystemClock};
use crate::config::SecretString;
use crate::config::node::Node as NodeSettings;
use crate::domain::time::Instant;
use crate::engine::restored::{Held, Holder, hold};
use crate::lang::Lang;
use crate::store::Store as _;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::copy::{self, CopyError, Look};
pub use told::{RestoreError, held_answer};

/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// What SQLite puts beside a file.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What a backup would replace.
#[derive(Debug)]
pub enum Current {
    /// Nothing.
    None,
    /// A database that was read.
    Known(Look),
    /// A file that cannot be read; why.
    Unreadable(CopyError),
}

/// A backup that was taken over and checked, and what it would replace.
#[derive(Debug)]
pub struct Offer {
    /// The file.
    pub file: PathBuf,
    /// How large it is.
    pub bytes: u64,
    /// What stands in it.
    pub look: Look,
    /// What is there now.
    pub current: Current,
    /// Under which name that will be kept.
    pub kept: PathBuf,
}

/// A state directory whose database is being replaced: held by this process alone.
pub struct Restore<'l> {
    state: PathBuf,
    database: PathBuf,
    /// The copy that is not live yet.
    fresh: PathBuf,
    /// Where a rehearsal's clock began.
    rehearsal: Option<Instant>,
    _lock: &'l StateLock,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RestoreError {
    let path = path.to_owned();
    move |source| RestoreError::File { path: path.clone(), source }
}

/// A file's name with something behind it.
fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    id(one).is_some_and(|file| id(other) == Some(file))
}

fn sync(path: &Path) -> Result<(), RestoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(failed(path))
}

impl<'l> Restore<'l> {
    /// Begins, and clears away what a killed one left.
    ///
    /// # Errors
    /// The database is a server, or the settings cannot be read.
    pub fn begin(
        paths: &Paths,
        settings: &NodeSettings,
        lock: &'l StateLock,
        lang: Lang,
    ) -> anyhow::Result<Self> {
        let url = database_url(settings, paths, lang)?;
        let Database::Embedded(database) = Database::of(&url) else {
            return Err(RestoreError::Server.into());
        };
        let fresh = with(&database, ".restoring");
        let restore =
            Self { state: paths.state.clone(), database, fresh, rehearsal: paths.began(), _lock: lock };
        restore.clear()?;
        // A second name of the database that is still live: it was killed right before the new one became it.
        for kept in restore.all_kept() {
            if same_file(&kept, &restore.database) {
                remove(&kept).map_err(failed(&kept))?;
            }
        }
        Ok(restore)
    }

    fn folder(&self) -> &Path {
        super::backup::folder_of(&self.database)
    }

    fn all_kept(&self) -> Vec<PathBuf> {
        let beginning = with(&self.database, ".before-restore-");
        let names = fs::read_dir(self.folder()).into_iter().flatten().flatten().map(|entry| entry.path());
        names.filter(|path| path.to_string_lossy().starts_with(&*beginning.to_string_lossy())).collect()
    }

    /// Removes the copy that is not live.
    fn clear(&self) -> Result<(), RestoreError> {
        let all = BESIDE.iter().map(|beside| with(&self.fresh, beside)).chain([self.fresh.clone()]);
        for path in all {
            remove(&path).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// Takes the file over as a copy beside the database, and checks it.
    ///
    /// # Errors
    /// It is not there, has no room, or is no backup to go by; or somebody has the current database open.
    pub async fn take(&self, file: &Path) -> Result<Offer, RestoreError> {
        let bytes = self.fits(file)?;
        let (from, fresh) = (file.to_owned(), self.fresh.clone());
        let copied = tokio::task::spawn_blocking(move || copy_over(&from, &fresh)).await;
        copied.map_err(|_| RestoreError::Interrupted)??;
        let unfit = |source| RestoreError::Unfit { path: file.to_owned(), source };
        copy::settle(&self.fresh).await.map_err(unfit)?;
        let look = copy::look(&self.fresh).await.map_err(unfit)?;
        let current = self.current().await?;
        Ok(Offer { file: file.to_owned(), bytes, look, current, kept: self.free_name() })
    }

    /// A name by the machine's time that nothing has yet.
    fn free_name(&self) -> PathBuf {
        let now = SystemClock::new().now().utc().format("%Y%m%dT%H%M%SZ").to_string();
        let name = |n: u32| match n {
            1 => with(&self.database, &format!(".before-restore-{now}")),
            n => with(&self.database, &format!(".before-restore-{now}-{n}")),
        };
        let free = |path: &PathBuf| path.symlink_metadata().is_err();
        (1..1_000).map(name).find(free).unwrap_or_else(|| name(1_000))
    }

    /// Whether the file is one to take over at all: there, not the database itself, of SQLite's, and with room for it.
    fn fits(&self, file: &Path) -> Result<u64, RestoreError> {
        let found = match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RestoreError::Missing(file.to_owned()));
            }
            found => found.map_err(failed(file))?,
        };
        if !found.is_file() {
            return Err(RestoreError::NotAFile(file.to_owned()));
        }
        if same_file(file, &self.database) {
            return Err(RestoreError::Itself(file.to_owned()));
        }
        let mut magic = Vec::new();
        let opened = File::open(file).map_err(failed(file))?;
        opened.take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(failed(file))?;
        if magic != MAGIC {
            let source = CopyError::NotADatabase;
            return Err(RestoreError::Unfit { path: file.to_owned(), source });
        }
        let needed = found.len() + fs::metadata(with(file, "-wal")).map_or(0, |wal| wal.len());
        let free =
            free_bytes(&self.database).map_err(|_| RestoreError::NoDirectory(self.folder().to_owned()))?;
        if needed > free {
            return Err(RestoreError::NoRoom { path: self.folder().to_owned(), needed, free });
        }
        Ok(needed)
    }

    /// What is there now, settled into its one file.
    async fn current(&self) -> Result<Current, RestoreError> {
        if !self.database.exists() {
            return Ok(Current::None);
        }
        let settled = copy::settle(&self.database).await;
        if matches!(settled, Err(CopyError::InUse)) || (settled.is_ok() && self.has_log()) {
            return Err(RestoreError::InUse(self.database.clone()));
        }
        let looked = match settled {
            Ok(()) => copy::look(&self.database).await,
            Err(error) => Err(error),
        };
        Ok(looked.map_or_else(Current::Unreadable, Current::Known))
    }

    /// Whether SQLite's log lies beside the database: the last one who closes it takes it away.
    fn has_log(&self) -> bool {
        with(&self.database, "-wal").exists()
    }

    /// Brings the copy's schema up to date and holds everything in it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn mark(&self, offer: &Offer, by: &str) -> Result<Vec<Held>, RestoreError> {
        let unfit = |source: CopyError| RestoreError::Unfit { path: offer.file.clone(), source };
        let store = SqliteStore::open(&self.fresh).await.map_err(|error| unfit(error.into()))?;
        let seen = offer.look.accounts.iter().filter_map(|account| account.seen_at).max();
        let held = hold(&store, Holder::Alone, self.now(seen), by).await;
        store.close().await;
        let held = held?;
        copy::settle(&self.fresh).await.map_err(unfit)?;
        give_to_owner_of(&self.state, &self.fresh);
        sync(&self.fresh)?;
        Ok(held)
    }

    /// A rehearsal goes on from the latest instant stored: the machine's time would make its days ahead past.
    fn now(&self, seen: Option<Instant>) -> Instant {
        match self.rehearsal {
            Some(began) => seen.map_or(began, |seen| seen.max(began)),
            None => SystemClock::new().now(),
        }
    }

    /// Gives the current database a second name, under which it stays.
    ///
    /// # Errors
    /// The system refuses.
    pub fn keep(&self, offer: &Offer) -> Result<(), RestoreError> {
        if matches!(offer.current, Current::None) {
            return Ok(());
        }
        // Of one that could not be settled, the log is kept as well.
        for beside in ["", "-wal", "-journal"] {
            let (from, to) = (with(&self.database, beside), with(&offer.kept, beside));
            if from.exists() {
                fs::hard_link(&from, &to).map_err(failed(&to))?;
            }
        }
        sync(self.folder())
    }

    /// The new one takes the database's name, in one step. No log of the old one may be there then: SQLite would play it
    /// into the new one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn go_live(&self) -> Result<(), RestoreError> {
        for beside in BESIDE {
            let path = with(&self.database, beside);
            remove(&path).map_err(failed(&path))?;
        }
        sync(self.folder())?;
        fs::rename(&self.fresh, &self.database).map_err(failed(&self.database))?;
        sync(self.folder())
    }
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is by the next one.
        let _ = self.clear();
    }
}

/// A copy of its owner's alone, with the log beside it where there is one, on the disk.
fn copy_over(file: &Path, fresh: &Path) -> Result<(), RestoreError> {
    for beside in ["", "-wal"] {
        let (from, to) = (with(file, beside), with(fresh, beside));
        if !from.exists() {
            continue;
        }
        let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
        let mut new = new.map_err(failed(&to))?;
        let mut old = File::open(&from).map_err(failed(&from))?;
        io::copy(&mut old, &mut new).map_err(failed(&to))?;
        new.sync_all().map_err(failed(&to))?;
    }
    Ok(())
}

/// Marks the database as it is: restored by other means than ours. On any database; nobody may own it meanwhile.
///
/// # Errors
/// It cannot be opened, or somebody owns an account of it.
pub async fn mark_as_restored(
    paths: &Paths,
    settings: &NodeSettings,
    lock: &StateLock,
    by: &str,
    lang: Lang,
) -> anyhow::Result<Vec<Held>> {
    let url: SecretString = database_url(settings, paths, lang)?;
    if let Database::Embedded(path) = Database::of(&url)
        && !path.exists()
    {
        // Opening it would make an empty one.
        return Err(super::backup::BackupError::NoDatabase(path).into());
    }
    let store = open_store(&url, lang).await?;
    let held = async {
        let mut now = SystemClock::new().now();
        if let Some(began) = paths.began() {
            now = began;
            for account in store.accounts().await? {
                now = store.lease(account.id).await?.map_or(now, |lease| lease.seen_at.max(now));
            }
        }
        Ok::<_, anyhow::Error>(hold(store.as_ref(), Holder::Named(&lock.holder), now, by).await?)
    };
    let held = held.await;
    store.close().await;
    held
}
