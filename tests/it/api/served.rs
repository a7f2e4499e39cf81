//! The API as its users meet it: over the network, from the real daemon.

use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use haishin::domain::effect::Effect;
use haishin::domain::id::Seq;
use haishin::domain::time::Span;
use haishin::protocol::Command;
use haishin::store;
use rstest::rstest;
use serde_json::{Value, json};

use super::user;
use crate::support::daemon::{self, Daemon, Line, at};
use crate::support::shop;
use crate::support::store::Database;

const NOW: &str = "2026-12-04T12:00:00+09:00";
const ATTRIBUTES: &str = "prefecture = \"text\"\nbirthday = \"date\"\npoints = \"integer\"\nweight = \"number\"\n\
                          newsletter = \"boolean\"\nbooking_at = \"instant\"\n";

/// Where the daemon that was started last listens.
fn base(log: &str) -> String {
    let line = log.lines().rfind(|line| line.contains("listening address=")).unwrap();
    format!("http://{}", line.rsplit('=').next().unwrap().trim())
}

fn client() -> reqwest::Client {
    // The client needs a TLS library even for plain http.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn running(database: Database) -> (daemon::Shop, Daemon, String) {
    // Nothing is ever sent, so nobody need listen there.
    let line = Line::bind().await;
    let shop = daemon::Shop::new(database, line.address, "").await;
    shop.write("attributes.toml", ATTRIBUTES);
    let daemon = shop.started(at(NOW)).await;
    let scopes = ["friends:read", "friends:write", "friends:delete", "events:write"];
    let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
    let words: Vec<&str> = ["token", "create", "--name", "test"].into_iter().chain(scopes).collect();
    let token = shop.ask(&words).unwrap()["token"].as_str().unwrap().to_owned();
    (shop, daemon, token)
}

/// A tool that is not ours looks for anything the API does that its document does not say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_property_based_tester_finds_no_fault() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tester = project.join("target/schemathesis/bin/st");
    assert!(tester.exists(), "{} is missing; run tests/install-schemathesis first", tester.display());
    let (shop, daemon, token) = running(Database::Sqlite).await;
    let workplace = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(tester)
        .arg("--config-file")
        .arg(project.join("tests/schemathesis/schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", base(&shop.log())), "--checks", "all", "--seed", "1"])
        .args(["--max-examples", "30", "--max-failures", "20", "--no-color"])
        .env("HAISHIN_TOKEN", &token)
        .env("SCHEMATHESIS_HOOKS", project.join("tests/schemathesis/hooks.py"))
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(workplace.path())
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("4 selected / 4 total") && told.contains("No issues found"), "{told}");
    // It was let in, and did reach the friends.
    let metrics =
        client().get(format!("{}/metrics", base(&shop.log()))).send().await.unwrap().text().await.unwrap();
    for (route, status) in [
        ("POST /v1/accounts/{account}/friends", 202),
        ("POST /v1/accounts/{account}/friends", 207),
        ("POST /v1/accounts/{account}/friends", 422),
        ("POST /v1/accounts/{account}/events", 202),
        ("GET /v1/accounts/{account}/friends/{friend}", 200),
        ("DELETE /v1/accounts/{account}/friends/{friend}", 204),
        ("other /v1/accounts/{account}/events", 405),
    ] {
        let metric = format!("haishin_http_requests_total{{route=\"{route}\",status=\"{status}\"}}");
        assert!(metrics.contains(&metric), "{metric} is not in\n{metrics}");
    }
    assert!(metrics.contains("haishin_http_request_duration_seconds_bucket{route=\"GET /openapi.json\""));
    let secret = token.rsplit('_').next().unwrap();
    assert!(!shop.log().contains(secret) && !metrics.contains(secret));
    daemon.terminate();
}

/// One batch of events, each with a key of its own; some events say which they are, some do not.
fn batch(n: usize) -> (String, Value) {
    let event = |i: usize| {
        let mut event = json!({ "user": user(1), "name": format!("b{n}"), "properties": { "i": i } });
        if i.is_multiple_of(2) {
            event["event_id"] = json!(format!("{n}-{i}"));
        }
        event
    };
    (format!("key-{n}"), (0..4).map(event).collect())
}

/// The daemon is killed again and again while many clients post, each of whom sends again what was not answered: what
/// was acknowledged has happened, and everything once.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_kills_every_event_happens_once(#[case] database: Database) {
    const BATCHES: usize = 240;
    const KILLS: i64 = 3;
    let (shop, mut daemon, token) = running(database).await;
    let http = client();
    let mut open: Vec<usize> = (0..BATCHES).collect();
    for kill in 1..=KILLS + 1 {
        let url = format!("{}/v1/accounts/shop/events", base(&shop.log()));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for mine in open.chunks(open.len().div_ceil(8).max(1)).map(<[usize]>::to_vec) {
            let (http, url, token, answered) = (http.clone(), url.clone(), token.clone(), answered.clone());
            clients.spawn(async move {
                let mut left = Vec::new();
                for n in mine {
                    let (key, body) = batch(n);
                    let posted = http.post(&url).bearer_auth(&token).header("idempotency-key", key);
                    let posted =
                        posted.header("content-type", "application/json").body(body.to_string()).send().await;
                    match posted.map(|answer| answer.status().as_u16()) {
                        Ok(202) => _ = answered.fetch_add(1, Ordering::SeqCst),
                        // Cut off by the kill, or by one before.
                        Err(_) => left.push(n),
                        Ok(status) => panic!("{status}"),
                    }
                }
                left
            });
        }
        if kill <= KILLS {
            let enough = open.len() / 3;
            daemon::until("some are answered", async || {
                (answered.load(Ordering::SeqCst) >= enough).then_some(())
            })
            .await;
            daemon.kill();
            open = clients.join_all().await.concat();
            assert!(!open.is_empty(), "the kill came too late to cut anything off");
            // What was answered is sent again now and then, too.
            open.extend([0, 1]);
            open.sort_unstable();
            open.dedup();
            daemon = shop.started(at(NOW) + Span::from_mins(kill)).await;
        } else {
            assert_eq!(clients.join_all().await.concat(), Vec::<usize>::new());
        }
    }
    daemon::until("everything is applied", async || {
        let status = shop.converse(Command::Status).await?;
        (status["accounts"][0]["inbox"] == 0).then_some(())
    })
    .await;
    daemon.terminate();
    let store = store::open(&shop.url).await.unwrap();
    let account = store.accounts().await.unwrap()[0].id;
    assert_eq!(store.inbox_len(account).await.unwrap(), 0);
    let entries = store.entries(account, Seq(0), 100_000).await.unwrap();
    let mut happened: Vec<(String, String)> = entries
        .into_iter()
        .filter_map(|entry| match entry.effect {
            Effect::Event { name, properties, .. } => {
                Some((name.to_string(), serde_json::to_string(&properties).unwrap()))
            }
            _ => None,
        })
        .collect();
    happened.sort();
    let mut expected: Vec<(String, String)> =
        (0..BATCHES).flat_map(|n| (0..4).map(move |i| (format!("b{n}"), format!("{{\"i\":{i}}}")))).collect();
    expected.sort();
    assert_eq!(happened, expected);
    store.close().await;
}

/// Blocks of a page: what to type, and the JSON that follows it.
fn examples(page: &str) -> Vec<(String, Option<Value>)> {
    let mut found: Vec<(String, Option<Value>)> = Vec::new();
    let mut blocks = page.split("\n```");
    blocks.next();
    for block in blocks {
        if let Some(typed) = block.strip_prefix("sh\n") {
            found.push((typed.to_owned(), None));
        } else if let (Some(told), Some(last)) = (block.strip_prefix("json\n"), found.last_mut()) {
            last.1 = Some(serde_json::from_str(told).unwrap());
        }
    }
    found
}

/// Equal, but for what the page leaves open with `…`.
fn same(told: &Value, found: &Value) -> bool {
    match (told, found) {
        (Value::String(text), Value::String(_)) if text == "…" => true,
        (Value::Object(told), Value::Object(found)) => {
            told.len() == found.len()
                && told.iter().all(|(key, told)| found.get(key).is_some_and(|found| same(told, found)))
        }
        (Value::Array(told), Value::Array(found)) => {
            told.len() == found.len() && told.iter().zip(found).all(|(told, found)| same(told, found))
        }
        _ => told == found,
    }
}

#[test]
fn the_page_s_examples_do_what_it_says() {
    let shop = shop::Shop::empty();
    shop.write("secrets/shop", shop::SECRET);
    shop.write("attributes.toml", ATTRIBUTES);
    shop.write(
        "haishin.toml",
        &format!(
            "[accounts.shop]\nchannel_id = \"{}\"\nchannel_secret = {{ file = \"secrets/shop\" }}\n\
             api_base = \"http://{}\"\n[state]\ndirectory = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n",
            shop::KOHARU,
            shop.line,
            shop.state().display()
        ),
    );
    let daemon = shop.daemon(&[]);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let examples = examples(&page);
    assert_eq!((examples.len(), examples.iter().filter(|(_, told)| told.is_some()).count()), (7, 4));
    let mark = "--- end of example ---";
    let script: String =
        examples.iter().map(|(typed, _)| format!("{typed}\necho; echo '{mark}'\n")).collect();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_haishin"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Program::new("bash")
        .args(["-euo", "pipefail", "-c", &script.replace("http://127.0.0.1:8470", &base(&daemon.log()))])
        .env("PATH", path)
        .env("HAISHIN_CONFIG", shop.config())
        .env("NO_PROXY", "127.0.0.1")
        .env_remove("STATE_DIRECTORY")
        .output()
        .unwrap();
    let said = shop.said(output);
    assert_eq!(
        (said.code, said.err.as_str()),
        (0, ""),
        "curl is needed (Debian: apt-get install curl): {said:?}"
    );
    let outputs: Vec<&str> = said.out.split(mark).map(str::trim).collect();
    for ((typed, told), out) in examples.iter().zip(&outputs) {
        let Some(told) = told else { continue };
        let found: Value = serde_json::from_str(out).unwrap_or_else(|_| panic!("{typed}\n{out}"));
        assert!(same(told, &found), "{typed}\n{found:#}");
    }
    let twice: Vec<Value> =
        serde_json::Deserializer::from_str(outputs[4]).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(twice, [super::all_taken(1), super::all_taken(1)]);
    assert_eq!(outputs[6], "", "204 has no body");
    assert_eq!(daemon.terminate().0, 0);
}
