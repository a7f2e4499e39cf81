//! What went wrong lately.

use super::data::{Account, Counted};
use crate::domain::delivery::Outcome;
use crate::domain::id::OccurrenceId;
use crate::domain::time::Instant;
use crate::store::Troubles;

pub(super) fn troubles(account: &Account, (unknown_since, since): (Instant, Instant)) -> Troubles {
    let unknown = account.deliveries.rows().filter(|(_, row)| {
        row.outcome == Outcome::Unknown
            && !matches!(row.counted, Counted::No)
            && row.sent.effective_at >= unknown_since.as_millis()
    });
    let (mut troubles, since) = (Troubles::default(), since.as_millis());
    for (_, row) in unknown {
        troubles.unknown += row.count;
        troubles.last_unknown = troubles.last_unknown.max(Some(OccurrenceId(row.sent.occurrence)));
    }
    for (_, row) in account.occurrences.rows().filter(|(_, row)| row.cells.due_at >= since) {
        let chosen = row.cells.reason.as_ref().is_some_and(|reason| reason.contains("skipped_by_person"));
        match row.cells.state.as_str() {
            "refused" => troubles.refused += 1,
            "missed" if !chosen => troubles.missed += 1,
            _ => {}
        }
    }
    let given_up = account.outbox.rows().filter(|(_, cells)| cells.6.is_some_and(|at| at >= since));
    troubles.given_up = given_up.count() as u64;
    troubles
}
