//! One history of a shop, drawn from a seed: what happens to it, in what order, to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use haishin::clock::Clock as _;
use haishin::domain::drip::Standing;
use haishin::domain::effect::{DedupeId, DedupeKind, Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::AccountId;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::{Answer, Command, DueChoice, Resolution};
use haishin::sandbox::{Fault, FaultKind, InProcess, KeyLookup, Sandbox, Settings};
use haishin::store::memory::MemoryStore;
use haishin::store::{NewInbox, OccurrenceFilter, Store};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::broken::{Broken, Bug};
use super::judge::{Evidence, Known, SET_BACK, Silence, is_durable};
use super::network::{Network, Weather};
use super::node::{Node, Versions};
use super::spec::{DAYS, Spec};
use super::time::Machine;
use crate::support::faulty::{Faulty, Mishap};
use crate::support::world::{CHANNEL, activate, channel_settings, slug, token, user};

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

    fn intakes(&mut self, said: &[(u32, Effect)]) -> Vec<Intake> {
        let at = self.truth.now();
        let mut intake = |(n, effect): &(u32, Effect)| {
            self.told += 1;
            let mut digest = [0; 16];
            digest[..8].copy_from_slice(&self.told.to_be_bytes());
            let dedupe = effect.is_event().then_some(DedupeId { kind: DedupeKind::Event, digest });
            Intake { friend: user(*n).into(), at, effect: effect.clone(), dedupe }
        };
        said.iter().map(&mut intake).collect()
    }

    /// Told again until it is acknowledged, and now and then once more.
    async fn tell(&mut self, source: &str, said: &[(u32, Effect)]) {
        let intakes = self.intakes(said);
        let row =
            NewInbox { account: self.account, received_at: self.truth.now(), source: source.into(), intakes };
        if self.rng.random_bool(0.2) {
            let mishap = [Mishap::Refused, Mishap::LostBefore, Mishap::LostAfter];
            self.door.strike(1, mishap[self.rng.random_range(0..3)]);
        }
        while self.door.append_inbox(vec![row.clone()]).await.is_err() {
            self.pass(Duration::from_millis(200)).await;
        }
        if self.rng.random_bool(0.2) {
            self.door.append_inbox(vec![row]).await.unwrap();
        }
        said.iter().for_each(|(n, effect)| self.known.entry(*n).or_default().hear(effect));
    }

    async fn tell_something(&mut self) {
        let mut said = Vec::new();
        for _ in 0..self.rng.random_range(1..4) {
            let n = self.rng.random_range(0..self.spec.friends);
            let is_there = self.known.get(&n).is_some_and(|known| known.following);
            let tag = |tag: &str| tag.parse().unwrap();
            let effect = match self.rng.random_range(0..20) {
                _ if !is_there => {
                    Effect::Status { status: Status::Following, followed_at: Some(self.truth.now()) }
                }
                0 => Effect::Status { status: Status::Blocked, followed_at: None },
                1 => Effect::Erased,
                2..5 => Effect::TagRemoved { tag: tag(["vip", "trial"][self.rng.random_range(0..2)]) },
                5..10 => Effect::TagAdded { tag: tag("trial") },
                10..14 => Effect::TagAdded { tag: tag("vip") },
                _ => Effect::Event {
                    name: "cart".parse().unwrap(),
                    event_id: None,
                    properties: BTreeMap::new(),
                },
            };
            // What follows it in the same breath would be said of somebody new.
            if said.iter().all(|(other, _)| *other != n) {
                said.push((n, effect));
            }
        }
        self.note(format!("told: {said:?}"));
        let after = self.spec.drips.values().flat_map(|drip| drip.steps.iter().map(|step| step.after));
        let now = self.truth.now();
        let awaited: Vec<Instant> = after.map(|minutes| now + Span::from_mins(minutes.into())).collect();
        self.awaited.extend(awaited);
        self.tell(NewInbox::API, &said).await;
        if self.rng.random_bool(0.5) {
            self.pass(Duration::from_secs(2)).await;
        }
    }

    fn a_node(&mut self) -> usize {
        let up: Vec<usize> = (0..2).filter(|n| self.nodes[*n].is_up()).collect();
        if up.is_empty() { 0 } else { up[self.rng.random_range(0..up.len())] }
    }

    async fn crash(&mut self) {
        let n = self.a_node();
        self.note(format!("node {n} is killed"));
        self.nodes[n].kill().await;
        match self.rng.random_range(0..4) {
            0 => {
                let hours = self.rng.random_range(1..30);
                self.note(format!("{hours} h pass"));
                self.sleep(Span::from_hours(hours)).await;
            }
            1 => self.pass(Duration::from_secs(20)).await,
            _ => {}
        }
        self.nodes[n].start();
    }

    /// One of its next writes will go wrong.
    fn doom(&mut self) {
        use Mishap::{LostAfter, LostBefore, Refused, StuckAfter, StuckBefore};
        let n = self.a_node();
        for _ in 0..self.rng.random_range(1..4) {
            let all = [Refused, LostBefore, LostAfter, StuckBefore, StuckAfter, StuckBefore, StuckAfter];
            let (nth, mishap) = (self.rng.random_range(1..14), all[self.rng.random_range(0..all.len())]);
            self.note(format!("write {nth} of node {n}: {mishap:?}"));
            self.nodes[n].store.strike(nth, mishap);
        }
    }

    /// Whoever is stuck in the database was killed there, or was only stopped.
    async fn attend(&mut self) {
        for n in 0..self.nodes.len() {
            if !self.nodes[n].store.holds() {
                continue;
            }
            if self.rng.random_bool(0.6) {
                self.note(format!("node {n} was killed in a write"));
                self.nodes[n].kill().await;
                self.nodes[n].store.release();
                self.nodes[n].start();
            } else if self.rng.random_bool(0.5) {
                self.note(format!("the write of node {n} goes on"));
                self.nodes[n].store.release();
            }
        }
    }

    async fn suspend(&mut self) {
        let n = self.a_node();
        let seconds = match self.rng.random_range(0..6) {
            0..3 => self.rng.random_range(1..30),
            3 | 4 => self.rng.random_range(30..7_200),
            _ => 25 * 3_600,
        };
        self.note(format!("node {n} is stopped for {seconds} s"));
        self.nodes[n].stop();
        if seconds > 60 {
            self.pass(Duration::from_secs(15)).await;
            self.sleep(Span::from_secs(seconds - 15)).await;
        } else {
            self.pass(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
        }
        self.nodes[n].go_on();
        self.pass(Duration::from_secs(2)).await;
    }

    fn jump(&mut self) {
        let n = self.a_node();
        // A key lives an hour longer than it is used: by as much the clocks of two machines may differ.
        let far = [1_000, 61_000, 600_000, 6 * 3_600_000];
        let far = far[self.rng.random_range(0..if self.two_machines { 3 } else { 4 })];
        let by = if self.rng.random_bool(0.5) { far } else { -far };
        self.note(format!("the clock of node {n} jumps by {by} ms"));
        self.wrong_clocks = true;
        self.nodes[n].machine.jump(by);
    }

    async fn second_node(&mut self) {
        if self.nodes[1].is_up() {
            self.note("node 1 is killed".into());
            self.nodes[1].kill().await;
        } else {
            self.note("node 1 starts".into());
            self.nodes[1].start();
        }
    }

    /// Asks whichever daemon answers.
    async fn ask(&mut self, command: &Command) -> Option<Answer> {
        for n in 0..self.nodes.len() {
            if let Some(Ok(answer)) = self.nodes[n].ask(command.clone()).await {
                return Some(answer);
            }
        }
        None
    }

    async fn command(&mut self) {
        let slugs: Vec<String> = self.spec.campaigns.keys().cloned().collect();
        let name = slugs[self.rng.random_range(0..slugs.len())].clone();
        let campaign = slug(&name);
        let command = match self.rng.random_range(0..12) {
            0..3 => Command::CampaignPause { campaign },
            3..5 => Command::CampaignResume { campaign },
            5 => Command::CampaignCancel { campaign },
            6 | 7 => Command::Stop { reason: "a doubt".into() },
            8..11 => Command::Start { due: Some(self.due_choice()) },
            _ => {
                let n = self.rng.random_range(0..self.spec.friends);
                Command::CampaignTestSend { campaign, to: vec![user(n).to_string()], variant: None }
            }
        };
        self.do_it(&name, command).await;
        let seconds = self.rng.random_range(0..20);
        self.pass(Duration::from_secs(seconds)).await;
    }

    /// After a restore nobody sends what may have gone out already.
    fn due_choice(&mut self) -> DueChoice {
        if self.set_back || self.rng.random_bool(0.3) { DueChoice::Skip } else { DueChoice::Judge }
    }

    /// A command, and what has to hold once it is answered.
    async fn do_it(&mut self, name: &str, command: Command) {
        let began = self.truth.now();
        match &command {
            Command::CampaignResume { .. } => self.end_silences(Some(name), began),
            Command::Start { .. } | Command::AcceptClock { .. } => {
                self.end_silences(None, began);
                self.stopped_once = true;
            }
            Command::CampaignPause { .. } | Command::CampaignCancel { .. } => {
                self.edited.insert(name.to_owned());
            }
            Command::Stop { .. } => self.stopped_once = true,
            _ => {}
        }
        let answered = self.ask(&command).await.is_some();
        self.note(format!("{command:?}: {answered}"));
        if !answered {
            return;
        }
        let from = self.truth.now();
        let silence = |campaign: Option<&str>, why, frozen_before| Silence {
            campaign: campaign.map(str::to_owned),
            from,
            until: None,
            frozen_before,
            why,
        };
        match &command {
            Command::CampaignPause { .. } => self.silences.push(silence(Some(name), "paused", None)),
            Command::CampaignCancel { .. } if !self.wrong_clocks => {
                self.silences.push(silence(Some(name), "cancelled", Some(began)));
            }
            Command::Stop { .. } => self.silences.push(silence(None, "stopped", None)),
            _ => {}
        }
    }

    fn end_silences(&mut self, campaign: Option<&str>, at: Instant) {
        for silence in &mut self.silences {
            let meant = silence.campaign.as_deref() == campaign && silence.frozen_before.is_none();
            if meant && silence.until.is_none() {
                silence.until = Some(at);
            }
        }
    }

    async fn apply(&mut self) {
        let settings = self.spec.settings();
        let settings = self.broken.as_ref().map_or(settings.clone(), |broken| broken.settings(&settings));
        let store = self.memory.again();
        let before = store.active_version().await.unwrap().map(|version| version.id);
        let files = self.spec.files();
        let immediate = self.spec.campaigns.iter().filter(|(_, one)| one.is_immediate());
        self.immediate.extend(immediate.map(|(slug, _)| slug.clone()));
        let named = [("shop", CHANNEL)];
        activate(&store, (&settings, &files), &named, before, self.truth.now()).await;
        for node in &self.nodes {
            node.activated().await;
        }
    }

    async fn edit(&mut self) {
        let before = self.spec.files();
        self.spec.edit(&mut self.rng);
        let after = self.spec.files();
        for (name, text) in before.iter().filter(|file| !after.contains(file)) {
            self.edited.insert(name.clone());
            self.trace.push(format!("--- {name} was\n{text}"));
        }
        for (name, text) in after.iter().filter(|file| !before.contains(file)) {
            self.edited.insert(name.clone());
            self.trace.push(format!("--- {name} is\n{text}"));
        }
        self.note("applied".into());
        self.apply().await;
    }

    fn change_weather(&mut self) {
        let weather = match self.rng.random_range(0..4) {
            0 => Weather::default(),
            1 => Weather { never: 1.0, ..Weather::default() },
            _ => Weather { never: 0.1, lost: 0.15, unheard: 0.2, late: 0.2, doubled: 0.2 },
        };
        self.note(format!("the network: {weather:?}"));
        self.network.turn(weather);
        let kinds = [
            FaultKind::RateLimited,
            FaultKind::ServerErrorBefore,
            FaultKind::ServerErrorAfter,
            FaultKind::LostAfter,
            FaultKind::HangAfter,
            FaultKind::MonthlyLimit,
            FaultKind::ConflictWithoutId,
            FaultKind::Unauthorized,
            FaultKind::Forbidden,
            FaultKind::BadRequest,
        ];
        let kind = kinds[self.rng.random_range(0..kinds.len())];
        let seconds = self.rng.random_range(1..600);
        let faults = match self.rng.random_range(0..4) {
            0 | 1 => Vec::new(),
            2 => vec![Fault::with_probability(kind, 0.4)],
            _ => {
                let until = Some(self.truth.now() + Span::from_secs(seconds));
                vec![Fault { until, ..Fault::always(kind) }]
            }
        };
        self.note(format!("LINE: {faults:?}"));
        self.sandbox.set_faults(faults);
        if self.rng.random_bool(0.15) {
            let room = self.rng.random_range(0..30);
            let used = self.sandbox.channels(self.truth.now())[0].used;
            self.note(format!("{room} messages are left of the month"));
            self.sandbox.set_quota(CHANNEL, Some(used + room), None, self.truth.now()).unwrap();
        }
    }

    fn take_backup(&mut self) {
        self.note("a backup is taken".into());
        self.backup = Some(self.memory.snapshot());
    }

    /// The database is set back below daemons that were killed.
    async fn restore_backup(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        self.note("the backup is restored".into());
        let up: Vec<usize> = (0..2).filter(|n| self.nodes[*n].is_up()).collect();
        for n in &up {
            self.nodes[*n].kill().await;
        }
        let frozen = self.memory.last_occurrence(self.account).await.unwrap();
        self.memory.restore(&backup);
        let mut lost = self.memory.last_occurrence(self.account).await.unwrap() < frozen;
        // The machine notes a freeze before the first request of it leaves.
        let (store, mut sent) = (self.memory.again(), false);
        for call in self.network.calls() {
            sent |= !is_durable(&store, self.account, &call.key).await;
        }
        lost &= sent;
        self.set_back = true;
        if self.broken.as_ref().is_some_and(|broken| broken.bug == Bug::TicketForgotten) {
            self.nodes.iter().for_each(Node::forget_tickets);
        }
        let now = self.truth.now();
        let slugs: Vec<Option<String>> = self.silences.iter().map(|one| one.campaign.clone()).collect();
        slugs.iter().for_each(|slug| self.end_silences(slug.as_deref(), now));
        // A freeze that is gone is noticed by the machine that made it.
        if lost {
            let (from, why) = (self.truth.now(), SET_BACK);
            self.silences.push(Silence { campaign: None, from, until: None, frozen_before: None, why });
        }
        up.iter().for_each(|n| self.nodes[*n].start());
    }

    /// Nothing goes wrong any more, and everybody does what has to be done, until nothing is left to do.
    async fn come_to_rest(&mut self) -> Instant {
        self.note("from here on nothing goes wrong".into());
        self.network.turn(Weather::default());
        self.sandbox.set_faults(Vec::new());
        self.sandbox.set_quota(CHANNEL, None, None, self.truth.now()).unwrap();
        for n in 0..self.nodes.len() {
            self.nodes[n].kill().await;
            self.nodes[n].store.calm();
            self.nodes[n].machine.set_right();
        }
        // Whatever lease there was runs out.
        self.pass(Duration::from_secs(15)).await;
        self.nodes[0].start();
        for _ in 0..20 {
            self.pass(Duration::from_secs(4)).await;
            if self.is_released().await {
                break;
            }
        }
        let noon = self.go_to_noon().await;
        self.pass(Duration::from_secs(30)).await;
        self.spec.drafts = true;
        self.apply().await;
        for look in 0..LOOKS {
            self.pass(Duration::from_secs(4)).await;
            if self.is_released().await && self.is_at_rest().await {
                break;
            }
            if look % 3 == 2 {
                self.go_to_what_comes().await;
            }
        }
        self.nodes[0].kill().await;
        noon
    }

    /// Asleep until shortly before somebody's next step, where nobody waits for room under a cap.
    async fn go_to_what_comes(&mut self) {
        let now = self.truth.now();
        let ways = self.memory.open_enrollments(self.account, None, 1_000).await.unwrap();
        let due = ways.iter().filter_map(|way| match way.standing {
            Standing::Due { at, .. } => Some(at - AWAKE),
            _ => None,
        });
        let waits = !self.memory.deferrals(self.account).await.unwrap().is_empty();
        let next = due.filter(|at| *at > now).min().map(|at| at - now);
        let half_an_hour = Span::from_mins(31);
        let span = if waits { half_an_hour } else { next.unwrap_or(half_an_hour) };
        self.sleep(span).await;
    }

    /// A time of no quiet hours, when nothing of the last hours is left to be planned.
    async fn go_to_noon(&mut self) -> Instant {
        let now = self.truth.now();
        let day = now.in_zone(self.spec.zone).date_naive() + chrono::Days::new(1);
        let noon = Instant::from_local(day.and_hms_opt(12, 1, 0).unwrap(), self.spec.zone);
        self.sleep(noon - now).await;
        noon
    }

    /// Lets go what waits for a person; true when nothing does.
    async fn is_released(&mut self) -> bool {
        let Some(status) = self.ask(&Command::Status).await else { return false };
        let json = status.json;
        if json["clock_behind"] == true {
            let due = Some(self.due_choice());
            self.do_it("", Command::AcceptClock { due }).await;
            return false;
        }
        if !json["stopped"].is_null() || !json["paused"].is_null() {
            let due = Some(self.due_choice());
            self.do_it("", Command::Start { due }).await;
            return false;
        }
        let mut rows = self.memory.campaigns(self.account).await.unwrap();
        rows.retain(|row| row.paused.is_some());
        for row in &rows {
            let name = row.campaign.to_string();
            self.do_it(&name, Command::CampaignResume { campaign: row.campaign.clone() }).await;
        }
        let mut open = self.memory.occurrences(self.account, OccurrenceFilter::Open).await.unwrap();
        open.retain(|row| super::judge::is_held(row.state));
        for row in &open {
            let resolution = if self.set_back { Resolution::Cancel } else { Resolution::Send };
            let name = row.campaign.to_string();
            self.end_silences(Some(&name), self.truth.now());
            self.do_it(&name, Command::OccurrenceResolve { occurrence: row.id, resolution }).await;
        }
        rows.is_empty() && open.is_empty()
    }

    /// Whether nothing is on its way or waits.
    async fn is_at_rest(&mut self) -> bool {
        let Some(status) = self.ask(&Command::Status).await else { return false };
        let open = self.memory.occurrences(self.account, OccurrenceFilter::Open).await.unwrap();
        let waiting = self.memory.deferrals(self.account).await.unwrap();
        let ways = self.memory.open_enrollments(self.account, None, 1_000).await.unwrap();
        open.is_empty()
            && waiting.is_empty()
            && ways.is_empty()
            && status.json["inbox"] == 0
            && status.json["unfolded"] == 0
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
