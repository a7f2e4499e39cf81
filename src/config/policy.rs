//! Categories, caps, quiet hours and guards from `haishin.toml`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::layers::Layers;
use super::problem::{Expected, Noun, Problem};
use super::scalar::parse_time;
use super::suggest::half_width;
use super::tree::Item;
use crate::domain::id::{CategoryName, TagName};
use crate::domain::policy::{
    BlanketGuard, Cap, CapWindow, Category, Policy, QuietHours, QuotaPolicy, Retention,
};
use crate::domain::schedule::TimeOfDay;
use crate::domain::time::{Span, Tz};

/// The category whose flags a category of the shop's own begins with.
const MODEL: &str = "promotion";

/// The policy of one account.
pub(super) fn policy(layers: &Layers<'_>, zone: Tz) -> Option<Policy> {
    let categories = categories(layers);
    let caps = caps(layers, zone, categories.as_ref());
    let quiet_hours = quiet_hours(layers, zone);
    let blanket = blanket(layers);
    let same_content = layers.need("same_content").and_then(|item| item.span_or_off());
    let quota = quota(layers);
    Some(Policy {
        zone,
        categories: categories?,
        caps: caps?,
        quiet_hours: quiet_hours?,
        blanket: blanket?,
        same_content: same_content?,
        quota: quota?,
    })
}

fn categories(layers: &Layers<'_>) -> Option<BTreeMap<CategoryName, Category>> {
    let all = layers.table("categories", "categories");
    let model = all.named(MODEL, "categories.*");
    let mut found = Some(BTreeMap::new());
    for (name, at, file) in all.names() {
        let own = all.named(name, "categories.*");
        let Ok(slug) = CategoryName::parse(name) else {
            file.report(at, Problem::BadSlug { slug: name.to_owned() });
            found = None;
            continue;
        };
        let category = category(&own, &model, name);
        match (category, &mut found) {
            (Some(category), Some(found)) => {
                found.insert(slug, category);
            }
            _ => found = None,
        }
    }
    found
}

fn category(own: &Layers<'_>, model: &Layers<'_>, name: &str) -> Option<Category> {
    let title = own.get("title").map_or(Some(name), |item| item.text());
    let opt_out = match own.get("opt_out") {
        Some(item) => item.name::<TagName>(Expected::Name).map(Some),
        None => Some(None),
    };
    let both = own.clone().over(model);
    let flag = |key| both.need(key).and_then(|item: Item<'_>| item.flag());
    let (capped, may_be_immediate, uses_reserve) =
        (flag("capped"), flag("may_be_immediate"), flag("uses_reserve"));
    own.finish();
    Some(Category {
        title: title?.to_owned(),
        capped: capped?,
        may_be_immediate: may_be_immediate?,
        uses_reserve: uses_reserve?,
        opt_out: opt_out?,
    })
}

fn caps(
    layers: &Layers<'_>,
    zone: Tz,
    categories: Option<&BTreeMap<CategoryName, Category>>,
) -> Option<Vec<Cap>> {
    let all = layers.table("caps", "caps");
    let mut found = Some(Vec::new());
    for (name, at, file) in all.names() {
        let own = all.named(name, "caps.*");
        let cap = cap(&own, zone, categories);
        own.finish();
        match (cap, &mut found) {
            (Some(Some(cap)), Some(all)) => {
                if all.iter().any(|other: &Cap| other.name == cap.name) {
                    file.report(at, Problem::TwoOfOneName { name: cap.name });
                } else {
                    all.push(cap);
                }
            }
            (Some(None), _) => {}
            _ => found = None,
        }
    }
    found
}

/// A cap; `Some(None)` is one that is off. Its days are the account's, unless it names a zone of its own.
fn cap(
    own: &Layers<'_>,
    zone: Tz,
    categories: Option<&BTreeMap<CategoryName, Category>>,
) -> Option<Option<Cap>> {
    let max = own.need("max").and_then(|item| max(&item));
    let per = own.need("per").and_then(|item| window(&item));
    let title = match own.get("title") {
        Some(item) => item.text().map(|title| Some(title.to_owned())),
        None => Some(None),
    };
    let only = match own.get("categories") {
        Some(item) => cap_categories(&item, categories),
        None => Some(None),
    };
    let zone = match own.get("zone") {
        Some(item) => item.zone(),
        None => Some(zone),
    };
    let (max, per, title, only, zone) = (max?, per?, title?, only?, zone?);
    let Some(max) = max else { return Some(None) };
    let name = title.unwrap_or_else(|| format!("{max}/{}", window_text(per)));
    Some(Some(Cap { name, categories: only, max, per, zone }))
}

/// A number, or `None` for `"off"`.
fn max(item: &Item<'_>) -> Option<Option<u32>> {
    match item.value {
        DeValue::Integer(_) => item.whole_u32(0, u32::MAX).map(Some),
        _ if item.is_off() => Some(None),
        DeValue::String(text) => item.bad(Expected::MaxOrOff, text),
        _ => item.wrong_type(Expected::MaxOrOff),
    }
}

fn window(item: &Item<'_>) -> Option<CapWindow> {
    match item.text_as(Expected::CapWindow)? {
        "day" => Some(CapWindow::Day),
        "week" => Some(CapWindow::Week),
        "month" => Some(CapWindow::Month),
        _ => item.span_as(Expected::CapWindow).map(CapWindow::Rolling),
    }
}

fn window_text(window: CapWindow) -> String {
    match window {
        CapWindow::Day => "day".to_owned(),
        CapWindow::Week => "week".to_owned(),
        CapWindow::Month => "month".to_owned(),
        CapWindow::Rolling(span) => span.to_string(),
    }
}

/// A list of categories; `Some(None)` is `"all"`.
fn cap_categories(
    item: &Item<'_>,
    categories: Option<&BTreeMap<CategoryName, Category>>,
) -> Option<Option<Vec<CategoryName>>> {
    if matches!(item.value, DeValue::String(word) if word == "all") {
        return Some(None);
    }
    let items = item.list_as(Expected::CapCategories)?;
    if items.is_empty() {
        item.report(Problem::EmptyList { everybody: false });
    }
    let names: Vec<Option<CategoryName>> =
        items.iter().map(|item| category_name(item, categories?)).collect();
    names.into_iter().collect::<Option<_>>().map(Some)
}

/// The name of a category there is.
pub(super) fn category_name(
    item: &Item<'_>,
    categories: &BTreeMap<CategoryName, Category>,
) -> Option<CategoryName> {
    let name = item.text()?;
    match categories.get_key_value(name) {
        Some((name, _)) => Some(name.clone()),
        None => item.unknown(Noun::Category, name, categories.keys().map(CategoryName::as_str)),
    }
}

/// `"22:00-08:00"`; `Some(None)` is `"off"`.
fn quiet_hours(layers: &Layers<'_>, zone: Tz) -> Option<Option<QuietHours>> {
    let item = layers.need("quiet_hours")?;
    if item.is_off() {
        return Some(None);
    }
    let read = |text: &str| {
        let (start, end) = text.split_once('-')?;
        let (start, end) = (parse_time(start.trim())?, parse_time(end.trim())?);
        (start != end).then_some(QuietHours { start, end, zone })
    };
    let text = item.text_as(Expected::TimeRange)?;
    match read(text) {
        Some(hours) => Some(Some(hours)),
        None => {
            item.bad_but(Expected::TimeRange, text, hours_meant(text).filter(|meant| read(meant).is_some()))
        }
    }
}

/// `22時〜8時`, `22:00~8:00`: the hours as they are written here.
fn hours_meant(text: &str) -> Option<String> {
    let plain = half_width(text).replace(['〜', '~', '～'], "-").replace(['時', ' '], "");
    let (start, end) = plain.split_once('-')?;
    let full = |time: &str| {
        let time = if time.contains(':') { time.to_owned() } else { format!("{time}:00") };
        TimeOfDay::parse(&time).ok()
    };
    Some(format!("{}-{}", full(start)?, full(end)?))
}

fn blanket(layers: &Layers<'_>) -> Option<BlanketGuard> {
    let table = layers.table("blanket_guard", "blanket_guard");
    let share =
        table.need("share").and_then(|item| if item.is_off() { Some(None) } else { item.share().map(Some) });
    let warn_below = table.need("warn_below").and_then(|item| item.whole(0, i64::MAX));
    table.finish();
    Some(BlanketGuard { share: share?, warn_below: u64::try_from(warn_below?).ok()? })
}

fn quota(layers: &Layers<'_>) -> Option<QuotaPolicy> {
    let table = layers.table("quota", "quota");
    let warn_at = table.need("warn_at").and_then(|item| item.share());
    let keep = table.need("keep").and_then(|item| item.share());
    table.finish();
    Some(QuotaPolicy { warn_at: warn_at?, keep: keep? })
}

/// Our own count of the month's messages is made of batches.
const SHORTEST_BATCHES: Span = Span::from_days(32);
/// Shorter, and what came in today could be forgotten today.
const SHORTEST: Span = Span::from_days(1);

/// How long what is past is kept.
pub(super) fn retention(layers: &Layers<'_>) -> Option<Retention> {
    let table = layers.table("retention", "retention");
    let kept = |key, least| table.need(key).and_then(|item| kept(&item, least));
    let (webhook_ids, batches) = (kept("webhook_ids", SHORTEST), kept("batches", SHORTEST_BATCHES));
    let (events, sets) = (kept("events", SHORTEST), kept("sets", SHORTEST));
    table.finish();
    Some(Retention { webhook_ids: webhook_ids?, batches: batches?, events: events?, sets: sets? })
}

/// A length of at least so much; `Some(None)` is `"off"`.
pub(super) fn kept(item: &Item<'_>, least: Span) -> Option<Option<Span>> {
    if item.is_off() {
        return Some(None);
    }
    let expected = Expected::Kept { least: least.to_string() };
    let span = item.span_as(expected.clone())?;
    if span < least {
        return item.bad(expected, &span.to_string());
    }
    Some(Some(span))
}

/// The shortest distance at which the same content may be due again.
pub(super) fn same_content_window(policy: &Policy, repeat_after: Option<Span>) -> Span {
    repeat_after.or(policy.same_content).unwrap_or(Span::ZERO)
}
