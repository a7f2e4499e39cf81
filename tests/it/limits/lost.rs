//! Commits that fail at any moment of a send and of what people do to it: what memory shows is what is stored, and
//! nobody gets anything twice.

use haishin::clock::Clock;
use haishin::domain::id::OccurrenceId;
use haishin::domain::time::Span;
use haishin::protocol::{Command, DueChoice, Resolution};
use haishin::sandbox::{Fault, FaultKind};
use haishin::store::{Claim, OccurrenceFilter};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rstest::rstest;
use serde_json::{Value, json};

use super::campaign;
use super::stage::Stage;
use crate::support::store::Database;
use crate::support::world::{CHANNEL, slug, user};

fn draw(rng: &mut StdRng) -> Command {
    let campaign = slug("gift");
    match rng.random_range(0..8) {
        0 | 1 => Command::CampaignPause { campaign },
        2 | 3 => Command::CampaignResume { campaign },
        4 => Command::Stop { reason: "wrong coupon".into() },
        5 => Command::Start { due: Some(DueChoice::Judge) },
        6 => Command::OccurrenceResolve { occurrence: OccurrenceId(1), resolution: Resolution::Send },
        _ => Command::CampaignTestSend { campaign, to: vec![user(1).to_string()], variant: None },
    }
}

/// What stands still and why, as memory has it.
async fn shown(stage: &Stage) -> Option<Value> {
    let status = stage.try_ask(Command::Status).await?.ok()?.json;
    let list = stage.try_ask(Command::CampaignList).await?.ok()?.json;
    let open = status["open"].as_array()?.iter();
    let open: Vec<_> = open.map(|run| json!([run["occurrence"], run["state"], run["why"]])).collect();
    let halted = json!([status["stopped"]["why"], status["paused"]["why"]]);
    Some(json!({ "open": open, "account": halted, "campaign": list["campaigns"][0]["paused"]["why"] }))
}

/// The same, as it is stored.
async fn stored(stage: &Stage) -> Value {
    let mut open = stage.store().occurrences(stage.account, OccurrenceFilter::Open).await.unwrap();
    open.sort_by_key(|row| row.id);
    let open: Vec<_> = open.iter().map(|row| json!([row.id, row.state, row.reason])).collect();
    let row = stage.store().account(stage.account).await.unwrap().unwrap();
    let why = |halt: Option<haishin::store::Halt>| json!(halt.map(|halt| halt.reason));
    let campaign = stage.store().campaigns(stage.account).await.unwrap().into_iter().next();
    let paused = campaign.and_then(|row| row.paused);
    json!({ "open": open, "account": [why(row.stopped), why(row.paused)], "campaign": why(paused) })
}

#[rstest]
#[case::sqlite(Database::Sqlite, 8)]
#[case::postgres(Database::Postgres, 3)]
#[tokio::test]
async fn a_failed_commit_leaves_nothing_behind_in_memory(#[case] database: Database, #[case] lives: u64) {
    let (mut failed, mut done) = (0, 0);
    for seed in 0..lives {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut stage = Stage::new(database, &campaign("pace = \"3/1s\""), 60).await;
        stage.sandbox.refuse_users(CHANNEL, &[user(7), user(31)], &[]).unwrap();
        stage.sandbox.set_faults(vec![
            Fault::nth(FaultKind::MonthlyLimit, [3]),
            Fault::with_probability(FaultKind::ServerErrorAfter, 0.1),
        ]);
        stage.pass(Span::from_secs(2)).await;
        for _ in 0..25 {
            if rng.random_bool(0.4) {
                // Another claim under the same name: the engine's next commit is refused, whatever it was.
                let now = stage.clock.now();
                let lasts = Span::from_secs(10);
                let claim = stage.store().claim(stage.account, "stage", now, lasts).await.unwrap();
                assert!(matches!(claim, Claim::Granted { .. }));
            }
            match stage.try_ask(draw(&mut rng)).await {
                None => failed += 1,
                Some(answer) => done += u64::from(answer.is_ok()),
            }
            let span = Span::from_millis(rng.random_range(0..1_500));
            stage.pass(span).await;
            let same = async || (shown(&stage).await? == stored(&stage).await).then_some(());
            stage.until("what is shown is what is stored", same).await;
            if rng.random_bool(0.1) {
                stage.kill().await;
            }
        }
        for command in [
            Command::Start { due: Some(DueChoice::Judge) },
            Command::CampaignResume { campaign: slug("gift") },
        ] {
            // Whatever stood still; what did not needs nothing.
            stage.until("an answer", async || stage.try_ask(command.clone()).await.map(drop)).await;
        }
        let end = async || (stage.occurrence().await?["state"] == "finished").then_some(());
        stage.until("its end", end).await;
        assert_eq!(stage.books().await.unwrap(), json!({ "accepted": 58, "rejected": 2 }), "seed {seed}");
        assert_eq!(stage.sandbox.audit().keys_with_two_bodies.len(), 0);
        let gift = stage.sandbox.received(CHANNEL, &user(2)).unwrap();
        assert_eq!(gift.len(), 1, "nobody but the one of the test sends got it twice: seed {seed}");
    }
    assert!(failed > lives && done > lives, "{failed} failed, {done} done");
}
