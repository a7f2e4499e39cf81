//! Pruning: one bounded slice at a time, exactly what is named and nothing else.

use std::collections::BTreeMap;

use haishin::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use haishin::domain::effect::{DedupeId, Effect, Entry};
use haishin::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, Seq};
use haishin::domain::key::Run;
use haishin::domain::time::{Instant, Span, Tz};
use haishin::store::*;
use roaring::RoaringBitmap;
use rstest::rstest;

use super::commit::{accepted, arm, occurrence};
use super::{T0, granted, new_account, sent, tagged};
use crate::support::store::{Database, TestStore};

struct Shop {
    test: TestStore,
    account: AccountId,
    fence: Fence,
}

impl Shop {
    async fn new(database: Database) -> Self {
        let test = TestStore::new(database).await;
        let account = new_account(&*test.store, "a").await;
        let fence = granted(&*test.store, account, "n", T0).await;
        Self { test, account, fence }
    }

    fn store(&self) -> &dyn Store {
        &*self.test.store
    }

    async fn write(&mut self, writes: Vec<Write>) {
        self.test.store.commit(&mut self.fence, T0, Priority::Fold, writes).await.unwrap();
    }

    /// Prunes until nothing of the kind is left; says in how many slices.
    async fn prune(&mut self, kind: Prune) -> usize {
        let mut slices = 0;
        let kinds = [kind];
        while let Some(found) = self.store().prunable(self.account, &kinds).await.unwrap() {
            assert_eq!(found, kinds[0]);
            self.write(vec![Write::Prune(found)]).await;
            slices += 1;
            assert!(slices < 100, "it does not end");
        }
        slices
    }

    /// An occurrence that ended `days` after T0 with these deliveries of one arm.
    async fn ended(&mut self, row: OccurrenceRow, days: i64, sets: &[(Outcome, RoaringBitmap)]) {
        let (id, at) = (row.id, row.due_at);
        let recipients = sets.iter().fold(RoaringBitmap::new(), |all, (_, set)| all | set);
        let row = OccurrenceRow {
            state: OccurrenceState::Finished,
            finished_at: Some(T0 + Span::from_days(days)),
            recipients: recipients.len(),
            matched: recipients.len() + 3,
            ..row
        };
        let excluded = ExcludedSet {
            exclusion: Exclusion::Holdout,
            friends: RoaringBitmap::from_iter([7_000_001, 7_000_002, 7_000_003]),
        };
        let new = NewOccurrence { row, variants: vec![arm(0, &recipients)], sets: vec![excluded] };
        let set = |(outcome, friends): &(Outcome, RoaringBitmap)| DeliverySet {
            position: 0,
            effective_at: at,
            outcome: *outcome,
            friends: friends.clone(),
        };
        let deliveries = Write::Deliveries { occurrence: id, sets: sets.iter().map(set).collect() };
        self.write(vec![Write::Occurrence(Box::new(new)), deliveries]).await;
    }

    async fn received(&self, campaign: &CampaignSlug) -> RoaringBitmap {
        self.store().received(self.account, campaign).await.unwrap()
    }

    async fn sent(&self) -> Vec<(i64, RoaringBitmap)> {
        let all = sent(self.store(), self.account, SentFilter::Since(Instant::MIN)).await;
        let mut all: Vec<_> = all.into_iter().map(|sent| (sent.occurrence.0, sent.friends)).collect();
        all.sort_by_key(|(occurrence, friends)| (*occurrence, friends.min()));
        all
    }
}

fn set(friends: impl IntoIterator<Item = u32>) -> RoaringBitmap {
    friends.into_iter().collect()
}

fn days(days: i64) -> Instant {
    T0 + Span::from_days(days)
}

fn event(seq: i64, at: Instant) -> Entry {
    let name = "purchase".parse().unwrap();
    let effect = Effect::Event { name, event_id: None, properties: BTreeMap::new() };
    Entry { seq: Seq(seq), friend: FriendId(1), at, effect }
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_stretch_of_the_journal_loses_states_and_old_events(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let entries = vec![
        tagged(1),
        event(2, days(0)),
        event(3, days(5)),
        tagged(4),
        event(5, days(4)),
        tagged(6),
        tagged(7),
    ];
    shop.write(vec![Write::Entries(entries.clone())]).await;
    let (store, account) = (shop.test.store.clone(), shop.account);
    let left = async || {
        let entries = store.entries(account, Seq(0), 100).await.unwrap();
        entries.iter().map(|entry| entry.seq.0).collect::<Vec<_>>()
    };
    let stretch = async |after, before, limit| {
        let range = (Seq(after), Seq(6));
        let found = store.journal_stretch(account, range, before, limit).await.unwrap();
        found.map(|stretch| (stretch.last.0, stretch.prunable))
    };
    assert_eq!(stretch(0, None, 100).await, Some((6, 3)));
    assert_eq!(stretch(0, Some(days(5)), 100).await, Some((6, 5)), "not the event at the instant itself");
    assert_eq!(stretch(1, None, 3).await, Some((4, 1)), "no more than asked for");
    assert_eq!(stretch(6, None, 3).await, None);

    let journal = |after, upto, events_before| {
        vec![Write::Prune(Prune::Journal { after: Seq(after), upto: Seq(upto), events_before })]
    };
    shop.write(journal(1, 5, None)).await;
    assert_eq!(left().await, [1, 2, 3, 5, 6, 7]);
    shop.write(journal(0, 6, Some(days(5)))).await;
    assert_eq!(left().await, [3, 7]);
    assert_eq!(stretch(0, Some(days(5)), 100).await, Some((3, 0)), "an event that is to stay");
    let (of, upto) = (Prune::Journal { after: Seq(0), upto: Seq(6), events_before: None }, Seq(7));
    assert_eq!(store.prunable(account, &[of]).await.unwrap(), None);
    let of = Prune::Journal { after: Seq(6), upto, events_before: None };
    assert_eq!(shop.prune(of).await, 1);
    assert_eq!(left().await, [3]);
    // What is gone leaves no gap for numbers to fall into.
    shop.write(vec![Write::Entries(vec![tagged(8)])]).await;
    assert_eq!(left().await, [3, 8]);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn answers_of_the_api_go_by_their_time(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let other = new_account(shop.store(), "b").await;
    let answer = |account, n: i64, days: i64| ApiAnswer {
        account,
        key: format!("key-{n}"),
        request: [1; 32],
        at: T0 + Span::from_days(days),
        status: 202,
        body: "{}".into(),
    };
    for n in 0..1_001 {
        assert_eq!(shop.store().append_once(vec![], &answer(shop.account, n, 0)).await.unwrap(), None);
    }
    let young = answer(shop.account, 9_999, 1);
    let others = answer(other, 1, 0);
    for kept in [&young, &others] {
        assert_eq!(shop.store().append_once(vec![], kept).await.unwrap(), None);
    }
    assert_eq!(shop.prune(Prune::ApiAnswers(T0)).await, 0, "answered at the instant itself");
    assert_eq!(shop.prune(Prune::ApiAnswers(days(1))).await, 2, "1,000 a slice");
    for kept in [young, others] {
        let found = shop.store().answered(kept.account, &kept.key, T0).await.unwrap();
        assert_eq!(found, Some(kept));
    }
    assert_eq!(shop.store().answered(shop.account, "key-1", T0).await.unwrap(), None);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn ids_of_webhooks_are_forgotten_by_age_and_no_others(#[case] database: Database) {
    const MANY: u32 = 1_001;
    let mut shop = Shop::new(database).await;
    let webhooks: Vec<DedupeId> = (0..MANY).map(|n| DedupeId::webhook(&n.to_string())).collect();
    let event = DedupeId::of("event", b"0");
    shop.write(vec![Write::Known(webhooks.clone()), Write::Known(vec![event])]).await;
    let all = [webhooks, vec![event]].concat();
    let (store, account) = (shop.test.store.clone(), shop.account);
    let left = async || store.known(account, &all).await.unwrap().len();
    assert_eq!(shop.prune(Prune::WebhookIds(T0)).await, 0, "applied at the instant itself");
    assert_eq!(left().await, 1_002);
    assert_eq!(shop.prune(Prune::WebhookIds(days(1))).await, 2, "1,000 a slice");
    assert_eq!(left().await, 1);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn batches_of_occurrences_that_ended_go_and_no_others(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    shop.ended(occurrence(1, T0), 1, &[(Outcome::Accepted, set([1, 2]))]).await;
    shop.ended(occurrence(2, days(3)), 3, &[(Outcome::Accepted, set([1]))]).await;
    shop.ended(occurrence(3, days(2)), 2, &[(Outcome::Accepted, set([3]))]).await;
    let open = OccurrenceRow { due_at: days(-9), ..occurrence(4, days(-9)) };
    let stride = |occurrence| StrideRow {
        occurrence: OccurrenceId(occurrence),
        first: 0,
        upto: 1,
        opened_at: T0,
        boot_id: "boot".into(),
        since_boot: Span::ZERO,
        digests: vec![[7; 32]],
    };
    let mut writes = vec![super::commit::freeze(open)];
    writes.extend((1..=4).map(|id| Write::Stride(stride(id))));
    writes.push(Write::Batches((0..4_000).map(|n| accepted(1, n, 1, T0)).collect()));
    writes.extend((2..=4).map(|id| Write::Batches(vec![accepted(id, 0, 1, T0)])));
    shop.write(writes).await;

    assert_eq!(shop.prune(Prune::Batches(days(3))).await, 2, "4,000 rows a slice");
    let (store, account) = (shop.test.store.clone(), shop.account);
    for (id, kept) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let id = OccurrenceId(id);
        assert_eq!(store.batches(account, id).await.unwrap().len(), kept, "{id}");
        assert_eq!(store.strides(account, id).await.unwrap().len(), kept, "{id}");
    }
    assert_eq!(store.tally(account, OccurrenceId(1)).await.unwrap().outcomes[&Outcome::Accepted], 2);
    assert_eq!(store.deliveries(account, OccurrenceId(1)).await.unwrap()[0].friends, set([1, 2]));
}

/// Who ever received a campaign is one set; windows go on reading each delivery.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn accepted_deliveries_are_merged_and_stay_where_they_are(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let campaign = occurrence(1, T0).campaign;
    let test = OccurrenceRow { run: Run::Test(T0), ..occurrence(4, days(1)) };
    let (accepted, unknown) = (Outcome::Accepted, Outcome::Unknown);
    shop.ended(occurrence(1, T0), 1, &[(accepted, set([1, 2])), (unknown, set([3]))]).await;
    shop.ended(occurrence(2, days(1)), 1, &[(accepted, set([2, 70_000])), (Outcome::Rejected, set([9]))])
        .await;
    shop.ended(occurrence(3, days(5)), 5, &[(accepted, set([5]))]).await;
    shop.ended(test, 1, &[(accepted, set([8]))]).await;
    let before = shop.sent().await;
    let windows = [(1, set([1, 2])), (1, set([3])), (2, set([2, 70_000])), (3, set([5]))];
    assert_eq!(before, windows);

    assert_eq!(shop.prune(Prune::Merge(days(5))).await, 1);
    assert_eq!(shop.received(&campaign).await, set([1, 2, 70_000]));
    assert_eq!(shop.sent().await, before);
    let unmerged = SentFilter::Unmerged { campaign: campaign.clone(), before: days(9) };
    let unmerged = sent(shop.store(), shop.account, unmerged).await;
    let unmerged: Vec<_> = unmerged.into_iter().map(|sent| sent.friends).collect();
    assert_eq!(unmerged, [set([3]), set([5])], "a person may still say that 3 did not get it");
    assert_eq!(shop.prune(Prune::Merge(days(6))).await, 1);
    assert_eq!(shop.received(&campaign).await, set([1, 2, 5, 70_000]));
    assert_eq!(shop.prune(Prune::Merge(days(99))).await, 0);
}

/// The sets go, and with them all that windows could read; the counts stay, and who ever received the campaign.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn sets_are_emptied_and_counts_stay(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let campaign = occurrence(1, T0).campaign;
    let other: CampaignSlug = "spring".to_owned().try_into().unwrap();
    let (accepted, unknown, rejected) = (Outcome::Accepted, Outcome::Unknown, Outcome::Rejected);
    shop.ended(occurrence(1, T0), 1, &[(accepted, set([1, 2])), (unknown, set([3])), (rejected, set([4]))])
        .await;
    let row = OccurrenceRow { campaign: other.clone(), ..occurrence(2, T0) };
    shop.ended(row, 1, &[(accepted, set([5]))]).await;
    shop.ended(occurrence(3, days(4)), 4, &[(accepted, set([6]))]).await;
    let (store, account) = (shop.test.store.clone(), shop.account);
    let tally = store.tally(account, OccurrenceId(1)).await.unwrap();

    assert_eq!(shop.prune(Prune::Sets(days(2))).await, 0, "batches go first");
    assert_eq!(shop.prune(Prune::Batches(days(2))).await, 1);
    assert_eq!(shop.prune(Prune::Sets(days(2))).await, 2, "a campaign a slice");
    assert_eq!(store.tally(account, OccurrenceId(1)).await.unwrap(), tally);
    assert_eq!((tally.outcomes[&unknown], tally.excluded.len(), tally.arms[0].friends), (1, 1, 4));
    assert_eq!(shop.received(&campaign).await, set([1, 2, 3]), "unknown is for good now");
    assert_eq!(shop.received(&other).await, set([5]));
    assert_eq!(shop.sent().await, [(3, set([6]))]);
    for id in [OccurrenceId(1), OccurrenceId(2)] {
        assert!(store.deliveries(account, id).await.unwrap().iter().all(|set| set.friends.is_empty()));
        assert!(store.exclusions(account, id).await.unwrap().iter().all(|set| set.friends.is_empty()));
        assert!(store.variants(account, id).await.unwrap()[0].recipients.is_empty());
    }
    assert_eq!(store.exclusions(account, OccurrenceId(3)).await.unwrap()[0].friends.len(), 3);
}

/// Of a drip's occurrences, once they are counts, a row for each step and day is left, and every count.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_drips_old_occurrences_are_added_up_by_step_and_day(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let drip = occurrence(1, T0).campaign;
    let step = |id: i64, name: &str, due: Instant| {
        let step = (!name.is_empty()).then(|| name.parse().unwrap());
        OccurrenceRow { step, ..occurrence(id, due) }
    };
    let hour = Span::from_hours(1);
    let (accepted, unknown) = (Outcome::Accepted, Outcome::Unknown);
    let mut rows: Vec<OccurrenceRow> =
        (1..=60).map(|id| step(id, "thanks", T0 + Span::from_mins(id))).collect();
    rows.push(step(61, "coupon", T0 + hour));
    rows.push(step(62, "coupon", T0 + Span::from_days(1)));
    // A campaign's, a test send's, one that ended later, and the newest of all stay.
    rows.push(step(63, "", T0));
    rows.push(OccurrenceRow { run: Run::Test(T0), ..step(64, "coupon", T0) });
    for row in rows {
        shop.ended(row, 1, &[(accepted, set([1, 2])), (unknown, set([3]))]).await;
    }
    shop.ended(step(65, "coupon", days(5)), 5, &[(accepted, set([1]))]).await;
    shop.ended(step(66, "coupon", days(1) + hour), 1, &[(accepted, set([1]))]).await;
    let (store, account) = (shop.test.store.clone(), shop.account);
    let totals = async || store.step_totals(account, &drip).await.unwrap();
    let before = totals().await;

    let steps = || Prune::Steps(days(2), Tz::Asia__Tokyo);
    assert_eq!(shop.prune(steps()).await, 0, "sets go first");
    shop.prune(Prune::Batches(days(2))).await;
    shop.prune(Prune::Sets(days(2))).await;
    assert_eq!(shop.prune(steps()).await, 2, "fifty in a slice");
    let left = OccurrenceFilter::Newest { campaign: None, limit: 100 };
    let mut left: Vec<i64> =
        store.occurrences(account, left).await.unwrap().iter().map(|row| row.id.0).collect();
    left.sort_unstable();
    assert_eq!(left, [63, 64, 65, 66]);
    assert_eq!(totals().await, before);
    assert_eq!(store.last_occurrence(account).await.unwrap(), OccurrenceId(66));
    assert_eq!(shop.received(&drip).await, set([1, 2, 3]));
    for id in [OccurrenceId(1), OccurrenceId(62)] {
        assert!(store.deliveries(account, id).await.unwrap().is_empty());
        assert!(store.exclusions(account, id).await.unwrap().is_empty());
        assert!(store.variants(account, id).await.unwrap().is_empty());
    }
    if database == Database::Memory {
        return;
    }
    let of = |day: Instant| day.day_in(Tz::Asia__Tokyo).to_string();
    let days_of = "SELECT step || ' ' || day || ' ' || CAST(occurrences AS TEXT) || ' ' || CAST(matched AS TEXT) || ' ' \
                   || CAST(recipients AS TEXT) FROM step_day WHERE ";
    let day = async |which: String| shop.test.text(&format!("{days_of}{which}")).await;
    let (today, tomorrow) = (of(T0), of(T0 + Span::from_days(1)));
    assert_eq!(day("step = 'thanks'".into()).await, format!("thanks {today} 60 360 180"));
    assert_eq!(day(format!("day = '{tomorrow}'")).await, format!("coupon {tomorrow} 1 6 3"));
    let count = async |which: &str| {
        let sum = format!(
            "SELECT CAST(friend_count AS TEXT) FROM step_day_count WHERE step = 'thanks' AND {which}"
        );
        shop.test.text(&sum).await
    };
    assert_eq!(count("name = 'accepted' AND kind = 'outcome' AND arm <> ''").await, "120");
    assert_eq!(count("name = 'unknown'").await, "60");
    assert_eq!(count("kind = 'excluded'").await, "180");
}

/// Somebody still waits in it.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn an_occurrence_in_which_somebody_waits_stays(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let row = OccurrenceRow { step: Some("thanks".parse().unwrap()), ..occurrence(1, T0) };
    let waiting = |friends: RoaringBitmap| DeferralRow {
        occurrence: OccurrenceId(1),
        campaign: row.campaign.clone(),
        step: row.step.clone(),
        version: row.version,
        until: days(90),
        looked_at: T0,
        children: 0,
        waiting: friends,
        left: set([]),
        lapsed: set([]),
        replaced: set([]),
    };
    shop.ended(row.clone(), 1, &[(Outcome::Accepted, set([1]))]).await;
    shop.ended(occurrence(2, days(5)), 5, &[(Outcome::Accepted, set([1]))]).await;
    shop.write(vec![Write::Deferral(Box::new(waiting(set([9]))))]).await;
    shop.prune(Prune::Batches(days(2))).await;
    shop.prune(Prune::Sets(days(2))).await;
    let steps = || Prune::Steps(days(2), Tz::UTC);
    assert_eq!(shop.prune(steps()).await, 0);
    shop.write(vec![Write::Deferral(Box::new(waiting(set([]))))]).await;
    assert_eq!(shop.prune(steps()).await, 1);
    assert_eq!(shop.store().deferral(shop.account, OccurrenceId(1)).await.unwrap(), None);
}

/// Millions of friends are several slices: one ends when two million are in it.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn many_friends_are_many_slices(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    for id in 1..=3 {
        let first = u32::try_from(id).unwrap() * 1_000_000;
        let friends = set(first..first + 1_000_000);
        shop.ended(occurrence(id, days(id)), 1, &[(Outcome::Accepted, friends)]).await;
    }
    assert_eq!(shop.prune(Prune::Merge(days(9))).await, 2);
    let campaign = occurrence(1, T0).campaign;
    assert_eq!(shop.received(&campaign).await, set(1_000_000..4_000_000));
    shop.prune(Prune::Batches(days(9))).await;
    assert_eq!(shop.prune(Prune::Sets(days(9))).await, 3, "matched and recipients");
    assert_eq!(shop.received(&campaign).await, set(1_000_000..4_000_000));
}

/// Of several kinds the first that finds something is told.
#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn the_first_kind_that_finds_something_is_told(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    shop.ended(occurrence(1, T0), 1, &[(Outcome::Accepted, set([1]))]).await;
    let kinds = [
        Prune::Chunks,
        Prune::WebhookIds(days(9)),
        Prune::Sets(days(9)),
        Prune::Batches(days(9)),
        Prune::Merge(days(9)),
    ];
    let (store, account) = (shop.test.store.clone(), shop.account);
    assert_eq!(store.prunable(account, &kinds).await.unwrap(), Some(Prune::Batches(days(9))));
    assert_eq!(store.prunable(account, &kinds[4..]).await.unwrap(), Some(Prune::Merge(days(9))));
    assert_eq!(store.prunable(account, &kinds[..2]).await.unwrap(), None);
    let another = new_account(&*store, "b").await;
    assert_eq!(store.prunable(another, &kinds).await.unwrap(), None);
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn a_grace_is_noted_with_its_instant(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    let (store, account) = (shop.test.store.clone(), shop.account);
    let noted = async || store.account(account).await.unwrap().unwrap().grace_from;
    assert_eq!(noted().await, None);
    shop.write(vec![Write::Grace]).await;
    assert_eq!(noted().await, Some(T0));
}

#[rstest]
#[case::sqlite(Database::Sqlite)]
#[case::postgres(Database::Postgres)]
#[case::memory(Database::Memory)]
#[tokio::test]
async fn deliveries_of_an_arm_there_is_none_of_are_refused(#[case] database: Database) {
    let mut shop = Shop::new(database).await;
    shop.ended(occurrence(1, T0), 1, &[(Outcome::Accepted, set([1]))]).await;
    let foreign =
        DeliverySet { position: 1, effective_at: T0, outcome: Outcome::Accepted, friends: set([1]) };
    let write = Write::Deliveries { occurrence: OccurrenceId(1), sets: vec![foreign] };
    let refused = shop.test.store.commit(&mut shop.fence, T0, Priority::Outcome, vec![write]).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
}
