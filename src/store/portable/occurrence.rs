//! Occurrences with everything their freeze fixes.

use super::{Connection, delivery, failed};
use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{AccountId, CampaignSlug, OccurrenceId};
use crate::domain::reason::Reason;
use crate::domain::time::Instant;
use crate::store::codec::{
    OccurrenceCells, PartedOccurrence, VariantCells, bitmap, corrupt, count, gather, reason_cell,
    text_or_none,
};
use crate::store::{NewOccurrence, OccurrenceFilter, OccurrenceRow, Part, StoreError, VariantRow};

/// What is common to all readings: the occurrences chosen by id, each with its parts, newest due first. A planner without
/// statistics would rather walk all occurrences in their order than begin with the few chosen: SQLite takes CROSS JOIN
/// as an order to do the latter.
macro_rules! reading {
    ($choice:expr) => {
        concat!(
            "SELECT o.id, o.campaign, o.step, o.due_at, o.run_kind, o.run_number, o.parent, o.child, o.version, ",
            "o.state, o.reason, o.detail, o.category, o.capped, o.immediate, o.frozen_at, o.deadline_at, ",
            "o.pace_friends, o.pace_per, o.notify, o.matched, o.recipients, o.finished_at, ",
            "p.from_batch, p.effective_at FROM (",
            $choice,
            ") chosen CROSS JOIN occurrence o ",
            "LEFT JOIN occurrence_part p ON p.account = o.account AND p.occurrence = o.id ",
            "WHERE o.account = $1 AND o.id = chosen.id ORDER BY o.due_at DESC, o.id DESC, p.effective_at"
        )
    };
}

statements! {
    INSERT = "INSERT INTO occurrence (account, id, campaign, step, due_at, run_kind, run_number, parent, child, \
              version, state, reason, detail, category, capped, immediate, frozen_at, deadline_at, pace_friends, \
              pace_per, notify, matched, recipients, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
              $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)";
    INSERT_VARIANT = "INSERT INTO occurrence_variant (account, occurrence, position, name, messages, content, \
                      unit, friend_count, recipients) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    SET_PART = "INSERT INTO occurrence_part (account, occurrence, from_batch, effective_at) \
                VALUES ($1, $2, $3, $4) ON CONFLICT (account, occurrence, effective_at) \
                DO UPDATE SET from_batch = excluded.from_batch";
    MOVE = "UPDATE occurrence SET state = $4, reason = $5, finished_at = COALESCE($6, finished_at) \
            WHERE account = $1 AND id = $2 AND state = $3";
    STATE = "SELECT state FROM occurrence WHERE account = $1 AND id = $2";
    OPEN = reading!("SELECT id FROM occurrence WHERE account = $1 AND finished_at IS NULL");
    BY_ID = reading!("SELECT id FROM occurrence WHERE account = $1 AND id = $2");
    NEWEST = reading!("SELECT id FROM occurrence WHERE account = $1 \
                       ORDER BY due_at DESC, id DESC LIMIT CAST($2 AS BIGINT)");
    NEWEST_OF = reading!(
        "SELECT id FROM occurrence WHERE account = $1 AND campaign = $2 \
         ORDER BY due_at DESC, id DESC LIMIT CAST($3 AS BIGINT)"
    );
    LAST_RUN = reading!(
        "SELECT id FROM occurrence WHERE account = $1 AND campaign = $2 AND run_kind = 'scheduled' \
         AND run_number >= $3 ORDER BY due_at DESC, id DESC LIMIT 1"
    );
    LAST = "SELECT MAX(id) FROM occurrence WHERE account = $1";
    VARIANTS = "SELECT position, name, messages, content, unit, recipients FROM occurrence_variant \
                WHERE account = $1 AND occurrence = $2 ORDER BY position";
}

const FREEZING: &str = "write an occurrence";

pub(super) async fn insert(
    conn: &mut Connection,
    account: AccountId,
    new: &NewOccurrence,
) -> Result<(), StoreError> {
    let id = new.row.id;
    insert_row(conn, account, OccurrenceCells::of(&new.row)?).await?;
    for part in &new.row.parts {
        set_part(conn, account, id, *part).await?;
    }
    for variant in &new.variants {
        insert_variant(conn, account, id, variant).await?;
    }
    delivery::exclude(conn, account, id, &new.sets).await
}

async fn insert_row(
    conn: &mut Connection,
    account: AccountId,
    cells: OccurrenceCells,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT)
        .bind(account.0)
        .bind(cells.id)
        .bind(cells.campaign)
        .bind(cells.step)
        .bind(cells.due_at)
        .bind(cells.run_kind)
        .bind(cells.run_number)
        .bind(cells.parent)
        .bind(cells.child)
        .bind(cells.version)
        .bind(cells.state)
        .bind(cells.reason)
        .bind(cells.detail)
        .bind(cells.category)
        .bind(cells.capped)
        .bind(cells.immediate)
        .bind(cells.frozen_at)
        .bind(cells.deadline_at)
        .bind(cells.pace_friends)
        .bind(cells.pace_per)
        .bind(cells.notify)
        .bind(cells.matched)
        .bind(cells.recipients)
        .bind(cells.finished_at);
    query.execute(conn).await.map(drop).map_err(failed(FREEZING))
}

async fn insert_variant(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
    variant: &VariantRow,
) -> Result<(), StoreError> {
    let query = sqlx::query(INSERT_VARIANT)
        .bind(account.0)
        .bind(occurrence.0)
        .bind(i64::from(variant.position))
        .bind(variant.name.as_str())
        .bind(variant.messages.as_str())
        .bind(variant.content.0.as_slice())
        .bind(text_or_none(variant.unit.as_ref()).map(String::from))
        .bind(count(variant.recipients.len()))
        .bind(bitmap(&variant.recipients));
    query.execute(conn).await.map(drop).map_err(failed(FREEZING))
}

pub(super) async fn set_part(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
    part: Part,
) -> Result<(), StoreError> {
    let query = sqlx::query(SET_PART)
        .bind(account.0)
        .bind(occurrence.0)
        .bind(i64::from(part.from_batch))
        .bind(part.effective_at.as_millis());
    query.execute(conn).await.map(drop).map_err(failed("begin a part of an occurrence"))
}

/// An occurrence's next state, if it stands where the owner believes.
pub(super) struct Move<'a> {
    pub(super) occurrence: OccurrenceId,
    pub(super) from: OccurrenceState,
    pub(super) to: OccurrenceState,
    pub(super) reason: Option<&'a Reason>,
    pub(super) finished_at: Option<Instant>,
}

pub(super) async fn move_on(
    conn: &mut Connection,
    account: AccountId,
    step: Move<'_>,
) -> Result<(), StoreError> {
    const MOVING: &str = "move an occurrence on";
    let query = sqlx::query(MOVE)
        .bind(account.0)
        .bind(step.occurrence.0)
        .bind(step.from.as_str())
        .bind(step.to.as_str())
        .bind(reason_cell(step.reason)?)
        .bind(step.finished_at.map(Instant::as_millis));
    let moved = query.execute(&mut *conn).await.map_err(failed(MOVING))?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    let state = sqlx::query_as(STATE).bind(account.0).bind(step.occurrence.0);
    let state: Option<(String,)> = state.fetch_optional(conn).await.map_err(failed(MOVING))?;
    let stands = state.map_or_else(|| "does not exist".to_owned(), |(state,)| format!("is `{state}`"));
    let why = format!("it {stands}, not `{}`", step.from.as_str());
    Err(corrupt(format!("occurrence {}", step.occurrence), why))
}

pub(super) async fn occurrences(
    conn: &mut Connection,
    account: AccountId,
    filter: &OccurrenceFilter,
) -> Result<Vec<OccurrenceRow>, StoreError> {
    let query = match filter {
        OccurrenceFilter::Open => sqlx::query_as(OPEN).bind(account.0),
        OccurrenceFilter::Id(id) => sqlx::query_as(BY_ID).bind(account.0).bind(id.0),
        OccurrenceFilter::Newest { campaign: None, limit } => {
            sqlx::query_as(NEWEST).bind(account.0).bind(i64::from(*limit))
        }
        OccurrenceFilter::Newest { campaign: Some(campaign), limit } => sqlx::query_as(NEWEST_OF)
            .bind(account.0)
            .bind(campaign.as_str().to_owned())
            .bind(i64::from(*limit)),
    };
    let rows: Vec<PartedOccurrence> = query.fetch_all(conn).await.map_err(failed("read occurrences"))?;
    gather(rows)
}

pub(super) async fn last_occurrence(
    conn: &mut Connection,
    account: AccountId,
) -> Result<OccurrenceId, StoreError> {
    let query = sqlx::query_as(LAST).bind(account.0);
    let (last,): (Option<i64>,) =
        query.fetch_one(conn).await.map_err(failed("read the last occurrence's number"))?;
    Ok(OccurrenceId(last.unwrap_or(0)))
}

pub(super) async fn last_run(
    conn: &mut Connection,
    account: AccountId,
    campaign: &CampaignSlug,
    run: u32,
) -> Result<Option<OccurrenceRow>, StoreError> {
    let query =
        sqlx::query_as(LAST_RUN).bind(account.0).bind(campaign.as_str().to_owned()).bind(i64::from(run));
    let rows: Vec<PartedOccurrence> =
        query.fetch_all(conn).await.map_err(failed("read a campaign's last run"))?;
    Ok(gather(rows)?.into_iter().next())
}

pub(super) async fn variants(
    conn: &mut Connection,
    account: AccountId,
    occurrence: OccurrenceId,
) -> Result<Vec<VariantRow>, StoreError> {
    let query = sqlx::query_as(VARIANTS).bind(account.0).bind(occurrence.0);
    let rows: Vec<VariantCells> = query.fetch_all(conn).await.map_err(failed("read variants"))?;
    rows.into_iter().map(VariantCells::read).collect()
}
