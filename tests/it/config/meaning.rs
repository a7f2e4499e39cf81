//! What the files mean once they are clean.

use haishin::config::{Configuration, Rate, Relay, Replies, SecretSource, Source};
use haishin::domain::campaign::Deadline;
use haishin::domain::lookback::Lookback;
use haishin::domain::schedule::When;
use haishin::domain::segment::rule::Rule;
use haishin::domain::time::{Instant, Span};

use super::{MAIN, check, rendered, scheduled, shop, with_messages};

fn clean(source: &Source) -> Configuration {
    let configuration = check(source).configuration;
    configuration.unwrap_or_else(|| panic!("{}", rendered(source, haishin::lang::Lang::En)))
}

fn instant(text: &str) -> Instant {
    text.to_owned().try_into().unwrap()
}

fn rule(condition: &str) -> Rule {
    let source = shop(&[("segments/one.toml", &format!("title = \"t\"\nall = [{condition}]\n"))]);
    clean(&source).segments["one"].rule.clone()
}

#[test]
fn conditions_mean_what_they_say() {
    let conditions = [
        r#"{ attr = "birthday", age = { gte = 20, lt = 40 } }"#,
        r#"{ attr = "birthday", month = "this", zone = "Europe/Berlin" }"#,
        r#"{ attr = "birthday", past = "36h" }"#,
        r#"{ attr = "birthday", lte = 1990-01-02 }"#,
        r#"{ attr = "points", gte = 20, lt = 40 }"#,
        r#"{ attr = "spend", eq = 3 }"#,
        r#"{ attr = "prefecture", not_in = ["東京都"] }"#,
        r#"{ tag = "member", within = "7d" }"#,
        r#"{ event = "purchase" }"#,
        r#"{ event = "visit", within = "90d", never = true }"#,
        r#"{ event = "purchase", count = 2, where = { shop = "渋谷", amount = { gte = 1000 } } }"#,
        r#"{ event = "purchase", sum = { of = "amount", gte = 0.5 } }"#,
        r#"{ event = "purchase", last = { for_at_least = "30d" } }"#,
        r#"{ followed = { within = "7d" } }"#,
        r#"{ received = "a", within = "30d" }"#,
        r#"{ at_least = 2, of = [{ tag = "a" }, { tag = "b" }] }"#,
    ];
    let read: Vec<String> =
        conditions.iter().map(|condition| format!("{condition}\n  {:?}\n", rule(condition))).collect();
    insta::assert_snapshot!("config_conditions", read.concat());
}

/// A bare day of an instant means its edges in the zone: as an end it includes the whole day.
#[test]
fn a_bare_day_is_a_whole_local_day() {
    let condition = |test: &str| format!("{:?}", rule(&format!("{{ attr = \"last_login\", {test} }}")));
    let (start, next) = ("2026-11-30T15:00:00.000Z", "2026-12-01T15:00:00.000Z");
    for (test, expected) in [
        ("gte = 2026-12-01", format!("[Gte(Instant({start}))]")),
        ("gt = \"2026-12-01\"", format!("[Gte(Instant({next}))]")),
        ("lt = 2026-12-01", format!("[Lt(Instant({start}))]")),
        ("lte = 2026-12-01", format!("[Lt(Instant({next}))]")),
        ("eq = 2026-12-01", format!("[Gte(Instant({start})), Lt(Instant({next}))]")),
        ("lte = \"2026-12-01 00:00\"", format!("[Lte(Instant({start}))]")),
        ("lte = 2026-12-01T00:00:00+09:00", format!("[Lte(Instant({start}))]")),
    ] {
        assert!(condition(test).contains(&expected), "{test}: {}", condition(test));
    }
}

#[test]
fn quoted_and_native_dates_are_one() {
    let when = |at: &str| {
        let source = shop(&[("campaigns/a.toml", &scheduled(&format!("at = {at}")))]);
        clean(&source).campaigns["a"].schedule.when.clone()
    };
    let six = When::Once(instant("2026-12-04T09:00:00Z"));
    for at in [
        "\"2026-12-04 18:00\"",
        "2026-12-04T18:00:00",
        "2026-12-04 18:00:00",
        "2026-12-04T18:00:00+09:00",
        "\"2026-12-04T09:00Z\"",
    ] {
        assert_eq!(when(at), six, "{at}");
    }
}

#[test]
fn deadlines_and_bounds_include_a_bare_day() {
    let campaign = |schedule: &str| {
        let source = shop(&[("campaigns/a.toml", &scheduled(schedule))]);
        clean(&source).campaigns["a"].clone()
    };
    let at = "at = \"2026-12-04 18:00\"\n";
    let end = Some(Deadline::At(instant("2026-12-04T15:00:00Z")));
    assert_eq!(campaign(&format!("{at}deadline = 2026-12-04")).dispatch.deadline, end);
    let after = Some(Deadline::After(Span::from_hours(3)));
    assert_eq!(campaign(&format!("{at}deadline = \"3h\"")).dispatch.deadline, after);
    let daily = campaign("every = \"day\"\nat = \"10:00\"\nfrom = 2026-12-10\nuntil = 2026-12-11");
    let due: Vec<String> = daily.schedule.when.after(super::now()).map(|at| at.to_string()).collect();
    assert_eq!(due, ["2026-12-10T01:00:00.000Z", "2026-12-11T01:00:00.000Z"]);
}

#[test]
fn exceptions_leave_days_out() {
    let schedule = "every = \"day\"\nat = \"10:00\"\nfrom = 2027-01-01\nuntil = 2027-01-12\n\
                    except = [\"jp-holidays\", \"sat\", \"2027-01-04..2027-01-06\", 2027-01-08]";
    let source = shop(&[("campaigns/a.toml", &scheduled(schedule))]);
    let when = &clean(&source).campaigns["a"].schedule.when;
    let due: Vec<String> = when.after(super::now()).map(|at| at.to_string()[..10].to_owned()).collect();
    assert_eq!(due, ["2027-01-03", "2027-01-07", "2027-01-10", "2027-01-12"]);
}

#[test]
fn a_cap_may_have_a_zone_of_its_own_and_be_for_all() {
    let main = format!(
        "[caps.advertising_weekly]\ncategories = \"all\"\n[caps.daily]\nzone = \"Europe/Berlin\"\n{MAIN}"
    );
    let caps = &clean(&shop(&[("haishin.toml", &main)])).accounts["koharu"].policy.caps;
    let cap = |name: &str| caps.iter().find(|cap| cap.name == name).unwrap();
    assert_eq!((cap("1日1通").zone.name(), cap("週3通").zone.name()), ("Europe/Berlin", "Asia/Tokyo"));
    assert_eq!(cap("販促 週2通").categories, None);
    assert!(cap("販促 月6通").categories.is_some());
}

#[test]
fn whole_minutes_may_have_seconds() {
    let times = |at: &str| {
        let source = shop(&[("campaigns/a.toml", &scheduled(&format!("every = \"day\"\nat = {at}")))]);
        clean(&source).campaigns["a"].schedule.when.clone()
    };
    for at in ["\"18:00:00\"", "18:00:00", "[\"18:00\"]"] {
        assert_eq!(times(at), times("\"18:00\""), "{at}");
    }
}

#[test]
fn an_account_overrides_what_is_shared() {
    let main = "quiet_hours = \"21:00-09:00\"\n[caps.daily]\nmax = 2\n[caps.weekly]\nmax = \"off\"\n\
                [categories.event]\ntitle = \"催し\"\nopt_out = \"催し停止\"\n\
                [accounts.a]\nchannel_id = 1\nchannel_secret = { file = \"a\" }\n\
                [accounts.b]\nchannel_id = 2\nchannel_secret = { credential = \"b\" }\nzone = \"Asia/Taipei\"\n\
                quiet_hours = \"off\"\nrate = 10\n[accounts.b.caps.daily]\nmax = 0\n[accounts.b.quota]\nkeep = \"10%\"\n\
                [accounts.b.retention]\nevents = \"off\"\nsets = \"400d\"\n\
                [retention]\nbatches = \"40d\"\nsets = \"off\"\n";
    let found = clean(&shop(&[("haishin.toml", main)]));
    let (a, b) = (&found.accounts["a"].policy, &found.accounts["b"].policy);
    assert_eq!(a.quiet_hours.map(|quiet| quiet.start.to_string()).as_deref(), Some("21:00:00"));
    assert_eq!(b.quiet_hours, None);
    let daily = |policy: &haishin::domain::policy::Policy| {
        policy.caps.iter().find(|cap| cap.name == "1日1通").map(|cap| cap.max)
    };
    assert_eq!((daily(a), daily(b)), (Some(2), Some(0)));
    assert!(a.caps.iter().all(|cap| cap.name != "週3通"));
    let event = &a.categories["event"];
    assert!(event.capped && event.opt_out.as_ref().is_some_and(|tag| tag.as_str() == "催し停止"));
    assert_eq!((b.quota.keep.to_string(), b.quota.warn_at.to_string()), ("10%".to_owned(), "80%".to_owned()));
    assert_eq!(
        (found.accounts["a"].rate, found.accounts["b"].rate),
        (Rate::PerSecond(200), Rate::PerSecond(10))
    );
    assert_eq!(b.zone.name(), "Asia/Taipei");
    let days = |days| Some(Span::from_days(days));
    let (a, b) = (found.accounts["a"].retention, found.accounts["b"].retention);
    assert_eq!((a.batches, a.events, a.sets), (days(40), days(760), None));
    assert_eq!((b.batches, b.events, b.sets), (days(40), None, days(400)));
}

/// The longest window of all that is asked of an account's past, and whose receivers are asked for ever.
#[test]
fn a_configuration_knows_how_far_it_looks_back() {
    let files = |campaign: &str, rule: &str| {
        let rule = format!("title = \"t\"\n{rule}");
        let found =
            clean(&shop(&[("campaigns/a.toml", &super::campaign(campaign)), ("segments/r.toml", &rule)]));
        found.lookback(&found.accounts["koharu"])
    };
    let days = |lookback: &Lookback| lookback.sends.as_millis() / 86_400_000;
    let plain = files("", "tag = \"member\"");
    assert_eq!(days(&plain), 32, "the monthly cap, a grace of hours, and two days");
    assert_eq!((plain.events, plain.ever.len()), (Span::ZERO, 0));
    assert_eq!(days(&files("once = \"300d\"", "tag = \"member\"")), 302);
    let rule = "any = [{ not = { all = [{ received = \"a\", within = \"400d\" }] } }, { received = \"a\" }, \
                { event = \"visit\", within = \"900d\", count = 2 }]";
    let asking = files("once = \"300d\"", rule);
    assert_eq!((days(&asking), asking.events), (402, Span::from_days(900)));
    assert_eq!(asking.ever.iter().map(|campaign| campaign.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(asking.covers(&plain) && !plain.covers(&asking));
}

#[test]
fn webhooks_say_where_and_with_which_secret() {
    let main = |url: &str| format!("[webhooks.crm]\nurl = \"{url}\"\nsecret = {{ env = \"CRM\" }}\n{MAIN}");
    let read = |url: &str| check(&shop(&[("haishin.toml", &main(url))])).configuration;
    for url in ["https://crm.example", "http://127.0.0.1:9000/x?y#z", "http://localhost/x"] {
        let crm = &read(url).unwrap().webhooks["crm"];
        assert_eq!((crm.url.as_str(), &crm.secret), (url, &SecretSource::Env("CRM".to_owned())));
    }
    for url in
        ["http://127.0.0.1:x@evil.example", "http://127.0.0.1.evil.example", "https://", "ftp://crm.example"]
    {
        assert!(read(url).is_none(), "{url}");
    }
    let long =
        |length: usize| format!("https://crm.example/{}", "x".repeat(length - "https://crm.example/".len()));
    assert!(read(&long(2_000)).is_some() && read(&long(2_001)).is_none());
}

fn set(messages: &str) -> haishin::domain::message::MessageSet {
    let source = shop(&[("campaigns/a.toml", &with_messages(messages))]);
    clean(&source).campaigns["a"].dispatch.variants[0].messages.clone()
}

/// Every kind of message in LINE's own spelling, keys sorted.
#[test]
fn messages_become_line_s_json() {
    let kinds = [
        "type = \"text\"\ntext = \"$ {{ link('https://a.example') }}\"\nemojis = [{ index = 0, product_id = \"p\", emoji_id = \"1\" }]\n[message.sender]\nname = \"店\"\nicon_url = \"https://a.example/i.png\"",
        "type = \"textV2\"\ntext = \"{hi} {{波括弧}}\"\n[message.substitution.hi]\ntype = \"emoji\"\nproduct_id = \"p\"\nemoji_id = \"1\"",
        "type = \"sticker\"\npackage_id = 446\nsticker_id = \"1988\"",
        "type = \"image\"\noriginal_content_url = \"https://a.example/o.jpg\"\npreview_image_url = \"https://a.example/p.jpg\"",
        "type = \"video\"\noriginal_content_url = \"https://a.example/o.mp4\"\npreview_image_url = \"https://a.example/p.jpg\"\ntracking_id = \"t\"",
        "type = \"audio\"\noriginal_content_url = \"https://a.example/o.m4a\"\nduration = 60000",
        "type = \"location\"\ntitle = \"店\"\naddress = \"渋谷\"\nlatitude = 35.5\nlongitude = 139",
        "type = \"imagemap\"\nbase_url = \"https://a.example/m\"\nalt_text = \"地図\"\nbase_size = { width = 1040, height = 700 }\nactions = [{ type = \"uri\", link_uri = \"https://a.example\", area = { x = 0, y = 0, width = 1040, height = 700 } }]",
        "type = \"template\"\nalt_text = \"予約\"\n[message.template]\ntype = \"confirm\"\ntext = \"よいですか\"\nactions = [{ type = \"postback\", label = \"はい\", data = \"y\", display_text = \"はい\" }, { type = \"message\", label = \"いいえ\", text = \"いいえ\" }]",
        "type = \"flex\"\nalt_text = \"冬\"\n[message.contents]\ntype = \"bubble\"\nbody = { type = \"box\", layout = \"vertical\", padding_all = \"20px\", contents = [{ type = \"text\", text = \"冬\" }] }",
        "type = \"flex\"\nalt_text = \"冬\"\ncontents_json = '{ \"type\": \"bubble\", \"hero\": { \"url\": \"https://a.example\", \"type\": \"image\" } }'",
        "type = \"coupon\"\ncoupon_id = \"01J\"\ndelivery_tag = \"winter\"",
        "type = \"text\"\ntext = \"選んでください\"\n[message.quick_reply]\nitems = [{ action = { type = \"cameraRoll\", label = \"写真\" } }]",
    ];
    let read: Vec<String> =
        kinds.iter().map(|kind| format!("{}\n", set(&format!("[[message]]\n{kind}\n")).json)).collect();
    insta::assert_snapshot!("config_message_json", read.concat());
}

/// The content is that of the source: a link's new address is the same content only if the source is.
#[test]
fn the_content_digest_is_over_the_source_and_not_over_its_spelling() {
    let plain = set("[[message]]\ntype = \"text\"\ntext = \"x https://a.example\"\n");
    let link = set("[[message]]\ntype = \"text\"\ntext = \"x {{ link('https://a.example') }}\"\n");
    assert_eq!(plain.json, link.json);
    assert_ne!(plain.content, link.content);
    let inline = set("message = [{ text = 'x https://a.example', type = 'text' }]\n");
    assert_eq!(inline, plain);
}

/// Each length limit is reached and passed by one, counted as LINE counts.
#[test]
fn lengths_are_counted_as_line_counts_them() {
    let fits = |messages: &str| {
        check(&shop(&[("campaigns/a.toml", &with_messages(messages))])).configuration.is_some()
    };
    let text = |text: &str| fits(&format!("[[message]]\ntype = \"text\"\ntext = \"{text}\"\n"));
    assert!(text(&"🎂".repeat(2_500)));
    assert!(!text(&("🎂".repeat(2_500) + "a")));
    let label = |label: &str| {
        fits(&format!(
            "[[message]]\ntype = \"template\"\nalt_text = \"x\"\n[message.template]\ntype = \"buttons\"\ntext = \"x\"\n\
             actions = [{{ type = \"message\", label = \"{label}\", text = \"x\" }}]\n"
        ))
    };
    // A family of four is one grapheme, eleven UTF-16 units.
    assert!(label(&"👨‍👩‍👧‍👦".repeat(20)));
    assert!(!label(&"a".repeat(21)));
    let count = |n: usize| fits(&"[[message]]\ntype = \"text\"\ntext = \"x\"\n".repeat(n));
    assert!(count(5) && !count(6));
}

#[test]
fn numbers_of_an_account_may_be_quoted_or_not() {
    let quoted = clean(&shop(&[]));
    let bare = clean(&shop(&[("haishin.toml", &MAIN.replace("\"2000000001\"", "2000000001"))]));
    assert_eq!(quoted.accounts["koharu"].channel_id, bare.accounts["koharu"].channel_id);
}

#[test]
fn a_relay_and_former_secrets_are_read() {
    let rest = "former_secrets = [{ env = \"OLD\" }, { file = \"older\" }]\n[accounts.koharu.relay]\n\
                url = \"http://127.0.0.1:9/line?shop=1\"\nreplies = \"relay\"\n";
    let found = clean(&shop(&[("haishin.toml", &format!("{MAIN}{rest}"))]));
    let account = found.accounts.values().next().unwrap();
    let relay = Relay { url: "http://127.0.0.1:9/line?shop=1".into(), replies: Replies::Relay };
    assert_eq!(account.relay, Some(relay));
    let former = [SecretSource::Env("OLD".into()), SecretSource::File("older".into())];
    let all: Vec<_> = account.credentials.webhook_secrets().skip(1).cloned().collect();
    assert_eq!(all, former);
    let plain = clean(&shop(&[]));
    let account = plain.accounts.values().next().unwrap();
    assert_eq!((&account.relay, account.credentials.webhook_secrets().count()), (&None, 1));
}
