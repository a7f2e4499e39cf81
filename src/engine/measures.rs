//! What an engine tells the metrics: counters as things happen, gauges once a turn.

use crate::domain::delivery::Outcome;
use crate::domain::plan;
use crate::domain::time::{Instant, Span};
use crate::store::{OccurrenceRow, Waiting};
use crate::telemetry::metric;

use super::Engine;

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

    pub(super) fn gauge_quota(&self, quota: plan::Quota) {
        if let plan::Quota::Known { limit, used } = quota {
            let left = limit.saturating_sub(used);
            metrics::gauge!(metric::QUOTA_LEFT, "account" => self.label()).set(left as f64);
        }
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
        let late = self.state.ways.first_due().map_or(Span::ZERO, |due| self.deps.clock.now() - due);
        metrics::gauge!(metric::DRIP_LATE, "account" => self.label()).set(seconds(late.max(Span::ZERO)));
        self.gauge_outbox();
        let behind = self.state.seen_at - self.deps.clock.now();
        metrics::gauge!(metric::CLOCK_BEHIND, "account" => self.label()).set(seconds(behind.max(Span::ZERO)));
        let stopped = self.state.row.stopped.is_some() || self.state.row.paused.is_some();
        metrics::gauge!(metric::STOPPED, "account" => self.label()).set(f64::from(u8::from(stopped)));
    }
}
