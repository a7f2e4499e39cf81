//! The arms of a campaign or of a drip's step: one message, the variants of a test, or branches.

use std::sync::Arc;

use super::message::messages;
use super::problem::{Expected, Problem};
use super::rule::Rules;
use super::tree::{Item, Table};
use crate::domain::campaign::{Variant, VariantShare};
use crate::domain::id::VariantName;
use crate::domain::policy::Share;
use crate::domain::segment::rule::Rule;

/// Arms a person can still tell apart.
const ARMS_MAX: usize = 26;

/// `[[message]]` is the one arm of a plain campaign or step.
pub(super) fn plain(item: &Item<'_>) -> Option<Vec<Variant>> {
    let name = VariantName::parse("main").ok()?;
    Some(vec![Variant { name, share: VariantShare::Equal, messages: messages(item)? }])
}

/// `[[variant]]`: the arms of a test, which draw the friends by shares.
pub(super) fn variants(item: &Item<'_>) -> Option<Vec<Variant>> {
    let items = several(item, "variant")?;
    let read: Vec<Option<Variant>> = items.iter().enumerate().map(|(n, item)| variant(n, item)).collect();
    shares(&items);
    two_of_one_name(&items, |n| Some(letter(n)));
    read.into_iter().collect()
}

/// `[[branch]]`: each friend gets the first whose rule holds; one without a rule is for everybody else.
pub(super) fn branches(rules: &Rules<'_>, item: &Item<'_>) -> Option<Vec<Variant>> {
    let items = several(item, "branch")?;
    let last = items.len().saturating_sub(1);
    let read: Vec<Option<Variant>> =
        items.iter().enumerate().map(|(n, item)| branch(rules, n, n == last, item)).collect();
    two_of_one_name(&items, |n| Some(letter(n)));
    read.into_iter().collect()
}

fn several<'a>(item: &Item<'a>, arms: &str) -> Option<Vec<Item<'a>>> {
    let items = item.tables(arms)?;
    if !(1..=ARMS_MAX).contains(&items.len()) {
        item.report(Problem::WrongCount { min: 1, max: ARMS_MAX, is: items.len() });
    }
    Some(items)
}

fn variant(n: usize, item: &Item<'_>) -> Option<Variant> {
    let table = item.table("variant")?.with_homes();
    let name = name(n, &table);
    let share = match table.get("share") {
        Some(item) => item.share().map(VariantShare::Share),
        None => Some(VariantShare::Equal),
    };
    let messages = table.need("message").and_then(|item| messages(&item));
    table.finish();
    Some(Variant { name: name?, share: share?, messages: messages? })
}

fn branch(rules: &Rules<'_>, n: usize, is_last: bool, item: &Item<'_>) -> Option<Variant> {
    let table = item.table("branch")?.with_homes();
    let name = name(n, &table);
    let whom = rules.audience_in(&table, false);
    if let (Some(None), false) = (&whom, is_last) {
        table.report(Problem::RestNotLast);
    }
    let messages = table.need("message").and_then(|item| messages(&item));
    table.finish();
    let rule = whom?.map_or(Rule::All(Vec::new()), |(_, rule)| rule);
    Some(Variant { name: name?, share: VariantShare::Branch(Arc::new(rule)), messages: messages? })
}

/// The name given, else `a`, `b`, …
fn name(n: usize, table: &Table<'_>) -> Option<VariantName> {
    match table.get("name") {
        Some(item) => item.name(Expected::Slug),
        None => VariantName::parse(&letter(n)).ok(),
    }
}

fn letter(n: usize) -> String {
    let letter = u8::try_from(n).ok().filter(|n| usize::from(*n) < ARMS_MAX);
    letter.map_or_else(|| n.to_string(), |n| char::from(b'a' + n).to_string())
}

/// Either no arm has a share or they sum to exactly the whole.
fn shares(items: &[Item<'_>]) {
    let shares: Vec<Option<Item<'_>>> = items.iter().map(|item| item.part("share")).collect();
    let given: Vec<&Item<'_>> = shares.iter().flatten().collect();
    let Some(last) = given.last() else { return };
    if let Some(n) = shares.iter().position(Option::is_none) {
        if let Some(item) = items.get(n) {
            item.report(Problem::SharesPartly);
        }
        return;
    }
    let read: Option<Vec<u32>> =
        given.iter().map(|item| Some(Share::parse(item.value.as_str()?)?.millionths())).collect();
    let Some(read) = read else { return };
    let sum: u64 = read.into_iter().map(u64::from).sum();
    if sum != u64::from(Share::ALL.millionths()) {
        let text = format!("{}.{:04}", sum / 10_000, sum % 10_000);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        last.report(Problem::SharesSum { sum: format!("{text}%") });
    }
}

/// Reports the second of each name; `unnamed` is what one without a name is called.
pub(super) fn two_of_one_name(items: &[Item<'_>], unnamed: impl Fn(usize) -> Option<String>) {
    let mut seen: Vec<String> = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let given = item.part("name");
        let name = match given {
            Some(name) => name.value.as_str().map(str::to_owned),
            None => unnamed(n),
        };
        let Some(name) = name else { continue };
        if seen.contains(&name) {
            given.as_ref().unwrap_or(item).report(Problem::TwoOfOneName { name: name.clone() });
        }
        seen.push(name);
    }
}
