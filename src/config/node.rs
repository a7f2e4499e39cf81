//! Settings of this process: always read from `haishin.toml` on disk, never from the active version. A daemon must
//! find its database before it can find a version in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;

use toml::de::DeValue;

use super::diagnostic::{Diagnostic, Sink};
use super::layers::{Layers, shipped};
use super::policy::kept;
use super::problem::{Expected, Problem};
use super::secret::SecretSource;
use super::source::Source;
use super::tree::Item;
use super::{MAIN_FILE, syntax};
use crate::domain::time::Span;

/// Shorter, and a backup that takes its time would always be late.
const SHORTEST_BACKUP: Span = Span::from_hours(1);

/// What this process needs before it knows any account.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where sockets, locks and the embedded database are; `$STATE_DIRECTORY` (systemd) wins over it.
    pub state_directory: PathBuf,
    /// Where the truth is.
    pub database: Database,
    /// Where health, metrics and pages are served.
    pub http: Http,
    /// How it speaks.
    pub log: Log,
    /// How long requests in flight may take to finish after SIGTERM.
    pub drain: Span,
    /// How old the last backup made by haishin may be before people are told; `None` tells nobody.
    pub backup_warn_after: Option<Span>,
    /// How many bytes of the state directory's disk are to be free before people are told; `None` tells nobody.
    pub disk_warn_below: Option<u64>,
}

/// Where the truth is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The URL or where it is kept.
    pub url: DatabaseUrl,
    /// Connections at most, for PostgreSQL.
    pub connections_max: u32,
}

/// A database URL; one with a password is kept like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// Without a password: `sqlite:haishin.sqlite3` (relative to the state directory) or `postgres://…`.
    Plain(String),
    /// With one.
    Secret(SecretSource),
}

/// Where health, metrics and pages are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Connections at most.
    pub connections_max: u32,
}

/// How the process speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// From which level on.
    pub level: LogLevel,
}

/// For people or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
}

/// From which level on something is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The word tracing's filters know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Reads the node's settings from a source; `None` only with an error among the diagnostics.
pub fn read(source: &Source) -> (Option<Node>, Vec<Diagnostic>) {
    let sink = Sink::default();
    let defaults = Sink::default();
    let Some((path, text)) = source.files.get_key_value(MAIN_FILE) else {
        sink.report(MAIN_FILE, None, Problem::NoMainFile);
        return (None, sink.into_sorted());
    };
    let cleaned = syntax::clean(path, text, &sink);
    let parsed = syntax::parse(&cleaned);
    let top = Rc::new(super::top(&parsed, "haishin", &[], &sink));
    let node = node(&Layers::new([top, shipped(&defaults)]));
    let found = super::without_echoes(sink, &[parsed]);
    let broken = found.iter().any(|one| one.severity() == super::problem::Severity::Error);
    (node.filter(|_| !broken), found)
}

/// The node's tables within `haishin.toml`.
pub(super) fn node(shared: &Layers<'_>) -> Option<Node> {
    let state = shared.table("state", "state");
    let directory = state.need("directory").and_then(|item| item.text());
    state.finish();
    let database = database(shared);
    let http = http(shared);
    let log = log(shared);
    let shutdown = shared.table("shutdown", "shutdown");
    let drain = shutdown.need("drain").and_then(|item| item.span());
    shutdown.finish();
    let backup = shared.table("backup", "backup");
    let warn_after = backup.need("warn_after").and_then(|item| kept(&item, SHORTEST_BACKUP));
    backup.finish();
    let disk = shared.table("disk", "disk");
    let warn_below = disk.need("warn_below").and_then(|item| bytes_or_off(&item));
    disk.finish();
    Some(Node {
        state_directory: directory?.into(),
        database: database?,
        http: http?,
        log: log?,
        drain: drain?,
        backup_warn_after: warn_after?,
        disk_warn_below: warn_below?,
    })
}

/// `"500MB"`, `"1GB"`, `"2TB"`; `Some(None)` is `"off"`.
fn bytes_or_off(item: &Item<'_>) -> Option<Option<u64>> {
    if item.is_off() {
        return Some(None);
    }
    let text = item.text_as(Expected::Size)?;
    let units = [("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000)];
    let read = units.iter().find_map(|(unit, bytes): &(&str, u64)| {
        let number = text.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?;
        number.checked_mul(*bytes).filter(|bytes| *bytes > 0)
    });
    read.map_or_else(|| item.bad(Expected::Size, text), |bytes| Some(Some(bytes)))
}

fn database(shared: &Layers<'_>) -> Option<Database> {
    let table = shared.table("database", "database");
    let url = table.need("url").and_then(|item| database_url(&item));
    let connections = table.need("connections_max").and_then(|item| item.whole_u32(1, 1_000));
    table.finish();
    Some(Database { url: url?, connections_max: connections? })
}

fn database_url(item: &Item<'_>) -> Option<DatabaseUrl> {
    if let DeValue::Table(_) = item.value {
        return SecretSource::parse_item(item, "url").map(DatabaseUrl::Secret);
    }
    let text = item.text_as(Expected::DatabaseUrl)?;
    if has_password(text) {
        item.report(Problem::LiteralSecret { key: "url".to_owned() });
        return None;
    }
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    if known { Some(DatabaseUrl::Plain(text.to_owned())) } else { item.bad(Expected::DatabaseUrl, text) }
}

/// Whether a URL holds a password.
pub(super) fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or("");
    let in_authority = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    in_authority || url.to_ascii_lowercase().contains("password=")
}

fn http(shared: &Layers<'_>) -> Option<Http> {
    let table = shared.table("http", "http");
    let listen = table.need("listen").and_then(|item| item.parse(Expected::Listen, |text| text.parse().ok()));
    let connections = table.need("connections_max").and_then(|item| item.whole_u32(1, 100_000));
    table.finish();
    Some(Http { listen: listen?, connections_max: connections? })
}

fn log(shared: &Layers<'_>) -> Option<Log> {
    let table = shared.table("log", "log");
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = table.need("format").and_then(|item| item.word(&formats));
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let level = table.need("level").and_then(|item| item.word(&levels));
    table.finish();
    Some(Log { format: format?, level: level? })
}

#[cfg(test)]
mod tests {
    use super::has_password;

    #[test]
    fn a_password_in_a_url_is_seen() {
        for url in ["postgres://a:b@h/d", "postgres://h/d?password=x", "postgres://a:b:c@h"] {
            assert!(has_password(url), "{url}");
        }
        for url in ["sqlite:haishin.sqlite3", "postgres://a@h:5432/d", "postgres://h/d?user=a"] {
            assert!(!has_password(url), "{url}");
        }
    }
}
