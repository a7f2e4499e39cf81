//! What starts a friend in a drip, and what ends its way.

use toml::de::DeValue;

use crate::config::problem::{Expected, Problem};
use crate::config::rule::{Rules, count_bounds};
use crate::config::schedule::time_of_day;
use crate::config::tree::{Item, Table};
use crate::domain::drip::{Count, DateStart, Existing, Happening, Start};
use crate::domain::segment::rule::Bound;
use crate::domain::time::Span;

/// The keys that say what starts a friend; exactly one stands in `start`.
const STARTS: [&str; 6] = ["tag_added", "tag_removed", "event", "followed", "attr", "date"];
/// The keys that say what ends a way; exactly one stands in `stop_on` or `goal`.
const ENDINGS: [&str; 4] = ["event", "tag_added", "tag_removed", "unfollowed"];
/// What `start` alone takes: a way ends the first time something happens.
const OF_START: [&str; 6] = ["followed", "attr", "date", "count", "within", "existing"];

const DAY: Span = Span::from_days(1);

/// `start = { tag_added = "体験", existing = "ignore" }`.
pub(super) fn start(rules: &Rules<'_>, item: &Item<'_>) -> Option<(Start, Existing)> {
    let table = item.table_as("start", Expected::Happening)?.with_homes();
    let start = if is_another(&table, &["unfollowed"], "stop_on", &STARTS) {
        None
    } else {
        what_starts(rules, &table)
    };
    let existing = match table.get("existing") {
        Some(item) => item.word(&[("ignore", Existing::Ignore), ("enroll", Existing::Enroll)]),
        None => Some(Existing::Ignore),
    };
    table.finish();
    let (start, existing) = (start?, existing?);
    if existing == Existing::Enroll && start.existing().is_none() {
        table.file.report(table.peek("existing")?.at, Problem::CannotEnroll);
        return None;
    }
    Some((start, existing))
}

fn what_starts(rules: &Rules<'_>, table: &Table<'_>) -> Option<Start> {
    let head = table.one_of(&STARTS, true)?;
    let item = table.get(head)?;
    match head {
        "tag_added" => rules.tag(&item).map(Start::TagAdded),
        "tag_removed" => rules.tag(&item).map(Start::TagRemoved),
        "event" => {
            let named = rules.named_event(table, &item);
            let count = count(table);
            let (event, properties) = named?;
            Some(Start::Event(Happening::Event { event, properties, count: count? }))
        }
        "followed" => yes(&item).map(|()| Start::Followed),
        "attr" => rules.new_value(table, &item).map(|(name, to)| Start::Attribute { name, to }),
        _ => date(rules, table, &item).map(Start::Date),
    }
}

/// `stop_on = { event = "purchase" }`, `goal = { … }`.
pub(super) fn ending(rules: &Rules<'_>, item: &Item<'_>) -> Option<Happening> {
    let table = item.table_as("stop_on", Expected::Happening)?;
    let happening =
        if is_another(&table, &OF_START, "start", &ENDINGS) { None } else { what_ends(rules, &table) };
    table.finish();
    happening
}

fn what_ends(rules: &Rules<'_>, table: &Table<'_>) -> Option<Happening> {
    let head = table.one_of(&ENDINGS, true)?;
    let item = table.get(head)?;
    match head {
        "event" => {
            let (event, properties) = rules.named_event(table, &item)?;
            Some(Happening::Event { event, properties, count: None })
        }
        "tag_added" => rules.tag(&item).map(Happening::TagAdded),
        "tag_removed" => rules.tag(&item).map(Happening::TagRemoved),
        _ => yes(&item).map(|()| Happening::Unfollowed),
    }
}

/// Reports keys that only `of` takes. Whether with them no head of this table's own stands here: then it is something
/// else altogether, and its other keys are not judged.
fn is_another(table: &Table<'_>, keys: &[&'static str], of: &'static str, heads: &[&'static str]) -> bool {
    let strangers = table.present(keys);
    for key in &strangers {
        table.get(key);
        let problem = Problem::OnlyIn { key: (*key).to_owned(), of: of.to_owned() };
        table.file.report(table.key_at(key).unwrap_or(table.at), problem);
    }
    let another = !strangers.is_empty() && table.present(heads).is_empty();
    if another {
        table.forgive();
    }
    another
}

fn yes(item: &Item<'_>) -> Option<()> {
    match item.value {
        DeValue::Boolean(true) => Some(()),
        DeValue::Boolean(false) => item.bad(Expected::Yes, "false"),
        _ => item.wrong_type(Expected::Yes),
    }
}

/// `count = { gte = 3 }`, `within = "30d"`; neither means any event.
fn count(table: &Table<'_>) -> Option<Option<Count>> {
    let within = table.get("within").map(|item| item.span());
    let item = if within.is_some() { table.need("count") } else { table.get("count") };
    let Some(item) = item else { return if within.is_some() { None } else { Some(None) } };
    let bounds = count_bounds(&item)?;
    if !can_hold(&bounds) {
        item.report(Problem::NeverStarts);
        return None;
    }
    let within = match within {
        Some(within) => Some(within?),
        None => None,
    };
    Some(Some(Count { within, bounds }))
}

/// Whether some number of events, the one that starts included, passes all bounds.
fn can_hold(bounds: &[Bound<i64>]) -> bool {
    let holds = |number: i64| {
        bounds.iter().all(|bound| match *bound {
            Bound::Eq(n) => number == n,
            Bound::Ne(n) => number != n,
            Bound::Gt(n) => number > n,
            Bound::Gte(n) => number >= n,
            Bound::Lt(n) => number < n,
            Bound::Lte(n) => number <= n,
        })
    };
    // Where any number passes, so does one at a bound or right beside it.
    let near = bounds.iter().flat_map(|bound| match *bound {
        Bound::Eq(n) | Bound::Ne(n) | Bound::Gt(n) | Bound::Gte(n) | Bound::Lt(n) | Bound::Lte(n) => {
            [n.saturating_sub(1), n, n.saturating_add(1)]
        }
    });
    near.chain([1]).any(|number| number >= 1 && holds(number))
}

/// `date = "booking_at", before = "7d", at = "18:00"`; `date = "birthday", every = "year", at = "10:00"`.
fn date(rules: &Rules<'_>, table: &Table<'_>, item: &Item<'_>) -> Option<DateStart> {
    let attribute = rules.day_of(item);
    let days = match table.one_of(&["before", "after"], false) {
        None => Some(0),
        Some(key) => {
            let days = table.get(key).and_then(|item| whole_days(&item));
            days.map(|days| if key == "before" { -days } else { days })
        }
    };
    let yearly = match table.get("every") {
        Some(item) => item.word(&[("year", true)]),
        None => Some(false),
    };
    let at = table.need("at").and_then(|item| time_of_day(&item));
    Some(DateStart { attribute: attribute?, days: days?, yearly: yearly?, at: at? })
}

fn whole_days(item: &Item<'_>) -> Option<i64> {
    let (span, day) = (item.span_as(Expected::Days)?.as_millis(), DAY.as_millis());
    if span % day == 0 { Some(span / day) } else { item.bad(Expected::Days, item.text()?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held against every number that could matter.
    #[test]
    fn bounds_can_hold_exactly_when_a_number_passes() {
        use crate::domain::segment::rule::Bound::{Eq, Gt, Gte, Lt, Lte, Ne};
        let all = |n: i64| [Eq(n), Ne(n), Gt(n), Gte(n), Lt(n), Lte(n)];
        let passes = |bound: Bound<i64>, n: i64| match bound {
            Eq(m) => n == m,
            Ne(m) => n != m,
            Gt(m) => n > m,
            Gte(m) => n >= m,
            Lt(m) => n < m,
            Lte(m) => n <= m,
        };
        let bounds: Vec<Bound<i64>> = (0..4).flat_map(all).collect();
        for first in &bounds {
            for second in &bounds {
                for third in &bounds {
                    let of = [*first, *second, *third];
                    let found = (1..10).any(|n| of.iter().all(|bound| passes(*bound, n)));
                    assert_eq!(can_hold(&of), found, "{of:?}");
                }
            }
        }
    }
}
