//! A real PostgreSQL of this test process: made in a temporary directory, run as an unprivileged user, reached over
//! a Unix socket, gone with the process however that ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection, Executor, PgConnection};

/// What to do where the tests cannot start a server.
const REMEDY: &str = "the tests start a PostgreSQL of their own: install it (Debian: `apt-get install postgresql`), \
                      and run the tests as an ordinary user, or as root with a user `postgres` or `nobody`";

/// Runs the server and outlives every way the test process can end: its standard input is a pipe whose other end
/// only that process holds, so the end of the process is the end of the pipe. `SIGQUIT` stops a server at once.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=300 -c unix_socket_permissions=0777 \
    -c fsync=on -c synchronous_commit=on -c log_min_messages=warning </dev/null &
server=$!
cat >/dev/null
kill -QUIT $server
wait $server
rm -rf "$2"
"#;

/// What the directories of servers are called.
const PREFIX: &str = "haishin-pg-";
/// A file in each of them that its test process has locked for as long as it lives.
const OWNER: &str = "owner";

struct Server {
    directory: PathBuf,
    databases: AtomicU32,
    _owner: File,
    /// Holds the writing end of the watchdog's pipe.
    _watchdog: Child,
}

/// A new, empty database on this process's server, as a URL for `store::open` and for sqlx.
pub async fn database() -> String {
    let server = server();
    let name = format!("t{}", server.databases.fetch_add(1, Ordering::Relaxed));
    let mut admin =
        PgConnection::connect(&url(&server.directory, "postgres")).await.expect("the server answers");
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a new database");
    admin.close().await.expect("a clean goodbye");
    url(&server.directory, &name)
}

/// Takes a database away, from under whoever is connected to it.
pub async fn drop_database(database: &str) {
    let (_, name) = database.rsplit_once('/').expect("a URL of ours");
    let mut admin =
        PgConnection::connect(&url(&server().directory, "postgres")).await.expect("the server answers");
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    admin.execute(sqlx::AssertSqlSafe(drop)).await.expect("the database goes");
}

/// A database as SQL that any version of PostgreSQL reads: tables, rows, indexes.
pub fn dump(database: &str) -> String {
    let output = Command::new(format!("{}/pg_dump", binaries()))
        .args(["--inserts", "--no-owner", "--no-privileges", "--dbname", database])
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // What is said to psql, and of the session, differs between versions.
    let of_session = ["\\", "--", "SET ", "SELECT pg_catalog.set_config"];
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .filter(|line| !of_session.iter().any(|word| line.starts_with(word)))
        .fold(String::new(), |text, line| text + line + "\n")
}

/// The path of the server's socket, for a test that puts itself in between.
pub fn socket() -> PathBuf {
    server().directory.join(".s.PGSQL.5432")
}

fn url(directory: &Path, database: &str) -> String {
    let host = directory.to_str().expect("a temporary directory with a plain name").replace('/', "%2F");
    format!("postgres://haishin@{host}/{database}")
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// As whom the server runs: this user, or, because PostgreSQL refuses root, one without rights.
enum RunAs {
    Ourselves,
    User(&'static str),
}

impl RunAs {
    fn choose() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self::Ourselves;
        }
        let exists = |user: &&str| {
            Command::new("id")
                .arg(user)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        };
        Self::User(["postgres", "nobody"].into_iter().find(exists).unwrap_or_else(|| panic!("{REMEDY}")))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = match self {
            Self::Ourselves => Command::new(program),
            // Not runuser, which stays in between and swallows the process id and the pipe.
            Self::User(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", &group(user), "--init-groups", program]);
                command
            }
        };
        command.current_dir("/").env("LC_ALL", "C.UTF-8");
        command
    }
}

fn group(user: &str) -> String {
    let id = Command::new("id").args(["-g", user]).output().expect("id tells a user's group");
    String::from_utf8_lossy(&id.stdout).trim().to_owned()
}

fn binaries() -> String {
    let output = Command::new("pg_config").arg("--bindir").output();
    let directory = output.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    // Debian keeps the server's programs off the PATH and `pg_config` in a package of its own.
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = installed.map(|version| version.path().join("bin").display().to_string());
    let mut candidates: Vec<String> = directory.into_iter().chain(debian).collect();
    candidates.retain(|directory| Path::new(directory).join("initdb").exists());
    candidates.pop().unwrap_or_else(|| panic!("{REMEDY}"))
}

fn start() -> Server {
    let (binaries, run_as) = (binaries(), RunAs::choose());
    remove_leftovers(&std::env::temp_dir());
    let directory = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary directory").keep();
    let owner = own(&directory);
    if let RunAs::User(user) = run_as {
        let status = Command::new("chown").arg(user).arg(&directory).status();
        assert!(status.is_ok_and(|status| status.success()), "chown of {}", directory.display());
    }
    let data = directory.join("data");
    // A linguistic collation, so that whatever leans on the order of bytes shows.
    let made = run_as
        .command(&format!("{binaries}/initdb"))
        .args(["--no-sync", "--auth=trust", "--username=haishin", "--encoding=UTF8"])
        .args(["--locale-provider=icu", "--icu-locale=ja", "--locale=C.UTF-8", "-D"])
        .arg(&data)
        .output()
        .unwrap_or_else(|error| panic!("initdb: {error}; {REMEDY}"));
    assert!(made.status.success(), "initdb: {}{REMEDY}", String::from_utf8_lossy(&made.stderr));
    let mut watchdog = run_as
        .command("sh")
        .args(["-c", WATCHDOG, "watchdog", &binaries])
        .arg(&directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting PostgreSQL: {error}; {REMEDY}"));
    wait_until_ready(&directory, &mut watchdog);
    Server { directory, databases: AtomicU32::new(0), _owner: owner, _watchdog: watchdog }
}

/// Says for as long as the file is open that somebody needs the directory. It gets its name once it is locked: there is
/// no moment at which another process would find it free.
fn own(directory: &Path) -> File {
    let unnamed = directory.join("owner.new");
    let owner = File::create(&unnamed).expect("a file in our own directory");
    owner.lock().expect("nobody else knows it");
    fs::rename(unnamed, directory.join(OWNER)).expect("a name in our own directory");
    owner
}

/// Removes what earlier test processes left behind that were killed together with their watchdogs. Should a server of
/// theirs still run, it ends by itself within a minute once its files are gone.
fn remove_leftovers(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(PREFIX) && is_left_behind(&entry.path()) {
            // Somebody else's, or being removed by somebody else: not ours to worry about.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether nobody needs a server's directory any more. One without an owner's file is of a process that made none, or
/// is about to; what there is in it then has to say that there was a server, and that it is gone.
fn is_left_behind(directory: &Path) -> bool {
    match File::open(directory.join(OWNER)) {
        Ok(owner) => owner.try_lock().is_ok(),
        Err(_) => {
            let Ok(lock) = fs::read_to_string(directory.join("data/postmaster.pid")) else { return false };
            let process = lock.lines().next().unwrap_or_default();
            let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            !String::from_utf8_lossy(&command).contains(&*directory.to_string_lossy())
        }
    }
}

#[test]
fn what_nobody_needs_any_more_is_removed_and_nothing_else() {
    let temporary = tempfile::tempdir().unwrap();
    let make = |name: &str, process: Option<u32>| {
        let directory = temporary.path().join(name);
        fs::create_dir_all(directory.join("data")).unwrap();
        if let Some(process) = process {
            fs::write(directory.join("data/postmaster.pid"), format!("{process}\n")).unwrap();
        }
        directory
    };
    // This process is there, but no server of that directory; no process has the highest number.
    let [ours, killed, being_made, older, other] = [
        ("haishin-pg-ours", Some(std::process::id())),
        ("haishin-pg-killed", Some(std::process::id())),
        ("haishin-pg-being-made", None),
        ("haishin-pg-older", Some(u32::MAX)),
        ("other", Some(u32::MAX)),
    ]
    .map(|(name, process)| make(name, process));
    let (_held, gone) = (own(&ours), own(&killed));
    drop(gone);
    remove_leftovers(temporary.path());
    assert_eq!(
        [ours, killed, being_made, older, other].map(|directory| directory.exists()),
        [true, false, true, false, true]
    );
}

/// The server says when it is ready, on the same stream as everything it warns of later.
fn wait_until_ready(directory: &Path, watchdog: &mut Child) {
    let mut log = BufReader::new(watchdog.stderr.take().expect("a piped stream"));
    let mut said = String::new();
    while !said.contains("ready to accept connections") {
        let read = log.read_line(&mut said).expect("the server's log can be read");
        assert!(read > 0, "PostgreSQL in {} did not start: {said}", directory.display());
    }
    // Read on, or the server would stop at a full pipe. Errors provoked by tests are not worth showing.
    std::thread::spawn(move || std::io::copy(&mut log.by_ref(), &mut std::io::sink()));
}
