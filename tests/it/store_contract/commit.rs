//! One transaction: all of it or nothing, and only from where the owner believes things stand.

use haishin::domain::delivery::{OccurrenceState, Outcome};
use haishin::domain::effect::DedupeId;
use haishin::domain::friend::Friend;
use haishin::domain::id::{FriendId, OccurrenceId, Seq, StepName, UserId, VersionId};
use haishin::domain::key::Run;
use haishin::domain::message::ContentDigest;
use haishin::domain::reason::Reason;
use haishin::domain::schedule::Planned;
use haishin::domain::time::{Instant, Span};
use haishin::store::*;
use roaring::RoaringBitmap;
use rstest::rstest;

use super::{T0, dump, granted, new_account, tagged};
use crate::support::store::{Database, TestStore};

pub fn occurrence(id: i64, due_at: Instant) -> OccurrenceRow {
    OccurrenceRow {
        id: OccurrenceId(id),
        campaign: "winter-coupon".to_owned().try_into().unwrap(),
        step: None,
        due_at,
        run: Run::Scheduled(0),
        parent: None,
        child: 0,
        version: VersionId(1),
        state: OccurrenceState::Sending,
        reason: None,
        detail: serde_json::json!({ "matched": 408 }),
        category: "promotion".to_owned().try_into().unwrap(),
        capped: true,
        immediate: false,
        frozen_at: due_at,
        deadline_at: None,
        pace: None,
        notify: true,
        matched: 408,
        recipients: 347,
        parts: vec![Part { from_batch: 0, effective_at: due_at }],
        finished_at: None,
    }
}

pub fn freeze(row: OccurrenceRow) -> Write {
    Write::Occurrence(Box::new(NewOccurrence { row, variants: vec![], sets: vec![] }))
}

/// An arm of these friends.
pub fn arm(position: u32, friends: impl IntoIterator<Item = u32>) -> VariantRow {
    VariantRow {
        position,
        name: format!("arm-{position}").try_into().unwrap(),
        messages: "[]".into(),
        content: ContentDigest([u8::try_from(position).unwrap(); 32]),
        unit: None,
        recipients: friends.into_iter().collect(),
    }
}

pub fn accepted(occurrence: i64, n: u32, friends: u32, at: Instant) -> BatchRow {
    let how = BatchEnding::Outcome(Outcome::Accepted);
    let end = BatchEnd { how, at, attempts: 1, request_id: None, accepted_request_id: None, detail: None };
    BatchRow {
        occurrence: OccurrenceId(occurrence),
        n,
        generation: 0,
        parent: None,
        friends: None,
        friend_count: friends,
        opened: None,
        body_sha256: [7; 32],
        ended: Some(end),
    }
}

fn moved(from: OccurrenceState, to: OccurrenceState) -> Write {
    let reason = Some(Reason::CancelledByPerson { by: "店長".into() });
    Write::OccurrenceState { occurrence: OccurrenceId(1), from, to, reason, finished_at: None }
}

/// One write of every kind, each valid after those before it.
pub fn one_of_each(inbox: i64) -> Vec<Write> {
    let others =
        [super::drips::one_of_each(), super::outbox::one_of_each(), super::forgetting::one_of_each()];
    [vec![sending(inbox)], others.to_vec()].concat().concat()
}

fn sending(inbox: i64) -> Vec<Write> {
    let halt =
        Some(Halt {
            at: T0, by: "花子".into(), reason: Reason::Words { words: "配信を止める".into() }
        });
    let friend = Friend::new(FriendId(1), UserId([1; 16]), T0);
    let chunk = CheckpointChunk {
        kind: "tag".into(),
        key: "会員".into(),
        chunk: 0,
        seq: Seq(2),
        checksum: -5,
        data: vec![0, 1, 255],
    };
    let all = |outcome| DeliverySet {
        position: 0,
        effective_at: T0,
        outcome,
        friends: RoaringBitmap::from_iter([1]),
    };
    vec![
        Write::Entries(vec![tagged(1), tagged(2)]),
        Write::Known(vec![DedupeId::webhook("9")]),
        Write::ConsumeInbox(vec![inbox]),
        Write::Grace,
        Write::Fold { friends: vec![friend], folded_seq: Seq(1) },
        Write::CheckpointChunks(vec![chunk]),
        Write::CheckpointManifest(Some(Seq(2))),
        Write::Stopped(halt.clone()),
        Write::AccountPaused(halt.clone()),
        Write::Campaign(CampaignRow {
            campaign: "winter-coupon".to_owned().try_into().unwrap(),
            step: None,
            schedule_digest: [3; 32],
            activated_at: T0,
            last_planned: Some(Planned { at: T0, local: None }),
            paused: halt,
        }),
        Write::Occurrence(Box::new(NewOccurrence {
            row: occurrence(1, T0),
            variants: vec![arm(0, [1, 2])],
            sets: vec![],
        })),
        Write::Part { occurrence: OccurrenceId(1), part: Part { from_batch: 3, effective_at: T0 } },
        Write::Stride(StrideRow {
            occurrence: OccurrenceId(1),
            first: 0,
            upto: 1,
            opened_at: T0,
            boot_id: "boot".into(),
            since_boot: Span::from_secs(9),
            digests: vec![[7; 32]],
        }),
        Write::Batches(vec![accepted(1, 0, 347, T0)]),
        Write::Deliveries { occurrence: OccurrenceId(1), sets: vec![all(Outcome::Accepted)] },
        moved(OccurrenceState::Sending, OccurrenceState::Finished),
        Write::Prune(Prune::Journal { after: Seq(0), upto: Seq(1), events_before: None }),
        Write::Prune(Prune::Merge(T0 + Span::from_secs(1))),
        Write::Quota(QuotaReading { month: "2026-12".into(), read_at: T0, limit: Some(5_000), used: 347 }),
        Write::Act(ActRow {
            at: T0,
            by: "花子".into(),
            act: "stop".into(),
            subject: "a".into(),
            detail: "誤配信".into(),
        }),
        Write::ClockAccepted,
    ]
}

async fn append(store: &dyn Store, account: haishin::domain::id::AccountId) -> i64 {
    let row = NewInbox { account, received_at: T0, source: "import".into(), intakes: vec![] };
    store.append_inbox(vec![row]).await.unwrap();
    store.inbox(account, 1).await.unwrap()[0].id
}

/// A failing write at each place of a transaction: nothing before or after it stands, the fence neither, and the
/// same transaction without it goes through.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_failing_write_anywhere_undoes_everything(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let writes = one_of_each(append(store, account).await);
    let mut fence = granted(store, account, "n", T0).await;
    let before = dump(store, account).await;
    for place in 0..=writes.len() {
        let mut writes = writes.clone();
        let missing = OccurrenceId(99);
        let (from, to) = (OccurrenceState::Sending, OccurrenceState::Paused);
        let failing =
            Write::OccurrenceState { occurrence: missing, from, to, reason: None, finished_at: None };
        writes.insert(place, failing);
        let failed = store.commit(&mut fence, T0, Priority::Freeze, writes).await;
        assert!(matches!(failed, Err(StoreError::Corrupt { .. })), "{failed:?}");
        assert_eq!(dump(store, account).await, before, "at place {place}");
    }
    assert!(store.known(account, &[DedupeId::webhook("9")]).await.unwrap().is_empty());
    store.commit(&mut fence, T0, Priority::Freeze, writes).await.unwrap();
    let ids = [DedupeId::webhook("9"), DedupeId::webhook("8")];
    assert_eq!(store.known(account, &ids).await.unwrap(), [ids[0]].into());
    assert_eq!(store.inbox_len(account).await.unwrap(), 0);
    assert_eq!(dump(&*test.reopen().await, account).await, dump(store, account).await);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn the_journal_takes_no_gap_and_no_number_twice(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    store
        .commit(&mut fence, T0, Priority::Fold, vec![Write::Entries(vec![tagged(1), tagged(2)])])
        .await
        .unwrap();
    for numbers in [vec![4], vec![2], vec![3, 5], vec![3, 3], vec![0], vec![i64::from(u32::MAX)]] {
        let entries = numbers.iter().copied().map(tagged).collect();
        let refused = store.commit(&mut fence, T0, Priority::Fold, vec![Write::Entries(entries)]).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{numbers:?}: {refused:?}");
    }
    let both = vec![Write::Entries(vec![tagged(3)]), Write::Entries(vec![]), Write::Entries(vec![tagged(4)])];
    store.commit(&mut fence, T0, Priority::Fold, both).await.unwrap();
    assert_eq!(store.entries(account, Seq(0), 10).await.unwrap(), (1..=4).map(tagged).collect::<Vec<_>>());
    assert_eq!(store.account(account).await.unwrap().unwrap().journal_seq, Seq(4));
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_fold_never_goes_back_and_never_past_the_journal(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let old = Friend::new(FriendId(1), UserId([1; 16]), T0);
    let new = Friend { external_id: Some("007".into()), ..old.clone() };
    let fold =
        |friend: &Friend, seq| vec![Write::Fold { friends: vec![friend.clone()], folded_seq: Seq(seq) }];
    store
        .commit(&mut fence, T0, Priority::Fold, vec![Write::Entries((1..=3).map(tagged).collect())])
        .await
        .unwrap();
    store.commit(&mut fence, T0, Priority::Fold, fold(&new, 2)).await.unwrap();
    // A fold may take several transactions as of the same entry.
    store.commit(&mut fence, T0, Priority::Fold, fold(&new, 2)).await.unwrap();
    for seq in [1, 4] {
        let refused = store.commit(&mut fence, T0, Priority::Fold, fold(&old, seq)).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{seq}: {refused:?}");
    }
    assert_eq!(store.friends(account, None, 10).await.unwrap(), [new]);
    assert_eq!(store.account(account).await.unwrap().unwrap().folded_seq, Seq(2));
}

/// A user that was erased comes back under a new dense id, in one fold with the erasure.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_user_id_belongs_to_one_friend_that_is_not_erased(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let fold = |friends| vec![Write::Fold { friends, folded_seq: Seq(0) }];
    let first = Friend::new(FriendId(1), UserId([1; 16]), T0);
    store.commit(&mut fence, T0, Priority::Fold, fold(vec![first.clone()])).await.unwrap();
    let second = Friend::new(FriendId(2), UserId([1; 16]), T0);
    let refused = store.commit(&mut fence, T0, Priority::Fold, fold(vec![second.clone()])).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    let erased = Friend { erased_at: Some(T0), ..first };
    // Not in the order of ids: the store sees to that.
    store.commit(&mut fence, T0, Priority::Fold, fold(vec![second.clone(), erased.clone()])).await.unwrap();
    assert_eq!(store.friends(account, None, 10).await.unwrap(), [erased, second]);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn each_due_instant_is_frozen_once(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let first = occurrence(1, T0);
    store.commit(&mut fence, T0, Priority::Freeze, vec![freeze(first.clone())]).await.unwrap();
    let again = OccurrenceRow { id: OccurrenceId(2), ..first.clone() };
    let refused = store.commit(&mut fence, T0, Priority::Freeze, vec![freeze(again.clone())]).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. })), "{refused:?}");
    let others = [
        OccurrenceRow { id: OccurrenceId(3), due_at: T0 + Span::from_millis(1), ..again.clone() },
        OccurrenceRow { id: OccurrenceId(4), run: Run::Scheduled(1), ..again.clone() },
        OccurrenceRow { id: OccurrenceId(5), run: Run::Test(T0), ..again.clone() },
        OccurrenceRow { id: OccurrenceId(6), child: 1, parent: Some(OccurrenceId(1)), ..again.clone() },
        OccurrenceRow { id: OccurrenceId(7), step: StepName::parse("coupon").ok(), ..again.clone() },
        OccurrenceRow { id: OccurrenceId(8), campaign: "spring".to_owned().try_into().unwrap(), ..again },
    ];
    let writes = others.iter().cloned().map(freeze).collect();
    store.commit(&mut fence, T0, Priority::Freeze, writes).await.unwrap();
    let open = store.occurrences(account, OccurrenceFilter::Open).await.unwrap();
    let ids: Vec<i64> = open.iter().map(|row| row.id.0).collect();
    assert_eq!(ids, [3, 8, 7, 6, 5, 4, 1], "newest due first, then the newest");
    let newest = OccurrenceFilter::Newest { campaign: Some(first.campaign.clone()), limit: 2 };
    let newest = store.occurrences(account, newest).await.unwrap();
    assert_eq!(newest.iter().map(|row| row.id.0).collect::<Vec<_>>(), [3, 7]);
    let last = store.last_occurrence(account).await.unwrap();
    assert_eq!(last, OccurrenceId(8), "though 3 was due after it");
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn an_occurrence_moves_on_only_from_where_it_stands(#[case] database: Database) {
    use OccurrenceState::*;
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    store.commit(&mut fence, T0, Priority::Freeze, vec![freeze(occurrence(1, T0))]).await.unwrap();
    for (from, to) in [(Paused, Sending), (Held, Cancelled), (Finished, Sending)] {
        let refused = store.commit(&mut fence, T0, Priority::Freeze, vec![moved(from, to)]).await;
        let Err(StoreError::Corrupt { what, why }) = refused else { panic!("{refused:?}") };
        assert_eq!(
            (what.as_str(), why),
            ("occurrence 1", format!("it is `sending`, not `{}`", from.as_str()))
        );
    }
    store.commit(&mut fence, T0, Priority::Freeze, vec![moved(Sending, Paused)]).await.unwrap();
    let end = Write::OccurrenceState {
        occurrence: OccurrenceId(1),
        from: Paused,
        to: Cancelled,
        reason: None,
        finished_at: Some(T0 + Span::from_secs(1)),
    };
    store.commit(&mut fence, T0, Priority::Freeze, vec![end]).await.unwrap();
    let expected =
        OccurrenceRow { state: Cancelled, finished_at: Some(T0 + Span::from_secs(1)), ..occurrence(1, T0) };
    let stored = store.occurrences(account, OccurrenceFilter::Id(OccurrenceId(1))).await.unwrap();
    assert_eq!(stored, [expected], "nothing else of it changed");
}

/// Open is what waits for its last outcome, whatever its state says: a cancelled one may still have requests under way.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn an_occurrence_is_open_until_its_last_outcome(#[case] database: Database) {
    use OccurrenceState::*;
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    assert_eq!(store.last_occurrence(account).await.unwrap(), OccurrenceId(0));
    let at = |days| T0 + Span::from_days(days);
    let resumed = Part { from_batch: 5, effective_at: at(9) };
    let mut writes = Vec::new();
    for (id, state, finished) in [
        (1, Finished, true),
        (2, Cancelled, false),
        (3, Cancelled, true),
        (7, Held, false),
        (5, Refused, true),
    ] {
        let finished_at = finished.then_some(T0);
        let row = OccurrenceRow { state, finished_at, ..occurrence(id, at(10 - id)) };
        let parts = row.parts.iter().copied().chain([resumed]).collect();
        writes.push(freeze(OccurrenceRow { parts, ..row }));
    }
    store.commit(&mut fence, T0, Priority::Freeze, writes).await.unwrap();
    let open = store.occurrences(account, OccurrenceFilter::Open).await.unwrap();
    assert_eq!(open.iter().map(|row| row.id.0).collect::<Vec<_>>(), [2, 7]);
    assert_eq!(open[0].parts, [Part { from_batch: 0, effective_at: at(8) }, resumed]);
    assert_eq!(store.last_occurrence(account).await.unwrap(), OccurrenceId(7), "not the newest due");
}

/// One row tells whether a one-shot has run, however many there are.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn the_last_run_of_a_campaign_is_found_by_its_number(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let campaign = occurrence(1, T0).campaign;
    let last = async |run| store.last_run(account, &campaign, run).await.unwrap().map(|row| row.id.0);
    assert_eq!(last(0).await, None);
    let run = |id, days, run| OccurrenceRow { run, ..occurrence(id, T0 + Span::from_days(days)) };
    let other = "other".to_owned().try_into().unwrap();
    let rows = [
        run(1, 1, Run::Scheduled(0)),
        run(2, 9, Run::Test(T0 + Span::from_days(9))),
        run(3, 0, Run::Scheduled(2)),
        OccurrenceRow { campaign: other, ..run(4, 9, Run::Scheduled(9)) },
    ];
    store.commit(&mut fence, T0, Priority::Freeze, rows.into_iter().map(freeze).collect()).await.unwrap();
    assert_eq!(
        (last(0).await, last(1).await, last(2).await, last(3).await),
        (Some(1), Some(3), Some(3), None)
    );
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn our_own_count_begins_after_the_reading(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let rejected = BatchEnding::Outcome(Outcome::Rejected);
    let mut refused = accepted(1, 3, 9_999, T0 + TEN_SECONDS);
    refused.ended = refused.ended.map(|end| BatchEnd { how: rejected, ..end });
    let rows = vec![
        accepted(1, 0, 500, T0),
        accepted(1, 1, 500, T0 + Span::from_millis(1)),
        accepted(2, 0, 4_000_000_000, T0 + TEN_SECONDS),
        refused,
    ];
    let quota = |month: &str, used| {
        Write::Quota(QuotaReading { month: month.into(), read_at: T0, limit: None, used })
    };
    let writes = vec![Write::Batches(rows), quota("2026-12", 1), quota("2027-01", 2), quota("2026-12", 3)];
    store.commit(&mut fence, T0, Priority::Outcome, writes).await.unwrap();
    assert_eq!(store.accepted_since(account, T0).await.unwrap(), 4_000_000_500);
    assert_eq!(store.accepted_since(account, T0 + TEN_SECONDS).await.unwrap(), 0);
    let readings = store.quota(account).await.unwrap();
    let readings: Vec<_> = readings.iter().map(|reading| (reading.month.as_str(), reading.used)).collect();
    assert_eq!(readings, [("2027-01", 2), ("2026-12", 3)]);
}

const TEN_SECONDS: Span = super::TEN;

/// An audience of a million, scattered and dense, with its exclusions, in one transaction.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_million_friends_freeze_in_one_transaction(#[case] database: Database) {
    let test = TestStore::new(database).await;
    let store = &*test.store;
    let account = new_account(store, "a").await;
    let mut fence = granted(store, account, "n", T0).await;
    let scattered: RoaringBitmap =
        (0..1_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761) % 10_000_000).collect();
    let variant = VariantRow {
        position: 0,
        name: "main".to_owned().try_into().unwrap(),
        messages: r#"[{"type":"text","text":"冬の新作🎂"}]"#.into(),
        content: ContentDigest([5; 32]),
        unit: Some("winter_20261204".into()),
        recipients: scattered,
    };
    let holdout = ExcludedSet {
        exclusion: haishin::domain::delivery::Exclusion::Holdout,
        friends: (10_000_000..11_000_000).collect(),
    };
    let new = NewOccurrence { row: occurrence(1, T0), variants: vec![variant], sets: vec![holdout] };
    store
        .commit(&mut fence, T0, Priority::Freeze, vec![Write::Occurrence(Box::new(new.clone()))])
        .await
        .unwrap();
    assert_eq!(store.variants(account, OccurrenceId(1)).await.unwrap(), new.variants);
    assert_eq!(store.exclusions(account, OccurrenceId(1)).await.unwrap(), new.sets);
}
