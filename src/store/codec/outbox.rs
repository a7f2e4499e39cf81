//! The outbox.

use serde::Serialize;

use super::{instant, json, json_in, small, text_or_none, word};
use crate::store::{OutboxKind, OutboxRow, StoreError};

/// The columns of `outbox` after the account, in the order of the table. As JSON an array.
#[derive(Debug, Serialize)]
pub(in crate::store) struct OutboxCells(
    pub i64,
    pub String,
    pub String,
    pub i64,
    pub i64,
    pub i64,
    pub Option<String>,
    pub Option<i64>,
    pub Option<String>,
);

impl OutboxCells {
    pub(in crate::store) fn of(row: &OutboxRow) -> Result<Self, StoreError> {
        let ended = row.ended.as_ref();
        Ok(Self(
            row.id,
            row.kind.as_str().to_owned(),
            json("outbox.payload", &row.payload)?,
            row.created_at.as_millis(),
            row.not_before.as_millis(),
            row.attempts.into(),
            ended.map(|end| end.how.as_str().to_owned()),
            ended.map(|end| end.at.as_millis()),
            ended.and_then(|end| text_or_none(end.detail.as_ref()).map(Into::into)),
        ))
    }
}

/// The columns of a row that is still to be tried.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct OpenOutbox {
    pub id: i64,
    pub kind: String,
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
            kind: word(&what, &self.kind, OutboxKind::parse(&self.kind))?,
            payload: json_in(&what, &self.payload)?,
            created_at: instant(self.created_at),
            not_before: instant(self.not_before),
            attempts: small(&what, self.attempts)?,
            ended: None,
        })
    }
}
