//! LINE's webhooks: whether a body is LINE's, and what it says of friends.
//!
//! Nothing of a body is looked at before its signature fits. What is inside is then read as leniently as LINE asks for:
//! fields may come, go and move, and an event nobody knows never hides its neighbours. What friends write is not kept,
//! only that they wrote and what kind of message; so there is nothing to take back when they unsend it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use sha2::Sha256;

use crate::domain::attribute::Value;
use crate::domain::effect::{DedupeId, Effect, Intake};
use crate::domain::friend::Status;
use crate::domain::id::{EventName, PropertyName, UserId};
use crate::domain::time::Instant;

/// Events of one body; LINE's bodies hold some dozens.
pub const EVENTS_MAX: usize = 5_000;

/// The longest text of a webhook that is kept as a property; what LINE sends is a third of it.
const TEXT_MAX: usize = 1_000;

/// The signature LINE sends of a body: Base64 of HMAC-SHA256 under the channel secret.
pub fn sign(body: &[u8], secret: &[u8]) -> String {
    mac(body, secret).map_or_else(String::new, |mac| BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// Whether `signature` (the header `x-line-signature`) is that of the raw body under one of the channel's secrets;
/// several while a secret is being changed. It takes the same time wherever a forgery differs, and whichever secret
/// fits.
pub fn is_signed<'s>(body: &[u8], signature: &[u8], secrets: impl IntoIterator<Item = &'s [u8]>) -> bool {
    // What was claimed is known to whoever claims it: looking at its form tells nothing.
    let claimed = BASE64_STANDARD.decode(signature).unwrap_or_default();
    let fits = |secret| mac(body, secret).is_some_and(|mac| mac.verify_slice(&claimed).is_ok());
    secrets.into_iter().fold(false, |found, secret| fits(secret) | found)
}

fn mac(body: &[u8], secret: &[u8]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(body);
    Some(mac)
}

/// What one webhook says.
#[derive(Debug, Default, PartialEq)]
pub struct Callback {
    /// What it says of friends, while the account's own bot holds their chat.
    pub active: Vec<Intake>,
    /// What it says of friends while another module holds it: nothing may be sent for it.
    pub standby: Vec<Intake>,
    /// How many events there were of each kind.
    pub events: Events,
}

/// What became of the events of a webhook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events {
    /// Taken in.
    pub taken: u64,
    /// They say nothing here: groups, dummies of the console's check, kinds nobody knows.
    pub ignored: u64,
    /// So old that their identities may be forgotten.
    pub too_old: u64,
}

/// Why a signed body is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no webhook.
    #[error("the body is no LINE webhook, which is a JSON object with `events`")]
    NoCallback(#[source] serde_json::Error),
    /// It holds too many events.
    #[error("the body holds {0} events; {EVENTS_MAX} are taken at most")]
    TooMany(usize),
}

/// What is common to all events. Others than these two may be missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    r#type: String,
    timestamp: i64,
    webhook_event_id: Option<String>,
    mode: Option<String>,
    source: Option<RawSource>,
    reply_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSource {
    r#type: String,
    user_id: Option<String>,
}

/// Reads a body that is surely LINE's. Events older than `oldest` are counted and no more: their identities may be
/// forgotten, and a body that somebody caught could else be played again.
///
/// # Errors
/// It has not the form of a webhook, or more events than LINE would send.
pub fn read(body: &[u8], oldest: Option<Instant>) -> Result<Callback, Unreadable> {
    // Not a struct of its own: that would take a list for one.
    let mut raw: Map<String, Json> = serde_json::from_slice(body).map_err(Unreadable::NoCallback)?;
    let events: Vec<Json> = match raw.remove("events") {
        Some(events) => serde_json::from_value(events).map_err(Unreadable::NoCallback)?,
        None => Vec::new(),
    };
    if events.len() > EVENTS_MAX {
        return Err(Unreadable::TooMany(events.len()));
    }
    let mut callback = Callback::default();
    for event in &events {
        callback.take(event, oldest);
    }
    Ok(callback)
}

impl Callback {
    fn take(&mut self, event: &Json, oldest: Option<Instant>) {
        let common = event.is_object().then(|| RawEvent::deserialize(event));
        let Some(Ok(common)) = common else {
            self.events.ignored += 1;
            return;
        };
        let at = Instant::from_millis(common.timestamp);
        if oldest.is_some_and(|oldest| at < oldest) {
            self.events.too_old += 1;
            return;
        }
        let standby = common.mode.as_deref() == Some("standby");
        let mut said = said(&common, event, at);
        if standby {
            // Who follows is so whoever holds the chat. What happens in it is the other module's to answer.
            said.retain(|intake| matches!(intake.effect, Effect::Status { .. }));
        }
        match said.is_empty() {
            true => self.events.ignored += 1,
            false => self.events.taken += 1,
        }
        if standby { self.standby.append(&mut said) } else { self.active.append(&mut said) }
    }
}

/// What an event says of its friend.
fn said(common: &RawEvent, event: &Json, at: Instant) -> Vec<Intake> {
    let id = common.webhook_event_id.as_deref().filter(|id| !id.is_empty());
    let (Some(user), Some(id)) = (user_of(common), id) else { return Vec::new() };
    let status = |status, followed_at| Intake {
        friend: user.into(),
        at,
        effect: Effect::Status { status, followed_at },
        // An identity of its own, since the event beside it has the id: what is known is left out one by one.
        dedupe: Some(DedupeId::webhook(&format!("{id} status"))),
    };
    let status = match common.r#type.as_str() {
        "follow" => Some(status(Status::Following, Some(at))),
        "unfollow" => Some(status(Status::Blocked, None)),
        _ => None,
    };
    let happened = happening(&common.r#type).and_then(|(name, properties)| {
        let property = |(name, path): &(&str, &[&str])| {
            Some((
                PropertyName::parse(name).ok()?,
                value(path.iter().try_fold(event, |at, key| at.get(key))?)?,
            ))
        };
        let effect = Effect::Event {
            name: EventName::parse(name).ok()?,
            event_id: Some(id.chars().take(TEXT_MAX).collect()),
            properties: properties.iter().filter_map(property).collect::<BTreeMap<_, _>>(),
        };
        Some(Intake { friend: user.into(), at, effect, dedupe: Some(DedupeId::webhook(id)) })
    });
    status.into_iter().chain(happened).collect()
}

/// The friend an event is about: a chat with one user, and none of the dummies that LINE's console sends to try a
/// webhook.
fn user_of(event: &RawEvent) -> Option<UserId> {
    let source = event.source.as_ref().filter(|source| source.r#type == "user")?;
    let dummy_token = event.reply_token.as_deref().is_some_and(|token| {
        !token.is_empty() && (token.bytes().all(|b| b == b'0') || token.bytes().all(|b| b == b'f'))
    });
    let user = source.user_id.as_deref().filter(|user| !user.starts_with("Udeadbeef"))?;
    if dummy_token { None } else { UserId::parse(user).ok() }
}

/// Property names, each with where it stands in the event.
type Properties = &'static [(&'static str, &'static [&'static str])];

/// What an event of LINE's is called here, and what of it is kept. `docs/webhooks.md` lists them.
fn happening(kind: &str) -> Option<(&'static str, Properties)> {
    Some(match kind {
        "follow" => ("line.follow", &[("unblocked", &["follow", "isUnblocked"])]),
        "unfollow" => ("line.unfollow", &[]),
        "message" => ("line.message", &[("type", &["message", "type"])]),
        "postback" => (
            "line.postback",
            &[
                ("data", &["postback", "data"]),
                ("date", &["postback", "params", "date"]),
                ("time", &["postback", "params", "time"]),
                ("datetime", &["postback", "params", "datetime"]),
                ("menu", &["postback", "params", "newRichMenuAliasId"]),
                ("status", &["postback", "params", "status"]),
            ],
        ),
        "accountLink" => {
            ("line.account_link", &[("result", &["link", "result"]), ("nonce", &["link", "nonce"])])
        }
        "membership" => (
            "line.membership",
            &[("type", &["membership", "type"]), ("membership_id", &["membership", "membershipId"])],
        ),
        "videoPlayComplete" => {
            ("line.video_play_complete", &[("tracking_id", &["videoPlayComplete", "trackingId"])])
        }
        _ => return None,
    })
}

fn value(json: &Json) -> Option<Value> {
    match json {
        Json::String(text) => Some(Value::Text(text.chars().take(TEXT_MAX).collect::<String>().into())),
        Json::Bool(flag) => Some(Value::Boolean(*flag)),
        Json::Number(number) => number.as_i64().map(Value::Integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
