//! The outbox: requests to be made, against a plain map of what was written.

use std::collections::BTreeMap;

use haishin::domain::id::{AccountId, UserId};
use haishin::domain::outbox::{Failure, Lane, Request};
use haishin::domain::reason::Said;
use haishin::domain::time::{Instant, Span};
use haishin::store::{GivenUp, OutboxLane, OutboxRow, Prune, Store, Write};
use proptest::collection::vec;
use rstest::rstest;

use super::rows::{commit, for_each};
use super::samples::drip as samples;
use super::{T0, new_account};
use crate::support::store::{Database, TestStore};

fn told(system: &str) -> Request {
    let body = [("step".to_owned(), "coupon".into())].into_iter().collect();
    Request::Webhook { system: system.parse().unwrap(), body }
}

fn row(id: i64, request: Request) -> OutboxRow {
    OutboxRow { id, request, created_at: T0, not_before: T0, attempts: 0, given_up: None }
}

fn given_up(at: Instant, row: OutboxRow) -> OutboxRow {
    let why = Failure::Answered(Said { status: 503, message: "続く".to_owned() });
    OutboxRow { attempts: 8, given_up: Some(GivenUp { at, why }), ..row }
}

/// A row of each lane, one that is given up, and one that has left.
pub fn one_of_each() -> Vec<Write> {
    let menu = Request::RichMenu { menu: None, users: vec![UserId([1; 16])] };
    let rows =
        vec![row(1, told("crm")), given_up(T0, row(2, told("crm"))), row(3, menu), row(4, told("crm"))];
    vec![Write::Outbox(rows), Write::DropOutbox(vec![4, 5])]
}

/// What the store tells of it, to be compared.
pub async fn dump(store: &dyn Store, account: AccountId) -> String {
    let mut text = format!("{:#?}\n", store.outbox_lanes(account).await.unwrap());
    for lane in samples::lanes() {
        text += &format!("{:#?}\n", store.outbox(account, &lane, Instant::MAX, 1000).await.unwrap());
    }
    text + &format!("{}\n", store.last_outbox(account).await.unwrap())
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn outbox(#[case] database: Database) {
    let commits = vec((samples::outbox(), vec(1_i64..8, 0..3)), 1..4);
    for_each(database, (commits, samples::few_instants()), async |store, account, (commits, now)| {
        let mut model = BTreeMap::new();
        for (rows, dropped) in commits {
            model.extend(rows.iter().map(|row| (row.id, row.clone())));
            model.retain(|id, _| !dropped.contains(id));
            commit(store, account, vec![Write::Outbox(rows), Write::DropOutbox(dropped)]).await.unwrap();
        }
        let last = model.keys().next_back().copied().unwrap_or(0);
        assert_eq!(store.last_outbox(account).await.unwrap(), last);
        let mut lanes = Vec::new();
        for lane in samples::lanes() {
            let open = model.values().filter(|row| row.given_up.is_none() && row.request.lane() == lane);
            if let Some(oldest) = open.clone().map(|row| row.created_at).min() {
                lanes.push(OutboxLane { lane: lane.clone(), open: open.clone().count() as u64, oldest });
            }
            let far = now + OutboxRow::FARTHEST;
            let due = open.filter(|row| row.not_before <= now || row.not_before > far);
            let mut due: Vec<OutboxRow> = due.cloned().collect();
            due.sort_by_key(|row| (row.not_before, row.id));
            assert_eq!(store.outbox(account, &lane, now, 100).await.unwrap(), due);
            due.truncate(2);
            assert_eq!(store.outbox(account, &lane, now, 2).await.unwrap(), due);
        }
        lanes.sort_by(|one, other| one.lane.cmp(&other.lane));
        assert_eq!(store.outbox_lanes(account).await.unwrap(), lanes);
    });
}

/// One that is given up stays for a while: whom it concerned and why can be read in the database.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn what_is_given_up_says_why_until_it_is_pruned(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let nine = T0 + Span::from_secs(9);
    let rows =
        vec![row(1, told("crm")), given_up(nine, row(2, told("crm"))), given_up(T0, row(3, told("crm")))];
    commit(store, account, vec![Write::Outbox(rows)]).await.unwrap();
    let lane = Lane::System("crm".parse().unwrap());
    assert_eq!(store.outbox(account, &lane, T0, 10).await.unwrap(), [row(1, told("crm"))]);
    let columns = "lane || ' ' || CAST(given_up_at AS TEXT) || ' ' || CAST(attempts AS TEXT) || ' ' || why";
    let stored = test.text(&format!("SELECT {columns} FROM outbox WHERE id = 2")).await;
    let why = r#"{"code":"answered","status":503,"message":"続く"}"#;
    assert_eq!(stored, format!("webhook/crm {} 8 {why}", nine.as_millis()));

    let prune = [Prune::Outbox(nine)];
    assert_eq!(store.prunable(account, &prune).await.unwrap(), Some(Prune::Outbox(nine)));
    commit(store, account, prune.clone().map(Write::Prune).into()).await.unwrap();
    assert_eq!(store.prunable(account, &prune).await.unwrap(), None);
    let left = test.text("SELECT CAST(COUNT(*) AS TEXT) || ' ' || CAST(MAX(id) AS TEXT) FROM outbox").await;
    assert_eq!(
        left, "2 2",
        "not the one that is still to be tried, nor the one given up at the instant itself"
    );
}
