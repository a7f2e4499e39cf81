//! An installation that goes on for years: a message to everybody every day, carts that start a drip, and what is past goes.
//! Memory, tasks and the file do not grow beyond what is kept, and the freeze takes no longer.
//!
//! `HAISHIN_DAYS=365 HAISHIN_FRIENDS=100000 cargo test --release --locked --test it -- year:: --nocapture` is a year of a real shop
//! with what is kept by default; it has the process to itself, and looks at its memory, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use haishin::clock::Clock as _;
use haishin::domain::attribute::Value as Property;
use haishin::domain::drip::RichMenuId;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::id::{EventName, UserId};
use haishin::domain::key::RetryKey;
use haishin::domain::time::{Instant, Span};
use haishin::line::{Answer, Api, Attempt, BotInfo, CallError, Quota, Validation};
use haishin::protocol::Command;
use haishin::store::NewInbox;
use serde_json::Value;
use sqlx::Connection as _;

use crate::support::count;
use crate::support::store::Database;
use crate::support::world::{Setup, World, slug, user};

const SETTINGS: &str = "zone = \"Asia/Tokyo\"\nrate = \"off\"\napi_base = \"http://127.0.0.1:1\"\nsame_content = \"off\"\n\
    [caps.daily]\nmax = 2\n[caps.weekly]\nmax = \"off\"\n[caps.advertising_weekly]\nmax = \"off\"\n\
    [caps.advertising_monthly]\nmax = \"off\"\n";
/// In a short life, so that what is past goes within it.
const SHORT: &str = "[retention]\nbatches = \"32d\"\nsets = \"33d\"\nevents = \"10d\"\n";
const DAILY: &str = "title = \"daily\"\naudience = { status = \"following\" }\nreach = \"everyone\"\nholdout = \"5%\"\n\
    schedule = { every = \"day\", at = \"10:00\" }\n\
    [[variant]]\nname = \"a\"\nmessage = [{ type = \"text\", text = \"おはようございます\" }]\n\
    [[variant]]\nname = \"b\"\nmessage = [{ type = \"text\", text = \"本日のおすすめ\" }]\n";
const CART: &str = "title = \"cart\"\ncategory = \"service\"\nstart = { event = \"cart\" }\nagain = \"1d\"\n\
    [[step]]\nname = \"remind\"\nafter = \"3h\"\nmessage = [{ type = \"text\", text = \"cart\" }]\n";

/// What a send in two arms keeps of a thousand friends for as long as sets are kept, in bytes (docs/operations.md).
const A_SEND_KEEPS: u64 = 1_000;
/// What each way through a drip may keep, in bytes.
const A_WAY_KEEPS: u64 = 150;
/// What the two occurrences of a day keep for ever, in bytes.
const A_DAY_KEEPS: u64 = 8_000;

/// LINE as it is on a good day; it forgets everything at night, so that this process holds what the engine holds.
#[derive(Default)]
struct Forgetful {
    messages: AtomicU64,
    today: std::sync::Mutex<BTreeSet<(String, bool)>>,
}

#[async_trait]
impl Api for Forgetful {
    async fn multicast(&self, _: RetryKey, body: Bytes) -> Attempt {
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let is_cart = body["messages"][0]["text"] == "cart";
        let mut today = self.today.lock().unwrap();
        for to in body["to"].as_array().expect("recipients") {
            let first = today.insert((to.as_str().expect("a user id").to_owned(), is_cart));
            assert!(first, "{to} got it twice on one day");
            self.messages.fetch_add(1, Ordering::SeqCst);
        }
        Attempt { answer: Answer::Accepted, request_id: Some("a-request".into()), retry_after: None }
    }
    async fn validate_multicast(&self, _: &str) -> Result<Validation, CallError> {
        Ok(Validation::Valid)
    }
    async fn quota(&self) -> Result<Quota, CallError> {
        Ok(Quota::Unlimited)
    }
    async fn consumption(&self) -> Result<u64, CallError> {
        Ok(self.messages.load(Ordering::SeqCst))
    }
    async fn link_rich_menu(&self, _: Option<&RichMenuId>, _: &[UserId]) -> Result<(), CallError> {
        Ok(())
    }
    async fn bot_info(&self) -> Result<BotInfo, CallError> {
        unreachable!("nobody asks whose channel it is while it runs")
    }
}

/// What is looked at every so many days.
#[derive(Debug, Clone, Copy)]
struct Look {
    day: u32,
    resident: u64,
    tasks: usize,
    /// What the database holds, without what is free in its file.
    database: u64,
    batches: i64,
    /// The freezes since the look before: this process's time for one, the least of them.
    freeze_micros: u128,
}

struct Life {
    world: World,
    line: Arc<Forgetful>,
    friends: u32,
    carts: u32,
    looks: Vec<Look>,
    freezes: Vec<u128>,
}

#[tokio::test]
async fn what_runs_for_a_year_stays_as_small_and_as_fast() {
    let (days, friends) = (count("HAISHIN_DAYS"), count("HAISHIN_FRIENDS").unwrap_or(1_000));
    let alone = days.is_some();
    let days = days.unwrap_or(72);
    let mut life = Life::begin(friends, alone).await;
    let every = (days / 12).max(1);
    for day in 0..days {
        life.day().await;
        if day % every == every - 1 {
            life.look(day + 1).await;
        }
    }
    life.judge(alone);
}

impl Life {
    async fn begin(friends: u32, alone: bool) -> Self {
        let settings = if alone { SETTINGS.to_owned() } else { format!("{SETTINGS}{SHORT}") };
        let mut world = World::of(Setup {
            now: "2026-12-04T09:59:58+09:00",
            settings: &settings,
            campaigns: vec![("daily".into(), DAILY.into()), ("drips/cart".into(), CART.into())],
            accounts: vec![("shop", friends)],
            database: Database::Sqlite,
            seed: 0,
        })
        .await;
        let line = Arc::new(Forgetful::default());
        let through = line.clone();
        world.kill(0).await;
        world.through(0, |_| through);
        world.start(0).await.unwrap();
        world.step = Span::from_millis(250);
        Self { world, line, friends, carts: friends / 500, looks: Vec::new(), freezes: Vec::new() }
    }

    /// From just before ten to the same on the next day.
    async fn day(&mut self) {
        self.line.today.lock().unwrap().clear();
        let begun = self.world.clock.now();
        self.freeze_and_send().await;
        let before = self.newest("cart").await["occurrence"].clone();
        let filled = self.fill_carts().await;
        // To just before three hours are over, and to the evening, the night and the morning.
        self.sleep_until(filled + Span::from_hours(3)).await;
        self.until_sent("cart", &before, self.carts).await;
        for hours in [9, 15, 21] {
            self.sleep_until(begun + Span::from_hours(hours)).await;
        }
        self.sleep_until(begun + Span::from_hours(24)).await;
    }

    async fn freeze_and_send(&mut self) {
        let (before, cpu) = (self.newest("daily").await["occurrence"].clone(), cpu_micros());
        let frozen = async || (self.newest("daily").await["occurrence"] != before).then_some(());
        self.world.until("it is frozen", frozen).await;
        self.freezes.push(cpu_micros() - cpu);
        self.until_sent("daily", &before, self.friends * 9 / 10).await;
    }

    /// Waits until the occurrence after `before` has been sent to everybody in it, who are at least so many.
    async fn until_sent(&self, campaign: &str, before: &Value, least: u32) {
        let sent = async || {
            let newest = self.newest(campaign).await;
            (newest["occurrence"] != *before && newest["state"] == "finished").then_some(())
        };
        self.world.until("it is sent", sent).await;
        let number = self.newest(campaign).await["occurrence"].as_i64().expect("a number");
        let shown = self.world.account(0).occurrence(number).await.expect("an occurrence");
        let accepted = shown["books"]["counts"]["accepted"].as_u64().expect("a number");
        assert_eq!(shown["books"]["balanced"], true, "{shown}");
        assert_eq!(shown["recipients"].as_u64(), Some(accepted), "{shown}");
        assert!(accepted >= u64::from(least), "{shown}");
    }

    async fn newest(&self, campaign: &str) -> Value {
        let list = Command::OccurrenceList { campaign: Some(slug(campaign)), limit: 1 };
        self.world.account(0).done(list).await["occurrences"][0].clone()
    }

    /// A few hundred friends fill a cart, others every day.
    async fn fill_carts(&self) -> Instant {
        let (now, account) = (self.world.clock.now(), self.world.row(0).await);
        let first = u32::try_from(now.as_millis() / 86_400_000).expect("a day") * self.carts;
        let cart = |n: u32| Intake {
            friend: user((first + n) % self.friends).into(),
            at: now,
            effect: Effect::Event {
                name: EventName::parse("cart").unwrap(),
                event_id: None,
                properties: [("amount".parse().unwrap(), Property::Integer(3_000))].into(),
            },
            dedupe: None,
        };
        let intakes = (0..self.carts).map(cart).collect();
        let row = NewInbox { account, received_at: now, source: "api".into(), intakes };
        self.world.test.store.append_inbox(vec![row]).await.unwrap();
        let applied = async || (self.world.account(0).status().await["inbox"] == 0).then_some(());
        self.world.until("it is applied", applied).await;
        now
    }

    /// The machine sleeps until some seconds before, and works from then on.
    async fn sleep_until(&self, at: Instant) {
        const AWAKE: i64 = 8;
        let sleep = at - Span::from_secs(AWAKE) - self.world.clock.now();
        self.world.clock.advance(sleep.max(Span::ZERO));
        for _ in 0..AWAKE / 2 {
            self.pass(Span::from_secs(2)).await;
        }
    }

    async fn pass(&self, span: Span) {
        self.world.clock.advance(span);
        self.world.account(0).status().await;
    }

    /// After the day on which the first batches go, whatever was there then is all there is: only who was in which
    /// occurrence is kept longer, and that there was one for ever, as the operations' page tells.
    fn judge(&self, alone: bool) {
        let settled = if alone { 100 } else { 40 };
        let settled: Vec<&Look> = self.looks.iter().filter(|look| look.day >= settled).collect();
        let [first, .., last] = settled[..] else { panic!("the life was too short: {:?}", self.looks) };
        let days = u64::from(last.day - first.day);
        let grown = last.database.saturating_sub(first.database) / days;
        println!("from day {} to day {}: the database grew by {grown} bytes a day", first.day, last.day);
        let sets = if alone { A_SEND_KEEPS * u64::from(self.friends) / 1_000 } else { 0 };
        let kept = sets + A_WAY_KEEPS * u64::from(self.carts) + A_DAY_KEEPS;
        assert!(grown <= kept, "{grown} bytes a day; {kept} were told: {:?}", self.looks);
        assert!(last.batches <= first.batches * 11 / 10, "{:?}", self.looks);
        assert_eq!(first.tasks, last.tasks, "{:?}", self.looks);
        if alone {
            assert!(last.resident <= first.resident * 11 / 10, "{:?}", self.looks);
            assert!(last.freeze_micros <= first.freeze_micros * 3 / 2, "{:?}", self.looks);
        }
    }

    async fn look(&mut self, day: u32) {
        let mut conn = sqlx::SqliteConnection::connect(&self.world.test.url).await.unwrap();
        let used = "SELECT (p.page_count - f.freelist_count) * s.page_size \
                    FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s";
        let database: i64 = sqlx::query_scalar(used).fetch_one(&mut conn).await.unwrap();
        let batches: i64 =
            sqlx::query_scalar("SELECT count(*) FROM batch").fetch_one(&mut conn).await.unwrap();
        conn.close().await.unwrap();
        let freeze_micros = std::mem::take(&mut self.freezes).into_iter().min().unwrap_or(0);
        let look = Look {
            day,
            resident: resident(),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            database: database.unsigned_abs(),
            batches,
            freeze_micros,
        };
        println!(
            "day {day}: {} MB resident, {} tasks, database {:.1} MB, {batches} batches, a freeze {freeze_micros} µs of CPU",
            look.resident >> 20,
            look.tasks,
            look.database as f64 / f64::from(1 << 20)
        );
        self.looks.push(look);
    }
}

/// What this process has used of all cores.
fn cpu_micros() -> u128 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    at.tv_sec.unsigned_abs() as u128 * 1_000_000 + at.tv_nsec.unsigned_abs() as u128 / 1_000
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1_024
}
