//! Everything between a process and LINE: requests that are lost, late, doubled or never leave, and answers that nobody
//! hears. What has left arrives although its process is dead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use haishin::clock::Clock as _;
use haishin::domain::drip::RichMenuId;
use haishin::domain::id::{AccountId, UserId};
use haishin::domain::key::RetryKey;
use haishin::domain::time::Instant;
use haishin::line::{Answer, Api, Attempt, BotInfo, CallError, Quota, Validation};
use haishin::sandbox::InProcess;
use haishin::store::memory::MemoryStore;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;

use super::broken::Broken;
use super::gate::Gate;
use super::judge::is_durable;
use super::time::Machine;

/// How long a process waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A multicast that left a machine.
#[derive(Clone)]
pub struct Call {
    /// Truly.
    pub at: Instant,
    /// By the wall clock of the machine it left.
    pub wall: Instant,
    pub node: usize,
    pub key: String,
    pub body: Bytes,
    /// Whether its batch was open in the database.
    pub durable: bool,
}

/// How likely what is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// No connection is made.
    pub never: f64,
    /// The request is lost on its way.
    pub lost: f64,
    /// The answer is lost on its way.
    pub unheard: f64,
    /// The request arrives late, perhaps long after its process has given up.
    pub late: f64,
    /// The request arrives twice.
    pub doubled: f64,
}

/// What becomes of one request.
struct Fate {
    never: bool,
    there: Duration,
    lost: bool,
    doubled: Option<Duration>,
    back: Duration,
    unheard: bool,
    /// Where no answer comes: whether the connection ends.
    closes: bool,
}

/// The network all machines share, with LINE at its end.
pub struct Network {
    line: InProcess,
    truth: (MemoryStore, AccountId),
    weather: Mutex<Weather>,
    rng: Mutex<StdRng>,
    calls: Mutex<Vec<Call>>,
    pub broken: Option<Arc<Broken>>,
}

impl Network {
    pub fn new(
        line: InProcess,
        truth: (MemoryStore, AccountId),
        seed: u64,
        broken: Option<Arc<Broken>>,
    ) -> Arc<Self> {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { line, truth, weather: Mutex::default(), rng, calls: Mutex::default(), broken })
    }

    pub fn turn(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// Every multicast that left, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn draw(&self) -> Fate {
        let (weather, mut rng) = (*self.weather.lock().unwrap(), self.rng.lock().unwrap());
        let millis = |rng: &mut StdRng, upto: u64| Duration::from_millis(rng.random_range(1..=upto));
        let (usual, late) = (millis(&mut rng, 300), millis(&mut rng, 40_000));
        Fate {
            never: rng.random_bool(weather.never),
            there: if rng.random_bool(weather.late) { late } else { usual },
            lost: rng.random_bool(weather.lost),
            doubled: rng.random_bool(weather.doubled).then(|| millis(&mut rng, 20_000)),
            back: millis(&mut rng, 300),
            unheard: rng.random_bool(weather.unheard),
            closes: rng.random_bool(0.5),
        }
    }
}

/// One process's way to LINE.
pub struct Wire {
    pub network: Arc<Network>,
    pub machine: Arc<Machine>,
    pub gate: Arc<Gate>,
    pub node: usize,
}

impl Wire {
    /// A question: it comes back or not, and nothing depends on whether it arrived.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        self.gate.pass().await;
        let fate = self.network.draw();
        sleep(fate.there.min(PATIENCE)).await;
        let answer = match fate {
            Fate { never: true, .. } => Err(CallError::Unreachable),
            Fate { lost: true, .. } | Fate { unheard: true, .. } => Err(CallError::ConnectionLost),
            Fate { .. } if fate.there >= PATIENCE => Err(CallError::Timeout),
            Fate { .. } => question.await,
        };
        self.gate.pass().await;
        answer
    }

    async fn deliver(&self, key: RetryKey, body: Bytes, fate: &Fate) -> Attempt {
        let (network, there, lost, doubled) = (self.network.clone(), fate.there, fate.lost, fate.doubled);
        let arrival = tokio::spawn(async move {
            sleep(there).await;
            if lost {
                return None;
            }
            let attempt = network.line.multicast(key, body.clone()).await;
            // Once more what LINE has taken: what it refused once it must not take later, or no refusal meant anything.
            let taken = matches!(attempt.answer, Answer::Accepted | Answer::AlreadyAccepted { .. });
            if let Some(again) = doubled.filter(|_| taken) {
                tokio::spawn(async move {
                    sleep(again).await;
                    network.line.multicast(key, body).await;
                });
            }
            Some(attempt)
        });
        let answered = async {
            if let Some(attempt) = arrival.await.unwrap().filter(|_| !fate.unheard) {
                sleep(fate.back).await;
                return attempt;
            }
            if !fate.closes {
                std::future::pending::<()>().await;
            }
            Attempt::unanswered(Answer::ConnectionLost)
        };
        tokio::select! {
            biased;
            attempt = answered => attempt,
            () = sleep(PATIENCE) => Attempt::unanswered(Answer::Timeout),
        }
    }
}

#[async_trait]
impl Api for Wire {
    async fn multicast(&self, key: RetryKey, body: Bytes) -> Attempt {
        self.gate.pass().await;
        let fate = self.network.draw();
        if fate.never {
            sleep(fate.there.min(PATIENCE)).await;
            self.gate.pass().await;
            return Attempt::unanswered(Answer::NeverSent);
        }
        let (key, at_once) = match &self.network.broken {
            Some(broken) => broken.request(key),
            None => (key, None),
        };
        let (store, account) = &self.network.truth;
        let durable = is_durable(store, *account, &key.to_string()).await;
        self.network.calls.lock().unwrap().push(Call {
            at: self.machine.true_now(),
            wall: self.machine.now(),
            node: self.node,
            key: key.to_string(),
            body: body.clone(),
            durable,
        });
        let attempt = self.deliver(key, body, &fate).await;
        self.gate.pass().await;
        let attempt = at_once.unwrap_or(attempt);
        match &self.network.broken {
            Some(broken) => broken.answer(attempt),
            None => attempt,
        }
    }

    async fn validate_multicast(&self, messages: &str) -> Result<Validation, CallError> {
        self.ask(self.network.line.validate_multicast(messages)).await
    }

    async fn quota(&self) -> Result<Quota, CallError> {
        self.ask(self.network.line.quota()).await
    }

    async fn consumption(&self) -> Result<u64, CallError> {
        self.ask(self.network.line.consumption()).await
    }

    async fn link_rich_menu(&self, menu: Option<&RichMenuId>, users: &[UserId]) -> Result<(), CallError> {
        self.ask(self.network.line.link_rich_menu(menu, users)).await
    }

    async fn bot_info(&self) -> Result<BotInfo, CallError> {
        self.ask(self.network.line.bot_info()).await
    }
}
