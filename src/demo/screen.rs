//! The terminal: lines that stay, and on a terminal one that is written over.

use std::io::{IsTerminal as _, Write as _};

/// Standard output. A reader that went away stops nothing.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// The line that is written over, if one stands there.
    live: String,
}

impl Screen {
    /// Standard output, with a live line where it is a terminal.
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stdout().is_terminal(), live: String::new() }
    }

    /// Whether there is a live line.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Lines that stay.
    pub(super) fn print(&mut self, text: &str) {
        self.wipe();
        Self::write(&format!("{text}\n"));
    }

    /// The line for now; nothing where standard output is no terminal.
    pub(super) fn live(&mut self, text: &str) {
        if self.terminal && self.live != text {
            self.wipe();
            Self::write(text);
            self.live = text.to_owned();
        }
    }

    /// Takes the live line away.
    pub(super) fn wipe(&mut self) {
        if !self.live.is_empty() {
            Self::write("\r\x1b[2K");
            self.live.clear();
        }
    }

    fn write(text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody reads on: the daemon goes on all the same.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}
