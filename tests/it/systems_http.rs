//! The shop's own systems over real HTTP: what they are sent, and what becomes of each answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use axum::routing::any;
use axum::{Router, serve};
use bytes::Bytes;
use haishin::domain::id::WebhookName;
use haishin::domain::outbox::Failure;
use haishin::domain::reason::Said;
use haishin::systems::{Address, HttpSystems, Systems};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rstest::rstest;
use secrecy::SecretString;
use sha2::Sha256;
use tokio::net::TcpListener;

const BODY: &[u8] = "{\"id\":\"1\",\"step\":\"クーポン\"}".as_bytes();
const PATIENT: Duration = Duration::from_secs(60);

/// What came: path, headers, body.
type Came = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;
type Answers = fn() -> Response<Body>;

/// A shop's system, and what it was sent.
async fn system(answer: Answers) -> (String, Came) {
    let came = Came::default();
    let take =
        async move |State(came): State<Came>, uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
            came.lock().unwrap().push((uri.to_string(), headers, body));
            answer()
        };
    let router = Router::new().fallback(any(take)).with_state(came.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?shop=1", listener.local_addr().unwrap());
    tokio::spawn(async move { serve(listener, router).await });
    (url, came)
}

fn crm() -> WebhookName {
    "crm".parse().unwrap()
}

fn known(url: &str, secret: Option<&str>) -> BTreeMap<WebhookName, Address> {
    BTreeMap::from([(crm(), Address { url: url.to_owned(), secret: secret.map(SecretString::from) })])
}

async fn tell(url: &str, timeout: Duration) -> Result<(), Failure> {
    let systems = HttpSystems::new(timeout).unwrap();
    systems.know(known(url, Some("s3cret")));
    systems.tell(&crm(), "id", Bytes::from_static(BODY)).await
}

fn signed(secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(BODY);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_request_is_signed_with_the_secret_of_now() {
    let (url, came) = system(Response::default).await;
    let systems = HttpSystems::new(PATIENT).unwrap();
    let told = async || systems.tell(&crm(), "an-id", Bytes::from_static(BODY)).await;
    assert_eq!(told().await, Err(Failure::NotConfigured));
    systems.know(known(&url, None));
    assert_eq!(told().await, Err(Failure::NoSecret));
    assert!(came.lock().unwrap().is_empty());
    systems.know(known(&url, Some("old")));
    assert_eq!(told().await, Ok(()));
    // A secret that cannot be read any more does not take away the one that could.
    systems.know(known(&url, None));
    assert_eq!(told().await, Ok(()));
    systems.know(known(&url, Some("new")));
    assert_eq!(told().await, Ok(()));
    systems.know(BTreeMap::new());
    assert_eq!(told().await, Err(Failure::NotConfigured));

    let came = came.lock().unwrap();
    let signatures: Vec<&str> =
        came.iter().map(|(_, headers, _)| headers["x-haishin-signature"].to_str().unwrap()).collect();
    assert_eq!(signatures, [signed("old"), signed("old"), signed("new")]);
    for (path, headers, body) in came.iter() {
        assert_eq!((path.as_str(), body.as_ref()), ("/hook?shop=1", BODY));
        assert_eq!(headers["x-haishin-id"], "an-id");
        assert_eq!(headers["content-type"], "application/json");
        let words = format!("{headers:?}");
        assert!(!words.contains("old") && !words.contains("new"), "{words}");
    }
}

fn answer(status: u16) -> Response<Body> {
    let body = "an error with a friend's name in it";
    Response::builder().status(status).header("location", "/elsewhere").body(body.into()).unwrap()
}

#[rstest]
#[case(|| answer(200), None)]
#[case(|| answer(204), None)]
#[case(|| answer(302), Some(302))]
#[case(|| answer(404), Some(404))]
#[case(|| answer(429), Some(429))]
#[case(|| answer(503), Some(503))]
#[tokio::test]
async fn the_status_decides_and_nothing_is_followed(#[case] answers: Answers, #[case] status: Option<u16>) {
    let (url, came) = system(answers).await;
    let expected = status.map(|status| Failure::Answered(Said { status, message: String::new() }));
    assert_eq!(tell(&url, PATIENT).await.err(), expected);
    assert_eq!(came.lock().unwrap().len(), 1);
}

/// An answer that never ends is not read to its end.
#[tokio::test]
async fn an_endless_answer_is_cut() {
    let endless = || {
        let chunk = || Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 4_096]));
        Response::new(Body::from_stream(futures_util::stream::repeat_with(chunk)))
    };
    let (url, _came) = system(endless).await;
    assert_eq!(tell(&url, PATIENT).await, Ok(()));
}

#[tokio::test]
async fn a_request_without_an_answer_says_how_it_went() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // Nobody accepts it, so nobody answers.
    assert_eq!(tell(&url, Duration::from_millis(300)).await, Err(Failure::Timeout));
    let closing = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
        }
    });
    assert_eq!(tell(&url, PATIENT).await, Err(Failure::ConnectionLost));
    closing.abort();
    let _ = closing.await;
    assert_eq!(tell(&url, PATIENT).await, Err(Failure::Unreachable));
    // No TLS on the other side: the request was shown to nobody.
    let (plain, came) = system(Response::default).await;
    assert_eq!(tell(&plain.replace("http://", "https://"), PATIENT).await, Err(Failure::Unreachable));
    assert!(came.lock().unwrap().is_empty());
}
