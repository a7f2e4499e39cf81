//! The outbox: requests to be made, against a plain map of what was written.

use std::collections::BTreeMap;

use haishin::domain::id::AccountId;
use haishin::domain::time::Span;
use haishin::store::{OutboxEnd, OutboxEnding, OutboxKind, OutboxRow, Store, Write};
use proptest::collection::vec;
use rstest::rstest;

use super::rows::{commit, for_each};
use super::samples::drip as samples;
use super::{T0, new_account};
use crate::support::store::{Database, TestStore};

fn row(id: i64) -> OutboxRow {
    OutboxRow {
        id,
        kind: OutboxKind::Webhook,
        payload: serde_json::json!({ "to": "crm", "friend": "h0042" }),
        created_at: T0,
        not_before: T0,
        attempts: 0,
        ended: None,
    }
}

/// A row to be tried, and one that is over.
pub fn one_of_each() -> Vec<Write> {
    let end = OutboxEnd { at: T0, how: OutboxEnding::Done, detail: None };
    vec![Write::Outbox(vec![row(1), OutboxRow { ended: Some(end), ..row(2) }])]
}

/// What the store tells of it, to be compared.
pub async fn dump(store: &dyn Store, account: AccountId) -> String {
    let open = store.outbox(account, 1000).await.unwrap();
    format!("{open:#?}\n{}\n", store.last_outbox(account).await.unwrap())
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
fn outbox(#[case] database: Database) {
    for_each(database, vec(samples::outbox(), 1..4), async |store, account, commits| {
        let mut model = BTreeMap::new();
        for rows in commits {
            model.extend(rows.iter().map(|row| (row.id, row.clone())));
            commit(store, account, vec![Write::Outbox(rows)]).await.unwrap();
        }
        let last = model.keys().next_back().copied().unwrap_or(0);
        assert_eq!(store.last_outbox(account).await.unwrap(), last);
        let mut open: Vec<OutboxRow> = model.into_values().filter(|row| row.ended.is_none()).collect();
        open.sort_by_key(|row| (row.not_before, row.id));
        assert_eq!(store.outbox(account, 100).await.unwrap(), open);
        open.truncate(2);
        assert_eq!(store.outbox(account, 2).await.unwrap(), open);
    });
}

/// A row that is over stays: how it ended can be read in the database, and its number is not given again.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_row_that_is_over_says_how(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    commit(store, account, vec![Write::Outbox(vec![row(1), row(2)])]).await.unwrap();
    let end = OutboxEnd {
        at: T0 + Span::from_secs(9),
        how: OutboxEnding::GaveUp,
        detail: Some("503 は\0続く".to_owned()),
    };
    let over = OutboxRow { attempts: 8, ended: Some(end), ..row(2) };
    commit(store, account, vec![Write::Outbox(vec![over])]).await.unwrap();
    assert_eq!(store.outbox(account, 10).await.unwrap(), [row(1)]);
    assert_eq!(store.last_outbox(account).await.unwrap(), 2);
    let columns = "ending || ' ' || CAST(ended_at AS TEXT) || ' ' || CAST(attempts AS TEXT) || ' ' || detail";
    let stored = test.text(&format!("SELECT {columns} FROM outbox WHERE ending IS NOT NULL")).await;
    assert_eq!(stored, format!("gave_up {} 8 503 は␀続く", (T0 + Span::from_secs(9)).as_millis()));
}
