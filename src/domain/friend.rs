//! A friend as a row: what truth says of one LINE user of one account.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribute::Value;
use super::effect::{Effect, Entry};
use super::id::{AttributeName, FriendId, TagName, UserId};
use super::time::Instant;

/// Whether a message can reach the friend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The account is among the user's friends.
    Following,
    /// The user blocked the account or removed it.
    Blocked,
}

/// How somebody outside names a friend. As JSON one field, `"user"` or `"external_id"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FriendRef {
    /// By LINE's id. A user the account has not met yet becomes its friend.
    #[serde(rename = "user")]
    User(UserId),
    /// By the shop's own customer id, which must be one friend's.
    #[serde(rename = "external_id")]
    External(String),
}

impl From<UserId> for FriendRef {
    fn from(user: UserId) -> Self {
        Self::User(user)
    }
}

/// Why a name leads to no one friend. What is said of such a friend is told, never applied to a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// Nobody has this customer id.
    Unknown,
    /// Several friends have it: a customer with two LINE accounts.
    Shared {
        /// How many.
        friends: u64,
    },
}

impl Miss {
    /// The one friend of several candidates.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn unless_one(mut friends: impl Iterator<Item = FriendId>) -> Result<FriendId, Self> {
        match (friends.next(), friends.count()) {
            (None, _) => Err(Self::Unknown),
            (Some(friend), 0) => Ok(friend),
            (Some(_), more) => Err(Self::Shared { friends: 1 + more as u64 }),
        }
    }
}

/// One friend's state as of some journal number. Events are not part of it: they stay in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Friend {
    /// Dense id within the account.
    pub friend: FriendId,
    /// LINE's id; gone once erased.
    pub user: Option<UserId>,
    /// Reachable or not.
    pub status: Status,
    /// LINE's instant of the last follow or unfollow applied.
    pub status_at: Instant,
    /// The last follow, where one is known.
    pub followed_at: Option<Instant>,
    /// The shop's own customer id.
    pub external_id: Option<String>,
    /// Each tag held, with the instant it was given.
    pub tags: BTreeMap<TagName, Instant>,
    /// Each attribute that has a value.
    pub attributes: BTreeMap<AttributeName, Value>,
    /// When the friend was erased, if so: hidden at once, never re-used.
    pub erased_at: Option<Instant>,
    /// When LINE refused the id (400 `to[N]`): left out of every audience, by name.
    pub quarantined_at: Option<Instant>,
}

impl Friend {
    /// A friend nobody has said anything about yet. It is taken as following: LINE tells of users who follow.
    pub fn new(friend: FriendId, user: UserId, at: Instant) -> Self {
        Self {
            friend,
            user: Some(user),
            status: Status::Following,
            status_at: at,
            followed_at: None,
            external_id: None,
            tags: BTreeMap::new(),
            attributes: BTreeMap::new(),
            erased_at: None,
            quarantined_at: None,
        }
    }

    /// Applies one journal entry of this friend. Effects are absolute, so applying one twice changes nothing. Of who is
    /// erased nothing is taken in any more.
    pub fn apply(&mut self, entry: &Entry) {
        if self.erased_at.is_some() {
            return;
        }
        match &entry.effect {
            Effect::Joined { user } => self.user = Some(*user),
            Effect::Status { status, followed_at } => {
                self.status = *status;
                self.status_at = entry.at;
                if followed_at.is_some() {
                    self.followed_at = *followed_at;
                }
            }
            Effect::ExternalId { external_id } => self.external_id = external_id.clone(),
            Effect::TagAdded { tag } => {
                self.tags.insert(tag.clone(), entry.at);
            }
            Effect::TagRemoved { tag } => {
                self.tags.remove(tag);
            }
            Effect::Attribute { name, value: Some(value) } => {
                self.attributes.insert(name.clone(), value.clone());
            }
            Effect::Attribute { name, value: None } => {
                self.attributes.remove(name);
            }
            Effect::Quarantined => self.quarantined_at = Some(entry.at),
            Effect::Erased => {
                let erased = Self::new(self.friend, UserId([0; 16]), entry.at);
                *self = Self { user: None, erased_at: Some(entry.at), status: Status::Blocked, ..erased };
            }
            Effect::Event { .. } => {}
        }
    }
}
