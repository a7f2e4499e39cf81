//! Backups of a database at work, and the way back.

mod kills;
mod marks;
mod mistakes;
mod stale;

use std::path::PathBuf;
use std::sync::Arc;

use haishin::clock::SetClock;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::id::UserId;
use haishin::domain::time::{Instant, Span};
use haishin::sandbox::{Sandbox, Settings};
use rstest::rstest;
use serde_json::{Value, json};
use tokio_util::sync::DropGuard;

use crate::support::daemon::{Line, Shop, at, until};
use crate::support::store::Database;

const FRIENDS: u16 = 1_000;
const NOON: &str = "2026-12-04T12:00:00+09:00";
const BEFORE_SIX: &str = "2026-12-04T17:59:58+09:00";
const LATER: &str = "2026-12-04T18:30:00+09:00";

fn friends(now: Instant) -> Vec<Intake> {
    let follow = |n: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let effect = Effect::Status { status: Status::Following, followed_at: None };
        Intake { friend: UserId(id).into(), at: now - Span::from_days(2), effect, dedupe: None }
    };
    (0..FRIENDS).map(follow).collect()
}

/// A shop, and LINE as it has it.
struct World {
    shop: Shop,
    sandbox: Arc<Sandbox>,
    _serving: DropGuard,
}

/// A thousand friends who are to get a letter at six, a hundred a second.
async fn world(database: Database, settings: &str, settle: impl FnOnce(&mut Settings)) -> World {
    let line = Line::bind().await;
    let shop = Shop::new(database, line.address, &format!("quiet_hours = \"off\"\n{settings}")).await;
    shop.write(
        "campaigns/letter.toml",
        "title = \"letter\"\naudience = { status = \"following\" }\nreach = \"everyone\"\npace = \"100/1s\"\n\
         schedule = { at = \"2026-12-04 18:00\" }\nmessage = [{ type = \"text\", text = \"hello\" }]\n",
    );
    shop.stock(at(NOON), &friends(at(NOON))).await;
    let sandbox = Line::sandbox(settle);
    let serving = line.serve(sandbox.clone(), Arc::new(SetClock::new(at(BEFORE_SIX), 1)));
    World { shop, sandbox, _serving: serving }
}

impl World {
    async fn until_sent(&self) {
        until("the letter is sent", async || {
            let list = self.shop.ask(&["occurrence", "list"])?;
            (list["occurrences"][0]["state"] == "finished").then_some(())
        })
        .await;
    }

    async fn status(&self) -> Value {
        until("the daemon answers", async || {
            let status = self.shop.ask(&["status"])?;
            Some(status["accounts"][0].clone())
        })
        .await
    }

    /// Returns when the daemon's clock has moved on by some seconds, in which it sent nothing.
    async fn nothing_leaves(&self) {
        let requests = self.sandbox.totals().requests;
        let instant = |status: &Value| at(status["now"].as_str().unwrap());
        let began = instant(&self.status().await);
        until("some seconds are over", async || {
            (instant(&self.status().await) - began > Span::from_secs(3)).then_some(())
        })
        .await;
        assert_eq!(self.sandbox.totals().requests, requests, "something left before a person had looked");
    }

    /// Nobody got it twice, everybody got it, and the books say so.
    async fn once_each(&self, occurrence: &str) {
        let audit = self.sandbox.audit();
        assert_eq!(
            (audit.duplicate_pairs, audit.keys_with_two_bodies),
            (0, vec![]),
            "{:?}",
            audit.duplicates
        );
        assert_eq!(self.sandbox.totals().messages, u64::from(FRIENDS));
        let shown = until("it is shown", async || self.shop.ask(&["occurrence", "show", occurrence])).await;
        assert_eq!(shown["books"]["balanced"], true, "{shown}");
        assert_eq!(shown["books"]["counts"]["accepted"], FRIENDS, "{shown}");
    }

    /// What lies in the state directory of a machine that has never seen this database before.
    fn forget_machine(&self) {
        for name in ["shop.seq", "node-id", "last-backup.json"] {
            std::fs::remove_file(self.shop.state().join(name)).unwrap();
        }
    }
}

fn path_of(backup: &Value) -> PathBuf {
    backup["path"].as_str().unwrap().into()
}

/// A backup of a daemon in the middle of a send: the send goes on; restored when all of it is over, what was open waits
/// for a person, and what LINE has it does not take again.
#[rstest]
#[case::on_the_same_machine(false)]
#[case::on_another_machine(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_in_the_middle_of_a_send_it_comes_back_held_and_nobody_gets_it_twice(#[case] elsewhere: bool) {
    let world = world(Database::Sqlite, "", |_| ()).await;
    let shop = &world.shop;
    let folder = shop.folder("backups");
    let daemon = shop.started(at(BEFORE_SIX)).await;
    until("some batches are out", async || (world.sandbox.totals().multicasts >= 3).then_some(())).await;
    let backup = shop.json(&["backup", folder.to_str().unwrap()]);
    assert_eq!(
        (&backup["friends"], &backup["accounts"][0]["open"]),
        (&json!(FRIENDS), &json!(1)),
        "{backup}"
    );
    assert!(
        world.sandbox.totals().messages < u64::from(FRIENDS),
        "the backup came too late to be in the middle"
    );
    let path = path_of(&backup);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), backup["bytes"].as_u64().unwrap());
    assert_eq!(crate::support::shop::mode(&path), 0o600);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left there");

    world.until_sent().await;
    let refused = shop.run(&["restore", "--yes", path.to_str().unwrap()]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("a daemon runs on this state directory: stop it first"), "{refused:?}");
    daemon.terminate();

    if elsewhere {
        world.forget_machine();
    }
    let restored = shop.json(&["restore", "--yes", path.to_str().unwrap()]);
    assert_eq!(restored["held"][0]["occurrences"], json!([1]), "{restored}");
    assert!(restored["kept"].as_str().is_some_and(|kept| PathBuf::from(kept).exists()), "{restored}");
    let daemon = shop.started(at(LATER)).await;
    let status = world.status().await;
    assert_eq!(status["stopped"]["why"]["code"], "restored", "{status}");
    assert_eq!(status["open"][0]["state"], "held", "{status}");
    assert_eq!(status["open"][0]["why"]["code"], "restored", "{status}");
    assert_eq!(shop.run(&["status"]).code, 3);
    world.nothing_leaves().await;
    // Started, the account sends what is due from now on; what was open still waits for its own word.
    assert_eq!(shop.json(&["start"])["started"], true);
    world.nothing_leaves().await;
    shop.json(&["occurrence", "resolve", "1", "--held", "send"]);
    world.until_sent().await;
    world.once_each("1").await;
    daemon.terminate();
    // A person has looked: the next start holds nothing.
    let daemon = shop.started(at("2026-12-04T18:40:00+09:00")).await;
    assert_eq!(world.status().await["stopped"], Value::Null);
    daemon.terminate();
}

/// Yesterday's backup, restored after today's send: what is due again waits, and goes out under the same keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_out_after_the_backup_waits_and_meets_its_own_keys() {
    let world = world(Database::Sqlite, "", |_| ()).await;
    let shop = &world.shop;
    // Without a daemon, and without a name: beside the database.
    let backup = shop.json(&["backup"]);
    let path = path_of(&backup);
    assert_eq!(path.parent().unwrap(), shop.state().join("backups"));
    let daemon = shop.started(at(BEFORE_SIX)).await;
    world.until_sent().await;
    daemon.terminate();
    assert_eq!(world.sandbox.totals().messages, u64::from(FRIENDS));

    let said = shop.run(&["restore", path.to_str().unwrap(), "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("transactions and 1 occurrences further on"), "{said:?}");
    let daemon = shop.started(at(LATER)).await;
    assert_eq!(world.status().await["open"], json!([]));
    world.nothing_leaves().await;
    let listed = shop.run(&["--json", "start"]);
    let fell_due: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!((listed.code, &fell_due["fell_due"][0]["campaign"]), (3, &json!("letter")), "{listed:?}");
    world.nothing_leaves().await;
    let before = world.sandbox.totals();
    assert_eq!(shop.json(&["start", "--due", "judge"])["started"], true);
    world.until_sent().await;
    world.once_each("1").await;
    let after = world.sandbox.totals();
    assert_eq!(after.multicasts - before.multicasts, 10, "each batch was asked for, and LINE had it");
    daemon.terminate();
}
