//! The disk of the state directory: how much is free, and whether that is enough.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::backup::{free_bytes, size};
use crate::concern::{Code, Concern};
use crate::control::machine::Machine;
use crate::telemetry::metric;

/// The disk below one state directory.
#[derive(Debug, Clone)]
pub struct Disk {
    state: PathBuf,
    warn_below: Option<u64>,
}

impl Disk {
    /// The disk below a state directory, and how much of it is to be free; `None` wants nothing.
    pub fn below(state: &Path, warn_below: Option<u64>) -> Self {
        Self { state: state.to_owned(), warn_below }
    }

    /// How many bytes are free for the one who asks; none where nobody can say.
    pub fn free(&self) -> Option<u64> {
        // The folder itself: `free_bytes` looks at where a file of that name would be.
        free_bytes(&self.state.join("haishin.sqlite3")).ok()
    }

    /// It is nearly full, and so.
    pub fn concern(&self) -> Option<Concern> {
        let (free, least) = (self.free()?, self.warn_below?);
        let state = self.state.display().to_string();
        (free < least).then(|| {
            let (free, least) = (size(free), size(least));
            Concern::new(Code::DiskLow, move |lang| {
                lang.pick(
                    format!("{state} のディスクの空きが {free} しかありません（{least} 以上のはず）"),
                    format!("the disk of {state} has {free} free, less than {least}"),
                )
            })
        })
    }

    /// Shows the metrics how much is free.
    pub fn gauge(&self) {
        if let Some(free) = self.free() {
            metrics::gauge!(metric::DISK_FREE).set(free as f64);
        }
    }
}

impl Machine for Disk {
    fn concerns(&self) -> Vec<Concern> {
        self.gauge();
        self.concern().into_iter().collect()
    }

    fn json(&self) -> Value {
        json!({ "free_bytes": self.free(), "warn_below": self.warn_below })
    }
}
