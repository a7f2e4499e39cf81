//! What can happen to a friend's record. Effects are absolute (a new value, not a change of one), so replay is safe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attribute::Value;
use super::friend::{FriendRef, Status};
use super::id::{AttributeName, EventName, FriendId, PropertyName, Seq, TagName, UserId};
use super::time::Instant;

/// One absolute change of a friend's state, or one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// The account meets this user for the first time. Written by the owner, which assigns the dense id.
    Joined {
        /// LINE's id.
        user: UserId,
    },
    /// Follow or unfollow; the entry's instant is LINE's timestamp.
    Status {
        /// The new status.
        status: Status,
        /// The instant of the follow, where this says one.
        followed_at: Option<Instant>,
    },
    /// The shop's own customer id, or none any more.
    ExternalId {
        /// The id as the shop writes it.
        external_id: Option<String>,
    },
    /// A tag was given at the entry's instant.
    TagAdded {
        /// The tag.
        tag: TagName,
    },
    /// A tag was taken away.
    TagRemoved {
        /// The tag.
        tag: TagName,
    },
    /// An attribute has a new value, or none.
    Attribute {
        /// The declared attribute.
        name: AttributeName,
        /// `None` removes it.
        value: Option<Value>,
    },
    /// Something happened at the entry's instant.
    Event {
        /// What happened.
        name: EventName,
        /// The sender's id of it: one `event_id` is one event.
        event_id: Option<String>,
        /// Properties; `number` is the plain amount where an event has one.
        properties: BTreeMap<PropertyName, Value>,
    },
    /// LINE refused the user id.
    Quarantined,
    /// The friend is forgotten; the dense id stays taken.
    Erased,
}

impl Effect {
    /// What an import may say of a friend. The rest is its owner's to decide.
    pub fn may_be_imported(&self) -> bool {
        !matches!(self, Effect::Joined { .. } | Effect::Quarantined | Effect::Erased)
    }

    /// Events stay in the journal; everything else folds into the friend row and may be pruned after.
    pub fn is_event(&self) -> bool {
        matches!(self, Effect::Event { .. })
    }
}

/// A numbered effect on a friend: a row of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Number within the account, without gaps.
    pub seq: Seq,
    /// Whom it is about.
    pub friend: FriendId,
    /// When it happened (not when it was applied).
    pub at: Instant,
    /// What happened.
    pub effect: Effect,
}

/// An effect as it arrives, before the owner has numbered it: what inbox rows hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// Whom it is about, as whoever says it names the friend: the owner looks for the friend when it applies this.
    #[serde(flatten)]
    pub friend: FriendRef,
    /// When it happened.
    pub at: Instant,
    /// What happened; never what is the owner's to say.
    pub effect: Effect,
    /// What makes a second arrival of the same thing the same thing: an event's id or digest.
    /// State effects are absolute and need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe: Option<DedupeId>,
}

/// 16 bytes of SHA-256 over the kind and the identity of an event: what is applied at most once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DedupeId(pub [u8; 16]);

impl DedupeId {
    /// The identity `id` within `kind` (`event`, `webhook`, …).
    pub fn of(kind: &str, id: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update([u8::try_from(kind.len()).unwrap_or(u8::MAX)]);
        hash.update(kind.as_bytes());
        hash.update(id);
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }
}

impl TryFrom<String> for DedupeId {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<DedupeId> for String {
    fn from(id: DedupeId) -> String {
        hex::encode(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of an inbox outlive an upgrade: what was written before friends could be named by customer id is read.
    #[test]
    fn an_intake_reads_what_older_versions_wrote() {
        let older = r#"{"user":"U0123456789abcdef0123456789abcdef","at":"2026-01-02T03:04:05.678Z","effect":{"kind":"tag_added","tag":"体験"}}"#;
        let intake: Intake = serde_json::from_str(older).unwrap();
        assert_eq!(
            intake.friend,
            FriendRef::User(UserId::parse("U0123456789abcdef0123456789abcdef").unwrap())
        );
        assert_eq!(serde_json::to_string(&intake).unwrap(), older);

        let newer =
            older.replace("\"user\":\"U0123456789abcdef0123456789abcdef\"", "\"external_id\":\"c-1\"");
        let intake: Intake = serde_json::from_str(&newer).unwrap();
        assert_eq!(intake.friend, FriendRef::External("c-1".into()));
        assert_eq!(serde_json::to_string(&intake).unwrap(), newer);

        for nobody in [older.replace("user", "usr"), older.replace("U0123", "U012")] {
            assert!(serde_json::from_str::<Intake>(&nobody).is_err(), "{nobody}");
        }
    }
}
