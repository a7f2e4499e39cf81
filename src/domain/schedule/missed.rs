//! What becomes of instants that fell due while nothing could run.

use super::{IfMissed, Schedule};
use crate::domain::policy::QuietHours;
use crate::domain::time::Instant;

/// What a due instant comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An occurrence is planned now.
    Run,
    /// It is recorded as missed, and told.
    Missed,
}

/// What kept an occurrence from being planned at its due instant.
#[derive(Debug, Clone, Copy)]
pub struct Delay<'a> {
    /// The hours without sends that bind the campaign.
    pub quiet_hours: Option<&'a QuietHours>,
    /// Since when planning has run without a break: the end of the last downtime, pause or brake.
    pub up_since: Instant,
}

impl Delay<'_> {
    /// Whether anything but the planner's own latency stood between the due instant and its planning.
    fn held(&self, due: Instant) -> bool {
        due < self.up_since || self.ready(due) != due
    }

    /// From when grace runs: the due instant or, when it fell into quiet hours, their end.
    fn ready(&self, due: Instant) -> Instant {
        self.quiet_hours.map_or(due, |quiet| quiet.end_after(due))
    }

    /// The effective instant of an occurrence: its due instant or, when quiet hours or downtime delayed it, the
    /// instant that delay ended.
    pub fn effective(&self, due: Instant) -> Instant {
        self.ready(due.max(self.up_since))
    }
}

/// Judges together what fell due up to `now` and has not been planned yet (`dues`, ascending).
///
/// An instant runs when it is late by at most the grace and, if anything held it up, when `if_missed` catches it
/// up: `latest` the last of `dues` only, `all` each, `none` none. In quiet hours nothing is judged: the answer is
/// empty until they end.
pub fn judge(
    schedule: &Schedule,
    dues: &[Instant],
    delay: Delay<'_>,
    now: Instant,
) -> Vec<(Instant, Verdict)> {
    if delay.quiet_hours.is_some_and(|quiet| quiet.is_quiet(now)) {
        return Vec::new();
    }
    let verdict = |due: Instant| {
        let caught_up = match schedule.if_missed {
            IfMissed::Latest => dues.last() == Some(&due),
            IfMissed::All => true,
            IfMissed::None => false,
        };
        let in_grace = now - delay.ready(due) <= schedule.grace;
        if in_grace && (caught_up || !delay.held(due)) { Verdict::Run } else { Verdict::Missed }
    };
    dues.iter().map(|due| (*due, verdict(*due))).collect()
}
