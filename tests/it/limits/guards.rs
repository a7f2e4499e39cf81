//! Guards that pause a campaign: three batches refused in a row, twenty user ids refused in one occurrence.

use haishin::domain::time::Span;
use haishin::protocol::Command;
use haishin::sandbox::{Fault, FaultKind};
use rstest::rstest;
use serde_json::{Value, json};

use super::stage::Stage;
use super::{SLOWLY, books, campaign, gift, paused_for, rejected};
use crate::support::store::Database;
use crate::support::world::{CHANNEL, slug, user};

fn refused(nth: &[u64]) -> Vec<Fault> {
    vec![Fault::nth(FaultKind::PayloadTooLarge, nth.iter().copied())]
}

#[tokio::test]
async fn the_third_rejected_batch_in_a_row_pauses_the_campaign() {
    let world = gift(SLOWLY, 25).await;
    world.sandbox.set_faults(refused(&[1, 2, 3]));
    world.until_state(1, "paused").await;
    assert_eq!(books(&world, 1).await, rejected(15, 10));
    assert_eq!(
        paused_for(&world).await,
        json!({ "code": "rejected_in_a_row", "batches": 3, "status": 413, "message": "" })
    );
    world.pass(Span::from_secs(60)).await;
    assert_eq!(world.multicasts().len(), 3);
    // Whoever lets it go on has looked: it takes three again.
    world.sandbox.set_faults(refused(&[1]));
    world.done(Command::CampaignResume { campaign: slug("gift") }).await;
    world.until_state(1, "finished").await;
    assert_eq!(books(&world, 1).await, json!({ "accepted": 5, "rejected": 20 }));
}

#[tokio::test]
async fn an_accepted_batch_between_begins_the_count_anew() {
    let world = gift(SLOWLY, 25).await;
    world.sandbox.set_faults(refused(&[1, 2, 4, 5]));
    world.until_state(1, "finished").await;
    assert_eq!(books(&world, 1).await, json!({ "accepted": 5, "rejected": 20 }));
    assert_eq!(paused_for(&world).await, Value::Null);
}

#[tokio::test]
async fn twenty_refused_user_ids_pause_the_campaign_and_nineteen_do_not() {
    for bad in [19, 20] {
        let world = gift("", 40).await;
        let refused: Vec<_> = (0..bad).map(user).collect();
        world.sandbox.refuse_users(CHANNEL, &refused, &[]).unwrap();
        if bad == 20 {
            world.until_state(1, "paused").await;
            assert_eq!(paused_for(&world).await, json!({ "code": "many_quarantined", "friends": 20 }));
            assert_eq!(books(&world, 1).await, rejected(20, 20));
            assert_eq!(world.received(), [].into());
            world.done(Command::CampaignResume { campaign: slug("gift") }).await;
        }
        world.until_state(1, "finished").await;
        assert_eq!(books(&world, 1).await, json!({ "accepted": 40 - bad, "rejected": bad }));
        assert_eq!(world.received(), [(1, (40 - bad) as usize)].into());
    }
}

/// The process dies between the second refusal and the third, and between the eleventh bad id and the twelfth.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_restart_forgets_no_refusal(#[case] database: Database) {
    let mut stage = Stage::new(database, &campaign(SLOWLY), 25).await;
    stage.sandbox.set_faults(refused(&[1, 2, 3]));
    stage.until_books(&rejected(10, 15)).await;
    stage.kill().await;
    stage.until_books(&rejected(15, 10)).await;
    let shown = stage.occurrence().await.unwrap();
    assert_eq!((&shown["state"], &shown["why"]["batches"]), (&json!("paused"), &json!(3)), "{shown}");
    // Nor does it forget that somebody looked.
    stage.done(Command::CampaignResume { campaign: slug("gift") }).await;
    stage.sandbox.set_faults(refused(&[1]));
    stage.kill().await;
    stage.until_books(&json!({ "accepted": 5, "rejected": 20 })).await;

    let mut stage = Stage::new(database, &campaign("pace = \"30/10s\""), 60).await;
    let bad: Vec<_> = (0..11).chain(30..39).map(user).collect();
    stage.sandbox.refuse_users(CHANNEL, &bad, &[]).unwrap();
    stage.until_books(&json!({ "accepted": 19, "rejected": 11, "not_yet_sent": 30 })).await;
    stage.kill().await;
    stage.until_books(&json!({ "accepted": 19, "rejected": 20, "not_yet_sent": 21 })).await;
    let shown = stage.occurrence().await.unwrap();
    assert_eq!(shown["why"], json!({ "code": "many_quarantined", "friends": 20 }), "{shown}");
}
