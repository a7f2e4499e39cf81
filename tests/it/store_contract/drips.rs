//! Friends on their way through drips, whom caps deferred, tags that fall off: each read against a plain map of
//! what was written.

use std::collections::{BTreeMap, HashMap};

use haishin::domain::drip::{Ending, Enrollment, Standing};
use haishin::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, VersionId};
use haishin::domain::time::{Instant, Span};
use haishin::store::{DeferralRow, Priority, Store, StoreError, TagExpiry, Write};
use proptest::collection::vec;
use roaring::RoaringBitmap;
use rstest::rstest;

use super::rows::{commit, for_each};
use super::samples::drip::{self as samples, DRIPS, EnrollmentKey, FRIENDS};
use super::{T0, granted, new_account};
use crate::support::store::{Database, TestStore};

fn slug(text: &str) -> CampaignSlug {
    text.parse().unwrap()
}

fn key(way: &Enrollment) -> EnrollmentKey {
    (way.drip.clone(), way.friend, way.started_at)
}

fn is_starting(way: &Enrollment) -> bool {
    matches!(way.standing, Standing::Starting { .. })
}

fn ended(how: Ending, way: Enrollment) -> Enrollment {
    Enrollment { standing: Standing::Ended { how, at: T0 + Span::from_days(2) }, ..way }
}

/// One write of every kind, whatever was there before.
pub fn one_of_each() -> Vec<Write> {
    let starting = |friend| Enrollment::starting(slug("welcome"), FriendId(friend), T0, VersionId(1));
    let set = |friend: u32| RoaringBitmap::from_iter([friend]);
    let expiry = |tag: &str| TagExpiry {
        friend: FriendId(1),
        tag: tag.parse().unwrap(),
        given_at: T0,
        at: T0 + Span::from_days(1),
    };
    vec![
        Write::Enrollments(vec![starting(1), starting(2), ended(Ending::Stopped, starting(3))]),
        Write::DropEnrollments(vec![key(&starting(2))]),
        Write::Deferral(Box::new(DeferralRow {
            occurrence: OccurrenceId(1),
            campaign: slug("welcome"),
            step: Some("coupon".parse().unwrap()),
            until: T0 + Span::from_days(3),
            looked_at: T0,
            version: VersionId(1),
            children: 1,
            waiting: set(1),
            left: set(2),
            lapsed: set(3),
            replaced: set(4),
        })),
        Write::TagExpiries(vec![expiry("体験"), expiry("会員")]),
        Write::DropTagExpiries(vec![(FriendId(1), "会員".parse().unwrap())]),
    ]
}

/// What the store tells of them, to be compared.
pub async fn dump(store: &dyn Store, account: AccountId) -> String {
    let mut text = format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n",
        store.open_enrollments(account, None, 1000).await.unwrap(),
        store.enrollment_endings(account).await.unwrap(),
        store.deferrals(account).await.unwrap(),
        store.tag_expiries(account, Instant::MAX, 1000).await.unwrap(),
        store.first_tag_expiry(account).await.unwrap(),
    );
    for friend in (0..5).map(FriendId) {
        text += &format!("{:#?}\n", store.enrollments_of(account, friend).await.unwrap());
        text += &format!("{:#?}\n", store.last_starts(account, &slug("welcome"), &[friend]).await.unwrap());
    }
    text + &format!("{:#?}\n", store.deferral(account, OccurrenceId(1)).await.unwrap())
}

/// Pages of so many until none is left.
async fn open_in_pages(store: &dyn Store, account: AccountId, limit: u32) -> Vec<Enrollment> {
    let mut all: Vec<Enrollment> = Vec::new();
    loop {
        let page = store.open_enrollments(account, all.last().map(key), limit).await.unwrap();
        assert!(page.len() <= limit as usize);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn enrollments(#[case] database: Database) {
    let drawn = vec((samples::enrollments(), samples::enrollment_keys()), 1..4);
    for_each(database, drawn, async |store, account, commits| {
        let mut model = BTreeMap::new();
        for (ways, dropped) in commits {
            let written: BTreeMap<_, _> = ways.iter().map(|way| (key(way), way.clone())).collect();
            for (key, way) in written {
                // A start never takes the place of a way that has begun.
                if !is_starting(&way) || model.get(&key).is_none_or(is_starting) {
                    model.insert(key, way);
                }
            }
            model.retain(|key, way| !dropped.contains(key) || !is_starting(way));
            commit(store, account, vec![Write::Enrollments(ways), Write::DropEnrollments(dropped)])
                .await
                .unwrap();
        }
        let open: Vec<_> = model.values().filter(|way| way.is_open()).cloned().collect();
        for limit in [3, 1_000] {
            assert_eq!(open_in_pages(store, account, limit).await, open);
        }
        for friend in FRIENDS.map(FriendId) {
            let mut theirs: Vec<_> = model.values().filter(|way| way.friend == friend).cloned().collect();
            theirs.sort_by_key(|way| (way.started_at, way.drip.clone()));
            assert_eq!(store.enrollments_of(account, friend).await.unwrap(), theirs);
        }
        let mut endings: BTreeMap<(CampaignSlug, &str), u64> = BTreeMap::new();
        for way in model.values() {
            if let Standing::Ended { how, .. } = way.standing {
                *endings.entry((way.drip.clone(), how.as_str())).or_default() += 1;
            }
        }
        let read = store.enrollment_endings(account).await.unwrap();
        let read: Vec<_> =
            read.iter().map(|(drip, how, ways)| ((drip.clone(), how.as_str()), *ways)).collect();
        assert_eq!(read, endings.into_iter().collect::<Vec<_>>());
        let asked = &FRIENDS.map(FriendId)[1..];
        for drip in DRIPS.map(slug) {
            let mut starts = HashMap::new();
            for way in model.values().filter(|way| way.drip == drip && !is_starting(way)) {
                // In the order of keys the latest start of a friend comes last.
                starts.insert(way.friend, way.started_at);
            }
            starts.retain(|friend, _| asked.contains(friend));
            assert_eq!(store.last_starts(account, &drip, asked).await.unwrap(), starts);
            assert_eq!(store.last_starts(account, &drip, &[]).await.unwrap(), HashMap::new());
        }
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn deferrals(#[case] database: Database) {
    for_each(database, samples::deferrals(), async |store, account, rows| {
        let model: BTreeMap<_, _> = rows.iter().map(|row| (row.occurrence, row.clone())).collect();
        let writes = rows.into_iter().map(|row| Write::Deferral(Box::new(row))).collect();
        commit(store, account, writes).await.unwrap();
        let open: Vec<_> = model.values().filter(|row| !row.waiting.is_empty()).cloned().collect();
        assert_eq!(store.deferrals(account).await.unwrap(), open);
        for occurrence in (0..6).map(OccurrenceId) {
            let read = store.deferral(account, occurrence).await.unwrap();
            assert_eq!(read.as_ref(), model.get(&occurrence));
        }
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn tag_expiries(#[case] database: Database) {
    let drawn = vec((samples::tag_expiries(), samples::tag_keys()), 1..3);
    for_each(database, drawn, async |store, account, commits| {
        let mut model = BTreeMap::new();
        for (rows, dropped) in commits {
            model.extend(rows.iter().map(|row| ((row.friend, row.tag.clone()), row.clone())));
            model.retain(|key, _| !dropped.contains(key));
            commit(store, account, vec![Write::TagExpiries(rows), Write::DropTagExpiries(dropped)])
                .await
                .unwrap();
        }
        let mut all: Vec<TagExpiry> = model.into_values().collect();
        all.sort_by_key(|row| (row.at, row.friend, row.tag.clone()));
        assert_eq!(store.tag_expiries(account, Instant::MAX, 1_000).await.unwrap(), all);
        assert_eq!(store.first_tag_expiry(account).await.unwrap(), all.first().map(|row| row.at));
        for until in [T0 - Span::from_millis(1), T0, T0 + Span::from_millis(1)] {
            let due: Vec<_> = all.iter().filter(|row| row.at <= until).take(3).cloned().collect();
            assert_eq!(store.tag_expiries(account, until, 3).await.unwrap(), due);
        }
    });
}

/// A campaign that gives a tag to everybody starts so many at once; a person who cancels the drip ends them at once.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_hundred_thousand_friends_start_and_end_in_one_transaction_each(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let friends: Vec<FriendId> = (0..100_000).map(FriendId).collect();
    let due = Standing::Due { step: "coupon".parse().unwrap(), at: T0 + Span::from_days(1) };
    let started: Vec<Enrollment> = friends
        .iter()
        .map(|friend| Enrollment {
            standing: due.clone(),
            ..Enrollment::starting(slug("trial-coupon"), *friend, T0, VersionId(1))
        })
        .collect();
    let start = vec![Write::Enrollments(started.clone())];
    store.commit(&mut fence, T0, Priority::Fold, start).await.unwrap();
    assert_eq!(open_in_pages(store, account, 30_000).await, started);
    let starts = store.last_starts(account, &slug("trial-coupon"), &friends).await.unwrap();
    assert_eq!(starts, friends.iter().map(|friend| (*friend, T0)).collect());

    let end = started.iter().cloned().map(|way| ended(Ending::Cancelled, way)).collect();
    store.commit(&mut fence, T0, Priority::Freeze, vec![Write::Enrollments(end)]).await.unwrap();
    assert_eq!(store.open_enrollments(account, None, 1).await.unwrap(), []);
    let endings = [(slug("trial-coupon"), Ending::Cancelled, 100_000)];
    assert_eq!(store.enrollment_endings(account).await.unwrap(), endings);

    let drop = vec![Write::DropEnrollments(started.iter().map(key).collect())];
    store.commit(&mut fence, T0, Priority::Fold, drop).await.unwrap();
    assert_eq!(store.enrollment_endings(account).await.unwrap(), endings, "what has begun is not dropped");
}

/// What a newer haishin or a hand has written is refused with its place, not guessed at.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[tokio::test]
async fn a_way_that_cannot_be_read_is_named(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let standing = Standing::Waiting { step: "coupon".parse().unwrap(), occurrence: OccurrenceId(3) };
    let way = Enrollment { standing, ..Enrollment::starting(slug("welcome"), FriendId(7), T0, VersionId(1)) };
    for by_hand in [
        "UPDATE enrollment SET standing = 'resting'",
        "UPDATE enrollment SET standing = 'due'",
        "UPDATE enrollment SET step = NULL",
        "UPDATE enrollment SET standing = 'due', step = 'a coupon', due_at = 0",
        "UPDATE enrollment SET done = 'coupon'",
    ] {
        commit(store, account, vec![Write::Enrollments(vec![way.clone()])]).await.unwrap();
        assert_eq!(store.open_enrollments(account, None, 1).await.unwrap(), std::slice::from_ref(&way));
        test.by_hand(by_hand).await;
        for read in
            [store.open_enrollments(account, None, 1).await, store.enrollments_of(account, FriendId(7)).await]
        {
            let Err(StoreError::Corrupt { what, .. }) = read else { panic!("{by_hand}: {read:?}") };
            assert_eq!(what, "enrollment of friend 7 in drip `welcome`", "{by_hand}");
        }
    }
}
