//! Our requests and the sandbox's answers against LINE's own OpenAPI documents, checked by a tool that is not ours:
//! Prism stands between the two as a proxy and turns every violation into an error.
//!
//! Runs when the folder `shared/line-openapi` stands beside the project; `tests/install-prism` installs Prism.
//! Statuses LINE answers with but leaves out of its documents (401, 413, 415, 5xx) cannot be checked this way.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use haishin::domain::drip::RichMenuId;
use haishin::domain::id::UserId;
use haishin::line::{
    Answer, Api, Blame, CallError, Credentials, HttpApi, HttpSettings, LimitHint, Quota, Validation,
    multicast_body,
};
use haishin::sandbox::{Endpoint, Fault, FaultKind};
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::line_http::{Served, a_body, key_of};

/// LINE's documents, or `None` (and a word about it) where they are not.
fn documents() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/line-openapi");
    if folder.is_dir() {
        return Some(folder);
    }
    println!(
        "left out: the check against LINE's OpenAPI documents, since there is no ../shared/line-openapi"
    );
    None
}

/// Prism between the client and a sandbox, checking both against one document.
struct Prism {
    base: String,
    _process: Child,
}

impl Prism {
    async fn start(document: &Path, upstream: &str) -> Self {
        let prism = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/prism/node_modules/.bin/prism");
        assert!(prism.exists(), "{} is missing; run tests/install-prism first", prism.display());
        // Given back at once, taken by Prism in a moment: it cannot choose a free port itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(prism)
            .args(["proxy", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(document)
            .arg(upstream)
            .env("NODE_ENV", "development")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().expect("Prism ended before it listened");
            if line.contains("Prism is listening on") {
                break;
            }
        }
        // Read on, or Prism would stop at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { base: format!("http://127.0.0.1:{port}"), _process: process }
    }

    fn client(&self, credentials: Credentials, served: &Served) -> HttpApi {
        let timeout = Duration::from_secs(60);
        let settings = HttpSettings { timeout, ..HttpSettings::new(self.base.clone(), credentials) };
        HttpApi::new(settings, Arc::clone(&served.clock) as Arc<_>).unwrap()
    }
}

fn long_lived() -> Credentials {
    Credentials::AccessToken(SecretString::from("long-lived"))
}

#[tokio::test]
async fn our_requests_and_the_sandbox_s_answers_are_as_line_documents_them() {
    let Some(documents) = documents() else { return };
    let served = Served::start(|_| {}).await;
    let prism = Prism::start(&documents.join("messaging-api.yml"), &served.base).await;
    let api = prism.client(long_lived(), &served);

    let first = api.multicast(key_of(&a_body()), a_body()).await;
    assert_eq!(first.answer, Answer::Accepted);
    let accepted_request_id = first.request_id.unwrap();
    let again = api.multicast(key_of(&a_body()), a_body()).await;
    assert_eq!(again.answer, Answer::AlreadyAccepted { accepted_request_id });

    let (bad, poisoned) = (UserId([1; 16]), UserId([2; 16]));
    served.sandbox.refuse_users("1234567890", &[bad], &[poisoned]).unwrap();
    let messages = r#"[{"type":"coupon","couponId":"01JY"},{"type":"text","text":"冬の新作 🎁"}]"#;
    let send = async |users: &[UserId]| {
        let body = Bytes::from(multicast_body(users, messages, false, Some("winter_coupon")));
        api.multicast(key_of(&body), body).await.answer
    };
    assert!(matches!(send(&[poisoned, bad]).await, Answer::BadRequest { blame: Blame::Untold, .. }));
    assert!(matches!(send(&[bad]).await, Answer::BadRequest { blame: Blame::Recipient(0), .. }));
    let full: Vec<UserId> = (0..500_u128).map(|n| UserId((n + (9 << 64)).to_be_bytes())).collect();
    assert_eq!(send(&full).await, Answer::Accepted);

    for (kind, answer) in [
        (FaultKind::Forbidden, Answer::Forbidden),
        (FaultKind::RateLimited, Answer::TooManyRequests { hint: LimitHint::Rate }),
        (FaultKind::MonthlyLimit, Answer::TooManyRequests { hint: LimitHint::Monthly }),
        (FaultKind::ConflictWithoutId, Answer::RetryKeyConflictWithoutId),
    ] {
        served.sandbox.set_faults(vec![Fault { times: Some(1), ..Fault::always(kind) }]);
        assert_eq!(send(&[UserId([3; 16])]).await, answer);
    }

    assert_eq!(api.validate_multicast(messages).await, Ok(Validation::Valid));
    assert_eq!(api.quota().await, Ok(Quota::Limited(1_000)));
    assert_eq!(api.consumption().await, Ok(511));
    assert_eq!(api.bot_info().await.unwrap().basic_id, "@1234567890");
    let menu = RichMenuId::parse("richmenu-0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(api.link_rich_menu(Some(&menu), &full).await, Ok(()));
    assert_eq!(api.link_rich_menu(None, &full).await, Ok(()));
    let now = haishin::clock::Clock::now(served.clock.as_ref());
    served.sandbox.set_quota("1234567890", None, None, now).unwrap();
    assert_eq!(api.quota().await, Ok(Quota::Unlimited));

    // And Prism does look, at requests and at answers: what violates the document does not pass it.
    assert_eq!(send(&[]).await, Answer::OtherRefusal(422));
    let broken = Fault { endpoint: Endpoint::Consumption, ..Fault::always(FaultKind::Malformed) };
    served.sandbox.set_faults(vec![broken]);
    assert!(matches!(api.consumption().await, Err(CallError::Server(_))));
}

#[tokio::test]
async fn tokens_are_issued_as_line_documents_them() {
    let Some(documents) = documents() else { return };
    let served = Served::start(|_| {}).await;
    let prism = Prism::start(&documents.join("channel-access-token.yml"), &served.base).await;
    let credentials =
        |secret: &str| Credentials::Channel { id: "1234567890".into(), secret: SecretString::from(secret) };
    // The document has no other endpoints, so the question the token is for ends at Prism.
    let asked = prism.client(credentials("s3cret"), &served).quota().await;
    assert!(matches!(asked, Err(CallError::Refused { status: 404, .. })), "{asked:?}");
    let requests = served.sandbox.requests(0, 10);
    let seen: Vec<_> = requests.iter().map(|request| (request.endpoint, request.status)).collect();
    assert_eq!(seen, [(Some(Endpoint::Token), Some(200))]);
}
