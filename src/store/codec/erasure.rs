//! Erased friends.

use super::{corrupt, instant, small, text_or_none};
use crate::domain::id::{FriendId, Seq, UserId};
use crate::store::{Erasure, StoreError};

/// The columns of `erasure` after the account, in the order of the table.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::store) struct ErasureCells(pub i64, pub i64, pub i64, pub Option<String>, pub Option<String>);

impl ErasureCells {
    pub(in crate::store) fn of(erasure: &Erasure) -> Self {
        Self(
            erasure.friend.0.into(),
            erasure.seq.0,
            erasure.at.as_millis(),
            erasure.user.map(|user| user.to_string()),
            text_or_none(erasure.external_id.as_ref()).map(Into::into),
        )
    }

    pub(in crate::store) fn read(self) -> Result<Erasure, StoreError> {
        let Self(friend, seq, at, user, external_id) = self;
        let what = format!("erasure of friend {friend}");
        let user = user.map(|user| UserId::parse(&user)).transpose();
        Ok(Erasure {
            friend: FriendId(small(&what, friend)?),
            seq: Seq(seq),
            at: instant(at),
            user: user.map_err(|error| corrupt(&what, error))?,
            external_id,
        })
    }
}
