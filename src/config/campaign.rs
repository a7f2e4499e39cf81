//! Campaign files: whom, what, when, under which policy.

use std::sync::Arc;

use super::arms::{plain, variants};
use super::schedule::{Surroundings, schedule};
use super::terms::{Reading, elsewhere, optional, when_capped};
use super::tree::{Home, Table};
use crate::domain::campaign::{Campaign, Dispatch, Variant};
use crate::domain::id::CampaignSlug;

/// Where each key of a campaign lives, so that one below the wrong header can be sent home.
pub(super) const HOMES: &[Home] = &[
    Home {
        header: "",
        keys: &[
            "title",
            "account",
            "segment",
            "audience",
            "category",
            "priority",
            "max_recipients",
            "holdout",
            "once",
            "repeat_after",
            "reach",
            "immediate",
            "pace",
            "notify",
            "delivery",
            "draft",
            "sample",
            "when_capped",
            "variant",
            "message",
            "schedule",
        ],
    },
    Home {
        header: "[schedule]",
        keys: &[
            "at",
            "deadline",
            "every",
            "on",
            "cron",
            "zone",
            "from",
            "until",
            "except",
            "if_missed",
            "grace",
            "rerun",
        ],
    },
    Home { header: "[[message]]", keys: &["text", "coupon_id", "contents", "contents_json", "alt_text"] },
    Home { header: "[[variant]]", keys: &["name", "share"] },
];

/// Keys of drips.
const OF_DRIPS: [&str; 7] = ["start", "again", "stop", "stop_on", "goal", "migrate", "step"];

/// Reads one file.
pub(super) fn campaign(reading: &Reading<'_>, slug: &CampaignSlug, table: &Table<'_>) -> Option<Campaign> {
    let terms = reading.terms(table);
    let rules = reading.rules(terms.account.map(|account| account.policy.zone));
    let audience = rules.audience_in(table, true);
    let once = optional(table, "once", |item| item.span());
    let sample = optional(table, "sample", |item| item.whole(1, i64::MAX));
    let capped = optional(table, "when_capped", when_capped);
    let variants = arms(table);
    let read = table.need("schedule").and_then(|item| {
        let around = Surroundings {
            policy: &terms.account?.policy,
            defaults: reading.defaults?.clone(),
            now: reading.now,
            immediate: terms.immediate.unwrap_or(false),
            window: terms.window().unwrap_or_default(),
        };
        schedule(&item, &around)
    });
    elsewhere(table, &OF_DRIPS, "drips/");
    table.finish();
    let dispatch = terms.dispatch(slug, variants?)?;
    let (read, (segment, audience)) = (read?, audience??);
    Some(Campaign {
        dispatch: Dispatch {
            once: once?,
            sample: sample?.map(i64::unsigned_abs),
            when_capped: capped?.unwrap_or(dispatch.when_capped),
            deadline: read.deadline,
            ..dispatch
        },
        segment,
        audience: Arc::new(audience),
        schedule: read.schedule,
        rerun: read.rerun,
        draft: terms.draft?.unwrap_or(false),
    })
}

fn arms(table: &Table<'_>) -> Option<Vec<Variant>> {
    let which = table.one_of(&["message", "variant"], true)?;
    let item = table.get(which)?;
    if which == "message" { plain(&item) } else { variants(&item) }
}
