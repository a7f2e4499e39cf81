//! Ingestion: bodies of ten events appended to the inbox and acknowledged once durable (SQLite, `synchronous =
//! FULL`), then applied by the real engine: journal, dedupe ids and index. Beside it, in the same run, the plain way (a
//! transaction for each body), and the least a database can do (the same bodies appended in large groups, nothing
//! applied).
//!
//! `HAISHIN_BENCH_FRIENDS` (1,000,000), `HAISHIN_BENCH_EVENTS` (300,000 a round), `HAISHIN_BENCH_ROUNDS` (3),
//! `HAISHIN_BENCH_CALLERS` (64 at once). Of ten events nine are purchases with an id of their own and one gives a tag.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::{Clock, SystemClock};
use haishin::config::{self, Source};
use haishin::domain::effect::{DedupeId, Effect, Intake};
use haishin::domain::id::{AccountId, AccountSlug, UserId};
use haishin::domain::time::{Instant, Span};
use haishin::engine::turnstile::Turnstile;
use haishin::engine::{Active, Ask, Deps, Engine, Event, Handle, Mode};
use haishin::lang::Lang;
use haishin::line::relay::HttpRelay;
use haishin::protocol::Command;
use haishin::sandbox::{ChannelSettings, InProcess, Sandbox, Settings};
use haishin::store::{self, NewInbox, NewVersion, Store};
use haishin::systems::{self, HttpSystems};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use support::measure::{Rounds, param, print, ratio, took};
use support::population::{self, purchase, tag};
use support::shop::{CHANNEL, SECRET, TOKEN, runtime, seed};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const EVENTS_A_BODY: u64 = 10;
/// Bodies in a group of the bare append, and bodies committed one by one in the plain way.
const BARE_GROUP: usize = 100;
const PLAIN_BODIES: usize = 1_000;

fn main() {
    let friends = param("HAISHIN_BENCH_FRIENDS", 1_000_000) as u32;
    let bodies = (param("HAISHIN_BENCH_EVENTS", 300_000) / EVENTS_A_BODY) as usize;
    let count = param("HAISHIN_BENCH_ROUNDS", 3) as usize;
    let callers = param("HAISHIN_BENCH_CALLERS", 64) as usize;
    let (runtime, directory) = (runtime(), tempfile::tempdir().expect("a directory"));
    let mut rng = StdRng::seed_from_u64(1);
    let now = SystemClock::new().now();
    let mut users = Vec::with_capacity(friends as usize);
    let rows = (0..friends).map(|friend| {
        let row = population::friend(&mut rng, friend, 3, now);
        users.extend(row.user);
        row
    });
    let path = directory.path().join("haishin.sqlite3");
    let store = runtime.block_on(async {
        let store = store::open(&format!("sqlite://{}", path.display())).await.expect("the store opens");
        seed(store.as_ref(), rows).await;
        store
    });
    let mut draw = Bodies { rng, users, events: 0, now };

    let [mut acknowledged, mut applied, mut folded, mut bare, mut plain] =
        [(); 5].map(|()| Rounds::default());
    let shop = runtime.block_on(Shop::open(store.clone(), directory.path().to_owned(), now));
    let mut idle_shop = Some(shop);
    for _ in 0..count {
        let all = draw.bodies(bodies);
        let database = directory.path().join("bare.sqlite3");
        bare.0.push(took(|| runtime.block_on(append_bare(database, &all, BARE_GROUP))).1);
        let database = directory.path().join("plain.sqlite3");
        plain.0.push(took(|| runtime.block_on(append_bare(database, &all[..PLAIN_BODIES], 1))).1);

        let shop = idle_shop.take().expect("the last round left it");
        let (inbox, queue) = (shop.inbox(all), shop);
        let ((ack, queue), both) = took(|| {
            runtime.block_on(async {
                let ack = took_async(append(store.clone(), inbox, callers)).await;
                queue.until(|status| status["inbox"] == 0).await;
                (ack, queue)
            })
        });
        acknowledged.0.push(ack);
        applied.0.push(both);
        folded.0.push(took(|| runtime.block_on(queue.until(|status| status["unfolded"] == 0))).1);
        idle_shop = Some(queue);
    }
    let events = (bodies as u64 * EVENTS_A_BODY) as f64;
    let row = |name: &str, rounds: &Rounds, events: f64| {
        let rate = |wall: Duration| events / wall.as_secs_f64();
        vec![
            name.to_owned(),
            format!("{:.0}", rate(rounds.median())),
            format!("{:.0}", rate(rounds.fastest())),
            format!("{:.1}", rounds.cpu().as_secs_f64() * 1e6 / events),
        ]
    };
    print(
        &format!(
            "Ingestion of {events} events in bodies of {EVENTS_A_BODY}, {friends} friends, {callers} callers"
        ),
        &["", "events/s (median)", "fastest", "CPU an event, µs"],
        vec![
            row(
                "a transaction for each body, nothing applied",
                &plain,
                (PLAIN_BODIES as u64 * EVENTS_A_BODY) as f64,
            ),
            row("bare append in groups, nothing applied", &bare, events),
            row("haishin: acknowledged (while applying)", &acknowledged, events),
            row("haishin: acknowledged and applied", &applied, events),
            row("haishin: then folded into friend rows", &folded, events),
        ],
    );
    println!("acknowledged and applied / bare append: {:.2}", ratio(bare.median(), applied.median()));
}

async fn took_async<T>(work: impl Future<Output = T>) -> support::measure::Took {
    let (began, cpu) = (tokio::time::Instant::now(), support::measure::process_cpu());
    work.await;
    support::measure::Took { wall: began.elapsed(), cpu: support::measure::process_cpu() - cpu }
}

/// Draws bodies; no event is drawn twice.
struct Bodies {
    rng: StdRng,
    users: Vec<UserId>,
    events: u64,
    now: Instant,
}

impl Bodies {
    fn bodies(&mut self, count: usize) -> Vec<Vec<Intake>> {
        (0..count).map(|_| (0..EVENTS_A_BODY).map(|n| self.intake(n)).collect()).collect()
    }

    fn intake(&mut self, n: u64) -> Intake {
        self.events += 1;
        let user = self.users[self.rng.random_range(0..self.users.len())];
        let at = self.now + Span::from_millis(self.events as i64 / 50);
        let (effect, dedupe) = match n {
            0 => (Effect::TagAdded { tag: tag(self.rng.random_range(0..population::TAGS)) }, None),
            _ => (purchase(&mut self.rng), Some(DedupeId::of("event", &self.events.to_be_bytes()))),
        };
        Intake { friend: user.into(), at, effect, dedupe }
    }
}

/// Callers that each wait for the acknowledgement of a body before they send the next.
async fn append(store: Arc<dyn Store>, rows: Vec<NewInbox>, callers: usize) {
    let rows = Arc::new(std::sync::Mutex::new(rows.into_iter()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let (store, rows) = (store.clone(), rows.clone());
        tasks.spawn(async move {
            loop {
                let Some(row) = rows.lock().expect("nobody panics").next() else { break };
                store.append_inbox(vec![row]).await.expect("it is acknowledged");
            }
        });
    }
    tasks.join_all().await;
}

/// The same bodies into a bare table, so many a transaction.
async fn append_bare(path: PathBuf, bodies: &[Vec<Intake>], group: usize) {
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut conn = SqliteConnection::connect_with(&options).await.expect("a database");
    let table = "CREATE TABLE IF NOT EXISTS inbox (id INTEGER PRIMARY KEY, intakes TEXT NOT NULL) STRICT";
    sqlx::query(table).execute(&mut conn).await.expect("a table");
    for group in bodies.chunks(group) {
        let texts: Vec<String> =
            group.iter().map(|body| serde_json::to_string(body).expect("JSON")).collect();
        let texts = serde_json::to_string(&texts).expect("JSON");
        let insert = sqlx::query("INSERT INTO inbox (intakes) SELECT value FROM json_each($1)").bind(texts);
        insert.execute(&mut conn).await.expect("it is written");
    }
    conn.close().await.expect("it closes");
}

/// An account with its engine.
struct Shop {
    handle: Handle,
    account: AccountId,
    now: Instant,
    _stop: tokio_util::sync::DropGuard,
}

impl Shop {
    async fn open(store: Arc<dyn Store>, state_dir: PathBuf, now: Instant) -> Self {
        let clock = Arc::new(SystemClock::new());
        let channel = ChannelSettings {
            access_token: Some(TOKEN.into()),
            ..ChannelSettings::new(CHANNEL, SECRET, "shop")
        };
        let sandbox = Arc::new(Sandbox::new(Settings::new(vec![channel])).expect("settings"));
        let line = Arc::new(InProcess::new(sandbox, clock.clone(), TOKEN, Span::from_secs(10)));
        let slug = AccountSlug::parse("shop").expect("a slug");
        let deps = Deps {
            relay: Arc::new(HttpRelay::new().expect("a client")),
            store: store.clone(),
            clock,
            systems: Arc::new(HttpSystems::new(systems::TIMEOUT).expect("a client")),
            turnstile: Arc::new(Turnstile::default()),
            state_dir,
            holder: "bench".into(),
            mode: Mode::Daemon,
        };
        let active = activate(store.as_ref(), now).await;
        let claimed =
            Engine::claim(deps, slug, line, active, StdRng::seed_from_u64(1)).await.expect("a claim");
        let (handle, stop) = (claimed.handle.clone(), CancellationToken::new());
        tokio::spawn(claimed.serve(stop.clone(), || ()));
        let account = store.accounts().await.expect("accounts")[0].id;
        Self { handle, account, now, _stop: stop.drop_guard() }
    }

    fn inbox(&self, bodies: Vec<Vec<Intake>>) -> Vec<NewInbox> {
        let row = |intakes| NewInbox {
            account: self.account,
            received_at: self.now,
            source: "bench".into(),
            intakes,
        };
        bodies.into_iter().map(row).collect()
    }

    /// Looks until it is so.
    async fn until(&self, is: impl Fn(&serde_json::Value) -> bool) {
        loop {
            let (answer, answered) = oneshot::channel();
            let (rows, _listing) = mpsc::channel(1);
            let ask = Ask { command: Command::Status, lang: Lang::En, by: "bench".into(), rows, answer };
            assert!(self.handle.send(Event::Ask(ask)).await, "the engine runs");
            if is(&answered.await.expect("an answer").expect("a status").json) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn activate(store: &dyn Store, now: Instant) -> Active {
    let mut source = Source::default();
    let text = format!(
        "[accounts.shop]\nchannel_id = \"{CHANNEL}\"\nchannel_secret = {{ env = \"UNUSED\" }}\napi_base = \"http://127.0.0.1:1\"\n"
    );
    source.files.insert("haishin.toml".into(), text);
    let checked = config::parse(&source, now);
    let configuration = checked.configuration.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let new = NewVersion {
        digest: source.digest(),
        files: source.files,
        activated_at: now,
        activated_by: "bench".into(),
    };
    let version = store.activate(None, &new).await.expect("a version").expect("the first");
    Active { version, activated_at: now, configuration: Arc::new(configuration) }
}
