//! A disk that runs full or breaks under a daemon that sends: no request leaves whose stride is not on it, nothing is
//! acknowledged that is not, and it goes on when there is room. What a power loss leaves is in `kill` and `kill_events`.

use std::collections::BTreeMap;
use std::sync::Arc;

use haishin::clock::{Clock as _, SetClock};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::UserId;
use haishin::domain::time::Span;
use haishin::protocol::Command;
use haishin::sandbox::Sandbox;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::daemon::{self, CHANNEL, Line, Shop, at, until};
use crate::support::power::{Disk, Power};
use crate::support::store::Database;
use crate::support::world::user;

const FRIENDS: u32 = 30_000;
/// Requests a second.
const RATE: u64 = 10;
const CAMPAIGN: &str = "title = \"gift\"\nreach = \"everyone\"\naudience = { status = \"following\" }\n\
    schedule = { at = \"2026-12-04 18:00:00\" }\nmessage = [{ type = \"text\", text = \"a gift\" }]\n";

struct Stage {
    shop: Shop,
    power: Arc<Power>,
    sandbox: Arc<Sandbox>,
    clock: Arc<SetClock>,
}

async fn stage() -> Stage {
    let line = Line::bind().await;
    let settings = format!("quiet_hours = \"off\"\nrate = {RATE}\n");
    let mut shop = Shop::new(Database::Sqlite, line.address, &settings).await;
    shop.write("campaigns/gift.toml", CAMPAIGN);
    let before = at("2026-12-04T17:00:00+09:00");
    let effect = Effect::Status { status: Status::Following, followed_at: Some(before) };
    let intake = |n| Intake { friend: user(n).into(), at: before, effect: effect.clone(), dedupe: None };
    let friends: Vec<Intake> = (0..FRIENDS).map(intake).collect();
    shop.stock(before, &friends).await;
    let power = shop.on_power();
    let sandbox = Line::sandbox(|_| ());
    let clock = Arc::new(SetClock::new(at("2026-12-04T17:59:59+09:00"), 1));
    // Served to the end of the test's runtime.
    let _ = line.serve(sandbox.clone(), clock.clone()).disarm();
    Stage { shop, power, sandbox, clock }
}

impl Stage {
    fn multicasts(&self) -> u64 {
        self.sandbox.totals().multicasts
    }

    async fn until_requests(&self, count: u64) {
        until("the requests come", async || (self.multicasts() >= count).then_some(())).await;
    }

    async fn pass(&self, span: Span) {
        let then = self.clock.now() + span;
        until("time passes", async || (self.clock.now() >= then).then_some(())).await;
    }

    async fn until_finished(&self) {
        let show = Command::OccurrenceList { campaign: None, limit: 1 };
        until("it has ended", async || {
            let list = self.shop.converse(show.clone()).await?;
            (list["occurrences"][0]["state"] == "finished").then_some(())
        })
        .await;
    }

    /// Everybody got it once, the books say so, and the file is whole.
    async fn check(&self) {
        let audit = self.sandbox.audit();
        assert_eq!((audit.duplicate_pairs, audit.without_key), (0, 0));
        assert_eq!((audit.keys_with_two_bodies, audit.keys_taken_twice), (vec![], vec![]));
        let received: BTreeMap<UserId, u32> = self.sandbox.received_counts(CHANNEL).unwrap();
        assert_eq!(received.len(), FRIENDS as usize);
        assert!(received.values().all(|times| *times == 1));
        let ledger = self.shop.ledger().await;
        assert_eq!(ledger.occurrences.len(), 1);
        let path = self.shop.url.strip_prefix("sqlite://").unwrap();
        let mut conn = SqliteConnection::connect(path).await.unwrap();
        let (integrity,): (String,) =
            sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut conn).await.unwrap();
        assert_eq!(integrity, "ok");
    }
}

/// While the disk is full what is open is sent and nothing else; then the same process goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_leaves_that_is_not_on_it() {
    let _alone = daemon::alone().await;
    let stage = stage().await;
    let mut daemon = stage.shop.started(stage.clock.now()).await;
    stage.until_requests(5).await;
    stage.power.turn(Disk::Full);
    // Two strides may be open, each of about a second of sending; then there is silence.
    let mut before = stage.multicasts();
    loop {
        stage.pass(Span::from_millis(1_500)).await;
        let now = stage.multicasts();
        if std::mem::replace(&mut before, now) == now {
            break;
        }
    }
    let opened = before;
    assert!(opened <= 5 + 4 * RATE, "{opened} requests left although nothing could be written");
    assert!(daemon.is_running(), "it waits for room");
    let log = stage.shop.log();
    assert!(log.contains("disk"), "it says what is wrong: {log}");
    stage.power.turn(Disk::Sound);
    stage.until_finished().await;
    assert!(daemon.is_running());
    daemon.terminate();
    stage.check().await;
}

/// Writes and syncs that fail now and then, and a power loss in the midst of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broken_disk_nobody_gets_it_twice_and_nobody_is_lost() {
    let _alone = daemon::alone().await;
    let stage = stage().await;
    for round in 1..=4 {
        let daemon = stage.shop.started(stage.clock.now()).await;
        stage.until_requests(round * 7).await;
        stage.power.turn(Disk::Broken);
        stage.pass(Span::from_millis(700)).await;
        daemon.kill();
        stage.power.turn(Disk::Sound);
    }
    let daemon = stage.shop.started(stage.clock.now()).await;
    stage.until_finished().await;
    daemon.terminate();
    stage.check().await;
}
