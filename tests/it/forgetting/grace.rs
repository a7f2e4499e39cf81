//! The day after an import, in which nothing is too old.

use haishin::clock::Clock as _;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::id::OccurrenceId;
use haishin::domain::time::Span;
use haishin::store::NewInbox;

use crate::support::store::Database;
use crate::support::world::{Setup, World, user};

/// Without caps nobody looks back at a send for longer than two days and its grace of two hours.
const SETTINGS: &str = "quiet_hours = \"off\"\nsame_content = \"off\"\nretention.sets = \"1d\"\n\
                        caps.daily.max = \"off\"\ncaps.weekly.max = \"off\"\n\
                        caps.advertising_weekly.max = \"off\"\ncaps.advertising_monthly.max = \"off\"\n";
const GIFT: &str = "title = \"gift\"\ncategory = \"service\"\naudience = { status = \"following\" }\n\
                    reach = \"everyone\"\nschedule = { at = \"2026-12-04 18:00\" }\n\
                    message = [{ type = \"text\", text = \"gift\" }]\n";

/// The sets of a send are kept as long as somebody looks back at them. Before that is over something is imported: they
/// stay until a day after that, in the process that took the import in and in one that starts after it.
#[tokio::test]
async fn an_import_keeps_what_is_old_for_a_day() {
    for restarts in [false, true] {
        let mut world = World::of(Setup {
            now: "2026-12-04T17:59:59+09:00",
            settings: SETTINGS,
            campaigns: vec![("gift".into(), GIFT.into())],
            accounts: vec![("shop", 20)],
            database: Database::Memory,
            seed: 0,
        })
        .await;
        world.until_state(1, "finished").await;
        world.step = Span::from_mins(10);
        world.pass(Span::from_hours(40)).await;
        let (account, at) = (world.row(0).await, world.clock.now());
        let tag = Effect::TagAdded { tag: "member".parse().unwrap() };
        let intakes = vec![Intake { friend: user(1).into(), at, effect: tag, dedupe: None }];
        let row = NewInbox { account, received_at: at, source: NewInbox::IMPORT.into(), intakes };
        world.test.store.append_inbox(vec![row]).await.unwrap();
        world.account(0).nudge();
        world.at_once("it is taken in", async || (world.status().await["inbox"] == 0).then_some(())).await;
        if restarts {
            world.restart().await;
        }
        let sets = async || {
            let sets = world.test.store.deliveries(account, OccurrenceId(1)).await.unwrap();
            sets.iter().map(|set| set.friends.len()).sum::<u64>()
        };
        world.pass(Span::from_hours(23)).await;
        assert_eq!(sets().await, 20, "they are old for half a day");
        world.pass(Span::from_hours(3)).await;
        assert_eq!(sets().await, 0);
    }
}
