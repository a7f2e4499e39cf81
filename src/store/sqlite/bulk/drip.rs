//! Enrollments and tags that fall off.

use sqlx::sqlite::SqliteConnection;

use super::{from_json, json};
use crate::domain::id::{AccountId, CampaignSlug, FriendId};
use crate::store::codec::{EnrollmentCells, EnrollmentKey, TagExpiryCells};

statements! {
    SET_ENROLLMENTS = "INSERT INTO enrollment (account, drip, friend, started_at, version, counts_from, not_before, \
                       done, standing, step, due_at, occurrence, ending, ended_at) SELECT $1, value ->> 0, \
                       value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
                       value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12 FROM jsonb_each($2) \
                       WHERE true ON CONFLICT (account, drip, friend, started_at) DO UPDATE SET \
                       version = excluded.version, counts_from = excluded.counts_from, \
                       not_before = excluded.not_before, done = excluded.done, standing = excluded.standing, \
                       step = excluded.step, due_at = excluded.due_at, occurrence = excluded.occurrence, \
                       ending = excluded.ending, ended_at = excluded.ended_at \
                       WHERE excluded.standing <> 'starting' OR enrollment.standing = 'starting'";
    DROP_ENROLLMENTS = "DELETE FROM enrollment WHERE account = $1 AND standing = 'starting' \
                        AND (drip, friend, started_at) IN \
                        (SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each($2))";
    // Named, or the planner would walk those that are over too: after years, most.
    OPEN_ENROLLMENTS = "SELECT json_group_array(json_array(drip, friend, started_at, version, counts_from, \
                        not_before, done, standing, step, due_at, occurrence, ending, ended_at) \
                        ORDER BY drip, friend, started_at) FROM (SELECT * FROM enrollment \
                        INDEXED BY enrollment_open WHERE account = $1 AND standing <> 'ended' \
                        AND (drip, friend, started_at) > ($2, $3, $4) \
                        ORDER BY drip, friend, started_at LIMIT CAST($5 AS BIGINT))";
    LAST_STARTS = "SELECT json_group_array(json_array(friend, last)) FROM (SELECT friend, MAX(started_at) AS last \
                   FROM enrollment WHERE account = $1 AND drip = $2 AND friend IN (SELECT value FROM json_each($3)) \
                   AND standing <> 'starting' GROUP BY friend)";
    SET_TAG_EXPIRIES = "INSERT INTO tag_expiry (account, friend, tag, given_at, at) SELECT $1, value ->> 0, \
                        value ->> 1, value ->> 2, value ->> 3 FROM jsonb_each($2) WHERE true \
                        ON CONFLICT (account, friend, tag) DO UPDATE SET given_at = excluded.given_at, \
                        at = excluded.at";
    DROP_TAG_EXPIRIES = "DELETE FROM tag_expiry WHERE account = $1 AND (friend, tag) IN \
                         (SELECT value ->> 0, value ->> 1 FROM jsonb_each($2))";
}

pub(in crate::store) async fn set_enrollments(
    conn: &mut SqliteConnection,
    account: AccountId,
    rows: Vec<EnrollmentCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_ENROLLMENTS).bind(account.0).bind(json(&rows)?);
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn drop_enrollments(
    conn: &mut SqliteConnection,
    account: AccountId,
    keys: Vec<EnrollmentKey>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(DROP_ENROLLMENTS).bind(account.0).bind(json(&keys)?);
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn open_enrollments(
    conn: &mut SqliteConnection,
    account: AccountId,
    (drip, friend, started_at): EnrollmentKey,
    limit: u32,
) -> Result<Vec<EnrollmentCells>, sqlx::Error> {
    let query = sqlx::query_as(OPEN_ENROLLMENTS)
        .bind(account.0)
        .bind(drip)
        .bind(friend)
        .bind(started_at)
        .bind(i64::from(limit));
    let (rows,): (String,) = query.fetch_one(conn).await?;
    from_json(&rows)
}

pub(in crate::store) async fn last_starts(
    conn: &mut SqliteConnection,
    account: AccountId,
    drip: &CampaignSlug,
    friends: &[FriendId],
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let query =
        sqlx::query_as(LAST_STARTS).bind(account.0).bind(drip.as_str().to_owned()).bind(json(&friends)?);
    let (rows,): (String,) = query.fetch_one(conn).await?;
    from_json(&rows)
}

pub(in crate::store) async fn set_tag_expiries(
    conn: &mut SqliteConnection,
    account: AccountId,
    rows: Vec<TagExpiryCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_TAG_EXPIRIES).bind(account.0).bind(json(&rows)?);
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn drop_tag_expiries(
    conn: &mut SqliteConnection,
    account: AccountId,
    keys: Vec<(i64, String)>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(DROP_TAG_EXPIRIES).bind(account.0).bind(json(&keys)?);
    query.execute(conn).await.map(drop)
}
