//! Segment rules from TOML. `docs/segments.md` states what each form means.

mod attribute;
mod bounds;
mod depth;
mod event;

pub(super) use depth::{DEPTH_MAX, Depths};
pub(super) use event::count_bounds;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::At;
use super::problem::{Expected, Noun, Problem};
use super::suggest;
use super::tree::{Item, Table};
use crate::domain::attribute::AttributeType;
use crate::domain::friend::Status;
use crate::domain::id::{AttributeName, CampaignSlug, SegmentSlug, TagName, WebhookName};
use crate::domain::segment::rule::{Age, Condition, Rule};
use crate::domain::time::Tz;

/// The keys that say what a condition is about; exactly one stands in each.
pub(super) const HEADS: [&str; 11] =
    ["all", "any", "not", "at_least", "tag", "attr", "event", "followed", "status", "received", "segment"];

/// What rules may name.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub attributes: BTreeMap<AttributeName, AttributeType>,
    /// Declared with a type that cannot be read: a problem of that line, not of the rules.
    pub undecided: BTreeSet<AttributeName>,
    pub segments: BTreeSet<SegmentSlug>,
    /// Campaigns and drips: one space of slugs.
    pub campaigns: BTreeSet<CampaignSlug>,
    /// What `[webhooks]` in `haishin.toml` names.
    pub webhooks: BTreeSet<WebhookName>,
}

/// A name somewhere in a file.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub name: String,
    pub file: String,
    pub at: At,
}

/// What rules did name: for checks across files.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pub tags: RefCell<Vec<Use>>,
    /// Each segment with the segments it names.
    pub segments: RefCell<BTreeMap<SegmentSlug, Vec<Use>>>,
}

/// Reads the rules of one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'c> {
    pub names: &'c Names,
    pub uses: &'c Uses,
    /// Whose local day is "today" where a condition names no zone; `None` where accounts differ.
    pub zone: Option<Tz>,
    /// The segment being read, if it is one.
    pub owner: Option<&'c SegmentSlug>,
}

impl Rules<'_> {
    /// A rule in `{ }`.
    pub fn rule(&self, item: &Item<'_>) -> Option<Rule> {
        let table = item.table_as("rule", Expected::Rule)?;
        let rule = self.rule_in(&table);
        table.finish();
        rule
    }

    /// `segment = "…"` or `audience = { … }`, with the segment's name where it is one; `Some(None)` where neither
    /// stands there and none is needed.
    pub fn audience_in(
        &self,
        table: &Table<'_>,
        needed: bool,
    ) -> Option<Option<(Option<SegmentSlug>, Rule)>> {
        let Some(which) = table.one_of(&["segment", "audience"], needed) else {
            return if needed { None } else { Some(None) };
        };
        let item = table.get(which)?;
        if which == "audience" {
            return Some(Some((None, self.rule(&item)?)));
        }
        let segment = self.segment(&item)?;
        Some(Some((Some(segment.clone()), Rule::Segment(segment))))
    }

    /// The rule whose keys stand in a table, beside others of the caller's.
    pub fn rule_in(&self, table: &Table<'_>) -> Option<Rule> {
        let head = table.one_of(&HEADS, true)?;
        let item = table.get(head)?;
        Some(match head {
            "all" => Rule::All(self.rules(&item, Some(true))?),
            "any" => Rule::Any(self.rules(&item, Some(false))?),
            "not" => Rule::Not(Box::new(self.rule(&item)?)),
            "at_least" => self.at_least(table, &item)?,
            "segment" => Rule::Segment(self.segment(&item)?),
            "tag" => {
                let tag = self.tag(&item);
                let held = age(table);
                Rule::Is(Condition::Tag { tag: tag?, held: held? })
            }
            "attr" => Rule::Is(self.attribute(table, &item)?),
            "event" => Rule::Is(Condition::Event(self.event(table, &item)?)),
            "followed" => Rule::Is(Condition::Followed(self.followed(&item)?)),
            "status" => {
                let words = [("following", Status::Following), ("blocked", Status::Blocked)];
                Rule::Is(Condition::Status(item.word(&words)?))
            }
            _ => self.received(table, &item)?,
        })
    }

    fn rules(&self, item: &Item<'_>, everybody_if_empty: Option<bool>) -> Option<Vec<Rule>> {
        let items = item.list()?;
        if let (true, Some(everybody)) = (items.is_empty(), everybody_if_empty) {
            item.report(Problem::EmptyList { everybody });
        }
        let read: Vec<Option<Rule>> = items.iter().map(|item| self.rule(item)).collect();
        read.into_iter().collect()
    }

    fn at_least(&self, table: &Table<'_>, item: &Item<'_>) -> Option<Rule> {
        let k = item.whole_u32(0, u32::MAX);
        let of = table.need("of").and_then(|of| self.rules(&of, None));
        let (k, of) = (k?, of?);
        let count = u32::try_from(of.len()).unwrap_or(u32::MAX);
        if k > count {
            item.report(Problem::AtLeastTooMany { k, of: count });
        }
        Some(Rule::AtLeast { k, of })
    }

    /// The name of a segment that a file describes.
    pub fn segment(&self, item: &Item<'_>) -> Option<SegmentSlug> {
        let name = item.text()?;
        let Some(slug) = self.names.segments.get(name) else {
            return item.unknown(Noun::Segment, name, self.names.segments.iter().map(SegmentSlug::as_str));
        };
        if let Some(owner) = self.owner {
            let mut uses = self.uses.segments.borrow_mut();
            uses.entry(owner.clone()).or_default().push(used(name, item));
        }
        Some(slug.clone())
    }

    /// A tag's name, remembered so that near-misses show.
    pub fn tag(&self, item: &Item<'_>) -> Option<TagName> {
        let tag: TagName = item.name(Expected::Name)?;
        self.uses.tags.borrow_mut().push(used(tag.as_str(), item));
        Some(tag)
    }

    fn followed(&self, item: &Item<'_>) -> Option<Age> {
        let table = item.table_as("followed", Expected::Age)?;
        let age = needed_age(&table);
        table.finish();
        age
    }

    fn received(&self, table: &Table<'_>, item: &Item<'_>) -> Option<Rule> {
        let campaign: Option<CampaignSlug> = item.name(Expected::Slug);
        if let Some(slug) = campaign.as_ref().filter(|slug| !self.names.campaigns.contains(*slug)) {
            let known = self.names.campaigns.iter().map(CampaignSlug::as_str);
            let suggestion = suggest::nearest(slug.as_str(), known);
            item.report(Problem::UnknownCampaign { slug: slug.to_string(), suggestion });
        }
        let within = match table.get("within") {
            Some(within) => Some(within.span()?),
            None => None,
        };
        Some(Rule::Is(Condition::Received { campaign: campaign?, within }))
    }

    /// The zone a condition names, else the one of its surroundings.
    fn zone(&self, table: &Table<'_>) -> Option<Tz> {
        match table.get("zone") {
            Some(zone) => zone.zone(),
            None => self.zone.or_else(|| {
                table.report(Problem::ZoneNeeded);
                None
            }),
        }
    }
}

fn used(name: &str, item: &Item<'_>) -> Use {
    Use { name: name.to_owned(), file: item.file.path.to_owned(), at: item.at }
}

/// `within = "7d"`, `for_at_least = "1d"`, or neither.
fn age(table: &Table<'_>) -> Option<Age> {
    let which = table.one_of(&["within", "for_at_least"], false);
    let Some(item) = which.and_then(|which| table.get(which)) else { return Some(Age::Any) };
    let age = if which == Some("within") { Age::Within } else { Age::ForAtLeast };
    item.span().map(age)
}

/// `within` or `for_at_least`, one of which must stand there.
fn needed_age(table: &Table<'_>) -> Option<Age> {
    match age(table)? {
        Age::Any => {
            table.missing(&["within", "for_at_least"]);
            None
        }
        age => Some(age),
    }
}

/// Reports every circle of segments once, at the name that closes it; whether there was none.
pub(super) fn report_cycles(uses: &Uses, sink: &super::diagnostic::Sink) -> bool {
    let edges = uses.segments.borrow();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut none = true;
    for start in edges.keys() {
        let mut path = vec![start.as_str()];
        none &= walk(&edges, &mut path, &mut done, sink);
    }
    none
}

fn walk<'e>(
    edges: &'e BTreeMap<SegmentSlug, Vec<Use>>,
    path: &mut Vec<&'e str>,
    done: &mut BTreeSet<&'e str>,
    sink: &super::diagnostic::Sink,
) -> bool {
    let Some(last) = path.last().copied().filter(|last| !done.contains(last)) else { return true };
    let mut none = true;
    for next in edges.get(last).into_iter().flatten() {
        if let Some(first) = path.iter().position(|name| *name == next.name) {
            let mut circle: Vec<String> = path.iter().skip(first).map(|name| (*name).to_owned()).collect();
            circle.push(next.name.clone());
            sink.report(&next.file, Some(next.at), Problem::Cycle { path: circle });
            none = false;
        } else {
            path.push(&next.name);
            none &= walk(edges, path, done, sink);
            path.pop();
        }
    }
    done.insert(last);
    none
}

/// Distinct tags up to which near-misses are looked for.
const NEAR_TAGS_MAX: usize = 1_000;

/// Points at a tag that differs a little from one used more often, or earlier.
pub(super) fn report_near_tags(uses: &Uses, sink: &super::diagnostic::Sink) {
    let uses = uses.tags.borrow();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (order, tag) in uses.iter().enumerate() {
        counts.entry(&tag.name).or_insert((0, order)).0 += 1;
    }
    // Each is compared with each; with so many, tags are made by programs, not by hand.
    if counts.len() > NEAR_TAGS_MAX {
        return;
    }
    for (tag, (count, order)) in &counts {
        let commoner = counts.iter().find(|(other, (times, first))| {
            suggest::near_tags(tag, other) && (times > count || (times == count && first < order))
        });
        if let (Some((other, _)), Some(first)) = (commoner, uses.get(*order)) {
            let problem = Problem::NearTag { tag: (*tag).to_owned(), other: (*other).to_owned() };
            sink.report(&first.file, Some(first.at), problem);
        }
    }
}
