//! `[[step]]`: when it is due, for whom, and what happens.

use std::sync::Arc;

use super::action::actions;
use crate::config::arms::{branches, plain, two_of_one_name, variants};
use crate::config::problem::{Expected, Problem};
use crate::config::rule::Rules;
use crate::config::schedule::{except, times, weekdays};
use crate::config::terms::{Terms, optional, when_capped};
use crate::config::tree::{Item, Table};
use crate::domain::campaign::{Dispatch, Variant, WhenCapped};
use crate::domain::drip::{Action, Content, Step, Timing, Wait};
use crate::domain::id::{CampaignSlug, StepName};
use crate::domain::schedule::{Days, Every, Pattern, Recurrence};
use crate::domain::time::{Instant, Span, Tz};

/// More steps than any drip has.
const STEPS_MAX: usize = 100;
/// A hundred years.
const DAY_MAX: u32 = 36_500;
/// What becomes of a friend over a cap unless the step says otherwise.
const WHEN_CAPPED: WhenCapped = WhenCapped::Defer(Span::from_days(3));

/// What steps are read with.
pub(super) struct Steps<'c> {
    pub rules: &'c Rules<'c>,
    pub terms: &'c Terms<'c>,
    pub slug: &'c CampaignSlug,
    /// Whose clock local times are of; none where that could not be read.
    pub zone: Option<Tz>,
}

/// What a step does, as read.
enum Read {
    Send(Vec<Variant>),
    Act(Vec<Action>),
}

impl Steps<'_> {
    /// All steps.
    pub fn read(&self, item: &Item<'_>) -> Option<Vec<Step>> {
        let items = item.tables("step")?;
        if !(1..=STEPS_MAX).contains(&items.len()) {
            item.report(Problem::WrongCount { min: 1, max: STEPS_MAX, is: items.len() });
            return None;
        }
        let read: Vec<Option<Step>> = items.iter().map(|item| self.step(item)).collect();
        two_of_one_name(&items, |_| None);
        read.into_iter().collect()
    }

    fn step(&self, item: &Item<'_>) -> Option<Step> {
        let table = item.table("step")?.with_homes();
        let name: Option<StepName> = table.need("name").and_then(|item| item.name(Expected::Slug));
        let timing = self.timing(&table);
        let segment = self.rules.audience_in(&table, false);
        let capped = optional(&table, "when_capped", when_capped);
        let content = self.content(&table);
        table.finish();
        let (name, capped) = (name?, capped?);
        let content = match content? {
            Read::Act(actions) => Content::Act(actions),
            Read::Send(variants) => Content::Send(Box::new(Dispatch {
                step: Some(name.clone()),
                when_capped: capped.unwrap_or(WHEN_CAPPED),
                ..self.terms.dispatch(self.slug, variants)?
            })),
        };
        Some(Step { name, timing: timing?, segment: segment?.map(|(_, rule)| Arc::new(rule)), content })
    }

    fn timing(&self, table: &Table<'_>) -> Option<Timing> {
        let wait = match table.one_of(&["after", "day"], false) {
            None => Some(Wait::Elapsed(Span::ZERO)),
            Some("after") => table.get("after").and_then(|item| item.span()).map(Wait::Elapsed),
            // The day of the start itself needs no number: that is `at` alone.
            Some(key) => table.get(key).and_then(|item| item.whole_u32(1, DAY_MAX)).map(Wait::Days),
        };
        let days = match table.get("on") {
            Some(item) => weekdays(&item).map(Days::Week),
            None => Some(Days::Day),
        };
        let except = optional(table, "except", except);
        // Local days mean something for local times only.
        let needs_at = !table.present(&["day", "on", "except"]).is_empty();
        let item = if needs_at { table.need("at") } else { table.get("at") };
        let at = item.map(|item| times(&item));
        let (wait, zone) = (wait?, self.zone?);
        let Some(at) = at else { return (!needs_at).then_some(Timing { wait, at: None, zone }) };
        let every = Every::new(days?, at?).ok()?;
        let except = except?.unwrap_or_default();
        let times = Recurrence { pattern: Pattern::Every(every), zone, from: None, until: None, except };
        let timing = Timing { wait, at: Some(times), zone };
        if timing.due(Instant::from_millis(0)).is_none() {
            table.file.report(table.key_at("at").unwrap_or(table.at), Problem::StepNeverDue);
            return None;
        }
        Some(timing)
    }

    fn content(&self, table: &Table<'_>) -> Option<Read> {
        let which = table.one_of(&["message", "variant", "branch", "action"], true)?;
        let item = table.get(which)?;
        match which {
            "message" => plain(&item).map(Read::Send),
            "variant" => variants(&item).map(Read::Send),
            "branch" => branches(self.rules, &item).map(Read::Send),
            _ => {
                if let Some(at) = table.key_at("when_capped") {
                    let problem =
                        Problem::Conflict { key: "when_capped".to_owned(), other: "action".to_owned() };
                    table.file.report(at, problem);
                }
                actions(self.rules, &item).map(Read::Act)
            }
        }
    }
}
