//! Policy: caps, quiet hours, holdout, guards. One type each; `config/haishin.toml` holds the defaults.

mod cap;
mod quiet_hours;
mod retention;

use std::collections::BTreeMap;

use chrono::NaiveTime;
use serde::{Deserialize, Serialize};

use super::id::{CategoryName, TagName};
use super::time::{Span, Tz};
pub use retention::{Cutoffs, Retention};

/// A share of a whole in millionths, so that percentages with four decimals add up exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const NONE: Share = Share(0);
    /// Everything.
    pub const ALL: Share = Share(1_000_000);

    /// From millionths, at most the whole.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (millionths <= Self::ALL.0).then_some(Self(millionths))
    }

    /// Millionths of the whole.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Parses `5%`, `33.3334%`: at most four decimals, 0 to 100.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 4 {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let decimals: u32 = format!("{decimals:0<4}").parse().ok()?;
        Self::from_millionths(whole * 10_000 + decimals)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            write!(f, "{whole}%")
        } else {
            write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
        }
    }
}

/// What applies to one account's sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The account's zone.
    pub zone: Tz,
    /// Each category, by name.
    pub categories: BTreeMap<CategoryName, Category>,
    /// All caps; every one must have room.
    pub caps: Vec<Cap>,
    /// Local hours without sends.
    pub quiet_hours: Option<QuietHours>,
    /// The blanket guard.
    pub blanket: BlanketGuard,
    /// The same content reaches a friend once in this window; `None` is off.
    pub same_content: Option<Span>,
    /// What is kept of LINE's monthly messages.
    pub quota: QuotaPolicy,
}

impl Policy {
    /// The quiet hours that bind a campaign: all but an `immediate` one of a category that may be.
    pub fn quiet_hours_for(&self, category: &CategoryName, immediate: bool) -> Option<&QuietHours> {
        let may = self.categories.get(category).is_some_and(|category| category.may_be_immediate);
        self.quiet_hours.as_ref().filter(|_| !(immediate && may))
    }

    /// Whether sends of the category are blocked by caps and counted in them; one that the configuration no longer
    /// has is.
    pub fn is_capped(&self, category: &CategoryName) -> bool {
        self.categories.get(category).is_none_or(|category| category.capped)
    }

    /// Whether sends of the category may use what is kept of the month's messages.
    pub fn uses_reserve(&self, category: &CategoryName) -> bool {
        self.categories.get(category).is_some_and(|category| category.uses_reserve)
    }
}

/// A category of sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// What a marketer reads.
    pub title: String,
    /// `false`: neither blocked by caps nor counted in them.
    pub capped: bool,
    /// Its campaigns may say `immediate = true` and send in quiet hours.
    pub may_be_immediate: bool,
    /// May use the part of the quota that is kept back.
    pub uses_reserve: bool,
    /// Holders of this tag are excluded as `opted out`.
    pub opt_out: Option<TagName>,
}

/// A frequency cap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// What exclusions and reports call it, e.g. `2 in 7d`.
    pub name: String,
    /// Which categories it counts and blocks; `None` is every capped one.
    pub categories: Option<Vec<CategoryName>>,
    /// At most so many deliveries in the window; 0 allows none.
    pub max: u32,
    /// The window.
    pub per: CapWindow,
    /// The zone of a calendar window.
    pub zone: Tz,
}

/// A cap's window, ending at the effective instant it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapWindow {
    /// `(t − d, t]`.
    Rolling(Span),
    /// The local calendar day of t.
    Day,
    /// The local week of t, from Monday.
    Week,
    /// The local calendar month of t.
    Month,
}

/// Local hours without sends: start inclusive, end exclusive; may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// First quiet minute.
    pub start: NaiveTime,
    /// First minute that is not quiet.
    pub end: NaiveTime,
    /// Whose clock.
    pub zone: Tz,
}

/// Refuses a campaign whose rule matches too large a share of the reachable friends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlanketGuard {
    /// Refuse above this share; `None` is off.
    pub share: Option<Share>,
    /// Below so many reachable friends it only warns.
    pub warn_below: u64,
}

/// What a send may use of the month's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaPolicy {
    /// Warn from this share of the limit.
    pub warn_at: Share,
    /// Kept for categories with `uses_reserve`.
    pub keep: Share,
}
