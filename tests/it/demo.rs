//! `haishin demo` as a person runs it: the real binary, its own output, the sandbox's own books.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// When the paced campaign is due on the demo's clock.
const FAIR_AT: &str = "2026-12-04T09:01:00.000Z";
/// How many looks a condition gets, and how long lies between two.
const LOOKS: u32 = 2_400;
const BETWEEN: Duration = Duration::from_millis(50);

fn haishin() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_haishin"));
    command.env_remove("STATE_DIRECTORY").env_remove("HAISHIN_CONFIG").args(["--lang", "en"]);
    command
}

/// A demo of its own, in a directory deeper than a socket's path may be long.
struct Demo {
    _root: tempfile::TempDir,
    dir: PathBuf,
}

impl Demo {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("deep-inside/".repeat(12)).join("demo");
        Self { _root: root, dir }
    }

    fn command(&self) -> Command {
        let mut command = haishin();
        command.args(["demo", "--speed", "6"]).arg("--dir").arg(&self.dir).stdin(Stdio::null());
        command
    }

    /// What a command answers on the demo's configuration.
    fn ask(&self, words: &[&str]) -> Value {
        let mut command = haishin();
        let output = command.arg("--config").arg(self.dir.join("config")).arg("--json").args(words).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
    }

    fn start(&self, name: &str) -> Running {
        let out = self.dir.with_file_name(name);
        std::fs::create_dir_all(out.parent().unwrap()).unwrap();
        let file = File::create(&out).unwrap();
        let child =
            self.command().args(["--port", "0"]).stdout(file.try_clone().unwrap()).stderr(file).spawn();
        Running { child: child.unwrap(), out }
    }
}

/// A demo that runs; killed when dropped.
struct Running {
    child: Child,
    out: PathBuf,
}

impl Running {
    fn text(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// The output once it holds a text.
    async fn says(&mut self, wanted: &str) -> String {
        for _ in 0..LOOKS {
            let text = self.text();
            if text.contains(wanted) {
                return text;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the demo ended:\n{text}");
            tokio::time::sleep(BETWEEN).await;
        }
        panic!("`{wanted}` was not said:\n{}", self.text());
    }

    /// Where its sandbox listens.
    async fn line(&mut self) -> Line {
        let text = self.says("/phone").await;
        let at = text.find("http://").unwrap();
        let base = text[at..].split("/phone").next().unwrap().to_owned();
        let _ = rustls::crypto::ring::default_provider().install_default();
        Line { base, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sandbox's control API.
struct Line {
    base: String,
    http: reqwest::Client,
}

impl Line {
    async fn get(&self, path: &str) -> Value {
        self.http.get(format!("{}/sandbox/{path}", self.base)).send().await.unwrap().json().await.unwrap()
    }

    /// Returns once so many batches of the paced campaign were taken.
    async fn takes(&self, batches: usize) {
        for _ in 0..LOOKS {
            let requests = self.get("requests?limit=10000").await;
            let of_fair = |request: &&Value| {
                request["at"].as_str().unwrap() >= FAIR_AT && request["delivered"].as_u64().unwrap() > 0
            };
            let requests = requests.as_array().unwrap_or_else(|| panic!("{requests}"));
            if requests.iter().filter(of_fair).count() >= batches {
                return;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        panic!("the paced campaign did not get so far");
    }
}

/// The numbers of a line, in order; `1,867` is one number.
fn numbers(line: &str) -> Vec<u64> {
    let plain = line.replace(',', "");
    let digits = plain.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    digits.map(|part| part.parse().unwrap()).collect()
}

/// The first line at or after the heading that begins so, without its indent.
fn line_of<'a>(text: &'a str, heading: &str, begins: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.contains(heading));
    lines.find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no `{begins}` in:\n{text}"))
}

#[test]
fn one_command_tells_a_story_whose_numbers_add_up() {
    let demo = Demo::new();
    let output = demo.command().args(["--once", "--fresh", "--port", "0"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{said}");

    let [friends, reachable, blocked] = numbers(text.lines().next().unwrap())[..] else { panic!("{text}") };
    assert_eq!(friends, reachable + blocked);
    assert!((3_000..3_100).contains(&friends) && (550..650).contains(&blocked), "{text}");

    let coupon = "冬の10%OFFクーポン →";
    let matched = numbers(line_of(&text, coupon, "matched"))[0];
    let excluded: Vec<(&str, u64)> = text
        .lines()
        .skip_while(|line| !line.contains(coupon))
        .filter_map(|line| line.trim().strip_prefix("− "))
        .map(|line| (line, *numbers(line).last().unwrap()))
        .collect();
    for reason in ["not following", "opted out", "cap 販促 週2通", "holdout"] {
        assert!(
            excluded.iter().any(|(line, count)| line.starts_with(reason) && *count > 0),
            "{reason}: {text}"
        );
    }
    let exclusions: u64 = excluded.iter().map(|(_, count)| count).sum();
    let [recipients, before, after, price] = numbers(line_of(&text, coupon, "recipients"))[..] else {
        panic!("{text}")
    };
    assert_eq!(matched, exclusions + recipients);
    assert_eq!((before - after, price), (recipients, 0));
    assert!((100..1_000).contains(&recipients), "{text}");
    let sent = line_of(&text, coupon, "sent");
    assert_eq!(numbers(sent), [recipients, recipients, 1, 409, 1], "{sent}");
    assert!(sent.contains("no answer 1 time → retried under the same key") && sent.ends_with("nobody twice"));
    let balance = line_of(&text, coupon, "balance");
    assert_eq!(numbers(balance), [matched, exclusions, recipients, 0, 0], "{balance}");
    assert!(balance.ends_with('✓'));

    // The README shows what its reader will see, and the translation the same figures.
    let shown = |page: &str| {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let lines = page.lines().skip_while(|line| !line.starts_with("18:00 冬の"));
        lines.take_while(|line| *line != "```").map(str::to_owned).collect::<Vec<_>>()
    };
    let (english, japanese) = (shown("README.md"), shown("README.ja.md"));
    assert_eq!(english.len(), 9);
    for line in &english {
        assert!(text.contains(line), "README.md shows other figures than the demo: {line}\n{text}");
    }
    let figures = |lines: &[String]| lines.iter().map(|line| numbers(line)).collect::<Vec<_>>();
    assert_eq!(figures(&english), figures(&japanese));

    // The ledger says the same to a command, on the demo's clock: what is to come still is.
    let occurrence = line_of(&text, coupon, "haishin occurrence show");
    let show = demo.ask(&["occurrence", "show", &numbers(occurrence)[0].to_string()]);
    assert_eq!(
        (&show["campaign"], &show["matched"], &show["recipients"]),
        (&"winter-coupon".into(), &matched.into(), &recipients.into())
    );
    assert_eq!(show["frozen_at"].as_str().map(|at| &at[..16]), Some("2026-12-04T09:00"));
    let list = demo.ask(&["campaign", "list"]);
    let fair =
        list["campaigns"].as_array().unwrap().iter().find(|row| row["campaign"] == "gift-fair").unwrap();
    assert_eq!(fair["next_due_at"], FAIR_AT);
}

#[tokio::test]
async fn killed_in_the_middle_it_goes_on_and_the_books_balance() {
    let demo = Demo::new();
    let mut first = demo.start("first.txt");
    let line = first.line().await;
    line.takes(2).await;
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let told = first.text();
    let recipients = numbers(line_of(&told, "冬ギフトフェアのお知らせ", "recipients"))[0];

    let mut second = demo.start("second.txt");
    let line = second.line().await;
    let text = second.says("balance").await;
    let open =
        line_of(&text, "Last time ended in the middle of 冬ギフトフェアのお知らせ", "accepted by LINE");
    let [accepted, of, batches, doubtful, untried] = numbers(open)[..] else { panic!("{open}") };
    assert_eq!((of, accepted + doubtful + untried), (recipients, recipients), "{open}");
    assert!(accepted + doubtful >= 400, "two batches of 200 were taken: {open}");

    let sent = line_of(&text, "Last time", "sent");
    let Some((known, fresh)) = answers(sent) else {
        panic!("a batch whose answer was slow had no answer at the kill: {text}")
    };
    assert_eq!(&numbers(sent)[..2], [recipients, recipients]);
    assert_eq!(known + fresh, batches, "{sent}");
    assert!(sent.ends_with("nobody twice"), "{sent}");
    let balance = line_of(&text, "Last time", "balance");
    let [matched, excluded, had, unknown, left] = numbers(balance)[..] else { panic!("{balance}") };
    assert_eq!((matched, had, unknown, left), (excluded + recipients, recipients, 0, 0), "{balance}");
    assert!(balance.ends_with('✓'));

    // LINE's side of it.
    let state = line.get("state").await;
    assert_eq!(state["totals"]["answered"]["409"].as_u64().unwrap_or(0), known);
    let audit = line.get("audit").await;
    assert_eq!((&audit["duplicate_pairs"], &audit["without_key"]), (&0.into(), &0.into()));
    assert_eq!(
        (&audit["keys_with_two_bodies"], &audit["keys_taken_twice"]),
        (&Value::from([0; 0]), &Value::from([0; 0]))
    );

    // Its socket answers, however deep it lies; and it ends when asked to.
    assert_eq!(demo.ask(&["status"])["accounts"][0]["open"], Value::from([0; 0]));
    assert!(is_deep(&demo.dir.join("state/haishin.sock")));
    let id = rustix::process::Pid::from_child(&second.child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(second.child.wait().unwrap().success());
}

/// How often LINE answered what had no answer: 409, and 200 for the first time.
fn answers(sent: &str) -> Option<(u64, u64)> {
    let after = |mark: &str| numbers(sent.split(mark).nth(1)?).first().copied();
    Some((after("409 (already accepted) ")?, after("200 (first time) ")?))
}

fn is_deep(socket: &Path) -> bool {
    socket.exists() && socket.as_os_str().len() > 107
}

#[test]
fn a_directory_that_no_demo_made_is_left_alone() {
    let theirs = tempfile::tempdir().unwrap();
    std::fs::write(theirs.path().join("diary.txt"), "x").unwrap();
    let output = haishin().args(["demo", "--fresh", "--dir"]).arg(theirs.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("choose another place with --dir"));
    assert_eq!(std::fs::read_dir(theirs.path()).unwrap().count(), 1);
}
