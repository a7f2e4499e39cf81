//! Logs and metrics: one vocabulary. `docs/operations.md` shows these tables to ops; a test keeps them equal, and
//! another that no log line of the program uses a field that is not here.

use std::io::IsTerminal;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

/// The fields of log lines, with their meaning. Never a secret, a token or a message's text.
pub const FIELDS: &[(&str, &str)] = &[
    ("account", "slug of the account"),
    ("accepted", "friends whose message LINE accepted"),
    ("address", "address a server listens on, or a peer's"),
    ("answer", "what LINE answered to one request"),
    ("attempt", "number of a request among those of its batch, from 1"),
    ("batch", "number of a batch within its occurrence, from 0"),
    ("bytes", "size of a file"),
    ("by", "who acted: a person's name, or `guard`"),
    ("campaign", "slug of the campaign"),
    ("concern", "what a person has to act on or should know of: its code, as in `haishin status --json`"),
    ("drip", "slug of the drip"),
    ("due_at", "due instant of an occurrence"),
    ("duration_ms", "how long it took, in milliseconds"),
    ("error", "what went wrong, with its causes"),
    ("friends", "number of friends concerned"),
    ("in_flight", "requests that were under way"),
    ("lane", "to whom a request beside sends goes: `rich_menu`, `webhook/NAME`"),
    ("matched", "friends the rule matched"),
    ("now", "the clock's instant"),
    ("occurrence", "number of the occurrence"),
    ("outcome", "what became of it"),
    ("path", "file or folder"),
    ("reason", "why, in words"),
    ("recipients", "friends who get the message, after all exclusions"),
    ("rejected", "friends whose message LINE refused"),
    ("request_id", "LINE's X-Line-Request-Id"),
    ("retry_key", "X-Line-Retry-Key of a batch"),
    ("rows", "number of rows"),
    ("seen", "latest instant the database has seen"),
    ("signal", "signal the process got"),
    ("state", "state of an occurrence"),
    ("status", "HTTP status"),
    ("step", "name of a drip's step"),
    ("strays", "changes that named no friend"),
    ("task", "name of one of the daemon's loops"),
    ("token", "number of a token of the API"),
    ("unknown", "friends of whom nobody can say whether LINE accepted their message"),
    ("until", "instant up to which friends wait for room under their caps"),
    ("version", "number of a configuration version, or of the program"),
];

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A line for people, in colours on a terminal.
    #[default]
    Text,
    /// A JSON object a line: `timestamp`, `level`, `target`, `message` and the fields.
    Json,
}

/// A subscriber that writes to `writer` what `filter` lets through (`info`, `haishin=debug,warn`, …).
///
/// # Errors
/// The filter is not understood.
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(filter)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    Ok(match format {
        LogFormat::Text => Box::new(registry.with(layer)),
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            Box::new(registry.with(layer))
        }
    })
}

/// Why logs or metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is not understood.
    #[error(
        "log.level `{filter}` is not understood; write error, warn, info, debug or trace, or target=level,…"
    )]
    Filter {
        /// What was written.
        filter: String,
        /// Why not.
        source: ParseError,
    },
    /// Logs were set up before in this process.
    #[error("logging is already set up")]
    Logs(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// Metrics cannot be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] BuildError),
    /// Metrics were set up before in this process.
    #[error("metrics are already set up")]
    MetricsTwice(#[from] metrics::SetRecorderError<PrometheusRecorder>),
}

/// Sends the process's log lines to stderr.
///
/// # Errors
/// The filter is not understood, or logs are set up already.
pub fn install_logs(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    let subscriber = subscriber(format, filter, colours, std::io::stderr)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in seconds.
    Seconds,
}

impl MetricKind {
    /// Prometheus' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Seconds => "histogram",
        }
    }
}

/// A metric, its labels and what ops reads of it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub help: &'static str,
}

/// Names of metrics, so that one is written once.
pub mod metric {
    /// Requests to LINE.
    pub const REQUESTS: &str = "haishin_requests_total";
    /// How long LINE takes.
    pub const REQUEST_SECONDS: &str = "haishin_request_duration_seconds";
    /// Friends by outcome.
    pub const DELIVERIES: &str = "haishin_deliveries_total";
    /// Occurrences by the state they were frozen in.
    pub const OCCURRENCES: &str = "haishin_occurrences_total";
    /// How long a freeze takes.
    pub const FREEZE_SECONDS: &str = "haishin_freeze_duration_seconds";
    /// Friends by status.
    pub const FRIENDS: &str = "haishin_friends";
    /// Rows that wait in the inbox.
    pub const INBOX_ROWS: &str = "haishin_inbox_rows";
    /// How long the oldest row of the inbox has waited.
    pub const INBOX_LAG: &str = "haishin_inbox_lag_seconds";
    /// Rows the owner applied.
    pub const INBOX_APPLIED: &str = "haishin_inbox_applied_total";
    /// What named no one friend.
    pub const STRAYS: &str = "haishin_strays_total";
    /// Starts of drips that were looked at, by what came of it.
    pub const DRIP_STARTS: &str = "haishin_drip_starts_total";
    /// Friends on their way through drips.
    pub const ENROLLMENTS: &str = "haishin_enrollments";
    /// How late the oldest due step is.
    pub const DRIP_LATE: &str = "haishin_drip_late_seconds";
    /// Webhooks by what became of them.
    pub const WEBHOOKS: &str = "haishin_webhooks_total";
    /// Events of accepted webhooks.
    pub const WEBHOOK_EVENTS: &str = "haishin_webhook_events_total";
    /// Webhooks handed on, or not.
    pub const RELAYED: &str = "haishin_relayed_total";
    /// Webhooks that wait to be handed on.
    pub const RELAY_ROWS: &str = "haishin_relay_rows";
    /// How long the oldest of them has waited.
    pub const RELAY_LAG: &str = "haishin_relay_lag_seconds";
    /// Requests beside sends, by what they came to.
    pub const OUTBOX_REQUESTS: &str = "haishin_outbox_requests_total";
    /// Requests beside sends that wait.
    pub const OUTBOX_ROWS: &str = "haishin_outbox_rows";
    /// How long the oldest of them has waited.
    pub const OUTBOX_LATE: &str = "haishin_outbox_late_seconds";
    /// Messages left this month.
    pub const QUOTA_LEFT: &str = "haishin_quota_left";
    /// Whether the brake is on.
    pub const STOPPED: &str = "haishin_stopped";
    /// How far the clock is behind.
    pub const CLOCK_BEHIND: &str = "haishin_clock_behind_seconds";
    /// How long writes wait for the writer.
    pub const WRITE_WAIT_SECONDS: &str = "haishin_write_wait_seconds";
    /// Requests to the HTTP API.
    pub const HTTP_REQUESTS: &str = "haishin_http_requests_total";
    /// How long the HTTP API takes.
    pub const HTTP_REQUEST_SECONDS: &str = "haishin_http_request_duration_seconds";
    /// Connections of the HTTP server.
    pub const HTTP_CONNECTIONS: &str = "haishin_http_connections";
    /// Slow clients whose place another one got.
    pub const HTTP_SENT_AWAY: &str = "haishin_http_connections_sent_away_total";
    /// When the last backup was made.
    pub const LAST_BACKUP: &str = "haishin_last_backup_timestamp_seconds";
    /// What an operator has to act on, or should know of.
    pub const CONCERN: &str = "haishin_concern";
    /// Occurrences that are not over.
    pub const OPEN_OCCURRENCES: &str = "haishin_open_occurrences";
    /// Friends whose outcome nobody knows.
    pub const UNKNOWN_FRIENDS: &str = "haishin_unknown_friends";
    /// Strays that nobody has dealt with.
    pub const STRAYS_WAITING: &str = "haishin_strays";
    /// How late a campaign is.
    pub const CAMPAIGN_LATE: &str = "haishin_campaign_late_seconds";
    /// When the quota was read.
    pub const QUOTA_READ: &str = "haishin_quota_read_timestamp_seconds";
    /// How much of the disk is free.
    pub const DISK_FREE: &str = "haishin_disk_free_bytes";
    /// The program's version.
    pub const BUILD_INFO: &str = "haishin_build_info";
}

/// Every metric of the daemon.
pub const METRICS: &[Metric] = &[
    of(metric::REQUESTS, MetricKind::Counter, &["account", "answer"], "Requests to LINE by their answer."),
    of(
        metric::REQUEST_SECONDS,
        MetricKind::Seconds,
        &["account"],
        "How long LINE takes to answer a request.",
    ),
    of(
        metric::DELIVERIES,
        MetricKind::Counter,
        &["account", "outcome"],
        "Friends by the outcome of their message.",
    ),
    of(
        metric::OCCURRENCES,
        MetricKind::Counter,
        &["account", "state"],
        "Occurrences by the state they were frozen in; `missed` ones were not.",
    ),
    of(metric::FREEZE_SECONDS, MetricKind::Seconds, &["account"], "How long a freeze takes."),
    of(metric::FRIENDS, MetricKind::Gauge, &["account", "status"], "Friends by status."),
    of(metric::INBOX_ROWS, MetricKind::Gauge, &["account"], "Rows that wait in the inbox."),
    of(
        metric::INBOX_LAG,
        MetricKind::Gauge,
        &["account"],
        "How long the oldest row of the inbox has waited. Above some seconds the account's owner cannot keep up, or cannot write.",
    ),
    of(metric::INBOX_APPLIED, MetricKind::Counter, &["account"], "Inbox rows that were applied."),
    of(
        metric::STRAYS,
        MetricKind::Counter,
        &["account"],
        "Changes that were acknowledged and named no friend.",
    ),
    of(
        metric::DRIP_STARTS,
        MetricKind::Counter,
        &["account", "result"],
        "Starts of drips that were looked at, by what came of it.",
    ),
    of(
        metric::ENROLLMENTS,
        MetricKind::Gauge,
        &["account", "standing"],
        "Friends on their way through drips: `due` at a step to come, `waiting` for room under a cap.",
    ),
    of(
        metric::DRIP_LATE,
        MetricKind::Gauge,
        &["account"],
        "How late the step of a drip is that should have gone out the longest ago. 0 where none is, and while quiet hours, a pause or the brake hold it.",
    ),
    of(
        metric::WEBHOOKS,
        MetricKind::Counter,
        &["account", "result"],
        "Webhooks: `accepted`, or why not: `forged` (the channel secret is not the one LINE signs with), `stranger` (no such account), `malformed`, `too_large`, `unavailable` (not stored in time; LINE may send it again). Without an account where nothing proves whose it is.",
    ),
    of(
        metric::WEBHOOK_EVENTS,
        MetricKind::Counter,
        &["account", "result"],
        "Events of accepted webhooks: `taken`, `ignored` (they say nothing of a friend) or `too_old` (older than their identities are remembered).",
    ),
    of(
        metric::RELAYED,
        MetricKind::Counter,
        &["account", "result"],
        "Webhooks handed on: `done`, `failed` (tried again), `refused` (the other side does not want the body) or `dropped` (too old, or too many).",
    ),
    of(metric::RELAY_ROWS, MetricKind::Gauge, &["account"], "Webhooks that wait to be handed on."),
    of(
        metric::RELAY_LAG,
        MetricKind::Gauge,
        &["account"],
        "How long the oldest webhook has waited to be handed on.",
    ),
    of(
        metric::OUTBOX_REQUESTS,
        MetricKind::Counter,
        &["account", "kind", "result"],
        "Requests beside sends (`rich_menu` to LINE, `webhook` to the shop's systems): `taken`, `failed` (tried again) or `given_up` (see the table `outbox`).",
    ),
    of(
        metric::OUTBOX_ROWS,
        MetricKind::Gauge,
        &["account", "lane"],
        "Requests beside sends that wait, by to whom they go: `rich_menu`, `webhook/NAME`.",
    ),
    of(
        metric::OUTBOX_LATE,
        MetricKind::Gauge,
        &["account", "lane"],
        "How long the oldest of them has waited. The brake and a pause make it grow.",
    ),
    of(
        metric::QUOTA_LEFT,
        MetricKind::Gauge,
        &["account"],
        "Messages that LINE's monthly quota leaves, by its last reading and our own count since; NaN where it was not read this month, or has no limit.",
    ),
    of(metric::STOPPED, MetricKind::Gauge, &["account"], "1 while the account's emergency brake is on."),
    of(
        metric::CLOCK_BEHIND,
        MetricKind::Gauge,
        &["account"],
        "How far the clock is behind what the account has seen. Above 60 nothing is sent: put the clock right, or `haishin start --accept-clock`.",
    ),
    of(
        metric::WRITE_WAIT_SECONDS,
        MetricKind::Seconds,
        &["priority"],
        "How long a write waits for the database's writer.",
    ),
    of(
        metric::HTTP_REQUESTS,
        MetricKind::Counter,
        &["route", "status"],
        "Requests to the HTTP API by their route and the status of their answer.",
    ),
    of(
        metric::HTTP_REQUEST_SECONDS,
        MetricKind::Seconds,
        &["route"],
        "How long the HTTP API takes to answer a request.",
    ),
    of(metric::HTTP_CONNECTIONS, MetricKind::Gauge, &[], "Open connections of the HTTP server."),
    of(
        metric::HTTP_SENT_AWAY,
        MetricKind::Counter,
        &[],
        "Slow clients of the HTTP server whose place another one got, because all were taken.",
    ),
    of(
        metric::LAST_BACKUP,
        MetricKind::Gauge,
        &[],
        "When `haishin backup` last made one here, in seconds since 1970 (UTC); absent where it never did.",
    ),
    of(
        metric::CONCERN,
        MetricKind::Gauge,
        &["account", "code"],
        "1 while a person has to act on it, or should know of it; each code has its section in docs/runbook.md. Of the machine without an account.",
    ),
    of(
        metric::OPEN_OCCURRENCES,
        MetricKind::Gauge,
        &["account", "state"],
        "Occurrences that are not over, by state: `sending`, `paused`, `held`.",
    ),
    of(
        metric::UNKNOWN_FRIENDS,
        MetricKind::Gauge,
        &["account"],
        "Friends of whom nobody can say whether LINE took their message, until a person resolves them; of the last 32 days.",
    ),
    of(
        metric::STRAYS_WAITING,
        MetricKind::Gauge,
        &["account"],
        "Changes that named no friend and wait for a person.",
    ),
    of(
        metric::CAMPAIGN_LATE,
        MetricKind::Gauge,
        &["account"],
        "How late the campaign is that should have gone out the longest ago. 0 where none is, and while quiet hours, a pause or the brake hold it.",
    ),
    of(
        metric::QUOTA_READ,
        MetricKind::Gauge,
        &["account"],
        "When LINE's monthly quota was last read, in seconds since 1970 (UTC): when something was planned or previewed.",
    ),
    of(metric::DISK_FREE, MetricKind::Gauge, &[], "Bytes that are free on the disk of the state directory."),
    of(metric::BUILD_INFO, MetricKind::Gauge, &["version"], "Always 1; the label is the program's version."),
];

const fn of(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// Upper bounds of the histograms' buckets: a local write to a request that times out.
const BUCKETS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A recorder of its own, for a test; the daemon installs one for the process.
///
/// # Errors
/// The buckets are refused.
pub fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS_SECONDS)?;
    Ok(builder.build_recorder())
}

/// Names, kinds and meanings of all metrics, and the version: to the current recorder.
pub fn describe() {
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            MetricKind::Counter => describe_counter!(*name, *help),
            MetricKind::Gauge => describe_gauge!(*name, *help),
            MetricKind::Seconds => describe_histogram!(*name, Unit::Seconds, *help),
        }
    }
    metrics::gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Records the process's metrics; the handle renders them for `/metrics`. The caller lets [`upkeep`] run.
///
/// # Errors
/// Metrics are set up already.
pub fn install_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    describe();
    Ok(handle)
}

/// Folds recorded samples into their histograms, which otherwise grow until somebody asks for `/metrics`.
pub async fn upkeep(handle: PrometheusHandle, stop: tokio_util::sync::CancellationToken) {
    const EVERY: std::time::Duration = std::time::Duration::from_secs(5);
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        handle.run_upkeep();
    }
}
