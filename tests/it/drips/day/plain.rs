//! What is to come of a day, worked out friend by friend: no sets, no occurrences, no database.

use std::collections::{BTreeMap, BTreeSet};

use haishin::domain::drip::Ending;
use haishin::domain::time::{Instant, Span};

/// What is told of a friend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Tag(&'static str),
    /// With so much in it.
    Cart(i64),
    Purchase,
    Ask,
    Follows,
    Blocks,
}

/// Something that was carried out: drip, step, friend, and the minute.
pub type Deed = (&'static str, &'static str, u32, Instant);
/// A way that was gone: drip, friend, when it started, how it ended.
pub type Way = (&'static str, u32, Instant, Ending);

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Which text.
    pub sent: BTreeMap<Deed, &'static str>,
    /// Who was deferred, and when.
    pub deferred: BTreeSet<Deed>,
    pub ways: BTreeSet<Way>,
    pub tags: BTreeMap<u32, BTreeSet<&'static str>>,
}

/// A step of a drip: so long after the start, it does this.
struct Step {
    name: &'static str,
    after: Span,
    does: Does,
}

enum Does {
    Send(&'static str),
    /// The same, where there is room: one in two hours, waiting for three.
    SendCapped(&'static str),
    Tag(&'static str, Option<Span>),
}

const ROOM: Span = Span::from_hours(2);
const WAITS: Span = Span::from_hours(3);
const LOOK: Span = Span::from_hours(1);
/// How long the tag `used` lasts.
const LASTS: Span = Span::from_hours(2);

fn steps(drip: &str) -> Vec<Step> {
    let step = |name, minutes, does| Step { name, after: Span::from_mins(minutes), does };
    match drip {
        "cart" => vec![step("remind", 90, Does::Send("cart")), step("last", 180, Does::Send("last"))],
        "club" => vec![step("in", 5, Does::Send("club"))],
        "hello" => vec![
            step("hi", 0, Does::Send("hi")),
            step("tip", 120, Does::Send("tip")),
            step("mark", 120, Does::Tag("welcomed", None)),
        ],
        "news" => vec![step("news", 10, Does::SendCapped("news"))],
        "over" => vec![step("bye", 0, Does::Send("bye")), step("later", 45, Does::Send("later"))],
        "trial" => vec![
            step("offer", 60, Does::SendCapped("offer")),
            step("mark", 0, Does::Tag("used", Some(LASTS))),
        ],
        other => panic!("{other}"),
    }
}

/// How long after a start another one may be; none where there is never another.
fn again(drip: &str) -> Option<Span> {
    match drip {
        "cart" => Some(Span::from_hours(4)),
        "news" => Some(Span::from_mins(30)),
        _ => None,
    }
}

/// At one instant tags fall off first; then drips go in the order of their names, whoever was deferred before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Expire { tag: &'static str, given: Instant },
    Do { drip: &'static str, due_now: bool, step: usize, started: Instant, deferred: Instant },
}

struct Friend<'a> {
    n: u32,
    tags: BTreeMap<&'static str, Instant>,
    /// When it got what caps count.
    counted: Vec<Instant>,
    /// Where it is on its way: since when, what its steps count from, and no step before.
    open: BTreeMap<&'static str, (Instant, Instant, Instant)>,
    last: BTreeMap<&'static str, Instant>,
    tasks: BTreeSet<(Instant, Task)>,
    outcome: &'a mut Outcome,
}

/// What comes of all that is told of one friend, in that order.
pub fn live(n: u32, told: &[(Instant, Said)], outcome: &mut Outcome) {
    let mut friend = Friend {
        n,
        tags: BTreeMap::new(),
        counted: Vec::new(),
        open: BTreeMap::new(),
        last: BTreeMap::new(),
        tasks: BTreeSet::new(),
        outcome,
    };
    for (at, said) in told {
        friend.work_until(*at);
        friend.hear(*at, *said);
    }
    friend.work_until(Instant::MAX);
    friend.outcome.tags.insert(n, friend.tags.into_keys().collect());
}

fn whole_minute(at: Instant) -> Instant {
    Instant::from_millis((at.as_millis() + 59_999) / 60_000 * 60_000)
}

impl Friend<'_> {
    fn work_until(&mut self, until: Instant) {
        while let Some((at, task)) = self.tasks.first().copied().filter(|(at, _)| *at <= until) {
            self.tasks.remove(&(at, task));
            match task {
                Task::Expire { tag, given } if self.tags.get(tag) == Some(&given) => {
                    self.tags.remove(tag);
                    self.start("over", at);
                }
                Task::Expire { .. } => {}
                Task::Do { drip, due_now, step, started, deferred } => {
                    if self.open.get(drip).is_some_and(|(since, ..)| *since == started) {
                        self.carry_out(drip, step, at, (!due_now).then_some(deferred));
                    }
                }
            }
        }
    }

    fn hear(&mut self, at: Instant, said: Said) {
        match said {
            Said::Tag(tag) => self.give(tag, at),
            Said::Cart(amount) if amount >= 3_000 => self.start("cart", at),
            Said::Cart(_) => {}
            Said::Purchase => self.end("cart", Ending::Reached),
            Said::Ask => self.start("news", at),
            Said::Follows => self.start("hello", at),
            Said::Blocks => self.end("hello", Ending::Stopped),
        }
    }

    fn give(&mut self, tag: &'static str, at: Instant) {
        let held = self.tags.insert(tag, at).is_some();
        match tag {
            "trial" if !held => self.start("trial", at),
            "used" if !held => self.start("club", at),
            _ => {}
        }
    }

    fn start(&mut self, drip: &'static str, at: Instant) {
        let may = match (self.last.get(drip), again(drip)) {
            (None, _) => true,
            (Some(last), Some(again)) => at - *last >= again,
            (Some(_), None) => false,
        };
        if may && !self.open.contains_key(drip) {
            self.last.insert(drip, at);
            self.open.insert(drip, (at, at, at));
            self.go_on(drip, 0);
        }
    }

    fn end(&mut self, drip: &'static str, how: Ending) {
        if let Some((started, ..)) = self.open.remove(drip) {
            self.outcome.ways.insert((drip, self.n, started, how));
        }
    }

    /// When a step is due, by the way as it stands.
    fn due(&self, drip: &'static str, step: usize) -> Option<Instant> {
        let (_, counts_from, not_before) = self.open[drip];
        let steps = steps(drip);
        Some(whole_minute(not_before.max(counts_from + steps.get(step)?.after)))
    }

    fn go_on(&mut self, drip: &'static str, step: usize) {
        match self.due(drip, step) {
            Some(due) => {
                let started = self.open[drip].0;
                let task = Task::Do { drip, due_now: true, step, started, deferred: due };
                self.tasks.insert((due, task));
            }
            None => self.end(drip, Ending::Finished),
        }
    }

    fn pass(&mut self, drip: &'static str, step: usize, at: Instant) {
        if let Some(way) = self.open.get_mut(drip) {
            way.2 = at;
        }
        self.go_on(drip, step + 1);
    }

    /// A step's time has come, or that of a look at whom it deferred.
    fn carry_out(&mut self, drip: &'static str, step: usize, at: Instant, deferred: Option<Instant>) {
        let Step { name, does, .. } = steps(drip).swap_remove(step);
        let deed = (drip, name, self.n, at);
        match does {
            Does::Tag(tag, lasts) => {
                self.tasks.extend(lasts.map(|lasts| (at + lasts, Task::Expire { tag, given: at })));
                self.pass(drip, step, at);
                self.give(tag, at);
            }
            // Whoever is on trial is spared the last call; members are reminded in words of their own.
            Does::Send("last") if self.tags.contains_key("trial") => self.pass(drip, step, at),
            Does::Send(text) => {
                let text = if text == "cart" && self.tags.contains_key("vip") { "cart-vip" } else { text };
                assert_eq!(self.outcome.sent.insert(deed, text), None);
                self.pass(drip, step, at);
            }
            Does::SendCapped(text) => self.send_where_there_is_room(deed, step, text, deferred),
        }
    }

    fn send_where_there_is_room(
        &mut self,
        deed: Deed,
        step: usize,
        text: &'static str,
        deferred: Option<Instant>,
    ) {
        let (drip, _, _, at) = deed;
        let room = self.counted.iter().all(|counted| *counted <= at - ROOM);
        let since = deferred.unwrap_or(at);
        if room {
            self.counted.push(at);
            assert_eq!(self.outcome.sent.insert(deed, text), None);
        } else if deferred.is_none() || at < since + WAITS {
            if deferred.is_none() {
                self.outcome.deferred.insert(deed);
            }
            let started = self.open[drip].0;
            let look = Task::Do { drip, due_now: false, step, started, deferred: since };
            self.tasks.insert(((at + LOOK).min(since + WAITS), look));
            return;
        }
        // Of a wait that is over, what comes next counts from there, if it would have come meanwhile.
        if deferred.is_some()
            && let Some(way) = self.open.get_mut(drip)
        {
            way.2 = since;
            if self.due(drip, step + 1).is_some_and(|due| due < at) {
                self.open.entry(drip).and_modify(|way| way.1 = at);
            }
        }
        self.pass(drip, step, at);
    }
}
