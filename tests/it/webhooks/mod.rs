//! LINE's webhooks from the request to the friend: a node with its engine behind a real HTTP server.

mod answers;
mod applied;
mod forged;
mod rehearsed;
mod relay;
mod sdk;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use haishin::app::daemon;
use haishin::clock::{Clock, ManualClock};
use haishin::config::{self, Configuration, SecretString, Source};
use haishin::control::node::{Node, Starter};
use haishin::domain::access::Secret;
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::Friend;
use haishin::domain::id::{AccountId, AccountSlug, Seq};
use haishin::domain::time::{Instant, Span};
use haishin::engine::turnstile::Turnstile;
use haishin::engine::{Active, Ask, Deps, Engine, Event, Handle, Mode};
use haishin::http::{Limits, serve};
use haishin::lang::Lang;
use haishin::lifecycle::Shutdown;
use haishin::line::relay::{HttpRelay, Relay};
use haishin::line::{Api, webhook};
use haishin::protocol::Command;
use haishin::sandbox::{ChannelSettings, InProcess, Sandbox, Settings};
use haishin::store::{NewVersion, Store};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::daemon::{at, until};
use crate::support::faulty::Faulty;
use crate::support::store::{Database, TestStore};
use crate::support::systems::FakeSystems;
use crate::support::world::user;

pub const SECRET: &str = "8c570fa6dd201bb328f1c1eac23a96d8";
const CHANNEL: &str = "2000000001";
const NOW: &str = "2026-12-04T09:00:00Z";

/// A shop that takes webhooks.
pub struct Shop {
    pub test: TestStore,
    /// What the node appends to.
    pub appends: Arc<Faulty>,
    pub clock: Arc<ManualClock>,
    pub node: Arc<Node>,
    pub account: AccountId,
    /// Where webhooks go.
    pub url: String,
    /// The secrets that the configuration names; none can be read where there are none.
    pub secrets: Arc<Mutex<Vec<&'static str>>>,
    engine: Arc<Mutex<Option<JoinHandle<()>>>>,
    starter: Arc<TestStarter>,
    pub client: reqwest::Client,
    _serving: DropGuard,
    _state: tempfile::TempDir,
}

impl Shop {
    pub async fn new(database: Database) -> Self {
        Self::with(database, "").await
    }

    /// `settings` stand at the end of the account's table.
    pub async fn with(database: Database, settings: &str) -> Self {
        let (test, state) = (TestStore::new(database).await, tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::new(at(NOW)));
        let active = activate(test.store.as_ref(), settings, clock.now()).await;
        let sandbox =
            Sandbox::new(Settings::new(vec![ChannelSettings::new(CHANNEL, SECRET, "shop")])).unwrap();
        let line = InProcess::new(Arc::new(sandbox), clock.clone(), "token", Span::from_secs(10));
        let relay: Arc<dyn Relay> = Arc::new(HttpRelay::new().unwrap());
        let appends = Arc::new(Faulty::over(test.store.clone()));
        let secrets = Arc::new(Mutex::new(vec![SECRET]));
        let engine = Arc::new(Mutex::new(None));
        let starter = Arc::new(TestStarter {
            deps: Deps {
                store: test.store.clone(),
                clock: clock.clone(),
                relay,
                systems: Arc::new(FakeSystems::new(clock.clone())),
                turnstile: Arc::new(Turnstile::default()),
                state_dir: state.path().to_owned(),
                holder: "webhooks".into(),
                mode: Mode::Daemon,
            },
            line: Arc::new(line),
            secrets: secrets.clone(),
            engine: engine.clone(),
            handle: Mutex::default(),
        });
        let node =
            Arc::new(Node::new(appends.clone(), clock.clone(), Box::new(Shared(starter.clone())), active));
        assert!(node.start_accounts().await.is_empty());
        node.open_doors().await;
        let account = test.store.accounts().await.unwrap()[0].id;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook/shop", listener.local_addr().unwrap());
        let (shutdown, stop) = (Shutdown::new(), CancellationToken::new());
        let serving = serve(listener, daemon::webhooks(node.clone()), Limits::default(), shutdown);
        tokio::spawn({
            let stop = stop.clone();
            async move { stop.run_until_cancelled(serving).await }
        });
        let client = client();
        let _serving = stop.drop_guard();
        Self {
            test,
            appends,
            clock,
            node,
            account,
            url,
            secrets,
            engine,
            starter,
            client,
            _serving,
            _state: state,
        }
    }

    /// What is answered to a signed body.
    pub async fn post(&self, body: &str) -> u16 {
        self.send(body, &webhook::sign(body.as_bytes(), SECRET.as_bytes())).await
    }

    pub async fn send(&self, body: &str, signature: &str) -> u16 {
        let request = self.client.post(&self.url).header("X-Line-Signature", signature);
        request.body(body.to_owned()).send().await.unwrap().status().as_u16()
    }

    /// Returns when everything acknowledged is applied and in friend rows.
    pub async fn settled(&self) -> Value {
        until("all is applied", async || {
            let status = self.status().await?;
            (status["inbox"] == 0 && status["unfolded"] == 0).then_some(status)
        })
        .await
    }

    pub async fn status(&self) -> Option<Value> {
        let handle = self.starter.handle.lock().unwrap().clone()?;
        let (answer, answered) = oneshot::channel();
        let (rows, _listing) = mpsc::channel(1);
        let ask = Ask { command: Command::Status, lang: Lang::En, by: "test".into(), rows, answer };
        handle.send(Event::Ask(ask)).await.then_some(())?;
        answered.await.ok()?.ok().map(|answer| answer.json)
    }

    /// The friends there are, once everything is applied.
    pub async fn friends(&self) -> Vec<Friend> {
        self.settled().await;
        self.test.store.friends(self.account, None, 100_000).await.unwrap()
    }

    /// The events there are, once everything is applied: each its friend's number and name.
    pub async fn events(&self) -> Vec<(u32, String)> {
        self.settled().await;
        let entries = self.test.store.events(self.account, (Seq(0), Seq(i64::MAX)), 100_000).await.unwrap();
        let event = |Entry { friend, effect, .. }| match effect {
            Effect::Event { name, .. } => (friend.0, name.to_string()),
            effect => panic!("{effect:?} is no event"),
        };
        entries.into_iter().map(event).collect()
    }

    /// Ends the engine as a kill does; the node goes on taking webhooks.
    pub async fn kill_engine(&self) {
        let engine = self.engine.lock().unwrap().take().expect("it runs");
        engine.abort();
        let _ = engine.await;
    }
}

impl Shop {
    /// Starts another engine in the place of one that was killed. The node does not know it, as if it were another
    /// process's.
    pub async fn start_engine(&self) {
        let account = AccountSlug::parse("shop").unwrap();
        self.starter.start(&account, &self.node.active()).await.unwrap();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.lock().unwrap().take() {
            engine.abort();
        }
    }
}

struct TestStarter {
    deps: Deps,
    line: Arc<dyn Api>,
    secrets: Arc<Mutex<Vec<&'static str>>>,
    engine: Arc<Mutex<Option<JoinHandle<()>>>>,
    handle: Mutex<Option<Handle>>,
}

struct Shared(Arc<TestStarter>);

#[async_trait]
impl Starter for Shared {
    fn admit(&self, _: &Configuration, _: Lang) -> anyhow::Result<()> {
        Ok(())
    }

    async fn start(&self, account: &AccountSlug, active: &Active) -> anyhow::Result<Handle> {
        self.0.start(account, active).await
    }

    fn line(&self, _: &AccountSlug, _: &Active) -> anyhow::Result<Arc<dyn Api>> {
        Ok(self.0.line.clone())
    }

    fn know_systems(&self, _: &Active) -> Vec<anyhow::Error> {
        Vec::new()
    }

    fn webhook_secrets(&self, _: &AccountSlug, _: &Active) -> anyhow::Result<Vec<SecretString>> {
        let secrets = self.0.secrets.lock().unwrap();
        anyhow::ensure!(!secrets.is_empty(), "the secret cannot be read");
        Ok(secrets.iter().map(|secret| SecretString::from(*secret)).collect())
    }

    fn draw_secret(&self) -> anyhow::Result<Secret> {
        anyhow::bail!("nobody asks for a token here")
    }

    fn told(&self, error: &anyhow::Error, _: Lang) -> String {
        error.to_string()
    }
}

impl TestStarter {
    async fn start(&self, account: &AccountSlug, active: &Active) -> anyhow::Result<Handle> {
        let rng = StdRng::seed_from_u64(1);
        let line = self.line.clone();
        let claimed = Engine::claim(self.deps.clone(), account.clone(), line, active.clone(), rng).await?;
        let handle = claimed.handle.clone();
        let task = tokio::spawn(claimed.serve(CancellationToken::new(), || ()));
        *self.engine.lock().unwrap() = Some(task);
        *self.handle.lock().unwrap() = Some(handle.clone());
        Ok(handle)
    }
}

/// A client like LINE's.
pub fn client() -> reqwest::Client {
    // It brings the library for TLS up, which a client wants even where it needs none.
    drop(HttpRelay::new().unwrap());
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn activate(store: &dyn Store, settings: &str, now: Instant) -> Active {
    let mut source = Source::default();
    let main = format!(
        "[accounts.shop]\nchannel_id = \"{CHANNEL}\"\nchannel_secret = {{ env = \"UNUSED\" }}\n\
         api_base = \"http://127.0.0.1:1\"\n{settings}\n"
    );
    source.files.insert("haishin.toml".into(), main);
    let checked = config::parse(&source, now);
    let configuration = checked.configuration.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let new = NewVersion {
        digest: source.digest(),
        files: source.files,
        activated_at: now,
        activated_by: "test".into(),
    };
    let version = store.activate(None, &new).await.unwrap().expect("the first");
    Active { version, activated_at: now, configuration: Arc::new(configuration) }
}

/// An event of one friend, so many seconds before the shop's now, changed by `with`.
pub fn event(kind: &str, id: &str, friend: u32, seconds_ago: i64, with: Value) -> Value {
    let timestamp = (at(NOW) - Span::from_secs(seconds_ago)).as_millis();
    let mut event = json!({
        "type": kind, "mode": "active", "timestamp": timestamp, "webhookEventId": id,
        "source": { "type": "user", "userId": user(friend).to_string() },
        "deliveryContext": { "isRedelivery": false }, "replyToken": "38ef843bde154d9b91c21320ffd17a0f",
    });
    for (key, value) in with.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

pub fn body(events: &[Value]) -> String {
    json!({ "destination": "U8e742f61d673b39c7fff3cecb7536ef0", "events": events }).to_string()
}
