//! A friend's phone as a browser gets it.

use std::sync::Arc;

use axum::http::HeaderMap;
use haishin::clock::ManualClock;
use haishin::domain::friend::Status;
use haishin::domain::id::UserId;
use haishin::domain::time::Instant;
use haishin::line::multicast_body;
use haishin::sandbox::{Body, ChannelSettings, Coupon, Request, Sandbox, SandboxFriend, Settings, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const USER: UserId = UserId([0xa7; 16]);

fn sandbox() -> Arc<Sandbox> {
    let friend = |user, name: &str, status| SandboxFriend { user, name: Some(name.into()), status };
    let channel = ChannelSettings {
        access_token: Some("t".into()),
        friends: vec![
            friend(UserId([1; 16]), "中村 蓮", Status::Following),
            friend(USER, "山田 <さくら>", Status::Following),
            friend(UserId([2; 16]), "佐藤 陽菜", Status::Blocked),
        ],
        coupons: vec![Coupon {
            id: "01JY".into(),
            title: "冬のあったかクーポン".into(),
            benefit: "10%OFF".into(),
            until: "2026/12/31".into(),
        }],
        ..ChannelSettings::new("1234567890", "s", "こはる珈琲")
    };
    Arc::new(Sandbox::new(Settings::new(vec![channel])).unwrap())
}

fn send(sandbox: &Sandbox, at: &str, notify: bool, messages: &Value) {
    let headers: HeaderMap = [("authorization", "Bearer t"), ("content-type", "application/json")]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let body = multicast_body(&[USER], &messages.to_string(), notify, None);
    let path = "/v2/bot/message/multicast";
    let request = Request { method: "POST", path, headers: &headers, body: Body::Whole(&body) };
    let plan = sandbox.handle(&request, Instant::try_from(at.to_owned()).unwrap());
    assert!(format!("{plan:?}").contains("status: 200"), "{plan:?}");
}

fn fill(sandbox: &Sandbox) {
    let text = "冬の新作が届きました☕️\nシナモン香る「雪あかりラテ」をぜひ店頭で。\nhttps://shop.example/winter?a=1&b=2";
    send(
        sandbox,
        "2026-12-04T18:00:00+09:00",
        true,
        &json!([{"type": "text", "text": text}, {"type": "coupon", "couponId": "01JY"}]),
    );
    send(
        sandbox,
        "2026-12-08T11:05:00+09:00",
        false,
        &json!([
            {"type": "image", "originalContentUrl": "https://img.example/menu/winter-2026.jpg?v=2",
             "previewImageUrl": "https://img.example/p.jpg"},
            {"type": "flex", "altText": "今月の焼き菓子", "contents": {"type": "bubble"}},
            {"type": "text", "text": "<script>alert('x')</script> & \u{202e}逆さ"},
            {"type": "coupon", "couponId": "01<b>"},
            {"type": "sticker", "packageId": "446", "stickerId": "1988"},
        ]),
    );
}

struct Page {
    base: String,
    _end: DropGuard,
}

impl Page {
    async fn start(sandbox: Arc<Sandbox>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let clock = Arc::new(ManualClock::new(Instant::from_millis(1_796_800_000_000)));
        let stop = CancellationToken::new();
        tokio::spawn(serve(sandbox, listener, clock, stop.clone()));
        Self { base, _end: stop.drop_guard() }
    }

    async fn get(&self, path: &str) -> (u16, String, reqwest::header::HeaderMap) {
        // The client needs a TLS library even for plain http; the line client installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(format!("{}{path}", self.base)).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, response.text().await.unwrap(), headers)
    }
}

/// The page without its style sheet, a tag a line.
fn shape(html: &str) -> String {
    let (head, rest) = html.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    format!("{head}<style>…</style>{body}").replace("><", ">\n<")
}

#[tokio::test]
async fn the_phone_shows_what_arrived() {
    let sandbox = sandbox();
    fill(&sandbox);
    let page = Page::start(sandbox).await;
    let (status, html, headers) = page.get(&format!("/phone/{USER}")).await;
    assert_eq!(status, 200);
    insta::assert_snapshot!(shape(&html));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for absent in ["<script", "unsafe", "src=", "<link", "onerror"] {
        assert!(!html.contains(absent) && !policy.contains(absent), "{absent}");
    }
}

#[tokio::test]
async fn the_list_finds_friends_and_speaks_english() {
    let sandbox = sandbox();
    fill(&sandbox);
    let page = Page::start(sandbox).await;
    let (_, html, _) = page.get("/phone?lang=en").await;
    insta::assert_snapshot!(shape(&html));
    let (_, html, _) = page.get("/phone?q=%E4%BD%90%E8%97%A4").await;
    assert!(html.contains("佐藤 陽菜") && !html.contains("中村 蓮"));
    let (_, html, _) = page.get("/phone?q=%22%3E%3Cb%3E").await;
    assert!(html.contains("value=\"&quot;&gt;&lt;b&gt;\"") && html.contains("該当する友だちはいません"));
}

#[tokio::test]
async fn nobody_is_not_found() {
    let page = Page::start(sandbox()).await;
    for path in ["/phone/U00000000000000000000000000000000", "/phone/x", "/phone/a/b", "/phone/%00"] {
        assert_eq!(page.get(path).await.0, 404, "{path}");
    }
    let path = format!("/phone/{USER}?channel=9");
    assert_eq!(page.get(&path).await.0, 404);
    let (status, html, _) = page.get(&format!("/phone/{USER}")).await;
    assert!(status == 200 && html.contains("まだメッセージは届いていません"));
}
