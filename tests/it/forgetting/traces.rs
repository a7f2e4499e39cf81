//! Nothing is left of who is erased: the database, its log, the state directory and what was logged are searched byte for
//! byte.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use haishin::clock::Clock as _;
use haishin::domain::attribute::Value;
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::FriendRef;
use haishin::domain::time::{Instant, Span};
use haishin::protocol::Command;
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::{ApiAnswer, NewInbox, NewRelay};
use haishin::telemetry::{LogFormat, subscriber};
use rstest::rstest;
use serde_json::json;

use crate::support::store::Database;
use crate::support::systems::Mood;
use crate::support::world::{Setup, World, user};

const NOON: &str = "2026-12-04T12:00:00+09:00";
const SYSTEMS: &str = "quiet_hours = \"off\"\n[webhooks.crm]\nurl = \"http://127.0.0.1:1/\"\n\
                       secret = { env = \"UNUSED\" }\n";
const DRIP: &str = "title = \"trial\"\ncategory = \"followup\"\nstart = { tag_added = \"trial\" }\n\
                    [[step]]\nname = \"tell\"\naction = { webhook = \"crm\" }\n\
                    [[step]]\nname = \"vip\"\naction = { tag = \"vip\", for = \"30d\" }\n";
const GIFT: &str = "title = \"gift\"\ncategory = \"service\"\naudience = { status = \"following\" }\n\
                    reach = \"everyone\"\nschedule = { at = \"2026-12-04 18:00\" }\n\
                    message = [{ type = \"text\", text = \"gift\" }]\n";
const FRIENDS: u32 = 3;

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is said of a friend and of nobody else.
fn said_of(n: u32) -> [String; 3] {
    [format!("kunde-{n}-4711"), format!("ultramarin-{n}-blau"), format!("laternenfest-{n}-karte")]
}

fn intake(friend: FriendRef, at: Instant, effect: Effect) -> Intake {
    Intake { friend, at, effect, dedupe: None }
}

async fn tell(world: &World, intakes: Vec<Intake>) {
    let (account, received_at) = (world.row(0).await, world.clock.now());
    let row = NewInbox { account, received_at, source: NewInbox::API.into(), intakes };
    world.test.store.append_inbox(vec![row]).await.unwrap();
    world.account(0).nudge();
    world.at_once("it is applied", async || (world.status().await["inbox"] == 0).then_some(())).await;
}

async fn say_everything(world: &World, n: u32) {
    world.clock.advance(Span::from_secs(1));
    let at = world.clock.now();
    let [id, text, property] = said_of(n);
    // Nobody has the id yet.
    let vip = Effect::TagAdded { tag: "vip".parse().unwrap() };
    tell(world, vec![intake(FriendRef::External(id.clone()), at, vip)]).await;
    let name = "memo".parse().unwrap();
    let effects = [
        Effect::ExternalId { external_id: Some(id) },
        Effect::Attribute { name, value: Some(Value::Text(text.into())) },
        Effect::Event {
            name: "purchase".parse().unwrap(),
            event_id: None,
            properties: [("item".parse().unwrap(), Value::Text(property.into()))].into(),
        },
        Effect::TagAdded { tag: "trial".parse().unwrap() },
    ];
    tell(world, effects.into_iter().map(|effect| intake(user(n).into(), at, effect)).collect()).await;
    let (account, text) = (world.row(0).await, user(n).to_string());
    let relay = NewRelay {
        account,
        received_at: at,
        signature: "x".into(),
        body: json!({ "user": text }).to_string(),
    };
    world.test.store.append_webhooks(vec![], vec![relay]).await.unwrap();
    let (key, body) = (format!("key-{n}"), json!({ "user": text }).to_string());
    let answer = ApiAnswer { account, key, request: [1; 32], at, status: 202, body };
    world.test.store.append_once(vec![], &answer).await.unwrap();
}

async fn erase(world: &World, n: u32) {
    tell(world, vec![intake(user(n).into(), world.clock.now(), Effect::Erased)]).await;
}

fn bytes_below(directory: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_below(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// Where anything of a friend's is found.
async fn traces(world: &World, n: u32) -> Vec<String> {
    let mut files = vec![("dump".to_owned(), world.test.dump().await.into_bytes())];
    bytes_below(world.state_dir(), &mut files);
    if let Some(path) = world.test.url.strip_prefix("sqlite://") {
        bytes_below(Path::new(path).parent().unwrap(), &mut files);
    }
    let raw = user(n).0;
    let reversed: Vec<u8> = raw.iter().rev().copied().collect();
    let mut needles = vec![
        ("user id".to_owned(), user(n).to_string().into_bytes()),
        ("user id in capitals".into(), hex::encode_upper(raw).into_bytes()),
        ("user id in hex".into(), hex::encode(raw).into_bytes()),
        ("raw user id".into(), raw.to_vec()),
        ("raw user id from behind".into(), reversed),
    ];
    for said in said_of(n) {
        needles.push((format!("{said} in hex"), hex::encode(&said).into_bytes()));
        needles.push((format!("{said} in hex capitals"), hex::encode_upper(&said).into_bytes()));
        needles.push((said.clone(), said.into_bytes()));
    }
    let mut found = Vec::new();
    for (file, bytes) in &files {
        for (what, needle) in &needles {
            if bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(format!("{what} in {file}"));
            }
        }
    }
    found
}

fn has(found: &[String], what: &str) -> bool {
    found.iter().any(|one| one.starts_with(what))
}

/// Two friends of whom everything is known that can be: one is erased in quiet, and the checkpoint that this makes holds
/// the other; the other while a batch that LINE may have holds them, and the process is killed right then.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn nothing_is_left_of_who_is_erased(#[case] database: Database) {
    let logged = Logged::default();
    let lines = logged.clone();
    let writer = move || lines.clone();
    let _here = tracing::subscriber::set_default(
        subscriber(LogFormat::Text, "info,haishin=trace", false, writer).unwrap(),
    );
    let files = [("drips/trial".to_owned(), DRIP.to_owned()), ("gift".to_owned(), GIFT.to_owned())];
    let mut world = World::of(Setup {
        now: NOON,
        settings: SYSTEMS,
        campaigns: files.to_vec(),
        accounts: vec![("shop", FRIENDS)],
        database,
        seed: 0,
    })
    .await;
    world.systems.answer(|_| Mood::Answer(422));
    for n in 1..FRIENDS {
        say_everything(&world, n).await;
    }
    world.step = Span::from_secs(5);
    let account = world.row(0).await;
    let store = world.test.store.clone();
    world
        .until("the drip is over", async || {
            let ways = store.enrollment_endings(account).await.unwrap();
            (ways.iter().map(|(.., ways)| ways).sum::<u64>() == 2).then_some(())
        })
        .await;
    world.pass(Span::from_secs(20)).await;
    assert_eq!(store.tag_expiries(account, Instant::MAX, 9).await.unwrap().len(), 2);
    assert_eq!(store.stray_count(account).await.unwrap(), 2);

    // In quiet.
    erase(&world, 2).await;
    let found = traces(&world, 2).await;
    assert!(has(&found, "user id") && said_of(2).iter().all(|said| has(&found, said)), "{found:?}");
    world.step = Span::from_secs(30);
    world.pass(Span::from_hours(2)).await;
    assert_eq!(store.erasures(account).await.unwrap(), []);
    let row = &store.friends_by_id(account, &[haishin::domain::id::FriendId(2)]).await.unwrap()[0];
    assert!(row.erased_at.is_some() && row.user.is_none() && row.tags.is_empty(), "{row:?}");
    // Nor what is kept under their number alone.
    assert_eq!(store.enrollments_of(account, row.friend).await.unwrap(), []);
    let timed = store.tag_expiries(account, Instant::MAX, 9).await.unwrap();
    assert!(timed.iter().all(|tag| tag.friend != row.friend), "{timed:?}");

    // In doubt.
    world.pass(Span::from_mins(3 * 60 + 50)).await;
    world.step = Span::from_millis(250);
    world.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    let doubt = async || (world.status().await["open"][0]["possibly_sent"] == 2).then_some(());
    world.until("doubt", doubt).await;
    let found = traces(&world, 1).await;
    // A dump says bytes in hex.
    let bytes = if database == Database::Sqlite { "raw user id" } else { "user id in hex" };
    assert!(has(&found, bytes) && has(&found, "user id"), "{found:?}");
    assert!(said_of(1).iter().all(|said| has(&found, said)), "{found:?}");
    erase(&world, 1).await;
    world.kill(0).await;
    assert_eq!(store.erasures(account).await.unwrap()[0].user, Some(user(1)));
    world.start(0).await.unwrap();
    world.pass(Span::from_secs(5)).await;
    world.step = Span::from_mins(1);
    // Swept before, forgotten after the batch's end.
    world.pass(Span::from_hours(3)).await;
    assert_eq!(store.erasures(account).await.unwrap()[0].user, Some(user(1)));
    world.sandbox.set_faults(vec![]);
    world.step = Span::from_secs(1);
    world.until_state(1, "finished").await;
    assert_eq!(world.counts(1).await["accepted"], 2, "with the same bytes LINE knows it again");
    let audit = world.sandbox.audit();
    assert_eq!((audit.duplicate_pairs, audit.keys_with_two_bodies), (0, vec![]));
    world.pass(Span::from_secs(70)).await;
    assert_eq!(store.erasures(account).await.unwrap(), []);
    // What waits for a day at the longest: webhooks to be handed on, answers of the API.
    world.step = Span::from_mins(1);
    world.pass(Span::from_hours(18)).await;
    world.step = Span::from_secs(1);
    world.pass(Span::from_secs(10)).await;

    let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("occurrence ended"), "{logged}");
    for n in 0..FRIENDS {
        let said = said_of(n).into_iter().chain([user(n).to_string()]).find(|said| logged.contains(said));
        assert_eq!(said, None);
    }
    let status = world.done(Command::Status).await;
    assert_eq!((&status["friends"], &status["strays"]), (&json!(1), &json!(0)), "{status}");
    let ways = store.enrollment_endings(account).await.unwrap();
    assert_eq!(ways.iter().map(|(.., ways)| ways).sum::<u64>(), 2, "the counts stay");
    // What was deleted last goes from the file with the log, at the next rest or at the end.
    world.kill(0).await;
    store.close().await;
    for n in 1..FRIENDS {
        assert_eq!(traces(&world, n).await, Vec::<String>::new(), "friend {n}");
    }
    let found = traces(&world, 0).await;
    assert!(has(&found, "user id"), "of somebody else everything is there: {found:?}");
}
