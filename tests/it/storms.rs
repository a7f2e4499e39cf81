//! LINE asks an account to wait for ten minutes: hardly more attempts are made than are needed, never more than the rate
//! allows, and another account does not notice.

use haishin::clock::Clock as _;
use haishin::domain::time::Span;
use haishin::sandbox::{Endpoint, Fault, FaultKind};

use crate::support::store::Database;
use crate::support::world::{CHANNEL, Setup, World};

const SETTINGS: &str = "quiet_hours = \"off\"\nrate = 20\n";
const FRIENDS: u32 = 10_000;
/// Campaigns that are sent beside each other…
const CAMPAIGNS: usize = 7;
/// …in batches of this many friends a second.
const A_BATCH: u32 = 100;
const STORM: Span = Span::from_mins(10);

fn campaign(slug: &str, account: &str, at: &str, more: &str) -> (String, String) {
    let text = format!(
        "title = \"{slug}\"\naccount = \"{account}\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\n\
         category = \"service\"\nschedule = {{ at = \"2026-12-04 {at}\" }}\n{more}\n\
         message = [{{ type = \"text\", text = \"{slug}\" }}]\n"
    );
    (slug.to_owned(), text)
}

#[tokio::test]
async fn ten_minutes_of_429_cost_a_fifth_more_attempts_and_nobody_else_anything() {
    let pace = format!("pace = \"{A_BATCH}/1s\"");
    let mut campaigns: Vec<_> =
        (0..CAMPAIGNS).map(|n| campaign(&format!("mass{n}"), "shop", "18:00", &pace)).collect();
    campaigns.push(campaign("letter", "other", "18:05", ""));
    let mut world = World::of(Setup {
        now: "2026-12-04T17:59:59+09:00",
        settings: SETTINGS,
        campaigns,
        accounts: vec![("shop", FRIENDS), ("other", 20)],
        database: Database::Memory,
        seed: 0,
    })
    .await;
    let start = world.clock.now() + Span::from_secs(31);
    let storm = Fault {
        channel: Some(CHANNEL.into()),
        from: Some(start),
        until: Some(start + STORM),
        ..Fault::always(FaultKind::RateLimited)
    };
    world.sandbox.set_faults(vec![storm]);
    world.step = Span::from_millis(100);
    let (shop, other) = (world.account(0), world.account(1));
    let sent = async || (other.multicasts().len() == 1).then_some(());
    world.until("the other account's letter", sent).await;
    let late = other.multicasts()[0].at
        - haishin::domain::time::Instant::try_from("2026-12-04T18:05:00+09:00".to_owned()).unwrap();
    assert!(late < Span::from_secs(2), "the other account's letter was {late:?} late");
    let needed = CAMPAIGNS * (FRIENDS / A_BATCH) as usize;
    let taken = || world.sandbox.totals().accepted as usize;
    world.until("all is taken", async || (taken() == needed + 1).then_some(())).await;

    let requests = shop.multicasts();
    assert!(requests.len() <= needed * 12 / 10, "{} attempts for {needed} batches", requests.len());
    let mut tries = requests.iter().map(|request| request.at).collect::<Vec<_>>();
    tries.sort();
    let busiest = tries
        .iter()
        .map(|from| tries.iter().filter(|at| **at >= *from && **at - *from < Span::from_secs(1)).count())
        .max();
    assert!(busiest <= Some(22), "{busiest:?} requests in one second");
    println!("{needed} batches, {} attempts, at most {busiest:?} in a second", requests.len());
}

/// Three campaigns beside each other, after their first batches.
async fn three() -> World {
    let campaigns = (0..3).map(|n| campaign(&format!("mass{n}"), "shop", "18:00", "pace = \"5/10s\""));
    let world = World::of(Setup {
        now: "2026-12-04T17:59:59+09:00",
        settings: SETTINGS,
        campaigns: campaigns.collect(),
        accounts: vec![("shop", 20)],
        database: Database::Memory,
        seed: 0,
    })
    .await;
    world.sandbox.set_quota(CHANNEL, Some(1_000), Some(0), world.clock.now()).unwrap();
    world.until("the first are taken", async || (world.sandbox.totals().accepted == 3).then_some(())).await;
    world
}

/// LINE takes ten seconds to say nothing about the month.
#[tokio::test]
async fn while_an_answer_about_the_month_is_on_its_way_it_is_not_asked_for_again() {
    let world = three().await;
    let questions = || {
        let requests = world.sandbox.requests(0, usize::MAX);
        requests.iter().filter(|request| request.endpoint == Some(Endpoint::Quota)).count()
    };
    let (before, sent) = (questions(), world.multicasts().len());
    let hangs = Fault { endpoint: Endpoint::Quota, ..Fault::always(FaultKind::HangBefore) };
    world.sandbox.set_faults(vec![Fault::always(FaultKind::RateLimited), hangs]);
    world.until_requests(sent + 1).await;
    world.pass(Span::from_secs(9)).await;
    assert!(world.multicasts().len() >= sent + 5, "{} refusals", world.multicasts().len() - sent);
    assert_eq!(questions() - before, 1);
}

/// LINE's temporary 429, whichever words it has: the month has room.
#[tokio::test]
async fn a_429_in_a_month_with_room_left_holds_nothing() {
    for kind in [FaultKind::RateLimited, FaultKind::MonthlyLimit] {
        let mut world = three().await;
        world.step = Span::from_millis(200);
        world.sandbox.set_faults(vec![Fault { times: Some(4), ..Fault::always(kind) }]);
        let all = async || {
            for number in 1..=3 {
                assert_ne!(world.occurrence(number).await.unwrap()["state"], "held", "{kind:?}");
            }
            (world.sandbox.totals().accepted == 12).then_some(())
        };
        world.until("all is taken", all).await;
        assert_eq!(world.received(), [(3, 20)].into());
    }
}
