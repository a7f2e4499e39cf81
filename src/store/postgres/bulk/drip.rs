//! Enrollments and tags that fall off.

use sqlx::postgres::PgConnection;

use super::column;
use crate::domain::id::{AccountId, CampaignSlug, FriendId};
use crate::store::codec::{EnrollmentCells, EnrollmentKey, TagExpiryCells};

statements! {
    SET_ENROLLMENTS = "INSERT INTO enrollment (account, drip, friend, started_at, version, counts_from, not_before, \
                       done, standing, step, due_at, occurrence, ending, ended_at) SELECT $1, * FROM \
                       unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
                       $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], \
                       $14::bigint[]) ON CONFLICT (account, drip, friend, started_at) DO UPDATE SET \
                       version = excluded.version, counts_from = excluded.counts_from, \
                       not_before = excluded.not_before, done = excluded.done, standing = excluded.standing, \
                       step = excluded.step, due_at = excluded.due_at, occurrence = excluded.occurrence, \
                       ending = excluded.ending, ended_at = excluded.ended_at \
                       WHERE excluded.standing <> 'starting' OR enrollment.standing = 'starting'";
    DROP_ENROLLMENTS = "DELETE FROM enrollment e USING unnest($2::text[], $3::bigint[], $4::bigint[]) \
                        AS u (drip, friend, started_at) WHERE e.account = $1 AND e.drip = u.drip \
                        AND e.friend = u.friend AND e.started_at = u.started_at AND e.standing = 'starting'";
    OPEN_ENROLLMENTS = "SELECT drip, friend, started_at, version, counts_from, not_before, done, standing, step, \
                        due_at, occurrence, ending, ended_at FROM enrollment WHERE account = $1 \
                        AND standing <> 'ended' AND (drip, friend, started_at) > ($2, $3, $4) \
                        ORDER BY drip, friend, started_at LIMIT $5";
    LAST_STARTS = "SELECT friend, MAX(started_at) FROM enrollment WHERE account = $1 AND drip = $2 \
                   AND friend = ANY($3) AND standing <> 'starting' GROUP BY friend";
    SET_TAG_EXPIRIES = "INSERT INTO tag_expiry (account, friend, tag, given_at, at) SELECT $1, * FROM \
                        unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) \
                        ON CONFLICT (account, friend, tag) DO UPDATE SET given_at = excluded.given_at, \
                        at = excluded.at";
    DROP_TAG_EXPIRIES = "DELETE FROM tag_expiry e USING unnest($2::bigint[], $3::text[]) AS u (friend, tag) \
                         WHERE e.account = $1 AND e.friend = u.friend AND e.tag = u.tag";
}

pub(in crate::store) async fn set_enrollments(
    conn: &mut PgConnection,
    account: AccountId,
    rows: Vec<EnrollmentCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_ENROLLMENTS)
        .bind(account.0)
        .bind(column(&rows, |row| row.0.clone()))
        .bind(column(&rows, |row| row.1))
        .bind(column(&rows, |row| row.2))
        .bind(column(&rows, |row| row.3))
        .bind(column(&rows, |row| row.4))
        .bind(column(&rows, |row| row.5))
        .bind(column(&rows, |row| row.6.clone()))
        .bind(column(&rows, |row| row.7.clone()))
        .bind(column(&rows, |row| row.8.clone()))
        .bind(column(&rows, |row| row.9))
        .bind(column(&rows, |row| row.10))
        .bind(column(&rows, |row| row.11.clone()))
        .bind(column(&rows, |row| row.12));
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn drop_enrollments(
    conn: &mut PgConnection,
    account: AccountId,
    keys: Vec<EnrollmentKey>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(DROP_ENROLLMENTS)
        .bind(account.0)
        .bind(column(&keys, |key| key.0.clone()))
        .bind(column(&keys, |key| key.1))
        .bind(column(&keys, |key| key.2));
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn open_enrollments(
    conn: &mut PgConnection,
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
    query.fetch_all(conn).await
}

pub(in crate::store) async fn last_starts(
    conn: &mut PgConnection,
    account: AccountId,
    drip: &CampaignSlug,
    friends: &[FriendId],
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let query = sqlx::query_as(LAST_STARTS)
        .bind(account.0)
        .bind(drip.as_str())
        .bind(column(friends, |friend| i64::from(friend.0)));
    query.fetch_all(conn).await
}

pub(in crate::store) async fn set_tag_expiries(
    conn: &mut PgConnection,
    account: AccountId,
    rows: Vec<TagExpiryCells>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(SET_TAG_EXPIRIES)
        .bind(account.0)
        .bind(column(&rows, |row| row.0))
        .bind(column(&rows, |row| row.1.clone()))
        .bind(column(&rows, |row| row.2))
        .bind(column(&rows, |row| row.3));
    query.execute(conn).await.map(drop)
}

pub(in crate::store) async fn drop_tag_expiries(
    conn: &mut PgConnection,
    account: AccountId,
    keys: Vec<(i64, String)>,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(DROP_TAG_EXPIRIES)
        .bind(account.0)
        .bind(column(&keys, |key| key.0))
        .bind(column(&keys, |key| key.1.clone()));
    query.execute(conn).await.map(drop)
}
