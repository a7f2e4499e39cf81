//! One history of a shop, drawn from a seed: what happens to it, in what order, to its end.

mod mishaps;
mod people;
mod rest;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::Clock as _;
use haishin::domain::effect::Effect;
use haishin::domain::friend::Status;
use haishin::domain::id::AccountId;
use haishin::domain::time::{Instant, Span};
use haishin::sandbox::{InProcess, KeyLookup, Sandbox, Settings};
use haishin::store::memory::MemoryStore;
use haishin::store::{NewInbox, OccurrenceFilter, Store as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::broken::{Broken, Bug};
use super::judge::{Evidence, Known, Silence};
use super::network::Network;
use super::node::{Node, Versions};
use super::spec::{DAYS, Spec};
use super::time::Machine;
use crate::support::faulty::Faulty;
use crate::support::world::{CHANNEL, channel_settings, token};

/// What happens in one history.
const ACTS: usize = 45;
/// In some a backup is taken here…
const TAKEN: usize = 10;
/// …and restored here.
const RESTORED: usize = 35;
/// Awake so long before something falls due, no daemon takes it for missed.
const AWAKE: Span = Span::from_secs(40);
/// Looks after the end until everything has come to its own.
const LOOKS: usize = 400;

/// A shop, and everything around it.
pub struct History {
    rng: StdRng,
    spec: Spec,
    first: Spec,
    memory: MemoryStore,
    account: AccountId,
    /// Where webhooks and calls come in.
    door: Faulty,
    nodes: Vec<Node>,
    network: Arc<Network>,
    sandbox: Arc<Sandbox>,
    /// LINE's clock, which is right.
    truth: Arc<Machine>,
    broken: Option<Arc<Broken>>,
    known: BTreeMap<u32, Known>,
    silences: Vec<Silence>,
    edited: BTreeSet<String>,
    /// Campaigns whose file was taken away, or is another's: nothing is known of their schedule.
    reshaped: BTreeSet<String>,
    stopped_once: bool,
    backup: Option<MemoryStore>,
    set_back: bool,
    /// It is a history of a backup that is restored, on one machine: the other one could not know.
    is_set_back: bool,
    /// Another machine takes over at times.
    two_machines: bool,
    /// Campaigns that quiet hours do not bind, in some version.
    immediate: BTreeSet<String>,
    wrong_clocks: bool,
    told: u64,
    /// Drip steps may be due then.
    awaited: Vec<Instant>,
    pub trace: Vec<String>,
}

/// What a history came to.
pub struct End {
    pub trace: Vec<String>,
    pub wrong: Vec<String>,
    pub requests: usize,
}

fn delays(seed: u64) -> impl FnMut() -> Duration + Send + 'static {
    let mut rng = StdRng::seed_from_u64(seed);
    move || Duration::from_millis(if rng.random_bool(0.1) { rng.random_range(0..900) } else { 1 })
}

impl History {
    pub async fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let spec = Spec::draw(&mut rng);
        let truth = Machine::new("LINE", spec.beginning);
        let settings = Settings {
            seed,
            key_lookup: if rng.random_bool(0.5) {
                KeyLookup::BeforeValidation
            } else {
                KeyLookup::AfterValidation
            },
            ..Settings::new(vec![channel_settings("shop", CHANNEL)])
        };
        let sandbox = Arc::new(Sandbox::new(settings).unwrap());
        let line = InProcess::new(sandbox.clone(), truth.clone(), &token(CHANNEL), Span::from_secs(10));
        let broken = bug.map(|bug| Arc::new(Broken::new(bug)));
        let memory = MemoryStore::new(seed);
        let slug = "shop".parse().unwrap();
        let account = memory.ensure_account(&slug, CHANNEL, spec.beginning).await.unwrap();
        let network = Network::new(line, (memory.again(), account), seed, broken.clone());
        let versions = Arc::new(Versions::default());
        let node = |n: usize| {
            let mut store = Faulty::over(Arc::new(memory.again())).slow(delays(seed * 2 + n as u64));
            if let Some(broken) = &broken {
                store = store.broken(broken.writes(), broken.bug == Bug::CapsForgotten);
            }
            let machine = Machine::new(&format!("node {n}"), spec.beginning);
            Node::new(n, machine, Arc::new(store), network.clone(), versions.clone())
        };
        let nodes = vec![node(0), node(1)];
        let is_set_back = bug == Some(Bug::TicketForgotten) || rng.random_bool(0.12);
        let two_machines = !is_set_back && rng.random_bool(0.5);
        let mut history = Self {
            door: Faulty::over(Arc::new(memory.again())),
            first: spec.clone(),
            rng,
            spec,
            memory,
            account,
            nodes,
            network,
            sandbox,
            truth,
            broken,
            known: BTreeMap::new(),
            silences: Vec::new(),
            edited: BTreeSet::new(),
            reshaped: BTreeSet::new(),
            stopped_once: false,
            backup: None,
            set_back: false,
            is_set_back,
            two_machines,
            immediate: BTreeSet::new(),
            wrong_clocks: false,
            told: 0,
            awaited: Vec::new(),
            trace: Vec::new(),
        };
        history.begin().await;
        history
    }

    async fn begin(&mut self) {
        self.trace.push(self.spec.settings());
        for (name, text) in self.spec.files() {
            self.trace.push(format!("--- {name}\n{text}"));
        }
        self.apply().await;
        let effect = Effect::Status { status: Status::Following, followed_at: Some(self.truth.now()) };
        let all: Vec<(u32, Effect)> = (0..self.spec.friends).map(|n| (n, effect.clone())).collect();
        self.tell(NewInbox::IMPORT, &all).await;
        self.nodes[0].start();
        self.pass(Duration::from_secs(3)).await;
    }

    fn note(&mut self, what: String) {
        self.trace.push(format!("{} {what}", self.truth.now()));
    }

    /// The whole of it, judged.
    pub async fn live(mut self) -> End {
        for n in 0..ACTS {
            match n {
                TAKEN if self.is_set_back => self.take_backup(),
                RESTORED if self.is_set_back => self.restore_backup().await,
                _ => self.act().await,
            }
            self.attend().await;
        }
        let ended_at = self.come_to_rest().await;
        let calls = self.network.calls();
        let store = self.memory.again();
        let untouched = |slug: &&String| !self.edited.contains(*slug) && !self.stopped_once;
        let evidence = Evidence {
            spec: &self.first,
            store: &store,
            account: self.account,
            sandbox: &self.sandbox,
            calls,
            silences: &self.silences,
            known: &self.known,
            immediate: &self.immediate,
            reshaped: &self.reshaped,
            set_back: self.set_back,
            wrong_clocks: self.wrong_clocks,
            untouched: self.first.campaigns.keys().filter(untouched).cloned().collect(),
            ended_at,
        };
        let mut wrong = evidence.judge().await;
        wrong.truncate(20);
        let requests = evidence.calls.len();
        for call in &evidence.calls {
            self.trace.push(format!("{} request from node {} under {}", call.at, call.node, call.key));
        }
        let newest = OccurrenceFilter::Newest { campaign: None, limit: 1_000 };
        for row in self.memory.occurrences(self.account, newest).await.unwrap().iter().rev() {
            let ended = self.memory.deliveries(self.account, row.id).await.unwrap();
            let ended =
                ended.iter().map(|set| (set.effective_at.to_string(), set.outcome, set.friends.len()));
            self.trace.push(format!(
                "{} {}{} {:?} of {}, frozen {}, {:?}, {} matched: {:?}",
                row.id,
                row.campaign,
                row.step.as_ref().map_or(String::new(), |step| format!(" {step}")),
                row.run,
                row.due_at,
                row.frozen_at,
                row.state,
                row.matched,
                ended.collect::<Vec<_>>()
            ));
        }
        for act in self.memory.acts(self.account, 1_000).await.unwrap().iter().rev() {
            self.trace.push(format!("{} done: {} {} {}", act.at, act.act, act.subject, act.detail));
        }
        End { trace: self.trace, wrong, requests }
    }

    async fn act(&mut self) {
        match self.rng.random_range(0..100) {
            0..22 => self.tell_something().await,
            22..32 => {
                let seconds = self.rng.random_range(1..40);
                self.note(format!("{seconds} s pass"));
                self.pass(Duration::from_secs(seconds)).await;
            }
            32..57 => self.hop().await,
            57..64 => self.crash().await,
            64..72 => self.doom(),
            72..77 => self.suspend().await,
            77..80 => self.jump(),
            80..85 if self.two_machines => self.second_node().await,
            85..92 => self.command().await,
            92..94 => self.edit().await,
            94..98 => self.change_weather(),
            _ => self.hop().await,
        }
    }

    /// Time passes, awake.
    async fn pass(&mut self, span: Duration) {
        tokio::time::sleep(span).await;
    }

    /// Time passes while every machine sleeps.
    async fn sleep(&mut self, span: Span) {
        let awake: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].runs()).collect();
        awake.iter().for_each(|n| self.nodes[*n].stop());
        // What is on its way arrives: no network keeps a request for hours.
        let arriving = span.min(Span::from_mins(1));
        self.pass(arriving.to_std()).await;
        tokio::time::advance((span.to_std()) - arriving.to_std()).await;
        awake.iter().for_each(|n| self.nodes[*n].go_on());
    }

    /// To shortly before something falls due, and past it.
    async fn hop(&mut self) {
        let now = self.truth.now();
        let mut ahead: Vec<Instant> = self.spec.instants();
        ahead.extend(&self.awaited);
        ahead.retain(|at| *at > now);
        ahead.sort();
        let nth = self.rng.random_range(0..4);
        let Some(at) = ahead.get(nth.min(ahead.len().saturating_sub(1))).copied() else { return };
        if at - self.spec.beginning > Span::from_days(DAYS as i64) {
            return;
        }
        // Now and then it sleeps past it.
        let to = if self.rng.random_bool(0.85) { at - AWAKE } else { at + Span::from_secs(5) };
        self.note(format!("asleep until {to}"));
        if to > now {
            self.sleep(to - now).await;
        }
        let seconds = self.rng.random_range(41..60);
        self.pass(Duration::from_secs(seconds)).await;
    }
}

impl Known {
    fn hear(&mut self, effect: &Effect) {
        match effect {
            Effect::Status { status, .. } => self.following = *status == Status::Following,
            Effect::TagAdded { tag } => drop(self.tags.insert(tag.to_string())),
            Effect::TagRemoved { tag } => drop(self.tags.remove(tag.as_str())),
            Effect::Event { .. } => self.carts += 1,
            Effect::Erased => *self = Self { was_erased: true, ..Self::default() },
            _ => {}
        }
    }
}
