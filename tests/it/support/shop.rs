//! A shop as its people have it: a directory of files, the real program, and a LINE double to send to.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use haishin::clock::SystemClock;
use haishin::sandbox::{ChannelSettings, Sandbox, Settings, UnknownIds, serve};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The demo shop's channel.
pub const KOHARU: &str = "2000000001";
/// A second one's, for tests of two accounts.
pub const YAMA: &str = "2000000002";
/// What no output may ever show.
pub const SECRET: &str = "s3cr3t-of-the-channel-0123456789";

/// A configuration directory, a state directory and a sandbox of their own.
pub struct Shop {
    directory: tempfile::TempDir,
    /// Everything LINE would know.
    pub sandbox: Arc<Sandbox>,
    /// Where it listens.
    pub line: SocketAddr,
    _end: DropGuard,
    _runtime: tokio::runtime::Runtime,
}

/// What a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Shop {
    /// The shipped configuration, with its dates moved to 2090: no test depends on today's.
    pub fn new() -> Self {
        let shop = Self::empty();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        for path in files_below(&shipped) {
            let name = path.strip_prefix(&shipped).unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("\"2026-12-", "\"2090-12-").replace("\"at\": \"2026", "\"at\": \"2090");
            let text = text.replace("http://127.0.0.1:8471", &format!("http://{}", shop.line));
            let text = text.replace("127.0.0.1:8470", "127.0.0.1:0");
            let text = text.replace("/var/lib/haishin", shop.state().to_str().unwrap());
            let text =
                text.replace("on = 1, at = \"11:00\" }", "on = 1, at = \"11:00\", from = \"2091-01-01\" }");
            shop.write(&name, &text);
        }
        shop.write("secrets/koharu-channel-secret", SECRET);
        shop
    }

    /// No configuration yet.
    pub fn empty() -> Self {
        let channel = |id: &str| ChannelSettings {
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(id, SECRET, id)
        };
        let settings = Settings::new(vec![channel(KOHARU), channel(YAMA)]);
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let line = listener.local_addr().unwrap();
        runtime.spawn(serve(sandbox.clone(), listener, Arc::new(SystemClock::new()), stop.clone()));
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("config")).unwrap();
        Self { directory, sandbox, line, _end: stop.drop_guard(), _runtime: runtime }
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// A file beside the configuration, as an export of a shop's other systems would be.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a file of the configuration, at once: a command that reads it meanwhile sees the old one or the new.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.config().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::rename(self.file("being-written", text), path).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.config().join(name)).unwrap()
    }

    /// Changes a file of the configuration; what is to be replaced must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} does not say {from}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// Takes the shipped campaigns, drips and segments away.
    pub fn remove_examples(&self) {
        for folder in ["campaigns", "drips", "segments"] {
            fs::remove_dir_all(self.config().join(folder)).unwrap();
        }
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.config().join(name)).unwrap();
    }

    /// The program with this shop's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haishin"));
        command.env_remove("STATE_DIRECTORY").env_remove("HAISHIN_CONFIG").env_remove("LANG");
        command.env("LC_ALL", "C.UTF-8").env("USER", "hana").env_remove("SUDO_USER");
        command.arg("--config").arg(self.config()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. Nothing it says may hold the secret, or tell of a panic.
    pub fn run(&self, args: &[&str]) -> Said {
        self.said(self.command(args).output().expect("the program runs"))
    }

    /// The same as one whom the permissions of files bind, as they bind everybody but root: root without that privilege.
    pub fn run_bound(&self, args: &[&str]) -> Said {
        if !rustix::process::geteuid().is_root() {
            return self.run(args);
        }
        let program = self.command(args);
        let mut command = Command::new("setpriv");
        let dropped = "-dac_override,-dac_read_search";
        command.arg(format!("--bounding-set={dropped}")).arg(format!("--inh-caps={dropped}"));
        command.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.said(command.output().expect("setpriv runs (Debian: util-linux)"))
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    }

    /// The one JSON value a command prints.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.ok(&[&["--json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    pub fn said(&self, output: Output) -> Said {
        let text = |bytes: Vec<u8>| self.masked(&String::from_utf8(bytes).expect("texts are UTF-8"));
        let said = Said {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        for text in [&said.out, &said.err] {
            assert!(!text.contains(SECRET), "a secret was printed: {text}");
            assert!(!text.contains("panicked"), "{text}");
        }
        said
    }

    /// The text without what differs from run to run.
    pub fn masked(&self, text: &str) -> String {
        text.replace(self.directory.path().to_str().unwrap(), "DIR")
            .replace(&self.line.to_string(), "LINE")
            .replace(env!("CARGO_MANIFEST_DIR"), "PROJECT")
    }

    /// Starts the daemon and returns once it is ready.
    pub fn daemon(&self, args: &[&str]) -> Daemon {
        let mut daemon = self.start(args);
        daemon.wait_for(" ready");
        daemon
    }

    /// Starts the daemon.
    pub fn start(&self, args: &[&str]) -> Daemon {
        let mut child = self
            .command(&[&["run"], args].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (tell, lines) = channel();
        let (stderr, kept) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line.clone());
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Daemon { child, lines, log }
    }
}

/// A daemon's process; killed when dropped.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the log until a line holds `text`; the log's end before that fails the test.
    pub fn wait_for(&mut self, text: &str) -> String {
        while let Ok(line) = self.lines.recv() {
            if line.contains(text) {
                return line;
            }
        }
        panic!("the daemon ended before it logged `{text}`:\n{}", self.log());
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; the exit code and the whole log.
    pub fn terminate(self) -> (i32, String) {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        while self.lines.recv().is_ok() {}
        (status.code().unwrap_or(-1), self.log())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

/// A port nobody listens on now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A LINE user id made of a number.
pub fn user(n: u32) -> String {
    format!("U{n:032x}")
}
