//! The state machine: what a request at an instant comes to. It does I/O only to its state file.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono_tz::Tz;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::channel::Channel;
use super::fault::{Draw, Endpoint, FaultKind, Faults};
use super::journal::{self, Journal, Line};
use super::ledger::{Delivery, Ledger, Row, Sha};
use super::menu::MenuChange;
use super::multicast::{self, Multicast};
use super::plan::{Act, Body, Plan, Reply, Request, RequestId, Say, parse_uuid, uuid_text};
use super::settings::{KeyLookup, SandboxError, Settings};
use super::tokens::{Grant, Tokens};
use crate::domain::time::{Instant, Span};

/// Where multicasts go.
pub(super) const MULTICAST: &str = "/v2/bot/message/multicast";
/// Where rich menus are linked…
pub(super) const LINK_MENU: &str = "/v2/bot/richmenu/bulk/link";
/// …and unlinked.
pub(super) const UNLINK_MENU: &str = "/v2/bot/richmenu/bulk/unlink";

/// The LINE double. Shared by reference; one lock inside, held for microseconds.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) rules: Rules,
    pub(super) traffic: Traffic,
    state: Mutex<State>,
}

/// Multicasts over HTTP that have come and not been answered, and those whose client did not wait.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) under_way: AtomicU64,
    pub(super) abandoned: AtomicU64,
}

/// What does not change while it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) key_lookup: KeyLookup,
    pub(super) seed: u64,
    pub(super) token_lifetime: Span,
    pub(super) zone: Tz,
}

/// What does.
#[derive(Debug)]
pub(super) struct State {
    pub(super) channels: Vec<Channel>,
    pub(super) tokens: Tokens,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    journal: Option<Journal>,
    boot: u64,
    number: u64,
    /// Deeds told by webhooks so far.
    pub(super) deeds: u64,
}

impl Sandbox {
    /// A sandbox that remembers what its state file holds, if it has one.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        let rules = Rules {
            key_lookup: settings.key_lookup,
            seed: settings.seed,
            token_lifetime: settings.token_lifetime,
            zone: settings.zone,
        };
        let mut state = State {
            channels: Vec::new(),
            tokens: Tokens::default(),
            faults: Faults::new(settings.seed, settings.faults),
            ledger: Ledger::new(settings.keep_requests),
            journal: None,
            boot: 0,
            number: 0,
            deeds: 0,
        };
        for channel in settings.channels {
            let place = u32::try_from(state.channels.len()).unwrap_or(u32::MAX);
            let id = channel.id.clone();
            let token = channel.access_token.clone();
            let own = token.is_none_or(|token| state.tokens.configure(token, place));
            if !own || state.channel(&id).is_some() {
                return Err(SandboxError::DuplicateChannel(id));
            }
            state.channels.push(Channel::new(channel, settings.rates));
        }
        if let Some(path) = settings.state_file {
            let (mut journal, lines) = Journal::open(&path)?;
            for (n, line) in lines.into_iter().enumerate() {
                state.restore(line, rules.zone).map_err(|reason| journal::damaged(&path, n + 1, reason))?;
            }
            state.boot += 1;
            journal
                .append(&[Line::Started { boot: state.boot }])
                .map_err(|source| SandboxError::StateFile { path, source })?;
            state.journal = Some(journal);
        }
        Ok(Self { rules, traffic: Traffic::default(), state: Mutex::new(state) })
    }

    /// What to do about a request that came at `now`. Everything it changes is changed, and in the state file,
    /// when this returns.
    pub fn handle(&self, request: &Request<'_>, now: Instant) -> Plan {
        let call = Call::read(request);
        let mut state = self.lock();
        state.number += 1;
        let id = request_id(self.rules.seed, state.boot, state.number);
        let mut row = Row {
            number: state.number,
            at: now,
            channel: None,
            endpoint: call.endpoint,
            key: None,
            body: call.digest,
            recipients: call.recipients(),
            delivered: 0,
            status: None,
            fault: None,
        };
        let say = state.answer(&self.rules, request, call, Context { id, now }, &mut row);
        let plan = finish(say, row.fault, id);
        row.status = match &plan.act {
            Act::Answer(reply) => Some(reply.status),
            Act::Close | Act::Hang => None,
        };
        state.ledger.book(row);
        plan
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request read as far as that needs no state: the expensive part, done outside the lock.
struct Call {
    endpoint: Option<Endpoint>,
    digest: Option<Sha>,
    work: Work,
}

enum Work {
    Multicast(Result<Multicast, Say>),
    Validate(Say),
    Menu(Result<MenuChange, Say>),
    Other,
}

/// Which request it is, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    pub(super) id: RequestId,
    pub(super) now: Instant,
}

impl Call {
    fn read(request: &Request<'_>) -> Self {
        let endpoint = match (request.method, request.path) {
            ("POST", MULTICAST) => Some(Endpoint::Multicast),
            ("POST", "/oauth2/v3/token") => Some(Endpoint::Token),
            ("POST", "/v2/bot/message/validate/multicast") => Some(Endpoint::ValidateMulticast),
            ("POST", LINK_MENU) => Some(Endpoint::LinkRichMenu),
            ("POST", UNLINK_MENU) => Some(Endpoint::UnlinkRichMenu),
            ("GET", "/v2/bot/message/quota") => Some(Endpoint::Quota),
            ("GET", "/v2/bot/message/quota/consumption") => Some(Endpoint::Consumption),
            ("GET", "/v2/bot/info") => Some(Endpoint::BotInfo),
            _ => None,
        };
        let (digest, work) = match endpoint {
            Some(Endpoint::Multicast) => {
                let body = json_body(request);
                let digest = body.as_ref().ok().map(|body| Sha256::digest(body).into());
                (digest, Work::Multicast(body.and_then(Multicast::parse)))
            }
            Some(Endpoint::ValidateMulticast) => {
                (None, Work::Validate(json_body(request).map_or_else(|say| say, multicast::validate)))
            }
            Some(Endpoint::LinkRichMenu) => (None, Work::Menu(json_body(request).and_then(MenuChange::link))),
            Some(Endpoint::UnlinkRichMenu) => {
                (None, Work::Menu(json_body(request).and_then(MenuChange::unlink)))
            }
            _ => (None, Work::Other),
        };
        Self { endpoint, digest, work }
    }

    fn recipients(&self) -> u32 {
        let count = match &self.work {
            Work::Multicast(Ok(multicast)) => multicast.to.len(),
            Work::Menu(Ok(change)) => change.users.len(),
            _ => 0,
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

fn json_body<'a>(request: &Request<'a>) -> Result<&'a [u8], Say> {
    match request.body {
        Body::TooLarge => Err(Say::error(413, "Request body is too large")),
        Body::Whole(_) if !request.is_media_type("application/json") => {
            Err(Say::error(415, "Unsupported media type"))
        }
        Body::Whole(body) => Ok(body),
    }
}

impl State {
    fn answer(
        &mut self,
        rules: &Rules,
        request: &Request<'_>,
        call: Call,
        context: Context,
        row: &mut Row,
    ) -> Say {
        let Some(endpoint) = call.endpoint else { return Say::error(404, "Not found") };
        let grant = (endpoint == Endpoint::Token).then(|| Grant::read(request));
        row.channel = match &grant {
            Some(grant) => self.channel(&grant.id),
            None => match self.tokens.channel(request, context.now) {
                Some(channel) => Some(channel),
                None => return Say::unauthorized(),
            },
        };
        row.key = match retry_key(request, endpoint) {
            Ok(key) => key,
            Err(say) => return say,
        };
        if let Err(say) = self.see(row) {
            return say;
        }
        row.fault = self.fault(endpoint, row);
        if let Some(say) = row.fault.and_then(instead) {
            return say;
        }
        if let Some(channel) = row.channel.and_then(|c| self.channels.get_mut(c as usize))
            && !channel.buckets.take(endpoint, context.now)
        {
            return Say::rate_limited();
        }
        match (call.work, grant) {
            (Work::Multicast(parsed), _) => {
                self.multicast(rules, parsed, context, row).unwrap_or_else(|say| say)
            }
            (Work::Validate(say), _) => say,
            (Work::Menu(change), _) => {
                change.and_then(|change| self.change_menu(change, row)).unwrap_or_else(|say| say)
            }
            (Work::Other, Some(grant)) => self.issue(rules, &grant, context),
            (Work::Other, None) => self.ask(rules, endpoint, row.channel, context.now),
        }
    }

    /// Notes the key's body in the books, and durably if that is news.
    fn see(&mut self, row: &Row) -> Result<(), Say> {
        let (Some(key), Some(body)) = (row.key, row.body) else { return Ok(()) };
        if self.ledger.see(key, body) {
            let line = Line::Seen { key: uuid_text(&key), body: hex::encode(body) };
            self.write(&[line])?;
        }
        Ok(())
    }

    fn fault(&mut self, endpoint: Endpoint, row: &Row) -> Option<FaultKind> {
        let number = row.number.to_be_bytes();
        let channel = row.channel.and_then(|c| self.channels.get(c as usize));
        self.faults.draw(Draw {
            endpoint,
            channel: channel.map_or("", |channel| &channel.id),
            now: row.at,
            identity: row.key.as_ref().map_or(&number[..], |key| &key[..]),
            attempt: row.key.map_or(1, |key| self.ledger.attempts(&key)),
        })
    }

    fn multicast(
        &mut self,
        rules: &Rules,
        parsed: Result<Multicast, Say>,
        context: Context,
        row: &mut Row,
    ) -> Result<Say, Say> {
        let Context { id, now } = context;
        let taken = row.key.and_then(|key| self.ledger.look_up(key, now));
        if let Some(by) = taken.filter(|_| rules.key_lookup == KeyLookup::BeforeValidation) {
            return Err(Say::taken(by));
        }
        let multicast = parsed?;
        let place = row.channel.unwrap_or(u32::MAX);
        let channel = self.channels.get_mut(place as usize).ok_or_else(Say::unauthorized)?;
        let to = channel.reach(&multicast.to)?;
        if let Some(by) = taken {
            return Err(Say::taken(by));
        }
        if !channel.month.has_room(to.len() as u64, now, rules.zone) {
            return Err(Say::monthly_limit());
        }
        row.delivered = u32::try_from(to.len()).unwrap_or(u32::MAX);
        let skipped = (multicast.to.len() - to.len()) as u64;
        self.write_accepted(&multicast, &to, skipped, row, id)?;
        let (content, _) = self.ledger.content(multicast.content, &multicast.messages);
        let delivery = Delivery {
            at: now,
            channel: place,
            content,
            silent: multicast.silent,
            unit: multicast.unit,
            request: id,
            to: to.into_boxed_slice(),
        };
        if let Some(channel) = self.channels.get_mut(place as usize) {
            channel.month.count(delivery.to.len() as u64, now, rules.zone);
        }
        self.ledger.accept(row.key, delivery, skipped);
        Ok(Say::done())
    }

    fn ask(&mut self, rules: &Rules, endpoint: Endpoint, channel: Option<u32>, now: Instant) -> Say {
        let Some(channel) = channel.and_then(|c| self.channels.get_mut(c as usize)) else {
            return Say::unauthorized();
        };
        let value = match (endpoint, channel.month.limit) {
            (Endpoint::Quota, Some(limit)) => json!({ "type": "limited", "value": limit }),
            (Endpoint::Quota, None) => json!({ "type": "none" }),
            (Endpoint::Consumption, _) => json!({ "totalUsage": channel.month.used(now, rules.zone) }),
            _ => json!({
                "userId": channel.bot_user(),
                "basicId": format!("@{}", channel.id),
                "displayName": channel.name,
                "chatMode": "bot",
                "markAsReadMode": "auto",
            }),
        };
        Say::json(&value)
    }

    /// The place of the channel with this id.
    pub(super) fn channel(&self, id: &str) -> Option<u32> {
        self.channels.iter().position(|channel| channel.id == id).and_then(|place| place.try_into().ok())
    }

    /// Into the state file, if there is one; a sandbox that cannot remember does not accept.
    pub(super) fn write(&mut self, lines: &[Line]) -> Result<(), Say> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.append(lines).map_err(|error| {
            tracing::error!(%error, "the sandbox cannot write its state file and answers 500");
            Say::error(500, "Internal server error")
        })
    }

    pub(super) const fn remembers(&self) -> bool {
        self.journal.is_some()
    }

    pub(super) const fn set_boot(&mut self, boot: u64) {
        self.boot = boot;
    }
}

/// The retry key, where the endpoint takes one.
fn retry_key(request: &Request<'_>, endpoint: Endpoint) -> Result<Option<[u8; 16]>, Say> {
    let Some(text) = request.headers.get("x-line-retry-key") else { return Ok(None) };
    if endpoint != Endpoint::Multicast {
        return Err(Say::error(400, "The retry key is not supported for this endpoint"));
    }
    let key = text.to_str().ok().and_then(parse_uuid);
    key.map(Some).ok_or_else(|| Say::error(400, "Invalid retry key"))
}

/// What a fault says instead of doing anything.
fn instead(fault: FaultKind) -> Option<Say> {
    match fault {
        // Nobody hears what these say.
        FaultKind::LostBefore | FaultKind::HangBefore => Some(Say::done()),
        FaultKind::ServerErrorBefore => Some(Say::error(500, "Internal server error")),
        FaultKind::RateLimited => Some(Say::rate_limited()),
        FaultKind::MonthlyLimit => Some(Say::monthly_limit()),
        FaultKind::Unauthorized => Some(Say::unauthorized()),
        FaultKind::Forbidden => Some(Say::error(403, "Access to this API is not available for your account")),
        FaultKind::ConflictWithoutId => Some(Say::error(409, "The retry key is already accepted")),
        FaultKind::BadRequest => Some(Say::failed_to_send()),
        FaultKind::PayloadTooLarge => Some(Say::error(413, "Request body is too large")),
        FaultKind::LostAfter
        | FaultKind::HangAfter
        | FaultKind::Slow { .. }
        | FaultKind::ServerErrorAfter
        | FaultKind::Malformed
        | FaultKind::Huge => None,
    }
}

/// What becomes of what was to be said.
fn finish(say: Say, fault: Option<FaultKind>, id: RequestId) -> Plan {
    let say = match fault {
        Some(FaultKind::ServerErrorAfter) => Say::error(500, "Internal server error"),
        Some(FaultKind::Malformed) => Say { body: Bytes::from_static(b"{\"message\": <br> \xff\xfe"), ..say },
        Some(FaultKind::Huge) => Say { body: vec![b' '; 8 << 20].into(), ..say },
        _ => say,
    };
    let reply = Reply {
        status: say.status,
        request_id: id.to_string(),
        accepted_request_id: say.accepted.map(|accepted| accepted.to_string()),
        body: say.body,
    };
    let act = match fault {
        Some(FaultKind::LostBefore | FaultKind::LostAfter) => Act::Close,
        Some(FaultKind::HangBefore | FaultKind::HangAfter) => Act::Hang,
        _ => Act::Answer(reply),
    };
    let wait_ms = if let Some(FaultKind::Slow { ms }) = fault { ms } else { 0 };
    Plan { wait_ms, act }
}

/// Drawn anew for each request, of each start.
fn request_id(seed: u64, boot: u64, number: u64) -> RequestId {
    let mut hash = Sha256::new();
    for part in [seed, boot, number] {
        hash.update(part.to_be_bytes());
    }
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(digest.get(..16).unwrap_or(&[0; 16]));
    RequestId(id)
}
