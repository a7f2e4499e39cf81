//! LINE and the shop in one: what they say of friends, said again until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use haishin::clock::{Clock as _, SetClock};
use haishin::line::webhook;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::daemon::SECRET;
use crate::support::world::user;

/// So many speak at once, each of friends of its own, whose order it keeps: it says the next thing once the one
/// before is acknowledged.
const VOICES: u32 = 4;
pub const TAGS: [&str; 3] = ["member", "guest", "fan"];
/// Names of events the shop tells.
pub const EVENTS: [&str; 2] = ["order", "visit"];
/// Every so many friends one blocks the account now and then.
const BLOCKS: u32 = 8;

/// All that was acknowledged of one friend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// By name, and by what tells it from others of that name where something does.
    pub events: BTreeMap<(String, String), u32>,
    pub tags: BTreeSet<&'static str>,
    /// The tags it ever got.
    pub ever: BTreeSet<&'static str>,
    pub points: Option<i64>,
    pub customer_id: Option<String>,
    /// What LINE said last.
    pub follows: Option<bool>,
}

impl Told {
    /// How many events of a name there were.
    pub fn count(&self, name: &str) -> u32 {
        self.events.iter().filter(|((of, _), _)| of == name).map(|(_, count)| count).sum()
    }

    fn hear(&mut self, deed: Deed) {
        match deed {
            Deed::Event(name, mark) => *self.events.entry((name.to_owned(), mark)).or_default() += 1,
            Deed::Follows(follows) => {
                let name = if follows { "line.follow" } else { "line.unfollow" };
                *self.events.entry((name.to_owned(), String::new())).or_default() += 1;
                self.follows = Some(follows);
            }
            Deed::Tag(tag, true) => {
                self.tags.insert(tag);
                self.ever.insert(tag);
            }
            Deed::Tag(tag, false) => _ = self.tags.remove(tag),
            Deed::Points(points) => self.points = Some(points),
            Deed::CustomerId(id) => self.customer_id = Some(id),
        }
    }
}

/// Whether a friend is one of those who block the account now and then.
pub const fn blocks(n: u32) -> bool {
    n / VOICES % BLOCKS == BLOCKS - 1
}

enum Deed {
    Event(&'static str, String),
    Tag(&'static str, bool),
    Points(i64),
    CustomerId(String),
    Follows(bool),
}

/// One request, which is the same each time it is made.
#[derive(Clone)]
struct Delivery {
    path: &'static str,
    body: String,
    key: Option<String>,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Figures {
    /// Requests answered as taken.
    pub acknowledged: AtomicU64,
    /// Requests whose connection ended first.
    pub cut_off: AtomicU64,
    /// Requests to come again later.
    pub put_off: AtomicU64,
    /// Requests made anew although they were acknowledged.
    pub again: AtomicU64,
    /// Requests that were refused, which none should be.
    pub refused: AtomicU64,
    /// Requests without an answer yet.
    pub under_way: AtomicU64,
}

struct Shared {
    token: String,
    clock: Arc<SetClock>,
    figures: Figures,
    is_over: AtomicBool,
}

/// All voices.
pub struct Driver {
    door: watch::Sender<Option<SocketAddr>>,
    shared: Arc<Shared>,
    voices: JoinSet<BTreeMap<u32, Told>>,
}

impl Driver {
    /// They begin to speak when there is a door.
    pub fn new(token: String, clock: Arc<SetClock>, seed: u64) -> Self {
        // The client needs a TLS library even for plain http.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let (door, _) = watch::channel(None);
        let (figures, is_over) = (Figures::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { token, clock, figures, is_over });
        let mut voices = JoinSet::new();
        for number in 0..VOICES {
            let voice = Voice {
                number,
                rng: StdRng::seed_from_u64(seed * u64::from(VOICES) + u64::from(number)),
                door: door.subscribe(),
                http: http.clone(),
                shared: shared.clone(),
                said: 0,
                told: BTreeMap::new(),
            };
            voices.spawn(voice.speak());
        }
        Self { door, shared, voices }
    }

    /// Where the daemon listens now; nobody begins a request where there is none.
    pub fn knock_at(&self, door: Option<SocketAddr>) {
        self.door.send_replace(door);
    }

    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// What was acknowledged of whom, once the last request is.
    pub async fn finish(&mut self) -> BTreeMap<u32, Told> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let mut all = BTreeMap::new();
        while let Some(told) = self.voices.join_next().await {
            all.extend(told.expect("a voice meets only what it may meet"));
        }
        all
    }
}

struct Voice {
    number: u32,
    rng: StdRng,
    door: watch::Receiver<Option<SocketAddr>>,
    http: reqwest::Client,
    shared: Arc<Shared>,
    /// How much it has said: what makes each thing it says another.
    said: u32,
    told: BTreeMap<u32, Told>,
}

impl Voice {
    async fn speak(mut self) -> BTreeMap<u32, Told> {
        let mut before: Option<Delivery> = None;
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let delivery = self.draw();
            self.deliver(&delivery).await;
            // LINE and shops also send again what was acknowledged.
            if let Some(before) = before.filter(|_| self.rng.random_bool(0.1)) {
                self.deliver(&before).await;
                self.shared.figures.again.fetch_add(1, Ordering::SeqCst);
            }
            before = Some(delivery);
        }
        self.told
    }

    /// Makes a request until it is acknowledged.
    async fn deliver(&mut self, delivery: &Delivery) {
        let figures = &self.shared.figures;
        loop {
            let door = *self.door.wait_for(Option::is_some).await.expect("the driver lives");
            figures.under_way.fetch_add(1, Ordering::SeqCst);
            let answered = self.post(door.expect("it was waited for"), delivery).await;
            figures.under_way.fetch_sub(1, Ordering::SeqCst);
            match answered {
                Ok((200 | 202, _)) => {
                    figures.acknowledged.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                Ok((503, _)) => _ = figures.put_off.fetch_add(1, Ordering::SeqCst),
                Ok((status, text)) => {
                    figures.refused.fetch_add(1, Ordering::SeqCst);
                    panic!("{status} {text} to {}", delivery.body);
                }
                Err(_) => _ = figures.cut_off.fetch_add(1, Ordering::SeqCst),
            }
        }
    }

    async fn post(&self, door: SocketAddr, delivery: &Delivery) -> reqwest::Result<(u16, String)> {
        let Delivery { path, body, key } = delivery;
        let mut request =
            self.http.post(format!("http://{door}/{path}")).header("content-type", "application/json");
        request = match *path {
            WEBHOOK => request.header("x-line-signature", webhook::sign(body.as_bytes(), SECRET.as_bytes())),
            _ => request.bearer_auth(&self.shared.token),
        };
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.body(body.clone()).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

const WEBHOOK: &str = "webhook/shop";
const FRIENDS: &str = "v1/accounts/shop/friends";
const HAPPENINGS: &str = "v1/accounts/shop/events";

/// What is said next. It is noted at once: nothing else is said of these friends before it is acknowledged.
impl Voice {
    fn draw(&mut self) -> Delivery {
        match self.rng.random_range(0..3) {
            0 => self.draw_webhook(),
            1 => self.draw_friends(),
            _ => self.draw_happenings(),
        }
    }

    /// One of this voice's friends, of whom there are ever more.
    fn draw_friend(&mut self) -> u32 {
        self.rng.random_range(0..2 + self.said / 8) * VOICES + self.number
    }

    /// What nothing else that is ever said is called.
    fn mark(&mut self) -> String {
        self.said += 1;
        format!("{}-{}", self.number, self.said)
    }

    fn hear(&mut self, friend: u32, deed: Deed) {
        self.told.entry(friend).or_default().hear(deed);
    }

    fn now(&self) -> haishin::domain::time::Instant {
        self.shared.clock.now()
    }

    fn draw_webhook(&mut self) -> Delivery {
        let events: Vec<Value> = (0..self.rng.random_range(1..=5)).map(|_| self.draw_line_event()).collect();
        let body = json!({ "destination": "U8e742f61d673b39c7fff3cecb7536ef0", "events": events });
        Delivery { path: WEBHOOK, body: body.to_string(), key: None }
    }

    fn draw_line_event(&mut self) -> Value {
        let (friend, mark) = (self.draw_friend(), self.mark());
        let mut event = json!({
            "mode": "active", "timestamp": self.now().as_millis(), "webhookEventId": format!("01WEBHOOK-{mark}"),
            "source": { "type": "user", "userId": user(friend).to_string() },
            "deliveryContext": { "isRedelivery": false },
        });
        match self.rng.random_range(0..4) {
            0 => {
                event["type"] = json!("message");
                event["message"] = json!({ "id": mark, "type": "text", "text": "hello" });
                self.hear(friend, Deed::Event("line.message", "text".into()));
            }
            1 => {
                event["type"] = json!("postback");
                event["postback"] = json!({ "data": mark });
                self.hear(friend, Deed::Event("line.postback", mark));
            }
            _ if blocks(friend) && self.rng.random_bool(0.4) => {
                event["type"] = json!("unfollow");
                self.hear(friend, Deed::Follows(false));
            }
            _ => {
                event["type"] = json!("follow");
                event["follow"] = json!({ "isUnblocked": false });
                self.hear(friend, Deed::Follows(true));
            }
        }
        event
    }

    /// A friend as the shop names it: by the customer id alone, where there is one, as often as not.
    fn name(&mut self, friend: u32) -> Value {
        match self.told.get(&friend).and_then(|told| told.customer_id.clone()) {
            Some(id) if self.rng.random_bool(0.5) => json!({ "external_id": id }),
            _ => json!({ "user": user(friend).to_string() }),
        }
    }

    fn draw_friends(&mut self) -> Delivery {
        let key = Some(self.mark());
        let items: Vec<Value> = (0..self.rng.random_range(1..=6)).map(|_| self.draw_item()).collect();
        Delivery { path: FRIENDS, body: json!(items).to_string(), key }
    }

    fn draw_item(&mut self) -> Value {
        let friend = self.draw_friend();
        let mut item = self.name(friend);
        if item.get("user").is_some() && self.rng.random_bool(0.5) {
            let id = format!("customer-{friend}");
            item["external_id"] = json!(id);
            self.hear(friend, Deed::CustomerId(id));
        }
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for tag in TAGS.into_iter().filter(|_| self.rng.random_bool(0.4)).collect::<Vec<_>>() {
            let holds = self.rng.random_bool(0.6);
            if holds {
                add.push(tag)
            } else {
                remove.push(tag)
            }
            self.hear(friend, Deed::Tag(tag, holds));
        }
        let tags = [("add", add), ("remove", remove)].into_iter().filter(|(_, tags)| !tags.is_empty());
        let tags: BTreeMap<_, _> = tags.collect();
        if !tags.is_empty() {
            item["tags"] = json!(tags);
        }
        // An item that says nothing is none.
        if tags.is_empty() || self.rng.random_bool(0.5) {
            let points = self.rng.random_range(0..1_000);
            item["attributes"] = json!({ "points": points });
            self.hear(friend, Deed::Points(points));
        }
        item
    }

    /// Events by each of the ways in which one can be told from another: the request's key, an id, the content, or two of
    /// them.
    fn draw_happenings(&mut self) -> Delivery {
        let (by_key, by_id, by_content) =
            [(true, false, false), (false, true, false), (false, false, true), (true, true, false)]
                [self.rng.random_range(0..4)];
        let key = self.mark();
        let mut items = Vec::new();
        for _ in 0..self.rng.random_range(1..=8) {
            let (friend, mark) = (self.draw_friend(), self.mark());
            let name = EVENTS[self.rng.random_range(0..EVENTS.len())];
            let mut item = self.name(friend);
            item["name"] = json!(name);
            item["properties"] = json!({ "mark": mark });
            if by_id {
                item["event_id"] = json!(mark);
            }
            if by_content {
                item["at"] = json!(self.now().rfc3339(chrono_tz::Asia::Tokyo));
            }
            self.hear(friend, Deed::Event(name, mark));
            items.push(item);
        }
        Delivery { path: HAPPENINGS, body: json!(items).to_string(), key: by_key.then_some(key) }
    }
}
