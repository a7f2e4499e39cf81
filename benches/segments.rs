//! Segments over one million friends (`HAISHIN_BENCH_FRIENDS` for another number), beside SQL over the same data and
//! a plain scan of an array, in the same run: read the ratios, absolute figures move between machines.
//!
//! (a) tag A and tag B and not tag C; (b) a prefecture, 20 to 39 years old, tag A; (c) at least two purchases in 30
//! days and not tag C. Ten of 200 skewed tags a friend, drawn at random (the worst case for compressed sets), five
//! attributes, two purchases a friend. SQL is SQLite, normalised, indexed for these questions, its whole database in its
//! page cache; of several formulations the fastest counts. `HAISHIN_BENCH_ROUNDS` (15), `HAISHIN_BENCH_SQL_ROUNDS` (3).

mod support;

use chrono::{Datelike, NaiveDate};
use haishin::audience::{CheckpointRow, Index};
use haishin::domain::attribute::Value;
use haishin::domain::friend::Friend;
use haishin::domain::segment::evaluate::Segments;
use haishin::domain::segment::rule::*;
use haishin::domain::sends::Sends;
use haishin::domain::time::{Span, Tz};
use rand::SeedableRng;
use rand::rngs::StdRng;
use roaring::RoaringBitmap;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use support::measure::{median, ms, param, print, ratio, rounds, took};
use support::population::{self, NOW, TAGS, TAGS_EACH, attribute, purchase_event, tag};
use support::shop::runtime;

const ZONE: Tz = chrono_tz::Asia::Tokyo;
const A: usize = 2;
const B: usize = 9;
const C: usize = 0;
const PREFECTURE: u8 = 12;
/// Rows in one statement while the SQL side is filled.
const PAGE: usize = 200_000;

fn main() {
    let friends = param("HAISHIN_BENCH_FRIENDS", 1_000_000) as u32;
    let count = param("HAISHIN_BENCH_ROUNDS", 15) as usize;
    let sql_count = param("HAISHIN_BENCH_SQL_ROUNDS", 3) as usize;
    let population = Population::draw(friends);
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("segments.sqlite3");
    let mut sql = runtime.block_on(Sql::fill(&path, &population));

    let mut rows = Vec::new();
    for (name, rule, statements) in questions() {
        let set = population.evaluate(&rule);
        let scanned = population.scan(name);
        assert_eq!(set.iter().collect::<Vec<_>>(), scanned, "({name}) must give what the scan gives");
        let [index, scan] =
            rounds(count, [&mut || drop(population.evaluate(&rule)), &mut || drop(population.scan(name))]);
        let mut best = None;
        for statement in statements {
            let mut times = Vec::new();
            for _ in 0..sql_count {
                let (found, time) = took(|| runtime.block_on(sql.count(&statement)));
                assert_eq!(found, set.len(), "({name}) must give what SQL gives: {statement}");
                times.push(time.cpu);
            }
            let time = median(times);
            best = Some(best.map_or(time, |best: std::time::Duration| best.min(time)));
        }
        let sql = best.expect("a statement");
        rows.push(vec![
            format!("({name})"),
            set.len().to_string(),
            ms(index.cpu()),
            ms(index.fastest()),
            ms(scan.cpu()),
            format!("{:.0}", ratio(scan.cpu(), index.cpu())),
            ms(sql),
            format!("{:.0}", ratio(sql, index.cpu())),
        ]);
    }
    print(
        &format!("Segments over {friends} friends, {count} rounds: CPU in ms, fastest round on the wall"),
        &["", "friends", "haishin", "fastest", "plain scan", "/ haishin", "SQL, best plan", "/ haishin"],
        rows,
    );

    let mut rows = Vec::new();
    for (name, rule) in more_rules() {
        let [one] = rounds(count, [&mut || drop(population.evaluate(&rule))]);
        rows.push(vec![name.to_owned(), ms(one.cpu()), ms(one.fastest())]);
    }
    let checkpoint = population.checkpoint();
    let [restore] = rounds(3, [&mut || drop(Index::restore(&checkpoint).expect("it is whole"))]);
    rows.push(vec!["the index from a checkpoint's rows".into(), ms(restore.cpu()), ms(restore.fastest())]);
    print("Other questions: CPU in ms", &["", "haishin", "fastest on the wall"], rows);
}

/// A friend as a plain program would keep it.
struct Plain {
    tags: [u64; 4],
    prefecture: u8,
    birthday: NaiveDate,
}

struct Population {
    index: Index,
    plain: Vec<Plain>,
    purchases: Vec<(i64, u32)>,
}

impl Population {
    fn draw(friends: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let mut index = Index::new();
        let mut plain = Vec::with_capacity(friends as usize);
        for friend in 0..friends {
            let row = population::friend(&mut rng, friend, TAGS_EACH, NOW);
            index.load_friend(&row);
            plain.push(plain_of(&row));
        }
        let purchases = population::purchase_times(&mut rng, friends, 2 * u64::from(friends), NOW);
        for (seq, (at, friend)) in (1..).zip(&purchases) {
            index.apply(&population::purchase_entry(&mut rng, seq, *friend, *at));
        }
        Self { index, plain, purchases }
    }

    fn evaluate(&self, rule: &Rule) -> RoaringBitmap {
        self.index.evaluate(rule, &Segments::new(), &Sends::default(), NOW).expect("a plain rule")
    }

    fn checkpoint(&self) -> Vec<CheckpointRow> {
        let mut index = self.index.clone();
        index.forget_checkpoint();
        let mut run = index.begin_checkpoint();
        std::iter::from_fn(|| index.checkpoint_rows(&mut run)).flatten().collect()
    }

    fn scan(&self, name: &str) -> Vec<u32> {
        match name {
            "a" => self.scan_a(),
            "b" => self.scan_b(),
            _ => self.scan_c(),
        }
    }

    fn those(&self, holds: impl Fn(usize, &Plain) -> bool) -> Vec<u32> {
        let all = (0u32..).zip(&self.plain);
        all.filter(|(id, friend)| holds(*id as usize, friend)).map(|(id, _)| id).collect()
    }

    fn scan_a(&self) -> Vec<u32> {
        self.those(|_, friend| friend.has(A) && friend.has(B) && !friend.has(C))
    }

    fn scan_b(&self) -> Vec<u32> {
        let today = NOW.day_in(ZONE);
        let age = |born: NaiveDate| {
            today.year() - born.year() - i32::from((born.month(), born.day()) > (today.month(), today.day()))
        };
        self.those(|_, friend| {
            friend.prefecture == PREFECTURE && (20..40).contains(&age(friend.birthday)) && friend.has(A)
        })
    }

    fn scan_c(&self) -> Vec<u32> {
        let after = (NOW - Span::from_days(30)).as_millis();
        let mut counts = vec![0u32; self.plain.len()];
        for (_, friend) in self.purchases.iter().filter(|(at, _)| *at > after && *at <= NOW.as_millis()) {
            counts[*friend as usize] += 1;
        }
        self.those(|id, friend| counts[id] >= 2 && !friend.has(C))
    }
}

impl Plain {
    fn has(&self, tag: usize) -> bool {
        self.tags[tag / 64] >> (tag % 64) & 1 == 1
    }
}

fn plain_of(row: &Friend) -> Plain {
    let mut tags = [0; 4];
    for tag in row.tags.keys() {
        let number: usize = tag.as_str().strip_prefix("tag-").and_then(|n| n.parse().ok()).expect("a number");
        tags[number / 64] |= 1 << (number % 64);
    }
    let (Some(Value::Text(prefecture)), Some(Value::Date(birthday))) =
        (row.attributes.get(&attribute("prefecture")), row.attributes.get(&attribute("birthday")))
    else {
        panic!("every friend has a prefecture and a birthday")
    };
    let prefecture = prefecture.strip_prefix('県').and_then(|number| number.parse().ok()).expect("a number");
    Plain { tags, prefecture, birthday: *birthday }
}

/// The same data in SQLite.
struct Sql(SqliteConnection);

impl Sql {
    async fn fill(path: &std::path::Path, population: &Population) -> Self {
        // Nothing here need survive; what is measured only reads.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .pragma("journal_mode", "off")
            .pragma("synchronous", "off")
            .pragma("cache_size", "-8000000")
            .pragma("temp_store", "memory");
        let mut sql = Self(SqliteConnection::connect_with(&options).await.expect("a database"));
        sql.run("CREATE TABLE friend (id INTEGER PRIMARY KEY, prefecture INTEGER NOT NULL, born INTEGER NOT NULL) STRICT")
            .await;
        sql.run(
            "CREATE TABLE friend_tag (tag INTEGER NOT NULL, friend INTEGER NOT NULL, PRIMARY KEY (tag, friend)) \
             STRICT, WITHOUT ROWID",
        )
        .await;
        sql.run("CREATE TABLE purchase (at INTEGER NOT NULL, friend INTEGER NOT NULL) STRICT").await;
        let friends = population.plain.iter().zip(0u32..);
        let friends = friends.map(|(friend, id)| (id, friend.prefecture, number_of(friend.birthday)));
        sql.insert(
            "INSERT INTO friend SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)",
            friends,
        )
        .await;
        for tag in 0..TAGS {
            let holders =
                population.those(|_, friend| friend.has(tag)).into_iter().map(|friend| (tag, friend));
            sql.insert("INSERT INTO friend_tag SELECT value ->> 0, value ->> 1 FROM json_each($1)", holders)
                .await;
        }
        let purchases = population.purchases.iter().copied();
        sql.insert("INSERT INTO purchase SELECT value ->> 0, value ->> 1 FROM json_each($1)", purchases)
            .await;
        sql.run("CREATE INDEX friend_by_prefecture ON friend (prefecture, born)").await;
        sql.run("CREATE INDEX purchase_by_time ON purchase (at, friend)").await;
        sql.run("CREATE INDEX purchase_by_friend ON purchase (friend, at)").await;
        sql.run("ANALYZE").await;
        sql
    }

    async fn run(&mut self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.0).await.expect("a statement");
    }

    async fn insert<T: serde::Serialize>(&mut self, statement: &'static str, rows: impl Iterator<Item = T>) {
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let page = serde_json::to_string(&rows.by_ref().take(PAGE).collect::<Vec<_>>()).expect("JSON");
            sqlx::query(statement).bind(page).execute(&mut self.0).await.expect("rows");
        }
    }

    /// How many friends a statement gives. Counting inside spares SQL the way out of it.
    async fn count(&mut self, statement: &str) -> u64 {
        let statement = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM ({statement})"));
        let (count,): (i64,) = sqlx::query_as(statement).fetch_one(&mut self.0).await.expect("an answer");
        count.unsigned_abs()
    }
}

/// A day as a number that orders as days do, as a normalised table would keep it.
fn number_of(day: NaiveDate) -> i32 {
    day.year() * 10_000 + (day.month() * 100 + day.day()) as i32
}

/// The three questions as a rule and as SQL, in every formulation worth a try.
fn questions() -> Vec<(&'static str, Rule, Vec<String>)> {
    let holders = |tag: usize| format!("SELECT friend FROM friend_tag WHERE tag = {tag}");
    let holds = |tag: usize, of: &str| {
        format!("EXISTS (SELECT 1 FROM friend_tag t WHERE t.tag = {tag} AND t.friend = {of})")
    };
    let today = number_of(NOW.day_in(ZONE));
    // 20 to 39 years old: born after the day 40 years ago, up to the day 20 years ago.
    let born = format!("born > {} AND born <= {}", today - 400_000, today - 200_000);
    let after = (NOW - Span::from_days(30)).as_millis();
    let window = format!("at > {after} AND at <= {}", NOW.as_millis());
    let (a, b, c) = (holders(A), holders(B), holders(C));
    let sql_a = vec![
        format!("{a} INTERSECT {b} EXCEPT {c}"),
        format!("SELECT friend FROM ({b}) f WHERE {} AND NOT {}", holds(A, "f.friend"), holds(C, "f.friend")),
        format!("{b} AND friend IN ({a}) AND friend NOT IN ({c})"),
        format!(
            "SELECT x.friend FROM friend_tag x JOIN friend_tag y ON y.tag = {A} AND y.friend = x.friend \
             LEFT JOIN friend_tag z ON z.tag = {C} AND z.friend = x.friend WHERE x.tag = {B} AND z.friend IS NULL"
        ),
    ];
    let plain_b = format!("prefecture = {PREFECTURE} AND {born}");
    let sql_b = vec![
        format!("SELECT id FROM friend f WHERE {plain_b} AND {}", holds(A, "f.id")),
        format!("SELECT id FROM friend WHERE {plain_b} AND id IN ({a})"),
        format!("SELECT id FROM friend WHERE {plain_b} INTERSECT {a}"),
    ];
    let twice = format!("FROM purchase WHERE {window} GROUP BY friend HAVING COUNT(*) >= 2");
    let by_friend = "FROM purchase INDEXED BY purchase_by_friend";
    let sql_c = vec![
        format!("SELECT friend {twice} EXCEPT {c}"),
        format!("SELECT friend FROM (SELECT friend {twice}) f WHERE NOT {}", holds(C, "f.friend")),
        format!(
            "SELECT friend FROM (SELECT friend {by_friend} WHERE {window} GROUP BY friend HAVING COUNT(*) >= 2) f \
             WHERE NOT {}",
            holds(C, "f.friend")
        ),
    ];
    vec![("a", rule_a(), sql_a), ("b", rule_b(), sql_b), ("c", rule_c(), sql_c)]
}

fn has(number: usize) -> Rule {
    Rule::Is(Condition::Tag { tag: tag(number), held: Age::Any })
}

fn not(rule: Rule) -> Rule {
    Rule::Not(Box::new(rule))
}

fn is(name: &str, test: AttributeTest) -> Rule {
    Rule::Is(Condition::Attribute { name: attribute(name), test })
}

fn aged() -> Rule {
    is("birthday", AttributeTest::Age { bounds: vec![Bound::Gte(20), Bound::Lt(40)], zone: ZONE })
}

fn bought(within: i64, measure: Measure) -> Rule {
    Rule::Is(Condition::Event(EventCondition {
        event: purchase_event(),
        within: Some(Span::from_days(within)),
        properties: Vec::new(),
        measure,
    }))
}

fn rule_a() -> Rule {
    Rule::All(vec![has(A), has(B), not(has(C))])
}

fn rule_b() -> Rule {
    let text = Value::Text(format!("県{PREFECTURE}").into());
    Rule::All(vec![is("prefecture", AttributeTest::Compare(vec![Comparison::Eq(text)])), aged(), has(A)])
}

fn rule_c() -> Rule {
    Rule::All(vec![bought(30, Measure::Count(vec![Bound::Gte(2)])), not(has(C))])
}

/// What reads more than the three do.
fn more_rules() -> Vec<(&'static str, Rule)> {
    let within = Condition::Tag { tag: tag(A), held: Age::Within(Span::from_days(30)) };
    let sum = Measure::Sum { of: population::amount(), bounds: vec![Bound::Gte(Number::Integer(10_000))] };
    vec![
        ("a tag given within 30 days", Rule::Is(within)),
        ("20 to 39 years old, of everybody", aged()),
        ("purchases of 10,000 and more in a year", bought(365, sum)),
    ]
}
