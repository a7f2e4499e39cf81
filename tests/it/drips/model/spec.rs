//! Drips as the model and the files say them, drawn at random.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use rand::Rng as _;
use rand::rngs::StdRng;

pub const TAGS: [&str; 3] = ["a", "b", "c"];
pub const EVENTS: [&str; 2] = ["cart", "buy"];
pub const HOUR: i64 = 60;
pub const DAY: i64 = 24 * HOUR;

/// A condition on one friend.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    Has(&'static str),
    Lacks(&'static str),
    /// So many minutes back.
    Lately(&'static str, i64),
    RankAtLeast(i64),
    Both(Box<Rule>, Box<Rule>),
}

/// Something that ends a way.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// With `n` at least so much.
    Event(&'static str, Option<i64>),
    TagAdded(&'static str),
    TagRemoved(&'static str),
    Unfollowed,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    TagAdded(&'static str),
    TagRemoved(&'static str),
    Event {
        name: &'static str,
        min: Option<i64>,
        count: Option<Count>,
    },
    Followed,
    /// `rank` gets another value, at least so much.
    Rank(Option<i64>),
    /// So many days before `booking` at a local hour and minute.
    Date(u64, (u32, u32)),
}

/// At least, or exactly, so many events in so many minutes.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    pub number: usize,
    pub exactly: bool,
    pub within: Option<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// For so many minutes, or for good.
    Tag(&'static str, Option<i64>),
    Untag(&'static str),
    Rank(Option<i64>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// By rule where there are several, the last for everybody else where it has none.
    Send {
        arms: Vec<(Option<Rule>, String)>,
        defer: Option<i64>,
    },
    Act(Vec<Action>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: String,
    /// Minutes since the start.
    pub after: i64,
    /// Instead of `after`.
    pub day: Option<u64>,
    /// Local hours and minutes; none is at once.
    pub at: Vec<(u32, u32)>,
    /// Days from Monday; empty is every day.
    pub on: Vec<u8>,
    pub segment: Option<Rule>,
    pub content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissed {
    Latest,
    All,
    None,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Drip {
    pub category: &'static str,
    pub priority: u8,
    pub start: Start,
    pub enroll: bool,
    pub segment: Option<Rule>,
    /// Minutes; none is never.
    pub again: Option<i64>,
    pub stop: Option<Rule>,
    pub stop_on: Option<Happening>,
    pub goal: Option<Happening>,
    /// In hundredths.
    pub holdout: u64,
    pub if_missed: IfMissed,
    /// Minutes.
    pub grace: i64,
    pub migrate: bool,
    pub draft: bool,
    pub steps: Vec<Step>,
}

/// The drips of a version, by slug.
pub type Version = BTreeMap<String, Drip>;

fn one_of<T: Copy>(rng: &mut StdRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

fn maybe<T>(rng: &mut StdRng, share: f64, draw: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_bool(share).then(|| draw(rng))
}

impl Rule {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..9) {
            0..=1 => Rule::Has(one_of(rng, &TAGS)),
            2..=4 => Rule::Lacks(one_of(rng, &TAGS)),
            5..=6 => Rule::Lately(one_of(rng, &EVENTS), one_of(rng, &[6 * HOUR, 2 * DAY])),
            7 => Rule::RankAtLeast(rng.random_range(1..4)),
            _ => Rule::Both(
                Box::new(Rule::Lacks(one_of(rng, &TAGS))),
                Box::new(Rule::Lacks(one_of(rng, &TAGS))),
            ),
        }
    }

    fn toml(&self) -> String {
        match self {
            Rule::Has(tag) => format!("{{ tag = \"{tag}\" }}"),
            Rule::Lacks(tag) => format!("{{ not = {{ tag = \"{tag}\" }} }}"),
            Rule::Lately(event, minutes) => format!("{{ event = \"{event}\", within = \"{minutes}min\" }}"),
            Rule::RankAtLeast(least) => format!("{{ attr = \"rank\", gte = {least} }}"),
            Rule::Both(one, other) => format!("{{ all = [{}, {}] }}", one.toml(), other.toml()),
        }
    }
}

impl Happening {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..6) {
            0..=2 => Happening::Event(one_of(rng, &EVENTS), maybe(rng, 0.5, |rng| rng.random_range(2..5))),
            3 => Happening::TagAdded(one_of(rng, &TAGS)),
            4 => Happening::TagRemoved(one_of(rng, &TAGS)),
            _ => Happening::Unfollowed,
        }
    }

    fn toml(&self) -> String {
        match self {
            Happening::Event(name, min) => format!("{{ {} }}", event_toml(name, *min)),
            Happening::TagAdded(tag) => format!("{{ tag_added = \"{tag}\" }}"),
            Happening::TagRemoved(tag) => format!("{{ tag_removed = \"{tag}\" }}"),
            Happening::Unfollowed => "{ unfollowed = true }".into(),
        }
    }
}

fn event_toml(name: &str, min: Option<i64>) -> String {
    let test = min.map_or_else(String::new, |min| format!(", where = {{ n = {{ gte = {min} }} }}"));
    format!("event = \"{name}\"{test}")
}

impl Start {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..13) {
            0..=4 => Start::TagAdded(one_of(rng, &TAGS)),
            5 => Start::TagRemoved(one_of(rng, &TAGS)),
            6..=9 => Start::Event {
                name: one_of(rng, &EVENTS),
                min: maybe(rng, 0.4, |rng| rng.random_range(2..4)),
                count: maybe(rng, 0.4, |rng| Count {
                    number: rng.random_range(1..4),
                    exactly: rng.random_bool(0.5),
                    within: maybe(rng, 0.5, |rng| one_of(rng, &[12 * HOUR, 3 * DAY])),
                }),
            },
            10 => Start::Followed,
            11 => Start::Rank(maybe(rng, 0.5, |rng| rng.random_range(1..4))),
            _ => Start::Date(rng.random_range(0..3), one_of(rng, &TIMES)),
        }
    }

    fn toml(&self, enroll: bool) -> String {
        let start = match self {
            Start::TagAdded(tag) => format!("tag_added = \"{tag}\""),
            Start::TagRemoved(tag) => format!("tag_removed = \"{tag}\""),
            Start::Event { name, min, count } => {
                let count = count.as_ref().map_or_else(String::new, |count| {
                    let number = count.number;
                    let number =
                        if count.exactly { number.to_string() } else { format!("{{ gte = {number} }}") };
                    let within =
                        count.within.map_or_else(String::new, |within| format!(", within = \"{within}min\""));
                    format!(", count = {number}{within}")
                });
                format!("{}{count}", event_toml(name, *min))
            }
            Start::Followed => "followed = true".into(),
            Start::Rank(None) => "attr = \"rank\"".into(),
            Start::Rank(Some(least)) => format!("attr = \"rank\", gte = {least}"),
            Start::Date(0, at) => format!("date = \"booking\", at = {}", time(*at)),
            Start::Date(days, at) => format!("date = \"booking\", before = \"{days}d\", at = {}", time(*at)),
        };
        let existing = if enroll { ", existing = \"enroll\"" } else { "" };
        format!("{{ {start}{existing} }}")
    }
}

/// Some that clocks skip or show twice, some in quiet hours.
const TIMES: [(u32, u32); 6] = [(10, 0), (18, 30), (2, 30), (9, 0), (23, 0), (12, 15)];

fn time((hour, minute): (u32, u32)) -> String {
    format!("\"{hour:02}:{minute:02}\"")
}

impl Step {
    fn draw(rng: &mut StdRng, name: String, text: &str) -> Self {
        let mut step = Self {
            name,
            after: 0,
            day: None,
            at: Vec::new(),
            on: Vec::new(),
            segment: maybe(rng, 0.15, Rule::draw),
            content: Content::draw(rng, text),
        };
        step.draw_timing(rng);
        step
    }

    fn draw_timing(&mut self, rng: &mut StdRng) {
        const AFTER: [i64; 6] = [5, HOUR, 7 * HOUR, 25 * HOUR, 3 * DAY, 5 * DAY];
        let kind = rng.random_range(0..6);
        self.after = if matches!(kind, 1 | 3) { one_of(rng, &AFTER) } else { 0 };
        self.day = (kind == 4).then(|| rng.random_range(1..5));
        let times = if kind >= 2 { rng.random_range(1..3) } else { 0 };
        self.at = (0..times).map(|_| one_of(rng, &TIMES)).collect();
        self.at.sort_unstable();
        self.at.dedup();
        self.on.clear();
        if kind == 5 {
            self.on = (0..7).filter(|_| rng.random_bool(0.4)).collect();
        }
    }

    fn toml(&self) -> String {
        let mut text = format!("[[step]]\nname = \"{}\"\n", self.name);
        if self.after > 0 {
            text += &format!("after = \"{}min\"\n", self.after);
        }
        if let Some(day) = self.day {
            text += &format!("day = {day}\n");
        }
        if !self.at.is_empty() {
            text +=
                &format!("at = [{}]\n", self.at.iter().map(|at| time(*at)).collect::<Vec<_>>().join(", "));
        }
        if !self.on.is_empty() {
            const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
            let days: Vec<String> =
                self.on.iter().map(|day| format!("\"{}\"", DAYS[usize::from(*day)])).collect();
            text += &format!("on = [{}]\n", days.join(", "));
        }
        if let Some(rule) = &self.segment {
            text += &format!("audience = {}\n", rule.toml());
        }
        text + &self.content.toml()
    }
}

impl Content {
    fn draw(rng: &mut StdRng, text: &str) -> Self {
        if rng.random_bool(0.25) {
            let action = |rng: &mut StdRng| match rng.random_range(0..4) {
                0 => Action::Tag(one_of(rng, &TAGS), None),
                1 => Action::Tag(one_of(rng, &TAGS), Some(one_of(rng, &[HOUR, DAY, 3 * DAY]))),
                2 => Action::Untag(one_of(rng, &TAGS)),
                _ => Action::Rank(maybe(rng, 0.7, |rng| rng.random_range(0..5))),
            };
            return Content::Act((0..rng.random_range(1..3)).map(|_| action(rng)).collect());
        }
        let mut arms = vec![(None, text.to_owned())];
        if rng.random_bool(0.2) {
            arms =
                (0..rng.random_range(1..3)).map(|n| (Some(Rule::draw(rng)), format!("{text} {n}"))).collect();
            arms.extend(maybe(rng, 0.5, |_| (None, format!("{text} else"))));
        }
        Content::Send { arms, defer: maybe(rng, 0.7, |rng| one_of(rng, &[2 * HOUR, 30 * HOUR, 3 * DAY])) }
    }

    fn toml(&self) -> String {
        match self {
            Content::Act(actions) => {
                let action = |action: &Action| match action {
                    Action::Tag(tag, None) => format!("{{ tag = \"{tag}\" }}"),
                    Action::Tag(tag, Some(minutes)) => {
                        format!("{{ tag = \"{tag}\", for = \"{minutes}min\" }}")
                    }
                    Action::Untag(tag) => format!("{{ untag = \"{tag}\" }}"),
                    Action::Rank(None) => "{ unset = \"rank\" }".into(),
                    Action::Rank(Some(rank)) => format!("{{ attr = \"rank\", value = {rank} }}"),
                };
                format!("action = [{}]\n", actions.iter().map(action).collect::<Vec<_>>().join(", "))
            }
            Content::Send { arms, defer } => {
                let capped =
                    defer.map_or("\"skip\"".into(), |minutes| format!("{{ defer = \"{minutes}min\" }}"));
                let capped = format!("when_capped = {capped}\n");
                if let [(None, text)] = &arms[..] {
                    return format!("{capped}{}\n", super::super::says(text));
                }
                let arm = |(rule, text): &(Option<Rule>, String)| {
                    let rule = rule
                        .as_ref()
                        .map_or_else(String::new, |rule| format!("audience = {}\n", rule.toml()));
                    format!("[[step.branch]]\n{rule}{}\n", super::super::says(text))
                };
                capped + &arms.iter().map(arm).collect::<String>()
            }
        }
    }
}

impl Drip {
    fn draw(rng: &mut StdRng, slug: &str) -> Self {
        let start = Start::draw(rng);
        let may_enroll = !matches!(start, Start::TagRemoved(_) | Start::Date(..));
        let steps = rng.random_range(1..5);
        Self {
            category: one_of(rng, &["followup", "followup", "followup", "promotion", "service"]),
            priority: one_of(rng, &[50, 50, 60]),
            start,
            enroll: may_enroll && rng.random_bool(0.4),
            segment: maybe(rng, 0.15, Rule::draw),
            again: maybe(rng, 0.8, |rng| one_of(rng, &[HOUR, 6 * HOUR, DAY, 3 * DAY])),
            stop: maybe(rng, 0.15, Rule::draw),
            stop_on: maybe(rng, 0.2, Happening::draw),
            goal: maybe(rng, 0.2, Happening::draw),
            holdout: if rng.random_bool(0.2) { 40 } else { 0 },
            if_missed: one_of(rng, &[IfMissed::Latest, IfMissed::Latest, IfMissed::All, IfMissed::None]),
            grace: one_of(rng, &[30, 2 * HOUR, 12 * HOUR]),
            migrate: rng.random_bool(0.5),
            draft: rng.random_bool(0.05),
            steps: (0..steps).map(|n| Step::draw(rng, format!("s{n}"), &format!("{slug} s{n}"))).collect(),
        }
    }

    /// As somebody edits it.
    fn edit(&mut self, rng: &mut StdRng, slug: &str) {
        match rng.random_range(0..7) {
            0 => self.migrate = !self.migrate,
            1 => self.draft = !self.draft,
            2 => self.start = Drip::draw(rng, slug).start,
            3 if self.steps.len() > 1 => drop(self.steps.remove(rng.random_range(0..self.steps.len()))),
            4 => {
                let place = rng.random_range(0..=self.steps.len());
                let name = format!("t{}", rng.random_range(0..99));
                let text = format!("{slug} {name}");
                if self.steps.iter().all(|step| step.name != name) {
                    self.steps.insert(place, Step::draw(rng, name, &text));
                }
            }
            _ => {
                let place = rng.random_range(0..self.steps.len());
                self.steps[place].draw_timing(rng);
            }
        }
        self.enroll &= !matches!(self.start, Start::TagRemoved(_) | Start::Date(..));
    }

    /// Its file.
    pub fn toml(&self, slug: &str) -> String {
        let if_missed = match self.if_missed {
            IfMissed::Latest => "latest",
            IfMissed::All => "all",
            IfMissed::None => "none",
        };
        let mut text = format!(
            "title = \"{slug}\"\ncategory = \"{}\"\npriority = {}\nstart = {}\nholdout = \"{}%\"\n\
             if_missed = \"{if_missed}\"\ngrace = \"{}min\"\nmigrate = {}\ndraft = {}\n",
            self.category,
            self.priority,
            self.start.toml(self.enroll),
            self.holdout,
            self.grace,
            self.migrate,
            self.draft
        );
        let again = self.again.map(|minutes| format!("again = \"{minutes}min\"\n"));
        let segment = self.segment.as_ref().map(|rule| format!("audience = {}\n", rule.toml()));
        let stop = self.stop.as_ref().map(|rule| format!("stop = {}\n", rule.toml()));
        let stop_on = self.stop_on.as_ref().map(|one| format!("stop_on = {}\n", one.toml()));
        let goal = self.goal.as_ref().map(|one| format!("goal = {}\n", one.toml()));
        [again, segment, stop, stop_on, goal].into_iter().flatten().for_each(|line| text += &line);
        self.steps.iter().for_each(|step| text += &step.toml());
        text
    }
}

/// The drips a shop begins with.
pub fn draw(rng: &mut StdRng) -> Version {
    let slugs = ["x", "y", "z"];
    slugs[..rng.random_range(2..=3)].iter().map(|slug| ((*slug).to_owned(), Drip::draw(rng, slug))).collect()
}

/// The version after an edit.
pub fn edit(rng: &mut StdRng, version: &Version) -> Version {
    let mut next = version.clone();
    let slug = one_of(rng, &["x", "y", "z"]);
    match next.get_mut(slug) {
        Some(_) if rng.random_bool(0.1) => drop(next.remove(slug)),
        Some(drip) => drip.edit(rng, slug),
        None => drop(next.insert(slug.to_owned(), Drip::draw(rng, slug))),
    }
    next
}

/// A day some days from another.
pub fn days_from(day: NaiveDate, days: i64) -> NaiveDate {
    day + chrono::TimeDelta::days(days)
}
