//! How far back the rules, caps and gates of a configuration look: what must be kept of past sends and events.

use std::collections::BTreeSet;

use super::campaign::{Campaign, Dispatch, VariantShare};
use super::drip::{Drip, Happening, Start};
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
    /// Of an account's policy, campaigns and drips, and the rules of all segments.
    pub fn of<'a>(
        policy: &Policy,
        campaigns: impl Iterator<Item = &'a Campaign>,
        drips: impl Iterator<Item = &'a Drip>,
        segments: impl Iterator<Item = &'a Rule>,
    ) -> Self {
        let mut found = Self::default();
        let (mut window, mut late) = (policy.same_content.unwrap_or_default(), Span::ZERO);
        window = policy.caps.iter().map(|cap| length(cap.per)).fold(window, Span::max);
        segments.for_each(|rule| found.look(rule));
        for campaign in campaigns {
            found.look(&campaign.audience);
            window = window.max(campaign.dispatch.once.unwrap_or_default());
            late = late.max(campaign.schedule.grace);
        }
        for drip in drips {
            window = window.max(found.look_through(drip));
            late = late.max(drip.grace);
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

    /// What either can ask.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        self.sends = self.sends.max(other.sends);
        self.events = self.events.max(other.events);
        self.ever.extend(other.ever);
        self
    }

    /// All rules of a drip; gives the longest `once` of its steps.
    fn look_through(&mut self, drip: &Drip) -> Span {
        if let Start::Event(Happening::Event { count: Some(count), .. }) = &drip.start {
            self.events = self.events.max(count.within.unwrap_or_default());
        }
        let of_steps = drip.steps.iter().map(|step| &step.segment);
        [&drip.entry, &drip.stop].into_iter().chain(of_steps).flatten().for_each(|rule| self.look(rule));
        let sends: Vec<&Dispatch> = drip.steps.iter().filter_map(|step| step.dispatch()).collect();
        for arm in sends.iter().flat_map(|dispatch| &dispatch.variants) {
            if let VariantShare::Branch(rule) = &arm.share {
                self.look(rule);
            }
        }
        sends.iter().filter_map(|dispatch| dispatch.once).max().unwrap_or_default()
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
