//! How far back the rules, caps and gates of a configuration look: what must be kept of past sends and events.

use std::collections::BTreeSet;

use super::campaign::Campaign;
use super::id::CampaignSlug;
use super::policy::{CapWindow, Policy};
use super::segment::rule::{Condition, Rule};
use super::time::Span;

/// Days, weeks and months of the calendar are longer where a clock is put back, and a decision is made some time after
/// the instant its windows end at.
const SLACK: Span = Span::from_days(2);

/// What a configuration can ask of the past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lookback {
    /// A delivery that took effect longer ago than this is in no window, and read by `received` without `within` alone.
    pub sends: Span,
    /// The longest `within` of a condition on events. One without looks at all there are.
    pub events: Span,
    /// The campaigns of which a rule asks who *ever* received them.
    pub ever: BTreeSet<CampaignSlug>,
}

impl Lookback {
    /// Of an account's policy and campaigns, and the rules of all segments.
    pub fn of<'a>(
        policy: &Policy,
        campaigns: impl Iterator<Item = &'a Campaign>,
        segments: impl Iterator<Item = &'a Rule>,
    ) -> Self {
        let mut found = Self::default();
        let (mut window, mut late) = (policy.same_content.unwrap_or_default(), Span::ZERO);
        window = policy.caps.iter().map(|cap| length(cap.per)).fold(window, Span::max);
        segments.for_each(|rule| found.look(rule));
        for campaign in campaigns {
            found.look(&campaign.audience);
            window = window.max(campaign.once.unwrap_or_default());
            late = late.max(campaign.schedule.grace);
        }
        // What is planned late by its grace looks back from when it was due.
        let all = [window.max(found.sends), late, SLACK].map(Span::as_millis);
        found.sends = Span::from_millis(all.into_iter().fold(0, i64::saturating_add));
        found
    }

    /// Whether whoever keeps this much can answer what `other` asks.
    pub fn covers(&self, other: &Self) -> bool {
        self.sends >= other.sends && self.events >= other.events && self.ever.is_superset(&other.ever)
    }

    fn look(&mut self, rule: &Rule) {
        match rule {
            Rule::All(rules) | Rule::Any(rules) | Rule::AtLeast { of: rules, .. } => {
                rules.iter().for_each(|rule| self.look(rule));
            }
            Rule::Not(rule) => self.look(rule),
            // Every segment is looked at by itself.
            Rule::Segment(_) => {}
            Rule::Is(Condition::Received { within: Some(within), .. }) => {
                self.sends = self.sends.max(*within);
            }
            Rule::Is(Condition::Received { campaign, within: None }) => {
                self.ever.insert(campaign.clone());
            }
            Rule::Is(Condition::Event(condition)) => {
                self.events = self.events.max(condition.within.unwrap_or_default());
            }
            Rule::Is(_) => {}
        }
    }
}

fn length(window: CapWindow) -> Span {
    match window {
        CapWindow::Rolling(span) => span,
        CapWindow::Day => Span::from_days(1),
        CapWindow::Week => Span::from_days(7),
        CapWindow::Month => Span::from_days(31),
    }
}
