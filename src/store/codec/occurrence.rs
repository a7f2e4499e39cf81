//! An occurrence's row with its parts, its variants, its deliveries.

use super::{bitmap_in, corrupt, count_in, digest, instant, json_in, small, word};
use crate::domain::campaign::Pace;
use crate::domain::delivery::{Exclusion, OccurrenceState, Outcome};
use crate::domain::id::{OccurrenceId, VersionId};
use crate::domain::key::Run;
use crate::domain::message::ContentDigest;
use crate::domain::sends::Sent;
use crate::domain::time::{Instant, Span};
use crate::store::{DeliverySet, OccurrenceRow, Part, StoreError, VariantRow};

/// The columns of `occurrence` after the account.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::store) struct OccurrenceCells {
    pub id: i64,
    pub campaign: String,
    pub step: String,
    pub due_at: i64,
    pub run_kind: String,
    pub run_number: i64,
    pub parent: Option<i64>,
    pub child: i64,
    pub version: i64,
    pub state: String,
    pub reason: Option<String>,
    pub detail: String,
    pub category: String,
    pub capped: bool,
    pub immediate: bool,
    pub frozen_at: i64,
    pub deadline_at: Option<i64>,
    pub pace_friends: Option<i64>,
    pub pace_per: Option<i64>,
    pub notify: bool,
    pub matched: i64,
    pub recipients: i64,
    pub finished_at: Option<i64>,
}

/// An occurrence joined with one of its parts.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct PartedOccurrence {
    #[sqlx(flatten)]
    pub occurrence: OccurrenceCells,
    pub from_batch: Option<i64>,
    pub effective_at: Option<i64>,
}

/// The two columns of a run.
pub(in crate::store) fn run_cells(run: Run) -> (&'static str, i64) {
    match run {
        Run::Scheduled(rerun) => ("scheduled", rerun.into()),
        Run::Test(at) => ("test", at.as_millis()),
    }
}

impl OccurrenceCells {
    pub(in crate::store) fn of(row: &OccurrenceRow) -> Result<Self, StoreError> {
        let (run_kind, run_number) = run_cells(row.run);
        Ok(Self {
            id: row.id.0,
            campaign: row.campaign.as_str().to_owned(),
            step: super::step(row.step.as_ref()).to_owned(),
            due_at: row.due_at.as_millis(),
            run_kind: run_kind.to_owned(),
            run_number,
            parent: row.parent.map(|parent| parent.0),
            child: row.child.into(),
            version: row.version.0,
            state: row.state.as_str().to_owned(),
            reason: super::reason_cell(row.reason.as_ref())?,
            detail: super::json("occurrence.detail", &row.detail)?,
            category: row.category.as_str().to_owned(),
            capped: row.capped,
            immediate: row.immediate,
            frozen_at: row.frozen_at.as_millis(),
            deadline_at: row.deadline_at.map(Instant::as_millis),
            pace_friends: row.pace.map(|pace| pace.friends.into()),
            pace_per: row.pace.map(|pace| pace.per.as_millis()),
            notify: row.notify,
            matched: super::count(row.matched),
            recipients: super::count(row.recipients),
            finished_at: row.finished_at.map(Instant::as_millis),
        })
    }

    fn read(self) -> Result<OccurrenceRow, StoreError> {
        let what = |column: &str| format!("occurrence {}, column {column}", self.id);
        let run = match self.run_kind.as_str() {
            "scheduled" => Run::Scheduled(small(&what("run_number"), self.run_number)?),
            "test" => Run::Test(instant(self.run_number)),
            other => return Err(corrupt(what("run_kind"), format!("`{other}` is not known"))),
        };
        let pace = match (self.pace_friends, self.pace_per) {
            (Some(friends), Some(per)) => {
                Some(Pace { friends: small(&what("pace_friends"), friends)?, per: Span::from_millis(per) })
            }
            _ => None,
        };
        Ok(OccurrenceRow {
            id: OccurrenceId(self.id),
            campaign: self.campaign.clone().try_into().map_err(|error| corrupt(what("campaign"), error))?,
            step: super::step_in(&what("step"), &self.step)?,
            due_at: instant(self.due_at),
            run,
            parent: self.parent.map(OccurrenceId),
            child: small(&what("child"), self.child)?,
            version: VersionId(self.version),
            state: word(&what("state"), &self.state, OccurrenceState::parse(&self.state))?,
            reason: super::reason_in(self.reason.clone()),
            detail: json_in(&what("detail"), &self.detail)?,
            category: self.category.clone().try_into().map_err(|error| corrupt(what("category"), error))?,
            capped: self.capped,
            immediate: self.immediate,
            frozen_at: instant(self.frozen_at),
            deadline_at: self.deadline_at.map(instant),
            pace,
            notify: self.notify,
            matched: count_in(&what("matched"), self.matched)?,
            recipients: count_in(&what("recipients"), self.recipients)?,
            parts: Vec::new(),
            finished_at: self.finished_at.map(instant),
        })
    }
}

/// Joined rows, those of one occurrence side by side, as occurrences with their parts.
pub(in crate::store) fn gather(rows: Vec<PartedOccurrence>) -> Result<Vec<OccurrenceRow>, StoreError> {
    let mut gathered: Vec<OccurrenceRow> = Vec::new();
    for PartedOccurrence { occurrence, from_batch, effective_at } in rows {
        if gathered.last().is_none_or(|last| last.id.0 != occurrence.id) {
            gathered.push(occurrence.read()?);
        }
        if let (Some(last), Some(from), Some(at)) = (gathered.last_mut(), from_batch, effective_at) {
            let from_batch = small("occurrence_part.from_batch", from)?;
            last.parts.push(Part { from_batch, effective_at: instant(at) });
        }
    }
    Ok(gathered)
}

/// The columns of `occurrence_variant` that make a variant.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct VariantCells {
    pub position: i64,
    pub name: String,
    pub messages: String,
    pub content: Vec<u8>,
    pub unit: Option<String>,
    pub recipients: Vec<u8>,
}

impl VariantCells {
    pub(in crate::store) fn read(self) -> Result<VariantRow, StoreError> {
        let what = format!("occurrence_variant `{}`", self.name);
        Ok(VariantRow {
            position: small(&what, self.position)?,
            content: ContentDigest(digest(&what, &self.content)?),
            recipients: bitmap_in(&what, &self.recipients)?,
            name: self.name.try_into().map_err(|error| corrupt(&what, error))?,
            messages: self.messages,
            unit: self.unit,
        })
    }
}

/// The columns of `delivery` that make a set of them.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct DeliveryCells {
    pub position: i64,
    pub effective_at: i64,
    pub outcome: String,
    pub friends: Vec<u8>,
}

impl DeliveryCells {
    pub(in crate::store) fn read(self) -> Result<DeliverySet, StoreError> {
        Ok(DeliverySet {
            position: small("delivery.position", self.position)?,
            effective_at: instant(self.effective_at),
            outcome: outcome_in(&self.outcome)?,
            friends: bitmap_in("delivery.friends", &self.friends)?,
        })
    }
}

/// The columns of `delivery` that make a past send.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in crate::store) struct SentCells {
    pub occurrence: i64,
    pub campaign: String,
    pub category: String,
    pub capped: bool,
    pub content: Vec<u8>,
    pub effective_at: i64,
    pub friends: Vec<u8>,
}

impl SentCells {
    pub(in crate::store) fn read(self) -> Result<Sent, StoreError> {
        let what = |column: &str| format!("delivery of occurrence {}, column {column}", self.occurrence);
        Ok(Sent {
            occurrence: OccurrenceId(self.occurrence),
            content: ContentDigest(digest("delivery.content", &self.content)?),
            capped: self.capped,
            effective: instant(self.effective_at),
            friends: bitmap_in("delivery.friends", &self.friends)?,
            campaign: self.campaign.clone().try_into().map_err(|error| corrupt(what("campaign"), error))?,
            category: self.category.clone().try_into().map_err(|error| corrupt(what("category"), error))?,
        })
    }
}

/// The exclusion a column names.
pub(in crate::store) fn exclusion_in(name: &str) -> Result<Exclusion, StoreError> {
    word("exclusion", name, Exclusion::parse(name))
}

/// The outcome a column names.
pub(in crate::store) fn outcome_in(name: &str) -> Result<Outcome, StoreError> {
    word("delivery.outcome", name, Outcome::parse(name))
}
