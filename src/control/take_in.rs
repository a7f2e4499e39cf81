//! What a node takes in from outside: appended to the inbox in groups, acknowledged once durable, bounded in number and
//! time. Any node may, for an account's owner applies it from the inbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::node::Node;
use crate::domain::effect::Intake;
use crate::domain::id::{AccountId, AccountSlug};
use crate::domain::time::Instant;
use crate::store::{NewInbox, NewRelay, StoreError};

/// Intakes in a row of the inbox: rows are applied whole, so they are what a slice is cut from.
pub(super) const INTAKES_A_ROW: usize = 1_000;

/// What waits to become durable is this much at the most, as it came in; more is not taken while the database hangs.
const ROOM_KIB: u32 = 64 << 10;

/// Whoever waits is told by then: LINE gives up after 2 s. What becomes durable later all the same was not acknowledged,
/// and comes again.
const DURABLE_WITHIN: Duration = Duration::from_millis(1_500);

/// Why something was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum TakeInError {
    /// Too much waits already.
    #[error("too much waits for the database already; nothing was stored, send it again")]
    Busy,
    /// The database did not answer in time.
    #[error("the database did not answer in time; it may be stored or not, send it again")]
    Late,
    /// The database refused, or cannot be reached.
    #[error("it could not be stored; send it again")]
    Store(#[source] StoreError),
}

/// Room for what waits to become durable.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB as usize)))
    }
}

/// What is to become durable together.
#[derive(Debug, Default)]
pub struct Arrival {
    /// What it says of friends.
    pub rows: Vec<NewInbox>,
    /// What is to be handed on.
    pub relays: Vec<NewRelay>,
    /// How large it came in.
    pub bytes: usize,
}

/// Rows of one source, none longer than a slice can be cut from.
pub(super) fn rows(
    account: AccountId,
    received_at: Instant,
    source: &str,
    intakes: &[Intake],
) -> Vec<NewInbox> {
    let row = |intakes: &[Intake]| NewInbox {
        account,
        received_at,
        source: source.to_owned(),
        intakes: intakes.to_vec(),
    };
    intakes.chunks(INTAKES_A_ROW).map(row).collect()
}

impl Node {
    /// Takes something in. It is durable when this returns, and the account's owner has been woken.
    ///
    /// # Errors
    /// It is not, or not surely; see [`TakeInError`].
    pub async fn take_in(&self, account: &AccountSlug, arrival: Arrival) -> Result<(), TakeInError> {
        let Arrival { rows, relays, bytes } = arrival;
        if rows.is_empty() && relays.is_empty() {
            return Ok(());
        }
        let kib = u32::try_from(bytes.div_ceil(1_024)).unwrap_or(u32::MAX).max(1);
        let room = self.room.0.clone().try_acquire_many_owned(kib).map_err(|_| TakeInError::Busy)?;
        let store = self.store.clone();
        // Its room is taken for as long as it waits, whether or not somebody still listens.
        let appending = tokio::spawn(async move {
            let appended = store.append_webhooks(rows, relays).await;
            drop(room);
            appended
        });
        match tokio::time::timeout(DURABLE_WITHIN, appending).await {
            Ok(Ok(appended)) => appended.map_err(TakeInError::Store)?,
            Ok(Err(_)) | Err(_) => return Err(TakeInError::Late),
        }
        self.nudge_one(account);
        Ok(())
    }
}
