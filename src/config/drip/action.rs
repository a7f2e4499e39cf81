//! `action = [ … ]`: what a step does without sending.

use crate::config::problem::{Expected, Noun, Problem};
use crate::config::rule::Rules;
use crate::config::tree::Item;
use crate::domain::drip::{Action, RichMenuId};
use crate::domain::id::WebhookName;

/// The keys that say what an action does; exactly one stands in each.
const HEADS: [&str; 6] = ["tag", "untag", "attr", "unset", "rich_menu", "webhook"];
/// More than any step does.
const ACTIONS_MAX: usize = 20;
/// How LINE's ids of rich menus begin.
const RICH_MENU: &str = "richmenu-";

/// One action or a list of them.
pub(super) fn actions(rules: &Rules<'_>, item: &Item<'_>) -> Option<Vec<Action>> {
    let items = item.one_or_list();
    if !(1..=ACTIONS_MAX).contains(&items.len()) {
        item.report(Problem::WrongCount { min: 1, max: ACTIONS_MAX, is: items.len() });
        return None;
    }
    let read: Vec<Option<Action>> = items.iter().map(|item| action(rules, item)).collect();
    read.into_iter().collect()
}

fn action(rules: &Rules<'_>, item: &Item<'_>) -> Option<Action> {
    let table = item.table_as("action", Expected::Action)?;
    let action = table.one_of(&HEADS, true).and_then(|head| {
        let item = table.get(head)?;
        match head {
            "tag" => {
                let tag = rules.tag(&item);
                let lasts = match table.get("for") {
                    Some(item) => Some(item.span()?),
                    None => None,
                };
                Some(Action::Tag { tag: tag?, lasts })
            }
            "untag" => rules.tag(&item).map(Action::Untag),
            "attr" => {
                let (name, value) = rules.given_value(&table, &item)?;
                Some(Action::Attribute { name, value: Some(value) })
            }
            "unset" => rules.attribute_name(&item).map(|name| Action::Attribute { name, value: None }),
            "rich_menu" => rich_menu(&item).map(Action::RichMenu),
            _ => webhook(rules, &item).map(Action::Webhook),
        }
    });
    table.finish();
    action
}

/// `"richmenu-…"`, or `"unlink"` for the account's default menu.
fn rich_menu(item: &Item<'_>) -> Option<Option<RichMenuId>> {
    item.parse(Expected::RichMenu, |text| match text {
        "unlink" => Some(None),
        id => RichMenuId::parse(id).filter(|_| id.starts_with(RICH_MENU)).map(Some),
    })
}

/// A system that `haishin.toml` describes.
fn webhook(rules: &Rules<'_>, item: &Item<'_>) -> Option<WebhookName> {
    let (name, known) = (item.text()?, &rules.names.webhooks);
    let found = known.get(name).cloned();
    found.or_else(|| item.unknown(Noun::Webhook, name, known.iter().map(WebhookName::as_str)))
}
