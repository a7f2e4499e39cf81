//! What is written is read back, whatever it holds.

use haishin::domain::id::{AccountId, Seq};
use haishin::domain::key::Run;
use haishin::domain::sends::Sent;
use haishin::domain::time::Instant;
use haishin::store::{
    Claim, DeliverySet, NewInbox, NewOccurrence, NewStray, NewVersion, OccurrenceFilter, Priority,
    SentFilter, Store, StoreError, StrayRow, Write,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rstest::rstest;

use super::commit::arm;
use super::{T0, TEN, new_account, samples, sent};
use crate::support::store::{Database, TestStore};

/// Runs `check` on drawn values, each on an account of its own of one store.
pub fn for_each<S: Strategy>(
    database: Database,
    strategy: S,
    check: impl AsyncFn(&dyn Store, AccountId, S::Value),
) where
    S::Value: Clone,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let test = runtime.block_on(TestStore::new(database));
    let mut runner = TestRunner::new_with_rng(samples::few(), TestRunner::deterministic().new_rng());
    for n in 0..samples::few().cases {
        let value = strategy.new_tree(&mut runner).unwrap().current();
        runtime.block_on(async {
            let account = new_account(&*test.store, &format!("a{n}")).await;
            check(&*test.store, account, value).await;
        });
    }
    runtime.block_on(test.store.close());
}

pub async fn commit(store: &dyn Store, account: AccountId, writes: Vec<Write>) -> Result<(), StoreError> {
    let Claim::Granted { mut fence, .. } = store.claim(account, "n", T0, TEN).await.unwrap() else {
        panic!("held")
    };
    store.commit(&mut fence, T0, Priority::Freeze, writes).await
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn entries(#[case] database: Database) {
    for_each(database, samples::entries(), async |store, account, entries| {
        commit(store, account, vec![Write::Entries(entries.clone())]).await.unwrap();
        assert_eq!(store.entries(account, Seq(0), 100).await.unwrap(), entries);
        let range = (Seq(1), Seq(12));
        let of_range = entries.iter().filter(|entry| range.0 < entry.seq && entry.seq <= range.1);
        let events: Vec<_> = of_range.filter(|entry| entry.effect.is_event()).cloned().collect();
        assert_eq!(store.events(account, range, 100).await.unwrap(), events);
        assert_eq!(store.events(account, range, 1).await.unwrap(), events[..events.len().min(1)]);
        let of_range = entries.iter().filter(|entry| range.0 < entry.seq && entry.seq <= range.1);
        let changes: Vec<_> = of_range.filter(|entry| !entry.effect.is_event()).cloned().collect();
        assert_eq!(store.changes(account, range, 100).await.unwrap(), changes);
        assert_eq!(store.changes(account, range, 2).await.unwrap(), changes[..changes.len().min(2)]);
        let after = store.entries(account, Seq(1), 2).await.unwrap();
        assert_eq!(after, entries.iter().skip(1).take(2).cloned().collect::<Vec<_>>());
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn friends(#[case] database: Database) {
    for_each(database, samples::friends(), async |store, account, friends| {
        let fold = Write::Fold { friends: friends.clone(), folded_seq: Seq(0) };
        commit(store, account, vec![fold.clone()]).await.unwrap();
        assert_eq!(store.friends(account, None, 100).await.unwrap(), friends);
        let after = store.friends(account, Some(friends[0].friend), 3).await.unwrap();
        assert_eq!(after, friends.iter().skip(1).take(3).cloned().collect::<Vec<_>>());
        let last = friends.last().unwrap();
        assert_eq!(store.friends_by_id(account, &[last.friend]).await.unwrap(), std::slice::from_ref(last));
        // Written again, they are the same.
        commit(store, account, vec![fold]).await.unwrap();
        assert_eq!(store.friends(account, None, 100).await.unwrap(), friends);
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn inbox(#[case] database: Database) {
    let rows = proptest::collection::vec((samples::instant(), samples::text(), samples::intakes()), 1..6);
    for_each(database, rows, async |store, account, rows| {
        let new = |(received_at, source, intakes)| NewInbox { account, received_at, source, intakes };
        let mut rows: Vec<NewInbox> = rows.into_iter().map(new).collect();
        store.append_inbox(rows.clone()).await.unwrap();
        let read = store.inbox(account, 100).await.unwrap();
        rows.sort_by_key(|row| row.received_at);
        let as_new = |row: &haishin::store::InboxRow| NewInbox {
            account,
            received_at: row.received_at,
            source: row.source.clone(),
            intakes: row.intakes.clone(),
        };
        assert_eq!(read.iter().map(as_new).collect::<Vec<_>>(), rows);
        assert_eq!(store.inbox_len(account).await.unwrap(), rows.len() as u64);
        let ids = read.iter().map(|row| row.id).collect();
        commit(store, account, vec![Write::ConsumeInbox(ids)]).await.unwrap();
        assert_eq!(store.inbox(account, 100).await.unwrap(), []);
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn campaigns_and_halts(#[case] database: Database) {
    let drawn = (samples::campaign(), samples::halt(), samples::halt());
    for_each(database, drawn, async |store, account, (campaign, stopped, paused)| {
        let writes = vec![
            Write::Campaign(campaign.clone()),
            Write::Stopped(Some(stopped.clone())),
            Write::AccountPaused(Some(paused.clone())),
        ];
        commit(store, account, writes).await.unwrap();
        assert_eq!(store.campaigns(account).await.unwrap(), [campaign]);
        let row = store.account(account).await.unwrap().unwrap();
        assert_eq!((row.stopped, row.paused), (Some(stopped), Some(paused)));
        commit(store, account, vec![Write::Stopped(None)]).await.unwrap();
        assert_eq!(store.account(account).await.unwrap().unwrap().stopped, None);
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn occurrences(#[case] database: Database) {
    for_each(database, samples::occurrence(), async |store, account, new| {
        commit(store, account, vec![Write::Occurrence(Box::new(new.clone()))]).await.unwrap();
        let id = new.row.id;
        for filter in [OccurrenceFilter::Id(id), OccurrenceFilter::Newest { campaign: None, limit: 1 }] {
            assert_eq!(store.occurrences(account, filter).await.unwrap(), std::slice::from_ref(&new.row));
        }
        assert_eq!(store.variants(account, id).await.unwrap(), new.variants);
        assert_eq!(store.exclusions(account, id).await.unwrap(), new.sets);
        let open = store.occurrences(account, OccurrenceFilter::Open).await.unwrap();
        assert_eq!(open.len(), usize::from(new.row.finished_at.is_none()));
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn deliveries(#[case] database: Database) {
    let occurrence = (samples::occurrence_row(), samples::sets());
    let drawn = (occurrence, samples::deliveries(3), samples::deliveries(3));
    for_each(database, drawn, async |store, account, ((row, sets), first, second)| {
        let id = row.id;
        let variants: Vec<_> = (0..3).map(|position| arm(position, [position])).collect();
        let new = NewOccurrence { row: row.clone(), variants, sets: sets.clone() };
        let deliveries = |sets: &Vec<DeliverySet>| Write::Deliveries { occurrence: id, sets: sets.clone() };
        commit(store, account, vec![Write::Occurrence(Box::new(new)), deliveries(&first)]).await.unwrap();
        assert_eq!(store.deliveries(account, id).await.unwrap(), first);
        // Written again, the new ones stand in the place of all.
        commit(store, account, vec![deliveries(&second)]).await.unwrap();
        assert_eq!(store.deliveries(account, id).await.unwrap(), second);

        let tally = store.tally(account, id).await.unwrap();
        let excluded = sets.iter().map(|set| (set.exclusion.clone(), set.friends.len()));
        assert_eq!(tally.excluded, excluded.collect::<Vec<_>>());
        let mut outcomes = std::collections::BTreeMap::new();
        second.iter().for_each(|set| *outcomes.entry(set.outcome).or_default() += set.friends.len());
        assert_eq!(tally.outcomes, outcomes);
        assert_eq!(tally.arms.iter().map(|arm| arm.friends).collect::<Vec<_>>(), [1, 1, 1]);

        let mut counted: Vec<Sent> = second
            .iter()
            .filter(|set| matches!(row.run, Run::Scheduled(_)) && set.outcome.counts())
            .map(|set| Sent {
                occurrence: id,
                campaign: row.campaign.clone(),
                category: row.category.clone(),
                capped: row.capped,
                content: arm(set.position, []).content,
                effective: set.effective_at,
                friends: set.friends.clone(),
            })
            .collect();
        let key = |sent: &Sent| (sent.effective, sent.content.0, sent.friends.len(), sent.friends.min());
        counted.sort_by_key(key);
        let cut = counted.get(counted.len() / 2).map_or(T0, |sent| sent.effective);
        for since in [Instant::MIN, cut] {
            let mut found = sent(store, account, SentFilter::Since(since)).await;
            assert!(found.is_sorted_by_key(|sent| sent.effective), "in the order they count");
            found.sort_by_key(key);
            let expected = counted.iter().filter(|sent| sent.effective >= since).cloned();
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
        let before = SentFilter::Unmerged { campaign: row.campaign.clone(), before: cut };
        let mut found = sent(store, account, before).await;
        found.sort_by_key(key);
        assert_eq!(found, counted.into_iter().filter(|sent| sent.effective < cut).collect::<Vec<_>>());
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn strides_and_batches(#[case] database: Database) {
    let occurrence = haishin::domain::id::OccurrenceId(7);
    let drawn = (samples::stride(occurrence), samples::batches(occurrence), samples::batches(occurrence));
    for_each(database, drawn, async |store, account, (stride, batches, again)| {
        let writes = vec![Write::Stride(stride.clone()), Write::Batches(batches.clone())];
        commit(store, account, writes).await.unwrap();
        assert_eq!(store.strides(account, occurrence).await.unwrap(), [stride]);
        assert_eq!(store.batches(account, occurrence).await.unwrap(), batches);
        // A row of the same (n, generation) is replaced, the others stay.
        commit(store, account, vec![Write::Batches(again.clone())]).await.unwrap();
        let mut merged: std::collections::BTreeMap<_, _> =
            batches.into_iter().map(|row| ((row.n, row.generation), row)).collect();
        merged.extend(again.into_iter().map(|row| ((row.n, row.generation), row)));
        assert_eq!(
            store.batches(account, occurrence).await.unwrap(),
            merged.into_values().collect::<Vec<_>>()
        );
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn strays(#[case] database: Database) {
    let drawn = (samples::strays(), samples::strays());
    for_each(database, drawn, async |store, account, (first, later)| {
        commit(store, account, vec![Write::Strays(first.clone())]).await.unwrap();
        commit(store, account, vec![Write::Strays(later.clone())]).await.unwrap();
        let total = first.len() + later.len();
        assert_eq!(store.stray_count(account).await.unwrap(), total as u64);
        let read = store.strays(account, 100).await.unwrap();
        let as_new = |row: &StrayRow| NewStray {
            received_at: row.received_at,
            source: row.source.clone(),
            reason: row.reason,
            intake: row.intake.clone(),
        };
        // The newest first; those of one transaction in any order.
        assert!(read.is_sorted_by(|a, b| a.id > b.id) && read.iter().all(|row| row.at == T0));
        let newest = store.strays(account, 1).await.unwrap();
        assert_eq!(newest, read[..total.min(1)]);
        let mut read_later: Vec<NewStray> = read[..later.len()].iter().map(as_new).collect();
        let by_place = |stray: &NewStray| later.iter().position(|of| of == stray);
        read_later.sort_by_key(by_place);
        assert_eq!(read_later.len(), later.len());
        assert!(read_later.iter().all(|stray| by_place(stray).is_some()));
        if let Some(upto) = read.get(later.len()) {
            commit(store, account, vec![Write::ForgetStrays(upto.id)]).await.unwrap();
        }
        assert_eq!(store.strays(account, 100).await.unwrap(), read[..later.len()]);
    });
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
fn configurations(#[case] database: Database) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let test = runtime.block_on(TestStore::new(database));
    let mut active = None;
    let mut runner = TestRunner::new_with_rng(samples::few(), TestRunner::deterministic().new_rng());
    for n in 0..10_u8 {
        let files = samples::files().new_tree(&mut runner).unwrap().current();
        let new = NewVersion { digest: [n; 32], files, activated_at: T0, activated_by: "花子".into() };
        runtime.block_on(async {
            let id = test.store.activate(active, &new).await.unwrap().unwrap();
            let stored = test.store.version(id).await.unwrap().unwrap();
            assert_eq!((&stored.files, stored.digest), (&new.files, new.digest));
            assert_eq!(test.store.active_version().await.unwrap(), Some(stored));
            active = Some(id);
        });
    }
}
