//! The guards over a whole occurrence: it goes out, is refused, or waits. Never a part of it.

use super::{Budget, Input, Reach, Refusal, Verdict, Wait, Warning};
use crate::domain::policy::{QuietHours, Share};

/// What LINE's monthly limit leaves, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// The account's plan has no limit.
    Unlimited,
    /// A limit and its use.
    Known {
        /// Messages a month.
        limit: u64,
        /// Used of them, own unsettled sends included.
        used: u64,
    },
    /// Nothing was read this month.
    Unreadable,
}

impl Quota {
    /// What is known of a limit from LINE's figure just read (`line`), the month's last reading (`last`), what was
    /// accepted since that one, and the recipients of own sends without an outcome.
    pub fn of(limit: u64, line: Option<u64>, last: Option<u64>, accepted_since: u64, unsettled: u64) -> Self {
        // LINE's figure lags behind what it accepted, so neither is believed over the other.
        let own = last.map(|last| last.saturating_add(accepted_since));
        match line.max(own) {
            Some(used) => Self::Known { limit, used: used.saturating_add(unsettled) },
            None => Self::Unreadable,
        }
    }
}

/// The first guard that speaks, in the order of the documentation, and every warning.
pub(super) fn judge(input: &Input<'_>, recipients: u64) -> (Verdict, Vec<Warning>) {
    let mut warnings = Vec::new();
    let verdict = timing(input)
        .or_else(|| max_recipients(input, recipients))
        .or_else(|| blanket(input, &mut warnings))
        .or_else(|| quota(input, recipients, &mut warnings));
    (verdict.unwrap_or(Verdict::Send), warnings)
}

fn share_of(share: Share, whole: u64) -> u128 {
    u128::from(share.millionths()) * u128::from(whole)
}

const MILLION: u128 = 1_000_000;

fn quiet_hours<'a>(input: &Input<'a>) -> Option<&'a QuietHours> {
    input.policy.quiet_hours_for(&input.dispatch.category, input.dispatch.immediate)
}

fn timing(input: &Input<'_>) -> Option<Verdict> {
    let goes_at = quiet_hours(input).map_or(input.now, |quiet| quiet.end_after(input.now));
    let deadline = input.dispatch.deadline.map(|deadline| deadline.instant(input.due));
    match deadline {
        Some(deadline) if deadline <= goes_at => Some(Verdict::Refuse(Refusal::DeadlinePassed { deadline })),
        _ => (goes_at > input.now).then_some(Verdict::Wait(Wait::QuietHours { until: goes_at })),
    }
}

fn max_recipients(input: &Input<'_>, recipients: u64) -> Option<Verdict> {
    let max = input.dispatch.max_recipients.filter(|max| recipients > *max)?;
    Some(Verdict::Refuse(Refusal::MaxRecipients { recipients, max }))
}

/// Compares reachable matches with reachable friends: a rule that also gives blocked friends reaches nobody more.
fn blanket(input: &Input<'_>, warnings: &mut Vec<Warning>) -> Option<Verdict> {
    let share = input.policy.blanket.share.filter(|_| !input.dispatch.reach_everyone)?;
    let friends = input.friends;
    let reachable = friends.following - friends.erased - friends.quarantined;
    let reach =
        Reach { matched: input.matched.intersection_len(&reachable), reachable: reachable.len(), share };
    if u128::from(reach.matched) * MILLION <= share_of(share, reach.reachable) {
        return None;
    }
    if reach.reachable < input.policy.blanket.warn_below {
        warnings.push(Warning::Blanket(reach));
        return None;
    }
    Some(Verdict::Refuse(Refusal::Blanket(reach)))
}

fn quota(input: &Input<'_>, recipients: u64, warnings: &mut Vec<Warning>) -> Option<Verdict> {
    let (limit, used) = match input.quota {
        _ if recipients == 0 => return None,
        Quota::Unlimited => return None,
        Quota::Known { limit, used } => (limit, used),
        Quota::Unreadable => return Some(unreadable(input)),
    };
    let policy = input.policy.quota;
    let kept = if input.policy.uses_reserve(&input.dispatch.category) {
        0
    } else {
        share_of(policy.keep, limit).div_ceil(MILLION) as u64
    };
    let available = limit.saturating_sub(used).saturating_sub(kept);
    let budget = Budget { recipients, available, limit, kept };
    if recipients > available {
        return Some(Verdict::Refuse(Refusal::Quota(budget)));
    }
    if u128::from(used.saturating_add(recipients)) * MILLION >= share_of(policy.warn_at, limit) {
        warnings.push(Warning::Quota(budget));
    }
    None
}

/// Waits for a reading as long as the grace lets the occurrence be late.
fn unreadable(input: &Input<'_>) -> Verdict {
    let ready = quiet_hours(input).map_or(input.due, |quiet| quiet.end_after(input.due));
    if input.now - ready > input.grace {
        Verdict::Refuse(Refusal::QuotaUnreadable)
    } else {
        Verdict::Wait(Wait::QuotaUnreadable)
    }
}
