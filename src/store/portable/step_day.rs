//! Drips' occurrences are many small ones. Once only their counts are kept they are added up: a row for each step and day.

use std::collections::BTreeMap;

use super::{Connection, failed, last_occurrence};
use crate::domain::id::AccountId;
use crate::domain::time::{Instant, Tz};
use crate::store::StoreError;
use crate::store::codec::instant;

statements! {
    // The newest stays, so that its number is not given again. So do those in which somebody waits.
    CHOSEN = "SELECT id, campaign, step, due_at, matched, recipients FROM occurrence o WHERE account = $1 \
              AND kept = 'counts' AND finished_at < $2 AND step <> '' AND run_kind = 'scheduled' \
              AND id < $3 AND NOT EXISTS (SELECT 1 FROM deferral d WHERE d.account = $1 AND d.occurrence = o.id \
              AND d.waiting_count > 0) ORDER BY finished_at, id LIMIT CAST($4 AS BIGINT)";
    OUTCOMES = "SELECT v.name, d.outcome, d.friend_count FROM delivery d JOIN occurrence_variant v \
                ON v.account = d.account AND v.occurrence = d.occurrence AND v.position = d.position \
                WHERE d.account = $1 AND d.occurrence = $2";
    EXCLUDED = "SELECT name, friend_count FROM exclusion WHERE account = $1 AND occurrence = $2";
    ADD_DAY = "INSERT INTO step_day (account, campaign, step, day, occurrences, matched, recipients) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (account, campaign, step, day) DO UPDATE SET \
               occurrences = step_day.occurrences + excluded.occurrences, \
               matched = step_day.matched + excluded.matched, \
               recipients = step_day.recipients + excluded.recipients";
    ADD_COUNT = "INSERT INTO step_day_count (account, campaign, step, day, kind, arm, name, friend_count) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                 ON CONFLICT (account, campaign, step, day, kind, arm, name) DO UPDATE SET \
                 friend_count = step_day_count.friend_count + excluded.friend_count";
    DELIVERIES_GO = "DELETE FROM delivery WHERE account = $1 AND occurrence = $2";
    EXCLUSIONS_GO = "DELETE FROM exclusion WHERE account = $1 AND occurrence = $2";
    ARMS_GO = "DELETE FROM occurrence_variant WHERE account = $1 AND occurrence = $2";
    PARTS_GO = "DELETE FROM occurrence_part WHERE account = $1 AND occurrence = $2";
    DEFERRAL_GOES = "DELETE FROM deferral WHERE account = $1 AND occurrence = $2";
    OCCURRENCE_GOES = "DELETE FROM occurrence WHERE account = $1 AND id = $2";
}

const ADDING: &str = "add up the occurrences of drips";

/// Occurrences in one slice: some rows of each go and a few are written, all in a moment.
const OCCURRENCES: i64 = 50;

/// A drip's step on a day.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Place {
    campaign: String,
    step: String,
    day: String,
}

/// An occurrence, and what it counts in.
struct Chosen {
    id: i64,
    place: Place,
    matched: i64,
    recipients: i64,
}

/// What is added to a place: occurrences, matched, recipients; friends by kind, arm and name.
#[derive(Default)]
struct Sums {
    occurrences: i64,
    matched: i64,
    recipients: i64,
    counts: BTreeMap<(&'static str, String, String), i64>,
}

async fn chosen(
    conn: &mut Connection,
    account: AccountId,
    before: Instant,
    (zone, limit): (Tz, i64),
) -> Result<Vec<Chosen>, StoreError> {
    let newest = last_occurrence(conn, account).await?;
    let query = sqlx::query_as(CHOSEN).bind(account.0).bind(before.as_millis()).bind(newest.0).bind(limit);
    let rows: Vec<(i64, String, String, i64, i64, i64)> =
        query.fetch_all(conn).await.map_err(failed(ADDING))?;
    let read = |(id, campaign, step, due_at, matched, recipients)| {
        let day = instant(due_at).day_in(zone).to_string();
        Chosen { id, place: Place { campaign, step, day }, matched, recipients }
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Whether there is an occurrence to add.
pub(super) async fn is_due(
    conn: &mut Connection,
    account: AccountId,
    before: Instant,
) -> Result<bool, StoreError> {
    Ok(!chosen(conn, account, before, (Tz::UTC, 1)).await?.is_empty())
}

/// Adds a slice of them up, and lets them go.
pub(super) async fn add_up(
    conn: &mut Connection,
    account: AccountId,
    before: Instant,
    zone: Tz,
) -> Result<(), StoreError> {
    let mut days: BTreeMap<Place, Sums> = BTreeMap::new();
    for one in chosen(conn, account, before, (zone, OCCURRENCES)).await? {
        let sums = days.entry(one.place).or_default();
        sums.occurrences += 1;
        sums.matched += one.matched;
        sums.recipients += one.recipients;
        let outcomes = sqlx::query_as(OUTCOMES).bind(account.0).bind(one.id);
        let outcomes: Vec<(String, String, i64)> =
            outcomes.fetch_all(&mut *conn).await.map_err(failed(ADDING))?;
        for (arm, outcome, friends) in outcomes {
            *sums.counts.entry(("outcome", arm, outcome)).or_default() += friends;
        }
        let excluded = sqlx::query_as(EXCLUDED).bind(account.0).bind(one.id);
        let excluded: Vec<(String, i64)> = excluded.fetch_all(&mut *conn).await.map_err(failed(ADDING))?;
        for (why, friends) in excluded {
            *sums.counts.entry(("excluded", String::new(), why)).or_default() += friends;
        }
        for sql in [DELIVERIES_GO, EXCLUSIONS_GO, ARMS_GO, PARTS_GO, DEFERRAL_GOES, OCCURRENCE_GOES] {
            let gone = sqlx::query(sql).bind(account.0).bind(one.id);
            gone.execute(&mut *conn).await.map_err(failed(ADDING))?;
        }
    }
    for (place, sums) in days {
        put(conn, account, place, sums).await?;
    }
    Ok(())
}

async fn put(conn: &mut Connection, account: AccountId, place: Place, sums: Sums) -> Result<(), StoreError> {
    let Place { campaign, step, day } = place;
    let query = sqlx::query(ADD_DAY)
        .bind(account.0)
        .bind(campaign.clone())
        .bind(step.clone())
        .bind(day.clone())
        .bind(sums.occurrences)
        .bind(sums.matched)
        .bind(sums.recipients);
    query.execute(&mut *conn).await.map_err(failed(ADDING))?;
    for ((kind, arm, name), friends) in sums.counts {
        let query = sqlx::query(ADD_COUNT)
            .bind(account.0)
            .bind(campaign.clone())
            .bind(step.clone())
            .bind(day.clone())
            .bind(kind)
            .bind(arm)
            .bind(name)
            .bind(friends);
        query.execute(&mut *conn).await.map_err(failed(ADDING))?;
    }
    Ok(())
}
