//! Campaign files: whom, what, when, under which policy.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::account::Account;
use super::layers::Layers;
use super::message::messages;
use super::policy::{category_name, same_content_window};
use super::problem::{Expected, Noun, Problem};
use super::rule::{Names, Rules, Uses};
use super::schedule::{Surroundings, if_missed, schedule};
use super::tree::{Home, Item, Table};
use crate::domain::campaign::{Campaign, Dispatch, Variant, VariantShare, WhenCapped};
use crate::domain::id::{AccountSlug, CampaignSlug, SegmentSlug, VariantName};
use crate::domain::policy::Share;
use crate::domain::schedule::IfMissed;
use crate::domain::segment::rule::Rule;
use crate::domain::time::{Instant, Span};

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

/// What a campaign's absent keys mean: `[campaign]` in `haishin.toml`.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub category: String,
    pub priority: u8,
    pub holdout: Share,
    pub if_missed: IfMissed,
    pub grace: Span,
    pub notify: bool,
}

impl Defaults {
    pub fn read(shared: &Layers<'_>) -> Option<Self> {
        let table = shared.table("campaign", "haishin.campaign");
        let category = table.need("category").and_then(|item| item.text()).map(str::to_owned);
        let priority = table.need("priority").and_then(|item| priority(&item));
        let holdout = table.need("holdout").and_then(|item| item.share());
        let if_missed = table.need("if_missed").and_then(|item| if_missed(&item));
        let grace = table.need("grace").and_then(|item| item.span());
        let notify = table.need("notify").and_then(|item| item.flag());
        table.finish();
        Some(Defaults {
            category: category?,
            priority: priority?,
            holdout: holdout?,
            if_missed: if_missed?,
            grace: grace?,
            notify: notify?,
        })
    }
}

fn priority(item: &Item<'_>) -> Option<u8> {
    u8::try_from(item.whole(0, 100)?).ok()
}

/// What campaigns are read with.
pub(super) struct Campaigns<'c> {
    pub names: &'c Names,
    pub uses: &'c Uses,
    /// All accounts; none where `haishin.toml` has errors.
    pub accounts: Option<&'c BTreeMap<AccountSlug, Account>>,
    pub defaults: Option<&'c Defaults>,
    pub now: Instant,
}

impl Campaigns<'_> {
    /// Reads one file. What cannot be judged without its account or the defaults is left until those are right.
    pub fn campaign(&self, slug: CampaignSlug, table: &Rc<Table<'_>>) -> Option<Campaign> {
        let title = table.need("title").and_then(|item| item.text());
        let account = self.account(table);
        let audience = self.audience(table, account);
        let category = self.category(table, account);
        let priority = table.get("priority").map(|item| priority(&item));
        let max_recipients = optional(table, "max_recipients", |item| item.whole(0, i64::MAX));
        let holdout = table.get("holdout").map(|item| item.share());
        let once = optional(table, "once", |item| item.span());
        let repeat_after = optional(table, "repeat_after", |item| item.span());
        let reach = optional(table, "reach", |item| item.word(&[("everyone", true)]));
        let pace = optional(table, "pace", |item| item.pace());
        let notify = table.get("notify").map(|item| item.flag());
        let draft = optional(table, "draft", |item| item.flag());
        let sample = optional(table, "sample", |item| item.whole(1, i64::MAX));
        let when_capped = table.get("when_capped").map(|item| when_capped(&item));
        let immediate = self.immediate(table, account, category.as_ref());
        let variants = variants(table);
        later(table);
        let read = table.need("schedule").and_then(|item| {
            let policy = &account?.policy;
            let around = Surroundings {
                policy,
                defaults: self.defaults?.clone(),
                now: self.now,
                immediate: immediate.unwrap_or(false),
                window: same_content_window(policy, repeat_after.flatten()),
            };
            schedule(&item, &around)
        });
        table.finish();
        let (account, defaults, read, category) = (account?, self.defaults?, read?, category?);
        let (segment, audience) = audience?;
        let opt_out = account.policy.categories.get(&category).and_then(|category| category.opt_out.clone());
        let dispatch = Dispatch {
            slug,
            step: None,
            title: title?.to_owned(),
            account: account.slug.clone(),
            category,
            priority: priority.unwrap_or(Some(defaults.priority))?,
            max_recipients: max_recipients?.map(i64::unsigned_abs),
            holdout: holdout.unwrap_or(Some(defaults.holdout))?,
            sample: sample?.map(i64::unsigned_abs),
            once: once?,
            repeat_after: repeat_after?,
            reach_everyone: reach?.unwrap_or(false),
            immediate: immediate?,
            when_capped: when_capped.unwrap_or(Some(WhenCapped::Skip))?,
            variants: variants?,
            pace: pace?,
            notify: notify.unwrap_or(Some(defaults.notify))?,
            opt_out,
            deadline: read.deadline,
        };
        Some(Campaign {
            dispatch,
            segment,
            audience: Arc::new(audience),
            schedule: read.schedule,
            rerun: read.rerun,
            draft: draft?.unwrap_or(false),
        })
    }

    /// The account named, or the only one.
    fn account(&self, table: &Table<'_>) -> Option<&Account> {
        let item = table.get("account");
        let accounts = self.accounts?;
        match item {
            Some(item) => {
                let name = item.text()?;
                let found = accounts.get(name);
                found.or_else(|| item.unknown(Noun::Account, name, accounts.keys().map(AccountSlug::as_str)))
            }
            None => {
                let mut all = accounts.values();
                match (all.next(), all.next()) {
                    (Some(only), None) => Some(only),
                    _ => {
                        let known = accounts.keys().map(AccountSlug::to_string).collect();
                        table.report(Problem::AccountNeeded { known });
                        None
                    }
                }
            }
        }
    }

    fn audience(&self, table: &Table<'_>, account: Option<&Account>) -> Option<(Option<SegmentSlug>, Rule)> {
        let zone = account.map(|account| account.policy.zone);
        // Where the account is unknown that is the problem, not the zone.
        let zone = zone.or(Some(crate::domain::time::Tz::UTC));
        let rules = Rules { names: self.names, uses: self.uses, zone, owner: None };
        let which = table.one_of(&["segment", "audience"], true)?;
        let item = table.get(which)?;
        if which == "audience" {
            return Some((None, rules.rule(&item)?));
        }
        let segment = rules.segment(&item)?;
        Some((Some(segment.clone()), Rule::Segment(segment)))
    }

    fn category(
        &self,
        table: &Table<'_>,
        account: Option<&Account>,
    ) -> Option<crate::domain::id::CategoryName> {
        let item = table.get("category");
        let categories = &account?.policy.categories;
        match item {
            Some(item) => category_name(&item, categories),
            None => {
                let (name, _) = categories.get_key_value(self.defaults?.category.as_str())?;
                Some(name.clone())
            }
        }
    }

    fn immediate(
        &self,
        table: &Table<'_>,
        account: Option<&Account>,
        category: Option<&crate::domain::id::CategoryName>,
    ) -> Option<bool> {
        let Some(item) = table.get("immediate") else { return Some(false) };
        let immediate = item.flag()?;
        let category = category?;
        let allowed = account?.policy.categories.get(category).is_some_and(|it| it.may_be_immediate);
        if immediate && !allowed {
            item.report(Problem::NotImmediate { category: category.to_string() });
            return None;
        }
        Some(immediate)
    }
}

/// `Some(None)` where the key is absent, `None` where its value is wrong.
fn optional<'a, T>(
    table: &Table<'a>,
    key: &'static str,
    read: impl Fn(&Item<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match table.get(key) {
        Some(item) => read(&item).map(Some),
        None => Some(None),
    }
}

/// What a later version will do.
fn later(table: &Table<'_>) {
    for key in ["budget", "start", "step", "stop", "stop_on", "again"] {
        if let Some(at) = table.key_at(key) {
            table.get(key);
            table.file.report(at, Problem::Later { feature: key.to_owned() });
        }
    }
    if let Some(item) = table.get("delivery")
        && item.word(&[("auto", ""), ("multicast", ""), ("push", "push")]) == Some("push")
    {
        item.report(Problem::Later { feature: "delivery = \"push\"".to_owned() });
    }
}

/// `when_capped = "skip"` or `{ defer = "3d" }`.
pub(super) fn when_capped(item: &Item<'_>) -> Option<WhenCapped> {
    if item.value.as_table().is_none() {
        return item.word(&[("skip", WhenCapped::Skip)]);
    }
    let table = item.table("when_capped")?;
    let limit = table.need("defer").and_then(|item| item.span());
    table.finish();
    limit.map(WhenCapped::Defer)
}

/// `[[message]]` is the one arm of a plain campaign, `[[variant]]` the arms of a test.
fn variants(table: &Table<'_>) -> Option<Vec<Variant>> {
    let which = table.one_of(&["message", "variant"], true)?;
    let item = table.get(which)?;
    if which == "message" {
        let name = VariantName::parse("main").ok()?;
        return Some(vec![Variant { name, share: VariantShare::Equal, messages: messages(&item)? }]);
    }
    let items = item.list_as(Expected::Tables { header: "[[variant]]" })?;
    if items.is_empty() {
        item.report(Problem::WrongCount { min: 1, max: 26, is: 0 });
    }
    let read: Vec<Option<Variant>> = items.iter().enumerate().map(|(n, item)| variant(n, item)).collect();
    shares(&items);
    names(&items);
    read.into_iter().collect()
}

fn variant(n: usize, item: &Item<'_>) -> Option<Variant> {
    let table = item.table("variant")?.with_homes(HOMES);
    let name = match table.get("name") {
        Some(item) => item.name(Expected::Slug),
        None => VariantName::parse(&letter(n)).ok(),
    };
    let share = match table.get("share") {
        Some(item) => item.share().map(VariantShare::Share),
        None => Some(VariantShare::Equal),
    };
    let messages = table.need("message").and_then(|item| messages(&item));
    table.finish();
    Some(Variant { name: name?, share: share?, messages: messages? })
}

/// `a`, `b`, … for arms without a name.
fn letter(n: usize) -> String {
    u8::try_from(n)
        .ok()
        .filter(|n| *n < 26)
        .map_or_else(|| n.to_string(), |n| char::from(b'a' + n).to_string())
}

/// Either no arm has a share or they sum to exactly the whole.
fn shares(items: &[Item<'_>]) {
    let shares: Vec<Option<Item<'_>>> = items.iter().map(|item| part(item, "share")).collect();
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

fn names(items: &[Item<'_>]) {
    let mut seen: Vec<&str> = Vec::new();
    for item in items.iter().filter_map(|item| part(item, "name")) {
        let Some(name) = item.value.as_str() else { continue };
        if seen.contains(&name) {
            item.report(Problem::TwoOfOneName { name: name.to_owned() });
        }
        seen.push(name);
    }
}

fn part<'a>(item: &Item<'a>, key: &str) -> Option<Item<'a>> {
    let value = item.value.as_table()?.get(key)?;
    Some(Item { file: item.file, value: value.get_ref(), at: value.span().into() })
}
