//! The LINE client over real HTTP against the sandbox: every fault has its outcome.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use haishin::clock::ManualClock;
use haishin::domain::drip::RichMenuId;
use haishin::domain::id::{CampaignSlug, UserId};
use haishin::domain::key::{BatchIdentity, OccurrenceIdentity, RetryKey, Run};
use haishin::domain::time::{Instant, Span};
use haishin::line::{
    Answer, Api, Blame, CallError, Credentials, HttpApi, HttpSettings, LimitHint, Quota, Validation,
    body_digest, multicast_body,
};
use haishin::sandbox::{
    ChannelSettings, Endpoint, Fault, FaultKind, InProcess, Sandbox, Settings, UnknownIds, serve,
};
use rstest::rstest;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

const MESSAGES: &str = r#"[{"type":"text","text":"冬の新作"}]"#;
const USER: UserId = UserId([7; 16]);

/// A sandbox behind HTTP, its clock, and what ends it.
pub struct Served {
    pub sandbox: Arc<Sandbox>,
    pub clock: Arc<ManualClock>,
    pub base: String,
    _end: DropGuard,
}

impl Served {
    pub async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let channel = ChannelSettings {
            access_token: Some("long-lived".into()),
            unknown_ids: UnknownIds::Befriend,
            quota: Some(1_000),
            used: 10,
            ..ChannelSettings::new("1234567890", "s3cret", "こはる珈琲")
        };
        let mut settings = Settings::new(vec![channel]);
        change(&mut settings);
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let clock = Arc::new(ManualClock::new(Instant::from_millis(1_796_374_800_000)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve(Arc::clone(&sandbox), listener, clock.clone(), stop.clone()));
        Self { sandbox, clock, base, _end: stop.drop_guard() }
    }

    /// A client that issues its tokens, with a timeout a hanging answer reaches soon.
    pub fn client(&self, timeout: Duration) -> HttpApi {
        let secret = SecretString::from("s3cret");
        let credentials = Credentials::Channel { id: "1234567890".into(), secret };
        self.client_with(credentials, timeout)
    }

    fn client_with(&self, credentials: Credentials, timeout: Duration) -> HttpApi {
        let settings = HttpSettings { timeout, ..HttpSettings::new(self.base.clone(), credentials) };
        HttpApi::new(settings, self.clock.clone()).unwrap()
    }
}

/// Long enough for any machine.
const PATIENT: Duration = Duration::from_secs(60);

pub fn key_of(body: &[u8]) -> RetryKey {
    let occurrence = OccurrenceIdentity {
        channel_id: "1234567890".into(),
        slug: CampaignSlug::parse("winter-coupon").unwrap(),
        step: None,
        due_at: Instant::from_millis(1_796_374_800_000),
        run: Run::Scheduled(0),
        child: 0,
    };
    RetryKey::derive(&occurrence, BatchIdentity { n: 0, generation: 0, parent: None }, &body_digest(body))
}

pub fn a_body() -> Bytes {
    multicast_body(&[USER], MESSAGES, true, Some("winter_coupon")).into()
}

#[tokio::test]
async fn a_batch_is_taken_once_and_its_retry_meets_the_conflict() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    let (body, key) = (a_body(), key_of(&a_body()));
    let first = api.multicast(key, body.clone()).await;
    assert_eq!(first.answer, Answer::Accepted);
    let again = api.multicast(key, body.clone()).await;
    let accepted_request_id = first.request_id.clone().unwrap();
    assert_eq!(again.answer, Answer::AlreadyAccepted { accepted_request_id });
    assert_eq!(again.accepted_request_id(), first.request_id.as_deref());
    assert_ne!(again.request_id, first.request_id);
    // The bytes arrived as they were stored.
    let report = served.sandbox.key(&key.to_string()).unwrap();
    assert_eq!(report.bodies, [hex::encode(body_digest(&body))]);
    assert_eq!(served.sandbox.received("1234567890", &USER).unwrap().len(), 1);
}

fn bad_request(message: &str, invalid_to: Option<usize>) -> Answer {
    Answer::BadRequest { message: message.into(), blame: invalid_to.map_or(Blame::Untold, Blame::Recipient) }
}

/// (fault, what the client makes of it, how many messages the friend has after it)
#[rstest]
#[case(FaultKind::LostBefore, Answer::ConnectionLost, 0)]
#[case(FaultKind::LostAfter, Answer::ConnectionLost, 1)]
#[case(FaultKind::Slow { ms: 1 }, Answer::Accepted, 1)]
#[case(FaultKind::ServerErrorBefore, Answer::ServerError(500), 0)]
#[case(FaultKind::ServerErrorAfter, Answer::ServerError(500), 1)]
#[case(FaultKind::RateLimited, Answer::TooManyRequests { hint: LimitHint::Rate }, 0)]
#[case(FaultKind::MonthlyLimit, Answer::TooManyRequests { hint: LimitHint::Monthly }, 0)]
#[case(FaultKind::Unauthorized, Answer::Unauthorized, 0)]
#[case(FaultKind::Forbidden, Answer::Forbidden, 0)]
#[case(FaultKind::ConflictWithoutId, Answer::RetryKeyConflictWithoutId, 0)]
#[case(FaultKind::BadRequest, bad_request("Failed to send messages", None), 0)]
#[case(FaultKind::Malformed, Answer::Accepted, 1)]
#[case(FaultKind::Huge, Answer::Accepted, 1)]
#[tokio::test]
async fn a_fault_has_its_outcome(
    #[case] kind: FaultKind,
    #[case] expected: Answer,
    #[case] delivered: usize,
) {
    let served = Served::start(|settings| settings.faults = vec![Fault::nth(kind, [1])]).await;
    let api = served.client(PATIENT);
    let attempt = api.multicast(key_of(&a_body()), a_body()).await;
    assert_eq!(attempt.answer, expected);
    assert_eq!(served.sandbox.received("1234567890", &USER).unwrap().len(), delivered);
    // Whatever it was, the client goes on, and the same key and bytes bring it to its end.
    let retry = api.multicast(key_of(&a_body()), a_body()).await;
    assert!(retry.accepted_request_id().is_some(), "{retry:?}");
    assert_eq!(served.sandbox.received("1234567890", &USER).unwrap().len(), 1);
}

#[rstest]
#[case(FaultKind::HangBefore, 0)]
#[case(FaultKind::HangAfter, 1)]
#[tokio::test]
async fn a_hanging_answer_ends_at_the_timeout(#[case] kind: FaultKind, #[case] delivered: usize) {
    let served = Served::start(|settings| settings.faults = vec![Fault::nth(kind, [1])]).await;
    // The token first, so that the short timeout is the multicast's alone.
    let api = served.client(Duration::from_secs(2));
    api.bot_info().await.unwrap();
    let attempt = api.multicast(key_of(&a_body()), a_body()).await;
    assert_eq!((attempt.answer, attempt.request_id), (Answer::Timeout, None));
    assert_eq!(served.sandbox.received("1234567890", &USER).unwrap().len(), delivered);
}

#[tokio::test]
async fn a_bad_recipient_is_named_and_a_poisoned_one_is_not() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    let (one, two) = (UserId([1; 16]), UserId([2; 16]));
    served.sandbox.refuse_users("1234567890", &[one], &[two]).unwrap();
    let send = async |users: &[UserId]| {
        let body = Bytes::from(multicast_body(users, MESSAGES, true, None));
        api.multicast(key_of(&body), body).await.answer
    };
    let text = "The property, to[1], in the request body is invalid (line: -, column: -)";
    assert_eq!(send(&[USER, one]).await, bad_request(text, Some(1)));
    assert_eq!(send(&[USER, two]).await, bad_request("Failed to send messages", None));
    let Answer::BadRequest { message, blame: Blame::Untold } = send(&[]).await else {
        panic!("no recipients")
    };
    assert_eq!(message, "The request body has 1 error(s)");
}

#[tokio::test]
async fn both_limits_are_told_apart_by_quota_and_consumption_not_by_words() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    assert_eq!(api.quota().await, Ok(Quota::Limited(1_000)));
    assert_eq!(api.consumption().await, Ok(10));
    served.sandbox.set_quota("1234567890", Some(10), None, served_now(&served)).unwrap();
    let attempt = api.multicast(key_of(&a_body()), a_body()).await;
    assert_eq!(attempt.answer, Answer::TooManyRequests { hint: LimitHint::Monthly });
    assert_eq!((api.quota().await, api.consumption().await), (Ok(Quota::Limited(10)), Ok(10)));
    served.sandbox.set_quota("1234567890", None, None, served_now(&served)).unwrap();
    assert_eq!(api.quota().await, Ok(Quota::Unlimited));
}

fn served_now(served: &Served) -> Instant {
    haishin::clock::Clock::now(served.clock.as_ref())
}

#[tokio::test]
async fn the_rate_limit_answers_429_until_time_passes() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    let send = async |n: u16| {
        let body = Bytes::from(multicast_body(&[UserId([0; 16]), USER], MESSAGES, n.is_multiple_of(2), None));
        api.multicast(key_of(&body), body).await.answer
    };
    for n in 0..200 {
        assert!(matches!(send(n).await, Answer::Accepted | Answer::AlreadyAccepted { .. }), "{n}");
    }
    assert_eq!(send(200).await, Answer::TooManyRequests { hint: LimitHint::Rate });
    served.clock.advance(Span::from_millis(5));
    assert!(matches!(send(201).await, Answer::AlreadyAccepted { .. }));
}

#[tokio::test]
async fn validation_says_what_is_wrong() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    assert_eq!(api.validate_multicast(MESSAGES).await, Ok(Validation::Valid));
    let problems = vec![("messages[0].text".into(), "May not be empty".into())];
    let message = "The request body has 1 error(s)".into();
    let invalid = api.validate_multicast(r#"[{"type":"text","text":""}]"#).await;
    assert_eq!(invalid, Ok(Validation::Invalid { message, problems }));
}

#[rstest]
#[case(FaultKind::Unauthorized, CallError::Unauthorized)]
#[case(FaultKind::Forbidden, CallError::Forbidden)]
#[case(FaultKind::RateLimited, CallError::RateLimited)]
#[case(FaultKind::ServerErrorBefore, CallError::Server(500))]
#[case(FaultKind::BadRequest, CallError::Refused { status: 400, message: "Failed to send messages".into() })]
#[case(FaultKind::LostBefore, CallError::ConnectionLost)]
#[tokio::test]
async fn a_question_without_an_answer_says_why(#[case] kind: FaultKind, #[case] expected: CallError) {
    // The bot info proves the token; a refusal of it is then asked once more, with a new one, and refused again.
    let faults = vec![Fault { endpoint: Endpoint::Quota, ..Fault::always(kind) }];
    let served = Served::start(|settings| settings.faults = faults).await;
    assert_eq!(served.client(PATIENT).quota().await, Err(expected));
}

#[rstest]
#[case(FaultKind::Malformed)]
#[case(FaultKind::Huge)]
#[tokio::test]
async fn an_unreadable_answer_is_no_panic_and_no_figure(#[case] kind: FaultKind) {
    let faults = [Endpoint::Quota, Endpoint::Consumption, Endpoint::BotInfo, Endpoint::Token]
        .map(|endpoint| Fault { endpoint, ..Fault::always(kind) });
    let served = Served::start(|settings| settings.faults = faults.to_vec()).await;
    let configured = Credentials::AccessToken(SecretString::from("long-lived"));
    let api = served.client_with(configured, PATIENT);
    assert!(matches!(api.quota().await, Err(CallError::Malformed(_))));
    assert!(matches!(api.consumption().await, Err(CallError::Malformed(_))));
    assert!(matches!(api.bot_info().await, Err(CallError::Malformed(_))));
    let issuing = served.client(PATIENT);
    assert!(matches!(issuing.quota().await, Err(CallError::Malformed(_))));
    assert_eq!(issuing.multicast(key_of(&a_body()), a_body()).await.answer, Answer::NeverSent);
}

fn tokens_issued(served: &Served) -> usize {
    served.sandbox.requests(0, 10_000).iter().filter(|r| r.endpoint == Some(Endpoint::Token)).count()
}

#[tokio::test]
async fn a_token_is_issued_once_for_all_who_wait_and_renewed_before_it_ends() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    let both = futures_util::future::join_all((0..20).map(|_| api.quota())).await;
    assert!(both.iter().all(Result::is_ok));
    assert_eq!(tokens_issued(&served), 1);
    served.clock.advance(Span::from_secs(838));
    api.quota().await.unwrap();
    assert_eq!(tokens_issued(&served), 1);
    served.clock.advance(Span::from_secs(1));
    api.quota().await.unwrap();
    assert_eq!(tokens_issued(&served), 2);
    assert!(served.sandbox.requests(0, 100).iter().all(|r| r.status == Some(200)));
}

/// The token is there before the request is let go, so that this then leaves at once.
#[tokio::test]
async fn what_was_prepared_needs_no_token_any_more() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    assert_eq!(api.prepare().await, Ok(()));
    assert_eq!(tokens_issued(&served), 1);
    assert_eq!(served.sandbox.totals().multicasts, 0);
    let down = Fault { endpoint: Endpoint::Token, ..Fault::always(FaultKind::ServerErrorBefore) };
    served.sandbox.set_faults(vec![down]);
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::Accepted);
    assert_eq!(served.client(PATIENT).prepare().await, Err(Answer::NeverSent));
    let wrong = Credentials::AccessToken(SecretString::from("wrong"));
    assert_eq!(
        served.client_with(wrong, PATIENT).prepare().await,
        Ok(()),
        "only LINE can tell that it is wrong"
    );
}

/// LINE's token endpoint may be down for the last minute of a token's life: sending goes on with what holds.
/// While a token is issued the quiet hours may begin or the lease end: the request is not sent before that was asked
/// again.
#[tokio::test]
async fn a_request_that_waited_long_for_its_token_does_not_leave() {
    let slow = Fault { endpoint: Endpoint::Token, ..Fault::nth(FaultKind::Slow { ms: 300 }, [1]) };
    let served = Served::start(|settings| settings.faults = vec![slow]).await;
    let api = Arc::new(served.client(PATIENT));
    let waiting = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.multicast(key_of(&a_body()), a_body()).await }
    });
    while tokens_issued(&served) == 0 {
        tokio::task::yield_now().await;
    }
    served.clock.advance(Span::from_millis(1_001));
    assert_eq!(waiting.await.unwrap().answer, Answer::NeverSent);
    assert_eq!(served.sandbox.totals().multicasts, 0);
    assert_eq!(
        api.multicast(key_of(&a_body()), a_body()).await.answer,
        Answer::Accepted,
        "the token is there now"
    );
}

#[tokio::test]
async fn a_failed_renewal_keeps_the_token_that_still_holds() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    api.quota().await.unwrap();
    let down = Fault { endpoint: Endpoint::Token, ..Fault::always(FaultKind::ServerErrorBefore) };
    served.sandbox.set_faults(vec![down]);
    served.clock.advance(Span::from_millis(898_999));
    for _ in 0..10 {
        assert_eq!(api.quota().await, Ok(Quota::Limited(1_000)));
    }
    assert_eq!(tokens_issued(&served), 2, "the renewal is not tried at every request");
    served.clock.advance(Span::from_millis(1));
    assert_eq!(api.quota().await, Err(CallError::Server(500)));
    served.sandbox.set_faults(Vec::new());
    assert_eq!(api.quota().await, Ok(Quota::Limited(1_000)));
}

#[tokio::test]
async fn a_token_that_worked_and_no_longer_does_is_replaced_not_blamed() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    api.quota().await.unwrap();
    // LINE's clock runs ahead of ours: it says the token has ended.
    let once = |endpoint| Fault { endpoint, times: Some(1), ..Fault::always(FaultKind::Unauthorized) };
    served.sandbox.set_faults(vec![once(Endpoint::Multicast), once(Endpoint::Consumption)]);
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::StaleToken);
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::Accepted);
    assert_eq!(tokens_issued(&served), 2);
    assert_eq!(api.consumption().await, Ok(11), "a question is simply asked again");
    assert_eq!(tokens_issued(&served), 3);
}

#[tokio::test]
async fn wrong_credentials_are_unauthorized() {
    let served = Served::start(|_| {}).await;
    let wrong = SecretString::from("wrong");
    for credentials in [
        Credentials::Channel { id: "1234567890".into(), secret: wrong.clone() },
        Credentials::AccessToken(wrong),
    ] {
        let api = served.client_with(credentials, PATIENT);
        assert_eq!(api.quota().await, Err(CallError::Unauthorized));
        assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::Unauthorized);
    }
    let secret = SecretString::from("wrong");
    let api = served.client_with(Credentials::Channel { id: "1234567890".into(), secret }, PATIENT);
    assert_eq!(api.prepare().await, Err(Answer::Unauthorized));
    assert_eq!(served.sandbox.totals().messages, 0);
}

/// Those who wait for a token share the failure instead of each failing in turn.
#[tokio::test]
async fn a_failed_issue_is_shared_by_all_who_wait() {
    let refuse = Fault { endpoint: Endpoint::Token, ..Fault::always(FaultKind::ServerErrorBefore) };
    let served = Served::start(|settings| settings.faults = vec![refuse]).await;
    let api = served.client(PATIENT);
    let all =
        futures_util::future::join_all((0..20).map(|_| api.multicast(key_of(&a_body()), a_body()))).await;
    assert!(all.iter().all(|attempt| attempt.answer == Answer::NeverSent), "no token, no request");
    assert_eq!(tokens_issued(&served), 1);
    served.sandbox.set_faults(Vec::new());
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::Accepted);
}

#[tokio::test]
async fn without_a_listener_nothing_was_sent() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let token = Credentials::AccessToken(SecretString::from("t"));
    let clock = Arc::new(ManualClock::new(Instant::from_millis(0)));
    let api = HttpApi::new(HttpSettings::new(format!("http://127.0.0.1:{port}"), token), clock).unwrap();
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::NeverSent);
    assert_eq!(api.quota().await, Err(CallError::Unreachable));
}

/// A handshake that fails has shown nothing of the request to anybody.
#[tokio::test]
async fn a_failed_handshake_sent_nothing() {
    let served = Served::start(|_| {}).await;
    let token = Credentials::AccessToken(SecretString::from("long-lived"));
    let settings = HttpSettings::new(served.base.replace("http://", "https://"), token);
    let api = HttpApi::new(settings, served.clock.clone()).unwrap();
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, Answer::NeverSent);
    assert_eq!(served.sandbox.totals().requests, 0);
}

/// Answers no sandbox gives: raw bytes instead of HTTP, a redirect, an answer that stops in the middle.
#[rstest]
#[case(b"SSH-2.0-OpenSSH\r\n\r\n", Answer::ConnectionLost)]
#[case(
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    Answer::Unexpected(302)
)]
#[case(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Answer::Accepted)]
#[case(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Answer::ServerError(500))]
#[case(b"", Answer::ConnectionLost)]
#[tokio::test]
async fn strange_answers_are_taken_for_what_they_are(#[case] bytes: &'static [u8], #[case] expected: Answer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 16 * 1024];
        let mut read = 0;
        // The whole small request, so that closing the connection does not reset it.
        while !request[..read].ends_with(b"]}") {
            read += stream.read(&mut request[read..]).await.unwrap();
        }
        stream.write_all(bytes).await.unwrap();
    });
    let token = Credentials::AccessToken(SecretString::from("t"));
    let clock = Arc::new(ManualClock::new(Instant::from_millis(0)));
    let api = HttpApi::new(HttpSettings::new(base, token), clock).unwrap();
    assert_eq!(api.multicast(key_of(&a_body()), a_body()).await.answer, expected);
}

#[tokio::test]
async fn a_body_over_two_megabytes_is_too_large() {
    let served = Served::start(|_| {}).await;
    let api = served.client(PATIENT);
    let body = Bytes::from(vec![b'x'; (2 << 20) + 1]);
    assert_eq!(api.multicast(key_of(&body), body).await.answer, Answer::PayloadTooLarge);
}

/// The host a browser was tricked into must not reach the sandbox.
#[tokio::test]
async fn a_foreign_host_is_not_let_in() {
    let served = Served::start(|_| {}).await;
    let mut stream = TcpStream::connect(served.base.trim_start_matches("http://")).await.unwrap();
    stream
        .write_all(b"GET /sandbox/state HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

/// (fault, what the client makes of it, whether the menu was linked)
#[rstest]
#[case(None, Ok(()), true)]
#[case(Some(FaultKind::LostBefore), Err(CallError::ConnectionLost), false)]
#[case(Some(FaultKind::LostAfter), Err(CallError::ConnectionLost), true)]
#[case(Some(FaultKind::ServerErrorBefore), Err(CallError::Server(500)), false)]
#[case(Some(FaultKind::ServerErrorAfter), Err(CallError::Server(500)), true)]
#[case(Some(FaultKind::RateLimited), Err(CallError::RateLimited), false)]
#[case(Some(FaultKind::Forbidden), Err(CallError::Forbidden), false)]
#[case(
    Some(FaultKind::BadRequest),
    Err(CallError::Refused { status: 400, message: "Failed to send messages".into() }),
    false
)]
#[case(Some(FaultKind::Huge), Ok(()), true)]
#[tokio::test]
async fn a_rich_menu_is_linked_over_http(
    #[case] kind: Option<FaultKind>,
    #[case] expected: Result<(), CallError>,
    #[case] linked: bool,
) {
    let faults =
        |endpoint| kind.map(|kind| Fault { endpoint, ..Fault::nth(kind, [1]) }).into_iter().collect();
    let served = Served::start(|settings| settings.faults = faults(Endpoint::LinkRichMenu)).await;
    let api = served.client(PATIENT);
    let menu = RichMenuId::parse("richmenu-8a1b").unwrap();
    let menus = || served.sandbox.rich_menus("1234567890").unwrap();
    let users: Vec<UserId> = (0..500_u128).map(|n| UserId((n + (9 << 64)).to_be_bytes())).collect();
    assert_eq!(api.link_rich_menu(Some(&menu), &users).await, expected);
    assert_eq!(menus().len(), if linked { 500 } else { 0 });
    assert_eq!(api.link_rich_menu(Some(&menu), &users).await, Ok(()), "and once more");
    assert_eq!(
        menus().into_values().collect::<std::collections::BTreeSet<_>>(),
        ["richmenu-8a1b".into()].into()
    );
    assert_eq!(api.link_rich_menu(None, &users[1..]).await, Ok(()));
    assert_eq!(menus().into_keys().collect::<Vec<_>>(), [users[0]]);
    let too_many: Vec<UserId> = users.iter().copied().chain([USER]).collect();
    let refused = api.link_rich_menu(Some(&menu), &too_many).await;
    assert!(matches!(refused, Err(CallError::Refused { status: 400, .. })), "{refused:?}");
}

#[tokio::test]
async fn in_process_is_the_same_api() {
    let served =
        Served::start(|settings| settings.faults = vec![Fault::nth(FaultKind::LostAfter, [1])]).await;
    let clock = served.clock.clone();
    let api = InProcess::new(served.sandbox.clone(), clock, "long-lived", Span::from_secs(10));
    let key = key_of(&a_body());
    assert_eq!(api.multicast(key, a_body()).await.answer, Answer::ConnectionLost);
    assert!(matches!(api.multicast(key, a_body()).await.answer, Answer::AlreadyAccepted { .. }));
    assert_eq!((api.quota().await, api.consumption().await), (Ok(Quota::Limited(1_000)), Ok(11)));
    assert_eq!(api.bot_info().await.unwrap().display_name, "こはる珈琲");
    assert_eq!(api.validate_multicast(MESSAGES).await, Ok(Validation::Valid));
    assert_eq!(api.bot_info().await, served.client(PATIENT).bot_info().await);
    let menu = RichMenuId::parse("richmenu-8a1b").unwrap();
    assert_eq!(api.link_rich_menu(Some(&menu), &[USER]).await, Ok(()));
    assert_eq!(served.sandbox.rich_menus("1234567890").unwrap(), [(USER, "richmenu-8a1b".into())].into());
    assert_eq!(api.link_rich_menu(None, &[USER]).await, Ok(()));
    assert!(served.sandbox.rich_menus("1234567890").unwrap().is_empty());
    assert!(matches!(api.link_rich_menu(None, &[]).await, Err(CallError::Refused { status: 400, .. })));
}
