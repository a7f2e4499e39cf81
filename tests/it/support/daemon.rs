//! A shop on disk, the real daemon that serves it, and the real command line that asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{self, Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::Clock;
use haishin::control::client::Conversation;
use haishin::domain::effect::Intake;
use haishin::domain::id::{AccountId, UserId};
use haishin::domain::time::Instant;
use haishin::lang::Lang;
use haishin::protocol::{Command, Reply, Request};
use haishin::sandbox::{self, ChannelSettings, Fault, FaultKind, Sandbox, Settings, UnknownIds};
use haishin::store::{self, NewInbox, Store};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ledger::{self, Ledger};
use super::postgres;
use super::power::Power;
use super::store::Database;

/// The channel of every test shop.
pub const CHANNEL: &str = "2000000001";
/// Its secret.
pub const SECRET: &str = "a-secret-of-the-sandbox";

/// Held by a test whose daemon is to be killed at its work, not while it waits for a processor: one of them at a time.
pub async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    ALONE.lock().await
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(super::patience(), asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// An instant as people write it.
pub fn at(text: &str) -> Instant {
    Instant::try_from(text.to_owned()).unwrap()
}

/// A configuration directory and a state directory of their own.
pub struct Shop {
    directory: tempfile::TempDir,
    /// The database, as the store opens it.
    pub url: String,
    /// How fast the clocks of its daemons run.
    pub speed: u32,
    /// The disk below its daemons, where that is not the machine's: a kill is a power loss then.
    pub power: Option<Arc<Power>>,
    /// The environment of its daemons, where they run on the machine's clock.
    machine: Option<Vec<(String, String)>>,
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
            Database::Memory => unreachable!("no daemon opens a store in memory"),
            Database::Postgres => {
                let url = postgres::database().await;
                (url.clone(), url)
            }
        };
        let shop = Self { directory, url, speed: 1, power: None, machine: None };
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

    /// From now on its daemons run on a disk that can lose its power.
    pub fn on_power(&mut self) -> Arc<Power> {
        let power = Arc::new(Power::below(&self.directory.path().join("state")));
        self.power.insert(power).clone()
    }

    /// From now on its daemons run on the machine's clock, in this environment.
    pub fn on_machine_clock(&mut self, environment: &[(&str, &str)]) {
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.machine = Some(owned.collect());
    }

    /// Writes a file of the configuration.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join("config").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Brings friends in, as an import at `now` would, by a daemon that has ended cleanly by the time this returns.
    pub async fn stock(&self, now: Instant, intakes: &[Intake]) {
        let daemon = self.started(now).await;
        let store = store::open(&self.url).await.unwrap();
        let account = store.accounts().await.unwrap()[0].id;
        let row = |chunk: &[Intake]| NewInbox {
            account,
            received_at: now,
            source: "import".into(),
            intakes: chunk.to_vec(),
        };
        store.append_inbox(intakes.chunks(5_000).map(row).collect()).await.unwrap();
        let users: BTreeSet<String> = intakes.iter().map(|intake| format!("{:?}", intake.friend)).collect();
        until("all friends are applied", async || {
            let status = self.converse(Command::Status).await?;
            let account = &status["accounts"][0];
            (account["inbox"] == 0 && account["unfolded"] == 0 && account["friends"] == users.len())
                .then_some(())
        })
        .await;
        daemon.terminate();
        store.close().await;
    }

    /// A daemon that answers: a command asked earlier would become the owner itself, on the machine's clock.
    pub async fn started(&self, now: Instant) -> Daemon {
        let ready = || self.log().matches("ready version=").count();
        let before = ready();
        let mut daemon = self.start(now);
        until("the daemon is ready", async || {
            assert!(daemon.is_running(), "the daemon ended by itself");
            (ready() > before).then_some(())
        })
        .await;
        daemon
    }

    /// Starts the daemon with its clock set to `now`.
    pub fn start(&self, now: Instant) -> Daemon {
        let log = self.directory.path().join("daemon.log");
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = self.haishin();
        if let Some(power) = &self.power {
            power.put_below(&mut command);
        }
        command.arg("run");
        match &self.machine {
            Some(environment) => command.envs(environment.iter().map(|(name, value)| (name, value))),
            None => {
                let now = now.rfc3339(chrono_tz::Asia::Tokyo);
                command.args(["--clock", &now, "--speed", &self.speed.to_string()])
            }
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect("the daemon starts");
        Daemon { child, log, power: self.power.clone() }
    }

    /// What a command answers with `--json`; `None` when it failed, as it does while no daemon listens.
    pub fn ask(&self, words: &[&str]) -> Option<Value> {
        if !self.directory.path().join("state/haishin.sock").exists() {
            return None;
        }
        let output = self.haishin().arg("--json").args(words).output().expect("the command runs");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// A command, with a daemon or without.
    pub fn run(&self, words: &[&str]) -> Said {
        Said::of(self.command(words).output().expect("the command runs"))
    }

    /// The same as a process that is not started yet.
    pub fn command(&self, words: &[&str]) -> process::Command {
        let mut command = self.haishin();
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The one JSON value that a command must print.
    pub fn json(&self, words: &[&str]) -> Value {
        let said = self.run(&[&["--json"], words].concat());
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{words:?}: {error}: {said:?}"))
    }

    /// What the daemon answers over its socket; `None` when it failed, or none listens.
    pub async fn converse(&self, command: Command) -> Option<Value> {
        let request = Request { lang: Lang::En, by: "test".into(), account: None, command };
        let socket = self.directory.path().join("state/haishin.sock");
        let mut conversation = Conversation::with_daemon(&socket, &request).await.ok()??;
        loop {
            match conversation.next().await? {
                Reply::Done(answer) => return Some(answer.json),
                Reply::Error(_) => return None,
                Reply::Terms(_) | Reply::Rows(_) | Reply::Taken(_) | Reply::Progress(_) => {}
            }
        }
    }

    /// The database, and the number of the only account in it. To be closed by whoever opened it.
    pub async fn store(&self) -> (Arc<dyn Store>, AccountId) {
        let store = store::open(&self.url).await.unwrap();
        let account = store.accounts().await.unwrap()[0].id;
        (store, account)
    }

    /// The books as they lie in the database.
    pub async fn ledger(&self) -> Ledger {
        let (store, account) = self.store().await;
        let ledger = Ledger::read(store.as_ref(), account).await;
        store.close().await;
        ledger
    }

    /// Who its friends are, by dense id.
    pub async fn users(&self) -> BTreeMap<u32, UserId> {
        let (store, account) = self.store().await;
        let users = ledger::users(store.as_ref(), account).await;
        store.close().await;
        users
    }

    /// Where the newest daemon that is ready serves HTTP.
    pub fn http_address(&self) -> SocketAddr {
        let log = self.log();
        let ready = log.lines().rfind(|line| line.contains("ready version=")).expect("a daemon is ready");
        let address = ready.split("address=").nth(1).expect("it says where").split_whitespace().next();
        address.unwrap().trim_matches('"').parse().expect("an address")
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

    /// The embedded database.
    pub fn database_file(&self) -> PathBuf {
        self.state().join("haishin.sqlite3")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A folder beside both.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.directory.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn haishin(&self) -> process::Command {
        let mut command = process::Command::new(env!("CARGO_BIN_EXE_haishin"));
        command.env_remove("STATE_DIRECTORY").env("LC_ALL", "C.UTF-8");
        command.arg("--config").arg(self.directory.path().join("config"));
        command
    }
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Of a command that has ended.
    pub fn of(output: process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("texts are UTF-8");
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A daemon's process: killed when dropped, its log shown when the test fails.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    power: Option<Arc<Power>>,
}

impl Daemon {
    /// SIGKILL; returns when the process is gone, and on a disk that can lose its power with all that was not synced.
    pub fn kill(mut self) {
        self.end();
        if let Some(power) = &self.power {
            power.lose();
        }
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

    /// A sandbox of the shop's channel, which knows everybody; `settle` tells it the rest.
    pub fn sandbox(settle: impl FnOnce(&mut Settings)) -> Arc<Sandbox> {
        let channel = ChannelSettings {
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(CHANNEL, SECRET, "shop")
        };
        let mut settings = Settings::new(vec![channel]);
        settle(&mut settings);
        Arc::new(Sandbox::new(settings).unwrap())
    }

    /// A network that loses requests before LINE accepts them and after, and is slow, so that there always are some
    /// under way.
    pub fn rough() -> Vec<Fault> {
        let slow = [50, 100, 150, 200, 250, 300];
        let slow = slow.map(|ms| Fault::with_probability(FaultKind::Slow { ms }, 0.25));
        let lost =
            [FaultKind::LostBefore, FaultKind::LostAfter].map(|kind| Fault::with_probability(kind, 0.1));
        lost.into_iter().chain(slow).collect()
    }

    /// Serves until the guard is dropped.
    pub fn serve(self, sandbox: Arc<Sandbox>, clock: Arc<dyn Clock>) -> DropGuard {
        let stop = CancellationToken::new();
        tokio::spawn(sandbox::serve(sandbox, self.listener, clock, stop.clone()));
        stop.drop_guard()
    }
}
