//! Quiet hours: whom they bind, and whose they are.

use haishin::domain::time::Span;
use haishin::protocol::Command;

use super::campaign;
use crate::support::world::{World, slug, user};

const SETTINGS: &str = "quiet_hours = \"22:00-23:00\"\nrate = 20\n";

/// Five friends every ten minutes from a quarter to ten on. After the first five somebody switches the quiet hours off, or
/// on, and the process dies: what is under way keeps those it was frozen with.
#[tokio::test]
async fn a_send_keeps_the_quiet_hours_that_it_was_frozen_with() {
    let off = "quiet_hours = \"off\"\nrate = 20\n";
    let evening = campaign("pace = \"5/10min\"").replace("18:00", "21:45");
    let campaigns = [("gift", &*evening)];
    for (frozen, running, expected) in
        [(SETTINGS, off, ["21", "21", "23", "23"]), (off, SETTINGS, ["21", "21", "22", "22"])]
    {
        let mut world = World::new("2026-12-04T21:44:59+09:00", frozen, &campaigns, 20).await;
        world.until_requests(1).await;
        world.apply_with(running, &campaigns).await;
        world.step = Span::from_secs(30);
        world
            .until("two are heard", async || (world.counts_of(1, "accepted").await == 10).then_some(()))
            .await;
        world.restart().await;
        world.step = Span::from_mins(1);
        world.until_state(1, "finished").await;
        let hours: Vec<_> = world
            .multicasts()
            .iter()
            .map(|request| request.at.in_zone(chrono_tz::Asia::Tokyo).format("%H").to_string())
            .collect();
        assert_eq!(hours, expected);
        assert_eq!(world.received(), [(1, 20)].into());
    }
}

/// Whoever works late wants to see the message now.
#[tokio::test]
async fn a_test_send_goes_out_at_night() {
    let draft = campaign("draft = true");
    let world = World::new("2026-12-04T22:30:00+09:00", SETTINGS, &[("gift", &draft)], 20).await;
    let test =
        Command::CampaignTestSend { campaign: slug("gift"), to: vec![user(1).to_string()], variant: None };
    world.done(test).await;
    world.pass(Span::from_secs(10)).await;
    assert_eq!(world.received(), [(1, 1)].into());
}
