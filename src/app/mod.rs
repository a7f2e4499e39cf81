//! Composition root: the only place that knows concrete types.

pub mod backup;
pub mod daemon;
mod database;
pub mod disk;
pub mod doctor;
mod memory;
pub mod restore;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SetClock, SystemClock};
use crate::config::node::Node as NodeSettings;
use crate::config::{
    self, Account, Configuration, ExposeSecret as _, SecretError, SecretSource, SecretString, Source, Style,
    Webhook,
};
use crate::control::node::{Node, Starter};
use crate::control::plan;
use crate::domain::access::Secret;
use crate::domain::id::{AccountSlug, WebhookName};
use crate::domain::time::Instant;
use crate::engine::turnstile::Turnstile;
use crate::engine::{Active, Deps, Engine, Handle, Mode};
use crate::lang::Lang;
use crate::lifecycle::Progress;
use crate::line::relay::HttpRelay;
use crate::line::{Api, Credentials, HttpApi, HttpSettings};
use crate::store::{self, Store, StoreError};
use crate::systems::{self, Address, HttpSystems};
pub use database::Database;
use database::database_url;
use disk::Disk;
pub use told::causes;
use told::{AccountError, SystemError};

/// An engine that has not gone round for so long is stalled: the longest freeze, and a slow disk.
const LONGEST_TURN: Duration = Duration::from_secs(30);

/// A held state directory is tried again so often…
const LOCK_TRIES: u32 = 10;
/// …at this distance, before somebody else is said to use it.
const LOCK_AGAIN: Duration = Duration::from_millis(100);

/// Where a process finds its files.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `haishin.toml`, `segments/`, `campaigns/`, `drips/`.
    pub config: PathBuf,
    /// Database, socket, lock, tickets.
    pub state: PathBuf,
}

impl Paths {
    /// The socket commands speak to.
    pub fn socket(&self) -> PathBuf {
        self.state.join("haishin.sock")
    }

    /// Says that this state is a rehearsal's: where its set clock began.
    fn set_clock(&self) -> PathBuf {
        self.state.join("set-clock")
    }

    /// When the set clock of a rehearsal began; none on a state of the machine's time.
    fn began(&self) -> Option<Instant> {
        Instant::try_from(std::fs::read_to_string(self.set_clock()).ok()?.trim().to_owned()).ok()
    }
}

/// The state directory, held by this process alone.
#[derive(Debug)]
pub struct StateLock {
    _file: std::fs::File,
    /// Names the directory in leases.
    pub holder: String,
}

/// Takes the state directory's lock; `None` when another process has it.
pub fn lock_state(state: &Path, rng: &mut StdRng, lang: Lang) -> anyhow::Result<Option<StateLock>> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let doing = || {
        let state = state.display();
        lang.pick(
            format!("状態ディレクトリ {state} を使えません。場所と書き込み権限を確かめてください"),
            format!("cannot use the state directory {state}; does it exist, and may this user write there?"),
        )
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(state).with_context(doing)?;
    let options = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).to_owned();
    let file = options.open(state.join("haishin.lock")).with_context(doing)?;
    let lock = || rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    let mut tried = lock();
    // A process that was just killed holds its lock until the kernel has taken it apart.
    for _ in 0..LOCK_TRIES {
        if tried != Err(rustix::io::Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(LOCK_AGAIN);
        tried = lock();
    }
    match tried {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error).with_context(doing),
    }
    let named = state.join("node-id");
    let holder = match std::fs::read_to_string(&named) {
        Ok(id) if !id.trim().is_empty() => id.trim().to_owned(),
        _ => {
            use rand::Rng as _;
            let id = format!("{:016x}", rng.random::<u64>());
            std::fs::write(&named, format!("{id}\n")).with_context(doing)?;
            id
        }
    };
    Ok(Some(StateLock { _file: file, holder }))
}

/// A random source seeded by the machine: for tokens and jitter.
pub fn machine_rng() -> StdRng {
    StdRng::from_os_rng()
}

/// Starts engines with LINE over HTTP.
struct HttpStarter {
    deps: Deps,
    systems: Arc<HttpSystems>,
    clock: ClockKind,
    config: PathBuf,
    progress: Progress,
    stop: CancellationToken,
    engines: TaskTracker,
}

#[async_trait]
impl Starter for HttpStarter {
    fn admit(&self, configuration: &Configuration, lang: Lang) -> anyhow::Result<()> {
        let outside = configuration.webhooks.iter().find(|(_, webhook)| !webhook.is_loopback());
        if let Some((name, _)) = outside.filter(|_| self.clock != ClockKind::Machine) {
            bail!(lang.pick(
                format!("--clock は練習用です。[webhooks.{name}] の url をこのマシンのものにしてください"),
                format!("a set clock is for rehearsals: url of [webhooks.{name}] must be a loopback address"),
            ))
        }
        let outside = configuration.accounts.values().find(|account| !account.is_loopback());
        match outside {
            Some(account) if self.clock != ClockKind::Machine => {
                let slug = &account.slug;
                bail!(lang.pick(
                    format!("--clock は練習用です。アカウント「{slug}」の api_base をこのマシンのもの（haishin sandbox）にしてください"),
                    format!("a set clock is for rehearsals: api_base of account `{slug}` must be a loopback address (haishin sandbox)"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn line(&self, slug: &AccountSlug, active: &Active) -> anyhow::Result<Arc<dyn Api>> {
        let account = active.configuration.accounts.get(slug);
        let account = account.ok_or_else(|| AccountError::Unconfigured(slug.clone()))?;
        Ok(line_api(account, &self.config, self.deps.clock.clone())?)
    }

    fn webhook_secrets(&self, slug: &AccountSlug, active: &Active) -> anyhow::Result<Vec<SecretString>> {
        let account = active.configuration.accounts.get(slug);
        let account = account.ok_or_else(|| AccountError::Unconfigured(slug.clone()))?;
        let read = |source: &SecretSource| {
            let failed = |source| AccountError::Secret { account: slug.clone(), source };
            Ok(secret(source, &self.config).map_err(failed)?)
        };
        account.credentials.webhook_secrets().map(read).collect()
    }

    fn draw_secret(&self) -> anyhow::Result<Secret> {
        use rand::TryRngCore as _;
        let mut secret = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut secret)?;
        Ok(Secret(secret))
    }

    fn know_systems(&self, active: &Active) -> Vec<anyhow::Error> {
        let mut failures = Vec::new();
        let mut read = |name: &WebhookName, webhook: &Webhook| {
            let failed = |source| SystemError { system: name.clone(), source };
            let secret = secret(&webhook.secret, &self.config).map_err(failed);
            let secret = secret.map_err(|error| failures.push(error.into())).ok();
            (name.clone(), Address { url: webhook.url.clone(), secret })
        };
        let webhooks = &active.configuration.webhooks;
        self.systems.know(webhooks.iter().map(|(name, webhook)| read(name, webhook)).collect());
        failures
    }

    fn told(&self, error: &anyhow::Error, lang: Lang) -> String {
        causes(error, lang)
    }

    async fn start(&self, slug: &AccountSlug, active: &Active) -> anyhow::Result<Handle> {
        let line = self.line(slug, active)?;
        let claimed =
            Engine::claim(self.deps.clone(), slug.clone(), line, active.clone(), machine_rng()).await?;
        let handle = claimed.handle.clone();
        let pulse = self.progress.register(format!("account {slug}"), LONGEST_TURN);
        self.engines.spawn(claimed.serve(self.stop.clone(), move || pulse.beat()));
        Ok(handle)
    }
}

/// A node with its engines running.
pub struct Running {
    /// Answers commands.
    pub node: Arc<Node>,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Ends when all engines have handed their accounts over.
    pub engines: TaskTracker,
    /// Ends the engines.
    pub stop: CancellationToken,
    /// Copies of the database.
    pub backups: Arc<backup::Backups>,
    _lock: StateLock,
}

impl Running {
    /// Drains and ends the engines.
    pub async fn shut_down(self) {
        self.stop.cancel();
        self.engines.close();
        self.engines.wait().await;
    }
}

/// Whether time is the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockKind {
    /// It is.
    Machine,
    /// It was set to this instant for a rehearsal: nothing may leave this machine.
    Set(Instant),
}

/// Opens the database. Of a newer haishin's nothing is wrong with `haishin.toml`.
async fn open_store(url: &SecretString, lang: Lang) -> anyhow::Result<Arc<dyn Store>> {
    store::open(url.expose_secret()).await.map_err(|error| match error {
        StoreError::TooNew { .. } => error.into(),
        error => anyhow::Error::new(error).context(lang.pick(
            "データベースを使えません。haishin.toml の [database] を確かめてください",
            "the database cannot be used; see [database] in haishin.toml",
        )),
    })
}

/// Opens the database, activates the files if it is empty, and starts every account.
pub async fn start(
    paths: &Paths,
    settings: &NodeSettings,
    (clock, kind): (Arc<dyn Clock>, ClockKind),
    mode: Mode,
    lock: StateLock,
    progress: Progress,
    lang: Lang,
) -> anyhow::Result<Running> {
    let url = database_url(settings, paths, lang)?;
    let store = open_store(&url, lang).await?;
    let active = active_version(store.as_ref(), &paths.config, clock.as_ref(), lang).await?;
    let (stop, engines) = (CancellationToken::new(), TaskTracker::new());
    let systems = Arc::new(HttpSystems::new(systems::TIMEOUT)?);
    let deps = Deps {
        store: store.clone(),
        clock: clock.clone(),
        relay: Arc::new(HttpRelay::new()?),
        systems: systems.clone(),
        turnstile: Arc::new(Turnstile::default()),
        state_dir: paths.state.clone(),
        holder: lock.holder.clone(),
        mode,
    };
    let starter = HttpStarter {
        deps,
        systems,
        clock: kind,
        config: paths.config.clone(),
        progress,
        stop: stop.clone(),
        engines: engines.clone(),
    };
    starter.admit(&active.configuration, lang)?;
    // A command tells them nothing.
    for error in if mode == Mode::Daemon { starter.know_systems(&active) } else { Vec::new() } {
        tracing::error!(error = format!("{error:#}"), "a system of the shop's cannot be told anything yet");
    }
    let backups = backup::Backups::new(
        &paths.state,
        Database::of(&url),
        &lock.holder,
        clock.clone(),
        settings.backup_warn_after,
        stop.clone(),
    );
    let backups = Arc::new(backups);
    let disk = Arc::new(Disk::below(&paths.state, settings.disk_warn_below));
    let node = Node::new(store.clone(), clock, Box::new(starter), active);
    let node = node.with_backups(backups.clone()).with_machine(disk);
    let node = Arc::new(if mode == Mode::Daemon { node.as_daemon() } else { node });
    let failures = node.start_accounts().await;
    for (account, error) in &failures {
        tracing::error!(%account, error = format!("{error:#}"), "the account does not run");
    }
    if let (true, Some((_, error))) = (node.engines().is_empty(), failures.into_iter().next()) {
        return Err(
            error.context(lang.pick("開始できたアカウントがありません", "no account could be started"))
        );
    }
    Ok(Running { node, store, engines, stop, backups, _lock: lock })
}

/// A node for one command while no daemon runs. On the state of a rehearsal it goes on from the latest instant stored
/// there: the machine's time would make the rehearsal's days ahead past.
pub async fn start_for_command(
    paths: &Paths,
    settings: &NodeSettings,
    lock: StateLock,
    lang: Lang,
) -> anyhow::Result<Running> {
    let Some(began) = paths.began() else {
        let clock = Arc::new(SystemClock::new());
        return start(
            paths,
            settings,
            (clock, ClockKind::Machine),
            Mode::Command,
            lock,
            Progress::default(),
            lang,
        )
        .await;
    };
    let clock = Arc::new(SetClock::new(began, 1));
    let running = start(
        paths,
        settings,
        (clock.clone(), ClockKind::Set(began)),
        Mode::Command,
        lock,
        Progress::default(),
        lang,
    )
    .await?;
    for account in running.store.accounts().await? {
        if let Some(lease) = running.store.lease(account.id).await? {
            clock.skip_to(lease.seen_at);
        }
    }
    Ok(running)
}

/// The version that runs; an empty database activates the files at first start.
async fn active_version(
    store: &dyn Store,
    config: &Path,
    clock: &dyn Clock,
    lang: Lang,
) -> anyhow::Result<Active> {
    let now = clock.now();
    if let Some(stored) = store
        .active_version()
        .await
        .context(lang.pick("有効な設定を読めません", "the running configuration could not be read"))?
    {
        let source = Source { files: stored.files, ..Source::default() };
        let checked = config::parse(&source, stored.activated_at);
        let rendered = || config::render(&checked.diagnostics, &source, "", lang, Style::Plain);
        let configuration: Configuration = checked.configuration.clone().with_context(|| {
            lang.pick(
                format!("有効な版{} は、この haishin の検査に通りません:\n{}", stored.id, rendered()),
                format!("version {} no longer passes the check of this haishin:\n{}", stored.id, rendered()),
            )
        })?;
        return Ok(Active {
            version: stored.id,
            activated_at: stored.activated_at,
            configuration: Arc::new(configuration),
        });
    }
    let files = Source::read_texts(config).with_context(|| unreadable(config, lang))?;
    let plan = plan::check(files, now);
    plan::activate(store, plan, None, "first start", now, lang)
        .await
        .map_err(|failure| anyhow::anyhow!("{}", failure.message))
        .context(lang.pick(
            "この設定は有効にできません（haishin check）",
            "the configuration cannot go live; see `haishin check`",
        ))
}

fn secret(source: &SecretSource, config: &Path) -> Result<SecretString, SecretError> {
    source.read(config, &|name| std::env::var(name).ok())
}

fn read_files(config: &Path, lang: Lang) -> anyhow::Result<Source> {
    Source::read_dir(config).with_context(|| unreadable(config, lang))
}

fn unreadable(config: &Path, lang: Lang) -> String {
    let shown = config.display();
    lang.pick(
        format!("設定フォルダ {shown} を読めません（別の場所なら --config）"),
        format!("cannot read the configuration in {shown} (--config names another)"),
    )
}

/// LINE as this account reaches it.
fn line_api(account: &Account, config: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<HttpApi>> {
    let failed = |source| AccountError::Secret { account: account.slug.clone(), source };
    let read = |source: &SecretSource| secret(source, config).map_err(failed);
    let credentials = match &account.credentials.access_token {
        Some(token) => Credentials::AccessToken(read(token)?),
        None => Credentials::Channel {
            id: account.channel_id.clone(),
            secret: read(&account.credentials.channel_secret)?,
        },
    };
    let api = HttpApi::new(HttpSettings::new(account.api_base.clone(), credentials), clock)?;
    Ok(Arc::new(api))
}

/// This machine's settings, and where its files are.
pub fn settings(config: &Path, state: Option<&Path>, lang: Lang) -> anyhow::Result<(Paths, NodeSettings)> {
    let source = read_files(config, lang)?;
    let (node, diagnostics) = config::node::read(&source);
    let shown = || config::render(&diagnostics, &source, "", lang, Style::Plain);
    let node = node.with_context(|| {
        lang.pick(
            format!("haishin.toml を使えません:\n{}", shown()),
            format!("haishin.toml cannot be used:\n{}", shown()),
        )
    })?;
    let state = state.map_or_else(|| node.state_directory.clone(), Path::to_owned);
    Ok((Paths { config: config.to_owned(), state }, node))
}
