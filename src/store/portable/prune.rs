//! Pruning, one bounded slice at a time: nothing here holds the database longer than a moment, however much there is.

use roaring::RoaringBitmap;

use super::{Connection, checkpoint, delivery, failed, step_day};
use crate::domain::id::{AccountId, CampaignSlug, OccurrenceId, Seq};
use crate::domain::time::Instant;
use crate::store::codec::{bitmap, bitmap_in, corrupt, count_in};
use crate::store::{Fence, JournalStretch, Prune, StoreError};

statements! {
    STRETCH = "SELECT MAX(seq), CAST(COALESCE(SUM(CASE WHEN kind <> 'event' OR at < $4 \
               OR friend IN (SELECT e.friend FROM erasure e WHERE e.account = $1) THEN 1 ELSE 0 END), 0) \
               AS BIGINT) FROM (SELECT seq, kind, at, friend FROM journal WHERE account = $1 AND seq > $2 \
               AND seq <= $3 ORDER BY seq LIMIT CAST($5 AS BIGINT)) chosen";
    JOURNAL = "DELETE FROM journal WHERE account = $1 AND seq > $2 AND seq <= $3 \
               AND (kind <> 'event' OR at < $4 \
               OR friend IN (SELECT e.friend FROM erasure e WHERE e.account = $1))";
    IN_JOURNAL = "SELECT seq FROM journal WHERE account = $1 AND seq > $2 AND seq <= $3 \
                  AND (kind <> 'event' OR at < $4 \
               OR friend IN (SELECT e.friend FROM erasure e WHERE e.account = $1)) LIMIT 1";
    WEBHOOK_IDS = "DELETE FROM known WHERE account = $1 AND id IN (SELECT id FROM known WHERE account = $1 \
                   AND kind = 'webhook' AND at < $2 ORDER BY at LIMIT CAST($3 AS BIGINT))";
    A_WEBHOOK_ID = "SELECT at FROM known WHERE account = $1 AND kind = 'webhook' AND at < $2 LIMIT 1";
    API_ANSWERS = "DELETE FROM api_answer WHERE account = $1 AND key IN (SELECT key FROM api_answer \
                   WHERE account = $1 AND at < $2 ORDER BY at LIMIT CAST($3 AS BIGINT))";
    AN_API_ANSWER = "SELECT at FROM api_answer WHERE account = $1 AND at < $2 LIMIT 1";
    OUTBOX = "DELETE FROM outbox WHERE account = $1 AND id IN (SELECT id FROM outbox WHERE account = $1 \
              AND given_up_at < $2 ORDER BY given_up_at LIMIT CAST($3 AS BIGINT))";
    IN_OUTBOX = "SELECT id FROM outbox WHERE account = $1 AND given_up_at < $2 LIMIT 1";
    ENDED = "SELECT id, campaign, matched + recipients FROM occurrence \
             WHERE account = $1 AND kept = $2 AND finished_at < $3 \
             ORDER BY finished_at, id LIMIT CAST($4 AS BIGINT)";
    KEEP = "UPDATE occurrence SET kept = $3 WHERE account = $1 AND id = $2";
    BATCHES = "DELETE FROM batch WHERE account = $1 AND occurrence = $2 AND n IN (SELECT n FROM batch \
               WHERE account = $1 AND occurrence = $2 ORDER BY n LIMIT CAST($3 AS BIGINT))";
    STRIDES = "DELETE FROM stride WHERE account = $1 AND occurrence = $2";
    UNMERGED = "SELECT campaign FROM delivery WHERE account = $1 AND counted = 'yes' AND outcome = 'accepted' \
                AND effective_at < $2 LIMIT 1";
    UNMERGED_OF = "SELECT occurrence, position, effective_at, friend_count FROM delivery WHERE account = $1 \
                   AND counted = 'yes' AND campaign = $2 AND outcome = 'accepted' AND effective_at < $3 \
                   ORDER BY effective_at, occurrence, position LIMIT CAST($4 AS BIGINT)";
    ONE = "SELECT friends FROM delivery WHERE account = $1 AND occurrence = $2 AND position = $3 \
           AND effective_at = $4 AND outcome = 'accepted'";
    MERGED = "UPDATE delivery SET counted = 'merged' WHERE account = $1 AND occurrence = $2 AND position = $3 \
              AND effective_at = $4 AND outcome = 'accepted'";
    COUNTED = "SELECT friends FROM delivery WHERE account = $1 AND occurrence = $2 AND counted = 'yes'";
    // The count beside a set stays when the set is emptied.
    EMPTY_DELIVERIES = "UPDATE delivery SET counted = 'no', friends = $3 WHERE account = $1 AND occurrence = $2";
    EMPTY_EXCLUSIONS = "UPDATE exclusion SET friends = $3 WHERE account = $1 AND occurrence = $2";
    EMPTY_VARIANTS = "UPDATE occurrence_variant SET recipients = $3 WHERE account = $1 AND occurrence = $2";
}

const PRUNING: &str = "prune what is no longer needed";

/// Rows of a table in its order in one slice.
const ROWS: i64 = 4_000;
/// Ids in one slice: they are digests, so each lies on a page of its own.
const IDS: i64 = 1_000;
/// Occurrences in one slice.
const OCCURRENCES: i64 = 200;
/// Friends in the sets of one slice: some megabytes.
const FRIENDS: u64 = 2_000_000;

/// How much of an ended occurrence is kept.
const WHOLE: &str = "all";
const WITHOUT_BATCHES: &str = "sets";
const WITHOUT_SETS: &str = "counts";

pub(super) async fn journal_stretch(
    conn: &mut Connection,
    account: AccountId,
    (after, upto): (Seq, Seq),
    events_before: Option<Instant>,
    limit: u32,
) -> Result<Option<JournalStretch>, StoreError> {
    let query = sqlx::query_as(STRETCH)
        .bind(account.0)
        .bind(after.0)
        .bind(upto.0)
        .bind(events_before.unwrap_or(Instant::MIN).as_millis())
        .bind(i64::from(limit));
    let (last, prunable): (Option<i64>, i64) =
        query.fetch_one(conn).await.map_err(failed("look over the journal"))?;
    let prunable = count_in("journal", prunable)?;
    Ok(last.map(|last| JournalStretch { last: Seq(last), prunable }))
}

/// The first kind that would find something.
pub(super) async fn prunable(
    conn: &mut Connection,
    account: AccountId,
    kinds: &[Prune],
) -> Result<Option<Prune>, StoreError> {
    for kind in kinds {
        let found = match kind {
            Prune::Chunks => !checkpoint::stale(conn, account).await?.is_empty(),
            Prune::Journal { after, upto, events_before } => {
                let before = events_before.unwrap_or(Instant::MIN).as_millis();
                let query = sqlx::query(IN_JOURNAL).bind(account.0).bind(after.0).bind(upto.0).bind(before);
                query.fetch_optional(&mut *conn).await.map_err(failed(PRUNING))?.is_some()
            }
            Prune::Merge(before) => unmerged(conn, account, *before).await?.is_some(),
            Prune::ApiAnswers(before) => {
                let query = sqlx::query(AN_API_ANSWER).bind(account.0).bind(before.as_millis());
                query.fetch_optional(&mut *conn).await.map_err(failed(PRUNING))?.is_some()
            }
            Prune::WebhookIds(before) => {
                let query = sqlx::query(A_WEBHOOK_ID).bind(account.0).bind(before.as_millis());
                query.fetch_optional(&mut *conn).await.map_err(failed(PRUNING))?.is_some()
            }
            Prune::Outbox(before) => {
                let query = sqlx::query(IN_OUTBOX).bind(account.0).bind(before.as_millis());
                query.fetch_optional(&mut *conn).await.map_err(failed(PRUNING))?.is_some()
            }
            Prune::Batches(before) => !ended(conn, account, WHOLE, *before, 1).await?.is_empty(),
            Prune::Sets(before) => !ended(conn, account, WITHOUT_BATCHES, *before, 1).await?.is_empty(),
            Prune::Steps(before, _) => step_day::is_due(conn, account, *before).await?,
        };
        if found {
            return Ok(Some(kind.clone()));
        }
    }
    Ok(None)
}

pub(super) async fn prune(conn: &mut Connection, fence: &Fence, kind: &Prune) -> Result<(), StoreError> {
    let account = fence.account;
    match kind {
        Prune::Chunks => checkpoint::prune(conn, account).await,
        Prune::Journal { after, upto, events_before } => {
            let before = events_before.unwrap_or(Instant::MIN).as_millis();
            let query = sqlx::query(JOURNAL).bind(account.0).bind(after.0).bind(upto.0).bind(before);
            query.execute(conn).await.map(drop).map_err(failed(PRUNING))
        }
        Prune::Merge(before) => merge(conn, account, *before).await,
        Prune::ApiAnswers(before) => {
            let query = sqlx::query(API_ANSWERS).bind(account.0).bind(before.as_millis()).bind(IDS);
            query.execute(conn).await.map(drop).map_err(failed(PRUNING))
        }
        Prune::WebhookIds(before) => {
            let query = sqlx::query(WEBHOOK_IDS).bind(account.0).bind(before.as_millis()).bind(IDS);
            query.execute(conn).await.map(drop).map_err(failed(PRUNING))
        }
        Prune::Outbox(before) => {
            let query = sqlx::query(OUTBOX).bind(account.0).bind(before.as_millis()).bind(IDS);
            query.execute(conn).await.map(drop).map_err(failed(PRUNING))
        }
        Prune::Batches(before) => batches(conn, account, *before).await,
        Prune::Sets(before) => sets(conn, account, *before).await,
        Prune::Steps(before, zone) => step_day::add_up(conn, account, *before, *zone).await,
    }
}

/// An occurrence that ended, with how many friends its sets hold.
struct Ended {
    id: i64,
    campaign: CampaignSlug,
    friends: u64,
}

async fn ended(
    conn: &mut Connection,
    account: AccountId,
    kept: &str,
    before: Instant,
    limit: i64,
) -> Result<Vec<Ended>, StoreError> {
    let query =
        sqlx::query_as(ENDED).bind(account.0).bind(kept.to_owned()).bind(before.as_millis()).bind(limit);
    let rows: Vec<(i64, String, i64)> = query.fetch_all(conn).await.map_err(failed(PRUNING))?;
    let read = |(id, campaign, friends): (i64, String, i64)| {
        let what = format!("occurrence {id}");
        let campaign = CampaignSlug::try_from(campaign).map_err(|error| corrupt(&what, error))?;
        Ok(Ended { id, campaign, friends: count_in(&what, friends)? })
    };
    rows.into_iter().map(read).collect()
}

async fn keep(conn: &mut Connection, account: AccountId, id: i64, kept: &str) -> Result<(), StoreError> {
    let query = sqlx::query(KEEP).bind(account.0).bind(id).bind(kept.to_owned());
    query.execute(conn).await.map(drop).map_err(failed(PRUNING))
}

async fn batches(conn: &mut Connection, account: AccountId, before: Instant) -> Result<(), StoreError> {
    let mut left = ROWS;
    for Ended { id, .. } in ended(conn, account, WHOLE, before, OCCURRENCES).await? {
        let query = sqlx::query(BATCHES).bind(account.0).bind(id).bind(left);
        let gone = query.execute(&mut *conn).await.map_err(failed(PRUNING))?.rows_affected();
        left -= i64::try_from(gone).unwrap_or(left);
        if left <= 0 {
            // There may be more of this one.
            return Ok(());
        }
        let strides = sqlx::query(STRIDES).bind(account.0).bind(id);
        strides.execute(&mut *conn).await.map_err(failed(PRUNING))?;
        keep(conn, account, id, WITHOUT_BATCHES).await?;
    }
    Ok(())
}

async fn unmerged(
    conn: &mut Connection,
    account: AccountId,
    before: Instant,
) -> Result<Option<CampaignSlug>, StoreError> {
    let query = sqlx::query_as(UNMERGED).bind(account.0).bind(before.as_millis());
    let campaign: Option<(String,)> = query.fetch_optional(conn).await.map_err(failed(PRUNING))?;
    let read = |(campaign,): (String,)| CampaignSlug::try_from(campaign);
    campaign.map(read).transpose().map_err(|error| corrupt("delivery.campaign", error))
}

/// Unknown deliveries are not merged while a person may still say that they were rejected.
async fn merge(conn: &mut Connection, account: AccountId, before: Instant) -> Result<(), StoreError> {
    let Some(campaign) = unmerged(conn, account, before).await? else { return Ok(()) };
    let query = sqlx::query_as(UNMERGED_OF)
        .bind(account.0)
        .bind(campaign.as_str().to_owned())
        .bind(before.as_millis())
        .bind(OCCURRENCES);
    let rows: Vec<(i64, i64, i64, i64)> = query.fetch_all(&mut *conn).await.map_err(failed(PRUNING))?;
    let (mut friends, mut weight) = (RoaringBitmap::new(), 0);
    for (occurrence, position, effective, count) in rows {
        if weight >= FRIENDS {
            break;
        }
        weight += count_in("delivery", count)?;
        let of = |sql| sqlx::query_as(sql).bind(account.0).bind(occurrence).bind(position).bind(effective);
        let (set,): (Vec<u8>,) = of(ONE).fetch_one(&mut *conn).await.map_err(failed(PRUNING))?;
        friends |= bitmap_in(&format!("delivery of occurrence {occurrence}"), &set)?;
        let merged = sqlx::query(MERGED).bind(account.0).bind(occurrence).bind(position).bind(effective);
        merged.execute(&mut *conn).await.map_err(failed(PRUNING))?;
    }
    delivery::merge(conn, account, &campaign, friends).await
}

/// Occurrences of one campaign: what they add to those who ever received it is then one write.
async fn sets(conn: &mut Connection, account: AccountId, before: Instant) -> Result<(), StoreError> {
    let found = ended(conn, account, WITHOUT_BATCHES, before, OCCURRENCES).await?;
    let Some(campaign) = found.first().map(|first| first.campaign.clone()) else { return Ok(()) };
    let (mut friends, mut weight) = (RoaringBitmap::new(), 0);
    for Ended { id, friends: size, .. } in found.into_iter().filter(|one| one.campaign == campaign) {
        if weight >= FRIENDS {
            break;
        }
        weight += size;
        let query = sqlx::query_as(COUNTED).bind(account.0).bind(id);
        let counted: Vec<(Vec<u8>,)> = query.fetch_all(&mut *conn).await.map_err(failed(PRUNING))?;
        for (set,) in counted {
            friends |= bitmap_in(&format!("delivery of occurrence {}", OccurrenceId(id)), &set)?;
        }
        for sql in [EMPTY_DELIVERIES, EMPTY_EXCLUSIONS, EMPTY_VARIANTS] {
            let empty = sqlx::query(sql).bind(account.0).bind(id).bind(bitmap(&RoaringBitmap::new()));
            empty.execute(&mut *conn).await.map_err(failed(PRUNING))?;
        }
        keep(conn, account, id, WITHOUT_SETS).await?;
    }
    if friends.is_empty() {
        return Ok(());
    }
    delivery::merge(conn, account, &campaign, friends).await
}
