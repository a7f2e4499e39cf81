//! The daemon as its machine sees it: signals, the socket, logs, and that no secret leaves it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use haishin::domain::id::UserId;
use haishin::domain::time::Instant;
use haishin::sandbox::{Fault, FaultKind};
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::stocked;
use crate::support::postgres;
use crate::support::shop::{KOHARU, SECRET, Shop, free_port, mode, user};

const AT_ONCE: &str = "title = \"一回\"\naudience = { status = \"following\" }\nreach = \"everyone\"\n\
                       schedule = { at = \"2090-12-04 18:00\" }\nmessage = [{ type = \"text\", text = \"x\" }]\n";

/// A shop that sends one message to its seven reachable friends at 18:00.
fn sending() -> Shop {
    let shop = stocked();
    for name in ["birthday", "winter-coupon", "gift-fair"] {
        shop.remove(&format!("campaigns/{name}.toml"));
    }
    std::fs::remove_dir_all(shop.config().join("drips")).unwrap();
    shop.write("segments/tokyo-regulars.toml", "title = \"都内\"\ntag = \"member\"\n");
    shop.write("campaigns/once.toml", AT_ONCE);
    shop.ok(&["apply", "--yes"]);
    shop
}

#[test]
fn a_termination_waits_for_the_answer_in_flight_and_keeps_it() {
    let shop = sending();
    shop.sandbox.set_faults(vec![Fault::nth(FaultKind::Slow { ms: 1_500 }, [1])]);
    let daemon = shop.daemon(&["--clock", "2090-12-04T17:59:59+09:00"]);
    while shop.sandbox.totals().multicasts == 0 {
        std::thread::yield_now();
    }
    let (code, log) = daemon.terminate();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("ended before everything"), "{log}");
    let books = shop.json(&["occurrence", "show", "1"]);
    assert_eq!(books["books"]["counts"]["accepted"], 7, "{books}");
    assert_eq!(shop.sandbox.totals().multicasts, 1);
    let again = shop.daemon(&["--clock", "2090-12-04T18:01:00+09:00"]);
    assert_eq!(again.terminate().0, 0);
    assert_eq!(shop.sandbox.totals().multicasts, 1, "nothing was left to be asked again");
}

/// A whole run with refused tokens in it, logged in JSON at the most talkative level.
#[test]
fn logs_are_json_and_no_output_holds_a_secret() {
    let shop = sending();
    let token = "a-long-lived-token-0123456789";
    shop.edit("haishin.toml", "format = \"text\"", "format = \"json\"");
    shop.edit("haishin.toml", "level = \"info\"", "level = \"trace\"");
    shop.sandbox.set_faults(vec![Fault::always(FaultKind::Unauthorized)]);
    let mut daemon = shop.start(&["--clock", "2090-12-04T17:59:59+09:00"]);
    daemon.wait_for("\"ready\"");
    daemon.wait_for("the account pauses");
    shop.sandbox.set_faults(Vec::new());
    let argv = std::fs::read(format!("/proc/{}/cmdline", daemon.id())).unwrap();
    assert!(!String::from_utf8_lossy(&argv).contains(SECRET));
    // A wrong token now, named by the files.
    shop.edit(
        "haishin.toml",
        "# access_token = { credential = \"koharu-access-token\" }",
        "access_token = { file = \"secrets/token\" }",
    );
    shop.write("secrets/token", token);
    shop.ok(&["apply", "--yes"]);
    shop.run(&["start", "--due", "judge"]);
    daemon.wait_for("the account pauses");
    let words: [&[&str]; 5] = [
        &["status"],
        &["occurrence", "list"],
        &["occurrence", "show", "1"],
        &["campaign", "list"],
        &["plan"],
    ];
    for words in words {
        for form in ["--json", "--lang=ja"] {
            let said = shop.run(&[&[form], words].concat());
            assert!(!said.out.contains(token) && !said.err.contains(token), "{said:?}");
        }
    }
    let (code, log) = daemon.terminate();
    assert_eq!(code, 0);
    assert!(!log.contains(SECRET) && !log.contains(token), "a secret was logged");
    let mut levels = std::collections::BTreeSet::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        levels.insert(line["level"].as_str().unwrap().to_owned());
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
    }
    assert!(levels.contains("INFO") && levels.len() >= 2, "{levels:?}");
    let database = std::fs::read(shop.state().join("haishin.sqlite3")).unwrap();
    for secret in [SECRET, token] {
        assert!(
            !database.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()),
            "a secret was stored"
        );
    }
}

/// A conversation over the socket.
pub struct Line(UnixStream);

impl Line {
    pub fn to(shop: &Shop) -> Self {
        Self(UnixStream::connect(socket(shop)).unwrap())
    }
    pub fn say(mut self, text: &[u8]) -> Self {
        // A daemon that has heard enough may hang up in the middle.
        let _ = self.0.write_all(text);
        self
    }
    /// Nothing more comes from us; everything it answers.
    pub fn end(mut self) -> String {
        let _ = self.0.shutdown(Shutdown::Write);
        let mut text = String::new();
        let _ = self.0.read_to_string(&mut text);
        text
    }
}

fn socket(shop: &Shop) -> PathBuf {
    shop.state().join("haishin.sock")
}

/// A request as a line.
pub fn request(command: Value) -> Vec<u8> {
    let request = json!({ "lang": "en", "by": "hana", "account": null, "command": command });
    format!("{request}\n").into_bytes()
}

#[test]
fn the_socket_takes_whatever_comes() {
    let shop = stocked();
    let daemon = shop.daemon(&[]);
    assert_eq!(mode(&socket(&shop)), 0o660);
    assert_eq!(std::fs::metadata(socket(&shop)).unwrap().uid(), rustix::process::geteuid().as_raw());
    let count = request(json!({ "name": "segment_count", "segments": [], "now": null }));
    let mut text = String::new();
    for (what, said) in [
        ("no JSON", b"hello\n".to_vec()),
        ("not UTF-8", b"\xff\xfe\n".to_vec()),
        ("an unknown command", request(json!({ "name": "self_destruct" }))),
        (
            "an unknown key",
            b"{\"lang\":\"en\",\"by\":\"x\",\"account\":null,\"command\":{\"name\":\"status\"},\"x\":1}\n"
                .to_vec(),
        ),
        ("half a request", count[..20].to_vec()),
        ("nothing", Vec::new()),
        ("an upload without its end", {
            let mut said = request(json!({ "name": "import" }));
            said.extend(b"{\"intakes\":[]}\n");
            said
        }),
        ("an upload that is not an import's to say", {
            let mut said = request(json!({ "name": "import" }));
            let erased =
                json!({ "user": user(1), "at": "2090-01-01T00:00:00Z", "effect": { "kind": "erased" } });
            said.extend(format!("{}\n", json!({ "intakes": [erased] })).bytes());
            said
        }),
        ("an upload that is none", {
            let mut said = request(json!({ "name": "import" }));
            said.extend(b"{\"friends\":[]}\n");
            said
        }),
    ] {
        text += &format!("# {what}\n{}\n", Line::to(&shop).say(&said).end());
    }
    assert_snapshot!("socket", super::without_now(&text));
    let long = vec![b'x'; (16 << 20) + 1];
    let told = Line::to(&shop).say(&long).end();
    assert!(told.contains("longer than") || told.is_empty(), "{told}");
    // Clients that ask and do not listen, or leave in the middle.
    for _ in 0..40 {
        drop(Line::to(&shop).say(&count));
        drop(Line::to(&shop).say(&count[..10]));
    }
    // A hundred at once, all answered alike.
    let clients: Vec<Line> = (0..100).map(|_| Line::to(&shop)).collect();
    let clients: Vec<Line> = clients.into_iter().map(|line| line.say(&count)).collect();
    let answers: Vec<String> = clients.into_iter().map(Line::end).collect();
    for answer in &answers {
        let answer: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["done"]["json"]["segments"].as_array().unwrap().len(), 3, "{answer}");
    }
    // One that never says what it wants holds up nobody's end.
    let idle = Line::to(&shop);
    let (code, log) = daemon.terminate();
    assert_eq!(code, 0);
    assert!(!log.contains("stopping now"), "{log}");
    drop(idle);
}

/// What `/readyz` answers: its status and its checks.
fn readiness(port: u16) -> (u16, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_daemon_whose_database_is_gone_says_that_it_is_not_ready() {
    let (shop, runtime) = (Shop::new(), tokio::runtime::Runtime::new().unwrap());
    let (url, port) = (runtime.block_on(postgres::database()), free_port());
    shop.edit("haishin.toml", "url = \"sqlite:haishin.sqlite3\"", &format!("url = \"{url}\""));
    shop.edit("haishin.toml", "listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:{port}\""));
    let daemon = shop.daemon(&[]);
    let passed = json!([
        { "name": "database", "ok": true, "detail": "" },
        { "name": "account koharu", "ok": true, "detail": "" },
    ]);
    assert_eq!(readiness(port), (200, json!({ "ready": true, "checks": passed })));
    runtime.block_on(postgres::drop_database(&url));
    let (status, said) = readiness(port);
    assert_eq!(
        (status, &said["ready"], &said["checks"][0]["ok"]),
        (503, &json!(false), &json!(false)),
        "{said}"
    );
    daemon.kill();
}

/// Who acts and why is shown on terminals and in logs: it is one line there, whatever it was.
#[test]
fn what_a_person_says_is_kept_as_one_line() {
    let shop = stocked();
    let daemon = shop.daemon(&[]);
    let said = json!({ "lang": "en", "by": format!("\u{1b}[31mhana\n{}", "x".repeat(10_000)), "account": null,
        "command": { "name": "stop", "reason": "wrong\ncoupon\u{7}" } });
    Line::to(&shop).say(format!("{said}\n").as_bytes()).end();
    let status = serde_json::from_str::<Value>(&shop.run(&["status", "--json"]).out).unwrap();
    let stopped = &status["accounts"][0]["stopped"];
    assert_eq!(stopped["why"], json!({ "code": "words", "words": "wrong coupon" }));
    let by = stopped["by"].as_str().unwrap();
    assert!(by.starts_with("[31mhana xx") && by.chars().count() == 64, "{by:?}");
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn a_killed_daemons_socket_is_replaced_and_commands_do_not_fall_for_it() {
    let shop = stocked();
    shop.daemon(&[]).kill();
    assert!(socket(&shop).exists());
    assert_eq!(shop.run(&["segment", "list"]).code, 0, "nobody listens there: the command does it");
    let daemon = shop.daemon(&[]);
    assert_eq!(shop.run(&["segment", "list"]).code, 0);
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn a_very_deep_state_directory_works() {
    let shop = Shop::new();
    let deep = shop.state().join("d".repeat(60)).join("e".repeat(60)).join("f".repeat(60));
    let state = deep.to_str().unwrap();
    assert_eq!(shop.run(&["--state", state, "segment", "list"]).code, 0);
    let mut daemon = shop.start(&["--state", state]);
    daemon.wait_for("ready");
    assert_eq!(shop.run(&["--state", state, "segment", "list"]).code, 0);
    assert_eq!(daemon.terminate().0, 0);
}

#[test]
fn what_was_applied_is_sent_to_whom_the_files_say() {
    let shop = sending();
    let mut daemon = shop.daemon(&["--clock", "2090-12-04T17:59:59+09:00"]);
    daemon.wait_for("occurrence ended");
    let got = shop.sandbox.received_counts(KOHARU).unwrap();
    let expected = [1, 2, 3, 4, 6, 7, 8].map(|n| (UserId::parse(&user(n)).unwrap(), 1));
    assert_eq!(got, expected.into_iter().collect());
    let shown = shop.json(&["occurrence", "show", "1"]);
    assert_eq!(shown["books"]["balanced"], true);
    let due = Instant::try_from("2090-12-04T18:00:00+09:00".to_owned()).unwrap();
    assert_eq!(shown["due_at"], json!(due));
    assert_eq!(daemon.terminate().0, 0);
}
