//! The freeze of a million friends by the real daemon: evaluate, gates, caps, holdout and two arms, encode, commit
//! (SQLite, `synchronous = FULL`). Beside it, in the same run, a row for each recipient written in bulk.
//!
//! `HAISHIN_BENCH_FRIENDS` (1,200,000, of whom a million get it), `HAISHIN_BENCH_ROUNDS` (5). Every round's friends
//! count in the caps of the rounds after it.

mod support;

use std::time::Duration;

use haishin::clock::{Clock, SystemClock};
use haishin::domain::friend::{Friend, Status};
use haishin::domain::id::TagName;
use haishin::domain::time::{Instant, Span};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use support::measure::{median, ms, param, print, ratio, took};
use support::population;
use support::shop::{Daemon, Line, Shop, play_line_if_asked, runtime};

const SETTINGS: &str = "zone = \"UTC\"\nquiet_hours = \"off\"\n\
    [caps.daily]\nmax = 100\n[caps.weekly]\nmax = 100\n[caps.advertising_weekly]\nmax = 100\n\
    [caps.advertising_monthly]\nmax = 100\n";
const ATTRIBUTES: &str =
    "prefecture = \"text\"\nbirthday = \"date\"\npoints = \"integer\"\nrank = \"text\"\napp = \"boolean\"\n";

fn main() {
    play_line_if_asked();
    let friends = param("HAISHIN_BENCH_FRIENDS", 1_200_000) as u32;
    let count = param("HAISHIN_BENCH_ROUNDS", 5) as usize;
    let (line, runtime) = (Line::start(), runtime());
    let shop = Shop::new(&line.base, SETTINGS);
    shop.write("attributes.toml", ATTRIBUTES);
    let mut rng = StdRng::seed_from_u64(1);
    let now = SystemClock::new().now();
    runtime.block_on(shop.befriend((0..friends).map(|friend| row(&mut rng, friend, now))));
    let daemon = shop.start();

    let (mut freezes, mut cpu, mut plain, mut recipients) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..count {
        let frozen = freeze(&shop, &daemon, round);
        recipients = frozen.recipients;
        freezes.push(frozen.took);
        cpu.push(frozen.cpu);
        plain.push(
            took(|| runtime.block_on(rows_in_bulk(&shop.path().join("plain.sqlite3"), round, recipients)))
                .1
                .wall,
        );
    }
    let fastest = |all: &[Duration]| all.iter().min().copied().expect("a round");
    print(
        &format!("Freeze of {recipients} of {friends} friends, {count} rounds, ms"),
        &["", "median", "fastest", "CPU"],
        vec![
            vec![
                "haishin, whole".into(),
                ms(median(freezes.clone())),
                ms(fastest(&freezes)),
                ms(median(cpu)),
            ],
            vec![
                "a row for each recipient, written alone".into(),
                ms(median(plain.clone())),
                ms(fastest(&plain)),
                String::new(),
            ],
            vec![
                "rows / haishin".into(),
                format!("{:.1}", ratio(median(plain.clone()), median(freezes.clone()))),
                format!("{:.1}", ratio(fastest(&plain), fastest(&freezes))),
                String::new(),
            ],
        ],
    );
}

fn row(rng: &mut StdRng, friend: u32, now: Instant) -> Friend {
    let mut row = population::friend(rng, friend, 3, now);
    if rng.random_bool(0.95) {
        row.tags.insert(TagName::parse("member").expect("a name"), population::some_time(rng, now));
    }
    if rng.random_bool(0.05) {
        row.status = Status::Blocked;
    }
    row
}

struct Frozen {
    took: Duration,
    cpu: Duration,
    recipients: u64,
}

/// Applies a campaign that is due in a moment and waits for its freeze, as the daemon's own metric tells it.
fn freeze(shop: &Shop, daemon: &Daemon, round: usize) -> Frozen {
    let slug = format!("round-{round}");
    let at = (SystemClock::new().now() + Span::from_secs(8)).utc().format("%Y-%m-%d %H:%M:%S");
    let arm = |name: &str| {
        format!(
            "[[variant]]\nname = \"{name}\"\nmessage = [{{ type = \"text\", text = \"{name} {round}\" }}]\n"
        )
    };
    // Nearly nothing of it is sent: the freeze is what is measured.
    shop.write(
        &format!("campaigns/{slug}.toml"),
        &format!(
            "title = \"{slug}\"\nholdout = \"5%\"\npace = \"500/1d\"\nschedule = {{ at = \"{at}\" }}\n\
             audience = {{ all = [{{ tag = \"member\" }}, {{ attr = \"points\", gte = 100 }}] }}\n{}{}",
            arm("a"),
            arm("b")
        ),
    );
    shop.ask(&["apply", "--yes"]);
    let (before, cpu) = (shop.freeze_seconds(), daemon.process().cpu());
    std::thread::sleep(Duration::from_secs(8));
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let after = shop.freeze_seconds();
        if after > before {
            let list = shop.ask(&["occurrence", "list", &slug]);
            let one = &list["occurrences"][0];
            assert_eq!(one["state"], "sending", "{one}");
            return Frozen {
                took: after - before,
                cpu: daemon.process().cpu() - cpu,
                recipients: one["recipients"].as_u64().expect("a number"),
            };
        }
    }
}

/// A row for each recipient of a round, 10,000 a transaction.
async fn rows_in_bulk(path: &std::path::Path, round: usize, recipients: u64) {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut conn = SqliteConnection::connect_with(&options).await.expect("a database");
    let table = "CREATE TABLE IF NOT EXISTS delivery (occurrence INTEGER NOT NULL, friend INTEGER NOT NULL, \
                 variant INTEGER NOT NULL, PRIMARY KEY (occurrence, friend)) STRICT, WITHOUT ROWID";
    sqlx::query(table).execute(&mut conn).await.expect("a table");
    let friends: Vec<u64> = (0..recipients).collect();
    for page in friends.chunks(10_000) {
        let page = serde_json::to_string(page).expect("JSON");
        let insert = "INSERT INTO delivery SELECT $1, value, value % 2 FROM json_each($2)";
        let insert = sqlx::query(insert).bind(round as i64).bind(page);
        insert.execute(&mut conn).await.expect("rows");
    }
    conn.close().await.expect("it closes");
}
