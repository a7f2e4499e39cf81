//! The generated shop and its narrator. Everything between the two is the product: the daemon, the import, the
//! LINE double, the shipped campaigns, on a clock that is set.

mod ask;
mod folder;
mod screen;
mod script;
mod shop;
mod story;
mod words;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::app::{self, Paths, daemon::Daemon};
use crate::clock::SetClock;
use crate::config::node::Node as NodeSettings;
use crate::domain::id::{AccountSlug, OccurrenceId};
use crate::engine::Mode;
use crate::lang::Lang;
use crate::lifecycle::{self, Notifier, Progress, Shutdown};
use crate::protocol::Command;
use crate::sandbox::{self, Sandbox, SandboxFriend};
use crate::telemetry;
use ask::Desk;
use folder::{Folder, pointed_at};
use screen::Screen;
use story::{Left, Story};
use words::Words;

/// Where the sandbox listens unless told otherwise.
const PORT: u16 = 8471;
/// How long a drain may take: a slow answer and a commit.
const DRAIN: Duration = Duration::from_secs(15);

/// What a person asks of a demo.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it keeps its files.
    pub dir: PathBuf,
    /// Begin anew.
    pub fresh: bool,
    /// End after the first occurrence.
    pub once: bool,
    /// The sandbox's port; 0 for a free one, none for the usual one.
    pub port: Option<u16>,
    /// How fast its clock runs.
    pub speed: u32,
}

/// Runs the demo until a signal ends it, or with `once` until the first occurrence has ended; the exit code.
pub async fn run(options: &Options, lang: Lang) -> anyhow::Result<u8> {
    let folder = Folder::open(&options.dir, lang)?;
    if app::lock_state(&folder.state(), &mut app::machine_rng())?.is_none() {
        bail!(match lang {
            Lang::Ja => format!("{} のデモはもう動いています", options.dir.display()),
            Lang::En => format!("the demo in {} is already running", options.dir.display()),
        });
    }
    if options.fresh {
        folder.clear()?;
    }
    folder.furnish()?;
    install_logs(&folder)?;
    let listener = listen(options.port, folder.port()).await?;
    folder.point_at(listener.local_addr()?.port())?;
    let state = folder.state();
    let (paths, mut settings) = app::settings(&folder.config(), Some(&state), lang)?;
    settings.http.listen = free(settings.http.listen).await;
    let mut stage = Stage {
        account: AccountSlug::parse(script::ACCOUNT)?,
        clock: Arc::new(SetClock::new(script::BEGIN, options.speed)),
        screen: Screen::new(),
        friends: Vec::new(),
        title: String::new(),
        left: BTreeMap::new(),
        lang,
    };
    stage.set(&paths, &settings, listener.local_addr()?.port()).await?;
    stage.play(options, folder, paths, settings, listener).await
}

fn install_logs(folder: &Folder) -> anyhow::Result<()> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.log());
    let log = log.with_context(|| format!("cannot write {}", folder.log().display()))?;
    let subscriber = telemetry::subscriber(telemetry::LogFormat::Text, "info", false, Mutex::new(log))?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(())
}

/// A listener at the port asked for; without one, at the port of the last time or the usual one, else a free one.
async fn listen(asked: Option<u16>, last: Option<u16>) -> anyhow::Result<TcpListener> {
    let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    match asked {
        Some(port) => at(port)
            .await
            .with_context(|| format!("port {port} is taken: choose another --port, or --port 0")),
        None => match at(last.unwrap_or(PORT)).await {
            Ok(listener) => Ok(listener),
            Err(_) => Ok(at(0).await?),
        },
    }
}

/// The address if it is free, else any free port of this machine.
async fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address).await {
        Ok(_) => address,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

/// What is made ready before the daemon runs.
struct Stage {
    account: AccountSlug,
    clock: Arc<SetClock>,
    screen: Screen,
    friends: Vec<SandboxFriend>,
    title: String,
    left: BTreeMap<OccurrenceId, Left>,
    lang: Lang,
}

impl Stage {
    /// Opens the ledger with a node that sends nothing: takes the clock up where it stopped, looks at what was left
    /// open, follows the port, and takes the friends in where the story has not begun.
    async fn set(&mut self, paths: &Paths, settings: &NodeSettings, port: u16) -> anyhow::Result<()> {
        let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng())? else {
            bail!("another haishin uses {}: try again in a few seconds", paths.state.display());
        };
        let (clock, progress) = (self.clock.clone(), Progress::new());
        let running = app::start(paths, settings, clock, Mode::Command, lock, progress, self.lang).await?;
        let desk = Desk::new(running.node.clone(), self.account.clone(), self.lang);
        let status = desk.status().await?;
        self.clock.skip_to(status.seen_at);
        self.left = story::left_open(&desk, &status).await?;
        let active = running.node.active();
        let account = active.configuration.accounts.get(&self.account);
        let account = account.with_context(|| format!("account `{}` is not configured", self.account))?;
        self.title = account.title.clone();
        if account.api_base != format!("http://127.0.0.1:{port}") {
            self.follow(&running, &desk, port).await?;
        }
        let shop = shop::friends()?;
        if status.open.is_empty() && desk.occurrences().await?.is_empty() {
            let words = self.words(&running);
            self.screen.live(words.preparing());
            // Instants of the days ahead count from when they come; a killed import is simply done again.
            desk.import(shop.iter().flat_map(|friend| friend.intakes.clone()).collect()).await?;
        }
        self.friends = shop.into_iter().map(|friend| friend.phone).collect();
        running.shut_down().await;
        Ok(())
    }

    /// Makes the running configuration name the sandbox's new port.
    async fn follow(&self, running: &app::Running, desk: &Desk, port: u16) -> anyhow::Result<()> {
        let active = running.store.active_version().await?.context("no configuration is active")?;
        let mut files = active.files;
        let main = files.get_mut("haishin.toml").context("the running configuration has no haishin.toml")?;
        *main = pointed_at(main, port, None)?;
        let command = Command::Apply { files, expected: Some(active.id) };
        desk.ask::<serde_json::Value>(command).await?;
        Ok(())
    }

    fn words(&self, running: &app::Running) -> Words {
        let active = running.node.active();
        let zone = active.configuration.accounts.get(&self.account).map(|account| account.policy.zone);
        Words { lang: self.lang, zone: zone.unwrap_or(crate::domain::time::Tz::UTC) }
    }

    /// Runs sandbox, daemon and narrator to their end.
    async fn play(
        self,
        options: &Options,
        folder: Folder,
        paths: Paths,
        settings: NodeSettings,
        listener: TcpListener,
    ) -> anyhow::Result<u8> {
        let Stage { account, clock, screen, friends, title, left, lang } = self;
        let phone = format!("http://{}/phone", listener.local_addr()?);
        let memory = paths.state.join("line-sandbox.jsonl");
        let sandbox = Arc::new(Sandbox::new(script::sandbox(friends, title, options.speed, memory))?);
        let closing = CancellationToken::new();
        let serving = tokio::spawn(sandbox::serve(sandbox.clone(), listener, clock.clone(), closing.clone()));

        let shutdown = Shutdown::new();
        let (reloads, reloading) = mpsc::channel(1);
        let signals = lifecycle::signals()?;
        tokio::spawn(lifecycle::supervise(signals, shutdown.clone(), reloads, Notifier::nobody(), DRAIN));
        let Some(lock) = app::lock_state(&paths.state, &mut app::machine_rng())? else {
            bail!("another haishin uses {}: try again in a few seconds", paths.state.display());
        };
        let metrics = telemetry::install_metrics()?;
        let daemon = Daemon { paths, settings, clock: clock.clone(), set_clock: true, lang, metrics };
        let (ready, readied) = oneshot::channel();
        let running =
            tokio::spawn(daemon.run(lock, shutdown.clone(), Notifier::nobody(), reloading, |node| {
                // The narrator is there as long as the daemon starts.
                let _ = ready.send(node);
            }));
        // No node: the daemon did not start, and says why below.
        let told = match readied.await {
            Err(_) => Ok(()),
            Ok(node) => {
                let zone = node.active().configuration.accounts.get(&account).map(|of| of.policy.zone);
                let words = Words { lang, zone: zone.unwrap_or(crate::domain::time::Tz::UTC) };
                let story = Story {
                    desk: Desk::new(node.clone(), account.clone(), lang),
                    node,
                    account,
                    sandbox,
                    clock,
                    screen,
                    words,
                    phone,
                    config: folder.config().display().to_string(),
                    dir: options.dir.display().to_string(),
                    speed: options.speed,
                    once: options.once,
                    left,
                    stop: shutdown.soft().clone(),
                };
                story.tell().await
            }
        };
        let asked_to_end = shutdown.soft().is_cancelled();
        shutdown.drain();
        running.await??;
        closing.cancel();
        serving.await??;
        // An engine that is ending answers no more questions: that is no failure of the story.
        if !asked_to_end {
            told?;
        }
        Ok(u8::from(shutdown.failed()))
    }
}
