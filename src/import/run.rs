//! Drives a file into the inbox: reading and appending overlap, memory is two chunks.

use std::io::{self, Read};
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::encoding::Encoding;
use super::mapping::Kind;
use super::progress::{Position, Progress};
use super::reader::{Named, Reader, RowError};
use super::reject::{Reject, RejectsFile};
use super::report::{FirstReject, Intakes, Repeated, Report};
use crate::domain::effect::Intake;
use crate::domain::friend::Miss;
use crate::lang::Lang;

/// The most intakes of one append; a row's are never divided.
pub const CHUNK_INTAKES_MAX: usize = 5_000;

/// Long texts end a chunk earlier: the most bytes of the file behind one append, but for its last row. Also what is
/// kept of rows that may still turn out to name nobody.
const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// Takes intakes in the file's order; returns once they are durable.
#[async_trait]
pub trait Sink: Send {
    /// Why intakes could not be appended.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Appends at most [`CHUNK_INTAKES_MAX`] intakes (more only if one row says more), all or none but for those
    /// that name no one friend: their places, in order, are given back.
    async fn append(&mut self, intakes: Vec<Intake>) -> Result<Vec<(usize, Miss)>, Self::Error>;
}

/// Why an import stopped. What was appended before stays, and a second run adds none of it again.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E: std::error::Error + 'static> {
    /// The inbox refused.
    #[error(
        "cannot append after {rows} rows; run the same import again, what is in already is not added twice"
    )]
    Sink {
        /// Rows that are in.
        rows: u64,
        /// Why.
        source: E,
    },
    /// The file cannot be read.
    #[error("cannot read on; run the same import again, what is in already is not added twice")]
    Read(#[from] io::Error),
    /// The rejects file cannot be written.
    #[error("cannot write the rejects to {}; name another file with --rejects", .path.display())]
    Rejects {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl<E: std::error::Error + 'static> RunError<E> {
    /// What happened and what to do; the cause stays a source.
    pub fn text(&self, lang: Lang) -> String {
        let again = "同じ取り込みをもう一度実行してください(取り込み済みの行は重複しません)";
        match self {
            Self::Sink { rows, .. } => {
                lang.pick(format!("{rows}行の後で取り込めなくなりました。{again}"), self.to_string())
            }
            Self::Read(_) => lang.pick(format!("続きを読めません。{again}"), self.to_string()),
            Self::Rejects { path, .. } => lang.pick(
                format!(
                    "取り込めない行を {} に書けません。--rejects で別のファイルを指定してください",
                    path.display()
                ),
                self.to_string(),
            ),
        }
    }
}

/// Reads all rows into `sink`; bad ones and those that name no friend go to `rejects`. `total` is the file's size,
/// for the time left.
///
/// # Errors
/// Only what stops an import: a bad row never does.
pub async fn run<R, S>(
    kind: Kind,
    reader: Reader<R>,
    total: Option<u64>,
    rejects: RejectsFile,
    sink: &mut S,
    progress: &mut dyn Progress,
) -> Result<Report, RunError<S::Error>>
where
    R: Read + Send + 'static,
    S: Sink,
{
    let started = Instant::now();
    let mut books = Books {
        report: Report::new(kind, reader.by_external_id()),
        header: reader.header().to_vec(),
        rejects,
    };
    let (chunks, mut incoming) = mpsc::channel(1);
    let reading = tokio::task::spawn_blocking(move || read(reader, &chunks));
    let mut rows = 0;
    while let Some(mut chunk) = incoming.recv().await {
        let intakes = std::mem::take(&mut chunk.intakes);
        let missed = if intakes.is_empty() {
            Vec::new()
        } else {
            sink.append(intakes).await.map_err(|source| RunError::Sink { rows, source })?
        };
        let (bytes, elapsed) = (chunk.bytes, started.elapsed());
        rows = chunk.rows;
        books.enter(chunk, &missed)?;
        let rejected = books.report.rejected;
        progress.at(&Position { bytes, total, rows, rejected, elapsed });
    }
    let Ending { encoding, ignored_columns, repeated_event_ids } =
        reading.await.map_err(io::Error::other)??;
    let mut report = books.close()?;
    report.encoding = encoding;
    report.ignored_columns = ignored_columns;
    report.repeated_event_ids = repeated_event_ids;
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// What becomes of rows: the report and the rejects file.
struct Books {
    report: Report,
    header: Vec<String>,
    rejects: RejectsFile,
}

impl Books {
    /// A chunk whose intakes are durable, but for those at these places.
    fn enter<E: std::error::Error + 'static>(
        &mut self,
        chunk: Chunk,
        missed: &[(usize, Miss)],
    ) -> Result<(), RunError<E>> {
        let Chunk { rows, accepted, says, named, mut rejects, .. } = chunk;
        self.report.rows = rows;
        self.report.accepted += accepted;
        self.report.intakes.change(says, u64::saturating_add);
        for (row, miss) in nameless(named, missed) {
            self.report.accepted = self.report.accepted.saturating_sub(1);
            self.report.intakes.change(row.says, u64::saturating_sub);
            rejects.push(row.rejected(miss));
        }
        rejects.sort_by_key(|reject| reject.line);
        rejects.iter().try_for_each(|reject| self.reject(reject)).map_err(|source| self.failed(source))
    }

    fn reject(&mut self, reject: &Reject) -> io::Result<()> {
        self.report.rejected += 1;
        let lang = self.rejects.lang();
        self.report
            .first_reject
            .get_or_insert_with(|| FirstReject { line: reject.line, reason: reject.text(lang) });
        self.rejects.write(&self.header, reject)
    }

    fn close<E: std::error::Error + 'static>(mut self) -> Result<Report, RunError<E>> {
        self.rejects.finish().map_err(|source| self.failed(source))?;
        self.report.rejects_file = self.rejects.path().map(Into::into);
        Ok(self.report)
    }

    fn failed<E: std::error::Error + 'static>(&self, source: io::Error) -> RunError<E> {
        RunError::Rejects { path: self.rejects.target().to_owned(), source }
    }
}

/// The rows behind these places of their intakes, which follow each other without gaps.
fn nameless(named: Vec<Named>, missed: &[(usize, Miss)]) -> Vec<(Named, Miss)> {
    let mut missed = missed.iter().peekable();
    let mut end = 0;
    let mut nameless = Vec::new();
    for row in named {
        end += row.says.total();
        let mut miss = None;
        while let Some((_, why)) = missed.next_if(|(place, _)| *place < end) {
            miss = Some(*why);
        }
        nameless.extend(miss.map(|miss| (row, miss)));
    }
    nameless
}

/// Rows that are appended together, and where the file stands after them.
#[derive(Default)]
struct Chunk {
    intakes: Vec<Intake>,
    /// The rows behind the intakes, where they name friends by customer id.
    named: Vec<Named>,
    rejects: Vec<Reject>,
    accepted: u64,
    says: Intakes,
    bytes: u64,
    rows: u64,
}

impl Chunk {
    fn is_empty(&self) -> bool {
        self.accepted == 0 && self.rejects.is_empty()
    }
}

/// What is known of a file once it is read.
struct Ending {
    encoding: Option<Encoding>,
    ignored_columns: Vec<String>,
    repeated_event_ids: Repeated,
}

/// Reads the whole file on a thread of its own; stops when nobody takes chunks any more.
fn read<R: Read>(mut reader: Reader<R>, chunks: &mpsc::Sender<Chunk>) -> io::Result<Ending> {
    let (mut chunk, mut sent_bytes) = (Chunk::default(), 0);
    loop {
        let (before, rows) = (reader.bytes(), reader.rows());
        let row = match reader.next() {
            None => break,
            Some(Err(RowError::Io(error))) => return Err(error),
            Some(Err(RowError::Reject(reject))) => Err(reject),
            Some(Ok(intakes)) => Ok(intakes),
        };
        let more = row.as_ref().map_or(0, Vec::len);
        let full = chunk.intakes.len() + more > CHUNK_INTAKES_MAX || before - sent_bytes >= CHUNK_BYTES_MAX;
        if full && !chunk.is_empty() {
            let full = Chunk { bytes: before, rows, ..std::mem::take(&mut chunk) };
            sent_bytes = before;
            if chunks.blocking_send(full).is_err() {
                break;
            }
        }
        match row {
            Err(reject) => chunk.rejects.push(reject),
            Ok(intakes) => {
                chunk.named.extend(reader.named(&intakes));
                chunk.accepted += 1;
                chunk.says.change(Intakes::of(&intakes), u64::saturating_add);
                chunk.intakes.extend(intakes);
            }
        }
    }
    if !chunk.is_empty() {
        let last = Chunk { bytes: reader.bytes(), rows: reader.rows(), ..chunk };
        // A receiver that is gone has an error of its own to tell.
        let _ = chunks.blocking_send(last);
    }
    Ok(Ending {
        encoding: reader.encoding(),
        ignored_columns: reader.ignored().to_vec(),
        repeated_event_ids: reader.repeated(),
    })
}
