//! Copies of the embedded database, made while it is in use; when the last one was made.

mod file;
mod record;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Database, Paths, StateLock, database_url};
use crate::clock::{Clock, SystemClock};
use crate::config::node::Node as NodeSettings;
use crate::control::backups::{Backups as Asked, Standing};
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::protocol::{Answer, Failure, Progress, Reply};
use crate::store::sqlite::copy::{self, CopyError, Look};
use crate::telemetry::metric;
pub(super) use file::folder_of;
pub use file::{check_room, free_bytes, give_to_owner_of};
pub use record::Last;
pub use told::{BackupError, size};
pub(super) use told::{accounts_json, table};

/// Whoever waits is told this often how far it is.
const TELL: Duration = Duration::from_secs(1);

/// Where backups go of which nobody says where.
const FOLDER: &str = "backups";

/// The backups of one state directory, whose lock the process holds.
pub struct Backups {
    /// Where what is known of the last one lies, and those that go nowhere else.
    state: PathBuf,
    database: Database,
    /// Names the partial file: no other process uses that name.
    holder: String,
    clock: Arc<dyn Clock>,
    warn_after: Option<Span>,
    stop: CancellationToken,
    one: tokio::sync::Mutex<()>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Who, when, where, how large.
    pub last: Last,
    /// What stands in it, as read back from it.
    pub look: Look,
}

/// What is told while a backup is made: bytes so far, and about how many there will be. Who is gone wants none.
#[async_trait]
pub trait Tell: Send {
    /// Whether anybody still listens.
    async fn tell(&mut self, progress: Progress) -> bool;
}

#[async_trait]
impl Tell for &mpsc::Sender<Reply> {
    async fn tell(&mut self, progress: Progress) -> bool {
        self.send(Reply::Progress(progress)).await.is_ok()
    }
}

impl Backups {
    /// Those of a state directory. What is being made ends with `stop`.
    pub fn new(
        state: &Path,
        database: Database,
        holder: &str,
        clock: Arc<dyn Clock>,
        warn_after: Option<Span>,
        stop: CancellationToken,
    ) -> Self {
        let one = tokio::sync::Mutex::default();
        Self { state: state.to_owned(), database, holder: holder.to_owned(), clock, warn_after, stop, one }
    }

    /// Those of a state directory on which no daemon runs.
    ///
    /// # Errors
    /// The settings cannot be read.
    pub fn of(paths: &Paths, settings: &NodeSettings, lock: &StateLock, lang: Lang) -> anyhow::Result<Self> {
        let database = Database::of(&database_url(settings, paths, lang)?);
        let (clock, stop) = (Arc::new(SystemClock::new()), CancellationToken::new());
        Ok(Self::new(&paths.state, database, &lock.holder, clock, settings.backup_warn_after, stop))
    }

    /// Copies, checks the copy, and gives it its name. Nothing that is there is overwritten; a failure leaves nothing
    /// behind.
    ///
    /// # Errors
    /// There is no such copy; [`BackupError`] says why and what to do.
    pub async fn make(
        &self,
        to: Option<&Path>,
        by: &str,
        mut listener: impl Tell,
    ) -> Result<Made, BackupError> {
        let Database::Embedded(database) = &self.database else { return Err(BackupError::Server) };
        if !database.exists() {
            return Err(BackupError::NoDatabase(database.clone()));
        }
        let _one = self.one.try_lock().map_err(|_| BackupError::Busy)?;
        let at = self.clock.now();
        let target = self.target(to, at)?;
        let partial = file::Partial::create(&target, &self.holder)?;
        let of = copy::copied_bytes(database).await?;
        check_room(&target, of, free_bytes(&target)?)?;
        self.copy(database, &partial, of, &mut listener).await?;
        let look = copy::look(partial.path()).await.map_err(BackupError::from)?;
        let bytes = partial.settle(&target).await?;
        let last = Last { at, by: by.to_owned(), path: target.display().to_string(), bytes };
        if let Err(error) = last.write(&self.state) {
            tracing::error!(%error, "the state directory cannot be written: nobody will know of this backup");
        }
        gauge(Some(&last));
        tracing::info!(path = %last.path, bytes, by, "a backup was made");
        Ok(Made { last, look })
    }

    async fn copy(
        &self,
        database: &Path,
        partial: &file::Partial,
        of: u64,
        listener: &mut impl Tell,
    ) -> Result<(), BackupError> {
        let go_on = Arc::new(AtomicBool::new(true));
        let copying = copy::copy(database, partial.name(), go_on.clone());
        tokio::pin!(copying);
        let copied = loop {
            tokio::select! {
                copied = &mut copying => break copied,
                () = tokio::time::sleep(TELL) => {
                    let progress = Progress { bytes: partial.bytes(), of };
                    if !listener.tell(progress).await {
                        go_on.store(false, Ordering::Relaxed);
                    }
                }
                () = self.stop.cancelled(), if go_on.load(Ordering::Relaxed) => {
                    go_on.store(false, Ordering::Relaxed);
                }
            }
        };
        match copied {
            Err(CopyError::Full) => {
                let free = free_bytes(partial.path())?;
                Err(BackupError::NoRoom { path: partial.path().to_owned(), needed: of, free })
            }
            copied => Ok(copied?),
        }
    }

    /// The file's name: as asked for, within the folder asked for, or within the state directory's own.
    fn target(&self, to: Option<&Path>, at: Instant) -> Result<PathBuf, BackupError> {
        let name = format!("haishin-{}.sqlite3", at.utc().format("%Y%m%dT%H%M%SZ"));
        let target = match to {
            None => {
                let folder = self.state.join(FOLDER);
                file::make_folder(&folder, &self.state)?;
                folder.join(name)
            }
            Some(to) if to.is_dir() => to.join(name),
            Some(to) => to.to_owned(),
        };
        if target.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(target));
        }
        match target.parent() {
            Some(folder) if !folder.is_dir() => Err(BackupError::NoFolder(folder.to_owned())),
            _ => Ok(target),
        }
    }

    /// Shows the metrics what is known of the last one.
    pub fn gauge(&self) {
        gauge(self.last().as_ref());
    }

    fn last(&self) -> Option<Last> {
        matches!(self.database, Database::Embedded(_)).then(|| Last::read(&self.state)).flatten()
    }

    /// How late the last one is; none while it is not, or nobody wants to know.
    fn overdue(&self) -> Option<Overdue> {
        let Database::Embedded(_) = self.database else { return None };
        let (now, after) = (self.clock.now(), self.warn_after?);
        let last = self.last();
        let late = last.as_ref().is_none_or(|last| now - last.at > after);
        late.then_some(Overdue { last, after })
    }
}

/// The last backup is older than it may be.
struct Overdue {
    last: Option<Last>,
    after: Span,
}

fn gauge(last: Option<&Last>) {
    if let Some(last) = last {
        metrics::gauge!(metric::LAST_BACKUP).set(last.at.as_millis() as f64 / 1_000.0);
    }
}

#[async_trait]
impl Asked for Backups {
    async fn backup(
        &self,
        to: Option<PathBuf>,
        by: &str,
        lang: Lang,
        replies: &mpsc::Sender<Reply>,
    ) -> Result<Answer, Failure> {
        let made = self.make(to.as_deref(), by, replies).await;
        made.map(|made| made.answer(lang)).map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, by, "no backup was made");
            error.failure(lang)
        })
    }

    fn standing(&self) -> Standing {
        let overdue = self.overdue();
        let concern = overdue.as_ref().map(Overdue::concern);
        let json = matches!(self.database, Database::Embedded(_)).then(|| {
            let warn_after = self.warn_after.map(Span::as_millis);
            serde_json::json!({ "last": self.last(), "warn_after_ms": warn_after, "overdue": overdue.is_some() })
        });
        Standing { json, concern }
    }
}
