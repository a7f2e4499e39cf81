//! LINE's webhooks: whose they are, and what they say of friends. What LINE may send, and how it may differ from its
//! own specification, decides how leniently each part is read: an event nobody knows never hides its neighbours.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::Sha256;

use crate::domain::attribute::Value;
use crate::domain::effect::{DedupeId, Effect, Intake};
use crate::domain::friend::Status;
use crate::domain::id::{EventName, PropertyName, UserId};
use crate::domain::time::{Instant, Span};

/// Identities of webhook events are remembered so long: what is older is acknowledged, counted and not applied, so
/// that a body somebody caught cannot be played again when its identity is forgotten.
pub const OLDEST: Span = Span::from_days(7);

/// The longest text of a webhook that is kept as a property.
const TEXT_MAX: usize = 1_000;

/// Whether `signature` (the header `x-line-signature`) is that of the raw body under one of the channel's secrets;
/// several while a secret is being changed. Takes the same time wherever a forgery differs.
pub fn is_signed(body: &[u8], signature: &str, secrets: &[&[u8]]) -> bool {
    let Ok(claimed) = BASE64_STANDARD.decode(signature) else { return false };
    secrets.iter().any(|secret| {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
        mac.update(body);
        mac.verify_slice(&claimed).is_ok()
    })
}

/// What one webhook says.
#[derive(Debug, Default, PartialEq)]
pub struct Callback {
    /// What it says of friends, while the account's own bot holds their chat.
    pub active: Vec<Intake>,
    /// What it says of friends while another module holds it: nothing may be sent for it.
    pub standby: Vec<Intake>,
    /// Events that say nothing here: groups, dummies of the console's check, kinds nobody knows.
    pub ignored: usize,
    /// Events older than [`OLDEST`].
    pub too_old: usize,
}

/// The body is no webhook.
#[derive(Debug, thiserror::Error)]
#[error("the body is no LINE webhook (a JSON object with `events`)")]
pub struct NoCallback(#[source] serde_json::Error);

#[derive(Deserialize)]
struct RawCallback {
    #[serde(default)]
    events: Vec<Json>,
}

/// What is common to all events; each part may be missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent {
    r#type: String,
    #[serde(default)]
    mode: Option<String>,
    timestamp: i64,
    #[serde(default)]
    source: Option<RawSource>,
    webhook_event_id: String,
    #[serde(default)]
    reply_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSource {
    r#type: String,
    #[serde(default)]
    user_id: Option<String>,
}

/// Reads a body that is surely LINE's.
///
/// # Errors
/// It is no JSON object of the form of a webhook.
pub fn read(body: &[u8], now: Instant) -> Result<Callback, NoCallback> {
    let raw: RawCallback = serde_json::from_slice(body).map_err(NoCallback)?;
    let mut callback = Callback::default();
    for event in raw.events {
        let Ok(common) = RawEvent::deserialize(&event) else {
            callback.ignored += 1;
            continue;
        };
        let at = Instant::from_millis(common.timestamp);
        if now - at > OLDEST {
            callback.too_old += 1;
            continue;
        }
        let standby = common.mode.as_deref() == Some("standby");
        let said = user_of(&common).and_then(|user| Some((user, effect(&common, &event, at)?)));
        let Some((user, effect)) = said.filter(|(_, effect)| !standby || is_status(effect)) else {
            callback.ignored += 1;
            continue;
        };
        let dedupe = DedupeId::webhook(&common.webhook_event_id);
        let intake = Intake { user, at, effect, dedupe: Some(dedupe) };
        if standby { callback.standby.push(intake) } else { callback.active.push(intake) }
    }
    Ok(callback)
}

fn is_status(effect: &Effect) -> bool {
    matches!(effect, Effect::Status { .. })
}

/// The friend an event is about: a chat with one user, and no dummy of the console's check.
fn user_of(event: &RawEvent) -> Option<UserId> {
    let source = event.source.as_ref().filter(|source| source.r#type == "user")?;
    let dummy_token = event.reply_token.as_deref().is_some_and(|token| {
        !token.is_empty() && (token.bytes().all(|b| b == b'0') || token.bytes().all(|b| b == b'f'))
    });
    let user = source.user_id.as_deref().filter(|user| !user.starts_with("Udeadbeef"))?;
    if dummy_token { None } else { UserId::parse(user).ok() }
}

fn effect(common: &RawEvent, event: &Json, at: Instant) -> Option<Effect> {
    let text = |path: &[&str]| {
        let found = path.iter().try_fold(event, |value, key| value.get(key))?.as_str()?;
        Some(found.chars().take(TEXT_MAX).collect::<String>())
    };
    let happened = |name: &str, properties: &[(&str, Option<String>)]| {
        let property = |(name, value): &(&str, Option<String>)| {
            Some((PropertyName::parse(name).ok()?, Value::Text(value.as_deref()?.into())))
        };
        Some(Effect::Event {
            name: EventName::parse(name).ok()?,
            event_id: Some(common.webhook_event_id.clone()),
            properties: properties.iter().filter_map(property).collect::<BTreeMap<_, _>>(),
        })
    };
    match common.r#type.as_str() {
        "follow" => Some(Effect::Status { status: Status::Following, followed_at: Some(at) }),
        "unfollow" => Some(Effect::Status { status: Status::Blocked, followed_at: None }),
        // What a friend wrote is nobody's business here: only that they wrote, and what kind of message.
        "message" => happened("message", &[("type", text(&["message", "type"]))]),
        "postback" => happened(
            "postback",
            &[
                ("data", text(&["postback", "data"])),
                ("date", text(&["postback", "params", "date"])),
                ("time", text(&["postback", "params", "time"])),
                ("datetime", text(&["postback", "params", "datetime"])),
                ("menu", text(&["postback", "params", "newRichMenuAliasId"])),
                ("status", text(&["postback", "params", "status"])),
            ],
        ),
        "accountLink" => happened(
            "account_link",
            &[("result", text(&["link", "result"])), ("nonce", text(&["link", "nonce"]))],
        ),
        "membership" => happened("membership", &[("type", text(&["membership", "type"]))]),
        "videoPlayComplete" => {
            happened("video_play_complete", &[("tracking_id", text(&["videoPlayComplete", "trackingId"]))])
        }
        _ => None,
    }
}
