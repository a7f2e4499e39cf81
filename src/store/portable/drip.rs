//! Friends on their way through drips, whom caps deferred, tags that fall off. Enrollments move in bulk.

use super::{Connection, bulk, failed, last_of_each};
use crate::domain::drip::{Ending, Enrollment};
use crate::domain::id::{AccountId, CampaignSlug, FriendId, OccurrenceId, TagName};
use crate::domain::time::Instant;
use crate::store::codec::{
    DeferralCells, EnrollmentCells, TagExpiryCells, bitmap, corrupt, count, count_in, ending_in,
    enrollment_key, instant, step, step_in,
};
use crate::store::{DeferralRow, StepTotals, StoreError, TagExpiry};

statements! {
    ENROLLMENTS_OF = "SELECT drip, friend, started_at, version, counts_from, not_before, done, standing, step, \
                      due_at, occurrence, ending, ended_at FROM enrollment WHERE account = $1 AND friend = $2 \
                      ORDER BY started_at, drip";
    ENROLLMENT_ENDINGS = "SELECT drip, ending, CAST(SUM(ways) AS BIGINT) FROM \
                          (SELECT drip, ending, COUNT(*) AS ways FROM enrollment WHERE account = $1 \
                          AND standing = 'ended' GROUP BY drip, ending UNION ALL \
                          SELECT drip, ending, ways FROM enrollment_gone WHERE account = $1) chosen \
                          GROUP BY drip, ending ORDER BY drip, ending";
    STEP_TOTALS = "SELECT step, CAST(SUM(occurrences) AS BIGINT), CAST(SUM(matched) AS BIGINT), \
                   CAST(SUM(recipients) AS BIGINT) FROM (SELECT step, 1 AS occurrences, matched, recipients \
                   FROM occurrence WHERE account = $1 AND campaign = $2 AND run_kind = 'scheduled' UNION ALL \
                   SELECT step, occurrences, matched, recipients FROM step_day WHERE account = $1 \
                   AND campaign = $2) chosen GROUP BY step ORDER BY step";
    SET_DEFERRAL = "INSERT INTO deferral (account, occurrence, campaign, step, version, until, looked_at, children, \
                    waiting_count, waiting, left_count, \"left\", lapsed_count, lapsed, replaced_count, replaced) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
                    ON CONFLICT (account, occurrence) DO UPDATE SET campaign = excluded.campaign, \
                    step = excluded.step, version = excluded.version, until = excluded.until, looked_at = excluded.looked_at, \
                    children = excluded.children, waiting_count = excluded.waiting_count, \
                    waiting = excluded.waiting, left_count = excluded.left_count, \"left\" = excluded.\"left\", \
                    lapsed_count = excluded.lapsed_count, lapsed = excluded.lapsed, \
                    replaced_count = excluded.replaced_count, replaced = excluded.replaced";
    DEFERRALS = "SELECT occurrence, campaign, step, version, until, looked_at, children, waiting, \"left\", lapsed, replaced \
                 FROM deferral WHERE account = $1 AND waiting_count > 0 ORDER BY occurrence";
    DEFERRAL = "SELECT occurrence, campaign, step, version, until, looked_at, children, waiting, \"left\", lapsed, replaced \
                FROM deferral WHERE account = $1 AND occurrence = $2";
    TAG_EXPIRIES = "SELECT friend, tag, given_at, at FROM tag_expiry WHERE account = $1 AND at <= $2 \
                    ORDER BY at, friend, tag LIMIT CAST($3 AS BIGINT)";
    FIRST_TAG_EXPIRY = "SELECT at FROM tag_expiry WHERE account = $1 ORDER BY at LIMIT 1";
}

pub(super) async fn set_enrollments(
    conn: &mut Connection,
    account: AccountId,
    rows: &[Enrollment],
) -> Result<(), StoreError> {
    let rows = last_of_each(rows, |row| (&row.drip, row.friend, row.started_at));
    let cells: Result<Vec<_>, _> = rows.into_iter().map(EnrollmentCells::of).collect();
    bulk::drip::set_enrollments(conn, account, cells?).await.map_err(failed("write enrollments"))
}

pub(super) async fn drop_enrollments(
    conn: &mut Connection,
    account: AccountId,
    keys: &[(CampaignSlug, FriendId, Instant)],
) -> Result<(), StoreError> {
    let keys = keys.iter().map(enrollment_key).collect();
    bulk::drip::drop_enrollments(conn, account, keys).await.map_err(failed("drop enrollments"))
}

pub(super) async fn enrollments_of(
    conn: &mut Connection,
    account: AccountId,
    friend: FriendId,
) -> Result<Vec<Enrollment>, StoreError> {
    let query = sqlx::query_as(ENROLLMENTS_OF).bind(account.0).bind(i64::from(friend.0));
    let rows: Vec<EnrollmentCells> =
        query.fetch_all(conn).await.map_err(failed("read a friend's enrollments"))?;
    rows.into_iter().map(EnrollmentCells::read).collect()
}

pub(super) async fn enrollment_endings(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Vec<(CampaignSlug, Ending, u64)>, StoreError> {
    let query = sqlx::query_as(ENROLLMENT_ENDINGS).bind(account.0);
    let rows: Vec<(String, String, i64)> =
        query.fetch_all(conn).await.map_err(failed("count how enrollments ended"))?;
    rows.into_iter()
        .map(|(drip, ending, ways)| {
            let what = format!("enrollments in drip `{drip}`");
            let (ending, ways) = (ending_in(&what, &ending)?, count_in(&what, ways)?);
            Ok((drip.try_into().map_err(|error| corrupt(what, error))?, ending, ways))
        })
        .collect()
}

pub(super) async fn step_totals(
    conn: &mut Connection,
    account: AccountId,
    drip: &CampaignSlug,
) -> Result<Vec<StepTotals>, StoreError> {
    let query = sqlx::query_as(STEP_TOTALS).bind(account.0).bind(drip.as_str().to_owned());
    let rows: Vec<(String, i64, i64, i64)> =
        query.fetch_all(conn).await.map_err(failed("count what steps came to"))?;
    rows.into_iter()
        .map(|(step, occurrences, matched, recipients)| {
            let what = format!("occurrences of `{drip}`");
            Ok(StepTotals {
                step: step_in(&what, &step)?,
                occurrences: count_in(&what, occurrences)?,
                matched: count_in(&what, matched)?,
                recipients: count_in(&what, recipients)?,
            })
        })
        .collect()
}

pub(super) async fn set_deferral(
    conn: &mut Connection,
    account: AccountId,
    row: &DeferralRow,
) -> Result<(), StoreError> {
    let mut query = sqlx::query(SET_DEFERRAL)
        .bind(account.0)
        .bind(row.occurrence.0)
        .bind(row.campaign.as_str().to_owned())
        .bind(step(row.step.as_ref()).to_owned())
        .bind(row.version.0)
        .bind(row.until.as_millis())
        .bind(row.looked_at.as_millis())
        .bind(i64::from(row.children));
    for set in [&row.waiting, &row.left, &row.lapsed, &row.replaced] {
        query = query.bind(count(set.len())).bind(bitmap(set));
    }
    query.execute(conn).await.map(drop).map_err(failed("write a deferral"))
}

pub(super) async fn deferrals(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Vec<DeferralRow>, StoreError> {
    let query = sqlx::query_as(DEFERRALS).bind(account.0);
    let rows: Vec<DeferralCells> = query.fetch_all(conn).await.map_err(failed("read the deferrals"))?;
    rows.into_iter().map(DeferralCells::read).collect()
}

pub(super) async fn deferral(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Option<DeferralRow>, StoreError> {
    let query = sqlx::query_as(DEFERRAL).bind(account.0).bind(occurrence.0);
    let row: Option<DeferralCells> = query.fetch_optional(conn).await.map_err(failed("read a deferral"))?;
    row.map(DeferralCells::read).transpose()
}

pub(super) async fn set_tag_expiries(
    conn: &mut Connection,
    account: AccountId,
    rows: &[TagExpiry],
) -> Result<(), StoreError> {
    let rows = last_of_each(rows, |row| (row.friend, &row.tag));
    let cells = rows.into_iter().map(TagExpiryCells::of).collect();
    bulk::drip::set_tag_expiries(conn, account, cells).await.map_err(failed("write when tags fall off"))
}

pub(super) async fn drop_tag_expiries(
    conn: &mut Connection,
    account: AccountId,
    keys: &[(FriendId, TagName)],
) -> Result<(), StoreError> {
    let keys = keys.iter().map(|(friend, tag)| (friend.0.into(), tag.as_str().to_owned())).collect();
    bulk::drip::drop_tag_expiries(conn, account, keys).await.map_err(failed("drop when tags fall off"))
}

pub(super) async fn tag_expiries(
    conn: &mut Connection,
    account: AccountId,
    until: Instant,
    limit: u32,
) -> Result<Vec<TagExpiry>, StoreError> {
    let query = sqlx::query_as(TAG_EXPIRIES).bind(account.0).bind(until.as_millis()).bind(i64::from(limit));
    let rows: Vec<TagExpiryCells> =
        query.fetch_all(conn).await.map_err(failed("read which tags fall off"))?;
    rows.into_iter().map(TagExpiryCells::read).collect()
}

pub(super) async fn first_tag_expiry(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Option<Instant>, StoreError> {
    let query = sqlx::query_as(FIRST_TAG_EXPIRY).bind(account.0);
    let first: Option<(i64,)> =
        query.fetch_optional(conn).await.map_err(failed("read when the first tag falls off"))?;
    Ok(first.map(|(at,)| instant(at)))
}
