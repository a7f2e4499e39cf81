//! Who is erased, what names them, and what of theirs goes.

use std::collections::BTreeMap;

use haishin::domain::drip::{Ending, Enrollment, Standing};
use haishin::domain::effect::{Effect, Entry, Intake};
use haishin::domain::friend::{FriendRef, Miss};
use haishin::domain::id::{AccountId, FriendId, Seq, UserId, VersionId};
use haishin::domain::outbox::Request;
use haishin::domain::time::{Instant, Span};
use haishin::store::{
    Erasure, JournalStretch, Naming, NewInbox, NewStray, OutboxRow, Prune, Store, TagExpiry, Write,
};
use rstest::rstest;

use super::rows::commit;
use super::{T0, new_account, tagged};
use crate::support::store::{Database, TestStore};

fn erasure(friend: u32, seq: i64) -> Erasure {
    Erasure {
        friend: FriendId(friend),
        seq: Seq(seq),
        at: T0,
        user: Some(UserId([friend.to_le_bytes()[0]; 16])),
        external_id: Some(format!("客-{friend}")),
    }
}

fn event(seq: i64, friend: u32) -> Entry {
    let name = "purchase".parse().unwrap();
    let effect = Effect::Event { name, event_id: None, properties: BTreeMap::new() };
    Entry { seq: Seq(seq), friend: FriendId(friend), at: T0, effect }
}

fn menu(users: &[u8]) -> Request {
    Request::RichMenu { menu: None, users: users.iter().map(|n| UserId([*n; 16])).collect() }
}

fn request(id: i64, users: &[u8]) -> OutboxRow {
    let request = menu(users);
    OutboxRow { id, request, created_at: T0, not_before: T0, attempts: 3, given_up: None }
}

fn ended(drip: &str, friend: u32, how: Ending) -> Enrollment {
    let start = Enrollment::starting(drip.parse().unwrap(), FriendId(friend), T0, VersionId(1));
    Enrollment { standing: Standing::Ended { how, at: T0 + Span::from_days(2) }, ..start }
}

fn expiry(friend: u32, tag: &str) -> TagExpiry {
    let tag = tag.parse().unwrap();
    TagExpiry { friend: FriendId(friend), tag, given_at: T0, at: T0 + Span::from_days(9) }
}

fn stray(id: &str) -> NewStray {
    let friend = FriendRef::External(id.into());
    NewStray {
        received_at: T0,
        source: NewInbox::API.into(),
        reason: Miss::Unknown,
        intake: Intake { friend, at: T0, effect: Effect::Quarantined, dedupe: None },
    }
}

/// One write of every kind, whatever was there before.
pub fn one_of_each() -> Vec<Write> {
    vec![
        Write::Erasures(vec![erasure(1, 1), erasure(2, 2)]),
        Write::Redact { strays: vec![9], outbox: vec![(9, None), (8, Some(menu(&[1])))] },
        Write::Forget(vec![FriendId(3)]),
        Write::Forgotten(vec![FriendId(2)]),
    ]
}

/// What the store tells of it, to be compared.
pub async fn dump(store: &dyn Store, account: AccountId) -> String {
    format!(
        "{:#?}\n{:#?}\n{:#?}\n",
        store.erasures(account).await.unwrap(),
        store.naming(account, Naming::Strays, 0, 1000).await.unwrap(),
        store.naming(account, Naming::Outbox, 0, 1000).await.unwrap(),
    )
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn erasures_are_kept_until_they_are_history(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let (store, account) = (&*test.store, new_account(&*test.store, "a").await);
    let other = new_account(store, "b").await;
    let nameless = Erasure { user: None, external_id: None, ..erasure(4, 3) };
    let all = vec![erasure(2, 7), nameless, erasure(9, 1)];
    commit(store, account, vec![Write::Erasures(all.clone())]).await.unwrap();
    commit(store, other, vec![Write::Erasures(vec![erasure(2, 1)])]).await.unwrap();
    assert_eq!(store.erasures(account).await.unwrap(), all);
    let again = Write::Erasures(vec![Erasure { user: None, ..erasure(2, 8) }]);
    commit(store, account, vec![again, Write::Forgotten(vec![FriendId(9), FriendId(77)])]).await.unwrap();
    assert_eq!(store.erasures(account).await.unwrap(), all[..2]);
    assert_eq!(store.erasures(other).await.unwrap(), [erasure(2, 1)]);
}

/// Of everybody else only what is no event goes, as ever.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn the_journal_loses_all_of_whom_is_erased(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let (store, account) = (&*test.store, new_account(&*test.store, "a").await);
    let entries = vec![event(1, 5), event(2, 6), tagged(3), event(4, 5), event(5, 6)];
    commit(store, account, vec![Write::Entries(entries)]).await.unwrap();
    let range = (Seq(0), Seq(4));
    let stretch = async || store.journal_stretch(account, range, None, 100).await.unwrap().unwrap();
    assert_eq!(stretch().await, JournalStretch { last: Seq(4), prunable: 1 });
    commit(store, account, vec![Write::Erasures(vec![erasure(5, 9)])]).await.unwrap();
    assert_eq!(stretch().await, JournalStretch { last: Seq(4), prunable: 3 });
    let prune = Prune::Journal { after: Seq(0), upto: Seq(4), events_before: None };
    assert_eq!(store.prunable(account, std::slice::from_ref(&prune)).await.unwrap(), Some(prune.clone()));
    commit(store, account, vec![Write::Prune(prune.clone())]).await.unwrap();
    assert_eq!(store.prunable(account, &[prune]).await.unwrap(), None);
    let left = store.entries(account, Seq(0), 100).await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.seq.0).collect::<Vec<_>>(), [2, 5]);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn what_names_friends_is_read_in_pages_and_redacted(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let (store, account) = (&*test.store, new_account(&*test.store, "a").await);
    let rows = vec![request(3, &[1]), request(5, &[1, 2]), request(8, &[3])];
    let strays = vec![stray("a"), stray("b"), stray("c")];
    commit(store, account, vec![Write::Outbox(rows.clone()), Write::Strays(strays)]).await.unwrap();
    let ids = async |place, after, limit| {
        let page = store.naming(account, place, after, limit).await.unwrap();
        page.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Naming::Outbox, 0, 2).await, [3, 5]);
    assert_eq!(ids(Naming::Outbox, 5, 2).await, [8]);
    let strays = ids(Naming::Strays, 0, 9).await;
    assert_eq!(strays.len(), 3);
    let redact =
        Write::Redact { strays: vec![strays[1]], outbox: vec![(3, None), (5, Some(menu(&[2]))), (6, None)] };
    commit(store, account, vec![redact]).await.unwrap();
    assert_eq!(ids(Naming::Strays, 0, 9).await, [strays[0], strays[2]]);
    let lane = rows[0].request.lane();
    let left = store.outbox(account, &lane, T0, 9).await.unwrap();
    assert_eq!(left, [request(5, &[2]), request(8, &[3])], "nothing else of it changes");
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn of_ways_that_are_over_the_counts_stay(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let (store, account) = (&*test.store, new_account(&*test.store, "a").await);
    let open = Enrollment::starting("b".parse().unwrap(), FriendId(1), T0, VersionId(1));
    let ways = vec![
        ended("a", 1, Ending::Erased),
        ended("a", 2, Ending::Erased),
        ended("b", 3, Ending::Finished),
        ended("a", 3, Ending::Finished),
        open.clone(),
    ];
    let expiries = vec![expiry(1, "a"), expiry(1, "体験"), expiry(2, "a")];
    commit(store, account, vec![Write::Enrollments(ways.clone()), Write::TagExpiries(expiries)])
        .await
        .unwrap();
    let endings = store.enrollment_endings(account).await.unwrap();
    assert_eq!(endings.iter().map(|(.., ways)| ways).sum::<u64>(), 4);
    for friends in [vec![FriendId(1), FriendId(77)], vec![FriendId(1)], vec![FriendId(3)]] {
        commit(store, account, vec![Write::Forget(friends)]).await.unwrap();
        assert_eq!(store.enrollment_endings(account).await.unwrap(), endings);
    }
    assert_eq!(store.enrollments_of(account, FriendId(1)).await.unwrap(), [open]);
    assert_eq!(store.enrollments_of(account, FriendId(2)).await.unwrap(), [ways[1].clone()]);
    assert_eq!(store.enrollments_of(account, FriendId(3)).await.unwrap(), []);
    assert_eq!(store.tag_expiries(account, Instant::MAX, 9).await.unwrap(), [expiry(2, "a")]);
}
