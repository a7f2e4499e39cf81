//! The books of an occurrence: at every instant, matched = exclusions + every outcome + not yet sent.

use serde::{Deserialize, Serialize};

use crate::domain::delivery::{Exclusion, Outcome};
use crate::lang::Lang;
use crate::sender::run::Run;
use crate::store::{DeliverySet, OccurrenceRow, Tally};

/// One occurrence's books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Friends the rule matched.
    pub matched: u64,
    /// Named exclusions, in the order they were applied.
    pub excluded: Vec<(Exclusion, u64)>,
    /// LINE has them.
    pub accepted: u64,
    /// LINE refused them; surely not sent.
    pub rejected: u64,
    /// Possibly sent; nobody sends them again by itself.
    pub unknown: u64,
    /// A person ended it before any attempt.
    pub cancelled: u64,
    /// The deadline came before any attempt.
    pub expired: u64,
    /// Erased after the freeze, before any attempt.
    pub erased: u64,
    /// Without an outcome.
    pub not_yet_sent: u64,
}

impl Books {
    /// From the ledger, and from memory for what is open.
    pub fn of(row: &OccurrenceRow, tally: Tally, run: Option<&Run>) -> Self {
        let ended = |outcome: Outcome| match run {
            Some(run) => run.ended(outcome),
            None => tally.outcomes.get(&outcome).copied().unwrap_or(0),
        };
        let settled: u64 = Outcome::ALL.into_iter().map(ended).sum();
        Self {
            matched: row.matched,
            accepted: ended(Outcome::Accepted),
            rejected: ended(Outcome::Rejected),
            unknown: ended(Outcome::Unknown),
            cancelled: ended(Outcome::Cancelled),
            expired: ended(Outcome::Expired),
            erased: ended(Outcome::Erased),
            not_yet_sent: row.recipients.saturating_sub(settled),
            excluded: tally.excluded,
        }
    }

    /// All friends excluded by name.
    pub fn exclusions(&self) -> u64 {
        self.excluded.iter().map(|(_, count)| count).sum()
    }

    /// Whether they add up.
    pub fn balance(&self) -> bool {
        self.matched
            == self.exclusions()
                + self.accepted
                + self.rejected
                + self.unknown
                + self.cancelled
                + self.expired
                + self.erased
                + self.not_yet_sent
    }

    /// The line of the check sum, leaving out what is zero beyond the four everybody asks for.
    pub fn line(&self, lang: Lang) -> String {
        let word = |ja: &'static str, en: &'static str| lang.pick(ja, en);
        let mut parts = vec![
            format!("{}{}", word("除外", "excluded "), self.exclusions()),
            format!("{}{}", word("受付", "accepted "), self.accepted),
            format!("{}{}", word("不明", "unknown "), self.unknown),
            format!("{}{}", word("未送信", "not yet sent "), self.not_yet_sent),
        ];
        for (count, ja, en) in [
            (self.rejected, "拒否", "rejected "),
            (self.cancelled, "取消", "cancelled "),
            (self.expired, "期限切れ", "expired "),
            (self.erased, "削除済み", "erased "),
        ] {
            if count > 0 {
                parts.push(format!("{}{count}", word(ja, en)));
            }
        }
        let mark = if self.balance() { "✓" } else { "✗" };
        format!("{} {} = {} {mark}", word("検算", "balance"), self.matched, parts.join(" + "))
    }
}

/// Unknown deliveries end as `outcome` instead, each where it counts; says how many.
pub(super) fn resolve(sets: &mut Vec<DeliverySet>, outcome: Outcome) -> u64 {
    let (unknown, mut known): (Vec<_>, Vec<_>) =
        std::mem::take(sets).into_iter().partition(|set| set.outcome == Outcome::Unknown);
    let count = unknown.iter().map(|set| set.friends.len()).sum();
    for set in unknown {
        let place = (set.position, set.effective_at, outcome);
        match known.iter_mut().find(|one| (one.position, one.effective_at, one.outcome) == place) {
            Some(same) => same.friends |= set.friends,
            None => known.push(DeliverySet { outcome, ..set }),
        }
    }
    *sets = known;
    count
}
