//! LINE's monthly numbers: asked for once per account when a plan needs them or LINE said 429, and what
//! follows.

use std::sync::Arc;

use chrono::FixedOffset;

use crate::clock::Reading;
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::OccurrenceId;
use crate::domain::plan;
use crate::domain::reason::Reason;
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::line::{Api, CallError, Quota};
use crate::protocol::Command;
use crate::sender::run::Run;
use crate::store::{Priority, QuotaReading, StoreError, Write};

use super::words::Subject;
use super::{Engine, Event};

/// A reading is good for planning for so long.
const FRESH: Span = Span::from_mins(1);
/// After a failed reading, ask again this much later.
pub(super) const ASK_AGAIN: Span = Span::from_secs(30);
/// While something is held at the limit, look this often whether it rose.
const WATCH: Span = Span::from_mins(5);

/// What is known of the asking.
#[derive(Debug, Default)]
pub(super) struct Desk {
    asking: bool,
    /// Since boot.
    asked_at: Option<Span>,
    read_at: Option<Span>,
    /// LINE said 429: the next reading decides whether it was the month's limit.
    doubted: bool,
}

/// Whether a plan may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// These are the facts to plan with.
    Known(plan::Quota),
    /// The answer is on its way.
    Asked,
}

/// LINE's limit, and what it has counted.
async fn read(line: Arc<dyn Api>) -> Result<(Quota, u64), CallError> {
    Ok((line.quota().await?, line.consumption().await?))
}

/// LINE counts by UTC+9.
fn month_of(at: Instant) -> String {
    // 9 h is a valid offset; UTC stands in for what cannot happen.
    let zone = FixedOffset::east_opt(9 * 3_600)
        .map(|zone| at.utc().with_timezone(&zone).format("%Y-%m").to_string());
    zone.unwrap_or_else(|| at.utc().format("%Y-%m").to_string())
}

impl Engine {
    /// The numbers to plan with: a fresh reading, or after a failed one the month's last with our own count.
    pub(super) async fn quota_numbers(&mut self, clock: &Reading) -> Result<Numbers, StoreError> {
        if self.quota.asking {
            return Ok(Numbers::Asked);
        }
        if self.may_ask(clock) {
            self.ask_quota(clock);
            return Ok(Numbers::Asked);
        }
        let quota = self.stored_quota(clock.now).await?;
        self.gauge_quota(quota);
        Ok(Numbers::Known(quota))
    }

    /// Whether a question is better answered when LINE's numbers, now on their way, have come: so that the first
    /// preview after a start tells what the second would.
    pub(super) async fn waits_for_numbers(&mut self, ask: &super::Ask) -> Result<bool, StoreError> {
        if !matches!(ask.command, Command::CampaignPreview { .. } | Command::CampaignTestSend { .. }) {
            return Ok(false);
        }
        let clock = self.deps.clock.read();
        Ok(self.quota_numbers(&clock).await? == Numbers::Asked)
    }

    /// Whether there is neither a fresh reading nor a failure just now.
    fn may_ask(&self, clock: &Reading) -> bool {
        let since = |at: Option<Span>| at.map(|at| clock.boot.since_boot.as_millis() - at.as_millis());
        let fresh = since(self.quota.read_at).is_some_and(|age| age < FRESH.as_millis());
        let failed = since(self.quota.asked_at).is_some_and(|age| age < ASK_AGAIN.as_millis());
        !fresh && !failed
    }

    /// What the month's last reading and our own count say.
    pub(super) async fn stored_quota(&self, now: Instant) -> Result<plan::Quota, StoreError> {
        let month = month_of(now);
        Ok(match self.state.quota.clone().filter(|reading| reading.month == month) {
            None => plan::Quota::Unreadable,
            Some(QuotaReading { limit: None, .. }) => plan::Quota::Unlimited,
            Some(QuotaReading { limit: Some(limit), used, read_at, .. }) => {
                let accepted = self.deps.store.accepted_since(self.account, read_at).await?;
                plan::Quota::of(limit, None, Some(used), accepted, self.state.unsettled())
            }
        })
    }

    /// LINE answered 429: is it the month?
    pub(super) fn doubt_quota(&mut self, clock: &Reading) {
        self.quota.doubted = true;
        self.ask_quota(clock);
    }

    fn ask_quota(&mut self, clock: &Reading) {
        if self.quota.asking {
            return;
        }
        self.quota.asking = true;
        self.quota.asked_at = Some(clock.boot.since_boot);
        let (line, events) = (self.line.clone(), self.events.clone());
        self.attempts.spawn(async move {
            // An engine that has ended needs no numbers.
            let _ = events.send(Event::Quota(read(line).await)).await;
        });
    }

    /// LINE's numbers came, or did not.
    pub(super) async fn quota_came(
        &mut self,
        reading: Result<(Quota, u64), CallError>,
    ) -> Result<(), StoreError> {
        self.quota.asking = false;
        self.next_due = None;
        let clock = self.deps.clock.read();
        let (limit, used) = match reading {
            Ok((Quota::Unlimited, used)) => (None, used),
            Ok((Quota::Limited(limit), used)) => (Some(limit), used),
            Err(error) => {
                tracing::warn!(account = %self.slug, %error, "LINE's quota could not be read");
                return Ok(());
            }
        };
        let month = month_of(clock.now);
        // The last instant that is over: what is heard after these numbers, in the same millisecond too, came since.
        let read_at = clock.now - Span::from_millis(1);
        // LINE counts with delay: what we know was accepted since the last reading counts at least.
        let known = match &self.state.quota {
            Some(last) if last.month == month => {
                let since_last = self.deps.store.accepted_since(self.account, last.read_at).await?;
                let still_to_count = self.deps.store.accepted_since(self.account, read_at).await?;
                last.used + since_last.saturating_sub(still_to_count)
            }
            _ => 0,
        };
        let reading = QuotaReading { month, read_at, limit, used: used.max(known) };
        let exhausted = limit.is_some_and(|limit| used >= limit);
        let mut writes = vec![Write::Quota(reading.clone())];
        if exhausted && self.quota.doubted {
            writes.extend(self.hold_all(limit.unwrap_or(0)));
        } else if !exhausted {
            writes.extend(self.release_held(&clock));
        }
        self.commit(Priority::Outcome, writes).await?;
        self.quota.doubted = false;
        self.quota.read_at = Some(clock.boot.since_boot);
        self.state.quota = Some(reading);
        Ok(())
    }

    fn hold_all(&mut self, limit: u64) -> Vec<Write> {
        let reason = Reason::MonthlyLimit { limit };
        let words = self.words(Lang::En);
        let mut writes = Vec::new();
        for run in self.state.runs.values_mut().filter(|run| run.row.state == OccurrenceState::Sending) {
            let text = words.reason(&reason, Subject::Occurrence(&run.row.campaign, run.row.id));
            tracing::error!(account = %self.slug, campaign = %run.row.campaign, occurrence = %run.row.id, reason = text, "held");
            writes.push(run.moves(OccurrenceState::Held, Some(reason.clone())));
        }
        writes
    }

    fn release_held(&mut self, clock: &Reading) -> Vec<Write> {
        let held: Vec<_> = self.held_at_the_limit().collect();
        held.into_iter().flat_map(|id| self.let_go_on(id, clock.now)).collect()
    }

    /// What waits for the limit; what is held for another reason waits for a person.
    fn held_at_the_limit(&self) -> impl Iterator<Item = OccurrenceId> {
        let waits = |run: &&Run| {
            run.row.state == OccurrenceState::Held
                && matches!(run.row.reason, Some(Reason::MonthlyLimit { .. }))
        };
        self.state.runs.values().filter(waits).map(|run| run.row.id)
    }

    /// While something is held, looks now and then whether the limit rose.
    pub(super) fn watch_quota(&mut self, clock: &Reading) {
        let held = self.held_at_the_limit().next().is_some();
        let asked =
            self.quota.asked_at.map_or(i64::MAX, |at| clock.boot.since_boot.as_millis() - at.as_millis());
        if held && asked >= WATCH.as_millis() {
            self.ask_quota(clock);
        }
    }
}
