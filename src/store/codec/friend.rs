//! A friend's row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{corrupt, instant, json, json_in, text_or_none, word};
use crate::domain::attribute::Value;
use crate::domain::friend::{Friend, Status};
use crate::domain::id::{AttributeName, FriendId, TagName, UserId};
use crate::domain::time::Instant;
use crate::store::StoreError;

/// The columns of `friend` after the account, in the order of the table. As JSON an array.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
pub(in crate::store) struct FriendCells(
    pub i64,
    pub Option<String>,
    pub String,
    pub i64,
    pub Option<i64>,
    pub Option<String>,
    pub String,
    pub String,
    pub Option<i64>,
    pub Option<i64>,
);

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Following => "following",
        Status::Blocked => "blocked",
    }
}

pub(super) fn status_cell(status: Status) -> String {
    status_word(status).to_owned()
}

pub(super) fn status_in(what: &str, cell: &str) -> Result<Status, StoreError> {
    let parsed = [Status::Following, Status::Blocked].into_iter().find(|status| status_word(*status) == cell);
    word(what, cell, parsed)
}

impl FriendCells {
    pub(in crate::store) fn of(friend: &Friend) -> Result<Self, StoreError> {
        // Milliseconds, as in every column: a tag's instant can be compared in SQL.
        let tags: BTreeMap<&str, i64> =
            friend.tags.iter().map(|(tag, at)| (tag.as_str(), at.as_millis())).collect();
        Ok(Self(
            friend.friend.0.into(),
            friend.user.map(|user| user.to_string()),
            status_cell(friend.status),
            friend.status_at.as_millis(),
            friend.followed_at.map(Instant::as_millis),
            text_or_none(friend.external_id.as_ref()).map(Into::into),
            json("friend.tags", &tags)?,
            json("friend.attributes", &friend.attributes)?,
            friend.erased_at.map(Instant::as_millis),
            friend.quarantined_at.map(Instant::as_millis),
        ))
    }

    pub(in crate::store) fn read(self) -> Result<Friend, StoreError> {
        let Self(
            friend,
            user,
            status,
            status_at,
            followed_at,
            external_id,
            tags,
            attributes,
            erased,
            quarantined,
        ) = self;
        let what = |column: &str| format!("friend {friend}, column {column}");
        let tags: BTreeMap<TagName, i64> = json_in(&what("tags"), &tags)?;
        let attributes: BTreeMap<AttributeName, Value> = json_in(&what("attributes"), &attributes)?;
        let user = user.map(|user| UserId::parse(&user)).transpose();
        Ok(Friend {
            friend: FriendId(super::small(&what("friend"), friend)?),
            user: user.map_err(|error| corrupt(what("user_id"), error))?,
            status: status_in(&what("status"), &status)?,
            status_at: instant(status_at),
            followed_at: followed_at.map(instant),
            external_id,
            tags: tags.into_iter().map(|(tag, at)| (tag, instant(at))).collect(),
            attributes,
            erased_at: erased.map(instant),
            quarantined_at: quarantined.map(instant),
        })
    }
}
