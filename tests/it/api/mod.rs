//! The HTTP API: in this process, over the router the daemon serves, and as its users meet it.

mod access;
mod bounds;
mod contract;
mod friends;
mod keys;
mod served;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use haishin::clock::{Clock, ManualClock};
use haishin::config::{Configuration, SecretString};
use haishin::control::node::{Node, Starter};
use haishin::control::plan;
use haishin::domain::access::{Scope, Secret};
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::id::{AccountId, AccountSlug, Seq};
use haishin::domain::time::Instant;
use haishin::engine::{Active, Deps, Engine, Handle, Mode};
use haishin::http::api;
use haishin::lang::Lang;
use haishin::line::Api;
use haishin::line::relay::HttpRelay;
use haishin::protocol::{Answer, Command, Failure, Reply};
use haishin::sandbox::{ChannelSettings, InProcess, Sandbox, Settings};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::support::faulty::Faulty;
use crate::support::store::{Database, TestStore};
use crate::support::systems::FakeSystems;

const NOW: &str = "2026-12-04T18:00:00+09:00";
const CHANNELS: [(&str, &str); 2] = [("shop", "2000000001"), ("other", "2000000002")];
const ALL: [Scope; 4] = Scope::ALL;

fn files() -> BTreeMap<String, String> {
    let account = |(slug, channel): (&str, &str)| {
        format!(
            "[accounts.{slug}]\nchannel_id = \"{channel}\"\nchannel_secret = {{ env = \"NONE\" }}\n\
             api_base = \"http://127.0.0.1:1\"\n"
        )
    };
    let attributes = "prefecture = \"text\"\nbirthday = \"date\"\npoints = \"integer\"\nweight = \"number\"\n\
                      newsletter = \"boolean\"\nbooking_at = \"instant\"\n";
    [
        ("haishin.toml".to_owned(), CHANNELS.map(account).concat()),
        ("attributes.toml".to_owned(), attributes.to_owned()),
    ]
    .into()
}

/// Engines as the daemon starts them, but for LINE and the random source.
struct TestStarter {
    deps: Deps,
    sandbox: Arc<Sandbox>,
    clock: Arc<ManualClock>,
    drawn: AtomicI64,
}

#[async_trait]
impl Starter for TestStarter {
    fn admit(&self, _: &Configuration, _: Lang) -> anyhow::Result<()> {
        Ok(())
    }
    async fn start(&self, account: &AccountSlug, active: &Active) -> anyhow::Result<Handle> {
        let line = self.line(account, active)?;
        let rng = StdRng::seed_from_u64(1);
        let claimed = Engine::claim(self.deps.clone(), account.clone(), line, active.clone(), rng).await?;
        let handle = claimed.handle.clone();
        tokio::spawn(claimed.serve(CancellationToken::new(), || ()));
        Ok(handle)
    }
    fn line(&self, account: &AccountSlug, _: &Active) -> anyhow::Result<Arc<dyn Api>> {
        let timeout = haishin::domain::time::Span::from_secs(10);
        Ok(Arc::new(InProcess::new(self.sandbox.clone(), self.clock.clone(), account.as_str(), timeout)))
    }
    fn webhook_secrets(&self, _: &AccountSlug, _: &Active) -> anyhow::Result<Vec<SecretString>> {
        Ok(Vec::new())
    }
    fn know_systems(&self, _: &Active) -> Vec<anyhow::Error> {
        Vec::new()
    }
    fn draw_secret(&self) -> anyhow::Result<Secret> {
        let n = self.drawn.fetch_add(1, Ordering::SeqCst);
        Ok(Secret([u8::try_from(n)?; 32]))
    }
    fn told(&self, error: &anyhow::Error, _: Lang) -> String {
        error.to_string()
    }
}

/// A node, its API, and the truth behind it.
struct Stand {
    node: Arc<Node>,
    clock: Arc<ManualClock>,
    /// As the node meets it.
    store: Arc<Faulty>,
    test: TestStore,
    router: Router,
    /// Good for everything of the account `shop`.
    token: String,
    _state: tempfile::TempDir,
}

impl Stand {
    /// With both accounts' engines running.
    async fn new(database: Database) -> Self {
        let stand = Self::idle(database).await;
        assert!(stand.node.start_accounts().await.is_empty());
        stand
    }

    /// Nobody applies anything.
    async fn idle(database: Database) -> Self {
        let (test, state) = (TestStore::new(database).await, tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::new(Instant::try_from(NOW.to_owned()).unwrap()));
        let store = Arc::new(Faulty::over(test.store.clone()));
        for (slug, channel) in CHANNELS {
            test.store.ensure_account(&slug.parse().unwrap(), channel, clock.now()).await.unwrap();
        }
        let checked = plan::check(files(), clock.now());
        let active = plan::activate(test.store.as_ref(), checked, None, "test", clock.now(), Lang::En).await;
        let channels = CHANNELS.map(|(slug, channel)| ChannelSettings::new(channel, "secret", slug)).to_vec();
        let deps = Deps {
            store: test.store.clone(),
            clock: clock.clone(),
            relay: Arc::new(HttpRelay::new().unwrap()),
            systems: Arc::new(FakeSystems::new(clock.clone())),
            turnstile: Arc::default(),
            state_dir: state.path().to_owned(),
            holder: "stand".into(),
            mode: Mode::Command,
        };
        let starter = TestStarter {
            deps,
            sandbox: Arc::new(Sandbox::new(Settings::new(channels)).unwrap()),
            clock: clock.clone(),
            drawn: AtomicI64::new(1),
        };
        let node = Node::new(store.clone(), clock.clone(), Box::new(starter), active.unwrap());
        let node = Arc::new(node);
        let router = api::router(node.clone());
        let mut stand = Self { node, clock, store, test, router, token: String::new(), _state: state };
        // Without engines no account runs that a command could name: the store is told directly.
        stand.token = stand.make_token(Some("shop"), &ALL).await;
        stand
    }

    async fn make_token(&self, account: Option<&str>, scopes: &[Scope]) -> String {
        let account = match account {
            Some(slug) => Some(self.row(slug).await),
            None => None,
        };
        let secret = Secret([200; 32]);
        let new = haishin::store::NewToken {
            account,
            name: "test".into(),
            scopes: scopes.iter().copied().collect(),
            digest: secret.digest(),
            created_at: self.clock.now(),
            created_by: "test".into(),
        };
        let id = self.test.store.create_token(&new).await.unwrap();
        haishin::domain::access::Token { id, secret }.text()
    }

    async fn row(&self, slug: &str) -> AccountId {
        let rows = self.test.store.accounts().await.unwrap();
        rows.iter().find(|row| row.slug.as_str() == slug).unwrap().id
    }

    async fn call(&self, request: Request<Body>) -> Said {
        // A router is always ready.
        let response = self.router.clone().call(request).await.unwrap();
        Said::read(response).await
    }

    /// A request with the good token.
    fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.token))
    }

    async fn post(&self, path: &str, body: &Value) -> Said {
        self.post_text(path, &[], body.to_string()).await
    }

    async fn post_text(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Said {
        let mut request = self.request("POST", path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.call(request.body(body.into()).unwrap()).await
    }

    async fn friends(&self, body: Value) -> Said {
        self.post("/v1/accounts/shop/friends", &body).await
    }

    async fn events(&self, body: Value) -> Said {
        self.post("/v1/accounts/shop/events", &body).await
    }

    async fn get(&self, friend: &str) -> Said {
        let path = format!("/v1/accounts/shop/friends/{friend}");
        self.call(self.request("GET", &path).body(Body::empty()).unwrap()).await
    }

    async fn delete(&self, friend: &str) -> Said {
        let path = format!("/v1/accounts/shop/friends/{friend}");
        self.call(self.request("DELETE", &path).body(Body::empty()).unwrap()).await
    }

    /// The whole journal, once everything acknowledged is in it.
    async fn journal(&self) -> Vec<Entry> {
        // A question is answered after what came before it.
        let _ = self.get("nobody").await;
        self.test.store.entries(self.row("shop").await, Seq(0), 100_000).await.unwrap()
    }

    /// The events in it.
    async fn happened(&self) -> Vec<Entry> {
        let journal = self.journal().await.into_iter();
        journal.filter(|entry| matches!(entry.effect, Effect::Event { .. })).collect()
    }

    async fn command(&self, account: Option<&str>, command: Command) -> Result<Answer, Failure> {
        let account = account.map(|slug| slug.parse().unwrap());
        let request = haishin::protocol::Request { lang: Lang::En, by: "hana".into(), account, command };
        let (replies, mut incoming) = mpsc::channel(8);
        let (_, uploads) = mpsc::channel(1);
        self.node.answer(request, uploads, replies).await;
        match incoming.recv().await.unwrap() {
            Reply::Done(answer) => Ok(answer),
            Reply::Error(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Said {
    async fn read(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem, which says of itself what it is.
    fn problem(&self) -> (u16, &str) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status);
        let code = self.body["code"].as_str().unwrap();
        assert_eq!(self.body["type"], format!("urn:haishin:problem:{code}"));
        (self.status, code)
    }

    /// The codes of a batch's results; empty where an item was taken.
    fn codes(&self) -> Vec<&str> {
        let results = self.body["results"].as_array().unwrap();
        let code = |(n, result): (usize, &'_ Value)| {
            assert_eq!(result["index"], n);
            assert_eq!(result["ok"], result["problem"].is_null());
        };
        results.iter().enumerate().for_each(code);
        results.iter().map(|result| result["problem"]["code"].as_str().unwrap_or_default()).collect()
    }
}

fn user(n: u32) -> String {
    format!("U{n:032x}")
}

/// Everything was taken.
fn all_taken(items: usize) -> Value {
    let results: Vec<Value> = (0..items).map(|index| json!({ "index": index, "ok": true })).collect();
    json!({ "accepted": items, "rejected": 0, "results": results })
}
