//! The outbox.

use serde::Serialize;

use super::{instant, json, json_in, small};
use crate::store::{OutboxRow, StoreError};

/// The columns of `outbox` after the account, in the order of the table. As JSON an array.
#[derive(Debug, Clone, Serialize)]
pub(in crate::store) struct OutboxCells(
    pub i64,
    pub String,
    pub String,
    pub i64,
    pub i64,
    pub i64,
    pub Option<i64>,
    pub Option<String>,
);

impl OutboxCells {
    pub(in crate::store) fn of(row: &OutboxRow) -> Result<Self, StoreError> {
        let given_up = row.given_up.as_ref();
        let why = given_up.map(|end| json("outbox.why", &end.why)).transpose()?;
        Ok(Self(
            row.id,
            row.request.lane().to_string(),
            json("outbox.payload", &row.request)?,
            row.created_at.as_millis(),
            row.not_before.as_millis(),
            row.attempts.into(),
            given_up.map(|end| end.at.as_millis()),
            why,
        ))
    }
}

/// The columns of a row that is still to be tried.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct OpenOutbox {
    pub id: i64,
    pub payload: String,
    pub created_at: i64,
    pub not_before: i64,
    pub attempts: i64,
}

impl OpenOutbox {
    pub(in crate::store) fn read(self) -> Result<OutboxRow, StoreError> {
        let what = format!("outbox {}", self.id);
        Ok(OutboxRow {
            id: self.id,
            request: json_in(&what, &self.payload)?,
            created_at: instant(self.created_at),
            not_before: instant(self.not_before),
            attempts: small(&what, self.attempts)?,
            given_up: None,
        })
    }
}
