//! What leaves beside sends: rich menus at LINE, the shop's own systems told. The row is durable with
//! what decided it; the request follows, at least once.
//!
//! Each lane makes one request at a time, in the order in which they were decided. What waits is in the database; what
//! is under way, and how a lane fares, is remembered here only: a start begins with the oldest again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::Rng as _;
use serde_json::json;

use super::dispatch::Leave;
use super::words::failure_words;
use super::{Engine, Event};
use crate::clock::{Clock, Reading};
use crate::domain::id::AccountSlug;
use crate::domain::outbox::{Failure, Lane, Request, webhook_id};
use crate::domain::reason::Said;
use crate::domain::time::{Instant, Span};
use crate::lang::Lang;
use crate::line::{Answer as LineAnswer, Api, CallError};
use crate::sender::back_off::back_off;
use crate::store::{GivenUp, OutboxLane, OutboxRow, Priority, StoreError, Write};
use crate::systems::Systems;

/// Rows of a lane read together; one of rich menus is some 20 kB.
const WINDOW: u32 = 32;
/// Where nothing was due, it is looked again after this.
const LOOK_AGAIN: Span = Span::from_secs(1);
/// Nobody waits for a request any longer: given up…
const TOO_LATE: Span = Span::from_hours(24);
/// …unless so many attempts have not even been made, the row's own or the lane's in a row: about half a minute of
/// them. A short outage after a long rest costs nothing.
const ENOUGH: u32 = 8;
/// How often what waits is counted anew.
const COUNT_AGAIN: Span = Span::from_secs(10);
/// A request that has waited for so long is told of.
pub(in crate::engine) const LATE: Span = Span::from_mins(5);

/// What one lane holds, by the truth.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backlog {
    /// Requests still to be made.
    pub open: u64,
    /// When the oldest was decided, as last counted.
    pub oldest: Option<Instant>,
}

impl Backlog {
    /// A lane with what it holds.
    pub fn of(OutboxLane { lane, open, oldest }: OutboxLane) -> (Lane, Self) {
        (lane, Self { open, oldest: Some(oldest) })
    }
}

/// What a request came to.
#[derive(Debug)]
pub enum Came {
    /// The other side took it.
    Taken,
    /// It did not, or nobody knows.
    Failed(Failure),
    /// It did not leave: by then it might not any more.
    Stayed,
}

/// A request that came back.
#[derive(Debug)]
pub struct Made {
    row: OutboxRow,
    came: Came,
    /// Before which reload it was made.
    epoch: u64,
}

/// What this process knows of an account's requests.
#[derive(Debug, Default)]
pub(super) struct Desk {
    lanes: BTreeMap<Lane, Fares>,
    /// What came back and is not heard yet.
    made: Vec<Made>,
    epoch: u64,
    /// Since boot, when what waits was counted.
    counted_at: Option<Span>,
}

/// How a lane fares.
#[derive(Debug, Default)]
struct Fares {
    /// Rows due, in order.
    window: VecDeque<OutboxRow>,
    under_way: bool,
    /// Since boot, when nothing was due.
    idle_since: Option<Span>,
    /// Attempts that failed since one last did not.
    failures: u32,
    /// Since boot, when the first of them did.
    failing_since: Option<Span>,
    /// Since boot, when the next may be made.
    not_before: Option<Span>,
    /// What the last of them came to.
    last: Option<Failure>,
}

impl Desk {
    /// Nothing is on its way whose answer could still be heard.
    pub(super) fn is_idle(&self) -> bool {
        self.lanes.values().all(|fares| !fares.under_way)
    }

    /// Takes in what came back. It cannot fail: a lane is free again whatever becomes of the turn.
    pub(super) fn came_back(&mut self, made: Made) {
        let fares = self.lanes.entry(made.row.request.lane()).or_default();
        fares.under_way = false;
        // Since then everything was read anew, the row, too: it is made once more.
        if made.epoch == self.epoch {
            self.made.push(made);
        }
    }

    /// Rows were changed beneath it: what is under way goes by the old ones and is made again.
    pub(super) fn changed_beneath(&mut self) {
        self.counted_at = None;
        self.forget();
    }

    /// The truth is read anew.
    pub(super) fn forget(&mut self) {
        self.epoch += 1;
        self.made.clear();
        self.lanes.values_mut().for_each(Fares::look_anew);
    }
}

impl Fares {
    fn look_anew(&mut self) {
        self.window.clear();
        self.idle_since = None;
    }

    /// How long until the next may be made; none while one is under way.
    fn ready_in(&self, since_boot: Span) -> Option<Span> {
        let idle = self.idle_since.map(|at| at.as_millis() + LOOK_AGAIN.as_millis());
        let at = idle.max(self.not_before.map(Span::as_millis)).unwrap_or(0);
        (!self.under_way).then(|| Span::from_millis((at - since_boot.as_millis()).max(0)))
    }

    fn goes_well(&mut self) {
        (self.failures, self.failing_since, self.not_before, self.last) = (0, None, None, None);
    }

    /// Says how long the lane waits.
    fn fails(&mut self, failure: Failure, since_boot: Span, jitter: f64) -> Span {
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(since_boot);
        let failing_for = Span::from_millis(since_boot.as_millis() - since.as_millis());
        let wait = back_off(self.failures, failing_for, jitter);
        self.not_before = Some(Span::from_millis(since_boot.as_millis() + wait.as_millis()));
        self.last = Some(failure);
        // What failed may come first again, or wait.
        self.look_anew();
        wait
    }

    /// Why this row is not tried any more, if so.
    fn gives_up(&self, row: &OutboxRow, now: Instant) -> Option<Failure> {
        let tried = row.attempts.max(self.failures) >= ENOUGH;
        self.last.clone().filter(|_| tried && now - row.created_at >= TOO_LATE)
    }
}

/// What became of rows, before it is committed.
#[derive(Default)]
struct Ended {
    taken: Vec<i64>,
    changed: Vec<OutboxRow>,
    lanes: Vec<(Lane, u64)>,
}

impl Ended {
    fn take(&mut self, row: &OutboxRow) {
        self.taken.push(row.id);
        self.lanes.push((row.request.lane(), 1));
    }

    fn give_up(&mut self, mut row: OutboxRow, at: Instant, why: Failure) {
        self.lanes.push((row.request.lane(), 1));
        row.given_up = Some(GivenUp { at, why });
        self.changed.push(row);
    }

    fn writes(&mut self) -> Vec<Write> {
        let (taken, changed) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.changed));
        let taken = (!taken.is_empty()).then_some(Write::DropOutbox(taken));
        let changed = (!changed.is_empty()).then_some(Write::Outbox(changed));
        taken.into_iter().chain(changed).collect()
    }
}

impl Engine {
    /// Numbers requests on. What is given back must be committed, or everything reloaded.
    pub(super) fn enqueue(&mut self, requests: Vec<Request>, now: Instant) -> Option<Write> {
        let rows: Vec<OutboxRow> = requests
            .into_iter()
            .map(|request| {
                self.state.last_outbox += 1;
                let lane = request.lane();
                if let Some(fares) = self.outbox.lanes.get_mut(&lane) {
                    fares.idle_since = None;
                }
                let backlog = self.state.outbox.entry(lane).or_default();
                backlog.open += 1;
                backlog.oldest.get_or_insert(now);
                OutboxRow {
                    id: self.state.last_outbox,
                    request,
                    created_at: now,
                    not_before: now,
                    attempts: 0,
                    given_up: None,
                }
            })
            .collect();
        (!rows.is_empty()).then_some(Write::Outbox(rows))
    }

    /// Hears what requests came to, all of a turn's in one commit.
    pub(super) async fn hear_outbox(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        let mut ended = Ended::default();
        for made in std::mem::take(&mut self.outbox.made) {
            self.hear_one(made, &clock, &mut ended);
        }
        self.end(ended).await
    }

    fn hear_one(&mut self, made: Made, clock: &Reading, ended: &mut Ended) {
        let Made { mut row, came, .. } = made;
        let lane = row.request.lane();
        let jitter = self.rng.random::<f64>();
        let Some(fares) = self.outbox.lanes.get_mut(&lane) else { return };
        let failure = match came {
            Came::Stayed => return fares.look_anew(),
            Came::Taken => {
                if fares.failures > 0 {
                    tracing::info!(account = %self.slug, %lane, "requests get through again");
                }
                fares.goes_well();
                ended.take(&row);
                return self.count_outbox(lane.kind(), "taken", 1);
            }
            Came::Failed(failure) => failure,
        };
        row.attempts = row.attempts.saturating_add(1);
        if failure.is_final() {
            // It answers: nothing is wrong with the lane.
            fares.goes_well();
            self.tell_given_up(&lane, &failure, 1);
            return ended.give_up(row, clock.now, failure);
        }
        if fares.failures == 0 {
            let reason = failure_words(&failure, Lang::En);
            tracing::warn!(account = %self.slug, %lane, reason, "requests fail; they are tried again");
        }
        let wait = fares.fails(failure, clock.boot.since_boot, jitter);
        if let Some(failure) = fares.gives_up(&row, clock.now) {
            self.tell_given_up(&lane, &failure, 1);
            return ended.give_up(row, clock.now, failure);
        }
        if !lane.keeps_order() {
            // Longer than the lane: when that goes on, another row comes first.
            let own = back_off(row.attempts, clock.now - row.created_at, jitter);
            row.not_before = clock.now + wait + own;
        }
        ended.changed.push(row);
        self.count_outbox(lane.kind(), "failed", 1);
    }

    fn tell_given_up(&self, lane: &Lane, failure: &Failure, rows: u64) {
        let reason = failure_words(failure, Lang::En);
        tracing::error!(account = %self.slug, %lane, rows, reason, "given up; see the table outbox");
        self.count_outbox(lane.kind(), "given_up", rows);
    }

    /// Commits what became of rows.
    async fn end(&mut self, mut ended: Ended) -> Result<(), StoreError> {
        self.commit(Priority::Outcome, ended.writes()).await?;
        for (lane, count) in ended.lanes {
            let backlog = self.state.outbox.entry(lane).or_default();
            backlog.open = backlog.open.saturating_sub(count);
            backlog.oldest = backlog.oldest.filter(|_| backlog.open > 0);
        }
        Ok(())
    }

    /// Whether requests may leave at all. They have effects on others: the brake, a pause and a clock that is not
    /// believed hold them as they hold sends.
    fn outbox_may_leave(&self, clock: &Reading) -> bool {
        !self.draining
            && self.state.row.stopped.is_none()
            && self.state.row.paused.is_none()
            && !self.clock_behind(clock.now)
            && self.lease_is_safe(clock)
    }

    /// Lanes in which something is to be made.
    fn open_lanes(&self) -> impl Iterator<Item = &Lane> {
        self.state.outbox.iter().filter(|(_, backlog)| backlog.open > 0).map(|(lane, _)| lane)
    }

    /// Makes the next request of each lane.
    pub(super) async fn dispatch_outbox(&mut self) -> Result<(), StoreError> {
        let clock = self.deps.clock.read();
        self.count_waiting(clock.boot.since_boot).await?;
        if !self.outbox_may_leave(&clock) {
            return Ok(());
        }
        let mut ended = Ended::default();
        for lane in self.open_lanes().cloned().collect::<Vec<_>>() {
            if self.read_lane(&lane, &clock).await?
                && let Some(row) = self.next_of(&lane, clock.now, &mut ended)
            {
                self.make(row, &clock);
            }
        }
        self.end(ended).await
    }

    /// Counts what waits, where something does: for the metrics.
    async fn count_waiting(&mut self, since_boot: Span) -> Result<(), StoreError> {
        let again = |at: Span| since_boot.as_millis() - at.as_millis() >= COUNT_AGAIN.as_millis();
        if self.open_lanes().next().is_none() || !self.outbox.counted_at.is_none_or(again) {
            return Ok(());
        }
        self.outbox.counted_at = Some(since_boot);
        self.state.outbox.values_mut().for_each(|backlog| *backlog = Backlog::default());
        let lanes = self.deps.store.outbox_lanes(self.account).await?;
        self.state.outbox.extend(lanes.into_iter().map(Backlog::of));
        Ok(())
    }

    /// Reads on where the window is empty; whether there is something to make now.
    async fn read_lane(&mut self, lane: &Lane, clock: &Reading) -> Result<bool, StoreError> {
        let since_boot = clock.boot.since_boot;
        let fares = self.outbox.lanes.entry(lane.clone()).or_default();
        if fares.ready_in(since_boot) != Some(Span::ZERO) {
            return Ok(false);
        }
        if fares.window.is_empty() {
            fares.window = self.deps.store.outbox(self.account, lane, clock.now, WINDOW).await?.into();
            fares.idle_since = fares.window.is_empty().then_some(since_boot);
        }
        Ok(!fares.window.is_empty())
    }

    /// The first row of the window that is not given up.
    fn next_of(&mut self, lane: &Lane, now: Instant, ended: &mut Ended) -> Option<OutboxRow> {
        let fares = self.outbox.lanes.get_mut(lane)?;
        let mut over = None;
        while let Some(row) = fares.window.pop_front() {
            let Some(failure) = fares.gives_up(&row, now) else {
                fares.window.push_front(row);
                break;
            };
            ended.give_up(row, now, failure.clone());
            over = Some((failure, over.map_or(1, |(_, rows): (_, u64)| rows + 1)));
        }
        let next = fares.window.pop_front();
        if let Some((failure, rows)) = over {
            self.tell_given_up(lane, &failure, rows);
        }
        if next.is_none() {
            // There may be more behind the window.
            let _ = self.events.try_send(Event::Nudge);
        }
        next
    }

    fn make(&mut self, row: OutboxRow, clock: &Reading) {
        let epoch = self.outbox.epoch;
        self.outbox.lanes.entry(row.request.lane()).or_default().under_way = true;
        let way = Way {
            line: self.line.clone(),
            systems: self.deps.systems.clone(),
            clock: self.deps.clock.clone(),
            leave: Leave::soon(clock.clone()),
            account: self.slug.clone(),
        };
        let events = self.events.clone();
        self.attempts.spawn(async move {
            let came = way.make(&row).await;
            // An engine that has ended finds the row again.
            let _ = events.send(Event::Made(Made { row, came, epoch })).await;
        });
    }

    /// How long until a request could leave.
    pub(super) fn next_outbox(&self, clock: &Reading) -> Option<Span> {
        if !self.outbox_may_leave(clock) {
            return None;
        }
        let ready_in = |lane: &Lane| match self.outbox.lanes.get(lane) {
            Some(fares) => fares.ready_in(clock.boot.since_boot),
            None => Some(Span::ZERO),
        };
        self.open_lanes().filter_map(ready_in).min()
    }

    /// What a lane's last attempt came to, if it failed.
    pub(super) fn last_failure(&self, lane: &Lane) -> Option<&Failure> {
        self.outbox.lanes.get(lane)?.last.as_ref()
    }

    /// What waits, for programs.
    pub(super) fn outbox_json(&self, lanes: &[OutboxLane], lang: Lang) -> serde_json::Value {
        let one = |OutboxLane { lane, open, oldest }: &OutboxLane| {
            let last = self.last_failure(lane);
            json!({
                "lane": lane.to_string(), "open": open, "oldest": oldest, "why": last,
                "reason": last.map(|failure| failure_words(failure, lang)),
            })
        };
        lanes.iter().map(one).collect()
    }
}

/// What a request is made with.
struct Way {
    line: Arc<dyn Api>,
    systems: Arc<dyn Systems>,
    clock: Arc<dyn Clock>,
    leave: Leave,
    account: AccountSlug,
}

impl Way {
    async fn make(&self, row: &OutboxRow) -> Came {
        let made = match &row.request {
            Request::RichMenu { menu, users } => {
                if let Err(answer) = self.line.prepare().await {
                    return Came::Failed(not_prepared(&answer));
                }
                if !self.may_leave() {
                    return Came::Stayed;
                }
                self.line.link_rich_menu(menu.as_ref(), users).await.map_err(failure)
            }
            Request::Webhook { system, body } => {
                let plain = serde_json::Value::Object(body.clone()).to_string();
                let id = webhook_id(&self.account, row.id, row.created_at, plain.as_bytes());
                let mut body = body.clone();
                body.insert("id".into(), id.clone().into());
                if !self.may_leave() {
                    return Came::Stayed;
                }
                let body = serde_json::Value::Object(body).to_string();
                self.systems.tell(system, &id, body.into()).await
            }
        };
        made.map_or_else(Came::Failed, |()| Came::Taken)
    }

    /// Asked once more where the request leaves: the process may have been stopped for a day since it was decided.
    fn may_leave(&self) -> bool {
        self.leave.is_allowed(&self.clock.read())
    }
}

fn not_prepared(answer: &LineAnswer) -> Failure {
    match answer {
        LineAnswer::Unauthorized | LineAnswer::StaleToken => Failure::Unauthorized,
        _ => Failure::Unreachable,
    }
}

fn failure(error: CallError) -> Failure {
    let answered = |status, message| Failure::Answered(Said { status, message });
    match error {
        CallError::Unauthorized => Failure::Unauthorized,
        CallError::Forbidden => answered(403, String::new()),
        CallError::RateLimited => answered(429, String::new()),
        CallError::Refused { status, message } => answered(status, message),
        CallError::Server(status) => answered(status, String::new()),
        CallError::Timeout => Failure::Timeout,
        CallError::ConnectionLost | CallError::Malformed(_) => Failure::ConnectionLost,
        CallError::Unreachable => Failure::Unreachable,
    }
}
