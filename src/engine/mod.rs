//! The owner of one account: it alone applies the inbox, plans, freezes and sends.
//!
//! One task, one loop. A turn takes what came in (answers, commands, nudges), decides, commits once, and only then
//! acts. Whatever goes wrong with a commit, the answer is the same: claim again and reload from the truth.

mod acts;
mod beside;
mod books;
mod checkpoint;
pub mod concerns;
mod decide;
mod dispatch;
mod drips;
mod due;
mod erasure;
mod error;
mod export;
mod forgetting;
mod freeze;
mod handle;
mod inbox;
mod jobs;
mod lease;
mod look_up;
mod measures;
mod numbering;
pub mod occurrences;
pub mod outbox;
mod past;
mod preview;
mod queries;
mod quota;
pub mod relay;
pub mod restored;
pub mod retention;
pub mod state;
mod story;
mod strays;
mod test_send;
pub mod ticket;
pub mod turnstile;
mod went_back;
pub mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use books::Books;
pub use error::EngineError;
pub use handle::{Ask, Event, Handle};
pub use look_up::LookUp;

use crate::clock::{Clock, Reading};
use crate::concern::Board;
use crate::config::{self, Account, Configuration, Source};
use crate::domain::id::{AccountId, AccountSlug, OccurrenceId, VersionId};
use crate::domain::lookback::Lookback;
use crate::domain::time::{Instant, Span};
use crate::line::Api;
use crate::line::relay::Relay;
use crate::protocol::Failure;
use crate::sender::bucket::Bucket;
use crate::sender::lull::Lull;
use crate::store::{Claim, Fence, InboxRow, Store, StoreError};
use crate::systems::Systems;
use state::State;
use ticket::Ticket;
use turnstile::Turnstile;

/// A lease lasts so long…
pub const LEASE: Span = Span::from_secs(10);
/// …and is renewed this often.
const RENEW: Span = Span::from_secs(2);
/// Requests stop when the lease could be shorter than one request still needs to leave, which it does within this.
const LEASE_MARGIN: Span = Span::from_secs(2);
/// The longest the loop sleeps: nudges may get lost, and other nodes append to the inbox.
const LONGEST_SLEEP: Span = Span::from_secs(1);
/// How long to wait before claiming again after a failure.
const RECLAIM: Span = Span::from_secs(1);

/// The running configuration, by version.
#[derive(Debug, Clone)]
pub struct Active {
    /// Its number.
    pub version: VersionId,
    /// When it was activated.
    pub activated_at: Instant,
    /// Checked and validated.
    pub configuration: Arc<Configuration>,
}

/// What an engine works with.
#[derive(Clone)]
pub struct Deps {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to systems that webhooks are handed on to.
    pub relay: Arc<dyn Relay>,
    /// The way to the shop's own systems.
    pub systems: Arc<dyn Systems>,
    /// Shared between accounts.
    pub turnstile: Arc<Turnstile>,
    /// Where tickets lie.
    pub state_dir: PathBuf,
    /// Names the state directory: the same holder takes its own lease over at once.
    pub holder: String,
    /// Whether the engine plans and sends, or only answers one command.
    pub mode: Mode,
}

/// What an engine is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The daemon: plans and sends.
    Daemon,
    /// One command without a daemon: applies the inbox and answers, plans and sends nothing.
    Command,
}

/// The owner of one account.
pub struct Engine {
    deps: Deps,
    account: AccountId,
    slug: AccountSlug,
    line: Arc<dyn Api>,
    active: Active,
    /// How far back the running configuration looks, and those that something open follows.
    lookback: Lookback,
    fence: Fence,
    /// The number of the last transaction that this process knows to have landed.
    committed: Option<i64>,
    state: State,
    ticket: Ticket,
    bucket: Bucket,
    /// Whether LINE has asked this account to wait.
    lull: Lull,
    rng: StdRng,
    /// When the lease was last renewed, by both clocks.
    leased: Reading,
    /// When it was last told that the clock is behind, since boot; none while it is not.
    told_behind: Option<Span>,
    /// Since when planning has run without a break.
    up_since: Instant,
    /// When the planner last looked.
    looked_at: Instant,
    /// Whether the wall clock has leapt ahead.
    leaps: went_back::Leaps,
    quota: quota::Desk,
    /// Questions that are answered when LINE's numbers have come.
    deferred: Vec<Ask>,
    /// Look-ups that wait for rows acknowledged before them.
    look_ups: Vec<look_up::Waiting>,
    /// Long listings under way.
    exports: Vec<export::Export>,
    checkpointing: checkpoint::Checkpointing,
    pruner: retention::Pruner,
    forgetting: forgetting::Forgetting,
    relay: relay::Desk,
    outbox: outbox::Desk,
    concerns: concerns::Desk,
    board: Option<Arc<Board>>,
    /// The occurrence served last, for fair turns.
    rotation: Option<OccurrenceId>,
    /// When each campaign was last resumed, in this process.
    resumed: BTreeMap<crate::domain::id::CampaignSlug, Instant>,
    /// Nothing is due before; `None` when it must be computed.
    next_due: Option<Instant>,
    /// The version whose schedules have their rows.
    scheduled: Option<VersionId>,
    /// Due campaigns that have to wait, until all others have been looked at.
    waiting: BTreeSet<crate::domain::id::CampaignSlug>,
    /// Inbox rows that were read and not applied yet.
    inbox: VecDeque<InboxRow>,
    /// Journal entries applied since the inbox was last empty.
    applied_at_a_stretch: usize,
    /// Set by SIGTERM: no new requests.
    draining: bool,
    attempts: TaskTracker,
    events: mpsc::Sender<Event>,
    /// Old versions of the configuration that something open follows.
    versions: BTreeMap<VersionId, Arc<Configuration>>,
}

/// A claimed engine with the queue it will serve.
pub struct Claimed {
    /// The engine.
    pub engine: Engine,
    /// How to reach it.
    pub handle: Handle,
    queue: mpsc::Receiver<Event>,
}

impl Engine {
    /// Claims the account and loads its state.
    pub async fn claim(
        deps: Deps,
        slug: AccountSlug,
        line: Arc<dyn Api>,
        active: Active,
        rng: StdRng,
    ) -> Result<Claimed, EngineError> {
        let clock = deps.clock.read();
        let config = account_config(&active, &slug)?;
        let failed = |source| EngineError::Claim { account: slug.clone(), source };
        let channel = config.channel_id.clone();
        let rate = config.rate.per_second();
        let account = deps.store.ensure_account(&slug, &channel, clock.now).await.map_err(failed)?;
        let ticket = Ticket::new(&deps.state_dir, &slug);
        went_back::look(deps.store.as_ref(), account, &ticket, None).await.map_err(failed)?;
        let claim = deps.store.claim(account, &deps.holder, clock.now, LEASE).await.map_err(failed)?;
        let (fence, seen_at) = match claim {
            Claim::Granted { fence, seen_at } => (fence, seen_at),
            Claim::Held { holder, expires_at } => {
                return Err(EngineError::Held { account: slug, holder, expires_at });
            }
        };
        let lookback = active.configuration.lookback(config);
        let state =
            State::load(deps.store.as_ref(), account, &lookback, &clock, seen_at).await.map_err(failed)?;
        let (events, queue) = mpsc::channel(1_024);
        let board = (deps.mode == Mode::Daemon).then(|| Arc::new(Board::new(Some(slug.clone()))));
        let engine = Self {
            ticket,
            bucket: Bucket::new(rate, clock.boot.since_boot),
            lull: Lull::default(),
            up_since: clock.now,
            looked_at: clock.now,
            leaps: went_back::Leaps::since(seen_at, &clock),
            leased: clock,
            deps,
            account,
            slug: slug.clone(),
            line,
            active,
            lookback,
            fence,
            committed: None,
            checkpointing: checkpoint::Checkpointing::since(state.checkpoint),
            pruner: retention::Pruner::default(),
            forgetting: forgetting::Forgetting::default(),
            relay: relay::Desk::default(),
            outbox: outbox::Desk::default(),
            concerns: concerns::Desk::default(),
            board: board.clone(),
            state,
            rng,
            told_behind: None,
            quota: quota::Desk::default(),
            deferred: Vec::new(),
            look_ups: Vec::new(),
            exports: Vec::new(),
            rotation: None,
            resumed: BTreeMap::new(),
            next_due: None,
            scheduled: None,
            waiting: BTreeSet::new(),
            inbox: VecDeque::new(),
            applied_at_a_stretch: 0,
            draining: false,
            attempts: TaskTracker::new(),
            events: events.clone(),
            versions: BTreeMap::new(),
        };
        Ok(Claimed { engine, handle: Handle { account: slug, board, events }, queue })
    }

    /// The quiet hours of the configuration an occurrence was frozen under.
    fn quiet_hours_of(&self, run: &crate::sender::run::Run) -> Option<&crate::domain::policy::QuietHours> {
        let frozen = self.versions.get(&run.row.version).unwrap_or(&self.active.configuration);
        frozen.accounts.get(&self.slug)?.policy.quiet_hours.as_ref()
    }

    /// Loads the versions that something open follows, and looks as far back as any of them. One that this haishin cannot read any more is
    /// stood in for by the running one.
    async fn load_versions(&mut self) -> Result<(), StoreError> {
        let runs = self.state.runs.values().map(|run| run.row.version);
        let deferrals = self.state.deferrals.values().map(|deferral| deferral.version);
        let wanted: BTreeSet<VersionId> = runs.chain(deferrals).chain(self.state.ways.versions()).collect();
        for version in wanted {
            if version == self.active.version || self.versions.contains_key(&version) {
                continue;
            }
            let stored = self.deps.store.version(version).await?;
            let files = stored.map(|stored| Source { files: stored.files, ..Source::default() });
            let parsed = files.and_then(|source| config::parse(&source, self.deps.clock.now()).configuration);
            let frozen = parsed.map_or_else(|| self.active.configuration.clone(), Arc::new);
            self.versions.insert(version, frozen);
        }
        let older =
            self.versions.values().filter_map(|older| Some(older.lookback(older.accounts.get(&self.slug)?)));
        let running = self.config().map(|config| self.active.configuration.lookback(config));
        self.lookback = running.into_iter().chain(older).reduce(Lookback::join).unwrap_or_default();
        Ok(())
    }

    fn config(&self) -> Option<&Account> {
        self.active.configuration.accounts.get(&self.slug)
    }
}

impl Claimed {
    /// Serves until told to stop, then drains what is in flight and gives the lease up.
    pub async fn serve(self, stop: CancellationToken, alive: impl Fn() + Send + Sync + 'static) {
        let Claimed { mut engine, handle: _handle, mut queue } = self;
        engine.begin_counting();
        // In this order: what tells a database that went back is the number of the claim.
        if let Err(error) = engine.check_history().await {
            engine.recover(error, &stop).await;
        }
        if let Err(error) = engine.note_leap().await {
            engine.recover(error, &stop).await;
        }
        let mut events = Vec::new();
        loop {
            let wait = engine.next_wake();
            if events.is_empty() {
                events.extend(tokio::select! {
                    biased;
                    event = queue.recv() => event,
                    () = engine.deps.clock.sleep(wait) => Some(Event::Nudge),
                    () = stop.cancelled(), if !engine.draining => Some(Event::Nudge),
                });
            }
            engine.draining |= stop.is_cancelled();
            if matches!(events.first(), Some(Event::Attempt { .. })) {
                // Answers come in bunches, and a turn of many costs little more than one of a few.
                tokio::task::yield_now().await;
            }
            events.extend(waiting(&mut queue));
            if let Err(error) = engine.turn(std::mem::take(&mut events)).await {
                engine.recover(error, &stop).await;
                // What a person asked meanwhile is not done hours later, perhaps against what they did since: they are
                // told to ask again.
                events.extend(waiting(&mut queue).filter(|event| !matches!(event, Event::Ask(_))));
            }
            alive();
            let answered = engine.state.runs.values().all(|run| run.in_flight() == 0);
            if engine.draining && answered && engine.relay.is_idle() && engine.outbox.is_idle() {
                break;
            }
        }
        engine.hand_over().await;
    }
}

impl Engine {
    /// One turn: hear, decide, commit, act.
    async fn turn(&mut self, events: Vec<Event>) -> Result<(), StoreError> {
        // All of it is sorted before anything can fail: a configuration that went live is not lost with a commit.
        let (mut asks, mut look_ups) = (Vec::new(), Vec::new());
        let (mut attempts, mut numbers) = (Vec::new(), None);
        for event in events {
            match event {
                Event::Nudge => {}
                Event::Attempt { occurrence, batch, attempt, took } => {
                    self.count_answer(attempt.answer.as_str(), took);
                    attempts.push((occurrence, batch, attempt));
                }
                Event::Relayed { row, passed } => self.hear_relayed(row, &passed),
                Event::Made(made) => self.outbox.came_back(made),
                Event::Quota(reading) => numbers = Some(reading),
                Event::Activated { active, line } => self.activated(active, line),
                Event::Ask(ask) => asks.push(ask),
                Event::LookUp(look_up) => look_ups.push(look_up),
            }
        }
        self.renew_if_due().await?;
        self.load_versions().await?;
        self.keep_sends().await?;
        self.activate_schedules().await?;
        self.enter_drips().await?;
        let numbers_came = numbers.is_some();
        if let Some(reading) = numbers {
            // They are answered now, with whatever came: LINE may hang for longer than a person waits.
            asks.append(&mut self.deferred);
            self.quota_came(reading).await?;
        }
        self.hear(attempts).await?;
        self.hear_outbox().await?;
        self.hear_look_ups(look_ups).await?;
        let applied = self.apply_inbox().await?;
        self.enter_drips().await?;
        self.answer_look_ups(applied);
        // Who has gone asks no more.
        for ask in asks.into_iter().filter(|ask| !ask.answer.is_closed()) {
            if !numbers_came && self.waits_for_numbers(&ask).await? {
                self.deferred.push(ask);
            } else {
                // What a person did, and its reader, are to agree.
                self.concerns.look_anew();
                self.answer(ask).await?;
            }
        }
        self.continue_exports();
        if self.deps.mode == Mode::Daemon && !self.draining {
            self.watch_clock();
            self.plan().await?;
            self.open_strides().await?;
            self.dispatch().await?;
            self.dispatch_outbox().await?;
            self.watch_concerns().await?;
        }
        self.relay().await?;
        self.gauge_state();
        self.fold().await?;
        self.forget().await?;
        self.checkpoint().await?;
        self.prune().await
    }

    fn activated(&mut self, active: Active, line: Option<Arc<dyn Api>>) {
        self.active = active;
        if let Some(line) = line {
            self.line = line;
        }
        self.next_due = None;
        self.relay.count_anew();
        self.bucket.set_rate(self.rate());
    }

    /// Requests a second. Where the account is gone from the configuration, what is open finishes at the rate it had.
    fn rate(&self) -> Option<u32> {
        self.config().map_or(self.bucket.rate(), |config| config.rate.per_second())
    }

    /// How long the loop may sleep.
    fn next_wake(&mut self) -> Span {
        let clock = self.deps.clock.read();
        let mut wait = LONGEST_SLEEP;
        if let Some(due) = self.next_due {
            wait = wait.min(due - clock.now);
        }
        if self.deps.mode == Mode::Daemon {
            wait = wait.min(self.next_send(&clock));
            wait = self.next_relay(clock.boot.since_boot).map_or(wait, |relay| wait.min(relay));
            wait = self.next_outbox(&clock).map_or(wait, |outbox| wait.min(outbox));
        }
        if !self.exports.is_empty() {
            wait = wait.min(export::READER);
        }
        wait.max(Span::from_millis(1))
    }
}

/// What has come so far.
fn waiting(queue: &mut mpsc::Receiver<Event>) -> impl Iterator<Item = Event> {
    std::iter::from_fn(|| queue.try_recv().ok())
}

fn account_config<'a>(active: &'a Active, slug: &AccountSlug) -> Result<&'a Account, EngineError> {
    active.configuration.accounts.get(slug).ok_or_else(|| EngineError::Unconfigured(slug.clone()))
}
