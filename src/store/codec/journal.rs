//! A journal entry in readable columns: what happened (`kind`), to which tag, attribute or event (`name`), and the
//! new value as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::friend::{status_cell, status_in};
use super::{corrupt, instant, json, json_in, text_or_none};
use crate::domain::attribute::Value;
use crate::domain::effect::{Effect, Entry};
use crate::domain::id::{FriendId, PropertyName, Seq, UserId};
use crate::domain::time::Instant;
use crate::store::StoreError;

/// The columns of `journal` after the account, in the order of the table. As JSON an array.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
pub(in crate::store) struct EntryCells(
    pub i64,
    pub i64,
    pub i64,
    pub String,
    pub Option<String>,
    pub Option<String>,
    pub Option<String>,
    pub Option<String>,
);

#[derive(Default)]
struct Cells {
    name: Option<String>,
    value: Option<String>,
    event_id: Option<String>,
    properties: Option<String>,
}

impl EntryCells {
    pub(in crate::store) fn of(entry: &Entry) -> Result<Self, StoreError> {
        let (kind, cells) = effect_cells(&entry.effect)?;
        Ok(Self(
            entry.seq.0,
            entry.friend.0.into(),
            entry.at.as_millis(),
            kind.to_owned(),
            cells.name,
            cells.value,
            cells.event_id,
            cells.properties,
        ))
    }

    pub(in crate::store) fn read(self) -> Result<Entry, StoreError> {
        let Self(seq, friend, at, kind, name, value, event_id, properties) = self;
        let what = format!("journal entry {seq}");
        Ok(Entry {
            seq: Seq(seq),
            friend: FriendId(super::small(&what, friend)?),
            at: instant(at),
            effect: effect_in(&what, &kind, Cells { name, value, event_id, properties })?,
        })
    }
}

fn effect_cells(effect: &Effect) -> Result<(&'static str, Cells), StoreError> {
    let named = |name: &str| Some(name.to_owned());
    let value_cell = |value: &Value| json("journal.value", value);
    Ok(match effect {
        Effect::Joined { user } => {
            ("joined", Cells { value: Some(json("journal.value", user)?), ..Cells::default() })
        }
        Effect::Status { status, followed_at } => (
            "status",
            Cells {
                name: Some(status_cell(*status)),
                value: followed_at.map(|at| at.as_millis().to_string()),
                ..Cells::default()
            },
        ),
        Effect::ExternalId { external_id } => {
            let value = external_id.as_ref().map(|id| json("journal.value", id)).transpose()?;
            ("external_id", Cells { value, ..Cells::default() })
        }
        Effect::TagAdded { tag } => ("tag_added", Cells { name: named(tag.as_str()), ..Cells::default() }),
        Effect::TagRemoved { tag } => {
            ("tag_removed", Cells { name: named(tag.as_str()), ..Cells::default() })
        }
        Effect::Attribute { name, value } => {
            let value = value.as_ref().map(value_cell).transpose()?;
            ("attribute", Cells { name: named(name.as_str()), value, ..Cells::default() })
        }
        Effect::Event { name, event_id, properties } => (
            "event",
            Cells {
                name: named(name.as_str()),
                value: None,
                event_id: text_or_none(event_id.as_ref()).map(Into::into),
                properties: Some(json("journal.properties", properties)?),
            },
        ),
        Effect::Quarantined => ("quarantined", Cells::default()),
        Effect::Erased => ("erased", Cells::default()),
    })
}

fn effect_in(what: &str, kind: &str, cells: Cells) -> Result<Effect, StoreError> {
    let Cells { name, value, event_id, properties } = cells;
    let wanted = |cell: Option<String>, column: &str| {
        cell.ok_or_else(|| corrupt(what, format!("a {kind} entry needs its {column}")))
    };
    let unnamed = |error| corrupt(what, error);
    Ok(match kind {
        "joined" => {
            let user: UserId = json_in(what, &wanted(value, "value")?)?;
            Effect::Joined { user }
        }
        "status" => Effect::Status {
            status: status_in(what, &wanted(name, "name")?)?,
            followed_at: value.map(|ms| json_in(what, &ms)).transpose()?.map(Instant::from_millis),
        },
        "external_id" => Effect::ExternalId { external_id: value.map(|id| json_in(what, &id)).transpose()? },
        "tag_added" => Effect::TagAdded { tag: wanted(name, "name")?.try_into().map_err(unnamed)? },
        "tag_removed" => Effect::TagRemoved { tag: wanted(name, "name")?.try_into().map_err(unnamed)? },
        "attribute" => Effect::Attribute {
            name: wanted(name, "name")?.try_into().map_err(unnamed)?,
            value: value.map(|value| json_in(what, &value)).transpose()?,
        },
        "event" => {
            let properties: BTreeMap<PropertyName, Value> =
                json_in(what, &wanted(properties, "properties")?)?;
            let name = wanted(name, "name")?.try_into().map_err(unnamed)?;
            Effect::Event { name, event_id, properties }
        }
        "quarantined" => Effect::Quarantined,
        "erased" => Effect::Erased,
        other => return Err(corrupt(what, format!("`{other}` is not a kind this version knows"))),
    })
}
