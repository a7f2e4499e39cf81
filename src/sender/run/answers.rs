//! What answers make of batches.

use roaring::RoaringBitmap;

use crate::clock::Reading;
use crate::domain::delivery::Outcome;
use crate::domain::id::FriendId;
use crate::domain::reason::{Reason, Said};
use crate::line::{Answer, Attempt, Blame, Settlement};
use crate::store::{BatchEnding, BatchRow};

use super::open_batch::{OpenBatch, ended};
use super::{BatchKey, Change, Consequence, QUARANTINED, REJECTED_IN_A_ROW, Run, UNTOLD, UserOf};

/// LINE's refusal, for the ledger.
fn said(answer: &Answer) -> Said {
    let (status, message) = match answer {
        Answer::BadRequest { message, .. } => (400, message.clone()),
        Answer::Forbidden => (403, String::new()),
        Answer::PayloadTooLarge => (413, String::new()),
        Answer::OtherRefusal(status) => (*status, String::new()),
        // No other answer refuses.
        other => (0, other.as_str().to_owned()),
    };
    Said { status, message }
}

impl Run {
    /// Applies what an attempt told.
    pub fn heard(
        &mut self,
        key: BatchKey,
        attempt: &Attempt,
        clock: &Reading,
        jitter: f64,
        user_of: UserOf<'_>,
    ) -> Change {
        let Some(open) = self.open.get_mut(&key) else { return Change::default() };
        if open.in_flight {
            open.in_flight = false;
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let before = open.history;
        open.history = before.after(&attempt.answer);
        match attempt.answer.settles(before) {
            Settlement::Accepted => self.accepted(key, attempt, clock),
            Settlement::Unknown => self.refused_after_doubt(key, attempt, clock),
            Settlement::Rejected if attempt.answer == Answer::Forbidden => {
                self.forbidden(key, attempt, clock, user_of)
            }
            Settlement::Rejected => self.refused(key, attempt, (clock, jitter), user_of),
            Settlement::Open => {
                open.retry_later(clock, jitter, attempt.retry_after);
                let consequence = match attempt.answer {
                    Answer::TooManyRequests { .. } => Some(Consequence::AskQuota),
                    Answer::Unauthorized => Some(Consequence::PauseAccount(Reason::TokenRefused)),
                    _ => None,
                };
                Change { rows: Vec::new(), consequences: consequence.into_iter().collect() }
            }
        }
    }

    fn accepted(&mut self, key: BatchKey, attempt: &Attempt, clock: &Reading) -> Change {
        let mut row = self.end(key, Outcome::Accepted, clock, attempt.request_id.clone(), None);
        if let (Some(end), Answer::AlreadyAccepted { accepted_request_id }) =
            (row.as_mut().and_then(|row| row.ended.as_mut()), &attempt.answer)
        {
            end.accepted_request_id = Some(accepted_request_id.clone());
        }
        Change { rows: row.into_iter().collect(), consequences: Vec::new() }
    }

    /// Refused, but an earlier attempt may have been taken: that proves nothing, so nothing is ever resent.
    fn refused_after_doubt(&mut self, key: BatchKey, attempt: &Attempt, clock: &Reading) -> Change {
        let mut change = Change::default();
        if attempt.answer == Answer::Forbidden {
            change.consequences.push(Consequence::PauseAccount(Reason::AccountForbidden));
        }
        let why = Some(Reason::RefusedAfterDoubt(said(&attempt.answer)));
        change.rows.extend(self.end(key, Outcome::Unknown, clock, attempt.request_id.clone(), why));
        change
    }

    /// 403, every attempt refused: the key is spent; the same friends wait as a new generation.
    fn forbidden(
        &mut self,
        key: BatchKey,
        attempt: &Attempt,
        clock: &Reading,
        user_of: UserOf<'_>,
    ) -> Change {
        let pause = Consequence::PauseAccount(Reason::AccountForbidden);
        let mut change = Change { consequences: vec![pause], ..Change::default() };
        let Some(open) = self.open.remove(&key) else { return change };
        change.rows.push(self.superseded(key, &open, clock, attempt));
        change.rows.push(self.next_generation(key, open, clock, user_of));
        change
    }

    fn next_generation(
        &mut self,
        (n, generation): BatchKey,
        open: OpenBatch,
        clock: &Reading,
        user_of: UserOf<'_>,
    ) -> BatchRow {
        self.open_anew(n, generation.saturating_add(1), open.friends, open.parent, clock, user_of)
    }

    fn refused(
        &mut self,
        key: BatchKey,
        attempt: &Attempt,
        (clock, jitter): (&Reading, f64),
        user_of: UserOf<'_>,
    ) -> Change {
        let Answer::BadRequest { blame, .. } = attempt.answer else {
            return self.reject(key, attempt, clock);
        };
        let friends = self.friends_of(key);
        let named = match blame {
            Blame::Recipient(index) => u32::try_from(index).ok().and_then(|index| friends.select(index)),
            Blame::SomeRecipient => friends.min().filter(|_| friends.len() == 1),
            Blame::Messages | Blame::Untold => None,
        };
        if let Some(culprit) = named {
            return self.quarantine(key, FriendId(culprit), friends, attempt, clock, user_of);
        }
        match blame {
            Blame::SomeRecipient => self.halve(key, &friends, attempt, clock, user_of),
            Blame::Untold => self.ask_again(key, attempt, (clock, jitter), user_of),
            Blame::Recipient(_) | Blame::Messages => self.reject(key, attempt, clock),
        }
    }

    /// Somebody in it is refused, and LINE does not say who: each half goes out under a key of its own, until one is
    /// left. For one among 500 that is 18 requests.
    fn halve(
        &mut self,
        key: BatchKey,
        friends: &RoaringBitmap,
        attempt: &Attempt,
        clock: &Reading,
        user_of: UserOf<'_>,
    ) -> Change {
        self.sound.extend(self.variant_of(key.0).map(|variant| variant.position));
        let mut change = Change::default();
        let Some(open) = self.open.remove(&key) else { return change };
        change.rows.push(self.superseded(key, &open, clock, attempt));
        let middle = usize::try_from(friends.len().div_ceil(2)).unwrap_or(usize::MAX);
        let first: RoaringBitmap = friends.iter().take(middle).collect();
        for half in [friends - &first, first] {
            change.rows.push(self.open_anew(self.next_child, 0, Some(half), Some(key.0), clock, user_of));
        }
        let batches = self.guards.refused_in_a_row;
        let reason = Reason::RejectedInARow { batches, said: said(&attempt.answer) };
        change.consequences.extend((batches >= QUARANTINED).then_some(Consequence::PauseCampaign(reason)));
        change
    }

    /// LINE did not answer what is wrong: the same friends again, later and under another key. Not for ever.
    fn ask_again(
        &mut self,
        key: BatchKey,
        attempt: &Attempt,
        (clock, jitter): (&Reading, f64),
        user_of: UserOf<'_>,
    ) -> Change {
        let mut change = Change::default();
        let Some(open) = self.open.get(&key) else { return change };
        let (failures, failing_since) = (open.failures, open.failing_since);
        if failures >= UNTOLD {
            return self.reject(key, attempt, clock);
        }
        let Some(open) = self.open.remove(&key) else { return change };
        change.rows.push(self.superseded(key, &open, clock, attempt));
        let row = self.next_generation(key, open, clock, user_of);
        if let Some(anew) = self.open.get_mut(&(row.n, row.generation)) {
            (anew.failures, anew.failing_since) = (failures, failing_since);
            anew.retry_later(clock, jitter, attempt.retry_after);
        }
        change.rows.push(row);
        change
    }

    /// LINE named an id: it alone is rejected, the rest goes out as a child under a new key.
    fn quarantine(
        &mut self,
        key: BatchKey,
        culprit: FriendId,
        mut rest: RoaringBitmap,
        attempt: &Attempt,
        clock: &Reading,
        user_of: UserOf<'_>,
    ) -> Change {
        let mut change = Change { consequences: vec![Consequence::Quarantine(culprit)], ..Change::default() };
        let why = Some(Reason::RecipientRefused(said(&attempt.answer)));
        if rest.len() == 1 {
            change.rows.extend(self.end(key, Outcome::Rejected, clock, attempt.request_id.clone(), why));
            change.consequences.extend(self.too_many_quarantined());
            return change;
        }
        let Some(open) = self.open.remove(&key) else { return change };
        change.rows.push(self.superseded(key, &open, clock, attempt));
        // The refused friend gets a row of its own, so that the books tell every outcome from a batch.
        let lone: RoaringBitmap = [culprit.0].into_iter().collect();
        let lone = self.open_anew(self.next_child, 0, Some(lone), Some(key.0), clock, user_of);
        change.rows.extend(self.end((lone.n, 0), Outcome::Rejected, clock, attempt.request_id.clone(), why));
        change.consequences.extend(self.too_many_quarantined());
        rest.remove(culprit.0);
        change.rows.push(self.open_anew(self.next_child, 0, Some(rest), Some(key.0), clock, user_of));
        change
    }

    fn too_many_quarantined(&self) -> Option<Consequence> {
        let friends = self.guards.quarantined;
        let reason = Reason::ManyQuarantined { friends };
        (friends >= QUARANTINED).then_some(Consequence::PauseCampaign(reason))
    }

    fn reject(&mut self, key: BatchKey, attempt: &Attempt, clock: &Reading) -> Change {
        let mut change = Change::default();
        let said = said(&attempt.answer);
        let why = Some(Reason::LineRefused(said.clone()));
        change.rows.extend(self.end(key, Outcome::Rejected, clock, attempt.request_id.clone(), why));
        let batches = self.guards.rejected_in_a_row;
        if matches!(attempt.answer, Answer::BadRequest { .. }) {
            change.consequences.push(Consequence::PauseCampaign(Reason::BatchRefused(said)));
        } else if batches >= REJECTED_IN_A_ROW {
            let reason = Reason::RejectedInARow { batches, said };
            change.consequences.push(Consequence::PauseCampaign(reason));
        }
        change
    }

    /// The key is spent; the batch's friends go on under others.
    fn superseded(
        &mut self,
        key: BatchKey,
        open: &OpenBatch,
        clock: &Reading,
        attempt: &Attempt,
    ) -> BatchRow {
        let count = open.friends.as_ref().map_or_else(|| self.friends_of(key).len(), RoaringBitmap::len);
        let mut row = open.row(self.row.id, key, count);
        row.ended = Some(ended(
            BatchEnding::Superseded,
            clock,
            open.attempts,
            attempt.request_id.clone(),
            Some(Reason::LineRefused(said(&attempt.answer))),
        ));
        self.saw_end(&row, clock);
        row
    }
}
