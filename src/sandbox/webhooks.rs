//! Webhooks as LINE would send them: what friends did, signed with the channel's secret.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::core::Sandbox;
use super::inspect::UnknownChannel;
use super::settings::SandboxFriend;
use crate::domain::friend::Status;
use crate::domain::id::UserId;
use crate::domain::time::Instant;
use crate::line::webhook::sign;

/// Something a friend did.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deed {
    /// LINE's word for it: `follow`, `unfollow`, `message`, `postback`, …
    pub r#type: String,
    /// Whose.
    pub user: UserId,
    /// When; now by default.
    #[serde(default)]
    pub at: Option<Instant>,
    /// Fields of the event that are to be there, or to be others: `{"postback": {"data": "…"}}`. What `follow` and
    /// `message` need is there without.
    #[serde(default)]
    pub with: Map<String, Value>,
}

impl Deed {
    /// Something a friend did just now.
    pub fn new(kind: impl Into<String>, user: UserId) -> Self {
        Self { r#type: kind.into(), user, at: None, with: Map::new() }
    }

    fn status(&self) -> Option<Status> {
        match self.r#type.as_str() {
            "follow" => Some(Status::Following),
            "unfollow" => Some(Status::Blocked),
            _ => None,
        }
    }
}

/// A webhook ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The body, to the byte.
    pub body: String,
    /// The header `x-line-signature`.
    pub signature: String,
}

impl Sandbox {
    /// What LINE would send of these deeds, in one body. Who follows or blocks is a friend, or none, from then on.
    ///
    /// # Errors
    /// The sandbox does not play this channel.
    pub fn webhook(&self, channel: &str, deeds: &[Deed], now: Instant) -> Result<Signed, UnknownChannel> {
        let changes = deeds
            .iter()
            .filter_map(|deed| Some(SandboxFriend { user: deed.user, name: None, status: deed.status()? }));
        self.put_friends(channel, changes.collect())?;
        let first = self.count_deeds(deeds.len());
        let events = (first..).zip(deeds).map(|(number, deed)| event(self.rules.seed, number, deed, now));
        let (bot, secret) = self.identity(channel)?;
        let body = json!({ "destination": bot, "events": events.collect::<Vec<_>>() }).to_string();
        let signature = sign(body.as_bytes(), secret.as_bytes());
        Ok(Signed { body, signature })
    }

    fn identity(&self, channel: &str) -> Result<(UserId, String), UnknownChannel> {
        let state = self.lock();
        let found = state.channels.iter().find(|known| known.id == channel);
        let found = found.ok_or_else(|| UnknownChannel(channel.to_owned()))?;
        Ok((found.bot_user(), found.secret.clone()))
    }

    /// The number of the first of so many deeds.
    fn count_deeds(&self, deeds: usize) -> u64 {
        let mut state = self.lock();
        let first = state.deeds;
        state.deeds = first.saturating_add(deeds as u64);
        first
    }
}

fn event(seed: u64, number: u64, deed: &Deed, now: Instant) -> Value {
    let at = deed.at.unwrap_or(now).as_millis();
    // Unlike any before it, also of a sandbox that was started anew.
    let digest =
        hex::encode_upper(Sha256::digest(format!("{seed} {number} {} {at} {}", now.as_millis(), deed.user)));
    let id = digest.get(..26).unwrap_or_default();
    let mut event = json!({
        "type": deed.r#type, "mode": "active", "timestamp": at, "webhookEventId": id,
        "source": { "type": "user", "userId": deed.user }, "deliveryContext": { "isRedelivery": false },
    });
    let own = match deed.r#type.as_str() {
        "follow" => json!({ "follow": { "isUnblocked": false } }),
        "message" => json!({ "message": { "id": number.to_string(), "type": "text", "text": "こんにちは" } }),
        _ => json!({}),
    };
    if let Some(event) = event.as_object_mut() {
        // Who left cannot be answered.
        if deed.r#type != "unfollow" {
            let token = digest.get(26..58).unwrap_or_default().to_lowercase();
            event.insert("replyToken".to_owned(), token.into());
        }
        event.extend(own.as_object().cloned().unwrap_or_default());
        event.extend(deed.with.clone());
    }
    event
}
