//! A database that a person put in the place of another: held before anybody owns it, so that the mark and the data
//! become live together.

use crate::domain::delivery::OccurrenceState;
use crate::domain::id::{AccountSlug, OccurrenceId};
use crate::domain::reason::Reason;
use crate::domain::time::Instant;
use crate::lang::Lang;
use crate::store::{
    AccountRow, ActRow, Claim, Halt, OccurrenceFilter, OccurrenceRow, Priority, Store, StoreError, Write,
};
use crate::text::Told;

use super::LEASE;

/// Why a database could not be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Somebody owns an account of it: it is in use.
    #[error(
        "account `{account}` is held by {holder} until {expires_at}: stop that daemon first, then do this again"
    )]
    Owned {
        /// Which.
        account: AccountSlug,
        /// Who.
        holder: String,
        /// Until when, unless renewed.
        expires_at: Instant,
    },
    /// The store failed. Each account is held whole or not at all; to do it again does no harm.
    #[error("the database could not be marked as restored")]
    Store(#[from] StoreError),
}

impl Told for HoldError {
    fn told(&self, lang: Lang) -> String {
        match (self, lang) {
            (_, Lang::En) => self.to_string(),
            (Self::Owned { account, holder, expires_at }, Lang::Ja) => format!(
                "アカウント「{account}」は {holder} が {expires_at} まで担当しています。先にその haishin を止めてから、もう一度実行してください"
            ),
            (Self::Store(_), Lang::Ja) => "データベースに「復元した」と書き込めませんでした".into(),
        }
    }
}

/// Who asks for it.
#[derive(Debug, Clone, Copy)]
pub enum Holder<'a> {
    /// A state directory, which takes over its own lease and waits for nobody else's.
    Named(&'a str),
    /// Nobody else can reach this database: whatever lease it holds is that of a time gone by.
    Alone,
}

/// What was held of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub account: AccountSlug,
    /// The latest instant the database had seen of it.
    pub as_of: Option<Instant>,
    /// The occurrences that wait for a person from now on.
    pub occurrences: Vec<OccurrenceId>,
}

/// Stops every account and holds each open occurrence for itself. For a day nothing is too old to be kept. One fenced
/// transaction an account.
///
/// # Errors
/// [`HoldError::Owned`] where somebody else holds a lease, [`HoldError::Store`] where the database fails.
pub async fn hold(
    store: &dyn Store,
    holder: Holder<'_>,
    now: Instant,
    by: &str,
) -> Result<Vec<Held>, HoldError> {
    let mut held = Vec::new();
    for row in store.accounts().await? {
        held.push(hold_one(store, &row, holder, now, by).await?);
    }
    Ok(held)
}

async fn hold_one(
    store: &dyn Store,
    row: &AccountRow,
    holder: Holder<'_>,
    now: Instant,
    by: &str,
) -> Result<Held, HoldError> {
    let lease = store.lease(row.id).await?;
    // Told once as of when, it stays as of then.
    let as_of = match row.stopped.as_ref().map(|halt| &halt.reason) {
        Some(Reason::Restored { as_of }) => *as_of,
        _ => lease.as_ref().map(|lease| lease.seen_at),
    };
    let former = lease.map_or_else(String::new, |lease| lease.holder);
    let asker = match holder {
        Holder::Named(name) => name,
        Holder::Alone => &former,
    };
    let mut fence = match store.claim(row.id, asker, now, LEASE).await? {
        Claim::Granted { fence, .. } => fence,
        Claim::Held { holder, expires_at } => {
            return Err(HoldError::Owned { account: row.slug.clone(), holder, expires_at });
        }
    };
    let open = store.occurrences(row.id, OccurrenceFilter::Open).await?;
    let open: Vec<OccurrenceRow> = open.into_iter().filter(|one| one.state.is_open()).collect();
    let reason = Reason::Restored { as_of };
    let moved = |one: &OccurrenceRow| Write::OccurrenceState {
        occurrence: one.id,
        from: one.state,
        to: OccurrenceState::Held,
        reason: Some(reason.clone()),
        finished_at: None,
    };
    let mut writes: Vec<Write> = open.iter().map(moved).collect();
    let act = ActRow {
        at: now,
        by: by.to_owned(),
        act: "restore".into(),
        subject: row.slug.to_string(),
        detail: as_of.map_or_else(String::new, |at| at.to_string()),
    };
    let halt = Halt { at: now, by: by.to_owned(), reason: reason.clone() };
    writes.extend([Write::Stopped(Some(halt)), Write::Grace, Write::Act(act)]);
    store.commit(&mut fence, now, Priority::Freeze, writes).await?;
    store.release(&mut fence, now).await?;
    Ok(Held { account: row.slug.clone(), as_of, occurrences: open.into_iter().map(|one| one.id).collect() })
}
