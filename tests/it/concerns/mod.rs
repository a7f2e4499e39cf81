//! Everything an operator has to act on or should know of is brought about once, and seen in `status`, in the metrics and
//! by a doctor; the list, its words, the runbook and the alerts say the same.

mod doctor;
mod list;
mod machine;

use std::collections::BTreeSet;

use haishin::clock::Clock as _;
use haishin::concern::{Code, Concern};
use haishin::domain::effect::{Effect, Intake};
use haishin::domain::friend::FriendRef;
use haishin::domain::time::{Span, Tz};
use haishin::engine::concerns::account_facts;
use haishin::engine::restored::{Holder, hold};
use haishin::protocol::{Command, DueChoice};
use haishin::sandbox::{Endpoint, Fault, FaultKind};
use haishin::store::{NewInbox, NewRelay};
use haishin::telemetry::recorder;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;

use crate::support::faulty::Mishap;
use crate::support::systems::Mood;
use crate::support::world::{CHANNEL, World, slug, user};

const NOON: &str = "2026-12-04T12:00:00+09:00";
/// Nothing but the campaign itself decides.
const PLAIN: &str = "quiet_hours = \"off\"\nrate = 20\n[webhooks.crm]\nurl = \"http://127.0.0.1:1/\"\nsecret = { env = \"UNUSED\" }\n";

/// A one-shot to everybody, a minute after noon.
fn gift(more: &str) -> String {
    format!(
        "{more}\ntitle = \"gift\"\naudience = {{ status = \"following\" }}\nreach = \"everyone\"\n\
         schedule = {{ at = \"2026-12-04 12:01\" }}\nmessage = [{{ type = \"text\", text = \"a gift\" }}]\n"
    )
}

/// Whoever gets the tag `trial` is thanked a minute later, and the shop's system told.
const TRIAL: &str = "title = \"trial\"\ncategory = \"service\"\nstart = { tag_added = \"trial\" }\n\
    [[step]]\nname = \"tell\"\nafter = \"1min\"\naction = { webhook = \"crm\" }\n\
    [[step]]\nname = \"thanks\"\nafter = \"2min\"\nmessage = [{ type = \"text\", text = \"thanks\" }]\n";

/// A world whose metrics somebody reads.
struct Watched {
    world: World,
    metrics: PrometheusHandle,
}

async fn watched(more: &str) -> Watched {
    let recorder = recorder().unwrap();
    let metrics = recorder.handle();
    // For this thread, on which the whole world runs; it ends with the test.
    std::mem::forget(metrics::set_default_local_recorder(Box::leak(Box::new(recorder))));
    let world = World::new(NOON, PLAIN, &[("gift", &gift(more)), ("drips/trial", TRIAL)], 30).await;
    Watched { world, metrics }
}

fn codes(status: &Value) -> BTreeSet<String> {
    let concerns = status["concerns"].as_array().expect("there is the list").iter();
    concerns.map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

impl Watched {
    fn metric(&self, code: Code) -> bool {
        let line = format!("haishin_concern{{account=\"shop\",code=\"{}\"}} ", code.as_str());
        let text = self.metrics.render();
        let found = text.lines().find_map(|found| found.strip_prefix(line.as_str()));
        match found.unwrap_or_else(|| panic!("{line} is not in\n{text}")) {
            "0" => false,
            "1" => true,
            other => panic!("{line}{other}"),
        }
    }

    /// What a doctor reads from the rows while nobody runs.
    async fn doctor(&self) -> BTreeSet<String> {
        let store = self.world.test.store.as_ref();
        let row = store.accounts().await.unwrap().remove(0);
        let configuration = Some(self.world.active().configuration.as_ref());
        let facts = account_facts(store, row, configuration, self.world.clock.now()).await.unwrap();
        let concerns: Vec<Concern> = facts.concerns(Tz::UTC);
        concerns.iter().map(|one| one.code.as_str().to_owned()).collect()
    }

    /// Lets time pass until it is so: in the metrics by itself, and in `status`, where it is told in full.
    async fn begins(&self, code: Code) {
        self.world.until(code.as_str(), async || self.metric(code).then_some(())).await;
        self.told(code).await;
    }

    async fn told(&self, code: Code) {
        let answer = self.world.ask(Command::Status).await.unwrap();
        assert!(
            codes(&answer.json).contains(code.as_str()),
            "{}: {}",
            code.as_str(),
            answer.json["concerns"]
        );
        let shown = answer.json["concerns"].as_array().unwrap().iter();
        let shown = shown.clone().find(|one| one["code"] == code.as_str()).unwrap();
        assert!(answer.text.contains(shown["what"].as_str().unwrap()), "{}", answer.text);
        assert!(answer.text.contains(shown["next"].as_str().unwrap()), "{}", answer.text);
        assert!(shown["severity"] == "note" || answer.exit == 3, "{}", answer.text);
        assert!(self.metric(code), "{} is in the metrics, too", code.as_str());
    }

    /// The same, and a doctor without a daemon says it, too.
    async fn begins_in_the_rows(&self, code: Code) {
        self.begins(code).await;
        assert!(self.doctor().await.contains(code.as_str()), "{}", code.as_str());
    }

    async fn is_over(&self, code: Code) {
        self.world.until("it is over", async || (!self.metric(code)).then_some(())).await;
        assert!(!codes(&self.world.status().await).contains(code.as_str()));
    }

    async fn append(&self, intakes: Vec<Intake>, age: Span) {
        let account = self.world.row(0).await;
        let received_at = self.world.clock.now() - age;
        let row = NewInbox { account, received_at, source: "api".into(), intakes };
        self.world.test.store.append_inbox(vec![row]).await.unwrap();
    }

    async fn tag(&self, friend: FriendRef) {
        // What lies at a drip's activation itself starts nobody.
        self.world.clock.advance(Span::from_secs(1));
        let effect = Effect::TagAdded { tag: "trial".parse().unwrap() };
        let at = self.world.clock.now();
        self.append(vec![Intake { friend, at, effect, dedupe: None }], Span::ZERO).await;
    }
}

#[tokio::test]
async fn nothing_is_so_at_first_and_every_code_has_its_metric() {
    let watched = watched("draft = true").await;
    let status = watched.world.ask(Command::Status).await.unwrap();
    assert_eq!((status.exit, codes(&status.json)), (0, BTreeSet::new()));
    let mut seen = 0;
    for code in Code::ALL.into_iter().filter(|code| code.scope() == haishin::concern::Scope::Account) {
        assert!(!watched.metric(code), "{}", code.as_str());
        seen += 1;
    }
    assert!(seen > 20);
    // So has every counter.
    let text = watched.metrics.render();
    for line in [
        "haishin_requests_total{account=\"shop\",answer=\"unauthorized\"} 0",
        "haishin_deliveries_total{account=\"shop\",outcome=\"unknown\"} 0",
        "haishin_occurrences_total{account=\"shop\",state=\"missed\"} 0",
        "haishin_relayed_total{account=\"shop\",result=\"dropped\"} 0",
        "haishin_strays_total{account=\"shop\"} 0",
        "haishin_open_occurrences{account=\"shop\",state=\"held\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn a_stop_and_what_a_person_paused() {
    let watched = watched("draft = true").await;
    watched.world.done(Command::CampaignPause { campaign: slug("gift") }).await;
    watched.begins_in_the_rows(Code::CampaignPaused).await;
    watched.world.done(Command::DripPause { drip: slug("trial") }).await;
    watched.begins_in_the_rows(Code::DripPaused).await;
    assert_eq!(watched.world.ask(Command::Status).await.unwrap().exit, 0, "a person wanted it so");
    watched.world.done(Command::CampaignResume { campaign: slug("gift") }).await;
    watched.is_over(Code::CampaignPaused).await;
    watched.world.done(Command::Stop { reason: "wrong coupon".into() }).await;
    watched.begins_in_the_rows(Code::Stopped).await;
    watched.world.done(Command::Start { due: None }).await;
    watched.is_over(Code::Stopped).await;
}

#[tokio::test]
async fn a_refused_token_and_a_forbidden_account() {
    for (kind, code) in
        [(FaultKind::Unauthorized, Code::TokenRefused), (FaultKind::Forbidden, Code::AccountForbidden)]
    {
        let watched = watched("").await;
        watched.world.sandbox.set_faults(vec![Fault::always(kind)]);
        watched.begins_in_the_rows(code).await;
        watched.world.sandbox.set_faults(vec![]);
        watched.world.done(Command::Start { due: Some(DueChoice::Judge) }).await;
        watched.is_over(code).await;
    }
}

#[tokio::test]
async fn a_guard_pauses_a_campaign_and_a_drip() {
    let watched = watched("").await;
    watched.world.sandbox.set_faults(vec![
        Fault::always(FaultKind::BadRequest),
        Fault { endpoint: Endpoint::ValidateMulticast, ..Fault::always(FaultKind::BadRequest) },
    ]);
    watched.begins_in_the_rows(Code::CampaignPausedByGuard).await;
    watched.tag(user(1).into()).await;
    watched.begins_in_the_rows(Code::DripPausedByGuard).await;
    watched.world.sandbox.set_faults(vec![]);
    watched.world.done(Command::CampaignResume { campaign: slug("gift") }).await;
    watched.is_over(Code::CampaignPausedByGuard).await;
}

#[tokio::test]
async fn a_restored_database_and_what_it_holds() {
    let mut watched = watched("pace = \"5/10min\"").await;
    watched.world.until_requests(1).await;
    watched.world.kill(0).await;
    let (store, now) = (watched.world.test.store.clone(), watched.world.clock.now());
    hold(store.as_ref(), Holder::Named("world"), now, "hana").await.unwrap();
    watched.world.start(0).await.unwrap();
    watched.begins_in_the_rows(Code::Restored).await;
    watched.begins_in_the_rows(Code::Held).await;
    watched.world.done(Command::Start { due: Some(DueChoice::Skip) }).await;
    watched.is_over(Code::Restored).await;
    watched.told(Code::Held).await;
}

#[tokio::test]
async fn a_database_that_went_back() {
    let watched = watched("pace = \"5/10min\"").await;
    watched.world.until_requests(1).await;
    watched.world.test.by_hand("UPDATE account_lease SET seq = seq - 2").await;
    watched.begins_in_the_rows(Code::WentBack).await;
}

#[tokio::test]
async fn the_month_is_used_up() {
    let watched = watched("pace = \"5/10s\"").await;
    watched.world.until_requests(1).await;
    watched.world.sandbox.set_quota(CHANNEL, Some(100), Some(100), watched.world.clock.now()).unwrap();
    watched.begins_in_the_rows(Code::MonthUsedUp).await;
}

#[tokio::test]
async fn a_clock_that_is_behind_and_one_that_leapt() {
    let mut watched = watched("draft = true").await;
    watched.world.clock.jump(watched.world.clock.now() - Span::from_hours(1));
    watched.begins_in_the_rows(Code::ClockBehind).await;
    watched.world.done(Command::AcceptClock { due: None }).await;
    watched.is_over(Code::ClockBehind).await;
    watched.world.kill(0).await;
    watched.world.clock.advance(Span::from_days(3));
    watched.world.start(0).await.unwrap();
    watched.begins(Code::ClockLeapt).await;
    assert_eq!(watched.world.ask(Command::Status).await.unwrap().exit, 0, "perhaps it was only off");
}

#[tokio::test]
async fn friends_whose_outcome_nobody_knows() {
    let mut watched = watched("").await;
    watched.world.sandbox.set_faults(vec![Fault::always(FaultKind::ServerErrorAfter)]);
    watched.world.until_requests(1).await;
    watched.world.step = Span::from_mins(1);
    watched.world.until_state(1, "finished").await;
    watched.begins_in_the_rows(Code::Unknown).await;
    assert!(watched.metrics.render().contains("haishin_unknown_friends{account=\"shop\"} 30"));
    let resolution = haishin::protocol::Resolution::Unknown(haishin::domain::delivery::Outcome::Accepted);
    let occurrence = haishin::domain::id::OccurrenceId(1);
    watched.world.done(Command::OccurrenceResolve { occurrence, resolution }).await;
    watched.is_over(Code::Unknown).await;
}

#[tokio::test]
async fn what_is_refused_and_what_is_missed() {
    let watched = watched("max_recipients = 3").await;
    watched.begins_in_the_rows(Code::Refused).await;
    let mut watched = self::watched("").await;
    watched.world.kill(0).await;
    watched.world.clock.advance(Span::from_hours(3));
    watched.world.start(0).await.unwrap();
    watched.begins_in_the_rows(Code::Missed).await;
    let counted = watched.metrics.render();
    let counted =
        counted.lines().find(|line| line.starts_with("haishin_occurrences_total") && line.contains("missed"));
    assert_eq!(counted, Some("haishin_occurrences_total{account=\"shop\",state=\"missed\"} 1"));
}

#[tokio::test]
async fn what_is_late_and_what_came_in_and_waits() {
    let mut watched = watched("").await;
    let quota = Fault { endpoint: Endpoint::Quota, ..Fault::always(FaultKind::ServerErrorBefore) };
    watched.world.sandbox.set_faults(vec![quota]);
    watched.tag(user(1).into()).await;
    watched.world.step = Span::from_secs(1);
    watched.begins(Code::Late).await;
    watched.begins(Code::StepsLate).await;
    watched.world.done(Command::DripPause { drip: slug("trial") }).await;
    watched.is_over(Code::StepsLate).await;
    watched.world.sandbox.set_faults(vec![]);
    watched.is_over(Code::Late).await;
    // Asked in the same turn in which it is applied.
    let (at, effect) = (watched.world.clock.now(), Effect::TagRemoved { tag: "trial".parse().unwrap() });
    let intake = Intake { friend: user(2).into(), at, effect, dedupe: None };
    watched.append(vec![intake], Span::from_mins(5)).await;
    watched.told(Code::InboxLag).await;
    watched.is_over(Code::InboxLag).await;
}

#[tokio::test]
async fn changes_that_name_nobody() {
    let watched = watched("draft = true").await;
    watched.tag(FriendRef::External("c-404".into())).await;
    watched.begins_in_the_rows(Code::Strays).await;
    watched.world.done(Command::FriendStrays { limit: 1, forget: true }).await;
    watched.is_over(Code::Strays).await;
}

#[tokio::test]
async fn requests_beside_sends_that_wait_and_that_are_given_up() {
    let mut watched = watched("draft = true").await;
    watched.world.systems.answer(|_| Mood::Answer(503));
    watched.world.step = Span::from_secs(1);
    watched.tag(user(1).into()).await;
    watched.begins_in_the_rows(Code::OutboxLate).await;
    watched.world.systems.answer(|_| Mood::Answer(422));
    watched.begins_in_the_rows(Code::OutboxGivenUp).await;
    watched.is_over(Code::OutboxLate).await;
}

#[tokio::test]
async fn webhooks_that_wait_to_be_handed_on() {
    let recorder = recorder().unwrap();
    let metrics = recorder.handle();
    std::mem::forget(metrics::set_default_local_recorder(Box::leak(Box::new(recorder))));
    // The account's own table comes last in the file, so its keys go on with this one.
    let relay =
        "quiet_hours = \"off\"\n[accounts.shop.relay]\nurl = \"http://127.0.0.1:1/\"\nreplies = \"relay\"\n";
    let mut world = World::new(NOON, relay, &[], 1).await;
    world.step = Span::from_secs(1);
    let watched = Watched { world, metrics };
    let account = watched.world.row(0).await;
    let (received_at, store) = (watched.world.clock.now(), watched.world.test.store.as_ref());
    let row = NewRelay { account, received_at, signature: "x".to_owned(), body: "{}".into() };
    store.append_webhooks(vec![], vec![row]).await.unwrap();
    watched.begins_in_the_rows(Code::RelayLate).await;
    // Nobody took it for a day: it goes, and nobody hears of it again.
    let a_day_later = received_at + Span::from_hours(24);
    let nearly = a_day_later - Span::from_secs(40);
    watched.world.clock.advance(nearly - watched.world.clock.now());
    watched.world.pass(Span::from_secs(30)).await;
    assert_eq!(store.relay_waiting(account).await.unwrap().rows, 1);
    watched.world.pass(Span::from_secs(30)).await;
    assert_eq!(store.relay_waiting(account).await.unwrap().rows, 0);
    watched.is_over(Code::RelayLate).await;
}

#[tokio::test]
async fn a_database_that_is_away() {
    let watched = watched("draft = true").await;
    let store = &watched.world.account(0).account.store;
    (1..400).for_each(|nth| store.strike(nth, Mishap::Refused));
    watched.world.until("it is away", async || watched.metric(Code::DatabaseAway).then_some(())).await;
    store.calm();
    watched.world.until("it is back", async || (!watched.metric(Code::DatabaseAway)).then_some(())).await;
}

#[tokio::test]
async fn an_account_that_another_machine_took_over() {
    let watched = watched("draft = true").await;
    let lease = |expires: i64| {
        format!(
            "UPDATE account_lease SET holder = 'elsewhere', token = 1, seq = seq + 1, expires_at = {expires}"
        )
    };
    watched.world.test.by_hand(&lease(i64::MAX)).await;
    // It cannot answer meanwhile: time passes beside it.
    let passes = async |what: &str, is_so: bool| {
        crate::support::daemon::until(what, async || {
            watched.world.clock.advance(watched.world.step);
            (watched.metric(Code::NotRunning) == is_so).then_some(())
        })
        .await;
    };
    passes("it runs elsewhere", true).await;
    watched.world.test.by_hand(&lease(0)).await;
    passes("it is back", false).await;
}
