//! The LINE double as a state machine in virtual time: LINE's rules, each reached once.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use haishin::domain::friend::Status;
use haishin::domain::id::UserId;
use haishin::domain::time::{Instant, Span};
use haishin::line::multicast_body;
use haishin::sandbox::{
    Act, Body, ChannelSettings, Endpoint, Fault, FaultKind, KeyLookup, Reply, Request, Sandbox, SandboxError,
    SandboxFriend, Settings, UnknownIds,
};
use rstest::rstest;
use serde_json::{Value, json};

mod state_file;

const KEY: &str = "123e4567-e89b-42d3-a456-426614174000";
const MESSAGES: &str = r#"[{"type":"text","text":"冬の新作"}]"#;
const MULTICAST: &str = "/v2/bot/message/multicast";

fn user(n: u8) -> UserId {
    UserId([n; 16])
}

fn friend(n: u8, status: Status) -> SandboxFriend {
    SandboxFriend { user: user(n), name: None, status }
}

/// A channel with token `token-ID`, ten friends (0 to 9) of whom the last two blocked it.
fn channel(id: &str) -> ChannelSettings {
    let status = |n| if n < 8 { Status::Following } else { Status::Blocked };
    ChannelSettings {
        access_token: Some(format!("token-{id}")),
        friends: (0..10).map(|n| friend(n, status(n))).collect(),
        ..ChannelSettings::new(id, format!("secret-{id}"), "こはる珈琲")
    }
}

fn at(ms: i64) -> Instant {
    Instant::from_millis(1_796_374_800_000 + ms)
}

fn body(to: &[u8]) -> Vec<u8> {
    let users: Vec<UserId> = to.iter().map(|n| user(*n)).collect();
    multicast_body(&users, MESSAGES, true, None)
}

/// A sandbox, and how to talk to it.
struct Line {
    sandbox: Sandbox,
    now: Instant,
}

impl Line {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(vec![channel("1"), channel("2")]);
        change(&mut settings);
        Self { sandbox: Sandbox::new(settings).unwrap(), now: at(0) }
    }

    fn act(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Act {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let request = Request { method, path, headers: &headers, body: Body::Whole(body) };
        self.sandbox.handle(&request, self.now).act
    }

    fn reply(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        match self.act(method, path, headers, body) {
            Act::Answer(reply) => reply,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn send(&self, key: &str, body: &[u8]) -> Act {
        let headers = [
            ("authorization", "Bearer token-1"),
            ("content-type", "application/json"),
            ("x-line-retry-key", key),
        ];
        self.act("POST", MULTICAST, &headers, body)
    }

    fn multicast(&self, key: &str, body: &[u8]) -> Reply {
        match self.send(key, body) {
            Act::Answer(reply) => reply,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn get(&self, path: &str) -> Value {
        json(&self.reply("GET", path, &[("authorization", "Bearer token-1")], b""))
    }

    fn got(&self, n: u8) -> usize {
        self.sandbox.received("1", &user(n)).unwrap().len()
    }
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn message(reply: &Reply) -> String {
    json(reply)["message"].as_str().unwrap_or_default().to_owned()
}

/// The nth key.
fn key(n: u32) -> String {
    format!("123e4567-e89b-42d3-a456-{n:012x}")
}

#[test]
fn a_multicast_reaches_followers_and_bills_only_them() {
    let line = Line::new(|settings| settings.channels[0].quota = Some(100));
    let reply = line.multicast(KEY, &body(&[0, 1, 8, 42]));
    assert_eq!((reply.status, &reply.body[..]), (200, &b"{}"[..]));
    assert_eq!((line.got(0), line.got(1), line.got(8), line.got(42)), (1, 1, 0, 0));
    assert_eq!(line.get("/v2/bot/message/quota"), serde_json::json!({"type": "limited", "value": 100}));
    assert_eq!(line.get("/v2/bot/message/quota/consumption"), serde_json::json!({"totalUsage": 2}));
    let totals = line.sandbox.totals();
    assert_eq!((totals.accepted, totals.messages, totals.skipped), (1, 2, 2));
    let received = &line.sandbox.received("1", &user(0)).unwrap()[0];
    assert_eq!((&*received.messages, received.silent), (r#"[{"text":"冬の新作","type":"text"}]"#, false));
    assert_eq!(received.request_id, reply.request_id);
}

#[test]
fn one_channel_sees_nothing_of_another() {
    let line = Line::new(|_| {});
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200);
    assert_eq!(line.sandbox.received("2", &user(0)).unwrap(), []);
    assert_eq!(line.sandbox.channels(line.now)[1].used, 0);
    assert!(line.sandbox.received("3", &user(0)).is_err());
}

#[rstest]
#[case("GET", "/v2/bot/message/multicast", 404, "Not found")]
#[case("POST", "/v2/bot/message/broadcast", 404, "Not found")]
#[case("POST", "/v2/bot/message/quota", 404, "Not found")]
#[case("GET", "/v2/bot/profile/U", 404, "Not found")]
fn what_is_not_there_is_not_found(
    #[case] method: &str,
    #[case] path: &str,
    #[case] status: u16,
    #[case] text: &str,
) {
    let reply = Line::new(|_| {}).reply(method, path, &[("authorization", "Bearer token-1")], b"");
    assert_eq!((reply.status, message(&reply).as_str()), (status, text));
    assert!(!reply.request_id.is_empty());
}

#[rstest]
#[case(&[])]
#[case(&[("authorization", "Bearer token-3")])]
#[case(&[("authorization", "Basic token-1")])]
#[case(&[("authorization", "token-1")])]
fn without_a_valid_token_nothing_is_said(#[case] headers: &[(&str, &str)]) {
    let reply = Line::new(|_| {}).reply("GET", "/v2/bot/info", headers, b"");
    assert_eq!(reply.status, 401);
    assert!(message(&reply).starts_with("Authentication failed."), "{}", message(&reply));
}

#[test]
fn a_stateless_token_lives_fifteen_minutes() {
    let mut line = Line::new(|_| {});
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let issue = |line: &Line, body: &str| line.reply("POST", "/oauth2/v3/token", &form, body.as_bytes());
    let granted = json(&issue(&line, "grant_type=client_credentials&client_id=1&client_secret=secret-1"));
    assert_eq!((granted["token_type"].as_str(), granted["expires_in"].as_i64()), (Some("Bearer"), Some(899)));
    let bearer = format!("Bearer {}", granted["access_token"].as_str().unwrap());
    let info = |line: &Line| line.reply("GET", "/v2/bot/info", &[("authorization", &bearer)], b"").status;
    line.now = at(898_999);
    assert_eq!(info(&line), 200);
    line.now = at(899_000);
    assert_eq!(info(&line), 401);

    for (bad, error) in [
        ("grant_type=client_credentials&client_id=1&client_secret=secret-2", "invalid_client"),
        ("grant_type=client_credentials&client_id=9&client_secret=secret-1", "invalid_client"),
        ("grant_type=password&client_id=1&client_secret=secret-1", "unsupported_grant_type"),
        ("", "unsupported_grant_type"),
    ] {
        let reply = issue(&line, bad);
        assert_eq!((reply.status, json(&reply)["error"].as_str()), (400, Some(error)), "{bad}");
    }
    let reply = line.reply("POST", "/oauth2/v3/token", &[("content-type", "application/json")], b"{}");
    assert_eq!(reply.status, 415);
}

#[test]
fn a_taken_key_is_a_conflict_for_24_hours_and_then_new() {
    let mut line = Line::new(|_| {});
    let first = line.multicast(KEY, &body(&[0]));
    line.now = at(24 * 3_600_000 - 1);
    let again = line.multicast(KEY, &body(&[0]));
    assert_eq!((again.status, message(&again).as_str()), (409, "The retry key is already accepted"));
    assert_eq!(again.accepted_request_id.as_ref(), Some(&first.request_id));
    assert_ne!(again.request_id, first.request_id, "each attempt has its own id");
    assert_eq!(line.got(0), 1);
    assert_eq!(line.sandbox.audit().keys_taken_twice, []);

    line.now = at(24 * 3_600_000);
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200);
    assert_eq!(line.got(0), 2);
    let audit = line.sandbox.audit();
    assert_eq!((audit.keys_taken_twice.len(), audit.duplicate_pairs), (1, 1));
    assert_eq!(audit.duplicates[0].user, user(0).to_string());
}

/// The 24 h begin with the first request LINE saw, not with the one it took.
#[test]
fn a_key_lives_from_its_first_request() {
    let mut line = Line::new(|settings| settings.channels[0].quota = Some(0));
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 429);
    line.sandbox.set_quota("1", None, None, line.now).unwrap();
    line.now = at(3_600_000);
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200);
    line.now = at(24 * 3_600_000);
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200);
}

#[test]
fn another_body_under_a_taken_key_is_a_conflict_and_found_by_the_audit() {
    let line = Line::new(|_| {});
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200);
    assert_eq!(line.multicast(&KEY.to_uppercase(), &body(&[1])).status, 409);
    assert_eq!(line.got(1), 0);
    let audit = line.sandbox.audit();
    assert_eq!(audit.keys_with_two_bodies.len(), 1);
    assert_eq!(audit.keys_with_two_bodies[0].key, KEY);
    assert_eq!(line.sandbox.key(KEY).unwrap().attempts, 2);
}

#[rstest]
#[case(KeyLookup::BeforeValidation, 409)]
#[case(KeyLookup::AfterValidation, 400)]
fn the_key_is_looked_up_before_or_after_the_body(#[case] order: KeyLookup, #[case] status: u16) {
    let line = Line::new(|settings| settings.key_lookup = order);
    assert_eq!(line.multicast(KEY, &body(&[0, 1])).status, 200);
    line.sandbox.refuse_users("1", &[user(1)], &[]).unwrap();
    assert_eq!(line.multicast(KEY, &body(&[0, 1])).status, status);
    assert_eq!(line.multicast(KEY, b"{}").status, status);
    line.sandbox.refuse_users("1", &[], &[]).unwrap();
    assert_eq!(line.multicast(KEY, &body(&[0, 1])).status, 409);
}

#[test]
fn a_key_is_a_uuid_and_for_multicasts_only() {
    let line = Line::new(|_| {});
    let bad = line.multicast("not-a-uuid", &body(&[0]));
    assert_eq!((bad.status, line.got(0)), (400, 0));
    let headers = [("authorization", "Bearer token-1"), ("x-line-retry-key", KEY)];
    assert_eq!(line.reply("GET", "/v2/bot/message/quota", &headers, b"").status, 400);
}

#[test]
fn a_refused_request_reaches_nobody_and_leaves_the_key_free() {
    let line = Line::new(|_| {});
    line.sandbox.refuse_users("1", &[user(1)], &[user(2)]).unwrap();
    let indexed = line.multicast(KEY, &body(&[0, 1]));
    assert_eq!(indexed.status, 400);
    assert_eq!(message(&indexed), "The property, to[1], in the request body is invalid (line: -, column: -)");
    let silent = line.multicast(&key(1), &body(&[0, 2]));
    assert_eq!((silent.status, message(&silent).as_str()), (400, "Failed to send messages"));
    assert_eq!(line.got(0), 0);
    assert_eq!(line.multicast(KEY, &body(&[0])).status, 200);
}

#[rstest]
#[case(UnknownIds::Skip, 200, 0)]
#[case(UnknownIds::Refuse, 400, 0)]
#[case(UnknownIds::Befriend, 200, 1)]
fn unknown_ids_as_told(#[case] unknown: UnknownIds, #[case] status: u16, #[case] got: usize) {
    let line = Line::new(|settings| settings.channels[0].unknown_ids = unknown);
    assert_eq!(line.multicast(KEY, &body(&[0, 77])).status, status);
    assert_eq!(line.got(77), got);
}

#[test]
fn the_rate_of_multicasts_is_two_hundred_a_second_for_each_channel() {
    let mut line = Line::new(|_| {});
    let statuses: Vec<u16> = (0..201).map(|n| line.multicast(&key(n), &body(&[0])).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 200);
    let reply = line.multicast(&key(201), &body(&[0]));
    assert_eq!(
        (reply.status, message(&reply).as_str()),
        (429, "The API rate limit has been exceeded. Try again later.")
    );
    line.now = at(5);
    assert_eq!(line.multicast(&key(201), &body(&[0])).status, 200);
    // Another channel has a bucket of its own.
    let headers = [("authorization", "Bearer token-2"), ("content-type", "application/json")];
    assert_eq!(line.reply("POST", MULTICAST, &headers, &body(&[0])).status, 200);
}

#[test]
fn the_month_s_limit_refuses_whole_requests_and_ends_with_the_month() {
    let mut line = Line::new(|settings| {
        settings.channels[0].quota = Some(5);
        settings.channels[0].used = 2;
    });
    let over = line.multicast(KEY, &body(&[0, 1, 2, 3]));
    assert_eq!((over.status, message(&over).as_str()), (429, "You have reached your monthly limit."));
    assert_eq!(line.got(0), 0);
    assert_eq!(line.multicast(&key(1), &body(&[0, 1, 2, 8, 9])).status, 200, "blocked friends need no room");
    assert_eq!(line.multicast(&key(2), &body(&[0])).status, 429);
    assert_eq!(line.multicast(&key(1), &body(&[0, 1, 2, 8, 9])).status, 409, "what was taken stays taken");
    line.now = at(0) + Span::from_days(31);
    assert_eq!(line.multicast(&key(3), &body(&[0])).status, 200);
    assert_eq!(line.get("/v2/bot/message/quota/consumption")["totalUsage"], 1);
}

#[test]
fn strict_about_media_type_and_size() {
    let line = Line::new(|_| {});
    let headers = [("authorization", "Bearer token-1"), ("content-type", "text/plain")];
    assert_eq!(line.reply("POST", MULTICAST, &headers, &body(&[0])).status, 415);
    let json = [("authorization", "Bearer token-1"), ("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(line.reply("POST", MULTICAST, &json, &body(&[0])).status, 200);
    let headers: HeaderMap =
        [(HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer token-1"))]
            .into_iter()
            .collect();
    let request = Request { method: "POST", path: MULTICAST, headers: &headers, body: Body::TooLarge };
    let Act::Answer(reply) = line.sandbox.handle(&request, line.now).act else { panic!("no answer") };
    assert_eq!(reply.status, 413);
}

#[test]
fn validation_looks_at_messages_alone() {
    let line = Line::new(|_| {});
    let headers = [("authorization", "Bearer token-1"), ("content-type", "application/json")];
    let validate =
        |body: &str| line.reply("POST", "/v2/bot/message/validate/multicast", &headers, body.as_bytes());
    assert_eq!(validate(&format!("{{\"messages\":{MESSAGES}}}")).status, 200);
    let bad = validate(r#"{"messages":[{"type":"text","text":""}]}"#);
    assert_eq!(bad.status, 400);
    assert_eq!(
        json(&bad),
        serde_json::json!({"message": "The request body has 1 error(s)",
            "details": [{"message": "May not be empty", "property": "messages[0].text"}]})
    );
    assert_eq!(line.sandbox.totals().messages, 0);
}

/// Whether the answer comes, with which status, and whether the friend got the message nevertheless.
#[rstest]
#[case(FaultKind::LostBefore, None, 0)]
#[case(FaultKind::LostAfter, None, 1)]
#[case(FaultKind::HangBefore, None, 0)]
#[case(FaultKind::HangAfter, None, 1)]
#[case(FaultKind::Slow { ms: 5 }, Some(200), 1)]
#[case(FaultKind::ServerErrorBefore, Some(500), 0)]
#[case(FaultKind::ServerErrorAfter, Some(500), 1)]
#[case(FaultKind::RateLimited, Some(429), 0)]
#[case(FaultKind::MonthlyLimit, Some(429), 0)]
#[case(FaultKind::Unauthorized, Some(401), 0)]
#[case(FaultKind::Forbidden, Some(403), 0)]
#[case(FaultKind::ConflictWithoutId, Some(409), 0)]
#[case(FaultKind::BadRequest, Some(400), 0)]
#[case(FaultKind::PayloadTooLarge, Some(413), 0)]
#[case(FaultKind::Malformed, Some(200), 1)]
#[case(FaultKind::Huge, Some(200), 1)]
fn a_fault_strikes_once_and_the_retry_finds_what_it_left(
    #[case] kind: FaultKind,
    #[case] status: Option<u16>,
    #[case] delivered: usize,
) {
    let line = Line::new(|settings| settings.faults = vec![Fault::nth(kind, [1])]);
    let act = line.send(KEY, &body(&[0]));
    let answered = match &act {
        Act::Answer(reply) => Some(reply.status),
        Act::Close | Act::Hang => None,
    };
    assert_eq!((answered, line.got(0)), (status, delivered), "{act:?}");
    let retry = line.multicast(KEY, &body(&[0]));
    assert_eq!(retry.status, if delivered == 1 { 409 } else { 200 });
    assert_eq!(retry.accepted_request_id.is_some(), delivered == 1);
    assert_eq!(line.got(0), 1);
    let records = line.sandbox.requests(0, 10);
    assert_eq!(records.iter().map(|r| r.status).collect::<Vec<_>>(), [status, Some(retry.status)]);
    assert_eq!((records[0].fault, records[1].fault), (Some(kind), None));
    assert_eq!(records[0].endpoint, Some(Endpoint::Multicast));
}

#[test]
fn only_the_last_requests_are_remembered_one_by_one() {
    let line = Line::new(|settings| settings.keep_requests = 3);
    for n in 0..5 {
        line.multicast(&key(n), &body(&[0]));
    }
    let numbers: Vec<u64> = line.sandbox.requests(0, 10).iter().map(|r| r.number).collect();
    assert_eq!((numbers, line.sandbox.totals().accepted), (vec![3, 4, 5], 5));
    assert_eq!(line.sandbox.requests(3, 1).len(), 1);
}

#[test]
fn two_channels_cannot_share_an_id_or_a_token() {
    let twin = |id: &str, token: &str| ChannelSettings { access_token: Some(token.into()), ..channel(id) };
    for channels in [vec![channel("1"), twin("1", "other")], vec![channel("1"), twin("2", "token-1")]] {
        let error = Sandbox::new(Settings::new(channels)).unwrap_err();
        assert!(matches!(error, SandboxError::DuplicateChannel(_)), "{error}");
    }
}

proptest::proptest! {
    /// Whatever a body has become, it is taken or refused with a text, never a panic, and delivers only if taken.
    #[test]
    fn no_body_breaks_it(
        at in 0usize..200,
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4),
        cut in 0usize..4,
    ) {
        let line = Line::new(|_| {});
        let mut body = multicast_body(&[user(0), user(1)], MESSAGES, false, Some("unit_1"));
        let at = at.min(body.len());
        let end = (at + cut).min(body.len());
        body.splice(at..end, bytes);
        let reply = line.multicast(KEY, &body);
        proptest::prop_assert!(matches!(reply.status, 200 | 400), "{}", reply.status);
        proptest::prop_assert!(reply.status == 200 || !message(&reply).is_empty());
        proptest::prop_assert!(reply.status == 200 || line.sandbox.totals().messages == 0);
    }
}
