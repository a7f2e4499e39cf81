//! What an engine tells the metrics: counters as things happen, gauges once a turn.

use crate::domain::delivery::{OccurrenceState, Outcome};
use crate::domain::plan;
use crate::domain::time::{Instant, Span};
use crate::line::Answer;
use crate::store::{OccurrenceRow, Waiting};
use crate::telemetry::metric;

use super::Engine;
use super::concerns::Facts;

/// What a delivery can come to.
const OUTCOMES: [&str; 6] = ["accepted", "rejected", "unknown", "cancelled", "expired", "erased"];

fn seconds(span: Span) -> f64 {
    span.as_millis() as f64 / 1_000.0
}

impl Engine {
    /// Starts of drips that were looked at.
    pub(super) fn count_starts(&self, entered: usize, refused: usize) {
        for (result, count) in [("entered", entered), ("refused", refused)] {
            let labels = [("account", self.slug.to_string()), ("result", result.to_owned())];
            metrics::counter!(metric::DRIP_STARTS, &labels).increment(count as u64);
        }
    }

    fn label(&self) -> String {
        self.slug.to_string()
    }

    pub(super) fn count_answer(&self, answer: &'static str, took: Span) {
        metrics::counter!(metric::REQUESTS, "account" => self.label(), "answer" => answer).increment(1);
        metrics::histogram!(metric::REQUEST_SECONDS, "account" => self.label()).record(seconds(took));
    }

    pub(super) fn count_deliveries(&self, outcome: Outcome, friends: u64) {
        metrics::counter!(metric::DELIVERIES, "account" => self.label(), "outcome" => outcome.as_str())
            .increment(friends);
    }

    pub(super) fn count_occurrence(&self, row: &OccurrenceRow, took: Span) {
        metrics::counter!(metric::OCCURRENCES, "account" => self.label(), "state" => row.state.as_str())
            .increment(1);
        metrics::histogram!(metric::FREEZE_SECONDS, "account" => self.label()).record(seconds(took));
    }

    pub(super) fn count_applied(&self, rows: u64) {
        metrics::counter!(metric::INBOX_APPLIED, "account" => self.label()).increment(rows);
    }

    pub(super) fn count_strays(&self, strays: u64) {
        metrics::counter!(metric::STRAYS, "account" => self.label()).increment(strays);
        if strays > 0 {
            tracing::warn!(account = %self.slug, strays, "named no friend: see `haishin friend strays`");
        }
    }

    /// Requests beside sends, by what they came to.
    pub(super) fn count_outbox(&self, kind: &'static str, result: &'static str, requests: u64) {
        let labels = [("account", self.label()), ("kind", kind.to_owned()), ("result", result.to_owned())];
        metrics::counter!(metric::OUTBOX_REQUESTS, &labels).increment(requests);
    }

    fn gauge_outbox(&self) {
        for (lane, backlog) in &self.state.outbox {
            let labels = [("account", self.label()), ("lane", lane.to_string())];
            metrics::gauge!(metric::OUTBOX_ROWS, &labels).set(backlog.open as f64);
            let age = backlog.oldest.map_or(Span::ZERO, |oldest| self.deps.clock.now() - oldest);
            metrics::gauge!(metric::OUTBOX_LATE, &labels).set(seconds(age.max(Span::ZERO)));
        }
    }

    pub(super) fn gauge_inbox(&self, rows: u64) {
        metrics::gauge!(metric::INBOX_ROWS, "account" => self.label()).set(rows as f64);
    }

    pub(super) fn gauge_inbox_lag(&self, oldest: Option<Instant>) {
        metrics::gauge!(metric::INBOX_LAG, "account" => self.label()).set(self.age(oldest));
    }

    pub(super) fn count_relayed(&self, result: &'static str, webhooks: u64) {
        metrics::counter!(metric::RELAYED, "account" => self.label(), "result" => result).increment(webhooks);
    }

    pub(super) fn gauge_relay(&self, waiting: Waiting) {
        metrics::gauge!(metric::RELAY_ROWS, "account" => self.label()).set(waiting.rows as f64);
        metrics::gauge!(metric::RELAY_LAG, "account" => self.label()).set(self.age(waiting.oldest));
    }

    /// Seconds since an instant; 0 without one.
    fn age(&self, oldest: Option<Instant>) -> f64 {
        let age = oldest.map(|oldest| self.deps.clock.now() - oldest);
        seconds(age.unwrap_or(Span::ZERO).max(Span::ZERO))
    }

    /// Not a number where nothing is known of this month, or the plan has no limit: no alert takes it for used up.
    pub(super) fn gauge_quota(&self, quota: plan::Quota) {
        let left = match quota {
            plan::Quota::Known { limit, used } => limit.saturating_sub(used) as f64,
            _ => f64::NAN,
        };
        metrics::gauge!(metric::QUOTA_LEFT, "account" => self.label()).set(left);
        if let Some(reading) = &self.state.quota {
            let read_at = reading.read_at.as_millis() as f64 / 1_000.0;
            metrics::gauge!(metric::QUOTA_READ, "account" => self.label()).set(read_at);
        }
    }

    /// What is so, in figures.
    pub(super) fn gauge_facts(&self, facts: &Facts) {
        let state = |state| self.state.runs.values().filter(|run| run.row.state == state).count();
        for one in [OccurrenceState::Sending, OccurrenceState::Paused, OccurrenceState::Held] {
            metrics::gauge!(metric::OPEN_OCCURRENCES, "account" => self.label(), "state" => one.as_str())
                .set(state(one) as f64);
        }
        let unknown = facts.troubles.unknown + facts.unknown_open;
        metrics::gauge!(metric::UNKNOWN_FRIENDS, "account" => self.label()).set(unknown as f64);
        metrics::gauge!(metric::STRAYS_WAITING, "account" => self.label()).set(facts.strays as f64);
        let late = facts.late.as_ref().map_or(Span::ZERO, |(_, late)| *late).max(Span::ZERO);
        metrics::gauge!(metric::CAMPAIGN_LATE, "account" => self.label()).set(seconds(late));
        let late = facts.steps_late.unwrap_or(Span::ZERO).max(Span::ZERO);
        metrics::gauge!(metric::DRIP_LATE, "account" => self.label()).set(seconds(late));
    }

    /// Counters have a value before the first event, so that an alert sees it.
    pub(super) fn begin_counting(&self) {
        let of = |name: &'static str, label: &'static str, values: &[&'static str]| {
            for value in values {
                let labels = [("account", self.label()), (label, (*value).to_owned())];
                metrics::counter!(name, &labels).increment(0);
            }
        };
        of(metric::REQUESTS, "answer", Answer::WORDS);
        of(metric::DELIVERIES, "outcome", &OUTCOMES);
        of(metric::OCCURRENCES, "state", &["sending", "refused", "missed"]);
        of(metric::RELAYED, "result", &["done", "failed", "refused", "dropped"]);
        of(metric::DRIP_STARTS, "result", &["entered", "refused"]);
        of(metric::WEBHOOKS, "result", &["accepted", "forged", "unavailable"]);
        for kind in ["rich_menu", "webhook"] {
            ["taken", "failed", "given_up"].into_iter().for_each(|result| self.count_outbox(kind, result, 0));
        }
        self.count_applied(0);
        self.count_strays(0);
    }

    /// What fell due and is not caught up.
    pub(super) fn count_missed(&self, occurrences: u64) {
        metrics::counter!(metric::OCCURRENCES, "account" => self.label(), "state" => "missed")
            .increment(occurrences);
    }

    pub(super) fn gauge_state(&self) {
        let following = self.state.index.following().len();
        let blocked = self.state.index.len().saturating_sub(following);
        for (status, count) in [("following", following), ("blocked", blocked)] {
            metrics::gauge!(metric::FRIENDS, "account" => self.label(), "status" => status).set(count as f64);
        }
        let (due, waiting) = self.state.ways.standings();
        for (standing, count) in [("due", due), ("waiting", waiting)] {
            metrics::gauge!(metric::ENROLLMENTS, "account" => self.label(), "standing" => standing)
                .set(count as f64);
        }
        self.gauge_outbox();
        let behind = self.state.seen_at - self.deps.clock.now();
        metrics::gauge!(metric::CLOCK_BEHIND, "account" => self.label()).set(seconds(behind.max(Span::ZERO)));
        let stopped = self.state.row.stopped.is_some() || self.state.row.paused.is_some();
        metrics::gauge!(metric::STOPPED, "account" => self.label()).set(f64::from(u8::from(stopped)));
    }
}
