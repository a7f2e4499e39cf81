//! The generated shop and its narrator. Everything between the two is the product: the daemon, the import, the
//! LINE double, the shipped campaigns, on a clock that is set.

mod ask;
mod folder;
mod screen;
mod script;
mod shop;
mod stage;
mod story;
mod words;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::app::{self, ClockKind, Paths, StateLock, daemon::Daemon};
use crate::clock::SetClock;
use crate::config::node::Node as NodeSettings;
use crate::domain::id::AccountSlug;
use crate::lang::Lang;
use crate::lifecycle::{self, Notifier, Shutdown};
use crate::sandbox::{self, Sandbox};
use crate::telemetry;
use ask::Desk;
use folder::Folder;
use screen::Screen;
use stage::{Scene, Stage};
use story::Story;
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
    drop(lock(&folder.state(), lang)?);
    if options.fresh {
        folder.clear()?;
    }
    folder.furnish()?;
    install_logs(&folder)?;
    let line = listen(options.port, folder.port().unwrap_or(PORT), lang).await?;
    let port = line.local_addr()?.port();
    folder.point_at(port)?;
    let (paths, settings) = app::settings(&folder.config(), Some(&folder.state()), lang)?;
    let pages = listen_at(settings.http.listen).await?;
    let clock = Arc::new(SetClock::new(script::BEGIN, options.speed));
    let mut screen = Screen::new();
    let stage =
        Stage { account: AccountSlug::parse(script::ACCOUNT)?, paths: &paths, settings: &settings, lang };
    let scene = stage.set(&clock, port, &mut screen).await?;
    let play = Play { options, folder, account: stage.account, clock, lang };
    play.run(scene, screen, (paths, settings), (line, pages)).await
}

/// The state directory's lock, or a word that another demo has it.
fn lock(state: &std::path::Path, lang: Lang) -> anyhow::Result<StateLock> {
    let Some(lock) = app::lock_state(state, &mut app::machine_rng(), lang)? else {
        bail!(match lang {
            Lang::Ja => format!(
                "{} では別の haishin が動いています。終わるのを待つか、--dir で別の場所を選んでください",
                state.display()
            ),
            Lang::En => format!(
                "another haishin runs on {}: wait for its end, or choose another --dir",
                state.display()
            ),
        });
    };
    Ok(lock)
}

fn install_logs(folder: &Folder) -> anyhow::Result<()> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.log());
    let log = log.with_context(|| format!("cannot write {}", folder.log().display()))?;
    let filter = "info,tokio_cron_scheduler=warn";
    let subscriber = telemetry::subscriber(telemetry::LogFormat::Text, filter, false, Mutex::new(log))?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(())
}

/// A listener at the port asked for; without one, at the usual one, else at a free one.
async fn listen(asked: Option<u16>, usual: u16, lang: Lang) -> anyhow::Result<TcpListener> {
    match asked {
        Some(port) => {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
            bound.with_context(|| {
                lang.pick(
                    format!("ポート {port} は使われています。別の --port か --port 0 を選んでください"),
                    format!("port {port} is taken: choose another --port, or --port 0"),
                )
            })
        }
        None => listen_at((Ipv4Addr::LOCALHOST, usual).into()).await,
    }
}

/// A listener at the address if it is free, else at any free port of this machine.
async fn listen_at(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(_) => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?),
    }
}

/// A demo about to run.
struct Play<'a> {
    options: &'a Options,
    folder: Folder,
    account: AccountSlug,
    clock: Arc<SetClock>,
    lang: Lang,
}

impl Play<'_> {
    /// Runs sandbox, daemon and narrator to their end.
    async fn run(
        self,
        scene: Scene,
        screen: Screen,
        (paths, settings): (Paths, NodeSettings),
        (line, pages): (TcpListener, TcpListener),
    ) -> anyhow::Result<u8> {
        let phone = format!("http://{}/phone", line.local_addr()?);
        let memory = paths.state.join("line-sandbox.jsonl");
        let settings_of_line = script::sandbox(scene.friends, scene.title, self.options.speed, memory);
        let sandbox = Arc::new(Sandbox::new(settings_of_line)?);
        let closing = CancellationToken::new();
        let serving =
            tokio::spawn(sandbox::serve(sandbox.clone(), line, self.clock.clone(), closing.clone()));

        let shutdown = Shutdown::new();
        let (reloads, reloading) = mpsc::channel(1);
        let signals = lifecycle::signals()?;
        tokio::spawn(lifecycle::supervise(signals, shutdown.clone(), reloads, Notifier::nobody(), DRAIN));
        let lock = lock(&paths.state, self.lang)?;
        let daemon = Daemon {
            paths,
            settings,
            clock: self.clock.clone(),
            kind: ClockKind::Set(script::BEGIN),
            listener: pages,
            lang: self.lang,
            metrics: telemetry::install_metrics()?,
        };
        let (ready, readied) = oneshot::channel();
        let running =
            tokio::spawn(daemon.run(lock, shutdown.clone(), Notifier::nobody(), reloading, |node| {
                // The narrator is there as long as the daemon starts.
                let _ = ready.send(node);
            }));
        // Without a node the daemon did not start, and says why below.
        let told = match readied.await {
            Err(_) => Ok(()),
            Ok(node) => {
                let story = Story {
                    desk: Desk::new(node.clone(), self.account.clone(), self.lang),
                    node,
                    account: self.account,
                    sandbox,
                    clock: self.clock,
                    screen,
                    words: Words { lang: self.lang, zone: scene.zone },
                    phone,
                    config: self.folder.config().display().to_string(),
                    dir: self.options.dir.display().to_string(),
                    speed: self.options.speed,
                    once: self.options.once,
                    left: scene.left,
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
