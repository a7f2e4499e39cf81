//! What an engine meets beside LINE's answers: a database that falters or went back in time, a clock that jumps, a request
//! that comes to leave a day late. Each ends with nobody sent to twice, nobody lost and no cap broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use haishin::clock::Clock as _;
use haishin::config::{self, Source};
use haishin::domain::drip::RichMenuId;
use haishin::domain::id::UserId;
use haishin::domain::key::RetryKey;
use haishin::domain::reason::Reason;
use haishin::domain::time::{Instant, Span};
use haishin::engine::{Active, LEASE};
use haishin::line::{Answer, Api, Attempt, BotInfo, CallError, Quota, Validation};
use haishin::protocol::Command;
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::Claim;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::sync::watch;

use crate::support::faulty::Mishap;
use crate::support::ledger::Ledger;
use crate::support::store::Database;
use crate::support::world::{CHANNEL, Setup, World, slug, user};

const BEFORE: &str = "2026-12-04T17:59:59+09:00";
const PLAIN: &str = "quiet_hours = \"off\"\nrate = 20\n";
const SLOWLY: &str = "pace = \"5/10s\"";
const FRIENDS: u8 = 20;

fn gift(more: &str) -> String {
    format!(
        "{more}\ntitle = \"gift\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\n\
         schedule = {{ at = \"2026-12-04 18:00\" }}\nmessage = [{{ type = \"text\", text = \"a gift\" }}]\n"
    )
}

async fn world(more: &str) -> World {
    World::new(BEFORE, PLAIN, &[("gift", &gift(more))], FRIENDS).await
}

/// A way to LINE with doors: requests wait before they leave, or questions about the quota before they are answered.
struct Doors {
    line: Arc<dyn Api>,
    open: watch::Receiver<bool>,
    which: Door,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Requests,
    Quota,
}

impl Doors {
    async fn pass(&self, door: Door) {
        if door == self.which {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            // The test holds the other end.
            let _ = self.open.clone().wait_for(|open| *open).await;
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Api for Doors {
    async fn prepare(&self) -> Result<(), Answer> {
        self.pass(Door::Requests).await;
        Ok(())
    }
    async fn multicast(&self, key: RetryKey, body: Bytes) -> Attempt {
        self.line.multicast(key, body).await
    }
    async fn validate_multicast(&self, messages: &str) -> Result<Validation, CallError> {
        self.line.validate_multicast(messages).await
    }
    async fn quota(&self) -> Result<Quota, CallError> {
        let quota = self.line.quota().await;
        self.pass(Door::Quota).await;
        quota
    }
    async fn consumption(&self) -> Result<u64, CallError> {
        self.line.consumption().await
    }
    async fn link_rich_menu(&self, menu: Option<&RichMenuId>, users: &[UserId]) -> Result<(), CallError> {
        self.line.link_rich_menu(menu, users).await
    }
    async fn bot_info(&self) -> Result<BotInfo, CallError> {
        self.line.bot_info().await
    }
}

/// A closed door, and who stands before it.
struct Closed {
    door: watch::Sender<bool>,
    waiting: Arc<AtomicUsize>,
}

impl Closed {
    /// Starts the world's engine anew behind it.
    async fn before(world: &mut World, which: Door) -> Self {
        let (door, open) = watch::channel(false);
        let waiting = Arc::<AtomicUsize>::default();
        let counted = waiting.clone();
        world.kill(0).await;
        world.through(0, |line| Arc::new(Doors { line, open, which, waiting: counted }));
        world.start(0).await.unwrap();
        Self { door, waiting }
    }

    async fn until_waiting(&self, world: &World) {
        let waiting = async || (self.waiting.load(Ordering::SeqCst) > 0).then_some(());
        world.until("somebody stands before the door", waiting).await;
    }

    /// Opens, and lets everybody through before anything else happens.
    async fn open(&self) {
        self.door.send_replace(true);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.waiting.load(Ordering::SeqCst), 0);
    }
}

// ---- a request that leaves late --------------------------------------------------------------------------------

/// Between the decision to send and the network lies a token that may have to be issued, and a process that may be
/// stopped. A request that was to leave then does not leave any more when it should not.
#[tokio::test]
async fn a_request_that_comes_to_leave_too_late_stays() {
    let quiet = "quiet_hours = \"18:01-08:00\"\nrate = 20\n";
    let deadline = gift("").replace("18:00\" }", "18:00\", deadline = \"2026-12-04 18:00:01\" }");
    for (settings, campaign, span) in [
        // The key is older than LINE's memory of it, the lease long over.
        (PLAIN, gift(""), Span::from_hours(25)),
        // Not long enough for the lease, but for the deadline.
        (PLAIN, deadline, Span::from_millis(1_500)),
        (quiet, gift("").replace("18:00\"", "18:00:59\""), Span::from_millis(1_500)),
    ] {
        let mut world = World::new(BEFORE, settings, &[("gift", &campaign)], FRIENDS).await;
        let closed = Closed::before(&mut world, Door::Requests).await;
        closed.until_waiting(&world).await;
        world.clock.advance(span);
        closed.open().await;
        world.pass(Span::from_secs(30)).await;
        assert_eq!(world.multicasts(), [], "after {span:?}");
        let counts = world.counts(1).await;
        assert_eq!(counts["accepted"], 0, "{counts}");
    }
}

#[tokio::test]
async fn a_request_that_leaves_in_time_leaves() {
    let mut world = world("").await;
    let closed = Closed::before(&mut world, Door::Requests).await;
    closed.until_waiting(&world).await;
    world.clock.advance(Span::from_millis(1_500));
    closed.open().await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
    assert_eq!(world.multicasts().len(), 1);
}

/// A stride is written, but its owner hears of it only when the lease is over and somebody else has the account: it
/// does not come as far as the door.
#[tokio::test]
async fn who_hears_of_a_stride_when_the_lease_is_over_does_not_try() {
    let mut world = world("").await;
    let closed = Closed::before(&mut world, Door::Requests).await;
    let store = world.account(0).account.store.clone();
    let account = world.row(0).await;
    for nth in 1.. {
        store.strike(1, Mishap::StuckAfter);
        world.until("a write is stuck", async || store.holds().then_some(())).await;
        let ledger = Ledger::read(world.test.store.as_ref(), account).await;
        if ledger.occurrences.first().is_some_and(|one| one.mark() > 0) {
            break;
        }
        assert!(nth < 20, "there is no stride");
        store.release();
        world.at_once("it goes on", async || (!store.holds()).then_some(())).await;
    }
    world.clock.advance(LEASE);
    let claimed = world.test.store.claim(account, "another", world.clock.now(), LEASE).await.unwrap();
    assert!(matches!(claimed, Claim::Granted { .. }), "{claimed:?}");
    assert_eq!(closed.waiting.load(Ordering::SeqCst), 0);
    store.release();
    world.at_once("it goes on", async || (!store.holds()).then_some(())).await;
    world.pass(Span::from_secs(3)).await;
    assert_eq!(closed.waiting.load(Ordering::SeqCst), 0, "it came as far as the door");
    assert_eq!(world.multicasts(), []);
}

// ---- a database that falters -----------------------------------------------------------------------------------

/// Runs `meanwhile` while the engine is stuck in a commit, and lets its lease's renewal, first thing in its next turn,
/// fail: everything that came in meanwhile comes with a turn that fails.
async fn with_a_turn_that_fails(world: &World, meanwhile: impl Future<Output = ()>) {
    let account = world.account(0);
    let store = &account.account.store;
    store.strike(1, Mishap::StuckBefore);
    let pause = Command::CampaignPause { campaign: slug("other") };
    let (answered, ()) = tokio::join!(account.ask_once(pause), async {
        store.stuck().await;
        meanwhile.await;
        store.strike(1, Mishap::Refused);
        world.clock.advance(Span::from_secs(3));
        store.release();
    });
    assert!(answered.is_some());
    world.until("the renewal failed", async || (store.struck().len() == 2).then_some(())).await;
    assert_eq!(store.struck()[1], (Mishap::Refused, vec!["renew"]));
}

fn other() -> (&'static str, String) {
    ("other", gift("").replace("gift", "other").replace("12-04 18:00", "12-24 18:00"))
}

#[tokio::test]
async fn an_answer_about_the_quota_that_is_lost_with_a_turn_is_asked_for_again() {
    let mut world = World::new(BEFORE, PLAIN, &[("gift", &gift("")), (other().0, &other().1)], FRIENDS).await;
    let closed = Closed::before(&mut world, Door::Quota).await;
    closed.until_waiting(&world).await;
    with_a_turn_that_fails(&world, closed.open()).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
}

fn another_version(world: &World, files: &[(&str, String)]) -> Active {
    let mut source = Source::default();
    for (path, text) in files {
        source.files.insert((*path).into(), text.clone());
    }
    let checked = config::parse(&source, world.clock.now());
    let configuration =
        Arc::new(checked.configuration.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics)));
    let version = haishin::domain::id::VersionId(world.active().version.0 + 1);
    Active { version, activated_at: world.clock.now(), configuration }
}

fn main_file(account: &str) -> (&'static str, String) {
    let main = format!(
        "{PLAIN}[accounts.{account}]\nchannel_id = \"{CHANNEL}\"\nchannel_secret = {{ env = \"UNUSED\" }}\n\
         api_base = \"http://127.0.0.1:1\"\n"
    );
    ("haishin.toml", main)
}

#[tokio::test]
async fn a_configuration_that_went_live_is_not_lost_with_a_turn() {
    let world = World::new(BEFORE, PLAIN, &[("gift", &gift("")), (other().0, &other().1)], FRIENDS).await;
    let active = another_version(&world, &[main_file("shop"), ("campaigns/other.toml", other().1)]);
    with_a_turn_that_fails(&world, world.account(0).activated(active)).await;
    let version = async || (world.status().await["config_version"] == 2).then_some(());
    world.until("the new version runs", version).await;
}

/// What is open is sent to its end, and not a bit faster: LINE's limit is no less LINE's.
#[tokio::test]
async fn an_account_that_the_configuration_no_longer_has_keeps_its_rate() {
    let setup = Setup {
        now: BEFORE,
        settings: PLAIN,
        campaigns: vec![("gift".into(), gift(""))],
        accounts: vec![("shop", 20_000)],
        database: Database::Sqlite,
        seed: 0,
    };
    let world = World::of(setup).await;
    world.until_requests(4).await;
    world.account(0).activated(another_version(&world, &[main_file("another")])).await;
    world.pass(Span::from_secs(1)).await;
    let before = world.multicasts().len();
    world.pass(Span::from_millis(500)).await;
    let sent = world.multicasts().len() - before;
    assert!((1..=12).contains(&sent), "{sent} requests in half a second at 20 a second");
}

async fn set_fence(world: &World, seq: i64) {
    let mut connection = sqlx::SqliteConnection::connect(&world.test.url).await.unwrap();
    let set = sqlx::query("UPDATE account_lease SET seq = $1").bind(seq).execute(&mut connection).await;
    assert_eq!(set.unwrap().rows_affected(), 1);
}

/// Why the account stands still, by its row: its engine may be waiting for time to pass.
async fn stopped(world: &World) -> Option<Reason> {
    let row = world.test.store.account(world.row(0).await).await.unwrap().unwrap();
    row.stopped.map(|halt| halt.reason)
}

/// A database that lost exactly the freeze, as a failover may that had not copied the last commit.
/// What is asked while the database is away is not done when it is back: by then somebody may have wanted something else.
#[tokio::test]
async fn what_was_asked_in_an_outage_is_not_done_after_it() {
    let mut world = world("").await;
    world.done(Command::Stop { reason: "a doubt".into() }).await;
    let store = world.account(0).account.store.clone();
    for nth in 1..=3 {
        store.strike(nth, Mishap::Refused);
    }
    world.clock.advance(Span::from_secs(3));
    world.at_once("the lease cannot be renewed", async || store.has_failed().then_some(())).await;
    let (rows, _listing) = tokio::sync::mpsc::channel(1);
    let start = Command::Start { due: Some(haishin::protocol::DueChoice::Judge) };
    let mut answered = world.account(0).begin(start, rows).await;
    world.step = Span::from_secs(1);
    let dropped = tokio::sync::oneshot::error::TryRecvError::Closed;
    let told = async || (answered.try_recv().err().as_ref() == Some(&dropped)).then_some(());
    world.until("whoever asked is told to ask again", told).await;
    assert_ne!(world.status().await["stopped"], Value::Null);
}

#[tokio::test]
async fn a_start_notices_that_the_last_freeze_is_gone() {
    for (lost, noticed) in [(0, false), (1, true), (2, true)] {
        let mut world = world(SLOWLY).await;
        world.until_requests(1).await;
        world.kill(0).await;
        set_fence(&world, world.ticket(0) - lost).await;
        world.start(0).await.unwrap();
        world.status().await;
        assert_eq!(
            stopped(&world).await == Some(Reason::DatabaseWentBack),
            noticed,
            "{lost} transactions are gone"
        );
    }
}

/// The same under a running engine: it reconnects to an older database, and what it knows itself tells it so, even
/// where the first attempt to write that down fails.
#[tokio::test]
async fn a_running_engine_notices_that_its_database_went_back_in_time() {
    for mishap in [None, Some(Mishap::Refused), Some(Mishap::LostBefore)] {
        let world = world(SLOWLY).await;
        world.until_requests(1).await;
        let lease = world.test.store.lease(world.row(0).await).await.unwrap().unwrap();
        set_fence(&world, lease.seq - 2).await;
        // The commit that is fenced off, the claim, and then the note.
        mishap.into_iter().for_each(|mishap| world.account(0).account.store.strike(3, mishap));
        world
            .until("it stops", async || {
                (stopped(&world).await == Some(Reason::DatabaseWentBack)).then_some(())
            })
            .await;
        let sent = world.multicasts().len();
        world.pass(Span::from_secs(30)).await;
        assert_eq!(world.multicasts().len(), sent);
    }
}

// ---- a clock that jumps ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_clock_set_back_in_the_middle_of_a_send_stops_it_until_it_has_caught_up() {
    let mut world = world(SLOWLY).await;
    world.until_requests(2).await;
    world.clock.jump(world.clock.now() - Span::from_mins(5));
    world.step = Span::from_millis(500);
    world.pass(Span::from_secs(120)).await;
    assert_eq!(world.multicasts().len(), 2);
    assert_eq!(world.status().await["clock_behind"], true);
    world.until_state(1, "finished").await;
    assert_eq!(world.received(), [(1, 20)].into());
}

/// A key's age is the larger of what both clocks say: LINE's memory may be over, so nothing in doubt is tried again.
#[tokio::test]
async fn a_clock_set_forward_past_a_keys_life_leaves_what_is_in_doubt_to_a_person() {
    let world = world("").await;
    world.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    world.until_requests(2).await;
    world.clock.jump(world.clock.now() + Span::from_hours(30));
    world.sandbox.set_faults(vec![]);
    world.until_state(1, "finished").await;
    let counts = world.counts(1).await;
    assert_eq!((&counts["unknown"], &counts["accepted"]), (&json!(20), &json!(0)));
    assert_eq!(world.received(), [(1, 20)].into());
}

// ---- books and caps --------------------------------------------------------------------------------------------

/// A friend whose message went out in a child batch before a pause counts on that day, before and after a restart.
#[tokio::test]
async fn a_child_batch_counts_when_the_batch_it_was_cut_from_counts() {
    let settings = "quiet_hours = \"off\"\nrate = 20\n[caps.weekly]\nmax = \"off\"\n\
                    [caps.advertising_weekly]\nmax = \"off\"\n";
    let campaigns = [("gift", &*gift(SLOWLY)), (other().0, &*other().1)];
    let mut world = World::new(BEFORE, settings, &campaigns, FRIENDS).await;
    world.sandbox.refuse_users(CHANNEL, &[user(2)], &[]).unwrap();
    world
        .until("the child went out", async || (world.counts_of(1, "accepted").await == 4).then_some(()))
        .await;
    world.done(Command::CampaignPause { campaign: slug("gift") }).await;
    world.clock.advance(Span::from_hours(16));
    world.done(Command::CampaignResume { campaign: slug("gift") }).await;
    world.until_state(1, "finished").await;
    assert_eq!(world.counts(1).await["accepted"], 19);
    // One a day: on the next day there is room for those four alone.
    let preview = Command::CampaignPreview { campaigns: vec![slug("other")], now: None, friends: true };
    let before = world.done(preview.clone()).await["decisions"].clone();
    assert_eq!(before[0]["recipients"], 4, "{before}");
    world.kill(0).await;
    world.start(0).await.unwrap();
    assert_eq!(world.done(preview).await["decisions"], before, "the same after a restart");
}

/// What a cancellation tells is what the books say when it is over: a batch that was tried is no more released for
/// having been refused each time.
#[tokio::test]
async fn a_cancellation_tells_what_the_books_will_say() {
    let world = world("").await;
    world.sandbox.set_faults(vec![Fault::always(FaultKind::RateLimited)]);
    world.until_requests(3).await;
    let told = world.done(Command::CampaignCancel { campaign: slug("gift") }).await;
    world
        .until("its end", async || (world.occurrence(1).await?["finished_at"] != Value::Null).then_some(()))
        .await;
    let counts = world.counts(1).await;
    assert_eq!(told, json!({ "campaign": "gift", "sent": 0, "possibly_sent": 20, "released": 0 }));
    assert_eq!((&counts["unknown"], &counts["cancelled"]), (&json!(20), &json!(0)));
}

/// Requests that are under way when everything is stopped are heard out, however it is stopped; what is told of them is
/// that they may arrive.
#[tokio::test]
async fn what_is_under_way_at_a_stop_is_heard() {
    let slow = || vec![Fault::nth(FaultKind::Slow { ms: 4_000 }, [2])];
    for stop in ["pause", "cancel", "stop", "deadline"] {
        let deadline = gift(SLOWLY).replace("18:00\" }", "18:00\", deadline = \"2026-12-04 18:00:12\" }");
        let campaign = if stop == "deadline" { deadline } else { gift(SLOWLY) };
        let world = World::new(BEFORE, PLAIN, &[("gift", &campaign)], FRIENDS).await;
        world.sandbox.set_faults(slow());
        world.until_requests(2).await;
        assert_eq!(world.counts_of(1, "accepted").await, 5, "the second is under way");
        match stop {
            "pause" => drop(world.done(Command::CampaignPause { campaign: slug("gift") }).await),
            "cancel" => {
                let told = world.done(Command::CampaignCancel { campaign: slug("gift") }).await;
                assert_eq!(
                    (&told["sent"], &told["possibly_sent"], &told["released"]),
                    (&json!(5), &json!(5), &json!(10))
                );
            }
            "stop" => {
                let told = world.done(Command::Stop { reason: "a doubt".into() }).await;
                assert_eq!(told["in_flight"], 1);
            }
            _ => {}
        }
        world.pass(Span::from_secs(30)).await;
        let counts = world.counts(1).await;
        assert_eq!((world.multicasts().len(), &counts["accepted"]), (2, &json!(10)), "{stop}: {counts}");
        let rest = match stop {
            "cancel" => "cancelled",
            "deadline" => "expired",
            _ => "not_yet_sent",
        };
        assert_eq!(counts[rest], 10, "{stop}: {counts}");
        assert_eq!(world.received(), [(1, 10)].into());
    }
}

#[tokio::test]
async fn two_test_sends_in_the_same_moment_are_two() {
    let world = world("").await;
    for to in [1, 1, 2] {
        let to = vec![user(to).to_string()];
        world.done(Command::CampaignTestSend { campaign: slug("gift"), to, variant: None }).await;
    }
    for number in 1..=3 {
        world.until_state(number, "finished").await;
        assert_eq!(world.counts_of(number, "accepted").await, 1);
    }
    let got = world.sandbox.received(CHANNEL, &user(1)).unwrap();
    assert_eq!(got.len(), 2, "each test send is one, also to the same friend");
}

/// One occurrence a turn: what was missed in an hour is caught up while the lease is renewed and answers are heard.
#[tokio::test]
async fn sixty_missed_instants_to_be_caught_up_are_each_sent_once() {
    let often = "title = \"often\"\naudience = { status = \"following\" }\nreach = \"everyone\"\ncategory = \"service\"\n\
                 schedule = { cron = \"* 18 * * *\", if_missed = \"all\", grace = \"3h\" }\n\
                 message = [{ type = \"text\", text = \"x\" }]\n";
    let settings = format!("same_content = \"off\"\n{PLAIN}");
    let mut world = World::new("2026-12-04T17:59:30+09:00", &settings, &[("often", often)], FRIENDS).await;
    world.kill(0).await;
    world.clock.advance(Span::from_mins(100));
    world.start(0).await.unwrap();
    let six = Instant::try_from("2026-12-04T18:00:00+09:00".to_owned()).unwrap();
    for n in 1..=60 {
        world.until_state(n, "finished").await;
        assert_eq!(world.occurrence(n).await.unwrap()["due_at"], json!(six + Span::from_mins(n - 1)));
        assert_eq!(world.counts_of(n, "accepted").await, 20);
    }
    assert_eq!(world.received(), [(60, 20)].into());
}
