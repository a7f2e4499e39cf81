//! Accounts in this process: real engines on one store and one turnstile, a LINE double without a network, and a clock
//! that moves only while somebody waits for something.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::{Clock, ManualClock};
use haishin::config::{self, Source};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::{AccountSlug, CampaignSlug, OccurrenceId, UserId, VersionId};
use haishin::domain::time::{Instant, Span};
use haishin::engine::turnstile::Turnstile;
use haishin::engine::{Active, Ask, Deps, Engine, EngineError, Event, Handle, Mode};
use haishin::lang::Lang;
use haishin::line::Api;
use haishin::line::relay::{HttpRelay, Relay};
use haishin::protocol::{Answer, Command, Failure, Reply};
use haishin::sandbox::{ChannelSettings, Endpoint, InProcess, RequestRecord, Sandbox, Settings, UnknownIds};
use haishin::store::{NewInbox, NewVersion, Store};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::faulty::Faulty;
use super::patience;
use super::store::{Database, TestStore};
use super::systems::FakeSystems;

/// The channel of the account `shop`.
pub const CHANNEL: &str = "2000000115";
/// How long a request waits for its answer.
const TIMEOUT: Span = Span::from_secs(10);
/// Intakes of one append, as an import makes them.
const A_CHUNK: u32 = 5_000;

/// What a world begins with.
pub struct Setup<'a> {
    pub now: &'a str,
    /// The beginning of `haishin.toml`.
    pub settings: &'a str,
    /// Slug and file of each campaign, or name and text of any other file (`drips/welcome.toml`); with several accounts
    /// each campaign names its own.
    pub campaigns: Vec<(String, String)>,
    /// Slug and followers of each account. The first followers of all are the same people.
    pub accounts: Vec<(&'a str, u32)>,
    pub database: Database,
    /// Seeds the sandbox's faults.
    pub seed: u64,
}

/// Accounts and everything around them.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub sandbox: Arc<Sandbox>,
    pub turnstile: Arc<Turnstile>,
    /// How far the clock moves each time somebody looks.
    pub step: Span,
    /// The truth, without the faults an engine meets.
    pub test: TestStore,
    relay: Arc<dyn Relay>,
    /// The shop's own systems.
    pub systems: Arc<FakeSystems>,
    active: Active,
    settings: String,
    state: tempfile::TempDir,
    accounts: Vec<Account>,
}

/// One account's engine, and what it works with.
pub struct Account {
    pub slug: AccountSlug,
    pub channel: String,
    /// The store as its engine meets it.
    pub store: Arc<Faulty>,
    line: Arc<dyn Api>,
    holder: String,
    running: Option<Running>,
}

struct Running {
    handle: Handle,
    task: JoinHandle<()>,
}

impl World {
    /// `friends` followers at `now`, before whom these campaigns are due.
    pub async fn new(now: &str, settings: &str, campaigns: &[(&str, &str)], friends: u8) -> Self {
        let campaigns = campaigns.iter().map(|(slug, text)| ((*slug).to_owned(), (*text).to_owned()));
        Self::of(Setup {
            now,
            settings,
            campaigns: campaigns.collect(),
            accounts: vec![("shop", friends.into())],
            database: Database::Sqlite,
            seed: 0,
        })
        .await
    }

    /// A world whose engines run and have applied all their followers.
    pub async fn of(setup: Setup<'_>) -> Self {
        Self::remembered(setup, None).await
    }

    /// The same; LINE remembers in a file what it took.
    pub async fn remembered(setup: Setup<'_>, line: Option<PathBuf>) -> Self {
        let now = Instant::try_from(setup.now.to_owned()).unwrap();
        let clock = Arc::new(ManualClock::new(now));
        let (test, state) = (TestStore::new(setup.database).await, tempfile::tempdir().unwrap());
        let names = setup.accounts.iter().map(|(slug, friends)| (*slug, *friends, channel(slug)));
        let names: Vec<(&str, u32, String)> = names.collect();
        let settings = Settings {
            seed: setup.seed,
            state_file: line,
            ..Settings::new(names.iter().map(|(slug, _, channel)| channel_settings(slug, channel)).collect())
        };
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let named: Vec<(&str, &str)> =
            names.iter().map(|(slug, _, channel)| (*slug, channel.as_str())).collect();
        let campaigns = (setup.settings, setup.campaigns.as_slice());
        let active = activate(test.store.as_ref(), campaigns, &named, None, now).await;
        let account = |(slug, _, channel): &(&str, u32, String)| Account {
            slug: AccountSlug::parse(slug).unwrap(),
            channel: channel.clone(),
            store: Arc::new(Faulty::over(test.store.clone())),
            line: Arc::new(InProcess::new(sandbox.clone(), clock.clone(), &token(channel), TIMEOUT)),
            holder: "world".into(),
            running: None,
        };
        let accounts = names.iter().map(account).collect();
        let mut world = Self {
            systems: Arc::new(FakeSystems::new(clock.clone())),
            clock,
            sandbox,
            turnstile: Arc::default(),
            step: Span::from_millis(50),
            test,
            relay: Arc::new(HttpRelay::new().unwrap()),
            active,
            settings: setup.settings.to_owned(),
            state,
            accounts,
        };
        for n in 0..world.accounts.len() {
            world.start(n).await.unwrap();
        }
        for (n, (_, friends, _)) in names.iter().enumerate() {
            world.befriend(n, *friends, now).await;
        }
        world
    }

    /// The world of the account `shop` over a database that another world left, where its engine has not started again;
    /// LINE knows what its file says.
    pub async fn over(test: TestStore, now: Instant, line: PathBuf) -> Self {
        let clock = Arc::new(ManualClock::new(now));
        let settings =
            Settings { state_file: Some(line), ..Settings::new(vec![channel_settings("shop", CHANNEL)]) };
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let stored = test.store.active_version().await.unwrap().expect("a configuration is active");
        let source = Source { files: stored.files, ..Source::default() };
        let checked = config::parse(&source, stored.activated_at);
        let configuration = checked.configuration.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
        let active = Active {
            version: stored.id,
            activated_at: stored.activated_at,
            configuration: Arc::new(configuration),
        };
        let account = Account {
            slug: AccountSlug::parse("shop").unwrap(),
            channel: CHANNEL.into(),
            store: Arc::new(Faulty::over(test.store.clone())),
            line: Arc::new(InProcess::new(sandbox.clone(), clock.clone(), &token(CHANNEL), TIMEOUT)),
            holder: "world".into(),
            running: None,
        };
        Self {
            systems: Arc::new(FakeSystems::new(clock.clone())),
            clock,
            sandbox,
            turnstile: Arc::default(),
            step: Span::from_millis(50),
            test,
            relay: Arc::new(HttpRelay::new().unwrap()),
            active,
            settings: String::new(),
            state: tempfile::tempdir().unwrap(),
            accounts: vec![account],
        }
    }

    async fn befriend(&self, n: usize, friends: u32, at: Instant) {
        let status = Effect::Status { status: Status::Following, followed_at: Some(at) };
        let intake = |n| Intake { friend: user(n).into(), at, effect: status.clone(), dedupe: None };
        let account = self.row(n).await;
        for first in (0..friends).step_by(A_CHUNK as usize) {
            let intakes = (first..friends.min(first + A_CHUNK)).map(intake).collect();
            let row = NewInbox { account, received_at: at, source: "import".into(), intakes };
            self.test.store.append_inbox(vec![row]).await.unwrap();
        }
        // Nothing is due yet, so the clock stands still.
        let applied = async |look: &Value| look["friends"] == friends && look["unfolded"] == 0;
        while !applied(&self.account(n).status().await).await {
            self.account(n).nudge();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The row id of an account.
    pub async fn row(&self, n: usize) -> haishin::domain::id::AccountId {
        let rows = self.test.store.accounts().await.unwrap();
        rows.iter().find(|row| row.slug == self.accounts[n].slug).unwrap().id
    }

    fn deps(&self, account: &Account, holder: &str) -> Deps {
        Deps {
            relay: self.relay.clone(),
            store: account.store.clone(),
            clock: self.clock.clone(),
            systems: self.systems.clone(),
            turnstile: self.turnstile.clone(),
            state_dir: self.state.path().to_owned(),
            holder: holder.to_owned(),
            mode: Mode::Daemon,
        }
    }

    /// Starts the engine of an account.
    pub async fn start(&mut self, n: usize) -> Result<(), EngineError> {
        let account = &self.accounts[n];
        let deps = self.deps(account, &account.holder);
        let rng = StdRng::seed_from_u64(1);
        let claimed =
            Engine::claim(deps, account.slug.clone(), account.line.clone(), self.active.clone(), rng).await?;
        let handle = claimed.handle.clone();
        // It is only ever killed.
        let task = tokio::spawn(claimed.serve(CancellationToken::new(), || ()));
        self.accounts[n].running = Some(Running { handle, task });
        Ok(())
    }

    /// Kills an account's engine wherever it is. Requests that have left come to LINE all the same.
    pub async fn kill(&mut self, n: usize) {
        if let Some(Running { task, .. }) = self.accounts[n].running.take() {
            task.abort();
            // It was aborted, or had ended before: it is gone.
            let _ = task.await;
        }
    }

    /// Another process, with a store of its own, that has not claimed the account yet; the first one goes on as it
    /// can. It is put in the account's place.
    pub fn succeed(&mut self, n: usize, holder: &str) -> Account {
        let old = &self.accounts[n];
        let new = Account {
            slug: old.slug.clone(),
            channel: old.channel.clone(),
            store: Arc::new(Faulty::over(self.test.store.clone())),
            line: old.line.clone(),
            holder: holder.into(),
            running: None,
        };
        self.turnstile = Arc::default();
        std::mem::replace(&mut self.accounts[n], new)
    }

    /// Puts something between an account and LINE, from its next start on.
    pub fn through(&mut self, n: usize, wrap: impl FnOnce(Arc<dyn Api>) -> Arc<dyn Api>) {
        self.accounts[n].line = wrap(self.accounts[n].line.clone());
    }

    /// An account, by its place.
    pub fn account(&self, n: usize) -> View<'_> {
        View { world: self, account: &self.accounts[n] }
    }

    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = View<'_>> {
        (0..self.accounts.len()).map(|n| self.account(n))
    }

    /// The number of the last transaction that an account noted beside its database, as at a freeze.
    pub fn ticket(&self, n: usize) -> i64 {
        let path = self.state.path().join(format!("{}.seq", self.accounts[n].slug));
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// Where engines keep what is this machine's own.
    pub fn state_dir(&self) -> &std::path::Path {
        self.state.path()
    }

    /// The configuration that runs.
    pub fn active(&self) -> &Active {
        &self.active
    }

    /// Makes these campaigns and files, and no others, live for the only account.
    pub async fn apply(&mut self, campaigns: &[(&str, &str)]) {
        let files: Vec<(String, String)> =
            campaigns.iter().map(|(slug, text)| ((*slug).to_owned(), (*text).to_owned())).collect();
        let named = [("shop", CHANNEL)];
        let settings = self.settings.clone();
        self.go_live((&settings, &files), &named).await;
    }

    /// The same, with another beginning of `haishin.toml` from now on.
    pub async fn apply_with(&mut self, settings: &str, campaigns: &[(&str, &str)]) {
        self.settings = settings.to_owned();
        self.apply(campaigns).await;
    }

    /// Makes a version live in which the account is no more.
    pub async fn leave(&mut self) {
        self.go_live(("", &[]), &[("other", "2000000009")]).await;
    }

    async fn go_live(&mut self, files: (&str, &[(String, String)]), named: &[(&str, &str)]) {
        let (store, before) = (self.test.store.as_ref(), Some(self.active.version));
        self.active = activate(store, files, named, before, self.clock.now()).await;
        self.account(0).activated(self.active.clone()).await;
        // Answered in a later turn, or in this one after it.
        self.status().await;
    }

    /// Ends the engine as a kill does, and starts another on what it has stored.
    pub async fn restart(&mut self) {
        self.kill(0).await;
        self.start(0).await.unwrap();
    }

    /// Lets time pass until there is an answer. It never runs far ahead of the engines: each of them goes round
    /// between two steps.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                self.clock.advance(self.step);
                self.go_round().await;
            }
        };
        let found = tokio::time::timeout(patience(), looking).await;
        found.unwrap_or_else(|_| panic!("at {} still not: {what}", self.clock.now()))
    }

    /// Waits for something that takes no time of the world's.
    pub async fn at_once<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                // One that was about to go to sleep just when the clock was set would sleep on for ever.
                let running = self.accounts.iter().filter_map(|account| account.running.as_ref());
                running.for_each(|running| running.handle.nudge());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let found = tokio::time::timeout(patience(), looking).await;
        found.unwrap_or_else(|_| panic!("while the clock stands at {}: {what}", self.clock.now()))
    }

    /// A moment for whoever polls the clock, and a turn of each engine, but for one that is stuck in the database, or may
    /// be asleep after a failure until time has passed.
    async fn go_round(&self) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        for account in self.accounts() {
            let store = &account.account.store;
            tokio::select! {
                _ = account.ask_once(Command::Status) => {}
                () = store.stuck() => {}
                () = asleep(store) => {}
            }
        }
    }

    /// Lets a span pass.
    pub async fn pass(&self, span: Span) {
        let until = self.clock.now() + span;
        self.until("the span is over", async || (self.clock.now() >= until).then_some(())).await;
    }
}

/// The first account, which mostly is the only one.
impl World {
    pub async fn ask(&self, command: Command) -> Result<Answer, Failure> {
        self.account(0).ask(command).await
    }

    pub async fn done(&self, command: Command) -> Value {
        self.account(0).done(command).await
    }

    pub async fn status(&self) -> Value {
        self.account(0).status().await
    }

    pub async fn occurrence(&self, number: i64) -> Option<Value> {
        self.account(0).occurrence(number).await
    }

    pub async fn counts(&self, number: i64) -> Value {
        self.account(0).counts(number).await
    }

    /// One figure of an occurrence's books; 0 while there is no such occurrence.
    pub async fn counts_of(&self, number: i64, outcome: &str) -> u64 {
        let shown = self.occurrence(number).await.unwrap_or_default();
        shown["books"]["counts"][outcome].as_u64().unwrap_or(0)
    }

    pub async fn until_state(&self, number: i64, state: &str) {
        self.account(0).until_state(number, state).await;
    }

    pub async fn until_requests(&self, count: usize) {
        self.account(0).until_requests(count).await;
    }

    pub fn multicasts(&self) -> Vec<RequestRecord> {
        self.account(0).multicasts()
    }

    pub fn received(&self) -> BTreeMap<u32, usize> {
        self.account(0).received()
    }
}

/// An account in its world.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub world: &'a World,
    pub account: &'a Account,
}

impl View<'_> {
    /// Asks once; nothing where the engine drops the question.
    pub async fn ask_once(&self, command: Command) -> Option<Result<Answer, Failure>> {
        let (answer, answered) = oneshot::channel();
        let (rows, _listing) = mpsc::channel(64);
        let ask = Ask { command, lang: Lang::En, by: "test".into(), rows, answer };
        let handle = &self.account.running.as_ref()?.handle;
        handle.send(Event::Ask(ask)).await.then_some(())?;
        answered.await.ok()
    }

    /// Asks the engine; again where it dropped the question, as it does when a commit fails.
    pub async fn ask(&self, command: Command) -> Result<Answer, Failure> {
        self.world.at_once("an answer", async || self.ask_once(command.clone()).await).await
    }

    /// Asks without waiting for the answer, which comes after what goes to `rows`.
    pub async fn begin(
        &self,
        command: Command,
        rows: mpsc::Sender<Reply>,
    ) -> oneshot::Receiver<Result<Answer, Failure>> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { command, lang: Lang::En, by: "test".into(), rows, answer };
        let handle = &self.account.running.as_ref().expect("the engine runs").handle;
        assert!(handle.send(Event::Ask(ask)).await, "the engine ended");
        answered
    }

    /// Asks what must be possible.
    pub async fn done(&self, command: Command) -> Value {
        self.ask(command).await.expect("it is possible").json
    }

    pub async fn status(&self) -> Value {
        self.done(Command::Status).await
    }

    pub fn nudge(&self) {
        self.account.running.as_ref().expect("the engine runs").handle.nudge();
    }

    /// Tells the engine that another configuration went live.
    pub async fn activated(&self, active: Active) {
        let handle = &self.account.running.as_ref().expect("the engine runs").handle;
        assert!(handle.send(Event::Activated { active, line: None }).await, "the engine ended");
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

    /// Lets time pass until an occurrence is in a state.
    pub async fn until_state(&self, number: i64, state: &str) {
        let there =
            async || self.occurrence(number).await.is_some_and(|one| one["state"] == state).then_some(());
        self.world.until(state, there).await;
    }

    /// Lets time pass until so many multicasts were made.
    pub async fn until_requests(&self, count: usize) {
        let came = async || (self.multicasts().len() >= count).then_some(());
        self.world.until("the requests came", came).await;
    }

    pub fn multicasts(&self) -> Vec<RequestRecord> {
        let mut requests = self.world.sandbox.requests(0, usize::MAX);
        requests.retain(|request| {
            request.endpoint == Some(Endpoint::Multicast)
                && request.channel.as_ref() == Some(&self.account.channel)
        });
        requests
    }

    /// How many friends got how many messages.
    pub fn received(&self) -> BTreeMap<u32, usize> {
        let mut times = BTreeMap::new();
        for (_, count) in self.world.sandbox.received_counts(&self.account.channel).unwrap() {
            *times.entry(count).or_default() += 1;
        }
        times
    }
}

impl Account {
    /// Whether its engine's task is still there.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.task.is_finished())
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
    }
}

/// Returns after a while in which an engine whose database has failed it may be waiting for time to pass.
async fn asleep(store: &Faulty) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if store.has_failed() {
            return;
        }
    }
}

pub fn user(n: u32) -> UserId {
    let mut id = [9; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    UserId(id)
}

pub fn slug(text: &str) -> CampaignSlug {
    CampaignSlug::parse(text).unwrap()
}

/// An account has its channel whoever else is there: accounts' names begin with different letters.
fn channel(slug: &str) -> String {
    format!("2000000{:03}", slug.as_bytes()[0])
}

pub fn token(channel: &str) -> String {
    format!("a-token-of-{channel}")
}

pub fn channel_settings(slug: &str, channel: &str) -> ChannelSettings {
    ChannelSettings {
        access_token: Some(token(channel)),
        unknown_ids: UnknownIds::Befriend,
        ..ChannelSettings::new(channel, "secret", slug)
    }
}

/// Makes the world's accounts with these campaigns live.
pub async fn activate(
    store: &dyn Store,
    (settings, campaigns): (&str, &[(String, String)]),
    accounts: &[(&str, &str)],
    before: Option<VersionId>,
    now: Instant,
) -> Active {
    let mut main = format!("{settings}\n");
    for (slug, channel) in accounts {
        main += &format!(
            "[accounts.{slug}]\nchannel_id = \"{channel}\"\nchannel_secret = {{ env = \"UNUSED\" }}\n\
             api_base = \"http://127.0.0.1:1\"\n"
        );
    }
    let mut source = Source::default();
    source.files.insert("haishin.toml".into(), main);
    let everybody = "title = \"everybody\"\nany = [{ status = \"following\" }, { status = \"blocked\" }]\n";
    source.files.insert("segments/everybody.toml".into(), everybody.into());
    for (name, text) in campaigns {
        // A file of another folder is named with it.
        let file = match name.as_str() {
            file if file.ends_with(".toml") => file.to_owned(),
            path if path.contains('/') => format!("{path}.toml"),
            slug => format!("campaigns/{slug}.toml"),
        };
        source.files.insert(file, text.clone());
    }
    let checked = config::parse(&source, now);
    let configuration = checked.configuration.unwrap_or_else(|| {
        let wrong: Vec<_> = checked
            .diagnostics
            .iter()
            .filter(|one| one.severity() == config::problem::Severity::Error)
            .collect();
        panic!("{wrong:#?}")
    });
    let new = NewVersion {
        digest: source.digest(),
        files: source.files,
        activated_at: now,
        activated_by: "test".into(),
    };
    let version = store.activate(before, &new).await.unwrap().expect("no other version went live");
    Active { version, activated_at: now, configuration: Arc::new(configuration) }
}
