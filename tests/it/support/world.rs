//! An account in this process: a real engine and store, a LINE double without a network, and a clock that moves only
//! while somebody waits for something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::{Clock, ManualClock};
use haishin::config::{self, Source};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{AccountSlug, CampaignSlug, OccurrenceId, UserId, VersionId};
use haishin::domain::time::{Instant, Span};
use haishin::engine::turnstile::Turnstile;
use haishin::engine::{Active, Ask, Deps, Engine, Event, Handle, Mode};
use haishin::lang::Lang;
use haishin::protocol::{Answer, Command, Failure, Reply};
use haishin::sandbox::{ChannelSettings, Endpoint, InProcess, RequestRecord, Sandbox, Settings, UnknownIds};
use haishin::store::{NewInbox, NewVersion, Store};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::store::{Database, TestStore};

/// The channel of the account.
pub const CHANNEL: &str = "2000000001";
const TOKEN: &str = "a-token-of-the-sandbox";
/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A world of one account.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub sandbox: Arc<Sandbox>,
    /// How far the clock moves each time somebody looks.
    pub step: Span,
    handle: Handle,
    deps: Deps,
    active: Active,
    settings: String,
    _test: TestStore,
    _state: tempfile::TempDir,
    stop: DropGuard,
    serving: JoinHandle<()>,
}

impl World {
    /// `friends` followers at `now`, before whom these campaigns are due.
    pub async fn new(now: &str, settings: &str, campaigns: &[(&str, &str)], friends: u8) -> Self {
        let now = Instant::try_from(now.to_owned()).unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let (test, state) = (TestStore::new(Database::Sqlite).await, tempfile::tempdir().unwrap());
        let channel = ChannelSettings {
            access_token: Some(TOKEN.into()),
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(CHANNEL, "secret", "shop")
        };
        let sandbox = Arc::new(Sandbox::new(Settings::new(vec![channel])).unwrap());
        let active = activate(test.store.as_ref(), settings, campaigns, None, now).await;
        let deps = Deps {
            store: test.store.clone(),
            clock: clock.clone(),
            turnstile: Arc::new(Turnstile::default()),
            state_dir: state.path().to_owned(),
            holder: "world".into(),
            mode: Mode::Daemon,
        };
        let (handle, stop, serving) = serve(&deps, &clock, &sandbox, &active).await;
        let world = Self {
            clock,
            sandbox,
            step: Span::from_millis(50),
            handle,
            deps,
            active,
            settings: settings.to_owned(),
            _test: test,
            _state: state,
            stop,
            serving,
        };
        world.befriend(friends, now).await;
        world
    }

    /// Makes these campaigns, and no others, live.
    pub async fn apply(&mut self, campaigns: &[(&str, &str)]) {
        let (store, before) = (self.deps.store.as_ref(), Some(self.active.version));
        self.active = activate(store, &self.settings, campaigns, before, self.clock.now()).await;
        let active = self.active.clone();
        assert!(self.handle.send(Event::Activated { active, line: None }).await, "the engine ended");
        // Answered in a later turn, or in this one after it.
        self.status().await;
    }

    /// Makes a version live in which the account is no more.
    pub async fn leave(&mut self) {
        let main = "[accounts.other]\nchannel_id = \"2000000009\"\nchannel_secret = { env = \"UNUSED\" }\n";
        let source: Source = [("haishin.toml", main)].into_iter().collect();
        let now = self.clock.now();
        self.active = activate_files(self.deps.store.as_ref(), source, Some(self.active.version), now).await;
        let active = self.active.clone();
        assert!(self.handle.send(Event::Activated { active, line: None }).await, "the engine ended");
        self.status().await;
    }

    /// Ends the engine and starts another on what the first has stored.
    pub async fn restart(&mut self) {
        let ended = CancellationToken::new().drop_guard();
        drop(std::mem::replace(&mut self.stop, ended));
        (&mut self.serving).await.unwrap();
        (self.handle, self.stop, self.serving) =
            serve(&self.deps, &self.clock, &self.sandbox, &self.active).await;
    }

    async fn befriend(&self, friends: u8, at: Instant) {
        let status = Effect::Status { status: Status::Following, followed_at: Some(at) };
        let intake = |n| Intake { user: user(n), at, effect: status.clone(), dedupe: None };
        let account = self._test.store.accounts().await.unwrap()[0].id;
        let intakes = (0..friends).map(intake).collect();
        let row = NewInbox { account, received_at: at, source: "import".into(), intakes };
        self._test.store.append_inbox(vec![row]).await.unwrap();
        // Nothing is due yet, so the clock stands still.
        while self.status().await["friends"] != friends {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Asks the engine.
    pub async fn ask(&self, command: Command) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        let (rows, _listing) = mpsc::channel(64);
        let ask = Ask { command, lang: Lang::En, by: "test".into(), rows, answer };
        assert!(self.handle.send(Event::Ask(ask)).await, "the engine ended");
        answered.await.expect("the engine answers")
    }

    /// Asks without waiting for the answer, which comes after what goes to `rows`.
    pub async fn begin(
        &self,
        command: Command,
        rows: mpsc::Sender<Reply>,
    ) -> oneshot::Receiver<Result<Answer, Failure>> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { command, lang: Lang::En, by: "test".into(), rows, answer };
        assert!(self.handle.send(Event::Ask(ask)).await, "the engine ended");
        answered
    }

    /// Asks what must be possible.
    pub async fn done(&self, command: Command) -> Value {
        self.ask(command).await.expect("it is possible").json
    }

    pub async fn status(&self) -> Value {
        self.done(Command::Status).await
    }

    pub async fn occurrence(&self, number: i64) -> Option<Value> {
        self.ask(Command::OccurrenceShow { occurrence: OccurrenceId(number) }).await.ok().map(|one| one.json)
    }

    /// The books of an occurrence that balance.
    pub async fn counts(&self, number: i64) -> Value {
        let shown = self.occurrence(number).await.expect("the occurrence is there");
        assert_eq!(shown["books"]["balanced"], true, "{shown}");
        shown["books"]["counts"].clone()
    }

    /// Lets time pass until there is an answer.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                self.clock.advance(self.step);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        found.unwrap_or_else(|_| panic!("at {} still not: {what}", self.clock.now()))
    }

    /// Lets time pass until an occurrence is in a state.
    pub async fn until_state(&self, number: i64, state: &str) {
        self.until(state, async || {
            self.occurrence(number).await.is_some_and(|one| one["state"] == state).then_some(())
        })
        .await;
    }

    /// Lets time pass until so many multicasts were made.
    pub async fn until_requests(&self, count: usize) {
        self.until("the requests came", async || (self.multicasts().len() >= count).then_some(())).await;
    }

    /// Lets a span pass.
    pub async fn pass(&self, span: Span) {
        let until = self.clock.now() + span;
        self.until("the span is over", async || (self.clock.now() >= until).then_some(())).await;
    }

    pub fn multicasts(&self) -> Vec<RequestRecord> {
        let mut requests = self.sandbox.requests(0, usize::MAX);
        requests.retain(|request| request.endpoint == Some(Endpoint::Multicast));
        requests
    }

    /// How many friends got how many messages.
    pub fn received(&self) -> BTreeMap<u32, usize> {
        let mut times = BTreeMap::new();
        for (_, count) in self.sandbox.received_counts(CHANNEL).unwrap() {
            *times.entry(count).or_default() += 1;
        }
        times
    }
}

pub fn user(n: u8) -> UserId {
    let mut id = [9; 16];
    id[0] = n;
    UserId(id)
}

pub fn slug(text: &str) -> CampaignSlug {
    CampaignSlug::parse(text).unwrap()
}

/// An engine that runs, with the guard that ends it.
async fn serve(
    deps: &Deps,
    clock: &Arc<ManualClock>,
    sandbox: &Arc<Sandbox>,
    active: &Active,
) -> (Handle, DropGuard, JoinHandle<()>) {
    let line = InProcess::new(sandbox.clone(), clock.clone(), TOKEN, Span::from_secs(10));
    let (slug, rng) = (AccountSlug::parse("shop").unwrap(), StdRng::seed_from_u64(1));
    let claimed = Engine::claim(deps.clone(), slug, Arc::new(line), active.clone(), rng).await.unwrap();
    let (handle, stop) = (claimed.handle.clone(), CancellationToken::new());
    let serving = tokio::spawn(claimed.serve(stop.clone(), || ()));
    (handle, stop.drop_guard(), serving)
}

async fn activate(
    store: &dyn Store,
    settings: &str,
    campaigns: &[(&str, &str)],
    before: Option<VersionId>,
    now: Instant,
) -> Active {
    let main = format!(
        "{settings}\n[accounts.shop]\nchannel_id = \"{CHANNEL}\"\nchannel_secret = {{ env = \"UNUSED\" }}\n\
         api_base = \"http://127.0.0.1:1\"\n"
    );
    let mut source = Source::default();
    source.files.insert("haishin.toml".into(), main);
    let everybody = "title = \"everybody\"\nany = [{ status = \"following\" }, { status = \"blocked\" }]\n";
    source.files.insert("segments/everybody.toml".into(), everybody.into());
    for (slug, text) in campaigns {
        source.files.insert(format!("campaigns/{slug}.toml"), (*text).to_owned());
    }
    activate_files(store, source, before, now).await
}

async fn activate_files(
    store: &dyn Store,
    source: Source,
    before: Option<VersionId>,
    now: Instant,
) -> Active {
    let checked = config::parse(&source, now);
    let configuration = checked.configuration.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let new = NewVersion {
        digest: source.digest(),
        files: source.files,
        activated_at: now,
        activated_by: "test".into(),
    };
    let version = store.activate(before, &new).await.unwrap().expect("no other version went live");
    Active { version, activated_at: now, configuration: Arc::new(configuration) }
}
