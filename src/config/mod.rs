//! Configuration: texts → validated types, every problem of every file at once.
//!
//! [`Source`] holds the files as texts: they are what a version in the database keeps. [`parse`] reads them all
//! and gives a [`Configuration`] only where there is no error. `toml` recovers from broken syntax, so one broken
//! line hides neither the rest of its file nor the other files. Readers ask `tree::Table` for the keys they know;
//! what nobody asked for is an unknown key.
//!
//! The shipped `config/haishin.toml` is compiled in and is where the defaults stand (`layers`).

mod account;
mod arms;
mod attribute;
mod campaign;
mod diagnostic;
mod drip;
mod layers;
mod message;
pub mod node;
mod policy;
pub mod problem;
mod relay;
mod render;
mod report;
mod rule;
mod scalar;
mod schedule;
mod secret;
mod segment;
mod slug;
mod source;
mod suggest;
mod syntax;
mod terms;
mod tree;
mod webhook;

use std::collections::BTreeMap;
use std::rc::Rc;

pub use account::{Account, Credentials, Plan, Rate, Tier};
pub use diagnostic::{At, Diagnostic};
pub use layers::SHIPPED;
pub use problem::{Problem, Severity};
pub use relay::{Relay, Replies};
pub use render::{Style, render};
pub use report::{Format, Report, check_report, report};
pub use secret::{ExposeSecret, SecretError, SecretSource, SecretString};
pub use source::{Source, SourceError};
pub use webhook::Webhook;

use crate::domain::attribute::AttributeType;
use crate::domain::campaign::Campaign;
use crate::domain::drip::Drip;
use crate::domain::id::{AccountSlug, AttributeName, CampaignSlug, SegmentSlug, WebhookName};
use crate::domain::lookback::Lookback;
use crate::domain::segment::rule::Segment;
use crate::domain::time::Instant;
use diagnostic::Sink;
use layers::{Layers, shipped};
use rule::{DEPTH_MAX, Depths, Names, Uses};
use syntax::{Cleaned, Parsed};
use terms::{Defaults, Reading};
use tree::{File, Home, Table};
use webhook::Webhooks;

/// The main file's path.
pub const MAIN_FILE: &str = "haishin.toml";
/// The path of the declarations of attributes.
pub const ATTRIBUTES_FILE: &str = "attributes.toml";

/// Everything the files say, except the node's own settings ([`node::read`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// Each account.
    pub accounts: BTreeMap<AccountSlug, Account>,
    /// Each declared attribute, shared by all accounts.
    pub attributes: BTreeMap<AttributeName, AttributeType>,
    /// Each segment, shared by all accounts.
    pub segments: BTreeMap<SegmentSlug, Segment>,
    /// Each campaign.
    pub campaigns: BTreeMap<CampaignSlug, Campaign>,
    /// Each drip; no slug is a campaign's too.
    pub drips: BTreeMap<CampaignSlug, Drip>,
    /// Each system of the shop's that a step of a drip may tell.
    pub webhooks: BTreeMap<WebhookName, Webhook>,
}

impl Configuration {
    /// How far back this configuration can look at what was sent to the friends of an account. Segments are shared, so
    /// all of them count.
    pub fn lookback(&self, account: &Account) -> Lookback {
        let campaigns = self.campaigns.values().filter(|campaign| campaign.dispatch.account == account.slug);
        let drips = self.drips.values().filter(|drip| drip.account == account.slug);
        let segments = self.segments.values().map(|segment| &segment.rule);
        Lookback::of(&account.policy, campaigns, drips, segments)
    }
}

/// What reading the files gave.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Present exactly when no diagnostic is an error.
    pub configuration: Option<Configuration>,
    /// Everything found, by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads all files. No error depends on `now`, so a version that was taken stays readable. `now` tells what is already past: only a warning here, so that an old campaign's file does not
/// stop a check; `apply` refuses a one-shot of the past that has not run.
pub fn parse(source: &Source, now: Instant) -> Checked {
    let (sink, defaults_sink) = (Sink::default(), Sink::default());
    for (path, at) in &source.not_utf8 {
        sink.report(path, None, Problem::NotUtf8 { offset: *at });
    }
    let cleaned: Vec<Cleaned<'_>> =
        source.files.iter().map(|(path, text)| syntax::clean(path, text, &sink)).collect();
    let parsed: Vec<Parsed<'_>> = cleaned.iter().map(syntax::parse).collect();
    let configuration = read(&parsed, &sink, &defaults_sink, now);
    let diagnostics = without_echoes(sink, &parsed);
    let broken = diagnostics.iter().any(|one| one.severity() == Severity::Error);
    Checked { configuration: configuration.filter(|_| !broken), diagnostics }
}

fn read(parsed: &[Parsed<'_>], sink: &Sink, defaults_sink: &Sink, now: Instant) -> Option<Configuration> {
    let slugs = slug::slugs(parsed, sink);
    let main = main_file(parsed, sink, defaults_sink);
    let attributes = attribute::attributes(find(parsed, ATTRIBUTES_FILE), sink);
    let names = Names {
        attributes: attributes.declared,
        undecided: attributes.undecided,
        segments: slugs.segments.keys().cloned().collect(),
        campaigns: slugs.sends.keys().cloned().collect(),
        webhooks: main.webhooks.names,
    };
    let uses = Uses::default();
    let segments = segment::segments(&slugs.segments, &names, &uses, main.accounts.as_ref(), sink);
    let reading = Reading {
        names: &names,
        uses: &uses,
        accounts: main.accounts.as_ref(),
        defaults: main.defaults.as_ref(),
        now,
    };
    let sends = sends(&reading, &slugs, sink);
    rule::report_near_tags(&uses, sink);
    if rule::report_cycles(&uses, sink)
        && let (Some(segments), Some(sends)) = (&segments, &sends)
    {
        report_depths(segments, sends, &slugs, sink);
    }
    let sends = sends?;
    Some(Configuration {
        accounts: main.accounts?,
        attributes: names.attributes,
        segments: segments?,
        campaigns: sends.campaigns,
        drips: sends.drips,
        webhooks: main.webhooks.read?,
    })
}

struct Sends {
    campaigns: BTreeMap<CampaignSlug, Campaign>,
    drips: BTreeMap<CampaignSlug, Drip>,
}

/// All campaigns and drips, if each can be read.
fn sends(reading: &Reading<'_>, slugs: &slug::Slugs<'_, '_>, sink: &Sink) -> Option<Sends> {
    let mut found = Sends { campaigns: BTreeMap::new(), drips: BTreeMap::new() };
    let mut all = true;
    for (slug, file) in &slugs.sends {
        if slug::is_drip(file) {
            let table = top(file, "drip", drip::HOMES, sink).with_homes();
            let drip = drip::drip(reading, slug, &table);
            all &= drip.is_some();
            found.drips.extend(drip.map(|drip| (slug.clone(), drip)));
        } else {
            let table = top(file, "campaign", campaign::HOMES, sink).with_homes();
            let campaign = campaign::campaign(reading, slug, &table);
            all &= campaign.is_some();
            found.campaigns.extend(campaign.map(|campaign| (slug.clone(), campaign)));
        }
    }
    all.then_some(found)
}

/// Rules nested deeper than evaluation goes, at their files.
fn report_depths(
    segments: &BTreeMap<SegmentSlug, Segment>,
    sends: &Sends,
    slugs: &slug::Slugs<'_, '_>,
    sink: &Sink,
) {
    let of_segments = segments.iter().map(|(slug, segment)| (slugs.segments.get(slug), vec![&segment.rule]));
    let of_campaigns =
        sends.campaigns.iter().map(|(slug, campaign)| (slugs.sends.get(slug), vec![&*campaign.audience]));
    let of_drips = sends.drips.iter().map(|(slug, drip)| (slugs.sends.get(slug), drip::rules(drip)));
    let mut depths = Depths::new(segments);
    for (file, rules) in of_segments.chain(of_campaigns).chain(of_drips) {
        if let (true, Some(file)) = (rules.into_iter().any(|rule| depths.of(rule) > DEPTH_MAX), file) {
            sink.report(file.path, None, Problem::TooDeep { max: DEPTH_MAX });
        }
    }
}

/// What `haishin.toml` says, as far as it can be read.
#[derive(Default)]
struct Main {
    accounts: Option<BTreeMap<AccountSlug, Account>>,
    defaults: Option<Defaults>,
    webhooks: Webhooks,
}

fn main_file(parsed: &[Parsed<'_>], sink: &Sink, defaults_sink: &Sink) -> Main {
    let Some(file) = find(parsed, MAIN_FILE) else {
        sink.report(MAIN_FILE, None, Problem::NoMainFile);
        return Main::default();
    };
    let top = Rc::new(top(file, "haishin", &[], sink));
    let shared = Layers::new([Rc::clone(&top), shipped(defaults_sink)]);
    let accounts = account::accounts(&top, &shared);
    let defaults = Defaults::read(&shared);
    let webhooks = webhook::webhooks(&top);
    // Read for its problems only: the process takes them from the file on disk.
    let _ = node::node(&shared);
    top.finish();
    Main { accounts, defaults, webhooks }
}

fn find<'p, 'a>(parsed: &'p [Parsed<'a>], path: &str) -> Option<&'p Parsed<'a>> {
    parsed.iter().find(|file| file.path == path)
}

fn top<'p>(file: &'p Parsed<'_>, name: &'static str, homes: &'static [Home], sink: &'p Sink) -> Table<'p> {
    // The beginning of the file stands for the whole.
    Table::new(
        File { path: file.path, text: file.text, sink, homes },
        name,
        file.table.get_ref(),
        At { start: 0, end: 0 },
    )
}

/// All that was found, less absences in a file of which lines could not be read: what is missing may stand there.
fn without_echoes(sink: Sink, parsed: &[Parsed<'_>]) -> Vec<Diagnostic> {
    let mut found = sink.into_sorted();
    let is_broken = |path: &str| parsed.iter().any(|file| file.path == path && !file.broken.is_empty());
    found.retain(|one| !(one.problem.is_absence() && is_broken(&one.file)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key asked for while the shipped files are read, as `table.key`.
    fn asked() -> std::collections::BTreeSet<String> {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let source = Source::read_dir(&directory).unwrap();
        let (sink, defaults) = (Sink::default(), Sink::default());
        let cleaned: Vec<Cleaned<'_>> =
            source.files.iter().map(|(path, text)| syntax::clean(path, text, &sink)).collect();
        let parsed: Vec<Parsed<'_>> = cleaned.iter().map(syntax::parse).collect();
        read(&parsed, &sink, &defaults, Instant::from_millis(0));
        assert!(!defaults.asked().is_empty());
        assert!(defaults.into_sorted().is_empty(), "a shipped default cannot be read");
        sink.asked()
    }

    #[test]
    fn the_shipped_main_file_shows_every_key_it_may_have() {
        const ELSEWHERE: [&str; 20] = [
            "campaign",
            "drip",
            "start",
            "stop_on",
            "step",
            "branch",
            "action",
            "when_capped",
            "schedule",
            "message",
            "message part",
            "variant",
            "segment",
            "rule",
            "bounds",
            "sum",
            "last",
            "followed",
            "where",
            "comparison",
        ];
        let missing: Vec<String> = asked()
            .into_iter()
            .filter(|asked| {
                let (table, key) = asked.rsplit_once('.').unwrap();
                let shown = [format!("{key} = "), format!("[{key}]"), format!("[{key}."), format!(".{key}]")];
                !ELSEWHERE.contains(&table) && !shown.iter().any(|shown| SHIPPED.contains(shown.as_str()))
            })
            .collect();
        assert!(missing.is_empty(), "not in config/haishin.toml: {missing:?}");
    }

    #[test]
    fn the_documentation_explains_every_key() {
        const PAGE: &str = include_str!("../../docs/configuration.md");
        // Rules have a page of their own.
        const RULES: [&str; 8] =
            ["segment", "rule", "bounds", "sum", "last", "followed", "where", "comparison"];
        let missing: Vec<String> = asked()
            .into_iter()
            .filter(|asked| {
                let (table, key) = asked.rsplit_once('.').unwrap();
                let shown = ["`KEY`", "`KEY ", "{ KEY ", ", KEY ", "`[KEY]`", "`[KEY.NAME]`", ".KEY]`"];
                !RULES.contains(&table) && !shown.iter().any(|it| PAGE.contains(&it.replace("KEY", key)))
            })
            .collect();
        assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
    }
}
