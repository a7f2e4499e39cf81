//! `[accounts.NAME.relay]`: one further system that gets the account's webhooks as LINE sent them.

use super::account::is_loopback;
use super::node::has_password;
use super::problem::{Expected, Problem};
use super::tree::{Item, Table};

/// Room enough for any address.
const URL_MAX: usize = 2_000;

/// Where webhooks are handed on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Where it listens: https, or plain http on this machine.
    pub url: String,
    /// Who answers a friend's message with its reply token, which works once.
    pub replies: Replies,
}

/// Who answers reply tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// This account's haishin alone.
    Haishin,
    /// The system behind the relay alone.
    Relay,
}

impl Replies {
    /// The word in TOML and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Haishin => "haishin",
            Self::Relay => "relay",
        }
    }
}

/// The account's relay; `Some(None)` where it has none.
pub(super) fn relay(own: &Table<'_>) -> Option<Option<Relay>> {
    let Some(item) = own.get("relay") else { return Some(None) };
    let table = item.table("accounts.*.relay")?;
    let url = table.need("url").and_then(|item| url(&item));
    let replies = table.need("replies").and_then(|item| {
        let words = [Replies::Haishin, Replies::Relay].map(|replies| (replies.as_str(), replies));
        item.word(&words)
    });
    table.finish();
    Some(Some(Relay { url: url?, replies: replies? }))
}

fn url(item: &Item<'_>) -> Option<String> {
    if has_password(item.text_as(Expected::HttpsUrl)?) {
        item.report(Problem::LiteralSecret { key: "url".to_owned() });
        return None;
    }
    let url = item.parse(Expected::HttpsUrl, |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        let clean = text.chars().all(|c| c.is_ascii_graphic());
        let fits = !authority.is_empty() && !authority.contains('@') && text.len() <= URL_MAX;
        (clean && fits).then(|| text.to_owned())
    })?;
    if url.starts_with("http://") && !is_loopback(&url) {
        item.report(Problem::PlainHttp);
        return None;
    }
    Some(url)
}
