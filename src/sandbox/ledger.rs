//! The sandbox's books: every request, every key, who got what.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::channel::FriendNo;
use super::fault::{Endpoint, FaultKind};
use super::plan::RequestId;
use crate::domain::time::{Instant, Span};

/// LINE remembers a retry key for so long after the first request under it.
const KEY_LIFE: Span = Span::from_hours(24);

/// SHA-256 of a request body or of a `messages` array.
pub(super) type Sha = [u8; 32];

/// What one request was and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestRecord {
    /// Its number since the sandbox started, from 1.
    pub number: u64,
    /// When it came, on the sandbox's clock.
    pub at: Instant,
    /// The channel its token belongs to.
    pub channel: Option<String>,
    /// What it asked for; `None` for a path LINE does not have.
    pub endpoint: Option<Endpoint>,
    /// Its retry key.
    pub key: Option<String>,
    /// SHA-256 of its body, in hexadecimal; multicasts only.
    pub body: Option<String>,
    /// How many user ids it named; multicasts and rich menus only.
    pub recipients: usize,
    /// How many friends it reached.
    pub delivered: usize,
    /// The status it was answered with; `None` if it got no answer.
    pub status: Option<u16>,
    /// The fault that struck it.
    pub fault: Option<FaultKind>,
}

/// The same in little room; texts are looked up when somebody asks.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) at: Instant,
    pub(super) channel: Option<u32>,
    pub(super) endpoint: Option<Endpoint>,
    pub(super) key: Option<[u8; 16]>,
    pub(super) body: Option<Sha>,
    pub(super) recipients: u32,
    pub(super) delivered: u32,
    pub(super) status: Option<u16>,
    pub(super) fault: Option<FaultKind>,
}

/// Sums over everything since the start (accepted multicasts and messages: since the state file began).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests to LINE's endpoints.
    pub requests: u64,
    /// Multicasts among them that named a channel.
    pub multicasts: u64,
    /// Multicasts that were taken, whatever became of the answer.
    pub accepted: u64,
    /// Multicasts answered, by status.
    pub answered: BTreeMap<u16, u64>,
    /// Multicasts that got no answer.
    pub unanswered: u64,
    /// Multicasts without a retry key: a sender that repeats those sends twice.
    pub without_key: u64,
    /// Messages delivered: what LINE bills.
    pub messages: u64,
    /// Recipients skipped in silence: blocked or unknown.
    pub skipped: u64,
}

/// What the sandbox knows of one retry key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// The key.
    pub key: String,
    /// Requests that carried it.
    pub attempts: u64,
    /// SHA-256 of every distinct body it came with, in hexadecimal. More than one breaks the contract.
    pub bodies: Vec<String>,
    /// How often a request under it was taken. More than one means that 24 h lay between.
    pub accepted: u64,
}

/// A delivery one friend got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// The `messages` array, as canonical JSON.
    pub messages: Arc<str>,
    /// SHA-256 of that, in hexadecimal.
    pub content: String,
    /// Whether the device stayed silent.
    pub silent: bool,
    /// The statistics unit.
    pub unit: Option<Arc<str>>,
    /// The request that was taken.
    pub request_id: String,
}

/// A friend who got the same content more than once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The channel.
    pub channel: String,
    /// The friend.
    pub user: String,
    /// SHA-256 of the `messages` array, in hexadecimal.
    pub content: String,
    /// How often.
    pub times: u32,
}

/// What must hold of any sender, looked for in the books.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// Retry keys seen.
    pub keys: u64,
    /// Keys that came with two bodies: there must be none.
    pub keys_with_two_bodies: Vec<KeyReport>,
    /// Keys taken twice, 24 h apart: there must be none.
    pub keys_taken_twice: Vec<KeyReport>,
    /// Friends who got the same content twice, the first 1,000.
    pub duplicates: Vec<Duplicate>,
    /// All of those: (friend, content) pairs.
    pub duplicate_pairs: u64,
    /// Multicasts without a retry key: there must be none.
    pub without_key: u64,
}

/// One accepted multicast.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) at: Instant,
    pub(super) channel: u32,
    pub(super) content: u32,
    pub(super) silent: bool,
    pub(super) unit: Option<Arc<str>>,
    pub(super) request: RequestId,
    pub(super) to: Box<[FriendNo]>,
}

/// A `messages` array that was delivered, kept once.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) sha: Sha,
    pub(super) json: Arc<str>,
}

#[derive(Debug, Default)]
struct KeyRow {
    attempts: u64,
    bodies: Vec<Sha>,
    accepted: u64,
    /// When the first request LINE saw under it came, and which was taken: LINE's memory, for 24 h.
    since: Option<Instant>,
    taken: Option<RequestId>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    keep: usize,
    requests: VecDeque<Row>,
    keys: HashMap<[u8; 16], KeyRow>,
    contents: Vec<Content>,
    content_index: HashMap<Sha, u32>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) totals: Totals,
}

impl Ledger {
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Books a request that ended.
    pub(super) fn book(&mut self, row: Row) {
        self.totals.requests += 1;
        if row.endpoint == Some(Endpoint::Multicast) && row.channel.is_some() {
            self.totals.multicasts += 1;
            self.totals.without_key += u64::from(row.key.is_none());
            match row.status {
                Some(status) => *self.totals.answered.entry(status).or_default() += 1,
                None => self.totals.unanswered += 1,
            }
        }
        if self.requests.len() >= self.keep {
            self.requests.pop_front();
        }
        self.requests.push_back(row);
    }

    /// Notes that a key came with a body. True if that pair is new.
    pub(super) fn see(&mut self, key: [u8; 16], body: Sha) -> bool {
        let row = self.keys.entry(key).or_default();
        row.attempts += 1;
        let new = !row.bodies.contains(&body);
        if new {
            row.bodies.push(body);
        }
        new
    }

    /// How often this key came so far.
    pub(super) fn attempts(&self, key: &[u8; 16]) -> u64 {
        self.keys.get(key).map_or(0, |row| row.attempts)
    }

    /// LINE's look-up: which request under this key was taken in the last 24 h. Starts the 24 h if none runs.
    pub(super) fn look_up(&mut self, key: [u8; 16], now: Instant) -> Option<RequestId> {
        let row = self.keys.entry(key).or_default();
        if row.since.is_none_or(|since| now - since >= KEY_LIFE) {
            row.since = Some(now);
            row.taken = None;
        }
        row.taken
    }

    /// When LINE's memory of a key began.
    pub(super) fn key_since(&self, key: &[u8; 16]) -> Option<Instant> {
        self.keys.get(key)?.since
    }

    /// Says when LINE's memory of a key began.
    pub(super) fn begin_key(&mut self, key: [u8; 16], since: Instant) {
        self.keys.entry(key).or_default().since = Some(since);
    }

    /// Books an accepted multicast.
    pub(super) fn accept(&mut self, key: Option<[u8; 16]>, delivery: Delivery, skipped: u64) {
        if let Some(row) = key.map(|key| self.keys.entry(key).or_default()) {
            row.accepted += 1;
            row.since.get_or_insert(delivery.at);
            row.taken = Some(delivery.request);
        }
        self.totals.accepted += 1;
        self.totals.messages += delivery.to.len() as u64;
        self.totals.skipped += skipped;
        self.deliveries.push(delivery);
    }

    /// The place of a content; true if it is new.
    pub(super) fn content(&mut self, sha: Sha, json: &str) -> (u32, bool) {
        if let Some(place) = self.content_index.get(&sha) {
            return (*place, false);
        }
        let place = u32::try_from(self.contents.len()).unwrap_or(u32::MAX);
        self.contents.push(Content { sha, json: json.into() });
        self.content_index.insert(sha, place);
        (place, true)
    }

    pub(super) fn content_at(&self, place: u32) -> Option<&Content> {
        self.contents.get(place as usize)
    }

    pub(super) fn find_content(&self, sha: &Sha) -> Option<u32> {
        self.content_index.get(sha).copied()
    }

    /// The requests still remembered one by one, oldest first.
    pub(super) fn requests(&self) -> impl DoubleEndedIterator<Item = &Row> {
        self.requests.iter()
    }

    pub(super) fn key(&self, key: &[u8; 16]) -> Option<KeyReport> {
        self.keys.get(key).map(|row| row.report(key))
    }

    /// Looks for what no sender may do; `name` tells a friend's channel and id.
    pub(super) fn audit(&self, name: impl Fn(u32, FriendNo) -> (String, String)) -> Audit {
        let mut counts: HashMap<(u32, FriendNo, u32), u32> = HashMap::new();
        for delivery in &self.deliveries {
            for friend in &delivery.to {
                *counts.entry((delivery.channel, *friend, delivery.content)).or_default() += 1;
            }
        }
        let mut twice: Vec<_> = counts.into_iter().filter(|(_, times)| *times > 1).collect();
        twice.sort_unstable();
        let duplicate = |((channel, friend, content), times): &((u32, FriendNo, u32), u32)| {
            let (channel, user) = name(*channel, *friend);
            let content = self.content_at(*content).map(|c| hex::encode(c.sha)).unwrap_or_default();
            Duplicate { channel, user, content, times: *times }
        };
        let reports = |wrong: fn(&KeyRow) -> bool| {
            let mut reports: Vec<_> =
                self.keys.iter().filter(|(_, row)| wrong(row)).map(|(key, row)| row.report(key)).collect();
            reports.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            reports
        };
        Audit {
            keys: self.keys.len() as u64,
            keys_with_two_bodies: reports(|row| row.bodies.len() > 1),
            keys_taken_twice: reports(|row| row.accepted > 1),
            duplicates: twice.iter().take(1_000).map(duplicate).collect(),
            duplicate_pairs: twice.len() as u64,
            without_key: self.totals.without_key,
        }
    }
}

impl KeyRow {
    fn report(&self, key: &[u8; 16]) -> KeyReport {
        KeyReport {
            key: super::plan::uuid_text(key),
            attempts: self.attempts,
            bodies: self.bodies.iter().map(hex::encode).collect(),
            accepted: self.accepted,
        }
    }
}
