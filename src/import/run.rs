//! Drives a file into the inbox: reading and appending overlap, memory is two chunks.

use std::io::{self, Read};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::mapping::Kind;
use super::progress::{Position, Progress};
use super::reader::{Reader, RowError};
use super::reject::RejectsFile;
use super::report::{FirstReject, Report};
use crate::domain::effect::Intake;

/// The most intakes of one append; a row's are never divided.
pub const CHUNK_INTAKES_MAX: usize = 5_000;

/// Long texts end a chunk earlier: the most bytes of the file behind one append.
const CHUNK_BYTES_MAX: u64 = 4 * 1_048_576;

/// Takes intakes in the file's order; returns once they are durable.
#[async_trait]
pub trait Sink: Send {
    /// Why intakes could not be appended.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Appends at most [`CHUNK_INTAKES_MAX`] intakes (more only if one row says more), all or none.
    async fn append(&mut self, intakes: Vec<Intake>) -> Result<(), Self::Error>;
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
    /// The file cannot be read, or the rejects file not be written.
    #[error(
        "cannot read the file or write its rejects; run the same import again, what is in already is not added twice"
    )]
    Io(#[from] io::Error),
}

/// Reads all rows into `sink`; bad ones go to `rejects`. `total` is the file's size, for the time left.
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
    let (chunks, mut incoming) = mpsc::channel(1);
    let reading = tokio::task::spawn_blocking(move || read(kind, reader, rejects, &chunks));
    let mut rows = 0;
    while let Some(Chunk { intakes, bytes, rows: rows_after, rejected }) = incoming.recv().await {
        sink.append(intakes).await.map_err(|source| RunError::Sink { rows, source })?;
        rows = rows_after;
        progress.at(&Position { bytes, total, rows, rejected, elapsed: started.elapsed() });
    }
    let mut report = reading.await.map_err(io::Error::other)??;
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// Intakes, and where the file stands after them.
struct Chunk {
    intakes: Vec<Intake>,
    bytes: u64,
    rows: u64,
    rejected: u64,
}

/// Reads the whole file on a thread of its own; stops when nobody takes chunks any more.
fn read<R: Read>(
    kind: Kind,
    mut reader: Reader<R>,
    mut rejects: RejectsFile,
    chunks: &mpsc::Sender<Chunk>,
) -> io::Result<Report> {
    let mut report = Report::new(kind);
    let (mut intakes, mut sent_bytes) = (Vec::new(), 0);
    loop {
        let before = reader.bytes();
        let row = match reader.next() {
            None => break,
            Some(Ok(row)) => row,
            Some(Err(RowError::Io(error))) => return Err(error),
            Some(Err(RowError::Reject(reject))) => {
                report.rejected += 1;
                rejects.write(reader.header(), &reject)?;
                report.first_reject.get_or_insert_with(|| FirstReject {
                    line: reject.line,
                    reason: reject.text(rejects.lang()),
                });
                continue;
            }
        };
        let full = !intakes.is_empty()
            && (intakes.len() + row.len() > CHUNK_INTAKES_MAX || before - sent_bytes > CHUNK_BYTES_MAX);
        if full {
            let chunk = Chunk {
                intakes: std::mem::take(&mut intakes),
                bytes: before,
                rows: reader.rows() - 1,
                rejected: report.rejected,
            };
            sent_bytes = before;
            if chunks.blocking_send(chunk).is_err() {
                break;
            }
        }
        report.accepted += 1;
        report.intakes.count(&row);
        intakes.extend(row);
    }
    rejects.finish()?;
    let (bytes, rows) = (reader.bytes(), reader.rows());
    if !intakes.is_empty() {
        // A receiver that is gone has an error of its own to tell.
        let _ = chunks.blocking_send(Chunk { intakes, bytes, rows, rejected: report.rejected });
    }
    report.rows = rows;
    report.rejects_file = rejects.path().map(Into::into);
    report.encoding = reader.encoding();
    report.ignored_columns = reader.ignored().to_vec();
    Ok(report)
}
