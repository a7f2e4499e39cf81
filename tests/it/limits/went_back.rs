//! A database that went back in time, and is claimed by daemons that fail before they can hold anything.

use haishin::protocol::{Command, DueChoice};
use rstest::rstest;
use serde_json::Value;

use super::{BEFORE, PLAIN, campaign, gift};
use crate::support::faulty::Mishap;
use crate::support::store::Database;
use crate::support::world::{Setup, World, slug, user};

/// However many claims fail, or are made and not heard of, before anything can be held: each of them moves the database's
/// number on, and one of them past what this machine knows.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_database_that_went_back_is_held_however_often_it_is_claimed(#[case] database: Database) {
    let mut world = World::of(Setup {
        now: BEFORE,
        settings: PLAIN,
        campaigns: vec![("gift".into(), campaign(""))],
        accounts: vec![("shop", 20)],
        database,
        seed: 0,
    })
    .await;
    world.until_state(1, "finished").await;
    world.kill(0).await;
    let before = world.ticket(0) - 2;
    world.test.by_hand(&format!("UPDATE account_lease SET seq = {before}")).await;
    for nth in 1..=4 {
        world.account(0).account.store.strike(nth, Mishap::LostAfter);
    }
    for _ in 1..=4 {
        assert!(world.start(0).await.is_err(), "the claim is not heard of");
    }
    world.start(0).await.unwrap();
    let reason = async || world.status().await["stopped"]["why"]["code"].as_str().map(str::to_owned);
    assert_eq!(world.at_once("it stands still", reason).await, "database_went_back");
    world.restart().await;
    assert_eq!(world.status().await["stopped"]["why"]["code"], "database_went_back");
    world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
    world.restart().await;
    assert_eq!(world.status().await["stopped"], Value::Null, "a person has looked");
}

/// A full state directory, say: what could not be noted while the account was held is noted when a person has looked.
#[tokio::test]
async fn whoever_has_looked_is_not_asked_again_though_nothing_could_be_noted_before() {
    let mut world = gift("", 20).await;
    world.until_state(1, "finished").await;
    world.kill(0).await;
    std::fs::write(world.state_dir().join("shop.seq"), "1000000").unwrap();
    let in_the_way = world.state_dir().join("shop.seq.new");
    std::fs::create_dir(&in_the_way).unwrap();
    world.start(0).await.unwrap();
    assert_eq!(world.status().await["stopped"]["why"]["code"], "database_went_back");
    assert_eq!(world.ticket(0), 1_000_000);
    std::fs::remove_dir(&in_the_way).unwrap();
    world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
    world.restart().await;
    assert_eq!(world.status().await["stopped"], Value::Null);
}

/// A test send is frozen like any other, and a database without it has gone back in time.
#[tokio::test]
async fn a_test_send_is_noted_beside_the_database() {
    let world = gift("", 20).await;
    world.until_state(1, "finished").await;
    let (before, test) = (
        world.ticket(0),
        Command::CampaignTestSend { campaign: slug("gift"), to: vec![user(1).to_string()], variant: None },
    );
    world.done(test).await;
    assert!(world.ticket(0) > before);
}

/// A copy of the database from before the freeze, or from before the stride, would send anew: each is noted before the
/// next thing happens.
#[tokio::test]
async fn a_freeze_and_a_stride_are_each_noted_beside_the_database() {
    const QUOTA_FREEZE: u64 = 2;
    for (nth, next) in [(QUOTA_FREEZE + 1, "stride"), (QUOTA_FREEZE + 2, "batches")] {
        let world = gift("", 20).await;
        let store = world.account(0).account.store.clone();
        store.strike(nth, Mishap::StuckBefore);
        world.until("what comes next is to be written", async || store.holds().then_some(())).await;
        assert!(store.struck()[0].1.contains(&next), "{:?}", store.struck());
        let lease = world.test.store.lease(world.row(0).await).await.unwrap().unwrap();
        assert_eq!(world.ticket(0), lease.seq, "before the {next}");
        store.release();
    }
}
