//! What drip files mean once they are clean.

use haishin::config::{Configuration, Problem, Source};
use haishin::domain::campaign::{VariantShare, WhenCapped};
use haishin::domain::drip::{Again, Content, Drip, Existing, Happening, Start};
use haishin::domain::schedule::IfMissed;
use haishin::domain::segment::rule::{Condition, Rule};
use haishin::domain::time::{Instant, Span};
use haishin::lang::Lang;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{HELLO, MAIN, campaign, check, drip, rendered, shop};

fn clean(source: &Source) -> Configuration {
    let configuration = check(source).configuration;
    configuration.unwrap_or_else(|| panic!("{}", rendered(source, Lang::En)))
}

fn read(text: &str) -> Drip {
    clean(&shop(&[("drips/a.toml", text)])).drips["a"].clone()
}

fn instant(text: &str) -> Instant {
    text.to_owned().try_into().unwrap()
}

/// When a step is due, as UTC, for a start in UTC.
fn due(zone: &str, lines: &str, start: &str) -> String {
    let text = drip(&format!("zone = \"{zone}\""), lines);
    let due = read(&text).steps[0].timing.due(instant(start)).unwrap().to_string();
    due.replace(":00.000Z", "Z")
}

#[test]
fn starts_mean_what_they_say() {
    let starts = [
        r#"{ tag_added = "体験" }"#,
        r#"{ tag_removed = "会員" }"#,
        r#"{ event = "cart" }"#,
        r#"{ event = "cart", where = { amount = { gte = 3000 } }, count = { gte = 2 }, within = "7d" }"#,
        r#"{ event = "visit", count = 10 }"#,
        r#"{ followed = true }"#,
        r#"{ attr = "prefecture" }"#,
        r#"{ attr = "points", gte = 100, lt = 200 }"#,
        r#"{ attr = "prefecture", in = ["東京都", "大阪府"] }"#,
        r#"{ attr = "last_login", gte = 2026-12-01 }"#,
        r#"{ date = "birthday", every = "year", at = "10:00" }"#,
        r#"{ date = "last_login", before = "7d", at = "18:00" }"#,
        r#"{ date = "last_login", after = "2w", at = 09:30:00 }"#,
    ];
    let read: Vec<String> = starts
        .iter()
        .map(|start| {
            let drip = read(&drip(&format!("start = {start}\nagain = \"300d\""), ""));
            let existing = drip.start.existing().map(|rule| format!("{rule:?}"));
            let existing = existing.unwrap_or_else(|| "nobody".to_owned());
            format!("{start}\n  {:?}\n  existing: {existing}\n", drip.start)
        })
        .collect();
    insta::assert_snapshot!("drip_starts", read.concat());
}

#[test]
fn endings_mean_what_they_say() {
    let endings = [
        r#"{ event = "purchase" }"#,
        r#"{ event = "purchase", where = { amount = { gte = 1 } } }"#,
        r#"{ tag_added = "購入済み" }"#,
        r#"{ tag_removed = "体験" }"#,
        r#"{ unfollowed = true }"#,
    ];
    let read: Vec<String> = endings
        .iter()
        .map(|ending| {
            let both = read(&drip(&format!("stop_on = {ending}\ngoal = {ending}"), ""));
            assert_eq!(both.stop_on, both.goal);
            format!("{ending}\n  {:?}\n", both.goal.unwrap())
        })
        .collect();
    insta::assert_snapshot!(read.concat(), @r#"
    { event = "purchase" }
      Event { event: EventName("purchase"), properties: [], count: None }
    { event = "purchase", where = { amount = { gte = 1 } } }
      Event { event: EventName("purchase"), properties: [(PropertyName("amount"), [Gte(Integer(1))])], count: None }
    { tag_added = "購入済み" }
      TagAdded(TagName("購入済み"))
    { tag_removed = "体験" }
      TagRemoved(TagName("体験"))
    { unfollowed = true }
      Unfollowed
    "#);
}

/// What is refused for an ending is fine for a start.
#[test]
fn only_starts_count() {
    let start =
        read(&drip("start = { event = \"visit\", count = { gte = 3, ne = 4 }, within = \"7d\" }", ""));
    let Start::Event(Happening::Event { count: Some(count), .. }) = start.start else { panic!() };
    assert_eq!(count.within, Some(Span::from_days(7)));
}

/// A shop that writes a start and a message only.
#[test]
fn absent_keys_have_the_defaults() {
    let drip = read(&drip("", ""));
    assert_eq!((drip.existing, drip.again), (Existing::Ignore, Again::Never));
    assert!(drip.entry.is_none() && drip.stop.is_none() && drip.stop_on.is_none() && drip.goal.is_none());
    assert_eq!((drip.if_missed, drip.grace), (IfMissed::Latest, Span::from_hours(2)));
    assert_eq!((drip.zone.name(), drip.migrate, drip.draft), ("Asia/Tokyo", false, false));
    let dispatch = drip.steps[0].dispatch().unwrap();
    assert_eq!((dispatch.slug.as_str(), dispatch.step.as_ref().unwrap().as_str()), ("a", "a"));
    assert_eq!((dispatch.title.as_str(), dispatch.category.as_str()), ("t", "promotion"));
    assert_eq!(dispatch.when_capped, WhenCapped::Defer(Span::from_days(3)));
    assert_eq!((dispatch.deadline, dispatch.once, dispatch.sample), (None, None, None));
    assert_eq!(dispatch.variants[0].name.as_str(), "main");
    assert!(drip.steps[0].segment.is_none() && drip.steps[0].timing.at.is_none());
}

#[test]
fn what_a_drip_says_holds_for_each_of_its_steps() {
    let lines = "category = \"followup\"\npriority = 70\nmax_recipients = 9\nholdout = \"10%\"\n\
                 repeat_after = \"1h\"\nreach = \"everyone\"\npace = \"10/1min\"\nnotify = false\n\
                 segment = \"members\"\nagain = \"30d\"\nstop = { tag = \"購入済み\" }\nzone = \"Asia/Taipei\"\n\
                 if_missed = \"none\"\ngrace = \"1d\"\nmigrate = true\ndraft = true\n\
                 start = { tag_added = \"体験\", existing = \"enroll\" }";
    let second = format!(
        "[[step]]\nname = \"b\"\nafter = \"7d\"\nwhen_capped = \"skip\"\nsegment = \"members\"\n{HELLO}"
    );
    let drip = read(&format!("{}{second}", drip(lines, "when_capped = { defer = \"1d\" }")));
    assert_eq!((drip.existing, drip.again), (Existing::Enroll, Again::After(Span::from_days(30))));
    assert!(matches!(drip.entry.as_deref(), Some(Rule::Segment(slug)) if slug.as_str() == "members"));
    assert!(matches!(drip.stop.as_deref(), Some(Rule::Is(Condition::Tag { .. }))));
    assert_eq!((drip.if_missed, drip.grace), (IfMissed::None, Span::from_days(1)));
    assert_eq!((drip.zone.name(), drip.migrate, drip.draft), ("Asia/Taipei", true, true));
    for step in &drip.steps {
        let dispatch = step.dispatch().unwrap();
        assert_eq!((dispatch.category.as_str(), dispatch.priority), ("followup", 70));
        assert_eq!((dispatch.max_recipients, dispatch.holdout.to_string()), (Some(9), "10%".to_owned()));
        assert_eq!(dispatch.repeat_after, Some(Span::from_hours(1)));
        assert!(dispatch.reach_everyone && !dispatch.notify && !dispatch.immediate);
        assert_eq!(dispatch.pace.map(|pace| pace.friends), Some(10));
        assert_eq!(dispatch.step.as_ref(), Some(&step.name));
    }
    let capped: Vec<WhenCapped> =
        drip.steps.iter().map(|step| step.dispatch().unwrap().when_capped).collect();
    assert_eq!(capped, [WhenCapped::Defer(Span::from_days(1)), WhenCapped::Skip]);
    assert!(drip.steps[0].segment.is_none() && drip.steps[1].segment.is_some());
}

/// The flagship: label plus one day, ten o'clock.
#[test]
fn after_and_at_is_the_first_such_time_when_the_wait_is_over() {
    let coupon = "after = \"24h\"\nat = \"10:00\"";
    let tokyo = |start| due("Asia/Tokyo", coupon, start);
    assert_eq!(tokyo("2026-12-04T01:00:00Z"), "2026-12-05T01:00Z", "10:00 itself");
    assert_eq!(tokyo("2026-12-04T01:00:00.001Z"), "2026-12-06T01:00Z", "a moment later");
    // In Berlin the night to 29 March is an hour shorter: ten o'clock comes after 23 hours, which are no 24.
    let berlin = |start| due("Europe/Berlin", coupon, start);
    assert_eq!(berlin("2026-03-28T09:00:00Z"), "2026-03-30T08:00Z");
    assert_eq!(berlin("2026-03-28T08:00:00Z"), "2026-03-29T08:00Z");
}

#[test]
fn steps_wait_by_the_clock_or_by_the_calendar() {
    let tokyo = |lines: &str, start| due("Asia/Tokyo", lines, start);
    assert_eq!(tokyo("", "2026-12-04T00:00:30Z"), "2026-12-04T00:01Z", "at once is the next whole minute");
    assert_eq!(tokyo("after = \"3h\"", "2026-12-04T00:00:00Z"), "2026-12-04T03:00Z");
    assert_eq!(tokyo("at = \"10:00\"", "2026-12-04T00:59:00Z"), "2026-12-04T01:00Z");
    let next_day = "day = 1\nat = \"10:00\"";
    assert_eq!(tokyo(next_day, "2026-12-04T14:59:00Z"), "2026-12-05T01:00Z", "23:59 in Tokyo");
    assert_eq!(tokyo(next_day, "2026-12-04T15:00:00Z"), "2026-12-06T01:00Z", "midnight");
    let twice = "after = \"1h\"\nat = [\"18:00\", \"10:00\"]";
    assert_eq!(tokyo(twice, "2026-12-04T00:30:00Z"), "2026-12-04T09:00Z", "the first of several");
    let working = "day = 1\nat = \"10:00\"\non = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"]\nexcept = \"jp-holidays\"";
    assert_eq!(tokyo(working, "2026-12-29T00:00:00Z"), "2026-12-30T01:00Z");
    assert_eq!(tokyo(working, "2026-12-31T00:00:00Z"), "2027-01-04T01:00Z", "New Year, then a weekend");
    // Half past two does not exist in Berlin on 29 March.
    let night = "day = 1\nat = \"02:30\"";
    let text = drip("zone = \"Europe/Berlin\"\nimmediate = true\ncategory = \"service\"", night);
    let due = read(&text).steps[0].timing.due(instant("2026-03-28T12:00:00Z"));
    assert_eq!(due, Some(instant("2026-03-29T01:00:00Z")), "03:00, as the gap ends");
}

#[test]
fn branches_are_rules_and_the_last_may_be_everybody_else() {
    let branches = "[[step.branch]]\nsegment = \"members\"\nmessage = [{ type = \"text\", text = \"1\" }]\n\
                    [[step.branch]]\nname = \"vip\"\naudience = { tag = \"vip\" }\nmessage = [{ type = \"text\", text = \"2\" }]\n\
                    [[step.branch]]\nmessage = [{ type = \"text\", text = \"3\" }]\n";
    let step = read(&drip("", branches).replace(HELLO, "")).steps[0].clone();
    let arms: Vec<(String, String)> = step
        .dispatch()
        .unwrap()
        .variants
        .iter()
        .map(|arm| match &arm.share {
            VariantShare::Branch(rule) => (arm.name.to_string(), format!("{rule:?}")),
            other => panic!("{other:?}"),
        })
        .collect();
    let tag = "Is(Tag { tag: TagName(\"vip\"), held: Any })";
    let expected = [("a", "Segment(SegmentSlug(\"members\"))"), ("vip", tag), ("c", "All([])")];
    assert_eq!(arms, expected.map(|(name, rule)| (name.to_owned(), rule.to_owned())));
}

#[test]
fn actions_mean_what_they_say() {
    let actions = r#"[
        { tag = "vip" }, { tag = "vip", for = "24h" }, { untag = "体験" },
        { attr = "prefecture", value = "東京都" }, { attr = "points", value = 0 }, { attr = "spend", value = 1.5 },
        { attr = "spend", value = 2 }, { attr = "newsletter", value = true }, { attr = "birthday", value = 2000-02-29 },
        { attr = "last_login", value = "2026-12-04 18:00" }, { unset = "points" },
        { rich_menu = "richmenu-88c05ef6921ae53f8b58a25f3a65faf7" }, { rich_menu = "unlink" }, { webhook = "crm" },
    ]"#;
    let main = format!("[webhooks.crm]\nurl = \"https://crm.example\"\nsecret = {{ env = \"CRM\" }}\n{MAIN}");
    let text = drip("", &format!("action = {actions}")).replace(HELLO, "");
    let found = clean(&shop(&[("haishin.toml", &main), ("drips/a.toml", &text)]));
    let Content::Act(actions) = &found.drips["a"].steps[0].content else { panic!() };
    let lines: Vec<String> = actions.iter().map(|action| format!("{action:?}\n")).collect();
    insta::assert_snapshot!(lines.concat(), @r#"
    Tag { tag: TagName("vip"), lasts: None }
    Tag { tag: TagName("vip"), lasts: Some(Span(86400000)) }
    Untag(TagName("体験"))
    Attribute { name: AttributeName("prefecture"), value: Some(Text("東京都")) }
    Attribute { name: AttributeName("points"), value: Some(Integer(0)) }
    Attribute { name: AttributeName("spend"), value: Some(Number(1.5)) }
    Attribute { name: AttributeName("spend"), value: Some(Number(2.0)) }
    Attribute { name: AttributeName("newsletter"), value: Some(Boolean(true)) }
    Attribute { name: AttributeName("birthday"), value: Some(Date(2000-02-29)) }
    Attribute { name: AttributeName("last_login"), value: Some(Instant(2026-12-04T09:00:00.000Z)) }
    Attribute { name: AttributeName("points"), value: None }
    RichMenu(Some(RichMenuId("richmenu-88c05ef6921ae53f8b58a25f3a65faf7")))
    RichMenu(None)
    Webhook(WebhookName("crm"))
    "#);
}

/// One alone is a list of one.
#[test]
fn an_action_may_stand_alone() {
    let one =
        |action: &str| read(&drip("", &format!("action = {action}")).replace(HELLO, "")).steps[0].clone();
    assert_eq!(one("{ tag = \"vip\" }"), one("[{ tag = \"vip\" }]"));
}

#[test]
fn campaigns_and_drips_name_each_other_by_their_slugs() {
    let received = |slug: &str| format!("audience = {{ received = \"{slug}\" }}");
    let files = [
        ("campaigns/winter.toml", campaign(&received("trial")).replace("segment = \"members\"\n", "")),
        ("drips/trial.toml", drip(&received("winter"), "")),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    assert_eq!(rendered(&shop(&files), Lang::En), "");
}

/// "Today" in a drip's own rules is that of its zone.
#[test]
fn the_zone_of_a_drip_is_that_of_its_rules() {
    let of = |lines: &str| format!("{:?}", read(&drip(lines, "")).stop);
    let stop = "stop = { attr = \"birthday\", month = \"this\" }";
    assert!(of(stop).contains("Asia/Tokyo"), "{}", of(stop));
    let taipei = format!("zone = \"Asia/Taipei\"\n{stop}");
    assert!(of(&taipei).contains("Asia/Taipei"), "{}", of(&taipei));
}

/// Each limit itself is fine, one beyond is not.
#[test]
fn limits_are_reached() {
    let fits = |text: &str| check(&shop(&[("drips/a.toml", text)])).configuration.is_some();
    let with = |lines: &str, step: &str| fits(&drip(lines, step));
    assert!(with("", "day = 36500\nat = \"10:00\"") && !with("", "day = 36501\nat = \"10:00\""));
    assert!(with("again = \"12h\"", "") && !with("again = \"11h\"", ""));
    let after = |hours: u32| {
        let second = format!("[[step]]\nname = \"b\"\nafter = \"{hours}h\"\n{HELLO}");
        fits(&format!("{}{second}", drip("", "after = \"1h\"")))
    };
    assert!(after(13) && !after(12));
    let steps = |count: usize| {
        let step = |n: usize| format!("[[step]]\nname = \"s{n}\"\naction = {{ tag = \"x\" }}\n");
        let steps: String = (0..count).map(step).collect();
        fits(&format!("title = \"t\"\nstart = {{ followed = true }}\n{steps}"))
    };
    assert!(steps(1) && steps(100) && !steps(101));
    let without_message = |step: &str| fits(&drip("", step).replace(HELLO, ""));
    let actions =
        |count| without_message(&format!("action = [{}]", vec!["{ tag = \"x\" }"; count].join(", ")));
    assert!(actions(20) && !actions(21));
    let arms = |count: usize| {
        let arm = |n: usize| format!("[[step.variant]]\nmessage = [{{ type = \"text\", text = \"{n}\" }}]\n");
        without_message(&(0..count).map(arm).collect::<String>())
    };
    assert!(arms(26) && !arms(27));
}

/// Some wait, with a local time or without.
fn draw_timing(rng: &mut StdRng) -> String {
    let at = ["09:10", "10:00", "12:30", "18:00", "21:50"].choose(rng).copied().unwrap_or_default();
    let wait = [
        "after = \"20min\"\n",
        "after = \"7h\"\n",
        "after = \"24h\"\n",
        "after = \"31h\"\n",
        "after = \"50h\"\n",
    ];
    let wait = wait.choose(rng).copied().unwrap_or_default();
    match rng.random_range(0..6) {
        0 => wait.to_owned(),
        1 => format!("at = \"{at}\"\n"),
        2 => format!("{wait}at = \"{at}\"\n"),
        3 => format!("{wait}at = [\"08:00\", \"{at}\"]\n"),
        4 => format!("{wait}at = \"{at}\"\non = [\"mon\", \"wed\", \"fri\", \"sat\"]\n"),
        _ => format!("day = {}\nat = \"{at}\"\n", rng.random_range(1..4)),
    }
}

/// What `check` concludes from a few telling starts is what a week of starts shows: at every tenth minute, on which all
/// of these times lie, right before it and right behind.
#[test]
fn what_is_said_of_two_steps_holds_for_every_start() {
    let (mut near, mut disordered, mut silent) = (0, 0, 0);
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (first, second) = (draw_timing(&mut rng), draw_timing(&mut rng));
        let text = format!("{}[[step]]\nname = \"b\"\n{second}{HELLO}", drip("", &first));
        // A window of a week and none: what is found, and the two timings.
        let main = |window: &str| format!("same_content = \"{window}\"\n{MAIN}");
        let found = |window| check(&shop(&[("haishin.toml", &main(window)), ("drips/a.toml", &text)]));
        let drip = found("off").configuration.unwrap().drips["a"].clone();
        let problems: Vec<Problem> = found("7d").diagnostics.into_iter().map(|one| one.problem).collect();

        let monday = instant("2026-05-31T15:00:00Z");
        let minutes = (0..7 * 24 * 6).map(|n| monday + Span::from_mins(10 * n));
        let starts = minutes.flat_map(|at| [-1, 0, 1].map(|off| at + Span::from_millis(off)));
        let dues = starts.map(|start| {
            (drip.steps[0].timing.due(start).unwrap(), drip.steps[1].timing.due(start).unwrap())
        });
        let dues: Vec<(Instant, Instant)> = dues.collect();
        let gap = dues.iter().map(|(one, two)| *two.max(one) - *one).min().unwrap();
        let out_of_order =
            dues.iter().any(|(one, two)| two < one) || dues.iter().all(|(one, two)| two <= one);

        let said = problems.iter().find_map(|problem| match problem {
            Problem::SameContent { gap, .. } => Some(*gap),
            _ => None,
        });
        assert_eq!(said, Some(gap), "seed {seed}\n{text}");
        let is_warned = problems.iter().any(|problem| matches!(problem, Problem::OutOfOrder { .. }));
        assert_eq!(is_warned, out_of_order, "seed {seed}\n{text}");
        near += usize::from(gap < Span::from_hours(12));
        disordered += usize::from(out_of_order);
        silent += usize::from(!out_of_order);
    }
    assert!(near > 5 && disordered > 5 && silent > 5, "{near} {disordered} {silent}");
}
