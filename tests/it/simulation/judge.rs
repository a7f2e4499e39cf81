//! The checker. It knows the contract, what LINE has, what the books say, and what was told and done; it knows nothing of
//! how any of it came about.

use std::collections::{BTreeMap, BTreeSet};

use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::id::{AccountId, FriendId};
use haishin::domain::key::{BatchIdentity, OccurrenceIdentity, RetryKey, Run};
use haishin::domain::time::{Instant, Span};
use haishin::sandbox::Sandbox;
use haishin::store::{BatchEnding, BatchRow, OccurrenceFilter, OccurrenceRow, Store, StrideRow};

use super::network::Call;
use super::spec::{Spec, When};
use crate::support::ledger::{Entry, Ledger};
use crate::support::world::{CHANNEL, user};

/// Why nothing may be sent after a restore.
pub const SET_BACK: &str = "set back";

/// A time in which something must not be sent.
#[derive(Debug, Clone)]
pub struct Silence {
    /// Of which campaign; of all if none.
    pub campaign: Option<String>,
    pub from: Instant,
    /// Truly until then; for ever if none.
    pub until: Option<Instant>,
    /// Only what was frozen before, by the clock of who froze it.
    pub frozen_before: Option<Instant>,
    pub why: &'static str,
}

/// What is known of one friend from what was told and acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub following: bool,
    pub tags: BTreeSet<String>,
    pub carts: usize,
    /// Erased at least once: the books name nobody for who they were.
    pub was_erased: bool,
}

/// Everything there is to judge by.
pub struct Evidence<'a> {
    pub spec: &'a Spec,
    pub store: &'a dyn Store,
    pub account: AccountId,
    pub sandbox: &'a Sandbox,
    pub calls: Vec<Call>,
    pub silences: &'a [Silence],
    pub known: &'a BTreeMap<u32, Known>,
    /// Campaigns that quiet hours do not bind.
    pub immediate: &'a BTreeSet<String>,
    /// Campaigns whose file was taken away, or is another's.
    pub reshaped: &'a BTreeSet<String>,
    /// The database was set back: the books do not know all that went out.
    pub set_back: bool,
    /// Wall clocks were wrong at times: nothing can be said of instants.
    pub wrong_clocks: bool,
    /// Campaigns whose file was never edited, paused or cancelled.
    pub untouched: BTreeSet<String>,
    pub ended_at: Instant,
}

/// The keys of an occurrence's open batches, each with the batch's number and generation: what they are made of is
/// durable.
fn keys(row: &OccurrenceRow, strides: &[StrideRow], batches: &[BatchRow]) -> BTreeMap<String, (u32, u32)> {
    let identity = OccurrenceIdentity {
        channel_id: CHANNEL.into(),
        slug: row.campaign.clone(),
        step: row.step.clone(),
        due_at: row.due_at,
        run: row.run,
        child: row.child,
    };
    let key = |n, generation, parent, body: &[u8; 32]| {
        RetryKey::derive(&identity, BatchIdentity { n, generation, parent }, body).to_string()
    };
    let of_stride = |stride: &StrideRow| {
        let bodies = (stride.first..stride.upto).zip(stride.digests.clone());
        bodies.map(|(n, body)| (key(n, 0, None, &body), (n, 0))).collect::<Vec<_>>()
    };
    let of_batch = |batch: &BatchRow| {
        let (n, generation) = (batch.n, batch.generation);
        (key(n, generation, batch.parent, &batch.body_sha256), (n, generation))
    };
    strides.iter().flat_map(of_stride).chain(batches.iter().map(of_batch)).collect()
}

/// Whether a batch with this key was opened in the database.
pub async fn is_durable(store: &dyn Store, account: AccountId, wanted: &str) -> bool {
    let newest = OccurrenceFilter::Newest { campaign: None, limit: 1_000 };
    for row in store.occurrences(account, newest).await.unwrap() {
        let strides = store.strides(account, row.id).await.unwrap();
        let batches = store.batches(account, row.id).await.unwrap();
        if keys(&row, &strides, &batches).contains_key(wanted) {
            return true;
        }
    }
    false
}

/// What LINE took of one batch of the books.
struct Sent<'a> {
    entry: &'a Entry,
    taken: bool,
    outcome: Option<Outcome>,
}

type Wrong = Vec<String>;

/// What counts in caps of one friend.
#[derive(Debug)]
struct Counted<'l> {
    /// By the books.
    effective: Instant,
    /// The same, but no later than the first request of its occurrence truly left.
    truly: Instant,
    /// When it was decided, by the clock of then.
    decided: Instant,
    category: &'l str,
    text: &'l str,
}

impl Counted<'_> {
    /// Whether it lies in the window of this length that ends with another.
    fn is_within(&self, span: Span, last: &Self) -> bool {
        let near = |at: Instant, last: Instant| last - at < span && at - last < span;
        self.effective <= last.effective
            && near(self.effective, last.effective)
            && near(self.truly, last.truly)
            && self.decided <= last.decided
            && near(self.decided, last.decided)
    }
}

/// The most that lie in one window, itself included.
fn most<'l>(
    sends: &[Counted<'l>],
    counts: impl Fn(&Counted<'l>) -> bool,
    together: impl Fn(&Counted<'l>, &Counted<'l>) -> bool,
) -> usize {
    let counting = || sends.iter().filter(|one| counts(one));
    let held = counting().map(|last| counting().filter(|one| together(one, last)).count());
    held.max().unwrap_or(0)
}

/// What counts of each friend; when each occurrence was truly sent is said where the books may be wrong.
fn counted<'l>(ledger: &'l Ledger, truly: &BTreeMap<i64, Instant>) -> BTreeMap<u32, Vec<Counted<'l>>> {
    let mut counted: BTreeMap<u32, Vec<Counted<'l>>> = BTreeMap::new();
    for entry in ledger.occurrences.iter().filter(|entry| !is_trial(&entry.row)) {
        // Where clocks were right, what counts is what the books say in the end, and no more.
        let frozen = Some(entry.row.frozen_at).filter(|_| !truly.is_empty());
        let latest = truly.get(&entry.row.id.0).copied().unwrap_or(Instant::MAX);
        for set in entry.sets.iter().filter(|set| set.outcome.counts()) {
            let arm = entry.arms.iter().find(|arm| arm.position == set.position);
            let text = arm.map_or("", |arm| arm.messages.as_str());
            let (effective, category) = (set.effective_at, entry.row.category.as_str());
            for friend in &set.friends {
                let (truly, decided) = (effective.min(latest), frozen.unwrap_or(effective));
                counted.entry(friend).or_default().push(Counted {
                    effective,
                    truly,
                    decided,
                    category,
                    text,
                });
            }
        }
    }
    counted
}

impl Evidence<'_> {
    /// Everything that is not as promised.
    pub async fn judge(&self) -> Wrong {
        let mut wrong = Wrong::new();
        self.keys_are_kept(&mut wrong);
        self.quiet_hours_hold(&mut wrong);
        self.one_off_once(&mut wrong);
        self.held_after_restore(&mut wrong);
        if self.set_back {
            return wrong;
        }
        let ledger = Ledger::read(self.store, self.account).await;
        let sent = self.batches(&ledger);
        self.books_are_true(&ledger, &sent, &mut wrong);
        self.nobody_twice(&sent, &mut wrong);
        self.silence_is_kept(&sent, &mut wrong);
        Self::no_occurrence_twice(&ledger, &mut wrong);
        self.none_is_left_out(&ledger, &mut wrong);
        self.caps_hold(&ledger, &sent, &mut wrong);
        self.friends_are_known(&mut wrong).await;
        wrong
    }

    /// One body a key, one delivery a key, no key after LINE may have forgotten it.
    fn keys_are_kept(&self, wrong: &mut Wrong) {
        let audit = self.sandbox.audit();
        if audit.without_key > 0 {
            wrong.push("a multicast had no key".into());
        }
        for key in audit.keys_with_two_bodies.iter().chain(&audit.keys_taken_twice) {
            wrong.push(format!("key {} had two bodies, or was taken twice", key.key));
        }
        let mut first: BTreeMap<&str, Instant> = BTreeMap::new();
        for call in &self.calls {
            if !call.durable {
                wrong.push(format!("a request left at {} before its batch was open", call.at));
            }
            let began = *first.entry(&call.key).or_insert(call.at);
            // The hour between is for clocks that are wrong.
            if call.at - began > Span::from_hours(if self.wrong_clocks { 24 } else { 23 }) {
                wrong.push(format!("key {} of {began} was used again at {}", call.key, call.at));
            }
        }
    }

    /// By the clock of the machine a request left.
    fn quiet_hours_hold(&self, wrong: &mut Wrong) {
        for call in self.calls.iter().filter(|_| self.spec.quiet) {
            let hour = chrono::Timelike::hour(&call.wall.in_zone(self.spec.zone));
            let immediate = self.immediate.contains(&campaign_of(call));
            if !immediate && !is_test(call) && !(8..22).contains(&hour) {
                wrong.push(format!("a request left at {} by its clock, in quiet hours", call.wall));
            }
        }
    }

    /// Whatever the database has forgotten: who got a one-off got it once.
    fn one_off_once(&self, wrong: &mut Wrong) {
        let one_off = |slug: &str| {
            let campaign = self.spec.campaigns.get(slug).filter(|_| !self.reshaped.contains(slug));
            campaign.is_some_and(|campaign| matches!(campaign.when, When::Once(_)))
        };
        for n in 0..self.spec.friends {
            // Somebody who was forgotten is somebody else afterwards.
            if self.known.get(&n).is_some_and(|known| known.was_erased) {
                continue;
            }
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            let got = self.sandbox.received(CHANNEL, &user(n)).unwrap();
            // A test send counts in no statistics.
            for got in got.iter().filter(|got| got.unit.is_some()) {
                *times.entry(slug_of(&got.messages)).or_default() += 1;
            }
            for (slug, times) in times.into_iter().filter(|(slug, times)| *times > 1 && one_off(slug)) {
                wrong.push(format!("friend {n} got the one-off `{slug}` {times} times"));
            }
        }
    }

    /// The batches of the books by the keys they must have gone out under.
    fn batches<'l>(&self, ledger: &'l Ledger) -> Vec<(String, Sent<'l>)> {
        let mut all = Vec::new();
        for entry in &ledger.occurrences {
            let ended = |(n, generation): (u32, u32)| {
                let batch = entry.batches.iter().find(|batch| (batch.n, batch.generation) == (n, generation));
                match batch?.ended.as_ref()?.how {
                    BatchEnding::Outcome(outcome) => Some(outcome),
                    BatchEnding::Superseded => None,
                }
            };
            for (key, batch) in keys(&entry.row, &entry.strides, &entry.batches) {
                let taken = self.sandbox.key(&key).is_some_and(|report| report.accepted > 0);
                all.push((key, Sent { entry, taken, outcome: ended(batch) }));
            }
        }
        all
    }

    /// What the books call accepted LINE has, and what they say was never sent it has not; LINE has nothing else.
    fn books_are_true(&self, ledger: &Ledger, sent: &[(String, Sent<'_>)], wrong: &mut Wrong) {
        for (key, one) in sent {
            let what = format!("{} of {} (key {key})", one.entry.row.campaign, one.entry.row.due_at);
            match (one.outcome, one.taken) {
                (Some(Outcome::Accepted), false) => wrong.push(format!("{what}: LINE never took it")),
                (Some(Outcome::Accepted | Outcome::Unknown), _) | (_, false) => {}
                (how, true) => wrong.push(format!("{what}: LINE took it, the books say {how:?}")),
            }
        }
        let known: BTreeSet<&str> = sent.iter().map(|(key, _)| key.as_str()).collect();
        for key in self.calls.iter().map(|call| call.key.as_str()).collect::<BTreeSet<_>>() {
            if !known.contains(key) {
                wrong.push(format!("the books do not know key {key}, which went out"));
            }
        }
        for entry in &ledger.occurrences {
            if entry.row.finished_at.is_none() {
                wrong.push(format!(
                    "{} of {} is {:?} for ever",
                    entry.row.campaign, entry.row.due_at, entry.row.state
                ));
            }
        }
    }

    fn nobody_twice(&self, sent: &[(String, Sent<'_>)], wrong: &mut Wrong) {
        let bodies: BTreeMap<&str, &Call> = self.calls.iter().map(|call| (call.key.as_str(), call)).collect();
        let mut got: BTreeSet<(i64, String)> = BTreeSet::new();
        for (key, one) in sent.iter().filter(|(_, one)| one.taken) {
            let Some(call) = bodies.get(key.as_str()) else { continue };
            for user in recipients(call) {
                if !got.insert((one.entry.row.id.0, user.clone())) {
                    wrong.push(format!(
                        "{user} got {} of {} twice",
                        one.entry.row.campaign, one.entry.row.due_at
                    ));
                }
            }
        }
    }

    /// Nothing leaves after the database was set back, until a person has acted.
    fn held_after_restore(&self, wrong: &mut Wrong) {
        for silence in self.silences.iter().filter(|silence| silence.why == SET_BACK) {
            let within =
                |call: &&Call| call.at > silence.from && silence.until.is_none_or(|until| call.at < until);
            if let Some(call) = self.calls.iter().find(within) {
                wrong.push(format!("a request left at {} although the database was set back", call.at));
            }
        }
    }

    fn silence_is_kept(&self, sent: &[(String, Sent<'_>)], wrong: &mut Wrong) {
        let of: BTreeMap<&str, &Entry> = sent.iter().map(|(key, one)| (key.as_str(), one.entry)).collect();
        for silence in self.silences {
            let within =
                |call: &&Call| call.at > silence.from && silence.until.is_none_or(|until| call.at < until);
            for call in self.calls.iter().filter(within) {
                let Some(entry) = of.get(call.key.as_str()) else { continue };
                let meant = silence
                    .campaign
                    .as_ref()
                    .is_none_or(|slug| entry.row.campaign.as_str() == slug && !is_trial(&entry.row));
                let then = silence.frozen_before.is_none_or(|before| entry.row.frozen_at < before);
                if meant && then {
                    wrong.push(format!(
                        "{} went out at {} although it was {}",
                        entry.row.campaign, call.at, silence.why
                    ));
                }
            }
        }
        for (_, one) in sent {
            let row = &one.entry.row;
            for call in &self.calls {
                let late = row.deadline_at.is_some_and(|deadline| call.wall > deadline);
                if late && of.get(call.key.as_str()).is_some_and(|entry| entry.row.id == row.id) {
                    wrong.push(format!("{} went out at {}, after its deadline", row.campaign, call.wall));
                }
            }
        }
    }

    fn no_occurrence_twice(ledger: &Ledger, wrong: &mut Wrong) {
        let mut seen = BTreeSet::new();
        for entry in &ledger.occurrences {
            let row = &entry.row;
            if !seen.insert((&row.campaign, &row.step, row.due_at, format!("{:?}", row.run), row.child)) {
                wrong.push(format!("{} of {} is there twice", row.campaign, row.due_at));
            }
        }
    }

    /// Every instant of a schedule that nobody touched was dealt with, or judged together with a later one.
    fn none_is_left_out(&self, ledger: &Ledger, wrong: &mut Wrong) {
        for slug in self.untouched.iter().filter(|_| !self.wrong_clocks) {
            let Some(campaign) = self.spec.campaigns.get(slug) else { continue };
            let dealt: BTreeSet<Instant> = ledger
                .of(slug)
                .filter(|entry| entry.row.parent.is_none() && !is_trial(&entry.row))
                .map(|entry| entry.row.due_at)
                .collect();
            match &campaign.when {
                When::Once(at) if *at < self.ended_at => {
                    if dealt.iter().collect::<Vec<_>>() != [at] {
                        wrong.push(format!("the one-off `{slug}` of {at} was dealt with at {dealt:?}"));
                    }
                }
                When::Daily(time) => {
                    let first = self.spec.beginning.in_zone(self.spec.zone).date_naive();
                    let days = (0..30).map(|n| first + chrono::Days::new(n));
                    let due = days.map(|day| Instant::from_local(day.and_time(*time), self.spec.zone));
                    let due: BTreeSet<Instant> =
                        due.filter(|at| *at > self.spec.beginning && *at < self.ended_at).collect();
                    Self::follow(slug, &due, &dealt, wrong);
                }
                When::Interval(minutes) => {
                    // Zones here are whole hours off, so that these minutes are the same everywhere.
                    let step = i64::from(*minutes) * 60_000;
                    let next = (self.spec.beginning.as_millis() / step + 1) * step;
                    let due = (0..).map(|n| Instant::from_millis(next + n * step));
                    let due: BTreeSet<Instant> = due.take_while(|at| *at < self.ended_at).collect();
                    Self::follow(slug, &due, &dealt, wrong);
                }
                When::Once(_) => {}
            }
        }
    }

    fn follow(slug: &str, due: &BTreeSet<Instant>, dealt: &BTreeSet<Instant>, wrong: &mut Wrong) {
        for at in dealt.difference(due) {
            wrong.push(format!("`{slug}` was not due at {at}"));
        }
        if dealt.last() < due.last() {
            wrong.push(format!("`{slug}` of {:?} was left out; the last was {:?}", due.last(), dealt.last()));
        }
    }

    /// Every window of every friend, over the effective instants the books give. Where wall clocks were wrong, a window must
    /// hold too many by them, by true time and by what was decided: what was sent by a clock that is ahead counts by that
    /// clock, and once it is set right, when it was truly sent; what was decided by it and goes on later is not decided anew.
    fn caps_hold(&self, ledger: &Ledger, sent: &[(String, Sent<'_>)], wrong: &mut Wrong) {
        let of: BTreeMap<&str, i64> =
            sent.iter().map(|(key, one)| (key.as_str(), one.entry.row.id.0)).collect();
        let mut truly: BTreeMap<i64, Instant> = BTreeMap::new();
        for call in self.calls.iter().filter(|_| self.wrong_clocks) {
            let Some(id) = of.get(call.key.as_str()) else { continue };
            truly.entry(*id).or_insert(call.at);
        }
        for (friend, sends) in counted(ledger, &truly) {
            self.caps_hold_for(friend, &sends, wrong);
        }
    }

    fn caps_hold_for(&self, friend: u32, sends: &[Counted<'_>], wrong: &mut Wrong) {
        let spec = self.spec;
        let near = |span: Span| move |one: &Counted<'_>, last: &Counted<'_>| one.is_within(span, last);
        let same_day = |one: &Counted<'_>, last: &Counted<'_>| {
            let day = |at: Instant| at.day_in(spec.zone);
            day(one.effective) == day(last.effective)
                && day(one.truly) == day(last.truly)
                && day(one.decided) == day(last.decided)
        };
        let is_capped = |one: &Counted<'_>| one.category != "service";
        let advertises = |one: &Counted<'_>| ["promotion", "news"].contains(&one.category);
        let mut found = Vec::new();
        found.extend(spec.daily.map(|max| ("daily", most(sends, is_capped, same_day), max)));
        found.extend(spec.rolling.map(|(max, span)| ("rolling", most(sends, is_capped, near(span)), max)));
        let advertising = spec.advertising;
        found
            .extend(advertising.map(|(max, span)| ("advertising", most(sends, advertises, near(span)), max)));
        if let Some(span) = spec.same_content {
            let again =
                |one: &Counted<'_>, last: &Counted<'_>| one.text == last.text && one.is_within(span, last);
            found.push(("same content", most(sends, |_| true, again), 1));
        }
        for (cap, most, max) in found.into_iter().filter(|(_, most, max)| most > max) {
            wrong.push(format!("friend {friend}: {most} in the cap `{cap}` of {max}: {sends:?}"));
        }
    }

    /// Friend rows say what was told.
    async fn friends_are_known(&self, wrong: &mut Wrong) {
        let rows = self.store.friends(self.account, None, 100_000).await.unwrap();
        let row = self.store.account(self.account).await.unwrap().unwrap();
        if row.folded_seq != row.journal_seq {
            wrong.push(format!("entries after {:?} are not folded", row.folded_seq));
        }
        let range = (haishin::domain::id::Seq(0), row.journal_seq);
        let events = self.store.events(self.account, range, 1_000_000).await.unwrap();
        let mut carts: BTreeMap<FriendId, usize> = BTreeMap::new();
        events.iter().for_each(|event| *carts.entry(event.friend).or_default() += 1);
        let by_user: BTreeMap<_, _> = rows.iter().filter_map(|row| Some((row.user?, row))).collect();
        for (n, known) in self.known {
            let stored = by_user.get(&user(*n)).map(|row| Known {
                following: row.status == haishin::domain::friend::Status::Following,
                tags: row.tags.keys().map(ToString::to_string).collect(),
                carts: carts.get(&row.friend).copied().unwrap_or(0),
                was_erased: known.was_erased,
            });
            if stored.as_ref().unwrap_or(&Known { was_erased: known.was_erased, ..Known::default() }) != known
            {
                wrong.push(format!("friend {n} is {known:?}, the rows say {stored:?}"));
            }
        }
    }
}

/// The slug a request's text begins with.
fn campaign_of(call: &Call) -> String {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    slug_of(&body["messages"].to_string())
}

/// Whether a request is a test send, which counts in no statistics.
fn is_test(call: &Call) -> bool {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    body["customAggregationUnits"].is_null()
}

fn is_trial(row: &OccurrenceRow) -> bool {
    matches!(row.run, Run::Test(_))
}

fn slug_of(messages: &str) -> String {
    let messages: serde_json::Value = serde_json::from_str(messages).unwrap();
    let text = messages[0]["text"].as_str().unwrap();
    text.split(' ').next().unwrap().to_owned()
}

fn recipients(call: &Call) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    body["to"].as_array().unwrap().iter().map(|user| user.as_str().unwrap().to_owned()).collect()
}

/// Whether an occurrence is one that a person has to let go.
pub fn is_held(state: OccurrenceState) -> bool {
    matches!(state, OccurrenceState::Held | OccurrenceState::Paused)
}
