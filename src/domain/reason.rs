//! Why something stands still, was refused or ended: data, told to each reader in his own language
//! (`engine::words`).

use serde::{Deserialize, Serialize};

use super::plan::Refusal;
use super::time::Instant;

/// A stable code with its parameters: the JSON of databases and programs, `{"code": "monthly_limit", "limit": 200}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// A person's own words; perhaps none.
    Words {
        /// As typed.
        words: String,
    },
    /// The database is older than what this machine has seen it at.
    DatabaseWentBack,
    /// A person put a backup in the database's place.
    Restored {
        /// The latest instant that backup has seen; none where nobody had ever owned the account in it.
        as_of: Option<Instant>,
    },
    /// LINE answered 401.
    TokenRefused,
    /// LINE answered 403.
    AccountForbidden,
    /// A person paused the campaign.
    PausedByPerson,
    /// LINE refused the messages of a batch, or did not say what is wrong with it.
    BatchRefused(Said),
    /// LINE refused several batches, one after the other.
    RejectedInARow {
        /// How many.
        batches: u32,
        /// What it said to the last.
        #[serde(flatten)]
        said: Said,
    },
    /// LINE refused many user ids in one occurrence.
    ManyQuarantined {
        /// How many.
        friends: u32,
    },
    /// LINE's monthly messages are used up.
    MonthlyLimit {
        /// All of them.
        limit: u64,
    },
    /// A person ended it.
    CancelledByPerson {
        /// Who.
        by: String,
    },
    /// A person chose not to send what had fallen due.
    SkippedByPerson {
        /// Who.
        by: String,
    },
    /// It fell due while nothing could be sent, and `if_missed` and `grace` do not catch it up.
    NotCaughtUp,
    /// Of a batch: LINE refused it, and no earlier attempt can have been taken.
    LineRefused(Said),
    /// Of a batch of one friend: LINE named the user id as one it does not know.
    RecipientRefused(Said),
    /// Of a batch: LINE refused it after an attempt that it may have taken.
    RefusedAfterDoubt(Said),
    /// Of a batch: its key has outlived LINE's memory.
    KeyExpired,
    /// Of a batch: its bytes are no longer those that were opened.
    BodyChanged,
    /// Of a batch: the deadline passed.
    Expired {
        /// The deadline.
        deadline: Instant,
    },
    /// Of a batch: a person said what became of it.
    ResolvedByPerson {
        /// Who.
        by: String,
    },
    /// A guard refused the whole occurrence.
    #[serde(untagged)]
    Refused(Refusal),
}

/// What LINE said when it refused a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// LINE's own words; perhaps none.
    pub message: String,
}

impl Reason {
    /// Whether the database may know less than what was sent: what is open may have gone out since.
    pub fn forgets(&self) -> bool {
        matches!(self, Self::DatabaseWentBack | Self::Restored { .. })
    }

    /// A reason read back. Nothing that is only told may keep an account from running: what this version does not
    /// know is shown as it stands.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self::Words { words: text.to_owned() })
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::{Budget, Reach};
    use crate::domain::policy::Share;

    #[test]
    fn a_reason_is_a_code_with_parameters_and_reads_as_it_is_written() {
        let said = Said { status: 413, message: "too \"large\"".into() };
        let budget = Budget { recipients: 9, available: 7, limit: 200, kept: 10 };
        let reach = Reach { matched: 3, reachable: 4, share: Share::ALL };
        for (reason, json) in [
            (Reason::DatabaseWentBack, r#"{"code":"database_went_back"}"#),
            (
                Reason::Restored { as_of: Some(Instant::from_millis(1_796_374_800_000)) },
                r#"{"code":"restored","as_of":"2026-12-04T09:00:00.000Z"}"#,
            ),
            (Reason::Restored { as_of: None }, r#"{"code":"restored","as_of":null}"#),
            (Reason::MonthlyLimit { limit: 200 }, r#"{"code":"monthly_limit","limit":200}"#),
            (
                Reason::RejectedInARow { batches: 3, said },
                r#"{"code":"rejected_in_a_row","batches":3,"status":413,"message":"too \"large\""}"#,
            ),
            (
                Refusal::Quota(budget).into(),
                r#"{"code":"quota","recipients":9,"available":7,"limit":200,"kept":10}"#,
            ),
            (
                Refusal::Blanket(reach).into(),
                r#"{"code":"blanket","matched":3,"reachable":4,"share":1000000}"#,
            ),
            (Refusal::QuotaUnreadable.into(), r#"{"code":"quota_unreadable"}"#),
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), json);
            assert_eq!(Reason::read(json), reason);
        }
        for strange in ["wrong coupon", "", r#"{"code":"of_a_later_version","x":1}"#, "7"] {
            assert_eq!(Reason::read(strange), Reason::Words { words: strange.into() });
        }
    }
}
