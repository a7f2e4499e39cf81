//! The control API under `/sandbox/`: what happened, and what is to happen. `docs/sandbox.md` lists it.

use axum::body::Body as HttpBody;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::core::Sandbox;
use super::fault::Fault;
use super::inspect::UnknownChannel;
use super::settings::SandboxFriend;
use super::webhooks::{Deed, Signed};
use crate::domain::id::UserId;
use crate::domain::time::Instant;
use crate::line::is_loopback;
use crate::line::relay::Passed;

/// Why a question has no answer: the status and a text that says what to do.
struct Refused(StatusCode, String);

impl From<UnknownChannel> for Refused {
    fn from(error: UnknownChannel) -> Self {
        Self(StatusCode::NOT_FOUND, error.to_string())
    }
}

/// A webhook that the sandbox is told to send.
#[derive(Debug)]
pub(super) struct Errand {
    /// Where to, on this machine.
    pub(super) url: String,
    pub(super) webhook: Signed,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tell {
    to: String,
    events: Vec<Deed>,
}

/// The errand of a request that is one; what it answers is for whoever carries it out to say.
pub(super) fn errand(
    sandbox: &Sandbox,
    head: &Parts,
    body: Option<&[u8]>,
    now: Instant,
) -> Option<Result<Errand, Response<HttpBody>>> {
    let channel = head.uri.path().strip_prefix("/sandbox/channels/")?.strip_suffix("/webhook")?;
    let errand = || {
        if head.method != Method::POST {
            return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "POST what friends did".into()));
        }
        json_only(head)?;
        let Tell { to, events } = read(body.unwrap_or_default())?;
        if !is_loopback(&to) {
            let text = "the sandbox connects to this machine only: begin `to` with http://127.0.0.1";
            return Err(Refused(StatusCode::BAD_REQUEST, text.into()));
        }
        Ok(Errand { url: to, webhook: sandbox.webhook(channel, &events, now)? })
    };
    Some(errand().map_err(|refused| answer(Err(refused))))
}

/// What became of an errand.
pub(super) fn errand_answer(passed: Passed) -> Response<HttpBody> {
    answer(match passed {
        Passed::Taken => Ok(json!({})),
        Passed::Refused { status } => Err(Refused(StatusCode::BAD_GATEWAY, format!("status {status}"))),
        Passed::Failed { why } => Err(Refused(StatusCode::BAD_GATEWAY, why)),
    })
}

/// Answers one request to the control API.
pub(super) fn respond(
    sandbox: &Sandbox,
    head: &Parts,
    body: Option<&[u8]>,
    now: Instant,
) -> Response<HttpBody> {
    answer(route(sandbox, head, body.unwrap_or_default(), now))
}

fn answer(answer: Result<Value, Refused>) -> Response<HttpBody> {
    let (status, value) = answer.map_or_else(
        |Refused(status, message)| (status, json!({ "message": message })),
        |value| (StatusCode::OK, value),
    );
    let mut response = Response::new(HttpBody::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaChange {
    limit: Option<u64>,
    used: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedUsers {
    #[serde(default)]
    with_index: Vec<UserId>,
    #[serde(default)]
    without_index: Vec<UserId>,
}

fn route(sandbox: &Sandbox, head: &Parts, body: &[u8], now: Instant) -> Result<Value, Refused> {
    let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').skip(1).collect();
    let changes = head.method != Method::GET;
    if changes {
        json_only(head)?;
    }
    match (&head.method, path.as_slice()) {
        (&Method::GET, ["state"]) => {
            let faults: Vec<_> = sandbox.faults().into_iter().map(fault_report).collect();
            let channels = sandbox.channels(now);
            Ok(json!({ "now": now, "totals": sandbox.totals(), "channels": channels, "faults": faults }))
        }
        (&Method::GET, ["audit"]) => Ok(json!(sandbox.audit())),
        (&Method::GET, ["requests"]) => {
            let after = query(head, "after").unwrap_or(0);
            let limit = query(head, "limit").unwrap_or(100).min(10_000);
            Ok(json!(sandbox.requests(after, usize::try_from(limit).unwrap_or(100))))
        }
        (&Method::GET, ["keys", key]) => match sandbox.key(key) {
            Some(report) => Ok(json!(report)),
            None => Err(Refused(StatusCode::NOT_FOUND, format!("no request came with the key `{key}`"))),
        },
        (&Method::GET, ["channels", channel, "deliveries"]) => Ok(json!(sandbox.received_counts(channel)?)),
        (&Method::GET, ["channels", channel, "rich-menus"]) => Ok(json!(sandbox.rich_menus(channel)?)),
        (&Method::GET, ["channels", channel, "users", user, "deliveries"]) => {
            let user = UserId::parse(user).map_err(|e| Refused(StatusCode::BAD_REQUEST, e.to_string()))?;
            Ok(json!(sandbox.received(channel, &user)?))
        }
        (&Method::PUT, ["channels", channel, "friends"]) => {
            sandbox.put_friends(channel, read::<Vec<SandboxFriend>>(body)?)?;
            Ok(json!({}))
        }
        (&Method::PUT, ["channels", channel, "refused-users"]) => {
            let users: RefusedUsers = read(body)?;
            sandbox.refuse_users(channel, &users.with_index, &users.without_index)?;
            Ok(json!({}))
        }
        (&Method::PUT, ["channels", channel, "quota"]) => {
            let change: QuotaChange = read(body)?;
            sandbox.set_quota(channel, change.limit, change.used, now)?;
            Ok(json!({}))
        }
        (&Method::PUT, ["faults"]) => {
            sandbox.set_faults(read::<Vec<Fault>>(body)?);
            Ok(json!({}))
        }
        _ => Err(Refused(
            StatusCode::NOT_FOUND,
            "there is no such question; docs/sandbox.md lists them, `GET /sandbox/state` is one".into(),
        )),
    }
}

fn fault_report((fault, struck): (Fault, u64)) -> Value {
    json!({ "fault": fault, "struck": struck })
}

/// Besides being right, it keeps pages of other sites out: a browser asks before it sends JSON.
fn json_only(head: &Parts) -> Result<(), Refused> {
    let refused =
        || Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `content-type: application/json`".into());
    is_json(head).then_some(()).ok_or_else(refused)
}

fn is_json(head: &Parts) -> bool {
    let given = head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn query(head: &Parts, name: &str) -> Option<u64> {
    let pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused(StatusCode::BAD_REQUEST, format!("the body is not what docs/sandbox.md asks for: {error}"))
    })
}
