//! A machine with its daemon: started, killed wherever it is, stopped and gone on, asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use haishin::config::{self, Source};
use haishin::domain::id::{AccountSlug, VersionId};
use haishin::domain::time::Span;
use haishin::engine::turnstile::Turnstile;
use haishin::engine::{Active, Ask, Deps, Engine, Event, Handle, Mode};
use haishin::lang::Lang;
use haishin::line::relay::{Passed, Relay};
use haishin::protocol::{Answer, Command, Failure};
use haishin::store::Store;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::gate::{Gate, gated};
use super::network::{Network, Wire};
use super::time::Machine;
use crate::support::faulty::Faulty;
use crate::support::systems::FakeSystems;

/// Every configuration that ever went live, read once.
#[derive(Default)]
pub struct Versions(Mutex<BTreeMap<VersionId, Active>>);

impl Versions {
    /// The one that runs.
    pub async fn running(&self, store: &dyn Store) -> Active {
        let version = store.active_version().await.unwrap().expect("something runs");
        let mut known = self.0.lock().unwrap();
        let read = || {
            let source = Source { files: version.files, ..Source::default() };
            let checked = config::parse(&source, version.activated_at);
            let configuration = Arc::new(checked.configuration.expect("it was checked"));
            Active { version: version.id, activated_at: version.activated_at, configuration }
        };
        known.entry(version.id).or_insert_with(read).clone()
    }
}

/// Nobody has webhooks handed on.
struct NoRelay;

#[async_trait]
impl Relay for NoRelay {
    async fn pass_on(&self, _url: &str, _signature: &str, _body: String) -> Passed {
        Passed::Taken
    }
}

/// One machine, whatever runs on it.
pub struct Node {
    pub n: usize,
    pub machine: Arc<Machine>,
    /// The store as its processes meet it.
    pub store: Arc<Faulty>,
    network: Arc<Network>,
    versions: Arc<Versions>,
    state: tempfile::TempDir,
    process: Option<Process>,
    starts: u64,
}

struct Process {
    gate: Arc<Gate>,
    handle: watch::Receiver<Option<Handle>>,
    task: JoinHandle<()>,
}

impl Node {
    pub fn new(
        n: usize,
        machine: Arc<Machine>,
        store: Arc<Faulty>,
        network: Arc<Network>,
        versions: Arc<Versions>,
    ) -> Self {
        // In memory where that can be: nothing here outlives its test.
        let memory = std::path::Path::new("/dev/shm");
        let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let state = tempfile::tempdir_in(within).unwrap();
        Self { n, machine, store, network, versions, state, process: None, starts: 0 }
    }

    /// Starts a daemon. It claims the account as soon as it can.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "one daemon on a machine");
        self.starts += 1;
        let gate = Gate::new();
        let deps = Deps {
            store: self.store.clone(),
            clock: self.machine.clone(),
            relay: Arc::new(NoRelay),
            systems: Arc::new(FakeSystems::new(self.machine.clone())),
            turnstile: Arc::<Turnstile>::default(),
            state_dir: self.state.path().to_owned(),
            holder: format!("node {}", self.n),
            mode: Mode::Daemon,
        };
        let line = Arc::new(Wire {
            network: self.network.clone(),
            machine: self.machine.clone(),
            gate: gate.clone(),
            node: self.n,
        });
        let (tell, handle) = watch::channel(None);
        let (versions, seed) = (self.versions.clone(), self.starts);
        let living = async move {
            loop {
                let active = versions.running(deps.store.as_ref()).await;
                let (slug, rng) = (AccountSlug::parse("shop").unwrap(), StdRng::seed_from_u64(seed));
                match Engine::claim(deps.clone(), slug, line.clone(), active, rng).await {
                    Ok(claimed) => {
                        tell.send_replace(Some(claimed.handle.clone()));
                        return claimed.serve(CancellationToken::new(), || ()).await;
                    }
                    Err(_) => deps.clock.sleep(Span::from_secs(1)).await,
                }
            }
        };
        let task = tokio::spawn(gated(gate.clone(), living));
        self.process = Some(Process { gate, handle, task });
    }

    /// Kills its daemon wherever it is. What has left arrives all the same.
    pub async fn kill(&mut self) {
        if let Some(Process { gate, task, .. }) = self.process.take() {
            gate.die();
            task.abort();
            // It was aborted: it is gone.
            let _ = task.await;
        }
    }

    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.gate.is_open())
    }

    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Its daemon is stopped as by SIGSTOP, until it goes on.
    pub fn stop(&self) {
        self.process.iter().for_each(|process| process.gate.close());
    }

    pub fn go_on(&self) {
        self.process.iter().for_each(|process| process.gate.open());
    }

    /// What it noted beside its database is lost.
    pub fn forget_tickets(&self) {
        for file in std::fs::read_dir(self.state.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }

    fn handle(&self) -> Option<Handle> {
        self.process.as_ref()?.handle.borrow().clone()
    }

    /// Asks its daemon; nothing where that does not answer in time.
    pub async fn ask(&self, command: Command) -> Option<Result<Answer, Failure>> {
        let handle = self.handle().filter(|_| self.runs())?;
        let (answer, answered) = oneshot::channel();
        let (rows, _listing) = mpsc::channel(64);
        let ask = Ask { command, lang: Lang::En, by: "somebody".into(), rows, answer };
        let asking = async {
            handle.send(Event::Ask(ask)).await.then_some(())?;
            answered.await.ok()
        };
        tokio::time::timeout(Duration::from_secs(15), asking).await.ok().flatten()
    }

    /// Tells its daemon what went live.
    pub async fn activated(&self) {
        let Some(handle) = self.handle() else { return };
        let active = self.versions.running(self.store.as_ref()).await;
        let telling = handle.send(Event::Activated { active, line: None });
        let _ = tokio::time::timeout(Duration::from_secs(1), telling).await;
    }
}
