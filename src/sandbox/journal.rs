//! What survives a kill of the sandbox: an append-only file of JSON lines, each in the kernel's hands before the
//! request is answered. A line torn by a kill was never answered, so it is dropped.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::SandboxError;
use crate::domain::time::Instant;

/// One line. Digests, keys and ids are hexadecimal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// The sandbox started; request ids are drawn anew after each.
    Started { boot: u64 },
    /// A key came with a body it had not come with before.
    Seen { key: String, body: String },
    /// A `messages` array, before its first delivery.
    Content { sha: String, json: String },
    /// A multicast was taken.
    Accepted(Accepted),
    /// A rich menu was linked, or unlinked.
    Linked(Linked),
}

/// A change of rich menus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Linked {
    pub(super) channel: String,
    /// None: unlinked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) menu: Option<String>,
    /// The ids concerned, without their `U`, one after the other.
    pub(super) to: String,
}

/// A multicast that was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accepted {
    pub(super) at: Instant,
    pub(super) channel: String,
    pub(super) request: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) key: Option<String>,
    /// When LINE's memory of the key began.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) since: Option<Instant>,
    pub(super) content: String,
    pub(super) silent: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) unit: Option<String>,
    pub(super) skipped: u64,
    /// The ids reached, without their `U`, one after the other.
    pub(super) to: String,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    length: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the file, gives its lines, and cuts a torn last one off, so that the next begins a line of its own.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Line>), SandboxError> {
        let failed = |source| SandboxError::StateFile { path: path.to_path_buf(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
        text.truncate(whole);
        let lines = parse(&text, path)?;
        let length = whole as u64;
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        Ok((Self { file, length, buffer: Vec::new() }, lines))
    }

    /// Appends lines: all of them or, after an error, none, so that a full disk leaves no half line behind.
    pub(super) fn append(&mut self, lines: &[Line]) -> std::io::Result<()> {
        self.buffer.clear();
        for line in lines {
            serde_json::to_writer(&mut self.buffer, line)?;
            self.buffer.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            return Err(error);
        }
        self.length += self.buffer.len() as u64;
        Ok(())
    }
}

fn parse(text: &[u8], path: &Path) -> Result<Vec<Line>, SandboxError> {
    let lines = text.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(n, line)| {
            serde_json::from_slice(line).map_err(|error| damaged(path, n + 1, error.to_string()))
        })
        .collect()
}

/// An error that names the line.
pub(super) fn damaged(path: &Path, line: usize, reason: impl Into<String>) -> SandboxError {
    SandboxError::Damaged { path: PathBuf::from(path), line, reason: reason.into() }
}
