//! The shipped files are clean, and mean what the design promises a Japanese shop.

use std::path::Path;

use haishin::config::node::{self, DatabaseUrl};
use haishin::config::{Configuration, Rate, SHIPPED, Source};
use haishin::domain::drip::Content;
use haishin::domain::policy::{CapWindow, Policy, Share};
use haishin::domain::schedule::{IfMissed, When};
use haishin::domain::time::{Instant, Span};
use haishin::lang::Lang;

use super::{MAIN, campaign, check, rendered, shop};

fn source() -> Source {
    Source::read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap()
}

fn configuration(source: &Source) -> Configuration {
    check(source).configuration.unwrap()
}

#[test]
fn the_shipped_configuration_is_clean() {
    assert_eq!(rendered(&source(), Lang::En), "");
    let (node, found) = node::read(&source());
    assert_eq!(found, []);
    assert_eq!(node.unwrap().database.url, DatabaseUrl::Plain("sqlite:haishin.sqlite3".to_owned()));
}

/// A policy as one table, for the eye.
fn table(policy: &Policy) -> String {
    let mut out = format!("zone {}\n", policy.zone);
    for (name, category) in &policy.categories {
        out += &format!(
            "category {name} {}: capped {}, immediate {}, reserve {}, opt-out {:?}\n",
            category.title,
            category.capped,
            category.may_be_immediate,
            category.uses_reserve,
            category.opt_out
        );
    }
    for cap in &policy.caps {
        let of = cap.categories.as_ref().map_or("all".to_owned(), |names| {
            names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("+")
        });
        let per = match cap.per {
            CapWindow::Rolling(span) => span.to_string(),
            other => format!("{other:?}"),
        };
        out += &format!("cap {}: {} per {per} of {of}\n", cap.name, cap.max);
    }
    let quiet = policy.quiet_hours.map(|quiet| format!("{}-{}", quiet.start, quiet.end));
    let blanket = policy.blanket;
    out += &format!("quiet hours {}\n", quiet.unwrap_or_default());
    out += &format!("blanket {} below {}\n", blanket.share.unwrap_or_default(), blanket.warn_below);
    out += &format!("same content {}\n", policy.same_content.unwrap_or_default());
    out + &format!("quota warn {} keep {}\n", policy.quota.warn_at, policy.quota.keep)
}

/// A shop that writes nothing but its account has what the design calls the defaults a Japanese shop expects.
#[test]
fn a_file_with_an_account_only_has_the_defaults() {
    let found = configuration(&shop(&[("campaigns/a.toml", &campaign(""))]));
    let account = found.accounts.values().next().unwrap();
    insta::assert_snapshot!(table(&account.policy), @r"
    zone Asia/Tokyo
    category followup シナリオ: capped true, immediate false, reserve false, opt-out None
    category news お知らせ: capped true, immediate false, reserve false, opt-out None
    category promotion 販促: capped true, immediate false, reserve false, opt-out None
    category service 予約・発送: capped false, immediate true, reserve true, opt-out None
    cap 1日1通: 1 per Day of all
    cap 週3通: 3 per 7d of all
    cap 販促 週2通: 2 per 7d of promotion+news
    cap 販促 月6通: 6 per 30d of promotion+news
    quiet hours 22:00:00-08:00:00
    blanket 50% below 200
    same content 12h
    quota warn 80% keep 5%
    ");
    assert_eq!(account.rate, Rate::PerSecond(200));
    assert_eq!(account.api_base, "https://api.line.me");
    assert_eq!(account.plan.name, "standard");
    let kept = account.retention;
    let kept = [kept.webhook_ids, kept.batches, kept.events, kept.sets].map(|span| span.unwrap().to_string());
    assert_eq!(kept, ["7d", "90d", "760d", "760d"]);
    let campaign = found.campaigns.values().next().unwrap();
    assert_eq!(campaign.dispatch.category.as_str(), "promotion");
    assert_eq!(
        (campaign.dispatch.priority, campaign.dispatch.holdout, campaign.dispatch.notify),
        (50, Share::NONE, true)
    );
    assert_eq!(
        (campaign.schedule.if_missed, campaign.schedule.grace),
        (IfMissed::Latest, Span::from_hours(2))
    );
}

/// An empty account in an otherwise empty file means the shipped file's own words: comments stripped of their value
/// would be a second source of truth.
#[test]
fn leaving_the_shipped_settings_out_changes_nothing() {
    let (settings, _) = SHIPPED.split_once("[accounts.koharu]").unwrap();
    let spelled_out = configuration(&shop(&[("haishin.toml", &format!("{settings}{MAIN}"))]));
    let left_out = configuration(&shop(&[]));
    assert_eq!(spelled_out.accounts, left_out.accounts);
}

#[test]
fn the_demo_shop_sends_to_the_sandbox_only() {
    let found = configuration(&source());
    let account = &found.accounts["koharu"];
    assert!(account.is_loopback());
    assert_eq!(account.api_base, "http://127.0.0.1:8471");
    let secret = account
        .credentials
        .channel_secret
        .read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config"), &|_| None);
    assert!(secret.is_ok());
}

/// Each example with what starts it, and its steps with their instants for a start at half past nine.
#[test]
fn the_example_drips_are_those_of_a_shop() {
    let found = configuration(&source());
    let start: Instant = "2026-12-04T09:30:00+09:00".to_owned().try_into().unwrap();
    let mut out = String::new();
    for drip in found.drips.values() {
        out += &format!("{} {}: {:?}\n", drip.slug, drip.title, drip.start);
        for step in &drip.steps {
            let what = match &step.content {
                Content::Send(dispatch) => {
                    let arms: Vec<&str> = dispatch.variants.iter().map(|arm| arm.name.as_str()).collect();
                    format!("{} {}", dispatch.category, arms.join("/"))
                }
                Content::Act(actions) => format!("{actions:?}"),
            };
            let due = step.timing.due(start).unwrap().rfc3339(drip.zone);
            out += &format!("  {} {due} {what}\n", step.name);
        }
    }
    insta::assert_snapshot!(out, @r#"
    booking-reminder 焙煎教室のご案内: Date(DateStart { attribute: AttributeName("booking_at"), days: -7, yearly: false, at: TimeOfDay(1080) })
      week-before 2026-12-04T09:30:00+09:00 service main
      day-before 2026-12-10T18:00:00+09:00 service main
    cart-abandonment カートの忘れもの: Event(Event { event: EventName("cart"), properties: [], count: None })
      reminder 2026-12-04T12:30:00+09:00 followup main
      shipping 2026-12-06T12:00:00+09:00 followup main
    happy-birthday お誕生日おめでとう: Date(DateStart { attribute: AttributeName("birthday"), days: 0, yearly: true, at: TimeOfDay(600) })
      greeting 2026-12-04T09:30:00+09:00 followup main
    trial-coupon 体験後クーポン: TagAdded(TagName("体験"))
      coupon 2026-12-05T10:00:00+09:00 followup main
    welcome はじめての方へ: Followed
      story 2026-12-05T12:00:00+09:00 followup main
      recommend 2026-12-07T12:00:00+09:00 followup quiz/ranking
      benefit 2026-12-11T12:00:00+09:00 followup member/guest
      done 2026-12-04T09:30:00+09:00 [Tag { tag: TagName("welcome-done"), lasts: None }]
    win-back おひさしぶりです: Date(DateStart { attribute: AttributeName("last_login"), days: 60, yearly: false, at: TimeOfDay(720) })
      hello 2026-12-04T09:30:00+09:00 followup main
      coupon 2026-12-11T12:00:00+09:00 followup main
    "#);
}

#[test]
fn the_demo_campaigns_are_the_design_s() {
    let found = configuration(&source());
    let winter = &found.campaigns["winter-coupon"];
    assert!(matches!(winter.schedule.when, When::Once(at) if at.to_string() == "2026-12-04T09:00:00.000Z"));
    assert_eq!(winter.dispatch.max_recipients, Some(3_000));
    assert_eq!(winter.dispatch.holdout.to_string(), "5%");
    assert_eq!(winter.dispatch.account.as_str(), "koharu");
    insta::assert_snapshot!(winter.dispatch.variants[0].messages.json, @r#"[{"text":"冬の新作が届きました☕ https://koharu.example/winter","type":"text"},{"couponId":"01KOHARUWINTER10","type":"coupon"}]"#);
    let birthday = &found.campaigns["birthday"];
    let due = birthday.schedule.when.next_after(super::now()).unwrap();
    assert_eq!(due.to_string(), "2027-01-01T02:00:00.000Z");
    assert_eq!(
        birthday.dispatch.variants.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(),
        ["benefit", "gift"]
    );
    let fair = &found.campaigns["gift-fair"];
    assert!(fair.dispatch.reach_everyone);
    assert_eq!(fair.dispatch.pace.map(|pace| (pace.friends, pace.per)), Some((200, Span::from_secs(2))));
}
