//! How long a start takes, and how much memory it leaves: of an installation that has run for two years.
//!
//! `HAISHIN_BENCH_FRIENDS=10000000 cargo bench --bench restart` (one million by default). Builds, through the store, a
//! database of friends with ten tags, five attributes and five events each, 730 daily sends to a tenth of them, and
//! 100,000 small occurrences as drips make them; then starts on it in a process of its own: after a clean stop, and after a
//! kill that leaves entries to replay. `HAISHIN_BENCH_DIR` keeps the database and uses it again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use chrono::{Days, NaiveDate};
use haishin::audience::{CheckpointRow, Index};
use haishin::clock::{BootTime, Reading};
use haishin::domain::attribute::Value;
use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::effect::{Effect, Entry};
use haishin::domain::friend::Friend;
use haishin::domain::id::*;
use haishin::domain::key::Run;
use haishin::domain::lookback::Lookback;
use haishin::domain::message::ContentDigest;
use haishin::domain::policy::Cutoffs;
use haishin::domain::time::{Instant, Span, Tz};
use haishin::engine::retention::{Facts, Pruner, Step};
use haishin::engine::state::State;
use haishin::store::{
    self, CheckpointChunk, Claim, DeliverySet, Fence, NewOccurrence, OccurrenceRow, Part, Priority, Store,
    VariantRow, Write,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

const NOW: Instant = Instant::from_millis(1_796_374_800_000);
const DAYS: i64 = 730;
const TAGS: usize = 200;
const EVENTS_EACH: u32 = 5;
/// Rows in one transaction.
const A_COMMIT: usize = 5_000;
/// Set in the process that is measured: where the database is, and how many days to look back.
const MEASURED: &str = "HAISHIN_BENCH_MEASURED";

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn friends() -> u32 {
    number("HAISHIN_BENCH_FRIENDS", 1_000_000)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    if let Ok(measured) = std::env::var(MEASURED) {
        let (days, path) = measured.split_once(' ').expect("days and a path");
        return runtime.block_on(measure(Path::new(path), days.parse().expect("days")));
    }
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = std::env::var_os("HAISHIN_BENCH_DIR").map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| temporary.path().to_owned());
    let path = directory.join(format!("restart-{}-{}.db", friends(), number("HAISHIN_BENCH_SMALL", 100_000)));
    let (built, killed) = (path.with_extension("built"), path.with_extension("killed"));
    if !built.exists() {
        runtime.block_on(build(&path));
        std::fs::write(&built, "").expect("a marker");
    }
    let megabytes = std::fs::metadata(&path).map_or(0, |file| file.len() >> 20);
    eprintln!("{} friends, {DAYS} daily sends, a database of {megabytes} MB", friends());
    if !killed.exists() {
        // What past sends add shows beside a start that looks back at none.
        for days in [32, 302, 0] {
            start(&path, days, "after a clean stop");
        }
        runtime.block_on(leave_a_tail(&path));
        std::fs::write(&killed, "").expect("a marker");
    }
    start(&path, 32, "after a kill");
}

/// In a process of its own: memory that somebody else gave back would flatter it.
fn start(path: &Path, days: i64, what: &str) {
    eprint!("{what}, looking back {days} days: ");
    let this = std::env::current_exe().expect("this program");
    let measured = format!("{days} {}", path.display());
    let status = std::process::Command::new(this).env(MEASURED, measured).status().expect("a process");
    assert!(status.success(), "{status}");
}

fn lookback(days: i64) -> Lookback {
    // One campaign of large sends and one of small ones that rules ask about for ever.
    let ever = [letter(0), drip(0)].into_iter().filter(|_| days > 0).collect::<BTreeSet<_>>();
    Lookback { sends: Span::from_days(days), events: Span::from_days(90), ever }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's time")]
async fn measure(path: &Path, days: i64) {
    let before = resident_bytes();
    let began = std::time::Instant::now();
    let (store, fence) = open(path).await;
    let clock = Reading { now: NOW, boot: BootTime { boot_id: "bench".into(), since_boot: Span::ZERO } };
    let state =
        State::load(store.as_ref(), fence.account, &lookback(days), &clock, None).await.expect("a state");
    let took = began.elapsed();
    let (grown, friends) = (resident_bytes().saturating_sub(before), state.index.len());
    let replayed = state.row.journal_seq.0 - state.checkpoint.0;
    eprintln!(
        "ready in {:.2} s, {replayed} entries replayed; resident memory grew by {:.1} bytes a friend",
        took.as_secs_f64(),
        grown as f64 / friends.max(1) as f64,
    );
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0) * 1024
}

async fn open(path: &Path) -> (Arc<dyn Store>, Fence) {
    let store = store::open(&format!("sqlite://{}", path.display())).await.expect("a store");
    let slug = AccountSlug::parse("bench").expect("a slug");
    let account = store.ensure_account(&slug, "1", NOW).await.expect("an account");
    match store.claim(account, "bench", NOW, Span::from_secs(10)).await.expect("a claim") {
        Claim::Granted { fence, .. } => (store, fence),
        Claim::Held { .. } => panic!("held by somebody else"),
    }
}

/// Writes, as its owner would.
struct Builder {
    store: Arc<dyn Store>,
    fence: Fence,
    rng: StdRng,
}

impl Builder {
    async fn commit(&mut self, writes: Vec<Write>) {
        self.store.commit(&mut self.fence, NOW, Priority::Fold, writes).await.expect("a commit");
    }
}

async fn build(path: &Path) {
    let (store, fence) = open(path).await;
    let mut builder = Builder { store, fence, rng: StdRng::seed_from_u64(1) };
    let mut index = Index::new();
    builder.events(&mut index).await;
    eprintln!("events are written");
    builder.friends(&mut index).await;
    eprintln!("friends are written");
    builder.daily_sends().await;
    builder.small_occurrences().await;
    eprintln!("occurrences are written");
    builder.checkpoint(&mut index).await;
    builder.prune().await;
    builder.store.close().await;
}

impl Builder {
    /// The journal holds events alone: the states of two years are in the friends' rows.
    async fn events(&mut self, index: &mut Index) {
        let all = i64::from(friends()) * i64::from(EVENTS_EACH);
        let millis = DAYS * 86_400_000;
        let mut entries = Vec::new();
        for seq in 1..=all {
            let at = NOW - Span::from_millis(millis - millis * seq / all);
            let friend = FriendId(self.rng.random_range(0..friends()));
            let amount = Value::Integer(self.rng.random_range(100..30_000));
            let properties = BTreeMap::from([(PropertyName::parse("amount").expect("a name"), amount)]);
            let name = EVENTS[(seq % 3) as usize].clone();
            entries.push(Entry {
                seq: Seq(seq),
                friend,
                at,
                effect: Effect::Event { name, event_id: None, properties },
            });
            if entries.len() == A_COMMIT || seq == all {
                entries.iter().for_each(|entry| index.apply(entry));
                self.commit(vec![Write::Entries(std::mem::take(&mut entries))]).await;
            }
        }
    }

    async fn friends(&mut self, index: &mut Index) {
        let folded_seq = index.applied();
        for first in (0..friends()).step_by(A_COMMIT) {
            let upto = first.saturating_add(A_COMMIT as u32).min(friends());
            let rows: Vec<Friend> = (first..upto).map(|friend| row(&mut self.rng, friend)).collect();
            rows.iter().for_each(|row| index.load_friend(row));
            self.commit(vec![Write::Fold { friends: rows, folded_seq }]).await;
        }
    }

    /// A tenth of all friends each day, a campaign a month.
    async fn daily_sends(&mut self) {
        let mut tenths = vec![Vec::new(); 10];
        for friend in 0..friends() {
            tenths[self.rng.random_range(0..10)].push(friend);
        }
        let tenths: Vec<RoaringBitmap> = tenths.into_iter().map(RoaringBitmap::from_iter).collect();
        for (day, recipients) in (0..DAYS).zip(tenths.iter().cycle()) {
            let due = NOW - Span::from_days(DAYS - day);
            let writes = ended(day + 1, letter(day / 30), due, recipients);
            self.commit(writes).await;
        }
    }

    /// Ten friends each, every few minutes for two years.
    async fn small_occurrences(&mut self) {
        let count = i64::from(number("HAISHIN_BENCH_SMALL", 100_000));
        let mut writes = Vec::new();
        for n in 0..count {
            let due = NOW - Span::from_millis(DAYS * 86_400_000 * (count - n) / count);
            let recipients = (0..10).map(|_| self.rng.random_range(0..friends())).collect();
            writes.extend(ended(DAYS + 1 + n, drip(n % 7), due, &recipients));
            if writes.len() >= 600 || n + 1 == count {
                self.commit(std::mem::take(&mut writes)).await;
            }
        }
    }

    async fn checkpoint(&mut self, index: &mut Index) {
        let mut run = index.begin_checkpoint();
        let chunk = |row: CheckpointRow| CheckpointChunk {
            kind: row.kind,
            key: row.key,
            chunk: row.chunk,
            seq: row.seq,
            checksum: row.checksum,
            data: row.data,
        };
        while let Some(rows) = index.checkpoint_rows(&mut run) {
            let mut rows = rows.into_iter().map(chunk).peekable();
            while rows.peek().is_some() {
                self.commit(vec![Write::CheckpointChunks(rows.by_ref().take(8).collect())]).await;
            }
        }
        self.commit(vec![Write::CheckpointManifest(Some(run.seq()))]).await;
    }

    /// What a daemon has done long ago.
    async fn prune(&mut self) {
        let mut pruner = Pruner::default();
        let account = self.fence.account;
        let facts = Facts {
            folded: Seq(0),
            checkpoint: Seq(0),
            cutoffs: Cutoffs { batches: Some(NOW - Span::from_days(90)), ..Cutoffs::default() },
            zone: Tz::Asia__Tokyo,
            now: NOW,
            since_boot: Span::ZERO,
        };
        loop {
            match pruner.next(self.store.as_ref(), account, &facts).await.expect("a look") {
                Step::Rest => break,
                Step::GoOn | Step::Swept(_) => {}
                Step::Prune(prune) => self.commit(vec![Write::Prune(prune)]).await,
            }
        }
    }
}

/// What a kill leaves: as many entries as there are before a checkpoint is due.
async fn leave_a_tail(path: &Path) {
    let (store, fence) = open(path).await;
    let account = fence.account;
    let mut builder = Builder { store, fence, rng: StdRng::seed_from_u64(2) };
    let row = builder.store.account(account).await.expect("a row").expect("the account");
    let (first, tail) = (row.journal_seq.0 + 1, i64::from(200_000.max(friends() / 10)));
    let mut entries = Vec::new();
    for seq in first..first + tail {
        let friend = FriendId(builder.rng.random_range(0..friends()));
        let tag = TAG_NAMES[builder.rng.random_range(0..TAGS)].clone();
        entries.push(Entry { seq: Seq(seq), friend, at: NOW, effect: Effect::TagAdded { tag } });
        if entries.len() == A_COMMIT || seq + 1 == first + tail {
            builder.commit(vec![Write::Entries(std::mem::take(&mut entries))]).await;
        }
    }
    builder.store.close().await;
}

fn letter(month: i64) -> CampaignSlug {
    CampaignSlug::parse(&format!("letter-{month}")).expect("a slug")
}

fn drip(n: i64) -> CampaignSlug {
    CampaignSlug::parse(&format!("drip-{n}")).expect("a slug")
}

/// An occurrence that was frozen, sent and accepted.
fn ended(id: i64, campaign: CampaignSlug, due: Instant, recipients: &RoaringBitmap) -> Vec<Write> {
    let id = OccurrenceId(id);
    let content = ContentDigest([u8::try_from(campaign.as_str().len()).unwrap_or(0); 32]);
    let row = OccurrenceRow {
        id,
        campaign,
        step: None,
        due_at: due,
        run: Run::Scheduled(0),
        parent: None,
        child: 0,
        version: VersionId(1),
        state: OccurrenceState::Finished,
        reason: None,
        detail: serde_json::json!({ "matched": recipients.len() }),
        category: CategoryName::parse("promotion").expect("a slug"),
        capped: true,
        immediate: false,
        frozen_at: due,
        deadline_at: None,
        pace: None,
        notify: true,
        matched: recipients.len(),
        recipients: recipients.len(),
        parts: vec![Part { from_batch: 0, effective_at: due }],
        finished_at: Some(due + Span::from_mins(1)),
    };
    let arm = VariantRow {
        position: 0,
        name: VariantName::parse("main").expect("a slug"),
        messages: format!(r#"[{{"type":"text","text":"{}"}}]"#, "こんにちは。".repeat(40)),
        content,
        unit: None,
        recipients: recipients.clone(),
    };
    let delivered = DeliverySet {
        position: 0,
        effective_at: due,
        outcome: Outcome::Accepted,
        friends: recipients.clone(),
    };
    vec![
        Write::Occurrence(Box::new(NewOccurrence { row, variants: vec![arm], sets: Vec::new() })),
        Write::Deliveries { occurrence: id, sets: vec![delivered] },
    ]
}

static TAG_NAMES: LazyLock<Vec<TagName>> =
    LazyLock::new(|| (0..TAGS).map(|n| TagName::parse(&format!("tag-{n}")).expect("a name")).collect());
static EVENTS: LazyLock<[EventName; 3]> =
    LazyLock::new(|| ["purchase", "visit", "click"].map(|name| EventName::parse(name).expect("a name")));

fn row(rng: &mut StdRng, friend: u32) -> Friend {
    let mut row = Friend::new(FriendId(friend), UserId(rng.random()), NOW);
    while row.tags.len() < 10 {
        let skewed = rng.random::<f64>().powi(2) * TAGS as f64;
        let at = NOW - Span::from_millis(rng.random_range(0..DAYS * 86_400_000));
        row.tags.insert(TAG_NAMES[skewed as usize].clone(), at);
    }
    let born = NaiveDate::from_ymd_opt(1950, 1, 1).expect("a day") + Days::new(rng.random_range(0..60 * 365));
    let attribute = |name| AttributeName::parse(name).expect("a name");
    row.attributes = BTreeMap::from([
        (attribute("prefecture"), Value::Text(format!("県{}", rng.random_range(0..47)).into())),
        (attribute("birthday"), Value::Date(born)),
        (attribute("points"), Value::Integer(rng.random_range(0..10_000))),
        (attribute("rank"), Value::Text(["gold", "silver", "bronze"][rng.random_range(0..3)].into())),
        (attribute("app"), Value::Boolean(rng.random())),
    ]);
    row
}
