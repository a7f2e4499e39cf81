//! The statements both databases take word for word (`$n`, `ON CONFLICT`, no function of one of them alone), and
//! the order in which they make a business step.
//!
//! Each adapter compiles this folder against its own `Connection` and adds its `bulk` statements: how many rows move
//! at once is where the databases differ.
//!
//! `LIMIT CAST($n AS BIGINT)`, not `LIMIT $n`: SQLite plans a statement for the limit it is given, and so prepares it
//! anew each time another one is bound.

/// A read on a connection of its own.
macro_rules! read {
    ($self:ident, |$conn:ident| $body:expr) => {
        $self.read(move |$conn| Box::pin(async move { $body })).await
    };
}

/// One transaction.
macro_rules! write {
    ($self:ident, $priority:expr, $operation:expr, |$conn:ident| $body:expr) => {
        $self.write($priority, $operation, move |$conn| Box::pin(async move { $body })).await
    };
}

mod access;
mod account;
mod apply;
mod checkpoint;
mod config;
mod delivery;
mod drip;
mod erasure;
mod inbox;
mod lease;
mod occurrence;
mod outbox;
mod prune;
mod relay;
mod sending;
mod step_day;
mod store;
mod stray;
mod trouble;

use std::collections::BTreeMap;

use access::{answered, append_once, create_token, revoke_token, token_by_id, tokens};
use account::{account, accounts, campaigns, ensure_account};
use apply::apply;
use checkpoint::{checkpoint, checkpoint_chunks};
use config::{activate, active_version, version};
use delivery::{deliveries, exclusions, received, sent, tally};
use drip::{
    deferral, deferrals, enrollment_endings, enrollments_of, first_tag_expiry, step_totals, tag_expiries,
};
use erasure::{erasures, naming};
use inbox::{inbox, inbox_len};
use lease::{advance, claim, lease, release, renew};
use occurrence::{last_occurrence, last_run, occurrences, variants};
use outbox::{last_outbox, outbox, outbox_lanes};
use prune::{journal_stretch, prunable};
use relay::{relay_waiting, relayed, relays};
use sending::{accepted_since, acts, batches, quota, strides};
use stray::{forget_strays, stray_count, strays};
use trouble::troubles;

use super::{Backend, Connection, bulk};
use crate::store::StoreError;

/// Every statement of this folder, by name.
pub(super) fn all() -> Vec<(&'static str, &'static str)> {
    [
        access::ALL,
        account::ALL,
        checkpoint::ALL,
        config::ALL,
        delivery::ALL,
        drip::ALL,
        erasure::ALL,
        inbox::ALL,
        lease::ALL,
        occurrence::ALL,
        outbox::ALL,
        prune::ALL,
        relay::ALL,
        sending::ALL,
        step_day::ALL,
        stray::ALL,
        trouble::ALL,
    ]
    .concat()
}

/// The database refused a statement before the commit was sent.
fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Failed { operation, source }
}

/// Of rows with the same key the last, in the order of the keys: one statement that meets a key twice is an error on
/// PostgreSQL.
fn last_of_each<'r, R, K: Ord>(rows: &'r [R], key: impl Fn(&'r R) -> K) -> Vec<&'r R> {
    let by_key: BTreeMap<K, &R> = rows.iter().map(|row| (key(row), row)).collect();
    by_key.into_values().collect()
}
