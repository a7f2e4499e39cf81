//! A shop on disk, the real program, and LINE's double as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::{Clock, SystemClock};
use haishin::domain::friend::Friend;
use haishin::domain::id::{AccountSlug, Seq};
use haishin::domain::time::Span;
use haishin::sandbox::{ChannelSettings, RateLimits, Sandbox, Settings, UnknownIds, serve};
use haishin::store::{self, Claim, Priority, Store, Write};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub const CHANNEL: &str = "2000000001";
pub const SECRET: &str = "a-secret-of-the-sandbox";
pub const TOKEN: &str = "a-token-of-the-sandbox";

/// The argument under which a bench's own program is LINE's double.
const SANDBOX: &str = "line-sandbox";

/// LINE's double in a process of its own, without rate limits: what it costs is nobody else's.
pub struct Line {
    child: Child,
    pub base: String,
}

impl Line {
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .arg(SANDBOX)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sandbox starts");
        let mut base = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut base).expect("its address");
        Self { child, base: base.trim().to_owned() }
    }

    pub fn process(&self) -> Process {
        Process(self.child.id())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// To be called first in `main`: plays LINE if that is what this process was started for, and then never returns.
pub fn play_line_if_asked() {
    if std::env::args().nth(1).as_deref() != Some(SANDBOX) {
        return;
    }
    runtime().block_on(async {
        let channel = ChannelSettings {
            access_token: Some(TOKEN.into()),
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(CHANNEL, SECRET, "shop")
        };
        let settings =
            Settings { rates: RateLimits::Off, keep_requests: 1_000, ..Settings::new(vec![channel]) };
        let sandbox = Arc::new(Sandbox::new(settings).expect("settings"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("http://{}", listener.local_addr().expect("an address"));
        serve(sandbox, listener, Arc::new(SystemClock::new()), CancellationToken::new())
            .await
            .expect("it serves");
    });
}

/// An HTTP client like the daemon's.
pub fn client() -> reqwest::Client {
    // Fails only where there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().http1_only().no_proxy().tcp_nodelay(true).build().expect("a client")
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// A process as the kernel sees it.
#[derive(Debug, Clone, Copy)]
pub struct Process(u32);

impl Process {
    /// What it has used of all cores so far, to a hundredth of a second.
    pub fn cpu(self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0)).expect("the process is there");
        let after_name = stat.rsplit_once(") ").expect("a name in brackets").1;
        let ticks: u64 =
            after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        // Linux tells processes of hundredths of a second, whatever its own clock.
        Duration::from_millis(ticks * 10)
    }

    /// Its resident memory in bytes.
    pub fn resident(self) -> u64 {
        resident(&format!("/proc/{}/status", self.0))
    }
}

/// Resident memory of this process in bytes.
pub fn own_resident() -> u64 {
    resident("/proc/self/status")
}

fn resident(status: &str) -> u64 {
    let status = std::fs::read_to_string(status).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1_024
}

/// A configuration directory, a state directory and a database.
pub struct Shop {
    directory: tempfile::TempDir,
    metrics: u16,
}

impl Shop {
    /// A shop whose `haishin.toml` says `settings` beside where its files and LINE are.
    pub fn new(line: &str, settings: &str) -> Self {
        let shop = Self { directory: tempfile::tempdir().expect("a directory"), metrics: free_port() };
        shop.write("channel-secret", SECRET);
        shop.write("access-token", TOKEN);
        let state = shop.state();
        shop.write(
            "haishin.toml",
            &format!(
                "api_base = \"{line}\"\n{settings}\n[blanket_guard]\nshare = \"off\"\n[accounts.shop]\nchannel_id = \"{CHANNEL}\"\n\
                 channel_secret = {{ file = \"channel-secret\" }}\naccess_token = {{ file = \"access-token\" }}\n\
                 [state]\ndirectory = \"{}\"\n[http]\nlisten = \"127.0.0.1:{}\"\n\
                 [log]\nlevel = \"warn\"\n",
                state.display(),
                shop.metrics
            ),
        );
        shop
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The directory everything lies in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn url(&self) -> String {
        format!("sqlite://{}", self.state().join("haishin.sqlite3").display())
    }

    /// Writes a file of the configuration.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join("config").join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.directory.path().join("config").join(path)).expect("the file is there")
    }

    /// Puts friends into the database as an owner does, without a journal.
    pub async fn befriend(&self, friends: impl Iterator<Item = Friend>) {
        let store = store::open(&self.url()).await.expect("the store opens");
        seed(store.as_ref(), friends).await;
        store.close().await;
    }

    fn haishin(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haishin"));
        command.env_remove("STATE_DIRECTORY").env("LC_ALL", "C.UTF-8");
        command.arg("--config").arg(self.directory.path().join("config")).args(words).stdin(Stdio::null());
        command
    }

    /// What a command says with `--json`.
    pub fn ask(&self, words: &[&str]) -> Value {
        let output = self.haishin(&[&["--json"], words].concat()).output().expect("the command runs");
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {error}"))
    }

    /// What the daemon has spent on freezes so far.
    pub fn freeze_seconds(&self) -> Duration {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics);
        let client = client();
        let asking = async { client.get(url).send().await.expect("metrics").text().await.expect("a text") };
        let text = runtime().block_on(asking);
        let sums = text.lines().filter(|line| line.starts_with("haishin_freeze_duration_seconds_sum"));
        let sums = sums.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Duration::from_secs_f64(sums.sum())
    }

    /// Starts the daemon; returns once it answers.
    pub fn start(&self) -> Daemon {
        let log = std::fs::File::create(self.directory.path().join("daemon.log")).expect("a log");
        let child =
            self.haishin(&["run"]).stdout(Stdio::null()).stderr(log).spawn().expect("the daemon starts");
        let mut daemon = Daemon(child);
        // A command would be answered without a daemon, too, and hold the state directory meanwhile.
        let url = format!("http://127.0.0.1:{}/readyz", self.metrics);
        let (client, runtime) = (client(), runtime());
        let ready = async || client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
        while !runtime.block_on(ready()) {
            assert!(daemon.0.try_wait().expect("a child can be asked").is_none(), "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("daemon.log")).unwrap_or_default()
    }
}

/// Friends as rows, as an owner folds them.
pub async fn seed(store: &dyn Store, friends: impl Iterator<Item = Friend>) {
    let now = SystemClock::new().now();
    let slug = AccountSlug::parse("shop").expect("a slug");
    let account = store.ensure_account(&slug, CHANNEL, now).await.expect("an account");
    let claim = store.claim(account, "bench", now, Span::from_hours(1)).await.expect("a claim");
    let Claim::Granted { mut fence, .. } = claim else { panic!("a new account is free") };
    let mut friends = friends.peekable();
    while friends.peek().is_some() {
        let page = friends.by_ref().take(20_000).collect();
        let fold = Write::Fold { friends: page, folded_seq: Seq(0) };
        store.commit(&mut fence, now, Priority::Fold, vec![fold]).await.expect("friends are written");
    }
    store.release(&mut fence, now).await.expect("the lease is given up");
}

/// The daemon's process; ended when dropped.
pub struct Daemon(Child);

impl Daemon {
    pub fn process(&self) -> Process {
        Process(self.0.id())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// A port nobody listens on now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn end(child: &mut Child) {
    // Gone already is as good.
    let _ = child.kill();
    let _ = child.wait();
}
