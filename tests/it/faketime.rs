//! The real process on the machine's clock, which others set: by a second and by hours, forwards and back, in the middle of a
//! send. Everybody gets it once; while the clock is behind nothing leaves until a person takes it as right.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use haishin::clock::{Clock as _, SetClock};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::Status;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::{Command, DueChoice};
use haishin::sandbox::Sandbox;

use crate::support::daemon::{self, CHANNEL, Line, Shop, at, until};
use crate::support::store::Database;
use crate::support::world::user;

const FRIENDS: u32 = 16_000;
/// Requests a second.
const RATE: u64 = 2;
const CAMPAIGN: &str = "title = \"gift\"\nreach = \"everyone\"\naudience = { status = \"following\" }\n\
    schedule = { at = \"2026-12-04 18:00:00\" }\nmessage = [{ type = \"text\", text = \"a gift\" }]\n";
/// One after the other; back by more than a minute is not believed.
const JUMPS: [i64; 9] = [1, -1, 30, -40, 600, -300, 6 * 3_600, -6 * 3_600, -90];

/// The clock that the process sees.
struct Faked {
    file: PathBuf,
    /// True time, for LINE too.
    truth: Arc<SetClock>,
    ahead: i64,
}

impl Faked {
    fn now(&self) -> Instant {
        self.truth.now() + Span::from_secs(self.ahead)
    }

    /// From now on the clock goes on from there.
    fn jump(&mut self, seconds: i64) {
        self.ahead += seconds;
        let text = format!("@{}", self.now().utc().format("%Y-%m-%d %H:%M:%S"));
        let part = self.file.with_extension("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(part, &self.file).unwrap();
    }
}

fn library() -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faketime/libfaketime.so.1");
    assert!(library.exists(), "libfaketime is missing: run tests/install-faketime");
    library
}

async fn behind(shop: &Shop) -> Option<bool> {
    shop.converse(Command::Status).await?["accounts"][0]["clock_behind"].as_bool()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sets_the_clock_everybody_gets_it_once() {
    let _alone = daemon::alone().await;
    let line = Line::bind().await;
    let settings = format!("quiet_hours = \"off\"\nrate = {RATE}\n");
    let mut shop = Shop::new(Database::Sqlite, line.address, &settings).await;
    shop.write("campaigns/gift.toml", CAMPAIGN);
    let before = at("2026-12-04T17:00:00+09:00");
    let effect = Effect::Status { status: Status::Following, followed_at: Some(before) };
    let intake = |n| Intake { friend: user(n).into(), at: before, effect: effect.clone(), dedupe: None };
    shop.stock(before, &(0..FRIENDS).map(intake).collect::<Vec<_>>()).await;

    let truth = Arc::new(SetClock::new(at("2026-12-04T17:59:56+09:00"), 1));
    let directory = tempfile::tempdir().unwrap();
    let mut clock = Faked { file: directory.path().join("clock"), truth: truth.clone(), ahead: 0 };
    clock.jump(0);
    shop.on_machine_clock(&[
        ("LD_PRELOAD", library().to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.file.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("TZ", "UTC"),
    ]);
    let sandbox: Arc<Sandbox> = Line::sandbox(|_| ());
    // Served to the end of the test's runtime.
    let _ = line.serve(sandbox.clone(), truth).disarm();
    let daemon = shop.started(clock.now()).await;
    for jump in JUMPS {
        let requests = sandbox.totals().multicasts;
        until("a request", async || (sandbox.totals().multicasts > requests).then_some(())).await;
        clock.jump(jump);
        if jump > -60 {
            continue;
        }
        until("it is found to be behind", async || behind(&shop).await.filter(|behind| *behind)).await;
        let (requests, then) = (sandbox.totals().multicasts, clock.truth.now() + Span::from_secs(2));
        until("time passes", async || (clock.truth.now() >= then).then_some(())).await;
        assert!(sandbox.totals().multicasts <= requests + 1, "requests left by a clock that is not believed");
        let accept = Command::AcceptClock { due: Some(DueChoice::Judge) };
        until("it is taken as right", async || shop.converse(accept.clone()).await).await;
    }
    until("it has ended", async || {
        let list = shop.converse(Command::OccurrenceList { campaign: None, limit: 9 }).await?;
        (list["occurrences"][0]["state"] == "finished").then_some(())
    })
    .await;
    daemon.terminate();
    let audit = sandbox.audit();
    assert_eq!((audit.duplicate_pairs, audit.keys_with_two_bodies.len(), audit.without_key), (0, 0, 0));
    let received = sandbox.received_counts(CHANNEL).unwrap();
    assert_eq!(received.len(), FRIENDS as usize);
    assert!(received.values().all(|times| *times == 1));
    assert_eq!(shop.ledger().await.occurrences.len(), 1, "it was due once");
}
