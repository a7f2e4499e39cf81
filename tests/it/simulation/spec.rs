//! What a shop declares, drawn: as TOML for the engine, and as plain facts for whoever judges.

use std::collections::BTreeMap;

use chrono::{Days, NaiveTime, Timelike as _};
use haishin::domain::time::{Instant, Span, Tz};
use rand::Rng as _;
use rand::rngs::StdRng;

/// Histories last about so long.
pub const DAYS: u64 = 3;

#[derive(Debug, Clone)]
pub struct Spec {
    pub beginning: Instant,
    pub zone: Tz,
    pub quiet: bool,
    pub rate: u32,
    pub friends: u32,
    /// At most so many a calendar day.
    pub daily: Option<usize>,
    /// At most so many in so long.
    pub rolling: Option<(usize, Span)>,
    /// Only advertising: at most so many in so long.
    pub advertising: Option<(usize, Span)>,
    pub same_content: Option<Span>,
    pub campaigns: BTreeMap<String, Campaign>,
    pub drips: BTreeMap<String, Drip>,
    /// Nothing new of any campaign falls due.
    pub drafts: bool,
}

#[derive(Debug, Clone)]
pub struct Campaign {
    pub when: When,
    pub category: &'static str,
    whom: &'static str,
    priority: u32,
    pace: Option<(u32, u32)>,
    holdout: u32,
    arms: u32,
    pub deadline: Option<Instant>,
    if_missed: &'static str,
    grace: u32,
    defer: Option<u32>,
    immediate: bool,
    revision: u32,
}

#[derive(Debug, Clone)]
pub enum When {
    Once(Instant),
    Daily(NaiveTime),
    /// Every so many minutes of the clock.
    Interval(u32),
}

#[derive(Debug, Clone)]
pub struct Drip {
    pub start: &'static str,
    pub again: Option<u32>,
    pub steps: Vec<Step>,
    category: &'static str,
}

#[derive(Debug, Clone)]
pub struct Step {
    /// Minutes.
    pub after: u32,
    at: Option<NaiveTime>,
    defer: u32,
}

fn one_of<T: Clone>(rng: &mut StdRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())].clone()
}

fn clock(rng: &mut StdRng) -> NaiveTime {
    let (hour, minute) = (rng.random_range(0..24), one_of(rng, &[0, 0, 15, 30, 59]));
    NaiveTime::from_hms_opt(hour, minute, 0).unwrap()
}

/// Seldom, something.
fn maybe<T>(rng: &mut StdRng, share: f64, draw: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_bool(share).then(|| draw(rng))
}

impl Spec {
    pub fn draw(rng: &mut StdRng) -> Self {
        let (beginning, zone) = one_of(
            rng,
            &[
                ("2026-12-03T14:00:00.020+09:00", Tz::Asia__Tokyo),
                ("2026-12-03T20:30:00.500+09:00", Tz::Asia__Tokyo),
                ("2026-10-23T12:00:00.000+02:00", Tz::Europe__Berlin),
                ("2026-03-27T12:00:00.999+01:00", Tz::Europe__Berlin),
            ],
        );
        let beginning = Instant::try_from(beginning.to_owned()).unwrap();
        let hours = |rng: &mut StdRng| Span::from_hours(one_of(rng, &[3, 12, 24, 48]));
        let mut spec = Self {
            beginning,
            zone,
            quiet: rng.random_bool(0.5),
            rate: one_of(rng, &[2, 20, 200]),
            friends: rng.random_range(3..25),
            daily: maybe(rng, 0.5, |rng| rng.random_range(1..4)),
            rolling: maybe(rng, 0.5, |rng| (rng.random_range(1..4), hours(rng))),
            advertising: maybe(rng, 0.3, |rng| (rng.random_range(1..3), hours(rng))),
            same_content: maybe(rng, 0.4, |_| Span::from_mins(20)),
            campaigns: BTreeMap::new(),
            drips: BTreeMap::new(),
            drafts: false,
        };
        for slug in ["a", "b", "c", "d"].iter().take(rng.random_range(2..=4)) {
            let campaign = Campaign::draw(rng, &spec);
            spec.campaigns.insert((*slug).to_owned(), campaign);
        }
        for slug in ["x", "y"].iter().take(rng.random_range(0..=2)) {
            spec.drips.insert((*slug).to_owned(), Drip::draw(rng));
        }
        spec
    }

    /// As somebody edits one file of it; the first campaign is named by others and stays.
    pub fn edit(&mut self, rng: &mut StdRng) {
        let slugs: Vec<String> = self.campaigns.keys().cloned().collect();
        let slug = one_of(rng, &slugs);
        match rng.random_range(0..4) {
            0 if slug != "a" => drop(self.campaigns.remove(&slug)),
            1 => self.campaigns.get_mut(&slug).unwrap().revision += 1,
            2 => {
                let campaign = self.campaigns.get_mut(&slug).unwrap();
                if !matches!(campaign.when, When::Once(_)) {
                    campaign.when = When::draw_again(rng);
                }
            }
            _ => {
                let slug = one_of(rng, &["b", "c", "d"]);
                // A one-off that ran would need its `rerun`.
                let when = When::draw_again(rng);
                let new = Campaign { when, deadline: None, ..Campaign::draw(rng, self) };
                self.campaigns.entry(slug.to_owned()).or_insert(new);
            }
        }
    }

    /// The beginning of `haishin.toml`.
    pub fn settings(&self) -> String {
        let quiet = if self.quiet { "22:00-08:00" } else { "off" };
        let span = |span: Span| format!("{}min", span.as_millis() / 60_000);
        let same = self.same_content.map_or("off".to_owned(), span);
        let cap = |name: &str, max: Option<usize>, per: &str, more: &str| {
            let max = max.map_or("\"off\"".to_owned(), |max| max.to_string());
            format!("[caps.{name}]\nmax = {max}\nper = \"{per}\"\n{more}")
        };
        let within = |cap: Option<(usize, Span)>| cap.map_or("1d".to_owned(), |(_, within)| span(within));
        let max = |cap: Option<(usize, Span)>| cap.map(|(max, _)| max);
        format!(
            "zone = \"{}\"\nquiet_hours = \"{quiet}\"\nsame_content = \"{same}\"\nrate = {}\n{}{}{}{}",
            self.zone,
            self.rate,
            cap("daily", self.daily, "day", ""),
            cap("weekly", max(self.rolling), &within(self.rolling), ""),
            cap(
                "advertising_weekly",
                max(self.advertising),
                &within(self.advertising),
                "categories = [\"promotion\", \"news\"]\n"
            ),
            "[caps.advertising_monthly]\nmax = \"off\"\n"
        )
    }

    /// Name and text of every other file.
    pub fn files(&self) -> Vec<(String, String)> {
        let draft = if self.drafts { "draft = true\n" } else { "" };
        let campaign = |(slug, one): (&String, &Campaign)| {
            (slug.clone(), format!("{draft}{}", one.toml(slug, self.zone)))
        };
        let campaigns = self.campaigns.iter().map(campaign);
        let drips = self.drips.iter().map(|(slug, drip)| (format!("drips/{slug}"), drip.toml(slug)));
        let tags = ["vip", "trial"].map(|tag| {
            let rule = format!("title = \"{tag}\"\nall = [{{ tag = \"{tag}\" }}]\n");
            (format!("segments/{tag}"), rule)
        });
        let following = "title = \"following\"\nall = [{ status = \"following\" }]\n".to_owned();
        let buyers = "title = \"buyers\"\nall = [{ event = \"cart\", within = \"30d\" }]\n".to_owned();
        let more = [("segments/reachable".to_owned(), following), ("segments/buyers".to_owned(), buyers)];
        campaigns.chain(drips).chain(tags).chain(more).collect()
    }

    /// Instants near which something may fall due.
    pub fn instants(&self) -> Vec<Instant> {
        let first = self.beginning.in_zone(self.zone).date_naive();
        let days = || (0..DAYS + 2).map(move |n| first + Days::new(n));
        let daily =
            |time: NaiveTime| days().map(move |day| Instant::from_local(day.and_time(time), self.zone));
        let mut all: Vec<Instant> = daily(NaiveTime::from_hms_opt(8, 0, 0).unwrap()).collect();
        for campaign in self.campaigns.values() {
            match &campaign.when {
                When::Once(at) => all.push(*at),
                When::Daily(time) => all.extend(daily(*time)),
                When::Interval(minutes) => {
                    let step = Span::from_mins(i64::from(*minutes)).as_millis();
                    let next = (self.beginning.as_millis() / step + 1) * step;
                    all.extend((0..200).map(|n| Instant::from_millis(next + n * step)));
                }
            }
            all.extend(campaign.deadline);
        }
        for step in self.drips.values().flat_map(|drip| &drip.steps) {
            all.extend(step.at.into_iter().flat_map(daily));
        }
        all.sort();
        all
    }
}

impl When {
    fn draw(rng: &mut StdRng, beginning: Instant) -> Self {
        if rng.random_bool(0.5) {
            // A whole second: nothing finer can be written.
            let hours = one_of(rng, &[1, 3, 12, 24, DAYS as i64 * 24]);
            let after = rng.random_range(60..hours * 3_600);
            return Self::Once(Instant::from_millis((beginning.as_millis() / 1_000 + after) * 1_000));
        }
        Self::draw_again(rng)
    }

    fn draw_again(rng: &mut StdRng) -> Self {
        if rng.random_bool(0.6) {
            Self::Daily(clock(rng))
        } else {
            Self::Interval(one_of(rng, &[30, 30, 20]))
        }
    }
}

impl Campaign {
    fn draw(rng: &mut StdRng, spec: &Spec) -> Self {
        let when = When::draw(rng, spec.beginning);
        let deadline = match when {
            // One that quiet hours leave no time for is refused.
            When::Once(at) if !spec.quiet || (8..21).contains(&at.in_zone(spec.zone).hour()) => {
                maybe(rng, 0.3, |rng| at + Span::from_secs(one_of(rng, &[5, 60, 3_600, 12 * 3_600])))
            }
            _ => None,
        };
        let category = one_of(rng, &["promotion", "promotion", "news", "service"]);
        Self {
            when,
            category,
            whom: one_of(rng, &["everyone", "everyone", "vip", "not a"]),
            priority: one_of(rng, &[50, 50, 60]),
            pace: maybe(rng, 0.4, |rng| (rng.random_range(1..6), rng.random_range(1..20))),
            holdout: one_of(rng, &[0, 0, 20]),
            arms: rng.random_range(1..3),
            deadline,
            if_missed: one_of(rng, &["latest", "latest", "all", "none"]),
            grace: one_of(rng, &[30, 120, 720]),
            defer: maybe(rng, 0.3, |rng| one_of(rng, &[90, 240, 1_440])),
            immediate: category == "service" && rng.random_bool(0.5),
            revision: 0,
        }
    }

    /// Whether quiet hours do not bind it.
    pub fn is_immediate(&self) -> bool {
        self.immediate
    }

    fn toml(&self, slug: &str, zone: Tz) -> String {
        let local = |at: Instant| at.in_zone(zone).format("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let deadline = self.deadline.map_or(String::new(), |at| format!(", deadline = \"{}\"", local(at)));
        let when = match &self.when {
            When::Once(at) => format!("at = \"{}\"{deadline}", local(*at)),
            When::Daily(time) => format!("every = \"day\", at = \"{}\"", time.format("%H:%M")),
            When::Interval(minutes) => format!("cron = \"*/{minutes} * * * *\""),
        };
        let whom = match self.whom {
            "vip" => "audience = { tag = \"vip\" }".to_owned(),
            "not a" if slug != "a" => {
                "audience = { not = { received = \"a\" } }\nreach = \"everyone\"".into()
            }
            _ => "audience = { status = \"following\" }\nreach = \"everyone\"".into(),
        };
        let mut text = format!(
            "title = \"{slug}\"\ncategory = \"{}\"\npriority = {}\n{whom}\nholdout = \"{}%\"\n\
             schedule = {{ {when}, if_missed = \"{}\", grace = \"{}min\" }}\n",
            self.category, self.priority, self.holdout, self.if_missed, self.grace
        );
        if let Some((friends, seconds)) = self.pace {
            text += &format!("pace = \"{friends}/{seconds}s\"\n");
        }
        if let Some(minutes) = self.defer {
            text += &format!("when_capped = {{ defer = \"{minutes}min\" }}\n");
        }
        if self.immediate {
            text += "immediate = true\n";
        }
        let says = |arm: u32| {
            format!("message = [{{ type = \"text\", text = \"{slug} {arm} {}\" }}]\n", self.revision)
        };
        if self.arms == 1 {
            return text + &says(0);
        }
        (0..self.arms)
            .fold(text, |text, arm| text + &format!("[[variant]]\nname = \"v{arm}\"\n{}", says(arm)))
    }
}

impl Drip {
    fn draw(rng: &mut StdRng) -> Self {
        Self {
            start: one_of(rng, &["tag_added = \"trial\"", "event = \"cart\""]),
            again: maybe(rng, 0.5, |rng| one_of(rng, &[60, 1_440])),
            steps: (0..rng.random_range(1..4)).map(|_| Step::draw(rng)).collect(),
            category: one_of(rng, &["followup", "followup", "service"]),
        }
    }

    fn toml(&self, slug: &str) -> String {
        let again = self.again.map_or("\"never\"".to_owned(), |minutes| format!("\"{minutes}min\""));
        let mut text = format!(
            "title = \"{slug}\"\ncategory = \"{}\"\nstart = {{ {} }}\nagain = {again}\n",
            self.category, self.start
        );
        for (n, step) in self.steps.iter().enumerate() {
            let at = step.at.map_or(String::new(), |at| format!("at = \"{}\"\n", at.format("%H:%M")));
            text += &format!(
                "[[step]]\nname = \"s{n}\"\nafter = \"{}min\"\n{at}when_capped = {{ defer = \"{}min\" }}\n\
                 message = [{{ type = \"text\", text = \"{slug} s{n}\" }}]\n",
                step.after, step.defer
            );
        }
        text
    }
}

impl Step {
    fn draw(rng: &mut StdRng) -> Self {
        Self {
            after: one_of(rng, &[1, 5, 60, 180, 1_440]),
            at: maybe(rng, 0.3, clock),
            defer: one_of(rng, &[90, 240]),
        }
    }
}
