//! Imports end to end: a CSV file through the command line into a running daemon on SQLite, until it is in the journal
//! and in the index. `cargo bench --bench import`; `HAISHIN_BENCH_FRIENDS` for another number than 200,000 friends.
//!
//! Three files: the friends with a customer id and five attributes each, three tags each by user id, two purchases each
//! by customer id. Beside each, in the same run, a plain program reads the same file with the `csv` crate and inserts
//! its cells into one SQLite table of its own, 5,000 rows a transaction, each durable. At the end a segment
//! counts what the plain program counts. Read the ratio; absolute figures move between machines.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{Connection, SqliteConnection};

const TAGS: usize = 3;
const PURCHASES: usize = 2;
/// Rows of one transaction of the plain program: as many intakes as haishin appends at once.
const CHUNK: usize = 5_000;

fn main() {
    let friends = std::env::var("HAISHIN_BENCH_FRIENDS").ok().map_or(200_000, |n| n.parse().unwrap());
    let shop = Shop::new(friends);
    let files = [
        ("friends", &["--column", "attribute.seen=seen"][..]),
        ("tags", &[]),
        ("events", &["--value", "name=purchase", "--column", "property.amount:integer=amount"]),
    ];
    println!("{friends} friends, {TAGS} tags and {PURCHASES} purchases each");
    println!("| file | rows | haishin | rows/s | intakes/s | plain | rows/s | ratio |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (kind, options) in files {
        let (report, plain_ms) = (shop.import(kind, options), shop.plain(kind));
        let rows = report["rows"].as_u64().unwrap();
        assert_eq!(
            (report["accepted"].as_u64(), report["rejected"].as_u64()),
            (Some(rows), Some(0)),
            "{report}"
        );
        let intakes: u64 = report["intakes"].as_object().unwrap().values().filter_map(|n| n.as_u64()).sum();
        let ms = report["duration_ms"].as_u64().unwrap().max(1);
        let (rate, plain_rate) = (rows * 1_000 / ms, rows * 1_000 / plain_ms);
        println!(
            "| {kind} | {rows} | {ms} ms | {rate} | {} | {plain_ms} ms | {plain_rate} | {:.2} |",
            intakes * 1_000 / ms,
            rate as f64 / plain_rate as f64,
        );
    }
    shop.compare();
}

struct Shop {
    directory: tempfile::TempDir,
    daemon: Child,
    friends: usize,
}

impl Drop for Shop {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Shop {
    fn new(friends: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let config = path("config");
        std::fs::create_dir_all(config.join("segments")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(config.join(name), text).unwrap();
        write("secret", "s");
        write(
            "haishin.toml",
            &format!(
                "[accounts.shop]\nchannel_id = \"1\"\nchannel_secret = {{ file = \"secret\" }}\n\
                 api_base = \"http://127.0.0.1:9\"\n[state]\ndirectory = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
                path("state").display()
            ),
        );
        write(
            "attributes.toml",
            "prefecture = \"text\"\nbirthday = \"date\"\npoints = \"integer\"\nspend = \"number\"\nseen = \"instant\"\n",
        );
        write(
            "segments/asked.toml",
            "title = \"asked\"\nall = [{ attr = \"prefecture\", eq = \"都道府県7\" }, { tag = \"tag3\" }, \
             { event = \"purchase\", sum = { of = \"amount\", gte = 5000 } }]\n",
        );
        draw(directory.path(), friends);
        let daemon =
            haishin(directory.path()).arg("run").stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut shop = Self { directory, daemon: daemon.unwrap(), friends };
        let mut log = BufReader::new(shop.daemon.stderr.take().unwrap()).lines();
        while !log.next().expect("the daemon gets ready").unwrap().contains(" ready") {}
        std::thread::spawn(move || log.for_each(drop));
        shop
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.directory.path().join(format!("{kind}.csv"))
    }

    /// The command's own report: its time ends when everything is applied.
    fn import(&self, kind: &str, options: &[&str]) -> serde_json::Value {
        let import = haishin(self.directory.path())
            .args(["--json", "import", kind])
            .arg(self.file(kind))
            .args(options)
            .output();
        let output = import.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Milliseconds that the plain program takes.
    fn plain(&self, kind: &str) -> u64 {
        let database = self.directory.path().join("plain.db");
        let started = tokio::time::Instant::now();
        runtime().block_on(insert(&self.file(kind), &database, kind)).unwrap();
        u64::try_from(started.elapsed().as_millis()).unwrap().max(1)
    }

    /// A segment counts what a query over the plain program's tables counts.
    fn compare(&self) {
        let output =
            haishin(self.directory.path()).args(["--json", "segment", "count", "asked"]).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let counted = answer["segments"][0]["friends"].as_i64().unwrap();
        let count = "SELECT COUNT(*) FROM friends f WHERE prefecture = '都道府県7' \
                     AND EXISTS (SELECT 1 FROM tags t WHERE t.user = f.user AND t.tag = 'tag3') \
                     AND (SELECT SUM(CAST(amount AS INTEGER)) FROM events e WHERE e.external_id = f.external_id) >= 5000";
        let plain = runtime().block_on(async {
            let mut conn = connect(&self.directory.path().join("plain.db")).await?;
            for index in ["CREATE INDEX t ON tags (user, tag)", "CREATE INDEX e ON events (external_id)"] {
                sqlx::query(index).execute(&mut conn).await?;
            }
            sqlx::query_scalar::<_, i64>(count).fetch_one(&mut conn).await
        });
        assert_eq!(Ok(counted), plain.map_err(|error| error.to_string()));
        assert!(counted > 0 || self.friends < 10_000);
        println!("both count {counted} friends in a segment over all three files");
    }
}

fn haishin(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haishin"));
    command.env_remove("STATE_DIRECTORY").env("LC_ALL", "C").arg("--config").arg(directory.join("config"));
    command
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The three files.
fn draw(directory: &Path, friends: usize) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut files = [
        "user,external_id,followed_at,prefecture,birthday,points,spend,seen\n".to_owned(),
        "user,tag,at\n".to_owned(),
        "external_id,at,amount,event_id\n".to_owned(),
    ];
    let day =
        |rng: &mut StdRng| format!("2025-{:02}-{:02}", rng.random_range(1..=12), rng.random_range(1..=28));
    for n in 0..friends {
        let user =
            format!("U{:032x}", (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let [people, tags, events] = &mut files;
        let (followed, seen) = (day(&mut rng), day(&mut rng));
        let (prefecture, points) = (rng.random_range(0..47), rng.random_range(0..100_000));
        let birth = rng.random_range(1940..2010);
        writeln!(
            people,
            "{user},c-{n:08},{followed},都道府県{prefecture},{birth}-04-05,{points},{points}.5,{seen} 10:00"
        )
        .unwrap();
        for tag in 0..TAGS {
            let which = rng.random_range(0..20) * TAGS + tag;
            writeln!(tags, "{user},tag{which},{}", day(&mut rng)).unwrap();
        }
        for purchase in 0..PURCHASES {
            let amount = rng.random_range(100..5_000);
            writeln!(events, "c-{n:08},{} 12:34:56,{amount},o-{n:08}-{purchase}", day(&mut rng)).unwrap();
        }
    }
    for (kind, text) in ["friends", "tags", "events"].iter().zip(files) {
        std::fs::write(directory.join(format!("{kind}.csv")), text).unwrap();
    }
}

async fn connect(database: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let mut conn = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", database.display())).await?;
    for pragma in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"] {
        sqlx::query(pragma).execute(&mut conn).await?;
    }
    Ok(conn)
}

/// A table of texts, one column a cell; each transaction's rows cross to SQLite as one JSON value, the quickest plain
/// way there is.
async fn insert(file: &Path, database: &Path, table: &str) -> Result<(), sqlx::Error> {
    let mut conn = connect(database).await?;
    let mut reader = csv::Reader::from_path(file).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let create = format!("CREATE TABLE {table} ({})", header.join(" TEXT, ") + " TEXT");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut conn).await?;
    let cells: Vec<String> = (0..header.len()).map(|n| format!("value ->> {n}")).collect();
    let insert = format!("INSERT INTO {table} SELECT {} FROM json_each($1)", cells.join(", "));
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(CHUNK);
    let mut records = reader.records();
    loop {
        let record = records.next();
        if rows.len() == CHUNK || (record.is_none() && !rows.is_empty()) {
            let json = serde_json::to_string(&rows).unwrap();
            sqlx::query(sqlx::AssertSqlSafe(insert.clone())).bind(json).execute(&mut conn).await?;
            rows.clear();
        }
        let Some(record) = record else { break };
        rows.push(record.unwrap().iter().map(str::to_owned).collect());
    }
    conn.close().await
}
