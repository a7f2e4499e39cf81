//! Drip files: what starts a friend, what ends its way, and the steps. `docs/drips.md` says what each form means.

mod action;
mod judge;
mod meaning;
mod starts;
mod step;
mod trigger;

use std::sync::Arc;

pub(super) use meaning::{meanings, render};

use super::problem::Expected;
use super::schedule::if_missed;
use super::terms::{Reading, elsewhere, optional};
use super::tree::{Home, Item, Table};
use crate::domain::campaign::VariantShare;
use crate::domain::drip::{Again, Drip};
use crate::domain::id::CampaignSlug;
use crate::domain::segment::rule::Rule;
use step::Steps;

/// Where each key of a drip lives, so that one below the wrong header can be sent home.
pub(super) const HOMES: &[Home] = &[
    Home {
        header: "",
        keys: &[
            "title",
            "account",
            "category",
            "start",
            "again",
            "stop",
            "stop_on",
            "goal",
            "zone",
            "if_missed",
            "grace",
            "migrate",
            "draft",
            "priority",
            "max_recipients",
            "holdout",
            "repeat_after",
            "reach",
            "immediate",
            "pace",
            "notify",
            "delivery",
            "step",
        ],
    },
    Home {
        header: "[start]",
        keys: &["tag_added", "tag_removed", "event", "followed", "attr", "date", "existing", "before"],
    },
    Home {
        header: "[[step]]",
        keys: &[
            "name",
            "after",
            "at",
            "day",
            "on",
            "except",
            "segment",
            "audience",
            "when_capped",
            "message",
            "variant",
            "branch",
            "action",
        ],
    },
    Home {
        header: "[[step.message]]",
        keys: &["text", "coupon_id", "contents", "contents_json", "alt_text"],
    },
    Home { header: "[[step.variant]]", keys: &["share"] },
    Home { header: "[[step.branch]]", keys: &[] },
];

/// Keys of campaigns.
const OF_CAMPAIGNS: [&str; 3] = ["schedule", "once", "sample"];

/// Reads one file.
pub(super) fn drip(reading: &Reading<'_>, slug: &CampaignSlug, table: &Table<'_>) -> Option<Drip> {
    let terms = reading.terms(table);
    let zone = match table.get("zone") {
        Some(item) => item.zone(),
        None => terms.account.map(|account| account.policy.zone),
    };
    let rules = reading.rules(zone);
    let start = table.need("start").and_then(|item| trigger::start(&rules, &item));
    let entry = rules.audience_in(table, false);
    let again = optional(table, "again", again);
    let stop = optional(table, "stop", |item| rules.rule(item));
    let stop_on = optional(table, "stop_on", |item| trigger::ending(&rules, item));
    let goal = optional(table, "goal", |item| trigger::ending(&rules, item));
    let if_missed = optional(table, "if_missed", if_missed);
    let grace = optional(table, "grace", |item| item.span());
    let migrate = optional(table, "migrate", |item| item.flag());
    let steps = Steps { rules: &rules, terms: &terms, slug, zone };
    let steps = table.need("step").and_then(|item| steps.read(&item));
    elsewhere(table, &OF_CAMPAIGNS, "campaigns/");
    table.finish();
    let (account, defaults, (start, existing)) = (terms.account?, reading.defaults?, start?);
    let drip = Drip {
        slug: slug.clone(),
        title: terms.title.clone()?,
        account: account.slug.clone(),
        start,
        entry: entry?.map(|(_, rule)| Arc::new(rule)),
        existing,
        again: again?.unwrap_or(Again::Never),
        stop: stop?.map(Arc::new),
        stop_on: stop_on?,
        goal: goal?,
        zone: zone?,
        if_missed: if_missed?.unwrap_or(defaults.if_missed),
        grace: grace?.unwrap_or(defaults.grace),
        migrate: migrate?.unwrap_or(false),
        draft: terms.draft?.unwrap_or(false),
        steps: steps?,
    };
    let quiet = account.policy.quiet_hours.filter(|_| !terms.immediate.unwrap_or(false));
    judge::judge(&drip, table, terms.window()?, quiet.as_ref(), reading.now);
    Some(drip)
}

/// `again = "30d"` or `"never"`.
fn again(item: &Item<'_>) -> Option<Again> {
    match item.text_as(Expected::Again)? {
        "never" => Some(Again::Never),
        _ => item.span_as(Expected::Again).map(Again::After),
    }
}

/// All rules of a drip.
pub(super) fn rules(drip: &Drip) -> Vec<&Rule> {
    let of_steps = drip.steps.iter().flat_map(|step| {
        let arms = step.dispatch().map(|dispatch| dispatch.variants.as_slice());
        let branches = arms.unwrap_or_default().iter().filter_map(|arm| match &arm.share {
            VariantShare::Branch(rule) => Some(rule),
            _ => None,
        });
        step.segment.iter().chain(branches)
    });
    drip.entry.iter().chain(&drip.stop).chain(of_steps).map(|rule| &**rule).collect()
}
