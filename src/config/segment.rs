//! Segment files: a title and a rule.

use std::collections::BTreeMap;

use super::diagnostic::Sink;
use super::rule::{Names, Rules, Uses};
use super::syntax::Parsed;
use super::{Account, top};
use crate::domain::id::{AccountSlug, SegmentSlug};
use crate::domain::segment::rule::Segment;
use crate::domain::time::Tz;

/// All segments.
pub(super) fn segments(
    files: &BTreeMap<SegmentSlug, &Parsed<'_>>,
    names: &Names,
    uses: &Uses,
    accounts: Option<&BTreeMap<AccountSlug, Account>>,
    sink: &Sink,
) -> Option<BTreeMap<SegmentSlug, Segment>> {
    let zone = common_zone(accounts);
    let mut found = Some(BTreeMap::new());
    for (slug, file) in files {
        let table = top(file, "segment", &[], sink);
        let title = table.need("title").and_then(|item| item.text());
        let rules = Rules { names, uses, zone, owner: Some(slug) };
        let rule = rules.rule_in(&table);
        table.finish();
        match (title, rule, &mut found) {
            (Some(title), Some(rule), Some(found)) => {
                let segment = Segment { slug: slug.clone(), title: title.to_owned(), rule };
                found.insert(slug.clone(), segment);
            }
            _ => found = None,
        }
    }
    found
}

/// Segments are shared: "today" is clear without a zone only where all accounts have the same. Where accounts
/// cannot be read their problems come first, and any zone will do.
fn common_zone(accounts: Option<&BTreeMap<AccountSlug, Account>>) -> Option<Tz> {
    let mut zones = accounts.into_iter().flatten().map(|(_, account)| account.policy.zone);
    let first = zones.next().unwrap_or(Tz::UTC);
    zones.all(|zone| zone == first).then_some(first)
}
