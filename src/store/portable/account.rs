//! Accounts and what is stored of their campaigns.

use super::{Connection, failed};
use crate::domain::id::{AccountId, AccountSlug, Seq};
use crate::domain::schedule::Planned;
use crate::domain::time::Instant;
use crate::store::codec::{corrupt, digest, halt, halt_cells, instant, step, step_in};
use crate::store::{AccountRow, CampaignRow, Halt, StoreError};

statements! {
    FIND = "SELECT id, slug, channel_id FROM account WHERE slug = $1 OR channel_id = $2";
    CREATE = "INSERT INTO account (slug, channel_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    ACCOUNTS = "SELECT id, slug, channel_id, folded_seq, journal_seq, grace_from, stopped_at, stopped_by, \
                stopped_reason, paused_at, paused_by, paused_reason FROM account ORDER BY id";
    ACCOUNT = "SELECT id, slug, channel_id, folded_seq, journal_seq, grace_from, stopped_at, stopped_by, \
               stopped_reason, paused_at, paused_by, paused_reason FROM account WHERE id = $1";
    STOP = "UPDATE account SET stopped_at = $2, stopped_by = $3, stopped_reason = $4 WHERE id = $1";
    PAUSE = "UPDATE account SET paused_at = $2, paused_by = $3, paused_reason = $4 WHERE id = $1";
    GRACE = "UPDATE account SET grace_from = $2 WHERE id = $1";
    NUMBER_ON = "UPDATE account SET journal_seq = $3 WHERE id = $1 AND journal_seq = $2";
    FOLD_ON = "UPDATE account SET folded_seq = $2 WHERE id = $1 AND folded_seq <= $2 AND journal_seq >= $2";
    SEQS = "SELECT folded_seq, journal_seq FROM account WHERE id = $1";
    CAMPAIGNS = "SELECT campaign, step, schedule_digest, activated_at, last_planned_at, last_planned_local, paused_at, \
                 paused_by, paused_reason FROM campaign WHERE account = $1";
    SET_CAMPAIGN = "INSERT INTO campaign (account, campaign, step, schedule_digest, activated_at, \
                    last_planned_at, last_planned_local, paused_at, paused_by, paused_reason) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                    ON CONFLICT (account, campaign, step) DO UPDATE SET \
                    schedule_digest = excluded.schedule_digest, activated_at = excluded.activated_at, \
                    last_planned_at = excluded.last_planned_at, \
                    last_planned_local = excluded.last_planned_local, paused_at = excluded.paused_at, \
                    paused_by = excluded.paused_by, paused_reason = excluded.paused_reason";
}

#[derive(sqlx::FromRow)]
struct AccountCells {
    id: i64,
    slug: String,
    channel_id: String,
    folded_seq: i64,
    journal_seq: i64,
    grace_from: Option<i64>,
    stopped_at: Option<i64>,
    stopped_by: Option<String>,
    stopped_reason: Option<String>,
    paused_at: Option<i64>,
    paused_by: Option<String>,
    paused_reason: Option<String>,
}

impl AccountCells {
    fn read(self) -> Result<AccountRow, StoreError> {
        Ok(AccountRow {
            id: AccountId(self.id),
            slug: self.slug.try_into().map_err(|error| corrupt(format!("account {}", self.id), error))?,
            channel_id: self.channel_id,
            folded_seq: Seq(self.folded_seq),
            journal_seq: Seq(self.journal_seq),
            grace_from: self.grace_from.map(instant),
            stopped: halt(self.stopped_at, self.stopped_by, self.stopped_reason),
            paused: halt(self.paused_at, self.paused_by, self.paused_reason),
        })
    }
}

/// Finds or creates the row. A slug and a channel belong together for ever: retry keys, caps and `received` of one
/// must never meet those of the other.
pub(super) async fn ensure_account(
    conn: &mut Connection,
    slug: &AccountSlug,
    channel_id: &str,
    now: Instant,
) -> Result<AccountId, StoreError> {
    const ENSURING: &str = "create an account's row";
    let create = sqlx::query(CREATE).bind(slug.as_str()).bind(channel_id).bind(now.as_millis());
    create.execute(&mut *conn).await.map_err(failed(ENSURING))?;
    let find = sqlx::query_as(FIND).bind(slug.as_str()).bind(channel_id);
    let found: Vec<(i64, String, String)> = find.fetch_all(conn).await.map_err(failed(ENSURING))?;
    let mut ours = None;
    for (id, known_slug, known_channel) in found {
        let slug = slug.as_str().to_owned();
        if known_slug != slug {
            let channel = channel_id.to_owned();
            return Err(StoreError::SlugChanged { slug, known: known_slug, channel });
        }
        if known_channel != channel_id {
            let now = channel_id.to_owned();
            return Err(StoreError::ChannelChanged { slug, before: known_channel, now });
        }
        ours = Some(AccountId(id));
    }
    ours.ok_or(StoreError::Failed { operation: ENSURING, source: sqlx::Error::RowNotFound })
}

pub(super) async fn accounts(conn: &mut Connection) -> Result<Vec<AccountRow>, StoreError> {
    let rows: Vec<AccountCells> =
        sqlx::query_as(ACCOUNTS).fetch_all(conn).await.map_err(failed("read the accounts"))?;
    rows.into_iter().map(AccountCells::read).collect()
}

pub(super) async fn account(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Option<AccountRow>, StoreError> {
    let row: Option<AccountCells> = sqlx::query_as(ACCOUNT)
        .bind(account.0)
        .fetch_optional(conn)
        .await
        .map_err(failed("read an account"))?;
    row.map(AccountCells::read).transpose()
}

async fn set_halt(
    conn: &mut Connection,
    sql: &'static str,
    account: AccountId,
    halt: Option<&Halt>,
) -> Result<(), StoreError> {
    let (at, by, reason) = halt_cells(halt)?;
    let query = sqlx::query(sql).bind(account.0).bind(at).bind(by).bind(reason);
    query.execute(conn).await.map(drop).map_err(failed("stop or pause an account"))
}

pub(super) async fn stop(
    conn: &mut Connection,
    account: AccountId,
    halt: Option<&Halt>,
) -> Result<(), StoreError> {
    set_halt(conn, STOP, account, halt).await
}

pub(super) async fn pause(
    conn: &mut Connection,
    account: AccountId,
    halt: Option<&Halt>,
) -> Result<(), StoreError> {
    set_halt(conn, PAUSE, account, halt).await
}

pub(super) async fn grace(conn: &mut Connection, account: AccountId, now: Instant) -> Result<(), StoreError> {
    let query = sqlx::query(GRACE).bind(account.0).bind(now.as_millis());
    query.execute(conn).await.map(drop).map_err(failed("note since when nothing is too old"))
}

async fn seqs(conn: &mut Connection, account: AccountId) -> Result<(i64, i64), StoreError> {
    let query = sqlx::query_as(SEQS).bind(account.0);
    query.fetch_one(conn).await.map_err(failed("read an account's numbers"))
}

/// Moves the journal's end from just before `first` to `last`: what leaves no gap and no number twice.
pub(super) async fn number_on(
    conn: &mut Connection,
    account: AccountId,
    first: Seq,
    last: Seq,
) -> Result<(), StoreError> {
    let query = sqlx::query(NUMBER_ON).bind(account.0).bind(first.0.saturating_sub(1)).bind(last.0);
    let moved = query.execute(&mut *conn).await.map_err(failed("number journal entries"))?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    let (_, journal) = seqs(conn, account).await?;
    Err(corrupt("journal", format!("entries from {} cannot follow entry {journal}", first.0)))
}

/// Moves `folded_seq` forwards, never past the journal.
pub(super) async fn fold_on(conn: &mut Connection, account: AccountId, upto: Seq) -> Result<(), StoreError> {
    let query = sqlx::query(FOLD_ON).bind(account.0).bind(upto.0);
    let moved = query.execute(&mut *conn).await.map_err(failed("fold friends"))?;
    if moved.rows_affected() == 1 {
        return Ok(());
    }
    let (folded, journal) = seqs(conn, account).await?;
    let why =
        format!("a fold as of {} does not lie between {folded} (folded) and {journal} (journal)", upto.0);
    Err(corrupt("account.folded_seq", why))
}

#[derive(sqlx::FromRow)]
struct CampaignCells {
    campaign: String,
    step: String,
    schedule_digest: Vec<u8>,
    activated_at: i64,
    last_planned_at: Option<i64>,
    last_planned_local: Option<String>,
    paused_at: Option<i64>,
    paused_by: Option<String>,
    paused_reason: Option<String>,
}

impl CampaignCells {
    fn read(self) -> Result<CampaignRow, StoreError> {
        let what = format!("campaign `{}`", self.campaign);
        let local = self.last_planned_local.map(|local| local.parse()).transpose();
        let local = local.map_err(|error| corrupt(&what, error))?;
        Ok(CampaignRow {
            campaign: self.campaign.try_into().map_err(|error| corrupt(&what, error))?,
            step: step_in(&what, &self.step)?,
            schedule_digest: digest(&what, &self.schedule_digest)?,
            activated_at: instant(self.activated_at),
            last_planned: self.last_planned_at.map(|at| Planned { at: instant(at), local }),
            paused: halt(self.paused_at, self.paused_by, self.paused_reason),
        })
    }
}

pub(super) async fn campaigns(
    conn: &mut Connection,
    account: AccountId,
) -> Result<Vec<CampaignRow>, StoreError> {
    let query = sqlx::query_as(CAMPAIGNS).bind(account.0);
    let rows: Vec<CampaignCells> = query.fetch_all(conn).await.map_err(failed("read the campaigns"))?;
    let rows: Result<Vec<_>, _> = rows.into_iter().map(CampaignCells::read).collect();
    // By code point, whatever the collation of the database.
    rows.map(|mut rows| {
        rows.sort_by(|a, b| (&a.campaign, &a.step).cmp(&(&b.campaign, &b.step)));
        rows
    })
}

pub(super) async fn set_campaign(
    conn: &mut Connection,
    account: AccountId,
    row: &CampaignRow,
) -> Result<(), StoreError> {
    let (at, by, reason) = halt_cells(row.paused.as_ref())?;
    let query = sqlx::query(SET_CAMPAIGN)
        .bind(account.0)
        .bind(row.campaign.as_str())
        .bind(step(row.step.as_ref()).to_owned())
        .bind(row.schedule_digest.as_slice())
        .bind(row.activated_at.as_millis())
        .bind(row.last_planned.map(|planned| planned.at.as_millis()))
        .bind(row.last_planned.and_then(|planned| Some(planned.local?.to_string())))
        .bind(at)
        .bind(by)
        .bind(reason);
    query.execute(conn).await.map(drop).map_err(failed("write a campaign"))
}
