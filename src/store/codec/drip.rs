//! Enrollments, deferrals, tags that fall off.

use serde::{Deserialize, Serialize};

use super::{bitmap_in, corrupt, instant, json, json_in, small, step_in};
use crate::domain::drip::{Ending, Enrollment, Standing};
use crate::domain::id::{CampaignSlug, FriendId, OccurrenceId, StepName, VersionId};
use crate::domain::time::Instant;
use crate::store::{DeferralRow, StoreError, TagExpiry};

/// The columns of `enrollment` after the account, in the order of the table. As JSON an array.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
pub(in crate::store) struct EnrollmentCells(
    pub String,
    pub i64,
    pub i64,
    pub i64,
    pub i64,
    pub i64,
    pub String,
    pub String,
    pub Option<String>,
    pub Option<i64>,
    pub Option<i64>,
    pub Option<String>,
    pub Option<i64>,
);

/// The columns that name an enrollment within an account, in the order of its key. As JSON an array.
pub(in crate::store) type EnrollmentKey = (String, i64, i64);

/// An enrollment's key as columns hold it.
pub(in crate::store) fn enrollment_key(
    (drip, friend, started_at): &(CampaignSlug, FriendId, Instant),
) -> EnrollmentKey {
    (drip.as_str().to_owned(), friend.0.into(), started_at.as_millis())
}

/// The columns that say where a way stands.
#[derive(Default)]
struct StandingCells {
    step: Option<String>,
    due_at: Option<i64>,
    occurrence: Option<i64>,
    ending: Option<String>,
    ended_at: Option<i64>,
}

impl EnrollmentCells {
    pub(in crate::store) fn of(row: &Enrollment) -> Result<Self, StoreError> {
        let (standing, cells) = standing_cells(&row.standing);
        Ok(Self(
            row.drip.as_str().to_owned(),
            row.friend.0.into(),
            row.started_at.as_millis(),
            row.version.0,
            row.counts_from.as_millis(),
            row.not_before.as_millis(),
            json("enrollment.done", &row.done)?,
            standing.to_owned(),
            cells.step,
            cells.due_at,
            cells.occurrence,
            cells.ending,
            cells.ended_at,
        ))
    }

    pub(in crate::store) fn read(self) -> Result<Enrollment, StoreError> {
        let Self(drip, friend, started_at, version, counts_from, not_before, done, standing, ..) = self;
        let what = format!("enrollment of friend {friend} in drip `{drip}`");
        let cells = StandingCells {
            step: self.8,
            due_at: self.9,
            occurrence: self.10,
            ending: self.11,
            ended_at: self.12,
        };
        Ok(Enrollment {
            friend: FriendId(small(&what, friend)?),
            started_at: instant(started_at),
            version: VersionId(version),
            counts_from: instant(counts_from),
            not_before: instant(not_before),
            done: json_in(&what, &done)?,
            standing: standing_in(&what, &standing, cells)?,
            drip: drip.try_into().map_err(|error| corrupt(what, error))?,
        })
    }
}

fn standing_cells(standing: &Standing) -> (&'static str, StandingCells) {
    let named = |step: &StepName| Some(step.as_str().to_owned());
    match standing {
        Standing::Starting { ends } => {
            let (ending, ended_at) = ends.map(|(how, at)| (how.as_str().to_owned(), at.as_millis())).unzip();
            ("starting", StandingCells { ending, ended_at, ..StandingCells::default() })
        }
        Standing::Due { step, at } => {
            let due_at = Some(at.as_millis());
            ("due", StandingCells { step: named(step), due_at, ..StandingCells::default() })
        }
        Standing::Waiting { step, occurrence } => {
            let occurrence = Some(occurrence.0);
            ("waiting", StandingCells { step: named(step), occurrence, ..StandingCells::default() })
        }
        Standing::Ended { how, at } => {
            let (ending, ended_at) = (Some(how.as_str().to_owned()), Some(at.as_millis()));
            ("ended", StandingCells { ending, ended_at, ..StandingCells::default() })
        }
    }
}

fn standing_in(what: &str, standing: &str, cells: StandingCells) -> Result<Standing, StoreError> {
    let StandingCells { step, due_at, occurrence, ending, ended_at } = cells;
    let named = |step: String| StepName::try_from(step).map_err(|error| corrupt(what, error));
    match (standing, step, due_at, occurrence, ending, ended_at) {
        ("starting", .., Some(ending), Some(at)) => {
            Ok(Standing::Starting { ends: Some((ending_in(what, &ending)?, instant(at))) })
        }
        ("starting", ..) => Ok(Standing::Starting { ends: None }),
        ("due", Some(step), Some(at), ..) => Ok(Standing::Due { step: named(step)?, at: instant(at) }),
        ("waiting", Some(step), _, Some(occurrence), ..) => {
            Ok(Standing::Waiting { step: named(step)?, occurrence: OccurrenceId(occurrence) })
        }
        ("ended", .., Some(ending), Some(at)) => {
            Ok(Standing::Ended { how: ending_in(what, &ending)?, at: instant(at) })
        }
        _ => Err(corrupt(what, format!("`{standing}` is no standing, or lacks what belongs to it"))),
    }
}

/// How a way ended.
pub(in crate::store) fn ending_in(what: &str, word: &str) -> Result<Ending, StoreError> {
    super::word(what, word, Ending::parse(word))
}

/// The columns of `deferral` that make one.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::store) struct DeferralCells {
    pub occurrence: i64,
    pub campaign: String,
    pub step: String,
    pub version: i64,
    pub until: i64,
    pub looked_at: i64,
    pub children: i64,
    pub waiting: Vec<u8>,
    pub left: Vec<u8>,
    pub lapsed: Vec<u8>,
    pub replaced: Vec<u8>,
}

impl DeferralCells {
    pub(in crate::store) fn read(self) -> Result<DeferralRow, StoreError> {
        let what = format!("deferral of occurrence {}", self.occurrence);
        Ok(DeferralRow {
            occurrence: OccurrenceId(self.occurrence),
            step: step_in(&what, &self.step)?,
            version: VersionId(self.version),
            until: instant(self.until),
            looked_at: instant(self.looked_at),
            children: small(&what, self.children)?,
            waiting: bitmap_in(&what, &self.waiting)?,
            left: bitmap_in(&what, &self.left)?,
            lapsed: bitmap_in(&what, &self.lapsed)?,
            replaced: bitmap_in(&what, &self.replaced)?,
            campaign: self.campaign.try_into().map_err(|error| corrupt(what, error))?,
        })
    }
}

/// The columns of `tag_expiry` after the account, in the order of the table. As JSON an array.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub(in crate::store) struct TagExpiryCells(pub i64, pub String, pub i64, pub i64);

impl TagExpiryCells {
    pub(in crate::store) fn of(row: &TagExpiry) -> Self {
        let (given_at, at) = (row.given_at.as_millis(), row.at.as_millis());
        Self(row.friend.0.into(), row.tag.as_str().to_owned(), given_at, at)
    }

    pub(in crate::store) fn read(self) -> Result<TagExpiry, StoreError> {
        let Self(friend, tag, given_at, at) = self;
        let what = format!("tag_expiry of friend {friend}");
        Ok(TagExpiry {
            friend: FriendId(small(&what, friend)?),
            tag: tag.try_into().map_err(|error| corrupt(what, error))?,
            given_at: instant(given_at),
            at: instant(at),
        })
    }
}
