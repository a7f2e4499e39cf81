//! What the files of campaigns and drips say alike: whose friends, and under which policy.

use std::collections::BTreeMap;

use super::account::Account;
use super::layers::Layers;
use super::policy::{category_name, same_content_window};
use super::problem::{Expected, Noun, Problem};
use super::rule::{Names, Rules, Uses};
use super::schedule::if_missed;
use super::tree::{Item, Table};
use crate::domain::campaign::{Dispatch, Pace, Variant, WhenCapped};
use crate::domain::id::{AccountSlug, CampaignSlug, CategoryName};
use crate::domain::policy::Share;
use crate::domain::schedule::IfMissed;
use crate::domain::time::{Instant, Span, Tz};

/// What absent keys mean: `[campaign]` in `haishin.toml`.
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

/// What the files are read with.
pub(super) struct Reading<'c> {
    pub names: &'c Names,
    pub uses: &'c Uses,
    /// All accounts; none where `haishin.toml` has errors.
    pub accounts: Option<&'c BTreeMap<AccountSlug, Account>>,
    pub defaults: Option<&'c Defaults>,
    pub now: Instant,
}

/// The keys that campaigns and drips share, as far as they could be read: in each, `None` was reported, and
/// `Some(None)` stands for an absent key.
pub(super) struct Terms<'c> {
    pub account: Option<&'c Account>,
    pub immediate: Option<bool>,
    pub repeat_after: Option<Option<Span>>,
    pub draft: Option<Option<bool>>,
    pub title: Option<String>,
    defaults: Option<&'c Defaults>,
    category: Option<CategoryName>,
    priority: Option<Option<u8>>,
    max_recipients: Option<Option<i64>>,
    holdout: Option<Option<Share>>,
    reach: Option<Option<bool>>,
    pace: Option<Option<Pace>>,
    notify: Option<Option<bool>>,
}

impl<'c> Reading<'c> {
    /// Reads what is shared. What cannot be judged without its account or the defaults is left until those are right.
    pub fn terms(&self, table: &Table<'_>) -> Terms<'c> {
        let account = self.account(table);
        let category = self.category(table, account);
        later(table);
        Terms {
            account,
            immediate: immediate(table, account, category.as_ref()),
            repeat_after: optional(table, "repeat_after", |item| item.span()),
            draft: optional(table, "draft", |item| item.flag()),
            title: table.need("title").and_then(|item| item.text()).map(str::to_owned),
            defaults: self.defaults,
            category,
            priority: optional(table, "priority", priority),
            max_recipients: optional(table, "max_recipients", |item| item.whole(0, i64::MAX)),
            holdout: optional(table, "holdout", |item| item.share()),
            reach: optional(table, "reach", |item| item.word(&[("everyone", true)])),
            pace: optional(table, "pace", |item| item.pace()),
            notify: optional(table, "notify", |item| item.flag()),
        }
    }

    /// What reads a file's rules. Where the account is unknown that is the problem, not the zone.
    pub fn rules(&self, zone: Option<Tz>) -> Rules<'c> {
        Rules { names: self.names, uses: self.uses, zone: zone.or(Some(Tz::UTC)), owner: None }
    }

    /// The account named, or the only one.
    fn account(&self, table: &Table<'_>) -> Option<&'c Account> {
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

    fn category(&self, table: &Table<'_>, account: Option<&Account>) -> Option<CategoryName> {
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
}

impl Terms<'_> {
    /// The distance at which the same content may be due again.
    pub fn window(&self) -> Option<Span> {
        Some(same_content_window(&self.account?.policy, self.repeat_after?))
    }

    /// What goes out under these terms; whatever else a campaign or a step says is left as if it said nothing.
    pub fn dispatch(&self, slug: &CampaignSlug, variants: Vec<Variant>) -> Option<Dispatch> {
        let (account, defaults, category) = (self.account?, self.defaults?, self.category.clone()?);
        Some(Dispatch {
            slug: slug.clone(),
            step: None,
            title: self.title.clone()?,
            account: account.slug.clone(),
            opt_out: account.policy.categories.get(&category).and_then(|category| category.opt_out.clone()),
            category,
            priority: self.priority?.unwrap_or(defaults.priority),
            max_recipients: self.max_recipients?.map(i64::unsigned_abs),
            holdout: self.holdout?.unwrap_or(defaults.holdout),
            sample: None,
            once: None,
            repeat_after: self.repeat_after?,
            reach_everyone: self.reach?.unwrap_or(false),
            immediate: self.immediate?,
            when_capped: WhenCapped::Skip,
            variants,
            pace: self.pace?,
            notify: self.notify?.unwrap_or(defaults.notify),
            deadline: None,
        })
    }
}

fn immediate(table: &Table<'_>, account: Option<&Account>, category: Option<&CategoryName>) -> Option<bool> {
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

/// `Some(None)` where the key is absent, `None` where its value is wrong.
pub(super) fn optional<'a, T>(
    table: &Table<'a>,
    key: &'static str,
    read: impl Fn(&Item<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match table.get(key) {
        Some(item) => read(&item).map(Some),
        None => Some(None),
    }
}

/// `when_capped = "skip"` or `{ defer = "3d" }`.
pub(super) fn when_capped(item: &Item<'_>) -> Option<WhenCapped> {
    if item.value.as_table().is_none() {
        return item.parse(Expected::WhenCapped, |text| (text == "skip").then_some(WhenCapped::Skip));
    }
    let table = item.table("when_capped")?;
    let limit = table.need("defer").and_then(|item| item.span());
    table.finish();
    limit.map(WhenCapped::Defer)
}

/// Keys that belong to files of another folder.
pub(super) fn elsewhere(table: &Table<'_>, keys: &[&'static str], folder: &'static str) {
    for key in table.present(keys) {
        table.get(key);
        let problem = Problem::OtherFolder { key: key.to_owned(), folder: folder.to_owned() };
        table.file.report(table.key_at(key).unwrap_or(table.at), problem);
    }
}

/// What a later version will do.
fn later(table: &Table<'_>) {
    if let Some(at) = table.key_at("budget") {
        table.get("budget");
        table.file.report(at, Problem::Later { feature: "budget".to_owned() });
    }
    if let Some(item) = table.get("delivery")
        && item.word(&[("auto", ""), ("multicast", ""), ("push", "push")]) == Some("push")
    {
        item.report(Problem::Later { feature: "delivery = \"push\"".to_owned() });
    }
}
