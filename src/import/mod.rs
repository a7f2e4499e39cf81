//! CSV files to intakes: what the inbox takes. No database in here; `docs/import.md` tells users all of it.
//!
//! A file goes through `records` (bytes to fields), `encoding` (fields to text), `plan` (a row's text to
//! effects, by a `mapping` tied to the file's header) and `domain::identity` (what makes an event the same event at a
//! second import). `run` drives that into a [`Sink`] in chunks.

mod cell;
mod encoding;
mod mapping;
mod plan;
mod problem;
mod progress;
mod reader;
mod records;
mod reject;
mod report;
mod run;

pub use cell::{ID_CHARS_MAX, value};
pub use encoding::Encoding;
pub use mapping::{Kind, Mapping, Source};
pub use plan::AttributeTypes;
pub use problem::{Problem, texts};
pub use progress::{Bar, Lines, Position, Progress, Silent};
pub use reader::{OpenError, Reader, RowError};
pub use records::{COLUMNS_MAX, RECORD_BYTES_MAX};
pub use reject::{Reason, Reject, RejectsFile};
pub use report::{FirstReject, Intakes, Repeated, Report};
pub use run::{CHUNK_INTAKES_MAX, RunError, Sink, run};
