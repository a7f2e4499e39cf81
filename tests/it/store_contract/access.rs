//! Tokens of the API, and requests that are answered once.

use haishin::domain::access::{Scope, Secret, TokenId};
use haishin::domain::id::AccountId;
use haishin::domain::time::{Instant, Span};
use haishin::store::{ANSWERS_KEPT, ApiAnswer, NewInbox, NewToken, Store, TokenRow};
use rstest::rstest;

use super::{T0, new_account};
use crate::support::store::{Database, TestStore};

fn token(account: Option<AccountId>, name: &str) -> NewToken {
    NewToken {
        account,
        name: name.into(),
        scopes: [Scope::FriendsRead, Scope::EventsWrite].into_iter().collect(),
        digest: Secret([7; 32]).digest(),
        created_at: T0,
        created_by: "hana".into(),
    }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_token_is_what_was_stored_until_it_is_revoked(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let news = [token(Some(account), "EC サイト"), token(None, "")];
    let mut ids = Vec::new();
    for new in &news {
        ids.push(store.create_token(new).await.unwrap());
    }
    assert_ne!(ids[0], ids[1], "also of one secret");
    let row = |n: usize, revoked| TokenRow { id: ids[n], token: news[n].clone(), revoked };
    // Every node sees them.
    let other = test.reopen().await;
    assert_eq!(other.token(ids[0]).await.unwrap(), Some(row(0, None)));
    assert_eq!(other.tokens().await.unwrap(), [row(0, None), row(1, None)]);
    assert_eq!(other.token(TokenId(99)).await.unwrap(), None);

    let later = T0 + Span::from_secs(1);
    assert!(store.revoke_token(ids[0], later, "taro").await.unwrap());
    assert!(!store.revoke_token(ids[0], later + Span::from_secs(1), "hana").await.unwrap(), "once");
    assert!(!store.revoke_token(TokenId(99), later, "taro").await.unwrap());
    let revoked = Some((later, "taro".to_owned()));
    assert_eq!(other.token(ids[0]).await.unwrap(), Some(row(0, revoked.clone())));
    assert_eq!(other.tokens().await.unwrap(), [row(0, revoked), row(1, None)]);
    // A number stands in a token's text: it is never another one's.
    let next = store.create_token(&token(None, "next")).await.unwrap();
    assert!(next > ids[1]);
}

fn answer(account: AccountId, key: &str, at: Instant, status: u16) -> ApiAnswer {
    let body = format!("{{\"status\":{status}}}");
    ApiAnswer { account, key: key.into(), request: [status.to_be_bytes()[1]; 32], at, status, body }
}

fn row(account: AccountId, source: &str) -> NewInbox {
    NewInbox { account, received_at: T0, source: source.into(), intakes: vec![] }
}

async fn sources(store: &dyn Store, account: AccountId) -> Vec<String> {
    let mut sources: Vec<String> =
        store.inbox(account, 100).await.unwrap().into_iter().map(|row| row.source).collect();
    sources.sort();
    sources
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn what_has_a_key_is_appended_once_while_it_is_remembered(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let (a, b) = (new_account(store, "a").await, new_account(store, "b").await);
    let first = answer(a, "key", T0, 202);
    assert_eq!(store.answered(a, "key", T0).await.unwrap(), None);
    assert_eq!(store.append_once(vec![row(a, "1"), row(a, "2")], &first).await.unwrap(), None);
    assert_eq!(sources(store, a).await, ["1", "2"]);

    // Another process, a second before it is forgotten; another answer changes nothing of it.
    let other = test.reopen().await;
    let late = T0 + ANSWERS_KEPT;
    let again = answer(a, "key", late, 207);
    assert_eq!(other.answered(a, "key", late).await.unwrap(), Some(first.clone()));
    assert_eq!(other.append_once(vec![row(a, "3")], &again).await.unwrap(), Some(first));
    assert_eq!(sources(store, a).await, ["1", "2"]);

    // The key of another account, and another key, are others. Nothing to append is no failure.
    assert_eq!(store.append_once(vec![], &answer(b, "key", T0, 202)).await.unwrap(), None);
    assert_eq!(store.append_once(vec![row(a, "4")], &answer(a, "Key", T0, 202)).await.unwrap(), None);

    let forgotten = late + Span::from_millis(1);
    assert_eq!(store.answered(a, "key", forgotten).await.unwrap(), None);
    let anew = answer(a, "key", forgotten, 207);
    assert_eq!(store.append_once(vec![row(a, "5")], &anew).await.unwrap(), None);
    assert_eq!(store.answered(a, "key", forgotten).await.unwrap(), Some(anew));
    assert_eq!(sources(store, a).await, ["1", "2", "4", "5"]);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_requests_at_once_one_is_appended(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let account = new_account(&*test.store, "a").await;
    for round in 0..10 {
        let key = format!("key-{round}");
        let mut racers = tokio::task::JoinSet::new();
        for n in 0..4_u16 {
            let (store, key) = (test.reopen().await, key.clone());
            racers.spawn(async move {
                let said = answer(account, &key, T0, 200 + n);
                (n, store.append_once(vec![row(account, &format!("{key} {n}"))], &said).await.unwrap())
            });
        }
        let raced = racers.join_all().await;
        let won: Vec<u16> = raced.iter().filter(|(_, said)| said.is_none()).map(|(n, _)| *n).collect();
        assert_eq!(won.len(), 1, "{raced:?}");
        for (_, said) in raced.into_iter().filter(|(n, _)| *n != won[0]) {
            assert_eq!(said, Some(answer(account, &key, T0, 200 + won[0])));
        }
        let of_round = format!("{key} {}", won[0]);
        let all = sources(&*test.store, account).await;
        let appended: Vec<_> = all.iter().filter(|source| source.starts_with(&format!("{key} "))).collect();
        assert_eq!(appended, [&of_round]);
    }
}
