//! Random drips over random histories: the engine against a plain reference model. Each history is a shop of a few friends
//! with a few drips, of whom things are told, in order or late, while the drips are edited, paused and resumed and the
//! process is killed or asleep. What each friend got, why not, and how each way stands must be the same.

mod reference;
mod spec;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::TimeDelta;
use haishin::clock::Clock as _;
use haishin::domain::delivery::{Exclusion, Outcome};
use haishin::domain::drip::{Ending, Standing};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::FriendId;
use haishin::domain::time::{Instant, Span, Tz};
use haishin::protocol::{Command, DueChoice};
use haishin::store::NewInbox;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rstest::rstest;

use super::at;
use crate::support::ledger::Ledger;
use crate::support::world::{World, slug, user};
use reference::{Deed, How, Model, Said, Settings, Why};
use spec::Version;

const FRIENDS: usize = 8;
/// What happens in one history.
const ACTS: usize = 11;
/// After the last of it, ways go on for so long.
const AFTERWARDS: Span = Span::from_days(4);

/// What all histories came to, so that none of it is never met.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    taken_up: usize,
    excluded: BTreeMap<Why, usize>,
    endings: BTreeMap<How, usize>,
    late: usize,
    again: usize,
    edits: usize,
    kills: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.taken_up += other.taken_up;
        self.late += other.late;
        self.again += other.again;
        self.edits += other.edits;
        self.kills += other.kills;
        other.excluded.into_iter().for_each(|(why, n)| *self.excluded.entry(why).or_default() += n);
        other.endings.into_iter().for_each(|(how, n)| *self.endings.entry(how).or_default() += n);
    }

    fn is_of_everything(&self) {
        let counts = [self.sent / 10, self.taken_up, self.late, self.again, self.edits, self.kills];
        assert!(counts.iter().all(|count| *count >= 5), "{self:?}");
        for why in [Why::Blocked, Why::Missed, Why::Capped, Why::Deferred, Why::Holdout] {
            assert!(self.excluded.get(&why).is_some_and(|n| *n >= 5), "{why:?}: {self:?}");
        }
        for how in [How::Finished, How::Stopped, How::Reached] {
            assert!(self.endings.get(&how).is_some_and(|n| *n >= 5), "{how:?}: {self:?}");
        }
    }
}

/// One history: the engine in its world, the model beside it.
struct History {
    rng: StdRng,
    world: World,
    model: Model,
    version: Version,
    is_up: bool,
    /// Told while nothing ran.
    untold: Vec<(usize, Instant, Said)>,
    tally: Tally,
}

fn draw_settings(rng: &mut StdRng, zone: Tz) -> Settings {
    Settings {
        zone,
        quiet: rng.random_bool(0.6).then_some((22, 8)),
        daily: rng.random_bool(0.7).then(|| rng.random_range(1..3)),
        rolling: rng.random_bool(0.4).then(|| (rng.random_range(1..4), 3 * spec::DAY)),
    }
}

fn settings_toml(settings: &Settings) -> String {
    let cap = |max: Option<usize>| max.map_or("\"off\"".to_owned(), |max| max.to_string());
    let quiet = settings.quiet.map_or("off".to_owned(), |(from, to)| format!("{from:02}:00-{to:02}:00"));
    let span = settings.rolling.map_or(spec::DAY, |(_, span)| span);
    format!(
        "zone = \"{}\"\nsame_content = \"off\"\nquiet_hours = \"{quiet}\"\napi_base = \"http://127.0.0.1:1\"\n\
         rate = \"off\"\n[caps.daily]\nmax = {}\n[caps.weekly]\nmax = {}\nper = \"{span}min\"\n\
         [caps.advertising_weekly]\nmax = \"off\"\n[caps.advertising_monthly]\nmax = \"off\"\n",
        settings.zone,
        cap(settings.daily),
        cap(settings.rolling.map(|(max, _)| max))
    )
}

fn files(version: &Version) -> Vec<(String, String)> {
    let drips = version.iter().map(|(slug, drip)| (format!("drips/{slug}.toml"), drip.toml(slug)));
    let attributes = "rank = \"integer\"\nbooking = \"date\"\n".to_owned();
    drips.chain([("attributes.toml".to_owned(), attributes)]).collect()
}

fn as_str(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

fn effect(at: Instant, said: &Said) -> Effect {
    use haishin::domain::attribute::Value;
    match said {
        Said::TagAdded(tag) => super::tag_added(tag),
        Said::TagRemoved(tag) => super::tag_removed(tag),
        Said::Event(name, n) => Effect::Event {
            name: name.parse().unwrap(),
            event_id: None,
            properties: [("n".parse().unwrap(), Value::Integer(*n))].into(),
        },
        Said::Rank(rank) => {
            Effect::Attribute { name: "rank".parse().unwrap(), value: rank.map(Value::Integer) }
        }
        Said::Booking(day) => {
            Effect::Attribute { name: "booking".parse().unwrap(), value: day.map(Value::Date) }
        }
        Said::Follows => Effect::Status { status: Status::Following, followed_at: Some(at) },
        Said::Blocks => Effect::Status { status: Status::Blocked, followed_at: None },
    }
}

impl History {
    async fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // Among them the nights in which Berlin's clocks are changed.
        const BEGINNINGS: [(&str, Tz); 3] = [
            ("2026-12-01T09:12:34.567+09:00", Tz::Asia__Tokyo),
            ("2026-03-26T15:40:00.001+01:00", Tz::Europe__Berlin),
            ("2026-10-22T20:05:59.999+02:00", Tz::Europe__Berlin),
        ];
        let (now, zone) = BEGINNINGS[rng.random_range(0..BEGINNINGS.len())];
        let settings = draw_settings(&mut rng, zone);
        let version = spec::draw(&mut rng);
        let (toml, files) = (settings_toml(&settings), files(&version));
        println!(
            "seed {seed}, from {now}\n{toml}{}",
            files.iter().map(|(name, text)| format!("--- {name}\n{text}")).collect::<String>()
        );
        let world = World::with_files(now, &toml, &as_str(&files), FRIENDS as u32).await;
        let users = (0..FRIENDS).map(|n| user(n as u32).0).collect();
        let model = Model::new(settings, version.clone(), users, at(now));
        Self { rng, world, model, version, is_up: true, untold: Vec::new(), tally: Tally::default() }
    }

    fn now(&self) -> Instant {
        self.world.clock.now()
    }

    /// The clock shows an instant, and everything there is to do is done.
    async fn visit(&mut self, when: Instant) {
        if !self.is_up {
            self.world.clock.advance(when - self.now());
            self.model.visit(when, false);
            return;
        }
        let awake = when - Span::from_secs(40);
        if awake > self.now() && self.rng.random_bool(0.3) {
            self.world.go_to(awake).await;
            self.model.visit(awake, true);
            self.model.work();
        }
        self.world.go_to(when).await;
        self.model.visit(when, true);
        self.model.work();
    }

    /// Time passes, awake or asleep.
    async fn pass(&mut self, until: Instant) {
        let asleep = !self.is_up || self.rng.random_bool(0.08);
        while !asleep && let Some(next) = self.model.next_instant().filter(|next| *next < until) {
            self.visit(next).await;
        }
        self.visit(until).await;
    }

    fn draw_said(&mut self) -> (usize, Instant, Said) {
        let (rng, now) = (&mut self.rng, self.world.clock.now());
        let friend = rng.random_range(0..FRIENDS);
        let tag = spec::TAGS[rng.random_range(0..3)];
        let said = match rng.random_range(0..18) {
            0..=4 => Said::TagAdded(tag),
            5..=7 => Said::TagRemoved(tag),
            8..=11 => Said::Event(spec::EVENTS[rng.random_range(0..2)], rng.random_range(1..5)),
            12 => Said::Rank(rng.random_bool(0.9).then(|| rng.random_range(0..5))),
            13 => {
                let today = now.day_in(self.model.zone());
                Said::Booking(rng.random_bool(0.9).then(|| today + TimeDelta::days(rng.random_range(0..5))))
            }
            14..=16 => Said::Follows,
            _ => Said::Blocks,
        };
        let late = matches!(said, Said::Event(..)) && rng.random_bool(0.15);
        let at = if late { now - Span::from_millis(rng.random_range(1..4 * 86_400_000)) } else { now };
        (friend, at, said)
    }

    /// Some things are told in one row; those of one instant are a moment apart.
    async fn tell(&mut self) {
        let mut told = Vec::new();
        for _ in 0..[1, 3, 5, 8, 12][self.rng.random_range(0..5)] {
            told.push(self.draw_said());
            self.world.clock.advance(Span::from_millis(1));
        }
        println!("{} told {told:?}", self.now());
        let intakes = told.iter().map(|(friend, at, said)| Intake {
            friend: user(*friend as u32).into(),
            at: *at,
            effect: effect(*at, said),
            dedupe: None,
        });
        let row = NewInbox {
            account: self.world.row(0).await,
            received_at: self.now(),
            source: NewInbox::WEBHOOK.into(),
            intakes: intakes.collect(),
        };
        self.world.test.store.append_inbox(vec![row]).await.unwrap();
        self.untold.extend(told);
        self.listen().await;
    }

    /// What was told is heard, if somebody listens.
    async fn listen(&mut self) {
        self.model.visit(self.now(), self.is_up);
        if self.is_up {
            self.world.settle().await;
            self.model.hear(&std::mem::take(&mut self.untold));
            self.model.work();
        }
    }

    async fn act(&mut self) {
        self.world.clock.advance(Span::from_millis(1));
        match self.rng.random_range(0..40) {
            _ if !self.is_up && self.rng.random_bool(0.6) => self.start().await,
            _ if self.is_up && self.model.stopped && self.rng.random_bool(0.6) => self.brake().await,
            0..=29 => self.tell().await,
            _ if !self.is_up => self.tell().await,
            30..=31 => {
                println!("{} killed", self.now());
                self.world.kill(0).await;
                self.is_up = false;
                self.tally.kills += 1;
            }
            32 => {
                println!("{} killed and started", self.now());
                self.world.kill(0).await;
                self.start().await;
            }
            33..=35 => self.apply().await,
            36..=38 => self.pause_or_resume().await,
            _ => self.brake().await,
        }
    }

    async fn start(&mut self) {
        println!("{} started", self.now());
        self.world.start(0).await.unwrap();
        self.is_up = true;
        self.model.visit(self.now(), false);
        self.model.restart();
        self.listen().await;
    }

    async fn apply(&mut self) {
        self.version = spec::edit(&mut self.rng, &self.version);
        let files = files(&self.version);
        println!("{} applied:", self.now());
        files.iter().for_each(|(name, text)| println!("--- {name}\n{text}"));
        self.world.apply(&as_str(&files)).await;
        self.world.settle().await;
        self.model.visit(self.now(), true);
        self.model.apply(self.version.clone());
        self.model.work();
        self.tally.edits += 1;
    }

    async fn pause_or_resume(&mut self) {
        let live: Vec<String> =
            self.version.iter().filter(|(_, drip)| !drip.draft).map(|(slug, _)| slug.clone()).collect();
        if live.is_empty() {
            return;
        }
        let drip = live[self.rng.random_range(0..live.len())].clone();
        let campaign = slug(&drip);
        self.model.visit(self.now(), true);
        if self.model.paused.contains(&drip) {
            println!("{} resumed {drip}", self.now());
            self.world.done(Command::CampaignResume { campaign }).await;
            self.model.resume(&drip);
        } else {
            println!("{} paused {drip}", self.now());
            self.world.done(Command::CampaignPause { campaign }).await;
            self.model.paused.insert(drip);
        }
        self.world.settle().await;
        self.model.work();
    }

    async fn brake(&mut self) {
        self.model.visit(self.now(), true);
        if self.model.stopped {
            println!("{} brake released", self.now());
            self.world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
            self.model.start();
        } else {
            println!("{} brake", self.now());
            self.world.done(Command::Stop { reason: "a doubt".into() }).await;
            self.model.stopped = true;
        }
        self.world.settle().await;
        self.model.work();
    }

    async fn live(mut self) -> Tally {
        for _ in 0..ACTS {
            let minutes = self.rng.random_range(1..20) * self.rng.random_range(1..75);
            let until =
                self.now() + Span::from_mins(minutes) + Span::from_millis(self.rng.random_range(0..60_000));
            self.pass(until).await;
            self.act().await;
        }
        if !self.is_up {
            self.start().await;
        }
        if self.model.stopped {
            self.brake().await;
        }
        let until = self.now() + AFTERWARDS;
        while let Some(next) = self.model.next_instant().filter(|next| *next < until) {
            self.visit(next).await;
        }
        self.compare().await;
        self.tally
    }

    async fn compare(&mut self) {
        let (store, account) = (self.world.test.store.clone(), self.world.row(0).await);
        let ledger = Ledger::read(store.as_ref(), account).await;
        let (mut sent, mut excluded): (BTreeMap<Deed, String>, BTreeMap<Deed, Why>) = Default::default();
        for one in &ledger.occurrences {
            let step = one.row.step.as_ref().expect("drips alone").to_string();
            let deed = |friend: u32| {
                let (drip, step) = (one.row.campaign.to_string(), step.clone());
                (drip, step, one.row.due_at, one.row.child, friend as usize)
            };
            let accepted = one.ended.get(&Outcome::Accepted).cloned().unwrap_or_default();
            assert_eq!(accepted, one.recipients(), "everything is sent in the end");
            for arm in &one.arms {
                let messages: serde_json::Value = serde_json::from_str(&arm.messages).unwrap();
                let text = messages[0]["text"].as_str().unwrap();
                for friend in &arm.recipients {
                    assert_eq!(sent.insert(deed(friend), text.to_owned()), None, "twice");
                }
            }
            for (why, friends) in &one.exclusions {
                let why = match why {
                    Exclusion::NotFollowing => Why::Blocked,
                    Exclusion::Missed => Why::Missed,
                    Exclusion::Capped { .. } => Why::Capped,
                    Exclusion::Deferred { .. } => Why::Deferred,
                    Exclusion::Holdout => Why::Holdout,
                    other => panic!("{other:?}"),
                };
                excluded.extend(friends.iter().map(|friend| (deed(friend), why)));
            }
        }
        assert_eq!(differences(&sent, &self.model.sent), [""; 0], "sent");
        assert_eq!(differences(&excluded, &self.model.excluded), [""; 0], "excluded");
        let mut ways = BTreeSet::new();
        for friend in 0..FRIENDS {
            let got: Vec<String> =
                self.world.texts(friend as u32).into_iter().map(|(_, text)| text).collect();
            let theirs = self.model.sent.iter().filter(|((.., who), _)| *who == friend);
            assert_eq!(
                sorted(got),
                sorted(theirs.map(|(_, text)| text.clone()).collect()),
                "friend {friend}"
            );
            for way in store.enrollments_of(account, FriendId(friend as u32)).await.unwrap() {
                let stands = match way.standing {
                    Standing::Due { step, at } => Err(format!("{step} {at}")),
                    Standing::Waiting { step, .. } => Err(format!("{step} waits")),
                    Standing::Ended { how: Ending::Finished, .. } => Ok(How::Finished),
                    Standing::Ended { how: Ending::Stopped, .. } => Ok(How::Stopped),
                    Standing::Ended { how: Ending::Reached, .. } => Ok(How::Reached),
                    other => Err(format!("{other:?}")),
                };
                ways.insert((way.drip.to_string(), friend, way.started_at, stands));
            }
            let row = store.friends_by_id(account, &[FriendId(friend as u32)]).await.unwrap().remove(0);
            let tags: BTreeSet<String> = row.tags.keys().map(ToString::to_string).collect();
            assert_eq!(tags, self.model.tags(friend), "friend {friend}");
        }
        let model = self.model.ways();
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (ways.difference(&model).collect(), model.difference(&ways).collect());
        assert_eq!(ours, theirs, "ways");
        self.count(&ways);
    }

    fn count(&mut self, ways: &BTreeSet<(String, usize, Instant, Result<How, String>)>) {
        self.tally.sent = self.model.sent.len();
        self.tally.taken_up = self.model.sent.keys().filter(|(.., child, _)| *child > 0).count();
        for why in self.model.excluded.values() {
            *self.tally.excluded.entry(*why).or_default() += 1;
        }
        for how in ways.iter().filter_map(|(.., stands)| stands.as_ref().ok()) {
            *self.tally.endings.entry(*how).or_default() += 1;
        }
        let friends: BTreeSet<_> = ways.iter().map(|(drip, friend, ..)| (drip, friend)).collect();
        self.tally.again = ways.len() - friends.len();
        self.tally.late = self.model.caught_up;
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn differences<T: std::fmt::Debug + PartialEq>(
    engine: &BTreeMap<Deed, T>,
    model: &BTreeMap<Deed, T>,
) -> Vec<String> {
    let only = |one: &BTreeMap<Deed, T>, other: &BTreeMap<Deed, T>, who: &str| {
        let only = one.iter().filter(|(deed, what)| other.get(deed) != Some(what));
        only.map(|(deed, what)| format!("{who} alone: {deed:?}: {what:?}")).collect::<Vec<_>>()
    };
    [only(engine, model, "engine"), only(model, engine, "model")].concat()
}

/// Seeds of one case: what all of them came to.
async fn live_all(seeds: Range<u64>) -> Tally {
    let mut all = Tally::default();
    for seed in seeds {
        all.add(History::new(seed).await.live().await);
    }
    all
}

#[rstest]
#[case(0..100)]
#[case(100..200)]
#[tokio::test]
async fn what_the_engine_does_is_what_is_written(#[case] seeds: Range<u64>) {
    // One history alone, as a failure names it.
    let one = std::env::var("DRIP_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let all = live_all(one.map_or(seeds, |seed| seed..seed + 1)).await;
    println!("{all:?}");
    if one.is_none() {
        all.is_of_everything();
    }
}
