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

/// What is applied at most once.
///
/// As text 32 hexadecimal digits, after `webhook:` where it is a webhook's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DedupeId {
    /// Of what.
    pub kind: DedupeKind,
    /// 16 bytes of SHA-256 over a word for the kind and the identity.
    pub digest: [u8; 16],
}

/// Of what an identity is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DedupeKind {
    /// An event of the shop's.
    Event,
    /// One of LINE's webhook events.
    Webhook,
}

impl DedupeKind {
    /// The word in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Webhook => "webhook",
        }
    }
}

impl DedupeId {
    /// An event's identity `id` among those of one `space`: `event` are the ids that senders give, `event content`
    /// what stands for one where none is given.
    pub fn of(space: &str, id: &[u8]) -> Self {
        Self { kind: DedupeKind::Event, digest: digest(space, id) }
    }

    /// LINE's `webhookEventId`.
    pub fn webhook(id: &str) -> Self {
        Self { kind: DedupeKind::Webhook, digest: digest("webhook", id.as_bytes()) }
    }
}

fn digest(space: &str, id: &[u8]) -> [u8; 16] {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update([u8::try_from(space.len()).unwrap_or(u8::MAX)]);
    hash.update(space.as_bytes());
    hash.update(id);
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes
}

const WEBHOOK: &str = "webhook:";

impl TryFrom<String> for DedupeId {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (kind, digits) = match text.strip_prefix(WEBHOOK) {
            Some(digits) => (DedupeKind::Webhook, digits),
            None => (DedupeKind::Event, text.as_str()),
        };
        let mut digest = [0; 16];
        hex::decode_to_slice(digits, &mut digest)?;
        Ok(Self { kind, digest })
    }
}

impl From<DedupeId> for String {
    fn from(id: DedupeId) -> String {
        let digits = hex::encode(id.digest);
        match id.kind {
            DedupeKind::Event => digits,
            DedupeKind::Webhook => format!("{WEBHOOK}{digits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_as_text_says_its_kind() {
        let event = DedupeId::of("event", b"order-1");
        let webhook = DedupeId::webhook("order-1");
        assert_ne!(event.digest, webhook.digest);
        for id in [event, webhook] {
            assert_eq!(DedupeId::try_from(String::from(id)), Ok(id));
        }
        // As inboxes hold those of events since before there were webhooks.
        let digits = hex::encode(event.digest);
        assert_eq!(String::from(event), digits);
        for bad in ["", "webhook:", &digits[2..], &format!("event:{digits}")] {
            assert!(DedupeId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

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
