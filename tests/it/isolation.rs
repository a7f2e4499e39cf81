//! Two accounts in one daemon, whose friends are the same people and have nothing else in common: what a rule gives in
//! one account is what that account's own data gives, in every form a rule can have, and no command reaches across.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Days, NaiveDate};
use haishin::config::{self, Source};
use haishin::domain::attribute::Value;
use haishin::domain::friend::{Friend, Status};
use haishin::domain::id::{
    AttributeName, CampaignSlug, EventName, FriendId, PropertyName, SegmentSlug, TagName, UserId,
};
use haishin::domain::segment::evaluate::Segments;
use haishin::domain::segment::rule::{Condition, Rule};
use haishin::domain::time::{Instant, Span};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::segments_oracle::coverage::Coverage;
use crate::segments_oracle::naive::{Happened, Person, holds};
use crate::support::shop::{KOHARU, SECRET, Shop, YAMA, user};

const PEOPLE: u32 = 60;
const NOW: &str = "2090-12-04T18:00:30+09:00";

/// A rule of every form; the names are the files'.
fn rules() -> BTreeMap<String, String> {
    let mut rules: Vec<String> = [
        r#"all = [{ tag = "member" }, { status = "following" }]"#,
        r#"any = [{ tag = "member" }, { tag = "staff" }]"#,
        r#"not = { tag = "member" }"#,
        r#"at_least = 2
           of = [{ tag = "member" }, { event = "visit" }, { attr = "newsletter", eq = true }]"#,
        r#"segment = "r000""#,
        r#"status = "following""#,
        r#"status = "blocked""#,
        r#"received = "from-a""#,
        r#"received = "from-b""#,
        r#"received = "from-a"
           within = "1d""#,
        r#"received = "from-b"
           within = "1d""#,
        r#"tag = "member""#,
        r#"tag = "member"
           within = "30d""#,
        r#"tag = "member"
           for_at_least = "30d""#,
        r#"followed = { within = "30d" }"#,
        r#"followed = { for_at_least = "30d" }"#,
        r#"attr = "points"
           is_set = true"#,
        r#"attr = "points"
           is_set = false"#,
        r#"attr = "birthday"
           month = "this""#,
        r#"attr = "birthday"
           month = 1"#,
        r#"attr = "birthday"
           day = "this""#,
        r#"attr = "birthday"
           day = 5"#,
        r#"attr = "birthday"
           on_day = "today""#,
        r#"attr = "prefecture"
           contains = "京""#,
        r#"attr = "prefecture"
           starts_with = "東""#,
        r#"attr = "gender"
           eq = "x""#,
        r#"attr = "average_spend"
           gt = 2.5"#,
        r#"event = "visit""#,
        r#"event = "purchase"
           within = "30d""#,
        r#"event = "purchase"
           never = true"#,
        r#"event = "purchase"
           last = { within = "30d" }"#,
        r#"event = "purchase"
           last = { for_at_least = "30d" }"#,
        r#"event = "purchase"
           where = { shop = { contains = "渋" } }"#,
        r#"event = "purchase"
           where = { shop = { starts_with = "新" } }"#,
    ]
    .map(str::to_owned)
    .to_vec();
    for attribute in ["birthday", "last_login"] {
        for test in ["past", "ahead", "ago_at_least"] {
            rules.push(format!("attr = \"{attribute}\"\n{test} = \"30d\""));
        }
    }
    for operator in ["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in"] {
        let operand = if operator.ends_with("in") { "[2, 3]" } else { "3" };
        rules.push(format!("attr = \"points\"\n{operator} = {operand}"));
        rules.push(format!("event = \"purchase\"\nwhere = {{ amount = {{ {operator} = {operand} }} }}"));
        if !operator.ends_with("in") {
            rules.push(format!("attr = \"birthday\"\nage = {{ {operator} = 30 }}"));
            rules.push(format!("event = \"purchase\"\ncount = {{ {operator} = 2 }}"));
            rules.push(format!("event = \"purchase\"\nsum = {{ of = \"amount\", {operator} = 6 }}"));
        }
    }
    rules.into_iter().enumerate().map(|(n, rule)| (format!("r{n:03}"), rule)).collect()
}

/// A population drawn from a seed, as the naive evaluator reads it.
fn people(seed: u64) -> Vec<Person> {
    let mut rng = StdRng::seed_from_u64(seed);
    (1..=PEOPLE).map(|n| person(&mut rng, n)).collect()
}

fn now() -> Instant {
    Instant::try_from(NOW.to_owned()).unwrap()
}

fn recently(rng: &mut StdRng) -> Instant {
    Instant::from_millis(now().as_millis() / 1_000 * 1_000) - Span::from_hours(rng.random_range(1..60 * 24))
}

fn person(rng: &mut StdRng, n: u32) -> Person {
    let id = UserId::parse(&user(n)).unwrap();
    let followed_at = recently(rng);
    let mut row = Friend { followed_at: Some(followed_at), ..Friend::new(FriendId(n), id, followed_at) };
    row.status = if rng.random_bool(0.8) { Status::Following } else { Status::Blocked };
    for (tag, share) in [("member", 0.5), ("staff", 0.2)] {
        if rng.random_bool(share) {
            row.tags.insert(TagName::parse(tag).unwrap(), recently(rng));
        }
    }
    let today = NaiveDate::from_ymd_opt(2090, 12, 4).unwrap();
    let birthday = match rng.random_range(0..3) {
        0 => today + Days::new(rng.random_range(0..40)),
        1 => today - Days::new(rng.random_range(0..60)),
        _ => NaiveDate::from_ymd_opt(
            rng.random_range(2055..2065),
            rng.random_range(1..=12),
            rng.random_range(1..=6),
        )
        .unwrap(),
    };
    let login = recently(rng) + Span::from_days(rng.random_range(0..60));
    let values = [
        ("prefecture", Value::Text((*["東京都", "京都府", "大阪府"].choose(rng).unwrap()).into())),
        ("gender", Value::Text((*["x", "y"].choose(rng).unwrap()).into())),
        ("birthday", Value::Date(birthday)),
        ("points", Value::Integer(rng.random_range(0..6))),
        ("average_spend", Value::Number(f64::from(rng.random_range(0..10)) / 2.0)),
        ("newsletter", Value::Boolean(rng.random())),
        ("last_login", Value::Instant(login)),
    ];
    for (name, value) in values {
        if rng.random_bool(0.8) {
            row.attributes.insert(AttributeName::parse(name).unwrap(), value);
        }
    }
    let mut events = Vec::new();
    for _ in 0..rng.random_range(0..5) {
        let name = *["purchase", "purchase", "visit"].choose(rng).unwrap();
        let mut properties =
            vec![(PropertyName::parse("amount").unwrap(), Value::Integer(rng.random_range(1..6)))];
        if rng.random_bool(0.7) {
            let shop = *["渋谷", "新宿"].choose(rng).unwrap();
            properties.push((PropertyName::parse("shop").unwrap(), Value::Text(shop.into())));
        }
        let name = EventName::parse(name).unwrap();
        events.push(Happened { name, at: recently(rng).as_millis(), properties });
    }
    Person { row, events }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Date(day)) => day.to_string(),
        Some(Value::Integer(whole)) => whole.to_string(),
        Some(Value::Number(double)) => double.to_string(),
        Some(Value::Boolean(flag)) => flag.to_string(),
        Some(Value::Instant(at)) => at.to_string(),
    }
}

/// Brings an account's people in through the command line.
fn import(shop: &Shop, account: &str, letter: char, people: &[Person]) {
    let attributes =
        ["prefecture", "gender", "birthday", "points", "average_spend", "newsletter", "last_login"];
    let mut friends = format!("user,status,followed_at,external_id,{}\n", attributes.join(","));
    let (mut tags, mut events) =
        ("user,tag,at\n".to_owned(), "user,name,at,event_id,amount,shop\n".to_owned());
    for person in people {
        let (row, user) = (&person.row, user(person.id()));
        let status = if row.status == Status::Following { "following" } else { "blocked" };
        let values = attributes.map(|name| cell(row.attributes.get(&AttributeName::parse(name).unwrap())));
        let external = format!("{letter}-{}", person.id());
        friends += &format!("{user},{status},{},{external},{}\n", row.followed_at.unwrap(), values.join(","));
        for (tag, at) in &row.tags {
            tags += &format!("{user},{tag},{at}\n");
        }
        for (n, event) in person.events.iter().enumerate() {
            let property = |name: &str| {
                cell(
                    event.properties.iter().find(|(known, _)| known.as_str() == name).map(|(_, value)| value),
                )
            };
            let at = Instant::from_millis(event.at);
            // The same event ids in both accounts: they too are each account's own.
            let id = format!("{}-{n}", person.id());
            events +=
                &format!("{user},{},{at},{id},{},{}\n", event.name, property("amount"), property("shop"));
        }
    }
    for (kind, text) in [("friends", friends), ("tags", tags), ("events", events)] {
        let file = shop.file(&format!("{kind}.csv"), &text);
        let file = file.to_str().unwrap();
        let mut words = vec!["--account", account, "import", kind, file];
        if kind == "events" {
            words.extend([
                "--column",
                "property.amount:integer=amount",
                "--column",
                "property.shop:text=shop",
            ]);
        }
        shop.ok(&words);
    }
}

fn two_accounts() -> Shop {
    let shop = Shop::new();
    shop.remove_examples();
    shop.write("secrets/yama-channel-secret", SECRET);
    let account = format!(
        "\n[accounts.yama]\ntitle = \"山のパン\"\nchannel_id = \"{YAMA}\"\n\
         channel_secret = {{ file = \"secrets/yama-channel-secret\" }}\napi_base = \"http://{}\"\n",
        shop.line
    );
    shop.write("haishin.toml", &(shop.read("haishin.toml") + &account));
    for (letter, account, tag) in [("a", "koharu", "member"), ("b", "yama", "staff")] {
        shop.write(
            &format!("campaigns/from-{letter}.toml"),
            &format!(
                "title = \"{letter}\"\naccount = \"{account}\"\naudience = {{ tag = \"{tag}\" }}\nreach = \"everyone\"\n\
                 schedule = {{ at = \"2090-12-04 18:00\" }}\nmessage = [{{ type = \"text\", text = \"{letter}\" }}]\n"
            ),
        );
    }
    // A second one of the other account, so that their occurrences' numbers differ.
    let second = shop.read("campaigns/from-b.toml").replace("= \"b\"", "= \"b2\"").replace("staff", "member");
    shop.write("campaigns/from-b-too.toml", &second);
    for (name, rule) in rules() {
        shop.write(&format!("segments/{name}.toml"), &format!("title = \"{name}\"\n{rule}\n"));
    }
    shop
}

/// What the naive evaluator says, and for `received` what LINE's own books say.
fn expected(
    shop: &Shop,
    rule: &Rule,
    segments: &Segments,
    people: &[Person],
    own: (&str, &str),
) -> BTreeSet<String> {
    let (channel, own_campaign) = own;
    let selected = people.iter().filter(|person| match rule {
        Rule::Is(Condition::Received { campaign, .. }) => {
            let got = shop.sandbox.received(channel, &person.row.user.unwrap()).unwrap();
            // The text is the campaign's letter.
            campaign.as_str() == own_campaign
                && got.iter().any(|got| got.messages.contains(&format!("\"{}\"", &own_campaign[5..])))
        }
        rule => holds(rule, person, segments, now()),
    });
    selected.map(|person| user(person.id())).collect()
}

#[test]
fn a_rule_of_every_form_sees_its_own_account_alone() {
    let shop = two_accounts();
    let checked = config::parse(&Source::read_dir(&shop.config()).unwrap(), now());
    let segments = checked.configuration.expect("the files are valid").segments;
    let accounts = [("koharu", 'A', KOHARU, "from-a", people(1)), ("yama", 'B', YAMA, "from-b", people(2))];
    for (account, letter, _, _, people) in &accounts {
        import(&shop, account, *letter, people);
    }
    let mut coverage = Coverage::default();
    for segment in segments.values() {
        coverage.look(&segment.rule, &accounts[0].4, now());
    }
    coverage.assert_every_form();

    let mut daemon = shop.daemon(&["--clock", "2090-12-04T17:59:59+09:00"]);
    for _ in 0..3 {
        daemon.wait_for("occurrence ended");
    }
    let mut telling = 0;
    for (name, segment) in &segments {
        let mut sets = Vec::new();
        for (account, _, channel, campaign, people) in &accounts {
            let members = members(&shop, account, name);
            let own = (*channel, *campaign);
            assert_eq!(members, expected(&shop, &segment.rule, &segments, people, own), "{account} {name}");
            sets.push(members);
        }
        telling += usize::from(sets[0] != sets[1]);
    }
    assert!(
        telling * 10 >= segments.len() * 9,
        "{telling} of {} rules tell the accounts apart",
        segments.len()
    );
    nothing_reaches_across(&shop);
    assert_eq!(daemon.terminate().0, 0);
}

/// The members of a segment by `export`; `count` must say as many.
fn members(shop: &Shop, account: &str, segment: &SegmentSlug) -> BTreeSet<String> {
    let words = ["--account", account, "--json", "segment", "export", segment.as_str(), "--now", NOW];
    let rows = shop.ok(&words);
    let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let letter = if account == "koharu" { 'A' } else { 'B' };
    let users = rows.iter().filter(|row| row.get("user").is_some()).map(|row| {
        assert!(row["external_id"].as_str().unwrap().starts_with(letter), "{row}");
        row["user"].as_str().unwrap().to_owned()
    });
    let users: BTreeSet<String> = users.collect();
    let count = shop.json(&["--account", account, "segment", "count", segment.as_str(), "--now", NOW]);
    assert_eq!(count["segments"][0]["friends"], users.len());
    users
}

fn nothing_reaches_across(shop: &Shop) {
    let by_a = |words: &[&str]| shop.run(&[&["--account", "koharu"], words].concat());
    assert_eq!(by_a(&["friend", "show", "A-7"]).code, 0);
    assert_eq!(by_a(&["occurrence", "show", "1"]).code, 0);
    for words in [
        &["friend", "show", "B-7"][..],
        &["occurrence", "show", "2"],
        &["occurrence", "list", "from-b"],
        &["occurrence", "resolve", "2", "--held", "cancel"],
        &["campaign", "next", "from-b"],
        &["campaign", "preview", "from-b"],
        &["campaign", "pause", "from-b"],
        &["campaign", "resume", "from-b"],
        &["campaign", "cancel", "from-b"],
        &["campaign", "test-send", "from-b", "--to", "A-7"],
        &["campaign", "test-send", "from-a", "--to", "B-7"],
    ] {
        let said = by_a(words);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{words:?}: {said:?}");
    }
    for words in [&["campaign", "list"][..], &["occurrence", "list"], &["friend", "show", &user(7)]] {
        let said = by_a(&[&["--json"], words].concat());
        assert!(!said.out.contains("from-b") && !said.out.contains("B-7"), "{said:?}");
    }
    // Without a name, with two accounts, nothing is guessed.
    let said = shop.run(&["segment", "list"]);
    assert_eq!(said.err, "error: choose an account with --account: koharu, yama\n");
    let preview = by_a(&["--json", "campaign", "preview", "from-a", "--now", NOW]).out;
    assert!(!preview.contains("B-"), "{preview}");
    let slug = CampaignSlug::parse("from-a").unwrap();
    assert!(preview.contains(slug.as_str()), "{preview}");
}
