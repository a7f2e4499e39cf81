//! A shop on disk, the real daemon that serves it, and the real command line that asks it.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use haishin::clock::Clock;
use haishin::domain::time::Instant;
use haishin::sandbox::{self, Sandbox};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::postgres;
use super::store::Database;

/// The channel of every test shop.
pub const CHANNEL: &str = "2000000001";
/// Its secret.
pub const SECRET: &str = "a-secret-of-the-sandbox";

/// A configuration directory and a state directory of their own.
pub struct Shop {
    directory: tempfile::TempDir,
    /// The database, as the store opens it.
    pub url: String,
}

impl Shop {
    /// A shop whose `haishin.toml` says `settings` beside where its files, its database and LINE are.
    pub async fn new(database: Database, line: SocketAddr, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let (named, url) = match database {
            Database::Sqlite => {
                ("sqlite:haishin.sqlite3".to_owned(), format!("sqlite://{}/haishin.sqlite3", state.display()))
            }
            Database::Postgres => {
                let url = postgres::database().await;
                (url.clone(), url)
            }
        };
        let shop = Self { directory, url };
        shop.write("channel-secret", SECRET);
        shop.write(
            "haishin.toml",
            &format!(
                "{settings}\n[accounts.shop]\nchannel_id = \"{CHANNEL}\"\n\
                 channel_secret = {{ file = \"channel-secret\" }}\napi_base = \"http://{line}\"\n\
                 [database]\nurl = \"{named}\"\n[state]\ndirectory = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
                state.display()
            ),
        );
        shop
    }

    /// Writes a file of the configuration.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join("config").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Starts the daemon with its clock set to `now`.
    pub fn start(&self, now: Instant) -> Daemon {
        let log = self.directory.path().join("daemon.log");
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = self
            .haishin()
            .args(["run", "--clock", &now.rfc3339(chrono_tz::Asia::Tokyo)])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect("the daemon starts");
        Daemon { child, log }
    }

    /// What a command answers with `--json`; `None` when it failed, as it does while no daemon listens.
    pub fn ask(&self, words: &[&str]) -> Option<Value> {
        if !self.directory.path().join("state/haishin.sock").exists() {
            return None;
        }
        let output = self.haishin().arg("--json").args(words).output().expect("the command runs");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Everything its daemons have logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("daemon.log")).unwrap_or_default()
    }

    /// The embedded database's file; only while no daemon runs, after a clean stop.
    pub fn database_bytes(&self) -> Vec<u8> {
        fs::read(self.database_file()).unwrap()
    }

    /// Puts an older file in the database's place, as a restored backup is.
    pub fn restore(&self, bytes: &[u8]) {
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{beside}", self.database_file().display()));
        }
        fs::write(self.database_file(), bytes).unwrap();
    }

    fn database_file(&self) -> PathBuf {
        self.directory.path().join("state/haishin.sqlite3")
    }

    fn haishin(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haishin"));
        command.env_remove("STATE_DIRECTORY").env("LC_ALL", "C.UTF-8");
        command.arg("--config").arg(self.directory.path().join("config"));
        command
    }
}

/// A daemon's process: killed when dropped, its log shown when the test fails.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// SIGKILL; returns when the process is gone.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM; returns when the process has drained.
    pub fn terminate(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("the daemon is there");
        let status = self.child.wait().expect("the daemon ends");
        assert!(status.success(), "the daemon ended with {status}");
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    fn end(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- the daemon's log ends ---\n{}", tail.join("\n"));
        }
    }
}

/// A sandbox over HTTP in this process: it outlives every kill of the daemon.
pub struct Line {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Line {
    /// A free port, held until somebody serves on it.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// Serves until the guard is dropped.
    pub fn serve(self, sandbox: Arc<Sandbox>, clock: Arc<dyn Clock>) -> DropGuard {
        let stop = CancellationToken::new();
        tokio::spawn(sandbox::serve(sandbox, self.listener, clock, stop.clone()));
        stop.drop_guard()
    }
}
