//! `[webhooks.NAME]`: the shop's own systems, which a drip's step may tell something.

use std::collections::{BTreeMap, BTreeSet};

use super::account::is_loopback;
use super::node::has_password;
use super::problem::{Expected, Problem};
use super::secret::SecretSource;
use super::tree::{Item, Table};
use crate::domain::id::WebhookName;

/// Room enough for any address.
const URL_MAX: usize = 2_000;

/// One system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where it listens: https, or plain http on this machine.
    pub url: String,
    /// What requests to it are signed with.
    pub secret: SecretSource,
}

impl Webhook {
    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }
}

/// What `haishin.toml` says of them.
#[derive(Default)]
pub(super) struct Webhooks {
    /// Each that could be read; none where one could not.
    pub read: Option<BTreeMap<WebhookName, Webhook>>,
    /// All that are named.
    pub names: BTreeSet<WebhookName>,
}

/// All systems; a shop need have none.
pub(super) fn webhooks(top: &Table<'_>) -> Webhooks {
    let mut found = Webhooks { read: Some(BTreeMap::new()), names: BTreeSet::new() };
    let Some(item) = top.get("webhooks") else { return found };
    let Some(table) = item.table("webhooks") else { return Webhooks::default() };
    for (name, at, item) in table.entries() {
        let Ok(slug) = WebhookName::parse(name) else {
            item.file.report(at, Problem::BadSlug { slug: name.to_owned() });
            found.read = None;
            continue;
        };
        found.names.insert(slug.clone());
        match (webhook(&item), &mut found.read) {
            (Some(webhook), Some(read)) => {
                read.insert(slug, webhook);
            }
            _ => found.read = None,
        }
    }
    found
}

fn webhook(item: &Item<'_>) -> Option<Webhook> {
    let table = item.table("webhooks.*")?;
    let url = table.need("url").and_then(|item| url(&item));
    let secret = table.need("secret").and_then(|item| SecretSource::parse_item(&item, "secret"));
    table.finish();
    Some(Webhook { url: url?, secret: secret? })
}

fn url(item: &Item<'_>) -> Option<String> {
    if has_password(item.text_as(Expected::HttpsUrl)?) {
        item.report(Problem::LiteralSecret { key: "url".to_owned() });
        return None;
    }
    let url = item.parse(Expected::HttpsUrl, |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        let fits = !authority.is_empty() && !authority.contains('@') && text.len() <= URL_MAX;
        (clean && fits).then(|| text.to_owned())
    })?;
    if url.starts_with("http://") && !is_loopback(&url) {
        item.report(Problem::PlainHttp);
        return None;
    }
    Some(url)
}
