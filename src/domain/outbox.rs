//! What leaves beside sends: requests that are durable with what decided them and made afterwards, at least once.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::drip::RichMenuId;
use super::id::{AccountSlug, UserId, WebhookName};
use super::reason::Said;
use super::time::Instant;

/// One request: the JSON of databases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// LINE links a rich menu to these friends, or unlinks the one each has.
    RichMenu {
        /// The menu; none unlinks.
        menu: Option<RichMenuId>,
        /// At most [`Request::MENU_USERS`].
        users: Vec<UserId>,
    },
    /// A system of the shop's is told something.
    Webhook {
        /// Which.
        system: WebhookName,
        /// What.
        body: serde_json::Map<String, Value>,
    },
}

/// To whom requests go: one after the other, in the order in which they were decided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// LINE, which links and unlinks rich menus.
    RichMenus,
    /// A system of the shop's.
    System(WebhookName),
}

/// Why a request has not been taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Failure {
    /// The other side answered, and did not take it.
    Answered(Said),
    /// LINE does not accept the account's credentials.
    Unauthorized,
    /// No answer in time.
    Timeout,
    /// The connection ended before an answer, or with one that is none.
    ConnectionLost,
    /// No connection was made.
    Unreachable,
    /// The running configuration knows no such system.
    NotConfigured,
    /// The secret that requests to the system are signed with cannot be read.
    NoSecret,
}

impl Request {
    /// LINE links or unlinks a rich menu for so many users in one request.
    pub const MENU_USERS: usize = 500;

    /// To whom it goes.
    pub fn lane(&self) -> Lane {
        match self {
            Self::RichMenu { .. } => Lane::RichMenus,
            Self::Webhook { system, .. } => Lane::System(system.clone()),
        }
    }
}

impl Lane {
    const RICH_MENUS: &str = "rich_menu";
    const SYSTEM: &str = "webhook/";

    /// The kind of request, as metrics count it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RichMenus => Self::RICH_MENUS,
            Self::System(_) => "webhook",
        }
    }

    /// The lane that a word of the database names.
    pub fn parse(word: &str) -> Option<Self> {
        match word.strip_prefix(Self::SYSTEM) {
            Some(system) => WebhookName::parse(system).ok().map(Self::System),
            None => (word == Self::RICH_MENUS).then_some(Self::RichMenus),
        }
    }

    /// Whether a request that failed holds up those behind it. A menu linked later must not give way to an earlier
    /// one that comes through at last. A system of the shop's that cannot take one request may well take the next.
    pub const fn keeps_order(&self) -> bool {
        matches!(self, Self::RichMenus)
    }
}

/// The word in SQL, logs and metrics.
impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RichMenus => f.write_str(Self::RICH_MENUS),
            Self::System(system) => write!(f, "{}{system}", Self::SYSTEM),
        }
    }
}

impl Failure {
    /// Whether the same request would fail in the same way for ever.
    pub fn is_final(&self) -> bool {
        match self {
            // Those three say: not now.
            Self::Answered(said) => {
                (400..500).contains(&said.status) && ![408, 425, 429].contains(&said.status)
            }
            Self::NotConfigured => true,
            Self::Unauthorized
            | Self::Timeout
            | Self::ConnectionLost
            | Self::Unreachable
            | Self::NoSecret => false,
        }
    }
}

/// What a shop's system knows a request by: the same each time it is made, and that of no other request, also where a
/// restored database gives its number again.
pub fn webhook_id(account: &AccountSlug, row: i64, decided_at: Instant, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [account.as_str().as_bytes(), &row.to_be_bytes(), &decided_at.as_millis().to_be_bytes(), body]
    {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_read_as_it_is_written() {
        let system = |name: &str| Lane::System(WebhookName::parse(name).unwrap());
        for lane in [Lane::RichMenus, system("crm"), system("在庫"), system("rich_menu")] {
            assert_eq!(Lane::parse(&lane.to_string()), Some(lane));
        }
        for word in ["", "webhook", "webhook/", "webhook/a b", "rich_menus"] {
            assert_eq!(Lane::parse(word), None, "{word}");
        }
    }

    #[test]
    fn an_answer_is_final_when_it_speaks_of_the_request() {
        let finals: Vec<u16> = (100..=599)
            .filter(|status| Failure::Answered(Said { status: *status, message: String::new() }).is_final())
            .collect();
        let expected: Vec<u16> = (400..500).filter(|status| ![408, 425, 429].contains(status)).collect();
        assert_eq!(finals, expected);
        assert!(Failure::NotConfigured.is_final() && !Failure::Unauthorized.is_final());
    }

    /// Pinned: after an upgrade a repeated request must still be known.
    #[test]
    fn the_id_is_pinned_and_depends_on_everything() {
        let account = |slug: &str| AccountSlug::parse(slug).unwrap();
        let at = Instant::from_millis;
        let base = webhook_id(&account("koharu"), 7, at(1_796_374_800_000), b"{}");
        assert_eq!(base, "bce1e6daa846bcff017eb1663444667d");
        for other in [
            webhook_id(&account("koharv"), 7, at(1_796_374_800_000), b"{}"),
            webhook_id(&account("koharu"), 8, at(1_796_374_800_000), b"{}"),
            webhook_id(&account("koharu"), 7, at(1_796_374_800_001), b"{}"),
            webhook_id(&account("koharu"), 7, at(1_796_374_800_000), b"{ }"),
        ] {
            assert_ne!(other, base);
        }
    }
}
