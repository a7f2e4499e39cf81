//! An account in this process that can be killed and started again, on either database.

use std::sync::Arc;
use std::time::Duration;

use haishin::clock::{Clock, ManualClock};
use haishin::config::{self, Source};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{AccountId, AccountSlug, OccurrenceId};
use haishin::domain::time::{Instant, Span};
use haishin::engine::turnstile::Turnstile;
use haishin::engine::{Active, Ask, Deps, Engine, Event, Handle, Mode};
use haishin::lang::Lang;
use haishin::line::relay::HttpRelay;
use haishin::protocol::{Answer, Command, Failure};
use haishin::sandbox::{ChannelSettings, InProcess, Sandbox, Settings, UnknownIds};
use haishin::store::{NewInbox, NewVersion, Store};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{BEFORE, PLAIN};
use crate::support::patience;
use crate::support::store::{Database, TestStore};
use crate::support::systems::FakeSystems;
use crate::support::world::{CHANNEL, user};

const TOKEN: &str = "a-token-of-the-sandbox";

pub struct Stage {
    pub clock: Arc<ManualClock>,
    pub sandbox: Arc<Sandbox>,
    pub state: tempfile::TempDir,
    pub account: AccountId,
    deps: Deps,
    active: Active,
    handle: Handle,
    serving: JoinHandle<()>,
    _test: TestStore,
}

impl Stage {
    /// `friends` followers, a second before six.
    pub async fn new(database: Database, campaign: &str, friends: u8) -> Self {
        let now = Instant::try_from(BEFORE.to_owned()).unwrap();
        let (test, state) = (TestStore::new(database).await, tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::new(now));
        let channel = ChannelSettings {
            access_token: Some(TOKEN.into()),
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(CHANNEL, "secret", "shop")
        };
        let sandbox = Arc::new(Sandbox::new(Settings::new(vec![channel])).unwrap());
        let store = test.store.clone();
        let account = store.ensure_account(&slug(), CHANNEL, now).await.unwrap();
        let status = Effect::Status { status: Status::Following, followed_at: Some(now) };
        let intake = |n| Intake { friend: user(n).into(), at: now, effect: status.clone(), dedupe: None };
        let intakes = (0..u32::from(friends)).map(intake).collect();
        let row = NewInbox { account, received_at: now, source: "import".into(), intakes };
        store.append_inbox(vec![row]).await.unwrap();
        let active = activate(store.as_ref(), campaign, now).await;
        let deps = Deps {
            relay: Arc::new(HttpRelay::new().unwrap()),
            store,
            systems: Arc::new(FakeSystems::new(clock.clone())),
            clock: clock.clone(),
            turnstile: Arc::new(Turnstile::default()),
            state_dir: state.path().to_owned(),
            holder: "stage".into(),
            mode: Mode::Daemon,
        };
        let (handle, serving) = serve(&deps, &clock, &sandbox, &active).await;
        let stage = Self { clock, sandbox, state, account, deps, active, handle, serving, _test: test };
        // Nothing is due yet, so the clock stands still.
        while stage.done(Command::Status).await["friends"] != friends {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stage
    }

    pub fn store(&self) -> &dyn Store {
        self.deps.store.as_ref()
    }

    /// The process dies and another takes over.
    pub async fn kill(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
        (self.handle, self.serving) = serve(&self.deps, &self.clock, &self.sandbox, &self.active).await;
    }

    pub async fn ask(&self, command: Command) -> Result<Answer, Failure> {
        self.try_ask(command).await.expect("the engine answers")
    }

    /// Asks; none if the turn failed before there was an answer.
    pub async fn try_ask(&self, command: Command) -> Option<Result<Answer, Failure>> {
        let (answer, answered) = oneshot::channel();
        let (rows, _listing) = mpsc::channel(64);
        let ask = Ask { command, lang: Lang::En, by: "hana".into(), rows, answer };
        assert!(self.handle.send(Event::Ask(ask)).await, "the engine ended");
        answered.await.ok()
    }

    pub async fn done(&self, command: Command) -> Value {
        self.ask(command).await.expect("it is possible").json
    }

    pub async fn occurrence(&self) -> Option<Value> {
        let show = Command::OccurrenceShow { occurrence: OccurrenceId(1) };
        self.try_ask(show).await?.ok().map(|one| one.json)
    }

    /// What became of the friends of the first occurrence so far.
    pub async fn books(&self) -> Option<Value> {
        let shown = self.occurrence().await?;
        assert_eq!(shown["books"]["balanced"], true, "{shown}");
        Some(super::outcomes(&shown["books"]["counts"]))
    }

    /// Lets time pass until there is an answer.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                self.clock.advance(Span::from_millis(50));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(patience(), looking).await;
        found.unwrap_or_else(|_| panic!("at {} still not: {what}", self.clock.now()))
    }

    pub async fn until_books(&self, expected: &Value) {
        let what = expected.to_string();
        self.until(&what, async || (self.books().await? == *expected).then_some(())).await;
    }

    pub async fn pass(&self, span: Span) {
        let until = self.clock.now() + span;
        self.until("the span is over", async || (self.clock.now() >= until).then_some(())).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn slug() -> AccountSlug {
    AccountSlug::parse("shop").unwrap()
}

async fn serve(
    deps: &Deps,
    clock: &Arc<ManualClock>,
    sandbox: &Arc<Sandbox>,
    active: &Active,
) -> (Handle, JoinHandle<()>) {
    let line = InProcess::new(sandbox.clone(), clock.clone(), TOKEN, Span::from_secs(10));
    let rng = StdRng::seed_from_u64(1);
    let claimed = Engine::claim(deps.clone(), slug(), Arc::new(line), active.clone(), rng).await.unwrap();
    let handle = claimed.handle.clone();
    (handle, tokio::spawn(claimed.serve(CancellationToken::new(), || ())))
}

async fn activate(store: &dyn Store, campaign: &str, now: Instant) -> Active {
    let main = format!(
        "{PLAIN}[accounts.shop]\nchannel_id = \"{CHANNEL}\"\nchannel_secret = {{ env = \"UNUSED\" }}\n\
         api_base = \"http://127.0.0.1:1\"\n"
    );
    let mut source = Source::default();
    source.files.insert("haishin.toml".into(), main);
    source.files.insert("campaigns/gift.toml".into(), campaign.to_owned());
    let checked = config::parse(&source, now);
    let configuration = checked.configuration.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let new = NewVersion {
        digest: source.digest(),
        files: source.files,
        activated_at: now,
        activated_by: "test".into(),
    };
    let version = store.activate(None, &new).await.unwrap().expect("the first version");
    Active { version, activated_at: now, configuration: Arc::new(configuration) }
}
