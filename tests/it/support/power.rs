//! A disk that can lose its power, run full or break, below a real process: `tests/power/shim.c`, loaded into it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// How the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// As ever.
    Sound = 0,
    /// Nothing grows any more.
    Full = 1,
    /// One write or sync in four fails.
    Broken = 2,
}

/// The disk below one state directory.
pub struct Power {
    state: PathBuf,
    directory: tempfile::TempDir,
}

/// The shim, built once for all tests.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/power/shim.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&path)
            .args([source, "-ldl", "-lpthread"])
            .status()
            .expect("the C compiler that Rust needs, too");
        assert!(built.success(), "the shim is built");
        (directory, path)
    });
    path
}

impl Power {
    pub fn below(state: &Path) -> Self {
        let power = Self { state: state.to_owned(), directory: tempfile::tempdir().unwrap() };
        fs::write(power.switch_file(), [0]).unwrap();
        power
    }

    fn switch_file(&self) -> PathBuf {
        self.directory.path().join("switch")
    }

    fn disk(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// How the disk is from now on.
    pub fn turn(&self, disk: Disk) {
        use std::os::unix::fs::FileExt as _;
        // In place: the process has this very file before its eyes.
        let file = fs::OpenOptions::new().write(true).open(self.switch_file()).unwrap();
        file.write_all_at(&[disk as u8], 0).unwrap();
    }

    /// Puts the disk below a process that is about to start.
    pub fn put_below(&self, command: &mut Command) {
        let _ = fs::remove_dir_all(self.disk());
        fs::create_dir_all(self.disk().join("data")).unwrap();
        command
            .env("LD_PRELOAD", shim())
            .env("POWER_STATE", &self.state)
            .env("POWER_DISK", self.disk())
            .env("POWER_SWITCH", self.switch_file());
    }

    /// The process is gone, and so is everything that was not on the disk.
    pub fn lose(&self) {
        for file in fs::read_dir(&self.state).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        let names = fs::read_to_string(self.disk().join("names-")).unwrap_or_default();
        for line in names.lines() {
            let (number, name) = line.split_once(' ').expect("a number and a name");
            fs::copy(self.disk().join("data").join(number), self.state.join(name)).unwrap();
        }
    }
}
