//! What became of deliveries: the books of ended occurrences, and what caps read of them at a start.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use roaring::RoaringBitmap;
use tokio::sync::mpsc;

use super::{Connection, failed};
use crate::domain::delivery::{Exclusion, Outcome};
use crate::domain::id::{AccountId, CampaignSlug, OccurrenceId};
use crate::domain::sends::Sent;
use crate::store::codec::{
    DeliveryCells, SentCells, bitmap, bitmap_in, corrupt, count, count_in, exclusion_in, outcome_in, text,
};
use crate::store::{Arm, DeliverySet, ExcludedSet, SentFilter, StoreError, Tally};

statements! {
    FORGET = "DELETE FROM delivery WHERE account = $1 AND occurrence = $2";
    // What is the same for all of an occurrence or arm stands in each row, so that a start reads this table alone.
    INSERT = "INSERT INTO delivery (account, occurrence, position, effective_at, outcome, campaign, category, \
              capped, content, counted, friend_count, friends) SELECT o.account, o.id, v.position, \
              CAST($4 AS BIGINT), $5, o.campaign, o.category, o.capped, v.content, \
              CASE WHEN o.run_kind = 'scheduled' THEN $6 ELSE 'no' END, CAST($7 AS BIGINT), $8 \
              FROM occurrence o JOIN occurrence_variant v ON v.account = o.account AND v.occurrence = o.id \
              WHERE o.account = $1 AND o.id = $2 AND v.position = $3";
    DELIVERIES = "SELECT position, effective_at, outcome, friends FROM delivery \
                  WHERE account = $1 AND occurrence = $2";
    EXCLUDE = "INSERT INTO exclusion (account, occurrence, name, friend_count, friends) \
               VALUES ($1, $2, $3, $4, $5)";
    EXCLUSIONS = "SELECT name, friends FROM exclusion WHERE account = $1 AND occurrence = $2";
    EXCLUDED = "SELECT name, friend_count FROM exclusion WHERE account = $1 AND occurrence = $2";
    OUTCOMES = "SELECT outcome, CAST(SUM(friend_count) AS BIGINT) FROM delivery \
                WHERE account = $1 AND occurrence = $2 GROUP BY outcome";
    ARMS = "SELECT name, unit, friend_count FROM occurrence_variant WHERE account = $1 AND occurrence = $2 \
            ORDER BY position";
    SENT_SINCE = "SELECT occurrence, campaign, category, capped, content, effective_at, friends FROM delivery \
                  WHERE account = $1 AND counted <> 'no' AND effective_at >= $2 ORDER BY effective_at, occurrence";
    SENT_UNMERGED = "SELECT occurrence, campaign, category, capped, content, effective_at, friends FROM delivery \
                     WHERE account = $1 AND counted = 'yes' AND campaign = $2 AND effective_at < $3 \
                     ORDER BY effective_at";
    RECEIVED = "SELECT friends FROM received WHERE account = $1 AND campaign = $2";
    SET_RECEIVED = "INSERT INTO received (account, campaign, friend_count, friends) VALUES ($1, $2, $3, $4) \
                    ON CONFLICT (account, campaign) DO UPDATE SET friend_count = excluded.friend_count, \
                    friends = excluded.friends";
}

/// A page of past sends ends at so many bytes of sets, or so many sends.
const PAGE_BYTES: usize = 4 << 20;
const PAGE: usize = 4_096;

pub(super) async fn set_deliveries(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
    sets: &[DeliverySet],
) -> Result<(), StoreError> {
    const WRITING: &str = "write what became of an occurrence's deliveries";
    let forget = sqlx::query(FORGET).bind(account.0).bind(occurrence.0);
    forget.execute(&mut *conn).await.map_err(failed(WRITING))?;
    for set in sets {
        let query = sqlx::query(INSERT)
            .bind(account.0)
            .bind(occurrence.0)
            .bind(i64::from(set.position))
            .bind(set.effective_at.as_millis())
            .bind(set.outcome.as_str())
            .bind(if set.outcome.counts() { "yes" } else { "no" })
            .bind(count(set.friends.len()))
            .bind(bitmap(&set.friends));
        let written = query.execute(&mut *conn).await.map_err(failed(WRITING))?;
        if written.rows_affected() != 1 {
            let why = format!("it has no arm at position {}", set.position);
            return Err(corrupt(format!("occurrence {occurrence}"), why));
        }
    }
    Ok(())
}

pub(super) async fn deliveries(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Vec<DeliverySet>, StoreError> {
    let query = sqlx::query_as(DELIVERIES).bind(account.0).bind(occurrence.0);
    let rows: Vec<DeliveryCells> = query.fetch_all(conn).await.map_err(failed("read deliveries"))?;
    let sets: Result<Vec<_>, _> = rows.into_iter().map(DeliveryCells::read).collect();
    sets.map(|mut sets| {
        sets.sort_by_key(|set| (set.position, set.effective_at, set.outcome));
        sets
    })
}

pub(super) async fn exclude(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
    sets: &[ExcludedSet],
) -> Result<(), StoreError> {
    for set in sets {
        let query = sqlx::query(EXCLUDE)
            .bind(account.0)
            .bind(occurrence.0)
            .bind(text(&set.exclusion.key()).into_owned())
            .bind(count(set.friends.len()))
            .bind(bitmap(&set.friends));
        query.execute(&mut *conn).await.map_err(failed("write an occurrence's exclusions"))?;
    }
    Ok(())
}

pub(super) async fn exclusions(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Vec<ExcludedSet>, StoreError> {
    let query = sqlx::query_as(EXCLUSIONS).bind(account.0).bind(occurrence.0);
    let rows: Vec<(String, Vec<u8>)> = query.fetch_all(conn).await.map_err(failed("read exclusions"))?;
    let read = |(name, friends): (String, Vec<u8>)| {
        let friends = bitmap_in(&format!("exclusion {name} of occurrence {occurrence}"), &friends)?;
        Ok(ExcludedSet { exclusion: exclusion_in(&name)?, friends })
    };
    let sets: Result<Vec<_>, StoreError> = rows.into_iter().map(read).collect();
    sets.map(|mut sets| {
        sets.sort_by(|a, b| a.exclusion.cmp(&b.exclusion));
        sets
    })
}

pub(super) async fn tally(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Tally, StoreError> {
    const COUNTING: &str = "count an occurrence's friends";
    let query = sqlx::query_as(EXCLUDED).bind(account.0).bind(occurrence.0);
    let rows: Vec<(String, i64)> = query.fetch_all(&mut *conn).await.map_err(failed(COUNTING))?;
    let read = |(name, friends): (String, i64)| Ok((exclusion_in(&name)?, count_in("exclusion", friends)?));
    let mut excluded = rows.into_iter().map(read).collect::<Result<Vec<(Exclusion, u64)>, StoreError>>()?;
    excluded.sort();
    let query = sqlx::query_as(OUTCOMES).bind(account.0).bind(occurrence.0);
    let rows: Vec<(String, i64)> = query.fetch_all(&mut *conn).await.map_err(failed(COUNTING))?;
    let read =
        |(outcome, friends): (String, i64)| Ok((outcome_in(&outcome)?, count_in("delivery", friends)?));
    let outcomes = rows.into_iter().map(read).collect::<Result<BTreeMap<Outcome, u64>, StoreError>>()?;
    let query = sqlx::query_as(ARMS).bind(account.0).bind(occurrence.0);
    let rows: Vec<(String, Option<String>, i64)> = query.fetch_all(conn).await.map_err(failed(COUNTING))?;
    let read = |(name, unit, friends): (String, Option<String>, i64)| {
        let what = format!("occurrence_variant `{name}`");
        let friends = count_in(&what, friends)?;
        Ok(Arm { name: name.try_into().map_err(|error| corrupt(what, error))?, unit, friends })
    };
    let arms = rows.into_iter().map(read).collect::<Result<Vec<Arm>, StoreError>>()?;
    Ok(Tally { excluded, outcomes, arms })
}

pub(super) async fn sent(
    conn: &mut Connection,
    account: AccountId,
    filter: &SentFilter,
    pages: &mpsc::Sender<Vec<Sent>>,
) -> Result<(), StoreError> {
    let query = match filter {
        SentFilter::Since(since) => {
            sqlx::query_as::<_, SentCells>(SENT_SINCE).bind(account.0).bind(since.as_millis())
        }
        SentFilter::Unmerged { campaign, before } => sqlx::query_as(SENT_UNMERGED)
            .bind(account.0)
            .bind(campaign.as_str().to_owned())
            .bind(before.as_millis()),
    };
    let mut rows = query.fetch(conn);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(cells) = rows.try_next().await.map_err(failed("read past sends"))? {
        bytes += cells.friends.len();
        page.push(cells.read()?);
        if page.len() >= PAGE || bytes >= PAGE_BYTES {
            bytes = 0;
            if pages.send(std::mem::take(&mut page)).await.is_err() {
                return Ok(());
            }
        }
    }
    if !page.is_empty() {
        // Whoever has gone needs no more.
        let _ = pages.send(page).await;
    }
    Ok(())
}

pub(super) async fn received(
    conn: &mut Connection,
    account: AccountId,
    campaign: &CampaignSlug,
) -> Result<RoaringBitmap, StoreError> {
    let query = sqlx::query_as(RECEIVED).bind(account.0).bind(campaign.as_str().to_owned());
    let row: Option<(Vec<u8>,)> =
        query.fetch_optional(conn).await.map_err(failed("read who received a campaign"))?;
    let read = |(friends,): (Vec<u8>,)| bitmap_in(&format!("received of campaign {campaign}"), &friends);
    row.map_or_else(|| Ok(RoaringBitmap::new()), read)
}

/// Adds friends to those who ever received a campaign.
pub(super) async fn merge(
    conn: &mut Connection,
    account: AccountId,
    campaign: &CampaignSlug,
    friends: RoaringBitmap,
) -> Result<(), StoreError> {
    let friends = received(conn, account, campaign).await? | friends;
    let query = sqlx::query(SET_RECEIVED)
        .bind(account.0)
        .bind(campaign.as_str())
        .bind(count(friends.len()))
        .bind(bitmap(&friends));
    query.execute(conn).await.map(drop).map_err(failed("write who received a campaign"))
}
